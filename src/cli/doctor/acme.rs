//! Certificates that the portal fetches itself: whether they are here and how long they are taken, whether the authority can be reached, and whether it can reach the portal's port.

use super::Findings;
use super::codes::Code;
use super::listeners;
use crate::app::Layout;
use crate::config::Config;
use crate::http::acme::kept::KeptCertificates;
use crate::http::settings::ListenerTls;

/// Where every authority connects to.
const HTTPS: u16 = 443;

pub(super) async fn look(config: &Config, findings: &mut Findings) {
    const AREA: &str = "listeners";
    let Some(acme) = &config.acme else { return };
    let kept = KeptCertificates::of(&Layout::of(config).certificates, &acme.directory);
    let mut ports = Vec::new();
    for (listener, settings) in [("public", &config.public), ("staff", &config.staff)] {
        let ListenerTls::Acme(name) = &settings.tls else { continue };
        ports.push(settings.address.port());
        let file = kept.certificate_file(name);
        match kept.certificate(name) {
            Ok(Some(_)) => listeners::end(
                listener,
                &file,
                "the running portal renews it by itself: its log says why it does not",
                findings,
            ),
            Ok(None) => findings.note(
                Code::AcmeNotFetched,
                format!("{listener}: no certificate of {name} has been fetched yet"),
                "start the portal: it fetches one by itself, and its log says why it does not",
            ),
            Err(why) => findings.wrong(
                Code::AcmeUnreadable,
                why,
                "make it readable for its owner alone, or move it away: another one is fetched",
            ),
        }
    }
    if !ports.is_empty() && !ports.contains(&HTTPS) {
        findings.note(
            Code::AcmePort,
            "no listener has port 443, and the certificate authority connects to no other one",
            "listen on 443, or have the firewall or container manager lead port 443 here",
        );
    }
    let reached = match acme.client() {
        Ok(client) => client.look(&acme.directory).await,
        Err(why) => Err(why),
    };
    match reached {
        Ok(()) => findings.good(AREA, format!("the certificate authority at {} can be reached", acme.directory)),
        Err(why) => findings.wrong(
            Code::AcmeUnreached,
            format!("the certificate authority at {} cannot be reached: {why}", acme.directory),
            "let this machine connect there, or set acme.proxy; look at acme.directory and acme.ca_file",
        ),
    }
}
