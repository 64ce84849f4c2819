//! Resumable uploads: one part over several connections, in the tus 1.0.0 protocol with creation, creation-with-upload, termination, expiration and checksum.
//!
//! The resource is the part itself, `/d/{token}/parts/{part}`: a reload, a second device or a restarted portal asks where it stands (HEAD) and goes on (PATCH).
//! The address that POST answers names its upload as well (`?u=`), so that a device whose upload was replaced is told so and cannot mix its bytes into another file.
//!
//! ```text
//! OPTIONS   204  what is spoken here                       POST   201  begun, in the place of what was here; the body may bring the first bytes
//! HEAD      200  where it stands, also when all is here    PATCH  204  more bytes; the answer to the last one comes when the part is sealed
//! DELETE    204  taken back: nothing goes on from it; destroyed within seconds, secret first
//!
//! 400 a header that cannot be read    403 passcode first    404 nothing begun            408 too slow    409 stands elsewhere, or somebody newer writes
//! 410 the link is dead or used        412 another version   413 too large                415 no octet stream, or not an acceptable file
//! 422 no acceptable file              423 link locked, or another device is at it       429 too much from here       460 checksum    503 no room, too much at once
//! ```
//! No offset is told before its bytes are durable. Answers without a body carry the problem's code in `Problem-Code`.

pub(crate) mod headers;

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError, web};
use futures_util::StreamExt;

use crate::domain::document::PartSpec;
use crate::domain::id::DocumentId;
use crate::domain::link::RESUME_WITHIN;
use crate::domain::token::PlainToken;
use crate::domain::transition::Refusal;
use crate::words::{self, Words};
use crate::workflow::intake::part_lock::Device;
use crate::workflow::intake::resumable::{self, Announced, Progress, ResumeError, Upload};
use crate::workflow::intake::{DeadLink, IntakeError, OpenedLink, receipt_mark};
use crate::workflow::{Portal, WorkflowError};

use super::form::{self, ErrorContext};
use super::page::localized;
use super::refused::dead;
use super::upload::{Entry, Visit};
use crate::http::body::{self, BodyError, Fault, ThrottledBody};
use crate::http::error::Problem;
use crate::http::permits::UploadPermit;
use crate::http::{AppState, guard};
use headers::{Metadata, Proof};

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,termination,expiration,checksum";
const METHODS: &str = "OPTIONS, HEAD, POST, PATCH, DELETE";
const BYTES: &str = "application/offset+octet-stream";
/// Bytes after which what came is made durable: what a cut connection can cost at most.
const SAVE_EVERY: u64 = 1 << 20;
/// A sender that is silent for this long may be gone: what came is made durable.
const SILENCE: Duration = Duration::from_secs(1);

/// Seconds after which another device may ask again whether the first one is still at it.
const BUSY_WAIT: u64 = 5;

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(web::resource("/d/{token}/parts/{part}").default_service(web::to(serve)));
}

#[derive(serde::Deserialize)]
struct Query {
    u: Option<String>,
}

async fn serve(
    state: web::Data<AppState>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    query: Option<web::Query<Query>>,
    payload: web::Payload,
) -> HttpResponse {
    let method = headers::method(&request);
    if method == Method::OPTIONS {
        return options(&state);
    }
    let (mut body, body_error) = ThrottledBody::new(payload, u64::MAX, state.pace);
    let call = Call {
        state: &state,
        request: &request,
        token: &path.0,
        visit: PlainToken::parse(&path.0).map(|token| Visit::new(&state, &request, token)),
        part: &path.1,
        spec: OnceCell::new(),
        // An id that is none belongs to no upload.
        wanted: query.and_then(|q| q.into_inner().u).map(|u| DocumentId::parse(&u)),
        body_error,
    };
    let mut response = match call.answer(&method, &mut body).await {
        Ok(response) => response,
        Err(Failed { problem, offset }) => {
            body::drain(body).await;
            let problem = match call.words() {
                words if words.tag == "en" => problem,
                words => localized(problem, words),
            };
            let mut response = problem.error_response();
            if let Some(offset) = offset {
                headers::set(&mut response, "upload-offset", &offset.to_string());
            }
            headers::set(&mut response, "problem-code", &problem.code);
            response
        }
    };
    headers::set(&mut response, "tus-resumable", VERSION);
    if response.status().as_u16() == 412 {
        headers::set(&mut response, "tus-version", VERSION);
    }
    response
}

fn options(state: &AppState) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ALLOW, METHODS))
        .insert_header(("Tus-Resumable", VERSION))
        .insert_header(("Tus-Version", VERSION))
        .insert_header(("Tus-Extension", EXTENSIONS))
        .insert_header(("Tus-Max-Size", state.portal.policy.max_file.to_string()))
        .insert_header(("Tus-Checksum-Algorithm", headers::ALGORITHMS))
        .finish()
}

struct Call<'a> {
    state: &'a AppState,
    request: &'a HttpRequest,
    token: &'a str,
    /// Absent for what cannot be a token.
    visit: Option<Visit<'a>>,
    part: &'a str,
    /// What the part takes, once the link is known.
    spec: OnceCell<PartSpec>,
    wanted: Option<Option<DocumentId>>,
    body_error: BodyError,
}

/// What a call comes to.
enum Entered {
    Open(Box<(OpenedLink, PartSpec)>),
    /// The whole document is here; so many bytes were sent of this part.
    Received {
        length: u64,
    },
}

/// What did not happen and why, and where the upload stands.
struct Failed {
    problem: Problem,
    offset: Option<u64>,
}

impl Failed {
    fn of(problem: impl Into<Problem>) -> Self {
        Self {
            problem: problem.into(),
            offset: None,
        }
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::of(problem)
    }
}

impl Call<'_> {
    async fn answer(&self, method: &Method, body: &mut ThrottledBody) -> Result<HttpResponse, Failed> {
        let link = match self.enter(method).await? {
            Entered::Open(link) => *link,
            Entered::Received { length } => return Ok(stands_at(length, length).finish()),
        };
        match *method {
            Method::HEAD => self.stand(&link).await,
            Method::POST => self.create(link, body).await,
            Method::PATCH => self.patch(link, body).await,
            _ => self.remove(&link).await,
        }
    }

    /// Version, site, link and passcode: nothing of the body is looked at before.
    async fn enter(&self, method: &Method) -> Result<Entered, Failed> {
        if ![Method::HEAD, Method::POST, Method::PATCH, Method::DELETE].contains(method) {
            return Err(Problem::method(METHODS).into());
        }
        if self.header("tus-resumable") != Some(VERSION) {
            return Err(Problem::tus_version(format!("This address speaks tus {VERSION}: send Tus-Resumable: {VERSION}.")).into());
        }
        if *method != Method::HEAD {
            guard::require_same_origin(self.request, self.state, false).await?;
        }
        let Some(visit) = &self.visit else {
            return Err(dead(self.state, self.request, DeadLink::Unknown).into());
        };
        let link = match visit.entry().await.map_err(Failed::of)? {
            Entry::Open(link) => *link,
            // Whoever lost the last answer asks where the upload stands: it has arrived, as the receipt says to everybody with the link.
            Entry::Done(done) => match done.length_of(self.part).filter(|_| *method == Method::HEAD) {
                Some(length) => return Ok(Entered::Received { length }),
                None => return Err(gone(Refusal::AlreadyReceived).into()),
            },
            Entry::Passcode(_) => {
                return Err(
                    Problem::forbidden("Enter the code that you were told before you send the document.")
                        .code("passcode.required")
                        .into(),
                );
            }
            Entry::Locked => return Err(Failed::of(Refusal::LinkLocked)),
            Entry::Dead(why) => return Err(dead(self.state, self.request, why).into()),
        };
        match link.request.parts.iter().find(|p| p.name.as_str() == self.part).cloned() {
            Some(part) => {
                let _ = self.spec.set(part.clone());
                Ok(Entered::Open(Box::new((link, part))))
            }
            None => Err(Problem::not_found("There is no such part.").code("part.unknown").into()),
        }
    }

    /// In the language of whoever sends: known only when the link is.
    fn words(&self) -> &'static Words {
        self.visit.as_ref().map_or_else(words::english, |visit| visit.context().words)
    }

    fn portal(&self) -> &Arc<Portal> {
        &self.state.portal
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|v| v.to_str().ok())
    }

    /// A header with a number of bytes.
    fn number(&self, name: &str) -> Result<u64, Failed> {
        let number = self.header(name).and_then(headers::number);
        number.ok_or_else(|| Problem::malformed(format!("{name} must be there, as a number of bytes.")).into())
    }

    fn announced(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str()).and_then(headers::number)
    }

    /// The browser by the mark that its receipt will be known by.
    fn device(&self) -> Device {
        self.visit.as_ref().and_then(|v| v.cookie("r")).map(|c| receipt_mark(&c))
    }

    fn token(&self) -> Result<PlainToken, Failed> {
        PlainToken::parse(self.token).ok_or_else(none)
    }

    /// The upload that the caller means, unless that is another one than there is.
    fn is_wanted(&self, upload: Option<DocumentId>) -> bool {
        match (self.wanted, upload) {
            (Some(wanted), Some(upload)) => wanted == Some(upload),
            _ => true,
        }
    }

    async fn stand(&self, (link, part): &(OpenedLink, PartSpec)) -> Result<HttpResponse, Failed> {
        let standing = resumable::standing(self.portal(), &link.request, part).await.map_err(Failed::of)?;
        let standing = standing.filter(|s| self.is_wanted(s.upload)).ok_or_else(none)?;
        Ok(stands_at(standing.offset, standing.length)
            .insert_header(("Upload-Expires", headers::date(standing.expires_at)))
            .finish())
    }

    async fn create(&self, (link, part): (OpenedLink, PartSpec), body: &mut ThrottledBody) -> Result<HttpResponse, Failed> {
        if self.header("upload-defer-length").is_some() {
            return Err(Problem::malformed("Say the whole length in Upload-Length; it cannot be context later here.").into());
        }
        let length = self.number("Upload-Length")?;
        let metadata = match self.header("upload-metadata") {
            None => Metadata::default(),
            Some(text) => Metadata::parse(text).ok_or_else(|| {
                Problem::malformed("Upload-Metadata cannot be read: it is a list of keys with base64 values, separated by commas.")
            })?,
        };
        let brings = self.brings_bytes()?;
        let proof = self.proof()?;
        body.hold(self.place(&link)?);
        let token = self.token()?;
        let announced = Announced {
            length,
            file_name: &metadata.file_name,
            declared: &metadata.file_type,
            photos: &metadata.photos,
            device: self.device(),
        };
        let created = resumable::create(self.portal(), &link, &token, &part, &announced).await;
        let upload = match created {
            Ok(upload) => upload,
            Err(error) => return Err(self.failed(error).await),
        };
        let expires = headers::date((link.now + RESUME_WITHIN).min(link.request.link.expires_at));
        let mut response = HttpResponse::Created();
        response.insert_header((LOCATION, format!("/d/{}/parts/{}?u={upload}", self.token, self.part)));
        response.insert_header(("Upload-Expires", expires));
        if !brings {
            return Ok(response.finish());
        }
        // As it stands with the upload that was just begun.
        let Entered::Open(entered) = self.enter(&Method::POST).await? else {
            return Err(gone(Refusal::AlreadyReceived).into());
        };
        let (link, part) = *entered;
        let begun = self.take_over(link, &part, 0, Some(upload)).await?;
        let offset = self.receive(begun, body, proof).await?;
        Ok(response.insert_header(("Upload-Offset", offset.to_string())).finish())
    }

    async fn patch(&self, (link, part): (OpenedLink, PartSpec), body: &mut ThrottledBody) -> Result<HttpResponse, Failed> {
        if !self.brings_bytes()? {
            return Err(Problem::unsupported(format!("Send the bytes as {BYTES}.")).into());
        }
        let offset = self.number("Upload-Offset")?;
        let proof = self.proof()?;
        body.hold(self.place(&link)?);
        let expires = (self.portal().now() + RESUME_WITHIN).min(link.request.link.expires_at);
        let wanted = match self.wanted {
            None => None,
            Some(Some(wanted)) => Some(wanted),
            Some(None) => return Err(none()),
        };
        let upload = match self.take_over(link, &part, offset, wanted).await {
            Ok(upload) => upload,
            // All of it is here already, and nothing more was sent: the answer was lost.
            Err(failed)
                if failed.offset == Some(offset) && self.announced().unwrap_or(0) == 0 && self.header("transfer-encoding").is_none() =>
            {
                return Ok(no_content(offset).finish());
            }
            Err(failed) => return Err(failed),
        };
        let offset = self.receive(upload, body, proof).await?;
        Ok(no_content(offset)
            .insert_header(("Upload-Expires", headers::date(expires)))
            .finish())
    }

    async fn remove(&self, (link, part): &(OpenedLink, PartSpec)) -> Result<HttpResponse, Failed> {
        let upload = link.request.staging(&part.name).map(|(intake, _)| intake.document);
        if !self.is_wanted(upload) {
            return Err(none());
        }
        match resumable::remove(self.portal(), &link.request, part).await {
            Ok(true) => Ok(HttpResponse::NoContent().finish()),
            Ok(false) => Err(none()),
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// Whether the body is bytes of the file; any other body is refused.
    fn brings_bytes(&self) -> Result<bool, Failed> {
        if self.header(CONTENT_ENCODING.as_str()).is_some_and(|e| e != "identity") {
            return Err(Problem::unsupported("Send the bytes as they are, without Content-Encoding.").into());
        }
        let kind = self
            .header(CONTENT_TYPE.as_str())
            .map(|kind| kind.split(';').next().unwrap_or_default().trim());
        match kind {
            Some(kind) if kind.eq_ignore_ascii_case(BYTES) => Ok(true),
            _ if self.announced().unwrap_or(0) == 0 && self.header("transfer-encoding").is_none() => Ok(false),
            _ => Err(Problem::unsupported(format!("Send the bytes as {BYTES}.")).into()),
        }
    }

    fn proof(&self) -> Result<Option<Proof>, Failed> {
        self.header("upload-checksum").map(Proof::parse).transpose().map_err(|()| {
            let fix = format!(
                "Upload-Checksum must be one of {}, a space, and the digest in base64.",
                headers::ALGORITHMS
            );
            Problem::malformed(fix).into()
        })
    }

    fn place(&self, link: &OpenedLink) -> Result<UploadPermit, Failed> {
        let address = guard::client_address(self.request, self.state);
        self.state.gate.enter(link.request.id, address).map_err(Failed::of)
    }

    async fn take_over(&self, link: OpenedLink, part: &PartSpec, offset: u64, wanted: Option<DocumentId>) -> Result<Upload, Failed> {
        let token = self.token()?;
        let taken = Upload::take_over(self.portal(), link, &token, part, offset, wanted, self.device()).await;
        match taken {
            Err(error) => Err(self.failed(error).await),
            Ok(upload) if self.announced().is_some_and(|size| size > upload.left()) => Err(too_long()),
            Ok(upload) => Ok(upload),
        }
    }

    /// From the socket into the upload. Returns what is durable.
    async fn receive(&self, mut upload: Upload, body: &mut ThrottledBody, mut proof: Option<Proof>) -> Result<u64, Failed> {
        body.limit(upload.left());
        if proof.is_some() {
            upload.wait_for_proof();
        }
        loop {
            let piece = tokio::select! {
                biased;
                () = upload.over() => return Err(self.failed(ResumeError::Superseded).await),
                piece = tokio::time::timeout(SILENCE, body.next()) => piece,
            };
            let step = match piece {
                Err(_) => upload.save().await,
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(self.broken(upload, proof.is_some()).await),
                Ok(Some(Ok(bytes))) => {
                    if let Some(proof) = &mut proof {
                        proof.update(&bytes);
                    }
                    match upload.push(&bytes).await {
                        Ok(()) if upload.unsaved() >= SAVE_EVERY => upload.save().await,
                        other => other,
                    }
                }
            };
            if let Err(error) = step {
                return Err(self.failed(error).await);
            }
        }
        if proof.is_some_and(|proof| !proof.fits()) {
            upload.forget();
            return Err(Problem::checksum("The bytes are not those of the checksum. Nothing of them was kept: send them again.").into());
        }
        upload.proved();
        match upload.end().await {
            Ok(Progress::At(offset)) => Ok(offset),
            Ok(Progress::Sealed { length }) => Ok(length),
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// The body ended before its end. What came is kept, and nobody may be there to hear of it.
    async fn broken(&self, upload: Upload, unproved: bool) -> Failed {
        let fault = self.body_error.fault();
        if unproved || fault == Some(Fault::TooLarge) {
            upload.forget();
        } else if let Err(error) = upload.end().await {
            return self.failed(error).await;
        }
        match fault {
            Some(Fault::TooLarge) => too_long(),
            Some(Fault::TooSlow) => Problem::slow("The connection became too slow. What came is kept: go on from there.").into(),
            _ => Problem::malformed("The connection broke off. What came is kept: go on from there.")
                .code("upload.cut_off")
                .into(),
        }
    }

    /// That the link takes nothing any more, if so.
    async fn ended(&self) -> Option<Failed> {
        match self.visit.as_ref()?.entry().await {
            Ok(Entry::Done(_)) => Some(gone(Refusal::AlreadyReceived).into()),
            Ok(Entry::Dead(why)) => Some(dead(self.state, self.request, why).into()),
            Ok(Entry::Open(_) | Entry::Passcode(_) | Entry::Locked) | Err(_) => None,
        }
    }

    /// Every failure with its words. Whoever was stopped because the link died is told that.
    async fn failed(&self, error: ResumeError) -> Failed {
        match error {
            // It may have arrived while this one waited for its turn.
            ResumeError::None => self.ended().await.unwrap_or_else(none),
            ResumeError::Offset { at } => Failed {
                offset: Some(at),
                ..Failed::of(Problem::conflict(format!("The upload stands at {at}. Go on from there.")).code("upload.offset"))
            },
            ResumeError::TooLong => too_long(),
            ResumeError::Busy => Problem::busy("Another device is sending this just now. Try again in a few seconds.")
                .after(BUSY_WAIT)
                .into(),
            ResumeError::Superseded => self.ended().await.unwrap_or_else(|| {
                Problem::conflict("This part is being sent from elsewhere. Ask where it stands, and go on from there.")
                    .code("upload.superseded")
                    .into()
            }),
            ResumeError::Intake(IntakeError::Workflow(WorkflowError::Refused(refusal))) => gone(refusal).into(),
            ResumeError::Intake(error) => {
                let context = ErrorContext {
                    body_error: &self.body_error,
                    words: self.words(),
                    parts: self.spec.get().map_or(&[], std::slice::from_ref),
                };
                form::map_error(error, &context).0.into()
            }
        }
    }
}

/// A used link takes nothing any more: for an upload it is as gone as an expired one.
pub(super) fn gone(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::AlreadyReceived => Problem::gone("The document was already received through this link.").code("link.already_received"),
        other => other.into(),
    }
}

fn none() -> Failed {
    Problem::not_found("No upload of this part was begun, or it is gone. Begin one.")
        .code("upload.none")
        .into()
}

fn too_long() -> Failed {
    Problem::too_large("More bytes came than the upload was announced to have. Begin it again.")
        .code("upload.too_long")
        .into()
}

fn stands_at(offset: u64, length: u64) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header(("Upload-Offset", offset.to_string()))
        .insert_header(("Upload-Length", length.to_string()))
        .insert_header(("Cache-Control", "no-store"));
    response
}

fn no_content(offset: u64) -> HttpResponseBuilder {
    let mut response = HttpResponse::NoContent();
    response.insert_header(("Upload-Offset", offset.to_string()));
    response
}
