//! Destroying what is discarded: the secret first (overwritten in place, synced, read back), then the chunks, then the row forgets it. One task does it, under the request's
//! cleanup lease and its fence; every step goes by what it finds, so that whoever comes after a crash simply does them again.
//!
//! Nobody else destroys what belongs to a request that was not received: uploads only note that it is discarded ([`super::secret`]).

use time::{Duration, OffsetDateTime};
use tokio::sync::Notify;

use crate::chain::chain;
use crate::crypto::erase::EraseError;
use crate::domain::document::SlotRef;
use crate::domain::id::DocumentId;
use crate::domain::request::{DocumentRequest, Intake, IntakeKind};
use crate::domain::transition::{EndOf, IntakeStep, Transition};
use crate::storage::StorageError;

use super::secret::Orphans;
use crate::workflow::{Portal, WorkflowError, blocking};

/// How long a request is left to one task. A step takes milliseconds; after a crash of the task another one goes on then.
const LEASE: Duration = Duration::seconds(30);
/// After something could not be destroyed.
const PAUSE: Duration = Duration::seconds(10);

#[derive(Default)]
pub struct Cleanup {
    /// Notified when something is to be destroyed.
    pub due: Notify,
    pub orphans: Orphans,
}

/// Takes the request that has had something to destroy longest, and destroys it. `false` when nothing is due.
pub async fn step(portal: &Portal) -> Result<bool, WorkflowError> {
    let until = portal.now() + LEASE;
    let Some(request) = portal.requests.claim_cleanup(until).await? else {
        return Ok(false);
    };
    match clean(portal, &request).await {
        // Another task has it now, or it was forgotten.
        Err(WorkflowError::Refused(_) | WorkflowError::NotFound) => Ok(true),
        other => other.map(|()| true),
    }
}

async fn clean(portal: &Portal, request: &DocumentRequest) -> Result<(), WorkflowError> {
    let now = portal.now();
    let (mut documents, mut failed) = (Vec::new(), false);
    for intake in &request.intakes {
        if now < request.ends_at(intake) || !is_discarded(portal, request, intake).await? {
            continue;
        }
        match destroy(portal, intake.document, intake.slot).await {
            Ok(()) => documents.push(intake.document),
            Err(error) => {
                failed = true;
                tracing::error!(request = %request.id, document = %intake.document, error = %chain(&error),
                    "an upload that was given up could not be destroyed: look at the disk; this is tried again in {PAUSE}");
            }
        }
    }
    let done = IntakeStep::CleanedUp {
        fence: request.cleanup.fence,
        documents,
        again_at: failed.then(|| portal.now() + PAUSE),
    };
    portal.requests.transition(request.id, Transition::Intake(done)).await?;
    Ok(())
}

/// Whether this is discarded, which it is noted to be when its time is over and nothing came meanwhile.
async fn is_discarded(portal: &Portal, request: &DocumentRequest, intake: &Intake) -> Result<bool, WorkflowError> {
    if intake.kind == IntakeKind::Discarding {
        return Ok(true);
    }
    let end = IntakeStep::End {
        document: intake.document,
        end: EndOf::Idle,
    };
    match portal.requests.transition(request.id, Transition::Intake(end)).await {
        Ok(_) => {
            portal.counters.abandoned.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(true)
        }
        Err(StorageError::Refused(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The row says already that nothing may be added. Writers that have not read it yet are stopped.
async fn destroy(portal: &Portal, document: DocumentId, slot: SlotRef) -> Result<(), WorkflowError> {
    portal.intake.in_flight.end(document).await;
    let erasure = portal.erasure.clone();
    match blocking(move || erasure.destroy(&document.0, &slot)).await? {
        // Gone already: a step that was interrupted behind it, or a slot that has had a new owner since.
        Ok(_) | Err(EraseError::Erased | EraseError::OtherOwner | EraseError::NoSuchSlot) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(portal.blobs.delete(document).await?)
}

/// When [`step`] has something to do next.
pub(crate) async fn next(portal: &Portal) -> Result<Option<OffsetDateTime>, StorageError> {
    portal.requests.next_cleanup().await
}

#[cfg(test)]
mod schedules;
