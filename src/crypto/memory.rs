//! Keeps the process's memory out of core dumps, debuggers and swap, as far as the system allows, and wipes every block of the heap that is freed.
//!
//! A document passes through buffers of many libraries (sockets, multipart, the cipher, the outgoing request), and only a few of them are ours. So the
//! allocator wipes ([`super::heap`]). Stacks are no blocks of the heap: [`wipe_stack`] is called after work on plaintext. Out of reach are registers and the kernel's socket buffers.
//!
//! Locking single secrets needs raw pointers and so unsafe code, which this crate does not have. `mlockall` is safe and
//! covers everything, but under a finite `RLIMIT_MEMLOCK` later allocations would fail; so it is used only when the limit
//! is (or can be raised to) unlimited. Otherwise the service unit's `MemorySwapMax=0`, an encrypted swap device, or a machine without swap has to
//! do it; [`MemoryReport::may_reach_a_disk`] says when none does.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use zeroize::Zeroize;

/// Overwrites what calls that have returned left on this thread's stack below the caller's own frame: pieces of a cipher's or a digest's last block. To be
/// called after work on plaintext. It reaches as deep as such work goes, with room.
#[inline(never)]
pub(crate) fn wipe_stack() {
    const WORDS: usize = 4 * 1024;
    let mut below = [0u64; WORDS];
    below.zeroize();
    std::hint::black_box(&below);
}

/// What was achieved; `doctor` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryReport {
    /// No core dump through `prctl`, and no debugger of the same user.
    pub not_dumpable: bool,
    /// `RLIMIT_CORE` is 0.
    pub core_limit_zero: bool,
    /// All pages are locked into memory.
    pub locked: bool,
    /// Where the machine's swap would put a page.
    pub swap: Swap,
    /// The control group of this process swaps nothing (`MemorySwapMax=0`).
    pub never_swapped: bool,
    /// What is missing and what to do; whole sentences.
    pub advice: Vec<String>,
}

impl MemoryReport {
    /// Pages of this process may be written to a disk from which they can be read.
    pub(crate) fn may_reach_a_disk(&self) -> bool {
        self.swap == Swap::Readable && !self.locked && !self.never_swapped
    }
}

/// What the machine swaps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    /// No swap, or only compressed memory.
    None,
    /// All of it lies on encrypted devices.
    Encrypted,
    /// Some of it can be read from its disk, or nobody knows.
    Readable,
}

/// Applies the hardening to this process. It never fails: what does not work is in the report.
pub(crate) fn harden() -> MemoryReport {
    let not_dumpable = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok();
    let zero = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let core_limit_zero = rustix::process::setrlimit(Resource::Core, zero).is_ok();
    let locked = lock_everything();
    let report = MemoryReport {
        not_dumpable,
        core_limit_zero,
        locked,
        swap: swap(),
        never_swapped: never_swapped(Path::new("/sys/fs/cgroup")),
        advice: Vec::new(),
    };
    let mut advice = Vec::new();
    if !not_dumpable {
        advice.push("The process can be dumped; run it under the given service unit.".to_owned());
    }
    if !core_limit_zero {
        advice.push("Core files are possible; set LimitCORE=0.".to_owned());
    }
    if report.may_reach_a_disk() {
        advice.push(
            "Swap is on, not known to be encrypted, and memory is not locked; set LimitMEMLOCK=infinity or MemorySwapMax=0.".to_owned(),
        );
    }
    MemoryReport { advice, ..report }
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

/// What the machine swaps to now; unknown counts as readable.
pub(crate) fn swap() -> Swap {
    match std::fs::read_to_string("/proc/swaps") {
        Ok(table) => judge_swap(&table, |name| is_safe(Path::new("/sys"), name)),
        Err(_) => Swap::Readable,
    }
}

/// Where one swap area ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Memory,
    Encrypted,
    Readable,
}

fn judge_swap(table: &str, of: impl Fn(&str) -> Area) -> Swap {
    // "Filename Type Size Used Priority", and a line for each area; blanks in a name are written as \040.
    let areas: Vec<Area> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(of)
        .collect();
    if areas.contains(&Area::Readable) {
        Swap::Readable
    } else if areas.contains(&Area::Encrypted) {
        Swap::Encrypted
    } else {
        Swap::None
    }
}

/// A device is judged by itself, a file by the device that its file system is on.
fn is_safe(sys: &Path, name: &str) -> Area {
    let path = PathBuf::from(name.replace("\\040", " "));
    // A device by its name: in a container there may be no file for it.
    let named = path.strip_prefix("/dev").map(|device| sys.join("class/block").join(device));
    if let Ok(Ok(block)) = named.map(|block| block.canonicalize()) {
        return judge_device(&block);
    }
    let Ok(status) = std::fs::metadata(&path) else {
        return Area::Readable;
    };
    let device = if status.file_type().is_block_device() {
        status.rdev()
    } else {
        status.dev()
    };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    match sys.join(format!("dev/block/{major}:{minor}")).canonicalize() {
        Ok(block) => judge_device(&block),
        Err(_) => Area::Readable,
    }
}

/// dm-crypt names itself in the device's uuid; a volume on encrypted devices only is as good. Compressed memory that writes back to a disk is none.
fn judge_device(block: &Path) -> Area {
    let read = |name: &str| std::fs::read_to_string(block.join(name)).unwrap_or_default();
    if read("dm/uuid").starts_with("CRYPT-") {
        return Area::Encrypted;
    }
    if block.file_name().is_some_and(|name| name.to_string_lossy().starts_with("zram")) {
        return match read("backing_dev").trim() {
            "none" | "" => Area::Memory,
            _ => Area::Readable,
        };
    }
    let below: Vec<Area> = std::fs::read_dir(block.join("slaves"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.path().canonicalize().ok())
        .map(|below| judge_device(&below))
        .collect();
    match below.is_empty() || below.iter().any(|area| *area != Area::Encrypted) {
        true => Area::Readable,
        false => Area::Encrypted,
    }
}

/// Whether the control group of this process, or one above it, has `memory.swap.max` 0. The version 1 of control groups is not looked at.
fn never_swapped(mount: &Path) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/self/cgroup") else {
        return false;
    };
    let Some(own) = table.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return false;
    };
    let own = Path::new(own);
    own.ancestors().any(|group| {
        let limit = std::fs::read_to_string(mount.join(group).join("memory.swap.max"));
        limit.is_ok_and(|limit| limit.trim() == "0")
    })
}

/// Bytes that the control group of this process, or one above it, may take; `None` where there is no such limit.
pub(crate) fn limit() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = table.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let of = |group: &Path| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join("memory.max"));
    let limits = Path::new(own).ancestors().filter_map(|group| of(group).ok()?.trim().parse().ok());
    limits.min()
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
        assert_eq!(report.advice.is_empty(), !report.may_reach_a_disk());
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let locked_kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmLck:"))
            .map_or(0, |text| text.trim().trim_end_matches(" kB").parse().unwrap());
        assert_eq!(report.locked, locked_kib > 0);
    }

    #[test]
    fn swap_is_as_good_as_its_worst_area() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let area = |name: &str| match name {
            "/dev/dm-1" => Area::Encrypted,
            "/dev/zram0" => Area::Memory,
            _ => Area::Readable,
        };
        for (lines, expected) in [
            ("", Swap::None),
            ("/dev/zram0 partition 100 0 100\n", Swap::None),
            ("/dev/dm-1 partition 100 0 -2\n", Swap::Encrypted),
            ("/dev/zram0 partition 100 0 100\n/dev/dm-1 partition 100 0 -2\n", Swap::Encrypted),
            ("/dev/dm-1 partition 100 0 -2\n/swapfile file 100 0 -3\n", Swap::Readable),
        ] {
            assert_eq!(judge_swap(&format!("{head}{lines}"), area), expected, "{lines}");
        }
    }

    #[test]
    fn devices_are_judged_by_what_the_kernel_says_of_them() {
        let scratch = crate::crypto::testing::Scratch::new();
        let device = |name: &str, files: &[(&str, &str)], below: &[&str]| {
            let path = scratch.path(name);
            std::fs::create_dir_all(path.join("dm")).unwrap();
            std::fs::create_dir_all(path.join("slaves")).unwrap();
            for (file, text) in files {
                std::fs::write(path.join(file), text).unwrap();
            }
            for other in below {
                std::os::unix::fs::symlink(scratch.path(other), path.join("slaves").join(other)).unwrap();
            }
            judge_device(&path)
        };
        assert_eq!(device("dm-0", &[("dm/uuid", "CRYPT-LUKS2-0123-swap\n")], &[]), Area::Encrypted);
        assert_eq!(device("dm-1", &[("dm/uuid", "LVM-abc\n")], &["dm-0"]), Area::Encrypted);
        assert_eq!(device("sda2", &[], &[]), Area::Readable);
        assert_eq!(device("dm-2", &[("dm/uuid", "LVM-abc\n")], &["dm-0", "sda2"]), Area::Readable);
        assert_eq!(device("zram0", &[("backing_dev", "none\n")], &[]), Area::Memory);
        assert_eq!(device("zram1", &[("backing_dev", "/dev/sdb\n")], &[]), Area::Readable);
        assert_eq!(is_safe(Path::new("/sys"), "/no/such/swapfile"), Area::Readable);
    }
}
