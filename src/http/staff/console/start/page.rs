//! The overview: what needs a person first, then the counts.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::Agent;
use crate::domain::delivery::PurgeCause;
use crate::domain::outcome::Outcome;
use crate::domain::request::{DocumentRequest, RequestState};
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::start::steps;
use crate::http::staff::console::widgets::{BY_HAND_WORDS, Notice, ago, applicant, notice, outcome_words, state_words};
use crate::http::staff::permission::{Admin, may};
use crate::storage::clock::Standing;
use crate::workflow::query::attention::Attention;
use crate::workflow::query::first_steps::FirstSteps;
use crate::workflow::query::requests::Row;

/// Altered rows that are named.
const ALTERED: usize = 10;

/// The states that the tiles count.
const TILES: [RequestState; 4] = [
    RequestState::Awaiting,
    RequestState::Received,
    RequestState::Forwarding,
    RequestState::AwaitingConfirmation,
];

/// Ends that are counted even while there are none.
const ENDS: [Outcome; 4] = [Outcome::NeedsAttention, Outcome::Confirmed, Outcome::Rejected, Outcome::Undelivered];

pub(crate) fn page(
    agent: &Agent,
    attention: &Attention,
    first_steps: Option<&FirstSteps>,
    only_password: bool,
    done: Option<Notice>,
) -> Markup {
    let now = attention.now;
    let calm = attention.stuck.is_empty()
        && attention.by_hand.is_empty()
        && attention.rejected.is_empty()
        && attention.purged_soon.is_empty()
        && attention.expiring.is_empty();
    let body = html! {
        div.title { h1 { "Overview" } a.button.primary href="/requests/new" { "New request" } }
        (notice(done))
        // The first steps say it too.
        @if only_password && first_steps.is_none() {
            p.notice { "Your account is protected by a password alone. " a href="/account" { "Add a passkey or an authenticator app" } " – it takes a minute." }
        }
        @if attention.absent {
            p.notice.bad { strong { "The vault key is not here. " } "Its private half was not handed to the portal, so no document is taken. Start the portal with it; if it is lost, see docs/operations/recovery.md." }
        } @else if attention.locked {
            p.notice.bad { strong { "The vault is locked. " } "Documents are taken and kept sealed, and none is forwarded until an admin unlocks it." }
        }
        @match attention.clock {
            Standing::Agrees => {}
            Standing::Ahead => p.notice.bad { strong { "The clock jumped ahead. " } "It is not believed, and purging by deadline is suspended until it is right again or an admin confirms the time." },
            Standing::Behind => p.notice.bad { strong { "The clock was set back. " } "It is not believed, and time goes on as before until it is right again or an admin confirms the time." },
        }
        @let altered = &attention.altered;
        @if may::<Admin>(agent.role) && !altered.is_empty() {
            p.notice.bad {
                strong { "The store was changed outside the portal. " }
                "What was changed is refused: "
                @for (n, row) in altered.iter().take(ALTERED).enumerate() { @if n > 0 { ", " } code { (row) } }
                @if altered.len() > ALTERED { " and " (altered.len() - ALTERED) " more" }
                ". Find out who can write the portal’s files, then add those accounts and keys anew."
            }
        }
        @if let Some(steps) = first_steps { (steps::list(steps)) }
        section aria-labelledby="attention" {
            h2 id="attention" { "Needs attention" }
            @if calm { p.empty { "Nothing waits for you. Good." } }
            (group(now, "Could not be delivered", "The provider refused it or could not be reached. Look, then retry or purge.", &attention.stuck))
            (group(now, BY_HAND_WORDS, "Their provider has no interface: download each part, upload it there, and mark the request as uploaded.", &attention.by_hand))
            (group(now, "Rejected by the provider", "Destroyed here. Ask the applicant again, with the reason.", &attention.rejected))
            (group(now, "Purged within a day, undelivered", "The retention deadline comes whatever else happens.", &attention.purged_soon))
            (group(now, "Links that expire within a day", "The applicant has not dropped anything yet.", &attention.expiring))
        }
        @if !attention.counts.is_empty() { section aria-labelledby="counts" {
            h2 id="counts" { "Where everything stands" }
            ul.tiles {
                @for of in TILES {
                    @let count = attention.counts.iter().find(|(s, _)| *s == of).map_or(0, |(_, n)| *n);
                    li { a href={ "/requests?state=" (of.as_str()) } { span.number { (count) } span { (state_words(of).0) } } }
                }
                @for (of, count) in attention.outcomes.iter().filter(|(of, count)| ENDS.contains(of) || *count > 0 && *of != Outcome::InProgress) {
                    li { a href={ "/requests?outcome=" (of.as_str()) } { span.number { (count) } span { (outcome_words(*of)) } } }
                }
            }
            @if may::<Admin>(agent.role) {
                p.quiet { "Last backup: " @match attention.last_backup { Some(at) => (ago(at, now)), None => "none that the portal knows of" } "." }
            }
            @if attention.mail { p.quiet { a href="/notices" { "Notices by e-mail" } " – what you want to be told without looking here." } }
        } }
    };
    frame::live_page(agent, Place::Start, "Overview", body)
}

fn group(now: OffsetDateTime, title: &str, hint: &str, rows: &[Row]) -> Markup {
    html! {
        @if !rows.is_empty() {
            div.card.group {
                h3 { (title) }
                p.quiet { (hint) }
                ul.list {
                    @for row in rows {
                        @let request = &row.request;
                        li {
                            a href={ "/requests/" (request.id) } {
                                span.what { (row.label) " · " (request.provider) }
                                span.why { (why(request, now)) }
                                span.mono { (applicant(row)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn why(request: &DocumentRequest, now: OffsetDateTime) -> Markup {
    if let Some((document, delivery)) = request.held() {
        if request.waits_for_hand() {
            return html! { "Received " (ago(document.received_at, now)) ", purged at the latest " (ago(document.purge_at, now)) };
        }
        return match &delivery.last_problem {
            Some(problem) => html! { (problem.text) },
            None => html! { "Purged " (ago(document.purge_at, now)) },
        };
    }
    match request.tombstones.last().map(|t| &t.cause) {
        Some(PurgeCause::Rejected(problem)) => html! { (problem.text) },
        _ => html! { "Expires " (ago(request.link.expires_at, now)) },
    }
}
