//! The local erasure store: one preallocated file, one 4 KiB page per submission.
//!
//! ```text
//! page 0:   "NDSLOTS1" ‖ u32 version 1 ‖ u32 4096 ‖ u64 slot count ‖ file uuid 16 ‖ crc32c of the 40 bytes before
//! slot i at (i+1)·4096:
//! 0   1   state 0xA5 live; an erased or free slot is 4096 zero bytes
//! 1   7   zero
//! 8   8   generation
//! 16  16  doc_id
//! 32  32  erasure secret
//! 64  32  SHA-256("nightdrop/v1/slot-check" ‖ 00 ‖ bytes 0..64)
//! 96  …   zero
//! ```
//! A page of its own, so that no neighbour is rewritten with it. The file is written out in full when it is made,
//! so that no page is an unwritten extent, and it is never replaced: only pages in place, because a file
//! system frees the old blocks of a replaced file without wiping them. It grows at its end ([`growth`]), where no page that is there is written.
//!
//! A page is judged by its first 96 bytes alone: the check covers everything before it, and nothing behind it carries meaning. Other bits than zero behind
//! them are a fault of the medium, and put right at opening. A page whose first 96 bytes are neither zero nor pass their check is *damaged*: it is
//! reported, never used and never handed out, and it is destroyed only by its owner or by whoever knows that no document has this place (`destroy_damaged`).
//!
//! A write that fails leaves a place that is tried again before the next one is taken: no place is lost to it, and until a write has succeeded the
//! store says that it is not `ready`.
//!
//! `put` is durable when it returns; writers that come together share one `fdatasync`. `destroy` zeroes the page,
//! syncs, and reads it back around the page cache. When a sync fails the kernel may have dropped the very write, so
//! the process must die and come back: the abort hook is called, and if it returns the store is poisoned.

use crate::chain::chain;
use crate::failpoint::{self, Failpoint};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::erase::{EraseError, ErasureStore, LiveSlot, ReadBack, SlotRef};
use super::private_file::{self, FileError, Privacy};
use super::random;
use super::secret::ErasureSecret;
use gate::SyncGate;
use head::{head_page, read_head};
use pages::FilePages;

/// Bytes of one slot.
pub const PAGE: usize = 4096;

/// The most slots a file may have: 4 GiB.
pub(crate) const MAX_SLOTS: u64 = 1 << 20;

const LIVE: u8 = 0xA5;
const OWNED_LEN: usize = 96;
const ZEROS: [u8; PAGE] = [0; PAGE];

/// Called when a write cannot be made durable. The default ends the process.
pub(crate) type AbortHook = Arc<dyn Fn(&str) + Send + Sync>;

/// The file operations, so that failing ones can be tested.
pub(super) trait Pages: Send + Sync {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Reads one page around the page cache; `None` if the file system cannot.
    fn read_direct(&self, offset: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>>;
}

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotsReport {
    /// Slots in the file.
    pub slots: u64,
    /// Slots in use.
    pub live: u64,
    /// Pages that hold something and fail their check: half-written, half-erased, or gone bad. They were not touched.
    pub damaged: u64,
    /// Pages with stray bits where nothing is kept; they were written anew as they should be.
    pub repaired: u64,
}

/// The open store. One process at a time holds the file's lock.
pub struct SlotsFile {
    pages: Box<dyn Pages>,
    uuid: [u8; 16],
    slots: u64,
    report: SlotsReport,
    state: Mutex<State>,
    gate: SyncGate,
    abort: AbortHook,
}

#[derive(Default)]
struct State {
    free: BTreeSet<u64>,
    live: BTreeMap<u64, Owner>,
    /// What was found damaged at opening, with the owner as far as it can be read.
    damaged: BTreeMap<u64, Owner>,
    /// Places whose last write failed: they may hold a part of it.
    unclean: BTreeSet<u64>,
    /// The last write failed.
    failing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner {
    doc_id: [u8; 16],
    generation: u64,
}

enum Content {
    Free,
    Live(Owner, ErasureSecret),
    /// With what stands where the owner should.
    Damaged(Owner),
}

impl SlotsFile {
    /// Makes the file (0600, `O_EXCL`), every page written, and returns its uuid. The uuid belongs into the portal's
    /// records: a slots file from somewhere else is refused.
    pub fn create(path: &Path, slots: u64) -> Result<[u8; 16], EraseError> {
        if slots == 0 || slots > MAX_SLOTS {
            return Err(EraseError::Unusable(format!(
                "a slots file has 1 to {MAX_SLOTS} slots, not {slots}"
            )));
        }
        let uuid: [u8; 16] = random::array().map_err(|_| EraseError::Random)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => unusable(path, "exists already and is never overwritten"),
                _ => EraseError::Io(error),
            })?;
        let filled = write_all_pages(&file, &uuid, slots)
            .and_then(|()| file.sync_all())
            .and_then(|()| private_file::sync_parent(path));
        if let Err(error) = filled {
            let _ = std::fs::remove_file(path);
            return Err(error.into());
        }
        Ok(uuid)
    }

    /// Opens the file, checks everything about it, rebuilds the free list, and puts stray bits right.
    /// A missing file is an error: it is never made again silently.
    pub fn open(path: &Path, expected_uuid: Option<&[u8; 16]>) -> Result<SlotsFile, EraseError> {
        Self::open_with_abort(path, expected_uuid, Arc::new(|_| std::process::abort()))
    }

    /// `open` with another abort hook.
    pub fn open_with_abort(path: &Path, expected_uuid: Option<&[u8; 16]>, abort: AbortHook) -> Result<SlotsFile, EraseError> {
        let (file, uuid, slots) = open_alone(path, expected_uuid)?;
        Self::over(Box::new(FilePages::new(path, file)), uuid, slots, abort)
    }

    /// The uuid in a file's head, and how many slots it has. Reads only, and takes no lock.
    pub fn look(path: &Path) -> Result<([u8; 16], u64), EraseError> {
        let file = private_file::open_checked(path, Privacy::Owner, OpenOptions::new().read(true))
            .map_err(|error| EraseError::Unusable(chain(&error).to_string()))?;
        let length = file.metadata()?.len();
        read_head(path, &file, length)
    }

    /// Builds the store over given pages; scans all of them.
    pub(super) fn over(pages: Box<dyn Pages>, uuid: [u8; 16], slots: u64, abort: AbortHook) -> Result<SlotsFile, EraseError> {
        let mut store = SlotsFile {
            pages,
            uuid,
            slots,
            report: SlotsReport {
                slots,
                live: 0,
                damaged: 0,
                repaired: 0,
            },
            state: Mutex::default(),
            gate: SyncGate::default(),
            abort,
        };
        store.scan()?;
        Ok(store)
    }

    /// The uuid in the file's head.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// What opening found.
    pub fn report(&self) -> SlotsReport {
        self.report
    }

    /// Writes and destroys a canary, to see that erasing works here and how far it can be verified.
    pub fn canary(&self) -> Result<ReadBack, EraseError> {
        let doc_id: [u8; 16] = random::array().map_err(|_| EraseError::Random)?;
        let secret = ErasureSecret::generate().map_err(|_| EraseError::Random)?;
        let slot = self.put(&doc_id, &secret)?;
        if self.get(&doc_id, &slot)?.expose() != secret.expose() {
            return Err(EraseError::Damaged);
        }
        self.destroy(&doc_id, &slot)
    }

    fn scan(&mut self) -> Result<(), EraseError> {
        let mut state = State::default();
        let mut repaired = 0;
        let mut run = Zeroizing::new(vec![0u8; 256 * PAGE]);
        for first in (0..self.slots).step_by(256) {
            let count = usize::try_from((self.slots - first).min(256)).expect("at most 256");
            let bytes = &mut run[..count * PAGE];
            self.pages.read(offset(first), bytes)?;
            for (index, page) in (first..).zip(bytes.chunks_exact(PAGE)) {
                let content = parse_page(page);
                // What the page should be, if something stands where nothing is kept.
                let anew = (page[OWNED_LEN..] != ZEROS[OWNED_LEN..]).then(|| match &content {
                    Content::Free => Some(Zeroizing::new(ZEROS.to_vec())),
                    Content::Live(owner, secret) => Some(live_page(owner, secret)),
                    Content::Damaged(_) => None,
                });
                if let Some(anew) = anew.flatten() {
                    self.pages.write(offset(index), &anew)?;
                    repaired += 1;
                }
                match content {
                    Content::Free => drop(state.free.insert(index)),
                    Content::Live(owner, _) => drop(state.live.insert(index, owner)),
                    Content::Damaged(owner) => drop(state.damaged.insert(index, owner)),
                }
            }
        }
        if repaired > 0 {
            self.gate.wait(&*self.pages, &self.abort)?;
        }
        self.report.repaired = repaired;
        self.report.damaged = state.damaged.len() as u64;
        self.report.live = state.live.len() as u64;
        self.state = Mutex::new(state);
        Ok(())
    }

    /// Writes one page and keeps in mind whether that worked.
    fn write(&self, state: &mut State, index: u64, page: &[u8]) -> io::Result<()> {
        let written = self.pages.write(offset(index), page);
        state.failing = written.is_err();
        written
    }

    /// Takes a place for a new secret. One whose write failed before is wiped first, so that no place is lost to a fault that went away.
    fn take(&self, state: &mut State) -> Result<u64, EraseError> {
        while let Some(index) = state.unclean.first().copied() {
            self.write(state, index, &ZEROS)?;
            state.unclean.remove(&index);
            state.free.insert(index);
        }
        state.free.pop_first().ok_or(EraseError::SlotsFull)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, slot: &SlotRef) -> Result<(), EraseError> {
        if self.gate.is_poisoned() {
            return Err(EraseError::Poisoned);
        }
        if slot.index >= self.slots {
            return Err(EraseError::NoSuchSlot);
        }
        Ok(())
    }

    fn page(&self, index: u64) -> Result<Zeroizing<Vec<u8>>, EraseError> {
        let mut page = Zeroizing::new(vec![0u8; PAGE]);
        self.pages.read(offset(index), &mut page)?;
        Ok(page)
    }

    /// Zeroes the page if it is this owner's. Returns whether this call is the one that zeroed it.
    fn zero_if_owned(&self, owner: &Owner, index: u64) -> Result<bool, EraseError> {
        let mut state = self.lock();
        match parse_page(&self.page(index)?) {
            Content::Free => return Ok(false),
            Content::Live(found, _) if same_owner(&found, owner) => {}
            // A page that went bad while we ran is still known by its owner.
            Content::Damaged(_) if state.live.get(&index) == Some(owner) => {}
            // One that was bad already tells by either of its two random names. Neither is there by chance.
            Content::Damaged(found)
                if state.damaged.contains_key(&index) && (found.doc_id == owner.doc_id || found.generation == owner.generation) => {}
            _ => return Err(EraseError::OtherOwner),
        }
        self.write(&mut state, index, &ZEROS)?;
        state.live.remove(&index);
        state.damaged.remove(&index);
        Ok(true)
    }

    /// Looks at the medium after a destruction: the owner's page must not be there any more.
    fn read_back(&self, owner: &Owner, index: u64, ours: bool) -> Result<ReadBack, EraseError> {
        // A page that this call zeroed is nobody else's yet. Any other may get a new owner at any moment, so no
        // writer may be half through it while we look.
        let writers_wait = (!ours).then(|| self.lock());
        let (page, how) = match self.pages.read_direct(offset(index))? {
            Some(page) => (page, ReadBack::Direct),
            None => (self.page(index)?, ReadBack::Buffered),
        };
        drop(writers_wait);
        match parse_page(&page) {
            Content::Free if page[..] == ZEROS => Ok(how),
            Content::Live(found, _) if !ours && !same_owner(&found, owner) => Ok(how),
            Content::Free | Content::Live(..) | Content::Damaged(_) => Err(EraseError::Damaged),
        }
    }

    /// Syncs and reads back what `zero_if_owned` did, and gives the place back.
    fn finish(&self, owner: &Owner, index: u64, ours: bool) -> Result<ReadBack, EraseError> {
        failpoint::pass(Failpoint::ZerosWritten);
        // Even a page that was zero already is synced: the zeros may be from a process that died before its sync.
        self.gate.wait(&*self.pages, &self.abort)?;
        failpoint::pass(Failpoint::ZerosSynced);
        match self.read_back(owner, index, ours) {
            Ok(how) => {
                if ours {
                    self.lock().free.insert(index);
                }
                Ok(how)
            }
            Err(error) => {
                // Nobody's any more, and not shown to be empty: it is wiped again before it is handed out.
                if ours {
                    self.lock().unclean.insert(index);
                }
                Err(error)
            }
        }
    }
}

impl ErasureStore for SlotsFile {
    fn put(&self, doc_id: &[u8; 16], secret: &ErasureSecret) -> Result<SlotRef, EraseError> {
        let generation = u64::from_be_bytes(random::array().map_err(|_| EraseError::Random)?);
        let owner = Owner {
            doc_id: *doc_id,
            generation,
        };
        let page = live_page(&owner, secret);
        let index = {
            let mut state = self.lock();
            self.check(&SlotRef { index: 0, generation })?;
            let index = self.take(&mut state)?;
            if let Err(error) = self.write(&mut state, index, &page) {
                // A part of it may be there.
                state.unclean.insert(index);
                return Err(error.into());
            }
            state.live.insert(index, owner);
            index
        };
        failpoint::pass(Failpoint::SlotWritten);
        self.gate.wait(&*self.pages, &self.abort)?;
        Ok(SlotRef { index, generation })
    }

    fn get(&self, doc_id: &[u8; 16], slot: &SlotRef) -> Result<ErasureSecret, EraseError> {
        self.check(slot)?;
        let owner = Owner {
            doc_id: *doc_id,
            generation: slot.generation,
        };
        match parse_page(&self.page(slot.index)?) {
            Content::Live(found, secret) if same_owner(&found, &owner) => Ok(secret),
            Content::Live(..) => Err(EraseError::OtherOwner),
            Content::Free => Err(EraseError::Erased),
            Content::Damaged(_) => Err(EraseError::Damaged),
        }
    }

    fn destroy(&self, doc_id: &[u8; 16], slot: &SlotRef) -> Result<ReadBack, EraseError> {
        self.check(slot)?;
        let owner = Owner {
            doc_id: *doc_id,
            generation: slot.generation,
        };
        let ours = self.zero_if_owned(&owner, slot.index)?;
        self.finish(&owner, slot.index, ours)
    }

    fn damaged(&self) -> Result<Vec<LiveSlot>, EraseError> {
        Ok(listed(&self.lock().damaged))
    }

    fn destroy_damaged(&self, slot: &LiveSlot) -> Result<ReadBack, EraseError> {
        self.check(&slot.slot)?;
        let index = slot.slot.index;
        let owner = Owner {
            doc_id: slot.doc_id,
            generation: slot.slot.generation,
        };
        {
            let mut state = self.lock();
            if state.damaged.get(&index) != Some(&owner) {
                return Err(EraseError::OtherOwner);
            }
            self.write(&mut state, index, &ZEROS)?;
            state.damaged.remove(&index);
        }
        self.finish(&owner, index, true)
    }

    fn ready(&self) -> Result<(), EraseError> {
        {
            let mut state = self.lock();
            self.check(&SlotRef { index: 0, generation: 0 })?;
            if !state.failing {
                return Ok(());
            }
            // Nobody would write while we say no: we try it ourselves, on a place that holds nothing.
            let index = self.take(&mut state)?;
            state.unclean.insert(index);
            self.write(&mut state, index, &ZEROS)?;
            state.unclean.remove(&index);
            state.free.insert(index);
        }
        self.gate.wait(&*self.pages, &self.abort)
    }

    fn live(&self) -> Result<Vec<LiveSlot>, EraseError> {
        Ok(listed(&self.lock().live))
    }

    fn free(&self) -> Result<u64, EraseError> {
        Ok(self.lock().free.len() as u64)
    }
}

impl fmt::Debug for SlotsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotsFile({:?})", self.report)
    }
}

fn offset(index: u64) -> u64 {
    (index + 1) * PAGE as u64
}

fn listed(slots: &BTreeMap<u64, Owner>) -> Vec<LiveSlot> {
    let of = |(index, owner): (&u64, &Owner)| LiveSlot {
        doc_id: owner.doc_id,
        slot: SlotRef {
            index: *index,
            generation: owner.generation,
        },
    };
    slots.iter().map(of).collect()
}

fn same_owner(found: &Owner, asked: &Owner) -> bool {
    let same = found.doc_id.ct_eq(&asked.doc_id) & found.generation.ct_eq(&asked.generation);
    same.into()
}

fn live_page(owner: &Owner, secret: &ErasureSecret) -> Zeroizing<Vec<u8>> {
    let mut page = Zeroizing::new(vec![0u8; PAGE]);
    page[0] = LIVE;
    page[8..16].copy_from_slice(&owner.generation.to_be_bytes());
    page[16..32].copy_from_slice(&owner.doc_id);
    page[32..64].copy_from_slice(secret.expose());
    let mut check = slot_check(&page[..64]);
    page[64..OWNED_LEN].copy_from_slice(&check);
    check.zeroize();
    page
}

/// SHA-256("nightdrop/v1/slot-check" ‖ 00 ‖ the first 64 bytes of a page).
pub(super) fn slot_check(owned: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"nightdrop/v1/slot-check\0");
    hash.update(owned);
    hash.finalize().into()
}

/// Judges a page by what is kept in it; the zeros behind are not looked at.
fn parse_page(page: &[u8]) -> Content {
    if page[..OWNED_LEN] == ZEROS[..OWNED_LEN] {
        return Content::Free;
    }
    let owner = Owner {
        doc_id: page[16..32].try_into().expect("sixteen bytes"),
        generation: u64::from_be_bytes(page[8..16].try_into().expect("eight bytes")),
    };
    let framed = page[0] == LIVE && page[1..8] == [0; 7] && bool::from(slot_check(&page[..64]).ct_eq(&page[64..OWNED_LEN]));
    match ErasureSecret::from_slice(&page[32..64]) {
        Ok(secret) if framed => Content::Live(owner, secret),
        _ => Content::Damaged(owner),
    }
}

/// Opens the file for this process alone and checks whose it is; also tells how many slots its head counts.
fn open_alone(path: &Path, expected_uuid: Option<&[u8; 16]>) -> Result<(File, [u8; 16], u64), EraseError> {
    let file =
        private_file::open_checked(path, Privacy::Owner, OpenOptions::new().read(true).write(true)).map_err(|error| match error {
            FileError::Io(_, error) => EraseError::Io(error),
            FileError::Missing(_) => EraseError::Unusable(format!(
                "{} is missing: undelivered documents cannot be opened without it, and it is not made anew silently",
                path.display()
            )),
            other => EraseError::Unusable(chain(&other).to_string()),
        })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(unusable(path, "is in use by another process"));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let status = file.metadata()?;
    if status.nlink() != 1 {
        return Err(unusable(path, "has another hard link"));
    }
    let (uuid, slots) = read_head(path, &file, status.len())?;
    if expected_uuid.is_some_and(|expected| *expected != uuid) {
        return Err(unusable(path, "belongs to another portal or another time (its uuid differs)"));
    }
    Ok((file, uuid, slots))
}

fn write_all_pages(file: &File, uuid: &[u8; 16], slots: u64) -> io::Result<()> {
    file.write_all_at(&head_page(uuid, slots), 0)?;
    write_zero_pages(file, 0, slots)
}

/// Writes the pages of free slots out: reserved alone, they would be unwritten extents.
fn write_zero_pages(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0u8; 256 * PAGE];
    for first in (from..to).step_by(256) {
        let count = usize::try_from((to - first).min(256)).expect("at most 256");
        file.write_all_at(&zeros[..count * PAGE], offset(first))?;
    }
    Ok(())
}

fn unusable(path: &Path, what: &str) -> EraseError {
    EraseError::Unusable(format!("{} {what}", PathBuf::from(path).display()))
}

mod gate;
mod growth;
mod head;
mod pages;
#[cfg(test)]
mod tests;
