//! Sealed chunks in a table, for those who have no disk that several machines reach. Chunks are written a few at a time and need not be durable; [`PartWriter::sync`] writes
//! the rest, commits what is, and counts first: a server that was started again since may have lost what it never promised to keep.

use async_trait::async_trait;
use bytes::Bytes;

use super::PostgresStore;
use super::columns::id_of;
use super::error::Failed;
use super::tx::Tx;
use crate::chain::Cause;
use crate::domain::document::Durable;
use crate::domain::id::DocumentId;
use crate::storage::{BlobKey, BlobStore, PartWriter, ReadError, StorageError};

/// Chunks that are written in one transaction: what one upload has in memory until then is half a MiB. Each transaction costs the server more than a chunk's bytes do.
const AT_ONCE: usize = 8;

/// The documents that have files, one look of the index for each.
const DOCUMENTS: &str = "WITH RECURSIVE here (document) AS (\
    (SELECT document FROM file ORDER BY document LIMIT 1) UNION ALL \
    SELECT (SELECT document FROM file WHERE document > here.document ORDER BY document LIMIT 1) FROM here WHERE here.document IS NOT NULL) \
    SELECT document FROM here WHERE document IS NOT NULL";

/// Durable itself: what stood behind the place must not come back with a server that was started again, where the count of a sync would take it for what was put since.
async fn begin(tx: &Tx, document: DocumentId, file: i16, from: i64) -> Result<(), Failed> {
    let id = document.0.as_slice();
    tx.run(
        "DELETE FROM chunk WHERE document = $1 AND file_index = $2 AND number >= $3",
        &[&id, &file, &from],
    )
    .await?;
    let sql = "INSERT INTO file (document, file_index, chunks) VALUES ($1, $2, $3) ON CONFLICT (document, file_index) DO UPDATE SET chunks = excluded.chunks";
    tx.run(sql, &[&id, &file, &from]).await?;
    match count(tx, document, file).await? == from {
        true => Ok(()),
        false => Err(StorageError::Corrupt("chunks that were durable are not there".into()).into()),
    }
}

async fn count(tx: &Tx, document: DocumentId, file: i16) -> Result<i64, Failed> {
    let sql = "SELECT count(*) FROM chunk WHERE document = $1 AND file_index = $2";
    Ok(tx.one(sql, &[&document.0.as_slice(), &file]).await?.get(0))
}

async fn sync(tx: &Tx, document: DocumentId, file: i16, chunks: i64) -> Result<(), Failed> {
    let id = document.0.as_slice();
    // Written even if it says the same: a commit that has written is what makes everything before it durable.
    let sql = "UPDATE file SET chunks = $3 WHERE document = $1 AND file_index = $2";
    if tx.run(sql, &[&id, &file, &chunks]).await? == 0 {
        return Err(deleted());
    }
    match count(tx, document, file).await? == chunks {
        true => Ok(()),
        false => Err(StorageError::Busy("the database has lost chunks that were not durable yet".into()).into()),
    }
}

/// Writes chunks from that number on; again is no fault. The file's row is held meanwhile: whoever deletes the file waits, and then deletes these as well.
async fn insert(tx: &Tx, document: DocumentId, file: i16, from: i64, chunks: &[Bytes]) -> Result<(), Failed> {
    let data: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
    let sql = "INSERT INTO chunk (document, file_index, number, data) \
        SELECT $1, $2, $3::bigint + place - 1, data FROM unnest($4::bytea[]) WITH ORDINALITY AS sent (data, place) \
        WHERE EXISTS (SELECT 1 FROM file WHERE document = $1 AND file_index = $2 FOR KEY SHARE) \
        ON CONFLICT (document, file_index, number) DO UPDATE SET data = excluded.data";
    match tx.run(sql, &[&document.0.as_slice(), &file, &from, &data]).await? {
        0 => Err(deleted()),
        _ => Ok(()),
    }
}

fn deleted() -> Failed {
    StorageError::Busy("the file was deleted while it was written".into()).into()
}

async fn get(tx: &Tx, key: BlobKey) -> Result<Option<Result<Vec<u8>, ()>>, Failed> {
    let (id, file) = (key.document.0.as_slice(), i16::from(key.file_index));
    let sql = "SELECT (SELECT data FROM chunk WHERE document = $1 AND file_index = $2 AND number = $3), \
        EXISTS (SELECT 1 FROM file WHERE document = $1 AND file_index = $2)";
    let row = tx.one(sql, &[&id, &file, &i64::from(key.chunk)]).await?;
    Ok(match (row.get::<_, Option<Vec<u8>>>(0), row.get(1)) {
        (Some(data), _) => Some(Ok(data)),
        (None, true) => Some(Err(())),
        (None, false) => None,
    })
}

#[async_trait]
impl BlobStore for PostgresStore {
    async fn writer(&self, document: DocumentId, file_index: u8, from: u32) -> Result<Box<dyn PartWriter>, StorageError> {
        let (file, chunks) = (i16::from(file_index), i64::from(from));
        transaction!(self, |_core, tx, document, file, chunks| begin(tx, document, file, chunks).await)?;
        Ok(Box::new(Writer {
            core: self.core.clone(),
            document,
            file_index,
            chunks: from,
            waiting: Vec::new(),
            failed: None,
        }))
    }

    async fn get(&self, key: BlobKey) -> Result<Option<Bytes>, ReadError> {
        let found = query!(self, |tx, key| get(tx, key).await);
        match found {
            Ok(Some(Ok(data))) => Ok(Some(Bytes::from(data))),
            Ok(Some(Err(()))) => Err(ReadError::Final("the file ends before this chunk".into())),
            Ok(None) => Ok(None),
            Err(StorageError::Corrupt(why)) => Err(ReadError::Final(why)),
            Err(error) => Err(ReadError::Transient(Cause::new(error))),
        }
    }

    async fn delete(&self, document: DocumentId) -> Result<(), StorageError> {
        transaction!(self, |_core, tx, document| {
            let id = document.0.as_slice();
            tx.run("DELETE FROM file WHERE document = $1", &[&id]).await?;
            tx.run("DELETE FROM chunk WHERE document = $1", &[&id]).await.map(drop)
        })
    }

    async fn delete_file(&self, document: DocumentId, file_index: u8) -> Result<(), StorageError> {
        let file = i16::from(file_index);
        transaction!(self, |_core, tx, document, file| {
            let id = document.0.as_slice();
            tx.run("DELETE FROM file WHERE document = $1 AND file_index = $2", &[&id, &file])
                .await?;
            tx.run("DELETE FROM chunk WHERE document = $1 AND file_index = $2", &[&id, &file])
                .await
                .map(drop)
        })
    }

    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError> {
        query!(self, |tx| {
            let rows = tx.rows(DOCUMENTS, &[]).await?;
            rows.iter().map(|row| id_of(row, 0).map(DocumentId)).collect()
        })
    }

    /// Its disk is the server's: a full one is said by the write that meets it.
    fn room_for(&self, _bytes: u64) -> bool {
        true
    }
}

struct Writer {
    core: std::sync::Arc<super::Core>,
    document: DocumentId,
    file_index: u8,
    /// Those that were written.
    chunks: u32,
    /// Those behind them that are not yet.
    waiting: Vec<Bytes>,
    failed: Option<StorageError>,
}

impl Writer {
    /// What is not written yet: of which file, from which number on, and the chunks.
    fn rest(&self) -> (DocumentId, i16, i64, Vec<Bytes>) {
        (
            self.document,
            i16::from(self.file_index),
            i64::from(self.chunks),
            self.waiting.clone(),
        )
    }

    fn written(&mut self) {
        self.chunks += u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.waiting.clear();
    }

    fn noted<T>(&mut self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }
}

#[async_trait]
impl PartWriter for Writer {
    async fn put(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.waiting.push(Bytes::copy_from_slice(chunk));
        match self.waiting.len() < AT_ONCE {
            true => Ok(()),
            false => self.show().await,
        }
    }

    async fn show(&mut self) -> Result<(), StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (document, file, from, chunks) = self.rest();
        let put = transaction!(self, |_core, tx, document, file, from, chunks| {
            tx.relax();
            insert(tx, document, file, from, &chunks).await
        });
        self.noted(put)?;
        self.written();
        Ok(())
    }

    async fn sync(&mut self) -> Result<Durable, StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let (document, file, from, chunks) = self.rest();
        let synced = transaction!(self, |_core, tx, document, file, from, chunks| {
            if !chunks.is_empty() {
                insert(tx, document, file, from, &chunks).await?;
            }
            let all = from + i64::try_from(chunks.len()).unwrap_or(i64::MAX);
            sync(tx, document, file, all).await
        });
        self.noted(synced)?;
        self.written();
        Ok(Durable::synced(self.document, self.file_index, self.chunks))
    }
}
