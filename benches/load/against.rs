//! The same uploads to the portal and to other programs that take them by HTTP, in turn: CPU time for each GB and memory, as ratios of one run.
//!
//! The other programs are started by whoever measures; the processes that listen on the port of an address are found in `/proc`, and must be of the same user.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::Plan;
use crate::child::{Child, Folder};
use crate::client;
use crate::report::{Report, median};
use crate::samples::{Form, jpeg};

/// Size in bytes, how many, and how many at once.
const LEVELS: [(usize, usize, usize); 4] = [(5_000_000, 40, 8), (15_000_000, 14, 4), (1_000_000, 150, 16), (2_000_000, 128, 64)];
const MIB: f64 = 1024.0 * 1024.0;
/// What `/proc/PID/stat` counts in: USER_HZ, 100 a second on every architecture that Rust runs on.
const TICKS: f64 = 100.0;

/// How a program takes a file.
#[derive(Clone)]
pub enum Takes {
    /// In the input of this name of a form.
    Form(String),
    /// As the body of a PUT, each to an address of its own: the path ends in a number that is added.
    Put,
}

/// One program to compare with.
pub struct Peer {
    name: String,
    address: SocketAddr,
    path: String,
    takes: Takes,
    processes: Vec<u32>,
}

impl Peer {
    /// `url`: http://HOST:PORT/PATH of what takes the file.
    pub fn find(url: &str, takes: Takes) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or(format!("{url}: begins with http://"))?;
        let (host, path) = rest
            .split_once('/')
            .map_or((rest, "/".to_owned()), |(host, path)| (host, format!("/{path}")));
        let resolved = host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?.next();
        let address = resolved.ok_or(format!("{host} is no address with a port"))?;
        let processes = listeners(address.port());
        let first = *processes
            .first()
            .ok_or(format!("{url}: no process of this user listens on port {}", address.port()))?;
        Ok(Self {
            name: version(first),
            address,
            path,
            takes,
            processes,
        })
    }

    fn cpu(&self) -> f64 {
        self.processes.iter().map(|pid| ticks(*pid)).sum::<f64>() / TICKS
    }

    fn peak(&self) -> f64 {
        self.processes.iter().map(|pid| kib(*pid, "VmHWM:")).sum::<f64>() / 1024.0
    }

    fn forget_peak(&self) {
        for pid in &self.processes {
            let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }
}

/// What one program cost at one level, in every round.
#[derive(Clone, Default)]
struct Cost {
    seconds: Vec<f64>,
    rate: Vec<f64>,
    peak: Vec<f64>,
}

pub fn against(plan: &Plan, peers: &[Peer], report: &mut Report) -> Result<(), String> {
    let rounds = if plan.quick { 1 } else { 3 };
    let mut costs = vec![vec![Cost::default(); LEVELS.len()]; peers.len() + 1];
    for _ in 0..rounds {
        for (l, (size, count, at_once)) in LEVELS.into_iter().enumerate() {
            let file = jpeg(size);
            let bytes = (size * count) as f64;
            let folder = Folder::new();
            let mut portal = Child::start("portal", &json!({ "folder": folder.path(), "blobs": "files" }));
            let paths = portal.issue(count);
            let form = Arc::new(Form::of(&file));
            portal.forget_peak();
            let (before, start) = (portal.cpu(), Instant::now());
            client::uploads(portal.address(), &paths, &form, at_once)?;
            note(&mut costs[0][l], portal.cpu() - before, bytes, start, portal.peak() as f64 / MIB);
            for (peer, costs) in peers.iter().zip(&mut costs[1..]) {
                let (form, paths) = match &peer.takes {
                    Takes::Form(field) => (Form::field(field, &file), vec![peer.path.clone(); count]),
                    Takes::Put => (Form::put(&file), (0..count).map(|n| format!("{}{n}", peer.path)).collect()),
                };
                let form = Arc::new(form);
                peer.forget_peak();
                let (before, start) = (peer.cpu(), Instant::now());
                client::uploads(peer.address, &paths, &form, at_once).map_err(|wrong| format!("{}: {wrong}", peer.name))?;
                note(&mut costs[l], peer.cpu() - before, bytes, start, peer.peak());
            }
        }
    }
    let ours = format!("nightdrop {}", env!("CARGO_PKG_VERSION"));
    let names: Vec<&str> = std::iter::once(&ours[..]).chain(peers.iter().map(|peer| &peer.name[..])).collect();
    let levels = LEVELS.map(|(size, count, at_once)| format!("{} MB × {count}, {at_once} at once", size / 1_000_000));
    type Of = fn(&Cost) -> &[f64];
    let figures: [(&str, &str, Of); 3] = [
        ("CPU seconds per GB", "s/GB", |cost| &cost.seconds),
        ("received", "MB/s", |cost| &cost.rate),
        ("peak memory", "MiB", |cost| &cost.peak),
    ];
    for (group, unit, of) in figures {
        for (l, at) in levels.iter().enumerate() {
            for (name, costs) in names.iter().zip(&costs) {
                report.figure(group, format!("{name}, {at}"), median(of(&costs[l])), unit);
            }
        }
    }
    for (l, at) in levels.iter().enumerate() {
        for (name, costs_of_peer) in names.iter().zip(&costs).skip(1) {
            let ratio = median(&costs[0][l].seconds) / median(&costs_of_peer[l].seconds);
            report.figure("ratios", format!("CPU, {ours} ÷ {name}, {at}"), ratio, "");
        }
    }
    Ok(())
}

fn note(cost: &mut Cost, seconds: f64, bytes: f64, start: Instant, peak: f64) {
    cost.seconds.push(seconds * 1e9 / bytes);
    cost.rate.push(bytes / 1e6 / start.elapsed().as_secs_f64());
    cost.peak.push(peak);
}

/// The processes of this user that listen on a port, in IPv4 or IPv6.
fn listeners(port: u16) -> Vec<u32> {
    const LISTENING: &str = "0A";
    let mut sockets = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let here = fields[1].rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
            if here == Some(port) && fields[3] == LISTENING {
                sockets.push(format!("socket:[{}]", fields[9]));
            }
        }
    }
    let holds = |pid: &u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|target| sockets.iter().any(|socket| target == Path::new(socket)))
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<u32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(holds)
        .collect();
    found.sort_unstable();
    found
}

/// User and system time of a process and of its threads.
fn ticks(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in brackets and may hold anything.
    let behind = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = behind.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0)
}

fn kib(pid: u32, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}

/// What the program calls itself, by `--version` or `-v`, else its file's name.
fn version(pid: u32) -> String {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let said = ["--version", "-v"].into_iter().find_map(|flag| {
        let output = Command::new(&program)
            .arg(flag)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
    });
    let file = program.file_name().map(|name| name.to_string_lossy().into_owned());
    said.filter(|line| !line.is_empty() && line.len() <= 60)
        .or(file)
        .unwrap_or_default()
}
