//! Where the blocks of a file lie on their device, as `FIEMAP` tells it: to notice that a defragmenter, a copy or a snapshot gave a file other blocks.
//!
//! It promises that two layouts are equal exactly if every byte of the file has the same place in both. It changes nothing. The places are the file
//! system's: what a volume manager or a drive makes of them below is not seen.
#![allow(unsafe_code)] // One ioctl that no maintained crate wraps: its request is a plain struct of numbers, checked below.

use std::fs::File;
use std::io;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use sha2::{Digest, Sha256};

/// Extents asked for at once.
const BATCH: usize = 128;
/// More than any slots file can have: one for each of its pages.
const MOST: usize = 1 << 21;

const FS_IOC_FIEMAP: Opcode = opcode::read_write::<Head>(b'f', 11);
const LAST: u32 = 0x1;
const UNKNOWN: u32 = 0x2;
const DELAYED: u32 = 0x4;
const ENCODED: u32 = 0x8;
const INLINE: u32 = 0x200;
const SHARED: u32 = 0x2000;

/// `struct fiemap` of `linux/fiemap.h`, without its extents.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Head {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Request {
    head: Head,
    extents: [RawExtent; BATCH],
}

/// A run of bytes of the file, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// In the file's order; neighbours that lie behind one another are one.
    pub extents: Vec<Extent>,
    /// Another file or snapshot has some of these blocks too: the next write goes elsewhere.
    pub shared: bool,
    /// Some of it has no place of its own that could be told: not yet written, packed, or kept with other data.
    pub unknown: bool,
}

impl Layout {
    /// Asks the file system. An error of kind `Unsupported` where it has no such thing.
    pub(super) fn of(file: &File) -> io::Result<Layout> {
        let mut layout = Layout::default();
        let mut from = 0;
        loop {
            let found = ask(file, from)?;
            let Some(end) = found.last() else { return Ok(layout) };
            for extent in &found {
                layout.add(extent);
            }
            // A file system that makes no progress, or has more than a slots file can have, is not believed.
            if end.flags & LAST != 0 || end.logical + end.length <= from || layout.extents.len() > MOST {
                return Ok(layout);
            }
            from = end.logical + end.length;
        }
    }

    fn add(&mut self, extent: &RawExtent) {
        self.shared |= extent.flags & SHARED != 0;
        self.unknown |= extent.flags & (UNKNOWN | DELAYED | ENCODED | INLINE) != 0;
        match self.extents.last_mut() {
            Some(before) if before.logical + before.length == extent.logical && before.physical + before.length == extent.physical => {
                before.length += extent.length;
            }
            _ => self.extents.push(Extent {
                logical: extent.logical,
                physical: extent.physical,
                length: extent.length,
            }),
        }
    }

    /// The same of the file's first bytes alone.
    pub(super) fn first(mut self, bytes: u64) -> Layout {
        self.extents.retain(|extent| extent.logical < bytes);
        if let Some(last) = self.extents.last_mut() {
            last.length = last.length.min(bytes - last.logical);
        }
        self
    }

    /// A short name of the places, equal for equal places.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"nightdrop/v1/slots-layout\0");
        for extent in &self.extents {
            for number in [extent.logical, extent.physical, extent.length] {
                hash.update(number.to_be_bytes());
            }
        }
        hash.finalize().into()
    }
}

fn ask(file: &File, from: u64) -> io::Result<Vec<RawExtent>> {
    let mut request = Request {
        head: Head {
            start: from,
            length: u64::MAX - from,
            room: BATCH as u32,
            ..Head::default()
        },
        extents: [RawExtent::default(); BATCH],
    };
    // SAFETY: `Request` is laid out as the kernel's `struct fiemap` followed by `room` extents, which is the buffer that this request reads and writes:
    // the kernel writes at most `room` extents behind the head. All fields are integers, for which every bit pattern is valid, and `request` is
    // borrowed for the length of the call. The descriptor is open, for `file` is borrowed too.
    unsafe {
        ioctl(file, Updater::<FS_IOC_FIEMAP, Request>::new(&mut request))?;
    }
    let mapped = (request.head.mapped as usize).min(BATCH);
    Ok(request.extents[..mapped].to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::testing::Scratch;
    use std::os::unix::fs::FileExt;

    #[test]
    fn the_request_has_the_kernels_shape() {
        assert_eq!(FS_IOC_FIEMAP as u64, 0xC020_660B);
        assert_eq!((size_of::<Head>(), size_of::<RawExtent>()), (32, 56));
        assert_eq!(size_of::<Request>(), 32 + BATCH * 56);
    }

    #[test]
    fn overwriting_in_place_keeps_the_layout_and_a_copy_has_another() {
        let scratch = Scratch::new();
        let (path, copy) = (scratch.path("a"), scratch.path("b"));
        // With a hole behind each 64 KiB, so that there are more extents than one request takes.
        let file = File::create_new(&path).unwrap();
        for run in 0..300u64 {
            file.write_all_at(&[7; 1 << 16], run << 17).unwrap();
        }
        file.sync_all().unwrap();
        let before = match Layout::of(&file) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            other => other.unwrap(),
        };
        assert!(before.extents.len() >= 300, "{}", before.extents.len());
        let covered: u64 = before.extents.iter().map(|extent| extent.length).sum();
        assert_eq!(covered, 300 << 16);
        if before.shared || before.unknown {
            return; // A file system that copies on write says so, and is judged by that.
        }
        file.write_all_at(&[8; 1 << 16], 0).unwrap();
        file.sync_all().unwrap();
        assert_eq!(Layout::of(&file).unwrap(), before);
        assert_eq!(Layout::of(&file).unwrap().digest(), before.digest());
        std::fs::copy(&path, &copy).unwrap();
        let other = File::open(&copy).unwrap();
        other.sync_all().unwrap();
        assert_ne!(Layout::of(&other).unwrap().digest(), before.digest());
    }

    #[test]
    fn neighbours_are_one() {
        let raw = |logical, physical, flags| RawExtent {
            logical,
            physical,
            length: 4096,
            flags,
            ..RawExtent::default()
        };
        let mut layout = Layout::default();
        for extent in [raw(0, 8192, 0), raw(4096, 12288, 0x1000), raw(8192, 4096, SHARED | LAST)] {
            layout.add(&extent);
        }
        assert_eq!(layout.extents.len(), 2);
        assert_eq!(layout.extents[0].length, 8192);
        assert!(layout.shared && !layout.unknown);
    }
}
