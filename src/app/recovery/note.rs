//! The note of a recovery under way: written first and taken away last, so that a run that was cut off is repeated with what it had found to be lost.

use std::collections::BTreeSet;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::failed;
use crate::app::StartError;
use crate::app::data_folder;
use crate::app::identity::{Part, PortalId};
use crate::app::layout::Layout;
use crate::chain::Cause;
use crate::crypto::private_file;

/// What is lost, as far as a cut-off run must remember it.
#[derive(Default)]
pub(super) struct Losses {
    pub(super) parts: BTreeSet<Part>,
    pub(super) key: bool,
    /// Nobody can say whether the store is the newest.
    pub(super) doubt: bool,
    /// Something is taken from a backup: without it there is no going on.
    pub(super) from: bool,
    /// One recovery has one entry in the audit log, however often it is run.
    pub(super) id: String,
}

/// A recovery that was applied: no portal starts on the folder before this is finished.
#[must_use]
pub(crate) struct Unfinished(pub(super) PathBuf);

impl Unfinished {
    pub(crate) fn finish(self) -> Result<(), StartError> {
        std::fs::remove_file(&self.0)
            .and_then(|()| private_file::sync_parent(&self.0))
            .map_err(|e| failed(&self.0.display().to_string())(&e))
    }
}

pub(super) fn write_note(layout: &Layout, portal: PortalId, losses: &Losses) -> Result<(), StartError> {
    let parts: Vec<&str> = losses.parts.iter().map(|part| part.word()).collect();
    let note = json!({
        "command": "recover",
        "portal": portal.to_string(),
        "parts": parts,
        "key": losses.key,
        "doubt": losses.doubt,
        "from": losses.from,
        "id": losses.id,
    });
    data_folder::private_folder(&layout.data).map_err(|e| failed(&layout.data.display().to_string())(&e))?;
    private_file::put(&layout.unfinished, note.to_string().as_bytes(), 0o600).map_err(|e| failed("the note of this recovery")(&e))
}

pub(super) fn read_note(layout: &Layout) -> Result<Option<(PortalId, Losses)>, StartError> {
    match data_folder::unfinished(layout).as_deref() {
        None => return Ok(None),
        Some("recover") => {}
        Some(other) => {
            return Err(StartError::Refused(format!(
                "a `nightdrop {other}` of {} was cut off; run it again",
                layout.data.display()
            )));
        }
    }
    let text = std::fs::read_to_string(&layout.unfinished).map_err(|e| failed("the note of a recovery")(&e))?;
    let note: Value = serde_json::from_str(&text).map_err(|e| failed("the note of a recovery")(&e))?;
    let id = note["portal"]
        .as_str()
        .and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok());
    let id = id.ok_or_else(|| failed("the note of a recovery")(&Cause::from("it names no portal")))?;
    let parts = note["parts"].as_array().into_iter().flatten();
    let losses = Losses {
        parts: parts.filter_map(|part| Part::parse(part.as_str()?)).collect(),
        key: note["key"] == true,
        doubt: note["doubt"] == true,
        from: note["from"] == true,
        id: note["id"].as_str().unwrap_or_default().to_owned(),
    };
    Ok(Some((PortalId(id), losses)))
}
