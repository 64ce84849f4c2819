//! How the portal is reached, as the configuration has it: TLS, addresses, and the certificates in their files.

use std::net::SocketAddr;
use std::path::Path;

use time::{Duration, OffsetDateTime};

use super::Findings;
use super::codes::Code;
use super::handshake;
use crate::config::Config;
use crate::http::settings::ListenerTls;
use crate::http::tls;

const AREA: &str = "listeners";
/// Before this a certificate should have been renewed.
pub(super) const SOON: Duration = Duration::days(21);

pub(super) fn look(config: &Config, findings: &mut Findings) {
    let outside = |address: SocketAddr| !address.ip().is_loopback();
    let staff_url = config.staff_url.as_deref();
    for (name, listener, url) in [
        ("public", &config.public, Some(config.public_url.as_str())),
        ("staff", &config.staff, staff_url),
    ] {
        if let ListenerTls::Files(files) = &listener.tls {
            // Where they do not, that is an error of the configuration.
            if tls::read(&files.cert, &files.key).is_ok() {
                findings.good(AREA, format!("{name}: {} and its key belong together", files.cert.display()));
            }
            end(
                name,
                &files.cert,
                "renew it: both files are taken within a second, without a restart",
                findings,
            );
            if let Some(host) = url.and_then(host_of) {
                name_fits(name, &files.cert, &host, findings);
            }
        }
    }
    if !config.staff.tls.is_on() && outside(config.staff.address) {
        let text = format!(
            "console and API listen on {} without TLS: passwords and keys travel in the clear",
            config.staff.address
        );
        findings.note(
            Code::StaffInTheClear,
            text,
            "listen on 127.0.0.1 behind a TLS proxy, or set listen.staff_tls or [acme]",
        );
    }
    let https = config.public_url.starts_with("https://");
    if config.staff_url.is_none() && (https || outside(config.staff.address)) {
        findings.note(
            Code::NoStaffUrl,
            "the console has no address of its own: passkeys and single sign-on work on this machine alone, and agents' mails have no link",
            "set staff_url to the address at which browsers reach the console",
        );
    }
    if https && !config.public.tls.is_on() && config.trusted_proxies.is_empty() {
        let text = format!("{} is served by {} without TLS", config.public_url, config.public.address);
        findings.note(Code::NoTls, text, "set listen.public_tls or [acme]; or, behind a TLS proxy, name the proxy in trusted_proxies so that limits count the applicants and not the proxy");
    }
    if !https {
        findings.note(
            Code::NotHttps,
            format!("{} is for this machine only", config.public_url),
            "set public_url to an https address before applicants use it",
        );
    }
}

/// The host of an https address.
fn host_of(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    (url.scheme() == "https").then(|| url.host_str().map(str::to_owned)).flatten()
}

/// How long browsers still take a certificate. One that cannot be read is told with its key.
pub(super) fn end(name: &str, cert: &Path, mend: &str, findings: &mut Findings) {
    let Ok(end) = tls::expires(cert) else { return };
    let text = |word: &str| format!("{name}: {} {word} on {}", cert.display(), end.date());
    match end - OffsetDateTime::now_utc() {
        left if left.is_negative() => findings.wrong(Code::CertificateEnds, text("ended"), mend),
        left if left < SOON => findings.note(Code::CertificateEnds, text("ends"), mend),
        _ => findings.good(AREA, text("ends")),
    }
}

fn name_fits(name: &str, cert: &Path, host: &str, findings: &mut Findings) {
    let Ok(chain) = tls::chain(cert) else { return };
    let Some(first) = chain.first() else { return };
    if handshake::names(first, host) {
        findings.good(AREA, format!("{name}: {} is for {host}", cert.display()));
    } else {
        findings.wrong(
            Code::CertificateName,
            format!("{name}: {} is not for {host}, by which browsers come", cert.display()),
            format!("have one issued with the name {host}; its own certificate stands first in the file"),
        );
    }
}
