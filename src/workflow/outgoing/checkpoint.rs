//! Periodic checkpoints: a signed head of the audit log to a file that only grows, and to the webhooks that want it. Kept elsewhere, they show a later rewrite of the log.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::crypto::checkpoint::{Checkpoint, Signed};
use crate::domain::agent::Actor;
use crate::domain::audit::AuditEvent;
use crate::domain::dispatch::CHECKPOINT;
use crate::storage::outbox::Mark;
use crate::workflow::{Portal, WorkflowError, blocking};

/// A file that could not be written is tried again after this.
const AFTER_ERROR: Duration = Duration::minutes(1);

/// When the next one is due. In memory: a start makes one, if the log has moved.
#[derive(Default)]
pub struct Due(Mutex<Option<OffsetDateTime>>);

impl Due {
    fn come(&self, now: OffsetDateTime) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|at| now >= at)
    }

    fn set(&self, at: OffsetDateTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// Takes a checkpoint when one is due and the log has moved.
pub async fn step(portal: &Portal) -> Result<bool, WorkflowError> {
    let Some(wanted) = &portal.outgoing.checkpoints else {
        return Ok(false);
    };
    let now = portal.records.now();
    if !wanted.due.come(now) {
        return Ok(false);
    }
    wanted.due.set(now + AFTER_ERROR.min(wanted.every));
    let taken = take(portal, wanted.file.as_deref(), now).await?;
    wanted.due.set(now + wanted.every);
    Ok(taken)
}

async fn take(portal: &Portal, file: Option<&Path>, now: OffsetDateTime) -> Result<bool, WorkflowError> {
    let before = portal.records.mark(Mark::Checkpoint).await?;
    let Some(head) = portal.records.last_entry().await? else {
        return Ok(false);
    };
    // The word that one was taken is itself an entry, and no reason for the next one.
    if head.sequence == before || (head.sequence == before + 1 && head.event.action == CHECKPOINT) {
        return Ok(false);
    }
    let point = Checkpoint {
        sequence: head.sequence,
        hash: head.hash,
        at: now.format(&Rfc3339).unwrap_or_default(),
    };
    let signed = point.sign(&portal.secrets);
    if let Some(path) = file {
        let (path, line) = (path.to_owned(), line(&point, &signed));
        blocking(move || append(&path, &line)).await?.map_err(|error| {
            WorkflowError::Internal(format!(
                "the audit checkpoint cannot be written ({error}); look at audit.checkpoint_file"
            ))
        })?;
    }
    if !portal.records.advance(Mark::Checkpoint, before, head.sequence, Vec::new()).await? {
        return Ok(false);
    }
    let event = AuditEvent::new(now, Actor::Portal, CHECKPOINT)
        .with("head", point.sequence)
        .with("hash", HEXLOWER.encode(&point.hash))
        .with("at", &point.at)
        .with("signed_by", HEXLOWER.encode(&signed.by))
        .with("signature", HEXLOWER.encode(&signed.signature));
    portal.records.append(event).await?;
    Ok(true)
}

/// One JSON object, as `nightdrop audit verify --checkpoint` reads it.
pub fn line(point: &Checkpoint, signed: &Signed) -> String {
    let object = json!({
        "sequence": point.sequence,
        "hash": HEXLOWER.encode(&point.hash),
        "at": point.at,
        "signed_by": HEXLOWER.encode(&signed.by),
        "signature": HEXLOWER.encode(&signed.signature),
    });
    format!("{object}\n")
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}
