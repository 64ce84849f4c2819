//! The sweep: whatever a crash or a lost connection left behind, erasure secrets first. Runs at start, before anything is accepted, and then from time to time.

use std::collections::HashSet;

use crate::crypto::erase::{EraseError, LiveSlot};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::request::{DocumentRequest, How, Receiving};
use crate::domain::transition::Transition;
use crate::storage::StorageError;

use super::{Portal, WorkflowError, blocking, outgoing};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub slots: usize,
    pub blobs: usize,
    pub uploads: usize,
}

/// Destroys live erasure secrets and chunks that belong to no request, and gives links back whose upload died with its process.
pub async fn sweep(portal: &Portal) -> Result<Swept, WorkflowError> {
    let mut swept = Swept::default();
    let erasure = portal.erasure.clone();
    let (live, damaged) = blocking(move || Ok::<_, EraseError>((erasure.live()?, erasure.damaged()?))).await??;
    let stored = portal.blobs.documents().await?;
    for (document, owner) in portal.records.live_documents().await? {
        if dead_upload(portal, document, owner).await? {
            portal.records.transition(owner, Transition::AbandonReceive(document)).await?;
            swept.uploads += 1;
        }
    }
    for slot in live {
        let document = DocumentId(slot.doc_id);
        if orphan(portal, document).await? {
            let erasure = portal.erasure.clone();
            match blocking(move || erasure.destroy(&slot.doc_id, &slot.slot)).await? {
                Ok(_) => swept.slots += 1,
                // Its own upload destroyed it meanwhile, and the place may have a new owner.
                Err(EraseError::Erased | EraseError::OtherOwner) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    if !damaged.is_empty() {
        swept.slots += destroy_damaged(portal, damaged).await?;
    }
    for document in stored {
        if orphan(portal, document).await? {
            portal.blobs.delete(document).await?;
            swept.blobs += 1;
        }
    }
    Ok(swept)
}

/// Destroys damaged secrets whose place no document and no upload has. What is left of an interrupted write goes here; one that went bad under a living
/// document stays, so that a fault of the medium destroys nothing. A mail is not looked for by its place: one whose secret is damaged is lost either way.
async fn destroy_damaged(portal: &Portal, damaged: Vec<LiveSlot>) -> Result<usize, WorkflowError> {
    let mut taken = HashSet::new();
    for (_, owner) in portal.records.live_documents().await? {
        match portal.records.request(owner).await {
            Ok(Some(request)) => taken.extend(places(&request)),
            Ok(None) => {}
            // Which place it has is unknown: all of them may be its.
            Err(StorageError::Corrupt(_)) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
    let mut destroyed = 0;
    for slot in damaged.into_iter().filter(|slot| !taken.contains(&slot.slot.index)) {
        let erasure = portal.erasure.clone();
        match blocking(move || erasure.destroy_damaged(&slot)).await? {
            Ok(_) => destroyed += 1,
            Err(EraseError::OtherOwner) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(destroyed)
}

/// The slots that a request's row names.
fn places(request: &DocumentRequest) -> impl Iterator<Item = u64> {
    let held = request.document().map(|document| document.slot.index);
    held.into_iter().chain(request.receivings.iter().map(|r| r.slot.index))
}

/// In flight is asked before the store: an upload leaves the flight only when its commit is visible, so it is found by one of the two.
async fn orphan(portal: &Portal, document: DocumentId) -> Result<bool, WorkflowError> {
    if portal.in_flight.contains(document) {
        return Ok(false);
    }
    Ok(portal.records.by_document(document).await?.is_none() && !outgoing::mail::owns(portal, document).await?)
}

/// Whether a document is only noted as being received by a stream, and by none of this process, or was given up.
async fn dead_upload(portal: &Portal, document: DocumentId, owner: RequestId) -> Result<bool, WorkflowError> {
    if portal.in_flight.contains(document) {
        return Ok(false);
    }
    let request = match portal.records.request(owner).await {
        // One damaged row must not keep all others from starting. Nothing of it is destroyed: it may be a received document.
        Err(StorageError::Corrupt(why)) => {
            tracing::error!(%document, request = %owner, why, "a stored request cannot be read");
            return Ok(false);
        }
        other => other?,
    };
    // What waits between two connections is alive without any: the worker ends it when its time is over.
    let dead = |r: &Receiving| r.document == document && matches!(r.how, How::Stream | How::Ending);
    Ok(request.is_some_and(|r| r.receivings.iter().any(dead)) && !portal.in_flight.contains(document))
}
