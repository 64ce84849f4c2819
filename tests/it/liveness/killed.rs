//! Starts and first creations that are killed at every call that changes something on the disk.

use super::*;

/// For a store that holds no account yet.
struct NoRows;

impl nightdrop::testing::storage::seal::Seal for NoRows {
    fn mac(&self, _: &[u8], _: &[u8]) -> [u8; 32] {
        [0; 32]
    }

    fn fits(&self, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        false
    }
}

/// Everything by which a start changes files. `write` counts the log's lines and wake-ups too.
const CALLS: [&str; 12] = [
    "pwrite64",
    "rename",
    "unlink",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "mkdir",
    "openat",
    "write",
    "writev",
    "flock",
];

/// How a start under `strace` ended.
#[derive(Debug, PartialEq)]
enum Start {
    Killed,
    Whole,
}

/// Runs `command` and kills it before its `nth` call of one kind (in any of its threads).
fn killed_at(command: &Command, call: &str, nth: u32) -> Start {
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"])
        .arg(format!("inject={call}:signal=KILL:when={nth}"))
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut strace = traced.spawn().unwrap();
    let mut lines = BufReader::new(strace.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The first line of a portal comes when it is open; a command's when it is done.
    let came = lines.next().is_some();
    if came {
        let children = format!("/proc/{0}/task/{0}/children", strace.id());
        for child in std::fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", child]).status();
        }
    }
    lines.for_each(drop);
    let _ = strace.wait().unwrap();
    if came { Start::Whole } else { Start::Killed }
}

/// Which calls are tried: all when there is time, else the rare ones and a sample of the frequent.
fn step(call: &str, nth: u32) -> u32 {
    match call {
        "openat" if !long() => 9,
        "write" if !long() && nth > 6 => 9,
        "fsync" if !long() && nth > 6 => 3,
        _ => 1,
    }
}

#[tokio::test]
#[ignore = "needs strace and takes a minute: tests/run"]
async fn a_start_killed_at_any_call_is_followed_by_one_with_everything_there() {
    let site = Site::new(3).await;
    let mut kills = 0;
    for call in CALLS {
        let mut nth = 1;
        loop {
            let what = format!("killed at {call} {nth}");
            let folder = Folder::new();
            copy(site.folder(), folder.path());
            if killed_at(&serve(folder.path()), call, nth) == Start::Whole {
                break;
            }
            kills += 1;
            // And a second time at another place, before the start that succeeds.
            killed_at(&serve(folder.path()), "pwrite64", nth % 4 + 1);
            killed_at(&serve(folder.path()), "fsync", nth % 7 + 1);
            holds(folder.path(), site.links.iter(), &what).await;
            nth += step(call, nth);
        }
    }
    crate::support::say(&format!("{kills} kills of a start survived"));
    assert!(kills > 20, "only {kills} kills: nothing was tried");
}

#[tokio::test]
#[ignore = "needs strace and takes half a minute: tests/run"]
async fn a_store_whose_creation_was_killed_at_any_call_opens() {
    let mut kills = 0;
    for call in CALLS {
        let mut nth = 1;
        loop {
            let folder = Folder::new();
            let data = folder.path().join("data");
            let mut init = Command::new(env!("CARGO_BIN_EXE_nightdrop"));
            let password = folder.path().join("password");
            private(&password, "correct horse battery staple 9\n");
            init.args([
                "init",
                "--yes",
                "--json",
                "--public-url",
                "http://127.0.0.1:8080",
                "--erasure-slots",
                "16",
            ])
            .args([
                "--accept-weak-erasure",
                "--listen-public",
                "127.0.0.1:0",
                "--listen-staff",
                "127.0.0.1:0",
            ])
            .args(["--admin-email", "ana@example.com", "--data-dir"])
            .arg(&data)
            .arg("--admin-password-file")
            .arg(&password);
            if killed_at(&init, call, nth) == Start::Whole {
                break;
            }
            kills += 1;
            let options = nightdrop::testing::storage::sled::durable::Options::default();
            let opened = nightdrop::testing::storage::sled::SledStore::open(
                &data.join("store"),
                options,
                Source::System,
                std::sync::Arc::new(NoRows),
            );
            assert!(opened.is_ok(), "killed at {call} {nth}: {:?}", opened.err());
            nth += step(call, nth);
        }
    }
    crate::support::say(&format!("{kills} kills of a creation survived"));
    assert!(kills > 20, "only {kills} kills: nothing was tried");
}

#[tokio::test]
#[ignore = "needs strace and root: tests/run"]
async fn a_start_killed_on_a_full_disk_is_followed_by_one_with_everything_there() {
    let site = Site::new(2).await;
    for (call, nth) in [
        ("pwrite64", 1),
        ("pwrite64", 2),
        ("pwrite64", 3),
        ("rename", 1),
        ("unlink", 1),
        ("fsync", 1),
        ("fsync", 2),
        ("fsync", 4),
    ] {
        let what = format!("killed at {call} {nth} on a full disk");
        let base = Folder::new();
        let disk = disk::SmallDisk::mount(&base.path().join("disk"), 160 << 20);
        copy(site.folder(), disk.path());
        // The ballast is there, and then nothing else: what a portal leaves that other programs have filled up.
        holds(disk.path(), site.links.iter(), &what).await;
        disk.fill();
        killed_at(&serve(disk.path()), call, nth);
        killed_at(&serve(disk.path()), "pwrite64", 2);
        holds(disk.path(), site.links.iter(), &what).await;
    }
}
