//! Immutable encrypted chunks under random keys. No chunk is durable by itself: [`PartWriter::sync`] makes it so, and what it returns is what a transition needs to
//! name the chunk.

use async_trait::async_trait;
use bytes::Bytes;

use super::StorageError;
use crate::chain::Cause;
use crate::domain::document::Durable;
use crate::domain::id::DocumentId;

/// Immutable sealed chunks under random keys.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Begins a file of a document; with `from` above 0 goes on with one behind so many chunks, which were durable. Nothing else of it stays: neither a file
    /// that stood under this name, nor chunks behind those. One writer for each file at a time.
    async fn writer(&self, document: DocumentId, file_index: u8, from: u32) -> Result<Box<dyn PartWriter>, StorageError>;
    /// `None`: looked for without an error, and there is no such file. [`ReadError::Final`] when it ends before the chunk.
    async fn get(&self, key: BlobKey) -> Result<Option<Bytes>, ReadError>;
    /// Deletes everything of a document, durably when this returns. Idempotent, also while another task does the same.
    async fn delete(&self, document: DocumentId) -> Result<(), StorageError>;
    /// The same for one file of a document.
    async fn delete_file(&self, document: DocumentId, file_index: u8) -> Result<(), StorageError>;
    /// Documents that have files here, ascending, for the sweep of orphans.
    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError>;
    /// Whether there is room for `bytes` more, with the reserve that purging and reopening need left over.
    fn room_for(&self, bytes: u64) -> bool;
}

/// Writes one file of a document, chunk by chunk. After an error it answers nothing but that error.
#[async_trait]
pub trait PartWriter: Send + Sync {
    /// The next sealed chunk: 65,552 bytes, or fewer if it is the last. Not durable yet, and not surely found yet.
    async fn put(&mut self, chunk: &[u8]) -> Result<(), StorageError>;
    /// Returns when [`BlobStore::get`] finds every chunk put so far, durable or not. Nothing is to be done where a chunk is found as soon as it was put.
    async fn show(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
    /// Makes every chunk put so far durable.
    async fn sync(&mut self) -> Result<Durable, StorageError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey {
    pub document: DocumentId,
    pub file_index: u8,
    pub chunk: u32,
}

/// Why kept bytes did not come out, sorted by what may follow from it. The two are never one: an outage is no damage, and only damage may lead to a
/// verdict on a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store could not be read now (an I/O error, busy, shutting down): says nothing about the bytes. Try again later.
    #[error("cannot be read at the moment")]
    Transient(#[source] Cause),
    /// Read without an error, and not what was written (a wrong length, a broken index): trying again changes nothing.
    #[error("is damaged")]
    Final(#[source] Cause),
}

/// For callers that only hand it on.
impl From<ReadError> for StorageError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Transient(why) => Self::Busy(why),
            ReadError::Final(why) => Self::Corrupt(why),
        }
    }
}
