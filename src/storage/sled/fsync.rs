//! Turns sled's `sync_file_range` into a real `fdatasync`, for the whole process.
//!
//! sled 0.34 makes its log "stable" with `sync_file_range`, which orders neither file metadata nor the
//! drive's cache: after a power cut every acknowledged write may be gone. sled calls the C symbol, so a
//! definition in this program takes its place at link time. Ours syncs the file for real and reports the
//! real error, which sled hands on to whoever flushes. It never reports success for a sync that failed,
//! and [`log_syncs`] lets the start-up self-check prove that the linker chose this definition.
//!
//! Why the sync happens here and not in sled's own fallback (it calls `fsync` when the kernel answers
//! `ENOSYS`): a sync made here is counted here, so "the log write was synced" is a fact of this module
//! and not a guess about another crate's error path; and `fdatasync` (data, size, allocation: all that
//! reading the log needs) spares a journal commit for the time stamp alone.
#![allow(unsafe_code)] // Two lines: exporting a C symbol, and borrowing the descriptor its caller passed.

use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

static LOG_SYNCS: AtomicU64 = AtomicU64::new(0);

/// How many log writes were synced by this process since it started: each one is a finished `fdatasync`.
#[must_use]
pub(crate) fn log_syncs() -> u64 {
    LOG_SYNCS.load(Ordering::SeqCst)
}

/// Stands in for the C library's `sync_file_range(2)`: syncs all of `fd`'s data, whatever range was asked for.
///
/// Returns 0 when `fdatasync` succeeded, else -1 with its `errno`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sync_file_range(fd: c_int, _offset: i64, _length: i64, _flags: u32) -> c_int {
    // A negative descriptor must not reach `borrow_raw`, whose contract forbids -1.
    if fd < 0 {
        errno::set_errno(errno::Errno(rustix::io::Errno::BADF.raw_os_error()));
        return -1;
    }
    // SAFETY: the caller (sled, holding its `File`) keeps the descriptor open for the length of this call.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    match sync(file) {
        Ok(()) => {
            LOG_SYNCS.fetch_add(1, Ordering::SeqCst);
            0
        }
        Err(error) => {
            errno::set_errno(errno::Errno(error.raw_os_error()));
            -1
        }
    }
}

fn sync(file: BorrowedFd<'_>) -> rustix::io::Result<()> {
    #[cfg(test)]
    if let Some(error) = injected::failure(file) {
        return Err(error);
    }
    // Only an interrupted call may be tried again: after any other error the kernel may have dropped the
    // dirty pages, and a second call would report a success that is not one.
    rustix::io::retry_on_intr(|| rustix::fs::fdatasync(file))
}

/// Faults for the tests of this folder: the sync of one chosen file fails.
#[cfg(test)]
pub(super) mod injected {
    use std::os::fd::BorrowedFd;
    use std::path::Path;
    use std::sync::Mutex;

    static FAULTS: Mutex<Vec<((u64, u64), rustix::io::Errno)>> = Mutex::new(Vec::new());

    /// From now on every sync of the file at `path` fails with `error`.
    pub fn fail(path: &Path, error: rustix::io::Errno) {
        let stat = rustix::fs::stat(path).expect("the log exists");
        let mut faults = FAULTS.lock().expect("no test panics while it holds this lock");
        faults.push(((stat.st_dev, stat.st_ino), error));
    }

    /// The file at `path` can be synced again.
    pub fn heal(path: &Path) {
        let stat = rustix::fs::stat(path).expect("the log exists");
        let mut faults = FAULTS.lock().expect("no test panics while it holds this lock");
        faults.retain(|(id, _)| *id != (stat.st_dev, stat.st_ino));
    }

    pub(super) fn failure(file: BorrowedFd<'_>) -> Option<rustix::io::Errno> {
        let faults = FAULTS.lock().expect("no test panics while it holds this lock");
        if faults.is_empty() {
            return None;
        }
        let stat = rustix::fs::fstat(file).ok()?;
        faults
            .iter()
            .find(|(id, _)| *id == (stat.st_dev, stat.st_ino))
            .map(|(_, error)| *error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn a_bad_descriptor_is_an_error_and_not_a_sync() {
        assert_eq!(super::sync_file_range(-1, 0, 0, 0), -1);
        assert_eq!(errno::errno().0, rustix::io::Errno::BADF.raw_os_error());
    }

    #[test]
    fn a_file_is_synced_and_counted() {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open("Cargo.toml").unwrap();
        let before = super::log_syncs();
        assert_eq!(super::sync_file_range(file.as_raw_fd(), 0, 0, 0), 0);
        assert!(super::log_syncs() > before);
    }
}
