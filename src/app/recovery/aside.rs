//! What is in the way of a recovery: it gets another name and is kept.

use std::path::{Path, PathBuf};

use super::Report;
use crate::app::StartError;
use crate::app::identity::is_empty;
use crate::crypto::private_file;

/// Gives something that is in the way another name beside it.
pub(super) fn set_aside(path: &Path, report: &mut Report) -> Result<(), StartError> {
    let failed = |error: std::io::Error| {
        StartError::Refused(format!(
            "{} could not be given another name ({error}); move what it holds elsewhere and run this again",
            path.display()
        ))
    };
    if !path.try_exists().map_err(failed)? {
        return Ok(());
    }
    // An empty folder, such as the place of a mount, is nothing to keep.
    if is_empty(path) {
        return Ok(());
    }
    for number in 1..10_000 {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".set-aside-{number}"));
        let aside = PathBuf::from(name);
        if !aside.try_exists().map_err(failed)? {
            std::fs::rename(path, &aside)
                .and_then(|()| private_file::sync_parent(path))
                .map_err(failed)?;
            report.set_aside.push(aside);
            return Ok(());
        }
    }
    Ok(())
}

pub(super) fn files_ending(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect()
}
