//! `nightdrop key passphrase` and `key protect`: another way to open the vault, for the same key.
//!
//! Each key's file is replaced as a whole, the current one's last, and what opened it before goes only then: whenever this is cut off, the portal starts, and the same
//! command goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::{hold, open, word};
use crate::app::Layout;
use crate::chain::chain;
use crate::cli::init::Protection as Kind;
use crate::cli::output::{self, Failure, Format, Outcome};
use crate::cli::{ask, process};
use crate::config::{Config, privacy_of};
use crate::crypto::keyfile::{self, Argon2Cost, Protection, Protector};
use crate::crypto::keyring::{KeyStatus, Keyring, erase_file};
use crate::crypto::private_file;
use crate::crypto::secret::SecretBytes;
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::storage::backend::Records;

#[derive(Args, Debug)]
pub(super) struct NewPassphrase {
    /// The configuration [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the present passphrase, `-` for standard input [default: keys.passphrase_file of the configuration, else asked for]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// A file with the new passphrase [default: asked for]
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub(super) struct Protect {
    /// What opens the vault from now on
    #[arg(long = "with", value_enum, value_name = "KIND")]
    kind: Kind,
    /// The configuration [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the present passphrase, where the vault has one [default: keys.passphrase_file of the configuration, else asked for]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// With `--with passphrase`: a file with the new one [default: asked for]
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// With `--with credential`: where the key is written, for `systemd-creds encrypt`
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// A stopped portal whose vault was opened.
struct Opened {
    config: Config,
    layout: Layout,
    store: Arc<dyn Records>,
    keyring: Keyring,
    before: Protection,
}

impl Opened {
    async fn new(config: Option<&Path>, passphrase_file: Option<&Path>) -> Outcome<Self> {
        let config = process::load(config)?;
        let layout = Layout::of(&config);
        let store = hold(&config, &layout).await?;
        let keyring = open(&layout.keys)?;
        let before = unlock(&config, &layout, &keyring, passphrase_file)?;
        Ok(Self {
            config,
            layout,
            store,
            keyring,
            before,
        })
    }

    /// Notes it, and says what else is to be done.
    async fn told(&self, now: Protection, todo: &[String], format: Format) -> Outcome {
        let key = self.keyring.current().id();
        let event = AuditEvent::new(self.store.now(), Actor::Operator, AuditAction::KeyProtectionChanged)
            .with("key", key)
            .with("before", word(self.before))
            .with("now", word(now));
        self.store.append(event).await.map_err(|e| {
            Failure::new(format!(
                "the protection was changed, but the audit log could not be written: {}",
                chain(&e)
            ))
        })?;
        if format.json {
            return output::json(&json!({"key": key.to_string(), "before": word(self.before), "now": word(now), "todo": todo}));
        }
        output::line(format_args!(
            "✓ {key} opens another way now ({} before, {} now)",
            word(self.before),
            word(now)
        ))?;
        todo.iter().try_for_each(|line| output::line(format_args!("  {line}")))
    }
}

pub(super) async fn passphrase(given: NewPassphrase) -> Outcome {
    let opened = Opened::new(given.config.as_deref(), given.passphrase_file.as_deref()).await?;
    if opened.before != Protection::Passphrase {
        return Err(Failure::new(
            "the vault key has no passphrase; `nightdrop key protect --with passphrase` gives it one",
        ));
    }
    let todo = set_passphrase(&opened, given.new_passphrase_file.as_deref())?;
    opened.told(Protection::Passphrase, &todo, given.format).await
}

pub(super) async fn protect(given: Protect) -> Outcome {
    match (given.kind, &given.credential_file, &given.new_passphrase_file) {
        (Kind::Credential, None, _) => {
            return Err(Failure::new(
                "--with credential needs --credential-file, the file to write the key to",
            ));
        }
        (Kind::File | Kind::Passphrase, Some(_), _) => return Err(Failure::new("--credential-file goes with --with credential")),
        (Kind::File | Kind::Credential, _, Some(_)) => return Err(Failure::new("--new-passphrase-file goes with --with passphrase")),
        _ => {}
    }
    let opened = Opened::new(given.config.as_deref(), given.passphrase_file.as_deref()).await?;
    let (now, todo) = match (given.kind, &given.credential_file) {
        (Kind::Passphrase, _) => (
            Protection::Passphrase,
            set_passphrase(&opened, given.new_passphrase_file.as_deref())?,
        ),
        (Kind::Credential, Some(file)) => (Protection::None, hand_over(&opened, file)?),
        (Kind::File | Kind::Credential, _) => (Protection::Kek, set_file(&opened)?),
    };
    opened.told(now, &todo, given.format).await
}

/// Opens what the present protection opens.
fn unlock(config: &Config, layout: &Layout, keyring: &Keyring, passphrase_file: Option<&Path>) -> Outcome<Protection> {
    let failed = |e: &(dyn std::error::Error + 'static)| Failure::new(format!("the vault key does not open: {}", chain(e)));
    let current = keyring.status().into_iter().find(|key| key.current).and_then(|key| key.protection);
    let before = match (current, &config.keys.credential_file) {
        (Some(Protection::Kek), _) => {
            let place = config.keys.kek_file.as_ref().unwrap_or(&layout.kek);
            keyring.unlock(&Protector::Kek(&read_kek(place)?)).map_err(|e| failed(&e))?;
            Protection::Kek
        }
        (Some(Protection::Passphrase), _) => {
            let passphrase = super::passphrase(passphrase_file.or(config.keys.passphrase_file.as_deref()))?;
            keyring
                .unlock(&Protector::Passphrase(passphrase.as_bytes(), Argon2Cost::for_this_machine()))
                .map_err(|e| failed(&e))?;
            Protection::Passphrase
        }
        (Some(Protection::None), _) => {
            keyring.unlock(&Protector::None).map_err(|e| failed(&e))?;
            Protection::None
        }
        (None, Some(file)) => {
            keyring.attach_credential(file).map_err(|e| failed(&e))?;
            keyring.unlock(&Protector::None).map_err(|e| failed(&e))?;
            Protection::None
        }
        (None, None) => {
            return Err(Failure::new(
                "the vault key is not in the keys folder: name the file that your service manager hands over in keys.credential_file",
            ));
        }
    };
    if keyring.is_locked() {
        return Err(Failure::new("this opens an older vault key, not the current one"));
    }
    Ok(before)
}

fn set_passphrase(opened: &Opened, file: Option<&Path>) -> Outcome<Vec<String>> {
    let new: Zeroizing<String> = match file {
        Some(file) => ask::from_file(file)?,
        None if ask::somebody() => ask::new_secret("The new passphrase for the vault key")?,
        None => {
            return Err(Failure::new(
                "nobody can be asked for the new passphrase: name a file that holds it with --new-passphrase-file",
            ));
        }
    };
    wrap(opened, &Protector::Passphrase(new.as_bytes(), Argon2Cost::for_this_machine()))?;
    let mut todo = drop_kek(opened)?;
    todo.push(match &opened.config.keys.passphrase_file {
        Some(file) => format!(
            "put the new passphrase into {} before the portal starts: it opens the vault then",
            file.display()
        ),
        None => "the portal starts locked: open it with `nightdrop key unlock`".to_owned(),
    });
    Ok(todo)
}

fn set_file(opened: &Opened) -> Outcome<Vec<String>> {
    let place = opened.config.keys.kek_file.as_ref().unwrap_or(&opened.layout.kek);
    let failed = |e: &(dyn std::error::Error + 'static)| Failure::new(chain(e).to_string());
    let kek = match place.exists() {
        true => read_kek(place)?,
        false => {
            let kek = keyfile::generate_kek().map_err(|e| failed(&e))?;
            private_file::put(place, kek.expose(), 0o400).map_err(|e| failed(&e))?;
            kek
        }
    };
    wrap(opened, &Protector::Kek(&kek))?;
    let keys = &opened.config.keys;
    let mut todo = Vec::new();
    todo.extend(keys.passphrase_file.as_ref().map(|file| {
        format!(
            "{} opens nothing any more: take keys.passphrase_file out of the configuration, and remove it",
            file.display()
        )
    }));
    todo.extend(
        keys.credential_file
            .as_ref()
            .map(|_| "take the credential out of the service's unit, or keys.credential_file out of the configuration".to_owned()),
    );
    Ok(todo)
}

fn hand_over(opened: &Opened, file: &Path) -> Outcome<Vec<String>> {
    let file = std::path::absolute(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    let handed = opened.keyring.hand_over(&file);
    handed.map_err(|e| Failure::new(format!("the key cannot be handed over: {}", chain(&e))))?;
    let mut todo = drop_kek(opened)?;
    todo.push(format!(
        "the key lies bare in {}: encrypt it (systemd-creds encrypt --name=nightdrop-key {} /etc/credstore.encrypted/nightdrop-key), then remove it (shred -u)",
        file.display(),
        file.display()
    ));
    Ok(todo)
}

/// The keys that the present way has opened.
fn wrap(opened: &Opened, protector: &Protector<'_>) -> Outcome {
    let all = |_: &KeyStatus| true;
    let wrapped = opened.keyring.protect(all, protector);
    wrapped
        .map(drop)
        .map_err(|e| Failure::new(format!("the vault key cannot be wrapped anew: {}", chain(&e))))
}

/// Overwrites and removes the key file beside the keys once no key needs it.
fn drop_kek(opened: &Opened) -> Outcome<Vec<String>> {
    let needed = open(&opened.layout.keys)?
        .status()
        .iter()
        .any(|key| key.protection == Some(Protection::Kek));
    if let Some(elsewhere) = opened.config.keys.kek_file.as_ref().filter(|_| !needed) {
        return Ok(vec![format!(
            "{} opens nothing any more: take keys.kek_file out of the configuration, and destroy it",
            elsewhere.display()
        )]);
    }
    let kek = &opened.layout.kek;
    if !needed && kek.exists() {
        erase_file(kek).map_err(|e| Failure::new(format!("{}: {e}", kek.display())))?;
    }
    Ok(Vec::new())
}

fn read_kek(path: &Path) -> Outcome<SecretBytes<32>> {
    let bytes = private_file::read(path, 64, privacy_of(path)).map_err(|e| Failure::new(chain(&e).to_string()))?;
    let raw = <[u8; 32]>::try_from(bytes.as_slice());
    let mut raw = raw.map_err(|_| Failure::new(format!("{} must hold exactly 32 bytes", path.display())))?;
    Ok(SecretBytes::take(&mut raw))
}
