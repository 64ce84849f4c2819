//! What API and console show of accounts and API keys; never a secret.

use serde::Serialize;
use utoipa::ToSchema;

use super::request::instant;
use crate::domain::agent::{self, PasswordKind};
use crate::http::staff::shapes::{AgentIdText, ApiKeyIdText, EmailText, RoleWord, ScopeWord, TeamText};
use crate::workflow::sign_in::OpenSession;

#[derive(Serialize, ToSchema)]
pub(crate) struct Agent {
    #[schema(value_type = AgentIdText)]
    pub id: String,
    #[schema(value_type = EmailText)]
    pub email: String,
    pub name: String,
    /// agent, admin, auditor or manual-handler.
    #[schema(value_type = RoleWord)]
    pub role: &'static str,
    /// Whose requests the agent sees; the first one gets what the agent issues.
    #[schema(value_type = Vec<TeamText>)]
    pub teams: Vec<String>,
    /// Whether a password alone does not open the account.
    pub second_factor: bool,
    /// Whether there is anything to sign in with: not for somebody who was invited and has not used the link yet.
    pub can_sign_in: bool,
    /// Whether the password was set by somebody else, so that the next sign-in must set another one.
    pub must_set_password: bool,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_in_at: Option<String>,
    /// Until when the newest sign-in link is good, or was, while nobody has used it.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invited_until: Option<String>,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
}

/// A browser that is signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    /// Says which, and opens nothing.
    pub session: String,
    /// Its family and system, such as "Firefox on Windows".
    pub browser: String,
    /// password, code, recovery-code, passkey or single-sign-on.
    pub how: &'static str,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// To half a minute.
    #[schema(format = DateTime)]
    pub used_at: String,
}

pub(crate) fn session(open: &OpenSession) -> Session {
    Session {
        session: open.name.clone(),
        browser: open.session.browser.clone(),
        how: open.session.how.as_str(),
        created_at: instant(open.session.created_at),
        used_at: instant(open.session.seen_at),
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKey {
    #[schema(value_type = ApiKeyIdText)]
    pub id: String,
    pub name: String,
    /// read, requests, audit or admin.
    #[schema(value_type = Vec<ScopeWord>)]
    pub scopes: Vec<&'static str>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
    /// To the minute or so.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_at: Option<String>,
    /// Sees and issues for this team only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TeamText>)]
    pub team: Option<String>,
}

pub(crate) fn agent(agent: &agent::Agent) -> Agent {
    Agent {
        id: agent.id.to_string(),
        email: agent.email.clone(),
        name: agent.name.clone(),
        role: agent.role.as_str(),
        teams: agent.teams.iter().map(ToString::to_string).collect(),
        second_factor: agent.factors.any(),
        can_sign_in: agent.can_sign_in(),
        must_set_password: agent.password_kind == PasswordKind::Temporary,
        signed_in_at: agent.signed_in_at.map(instant),
        invited_until: agent.invitation.as_ref().map(|i| instant(i.expires_at)),
        created_at: instant(agent.created_at),
        disabled_at: agent.disabled_at.map(instant),
    }
}

pub(crate) fn api_key(key: &agent::ApiKey) -> ApiKey {
    ApiKey {
        id: key.id.to_string(),
        name: key.name.clone(),
        scopes: key.scopes.iter().map(|s| s.as_str()).collect(),
        created_at: instant(key.created_at),
        expires_at: key.expires_at.map(instant),
        revoked_at: key.revoked_at.map(instant),
        used_at: key.used_at.map(instant),
        team: key.team.as_ref().map(ToString::to_string),
    }
}
