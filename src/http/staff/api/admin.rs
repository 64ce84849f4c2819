//! Administration over the API: agents, API keys, the vault key, the state of the portal.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::crypto::keyfile::Protection;
use crate::domain::agent::{self, Role, Scope};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::id::{AgentId, ApiKeyId};
use crate::http::AppState;
use crate::http::error::Problem;
use crate::http::staff::auth::ApiCaller;
use crate::http::staff::permission::Admin;
use crate::storage::clock::Standing;
use crate::workflow::sign_in::account;
use crate::workflow::{sign_in, vault};

use super::Answer;
use super::requests::Nothing;
use crate::http::extract::json::{self, Secret, Span};
use crate::http::extract::query::wrong;
use crate::http::staff::view::request::instant;

#[derive(Serialize, ToSchema)]
pub(crate) struct AgentList {
    pub agents: Vec<Agent>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Agent {
    pub id: String,
    pub email: String,
    pub name: String,
    /// agent, admin, auditor or manual-handler.
    pub role: &'static str,
    /// Whose requests the agent sees; the first one gets what the agent issues.
    pub teams: Vec<String>,
    /// Whether a password alone does not open the account.
    pub second_factor: bool,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAgent {
    pub email: String,
    pub name: String,
    /// agent, admin, auditor or manual-handler.
    pub role: String,
    /// At least 15 characters (8 where a second factor is demanded); a few words are fine, what guessers try first is not.
    #[schema(value_type = String, min_length = 8, max_length = 256)]
    pub password: Secret,
    /// At most 20 names of a-z, 0-9 and -.
    #[serde(default)]
    pub teams: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRole {
    /// agent, admin, auditor or manual-handler.
    pub role: String,
    /// As before unless given.
    pub teams: Option<Vec<String>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    #[schema(value_type = String)]
    pub password: Secret,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyList {
    pub api_keys: Vec<ApiKey>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKey {
    pub id: String,
    pub name: String,
    /// read, requests, audit or admin.
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
    pub team: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiKey {
    pub name: String,
    /// Some of read, requests, audit, admin.
    pub scopes: Vec<String>,
    /// Never unless given.
    pub expires_in: Option<Span>,
    /// For one team only; not together with the scopes admin and audit.
    pub team: Option<String>,
}

/// A key just made; `secret` is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeApiKey {
    pub secret: String,
    pub key: ApiKey,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Vault {
    /// Documents are taken and none is forwarded.
    pub locked: bool,
    pub keys: Vec<VaultKey>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct VaultKey {
    pub id: String,
    pub suite: &'static str,
    /// current: new documents are sealed to it; retired: it only opens; destroyed: its private half is not here.
    pub state: &'static str,
    pub unlocked: bool,
    /// passphrase, key-file or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protection: Option<&'static str>,
    /// Documents that only this key opens.
    pub live_documents: u64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Passphrase {
    #[schema(value_type = String)]
    pub passphrase: Secret,
}

/// The portal as a whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct Status {
    pub version: &'static str,
    pub assurance: Assurance,
    /// The vault key is locked: nothing is forwarded.
    pub locked: bool,
    /// The machine's clock jumped and is not believed; time goes on without it. Ends by itself when the clock is right again, or with `POST /clock/accept`.
    pub clock_suspect: bool,
    /// `right`; `ahead`: purging by deadline is suspended; `behind`: everything goes on.
    pub clock: &'static str,
    /// Submissions that can still be taken.
    pub slots_free: u64,
    pub uploads_running: u64,
    /// Requests by state.
    pub requests: BTreeMap<&'static str, u64>,
}

/// What an erasure is worth on this machine.
#[derive(Serialize, ToSchema)]
pub(crate) struct Assurance {
    /// A, B or C.
    pub class: String,
    pub file_system: String,
    pub reasons: Vec<String>,
}

/// All agents.
#[utoipa::path(get, path = "/agents", tag = "admin", responses((status = 200, description = "All of them.", body = AgentList)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn agents(_: ApiCaller<Admin>, state: web::Data<AppState>) -> Answer {
    let agents = state.portal.directory.agents().await?.iter().map(agent_view).collect();
    Ok(HttpResponse::Ok().json(AgentList { agents }))
}

/// Add an agent with a password. The same Idempotency-Key with the same body gives the same answer again.
#[utoipa::path(post, path = "/agents", tag = "admin", request_body = NewAgent,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.")),
    responses((status = 201, description = "Added. `Idempotency-Replayed: true` when it was added before under this key.", body = Agent)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn add_agent(caller: ApiCaller<Admin>, state: web::Data<AppState>, request: HttpRequest, payload: web::Payload) -> Answer {
    let read = json::read::<NewAgent>(&request, payload).await?;
    let client = json::client_key(&request, &caller, read.digest)?;
    let body = read.body;
    let new = account::NewAgent {
        email: &body.email,
        name: &body.name,
        role: parse_role(&body.role)?,
        teams: account::parse_teams(&body.teams.join(" "))?,
    };
    let (agent, before) = account::add_agent_once(&state.portal, new, &body.password.0, caller.actor(), client).await?;
    Ok(created(before).json(agent_view(&agent)))
}

/// Says whether it is the answer to a repetition.
fn created(before: bool) -> HttpResponseBuilder {
    let mut answer = HttpResponse::Created();
    if before {
        answer.insert_header(("Idempotency-Replayed", "true"));
    }
    answer
}

/// Give an agent another role or other teams; every session of theirs ends.
#[utoipa::path(post, path = "/agents/{id}/role", tag = "admin", request_body = NewRole, params(("id" = String, Path, description = "`agt_…`")),
    responses((status = 200, description = "The agent.", body = Agent)), security(("api_key" = ["admin"])))]
pub(crate) async fn change_role(
    caller: ApiCaller<Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let body = json::read::<NewRole>(&request, payload).await?.body;
    let agent = find_agent(&state, &id).await?;
    let role = parse_role(&body.role)?;
    let teams = match body.teams {
        Some(teams) => account::parse_teams(&teams.join(" "))?,
        None => agent.teams.clone(),
    };
    account::change_agent(&state.portal, &agent, role, teams, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(agent_view(&find_agent(&state, &id).await?)))
}

/// For somebody who has lost every second factor: the password alone opens the account again, and every session ends.
#[utoipa::path(post, path = "/agents/{id}/reset-second-factor", tag = "admin", request_body = Nothing,
    params(("id" = String, Path, description = "`agt_…`")), responses((status = 200, description = "The agent.", body = Agent)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn reset_factors(
    caller: ApiCaller<Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    json::read::<Nothing>(&request, payload).await?;
    let agent = find_agent(&state, &id).await?;
    account::reset_factors(&state.portal, &agent, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(agent_view(&find_agent(&state, &id).await?)))
}

/// End an agent's access at once, sessions included.
#[utoipa::path(post, path = "/agents/{id}/disable", tag = "admin", request_body = Nothing, params(("id" = String, Path, description = "`agt_…`")),
    responses((status = 200, description = "The agent.", body = Agent)), security(("api_key" = ["admin"])))]
pub(crate) async fn disable_agent(
    caller: ApiCaller<Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    json::read::<Nothing>(&request, payload).await?;
    let agent = find_agent(&state, &id).await?;
    if agent.disabled_at.is_none() {
        sign_in::disable_agent(&state.portal, agent, caller.actor()).await?;
    }
    Ok(HttpResponse::Ok().json(agent_view(&find_agent(&state, &id).await?)))
}

/// Give an agent a new password; every session of theirs ends.
#[utoipa::path(post, path = "/agents/{id}/password", tag = "admin", request_body = NewPassword, params(("id" = String, Path, description = "`agt_…`")),
    responses((status = 200, description = "The agent.", body = Agent)), security(("api_key" = ["admin"])))]
pub(crate) async fn reset_password(
    caller: ApiCaller<Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let body = json::read::<NewPassword>(&request, payload).await?.body;
    let agent = find_agent(&state, &id).await?;
    sign_in::reset_password(&state.portal, agent, &body.password.0, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(agent_view(&find_agent(&state, &id).await?)))
}

/// All API keys, without their secrets.
#[utoipa::path(get, path = "/api-keys", tag = "admin", responses((status = 200, description = "All of them.", body = ApiKeyList)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn api_keys(_: ApiCaller<Admin>, state: web::Data<AppState>) -> Answer {
    let api_keys = state.portal.directory.api_keys().await?.iter().map(key_view).collect();
    Ok(HttpResponse::Ok().json(ApiKeyList { api_keys }))
}

/// Make an API key. Its secret stands in this answer and nowhere else; the same Idempotency-Key with the same body gives the same answer again.
#[utoipa::path(post, path = "/api-keys", tag = "admin", request_body = NewApiKey,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.")),
    responses((status = 201, description = "Made. `Idempotency-Replayed: true` when it was made before under this key.", body = MadeApiKey)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn add_api_key(
    caller: ApiCaller<Admin>,
    state: web::Data<AppState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let read = json::read::<NewApiKey>(&request, payload).await?;
    let client = json::client_key(&request, &caller, read.digest)?;
    let body = read.body;
    let scopes = parse_scopes(&body.scopes)?;
    let expires_at = body.expires_in.map(|span| state.portal.now() + span.0);
    let one = |text: &String| agent::Team::parse(text).ok_or_else(|| wrong("team", "one name of a-z, 0-9 and -"));
    let team = body.team.as_ref().map(one).transpose()?;
    let by = caller.actor();
    let (key, secret, before) = account::add_key_once(&state.portal, &body.name, scopes, expires_at, team, by, client).await?;
    Ok(created(before).json(MadeApiKey {
        secret: secret.to_string(),
        key: key_view(&key),
    }))
}

/// Revoke an API key; it is dead when this answers.
#[utoipa::path(post, path = "/api-keys/{id}/revoke", tag = "admin", request_body = Nothing, params(("id" = String, Path, description = "`key_…`")),
    responses((status = 200, description = "The key.", body = ApiKey)), security(("api_key" = ["admin"])))]
pub(crate) async fn revoke_api_key(
    caller: ApiCaller<Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    json::read::<Nothing>(&request, payload).await?;
    Ok(HttpResponse::Ok().json(key_view(&revoke_key(&state, &id, caller.actor()).await?)))
}

/// The vault keys, and whether forwarding is possible.
#[utoipa::path(get, path = "/key", tag = "admin", responses((status = 200, description = "The keys.", body = Vault)), security(("api_key" = ["admin"])))]
pub(crate) async fn key(_: ApiCaller<Admin>, state: web::Data<AppState>) -> Answer {
    Ok(HttpResponse::Ok().json(vault_view(&state).await?))
}

/// Open the vault keys that this passphrase opens.
#[utoipa::path(post, path = "/key/unlock", tag = "admin", request_body = Passphrase, responses((status = 200, description = "The keys.", body = Vault)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn unlock(caller: ApiCaller<Admin>, state: web::Data<AppState>, request: HttpRequest, payload: web::Payload) -> Answer {
    let body = json::read::<Passphrase>(&request, payload).await?.body;
    vault::unlock(&state.portal, body.passphrase.0, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(vault_view(&state).await?))
}

/// The portal as a whole.
#[utoipa::path(get, path = "/status", tag = "admin", responses((status = 200, description = "The state of things.", body = Status)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn status(_: ApiCaller<Admin>, state: web::Data<AppState>) -> Answer {
    Ok(HttpResponse::Ok().json(status_view(&state).await?))
}

/// Take the machine's present time for right, after a jump: purging by deadline goes on. Put a wrong time right first.
#[utoipa::path(post, path = "/clock/accept", tag = "admin", request_body = Nothing,
    responses((status = 200, description = "The state of things.", body = Status)), security(("api_key" = ["admin"])))]
pub(crate) async fn accept_clock(
    caller: ApiCaller<Admin>,
    state: web::Data<AppState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    json::read::<Nothing>(&request, payload).await?;
    vault::accept_clock(&state.portal, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(status_view(&state).await?))
}

pub(crate) fn parse_role(text: &str) -> Result<Role, Problem> {
    Role::parse(text).ok_or_else(|| wrong("role", &format!("one of {}", Role::ALL.map(Role::as_str).join(", "))))
}

pub(crate) fn parse_scopes(texts: &[String]) -> Result<Vec<Scope>, Problem> {
    let mut scopes = texts
        .iter()
        .map(|s| Scope::parse(s))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| wrong("scopes", "some of read, requests, audit, admin"))?;
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

pub(crate) async fn find_agent(state: &AppState, id: &str) -> Result<agent::Agent, Problem> {
    let nobody = || Problem::not_found("There is no such agent.");
    state
        .portal
        .directory
        .agent(AgentId::parse(id).ok_or_else(nobody)?)
        .await?
        .ok_or_else(nobody)
}

pub(crate) async fn revoke_key(state: &AppState, id: &str, by: agent::Actor) -> Result<agent::ApiKey, Problem> {
    let nothing = || Problem::not_found("There is no such API key.");
    let id = ApiKeyId::parse(id).ok_or_else(nothing)?;
    let event = AuditEvent::new(state.portal.now(), by, AuditAction::ApiKeyRevoked).with("key", id);
    state.portal.directory.revoke_api_key(id, event).await?;
    state
        .portal
        .directory
        .api_keys()
        .await?
        .into_iter()
        .find(|k| k.id == id)
        .ok_or_else(nothing)
}

pub(crate) fn agent_view(agent: &agent::Agent) -> Agent {
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

pub(crate) fn key_view(key: &agent::ApiKey) -> ApiKey {
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

pub(crate) async fn vault_view(state: &AppState) -> Result<Vault, Problem> {
    let keys = vault::keys(&state.portal).await?.into_iter().map(|key| VaultKey {
        id: key.id.to_string(),
        suite: key.suite.name(),
        state: match (key.current, key.protection.is_some() || key.unlocked) {
            (true, _) => "current",
            (false, true) => "retired",
            (false, false) => "destroyed",
        },
        unlocked: key.unlocked,
        protection: key.protection.map(|p| match p {
            Protection::Passphrase => "passphrase",
            Protection::Kek => "key-file",
            Protection::None => "none",
        }),
        live_documents: key.live_documents,
    });
    Ok(Vault {
        locked: state.portal.keyring.is_locked(),
        keys: keys.collect(),
    })
}

pub(crate) async fn status_view(state: &AppState) -> Result<Status, Problem> {
    let portal = &state.portal;
    let erasing = portal.assurance.current();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        assurance: Assurance {
            class: erasing.class.to_string(),
            file_system: erasing.file_system,
            reasons: erasing.reasons,
        },
        locked: portal.keyring.is_locked(),
        clock_suspect: portal.requests.clock_suspect(),
        clock: match portal.requests.clock() {
            Standing::Agrees => "right",
            Standing::Ahead => "ahead",
            Standing::Behind => "behind",
        },
        slots_free: portal.erasure.free().unwrap_or(0),
        uploads_running: state.gate.running() as u64,
        requests: portal.requests.counts().await?.into_iter().map(|(s, n)| (s.as_str(), n)).collect(),
    })
}
