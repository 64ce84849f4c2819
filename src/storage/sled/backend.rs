//! The embedded store as a whole.

use async_trait::async_trait;

use super::records::Batch;
use super::{SledStore, key, map_store_error, to_ms};
use crate::storage::StorageError;
use crate::storage::backend::{Backend, Figures};
use crate::storage::probe::Unproved;

/// The row whose write proves that the store takes writes.
const PROOF: &str = "write-proof";

#[async_trait]
impl Backend for SledStore {
    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.meta(name).map_err(map_store_error)
    }

    async fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        batch.put(key::meta(name), value);
        let seq = self.store.apply(batch).map_err(map_store_error)?;
        self.store.settled(seq).await.map_err(map_store_error)
    }

    async fn audit_hash(&self, sequence: u64) -> Result<Option<[u8; 32]>, StorageError> {
        self.audit_hash(sequence).map_err(map_store_error)
    }

    /// A dead one ends the process.
    fn alive(&self) -> Result<(), StorageError> {
        self.store.alive().map_err(map_store_error)
    }

    async fn proves_writing(&self) -> Result<(), Unproved> {
        self.alive().map_err(Unproved::Refused)?;
        self.probe.proof(self.write_proof()).await
    }

    async fn flush(&self) -> Result<(), StorageError> {
        self.store.durable().await.map_err(map_store_error)
    }

    fn figures(&self) -> Figures {
        let metrics = self.store.metrics();
        Figures::Embedded {
            acknowledged: metrics.acknowledged,
            flushes: metrics.flushes,
        }
    }
}

impl SledStore {
    async fn write_proof(&self) -> Result<(), StorageError> {
        let seq = self
            .store
            .decide(|_| {
                let mut batch = Batch::new();
                batch.frees_space();
                batch.put(key::meta(PROOF), to_ms(self.clock.now()).to_be_bytes());
                Ok::<_, super::error::StoreError>((batch, ()))
            })
            .map_err(map_store_error)?
            .1;
        self.store.settled(seq).await.map_err(map_store_error)
    }
}
