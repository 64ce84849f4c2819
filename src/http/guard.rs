//! What stands before every handler: headers on every answer, the client's address, same-site requests only.

use std::net::IpAddr;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::{Error, HttpRequest, ResponseError};

use super::error::Problem;
use super::{State, Trusted};
use crate::crypto::memory;
use crate::domain::agent::Actor;

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

pub fn public_headers() -> DefaultHeaders {
    common()
        .add(("Content-Security-Policy", PUBLIC_CSP))
        .add(("Referrer-Policy", "no-referrer"))
}

pub fn staff_headers() -> DefaultHeaders {
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

/// The client's address: the socket's peer, unless that is a trusted proxy; then `X-Forwarded-For` is walked from the right, past every trusted hop.
pub fn client_address(request: &HttpRequest, state: &State) -> IpAddr {
    let Some(peer) = request.peer_addr() else {
        return IpAddr::from([0, 0, 0, 0]);
    };
    forwarded(peer.ip(), request.headers(), &state.trusted)
}

fn forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[Trusted]) -> IpAddr {
    let believed = |address: IpAddr| trusted.iter().any(|is| is(address));
    if !believed(peer) {
        return peer.to_canonical();
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").filter_map(|v| v.to_str().ok()).collect();
    let joined = lines.join(",");
    let mut client = peer;
    for hop in joined.rsplit(',').map(str::trim) {
        let bare = hop.strip_prefix('[').and_then(|h| h.split(']').next()).unwrap_or(hop);
        // An unreadable hop ends the chain: what stands left of it may be anybody's invention.
        let Ok(address) = bare.parse::<IpAddr>() else { break };
        client = address;
        if !believed(address) {
            break;
        }
    }
    client.to_canonical()
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
pub async fn modest_head(
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
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let mut octets = six.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
    }
}

/// Refuses a state-changing request that another site started. Browsers that send no `Sec-Fetch-Site` must send our own `Origin`,
/// where `strict`; the upload form, whose address is itself the capability, tolerates a missing or `null` one (S8 of the crypto notes: `no-referrer` makes it `null`).
fn same_site(request: &HttpRequest, strict: bool) -> Result<(), Problem> {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let refused = || Err(Problem::cross_site("This request came from another site and was not carried out."));
    match header("sec-fetch-site") {
        Some("same-origin" | "none") => Ok(()),
        Some(_) => refused(),
        None => match header("origin") {
            None | Some("null") if !strict => Ok(()),
            None => refused(),
            Some(origin) => {
                let host = host(request);
                let own = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
                if own.is_some() && own == host { Ok(()) } else { refused() }
            }
        },
    }
}

/// The request's own word for its host: what a proxy may add beside it is not asked.
pub fn host(request: &HttpRequest) -> Option<&str> {
    let header = || request.headers().get("host").and_then(|v| v.to_str().ok());
    request.uri().authority().map(|a| a.as_str()).or_else(header)
}

/// [`same_site`], and the audit log hears of a refusal.
pub async fn from_here(request: &HttpRequest, state: &State, strict: bool) -> Result<(), Problem> {
    let refused = same_site(request, strict);
    if refused.is_err() {
        let door = if strict { "staff" } else { "public" };
        state.refused(Actor::Portal, "request.cross_site", &[("door", door)]).await;
    }
    refused
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::http::header::HeaderName;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(line).unwrap());
        }
        map
    }

    #[test]
    fn forwarded_addresses_are_believed_from_the_right_and_only_from_proxies() {
        let proxy: Vec<Trusted> = vec![Box::new(|a| a == IpAddr::from([10, 0, 0, 1]) || a == IpAddr::from([10, 0, 0, 2]))];
        let near = IpAddr::from([10, 0, 0, 1]);
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert_eq!(
            forwarded(ip("198.51.100.7"), &headers(&["1.2.3.4"]), &proxy),
            ip("198.51.100.7"),
            "a stranger's header is nothing"
        );
        assert_eq!(
            forwarded(near, &headers(&["1.2.3.4, 203.0.113.9"]), &proxy),
            ip("203.0.113.9"),
            "not the leftmost"
        );
        assert_eq!(
            forwarded(near, &headers(&["9.9.9.9", "203.0.113.9, 10.0.0.2"]), &proxy),
            ip("203.0.113.9"),
            "all lines, past trusted hops"
        );
        assert_eq!(
            forwarded(near, &headers(&["junk, 203.0.113.9, 10.0.0.2"]), &proxy),
            ip("203.0.113.9")
        );
        assert_eq!(forwarded(near, &headers(&["203.0.113.9, junk"]), &proxy), near);
        assert_eq!(forwarded(near, &headers(&[]), &proxy), near);
        assert_eq!(forwarded(near, &headers(&["[2001:db8::1]:4711"]), &proxy), ip("2001:db8::1"));
    }

    #[test]
    fn ipv6_neighbours_share_a_limit() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert_eq!(neighbourhood(ip("2001:db8::1")), neighbourhood(ip("2001:db8::ffff")));
        assert_ne!(neighbourhood(ip("2001:db8:0:1::1")), neighbourhood(ip("2001:db8::1")));
        assert_ne!(neighbourhood(ip("192.0.2.1")), neighbourhood(ip("192.0.2.2")));
    }
}
