//! The state of an interrupted upload, sealed so that the store which keeps it cannot use it.
//!
//! Between two connections the server must be able to go on sealing, so somewhere the document's keys must wait.
//! They wait in a box under a key made of two halves that are never stored together: the **link token**, which only
//! the visitor has (the store knows a keyed hash of it), and the **erasure secret**. The box is dropped at commit.
//!
//! ```text
//! resume key = HKDF(salt = E, ikm = token20, info = "nightdrop/v1/resume" ‖ 00 ‖ doc_id ‖ file_index)
//! box        = 01 ‖ nonce 24 ‖ XChaCha20-Poly1305(resume key, nonce, AAD = "nightdrop/v1/resume-box" ‖ 00, state)
//! ```
//!
//! **Why a resumed upload gets a new payload key.** Suppose chunk 7 was sealed and perhaps stored, and the server
//! crashed before recording that. The visitor sends chunk 7 again, maybe with other bytes. Sealing that under the
//! same key and counter would give two ciphertexts under one nonce: their XOR leaks, and forgery becomes possible.
//! So each resumption draws a nonce and derives a fresh key for all chunks from there on; the list of these segments
//! travels in the meta box. A document that was never interrupted has no segments and is plain STREAM.
//!
//! What the caller owes: store the box in the same transaction as the row of the chunk it follows, and on resuming
//! take the box's chunk count as the truth, dropping any later chunk.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::random::{self, Entropy, RandomUnavailable};
use super::secret::{ErasureSecret, SecretBytes};
use crate::domain::token::PlainToken;

const VERSION: u8 = 1;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const AAD: &[u8] = b"nightdrop/v1/resume-box\0";

/// The key of one file's resume box.
#[derive(Debug)]
pub struct ResumeKey(SecretBytes<32>);

impl ResumeKey {
    /// Derives the key; both the link token and the erasure secret are needed, and it fits one file only.
    pub fn derive(token: &PlainToken, secret: &ErasureSecret, doc_id: &[u8; 16], file_index: u8) -> ResumeKey {
        let hkdf = Hkdf::<Sha256>::new(Some(secret.expose()), token.as_bytes());
        let info: [&[u8]; 3] = [b"nightdrop/v1/resume\0", doc_id, &[file_index]];
        let key = SecretBytes::filled_by(|place| hkdf.expand_multi_info(&info, place)).expect("32 bytes are far below HKDF's limit");
        ResumeKey(key)
    }
}

pub(super) fn seal(key: &ResumeKey, state: &Zeroizing<Vec<u8>>, source: &dyn Entropy) -> Result<Vec<u8>, RandomUnavailable> {
    let nonce: [u8; NONCE_LEN] = random::array_from(source)?;
    let mut body = Zeroizing::new(Vec::with_capacity(state.len() + TAG_LEN));
    body.extend_from_slice(state);
    XChaCha20Poly1305::new(key.0.expose().into())
        .encrypt_in_place(&XNonce::from(nonce), AAD, &mut *body)
        .expect("a state of a few KiB is below the cipher's limit");
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

pub(super) fn open(key: &ResumeKey, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (version, rest) = sealed.split_first()?;
    let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
    if *version != VERSION {
        return None;
    }
    let nonce: [u8; NONCE_LEN] = nonce.try_into().ok()?;
    let mut state = Zeroizing::new(body.to_vec());
    XChaCha20Poly1305::new(key.0.expose().into())
        .decrypt_in_place(&XNonce::from(nonce), AAD, &mut *state)
        .ok()?;
    Some(state)
}
