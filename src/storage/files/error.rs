//! What may go wrong with one file of a document. None of it says anything about another document.

use std::io;

use crate::chain::Cause;
use crate::storage::{ReadError, StorageError};

/// Why a chunk was not put, synced, read or deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No space on the disk. Purging frees some: transient.
    #[error("the disk is full")]
    Full,
    /// The kernel could not do it now (an I/O error, too many open files, a file system gone read-only): transient, nothing was acknowledged. A writer that
    /// met it is over; a new one may have more luck.
    #[error("{0}")]
    Busy(&'static str, #[source] Cause),
    /// The file was deleted while it was written: final.
    #[error("the document was deleted meanwhile")]
    Gone,
    /// The file ends before the chunk: final, part of the document is lost.
    #[error("a file of a document is shorter than its chunks")]
    Short,
    /// A mistake in this program: final.
    #[error("{0}")]
    Misused(&'static str),
}

impl FileError {
    /// Sorts an error of the kernel.
    pub(super) fn sort(doing: &'static str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Busy(doing, Cause::new(error)),
        }
    }
}

impl From<FileError> for StorageError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Full => Self::Full,
            FileError::Busy(..) => Self::Busy(Cause::new(error)),
            FileError::Gone => Self::NotFound,
            FileError::Short | FileError::Misused(_) => Self::Corrupt(Cause::new(error)),
        }
    }
}

impl From<FileError> for ReadError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Full | FileError::Busy(..) => Self::Transient(Cause::new(error)),
            FileError::Gone | FileError::Short | FileError::Misused(_) => Self::Final(Cause::new(error)),
        }
    }
}
