//! The applicant's listener: `GET /d/{token}` shows what is asked for, `POST` takes it, and afterwards the same address shows the receipt.
//!
//! GET, HEAD and OPTIONS change nothing, ever: mail scanners and chat previews fetch links. A passcode is asked for before any file is taken.

use std::cell::OnceCell;
use std::panic::AssertUnwindSafe;

use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use futures_util::FutureExt;
use maud::Markup;
use serde_json::json;
use time::Duration;

use crate::crypto::random;
use crate::domain::document::PartSpec;
use crate::domain::link::LinkState;
use crate::domain::received::{Deletion, Received};
use crate::domain::request::{DocumentRequest, Stage};
use crate::domain::token::PlainToken;
use crate::domain::transition::Refusal;
use crate::words::Words;
use crate::workflow::intake::passcode::{PasscodeTry, try_passcode};
use crate::workflow::intake::{DeadLink, OpenedLink, Source, Submission, link, receipt_mark};
use crate::workflow::warning::Refused;
use crate::workflow::{Portal, WorkflowError, vault};

use super::page::{self as pages, PageContext, Resumable, View};
use super::refused::{crowded, dead, unknown};
use super::reply::{answer_problem, context, host_of, html, wants_json};
use super::{form, link_address};
use crate::http::body::{self, ThrottledBody};
use crate::http::error::Problem;
use crate::http::{AppState, access_log, guard};

/// A passcode entered right lets the same browser upload for this long.
const PASSCODE_SESSION: Duration = Duration::minutes(30);
/// Form fields and boundaries around the files.
const FORM_ROOM: u64 = 64 * 1024;
const ALLOW: &str = "GET, HEAD, POST, OPTIONS";

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(
            web::resource("/d/{token}")
                .route(web::get().to(show))
                .route(web::head().to(show))
                .route(web::post().to(drop_documents))
                .route(web::route().method(actix_web::http::Method::OPTIONS).to(options))
                .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method(ALLOW)) })),
        )
        .service(
            web::resource("/d/{token}/passcode")
                .route(web::get().to(back_to_link))
                .route(web::head().to(back_to_link))
                .route(web::post().to(enter_passcode))
                .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD, POST")) })),
        )
        .service(
            web::resource("/")
                .route(web::get().to(root))
                .route(web::head().to(root))
                .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) })),
        )
        .configure(crate::http::assets::public_routes);
}

/// `/d/{token}/`, and whatever else was put behind a slash that is no address of ours.
pub(crate) fn late_routes(routes: &mut web::ServiceConfig) {
    routes.service(web::resource("/d/{token}/{rest:.*}").default_service(web::to(behind_a_slash)));
}

async fn behind_a_slash(state: web::Data<AppState>, request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let looks = [Method::GET, Method::HEAD].contains(request.method());
    match link_address::clean_behind_slash(&path.0, &path.1).filter(|_| looks) {
        Some(clean) => link_address::redirect(clean),
        None => no_such_page(state, request).await,
    }
}

/// Who runs this, for whoever comes without a link.
async fn root(state: web::Data<AppState>, request: HttpRequest) -> HttpResponse {
    if !state.gate.may_look(guard::client_address(&request, &state)) {
        return crowded(&state, &request);
    }
    html(&request, HttpResponse::Ok(), pages::root(&context(&state, &request, None)))
}

/// Nothing lives at this address.
pub(crate) async fn no_such_page(state: web::Data<AppState>, request: HttpRequest) -> HttpResponse {
    let problem = Problem::not_found("There is nothing at this address.");
    let wants_page = request
        .headers()
        .get(ACCEPT)
        .and_then(|a| a.to_str().ok())
        .is_some_and(|a| a.contains("text/html"));
    if !wants_page {
        return problem.error_response();
    }
    answer_problem(&context(&state, &request, None), &request, problem, None)
}

/// The page that answered a passcode stands under its own address, where a picked language would lead nowhere.
async fn back_to_link(request: HttpRequest) -> HttpResponse {
    let path = request.path().strip_suffix("/passcode").unwrap_or("/");
    let query = request.query_string();
    let location = if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    };
    HttpResponse::SeeOther().insert_header(("Location", location)).finish()
}

async fn options() -> HttpResponse {
    HttpResponse::NoContent().insert_header(("Allow", ALLOW)).finish()
}

/// Everything a handler of this listener knows about one request.
pub(super) struct Visit<'a> {
    state: &'a AppState,
    request: &'a HttpRequest,
    token: PlainToken,
    /// The language of the request that the link belongs to, once it is known.
    locale: OnceCell<String>,
}

pub(super) enum Entry {
    /// The form may be shown and used.
    Open(Box<OpenedLink>),
    /// A passcode comes first.
    Passcode(Box<OpenedLink>),
    /// Out of tries, and no passcode session of before.
    Locked,
    /// The drop by this link has happened: only the receipt is left.
    Done(Box<Done>),
    Dead(DeadLink),
}

/// A request, and the document of it that one link brought.
pub(super) struct Done {
    pub request: DocumentRequest,
    pub generation: u32,
}

impl Done {
    /// Right after the drop by the present link.
    fn just_now(request: DocumentRequest) -> Self {
        let generation = request.link.generation;
        Self { request, generation }
    }

    /// Bytes that were sent of a part by that link.
    pub(super) fn length_of(&self, part: &str) -> Option<u64> {
        self.request.received_by(self.generation)?.length_of(part)
    }
}

impl<'a> Visit<'a> {
    pub(super) fn new(state: &'a AppState, request: &'a HttpRequest, token: PlainToken) -> Self {
        Self {
            state,
            request,
            token,
            locale: OnceCell::new(),
        }
    }

    /// `None` for what cannot be the address of a link.
    pub(super) fn at(state: &'a AppState, request: &'a HttpRequest, text: &str) -> Option<Self> {
        link_address::token(text).map(|token| Self::new(state, request, token))
    }

    pub(super) fn token(&self) -> &PlainToken {
        &self.token
    }

    fn portal(&self) -> &Portal {
        &self.state.portal
    }

    pub(super) async fn entry(&self) -> Result<Entry, WorkflowError> {
        let link = match link::look_up(self.portal(), &self.token).await? {
            Err(dead) => return Ok(Entry::Dead(dead)),
            Ok(link) => link,
        };
        if let Some(locale) = &link.request.locale {
            let _ = self.locale.set(locale.clone());
        }
        if !matches!(link.request.stage, Stage::Open { .. }) || link.generation != link.request.link.generation {
            return Ok(Entry::Done(Box::new(Done {
                generation: link.generation,
                request: link.request.into_inner(),
            })));
        }
        if link.request.link.passcode.is_none() || self.has_passcode_session(&link) {
            return Ok(Entry::Open(Box::new(link)));
        }
        if link.request.link_state(link.now) == LinkState::Locked {
            return Ok(Entry::Locked);
        }
        Ok(Entry::Passcode(Box::new(link)))
    }

    pub(super) fn cookie(&self, name: &str) -> Option<String> {
        self.request.cookie(&self.state.settings.cookie(name)).map(|c| c.value().to_owned())
    }

    fn make_cookie(&self, name: &str, value: String, life: Duration) -> Cookie<'static> {
        Cookie::build(self.state.settings.cookie(name), value)
            .path("/")
            .secure(self.state.settings.secure)
            .http_only(true)
            .same_site(SameSite::Lax)
            .max_age(life)
            .finish()
    }

    /// `expiry.mac`: nothing is stored, and a fresh passcode ends it.
    fn passcode_session(&self, link: &OpenedLink, until: i64) -> String {
        let hash = link.request.link.passcode.as_ref().map(|p| p.hash.as_str()).unwrap_or_default();
        let bound = [&link.request.link.hashed.0[..], hash.as_bytes(), &until.to_be_bytes()].concat();
        let mac = self.portal().secrets.index("passcode-session", &bound);
        format!("{until}.{}", data_encoding::HEXLOWER.encode(&mac))
    }

    fn has_passcode_session(&self, link: &OpenedLink) -> bool {
        let Some(cookie) = self.cookie("p") else { return false };
        let Some(until) = cookie.split('.').next().and_then(|t| t.parse::<i64>().ok()) else {
            return false;
        };
        let right = self.passcode_session(link, until);
        let same: bool = subtle::ConstantTimeEq::ct_eq(right.as_bytes(), cookie.as_bytes()).into();
        same && link.now.unix_timestamp() < until
    }

    /// Whether this browser is the one whose drop was received.
    fn was_first(&self, done: &Done) -> bool {
        let known = done.request.received_by(done.generation).and_then(|received| received.receiver);
        known.is_some() && known == self.cookie("r").map(|c| receipt_mark(&c))
    }

    pub(super) fn context(&self) -> PageContext<'a> {
        context(self.state, self.request, self.locale.get().map(String::as_str))
    }

    pub(super) fn answer_problem(&self, problem: Problem, page: Option<Markup>) -> HttpResponse {
        answer_problem(&self.context(), self.request, problem, page)
    }

    fn see_other(&self) -> HttpResponse {
        HttpResponse::SeeOther()
            .insert_header(("Location", self.context().address("")))
            .finish()
    }

    fn view(&self) -> View<'a> {
        View {
            context: self.context(),
            portal: &self.state.portal,
            host: host_of(&self.state.settings.public_url),
            resumable: Resumable::default(),
        }
    }

    /// The form as the link stands: what has arrived of it is not asked for again.
    fn form(&self, link: &OpenedLink, problem: Option<(&Problem, Option<&str>)>) -> Markup {
        let stored = |part: &&PartSpec| link.request.finished(&part.name).is_some();
        let view = View {
            resumable: Resumable {
                offered: true,
                stored: link.request.parts.iter().filter(stored).map(|p| p.name.to_string()).collect(),
            },
            ..self.view()
        };
        pages::form(&view, link, problem)
    }
}

async fn show(state: web::Data<AppState>, request: HttpRequest, token: web::Path<String>) -> HttpResponse {
    let address = guard::client_address(&request, &state);
    if !state.gate.may_look(address) {
        state.proxies.refused(address);
        return crowded(&state, &request);
    }
    if let Some(clean) = link_address::clean(&token) {
        return link_address::redirect(match link_address::language(request.query_string()) {
            Some(tag) => format!("{clean}?language={tag}"),
            None => clean,
        });
    }
    let Some(visit) = Visit::at(&state, &request, &token) else {
        return unknown(&state, &request);
    };
    match visit.entry().await {
        Err(error) => visit.answer_problem(error.into(), None),
        Ok(Entry::Dead(why)) => visit.answer_problem(dead(&state, &request, why), None),
        Ok(Entry::Locked) => visit.answer_problem(Refusal::LinkLocked.into(), None),
        Ok(Entry::Passcode(link)) => html(&request, HttpResponse::Ok(), pages::passcode(&visit.view(), &link, None)),
        Ok(Entry::Done(done)) => receipt(&visit, &done),
        Ok(Entry::Open(link)) => {
            let mut response = HttpResponse::Ok();
            if visit.cookie("r").is_none() {
                match random::array::<16>() {
                    Ok(mark) => {
                        let cookie = visit.make_cookie("r", data_encoding::HEXLOWER.encode(&mark), Duration::days(14));
                        response.cookie(cookie);
                    }
                    Err(_) => return visit.answer_problem(WorkflowError::Random.into(), None),
                }
            }
            html(&request, response, visit.form(&link, None))
        }
    }
}

fn receipt(visit: &Visit<'_>, done: &Done) -> HttpResponse {
    let received = done.request.received_by(done.generation);
    if wants_json(visit.request) {
        return HttpResponse::Ok().json(receipt_json(received.as_ref()));
    }
    html(
        visit.request,
        HttpResponse::Ok(),
        pages::receipt(&visit.view(), &done.request, received.as_ref()),
    )
}

/// What was received and when, never what it was called or what is in it.
fn receipt_json(received: Option<&Received>) -> serde_json::Value {
    let purged_at = received.and_then(|r| match r.deletion {
        Deletion::At(at) => Some(at),
        Deletion::Until(_) | Deletion::Now => None,
    });
    json!({
        "state": "received",
        "outcome": received.map(|r| r.outcome.as_str()),
        "reference": received.map(|r| r.document.receipt_reference()),
        "parts": received.map(|r| r.parts.as_slice()).unwrap_or_default(),
        "received_at": received.and_then(|r| pages::rfc3339(r.received_at)),
        "purged_at": purged_at.and_then(pages::rfc3339),
    })
}

#[derive(serde::Deserialize)]
struct PasscodeForm {
    passcode: String,
}

async fn enter_passcode(state: web::Data<AppState>, request: HttpRequest, token: web::Path<String>, payload: web::Payload) -> HttpResponse {
    let Some(visit) = Visit::at(&state, &request, &token) else {
        return unknown(&state, &request);
    };
    if let Err(problem) = guard::require_same_origin(&request, &state, false).await {
        return visit.answer_problem(problem, None);
    }
    let link = match visit.entry().await {
        Ok(Entry::Passcode(link)) => link,
        Ok(Entry::Dead(why)) => return visit.answer_problem(dead(&state, &request, why), None),
        Ok(Entry::Locked) => return visit.answer_problem(Refusal::LinkLocked.into(), None),
        Ok(Entry::Done(_) | Entry::Open(_)) => return visit.see_other(),
        Err(error) => return visit.answer_problem(error.into(), None),
    };
    let code = match read_code(&state, &request, payload).await {
        Ok(code) => code,
        Err(problem) => {
            let said = pages::localized(problem, visit.context().words);
            let page = pages::passcode(&visit.view(), &link, Some(&said));
            return visit.answer_problem(said, Some(page));
        }
    };
    match try_passcode(&state.portal, &link.request, &code).await {
        Ok(PasscodeTry::Right) => {
            let until = (link.now + PASSCODE_SESSION).unix_timestamp();
            let cookie = visit.make_cookie("p", visit.passcode_session(&link, until), PASSCODE_SESSION);
            let mut response = visit.see_other();
            match response.add_cookie(&cookie) {
                Ok(()) => response,
                Err(_) => visit.answer_problem(Problem::internal("The passcode was right, but the answer failed. Try again."), None),
            }
        }
        Ok(PasscodeTry::Wrong { left }) => {
            access_log::refused(Refused::Passcode, &request, &state);
            if left == 0 {
                return visit.answer_problem(Refusal::LinkLocked.into(), None);
            }
            let problem = Problem::forbidden(visit.context().words.count("passcode-wrong", u64::from(left))).code("passcode.wrong");
            let page = pages::passcode(&visit.view(), &link, Some(&problem));
            visit.answer_problem(problem, Some(page))
        }
        Err(error) => visit.answer_problem(error.into(), None),
    }
}

/// Six digits, with whatever somebody put between them. What cannot be a code costs no try.
async fn read_code(state: &AppState, request: &HttpRequest, payload: web::Payload) -> Result<String, Problem> {
    if is_encoded(request) {
        return Err(Problem::unsupported("Send the form as it is, without Content-Encoding."));
    }
    let mut body = payload.into_inner();
    let form = web::Form::<PasscodeForm>::from_request(request, &mut body);
    let form = tokio::time::timeout(state.pace.idle, form)
        .await
        .map_err(|_| Problem::slow("The connection became too slow. Enter the code again."))?
        .map_err(|_| Problem::malformed("The code could not be read. Enter it again."))?;
    let code: String = form.passcode.chars().filter(char::is_ascii_digit).take(12).collect();
    if code.len() == 6 {
        Ok(code)
    } else {
        Err(Problem::invalid("The code has six digits.").code("passcode.malformed"))
    }
}

fn is_encoded(request: &HttpRequest) -> bool {
    request.headers().get(CONTENT_ENCODING).is_some_and(|e| e != "identity")
}

async fn drop_documents(state: web::Data<AppState>, request: HttpRequest, token: web::Path<String>, payload: web::Payload) -> HttpResponse {
    let Some(visit) = Visit::at(&state, &request, &token) else {
        body::drain(payload).await;
        return unknown(&state, &request);
    };
    let (early, page) = match take(&visit, payload).await {
        Ok(done) => return receipt(&visit, &done),
        Err(Stopped { problem, form, rest }) => {
            if let Some(rest) = rest {
                body::drain(rest).await;
            }
            (problem, form)
        }
    };
    visit.answer_problem(early, page)
}

/// A drop that did not happen: why, the page to show, and the body that is still coming.
struct Stopped {
    problem: Problem,
    form: Option<Markup>,
    rest: Option<ThrottledBody>,
}

impl Stopped {
    fn unread(problem: impl Into<Problem>, payload: ThrottledBody) -> Self {
        Self {
            problem: problem.into(),
            form: None,
            rest: Some(payload),
        }
    }
}

async fn take(visit: &Visit<'_>, payload: web::Payload) -> Result<Done, Stopped> {
    let state = visit.state;
    let headers = visit.request.headers();
    let (mut paced, body_error) = ThrottledBody::new(payload, u64::MAX, state.pace);
    if let Err(problem) = guard::require_same_origin(visit.request, state, false).await {
        return Err(Stopped::unread(problem, paced));
    }
    let link = match visit.entry().await {
        Ok(Entry::Open(link)) => link,
        Ok(Entry::Done(done)) => {
            // Asked again after a lost answer: told so, and nothing is stored.
            if visit.was_first(&done) {
                body::drain(paced).await;
                return Ok(*done);
            }
            return Err(Stopped::unread(Refusal::AlreadyReceived, paced));
        }
        Ok(Entry::Passcode(link)) => {
            let problem = Problem::forbidden(visit.context().words.say("passcode-title")).code("passcode.required");
            let form = Some(pages::passcode(&visit.view(), &link, Some(&problem)));
            return Err(Stopped {
                problem,
                form,
                rest: Some(paced),
            });
        }
        Ok(Entry::Locked) => return Err(Stopped::unread(Refusal::LinkLocked, paced)),
        Ok(Entry::Dead(why)) => return Err(Stopped::unread(dead(state, visit.request, why), paced)),
        Err(error) => return Err(Stopped::unread(error, paced)),
    };
    if is_encoded(visit.request) {
        return Err(Stopped::unread(
            Problem::unsupported("Send the form as it is, without Content-Encoding."),
            paced,
        ));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|t| t.to_str().ok()).unwrap_or_default();
    let boundary = match form::check_type(kind) {
        Ok(boundary) => boundary,
        Err(problem) => return Err(Stopped::unread(problem, paced)),
    };
    let most = link.request.parts.iter().map(|p| p.max_bytes).sum::<u64>() + FORM_ROOM;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|l| l.to_str().ok())
        .and_then(|l| l.parse::<u64>().ok());
    if announced.is_some_and(|size| size > most) {
        let problem = too_large(&link.request, visit.context().words);
        // Of two sides nobody can know yet which one is too large.
        let part = link.request.parts.first().filter(|_| link.request.parts.len() == 1);
        let form = Some(visit.form(&link, Some((&problem, part.map(|p| p.name.as_str())))));
        return Err(Stopped {
            problem,
            form,
            rest: Some(paced),
        });
    }
    if let Err(error) = vault::can_take(&state.portal) {
        return Err(Stopped::unread(error, paced));
    }
    if !link::has_room(&state.portal, &link.request) {
        return Err(Stopped::unread(Problem::no_room(), paced));
    }
    match state.gate.enter(link.request.id, guard::client_address(visit.request, state)) {
        Ok(place) => paced.hold(place),
        Err(crowded) => return Err(Stopped::unread(crowded, paced)),
    }
    let paced = paced.limited(most);
    let parts = link.request.parts.clone();
    let receiver = visit.cookie("r").map(|cookie| receipt_mark(&cookie));
    let submission = match Submission::new(state.portal.clone(), *link, Source::Form, receiver) {
        Ok(submission) => submission,
        Err(error) => return Err(Stopped::unread(error, paced)),
    };
    let context = form::ErrorContext {
        body_error: &body_error,
        words: visit.context().words,
        parts: &parts,
    };
    let mut fields = match form::Form::new(&boundary, paced) {
        Ok(fields) => fields,
        Err(error) => {
            return Err(Stopped {
                problem: error.into(),
                form: None,
                rest: None,
            });
        }
    };
    // A strange file on which something here gives up must not take the uploads of others on this thread with it.
    let outcome = AssertUnwindSafe(form::receive(submission, &mut fields, &context))
        .catch_unwind()
        .await;
    let (problem, part) = match outcome {
        Ok(Ok(request)) => return Ok(Done::just_now(request)),
        Ok(Err(failed)) => failed,
        Err(_) => {
            fields.over = true;
            (
                Problem::malformed("The form could not be read. Files that were not received completely were not kept: try again."),
                None,
            )
        }
    };
    // Parts that were complete before the failure are kept: what is shown is the link as it stands now.
    let entry = visit.entry().await;
    // What is still coming of the form must not be taken for a new request.
    form::drain(fields).await;
    let said = pages::localized(problem.clone(), context.words);
    let form = match entry {
        // Sent twice at once by one browser, and the other one was first: it has arrived all the same.
        Ok(Entry::Done(done)) if visit.was_first(&done) => return Ok(*done),
        Ok(Entry::Open(link)) => Some(visit.form(&link, Some((&said, part.as_deref())))),
        _ => None,
    };
    Err(Stopped { problem, form, rest: None })
}

fn too_large(request: &DocumentRequest, words: &Words) -> Problem {
    let most = request.parts.iter().map(|p| p.max_bytes).max().unwrap_or(0);
    Problem::too_large(pages::problem_words::too_big(words, most))
}
