//! The database as a whole.

use async_trait::async_trait;

use super::columns::decode;
use super::{PostgresStore, meta};
use crate::domain::audit::AuditEntry;
use crate::storage::StorageError;
use crate::storage::backend::{Backend, Figures};
use crate::storage::probe::Unproved;

/// The value whose write proves that the database takes writes.
const PROOF: &str = "write-proof";

#[async_trait]
impl Backend for PostgresStore {
    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        meta::read(&self.core.engine, name).await
    }

    async fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        meta::put(&self.core.engine, name, value.to_vec()).await
    }

    async fn audit_hash(&self, sequence: u64) -> Result<Option<[u8; 32]>, StorageError> {
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        query!(self, |tx, sequence| {
            let row = tx.row("SELECT row FROM audit WHERE sequence = $1", &[&sequence]).await?;
            row.map(|row| Ok(decode::<AuditEntry>(&row, 0)?.hash)).transpose()
        })
    }

    /// A database that is away comes back, and the same process goes on with it.
    fn alive(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// One that is slow or away is no reason to start this process anew, so it is never said to hang.
    async fn proves_writing(&self) -> Result<(), Unproved> {
        let write = meta::put(&self.core.engine, PROOF, Vec::new());
        self.probe.proof(write).await.map_err(|why| match why {
            Unproved::Hangs => Unproved::Refused(StorageError::Busy(crate::chain::Cause::new(why))),
            refused @ Unproved::Refused(_) => refused,
        })
    }

    /// What is not durable yet is lost by nothing but a crash of the server, and may be.
    async fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn figures(&self) -> Figures {
        Figures::Database(self.metrics())
    }
}
