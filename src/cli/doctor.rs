//! `nightdrop doctor`: looks at everything that can be wrong before and while the portal runs, all at once, each with its fix; and says what is good.
//!
//! It changes no record. While a portal runs, its store and slots belong to it: they are then judged from outside, and the portal itself is asked how it stands.

mod acme;
mod codes;
mod database;
mod disk;
mod handshake;
mod judge;
mod listeners;
mod machine;
mod outgoing;
mod portal;
mod providers;
mod through;
mod upload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Failure, Format, Marks, Outcome};
use super::process;
use crate::config::Resolved;
use crate::settings::ConfigError;
use codes::Code;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop doctor
  nightdrop doctor --config /etc/nightdrop/nightdrop.toml --provider stripe
  nightdrop doctor --through
  nightdrop doctor --through --pause 19
  nightdrop doctor --json
  nightdrop doctor --ready

A provider is asked one harmless question with its credentials, webhooks and single sign-on are reached, the mail server is signed in to: nothing is sent or changed there.
Which question stands on the provider's page (assets/docs/providers, or /docs in the console).
With --provider, a table of kind http is also shown as the requests that it makes, with placeholders for secrets, applicant and bytes.

--through sends a test upload of the largest size through public_url, in about ten seconds, to the portal that must be running here. It takes no link, and the portal stores nothing of it.
It finds a proxy that buffers, cuts off, limits bodies, names no client, redirects or changes headers, and certificates that phones refuse.

Every finding stands with its fix in docs/operations/doctor.md. Exits with 1 when something is wrong (✗); notes (!) are for you to judge.")]
pub(super) struct Doctor {
    /// The configuration [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask only this provider [default: all]
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Ask only whether the portal runs and is ready for uploads (for a health check)
    #[arg(long, conflicts_with_all = ["provider", "through"])]
    ready: bool,
    /// Send a test upload through public_url, as an applicant's phone would
    #[arg(long)]
    through: bool,
    /// Connect here for it, whatever the name leads to (where this network's name server says otherwise)
    #[arg(long, value_name = "ADDRESS:PORT", requires = "through")]
    resolve: Option<SocketAddr>,
    /// Believe these certificate authorities for it, beside the system's (a PEM file)
    #[arg(long, value_name = "FILE", requires = "through")]
    ca_file: Option<PathBuf>,
    /// Seconds over which it is sent
    #[arg(long, value_name = "SECONDS", requires = "through", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=60))]
    over: u64,
    /// Seconds of silence in its middle, as a phone between two networks has; a proxy that is less patient cuts off
    #[arg(long, value_name = "SECONDS", requires = "through", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60))]
    pause: u64,
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
    /// None where all is good.
    code: Option<Code>,
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
            code: None,
            text: text.into(),
            fix: None,
        });
    }

    fn note(&mut self, code: Code, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Note, code, text.into(), fix.into());
    }

    fn wrong(&mut self, code: Code, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Wrong, code, text.into(), fix.into());
    }

    fn add(&mut self, level: Level, code: Code, text: String, fix: String) {
        self.0.push(Finding {
            level,
            area: code.area(),
            code: Some(code),
            text,
            fix: Some(fix),
        });
    }

    /// An error of the configuration, in the area of its section.
    fn fault(&mut self, area: &'static str, error: ConfigError) {
        self.wrong(Code::ConfigurationFault, error.key, error.fix);
        if let Some(last) = self.0.last_mut() {
            last.area = area;
        }
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
            portal::ready(&resolved.config, true, &mut findings).await;
            Ok(())
        })?;
        return end(&findings, doctor.format.json);
    }
    match resolved.as_ref().filter(|resolved| tells_the_folders(resolved)) {
        None => machine::look(None, None, &mut findings),
        Some(resolved) => process::block_on(look(&doctor, resolved, &mut findings))?,
    }
    end(&findings, doctor.format.json)
}

async fn look(doctor: &Doctor, Resolved { config, errors, .. }: &Resolved, findings: &mut Findings) -> Outcome {
    let of_provider = |error: &ConfigError| Some(error.key.strip_prefix("providers.")?.split('.').next()?.to_owned());
    let refused: Vec<String> = errors.iter().filter_map(of_provider).collect();
    let standing = portal::standing(config).await;
    machine::look(Some(config), standing.as_ref().ok(), findings);
    let held = database::look(config, findings).await;
    disk::look(config, held, findings);
    providers::look(config, &refused, doctor.provider.as_deref(), findings).await?;
    outgoing::look(config, findings).await;
    acme::look(config, findings).await;
    portal::ready(config, false, findings).await;
    portal::look(config, standing, findings).await;
    if doctor.through {
        let way = through::Way {
            resolve: doctor.resolve,
            ca_file: doctor.ca_file.clone(),
            over: Duration::from_secs(doctor.over),
            pause: Duration::from_secs(doctor.pause),
        };
        through::look(config, &way, findings).await;
    }
    Ok(())
}

fn end(findings: &Findings, as_json: bool) -> Outcome {
    report(findings, as_json)?;
    if findings.is_wrong() { Err(Failure::quiet()) } else { Ok(()) }
}

/// Sections whose errors leave the rest of the configuration as it is meant, so that the rest can be looked at.
const ASIDE: [(&str, &str); 7] = [
    ("providers.", "providers"),
    ("mail.", "outgoing"),
    ("webhooks.", "outgoing"),
    ("sso.", "sign-in"),
    ("listen.", "listeners"),
    ("scan.", "virus scan"),
    ("acme.", "listeners"),
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
        findings.fault(area_of(&error).unwrap_or(AREA), error);
    }
    let resolved = loaded.ok()?;
    if tells_the_folders(&resolved) {
        if resolved.config.company.name == "Example Bank" {
            findings.note(
                Code::ExampleCompany,
                "applicants will read \"Example Bank\" asks for their document",
                "set company.name and company.support",
            );
        }
        listeners::look(&resolved.config, findings);
    }
    Some(resolved)
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
                json!({"level": level, "area": f.area, "code": f.code.map(Code::as_str), "text": f.text, "fix": f.fix})
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
