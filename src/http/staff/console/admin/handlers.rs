//! Administration in the console: the portal's state, API keys.

use zeroize::Zeroizing;

use crate::domain::id::ApiKeyId;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::{Form, Typed, keeps};
use crate::http::extract::json::Span;
use crate::http::extract::path::{Id, Named};
use crate::http::staff::auth::{FreshPost, Get, Post, SignedIn};
use crate::http::staff::console::admin::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, html, html_of, see};
use crate::http::staff::input;
use crate::http::staff::permission::Admin;
use crate::http::staff::view::portal as view;
use crate::workflow::query::{first_steps, portal};
use crate::workflow::sign_in::account;
use crate::workflow::vault;

keeps! {
    /// Of a new API key.
    KeyFields: "name" "scope" "expires_in" "team";
}

pub(crate) async fn overview(Get { who, .. }: Get<Admin>, state: State, done: Option<Notice>) -> Page {
    overview_page(&who, &state, done, None).await
}

async fn overview_page(who: &SignedIn<Admin>, state: &AppState, notice: Option<Notice>, problem: Option<&Problem>) -> Page {
    let status = view::status(portal::status(&state.portal).await?, state.gate.running() as u64);
    let vault = view::vault(portal::vault(&state.portal).await?);
    let providers: Vec<_> = portal::providers(&state.portal).into_iter().map(view::provider).collect();
    let hidden = first_steps::hidden(&state.portal).await?;
    let page = pages::overview(&who.agent, &status, &vault, &providers, hidden, notice, problem);
    Ok(problem.map_or_else(|| html(page.clone()), |p| html_of(p, page.clone())))
}

pub(crate) async fn unlock(Post { who, with: form }: Post<Admin, Form>, state: State) -> Page {
    let passphrase = Zeroizing::new(form.raw("passphrase").to_owned());
    match vault::unlock(&state.portal, passphrase, who.actor()).await {
        Ok(()) => Ok(see("/admin?done=unlocked")),
        Err(error) => overview_page(&who, &state, None, Some(&error.into())).await,
    }
}

pub(crate) async fn accept_clock(Post { who, .. }: Post<Admin>, state: State) -> Page {
    vault::accept_clock(&state.portal, who.actor()).await?;
    Ok(see("/admin?done=clock"))
}

pub(crate) async fn keys(Get { who, .. }: Get<Admin>, state: State, done: Option<Notice>) -> Page {
    let keys = account::api_keys(&state.portal).await?;
    Ok(html(pages::keys(&who.agent, &keys, &Form::default(), done, None)))
}

/// The answer shows the secret. A reload shows the same page for some minutes and makes no other key.
pub(crate) async fn add_key(FreshPost { who, with: form }: FreshPost<Admin, Typed<KeyFields>>, state: State) -> Page {
    let made = async {
        let scopes = input::scopes(&form.all("scope"))?;
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
            let keys = account::api_keys(&state.portal).await?;
            Ok(html_of(&problem, pages::keys(&who.agent, &keys, &form, None, Some(&problem))))
        }
    }
}

pub(crate) async fn revoke_page(Get { who, with: Id(id) }: Get<Admin, Id<ApiKeyId>>, state: State) -> Page {
    let keys = account::api_keys(&state.portal).await?;
    let key = keys.into_iter().find(|key| key.id == id).ok_or_else(ApiKeyId::missing)?;
    Ok(html(pages::revoke(&who.agent, &key)))
}

pub(crate) async fn revoke_key(Post { who, with: Id(id) }: Post<Admin, Id<ApiKeyId>>, state: State) -> Page {
    account::revoke_api_key(&state.portal, id, who.actor())
        .await?
        .ok_or_else(ApiKeyId::missing)?;
    Ok(see("/admin/keys?done=key-revoked"))
}
