//! The vault key of a data folder: how it is made, and what opens it at start without a person. A key that is lost is told from one that is merely locked: for the
//! first the portal does not start, since nothing that it would take in could ever be read.

use std::error::Error;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::layout::Layout;
use super::{StartError, refused, store_failed};
use crate::chain::{Cause, chain};
use crate::config::{Config, privacy_of};
use crate::crypto::envelope::{KeyId, Suite};
use crate::crypto::keyfile::{Argon2Cost, Protection, Protector};
use crate::crypto::keyring::{Keyring, KeyringError};
use crate::crypto::private_file::{self, FileError};
use crate::crypto::secret::SecretBytes;
use crate::storage::RequestStore;
use crate::workflow::vault;

/// Says what to do about a vault key that cannot be used.
fn lost<'a>(layout: &'a Layout, what: &'a str) -> impl FnOnce(&(dyn Error + 'static)) -> StartError + 'a {
    move |error| {
        StartError::Refused(format!(
            "{what}: {}. Put it back and start again; if it is lost for good, `{}` makes another one, and what was sealed to the lost one is lost with it \
            (docs/operations/recovery.md)",
            chain(error),
            layout.recover_with(" --new-key")
        ))
    }
}

/// How a new vault key is protected on disk.
pub enum KeyProtection {
    Passphrase(Zeroizing<Vec<u8>>, Argon2Cost),
    /// 32 random bytes in a file of their own, beside the key.
    KekFile,
    /// Nothing: the private key goes to this file, and a service manager hands it back at start.
    Credential(PathBuf),
}

/// A new vault key, current from now on.
pub(super) fn make_key(config: &Config, layout: &Layout, protection: &KeyProtection, suite: Suite) -> Result<KeyId, StartError> {
    let made = match protection {
        KeyProtection::Passphrase(passphrase, cost) => Keyring::create_key(&layout.keys, suite, &Protector::Passphrase(passphrase, *cost)),
        KeyProtection::KekFile => {
            let place = config.keys.kek_file.as_ref().unwrap_or(&layout.kek);
            // One that is whole may open older keys as well.
            let kek = match read_kek(place) {
                Ok(kek) => kek,
                Err(_) => {
                    let kek = crate::crypto::keyfile::generate_kek().map_err(|e| refused("the vault key")(&e))?;
                    private_file::put(place, kek.expose(), 0o400).map_err(|e| refused("the key-encrypting key")(&e))?;
                    kek
                }
            };
            Keyring::create_key(&layout.keys, suite, &Protector::Kek(&kek))
        }
        KeyProtection::Credential(file) => Keyring::create_credential(&layout.keys, suite, file),
    };
    made.map_err(|e| refused("the vault key cannot be made")(&e))
}

/// A file that cannot be looked at may hold what it should: its mode or its disk has to be fixed, and nothing is given up.
fn of_file<'a>(layout: &'a Layout, what: &'a str) -> impl FnOnce(FileError) -> StartError + 'a {
    move |error| match error {
        FileError::Exposed(..) | FileError::Io(..) => refused(what)(&error),
        FileError::Missing(_) | FileError::Malformed(..) | FileError::Exists(_) => lost(layout, what)(&error),
    }
}

fn of_keyring<'a>(layout: &'a Layout, what: &'a str) -> impl FnOnce(KeyringError) -> StartError + 'a {
    move |error| match error {
        KeyringError::File(error) => of_file(layout, what)(error),
        other => lost(layout, what)(&other),
    }
}

/// The keys of a data folder that was checked, with everything opened that needs no person.
pub(super) fn open_keyring(config: &Config, layout: &Layout) -> Result<Keyring, StartError> {
    let keyring = Keyring::open(&layout.keys).map_err(of_keyring(layout, "the vault key cannot be used"))?;
    for stray in keyring.strays() {
        tracing::warn!(file = %stray.path.display(), why = stray.why, "a file of a key that is of no use; remove it when nothing needs it");
    }
    unlock_at_start(config, layout, &keyring)?;
    let current = keyring.current().id();
    if keyring.lacks_current() {
        return Err(lost(layout, "the vault key cannot be used")(&Cause::from(format!(
            "the private half of {current} is not in {}",
            layout.keys.display()
        ))));
    }
    let of_file = keyring.status().iter().any(|k| k.current && k.protection == Some(Protection::Kek));
    if of_file && keyring.is_locked() {
        let place = config.keys.kek_file.as_ref().unwrap_or(&layout.kek);
        return Err(lost(layout, "the vault key cannot be opened")(&Cause::from(format!(
            "the file with its key ({}) is missing",
            place.display()
        ))));
    }
    Ok(keyring)
}

/// Refuses a start while a file of a key is damaged that documents are sealed to. A key that is not here at all is said by each of its documents.
pub(super) async fn keys_are_here(layout: &Layout, keyring: &Keyring, records: &dyn RequestStore) -> Result<(), StartError> {
    if keyring.strays().is_empty() {
        return Ok(());
    }
    let sealed = vault::sealed(records).await.map_err(|e| store_failed("the documents' keys", e))?;
    let needed = keyring.strays().iter().find_map(|stray| {
        let documents = sealed.by_key.get(&stray.of?)?;
        Some(format!("{} ({documents} documents are sealed to it)", stray.why))
    });
    needed.map_or(Ok(()), |what| Err(lost(layout, "a vault key cannot be used")(&Cause::from(what))))
}

/// The key-encrypting key in a file of its own.
pub(super) fn read_kek(path: &Path) -> Result<SecretBytes<32>, FileError> {
    let bytes = private_file::read(path, 64, privacy_of(path))?;
    let raw = <[u8; 32]>::try_from(bytes.as_slice());
    let mut raw = raw.map_err(|_| FileError::Malformed(path.to_owned(), "must hold exactly 32 bytes"))?;
    Ok(SecretBytes::take(&mut raw))
}

/// Unlocks what needs no person: a key that the service manager hands over, a key-encrypting key or passphrase in a file. Otherwise the portal starts locked.
pub(super) fn unlock_at_start(config: &Config, layout: &Layout, keyring: &Keyring) -> Result<(), StartError> {
    if let Some(path) = &config.keys.credential_file {
        let id = keyring
            .attach_credential(path)
            .map_err(of_keyring(layout, "keys.credential_file"))?;
        let bare = keyring
            .status()
            .iter()
            .any(|k| k.id == id && k.protection == Some(Protection::None));
        if bare {
            keyring
                .unlock(&Protector::None)
                .map_err(of_keyring(layout, "the vault key does not open with keys.credential_file"))?;
        }
    }
    let protected = |by| keyring.status().iter().any(|k| k.protection == Some(by));
    let kek = config
        .keys
        .kek_file
        .clone()
        .or_else(|| layout.kek.exists().then(|| layout.kek.clone()));
    // A change of the protection that was cut off, or a setting that was left, leaves a way to open what nothing is closed with any more.
    if let Some(path) = kek.filter(|_| protected(Protection::Kek)) {
        let kek = read_kek(&path).map_err(of_file(layout, "keys.kek_file"))?;
        keyring
            .unlock(&Protector::Kek(&kek))
            .map_err(of_keyring(layout, "the vault key does not open with keys.kek_file"))?;
    }
    if let Some(path) = config.keys.passphrase_file.as_ref().filter(|_| protected(Protection::Passphrase)) {
        let bytes = private_file::read(path, 4096, privacy_of(path)).map_err(of_file(layout, "keys.passphrase_file"))?;
        // One line break at the end, of either kind, is the editor's.
        let passphrase = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let passphrase = passphrase.strip_suffix(b"\r").unwrap_or(passphrase);
        keyring
            .unlock(&Protector::Passphrase(passphrase, Argon2Cost::for_this_machine()))
            .map_err(of_keyring(layout, "the vault key does not open with keys.passphrase_file"))?;
    }
    Ok(())
}
