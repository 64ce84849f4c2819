//! STREAM as age uses it: ChaCha20-Poly1305 over chunks of 64 KiB.
//!
//! Chunk `i` is sealed with nonce `u88be(i) ‖ last` and an empty AAD. All chunks but the last are exactly
//! 65,536 bytes; the last has 1 to 65,536. The key is used for one document only, so the
//! counter is a sufficient nonce. A chunk that does not authenticate leaves its buffer empty.

use super::bulk;
pub(crate) use super::bulk::{NotAuthentic, TAG_LEN};
use super::secret::SecretBytes;

/// Plain bytes in every chunk but the last.
pub(crate) const CHUNK_LEN: usize = 65_536;

/// The payload cipher of one key.
pub(crate) struct StreamCipher {
    key: SecretBytes<32>,
}

impl StreamCipher {
    pub(crate) fn new(key: SecretBytes<32>) -> StreamCipher {
        StreamCipher { key }
    }

    /// Seals the chunk at this place; the buffer grows by the tag, which is returned as well. The caller keeps to the length rules.
    pub(crate) fn seal(&self, place: u64, last: bool, chunk: &mut Vec<u8>) -> [u8; TAG_LEN] {
        let tag = bulk::seal(&self.key, nonce(place, last), b"", chunk);
        chunk.reserve_exact(TAG_LEN);
        chunk.extend_from_slice(&tag);
        tag
    }

    /// Opens the chunk at this place; the buffer shrinks by 16 bytes, or is wiped and emptied on error.
    pub(crate) fn open(&self, place: u64, last: bool, chunk: &mut Vec<u8>) -> Result<(), NotAuthentic> {
        bulk::open(&self.key, nonce(place, last), b"", chunk)
    }
}

fn nonce(place: u64, last: bool) -> [u8; 12] {
    let mut bytes = [0u8; 12];
    bytes[3..11].copy_from_slice(&place.to_be_bytes());
    bytes[11] = u8::from(last);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_chunk_opens_only_at_its_place_and_flag() {
        let cipher = StreamCipher::new(SecretBytes::take(&mut [1u8; 32]));
        let mut sealed = b"plain".to_vec();
        cipher.seal(3, false, &mut sealed);
        for (place, last) in [(2, false), (4, false), (3, true), (3 << 8, false)] {
            let mut chunk = sealed.clone();
            assert_eq!(cipher.open(place, last, &mut chunk), Err(NotAuthentic));
            assert!(chunk.is_empty(), "nothing is released");
        }
        cipher.open(3, false, &mut sealed).unwrap();
        assert_eq!(sealed, b"plain");
        for length in 0..TAG_LEN {
            assert_eq!(cipher.open(0, false, &mut vec![0; length]), Err(NotAuthentic));
        }
    }
}
