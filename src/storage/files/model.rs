//! A model of the chunk files with many callers at once: writers, deleters and readers on the same few documents, over many seeds. What was proved and not deleted reads
//! back byte for byte, of what was deleted nothing is left, and nobody's deletion reaches another document.
#![allow(clippy::unwrap_used)]
// Each thread runs a runtime of its own: whoever gives a lock back never waits for the thread that wants it.
#![allow(clippy::await_holding_lock)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::tests::Scratch;
use super::*;

const DOCUMENTS: u8 = 3;
const THREADS: u64 = 4;
const STEPS: u32 = 12;

/// xorshift64*: repeatable and good enough.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }
}

/// What a version of a file holds follows from its number.
fn bytes(version: u64, chunk: u32, chunks: u32) -> Vec<u8> {
    let mut random = Random((version << 20 | u64::from(chunk)) | 1);
    let length = if chunk + 1 == chunks {
        1 + random.below(5_000) as usize
    } else {
        CHUNK_LEN
    };
    let word = random.below(u64::MAX).to_le_bytes();
    word.iter().copied().cycle().take(length).collect()
}

/// Version and chunks.
type Version = (u64, u32);

#[derive(Default)]
struct Document {
    /// By file index: what was proved last and not deleted since.
    proved: BTreeMap<u8, Version>,
    /// Files whose writer went away without a proof: what the sweep is for.
    abandoned: BTreeSet<u8>,
    /// Deletions that began. What was being written meanwhile has a proof or not; the rows would refuse it.
    deletions: u64,
    /// Deletions under way.
    deleting: u32,
}

/// The rows, as it were: who writes a file holds its lock, as an upload holds its part; deleting needs none.
struct Model {
    documents: Vec<Mutex<Document>>,
    files: Vec<Mutex<()>>,
}

impl Model {
    fn new() -> Self {
        Self {
            documents: (0..DOCUMENTS).map(|_| Mutex::default()).collect(),
            files: (0..2 * DOCUMENTS).map(|_| Mutex::default()).collect(),
        }
    }
}

fn id(document: usize) -> DocumentId {
    DocumentId([document as u8 + 1; 16])
}

/// Writes a version of one file; it counts only if no deletion began meanwhile, as a row would be refused.
async fn write(store: &FileStore, model: &Model, random: &mut Random, version: u64) {
    let (document, file) = (random.below(DOCUMENTS.into()) as usize, random.below(2) as u8);
    let Ok(_lane) = model.files[document * 2 + usize::from(file)].try_lock() else {
        return;
    };
    let before = {
        let mut rows = model.documents[document].lock().unwrap();
        // Rows give a file up before it is replaced, and begin nothing in a document that is being deleted.
        if rows.deleting > 0 {
            return;
        }
        rows.proved.remove(&file);
        rows.deletions
    };
    let chunks = 1 + random.below(4) as u32;
    let mut writer = store.writer(id(document), file, 0).await.unwrap();
    for chunk in 0..chunks {
        writer.put(&bytes(version, chunk, chunks)).await.unwrap();
        if random.below(8) == 0 {
            std::thread::yield_now();
        }
    }
    if random.below(5) == 0 {
        model.documents[document].lock().unwrap().abandoned.insert(file);
        return;
    }
    let proof = writer.sync().await;
    let mut rows = model.documents[document].lock().unwrap();
    if rows.deletions == before {
        assert_eq!(proof, Ok(Durable::synced(id(document), file, chunks)), "nobody deleted it");
        rows.proved.insert(file, (version, chunks));
        rows.abandoned.remove(&file);
    } else {
        // As the one that a row refused would be: destroyed by the one who was refused.
        drop(rows);
        drop(writer);
        store.delete_file(id(document), file).await.unwrap();
    }
}

async fn delete(store: &FileStore, model: &Model, random: &mut Random) {
    let document = random.below(DOCUMENTS.into()) as usize;
    let begin = || {
        let mut rows = model.documents[document].lock().unwrap();
        rows.proved.clear();
        rows.deletions += 1;
        rows.deleting += 1;
    };
    let end = || model.documents[document].lock().unwrap().deleting -= 1;
    begin();
    if random.below(2) == 0 {
        store.delete(id(document)).await.unwrap();
    } else {
        // Two tasks at the same document, side by side.
        let (one, other) = tokio::join!(store.delete(id(document)), store.delete(id(document)));
        one.unwrap();
        other.unwrap();
    }
    end();
}

async fn read(store: &FileStore, model: &Model, random: &mut Random) {
    let (document, file) = (random.below(DOCUMENTS.into()) as usize, random.below(2) as u8);
    let Ok(_lane) = model.files[document * 2 + usize::from(file)].try_lock() else {
        return;
    };
    let Some(version) = model.documents[document].lock().unwrap().proved.get(&file).copied() else {
        return;
    };
    let found = whole(store, document, file, version).await;
    let rows = model.documents[document].lock().unwrap();
    assert!(found || rows.proved.get(&file) != Some(&version), "a proved file is not there");
}

async fn whole(store: &FileStore, document: usize, file_index: u8, (version, chunks): Version) -> bool {
    for chunk in 0..chunks {
        let document = id(document);
        let key = BlobKey {
            document,
            file_index,
            chunk,
        };
        match store.get(key).await {
            Ok(Some(found)) if found == bytes(version, chunk, chunks) => {}
            _ => return false,
        }
    }
    true
}

async fn check(scratch: &Scratch, store: &FileStore, model: &Model, seed: u64) {
    let mut names = Vec::new();
    let mut documents = Vec::new();
    for (document, rows) in model.documents.iter().enumerate() {
        let proved = rows.lock().unwrap().proved.clone();
        for (file, version) in &proved {
            assert!(
                whole(store, document, *file, *version).await,
                "seed {seed}: file {file} of {document} is lost"
            );
            names.push(name(id(document), *file));
        }
        documents.extend((!proved.is_empty()).then_some(id(document)));
    }
    assert_eq!(scratch.names(), names, "seed {seed}: something is left");
    assert_eq!(store.documents().await.unwrap(), documents, "seed {seed}");
}

fn run(seed: u64) {
    let scratch = Scratch::new();
    let model = Model::new();
    for generation in 0..2 {
        // Opened again: nothing may hang on what a handle remembers.
        let store = FileStore::open(&scratch.store.0.path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, model) = (&store, &model);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let mut random = Random((seed << 8 | generation << 4 | thread) + 1);
                    for step in 0..STEPS {
                        let version = (generation * THREADS + thread) * u64::from(STEPS) + u64::from(step);
                        runtime.block_on(async {
                            match random.below(10) {
                                0..6 => write(store, model, &mut random, version).await,
                                6..8 => delete(store, model, &mut random).await,
                                _ => read(store, model, &mut random).await,
                            }
                        });
                    }
                });
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            // The sweep. It leaves alone what was deleted: nothing may be left of it anyway.
            for (document, rows) in model.documents.iter().enumerate() {
                let abandoned = std::mem::take(&mut rows.lock().unwrap().abandoned);
                for file in abandoned {
                    store.delete_file(id(document), file).await.unwrap();
                }
            }
            check(&scratch, &store, &model, seed).await;
        });
    }
}

#[test]
fn many_callers_lose_nothing_and_leave_nothing() {
    let seeds = if std::env::var_os("NIGHTDROP_TEST_LONG").is_some() {
        3_000
    } else {
        60
    };
    for seed in 0..seeds {
        run(seed);
    }
}
