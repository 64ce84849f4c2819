//! How often: guesses at links and pages from one address, requests of one API key. (How much at once: [`super::permits`] for uploads, and
//! [`super::connections`].)
//!
//! A map of addresses is bounded and forgets only those whose budget is whole again: a flood from other addresses frees nobody's budget.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::address::rate_limit_key;
use super::permits::{LimitExceeded, UploadLimits, UploadPermit, UploadPermits};
use crate::domain::id::{ApiKeyId, RequestId};

/// Unknown tokens from one address: ten at once, then one a minute.
const GUESSES: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
const GUESS_EVERY: Duration = Duration::from_secs(60);
/// Addresses remembered before the idle ones are dropped, some 50 bytes each.
const REMEMBERED: usize = 50_000;
/// More than that at once, and strangers have to wait until some are idle: memory stays bounded under a flood from everywhere.
const AT_MOST: usize = 500_000;
/// Dropping the idle ones looks at all of them.
const DROP_EVERY: Duration = Duration::from_secs(5);

/// How often one API key may ask.
pub(crate) struct Keys {
    limiter: DefaultKeyedRateLimiter<ApiKeyId>,
    per_minute: u32,
}

impl Keys {
    /// A minute's worth at once, then evenly.
    pub(crate) fn new(per_minute: u32) -> Self {
        let number = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(number)),
            per_minute,
        }
    }

    /// A limit that stays goes on counting; another one begins anew.
    pub(crate) fn with(self: &Arc<Self>, per_minute: u32) -> Arc<Self> {
        match self.per_minute == per_minute {
            true => self.clone(),
            false => Arc::new(Self::new(per_minute)),
        }
    }

    /// `Err`: the seconds to wait.
    pub(crate) fn enter(&self, key: ApiKeyId) -> Result<(), u64> {
        self.limiter.check_key(&key).map_err(|until| {
            let wait = until.wait_time_from(governor::clock::Clock::now(&governor::clock::DefaultClock::default()));
            wait.as_secs() + 1
        })
    }
}

pub(crate) struct Gate {
    uploads: Arc<UploadPermits>,
    guesses: Arc<PerMinute>,
    looks: Arc<PerMinute>,
    pages: u32,
}

/// So often from one address, and never too many addresses.
struct PerMinute {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    dropped: Mutex<Option<Instant>>,
}

impl PerMinute {
    fn new(quota: Quota) -> Self {
        Self {
            limiter: RateLimiter::keyed(quota),
            dropped: Mutex::default(),
        }
    }

    fn may(&self, address: IpAddr) -> bool {
        if self.limiter.len() > REMEMBERED {
            let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
            if dropped.is_none_or(|at| at.elapsed() >= DROP_EVERY) {
                self.limiter.retain_recent();
                *dropped = Some(Instant::now());
            } else if self.limiter.len() > AT_MOST {
                return false;
            }
        }
        self.limiter.check_key(&rate_limit_key(address)).is_ok()
    }
}

impl Gate {
    /// `pages`: those that one address may ask for in a minute.
    pub(crate) fn new(uploads: UploadLimits, pages: u32) -> Self {
        let guesses = Quota::with_period(GUESS_EVERY).expect("a minute is not zero").allow_burst(GUESSES);
        Self {
            uploads: UploadPermits::new(uploads),
            guesses: Arc::new(PerMinute::new(guesses)),
            looks: Arc::new(PerMinute::new(Quota::per_minute(NonZeroU32::new(pages).unwrap_or(NonZeroU32::MIN)))),
            pages,
        }
    }

    /// The same gate with other limits: uploads that run and guesses that were made still count.
    pub(crate) fn with(&self, uploads: UploadLimits, pages: u32) -> Self {
        let fresh = Self::new(uploads, pages);
        Self {
            uploads: self.uploads.with(uploads),
            guesses: self.guesses.clone(),
            looks: match self.pages == pages {
                true => self.looks.clone(),
                false => fresh.looks,
            },
            pages,
        }
    }

    /// A place for an upload through a link.
    pub(crate) fn enter(&self, link: RequestId, address: IpAddr) -> Result<UploadPermit, LimitExceeded> {
        self.uploads.enter(link, address)
    }

    /// Uploads running now.
    pub(crate) fn running(&self) -> usize {
        self.uploads.running()
    }

    /// Counts a token that is nobody's; `false` once the address has guessed too often.
    pub(crate) fn may_guess(&self, address: IpAddr) -> bool {
        self.guesses.may(address)
    }

    /// Counts a page; `false` once the address has asked for too many.
    pub(crate) fn may_look(&self, address: IpAddr) -> bool {
        self.looks.may(address)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gate(pages: u32) -> Gate {
        let uploads = UploadLimits {
            at_once: 1,
            per_address: 1,
            per_link: 1,
        };
        Gate::new(uploads, pages)
    }

    #[test]
    fn ten_guesses_and_no_more() {
        let gate = gate(3);
        let a = IpAddr::from([192, 0, 2, 1]);
        assert_eq!((0..20).filter(|_| gate.may_guess(a)).count(), 10);
        assert!(gate.may_guess(IpAddr::from([192, 0, 2, 9])));
        assert_eq!((0..20).filter(|_| gate.may_look(a)).count(), 3);
    }

    #[test]
    fn a_flood_from_everywhere_is_forgotten_or_refused() {
        let gate = gate(3);
        let from = |n: u32| IpAddr::from(n.to_be_bytes());
        let passed = (0..600_000).filter(|n| gate.may_look(from(*n))).count();
        assert!(gate.looks.limiter.len() <= AT_MOST + 1, "{}", gate.looks.limiter.len());
        assert!(passed > REMEMBERED);
    }
    #[test]
    fn a_flood_from_a_hundred_thousand_addresses_frees_nobodys_budget() {
        let gate = gate(3);
        let guesser = IpAddr::from([192, 0, 2, 1]);
        assert_eq!((0..20).filter(|_| gate.may_guess(guesser)).count(), 10);
        let others = (0..100_000_u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        assert_eq!(others.filter(|address| gate.may_guess(*address)).count(), 100_000);
        assert!(gate.guesses.limiter.len() <= AT_MOST + 1);
        assert!(!gate.may_guess(guesser), "still out of guesses");
    }
}
