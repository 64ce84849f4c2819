//! The yardstick: sealed chunks in one plain file per document, fsynced (file and folder) behind the last chunk. Not a backend: it does no more than the measurement needs.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use nightdrop::domain::id::DocumentId;
use nightdrop::storage::{BlobKey, BlobStore, StorageError};

/// Every sealed chunk but the last one of a file has this length.
const WHOLE: usize = (64 << 10) + 16;

pub struct Files {
    folder: PathBuf,
    open: Mutex<HashMap<DocumentId, Arc<File>>>,
}

impl Files {
    pub fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            folder,
            open: Mutex::default(),
        }
    }

    fn path(&self, document: DocumentId) -> PathBuf {
        self.folder.join(document.to_string())
    }

    /// Appends; a short chunk is the last, and durable when this returns. Chunks come in order.
    pub fn append(&self, document: DocumentId, chunk: &[u8]) -> Option<Arc<File>> {
        let path = self.path(document);
        let mut file = self
            .open
            .lock()
            .unwrap()
            .entry(document)
            .or_insert_with(|| Arc::new(File::options().create_new(true).write(true).open(path).unwrap()))
            .clone();
        Write::write_all(&mut file, chunk).unwrap();
        (chunk.len() < WHOLE).then(|| self.open.lock().unwrap().remove(&document)).flatten()
    }

    pub fn sync(&self, file: &File) {
        file.sync_all().unwrap();
        File::open(&self.folder).unwrap().sync_all().unwrap();
    }
}

#[async_trait]
impl BlobStore for Files {
    async fn put(&self, key: BlobKey, chunk: Bytes) -> Result<(), StorageError> {
        if let Some(whole) = self.append(key.document, &chunk) {
            let folder = self.folder.clone();
            let synced = tokio::task::spawn_blocking(move || {
                whole.sync_all().unwrap();
                File::open(folder).unwrap().sync_all().unwrap();
            });
            synced.await.unwrap();
        }
        Ok(())
    }

    async fn get(&self, key: BlobKey) -> Result<Option<Bytes>, StorageError> {
        let file = File::open(self.path(key.document)).unwrap();
        let start = u64::from(key.chunk) * WHOLE as u64;
        let length = (file.metadata().unwrap().len() - start).min(WHOLE as u64);
        let mut chunk = vec![0; usize::try_from(length).unwrap()];
        file.read_exact_at(&mut chunk, start).unwrap();
        Ok(Some(chunk.into()))
    }

    async fn delete(&self, document: DocumentId) -> Result<(), StorageError> {
        let _ = std::fs::remove_file(self.path(document));
        Ok(())
    }

    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError> {
        Ok(Vec::new())
    }

    fn room_for(&self, _: u64) -> bool {
        true
    }
}

/// Takes chunks and forgets them: what the way to the store costs without a store.
pub struct Nowhere;

#[async_trait]
impl BlobStore for Nowhere {
    async fn put(&self, _: BlobKey, _: Bytes) -> Result<(), StorageError> {
        Ok(())
    }

    async fn get(&self, _: BlobKey) -> Result<Option<Bytes>, StorageError> {
        Ok(None)
    }

    async fn delete(&self, _: DocumentId) -> Result<(), StorageError> {
        Ok(())
    }

    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError> {
        Ok(Vec::new())
    }

    fn room_for(&self, _: u64) -> bool {
        true
    }
}
