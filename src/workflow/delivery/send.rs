//! One attempt to send a held document. The intent is durable before the first byte leaves, and whatever ends a started attempt leaves a line in the audit log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use time::{Duration, OffsetDateTime};

use crate::chain::chain;
use crate::connectors::{self, Connector, Delivered, Failure, SourceError, Verdict};
use crate::domain::delivery::{BY_HAND, ConfirmAt, Delivery, DeliveryProblem, Intent, PurgeCause, Receipt, TAMPERED};
use crate::domain::document::{Document, ProviderName};
use crate::domain::request::Stage;
use crate::domain::transition::{Attempt, WorkerStep};
use crate::failpoint::{self, Failpoint};
use crate::storage::StorageError;
use crate::storage::clock::Standing;

use super::breaker::backoff;
use super::confirm;
use super::lease::{LEASE, Step};
use super::outbound::{self, CannotDecrypt, LeasedProgressLog};
use super::scan::Scanned;
use crate::workflow::WorkflowError;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::warning::Warning;

const RENEW_EVERY: std::time::Duration = std::time::Duration::from_secs(20);
/// A provider may ask for more time than that, up to this.
pub(super) const RETRY_AFTER_CAP: Duration = Duration::hours(1);
/// While the vault key is locked.
const LOCKED_PAUSE: Duration = Duration::seconds(10);
/// While nobody can scan.
const SCAN_PAUSE: Duration = Duration::seconds(30);
/// While the portal's own storage cannot be read.
const UNREAD_PAUSE: Duration = Duration::seconds(30);
/// Damage is judged three times: only what was read without an error, and is not what was sealed, counts.
const POISON_LIMIT: u32 = 3;
/// A provider that refuses our credentials will hardly change its mind: a person is asked soon.
const CREDENTIALS_LIMIT: u32 = 5;

/// The attempt at a document that waits to be sent.
impl Step<'_> {
    pub(super) async fn send(
        &self,
        trusted: &TrustedRequest,
        document: &Document,
        delivery: &Delivery,
        connector: Arc<dyn Connector>,
    ) -> Result<(), WorkflowError> {
        let (fence, epoch) = (self.fence, delivery.epoch);
        let by_hand = connector.profile().by_hand;
        if by_hand && self.portal.delivery.scanner.is_none() {
            return self.end(WorkerStep::GiveUp { problem: served_by_hand() }).await;
        }
        if let Some(until) = self.portal.delivery.breakers.paused_until(&trusted.provider, self.now) {
            let problem = DeliveryProblem::new(
                "provider.paused",
                "The provider failed for several applicants in a row; sending pauses for a minute.",
            );
            return self.later(until, problem, Attempt::Uncounted).await;
        }
        let outbound = match outbound::open(self.portal, trusted, document, epoch) {
            Ok(outbound) => outbound,
            Err(closed) => return self.cannot_open(closed, delivery).await,
        };
        if let Some(scanner) = &self.portal.delivery.scanner {
            let Some(scanned) = self.renewing(scanner.scan(&outbound, self.now)).await else {
                return Ok(());
            };
            failpoint::pass(Failpoint::Scanned);
            match scanned {
                Scanned::Clean => {}
                Scanned::Infected(signature) => {
                    tracing::warn!(request = %self.request.id, signature, "the scanner found something; the document is purged and not sent");
                    self.portal.counters.infected.fetch_add(1, Ordering::Relaxed);
                    return self.purge(PurgeCause::Infected).await;
                }
                Scanned::Not(problem) => {
                    self.portal.counters.unscanned.fetch_add(1, Ordering::Relaxed);
                    return self.later(self.portal.now() + SCAN_PAUSE, problem, Attempt::Uncounted).await;
                }
                Scanned::Unreadable(SourceError::Final(why)) => return self.poison(delivery, poisoned(why)).await,
                Scanned::Unreadable(SourceError::Transient(why)) => return self.unread(connectors::unread(why)).await,
            }
        }
        if by_hand {
            return self.end(WorkerStep::GiveUp { problem: served_by_hand() }).await;
        }
        if self.purge_became_due().await? {
            return self.end(WorkerStep::Release).await;
        }
        let intent = Intent {
            epoch,
            started_at: self.portal.now(),
            digest: outbound.digest(),
        };
        self.apply(WorkerStep::StartSending { intent: intent.clone() }).await?;
        failpoint::pass(Failpoint::IntentStored);
        let progress_log = LeasedProgressLog {
            requests: self.portal.requests.clone(),
            request: self.request.id,
            fence,
        };
        let Some(outcome) = self.renewing(connector.deliver(&outbound, &progress_log)).await else {
            return Ok(());
        };
        failpoint::pass(Failpoint::Answered);
        self.count_attempt(&trusted.provider, &outcome);
        self.outcome(trusted, document, delivery, connector.as_ref(), outcome).await
    }

    /// Whether a purge became due while the document was opened and scanned, which may take minutes. It always wins.
    async fn purge_became_due(&self) -> Result<bool, WorkflowError> {
        let requests = &self.portal.requests;
        let request = requests.request(self.request.id).await?.ok_or(WorkflowError::NotFound)?;
        let by_agent = matches!(request.stage, Stage::Held { purge_requested: true, .. });
        Ok(by_agent || (request.past_deadline(requests.now()) && requests.clock() != Standing::Ahead))
    }

    /// Keeps the lease while a slow provider is being talked to. `None`: the lease is gone, and with it the right to go on;
    /// what was begun is broken off, since whoever has the lease now is already finding out what became of it.
    pub(super) async fn renewing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let mut held_until = self.now + LEASE;
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep(RENEW_EVERY) => {
                    let now = self.portal.now();
                    let until = now + LEASE;
                    match self.apply(WorkerStep::Renew { until }).await {
                        Ok(_) => held_until = until,
                        Err(StorageError::Refused(_) | StorageError::NotFound) => return None,
                        Err(error) if now >= held_until => {
                            tracing::warn!(request = %self.request.id, error = %chain(&error), "the lease has run out and could not be renewed");
                            return None;
                        }
                        Err(error) => tracing::warn!(request = %self.request.id, error = %chain(&error), "the lease could not be renewed yet"),
                    }
                }
            }
        }
    }

    /// Counts an attempt by how it ended.
    pub(super) fn count_attempt(&self, provider: &ProviderName, outcome: &Result<Delivered, Failure>) {
        let code = match outcome {
            Ok(_) => "ok".to_owned(),
            Err(failure) => failure.problem().code,
        };
        self.portal.counters.attempts.add([provider.as_str(), &code]);
    }

    pub(super) async fn outcome(
        &self,
        trusted: &TrustedRequest,
        document: &Document,
        delivery: &Delivery,
        connector: &dyn Connector,
        outcome: Result<Delivered, Failure>,
    ) -> Result<(), WorkflowError> {
        let now = self.portal.now();
        let failure = match outcome {
            Ok(delivered) => {
                return self.delivered(trusted, document, connector, delivered).await;
            }
            Err(failure) => failure,
        };
        self.portal.counters.failed_attempts.fetch_add(1, Ordering::Relaxed);
        tracing::info!(request = %self.request.id, provider = %trusted.provider, code = %failure.problem().code, "an attempt failed");
        self.portal
            .delivery
            .breakers
            .failed(&trusted.provider, trusted.applicant_index, &failure, now);
        match failure {
            Failure::Definite { problem, after, new_key } => {
                if delivery.attempts + 1 >= self.portal.policy.attempts {
                    return self.end(WorkerStep::GiveUp { problem }).await;
                }
                let pause = after.unwrap_or_default().min(RETRY_AFTER_CAP).max(backoff(delivery.attempts));
                self.end(WorkerStep::RetryLater {
                    at: now + pause,
                    problem,
                    attempt: Attempt::Counted,
                    new_epoch: new_key,
                })
                .await
            }
            Failure::Ambiguous { problem } => {
                self.end(WorkerStep::BecomeUncertain {
                    problem,
                    check_at: now + backoff(delivery.attempts),
                    attempt: Attempt::Counted,
                })
                .await
            }
            Failure::Final { problem } => self.end(WorkerStep::GiveUp { problem }).await,
            Failure::Credentials { problem } => {
                if delivery.attempts + 1 >= CREDENTIALS_LIMIT.min(self.portal.policy.attempts) {
                    return self.end(WorkerStep::GiveUp { problem }).await;
                }
                self.later(now + backoff(delivery.attempts), problem, Attempt::Counted).await
            }
            Failure::Poison { problem } => self.poison(delivery, problem).await,
            Failure::Unread { problem } => self.unread(problem).await,
            Failure::Lost => Ok(()),
        }
    }

    pub(super) async fn delivered(
        &self,
        trusted: &TrustedRequest,
        document: &Document,
        connector: &dyn Connector,
        delivered: Delivered,
    ) -> Result<(), WorkflowError> {
        let now = self.portal.now();
        self.portal.delivery.breakers.succeeded(&trusted.provider);
        self.portal.counters.delivered.fetch_add(1, Ordering::Relaxed);
        let receipt = Receipt {
            references: delivered.references,
            received_at: now,
        };
        let poll_at = now + connector.profile().poll_first;
        self.apply(WorkerStep::Delivered {
            receipt: receipt.clone(),
            poll_at,
        })
        .await?;
        match delivered.verdict {
            Verdict::Pending if trusted.confirm == ConfirmAt::Received => confirm::confirmed(self.portal, trusted, self.fence).await,
            Verdict::Pending => self.end(WorkerStep::Release).await,
            Verdict::Accepted => confirm::confirmed(self.portal, trusted, self.fence).await,
            Verdict::Rejected(problem) => confirm::rejected(self.portal, trusted, self.fence, problem).await,
        }
        .inspect_err(|error| tracing::warn!(document = %document.id, error = %chain(error), "delivered, and not yet purged"))
    }

    pub(super) async fn cannot_open(&self, closed: CannotDecrypt, delivery: &Delivery) -> Result<(), WorkflowError> {
        match closed {
            CannotDecrypt::Locked => self.later(self.now + LOCKED_PAUSE, locked(), Attempt::Uncounted).await,
            CannotDecrypt::Lost => {
                let (request, provider) = (self.request.id, self.request.provider.clone());
                Warning::DocumentLost { request, provider }.write();
                self.purge(PurgeCause::Lost).await
            }
            CannotDecrypt::Poison(why) => self.poison(delivery, poisoned(why)).await,
            CannotDecrypt::Unread(why) => {
                tracing::warn!(request = %self.request.id, why = %chain(&why), "a document cannot be opened at the moment");
                self.unread(connectors::unread("the erasure slots cannot be read")).await
            }
        }
    }

    pub(super) async fn poison(&self, delivery: &Delivery, problem: DeliveryProblem) -> Result<(), WorkflowError> {
        if delivery.poison + 1 >= POISON_LIMIT {
            return self.end(WorkerStep::GiveUp { problem }).await;
        }
        let at = self.portal.now() + backoff(delivery.poison);
        self.end(WorkerStep::RetryLater {
            at,
            problem,
            attempt: Attempt::Damaged,
            new_epoch: false,
        })
        .await
    }

    /// An outage of our own storage: neither the document nor the provider is to blame, so it uses up no try, however long it lasts.
    pub(super) async fn unread(&self, problem: DeliveryProblem) -> Result<(), WorkflowError> {
        tracing::warn!(request = %self.request.id, "the document cannot be read at the moment; it is kept and tried again");
        self.later(self.portal.now() + UNREAD_PAUSE, problem, Attempt::Uncounted).await
    }

    pub(super) async fn later(&self, at: OffsetDateTime, problem: DeliveryProblem, attempt: Attempt) -> Result<(), WorkflowError> {
        self.end(WorkerStep::RetryLater {
            at,
            problem,
            attempt,
            new_epoch: false,
        })
        .await
    }
}

fn served_by_hand() -> DeliveryProblem {
    DeliveryProblem::new(
        BY_HAND,
        "This provider takes documents by hand: download each part once, upload it there, then mark it as uploaded.",
    )
}

fn locked() -> DeliveryProblem {
    DeliveryProblem::new(
        "key.locked",
        "The vault key is locked: documents are kept sealed and are sent once an operator runs `nightdrop key unlock`.",
    )
}

fn poisoned(why: &str) -> DeliveryProblem {
    DeliveryProblem::new(
        "document.unreadable_here",
        format!("The stored document cannot be opened ({why}). Purge it and ask for it again."),
    )
}

pub(super) fn unknown_provider() -> DeliveryProblem {
    DeliveryProblem::new(
        "provider.unknown",
        "This provider is no longer configured. Configure it again and retry, or purge the document.",
    )
}

pub(super) fn tampered() -> DeliveryProblem {
    DeliveryProblem::new(
        TAMPERED,
        "The stored request was changed outside the portal. No provider is sent or asked anything about it any more; purge it and ask again.",
    )
}
