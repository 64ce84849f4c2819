//! Checkpoints against an export: a log that was written anew, or cut off, has another entry where a checkpoint was taken, or none.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::HEXLOWER;

use crate::cli::output::{Failure, Outcome};
use crate::workflow::outgoing::checkpoint::parse;

/// Checkpoints whose signatures fit.
pub(super) struct Points(BTreeMap<u64, [u8; 32]>);

/// What an export and its checkpoints have in common.
pub(super) struct Agreed {
    pub agree: usize,
    /// Checkpoints of entries before the export's first one.
    pub before: usize,
    pub newest: u64,
}

/// Reads the file; a line that is no checkpoint, or whose signature does not fit, is a failure. With a key, every one must be signed by it.
pub(super) fn read(path: &Path, key: Option<&str>) -> Outcome<Points> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    let key = match key {
        None => None,
        Some(hex) => {
            Some(bytes::<32>(hex).ok_or_else(|| Failure::new("--public-key must be 32 bytes in hex: `nightdrop receipt key` prints it"))?)
        }
    };
    let mut points = BTreeMap::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |why: &str| Failure::new(format!("line {} of {}: {why}", n + 1, path.display()));
        let (point, signed) = parse(line).ok_or_else(|| wrong("is no checkpoint"))?;
        if key.is_some_and(|key| key != signed.by) {
            return Err(wrong("is signed by another portal"));
        }
        if !point.fits(&signed) {
            return Err(wrong("was changed after it was signed"));
        }
        if points.insert(point.sequence, point.hash).is_some_and(|other| other != point.hash) {
            return Err(wrong(
                "contradicts an earlier checkpoint of the same entry: the log was written anew between them",
            ));
        }
    }
    if points.is_empty() {
        return Err(Failure::new(format!("{} holds no checkpoint", path.display())));
    }
    Ok(Points(points))
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

impl Points {
    pub(super) fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.keys().copied()
    }

    /// Compares with the hashes of an export that holds the entries `first` to `last`.
    pub(super) fn agree(&self, found: &BTreeMap<u64, [u8; 32]>, first: u64, last: u64) -> Outcome<Agreed> {
        let mut agreed = Agreed {
            agree: 0,
            before: 0,
            newest: 0,
        };
        for (sequence, hash) in &self.0 {
            if *sequence < first {
                agreed.before += 1;
                continue;
            }
            if *sequence > last {
                return Err(Failure::new(format!(
                    "the export ends with entry {last}, but a checkpoint was taken at entry {sequence}: what stood behind is missing"
                )));
            }
            if found.get(sequence) != Some(hash) {
                return Err(Failure::new(format!(
                    "entry {sequence} is not the one that was there when its checkpoint was taken: the log was written anew"
                )));
            }
            agreed.agree += 1;
            agreed.newest = *sequence;
        }
        if agreed.agree == 0 {
            return Err(Failure::new("no checkpoint falls into this export, so nothing is proven by them"));
        }
        Ok(agreed)
    }
}
