//! `nightdrop recover`: the way out when a part of the data folder is lost for good. It says what it found and what it will do, asks, and does it.
//!
//! The portal must be stopped. A run that was cut off is simply run again.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::init::Protection;
use super::output::{self, Exit, Failure, Format, Outcome};
use super::process;
use super::{ask, backup};
use crate::app::recovery::{Recovery, RecoveryOptions, Report};
use crate::app::{App, KeyProtection};
use crate::config::Config;
use crate::crypto::keyfile::Argon2Cost;
use crate::domain::agent::{Actor, Scope};
use crate::storage::clock::Source;
use crate::workflow::sign_in;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop recover
  nightdrop recover --from portal.age --identity identity.txt
  nightdrop recover --new-key --yes --json --config /etc/nightdrop/nightdrop.toml

Stop the portal first. If a disk is not mounted or a copy is not complete, fix that instead: recovering gives up what is not here.
Documents that nobody can read any more are shown as lost, and can be asked for again. docs/operations/recovery.md says what each loss costs.")]
pub(super) struct Recover {
    /// The configuration [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The vault key, its folder, its key file or its passphrase is lost: make another one. What is sealed to the lost one is lost
    #[arg(long)]
    new_key: bool,
    /// What opens the new key [default: passphrase if the configuration names a passphrase_file, else file]
    #[arg(long, value_enum, value_name = "KIND", requires = "new_key")]
    key_protection: Option<Protection>,
    /// A file with the new key's passphrase, `-` for standard input [default: keys.passphrase_file of the configuration, else asked for]
    #[arg(long, value_name = "FILE", requires = "new_key")]
    passphrase_file: Option<PathBuf>,
    /// Where `--key-protection credential` writes the new key, for `systemd-creds encrypt`
    #[arg(long, value_name = "FILE", requires = "new_key")]
    credential_file: Option<PathBuf>,
    /// A store that is here but damaged beyond opening is set aside, and an empty one begun
    #[arg(long)]
    new_store: bool,
    /// Take what is lost from a backup of this portal, as far as it is in it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The age identity that opens the backup, as age-keygen writes it
    #[arg(long, value_name = "FILE", requires = "from")]
    identity: Option<PathBuf>,
    /// A file with the backup's passphrase, `-` for standard input [default: asked for]
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "identity")]
    backup_passphrase_file: Option<PathBuf>,
    /// Where the store is not the newest, open links stay open, also those that were used or withdrawn since
    #[arg(long)]
    keep_links: bool,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(recover: Recover) -> Outcome {
    let config = process::load(recover.config.as_deref())?;
    let new_key = recover.new_key.then(|| protection(&recover, &config)).transpose()?;
    let opener = || backup::opener(recover.identity.as_deref(), recover.backup_passphrase_file.as_deref());
    let from = recover.from.as_deref();
    let options = RecoveryOptions {
        new_key,
        new_store: recover.new_store,
        from: from.map(|file| opener().map(|opener| backup::read(file, opener))).transpose()?,
        keep_links: recover.keep_links,
    };
    process::block_on(work(&recover, config, options))
}

async fn work(recover: &Recover, config: Config, options: RecoveryOptions) -> Outcome {
    let as_json = recover.format.json;
    let recovery = Recovery::look(&config, options).await?;
    if recovery.is_whole() {
        return if as_json {
            output::json(&json!({"recovered": false, "found": []}))
        } else {
            output::line("Nothing is lost: every part of the data folder is here and at its newest.")
        };
    }
    let (found, plan) = (recovery.found().to_vec(), recovery.plan());
    if !as_json {
        output::line("Found:")?;
        found.iter().try_for_each(|what| output::line(format_args!("  - {what}")))?;
        output::line("Recovering means:")?;
        plan.iter().try_for_each(|what| output::line(format_args!("  - {what}")))?;
    }
    if !recover.yes {
        if as_json || !ask::somebody() {
            let why = format!("nobody can be asked: with --yes this is done: {}", plan.join("; "));
            return Err(Failure::new(why).exits(Exit::Refused));
        }
        if !ask::yes("Nothing of this can be undone. Go on?")? {
            return Err(Failure::new("nothing was recovered"));
        }
    }
    let (report, unfinished) = recovery.apply().await?;
    let api_key = if report.needs_people {
        Some(first_key(&config).await?)
    } else {
        None
    };
    if as_json {
        output::json(&render(&found, &plan, &report, api_key.as_ref()))?;
    } else {
        say(&report, api_key.as_ref())?;
    }
    unfinished.finish()?;
    Ok(())
}

/// A portal without people is opened by a key of its operator. Opening it proves that a start will succeed.
async fn first_key(config: &Config) -> Outcome<Zeroizing<String>> {
    let app = App::open_new(config.clone(), Source::System).await?;
    let (_, secret) = sign_in::add_api_key(&app.portal, "made by recover", Scope::ALL.to_vec(), None, Actor::Operator).await?;
    app.records
        .flush()
        .await
        .map_err(|e| Failure::new(format!("the store cannot be flushed: {e}")))?;
    Ok(secret)
}

fn render(found: &[String], plan: &[String], report: &Report, api_key: Option<&Zeroizing<String>>) -> Value {
    let keys: Vec<Value> = report
        .api_keys
        .iter()
        .map(|key| json!({"id": key.id.to_string(), "name": key.name, "created_at": key.created_at.format(&Rfc3339).unwrap_or_default()}))
        .collect();
    let aside: Vec<String> = report.set_aside.iter().map(|path| path.display().to_string()).collect();
    json!({
        "recovered": true,
        "found": found,
        "done": plan,
        "documents_lost": report.documents_lost,
        "links_withdrawn": report.links_withdrawn,
        "sessions_ended": report.sessions_ended,
        "set_aside": aside,
        "api_keys": keys,
        "api_key": api_key.map(|key| key.as_str()),
    })
}

fn say(report: &Report, api_key: Option<&Zeroizing<String>>) -> Outcome {
    output::line(format_args!(
        "✓ recovered: {} documents are lost, {} links withdrawn, {} sessions ended",
        report.documents_lost, report.links_withdrawn, report.sessions_ended
    ))?;
    for path in &report.set_aside {
        output::line(format_args!("  set aside: {}", path.display()))?;
    }
    if !report.api_keys.is_empty() {
        output::line(
            "  API keys that work; revoke those that should not (a key that was revoked after the store's end works again, one made after it is gone):",
        )?;
        for key in &report.api_keys {
            let made = key.created_at.format(&Rfc3339).unwrap_or_default();
            output::line(format_args!("    {}  {}  made {made}", key.id, output::plain(&key.name)))?;
        }
    }
    if let Some(key) = api_key {
        output::line(format_args!(
            "Nobody can sign in. API key (all scopes; shown this once): {}
Start the portal and make the first admin with it, NIGHTDROP_URL and NIGHTDROP_TOKEN being set:
  nightdrop agent add --email YOU@EXAMPLE.COM --name YOU --role admin     (or reset-password YOU@EXAMPLE.COM for an account that exists)",
            key.as_str()
        ))?;
    }
    output::line("Start the portal: what is lost is shown, and can be asked for again.")
}

/// How the new key is protected: as a start of this configuration opens it.
fn protection(recover: &Recover, config: &Config) -> Outcome<KeyProtection> {
    let noted = config.keys.passphrase_file.as_deref();
    let file = recover.passphrase_file.as_deref();
    let kind = recover
        .key_protection
        .unwrap_or_else(|| match (&recover.credential_file, file.or(noted)) {
            (Some(_), _) => Protection::Credential,
            (None, Some(_)) => Protection::Passphrase,
            (None, None) => Protection::File,
        });
    match (kind, &recover.credential_file) {
        (Protection::Credential, Some(file)) => Ok(KeyProtection::Credential(
            std::path::absolute(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?,
        )),
        (Protection::Credential, None) => Err(Failure::new("--key-protection credential needs --credential-file")),
        (_, Some(_)) => Err(Failure::new("--credential-file goes with --key-protection credential")),
        (Protection::File, None) => Ok(KeyProtection::KekFile),
        (Protection::Passphrase, None) => {
            let secret = passphrase(file.or(noted))?;
            let bytes = Zeroizing::new(secret.as_bytes().to_vec());
            Ok(KeyProtection::Passphrase(bytes, Argon2Cost::for_this_machine()))
        }
    }
}

fn passphrase(file: Option<&Path>) -> Outcome<Zeroizing<String>> {
    match file {
        Some(file) => ask::from_file(file),
        None if ask::somebody() => ask::new_secret("A passphrase for the new vault key"),
        None => Err(Failure::new(
            "nobody can be asked for the passphrase: name a file that holds it with --passphrase-file",
        )),
    }
}
