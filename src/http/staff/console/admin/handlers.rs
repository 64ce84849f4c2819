//! Administration in the console: the portal's state, agents, API keys.

use actix_web::{HttpRequest, web};
use zeroize::Zeroizing;

use crate::domain::agent::Agent;
use crate::http::AppState;
use crate::http::staff::api::admin as shared;
use crate::http::extract::json::Span;
use crate::http::staff::api::providers;
use crate::http::error::Problem;
use crate::http::staff::console::admin::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::auth::{Csrf, RecentlyVerified, SignedIn};
use crate::http::staff::permission::{Admin};
use crate::workflow::sign_in::account::{self, shortest_password};
use crate::workflow::{sign_in, vault};

use crate::http::extract::form::Form;
use crate::http::staff::console::{Names, Page, html, html_of, see};

pub(crate) async fn overview(who: SignedIn<Admin>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    overview_page(&who, &state, Notice::of(&request), None).await
}

async fn overview_page(who: &SignedIn<Admin>, state: &AppState, notice: Option<Notice>, problem: Option<&Problem>) -> Page {
    let status = shared::status_view(state).await?;
    let vault = shared::vault_view(state).await?;
    let page = pages::overview(&who.agent, &status, &vault, &providers::all(state), notice, problem);
    Ok(problem.map_or_else(|| html(page.clone()), |p| html_of(p, page.clone())))
}

pub(crate) async fn unlock(_: Csrf, who: SignedIn<Admin>, state: web::Data<AppState>, request: HttpRequest, payload: web::Payload) -> Page {
    let form = Form::read(&request, payload).await?;
    let passphrase = Zeroizing::new(form.raw("passphrase").to_owned());
    match vault::unlock(&state.portal, passphrase, who.actor()).await {
        Ok(()) => Ok(see("/admin?done=unlocked")),
        Err(error) => overview_page(&who, &state, None, Some(&error.into())).await,
    }
}

pub(crate) async fn accept_clock(_: Csrf, who: SignedIn<Admin>, state: web::Data<AppState>) -> Page {
    vault::accept_clock(&state.portal, who.actor()).await?;
    Ok(see("/admin?done=clock"))
}

pub(crate) async fn agents(who: SignedIn<Admin>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let agents = state.portal.directory.agents().await?;
    Ok(html(pages::agents(
        shortest_password(&state.portal),
        &who.agent,
        &agents,
        &Form::default(),
        Notice::of(&request),
        None,
    )))
}

pub(crate) async fn add_agent(
    _: Csrf,
    RecentlyVerified(who): RecentlyVerified<Admin>,
    state: web::Data<AppState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let form = Form::read(&request, payload).await?;
    let added = async {
        let role = shared::parse_role(form.text("role"))?;
        let by = who.actor();
        let teams = account::parse_teams(form.text("teams"))?;
        let added = sign_in::add_agent(&state.portal, form.text("email"), form.text("name"), role, form.raw("password"), by).await?;
        Ok::<_, Problem>(account::change_agent(&state.portal, &added, role, teams, by).await?)
    };
    match added.await {
        Ok(_) => Ok(see("/admin/agents?done=agent")),
        Err(problem) => {
            let agents = state.portal.directory.agents().await?;
            let shortest = shortest_password(&state.portal);
            Ok(html_of(
                &problem,
                pages::agents(shortest, &who.agent, &agents, &form, None, Some(&problem)),
            ))
        }
    }
}

pub(crate) async fn agent(who: SignedIn<Admin>, state: web::Data<AppState>, id: web::Path<String>, request: HttpRequest) -> Page {
    let other = shared::find_agent(&state, &id).await?;
    let shortest = shortest_password(&state.portal);
    Ok(html(pages::agent(shortest, &who.agent, &other, Notice::of(&request), None)))
}

fn agent_again(who: &SignedIn<Admin>, state: &AppState, other: &Agent, problem: &Problem) -> Page {
    let shortest = shortest_password(&state.portal);
    Ok(html_of(problem, pages::agent(shortest, &who.agent, other, None, Some(problem))))
}

/// Nobody changes their own role: an admin who would lock themselves out needs another one to do it.
pub(crate) async fn change_role(
    _: Csrf,
    RecentlyVerified(who): RecentlyVerified<Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let form = Form::read(&request, payload).await?;
    let other = shared::find_agent(&state, &id).await?;
    if other.id == who.agent.id {
        return Err(Problem::conflict("You cannot change your own role. Another admin can.").into());
    }
    let changed = async {
        let role = shared::parse_role(form.text("role"))?;
        let teams = account::parse_teams(form.text("teams"))?;
        Ok::<_, Problem>(account::change_agent(&state.portal, &other, role, teams, who.actor()).await?)
    };
    match changed.await {
        Ok(()) => Ok(see(&format!("/admin/agents/{}?done=changed", other.id))),
        Err(problem) => agent_again(&who, &state, &other, &problem),
    }
}

/// Only right after a proof, and not for oneself: that would make the factor worth nothing.
pub(crate) async fn reset_factors(
    _: Csrf,
    RecentlyVerified(who): RecentlyVerified<Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Page {
    let other = shared::find_agent(&state, &id).await?;
    if other.id == who.agent.id {
        return Err(Problem::conflict("You cannot reset your own second factor. Another admin can.").into());
    }
    account::reset_factors(&state.portal, &other, who.actor()).await?;
    Ok(see(&format!("/admin/agents/{}?done=factors-reset", other.id)))
}

pub(crate) async fn reset_password(
    _: Csrf,
    RecentlyVerified(who): RecentlyVerified<Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let form = Form::read(&request, payload).await?;
    let agent = shared::find_agent(&state, &id).await?;
    match sign_in::reset_password(&state.portal, agent.clone(), form.raw("password"), who.actor()).await {
        Ok(()) => Ok(see("/admin/agents?done=reset")),
        Err(error) => agent_again(&who, &state, &agent, &Problem::from(error)),
    }
}

pub(crate) async fn disable(_: Csrf, who: SignedIn<Admin>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let agent = shared::find_agent(&state, &id).await?;
    if agent.id == who.agent.id {
        return Err(Problem::conflict("You cannot disable yourself. Another admin can.").into());
    }
    if agent.disabled_at.is_none() {
        sign_in::disable_agent(&state.portal, agent, who.actor()).await?;
    }
    Ok(see("/admin/agents?done=disabled"))
}

pub(crate) async fn keys(who: SignedIn<Admin>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let keys = state.portal.directory.api_keys().await?;
    Ok(html(pages::keys(&who.agent, &keys, &Form::default(), Notice::of(&request), None)))
}

/// The answer shows the secret, this once. A reload makes another key rather than showing this one again.
pub(crate) async fn add_key(
    _: Csrf,
    RecentlyVerified(who): RecentlyVerified<Admin>,
    state: web::Data<AppState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let form = Form::read(&request, payload).await?;
    let made = async {
        let scopes = shared::parse_scopes(&form.all("scope"))?;
        let wrong = || Problem::invalid("Choose how long the key is to live.").field("expires_in", "must be one of the list");
        let span = form
            .filled("expires_in")
            .map(|text| Span::parse(&text).ok_or_else(wrong))
            .transpose()?;
        let expires_at = span.map(|s| state.portal.now() + s.0);
        let teams = account::parse_teams(form.text("team"))
            .ok()
            .filter(|t| t.len() <= 1)
            .ok_or_else(|| Problem::invalid("One team at most.").field("team", "must be one name of a-z, 0-9 and -"))?;
        let team = teams.into_iter().next();
        Ok::<_, Problem>(account::add_team_key(&state.portal, form.text("name"), scopes, expires_at, team, who.actor()).await?)
    };
    match made.await {
        Ok((key, secret)) => Ok(html(pages::key_made(&who.agent, &key, &secret))),
        Err(problem) => {
            let keys = state.portal.directory.api_keys().await?;
            Ok(html_of(&problem, pages::keys(&who.agent, &keys, &form, None, Some(&problem))))
        }
    }
}

pub(crate) async fn revoke_page(who: SignedIn<Admin>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let keys = state.portal.directory.api_keys().await?;
    let key = keys
        .into_iter()
        .find(|k| k.id.to_string() == *id)
        .ok_or_else(|| Problem::not_found("There is no such API key."))?;
    let names = Names::of(&state).await?;
    Ok(html(pages::revoke(&who.agent, &key, names.of_actor(&id))))
}

pub(crate) async fn revoke_key(_: Csrf, who: SignedIn<Admin>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    shared::revoke_key(&state, &id, who.actor()).await?;
    Ok(see("/admin/keys?done=key-revoked"))
}
