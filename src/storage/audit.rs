//! The hash-chained audit log.

use async_trait::async_trait;

use super::StorageError;
use crate::domain::audit::{AuditEntry, AuditEvent};
use crate::domain::id::RequestId;

/// The hash-chained log.
#[async_trait]
pub trait AuditLog: Send + Sync {
    async fn append(&self, event: AuditEvent) -> Result<(), StorageError>;
    /// Entries with a higher number than `after`, oldest first.
    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StorageError>;
    /// Entries of one request, oldest first.
    async fn timeline(&self, request: RequestId) -> Result<Vec<AuditEntry>, StorageError>;
}
