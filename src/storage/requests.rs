//! Requests, their transitions, leases and receipts. Every method is one business operation: atomic, and durable before it answers.

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use super::{Claim, StorageError, clock, key};
use crate::domain::agent::{Team, sees};
use crate::domain::assignment::AssignedTo;
use crate::domain::audit::AuditEvent;
use crate::domain::document::{ProviderName, SearchWord};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::list_order::ListOrder;
use crate::domain::outcome::Outcome;
use crate::domain::receipt::{Erasure, ReceiptSigner, SignedReceipt};
use crate::domain::request::{DocumentRequest, RequestState};
use crate::domain::token::HashedToken;
use crate::domain::transition::Transition;

/// Idempotency claims are forgotten after this.
pub(super) const CLAIM_LIFE: Duration = Duration::hours(24);
/// Callback ids are remembered at least this long, far beyond every signature's tolerance.
pub(super) const SIGHT_LIFE: Duration = Duration::days(15);

/// Requests and their transitions.
#[async_trait]
pub trait RequestStore: Send + Sync {
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

    /// The request of a link, and which generation of its links that is: the present one has the request's own hash, the others came before.
    async fn by_link(&self, link: &HashedToken) -> Result<Option<(DocumentRequest, u32)>, StorageError>;

    /// The request whose bytes (held, being received or being purged) stand under this document id.
    async fn by_document(&self, document: DocumentId) -> Result<Option<RequestId>, StorageError>;

    /// The request that awaits a verdict on what the provider knows under this reference.
    async fn by_reference(&self, provider: &ProviderName, reference: &str) -> Result<Option<RequestId>, StorageError>;

    /// All documents with bytes: their owners.
    async fn live_documents(&self) -> Result<Vec<(DocumentId, RequestId)>, StorageError>;

    /// In the filter's order, by key-set cursor: no duplicates or gaps for rows that did not change. A cursor fits the order alone that gave it.
    async fn list(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Page, StorageError>;

    /// Takes the lease of the request that has been due longest in these queues. Cost grows with the number of queues, never with what exists or waits in another queue.
    async fn claim_due(&self, queues: WorkQueues<'_>, until: OffsetDateTime) -> Result<Option<DocumentRequest>, StorageError>;

    /// When the next request is due in these queues.
    async fn next_due(&self, queues: WorkQueues<'_>) -> Result<Option<OffsetDateTime>, StorageError>;

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

    /// Receipts with a higher number than this one, oldest first; as stored.
    async fn deletion_receipts(&self, after: u64, limit: usize) -> Result<Vec<SignedReceipt>, StorageError>;

    /// Drops the oldest receipts, at most so many: of purges before this instant, up to the first whose request still has a row, and never the newest, to which the
    /// next is chained. How many were dropped.
    async fn drop_receipts(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StorageError>;

    /// Deletes the row of a request that is past its time; its dead links stay dead for ever.
    async fn forget(&self, id: RequestId, fence: u64) -> Result<(), StorageError>;

    /// Requests by state, for metrics.
    async fn counts(&self) -> Result<Vec<(RequestState, u64)>, StorageError>;

    /// Requests by outcome.
    async fn outcomes(&self) -> Result<Vec<(Outcome, u64)>, StorageError>;

    /// Notes the id of a verified callback; `false` when it was seen before.
    async fn claim_callback_id(&self, callback: [u8; 32]) -> Result<bool, StorageError>;
}

/// Which of the queues that requests are due in; see [`crate::domain::request::WorkQueue`].
#[derive(Clone, Copy, Debug)]
pub enum WorkQueues<'a> {
    All,
    /// One provider's.
    Of(&'a ProviderName),
    /// The portal's own and those of all other providers.
    Except(&'a [ProviderName]),
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

#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub state: Option<RequestState>,
    pub outcome: Option<Outcome>,
    pub provider: Option<ProviderName>,
    pub applicant_index: Option<[u8; 32]>,
    pub word: Option<SearchWord>,
    /// In its canonical form.
    pub receipt_reference: Option<String>,
    /// As [`crate::domain::agent::Actor`] prints it.
    pub created_by: Option<String>,
    /// Requests of these teams only; an empty list means those without a team.
    pub teams: Option<Vec<Team>>,
    pub assigned: Option<AssignedTo>,
    /// Issued before then.
    pub made_before: Option<OffsetDateTime>,
    pub order: ListOrder,
}

impl Filter {
    /// Whether a row belongs in the list. An index finds it by one of these; time alone may have changed another since the index was written.
    pub(super) fn fits(&self, request: &DocumentRequest, now: OffsetDateTime) -> bool {
        self.state.is_none_or(|s| request.state(now) == s)
            && self.outcome.is_none_or(|o| request.outcome(now) == o)
            && self.provider.as_ref().is_none_or(|p| request.provider == *p)
            && self.applicant_index.is_none_or(|a| request.applicant_index == a)
            && self.word.is_none_or(|w| request.search_words.contains(&w))
            && self
                .receipt_reference
                .as_ref()
                .is_none_or(|r| request.receipt_references().any(|of| of == *r))
            && self.created_by.as_ref().is_none_or(|c| request.created_by.to_string() == *c)
            && self.assigned.as_ref().is_none_or(|to| to.fits(request))
            && self.made_before.is_none_or(|before| request.created_at < before)
            && self.teams.as_ref().is_none_or(|teams| sees(teams, request.team.as_ref()))
    }
}

/// Position behind a row: opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub [u8; 24]);

impl Cursor {
    /// Behind everything that was made after `at`.
    pub fn before(at: OffsetDateTime) -> Self {
        Self(key::place_of(at))
    }

    /// Behind everything that ends before `at`, in a list by ends.
    pub(crate) fn at(at: OffsetDateTime) -> Self {
        let mut place = [0; 24];
        place[..8].copy_from_slice(&key::ms(at));
        Self(place)
    }
}

pub struct Page {
    pub requests: Vec<DocumentRequest>,
    pub next: Option<Cursor>,
}
