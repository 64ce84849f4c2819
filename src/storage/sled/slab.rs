//! Sealed chunks in small trees, so that a byte is written once and given back as a whole.
//!
//! sled rewrites a leaf when it splits (more than 16 entries) and when 10 changes have gathered on it; with
//! 64 KiB values in one big tree every byte is written 4 to 5 times. Two shapes of small trees avoid it:
//! * a **shared slab** holds up to 8 chunks, of any documents: each is one change on one leaf, and nothing
//!   is rewritten. It takes the first 8 chunks of every file (small documents need nothing else) and is
//!   dropped when its last chunk is gone.
//! * an **own tree** holds 1024 further chunks of one file. Its leaves are made beforehand, out of empty
//!   entries that sled has already split, 9 to a leaf; 4 of the 9 are then filled, so a leaf neither splits
//!   nor gathers 10 changes. It is dropped with the document. The number of trees thus grows with the
//!   number of documents and not with their size: making or dropping a tree copies a page that lists all.
//!
//! `index` maps documents to slots and trees. Every write goes value first, row second, and every removal
//! row first, tree second; the log survives a crash as a gap-free prefix, so a crash can leave a tree
//! without rows, which the next opening drops, but never a row without its value.
//!
//! Memory: sled notes a page's accesses in 256 queues and looks at what to evict only when one has gathered
//! 64, so it forgets hundreds of megabytes of such leaves. Reading a key a few times more ([`TOUCHES`]) after
//! each access fills the queues sooner; that is all there is to it, and it costs a few microseconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::sled::Tree;

use super::durable::{Core, DurableSled, Seq};
use super::error::{StoreError, from_read};
use super::records::VALUE_LIMIT;

/// Chunks of a file that go to shared slabs, and slots of one shared slab: 8 changes and the empty leaf are 9
/// log records, one below sled's limit of 10.
const SHARED: u32 = 8;
/// Chunks in one own tree: 64 MiB. A crash while a tree is being dropped leaks at most that.
const BLOCK: u32 = 1024;
/// Entries of a leaf that sled has split: it splits 17 entries into 9 and 8, and the 8 grow again.
const FENCES: u32 = 9;
/// Entries of a leaf that carry chunks. Fewer make smaller leaves (memory), more make fewer leaves (time).
const FILLED: u32 = 4;
/// Leaves that must exist behind the one in use: the last ones are still to be split.
const AHEAD: u32 = 3;
/// Steps, in chunks, in which the index counts the chunks of an own tree.
const COUNTED: u32 = 16;
/// Further reads after each access to a chunk.
const TOUCHES: usize = 10;
/// sled lists all trees in one page, about 12 bytes each, which must stay below 4 MiB.
const TREES_LIMIT: usize = 250_000;

/// Names one sealed chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// The document the chunk belongs to; what is deleted together.
    pub document: [u8; 16],
    /// Which of its files.
    pub file: u8,
    /// Which 64 KiB of that file.
    pub chunk: u32,
}

/// The chunks of an open store. Everything here may read or wait for the disk: call it from threads that may
/// block. `put` takes about 0.1 ms of work.
pub struct Chunks<'a> {
    core: &'a Core,
}

/// The state behind [`Chunks`].
pub(super) struct Slabs {
    index: Tree,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u32,
    /// Shared slabs with free slots that nobody is writing to, and their next slot. A writer takes one for
    /// itself: two on one leaf would fail each other's changes, and sled pads the log for each failed one.
    open: Vec<(u32, u32)>,
    shelves: HashMap<u32, Shelf>,
    /// Bytes that the trees hold on to, rounded up.
    live: u64,
}

/// One small tree.
struct Shelf {
    tree: Tree,
    /// Rows of the index that point here.
    rows: u32,
    /// Its share of [`State::live`].
    bytes: u64,
    /// Leaves made so far; only in own trees.
    leaves: Arc<Mutex<u32>>,
}

impl DurableSled {
    /// The chunks of the store.
    #[must_use]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks { core: self.core() }
    }
}

impl Chunks<'_> {
    /// Stores a chunk; the same key again replaces it. `now` (unix seconds) dates the document if this is its
    /// first chunk. Not durable yet: wait for the returned point, or for a row decided after this call.
    /// One writer per document at a time. Waits by itself when too much is unsynced.
    ///
    /// # Errors
    /// `Size` for an empty or too large chunk and `Full` when the disk or the list of trees is (nothing was
    /// written), `Gone` when the document is being deleted, or the error the store died of.
    pub fn put(&self, key: ChunkKey, bytes: &[u8], now: u64) -> Result<Seq, StoreError> {
        if bytes.is_empty() || bytes.len() > VALUE_LIMIT {
            return Err(StoreError::Size {
                bytes: bytes.len(),
                limit: VALUE_LIMIT,
            });
        }
        self.core.group.alive()?;
        self.core.take_room(bytes.len() as u64, false)?;
        self.core.wait_for_backlog(bytes.len() as u64)?;
        if key.chunk < SHARED {
            self.put_shared(key, bytes, now)?;
        } else {
            self.put_own(key, bytes, now)?;
        }
        Ok(self.core.group.wrote())
    }

    /// Reads a chunk. `None` when it was never put or its document is deleted.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the log cannot be read.
    pub fn get(&self, key: ChunkKey) -> Result<Option<Vec<u8>>, StoreError> {
        let slabs = &self.core.slabs;
        let row = if key.chunk < SHARED { shared_row(key) } else { own_row(key) };
        let Some(place) = slabs.index.get(row).map_err(from_read)? else {
            return Ok(None);
        };
        let (number, slot) = place_of(&place)?;
        // A missing tree means that the document is being deleted right now.
        let Some(tree) = slabs.state().shelves.get(&number).map(|shelf| shelf.tree.clone()) else {
            return Ok(None);
        };
        let entry = if key.chunk < SHARED {
            vec![slot]
        } else {
            fence(filled(key.chunk)).to_vec()
        };
        match tree.get(&entry) {
            Ok(value) => {
                let _ = touch(&tree, &entry);
                Ok(value.filter(|value| !value.is_empty()).map(|value| value.to_vec()))
            }
            Err(::sled::Error::CollectionNotFound(_)) => Ok(None),
            Err(error) => Err(from_read(error)),
        }
    }

    /// Removes all chunks of a document. Idempotent; a crash in between is finished by calling it again.
    ///
    /// # Errors
    /// The error the store died of.
    pub fn delete_document(&self, document: [u8; 16]) -> Result<Seq, StoreError> {
        self.core.group.alive()?;
        self.core.take_room(4096, true)?;
        let index = &self.core.slabs.index;
        for table in [SHARED_ROWS, OWN_ROWS] {
            for row in index.scan_prefix(document_row(table, document)) {
                let (row, place) = row.map_err(from_read)?;
                index.remove(row).map_err(|error| self.core.failed(error))?;
                self.release(place_of(&place)?.0)?;
                crate::crash::point("C24");
            }
        }
        // Last, so that an interrupted deletion is still listed.
        index
            .remove(document_row(DOCUMENTS, document))
            .map_err(|error| self.core.failed(error))?;
        Ok(self.core.group.wrote())
    }

    /// Up to `limit` documents that have chunks, ascending by id behind `after`, with the time of their first.
    ///
    /// # Errors
    /// As [`Chunks::get`].
    pub fn documents(&self, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<([u8; 16], u64)>, StoreError> {
        self.list(after, limit, |_| true)
    }

    /// Like [`Chunks::documents`], only those whose first chunk came before `than` (unix seconds).
    ///
    /// # Errors
    /// As [`Chunks::get`].
    pub fn list_older(&self, than: u64, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<([u8; 16], u64)>, StoreError> {
        self.list(after, limit, |since| since < than)
    }

    fn list(&self, after: Option<[u8; 16]>, limit: usize, wanted: impl Fn(u64) -> bool) -> Result<Vec<([u8; 16], u64)>, StoreError> {
        let mut found = Vec::new();
        let from = after.map_or(vec![DOCUMENTS], |after| document_row(DOCUMENTS, after));
        for row in self.core.slabs.index.range(from.clone()..vec![DOCUMENTS + 1]) {
            let (row, since) = row.map_err(from_read)?;
            if after.is_some() && row == from {
                continue;
            }
            let broken = || StoreError::Corrupt("a row of the chunk index".into());
            let document = row.get(1..).and_then(|id| id.try_into().ok()).ok_or_else(broken)?;
            let since = since.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| broken())?;
            if wanted(since) {
                if found.len() == limit {
                    break;
                }
                found.push((document, since));
            }
        }
        Ok(found)
    }

    fn put_shared(&self, key: ChunkKey, bytes: &[u8], now: u64) -> Result<(), StoreError> {
        let slabs = &self.core.slabs;
        let row = shared_row(key);
        if let Some(place) = slabs.index.get(&row).map_err(from_read)? {
            let (number, slot) = place_of(&place)?;
            let tree = slabs.state().shelves.get(&number).map(|shelf| shelf.tree.clone());
            let tree = tree.ok_or_else(|| StoreError::Corrupt("a chunk without its tree".into()))?;
            return self.write(&tree, &[slot], bytes);
        }
        self.note_document(key.document, now)?;
        let (number, slot, tree) = self.take_slot()?;
        self.write(&tree, &[slot], bytes)?;
        self.put_back(number, slot);
        let mut place = number.to_be_bytes().to_vec();
        place.push(slot);
        let before = slabs.index.insert(row, place).map_err(|error| self.core.failed(error))?;
        before.map_or(Ok(()), |place| self.release(place_of(&place)?.0))
    }

    fn put_own(&self, key: ChunkKey, bytes: &[u8], now: u64) -> Result<(), StoreError> {
        let (tree, leaves) = self.own_tree(key, now)?;
        let (leaf, entry) = (key.chunk % BLOCK / FILLED, fence(filled(key.chunk)));
        let mut made = leaves.lock().unwrap_or_else(PoisonError::into_inner);
        while *made < leaf + AHEAD {
            // Strictly ascending, and never over an entry that is there.
            for number in *made * FENCES..(*made + 1) * FENCES {
                let empty = Some(&[][..]);
                tree.compare_and_swap(fence(number), None::<&[u8]>, empty)
                    .map_err(|error| self.core.failed(error))?
                    .ok();
            }
            *made += 1;
        }
        drop(made);
        self.write(&tree, &entry, bytes)
    }

    fn write(&self, tree: &Tree, entry: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        tree.insert(entry, bytes).map_err(|error| self.core.failed(error))?;
        // Not part of the write: what is deleted right now needs no touching.
        let _ = touch(tree, entry);
        Ok(())
    }

    fn note_document(&self, document: [u8; 16], now: u64) -> Result<(), StoreError> {
        let index = &self.core.slabs.index;
        let row = document_row(DOCUMENTS, document);
        if !index.contains_key(&row).map_err(from_read)? {
            index.insert(row, &now.to_be_bytes()).map_err(|error| self.core.failed(error))?;
        }
        Ok(())
    }

    /// Takes a shared slab with a free slot out of the open ones, or makes one.
    fn take_slot(&self) -> Result<(u32, u8, Tree), StoreError> {
        let mut state = self.core.slabs.state();
        let (number, slot) = match state.open.pop() {
            Some(open) => open,
            None => (self.add_tree(&mut state, SHARED)?, 0),
        };
        let shelf = state
            .shelves
            .get_mut(&number)
            .ok_or_else(|| StoreError::Corrupt("an open slab".into()))?;
        shelf.rows += 1;
        Ok((number, slot as u8, shelf.tree.clone()))
    }

    /// Opens a slab again behind the slot just filled.
    fn put_back(&self, number: u32, slot: u8) {
        let next = u32::from(slot) + 1;
        if next < SHARED {
            self.core.slabs.state().open.push((number, next));
        }
    }

    /// The own tree of a chunk, made and entered into the index at its first use.
    fn own_tree(&self, key: ChunkKey, now: u64) -> Result<(Tree, Arc<Mutex<u32>>), StoreError> {
        let slabs = &self.core.slabs;
        let row = own_row(key);
        // Held over the look and the making: two writers must not make two trees.
        let mut state = slabs.state();
        let known = slabs.index.get(&row).map_err(from_read)?;
        let (number, counted) = match &known {
            Some(place) => (place_of(place)?.0, count_of(place)),
            None => {
                self.note_document(key.document, now)?;
                (self.add_tree(&mut state, 0)?, 0)
            }
        };
        let needed = (key.chunk % BLOCK + 1).next_multiple_of(COUNTED);
        if counted < needed {
            let place = [&number.to_be_bytes()[..], &(needed as u16).to_be_bytes()].concat();
            slabs.index.insert(row, place).map_err(|error| self.core.failed(error))?;
            state.hold(number, needed - counted);
        }
        let shelf = state
            .shelves
            .get_mut(&number)
            .ok_or_else(|| StoreError::Corrupt("a file without its tree".into()))?;
        shelf.rows = 1;
        Ok((shelf.tree.clone(), Arc::clone(&shelf.leaves)))
    }

    fn add_tree(&self, state: &mut State, chunks: u32) -> Result<u32, StoreError> {
        if state.shelves.len() >= TREES_LIMIT {
            return Err(StoreError::Full { must_reopen: false });
        }
        let number = state.next;
        let tree = self.core.db.open_tree(tree_name(number)).map_err(|error| self.core.failed(error))?;
        state.next += 1;
        let shelf = Shelf {
            tree,
            rows: 0,
            bytes: 0,
            leaves: Arc::default(),
        };
        state.shelves.insert(number, shelf);
        state.hold(number, chunks);
        Ok(number)
    }

    /// Takes back one row's hold on a tree and drops the tree with its last.
    fn release(&self, number: u32) -> Result<(), StoreError> {
        let mut state = self.core.slabs.state();
        let Some(shelf) = state.shelves.get_mut(&number) else {
            return Ok(());
        };
        shelf.rows = shelf.rows.saturating_sub(1);
        if shelf.rows > 0 {
            return Ok(());
        }
        let bytes = state.shelves.remove(&number).map_or(0, |shelf| shelf.bytes);
        state.live = state.live.saturating_sub(bytes);
        state.open.retain(|(open, _)| *open != number);
        drop(state);
        self.core.db.drop_tree(tree_name(number)).map_err(|error| self.core.failed(error))?;
        Ok(())
    }
}

impl Slabs {
    /// Reads the index and drops the trees that no row names: what a crash left behind.
    pub(super) fn open(db: &::sled::Db) -> Result<Self, StoreError> {
        let index = db.open_tree(b"index").map_err(from_read)?;
        let mut rows = HashMap::<u32, (u32, u32)>::new();
        for row in index.range([SHARED_ROWS]..[OWN_ROWS + 1]) {
            let (row, place) = row.map_err(from_read)?;
            let (rows, chunks) = rows.entry(place_of(&place)?.0).or_default();
            *rows += 1;
            // Until its last chunk is gone a shared slab holds on to all.
            *chunks = if row.starts_with(&[SHARED_ROWS]) {
                SHARED
            } else {
                count_of(&place)
            };
        }
        let mut state = State::default();
        for name in db.tree_names() {
            let Some(number) = tree_number(&name) else {
                continue;
            };
            state.next = state.next.max(number + 1);
            let Some(&(rows, chunks)) = rows.get(&number) else {
                db.drop_tree(&name).map_err(from_read)?;
                continue;
            };
            let tree = db.open_tree(&name).map_err(from_read)?;
            let shelf = Shelf {
                tree,
                rows,
                bytes: 0,
                leaves: Arc::default(),
            };
            state.shelves.insert(number, shelf);
            state.hold(number, chunks);
        }
        let lost = rows.keys().filter(|number| !state.shelves.contains_key(number)).count();
        if lost > 0 {
            tracing::error!(lost, "the chunk index names trees that are not there");
        }
        Ok(Self {
            index,
            state: Mutex::new(state),
        })
    }

    /// Bytes that the chunks hold on to, rounded up.
    pub(super) fn live(&self) -> u64 {
        self.state().live
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole before it can fail.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts further chunks of a tree.
    fn hold(&mut self, number: u32, chunks: u32) {
        let bytes = u64::from(chunks) * VALUE_LIMIT as u64;
        if let Some(shelf) = self.shelves.get_mut(&number) {
            shelf.bytes += bytes;
            self.live += bytes;
        }
    }
}

const DOCUMENTS: u8 = b'd';
const SHARED_ROWS: u8 = b'm';
const OWN_ROWS: u8 = b'o';
const TREE: u8 = b't';

fn document_row(table: u8, document: [u8; 16]) -> Vec<u8> {
    let mut row = vec![table];
    row.extend(document);
    row
}

fn shared_row(key: ChunkKey) -> Vec<u8> {
    let mut row = document_row(SHARED_ROWS, key.document);
    row.push(key.file);
    row.push(key.chunk as u8);
    row
}

fn own_row(key: ChunkKey) -> Vec<u8> {
    let mut row = document_row(OWN_ROWS, key.document);
    row.push(key.file);
    row.extend((key.chunk / BLOCK).to_be_bytes());
    row
}

/// Tree number, and slot in a shared slab.
fn place_of(place: &[u8]) -> Result<(u32, u8), StoreError> {
    match *place {
        [a, b, c, d, slot] => Ok((u32::from_be_bytes([a, b, c, d]), slot)),
        [a, b, c, d, _, _] => Ok((u32::from_be_bytes([a, b, c, d]), 0)),
        _ => Err(StoreError::Corrupt("a row of the chunk index".into())),
    }
}

/// Chunks of an own tree, rounded up.
fn count_of(place: &[u8]) -> u32 {
    match *place {
        [_, _, _, _, high, low] => u32::from(u16::from_be_bytes([high, low])),
        _ => 0,
    }
}

fn tree_name(number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [TREE, a, b, c, d]
}

fn tree_number(name: &[u8]) -> Option<u32> {
    match *name {
        [TREE, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}

/// The entry of an own tree that carries a chunk.
fn filled(chunk: u32) -> u32 {
    let chunk = chunk % BLOCK;
    chunk / FILLED * FENCES + chunk % FILLED
}

fn fence(number: u32) -> [u8; 2] {
    // Below 2^16: an own tree has at most (1024 / 4 + 3) * 9 entries.
    (number as u16).to_be_bytes()
}

fn touch(tree: &Tree, entry: &[u8]) -> ::sled::Result<()> {
    for _ in 0..TOUCHES {
        tree.get(entry)?;
    }
    Ok(())
}
