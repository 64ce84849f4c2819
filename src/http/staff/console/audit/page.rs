//! The audit log, newest first.

use maud::{Markup, html};
use time::Date;

use crate::domain::agent::Agent;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::widgets::{Field, Input, event_words, when};
use crate::http::staff::permission::{Read, may};
use crate::workflow::query::audit::{AuditFound, AuditSearch};

pub(crate) fn page(agent: &Agent, found: &AuditFound, search: &AuditSearch) -> Markup {
    let AuditFound {
        entries,
        names,
        newest,
        before,
        ..
    } = found;
    let field = |name: &'static str, label: &'static str, value: &str| {
        let input = Input {
            required: false,
            longest: Some(100),
            ..Input::default()
        };
        Field::new(name, label).input("search", value, None, input)
    };
    let day = |date: Option<Date>| date.map(|date| date.to_string()).unwrap_or_default();
    let (from, to) = (day(search.from), day(search.to));
    let words = [
        ("action", &search.action),
        ("actor", &search.actor),
        ("request", &search.request),
        ("from", &from),
        ("to", &to),
    ];
    let carried: Vec<(&str, &str)> = words.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (*n, v.as_str())).collect();
    let date = |name: &'static str, label: &'static str, value: &str| {
        let input = Input {
            required: false,
            ..Input::default()
        };
        Field::new(name, label).input("date", value, None, input)
    };
    let links = may::<Read>(agent.role);
    let body = html! {
        div.title { h1 { "Audit log" } a.button.plain href="/audit/export" { "Export (JSONL)" } }
        p.lead { (newest) " entries, each chained to the one before it: the chain shows a change within it. That nothing was cut off at its end, only a checkpoint that was kept on another machine shows: " code { "nightdrop audit verify FILE --checkpoint CHECKPOINTS" } "." }
        form.filter method="get" action="/audit" role="search" {
            (field("action", "What", &search.action))
            (field("actor", "Who", &search.actor))
            (field("request", "Request", &search.request))
            (date("from", "From (UTC)", &from))
            (date("to", "To (UTC)", &to))
            div.actions { button.plain { "Search" } }
        }
        @if entries.is_empty() { p.empty { @if found.looked_from > 1 { "Nothing here yet; look further back." } @else { "No entry fits." } } }
        @if !entries.is_empty() { table.rows {
            thead { tr { th scope="col" { "No." } th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Who" } th scope="col" { "Request" } th scope="col" { "Detail" } } }
            tbody {
                @for entry in entries {
                    @let event = &entry.event;
                    tr {
                        td data-label="No." { (entry.sequence) }
                        td data-label="When" { (when(event.at)) }
                        td data-label="What" { (event_words(event)) }
                        td data-label="Who" { (names.of_actor(&event.actor.to_string())) }
                        td.mono data-label="Request" { @if let Some(id) = event.request { @if links { a href={ "/requests/" (id) } { (short(&id.to_string())) } } @else { (short(&id.to_string())) } } }
                        td.quiet data-label="Detail" { @for (n, (name, value)) in event.detail.iter().enumerate() { @if n > 0 { " · " } (name) " " (value) } }
                    }
                }
            }
        } }
        div.pager {
            @if before <= newest { a.button.plain href="/audit" { "Newest" } }
            @if found.looked_from > 1 && carried.is_empty() { a.button.plain href={ "/audit?before=" (found.looked_from) } { "Older entries" } }
            @if found.looked_from > 1 && !carried.is_empty() {
                form method="get" action="/audit" {
                    @for (name, value) in &carried { input type="hidden" name=(name) value=(value); }
                    button.plain name="before" value=(found.looked_from) { "Older entries" }
                }
            }
        }
    };
    frame::page(agent, Place::Audit, "Audit log", body)
}

/// Enough of an id to tell two apart at a glance.
fn short(id: &str) -> String {
    let tail = id.len().saturating_sub(6);
    format!("{}…{}", &id[..id.len().min(4)], &id[tail..])
}
