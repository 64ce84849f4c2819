//! Documents from one end to the other: sealed, opened, tampered with, erased.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use super::envelope::{KeyId, PublicKey, Suite, calls};
use super::erase::{ErasureStore, SlotRef};
use super::header::{Context, ErasureKind};
use super::keyfile::Protector;
use super::keyring::Keyring;
use super::meta::Meta;
use super::open::{DocumentOpener, OpenError};
use super::random::{self, Entropy, OsEntropy, RandomUnavailable};
use super::seal::{DocumentSealer, SealError, SealedDocument};
use super::secret::ErasureSecret;
use super::slots::SlotsFile;
use super::staging::StagingKey;
use super::stream::{CHUNK_LEN, TAG_LEN};
use super::testing::{Scratch, open_vault};
use crate::domain::token::PlainToken;

struct Stored {
    header: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    sealed: SealedDocument,
    secret: ErasureSecret,
}

fn context() -> Context {
    Context {
        doc_id: random::array().unwrap(),
        slot: SlotRef { index: 3, generation: 99 },
        file_index: 0,
        file_count: 1,
        erasure: ErasureKind::LocalSlot,
    }
}

fn meta(size: usize) -> Meta {
    let mut meta = Meta::default();
    meta.file_name = "passport.jpg".into();
    meta.size = size as u64;
    meta
}

fn plain(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place % 253) as u8).collect()
}

fn seal_all(sealer: &mut DocumentSealer, plain: &[u8]) -> Vec<Vec<u8>> {
    let count = plain.len().div_ceil(CHUNK_LEN);
    let sealed = plain.chunks(CHUNK_LEN).enumerate().map(|(number, chunk)| {
        let mut chunk = chunk.to_vec();
        sealer.seal_chunk_in_place(&mut chunk, number + 1 == count).unwrap();
        chunk
    });
    sealed.collect()
}

fn store(public: &PublicKey, plain: &[u8]) -> Stored {
    let secret = ErasureSecret::generate().unwrap();
    let (header, mut sealer) = DocumentSealer::begin(public, &context(), &secret).unwrap();
    let chunks = seal_all(&mut sealer, plain);
    let sealed = sealer.finish(&meta(plain.len())).unwrap();
    Stored {
        header,
        chunks,
        sealed,
        secret,
    }
}

/// Opens everything; returns what came out before an error.
fn read(keyring: &Keyring, stored: &Stored) -> (Vec<u8>, Result<(), OpenError>) {
    let mut released = Vec::new();
    let outcome = (|| {
        let mut opener = DocumentOpener::open(&stored.header, keyring, &stored.secret)?;
        opener.open_meta(&stored.sealed.meta_box)?;
        for (index, sealed) in stored.chunks.iter().enumerate() {
            let mut chunk = sealed.clone();
            let last = index + 1 == stored.chunks.len();
            let opened = opener.open_chunk_in_place(index as u64, &mut chunk, last);
            released.extend_from_slice(&chunk);
            opened?;
        }
        opener.finish()
    })();
    (released, outcome)
}

#[test]
fn round_trips_of_all_sizes_in_both_suites() {
    for suite in [Suite::X25519, Suite::XWing] {
        let scratch = Scratch::new();
        let (keyring, _) = open_vault(&scratch, suite);
        // Without optimisation the cipher runs at 2 MB/s, so the largest upload is left to optimised runs.
        let largest = if cfg!(debug_assertions) { (1 << 20) + 1 } else { 20 << 20 };
        for size in [1, 2, 65_535, 65_536, 65_537, 131_072, largest] {
            let plain = plain(size);
            let stored = store(&keyring.current(), &plain);
            assert_eq!(stored.sealed.size, size as u64);
            assert_eq!(stored.sealed.chunks, stored.chunks.len() as u64);
            assert_eq!(
                stored.chunks.iter().map(Vec::len).sum::<usize>(),
                size + stored.chunks.len() * TAG_LEN
            );
            let (released, outcome) = read(&keyring, &stored);
            outcome.unwrap();
            assert!(released == plain, "size {size}");
        }
    }
}

#[test]
fn the_sealer_keeps_its_caller_to_the_format() {
    let scratch = Scratch::new();
    let (keyring, _) = open_vault(&scratch, Suite::X25519);
    let public = keyring.current();
    let secret = ErasureSecret::generate().unwrap();
    for (file_index, file_count) in [(0, 0), (1, 1), (0, 3), (2, 2)] {
        let context = Context {
            file_index,
            file_count,
            ..context()
        };
        assert_eq!(DocumentSealer::begin(&public, &context, &secret).err(), Some(SealError::BadContext));
    }
    let begin = || DocumentSealer::begin(&public, &context(), &secret).unwrap().1;
    for (length, last) in [(0, true), (CHUNK_LEN + 1, true), (0, false), (1, false), (CHUNK_LEN - 1, false)] {
        assert_eq!(begin().seal_chunk_in_place(&mut vec![0; length], last), Err(SealError::ChunkLength));
    }
    let mut sealer = begin();
    sealer.seal_chunk_in_place(&mut vec![0; 5], true).unwrap();
    assert_eq!(sealer.seal_chunk_in_place(&mut vec![0; 5], true), Err(SealError::AfterLast));
    assert_eq!(sealer.finish(&meta(6)).err(), Some(SealError::SizeMismatch));
    assert_eq!(begin().finish(&meta(0)).err(), Some(SealError::Unfinished));
}

#[test]
fn every_changed_header_byte_is_rejected_before_any_chunk() {
    for suite in [Suite::X25519, Suite::XWing] {
        let scratch = Scratch::new();
        let (keyring, _) = open_vault(&scratch, suite);
        let stored = store(&keyring.current(), b"plain");
        for place in 0..stored.header.len() {
            // Most of the long header is one KEM ciphertext; every 16th byte of it will do.
            if place > 168 && place < stored.header.len() - 48 && place % 16 != 0 {
                continue;
            }
            for bit in [0x01, 0x80] {
                let mut header = stored.header.clone();
                header[place] ^= bit;
                let outcome = DocumentOpener::open(&header, &keyring, &stored.secret);
                let error = outcome.err().unwrap_or_else(|| panic!("byte {place} of {suite:?} is not bound"));
                assert!(matches!(
                    error,
                    OpenError::Malformed(_) | OpenError::UnknownKey(_) | OpenError::WrongKey
                ));
            }
        }
    }
}

#[test]
fn another_documents_parts_do_not_fit() {
    let scratch = Scratch::new();
    let (keyring, _) = open_vault(&scratch, Suite::X25519);
    let one = store(&keyring.current(), &plain(70_000));
    let two = store(&keyring.current(), &plain(70_000));
    let opener = || DocumentOpener::open(&one.header, &keyring, &one.secret).unwrap();
    assert!(matches!(opener().open_meta(&two.sealed.meta_box), Err(OpenError::Malformed(_))));
    assert_eq!(
        DocumentOpener::open(&one.header, &keyring, &two.secret).err(),
        Some(OpenError::WrongKey)
    );
    let mut opened = opener();
    opened.open_meta(&one.sealed.meta_box).unwrap();
    let outcome = opened.open_chunk_in_place(0, &mut two.chunks[0].clone(), false);
    assert_eq!(outcome, Err(OpenError::Tampered { chunk: 0 }));
}

#[test]
fn only_verified_chunks_come_out_and_truncation_is_said() {
    let scratch = Scratch::new();
    let (keyring, _) = open_vault(&scratch, Suite::X25519);
    let plain = plain(3 * CHUNK_LEN + 10);
    let whole = || store(&keyring.current(), &plain);

    for damaged in 0..4usize {
        let mut stored = whole();
        stored.chunks[damaged][5] ^= 1;
        let (released, outcome) = read(&keyring, &stored);
        assert_eq!(outcome, Err(OpenError::Tampered { chunk: damaged as u64 }));
        assert!(released == plain[..damaged * CHUNK_LEN]);
    }
    for kept in 1..4usize {
        let mut stored = whole();
        stored.chunks.truncate(kept);
        let (released, outcome) = read(&keyring, &stored);
        assert_eq!(outcome, Err(OpenError::Truncated));
        assert!(released == plain[..(kept - 1) * CHUNK_LEN]);
    }
    let mut stored = whole();
    stored.chunks.swap(0, 1);
    assert_eq!(read(&keyring, &stored), (Vec::new(), Err(OpenError::Tampered { chunk: 0 })));
    let mut stored = whole();
    stored.chunks.push(vec![0; 20]);
    let (released, outcome) = read(&keyring, &stored);
    assert!(matches!(outcome, Err(OpenError::Malformed(_))) && released == plain[..3 * CHUNK_LEN]);

    // A caller that simply stops, goes on after an error, or skips a step.
    let stored = whole();
    let mut opener = DocumentOpener::open(&stored.header, &keyring, &stored.secret).unwrap();
    opener.open_meta(&stored.sealed.meta_box).unwrap();
    opener.open_chunk_in_place(0, &mut stored.chunks[0].clone(), false).unwrap();
    assert_eq!(opener.finish(), Err(OpenError::Truncated));
    let mut opener = DocumentOpener::open(&stored.header, &keyring, &stored.secret).unwrap();
    opener.open_meta(&stored.sealed.meta_box).unwrap();
    assert_eq!(
        opener.open_chunk_in_place(1, &mut stored.chunks[1].clone(), false),
        Err(OpenError::OutOfOrder)
    );
    let mut good = stored.chunks[0].clone();
    assert_eq!(opener.open_chunk_in_place(0, &mut good, false), Err(OpenError::OutOfOrder));
    assert!(good.is_empty(), "nothing is released after an error");
    let mut opener = DocumentOpener::open(&stored.header, &keyring, &stored.secret).unwrap();
    let without_meta = opener.open_chunk_in_place(0, &mut stored.chunks[0].clone(), false);
    assert_eq!(without_meta, Err(OpenError::OutOfOrder));
}

#[test]
fn an_erased_slot_ends_before_any_public_key_operation() {
    let scratch = Scratch::new();
    let (keyring, _) = open_vault(&scratch, Suite::XWing);
    let path = scratch.path("erase.slots");
    SlotsFile::create(&path, 2).unwrap();
    let slots = SlotsFile::open(&path, None).unwrap();
    let secret = ErasureSecret::generate().unwrap();
    let doc_id = [8; 16];
    let slot = slots.put(&doc_id, &secret).unwrap();
    let context = Context { doc_id, slot, ..context() };
    let (header, _) = DocumentSealer::begin(&keyring.current(), &context, &secret).unwrap();
    assert!(DocumentOpener::open_stored(&header, &keyring, &slots).is_ok());

    slots.destroy(&doc_id, &slot).unwrap();
    let before = calls::seen();
    assert_eq!(
        DocumentOpener::open_stored(&header, &keyring, &slots).err(),
        Some(OpenError::Erased)
    );
    // The same place with a new owner: still erased for the old document.
    slots.put(&[9; 16], &ErasureSecret::generate().unwrap()).unwrap();
    assert_eq!(
        DocumentOpener::open_stored(&header, &keyring, &slots).err(),
        Some(OpenError::Erased)
    );
    assert_eq!(calls::seen(), before, "no HPKE call happened");
}

#[test]
fn both_suites_coexist_and_a_locked_or_destroyed_key_says_which() {
    let scratch = Scratch::new();
    let directory = scratch.path("keys");
    Keyring::create_key(&directory, Suite::X25519, &Protector::None).unwrap();
    let first = store(&Keyring::open(&directory).unwrap().current(), b"one");
    let new = Keyring::create_key(&directory, Suite::XWing, &Protector::None).unwrap();
    let keyring = Keyring::open(&directory).unwrap();
    let second = store(&keyring.current(), b"two");
    assert_eq!(read(&keyring, &first).1, Err(OpenError::Locked));
    keyring.unlock(&Protector::None).unwrap();
    assert_eq!(read(&keyring, &first), (b"one".to_vec(), Ok(())));
    assert_eq!(read(&keyring, &second), (b"two".to_vec(), Ok(())));
    let old: KeyId = keyring.status().iter().find(|key| key.id != new).unwrap().id;
    keyring.destroy(&old).unwrap();
    assert_eq!(read(&keyring, &first).1, Err(OpenError::UnknownKey(old)));
    assert_eq!(read(&keyring, &second).1, Ok(()));
}

#[test]
fn nothing_random_repeats_and_a_failing_source_makes_nothing() {
    let scratch = Scratch::new();
    let (keyring, _) = open_vault(&scratch, Suite::X25519);
    let public = keyring.current();
    let secret = ErasureSecret::generate().unwrap();
    // The long run (100,000 documents) differs only in the number.
    const DOCUMENTS: usize = 1_000;
    let mut salts = HashSet::new();
    let mut encapsulations = HashSet::new();
    let mut first_chunks = HashSet::new();
    let context = context();
    for _ in 0..DOCUMENTS {
        let (header, mut sealer) = DocumentSealer::begin(&public, &context, &secret).unwrap();
        let mut chunk = vec![0; 32];
        sealer.seal_chunk_in_place(&mut chunk, true).unwrap();
        salts.insert(header[72..104].to_vec());
        encapsulations.insert(header[136..168].to_vec());
        first_chunks.insert(chunk);
    }
    assert_eq!([salts.len(), encapsulations.len(), first_chunks.len()], [DOCUMENTS; 3]);

    /// Works for so many calls, then fails.
    struct Dries(std::sync::atomic::AtomicUsize);
    impl Entropy for Dries {
        fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
            use std::sync::atomic::Ordering::SeqCst;
            if self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err() {
                return Err(RandomUnavailable);
            }
            OsEntropy.fill(out)
        }
    }
    for calls in 0..3 {
        let outcome = DocumentSealer::begin_with(&Dries(calls.into()), &public, &context, &secret);
        assert_eq!(outcome.err(), Some(SealError::Random(RandomUnavailable)), "after {calls} calls");
    }
    let (_, mut sealer) = DocumentSealer::begin_with(&Dries(3.into()), &public, &context, &secret).unwrap();
    sealer.seal_chunk_in_place(&mut vec![1], true).unwrap();
    let outcome = sealer.finish_with(&Dries(0.into()), &meta(1));
    assert_eq!(outcome.err(), Some(SealError::Random(RandomUnavailable)));
}

#[test]
fn nothing_secret_is_printed() {
    let scratch = Scratch::new();
    let (keyring, id) = open_vault(&scratch, Suite::X25519);
    let secret = ErasureSecret::from_slice(&[0x5A; 32]).unwrap();
    let (header, sealer) = DocumentSealer::begin(&keyring.current(), &context(), &secret).unwrap();
    let opener = DocumentOpener::open(&header, &keyring, &secret).unwrap();
    let key = StagingKey::derive(&PlainToken::from_bytes([0x5A; 20]), &secret, &[0; 16]);
    let vault = keyring.secret(&id).unwrap();
    for text in [
        format!("{secret:?}"),
        format!("{sealer:?}"),
        format!("{opener:?}"),
        format!("{key:?}"),
        format!("{vault:?}"),
        format!("{:?}", meta(7)),
    ] {
        assert!(text.contains("[redacted]"), "{text}");
        assert!(
            !text.contains("90, 90") && !text.contains("5a5a") && !text.contains("passport"),
            "{text}"
        );
    }
}

#[test]
fn a_header_that_commits_to_another_key_is_refused() {
    use super::envelope::{Binding, wrap};
    use super::header::{self, Header};

    let scratch = Scratch::new();
    let (keyring, _) = open_vault(&scratch, Suite::X25519);
    let (public, context) = (keyring.current(), context());
    let secret = ErasureSecret::generate().unwrap();
    let (salt, commitment) = ([1; 32], [2; 32]);
    let bound = header::context_bytes(public.suite(), &public.id(), &context, &salt);
    // A dishonest sealer can make an envelope that opens, but no commitment that fits.
    let binding = Binding {
        info: &header::hpke_info(&bound),
        psk_id: &header::psk_id(&context),
        aad: &commitment,
    };
    let (enc, sealed_key) = wrap(&public, &secret, &binding, &[7; 32], &OsEntropy).unwrap();
    let (suite, key_id) = (public.suite(), public.id());
    let header = Header {
        suite,
        key_id,
        context,
        salt,
        commitment,
        enc,
        sealed_key,
    };
    let outcome = DocumentOpener::open(&header.to_bytes(), &keyring, &secret);
    assert_eq!(outcome.err(), Some(OpenError::Commitment));
}
