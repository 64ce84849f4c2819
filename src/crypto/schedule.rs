//! The key schedule of one document: everything comes from the document key, the salt and the context.
//!
//! ```text
//! prk         = HKDF-Extract(SHA-256, salt, DEK)
//! payload_key = HKDF-Expand(prk, "nightdrop/v1/payload" ‖ 00 ‖ CTX, 32)
//! meta_key    = HKDF-Expand(prk, "nightdrop/v1/meta"    ‖ 00 ‖ CTX, 32)
//! digest_key  = HKDF-Expand(prk, "nightdrop/v1/digest"  ‖ 00 ‖ CTX, 32)
//! commitment  = HKDF-Expand(prk, "nightdrop/v1/commit"  ‖ 00 ‖ CTX, 32)
//! ```

use hkdf::Hkdf;
use sha2::Sha256;

use super::header::CONTEXT_LEN;
use super::secret::SecretBytes;

/// The extracted key of a document and the context it is bound to.
pub(super) struct Schedule {
    prk: SecretBytes<32>,
    context: [u8; CONTEXT_LEN],
}

impl Schedule {
    pub(super) fn new(document_key: &SecretBytes<32>, context: &[u8; CONTEXT_LEN]) -> Schedule {
        // The salt is the last field of the context.
        let (mut extracted, _) = Hkdf::<Sha256>::extract(Some(&context[72..104]), document_key.expose());
        Schedule {
            prk: SecretBytes::take(extracted.as_mut()),
            context: *context,
        }
    }

    #[cfg(test)]
    pub(super) fn prk(&self) -> &[u8; 32] {
        self.prk.expose()
    }

    #[cfg(test)]
    pub(super) fn context(&self) -> &[u8; CONTEXT_LEN] {
        &self.context
    }

    pub(super) fn payload_key(&self) -> SecretBytes<32> {
        self.expand(&[b"nightdrop/v1/payload\0", &self.context])
    }

    pub(super) fn meta_key(&self) -> SecretBytes<32> {
        self.expand(&[b"nightdrop/v1/meta\0", &self.context])
    }

    pub(super) fn digest_key(&self) -> SecretBytes<32> {
        self.expand(&[b"nightdrop/v1/digest\0", &self.context])
    }

    pub(super) fn commitment(&self) -> SecretBytes<32> {
        self.expand(&[b"nightdrop/v1/commit\0", &self.context])
    }

    fn expand(&self, info: &[&[u8]]) -> SecretBytes<32> {
        let hkdf = Hkdf::<Sha256>::from_prk(self.prk.expose()).expect("32 bytes are a full SHA-256 key");
        SecretBytes::filled_by(|place| hkdf.expand_multi_info(info, place)).expect("32 bytes are far below HKDF's limit")
    }
}
