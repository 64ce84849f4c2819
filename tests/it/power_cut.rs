//! What was acknowledged survives: `kill -9`, and the power cut of a real file system.
//!
//! A writer (this binary again, see [`writer`]) stores and deletes documents from several threads and prints
//! a line behind each acknowledgement. It is killed, or its disk is taken away, at a random moment; then the
//! store is opened again and every acknowledged document must be whole and every acknowledged deletion done.
//!
//! The power cut needs root and loop devices (`mkfs.ext4`, `mount`, `umount`, `cp`), so it is ignored by a
//! plain `cargo test`, which says so; whoever asks for it gets a failure where it cannot run:
//!
//!     cargo test --test it power_cut -- --ignored          NIGHTDROP_POWER_CUT_ROUNDS=200 for a long run
//!
//! Two kinds of cut alternate. *Copy*: the image file is copied while the writer goes on; unsynced data is in
//! the page cache of the mounted file system and not in the image, but the copy is smeared over the time it
//! takes, harder than any real disk. *Shutdown*: ext4 is told to stop at once without writing its journal
//! (`EXT4_IOC_SHUTDOWN`), so the image is exactly one moment. Both are mounted again, with journal recovery.
//!
//! That the test can fail is a test itself: [`a_plain_sled_loses_what_it_acknowledged`] runs the same writer
//! on sled as it comes (small segments, spilled values) and fails unless something is lost.
#![allow(clippy::unwrap_used)] // Tests.
#![allow(unsafe_code)] // One ioctl that has no safe wrapper: stopping a mounted file system.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nightdrop::storage::sled::durable::{DurableSled, Options};
use nightdrop::storage::sled::records::Batch;

mod writer;

use writer::{Random, bytes, delete, is_writer, key, name_of, plain_lost, plain_writer, row, twin, writer};

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
        check(&dir, &said, &said, seed);
    }
    assert!(
        said.stored.len() > 20,
        "only {} documents: the writer hardly ran",
        said.stored.len()
    );
}

#[test]
#[ignore = "needs root and loop devices: cargo test --test it power_cut -- --ignored"]
fn acknowledged_writes_survive_a_power_cut() {
    const NAME: &str = "power_cut::acknowledged_writes_survive_a_power_cut";
    if is_writer() {
        return writer();
    }
    let first = seed();
    let (mut documents, mut deletions) = (0, 0);
    for round in 0..rounds(6) {
        let seed = first + round;
        let base = Scratch::new("cut");
        let cut = if round % 2 == 0 { Cut::Copy } else { Cut::Shutdown };
        let (before, all, image) = cut_power(NAME, &base.0, cut, seed, false);
        let disk = Mounted::new(&image, &base.0.join("after"));
        check(&disk.0.join("store"), &before, &all, seed);
        documents += before.stored.len();
        deletions += before.deleted.len();
        say(&format!(
            "round {round} {cut:?} seed {seed}: {} stored, {} deleted: all kept",
            before.stored.len(),
            before.deleted.len()
        ));
    }
    assert!(
        documents > 0 && deletions > 0,
        "nothing was acknowledged before the cuts: nothing was tested"
    );
}

#[test]
#[ignore = "needs root and loop devices: cargo test --test it power_cut -- --ignored"]
fn a_plain_sled_loses_what_it_acknowledged() {
    const NAME: &str = "power_cut::a_plain_sled_loses_what_it_acknowledged";
    if is_writer() {
        return plain_writer();
    }
    let first = seed();
    for round in 0..rounds(6) {
        let seed = first + round;
        let base = Scratch::new("plain");
        let cut = if round % 2 == 0 { Cut::Copy } else { Cut::Shutdown };
        let (before, all, image) = cut_power(NAME, &base.0, cut, seed, true);
        let disk = Mounted::new(&image, &base.0.join("after"));
        let lost = plain_lost(&disk.0.join("store"), &before, &all);
        say(&format!(
            "round {round} {cut:?} seed {seed}: {} stored, lost: {lost:?}",
            before.stored.len()
        ));
        if lost != Ok(0) {
            return;
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
    use nightdrop::storage::sled::error::StoreError;
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
    let store = DurableSled::open(&dir, options.clone()).unwrap();
    let mut said = Said::default();
    let mut store_one = |store: &DurableSled, number: u64| -> Result<(), StoreError> {
        let name = (0, number);
        for chunk in 0..20 {
            store.chunks().put(key(name, chunk), &bytes(name, chunk), 1)?;
        }
        let mut batch = Batch::new();
        batch.put(row(name), 20_u32.to_be_bytes()).put(twin(name), 20_u32.to_be_bytes());
        let seq = store.apply(batch)?;
        store.settled_blocking(seq)?;
        said.stored.insert(name, 20);
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
    // Never by sled, which would be the end of the process: the ballast is given up before.
    assert_eq!(error, StoreError::Full { must_reopen: false });
    let store = if surprise {
        drop(store);
        // The filler stays: with a smaller reserve, what is purged and the ballast's room are enough to go on.
        DurableSled::open(
            &dir,
            Options {
                reserve_bytes: 1 << 20,
                ..options
            },
        )
        .unwrap()
    } else {
        store
    };
    for number in 0..number {
        delete(&store, (0, number), 20);
    }
    store_one(&store, 5000).unwrap();
    drop(store);
    let kept = Said {
        stored: BTreeMap::from([((0, 5000), 20)]),
        ..Said::default()
    };
    assert!(said.stored.len() > 20, "the disk held only {}", said.stored.len());
    check(&dir, &kept, &kept, 0);
}

// ---- The cut ----

#[derive(Clone, Copy, Debug)]
enum Cut {
    Copy,
    Shutdown,
}

/// Runs a writer on a fresh file system and cuts its power. Returns what was acknowledged before the cut, all
/// that was ever said, and the image that survived.
fn cut_power(name: &str, base: &Path, cut: Cut, seed: u64, plain: bool) -> (Said, Said, PathBuf) {
    let image = base.join("image");
    std::fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1", path(&image)]);
    let disk = Mounted::new(&image, &base.join("before"));
    let writer = Writer::start(name, &disk.0.join("store"), seed, plain);
    writer.run_for(seed, 1500);
    match cut {
        Cut::Copy => {
            let before = writer.said();
            let copy = base.join("copy");
            run("cp", &["--sparse=always", "--reflink=never", path(&image), path(&copy)]);
            let all = writer.kill();
            (before, all, copy)
        }
        Cut::Shutdown => {
            stop_file_system(&disk.0);
            // Whatever was said was synced before the disk stopped, whenever the line arrived.
            let all = writer.kill();
            drop(disk);
            (all.clone(), all, image)
        }
    }
}

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: no write reaches the device from now on.
fn stop_file_system(mount: &Path) {
    use rustix::ioctl::{Setter, ioctl, opcode};
    const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
    let root = std::fs::File::open(mount).unwrap();
    // SAFETY: the kernel reads one u32 from the pointer that `Setter` passes.
    unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(2)) }.expect("ext4 can be shut down by root");
}

/// A mounted image; unmounted, with its loop device, on drop.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run("mount", &["-o", "loop", path(image), path(at)]);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, should a file still be open: the loop device goes with its last user.
        let plain = Command::new("umount").arg(&self.0).status();
        if !plain.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
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

fn run(program: &str, arguments: &[&str]) {
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

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

// ---- What the writer said ----

/// A document: thread and number.
type Name = (u64, u64);

#[derive(Clone, Default)]
struct Said {
    /// Acknowledged, with the count of chunks.
    stored: BTreeMap<Name, u32>,
    /// Deletion begun: may be there or not.
    doomed: BTreeSet<Name>,
    /// Deletion acknowledged.
    deleted: BTreeSet<Name>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        // A killed writer may leave half a line, and the test harness prints lines of its own.
        let words: Vec<&str> = line.split(' ').collect();
        let [what, thread, number, chunks, "."] = words[..] else {
            return;
        };
        let name = (thread.parse().unwrap(), number.parse().unwrap());
        match what {
            "+" => drop(self.stored.insert(name, chunks.parse().unwrap())),
            "?" => drop(self.doomed.insert(name)),
            "-" => drop(self.deleted.insert(name)),
            _ => panic!("the writer said {line:?}"),
        }
    }

    fn add(&mut self, more: &Self) {
        self.stored.extend(&more.stored);
        self.doomed.extend(&more.doomed);
        self.deleted.extend(&more.deleted);
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

/// Opens what survived and compares: `before` must be there, `all` says what else may be.
fn check(dir: &Path, before: &Said, all: &Said, seed: u64) {
    let store = DurableSled::open(dir, Options::default()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let rows = store.records();
    for (&name, &chunks) in &before.stored {
        if !all.doomed.contains(&name) {
            let row = rows.get(&row(name)).unwrap();
            assert_eq!(
                row,
                Some(chunks.to_be_bytes().to_vec()),
                "seed {seed}: {name:?} was acknowledged and is lost"
            );
        }
    }
    for &name in &before.deleted {
        assert_eq!(rows.get(&row(name)).unwrap(), None, "seed {seed}: {name:?} was deleted and is back");
        assert_eq!(rows.get(&twin(name)).unwrap(), None, "seed {seed}: half of a batch came back");
        assert_eq!(
            store.chunks().get(key(name, 0)).unwrap(),
            None,
            "seed {seed}: chunks of {name:?} are back"
        );
    }
    // Acknowledged or not: what is visible is whole.
    for (row, chunks) in rows.scan_prefix(b"doc", None, usize::MAX).unwrap() {
        let name = name_of(&row);
        assert_eq!(
            rows.get(&twin(name)).unwrap().as_ref(),
            Some(&chunks),
            "seed {seed}: half of a batch survived"
        );
        for chunk in 0..u32::from_be_bytes(chunks[..].try_into().unwrap()) {
            let stored = store.chunks().get(key(name, chunk)).unwrap();
            assert!(
                stored == Some(bytes(name, chunk)),
                "seed {seed}: chunk {chunk} of {name:?} is not what was put"
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
