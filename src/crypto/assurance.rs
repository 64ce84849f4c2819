//! What an erasure is worth on this machine: a class from A to C, with the reasons, found out at start.
//!
//! * **A** – after a purge the secret is on no logical block and, as far as can be known, not on the medium either:
//!   ext4 (not `data=journal`) or XFS on a rotating disk.
//! * **B** – the same at the level of logical blocks; stale pages of a flash chip and snapshots below us cannot be seen
//!   from here. The usual case.
//! * **C** – overwriting in place does not erase here (copy-on-write, journalled data, network or layered file
//!   systems), or could not be shown to work. The portal refuses it unless told otherwise.
//!
//! How it is found: `statfs`, `/proc/self/mountinfo`, the inode flags of the file, `/sys/dev/block/…/queue/rotational`,
//! and a canary slot that is written, destroyed and read back around the page cache. FIEMAP is not consulted: it needs
//! an unsafe ioctl, and it showed unchanged extents on `data=journal` while all secrets stayed, so an allow-list of
//! file systems decides instead. What this cannot see is said among the reasons.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::IFlags;

use super::erase::{EraseError, ReadBack};
use super::slots::SlotsFile;

/// How good an erasure is here. A is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AssuranceClass {
    /// Also against the physical medium.
    A,
    /// Against every logical block.
    B,
    /// Not shown to erase.
    C,
}

impl fmt::Display for AssuranceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AssuranceClass::A => "A",
            AssuranceClass::B => "B",
            AssuranceClass::C => "C",
        })
    }
}

/// The verdict, for the console, the API, receipts and `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assurance {
    /// The class.
    pub class: AssuranceClass,
    /// Name of the file system, as the kernel mounts it.
    pub file_system: String,
    /// Why this class and not a better one; whole sentences.
    pub reasons: Vec<String>,
}

/// What was observed; the verdict is a pure function of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// File-system type from mountinfo, else from the `statfs` magic.
    pub file_system: String,
    /// Mount and superblock options, separated by commas.
    pub options: String,
    /// `FS_JOURNAL_DATA_FL` on the file.
    pub journals_data: bool,
    /// `FS_NOCOW_FL` on the file.
    pub no_copy_on_write: bool,
    /// From `/sys`; unknown for network, memory and some virtual devices.
    pub rotational: Option<bool>,
    /// The device is virtual: device mapper, loop, virtio, network block device.
    pub virtual_device: bool,
    /// Swap is on.
    pub swap: bool,
    /// What the canary showed; `None` if it failed.
    pub canary: Option<ReadBack>,
}

/// Observes the file and judges. `path` is the slots file that `store` has open.
pub fn self_test(path: &Path, store: &SlotsFile) -> Result<Assurance, EraseError> {
    let canary = match store.canary() {
        Ok(how) => Some(how),
        // A full store cannot spare a slot; it has erased before and says so by its own errors if it cannot now.
        Err(EraseError::SlotsFull) => Some(ReadBack::Buffered),
        Err(EraseError::Poisoned) => return Err(EraseError::Poisoned),
        Err(_) => None,
    };
    Ok(judge(&observe(path, canary)?))
}

/// Collects the facts about the file at this path.
pub fn observe(path: &Path, canary: Option<ReadBack>) -> Result<Facts, EraseError> {
    let file = File::open(path)?;
    let flags = rustix::fs::ioctl_getflags(&file).unwrap_or(IFlags::empty());
    let magic = rustix::fs::fstatfs(&file).map_err(std::io::Error::from)?.f_type as u64;
    let device = file.metadata()?.dev();
    let mount = std::fs::read_to_string("/proc/self/mountinfo")
        .ok()
        .and_then(|table| mount_of(&table, &path.canonicalize().unwrap_or_else(|_| path.to_owned())));
    let (file_system, options) = mount.unwrap_or_else(|| (name_of(magic), String::new()));
    let block = PathBuf::from(format!(
        "/sys/dev/block/{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    ));
    Ok(Facts {
        file_system,
        options,
        journals_data: flags.contains(IFlags::JOURNALING),
        no_copy_on_write: flags.contains(IFlags::NOCOW),
        rotational: rotational(&block),
        virtual_device: is_virtual(&block),
        swap: super::memory::swap_is_on(),
        canary,
    })
}

/// The verdict on these facts.
pub fn judge(facts: &Facts) -> Assurance {
    let mut verdict = Verdict {
        class: AssuranceClass::A,
        reasons: Vec::new(),
    };
    let option = |name: &str| facts.options.split(',').any(|option| option == name);
    match facts.file_system.as_str() {
        "ext4" | "ext3" | "ext2" => {
            if option("data=journal") || facts.journals_data {
                verdict.at_best(
                    AssuranceClass::C,
                    "ext4 journals file data here (data=journal or attribute +j): old bytes stay in the journal.",
                );
            }
        }
        "xfs" => verdict.note("XFS: a reflink copy of the slots file, if an administrator made one, would keep old bytes."),
        "btrfs" if facts.no_copy_on_write => {
            verdict.at_best(
                AssuranceClass::B,
                "btrfs with attribute +C overwrites in place, unless a snapshot is taken.",
            );
        }
        "btrfs" => verdict.at_best(
            AssuranceClass::C,
            "btrfs copies on write: overwriting leaves the old bytes. Set attribute +C on the empty directory first.",
        ),
        "tmpfs" | "ramfs" => {
            verdict.note("The slots are in memory only: undelivered documents are lost at every restart of the machine.");
            if facts.swap && facts.file_system == "tmpfs" {
                verdict.at_best(AssuranceClass::C, "tmpfs may be swapped out to a disk here.");
            }
        }
        other => verdict.at_best(
            AssuranceClass::C,
            &format!("{other} is not among the file systems on which overwriting was shown to erase."),
        ),
    }
    let in_memory = matches!(facts.file_system.as_str(), "tmpfs" | "ramfs");
    if !in_memory {
        match facts.rotational {
            Some(true) if !facts.virtual_device => {}
            Some(false) if !facts.virtual_device => verdict.at_best(
                AssuranceClass::B,
                "Flash storage may keep stale physical pages until it collects them.",
            ),
            _ => verdict.at_best(
                AssuranceClass::B,
                "The block device is virtual or unknown: what lies below it, and snapshots there, cannot be seen from here.",
            ),
        }
    }
    match facts.canary {
        Some(ReadBack::Direct | ReadBack::Memory) => {}
        Some(ReadBack::Buffered) if in_memory => {}
        Some(ReadBack::Buffered) => verdict.at_best(AssuranceClass::B, "Zeros could be read back through the page cache only."),
        None => verdict.at_best(AssuranceClass::C, "The canary slot could not be written, destroyed and read back."),
    }
    Assurance {
        class: verdict.class,
        file_system: facts.file_system.clone(),
        reasons: verdict.reasons,
    }
}

struct Verdict {
    class: AssuranceClass,
    reasons: Vec<String>,
}

impl Verdict {
    fn at_best(&mut self, class: AssuranceClass, reason: &str) {
        self.class = self.class.max(class);
        self.note(reason);
    }

    fn note(&mut self, reason: &str) {
        self.reasons.push(reason.to_owned());
    }
}

/// File-system type and options of the mount that holds this path: the last line with the longest mount point above it.
fn mount_of(table: &str, path: &Path) -> Option<(String, String)> {
    table
        .lines()
        .filter_map(|line| {
            let (mounted, device) = line.split_once(" - ")?;
            let mut mounted = mounted.split(' ').skip(4);
            let point = unescaped(mounted.next()?);
            let mut device = device.split(' ');
            let file_system = device.next()?.to_owned();
            let options = format!("{},{}", mounted.next()?, device.nth(1).unwrap_or(""));
            path.starts_with(&point)
                .then(|| (point.components().count(), (file_system, options)))
        })
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, mount)| mount)
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescaped(field: &str) -> PathBuf {
    let text = ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain));
    PathBuf::from(text)
}

/// `queue` belongs to the whole disk; a partition's directory lies inside its disk's.
fn rotational(block: &Path) -> Option<bool> {
    ["queue/rotational", "../queue/rotational"]
        .iter()
        .find_map(|place| std::fs::read_to_string(block.join(place)).ok())
        .map(|text| text.trim() == "1")
}

fn is_virtual(block: &Path) -> bool {
    let Ok(real) = block.canonicalize() else {
        return true;
    };
    let text = real.to_string_lossy();
    ["/virtual/", "/virtio", "/vbd-", "/nbd", "/rbd"]
        .iter()
        .any(|mark| text.contains(mark))
}

fn name_of(magic: u64) -> String {
    match magic {
        0xEF53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x2FC1_2FC1 => "zfs",
        0xF2F5_2010 => "f2fs",
        0xCA45_1A4E => "bcachefs",
        _ => return format!("unknown file system 0x{magic:x}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::testing::Scratch;

    fn plain_ext4() -> Facts {
        Facts {
            file_system: "ext4".into(),
            options: "rw,relatime".into(),
            journals_data: false,
            no_copy_on_write: false,
            rotational: Some(true),
            virtual_device: false,
            swap: false,
            canary: Some(ReadBack::Direct),
        }
    }

    #[test]
    fn the_table_of_classes() {
        use AssuranceClass::{A, B, C};
        let ext4 = plain_ext4;
        let on = |file_system: &str| Facts {
            file_system: file_system.into(),
            ..ext4()
        };
        for (facts, class) in [
            (ext4(), A),
            (on("xfs"), A),
            (
                Facts {
                    rotational: Some(false),
                    ..ext4()
                },
                B,
            ),
            (
                Facts {
                    rotational: None,
                    ..ext4()
                },
                B,
            ),
            (
                Facts {
                    virtual_device: true,
                    ..ext4()
                },
                B,
            ),
            (
                Facts {
                    options: "rw,data=journal".into(),
                    ..ext4()
                },
                C,
            ),
            (
                Facts {
                    journals_data: true,
                    ..ext4()
                },
                C,
            ),
            (
                Facts {
                    canary: Some(ReadBack::Buffered),
                    ..ext4()
                },
                B,
            ),
            (Facts { canary: None, ..ext4() }, C),
            (on("btrfs"), C),
            (
                Facts {
                    no_copy_on_write: true,
                    ..on("btrfs")
                },
                B,
            ),
            (
                Facts {
                    rotational: None,
                    canary: Some(ReadBack::Buffered),
                    ..on("tmpfs")
                },
                A,
            ),
            (Facts { swap: true, ..on("tmpfs") }, C),
            (on("overlay"), C),
            (on("zfs"), C),
            (on("nfs4"), C),
            (on("f2fs"), C),
        ] {
            let verdict = judge(&facts);
            assert_eq!(verdict.class, class, "{facts:?}");
            assert!(class == A || !verdict.reasons.is_empty());
        }
    }

    #[test]
    fn the_deepest_mount_counts() {
        let table = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,data=ordered\n\
                     28 27 0:25 / /var/lib rw,nosuid - btrfs /dev/sdb rw,space_cache\n\
                     29 27 0:26 / /var/li rw - tmpfs none rw\n\
                     30 27 0:27 / /srv/with\\040space rw shared:1 - xfs /dev/sdc rw,noquota\n";
        let of = |path: &str| mount_of(table, Path::new(path)).unwrap();
        assert_eq!(
            of("/var/lib/nightdrop/erase.slots"),
            ("btrfs".into(), "rw,nosuid,rw,space_cache".into())
        );
        assert_eq!(of("/etc/x").0, "ext4");
        assert_eq!(of("/srv/with space/x").0, "xfs");
    }

    #[test]
    fn the_self_test_runs_here_and_leaves_no_slot() {
        use crate::crypto::erase::ErasureStore;
        let scratch = Scratch::new();
        let path = scratch.path("erase.slots");
        SlotsFile::create(&path, 4).unwrap();
        let store = SlotsFile::open(&path, None).unwrap();
        let verdict = self_test(&path, &store).unwrap();
        assert!(!verdict.file_system.is_empty());
        assert_eq!(store.free().unwrap(), 4);
        assert!(store.live().unwrap().is_empty());
    }
}
