//! The audit log, newest first, by keyset pagination: a page is read behind an entry's number, never by counting.

use time::{Date, OffsetDateTime, UtcOffset};

use super::names::Names;
use crate::domain::audit::AuditEntry;
use crate::domain::id::RequestId;
use crate::storage::StorageError;
use crate::workflow::Portal;

/// Entries of one page.
pub(crate) const PAGE: u64 = 100;
/// Entries read at once, and looked at for one page of a search.
const STEP: u64 = 500;
const LOOK: u64 = 20_000;

/// Words to look for; empty ones fit everything.
#[derive(Default)]
pub(crate) struct AuditSearch {
    /// In what happened, by its stable word or as the page says it.
    pub action: String,
    /// In who did it, by id or name.
    pub actor: String,
    /// In the request's id.
    pub request: String,
    /// From the beginning of this day, and to the end of that one; in UTC.
    pub from: Option<Date>,
    pub to: Option<Date>,
}

impl AuditSearch {
    pub(crate) fn is_empty(&self) -> bool {
        self.action.is_empty() && self.actor.is_empty() && self.request.is_empty()
    }

    /// Whether an instant lies within the days.
    fn within(&self, at: OffsetDateTime) -> bool {
        let day = at.to_offset(UtcOffset::UTC).date();
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day <= to)
    }

    /// Everything that happened to one request stands in its timeline.
    fn only_request(&self) -> Option<RequestId> {
        RequestId::parse(&self.request).filter(|_| self.action.is_empty() && self.actor.is_empty())
    }

    fn fits(&self, entry: &AuditEntry, names: &Names) -> bool {
        let event = &entry.event;
        let actor = event.actor.to_string();
        let within = |wanted: &str, texts: [&str; 2]| wanted.is_empty() || texts.iter().any(|t| t.to_lowercase().contains(wanted));
        let request = event.request.map(|r| r.to_string()).unwrap_or_default();
        within(&self.action, [event.action.as_str(), event.action.label()])
            && within(&self.actor, [&actor, names.of_actor(&actor)])
            && within(&self.request, [&request, &request])
    }
}

/// Entries of one page, newest first.
pub(crate) struct AuditFound {
    pub entries: Vec<AuditEntry>,
    /// Everything from this number on was looked at; 1 when nothing older is left.
    pub looked_from: u64,
    /// Everything before this number was asked for.
    pub before: u64,
    /// The newest entry of the log.
    pub newest: u64,
    pub names: Names,
}

/// Oldest first, behind the entry with this number.
pub(crate) async fn after(portal: &Portal, number: u64, limit: usize) -> Result<Vec<AuditEntry>, StorageError> {
    // The last number there is has nothing behind it.
    if number == u64::MAX {
        return Ok(Vec::new());
    }
    portal.audit.entries(number, limit).await
}

/// A part of the log: of one request, from one instant on, and before another.
#[derive(Clone, Copy, Default)]
pub(crate) struct AuditPart {
    pub request: Option<RequestId>,
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
}

impl AuditPart {
    /// The number behind which it begins.
    pub(crate) async fn begin(&self, portal: &Portal) -> Result<u64, StorageError> {
        let Some(from) = self.from else { return Ok(0) };
        let newest = portal.outbox.last_entry().await?.map_or(0, |e| e.sequence);
        Ok(first_at(portal, from, newest).await? - 1)
    }

    /// The next entries of it behind a number, and the number to go on behind; `None` at its end. A row of which a request's entries stay has long been forgotten, so
    /// the log itself is looked through.
    pub(crate) async fn step(&self, portal: &Portal, number: u64) -> Result<Option<(Vec<AuditEntry>, u64)>, StorageError> {
        let entries = after(portal, number, usize::try_from(STEP).unwrap_or(usize::MAX)).await?;
        let is_before = |entry: &&AuditEntry| self.to.is_none_or(|to| entry.event.at < to);
        let Some(last) = entries.iter().take_while(is_before).last().map(|entry| entry.sequence) else {
            return Ok(None);
        };
        let fits = |entry: &AuditEntry| entry.sequence <= last && (self.request.is_none() || entry.event.request == self.request);
        Ok(Some((entries.into_iter().filter(fits).collect(), last)))
    }
}

/// Looks backwards from an entry, or from the newest, until a page is full or as many entries were looked at as one page may cost.
pub(crate) async fn find(portal: &Portal, search: &AuditSearch, before: Option<u64>) -> Result<AuditFound, StorageError> {
    let newest = portal.outbox.last_entry().await?.map_or(0, |e| e.sequence);
    // Entries stand in the order of time: the days are a run of numbers.
    let (mut least, mut end) = (1, newest.saturating_add(1));
    if let Some(from) = search.from {
        least = first_at(portal, from.midnight().assume_utc(), newest).await?;
    }
    if let Some(after) = search.to.and_then(Date::next_day) {
        end = first_at(portal, after.midnight().assume_utc(), newest).await?;
    }
    let before = before.unwrap_or(u64::MAX).min(end).max(least);
    let mut found = AuditFound {
        entries: Vec::new(),
        looked_from: before,
        before,
        newest,
        names: Names::load(portal).await?,
    };
    if let Some(id) = search.only_request() {
        (found.entries, found.looked_from) = (portal.audit.timeline(id).await?, 1);
        found.entries.retain(|entry| search.within(entry.event.at));
        found.entries.reverse();
        return Ok(found);
    }
    let floor = before.saturating_sub(if search.is_empty() { PAGE } else { LOOK }).max(least);
    while found.looked_from > floor && (found.entries.len() as u64) < PAGE {
        let from = found.looked_from.saturating_sub(STEP).max(floor);
        let limit = usize::try_from(found.looked_from - from).unwrap_or(0);
        let step = portal.audit.entries(from - 1, limit).await?;
        for entry in step.into_iter().rev() {
            if found.entries.len() as u64 == PAGE {
                break;
            }
            found.looked_from = entry.sequence;
            if search.fits(&entry, &found.names) {
                found.entries.push(entry);
            }
        }
        if found.entries.len() as u64 == PAGE {
            break;
        }
        found.looked_from = found.looked_from.min(from);
    }
    // Nothing older belongs to these days.
    if found.looked_from <= least {
        found.looked_from = 1;
    }
    Ok(found)
}

/// The number of the first entry at this instant or later; one behind the newest where there is none.
async fn first_at(portal: &Portal, at: OffsetDateTime, newest: u64) -> Result<u64, StorageError> {
    let (mut low, mut high) = (1, newest.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let earlier = portal
            .audit
            .entries(middle - 1, 1)
            .await?
            .first()
            .is_some_and(|entry| entry.event.at < at);
        if earlier {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
