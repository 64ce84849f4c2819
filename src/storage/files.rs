//! Sealed chunks in files: one file for each part, named by its document, so that no two documents share anything that one of them could lose for the other.
//!
//! `<32 hex digits of the document>.<file index>` in one flat, private folder; chunk N at offset N × 65,552.
//!
//! * **Writing** only fills the page cache, on the thread that sealed the chunk. What waits for the disk is bounded: a writer has its bytes written out
//!   behind its back, and waits when the disk is slower than its sender.
//! * **Durable** is what [`PartWriter::sync`] returned a [`Durable`] for: the file was synced, then the folder that names it, and the name is still there.
//!   No transition that names chunks can be made without that proof.
//! * **After a failed write or sync** the pages may be lost though they look clean. The writer answers nothing but its error from then on; whoever goes on
//!   with the file later starts behind what was proved, and the rest is cut off first.
//! * **Deleting** removes names and syncs the folder before it answers, whoever removed them: it may be repeated, and done by two at once.
//! * **Errors concern one document** ([`FileError`]); nothing here is ever given up as a whole.
//!
//! It never opens what it keeps, never follows a symbolic link, and knows nothing of rows.

mod error;
#[cfg(test)]
mod model;
mod rounds;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use tokio::task::JoinHandle;

use super::sled::ballast::{free_space, sync_dir};
use super::{BlobKey, BlobStore, PartWriter, ReadError, StorageError};
use crate::chain::Cause;
use crate::domain::document::Durable;
use crate::domain::id::DocumentId;
use crate::failpoint::{self, Failpoint};

pub(crate) use error::FileError;
use rounds::Rounds;

/// Bytes of every sealed chunk of a file but the last one, which may be shorter.
pub(crate) const CHUNK_LEN: usize = (64 << 10) + 16;
/// File indexes of one document: parts, or the chunks and the two tails of an unfinished upload. More than there are, so that deleting finds all of them.
const FILES: u8 = 8;
/// Bytes that one writer may put before they are written out.
const OWN_SHARE: u64 = 8 << 20;
/// Bytes that all writers together may have put: beyond it each writes out what it has as soon as it is worth it.
const ALL_SHARES: u64 = 64 << 20;
const WORTH_IT: u64 = 1 << 20;
/// Uploads are refused while less than this is free: purging and reopening need room to write.
const FREE_BYTES: u64 = 1 << 30;
/// … or less than this share of the file system, in percent.
const FREE_PERCENT: u64 = 5;
/// A small file system may be used nearly whole: the reserve is never more than this share of it, in percent.
const RESERVE_PERCENT: u64 = 20;

/// The chunks of one data folder. Clones share it. Only one process may use a folder: the lock of the records beside it sees to that.
#[derive(Clone)]
pub struct FileStore(Arc<Folder>);

struct Folder {
    path: PathBuf,
    dir: File,
    names: Rounds,
    /// Bytes that were put and are not written out.
    unsynced: AtomicU64,
    #[cfg(test)]
    faults: tests::Faults,
}

impl FileStore {
    /// Makes the empty folder, private and durable.
    ///
    /// # Errors
    /// The kernel's, above all that it exists already.
    pub fn create(path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)?;
        sync_dir(path.parent().unwrap_or(path))
    }

    /// Opens a folder that [`FileStore::create`] has made. Touches nothing.
    ///
    /// # Errors
    /// The kernel's, above all that it is not there: an empty one in its place would look like lost documents.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(Arc::new(Folder {
            path: path.to_owned(),
            dir: File::from(rustix::fs::open(path, flags, Mode::empty())?),
            names: Rounds::default(),
            unsynced: AtomicU64::new(0),
            #[cfg(test)]
            faults: tests::Faults::default(),
        })))
    }
}

#[async_trait]
impl BlobStore for FileStore {
    async fn writer(&self, document: DocumentId, file_index: u8, from: u32) -> Result<Box<dyn PartWriter>, StorageError> {
        let file = self.0.file_to_write(document, file_index, from)?;
        Ok(Box::new(Writer {
            file: Arc::new(file),
            unsynced: Unsynced::none(&self.0),
            folder: self.0.clone(),
            document,
            file_index,
            chunks: from,
            // What a row names was durable with its name.
            named: from > 0,
            ended: false,
            running: None,
            failed: None,
        }))
    }

    async fn get(&self, key: BlobKey) -> Result<Option<Bytes>, ReadError> {
        Ok(self.0.read(key)?.map(Bytes::from))
    }

    async fn delete(&self, document: DocumentId) -> Result<(), StorageError> {
        let folder = self.0.clone();
        Ok(blocking(move || folder.delete(document, 0..FILES)).await?)
    }

    async fn delete_file(&self, document: DocumentId, file_index: u8) -> Result<(), StorageError> {
        let folder = self.0.clone();
        Ok(blocking(move || folder.delete(document, file_index..file_index + 1)).await?)
    }

    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError> {
        let folder = self.0.clone();
        Ok(blocking(move || folder.documents()).await?)
    }

    fn room_for(&self, bytes: u64) -> bool {
        room_for(&self.0.path, bytes)
    }
}

/// Whether the disk of this folder takes so many bytes and keeps its reserve.
pub(crate) fn room_for(folder: &Path, bytes: u64) -> bool {
    free_space(folder).is_ok_and(|free| {
        let whole = match free.percent {
            0 => u64::MAX,
            percent => free.bytes.saturating_mul(100) / u64::from(percent),
        };
        let reserve = FREE_BYTES.max(whole / 100 * FREE_PERCENT).min(whole / 100 * RESERVE_PERCENT);
        free.bytes.saturating_sub(bytes) > reserve
    })
}

impl Folder {
    /// From 0: a new file, whatever stood under the name. Else the file that has so many chunks, and nothing behind them.
    fn file_to_write(&self, document: DocumentId, file_index: u8, from: u32) -> Result<File, FileError> {
        if file_index >= FILES {
            return Err(FileError::Misused("a file index that no document has"));
        }
        let name = name(document, file_index);
        let open = |flags| self.open(&name, OFlags::WRONLY | flags).map(File::from);
        if from == 0 {
            // A file of its own: who still holds the old one must not write into this one.
            self.unlink(&name)?;
            return open(OFlags::CREATE | OFlags::EXCL).map_err(|e| FileError::sort("a file cannot be made", e.into()));
        }
        let file = match open(OFlags::empty()) {
            Err(Errno::NOENT) => return Err(FileError::Gone),
            opened => opened.map_err(|e| FileError::sort("a file cannot be opened", e.into()))?,
        };
        let proved = u64::from(from) * CHUNK_LEN as u64;
        let length = file.metadata().map_err(|e| FileError::sort("a file cannot be looked at", e))?.len();
        if length < proved {
            return Err(FileError::Short);
        }
        if length > proved {
            file.set_len(proved).map_err(|e| FileError::sort("a file cannot be cut", e))?;
        }
        Ok(file)
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::io::retry_on_intr(|| rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR))
    }

    fn read(&self, key: BlobKey) -> Result<Option<Vec<u8>>, FileError> {
        let failed = |error: Errno| FileError::sort("a chunk cannot be read", error.into());
        let name = name(key.document, key.file_index);
        let file = match self.open(&name, OFlags::RDONLY) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        #[cfg(test)]
        self.faults
            .meet("read", &name)
            .map_err(|e| FileError::sort("a chunk cannot be read", e))?;
        let start = u64::from(key.chunk) * CHUNK_LEN as u64;
        let mut chunk = Vec::with_capacity(CHUNK_LEN);
        while chunk.len() < CHUNK_LEN {
            let at = start + chunk.len() as u64;
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut chunk), at));
            if read.map_err(failed)? == 0 {
                break;
            }
        }
        chunk.truncate(CHUNK_LEN);
        if chunk.is_empty() { Err(FileError::Short) } else { Ok(Some(chunk)) }
    }

    fn write(&self, file: &File, chunk: &[u8], at: u64) -> Result<(), FileError> {
        let failed = |error| FileError::sort("a chunk cannot be written", error);
        #[cfg(test)]
        self.faults.meet_file("write", file).map_err(failed)?;
        file.write_all_at(chunk, at).map_err(failed)
    }

    /// Makes what was written to the file durable. Only an interrupted call is repeated: after any other error the kernel may have dropped the pages, and a
    /// second call would report a success that is none.
    fn sync_file(&self, file: &File) -> Result<(), FileError> {
        let failed = |error| FileError::sort("a file cannot be synced", error);
        #[cfg(test)]
        self.faults.meet_file("sync", file).map_err(failed)?;
        rustix::io::retry_on_intr(|| rustix::fs::fdatasync(file)).map_err(|e| failed(e.into()))
    }

    /// Makes every name that was made or removed before this call durable, together with whoever else waits for it.
    fn sync_names(&self) -> Result<(), FileError> {
        self.names.share(|| {
            #[cfg(test)]
            self.faults
                .meet("sync", "folder")
                .map_err(|e| FileError::sort("the folder cannot be synced", e))?;
            rustix::io::retry_on_intr(|| rustix::fs::fsync(&self.dir)).map_err(|e| FileError::sort("the folder cannot be synced", e.into()))
        })
    }

    fn unlink(&self, name: &str) -> Result<(), FileError> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(FileError::sort("a file cannot be removed", error.into())),
        }
    }

    /// The folder is synced also when nothing was there: who removed it may not have come so far.
    fn delete(&self, document: DocumentId, files: std::ops::Range<u8>) -> Result<(), FileError> {
        for file_index in files {
            self.unlink(&name(document, file_index))?;
            failpoint::pass(Failpoint::FileDeleted);
        }
        self.sync_names()
    }

    fn documents(&self) -> Result<Vec<DocumentId>, FileError> {
        let failed = |error: Errno| FileError::sort("the folder cannot be read", error.into());
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.dir).map_err(failed)? {
            found.extend(document_of(entry.map_err(failed)?.file_name().to_bytes()));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

fn name(document: DocumentId, file_index: u8) -> String {
    format!("{}.{file_index}", HEXLOWER.encode(&document.0))
}

/// Whose file this is; `None` for what was not made here.
fn document_of(name: &[u8]) -> Option<DocumentId> {
    let (document, file_index) = name.split_at_checked(32)?;
    let document: [u8; 16] = HEXLOWER.decode(document).ok()?.try_into().ok()?;
    matches!(file_index, [b'.', b'0'..=b'9', ..]).then_some(DocumentId(document))
}

/// Syncing and unlinking wait for the disk: they must not hold a thread that others want a page from.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, FileError> + Send + 'static) -> Result<T, FileError> {
    ended(tokio::task::spawn_blocking(work).await)
}

fn ended<T>(outcome: Result<Result<T, FileError>, tokio::task::JoinError>) -> Result<T, FileError> {
    outcome.unwrap_or_else(|error| Err(FileError::Busy("waiting for the disk was cut off", Cause::new(error))))
}

struct Writer {
    folder: Arc<Folder>,
    document: DocumentId,
    file_index: u8,
    file: Arc<File>,
    /// Chunks of the file so far.
    chunks: u32,
    /// Whether the name of the file is durable.
    named: bool,
    /// Whether a short chunk was put: it is the last one.
    ended: bool,
    unsynced: Unsynced,
    /// The sync under way. Kept here until its outcome is known, so that a caller who goes away in between cannot make it forgotten.
    running: Option<JoinHandle<Result<(), FileError>>>,
    failed: Option<FileError>,
}

#[async_trait]
impl PartWriter for Writer {
    async fn put(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        let put = self.put_next(chunk).await;
        self.note(put)
    }

    async fn sync(&mut self) -> Result<Durable, StorageError> {
        let synced = self.settle().await;
        self.note(synced)?;
        Ok(Durable::synced(self.document, self.file_index, self.chunks))
    }
}

impl Writer {
    fn note<T>(&mut self, outcome: Result<T, FileError>) -> Result<T, StorageError> {
        if let Err(error) = &outcome {
            self.failed.get_or_insert_with(|| error.clone());
        }
        Ok(outcome?)
    }

    async fn put_next(&mut self, chunk: &[u8]) -> Result<(), FileError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if chunk.is_empty() || chunk.len() > CHUNK_LEN || self.ended {
            return Err(FileError::Misused("a chunk of a wrong size, or one behind the last"));
        }
        let crowded = self.folder.unsynced.load(Ordering::Relaxed) >= ALL_SHARES;
        if self.unsynced.bytes >= if crowded { WORTH_IT } else { OWN_SHARE } {
            // The one before must be through: no more than two shares of a writer wait for the disk.
            self.join().await?;
            self.start(false);
        }
        self.folder.write(&self.file, chunk, u64::from(self.chunks) * CHUNK_LEN as u64)?;
        self.unsynced.add(chunk.len());
        self.ended = chunk.len() < CHUNK_LEN;
        self.chunks += 1;
        Ok(())
    }

    /// The file first, its name second; and then it must still be there.
    async fn settle(&mut self) -> Result<(), FileError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.join().await?;
        if !self.named || self.unsynced.bytes > 0 {
            self.start(true);
            self.join().await?;
            self.named = true;
        }
        Ok(())
    }

    fn start(&mut self, whole: bool) {
        let (folder, file) = (self.folder.clone(), self.file.clone());
        let unsynced = std::mem::replace(&mut self.unsynced, Unsynced::none(&self.folder));
        let new = !self.named;
        self.running = Some(tokio::task::spawn_blocking(move || {
            folder.sync_file(&file)?;
            drop(unsynced);
            if whole && new {
                folder.sync_names()?;
            }
            let status = rustix::fs::fstat(&*file).map_err(|e| FileError::sort("a file cannot be looked at", e.into()))?;
            if status.st_nlink == 0 { Err(FileError::Gone) } else { Ok(()) }
        }));
    }

    async fn join(&mut self) -> Result<(), FileError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let outcome = ended(running.await);
        self.running = None;
        outcome
    }
}

/// Bytes of one writer that are not written out, counted with those of all.
struct Unsynced {
    folder: Arc<Folder>,
    bytes: u64,
}

impl Unsynced {
    fn none(folder: &Arc<Folder>) -> Self {
        let folder = folder.clone();
        Self { folder, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.folder.unsynced.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        self.folder.unsynced.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
