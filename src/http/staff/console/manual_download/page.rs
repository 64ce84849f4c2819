//! Serving a provider by hand: what there is to download, and saying that it is done.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::Agent;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::widgets::{Notice, applicant, chip, notice, size_words};
use crate::workflow::query::requests::Row;

pub(crate) fn page(agent: &Agent, row: &Row, now: OffsetDateTime, done: Option<Notice>) -> Markup {
    let request = &row.request;
    let held = request.held();
    let body = html! {
        p.crumbs { a href={ "/requests/" (request.id) } { "The request" } }
        div.title { h1 { "Serve by hand" } (chip(request, now)) }
        (notice(done))
        p.lead { (row.label) " of " span.mono { (applicant(row)) } " for " (request.provider) }
        @if let Some((document, delivery)) = held {
            @let ready = request.waits_for_hand();
            @if !ready { p.notice { "It is still being looked at. " a href={ "/requests/" (request.id) "/hand-over" } { "Look again in a moment" } "." } }
            section.card {
                h2 { "1. Download each part" }
                p.quiet { "Each part can be downloaded once, and the log says by whom. It is opened as it leaves; keep it no longer than you need it." }
                ul.list {
                    @for part in &document.parts {
                        li.row {
                            div { strong { (part.name) } " " span.quiet { (part.file_type.label()) ", " (size_words(part.size)) } }
                            @if delivery.handed_out(&part.name) {
                                span.chip.dim { "Downloaded" }
                            } @else if ready {
                                form method="post" action={ "/requests/" (request.id) "/parts/" (part.name) } {
                                    button.primary { "Download" span.hidden { " " (part.name) } }
                                }
                            }
                        }
                    }
                }
            }
            section.card {
                h2 { "2. Upload it at the provider, and say so" }
                p { "Then delete the file from your machine. Here everything is destroyed once you say that it is done." }
                div.actions { a.button.primary href={ "/requests/" (request.id) "/mark-uploaded" } { "Mark as uploaded…" } a.button.plain href={ "/requests/" (request.id) "/hand-over" } { "Look again" } }
            }
        } @else {
            p.empty { "Nothing is held for this request." }
        }
    };
    frame::page(agent, Place::Requests, "Serve by hand", body)
}
