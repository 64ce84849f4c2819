//! `nightdrop key status|unlock|rotate|passphrase|protect`: the vault key, which opens sealed documents.
//!
//! A running portal is asked through its API. Rotating works on the folder of a stopped portal: a new key becomes the current one, the old ones stay for opening
//! what is still sealed to them. A retired key that nothing is sealed to any more is destroyed there and then.

mod protect;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::{Api, Remote, text};
use super::output::{self, Failure, Format, Outcome};
use super::{ask, process};
use crate::app::{Layout, StartError, Store, data_folder};
use crate::chain::chain;
use crate::config::Config;
use crate::config::privacy_of;
use crate::crypto::envelope::{KeyId, Suite};
use crate::crypto::keyfile::{Argon2Cost, Protection, Protector};
use crate::crypto::keyring::Keyring;
use crate::crypto::private_file;
use crate::crypto::secret::SecretBytes;
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::storage::backend::Records;
use crate::storage::clock::Source;
use crate::workflow::vault;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop key status
  nightdrop key unlock
  nightdrop key rotate --config /etc/nightdrop/nightdrop.toml
  nightdrop key passphrase --config /etc/nightdrop/nightdrop.toml
  nightdrop key protect --with file

When somebody leaves who knows the passphrase, change it and rotate the key: an old copy of the key file opens with the old passphrase for ever.
When the passphrase, or the key, is gone with them: nightdrop recover --new-key begins another one, and what was sealed to the old one is lost.")]
pub(super) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Which keys there are, and whether documents can be forwarded
    #[command(
        after_help = "Example:\n  nightdrop key status --json\n\nWith NIGHTDROP_URL (or --url) a running portal is asked; without it the keys on this disk are shown."
    )]
    Status(Status),
    /// Open the vault of a running portal with its passphrase
    #[command(
        after_help = "Example:\n  nightdrop key unlock\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file."
    )]
    Unlock(Unlock),
    /// Make a new current key; the old ones only open from then on, and go once nothing is sealed to them. The portal must be stopped
    #[command(
        after_help = "Example:\n  nightdrop key rotate --config /etc/nightdrop/nightdrop.toml\n\nThe new key is protected as the old one is: by the same key file or the same passphrase.\nRetired keys that no document is sealed to any more are destroyed; a later rotation destroys those that were still needed."
    )]
    Rotate(Rotate),
    /// Change the passphrase. The portal must be stopped
    #[command(
        after_help = "Example:\n  nightdrop key passphrase --config /etc/nightdrop/nightdrop.toml\n\nThe key stays the same, so copies of its file still open with the old passphrase: rotate it as well if somebody has one.\nIt may be cut off at any point and run again."
    )]
    Passphrase(protect::NewPassphrase),
    /// Change what opens the vault: a key file, a passphrase, or a credential that systemd keeps. The portal must be stopped
    #[command(
        after_help = "Examples:\n  nightdrop key protect --with passphrase\n  nightdrop key protect --with credential --credential-file /root/nightdrop-key\n\nThe key stays the same. A key file that nothing needs any more is overwritten and removed. It may be cut off at any point and run again."
    )]
    Protect(protect::Protect),
}

#[derive(Args, Debug)]
struct Status {
    /// The configuration, for the keys on this disk [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Unlock {
    /// A file with the passphrase, `-` for standard input [default: asked for]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Rotate {
    /// The configuration [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the passphrase, where the configuration names none, `-` for standard input [default: asked for]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(keys: Keys) -> Outcome {
    match keys.action {
        Action::Status(status) if status.config.is_none() && status.remote.is_named() => process::block_on(async {
            let vault = Api::of(&status.remote)?.get(&["key"], &[]).await?;
            render(&vault, status.remote.json())
        }),
        Action::Status(status) => {
            let config = process::load(status.config.as_deref())?;
            render(&on_disk(&Layout::of(&config).keys)?, status.remote.json())
        }
        Action::Unlock(unlock) => process::block_on(async {
            let api = Api::of(&unlock.remote)?;
            let passphrase = passphrase(unlock.passphrase_file.as_deref())?;
            let vault = api.post(&["key", "unlock"], &json!({"passphrase": &*passphrase})).await?;
            render(&vault, unlock.remote.json())
        }),
        Action::Rotate(rotate) => process::block_on(renew(rotate)),
        Action::Passphrase(given) => process::block_on(protect::passphrase(given)),
        Action::Protect(given) => process::block_on(protect::protect(given)),
    }
}

fn passphrase(file: Option<&Path>) -> Outcome<Zeroizing<String>> {
    match file {
        Some(file) => ask::from_file(file),
        None if ask::somebody() => ask::secret("The vault key's passphrase"),
        None => Err(Failure::new(
            "nobody can be asked for the passphrase: name a file that holds it with --passphrase-file",
        )),
    }
}

/// The keys in a folder, in the API's words as far as a folder can tell.
fn on_disk(folder: &Path) -> Outcome<Value> {
    let keyring = open(folder)?;
    let keys: Vec<Value> = keyring
        .status()
        .iter()
        .map(|key| {
            let state = match (key.current, key.protection) {
                (true, _) => "current",
                (false, Some(_)) => "retired",
                (false, None) => "destroyed",
            };
            json!({"id": key.id.to_string(), "suite": key.suite.name(), "state": state, "protection": key.protection.map(word)})
        })
        .collect();
    Ok(json!({"keys": keys}))
}

fn open(folder: &Path) -> Outcome<Keyring> {
    Keyring::open(folder).map_err(|e| Failure::new(format!("the keyring cannot be opened: {}", chain(&e))))
}

fn word(protection: Protection) -> &'static str {
    match protection {
        Protection::Passphrase => "passphrase",
        Protection::Kek => "key-file",
        Protection::None => "none",
    }
}

fn render(vault: &Value, json: bool) -> Outcome {
    if json {
        return output::json(vault);
    }
    let rows: Vec<Vec<String>> = vault["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| {
            let unlocked = key["unlocked"].as_bool().map_or("-", |u| if u { "yes" } else { "no" });
            let waiting = key["live_documents"].as_u64().map_or_else(|| "-".to_owned(), |n| n.to_string());
            let cell = |field| text(key, field).to_owned();
            vec![
                cell("id"),
                cell("suite"),
                cell("state"),
                cell("protection"),
                unlocked.to_owned(),
                waiting,
            ]
        })
        .collect();
    output::table(&["KEY", "SUITE", "STATE", "PROTECTED BY", "OPEN", "DOCUMENTS"], &rows)?;
    match vault["locked"].as_bool() {
        Some(true) if vault["absent"] == true => output::line(
            "The vault key's private half is not here: no document is taken. Hand it to the portal, or see docs/operations/recovery.md.",
        ),
        Some(true) => output::line("The vault is locked: documents are accepted and none is forwarded until `nightdrop key unlock`."),
        Some(false) => output::line("The vault is open: documents are forwarded."),
        None => Ok(()),
    }
}

/// Holding the store proves that no portal runs, and keeps it so.
async fn hold(config: &Config, layout: &Layout) -> Outcome<Arc<dyn Records>> {
    let portal = data_folder::check(layout)?;
    let secrets = data_folder::load_secrets(layout)?;
    let opened = Store::open(config, layout, portal, Source::System, &secrets).await;
    opened.map(|store| store.records()).map_err(|error| match error {
        StartError::InUse(why) | StartError::Unavailable(why) => {
            Failure::new(format!("{why}; if a portal runs here, stop the portal first"))
        }
        other => other.into(),
    })
}

async fn renew(rotate: Rotate) -> Outcome {
    let config = process::load(rotate.config.as_deref())?;
    let layout = Layout::of(&config);
    let store = hold(&config, &layout).await?;
    let keyring = open(&layout.keys)?;
    let (old, suite) = (keyring.current().id(), keyring.current().suite());
    let new = make(&config, &layout, &keyring, suite, rotate.passphrase_file.as_deref())?;
    let event = AuditEvent::new(store.now(), Actor::Operator, AuditAction::KeyRotated)
        .with("key", new)
        .with("before", old);
    store.append(event).await.map_err(|e| {
        Failure::new(format!(
            "key {new} is the current one now, but the audit log could not be written: {}",
            chain(&e)
        ))
    })?;
    let retired = retire(&*store, &layout.keys).await?;
    if rotate.format.json {
        let ids = |keys: &[KeyId]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let kept: Vec<KeyId> = retired.kept.iter().map(|(id, _)| *id).collect();
        let destroyed = ids(&retired.destroyed);
        return output::json(&json!({"key": new.to_string(), "before": old.to_string(), "destroyed": destroyed, "kept": ids(&kept)}));
    }
    output::line(format_args!("✓ {new} is the current vault key"))?;
    for id in &retired.destroyed {
        output::line(format_args!("✓ {id} was destroyed: nothing is sealed to it any more"))?;
    }
    retired.kept.iter().try_for_each(|(id, documents)| match documents {
        Some(documents) => output::line(format_args!(
            "  {id} stays for opening what is sealed to it (documents: {documents})"
        )),
        None => output::line(format_args!("  {id} stays: of some document it cannot be told which key opens it")),
    })
}

/// What became of the keys that are no longer current.
struct Retired {
    destroyed: Vec<KeyId>,
    /// With the documents that need it; `None` where that cannot be told.
    kept: Vec<(KeyId, Option<u64>)>,
}

/// Destroys every retired key that nothing is sealed to. The caller holds the store, so that nothing is received meanwhile.
async fn retire(store: &dyn Records, keys: &Path) -> Outcome<Retired> {
    // Opened again: the one from before took another key for the current one.
    let keyring = open(keys)?;
    let failed = |what: String| Failure::new(format!("the new key is the current one, but {what}"));
    let sealed = vault::sealed(store)
        .await
        .map_err(|e| failed(format!("no retired key was destroyed: {}", chain(&e))))?;
    let mut retired = Retired {
        destroyed: Vec::new(),
        kept: Vec::new(),
    };
    for key in keyring.status().iter().filter(|k| !k.current && k.protection.is_some()) {
        let id = key.id;
        match sealed.by_key.get(&id) {
            Some(documents) => retired.kept.push((id, Some(*documents))),
            None if sealed.unknown > 0 => retired.kept.push((id, None)),
            None => {
                keyring
                    .destroy(&id)
                    .map_err(|e| failed(format!("{id} could not be destroyed: {}", chain(&e))))?;
                let event = AuditEvent::new(store.now(), Actor::Operator, AuditAction::VaultKeyDestroyed).with("key", id);
                store.append(event).await.map_err(|e| {
                    failed(format!(
                        "that {id} was destroyed could not be written to the audit log: {}",
                        chain(&e)
                    ))
                })?;
                retired.destroyed.push(id);
            }
        }
    }
    Ok(retired)
}

/// A new pair under the protector that opens the present one.
fn make(config: &Config, layout: &Layout, keyring: &Keyring, suite: Suite, passphrase_file: Option<&Path>) -> Outcome<KeyId> {
    let current = keyring.status().into_iter().find(|k| k.current).and_then(|k| k.protection);
    let failed = |e: &(dyn std::error::Error + 'static)| Failure::new(chain(e).to_string());
    let renew = |protector: &Protector<'_>| {
        keyring.unlock(protector).map_err(|e| failed(&e))?;
        if keyring.is_locked() {
            return Err(Failure::new("this opens an older vault key, not the current one"));
        }
        Keyring::create_key(&layout.keys, suite, protector).map_err(|e| failed(&e))
    };
    match current {
        Some(Protection::Kek) => {
            let path = config.keys.kek_file.as_ref().unwrap_or(&layout.kek);
            let bytes = private_file::read(path, 64, privacy_of(path)).map_err(|e| failed(&e))?;
            let mut raw: [u8; 32] = bytes
                .as_slice()
                .try_into()
                .map_err(|_| Failure::new(format!("{} must hold exactly 32 bytes", path.display())))?;
            renew(&Protector::Kek(&SecretBytes::take(&mut raw)))
        }
        Some(Protection::Passphrase) => {
            let passphrase = passphrase(passphrase_file.or(config.keys.passphrase_file.as_deref()))?;
            renew(&Protector::Passphrase(passphrase.as_bytes(), Argon2Cost::for_this_machine()))
        }
        Some(Protection::None) | None => Err(Failure::new(
            "the vault key is not in the keys folder: one that the service manager hands over is not rotated by this command",
        )),
    }
}
