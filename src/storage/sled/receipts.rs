//! Deletion receipts in the embedded store: read in their order, and dropped when they have been kept for long enough.

use time::OffsetDateTime;

use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::receipt::SignedReceipt;
use crate::storage::key;
use crate::storage::record::Record;

use super::records::{Batch, Rows};
use super::rows::{append, number};
use super::{Failed, SledStore};

impl SledStore {
    pub(super) fn receipts(&self, after: u64, limit: usize) -> Result<Vec<SignedReceipt>, Failed> {
        let behind = key::receipt(after);
        let rows = self.store.records().scan_prefix(&[key::RECEIPT], Some(&behind), limit)?;
        rows.into_iter().map(|(_, row)| Ok(SignedReceipt::decode(&row)?)).collect()
    }
}

/// The oldest ones, up to the first that is of a later purge or whose request still has a row: what stays has no gaps.
pub(super) fn drop_old_receipts(
    rows: &Rows<'_>,
    batch: &mut Batch,
    before: OffsetDateTime,
    limit: usize,
    now: OffsetDateTime,
) -> Result<usize, Failed> {
    let newest = number(rows, &key::meta("last-receipt"))?.unwrap_or(0);
    let mut dropped = Vec::new();
    for (row_key, row) in rows.scan_prefix(&[key::RECEIPT], None, limit)? {
        // One that cannot be read stays, as evidence.
        let Ok(receipt) = SignedReceipt::decode(&row) else { break };
        let receipt = receipt.receipt;
        // The next one is chained to the newest; a row names its receipts and must find them.
        let stays = receipt.erasure.purged_at >= before || receipt.number >= newest;
        if stays || rows.get(&key::request(receipt.erasure.request))?.is_some() {
            break;
        }
        batch.remove(row_key);
        dropped.push(receipt.number);
    }
    if let (Some(first), Some(last)) = (dropped.first(), dropped.last()) {
        batch.frees_space();
        let event = AuditEvent::new(now, Actor::Portal, AuditAction::ReceiptsDropped);
        let event = event.with("count", dropped.len()).with("first", first).with("last", last);
        append(rows, batch, vec![event])?;
    }
    Ok(dropped.len())
}
