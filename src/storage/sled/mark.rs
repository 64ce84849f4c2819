//! The high-water mark: how far the store's records have come, kept in a small file outside the store. A store that ends before its mark has lost acknowledged
//! decisions: its log was damaged, or an older copy of it was put in its place. sled itself cannot tell, since it takes the first bad record for the end of the log.
//!
//! The file has three pages, each with its own checksum. One holds what was last synced and is left alone; one is written after every round of the group commit,
//! without a sync; the third takes over while a sync runs. So the mark never leads the store, is exact after a kill of the process, and is at most about a second
//! behind after a power cut. A damaged page is passed over: its predecessor is an older, true mark.
//!
//! ```text
//! page n at n·4096:
//! 0   8   "NDMARK1\n"
//! 8   16  portal id
//! 24  8   turn: grows with every write, the highest valid page counts
//! 32  8   number of the last committed decision
//! 40  8   number of the last audit entry
//! 48  32  hash of that entry
//! 80  8   its instant, in milliseconds since 1970
//! 88  32  SHA-256("nightdrop/v1/mark" ‖ 00 ‖ bytes 0..88)
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::ballast::sync_dir;
use super::error::{Lost, MarkStanding, StoreError};
use super::records::{Overlay, Rows};
use crate::chain::Cause;
use crate::domain::audit::{AuditEntry, GENESIS};
use crate::storage::clock::to_ms;
use crate::storage::key;
use crate::storage::record::Record;

const MAGIC: &[u8; 8] = b"NDMARK1\n";
const PAGE: u64 = 4096;
const PAGES: u64 = 3;
const LENGTH: usize = 120;
/// How long a written page may wait for its sync.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The row with the number of the last decision; every decision writes it with its own rows.
pub(super) fn number_row() -> Vec<u8> {
    key::meta("decision")
}

/// The number of the last decision of these rows.
pub(super) fn number(rows: &Rows<'_>) -> Result<u64, StoreError> {
    Ok(word(rows.get(&number_row())?))
}

fn word(row: Option<Vec<u8>>) -> u64 {
    row.and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// How far a store has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Decisions committed since the store was made.
    pub number: u64,
    /// The last audit entry's number, hash and instant (milliseconds since 1970).
    pub audit: u64,
    pub head: [u8; 32],
    pub at: i64,
}

impl Default for Mark {
    fn default() -> Self {
        Self {
            number: 0,
            audit: 0,
            head: GENESIS,
            at: 0,
        }
    }
}

impl Mark {
    /// How far these rows have come.
    pub(super) fn of(rows: &Rows<'_>) -> Result<Self, StoreError> {
        let mut mark = Self {
            number: number(rows)?,
            audit: word(rows.get(&key::meta("last-audit"))?),
            ..Self::default()
        };
        if mark.audit > 0 {
            let row = rows.get(&key::audit(mark.audit))?;
            let entry = row.and_then(|row| AuditEntry::decode(&row).ok());
            let entry = entry.ok_or_else(|| StoreError::Corrupt("the end of the audit log".into()))?;
            (mark.head, mark.at) = (entry.hash, to_ms(entry.event.at));
        }
        Ok(mark)
    }

    /// The mark after a round that wrote these rows.
    fn after(self, rows: &Overlay) -> Self {
        let number = |k: &[u8]| {
            let row = rows.get(k)?.as_deref()?;
            Some(u64::from_be_bytes(row.try_into().ok()?))
        };
        let mut mark = self;
        mark.number = number(&number_row()).unwrap_or(mark.number);
        let entry = number(&key::meta("last-audit")).and_then(|last| {
            let row = rows.get(&key::audit(last))?.as_deref()?;
            AuditEntry::decode(row).ok()
        });
        if let Some(entry) = entry {
            (mark.audit, mark.head, mark.at) = (entry.sequence, entry.hash, to_ms(entry.event.at));
        }
        mark
    }
}

impl MarkStanding {
    /// Compares rows with a mark that was written of them, or should have been.
    pub(super) fn of(rows: &Rows<'_>, mark: &Mark) -> Result<Self, StoreError> {
        let present = Mark::of(rows)?;
        if present.number < mark.number || present.audit < mark.audit {
            return Ok(Self::Behind(Lost {
                decisions: mark.number.saturating_sub(present.number),
                entries: mark.audit.saturating_sub(present.audit),
                since: present.at,
                until: mark.at,
            }));
        }
        let same = match mark.audit {
            0 => true,
            last => {
                let row = rows.get(&key::audit(last))?;
                row.and_then(|row| AuditEntry::decode(&row).ok())
                    .is_some_and(|entry| entry.hash == mark.head)
            }
        };
        Ok(if same { Self::Current } else { Self::Other })
    }
}

/// The open file. Dropping it syncs what is still to be synced.
pub struct MarkFile {
    pages: Arc<Mutex<Pages>>,
    stop: Option<mpsc::Sender<()>>,
    syncing: Option<std::thread::JoinHandle<()>>,
}

struct Pages {
    file: File,
    portal: [u8; 16],
    turn: u64,
    mark: Mark,
    /// Written by every round.
    current: u64,
    /// Synced; left alone until a later one is.
    durable: u64,
    unsynced: bool,
    failed: bool,
}

impl MarkFile {
    /// Makes the file with this mark in it, durable when this returns. Refuses to touch one that exists.
    pub fn create(path: &Path, portal: &[u8; 16], mark: &Mark) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut bytes = vec![0; usize::try_from(PAGE * PAGES).expect("three pages")];
        bytes[..LENGTH].copy_from_slice(&encode(portal, 1, mark));
        let made = file
            .write_all_at(&bytes, 0)
            .and_then(|()| file.sync_all())
            .and_then(|()| path.parent().map_or(Ok(()), sync_dir));
        if made.is_err() {
            // A half-written file must not be taken for a mark later.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    /// The mark in a file, and the portal it belongs to; `None` where no page is whole. Changes nothing.
    pub fn read(path: &Path) -> io::Result<Option<([u8; 16], Mark)>> {
        Ok(newest(&File::open(path)?)?.map(|(_, _, portal, mark)| (portal, mark)))
    }

    /// Opens the file for a portal that writes on.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let (durable, turn, portal, mark) = newest(&file)?.ok_or_else(|| io::Error::other("no page of the mark is whole"))?;
        let pages = Arc::new(Mutex::new(Pages {
            file,
            portal,
            turn,
            mark,
            current: (durable + 1) % PAGES,
            durable,
            unsynced: false,
            failed: false,
        }));
        let (stop, stopped) = mpsc::channel();
        let theirs = Arc::clone(&pages);
        let syncing = std::thread::Builder::new().name("nightdrop-mark".into()).spawn(move || {
            while matches!(stopped.recv_timeout(SYNC_EVERY), Err(mpsc::RecvTimeoutError::Timeout)) {
                sync(&theirs);
            }
            sync(&theirs);
        })?;
        Ok(Self {
            pages,
            stop: Some(stop),
            syncing: Some(syncing),
        })
    }

    /// What the file says now. For whoever holds the store: from here on nobody else writes the file.
    pub(super) fn reread(&self) -> Result<Mark, StoreError> {
        let mut pages = lock(&self.pages);
        let found = newest(&pages.file).map_err(|error| StoreError::Io(Cause::new(error)))?;
        let (durable, turn, _, mark) = found.ok_or_else(|| StoreError::Corrupt("no page of the high-water mark is whole".into()))?;
        (pages.durable, pages.turn, pages.mark) = (durable, turn, mark);
        pages.current = (durable + 1) % PAGES;
        Ok(mark)
    }

    /// Goes on from where the store is, which may be further than the file says.
    pub(super) fn begin(&self, present: Mark) {
        let mut pages = lock(&self.pages);
        if pages.mark != present {
            pages.write(present);
        }
    }

    /// A round with these rows is durable.
    pub(super) fn committed(&self, rows: &Overlay) {
        let mut pages = lock(&self.pages);
        let mark = pages.mark.after(rows);
        if pages.mark != mark {
            pages.write(mark);
        }
    }
}

impl Drop for MarkFile {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.syncing.take() {
            // Nothing in it panics; what it could not sync is what a power cut could take.
            let _ = thread.join();
        }
    }
}

impl Pages {
    fn write(&mut self, mark: Mark) {
        self.turn += 1;
        self.mark = mark;
        self.unsynced = true;
        let written = self.file.write_all_at(&encode(&self.portal, self.turn, &mark), self.current * PAGE);
        self.told(written, "written");
    }

    /// A mark that cannot be written lags, which takes nothing from what the store holds: it is said, once, and the portal goes on.
    fn told(&mut self, done: io::Result<()>, what: &str) {
        match done {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(%error, "the store's high-water mark cannot be {what}: a later loss in the store may go unseen");
            }
            Err(_) => {}
        }
    }
}

fn sync(pages: &Mutex<Pages>) {
    let mut held = lock(pages);
    if !held.unsynced {
        return;
    }
    let (file, synced) = match held.file.try_clone() {
        Ok(file) => (file, held.current),
        Err(error) => return held.told(Err(error), "synced"),
    };
    // Neither the page that is being synced nor the last one that was is written meanwhile.
    held.current = (0..PAGES).find(|page| *page != synced && *page != held.durable).unwrap_or(0);
    held.unsynced = false;
    drop(held);
    let done = file.sync_data();
    let mut held = lock(pages);
    match &done {
        Ok(()) => held.durable = synced,
        Err(_) => held.unsynced = true,
    }
    held.told(done, "synced");
}

fn lock(pages: &Mutex<Pages>) -> MutexGuard<'_, Pages> {
    // A write that panicked half-way leaves a page whose checksum does not fit.
    pages.lock().unwrap_or_else(PoisonError::into_inner)
}

fn encode(portal: &[u8; 16], turn: u64, mark: &Mark) -> [u8; LENGTH] {
    let mut page = [0; LENGTH];
    page[..8].copy_from_slice(MAGIC);
    page[8..24].copy_from_slice(portal);
    page[24..32].copy_from_slice(&turn.to_be_bytes());
    page[32..40].copy_from_slice(&mark.number.to_be_bytes());
    page[40..48].copy_from_slice(&mark.audit.to_be_bytes());
    page[48..80].copy_from_slice(&mark.head);
    page[80..88].copy_from_slice(&mark.at.to_be_bytes());
    let check = check(&page[..88]);
    page[88..].copy_from_slice(&check);
    page
}

fn decode(page: &[u8; LENGTH]) -> Option<(u64, [u8; 16], Mark)> {
    if &page[..8] != MAGIC || page[88..] != check(&page[..88]) {
        return None;
    }
    let word = |place: usize| u64::from_be_bytes(page[place..place + 8].try_into().expect("eight bytes"));
    let mark = Mark {
        number: word(32),
        audit: word(40),
        head: page[48..80].try_into().expect("32 bytes"),
        at: i64::from_be_bytes(page[80..88].try_into().expect("eight bytes")),
    };
    Some((word(24), page[8..24].try_into().expect("sixteen bytes"), mark))
}

/// Place, turn, portal and mark of the newest whole page.
#[allow(clippy::type_complexity)]
fn newest(file: &File) -> io::Result<Option<(u64, u64, [u8; 16], Mark)>> {
    let mut found = None;
    for place in 0..PAGES {
        let mut page = [0; LENGTH];
        match file.read_exact_at(&mut page, place * PAGE) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        if let Some((turn, portal, mark)) = decode(&page)
            && found.is_none_or(|(_, best, _, _)| turn > best)
        {
            found = Some((place, turn, portal, mark));
        }
    }
    Ok(found)
}

fn check(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"nightdrop/v1/mark\0");
    hash.update(bytes);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PORTAL: [u8; 16] = [7; 16];

    fn mark(number: u64) -> Mark {
        Mark {
            number,
            audit: number * 2,
            head: [3; 32],
            at: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_page_is_as_published() {
        let file = include_str!("../../../tests/fixtures/vectors/formats.txt");
        let block = file.split_once("name = mark\n").unwrap().1;
        let page = block.lines().find_map(|line| line.strip_prefix("page = ")).unwrap();
        let mark = Mark {
            number: 7,
            audit: 3,
            head: std::array::from_fn(|place| 0x20 + place as u8),
            at: 1_767_323_045_000,
        };
        let portal = std::array::from_fn(|place| 1 + place as u8);
        assert_eq!(data_encoding::HEXLOWER.encode(&encode(&portal, 9, &mark)), page);
    }

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("nightdrop-mark-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_newest_whole_page_counts_and_a_torn_one_is_passed_over() {
        let scratch = Scratch::new("torn");
        let path = scratch.0.join("mark");
        MarkFile::create(&path, &PORTAL, &Mark::default()).unwrap();
        assert!(MarkFile::create(&path, &PORTAL, &Mark::default()).is_err());
        for number in 1..=20 {
            let file = MarkFile::open(&path).unwrap();
            file.begin(mark(number));
            // Before any sync of the drop: what the kernel has is the mark already.
            assert_eq!(MarkFile::read(&path).unwrap(), Some((PORTAL, mark(number))));
            drop(file);
            // Whatever a power cut does to the page that would be written next, an earlier one stands.
            let whole = std::fs::read(&path).unwrap();
            let (place, ..) = newest(&File::open(&path).unwrap()).unwrap().unwrap();
            for torn in [0, 40, 119] {
                let mut bytes = whole.clone();
                bytes[usize::try_from(place * PAGE).unwrap() + torn] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
                let (_, older) = MarkFile::read(&path).unwrap().unwrap();
                assert_eq!(older.number, number - 1);
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }

    #[test]
    fn the_synced_page_is_left_alone_until_a_later_one_is_synced() {
        let scratch = Scratch::new("alone");
        let path = scratch.0.join("mark");
        MarkFile::create(&path, &PORTAL, &mark(1)).unwrap();
        let file = MarkFile::open(&path).unwrap();
        for number in 2..200 {
            file.begin(mark(number));
            let (durable, current) = {
                let pages = lock(&file.pages);
                (pages.durable, pages.current)
            };
            assert_ne!(durable, current);
            if number % 7 == 0 {
                sync(&file.pages);
                assert_eq!(lock(&file.pages).durable, current);
            }
        }
    }

    /// What the mark costs a group commit: the same decisions with and without it, in turn, so that whatever else the machine does meets both.
    #[test]
    #[ignore = "a measurement: cargo test --release --lib mark -- --ignored --nocapture"]
    #[allow(clippy::print_stdout)]
    fn commits_a_second_with_and_without_a_mark() {
        use super::super::durable::{DurableSled, Options};
        use super::super::records::Batch;
        let scratch = Scratch::new("cost");
        let path = scratch.0.join("mark");
        MarkFile::create(&path, &PORTAL, &Mark::default()).unwrap();
        let mark = Arc::new(MarkFile::open(&path).unwrap());
        let open = |name: &str, mark| {
            let options = Options {
                mark,
                ..Options::default()
            };
            DurableSled::open(&scratch.0.join(name), options).unwrap()
        };
        let stores = [open("without", None), open("with", Some(mark))];
        let mut spent = [Duration::ZERO; 2];
        const COMMITS: u64 = 4_000;
        for number in 0..COMMITS {
            for (store, spent) in stores.iter().zip(&mut spent) {
                let begun = std::time::Instant::now();
                let mut batch = Batch::new();
                batch.put(number.to_be_bytes(), [7; 200]);
                let seq = store.apply(batch).unwrap();
                store.settled_blocking(seq).unwrap();
                *spent += begun.elapsed();
            }
        }
        let rate = spent.map(|spent| COMMITS as f64 / spent.as_secs_f64());
        println!(
            "commits a second: {:.0} without, {:.0} with, ratio {:.3}",
            rate[0],
            rate[1],
            rate[1] / rate[0]
        );
    }
}
