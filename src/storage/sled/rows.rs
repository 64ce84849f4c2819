//! What one decision writes beside its row: index differences, counts, audit entries, claims.

use crate::storage::Cause;
use time::OffsetDateTime;

use crate::domain::audit::{AuditEntry, AuditEvent, GENESIS};
use crate::domain::id::RequestId;
use crate::domain::outcome::Outcome;
use crate::domain::request::{DocumentRequest, RequestState};
use crate::storage::record::{ClaimRow, Record};
use crate::storage::{Claim, Claimed, Made, StorageError, key};

use super::records::{Batch, Rows};
use super::{CLAIM_LIFE, Failed, load, read_row};

/// Row, index difference, and the counts of states and outcomes.
pub(super) fn write_change(
    rows: &Rows<'_>,
    batch: &mut Batch,
    before: Option<&DocumentRequest>,
    after: &DocumentRequest,
) -> Result<(), Failed> {
    let old = before.map(key::indexes).unwrap_or_default();
    let new = key::indexes(after);
    // A link's row outlives the link: a dead token stays dead for ever.
    for (gone, _) in old.iter().filter(|(k, _)| k[0] != key::LINK && !new.iter().any(|(n, _)| n == k)) {
        batch.remove(gone.clone());
    }
    for (k, v) in new.into_iter().filter(|row| !old.contains(row)) {
        batch.put(k, v);
    }
    batch.put(key::request(after.id), after.encode());
    count(rows, batch, before, Some(after))
}

/// A request that is counted under two names, one of each kind.
fn counted(request: &DocumentRequest) -> [Vec<u8>; 2] {
    [
        state_count_key(request.resting_state()),
        outcome_count_key(request.resting_outcome()),
    ]
}

pub(super) fn count(
    rows: &Rows<'_>,
    batch: &mut Batch,
    before: Option<&DocumentRequest>,
    after: Option<&DocumentRequest>,
) -> Result<(), Failed> {
    let (before, after) = (before.map(counted), after.map(counted));
    for kind in 0..2 {
        let of = |counted: &Option<[Vec<u8>; 2]>| counted.as_ref().map(|names| names[kind].clone());
        let (from, to) = (of(&before), of(&after));
        if from == to {
            continue;
        }
        for (name, by) in from.map(|name| (name, -1)).into_iter().chain(to.map(|name| (name, 1))) {
            let counted = number(rows, &name)?.unwrap_or(0).saturating_add_signed(by);
            batch.put(name, counted.to_be_bytes());
        }
    }
    Ok(())
}

pub(super) fn state_count_key(state: RequestState) -> Vec<u8> {
    key::meta(&format!("count-{}", state.as_str()))
}

pub(super) fn outcome_count_key(outcome: Outcome) -> Vec<u8> {
    key::meta(&format!("outcome-{}", outcome.as_str()))
}

pub(super) fn stored_count(rows: &Rows<'_>, name: &[u8]) -> Result<u64, Failed> {
    Ok(number(rows, name)?.unwrap_or(0))
}

pub(super) fn number(rows: &Rows<'_>, k: &[u8]) -> Result<Option<u64>, Failed> {
    Ok(rows.get(k)?.and_then(|b| b.try_into().ok()).map(u64::from_be_bytes))
}

/// Chains events behind the last entry of the log.
pub(super) fn append(rows: &Rows<'_>, batch: &mut Batch, events: Vec<AuditEvent>) -> Result<(), Failed> {
    if events.is_empty() {
        return Ok(());
    }
    let mut sequence = number(rows, &key::meta("last-audit"))?.unwrap_or(0);
    let mut previous = match sequence {
        0 => GENESIS,
        last => {
            read_row::<AuditEntry>(rows, &key::audit(last))?
                .ok_or(Failed::Storage(StorageError::Corrupt(Cause::new("the end of the audit log"))))?
                .hash
        }
    };
    for event in events {
        sequence += 1;
        let entry = AuditEntry::chain(sequence, &previous, event);
        previous = entry.hash;
        if let Some(request) = entry.event.request {
            batch.put(key::timeline(request, sequence), Vec::new());
        }
        batch.put(key::audit(sequence), entry.encode());
    }
    batch.put(key::meta("last-audit"), sequence.to_be_bytes());
    Ok(())
}

pub(super) fn seen_claim(rows: &Rows<'_>, claim: &Claim) -> Result<Option<Claimed>, Failed> {
    let Some(seen) = read_row::<ClaimRow>(rows, &key::key(key::CLAIM, &[&claim.key]))? else {
        return Ok(None);
    };
    if seen.body != claim.body {
        return Ok(Some(Claimed::Mismatch));
    }
    Ok(Some(match load(rows, RequestId(seen.made))? {
        Some(request) => Claimed::Replayed(Box::new(request)),
        None => Claimed::Mismatch,
    }))
}

/// The same for accounts and keys, which are never deleted.
pub(super) fn made_by(rows: &Rows<'_>, claim: &Claim) -> Result<Option<Made>, Failed> {
    let seen = read_row::<ClaimRow>(rows, &key::key(key::CLAIM, &[&claim.key]))?;
    Ok(seen.map(|seen| {
        if seen.body == claim.body {
            Made::Before(seen.made)
        } else {
            Made::Mismatch
        }
    }))
}

pub(super) fn write_claim(rows: &Rows<'_>, batch: &mut Batch, claim: &Claim, made: [u8; 16], now: OffsetDateTime) -> Result<(), Failed> {
    batch.put(
        key::key(key::CLAIM, &[&claim.key]),
        ClaimRow {
            body: claim.body,
            made,
            at: now,
        }
        .encode(),
    );
    batch.put(
        key::key(key::CLAIM_BY_TIME, &[&key::ms(now + CLAIM_LIFE), &[key::CLAIM], &claim.key]),
        Vec::new(),
    );
    drop_old(rows, batch, now)
}

/// Drops a few claims and callback ids that are past their time whenever a new one is written: no sweep needed.
pub(super) fn drop_old(rows: &Rows<'_>, batch: &mut Batch, now: OffsetDateTime) -> Result<(), Failed> {
    for (by_time, _) in rows.scan_prefix(&[key::CLAIM_BY_TIME], None, 4)? {
        if by_time[1..9] > key::ms(now)[..] {
            break;
        }
        batch.remove(by_time[9..].to_vec());
        batch.remove(by_time);
    }
    Ok(())
}
