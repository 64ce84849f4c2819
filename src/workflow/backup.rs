//! A backup of the portal: its rows at one point of the audit log, its keys and its configuration, in one file that only a passphrase or a recipient opens.
//!
//! What makes a document readable is never in it: no erasure secret and no sealed chunk is read here at all. So a backup prolongs no document's life, and whoever
//! restores it asks for the documents again that were held.
//!
//! ```text
//! frame H  head, JSON          frame F  length of name 2 ‖ name ‖ content          frame R  rows: length 4 ‖ key ‖ length 4 ‖ value, …
//! ```
//! in this order, in the container of [`crate::crypto::archive`]. That somebody takes a backup is in the audit log before its first byte leaves.

pub(crate) mod read;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::{Portal, WorkflowError, blocking};
use crate::chain::{Cause, chain};
use crate::crypto::archive::{FrameWriter, Lock};
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::storage::StorageError;
use crate::storage::backup::{BackupPoint, BackupStore, RowReader};

/// The version of what is written here.
pub(crate) const FORMAT: u64 = 1;
const HEAD: u8 = b'H';
const FILE: u8 = b'F';
const ROWS: u8 = b'R';
/// A frame of rows is written when it has grown to this.
const ROWS_MAX: usize = 1 << 20;
/// No key or configuration is longer.
const FILE_MAX: u64 = 1 << 20;
/// Shorter passphrases are guessed.
const PASSPHRASE_MIN: usize = 15;
/// The configuration's name in a backup; the keys have the names that they have in their folder, behind `keys/`.
pub(crate) const CONFIGURATION: &str = "nightdrop.toml";
pub(crate) const KEYS: &str = "keys/";

/// A file's name in a backup, and its content.
type NamedFile = (String, Zeroizing<Vec<u8>>);

/// What is read beside the store.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Of the data folder.
    pub layout: u32,
    pub portal: [u8; 16],
    pub keys: PathBuf,
    pub configuration: Option<PathBuf>,
}

/// Who backs the records up.
#[derive(Clone)]
pub(crate) enum BackedUpBy {
    Portal(Arc<dyn BackupStore>),
    /// The database's own tools, of which the portal knows nothing.
    Database,
}

/// Backups of a running portal.
#[derive(Clone)]
pub struct Backups {
    by: BackedUpBy,
    sources: Sources,
    /// Whoever asks, backups are for these alone; anybody's choice if there are none.
    pub recipients: Vec<String>,
    last: Arc<Mutex<Option<OffsetDateTime>>>,
}

impl Backups {
    pub(crate) fn new(by: BackedUpBy, sources: Sources, recipients: Vec<String>) -> Result<Self, StorageError> {
        let last = match &by {
            BackedUpBy::Portal(store) => store.last_backup()?,
            BackedUpBy::Database => None,
        };
        Ok(Self {
            last: Arc::new(Mutex::new(last)),
            by,
            sources,
            recipients,
        })
    }

    /// The same for others, after the configuration has changed.
    pub(crate) fn to(&self, recipients: Vec<String>) -> Self {
        Self {
            recipients,
            ..self.clone()
        }
    }

    /// The number of the data folder's layout.
    pub(crate) fn layout(&self) -> u32 {
        self.sources.layout
    }

    /// Whether the portal would know of a backup.
    pub(crate) fn are_known(&self) -> bool {
        matches!(self.by, BackedUpBy::Portal(_))
    }

    /// When the last complete backup was taken that the portal knows of.
    pub fn last(&self) -> Option<OffsetDateTime> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One has reached its end. Blocking.
    pub(crate) fn complete(&self, at: OffsetDateTime) {
        if let BackedUpBy::Portal(store) = &self.by {
            note_last(&**store, at);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// Notes in the store that a backup is complete. Blocking.
pub(crate) fn note_last(store: &dyn BackupStore, at: OffsetDateTime) {
    if let Err(error) = store.note_backup(at) {
        tracing::warn!(error = %chain(&error), "the time of the backup could not be written down");
    }
}

/// Everything that goes into one backup, at one point.
pub(crate) struct Prepared {
    pub at: OffsetDateTime,
    head: String,
    files: Vec<NamedFile>,
    rows: Box<dyn RowReader>,
}

/// Whom the configuration lets a backup be for.
pub(crate) fn allowed(fixed: &[String], passphrase: Option<Zeroizing<String>>, asked: &[String]) -> Result<Lock, WorkflowError> {
    let invalid = |field, fix: &str| WorkflowError::Invalid {
        field,
        fix: fix.to_owned(),
    };
    if !fixed.is_empty() && passphrase.is_some() {
        return Err(invalid("passphrase", "is not taken: backup.recipients says whom backups are for"));
    }
    if !fixed.is_empty() && asked.iter().any(|one| !fixed.contains(one)) {
        return Err(invalid("recipients", "must be among those of backup.recipients"));
    }
    match (passphrase, asked.is_empty()) {
        (Some(_), false) => Err(invalid("recipients", "and a passphrase cannot go together: choose one")),
        (Some(passphrase), true) if passphrase.chars().count() < PASSPHRASE_MIN => Err(invalid(
            "passphrase",
            "must have at least 15 characters: whoever gets the file can try for ever",
        )),
        (Some(passphrase), true) => Ok(Lock::Passphrase(passphrase)),
        (None, true) if fixed.is_empty() => Err(invalid("passphrase", "is needed, or recipients")),
        (None, none) => {
            let chosen = if none { fixed } else { asked };
            Lock::to(chosen.iter().map(String::as_str)).map_err(|_| invalid("recipients", "must be age recipients, age1…"))
        }
    }
}

/// Begins a backup of a running portal: the audit log has it before anything leaves.
pub(crate) async fn begin(portal: &Portal, lock: &Lock, by: Actor) -> Result<Prepared, WorkflowError> {
    let BackedUpBy::Portal(store) = portal.backups.by.clone() else {
        return Err(WorkflowError::BackedUpByDatabase);
    };
    let sources = portal.backups.sources.clone();
    let files = blocking(move || files(&sources)).await??;
    portal.audit.append(taken(portal.now(), by, lock)).await?;
    let (sources, now) = (portal.backups.sources.clone(), portal.now());
    blocking(move || prepare(&sources, files, &*store, now)).await?
}

/// The audit log's entry.
pub(crate) fn taken(now: OffsetDateTime, by: Actor, lock: &Lock) -> AuditEvent {
    AuditEvent::new(now, by, AuditAction::BackupTaken).with("for", lock.word())
}

/// Begins the snapshot. Blocking.
pub(crate) fn prepare(
    sources: &Sources,
    files: Vec<NamedFile>,
    store: &dyn BackupStore,
    now: OffsetDateTime,
) -> Result<Prepared, WorkflowError> {
    let (point, rows) = store.begin_backup()?;
    Ok(Prepared {
        at: now,
        head: head(sources, store.kind(), &point, now),
        files,
        rows,
    })
}

fn head(sources: &Sources, store: &str, point: &BackupPoint, now: OffsetDateTime) -> String {
    let instant = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    json!({
        "format": FORMAT,
        "layout": sources.layout,
        "store": store,
        "portal": HEXLOWER.encode(&sources.portal),
        "taken_at": instant(now),
        "by": format!("nightdrop {}", crate::version::VERSION),
        "decision": point.decision,
        "audit": {"sequence": point.sequence, "hash": HEXLOWER.encode(&point.hash), "at": instant(point.at)},
    })
    .to_string()
}

/// The keys folder's own files, and the configuration. What lies elsewhere (a key file on another disk, a credential, a passphrase) was put there to be apart, and
/// stays apart. Blocking.
pub(crate) fn files(sources: &Sources) -> Result<Vec<NamedFile>, WorkflowError> {
    let failed = |path: &Path, error: std::io::Error| WorkflowError::Internal(Cause::from(format!("{}: {error}", path.display())));
    let mut files = Vec::new();
    let folder = std::fs::read_dir(&sources.keys).map_err(|e| failed(&sources.keys, e))?;
    let mut names: Vec<String> = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    for name in names.iter().filter(|name| is_key(name)) {
        let path = sources.keys.join(name);
        files.push((format!("{KEYS}{name}"), read_small(&path).map_err(|e| failed(&path, e))?));
    }
    if let Some(path) = &sources.configuration {
        files.push((CONFIGURATION.to_owned(), read_small(path).map_err(|e| failed(path, e))?));
    }
    Ok(files)
}

/// Whether a file of the keys folder goes into a backup, and out of one into a keys folder.
pub(crate) fn is_key(name: &str) -> bool {
    let half = |end: &str| {
        let stem = name.strip_suffix(end);
        stem.is_some_and(|stem| stem.len() == 32 && stem.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    matches!(name, "portal.secrets" | "current" | "kek") || half(".key") || half(".pub")
}

fn read_small(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read;
    let file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    if length > FILE_MAX {
        return Err(std::io::Error::other("is longer than a key or a configuration can be"));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1));
    file.take(FILE_MAX).read_to_end(&mut content)?;
    Ok(content)
}

/// Writes it to its end. Blocking; takes as long as the passphrase's work and the store are large.
pub(crate) fn write<W: Write>(prepared: Prepared, lock: &Lock, out: W) -> std::io::Result<W> {
    let Prepared {
        head,
        files,
        rows: mut reader,
        ..
    } = prepared;
    let mut writer = FrameWriter::begin(lock, out)?;
    writer.frame(HEAD, head.as_bytes())?;
    for (name, content) in files {
        let length = u16::try_from(name.len()).map_err(std::io::Error::other)?;
        let mut body = Zeroizing::new(length.to_be_bytes().to_vec());
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&content);
        writer.frame(FILE, &body)?;
    }
    let mut body = Vec::with_capacity(ROWS_MAX + (128 << 10));
    loop {
        let rows = reader.next_rows().map_err(std::io::Error::other)?;
        let ended = rows.is_empty();
        for (key, value) in rows {
            for part in [&key, &value] {
                let length = u32::try_from(part.len()).map_err(std::io::Error::other)?;
                body.extend_from_slice(&length.to_be_bytes());
                body.extend_from_slice(part);
            }
            if body.len() >= ROWS_MAX {
                writer.frame(ROWS, &body)?;
                body.clear();
            }
        }
        if ended {
            break;
        }
    }
    if !body.is_empty() {
        writer.frame(ROWS, &body)?;
    }
    writer.finish()
}
