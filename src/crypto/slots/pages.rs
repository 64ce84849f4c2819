//! The pages of a slots file on a disk: written and synced through the page cache, and read back around it where the file system can.
//!
//! It knows nothing of what a page holds.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{PAGE, Pages};

/// One file, twice open.
pub(super) struct FilePages {
    file: File,
    direct: Option<File>,
}

impl FilePages {
    pub(super) fn new(path: &Path, file: File) -> FilePages {
        FilePages {
            direct: open_direct(path, &file),
            file,
        }
    }
}

impl Pages for FilePages {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn read_direct(&self, offset: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(direct) = &self.direct else {
            return Ok(None);
        };
        // O_DIRECT wants an aligned buffer; two pages always contain an aligned one.
        let mut roomy = Zeroizing::new(vec![0u8; 2 * PAGE]);
        let skip = roomy.as_ptr().align_offset(PAGE);
        let Some(aligned) = roomy.get_mut(skip..skip.saturating_add(PAGE)) else {
            return Ok(None);
        };
        match direct.read_at(aligned, offset) {
            Ok(PAGE) => Ok(Some(Zeroizing::new(aligned.to_vec()))),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A second descriptor past the page cache, if the file system has such a thing and the path still names our file.
fn open_direct(path: &Path, file: &File) -> Option<File> {
    let flags = (OFlags::DIRECT | OFlags::NOFOLLOW).bits();
    let flags = i32::try_from(flags).expect("open flags are small");
    let direct = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let (ours, theirs) = (file.metadata().ok()?, direct.metadata().ok()?);
    let same = ours.dev() == theirs.dev() && ours.ino() == theirs.ino();
    same.then_some(direct)
}
