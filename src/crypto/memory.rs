//! Keeps the process's memory out of core dumps, debuggers and swap, as far as the system allows.
//!
//! Locking single secrets needs raw pointers and so unsafe code, which this crate does not have. `mlockall` is safe and
//! covers everything, but under a finite `RLIMIT_MEMLOCK` later allocations would fail; so it is used only when the limit
//! is (or can be raised to) unlimited. Otherwise the service unit's `MemorySwapMax=0`, or a machine without swap, has to
//! do it, and the report says so.

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// What was achieved; `doctor` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryReport {
    /// No core dump through `prctl`, and no debugger of the same user.
    pub not_dumpable: bool,
    /// `RLIMIT_CORE` is 0.
    pub core_limit_zero: bool,
    /// All pages are locked into memory.
    pub locked: bool,
    /// The machine has swap switched on.
    pub swap_on: bool,
    /// What is missing and what to do; whole sentences.
    pub advice: Vec<String>,
}

/// Applies the hardening to this process. It never fails: what does not work is in the report.
pub fn harden() -> MemoryReport {
    let not_dumpable = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok();
    let zero = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let core_limit_zero = rustix::process::setrlimit(Resource::Core, zero).is_ok();
    let locked = lock_everything();
    let swap_on = swap_is_on();
    let mut advice = Vec::new();
    if !not_dumpable {
        advice.push("The process can be dumped; run it under the given service unit.".to_owned());
    }
    if !core_limit_zero {
        advice.push("Core files are possible; set LimitCORE=0.".to_owned());
    }
    if swap_on && !locked {
        advice.push("Swap is on and memory is not locked; set MemorySwapMax=0 or LimitMEMLOCK=infinity.".to_owned());
    }
    MemoryReport {
        not_dumpable,
        core_limit_zero,
        locked,
        swap_on,
        advice,
    }
}

fn lock_everything() -> bool {
    let limit = rustix::process::getrlimit(Resource::Memlock);
    if limit.current.is_some() {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if limit.maximum.is_some() || rustix::process::setrlimit(Resource::Memlock, raised).is_err() {
            return false;
        }
    }
    // ONFAULT: pages are locked as they are touched, so that reserving address space costs nothing.
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok()
}

/// Whether the machine has swap switched on; unknown counts as yes.
pub(super) fn swap_is_on() -> bool {
    std::fs::read_to_string("/proc/swaps").map_or(true, |table| table.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CHILD: &str = "NIGHTDROP_TEST_HARDEN";

    /// Hardening changes the whole process, so it happens in a child: this same test, told apart by a variable.
    #[test]
    fn hardening_takes_effect() {
        if std::env::var_os(CHILD).is_some() {
            return check_in_this_process();
        }
        let this = "crypto::memory::tests::hardening_takes_effect";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    fn check_in_this_process() {
        let report = harden();
        assert!(report.not_dumpable && report.core_limit_zero);
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        assert_eq!(report.advice.is_empty(), report.locked || !report.swap_on);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let locked_kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmLck:"))
            .map_or(0, |text| text.trim().trim_end_matches(" kB").parse().unwrap());
        assert_eq!(report.locked, locked_kib > 0);
    }
}
