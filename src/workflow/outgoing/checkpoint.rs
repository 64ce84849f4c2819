//! Periodic checkpoints: a signed head of the audit log to a file beside the store, and to the webhooks that want it. A copy of that file on another machine shows a
//! later rewrite of the log, and entries that were cut off at its end; on the same machine, whoever can write the store can remove it as well.
//!
//! The file is bounded: when it would outgrow [`LARGEST`] it becomes `FILE.1`, in the place of the one before, and a new one begins.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::crypto::checkpoint::{Checkpoint, Signed};
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::storage::outbox::OutboxCursor;
use crate::workflow::{Portal, WorkflowError, blocking};

/// A file that could not be written is tried again after this.
const AFTER_ERROR: Duration = Duration::minutes(1);

/// About two months of hourly checkpoints; with the file before it, twice that.
pub(crate) const LARGEST: u64 = 512 * 1024;

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
    let wanted = &portal.outgoing.checkpoints;
    let now = portal.now();
    if !wanted.due.come(now) {
        return Ok(false);
    }
    wanted.due.set(now + AFTER_ERROR.min(wanted.every));
    let taken = take(portal, &wanted.file, now).await?;
    wanted.due.set(now + wanted.every);
    Ok(taken)
}

async fn take(portal: &Portal, file: &Path, now: OffsetDateTime) -> Result<bool, WorkflowError> {
    let before = portal.outbox.mark(OutboxCursor::Checkpoint).await?;
    let Some(head) = portal.outbox.last_entry().await? else {
        return Ok(false);
    };
    // The word that one was taken is itself an entry, and no reason for the next one.
    if head.sequence == before || (head.sequence == before + 1 && head.event.action == AuditAction::AuditCheckpoint) {
        return Ok(false);
    }
    let point = Checkpoint {
        sequence: head.sequence,
        hash: head.hash,
        at: now.format(&Rfc3339).unwrap_or_default(),
    };
    let signed = point.sign(&portal.secrets);
    let (path, line) = (file.to_owned(), line(&point, &signed));
    blocking(move || append(&path, &line)).await?.map_err(|error| {
        WorkflowError::Internal(format!("the audit checkpoint cannot be written ({error}); look at audit.checkpoint_file").into())
    })?;
    if !portal
        .outbox
        .advance(OutboxCursor::Checkpoint, before, head.sequence, Vec::new())
        .await?
    {
        return Ok(false);
    }
    let event = AuditEvent::new(now, Actor::Portal, AuditAction::AuditCheckpoint)
        .with("head", point.sequence)
        .with("hash", HEXLOWER.encode(&point.hash))
        .with("at", &point.at)
        .with("signed_by", HEXLOWER.encode(&signed.by))
        .with("signature", HEXLOWER.encode(&signed.signature));
    portal.audit.append(event).await?;
    Ok(true)
}

/// One JSON object, as `nightdrop audit verify --checkpoint` reads it.
pub(crate) fn line(point: &Checkpoint, signed: &Signed) -> String {
    let object = json!({
        "sequence": point.sequence,
        "hash": HEXLOWER.encode(&point.hash),
        "at": point.at,
        "signed_by": HEXLOWER.encode(&signed.by),
        "signature": HEXLOWER.encode(&signed.signature),
    });
    format!("{object}\n")
}

/// Reads such a line, or the event of a webhook, where the number stands under another name and everything is text.
pub(crate) fn parse(line: &str) -> Option<(Checkpoint, Signed)> {
    let object: Value = serde_json::from_str(line).ok()?;
    let data = object.get("data").unwrap_or(&object);
    let sequence = match &data["head"] {
        Value::String(head) => head.parse().ok()?,
        _ => data["sequence"].as_u64()?,
    };
    let point = Checkpoint {
        sequence,
        hash: bytes(data["hash"].as_str()?)?,
        at: data["at"].as_str()?.to_owned(),
    };
    let signed = Signed {
        by: bytes(data["signed_by"].as_str()?)?,
        signature: bytes(data["signature"].as_str()?)?,
    };
    Some((point, signed))
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// The file that this one took the place of.
fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() + line.len() as u64 > LARGEST) {
        std::fs::rename(path, before(path))?;
    }
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    let mut text = Vec::new();
    (&file).take(2 * LARGEST).read_to_end(&mut text)?;
    // A line that a crash has cut off is none.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        file.set_len(whole as u64)?;
    }
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The newest checkpoint in the file whose signature fits the key it names; the caller compares that key with the portal's. A line that was cut off by a
    /// crash is passed over. `None`: no checkpoint was ever written there.
    fn last_checkpoint(path: &Path) -> std::io::Result<Option<(Checkpoint, Signed)>> {
        for path in [path.to_owned(), before(path)] {
            let text = match std::fs::File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
                Ok(file) => {
                    let mut text = String::new();
                    file.take(2 * LARGEST).read_to_string(&mut text)?;
                    text
                }
            };
            let newest = text.lines().rev().filter_map(parse).find(|(point, signed)| point.fits(signed));
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    use crate::crypto::secrets::PortalSecrets;

    #[test]
    fn the_file_is_bounded_and_its_newest_whole_line_is_found() {
        let folder = std::env::temp_dir().join(format!("nightdrop-checkpoints-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, keys) = (folder.join("checkpoints.jsonl"), folder.join("portal.secrets"));
        PortalSecrets::create(&keys, &[1; 16]).unwrap();
        let secrets = PortalSecrets::load(&keys).unwrap();
        assert_eq!(last_checkpoint(&path).unwrap(), None);
        let taken = |sequence| {
            let point = Checkpoint {
                sequence,
                hash: [7; 32],
                at: "2026-01-02T03:04:05Z".to_owned(),
            };
            let signed = point.sign(&secrets);
            (line(&point, &signed), (point, signed))
        };
        let newest = || last_checkpoint(&path).unwrap().map(|(point, _)| point.sequence);
        append(&path, &taken(1).0).unwrap();
        append(&path, &taken(2).0).unwrap();
        assert_eq!(last_checkpoint(&path).unwrap(), Some(taken(2).1));
        // Cut off in the middle of a line, as a crash does.
        let third = taken(3).0;
        append(&path, &third).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length - 20)
            .unwrap();
        assert_eq!(newest(), Some(2));
        append(&path, &taken(4).0).unwrap();
        assert_eq!((newest(), std::fs::read_to_string(&path).unwrap().lines().count()), (Some(4), 3));
        // Not signed as it stands.
        append(&path, &taken(5).0.replace(":5,", ":6,")).unwrap();
        assert_eq!(newest(), Some(4));
        let full = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        full.set_len(LARGEST).unwrap();
        append(&path, &taken(7).0).unwrap();
        assert_eq!((newest(), std::fs::read_to_string(&path).unwrap()), (Some(7), taken(7).0));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(newest(), Some(4), "in the file before");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
