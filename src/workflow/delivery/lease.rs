//! What every step does under its lease: change the request, and purge where that is due.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use crate::domain::delivery::PurgeCause;
use crate::domain::request::{DocumentRequest, Stage};
use crate::domain::transition::{Transition, WorkerStep};
use crate::storage::StorageError;
use crate::storage::clock::Standing;
use crate::workflow::{Portal, WorkflowError, purge};

/// How long a worker holds a request without renewing.
pub const LEASE: Duration = Duration::seconds(60);
pub(super) struct Step<'a> {
    pub(super) portal: &'a Arc<Portal>,
    pub(super) request: DocumentRequest,
    pub(super) fence: u64,
    pub(super) now: OffsetDateTime,
    /// Whether the provider may be sent or asked something in this step.
    pub(super) may_ask: bool,
}

impl Step<'_> {
    /// The deadline does not count while the wall clock is ahead and not believed; an agent’s word always does. What else ends by time (links, unfinished uploads, rows without a
    /// document) goes by the store's `now`, which a jump does not move.
    pub(super) fn must_purge(&self) -> bool {
        let by_agent = matches!(self.request.stage, Stage::Held { purge_requested: true, .. });
        by_agent || (self.request.past_deadline(self.now) && self.portal.requests.clock() != Standing::Ahead)
    }

    pub(super) async fn purge(&self, cause: PurgeCause) -> Result<(), WorkflowError> {
        let request = self.apply(WorkerStep::StartPurge { cause }).await?;
        purge::finish(self.portal, &request, self.fence).await.map(drop)
    }

    /// One step under this worker's lease.
    pub(super) async fn apply(&self, step: WorkerStep) -> Result<DocumentRequest, StorageError> {
        let fence = self.fence;
        self.portal
            .requests
            .transition(self.request.id, Transition::Worker { fence, step })
            .await
    }

    /// The same, where nothing follows.
    pub(super) async fn end(&self, step: WorkerStep) -> Result<(), WorkflowError> {
        self.apply(step).await?;
        Ok(())
    }
}
