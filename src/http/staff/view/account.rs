//! What API and console show of accounts and API keys; never a secret.

use serde::Serialize;
use utoipa::ToSchema;

use super::request::instant;
use crate::domain::agent;
use crate::http::staff::shapes::{AgentIdText, ApiKeyIdText, EmailText, RoleWord, ScopeWord, TeamText};

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
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
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
