//! The settings of `[listen]`, `[limits]` and `[metrics]`: where the portal listens, how much it takes from whom, and who reads its metrics; and what the log tells of
//! requests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::acme::settings::DomainName;
use super::tls;
use crate::settings::{Reader, Secret};

#[derive(Clone, Debug)]
pub struct ListenerSettings {
    pub address: SocketAddr,
    pub tls: ListenerTls,
}

/// What a listener speaks.
#[derive(Clone, Debug)]
pub enum ListenerTls {
    /// Plain HTTP: for this machine, or for a proxy that speaks TLS.
    Off,
    Files(TlsFiles),
    /// TLS with a certificate that the portal fetches for this name.
    Acme(DomainName),
}

impl ListenerTls {
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }
}

#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl ListenerSettings {
    /// Reads the keys `NAME` and `NAME_tls` of `[listen]`.
    pub fn read(reader: &mut Reader<'_>, name: &str, default: &str) -> Self {
        const ADDRESS: &str = "an address and port, such as \"127.0.0.1:8081\" or \"[::]:8080\"";
        let text = reader.text_with(name, default, ADDRESS);
        let address = text.parse().unwrap_or_else(|_| {
            reader.must_be(name, ADDRESS);
            SocketAddr::from(([127, 0, 0, 1], 0))
        });
        let key = format!("{name}_tls");
        let files = reader.optional_section(&key, |reader| {
            (
                reader.path("cert", "a PEM file with the certificate chain"),
                reader.path("key", "a PEM file with its private key"),
            )
        });
        let tls = match files {
            Some((Some(cert), Some(key))) => ListenerTls::Files(TlsFiles { cert, key }),
            None => ListenerTls::Off,
            Some(_) => {
                reader.error(&key, "needs both cert and key (PEM files)");
                ListenerTls::Off
            }
        };
        if let ListenerTls::Files(files) = &tls
            && let Err(why) = tls::read(&files.cert, &files.key)
        {
            reader.error(&key, format!("cannot be used: {why}"));
        }
        Self { address, tls }
    }
}

/// Who may read the metrics.
#[derive(Clone, Debug)]
pub enum MetricsAccess {
    /// Whoever reaches the staff listener.
    Open,
    /// Who sends this token besides.
    Token(Secret),
}

/// Shorter ones can be guessed.
const TOKEN_MIN: usize = 16;

impl MetricsAccess {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        const TOKEN: &str = "the token, of at least 16 characters, that Prometheus sends for /metrics; without it whoever reaches the staff listener reads them";
        match reader.secret("token_file", TOKEN) {
            Some(token) => {
                if token.expose().len() < TOKEN_MIN {
                    reader.must_be("token_file", format!("the path of a file with {TOKEN}"));
                }
                Self::Token(token)
            }
            None => Self::Open,
        }
    }
}

/// Which requests get a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedRequests {
    None,
    /// Those of people and programs. Static files and probes only where the portal failed.
    Usual,
    All,
}

/// What of a client's address gets into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedAddresses {
    None,
    /// The network alone: an IPv4 /24 or an IPv6 /48.
    Truncated,
    Full,
}

/// What the log tells of requests.
#[derive(Clone, Copy, Debug)]
pub struct RequestLog {
    pub requests: LoggedRequests,
    pub addresses: LoggedAddresses,
}

impl RequestLog {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let requests = [
            ("none", LoggedRequests::None),
            ("usual", LoggedRequests::Usual),
            ("all", LoggedRequests::All),
        ];
        let addresses = [
            ("none", LoggedAddresses::None),
            ("truncated", LoggedAddresses::Truncated),
            ("full", LoggedAddresses::Full),
        ];
        Self {
            requests: reader.choice(
                "log_requests",
                &requests,
                "usual",
                "which requests get a line in the log; the usual ones are all but static files and probes",
            ),
            addresses: reader.choice(
                "log_addresses",
                &addresses,
                "none",
                "what of a client's address is logged; fail2ban needs all of it",
            ),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Bytes of one part.
    pub max_file: u64,
    /// Uploads at once over all links.
    pub uploads: usize,
    /// Uploads at once from one address (IPv6: from one /64; so are all limits by address).
    pub uploads_per_address: usize,
    /// Uploads at once through one link.
    pub uploads_per_link: usize,
    /// An upload that sends no byte for this long is ended.
    pub upload_idle: Duration,
    /// And so is one that sends fewer bytes a second over half a minute.
    pub upload_rate: u64,
    /// Connections of one address to one listener.
    pub connections_per_address: usize,
    /// Those of them that have not sent a whole request yet.
    pub silent_per_address: usize,
    /// A request's head must be here by then.
    pub head_timeout: Duration,
    /// Applicants' pages in a minute to one address (IPv6: to one /64).
    pub pages_per_address: u32,
    /// Requests of one API key in a minute.
    pub api_per_minute: u32,
}

/// The largest part that any configuration may allow.
const HARD_MAX_FILE: u64 = 100 << 20;

impl LimitSettings {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        const PLACES: std::ops::RangeInclusive<usize> = 1..=100_000;
        Self {
            max_file: reader.size(
                "max_file",
                20 << 20,
                1..=HARD_MAX_FILE,
                "the largest part; a provider's own limit wins when it is smaller",
            ),
            uploads: reader.number("uploads", 64, PLACES, "uploads at once, over all links"),
            uploads_per_address: reader.number("uploads_per_address", 4, PLACES, "uploads at once from one address"),
            uploads_per_link: reader.number("uploads_per_link", 3, PLACES, "uploads at once through one link"),
            upload_idle: patience(reader, "upload_idle", 20, "an upload without a byte for this long is ended"),
            upload_rate: reader.size(
                "upload_rate",
                2 << 10,
                0..=1 << 20,
                "and so is one below this many bytes a second over half a minute",
            ),
            connections_per_address: reader.number("connections_per_address", 128, PLACES, "connections of one address to one listener"),
            silent_per_address: reader.number(
                "silent_per_address",
                32,
                PLACES,
                "those of them that have not sent a whole request yet",
            ),
            head_timeout: patience(reader, "head_timeout", 10, "for the head of a request"),
            pages_per_address: reader.number(
                "pages_per_address",
                30,
                1..=10_000_000,
                "applicants' pages in a minute to one address",
            ),
            api_per_minute: reader.number("api_per_minute", 600, 1..=1_000_000, "requests of one API key in a minute"),
        }
    }
}

/// How long a slow client is waited for.
fn patience(reader: &mut Reader<'_>, key: &str, seconds: i64, doc: &str) -> Duration {
    let range = time::Duration::seconds(1)..=time::Duration::minutes(10);
    reader.span_within(key, time::Duration::seconds(seconds), range, doc).unsigned_abs()
}
