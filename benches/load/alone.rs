//! One step of the way by itself, in a process of its own: cipher, digest, inspection, each store.

use std::path::PathBuf;
use std::sync::Mutex;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use nightdrop::domain::id::DocumentId;
use nightdrop::inspect::{Declared, Inspector, Limits, Policy};
use nightdrop::storage::sled::durable::{DurableSled, Options};
use nightdrop::storage::sled::slab::ChunkKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::files::Files;
use crate::samples::{Noise, jpeg, png};
use crate::serve::cpu;

const CHUNK: usize = 64 << 10;
/// What a socket hands over at a time, about.
const PIECE: usize = 16 << 10;

/// CPU seconds of `what` over `bytes` bytes.
pub fn run(settings: &Value) -> Value {
    let bytes = settings["bytes"].as_u64().unwrap();
    match settings["what"].as_str().unwrap() {
        "cipher" => cipher(bytes),
        "digest" => digest(bytes),
        "inspect-jpeg" => inspect(&jpeg(20_000_000), bytes),
        "inspect-png" => inspect(&png(20_000_000), bytes),
        "store-sled" => store(settings, &Sled::open(settings)),
        "store-files" => store(settings, &Plain(Files::new(folder(settings)))),
        other => panic!("{other}?"),
    }
}

fn folder(settings: &Value) -> PathBuf {
    settings["folder"].as_str().unwrap().into()
}

fn cipher(bytes: u64) -> Value {
    let aead = ChaCha20Poly1305::new(&[7; 32].into());
    let mut chunk = Noise::new(1).bytes(CHUNK);
    let start = cpu();
    for number in 0..bytes / CHUNK as u64 {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&number.to_be_bytes());
        aead.encrypt_inout_detached(&nonce.into(), b"", chunk.as_mut_slice().into())
            .unwrap();
    }
    json!({ "seconds": cpu() - start })
}

fn digest(bytes: u64) -> Value {
    let chunk = Noise::new(1).bytes(CHUNK);
    let mut hash = Sha256::new();
    let start = cpu();
    for _ in 0..bytes / CHUNK as u64 {
        hash.update(&chunk);
    }
    std::hint::black_box(hash.finalize());
    json!({ "seconds": cpu() - start })
}

fn inspect(file: &[u8], bytes: u64) -> Value {
    let mut out = Vec::with_capacity(2 * CHUNK);
    let start = cpu();
    for _ in 0..bytes / file.len() as u64 {
        let policy = Policy {
            limits: Limits {
                max_bytes: 100 << 20,
                ..Limits::default()
            },
            declared: Declared::Nothing,
            ..Policy::default()
        };
        let mut inspector = Inspector::new(policy);
        for piece in file.chunks(PIECE) {
            inspector.push(piece, &mut out).unwrap();
            if out.len() >= CHUNK {
                out.clear();
            }
        }
        inspector.finish(&mut out).unwrap();
        out.clear();
    }
    json!({ "seconds": cpu() - start })
}

trait Store: Sync {
    fn put(&self, document: u64, chunk: u32, bytes: &[u8]);
    fn end(&self);
}

struct Sled(DurableSled);

impl Sled {
    fn open(settings: &Value) -> Self {
        Self(DurableSled::open(&folder(settings), Options::default()).unwrap())
    }
}

impl Store for Sled {
    fn put(&self, document: u64, chunk: u32, bytes: &[u8]) {
        let key = ChunkKey {
            document: u128::from(document).to_be_bytes(),
            file: 0,
            chunk,
        };
        self.0.chunks().put(key, bytes, 1).unwrap();
    }

    fn end(&self) {
        self.0.durable_blocking().unwrap();
    }
}

struct Plain(Files);

impl Store for Plain {
    fn put(&self, document: u64, _: u32, bytes: &[u8]) {
        if let Some(whole) = self.0.append(DocumentId(u128::from(document).to_be_bytes()), bytes) {
            self.0.sync(&whole);
        }
    }

    fn end(&self) {}
}

/// Documents of a given size, some at once, by two threads: the portal's two workers without HTTP, inspection and cipher.
fn store(settings: &Value, store: &impl Store) -> Value {
    let size = settings["size"].as_u64().unwrap() as usize;
    let at_once = settings["at_once"].as_u64().unwrap();
    let documents = settings["bytes"].as_u64().unwrap() / size as u64;
    let chunk = Noise::new(1).bytes(CHUNK + 16);
    let next = Mutex::new(0);
    let threads = at_once.min(2);
    let start = cpu();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Each thread turns over its share of the open documents, a chunk at a time.
                let mut open: Vec<(u64, u32, usize)> = Vec::new();
                loop {
                    while (open.len() as u64) < at_once / threads {
                        let mut next = next.lock().unwrap();
                        if *next == documents {
                            break;
                        }
                        open.push((*next, 0, size));
                        *next += 1;
                    }
                    if open.is_empty() {
                        break;
                    }
                    let mut ended = false;
                    for (document, number, left) in &mut open {
                        let length = (*left).min(CHUNK);
                        store.put(*document, *number, &chunk[..length + 16]);
                        *number += 1;
                        *left -= length;
                        ended |= *left == 0;
                    }
                    if ended {
                        store.end();
                        open.retain(|(_, _, left)| *left > 0);
                    }
                }
            });
        }
    });
    json!({ "seconds": cpu() - start })
}
