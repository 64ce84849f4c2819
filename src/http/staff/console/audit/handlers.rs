//! The audit log in the console: newest first, and the whole of it as a download that verifies offline.

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use time::Date;
use time::macros::format_description;

use crate::chain::chain;
use crate::http::context::State;
use crate::http::extract::query::Query;
use crate::http::staff::auth::Get;
use crate::http::staff::console::audit::page as pages;
use crate::http::staff::console::{Page, html};
use crate::http::staff::permission::Audit;
use crate::http::staff::view::request as view;
use crate::workflow::query::audit::{self, AuditSearch};

const EXPORT_STEP: usize = 500;

pub(crate) async fn page(Get { who, .. }: Get<Audit>, state: State, request: HttpRequest) -> Page {
    let known = ["before", "action", "actor", "request", "from", "to", "done"];
    let (search, before) = Query::read(&request, &known, |query| {
        let text = |name| query.text(name).unwrap_or_default().trim().to_lowercase();
        let search = AuditSearch {
            action: text("action"),
            actor: text("actor"),
            request: text("request"),
            from: query.parsed("from", day, "a day such as 2026-11-27"),
            to: query.parsed("to", day, "a day such as 2026-11-27"),
        };
        Ok((search, query.number("before", 1, u64::MAX)))
    })?;
    let found = audit::find(&state.portal, &search, before).await?;
    Ok(html(pages::page(&who.agent, &found, &search)))
}

fn day(text: &str) -> Option<Date> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).ok()
}

/// One JSON object per line, oldest first, never in memory as a whole. `nightdrop audit verify` reads it.
pub(crate) async fn export(_: Get<Audit>, state: State) -> Page {
    let lines = stream::try_unfold((state, 0), |(state, after)| async move {
        let entries = audit::after(&state.portal, after, EXPORT_STEP).await.map_err(|e| {
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
