//! One log line for each request, when its answer has gone or was cut off; and one for whoever was not let in.
//!
//! What stands in a line has a type that only such values have: the pattern of a route and never a path, which may be a link; a method, a status and a code out of
//! lists of ours; numbers. A client's address stands there only where the configuration wants it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, web};
use tracing::Instrument;

use super::address::client_address;
use super::context::AppState;
use super::error::ProblemCode;
use super::request_id::{self, HEADER, HttpRequestId};
use super::settings::{LoggedAddresses, LoggedRequests};
use super::traffic::{RoutePattern, Traffic};
use crate::workflow::warning::{Refused, Warning};

/// A method by its name, as far as it is one of HTTP's: anybody may invent others.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [Method; 8] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ];
    const NAMES: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    KNOWN.iter().position(|known| known == method).map_or("other", |place| NAMES[place])
}

/// As much of a client's address as the configuration wants in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LoggedAddress(IpAddr);

impl LoggedAddress {
    fn of(address: IpAddr, wanted: LoggedAddresses) -> Option<Self> {
        match wanted {
            LoggedAddresses::None => None,
            LoggedAddresses::Full => Some(Self(address)),
            LoggedAddresses::Truncated => Some(Self(match address {
                IpAddr::V4(four) => {
                    let [a, b, c, _] = four.octets();
                    Ipv4Addr::new(a, b, c, 0).into()
                }
                IpAddr::V6(six) => {
                    let [a, b, c, ..] = six.segments();
                    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
                }
            })),
        }
    }

    /// Where there is nobody to tell of, nobody is looked for.
    fn of_request(request: &HttpRequest, state: &AppState) -> Option<Self> {
        match state.request_log.addresses {
            LoggedAddresses::None => None,
            wanted => Self::of(client_address(request, &state.proxies), wanted),
        }
    }
}

impl fmt::Display for LoggedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Tells the log of somebody who was not let in. With addresses each of them has a line, which fail2ban counts; without, the same is told once a minute.
pub(crate) fn refused(what: Refused, request: &HttpRequest, state: &AppState) {
    match LoggedAddress::of_request(request, state) {
        Some(address) => {
            tracing::warn!(event = "refused", what = what.as_str(), address = %address, "somebody was not let in");
        }
        None => Warning::Refused(what).write(),
    }
}

/// A request as its line tells it.
struct Line {
    listener: &'static str,
    route: RoutePattern,
    method: &'static str,
    address: Option<LoggedAddress>,
    began: Instant,
    span: tracing::Span,
}

/// What came of a request.
struct Outcome {
    status: u16,
    code: Option<&'static str>,
    bytes: u64,
    cut_off: bool,
}

impl Line {
    fn is_wanted(&self, status: u16, requests: LoggedRequests) -> bool {
        match requests {
            LoggedRequests::None => false,
            LoggedRequests::Usual => !self.route.is_asset_or_probe() || status >= 500,
            LoggedRequests::All => true,
        }
    }

    fn write(&self, outcome: &Outcome) {
        let took = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.span.in_scope(|| {
            tracing::info!(
                event = "request",
                listener = self.listener,
                method = self.method,
                route = %self.route,
                status = outcome.status,
                code = outcome.code,
                duration_ms = took(self.began.elapsed()),
                bytes = outcome.bytes,
                cut_off = outcome.cut_off.then_some(true),
                address = self.address.map(tracing::field::display),
            );
        });
    }
}

/// An answer's body, whose line is written when it has gone.
struct LoggedBody {
    body: BoxBody,
    line: Line,
    outcome: Outcome,
    /// Bytes that are still to come; `None` where only the end will say.
    left: Option<u64>,
    over: bool,
}

impl MessageBody for LoggedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<web::Bytes, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(bytes))) => {
                let came = bytes.len() as u64;
                self.outcome.bytes += came;
                self.left = self.left.map(|left| left.saturating_sub(came));
            }
            Poll::Ready(None) => self.over = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        next
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        // What answers HEAD is never asked for its bytes.
        let whole = self.over || self.left == Some(0) || self.line.method == "HEAD";
        self.outcome.cut_off = !whole;
        self.line.write(&self.outcome);
    }
}

/// Counts a request when its answer begins (what it brought has been read by then), does its work under an id, and writes its line.
pub(crate) async fn observed(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let traffic = request.app_data::<web::Data<Traffic>>().cloned();
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let id = id_of(&request, state.as_ref().map(|state| &***state));
    let line = Line {
        listener: traffic.as_ref().map_or("", |traffic| traffic.listener),
        route: RoutePattern::of(request.request()),
        method: method_name(request.method()),
        address: state.as_ref().and_then(|state| LoggedAddress::of_request(request.request(), state)),
        began: Instant::now(),
        // Of the highest level, so that it stands on every line, however little is logged.
        span: tracing::error_span!("http", request_id = %id),
    };
    let work = next.call(request).instrument(line.span.clone());
    let answer = request_id::under(id.clone(), work).await;
    let status = match &answer {
        Ok(response) => response.status().as_u16(),
        Err(error) => error.as_response_error().status_code().as_u16(),
    };
    if let Some(traffic) = traffic {
        traffic.note(line.route.clone(), status, line.began.elapsed());
    }
    let mut response = answer?;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HeaderName::from_static(HEADER), value);
    }
    let code = response.response().extensions().get::<ProblemCode>().map(|code| code.0);
    let wanted = state.is_some_and(|state| line.is_wanted(status, state.request_log.requests));
    Ok(response.map_body(|_, body| {
        let body = body.boxed();
        if !wanted {
            return body;
        }
        let left = match body.size() {
            BodySize::None => Some(0),
            BodySize::Sized(bytes) => Some(bytes),
            BodySize::Stream => None,
        };
        let outcome = Outcome {
            status,
            code,
            bytes: 0,
            cut_off: false,
        };
        BoxBody::new(LoggedBody {
            body,
            line,
            outcome,
            left,
            over: false,
        })
    }))
}

/// The id that a trusted proxy has given it, or a fresh one.
fn id_of(request: &ServiceRequest, state: Option<&AppState>) -> HttpRequestId {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let from_a_proxy = peer.zip(state).is_some_and(|(peer, state)| state.proxies.trusts(peer));
    let mut given = request.headers().get_all(HEADER);
    match (given.next(), given.next()) {
        (Some(one), None) if from_a_proxy => HttpRequestId::of_a_proxy(one.as_bytes()),
        _ => None,
    }
    .unwrap_or_else(HttpRequestId::draw)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_logged_as_far_as_it_is_wanted() {
        let shown = |address: &str, wanted| LoggedAddress::of(address.parse().unwrap(), wanted).map(|a| a.to_string());
        for address in ["203.0.113.77", "2001:db8:1:2:3:4:5:6"] {
            assert_eq!(shown(address, LoggedAddresses::None), None);
            assert_eq!(shown(address, LoggedAddresses::Full).as_deref(), Some(address));
        }
        assert_eq!(shown("203.0.113.77", LoggedAddresses::Truncated).unwrap(), "203.0.113.0");
        assert_eq!(shown("2001:db8:1:2:3:4:5:6", LoggedAddresses::Truncated).unwrap(), "2001:db8:1::");
    }

    #[test]
    fn an_invented_method_is_not_named() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        assert_eq!(method_name(&Method::from_bytes(b"ERIKA").unwrap()), "other");
    }
}
