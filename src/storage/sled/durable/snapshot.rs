//! A snapshot: all rows as they stood between two rounds of the group commit, read in small steps while the store goes on.
//!
//! A round that changes a row which the reader has not come to yet leaves the row as it was beside the snapshot first, under the one lock that both take. So the steps
//! together are one point of the store, nobody waits for longer than one step, and what is kept is no more than what changed meanwhile.

use std::ops::Bound;
use std::sync::{MutexGuard, PoisonError};

use super::{Core, DurableSled};
use crate::storage::sled::error::{StoreError, from_read, from_write};
use crate::storage::sled::mark::Mark;
use crate::storage::sled::records::{Batch, Overlay, Row, Rows};

/// Rows that are read in one step.
const STEP: usize = 256;
/// So much of changed rows is kept; a reader that is slower than this gives up, and not the store.
const KEPT_MAX: usize = 64 << 20;

/// What is kept for the reader of a snapshot.
#[derive(Default)]
pub(super) struct Kept {
    /// The last key that was read.
    reached: Option<Vec<u8>>,
    /// Rows behind it as they were; `None` where there was none.
    before: Overlay,
    bytes: usize,
    failed: Option<StoreError>,
}

impl Kept {
    /// Keeps what these rows are about to replace.
    fn keep(&mut self, rows: &Overlay, tree: &::sled::Tree) {
        for key in rows.keys() {
            let passed = self.reached.as_ref().is_some_and(|reached| key <= reached);
            if self.failed.is_some() || passed || self.before.contains_key(key) {
                continue;
            }
            match tree.get(key) {
                Ok(value) => {
                    self.bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
                    self.before.insert(key.clone(), value.map(|value| value.to_vec()));
                }
                Err(error) => self.failed = Some(from_read(error)),
            }
        }
        if self.bytes > KEPT_MAX {
            self.failed = Some(StoreError::Unknown(
                "too much changed while the snapshot was read: its reader is too slow".into(),
            ));
            self.before.clear();
        }
    }
}

impl Core {
    /// Takes part in the one order of rounds and steps.
    pub(super) fn snapshot(&self) -> MutexGuard<'_, Option<Kept>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a round, after what it changes was kept for whoever reads a snapshot.
    pub(super) fn apply(&self, rows: &Overlay, batch: ::sled::Batch) -> Result<(), StoreError> {
        let mut snapshot = self.snapshot();
        if let Some(kept) = &mut *snapshot {
            kept.keep(rows, &self.records);
        }
        self.records.apply_batch(batch).map_err(from_write)
    }
}

impl DurableSled {
    /// Begins a snapshot of the rows as they are now, with how far the store has come in it; all of it is durable when this returns. `None` while another one is
    /// read. Blocking for one sync.
    ///
    /// # Errors
    /// As [`DurableSled::settled`].
    pub fn snapshot(&self) -> Result<Option<(Mark, Snapshot)>, StoreError> {
        self.durable_blocking()?;
        let mark = {
            let mut held = self.core.snapshot();
            if held.is_some() {
                return Ok(None);
            }
            let mark = Mark::of(&Rows::settled(&self.core.records))?;
            *held = Some(Kept::default());
            mark
        };
        let snapshot = Snapshot { store: self.clone() };
        // A round between the two may have been applied and not be synced yet.
        self.durable_blocking()?;
        Ok(Some((mark, snapshot)))
    }

    /// Fills a store that was just made, and that nobody decides in, with the rows of another one. They are durable when this returns.
    ///
    /// # Errors
    /// `Size`, or what the store died of, or whatever `next` failed with; the store is of no use then.
    pub fn fill(&self, mut next: impl FnMut() -> Result<Vec<Row>, StoreError>) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let rows = next()?;
            if rows.is_empty() {
                self.core.db.flush().map_err(from_write)?;
                return Ok(count);
            }
            count += rows.len() as u64;
            let mut checked = Batch::new();
            for (key, value) in rows {
                checked.put(key, value);
            }
            checked.check()?;
            let mut batch = ::sled::Batch::default();
            for (key, value) in checked.into_rows() {
                batch.insert(key, value.unwrap_or_default());
            }
            self.core.records.apply_batch(batch).map_err(from_write)?;
        }
    }
}

/// The rows of one point in time. Dropping it ends it.
pub struct Snapshot {
    store: DurableSled,
}

impl Snapshot {
    /// The next rows in the order of their keys; none at the end. Blocking.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the log cannot be read; `Unknown` when the reader was too slow.
    pub fn next_rows(&mut self) -> Result<Vec<Row>, StoreError> {
        let core = &self.store.core;
        let mut held = core.snapshot();
        let kept = held.get_or_insert_default();
        if let Some(error) = &kept.failed {
            return Err(error.clone());
        }
        loop {
            let start = kept.reached.clone();
            let from = start.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut stored = Vec::with_capacity(STEP);
            for row in core.records.range::<&[u8], _>((from, Bound::Unbounded)).take(STEP) {
                let (key, value) = row.map_err(from_read)?;
                stored.push((key.to_vec(), value.to_vec()));
            }
            // Behind the last stored row of a full step, more may stand; behind a short one there is only what was removed since.
            let reached = match stored.last() {
                Some((last, _)) if stored.len() == STEP => Some(last.clone()),
                _ => None,
            };
            let later = reached.as_ref().map(|last| {
                let mut later = kept.before.split_off(last);
                if let Some(at) = later.remove_entry(last) {
                    kept.before.insert(at.0, at.1);
                }
                later
            });
            let before = std::mem::replace(&mut kept.before, later.unwrap_or_default());
            let mut rows: std::collections::BTreeMap<_, _> = stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
            let ended = reached.is_none();
            let last = reached.or_else(|| {
                [rows.keys().next_back(), before.keys().next_back()]
                    .into_iter()
                    .flatten()
                    .max()
                    .cloned()
            });
            rows.extend(before);
            kept.reached = last.or(start);
            kept.bytes = kept.before.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len)).sum();
            let rows: Vec<Row> = rows.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            // A whole step may have been made since: then the next one is looked at.
            if !rows.is_empty() || ended {
                return Ok(rows);
            }
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        *self.store.core.snapshot() = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::storage::sled::durable::Options;

    fn key(number: u32) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    fn put(store: &DurableSled, number: u32, value: Option<&[u8]>) {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(key(number), value),
            None => batch.remove(key(number)),
        };
        let seq = store.apply(batch).unwrap();
        store.settled_blocking(seq).unwrap();
    }

    fn rest(snapshot: &mut Snapshot) -> Vec<Row> {
        let mut all = Vec::new();
        loop {
            let rows = snapshot.next_rows().unwrap();
            if rows.is_empty() {
                return all;
            }
            all.extend(rows);
        }
    }

    /// Changes, removals and new rows on both sides of the reader, at every step: what is read is what stood at the beginning.
    #[test]
    fn a_snapshot_is_one_point_whatever_is_written_while_it_is_read() {
        let folder = std::env::temp_dir().join(format!("nightdrop-snapshot-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let store = DurableSled::open(&folder, Options::default()).unwrap();
        let mut batch = Batch::new();
        for number in (0..3_000).step_by(2) {
            batch.put(key(number), [1; 40]);
        }
        let seq = store.apply(batch).unwrap();
        store.settled_blocking(seq).unwrap();
        let expected = store.records().range(Bound::Unbounded, Bound::Unbounded, usize::MAX).unwrap();
        let (mark, mut snapshot) = store.snapshot().unwrap().unwrap();
        assert_eq!(mark.number, 1);
        assert!(store.snapshot().unwrap().is_none(), "one at a time");
        let mut seen = Vec::new();
        let mut seed = 7_u32;
        loop {
            for _ in 0..40 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let value = [9; 30];
                put(&store, (seed >> 8) % 3_400, (!seed.is_multiple_of(3)).then_some(&value));
            }
            // A whole step is removed, and everything behind the end.
            if seen.is_empty() {
                for number in 1_000..1_800 {
                    put(&store, number, None);
                }
            }
            let rows = snapshot.next_rows().unwrap();
            if rows.is_empty() {
                break;
            }
            seen.extend(rows);
        }
        assert!(seen == expected, "{} rows of {}", seen.len(), expected.len());
        drop(snapshot);
        let (_, mut again) = store.snapshot().unwrap().unwrap();
        let copy = folder.join("copy");
        std::fs::create_dir_all(&copy).unwrap();
        let other = DurableSled::open(&copy, Options::default()).unwrap();
        other.fill(|| again.next_rows()).unwrap();
        drop(again);
        let all = |store: &DurableSled| store.records().range(Bound::Unbounded, Bound::Unbounded, usize::MAX).unwrap();
        assert!(all(&other) == all(&store));
        let (_, mut last) = store.snapshot().unwrap().unwrap();
        assert_eq!(rest(&mut last).len(), all(&store).len());
        drop((last, store, other));
        let _ = std::fs::remove_dir_all(&folder);
    }
}
