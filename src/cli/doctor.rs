//! `nightdrop doctor`: looks at everything that can be wrong before and while the portal runs, all at once, each with its fix; and says what is good.
//!
//! It changes no record. While a portal runs, its store and slots belong to it: they are then judged from outside and said to be held.

mod database;
mod disk;
mod machine;
mod providers;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Failure, Format, Marks, Outcome};
use super::process;
use crate::config::{Config, Resolved};
use crate::settings::ConfigError;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop doctor
  nightdrop doctor --config /etc/nightdrop/nightdrop.toml --provider stripe
  nightdrop doctor --json
  nightdrop doctor --ready

A provider is asked one harmless question with its credentials: nothing is sent or changed there.
Which question stands on the provider's page (assets/docs/providers, or /docs in the console).
With --provider, a table of kind http is also shown as the requests that it makes, with placeholders for secrets, applicant and bytes.

Exits with 1 when something is wrong (✗); notes (!) are for you to judge.")]
pub(super) struct Doctor {
    /// The configuration [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask only this provider [default: all]
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Ask only whether the portal runs and is ready for uploads (for a health check)
    #[arg(long, conflicts_with = "provider")]
    ready: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Good,
    /// Works, and may not be what is wanted.
    Note,
    Wrong,
}

struct Finding {
    level: Level,
    area: &'static str,
    text: String,
    fix: Option<String>,
}

/// What was found, in the order in which it was looked for.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, area: &'static str, text: impl Into<String>) {
        self.0.push(Finding {
            level: Level::Good,
            area,
            text: text.into(),
            fix: None,
        });
    }

    fn note(&mut self, area: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding {
            level: Level::Note,
            area,
            text: text.into(),
            fix: Some(fix.into()),
        });
    }

    fn wrong(&mut self, area: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding {
            level: Level::Wrong,
            area,
            text: text.into(),
            fix: Some(fix.into()),
        });
    }

    fn is_wrong(&self) -> bool {
        self.0.iter().any(|f| f.level == Level::Wrong)
    }
}

/// Which program looks: whoever asks for help sends this along.
fn program(findings: &mut Findings) {
    use crate::version::{COMMIT, TARGET, VERSION};
    let layout = crate::app::identity::LAYOUT;
    findings.good(
        "program",
        format!("nightdrop {VERSION}, commit {COMMIT}, for {TARGET}, data layout {layout}"),
    );
}

pub(super) fn run(doctor: Doctor) -> Outcome {
    let mut findings = Findings::default();
    program(&mut findings);
    let path = process::config_path(doctor.config.as_deref());
    let resolved = configuration(&path, &mut findings);
    let is_sound = !findings.is_wrong();
    if let (true, true, Some(resolved)) = (doctor.ready, is_sound, &resolved) {
        let mut findings = Findings::default();
        process::block_on(async {
            providers::portal(&resolved.config, true, &mut findings).await;
            Ok(())
        })?;
        report(&findings, doctor.format.json)?;
        return if findings.is_wrong() { Err(Failure::quiet()) } else { Ok(()) };
    }
    machine::look(&mut findings);
    if let Some(Resolved { config, errors, .. }) = resolved.as_ref().filter(|resolved| tells_the_folders(resolved)) {
        let of_provider = |error: &ConfigError| Some(error.key.strip_prefix("providers.")?.split('.').next()?.to_owned());
        let refused: Vec<String> = errors.iter().filter_map(of_provider).collect();
        let held = process::block_on(async { Ok(database::look(config, &mut findings).await) })?;
        disk::look(config, held, &mut findings);
        process::block_on(async {
            providers::look(config, &refused, doctor.provider.as_deref(), &mut findings).await?;
            providers::outgoing(config, &mut findings).await;
            scanner(config, &mut findings).await;
            providers::portal(config, false, &mut findings).await;
            Ok(())
        })?;
    }
    report(&findings, doctor.format.json)?;
    if findings.is_wrong() { Err(Failure::quiet()) } else { Ok(()) }
}

/// Sections whose errors leave the rest of the configuration as it is meant, so that the rest can be looked at.
const ASIDE: [(&str, &str); 5] = [
    ("providers.", "providers"),
    ("mail.", "outgoing"),
    ("webhooks.", "outgoing"),
    ("sso.", "sign-in"),
    ("listen.", "listeners"),
];

fn area_of(error: &ConfigError) -> Option<&'static str> {
    ASIDE
        .iter()
        .find(|(section, _)| error.key.starts_with(section))
        .map(|(_, area)| *area)
}

fn tells_the_folders(resolved: &Resolved) -> bool {
    resolved.errors.iter().all(|error| area_of(error).is_some())
}

/// Every error of the configuration is a finding; only one without any is called complete.
fn configuration(path: &Path, findings: &mut Findings) -> Option<Resolved> {
    const AREA: &str = "configuration";
    let loaded = Resolved::load(path, process::environment());
    let errors = loaded.as_ref().map_or_else(Clone::clone, |resolved| resolved.errors.clone());
    if errors.is_empty() {
        findings.good(AREA, format!("{} is complete", path.display()));
    }
    for error in errors {
        findings.wrong(area_of(&error).unwrap_or(AREA), error.key, error.fix);
    }
    let resolved = loaded.ok()?;
    if tells_the_folders(&resolved) {
        if resolved.config.company.name == "Example Bank" {
            findings.note(
                AREA,
                "applicants will read \"Example Bank\" asks for their document",
                "set company.name and company.support",
            );
        }
        listeners(&resolved.config, findings);
    }
    Some(resolved)
}

fn listeners(config: &Config, findings: &mut Findings) {
    const AREA: &str = "listeners";
    let outside = |address: std::net::SocketAddr| !address.ip().is_loopback();
    for (name, listener) in [("public", &config.public), ("staff", &config.staff)] {
        if let Some(tls) = &listener.tls {
            // Where they do not, that is an error of the configuration.
            if crate::http::tls::read(&tls.cert, &tls.key).is_ok() {
                findings.good(AREA, format!("{name}: {} and its key belong together", tls.cert.display()));
            }
            certificate(name, &tls.cert, time::OffsetDateTime::now_utc(), findings);
        }
    }
    if config.staff.tls.is_none() && outside(config.staff.address) {
        let text = format!(
            "console and API listen on {} without TLS: passwords and keys travel in the clear",
            config.staff.address
        );
        findings.note(AREA, text, "listen on 127.0.0.1 behind a TLS proxy, or set listen.staff_tls");
    }
    let https = config.public_url.starts_with("https://");
    if config.staff_url.is_none() && (https || outside(config.staff.address)) {
        findings.note(
            AREA,
            "the console has no address of its own: passkeys and single sign-on work on this machine alone, and agents' mails have no link",
            "set staff_url to the address at which browsers reach the console",
        );
    }
    if https && config.public.tls.is_none() && config.trusted_proxies.is_empty() {
        let text = format!("{} is served by {} without TLS", config.public_url, config.public.address);
        findings.note(AREA, text, "set listen.public_tls; or, behind a TLS proxy, name the proxy in trusted_proxies so that limits count the applicants and not the proxy");
    }
    if !https {
        findings.note(
            AREA,
            format!("{} is for this machine only", config.public_url),
            "set public_url to an https address before applicants use it",
        );
    }
}

/// How long browsers still take a certificate. One that cannot be read is told with its key.
fn certificate(name: &str, cert: &Path, now: time::OffsetDateTime, findings: &mut Findings) {
    const AREA: &str = "listeners";
    const SOON: time::Duration = time::Duration::days(14);
    const MEND: &str = "renew it, then restart the portal";
    let Ok(end) = crate::http::tls::expires(cert) else { return };
    let text = |word: &str| format!("{name}: {} {word} on {}", cert.display(), end.date());
    match end - now {
        left if left.is_negative() => findings.wrong(AREA, text("ended"), MEND),
        left if left < SOON => findings.note(AREA, text("ends"), MEND),
        _ => findings.good(AREA, text("ends")),
    }
}

/// Whether a clamd that is required finds anything, also at the end of the largest file.
async fn scanner(config: &Config, findings: &mut Findings) {
    const AREA: &str = "virus scan";
    let Some(scanner) = crate::app::scanner(config) else {
        let fix = "set scan.av = \"required\" when a clamd is at hand";
        return findings.note(AREA, "documents leave unscanned", fix);
    };
    match scanner.fit(time::OffsetDateTime::now_utc()).await {
        Ok(()) => findings.good(AREA, "clamd finds the test file, also at the end of the largest file"),
        Err(why) => findings.wrong(
            AREA,
            why,
            "look at [scan] and clamd.conf: StreamMaxLength, MaxFileSize and MaxScanSize above limits.max_file, AlertExceedsMax yes; until then documents wait here, sealed",
        ),
    }
}

fn report(findings: &Findings, as_json: bool) -> Outcome {
    if as_json {
        let all: Vec<Value> = findings
            .0
            .iter()
            .map(|f| {
                let level = match f.level {
                    Level::Good => "good",
                    Level::Note => "note",
                    Level::Wrong => "wrong",
                };
                json!({"level": level, "area": f.area, "text": f.text, "fix": f.fix})
            })
            .collect();
        return output::json(&json!({"ok": !findings.is_wrong(), "findings": all}));
    }
    let marks = Marks::new();
    for finding in &findings.0 {
        let mark = match finding.level {
            Level::Good => marks.good(),
            Level::Note => marks.note(),
            Level::Wrong => marks.bad(),
        };
        output::line(format_args!("{mark} {:<14}{}", finding.area, output::plain(&finding.text)))?;
        if let Some(fix) = &finding.fix {
            output::line(format_args!("  {:14}→ {}", "", output::plain(fix)))?;
        }
    }
    let count = |level| findings.0.iter().filter(|f| f.level == level).count();
    output::line(format_args!(
        "\n{} good, {} to judge, {} wrong",
        count(Level::Good),
        count(Level::Note),
        count(Level::Wrong)
    ))
}
