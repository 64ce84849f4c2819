//! Group commit: writers that come together share one sync.
//!
//! It promises that `wait` returns only after a sync that began after the caller's write. After a failed sync it never
//! says yes again: the kernel may have dropped the very write, and a second sync would not notice.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{AbortHook, Pages};
use crate::crypto::erase::EraseError;

/// Lets writers that come together share one sync. A ticket is drawn after the write; a sync that starts later
/// covers it.
#[derive(Default)]
pub(super) struct SyncGate {
    state: Mutex<GateState>,
    turn: Condvar,
}

#[derive(Default)]
struct GateState {
    written: u64,
    synced: u64,
    running: bool,
    poisoned: bool,
}

impl SyncGate {
    /// Returns when everything written before this call is durable.
    pub(super) fn wait(&self, pages: &dyn Pages, abort: &AbortHook) -> Result<(), EraseError> {
        let mut state = self.lock();
        state.written += 1;
        let ticket = state.written;
        loop {
            if state.poisoned {
                return Err(EraseError::Poisoned);
            }
            if state.synced >= ticket {
                return Ok(());
            }
            if state.running {
                state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            let covered = state.written;
            drop(state);
            let outcome = pages.sync();
            state = self.lock();
            state.running = false;
            match &outcome {
                Ok(()) => state.synced = covered,
                Err(_) => state.poisoned = true,
            }
            self.turn.notify_all();
            if let Err(error) = outcome {
                drop(state);
                abort(&format!("the slots file could not be synced: {error}"));
                return Err(EraseError::Poisoned);
            }
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.lock().poisoned
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
