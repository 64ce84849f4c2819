//! Who may write a part now: the newest comer. A phone that stands still in a tunnel must not keep the laptop from going on.
//!
//! In memory, for the one process that writes an embedded store; the transitions of the store refuse whoever is late as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use time::{Duration, OffsetDateTime};

use tokio::sync::{OwnedMutexGuard, watch};

use crate::domain::id::RequestId;

/// PartLocks remembered before the unused ones are dropped.
const REMEMBERED: usize = 1_024;
/// A device whose last bytes came less than this ago is at it: another one may not begin the part anew under its hands, or both would for ever.
/// Well under the minute after which a stalled upload is to be taken over.
const AT_IT: Duration = Duration::seconds(20);

/// A device, as far as it is known: the mark of its receipt.
pub(crate) type Device = Option<[u8; 32]>;

/// A lock for each part of a request that somebody writes.
#[derive(Default)]
pub struct PartLocks {
    locks: Mutex<HashMap<(RequestId, u8), Weak<PartLock>>>,
    /// Who sent last, and when.
    seen: Mutex<HashMap<(RequestId, u8), (Device, OffsetDateTime)>>,
}

struct PartLock {
    newest: watch::Sender<u64>,
    writing: Arc<tokio::sync::Mutex<()>>,
}

/// The right to write a part until somebody newer comes.
pub struct Claim {
    lock: Arc<PartLock>,
    number: u64,
    newest: watch::Receiver<u64>,
}

/// Nobody newer can begin to write while this is held, also when its claim is gone.
pub struct WriteGuard {
    _writing: OwnedMutexGuard<()>,
    /// Whoever comes next finds the lock by it.
    _lock: Arc<PartLock>,
}

impl PartLocks {
    /// Claims the part. Whoever wrote it stops before its next write; wait for that with [`Claim::hold`].
    pub fn claim(&self, request: RequestId, part: u8) -> Claim {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() >= REMEMBERED {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let known = locks.get(&(request, part)).and_then(Weak::upgrade);
        let lock = known.unwrap_or_else(|| {
            let lock = Arc::new(PartLock {
                newest: watch::Sender::new(0),
                writing: Arc::default(),
            });
            locks.insert((request, part), Arc::downgrade(&lock));
            lock
        });
        lock.newest.send_modify(|number| *number += 1);
        let newest = lock.newest.subscribe();
        let number = *newest.borrow();
        Claim { lock, number, newest }
    }

    /// Bytes of a part came from this device.
    pub fn note(&self, request: RequestId, part: u8, device: Device, now: OffsetDateTime) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.retain(|_, (_, at)| now - *at < AT_IT);
        }
        // Thousands at once: then the newest comer goes on, as without this.
        if seen.len() < 16 * REMEMBERED {
            seen.insert((request, part), (device, now));
        }
    }

    /// Whether another device than this one is sending the part.
    pub fn is_busy(&self, request: RequestId, part: u8, device: Device, now: OffsetDateTime) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(request, part))
            .is_some_and(|(by, at)| *by != device && now - *at < AT_IT)
    }

    /// Nobody sends the part any more.
    pub fn forget(&self, request: RequestId, part: u8) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&(request, part));
    }

    /// Ends every claim of a request. Nobody writes any more when this returns.
    pub async fn end(&self, request: RequestId) {
        for lock in self.of(request) {
            lock.newest.send_modify(|number| *number += 1);
            drop(lock.writing.lock().await);
        }
    }

    fn of(&self, request: RequestId) -> Vec<Arc<PartLock>> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let of = locks.iter().filter(|((id, _), _)| *id == request);
        of.filter_map(|(_, lock)| lock.upgrade()).collect()
    }
}

impl Claim {
    /// Waits for the writer of before; `None` when somebody newer came.
    pub async fn write(&self) -> Option<WriteGuard> {
        let writing = self.lock.writing.clone().lock_owned().await;
        (*self.newest.borrow() == self.number).then(|| WriteGuard {
            _writing: writing,
            _lock: self.lock.clone(),
        })
    }

    /// Returns when somebody newer came.
    pub async fn over(&self) {
        let mut newest = self.newest.clone();
        let number = self.number;
        // The lock lives as long as this claim, and so does its sender.
        let _ = newest.wait_for(|newest| *newest != number).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_device_that_is_at_it_is_not_pushed_aside() {
        let (locks, request, now) = (PartLocks::default(), RequestId([1; 16]), OffsetDateTime::UNIX_EPOCH);
        let (one, other) = (Some([1; 32]), Some([2; 32]));
        locks.note(request, 0, one, now);
        assert!(locks.is_busy(request, 0, other, now + Duration::seconds(19)));
        assert!(!locks.is_busy(request, 0, one, now), "its own upload may be begun again");
        assert!(!locks.is_busy(request, 1, other, now));
        assert!(!locks.is_busy(request, 0, other, now + AT_IT), "it stands still");
        locks.forget(request, 0);
        assert!(!locks.is_busy(request, 0, other, now));
    }

    #[tokio::test]
    async fn who_writes_is_waited_for_when_its_claim_is_gone() {
        let (locks, request) = (PartLocks::default(), RequestId([1; 16]));
        let claim = locks.claim(request, 0);
        let held = claim.write().await.unwrap();
        drop(claim);
        let second = locks.claim(request, 0);
        assert!(futures_util::FutureExt::now_or_never(second.write()).is_none());
        drop(held);
        assert!(second.write().await.is_some());
    }

    #[tokio::test]
    async fn the_newest_comer_writes() {
        let (locks, request) = (PartLocks::default(), RequestId([1; 16]));
        let first = locks.claim(request, 0);
        let beside = locks.claim(request, 1);
        let held = first.write().await.unwrap();
        let second = locks.claim(request, 0);
        first.over().await;
        assert!(
            futures_util::FutureExt::now_or_never(second.write()).is_none(),
            "the first one finishes what it writes"
        );
        drop(held);
        assert!(second.write().await.is_some());
        assert!(first.write().await.is_none());
        assert!(beside.write().await.is_some(), "the other part has a lock of its own");
        locks.end(request).await;
        assert!(second.write().await.is_none() && beside.write().await.is_none());
    }
}
