//! Forwarding: one step for one leased request. The intent is durable before the first byte leaves; what is uncertain is asked about before anything is sent again;
//! a purge that is due always wins, except for the minutes in which bytes may be on their way.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

use crate::connectors::{Connector, Delivered, Failure, Presence, Verdict};
use crate::crypto::random;
use crate::domain::delivery::{ConfirmAt, Delivery, Intent, Phase, Problem, ProviderClass, PurgeCause, Receipt};
use crate::domain::document::{Document, ProviderName};
use crate::domain::request::{DocumentRequest, SENDING_GRACE, Stage};
use crate::domain::transition::Transition;
use crate::storage::StorageError;

use super::parcel::{self, Closed, LeasedTrail};
use super::{Portal, WorkflowError, confirm, issue, purge};

/// How long a worker holds a request without renewing.
pub const LEASE: Duration = Duration::seconds(60);
const RENEW_EVERY: std::time::Duration = std::time::Duration::from_secs(20);
/// Full-jitter exponential backoff: 5 s · 2ⁿ, at most 15 minutes.
const BACKOFF_BASE: Duration = Duration::seconds(5);
const BACKOFF_CAP: Duration = Duration::minutes(15);
/// A provider may ask for more time than that, up to this.
const RETRY_AFTER_CAP: Duration = Duration::hours(1);
/// Two authoritative answers "not here", this far apart, prove absence.
const ABSENT_TWICE: Duration = Duration::seconds(60);
/// While the vault key is locked.
const LOCKED_PAUSE: Duration = Duration::seconds(10);
const POISON_LIMIT: u32 = 3;
/// A provider that refuses our credentials will hardly change its mind: a person is asked soon.
const CREDENTIALS_LIMIT: u32 = 5;
/// The provider repeats a failure that it keeps under our key: only a proven absence and a new key break that.
const STORED_FAILURE: &str = "provider.stored_failure";
/// Questions about an unknown outcome before a person is asked.
const CHECKS_LIMIT: u32 = 20;

/// One step for a request whose lease the caller has just taken.
pub async fn step(portal: &Arc<Portal>, request: DocumentRequest) -> Result<(), WorkflowError> {
    let step = Step {
        portal,
        fence: request.fence,
        now: portal.records.now(),
        request,
    };
    match step.run().await {
        // Somebody else has it now, or decided otherwise meanwhile: nothing of ours is left to do.
        Err(WorkflowError::Storage(StorageError::Refused(_)) | WorkflowError::Refused(_) | WorkflowError::NotFound) => Ok(()),
        other => other,
    }
}

struct Step<'a> {
    portal: &'a Arc<Portal>,
    request: DocumentRequest,
    fence: u64,
    now: OffsetDateTime,
}

impl Step<'_> {
    async fn run(self) -> Result<(), WorkflowError> {
        let fence = self.fence;
        match &self.request.stage {
            _ if self.request.must_forget(self.now) => Ok(self.portal.records.forget(self.request.id, fence).await?),
            Stage::Open { expiry_noted: false } => self.end(Transition::NoteExpired { fence }).await,
            Stage::Open { .. } | Stage::Purged => self.end(Transition::Release { fence }).await,
            Stage::Purging { .. } => purge::finish(self.portal, &self.request, fence).await.map(drop),
            Stage::Held { document, delivery, .. } => {
                let (document, delivery) = (document.clone(), delivery.clone());
                self.held(document, delivery).await
            }
        }
    }

    async fn held(&self, document: Document, delivery: Delivery) -> Result<(), WorkflowError> {
        let fence = self.fence;
        if self.must_purge() {
            return self.purge_due(document, delivery).await;
        }
        let Some(connector) = self.portal.providers.get(&self.request.provider).cloned() else {
            let problem = Problem::new(
                "provider.unknown",
                "This provider is no longer configured. Configure it again and retry, or purge the document.",
            );
            return self.end(Transition::GiveUp { fence, problem }).await;
        };
        match &delivery.phase {
            Phase::NeedsAttention { .. } => self.end(Transition::Release { fence }).await,
            Phase::AwaitingConfirmation { receipt, polls, .. } => {
                confirm::step(self.portal, &self.request, fence, &document, receipt, *polls, connector.as_ref()).await
            }
            Phase::Pending { .. } => self.send(&document, &delivery, connector, delivery.epoch).await,
            // Our lease, and yet an attempt is open: its worker died. Whether anything arrived is unknown.
            Phase::Sending { intent } => {
                let problem = Problem::new(
                    "delivery.interrupted",
                    "The attempt was interrupted; the provider is asked whether it arrived.",
                );
                self.uncertain(&document, &delivery, connector, intent.clone(), 0, None, problem)
                    .await
            }
            Phase::Uncertain {
                intent,
                absent_since,
                checks,
                ..
            } => {
                let problem = delivery
                    .last_problem
                    .clone()
                    .unwrap_or_else(|| Problem::new("delivery.uncertain", "The outcome of the last attempt is unknown."));
                self.uncertain(&document, &delivery, connector, intent.clone(), *checks, *absent_since, problem)
                    .await
            }
        }
    }

    /// The deadline counts only while the clock can be trusted; an agent's word always does.
    fn must_purge(&self) -> bool {
        match &self.request.stage {
            Stage::Held { purge_requested: true, .. } => true,
            Stage::Held { document, .. } => self.now >= document.purge_at && !self.portal.records.clock_suspect(),
            _ => false,
        }
    }

    async fn purge_due(&self, document: Document, delivery: Delivery) -> Result<(), WorkflowError> {
        let by_agent = matches!(self.request.stage, Stage::Held { purge_requested: true, .. });
        let cause = if by_agent { PurgeCause::Agent } else { PurgeCause::Deadline };
        let open = matches!(delivery.phase, Phase::Sending { .. } | Phase::Uncertain { .. });
        if open && !by_agent && self.now < document.purge_at + SENDING_GRACE {
            // Bytes may have arrived: one question, so that the receipt can tell "confirmed" from "given up".
            if let Some(connector) = self.portal.providers.get(&self.request.provider)
                && let Ok(parcel) = parcel::open(self.portal, &self.request, &document, delivery.epoch)
                && let Ok(Presence::Present(delivered)) = connector.reconcile(&parcel).await
            {
                return self.delivered(&document, connector.as_ref(), delivered).await;
            }
        }
        self.purge(cause).await
    }

    async fn purge(&self, cause: PurgeCause) -> Result<(), WorkflowError> {
        let request = self
            .portal
            .records
            .transition(self.request.id, Transition::StartPurge { fence: self.fence, cause })
            .await?;
        purge::finish(self.portal, &request, self.fence).await.map(drop)
    }

    async fn send(&self, document: &Document, delivery: &Delivery, connector: Arc<dyn Connector>, epoch: u32) -> Result<(), WorkflowError> {
        let fence = self.fence;
        if connector.profile().by_hand {
            let problem = Problem::new(
                "provider.by_hand",
                "This provider takes documents by hand: download each part once, upload it there, then mark it as uploaded.",
            );
            return self.end(Transition::GiveUp { fence, problem }).await;
        }
        if let Some(until) = self.portal.breakers.closed_until(&self.request.provider, self.now) {
            let problem = Problem::new(
                "provider.paused",
                "The provider failed several times in a row; sending pauses for a minute.",
            );
            return self.later(until, problem, false).await;
        }
        let parcel = match parcel::open(self.portal, &self.request, document, epoch) {
            Ok(parcel) => parcel,
            Err(closed) => return self.cannot_open(closed, delivery).await,
        };
        if let Err(error) = issue::check_terms(self.portal, &self.request) {
            tracing::error!(request = %self.request.id, %error, "not forwarded");
            let problem = Problem::new(
                "request.tampered",
                "The stored request was changed outside the portal. It was not forwarded; purge it and ask again.",
            );
            return self.end(Transition::GiveUp { fence, problem }).await;
        }
        let intent = Intent {
            epoch,
            started_at: self.now,
            digest: parcel.digest(),
        };
        self.portal
            .records
            .transition(
                self.request.id,
                Transition::StartSending {
                    fence,
                    intent: intent.clone(),
                },
            )
            .await?;
        let trail = LeasedTrail {
            records: self.portal.records.clone(),
            request: self.request.id,
            fence,
        };
        let outcome = self.renewing(connector.deliver(&parcel, &trail)).await;
        self.outcome(document, delivery, connector.as_ref(), outcome).await
    }

    /// Keeps the lease while a slow provider is being talked to.
    async fn renewing<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(RENEW_EVERY) => {
                    let until = self.portal.records.now() + LEASE;
                    if let Err(error) = self.portal.records.transition(self.request.id, Transition::Renew { fence: self.fence, until }).await {
                        tracing::warn!(request = %self.request.id, %error, "the lease could not be renewed");
                    }
                }
            }
        }
    }

    async fn outcome(
        &self,
        document: &Document,
        delivery: &Delivery,
        connector: &dyn Connector,
        outcome: Result<Delivered, Failure>,
    ) -> Result<(), WorkflowError> {
        let fence = self.fence;
        let now = self.portal.records.now();
        let failure = match outcome {
            Ok(delivered) => {
                self.portal.breakers.succeeded(&self.request.provider);
                return self.delivered(document, connector, delivered).await;
            }
            Err(failure) => failure,
        };
        self.portal.counters.failed_attempts.fetch_add(1, Ordering::Relaxed);
        tracing::info!(request = %self.request.id, provider = %self.request.provider, code = %failure.problem().code, "an attempt failed");
        match failure {
            Failure::Definite { problem, after, new_key } => {
                self.portal.breakers.failed(&self.request.provider, now);
                if delivery.attempts + 1 >= self.portal.policy.attempts {
                    return self.end(Transition::GiveUp { fence, problem }).await;
                }
                let pause = after.unwrap_or_default().min(RETRY_AFTER_CAP).max(backoff(delivery.attempts));
                self.end(Transition::RetryLater {
                    fence,
                    at: now + pause,
                    problem,
                    counted: true,
                    poison: false,
                    new_epoch: new_key,
                })
                .await
            }
            Failure::Ambiguous { problem } => {
                self.portal.breakers.failed(&self.request.provider, now);
                self.end(Transition::BecomeUncertain {
                    fence,
                    problem,
                    check_at: now + backoff(delivery.attempts),
                })
                .await
            }
            Failure::Final { problem } => self.end(Transition::GiveUp { fence, problem }).await,
            Failure::Credentials { problem } => {
                self.portal.breakers.failed(&self.request.provider, now);
                if delivery.attempts + 1 >= CREDENTIALS_LIMIT.min(self.portal.policy.attempts) {
                    return self.end(Transition::GiveUp { fence, problem }).await;
                }
                self.later(now + backoff(delivery.attempts), problem, true).await
            }
            Failure::Poison { problem } => self.poison(delivery, problem).await,
            Failure::Lost => Ok(()),
        }
    }

    async fn delivered(&self, document: &Document, connector: &dyn Connector, delivered: Delivered) -> Result<(), WorkflowError> {
        let now = self.portal.records.now();
        self.portal.counters.delivered.fetch_add(1, Ordering::Relaxed);
        let receipt = Receipt {
            references: delivered.references,
            received_at: now,
        };
        let poll_at = now + connector.profile().poll_first;
        let request = self
            .portal
            .records
            .transition(
                self.request.id,
                Transition::Delivered {
                    fence: self.fence,
                    receipt: receipt.clone(),
                    poll_at,
                },
            )
            .await?;
        match delivered.verdict {
            Verdict::Pending if request.confirm == ConfirmAt::Received => confirm::confirmed(self.portal, &request, self.fence).await,
            Verdict::Pending => self.end(Transition::Release { fence: self.fence }).await,
            Verdict::Accepted => confirm::confirmed(self.portal, &request, self.fence).await,
            Verdict::Rejected(problem) => confirm::rejected(self.portal, &request, self.fence, problem).await,
        }
        .inspect_err(|error| tracing::warn!(document = %document.id, %error, "delivered, and not yet purged"))
    }

    /// An attempt whose outcome is unknown: ask, and only then decide whether to send again.
    #[allow(clippy::too_many_arguments)]
    async fn uncertain(
        &self,
        document: &Document,
        delivery: &Delivery,
        connector: Arc<dyn Connector>,
        intent: Intent,
        checks: u32,
        absent_since: Option<OffsetDateTime>,
        problem: Problem,
    ) -> Result<(), WorkflowError> {
        let fence = self.fence;
        let profile = connector.profile();
        let young = profile.class == ProviderClass::IdempotencyKey && self.now - intent.started_at < profile.key_window;
        let repeatable = matches!(profile.class, ProviderClass::FixedId | ProviderClass::DuplicateAnswered);
        // The same bytes under the same key, or to the same place, are harmless: the answer tells what became of the first.
        // Only twice: a provider that replays a stored failure for the key would do so for ever.
        let replayed = problem.code == STORED_FAILURE;
        if (young || repeatable) && checks < 2 && !replayed {
            return self.resend(document, delivery, connector, intent, problem, checks).await;
        }
        if profile.class == ProviderClass::NoRepeat && checks >= CHECKS_LIMIT {
            return self
                .end(Transition::GiveUp {
                    fence,
                    problem: undecided(&problem),
                })
                .await;
        }
        let parcel = match parcel::open(self.portal, &self.request, document, intent.epoch) {
            Ok(parcel) => parcel,
            Err(closed) => return self.cannot_open_uncertain(closed, problem).await,
        };
        let answer = self.renewing(connector.reconcile(&parcel)).await;
        let now = self.portal.records.now();
        match answer {
            Ok(Presence::Present(delivered)) => self.delivered(document, connector.as_ref(), delivered).await,
            Ok(Presence::Absent) => {
                let proven = absent_since.is_some_and(|since| now - since >= ABSENT_TWICE);
                if proven && profile.class == ProviderClass::NoRepeat {
                    return self
                        .end(Transition::GiveUp {
                            fence,
                            problem: undecided(&problem),
                        })
                        .await;
                }
                if !proven && absent_since.is_some() {
                    // Asked too soon: the second answer counts only after its minute.
                    return self.check_again(problem, absent_since.unwrap_or(now) + ABSENT_TWICE).await;
                }
                let check_at = if proven { now } else { now + ABSENT_TWICE };
                self.end(Transition::FoundAbsent { fence, proven, check_at }).await
            }
            Ok(Presence::Unknown) if repeatable && checks < CHECKS_LIMIT => {
                self.resend(document, delivery, connector, intent, problem, checks).await
            }
            Ok(Presence::Unknown) => {
                self.end(Transition::GiveUp {
                    fence,
                    problem: undecided(&problem),
                })
                .await
            }
            Err(_) if checks >= CHECKS_LIMIT => {
                self.end(Transition::GiveUp {
                    fence,
                    problem: undecided(&problem),
                })
                .await
            }
            Err(failure) => self.check_again(failure.problem(), now + backoff(checks)).await,
        }
    }

    async fn resend(
        &self,
        document: &Document,
        delivery: &Delivery,
        connector: Arc<dyn Connector>,
        intent: Intent,
        problem: Problem,
        checks: u32,
    ) -> Result<(), WorkflowError> {
        let parcel = match parcel::open(self.portal, &self.request, document, intent.epoch) {
            Ok(parcel) => parcel,
            Err(closed) => return self.cannot_open_uncertain(closed, problem).await,
        };
        let trail = LeasedTrail {
            records: self.portal.records.clone(),
            request: self.request.id,
            fence: self.fence,
        };
        let outcome = self.renewing(connector.deliver(&parcel, &trail)).await;
        match outcome {
            // Still unknown: the intent stays open and the count of questions grows.
            Err(Failure::Ambiguous { problem } | Failure::Definite { problem, .. } | Failure::Credentials { problem }) => {
                self.portal.breakers.failed(&self.request.provider, self.now);
                self.check_again(problem, self.portal.records.now() + backoff(checks)).await
            }
            other => self.outcome(document, delivery, connector.as_ref(), other).await,
        }
    }

    async fn check_again(&self, problem: Problem, check_at: OffsetDateTime) -> Result<(), WorkflowError> {
        self.end(Transition::BecomeUncertain {
            fence: self.fence,
            problem,
            check_at,
        })
        .await
    }

    async fn cannot_open(&self, closed: Closed, delivery: &Delivery) -> Result<(), WorkflowError> {
        match closed {
            Closed::Locked => self.later(self.now + LOCKED_PAUSE, locked(), false).await,
            Closed::Lost => self.purge(PurgeCause::Lost).await,
            Closed::Poison(why) => self.poison(delivery, poisoned(why)).await,
        }
    }

    async fn cannot_open_uncertain(&self, closed: Closed, problem: Problem) -> Result<(), WorkflowError> {
        match closed {
            Closed::Locked => self.check_again(problem, self.now + LOCKED_PAUSE).await,
            Closed::Lost => self.purge(PurgeCause::Lost).await,
            Closed::Poison(why) => {
                self.end(Transition::GiveUp {
                    fence: self.fence,
                    problem: poisoned(why),
                })
                .await
            }
        }
    }

    async fn poison(&self, delivery: &Delivery, problem: Problem) -> Result<(), WorkflowError> {
        if delivery.poison + 1 >= POISON_LIMIT {
            return self
                .end(Transition::GiveUp {
                    fence: self.fence,
                    problem,
                })
                .await;
        }
        let at = self.portal.records.now() + backoff(delivery.poison);
        self.end(Transition::RetryLater {
            fence: self.fence,
            at,
            problem,
            counted: true,
            poison: true,
            new_epoch: false,
        })
        .await
    }

    async fn later(&self, at: OffsetDateTime, problem: Problem, counted: bool) -> Result<(), WorkflowError> {
        self.end(Transition::RetryLater {
            fence: self.fence,
            at,
            problem,
            counted,
            poison: false,
            new_epoch: false,
        })
        .await
    }

    async fn end(&self, transition: Transition) -> Result<(), WorkflowError> {
        self.portal.records.transition(self.request.id, transition).await?;
        Ok(())
    }
}

fn locked() -> Problem {
    Problem::new(
        "key.locked",
        "The vault key is locked: documents are kept sealed and are sent once an operator runs `nightdrop key unlock`.",
    )
}

fn poisoned(why: &str) -> Problem {
    Problem::new(
        "document.unreadable_here",
        format!("The stored document cannot be opened ({why}). Purge it and ask for it again."),
    )
}

fn undecided(problem: &Problem) -> Problem {
    Problem::new(
        "delivery.undecided",
        format!(
            "Whether the provider has the document cannot be found out ({}). Look it up in the provider's dashboard, then retry, or mark it as uploaded.",
            problem.code
        ),
    )
}

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
    pub fn closed_until(&self, provider: &ProviderName, now: OffsetDateTime) -> Option<OffsetDateTime> {
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
        assert_eq!(breakers.closed_until(&name, start), None);
        breakers.failed(&name, start);
        assert_eq!(breakers.closed_until(&name, start), Some(start + BREAK_FOR));
        let later = start + BREAK_FOR;
        assert_eq!(breakers.closed_until(&name, later), None, "the one that tries");
        assert!(breakers.closed_until(&name, later).is_some(), "everybody else waits");
        breakers.succeeded(&name);
        assert_eq!(breakers.closed_until(&name, later), None);
    }
}
