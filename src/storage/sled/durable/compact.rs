//! Gives the disk back what the store's log takes for rows that were changed or removed since: the rows are written into a new database beside the old one, read back
//! from the disk and compared byte for byte, and then the two folders change their names in one step of the file system.
//!
//! A process that ends anywhere in between leaves the old database under its name, or the new one, whole and synced; the other one lies in `compacting`, which the next
//! opening removes. The lock is held from the first to the last step. No row changes, so that seals, chains, marks and checkpoints fit as before. Erasure slots and
//! sealed documents lie elsewhere and are not touched.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::{DurableSled, Options, SEGMENT_BYTES, room};
use crate::chain::Cause;
use crate::failpoint::{self, Failpoint};
use crate::storage::sled::ballast::sync_dir;
use crate::storage::sled::error::{StoreError, from_read};

/// The folder of a compaction, in the store's own.
const FOLDER: &str = "compacting";
const DATABASE: &str = "sled";
/// How long sled's last threads may need to let go of a file after it was closed.
const PATIENCE: u32 = 1_000;

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub rows: u64,
    /// What the database took on the disk before and after, in bytes.
    pub before: u64,
    pub after: u64,
}

/// Where a compaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compacting {
    /// Rows were counted.
    Counted(u64),
    /// So many of so many rows stand in the new database.
    Written(u64, u64),
    /// So many of so many rows were read back.
    Compared(u64, u64),
}

/// Removes what a compaction that was cut off has left: the database that does not carry the name.
pub(super) fn clear(dir: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(dir.join(FOLDER)) {
        Ok(()) => Ok(sync_dir(dir)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl DurableSled {
    /// Bytes of all keys and values, and what the database takes on the disk for them. Reads every row.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn measure(&self) -> Result<(u64, u64), StoreError> {
        let mut bytes = 0;
        for row in self.core.records.iter() {
            let (key, value) = row.map_err(from_read)?;
            bytes += (key.len() + value.len()) as u64;
        }
        Ok((bytes, size(&self.core.dir.join(DATABASE))?))
    }

    /// Rewrites the database and closes it. No other handle may be in use. Blocking, for minutes where there are millions of rows.
    ///
    /// # Errors
    /// `Full` where the rows have no room a second time, `Io`, `Unknown`: the store is as it was, whatever it says.
    pub fn compact(self, mut at: impl FnMut(Compacting)) -> Result<Compacted, StoreError> {
        let dir = self.core.dir.clone();
        let lock = Arc::clone(&self.core.lock);
        let (old, folder) = (dir.join(DATABASE), dir.join(FOLDER));
        let new = folder.join(DATABASE);
        clear(&dir)?;
        std::fs::create_dir(&folder)?;
        let ready = self.copy_to(&folder, &mut at).and_then(|rows| {
            sync_files(&new)?;
            sync_dir(&folder)?;
            failpoint::pass(Failpoint::CompactionWritten);
            self.close(&old)?;
            let sizes = (size(&old)?, size(&new)?);
            exchange(&old, &new)?;
            Ok((rows, sizes))
        });
        let (rows, (before, after)) = match ready {
            Ok(ready) => ready,
            Err(error) => {
                // The old one carries the name. What cannot be removed now goes at the next opening.
                let _ = clear(&dir);
                return Err(error);
            }
        };
        failpoint::pass(Failpoint::CompactionExchanged);
        // Neither is removed before the names are durable: after a power cut the old one may carry the name again.
        sync_dir(&dir)?;
        sync_dir(&folder)?;
        clear(&dir)?;
        drop(lock);
        Ok(Compacted { rows, before, after })
    }

    /// Writes every row into a new store in that folder, reads all of them back after it was opened anew, and returns how many there are.
    fn copy_to(&self, folder: &Path, at: &mut impl FnMut(Compacting)) -> Result<u64, StoreError> {
        can_exchange(folder)?;
        let (mut rows, mut bytes) = (0_u64, 0_u64);
        for row in self.core.records.iter() {
            let (key, value) = row.map_err(from_read)?;
            rows += 1;
            bytes += (key.len() + value.len()) as u64;
            if rows.is_multiple_of(EVERY) {
                at(Compacting::Counted(rows));
            }
        }
        if room(folder)?.bytes < wanted(bytes) {
            return Err(StoreError::Full { must_reopen: false });
        }
        let (_, mut snapshot) = self
            .snapshot()?
            .ok_or_else(|| StoreError::Unknown("a backup is being taken".into()))?;
        let copy = Self::open(folder, beside())?;
        let mut written = 0;
        copy.fill(|| {
            let next = snapshot.next_rows()?;
            written += next.len() as u64;
            at(Compacting::Written(written, rows));
            failpoint::pass(Failpoint::CompactionBegun);
            Ok(next)
        })?;
        drop(snapshot);
        copy.close(&folder.join(DATABASE))?;
        // As the next start finds it.
        let copy = Self::open(folder, beside())?;
        let mut compared = 0_u64;
        let (mut ours, mut theirs) = (self.core.records.iter(), copy.core.records.iter());
        loop {
            match (ours.next().transpose(), theirs.next().transpose()) {
                (Ok(None), Ok(None)) => break,
                (Ok(Some(one)), Ok(Some(other))) if one == other => compared += 1,
                (Err(error), _) | (_, Err(error)) => return Err(from_read(error)),
                _ => return Err(StoreError::Io("the rows that were written are not those that were read".into())),
            }
            if compared.is_multiple_of(EVERY) {
                at(Compacting::Compared(compared, rows));
            }
        }
        drop((ours, theirs));
        copy.close(&folder.join(DATABASE))?;
        Ok(compared)
    }

    /// Closes the database and waits until nobody has its file open.
    fn close(self, database: &Path) -> Result<(), StoreError> {
        drop(self);
        let file = File::open(database.join("db"))?;
        for _ in 0..PATIENCE {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(flock(&file, FlockOperation::Unlock).map_err(io::Error::from)?),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Err(StoreError::Held)
    }
}

/// Rows between two words about how far it is.
const EVERY: u64 = 1_000;

/// What must be free before rows of so many bytes are written again. sled writes each page more than once, and frees the earlier ones in whole segments.
fn wanted(bytes: u64) -> u64 {
    bytes.saturating_mul(2).saturating_add(4 * SEGMENT_BYTES as u64)
}

/// How the new database is opened: without a ballast, since no disk has that much free, and without ending the process, since nothing rests on it yet.
fn beside() -> Options {
    Options {
        reserve_bytes: u64::MAX,
        abort: Arc::new(|_| {}),
        ..Options::default()
    }
}

/// Fails before anything was copied where two folders cannot change their names at once.
fn can_exchange(folder: &Path) -> Result<(), StoreError> {
    let (one, other) = (folder.join("one"), folder.join("other"));
    std::fs::create_dir(&one)?;
    std::fs::create_dir(&other)?;
    exchange(&one, &other)?;
    std::fs::remove_dir(&one)?;
    Ok(std::fs::remove_dir(&other)?)
}

fn exchange(one: &Path, other: &Path) -> Result<(), StoreError> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|error| match error {
        rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP => StoreError::Io(Cause::from(
            "this file system cannot exchange two folders in one step, which ext4, XFS and btrfs can",
        )),
        other => io::Error::from(other).into(),
    })
}

/// Syncs every file of a folder, and the folder.
fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_files(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(folder)
}

/// What the files of a folder take on the disk.
fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() {
            size(&entry.path())?
        } else {
            found.blocks() * 512
        };
    }
    Ok(bytes)
}
