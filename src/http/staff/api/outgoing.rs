//! What leaves the portal: the log of webhooks and mails, sending a webhook again, and the key that ways back are signed with.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::dispatch::Dispatch;
use crate::domain::id::{DispatchId, RequestId};
use crate::http::context::State;
use crate::http::error::Problem;
use crate::http::extract::json::{Json, Nothing};
use crate::http::extract::query::Query;
use crate::http::staff::auth::Call;
use crate::http::staff::permission::{Admin, Requests};
use crate::http::staff::shapes::{DispatchIdText, DispatchKindWord, DispatchStateWord, HashText, RequestIdText, ReturnAlgorithmWord};
use crate::http::staff::view::request::instant;
use crate::workflow::query::outgoing::sent;
use crate::workflow::{hosted, outgoing};

use super::Answer;

const PAGE: usize = 50;
const PAGE_MAX: u16 = 200;

/// A webhook or mail. Its content, and to whom a mail goes, is not shown.
#[derive(Serialize, ToSchema)]
#[schema(as = Dispatch)]
pub(crate) struct DispatchView {
    /// Also the `webhook-id`: the same for every try.
    #[schema(value_type = DispatchIdText)]
    pub id: String,
    /// `hook:NAME` or `mail`.
    #[schema(pattern = "^(mail|hook:.+)$", example = "hook:app")]
    pub channel: String,
    /// The event's type, or `mail.link`, `mail.reminder`, `mail.arrived`, `mail.attention`, `mail.digest`.
    #[schema(value_type = DispatchKindWord)]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RequestIdText>)]
    pub request: Option<String>,
    /// waiting, sent, failed or dropped (not needed any more).
    #[schema(value_type = DispatchStateWord)]
    pub state: &'static str,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it ended.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Failed tries.
    pub attempts: u32,
    /// How the last try ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<String>,
}

/// A page, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dispatches {
    pub dispatches: Vec<DispatchView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What the way back of requests that this API key issues is signed with.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReturnKey {
    /// `HMAC-SHA256` over `nightdrop/v1/return`, the request, the state and the time, with line feeds between; the key is this text as it stands.
    #[schema(value_type = ReturnAlgorithmWord)]
    pub algorithm: &'static str,
    #[schema(value_type = HashText)]
    pub key: String,
}

pub(super) fn dispatch_view(dispatch: &Dispatch) -> DispatchView {
    DispatchView {
        id: dispatch.id.to_string(),
        channel: dispatch.channel.to_string(),
        kind: dispatch.kind.clone(),
        request: dispatch.request.map(|r| r.to_string()),
        state: dispatch.progress.as_str(),
        created_at: instant(dispatch.created_at),
        ended_at: dispatch.progress.ended_at().map(instant),
        attempts: dispatch.attempts,
        last_answer: dispatch.last.clone(),
    }
}

/// The secret that proves to an application that an applicant was sent back by this portal. Each API key has its own.
#[utoipa::path(get, path = "/return-key", operation_id = "get_return_key", tag = "requests",
    responses((status = 200, description = "The key. Keep it like the API key.", body = ReturnKey)), security(("api_key" = ["requests"])))]
pub(crate) async fn return_key(Call { who: caller, .. }: Call<Requests>, state: State) -> Answer {
    Ok(HttpResponse::Ok().json(ReturnKey {
        algorithm: "HMAC-SHA256",
        key: hosted::return_key(&state.portal, caller.key_id()),
    }))
}

/// Webhooks and mails, newest first: what waits, what was sent, and what failed in the last 30 days.
#[utoipa::path(get, path = "/dispatches", operation_id = "list_dispatches", tag = "admin",
    params(("request" = Option<RequestIdText>, Query, description = "Those of one request."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u16>, Query, description = "1 to 200, 50 unless given.", minimum = 1, maximum = 200)),
    responses((status = 200, description = "A page.", body = Dispatches)), security(("api_key" = ["admin"])))]
pub(crate) async fn dispatches(_: Call<Admin>, state: State, request: HttpRequest) -> Answer {
    let (of, limit, cursor) = Query::read(&request, &["request", "cursor", "limit"], |query| {
        let of = query.parsed("request", RequestId::parse, "a request's id");
        Ok((of, query.number("limit", 1, PAGE_MAX), query.text("cursor")))
    })?;
    let page = sent(&state.portal, of, cursor.as_deref(), limit.map_or(PAGE, usize::from)).await?;
    Ok(HttpResponse::Ok().json(Dispatches {
        dispatches: page.dispatches.iter().map(dispatch_view).collect(),
        next_cursor: page.next,
    }))
}

/// Send a webhook again that was sent or has failed. It keeps its id.
#[utoipa::path(post, path = "/dispatches/{id}/resend", operation_id = "resend_dispatch", tag = "admin", request_body = Nothing, params(("id" = DispatchIdText, Path, description = "The webhook.")),
    responses((status = 200, description = "It waits to be sent.", body = DispatchView)), security(("api_key" = ["admin"])))]
pub(crate) async fn resend(Call { who: caller, .. }: Call<Admin, Json<Nothing>>, state: State, id: web::Path<String>) -> Answer {
    let missing = || Problem::not_found("There is no webhook with this id that could be sent again.");
    let id = DispatchId::parse(&id).ok_or_else(missing)?;
    Ok(HttpResponse::Ok().json(dispatch_view(&outgoing::resend(&state.portal, id, caller.actor()).await?)))
}
