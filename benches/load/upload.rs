//! Part 1 and 2: what an upload costs, step by step, alone and beside others; what it writes, how much memory it takes, and how long a page waits meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Plan;
use crate::child::{Child, Folder};
use crate::client::{self, Probe, quantile};
use crate::report::{Report, median};
use crate::samples::{Form, jpeg};

const MB: f64 = 1e6;
const MIB: f64 = 1024.0 * 1024.0;

/// How many uploads at once, of what size, and how many in all.
#[derive(Clone, Copy)]
struct Level {
    at_once: usize,
    size: usize,
    count: usize,
}

fn levels(plan: &Plan) -> Vec<Level> {
    let level = |at_once, size, count| Level { at_once, size, count };
    if plan.quick {
        vec![level(1, 20_000_000, 4), level(8, 5_000_000, 16), level(64, 2_000_000, 64)]
    } else {
        vec![level(1, 95_000_000, 3), level(8, 20_000_000, 16), level(64, 20_000_000, 64)]
    }
}

/// The servers, from the cheapest to the whole way.
const SERVERS: [(&str, &str, &str); 4] = [
    ("raw", "", "raw body, discarded"),
    ("multipart", "", "multipart, discarded"),
    ("portal", "none", "inspected and sealed, not stored"),
    ("portal", "files", "whole way, synced"),
];

fn serve(role: &str, blobs: &str, folder: &Folder) -> Child {
    Child::start(role, &json!({ "folder": folder.path(), "blobs": blobs }))
}

/// CPU seconds for each GB of every step, and the ratios between them.
pub fn cpu(plan: &Plan, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "CPU seconds per GB";
    let rounds = if plan.quick { 1 } else { 3 };
    let levels = levels(plan);
    let alone_bytes: u64 = if plan.quick { 300_000_000 } else { 1_000_000_000 };
    let mut alone = vec![Vec::new(); 4];
    let mut served = vec![vec![Vec::new(); levels.len()]; SERVERS.len()];
    let mut stores = vec![Vec::new(); levels.len()];
    let mut written = vec![Vec::new(); levels.len()];
    let mut speed = vec![Vec::new(); levels.len()];
    for round in 0..rounds {
        // Many at once is the longest by far, and the steadiest: it averages by itself.
        let levels = if round == 0 { &levels[..] } else { &levels[..2] };
        for (what, into) in ["cipher", "cipher-crate", "inspect-jpeg", "inspect-png"].iter().zip(&mut alone) {
            into.push(seconds_alone(&json!({ "what": what, "bytes": alone_bytes })) * 1e9 / alone_bytes as f64);
        }
        for (n, (role, blobs, _)) in SERVERS.iter().enumerate() {
            let folder = Folder::new();
            let mut child = serve(role, blobs, &folder);
            for (l, level) in levels.iter().enumerate() {
                let form = Arc::new(Form::of(&jpeg(level.size)));
                let paths = child.issue(level.count);
                let bytes = form.file as f64 * level.count as f64;
                let (cpu, wrote, start) = (child.cpu(), child.written(), Instant::now());
                client::uploads(child.address(), &paths, &form, level.at_once)?;
                served[n][l].push((child.cpu() - cpu) * 1e9 / bytes);
                if *blobs == "files" {
                    written[l].push((child.written() - wrote) as f64 / bytes);
                    speed[l].push(bytes / MB / start.elapsed().as_secs_f64());
                }
            }
        }
        for (level, into) in levels.iter().zip(&mut stores) {
            let folder = Folder::new();
            let bytes = level.size as u64 * level.count as u64;
            let asked = json!({ "what": "store", "bytes": bytes, "size": level.size, "at_once": level.at_once, "folder": folder.path() });
            into.push(seconds_alone(&asked) * 1e9 / bytes as f64);
        }
    }
    let [cipher, cipher_crate, jpeg, png] = [0, 1, 2, 3].map(|n| median(&alone[n]));
    report.figure(GROUP, "cipher alone (ChaCha20-Poly1305, 64 KiB)", cipher, "s/GB");
    report.figure(GROUP, "the same by the chacha20poly1305 crate", cipher_crate, "s/GB");
    report.figure(GROUP, "inspection alone, JPEG", jpeg, "s/GB");
    report.figure(GROUP, "inspection alone, PNG", png, "s/GB");
    for (l, level) in levels.iter().enumerate() {
        let at = format!("{} × {:.0} MB at once", level.at_once, level.size as f64 / MB);
        let by_server: Vec<f64> = served.iter().map(|levels| median(&levels[l])).collect();
        let store_alone = median(&stores[l]);
        for ((_, _, name), value) in SERVERS.iter().zip(&by_server) {
            report.figure(GROUP, format!("{name}, {at}"), *value, "s/GB");
        }
        report.figure(GROUP, format!("store alone, {at}"), store_alone, "s/GB");
        let [_, multipart, sealed, stored] = by_server[..] else {
            unreachable!()
        };
        let ratio = "ratios";
        report.at_most(
            ratio,
            format!("sealed ÷ (multipart + cipher), {at}"),
            sealed / (multipart + cipher),
            "",
            1.1,
        );
        report.figure(
            ratio,
            format!("sealed ÷ (multipart + cipher + inspection), {at}"),
            sealed / (multipart + cipher + jpeg),
            "",
        );
        report.at_most(
            ratio,
            format!("whole way ÷ (sealed + store alone), {at}"),
            stored / (sealed + store_alone),
            "",
            1.3,
        );
        report.at_most(
            "disk",
            format!("bytes written for each byte received, {at}"),
            median(&written[l]),
            "",
            1.1,
        );
        report.figure("disk", format!("received, sealed and durable, {at}"), median(&speed[l]), "MB/s");
    }
    Ok(())
}

fn seconds_alone(settings: &serde_json::Value) -> f64 {
    let child = Child::start("alone", settings);
    let seconds = child.ready["seconds"].as_f64().unwrap();
    child.stop();
    seconds
}

/// Memory at rest, of 64 uploads, of a thousand slow ones, and of what stays behind them and behind many wrong passwords.
pub fn memory(plan: &Plan, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "memory";
    let size = if plan.quick { 2_000_000 } else { 20_000_000 };
    let form = Arc::new(Form::of(&jpeg(size)));
    for (blobs, name, most) in [("none", "without a store", 256.0), ("files", "with the store", 512.0)] {
        let folder = Folder::new();
        let mut child = serve("portal", blobs, &folder);
        let rest = child.rss() as f64 / MIB;
        if blobs == "files" {
            report.at_most(GROUP, "at rest, just started", rest, "MiB", 32.0);
        }
        // What the first upload of a process touches, above all its own code, is no cost of each.
        let first = child.issue(1);
        client::uploads(child.address(), &first, &form, 1)?;
        let used = child.rss() as f64 / MIB;
        let paths = child.issue(64);
        child.forget_peak();
        client::uploads(child.address(), &paths, &form, 64)?;
        let peak = child.peak() as f64 / MIB;
        report.figure(GROUP, format!("after the first upload, {name}"), used, "MiB");
        report.figure(GROUP, format!("peak of 64 × {} MB at once, {name}", size / 1_000_000), peak, "MiB");
        let each = (peak - used) * 1024.0 / 64.0;
        report.at_most(GROUP, format!("the same for each upload, {name}"), each, "KiB", most);
    }
    let slow = if plan.quick { 200 } else { 1_000 };
    let folder = Folder::new();
    let mut child = serve("portal", "files", &folder);
    let rest = child.rss() as f64 / MIB;
    // The requests stay, and with them what the store keeps of them in memory.
    let paths = child.issue(slow);
    child.forget_peak();
    let open = client::trickle(child.address(), &paths, &form, 100_000, Duration::from_secs(5));
    report.at_most(
        GROUP,
        format!("{slow} slow uploads, resident"),
        child.rss() as f64 / MIB,
        "MiB",
        400.0 * slow as f64 / 1000.0,
    );
    report.figure(GROUP, format!("{slow} slow uploads, peak"), child.peak() as f64 / MIB, "MiB");
    drop(open);
    afterwards(GROUP, &format!("{slow} slow uploads that broke off"), rest, &mut child, report);

    let folder = Folder::new();
    let mut child = serve("portal", "files", &folder);
    let rest = child.rss() as f64 / MIB;
    let count = if plan.quick { 50 } else { 1_000 };
    let small = Arc::new(Form::of(&jpeg(1_000_000)));
    let paths = child.issue(count);
    client::uploads(child.address(), &paths, &small, 64)?;
    afterwards(GROUP, &format!("{count} uploads of 1 MB"), rest, &mut child, report);
    let guesses = if plan.quick { 50 } else { 240 };
    child.ask("guess", json!({ "count": guesses }));
    afterwards(GROUP, &format!("{} wrong passwords", 2 * guesses), rest, &mut child, report);
    Ok(())
}

/// What stays resident of a burst once the portal has done what it does every minute, beside what was resident at rest.
fn afterwards(group: &'static str, what: &str, rest: f64, child: &mut Child, report: &mut Report) {
    // The server notices that clients went away.
    std::thread::sleep(Duration::from_secs(5));
    child.ask("minute", json!(null));
    let left = child.rss() as f64 / MIB;
    report.figure(group, format!("within a minute of {what}"), left, "MiB");
    report.at_most(group, format!("the same ÷ at rest, {what}"), left / rest, "", 1.5);
}

/// How long the page takes while 64 uploads run, at a megabyte a second each and as fast as they can; beside it a server that only discards, to tell the
/// machine's share.
pub fn pages(plan: &Plan, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "page while 64 uploads run";
    let (size, rounds) = if plan.quick { (5_000_000, 1) } else { (20_000_000, 2) };
    let seconds = Duration::from_secs(if plan.quick { 2 } else { 5 });
    let form = Arc::new(Form::of(&jpeg(size)));
    let ms = |times: &[Duration], share| quantile(times, share).as_secs_f64() * 1e3;
    for (role, blobs, name) in [("multipart", "", "server that discards"), ("portal", "files", "portal")] {
        let folder = Folder::new();
        let mut child = serve(role, blobs, &folder);
        let page = child.issue(1).remove(0);
        // The first pages warm the connection and the caches.
        client::pages(child.address(), &vec![page.clone(); 50]);
        let probe = Probe::start(child.address(), &page);
        std::thread::sleep(seconds);
        let idle = probe.stop();
        report.figure(GROUP, format!("{name}: idle p50"), ms(&idle, 0.5), "ms");
        report.figure(GROUP, format!("{name}: idle p99"), ms(&idle, 0.99), "ms");
        let slow = child.issue(64);
        let probe = Probe::start(child.address(), &page);
        client::paced(child.address(), &slow, &form, 1_000_000, seconds);
        let paced = probe.stop();
        let paths = child.issue(64 * rounds);
        let probe = Probe::start(child.address(), &page);
        client::uploads(child.address(), &paths, &form, 64)?;
        let full = probe.stop();
        for (load, times) in [("64 × 1 MB/s", paced), ("64 as fast as they can", full)] {
            report.figure(GROUP, format!("{name}: p50, {load}"), ms(&times, 0.5), "ms");
            report.figure(
                GROUP,
                format!("{name}: p99, {load} ({} pages)", times.len()),
                ms(&times, 0.99),
                "ms",
            );
            let (ratio, words) = (ms(&times, 0.99) / ms(&idle, 0.99), format!("{name}: p99 ÷ idle p99, {load}"));
            if role == "portal" {
                report.at_most(GROUP, words, ratio, "", 3.0);
            } else {
                report.figure(GROUP, words, ratio, "");
            }
        }
    }
    Ok(())
}

/// Many small documents by many senders: what the group commit gives.
pub fn small(plan: &Plan, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "small documents, 64 senders";
    let count = if plan.quick { 256 } else { 2_000 };
    let form = Arc::new(Form::of(&jpeg(50_000)));
    let folder = Folder::new();
    let mut child = serve("portal", "files", &folder);
    let paths = child.issue(count);
    let (before, cpu, start) = (child.ask("metrics", json!(null)), child.cpu(), Instant::now());
    let times = client::uploads(child.address(), &paths, &form, 64)?;
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), child.cpu() - cpu);
    let after = child.ask("metrics", json!(null));
    let grown = |name: &str| (after[name].as_u64().unwrap() - before[name].as_u64().unwrap()) as f64;
    report.figure(GROUP, "documents of 50 kB, received and durable", count as f64 / elapsed, "/s");
    report.figure(GROUP, "one document, p50", quantile(&times, 0.5).as_secs_f64() * 1e3, "ms");
    report.figure(GROUP, "one document, p99", quantile(&times, 0.99).as_secs_f64() * 1e3, "ms");
    report.figure(GROUP, "CPU for each document", cpu * 1e3 / count as f64, "ms");
    report.at_least(
        GROUP,
        "acknowledgements for each fsync",
        grown("acknowledged") / grown("log_syncs"),
        "",
        1.0,
    );
    report.figure(GROUP, "fsyncs for each document", grown("log_syncs") / count as f64, "");
    Ok(())
}
