//! Sealing one file while it streams in.
//!
//! `begin` makes the header; each 64 KiB of plain bytes becomes a chunk, in place; `finish` makes the meta box and
//! returns the keyed digest. The sealer holds only symmetric keys of this one document; the document key itself is
//! gone once `begin` returns, and the vault's private key is never here.
//!
//! A sealer that has failed, or is dropped before `finish`, leaves nothing that can be opened: without the meta box
//! no opener starts. There is no going on with an interrupted sealing, whose keys and counters would have to be kept: an interrupted upload waits
//! in [`super::staging`] and is sealed in one go.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::envelope::{self, Binding, PublicKey, WrapError};
use super::header::{self, Context, Header, MAX_FILES};
use super::memory;
use super::meta::{self, BoxError, Meta};
use super::random::{self, Entropy, OsEntropy, RandomUnavailable};
use super::schedule::Schedule;
use super::secret::{ErasureSecret, SecretBytes};
use super::stream::{CHUNK_LEN, StreamCipher, TAG_LEN};

/// The most chunks of a file: they are stored under a 32-bit number. 2³² × 64 KiB is beyond any size limit.
const MAX_CHUNKS: u64 = u32::MAX as u64;

/// Why sealing failed. Nothing of the document is readable afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The operating system gave no random bytes; worth another try later.
    #[error("no random bytes to seal with")]
    Random(#[from] RandomUnavailable),
    /// The vault's public key was refused by HPKE.
    #[error("the vault's public key cannot be sealed to")]
    KeyRefused,
    /// File index or count outside the format.
    #[error("file index or count out of range")]
    BadContext,
    /// A chunk that is not the last was not exactly 64 KiB, or the last was empty or longer.
    #[error("a chunk has the wrong length")]
    ChunkLength,
    /// More chunks than the format can number.
    #[error("too many chunks")]
    TooLong,
    /// A chunk after the last one.
    #[error("the last chunk was already sealed")]
    AfterLast,
    /// `finish` before the last chunk.
    #[error("the last chunk was not sealed yet")]
    Unfinished,
    /// The meta data names another size than went through.
    #[error("the size in the meta data is not the size that was sealed")]
    SizeMismatch,
    /// The meta data does not fit its box.
    #[error("the meta data is too long")]
    MetaTooLong,
}

/// What a finished sealing leaves for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDocument {
    /// The meta box, to be stored beside the header.
    pub meta_box: Vec<u8>,
    /// HMAC-SHA-256(digest_key, tags of the chunks in their order): equal for equal bytes under this document's keys, means nothing after it.
    pub digest: [u8; 32],
    /// Plain bytes.
    pub size: u64,
    /// Chunks.
    pub chunks: u64,
}

/// The keyed digest of a part: over the tags of its chunks, which stand for their bytes.
pub(super) struct TagDigest(Hmac<Sha256>);

impl TagDigest {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Self(Hmac::new_from_slice(schedule.digest_key().expose()).expect("HMAC takes keys of any length"))
    }

    pub(super) fn add(&mut self, tag: &[u8; TAG_LEN]) {
        self.0.update(tag);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }
}

/// Seals one file, chunk by chunk.
pub struct DocumentSealer {
    schedule: Schedule,
    header_hash: [u8; 32],
    cipher: StreamCipher,
    digest: TagDigest,
    chunks: u64,
    size: u64,
    ended: bool,
}

impl DocumentSealer {
    /// Makes a document key, seals it to the vault and the erasure secret, and returns the header to be stored
    /// (216 or 1,304 bytes) together with the sealer.
    pub fn begin(public: &PublicKey, context: &Context, secret: &ErasureSecret) -> Result<(Vec<u8>, DocumentSealer), SealError> {
        Self::begin_with(&OsEntropy, public, context, secret)
    }

    /// `begin` with a given source of random bytes.
    pub fn begin_with(
        source: &dyn Entropy,
        public: &PublicKey,
        context: &Context,
        secret: &ErasureSecret,
    ) -> Result<(Vec<u8>, DocumentSealer), SealError> {
        if context.file_count == 0 || context.file_count > MAX_FILES || context.file_index >= context.file_count {
            return Err(SealError::BadContext);
        }
        let document_key = SecretBytes::<32>::random_from(source)?;
        let salt: [u8; 32] = random::array_from(source)?;
        let bound = header::context_bytes(public.suite(), &public.id(), context, &salt);
        let schedule = Schedule::new(&document_key, &bound);
        let commitment = *schedule.commitment().expose();
        let (enc, sealed_key) = envelope::wrap(
            public,
            secret,
            &Binding {
                info: &header::hpke_info(&bound),
                psk_id: &header::psk_id(context),
                aad: &commitment,
            },
            document_key.expose(),
            source,
        )
        .map_err(|error| match error {
            WrapError::Random(error) => SealError::Random(error),
            WrapError::Refused => SealError::KeyRefused,
        })?;
        let header = Header {
            suite: public.suite(),
            key_id: public.id(),
            context: *context,
            salt,
            commitment,
            enc,
            sealed_key,
        }
        .to_bytes();
        let sealer = DocumentSealer {
            header_hash: Sha256::digest(&header).into(),
            cipher: StreamCipher::new(schedule.payload_key()),
            digest: TagDigest::new(&schedule),
            schedule,
            chunks: 0,
            size: 0,
            ended: false,
        };
        Ok((header, sealer))
    }

    /// Seals the next chunk in place; the buffer grows by 16 bytes. Every chunk but the last has exactly 65,536
    /// bytes, the last 1 to 65,536.
    pub fn seal_chunk_in_place(&mut self, chunk: &mut Vec<u8>, last: bool) -> Result<(), SealError> {
        if self.ended {
            return Err(SealError::AfterLast);
        }
        let fits = if last {
            (1..=CHUNK_LEN).contains(&chunk.len())
        } else {
            chunk.len() == CHUNK_LEN
        };
        if !fits {
            return Err(SealError::ChunkLength);
        }
        if self.chunks >= MAX_CHUNKS {
            return Err(SealError::TooLong);
        }
        self.size += chunk.len() as u64;
        let tag = self.cipher.seal(self.chunks, last, chunk);
        self.digest.add(&tag);
        memory::wipe_stack();
        self.chunks += 1;
        self.ended = last;
        Ok(())
    }

    /// Plain bytes sealed so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Chunks sealed so far: also the number of the next one.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Makes the meta box and ends the sealing. The meta data must name the size that went through.
    pub fn finish(self, meta: &Meta) -> Result<SealedDocument, SealError> {
        self.finish_with(&OsEntropy, meta)
    }

    /// `finish` with a given source of random bytes.
    pub fn finish_with(self, source: &dyn Entropy, meta: &Meta) -> Result<SealedDocument, SealError> {
        if !self.ended {
            return Err(SealError::Unfinished);
        }
        if meta.size != self.size {
            return Err(SealError::SizeMismatch);
        }
        let meta_box = meta::seal(&self.schedule.meta_key(), &self.header_hash, meta, source).map_err(|error| match error {
            BoxError::Random(error) => SealError::Random(error),
            BoxError::TooLong => SealError::MetaTooLong,
        })?;
        Ok(SealedDocument {
            meta_box,
            digest: self.digest.finish(),
            size: self.size,
            chunks: self.chunks,
        })
    }
}

impl fmt::Debug for DocumentSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentSealer({} chunks, [redacted])", self.chunks)
    }
}
