//! The load command: what nightdrop costs on this machine, as ratios that hold on others.
//!
//! ```text
//! cargo bench --bench load                    everything, in a few minutes
//! cargo bench --bench load -- --quick         everything small, in half a minute: the figures are rough
//! cargo bench --bench load -- --only cpu      one part: cpu, memory, pages, small, requests, cycles, forwarding, guessing (repeatable)
//! cargo bench --bench load -- --requests 1000000
//! cargo bench --bench load -- --against http://127.0.0.1:8080/upload --field file
//!                                             the portal and another program that takes uploads, in turn (repeatable; docs/performance.md);
//!                                             `--put` in the place of `--field file` for a program that takes files by PUT
//! cargo bench --bench load -- --layouts       nothing of that, but which layout the sealed chunks should have (docs/decisions/chunk-layout.md)
//! cargo bench --bench load -- --json          one JSON object on standard output instead of the table
//! ```
//!
//! How it measures:
//! * The measured server is a process of its own (this program again), so its CPU time, memory and disk writes are its own. It is the real portal: real
//!   listener, real inspection, real sealing, real store with every log write synced. Only the links are issued from inside.
//! * The load generator is threads with plain sockets over loopback, on the same machine: latencies under load include its share of the cores.
//! * CPU is user and system time of the whole server process for each 10⁹ bytes of document. It does not depend much on what else runs; seconds on a
//!   clock do. Every ratio is made of figures of the same run; each figure is the median of its rounds (3, or 1 with
//!   `--quick`; 64 at once runs once, it averages by itself).
//! * Documents are JPEGs of noise: nothing compresses, nothing repeats. One upload of 95 MB at a time, 8 and 64 of 20 MB at once.
//! * "Alone" figures are single steps in a process of their own: the cipher over 64 KiB in cache, the inspection, and the store of documents fed
//!   by two threads with as many open documents as the portal would have.
//! * "Bytes written" is what the kernel counts as written to disk for the process; "fsyncs" are finished `fdatasync` calls on the store's log.
//! * Files go below the target folder, or below `NIGHTDROP_LOAD_DIR`; they need up to 6 GB and are removed at the end.
//!
//! A figure that misses its goal says so.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[path = "load/against.rs"]
mod against;
#[path = "load/alone.rs"]
mod alone;
#[path = "load/child.rs"]
mod child;
#[path = "load/client.rs"]
mod client;
#[path = "load/grow.rs"]
mod grow;
#[path = "load/layouts.rs"]
mod layouts;
#[path = "load/nowhere.rs"]
mod nowhere;
#[path = "load/report.rs"]
mod report;
#[path = "load/samples.rs"]
mod samples;
#[path = "load/send.rs"]
mod send;
#[path = "load/serve.rs"]
mod serve;
#[path = "load/staff.rs"]
mod staff;
#[path = "load/upload.rs"]
mod upload;

use std::process::ExitCode;
use std::time::Instant;

use report::Report;

/// What was asked for on the command line.
pub struct Plan {
    quick: bool,
    json: bool,
    only: Vec<String>,
    requests: usize,
    against: Vec<against::Peer>,
}

type Part = fn(&Plan, &mut Report) -> Result<(), String>;

const PARTS: [(&str, Part); 8] = [
    ("cpu", upload::cpu),
    ("memory", upload::memory),
    ("pages", upload::pages),
    ("small", upload::small),
    ("requests", grow::requests),
    ("cycles", grow::cycles),
    ("forwarding", send::forwarding),
    ("guessing", staff::guessing),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, role, settings] = &arguments[..]
        && flag == child::ROLE
    {
        serve::run(role, &serde_json::from_str(settings).unwrap());
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--layouts") {
        layouts::table();
        return ExitCode::SUCCESS;
    }
    let plan = match read(&arguments) {
        Ok(plan) => plan,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::new();
    if !plan.against.is_empty() {
        if let Err(wrong) = against::against(&plan, &plan.against, &mut report) {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
        return print(&plan, &report);
    }
    for (name, part) in PARTS {
        if !plan.only.is_empty() && !plan.only.iter().any(|only| only == name) {
            continue;
        }
        let start = Instant::now();
        eprintln!("{name} …");
        if let Err(wrong) = part(&plan, &mut report) {
            eprintln!("{name}: {wrong}");
            return ExitCode::FAILURE;
        }
        eprintln!("{name}: {:.0} s, {}", start.elapsed().as_secs_f64(), machine());
    }
    print(&plan, &report)
}

fn print(plan: &Plan, report: &Report) -> ExitCode {
    if plan.json {
        println!("{}", report.json());
    } else {
        println!("\n{}\n", machine());
        report.print();
    }
    ExitCode::SUCCESS
}

fn read(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan {
        quick: false,
        json: false,
        only: Vec::new(),
        requests: 100_000,
        against: Vec::new(),
    };
    let mut url = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().cloned().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--quick" => plan.quick = true,
            "--json" => plan.json = true,
            "--only" => plan.only.push(value()?),
            "--against" => url = Some(value()?),
            "--field" => {
                let url = url.take().ok_or("--field stands behind the --against that it belongs to")?;
                plan.against.push(against::Peer::find(&url, against::Takes::Form(value()?))?);
            }
            "--put" => {
                let url = url.take().ok_or("--put stands behind the --against that it belongs to")?;
                plan.against.push(against::Peer::find(&url, against::Takes::Put)?);
            }
            "--requests" => plan.requests = value()?.parse().map_err(|_| "--requests needs a number".to_owned())?,
            other => return Err(format!("{other} is not known; see the head of benches/load.rs")),
        }
    }
    if let Some(url) = url {
        return Err(format!(
            "--against {url} needs --field NAME, the name of the form's file input, or --put"
        ));
    }
    let known = |name: &&String| PARTS.iter().any(|(part, _)| part == name);
    match plan.only.iter().find(|name| !known(name)) {
        Some(wrong) => Err(format!("--only {wrong}: there is {}", PARTS.map(|(name, _)| name).join(", "))),
        None => Ok(plan),
    }
}

/// How many cores, and how busy they are: without it no figure means much.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown processor");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "nightdrop {}, {cores} cores of {}, Linux {}, load average {load}",
        env!("CARGO_PKG_VERSION"),
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim()
    )
}
