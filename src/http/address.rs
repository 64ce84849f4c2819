//! Where a request comes from, what limits are counted by, and which host it asks.

use std::net::IpAddr;

use actix_web::HttpRequest;

use super::forwarded::Proxies;

/// The client's address: the socket's peer, unless a trusted proxy speaks for somebody.
pub(crate) fn client_address(request: &HttpRequest, proxies: &Proxies) -> IpAddr {
    match request.peer_addr() {
        Some(peer) => proxies.client(peer.ip(), request.headers()),
        None => IpAddr::from([0, 0, 0, 0]),
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

/// The request's own word for its host: what a proxy may add beside it is not asked.
pub(crate) fn host(request: &HttpRequest) -> Option<&str> {
    let header = || request.headers().get("host").and_then(|v| v.to_str().ok());
    request.uri().authority().map(|a| a.as_str()).or_else(header)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ipv6_neighbours_share_a_limit() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert_eq!(rate_limit_key(ip("2001:db8::1")), rate_limit_key(ip("2001:db8::ffff")));
        assert_ne!(rate_limit_key(ip("2001:db8:0:1::1")), rate_limit_key(ip("2001:db8::1")));
        assert_ne!(rate_limit_key(ip("192.0.2.1")), rate_limit_key(ip("192.0.2.2")));
    }
}
