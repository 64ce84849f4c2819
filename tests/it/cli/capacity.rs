//! What of the disk comes back, and how: `nightdrop compact`, purged documents, and erasure slots that become more. Each is killed where it hurts.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nightdrop::testing::crypto::slots::SlotsFile;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::storage::key;
use nightdrop::testing::storage::sled::durable::{DurableSled, Options};
use nightdrop::testing::storage::sled::records::Batch;
use serde_json::Value;

use super::recovery::Stopped;
use super::{Made, complaint, done, fails, json, nightdrop, out};
use crate::support::{TestApp, png, say, sha256, walk};

/// What the files below a folder take on the disk.
fn taken(folder: &Path) -> u64 {
    walk(folder)
        .iter()
        .map(|file| std::fs::metadata(file).unwrap().blocks() * 512)
        .sum()
}

fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    walk(folder)
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(&file).unwrap()))
        .collect()
}

/// What a store has after years: rows that were changed again and again, and are gone. `stay`: rows that are left in the end.
fn wear(store: &Path, stay: u32) {
    let opened = (0..500).find_map(|_| {
        let opened = DurableSled::open(store, Options::default()).ok();
        if opened.is_none() {
            // The portal of this process may still be closing it.
            std::thread::yield_now();
        }
        opened
    });
    let store = opened.expect("the store is free");
    for round in 0..4_u8 {
        for first in (0..1_000_u32).step_by(100) {
            let mut batch = Batch::new();
            for number in first..first + 100 {
                let row = key::meta(&format!("worn-{number}"));
                match round {
                    3 => batch.remove(row),
                    _ => batch.put(row, noise(u64::from(number) << 8 | u64::from(round))),
                };
            }
            let seq = store.apply(batch).unwrap();
            store.settled_blocking(seq).unwrap();
        }
    }
    for first in (0..stay).step_by(1_000) {
        let mut batch = Batch::new();
        for number in first..(first + 1_000).min(stay) {
            batch.put(key::meta(&format!("kept-{number}")), number.to_be_bytes());
        }
        store.apply(batch).unwrap();
    }
    store.durable_blocking().unwrap();
}

fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..16_000).map(|_| next()).collect()
}

/// A portal that was stopped goes on as if nothing had been: the held document is delivered as it came, the open link takes one, and the log is whole.
async fn goes_on(stopped: &mut Stopped, sent: &str) {
    stopped.app.open_again().await;
    assert!(!stopped.path("store/compacting").exists(), "what was left over is gone");
    stopped.app.work().await;
    assert_eq!(stopped.app.state(&stopped.held).await, RequestState::Purged);
    let received = stopped.app.received().await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["parts"][0]["sha256"], sent);
    assert_eq!(stopped.app.state(&stopped.open).await, RequestState::Awaiting);
    assert_eq!(stopped.app.drop_front(&stopped.open, 5).await.len(), 64);
    stopped.app.work().await;
    assert_eq!(stopped.app.received().await.len(), 2);
    assert_eq!(stopped.app.portal.erasure.live().unwrap(), vec![], "no secret without an owner");
    assert!(!stopped.app.portal.assurance.is_weakened(), "erasing is worth what it was");
    crate::audit::verified(&stopped.app.portal).await;
    stopped.app.stop().await;
    stopped.app.let_go().await;
}

/// As [`Stopped::new`] drops it.
fn held() -> String {
    sha256(&png(1, 60_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_gives_the_disk_back_and_changes_no_record() {
    let mut stopped = Stopped::new().await;
    let store = stopped.path("store");
    tokio::task::spawn_blocking(move || wear(&store, 10)).await.unwrap();
    let before = taken(&stopped.path("store"));
    let (documents, slots) = (bytes_of(&stopped.path("documents")), bytes_of(&stopped.path("erasure")));
    let output = stopped.run(&["compact", "--json"]).await;
    assert!(output.status.success(), "{}", complaint(&output));
    let said = json(&out(&output));
    let after = taken(&stopped.path("store"));
    assert!(before > 40 << 20 && after < before / 2, "{before} {after} {said}");
    assert!(said["before_bytes"].as_u64() > said["after_bytes"].as_u64(), "{said}");
    assert!(said["records"].as_u64().unwrap() > 10, "{said}");
    assert_eq!(bytes_of(&stopped.path("documents")), documents);
    let (was, is) = (slots, bytes_of(&stopped.path("erasure")));
    let secrets = stopped.path("erasure/erase.slots");
    assert!(was[&secrets] == is[&secrets], "no erasure secret is touched");
    assert!(!complaint(&output).contains('\u{1b}'), "nothing is drawn for nobody");
    let again = stopped.run(&["compact"]).await;
    assert!(out(&again).contains("all as they were"), "{}{}", out(&again), complaint(&again));
    goes_on(&mut stopped, &held()).await;
    say(&format!(
        "compact: the store took {} MiB and takes {} MiB",
        before >> 20,
        after >> 20
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_compaction_leaves_a_store_that_is_whole() {
    for point in FAILPOINTS.iter().filter(|point| point.starts_with("store.")) {
        let mut stopped = Stopped::new().await;
        let output = stopped.run_until(&["compact"], point).await;
        assert_eq!(output.status.signal(), Some(9), "{point}: {}{}", out(&output), complaint(&output));
        assert!(stopped.path("store/compacting/sled/db").exists(), "{point}");
        // A start takes it as it is; so does another run.
        if point.ends_with('2') {
            let output = stopped.run(&["compact"]).await;
            assert!(output.status.success(), "{point}: {}", complaint(&output));
        }
        goes_on(&mut stopped, &held()).await;
    }
}

#[test]
fn a_running_portal_is_not_compacted() {
    let made = Made::new(&[]);
    let serving = made.serve();
    let sentence = fails(&mut made.with_config(&["compact"]));
    assert!(sentence.contains("stop the portal first"), "{sentence}");
    serving.stop();
    let said = json(&done(&mut made.with_config(&["compact", "--json"])));
    assert!(said["records"].as_u64() > Some(5), "{said}");
    made.serve().stop();
}

/// Each document is a file of its own, which goes with its purge: nothing is kept for later.
#[tokio::test]
async fn what_a_purged_document_took_comes_back_at_once() {
    let app = TestApp::new().await;
    let documents = app.data().join("documents");
    let empty = taken(&documents);
    let mut links = Vec::new();
    for seed in 0..4 {
        let link = app.link_for("passport", None).await;
        assert_eq!(app.drop_files(&link, &[("front", &png(seed, 900_000))]).await.status(), 200);
        links.push(link);
    }
    let held = taken(&documents);
    assert!(held > empty + 3_500_000, "{held}");
    app.work().await;
    for link in &links {
        assert_eq!(app.state(link).await, RequestState::Purged);
    }
    assert_eq!(taken(&documents), empty);
}

/// The failpoints that these tests end a process at.
pub const FAILPOINTS: [&str; 5] = [
    "store.compaction_begun#2",
    "store.compaction_written",
    "store.compaction_exchanged",
    "erasure.slots_appended",
    "erasure.slots_counted",
];

/// Writes another number of slots into the configuration, for children and for this process.
fn configure(stopped: &mut Stopped, from: u64, to: u64) {
    let file = stopped.app.folder.path().join("nightdrop.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace(&format!("slots = {from}"), &format!("slots = {to}"));
    assert_ne!(text, changed);
    std::fs::write(&file, changed).unwrap();
    stopped.app.configure(|config| config.erasure_slots = to);
}

/// What the doctor finds once this process has let the store go.
async fn doctor(stopped: &Stopped) -> String {
    let mut found = String::new();
    crate::support::until("the store is free", async || {
        found = out(&stopped.run(&["doctor"]).await);
        !found.contains("a running portal holds it")
    })
    .await;
    found
}

fn slots(stopped: &Stopped) -> u64 {
    SlotsFile::look(&stopped.path("erasure/erase.slots")).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_gives_the_slots_file_what_is_configured_and_never_takes_any_away() {
    let mut stopped = Stopped::new().await;
    configure(&mut stopped, 64, 200);
    let found = doctor(&stopped).await;
    assert!(found.contains("the file has 64 slots, and erasure.slots is 200"), "{found}");
    assert_eq!(slots(&stopped), 64, "the doctor changes nothing");
    goes_on(&mut stopped, &held()).await;
    assert_eq!(slots(&stopped), 200);
    assert_eq!(std::fs::metadata(stopped.path("erasure/erase.slots")).unwrap().len(), 201 * 4096);
    configure(&mut stopped, 200, 100);
    let found = doctor(&stopped).await;
    assert!(found.contains("set erasure.slots = 200"), "{found}");
    stopped.app.open_again().await;
    assert_eq!(stopped.app.portal.erasure.free().unwrap(), 200);
    assert!(!stopped.app.portal.assurance.is_weakened());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growth_of_the_slots_that_is_killed_goes_on_at_the_next_start() {
    for point in FAILPOINTS.iter().filter(|point| point.starts_with("erasure.")) {
        for next in [200, 300, 64] {
            let mut stopped = Stopped::new().await;
            configure(&mut stopped, 64, 200);
            let output = stopped.run_until(&["serve"], point).await;
            assert_eq!(output.status.signal(), Some(9), "{point}: {}{}", out(&output), complaint(&output));
            if next != 200 {
                configure(&mut stopped, 200, next);
            }
            goes_on(&mut stopped, &held()).await;
            let counted = point.ends_with("counted");
            assert_eq!(slots(&stopped), if counted { next.max(200) } else { next }, "{point} {next}");
            let length = std::fs::metadata(stopped.path("erasure/erase.slots")).unwrap().len();
            assert_eq!(length, (slots(&stopped) + 1) * 4096, "{point} {next}");
        }
    }
}

/// A command at a terminal of its own, which `script` from util-linux makes; returns what stood on the screen.
fn at_a_terminal(command: &str, environment: &[(&str, &str)]) -> String {
    let output = Command::new("script")
        .args(["-qefc", command, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("NIGHTDROP_ACCEPT_VOLATILE_DATA", "true")
        .env("NIGHTDROP_ACCEPT_READABLE_SWAP", "true")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}: {screen}");
    screen
}

#[test]
fn long_work_draws_a_bar_on_a_terminal_and_nowhere_else() {
    let made = Made::new(&[]);
    wear(&made.path("data/store"), 60_000);
    let command = format!("{} compact --config {}", env!("CARGO_BIN_EXE_nightdrop"), made.config.display());
    let screen = at_a_terminal(&command, &[("TERM", "xterm")]);
    assert!(screen.contains("writing records [") && screen.contains(" %"), "{screen:?}");
    let last = screen.trim_end().lines().last().unwrap();
    let shown = last.rsplit("\u{1b}[K").next().unwrap();
    assert!(shown.starts_with("✓ 6"), "the bar is taken away: {screen:?}");
    for quiet in [("TERM", "dumb"), ("NO_COLOR", "1")] {
        let screen = at_a_terminal(&command, &[quiet]);
        assert!(
            !screen.contains('[') && screen.contains("all as they were"),
            "{quiet:?}: {screen:?}"
        );
    }
    let output = made.with_config(&["compact"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", complaint(&output));

    // A backup is read with a bar too, and by a program without one.
    let passphrase = made.path("passphrase");
    crate::support::private(&passphrase, "a long enough passphrase");
    let backup = made.path("portal.age");
    let backup = backup.to_str().unwrap();
    let opened_by = ["--passphrase-file", passphrase.to_str().unwrap()];
    done(made.with_config(&["backup", backup]).args(opened_by));
    let mut verify = nightdrop(&["backup", "--verify", backup]);
    let output = verify.args(opened_by).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", complaint(&output));
    let _: Value = json(&done(nightdrop(&["backup", "--json", "--verify", backup]).args(opened_by)));
}
