//! The proof that a store takes writes: one durable row, at most every few seconds, shared by everybody who asks and bounded in time.
//!
//! A store whose disk hangs or refuses answers reads from its cache for hours; only a write that was synced says that the portal is ready.
//! Costs one small commit for each [`FRESH`], and nothing while nobody asks.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::StorageError;

/// A proof of this age is good enough.
const FRESH: Duration = Duration::from_secs(5);
/// A store that needs longer for one row is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

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

impl Probe {
    /// The proof by this write, or one from within the last few seconds.
    pub(super) async fn proof(&self, write: impl Future<Output = Result<(), StorageError>>) -> Result<(), Unproved> {
        let proof = async {
            let mut last = self.0.lock().await;
            if let Some((at, outcome)) = &*last
                && at.elapsed() < FRESH
            {
                return outcome.clone();
            }
            let outcome = write.await.map_err(Unproved::Refused);
            *last = Some((Instant::now(), outcome.clone()));
            outcome
        };
        // Whoever asks while a write hangs waits for the same one, and gives up by itself.
        tokio::time::timeout(PATIENCE, proof).await.unwrap_or(Err(Unproved::Hangs))
    }
}
