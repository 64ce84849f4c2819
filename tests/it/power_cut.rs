//! What was acknowledged survives: `kill -9`, and the power cut of a real file system.
//!
//! A writer (this binary again, see [`writer`]) stores and deletes documents from several threads and prints a line behind each acknowledgement. It is killed at
//! a random moment, or the disk under it loses its power; then the store is opened again and every acknowledged document must be whole and every acknowledged
//! deletion done.
//!
//! The power cut needs root, FUSE and loop devices (`mkfs.ext4`, `mkfs.xfs`, `mount`, `umount`), so it is ignored by a plain `cargo test`, which says so; whoever
//! asks for it gets a failure where it cannot run:
//!
//!     cargo test --test it power_cut -- --ignored          NIGHTDROP_POWER_CUT_ROUNDS=600 for more rounds; NIGHTDROP_TEST_LONG makes 3,000
//!
//! The writer's disk logs every write and every flush ([`crate::block_log`]). Afterwards the power is cut at many moments of that log: what was flushed by then is
//! there; of the rest nothing, a prefix, a random subset, or a subset with torn writes. Each result is mounted (with journal recovery) and checked. The lines of the
//! writer carry the time of the same clock, so it is known for each cut what had been acknowledged.
//!
//! That the test can fail is a test itself: [`a_plain_sled_loses_what_it_acknowledged`] runs the same writer on sled as it comes (small segments, spilled values)
//! and fails unless something is lost.
#![allow(clippy::unwrap_used)] // Tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nightdrop::testing::storage::sled::durable::Options;
use nightdrop::testing::storage::sled::records::Batch;

pub(crate) mod writer;

use crate::block_log::{Disk, Kind, Log, Unflushed};
use crate::support::say;
use writer::{Both, Random, bytes, delete, is_writer, key, name_of, plain_lost, plain_writer, row, twin, writer};

const DIR: &str = "NIGHTDROP_POWER_CUT_DIR";
const SEED: &str = "NIGHTDROP_POWER_CUT_SEED";
const ROUNDS: &str = "NIGHTDROP_POWER_CUT_ROUNDS";
const PLAIN: &str = "NIGHTDROP_POWER_CUT_PLAIN";
const IMAGE_BYTES: u64 = 768 << 20;

#[test]
fn acknowledged_writes_survive_kill_9() {
    const NAME: &str = "power_cut::acknowledged_writes_survive_kill_9";
    if is_writer() {
        return writer();
    }
    let base = Scratch::new("kill");
    let dir = base.0.join("store");
    let mut said = Said::default();
    let first = seed();
    for round in 0..rounds(20) {
        let seed = first + round;
        let writer = Writer::start(NAME, &dir, seed, false);
        writer.run_for(seed, 400);
        said.add(&writer.kill());
        // The same store goes on over all rounds: damage would add up.
        check(&dir, &said, &format!("seed {seed}"));
    }
    assert!(
        said.stored.len() > 20,
        "only {} documents: the writer hardly ran",
        said.stored.len()
    );
}

#[test]
#[ignore = "needs root, FUSE and loop devices: cargo test --test it power_cut -- --ignored"]
fn acknowledged_writes_survive_a_power_cut() {
    const NAME: &str = "power_cut::acknowledged_writes_survive_a_power_cut";
    if is_writer() {
        return writer();
    }
    let first = seed();
    let rounds = rounds(if std::env::var_os("NIGHTDROP_TEST_LONG").is_some() {
        3_000
    } else {
        60
    });
    let (mut cuts, mut documents, mut deletions) = (0, 0, 0);
    for run in 0.. {
        if cuts >= rounds {
            break;
        }
        let (seed, kind) = (first + run, if run % 3 == 2 { Kind::Xfs } else { Kind::Ext4 });
        let base = Scratch::new("cut");
        let (said, mut log) = write_until_stopped(NAME, &base.0, kind, seed, false);
        let mut random = Random(seed << 8 | 1);
        let count = CUTS_OF_A_RUN.min(rounds - cuts);
        for cut in moments(&said, &log, count, &mut random) {
            let kept = Unflushed::any(&mut random);
            let (before, disk) = cut_power(&said, &mut log, cut, kept, &mut random, &base.0);
            check(&disk.0.join("store"), &before, &format!("seed {seed} {kind:?} cut {cut} {kept:?}"));
            documents += before.stored.len();
            deletions += before.deleted.len();
        }
        cuts += count;
        say(&format!(
            "run {run} {kind:?} seed {seed}: {count} cuts in {} writes and flushes ({} flushes)",
            log.len(),
            log.flushes()
        ));
    }
    say(&format!(
        "{cuts} power cuts: {documents} stored and {deletions} deleted documents were acknowledged before them, none lost, none back"
    ));
    assert!(
        documents > 0 && deletions > 0,
        "nothing was acknowledged before the cuts: nothing was tested"
    );
}

#[test]
#[ignore = "needs root, FUSE and loop devices: cargo test --test it power_cut -- --ignored"]
fn a_plain_sled_loses_what_it_acknowledged() {
    const NAME: &str = "power_cut::a_plain_sled_loses_what_it_acknowledged";
    if is_writer() {
        return plain_writer();
    }
    let first = seed();
    for run in 0..6 {
        let seed = first + run;
        let base = Scratch::new("plain");
        let (said, mut log) = write_until_stopped(NAME, &base.0, Kind::Ext4, seed, true);
        let mut random = Random(seed << 8 | 1);
        for cut in moments(&said, &log, 5, &mut random) {
            let (before, disk) = cut_power(&said, &mut log, cut, Unflushed::Nothing, &mut random, &base.0);
            let lost = plain_lost(&disk.0.join("store"), &before);
            say(&format!("seed {seed} cut {cut}: {} stored, lost: {lost:?}", before.stored.len()));
            if lost != Ok(0) {
                return;
            }
        }
    }
    panic!("plain sled lost nothing: this power cut is too kind to prove anything");
}

#[test]
#[ignore = "needs root and loop devices: cargo test --test it power_cut -- --ignored"]
fn a_full_disk_can_be_emptied_again() {
    let (done, wait) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        for surprise in [false, true] {
            fill_and_empty(surprise);
        }
        done.send(()).unwrap();
    });
    match wait.recv_timeout(Duration::from_secs(180)) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the store hangs on a full disk"),
        _ => test.join().unwrap(),
    }
}

/// Filled by itself alone, the store refuses in time and goes on; by `surprise`, sled hits the end of the disk.
fn fill_and_empty(surprise: bool) {
    use nightdrop::testing::storage::sled::error::StoreError;
    use nightdrop::testing::storage::{BlobStore, StorageError};
    let base = Scratch::new("full");
    let image = base.0.join("image");
    std::fs::File::create(&image).unwrap().set_len(IMAGE_BYTES / 3).unwrap();
    run("mkfs.ext4", &["-q", "-F", "-m", "0", path(&image)]);
    let disk = Mounted::new(&image, &base.0.join("disk"));
    let dir = disk.0.join("store");
    let abort = Arc::new(|why: &str| panic!("{why}"));
    let options = Options {
        abort,
        ..Options::default()
    };
    let store = Both::open(&dir, options.clone());
    let mut said = Said::default();
    let mut store_one = |store: &Both, number: u64| -> Result<(), StoreError> {
        let name = (0, number);
        if !store.documents.room_for(20 * 65_552) {
            return Err(StoreError::Full { must_reopen: false });
        }
        match store.put(name, 20) {
            Ok(()) => {}
            Err(StorageError::Full) => return Err(StoreError::Full { must_reopen: false }),
            Err(error) => panic!("{error}"),
        }
        let mut batch = Batch::new();
        batch.put(row(name), 20_u32.to_be_bytes()).put(twin(name), 20_u32.to_be_bytes());
        let seq = store.rows.apply(batch)?;
        store.rows.settled_blocking(seq)?;
        said.stored.insert(name, (20, 0));
        Ok(())
    };
    let mut number = 0;
    let error = loop {
        match store_one(&store, number) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 1000, "the disk never ran full");
        if surprise && number == 30 {
            // Another program takes everything that the store has just seen to be free.
            let mut filler = std::fs::File::create(disk.0.join("filler")).unwrap();
            while filler.write_all(&[7; 4096]).is_ok() {}
        }
    };
    // Never by sled, which would be the end of the process: the ballast is given up before. Chunks that found no space leave the rows as they were.
    assert!(matches!(error, StoreError::Full { must_reopen: false }), "{error}");
    let store = if surprise {
        drop(store);
        // The filler stays: with a smaller reserve, what is purged and the ballast's room are enough to go on.
        Both::open(
            &dir,
            Options {
                reserve_bytes: 1 << 20,
                ..options
            },
        )
    } else {
        store
    };
    for number in 0..number {
        delete(&store, (0, number), 20);
    }
    store_one(&store, 5000).unwrap();
    drop(store);
    let kept = Said {
        stored: BTreeMap::from([((0, 5000), (20, 0))]),
        ..Said::default()
    };
    assert!(said.stored.len() > 20, "the disk held only {}", said.stored.len());
    check(&dir, &kept, "full disk");
}

// ---- The cut ----

/// Cuts made in the log of one run of the writer.
const CUTS_OF_A_RUN: u64 = 30;

/// Runs a writer on a fresh file system for a while. Returns what it said, and all that its disk was told.
fn write_until_stopped(name: &str, base: &Path, kind: Kind, seed: u64, plain: bool) -> (Said, Log) {
    let at = base.join("disk");
    let disk = Disk::mount(kind, base, &at);
    let writer = Writer::start(name, &at.join("store"), seed, plain);
    writer.run_for(seed, 1500);
    let said = writer.kill();
    (said, disk.stop())
}

/// Random moments of a log, ascending, from the first acknowledgement on.
fn moments(said: &Said, log: &Log, count: u64, random: &mut Random) -> Vec<usize> {
    let first = log.until(*said.stored.values().map(|(_, when)| when).min().unwrap());
    let span = (log.len() - first) as u64;
    let mut moments: Vec<usize> = (0..count).map(|_| first + random.below(span + 1) as usize).collect();
    moments.sort_unstable();
    moments
}

/// The disk as it comes back, mounted, and what had been said by the moment of the cut.
fn cut_power(said: &Said, log: &mut Log, cut: usize, kept: Unflushed, random: &mut Random, base: &Path) -> (Said, Mounted) {
    let image = base.join("image");
    let before = said.until(log.moment(cut));
    log.cut(cut, kept, random, &image);
    (before, Mounted::new(&image, &base.join("after")))
}

/// A mounted image; unmounted, with its loop device, on drop.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    pub(crate) fn new(image: &Path, at: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(at).unwrap();
        run("mount", &["-o", "loop", path(image), path(at)]);
        // The root folder of a fresh file system is everybody's.
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(at.to_owned())
    }
}

impl Mounted {
    pub(crate) fn unmount(&self) {
        // Lazily, should a file still be open: the loop device goes with its last user.
        let plain = Command::new("umount").arg(&self.0).stderr(Stdio::null()).status();
        if !plain.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// A directory of one test, removed on drop (after what is mounted in it: declare it first).
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let dir = std::env::temp_dir().join(format!("nightdrop-{name}-{}-{nanos}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

// ---- What the writer said ----

/// A document: thread and number.
type Name = (u64, u64);

/// Each with the time of the monotonic clock: a moment after its effect was durable, or a moment before it began.
#[derive(Clone, Default)]
pub(crate) struct Said {
    /// Acknowledged, with the count of chunks.
    stored: BTreeMap<Name, (u32, u64)>,
    /// Deletion begun: may be there or not.
    doomed: BTreeMap<Name, u64>,
    /// Deletion acknowledged.
    deleted: BTreeMap<Name, u64>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        // A killed writer may leave half a line, and the test harness prints lines of its own.
        let words: Vec<&str> = line.split(' ').collect();
        let [what, thread, number, chunks, when, "."] = words[..] else {
            return;
        };
        let name = (thread.parse().unwrap(), number.parse().unwrap());
        let when = when.parse().unwrap();
        match what {
            "+" => drop(self.stored.insert(name, (chunks.parse().unwrap(), when))),
            "?" => drop(self.doomed.insert(name, when)),
            "-" => drop(self.deleted.insert(name, when)),
            _ => panic!("the writer said {line:?}"),
        }
    }

    fn add(&mut self, more: &Self) {
        self.stored.extend(&more.stored);
        self.doomed.extend(&more.doomed);
        self.deleted.extend(&more.deleted);
    }

    /// What had been said by this moment.
    fn until(&self, moment: u64) -> Self {
        let until = |times: &BTreeMap<Name, u64>| times.iter().filter(|(_, when)| **when <= moment).map(|(n, w)| (*n, *w)).collect();
        Self {
            stored: self
                .stored
                .iter()
                .filter(|(_, (_, when))| *when <= moment)
                .map(|(n, s)| (*n, *s))
                .collect(),
            doomed: until(&self.doomed),
            deleted: until(&self.deleted),
        }
    }
}

/// A running writer; killed on drop.
struct Writer {
    child: Child,
    said: Arc<Mutex<Said>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(test: &str, dir: &Path, seed: u64, plain: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]);
        command
            .env(DIR, dir)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if plain {
            command.env(PLAIN, "1");
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let said = Arc::new(Mutex::new(Said::default()));
        let hearing = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                hearing.lock().unwrap().hear(&line);
            }
        });
        Self {
            child,
            said,
            reader: Some(reader),
        }
    }

    /// Lets it work for a random time, counted from its first acknowledgement.
    fn run_for(&self, seed: u64, at_most_ms: u64) {
        let patience = Instant::now();
        while self.said.lock().unwrap().stored.is_empty() {
            assert!(
                patience.elapsed() < Duration::from_secs(60),
                "the writer acknowledged nothing in a minute"
            );
            std::thread::yield_now();
        }
        // The moment itself is what is random here, not a state that is waited for.
        std::thread::sleep(Duration::from_millis(Random(seed | 1).below(at_most_ms)));
    }

    fn said(&self) -> Said {
        self.said.lock().unwrap().clone()
    }

    fn kill(mut self) -> Said {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        self.said()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens what survived and compares with what had been said before.
fn check(dir: &Path, before: &Said, which: &str) {
    let store = Both::open(dir, Options::default());
    let rows = store.rows.records();
    for (&name, &(chunks, _)) in &before.stored {
        if !before.doomed.contains_key(&name) {
            let row = rows.get(&row(name)).unwrap();
            assert_eq!(
                row,
                Some(chunks.to_be_bytes().to_vec()),
                "{which}: {name:?} was acknowledged and is lost"
            );
        }
    }
    for &name in before.deleted.keys() {
        assert_eq!(rows.get(&row(name)).unwrap(), None, "{which}: {name:?} was deleted and is back");
        assert_eq!(rows.get(&twin(name)).unwrap(), None, "{which}: half of a batch came back");
        assert_eq!(store.get(key(name, 0)), None, "{which}: chunks of {name:?} are back");
    }
    // Acknowledged or not: what is visible is whole.
    for (row, chunks) in rows.scan_prefix(b"doc", None, usize::MAX).unwrap() {
        let name = name_of(&row);
        assert_eq!(
            rows.get(&twin(name)).unwrap().as_ref(),
            Some(&chunks),
            "{which}: half of a batch survived"
        );
        for chunk in 0..u32::from_be_bytes(chunks[..].try_into().unwrap()) {
            let stored = store.get(key(name, chunk));
            assert!(
                stored == Some(bytes(name, chunk)),
                "{which}: chunk {chunk} of {name:?} is not what was put"
            );
        }
    }
}

fn rounds(default: u64) -> u64 {
    std::env::var(ROUNDS).map_or(default, |rounds| rounds.parse().unwrap())
}

/// The seed of the first round: given, or of this moment; printed either way.
fn seed() -> u64 {
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = std::env::var(SEED).map_or(nanos % 1_000_000_000, |seed| seed.parse().unwrap());
    say(&format!("{SEED}={seed}"));
    seed
}
