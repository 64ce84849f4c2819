//! People in the console: inviting, changing, disabling, enabling and deleting them, and ending their sessions. Nobody does any of it to themselves.

use crate::domain::agent::Agent;
use crate::domain::id::AgentId;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::{Form, Typed, keeps};
use crate::http::extract::path::{Id, Named};
use crate::http::staff::auth::{AuthRedirect, FreshGet, FreshPost, Get, Post, SignedIn};
use crate::http::staff::console::admin::people_page::{self as pages, AgentPage, AgentsPage, Way};
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, html, html_of, see};
use crate::http::staff::input;
use crate::http::staff::permission::Admin;
use crate::workflow::WorkflowError;
use crate::workflow::sign_in;
use crate::workflow::sign_in::account::{self, NewAgent, shortest_password};
use crate::workflow::sign_in::invitation::{self, Console, Handover, Invited};

keeps! {
    /// Of somebody new, without a password.
    PersonFields: "email" "name" "role" "teams";
    /// Of somebody's role.
    RoleFields: "role" "teams";
    /// Of a session that is to end.
    SessionFields: "session";
}

pub(crate) async fn agents(Get { who, .. }: Get<Admin>, state: State, done: Option<Notice>) -> Page {
    Ok(html(list(&who, &state, &Form::default(), done, None).await?))
}

async fn list(
    who: &SignedIn<Admin>,
    state: &AppState,
    typed: &Form,
    done: Option<Notice>,
    problem: Option<(Way, &Problem)>,
) -> Result<maud::Markup, WorkflowError> {
    Ok(pages::agents(&AgentsPage {
        agent: &who.agent,
        all: &account::agents(&state.portal).await?,
        shortest: shortest_password(&state.portal),
        mail: state.portal.outgoing.mailer.is_some(),
        now: state.portal.now(),
        typed,
        done,
        problem,
    }))
}

fn new_agent(form: &Form) -> Result<NewAgent<'_>, Problem> {
    Ok(NewAgent {
        email: form.text("email"),
        name: form.text("name"),
        role: input::role(form.text("role"))?,
        teams: account::parse_teams(form.text("teams"))?,
    })
}

pub(crate) async fn add_agent(FreshPost { who, with: form }: FreshPost<Admin, Typed<PersonFields>>, state: State) -> Page {
    let added = async {
        let new = new_agent(&form)?;
        Ok::<_, Problem>(account::add_agent_once(&state.portal, new, form.raw("password"), who.actor(), None).await?)
    };
    match added.await {
        Ok(_) => Ok(see("/admin/agents?done=agent")),
        Err(problem) => {
            let page = list(&who, &state, &form, None, Some((Way::Password, &problem))).await?;
            Ok(html_of(&problem, page))
        }
    }
}

pub(crate) async fn invite(FreshPost { who, with: form }: FreshPost<Admin, Typed<PersonFields>>, state: State) -> Page {
    let console = state.settings.console();
    let invited = async {
        let console = Console(console.as_deref());
        Ok::<_, Problem>(invitation::invite(&state.portal, &console, new_agent(&form)?, who.actor(), None).await?)
    };
    match invited.await {
        Ok(invited) => handed_over(&who, &invited, "/admin/agents?done=invited"),
        Err(problem) => {
            let page = list(&who, &state, &form, None, Some((Way::Invitation, &problem))).await?;
            Ok(html_of(&problem, page))
        }
    }
}

/// Back to where mail took it, else the link, this once.
fn handed_over(who: &SignedIn<Admin>, invited: &Invited, path: &str) -> Page {
    Ok(match &invited.handover {
        Handover::Mail => see(path),
        Handover::Link(link) => html(pages::link_made(&who.agent, &invited.agent, link, invited.expires_at)),
    })
}

pub(crate) async fn agent(Get { who, with: Id(id) }: Get<Admin, Id<AgentId>>, state: State, done: Option<Notice>) -> Page {
    let other = agent_of(&state, id).await?;
    Ok(html(one(&who, &state, &other, done, None).await?))
}

async fn one(
    who: &SignedIn<Admin>,
    state: &AppState,
    other: &Agent,
    done: Option<Notice>,
    problem: Option<&Problem>,
) -> Result<maud::Markup, WorkflowError> {
    Ok(pages::agent(&AgentPage {
        agent: &who.agent,
        other,
        sessions: &sign_in::sessions_of(&state.portal, other, None).await?,
        shortest: shortest_password(&state.portal),
        now: state.portal.now(),
        done,
        problem,
    }))
}

async fn agent_of(state: &AppState, id: AgentId) -> Result<Agent, Problem> {
    account::agent(&state.portal, id).await?.ok_or_else(AgentId::missing)
}

/// The same, for what nobody may do to themselves: an admin who would lock themselves out needs another one to do it.
async fn other_of(who: &SignedIn<Admin>, state: &AppState, id: AgentId, refused: &str) -> Result<Agent, AuthRedirect> {
    let other = agent_of(state, id).await?;
    match other.id == who.agent.id {
        true => Err(Problem::conflict(refused).into()),
        false => Ok(other),
    }
}

async fn again(who: &SignedIn<Admin>, state: &AppState, other: &Agent, problem: &Problem) -> Page {
    Ok(html_of(problem, one(who, state, other, None, Some(problem)).await?))
}

pub(crate) async fn change_role(
    FreshPost { who, with: (Id(id), form) }: FreshPost<Admin, (Id<AgentId>, Typed<RoleFields>)>,
    state: State,
) -> Page {
    let other = other_of(&who, &state, id, "You cannot change your own role. Another admin can.").await?;
    let changed = async {
        let role = input::role(form.text("role"))?;
        let teams = account::parse_teams(form.text("teams"))?;
        Ok::<_, Problem>(account::change_agent(&state.portal, &other, role, teams, who.actor()).await?)
    };
    match changed.await {
        Ok(()) => Ok(see(&format!("/admin/agents/{}?done=changed", other.id))),
        Err(problem) => again(&who, &state, &other, &problem).await,
    }
}

/// Only right after a proof, and not for oneself: that would make the factor worth nothing.
pub(crate) async fn reset_factors(FreshPost { who, with: Id(id) }: FreshPost<Admin, Id<AgentId>>, state: State) -> Page {
    let other = other_of(&who, &state, id, "You cannot reset your own second factor. Another admin can.").await?;
    account::reset_factors(&state.portal, &other, who.actor()).await?;
    Ok(see(&format!("/admin/agents/{}?done=factors-reset", other.id)))
}

pub(crate) async fn reset_password(FreshPost { who, with: (Id(id), form) }: FreshPost<Admin, (Id<AgentId>, Form)>, state: State) -> Page {
    let other = agent_of(&state, id).await?;
    match sign_in::reset_password(&state.portal, other.clone(), form.raw("password"), who.actor()).await {
        Ok(()) => Ok(see("/admin/agents?done=reset")),
        Err(error) => again(&who, &state, &other, &Problem::from(error)).await,
    }
}

const NO_LINK: &str = "You cannot make a link to your own account. Your password and passkeys are under your own name.";

pub(crate) async fn link_page(FreshGet { who, with: Id(id) }: FreshGet<Admin, Id<AgentId>>, state: State) -> Page {
    let other = other_of(&who, &state, id, NO_LINK).await?;
    let mail = state.portal.outgoing.mailer.is_some();
    Ok(html(pages::new_link(&who.agent, &other, mail, state.portal.now())))
}

pub(crate) async fn new_link(FreshPost { who, with: Id(id) }: FreshPost<Admin, Id<AgentId>>, state: State) -> Page {
    let other = other_of(&who, &state, id, NO_LINK).await?;
    let console = state.settings.console();
    let console = Console(console.as_deref());
    match invitation::invite_again(&state.portal, &console, &other, who.actor()).await {
        Ok(invited) => handed_over(&who, &invited, &format!("/admin/agents/{}?done=invited", other.id)),
        Err(WorkflowError::Invalid { field, fix }) => Err(Problem::conflict(format!("{field} {fix}.")).into()),
        Err(error) => Err(error.into()),
    }
}

const NOT_DISABLED: &str = "You cannot disable yourself. Another admin can.";

pub(crate) async fn disable_page(Get { who, with: Id(id) }: Get<Admin, Id<AgentId>>, state: State) -> Page {
    let other = other_of(&who, &state, id, NOT_DISABLED).await?;
    Ok(html(pages::disable(&who.agent, &other)))
}

pub(crate) async fn disable(Post { who, with: Id(id) }: Post<Admin, Id<AgentId>>, state: State) -> Page {
    let other = other_of(&who, &state, id, NOT_DISABLED).await?;
    let path = format!("/admin/agents/{}?done=disabled", other.id);
    if other.disabled_at.is_none() {
        sign_in::disable_agent(&state.portal, other, who.actor()).await?;
    }
    Ok(see(&path))
}

/// Gives access back, so it wants a fresh proof where taking it does not.
pub(crate) async fn enable(FreshPost { who, with: Id(id) }: FreshPost<Admin, Id<AgentId>>, state: State) -> Page {
    let other = agent_of(&state, id).await?;
    account::enable_agent(&state.portal, &other, who.actor()).await?;
    Ok(see(&format!("/admin/agents/{}?done=enabled", other.id)))
}

const NOT_DELETED: &str = "You cannot delete yourself. Another admin can.";

pub(crate) async fn delete_page(FreshGet { who, with: Id(id) }: FreshGet<Admin, Id<AgentId>>, state: State) -> Page {
    let other = other_of(&who, &state, id, NOT_DELETED).await?;
    let keys = account::keys_of(&state.portal, &other).await?;
    Ok(html(pages::delete(&who.agent, &other, &keys)))
}

pub(crate) async fn delete(FreshPost { who, with: Id(id) }: FreshPost<Admin, Id<AgentId>>, state: State) -> Page {
    let other = other_of(&who, &state, id, NOT_DELETED).await?;
    account::delete_agent(&state.portal, &other, who.actor()).await?;
    Ok(see("/admin/agents?done=deleted"))
}

pub(crate) async fn end_session(
    Post { who, with: (Id(id), form) }: Post<Admin, (Id<AgentId>, Typed<SessionFields>)>,
    state: State,
) -> Page {
    let other = agent_of(&state, id).await?;
    match sign_in::end_one(&state.portal, other.id, form.text("session"), who.actor()).await? {
        true => Ok(see(&format!("/admin/agents/{}?done=session-ended", other.id))),
        false => Err(Problem::not_found("This session has ended already.").into()),
    }
}
