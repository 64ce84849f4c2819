//! An `init` that is cut off, by a kill or a power cut, takes its own half away: what it is about to make is noted first, and the note goes last. The next `init` clears what
//! the note names and begins anew; nothing else is ever removed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::StartError;
use super::data_folder;
use super::layout::Layout;
use crate::chain::chain;
use crate::crypto::private_file;

/// What `init` makes in a folder that was there before, by name or ending.
const NAMES: [&str; 8] = [
    "portal.id",
    "portal.secrets",
    "kek",
    "current",
    "CACHEDIR.TAG",
    "erase.slots",
    "mark",
    "lock",
];
const ENDINGS: [&str; 3] = ["key", "pub", private_file::UNFINISHED];

/// An `init` in progress. Dropped before it is finished, it takes away what it has made.
pub(crate) struct Beginning {
    note: PathBuf,
    /// Held for as long as this process is at work.
    _lock: File,
    armed: bool,
}

fn failed(path: &Path) -> impl Fn(&(dyn std::error::Error + 'static)) -> StartError + '_ {
    move |error| StartError::Refused(format!("{}: {}", path.display(), chain(error)))
}

impl Beginning {
    /// Notes what is going to be made: the parts, and these files. A half that an earlier `init` has left must have been cleared.
    pub(crate) fn start(layout: &Layout, files: &[PathBuf]) -> Result<Self, StartError> {
        let note = layout.unfinished.clone();
        let had_data = layout.data.exists();
        data_folder::private_folder(&layout.data).map_err(|e| failed(&layout.data)(&e))?;
        let folders = [&layout.store, &layout.documents, &layout.erasure, &layout.keys];
        let mut noted: Vec<Value> = Vec::new();
        for folder in folders {
            let keep = folder.exists().then(|| entries(folder));
            // The next init may run in another working directory.
            let path = std::path::absolute(folder).map_err(|e| failed(folder)(&e))?;
            noted.push(json!({"path": path, "keep": keep}));
        }
        let files: Vec<&PathBuf> = files.iter().filter(|file| !file.exists()).collect();
        let text = json!({"command": "init", "files": files, "folders": noted, "had_data": had_data}).to_string();
        private_file::put(&note, text.as_bytes(), 0o600).map_err(|e| failed(&note)(&e))?;
        let lock = lock(&note)?;
        Ok(Self {
            note,
            _lock: lock,
            armed: true,
        })
    }

    /// Everything is made.
    pub(crate) fn finish(mut self) -> Result<(), StartError> {
        std::fs::remove_file(&self.note)
            .and_then(|()| private_file::sync_parent(&self.note))
            .map_err(|e| failed(&self.note)(&e))?;
        self.armed = false;
        Ok(())
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        if self.armed {
            // What could not be taken away is still noted: the next `init` tries again and says why it cannot.
            let _ = take_away(&self.note);
        }
    }
}

/// Takes away what an `init` that was cut off has made; whether there was one.
pub(crate) fn clear(layout: &Layout) -> Result<bool, StartError> {
    match data_folder::unfinished(layout).as_deref() {
        None => Ok(false),
        Some("init") => {
            let _lock = lock(&layout.unfinished)?;
            take_away(&layout.unfinished).map_err(|e| failed(&layout.unfinished)(&e))?;
            Ok(true)
        }
        Some(other) => Err(StartError::Refused(format!(
            "a `nightdrop {other}` of {} was cut off; run it again",
            layout.data.display()
        ))),
    }
}

fn lock(note: &Path) -> Result<File, StartError> {
    let file = File::open(note).map_err(|e| failed(note)(&e))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Refused("another `nightdrop init` is at work here".to_owned())),
        Err(error) => Err(failed(note)(&error)),
    }
}

fn take_away(note: &Path) -> io::Result<()> {
    let text = std::fs::read_to_string(note)?;
    let said: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let path = |value: &Value| value.as_str().map(PathBuf::from);
    for file in said["files"].as_array().into_iter().flatten().filter_map(path) {
        remove(&file)?;
    }
    for folder in said["folders"].as_array().into_iter().flatten() {
        let Some(place) = path(&folder["path"]) else { continue };
        let Some(keep) = folder["keep"].as_array() else {
            remove(&place)?;
            continue;
        };
        for name in entries(&place).iter().filter(|name| !keep.iter().any(|kept| kept == *name)) {
            let entry = place.join(name);
            let ending = entry.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if NAMES.contains(&name.as_str()) || ENDINGS.contains(&ending) || name == "sled" || name == "ballast" {
                remove(&entry)?;
            }
        }
    }
    std::fs::remove_file(note)?;
    private_file::sync_parent(note)?;
    if said["had_data"] == false
        && let Some(data) = note.parent()
    {
        // Somebody else's file in it keeps it.
        let _ = std::fs::remove_dir(data);
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let gone = match std::fs::symlink_metadata(path) {
        Ok(status) if status.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match gone {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The names in a folder, those that are text: `init` makes no others.
fn entries(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
