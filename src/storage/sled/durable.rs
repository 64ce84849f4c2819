//! The one type that owns every rule under which sled 0.34 keeps what it promised.
//!
//! * Every log write is synced for real ([`super::fsync`]); opening proves it or fails.
//! * No record is ever spilled into sled's unsynced side files: 16 MiB segments, values of at most
//!   64 KiB + 16, and nothing is acknowledged while a side file exists.
//! * Nothing is answered before its sync; waiting callers share one ([`super::group`]).
//! * A write that fails ends the process (a hook that tests replace): going on would show states that a restart may
//!   not find, and sled answers nothing after it anyway. What was acknowledged is durable, and the next start finds it.
//!   A full disk is refused beforehand, see [`StoreError::Full`]; the ballast is given up before sled could meet it.
//! * A start that was killed half-way stops no later one ([`super::leftovers`]).
//! * One process at a time, by a lock file of our own.
//!
//! Atomic batches: `sled::Tree::apply_batch` writes a manifest in front of the batch that names the log
//! position of its end; recovery stops before a manifest whose end was not found, and it recovers only the
//! gap-free prefix of the log (`pagecache/iterator.rs`, `pagecache/mod.rs: pin_log`, `reservation.rs:
//! mark_writebatch`). So a batch on one tree survives whole or not at all, and every batch before it with it.

mod compact;
mod opening;
mod snapshot;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::ballast::{BALLAST_BYTES, Ballast, FreeSpace, free_space, sync_dir};
use super::error::{StoreError, from_write};
use super::fsync::log_syncs;
use super::group::{Group, Work};
use super::leftovers::{self, SEGMENT_BYTES};
use super::mark::{self, MarkFile};
use super::records::{Batch, Overlay, Rows};
use crate::chain::chain;
use opening::{Lock, check_synced, lock, open_database};

pub(crate) use super::group::Seq;
pub use compact::{Compacted, Compacting};
pub use snapshot::Snapshot;

/// How far free space may fall between two looks at the file system.
const LOOK_EVERY: i64 = 4 << 20;
/// How long a flush may take before the watch looks whether sled lost a wake-up, and how often it looks at the disk.
const WATCH: Duration = Duration::from_secs(2);
/// With less than this free the ballast is given up: sled extends its file by a segment at a time, and what is acknowledged must find its place.
const RELEASE_BELOW: u64 = SEGMENT_BYTES as u64;

/// The exit code of a process whose store can take no more writes (`EX_IOERR`): start it again, what was acknowledged is there.
pub(crate) const EXIT_CODE: u8 = 74;

/// Called with the reason when a write failed and this handle answers nothing any more. The default says so and ends the process with [`EXIT_CODE`].
pub(crate) type AbortHook = Arc<dyn Fn(&str) + Send + Sync>;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Bytes of sled's page cache; what is really resident is a few times that.
    pub cache_bytes: u64,
    /// Below this much free space, in bytes, everything but making room is refused with `Full`.
    pub reserve_bytes: u64,
    /// What to do when a write failed.
    pub abort: AbortHook,
    /// Told of every round after its sync.
    pub mark: Option<Arc<MarkFile>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            reserve_bytes: 64 << 20,
            abort: Arc::new(say_and_end),
            mark: None,
        }
    }
}

/// Whether a store that can take no more writes ends its process.
static ENDS_THE_PROCESS: AtomicBool = AtomicBool::new(true);

/// For a program that opens many portals and takes their folders away, such as a test: a dead store is said, and the others go on.
pub fn outlive_dead_stores() {
    ENDS_THE_PROCESS.store(false, Ordering::Relaxed);
}

fn say_and_end(why: &str) {
    const WHAT: &str =
        "the store cannot be written any more; the process ends and has to be started again: what was acknowledged is on the disk";
    tracing::error!(why, exit_code = EXIT_CODE, "{WHAT}");
    if !ENDS_THE_PROCESS.load(Ordering::Relaxed) {
        return;
    }
    // Log lines are held back until the portal has started.
    let _ = writeln!(std::io::stderr().lock(), "nightdrop: {why}: {WHAT}");
    std::process::exit(i32::from(EXIT_CODE));
}

/// Counters since the store was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Waits for durability that were answered with success or error.
    pub acknowledged: u64,
    /// Rounds of the flushing thread.
    pub flushes: u64,
    /// Finished `fdatasync` calls on the log (all stores of this process).
    pub log_syncs: u64,
}

/// An open store. Clones share it; it closes, and releases its lock, when the last clone is dropped
/// (which waits for the last flush).
#[derive(Clone)]
pub struct DurableSled {
    core: Arc<Core>,
    _open: Arc<Open>,
}

struct Core {
    // Dropped in this order: the database before the lock that guards it.
    records: ::sled::Tree,
    db: ::sled::Db,
    group: Group,
    ballast: Ballast,
    spilled: PathBuf,
    dir: PathBuf,
    options: Options,
    /// Bytes that may still be written before free space is looked at again.
    credit: AtomicI64,
    watched: AtomicU64,
    /// The ballast could not be taken although there is room: said once.
    unballasted: AtomicBool,
    /// Kept for whoever reads a snapshot.
    snapshot: Mutex<Option<snapshot::Kept>>,
    /// Given back by its last owner.
    lock: Arc<Lock>,
}

/// Ends the threads of a store when the last handle goes.
struct Open {
    core: Arc<Core>,
    threads: Vec<std::thread::JoinHandle<()>>,
    stop_watch: Option<mpsc::Sender<()>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.core.group.close();
        drop(self.stop_watch.take());
        for thread in self.threads.drain(..) {
            // A thread that panicked has already called the abort hook.
            let _ = thread.join();
        }
    }
}

impl DurableSled {
    /// Opens the store in `dir`, creating it if there is none. Blocking: recovery reads the log since the
    /// last opening (about a second per gigabyte).
    ///
    /// # Errors
    /// `Held`, `NotDurable`, `Full`, `Corrupt`, `Io`; the files are left as they are.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(io)?;
        let lock = lock(dir)?;
        compact::clear(dir)?;
        let ballast = Ballast::of(dir);
        if room(dir)?.bytes < options.reserve_bytes {
            ballast.release().map_err(io)?;
        }
        let database = dir.join("sled");
        leftovers::clear(&database)?;
        let (db, records) = open_database(&database, options.cache_bytes)?;
        // At once: from its first write on, sled uses space again that only the snapshot just made says is free. Its name must not be lost.
        sync_dir(&database).map_err(io)?;
        leftovers::sync_settings(&database).map_err(io)?;
        let spilled = database.join("blobs");
        check_synced(&db)?;
        check_unspilled(&spilled)?;
        for dir in [&database, dir, dir.parent().unwrap_or(dir)] {
            sync_dir(dir).map_err(io)?;
        }
        let group = Group::default();
        group.decisions().number = mark::number(&Rows::settled(&records))?;
        let (credit, watched) = (AtomicI64::new(0), AtomicU64::new(0));
        let dir = dir.to_owned();
        let core = Core {
            records,
            db,
            group,
            ballast,
            spilled,
            dir,
            options,
            credit,
            watched,
            unballasted: AtomicBool::new(false),
            snapshot: Mutex::new(None),
            lock: Arc::new(lock),
        };
        core.refill_ballast();
        Self::start(Arc::new(core))
    }

    fn start(core: Arc<Core>) -> Result<Self, StoreError> {
        let (stop_watch, stopped) = mpsc::channel();
        let flushing = Arc::clone(&core);
        let watching = Arc::clone(&core);
        let flush = spawn("nightdrop-flush", move || flushing.flush_until_closed())?;
        let watch = spawn("nightdrop-watch", move || watching.watch_until(&stopped));
        let mut open = Open {
            core: Arc::clone(&core),
            threads: vec![flush],
            stop_watch: Some(stop_watch),
        };
        open.threads.push(watch?);
        Ok(Self {
            core,
            _open: Arc::new(open),
        })
    }

    /// The rows as they are in the log: a group of decisions appears here as a whole, a moment before it is
    /// durable. Before such a state leaves the process, wait for [`DurableSled::shown`].
    #[must_use]
    pub fn records(&self) -> Rows<'_> {
        Rows::settled(&self.core.records)
    }

    #[cfg(test)]
    pub(super) fn copy_of_lock(&self) -> std::io::Result<std::fs::File> {
        self.core.lock.0.try_clone()
    }

    /// Reads and decides under the one lock for decisions: `decide` sees every earlier decision, and its
    /// batch is applied as a whole. Returns what it returned and the point to wait for ([`DurableSled::settled`]).
    /// Keep it short: everybody else's decisions wait. Blocking for as long as its reads are.
    ///
    /// # Errors
    /// What `decide` refused with (nothing is written then), or `Full`, `Size`, or the error the store died of.
    pub fn decide<T, E: From<StoreError>>(&self, decide: impl FnOnce(&Rows<'_>) -> Result<(Batch, T), E>) -> Result<(T, Seq), E> {
        self.core.group.alive()?;
        let mut decisions = self.core.group.decisions();
        let rows = Rows::decided(&self.core.records, &decisions.pending, Arc::clone(&decisions.in_flight));
        let (batch, answer) = decide(&rows)?;
        if batch.is_empty() {
            return Ok((answer, self.core.group.now()));
        }
        batch.check()?;
        self.core.take_room(batch.bytes(), batch.may_use_reserve())?;
        decisions.pending.extend(batch.into_rows());
        decisions.number += 1;
        let number = decisions.number.to_be_bytes();
        decisions.pending.insert(mark::number_row(), Some(number.to_vec()));
        let seq = self.core.group.wrote();
        drop(decisions);
        self.core.group.ask();
        Ok((answer, seq))
    }

    /// Applies a batch whatever the state is. See [`DurableSled::decide`].
    ///
    /// # Errors
    /// As there.
    pub fn apply(&self, batch: Batch) -> Result<Seq, StoreError> {
        self.decide(|_| Ok((batch, ()))).map(|((), seq)| seq)
    }

    /// Waits until everything written before `seq` is durable.
    ///
    /// # Errors
    /// The error the store died of: the write may or may not have survived.
    pub async fn settled(&self, seq: Seq) -> Result<(), StoreError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let waiter = Box::new(move |outcome| drop(answer.send(outcome)));
        self.core.group.when_settled(seq, waiter);
        answered
            .await
            .unwrap_or_else(|_| Err(StoreError::Unknown("the store was closed".into())))
    }

    /// [`DurableSled::settled`] for threads that may block.
    ///
    /// # Errors
    /// As there.
    pub fn settled_blocking(&self, seq: Seq) -> Result<(), StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let waiter = Box::new(move |outcome| drop(answer.send(outcome)));
        self.core.group.when_settled(seq, waiter);
        answered
            .recv()
            .unwrap_or_else(|_| Err(StoreError::Unknown("the store was closed".into())))
    }

    /// Waits until everything written so far is durable.
    ///
    /// # Errors
    /// As [`DurableSled::settled`].
    pub async fn durable(&self) -> Result<(), StoreError> {
        self.settled(self.core.group.now()).await
    }

    /// [`DurableSled::durable`] for threads that may block.
    ///
    /// # Errors
    /// As there.
    pub fn durable_blocking(&self) -> Result<(), StoreError> {
        self.settled_blocking(self.core.group.now())
    }

    /// The barrier behind a read of single rows: whether one of them was seen, or may have been, before it was durable. Other people's
    /// unsynced rows need not be waited for.
    ///
    /// # Errors
    /// The error the store died of: what was read may never have become durable.
    pub fn unsettled<'k>(&self, mut keys: impl Iterator<Item = &'k [u8]>) -> Result<bool, StoreError> {
        let in_flight = Arc::clone(&self.core.group.decisions().in_flight);
        // Asked second: a round that failed is known to have before its rows are taken out of flight.
        self.core.group.alive()?;
        Ok(keys.any(|key| in_flight.contains_key(key)))
    }

    /// The barrier behind a read: whatever [`DurableSled::records`] showed before this call is durable after it.
    ///
    /// # Errors
    /// As [`DurableSled::settled`].
    pub async fn shown(&self) -> Result<(), StoreError> {
        self.durable().await
    }

    /// Whether this handle still answers.
    ///
    /// # Errors
    /// The error the store died of.
    pub fn alive(&self) -> Result<(), StoreError> {
        self.core.group.alive()
    }

    /// What is left on the store's file system.
    ///
    /// # Errors
    /// `Io`.
    pub fn free_space(&self) -> Result<FreeSpace, StoreError> {
        room(&self.core.dir)
    }

    /// Gives up the ballast so that purging can go on. Idempotent.
    ///
    /// # Errors
    /// `Io`.
    pub fn release_ballast(&self) -> Result<(), StoreError> {
        self.core.credit.store(0, Ordering::Relaxed);
        self.core.ballast.release().map_err(io)
    }

    /// Takes the ballast back, if the reserve stays free beside it. True when it is held afterwards.
    pub fn restore_ballast(&self) -> bool {
        self.core.refill_ballast();
        self.core.ballast.is_held()
    }

    /// Counters for the metrics page.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let group = &self.core.group;
        Metrics {
            acknowledged: group.acknowledged.load(Ordering::Relaxed),
            flushes: group.flushes.load(Ordering::Relaxed),
            log_syncs: log_syncs(),
        }
    }

    pub(super) fn mark(&self) -> Option<&MarkFile> {
        self.core.options.mark.as_deref()
    }
}

impl Core {
    /// Checks that `bytes` more may be written, looking at the disk only every few megabytes.
    fn take_room(&self, bytes: u64, making_room: bool) -> Result<(), StoreError> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.credit.fetch_sub(bytes, Ordering::Relaxed) >= bytes {
            return Ok(());
        }
        let free = room(&self.dir)?.bytes;
        let reserve = i64::try_from(self.options.reserve_bytes).unwrap_or(i64::MAX);
        let spare = i64::try_from(free).unwrap_or(i64::MAX).saturating_sub(reserve);
        self.credit.store(spare.clamp(0, LOOK_EVERY), Ordering::Relaxed);
        if spare >= bytes {
            return Ok(());
        }
        if making_room {
            // Sorted out by sled itself if even this is not enough.
            return if free < BALLAST_BYTES {
                self.ballast.release().map_err(io)
            } else {
                Ok(())
            };
        }
        Err(StoreError::Full { must_reopen: false })
    }

    /// Every error that kills the handle is reported: nothing may go on beside a store that answers nothing.
    fn report(&self, error: &StoreError) {
        (self.options.abort)(&chain(error).to_string());
    }

    fn refill_ballast(&self) {
        let wanted = self.options.reserve_bytes.saturating_add(BALLAST_BYTES);
        if self.ballast.is_held() || !room(&self.dir).is_ok_and(|free| free.bytes >= wanted) {
            return;
        }
        match self.ballast.restore() {
            Ok(()) => self.unballasted.store(false, Ordering::Relaxed),
            Err(error) if !self.unballasted.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "no ballast: a full disk could not be emptied");
            }
            Err(_) => {}
        }
    }

    /// Gives the ballast up right before a write that could meet a full disk: other programs may have taken what was just seen to be free. Not earlier:
    /// they would take the ballast's room too.
    fn spare_sled_a_full_disk(&self) {
        if !room(&self.dir).is_ok_and(|free| free.bytes < RELEASE_BELOW) || !self.ballast.is_there() {
            return;
        }
        self.credit.store(0, Ordering::Relaxed);
        match self.ballast.release() {
            Ok(()) => tracing::warn!("the disk is full: its ballast was given up so that purging can go on; make room"),
            Err(error) => tracing::error!(%error, "the disk is full and its ballast cannot be given up"),
        }
    }

    fn flush_until_closed(&self) {
        while let Work::Flush { rows, upto } = self.group.next() {
            // sled asserts what it believes; a broken belief is a write of unknown outcome.
            let flushed = catch_unwind(AssertUnwindSafe(|| self.flush(&rows)));
            let outcome = flushed.unwrap_or_else(|_| Err(StoreError::Unknown("sled panicked".into())));
            if let Err(error) = &outcome {
                self.report(error);
            }
            self.group.finish(upto, outcome);
        }
    }

    fn flush(&self, rows: &Overlay) -> Result<(), StoreError> {
        self.group.alive()?;
        self.spare_sled_a_full_disk();
        if !rows.is_empty() {
            let mut batch = ::sled::Batch::default();
            for (key, value) in rows {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            self.apply(rows, batch)?;
        }
        self.db.flush().map_err(from_write)?;
        // Sealing a log buffer (16 MiB) leaves it in this thread's bag of garbage, which sled looks into only
        // when 64 things are in it: that could be a gigabyte.
        crossbeam_epoch::pin().flush();
        check_unspilled(&self.spilled)?;
        if let Some(mark) = &self.options.mark {
            mark.committed(rows);
        }
        Ok(())
    }

    /// Works around a lost wake-up of sled: when a log write fails on one of its two paths
    /// (`logger.rs: exit_reservation`), it stores the error and forgets to wake those who wait for the log.
    /// Any new reservation sees the stored error and wakes them; making a tree is one that takes no lock.
    ///
    /// Beside that: a failed write of sled's own threads is noticed although nobody writes, and the ballast is taken back once there is room.
    fn watch_until(&self, stopped: &mpsc::Receiver<()>) {
        const NAME: &[u8] = b"wake";
        while matches!(stopped.recv_timeout(WATCH), Err(mpsc::RecvTimeoutError::Timeout)) {
            let round = self.group.round.load(Ordering::SeqCst);
            let running = round % 2 == 1;
            if running && self.watched.swap(round, Ordering::SeqCst) == round {
                let _ = self.db.open_tree(NAME).and_then(|_| self.db.drop_tree(NAME));
            }
            if let Err(error) = self.db.context.global_error()
                && self.group.alive().is_ok()
            {
                let error = from_write(error);
                self.group.die(&error);
                self.report(&error);
            }
            self.refill_ballast();
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>, StoreError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(io)
}

fn check_unspilled(blobs: &Path) -> Result<(), StoreError> {
    match std::fs::read_dir(blobs) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(StoreError::Spilled)),
        Err(error) => Err(io(error)),
    }
}

fn room(dir: &Path) -> Result<FreeSpace, StoreError> {
    free_space(dir).map_err(io)
}

fn io(error: std::io::Error) -> StoreError {
    error.into()
}
