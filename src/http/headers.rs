//! Headers: those of every answer, and how many of them a request may have.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::{Error, ResponseError};

use super::error::Problem;
use crate::crypto::memory;

/// The applicant's page runs one external script and nothing inline; no other host is ever asked.
const PUBLIC_CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' blob: data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'";
const STAFF_CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'";
/// The whole head of a request, and its fields.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_FIELDS: usize = 64;
const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

/// What every answer of both listeners has.
const COMMON: [(&str, &str); 9] = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),
    ("X-Robots-Tag", "noindex, noarchive"),
    ("Permissions-Policy", PERMISSIONS),
];

/// What an answer of the public listener has, unless its handler says otherwise.
pub(crate) fn of_public_answers() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMON
        .into_iter()
        .chain([("Content-Security-Policy", PUBLIC_CSP), ("Referrer-Policy", "no-referrer")])
}

pub(crate) fn public_headers() -> DefaultHeaders {
    of_public_answers().fold(DefaultHeaders::new(), DefaultHeaders::add)
}

pub(crate) fn staff_headers() -> DefaultHeaders {
    COMMON
        .into_iter()
        .chain([("Content-Security-Policy", STAFF_CSP), ("Referrer-Policy", "same-origin")])
        .fold(DefaultHeaders::new(), DefaultHeaders::add)
}

/// Gives every header value bytes of its own. As actix reads them they are slices of the connection's buffer, in which the first bytes of the body lie too; and
/// heads are kept for later requests as they are, so that a passport's first 128 KiB would stay in memory until the next request of this thread.
fn detach(request: &mut ServiceRequest) {
    request.headers_mut().retain(|_, value| {
        if let Ok(own) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = own;
        }
        true
    });
}

/// Refuses a head that no browser and no provider sends. (What actix reads at most before it comes here is 128 KiB and 96 fields.)
pub(crate) async fn limit_request_head(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    detach(&mut request);
    let headers = request.headers();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let problem = if target + size > HEAD_BYTES {
        Some(Problem::head_too_large("The head of the request is larger than 16 KiB."))
    } else if headers.len() > HEAD_FIELDS {
        Some(Problem::malformed("The request has more than 64 header fields."))
    } else {
        None
    };
    match problem {
        None => {
            let answer = next.call(request).await;
            // What the handlers moved about.
            memory::wipe_stack();
            Ok(answer?.map_into_left_body())
        }
        Some(problem) => Ok(request.into_response(problem.error_response()).map_into_right_body()),
    }
}
