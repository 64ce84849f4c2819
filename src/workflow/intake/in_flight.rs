//! Who writes the chunks of which document now, in this process: the sweep leaves those documents alone, and whoever destroys one stops its writers first.
//!
//! A writer enters before it reads the row that says it may write. Whoever destroys has made the row say otherwise, and then ends the writers: each is seen by one of
//! the two, so no chunk is written behind a deletion.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::Orphan;
use crate::domain::id::{DocumentId, RequestId};

/// The documents of this process that have writers.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<DocumentId, Entry>>>);

struct Entry {
    writers: usize,
    gate: Arc<Gate>,
    /// Its secret, while no row owns it.
    orphan: Option<Orphan>,
}

#[derive(Default)]
struct Gate {
    ended: AtomicBool,
    /// Shared by writers for one write, taken whole by whoever ends them.
    writing: Arc<RwLock<()>>,
}

/// The right to write chunks of a document until somebody ends it. Dropped, the document is no longer in flight by it.
pub struct Writer {
    all: InFlight,
    document: DocumentId,
    gate: Arc<Gate>,
}

/// The document cannot be destroyed while this is held: for one write, never for longer.
pub struct Writing {
    _shared: OwnedRwLockReadGuard<()>,
}

impl InFlight {
    fn entries(&self) -> MutexGuard<'_, HashMap<DocumentId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enter(&self, document: DocumentId) -> Writer {
        let mut entries = self.entries();
        let entry = entries.entry(document).or_insert_with(|| Entry {
            writers: 0,
            gate: Arc::default(),
            orphan: None,
        });
        entry.writers += 1;
        Writer {
            all: self.clone(),
            document,
            gate: entry.gate.clone(),
        }
    }

    /// Secrets that no row owns, of forms that run on the links of a request.
    pub(super) fn orphans_of(&self, request: RequestId) -> Vec<Orphan> {
        let entries = self.entries();
        let orphans = entries.values().filter_map(|entry| entry.orphan);
        orphans.filter(|orphan| orphan.request == request).collect()
    }

    /// Ends every writer of a document. Nobody writes a chunk of it any more when this returns.
    pub async fn end(&self, document: DocumentId) {
        let Some(gate) = self.entries().get(&document).map(|entry| entry.gate.clone()) else {
            return;
        };
        gate.ended.store(true, Ordering::SeqCst);
        drop(gate.writing.write().await);
    }

    pub fn contains(&self, document: DocumentId) -> bool {
        self.entries().contains_key(&document)
    }

    pub fn len(&self) -> usize {
        self.entries().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Writer {
    /// Notes the secret that lies in its slot, or that a row owns it.
    pub(super) fn note(&self, orphan: Option<Orphan>) {
        if let Some(entry) = self.all.entries().get_mut(&self.document) {
            entry.orphan = orphan;
        }
    }

    /// Before each write; `None` when the document is being destroyed.
    pub async fn writing(&self) -> Option<Writing> {
        let shared = self.gate.writing.clone().read_owned().await;
        (!self.gate.ended.load(Ordering::SeqCst)).then_some(Writing { _shared: shared })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut entries = self.all.entries();
        if let Some(entry) = entries.get_mut(&self.document) {
            entry.writers -= 1;
            if entry.writers == 0 {
                entries.remove(&self.document);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn ending_waits_for_the_write_in_progress_and_lets_no_other_begin() {
        let (all, document) = (InFlight::default(), DocumentId([1; 16]));
        let (one, other) = (all.enter(document), all.enter(document));
        let writing = one.writing().await.unwrap();
        assert!(other.writing().await.is_some(), "writers do not wait for one another");
        let mut ending = Box::pin(all.end(document));
        assert!(ending.as_mut().now_or_never().is_none(), "a chunk is being written");
        drop(writing);
        ending.await;
        assert!(one.writing().await.is_none() && other.writing().await.is_none());
        assert!(all.enter(document).writing().await.is_none(), "nor one that comes late");
        drop(one);
        assert!(all.contains(document));
        drop(other);
        assert!(all.is_empty());
        all.end(document).await;
    }
}
