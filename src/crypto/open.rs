//! Opening one document, for forwarding it and for nothing else.
//!
//! The order is fixed: the header (with the vault's private key and the erasure secret), the meta box (which says how
//! long the file is), then the chunks in their order. Only verified bytes ever
//! come out; after an error nothing more does.

use std::fmt;

use sha2::{Digest, Sha256};

use super::envelope::{self, Binding, KeyId};
use super::erase::{EraseError, ErasureStore};
use super::header::{self, Header};
use super::keyring::{KeyUnavailable, Keyring};
use super::memory;
use super::meta::{self, Meta};
use super::schedule::Schedule;
use super::secret::ErasureSecret;
use super::stream::{CHUNK_LEN, StreamCipher, TAG_LEN};
use crate::chain::Cause;

/// Why a document was not opened, or not further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The erasure secret is gone: the document was purged and cannot come back.
    #[error("the document was erased")]
    Erased,
    /// The erasure store failed; the document may still be readable later.
    #[error("the erasure store failed")]
    Store(#[source] Cause),
    /// The vault key is known but locked.
    #[error("the vault is locked")]
    Locked,
    /// No key of this id is known: it was destroyed or belongs to another portal.
    #[error("no vault key {0} is known")]
    UnknownKey(KeyId),
    /// The envelope does not open: another key, a foreign erasure secret, or a changed header.
    #[error("the document does not open with this key and erasure secret")]
    WrongKey,
    /// The document key is not the one the header commits to.
    #[error("the document key is not the committed one")]
    Commitment,
    /// A chunk is not the one that belongs here.
    #[error("chunk {chunk} is not authentic")]
    Tampered {
        /// Its number, from 0.
        chunk: u64,
    },
    /// The document ends before its last chunk.
    #[error("the document is truncated")]
    Truncated,
    /// Bytes that no sealer makes; the text says which.
    #[error("malformed document: {0}")]
    Malformed(&'static str),
    /// Called out of order, or after an error.
    #[error("the document is opened out of order or after an error")]
    OutOfOrder,
}

/// Opens one file, chunk by chunk.
pub struct DocumentOpener {
    schedule: Schedule,
    header: Header,
    header_hash: [u8; 32],
    state: State,
}

enum State {
    /// The envelope is open; the meta box comes next.
    Head,
    /// Chunks come next.
    Body(Body),
    /// All chunks came out.
    Done,
    /// An error happened; nothing more comes out.
    Failed,
}

/// The chunks of a document of known length.
pub(super) struct Body {
    cipher: StreamCipher,
    next: u64,
    chunks: u64,
    last_len: usize,
}

impl DocumentOpener {
    /// Fetches the erasure secret that the header names, then opens the envelope. An erased slot ends here, before
    /// any public-key operation.
    pub fn open_stored(header: &[u8], keyring: &Keyring, store: &dyn ErasureStore) -> Result<DocumentOpener, OpenError> {
        let parsed = Header::parse(header).map_err(OpenError::Malformed)?;
        let secret = store
            .get(&parsed.context.doc_id, &parsed.context.slot)
            .map_err(|error| match error {
                // A slot that is empty or reused holds nothing of this document any more.
                EraseError::Erased | EraseError::OtherOwner => OpenError::Erased,
                // Nothing was erased by us: a person is told, and no purge is made of it.
                EraseError::Damaged => OpenError::Malformed("the erasure slot fails its check"),
                EraseError::NoSuchSlot => OpenError::Malformed("the slot is outside the store"),
                error => OpenError::Store(Cause::new(error)),
            })?;
        DocumentOpener::open(header, keyring, &secret)
    }

    /// Opens the envelope with the key the header names and checks the commitment.
    pub fn open(header: &[u8], keyring: &Keyring, secret: &ErasureSecret) -> Result<DocumentOpener, OpenError> {
        let parsed = Header::parse(header).map_err(OpenError::Malformed)?;
        let key = keyring.secret(&parsed.key_id).map_err(|error| match error {
            KeyUnavailable::Locked => OpenError::Locked,
            KeyUnavailable::Unknown => OpenError::UnknownKey(parsed.key_id),
        })?;
        if key.suite() != parsed.suite {
            return Err(OpenError::Malformed("the suite is not the key's"));
        }
        let bound = header::context_bytes(parsed.suite, &parsed.key_id, &parsed.context, &parsed.salt);
        let document_key = envelope::unwrap(
            &key,
            secret,
            &Binding {
                info: &header::hpke_info(&bound),
                psk_id: &header::psk_id(&parsed.context),
                aad: &parsed.commitment,
            },
            &parsed.enc,
            &parsed.sealed_key,
        )
        .ok_or(OpenError::WrongKey)?;
        let schedule = Schedule::new(&document_key, &bound);
        if !schedule.commitment().same_as(&parsed.commitment) {
            return Err(OpenError::Commitment);
        }
        Ok(DocumentOpener {
            schedule,
            header_hash: Sha256::digest(header).into(),
            header: parsed,
            state: State::Head,
        })
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Opens the meta box; the chunks follow.
    pub fn open_meta(&mut self, sealed: &[u8]) -> Result<Meta, OpenError> {
        if !matches!(self.state, State::Head) {
            return self.fail(OpenError::OutOfOrder);
        }
        let meta = match meta::open(&self.schedule.meta_key(), &self.header_hash, sealed) {
            Ok(opened) => opened,
            Err(what) => return self.fail(OpenError::Malformed(what)),
        };
        match Body::new(StreamCipher::new(self.schedule.payload_key()), meta.size) {
            Ok(body) => self.state = State::Body(body),
            Err(error) => return self.fail(error),
        }
        Ok(meta)
    }

    /// Opens the next chunk in place. `index` is the number it was stored under and must be the next one; `last` says
    /// that the store has no more. The buffer is wiped on error.
    pub fn open_chunk_in_place(&mut self, index: u64, chunk: &mut Vec<u8>, last: bool) -> Result<(), OpenError> {
        let outcome = match &mut self.state {
            State::Body(body) => body.open(index, chunk, last),
            _ => Err(OpenError::OutOfOrder),
        };
        memory::wipe_stack();
        match outcome {
            Ok(()) => {
                if last {
                    self.state = State::Done;
                }
                Ok(())
            }
            Err(error) => {
                zeroize::Zeroize::zeroize(chunk);
                self.fail(error)
            }
        }
    }

    /// Says whether the whole document came out. Whoever forwards must ask: a stream that simply stopped is
    /// `Truncated`.
    pub fn finish(self) -> Result<(), OpenError> {
        match self.state {
            State::Done => Ok(()),
            State::Failed => Err(OpenError::OutOfOrder),
            State::Head | State::Body(_) => Err(OpenError::Truncated),
        }
    }

    fn fail<T>(&mut self, error: OpenError) -> Result<T, OpenError> {
        self.state = State::Failed;
        Err(error)
    }
}

impl fmt::Debug for DocumentOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentOpener([redacted])")
    }
}

impl Body {
    pub(super) fn new(cipher: StreamCipher, size: u64) -> Result<Body, OpenError> {
        if size == 0 {
            return Err(OpenError::Malformed("an empty document"));
        }
        let chunk_len = CHUNK_LEN as u64;
        Ok(Body {
            cipher,
            next: 0,
            chunks: size.div_ceil(chunk_len),
            last_len: usize::try_from((size - 1) % chunk_len + 1).expect("at most 65,536"),
        })
    }

    /// Opens the next chunk.
    pub(super) fn open(&mut self, index: u64, chunk: &mut Vec<u8>, last: bool) -> Result<(), OpenError> {
        if index != self.next {
            return Err(OpenError::OutOfOrder);
        }
        let is_last = self.next + 1 == self.chunks;
        if last && !is_last {
            return Err(OpenError::Truncated);
        }
        if is_last && !last {
            return Err(OpenError::Malformed("chunks beyond the end"));
        }
        let plain_len = if is_last { self.last_len } else { CHUNK_LEN };
        if chunk.len() != plain_len + TAG_LEN {
            return Err(OpenError::Malformed("a chunk has the wrong length"));
        }
        self.cipher
            .open(self.next, last, chunk)
            .map_err(|_| OpenError::Tampered { chunk: self.next })?;
        self.next += 1;
        Ok(())
    }
}
