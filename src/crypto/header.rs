//! The document header v1: what a stored document says about itself before anything is decrypted.
//!
//! All integers are big-endian. The first 104 bytes are the *context*; every key of the document depends on all of
//! them, so a changed byte ends at the envelope or at the commitment, never in a chunk.
//!
//! ```text
//! off  len  field
//! 0    8    magic "NDRPDOC" and the version byte 0x01
//! 8    1    suite          1 X25519 | 2 MLKEM768-X25519
//! 9    1    erasure        1 local slot | 2 cluster store | 3 external key service
//! 10   1    chunk_log2     0x10
//! 11   1    flags          0
//! 12   4    header_len     136 + Nenc + 48
//! 16   16   doc_id
//! 32   16   key_id
//! 48   8    slot_index
//! 56   8    slot_gen       random
//! 64   1    file_index     0..
//! 65   1    file_count     1..2
//! 66   6    zero
//! 72   32   salt           random
//! 104  32   commitment
//! 136  Nenc enc
//! …    48   sealed document key
//! ```

use super::envelope::{KeyId, SEALED_KEY_LEN, Suite};
use super::erase::SlotRef;

/// Length of the context, the part of the header that all keys are bound to.
pub(crate) const CONTEXT_LEN: usize = 104;

const MAGIC: &[u8; 8] = b"NDRPDOC\x01";
const CHUNK_LOG2: u8 = 16;
const FIXED_LEN: usize = CONTEXT_LEN + 32;

/// The most files one submission may have (front and back).
pub(crate) const MAX_FILES: u8 = 2;

/// Where the erasure secret of a document lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureKind {
    /// A page of the local slots file.
    LocalSlot,
    /// An in-memory store of a cluster.
    Cluster,
    /// A key service outside.
    External,
}

impl ErasureKind {
    /// The byte in the header.
    pub fn code(self) -> u8 {
        match self {
            ErasureKind::LocalSlot => 1,
            ErasureKind::Cluster => 2,
            ErasureKind::External => 3,
        }
    }

    fn from_code(code: u8) -> Option<ErasureKind> {
        match code {
            1 => Some(ErasureKind::LocalSlot),
            2 => Some(ErasureKind::Cluster),
            3 => Some(ErasureKind::External),
            _ => None,
        }
    }
}

/// What a document is bound to; the caller of the sealer supplies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The submission, random, 128 bits.
    pub doc_id: [u8; 16],
    /// Where its erasure secret lives.
    pub slot: SlotRef,
    /// Which file of the submission this is, from 0.
    pub file_index: u8,
    /// How many files the submission has, 1 or 2.
    pub file_count: u8,
    /// What kind of store the slot belongs to.
    pub erasure: ErasureKind,
}

/// A parsed header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Suite of the envelope.
    pub suite: Suite,
    /// The vault key it is sealed to.
    pub key_id: KeyId,
    /// What the document is bound to.
    pub context: Context,
    /// Random salt of the key schedule.
    pub salt: [u8; 32],
    /// Commitment to the document key.
    pub commitment: [u8; 32],
    /// Encapsulated key.
    pub enc: Vec<u8>,
    /// The sealed document key, 48 bytes.
    pub sealed_key: Vec<u8>,
}

impl Header {
    /// Length of a header of this suite: 216 or 1,304 bytes.
    pub fn len_of(suite: Suite) -> usize {
        FIXED_LEN + suite.enc_len() + SEALED_KEY_LEN
    }

    /// The header as it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Header::len_of(self.suite));
        bytes.extend_from_slice(&context_bytes(self.suite, &self.key_id, &self.context, &self.salt));
        bytes.extend_from_slice(&self.commitment);
        bytes.extend_from_slice(&self.enc);
        bytes.extend_from_slice(&self.sealed_key);
        bytes
    }

    /// Reads a whole header; the error names the field that is wrong. Nothing is allocated from a length in it.
    pub fn parse(bytes: &[u8]) -> Result<Header, &'static str> {
        if bytes.len() < FIXED_LEN {
            return Err("header shorter than its fixed part");
        }
        if bytes[..7] != MAGIC[..7] {
            return Err("not a document header");
        }
        if bytes[7] != MAGIC[7] {
            return Err("unknown header version");
        }
        let suite = Suite::from_code(bytes[8]).ok_or("unknown suite")?;
        let erasure = ErasureKind::from_code(bytes[9]).ok_or("unknown erasure kind")?;
        if bytes[10] != CHUNK_LOG2 {
            return Err("unknown chunk size");
        }
        if bytes[11] != 0 {
            return Err("unknown flags");
        }
        let length = Header::len_of(suite);
        if u32::from_be_bytes(array(&bytes[12..16])) as usize != length {
            return Err("header length does not fit its suite");
        }
        if bytes.len() != length {
            return Err("header truncated or followed by other bytes");
        }
        if bytes[66..72] != [0; 6] {
            return Err("reserved bytes are not zero");
        }
        let (file_index, file_count) = (bytes[64], bytes[65]);
        if file_count == 0 || file_count > MAX_FILES {
            return Err("file count out of range");
        }
        if file_index >= file_count {
            return Err("file index not below the file count");
        }
        Ok(Header {
            suite,
            key_id: KeyId(array(&bytes[32..48])),
            context: Context {
                doc_id: array(&bytes[16..32]),
                slot: SlotRef {
                    index: u64::from_be_bytes(array(&bytes[48..56])),
                    generation: u64::from_be_bytes(array(&bytes[56..64])),
                },
                file_index,
                file_count,
                erasure,
            },
            salt: array(&bytes[72..104]),
            commitment: array(&bytes[104..136]),
            enc: bytes[FIXED_LEN..length - SEALED_KEY_LEN].to_vec(),
            sealed_key: bytes[length - SEALED_KEY_LEN..].to_vec(),
        })
    }
}

/// The first 104 bytes of the header.
pub(crate) fn context_bytes(suite: Suite, key_id: &KeyId, context: &Context, salt: &[u8; 32]) -> [u8; CONTEXT_LEN] {
    let mut bytes = [0u8; CONTEXT_LEN];
    let length = u32::try_from(Header::len_of(suite)).expect("a header is at most 1,304 bytes");
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8] = suite.code();
    bytes[9] = context.erasure.code();
    bytes[10] = CHUNK_LOG2;
    bytes[12..16].copy_from_slice(&length.to_be_bytes());
    bytes[16..32].copy_from_slice(&context.doc_id);
    bytes[32..48].copy_from_slice(&key_id.0);
    bytes[48..56].copy_from_slice(&context.slot.index.to_be_bytes());
    bytes[56..64].copy_from_slice(&context.slot.generation.to_be_bytes());
    bytes[64] = context.file_index;
    bytes[65] = context.file_count;
    bytes[72..104].copy_from_slice(salt);
    bytes
}

/// HPKE `psk_id`: "nightdrop/v1/slot" ‖ 00 ‖ slot_index ‖ slot_gen ‖ doc_id.
pub(crate) fn psk_id(context: &Context) -> Vec<u8> {
    let mut id = b"nightdrop/v1/slot\0".to_vec();
    id.extend_from_slice(&context.slot.index.to_be_bytes());
    id.extend_from_slice(&context.slot.generation.to_be_bytes());
    id.extend_from_slice(&context.doc_id);
    id
}

/// HPKE `info`: "nightdrop/v1/hpke" ‖ 00 ‖ context.
pub(crate) fn hpke_info(context: &[u8; CONTEXT_LEN]) -> Vec<u8> {
    let mut info = b"nightdrop/v1/hpke\0".to_vec();
    info.extend_from_slice(context);
    info
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller slices exactly N bytes")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn sample(suite: Suite) -> Header {
        Header {
            suite,
            key_id: KeyId([3; 16]),
            context: Context {
                doc_id: [9; 16],
                slot: SlotRef { index: 5, generation: 77 },
                file_index: 1,
                file_count: 2,
                erasure: ErasureKind::LocalSlot,
            },
            salt: [4; 32],
            commitment: [5; 32],
            enc: vec![6; suite.enc_len()],
            sealed_key: vec![7; SEALED_KEY_LEN],
        }
    }

    #[test]
    fn both_suites_round_trip_at_their_lengths() {
        for (suite, length) in [(Suite::X25519, 216), (Suite::XWing, 1304)] {
            let bytes = sample(suite).to_bytes();
            assert_eq!(bytes.len(), length);
            assert_eq!(Header::parse(&bytes).unwrap(), sample(suite));
        }
    }

    #[test]
    fn strict_rejects_name_the_field() {
        let good = sample(Suite::X25519).to_bytes();
        let with = |place: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[place] = value;
            Header::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(0, b'X'), "not a document header");
        assert_eq!(with(7, 2), "unknown header version");
        assert_eq!(with(8, 3), "unknown suite");
        assert_eq!(with(8, 2), "header length does not fit its suite");
        assert_eq!(with(9, 0), "unknown erasure kind");
        assert_eq!(with(10, 15), "unknown chunk size");
        assert_eq!(with(11, 1), "unknown flags");
        assert_eq!(with(15, 217), "header length does not fit its suite");
        assert_eq!(with(64, 2), "file index not below the file count");
        assert_eq!(with(65, 0), "file count out of range");
        assert_eq!(with(65, 3), "file count out of range");
        for place in 66..72 {
            assert_eq!(with(place, 1), "reserved bytes are not zero");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(Header::parse(&longer).unwrap_err(), "header truncated or followed by other bytes");
        for length in 0..good.len() {
            assert!(Header::parse(&good[..length]).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_and_what_parses_is_canonical(
            bytes in proptest::collection::vec(any::<u8>(), 0..1400),
            graft in 0usize..1400,
        ) {
            // A valid prefix makes deep branches reachable.
            let mut input = sample(Suite::X25519).to_bytes();
            input.truncate(graft);
            input.extend_from_slice(&bytes);
            if let Ok(header) = Header::parse(&input) {
                prop_assert_eq!(header.to_bytes(), input);
            }
        }
    }
}
