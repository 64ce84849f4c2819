//! A portal whose configuration asks for more erasure slots than its file has gets them at its start.
//!
//! The store notes where the file's blocks lie, so that a file that was moved is noticed. A growth changes that note without a move: what the earlier part's places were is
//! noted first, and compared afterwards. A start that was killed in between finds that note and goes on from there.

use std::path::Path;

use super::StartError;
use super::layout::Layout;
use super::store_failed;
use crate::chain::chain;
use crate::config::Config;
use crate::crypto::assurance;
use crate::crypto::erase::EraseError;
use crate::crypto::slots::{PAGE, SlotsFile};
use crate::storage::StorageError;
use crate::storage::backend::Backend;
use crate::storage::sled::SledStore;
use crate::storage::sled::error::StoreError;

/// Where the store notes which slots file is its own.
pub(super) const SLOTS_ROW: &str = "slots";
/// Where the store notes which blocks the slots file had.
pub(super) const PLACE: &str = "slots_place";
/// Where the store notes a growth: the places of the earlier part's blocks ‖ its length, 8 bytes; empty when it is over.
const GROWING: &str = "slots_growing";

/// Gives the slots file as many slots as are configured. A full disk keeps nobody from starting with those that are there.
pub(super) async fn grow(config: &Config, layout: &Layout, store: &dyn Backend, uuid: Option<&[u8; 16]>) -> Result<(), StartError> {
    let slots = &layout.slots;
    let failed = |error: EraseError| {
        let text = format!("the erasure slots cannot be made more: {}", chain(&error));
        match error {
            EraseError::Io(_) => StartError::Unavailable(text),
            _ => StartError::Refused(text),
        }
    };
    let broken = |error: StorageError| store_failed("the store", error);
    let (_, present) = match SlotsFile::look(slots) {
        Ok(found) => found,
        // Opening says what is wrong.
        Err(_) => return Ok(()),
    };
    let wanted = config.erasure_slots;
    if wanted < present {
        tracing::warn!(
            event = "slots_not_fewer",
            configured = wanted,
            present,
            "erasure.slots is less than the slots file has: a file never gets shorter, all of them stay in use"
        );
    }
    let noted = store.meta(GROWING).await.map_err(broken)?;
    let began = match noted.as_deref().and_then(Began::read) {
        Some(began) => began,
        None if wanted <= present => {
            // Zeros of a growth that is not wanted any more.
            let longer = std::fs::metadata(slots).is_ok_and(|file| file.len() > length(present));
            return if longer {
                SlotsFile::grow(slots, uuid, 0).map(drop).map_err(failed)
            } else {
                Ok(())
            };
        }
        None => {
            let place = noted_place(store).await?;
            let now = place_of(slots, None)?;
            if place.is_some() && place.as_deref() != now.as_ref().map(|now| &now[..]) {
                // A file that was moved is judged first.
                return Ok(());
            }
            let began = Began {
                place: place_of(slots, Some(length(present)))?,
                length: length(present),
            };
            store.set_meta(GROWING, &began.write()).await.map_err(broken)?;
            began
        }
    };
    match SlotsFile::grow(slots, uuid, wanted) {
        Ok(now) if now > present => tracing::info!(
            event = "slots_grown",
            before = present,
            now,
            "the slots file has grown as configured"
        ),
        Ok(_) => {}
        Err(EraseError::Io(error)) if error.kind() == std::io::ErrorKind::StorageFull => tracing::error!(
            event = "slots_not_grown",
            configured = wanted,
            present,
            "the disk has no room for more erasure slots: the portal starts with those that it has; make room and start it again"
        ),
        Err(error) => return Err(failed(error)),
    }
    // Otherwise it was moved meanwhile: the note of its place stays as it was, and tells.
    if place_of(slots, Some(began.length))? == began.place {
        if let Some(place) = place_of(slots, None)? {
            store.set_meta(PLACE, &place).await.map_err(broken)?;
        }
        forget(store).await?;
    }
    Ok(())
}

/// A growth is over, or the file's present place was accepted.
pub(super) async fn forget(store: &dyn Backend) -> Result<(), StartError> {
    let broken = |error: StorageError| store_failed("the store", error);
    match store.meta(GROWING).await.map_err(broken)? {
        Some(noted) if !noted.is_empty() => store.set_meta(GROWING, &[]).await.map_err(broken),
        Some(_) | None => Ok(()),
    }
}

/// Binds the store of a recovered portal to another slots file, whose place its next start notes: that of the file before is no place that it was moved from.
pub(super) fn bind_slots(store: &SledStore, uuid: &[u8; 16]) -> Result<(), StoreError> {
    store.set_meta(SLOTS_ROW, uuid)?;
    store.set_meta(PLACE, &[])?;
    store.set_meta(GROWING, &[])
}

/// The place that the slots file had when it was accepted last.
pub(super) async fn noted_place(store: &dyn Backend) -> Result<Option<Vec<u8>>, StartError> {
    let noted = store.meta(PLACE).await.map_err(|e| store_failed("the store", e))?;
    Ok(noted.filter(|place| !place.is_empty()))
}

struct Began {
    /// `None` where the file system does not tell.
    place: Option<[u8; 32]>,
    length: u64,
}

impl Began {
    fn write(&self) -> Vec<u8> {
        let mut note = self.place.map_or(Vec::new(), |place| place.to_vec());
        note.extend_from_slice(&self.length.to_be_bytes());
        note
    }

    fn read(note: &[u8]) -> Option<Self> {
        let (place, length) = note.split_last_chunk::<8>()?;
        Some(Self {
            place: if place.is_empty() { None } else { Some(place.try_into().ok()?) },
            length: u64::from_be_bytes(*length),
        })
    }
}

fn place_of(slots: &Path, first: Option<u64>) -> Result<Option<[u8; 32]>, StartError> {
    assurance::place_of(slots, first).map_err(|e| StartError::Unavailable(format!("{}: {e}", slots.display())))
}

/// Bytes of a file with so many slots: its head, and one page for each.
fn length(slots: u64) -> u64 {
    (slots + 1) * PAGE as u64
}
