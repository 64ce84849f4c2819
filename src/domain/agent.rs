//! Who acts: agents with roles, API keys with scopes, and the sessions between.

use std::fmt;

use time::OffsetDateTime;

use super::factors::{Factors, FailedAttempts};
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
    pub password_kind: PasswordKind,
    /// The one link by which this agent may set a way to sign in.
    pub invitation: Option<Invitation>,
    pub created_at: OffsetDateTime,
    pub signed_in_at: Option<OffsetDateTime>,
    /// An account that was deleted stays as a name, so that the audit log can be read.
    pub deleted_at: Option<OffsetDateTime>,
    /// What a deleted account was known by, as keyed hashes: its address and its identity at single sign-on. Nothing makes a new account for them by itself.
    pub known_by: Vec<[u8; 32]>,
    pub disabled_at: Option<OffsetDateTime>,
    /// Sessions older than this are dead: moved forward by a password change, a role change or "sign out everywhere".
    pub sessions_valid_from: OffsetDateTime,
    pub factors: Factors,
    /// Whose requests this agent sees; the first one gets what this agent issues. Nobody's: those without a team.
    pub teams: Vec<Team>,
    /// Who this is at the company's own sign-in: `issuer subject`.
    pub subject: Option<String>,
    pub misses: FailedAttempts,
}

impl Agent {
    /// Whether there is anything that this agent could sign in with now.
    pub fn can_sign_in(&self) -> bool {
        self.disabled_at.is_none() && (self.password.is_some() || !self.factors.passkeys.is_empty() || self.subject.is_some())
    }

    /// Whether this session leads nowhere before its owner has set a password that nobody else knows.
    pub fn must_set_password(&self, session: &Session) -> bool {
        self.password_kind == PasswordKind::Temporary && session.how != AuthMethod::SingleSignOn
    }

    /// Admins see every request, agents those of their teams.
    pub fn sees(&self, team: Option<&Team>) -> bool {
        self.role == Role::Admin || sees(&self.teams, team)
    }
}

/// Those without a team are a team of their own.
pub(crate) fn sees(teams: &[Team], team: Option<&Team>) -> bool {
    match team {
        None => teams.is_empty(),
        Some(team) => teams.contains(team),
    }
}

/// Agents who see the same requests: 1 to 64 characters of a-z, 0-9 and -.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Team(String);

impl Team {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-');
        fits.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who knows the password of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordKind {
    /// Its owner alone.
    #[default]
    Own,
    /// Also the admin who set it: the next sign-in must set another one.
    Temporary,
}

/// A one-time link to an account, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// A keyed hash of the token.
    pub hash: [u8; 32],
    pub expires_at: OffsetDateTime,
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
    /// When a second factor was last shown.
    pub factor_at: Option<OffsetDateTime>,
    pub how: AuthMethod,
    /// Family and system in words of the portal's own, such as `Firefox on Windows`.
    pub browser: String,
}

/// How somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// The password was right and a second factor is awaited: opens nothing but the page that asks for it.
    PasswordVerified,
    Password,
    Code,
    RecoveryCode,
    Passkey,
    SingleSignOn,
}

impl AuthMethod {
    pub const ALL: [AuthMethod; 6] = [
        Self::PasswordVerified,
        Self::Password,
        Self::Code,
        Self::RecoveryCode,
        Self::Passkey,
        Self::SingleSignOn,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PasswordVerified => "half",
            Self::Password => "password",
            Self::Code => "code",
            Self::RecoveryCode => "recovery-code",
            Self::Passkey => "passkey",
            Self::SingleSignOn => "single-sign-on",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.as_str() == text)
    }
}

impl Session {
    /// NIST SP 800-63B-4 allows 1 h idle and 24 h in all at AAL2; the console is stricter.
    pub const IDLE: time::Duration = time::Duration::minutes(15);
    pub const ABSOLUTE: time::Duration = time::Duration::hours(12);
    /// Between the password and the second factor.
    pub const HALF: time::Duration = time::Duration::minutes(5);
    /// A second factor is fresh this long: the gate before what must not happen in an unattended browser.
    pub const FRESH: time::Duration = time::Duration::minutes(10);

    pub fn live(&self, agent: &Agent, now: OffsetDateTime) -> bool {
        agent.disabled_at.is_none()
            && self.created_at >= agent.sessions_valid_from
            && now < self.seen_at + Self::IDLE
            && now
                < self.created_at
                    + if self.how == AuthMethod::PasswordVerified {
                        Self::HALF
                    } else {
                        Self::ABSOLUTE
                    }
    }

    pub fn fresh(&self, now: OffsetDateTime) -> bool {
        self.factor_at.is_some_and(|at| now < at + Self::FRESH)
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
    /// To the minute or so.
    pub used_at: Option<OffsetDateTime>,
    /// Sees and issues for this team only; `None`: for all of them.
    pub team: Option<Team>,
    /// The agent who made it; it ends with that account. `None` for a key that an operator or another key made.
    pub made_by: Option<AgentId>,
}

impl ApiKey {
    pub fn live(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    pub fn sees(&self, team: Option<&Team>) -> bool {
        self.team.is_none() || self.team.as_ref() == team
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
