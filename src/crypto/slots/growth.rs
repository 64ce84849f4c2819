//! More slots for a portal that is to hold more: pages of zeros at the end of the file, then its head.
//!
//! No page that is there is written, but for the head, of which one number and its checksum change, in one sector. The new pages are durable before the head counts them,
//! so whatever cuts a growth off leaves a file that has its old slots, with zeros behind them, or its new ones. A cut-off growth is ended by the next one, or taken back.
//! The blocks of the file's earlier part stay where they are, which the caller proves by their places.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{MAX_SLOTS, SlotsFile, head_page, offset, open_alone, unusable, write_zero_pages};
use crate::crypto::erase::EraseError;
use crate::failpoint::{self, Failpoint};

impl SlotsFile {
    /// Gives the file of a portal that does not run this many slots, if it has fewer; returns how many it has. Durable when it returns. What cannot be appended, above all on a
    /// full disk, is taken back, and the file is as it was.
    pub(crate) fn grow(path: &Path, expected_uuid: Option<&[u8; 16]>, slots: u64) -> Result<u64, EraseError> {
        if slots > MAX_SLOTS {
            return Err(unusable(path, &format!("can have {MAX_SLOTS} slots, not {slots}")));
        }
        let (file, uuid, present) = open_alone(path, expected_uuid)?;
        if slots <= present {
            cut(&file, offset(present))?;
            return Ok(present);
        }
        if let Err(error) = cut(&file, offset(slots)).and_then(|()| append(&file, present, slots)) {
            // If this fails as well, what stays behind the last slot are zeros.
            let _ = cut(&file, offset(present));
            return Err(error.into());
        }
        failpoint::pass(Failpoint::SlotsAppended);
        file.write_all_at(&head_page(&uuid, slots), 0)?;
        file.sync_all()?;
        failpoint::pass(Failpoint::SlotsCounted);
        Ok(slots)
    }
}

fn append(file: &File, from: u64, to: u64) -> io::Result<()> {
    write_zero_pages(file, from, to)?;
    file.sync_all()
}

/// Takes away what is longer: zeros of a growth that was cut off.
fn cut(file: &File, length: u64) -> io::Result<()> {
    if file.metadata()?.len() <= length {
        return Ok(());
    }
    file.set_len(length)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::erase::ErasureStore;
    use crate::crypto::secret::ErasureSecret;
    use crate::crypto::testing::Scratch;

    fn kept(store: &SlotsFile, secret: &ErasureSecret, owner: [u8; 16]) -> crate::crypto::erase::SlotRef {
        store.put(&owner, secret).unwrap()
    }

    #[test]
    fn a_grown_file_has_its_old_secrets_and_new_places() {
        let scratch = Scratch::new();
        let path = scratch.path("erase.slots");
        let uuid = SlotsFile::create(&path, 4).unwrap();
        let store = SlotsFile::open(&path, Some(&uuid)).unwrap();
        let secret = ErasureSecret::generate().unwrap();
        let slot = kept(&store, &secret, [7; 16]);
        assert!(SlotsFile::grow(&path, Some(&uuid), 9).is_err(), "not while a portal has it");
        drop(store);
        assert!(SlotsFile::grow(&path, Some(&[0; 16]), 9).is_err(), "not another portal's");
        assert!(SlotsFile::grow(&path, Some(&uuid), MAX_SLOTS + 1).is_err());
        assert_eq!(SlotsFile::grow(&path, Some(&uuid), 9).unwrap(), 9);
        let store = SlotsFile::open(&path, Some(&uuid)).unwrap();
        assert_eq!((store.report().slots, store.report().live, store.free().unwrap()), (9, 1, 8));
        assert_eq!(store.get(&[7; 16], &slot).unwrap().expose(), secret.expose());
        for owner in 10..18 {
            kept(&store, &secret, [owner; 16]);
        }
        assert!(store.put(&[99; 16], &secret).is_err(), "nine are taken");
        drop(store);
        assert_eq!(SlotsFile::grow(&path, Some(&uuid), 4).unwrap(), 9, "it never has fewer");
        assert_eq!(SlotsFile::open(&path, Some(&uuid)).unwrap().report().live, 9);
    }

    /// Every length that a growth can be cut off at, and both ways on.
    #[test]
    fn a_growth_that_was_cut_off_is_ended_or_taken_back_and_loses_nothing() {
        let scratch = Scratch::new();
        let path = scratch.path("erase.slots");
        let uuid = SlotsFile::create(&path, 4).unwrap();
        let secret = ErasureSecret::generate().unwrap();
        let slot = kept(&SlotsFile::open(&path, None).unwrap(), &secret, [7; 16]);
        for behind in [1, 4_095, 4_096, 3 * 4_096, 20 * 4_096 + 5] {
            let file = File::options().write(true).open(&path).unwrap();
            let (_, present) = SlotsFile::look(&path).unwrap();
            file.set_len(offset(present) + behind).unwrap();
            let whole = |slots: u64| {
                let store = SlotsFile::open(&path, Some(&uuid)).unwrap();
                assert_eq!((store.report().slots, store.report().live, store.report().damaged), (slots, 1, 0));
                assert_eq!(store.get(&[7; 16], &slot).unwrap().expose(), secret.expose());
            };
            whole(present);
            if behind.is_multiple_of(2) {
                assert_eq!(SlotsFile::grow(&path, Some(&uuid), present + 2).unwrap(), present + 2);
                whole(present + 2);
                assert_eq!(file.metadata().unwrap().len(), offset(present + 2));
            } else {
                SlotsFile::grow(&path, Some(&uuid), present).unwrap();
                assert_eq!(file.metadata().unwrap().len(), offset(present));
            }
        }
        // What is no growth is no slots file of ours.
        let file = File::options().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all_at(&[1], length + 100).unwrap();
        assert!(SlotsFile::open(&path, Some(&uuid)).is_err());
        assert!(SlotsFile::grow(&path, Some(&uuid), 100).is_err());
    }
}
