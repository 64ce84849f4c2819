//! What stands before an open store: the lock of its directory, sled's own opening, and the proof that its writes are synced.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::storage::sled::error::{StoreError, from_read, from_write};
use crate::storage::sled::fsync::log_syncs;

use crate::storage::sled::leftovers::SEGMENT_BYTES;

/// How often sled looks for segments to clean; it spends up to half of the time on it.
const GC_EVERY_MS: u64 = 500;

/// The lock of a directory. It is given back in so many words: closing the file would not do while a process that was forked at this moment,
/// and has not become another program yet, holds a copy of it.
pub(super) struct Lock(pub(super) File);

impl Drop for Lock {
    fn drop(&mut self) {
        // What cannot be unlocked ends with the process.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

pub(super) fn lock(dir: &Path) -> Result<Lock, StoreError> {
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock"))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Held),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

/// sled with its background thread: acknowledging needs only our own flushes, but that thread is the one that
/// moves pages out of half-dead segments. Without it the files grew without end under small documents.
pub(super) fn open_database(path: &Path, cache_bytes: u64) -> Result<(::sled::Db, ::sled::Tree), StoreError> {
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(GC_EVERY_MS));
    // After a close in this process an I/O thread of sled, or a process that was just forked, may hold its file a moment longer than the handle.
    let mut patience = 500;
    loop {
        // sled panics on some damages instead of answering.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let db = config.open()?;
            let records = db.open_tree(b"records")?;
            Ok((db, records))
        }));
        match opened {
            Err(_) => {
                return Err(StoreError::Corrupt("sled panicked while recovering the log".into()));
            }
            Ok(Err(::sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => {
                patience -= 1;
                if patience == 0 {
                    return Err(StoreError::Held);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(opened) => return opened.map_err(from_read),
        }
    }
}

/// Proves on the real log that its writes are synced by our definition of `sync_file_range`.
pub(super) fn check_synced(db: &::sled::Db) -> Result<(), StoreError> {
    const KEY: &[u8] = b"self-check";
    let before = log_syncs();
    let last = db.get(KEY).map_err(from_read)?;
    // A value that differs from the last one: sled skips a write that changes nothing.
    let mark = last.map_or(0, |last| last.first().map_or(0, |byte| byte.wrapping_add(1)));
    db.insert(KEY, &[mark]).map_err(from_write)?;
    db.flush().map_err(from_write)?;
    if log_syncs() == before {
        return Err(StoreError::NotDurable(
            "sync_file_range is not ours: this program is linked wrongly",
        ));
    }
    Ok(())
}
