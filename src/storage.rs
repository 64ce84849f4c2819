//! Two seams, chosen at run time: records (small rows with transactions, the embedded [`sled`]) and blobs (immutable sealed chunks, [`files`]).
//!
//! * Every method of [`RequestStore`] is one atomic business operation, durable before it answers. Nothing that a reader is shown may be undone by a power cut:
//!   readers wait for what was applied before them to be durable.
//! * [`BlobStore`] keeps immutable chunks under random keys and knows nothing else. No chunk is durable by itself: [`PartWriter::sync`] makes it so, and what it
//!   returns is what a transition needs to name the chunk.
//! * Nothing here can open what it stores; keys and erasure secrets never come here.

mod audit;
mod blobs;
pub mod clock;
#[cfg(test)]
mod contract;
mod directory;
pub mod files;
pub mod key;
pub mod outbox;
pub mod record;
mod requests;
pub mod seal;
pub mod sled;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::domain::transition::Refusal;

pub use audit::AuditLog;
pub use blobs::{BlobKey, BlobStore, PartWriter, ReadError};
pub use directory::{Directory, Made};
pub use outbox::Outbox;
pub use requests::{Claimed, Cursor, Filter, Page, RequestStore};

/// One backend for all rows.
pub trait Records: RequestStore + Directory + AuditLog + Outbox {}
impl<T: RequestStore + Directory + AuditLog + Outbox> Records for T {}

/// An `Idempotency-Key`, already bound to its caller, and a digest of what was asked with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: [u8; 32],
    pub body: [u8; 32],
}

/// What failed below. It is shown with all of its sources, so that whoever logs the error that holds it logs the whole chain. Two are equal when they say the same.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(&*self.0))
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

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
    Busy,
    /// No space: provably not applied. Purging frees some.
    #[error("the disk is full")]
    Full,
    /// The commit's outcome is unknown: ask again.
    #[error("the store could not say whether it wrote: {0}")]
    Indeterminate(Cause),
    #[error("a stored row cannot be read: {0}")]
    Corrupt(Cause),
    /// A row that grants rights is not as the portal wrote it.
    #[error("a stored row was changed outside the portal: {0}")]
    Altered(seal::Altered),
}

/// An error with its sources, for the log: each behind the one that it caused.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the log was not synced")]
    struct NotSynced(#[source] std::io::Error);

    #[test]
    fn an_error_is_logged_with_what_caused_it() {
        let below = NotSynced(std::io::Error::other("Input/output error"));
        let error = StorageError::Indeterminate(Cause::new(below));
        assert_eq!(
            chain(&error),
            "the store could not say whether it wrote: the log was not synced: Input/output error"
        );
        assert_eq!(chain(&StorageError::Busy), "the store is busy");
    }
}
