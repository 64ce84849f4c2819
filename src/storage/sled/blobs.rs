//! Sealed chunks in the embedded store: the chunks go into the same log as the rows, so the sync of a row covers every chunk put before it.

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::id::DocumentId;
use crate::storage::{BlobKey, BlobStore, ReadError, StorageError};

use super::slab::ChunkKey;
use super::{SledStore, sorted};

/// Uploads are refused while less than this is free: purging and reopening need room to write.
const FREE_BYTES: u64 = 1 << 30;
/// … or less than this share of the file system, in percent.
const FREE_PERCENT: u64 = 5;
/// A small file system may be used nearly whole: the reserve is never more than this share of it, in percent.
const RESERVE_PERCENT: u64 = 20;

#[async_trait]
impl BlobStore for SledStore {
    async fn put(&self, key: BlobKey, chunk: Bytes) -> Result<(), StorageError> {
        // Waiting for the disk must not hold a thread: others of it only want a page.
        while self.store.core().backlogged() {
            self.store.durable().await.map_err(sorted)?;
        }
        let now = u64::try_from(self.clock.now().unix_timestamp()).unwrap_or(0);
        self.store.chunks().put(chunk_key(key), &chunk, now).map(drop).map_err(sorted)
    }

    async fn get(&self, key: BlobKey) -> Result<Option<Bytes>, ReadError> {
        Ok(self.store.chunks().get(chunk_key(key))?.map(Bytes::from))
    }

    async fn delete(&self, document: DocumentId) -> Result<(), StorageError> {
        self.store.chunks().delete_document(document.0).map(drop).map_err(sorted)
    }

    async fn delete_file(&self, document: DocumentId, file_index: u8) -> Result<(), StorageError> {
        self.store.chunks().delete_file(document.0, file_index).map(drop).map_err(sorted)
    }

    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.chunks().documents(after, 1_000).map_err(sorted)?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(*last);
            all.extend(page.into_iter().map(|(document, _)| DocumentId(document)));
        }
    }

    fn room_for(&self, bytes: u64) -> bool {
        self.store.free_space().is_ok_and(|free| {
            let whole = if free.percent == 0 {
                u64::MAX
            } else {
                free.bytes.saturating_mul(100) / u64::from(free.percent)
            };
            let reserve = FREE_BYTES.max(whole / 100 * FREE_PERCENT).min(whole / 100 * RESERVE_PERCENT);
            // The log's file never shrinks: once it has filled the disk, what purged documents left in it is the room there is.
            let roomy = |spare: u64| spare.saturating_sub(bytes) > reserve;
            roomy(free.bytes) || roomy(free.bytes.saturating_add(self.store.reusable()))
        })
    }
}

fn chunk_key(key: BlobKey) -> ChunkKey {
    ChunkKey {
        document: key.document.0,
        file: key.file_index,
        chunk: key.chunk,
    }
}
