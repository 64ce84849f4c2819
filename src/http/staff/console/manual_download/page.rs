//! Serving a provider by hand: what there is to download, and saying that it is done.

use maud::{Markup, html};

use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::requests::page::applicant;
use crate::http::staff::console::widgets::{Notice, chip, notice, size_words};
use crate::domain::agent::Agent;
use crate::domain::delivery::{BY_HAND, Phase};
use crate::domain::request::DocumentRequest;
use crate::http::AppState;
use crate::http::staff::link_message::label;

pub(crate) fn page(agent: &Agent, state: &AppState, request: &DocumentRequest, done: Option<Notice>) -> Markup {
    let held = request.held();
    let body = html! {
        p.crumbs { a href={ "/requests/" (request.id) } { "The request" } }
        div.title { h1 { "Serve by hand" } (chip(request, state.portal.now())) }
        (notice(done))
        p.lead { (label(&state.portal, &request.document, "en")) " of " span.mono { (applicant(state, request)) } " for " (request.provider) }
        @if let Some((document, delivery)) = held {
            @let ready = matches!(&delivery.phase, Phase::NeedsAttention { problem, .. } if problem.code == BY_HAND);
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
