//! Who acts: agents with roles, API keys with scopes, and the sessions between.

use std::fmt;

use time::OffsetDateTime;

use super::id::{AgentId, ApiKeyId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Agent,
    Admin,
    Auditor,
    /// An agent who may also download parts for a `manual` provider.
    ManualHandler,
}

impl Role {
    pub const ALL: [Role; 4] = [Self::Agent, Self::Admin, Self::Auditor, Self::ManualHandler];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::ManualHandler => "manual-handler",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub id: AgentId,
    /// Lower case; the sign-in name.
    pub email: String,
    pub name: String,
    pub role: Role,
    pub password: Option<PasswordHash>,
    pub created_at: OffsetDateTime,
    pub disabled_at: Option<OffsetDateTime>,
    /// Sessions older than this are dead: moved forward by a password change, a role change or "sign out everywhere".
    pub sessions_valid_from: OffsetDateTime,
}

/// A PHC string (argon2id). Not a secret to guard like one, and still nobody's business.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A signed-in browser; stored under the hash of its cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub agent: AgentId,
    pub created_at: OffsetDateTime,
    pub seen_at: OffsetDateTime,
}

impl Session {
    /// NIST SP 800-63B-4 allows 1 h idle and 24 h in all at AAL2; the console is stricter.
    pub const IDLE: time::Duration = time::Duration::minutes(15);
    pub const ABSOLUTE: time::Duration = time::Duration::hours(12);

    pub fn live(&self, agent: &Agent, now: OffsetDateTime) -> bool {
        agent.disabled_at.is_none()
            && self.created_at >= agent.sessions_valid_from
            && now < self.seen_at + Self::IDLE
            && now < self.created_at + Self::ABSOLUTE
    }
}

/// What a key may do. `Requests` covers issuing and acting, `Read` only looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Read,
    Requests,
    Audit,
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 4] = [Self::Read, Self::Requests, Self::Audit, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Requests => "requests",
            Self::Audit => "audit",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// An API key; its secret was shown once and is stored only as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
}

impl ApiKey {
    pub fn live(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
            || self.scopes.contains(&Scope::Admin)
            || (scope == Scope::Read && self.scopes.contains(&Scope::Requests))
    }
}

/// Who did it, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    Agent(AgentId),
    ApiKey(ApiKeyId),
    /// The holder of an upload link.
    Applicant,
    /// The background worker.
    Portal,
    /// Somebody with a shell on the machine.
    Operator,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => id.fmt(f),
            Self::ApiKey(id) => id.fmt(f),
            Self::Applicant => f.write_str("applicant"),
            Self::Portal => f.write_str("portal"),
            Self::Operator => f.write_str("operator"),
        }
    }
}

impl Actor {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "applicant" => Some(Self::Applicant),
            "portal" => Some(Self::Portal),
            "operator" => Some(Self::Operator),
            id if id.starts_with(AgentId::PREFIX) => AgentId::parse(id).map(Self::Agent),
            id => ApiKeyId::parse(id).map(Self::ApiKey),
        }
    }
}
