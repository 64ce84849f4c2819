//! What is due, found by time: queues beside each other, so that what must be destroyed never waits behind what must be delivered, and no provider's documents behind
//! another's.

use std::collections::BTreeSet;

use time::{Duration, OffsetDateTime};

use super::records::{Batch, Row, Rows};
use super::{Failed, SledStore};
use crate::chain::chain;
use crate::domain::id::RequestId;
use crate::domain::request::{DocumentRequest, WorkQueue};
use crate::domain::transition::Transition;
use crate::storage::clock::from_ms;
use crate::storage::{Cause, RequestStore, StorageError, WorkQueues, key};

/// Damaged rows that one claim steps over.
const CLAIM_LOOK: usize = 32;
/// How long a damaged row is left alone before it is looked at (and reported) again.
const DAMAGED_PAUSE: Duration = Duration::hours(1);
/// Bytes of an instant and an id, which end every entry.
const PLACE: usize = 24;

#[derive(Clone, Copy)]
pub(super) enum Queue<'a> {
    Work(WorkQueues<'a>),
    Cleanup,
}

/// An entry of a queue. Ordered by when it is due; at the same instant a provider is asked before the portal decides without it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: OffsetDateTime,
    portals_own: bool,
    id: RequestId,
    key: Vec<u8>,
}

impl Entry {
    fn read(key: Vec<u8>) -> Result<Self, Failed> {
        let place = key.len().checked_sub(PLACE).and_then(|start| key.get(start..)).and_then(|place| {
            let at = place.first_chunk().copied().map(i64::from_be_bytes)?;
            Some((from_ms(at), RequestId(place.last_chunk().copied()?)))
        });
        let Some((at, id)) = place else {
            return Err(Failed::Storage(StorageError::Corrupt(Cause::new("an entry of the due index"))));
        };
        let portals_own = key.starts_with(&key::due_queue(WorkQueue::Portal));
        Ok(Self { at, portals_own, id, key })
    }

    /// The queue's own part of the key.
    fn queue(&self) -> &[u8] {
        &self.key[..self.key.len() - PLACE]
    }

    /// The same request in the same queue at another instant.
    fn moved(&self, at: OffsetDateTime) -> Vec<u8> {
        [self.queue(), &key::ms(at), &self.id.0].concat()
    }

    /// The next one of its queue.
    fn next(&self, rows: &Rows<'_>) -> Result<Option<Self>, Failed> {
        first_of(rows.scan_prefix(self.queue(), Some(&self.key), 1)?)
    }
}

fn first_of(rows: Vec<Row>) -> Result<Option<Entry>, Failed> {
    rows.into_iter().next().map(|(key, _)| Entry::read(key)).transpose()
}

/// The first entry of each queue. Costs one look for each queue, however much waits in it.
fn heads(rows: &Rows<'_>, queue: Queue<'_>) -> Result<BTreeSet<Entry>, Failed> {
    let first = |prefix: &[u8]| first_of(rows.scan_prefix(prefix, None, 1)?).map(|entry| entry.into_iter().collect());
    let except: &[_] = match queue {
        Queue::Cleanup => return first(&[key::CLEANUP]),
        Queue::Work(WorkQueues::Of(provider)) => return first(&key::due_queue(WorkQueue::Provider(provider))),
        Queue::Work(WorkQueues::All) => &[],
        Queue::Work(WorkQueues::Except(providers)) => providers,
    };
    let except: BTreeSet<Vec<u8>> = except.iter().map(|name| key::due_queue(WorkQueue::Provider(name))).collect();
    let mut heads = BTreeSet::new();
    let mut behind: Option<Vec<u8>> = None;
    while let Some(entry) = first_of(rows.scan_prefix(&[key::DUE], behind.as_deref(), 1)?)? {
        // Behind the last place that this queue could have.
        behind = Some([entry.queue(), &[u8::MAX; PLACE + 1]].concat());
        if !except.contains(entry.queue()) {
            heads.insert(entry);
        }
    }
    Ok(heads)
}

impl SledStore {
    /// When the first entry of a queue is due.
    pub(super) fn first(&self, queue: Queue<'_>) -> Result<Option<OffsetDateTime>, Failed> {
        Ok(heads(&self.store.records(), queue)?.first().map(|entry| entry.at))
    }

    /// Takes the lease of the request that has been due longest.
    pub(super) async fn claim(&self, queue: Queue<'_>, lease: Transition) -> Result<Option<DocumentRequest>, StorageError> {
        // A look without the lock first: most of the time nothing is due.
        let horizon = self.now();
        if self.first(queue).map_err(Failed::into_storage)?.is_none_or(|at| at > horizon) {
            return Ok(None);
        }
        self.decide(|rows, now| claim(rows, queue, &lease, now)).await
    }
}

fn claim(rows: &Rows<'_>, queue: Queue<'_>, lease: &Transition, now: OffsetDateTime) -> Result<(Batch, Option<DocumentRequest>), Failed> {
    let mut batch = Batch::new();
    let mut heads = heads(rows, queue)?;
    for _ in 0..CLAIM_LOOK {
        let Some(entry) = heads.pop_first().filter(|entry| entry.at <= now) else {
            break;
        };
        match SledStore::change(rows, &mut batch, entry.id, lease.clone(), now) {
            Ok((leased, _)) => {
                // The row may have been altered from outside since this entry was derived from it: one that belongs to no row any more would be due for ever.
                if !key::indexes(&leased).iter().any(|(own, _)| *own == entry.key) {
                    batch.remove(entry.key);
                }
                return Ok((batch, Some(leased)));
            }
            // A row that cannot be read, or is not there, must not stand before all others for ever.
            Err(Failed::Storage(error @ (StorageError::Corrupt(_) | StorageError::NotFound))) => {
                tracing::error!(request = %entry.id, error = %chain(&error), "a request that is due cannot be read; it is passed over");
                batch.frees_space();
                batch.remove(entry.key.clone());
                if error != StorageError::NotFound {
                    batch.put(entry.moved(now + DAMAGED_PAUSE), Vec::new());
                }
                heads.extend(entry.next(rows)?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((batch, None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::domain::document::ProviderName;
    use crate::storage::clock::Source;
    use crate::storage::seal::NotSecret;
    use crate::storage::sled::durable::Options;

    /// A provider that hangs may have ten thousand documents waiting: whoever works for another one, or for none, does not step over them.
    #[tokio::test]
    async fn a_look_costs_the_same_however_much_waits_in_another_queue() {
        let folder = std::env::temp_dir().join(format!("nightdrop-due-{}", std::process::id()));
        let store = SledStore::open(&folder, Options::default(), Source::System, Arc::new(NotSecret)).unwrap();
        let [hangs, other] = ["hangs", "other"].map(|name| ProviderName::parse(name).unwrap());
        let except = [hangs.clone()];
        // The fastest of many: a busy machine only ever adds.
        let look = async |queues| {
            let mut fastest = Duration::MAX;
            for _ in 0..50 {
                let start = Instant::now();
                assert_eq!(store.next_due(queues).await.unwrap(), None);
                fastest = fastest.min(start.elapsed());
            }
            fastest
        };
        let queues = [WorkQueues::Of(&other), WorkQueues::Except(&except)];
        let before = [look(queues[0]).await, look(queues[1]).await];
        let at = store.now();
        for thousand in 0..10_u8 {
            let mut batch = Batch::new();
            for n in 0..1_000_u32 {
                let mut id = [thousand; 16];
                id[..4].copy_from_slice(&n.to_be_bytes());
                batch.put(key::due(WorkQueue::Provider(&hangs), at, RequestId(id)), Vec::new());
            }
            let seq = store.store.apply(batch).unwrap();
            store.store.settled_blocking(seq).unwrap();
        }
        assert_eq!(store.next_due(WorkQueues::Of(&hangs)).await.unwrap(), Some(at));
        for (queues, before) in queues.into_iter().zip(before) {
            let with_ten_thousand = look(queues).await;
            // Stepping over ten thousand entries takes several milliseconds.
            assert!(
                with_ten_thousand < before * 10 + Duration::from_micros(300),
                "{queues:?}: {with_ten_thousand:?}, with none {before:?}"
            );
        }
        drop(store);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
