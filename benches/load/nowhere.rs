//! A store that takes chunks and forgets them: what the way to the store costs without a store.

use async_trait::async_trait;
use bytes::Bytes;
use nightdrop::testing::domain::document::Durable;
use nightdrop::testing::domain::id::DocumentId;
use nightdrop::testing::storage::{BlobKey, BlobStore, PartWriter, ReadError, StorageError};

pub struct Nowhere;

struct Forgetful {
    document: DocumentId,
    file_index: u8,
    chunks: u32,
}

#[async_trait]
impl PartWriter for Forgetful {
    async fn put(&mut self, _: &[u8]) -> Result<(), StorageError> {
        self.chunks += 1;
        Ok(())
    }

    async fn sync(&mut self) -> Result<Durable, StorageError> {
        Ok(Durable::synced(self.document, self.file_index, self.chunks))
    }
}

#[async_trait]
impl BlobStore for Nowhere {
    async fn writer(&self, document: DocumentId, file_index: u8, chunks: u32) -> Result<Box<dyn PartWriter>, StorageError> {
        Ok(Box::new(Forgetful {
            document,
            file_index,
            chunks,
        }))
    }

    async fn get(&self, _: BlobKey) -> Result<Option<Bytes>, ReadError> {
        Ok(None)
    }

    async fn delete(&self, _: DocumentId) -> Result<(), StorageError> {
        Ok(())
    }

    async fn delete_file(&self, _: DocumentId, _: u8) -> Result<(), StorageError> {
        Ok(())
    }

    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError> {
        Ok(Vec::new())
    }

    fn room_for(&self, _: u64) -> bool {
        true
    }
}
