//! Known answers from outside: RFC 9180, the X-Wing draft, the CCTV test vectors of age, RFC 8439, RFC 7748 and Wycheproof, and an independent script for this
//! project's own formats. All of them stand in `tests/fixtures/vectors`; docs/formats.md says which shows what.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use super::envelope::{self, Binding, KeyId, PublicKey, SecretKey, Suite};
use super::erase::SlotRef;
use super::header::{self, Context, ErasureKind, Header};
use super::keyfile::{self, KeyFile, Protector};
use super::open::{Body, OpenError};
use super::random::{Entropy, RandomUnavailable};
use super::schedule::Schedule;
use super::seal::TagDigest;
use super::secret::{ErasureSecret, SecretBytes};
use super::secrets::PortalSecrets;
use super::stream::{CHUNK_LEN, StreamCipher, TAG_LEN};
use super::testing::{Scratch, Vector, seq, vector, vectors};
use super::{checkpoint, receipt};
use crate::domain::audit::{GENESIS, chain_hash};
use crate::domain::token::PlainToken;

const RFC_9180: &str = include_str!("../../tests/fixtures/vectors/rfc9180.txt");
const XWING: &str = include_str!("../../tests/fixtures/vectors/xwing.txt");
const CCTV: &str = include_str!("../../tests/fixtures/vectors/cctv-stream.txt");
const RFC_8439: &str = include_str!("../../tests/fixtures/vectors/rfc8439.txt");
const X25519: &str = include_str!("../../tests/fixtures/vectors/x25519.txt");
const RECEIPT: &str = include_str!("../../tests/fixtures/vectors/receipt.txt");
const AUDIT: &str = include_str!("../../tests/fixtures/vectors/audit.jsonl");
const CHECKPOINTS: &str = include_str!("../../tests/fixtures/vectors/checkpoints.jsonl");

/// A vector of this project's own formats.
fn own(name: &str) -> Vector {
    vector(super::testing::FORMATS, name)
}

/// Hands out given bytes and fails when they are used up.
struct Given(Mutex<Vec<u8>>);

impl Given {
    fn new(bytes: &[u8]) -> Given {
        Given(Mutex::new(bytes.to_vec()))
    }
}

impl Entropy for Given {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        let mut left = self.0.lock().unwrap();
        if left.len() < out.len() {
            return Err(RandomUnavailable);
        }
        let rest = left.split_off(out.len());
        out.copy_from_slice(&left);
        *left = rest;
        Ok(())
    }
}

fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

#[test]
fn rfc_9180_a_2_2_mode_psk() {
    let given = vector(RFC_9180, "A.2.2");
    let (public, enc, plain) = (given.bytes("pkRm"), given.bytes("enc"), given.bytes("pt"));
    let (info, psk_id, aad) = (given.bytes("info"), given.bytes("psk_id"), given.bytes("aad"));
    let psk = ErasureSecret::from_slice(&given.bytes("psk")).unwrap();
    let binding = Binding {
        info: &info,
        psk_id: &psk_id,
        aad: &aad,
    };

    let key = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut given.array("skRm")));
    assert_eq!(key.public().as_bytes(), public);
    let opened = envelope::open_bytes::<hpke::kem::X25519HkdfSha256>(&key, &psk, &binding, &enc, &given.bytes("ct")).unwrap();
    assert_eq!(*opened, plain);

    // The sender's side, with the vector's ephemeral key material. Our own plaintexts are 32 bytes, so `enc` is compared.
    let public = PublicKey::from_bytes(Suite::X25519, &public).unwrap();
    let mut drawn = given.bytes("ikmE");
    drawn.extend_from_slice(&[0; 32]);
    let (made, sealed) = envelope::wrap(&public, &psk, &binding, &[9; 32], &Given::new(&drawn)).unwrap();
    assert_eq!(made, enc);
    assert_eq!(envelope::unwrap(&key, &psk, &binding, &made, &sealed).unwrap().expose(), &[9; 32]);
}

#[test]
fn x_wing_keys_and_encapsulations() {
    let psk = ErasureSecret::from_slice(&[1; 32]).unwrap();
    let binding = Binding {
        info: b"info",
        psk_id: b"id",
        aad: b"",
    };
    for given in vectors(XWING) {
        let key = SecretKey::from_bytes(Suite::XWing, SecretBytes::take(&mut given.array("seed")));
        assert_eq!(sha256(key.public().as_bytes()), given.text("pk_sha256"));
        let drawn = Given::new(&given.bytes("eseed"));
        let (enc, sealed) = envelope::wrap(&key.public(), &psk, &binding, &[7; 32], &drawn).unwrap();
        assert_eq!(sha256(&enc), given.text("ct_sha256"));
        assert_eq!(envelope::unwrap(&key, &psk, &binding, &enc, &sealed).unwrap().expose(), &[7; 32]);
    }
}

#[test]
fn too_little_randomness_is_an_error_and_not_a_weak_envelope() {
    let key = SecretKey::from_bytes(Suite::XWing, SecretBytes::take(&mut seq::<32>(1)));
    let psk = ErasureSecret::from_slice(&[1; 32]).unwrap();
    let binding = Binding {
        info: b"",
        psk_id: b"id",
        aad: b"",
    };
    let outcome = envelope::wrap(&key.public(), &psk, &binding, &[7; 32], &Given::new(&[5; 63]));
    assert_eq!(outcome.unwrap_err(), envelope::WrapError::Random(RandomUnavailable));
}

fn sample_schedule() -> Schedule {
    let given = own("document");
    let context = Context {
        doc_id: given.array("doc_id"),
        slot: SlotRef {
            index: 5,
            generation: u64::from_be_bytes(given.array("slot_generation")),
        },
        file_index: 0,
        file_count: 1,
        erasure: ErasureKind::LocalSlot,
    };
    let key_id = KeyId::of(Suite::XWing, &given.bytes("public_key"));
    let bound = header::context_bytes(Suite::XWing, &key_id, &context, &given.array("salt"));
    Schedule::new(&SecretBytes::take(&mut given.array("dek")), &bound)
}

#[test]
fn key_schedule() {
    let given = own("document");
    assert_eq!(Header::len_of(Suite::XWing).to_string(), given.text("header_len"));
    let key_id = KeyId::of(Suite::XWing, &given.bytes("public_key"));
    assert_eq!(key_id.to_string(), given.text("key_id"));
    let schedule = sample_schedule();
    assert_eq!(schedule.context().to_vec(), given.bytes("context"));
    for (key, name) in [
        (*schedule.prk(), "prk"),
        (*schedule.payload_key().expose(), "payload_key"),
        (*schedule.meta_key().expose(), "meta_key"),
        (*schedule.commitment().expose(), "commitment"),
        (*schedule.digest_key().expose(), "digest_key"),
    ] {
        assert_eq!(key.to_vec(), given.bytes(name), "{name}");
    }
}

#[test]
fn chunks() {
    let given = own("chunks");
    let cipher = StreamCipher::new(sample_schedule().payload_key());
    let mut one = given.bytes("one_plain");
    cipher.seal(0, true, &mut one);
    assert_eq!(one, given.bytes("one"));
    let mut all = Vec::new();
    for (place, last) in [(0, false), (1, true)] {
        let mut chunk = given.bytes("two_plain")[..CHUNK_LEN].to_vec();
        cipher.seal(place, last, &mut chunk);
        all.extend_from_slice(&chunk);
    }
    assert_eq!(all.len().to_string(), given.text("two_len"));
    assert_eq!(sha256(&all), given.text("two_sha256"));
    for (tags, name) in [
        (vec![one], "one_digest"),
        (all.chunks(CHUNK_LEN + TAG_LEN).map(<[u8]>::to_vec).collect(), "two_digest"),
    ] {
        let mut digest = TagDigest::new(&sample_schedule());
        tags.iter().for_each(|chunk| digest.add(chunk.last_chunk().unwrap()));
        assert_eq!(digest.finish().to_vec(), given.bytes(name), "{name}");
    }
}

#[test]
fn token_and_its_lookup_key() {
    let given = own("token");
    let token = PlainToken::from_bytes(given.array("token"));
    assert_eq!(token.encode(), given.text("text"));
    let secrets = PortalSecrets::counting(given.bytes("secret")[0]);
    assert_eq!(secrets.hash_token(&token).0.to_vec(), given.bytes("lookup"));
}

#[test]
fn what_the_portals_secrets_make() {
    let given = own("portal secrets");
    let secrets = PortalSecrets::counting(given.bytes("secret")[0]);
    let (row, request) = (given.bytes("row"), given.array("request"));
    assert_eq!(
        secrets.store_row_mac(&given.bytes("place"), &row).to_vec(),
        given.bytes("store_row_mac")
    );
    assert_eq!(secrets.row_mac(&request, &given.bytes("terms")).to_vec(), given.bytes("terms_mac"));
    let index = secrets.index(given.text("index_label"), &given.bytes("index_data"));
    assert_eq!(index.to_vec(), given.bytes("index"));
    assert_eq!(secrets.idempotency_key(&request, 1, 3), given.text("idempotency_key"));
    assert_eq!(secrets.boundary(&request, 3), given.text("boundary"));

    let (given, scratch) = (own("secrets file"), Scratch::new());
    let path = scratch.path("portal.secrets");
    PortalSecrets::create_with(&Given::new(&given.bytes("random")), &path, &given.array("portal")).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), given.bytes("file"));
}

#[test]
fn a_key_file_and_its_public_half() {
    let given = own("key file");
    let key = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut given.array("private_key")));
    assert_eq!(key.public().as_bytes(), given.bytes("public_key"));
    assert_eq!(key.public().id().to_string(), given.text("key_id"));
    let kek = SecretBytes::take(&mut given.array("kek"));
    let drawn = Given::new(&[given.bytes("salt"), given.bytes("nonce")].concat());
    let file = KeyFile::wrap(&key, key.public().id(), &Protector::Kek(&kek), &drawn).unwrap();
    assert_eq!(file.to_vec(), given.bytes("file"));
    assert_eq!(keyfile::public_file(&key.public()), given.bytes("public_file"));
}

#[test]
fn receipts_audit_log_and_checkpoints_verify_as_published() {
    let secrets = PortalSecrets::counting(1);
    let read = receipt::verify(RECEIPT, Some(&receipt::public_key(&secrets))).unwrap();
    assert_eq!(receipt::sign(&secrets, &read.receipt), RECEIPT);

    let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let hex = |value: &serde_json::Value| data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let mut last = GENESIS;
    for entry in AUDIT.lines().map(json) {
        last = chain_hash("nightdrop/v1/audit", &last, entry["line"].as_str().unwrap().as_bytes());
        assert_eq!(last.to_vec(), hex(&entry["hash"]));
    }
    let written = json(CHECKPOINTS);
    let point = checkpoint::Checkpoint {
        sequence: written["sequence"].as_u64().unwrap(),
        hash: last,
        at: written["at"].as_str().unwrap().to_owned(),
    };
    let signed = point.sign(&secrets);
    assert_eq!(signed.by.to_vec(), hex(&written["signed_by"]));
    assert_eq!(signed.signature.to_vec(), hex(&written["signature"]));
}

#[test]
fn cctv_streams() {
    let (key, streams) = (vector(CCTV, "key"), vectors(CCTV).into_iter().skip(1));
    let hkdf = Hkdf::<Sha256>::new(Some(&key.bytes("nonce")), &key.bytes("file_key"));
    let key = SecretBytes::filled_by(|place| hkdf.expand(b"payload", place)).unwrap();
    for given in streams {
        let (name, payload) = (given.text("name"), given.bytes("payload"));
        let (released, outcome) = read_stream(&key, &payload);
        if name == "empty_payload" {
            assert_eq!(outcome, Err(OpenError::Malformed("an empty document")));
            continue;
        }
        let good = given.text("expect") == "success";
        assert_eq!(outcome.is_ok(), good, "{name}: {outcome:?}");
        // Our reader knows the length beforehand, so of a bad payload it may release less than age's, in whole chunks.
        let all = sha256(&released) == given.text("released");
        assert!(
            all || !good && released.len() % CHUNK_LEN == 0 && released.len() < payload.len(),
            "{name}"
        );
    }
}

/// Reads a payload through the reader that documents go through; the size that a meta box would name follows from the
/// payload's length.
fn read_stream(key: &SecretBytes<32>, payload: &[u8]) -> (Vec<u8>, Result<(), OpenError>) {
    let chunks: Vec<&[u8]> = payload.chunks(CHUNK_LEN + TAG_LEN).collect();
    let size = payload.len().saturating_sub(chunks.len() * TAG_LEN);
    let mut released = Vec::new();
    let mut body = match Body::new(StreamCipher::new(SecretBytes::take(&mut key.expose().clone())), size as u64) {
        Ok(body) => body,
        Err(error) => return (released, Err(error)),
    };
    for (index, sealed) in chunks.iter().enumerate() {
        let mut chunk = sealed.to_vec();
        let last = index + 1 == chunks.len();
        let outcome = body.open(index as u64, &mut chunk, last);
        if outcome.is_err() {
            return (released, outcome);
        }
        released.extend_from_slice(&chunk);
    }
    (released, Ok(()))
}

#[test]
fn chacha20_poly1305_of_rfc_8439() {
    let given = vector(RFC_8439, "2.8.2");
    let (plain, aad) = (given.bytes("pt"), given.bytes("aad"));
    let cipher = ChaCha20Poly1305::new(&given.array::<32>("key").into());
    let nonce = given.array::<12>("nonce").into();
    let sealed = cipher.encrypt(&nonce, Payload { msg: &plain, aad: &aad }).unwrap();
    assert_eq!(sealed[..16], given.bytes("ct_begin"));
    assert_eq!(sealed[plain.len()..], given.bytes("tag"));
    for place in [0, 57, sealed.len() - 16, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[place] ^= 0x80;
        assert!(cipher.decrypt(&nonce, Payload { msg: &changed, aad: &aad }).is_err());
    }
}

#[test]
fn x25519_keys_of_rfc_7748_and_low_order_points() {
    for name in ["alice", "bob"] {
        let given = vector(X25519, name);
        let key = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut given.array("secret")));
        assert_eq!(key.public().as_bytes(), given.bytes("public"));
    }
    // An all-zero shared secret must be refused.
    let psk = ErasureSecret::from_slice(&[1; 32]).unwrap();
    let binding = Binding {
        info: b"",
        psk_id: b"id",
        aad: b"",
    };
    let points = vectors(X25519).into_iter().skip(2);
    for point in points.map(|given| given.bytes("point")) {
        let refused = match PublicKey::from_bytes(Suite::X25519, &point) {
            Err(_) => true,
            Ok(public) => envelope::wrap(&public, &psk, &binding, &[7; 32], &Given::new(&[5; 64])).is_err(),
        };
        assert!(refused, "{point:?}");
        let key = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut seq::<32>(1)));
        assert!(envelope::unwrap(&key, &psk, &binding, &point, &[0; 48]).is_none());
    }
}
