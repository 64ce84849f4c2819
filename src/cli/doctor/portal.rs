//! The running portal, if there is one: whether it is ready, how it stands by its own word, and which certificates its ports show.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::Findings;
use super::codes::Code;
use super::handshake;
use crate::app::Layout;
use crate::config::Config;
use crate::crypto::check::{CheckPass, CheckPurpose};
use crate::crypto::secrets::PortalSecrets;
use crate::http::acme::kept::KeptCertificates;
use crate::http::settings::ListenerTls;
use crate::http::tls;

const AREA: &str = "portal";
const PATIENCE: Duration = Duration::from_secs(5);

/// What the portal says of itself.
pub(super) struct Standing {
    pub open_files: u64,
    pub connections: u64,
    pub memory: Option<u64>,
    /// `right`, `ahead` or `behind`.
    pub clock: String,
    not_ready: Option<String>,
    gone: Vec<(String, u64, bool)>,
}

/// Why it said nothing.
pub(super) enum Silent {
    /// Nothing answers there, or nobody knows where.
    Absent,
    /// The secrets cannot be read, which is told with the keys.
    NoPass,
    /// Something answers, and not as this portal does.
    Stranger(String),
}

/// A pass of the portal whose secrets these are.
pub(super) fn pass(secrets: &PortalSecrets, purpose: CheckPurpose) -> Option<(CheckPass, String)> {
    let pass = CheckPass::new(OffsetDateTime::now_utc().unix_timestamp()).ok()?;
    Some((pass, pass.seal(secrets, purpose)))
}

/// Where this machine reaches a listener; `None` for any free port, which nobody knows.
fn here(mut address: SocketAddr) -> Option<SocketAddr> {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    (address.port() != 0).then_some(address)
}

/// To this machine's own port, whose certificate names another host than this: it is looked at by [`certificates`].
fn client() -> Option<reqwest::Client> {
    crate::connectors::client::install_tls();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE);
    builder.build().ok()
}

fn url(config: &Config, address: SocketAddr, path: &str) -> String {
    let scheme = if config.staff.tls.is_on() { "https" } else { "http" };
    format!("{scheme}://{address}{path}")
}

/// Asks the portal that this configuration runs.
pub(super) async fn standing(config: &Config) -> Result<Standing, Silent> {
    let secrets = PortalSecrets::load(&Layout::of(config).secrets).map_err(|_| Silent::NoPass)?;
    let address = here(config.staff.address).ok_or(Silent::Absent)?;
    let (made, sealed) = pass(&secrets, CheckPurpose::Standing).ok_or(Silent::NoPass)?;
    let asked = client()
        .ok_or(Silent::Absent)?
        .get(url(config, address, "/check"))
        .bearer_auth(sealed);
    let answer = asked.send().await.map_err(|_| Silent::Absent)?;
    let status = answer.status().as_u16();
    let said: Value = answer.json().await.unwrap_or_default();
    if status != 200 || said["nonce"] != made.name().as_str() {
        let why = said["detail"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
        return Err(Silent::Stranger(why));
    }
    let gone = said["gone_providers"].as_array().into_iter().flatten();
    Ok(Standing {
        open_files: said["open_files"].as_u64().unwrap_or(u64::MAX),
        connections: said["connections"].as_u64().unwrap_or(0),
        memory: said["memory"].as_u64(),
        clock: said["clock"].as_str().unwrap_or_default().to_owned(),
        not_ready: said["not_ready"].as_str().map(str::to_owned),
        gone: gone
            .map(|gone| {
                let name = gone["provider"].as_str().unwrap_or_default().to_owned();
                (name, gone["requests"].as_u64().unwrap_or(0), gone["more"] == true)
            })
            .collect(),
    })
}

/// What its own word adds to what was asked from outside.
pub(super) async fn look(config: &Config, standing: Result<Standing, Silent>, findings: &mut Findings) {
    match &standing {
        Ok(standing) => {
            for (provider, requests, more) in &standing.gone {
                let number = format!("{requests}{}", if *more { " or more" } else { "" });
                findings.wrong(
                    Code::ProviderGone,
                    format!("{number} request(s) wait for {provider}, which the configuration does not name any more"),
                    format!("put [providers.{provider}] back and read the configuration again (systemctl kill --signal=HUP nightdrop), or withdraw these requests (nightdrop request list --provider {provider})"),
                );
            }
            if let Some(why) = &standing.not_ready {
                let fix = "see its log (journalctl -u nightdrop), and what is wrong above";
                findings.wrong(Code::PortalNotReady, format!("why it is not ready: {why}"), fix);
            }
        }
        Err(Silent::Stranger(why)) => findings.note(
            Code::PortalStranger,
            format!("what answers on {} does not say how it stands: {why}", config.staff.address),
            "if another portal or an older version runs there, stop it, or restart it (systemctl restart nightdrop)",
        ),
        Err(Silent::Absent | Silent::NoPass) => {}
    }
    certificates(config, standing.is_ok(), findings).await;
}

/// Where the certificate lies that a listener shows; `None` also where none was fetched yet, which is told with the authority.
fn certificate_file(config: &Config, tls: &ListenerTls) -> Option<PathBuf> {
    match tls {
        ListenerTls::Off => None,
        ListenerTls::Files(files) => Some(files.cert.clone()),
        ListenerTls::Acme(name) => {
            let kept = KeptCertificates::of(&Layout::of(config).certificates, &config.acme.as_ref()?.directory);
            Some(kept.certificate_file(name)).filter(|file| file.exists())
        }
    }
}

/// Whether each port shows the certificate that stands in its file. `runs`: somebody must be there.
async fn certificates(config: &Config, runs: bool, findings: &mut Findings) {
    let staff = config.staff_url.as_deref();
    let both = [
        ("public", &config.public, Some(config.public_url.as_str())),
        ("staff", &config.staff, staff),
    ];
    for (name, listener, outside) in both {
        let Some((cert, address)) = certificate_file(config, &listener.tls).zip(here(listener.address)) else {
            continue;
        };
        let host = outside.and_then(|url| reqwest::Url::parse(url).ok());
        let host = host.as_ref().and_then(|url| url.host_str()).unwrap_or("localhost");
        let in_file = tls::chain(&cert).ok().and_then(|chain| chain.into_iter().next());
        match handshake::shown(address, host).await {
            Ok(shown) if shown.first() == in_file.as_ref() => {
                findings.good(
                    "listeners",
                    format!("{name}: {address} shows the certificate in {}", cert.display()),
                );
            }
            Ok(shown) => {
                let end = shown.first().and_then(handshake::end);
                let end = end.map_or_else(String::new, |end| format!(", which ends on {}", end.date()));
                findings.wrong(
                    Code::CertificateStale,
                    format!("{name}: {address} shows another certificate than {} holds{end}", cert.display()),
                    "the portal takes changed files by itself and says why it refused them: journalctl -u nightdrop | grep certificate_refused; other paths in the configuration are taken by systemctl kill --signal=HUP nightdrop",
                );
            }
            Err(why) if runs => findings.wrong(
                Code::CertificateUnseen,
                format!("{name}: no TLS on {address}: {why}"),
                "TLS begins at a start: systemctl restart nightdrop; if another program holds the port (ss -ltnp), stop it",
            ),
            Err(_) => {}
        }
    }
}

/// `/readyz` of the portal that this configuration runs. `must`: it has to run.
pub(super) async fn ready(config: &Config, must: bool, findings: &mut Findings) {
    let Some(address) = here(config.staff.address).or(must.then_some(config.staff.address)) else {
        return;
    };
    let Some(client) = client() else { return };
    let answer = match client.get(url(config, address, "/readyz")).send().await {
        Ok(answer) => answer,
        Err(_) => {
            let text = format!("nothing answers on {address}: it does not run");
            let fix = "start it with `nightdrop serve`, as a service with systemctl start nightdrop";
            return match must {
                true => findings.wrong(Code::PortalAbsent, text, fix),
                false => findings.note(Code::PortalAbsent, text, fix),
            };
        }
    };
    if !answer.status().is_success() {
        let text = format!("it answers {} on {address}: not ready for uploads", answer.status());
        return findings.wrong(
            Code::PortalNotReady,
            text,
            "see its log (journalctl -u nightdrop), and what is wrong above",
        );
    }
    match answer.text().await.unwrap_or_default().contains("forwarding: locked") {
        true => findings.note(
            Code::PortalLocked,
            "it is ready for uploads, but its vault is locked",
            "run `nightdrop key unlock`",
        ),
        false => findings.good(AREA, format!("it runs on {address} and is ready for uploads")),
    }
}
