//! What the machine gives: open files, memory that stays private, a clock that can be believed.

use super::Findings;
use crate::cli::process;
use crate::crypto::memory::{self, Swap};

/// Before this day the program did not exist.
const BORN: i64 = 1_767_225_600;

pub(super) fn look(findings: &mut Findings) {
    descriptors(findings);
    hardening(findings);
    clock(findings);
}

fn descriptors(findings: &mut Findings) {
    let limit = process::raise_descriptors();
    if limit >= process::DESCRIPTORS {
        findings.good("open files", format!("{limit} may be open at once"));
    } else {
        let fix = format!(
            "set LimitNOFILE={} in the service unit, or raise `ulimit -Hn`",
            process::DESCRIPTORS
        );
        findings.wrong(
            "open files",
            format!("only {limit} may be open at once; a busy portal needs {}", process::DESCRIPTORS),
            fix,
        );
    }
}

fn hardening(findings: &mut Findings) {
    let report = memory::harden();
    if report.not_dumpable && report.core_limit_zero {
        findings.good("memory", "no core dump and no debugger of the same user reaches it");
    }
    if report.locked {
        findings.good("memory", "it is locked: nothing of it is swapped out");
    } else if report.never_swapped {
        findings.good("memory", "its control group swaps nothing out");
    } else {
        match report.swap {
            Swap::None => findings.good("memory", "there is no swap that it could be written to"),
            Swap::Encrypted => findings.good("memory", "the swap is encrypted"),
            // Said among the advice.
            Swap::Readable => {}
        }
    }
    for advice in report.advice {
        let (text, fix) = advice.split_once("; ").unwrap_or((&advice, "see the given service unit"));
        findings.note("memory", text, fix.trim_end_matches('.'));
    }
}

fn clock(findings: &mut Findings) {
    let now = time::OffsetDateTime::now_utc();
    if now.unix_timestamp() < BORN {
        findings.wrong(
            "clock",
            format!("it says {}", now.date()),
            "set it, and keep it right with NTP: links and deadlines hang on it",
        );
    } else {
        findings.good("clock", format!("it says {} {:02}:{:02} UTC", now.date(), now.hour(), now.minute()));
    }
}
