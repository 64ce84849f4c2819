//! Deletion receipts in the database: read in their order, and dropped when they have been kept for long enough.

use time::OffsetDateTime;

use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::receipt::SignedReceipt;
use crate::storage::record::Record;

use super::Core;
use super::columns::{append, decode};
use super::error::Failed;
use super::tx::Tx;

pub(super) async fn after(tx: &Tx, number: i64, limit: i64) -> Result<Vec<SignedReceipt>, Failed> {
    let sql = "SELECT row FROM receipt WHERE number > $1 ORDER BY number LIMIT $2";
    let rows = tx.rows(sql, &[&number, &limit]).await?;
    rows.iter().map(|row| decode(row, 0)).collect()
}

/// The oldest ones, up to the first that is of a later purge or whose request still has a row: what stays has no gaps.
pub(super) async fn drop_old(core: &Core, tx: &Tx, before: OffsetDateTime, limit: i64) -> Result<usize, Failed> {
    // The next one is chained to the newest, which nobody may make meanwhile.
    tx.one("SELECT number FROM chain WHERE name = 'receipt' FOR UPDATE", &[]).await?;
    let sql = "SELECT number, row FROM receipt WHERE number < (SELECT max(number) FROM receipt) ORDER BY number LIMIT $1";
    let mut dropped: Vec<i64> = Vec::new();
    for row in tx.rows(sql, &[&limit]).await? {
        // One that cannot be read stays, as evidence.
        let Ok(receipt) = SignedReceipt::decode(row.get::<_, &[u8]>(1)) else {
            break;
        };
        let erasure = receipt.receipt.erasure;
        if erasure.purged_at >= before {
            break;
        }
        let exists = "SELECT EXISTS (SELECT 1 FROM request WHERE id = $1)";
        let is_named: bool = tx.one(exists, &[&erasure.request.0.as_slice()]).await?.get(0);
        if is_named {
            break;
        }
        dropped.push(row.get(0));
    }
    if let (Some(first), Some(last)) = (dropped.first(), dropped.last()) {
        tx.run("DELETE FROM receipt WHERE number = ANY($1)", &[&dropped]).await?;
        let event = AuditEvent::new(core.clock.now(), Actor::Portal, AuditAction::ReceiptsDropped);
        let event = event.with("count", dropped.len()).with("first", first).with("last", last);
        append(tx, vec![event]).await?;
    }
    Ok(dropped.len())
}
