//! Room on the disk: how much is left, and a file that can be given up when nothing is.
//!
//! Deleting needs space too (sled only ever appends), so a full disk could never be emptied, and a store on
//! a full disk cannot even be opened. The ballast is real allocated space that purge and open may take.
//! It promises nothing about other programs on the same disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of the ballast file: two log segments of sled (16 MiB each).
pub(crate) const BALLAST_BYTES: u64 = 32 << 20;

/// What is left on the file system of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes that this process may still allocate.
    pub bytes: u64,
    /// The same as a share of the whole file system, in percent, rounded down.
    pub percent: u8,
}

/// Asks the kernel what is left below `dir` (`statvfs`; about a microsecond).
///
/// # Errors
/// The kernel's own error, for instance when the directory is gone.
pub(crate) fn free_space(dir: &Path) -> io::Result<FreeSpace> {
    let stat = rustix::fs::statvfs(dir)?;
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let whole = stat.f_blocks.saturating_mul(stat.f_frsize).max(1);
    let percent = u8::try_from((u128::from(bytes) * 100 / u128::from(whole)).min(100)).unwrap_or(100);
    Ok(FreeSpace { bytes, percent })
}

/// The ballast file of one store directory.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// The ballast of the store in `dir`; touches nothing.
    #[must_use]
    pub(crate) fn of(dir: &Path) -> Self {
        Self { path: dir.join("ballast") }
    }

    /// Whether the whole ballast is in place.
    #[must_use]
    pub(crate) fn is_held(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&self.path).is_ok_and(|file| file.blocks() * 512 >= BALLAST_BYTES)
    }

    /// Whether any of it is in place.
    #[must_use]
    pub(crate) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Allocates the ballast. Idempotent.
    ///
    /// # Errors
    /// The kernel's error, above all `StorageFull`; then nothing is held.
    pub(crate) fn restore(&self) -> io::Result<()> {
        if self.is_held() {
            return Ok(());
        }
        let made = self.allocate();
        if made.is_err() {
            // Half a ballast is only in the way.
            let _ = std::fs::remove_file(&self.path);
        }
        made
    }

    /// Gives the space back to the file system. Idempotent.
    ///
    /// # Errors
    /// The kernel's error when the file cannot be removed.
    pub(crate) fn release(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_dir(self.path.parent().unwrap_or(Path::new("."))),
        }
    }

    fn allocate(&self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(&self.path)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP) => fill(&file)?,
            Err(error) => return Err(error.into()),
        }
        file.sync_all()
    }
}

/// Writes bytes that no file system compresses away, where `fallocate` is unknown.
fn fill(mut file: &File) -> io::Result<()> {
    let mut block = vec![0_u8; 1 << 20];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..BALLAST_BYTES >> 20 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}

/// Makes the entries of a directory (created, renamed, removed files) durable.
///
/// # Errors
/// The kernel's error.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ballast_is_really_allocated_and_really_given_back() {
        let dir = std::env::temp_dir().join(format!("nightdrop-ballast-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let ballast = Ballast::of(&dir);
        assert!(!ballast.is_held());
        ballast.restore().unwrap();
        ballast.restore().unwrap();
        assert!(ballast.is_held());
        ballast.release().unwrap();
        ballast.release().unwrap();
        assert!(!ballast.is_held());
        let free = free_space(&dir).unwrap();
        assert!(free.bytes > 0 && free.percent <= 100);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
