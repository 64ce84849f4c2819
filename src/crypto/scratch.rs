//! The memory that argon2 works in: two places, made at their first use, wiped after each, kept for the next.
//!
//! Memory taken anew for each hash is not given back: the C library keeps freed blocks of this size and alignment in its arenas, so that 480 checks of a
//! password left 890 MiB resident. Here the resident part is bounded by two places, whatever runs at once; a third user waits for one of them.
//! It never hands out memory that still holds what another hash left.

use std::sync::{Condvar, Mutex, PoisonError};

use argon2::Block;
use zeroize::Zeroize;

/// Hashes that run at once. More would only share the cores.
const PLACES: usize = 2;

/// The system gives no memory for these parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemory;

/// Two places of a fixed size.
pub(super) struct Scratch {
    /// Blocks of 1 KiB in a place that is kept.
    kept: usize,
    free: Mutex<Vec<Vec<Block>>>,
    returned: Condvar,
}

impl Scratch {
    /// Places of this many blocks. What needs more (an older hash with a higher cost) takes memory for its own time, which is given back.
    pub(super) fn new(blocks: usize) -> Scratch {
        Scratch {
            kept: blocks,
            free: Mutex::new(std::iter::repeat_with(Vec::new).take(PLACES).collect()),
            returned: Condvar::new(),
        }
    }

    /// Runs the work in a place of its own, at once or when one is returned.
    pub(super) fn with<T>(&self, blocks: usize, work: impl FnOnce(&mut [Block]) -> T) -> Result<T, OutOfMemory> {
        let mut place = Place {
            of: self,
            memory: self.take(),
        };
        if place.memory.len() < blocks {
            place
                .memory
                .try_reserve_exact(blocks - place.memory.len())
                .map_err(|_| OutOfMemory)?;
            place.memory.resize(blocks, Block::new());
        }
        Ok(work(&mut place.memory[..blocks]))
    }

    fn take(&self) -> Vec<Block> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(memory) = free.pop() {
                return memory;
            }
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A place in use. It is wiped and returned also when the work panics.
struct Place<'a> {
    of: &'a Scratch,
    memory: Vec<Block>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.memory.iter_mut().for_each(Zeroize::zeroize);
        if self.memory.len() > self.of.kept {
            self.memory = Vec::new();
        }
        let memory = std::mem::take(&mut self.memory);
        self.of.free.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        self.of.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_place_is_wiped_and_returned_whatever_the_work_did() {
        let scratch = Scratch::new(4);
        for _ in 0..3 {
            let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                scratch.with(4, |memory| {
                    memory[3].as_mut()[0] = 7;
                    panic!("half-way");
                })
            }));
            assert!(died.is_err());
        }
        // Both places are back, and hold nothing.
        scratch
            .with(4, |outer| {
                scratch
                    .with(4, |inner| {
                        assert!(
                            outer
                                .iter()
                                .chain(inner.iter())
                                .all(|block| block.as_ref().iter().all(|word| *word == 0))
                        );
                    })
                    .unwrap();
            })
            .unwrap();
    }

    #[test]
    fn two_work_at_once_and_the_others_wait() {
        let scratch = Scratch::new(1);
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
        assert_eq!(scratch.free.lock().unwrap().len(), PLACES);
    }

    #[test]
    fn more_than_a_place_holds_is_taken_for_that_time_only() {
        let scratch = Scratch::new(2);
        scratch.with(64, |memory| assert_eq!(memory.len(), 64)).unwrap();
        assert!(scratch.free.lock().unwrap().iter().all(|memory| memory.len() <= 2));
        assert_eq!(scratch.with(usize::MAX / 2048, |_| ()), Err(OutOfMemory));
        scratch.with(2, |memory| assert_eq!(memory.len(), 2)).unwrap();
    }
}
