//! What was fetched, on the disk: one folder for each directory of an authority, in it the account and, for each name, key and chain in one file. Each file is written under another
//! name and renamed, so that it is there whole or not at all, and only its owner may read it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use instant_acme::AccountCredentials;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::settings::DomainName;
use crate::chain::chain;
use crate::crypto::private_file::{self, FileError, Privacy};

/// More than an account or a key with its chain takes.
const FILE_MAX: usize = 256 * 1024;
const OWN: u32 = 0o600;

/// The folder of one authority's directory.
#[derive(Clone, Debug)]
pub(crate) struct KeptCertificates(PathBuf);

impl KeptCertificates {
    /// `folder`: of all authorities. What one of them issued is none of another's: who changes from a test directory to a real one gets a new account and new certificates.
    pub(crate) fn of(folder: &Path, directory: &str) -> Self {
        let hash = HEXLOWER.encode(&Sha256::digest(directory.as_bytes())[..4]);
        let host = directory.split('/').nth(2).unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let plain: String = host.chars().map(plain).collect();
        Self(folder.join(format!("{plain}-{hash}")))
    }

    /// Key and chain of a name, both PEM, in one file.
    pub(crate) fn certificate_file(&self, name: &DomainName) -> PathBuf {
        self.0.join(format!("{name}.pem"))
    }

    fn account_file(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// Key and chain as they were kept; `None` where there are none yet.
    pub(crate) fn certificate(&self, name: &DomainName) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        read(&self.certificate_file(name))
    }

    pub(super) fn keep_certificate(&self, name: &DomainName, pem: &str) -> Result<(), String> {
        self.put(&self.certificate_file(name), pem.as_bytes())
    }

    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, String> {
        let file = self.account_file();
        let Some(text) = read(&file)? else { return Ok(None) };
        let account =
            serde_json::from_slice(&text).map_err(|_| format!("{} is damaged: move it away, and a new account is made", file.display()))?;
        Ok(Some(account))
    }

    pub(super) fn keep_account(&self, account: &AccountCredentials) -> Result<(), String> {
        let text = serde_json::to_vec(account).map_err(|e| e.to_string())?;
        self.put(&self.account_file(), &Zeroizing::new(text))
    }

    /// The authority does not know the account any more.
    pub(super) fn forget_account(&self) {
        let _ = std::fs::remove_file(self.account_file());
    }

    fn put(&self, file: &Path, content: &[u8]) -> Result<(), String> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|e| format!("{}: {e}", self.0.display()))?;
        private_file::put(file, content, OWN).map_err(|e| chain(&e).to_string())
    }
}

fn read(file: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    match private_file::read(file, FILE_MAX, Privacy::Owner) {
        Ok(content) => Ok(Some(content)),
        Err(FileError::Missing(_)) => Ok(None),
        Err(error) => Err(chain(&error).to_string()),
    }
}
