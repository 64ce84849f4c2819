//! What a killed start leaves in the database's folder, and sled 0.34 takes for the real thing when it is opened the next time.
//!
//! * `snap.LSN.generating`: a snapshot that was never finished. sled lists it with the finished ones (`config.rs: get_snapshot_files`), sorts it
//!   behind them, and refuses to start over its missing checksum. It is only ever a copy of what the log says, so it goes.
//! * A finished `snap.LSN` is **not** only a cache and never goes: the segments before it may have been used again or cut off since, and a
//!   recovery without it can take that for the end of the log (`pagecache/iterator.rs: check_contiguity_in_unstable_tail`). sled syncs it before
//!   its name is made, so no crash leaves a broken one; the disk can, which is reported. Only where the one before it is still there
//!   (the start was killed before it was removed, so nothing was written on top) a broken one may go.
//! * `conf`: written in two pieces, without a sync and without a temporary file. What is the beginning of it, or zeros, goes, and sled writes it again;
//!   what says something else is another program's, and stays.
//!
//! Runs under the store's own lock, before sled looks at the folder. Removing is synced before sled may build on it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::ballast::sync_dir;
use super::error::StoreError;

/// Bytes of one log segment; also fixed in the files of an existing store. A record above a quarter of it
/// would be spilled; 16 MiB is the largest that sled accepts.
pub(super) const SEGMENT_BYTES: usize = 16 << 20;

const SNAPSHOT: &str = "snap.";
const UNFINISHED: &str = ".generating";
const SETTINGS: &str = "conf";

/// Removes what a killed start left. Idempotent; a folder that is not there yet has nothing in it.
///
/// # Errors
/// The kernel's error, or `Corrupt` when the snapshot that recovery needs is broken.
pub(super) fn clear(database: &Path) -> Result<(), StoreError> {
    let mut finished = Vec::new();
    let mut removed = false;
    let entries = match std::fs::read_dir(database) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(SNAPSHOT)) else {
            continue;
        };
        if name.ends_with(UNFINISHED) {
            std::fs::remove_file(entry.path())?;
            removed = true;
        } else {
            finished.push(entry.path());
        }
    }
    removed |= clear_settings(&database.join(SETTINGS))?;
    removed |= clear_broken_snapshot(finished)?;
    if removed {
        tracing::info!("what an interrupted start had left in the store was removed");
        sync_dir(database)?;
    }
    Ok(())
}

/// Makes the settings file durable: sled does not, and a store without it cannot be told from a new one by sled.
pub(super) fn sync_settings(database: &Path) -> io::Result<()> {
    File::open(database.join(SETTINGS))?.sync_all()
}

fn clear_settings(path: &Path) -> Result<bool, StoreError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let torn = bytes.len() < settings().len() && settings().starts_with(&bytes) || bytes.iter().all(|byte| *byte == 0);
    if torn {
        std::fs::remove_file(path)?;
    }
    Ok(torn)
}

/// What sled writes: its parameters, which are fixed here, and their CRC-32.
fn settings() -> Vec<u8> {
    let mut settings = format!("segment_size: {SEGMENT_BYTES}\nuse_compression: false\nversion: 0.34\n").into_bytes();
    settings.extend(crc32fast::hash(&settings).to_le_bytes());
    settings
}

fn clear_broken_snapshot(mut finished: Vec<PathBuf>) -> Result<bool, StoreError> {
    // The names carry the position in fixed width, as sled sorts them.
    finished.sort();
    let mut removed = false;
    while let Some(newest) = finished.pop() {
        if is_whole(&std::fs::read(&newest)?) {
            break;
        }
        if finished.is_empty() {
            let name = newest
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            return Err(StoreError::Corrupt(
                format!("the index of its log, sled/{name}, fails its checksum: the disk has damaged it").into(),
            ));
        }
        std::fs::remove_file(&newest)?;
        removed = true;
    }
    Ok(removed)
}

/// The pages, then their length in 8 bytes, then the CRC-32 of the pages.
fn is_whole(snapshot: &[u8]) -> bool {
    let Some((rest, crc)) = snapshot.split_last_chunk() else {
        return false;
    };
    let Some((pages, _length)) = rest.split_last_chunk::<8>() else {
        return false;
    };
    !pages.is_empty() && crc32fast::hash(pages) == u32::from_le_bytes(*crc)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("nightdrop-leftovers-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn open(folder: &Path) -> ::sled::Result<::sled::Db> {
        loop {
            match ::sled::Config::new().path(folder).segment_size(SEGMENT_BYTES).open() {
                // An I/O thread may hold the file a moment longer than the handle.
                Err(::sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => std::thread::yield_now(),
                opened => return opened,
            }
        }
    }

    /// A database with one key and a finished snapshot of an earlier start.
    fn database(name: &str) -> PathBuf {
        let folder = folder(name);
        for value in 0..3_u8 {
            let db = open(&folder).unwrap();
            db.insert(b"key", &[value]).unwrap();
            db.flush().unwrap();
        }
        assert_eq!(snapshots(&folder).len(), 1);
        folder
    }

    fn snapshots(folder: &Path) -> Vec<PathBuf> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        names
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(SNAPSHOT))
            .collect()
    }

    fn holds_all(folder: &Path) {
        assert_eq!(open(folder).unwrap().get(b"key").unwrap().unwrap().as_ref(), [2]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_unfinished_snapshot_of_any_length_stops_no_start() {
        for length in [0, 1, 12, 13, 200] {
            let folder = database("unfinished");
            let unfinished = folder.join(format!("{SNAPSHOT}00000000FFFFFFFF{UNFINISHED}"));
            std::fs::write(&unfinished, vec![7; length]).unwrap();
            assert!(open(&folder).is_err(), "sled believes it: {length}");
            clear(&folder).unwrap();
            assert!(!unfinished.exists());
            holds_all(&folder);
        }
    }

    #[test]
    fn settings_cut_off_anywhere_are_written_again() {
        let whole = std::fs::read(database("settings").join(SETTINGS)).unwrap();
        assert_eq!(whole, settings());
        for length in [0, 1, 8, 9, whole.len() - 5, whole.len() - 4, whole.len() - 1] {
            let folder = database("settings");
            std::fs::write(folder.join(SETTINGS), &whole[..length]).unwrap();
            clear(&folder).unwrap();
            drop(open(&folder).unwrap());
            assert_eq!(std::fs::read(folder.join(SETTINGS)).unwrap(), whole);
            holds_all(&folder);
        }
    }

    #[test]
    fn a_damaged_snapshot_goes_only_where_the_one_before_it_is_there() {
        let folder = database("damaged");
        let snapshot = snapshots(&folder).remove(0);
        let bytes = std::fs::read(&snapshot).unwrap();
        let newer = folder.join(format!("{SNAPSHOT}00000000FFFFFFFF"));
        let mut damaged = bytes.clone();
        damaged[5] ^= 1;
        std::fs::write(&newer, &damaged).unwrap();
        clear(&folder).unwrap();
        assert!(!newer.exists());
        std::fs::write(&snapshot, &damaged).unwrap();
        assert!(matches!(clear(&folder), Err(StoreError::Corrupt(_))));
        assert!(snapshot.exists(), "what recovery needs is left for a person");
        std::fs::write(&snapshot, &bytes).unwrap();
        clear(&folder).unwrap();
        holds_all(&folder);
    }

    #[test]
    fn a_folder_that_is_not_there_has_nothing_to_clear() {
        let folder = folder("absent");
        std::fs::remove_dir(&folder).unwrap();
        clear(&folder).unwrap();
        assert!(!folder.exists());
    }
}
