//! ChaCha20-Poly1305 over whole chunks: the one place that decides which implementation seals and opens documents.
//!
//! The algorithm is that of the `chacha20poly1305` crate, which does everything small (keys, meta boxes, texts) and is compared with this in the tests; ring's
//! implementation of it takes about 0.6 of the time (docs/decisions/bulk-cipher.md). Both give the same bytes.
//!
//! ring does not wipe its keys. So a key is set up anew for each chunk, on the stack, in functions that are not inlined: [`super::memory::wipe_stack`], which
//! every caller calls afterwards, reaches it.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::secret::SecretBytes;

/// Bytes a chunk grows by when sealed.
pub(crate) const TAG_LEN: usize = 16;

const NONCE_LEN: usize = 12;

/// A chunk did not authenticate under this key, place and last-flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// Encrypts the bytes in place and returns their tag.
#[inline(never)]
pub(super) fn seal(key: &SecretBytes<32>, nonce: [u8; NONCE_LEN], aad: &[u8], bytes: &mut [u8]) -> [u8; TAG_LEN] {
    let tag = set_up(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), bytes)
        .expect("a chunk is far below the cipher's limit");
    let mut out = [0; TAG_LEN];
    out.copy_from_slice(tag.as_ref());
    out
}

/// Opens bytes and their tag in place; they shrink by the tag, or are wiped and emptied on error.
#[inline(never)]
pub(super) fn open(key: &SecretBytes<32>, nonce: [u8; NONCE_LEN], aad: &[u8], sealed: &mut Vec<u8>) -> Result<(), NotAuthentic> {
    let opened = set_up(key).open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed);
    match opened.map(|plain| plain.len()) {
        Ok(length) => {
            sealed.truncate(length);
            Ok(())
        }
        Err(_) => {
            sealed.zeroize();
            Err(NotAuthentic)
        }
    }
}

fn set_up(key: &SecretBytes<32>) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.expose()).expect("32 bytes are a key"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use chacha20poly1305::aead::{Aead, Payload};
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
    use proptest::prelude::*;

    /// What the other implementation makes.
    fn reference(key: [u8; 32], nonce: [u8; 12], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let cipher = ChaCha20Poly1305::new(&key.into());
        cipher.encrypt(&nonce.into(), Payload { msg: plain, aad }).unwrap()
    }

    proptest! {
        #[test]
        fn both_implementations_make_the_same_bytes(
            key: [u8; 32], nonce: [u8; 12], aad in proptest::collection::vec(any::<u8>(), 0..40), length in 0usize..70_000, fill: u8,
        ) {
            let plain: Vec<u8> = (0..length).map(|i| fill.wrapping_add((i % 251) as u8)).collect();
            let secret = SecretBytes::take(&mut key.clone());
            let mut sealed = plain.clone();
            let tag = seal(&secret, nonce, &aad, &mut sealed);
            sealed.extend_from_slice(&tag);
            prop_assert_eq!(&sealed, &reference(key, nonce, &aad, &plain));
            let mut opened = sealed.clone();
            prop_assert_eq!(open(&secret, nonce, &aad, &mut opened), Ok(()));
            prop_assert_eq!(&opened, &plain);
            let place = usize::from(fill) % sealed.len();
            sealed[place] ^= 1;
            prop_assert_eq!(open(&secret, nonce, &aad, &mut sealed), Err(NotAuthentic));
            prop_assert!(sealed.is_empty(), "nothing is released");
        }
    }
}
