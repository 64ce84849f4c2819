//! The sandbox's routes. An upload is read to its end (hashed, never kept) before anything is decided, so that what the portal sees is what the book says.

use std::io;
use std::time::{Duration, Instant};

use actix_multipart::Multipart;
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{self, Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use data_encoding::HEXLOWER;
use futures_util::stream::{StreamExt, TryStreamExt, once, repeat};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::book::{Committed, PartSeen, Upload};
use super::script::{self, Reply, WORDS};
use super::{State, callback};

const MAX_FIELD: u64 = 256 << 20;
const MAX_FIELDS: usize = 16;

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/v1/account", web::get().to(account))
        .route("/v1/applicants/{applicant}/missing", web::get().to(missing))
        .route("/v1/applicants/{applicant}/documents", web::get().to(list))
        .route("/v1/applicants/{applicant}/documents", web::post().to(upload))
        .route("/v1/documents/{id}", web::get().to(look_up))
        .route("/received", web::get().to(received))
        .route("/behaviour", web::get().to(planned))
        .route("/behaviour", web::post().to(plan));
}

async fn account(state: Data<State>, request: HttpRequest) -> HttpResponse {
    if !signed_in(&state, &request) {
        refuse()
    } else {
        HttpResponse::Ok().json(json!({"account": "sandbox"}))
    }
}

async fn missing(state: Data<State>, request: HttpRequest, applicant: Path<String>) -> HttpResponse {
    if !signed_in(&state, &request) {
        refuse()
    } else {
        HttpResponse::Ok().json(state.book.missing(&applicant, Instant::now()))
    }
}

async fn list(state: Data<State>, request: HttpRequest, applicant: Path<String>) -> HttpResponse {
    if !signed_in(&state, &request) {
        refuse()
    } else {
        HttpResponse::Ok().json(state.book.list(&applicant, Instant::now()))
    }
}

async fn look_up(state: Data<State>, request: HttpRequest, id: Path<String>) -> HttpResponse {
    if !signed_in(&state, &request) {
        return refuse();
    }
    let Some((document, telling)) = state.book.look_up(&id, Instant::now()) else {
        return problem(StatusCode::NOT_FOUND, "not_found");
    };
    callback::tell(&state, telling);
    HttpResponse::Ok().json(document)
}

async fn received(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(state.book.received())
}

async fn planned(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"left": state.book.planned()}))
}

async fn plan(state: Data<State>, body: Bytes) -> HttpResponse {
    let parsed = serde_json::from_slice::<Value>(&body)
        .map_err(|_| "the body is JSON".to_owned())
        .and_then(|body| script::parse(&body));
    match parsed {
        Ok(entries) => {
            let count = entries.len();
            state.book.plan(entries);
            HttpResponse::Ok().json(json!({"planned": count}))
        }
        Err(error) => {
            let accepted: Value = WORDS.iter().map(|(word, does)| json!({"entry": word, "does": does})).collect();
            HttpResponse::UnprocessableEntity().json(json!({"code": "behaviour.unknown", "detail": error, "accepted": accepted}))
        }
    }
}

async fn upload(state: Data<State>, request: HttpRequest, applicant: Path<String>, form: Multipart) -> HttpResponse {
    if !signed_in(&state, &request) {
        return refuse();
    }
    let entry = state.book.next_entry();
    let key = request
        .headers()
        .get("idempotency-key")
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let Some(upload) = read(form, applicant.into_inner(), key.clone()).await else {
        return problem(StatusCode::BAD_REQUEST, "not_readable");
    };
    if !entry.slow.is_zero() {
        tokio::time::sleep(entry.slow).await;
    }
    if key.as_deref().is_some_and(|key| state.book.is_stuck(key)) {
        let mut answer = problem(StatusCode::INTERNAL_SERVER_ERROR, "stuck");
        answer
            .headers_mut()
            .insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
        return answer;
    }
    if !entry.reply.commits() {
        return without_effect(&state, entry.reply, key);
    }
    let document = match state.book.commit(upload, &entry, Instant::now()) {
        Committed::New(document, telling) => {
            callback::tell(&state, telling);
            document
        }
        Committed::Again(document) => document,
        Committed::OtherBytes => return problem(StatusCode::CONFLICT, "idempotency_mismatch"),
    };
    with_effect(entry.reply, document)
}

fn without_effect(state: &State, reply: Reply, key: Option<String>) -> HttpResponse {
    let later = |status, seconds: u64| {
        HttpResponse::build(status)
            .insert_header(("Retry-After", seconds.to_string()))
            .json(json!({"code": "later"}))
    };
    match reply {
        Reply::Unavailable(seconds) => later(StatusCode::SERVICE_UNAVAILABLE, seconds),
        Reply::TooMany(seconds) => later(StatusCode::TOO_MANY_REQUESTS, seconds),
        Reply::Refuse => problem(StatusCode::BAD_REQUEST, "refused"),
        Reply::Unauthorized => refuse(),
        Reply::Drop => hang_up(),
        Reply::Sticky500 => {
            if let Some(key) = key {
                state.book.stick(key);
            }
            problem(StatusCode::INTERNAL_SERVER_ERROR, "stuck")
        }
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    }
}

fn with_effect(reply: Reply, mut document: Value) -> HttpResponse {
    match reply {
        Reply::CommitThenDrop => hang_up(),
        Reply::CommitThen500 => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        Reply::Duplicate => {
            document["code"] = "duplicate".into();
            HttpResponse::Conflict().json(document)
        }
        Reply::Garbage => HttpResponse::Ok()
            .content_type("text/html")
            .body("<!doctype html><title>ok</title>{\"id\":"),
        Reply::Endless => HttpResponse::Ok().content_type("application/json").streaming(endless()),
        _ => HttpResponse::Created().json(document),
    }
}

/// Blanks for ever, with a breath between them so that the server lives on.
fn endless() -> impl futures_util::Stream<Item = Result<Bytes, io::Error>> {
    repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Bytes::from_static(&[b' '; 16_384]))
    })
}

/// A body that breaks before its first byte: the server closes the connection.
fn hang_up() -> HttpResponse {
    let broken = once(async { Err::<Bytes, _>(io::Error::other("told to hang up")) });
    HttpResponse::Ok().force_close().body(SizedStream::new(1, broken.boxed_local()))
}

/// Reads the form to its end. `None` for what is no form with a `document` and at least one file.
async fn read(mut form: Multipart, applicant: String, key: Option<String>) -> Option<Upload> {
    let (mut document, mut parts) = (None, Vec::new());
    let mut everything = Sha256::new();
    while let Some(mut field) = form.try_next().await.ok()? {
        let disposition = field.content_disposition()?;
        let name = disposition.get_name()?.to_owned();
        let file = disposition.get_filename().map(str::to_owned);
        let mut digest = Sha256::new();
        let (mut size, mut text) = (0u64, Vec::new());
        while let Some(bytes) = field.try_next().await.ok()? {
            size += bytes.len() as u64;
            digest.update(&bytes);
            if file.is_none() && text.len() < 256 {
                text.extend_from_slice(&bytes);
            }
            if size > MAX_FIELD {
                return None;
            }
        }
        let digest: [u8; 32] = digest.finalize().into();
        everything.update(json!([name, file, size, HEXLOWER.encode(&digest)]).to_string());
        match file {
            Some(file) => parts.push(PartSeen {
                part: name,
                file,
                sha256: HEXLOWER.encode(&digest),
                size,
            }),
            None if name == "document" => document = Some(String::from_utf8(text).ok()?),
            None => {}
        }
        if parts.len() > MAX_FIELDS {
            return None;
        }
    }
    let document = document.filter(|_| !parts.is_empty())?;
    everything.update(json!([applicant, document]).to_string());
    Some(Upload {
        applicant,
        document,
        parts,
        key,
        digest: everything.finalize().into(),
    })
}

fn signed_in(state: &State, request: &HttpRequest) -> bool {
    let given = request.headers().get("authorization").map_or(&b""[..], |v| v.as_bytes());
    let expected = format!("Bearer {}", state.api_key.expose());
    bool::from(given.ct_eq(expected.as_bytes()))
}

fn refuse() -> HttpResponse {
    problem(StatusCode::UNAUTHORIZED, "unauthorized")
}

fn problem(status: StatusCode, code: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({"code": code}))
}
