//! The key schedule of one document: everything comes from the document key, the salt and the context.
//!
//! ```text
//! prk         = HKDF-Extract(SHA-256, salt, DEK)
//! payload_key = HKDF-Expand(prk, "nightdrop/v1/payload" ‖ 00 ‖ CTX, 32)
//! meta_key    = HKDF-Expand(prk, "nightdrop/v1/meta"    ‖ 00 ‖ CTX, 32)
//! digest_key  = HKDF-Expand(prk, "nightdrop/v1/digest"  ‖ 00 ‖ CTX, 32)
//! commitment  = HKDF-Expand(prk, "nightdrop/v1/commit"  ‖ 00 ‖ CTX, 32)
//! resumed_key = HKDF-Expand(prk, "nightdrop/v1/payload-resumed" ‖ 00 ‖ CTX ‖ u64 first chunk ‖ nonce 16, 32)
//! ```
//! The last line is for interrupted uploads; `resume` says why it must exist.

use hkdf::Hkdf;
use sha2::Sha256;

use super::header::CONTEXT_LEN;
use super::secret::SecretBytes;

/// From which chunk on a resumed upload uses a fresh payload key, and the nonce that makes that key fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First chunk sealed under this segment's key.
    pub first_chunk: u64,
    /// Random, one per resumption.
    pub nonce: [u8; 16],
}

/// The extracted key of a document and the context it is bound to.
pub struct Schedule {
    prk: SecretBytes<32>,
    context: [u8; CONTEXT_LEN],
}

impl Schedule {
    pub fn new(document_key: &SecretBytes<32>, context: &[u8; CONTEXT_LEN]) -> Schedule {
        // The salt is the last field of the context.
        let (mut extracted, _) = Hkdf::<Sha256>::extract(Some(&context[72..104]), document_key.expose());
        Schedule {
            prk: SecretBytes::take(extracted.as_mut()),
            context: *context,
        }
    }

    /// Restores a schedule from its extracted key, for a resumed upload.
    pub fn from_prk(prk: SecretBytes<32>, context: [u8; CONTEXT_LEN]) -> Schedule {
        Schedule { prk, context }
    }

    pub fn prk(&self) -> &[u8; 32] {
        self.prk.expose()
    }

    pub fn context(&self) -> &[u8; CONTEXT_LEN] {
        &self.context
    }

    pub fn payload_key(&self) -> SecretBytes<32> {
        self.expand(&[b"nightdrop/v1/payload\0", &self.context])
    }

    pub fn segment_key(&self, segment: &Segment) -> SecretBytes<32> {
        self.expand(&[
            b"nightdrop/v1/payload-resumed\0",
            &self.context,
            &segment.first_chunk.to_be_bytes(),
            &segment.nonce,
        ])
    }

    pub fn meta_key(&self) -> SecretBytes<32> {
        self.expand(&[b"nightdrop/v1/meta\0", &self.context])
    }

    pub fn digest_key(&self) -> SecretBytes<32> {
        self.expand(&[b"nightdrop/v1/digest\0", &self.context])
    }

    pub fn commitment(&self) -> SecretBytes<32> {
        self.expand(&[b"nightdrop/v1/commit\0", &self.context])
    }

    fn expand(&self, info: &[&[u8]]) -> SecretBytes<32> {
        let hkdf = Hkdf::<Sha256>::from_prk(self.prk.expose()).expect("32 bytes are a full SHA-256 key");
        SecretBytes::filled_by(|place| hkdf.expand_multi_info(info, place)).expect("32 bytes are far below HKDF's limit")
    }
}
