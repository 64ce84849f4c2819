//! Small files that hold secrets: made once, never overwritten, readable by their owner only.
//!
//! Creating: `O_EXCL` with mode 0600, written, made 0400, fsynced, and its directory fsynced, so that a key that was
//! reported as made survives a power cut. Reading: a symbolic link, another owner, or a mode that lets anyone else in
//! is refused with a reason a person can act on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, StatVfsMountFlags};
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

/// Who else may read a file that we read. What a container manager hands over is judged for itself: see [`Handover`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Nobody: mode 0400 or 0600, owned by us.
    Owner,
    /// Nobody, and whoever hands secrets over may have put links in its folder, as Kubernetes does: `name -> ..data/name`.
    Secret,
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

/// Opens a file without following a final symbolic link (of a secret: without leaving its folder), and checks its owner and mode on the opened descriptor.
pub(crate) fn open_checked(path: &Path, privacy: Privacy, options: &mut OpenOptions) -> Result<File, FileError> {
    let exposed = |what: String| FileError::Exposed(path.to_owned(), what);
    let place = match privacy {
        Privacy::Secret | Privacy::Credential => within_folder(path)?,
        Privacy::Owner | Privacy::Public => path.to_owned(),
    };
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).expect("open flags are small");
    let file = options.custom_flags(nofollow).open(&place).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => exposed("is a symbolic link".into()),
        _ => FileError::Io(path.to_owned(), error),
    })?;
    let status = file.metadata().map_err(|error| FileError::Io(path.to_owned(), error))?;
    if !status.is_file() {
        return Err(exposed("is not a regular file".into()));
    }
    let seen = Seen {
        owner: status.uid(),
        group: status.gid(),
        mode: status.mode() & 0o7777,
    };
    // Looked at only where the plain rule says no.
    seen.judge(&Reader::present(), privacy, || Handover::of(&file)).map_err(exposed)?;
    Ok(file)
}

/// Where a link in the file's own folder leads, if it stays in there.
fn within_folder(path: &Path) -> Result<PathBuf, FileError> {
    let is_link = std::fs::symlink_metadata(path).is_ok_and(|status| status.is_symlink());
    if !is_link {
        return Ok(path.to_owned());
    }
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => FileError::Io(path.to_owned(), error),
    };
    let folder = path.parent().unwrap_or(Path::new("")).canonicalize().map_err(failed)?;
    let real = path.canonicalize().map_err(failed)?;
    match real.starts_with(&folder) {
        true => Ok(real),
        false => Err(FileError::Exposed(
            path.to_owned(),
            format!("is a symbolic link out of its folder, to {}; name that file itself", real.display()),
        )),
    }
}

/// Who reads.
struct Reader {
    user: u32,
    groups: Vec<u32>,
}

impl Reader {
    fn present() -> Self {
        let mut groups: Vec<u32> = rustix::process::getgroups()
            .unwrap_or_default()
            .iter()
            .map(|group| group.as_raw())
            .collect();
        groups.push(rustix::process::getegid().as_raw());
        Self {
            user: rustix::process::geteuid().as_raw(),
            groups,
        }
    }
}

/// What the opened file says of itself.
#[derive(Clone, Copy)]
struct Seen {
    owner: u32,
    group: u32,
    mode: u32,
}

/// Whether a container manager has handed a file over. Kubernetes and Swarm do that with files of root that everybody or one group may read: in a container that is this
/// process alone, and nobody in there can change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    /// In a container, on a file system in memory or one that is mounted for reading only.
    Mounted,
    /// In a container, on a disk that can be written: part of the image, or a folder of the machine.
    Writable,
    /// This process shares its machine with other users.
    NoContainer,
}

impl Handover {
    fn of(file: &File) -> Self {
        if !in_container() {
            return Self::NoContainer;
        }
        let in_memory = rustix::fs::fstatfs(file).is_ok_and(|fs| [TMPFS, RAMFS].contains(&fs.f_type));
        let for_reading = rustix::fs::fstatvfs(file).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
        if in_memory || for_reading { Self::Mounted } else { Self::Writable }
    }
}

const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
/// The number of the machine's own process namespace, the same in every Linux. A container that shares it shares its secrets as well.
const MACHINE: &str = "pid:[4026531836]";

fn in_container() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace != Path::new(MACHINE))
}

impl Seen {
    fn judge(self, reader: &Reader, privacy: Privacy, handover: impl FnOnce() -> Handover) -> Result<(), String> {
        let Self { owner, group, mode } = self;
        let us = reader.user;
        let forbidden = match privacy {
            Privacy::Owner | Privacy::Secret => 0o077,
            Privacy::Credential => 0o027,
            Privacy::Public => 0o022,
        };
        let owner_fits = owner == us || (matches!(privacy, Privacy::Credential | Privacy::Public) && owner == 0);
        if owner_fits && mode & forbidden == 0 {
            return Ok(());
        }
        let usual = match owner_fits {
            true => format!("has mode {mode:04o}, which lets others in; take bits {forbidden:03o} away"),
            false => format!("belongs to user {owner}, not to user {us}"),
        };
        if owner != 0 || mode & 0o022 != 0 || !matches!(privacy, Privacy::Secret | Privacy::Credential) {
            return Err(usual);
        }
        let may_read = us == 0 || mode & 0o004 != 0 || (mode & 0o040 != 0 && reader.groups.contains(&group));
        match handover() {
            Handover::Mounted if may_read => Ok(()),
            Handover::Writable => Err(format!(
                "{usual}. It is root's, and would be taken as a container's secret on a mount that is read-only or in memory: this one can be written"
            )),
            Handover::Mounted | Handover::NoContainer => Err(usual),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::testing::Scratch;

    #[test]
    fn what_container_managers_hand_over_is_taken_where_nobody_else_can_read_or_change_it() {
        let reader = Reader {
            user: 10_001,
            groups: vec![10_001, 2_000],
        };
        let judged = |owner, group, mode, handover| Seen { owner, group, mode }.judge(&reader, Privacy::Secret, || handover);
        for (owner, group, mode, handover) in [
            // Ours alone, wherever it lies.
            (10_001, 10_001, 0o400, Handover::NoContainer),
            // Swarm, and Kubernetes by default.
            (0, 0, 0o444, Handover::Mounted),
            (0, 0, 0o644, Handover::Mounted),
            // Kubernetes with fsGroup.
            (0, 2_000, 0o440, Handover::Mounted),
        ] {
            assert_eq!(
                judged(owner, group, mode, handover),
                Ok(()),
                "{owner}:{group} {mode:o} {handover:?}"
            );
        }
        for (owner, group, mode, handover, why) in [
            (0, 0, 0o444, Handover::NoContainer, "belongs to user 0"),
            (0, 0, 0o444, Handover::Writable, "this one can be written"),
            (0, 0, 0o666, Handover::Mounted, "belongs to user 0"),
            (0, 3_000, 0o440, Handover::Mounted, "belongs to user 0"),
            (10_001, 10_001, 0o444, Handover::Mounted, "take bits 077 away"),
            (7, 7, 0o444, Handover::Mounted, "belongs to user 7"),
        ] {
            let said = judged(owner, group, mode, handover).unwrap_err();
            assert!(said.contains(why), "{owner}:{group} {mode:o} {handover:?}: {said}");
        }
        // Keys in the data folder are nobody's to hand over.
        let key = Seen {
            owner: 0,
            group: 0,
            mode: 0o444,
        };
        assert!(key.judge(&reader, Privacy::Owner, || Handover::Mounted).is_err());
    }

    #[test]
    fn links_of_a_mounted_secret_are_followed_within_its_folder() {
        let scratch = Scratch::new();
        let secrets = scratch.path("secrets");
        std::fs::create_dir_all(secrets.join("..2026_11_27")).unwrap();
        create(&secrets.join("..2026_11_27/token"), b"content", 0o400).unwrap();
        std::os::unix::fs::symlink("..2026_11_27", secrets.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", secrets.join("token")).unwrap();
        assert_eq!(read(&secrets.join("token"), 7, Privacy::Secret).unwrap().as_slice(), b"content");
        assert!(matches!(
            read(&secrets.join("token"), 7, Privacy::Owner),
            Err(FileError::Exposed(..))
        ));
        create(&scratch.path("other"), b"content", 0o400).unwrap();
        std::os::unix::fs::symlink("../other", secrets.join("out")).unwrap();
        let why = read(&secrets.join("out"), 7, Privacy::Secret).unwrap_err().to_string();
        assert!(why.contains("out of its folder"), "{why}");
    }

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
        assert!(matches!(read(&path, 7, Privacy::Owner), Err(FileError::Exposed(..))));
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
