//! Who may have a password or a code looked at now: argon2 takes 19 MiB and a core each time, so few run at once, few wait, and the rest come again.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::WorkflowError;

/// Jobs that may wait for their turn.
pub const WAITING: usize = 32;

pub struct BoundedPool {
    /// The turns themselves.
    pub turns: Arc<Semaphore>,
    places: Semaphore,
}

impl BoundedPool {
    pub fn new(at_once: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(at_once)),
            places: Semaphore::new(WAITING),
        }
    }

    /// A turn, to be kept for as long as the work takes. [`WorkflowError::Busy`] at once when [`WAITING`] others wait already.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, WorkflowError> {
        let _place = self.places.try_acquire().map_err(|_| WorkflowError::Busy)?;
        self.turns.clone().acquire_owned().await.map_err(|_| WorkflowError::Busy)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        WAITING - self.places.available_permits()
    }
}
