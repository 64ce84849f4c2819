//! Where a connector may connect to. A configured address is checked when it is read, and every address a name resolves to is checked at each
//! connection, so that neither a slip in the configuration nor a rebinding name server turns the portal against its own network.
//!
//! With a proxy configured, names are resolved by the proxy, and guarding them is the proxy's task; literal addresses stay guarded here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Failure;
use super::endpoint::Endpoint;
use crate::domain::delivery::DeliveryProblem;
use crate::settings::Reader;

/// How far a connector may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// 127/8 and ::1.
    pub loopback: bool,
    /// Private, carrier-grade and unique local networks, loopback too.
    pub private: bool,
}

impl Reach {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        Self {
            loopback: endpoint.allow_loopback || endpoint.allow_private,
            private: endpoint.allow_private,
        }
    }

    /// Whether this address may be connected to.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.allows_v4(v4),
            IpAddr::V6(v6) => self.allows_v6(v6),
        }
    }

    fn allows_v4(self, address: Ipv4Addr) -> bool {
        let [a, b, c, _] = address.octets();
        match (a, b, c) {
            (127, ..) => self.loopback,
            (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => self.private,
            // "This network", link-local with the cloud's metadata, protocol assignments, documentation, 6to4 relays, benchmarks, multicast, reserved.
            (0, ..)
            | (169, 254, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., ..) => false,
            _ => true,
        }
    }

    fn allows_v6(self, address: Ipv6Addr) -> bool {
        let [a, b, ..] = address.segments();
        if address == Ipv6Addr::LOCALHOST {
            return self.loopback;
        }
        if a & 0xfe00 == 0xfc00 {
            return self.private;
        }
        // Only global unicast is left, and of it neither protocol assignments (Teredo among them), documentation, nor 6to4, which hides an IPv4 address.
        // Mapped (::ffff:0:0/96), compatible and NAT64 (64:ff9b::/32) forms lie outside 2000::/3.
        a & 0xe000 == 0x2000 && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8)) && a != 0x2002 && !(a == 0x3fff && b < 0x1000)
    }
}

/// Reads a configured address: `https` (or `http` where the endpoint allows it), no user information, query or fragment, no refused literal address. The error says
/// what it must be.
pub(crate) fn checked_url(endpoint: &Endpoint, text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "an absolute address such as \"https://api.example.com\"")?;
    let Some(host) = url.host_str().filter(|h| !h.is_empty()) else {
        return Err("an address with a host");
    };
    // The parser has already turned 2130706433, 0x7f.1 and 0177.0.0.1 into 127.0.0.1.
    let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let local = literal.map_or(url.host_str() == Some("localhost"), |ip| ip.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if endpoint.allow_insecure || (endpoint.allow_loopback && local) => {}
        _ => return Err("an https address (http only with allow_insecure = true)"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address without user name and password; secrets belong into files");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address without ? and #");
    }
    if literal.is_some_and(|ip| !Reach::of(endpoint).allows(ip)) {
        return Err("a public address (allow_private = true allows private networks; link-local ones are never allowed)");
    }
    Ok(url)
}

/// Hosts to which an address that a provider hands out may lead: names, or `*.` and a name for every name below it.
pub(crate) fn read_hosts(reader: &mut Reader<'_>, key: &str) -> Vec<String> {
    const WANTED: &str = "a list of host names such as [\"uploads.example.com\", \"*.example.net\"]";
    let hosts = reader.texts(key, WANTED).unwrap_or_default();
    let sound = |host: &String| {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let dotted = host == name || name.contains('.');
        dotted
            && !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    if hosts.is_empty() || !hosts.iter().all(sound) {
        reader.must_be(key, WANTED);
    }
    hosts
}

/// An address out of a provider's answer: it must be as safe as a configured one (a query apart) and lead to one of these hosts.
pub(crate) fn foreign_url(endpoint: &Endpoint, hosts: &[String], text: &str) -> Result<Url, Failure> {
    let refused = |why: String| Failure::Final {
        problem: DeliveryProblem::new("provider.upload_address", why),
    };
    let unsafe_address = || refused("The provider gave an upload address that is not safe to use. Ask the provider.".to_owned());
    let url = Url::parse(text).map_err(|_| unsafe_address())?;
    let mut bare = url.clone();
    bare.set_query(None);
    checked_url(endpoint, bare.as_str()).map_err(|_| unsafe_address())?;
    let host = url.host_str().unwrap_or_default();
    let below = |known: &str| {
        known
            .strip_prefix('*')
            .is_some_and(|end| host.len() > end.len() && host.ends_with(end))
    };
    if !hosts.iter().any(|known| known == host || below(known)) {
        return Err(refused(format!(
            "The provider gave an upload address at {host}, which the list of upload hosts in its configuration does not name."
        )));
    }
    Ok(url)
}

/// Resolves by the system and hands out addresses only if all of them may be connected to.
pub(crate) struct GuardedResolver(pub Reach);

#[derive(Debug, thiserror::Error)]
#[error("the name resolves to an address that is not allowed")]
pub(crate) struct NotAllowed;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.is_empty() || !found.iter().all(|a| reach.allows(a.ip())) {
                return Err(NotAllowed.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::Duration;

    fn endpoint(insecure: bool, private: bool, loopback: bool) -> Endpoint {
        Endpoint {
            base_url: String::new(),
            allow_insecure: insecure,
            allow_private: private,
            allow_loopback: loopback,
            ca_file: None,
            proxy: None,
            timeout: Duration::seconds(1),
        }
    }

    #[test]
    fn the_table_of_addresses() {
        let none = Reach {
            loopback: false,
            private: false,
        };
        let all = Reach {
            loopback: true,
            private: true,
        };
        let never = "0.0.0.0 0.1.2.3 169.254.169.254 169.254.0.1 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.7 \
                     224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::ffff:8.8.8.8 ::ffff:127.0.0.1 ::8.8.8.8 64:ff9b::808:808 64:ff9b:1::1 100::1 \
                     2001::1 2001:1ff::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1 fe80::1 fec0::1 ff02::1 5f00::1";
        for address in never.split_whitespace() {
            let ip: IpAddr = address.parse().unwrap();
            assert!(!none.allows(ip) && !all.allows(ip), "{address}");
        }
        let private = "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 127.0.0.1 127.8.8.8 ::1 fc00::1 fdff::1";
        for address in private.split_whitespace() {
            let ip: IpAddr = address.parse().unwrap();
            assert!(!none.allows(ip) && all.allows(ip), "{address}");
        }
        for address in "8.8.8.8 172.15.0.1 172.32.0.1 100.63.255.255 100.128.0.1 11.0.0.1 223.255.255.255 2606:4700::1 2a00::1 2001:4860::1"
            .split_whitespace()
        {
            assert!(none.allows(address.parse().unwrap()), "{address}");
        }
        let sandbox = Reach {
            loopback: true,
            private: false,
        };
        assert!(sandbox.allows("127.0.0.1".parse().unwrap()) && !sandbox.allows("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_table_of_urls() {
        let check = |e: &Endpoint, url: &str| checked_url(e, url).is_ok();
        let strict = endpoint(false, false, false);
        for good in ["https://api.example.com", "https://api.example.com:8443/v1", "https://8.8.8.8/"] {
            assert!(check(&strict, good), "{good}");
        }
        for bad in [
            "",
            "api.example.com",
            "http://api.example.com",
            "ftp://api.example.com",
            "https://u@api.example.com",
            "https://u:p@api.example.com",
            "https://api.example.com?x=1",
            "https://api.example.com/#x",
            "https://127.0.0.1",
            "https://[::1]",
            "https://2130706433",
            "https://0x7f.1",
            "https://0177.0.0.1",
            "https://169.254.169.254",
            "https://[::ffff:10.0.0.1]",
            "file:///etc/passwd",
            "https://10.1",
        ] {
            assert!(!check(&strict, bad), "{bad}");
        }
        let sandbox = endpoint(false, false, true);
        assert!(check(&sandbox, "http://127.0.0.1:1") && check(&sandbox, "http://localhost:1") && check(&sandbox, "http://[::1]:1"));
        assert!(!check(&sandbox, "http://example.com") && !check(&sandbox, "http://10.0.0.1"));
        let open = endpoint(true, true, false);
        assert!(check(&open, "http://10.0.0.1") && check(&open, "http://provider.internal") && !check(&open, "http://169.254.169.254"));
    }

    #[test]
    fn addresses_out_of_answers_lead_to_listed_hosts_only() {
        let hosts = ["uploads.example.com".to_owned(), "*.s3.example.net".to_owned()];
        let check = |url: &str| foreign_url(&endpoint(false, false, false), &hosts, url).is_ok();
        assert!(
            check("https://uploads.example.com/a?X-Signature=1")
                && check("https://b.s3.example.net/a")
                && check("https://b.c.s3.example.net")
        );
        for bad in [
            "http://uploads.example.com/a",
            "https://example.com/a",
            "https://s3.example.net/a",
            "https://xs3.example.net/a",
            "https://uploads.example.com.evil.example/a",
            "https://u:p@uploads.example.com/a",
            "https://uploads.example.com/a#b",
            "https://169.254.169.254/a",
            "//uploads.example.com/a",
            "",
        ] {
            assert!(!check(bad), "{bad}");
        }
        let local = ["127.0.0.1".to_owned()];
        assert!(
            foreign_url(&endpoint(false, false, false), &local, "https://127.0.0.1/a").is_err(),
            "a listed host is still guarded"
        );
    }

    #[tokio::test]
    async fn a_name_is_refused_when_any_of_its_addresses_is() {
        let name = || "localhost".parse().unwrap();
        assert!(
            GuardedResolver(Reach {
                loopback: false,
                private: false
            })
            .resolve(name())
            .await
            .is_err()
        );
        assert!(
            GuardedResolver(Reach {
                loopback: true,
                private: false
            })
            .resolve(name())
            .await
            .is_ok()
        );
    }
}
