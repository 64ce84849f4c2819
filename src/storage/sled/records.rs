//! Rows: one ordered map of small records, read by key or range, written in atomic batches.
//!
//! [`Rows`] reads; [`Batch`] collects writes. Neither decides durability: that is `durable`.
//! Nothing here names a business object; keys and values are bytes that `RequestStore` lays out.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::error::{StoreError, from_read};

/// Largest value of a row, in bytes: far below a quarter of a segment, above which sled would spill it.
///
/// A leaf of the database holds up to 17 values and must stay below a quarter of a log segment (4 MiB);
/// a larger record would be spilled into a side file that nobody syncs.
pub(crate) const VALUE_LIMIT: usize = (64 << 10) + 16;
/// Largest key of a row, in bytes.
pub(crate) const KEY_LIMIT: usize = 1 << 10;

/// Rows that are decided but not yet in the database: `None` means removed.
pub(super) type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

pub(super) use crate::storage::backup::Row;

/// Writes that happen together or not at all. The last write to a key wins.
#[derive(Default)]
pub struct Batch {
    rows: Overlay,
    frees_space: bool,
}

impl Batch {
    /// A batch without writes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.rows.insert(key.into(), Some(value.into()));
        self
    }

    /// Removes a row; absent rows are no error.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.rows.insert(key.into(), None);
        self
    }

    /// Marks the batch as part of making room (purge, expiry): it may use the last of the disk and the ballast.
    pub fn frees_space(&mut self) -> &mut Self {
        self.frees_space = true;
        self
    }

    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn may_use_reserve(&self) -> bool {
        self.frees_space
    }

    /// Bytes of all keys and values, for the check of free space.
    pub(super) fn bytes(&self) -> u64 {
        self.rows
            .iter()
            .map(|(key, value)| (key.len() + value.as_ref().map_or(0, Vec::len)) as u64)
            .sum()
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        for (key, value) in &self.rows {
            if key.is_empty() || key.len() > KEY_LIMIT {
                return Err(StoreError::Size {
                    bytes: key.len(),
                    limit: KEY_LIMIT,
                });
            }
            if let Some(value) = value
                && value.len() > VALUE_LIMIT
            {
                return Err(StoreError::Size {
                    bytes: value.len(),
                    limit: VALUE_LIMIT,
                });
            }
        }
        Ok(())
    }

    pub(super) fn into_rows(self) -> Overlay {
        self.rows
    }
}

/// A readable state of all rows: what is in the database, under what has been decided since.
pub struct Rows<'a> {
    tree: &'a ::sled::Tree,
    /// Newest first.
    overlays: Vec<Arc<Overlay>>,
    pending: Option<&'a Overlay>,
}

impl<'a> Rows<'a> {
    pub(super) fn settled(tree: &'a ::sled::Tree) -> Self {
        Self {
            tree,
            overlays: Vec::new(),
            pending: None,
        }
    }

    pub(super) fn decided(tree: &'a ::sled::Tree, pending: &'a Overlay, in_flight: Arc<Overlay>) -> Self {
        Self {
            tree,
            overlays: vec![in_flight],
            pending: Some(pending),
        }
    }

    /// The value of one row.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the log cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        for overlay in self.overlays() {
            if let Some(value) = overlay.get(key) {
                return Ok(value.clone());
            }
        }
        Ok(self.tree.get(key).map_err(from_read)?.map(|value| value.to_vec()))
    }

    /// Up to `limit` rows whose key starts with `prefix`, ascending, beginning behind `after` (a whole key,
    /// normally the last one of the page before).
    ///
    /// # Errors
    /// As [`Rows::get`].
    pub fn scan_prefix(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let end = successor(prefix);
        self.range(start, end.as_deref().map_or(Bound::Unbounded, Bound::Excluded), limit)
    }

    /// The same, descending, beginning before `before`.
    ///
    /// # Errors
    /// As [`Rows::get`].
    pub fn scan_prefix_back(&self, prefix: &[u8], before: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let behind = successor(prefix);
        let end = match before {
            Some(before) if before.starts_with(prefix) => Bound::Excluded(before),
            _ => behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        };
        let start = Bound::Included(prefix);
        if is_nothing(start, end) {
            return Ok(Vec::new());
        }
        let changed = self.changed(start, end);
        let stored = self.tree.range::<&[u8], _>((start, end)).rev();
        merged(changed.iter().rev(), stored, limit, |a, b| b.cmp(a))
    }

    /// Up to `limit` rows between two keys, ascending.
    ///
    /// # Errors
    /// As [`Rows::get`].
    pub fn range(&self, start: Bound<&[u8]>, end: Bound<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        if is_nothing(start, end) {
            return Ok(Vec::new());
        }
        let changed = self.changed(start, end);
        merged(changed.iter(), self.tree.range::<&[u8], _>((start, end)), limit, |a, b| a.cmp(b))
    }

    fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        self.pending.into_iter().chain(self.overlays.iter().map(AsRef::as_ref))
    }

    /// The decided changes of a range, newest winning.
    fn changed(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> BTreeMap<&Vec<u8>, Option<&Vec<u8>>> {
        let mut changed = BTreeMap::new();
        for overlay in self.overlays() {
            for (key, value) in overlay.range::<[u8], _>((start, end)) {
                changed.entry(key).or_insert(value.as_ref());
            }
        }
        changed
    }
}

/// Two sources in the same order as one: what was decided wins over what is stored.
fn merged<'k>(
    changed: impl Iterator<Item = (&'k &'k Vec<u8>, &'k Option<&'k Vec<u8>>)>,
    stored: impl Iterator<Item = ::sled::Result<(::sled::IVec, ::sled::IVec)>>,
    limit: usize,
    by: impl Fn(&[u8], &[u8]) -> Ordering,
) -> Result<Vec<Row>, StoreError> {
    let mut changed = changed.peekable();
    let mut stored = stored.peekable();
    let mut rows = Vec::new();
    while rows.len() < limit {
        let stored_key = match stored.peek() {
            Some(Ok((key, _))) => Some(key.as_ref()),
            Some(Err(error)) => return Err(from_read(error.clone())),
            None => None,
        };
        let order = match (changed.peek(), stored_key) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some(stored_key)) => by(key.as_slice(), stored_key),
        };
        if order.is_eq() {
            stored.next();
        }
        if order.is_le() {
            if let Some((key, Some(value))) = changed.next() {
                rows.push(((*key).clone(), (*value).clone()));
            }
        } else if let Some(Ok((key, value))) = stored.next() {
            rows.push((key.to_vec(), value.to_vec()));
        }
    }
    Ok(rows)
}

/// The first key behind all keys with this prefix; `None` when there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// Whether a range is empty by its bounds: the maps below panic on some of those.
fn is_nothing(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end)) | (Bound::Excluded(start), Bound::Included(end)) => {
            start >= end
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_key_behind_a_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(successor(&[255]), None);
        assert_eq!(successor(b""), None);
    }

    #[test]
    fn a_batch_refuses_what_would_be_spilled() {
        let mut batch = Batch::new();
        batch.put(*b"k", vec![0; VALUE_LIMIT]);
        assert_eq!(batch.check(), Ok(()));
        batch.put(*b"k", vec![0; VALUE_LIMIT + 1]);
        assert!(matches!(batch.check(), Err(StoreError::Size { .. })));
        let mut batch = Batch::new();
        batch.put(Vec::new(), Vec::new());
        assert!(matches!(batch.check(), Err(StoreError::Size { .. })));
    }
}
