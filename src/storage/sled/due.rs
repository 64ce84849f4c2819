//! What is due, found by time: two queues beside each other, so that what must be destroyed never waits behind what must be delivered.

use crate::storage::Cause;
use time::{Duration, OffsetDateTime};

use super::records::{Batch, Rows};
use super::{Failed, SledStore};
use crate::chain::chain;
use crate::domain::id::RequestId;
use crate::domain::request::DocumentRequest;
use crate::domain::transition::Transition;
use crate::storage::clock::from_ms;
use crate::storage::{RequestStore, StorageError, key};

/// Damaged rows that one claim steps over.
const CLAIM_LOOK: usize = 32;
/// How long a damaged row is left alone before it is looked at (and reported) again.
const DAMAGED_PAUSE: Duration = Duration::hours(1);

#[derive(Clone, Copy)]
pub(super) enum Queue {
    Work,
    Cleanup,
}

impl Queue {
    fn letter(self) -> u8 {
        match self {
            Self::Work => key::DUE,
            Self::Cleanup => key::CLEANUP,
        }
    }

    fn entry(self, at: OffsetDateTime, id: RequestId) -> Vec<u8> {
        match self {
            Self::Work => key::due(at, id),
            Self::Cleanup => key::cleanup(at, id),
        }
    }
}

impl SledStore {
    /// When the first entry of a queue is due.
    pub(super) fn first(&self, queue: Queue) -> Result<Option<OffsetDateTime>, Failed> {
        let first = self.store.records().scan_prefix(&[queue.letter()], None, 1)?;
        Ok(first.first().map(|(k, _)| due_entry(k)).transpose()?.map(|(at, _)| at))
    }

    /// Takes the lease of the request that has been due longest.
    pub(super) async fn claim(&self, queue: Queue, lease: Transition) -> Result<Option<DocumentRequest>, StorageError> {
        // A look without the lock first: most of the time nothing is due.
        let horizon = self.now();
        if self.first(queue).map_err(Failed::into_storage)?.is_none_or(|at| at > horizon) {
            return Ok(None);
        }
        self.decide(|rows, now| claim(rows, queue, &lease, now)).await
    }
}

fn claim(rows: &Rows<'_>, queue: Queue, lease: &Transition, now: OffsetDateTime) -> Result<(Batch, Option<DocumentRequest>), Failed> {
    let mut batch = Batch::new();
    for (entry, _) in rows.scan_prefix(&[queue.letter()], None, CLAIM_LOOK)? {
        let (at, id) = due_entry(&entry)?;
        if at > now {
            break;
        }
        match SledStore::change(rows, &mut batch, id, lease.clone(), now) {
            Ok(leased) => return Ok((batch, Some(leased))),
            // A row that cannot be read, or is not there, must not stand before all others for ever.
            Err(Failed::Storage(error @ (StorageError::Corrupt(_) | StorageError::NotFound))) => {
                tracing::error!(request = %id, error = %chain(&error), "a request that is due cannot be read; it is passed over");
                batch.frees_space();
                batch.remove(entry);
                if error != StorageError::NotFound {
                    batch.put(queue.entry(now + DAMAGED_PAUSE, id), Vec::new());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok((batch, None))
}

fn due_entry(k: &[u8]) -> Result<(OffsetDateTime, RequestId), Failed> {
    let at = k.get(1..9).and_then(|b| b.try_into().ok()).map(i64::from_be_bytes);
    let id = k.get(9..25).and_then(|b| b.try_into().ok()).map(RequestId);
    match (at, id) {
        (Some(at), Some(id)) => Ok((from_ms(at), id)),
        _ => Err(Failed::Storage(StorageError::Corrupt(Cause::new("an entry of the due index")))),
    }
}
