//! Requests in the console: the list, one request, and what can be done with it.

use actix_web::{HttpRequest, HttpResponse};

use crate::domain::audit::AuditAction;
use crate::domain::id::RequestId;
use crate::domain::request::DocumentRequest;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::{Typed, keeps, once};
use crate::http::extract::json::Span;
use crate::http::extract::path::Id;
use crate::http::extract::query::Query;
use crate::http::staff::auth::{Get, Post, SignedIn};
use crate::http::staff::console::requests::page::{self as pages, Confirm};
use crate::http::staff::console::spans::longer_than;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, html, html_of, live, see};
use crate::http::staff::input::{Search, SearchFields};
use crate::http::staff::permission::{Manual, Read, Requests};
use crate::http::staff::view::request as view;
use crate::workflow::issue::{self, Expiry};
use crate::workflow::query::names::Names;
use crate::workflow::query::requests::{self, Listed, Row, Wanted};
use crate::workflow::{WorkflowError, views};

keeps! {
    /// Of more time for a link.
    ExtendFields: "expires_in";
}

const PAGE: usize = 50;

pub(crate) async fn list(Get { who, .. }: Get<Read>, state: State, request: HttpRequest) -> Page {
    let known = [
        "state",
        "outcome",
        "provider",
        "agent",
        "assigned",
        "older_than",
        "sort",
        "cursor",
        "done",
    ];
    let search = Query::read(&request, &known, |query| {
        Ok(Search {
            state: query.text("state"),
            outcome: query.text("outcome"),
            provider: query.text("provider"),
            agent: query.text("agent"),
            assigned: query.text("assigned"),
            older_than: query.text("older_than"),
            sort: query.text("sort"),
            cursor: query.text("cursor"),
            ..Search::default()
        })
    })?;
    listed(&who, &state, &search, &request).await
}

/// Without something to find this is an address like any other; with it, it stays a POST: it may be an applicant's reference.
pub(crate) async fn search(Post { who, with: form }: Post<Read, Typed<SearchFields>>, state: State, request: HttpRequest) -> Page {
    let search = Search::of(&form);
    if search.applicant.is_some() || search.find.is_some() {
        return listed(&who, &state, &search, &request).await;
    }
    // Checked words only come into the address.
    search.wanted()?;
    Ok(see(&format!("/requests?{}", pages::address_of(&search))))
}

async fn listed(who: &SignedIn<Read>, state: &AppState, search: &Search, request: &HttpRequest) -> Page {
    let found = match search.wanted() {
        Ok(wanted) => {
            let wanted = Wanted {
                teams: who.teams(),
                me: Some(who.agent.id),
                ..wanted
            };
            requests::list(&state.portal, wanted, PAGE).await
        }
        Err(problem) => {
            return Ok(html_of(
                &problem,
                list_page(who, state, search, &Listed::default(), Some(&problem)).await?,
            ));
        }
    };
    match found {
        Ok(listed) => Ok(live(request, list_page(who, state, search, &listed, None).await?, "")),
        Err(error @ WorkflowError::Invalid { .. }) => {
            let problem = error.into();
            Ok(html_of(
                &problem,
                list_page(who, state, search, &Listed::default(), Some(&problem)).await?,
            ))
        }
        Err(error) => Err(error.into()),
    }
}

async fn list_page(
    who: &SignedIn<Read>,
    state: &AppState,
    search: &Search,
    listed: &Listed,
    problem: Option<&Problem>,
) -> Result<maud::Markup, WorkflowError> {
    Ok(pages::list(&pages::ListPage {
        agent: &who.agent,
        search,
        listed,
        views: &views::of(&state.portal, who.agent.id).await?,
        names: &Names::load(&state.portal).await?,
        providers: state.portal.providers.keys().map(ToString::to_string).collect(),
        now: state.portal.now(),
        problem,
    }))
}

pub(crate) async fn show(
    Get { who, with: Id(id) }: Get<Read, Id<RequestId>>,
    state: State,
    done: Option<Notice>,
    asked: HttpRequest,
) -> Page {
    let whole = requests::whole(&state.portal, id).await?;
    let request = &whole.detail.row.request;
    let number = once()?;
    let page = pages::show(&pages::ShowPage {
        agent: &who.agent,
        shown: &view::detail(&whole.detail),
        longer: longer_than(request.link.expires_at - whole.detail.now, state.portal.policy.link_max),
        passcode_required: state.portal.policy.passcode_required,
        once: number.clone(),
        whole: &whole,
        done,
    });
    Ok(live(&asked, page, &number))
}

pub(crate) async fn extend(Post { who, with: (Id(id), form) }: Post<Requests, (Id<RequestId>, Typed<ExtendFields>)>, state: State) -> Page {
    let span = Span::parse(form.text("expires_in")).ok_or_else(|| Problem::invalid("Choose how long the link is to live."))?;
    done(issue::extend(&state.portal, id, Expiry::In(span.0), who.actor()).await?, "extended")
}

pub(crate) async fn retry(Post { who, with: Id(id) }: Post<Requests, Id<RequestId>>, state: State) -> Page {
    done(issue::retry(&state.portal, id, who.actor()).await?, "retried")
}

pub(crate) async fn revoke(Post { who, with: Id(id) }: Post<Requests, Id<RequestId>>, state: State) -> Page {
    done(issue::revoke(&state.portal, id, who.actor()).await?, "revoked")
}

pub(crate) async fn purge(Post { who, with: Id(id) }: Post<Requests, Id<RequestId>>, state: State) -> Page {
    done(issue::request_purge(&state.portal, id, who.actor()).await?, "purging")
}

/// For a provider that is served by hand this is its handler's word; for any other one it is an agent's who knows better.
pub(crate) async fn mark_uploaded(Post { who, with: Id(id) }: Post<Requests, Id<RequestId>>, state: State) -> Page {
    if Row::load(&state.portal, id).await?.by_hand && !who.may::<Manual>() {
        let detail = [("what", "role"), ("has", who.agent.role.as_str())];
        state.refused(who.actor(), AuditAction::AccessRefused, &detail).await;
        return Err(Problem::forbidden("This provider is served by hand; somebody with the role manual-handler marks it.").into());
    }
    done(issue::mark_uploaded(&state.portal, id, who.actor()).await?, "uploaded")
}

/// To the request, saying what was done; a refusal is told on a page of its own.
pub(crate) fn done(request: DocumentRequest, word: &str) -> Page {
    Ok(see(&format!("/requests/{}?done={word}", request.id)))
}

pub(crate) async fn revoke_page(Get { who, with: Id(id) }: Get<Requests, Id<RequestId>>, state: State) -> Page {
    confirm(&who, &state, id, Confirm::Revoke).await
}

pub(crate) async fn purge_page(Get { who, with: Id(id) }: Get<Requests, Id<RequestId>>, state: State) -> Page {
    confirm(&who, &state, id, Confirm::Purge).await
}

pub(crate) async fn uploaded_page(Get { who, with: Id(id) }: Get<Requests, Id<RequestId>>, state: State) -> Page {
    confirm(&who, &state, id, Confirm::Uploaded).await
}

async fn confirm(who: &SignedIn<Requests>, state: &AppState, id: RequestId, what: Confirm) -> Page {
    Ok(html(pages::confirm(&who.agent, &Row::load(&state.portal, id).await?, what)))
}

pub(crate) async fn receipt(Get { who, with: Id(id) }: Get<Read, Id<RequestId>>, state: State) -> Page {
    let (row, receipt) = requests::receipt(&state.portal, id).await?;
    let receipt = receipt.ok_or_else(Problem::no_receipt_yet)?;
    Ok(html(pages::receipt(&who.agent, &state.company.name, &row, &receipt)))
}

pub(crate) async fn receipt_text(Get { with: Id(id), .. }: Get<Read, Id<RequestId>>, state: State) -> Page {
    let (_, receipt) = requests::receipt(&state.portal, id).await?;
    let receipt = receipt.ok_or_else(Problem::no_receipt_yet)?;
    let name = format!("attachment; filename=\"deletion-receipt-{}.txt\"", receipt.receipt.number);
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header(("Content-Disposition", name))
        .body(receipt.text))
}
