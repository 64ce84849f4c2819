//! The vault's keys: one current public key to seal to, and every private key that still opens something.
//!
//! A directory holds `<id>.key` (the wrapped private key, 0400), `<id>.pub` (its public half, 0444) and `current`
//! (the id of the key that new documents are sealed to, and the word `elsewhere` if a service manager keeps its private half).
//! Each file appears whole, by a rename, and `current` last: whatever a kill leaves behind is a file of a key that nothing
//! is sealed to. Such a file stops nothing; it is named by [`Keyring::strays`]. The public halves load without any passphrase, so a locked
//! portal accepts uploads; it forwards nothing until `unlock`. A running portal can be unlocked and locked again.
//!
//! Rotation: `create_key` makes a pair and points `current` at it; older keys stay, for opening only, until
//! `destroy` removes the private half of one that no live document names.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::envelope::{KeyId, PublicKey, SecretKey, Suite};
use super::keyfile::{self, KEY_FILE_LEN, KeyFile, KeyFileError, PUBLIC_FILE_MAX, Protection, Protector};
use super::private_file::{self, FileError, Privacy};
use super::random::OsEntropy;

/// Behind the id in `current`.
const ELSEWHERE: &str = " elsewhere";

/// Why the keyring did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file is missing, exposed, malformed or could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file or public key file has unusable content.
    #[error("{0}")]
    Key(PathBuf, #[source] KeyFileError),
    /// No key opens with what was given.
    #[error("no vault key opens with this passphrase or key file")]
    DoesNotOpen,
    /// There is no key at all, or `current` names one that is not there.
    #[error("{0} names no current vault key")]
    NoCurrentKey(PathBuf),
    /// The current key is not destroyed while it is current.
    #[error("vault key {0} is the current one")]
    IsCurrent(KeyId),
    /// No such key.
    #[error("vault key {0} is not known")]
    Unknown(KeyId),
}

/// Why a private key cannot be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUnavailable {
    /// It is there, but locked.
    Locked,
    /// It is not there: never was, or destroyed.
    Unknown,
}

/// One line of `key status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The key.
    pub id: KeyId,
    /// Its suite.
    pub suite: Suite,
    /// New documents are sealed to it.
    pub current: bool,
    /// What it takes to unlock it; `None` if the private half is not here.
    pub protection: Option<Protection>,
    /// Its private half is in memory.
    pub unlocked: bool,
}

/// A file that looks like one of a key and is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Where it is.
    pub path: PathBuf,
    /// The key that its name says.
    pub of: Option<KeyId>,
    /// What is wrong with it.
    pub why: String,
}

/// Opens and seals for the whole process; share it behind an `Arc`.
pub struct Keyring {
    directory: PathBuf,
    elsewhere: bool,
    strays: Vec<Stray>,
    state: RwLock<State>,
}

struct State {
    current: Arc<PublicKey>,
    keys: BTreeMap<KeyId, Entry>,
}

struct Entry {
    public: Arc<PublicKey>,
    file: Option<(PathBuf, KeyFile)>,
    secret: Option<Arc<SecretKey>>,
}

impl Keyring {
    /// Makes a key pair in the directory (which is created, 0700, if missing) and makes it the current one.
    /// Takes as long as the protector's argon2 cost.
    pub fn create_key(directory: &Path, suite: Suite, protector: &Protector<'_>) -> Result<KeyId, KeyringError> {
        Self::create(directory, suite, protector, |id| key_path(directory, id))
    }

    /// The same with the private half in a file of its own that nothing protects, for a service manager to keep and to
    /// hand back as a credential.
    pub fn create_credential(directory: &Path, suite: Suite, file: &Path) -> Result<KeyId, KeyringError> {
        Self::create(directory, suite, &Protector::None, |_| file.to_owned())
    }

    fn create(
        directory: &Path,
        suite: Suite,
        protector: &Protector<'_>,
        place: impl FnOnce(&KeyId) -> PathBuf,
    ) -> Result<KeyId, KeyringError> {
        make_directory(directory)?;
        clear_unfinished(directory)?;
        let (secret, public) =
            SecretKey::generate(suite, &OsEntropy).map_err(|error| KeyringError::Key(directory.to_owned(), error.into()))?;
        let id = public.id();
        let key_path = place(&id);
        let wrapped = KeyFile::wrap(&secret, id, protector, &OsEntropy).map_err(|error| KeyringError::Key(key_path.clone(), error))?;
        let here = key_path.parent() == Some(directory);
        if here {
            private_file::put(&key_path, &wrapped, 0o400)?;
        } else {
            private_file::create(&key_path, &wrapped, 0o400)?;
        }
        private_file::put(&public_path(directory, &id), &keyfile::public_file(&public), 0o444)?;
        let word = if here { "" } else { ELSEWHERE };
        private_file::put(&directory.join("current"), format!("{id}{word}\n").as_bytes(), 0o444)?;
        Ok(id)
    }

    /// Loads all public keys and the still closed key files. No passphrase is needed. What cannot be used of a key that is not
    /// the current one is left out and named by [`Keyring::strays`].
    pub fn open(directory: &Path) -> Result<Keyring, KeyringError> {
        let current_path = directory.join("current");
        let (id, elsewhere) = read_current(&current_path)?.ok_or_else(|| KeyringError::NoCurrentKey(current_path.clone()))?;
        let mut strays = Vec::new();
        let mut stray = |path: PathBuf, error: KeyringError| match path.file_stem().and_then(|stem| parse_id(stem.as_encoded_bytes())) {
            Some(of) if of == id => Err(error),
            of => {
                strays.push(Stray {
                    path,
                    of,
                    why: error.to_string(),
                });
                Ok(())
            }
        };
        let mut keys = BTreeMap::new();
        for path in files_ending(directory, "pub")? {
            match read_public(&path) {
                Ok(public) => {
                    let entry = Entry {
                        public: Arc::new(public),
                        file: None,
                        secret: None,
                    };
                    keys.insert(entry.public.id(), entry);
                }
                Err(error) => stray(path, error)?,
            }
        }
        let current = keys
            .get(&id)
            .map(|entry| entry.public.clone())
            .ok_or(KeyringError::NoCurrentKey(current_path))?;
        let mut state = State { current, keys };
        for path in files_ending(directory, "key")? {
            if let Err(error) = state.attach(&path, Privacy::Owner) {
                stray(path, error)?;
            }
        }
        Ok(Keyring {
            directory: directory.to_owned(),
            elsewhere,
            strays,
            state: RwLock::new(state),
        })
    }

    /// Files in the directory that look like those of a key and are of no use: half of a key that was never finished, or damaged.
    pub fn strays(&self) -> &[Stray] {
        &self.strays
    }

    /// Whether the current key's private half belongs here and is not here: then it is lost, and not merely locked.
    pub fn lacks_current(&self) -> bool {
        let state = self.read();
        let here = state.keys.get(&state.current.id()).is_some_and(|entry| entry.file.is_some());
        !self.elsewhere && !here
    }

    /// Adds a key file from elsewhere (a service manager's credential); its public half must be in the directory.
    pub fn attach_credential(&self, path: &Path) -> Result<KeyId, KeyringError> {
        self.write().attach(path, Privacy::Credential)
    }

    /// The public key that new documents are sealed to.
    pub fn current(&self) -> Arc<PublicKey> {
        self.read().current.clone()
    }

    /// The private key of this id, if it is unlocked.
    pub fn secret(&self, id: &KeyId) -> Result<Arc<SecretKey>, KeyUnavailable> {
        match self.read().keys.get(id) {
            Some(Entry { secret: Some(secret), .. }) => Ok(secret.clone()),
            Some(Entry { file: Some(_), .. }) => Err(KeyUnavailable::Locked),
            _ => Err(KeyUnavailable::Unknown),
        }
    }

    /// Whether the current key's private half is out of reach, so that nothing new can be forwarded.
    pub fn is_locked(&self) -> bool {
        let current = self.current().id();
        self.secret(&current).is_err()
    }

    /// Whether the current key's private half is neither here nor was handed over: no passphrase opens what is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self.secret(&self.current().id()), Err(KeyUnavailable::Unknown))
    }

    /// Wraps these keys anew, each of them open and in a file of the directory, and makes it durable key by key. Returns those that were wrapped; a
    /// key that is not open is left as it is.
    pub fn protect(&self, which: impl Fn(&KeyStatus) -> bool, protector: &Protector<'_>) -> Result<Vec<KeyId>, KeyringError> {
        let mut chosen: Vec<KeyStatus> = self.status().into_iter().filter(|key| key.unlocked && which(key)).collect();
        // The current one last: as long as it opens the old way, a run that was cut off can be repeated.
        chosen.sort_by_key(|key| key.current);
        let chosen: Vec<KeyId> = chosen.iter().map(|key| key.id).collect();
        for id in &chosen {
            let path = key_path(&self.directory, id);
            let secret = self.secret(id).map_err(|_| KeyringError::Unknown(*id))?;
            let wrapped = KeyFile::wrap(&secret, *id, protector, &OsEntropy).map_err(|error| KeyringError::Key(path.clone(), error))?;
            private_file::put(&path, &wrapped, 0o400)?;
        }
        let current = self.current().id();
        if self.elsewhere && chosen.contains(&current) {
            private_file::put(&self.directory.join("current"), format!("{current}\n").as_bytes(), 0o444)?;
        }
        Ok(chosen)
    }

    /// Gives the current key, which is open, to a service manager: bare in a file of its own, which must not be there yet, and no longer in the directory.
    pub fn hand_over(&self, file: &Path) -> Result<KeyId, KeyringError> {
        let id = self.current().id();
        let secret = self.secret(&id).map_err(|_| KeyringError::Unknown(id))?;
        let wrapped =
            KeyFile::wrap(&secret, id, &Protector::None, &OsEntropy).map_err(|error| KeyringError::Key(file.to_owned(), error))?;
        private_file::create(file, &wrapped, 0o400)?;
        private_file::put(&self.directory.join("current"), format!("{id}{ELSEWHERE}\n").as_bytes(), 0o444)?;
        let path = key_path(&self.directory, &id);
        match erase_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FileError::Io(path, error).into()),
            _ => Ok(id),
        }
    }

    /// Opens every locked key that opens with this protector and returns their ids; an error if none does.
    /// Argon2 runs outside the lock: uploads go on meanwhile.
    pub fn unlock(&self, protector: &Protector<'_>) -> Result<Vec<KeyId>, KeyringError> {
        let locked: Vec<(PathBuf, KeyFile)> = self
            .read()
            .keys
            .values()
            .filter(|entry| entry.secret.is_none())
            .filter_map(|entry| entry.file.clone())
            .collect();
        let nothing_to_do = locked.is_empty();
        let mut opened = Vec::new();
        for (path, file) in locked {
            match file.open(protector) {
                Ok(secret) => {
                    if let Some(entry) = self.write().keys.get_mut(&file.id()) {
                        entry.secret = Some(Arc::new(secret));
                        opened.push(file.id());
                    }
                }
                Err(KeyFileError::DoesNotOpen | KeyFileError::OtherProtection(_)) => {}
                Err(error) => return Err(KeyringError::Key(path, error)),
            }
        }
        if opened.is_empty() && !nothing_to_do {
            return Err(KeyringError::DoesNotOpen);
        }
        Ok(opened)
    }

    /// Forgets all private keys. Openers already at work keep theirs until they end.
    pub fn lock(&self) {
        for entry in self.write().keys.values_mut() {
            entry.secret = None;
        }
    }

    /// All known keys, by id.
    pub fn status(&self) -> Vec<KeyStatus> {
        let state = self.read();
        state
            .keys
            .iter()
            .map(|(id, entry)| KeyStatus {
                id: *id,
                suite: entry.public.suite(),
                current: *id == state.current.id(),
                protection: entry.file.as_ref().map(|(_, file)| file.protection()),
                unlocked: entry.secret.is_some(),
            })
            .collect()
    }

    /// Destroys a retired private key: overwrites and removes its file, forgets it in memory. Documents sealed to it
    /// are lost from then on, so the caller has counted that none is live. (The medium may keep the old, wrapped
    /// bytes; the passphrase still guards those.)
    pub fn destroy(&self, id: &KeyId) -> Result<(), KeyringError> {
        let mut state = self.write();
        if state.current.id() == *id {
            return Err(KeyringError::IsCurrent(*id));
        }
        let entry = state.keys.get_mut(id).ok_or(KeyringError::Unknown(*id))?;
        entry.secret = None;
        if entry.file.take().is_some() {
            let path = key_path(&self.directory, id);
            erase_file(&path).map_err(|error| FileError::Io(path, error))?;
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({:?})", self.status())
    }
}

impl State {
    fn attach(&mut self, path: &Path, privacy: Privacy) -> Result<KeyId, KeyringError> {
        let content = private_file::read(path, KEY_FILE_LEN, privacy)?;
        let file = KeyFile::parse(&content).map_err(|error| KeyringError::Key(path.to_owned(), error))?;
        let id = file.id();
        let entry = self.keys.get_mut(&id).ok_or(KeyringError::Unknown(id))?;
        entry.file = Some((path.to_owned(), file));
        Ok(id)
    }
}

fn key_path(directory: &Path, id: &KeyId) -> PathBuf {
    directory.join(format!("{id}.key"))
}

fn public_path(directory: &Path, id: &KeyId) -> PathBuf {
    directory.join(format!("{id}.pub"))
}

fn make_directory(directory: &Path) -> Result<(), KeyringError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    Ok(made.map_err(|error| FileError::Io(directory.to_owned(), error))?)
}

fn files_ending(directory: &Path, ending: &str) -> Result<Vec<PathBuf>, KeyringError> {
    let failed = |error| FileError::Io(directory.to_owned(), error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a creation that was cut off has left under its other name.
fn clear_unfinished(directory: &Path) -> Result<(), KeyringError> {
    for path in files_ending(directory, private_file::UNFINISHED)? {
        std::fs::remove_file(&path).map_err(|error| FileError::Io(path, error))?;
    }
    Ok(())
}

fn read_public(path: &Path) -> Result<PublicKey, KeyringError> {
    let content = private_file::read(path, PUBLIC_FILE_MAX, Privacy::Public)?;
    keyfile::parse_public_file(&content).map_err(|error| KeyringError::Key(path.to_owned(), error))
}

fn read_current(path: &Path) -> Result<Option<(KeyId, bool)>, KeyringError> {
    let content = match private_file::read(path, 64, Privacy::Public) {
        Err(FileError::Missing(_)) => return Ok(None),
        other => other?,
    };
    let line = content.trim_ascii();
    let id = line.strip_suffix(ELSEWHERE.as_bytes());
    match parse_id(id.unwrap_or(line)) {
        Some(found) => Ok(Some((found, id.is_some()))),
        None => Err(FileError::Malformed(path.to_owned(), "is not a key id").into()),
    }
}

fn parse_id(text: &[u8]) -> Option<KeyId> {
    let decoded = data_encoding::HEXLOWER.decode(text).ok()?;
    Some(KeyId(decoded.try_into().ok()?))
}

pub(crate) fn erase_file(path: &Path) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(&[0; KEY_FILE_LEN])?;
    file.sync_all()?;
    std::fs::remove_file(path)?;
    private_file::sync_parent(path)
}

#[cfg(test)]
mod tests;
