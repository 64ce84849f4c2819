//! A disk that remembers every write and every flush, so that a power cut can be made at any moment afterwards, as often as wanted.
//!
//! The disk is one file of a FUSE file system that lives in this process; a loop device over it carries a real ext4 or XFS. The file is opened for direct
//! I/O, so each write of the block layer arrives here as one request, and each flush (`REQ_OP_FLUSH`) as one fsync. A device may lose, or keep, whatever was
//! written behind the last finished flush, in any order, and may tear a write between two sectors: [`Unflushed`] names what is kept.
//!
//! This is the model of the block layer's documentation ("explicit volatile write back cache control"), and no more: a disk that lies about its flushes is not in it.

#![allow(clippy::unwrap_used)] // Tests.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::power_cut::writer::Random;
use crate::power_cut::{Mounted, path, run};

const DISK: INodeNo = INodeNo(2);
/// What a device writes whole or not at all.
const SECTOR: usize = 512;
/// What the file systems write at a time.
const BLOCK: usize = 4096;

/// The file system on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    fn bytes(self) -> u64 {
        match self {
            Self::Ext4 => 256 << 20,
            // The smallest that mkfs.xfs makes.
            Self::Xfs => 320 << 20,
        }
    }

    pub fn make(self, image: &Path) {
        std::fs::File::create(image).unwrap().set_len(self.bytes()).unwrap();
        match self {
            Self::Ext4 => run(
                "mkfs.ext4",
                &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", path(image)],
            ),
            Self::Xfs => run("mkfs.xfs", &["-q", "-f", path(image)]),
        }
    }
}

/// What of the writes behind the last flush is on the disk when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unflushed {
    Nothing,
    /// The first so many.
    Prefix,
    /// Any blocks of them.
    Subset,
    /// Any blocks, some of them torn between two sectors.
    Torn,
}

impl Unflushed {
    pub fn any(random: &mut Random) -> Self {
        [Self::Nothing, Self::Prefix, Self::Subset, Self::Torn][random.below(4) as usize]
    }
}

enum Op {
    Write { at: usize, data: Box<[u8]> },
    Flush,
}

struct Entry {
    /// Nanoseconds of the monotonic clock, before the request was answered.
    when: u64,
    op: Op,
}

struct Content {
    image: Vec<u8>,
    log: Vec<Entry>,
}

/// The disk while it runs, mounted.
pub struct Disk {
    content: Arc<Mutex<Content>>,
    base: Vec<u8>,
    mounted: Option<Mounted>,
    device: Mounted,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Makes a file system of this kind on a fresh disk and mounts it at `at`. `scratch` holds what is needed for that.
    pub fn mount(kind: Kind, scratch: &Path, at: &Path) -> Self {
        let image = scratch.join("fresh");
        kind.make(&image);
        let base = std::fs::read(&image).unwrap();
        std::fs::remove_file(&image).unwrap();
        let content = Arc::new(Mutex::new(Content {
            image: base.clone(),
            log: Vec::new(),
        }));
        let device = scratch.join("device");
        std::fs::create_dir_all(&device).unwrap();
        let mut options = Config::default();
        options.mount_options = vec![MountOption::FSName("block-log".into()), MountOption::RW];
        let session = fuser::spawn_mount(Device(Arc::clone(&content)), &device, &options).expect("FUSE can be mounted by root");
        let mounted = Mounted::new(&device.join("disk"), at);
        Self {
            content,
            base,
            mounted: Some(mounted),
            device: Mounted(device),
            session: Some(session),
        }
    }

    /// Takes the disk away: what was written until now can be cut anywhere.
    pub fn stop(mut self) -> Log {
        let entries = std::mem::take(&mut self.lock().log);
        Log {
            durable: std::mem::take(&mut self.base),
            applied: 0,
            entries,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.mounted.take());
        // The loop device lets go of its file a moment after the unmount; the session ends with it.
        self.device.unmount();
        drop(self.session.take().map(BackgroundSession::join));
    }
}

/// Everything that a disk was told, and what of it stands so far.
pub struct Log {
    /// The content as of the last flush before `applied`.
    durable: Vec<u8>,
    applied: usize,
    entries: Vec<Entry>,
}

impl Log {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn flushes(&self) -> usize {
        self.entries.iter().filter(|e| matches!(e.op, Op::Flush)).count()
    }

    /// Everything that was ever written, in order.
    pub fn writes(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(|entry| match &entry.op {
            Op::Write { data, .. } => Some(&**data),
            Op::Flush => None,
        })
    }

    /// How many entries were made until this moment of the monotonic clock.
    pub fn until(&self, when: u64) -> usize {
        self.entries.partition_point(|e| e.when <= when)
    }

    /// The moment of the last entry before a cut: what was answered later was not on the disk.
    pub fn moment(&self, cut: usize) -> u64 {
        self.entries[cut - 1].when
    }

    /// Writes the disk as it comes back after a cut behind `cut` entries, and returns its content. Cuts must be asked for in ascending order.
    pub fn cut(&mut self, cut: usize, kept: Unflushed, random: &mut Random, image: &Path) -> Vec<u8> {
        let flushed = self.entries[..cut]
            .iter()
            .rposition(|e| matches!(e.op, Op::Flush))
            .map_or(0, |at| at + 1);
        assert!(flushed >= self.applied, "cuts are made in ascending order");
        for entry in &self.entries[self.applied..flushed] {
            if let Op::Write { at, data } = &entry.op {
                self.durable[*at..*at + data.len()].copy_from_slice(data);
            }
        }
        self.applied = flushed;
        let mut disk = self.durable.clone();
        let writes: Vec<(usize, &[u8])> = self.entries[flushed..cut]
            .iter()
            .filter_map(|entry| match &entry.op {
                Op::Write { at, data } => Some((*at, &**data)),
                Op::Flush => None,
            })
            .collect();
        match kept {
            Unflushed::Nothing => {}
            Unflushed::Prefix => {
                let count = random.below(writes.len() as u64 + 1) as usize;
                for (at, data) in &writes[..count] {
                    disk[*at..*at + data.len()].copy_from_slice(data);
                }
            }
            Unflushed::Subset | Unflushed::Torn => {
                for (at, data) in writes {
                    for (number, block) in data.chunks(BLOCK).enumerate() {
                        let at = at + number * BLOCK;
                        match random.below(if kept == Unflushed::Torn { 4 } else { 2 }) {
                            0 => {}
                            1 | 2 => disk[at..at + block.len()].copy_from_slice(block),
                            _ => {
                                for (number, sector) in block.chunks(SECTOR).enumerate() {
                                    if random.below(2) == 0 {
                                        let at = at + number * SECTOR;
                                        disk[at..at + sector.len()].copy_from_slice(sector);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        write_sparse(image, &disk);
        disk
    }
}

fn write_sparse(path: &Path, disk: &[u8]) {
    use std::os::unix::fs::FileExt;
    const PIECE: usize = 64 << 10;
    let _ = std::fs::remove_file(path);
    let file = std::fs::File::create(path).unwrap();
    file.set_len(disk.len() as u64).unwrap();
    let zeros = vec![0; PIECE];
    for (number, piece) in disk.chunks(PIECE).enumerate() {
        if piece != &zeros[..piece.len()] {
            file.write_all_at(piece, (number * PIECE) as u64).unwrap();
        }
    }
}

/// Nanoseconds of the monotonic clock, which all processes of this machine share.
pub fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The FUSE file system of one file.
struct Device(Arc<Mutex<Content>>);

impl Device {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let (kind, perm, size) = match inode {
            DISK => (FileType::RegularFile, 0o600, self.lock().image.len() as u64),
            _ => (FileType::Directory, 0o700, 0),
        };
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: BLOCK as u32,
        }
    }
}

const FOR_EVER: Duration = Duration::from_secs(3600);

impl Filesystem for Device {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str() {
            Some("disk") => reply.entry(&FOR_EVER, &self.attributes(DISK), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, size: u32, _: OpenFlags, _: Option<LockOwner>, reply: ReplyData) {
        let content = self.lock();
        let end = content.image.len().min(offset as usize + size as usize);
        reply.data(content.image.get(offset as usize..end).unwrap_or_default());
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut content = self.lock();
        let at = offset as usize;
        content.image[at..at + data.len()].copy_from_slice(data);
        content.log.push(Entry {
            when: monotonic(),
            op: Op::Write { at, data: data.into() },
        });
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.lock().log.push(Entry {
            when: monotonic(),
            op: Op::Flush,
        });
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
