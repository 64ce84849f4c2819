//! Slowloris limits on uploads: how many run at once over all, from one address and through one link, and who has to end when there is no room.
//!
//! * A place needs progress. Whoever has no place yet takes that of the slowest sender in the same scope, if one sends nothing or next to nothing; the body
//!   that loses its place fails at once ([`super::body`]). Nobody who sends well ever loses a place, and time in which the portal itself was busy is not counted.
//! * Memory is bounded by the number of permits: addresses and links are remembered while they hold one, and never longer.
//! * It never reads a body and never waits.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::address::rate_limit_key;
use super::error::Problem;
use crate::domain::id::RequestId;
use crate::workflow::warning::{Limited, Warning};

/// A sender that was waited for this long without a byte may lose its place to another one.
const STALLED: Duration = Duration::from_secs(3);
/// And so may one that was waited for this long in all and sent less than `SLOW_RATE` bytes a second.
const SLOW_AFTER: Duration = Duration::from_secs(5);
const SLOW_RATE: u64 = 16 * 1024;

/// Uploads at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadLimits {
    pub at_once: usize,
    /// From one IPv4 address or one IPv6 /64.
    pub per_address: usize,
    pub per_link: usize,
}

/// Why an upload has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitExceeded {
    Everywhere,
    Here,
    Link,
}

impl From<LimitExceeded> for Problem {
    fn from(crowded: LimitExceeded) -> Self {
        let limit = match crowded {
            LimitExceeded::Here | LimitExceeded::Link => Limited::Uploads,
            LimitExceeded::Everywhere => Limited::AllUploads,
        };
        Warning::Limited(limit).write();
        match crowded {
            LimitExceeded::Here => Self::too_many("Several uploads already run from your connection. Try again in a few seconds.").after(5),
            LimitExceeded::Link => Self::too_many("Several uploads already run through this link. Try again in a few seconds.").after(5),
            LimitExceeded::Everywhere => {
                Self::unavailable("Many people are sending documents at this moment. Try again in a few seconds.").after(10)
            }
        }
    }
}

pub(crate) struct UploadPermits {
    limits: UploadLimits,
    held: Arc<Mutex<Vec<Arc<Sender>>>>,
}

struct Sender {
    link: RequestId,
    address: IpAddr,
    progress: Mutex<Progress>,
    ended: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Progress {
    bytes: u64,
    /// Since when the sender is waited for; `None` while the portal is busy with what came.
    waiting: Option<Instant>,
    waited: Duration,
}

impl Progress {
    /// Bytes a second, if that is so little that another one may have the place.
    fn too_little(&self, now: Instant) -> Option<u64> {
        let idle = now.saturating_duration_since(self.waiting?);
        let waited = self.waited + idle;
        let rate = self.bytes.saturating_mul(1_000) / u64::try_from(waited.as_millis()).unwrap_or(u64::MAX).max(1);
        (idle >= STALLED || (waited >= SLOW_AFTER && rate < SLOW_RATE)).then_some(rate)
    }
}

/// One upload's place; given back when dropped.
pub(crate) struct UploadPermit {
    permits: Arc<UploadPermits>,
    sender: Arc<Sender>,
}

impl UploadPermits {
    pub(crate) fn new(limits: UploadLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            held: Arc::default(),
        })
    }

    /// Other limits over the same uploads: those that run are counted and none is ended.
    pub(crate) fn with(&self, limits: UploadLimits) -> Arc<Self> {
        let held = self.held.clone();
        Arc::new(Self { limits, held })
    }

    pub(crate) fn enter(self: &Arc<Self>, link: RequestId, address: IpAddr) -> Result<UploadPermit, LimitExceeded> {
        self.enter_at(link, rate_limit_key(address), Instant::now())
    }

    fn enter_at(self: &Arc<Self>, link: RequestId, address: IpAddr, now: Instant) -> Result<UploadPermit, LimitExceeded> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let UploadLimits {
            at_once,
            per_address,
            per_link,
        } = self.limits;
        room(&mut held, now, per_link, LimitExceeded::Link, |sender| sender.link == link)?;
        room(&mut held, now, per_address, LimitExceeded::Here, |sender| sender.address == address)?;
        room(&mut held, now, at_once, LimitExceeded::Everywhere, |_| true)?;
        let sender = Arc::new(Sender {
            link,
            address,
            progress: Mutex::default(),
            ended: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        held.push(sender.clone());
        Ok(UploadPermit {
            permits: self.clone(),
            sender,
        })
    }

    /// Uploads running now.
    pub(crate) fn running(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Makes room for one more among those that `counts`, by ending the slowest of them if it is too slow.
fn room(
    held: &mut Vec<Arc<Sender>>,
    now: Instant,
    most: usize,
    crowded: LimitExceeded,
    counts: impl Fn(&Sender) -> bool,
) -> Result<(), LimitExceeded> {
    if held.iter().filter(|sender| counts(sender)).count() < most {
        return Ok(());
    }
    let too_slow = held
        .iter()
        .enumerate()
        .filter(|(_, sender)| counts(sender))
        .filter_map(|(at, sender)| {
            let progress = sender.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.too_little(now).map(|rate| (rate, at))
        });
    let (_, slowest) = too_slow.min().ok_or(crowded)?;
    let sender = held.swap_remove(slowest);
    sender.ended.store(true, Ordering::Release);
    sender.waker.wake();
    Ok(())
}

impl UploadPermit {
    /// The sender is waited for from now on.
    pub(crate) fn waits(&self, now: Instant) {
        self.progress(|progress| progress.waiting = Some(now));
    }

    /// Bytes came.
    pub(crate) fn came(&self, bytes: u64, now: Instant) {
        self.progress(|progress| {
            progress.bytes = progress.bytes.saturating_add(bytes);
            if let Some(since) = progress.waiting.take() {
                progress.waited += now.saturating_duration_since(since);
            }
        });
    }

    fn progress(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.sender.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether another upload got this place; if not, the task is woken when it does.
    pub(crate) fn is_lost(&self, cx: &Context<'_>) -> bool {
        // Registered before it looks: an end in between is not missed.
        self.sender.waker.register(cx.waker());
        self.sender.ended.load(Ordering::Acquire)
    }
}

impl Drop for UploadPermit {
    fn drop(&mut self) {
        let mut held = self.permits.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = held.iter().position(|sender| Arc::ptr_eq(sender, &self.sender)) {
            held.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn link(n: u8) -> RequestId {
        RequestId([n; 16])
    }

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn permits(at_once: usize, per_address: usize, per_link: usize) -> Arc<UploadPermits> {
        UploadPermits::new(UploadLimits {
            at_once,
            per_address,
            per_link,
        })
    }

    #[test]
    fn places_are_counted_by_link_and_address_and_given_back() {
        let permits = permits(4, 2, 2);
        let first = permits.enter(link(1), address(1)).unwrap();
        let _second = permits.enter(link(2), address(1)).unwrap();
        assert_eq!(permits.enter(link(3), address(1)).err(), Some(LimitExceeded::Here));
        let _third = permits.enter(link(1), address(2)).unwrap();
        assert_eq!(permits.enter(link(1), address(3)).err(), Some(LimitExceeded::Link));
        let _fourth = permits.enter(link(4), address(4)).unwrap();
        assert_eq!(permits.enter(link(5), address(5)).err(), Some(LimitExceeded::Everywhere));
        drop(first);
        assert_eq!(permits.running(), 3);
        assert!(permits.enter(link(1), address(1)).is_ok());
        let six = |text: &str| text.parse::<IpAddr>().unwrap();
        let permits = self::permits(9, 1, 9);
        let _one = permits.enter(link(1), six("2001:db8::1")).unwrap();
        assert_eq!(
            permits.enter(link(2), six("2001:db8::2")).err(),
            Some(LimitExceeded::Here),
            "one /64"
        );
        assert!(permits.enter(link(2), six("2001:db8:0:1::2")).is_ok());
    }

    #[test]
    fn the_slowest_sender_makes_room_and_nobody_who_sends_well() {
        let permits = permits(2, 2, 2);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let waker = futures_util::task::noop_waker();
        let cx = Context::from_waker(&waker);
        let slow = permits.enter_at(link(1), address(1), start).unwrap();
        let good = permits.enter_at(link(2), address(2), start).unwrap();
        for second in 0..10 {
            for (place, bytes) in [(&slow, 2_100), (&good, 100_000)] {
                place.waits(at(second));
                place.came(bytes, at(second + 1));
            }
        }
        // Both are the portal's turn: neither may be ended.
        assert_eq!(permits.enter_at(link(3), address(3), at(60)).err(), Some(LimitExceeded::Everywhere));
        slow.waits(at(60));
        good.waits(at(60));
        let _third = permits.enter_at(link(3), address(3), at(61)).unwrap();
        assert!(slow.is_lost(&cx) && !good.is_lost(&cx), "under the rate");
        drop(slow);
        assert_eq!(permits.running(), 2, "its place was counted once");
        assert_eq!(permits.enter_at(link(4), address(4), at(62)).err(), Some(LimitExceeded::Everywhere));
        let _fourth = permits.enter_at(link(4), address(4), at(63)).unwrap();
        assert!(good.is_lost(&cx), "silent for three seconds");
    }

    #[test]
    fn the_slow_ones_of_another_link_or_address_are_no_reason_to_let_more_in() {
        let permits = permits(9, 1, 1);
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        let slow = permits.enter_at(link(1), address(1), start).unwrap();
        let busy = permits.enter_at(link(2), address(2), start).unwrap();
        slow.waits(start);
        assert_eq!(permits.enter_at(link(2), address(3), later).err(), Some(LimitExceeded::Link));
        assert_eq!(permits.enter_at(link(3), address(2), later).err(), Some(LimitExceeded::Here));
        drop(busy);
        assert!(permits.enter_at(link(1), address(4), later).is_ok());
    }
}
