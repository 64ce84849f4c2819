//! What the embedded store keeps of the clock: the latest instant, which no later start begins before, and what the wall clock is judged by.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use time::OffsetDateTime;

use crate::chain::chain;
use crate::storage::clock::{from_ms, to_ms};
use crate::storage::{StorageError, key};

use super::durable::DurableSled;
use super::error::StoreError;
use super::records::Batch;
use super::{SledStore, map_store_error};

/// How often the latest instant is written down.
const CLOCK_EVERY_MS: i64 = 60_000;
/// The row of what the clock is judged by after a restart.
pub(super) const CLOCK_BASE: &str = "clock-base";

impl SledStore {
    /// The floor under the clock survives a restart, to the minute; what was trusted and whether it still is, at once.
    pub(super) fn note_clock(&self, batch: &mut Batch, now: OffsetDateTime) {
        let (now, base) = (to_ms(now), self.clock.base());
        let mut written = self.base_written.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now - self.clock_written.load(Ordering::Relaxed) >= CLOCK_EVERY_MS;
        if *written == base && (batch.is_empty() || !due) {
            return;
        }
        if batch.is_empty() {
            // Whoever only looks must not fail on a full disk because of the clock.
            batch.frees_space();
        }
        self.put_clock(batch, now);
        batch.put(key::meta(CLOCK_BASE), base.as_slice());
        *written = base;
    }

    fn put_clock(&self, batch: &mut Batch, now: i64) {
        // Decisions may come in another order than the instants that they were made at.
        let latest = self.clock_written.fetch_max(now, Ordering::Relaxed).max(now);
        batch.put(key::meta("clock"), latest.to_be_bytes());
    }

    /// The instant that no start begins before, once what was decided is durable.
    fn floor(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        stored_floor(&self.store)
    }

    /// From the first moment on: a portal may have nothing to write until after the clock has jumped.
    pub(super) fn note_base(&self) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        self.note_clock(&mut batch, self.clock.now());
        match self.store.apply(batch).and_then(|seq| self.store.settled_blocking(seq)) {
            Err(error @ StoreError::Full { .. }) => {
                tracing::warn!(error = %chain(&error), "the clock's state could not be written down");
                Ok(())
            }
            done => done,
        }
    }

    /// See [`crate::storage::RequestStore::note_time`].
    pub(super) async fn note_instant(&self, at: i64) -> Result<(), StorageError> {
        if self.floor().map_err(map_store_error)?.is_some_and(|floor| to_ms(floor) >= at) {
            // Perhaps still on its way to the disk.
            return self.shown().await;
        }
        let seq = {
            let mut batch = Batch::new();
            // Whoever only looks must not fail on a full disk because of the clock.
            batch.frees_space();
            self.put_clock(&mut batch, to_ms(self.clock.now()).max(at));
            self.store.apply(batch).map_err(map_store_error)?
        };
        self.decided.fetch_max(seq.0, Ordering::SeqCst);
        self.store.settled(seq).await.map_err(map_store_error)
    }
}

/// The latest instant that is written down.
pub(super) fn stored_floor(store: &DurableSled) -> Result<Option<OffsetDateTime>, StoreError> {
    let row = store.records().get(&key::meta("clock"))?;
    Ok(row.and_then(|b| b.try_into().ok()).map(|b| from_ms(i64::from_be_bytes(b))))
}
