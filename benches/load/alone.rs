//! One step of the way by itself, in a process of its own: the cipher in two implementations, inspection, the store of documents.

use std::path::Path;
use std::sync::Mutex;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use nightdrop::testing::domain::id::DocumentId;
use nightdrop::testing::inspect::{Inspector, Limits, Policy};
use nightdrop::testing::storage::files::FileStore;
use nightdrop::testing::storage::{BlobStore, PartWriter};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Value, json};

use crate::samples::{Noise, jpeg, png};
use crate::serve::cpu;

const CHUNK: usize = 64 << 10;
/// What a socket clock over at a time, about.
const PIECE: usize = 16 << 10;

/// CPU seconds of `what` over `bytes` bytes.
pub fn run(settings: &Value) -> Value {
    let bytes = settings["bytes"].as_u64().unwrap();
    match settings["what"].as_str().unwrap() {
        "cipher" => cipher(bytes),
        "cipher-crate" => cipher_crate(bytes),
        "inspect-jpeg" => inspect(&jpeg(20_000_000), bytes),
        "inspect-png" => inspect(&png(20_000_000), bytes),
        "store" => store(settings),
        other => panic!("{other}?"),
    }
}

fn cipher(bytes: u64) -> Value {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap());
    chunks(bytes, |nonce, chunk| {
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), chunk);
        let _ = std::hint::black_box(tag.unwrap());
    })
}

/// The crate that seals everything small.
fn cipher_crate(bytes: u64) -> Value {
    let aead = ChaCha20Poly1305::new(&[7; 32].into());
    chunks(bytes, |nonce, chunk| {
        aead.encrypt_inout_detached(&nonce.into(), b"", chunk.into()).unwrap();
    })
}

fn chunks(bytes: u64, mut seal: impl FnMut([u8; 12], &mut [u8])) -> Value {
    let mut chunk = Noise::new(1).bytes(CHUNK);
    let start = cpu();
    for number in 0..bytes / CHUNK as u64 {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&number.to_be_bytes());
        seal(nonce, &mut chunk);
    }
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

/// Documents of a given size, some at once, by two threads: the portal's two workers without HTTP, inspection and cipher.
fn store(settings: &Value) -> Value {
    let size = settings["size"].as_u64().unwrap() as usize;
    let at_once = settings["at_once"].as_u64().unwrap();
    let documents = settings["bytes"].as_u64().unwrap() / size as u64;
    let chunk = Noise::new(1).bytes(CHUNK + 16);
    let folder = Path::new(settings["folder"].as_str().unwrap()).join("documents");
    FileStore::create(&folder).unwrap();
    let store = FileStore::open(&folder).unwrap();
    let next = Mutex::new(0);
    let threads = at_once.min(2);
    let start = cpu();
    let turn_over = || async {
        // Each thread turns over its share of the open documents, a chunk at a time.
        let mut open: Vec<(Box<dyn PartWriter>, usize)> = Vec::new();
        loop {
            while (open.len() as u64) < at_once / threads {
                let number = {
                    let mut next = next.lock().unwrap();
                    *next += 1;
                    *next - 1
                };
                if number >= documents {
                    break;
                }
                let document = DocumentId(u128::from(number).to_be_bytes());
                open.push((store.writer(document, 0, 0).await.unwrap(), size));
            }
            if open.is_empty() {
                break;
            }
            for (writer, left) in &mut open {
                let length = (*left).min(CHUNK);
                writer.put(&chunk[..length + 16]).await.unwrap();
                *left -= length;
            }
            let ended = open.extract_if(.., |(_, left)| *left == 0);
            let ended: Vec<_> = ended.map(|(mut writer, _)| async move { writer.sync().await.unwrap() }).collect();
            futures_util::future::join_all(ended).await;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(turn_over());
            });
        }
    });
    json!({ "seconds": cpu() - start })
}
