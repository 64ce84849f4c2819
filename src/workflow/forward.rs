//! Forwarding: one step for one leased request. The intent is durable before the first byte leaves; what is uncertain is asked about before anything is sent again;
//! a purge that is due always wins, except for the minutes in which bytes may be on their way.

mod pace;
mod uncertain;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use time::{Duration, OffsetDateTime};

use crate::connectors::{self, Connector, Delivered, Failure, SourceError, Verdict};
use crate::domain::delivery::{BY_HAND, ConfirmAt, Delivery, Intent, Phase, Problem, PurgeCause, Receipt};
use crate::domain::document::Document;
use crate::domain::request::{DocumentRequest, Stage};
use crate::domain::transition::Transition;
use crate::storage::StorageError;
use crate::workflow::terms;

use super::parcel::{self, Closed, LeasedTrail};
use super::scan::Scanned;
use super::{Portal, WorkflowError, confirm, purge};
use uncertain::Open;

pub use pace::{Breakers, backoff};

/// How long a worker holds a request without renewing.
pub const LEASE: Duration = Duration::seconds(60);
const RENEW_EVERY: std::time::Duration = std::time::Duration::from_secs(20);
/// A provider may ask for more time than that, up to this.
const RETRY_AFTER_CAP: Duration = Duration::hours(1);
/// While the vault key is locked.
const LOCKED_PAUSE: Duration = Duration::seconds(10);
/// How long a document past its deadline is left alone while the clock is not to be trusted.
const SUSPECT_PAUSE: Duration = Duration::seconds(60);
/// While nobody can scan.
const SCAN_PAUSE: Duration = Duration::seconds(30);
/// While the portal's own storage cannot be read.
const UNREAD_PAUSE: Duration = Duration::seconds(30);
/// Damage is judged three times: only what was read without an error, and is not what was sealed, counts.
const POISON_LIMIT: u32 = 3;
/// A provider that refuses our credentials will hardly change its mind: a person is asked soon.
const CREDENTIALS_LIMIT: u32 = 5;

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
        if delivery.phase.step_at().is_none_or(|at| at > self.now) {
            // Only the deadline has come, and the clock that says so is suspect. The lease is kept as a pause: given back, it would be due again at once.
            let until = self.now + SUSPECT_PAUSE;
            let pause = if self.request.past_deadline(self.now) {
                Transition::Renew { fence, until }
            } else {
                Transition::Release { fence }
            };
            return self.end(pause).await;
        }
        let connector = self.portal.providers.get(&self.request.provider).cloned();
        if let Some(open) = Open::of(&document, &delivery) {
            return self.uncertain(open, connector).await;
        }
        match (&delivery.phase, connector) {
            (Phase::AwaitingConfirmation { receipt, polls, .. }, Some(connector)) => {
                confirm::step(self.portal, &self.request, fence, &document, receipt, *polls, connector.as_ref()).await
            }
            // It has arrived; only its verdict cannot be asked for. Sending it again would be wrong.
            (Phase::AwaitingConfirmation { .. }, None) => confirm::unasked(self.portal, &self.request, fence).await,
            (Phase::Pending { .. }, Some(connector)) => self.send(&document, &delivery, connector, delivery.epoch).await,
            (Phase::Pending { .. }, None) => {
                self.end(Transition::GiveUp {
                    fence,
                    problem: unknown_provider(),
                })
                .await
            }
            (Phase::NeedsAttention { .. } | Phase::Sending { .. } | Phase::Uncertain { .. }, _) => {
                self.end(Transition::Release { fence }).await
            }
        }
    }

    /// The deadline counts only while the clock can be trusted; an agent's word always does. What else ends by time (links, unfinished uploads, rows without a
    /// document) goes by the store's `now`, which a jump does not move.
    fn must_purge(&self) -> bool {
        let by_agent = matches!(self.request.stage, Stage::Held { purge_requested: true, .. });
        by_agent || (self.request.past_deadline(self.now) && !self.portal.records.clock_suspect())
    }

    async fn purge_due(&self, document: Document, delivery: Delivery) -> Result<(), WorkflowError> {
        if matches!(self.request.stage, Stage::Held { purge_requested: true, .. }) {
            return self.purge(PurgeCause::Agent).await;
        }
        match Open::of(&document, &delivery) {
            Some(open) => {
                let connector = self.portal.providers.get(&self.request.provider).cloned();
                self.purge_open(&open, connector).await
            }
            None => self.purge(PurgeCause::Deadline).await,
        }
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
        let by_hand = connector.profile().by_hand;
        if by_hand && self.portal.scanner.is_none() {
            return self
                .end(Transition::GiveUp {
                    fence,
                    problem: served_by_hand(),
                })
                .await;
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
        if let Err(error) = terms::check(self.portal, &self.request) {
            tracing::error!(request = %self.request.id, %error, "not forwarded");
            let problem = tampered();
            return self.end(Transition::GiveUp { fence, problem }).await;
        }
        if let Some(scanner) = &self.portal.scanner {
            let Some(scanned) = self.renewing(scanner.scan(&parcel, self.now)).await else {
                return Ok(());
            };
            crate::crash::point("C14");
            match scanned {
                Scanned::Clean => {}
                Scanned::Infected(signature) => {
                    tracing::warn!(request = %self.request.id, signature, "the scanner found something; the document is purged and not sent");
                    self.portal.counters.infected.fetch_add(1, Ordering::Relaxed);
                    return self.purge(PurgeCause::Infected).await;
                }
                Scanned::Not(problem) => {
                    self.portal.counters.unscanned.fetch_add(1, Ordering::Relaxed);
                    return self.later(self.portal.records.now() + SCAN_PAUSE, problem, false).await;
                }
                Scanned::Unreadable(SourceError::Final(why)) => return self.poison(delivery, poisoned(why)).await,
                Scanned::Unreadable(SourceError::Transient(why)) => return self.unread(connectors::unread(why)).await,
            }
        }
        if by_hand {
            return self
                .end(Transition::GiveUp {
                    fence,
                    problem: served_by_hand(),
                })
                .await;
        }
        if self.was_called_back().await? {
            return self.end(Transition::Release { fence }).await;
        }
        let intent = Intent {
            epoch,
            started_at: self.portal.records.now(),
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
        crate::crash::point("C15");
        let trail = LeasedTrail {
            records: self.portal.records.clone(),
            request: self.request.id,
            fence,
        };
        let Some(outcome) = self.renewing(connector.deliver(&parcel, &trail)).await else {
            return Ok(());
        };
        crate::crash::point("C18");
        self.outcome(document, delivery, connector.as_ref(), outcome).await
    }

    /// Whether a purge became due while the document was opened and scanned, which may take minutes. It always wins.
    async fn was_called_back(&self) -> Result<bool, WorkflowError> {
        let records = &self.portal.records;
        let request = records.request(self.request.id).await?.ok_or(WorkflowError::NotFound)?;
        let by_agent = matches!(request.stage, Stage::Held { purge_requested: true, .. });
        Ok(by_agent || (request.past_deadline(records.now()) && !records.clock_suspect()))
    }

    /// Keeps the lease while a slow provider is being talked to. `None`: the lease is gone, and with it the right to go on;
    /// what was begun is broken off, since whoever has the lease now is already finding out what became of it.
    async fn renewing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let mut held_until = self.now + LEASE;
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep(RENEW_EVERY) => {
                    let now = self.portal.records.now();
                    let until = now + LEASE;
                    match self.portal.records.transition(self.request.id, Transition::Renew { fence: self.fence, until }).await {
                        Ok(_) => held_until = until,
                        Err(StorageError::Refused(_) | StorageError::NotFound) => return None,
                        Err(error) if now >= held_until => {
                            tracing::warn!(request = %self.request.id, %error, "the lease has run out and could not be renewed");
                            return None;
                        }
                        Err(error) => tracing::warn!(request = %self.request.id, %error, "the lease could not be renewed yet"),
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
                    counted: true,
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
            Failure::Unread { problem } => self.unread(problem).await,
            Failure::Lost => Ok(()),
        }
    }

    async fn delivered(&self, document: &Document, connector: &dyn Connector, delivered: Delivered) -> Result<(), WorkflowError> {
        let now = self.portal.records.now();
        self.portal.breakers.succeeded(&self.request.provider);
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

    async fn cannot_open(&self, closed: Closed, delivery: &Delivery) -> Result<(), WorkflowError> {
        match closed {
            Closed::Locked => self.later(self.now + LOCKED_PAUSE, locked(), false).await,
            Closed::Lost => self.purge(PurgeCause::Lost).await,
            Closed::Poison(why) => self.poison(delivery, poisoned(why)).await,
            Closed::Unread(why) => self.unread(connectors::unread(why)).await,
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

    /// An outage of our own storage: neither the document nor the provider is to blame, so it uses up no try, however long it lasts.
    async fn unread(&self, problem: Problem) -> Result<(), WorkflowError> {
        tracing::warn!(request = %self.request.id, "the document cannot be read at the moment; it is kept and tried again");
        self.later(self.portal.records.now() + UNREAD_PAUSE, problem, false).await
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

fn served_by_hand() -> Problem {
    Problem::new(
        BY_HAND,
        "This provider takes documents by hand: download each part once, upload it there, then mark it as uploaded.",
    )
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

fn unknown_provider() -> Problem {
    Problem::new(
        "provider.unknown",
        "This provider is no longer configured. Configure it again and retry, or purge the document.",
    )
}

fn tampered() -> Problem {
    Problem::new(
        "request.tampered",
        "The stored request was changed outside the portal. It was not forwarded; purge it and ask again.",
    )
}
