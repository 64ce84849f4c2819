//! What can go wrong in the embedded store, sorted by what the caller may do next.
//!
//! Every variant says whether the write happened. It never carries stored bytes or keys.

use std::fmt;

use crate::storage::ReadError;

/// An error of the embedded store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Another process (or another handle in this one) holds the directory. Nothing was touched.
    Held,
    /// The start-up self-check failed: log writes would not be synced. The store stays closed.
    NotDurable(&'static str),
    /// The disk is too full.
    ///
    /// `must_reopen: false`: refused beforehand, nothing was applied, the store goes on and may be asked again.
    /// `must_reopen: true`: sled itself ran out of space. What was not yet acknowledged may or may not have
    /// survived; this handle answers nothing but this error, and the abort hook has been called. The next open
    /// releases the ballast when needed.
    Full { must_reopen: bool },
    /// A value above the limit, or an empty one where bytes are needed. Nothing was written.
    Size { bytes: usize, limit: usize },
    /// The data folder has the layout of an earlier version. Nothing was touched.
    Older,
    /// sled spilled a record into an unsynced side file. Nothing more is acknowledged by this handle.
    Spilled,
    /// The files cannot be read as a store, or hold something impossible. Restore from a backup.
    Corrupt(String),
    /// An I/O error while reading or opening. Nothing was written.
    Io(String),
    /// The outcome of the last writes is unknown; this handle is dead and the abort hook has been called.
    Unknown(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => out.write_str("another nightdrop holds this directory"),
            Self::NotDurable(why) => write!(out, "log writes would not survive a power cut: {why}"),
            Self::Full { must_reopen: false } => out.write_str("the disk is too full to accept this"),
            Self::Full { must_reopen: true } => out.write_str("the disk ran full while writing; the store must be opened again"),
            Self::Size { bytes, limit } => {
                write!(out, "a value of {bytes} bytes is outside 1..={limit}")
            }
            Self::Older => out.write_str("this folder was made by an earlier, unreleased version; make a new one with `nightdrop init`"),
            Self::Spilled => out.write_str("the database spilled a record into an unsynced file"),
            Self::Corrupt(what) => write!(out, "the database is damaged: {what}"),
            Self::Io(what) => write!(out, "the database cannot be read: {what}"),
            Self::Unknown(what) => write!(out, "the outcome of the last writes is unknown: {what}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Damage is final; everything else that can go wrong while reading is an outage.
impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt(why) => Self::Final(why),
            StoreError::Size { .. } => Self::Final(error.to_string()),
            StoreError::Held
            | StoreError::Older
            | StoreError::NotDurable(_)
            | StoreError::Full { .. }
            | StoreError::Spilled
            | StoreError::Io(_)
            | StoreError::Unknown(_) => Self::Transient(error.to_string()),
        }
    }
}

/// Sorts an error that sled answered to a read or to opening.
pub(super) fn from_read(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(io) if is_full(&io) => StoreError::Full { must_reopen: true },
        ::sled::Error::Io(io) => StoreError::Io(io.to_string()),
        ::sled::Error::Corruption { at, .. } => StoreError::Corrupt(format!("at {at:?}")),
        other => StoreError::Corrupt(other.to_string()),
    }
}

/// Sorts an error that sled answered to a write or a flush: from here on the log's state is unknown.
pub(super) fn from_write(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(io) if is_full(&io) => StoreError::Full { must_reopen: true },
        other => StoreError::Unknown(other.to_string()),
    }
}

/// An error of the files around sled's.
impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) {
            Self::Full { must_reopen: true }
        } else {
            Self::Io(error.to_string())
        }
    }
}

/// Whether an I/O error means "no space": sled copies errors by kind and loses the number.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
