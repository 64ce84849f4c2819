//! What an erasure is worth on this machine: a class from A to C, with the reasons, found out at start.
//!
//! * **A** – after a purge the secret is on no logical block and, as far as can be known, not on the medium either:
//!   ext4 (not `data=journal`) or XFS on a rotating disk.
//! * **B** – the same at the level of logical blocks; stale pages of a flash chip and snapshots below us cannot be seen
//!   from here. The usual case.
//! * **C** – overwriting in place does not erase here (copy-on-write, journalled data, network or layered file
//!   systems), or could not be shown to work. The portal refuses it unless told otherwise.
//!
//! How it is found: what is in effect for this very file, and not what the mount table says. `statfs` and `/proc/self/mountinfo` name the file system;
//! `/proc/fs/ext4/…/options` and the inode's flags tell whether ext4 journals file data (a default in the superblock stands in no mount table), and so does
//! `statx`, which knows of no direct I/O then; `FIEMAP` tells where the blocks lie and whether another file or a snapshot shares them;
//! `/sys/dev/block/…/queue/rotational`, what kind of device it is; and a canary slot is written, destroyed and read back around the page cache. An
//! allow-list of file systems decides, because extents that stay in place prove nothing where data are journalled. What this cannot see is said among
//! the reasons.
//!
//! [`Watch`] looks again while the portal runs. A defragmenter moves a file that is in use without its knowledge and leaves all its old blocks behind as
//! they were: from the first look that finds other blocks than before, the class is C, and it never gets better again within the process. Attributes do
//! not help: immutable forbids our own writes too, and no other keeps a defragmenter away.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, IFlags, StatxFlags};

use super::erase::{EraseError, ReadBack};
use super::extents::Layout;
use super::memory::{self, Swap};
use super::slots::SlotsFile;
use crate::chain::chain;

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

/// Whether ext4 writes this file's data into its journal first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journal {
    /// Shown: only metadata go there.
    Metadata,
    /// By mount option, superblock default or attribute.
    Data,
    /// Neither `/proc/fs/ext4` nor the kernel's answer about direct I/O is to be had.
    Unknown,
}

/// What `FIEMAP` says of the file's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// They are this file's alone, where they were before.
    Own,
    /// Another file or snapshot has them too.
    Shared,
    /// They are elsewhere than they were: the earlier ones were given back as they stood.
    Moved,
    /// The file system does not tell.
    Unknown,
}

/// What was observed; the verdict is a pure function of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// File-system type from mountinfo, else from the `statfs` magic.
    pub file_system: String,
    /// Mount and superblock options, separated by commas.
    pub options: String,
    pub journal: Journal,
    /// `FS_NOCOW_FL` on the file; the kernel sets it on empty files only, so it is in effect from the first byte.
    pub no_copy_on_write: bool,
    pub blocks: Blocks,
    /// From `/sys`; unknown for network, memory and some virtual devices.
    pub rotational: Option<bool>,
    /// The device is virtual: device mapper, loop, virtio, network block device.
    pub virtual_device: bool,
    /// What is swapped out could be read from a disk.
    pub swap: bool,
    /// What the canary showed; `None` if it failed.
    pub canary: Option<ReadBack>,
}

/// What a look at the file said.
#[derive(Debug, Clone)]
pub struct Look {
    pub assurance: Assurance,
    /// Why erasing is worth less than it was at start, for a receipt; `None` while nothing changed.
    pub weakened: Option<&'static str>,
    /// It was found by this look.
    pub fresh: bool,
}

const MOVED: &str = "the slots file had been moved on its disk, earlier blocks may still hold the secret";
const CHANGED: &str = "the file system no longer overwrites in place";

/// Judges the slots file at start and keeps looking at it.
pub struct Watch {
    path: PathBuf,
    file: File,
    canary: Option<ReadBack>,
    /// The layout's digest at start.
    blocks: Option<[u8; 32]>,
    state: Mutex<Watched>,
}

struct Watched {
    assurance: Assurance,
    moved: bool,
    weakened: Option<&'static str>,
}

impl Watch {
    /// Observes the file and judges. `path` is the slots file that `store` has open; `noted`, what [`Watch::blocks`] said when its place was accepted last.
    pub fn begin(path: &Path, store: &SlotsFile, noted: Option<&[u8]>) -> Result<Watch, EraseError> {
        let canary = match store.canary() {
            Ok(how) => Some(how),
            // A full store cannot spare a slot; it has erased before and says so by its own errors if it cannot now.
            Err(EraseError::SlotsFull) => Some(ReadBack::Buffered),
            Err(EraseError::Poisoned) => return Err(EraseError::Poisoned),
            Err(_) => None,
        };
        let file = File::open(path)?;
        // A place that is still to be decided would look like a move later.
        file.sync_all()?;
        let (mut facts, blocks) = observe(path, &file, canary)?;
        let moved = matches!((noted, &blocks), (Some(noted), Some(now)) if noted != now);
        if moved {
            facts.blocks = Blocks::Moved;
        }
        Ok(Watch {
            path: path.to_owned(),
            file,
            canary,
            blocks,
            state: Mutex::new(Watched {
                assurance: judge(&facts),
                moved,
                weakened: moved.then_some(MOVED),
            }),
        })
    }

    /// A name of the blocks' places at start, to be noted where the next start finds it. `None` where the file system does not tell.
    pub fn blocks(&self) -> Option<[u8; 32]> {
        self.blocks
    }

    /// The verdict of the last look.
    pub fn current(&self) -> Assurance {
        self.lock().assurance.clone()
    }

    /// Whether erasing is worth less than it was at start.
    pub fn is_weakened(&self) -> bool {
        self.lock().weakened.is_some()
    }

    /// Looks again, and blocks for some system calls. What was found once stays: the secrets of that time are where they were left.
    pub fn look(&self) -> Look {
        let observed = observe(&self.path, &self.file, self.canary);
        let in_place = std::fs::symlink_metadata(&self.path)
            .and_then(|there| Ok((there, self.file.metadata()?)))
            .is_ok_and(|(there, ours)| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        let mut state = self.lock();
        let before = state.weakened;
        let now = match observed {
            Ok((mut facts, blocks)) => {
                state.moved |= !in_place || blocks != self.blocks;
                if state.moved {
                    facts.blocks = Blocks::Moved;
                    state.weakened = Some(MOVED);
                }
                judge(&facts)
            }
            Err(error) => Assurance {
                class: AssuranceClass::C,
                file_system: state.assurance.file_system.clone(),
                reasons: vec![format!("The slots file could not be judged: {}.", chain(&error))],
            },
        };
        if now.class > state.assurance.class {
            state.weakened = state.weakened.or(Some(CHANGED));
            state.assurance = now;
        } else if state.moved && before.is_none() {
            // C as before, with one more reason.
            state.assurance = now;
        }
        Look {
            assurance: state.assurance.clone(),
            weakened: state.weakened,
            fresh: before.is_none() && state.weakened.is_some(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The verdict on the file at this path while another process has it open.
pub(crate) fn from_outside(path: &Path) -> Result<Assurance, EraseError> {
    // That process writes and erases: its own canary has passed.
    let (facts, _) = observe(path, &File::open(path)?, Some(ReadBack::Direct))?;
    Ok(judge(&facts))
}

/// A name of the places of a file's blocks, or of its first bytes' alone: as [`Watch::blocks`] tells it. `None` where the file system does not tell.
pub(crate) fn place_of(path: &Path, first: Option<u64>) -> std::io::Result<Option<[u8; 32]>> {
    let file = File::open(path)?;
    file.sync_all()?;
    let layout = Layout::of(&file).ok();
    let layout = match first {
        Some(bytes) => layout.map(|layout| layout.first(bytes)),
        None => layout,
    };
    Ok(layout.map(|layout| layout.digest()))
}

/// Whether this folder lies in memory and is gone with the machine's next start.
pub(crate) fn is_volatile(folder: &Path) -> std::io::Result<bool> {
    let magic = rustix::fs::statfs(folder).map_err(std::io::Error::from)?.f_type as u64;
    Ok(matches!(magic, TMPFS | RAMFS))
}

fn observe(path: &Path, file: &File, canary: Option<ReadBack>) -> Result<(Facts, Option<[u8; 32]>), EraseError> {
    let flags = rustix::fs::ioctl_getflags(file).unwrap_or(IFlags::empty());
    let magic = rustix::fs::fstatfs(file).map_err(std::io::Error::from)?.f_type as u64;
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
    let layout = Layout::of(file).ok();
    let in_effect = block
        .canonicalize()
        .ok()
        .and_then(|device| std::fs::read_to_string(Path::new("/proc/fs/ext4").join(device.file_name()?).join("options")).ok());
    let journals = flags.contains(IFlags::JOURNALING);
    let facts = Facts {
        journal: journal(journals, &options, in_effect.as_deref(), direct_io(file)),
        file_system,
        options,
        no_copy_on_write: flags.contains(IFlags::NOCOW),
        blocks: match &layout {
            Some(layout) if layout.shared => Blocks::Shared,
            Some(layout) if !layout.unknown => Blocks::Own,
            _ => Blocks::Unknown,
        },
        rotational: rotational(&block),
        virtual_device: is_virtual(&block),
        swap: memory::swap() == Swap::Readable,
        canary,
    };
    Ok((facts, layout.map(|layout| layout.digest())))
}

/// Whether this file can be read and written around the page cache; `None` before Linux 6.1.
fn direct_io(file: &File) -> Option<bool> {
    let told = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    (told.stx_mask & StatxFlags::DIOALIGN.bits() != 0).then_some(told.stx_dio_mem_align != 0)
}

/// Any sign of journalled data counts; that there is none must be shown by one of two sources.
fn journal(flag: bool, mounted: &str, in_effect: Option<&str>, direct_io: Option<bool>) -> Journal {
    let mode = in_effect.and_then(|text| text.lines().find_map(|line| line.trim().strip_prefix("data=")));
    if flag || mounted.split(',').any(|option| option == "data=journal") || mode == Some("journal") || direct_io == Some(false) {
        Journal::Data
    } else if matches!(mode, Some("ordered" | "writeback")) || direct_io == Some(true) {
        Journal::Metadata
    } else {
        Journal::Unknown
    }
}

/// The verdict on these facts.
pub(crate) fn judge(facts: &Facts) -> Assurance {
    let mut verdict = Verdict {
        class: AssuranceClass::A,
        reasons: Vec::new(),
    };
    let in_memory = matches!(facts.file_system.as_str(), "tmpfs" | "ramfs");
    match facts.file_system.as_str() {
        "ext4" | "ext3" | "ext2" => match facts.journal {
            Journal::Metadata => {}
            Journal::Data => verdict.at_best(
                AssuranceClass::C,
                "ext4 journals file data here (data=journal as a mount option or in the superblock, or attribute +j): old bytes stay in the journal.",
            ),
            Journal::Unknown => verdict.at_best(
                AssuranceClass::C,
                "Whether ext4 journals file data here cannot be seen: let the portal read /proc/fs/ext4.",
            ),
        },
        "xfs" => {}
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
    match facts.blocks {
        _ if in_memory => {}
        Blocks::Own => {}
        Blocks::Shared => verdict.at_best(
            AssuranceClass::C,
            "Another file or a snapshot shares blocks with the slots file (a reflink copy, for one): the next write goes elsewhere and the old bytes stay.",
        ),
        Blocks::Moved => verdict.at_best(
            AssuranceClass::C,
            "The slots file has other blocks than before (defragmented, copied or put back): the earlier ones still hold every secret of that time.",
        ),
        Blocks::Unknown => verdict.at_best(AssuranceClass::C, "Where the blocks of the slots file lie cannot be seen here."),
    }
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

const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

fn name_of(magic: u64) -> String {
    match magic {
        0xEF53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        TMPFS => "tmpfs",
        RAMFS => "ramfs",
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
mod tests;
