//! Small files that hold secrets: made once, never overwritten, readable by their owner only.
//!
//! Creating: `O_EXCL` with mode 0600, written, made 0400, fsynced, and its directory fsynced, so that a key that was
//! reported as made survives a power cut. Reading: a symbolic link, another owner, or a mode that lets anyone else in
//! is refused with a reason a person can act on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// What is wrong with a file that should hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It exists already and is never overwritten.
    #[error("{0} exists already and is not overwritten")]
    Exists(PathBuf),
    /// It is not there.
    #[error("{0} is missing")]
    Missing(PathBuf),
    /// Someone else may read or own it; the text says what to change.
    #[error("{0} {1}")]
    Exposed(PathBuf, String),
    /// Its content is not what it should be.
    #[error("{0}: {1}")]
    Malformed(PathBuf, &'static str),
    /// The operating system said no.
    #[error("{0}")]
    Io(PathBuf, #[source] io::Error),
}

/// Who else may read a file that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Nobody: mode 0400 or 0600, owned by us.
    Owner,
    /// A service manager handed it over: owned by us or root, nothing for others. (systemd credentials carry an ACL,
    /// whose mask shows as group bits.)
    Credential,
    /// It is not secret, only ours or root's to write.
    Public,
}

/// Creates the file with exactly this content and makes it durable. `mode` is its final mode.
pub(crate) fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => FileError::Io(path.to_owned(), error),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.set_permissions(PermissionsExt::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_parent(path));
    written.map_err(|error| {
        // A half-written file must not be taken for a key later.
        let _ = std::fs::remove_file(path);
        FileError::Io(path.to_owned(), error)
    })
}

/// The ending of a file that is not finished yet.
pub(crate) const UNFINISHED: &str = "new";

/// Creates the file so that it is there whole or not at all, also after a kill or a power cut: written and synced under another name, then renamed. Whatever had the
/// name before is replaced.
pub(crate) fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".");
    fresh.push(UNFINISHED);
    let fresh = PathBuf::from(fresh);
    let failed = |error| FileError::Io(path.to_owned(), error);
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FileError::Io(fresh, error)),
        _ => {}
    }
    create(&fresh, content, mode)?;
    std::fs::rename(&fresh, path).map_err(failed)?;
    sync_parent(path).map_err(failed)
}

/// Makes a directory's entries durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

/// Reads a whole file of at most `limit` bytes after checking who may see it.
pub(crate) fn read(path: &Path, limit: usize, privacy: Privacy) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = open_checked(path, privacy, OpenOptions::new().read(true))?;
    let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| FileError::Io(path.to_owned(), error))?;
    if content.len() > limit {
        return Err(FileError::Malformed(path.to_owned(), "is longer than it can be"));
    }
    Ok(content)
}

/// Opens a file without following a final symbolic link, and checks its owner and mode on the opened descriptor.
pub(crate) fn open_checked(path: &Path, privacy: Privacy, options: &mut OpenOptions) -> Result<File, FileError> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).expect("open flags are small");
    let file = options.custom_flags(nofollow).open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            FileError::Exposed(path.to_owned(), "is a symbolic link".into())
        }
        _ => FileError::Io(path.to_owned(), error),
    })?;
    let status = file.metadata().map_err(|error| FileError::Io(path.to_owned(), error))?;
    let exposed = |what: String| Err(FileError::Exposed(path.to_owned(), what));
    if !status.is_file() {
        return exposed("is not a regular file".into());
    }
    let us = rustix::process::geteuid().as_raw();
    let owner_fits = status.uid() == us || (privacy != Privacy::Owner && status.uid() == 0);
    if !owner_fits {
        return exposed(format!("belongs to user {}, not to user {us}", status.uid()));
    }
    let mode = status.mode() & 0o7777;
    let forbidden = match privacy {
        Privacy::Owner => 0o077,
        Privacy::Credential => 0o027,
        Privacy::Public => 0o022,
    };
    if mode & forbidden != 0 {
        return exposed(format!("has mode {mode:04o}, which lets others in; take bits {forbidden:03o} away"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::testing::Scratch;

    #[test]
    fn files_are_made_once_with_their_mode_and_refused_when_exposed() {
        let scratch = Scratch::new();
        let path = scratch.path("secret");
        create(&path, b"content", 0o400).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o400);
        assert!(matches!(create(&path, b"other", 0o400), Err(FileError::Exists(_))));
        assert_eq!(read(&path, 7, Privacy::Owner).unwrap().as_slice(), b"content");
        assert!(matches!(read(&path, 6, Privacy::Owner), Err(FileError::Malformed(..))));

        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).unwrap();
        assert!(matches!(read(&path, 7, Privacy::Owner), Err(FileError::Exposed(..))));
        assert!(read(&path, 7, Privacy::Credential).is_ok());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
        assert!(matches!(read(&path, 7, Privacy::Credential), Err(FileError::Exposed(..))));
        assert!(read(&path, 7, Privacy::Public).is_ok());

        let link = scratch.path("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read(&link, 7, Privacy::Public), Err(FileError::Exposed(..))));
        assert!(matches!(read(&scratch.path("none"), 7, Privacy::Owner), Err(FileError::Missing(_))));
        let folder = scratch.path("folder");
        std::fs::create_dir(&folder).unwrap();
        assert!(matches!(read(&folder, 7, Privacy::Public), Err(FileError::Exposed(..))));
    }
}
