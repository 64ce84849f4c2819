//! The audit log in the console: newest first, and the whole of it as a download that verifies offline.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use crate::chain::chain;
use crate::domain::audit::AuditEntry;
use crate::domain::id::RequestId;
use crate::http::AppState;
use crate::http::extract::query::Query;
use crate::http::staff::view::request as view;
use crate::http::staff::console::audit::page as pages;
use crate::http::staff::auth::{SignedIn};
use crate::http::staff::permission::{Audit};
use crate::workflow::query::audit;

use crate::http::staff::console::{Names, Page, html};

const EXPORT_STEP: usize = 500;

pub(crate) async fn page(who: SignedIn<Audit>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let query = Query::of(&request, &["before", "action", "actor", "request", "done"])?;
    let newest = state.portal.outbox.last_entry().await?.map_or(0, |e| e.sequence);
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
    let fits = |entry: &AuditEntry| search.fits(entry, &names);
    let found = audit::find(&state.portal, &search.wanted(&fits), before).await?;
    Ok(html(pages::page(&who.agent, &found, &search, &names, newest, before)))
}

/// Words to look for; empty ones fit everything.
pub(crate) struct Search {
    /// In what happened, by its stable word or as the page says it.
    pub action: String,
    /// In who did it, by id or name.
    pub actor: String,
    /// In the request's id.
    pub request: String,
}

impl Search {
    pub(crate) fn is_empty(&self) -> bool {
        self.action.is_empty() && self.actor.is_empty() && self.request.is_empty()
    }

    fn wanted<'a>(&self, fits: &'a (dyn Fn(&AuditEntry) -> bool + Sync)) -> audit::Search<'a> {
        match RequestId::parse(&self.request) {
            _ if self.is_empty() => audit::Search::All,
            Some(id) if self.action.is_empty() && self.actor.is_empty() => audit::Search::Request(id),
            _ => audit::Search::Matching(fits),
        }
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

/// One JSON object per line, oldest first, never in memory as a whole. `nightdrop audit verify` reads it.
pub(crate) async fn export(_: SignedIn<Audit>, state: web::Data<AppState>) -> Page {
    let lines = stream::try_unfold((state, 0), |(state, after)| async move {
        let entries = state.portal.audit.entries(after, EXPORT_STEP).await.map_err(|e| {
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
