//! Two seams, chosen at run time: records (small rows with transactions, the embedded [`sled`]) and blobs (immutable sealed chunks, [`files`]).
//!
//! * Every method of [`RequestStore`] is one atomic business operation, durable before it answers. Nothing that a reader is shown may be undone by a power cut:
//!   readers wait for what was applied before them to be durable.
//! * [`BlobStore`] keeps immutable chunks under random keys and knows nothing else. No chunk is durable by itself: [`PartWriter::sync`] makes it so, and what it
//!   returns is what a transition needs to name the chunk.
//! * Nothing here can open what it stores; keys and erasure secrets never come here.

mod audit;
pub(crate) mod backend;
pub(crate) mod backup;
mod blobs;
mod change_log;
pub(crate) mod clock;
#[cfg(test)]
mod contract;
mod directory;
pub(crate) mod files;
pub(crate) mod key;
pub(crate) mod outbox;
pub(crate) mod postgres;
pub(crate) mod probe;
pub(crate) mod record;
mod requests;
pub(crate) mod seal;
pub(crate) mod sled;

use crate::chain::Cause;
use crate::domain::transition::Refusal;

pub(crate) use audit::AuditLog;
pub use blobs::{BlobKey, BlobStore, PartWriter, ReadError};
pub(crate) use directory::{Directory, Made};
pub(crate) use outbox::Outbox;
pub(crate) use requests::{Claimed, Cursor, Page, RequestStore};
pub use requests::{Filter, WorkQueues};

/// An `Idempotency-Key`, already bound to its caller, and a digest of what was asked with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: [u8; 32],
    pub body: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    #[error("not found")]
    NotFound,
    /// Decided: do not repeat.
    #[error("{0}")]
    Refused(Refusal),
    #[error("{0} exists already")]
    Exists(&'static str),
    /// Provably not applied; try again.
    #[error("the store is busy")]
    Busy(#[source] Cause),
    /// No space: provably not applied. Purging frees some.
    #[error("the disk is full")]
    Full,
    /// The commit's outcome is unknown: ask again.
    #[error("the store could not say whether it wrote")]
    Indeterminate(#[source] Cause),
    #[error("a stored row cannot be read")]
    Corrupt(#[source] Cause),
    /// A row that grants rights is not as the portal wrote it.
    #[error("a stored row was changed outside the portal: {0}")]
    Altered(seal::Altered),
}
