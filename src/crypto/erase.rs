//! What an erasure store promises: one secret per submission, and that a destroyed secret is gone.
//!
//! The store is the only place of these secrets. It is in no backup, and losing it loses the documents that were not
//! yet delivered; that is the price of an erasure that holds against old copies of everything else.

use std::io;

use super::secret::ErasureSecret;

pub use crate::domain::document::SlotRef;

/// A secret that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSlot {
    /// The submission it belongs to.
    pub doc_id: [u8; 16],
    /// Its place.
    pub slot: SlotRef,
}

/// How far a destruction could be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBack {
    /// Zeros were read back past the page cache.
    Direct,
    /// Zeros were written and synced, but this file system has no way around the page cache.
    Buffered,
    /// The store never had the secret on a disk.
    Memory,
}

/// What an erasure store answers when it cannot do as asked.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The slot is empty: the secret was destroyed, or never written.
    #[error("the erasure secret is gone")]
    Erased,
    /// The slot belongs to another submission by now; it was not touched.
    #[error("the slot belongs to another submission")]
    OtherOwner,
    /// The slot's content fails its check; it was not used.
    #[error("the slot fails its check")]
    Damaged,
    /// No place is free. Purging makes one.
    #[error("no erasure slot is free")]
    SlotsFull,
    /// The index is outside the store.
    #[error("there is no such slot")]
    NoSuchSlot,
    /// An earlier write could not be made durable; the store refuses everything until it is opened again.
    #[error("an earlier write of the erasure store was not durable")]
    Poisoned,
    /// No random bytes.
    #[error("no random bytes")]
    Random,
    /// Reading or writing failed.
    #[error("the erasure store failed")]
    Io(#[from] io::Error),
    /// The store cannot be opened; the text says why and what to do.
    #[error("{0}")]
    Unusable(String),
}

impl EraseError {
    /// Whether the same call may succeed later: nothing is known to be wrong with the secret, only with the way to it. The others are final.
    pub fn is_transient(&self) -> bool {
        match self {
            EraseError::SlotsFull | EraseError::Poisoned | EraseError::Random | EraseError::Io(_) => true,
            EraseError::Erased | EraseError::OtherOwner | EraseError::Damaged | EraseError::NoSuchSlot | EraseError::Unusable(_) => false,
        }
    }
}

/// Keeps erasure secrets. All calls block until what they promise is durable.
pub trait ErasureStore: Send + Sync {
    /// Keeps a secret durably and says where. To be called before the first chunk of the document is stored.
    fn put(&self, doc_id: &[u8; 16], secret: &ErasureSecret) -> Result<SlotRef, EraseError>;

    /// Reads a secret back.
    fn get(&self, doc_id: &[u8; 16], slot: &SlotRef) -> Result<ErasureSecret, EraseError>;

    /// Destroys a secret: afterwards no reader of the medium's logical blocks finds it. Repeating it is fine and makes
    /// sure again; a slot of another owner is never touched.
    fn destroy(&self, doc_id: &[u8; 16], slot: &SlotRef) -> Result<ReadBack, EraseError>;

    /// All live secrets, so that those without a document can be destroyed.
    fn live(&self) -> Result<Vec<LiveSlot>, EraseError>;

    /// What is in use by somebody, but fails its check: it cannot be read and was not destroyed. With the owner as far as it can be made out, which may
    /// be nobody's id.
    fn damaged(&self) -> Result<Vec<LiveSlot>, EraseError>;

    /// Destroys one of `damaged`, for a caller who knows that no document and nothing else has this place.
    fn destroy_damaged(&self, slot: &LiveSlot) -> Result<ReadBack, EraseError>;

    /// Whether secrets can be written: the last write succeeded, or one that is tried now does.
    fn ready(&self) -> Result<(), EraseError>;

    /// Places that are free now; 0 means that uploads must be refused before their body is read.
    fn free(&self) -> Result<u64, EraseError>;
}
