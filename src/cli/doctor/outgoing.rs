//! Whom the portal speaks to beside the providers: the mail server, webhooks, single sign-on, the virus scanner. Each is reached by the way that the portal itself takes, with its
//! guard and its certificate authorities; nothing is sent that means anything.

use std::time::Duration;

use time::OffsetDateTime;

use super::Findings;
use super::codes::Code;
use crate::config::Config;
use crate::connectors::causes::Unreached;
use crate::workflow::sign_in::sso::{NotDiscovered, SingleSignOn};

/// Who needs longer has a fault worth telling.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn look(config: &Config, findings: &mut Findings) {
    mail(config, findings).await;
    webhooks(config, findings).await;
    single_sign_on(config, findings).await;
    scanner(config, findings).await;
}

async fn mail(config: &Config, findings: &mut Findings) {
    let Some(mailer) = &config.outgoing.mailer else { return };
    let why = match tokio::time::timeout(PATIENCE, mailer.check()).await {
        Ok(Ok(())) => {
            return findings.good(
                "outgoing",
                "the mail server answers, with the TLS that is wanted, and lets the portal in",
            );
        }
        Ok(Err(why)) => why,
        Err(_) => "The mail server does not answer.".to_owned(),
    };
    findings.wrong(
        Code::MailServer,
        why,
        "look at host, port, tls, username, password_file and ca_file of [mail], and at the firewall (ports 587 and 465)",
    );
}

async fn webhooks(config: &Config, findings: &mut Findings) {
    let tries = config.outgoing.hooks.iter().map(|(name, hook)| async move {
        let reached = tokio::time::timeout(PATIENCE, hook.reach()).await;
        (name, reached.unwrap_or(Err(Unreached::InTime)))
    });
    for (name, reached) in futures_util::future::join_all(tries).await {
        let Err(why) = reached else {
            findings.good(
                "outgoing",
                format!("the webhook {name} can be reached; the console has the log of what it was told, under Admin"),
            );
            continue;
        };
        let fix = match &why {
            Unreached::Name => format!("look at url of [webhooks.{name}] and at the machine's name servers (getent hosts NAME)"),
            Unreached::NotAllowed => format!("if the receiver stands in your own network: allow_private = true in [webhooks.{name}]"),
            Unreached::Certificate(_) => {
                format!("have the receiver mend its certificate; for an authority of your own, ca_file in [webhooks.{name}]")
            }
            Unreached::InTime | Unreached::Connection => {
                format!("look at url and proxy of [webhooks.{name}], at the firewall, and whether the receiver runs")
            }
        };
        findings.wrong(Code::WebhookUnreached, format!("the webhook {name}: {why}"), fix);
    }
}

async fn single_sign_on(config: &Config, findings: &mut Findings) {
    let Some(settings) = &config.sso else { return };
    let issuer = settings.issuer.clone();
    let console = config.staff_url.as_deref().unwrap_or("http://localhost");
    let why = match SingleSignOn::new(settings.clone(), console) {
        Err(why) => Err(why),
        Ok(sso) => match tokio::time::timeout(PATIENCE, sso.check(OffsetDateTime::now_utc())).await {
            Ok(Ok(())) => Ok(()),
            Err(_) => Err("it does not answer in time".to_owned()),
            Ok(Err(NotDiscovered::Issuer(own))) => {
                return findings.wrong(
                    Code::SsoIssuer,
                    format!("{issuer}: {}", NotDiscovered::Issuer(own.clone())),
                    format!("set sso.issuer exactly as the provider writes it: {own:?}"),
                );
            }
            Ok(Err(why)) => Err(why.to_string()),
        },
    };
    match why {
        Ok(()) => findings.good("sign-in", format!("{issuer} is reached, is who it should be, and shows its keys")),
        Err(why) => findings.wrong(
            Code::SsoIssuer,
            format!("{issuer}: {why}"),
            "look at sso.issuer, at the firewall, and what ISSUER/.well-known/openid-configuration shows (curl)",
        ),
    }
}

/// Whether a clamd that is required finds anything, also at the end of the largest file.
async fn scanner(config: &Config, findings: &mut Findings) {
    let Some(scanner) = crate::app::scanner(config) else {
        let fix = "set scan.av = \"required\" when a clamd is at hand";
        return findings.note(Code::ScanOff, "documents leave unscanned", fix);
    };
    match scanner.fit(OffsetDateTime::now_utc()).await {
        Ok(()) => findings.good("virus scan", "clamd finds the test file, also at the end of the largest file"),
        Err(why) => findings.wrong(
            Code::ScanUnfit,
            why,
            "look at [scan] and clamd.conf: StreamMaxLength, MaxFileSize and MaxScanSize above limits.max_file, AlertExceedsMax yes; until then documents wait here, sealed",
        ),
    }
}
