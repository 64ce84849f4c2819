//! People over the API: inviting, enabling and deleting them, and their sessions.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::agent;
use crate::domain::id::AgentId;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::json::{Json, Nothing, Once};
use crate::http::extract::path::Id;
use crate::http::staff::auth::Call;
use crate::http::staff::input;
use crate::http::staff::permission::Admin;
use crate::http::staff::shapes::{AgentIdText, EmailText, LabelText, RoleWord, TeamsText};
use crate::http::staff::view::account::{self as view, Agent, Session};
use crate::http::staff::view::request::instant;
use crate::workflow::WorkflowError;
use crate::workflow::sign_in;
use crate::workflow::sign_in::account;
use crate::workflow::sign_in::invitation::{self, Console, Handover};

use super::Answer;
use super::admin::{OnAgent, agent_of, altered, created};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"email": "ana@example.com", "name": "Ana", "role": "agent"})))]
pub(crate) struct Invite {
    #[schema(value_type = EmailText)]
    pub email: String,
    #[schema(value_type = LabelText)]
    pub name: String,
    /// agent, admin, auditor or manual-handler.
    #[schema(value_type = RoleWord)]
    pub role: String,
    /// At most 20 names of a-z, 0-9 and -.
    #[serde(default)]
    #[schema(value_type = TeamsText, required = false)]
    pub teams: Vec<String>,
}

/// A one-time link by which somebody sets a password or a passkey of their own.
#[derive(Serialize, ToSchema)]
pub(crate) struct Invitation {
    pub agent: Agent,
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// mail: it is on its way to the agent. link: no mail is configured, and `link` stands in this answer and nowhere else.
    pub by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SessionList {
    pub sessions: Vec<Session>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichSession {
    /// As the list names it.
    pub session: String,
}

fn shown(invited: &invitation::Invited) -> Invitation {
    let (by, link) = match &invited.handover {
        Handover::Mail => ("mail", None),
        Handover::Link(link) => ("link", Some(link.to_string())),
    };
    Invitation {
        agent: view::agent(&invited.agent),
        expires_at: instant(invited.expires_at),
        by,
        link,
    }
}

/// Add an agent by a one-time link, good for three days, by which they set a password or a passkey of their own. The same Idempotency-Key with the same body gives the same answer again.
#[utoipa::path(post, path = "/agents/invite", operation_id = "invite_agent", tag = "admin", request_body = Invite,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 201, description = "Invited. `Idempotency-Replayed: true` when it was done before under this key.", body = Invitation)),
    security(("api_key" = ["admin"])))]
pub(crate) async fn invite(
    Call {
        who: caller,
        with: Once { body, key },
    }: Call<Admin, Once<Invite>>,
    state: State,
) -> Answer {
    let new = account::NewAgent {
        email: &body.email,
        name: &body.name,
        role: input::role(&body.role)?,
        teams: account::parse_teams(&body.teams.join(" "))?,
    };
    let console = state.settings.console();
    let console = Console(console.as_deref());
    let invited = invitation::invite(&state.portal, &console, new, caller.actor(), caller.once(key)).await?;
    Ok(created(invited.replayed).json(shown(&invited)))
}

/// Make a new one-time link for an agent: the one before stops working at once. Password and sessions stay until the new one is used; a second factor stays.
#[utoipa::path(post, path = "/agents/{id}/invite", operation_id = "renew_invitation", tag = "admin", request_body = Nothing, params(("id" = AgentIdText, Path, description = "The agent.")),
    responses((status = 201, description = "Made.", body = Invitation)), security(("api_key" = ["admin"])))]
pub(crate) async fn invite_again(
    Call {
        who: caller,
        with: (Id(id), _),
    }: OnAgent,
    state: State,
) -> Answer {
    let agent = agent_of(&state, id).await?;
    let console = state.settings.console();
    match invitation::invite_again(&state.portal, &Console(console.as_deref()), &agent, caller.actor()).await {
        Ok(invited) => Ok(created(invited.replayed).json(shown(&invited))),
        // There is no such field in this call: it is the agent's state, or the configuration, that does not allow it.
        Err(WorkflowError::Invalid { field, fix }) => Err(Problem::conflict(format!("{field} {fix}."))),
        Err(error) => Err(error.into()),
    }
}

/// Let a disabled agent in again, with role, password and second factor as before.
#[utoipa::path(post, path = "/agents/{id}/enable", operation_id = "enable_agent", tag = "admin", request_body = Nothing, params(("id" = AgentIdText, Path, description = "The agent.")),
    responses((status = 200, description = "The agent.", body = Agent)), security(("api_key" = ["admin"])))]
pub(crate) async fn enable(
    Call {
        who: caller,
        with: (Id(id), _),
    }: OnAgent,
    state: State,
) -> Answer {
    altered(&state, id, async |agent| {
        Ok(account::enable_agent(&state.portal, &agent, caller.actor()).await?)
    })
    .await
}

/// Delete an agent for good: sessions and the API keys that the agent made end at once. The audit log keeps the name.
#[utoipa::path(post, path = "/agents/{id}/delete", operation_id = "delete_agent", tag = "admin", request_body = Nothing, params(("id" = AgentIdText, Path, description = "The agent.")),
    responses((status = 200, description = "The agent, as it was.", body = Agent)), security(("api_key" = ["admin"])))]
pub(crate) async fn delete(
    Call {
        who: caller,
        with: (Id(id), _),
    }: OnAgent,
    state: State,
) -> Answer {
    let agent = agent_of(&state, id).await?;
    account::delete_agent(&state.portal, &agent, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(view::agent(&agent)))
}

/// Where an agent is signed in.
#[utoipa::path(get, path = "/agents/{id}/sessions", operation_id = "list_agent_sessions", tag = "admin", params(("id" = AgentIdText, Path, description = "The agent.")),
    responses((status = 200, description = "The open ones, newest use first.", body = SessionList)), security(("api_key" = ["admin"])))]
pub(crate) async fn sessions(Call { with: Id(id), .. }: Call<Admin, Id<AgentId>>, state: State) -> Answer {
    open_sessions(&state, &agent_of(&state, id).await?).await
}

/// End one session of an agent.
#[utoipa::path(post, path = "/agents/{id}/end-session", operation_id = "end_agent_session", tag = "admin", request_body = WhichSession, params(("id" = AgentIdText, Path, description = "The agent.")),
    responses((status = 200, description = "Those that are left.", body = SessionList)), security(("api_key" = ["admin"])))]
pub(crate) async fn end_session(
    Call {
        who: caller,
        with: (Id(id), Json(body)),
    }: OnAgent<WhichSession>,
    state: State,
) -> Answer {
    let agent = agent_of(&state, id).await?;
    if !sign_in::end_one(&state.portal, id, &body.session, caller.actor()).await? {
        return Err(Problem::not_found("This session has ended already."));
    }
    open_sessions(&state, &agent).await
}

async fn open_sessions(state: &AppState, agent: &agent::Agent) -> Answer {
    let open = sign_in::sessions_of(&state.portal, agent, None).await?;
    let sessions = open.iter().map(view::session).collect();
    Ok(HttpResponse::Ok().json(SessionList { sessions }))
}
