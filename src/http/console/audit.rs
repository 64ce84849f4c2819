//! The audit log in the console: newest first, and the whole of it as a download that verifies offline.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use crate::chain::chain;
use crate::domain::audit::AuditEntry;
use crate::domain::id::RequestId;
use crate::http::AppState;
use crate::http::api::query::Query;
use crate::http::api::view;
use crate::http::pages::console::audit as pages;
use crate::http::staff::{Audit, SignedIn};
use crate::storage::StorageError;
use crate::workflow::Portal;

use super::{Names, Page, html};

const PAGE: u64 = 100;
/// Entries read at once, and looked at for one page of a search.
const STEP: u64 = 500;
const LOOK: u64 = 20_000;
const EXPORT_STEP: usize = 500;

pub async fn page(who: SignedIn<Audit>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let query = Query::of(&request, &["before", "action", "actor", "request", "done"])?;
    let newest = state.portal.records.last_entry().await?.map_or(0, |e| e.sequence);
    let before = query
        .number("before", 1, u64::MAX)?
        .unwrap_or(u64::MAX)
        .min(newest.saturating_add(1));
    let names = Names::of(&state).await?;
    let text = |name| query.text(name).unwrap_or_default().trim().to_lowercase();
    let search = Search {
        action: text("action"),
        actor: text("actor"),
        request: text("request"),
    };
    let found = find(&state.portal, &search, &names, before).await?;
    Ok(html(pages::page(&who.agent, &found, &search, &names, newest, before)))
}

/// Words to look for; empty ones fit everything.
pub struct Search {
    /// In what happened, by its stable word or as the page says it.
    pub action: String,
    /// In who did it, by id or name.
    pub actor: String,
    /// In the request's id.
    pub request: String,
}

impl Search {
    pub fn is_empty(&self) -> bool {
        self.action.is_empty() && self.actor.is_empty() && self.request.is_empty()
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
pub struct Found {
    pub entries: Vec<AuditEntry>,
    /// Everything from this number on was looked at; 1 when nothing older is left.
    pub looked_from: u64,
}

/// Looks backwards until a page is full, or as many entries were looked at as one page may cost.
async fn find(portal: &Portal, search: &Search, names: &Names, before: u64) -> Result<Found, StorageError> {
    if RequestId::parse(&search.request).is_some() && search.action.is_empty() && search.actor.is_empty() {
        let id = RequestId::parse(&search.request);
        let mut entries = match id {
            Some(id) => portal.records.timeline(id).await?,
            None => Vec::new(),
        };
        entries.reverse();
        return Ok(Found { entries, looked_from: 1 });
    }
    let mut found = Found {
        entries: Vec::new(),
        looked_from: before,
    };
    let floor = before.saturating_sub(if search.is_empty() { PAGE } else { LOOK }).max(1);
    while found.looked_from > floor && (found.entries.len() as u64) < PAGE {
        let from = found.looked_from.saturating_sub(STEP).max(floor);
        let limit = usize::try_from(found.looked_from - from).unwrap_or(0);
        let step = portal.records.entries(from - 1, limit).await?;
        for entry in step.into_iter().rev() {
            if found.entries.len() as u64 == PAGE {
                break;
            }
            found.looked_from = entry.sequence;
            if search.fits(&entry, names) {
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

/// One JSON object per line, oldest first, never in memory as a whole. `nightdrop audit verify` reads it.
pub async fn export(_: SignedIn<Audit>, state: web::Data<AppState>) -> Page {
    let lines = stream::try_unfold((state, 0), |(state, after)| async move {
        let entries = state.portal.records.entries(after, EXPORT_STEP).await.map_err(|e| {
            tracing::error!(error = %chain(&e), "the audit export was cut off");
            std::io::Error::other("the log cannot be read")
        })?;
        let Some(last) = entries.last().map(|e| e.sequence) else {
            return Ok::<_, std::io::Error>(None);
        };
        let mut text = String::new();
        for entry in &entries {
            text.push_str(&serde_json::to_string(&view::entry(entry)).map_err(std::io::Error::other)?);
            text.push('\n');
        }
        Ok(Some((Bytes::from(text), (state, last))))
    });
    Ok(HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .insert_header(("Content-Disposition", "attachment; filename=\"nightdrop-audit.jsonl\""))
        .streaming(lines))
}
