//! The proof that the store takes writes: one durable row, at most every few seconds, shared by everybody who asks and bounded in time.
//!
//! A store whose disk hangs or refuses answers reads from its cache for hours; only a write that was synced says that the portal is ready.
//! Costs one small round of the group commit for each [`FRESH`], and nothing while nobody asks.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::records::Batch;
use super::{SledStore, StorageError, key, map_store_error, to_ms};

/// A proof of this age is good enough.
const FRESH: Duration = Duration::from_secs(5);
/// A store that needs longer for one row is not ready.
const PATIENCE: Duration = Duration::from_secs(3);
/// The row that is written.
const ROW: &str = "write-proof";

/// The last proof, successful or not.
#[derive(Default)]
pub(super) struct Probe(Mutex<Option<(Instant, Result<(), Unproved>)>>);

/// Why the store is not known to take writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    #[error(transparent)]
    Refused(StorageError),
    /// Nothing came back in time: the disk hangs, or is far too slow.
    #[error("a write took longer than {} seconds", PATIENCE.as_secs())]
    Hangs,
}

impl SledStore {
    /// Whether the store still answers at all; a dead one ends the process.
    ///
    /// # Errors
    /// What it died of.
    pub fn alive(&self) -> Result<(), StorageError> {
        self.store.alive().map_err(map_store_error)
    }

    /// Proves that a write becomes durable now, or within the last few seconds did.
    ///
    /// # Errors
    /// Why it is not proved.
    pub async fn proves_writing(&self) -> Result<(), Unproved> {
        self.alive().map_err(Unproved::Refused)?;
        let proof = async {
            let mut last = self.probe.0.lock().await;
            if let Some((at, outcome)) = &*last
                && at.elapsed() < FRESH
            {
                return outcome.clone();
            }
            let outcome = self.write_proof().await.map_err(Unproved::Refused);
            *last = Some((Instant::now(), outcome.clone()));
            outcome
        };
        // Whoever asks while a write hangs waits for the same one, and gives up by itself.
        tokio::time::timeout(PATIENCE, proof).await.unwrap_or(Err(Unproved::Hangs))
    }

    async fn write_proof(&self) -> Result<(), StorageError> {
        let seq = self
            .store
            .decide(|_| {
                let mut batch = Batch::new();
                batch.frees_space();
                batch.put(key::meta(ROW), to_ms(self.clock.now()).to_be_bytes());
                Ok::<_, super::error::StoreError>((batch, ()))
            })
            .map_err(map_store_error)?
            .1;
        self.store.settled(seq).await.map_err(map_store_error)
    }
}
