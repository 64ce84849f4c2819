//! Accounts, sessions and API keys.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Claim, StorageError, seal};
use crate::domain::account::Change;
use crate::domain::agent::{Agent, ApiKey, Role, Session};
use crate::domain::audit::AuditEvent;
use crate::domain::id::{AgentId, ApiKeyId};

/// Accounts, sessions and keys. What these return was verified by the store's [`seal::Seal`]; a row that does not fit is [`StorageError::Altered`], and is left
/// out of lists.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Adds an agent; [`StorageError::Exists`] when the e-mail address is taken. An account that was altered takes no address: it is replaced.
    /// Under a claim at most once; then what was made by it before is told, and nothing is written.
    async fn add_agent(&self, agent: Agent, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError>;
    /// Applies one legal change with its audit event; `None`, and nothing written, when it is not legal now. A change that ends sessions deletes them; one
    /// that deletes the account frees its address and revokes the API keys that it made.
    async fn alter_agent(&self, id: AgentId, change: Change, event: AuditEvent) -> Result<Option<Agent>, StorageError>;
    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StorageError>;
    async fn agent_by_email(&self, email: &str) -> Result<Option<Agent>, StorageError>;
    async fn agents(&self) -> Result<Vec<Agent>, StorageError>;
    /// Agents and API keys whose rows do not verify.
    async fn altered(&self) -> Result<Vec<seal::Altered>, StorageError>;

    /// Of a whole session the account notes when it began.
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

    /// Which of a new portal's first steps somebody has ticked off, as words; and whether the list was put away.
    async fn first_steps(&self) -> Result<String, StorageError>;
    async fn keep_first_steps(&self, words: &str, event: AuditEvent) -> Result<(), StorageError>;

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

/// Whoever can still put a portal right from its pages: one must stay.
pub(super) fn is_admin(agent: &Agent) -> bool {
    agent.role == Role::Admin && agent.can_sign_in()
}

/// Whether a session has ended by itself.
pub(super) fn is_over(session: &Session, now: OffsetDateTime) -> bool {
    now >= session.seen_at + Session::IDLE || now >= session.created_at + Session::ABSOLUTE
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
