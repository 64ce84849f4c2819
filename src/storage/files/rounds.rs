//! Sharing one sync between all who wait for it: whoever asks while one runs gets the next one, together with everybody else who asked meanwhile. Nobody is
//! ever answered by a sync that began before the question.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::FileError;

/// The outcome of one sync, once there is one. Whoever holds the lock first runs it; the others wait for the lock.
type Round = Arc<Mutex<Option<Result<(), FileError>>>>;

#[derive(Default)]
pub(super) struct Rounds {
    /// The round that has not begun.
    next: Mutex<Round>,
    /// One at a time, so that the next one gathers.
    running: Mutex<()>,
}

impl Rounds {
    /// Returns the outcome of a run of `sync` that began after this call. Blocking.
    pub(super) fn share(&self, sync: impl FnOnce() -> Result<(), FileError>) -> Result<(), FileError> {
        let round = lock(&self.next).clone();
        let mut outcome = lock(&round);
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        let _running = lock(&self.running);
        // From here on nobody joins this round any more.
        *lock(&self.next) = Round::default();
        let synced = sync();
        *outcome = Some(synced.clone());
        synced
    }
}

/// Nothing here is half done when a panic ends it: a round without an outcome is run by the next who waits for it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
