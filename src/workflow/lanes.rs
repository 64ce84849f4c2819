//! Who may write a part now: the newest comer. A phone that stands still in a tunnel must not keep the laptop from going on.
//!
//! In memory, for the one process that writes an embedded store; the transitions of the store refuse whoever is late as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use time::{Duration, OffsetDateTime};

use tokio::sync::{OwnedMutexGuard, watch};

use crate::domain::id::RequestId;

/// Lanes remembered before the unused ones are dropped.
const REMEMBERED: usize = 1_024;
/// A device whose last bytes came less than this ago is at it: another one may not begin the part anew under its hands, or both would for ever.
/// Well under the minute after which a stalled upload is to be taken over.
const AT_IT: Duration = Duration::seconds(20);

/// A device, as far as it is known: the mark of its receipt.
pub type Device = Option<[u8; 32]>;

/// One lane for each part of a request that somebody writes.
#[derive(Default)]
pub struct Lanes {
    lanes: Mutex<HashMap<(RequestId, u8), Weak<Lane>>>,
    /// Who sent last, and when.
    seen: Mutex<HashMap<(RequestId, u8), (Device, OffsetDateTime)>>,
}

struct Lane {
    newest: watch::Sender<u64>,
    writing: Arc<tokio::sync::Mutex<()>>,
}

/// The right to write a part until somebody newer comes.
pub struct Turn {
    lane: Arc<Lane>,
    number: u64,
    newest: watch::Receiver<u64>,
}

/// Nobody newer can begin to write while this is held.
pub struct Hold {
    _writing: OwnedMutexGuard<()>,
}

impl Lanes {
    /// Takes the lane over. Whoever had it stops before its next write; wait for that with [`Turn::hold`].
    pub fn take(&self, request: RequestId, part: u8) -> Turn {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= REMEMBERED {
            lanes.retain(|_, lane| lane.strong_count() > 0);
        }
        let known = lanes.get(&(request, part)).and_then(Weak::upgrade);
        let lane = known.unwrap_or_else(|| {
            let lane = Arc::new(Lane {
                newest: watch::Sender::new(0),
                writing: Arc::default(),
            });
            lanes.insert((request, part), Arc::downgrade(&lane));
            lane
        });
        lane.newest.send_modify(|number| *number += 1);
        let newest = lane.newest.subscribe();
        let number = *newest.borrow();
        Turn { lane, number, newest }
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

    /// Ends every turn of a request. Nobody writes any more when this returns.
    pub async fn end(&self, request: RequestId) {
        for lane in self.of(request) {
            lane.newest.send_modify(|number| *number += 1);
            drop(lane.writing.lock().await);
        }
    }

    fn of(&self, request: RequestId) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let of = lanes.iter().filter(|((id, _), _)| *id == request);
        of.filter_map(|(_, lane)| lane.upgrade()).collect()
    }
}

impl Turn {
    /// Waits for the writer of before; `None` when somebody newer came.
    pub async fn hold(&self) -> Option<Hold> {
        let writing = self.lane.writing.clone().lock_owned().await;
        (*self.newest.borrow() == self.number).then_some(Hold { _writing: writing })
    }

    /// Returns when somebody newer came.
    pub async fn over(&self) {
        let mut newest = self.newest.clone();
        let number = self.number;
        // The lane lives as long as this turn, and so does its sender.
        let _ = newest.wait_for(|newest| *newest != number).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_device_that_is_at_it_is_not_pushed_aside() {
        let (lanes, request, now) = (Lanes::default(), RequestId([1; 16]), OffsetDateTime::UNIX_EPOCH);
        let (one, other) = (Some([1; 32]), Some([2; 32]));
        lanes.note(request, 0, one, now);
        assert!(lanes.is_busy(request, 0, other, now + Duration::seconds(19)));
        assert!(!lanes.is_busy(request, 0, one, now), "its own upload may be begun again");
        assert!(!lanes.is_busy(request, 1, other, now));
        assert!(!lanes.is_busy(request, 0, other, now + AT_IT), "it stands still");
        lanes.forget(request, 0);
        assert!(!lanes.is_busy(request, 0, other, now));
    }

    #[tokio::test]
    async fn the_newest_comer_writes() {
        let (lanes, request) = (Lanes::default(), RequestId([1; 16]));
        let first = lanes.take(request, 0);
        let beside = lanes.take(request, 1);
        let held = first.hold().await.unwrap();
        let second = lanes.take(request, 0);
        first.over().await;
        assert!(
            futures_util::FutureExt::now_or_never(second.hold()).is_none(),
            "the first one finishes what it writes"
        );
        drop(held);
        assert!(second.hold().await.is_some());
        assert!(first.hold().await.is_none());
        assert!(beside.hold().await.is_some(), "the other part has a lane of its own");
        lanes.end(request).await;
        assert!(second.hold().await.is_none() && beside.hold().await.is_none());
    }
}
