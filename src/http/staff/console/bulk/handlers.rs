//! One act for several requests of the list: asked once more, then done to each by itself, with a result for each.

use std::collections::BTreeSet;

use crate::domain::id::RequestId;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::{Form, Typed, keeps, once};
use crate::http::extract::json::Span;
use crate::http::staff::auth::{Post, SignedIn};
use crate::http::staff::console::bulk::page::{self as pages, Act, BulkResult};
use crate::http::staff::console::spans::longer_than;
use crate::http::staff::console::{Page, html, html_of};
use crate::http::staff::permission::Requests;
use crate::workflow::WorkflowError;
use crate::workflow::issue::{self, ClientKey, Expiry};
use crate::workflow::query::requests::Row;

keeps! {
    /// Of one act for several requests.
    BulkFields: "once" "act" "id" "sure" "expires_in";
}

/// As many as a page of the list shows.
const MOST: usize = 50;

pub(crate) async fn act(Post { who, with: form }: Post<Requests, Typed<BulkFields>>, state: State) -> Page {
    let act = Act::parse(form.text("act")).ok_or_else(|| Problem::malformed("This form is too old. Open the list again."))?;
    let rows = chosen(&who, &state, &form).await?;
    if rows.is_empty() {
        return Err(Problem::invalid("Choose requests in the list first.").into());
    }
    if !form.ticked("sure") {
        return Ok(html(sure_page(&who, &state, act, &rows, None)?));
    }
    let span = Span::parse(form.text("expires_in"));
    if act == Act::Extend && span.is_none() {
        let problem = Problem::invalid("Choose how long the links are to live.").field("expires_in", "must be one of the list");
        return Ok(html_of(&problem, sure_page(&who, &state, act, &rows, Some(&problem))?));
    }
    let client = form.once(&who.agent)?;
    let mut results = Vec::new();
    for row in rows {
        let result = done(&who, &state, act, &row, span, &client).await;
        let result = result.unwrap_or_else(|problem| BulkResult::Refused(problem.detail));
        // As it stands now.
        let row = Row::load(&state.portal, row.request.id).await.unwrap_or(row);
        results.push((row, result));
    }
    Ok(html(pages::results(&who.agent, &results)))
}

/// The requests that were ticked, as far as this agent sees them. The ids come in the form and not in the address, so nobody else has looked whose they are.
async fn chosen(who: &SignedIn<Requests>, state: &AppState, form: &Form) -> Result<Vec<Row>, WorkflowError> {
    let ids: BTreeSet<_> = form.all("id").iter().filter_map(|id| RequestId::parse(id)).take(MOST).collect();
    let mut rows = Vec::new();
    for id in ids {
        match Row::load(&state.portal, id).await {
            Ok(row) if who.agent.sees(row.request.team.as_ref()) => rows.push(row),
            Ok(_) | Err(WorkflowError::NotFound | WorkflowError::Tampered) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}

fn sure_page(
    who: &SignedIn<Requests>,
    state: &AppState,
    act: Act,
    rows: &[Row],
    problem: Option<&Problem>,
) -> Result<maud::Markup, WorkflowError> {
    Ok(pages::sure(&pages::SurePage {
        agent: &who.agent,
        act,
        rows,
        lives: &longer_than(time::Duration::ZERO, state.portal.policy.link_max),
        once: &once()?,
        now: state.portal.now(),
        problem,
    }))
}

async fn done(
    who: &SignedIn<Requests>,
    state: &AppState,
    act: Act,
    row: &Row,
    span: Option<Span>,
    client: &ClientKey,
) -> Result<BulkResult, Problem> {
    let (portal, id, by) = (&state.portal, row.request.id, who.actor());
    match act {
        Act::Extend => {
            let longer = span.map_or(Expiry::Default, |span| Expiry::In(span.0));
            issue::extend(portal, id, longer, by).await?;
            Ok(BulkResult::Done("Extended"))
        }
        Act::Withdraw => {
            issue::revoke(portal, id, by).await?;
            Ok(BulkResult::Done("Withdrawn"))
        }
        Act::AskAgain => {
            // The form's number with the request's: each has its effect once, however often the form comes.
            let own = ClientKey {
                caller: client.caller.clone(),
                key: format!("{} {id}", client.key),
                body: client.body,
                secret: client.secret.clone(),
            };
            let issued = issue::reissue(portal, id, Expiry::Default, None, by, Some(own)).await?;
            Ok(BulkResult::Link {
                url: issued.url(portal),
                passcode: issued.passcode.as_ref().and_then(|code| code.shown()).map(str::to_owned),
            })
        }
    }
}
