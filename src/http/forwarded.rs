//! Whom a reverse proxy speaks for. Limits are counted by the client's address, so nobody may choose it, and nobody may get that of everybody else.
//!
//! * Only a trusted proxy is believed, and of its header only what it has put there itself: the list is walked from the right, past every trusted hop. An item that is no
//!   address ends the walk at the hop that reported it: what stands left of it may be anybody's invention.
//! * One header counts, the one that the configuration names: a proxy passes the other one on as the client wrote it.
//! * What a proxy lacks shows only when its visitors are refused for one another. So the log says it, at most once an hour: an address that is not trusted names many
//!   clients, a trusted one names none, or an address of a private network is refused for what many may have done.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::HeaderMap;

/// Whether an address belongs to a reverse proxy that is believed.
pub(crate) type Trusted = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Where the trusted proxies write the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl AddressHeader {
    pub const CHOICES: [(&'static str, Self); 2] = [("x-forwarded-for", Self::XForwardedFor), ("forwarded", Self::Forwarded)];

    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
        }
    }

    /// All items from the right, over all lines. As bytes: what a client has put in front must not hide what the proxy has put behind it.
    fn items(self, headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
        let lines: Vec<&[u8]> = headers.get_all(self.name()).map(|line| line.as_bytes()).collect();
        let items = lines.into_iter().rev().flat_map(|line| line.rsplit(|b| *b == b','));
        items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
    }

    fn address(self, item: &[u8]) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => hop_address(item),
            Self::Forwarded => hop_address(forwarded_for(item)?),
        }
    }
}

/// Different clients that one untrusted address names before the log says so.
const CROWD: usize = 8;
/// Addresses that are watched for it.
const WATCHED: usize = 256;
const SAID_EVERY: Duration = Duration::from_secs(60 * 60);

/// The proxies in front of the portal, and what is noticed of those that nobody has told it of.
pub(crate) struct Proxies {
    trusted: Vec<Trusted>,
    header: AddressHeader,
    seen: Mutex<Seen>,
}

/// The way of one request, for a check of the proxies in front.
pub(crate) struct Hops {
    /// The other end of the connection.
    pub peer: IpAddr,
    pub is_trusted: bool,
    /// By whose address the request is counted.
    pub client: IpAddr,
    /// The header that counts, and the last address in it, believed or not.
    pub header: &'static str,
    pub named: Option<IpAddr>,
    /// The last address in the header that does not count.
    pub named_otherwise: Option<IpAddr>,
}

#[derive(Default)]
struct Seen {
    /// Whom untrusted addresses name, by hash.
    named: HashMap<IpAddr, HashSet<u64>>,
    hasher: RandomState,
    said: HashMap<Hint, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Hint {
    NotTrusted,
    NamesNobody,
    Crowded,
}

impl Proxies {
    pub(crate) fn new(trusted: Vec<Trusted>, header: AddressHeader) -> Self {
        Self {
            trusted,
            header,
            seen: Mutex::default(),
        }
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|is| is(address))
    }

    /// Who asks. What is odd about the proxy goes to the log.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        let client = self.walk(peer, headers);
        if !self.trusts(peer) {
            self.name_others(peer, headers);
        } else if self.trusts(client) {
            self.say(Hint::NamesNobody, peer);
        }
        client
    }

    fn walk(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        if !self.trusts(client) {
            return client;
        }
        for item in self.header.items(headers) {
            let Some(address) = self.header.address(item) else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// What this request's way says of whom it comes from; nothing of it goes to the log.
    pub(crate) fn hops(&self, peer: IpAddr, headers: &HeaderMap) -> Hops {
        let peer = peer.to_canonical();
        let named = |header: AddressHeader| header.items(headers).find_map(|item| header.address(item));
        let other = match self.header {
            AddressHeader::XForwardedFor => AddressHeader::Forwarded,
            AddressHeader::Forwarded => AddressHeader::XForwardedFor,
        };
        Hops {
            peer,
            is_trusted: self.trusts(peer),
            client: self.walk(peer, headers),
            header: self.header.name(),
            named: named(self.header),
            named_otherwise: named(other),
        }
    }

    /// Somebody at this address was refused for what was done from it.
    pub(crate) fn refused(&self, address: IpAddr) {
        let address = address.to_canonical();
        if is_private(address) && !self.trusts(address) {
            self.say(Hint::Crowded, address);
        }
    }

    /// An address that is not trusted, and may be a proxy: it names clients.
    fn name_others(&self, peer: IpAddr, headers: &HeaderMap) {
        let both = [AddressHeader::XForwardedFor, AddressHeader::Forwarded];
        let Some(named) = both
            .into_iter()
            .find_map(|header| header.items(headers).find_map(|item| header.address(item)))
        else {
            return;
        };
        let crowd = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.named.len() >= WATCHED && !seen.named.contains_key(&peer) {
                seen.named.clear();
            }
            let hash = seen.hasher.hash_one(named);
            let all = seen.named.entry(peer).or_default();
            all.insert(hash);
            all.len() >= CROWD && seen.named.remove(&peer).is_some()
        };
        if crowd {
            self.say(Hint::NotTrusted, peer);
        }
    }

    fn say(&self, hint: Hint, address: IpAddr) {
        if let Some(text) = self.due(hint, address) {
            tracing::warn!("{text}");
        }
    }

    /// What is to be said now, if it was not said within the hour.
    fn due(&self, hint: Hint, address: IpAddr) -> Option<String> {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.said.get(&hint).is_some_and(|at| now.duration_since(*at) < SAID_EVERY) {
            return None;
        }
        seen.said.insert(hint, now);
        // The address of a machine of one's own network is nobody's; any other may be a visitor's.
        let (who, list) = match is_private(address) {
            true => (address.to_string(), format!("[\"{address}\"]")),
            false => ("a public address".to_owned(), "[\"its address\"]".to_owned()),
        };
        let header = self.header.name();
        Some(match hint {
            Hint::NotTrusted => format!(
                "{who} names many clients in X-Forwarded-For or Forwarded and is not trusted: they share its limits. If it is your reverse proxy, set trusted_proxies = {list}"
            ),
            Hint::NamesNobody => format!(
                "the trusted proxy {who} does not say in {header} whom it speaks for: its visitors share one limit. Have it send {header}, or set forwarded_header to the header that it sends"
            ),
            Hint::Crowded => format!(
                "visitors from {who} were refused because too much comes from this address. If it is your reverse proxy, have it send {header} and set trusted_proxies = {list}"
            ),
        })
    }
}

/// An address of this machine or of a private network.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let [a, b, ..] = four.octets();
            four.is_loopback() || four.is_private() || four.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(six) => six.is_loopback() || six.is_unique_local() || six.is_unicast_link_local(),
    }
}

/// What stands behind `for=` in one element of `Forwarded`. One whose quotation marks do not add up was cut through by a comma inside of them: no part of it is the
/// proxy's own word.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let quotes = element.iter().filter(|b| **b == b'"').count();
    if quotes % 2 == 1 || element.contains(&b'\\') {
        return None;
    }
    let mut found = element.split(|b| *b == b';').filter_map(|pair| {
        let equals = pair.iter().position(|b| *b == b'=')?;
        let named = pair[..equals].trim_ascii().eq_ignore_ascii_case(b"for");
        named.then(|| pair[equals + 1..].trim_ascii())
    });
    found.next().filter(|_| found.next().is_none())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn forwarded(peer: IpAddr, headers: &HeaderMap, trusted: Vec<Trusted>) -> IpAddr {
        Proxies::new(trusted, AddressHeader::XForwardedFor).client(peer, headers)
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(line).unwrap());
        }
        map
    }

    #[test]
    fn forwarded_addresses_are_believed_from_the_right_and_only_from_proxies() {
        let proxy = || -> Vec<Trusted> { vec![Box::new(|a| a == IpAddr::from([10, 0, 0, 1]) || a == IpAddr::from([10, 0, 0, 2]))] };
        let near = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(
            forwarded(ip("198.51.100.7"), &headers(&["1.2.3.4"]), proxy()),
            ip("198.51.100.7"),
            "a stranger's header is nothing"
        );
        assert_eq!(
            forwarded(near, &headers(&["1.2.3.4, 203.0.113.9"]), proxy()),
            ip("203.0.113.9"),
            "not the leftmost"
        );
        assert_eq!(
            forwarded(near, &headers(&["9.9.9.9", "203.0.113.9, 10.0.0.2"]), proxy()),
            ip("203.0.113.9"),
            "all lines, past trusted hops"
        );
        assert_eq!(
            forwarded(near, &headers(&["junk, 203.0.113.9, 10.0.0.2"]), proxy()),
            ip("203.0.113.9")
        );
        assert_eq!(forwarded(near, &headers(&["203.0.113.9, junk"]), proxy()), near);
        assert_eq!(forwarded(near, &headers(&[]), proxy()), near);
        assert_eq!(forwarded(near, &headers(&["[2001:db8::1]:4711"]), proxy()), ip("2001:db8::1"));
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
            proptest::prop_assert_eq!(forwarded(proxy[0], &map, trusted), client);
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn near(header: AddressHeader) -> Proxies {
        Proxies::new(vec![Box::new(|a| a == IpAddr::from([10, 0, 0, 1]))], header)
    }

    fn saying(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn the_header_of_rfc_7239_is_read_where_the_proxy_writes_that() {
        let proxies = near(AddressHeader::Forwarded);
        let of = |values: &[&str]| proxies.client(ip("10.0.0.1"), &saying("forwarded", values));
        for (values, client) in [
            (&["for=203.0.113.9"][..], "203.0.113.9"),
            (&["for=9.9.9.9, FOR=203.0.113.9;proto=https;by=10.0.0.1"], "203.0.113.9"),
            (&["for=9.9.9.9", "proto=https; for = \"203.0.113.9:4711\""], "203.0.113.9"),
            (&["for=\"[2001:db8::1]:4711\";host=drop.example.com"], "2001:db8::1"),
            (&["for=203.0.113.9, for=10.0.0.1"], "203.0.113.9"),
            // Hidden, unknown, cut through or twice: the proxy's own limit, never one that a client has chosen.
            (&["for=unknown"], "10.0.0.1"),
            (&["for=9.9.9.9, for=_hidden"], "10.0.0.1"),
            (&["for=203.0.113.9;host=\"a, for=9.9.9.9\""], "10.0.0.1"),
            (&["for=203.0.113.9;host=\"a, for=9.9.9.9;b=\\\"\""], "10.0.0.1"),
            (&["for=203.0.113.9;for=9.9.9.9"], "10.0.0.1"),
            (&["203.0.113.9"], "10.0.0.1"),
            (&["for=\"9.9.9.9, for=203.0.113.9"], "203.0.113.9"),
        ] {
            assert_eq!(of(values), ip(client), "{values:?}");
        }
        // The other header is what the client wrote.
        assert_eq!(
            proxies.client(ip("10.0.0.1"), &saying("x-forwarded-for", &["9.9.9.9"])),
            ip("10.0.0.1")
        );
        let proxies = near(AddressHeader::XForwardedFor);
        assert_eq!(
            proxies.client(ip("10.0.0.1"), &saying("forwarded", &["for=9.9.9.9"])),
            ip("10.0.0.1")
        );
    }

    #[test]
    fn a_proxy_that_nobody_has_told_of_is_noticed_once() {
        let proxies = near(AddressHeader::XForwardedFor);
        let said = || proxies.seen.lock().unwrap().said.len();
        for n in 0..CROWD {
            assert_eq!(said(), 0, "{n} clients are no crowd");
            let client = format!("203.0.113.{n}");
            assert_eq!(
                proxies.client(ip("172.17.0.1"), &saying("x-forwarded-for", &[&client])),
                ip("172.17.0.1")
            );
            proxies.client(ip("172.17.0.2"), &saying("x-forwarded-for", &["203.0.113.1"]));
        }
        assert_eq!(said(), 1);
        assert_eq!(proxies.due(Hint::NotTrusted, ip("172.17.0.1")), None, "said already");
        proxies.client(ip("10.0.0.1"), &saying("x-forwarded-for", &["203.0.113.1"]));
        assert_eq!(said(), 1, "a proxy that names its client");
        proxies.client(ip("10.0.0.1"), &HeaderMap::new());
        assert_eq!(said(), 2, "and one that does not");
        proxies.refused(ip("203.0.113.1"));
        assert_eq!(said(), 2, "a visitor's own fault");
        proxies.refused(ip("172.17.0.1"));
        assert_eq!(said(), 3);
        let proxies = near(AddressHeader::XForwardedFor);
        let text = proxies.due(Hint::NotTrusted, ip("172.17.0.1")).unwrap();
        assert!(text.contains("trusted_proxies = [\"172.17.0.1\"]"), "{text}");
        let proxies = near(AddressHeader::XForwardedFor);
        let text = proxies.due(Hint::NotTrusted, ip("203.0.113.1")).unwrap();
        assert!(!text.contains("203.0.113.1"), "{text}");
    }

    #[test]
    fn watching_costs_a_bounded_memory() {
        let proxies = near(AddressHeader::XForwardedFor);
        for n in 0..10_000_u32 {
            let peer = IpAddr::from((0x0b00_0000 + n).to_be_bytes());
            proxies.client(peer, &saying("x-forwarded-for", &["203.0.113.1"]));
        }
        assert!(proxies.seen.lock().unwrap().named.len() <= WATCHED);
    }
}
