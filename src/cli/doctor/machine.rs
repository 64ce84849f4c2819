//! What the machine gives to the service: open files, memory that stays private and suffices, a clock that is kept right. Of a running portal its own numbers count: a
//! shell has other limits than a service.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Findings;
use super::codes::Code;
use super::portal::Standing;
use crate::cli::process;
use crate::config::Config;
use crate::crypto::memory::{self, Swap};
use crate::http::listen;

/// Before this day the program did not exist.
const BORN: i64 = 1_767_225_600;
/// What the store, documents and outgoing connections open beside those of visitors.
const BESIDE: u64 = 512;
/// Uploads at once, checks of passwords and the store's own cache, with room.
const MEMORY: u64 = 256 << 20;

pub(super) fn look(config: Option<&Config>, standing: Option<&Standing>, findings: &mut Findings) {
    let own = process::raise_descriptors();
    descriptors(config, standing, own, findings);
    hardening(config, findings);
    limit(standing.map_or_else(memory::limit, |standing| standing.memory), findings);
    clock(findings);
    jumped(standing, findings);
}

fn descriptors(config: Option<&Config>, standing: Option<&Standing>, own: u64, findings: &mut Findings) {
    let (whose, limit, connections) = match standing {
        Some(standing) => ("the running portal", standing.open_files, standing.connections),
        None => (
            "a portal started from here",
            own,
            config.map_or(0, |config| listen::at_most(config.workers) as u64),
        ),
    };
    let wanted = (connections + BESIDE).max(process::DESCRIPTORS);
    let fix = format!(
        "systemctl edit nightdrop, with the lines [Service] and LimitNOFILE={wanted}, then systemctl restart nightdrop; without systemd raise `ulimit -Hn`"
    );
    if limit < process::DESCRIPTORS {
        let text = format!("{whose} may open only {limit} files; a busy one needs {}", process::DESCRIPTORS);
        findings.wrong(Code::FewFiles, text, fix);
    } else if limit < wanted {
        let text = format!("{whose} may open {limit} files, and takes up to {connections} connections on this machine");
        findings.note(Code::FewFilesForAll, text, format!("{fix}; or set workers to less"));
    } else {
        findings.good("open files", format!("{whose} may open {limit}"));
    }
}

fn hardening(config: Option<&Config>, findings: &mut Findings) {
    const MEND: &str = "under systemd: LimitMEMLOCK=infinity and MemorySwapMax=0, as the given unit has them; else encrypt the swap, or switch it off (swapoff -a)";
    let report = memory::harden();
    if report.not_dumpable && report.core_limit_zero {
        findings.good("memory", "no core dump and no debugger of the same user reaches it");
    } else {
        findings.note(
            Code::MemoryReadable,
            "the process can be dumped, or leaves core files",
            "run it under the given service unit (LimitCORE=0)",
        );
    }
    match report.swap {
        _ if report.locked => findings.good("memory", "it is locked: nothing of it is swapped out"),
        _ if report.never_swapped => findings.good("memory", "its control group swaps nothing out"),
        Swap::None => findings.good("memory", "there is no swap that it could be written to"),
        Swap::Encrypted => findings.good("memory", "the swap is encrypted"),
        Swap::Readable => {
            let text = "swap is on, not known to be encrypted, and memory is not locked";
            match config.is_some_and(|config| config.accept_readable_swap) {
                true => findings.note(Code::SwapReadable, text, format!("accepted by accept_readable_swap; better {MEND}")),
                // The start refuses it, unless the service has limits that this shell has not.
                false => findings.note(Code::SwapReadable, text, format!("a portal started from here is refused; {MEND}")),
            }
        }
    }
}

fn limit(limit: Option<u64>, findings: &mut Findings) {
    match limit {
        Some(limit) if limit < MEMORY => findings.note(
            Code::LittleMemory,
            format!("its control group may take only {} MiB of memory", limit >> 20),
            format!(
                "give it {} MiB or more: systemctl edit nightdrop, with the lines [Service] and MemoryMax={}M; in a container, its memory limit",
                MEMORY >> 20,
                MEMORY >> 20
            ),
        ),
        Some(limit) => findings.good("memory", format!("its control group may take {} MiB", limit >> 20)),
        None => {}
    }
}

fn clock(findings: &mut Findings) {
    const MEND: &str = "apt-get install systemd-timesyncd && timedatectl set-ntp true (or chrony); then timedatectl";
    let now = time::OffsetDateTime::now_utc();
    if now.unix_timestamp() < BORN {
        findings.wrong(
            Code::ClockUnset,
            format!("it says {}", now.date()),
            format!("set it, and keep it right: {MEND}. Links and deadlines hang on it"),
        );
        return;
    }
    let says = format!("it says {} {:02}:{:02} UTC", now.date(), now.hour(), now.minute());
    match synchronised() {
        Some(true) => findings.good("clock", format!("{says}, and is kept right by NTP")),
        Some(false) => findings.note(Code::ClockUnsynchronised, format!("{says}, and nothing keeps it right"), MEND),
        None => findings.note(
            Code::ClockUnknown,
            format!("{says}; whether something keeps it right cannot be seen from here"),
            format!("on the machine itself (not in a container): timedatectl show --property=NTPSynchronized; if it says no: {MEND}"),
        ),
    }
}

/// As the kernel was told by whatever sets the clock: systemd asks it; without systemd its own client's mark says the same.
fn synchronised() -> Option<bool> {
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let said = asked.ok().filter(|output| output.status.success());
    match said.as_ref().map(|output| output.stdout.trim_ascii()) {
        Some(b"yes") => Some(true),
        Some(b"no") => Some(false),
        _ => Path::new("/run/systemd/timesync/synchronized").exists().then_some(true),
    }
}

/// The running portal knows a clock that jumped under it.
fn jumped(standing: Option<&Standing>, findings: &mut Findings) {
    const MEND: &str = "set the clock right (timedatectl); or, where the clock is right, `nightdrop clock accept`";
    match standing.map(|standing| standing.clock.as_str()) {
        Some("right") => findings.good("clock", "the running portal goes by the same time"),
        Some("ahead") => findings.wrong(
            Code::ClockJumped,
            "it has jumped ahead: the running portal does not believe it, and purging by deadline waits",
            MEND,
        ),
        Some(_) => findings.wrong(
            Code::ClockJumped,
            "it was set back: the running portal does not believe it and goes on by its own time",
            MEND,
        ),
        None => {}
    }
}
