//! Requests over the API: issuing, finding, looking and acting.

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::agent::Actor;
use crate::domain::id::RequestId;
use crate::domain::request::DocumentRequest;
use crate::http::context::{AppState, State};
use crate::http::error::{PROBLEM_JSON, Problem};
use crate::http::extract::json::{self, Instant, Json, Nothing, Once, Span};
use crate::http::extract::path::Id;
use crate::http::extract::query::Query;
use crate::http::staff::auth::{ApiCaller, Call};
use crate::http::staff::input::{self, NewRequest, Search};
use crate::http::staff::permission::{Read, Requests};
use crate::http::staff::shapes::{
    ActorText, ApplicantText, AssignedText, EmailText, ListOrderWord, MailStateWord, OutcomeWord, PasscodeStateWord, ProviderNameText,
    ReminderStateWord, RequestIdText, RequestStateWord, SpanText,
};
use crate::http::staff::view::problem::ProblemSchema;
use crate::http::staff::view::request as view;
use crate::workflow::issue::{self, Code, Issued};
use crate::workflow::link_message::{self, LinkMessage, MailWish, Mailed};
use crate::workflow::query::requests::{self, Row, Wanted};
use crate::workflow::terms;

use super::Answer;

/// Rows of a page unless asked otherwise, and at most.
const PAGE: u16 = 50;
const PAGE_MAX: u16 = 200;

/// A link just issued. `url`, `passcode`, `message` and `qr_svg` are shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedRequest {
    #[schema(value_type = RequestIdText)]
    pub id: String,
    #[schema(value_type = RequestStateWord)]
    pub state: &'static str,
    /// For the applicant alone: whoever has it can drop the document.
    #[schema(format = "uri")]
    pub url: String,
    /// Tell it by another way than the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9]{6}$", example = "417305")]
    pub passcode: Option<String>,
    /// `replaced` in the answer to a repetition: the code of the first answer opens the link no more, because a fresh one was given or its tries are used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PasscodeStateWord>)]
    pub passcode_state: Option<&'static str>,
    #[schema(format = DateTime)]
    pub expires_at: String,
    pub message: ReadyMessage,
    /// `queued` when it is on its way by e-mail, and what becomes of it stands in the timeline; `failed` when it could not be queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MailStateWord>)]
    pub mail: Option<&'static str>,
    /// Of a reminder that was wished for: `queued`, or `too_close` when the link ends within 36 hours and none is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReminderStateWord>)]
    pub reminder: Option<&'static str>,
    /// The address as an `<svg>` element.
    pub qr_svg: String,
    pub request: view::Request,
}

/// A message without personal data, ready to send.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadyMessage {
    pub subject: String,
    pub body: String,
    #[schema(format = "uri")]
    pub mailto: String,
    #[schema(format = "uri")]
    pub gmail: String,
    #[schema(format = "uri")]
    pub outlook: String,
}

/// A page of requests. It may be short, or even empty, while `next_cursor` leads on: a filter that little fits looks at so many rows for one page.
#[derive(Serialize, ToSchema)]
pub(crate) struct RequestPage {
    pub requests: Vec<view::Request>,
    /// Ask with it for the rows behind; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Issue a request with its one-time link. The same Idempotency-Key with the same body gives the same answer again, as far as it is still true: a passcode that was
/// replaced is left out (`passcode_state`), and where the link is dead the answer is 409 with the code `idempotency.link_replaced`.
#[utoipa::path(post, path = "/requests", operation_id = "issue_request", tag = "requests", request_body = NewRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 201, description = "Issued. `Idempotency-Replayed: true` when it was issued before under this key.", body = IssuedRequest)),
    security(("api_key" = ["requests"])))]
pub(crate) async fn issue(
    Call {
        who: caller,
        with: Once { body, key },
    }: Call<Requests, Once<NewRequest>>,
    state: State,
) -> Answer {
    let wish = input::mail_wish(&state.portal, body.email.clone(), body.remind)?;
    let issued = issue::issue(&state.portal, body.into_ask()?, caller.actor(), caller.once(key)).await?;
    issued_answer(&state, &issued, &wish, caller.actor()).await
}

/// List requests, newest first unless `sort` says otherwise. `applicant` in a query ends up in other systems' logs: callers who care use `POST /requests/search`.
#[utoipa::path(get, path = "/requests", operation_id = "list_requests", tag = "requests",
    params(
        ("state" = Option<RequestStateWord>, Query, description = "One state."),
        ("outcome" = Option<OutcomeWord>, Query, description = "What has become of it."),
        ("provider" = Option<ProviderNameText>, Query, description = "One provider."),
        ("applicant" = Option<ApplicantText>, Query, description = "One applicant's reference; better searched for with POST /requests/search."),
        ("agent" = Option<ActorText>, Query, description = "Issued by this agent or API key."),
        ("assigned" = Option<AssignedText>, Query, description = "Assigned to this agent, to `me` (who made the API key), or to `none`."),
        ("older_than" = Option<SpanText>, Query, description = "Issued longer ago than this, such as `36h` or `7d`."),
        ("sort" = Option<ListOrderWord>, Query, description = "`newest` first unless given; `oldest` first; or by `expiry`: requests whose link can still be used, the one that ends soonest first."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, in the same order."),
        ("limit" = Option<u16>, Query, description = "1 to 200, 50 unless given.", minimum = 1, maximum = 200),
    ),
    responses((status = 200, description = "A page.", body = RequestPage)), security(("api_key" = ["read"])))]
pub(crate) async fn list(Call { who: caller, .. }: Call<Read>, state: State, request: HttpRequest) -> Answer {
    let known = [
        "state",
        "outcome",
        "provider",
        "applicant",
        "agent",
        "assigned",
        "older_than",
        "sort",
        "cursor",
        "limit",
    ];
    let (wanted, limit) = Query::read(&request, &known, |query| {
        let search = Search {
            state: query.text("state"),
            outcome: query.text("outcome"),
            find: None,
            provider: query.text("provider"),
            applicant: query.text("applicant"),
            agent: query.text("agent"),
            assigned: query.text("assigned"),
            older_than: query.text("older_than"),
            sort: query.text("sort"),
            cursor: query.text("cursor"),
            limit: query.number("limit", 1, PAGE_MAX),
        };
        Ok((search.wanted()?, search.limit))
    })?;
    page(&state, &caller, wanted, limit).await
}

/// The same list with the filter in the body: an applicant's reference then stands in no address, no access log and no browser history. `find` looks for whatever a
/// person has at hand; it shows 50 requests at most, without a next page.
#[utoipa::path(post, path = "/requests/search", operation_id = "search_requests", tag = "requests", request_body = Search,
    responses((status = 200, description = "A page.", body = RequestPage)), security(("api_key" = ["read"])))]
pub(crate) async fn search(
    Call {
        who: caller,
        with: Json(body),
    }: Call<Read, Json<Search>>,
    state: State,
) -> Answer {
    page(&state, &caller, body.wanted()?, body.limit).await
}

/// One request with its timeline.
#[utoipa::path(get, path = "/requests/{id}", operation_id = "get_request", tag = "requests", params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["read"])))]
pub(crate) async fn show(Call { with: Id(id), .. }: Call<Read, Id<RequestId>>, state: State) -> Answer {
    let found = terms::load(&state.portal, id).await?;
    acted(&state, found.into_inner()).await
}

/// A new expiry; the configured default span from now unless given.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"expires_in": "72h"})))]
pub(crate) struct NewExpiry {
    pub expires_in: Option<Span>,
    pub expires_at: Option<Instant>,
}

/// Move the link's expiry; the link stays the same.
#[utoipa::path(post, path = "/requests/{id}/extend", operation_id = "extend_request", tag = "requests", request_body = NewExpiry, params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The request.", body = view::Request),
        (status = 410, description = "`link.revoked`: issue a new link.", body = ProblemSchema, content_type = PROBLEM_JSON)), security(("api_key" = ["requests"])))]
pub(crate) async fn extend(
    Call {
        who: caller,
        with: (Id(id), Json(body)),
    }: Call<Requests, (Id<RequestId>, Json<NewExpiry>)>,
    state: State,
) -> Answer {
    let expires = json::expiry(body.expires_in, body.expires_at)?;
    acted(&state, issue::extend(&state.portal, id, expires, caller.actor()).await?).await
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"expires_in": "72h", "passcode": true})))]
pub(crate) struct Reissue {
    pub expires_in: Option<Span>,
    pub expires_at: Option<Instant>,
    /// As before unless given.
    pub passcode: Option<bool>,
    /// Send the new link there by e-mail.
    #[schema(value_type = Option<EmailText>)]
    pub email: Option<String>,
    /// Remind by e-mail a day before it expires.
    #[serde(default)]
    pub remind: Option<bool>,
}

/// A new link on the same request; the old one is dead from this instant on.
#[utoipa::path(post, path = "/requests/{id}/reissue", operation_id = "reissue_request", tag = "requests", request_body = Reissue,
    params(("id" = RequestIdText, Path, description = "The request."),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 201, description = "Issued. `Idempotency-Replayed: true` when it was issued before under this key.", body = IssuedRequest)),
    security(("api_key" = ["requests"])))]
pub(crate) async fn reissue(
    Call {
        who: caller,
        with: (Id(id), Once { body, key }),
    }: Call<Requests, (Id<RequestId>, Once<Reissue>)>,
    state: State,
) -> Answer {
    let expires = json::expiry(body.expires_in, body.expires_at)?;
    let wish = input::mail_wish(&state.portal, body.email.clone(), body.remind)?;
    let issued = issue::reissue(&state.portal, id, expires, body.passcode, caller.actor(), caller.once(key)).await?;
    issued_answer(&state, &issued, &wish, caller.actor()).await
}

/// A fresh passcode on the same link, shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshPasscode {
    #[schema(value_type = RequestIdText)]
    pub id: String,
    #[schema(pattern = "^[0-9]{6}$", example = "417305")]
    pub passcode: String,
    pub request: view::Request,
}

/// A fresh code with fresh tries on the same link, for an applicant who was locked out.
#[utoipa::path(post, path = "/requests/{id}/passcode", operation_id = "renew_passcode", tag = "requests", request_body = Nothing, params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The code, this once.", body = FreshPasscode)), security(("api_key" = ["requests"])))]
pub(crate) async fn passcode(
    Call {
        who: caller,
        with: (Id(id), _),
    }: Call<Requests, (Id<RequestId>, Json<Nothing>)>,
    state: State,
) -> Answer {
    let (found, passcode) = issue::fresh_passcode(&state.portal, id, caller.actor()).await?;
    let request = view::detail(&requests::detail(&state.portal, found).await?);
    Ok(HttpResponse::Ok().json(FreshPasscode {
        id: id.to_string(),
        passcode,
        request,
    }))
}

/// Withdraw the link. When this answers, nothing can be dropped through it any more.
#[utoipa::path(post, path = "/requests/{id}/revoke", operation_id = "revoke_request", tag = "requests", request_body = Nothing, params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn revoke(
    Call {
        who: caller,
        with: (Id(id), _),
    }: Call<Requests, (Id<RequestId>, Json<Nothing>)>,
    state: State,
) -> Answer {
    acted(&state, issue::revoke(&state.portal, id, caller.actor()).await?).await
}

/// Send a document again that needs attention.
#[utoipa::path(post, path = "/requests/{id}/retry", operation_id = "retry_request", tag = "requests", request_body = Nothing, params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn retry(
    Call {
        who: caller,
        with: (Id(id), _),
    }: Call<Requests, (Id<RequestId>, Json<Nothing>)>,
    state: State,
) -> Answer {
    acted(&state, issue::retry(&state.portal, id, caller.actor()).await?).await
}

/// Destroy the held document now, delivered or not.
#[utoipa::path(post, path = "/requests/{id}/purge", operation_id = "purge_request", tag = "requests", request_body = Nothing, params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The request; the purge follows at once.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn purge(
    Call {
        who: caller,
        with: (Id(id), _),
    }: Call<Requests, (Id<RequestId>, Json<Nothing>)>,
    state: State,
) -> Answer {
    acted(&state, issue::request_purge(&state.portal, id, caller.actor()).await?).await
}

/// Say that the provider has the document by other means: counts as confirmed, and the document is purged.
#[utoipa::path(post, path = "/requests/{id}/mark-uploaded", operation_id = "mark_request_uploaded", tag = "requests", request_body = Nothing,
    params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn mark_uploaded(
    Call {
        who: caller,
        with: (Id(id), _),
    }: Call<Requests, (Id<RequestId>, Json<Nothing>)>,
    state: State,
) -> Answer {
    acted(&state, issue::mark_uploaded(&state.portal, id, caller.actor()).await?).await
}

async fn page(state: &AppState, caller: &ApiCaller<Read>, wanted: Wanted, limit: Option<u16>) -> Answer {
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::field_must("limit", "a whole number from 1 to 200"));
    }
    let wanted = Wanted {
        teams: caller.teams(),
        me: caller.made_by(),
        ..wanted
    };
    let listed = requests::list(&state.portal, wanted, limit.into()).await?;
    let now = state.portal.now();
    Ok(HttpResponse::Ok().json(RequestPage {
        requests: listed.rows.iter().map(|row| view::request(row, now)).collect(),
        next_cursor: listed.next,
    }))
}

pub(super) async fn acted(state: &AppState, request: DocumentRequest) -> Answer {
    Ok(HttpResponse::Ok().json(view::detail(&requests::detail(&state.portal, request).await?)))
}

async fn issued_answer(state: &AppState, issued: &Issued, wish: &MailWish, by: Actor) -> Answer {
    let handed = link_message::hand_over(&state.portal, &state.sender(), issued, wish, by).await?;
    let mailed = handed.mailed;
    let LinkMessage {
        url,
        passcode,
        message,
        qr_svg,
        ..
    } = handed.message;
    let request = view::request(&Row::of(&state.portal, (*issued.request).clone()).await?, state.portal.now());
    let body = IssuedRequest {
        id: request.id.clone(),
        state: request.state,
        url,
        passcode_state: matches!(passcode, Some(Code::Replaced)).then_some("replaced"),
        passcode: passcode.as_ref().and_then(Code::shown).map(str::to_owned),
        expires_at: request.expires_at.clone(),
        message: ReadyMessage {
            mailto: message.mailto(),
            gmail: message.gmail(),
            outlook: message.outlook(),
            subject: message.subject,
            body: message.body,
        },
        mail: mailed.map(Mailed::as_str),
        reminder: mailed.and_then(Mailed::reminder),
        qr_svg,
        request,
    };
    let mut answer = HttpResponse::Created();
    answer.insert_header(("Location", format!("{}/requests/{}", super::BASE, body.id)));
    if issued.replayed {
        answer.insert_header(("Idempotency-Replayed", "true"));
    }
    Ok(answer.json(body))
}
