//! Two seams, chosen at run time: records (small rows with transactions, the embedded [`sled`]) and blobs (immutable sealed chunks, [`files`]).
//!
//! * Every method of [`RecordStore`] is one atomic business operation, durable before it answers. Nothing that a reader is shown may be undone by a power cut:
//!   readers wait for what was applied before them to be durable.
//! * [`BlobStore`] keeps immutable chunks under random keys and knows nothing else. No chunk is durable by itself: [`PartWriter::sync`] makes it so, and what it
//!   returns is what a transition needs to name the chunk.
//! * Nothing here can open what it stores; keys and erasure secrets never come here.

pub mod clock;
#[cfg(test)]
mod contract;
pub mod files;
pub mod key;
pub mod outbox;
pub mod record;
pub mod seal;
pub mod sled;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

use crate::domain::account::Change;
use crate::domain::agent::{Agent, ApiKey, Session, Team};
use crate::domain::audit::{AuditEntry, AuditEvent};
use crate::domain::document::{Durable, ProviderName};
use crate::domain::id::{AgentId, ApiKeyId, DocumentId, RequestId};
use crate::domain::receipt::{Erasure, ReceiptSigner, SignedReceipt};
use crate::domain::request::{DocumentRequest, RequestState};
use crate::domain::token::HashedToken;
use crate::domain::transition::{Refusal, Transition};

/// Requests and their transitions.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// The store's clock, to the millisecond: the database's in a cluster, the guarded local one when embedded. Never runs backwards.
    fn now(&self) -> OffsetDateTime;

    /// How the machine's clock stands to `now`. A clock that jumped, ahead or back, is not believed: `now` goes on without it until it is put right or an admin accepts
    /// the time, and while it is ahead, purging by deadline is suspended.
    fn clock(&self) -> clock::Standing;
    /// Whether the alarm about the clock is up.
    fn clock_suspect(&self) -> bool {
        self.clock() != clock::Standing::Agrees
    }
    /// The machine's time is right as it is at this moment. Durable with the next thing that is written.
    fn accept_clock(&self);
    /// Returns once no later start can begin before this instant, which is not later than `now`: what was shown to somebody as past stays past.
    async fn note_time(&self, at: OffsetDateTime) -> Result<(), StorageError>;

    /// Stores a new request with its link. With a claim: the same claim gives the same request again, and changes nothing.
    async fn issue(&self, request: DocumentRequest, claim: Option<Claim>, event: AuditEvent) -> Result<Claimed, StorageError>;

    /// Applies one legal transition with its audit events. All or nothing; [`StorageError::Refused`] decided why not.
    async fn transition(&self, id: RequestId, transition: Transition) -> Result<DocumentRequest, StorageError>;

    /// The same under an idempotency claim.
    async fn transition_once(&self, id: RequestId, transition: Transition, claim: Claim) -> Result<Claimed, StorageError>;

    /// Whether a claim was seen before, without making it.
    async fn claimed(&self, claim: &Claim) -> Result<Option<Claimed>, StorageError>;

    async fn request(&self, id: RequestId) -> Result<Option<DocumentRequest>, StorageError>;

    /// The request of a link, and whether that link is its current one.
    async fn by_link(&self, link: &HashedToken) -> Result<Option<(DocumentRequest, bool)>, StorageError>;

    /// The request whose bytes (held, being received or being purged) stand under this document id.
    async fn by_document(&self, document: DocumentId) -> Result<Option<RequestId>, StorageError>;

    /// The request that awaits a verdict on what the provider knows under this reference.
    async fn by_reference(&self, provider: &ProviderName, reference: &str) -> Result<Option<RequestId>, StorageError>;

    /// All documents with bytes: their owners.
    async fn live_documents(&self) -> Result<Vec<(DocumentId, RequestId)>, StorageError>;

    /// Newest first, by key-set cursor: no duplicates or gaps for rows that did not change.
    async fn list(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Page, StorageError>;

    /// Takes the lease of the request that has been due longest. Cost grows with what is due, never with what exists.
    async fn claim_due(&self, until: OffsetDateTime) -> Result<Option<DocumentRequest>, StorageError>;

    /// When the next request is due.
    async fn next_due(&self) -> Result<Option<OffsetDateTime>, StorageError>;

    /// Takes the cleanup lease of the request that has had something to destroy longest. Never behind a delivery: it has an index and a lease of its own.
    async fn claim_cleanup(&self, until: OffsetDateTime) -> Result<Option<DocumentRequest>, StorageError>;

    /// When something must be destroyed next.
    async fn next_cleanup(&self) -> Result<Option<OffsetDateTime>, StorageError>;

    /// Finishes a purge: tombstone, numbered and signed receipt, and audit event in one. `sign` is called within the transaction, once the receipt has its
    /// number and its place in the chain.
    async fn finish_purge(
        &self,
        id: RequestId,
        fence: u64,
        erasure: Erasure,
        sign: ReceiptSigner<'_>,
    ) -> Result<SignedReceipt, StorageError>;

    /// As stored; whoever shows it verifies the signature first.
    async fn deletion_receipt(&self, number: u64) -> Result<Option<SignedReceipt>, StorageError>;

    /// Deletes the row of a request that is past its time; its dead links stay dead for ever.
    async fn forget(&self, id: RequestId, fence: u64) -> Result<(), StorageError>;

    /// Requests by state, for metrics.
    async fn counts(&self) -> Result<Vec<(RequestState, u64)>, StorageError>;

    /// Notes the id of a verified callback; `false` when it was seen before.
    async fn claim_callback_id(&self, callback: [u8; 32]) -> Result<bool, StorageError>;
}

/// Accounts, sessions and keys. What these return was verified by the store's [`seal::Seal`]; a row that does not fit is [`StorageError::Altered`], and is left
/// out of lists.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Adds an agent; [`StorageError::Exists`] when the e-mail address is taken. An account that was altered takes no address: it is replaced.
    /// Under a claim at most once; then what was made by it before is told, and nothing is written.
    async fn add_agent(&self, agent: Agent, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError>;
    /// Applies one legal change with its audit event; `None`, and nothing written, when it is not legal now. A change that ends sessions deletes them.
    async fn alter_agent(&self, id: AgentId, change: Change, event: AuditEvent) -> Result<Option<Agent>, StorageError>;
    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StorageError>;
    async fn agent_by_email(&self, email: &str) -> Result<Option<Agent>, StorageError>;
    async fn agents(&self) -> Result<Vec<Agent>, StorageError>;
    /// Agents and API keys whose rows do not verify.
    async fn altered(&self) -> Result<Vec<seal::Altered>, StorageError>;

    async fn open_session(&self, cookie: [u8; 32], session: Session, event: AuditEvent) -> Result<(), StorageError>;
    /// Puts a session in the place of another one; `false`, and nothing written, when that one is gone.
    async fn replace_session(&self, old: &[u8; 32], new: [u8; 32], session: Session, event: AuditEvent) -> Result<bool, StorageError>;
    /// Every session of an agent that has not ended by itself, with the hash of its cookie.
    async fn sessions_of(&self, agent: AgentId) -> Result<Vec<([u8; 32], Session)>, StorageError>;
    async fn session(&self, cookie: &[u8; 32]) -> Result<Option<Session>, StorageError>;
    /// Notes that a session was used; need not be durable before the answer.
    async fn touch_session(&self, cookie: &[u8; 32], seen_at: OffsetDateTime) -> Result<(), StorageError>;
    /// Tells the event if there was such a session; otherwise nothing happens.
    async fn end_session(&self, cookie: &[u8; 32], event: AuditEvent) -> Result<(), StorageError>;
    /// Deletes sessions that ended by time; returns how many.
    async fn sweep_sessions(&self) -> Result<usize, StorageError>;

    /// Under a claim at most once, as [`Self::add_agent`].
    async fn add_api_key(&self, hash: [u8; 32], key: ApiKey, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError>;
    /// What a claim has made; `None` when nothing yet.
    async fn made(&self, claim: &Claim) -> Result<Option<Made>, StorageError>;
    async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StorageError>;
    async fn api_key_by_id(&self, id: ApiKeyId) -> Result<Option<ApiKey>, StorageError>;
    /// Notes that a key was used; need not be durable before the answer.
    async fn touch_api_key(&self, hash: &[u8; 32], used_at: OffsetDateTime) -> Result<(), StorageError>;
    async fn api_keys(&self) -> Result<Vec<ApiKey>, StorageError>;
    /// An altered row is deleted.
    async fn revoke_api_key(&self, id: ApiKeyId, event: AuditEvent) -> Result<(), StorageError>;
}

/// The hash-chained log.
#[async_trait]
pub trait AuditLog: Send + Sync {
    async fn append(&self, event: AuditEvent) -> Result<(), StorageError>;
    /// Entries with a higher number than `after`, oldest first.
    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StorageError>;
    /// Entries of one request, oldest first.
    async fn timeline(&self, request: RequestId) -> Result<Vec<AuditEntry>, StorageError>;
}

/// One backend for all rows.
pub trait Records: RecordStore + Directory + AuditLog + Outbox {}
impl<T: RecordStore + Directory + AuditLog + Outbox> Records for T {}

pub use outbox::Outbox;

/// Immutable sealed chunks under random keys.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Begins a file of a document; with `from` above 0 goes on with one behind so many chunks, which were durable. Nothing else of it stays: neither a file
    /// that stood under this name, nor chunks behind those. One writer for each file at a time.
    async fn writer(&self, document: DocumentId, file_index: u8, from: u32) -> Result<Box<dyn PartWriter>, StorageError>;
    /// `None`: looked for without an error, and there is no such file. [`ReadError::Final`] when it ends before the chunk.
    async fn get(&self, key: BlobKey) -> Result<Option<Bytes>, ReadError>;
    /// Deletes everything of a document, durably when this returns. Idempotent, also while another task does the same.
    async fn delete(&self, document: DocumentId) -> Result<(), StorageError>;
    /// The same for one file of a document.
    async fn delete_file(&self, document: DocumentId, file_index: u8) -> Result<(), StorageError>;
    /// Documents that have files here, ascending, for the sweep of orphans.
    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError>;
    /// Whether there is room for `bytes` more, with the reserve that purging and reopening need left over.
    fn room_for(&self, bytes: u64) -> bool;
}

/// Writes one file of a document, chunk by chunk. After an error it answers nothing but that error.
#[async_trait]
pub trait PartWriter: Send + Sync {
    /// The next sealed chunk: 65,552 bytes, or fewer if it is the last. Not durable yet.
    async fn put(&mut self, chunk: &[u8]) -> Result<(), StorageError>;
    /// Makes every chunk put so far durable.
    async fn sync(&mut self) -> Result<Durable, StorageError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey {
    pub document: DocumentId,
    pub file_index: u8,
    pub chunk: u32,
}

/// An `Idempotency-Key`, already bound to its caller, and a digest of what was asked with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: [u8; 32],
    pub body: [u8; 32],
}

#[derive(Clone, Debug)]
pub enum Claimed {
    /// Done now.
    Fresh(Box<DocumentRequest>),
    /// Done before with the same body.
    Replayed(Box<DocumentRequest>),
    /// The key was used for something else.
    Mismatch,
}

/// What became of an account or a key that was to be made under a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    Fresh,
    /// Made before with the same body: the 16 bytes of its id.
    Before([u8; 16]),
    /// The claim was used for something else.
    Mismatch,
}

#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub state: Option<RequestState>,
    pub provider: Option<ProviderName>,
    pub applicant_index: Option<[u8; 32]>,
    /// As [`crate::domain::agent::Actor`] prints it.
    pub created_by: Option<String>,
    /// Requests of these teams only; an empty list means those without a team.
    pub teams: Option<Vec<Team>>,
}

/// Position behind a row: opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub [u8; 24]);

impl Cursor {
    /// Behind everything that was made after `at`.
    pub fn before(at: OffsetDateTime) -> Self {
        Self(key::place_of(at))
    }
}

pub struct Page {
    pub requests: Vec<DocumentRequest>,
    pub next: Option<Cursor>,
}

/// Why kept bytes did not come out, sorted by what may follow from it. The two are never one: an outage is no damage, and only damage may lead to a
/// verdict on a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The store could not be read now (an I/O error, busy, shutting down): says nothing about the bytes. Try again later.
    Transient(String),
    /// Read without an error, and not what was written (a wrong length, a broken index): trying again changes nothing.
    Final(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(why) => write!(f, "cannot be read at the moment: {why}"),
            Self::Final(why) => write!(f, "is damaged: {why}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// For callers that only hand it on.
impl From<ReadError> for StorageError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Transient(_) => Self::Busy,
            ReadError::Final(why) => Self::Corrupt(why),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageError {
    NotFound,
    /// Decided: do not repeat.
    Refused(Refusal),
    Exists(&'static str),
    /// Provably not applied; try again.
    Busy,
    /// No space: provably not applied. Purging frees some.
    Full,
    /// The commit's outcome is unknown: ask again.
    Indeterminate(String),
    Corrupt(String),
    /// A row that grants rights is not as the portal wrote it.
    Altered(seal::Altered),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Exists(what) => write!(f, "{what} exists already"),
            Self::Busy => f.write_str("the store is busy"),
            Self::Full => f.write_str("the disk is full"),
            Self::Indeterminate(why) => write!(f, "the store could not say whether it wrote: {why}"),
            Self::Corrupt(what) => write!(f, "a stored row cannot be read: {what}"),
            Self::Altered(row) => write!(f, "a stored row was changed outside the portal: {row}"),
        }
    }
}

impl std::error::Error for StorageError {}
