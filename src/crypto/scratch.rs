//! The memory that argon2 works in: for two hashes at once, taken for one hash and given back.
//!
//! Whatever runs at once, so much of it is bounded; a third user waits. The allocator wipes it ([`super::memory`]) and returns it to the system: 19 MiB kept for the
//! next password would be most of what an idle portal has. The system's own allocator kept freed blocks of this size and alignment in its arenas, so that
//! 480 checks of a password left 890 MiB resident.

use std::sync::{Condvar, Mutex, PoisonError};

use argon2::Block;

/// Hashes that run at once. More would only share the cores.
const PLACES: usize = 2;

/// The system gives no memory for these parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemory;

/// Two places to work in.
pub(super) struct Scratch {
    free: Mutex<usize>,
    returned: Condvar,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch {
            free: Mutex::new(PLACES),
            returned: Condvar::new(),
        }
    }

    /// Runs the work in so many blocks of 1 KiB, at once or when a place is free.
    pub(super) fn with<T>(&self, blocks: usize, work: impl FnOnce(&mut [Block]) -> T) -> Result<T, OutOfMemory> {
        let _place = self.take();
        let mut memory = Vec::new();
        memory.try_reserve_exact(blocks).map_err(|_| OutOfMemory)?;
        memory.resize(blocks, Block::new());
        Ok(work(&mut memory))
    }

    fn take(&self) -> Place<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Place(self)
    }
}

/// A place in use. It is returned also when the work panics.
struct Place<'a>(&'a Scratch);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_place_is_returned_whatever_the_work_did() {
        let scratch = Scratch::new();
        for _ in 0..3 {
            let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scratch.with(4, |_| panic!("half-way"))));
            assert!(died.is_err());
        }
        // Both places are back.
        scratch.with(4, |_| scratch.with(4, |_| ()).unwrap()).unwrap();
        assert_eq!(*scratch.free.lock().unwrap(), PLACES);
    }

    #[test]
    fn two_work_at_once_and_the_others_wait() {
        let scratch = Scratch::new();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    scratch.with(1, |_| {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                    })
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= PLACES);
        assert_eq!(*scratch.free.lock().unwrap(), PLACES);
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        assert_eq!(Scratch::new().with(usize::MAX / 2, |_| ()), Err(OutOfMemory));
    }
}
