//! Files that hold a secret of the configuration. What others can read is refused.

use std::path::{Component, Path, PathBuf};

use super::CREDENTIALS;
use crate::crypto::private_file::{self, Privacy};
use crate::settings::Secret;

/// More than any secret takes.
const LONGEST: usize = 64 * 1024;

/// The error says what is wrong with the file, and nothing of its content.
pub(super) fn read(path: &Path) -> Result<Secret, String> {
    let bytes = private_file::read(path, LONGEST, privacy_of(path)).map_err(|e| e.to_string())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not text", path.display()))?;
    Ok(Secret::new(text))
}

/// A secret's file must not be readable by others; what systemd hands over is root's, with an access list for us, and container managers have ways of their own.
pub(crate) fn privacy_of(path: &Path) -> Privacy {
    let folder = std::env::var_os(CREDENTIALS).filter(|folder| !folder.is_empty());
    let inside = |folder| path.starts_with(folder) && !path.components().any(|c| c == Component::ParentDir);
    match folder.is_some_and(|folder| inside(PathBuf::from(folder))) {
        true => Privacy::Credential,
        false => Privacy::Secret,
    }
}
