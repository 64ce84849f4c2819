//! The audit log.

use async_trait::async_trait;

use super::PostgresStore;
use super::columns::{append, decode};
use crate::domain::audit::{AuditEntry, AuditEvent};
use crate::domain::id::RequestId;
use crate::storage::{AuditLog, StorageError};

/// Entries of one request that are shown.
const TIMELINE: i64 = 1_000;

#[async_trait]
impl AuditLog for PostgresStore {
    async fn append(&self, event: AuditEvent) -> Result<(), StorageError> {
        transaction!(self, |_core, tx, event| append(tx, vec![event]).await)
    }

    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StorageError> {
        let (after, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
        query!(self, |tx, after, limit| {
            let sql = "SELECT row FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2";
            let rows = tx.rows(sql, &[&after, &limit]).await?;
            rows.iter().map(|row| decode(row, 0)).collect()
        })
    }

    async fn timeline(&self, request: RequestId) -> Result<Vec<AuditEntry>, StorageError> {
        query!(self, |tx, request| {
            let sql = "SELECT row FROM audit WHERE timeline = $1 ORDER BY sequence LIMIT $2";
            let rows = tx.rows(sql, &[&request.0.as_slice(), &TIMELINE]).await?;
            rows.iter().map(|row| decode(row, 0)).collect()
        })
    }
}
