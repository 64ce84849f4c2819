//! The audit log in the console: newest first, and the whole of it as a download that verifies offline.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use crate::http::State;
use crate::http::api::query::Query;
use crate::http::api::view;
use crate::http::pages::console::audit as pages;
use crate::http::staff::{Audit, SignedIn};
use crate::storage::StorageError;
use crate::workflow::Portal;

use super::{Names, Page, html};

const PAGE: u64 = 100;
const EXPORT_STEP: usize = 500;

pub async fn page(who: SignedIn<Audit>, state: web::Data<State>, request: HttpRequest) -> Page {
    let query = Query::of(&request, &["before", "done"])?;
    let newest = newest(&state.portal).await?;
    let before = query
        .number("before", 1, u64::MAX)?
        .unwrap_or(u64::MAX)
        .min(newest.saturating_add(1));
    let after = before.saturating_sub(PAGE + 1);
    let limit = usize::try_from(before - after - 1).unwrap_or(0);
    let mut entries = if limit == 0 {
        Vec::new()
    } else {
        state.portal.records.entries(after, limit).await?
    };
    entries.reverse();
    let names = Names::of(&state).await?;
    Ok(html(pages::page(&who.agent, &entries, &names, newest, before)))
}

/// The number of the newest entry. Numbers have no gaps, so doubling and halving finds it in a few reads.
async fn newest(portal: &Portal) -> Result<u64, StorageError> {
    let there = async |number: u64| Ok::<_, StorageError>(number == 0 || !portal.records.entries(number - 1, 1).await?.is_empty());
    let mut beyond = 1;
    while there(beyond).await? {
        beyond *= 2;
    }
    let mut known = beyond / 2;
    while beyond - known > 1 {
        let middle = known + (beyond - known) / 2;
        if there(middle).await? {
            known = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(known)
}

/// One JSON object per line, oldest first, never in memory as a whole. `nightdrop audit verify` reads it.
pub async fn export(_: SignedIn<Audit>, state: web::Data<State>) -> Page {
    let lines = stream::try_unfold((state, 0), |(state, after)| async move {
        let entries = state.portal.records.entries(after, EXPORT_STEP).await.map_err(|e| {
            tracing::error!(error = %e, "the audit export was cut off");
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
