//! What can go wrong in the embedded store, sorted by what the caller may do next.
//!
//! Every variant says whether the write happened. It never carries stored bytes or keys.

use std::fmt;

use time::format_description::well_known::Rfc3339;

use crate::chain::Cause;
use crate::storage::ReadError;
use crate::storage::clock::from_ms;

/// How a store stands to its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkStanding {
    /// At its mark or further.
    Current,
    /// It ends earlier.
    Behind(Lost),
    /// It has another history than the one that the mark was written of.
    Other,
}

/// What a store has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub decisions: u64,
    pub entries: u64,
    /// The instant of the last entry that is still there, and of the last one that was, in milliseconds since 1970; 0 if there is none.
    pub since: i64,
    pub until: i64,
}

impl fmt::Display for MarkStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = |ms: i64| from_ms(ms).format(&Rfc3339).unwrap_or_default();
        match self {
            Self::Current => f.write_str("it is at its high-water mark"),
            Self::Behind(lost) => {
                let Lost { decisions, entries, .. } = lost;
                write!(
                    f,
                    "it ends before its high-water mark: {decisions} decisions and {entries} audit entries are missing"
                )?;
                match (lost.since, lost.until) {
                    (0, 0) => Ok(()),
                    (0, until) => write!(f, ", all of them up to {}", instant(until)),
                    (since, until) => write!(f, ", behind {} and up to {}", instant(since), instant(until)),
                }
            }
            Self::Other => f.write_str("its audit log is not the one that its high-water mark was written of"),
        }
    }
}

/// An error of the embedded store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process (or another handle in this one) holds the directory. Nothing was touched.
    #[error("another nightdrop holds this directory")]
    Held,
    /// The start-up self-check failed: log writes would not be synced. The store stays closed.
    #[error("log writes would not survive a power cut: {0}")]
    NotDurable(&'static str),
    /// The disk is too full.
    ///
    /// `must_reopen: false`: refused beforehand, nothing was applied, the store goes on and may be asked again.
    /// `must_reopen: true`: sled itself ran out of space. What was not yet acknowledged may or may not have
    /// survived; this handle answers nothing but this error, and the abort hook has been called. The next open
    /// releases the ballast when needed.
    #[error("{}", if *must_reopen { "the disk ran full while writing; the store must be opened again" } else { "the disk is too full to accept this" })]
    Full { must_reopen: bool },
    /// A value above the limit, or an empty one where bytes are needed. Nothing was written.
    #[error("a value of {bytes} bytes is outside 1..={limit}")]
    Size { bytes: usize, limit: usize },
    /// The data folder has the layout of an earlier version. Nothing was touched.
    #[error("this folder was made by an earlier, unreleased version; make a new one with `nightdrop init`")]
    Older,
    /// sled spilled a record into an unsynced side file. Nothing more is acknowledged by this handle.
    #[error("the database spilled a record into an unsynced file")]
    Spilled,
    /// The files cannot be read as a store, or hold something impossible. Restore from a backup.
    #[error("the database is damaged")]
    Corrupt(#[source] Cause),
    /// The store ends before its high-water mark, or has another history: acknowledged decisions are missing. It stays closed.
    #[error("{0}")]
    Behind(MarkStanding),
    /// It is the store of another portal. It stays closed.
    #[error("it holds another portal's records")]
    Foreign,
    /// An I/O error while reading or opening. Nothing was written.
    #[error("the database cannot be read")]
    Io(#[source] Cause),
    /// The outcome of the last writes is unknown; this handle is dead and the abort hook has been called.
    #[error("the outcome of the last writes is unknown")]
    Unknown(#[source] Cause),
}

/// Damage is final; everything else that can go wrong while reading is an outage.
impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt(why) => Self::Final(why),
            StoreError::Size { .. } => Self::Final(Cause::new(error)),
            StoreError::Held
            | StoreError::Older
            | StoreError::Behind(_)
            | StoreError::Foreign
            | StoreError::NotDurable(_)
            | StoreError::Full { .. }
            | StoreError::Spilled
            | StoreError::Io(_)
            | StoreError::Unknown(_) => Self::Transient(Cause::new(error)),
        }
    }
}

/// Sorts an error that sled answered to a read or to opening.
pub(super) fn from_read(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(io) if is_full(&io) => StoreError::Full { must_reopen: true },
        ::sled::Error::Io(io) => StoreError::Io(Cause::new(io)),
        ::sled::Error::Corruption { at, .. } => StoreError::Corrupt(format!("at {at:?}").into()),
        other => StoreError::Corrupt(Cause::new(other)),
    }
}

/// Sorts an error that sled answered to a write or a flush: from here on the log's state is unknown.
pub(super) fn from_write(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(io) if is_full(&io) => StoreError::Full { must_reopen: true },
        other => StoreError::Unknown(Cause::new(other)),
    }
}

/// An error of the files around sled's.
impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) {
            Self::Full { must_reopen: true }
        } else {
            Self::Io(Cause::new(error))
        }
    }
}

/// Whether an I/O error means "no space": sled copies errors by kind and loses the number.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
