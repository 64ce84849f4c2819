//! `--through`: a test upload by the way that an applicant's phone takes: the name as it is resolved, the certificate as it is shown, whatever stands in front, the portal. The portal says
//! what it saw of it ([`crate::http::applicant::check_upload`]); both together show what is wrong with the way. [`super::judge`] says it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, Url};
use serde_json::Value;

use super::Findings;
use super::codes::Code;
use super::upload::{self, FORGED, Pace, Reply, Sent};
use super::{handshake, judge, listeners, portal};
use crate::app::Layout;
use crate::config::Config;
use crate::connectors::causes::{CertificateFault, Unreached};
use crate::crypto::check::CheckPurpose;
use crate::crypto::secrets::PortalSecrets;
use crate::http::applicant::check_upload;
use crate::http::assets;

const AREA: &str = "through";
const CONNECT: Duration = Duration::from_secs(10);
/// For the answer once everything is sent.
const ANSWER: Duration = Duration::from_secs(60);
/// Of a name with many addresses.
const ADDRESSES: usize = 8;
const ANSWER_MAX: usize = 1 << 20;
/// A question that only wants to be answered.
const SMALL: u64 = 4 << 10;
/// What a form has around a file of the largest size.
const AROUND: u64 = 1 << 20;

/// How the test upload goes.
pub(super) struct Way {
    pub resolve: Option<SocketAddr>,
    pub ca_file: Option<PathBuf>,
    pub over: Duration,
    pub pause: Duration,
}

/// Where the questions go, and with which secrets.
struct Line<'a> {
    client: Client,
    base: Url,
    secrets: &'a PortalSecrets,
}

/// What a question pretends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    /// To be sent for somebody else.
    Forged,
}

pub(super) async fn look(config: &Config, way: &Way, findings: &mut Findings) {
    let secrets = match PortalSecrets::load(&Layout::of(config).secrets) {
        Ok(secrets) => secrets,
        Err(error) => {
            return findings.wrong(
                Code::ThroughSecrets,
                format!("no pass can be made: {}", crate::chain::chain(&error)),
                "run it on the portal's machine, as the portal's user: runuser -u nightdrop -- nightdrop doctor --through …",
            );
        }
    };
    let Ok(base) = Url::parse(&config.public_url) else { return };
    let Some(host) = base.host_str().map(str::to_owned) else { return };
    if !connects(&base, &host, way, findings).await {
        return;
    }
    let client = match client(&base, &host, way) {
        Ok(client) => client,
        Err(why) => {
            return findings.wrong(
                Code::ThroughCertificate,
                why,
                "name a readable PEM file with --ca-file; without it the system needs authorities: apt-get install ca-certificates",
            );
        }
    };
    let line = Line {
        client,
        base,
        secrets: &secrets,
    };
    let plain = match line.ask(Method::POST, Says::Nothing).await {
        Ok(reply) => reply,
        Err(why) => return unreached(&why, &line.base, &host, way, findings).await,
    };
    if !plain.is_ours {
        return judge::stranger(&plain, &line.base, config, findings);
    }
    findings.good(AREA, format!("{} leads to the portal of this data folder", config.public_url));
    judge::protocol(&plain, &host, findings);
    judge::headers(&plain, findings);
    if let Ok(forged) = line.ask(Method::POST, Says::Forged).await {
        judge::client_address(&plain, &forged, config, findings);
    }
    let mut blocked = Vec::new();
    for method in [Method::HEAD, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        match line.ask(method.clone(), Says::Nothing).await {
            Ok(reply) if reply.is_ours => {}
            Ok(reply) if reply.status == 429 => return judge::busy(findings),
            Ok(reply) => blocked.push(format!("{method} ({})", reply.status)),
            Err(_) => blocked.push(format!("{method} (no answer)")),
        }
    }
    judge::methods(&blocked, findings);
    if let Some((headers, body)) = line.style().await {
        judge::packed(&headers, &body, findings);
    }
    let size = config.limits.max_file + AROUND;
    let pace = Pace {
        over: way.over,
        pause: way.pause,
    };
    let (sent, came) = line.upload(size, pace).await;
    judge::upload(size, pace, &sent, came.as_ref(), config, findings);
}

/// Whether every address that the name leads to takes a connection, with a certificate for the name.
async fn connects(base: &Url, host: &str, way: &Way, findings: &mut Findings) -> bool {
    let port = base.port_or_known_default().unwrap_or(443);
    let bare = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = match way.resolve {
        Some(address) => vec![address],
        None => match tokio::net::lookup_host((bare, port)).await {
            Ok(found) => found.take(ADDRESSES).collect(),
            Err(_) => Vec::new(),
        },
    };
    if addresses.is_empty() {
        findings.wrong(
            Code::ThroughName,
            format!("the name {host} cannot be resolved"),
            format!("enter its A and AAAA records where the domain is kept; then: getent ahosts {host}. Where this network's name server says otherwise: --resolve ADDRESS:PORT"),
        );
        return false;
    }
    let mut any = false;
    for address in addresses {
        if base.scheme() != "https" {
            any = true;
            continue;
        }
        match handshake::shown(address, host).await {
            Ok(chain) => {
                any = true;
                if let Some(own) = chain.first() {
                    certificate(address, own, findings);
                }
            }
            Err(why) => findings.wrong(
                Code::ThroughConnection,
                format!("no TLS connection to {address}, to which {host} leads: {why}"),
                "if nothing listens there, take the A or AAAA record out; else open the port in firewall and router, and look whether the proxy runs (ss -ltnp). \
                 A machine without IPv6 cannot try such an address: try it from elsewhere",
            ),
        }
    }
    any
}

/// Its name and whether it is believed are the client's questions, which come next.
fn certificate(address: SocketAddr, own: &rustls_pki_types::CertificateDer<'_>, findings: &mut Findings) {
    const MEND: &str = "look why it was not renewed (certbot renew --dry-run, or the proxy's log), and have the proxy take the new one (systemctl reload nginx)";
    let Some(end) = handshake::end(own) else { return };
    let left = end - time::OffsetDateTime::now_utc();
    let soon = listeners::SOON.min(handshake::lifetime(own).unwrap_or(listeners::SOON * 3) / 3);
    if left < soon {
        findings.note(
            Code::ThroughEnds,
            format!("the certificate that {address} shows ends on {}", end.date()),
            MEND,
        );
    } else {
        findings.good(AREA, format!("the certificate that {address} shows ends on {}", end.date()));
    }
}

fn client(base: &Url, host: &str, way: &Way) -> Result<Client, String> {
    crate::connectors::client::install_tls();
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .timeout(way.over + way.pause + ANSWER)
        .user_agent(concat!("nightdrop-doctor/", env!("CARGO_PKG_VERSION")));
    if let Some(address) = way.resolve {
        builder = builder.resolve(host, address);
    }
    if let Some(file) = &way.ca_file {
        builder = builder.tls_certs_merge(authorities(file)?);
    } else if base.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|_| "the system has no certificate authorities".to_owned())
}

fn authorities(file: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let unreadable = || format!("{} is no readable PEM file with certificates", file.display());
    let pem = std::fs::read(file).map_err(|_| unreadable())?;
    let all = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| unreadable())?;
    if all.is_empty() { Err(unreadable()) } else { Ok(all) }
}

/// The first question got no answer.
async fn unreached(error: &reqwest::Error, base: &Url, host: &str, way: &Way, findings: &mut Findings) {
    let why = Unreached::of(error);
    let Unreached::Certificate(fault) = &why else {
        return findings.wrong(
            Code::ThroughConnection,
            format!("{base}: {why}"),
            "look whether the proxy runs and what its log says (journalctl -u nginx; /var/log/nginx/error.log)",
        );
    };
    if *fault == CertificateFault::UnknownIssuer && shows_itself_alone(base, host, way).await {
        return findings.wrong(
            Code::ThroughChain,
            format!("{host} shows its own certificate without the one that signed it: many phones refuse that"),
            "have the proxy show the whole chain: with certbot fullchain.pem in the place of cert.pem (nginx: ssl_certificate; HAProxy: chain and key in one file), then reload it",
        );
    }
    let fix = match fault {
        CertificateFault::Ended => "renew it (certbot renew), and have the proxy take the new one (systemctl reload nginx)".to_owned(),
        CertificateFault::NotYet => "look at the clock of this machine and at the certificate's dates".to_owned(),
        CertificateFault::OtherName => {
            format!("have one issued with the name {host}; if the proxy serves several names, look that server_name is {host}")
        }
        CertificateFault::UnknownIssuer | CertificateFault::Other(_) => {
            "take a certificate of an authority that phones know, such as Let's Encrypt; one of your own for a test is believed with --ca-file".to_owned()
        }
    };
    findings.wrong(Code::ThroughCertificate, format!("{host}: {fault}, and phones refuse it"), fix);
}

async fn shows_itself_alone(base: &Url, host: &str, way: &Way) -> bool {
    let port = base.port_or_known_default().unwrap_or(443);
    let address = match way.resolve {
        Some(address) => Some(address),
        None => tokio::net::lookup_host((host, port)).await.ok().and_then(|mut found| found.next()),
    };
    let Some(address) = address else { return false };
    let chain = handshake::shown(address, host).await.unwrap_or_default();
    matches!(&chain[..], [own] if !handshake::is_self_signed(own))
}

impl Line<'_> {
    fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap_or_else(|_| self.base.clone())
    }

    /// One small question.
    async fn ask(&self, method: Method, says: Says) -> Result<Reply, reqwest::Error> {
        let now = Pace {
            over: Duration::ZERO,
            pause: Duration::ZERO,
        };
        let size = if method == Method::POST || method == Method::PATCH {
            SMALL
        } else {
            0
        };
        self.send(method, says, size, now).await.1
    }

    /// The large one, which says that it comes for somebody else.
    async fn upload(&self, size: u64, pace: Pace) -> (Arc<Sent>, Result<Reply, reqwest::Error>) {
        self.send(Method::POST, Says::Forged, size, pace).await
    }

    async fn send(&self, method: Method, says: Says, size: u64, pace: Pace) -> (Arc<Sent>, Result<Reply, reqwest::Error>) {
        let (body, sent) = upload::body(size, pace);
        let pass = portal::pass(self.secrets, CheckPurpose::Upload);
        let (nonce, sealed) = pass.map_or_else(Default::default, |(pass, sealed)| (pass.name(), sealed));
        let mut request = self
            .client
            .request(method, self.url(check_upload::PATH))
            .bearer_auth(sealed)
            .header(ACCEPT, "application/json")
            // A browser takes packed answers: what packs them on the way shows.
            .header(ACCEPT_ENCODING, "gzip");
        if size > 0 {
            request = request
                .header(CONTENT_TYPE, upload::MEDIA_TYPE)
                .header(CONTENT_LENGTH, size)
                .body(body);
        }
        if says == Says::Forged {
            request = request
                .header("x-forwarded-for", FORGED)
                .header("forwarded", format!("for={FORGED}"));
        }
        let came = match request.send().await {
            Ok(response) => Ok(read(response, &nonce).await),
            Err(error) => Err(error),
        };
        (sent, came)
    }

    /// The applicants' styles, which the portal packs by itself.
    async fn style(&self) -> Option<(HeaderMap, Vec<u8>)> {
        let asked = self.client.get(self.url(assets::PORTAL_CSS.path)).header(ACCEPT_ENCODING, "gzip");
        let response = asked.send().await.ok().filter(|response| response.status() == 200)?;
        let headers = response.headers().clone();
        Some((headers, body_of(response).await))
    }
}

async fn read(response: reqwest::Response, nonce: &str) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let said: Value = serde_json::from_slice(&judge::unpacked(&headers, body_of(response).await)).unwrap_or_default();
    let header = headers.get(check_upload::HEADER).and_then(|value| value.to_str().ok());
    Reply {
        is_ours: status == 200 && header == Some(nonce),
        status,
        headers,
        said,
    }
}

/// Not without end; what was cut off is what it is.
async fn body_of(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        if body.len() + piece.len() > ANSWER_MAX {
            break;
        }
        body.extend_from_slice(&piece);
    }
    body
}
