//! The data folder of one portal: where its parts lie, how they are made, and how they are opened at start.

use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use super::{StartError, refused};
use crate::config::{CREDENTIALS, Config};
use crate::crypto::assurance::{self, Assurance, AssuranceClass};
use crate::crypto::envelope::Suite;
use crate::crypto::keyfile::{Argon2Cost, Protection, Protector};
use crate::crypto::keyring::Keyring;
use crate::crypto::private_file::{self, Privacy};
use crate::crypto::secret::SecretBytes;
use crate::crypto::secrets::PortalSecrets;
use crate::crypto::slots::SlotsFile;
use crate::storage::clock::Source;
use crate::storage::sled::SledStore;
use crate::storage::sled::durable::Options;

/// Where everything of one data folder lies.
pub struct Layout {
    pub store: PathBuf,
    pub slots: PathBuf,
    pub keys: PathBuf,
    pub secrets: PathBuf,
    pub kek: PathBuf,
}

impl Layout {
    pub fn of(config: &Config) -> Self {
        let keys = config.keys.folder.clone();
        Self {
            store: config.data_dir.join("store"),
            slots: config.data_dir.join("erase.slots"),
            secrets: keys.join("portal.secrets"),
            kek: keys.join("kek"),
            keys,
        }
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

/// Makes folders, keys, secrets, erasure slots and an empty store. Refuses to touch what exists.
pub fn create(config: &Config, protection: &KeyProtection, suite: Suite) -> Result<(), StartError> {
    let layout = Layout::of(config);
    if layout.secrets.exists() || layout.slots.exists() || layout.store.exists() {
        return Err(StartError::Refused(format!(
            "{} already holds a portal; choose another data_dir, or start it with `nightdrop serve`",
            config.data_dir.display()
        )));
    }
    for folder in [&config.data_dir, &layout.keys] {
        private_folder(folder).map_err(|e| refused(&folder.display().to_string())(&e))?;
    }
    PortalSecrets::create(&layout.secrets).map_err(|e| refused("the portal's secrets cannot be made")(&e))?;
    let made = match protection {
        KeyProtection::Passphrase(passphrase, cost) => Keyring::create_key(&layout.keys, suite, &Protector::Passphrase(passphrase, *cost)),
        KeyProtection::KekFile => {
            let kek = crate::crypto::keyfile::generate_kek().map_err(|e| refused("the vault key")(&e))?;
            private_file::create(&layout.kek, kek.expose(), 0o400).map_err(|e| refused("the key-encrypting key")(&e))?;
            Keyring::create_key(&layout.keys, suite, &Protector::Kek(&kek))
        }
        KeyProtection::Credential(file) => Keyring::create_credential(&layout.keys, suite, file),
    };
    made.map_err(|e| refused("the vault key cannot be made")(&e))?;
    let uuid = SlotsFile::create(&layout.slots, config.erasure_slots).map_err(|e| refused("the erasure slots cannot be made")(&e))?;
    let store = open_store(&layout.store, Source::System)?;
    store.set_meta("slots", &uuid).map_err(|e| refused("the store")(&e))
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

pub(super) fn open_store(folder: &Path, source: Source) -> Result<SledStore, StartError> {
    SledStore::open(folder, Options::default(), source)
        .map_err(|e| StartError::Refused(format!("the store in {} cannot be opened: {e}", folder.display())))
}

/// A secret's file must not be readable by others; what the service manager hands over is root's, with an access list for us.
pub fn privacy_of(path: &Path) -> Privacy {
    let folder = std::env::var_os(CREDENTIALS).filter(|folder| !folder.is_empty());
    let inside = |folder| path.starts_with(folder) && !path.components().any(|c| c == Component::ParentDir);
    match folder.is_some_and(|folder| inside(PathBuf::from(folder))) {
        true => Privacy::Credential,
        false => Privacy::Owner,
    }
}

/// Unlocks what needs no person: a key that the service manager hands over, a key-encrypting key or passphrase in a file. Otherwise the portal starts locked.
pub(super) fn unlock_at_start(config: &Config, layout: &Layout, keyring: &Keyring) -> Result<(), StartError> {
    if let Some(path) = &config.keys.credential_file {
        let id = keyring.attach_credential(path).map_err(|e| refused("keys.credential_file")(&e))?;
        let bare = keyring
            .status()
            .iter()
            .any(|k| k.id == id && k.protection == Some(Protection::None));
        if bare {
            keyring
                .unlock(&Protector::None)
                .map_err(|e| refused("the vault key does not open with keys.credential_file")(&e))?;
        }
    }
    let kek = config
        .keys
        .kek_file
        .clone()
        .or_else(|| layout.kek.exists().then(|| layout.kek.clone()));
    if let Some(path) = kek {
        let bytes = private_file::read(&path, 64, privacy_of(&path)).map_err(|e| refused("keys.kek_file")(&e))?;
        let mut raw: [u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| StartError::Refused("keys.kek_file: must hold exactly 32 bytes".to_owned()))?;
        let kek = SecretBytes::take(&mut raw);
        keyring
            .unlock(&Protector::Kek(&kek))
            .map_err(|e| refused("the vault key does not open with keys.kek_file")(&e))?;
    }
    if let Some(path) = &config.keys.passphrase_file {
        let bytes = private_file::read(path, 4096, privacy_of(path)).map_err(|e| refused("keys.passphrase_file")(&e))?;
        // One line break at the end, of either kind, is the editor's.
        let passphrase = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let passphrase = passphrase.strip_suffix(b"\r").unwrap_or(passphrase);
        keyring
            .unlock(&Protector::Passphrase(passphrase, Argon2Cost::for_this_machine()))
            .map_err(|e| refused("the vault key does not open with keys.passphrase_file")(&e))?;
    }
    Ok(())
}

pub(super) fn open_slots(config: &Config, layout: &Layout, store: &SledStore) -> Result<(SlotsFile, Assurance), StartError> {
    let uuid = store.meta("slots").map_err(|e| refused("the store")(&e))?;
    let uuid: Option<[u8; 16]> = uuid.and_then(|u| u.try_into().ok());
    let slots = SlotsFile::open(&layout.slots, uuid.as_ref()).map_err(|e| refused("the erasure slots cannot be opened")(&e))?;
    let assurance = assurance::self_test(&layout.slots, &slots).map_err(|e| refused("the erasure self-test")(&e))?;
    if assurance.class == AssuranceClass::C && !config.accept_weak_erasure {
        return Err(StartError::Refused(format!(
            "erasing is not shown to work on this file system ({}): {} Move data_dir to ext4 or XFS, or set erasure.accept_weak = true.",
            assurance.file_system,
            assurance.reasons.join(" ")
        )));
    }
    Ok((slots, assurance))
}
