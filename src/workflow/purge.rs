//! Destroying: the erasure secret first (overwritten in place, synced, read back), then the chunks, then the tombstone with its numbered receipt.
//! Every step may be repeated; a crash between two of them leaves unreadable bytes and a purge that goes on.

use std::sync::atomic::Ordering;

use crate::crypto::erase::{EraseError, ReadBack};
use crate::domain::document::Document;
use crate::domain::receipt::{DeletionReceipt, Erasure};
use crate::domain::request::{DocumentRequest, Stage};

use super::{Portal, WorkflowError, blocking};

/// Finishes the purge of a request that is in its purging stage and leased to the caller.
pub async fn finish(portal: &Portal, request: &DocumentRequest, fence: u64) -> Result<DeletionReceipt, WorkflowError> {
    let Stage::Purging { document, cause, .. } = &request.stage else {
        return Err(WorkflowError::NotFound);
    };
    crate::crash::point("C21");
    let method = erase(portal, document).await?;
    let erased_at = portal.records.now();
    portal.blobs.delete(document.id).await?;
    let erasure = Erasure {
        request: request.id,
        document: document.id,
        slot: document.slot,
        cause: cause.code().to_owned(),
        class: portal.assurance.class.to_string(),
        method: method.to_owned(),
        parts: u8::try_from(document.parts.len()).unwrap_or(u8::MAX),
        received_at: document.received_at,
        erased_at,
        purged_at: portal.records.now(),
    };
    let receipt = portal.records.finish_purge(request.id, fence, erasure).await?;
    crate::crash::point("C25");
    portal.counters.purged.fetch_add(1, Ordering::Relaxed);
    Ok(receipt)
}

async fn erase(portal: &Portal, document: &Document) -> Result<&'static str, WorkflowError> {
    let (erasure, owner, slot) = (portal.erasure.clone(), document.id.0, document.slot);
    match blocking(move || erasure.destroy(&owner, &slot)).await? {
        Ok(ReadBack::Direct) => Ok("slot overwritten in place, synced, read back from the device"),
        Ok(ReadBack::Buffered) => Ok("slot overwritten in place, synced, read back through the page cache"),
        Ok(ReadBack::Memory) => Ok("secret dropped from memory; it was never on a disk"),
        // The slot belongs to somebody else by now, or is not there: the secret is gone and nothing may be touched.
        Err(EraseError::Erased | EraseError::OtherOwner | EraseError::NoSuchSlot) => Ok("secret was gone already"),
        Err(error) => Err(WorkflowError::Internal(error.to_string())),
    }
}
