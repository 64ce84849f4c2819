//! Group commit: who decides first, waits with the others for one sync.
//!
//! Decisions are made one after the other under one lock and gather in memory; one thread takes all that
//! gathered, applies it to the log as one atomic batch, syncs once, and answers everybody. So a decision is
//! either durable or gone together with its whole group, decisions see each other in order, and the number
//! of syncs falls as the load rises. Nobody is answered before the sync of what they wait for has returned.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::records::Overlay;

/// A point in the order of writes: everything written before it. Later points compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub(super) u64);

/// Called once, from the flushing thread, with the outcome.
type Waiter = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

#[derive(Default)]
pub(super) struct Group {
    /// Counts every write that reached the log or the pending rows.
    written: AtomicU64,
    decisions: Mutex<Decisions>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Answered waits, for the metrics.
    pub(super) acknowledged: AtomicU64,
    /// Finished rounds, for the metrics.
    pub(super) flushes: AtomicU64,
    /// Odd while a round runs; the watch thread compares it with what it saw before.
    pub(super) round: AtomicU64,
}

#[derive(Default)]
pub(super) struct Decisions {
    pub(super) pending: Overlay,
    pub(super) in_flight: Arc<Overlay>,
}

#[derive(Default)]
struct Waiting {
    synced: u64,
    /// A decision was made that nobody may be waiting for.
    due: bool,
    closing: bool,
    dead: Option<StoreError>,
    waiters: BTreeMap<u64, Vec<Waiter>>,
}

/// What the flushing thread has to do next.
pub(super) enum Work {
    Flush { rows: Arc<Overlay>, upto: Seq },
    Close,
}

impl Group {
    /// Opens the one lock under which decisions are made.
    pub(super) fn decisions(&self) -> MutexGuard<'_, Decisions> {
        // A decision changes nothing before it has ended, so a panic inside leaves the state whole.
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more write; the caller has just made it (and holds the lock, if it was a decision).
    pub(super) fn wrote(&self) -> Seq {
        Seq(self.written.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Everything written so far.
    pub(super) fn now(&self) -> Seq {
        Seq(self.written.load(Ordering::SeqCst))
    }

    /// Why this handle answers nothing any more, if so.
    pub(super) fn alive(&self) -> Result<(), StoreError> {
        self.waiting().dead.clone().map_or(Ok(()), Err)
    }

    /// Has the flushing thread run soon, though nobody waits.
    pub(super) fn ask(&self) {
        self.waiting().due = true;
        self.wake.notify_all();
    }

    /// Calls `waiter` as soon as everything up to `seq` is synced, or will never be.
    pub(super) fn when_settled(&self, seq: Seq, waiter: Waiter) {
        let mut waiting = self.waiting();
        let answer = match &waiting.dead {
            Some(error) => Err(error.clone()),
            None if waiting.synced >= seq.0 => Ok(()),
            None => {
                waiting.waiters.entry(seq.0).or_default().push(waiter);
                self.wake.notify_all();
                return;
            }
        };
        drop(waiting);
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        waiter(answer);
    }

    pub(super) fn close(&self) {
        self.waiting().closing = true;
        self.wake.notify_all();
    }

    /// Blocks until there is something to sync, and takes all of it.
    pub(super) fn next(&self) -> Work {
        let mut waiting = self.waiting();
        while waiting.waiters.is_empty() && !waiting.due && !waiting.closing {
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let closing = waiting.closing;
        waiting.due = false;
        drop(waiting);
        let mut decisions = self.decisions();
        if closing && decisions.pending.is_empty() && self.idle() {
            return Work::Close;
        }
        let rows = Arc::new(std::mem::take(&mut decisions.pending));
        decisions.in_flight = Arc::clone(&rows);
        // Read under the lock: whatever was counted up to here is in `rows` or in the log already.
        let upto = self.now();
        drop(decisions);
        self.round.fetch_add(1, Ordering::SeqCst);
        Work::Flush { rows, upto }
    }

    /// Ends a round and answers everybody it concerns.
    pub(super) fn finish(&self, upto: Seq, outcome: Result<(), StoreError>) {
        self.round.fetch_add(1, Ordering::SeqCst);
        self.flushes.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting();
        let answered = match &outcome {
            Ok(()) => {
                waiting.synced = waiting.synced.max(upto.0);
                let later = waiting.waiters.split_off(&(upto.0 + 1));
                std::mem::replace(&mut waiting.waiters, later)
            }
            Err(error) => {
                waiting.dead.get_or_insert_with(|| error.clone());
                std::mem::take(&mut waiting.waiters)
            }
        };
        drop(waiting);
        // Behind the verdict, so that who finds no row in flight finds the verdict (`DurableSled::unsettled`).
        self.decisions().in_flight = Arc::default();
        for waiter in answered.into_values().flatten() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            waiter(outcome.clone());
        }
    }

    /// Marks the handle as dead without a round: a write of sled's own threads failed.
    pub(super) fn die(&self, error: &StoreError) {
        let mut waiting = self.waiting();
        waiting.dead.get_or_insert_with(|| error.clone());
        let answered = std::mem::take(&mut waiting.waiters);
        drop(waiting);
        for waiter in answered.into_values().flatten() {
            waiter(Err(error.clone()));
        }
    }

    fn idle(&self) -> bool {
        let waiting = self.waiting();
        waiting.dead.is_some() || waiting.synced >= self.now().0
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in a critical section of this lock can panic half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
