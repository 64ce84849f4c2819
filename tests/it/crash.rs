//! `kill -9` at any moment: what was answered with 200 is delivered exactly once with effect and purged with a receipt, and nothing is left behind.
//!
//! The portal with its worker is a child process (this binary again) on a folder; the provider stays in the test. Once at random moments while the
//! provider misbehaves, once at each of the named points of [`nightdrop::crash`]. The invariants are those of the design:
//! A acknowledged ⇒ not lost · E no secret without an owner · O at most one document per link · D at most one delivery with effect · P nothing readable on disk.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use nightdrop::testing::app::{self, App, KeyProtection};
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::envelope::Suite;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::{Intake, IntakeKind, Stage};
use nightdrop::testing::failpoint::Failpoint;
use nightdrop::testing::sandbox::{self, Sandbox};
use nightdrop::testing::settings::Secret;
use nightdrop::testing::storage::clock::{Manual, Source, from_ms};
use nightdrop::testing::workflow::issue;
use serde_json::{Value, json};

mod power;
mod site;

pub use site::runtime;

use site::{Site, SmallDisk, child};

use crate::forwarding::Random;
use crate::scan::{Played, required};
use crate::support::{Folder, Link, ask, client, form, png, private, until, walk};

const FOLDER: &str = "NIGHTDROP_CRASH_FOLDER";
const START: &str = "NIGHTDROP_CRASH_CLOCK";
/// The child's clock runs this much faster, so that backoffs do not make the test wait.
const HASTE: i64 = 40;

/// A failpoint that no test ends at proves nothing.
#[test]
fn every_failpoint_is_ended_at() {
    let connectors = crate::providers::crash::failpoints();
    for point in Failpoint::ALL {
        let named = |at: &str| at.split('#').next() == Some(point.name());
        let capacity = crate::cli::capacity::FAILPOINTS;
        let ended = POINTS.iter().any(|case| named(case.at)) || connectors.iter().chain(&capacity).any(|at| named(at));
        assert!(ended, "no test ends at {}", point.name());
    }
}

#[test]
fn every_point_of_a_crash_is_survived() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(&PathBuf::from(folder));
    }
    runtime().block_on(async {
        // Mostly waiting for disks and children: a few at once.
        let cases = futures_util::stream::iter(POINTS).map(|case| async move {
            let start = Instant::now();
            let hit = if one_point(case).await { "hit" } else { "NEVER HIT" };
            format!("{:<30} {:<44} {hit} {} ms", case.at, case.what, start.elapsed().as_millis())
        });
        let table: Vec<String> = cases.buffered(4).collect().await;
        let table = table.join("\n");
        let _ = writeln!(std::io::stderr(), "{table}");
        assert!(!table.contains("NEVER HIT"), "{table}");
    });
}

#[test]
fn random_crashes_lose_nothing_and_send_nothing_twice() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(&PathBuf::from(folder));
    }
    let rounds = if long() { 1_000 } else { 20 };
    runtime().block_on(random_crashes(rounds));
}

fn long() -> bool {
    std::env::var_os("NIGHTDROP_TEST_LONG").is_some()
}

/// Where the process ends, what the provider does, and whether the test itself kills at the right moment.
struct Case {
    what: &'static str,
    /// As `NIGHTDROP_FAILPOINT` wants it; the canary at start passes some points once.
    at: &'static str,
    plan: &'static [&'static str],
}

const POINTS: &[Case] = &[
    Case {
        what: "slot page written, not synced",
        at: "erasure.slot_written#2",
        plan: &[],
    },
    Case {
        what: "slot synced",
        at: "erasure.slot_stored",
        plan: &[],
    },
    Case {
        what: "one chunk stored",
        at: "intake.chunk_written",
        plan: &[],
    },
    Case {
        what: "some chunks stored",
        at: "intake.chunk_written#3",
        plan: &[],
    },
    Case {
        what: "all chunks, no commit",
        at: "intake.part_sealed",
        plan: &[],
    },
    Case {
        what: "commit decided, not synced",
        at: "intake.part_decided",
        plan: &[],
    },
    Case {
        what: "commit synced, 200 not sent",
        at: "intake.part_stored",
        plan: &[],
    },
    Case {
        what: "200 sent",
        at: "",
        plan: &[],
    },
    Case {
        what: "lease taken",
        at: "delivery.leased",
        plan: &[],
    },
    Case {
        what: "decrypted into memory",
        at: "delivery.decrypted",
        plan: &[],
    },
    Case {
        what: "scanned, verdict not acted upon",
        at: "delivery.scanned",
        plan: &[],
    },
    Case {
        what: "intent durable, no byte sent",
        at: "delivery.intent_stored",
        plan: &[],
    },
    Case {
        what: "half of the bytes sent",
        at: "delivery.piece_sent",
        plan: &[],
    },
    Case {
        what: "provider committed, answer on its way",
        at: "",
        plan: &["endless"],
    },
    Case {
        what: "answer received, not stored",
        at: "delivery.answered",
        plan: &[],
    },
    Case {
        what: "answer received after an unknown first try",
        at: "delivery.receipt_decided",
        plan: &["commit_then_drop"],
    },
    Case {
        what: "Received stored, not synced",
        at: "delivery.receipt_decided",
        plan: &[],
    },
    Case {
        what: "callback verified, not stored",
        at: "callback.verified",
        plan: &["pending:1"],
    },
    Case {
        what: "purge begun, secret live",
        at: "purge.started",
        plan: &[],
    },
    Case {
        what: "purge begun after a rejection",
        at: "purge.started",
        plan: &["reject:expired"],
    },
    Case {
        what: "zeros written, not synced",
        at: "erasure.zeros_written#2",
        plan: &[],
    },
    Case {
        what: "zeros synced, not read back",
        at: "erasure.zeros_synced#2",
        plan: &[],
    },
    Case {
        what: "chunks partly deleted",
        at: "purge.file_deleted",
        plan: &[],
    },
    Case {
        what: "purge stored, slot not free yet",
        at: "purge.receipt_stored",
        plan: &[],
    },
];

async fn one_point(case: &Case) -> bool {
    let clamd = Folder::new();
    let site = match case.at {
        "delivery.scanned" => {
            let socket = clamd.path().join("clamd.ctl");
            Played::at(&socket);
            Site::with_options("received", &required(&socket), |_| {}).await
        }
        _ if case.plan == ["pending:1"] => Site::new("verdict").await,
        _ => Site::new("received").await,
    };
    let link = site.links(1).await.remove(0);
    site.plan(case.plan).await;
    let file = png(case.what.len() as u64 + 5, 400_000);
    let mut portal = site.start(case.at).await;
    site.sandbox.set_callback(Some(format!("http://{}/hooks/sandbox", portal.address)));
    let acknowledged = portal.send(&link, &file).await == Some(200);
    match case.what {
        "200 sent" => assert!(acknowledged),
        "provider committed, answer on its way" => until("the provider has it", async || !site.received().await.is_empty()).await,
        _ => {}
    }
    let hit = if case.at.is_empty() {
        portal.kill();
        true
    } else {
        portal.ended().await
    };
    // The moment of recovery, before any worker turns: E and O; and P at any time.
    site.look_into(&[&link], &[&file], false).await;
    let mut portal = site.start("").await;
    site.sandbox.set_callback(Some(format!("http://{}/hooks/sandbox", portal.address)));
    if !acknowledged {
        // The applicant tries again. Either the first try counts after all, or this one does.
        let again = portal.send(&link, &file).await;
        assert!(matches!(again, Some(200 | 409)), "{}: {again:?}", case.what);
    }
    portal.purged(&link).await;
    portal.kill();
    site.look_into(&[&link], &[&file], true).await;
    let received = site.received().await;
    assert_eq!(received.len(), 1, "{}: {received:?}", case.what);
    assert_eq!(received[0]["deliveries"], 1, "{}", case.what);
    assert_eq!(received[0]["parts"][0]["sha256"], crate::support::sha256(&file), "{}", case.what);
    hit
}

async fn random_crashes(rounds: u64) {
    let seed = std::env::var("NIGHTDROP_CRASH_SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 % 1_000_000,
        |s| s.parse().unwrap(),
    );
    let _ = writeln!(std::io::stderr(), "NIGHTDROP_CRASH_SEED={seed}");
    let mut random = Random(seed << 8 | 1);
    let site = Site::new("received").await;
    let links = site.links(rounds as usize * 6).await;
    let bad = [
        "commit_then_drop",
        "commit_then_500",
        "500",
        "503:0",
        "drop",
        "garbage",
        "duplicate",
        "slow:150",
        "sticky_500",
        "429:1",
    ];
    let plan: Vec<&str> = (0..rounds * 40)
        .map(|_| {
            if random.below(5) == 0 {
                bad[random.below(bad.len() as u64) as usize]
            } else {
                "ok"
            }
        })
        .collect();
    site.plan(&plan).await;
    let mut acknowledged = Vec::new();
    let points: Vec<&Case> = POINTS.iter().filter(|case| !case.at.is_empty()).collect();
    let mut coverage = BTreeMap::<&str, u32>::new();
    for (round, mine) in links.chunks(6).enumerate() {
        // Every other round ends at a named point, at one of its first passings; the others at any moment.
        let point = (round % 2 == 1).then(|| points[random.below(points.len() as u64) as usize]);
        let at = point.map(|case| format!("{}#{}", case.at.split('#').next().unwrap(), 1 + random.below(6)));
        let portal = Arc::new(site.start_anyhow(at.as_deref().unwrap_or_default()).await);
        let uploads: Vec<_> = mine
            .chunks(3)
            .enumerate()
            .map(|(lane, links)| {
                let portal = portal.clone();
                let paths: Vec<String> = links.iter().map(|l| l.path.clone()).collect();
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for (n, path) in paths.into_iter().enumerate() {
                        let file = png((round * 6 + lane * 3 + n) as u64, 3_000 + n * 120_000);
                        if portal.post(&path, &file).await != Some(200) {
                            break;
                        }
                        done.push(path);
                    }
                    done
                })
            })
            .collect();
        // The moment itself is what is random here, not a state that is waited for.
        let moment = std::time::Duration::from_millis(random.below(900));
        match point {
            Some(case) if portal.ends_within(moment * 4).await => *coverage.entry(case.what).or_default() += 1,
            Some(_) => portal.signal(),
            None => {
                tokio::time::sleep(moment).await;
                portal.signal();
            }
        }
        for lane in uploads {
            acknowledged.extend(lane.await.unwrap());
        }
        drop(portal);
        if round % 10 == 9 {
            site.look_into(&[], &[], false).await;
        }
    }
    assert!(
        acknowledged.len() > rounds as usize / 2,
        "only {} uploads got through: nothing was tested",
        acknowledged.len()
    );
    let mut portal = site.start("").await;
    for link in links.iter().filter(|l| acknowledged.contains(&l.path)) {
        portal.purged(link).await;
    }
    // Some were stored whose answer was cut off; they are delivered as well.
    portal.quiet(&links).await;
    portal.kill();
    let known: Vec<&Link> = links.iter().filter(|l| acknowledged.contains(&l.path)).collect();
    let purged = site.look_into(&known, &[], true).await;
    let received = site.received().await;
    assert!(received.iter().all(|r| r["deliveries"] == 1), "{received:?}");
    let twice: BTreeMap<&str, usize> = received.iter().fold(BTreeMap::new(), |mut all, r| {
        *all.entry(r["applicant"].as_str().unwrap()).or_default() += 1;
        all
    });
    assert!(twice.values().all(|n| *n == 1), "{twice:?}");
    assert_eq!(received.len(), purged, "delivered and purged are the same documents");
    let _ = writeln!(
        std::io::stderr(),
        "{rounds} rounds: {} acknowledged, {purged} delivered once and purged, {} provider answers misbehaved",
        acknowledged.len(),
        plan.iter().filter(|p| **p != "ok").count()
    );
    let _ = writeln!(std::io::stderr(), "ended at named points: {coverage:?}");
    if long() {
        // Those that this workload (no scanner, no callbacks, nobody rejected) passes at all.
        for case in [
            "C4", "C5", "C6", "C8", "C10", "C12", "C13", "C15", "C18", "C21", "C22", "C23", "C25",
        ] {
            assert!(
                coverage.get(case).is_some_and(|hits| *hits >= 5),
                "{case} was hardly ever hit: {coverage:?}"
            );
        }
    }
}

#[test]
#[ignore = "needs root to mount a small disk: cargo test --test it crash -- --ignored"]
fn a_full_disk_refuses_politely_and_empties_itself() {
    runtime().block_on(full_disk());
}

async fn full_disk() {
    let mut disk = None;
    let site = Site::prepared("received", |folder| disk = Some(SmallDisk::mount(&folder.join("data"), "200m"))).await;
    let links = site.links(60).await;
    let mut running = site.open().await.start_with(false).await.unwrap();
    let file = png(1, 3_000_000);
    let send = async |running: &app::Running, link: &Link| {
        let (body, kind) = form(&[("front", &file)]);
        let url = format!("http://{}{}", running.public, link.path);
        site.http.post(url).header("content-type", kind).body(body).send().await.unwrap()
    };
    let whole = async |running: &app::Running, count: usize| {
        let portal = &running.portal;
        until("what was refused is given up", async || portal.intake.in_flight.is_empty()).await;
        nightdrop::testing::worker::clean(portal).await;
        assert_eq!(portal.requests.live_documents().await.unwrap().len(), count);
        assert_eq!(portal.blobs.documents().await.unwrap().len(), count);
        assert_eq!(portal.erasure.live().unwrap().len(), count);
    };
    let mut stored = 0;
    let refused = loop {
        let answer = send(&running, &links[stored]).await;
        if answer.status() != 200 {
            break answer;
        }
        stored += 1;
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(stored >= 5, "only {stored} fitted");
    whole(&running, stored).await;
    // Its own limits leave room to work: a few are delivered and purged from the full disk, without a restart.
    for _ in 0..3 {
        assert_eq!(
            nightdrop::testing::worker::step(&running.portal).await.unwrap(),
            nightdrop::testing::worker::Step::Done
        );
    }
    whole(&running, stored - 3).await;
    // Another program takes most of the rest: below every reserve of ours. At worst the process has to start again, with the help of its ballast.
    let filler = disk.as_ref().unwrap().fill(24 << 20);
    assert_eq!(send(&running, &links[stored]).await.status(), 503);
    let mut restarts = 0;
    loop {
        match nightdrop::testing::worker::step(&running.portal).await {
            Ok(nightdrop::testing::worker::Step::Idle) => break,
            Ok(nightdrop::testing::worker::Step::Done) => {}
            Err(error) => {
                restarts += 1;
                assert!(restarts <= 2, "{error}");
                running.stop().await;
                running = site.open().await.start_with(false).await.unwrap();
            }
        }
    }
    whole(&running, 0).await;
    let received = site.received().await;
    assert!(
        received.len() == stored && received.iter().all(|r| r["deliveries"] == 1),
        "{received:?}"
    );
    std::fs::remove_file(filler).unwrap();
    for link in &links[stored..stored + 5] {
        let answer = send(&running, link).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        while nightdrop::testing::worker::step(&running.portal).await.unwrap() == nightdrop::testing::worker::Step::Done {}
    }
    whole(&running, 0).await;
    assert_eq!(site.received().await.len(), stored + 5);
    running.stop().await;
    site.look_into(&[], &[&file], false).await;
    let _ = writeln!(
        std::io::stderr(),
        "{stored} documents filled the disk; all were delivered from there, with {restarts} restarts"
    );
}
