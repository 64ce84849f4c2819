//! The writer that is killed or loses its disk, and what it writes: everything follows from names, so that
//! who checks needs no copy.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use nightdrop::testing::domain::id::DocumentId;
use nightdrop::testing::storage::files::FileStore;
use nightdrop::testing::storage::sled::durable::{DurableSled, Options};
use nightdrop::testing::storage::sled::records::Batch;
use nightdrop::testing::storage::{BlobKey, BlobStore, StorageError};

use super::{DIR, Name, SEED, Said};
use crate::block_log::monotonic;

const THREADS: u64 = 4;

pub fn is_writer() -> bool {
    std::env::var_os(DIR).is_some()
}

/// Rows and documents, side by side as in a data folder.
pub struct Both {
    pub rows: DurableSled,
    pub documents: FileStore,
}

impl Both {
    pub fn open(dir: &Path, options: Options) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let rows = DurableSled::open(&dir.join("store"), options).unwrap();
        let documents = dir.join("documents");
        if !documents.exists() {
            FileStore::create(&documents).unwrap();
        }
        let documents = FileStore::open(&documents).unwrap();
        Self { rows, documents }
    }

    /// All chunks of a document, durable when this returns.
    pub fn put(&self, name: Name, chunks: u32) -> Result<(), StorageError> {
        wait(async {
            let mut writer = self.documents.writer(key(name, 0).document, 0, 0).await?;
            for chunk in 0..chunks {
                writer.put(&bytes(name, chunk)).await?;
            }
            writer.sync().await.map(drop)
        })
    }

    pub fn get(&self, key: BlobKey) -> Option<Vec<u8>> {
        wait(self.documents.get(key)).unwrap().map(Vec::from)
    }
}

pub fn wait<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(what)
}

/// Stores and deletes until it is killed.
pub fn writer() {
    let store = Both::open(Path::new(&std::env::var(DIR).unwrap()), Options::default());
    // Ids go on where an earlier round of the same store ended.
    let generation = std::env::var(SEED).unwrap().parse::<u64>().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || write(store, thread, generation));
        }
    });
}

pub fn write(store: &Both, thread: u64, generation: u64) {
    let mut random = Random((generation << 8) | thread | 1);
    let mut alive = Vec::new();
    for count in 0_u64.. {
        let name = (thread, (generation << 24) | count);
        // Mostly small documents, some that need trees of their own.
        let chunks = if random.below(4) == 0 {
            1 + random.below(40) as u32
        } else {
            1 + random.below(3) as u32
        };
        store.put(name, chunks).unwrap();
        let mut batch = Batch::new();
        batch.put(row(name), chunks.to_be_bytes()).put(twin(name), chunks.to_be_bytes());
        let seq = store.rows.apply(batch).unwrap();
        store.rows.settled_blocking(seq).unwrap();
        tell("+", name, chunks);
        alive.push((name, chunks));
        // Few stay, so that segments are freed and used again.
        if alive.len() > 5 || random.below(3) == 0 {
            let (name, chunks) = alive.swap_remove(random.below(alive.len() as u64) as usize);
            delete(store, name, chunks);
        }
    }
}

pub fn delete(store: &Both, name: Name, chunks: u32) {
    tell("?", name, chunks);
    let mut batch = Batch::new();
    batch.remove(row(name)).remove(twin(name)).frees_space();
    let seq = store.rows.apply(batch).unwrap();
    store.rows.settled_blocking(seq).unwrap();
    wait(store.documents.delete(key(name, 0).document)).unwrap();
    tell("-", name, chunks);
}

/// One write call per line: lines of several threads must not mix.
pub fn tell(what: &str, name: Name, chunks: u32) {
    let line = format!("{what} {} {} {chunks} {} .\n", name.0, name.1, monotonic());
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

// ---- sled as it comes ----

pub fn plain_writer() {
    let db = sled::Config::new().path(std::env::var(DIR).unwrap()).open().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let db = &db;
            scope.spawn(move || {
                for number in 0_u64.. {
                    let name = (thread, number);
                    for chunk in 0..4 {
                        db.insert(plain_key(name, chunk), bytes(name, chunk)).unwrap();
                    }
                    db.flush().unwrap();
                    tell("+", name, 4);
                }
            });
        }
    });
}

/// How many acknowledged documents are not whole; or that the database does not even open.
pub fn plain_lost(dir: &Path, before: &Said) -> Result<usize, &'static str> {
    catch_unwind(AssertUnwindSafe(|| {
        let db = sled::Config::new().path(dir).open().map_err(|_| "it does not open")?;
        let whole = |name: Name| {
            (0..4).all(|chunk| {
                db.get(plain_key(name, chunk))
                    .is_ok_and(|value| value.is_some_and(|value| *value == bytes(name, chunk)))
            })
        };
        Ok(before.stored.keys().filter(|name| !whole(**name)).count())
    }))
    .unwrap_or(Err("sled panics"))
}

pub fn plain_key(name: Name, chunk: u32) -> Vec<u8> {
    let mut key = row(name);
    key.extend(chunk.to_be_bytes());
    key
}

// ---- Names and bytes ----

pub fn row(name: Name) -> Vec<u8> {
    [b"doc".as_slice(), &name.0.to_be_bytes(), &name.1.to_be_bytes()].concat()
}

pub fn twin(name: Name) -> Vec<u8> {
    [b"twin".as_slice(), &name.1.to_be_bytes(), &name.0.to_be_bytes()].concat()
}

pub fn name_of(row: &[u8]) -> Name {
    let number = |at: usize| u64::from_be_bytes(row[at..at + 8].try_into().unwrap());
    (number(3), number(11))
}

pub fn key(name: Name, chunk: u32) -> BlobKey {
    let mut document = [0; 16];
    document[..8].copy_from_slice(&name.1.to_be_bytes());
    document[8..].copy_from_slice(&name.0.to_be_bytes());
    BlobKey {
        document: DocumentId(document),
        file_index: 0,
        chunk,
    }
}

/// The content of a chunk follows from its name. All have the same length but none is a page: the last of a document need not be shorter.
pub fn bytes(name: Name, chunk: u32) -> Vec<u8> {
    let mut random = Random(((name.0 << 56) ^ (name.1 << 16) ^ u64::from(chunk)) | 1);
    let mut bytes = vec![0; 65_552];
    for word in bytes.chunks_mut(8) {
        let random = random.next().to_le_bytes();
        word.copy_from_slice(&random[..word.len()]);
    }
    bytes
}

/// xorshift64*: repeatable and good enough.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }
}
