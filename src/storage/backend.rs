//! What a portal asks of a store itself, whichever it is, beside its records: the values that bind it to its portal, whether it works, what it has counted.

use async_trait::async_trait;

use super::probe::Unproved;
use super::{AuditLog, Directory, Outbox, RequestStore, StorageError};

/// A store as a whole.
#[async_trait]
pub trait Backend: Send + Sync {
    /// A number or text that belongs to this store, such as the uuid of its slots file.
    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError>;
    /// Durable when it returns.
    async fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), StorageError>;
    /// The hash of one entry of the audit log.
    async fn audit_hash(&self, sequence: u64) -> Result<Option<[u8; 32]>, StorageError>;
    /// Fails once the store cannot work again in this process. A store elsewhere that is merely away comes back by itself, and is no failure.
    fn alive(&self) -> Result<(), StorageError>;
    /// Proves that a write becomes durable now, or within the last few seconds did.
    async fn proves_writing(&self) -> Result<(), Unproved>;
    /// Returns when everything that was written is durable, also what need not be.
    async fn flush(&self) -> Result<(), StorageError>;
    fn figures(&self) -> Figures;
}

/// What a store has counted since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figures {
    Embedded {
        /// Commits that were answered after their sync.
        acknowledged: u64,
        /// Syncs that answered them.
        flushes: u64,
    },
    Database(DatabaseMetrics),
}

/// Of a database: counters, and how its connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseMetrics {
    /// Whether this portal holds the database, and it answers.
    pub held: bool,
    pub commits: u64,
    /// Transactions that others, or a broken connection, have rolled back and that were tried again.
    pub retries: u64,
    /// Commits whose outcome could not be told.
    pub unknown: u64,
    pub connections: usize,
    /// Operations that wait for a connection.
    pub waiting: usize,
}

/// All records of a store, and the store itself.
pub trait Records: RequestStore + Directory + AuditLog + Outbox + Backend {}

impl<S: RequestStore + Directory + AuditLog + Outbox + Backend> Records for S {}
