//! The worker's router: one step for one leased request, by its stage. A purge that is due always wins, except for the minutes in which bytes may be on their way.

use std::sync::Arc;

use time::Duration;

use super::lease::Step;
use super::uncertain::Open;
use super::{confirm, send};
use crate::chain::chain;
use crate::domain::delivery::{Delivery, Phase, PurgeCause};
use crate::domain::document::Document;
use crate::domain::request::{DocumentRequest, SENDING_GRACE, Stage};
use crate::domain::transition::WorkerStep;
use crate::storage::StorageError;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, purge};

/// How long a document past its deadline is left alone while the clock is not to be trusted.
const SUSPECT_PAUSE: Duration = Duration::seconds(60);

/// One step for a request whose lease the caller has just taken. It may wait for the provider: whoever calls it holds a permit of the provider's bulkhead.
pub async fn step(portal: &Arc<Portal>, request: DocumentRequest) -> Result<(), WorkflowError> {
    take(portal, request, true).await
}

/// The same where all permits are taken: what is due without the provider is done, and nobody is sent or asked anything.
pub(crate) async fn step_alone(portal: &Arc<Portal>, request: DocumentRequest) -> Result<(), WorkflowError> {
    take(portal, request, false).await
}

async fn take(portal: &Arc<Portal>, request: DocumentRequest, may_ask: bool) -> Result<(), WorkflowError> {
    let step = Step {
        portal,
        fence: request.fence,
        now: portal.now(),
        may_ask,
        request,
    };
    match step.run().await {
        // Somebody else has it now, or decided otherwise meanwhile: nothing of ours is left to do.
        Err(WorkflowError::Storage(StorageError::Refused(_)) | WorkflowError::Refused(_) | WorkflowError::NotFound) => Ok(()),
        other => other,
    }
}

impl Step<'_> {
    async fn run(self) -> Result<(), WorkflowError> {
        let fence = self.fence;
        match &self.request.stage {
            _ if self.request.must_forget(self.now) => Ok(self.portal.requests.forget(self.request.id, fence).await?),
            Stage::Open { expiry_noted: false } => self.end(WorkerStep::NoteExpired).await,
            Stage::Open { .. } | Stage::Purged => self.end(WorkerStep::Release).await,
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
        if !self.may_ask || delivery.phase.step_at().is_none_or(|at| at > self.now) {
            // Only the deadline has come, and the clock that says so is suspect. The lease is kept as a pause: given back, it would be due again at once.
            let until = self.now + SUSPECT_PAUSE;
            let pause = if self.request.past_deadline(self.now) {
                WorkerStep::Renew { until }
            } else {
                WorkerStep::Release
            };
            return self.end(pause).await;
        }
        // Before anybody is sent anything, asked or believed.
        let request = match TrustedRequest::of(self.portal, &self.request) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(request = %self.request.id, error = %chain(&error), "no provider is sent or asked anything about it");
                let problem = send::tampered();
                return self.end(WorkerStep::Distrust { problem }).await;
            }
        };
        let connector = self.portal.providers.get(&request.provider).cloned();
        if let Some(open) = Open::of(&request, &document, &delivery) {
            return self.uncertain(open, connector).await;
        }
        match (&delivery.phase, connector) {
            (Phase::AwaitingConfirmation { receipt, polls, .. }, Some(connector)) => {
                confirm::step(self.portal, &request, fence, &document, receipt, *polls, connector.as_ref()).await
            }
            // It has arrived; only its verdict cannot be asked for. Sending it again would be wrong.
            (Phase::AwaitingConfirmation { .. }, None) => confirm::unasked(self.portal, &request, fence).await,
            (Phase::Pending { .. }, Some(connector)) => self.send(&request, &document, &delivery, connector).await,
            (Phase::Pending { .. }, None) => {
                self.end(WorkerStep::GiveUp {
                    problem: send::unknown_provider(),
                })
                .await
            }
            (Phase::NeedsAttention { .. } | Phase::Sending { .. } | Phase::Uncertain { .. }, _) => self.end(WorkerStep::Release).await,
        }
    }

    async fn purge_due(&self, document: Document, delivery: Delivery) -> Result<(), WorkflowError> {
        if matches!(self.request.stage, Stage::Held { purge_requested: true, .. }) {
            return self.purge(PurgeCause::Agent).await;
        }
        let Ok(request) = TrustedRequest::of(self.portal, &self.request) else {
            return self.purge(PurgeCause::Deadline).await;
        };
        match Open::of(&request, &document, &delivery) {
            // The grace in which the provider could have been asked is over, and it is busy with others.
            Some(_) if !self.may_ask && self.now >= document.purge_at + SENDING_GRACE => self.purge(PurgeCause::Deadline).await,
            Some(_) if !self.may_ask => self.end(WorkerStep::Release).await,
            Some(open) => {
                let connector = self.portal.providers.get(&request.provider).cloned();
                self.purge_open(&open, connector).await
            }
            None => self.purge(PurgeCause::Deadline).await,
        }
    }
}
