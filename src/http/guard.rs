//! What stands before every handler: headers on every answer, the client's address, same-site requests only.

use std::net::IpAddr;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::{Error, HttpRequest, ResponseError};

use super::AppState;
use super::error::Problem;
use crate::crypto::memory;
use crate::domain::agent::Actor;
use crate::domain::audit::AuditAction;

/// The applicant's page runs one external script and nothing inline; no other host is ever asked.
const PUBLIC_CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' blob: data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'";
const STAFF_CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'";
/// The whole head of a request, and its fields.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_FIELDS: usize = 64;
const PERMISSIONS: &str =
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()";

pub(crate) fn public_headers() -> DefaultHeaders {
    common()
        .add(("Content-Security-Policy", PUBLIC_CSP))
        .add(("Referrer-Policy", "no-referrer"))
}

pub(crate) fn staff_headers() -> DefaultHeaders {
    common()
        .add(("Content-Security-Policy", STAFF_CSP))
        .add(("Referrer-Policy", "same-origin"))
}

fn common() -> DefaultHeaders {
    DefaultHeaders::new()
        .add(("Cache-Control", "no-store"))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("X-Frame-Options", "DENY"))
        .add(("Cross-Origin-Opener-Policy", "same-origin"))
        .add(("Cross-Origin-Embedder-Policy", "require-corp"))
        .add(("Cross-Origin-Resource-Policy", "same-origin"))
        .add(("Strict-Transport-Security", "max-age=63072000; includeSubDomains"))
        .add(("X-Robots-Tag", "noindex, noarchive"))
        .add(("Permissions-Policy", PERMISSIONS))
}

/// The client's address: the socket's peer, unless a trusted proxy speaks for somebody ([`super::forwarded`]).
pub(crate) fn client_address(request: &HttpRequest, state: &AppState) -> IpAddr {
    match request.peer_addr() {
        Some(peer) => state.proxies.client(peer.ip(), request.headers()),
        None => IpAddr::from([0, 0, 0, 0]),
    }
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

/// What rate limits are counted by: an IPv4 address, or the /64 of an IPv6 one.
pub(crate) fn rate_limit_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let mut octets = six.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
    }
}

/// Whether a page of this very site started a state-changing request, by what its browser says.
///
/// * `Sec-Fetch-Site` alone decides where it is there: all browsers since 2023 send it, and no page can set it.
/// * Otherwise `Origin` must be one of `own`: the request's own host, or the address that the configuration gives (a proxy may have put another host in its place).
/// * Where that is missing or `null`, the same holds for `Referer`. A request with neither is refused where `strict`; the upload form, whose address is itself the
///   capability, takes it: its pages ask browsers to send no referrer, which makes the origin of old ones `null`, and programs send nothing at all.
fn same_site(headers: &HeaderMap, own: &[String], strict: bool) -> bool {
    let values = |name: &str| {
        let all: Vec<_> = headers.get_all(name).map(|v| v.to_str().unwrap_or("unreadable")).collect();
        (!all.is_empty()).then_some(all)
    };
    if let Some(sites) = values("sec-fetch-site") {
        return sites.iter().all(|site| matches!(*site, "same-origin" | "none"));
    }
    let is_own = |origin: &str| authority(origin).is_some_and(|found| own.contains(&found));
    match values("origin") {
        Some(origins) if origins != ["null"] => origins.iter().all(|origin| is_own(origin)),
        _ => match values("referer") {
            Some(pages) => pages.iter().all(|page| is_own(page)),
            None => !strict,
        },
    }
}

/// Host and port of an address, in small letters and without the port that its scheme has anyway.
fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let usual = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let host = rest
        .split(['/', '?', '#'])
        .next()
        .filter(|host| !host.is_empty())?
        .to_ascii_lowercase();
    Some(host.strip_suffix(usual).map_or(host.clone(), str::to_owned))
}

/// What counts as this site: what the request calls its host, under either scheme (a proxy may end TLS), and the address that the configuration gives.
fn own_authorities(host: Option<&str>, configured: Option<&str>) -> Vec<String> {
    let asked = host
        .into_iter()
        .flat_map(|host| [format!("https://{host}"), format!("http://{host}")]);
    asked
        .chain(configured.map(str::to_owned))
        .filter_map(|url| authority(&url))
        .collect()
}

/// The request's own word for its host: what a proxy may add beside it is not asked.
pub(crate) fn host(request: &HttpRequest) -> Option<&str> {
    let header = || request.headers().get("host").and_then(|v| v.to_str().ok());
    request.uri().authority().map(|a| a.as_str()).or_else(header)
}

/// Refuses what another site started ([`same_site`]); the audit log hears of it.
pub(crate) async fn require_same_origin(request: &HttpRequest, state: &AppState, strict: bool) -> Result<(), Problem> {
    let (listener, configured) = match strict {
        true => ("staff", state.settings.console()),
        false => ("public", Some(state.settings.public_url.clone())),
    };
    if same_site(request.headers(), &own_authorities(host(request), configured.as_deref()), strict) {
        return Ok(());
    }
    state
        .refused(Actor::Portal, AuditAction::RequestCrossSite, &[("listener", listener)])
        .await;
    Err(Problem::cross_site("This request came from another site and was not carried out."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::http::header::HeaderName;

    #[test]
    fn ipv6_neighbours_share_a_limit() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert_eq!(rate_limit_key(ip("2001:db8::1")), rate_limit_key(ip("2001:db8::ffff")));
        assert_ne!(rate_limit_key(ip("2001:db8:0:1::1")), rate_limit_key(ip("2001:db8::1")));
        assert_ne!(rate_limit_key(ip("192.0.2.1")), rate_limit_key(ip("192.0.2.2")));
    }

    fn says(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn what_a_browser_says_of_its_page_decides_as_the_table_says() {
        const FREE: (bool, bool) = (true, true);
        const TAKEN_BY_THE_FORM: (bool, bool) = (true, false);
        const REFUSED: (bool, bool) = (false, false);
        let own = own_authorities(Some("portal:8080"), Some("https://Drop.example.com"));
        let table: &[(&[(&'static str, &str)], (bool, bool))] = &[
            (&[], TAKEN_BY_THE_FORM),
            (&[("sec-fetch-site", "same-origin")], FREE),
            (&[("sec-fetch-site", "none")], FREE),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], FREE),
            (&[("sec-fetch-site", "same-site")], REFUSED),
            (&[("sec-fetch-site", "cross-site")], REFUSED),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://drop.example.com")], REFUSED),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], REFUSED),
            (&[("sec-fetch-site", "")], REFUSED),
            (&[("origin", "https://drop.example.com")], FREE),
            (&[("origin", "https://drop.example.com:443")], FREE),
            (&[("origin", "http://portal:8080")], FREE),
            (&[("origin", "https://drop.example.com:8443")], REFUSED),
            (&[("origin", "https://drop.example.com.evil.example")], REFUSED),
            (&[("origin", "https://evil.example")], REFUSED),
            (
                &[("origin", "https://evil.example"), ("referer", "https://drop.example.com/")],
                REFUSED,
            ),
            (
                &[("origin", "https://drop.example.com"), ("origin", "https://evil.example")],
                REFUSED,
            ),
            (&[("origin", "drop.example.com")], REFUSED),
            (&[("origin", "android-app://drop.example.com")], REFUSED),
            (&[("origin", "")], REFUSED),
            (&[("origin", "https://dr\u{f6}p.example.com")], REFUSED),
            (&[("origin", "null")], TAKEN_BY_THE_FORM),
            (&[("origin", "null"), ("referer", "https://evil.example/x")], REFUSED),
            (&[("origin", "null"), ("referer", "https://drop.example.com/d/x")], FREE),
            (&[("referer", "https://drop.example.com/d/x")], FREE),
            (&[("referer", "https://drop.example.com")], FREE),
            (&[("referer", "http://PORTAL:8080/sign-in?x=y")], FREE),
            (&[("referer", "https://evil.example/drop.example.com")], REFUSED),
            (&[("referer", "https://drop.example.com@evil.example/")], REFUSED),
            (&[("referer", "about:blank")], REFUSED),
        ];
        for (headers, (form, console)) in table {
            assert_eq!(same_site(&says(headers), &own, false), *form, "the form: {headers:?}");
            assert_eq!(same_site(&says(headers), &own, true), *console, "the console: {headers:?}");
        }
        // A proxy that passes the host with its port on.
        let own = own_authorities(Some("drop.example.com:443"), None);
        assert!(same_site(&says(&[("origin", "https://drop.example.com")]), &own, true));
        assert!(!same_site(&says(&[("origin", "https://drop.example.com:80")]), &own, true));
    }
}
