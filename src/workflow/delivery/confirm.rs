//! Confirming: asking the provider for its verdict, and what follows from it. A callback only makes the question come sooner.
//! Only a request whose terms were proved is asked about: a verdict of another provider, or on another applicant, is never believed.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use crate::connectors::{Connector, Verdict};
use crate::domain::delivery::{ConfirmAt, DeliveryProblem, Receipt};
use crate::domain::document::Document;
use crate::domain::transition::{Transition, WorkerStep};
use crate::failpoint::{self, Failpoint};

use super::outbound;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, purge};

/// Between two looks for a provider that is not configured.
const UNASKED_PAUSE: Duration = Duration::minutes(15);

/// One question for a verdict on a leased request.
pub(crate) async fn step(
    portal: &Arc<Portal>,
    request: &TrustedRequest,
    fence: u64,
    document: &Document,
    receipt: &Receipt,
    polls: u32,
    connector: &dyn Connector,
) -> Result<(), WorkflowError> {
    // The upload's own authenticated answer is enough when the configuration says so; this is the way after a crash between the two.
    if request.confirm == ConfirmAt::Received {
        return confirmed(portal, request, fence).await;
    }
    let epoch = request.held().map_or(0, |(_, delivery)| delivery.epoch);
    let outbound = outbound::closed(portal, request, document, epoch)?;
    let verdict = connector.verdict(&outbound, receipt).await;
    failpoint::pass(Failpoint::VerdictReceived);
    match verdict {
        Ok(Verdict::Accepted) => confirmed(portal, request, fence).await,
        Ok(Verdict::Rejected(problem)) => rejected(portal, request, fence, problem).await,
        Ok(Verdict::Pending) => later(portal, request, fence, polls, connector).await,
        Err(failure) => {
            tracing::info!(request = %request.id, code = %failure.problem().code, "the provider could not be asked for its verdict");
            later(portal, request, fence, polls, connector).await
        }
    }
}

/// The provider is not configured any more: its verdict is asked for when it is back. Where its receipt was enough, it still is.
pub(crate) async fn unasked(portal: &Portal, request: &TrustedRequest, fence: u64) -> Result<(), WorkflowError> {
    if request.confirm == ConfirmAt::Received {
        return confirmed(portal, request, fence).await;
    }
    let at = portal.now() + UNASKED_PAUSE;
    put_off(portal, request, fence, at).await
}

async fn later(portal: &Portal, request: &TrustedRequest, fence: u64, polls: u32, connector: &dyn Connector) -> Result<(), WorkflowError> {
    let profile = connector.profile();
    let pause = (profile.poll_first * 2_i32.pow(polls.min(12))).min(profile.poll_longest);
    let at = portal.now() + pause;
    put_off(portal, request, fence, at).await
}

async fn put_off(portal: &Portal, request: &TrustedRequest, fence: u64, at: OffsetDateTime) -> Result<(), WorkflowError> {
    let seen = request.held().and_then(|(_, delivery)| delivery.phase.step_at()).unwrap_or(at);
    portal
        .requests
        .transition(
            request.id,
            Transition::Worker {
                fence,
                step: WorkerStep::PollLater { at, seen },
            },
        )
        .await?;
    Ok(())
}

/// The provider has it: purge at once.
pub(crate) async fn confirmed(portal: &Portal, request: &TrustedRequest, fence: u64) -> Result<(), WorkflowError> {
    let request = portal
        .requests
        .transition(
            request.id,
            Transition::Worker {
                fence,
                step: WorkerStep::Confirm,
            },
        )
        .await?;
    purge::finish(portal, &request, fence).await.map(drop)
}

/// The provider does not want it: purged all the same, never sent again; an agent may ask for a better one.
pub(crate) async fn rejected(portal: &Portal, request: &TrustedRequest, fence: u64, problem: DeliveryProblem) -> Result<(), WorkflowError> {
    let request = portal
        .requests
        .transition(
            request.id,
            Transition::Worker {
                fence,
                step: WorkerStep::Reject { problem },
            },
        )
        .await?;
    purge::finish(portal, &request, fence).await.map(drop)
}
