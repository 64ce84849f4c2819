//! What stands before every handler: headers on every answer, the client's address, same-site requests only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::{Error, HttpRequest, ResponseError};

use super::error::Problem;
use super::{AppState, Trusted};
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

/// The client's address: the socket's peer, unless that is a trusted proxy; then `X-Forwarded-For` is walked from the right, past every trusted hop.
/// An item that is no address ends the walk at the hop that reported it: what stands left of it may be anybody's invention.
pub(crate) fn client_address(request: &HttpRequest, state: &AppState) -> IpAddr {
    let Some(peer) = request.peer_addr() else {
        return IpAddr::from([0, 0, 0, 0]);
    };
    forwarded(peer.ip(), request.headers(), &state.trusted)
}

fn forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[Trusted]) -> IpAddr {
    let believed = |address: IpAddr| trusted.iter().any(|is| is(address));
    let mut client = peer.to_canonical();
    if !believed(client) {
        return client;
    }
    // As bytes: what a client has put in front must not hide what the proxy has put behind it.
    let lines: Vec<&[u8]> = headers.get_all("x-forwarded-for").map(|line| line.as_bytes()).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(|b| *b == b','));
    for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
        let Some(address) = hop_address(hop) else { break };
        client = address;
        if !believed(client) {
            break;
        }
    }
    client
}

/// One item as proxies write it: an address, with a port, a zone, brackets or quotes.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    let port = |port: &str| port.parse::<u16>().is_ok();
    let six = |text: &str| {
        let (address, zone) = text.split_once('%').unwrap_or((text, "-"));
        address.parse::<Ipv6Addr>().ok().filter(|_| !zone.is_empty())
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let ended = after.is_empty() || after.strip_prefix(':').is_some_and(port);
        return six(inside).filter(|_| ended).map(|ip| IpAddr::V6(ip).to_canonical());
    }
    if let Some(address) = six(text) {
        return Some(IpAddr::V6(address).to_canonical());
    }
    let (address, ended) = text.split_once(':').map_or((text, true), |(address, p)| (address, port(p)));
    address.parse::<Ipv4Addr>().ok().filter(|_| ended).map(IpAddr::V4)
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
pub(crate) fn host(request: &HttpRequest) -> Option<&str> {
    let header = || request.headers().get("host").and_then(|v| v.to_str().ok());
    request.uri().authority().map(|a| a.as_str()).or_else(header)
}

/// [`same_site`], and the audit log hears of a refusal.
pub(crate) async fn require_same_origin(request: &HttpRequest, state: &AppState, strict: bool) -> Result<(), Problem> {
    let refused = same_site(request, strict);
    if refused.is_err() {
        let listener = if strict { "staff" } else { "public" };
        state
            .refused(Actor::Portal, AuditAction::RequestCrossSite, &[("listener", listener)])
            .await;
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
    fn hops_are_read_as_proxies_write_them() {
        for (hop, address) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:567", "1.2.3.4"),
            ("\"1.2.3.4:567\"", "1.2.3.4"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:8", "::1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0]:80", "fe80::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:5", "1.2.3.4"),
        ] {
            assert_eq!(hop_address(hop.as_bytes()), address.parse().ok(), "{hop}");
        }
        for junk in [
            "unknown",
            "_hidden",
            "1.2.3",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:70000",
            "01.2.3.4",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[1.2.3.4]",
            "fe80::1%",
            "\"1.2.3.4",
            "1.2.3.4 5.6.7.8",
            "%",
            ":",
            "[]",
            "1.2.3.4%eth0",
        ] {
            assert_eq!(hop_address(junk.as_bytes()), None, "{junk}");
        }
        assert_eq!(hop_address(b"\xff1.2.3.4"), None);
    }

    proptest::proptest! {
        /// Whatever a client sends of its own, the address that the proxy adds is the one that counts: nobody shares another's limit, and nobody leaves their own.
        #[test]
        fn what_a_client_invents_changes_nothing(
            invented in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(
                (0x20..=0xffu8).filter(|b| *b != 0x7f).chain([b'\t', b',', b'[', b']', b':', b'%', b'"', b'1', b'.']).collect::<Vec<u8>>()), 0..40), 0..4),
            last in 0..4usize,
            own_line: bool,
            port: Option<u16>,
            client: [u8; 4],
        ) {
            let client = IpAddr::from(client);
            let proxy = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
            proptest::prop_assume!(!proxy.contains(&client));
            let trusted: Vec<Trusted> = vec![Box::new(move |a| proxy.contains(&a))];
            let written = port.map_or(client.to_string(), |port| format!("{client}:{port}"));
            let mut lines = invented;
            // The proxy appends to the last line, or adds one of its own; and a second one behind it may add the first.
            let behind = ["", ", 10.0.0.2", " , 10.0.0.2:99,", ",,"][last];
            let added = format!("{written}{behind}").into_bytes();
            match lines.last_mut() {
                Some(line) if !own_line => line.extend([&b", "[..], &added].concat()),
                _ => lines.push(added),
            }
            let mut map = HeaderMap::new();
            for line in &lines {
                map.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_bytes(line).unwrap());
            }
            proptest::prop_assert_eq!(forwarded(proxy[0], &map, &trusted), client);
        }
    }

    #[test]
    fn ipv6_neighbours_share_a_limit() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert_eq!(rate_limit_key(ip("2001:db8::1")), rate_limit_key(ip("2001:db8::ffff")));
        assert_ne!(rate_limit_key(ip("2001:db8:0:1::1")), rate_limit_key(ip("2001:db8::1")));
        assert_ne!(rate_limit_key(ip("192.0.2.1")), rate_limit_key(ip("192.0.2.2")));
    }
}
