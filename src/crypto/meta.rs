//! The meta box: what is known of a file beside its bytes, sealed under a key that dies with the erasure secret.
//!
//! `nonce 12 ‖ ChaCha20-Poly1305(meta_key, nonce, AAD = SHA-256(header), padded CBOR)`. The CBOR is followed by 0x80
//! and zeros up to a multiple of 512, so that the length of a file name does not show.
//!
//! The nonce is random and stored in front. A fixed nonce would do, since a box is written once under its key; a random one
//! needs no such proof.

use std::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::random::{self, Entropy, RandomUnavailable};
use super::secret::SecretBytes;

/// The padding unit.
pub(crate) const META_BLOCK: usize = 512;

/// The longest meta box: far beyond the longest name.
pub(crate) const META_BOX_MAX: usize = 64 * 1024;

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// What the portal knows of a file. All of it is wiped on drop; none of it is printed.
#[derive(Clone, PartialEq, Eq, Default, Zeroize, ZeroizeOnDrop, Encode, Decode)]
#[cbor(map)]
pub struct Meta {
    /// The name the visitor's device gave, cleaned by the caller.
    #[n(0)]
    pub file_name: String,
    /// The media type the browser declared.
    #[n(1)]
    pub declared_type: String,
    /// The media type its bytes have.
    #[n(2)]
    pub sniffed_type: String,
    /// Plain length in bytes; must equal what went through the sealer.
    #[n(3)]
    pub size: u64,
    /// Pixels, for pictures.
    #[n(4)]
    pub width: Option<u32>,
    /// Pixels, for pictures.
    #[n(5)]
    pub height: Option<u32>,
    /// Where the document is to be forwarded to, copied from the authenticated link row at commit: whoever can
    /// write the database afterwards cannot redirect the document.
    #[n(6)]
    pub target: Option<String>,
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meta([redacted])")
    }
}

/// The content of the box.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Record {
    #[n(0)]
    version: u8,
    #[n(1)]
    meta: Meta,
}

/// Why a meta box was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BoxError {
    Random(RandomUnavailable),
    TooLong,
}

pub(super) fn seal(key: &SecretBytes<32>, header_hash: &[u8; 32], meta: &Meta, source: &dyn Entropy) -> Result<Vec<u8>, BoxError> {
    let record = Record {
        version: 1,
        meta: meta.clone(),
    };
    let mut plain = Zeroizing::new(minicbor::to_vec(&record).map_err(|_| BoxError::TooLong)?);
    pad(&mut plain);
    if NONCE_LEN + plain.len() + TAG_LEN > META_BOX_MAX {
        return Err(BoxError::TooLong);
    }
    let nonce: [u8; NONCE_LEN] = random::array_from(source).map_err(BoxError::Random)?;
    let aead = ChaCha20Poly1305::new(key.expose().into());
    let tag = aead
        .encrypt_inout_detached(&Nonce::from(nonce), header_hash, plain.as_mut_slice().into())
        .expect("a box of at most 64 KiB is below the cipher's limit");
    let mut sealed = nonce.to_vec();
    sealed.extend_from_slice(&plain);
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens a box; the error says what is wrong with it.
pub(super) fn open(key: &SecretBytes<32>, header_hash: &[u8; 32], sealed: &[u8]) -> Result<Meta, &'static str> {
    if sealed.len() > META_BOX_MAX || sealed.len() < NONCE_LEN + META_BLOCK + TAG_LEN {
        return Err("meta box of an impossible length");
    }
    if !(sealed.len() - NONCE_LEN - TAG_LEN).is_multiple_of(META_BLOCK) {
        return Err("meta box not padded");
    }
    let nonce: [u8; NONCE_LEN] = sealed[..NONCE_LEN].try_into().expect("length checked above");
    let mut plain = Zeroizing::new(sealed[NONCE_LEN..].to_vec());
    let aead = ChaCha20Poly1305::new(key.expose().into());
    aead.decrypt_in_place(&Nonce::from(nonce), header_hash, &mut *plain)
        .map_err(|_| "meta box does not authenticate")?;
    let length = unpadded(&plain).ok_or("meta box badly padded")?;
    let mut decoder = minicbor::Decoder::new(&plain[..length]);
    let record: Record = decoder.decode().map_err(|_| "meta box is not the expected CBOR")?;
    if decoder.position() != length {
        return Err("meta box has trailing bytes");
    }
    if record.version != 1 {
        return Err("unknown meta version");
    }
    Ok(record.meta)
}

fn pad(plain: &mut Zeroizing<Vec<u8>>) {
    let padded = (plain.len() + 1).next_multiple_of(META_BLOCK);
    let mut roomy = Zeroizing::new(Vec::with_capacity(padded));
    roomy.extend_from_slice(plain);
    roomy.push(0x80);
    roomy.resize(padded, 0);
    *plain = roomy;
}

fn unpadded(plain: &[u8]) -> Option<usize> {
    let end = plain.iter().rposition(|byte| *byte != 0)?;
    (plain[end] == 0x80).then_some(end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::random::OsEntropy;

    fn key() -> SecretBytes<32> {
        SecretBytes::take(&mut [8u8; 32])
    }

    fn named(name: String) -> Meta {
        let mut meta = Meta::default();
        meta.file_name = name;
        meta.size = 12;
        meta
    }

    #[test]
    fn boxes_round_trip_and_hide_the_length_of_the_name() {
        let mut lengths = Vec::new();
        for length in [0usize, 1, 100, 255, 430, 500, 1000] {
            let meta = named("n".repeat(length));
            let sealed = seal(&key(), &[1; 32], &meta, &OsEntropy).unwrap();
            assert_eq!((sealed.len() - 28) % META_BLOCK, 0);
            lengths.push(sealed.len());
            let read = open(&key(), &[1; 32], &sealed).unwrap();
            assert!(read == meta);
        }
        assert_eq!(lengths[0], lengths[3]);
    }

    #[test]
    fn a_changed_box_header_or_key_is_refused() {
        let sealed = seal(&key(), &[1; 32], &named("a".into()), &OsEntropy).unwrap();
        for place in [0, 11, 12, 300, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(open(&key(), &[1; 32], &changed).is_err());
        }
        assert!(open(&key(), &[2; 32], &sealed).is_err());
        assert!(open(&SecretBytes::take(&mut [9u8; 32]), &[1; 32], &sealed).is_err());
        for length in 0..sealed.len() {
            assert!(open(&key(), &[1; 32], &sealed[..length]).is_err());
        }
    }

    #[test]
    fn a_name_that_would_not_fit_is_refused() {
        let meta = named("n".repeat(META_BOX_MAX));
        assert_eq!(seal(&key(), &[1; 32], &meta, &OsEntropy).err(), Some(BoxError::TooLong));
    }
}
