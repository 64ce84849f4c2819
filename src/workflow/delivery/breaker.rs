//! How fast: the backoff between two tries of one document, and one circuit breaker for each provider.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

use crate::crypto::random;
use crate::domain::document::ProviderName;

/// Full-jitter exponential backoff: 5 s · 2ⁿ, at most 15 minutes.
const BACKOFF_BASE: Duration = Duration::seconds(5);
pub const BACKOFF_CAP: Duration = Duration::minutes(15);

/// Full jitter over 5 s · 2ⁿ, at most 15 minutes, at least a tenth of it.
pub fn backoff(attempts: u32) -> Duration {
    let longest = BACKOFF_BASE * 2_i32.pow(attempts.min(10));
    let longest = longest.min(BACKOFF_CAP);
    // Without random bytes the full time is as good.
    let share = random::array::<2>().map_or(1.0, |bytes| f64::from(u16::from_be_bytes(bytes)) / 65_535.0);
    longest * share.max(0.1)
}

/// One circuit breaker for each provider: five failures in a row pause it; after a minute one attempt may try.
#[derive(Default)]
pub struct Breakers(Mutex<BTreeMap<ProviderName, Breaker>>);

#[derive(Clone, Copy)]
struct Breaker {
    failures: u32,
    open_until: Option<OffsetDateTime>,
}

const BREAK_AFTER: u32 = 5;
const BREAK_FOR: Duration = Duration::seconds(60);

impl Breakers {
    /// When sending may go on, if it is paused now. Asking after the pause lets exactly one attempt through.
    pub fn paused_until(&self, provider: &ProviderName, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = all.get_mut(provider)?;
        let until = breaker.open_until?;
        if now < until {
            return Some(until);
        }
        breaker.open_until = Some(now + BREAK_FOR);
        None
    }

    pub fn failed(&self, provider: &ProviderName, now: OffsetDateTime) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = all.entry(provider.clone()).or_insert(Breaker {
            failures: 0,
            open_until: None,
        });
        breaker.failures += 1;
        if breaker.failures >= BREAK_AFTER {
            breaker.open_until = Some(now + BREAK_FOR);
        }
    }

    pub fn succeeded(&self, provider: &ProviderName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(provider);
    }

    /// Whether sending to a provider is paused, for pages and metrics.
    pub fn paused(&self, provider: &ProviderName, now: OffsetDateTime) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(provider).and_then(|b| b.open_until).is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn backoff_grows_is_jittered_and_stays_within_its_bounds() {
        for attempts in 0..40 {
            let longest = (BACKOFF_BASE * 2_i32.pow(attempts.min(10))).min(BACKOFF_CAP);
            let drawn: Vec<_> = (0..50).map(|_| backoff(attempts)).collect();
            assert!(drawn.iter().all(|d| *d <= longest && *d >= longest / 11), "{attempts}");
            assert!(drawn.iter().any(|d| d != &drawn[0]));
        }
    }

    #[test]
    fn five_failures_pause_a_provider_and_one_attempt_may_try_after_a_minute() {
        let (breakers, name) = (Breakers::default(), ProviderName::parse("p").unwrap());
        let start = datetime!(2026-01-01 0:00 UTC);
        for _ in 0..4 {
            breakers.failed(&name, start);
        }
        assert_eq!(breakers.paused_until(&name, start), None);
        breakers.failed(&name, start);
        assert_eq!(breakers.paused_until(&name, start), Some(start + BREAK_FOR));
        let later = start + BREAK_FOR;
        assert_eq!(breakers.paused_until(&name, later), None, "the one that tries");
        assert!(breakers.paused_until(&name, later).is_some(), "everybody else waits");
        breakers.succeeded(&name);
        assert_eq!(breakers.paused_until(&name, later), None);
    }
}
