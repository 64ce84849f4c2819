//! The way of a document, one verb per file: issue → receive → forward → confirm → purge; and who may ask: sign_in.
//!
//! This layer joins the four siblings below it (crypto, storage, connectors, inspect) and is the only one that does. It knows no HTTP and reads no clock but the store's.

pub(crate) mod assignment;
pub(crate) mod backup;
pub(crate) mod callback;
pub(crate) mod catalogue;
pub(crate) mod delivery;

pub(crate) mod export;
pub(crate) mod hosted;
pub(crate) mod intake;
pub(crate) mod issue;
pub(crate) mod link_message;
pub(crate) mod manual_download;
pub(crate) mod message;
pub(crate) mod notes;
pub(crate) mod outgoing;

pub(crate) mod person;
pub(crate) mod pool;
pub(crate) mod purge;
pub(crate) mod query;
pub(crate) mod refusals;

pub(crate) mod seal;
pub(crate) mod settings;
pub(crate) mod sign_in;
pub(crate) mod sweep;
pub(crate) mod tally;
pub(crate) mod templates;
pub(crate) mod terms;
pub(crate) mod trusted;
pub(crate) mod vault;
pub(crate) mod views;
pub(crate) mod wake;
pub(crate) mod warning;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use time::{Duration, OffsetDateTime};

use crate::chain::Cause;
use crate::connectors::Connector;
use crate::crypto::assurance::Watch;
use crate::crypto::erase::{EraseError, ErasureStore};
use crate::crypto::keyring::Keyring;
use crate::crypto::memory;
use crate::crypto::random::RandomUnavailable;
use crate::crypto::secrets::PortalSecrets;
use crate::domain::document::ProviderName;
use crate::domain::id::{AgentId, RequestId};
use crate::domain::transition::Refusal;
use crate::inspect::settings::PdfSettings;
use crate::storage::{AuditLog, BlobStore, Directory, Outbox, RequestStore, StorageError};
use catalogue::Catalogue;
use tally::Tally;

/// Everything a workflow needs. What lasts is shared; what the configuration decides is of one reading of it, and another reading makes another portal around the
/// same lasting parts. Whoever begins something takes one and keeps it to the end.
#[derive(Clone)]
pub struct Portal {
    /// The records, each of their traits by itself: what calls one says what it reads and writes.
    pub requests: Arc<dyn RequestStore>,
    pub directory: Arc<dyn Directory>,
    pub audit: Arc<dyn AuditLog>,
    pub outbox: Arc<dyn Outbox>,
    pub blobs: Arc<dyn BlobStore>,
    pub erasure: Arc<dyn ErasureStore>,
    pub assurance: Arc<Watch>,
    pub keyring: Arc<Keyring>,
    pub secrets: Arc<PortalSecrets>,
    pub providers: BTreeMap<ProviderName, Arc<dyn Connector>>,
    pub catalogue: Catalogue,
    pub policy: Policy,
    pub intake: Arc<intake::IntakeState>,
    pub auth: Arc<sign_in::AuthState>,
    /// Where that runs which must end whoever asked for it: the threads of the listeners die with a panic, and these tasks with them.
    pub tasks: tokio::runtime::Handle,
    /// Notified when something may have become due.
    pub wake: wake::Wake,
    pub delivery: delivery::DeliveryState,
    pub outgoing: outgoing::Outgoing,
    pub counters: Arc<Counters>,
    pub backups: backup::Backups,
    /// Stored rows that were changed behind the portal's back.
    pub altered: Arc<seal::Found>,
}

impl Portal {
    /// The present time, as the store knows it: it never runs backwards.
    pub fn now(&self) -> OffsetDateTime {
        self.requests.now()
    }
}

/// What the configuration decides.
#[derive(Clone, Debug)]
pub struct Policy {
    pub public_url: String,
    pub link: Duration,
    pub link_max: Duration,
    pub undelivered: Duration,
    pub history: Duration,
    /// How long deletion receipts are kept; `None`: for ever.
    pub receipts: Option<Duration>,
    pub max_file: u64,
    /// What is taken of PDFs.
    pub pdf: PdfSettings,
    pub passcode_required: bool,
    /// Failed attempts before a person is asked.
    pub attempts: u32,
    /// The company's name: no part of a good password.
    pub company: String,
    /// A password alone lets nobody in.
    pub require_second_factor: bool,
}

/// Counts since start, for metrics. No id.
#[derive(Default)]
pub struct Counters {
    pub received: AtomicU64,
    pub received_bytes: AtomicU64,
    pub refused: AtomicU64,
    pub abandoned: AtomicU64,
    pub delivered: AtomicU64,
    /// Documents in which the scanner found something.
    pub infected: AtomicU64,
    /// Attempts that had to wait because nobody could scan.
    pub unscanned: AtomicU64,
    pub failed_attempts: AtomicU64,
    pub purged: AtomicU64,
    pub callbacks_refused: AtomicU64,
    /// Attempts to hand a document over: provider, and "ok" or the problem's code.
    pub attempts: Tally<2>,
    /// Tries to send a webhook or a mail: channel, receiver, outcome.
    pub dispatches: Tally<3>,
    /// Who was refused, by the action of the audit log.
    pub refusals: Tally<1>,
}

/// Why a workflow could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// A field is not acceptable: its name, and what is.
    #[error("{field}: {fix}")]
    Invalid { field: &'static str, fix: String },
    /// It would leave nobody who can fix the portal but from a shell.
    #[error("this is the last admin; add another one first")]
    LastAdmin,
    /// Decided by the state of the request.
    #[error("{0}")]
    Refused(Refusal),
    #[error("not found")]
    NotFound,
    /// The `Idempotency-Key` was used with another body.
    #[error("this Idempotency-Key was used for something else")]
    KeyReused,
    /// The `Idempotency-Key` issued a link of this request that is dead by now.
    #[error("the link that this Idempotency-Key issued was replaced, withdrawn or has expired")]
    LinkReplaced(RequestId),
    /// The `Idempotency-Key` made a sign-in link for this agent that is dead by now.
    #[error("the sign-in link that this Idempotency-Key made was used or replaced, or has ended")]
    InvitationGone(AgentId),
    /// The stored row was changed by somebody without the portal's secrets.
    #[error("the stored request was changed outside the portal")]
    Tampered,
    /// A deletion receipt is missing, or is not the one that was signed.
    #[error("deletion receipt {0} is not the one that was signed")]
    ReceiptAltered(u64),
    /// The records are in a database, whose own tools back them up.
    #[error("the records are in PostgreSQL: back them up with its own tools, and the keys folder beside them")]
    BackedUpByDatabase,
    #[error(transparent)]
    Storage(StorageError),
    /// No random bytes: nothing was done.
    #[error("the operating system gives no random bytes")]
    Random,
    /// The vault key is locked.
    #[error("the vault is locked")]
    VaultLocked,
    /// The private half of the vault key is not here: what came in could never be read.
    #[error("the vault key's private half is not here")]
    VaultAbsent,
    /// Too much at once; try again shortly.
    #[error("too much at once")]
    Busy,
    /// What is needed for it cannot be read or written now, and may be again: nothing is known to be lost. The text is for the log.
    #[error(transparent)]
    Unavailable(Cause),
    /// Something inside failed; the text is for the log.
    #[error(transparent)]
    Internal(Cause),
}

impl From<StorageError> for WorkflowError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Refused(refusal) => Self::Refused(refusal),
            StorageError::NotFound => Self::NotFound,
            other => Self::Storage(other),
        }
    }
}

impl From<EraseError> for WorkflowError {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::SlotsFull => Self::Storage(StorageError::Full),
            error if error.is_transient() => Self::Unavailable(Cause::new(error)),
            error => Self::Internal(Cause::new(error)),
        }
    }
}

impl From<RandomUnavailable> for WorkflowError {
    fn from(_: RandomUnavailable) -> Self {
        Self::Random
    }
}

/// Runs blocking work (argon2, fsync) off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkflowError> {
    // What it logs belongs to the request that it is done for.
    let span = tracing::Span::current();
    let work = move || {
        let done = span.in_scope(work);
        memory::wipe_stack();
        done
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| WorkflowError::Internal(Cause::new(error)))
}
