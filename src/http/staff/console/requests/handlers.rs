//! Requests in the console: the list, one request, and what can be done with it.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::audit::AuditAction;
use crate::domain::id::RequestId;
use crate::http::AppState;
use crate::http::staff::api::audit::newest;
use crate::http::extract::json::Span;
use crate::http::extract::query::{Query, write_cursor};
use crate::http::staff::api::requests::{Search, filter, parse};
use crate::http::staff::view::request as view;
use crate::http::error::Problem;
use crate::http::staff::console::requests::page::Confirm;
use crate::http::staff::console::requests::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::auth::{Csrf, SignedIn};
use crate::http::staff::permission::{Manual, Read, Requests};
use crate::storage::Filter;
use crate::workflow::issue::{self, Expiry};
use crate::workflow::terms;

use crate::http::extract::form::{Form, once};
use crate::http::staff::console::{Names, Page, html, html_of, see};

const PAGE: usize = 50;
/// Webhooks and mails that a request's page shows.
const DISPATCHES_SHOWN: usize = 30;

pub(crate) async fn list(who: SignedIn<Read>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let query = Query::of(&request, &["state", "provider", "agent", "older_than", "cursor", "done"])?;
    let text = |name| query.text(name).map(str::to_owned);
    let search = Search {
        state: text("state"),
        provider: text("provider"),
        agent: text("agent"),
        older_than: text("older_than"),
        cursor: text("cursor"),
        ..Search::default()
    };
    listed(&who, &state, search).await
}

/// Without an applicant this is an address like any other; with one it stays a POST.
pub(crate) async fn search(_: Csrf, who: SignedIn<Read>, state: web::Data<AppState>, request: HttpRequest, payload: web::Payload) -> Page {
    let form = Form::read(&request, payload).await?;
    let search = Search {
        state: form.filled("state"),
        provider: form.filled("provider"),
        applicant: form.filled("applicant"),
        agent: form.filled("agent"),
        older_than: form.filled("older_than"),
        cursor: form.filled("cursor"),
        limit: None,
    };
    if search.applicant.is_none() {
        // Checked words only come into the address.
        filter(&state, &search)?;
        let pairs = [
            ("state", &search.state),
            ("provider", &search.provider),
            ("agent", &search.agent),
            ("older_than", &search.older_than),
        ];
        let pairs: Vec<String> = pairs
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|v| format!("{name}={v}")))
            .collect();
        return Ok(see(&format!("/requests?{}", pairs.join("&"))));
    }
    listed(&who, &state, search).await
}

async fn listed(who: &SignedIn<Read>, state: &AppState, search: Search) -> Page {
    let names = Names::of(state).await?;
    let (wanted, after) = match filter(state, &search) {
        Ok((wanted, after)) => (
            Filter {
                teams: who.teams(),
                ..wanted
            },
            after,
        ),
        Err(problem) => {
            return Ok(html_of(
                &problem,
                pages::list(&who.agent, state, &search, &[], None, &names, Some(&problem)),
            ));
        }
    };
    let page = state.portal.requests.list(&wanted, after, PAGE).await?;
    let next = page.next.map(|c| write_cursor(&state.portal, c)).transpose()?;
    Ok(html(pages::list(&who.agent, state, &search, &page.requests, next, &names, None)))
}

pub(crate) async fn show(who: SignedIn<Read>, state: web::Data<AppState>, id: web::Path<String>, request: HttpRequest) -> Page {
    let found = terms::load(&state.portal, parse(&id)?).await?;
    let whole = view::detail(&state.portal, &found).await?;
    let message = terms::opened_message(&state.portal, &found)?;
    let names = Names::of(&state).await?;
    let shown = pages::Shown {
        request: &found,
        whole: &whole,
        message: message.as_deref(),
        names: &names,
        once: &once()?,
        dispatches: state
            .portal
            .outbox
            .dispatches(Some(found.id), None, DISPATCHES_SHOWN)
            .await?
            .dispatches,
    };
    Ok(html(pages::show(&who.agent, &state, &shown, Notice::of(&request))))
}

pub(crate) async fn extend(
    _: Csrf,
    who: SignedIn<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let id = parse(&id)?;
    let form = Form::read(&request, payload).await?;
    let span = Span::parse(form.text("expires_in")).ok_or_else(|| Problem::invalid("Choose how long the link is to live."))?;
    let done = issue::extend(&state.portal, id, Expiry::In(span.0), who.actor()).await;
    Ok(back(id, done.map(drop), "extended")?)
}

pub(crate) async fn retry(_: Csrf, who: SignedIn<Requests>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let id = parse(&id)?;
    Ok(back(id, issue::retry(&state.portal, id, who.actor()).await.map(drop), "retried")?)
}

pub(crate) async fn revoke_page(who: SignedIn<Requests>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    confirm(&who, &state, &id, Confirm::Revoke).await
}

pub(crate) async fn revoke(_: Csrf, who: SignedIn<Requests>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let id = parse(&id)?;
    Ok(back(id, issue::revoke(&state.portal, id, who.actor()).await.map(drop), "revoked")?)
}

pub(crate) async fn purge_page(who: SignedIn<Requests>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    confirm(&who, &state, &id, Confirm::Purge).await
}

pub(crate) async fn purge(_: Csrf, who: SignedIn<Requests>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let id = parse(&id)?;
    Ok(back(
        id,
        issue::request_purge(&state.portal, id, who.actor()).await.map(drop),
        "purging",
    )?)
}

pub(crate) async fn uploaded_page(who: SignedIn<Requests>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    confirm(&who, &state, &id, Confirm::Uploaded).await
}

/// For a provider that is served by hand this is its handler's word; for any other one it is an agent's who knows better.
pub(crate) async fn mark_uploaded(_: Csrf, who: SignedIn<Requests>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let id = parse(&id)?;
    let found = terms::load(&state.portal, id).await?;
    if by_hand(&state, &found) && !who.may::<Manual>() {
        let detail = [("what", "role"), ("has", who.agent.role.as_str())];
        state.refused(who.actor(), AuditAction::AccessRefused, &detail).await;
        return Err(Problem::forbidden("This provider is served by hand; somebody with the role manual-handler marks it.").into());
    }
    Ok(back(
        id,
        issue::mark_uploaded(&state.portal, id, who.actor()).await.map(drop),
        "uploaded",
    )?)
}

pub(crate) fn by_hand(state: &AppState, request: &crate::domain::request::DocumentRequest) -> bool {
    crate::workflow::manual_download::by_hand(&state.portal, request)
}

pub(crate) async fn receipt(who: SignedIn<Read>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let found = terms::load(&state.portal, parse(&id)?).await?;
    let newest = newest(&state, &found).await?;
    Ok(html(pages::receipt(&who.agent, &state, &found, &newest.receipt, &newest.text)))
}

pub(crate) async fn receipt_text(_: SignedIn<Read>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let found = terms::load(&state.portal, parse(&id)?).await?;
    let newest = newest(&state, &found).await?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((
            "Content-Disposition",
            format!("attachment; filename=\"deletion-receipt-{}.txt\"", newest.receipt.number),
        ))
        .body(newest.text))
}

async fn confirm(who: &SignedIn<Requests>, state: &AppState, id: &str, what: Confirm) -> Page {
    let found = terms::load(&state.portal, parse(id)?).await?;
    Ok(html(pages::confirm(&who.agent, state, &found, what)))
}

/// To the request, saying what was done; a refusal is told on a page of its own.
fn back(id: RequestId, done: Result<(), crate::workflow::WorkflowError>, word: &str) -> Result<HttpResponse, Problem> {
    done?;
    Ok(see(&format!("/requests/{id}?done={word}")))
}
