//! Attempts whose outcome is unknown: the same bytes under the same key where that is harmless, else a question, and nothing new before absence is proven.
//!
//! Asking needs no vault key and no erasure secret, so a locked vault, a lost slot or damaged bytes do not hide that a document has arrived.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::breaker::{BACKOFF_CAP, backoff};
use super::lease::Step;
use super::outbound::{self, CannotDecrypt, LeasedProgressLog};
use super::send::{RETRY_AFTER_CAP, unknown_provider};
use crate::connectors::{Connector, Failure, Presence};
use crate::domain::delivery::{Delivery, DeliveryProblem, Intent, Phase, ProviderClass, PurgeCause, UNDECIDED};
use crate::domain::document::Document;
use crate::domain::request::SENDING_GRACE;
use crate::domain::transition::{Attempt, SendAgain, WorkerStep};
use crate::failpoint::{self, Failpoint};
use crate::workflow::WorkflowError;
use crate::workflow::trusted::TrustedRequest;

/// Lists lag by minutes: authoritative answers "not here" prove absence when the first and the last are this far apart.
const ABSENT_FOR: Duration = Duration::minutes(5);
/// Between two of these questions.
const ASK_EVERY: Duration = Duration::seconds(60);
/// The provider repeats a failure that it keeps under our key: only a proven absence and a new key break that.
const STORED_FAILURE: &str = "provider.stored_failure";
/// Harmless repeats of one attempt before the provider is asked instead.
const REPEATS: u32 = 2;
/// Questions about an unknown outcome before a person is asked.
const CHECKS_LIMIT: u32 = 20;

/// An attempt with unknown outcome, and what is known about it by now.
pub(super) struct Open<'a> {
    pub request: &'a TrustedRequest,
    pub document: &'a Document,
    pub delivery: &'a Delivery,
    pub intent: Intent,
    absent_since: Option<OffsetDateTime>,
    checks: u32,
    problem: DeliveryProblem,
}

impl<'a> Open<'a> {
    /// `None` when no attempt is open.
    pub(super) fn of(request: &'a TrustedRequest, document: &'a Document, delivery: &'a Delivery) -> Option<Self> {
        let (intent, absent_since, checks) = match &delivery.phase {
            Phase::Sending { intent } => (intent, None, 0),
            Phase::Uncertain {
                intent,
                absent_since,
                checks,
                ..
            } => (intent, *absent_since, *checks),
            _ => return None,
        };
        let problem = match (&delivery.phase, &delivery.last_problem) {
            (Phase::Uncertain { .. }, Some(problem)) => problem.clone(),
            // Our lease, and yet an attempt is open: its worker died.
            _ => DeliveryProblem::new(
                "delivery.interrupted",
                "The attempt was interrupted; the provider is asked whether it arrived.",
            ),
        };
        Some(Self {
            request,
            document,
            delivery,
            intent: intent.clone(),
            absent_since,
            checks,
            problem,
        })
    }
}

impl Step<'_> {
    pub(super) async fn uncertain(&self, open: Open<'_>, connector: Option<Arc<dyn Connector>>) -> Result<(), WorkflowError> {
        let Some(connector) = connector else {
            // Nobody can be asked; giving up would invite a second sending.
            return self.wait(unknown_provider(), self.now + BACKOFF_CAP).await;
        };
        let class = self.class(&open, connector.as_ref())?;
        // The same bytes under the same key, or to the same place, are harmless: the answer tells what became of the first.
        // Only twice: a provider that replays a stored failure for the key would do so for ever.
        let window = connector.profile().key_window;
        let young = class == ProviderClass::IdempotencyKey && self.now - open.intent.started_at < window;
        let fixed = matches!(class, ProviderClass::FixedId | ProviderClass::DuplicateAnswered);
        // Where a repeat is harmless for ever, it takes turns with the question: a provider of that kind may have no list to look into.
        let turn = open.checks < REPEATS || (fixed && open.checks < CHECKS_LIMIT && open.checks.is_multiple_of(2));
        if (young || fixed) && turn && open.problem.code != STORED_FAILURE {
            return self.repeat(&open, connector).await;
        }
        self.ask(&open, connector).await
    }

    /// What repeating the step that is open does.
    fn class(&self, open: &Open<'_>, connector: &dyn Connector) -> Result<ProviderClass, WorkflowError> {
        let outbound = outbound::closed(self.portal, open.request, open.document, open.intent.epoch)?;
        Ok(connector.class(&outbound))
    }

    /// Sends the very bytes of the open attempt once more.
    async fn repeat(&self, open: &Open<'_>, connector: Arc<dyn Connector>) -> Result<(), WorkflowError> {
        let outbound = match outbound::open(self.portal, open.request, open.document, open.intent.epoch) {
            Ok(outbound) => outbound,
            // It may have arrived all the same.
            Err(CannotDecrypt::Locked | CannotDecrypt::Lost | CannotDecrypt::Poison(_) | CannotDecrypt::Unread(_)) => {
                return self.ask(open, connector).await;
            }
        };
        if outbound.digest() != open.intent.digest {
            return self.ask(open, connector).await;
        }
        if let Some(until) = self.portal.delivery.breakers.paused_until(&open.request.provider, self.now) {
            return self.wait(open.problem.clone(), until).await;
        }
        let progress_log = LeasedProgressLog {
            requests: self.portal.requests.clone(),
            request: self.request.id,
            fence: self.fence,
        };
        let Some(outcome) = self.renewing(connector.deliver(&outbound, &progress_log)).await else {
            return Ok(());
        };
        failpoint::pass(Failpoint::Reconciled);
        self.count_attempt(&open.request.provider, &outcome);
        let now = self.portal.now();
        let pause = backoff(open.checks);
        let counted = |failure: &Failure| {
            let (provider, applicant) = (&open.request.provider, open.request.applicant_index);
            self.portal.delivery.breakers.failed(provider, applicant, failure, now);
        };
        if let Err(failure) = &outcome {
            counted(failure);
        }
        match outcome {
            // Still unknown: the intent stays open and the count of questions grows.
            Err(Failure::Ambiguous { problem } | Failure::Credentials { problem }) => self.check_again(problem, now + pause).await,
            Err(Failure::Definite { problem, after, .. }) => {
                let pause = after.unwrap_or_default().min(RETRY_AFTER_CAP).max(pause);
                self.check_again(problem, now + pause).await
            }
            // This try had no effect, which says nothing of the one before.
            Err(Failure::Final { .. } | Failure::Poison { .. } | Failure::Unread { .. }) => self.ask(open, connector).await,
            other => {
                self.outcome(open.request, open.document, open.delivery, connector.as_ref(), other)
                    .await
            }
        }
    }

    /// One question, and what follows from the answer.
    async fn ask(&self, open: &Open<'_>, connector: Arc<dyn Connector>) -> Result<(), WorkflowError> {
        let give_up = |problem: DeliveryProblem| self.end(WorkerStep::GiveUp { problem });
        let outbound = outbound::closed(self.portal, open.request, open.document, open.intent.epoch)?;
        let Some(answer) = self.renewing(connector.reconcile(&outbound)).await else {
            return Ok(());
        };
        failpoint::pass(Failpoint::Reconciled);
        let class = connector.class(&outbound);
        let now = self.portal.now();
        match answer {
            Ok(Presence::Present(delivered)) => self.delivered(open.request, open.document, connector.as_ref(), delivered).await,
            Ok(Presence::Absent) => {
                let since = open.absent_since.unwrap_or(now);
                let proven = now - since >= ABSENT_FOR;
                if !proven {
                    let check_at = (now + ASK_EVERY).min(since + ABSENT_FOR);
                    return self.end(WorkerStep::FoundAbsent { again: None, check_at }).await;
                }
                if class == ProviderClass::NoRepeat {
                    return give_up(undecided(&open.problem)).await;
                }
                if open.delivery.attempts + 1 >= self.portal.policy.attempts {
                    return give_up(open.problem.clone()).await;
                }
                // A key that the provider does not promise to honour may still be honoured, so it stays, unless a failure is kept under it.
                let listed = class == ProviderClass::ListedKey;
                let again = Some(SendAgain {
                    new_epoch: !listed || open.problem.code == STORED_FAILURE,
                    keep_progress: listed,
                });
                self.end(WorkerStep::FoundAbsent { again, check_at: now }).await
            }
            Ok(Presence::Unknown) => self.unanswered(open, class, now).await,
            Err(_) if open.checks >= CHECKS_LIMIT => give_up(undecided(&open.problem)).await,
            Err(failure) => self.check_again(failure.problem(), now + backoff(open.checks)).await,
        }
    }

    /// The provider cannot say. Where a repeat is always harmless it goes on; otherwise a person looks.
    async fn unanswered(&self, open: &Open<'_>, class: ProviderClass, now: OffsetDateTime) -> Result<(), WorkflowError> {
        let harmless = matches!(class, ProviderClass::FixedId | ProviderClass::DuplicateAnswered);
        if harmless && open.checks < CHECKS_LIMIT {
            return self.check_again(open.problem.clone(), now + backoff(open.checks)).await;
        }
        self.end(WorkerStep::GiveUp {
            problem: undecided(&open.problem),
        })
        .await
    }

    /// The deadline has come while the outcome is unknown: the provider is asked, so that the receipt can tell "confirmed" from "given up".
    /// A clear answer decides at once; without one the purge waits for the grace and no longer.
    pub(super) async fn purge_open(&self, open: &Open<'_>, connector: Option<Arc<dyn Connector>>) -> Result<(), WorkflowError> {
        let end = open.document.purge_at + SENDING_GRACE;
        let Some(connector) = connector else {
            return self.purge(PurgeCause::Deadline).await;
        };
        let outbound = outbound::closed(self.portal, open.request, open.document, open.intent.epoch)?;
        let Some(answer) = self.renewing(connector.reconcile(&outbound)).await else {
            return Ok(());
        };
        let now = self.portal.now();
        match answer {
            Ok(Presence::Present(delivered)) => self.delivered(open.request, open.document, connector.as_ref(), delivered).await,
            Ok(Presence::Absent) => self.purge(PurgeCause::Deadline).await,
            Ok(Presence::Unknown) | Err(_) if now >= end => self.purge(PurgeCause::Deadline).await,
            Ok(Presence::Unknown) => self.check_again(open.problem.clone(), end).await,
            Err(failure) => self.check_again(failure.problem(), end.min(now + ASK_EVERY)).await,
        }
    }

    async fn check_again(&self, problem: DeliveryProblem, check_at: OffsetDateTime) -> Result<(), WorkflowError> {
        self.end(WorkerStep::BecomeUncertain {
            problem,
            check_at,
            attempt: Attempt::Counted,
        })
        .await
    }

    /// Nobody was asked.
    async fn wait(&self, problem: DeliveryProblem, check_at: OffsetDateTime) -> Result<(), WorkflowError> {
        self.end(WorkerStep::BecomeUncertain {
            problem,
            check_at,
            attempt: Attempt::Uncounted,
        })
        .await
    }
}

fn undecided(problem: &DeliveryProblem) -> DeliveryProblem {
    DeliveryProblem::new(
        UNDECIDED,
        format!(
            "Whether the provider has the document cannot be found out ({}). Look it up in the provider's dashboard, then retry, or mark it as uploaded.",
            problem.code
        ),
    )
}
