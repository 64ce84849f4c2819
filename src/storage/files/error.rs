//! What may go wrong with one file of a document. None of it says anything about another document.

use std::fmt;
use std::io;

use crate::storage::{Cause, ReadError, StorageError};

/// Why a chunk was not put, synced, read or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// No space on the disk. Purging frees some: transient.
    Full,
    /// The kernel could not do it now (an I/O error, too many open files, a file system gone read-only): transient, nothing was acknowledged. A writer that
    /// met it is over; a new one may have more luck.
    Busy(String),
    /// The file was deleted while it was written: final.
    Gone,
    /// The file ends before the chunk: final, part of the document is lost.
    Short,
    /// A mistake in this program: final.
    Misused(&'static str),
}

impl FileError {
    /// Sorts an error of the kernel.
    pub(super) fn sort(doing: &'static str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => {
                tracing::error!(%error, "{doing}");
                Self::Busy(format!("{doing}: {error}"))
            }
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the disk is full"),
            Self::Busy(why) => f.write_str(why),
            Self::Gone => f.write_str("the document was deleted meanwhile"),
            Self::Short => f.write_str("a file of a document is shorter than its chunks"),
            Self::Misused(how) => f.write_str(how),
        }
    }
}

impl std::error::Error for FileError {}

impl From<FileError> for StorageError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Full => Self::Full,
            FileError::Busy(_) => Self::Busy,
            FileError::Gone => Self::NotFound,
            FileError::Short | FileError::Misused(_) => Self::Corrupt(Cause::new(error)),
        }
    }
}

impl From<FileError> for ReadError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Full | FileError::Busy(_) => Self::Transient(error.to_string()),
            FileError::Gone | FileError::Short | FileError::Misused(_) => Self::Final(error.to_string()),
        }
    }
}
