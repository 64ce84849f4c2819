//! Administration over the API: adding and changing agents, API keys, the vault key, the state of the portal.

use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::agent;
use crate::domain::id::{AgentId, ApiKeyId};
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::json::{Json, Nothing, Once, Secret, Span};
use crate::http::extract::path::{Id, Named};
use crate::http::staff::auth::Call;
use crate::http::staff::input;
use crate::http::staff::permission::Admin;
use crate::http::staff::shapes::{AgentIdText, ApiKeyIdText, EmailText, LabelText, PasswordText, RoleWord, ScopeWord, TeamText, TeamsText};
use crate::http::staff::view::account::{self as view, Agent, ApiKey};
use crate::http::staff::view::portal::{self as portal_view, Status, Vault};
use crate::workflow::query::portal;
use crate::workflow::sign_in::account;
use crate::workflow::{sign_in, vault};

use super::Answer;

#[derive(Serialize, ToSchema)]
pub(crate) struct AgentList {
    pub agents: Vec<Agent>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"email": "kim@example.com", "name": "Kim", "role": "agent", "password": "four words nobody guesses", "teams": ["onboarding"]})))]
pub(crate) struct NewAgent {
    #[schema(value_type = EmailText)]
    pub email: String,
    #[schema(value_type = LabelText)]
    pub name: String,
    /// agent, admin, auditor or manual-handler.
    #[schema(value_type = RoleWord)]
    pub role: String,
    /// At least 15 characters (8 where a second factor is demanded); a few words are fine, what guessers try first is not.
    #[schema(value_type = PasswordText)]
    pub password: Secret,
    /// At most 20 names of a-z, 0-9 and -.
    #[serde(default)]
    #[schema(value_type = TeamsText, required = false)]
    pub teams: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"role": "auditor"})))]
pub(crate) struct NewRole {
    /// agent, admin, auditor or manual-handler.
    #[schema(value_type = RoleWord)]
    pub role: String,
    /// As before unless given.
    #[schema(value_type = Option<TeamsText>)]
    pub teams: Option<Vec<String>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"password": "four words nobody guesses"})))]
pub(crate) struct NewPassword {
    /// As long as any account's.
    #[schema(value_type = PasswordText)]
    pub password: Secret,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyList {
    pub api_keys: Vec<ApiKey>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "onboarding app", "scopes": ["requests"], "expires_in": "365d"})))]
pub(crate) struct NewApiKey {
    #[schema(value_type = LabelText)]
    pub name: String,
    /// Some of read, requests, audit, admin.
    #[schema(value_type = Vec<ScopeWord>, min_items = 1)]
    pub scopes: Vec<String>,
    /// Never unless given.
    pub expires_in: Option<Span>,
    /// For one team only; not together with the scopes admin and audit.
    #[schema(value_type = Option<TeamText>)]
    pub team: Option<String>,
}

/// A key just made; `secret` is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeApiKey {
    pub secret: String,
    pub key: ApiKey,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"passphrase": "four words nobody guesses"})))]
pub(crate) struct Passphrase {
    #[schema(value_type = String)]
    pub passphrase: Secret,
}

/// All agents.
#[utoipa::path(get, path = "/agents", operation_id = "list_agents", tag = "admin", responses((status = 200, description = "All of them.", body = AgentList)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn agents(_: Call<Admin>, state: State) -> Answer {
    let agents = account::agents(&state.portal).await?.iter().map(view::agent).collect();
    Ok(HttpResponse::Ok().json(AgentList { agents }))
}

/// Add an agent with a password, which the first sign-in must replace. The same Idempotency-Key with the same body gives the same answer again.
#[utoipa::path(post, path = "/agents", operation_id = "add_agent", tag = "admin", request_body = NewAgent,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 201, description = "Added. `Idempotency-Replayed: true` when it was added before under this key.", body = Agent)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn add_agent(
    Call {
        who: caller,
        with: Once { body, key },
    }: Call<Admin, Once<NewAgent>>,
    state: State,
) -> Answer {
    let new = account::NewAgent {
        email: &body.email,
        name: &body.name,
        role: input::role(&body.role)?,
        teams: account::parse_teams(&body.teams.join(" "))?,
    };
    let (agent, before) = account::add_agent_once(&state.portal, new, &body.password.0, caller.actor(), caller.once(key)).await?;
    Ok(created(before).json(view::agent(&agent)))
}

/// Says whether it is the answer to a repetition.
pub(super) fn created(before: bool) -> HttpResponseBuilder {
    let mut answer = HttpResponse::Created();
    if before {
        answer.insert_header(("Idempotency-Replayed", "true"));
    }
    answer
}

/// Give an agent another role or other teams; every session of theirs ends.
#[utoipa::path(post, path = "/agents/{id}/role", operation_id = "change_agent_role", tag = "admin", request_body = NewRole, params(("id" = AgentIdText, Path, description = "The agent.")),
    responses((status = 200, description = "The agent.", body = Agent)), security(("api_key" = ["admin"])))]
pub(crate) async fn change_role(
    Call {
        who: caller,
        with: (Id(id), Json(body)),
    }: OnAgent<NewRole>,
    state: State,
) -> Answer {
    altered(&state, id, async |agent| {
        let role = input::role(&body.role)?;
        let teams = match body.teams {
            Some(teams) => account::parse_teams(&teams.join(" "))?,
            None => agent.teams.clone(),
        };
        Ok(account::change_agent(&state.portal, &agent, role, teams, caller.actor()).await?)
    })
    .await
}

/// For somebody who has lost every second factor: the password alone opens the account again, and every session ends.
#[utoipa::path(post, path = "/agents/{id}/reset-second-factor", operation_id = "reset_agent_second_factor", tag = "admin", request_body = Nothing,
    params(("id" = AgentIdText, Path, description = "The agent.")), responses((status = 200, description = "The agent.", body = Agent)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn reset_factors(
    Call {
        who: caller,
        with: (Id(id), _),
    }: OnAgent,
    state: State,
) -> Answer {
    altered(&state, id, async |agent| {
        Ok(account::reset_factors(&state.portal, &agent, caller.actor()).await?)
    })
    .await
}

/// End an agent's access at once, sessions included.
#[utoipa::path(post, path = "/agents/{id}/disable", operation_id = "disable_agent", tag = "admin", request_body = Nothing, params(("id" = AgentIdText, Path, description = "The agent.")),
    responses((status = 200, description = "The agent.", body = Agent)), security(("api_key" = ["admin"])))]
pub(crate) async fn disable_agent(
    Call {
        who: caller,
        with: (Id(id), _),
    }: OnAgent,
    state: State,
) -> Answer {
    altered(&state, id, async |agent| match agent.disabled_at {
        None => Ok(sign_in::disable_agent(&state.portal, agent, caller.actor()).await?),
        Some(_) => Ok(()),
    })
    .await
}

/// Give an agent a new password, which the next sign-in must replace; every session of theirs ends.
#[utoipa::path(post, path = "/agents/{id}/password", operation_id = "set_agent_password", tag = "admin", request_body = NewPassword, params(("id" = AgentIdText, Path, description = "The agent.")),
    responses((status = 200, description = "The agent.", body = Agent)), security(("api_key" = ["admin"])))]
pub(crate) async fn reset_password(
    Call {
        who: caller,
        with: (Id(id), Json(body)),
    }: OnAgent<NewPassword>,
    state: State,
) -> Answer {
    altered(&state, id, async |agent| {
        Ok(sign_in::reset_password(&state.portal, agent, &body.password.0, caller.actor()).await?)
    })
    .await
}

/// All API keys, without their secrets.
#[utoipa::path(get, path = "/api-keys", operation_id = "list_api_keys", tag = "admin", responses((status = 200, description = "All of them.", body = ApiKeyList)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn api_keys(_: Call<Admin>, state: State) -> Answer {
    let api_keys = account::api_keys(&state.portal).await?.iter().map(view::api_key).collect();
    Ok(HttpResponse::Ok().json(ApiKeyList { api_keys }))
}

/// Make an API key. Its secret stands in this answer and nowhere else; the same Idempotency-Key with the same body gives the same answer again.
#[utoipa::path(post, path = "/api-keys", operation_id = "add_api_key", tag = "admin", request_body = NewApiKey,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 201, description = "Made. `Idempotency-Replayed: true` when it was made before under this key.", body = MadeApiKey)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn add_api_key(
    Call {
        who: caller,
        with: Once { body, key },
    }: Call<Admin, Once<NewApiKey>>,
    state: State,
) -> Answer {
    let scopes = input::scopes(&body.scopes)?;
    let expires_at = body.expires_in.map(|span| state.portal.now() + span.0);
    let one = |text: &String| agent::Team::parse(text).ok_or_else(|| Problem::field_must("team", "one name of a-z, 0-9 and -"));
    let team = body.team.as_ref().map(one).transpose()?;
    let by = caller.actor();
    let (key, secret, before) = account::add_key_once(&state.portal, &body.name, scopes, expires_at, team, by, caller.once(key)).await?;
    Ok(created(before).json(MadeApiKey {
        secret: secret.to_string(),
        key: view::api_key(&key),
    }))
}

/// Revoke an API key; it is dead when this answers.
#[utoipa::path(post, path = "/api-keys/{id}/revoke", operation_id = "revoke_api_key", tag = "admin", request_body = Nothing, params(("id" = ApiKeyIdText, Path, description = "The key.")),
    responses((status = 200, description = "The key.", body = ApiKey)), security(("api_key" = ["admin"])))]
pub(crate) async fn revoke_api_key(
    Call {
        who: caller,
        with: (Id(id), _),
    }: Call<Admin, (Id<ApiKeyId>, Json<Nothing>)>,
    state: State,
) -> Answer {
    Ok(HttpResponse::Ok().json(view::api_key(
        &account::revoke_api_key(&state.portal, id, caller.actor())
            .await?
            .ok_or_else(ApiKeyId::missing)?,
    )))
}

/// The vault keys, and whether forwarding is possible.
#[utoipa::path(get, path = "/key", operation_id = "get_vault", tag = "admin", responses((status = 200, description = "The keys.", body = Vault)), security(("api_key" = ["admin"])))]
pub(crate) async fn key(_: Call<Admin>, state: State) -> Answer {
    Ok(HttpResponse::Ok().json(portal_view::vault(portal::vault(&state.portal).await?)))
}

/// Open the vault keys that this passphrase opens.
#[utoipa::path(post, path = "/key/unlock", operation_id = "unlock_vault", tag = "admin", request_body = Passphrase, responses((status = 200, description = "The keys.", body = Vault)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn unlock(
    Call {
        who: caller,
        with: Json(body),
    }: Call<Admin, Json<Passphrase>>,
    state: State,
) -> Answer {
    vault::unlock(&state.portal, body.passphrase.0, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(portal_view::vault(portal::vault(&state.portal).await?)))
}

/// The portal as a whole.
#[utoipa::path(get, path = "/status", operation_id = "get_status", tag = "admin", responses((status = 200, description = "The state of things.", body = Status)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn status(_: Call<Admin>, state: State) -> Answer {
    Ok(HttpResponse::Ok().json(status_of(&state).await?))
}

/// Take the machine's present time for right, after a jump: purging by deadline goes on. Put a wrong time right first.
#[utoipa::path(post, path = "/clock/accept", operation_id = "accept_clock", tag = "admin", request_body = Nothing,
    responses((status = 200, description = "The state of things.", body = Status)), security(("api_key" = ["admin"])))]
pub(crate) async fn accept_clock(Call { who: caller, .. }: Call<Admin, Json<Nothing>>, state: State) -> Answer {
    vault::accept_clock(&state.portal, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(status_of(&state).await?))
}

/// A call about the agent that its address names.
pub(super) type OnAgent<B = Nothing> = Call<Admin, (Id<AgentId>, Json<B>)>;

/// Does something to that agent, and shows how it stands afterwards.
pub(super) async fn altered(state: &AppState, id: AgentId, alter: impl AsyncFnOnce(agent::Agent) -> Result<(), Problem>) -> Answer {
    alter(agent_of(state, id).await?).await?;
    Ok(HttpResponse::Ok().json(view::agent(&agent_of(state, id).await?)))
}

pub(super) async fn agent_of(state: &AppState, id: AgentId) -> Result<agent::Agent, Problem> {
    account::agent(&state.portal, id).await?.ok_or_else(AgentId::missing)
}

async fn status_of(state: &AppState) -> Result<Status, Problem> {
    Ok(portal_view::status(
        portal::status(&state.portal).await?,
        state.gate.running() as u64,
    ))
}
