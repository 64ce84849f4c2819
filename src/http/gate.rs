//! How much may happen at once, and how often: uploads over all and from one address, and guesses at links.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::error::Problem;
use super::guard::neighbourhood;
use crate::domain::id::ApiKeyId;

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
pub struct Keys(DefaultKeyedRateLimiter<ApiKeyId>);

impl Keys {
    /// A minute's worth at once, then evenly.
    pub fn new(per_minute: u32) -> Self {
        let number = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self(RateLimiter::keyed(Quota::per_minute(number)))
    }

    /// `Err`: the seconds to wait.
    pub fn enter(&self, key: ApiKeyId) -> Result<(), u64> {
        self.0.check_key(&key).map_err(|until| {
            let wait = until.wait_time_from(governor::clock::Clock::now(&governor::clock::DefaultClock::default()));
            wait.as_secs() + 1
        })
    }
}

pub struct Gate {
    uploads: Arc<Running>,
    guesses: Paced,
    looks: Paced,
}

/// So often from one address, and never too many addresses.
struct Paced {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    dropped: Mutex<Option<Instant>>,
}

impl Paced {
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
        self.limiter.check_key(&neighbourhood(address)).is_ok()
    }
}

struct Running {
    by_address: Mutex<(usize, HashMap<IpAddr, usize>)>,
    at_once: usize,
    per_address: usize,
}

/// Why an upload has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    Everywhere,
    Here,
}

impl From<Crowded> for Problem {
    fn from(crowded: Crowded) -> Self {
        match crowded {
            Crowded::Here => Self::too_many("Several uploads already run from your connection. Try again in a few seconds.").after(5),
            Crowded::Everywhere => {
                Self::unavailable("Many people are sending documents at this moment. Try again in a few seconds.").after(10)
            }
        }
    }
}

/// One upload's place; given back when dropped.
pub struct Place {
    running: Arc<Running>,
    address: IpAddr,
}

impl Gate {
    /// `pages`: those that one address may ask for in a minute.
    pub fn new(at_once: usize, per_address: usize, pages: u32) -> Self {
        let guesses = Quota::with_period(GUESS_EVERY).expect("a minute is not zero").allow_burst(GUESSES);
        Self {
            uploads: Arc::new(Running {
                by_address: Mutex::default(),
                at_once,
                per_address,
            }),
            guesses: Paced::new(guesses),
            looks: Paced::new(Quota::per_minute(NonZeroU32::new(pages).unwrap_or(NonZeroU32::MIN))),
        }
    }

    pub fn enter(&self, address: IpAddr) -> Result<Place, Crowded> {
        let address = neighbourhood(address);
        let mut running = self.uploads.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if running.0 >= self.uploads.at_once {
            return Err(Crowded::Everywhere);
        }
        let here = running.1.entry(address).or_insert(0);
        if *here >= self.uploads.per_address {
            return Err(Crowded::Here);
        }
        *here += 1;
        running.0 += 1;
        Ok(Place {
            running: self.uploads.clone(),
            address,
        })
    }

    /// Uploads running now.
    pub fn running(&self) -> usize {
        self.uploads.by_address.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Counts a token that is nobody's; `false` once the address has guessed too often.
    pub fn may_guess(&self, address: IpAddr) -> bool {
        self.guesses.may(address)
    }

    /// Counts a page; `false` once the address has asked for too many.
    pub fn may_look(&self, address: IpAddr) -> bool {
        self.looks.may(address)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.running.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        running.0 = running.0.saturating_sub(1);
        if let Some(here) = running.1.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                running.1.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let gate = Gate::new(3, 2, 1);
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = gate.enter(a).unwrap();
        let _second = gate.enter(a).unwrap();
        assert_eq!(gate.enter(a).err(), Some(Crowded::Here));
        let _third = gate.enter(b).unwrap();
        assert_eq!(gate.enter(b).err(), Some(Crowded::Everywhere));
        drop(first);
        assert_eq!(gate.running(), 2);
        assert!(gate.enter(a).is_ok());
    }

    #[test]
    fn ten_guesses_and_no_more() {
        let gate = Gate::new(1, 1, 3);
        let a = IpAddr::from([192, 0, 2, 1]);
        assert_eq!((0..20).filter(|_| gate.may_guess(a)).count(), 10);
        assert!(gate.may_guess(IpAddr::from([192, 0, 2, 9])));
        assert_eq!((0..20).filter(|_| gate.may_look(a)).count(), 3);
    }

    #[test]
    fn a_flood_from_everywhere_is_forgotten_or_refused() {
        let gate = Gate::new(1, 1, 3);
        let from = |n: u32| IpAddr::from(n.to_be_bytes());
        let passed = (0..600_000).filter(|n| gate.may_look(from(*n))).count();
        assert!(gate.looks.limiter.len() <= AT_MOST + 1, "{}", gate.looks.limiter.len());
        assert!(passed > REMEMBERED);
    }
}
