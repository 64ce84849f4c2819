//! The audit log, newest first, by keyset pagination: a page is read behind an entry's number, never by counting.

use crate::domain::audit::AuditEntry;
use crate::domain::id::RequestId;
use crate::storage::StorageError;
use crate::workflow::Portal;

/// Entries of one page.
pub(crate) const PAGE: u64 = 100;
/// Entries read at once, and looked at for one page of a search.
const STEP: u64 = 500;
const LOOK: u64 = 20_000;

/// What is looked for.
pub(crate) enum Search<'a> {
    All,
    /// Everything that happened to one request.
    Request(RequestId),
    Matching(&'a (dyn Fn(&AuditEntry) -> bool + Sync)),
}

impl Search<'_> {
    fn fits(&self, entry: &AuditEntry) -> bool {
        match self {
            Self::All => true,
            Self::Request(id) => entry.event.request == Some(*id),
            Self::Matching(fits) => fits(entry),
        }
    }
}

/// Entries of one page, newest first.
pub(crate) struct Found {
    pub entries: Vec<AuditEntry>,
    /// Everything from this number on was looked at; 1 when nothing older is left.
    pub looked_from: u64,
}

/// Looks backwards until a page is full, or as many entries were looked at as one page may cost.
pub(crate) async fn find(portal: &Portal, search: &Search<'_>, before: u64) -> Result<Found, StorageError> {
    if let Search::Request(id) = search {
        let mut entries = portal.audit.timeline(*id).await?;
        entries.reverse();
        return Ok(Found { entries, looked_from: 1 });
    }
    let mut found = Found {
        entries: Vec::new(),
        looked_from: before,
    };
    let floor = before
        .saturating_sub(if matches!(search, Search::All) { PAGE } else { LOOK })
        .max(1);
    while found.looked_from > floor && (found.entries.len() as u64) < PAGE {
        let from = found.looked_from.saturating_sub(STEP).max(floor);
        let limit = usize::try_from(found.looked_from - from).unwrap_or(0);
        let step = portal.audit.entries(from - 1, limit).await?;
        for entry in step.into_iter().rev() {
            if found.entries.len() as u64 == PAGE {
                break;
            }
            found.looked_from = entry.sequence;
            if search.fits(&entry) {
                found.entries.push(entry);
            }
        }
        if found.entries.len() as u64 == PAGE {
            break;
        }
        found.looked_from = found.looked_from.min(from);
    }
    Ok(found)
}
