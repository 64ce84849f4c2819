//! How fast: the backoff between two tries of one document, and one circuit breaker for each provider.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

use crate::connectors::Failure;
use crate::crypto::random;
use crate::domain::document::ProviderName;
use crate::workflow::warning::Warning;

/// Full-jitter exponential backoff: 5 s · 2ⁿ, at most 15 minutes.
const BACKOFF_BASE: Duration = Duration::seconds(5);
pub(crate) const BACKOFF_CAP: Duration = Duration::minutes(15);

/// Full jitter over 5 s · 2ⁿ, at most 15 minutes, at least a tenth of it.
pub(crate) fn backoff(attempts: u32) -> Duration {
    let longest = BACKOFF_BASE * 2_i32.pow(attempts.min(10));
    let longest = longest.min(BACKOFF_CAP);
    // Without random bytes the full time is as good.
    let share = random::array::<2>().map_or(1.0, |bytes| f64::from(u16::from_be_bytes(bytes)) / 65_535.0);
    longest * share.max(0.1)
}

/// One circuit breaker for each provider: failures that are about the provider, met by five applicants in a row, pause it; after a minute one attempt may try.
///
/// Applicants are counted and not failures: a provider that fails at one applicant's documents again and again works for everybody else, and nothing else can tell
/// that from an outage.
#[derive(Default)]
pub struct Breakers(Mutex<BTreeMap<ProviderName, Breaker>>);

#[derive(Default)]
struct Breaker {
    /// Keyed indexes of the applicants whose documents failed since the last success; never more than [`BREAK_AFTER`].
    failed: BTreeSet<[u8; 32]>,
    open_until: Option<OffsetDateTime>,
}

const BREAK_AFTER: usize = 5;
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

    /// What an attempt for this applicant's document says about the provider by failing.
    pub fn failed(&self, provider: &ProviderName, applicant: [u8; 32], failure: &Failure, now: OffsetDateTime) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !failure.about_provider() {
            // The attempt that was let through has said nothing about the provider: another one may try at once.
            if let Some(until) = all.get_mut(provider).and_then(|breaker| breaker.open_until.as_mut()) {
                *until = now.min(*until);
            }
            return;
        }
        let breaker = all.entry(provider.clone()).or_default();
        if breaker.failed.len() < BREAK_AFTER {
            breaker.failed.insert(applicant);
        }
        if breaker.failed.len() >= BREAK_AFTER {
            breaker.open_until = Some(now + BREAK_FOR);
            Warning::ProviderPaused(provider.clone()).write();
        }
    }

    pub fn succeeded(&self, provider: &ProviderName) {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(provider);
        if before.is_some_and(|breaker| breaker.open_until.is_some()) {
            tracing::info!(event = "provider_resumed", %provider, "an attempt succeeded: sending goes on");
        }
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
    use crate::domain::delivery::DeliveryProblem;
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

    fn outage() -> Failure {
        Failure::Ambiguous {
            problem: DeliveryProblem::new("provider.failed", "words"),
        }
    }

    #[test]
    fn five_applicants_failures_pause_a_provider_and_one_attempt_may_try_after_a_minute() {
        let (breakers, name) = (Breakers::default(), ProviderName::parse("p").unwrap());
        let start = datetime!(2026-01-01 0:00 UTC);
        for applicant in 0..4 {
            breakers.failed(&name, [applicant; 32], &outage(), start);
        }
        assert_eq!(breakers.paused_until(&name, start), None);
        breakers.failed(&name, [4; 32], &outage(), start);
        assert_eq!(breakers.paused_until(&name, start), Some(start + BREAK_FOR));
        let later = start + BREAK_FOR;
        assert_eq!(breakers.paused_until(&name, later), None, "the one that tries");
        assert!(breakers.paused_until(&name, later).is_some(), "everybody else waits");
        breakers.failed(&name, [5; 32], &outage(), later);
        assert_eq!(breakers.paused_until(&name, later), Some(later + BREAK_FOR), "it failed too");
        breakers.succeeded(&name);
        assert_eq!(breakers.paused_until(&name, later), None);
    }

    #[test]
    fn one_applicants_failures_pause_nobody_however_many_there_are() {
        let (breakers, name) = (Breakers::default(), ProviderName::parse("p").unwrap());
        let now = datetime!(2026-01-01 0:00 UTC);
        for turn in 0..300 {
            breakers.failed(&name, [turn as u8 % 4; 32], &outage(), now);
        }
        assert_eq!(breakers.paused_until(&name, now), None);
    }

    #[test]
    fn what_is_about_a_document_pauses_nobody_and_uses_up_no_trial() {
        let (breakers, name) = (Breakers::default(), ProviderName::parse("p").unwrap());
        let now = datetime!(2026-01-01 0:00 UTC);
        let private = [
            Failure::Final {
                problem: DeliveryProblem::new("provider.refused", "words"),
            },
            Failure::Definite {
                problem: DeliveryProblem::new("provider.busy", "words"),
                after: None,
                new_key: false,
            },
        ];
        for applicant in 0..20 {
            private
                .iter()
                .for_each(|failure| breakers.failed(&name, [applicant; 32], failure, now));
        }
        assert_eq!(breakers.paused_until(&name, now), None);
        (0..5).for_each(|applicant| breakers.failed(&name, [applicant; 32], &outage(), now));
        let later = now + BREAK_FOR;
        assert_eq!(breakers.paused_until(&name, later), None, "the one that tries");
        breakers.failed(&name, [9; 32], &private[0], later);
        assert_eq!(breakers.paused_until(&name, later), None, "its own fault: the next one tries");
        assert!(breakers.paused_until(&name, later).is_some());
    }
}
