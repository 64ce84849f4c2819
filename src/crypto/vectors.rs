//! Known answers from outside: RFC 9180, the X-Wing draft, the CCTV test vectors of age, RFC 8439 and Wycheproof, and an
//! independent script for this project's own formats.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use super::envelope::{self, Binding, KeyId, PublicKey, SecretKey, Suite};
use super::erase::SlotRef;
use super::header::{self, Context, ErasureKind, Header};
use super::open::{Body, OpenError};
use super::random::{Entropy, RandomUnavailable};
use super::schedule::Schedule;
use super::secret::{ErasureSecret, SecretBytes};
use super::secrets::PortalSecrets;
use super::stream::{CHUNK_LEN, StreamCipher, TAG_LEN};
use super::testing::{hex, seq};
use crate::domain::token::PlainToken;

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

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

#[test]
fn t001_rfc_9180_a_2_2_mode_psk() {
    let public = hex("13640af826b722fc04feaa4de2f28fbd5ecc03623b317834e7ff4120dbe73062");
    let mut secret: [u8; 32] = array("77d114e0212be51cb1d76fa99dd41cfd4d0166b08caa09074430a6c59ef17879");
    let psk = ErasureSecret::from_slice(&hex("0247fd33b913760fa1fa51e1892d9f307fbe65eb171e8132c2af18555a738b82")).unwrap();
    let enc = hex("2261299c3f40a9afc133b969a97f05e95be2c514e54f3de26cbe5644ac735b04");
    let plain = hex("4265617574792069732074727574682c20747275746820626561757479");
    let sealed = hex("4a177f9c0d6f15cfdf533fb65bf84aecdc6ab16b8b85b4cf65a370e07fc1d78d28fb073214525276f4a89608ff");
    let info = hex("4f6465206f6e2061204772656369616e2055726e");
    let psk_id = hex("456e6e796e20447572696e206172616e204d6f726961");
    let binding = Binding {
        info: &info,
        psk_id: &psk_id,
        aad: b"Count-0",
    };

    let key = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut secret));
    assert_eq!(key.public().as_bytes(), public);
    let opened = envelope::open_bytes::<hpke::kem::X25519HkdfSha256>(&key, &psk, &binding, &enc, &sealed).unwrap();
    assert_eq!(*opened, plain);

    // The sender's side, with the vector's ephemeral key material. Our own plaintexts are 32 bytes, so `enc` is compared.
    let public = PublicKey::from_bytes(Suite::X25519, &public).unwrap();
    let mut drawn = hex("35706a0b09fb26fb45c39c2f5079c709c7cf98e43afa973f14d88ece7e29c2e3");
    drawn.extend_from_slice(&[0; 32]);
    let (made, sealed) = envelope::wrap(&public, &psk, &binding, &[9; 32], &Given::new(&drawn)).unwrap();
    assert_eq!(made, enc);
    assert_eq!(envelope::unwrap(&key, &psk, &binding, &made, &sealed).unwrap().expose(), &[9; 32]);
}

/// The three X-Wing vectors of draft-connolly-cfrg-xwing-kem: seed, encapsulation randomness, and the SHA-256 of the
/// public key and of the ciphertext (which are 1,216 and 1,120 bytes).
const XWING: [[&str; 4]; 3] = [
    [
        "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26",
        "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e235b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2",
        "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb",
        "17cd532d657e44c897ca6583e548a5424fc70bf54f99515a4d2bcf99e3469f33",
    ],
    [
        "badfd6dfaac359a5efbb7bcc4b59d538df9a04302e10c8bc1cbf1a0b3a5120ea",
        "17cda7cfad765f5623474d368ccca8af0007cd9f5e4c849f167a580b14aabdefaee7eef47cb0fca9767be1fda69419dfb927e9df07348b196691abaeb580b32d",
        "c42ba5f8430d7d2c83739338203819f090e8303ce9c8b02107c272bfa5376916",
        "1661ea86d608a1924ba30840cb0a65f13ae051e3aec9cf0f064efc0bc92f2154",
    ],
    [
        "ef58538b8d23f87732ea63b02b4fa0f4873360e2841928cd60dd4cee8cc0d4c9",
        "22a96188d032675c8ac850933c7aff1533b94c834adbb69c6115bad4692d8619f90b0cdf8a7b9c264029ac185b70b83f2801f2f4b3f70c593ea3aeeb613a7f1b",
        "6b080d6b84f095342092fa7a22423e58bd681397ad0ef00eac92bd254db4fa95",
        "d3ca5578500344b5896cffc4fd740c9311946b82951df155e6fd86a7966b43c6",
    ],
];

#[test]
fn t002_x_wing_keys_and_encapsulations() {
    let psk = ErasureSecret::from_slice(&[1; 32]).unwrap();
    let binding = Binding {
        info: b"info",
        psk_id: b"id",
        aad: b"",
    };
    for [seed, randomness, public_hash, enc_hash] in XWING {
        let key = SecretKey::from_bytes(Suite::XWing, SecretBytes::take(&mut array(seed)));
        assert_eq!(sha256(key.public().as_bytes()), public_hash);
        let (enc, sealed) = envelope::wrap(&key.public(), &psk, &binding, &[7; 32], &Given::new(&hex(randomness))).unwrap();
        assert_eq!(sha256(&enc), enc_hash);
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

fn sample_context() -> Context {
    Context {
        doc_id: seq(0x10),
        slot: SlotRef {
            index: 5,
            generation: u64::from_be_bytes(seq(0xa0)),
        },
        file_index: 0,
        file_count: 1,
        erasure: ErasureKind::LocalSlot,
    }
}

fn sample_schedule() -> Schedule {
    let key_id = KeyId::of(Suite::XWing, &seq::<1216>(0x07));
    let bound = header::context_bytes(Suite::XWing, &key_id, &sample_context(), &seq(0x20));
    Schedule::new(&SecretBytes::take(&mut seq::<32>(0x40)), &bound)
}

#[test]
fn t003_key_schedule() {
    assert_eq!(Header::len_of(Suite::XWing), 1304);
    assert_eq!(
        KeyId::of(Suite::XWing, &seq::<1216>(0x07)).to_string(),
        "d406a6c83352e157d4dfca449efb58f9"
    );
    let schedule = sample_schedule();
    assert_eq!(
        schedule.context().to_vec(),
        hex(
            "4e445250444f43010201100000000518101112131415161718191a1b1c1d1e1fd406a6c83352e157d4dfca449efb58f90000000000000005a0a1a2a3a4a5a6a70001000000000000202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
        )
    );
    for (key, expected) in [
        (*schedule.prk(), "83b0b723360fb423be0e59c18a246ce90ceaa38270d05c54ec2a8a72c168099f"),
        (
            *schedule.payload_key().expose(),
            "81030fb7fb37b6a3212f22b04b885f2e790eda0841830379f4dcf341666a265a",
        ),
        (
            *schedule.meta_key().expose(),
            "1404bfcb126ed46cdcf05a0122feff23be2d3a73803cbfa85150718ac1e939f9",
        ),
        (
            *schedule.commitment().expose(),
            "c934b7bc0fece5d4d8d654e70e16bde71b8c9b1ac5c6a44d79812d9db9b85077",
        ),
        (
            *schedule.digest_key().expose(),
            "725fb2b8662012aea288580b296a98f7a395a330f223440ba613a833cdfdc187",
        ),
    ] {
        assert_eq!(key.to_vec(), hex(expected));
    }
}

#[test]
fn t003_chunks() {
    let cipher = StreamCipher::new(&sample_schedule().payload_key());
    let mut one = b"hello, vault".to_vec();
    cipher.seal(0, true, &mut one);
    assert_eq!(one, hex("0beb023a2801d6ff5946fcd2aa1b53c1e3fd24f260923c4a1815fdec"));
    let mut all = Vec::new();
    for (place, last) in [(0, false), (1, true)] {
        let mut chunk = vec![0; CHUNK_LEN];
        cipher.seal(place, last, &mut chunk);
        all.extend_from_slice(&chunk);
    }
    assert_eq!(all.len(), 131_104);
    assert_eq!(sha256(&all), "5a90ee239c7c45cdf2038aa746527cd75d0887f2fa647275893055ac1c78fcf8");
}

#[test]
fn t003_token_and_its_lookup_key() {
    let token = PlainToken::from_bytes(seq(0x01));
    assert_eq!(token.encode(), "041061050r3gg28a1c60t3gf208h44rm");
    assert_eq!(
        PortalSecrets::counting(0xc0).hash_token(&token).0.to_vec(),
        hex("53fe211211ef518b1d6a92ae9e34576bc171cdcb23af7d8b2f8355df15575a9d")
    );
}

/// The `stream_*` vectors of CCTV for age, without the three of 16 MiB (which this reader also passes) and the two that
/// are about age's nonce: name, whether it is good, SHA-256 of what age releases, and the payload, where `zN` is a run
/// of N zero bytes. All have the file key "YELLOW SUBMARINE" and the nonce below.
const CCTV: &[(&str, bool, &str, &str)] = &[
    (
        "bad_tag",
        false,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "b74c5bfef7beaa52c8f0bc0e992c1e8331fb46",
    ),
    (
        "bad_tag_second_chunk",
        false,
        "a68cb6fa0b2e2a8d1abd54fcb26ff31fe16166ed38688bffa681e617813b781a",
        "z65536 e2ec971462be227b4c162156ce7e821d00052a72cd9750a6e2dfcbcef15226fe44",
    ),
    (
        "bad_tag_second_chunk_full",
        false,
        "a68cb6fa0b2e2a8d1abd54fcb26ff31fe16166ed38688bffa681e617813b781a",
        "z65536 e2ec971462be227b4c162156ce7e821d z65536 e43922e239bd89fe8628a286450ac435",
    ),
    (
        "empty_payload",
        true,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "ad2e4fcf3e528a4130deabef4336e555",
    ),
    (
        "last_chunk_empty",
        false,
        "a68cb6fa0b2e2a8d1abd54fcb26ff31fe16166ed38688bffa681e617813b781a",
        "z65536 e2ec971462be227b4c162156ce7e821d005ee2c4cc9394acde8b45aecd8c3688",
    ),
    (
        "last_chunk_full",
        true,
        "ef179a156754d0f05daeef54ee027d6ac1cd29bb319b438f795c66dc28703603",
        "z65536 a5770c90198815ddedd1327e1d2de018",
    ),
    (
        "last_chunk_full_second",
        true,
        "8dac04a865d04089ed7af2e0012c0e2395be14932cb2c8bf7b070da18768fad9",
        "z65536 e2ec971462be227b4c162156ce7e821d z65536 e43922e239bd89fe8628a286450ac415",
    ),
    (
        "missing_tag",
        false,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "b74c5b",
    ),
    (
        "no_chunks",
        false,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "",
    ),
    (
        "no_final",
        false,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "00bd63686da84814caaa0129618ac20861",
    ),
    (
        "no_final_full",
        false,
        "a68cb6fa0b2e2a8d1abd54fcb26ff31fe16166ed38688bffa681e617813b781a",
        "z65536 e2ec971462be227b4c162156ce7e821d",
    ),
    (
        "no_final_two_chunks",
        false,
        "a68cb6fa0b2e2a8d1abd54fcb26ff31fe16166ed38688bffa681e617813b781a",
        "z65536 e2ec971462be227b4c162156ce7e821d0020be7e00d7c2011804c73bedb63802ad",
    ),
    (
        "no_final_two_chunks_full",
        false,
        "f6dd6ced54f912cf0c16b1d07a69214a241066f9e7d653ba1c2901e77353d652",
        "z65536 e2ec971462be227b4c162156ce7e821d z65536 7f042dff9d303c155dc392dc318f3173",
    ),
    (
        "short_chunk",
        false,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "5b1de6e82e0e0cbdd323c877",
    ),
    (
        "short_second_chunk",
        false,
        "a68cb6fa0b2e2a8d1abd54fcb26ff31fe16166ed38688bffa681e617813b781a",
        "z65536 e2ec971462be227b4c162156ce7e821d5b1de6e82e0e0cbdd323c877",
    ),
    (
        "three_chunks",
        true,
        "82a4963a84d8982b7a70871897b4b3d00c17fbd9db9484afd767e94c50ee1e0f",
        "z65536 e2ec971462be227b4c162156ce7e821d z65536 7f042dff9d303c155dc392dc318f3173 z65536 f910c99b33869374d353f6fcc73e1a43",
    ),
    (
        "trailing_garbage_long",
        false,
        "ef179a156754d0f05daeef54ee027d6ac1cd29bb319b438f795c66dc28703603",
        "z65536 a5770c90198815ddedd1327e1d2de0185b1de6e82e0e0cbdd323c877cf853d61dddf72d0",
    ),
    (
        "trailing_garbage_short",
        false,
        "ef179a156754d0f05daeef54ee027d6ac1cd29bb319b438f795c66dc28703603",
        "z65536 a5770c90198815ddedd1327e1d2de0185b1de6e82e0e0cbdd323c877",
    ),
    (
        "two_chunks",
        true,
        "8dac04a865d04089ed7af2e0012c0e2395be14932cb2c8bf7b070da18768fad9",
        "z65536 e2ec971462be227b4c162156ce7e821d z65536 e43922e239bd89fe8628a286450ac415",
    ),
    (
        "two_final_chunks",
        false,
        "ef179a156754d0f05daeef54ee027d6ac1cd29bb319b438f795c66dc28703603",
        "z65536 a5770c90198815ddedd1327e1d2de01800052a72cd9750a6e2dfcbcef15226fe64",
    ),
    (
        "two_final_chunks_full",
        false,
        "ef179a156754d0f05daeef54ee027d6ac1cd29bb319b438f795c66dc28703603",
        "z65536 a5770c90198815ddedd1327e1d2de018 z65536 e43922e239bd89fe8628a286450ac415",
    ),
    (
        "two_final_chunks_second",
        false,
        "8dac04a865d04089ed7af2e0012c0e2395be14932cb2c8bf7b070da18768fad9",
        "z65536 e2ec971462be227b4c162156ce7e821d z65536 e43922e239bd89fe8628a286450ac41500563d8a39f7d01a231999ae34687f1406",
    ),
    (
        "two_final_chunks_short",
        false,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "0022220cc7ec670025a23d68bd3bdb8ed900052a72cd9750a6e2dfcbcef15226fe64",
    ),
];

#[test]
fn t004_cctv_streams() {
    for (name, good, released_hash, payload) in CCTV {
        let payload: Vec<u8> = payload
            .split_ascii_whitespace()
            .flat_map(|part| match part.strip_prefix('z') {
                Some(run) => vec![0; run.parse().unwrap()],
                None => hex(part),
            })
            .collect();
        let (released, outcome) = read_stream(&payload);
        if *name == "empty_payload" {
            assert_eq!(outcome, Err(OpenError::Malformed("an empty document")));
            continue;
        }
        assert_eq!(outcome.is_ok(), *good, "{name}: {outcome:?}");
        // Our reader knows the length beforehand, so of a bad payload it may release less than age's, in whole chunks.
        let all = sha256(&released) == *released_hash;
        assert!(
            all || !good && released.len() % CHUNK_LEN == 0 && released.len() < payload.len(),
            "{name}"
        );
    }
}

/// Reads a payload through the reader that documents go through; the size that a meta box would name follows from the
/// payload's length.
fn read_stream(payload: &[u8]) -> (Vec<u8>, Result<(), OpenError>) {
    let nonce = hex("eecf62c7ce91b433274e68d4f2f9134c");
    let hkdf = Hkdf::<Sha256>::new(Some(&nonce), b"YELLOW SUBMARINE");
    let key = SecretBytes::filled_by(|place| hkdf.expand(b"payload", place)).unwrap();
    let chunks: Vec<&[u8]> = payload.chunks(CHUNK_LEN + TAG_LEN).collect();
    let size = payload.len().saturating_sub(chunks.len() * TAG_LEN);
    let mut released = Vec::new();
    let mut body = match Body::new(StreamCipher::new(&key), size as u64) {
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
fn t005_chacha20_poly1305_of_rfc_8439() {
    // RFC 8439 §2.8.2, which is also Wycheproof's first test case.
    let cipher = ChaCha20Poly1305::new(&seq::<32>(0x80).into());
    let nonce: [u8; 12] = array("070000004041424344454647");
    let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let sealed = cipher
        .encrypt(&nonce.into(), chacha20poly1305::aead::Payload { msg: plain, aad: &aad })
        .unwrap();
    assert_eq!(sealed[..16], hex("d31a8d34648e60db7b86afbc53ef7ec2"));
    assert_eq!(sealed[plain.len()..], hex("1ae10b594f09e26a7e902ecbd0600691"));
    for place in [0, 57, sealed.len() - 16, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[place] ^= 0x80;
        assert!(
            cipher
                .decrypt(&nonce.into(), chacha20poly1305::aead::Payload { msg: &changed, aad: &aad })
                .is_err()
        );
    }
}

#[test]
fn t005_x25519_keys_of_rfc_7748_and_low_order_points() {
    // RFC 7748 §6.1, Alice and Bob.
    for (secret, public) in [
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        ),
        (
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        ),
    ] {
        let key = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut array(secret)));
        assert_eq!(key.public().as_bytes(), hex(public));
    }
    // An all-zero shared secret is refused (RFC 7748 §6.1): the points of small order, as Wycheproof labels them.
    let psk = ErasureSecret::from_slice(&[1; 32]).unwrap();
    let binding = Binding {
        info: b"",
        psk_id: b"id",
        aad: b"",
    };
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let refused = match PublicKey::from_bytes(Suite::X25519, &hex(point)) {
            Err(_) => true,
            Ok(public) => envelope::wrap(&public, &psk, &binding, &[7; 32], &Given::new(&[5; 64])).is_err(),
        };
        assert!(refused, "{point}");
        let key = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut seq::<32>(1)));
        assert!(envelope::unwrap(&key, &psk, &binding, &hex(point), &[0; 48]).is_none());
    }
}
