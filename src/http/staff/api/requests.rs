//! Requests over the API: issuing, finding, looking and acting.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chain::chain;
use crate::domain::agent::{Actor, Team};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName, ProviderName, TicketRef};
use crate::domain::id::RequestId;
use crate::domain::request::{DocumentRequest, RequestState};
use crate::http::AppState;
use crate::http::error::Problem;
use crate::http::staff::auth::ApiCaller;
use crate::http::staff::permission::{Read, Requests};
use crate::storage::{Cursor, Filter};
use crate::workflow::issue::{self, Ask, Code, Expiry, Issued};
use crate::workflow::outgoing::mail;
use crate::workflow::terms;

use super::Answer;
use crate::http::extract::json::{self, Instant, Span};
use crate::http::extract::query::{self, Query};
use crate::http::staff::link_message::{LinkMessage, Sent, link_message, send};
use crate::http::staff::view::request as view;

/// Rows of a page unless asked otherwise, and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 200;

/// A request for a document.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRequest {
    /// A configured provider's name; see `GET /providers`.
    pub provider: String,
    /// The provider's own id of the person: 1 to 128 visible ASCII characters without quotes, slashes, `?`, `#`, `%`, `<`, `>`.
    pub applicant: String,
    /// A key of the catalogue, such as `government-id`.
    pub document: String,
    /// Some of the kind's parts; all of them unless given.
    pub parts: Option<Vec<String>>,
    pub expires_in: Option<Span>,
    pub expires_at: Option<Instant>,
    /// Ask for a six-digit code, which is told by telephone.
    #[serde(default)]
    pub passcode: Option<bool>,
    /// The applicant's language, a tag such as `de` or `pt-BR`.
    pub locale: Option<String>,
    /// A note to the applicant, plain text.
    pub message: Option<String>,
    /// An address of a host in `hosted.return_hosts`. After the drop the applicant is sent back there, with `nightdrop_request`, `nightdrop_state`, `nightdrop_at` and
    /// `nightdrop_signature` added to its query; see `GET /return-key`.
    pub return_url: Option<String>,
    /// Send the link there by e-mail. Kept sealed until it was sent, and in no log.
    pub email: Option<String>,
    /// Remind by e-mail a day before the link expires, if nothing has come.
    #[serde(default)]
    pub remind: Option<bool>,
    /// The help desk's case that it belongs to, such as `ZD-4711`: 1 to 64 letters, digits and `-_.:#`. Sealed at rest; outgoing events carry it.
    pub ticket: Option<String>,
    /// Anything of the caller's own, up to 4096 bytes; sealed at rest.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

impl NewRequest {
    /// All fields that cannot be read, at once.
    pub(crate) fn into_ask(self) -> Result<Ask, Problem> {
        let mut faults: Vec<(&'static str, String)> = Vec::new();
        let mut fault = |field, fix: &str| faults.push((field, fix.to_owned()));
        let provider = ProviderName::parse(&self.provider);
        let applicant = ApplicantRef::parse(&self.applicant);
        let document = DocumentKind::parse(&self.document);
        let parts = self
            .parts
            .map(|names| names.iter().map(|n| PartName::parse(n)).collect::<Option<Vec<_>>>());
        if provider.is_none() {
            fault("provider", "must be the name of a configured provider");
        }
        if applicant.is_none() {
            fault(
                "applicant",
                "must be 1 to 128 visible ASCII characters without spaces, quotes, slashes, ?, #, %, < and >",
            );
        }
        if document.is_none() {
            fault("document", "must be a key of the document catalogue");
        }
        if matches!(parts, Some(None)) {
            fault("parts", "must be names of a-z, 0-9 and -");
        }
        let ticket = self.ticket.as_deref().map(TicketRef::parse);
        if matches!(ticket, Some(None)) {
            fault("ticket", "must be 1 to 64 letters, digits and -_.:# such as ZD-4711");
        }
        let expires = json::expiry(self.expires_in, self.expires_at).unwrap_or_else(|_| {
            fault("expires_in", "not together with expires_at");
            Expiry::Default
        });
        let (Some(provider), Some(applicant), Some(document), true) = (provider, applicant, document, faults.is_empty()) else {
            return Err(all(faults));
        };
        Ok(Ask {
            provider,
            applicant,
            document,
            parts: parts.flatten(),
            expires,
            passcode: self.passcode.unwrap_or(false),
            locale: self.locale,
            message: self.message,
            return_url: self.return_url,
            ticket: ticket.flatten(),
            metadata: self.metadata.map(|m| serde_json::Value::Object(m).to_string()),
        })
    }
}

/// What became of the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mailed {
    Queued(Sent),
    Failed,
}

impl Mailed {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued(_) => "queued",
            Self::Failed => "failed",
        }
    }

    fn reminder(self) -> Option<&'static str> {
        match self {
            Self::Queued(sent) => sent.reminder_word(),
            Self::Failed => None,
        }
    }
}

/// Whether and where a link is to be mailed; checked before it is issued.
pub(crate) struct MailWish {
    pub to: Option<String>,
    pub remind: bool,
}

impl MailWish {
    pub(crate) fn of(state: &AppState, to: Option<String>, remind: Option<bool>) -> Result<Self, Problem> {
        let remind = remind.unwrap_or(false);
        match &to {
            Some(address) => mail::check_address(&state.portal, address)?,
            None if remind => return Err(Problem::invalid("remind needs an e-mail address.").field("email", "is needed to remind")),
            None => {}
        }
        Ok(Self { to, remind })
    }

    /// Queues what was wished. The link is issued by now and must be shown, so what fails here is told beside it.
    pub(crate) async fn send(&self, state: &AppState, issued: &Issued, link_message: &LinkMessage, by: Actor) -> Option<Mailed> {
        let letters = (&link_message.message, &link_message.reminder);
        match send(state, &issued.request, letters, self.to.as_ref()?, self.remind, by).await {
            Ok(sent) => Some(Mailed::Queued(sent)),
            Err(error) => {
                tracing::error!(request = %issued.request.id, error = %chain(&error), "a mail could not be queued");
                Some(Mailed::Failed)
            }
        }
    }
}

fn all(faults: Vec<(&'static str, String)>) -> Problem {
    let detail: Vec<String> = faults.iter().map(|(field, fix)| format!("{field} {fix}.")).collect();
    faults
        .into_iter()
        .fold(Problem::invalid(detail.join(" ")), |problem, (field, fix)| {
            problem.field(field, fix)
        })
}

/// A link just issued. `url`, `passcode`, `message` and `qr_svg` are shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedRequest {
    pub id: String,
    pub state: &'static str,
    /// For the applicant alone: whoever has it can drop the document.
    pub url: String,
    /// Tell it by another way than the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passcode: Option<String>,
    /// `replaced` in the answer to a repetition: the code of the first answer opens the link no more, because a fresh one was given or its tries are used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passcode_state: Option<&'static str>,
    #[schema(format = DateTime)]
    pub expires_at: String,
    pub message: ReadyMessage,
    /// `queued` when it is on its way by e-mail, and what becomes of it stands in the timeline; `failed` when it could not be queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<&'static str>,
    /// Of a reminder that was wished for: `queued`, or `too_close` when the link ends within 36 hours and none is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    pub mailto: String,
    pub gmail: String,
    pub outlook: String,
}

/// A page of requests, newest first. It may be short, or even empty, while `next_cursor` leads on: a filter that little fits looks at so many rows for one page.
#[derive(Serialize, ToSchema)]
pub(crate) struct RequestPage {
    pub requests: Vec<view::Request>,
    /// Ask with it for the rows behind; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The filter of a search; every field is optional.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    pub state: Option<String>,
    pub provider: Option<String>,
    pub applicant: Option<String>,
    /// Who issued it: an agent's or API key's id.
    pub agent: Option<String>,
    /// Issued longer ago than this, such as `36h` or `7d`.
    pub older_than: Option<String>,
    pub cursor: Option<String>,
    #[schema(minimum = 1, maximum = 200)]
    pub limit: Option<u16>,
}

/// A new expiry; the configured default span from now unless given.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewExpiry {
    pub expires_in: Option<Span>,
    pub expires_at: Option<Instant>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reissue {
    pub expires_in: Option<Span>,
    pub expires_at: Option<Instant>,
    /// As before unless given.
    pub passcode: Option<bool>,
    /// Send the new link there by e-mail.
    pub email: Option<String>,
    /// Remind by e-mail a day before it expires.
    #[serde(default)]
    pub remind: Option<bool>,
}

/// A fresh passcode on the same link, shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshPasscode {
    pub id: String,
    pub passcode: String,
    pub request: view::Request,
}

/// No fields.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Issue a request with its one-time link. The same Idempotency-Key with the same body gives the same answer again, as far as it is still true: a passcode that was
/// replaced is left out (`passcode_state`), and where the link is dead the answer is 409 with the code `idempotency.link_replaced`.
#[utoipa::path(post, path = "/requests", tag = "requests", request_body = NewRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.")),
    responses((status = 201, description = "Issued. `Idempotency-Replayed: true` when it was issued before under this key.", body = IssuedRequest)),
    security(("api_key" = ["requests"])))]
pub(crate) async fn issue(caller: ApiCaller<Requests>, state: web::Data<AppState>, request: HttpRequest, payload: web::Payload) -> Answer {
    let read = json::read::<NewRequest>(&request, payload).await?;
    let client = json::client_key(&request, &caller, read.digest)?;
    let wish = MailWish::of(&state, read.body.email.clone(), read.body.remind)?;
    let issued = issue::issue(&state.portal, read.body.into_ask()?, caller.actor(), client).await?;
    issued_answer(&state, &issued, wish, caller.actor()).await
}

/// List requests, newest first. `applicant` in a query ends up in other systems' logs: callers who care use `POST /requests/search`.
#[utoipa::path(get, path = "/requests", tag = "requests",
    params(
        ("state" = Option<String>, Query, description = "One state."),
        ("provider" = Option<String>, Query, description = "One provider."),
        ("applicant" = Option<String>, Query, description = "One applicant's reference; better searched for with POST /requests/search."),
        ("agent" = Option<String>, Query, description = "Issued by this agent or API key."),
        ("older_than" = Option<String>, Query, description = "Issued longer ago than this, such as `36h` or `7d`."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u16>, Query, description = "1 to 200, 50 unless given.", minimum = 1, maximum = 200),
    ),
    responses((status = 200, description = "A page.", body = RequestPage)), security(("api_key" = ["read"])))]
pub(crate) async fn list(caller: ApiCaller<Read>, state: web::Data<AppState>, request: HttpRequest) -> Answer {
    let query = Query::of(
        &request,
        &["state", "provider", "applicant", "agent", "older_than", "cursor", "limit"],
    )?;
    let text = |name| query.text(name).map(str::to_owned);
    let search = Search {
        state: text("state"),
        provider: text("provider"),
        applicant: text("applicant"),
        agent: text("agent"),
        older_than: text("older_than"),
        cursor: text("cursor"),
        limit: query.number("limit", 1, PAGE_MAX as u16)?,
    };
    page(&state, caller.teams(), search).await
}

/// The same list with the filter in the body: an applicant's reference then stands in no address, no access log and no browser history.
#[utoipa::path(post, path = "/requests/search", tag = "requests", request_body = Search,
    responses((status = 200, description = "A page.", body = RequestPage)), security(("api_key" = ["read"])))]
pub(crate) async fn search(caller: ApiCaller<Read>, state: web::Data<AppState>, request: HttpRequest, payload: web::Payload) -> Answer {
    page(&state, caller.teams(), json::read::<Search>(&request, payload).await?.body).await
}

async fn page(state: &AppState, teams: Option<Vec<Team>>, search: Search) -> Answer {
    let limit = search.limit.map_or(PAGE, usize::from);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(query::wrong("limit", "a whole number from 1 to 200"));
    }
    let (filter, after) = filter(state, &search)?;
    let filter = Filter { teams, ..filter };
    let page = state.portal.requests.list(&filter, after, limit).await?;
    let now = state.portal.now();
    let requests = page.requests.iter().map(|r| view::request(&state.portal, r, now)).collect();
    Ok(HttpResponse::Ok().json(RequestPage {
        requests,
        next_cursor: page.next.map(|c| query::write_cursor(&state.portal, c)).transpose()?,
    }))
}

/// Turns words into the store's filter; the applicant becomes a keyed index here and is not seen again.
pub(crate) fn filter(state: &AppState, search: &Search) -> Result<(Filter, Option<Cursor>), Problem> {
    fn parsed<T>(
        text: &Option<String>,
        name: &'static str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        text.as_deref()
            .filter(|t| !t.is_empty())
            .map(|t| parse(t).ok_or_else(|| query::wrong(name, accepted)))
            .transpose()
    }
    let states = RequestState::ALL.map(RequestState::as_str).join(", ");
    let applicant = parsed(&search.applicant, "applicant", "an applicant's reference", ApplicantRef::parse)?;
    let filter = Filter {
        state: parsed(&search.state, "state", &format!("one of {states}"), RequestState::parse)?,
        provider: parsed(&search.provider, "provider", "a provider's name", ProviderName::parse)?,
        applicant_index: applicant.map(|a| terms::applicant_index(&state.portal, &a)),
        created_by: parsed(&search.agent, "agent", "the id of an agent or API key", Actor::parse)?.map(|a| a.to_string()),
        // Whoever asks knows their own.
        teams: None,
        ..Filter::default()
    };
    let age = parsed(&search.older_than, "older_than", "a span such as 36h or 7d", Span::parse)?;
    let cursor = parsed(&search.cursor, "cursor", "the next_cursor of the page before", |text| {
        query::read_cursor(&state.portal, text)
    })?;
    // A page behind another one is old enough.
    let oldest = age.map(|span| Cursor::before(state.portal.now() - span.0));
    Ok((filter, cursor.or(oldest)))
}

/// One request with its timeline.
#[utoipa::path(get, path = "/requests/{id}", tag = "requests", params(("id" = String, Path, description = "`req_…`")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["read"])))]
pub(crate) async fn show(_: ApiCaller<Read>, state: web::Data<AppState>, id: web::Path<String>) -> Answer {
    let found = terms::load(&state.portal, parse(&id)?).await?;
    Ok(HttpResponse::Ok().json(view::detail(&state.portal, &found).await?))
}

/// Move the link's expiry; the link stays the same.
#[utoipa::path(post, path = "/requests/{id}/extend", tag = "requests", request_body = NewExpiry, params(("id" = String, Path, description = "`req_…`")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn extend(
    caller: ApiCaller<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let body = json::read::<NewExpiry>(&request, payload).await?.body;
    let expires = json::expiry(body.expires_in, body.expires_at)?;
    acted(&state, issue::extend(&state.portal, parse(&id)?, expires, caller.actor()).await?).await
}

/// A new link on the same request; the old one is dead from this instant on.
#[utoipa::path(post, path = "/requests/{id}/reissue", tag = "requests", request_body = Reissue,
    params(("id" = String, Path, description = "`req_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.")),
    responses((status = 201, description = "Issued. `Idempotency-Replayed: true` when it was issued before under this key.", body = IssuedRequest)),
    security(("api_key" = ["requests"])))]
pub(crate) async fn reissue(
    caller: ApiCaller<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let id = parse(&id)?;
    let read = json::read::<Reissue>(&request, payload).await?;
    let client = json::client_key(&request, &caller, read.digest)?;
    let expires = json::expiry(read.body.expires_in, read.body.expires_at)?;
    let wish = MailWish::of(&state, read.body.email.clone(), read.body.remind)?;
    let issued = issue::reissue(&state.portal, id, expires, read.body.passcode, caller.actor(), client).await?;
    issued_answer(&state, &issued, wish, caller.actor()).await
}

/// A fresh code with fresh tries on the same link, for an applicant who was locked out.
#[utoipa::path(post, path = "/requests/{id}/passcode", tag = "requests", request_body = Nothing, params(("id" = String, Path, description = "`req_…`")),
    responses((status = 200, description = "The code, this once.", body = FreshPasscode)), security(("api_key" = ["requests"])))]
pub(crate) async fn passcode(
    caller: ApiCaller<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let id = given_nothing(&id, &request, payload).await?;
    let (found, passcode) = issue::fresh_passcode(&state.portal, id, caller.actor()).await?;
    let request = view::detail(&state.portal, &found).await?;
    Ok(HttpResponse::Ok().json(FreshPasscode {
        id: id.to_string(),
        passcode,
        request,
    }))
}

/// Withdraw the link. When this answers, nothing can be dropped through it any more.
#[utoipa::path(post, path = "/requests/{id}/revoke", tag = "requests", request_body = Nothing, params(("id" = String, Path, description = "`req_…`")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn revoke(
    caller: ApiCaller<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let id = given_nothing(&id, &request, payload).await?;
    acted(&state, issue::revoke(&state.portal, id, caller.actor()).await?).await
}

/// Send a document again that needs attention.
#[utoipa::path(post, path = "/requests/{id}/retry", tag = "requests", request_body = Nothing, params(("id" = String, Path, description = "`req_…`")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn retry(
    caller: ApiCaller<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let id = given_nothing(&id, &request, payload).await?;
    acted(&state, issue::retry(&state.portal, id, caller.actor()).await?).await
}

/// Destroy the held document now, delivered or not.
#[utoipa::path(post, path = "/requests/{id}/purge", tag = "requests", request_body = Nothing, params(("id" = String, Path, description = "`req_…`")),
    responses((status = 200, description = "The request; the purge follows at once.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn purge(
    caller: ApiCaller<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let id = given_nothing(&id, &request, payload).await?;
    acted(&state, issue::request_purge(&state.portal, id, caller.actor()).await?).await
}

/// Say that the provider has the document by other means: counts as confirmed, and the document is purged.
#[utoipa::path(post, path = "/requests/{id}/mark-uploaded", tag = "requests", request_body = Nothing,
    params(("id" = String, Path, description = "`req_…`")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn mark_uploaded(
    caller: ApiCaller<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let id = given_nothing(&id, &request, payload).await?;
    acted(&state, issue::mark_uploaded(&state.portal, id, caller.actor()).await?).await
}

/// One answer for an id that cannot be and one that is not there.
pub(crate) fn parse(id: &str) -> Result<RequestId, Problem> {
    RequestId::parse(id).ok_or_else(|| Problem::not_found("There is no such thing here."))
}

async fn given_nothing(id: &str, request: &HttpRequest, payload: web::Payload) -> Result<RequestId, Problem> {
    let id = parse(id)?;
    json::read::<Nothing>(request, payload).await?;
    Ok(id)
}

async fn acted(state: &AppState, request: DocumentRequest) -> Answer {
    Ok(HttpResponse::Ok().json(view::detail(&state.portal, &request).await?))
}

async fn issued_answer(state: &AppState, issued: &Issued, wish: MailWish, by: Actor) -> Answer {
    let link_message = link_message(state, issued).await?;
    let mailed = wish.send(state, issued, &link_message, by).await;
    let LinkMessage {
        url,
        passcode,
        message,
        qr_svg,
        ..
    } = link_message;
    let request = view::request(&state.portal, &issued.request, state.portal.now());
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
