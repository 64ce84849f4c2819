//! The sweep: what has no owner. Secrets and chunks that no row names are destroyed, such as those of an upload that died with an earlier process.
//!
//! A full pass runs at start, before anything is accepted. While the portal runs, each minute costs what this process knows to be left over, and a small share of a
//! full pass ([`Pass`]) that takes an hour. What is in flight is never touched.

use std::collections::{HashSet, VecDeque};

use crate::chain::chain;
use crate::crypto::erase::{EraseError, LiveSlot};
use crate::crypto::heap;
use crate::domain::id::DocumentId;
use crate::domain::request::DocumentRequest;
use crate::storage::StorageError;

use super::intake::{DiscardOutcome, discard_orphan};
use super::{Portal, WorkflowError, blocking, outgoing};

/// Minutes in which the running portal looks at everything once.
const PASS_MINUTES: usize = 60;
/// Things looked at in a minute, at least.
const SHARE_MIN: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub slots: usize,
    pub blobs: usize,
    pub uploads: usize,
}

/// One thing to look at.
enum Item {
    Secret(LiveSlot),
    Chunks(DocumentId),
}

/// A full pass in small shares.
#[derive(Default)]
pub struct Pass {
    items: VecDeque<Item>,
    /// Per minute.
    share: usize,
    minutes_left: usize,
}

/// Looks at everything at once.
pub async fn sweep(portal: &Portal) -> Result<Swept, WorkflowError> {
    let mut swept = orphans(portal).await?;
    for item in list(portal).await? {
        look(portal, item, &mut swept).await?;
    }
    swept.slots += destroy_damaged(portal).await?;
    Ok(swept)
}

/// One minute's work.
pub async fn minute(portal: &Portal, pass: &mut Pass) -> Result<Swept, WorkflowError> {
    let mut swept = orphans(portal).await?;
    if pass.minutes_left == 0 {
        swept.slots += destroy_damaged(portal).await?;
        pass.items = list(portal).await?;
        pass.share = pass.items.len().div_ceil(PASS_MINUTES).max(SHARE_MIN);
        pass.minutes_left = PASS_MINUTES;
    }
    pass.minutes_left -= 1;
    for _ in 0..pass.share {
        let Some(item) = pass.items.pop_front() else { break };
        look(portal, item, &mut swept).await?;
    }
    Ok(swept)
}

/// Everything that exists now. What comes later belongs to this process, which ends it by itself.
async fn list(portal: &Portal) -> Result<VecDeque<Item>, WorkflowError> {
    let erasure = portal.erasure.clone();
    let live = blocking(move || erasure.live()).await??;
    let stored = portal.blobs.documents().await?;
    Ok(live
        .into_iter()
        .map(Item::Secret)
        .chain(stored.into_iter().map(Item::Chunks))
        .collect())
}

async fn look(portal: &Portal, item: Item, swept: &mut Swept) -> Result<(), WorkflowError> {
    match item {
        Item::Secret(live) => {
            if is_orphan(portal, DocumentId(live.doc_id)).await? {
                swept.slots += usize::from(erase(portal, live).await?);
            }
        }
        Item::Chunks(document) => {
            if is_orphan(portal, document).await? {
                portal.blobs.delete(document).await?;
                swept.blobs += 1;
            }
        }
    }
    Ok(())
}

/// Destroys damaged secrets whose place no document and no upload has. What is left of an interrupted write goes here; one that went bad under a living
/// document stays, so that a fault of the medium destroys nothing. A mail is not looked for by its place: one whose secret is damaged is lost either way.
async fn destroy_damaged(portal: &Portal) -> Result<usize, WorkflowError> {
    let erasure = portal.erasure.clone();
    let damaged = blocking(move || erasure.damaged()).await??;
    if damaged.is_empty() {
        return Ok(0);
    }
    let mut taken = HashSet::new();
    for (_, owner) in portal.requests.live_documents().await? {
        match portal.requests.request(owner).await {
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
    held.into_iter().chain(request.intakes.iter().map(|r| r.slot.index))
}

/// Orphans that no row could be told of: told now. What has no request any more is destroyed here.
async fn orphans(portal: &Portal) -> Result<Swept, WorkflowError> {
    let mut swept = Swept::default();
    for orphan in portal.intake.cleanup.orphans.list() {
        match discard_orphan(portal, orphan).await {
            Ok(DiscardOutcome::Noted) => swept.uploads += 1,
            Ok(DiscardOutcome::Owned) => {}
            Err(error) => {
                tracing::warn!(document = %orphan.document, request = %orphan.request, error = %chain(&error), "an upload that was given up cannot be noted for its destruction yet; this is repeated in a minute");
                continue;
            }
            Ok(DiscardOutcome::NoRequest) => {
                let live = LiveSlot {
                    doc_id: orphan.document.0,
                    slot: orphan.slot,
                };
                swept.slots += usize::from(erase(portal, live).await?);
                portal.blobs.delete(orphan.document).await?;
            }
        }
        portal.intake.cleanup.orphans.settled(orphan.document);
    }
    Ok(swept)
}

/// `false` when it was gone already, or its place has a new owner.
async fn erase(portal: &Portal, live: LiveSlot) -> Result<bool, WorkflowError> {
    let erasure = portal.erasure.clone();
    match blocking(move || erasure.destroy(&live.doc_id, &live.slot)).await? {
        Ok(_) => Ok(true),
        Err(EraseError::Erased | EraseError::OtherOwner) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// In flight is asked before the store: an upload leaves the flight only when a row names it, so it is found by one of the two.
async fn is_orphan(portal: &Portal, document: DocumentId) -> Result<bool, WorkflowError> {
    if portal.intake.in_flight.contains(document) || portal.intake.cleanup.orphans.contains(document) {
        return Ok(false);
    }
    Ok(portal.requests.by_document(document).await?.is_none() && !outgoing::mail::owns(portal, document).await?)
}

/// Gives memory that a burst of uploads took back to the system.
pub async fn spare_memory() {
    let _ = tokio::task::spawn_blocking(heap::trim).await;
}
