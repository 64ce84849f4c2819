//! Reading a backup: nothing of it is believed before all of it has been read. Beside the container's own checks, the audit log is recomputed from its first entry to the
//! point that the head names, every receipt is verified, every account, session and API key carries this portal's MAC, and every request can be read. What does not fit
//! there was so in the portal, since nobody changes the container: it is told, and keeps nobody from what else is in the backup.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{CONFIGURATION, FILE, FORMAT, HEAD, KEYS, ROWS, is_key};
use crate::crypto::archive::{ArchiveError, Frame, FrameReader, Opener};
use crate::crypto::receipt;
use crate::crypto::secrets::PortalSecrets;
use crate::domain::audit::{AuditAction, AuditEntry, GENESIS, canonical, chain_hash};
use crate::domain::receipt::{DeletionReceipt, SignedReceipt};
use crate::domain::request::DocumentRequest;
use crate::storage::backup::Row;
use crate::storage::key;
use crate::storage::record::Record;
use crate::storage::seal::{MAC_LEN, Seal};
use crate::workflow::seal::RowSeal;

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("{}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    #[error("{}", .0.display())]
    Archive(PathBuf, #[source] ArchiveError),
    /// It opens, and what it holds does not fit together.
    #[error("{path}: {what}", path = .0.display(), what = .1)]
    Unfit(PathBuf, String),
}

/// What a backup says of itself, which is true once it was read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub layout: u32,
    pub portal: [u8; 16],
    pub taken_at: String,
    /// Decisions of the store, and the last audit entry with its hash.
    pub decision: u64,
    pub audit: u64,
    pub audit_hash: [u8; 32],
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub rows: u64,
    pub requests: u64,
    pub audit_entries: u64,
    pub receipts: u64,
    pub accounts: u64,
    pub api_keys: u64,
}

/// A backup that was read to its end and holds what it says.
pub(crate) struct Contents {
    pub head: Head,
    pub counts: Counts,
    /// What was not as the portal writes it when the backup was taken: the portal itself tells of such rows, and refuses them.
    pub faults: Vec<String>,
    /// By their names: `keys/…`, `nightdrop.toml`.
    pub files: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Contents {
    pub(crate) fn configuration(&self) -> Option<&[u8]> {
        self.files.get(CONFIGURATION).map(|content| content.as_slice())
    }

    /// Names and contents of the keys folder.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let keys = self
            .files
            .iter()
            .filter_map(|(name, content)| Some((name.strip_prefix(KEYS)?, content)));
        keys.map(|(name, content)| (name, content.as_slice()))
    }
}

/// A backup on a disk with what opens it.
pub(crate) struct BackupFile {
    path: PathBuf,
    opener: Opener,
    told: Told,
}

/// Told of the bytes that were read, and of how many there are.
type Told = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// A file that tells how far it was read.
struct Counted {
    file: std::fs::File,
    read: u64,
    whole: u64,
    told: Told,
}

impl std::io::Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read(into)?;
        self.read += length as u64;
        (self.told)(self.read, self.whole);
        Ok(length)
    }
}

impl BackupFile {
    /// `told` hears how far it was read each time.
    pub(crate) fn new(path: &Path, opener: Opener, told: Told) -> Self {
        Self {
            path: path.to_owned(),
            opener,
            told,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all of it and checks that everything in it fits together.
    pub(crate) fn verify(&self) -> Result<Contents, BackupError> {
        let mut frames = self.frames()?;
        let mut check: Option<Check> = None;
        let mut files = BTreeMap::new();
        let head = frames.head()?;
        while let Some((kind, body)) = frames.next_frame()? {
            match kind {
                FILE if check.is_none() => {
                    let (name, content) = self.fits(named(&body).ok_or_else(|| "a file in it has no name".to_owned()))?;
                    let expected = name == CONFIGURATION || name.strip_prefix(KEYS).is_some_and(is_key);
                    self.fits(
                        expected
                            .then_some(())
                            .ok_or_else(|| format!("it holds a file that no backup has ({name:?})")),
                    )?;
                    files.insert(name, content);
                }
                ROWS => {
                    let check = match &mut check {
                        Some(check) => check,
                        none => none.insert(self.fits(Check::begin(&head, &files))?),
                    };
                    for (key, value) in self.fits(rows(&body))? {
                        self.fits(check.row(&key, &value))?;
                    }
                }
                _ => return Err(self.unfit("it holds something that this version does not know; use a newer one")),
            }
        }
        let check = check.ok_or_else(|| self.unfit("it holds no rows"))?;
        let (counts, faults) = check.end(&head);
        Ok(Contents {
            head,
            counts,
            faults,
            files,
        })
    }

    /// The rows of a backup that was verified, a frame at a time; none at the end.
    pub(crate) fn rows(&self) -> Result<impl FnMut() -> Result<Vec<Row>, BackupError>, BackupError> {
        let mut frames = self.frames()?;
        frames.head()?;
        Ok(move || {
            loop {
                match frames.next_frame()? {
                    None => return Ok(Vec::new()),
                    Some((ROWS, body)) => return frames.file.fits(rows(&body)),
                    Some(_) => {}
                }
            }
        })
    }

    fn frames(&self) -> Result<Frames<'_>, BackupError> {
        let opened = std::fs::File::open(&self.path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (whole, file) = opened.map_err(|e| BackupError::File(self.path.clone(), e))?;
        let input = Counted {
            file,
            read: 0,
            whole,
            told: Arc::clone(&self.told),
        };
        let reader = FrameReader::open(&self.opener, input).map_err(|e| BackupError::Archive(self.path.clone(), e))?;
        Ok(Frames { file: self, reader })
    }

    fn fits<T>(&self, found: Result<T, String>) -> Result<T, BackupError> {
        found.map_err(|what| self.unfit(&what))
    }

    fn unfit(&self, what: &str) -> BackupError {
        BackupError::Unfit(self.path.clone(), what.to_owned())
    }
}

struct Frames<'f> {
    file: &'f BackupFile,
    reader: FrameReader,
}

impl Frames<'_> {
    fn next_frame(&mut self) -> Result<Option<Frame>, BackupError> {
        let frame = self.reader.next_frame();
        frame.map_err(|e| BackupError::Archive(self.file.path.clone(), e))
    }

    fn head(&mut self) -> Result<Head, BackupError> {
        match self.next_frame()? {
            Some((HEAD, body)) => self.file.fits(head_of(&body)),
            _ => Err(self.file.unfit("it does not begin with a head")),
        }
    }
}

fn head_of(body: &[u8]) -> Result<Head, String> {
    let wrong = || "its head cannot be read".to_owned();
    let head: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    match head["format"].as_u64() {
        Some(FORMAT) => {}
        Some(other) => return Err(format!("it has format {other}, which this version does not read")),
        None => return Err(wrong()),
    }
    if head["store"] != "sled" {
        return Err("it is of another kind of store".to_owned());
    }
    fn bytes<const N: usize>(value: &Value) -> Option<[u8; N]> {
        HEXLOWER.decode(value.as_str()?.as_bytes()).ok()?.try_into().ok()
    }
    let read = || {
        Some(Head {
            layout: u32::try_from(head["layout"].as_u64()?).ok()?,
            portal: bytes(&head["portal"])?,
            taken_at: head["taken_at"].as_str()?.to_owned(),
            decision: head["decision"].as_u64()?,
            audit: head["audit"]["sequence"].as_u64()?,
            audit_hash: bytes(&head["audit"]["hash"])?,
        })
    };
    read().ok_or_else(wrong)
}

fn named(body: &[u8]) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (name, content) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(name).ok()?.to_owned(), Zeroizing::new(content.to_vec())))
}

fn rows(mut body: &[u8]) -> Result<Vec<Row>, String> {
    let mut part = || {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        body = rest;
        Some((part.to_vec(), rest.is_empty()))
    };
    let mut rows = Vec::new();
    loop {
        let cut = || "a row in it is cut off".to_owned();
        let (key, _) = part().ok_or_else(cut)?;
        let (value, last) = part().ok_or_else(cut)?;
        rows.push((key, value));
        if last {
            return Ok(rows);
        }
    }
}

/// Faults that are named; the rest is counted by nobody.
const FAULTS: usize = 20;

/// What all rows together must fit.
struct Check {
    seal: RowSeal,
    signer: [u8; 32],
    counts: Counts,
    faults: Vec<String>,
    last_key: Vec<u8>,
    audit: (u64, [u8; 32]),
    receipt: (u64, [u8; 32]),
    /// Receipts up to this number were dropped after their time, as the audit log says.
    dropped: u64,
}

impl Check {
    fn begin(head: &Head, files: &BTreeMap<String, Zeroizing<Vec<u8>>>) -> Result<Self, String> {
        let secrets = files.get("keys/portal.secrets").ok_or("it holds no portal secrets")?;
        let secrets = PortalSecrets::parse(secrets).map_err(|what| format!("the portal's secrets in it: the file {what}"))?;
        if secrets.portal() != head.portal {
            return Err("the portal's secrets in it are of another portal".to_owned());
        }
        Ok(Self {
            signer: receipt::public_key(&secrets),
            seal: RowSeal(Arc::new(secrets)),
            counts: Counts::default(),
            faults: Vec::new(),
            last_key: Vec::new(),
            audit: (0, GENESIS),
            receipt: (0, DeletionReceipt::genesis()),
            dropped: 0,
        })
    }

    fn row(&mut self, k: &[u8], value: &[u8]) -> Result<(), String> {
        if k <= self.last_key.as_slice() {
            return Err("its rows are not in order".to_owned());
        }
        self.last_key = k.to_vec();
        self.counts.rows += 1;
        let fault = match k[0] {
            key::AUDIT => self.audit_entry(value),
            key::RECEIPT => self.receipt(value),
            key::REQUEST => {
                self.counts.requests += 1;
                let unreadable = DocumentRequest::decode(value).is_err();
                unreadable.then(|| "a request cannot be read".to_owned())
            }
            key::AGENT => {
                self.counts.accounts += 1;
                self.unsealed(k, value, "an account")
            }
            key::API_KEY => {
                self.counts.api_keys += 1;
                self.unsealed(k, value, "an API key")
            }
            key::SESSION => self.unsealed(k, value, "a session"),
            _ => None,
        };
        self.faults.extend(fault.filter(|_| self.faults.len() < FAULTS));
        Ok(())
    }

    fn unsealed(&self, k: &[u8], value: &[u8], what: &str) -> Option<String> {
        let fits = value
            .split_at_checked(MAC_LEN)
            .is_some_and(|(mac, row)| self.seal.fits(k, row, mac));
        (!fits).then(|| format!("{what} is not as the portal wrote it"))
    }

    fn audit_entry(&mut self, value: &[u8]) -> Option<String> {
        self.counts.audit_entries += 1;
        let expected = self.audit.0 + 1;
        let Ok(entry) = AuditEntry::decode(value) else {
            self.audit.0 = expected;
            return Some(format!("audit entry {expected} cannot be read"));
        };
        if entry.event.action == AuditAction::ReceiptsDropped {
            let last = entry.event.detail.iter().find(|(name, _)| name == "last");
            self.dropped = last.and_then(|(_, last)| last.parse().ok()).unwrap_or(self.dropped);
        }
        let line = canonical(entry.sequence, &entry.event);
        let fits = chain_hash("nightdrop/v1/audit", &self.audit.1, line.as_bytes()) == entry.hash;
        let whole = fits && entry.sequence == expected;
        self.audit = (entry.sequence, entry.hash);
        (!whole).then(|| format!("the audit log is not whole at entry {expected}"))
    }

    fn receipt(&mut self, value: &[u8]) -> Option<String> {
        self.counts.receipts += 1;
        let is_first = self.receipt.0 < self.dropped;
        let number = self.receipt.0.max(self.dropped) + 1;
        let altered = Some(format!("deletion receipt {number} is not the one that was signed"));
        let Ok(stored) = SignedReceipt::decode(value) else {
            self.receipt.0 = number;
            return altered;
        };
        if is_first {
            self.receipt.1 = stored.receipt.previous;
        }
        let read = receipt::verify(&stored.text, Some(&self.signer));
        let whole = read.is_ok_and(|read| read.receipt.number == number && read.receipt.previous == self.receipt.1);
        self.receipt = (stored.receipt.number, stored.receipt.hash);
        altered.filter(|_| !whole)
    }

    fn end(mut self, head: &Head) -> (Counts, Vec<String>) {
        if self.audit != (head.audit, head.audit_hash) {
            self.faults
                .push(format!("the audit log does not end with entry {}, as the head says", head.audit));
        }
        (self.counts, self.faults)
    }
}
