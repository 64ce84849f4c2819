//! The third seam of the records: what is to be told, to whom, and how it went; templates and preferences of agents; and the lists that a console opens with.
//!
//! Nothing is announced by the code that changes a request: the audit log is the announcement. [`Outbox::advance`] moves a mark along the log and queues what the
//! passed entries call for in the same transaction, so a change is announced at least once whatever dies in between, and never queued twice.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Cursor, StorageError};
use crate::domain::audit::{AuditEntry, AuditEvent};
use crate::domain::dispatch::{Dispatch, Outcome};
use crate::domain::document::DocumentKind;
use crate::domain::id::{AgentId, DispatchId, RequestId};
use crate::domain::message::Template;
use crate::domain::request::DocumentRequest;
use crate::domain::saved_view::{SavedView, ViewChange, ViewRefusal};

/// How far something has come that must happen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxCursor {
    /// The last audit entry that was announced.
    Announced,
    /// The last day (since 1970) whose digest was queued.
    Digest,
    /// The last audit entry under a checkpoint.
    Checkpoint,
}

/// Requests that a person should look at, in the order in which they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionKind {
    /// The provider did not want it, and nobody has asked again. Newest first.
    Rejected,
    /// Held by the portal, and purged before this instant. The next one first.
    PurgedBefore(OffsetDateTime),
    /// An unused link of more than a day that expires before this instant. The next one first.
    ExpiringBefore(OffsetDateTime),
}

/// What an agent wants to be told by mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotificationPreferences {
    pub arrived: bool,
    pub attention: bool,
    pub digest: bool,
}

pub struct DispatchPage {
    pub dispatches: Vec<Dispatch>,
    pub next: Option<Cursor>,
}

#[async_trait]
pub trait Outbox: Send + Sync {
    /// Whether anybody listens at all. When nobody did before, what happened until now is not announced afterwards.
    async fn listen(&self, anybody: bool) -> Result<(), StorageError>;

    async fn mark(&self, mark: OutboxCursor) -> Result<u64, StorageError>;

    /// In one: the mark moves, and these are queued. `false`: the mark was elsewhere, nothing happened.
    async fn advance(&self, mark: OutboxCursor, from: u64, to: u64, dispatches: Vec<Dispatch>) -> Result<bool, StorageError>;

    /// Queues one. `false`: it was queued before.
    async fn post(&self, dispatch: Dispatch, event: AuditEvent) -> Result<bool, StorageError>;

    /// Takes the dispatch that has been due longest. Cost grows with what is due.
    async fn claim_dispatch(&self, until: OffsetDateTime) -> Result<Option<Dispatch>, StorageError>;
    async fn next_dispatch(&self) -> Result<Option<OffsetDateTime>, StorageError>;

    /// A try is over; `note` says how. `false`: somebody else has it by now.
    async fn settle_dispatch(
        &self,
        id: DispatchId,
        fence: u64,
        outcome: Outcome,
        note: String,
        event: Option<AuditEvent>,
    ) -> Result<bool, StorageError>;

    /// Sends an event that has ended once more. [`StorageError::NotFound`] when there is nothing to send.
    async fn resend(&self, id: DispatchId, event: AuditEvent) -> Result<Dispatch, StorageError>;

    /// Drops waiting mail to the applicant of a request, up to this generation of its link. What was dropped, as it was, so that its secrets can be destroyed.
    async fn drop_mail(&self, request: RequestId, generation: u32) -> Result<Vec<Dispatch>, StorageError>;

    async fn dispatch(&self, id: DispatchId) -> Result<Option<Dispatch>, StorageError>;
    /// Newest first; those of one request, or all.
    async fn dispatches(&self, of: Option<RequestId>, after: Option<Cursor>, limit: usize) -> Result<DispatchPage, StorageError>;

    async fn templates(&self) -> Result<Vec<Template>, StorageError>;
    async fn template(&self, document: Option<&DocumentKind>, language: &str) -> Result<Option<Template>, StorageError>;
    async fn keep_template(&self, template: Template, event: AuditEvent) -> Result<(), StorageError>;
    async fn drop_template(&self, document: Option<&DocumentKind>, language: &str, event: AuditEvent) -> Result<(), StorageError>;

    async fn notification_preferences(&self, agent: AgentId) -> Result<NotificationPreferences, StorageError>;
    async fn set_notification_preferences(
        &self,
        agent: AgentId,
        notification_preferences: NotificationPreferences,
    ) -> Result<(), StorageError>;

    /// The lists that an agent gave a name.
    async fn saved_views(&self, agent: AgentId) -> Result<Vec<SavedView>, StorageError>;
    /// Applies one change; nothing is written where it is refused.
    async fn change_views(&self, agent: AgentId, change: ViewChange) -> Result<Result<(), ViewRefusal>, StorageError>;

    /// At most `limit` of them; costs what it returns, however many requests there are.
    async fn watched(&self, watch: AttentionKind, limit: usize) -> Result<Vec<DocumentRequest>, StorageError>;

    /// The end of the audit log.
    async fn last_entry(&self) -> Result<Option<AuditEntry>, StorageError>;
}
