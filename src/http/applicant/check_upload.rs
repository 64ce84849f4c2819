//! `/d/check`: a test upload through whatever stands in front of the portal, and what the portal saw of it. It stands beside the links, so that the rules of a proxy for links are the
//! rules for it.
//!
//! * Only with a pass of a check ([`crate::http::check`]); to everybody else the address is a link that nobody has, and counts as a guess.
//! * Bytes are counted and forgotten as they come: nothing is inspected, sealed, stored or logged. At most what the largest part takes, at the usual pace, two minutes, one at a time.

use std::time::{Duration, Instant};

use actix_web::http::Version;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use futures_util::StreamExt;
use serde_json::json;

use super::refused::unknown;
use crate::crypto::check::CheckPurpose;
use crate::http::body::{self, BodyPace, Fault, ThrottledBody};
use crate::http::check::NotLetIn;
use crate::http::error::Problem;
use crate::http::{AppState, address};

pub(crate) const PATH: &str = "/d/check";
/// Repeats the pass's random bytes, also where an answer has no body.
pub(crate) const HEADER: &str = "nightdrop-check";
/// What a form has around its files, and room.
const AROUND: u64 = 2 << 20;
const WHOLE: Duration = Duration::from_secs(120);

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    // Any method: whether all of them come through is a part of the question.
    routes.service(web::resource(PATH).default_service(web::to(receive)));
}

async fn receive(state: web::Data<AppState>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let now = state.portal.now().unix_timestamp();
    let entered = state
        .checks
        .enter(request.headers(), &state.portal.secrets, CheckPurpose::Upload, now);
    let pass = match entered {
        Ok(pass) => pass,
        Err(refused) => {
            body::drain(payload).await;
            return match refused {
                NotLetIn::Stranger => unknown(&state, &request),
                NotLetIn::Refused(problem) => problem.error_response(),
            };
        }
    };
    let turn = match state.checks.turn() {
        Ok(turn) => turn,
        Err(problem) => return problem.error_response(),
    };
    let pace = BodyPace {
        whole: WHOLE.min(state.pace.whole),
        ..state.pace
    };
    let (mut came, fault) = ThrottledBody::new(payload, state.portal.policy.max_file + AROUND, pace);
    let began = Instant::now();
    let (mut bytes, mut first, mut last) = (0_u64, None, began);
    while let Some(Ok(piece)) = came.next().await {
        bytes += piece.len() as u64;
        last = Instant::now();
        first.get_or_insert(last);
    }
    drop(turn);
    if let Some(fault) = fault.fault() {
        return match fault {
            Fault::TooLarge => Problem::too_large("The test upload is larger than any document that is taken."),
            Fault::TooSlow => Problem::slow("The test upload came too slowly."),
            Fault::CutOff => Problem::malformed("The test upload was cut off."),
        }
        .error_response();
    }
    let first = first.unwrap_or(began);
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let hops = request.peer_addr().map(|peer| state.proxies.hops(peer.ip(), request.headers()));
    let protocol = match request.version() {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        _ => "other",
    };
    let name = pass.name();
    let mut answer = HttpResponse::Ok();
    if let Ok(value) = HeaderValue::from_str(&name) {
        answer.insert_header((HeaderName::from_static(HEADER), value));
    }
    answer.json(json!({
        "nonce": name,
        "bytes": bytes,
        "first_ms": ms(first.duration_since(began)),
        "span_ms": ms(last.duration_since(first)),
        "protocol": protocol,
        "host": address::host(&request),
        "peer": hops.as_ref().map(|hops| hops.peer.to_string()),
        "peer_is_trusted": hops.as_ref().is_some_and(|hops| hops.is_trusted),
        "client": hops.as_ref().map(|hops| hops.client.to_string()),
        "header": hops.as_ref().map(|hops| hops.header),
        "named": hops.as_ref().and_then(|hops| hops.named).map(|address| address.to_string()),
        "named_otherwise": hops.as_ref().and_then(|hops| hops.named_otherwise).map(|address| address.to_string()),
    }))
}
