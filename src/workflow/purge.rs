//! Destroying: the erasure secret first (overwritten in place, synced, read back), then the chunks, then the tombstone with its numbered receipt.
//! The receipt is signed in the transaction that stores it and never again: what is shown later must verify.
//! Every step may be repeated; a crash between two of them leaves unreadable bytes and a purge that goes on.

use std::sync::atomic::Ordering;

use crate::crypto::assurance::Look;
use crate::crypto::erase::{EraseError, ReadBack};
use crate::crypto::receipt as signing;
use crate::domain::document::Document;
use crate::domain::receipt::{DeletionReceipt, Erasure, SignedReceipt};
use crate::domain::request::{DocumentRequest, Stage};
use crate::failpoint::{self, Failpoint};
use crate::storage::StorageError;
use crate::storage::seal::Altered;

use super::{Portal, WorkflowError, blocking, seal};

/// Finishes the purge of a request that is in its purging stage and leased to the caller.
pub(crate) async fn finish(portal: &Portal, request: &DocumentRequest, fence: u64) -> Result<SignedReceipt, WorkflowError> {
    let Stage::Purging { document, cause, .. } = &request.stage else {
        return Err(WorkflowError::NotFound);
    };
    failpoint::pass(Failpoint::PurgeStarted);
    let method = erase(portal, document).await?;
    // After the secret was overwritten: whatever moved the file until now moved it with the secret in it.
    let verdict = look(portal).await?;
    let erased_at = portal.now();
    portal.blobs.delete(document.id).await?;
    let erasure = Erasure {
        request: request.id,
        document: document.id,
        slot: document.slot,
        cause: cause.code().to_owned(),
        class: verdict.assurance.class.to_string(),
        method: match verdict.weakened {
            None => method.to_owned(),
            Some(why) => format!("{method}; {why}"),
        },
        parts: u8::try_from(document.parts.len()).unwrap_or(u8::MAX),
        received_at: document.received_at,
        erased_at,
        purged_at: portal.now(),
    };
    let receipt = portal
        .requests
        .finish_purge(request.id, fence, erasure, &|receipt: &DeletionReceipt| {
            signing::sign(&portal.secrets, receipt)
        })
        .await?;
    failpoint::pass(Failpoint::ReceiptStored);
    portal.counters.purged.fetch_add(1, Ordering::Relaxed);
    Ok(receipt)
}

/// The receipt of a request's newest purge, verified against the portal's own key. `None`: nothing was purged yet.
pub(crate) async fn receipt(portal: &Portal, request: &DocumentRequest) -> Result<Option<SignedReceipt>, WorkflowError> {
    let Some(stone) = request.tombstones.last() else { return Ok(None) };
    let receipt = verified(portal, stone.receipt).await?;
    if receipt.receipt.erasure.request == request.id {
        return Ok(Some(receipt));
    }
    Err(refused(portal, stone.receipt).await)
}

/// A receipt by its number, verified. One that is missing, was changed, or stands under another's number is an error, and is reported.
pub(crate) async fn verified(portal: &Portal, number: u64) -> Result<SignedReceipt, WorkflowError> {
    let stored = portal.requests.deletion_receipt(number).await;
    let whole = match stored {
        Ok(Some(stored)) => whole(portal, number, &stored).then_some(stored),
        Ok(None) | Err(StorageError::Corrupt(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match whole {
        Some(receipt) => Ok(receipt),
        None => Err(refused(portal, number).await),
    }
}

/// Whether the text was signed by this portal, is of this number, and says what the row says.
fn whole(portal: &Portal, number: u64, stored: &SignedReceipt) -> bool {
    let key = signing::public_key(&portal.secrets);
    let same = |signed: &DeletionReceipt| *signed == stored.receipt && signed.number == number;
    signing::verify(&stored.text, Some(&key)).is_ok_and(|verified| same(&verified.receipt))
}

async fn refused(portal: &Portal, number: u64) -> WorkflowError {
    let row = Altered {
        kind: "receipt",
        id: Some(number.to_string()),
    };
    seal::report(portal, row).await;
    WorkflowError::ReceiptAltered(number)
}

async fn erase(portal: &Portal, document: &Document) -> Result<&'static str, WorkflowError> {
    let (erasure, owner, slot) = (portal.erasure.clone(), document.id.0, document.slot);
    match blocking(move || erasure.destroy(&owner, &slot)).await? {
        Ok(ReadBack::Direct) => Ok("slot overwritten in place, synced, read back from the device"),
        Ok(ReadBack::Buffered) => Ok("slot overwritten in place, synced, read back through the page cache"),
        Ok(ReadBack::Memory) => Ok("secret dropped from memory; it was never on a disk"),
        // The slot belongs to somebody else by now, or is not there: the secret is gone and nothing may be touched.
        Err(EraseError::Erased | EraseError::OtherOwner | EraseError::NoSuchSlot) => Ok("secret was gone already"),
        Err(error) => Err(error.into()),
    }
}

/// Receipts behind this number, oldest first, those of forgotten requests among them; as they are stored.
pub(crate) async fn receipts(portal: &Portal, after: u64, limit: usize) -> Result<Vec<SignedReceipt>, StorageError> {
    // The last number there is has nothing behind it.
    if after == u64::MAX {
        return Ok(Vec::new());
    }
    portal.requests.deletion_receipts(after, limit).await
}

/// Receipts that are looked at in one go when the old ones are dropped.
const LOOKED_AT: usize = 500;

/// Drops receipts that have been kept for as long as the configuration says.
pub(crate) async fn drop_old_receipts(portal: &Portal) -> Result<usize, StorageError> {
    match portal.policy.receipts {
        Some(kept) => portal.requests.drop_receipts(portal.now() - kept, LOOKED_AT).await,
        None => Ok(0),
    }
}

/// Judges the slots file again, and says in the log once when it is worth less than at start.
pub(crate) async fn look(portal: &Portal) -> Result<Look, WorkflowError> {
    let watch = portal.assurance.clone();
    let verdict = blocking(move || watch.look()).await?;
    if let (true, Some(why)) = (verdict.fresh, verdict.weakened) {
        tracing::error!(
            event = "erasure_weakened",
            class = %verdict.assurance.class,
            why,
            reasons = verdict.assurance.reasons.join(" "),
            "erasing is worth less than when the portal started; see docs/erasure.md"
        );
    }
    Ok(verdict)
}
