//! One act for several requests: what will happen, asked once more, and what became of each.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::Agent;
use crate::domain::delivery::PurgeCause;
use crate::domain::request::{DocumentRequest, RequestState, Stage};
use crate::http::error::Problem;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::spans::Choice;
use crate::http::staff::console::widgets::{Field, applicant, chip, copyable, refusal};
use crate::workflow::query::requests::Row;

/// What can be done to several at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Extend,
    Withdraw,
    AskAgain,
}

impl Act {
    pub(crate) const ALL: [Self; 3] = [Self::Extend, Self::Withdraw, Self::AskAgain];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == text)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::Withdraw => "withdraw",
            Self::AskAgain => "ask-again",
        }
    }

    /// The button that leads to the question.
    pub(crate) fn button(self) -> &'static str {
        match self {
            Self::Extend => "Extend…",
            Self::Withdraw => "Withdraw…",
            Self::AskAgain => "Ask again…",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Extend => "Extend these links?",
            Self::Withdraw => "Withdraw these links?",
            Self::AskAgain => "Ask again for these documents?",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Extend => "Each link stays the same and lives longer, counted from now. One that lives longer already stays as it is.",
            Self::Withdraw => {
                "Nothing can be dropped through them any more, not even by an upload that runs now. You can issue a new link for each later."
            }
            Self::AskAgain => {
                "Each gets a new link, and an old one that is still open is dead from that instant on. The new links are shown to you once they are made: give each to its applicant."
            }
        }
    }

    fn sure(self) -> &'static str {
        match self {
            Self::Extend => "Extend the links",
            Self::Withdraw => "Withdraw the links",
            Self::AskAgain => "Make the new links",
        }
    }

    /// Why it is not possible for a request as it stands; the store has the last word.
    pub(crate) fn hindrance(self, request: &DocumentRequest, now: OffsetDateTime) -> Option<&'static str> {
        let open = matches!(request.stage, Stage::Open { .. });
        let revoked = request.link.revoked_at.is_some();
        match self {
            Self::Extend | Self::Withdraw if !open => Some("its document has come"),
            Self::Extend | Self::Withdraw if revoked => Some("its link was withdrawn"),
            Self::Extend | Self::Withdraw => None,
            Self::AskAgain if request.state(now) == RequestState::Receiving => Some("a document is just being uploaded"),
            Self::AskAgain if open => None,
            Self::AskAgain => match &request.stage {
                Stage::Purged if request.tombstones.last().is_none_or(|t| t.cause != PurgeCause::Confirmed) => None,
                Stage::Purged => Some("its document was accepted"),
                _ => Some("its document is on its way"),
            },
        }
    }
}

/// What is asked before anything is done.
pub(crate) struct SurePage<'a> {
    pub agent: &'a Agent,
    pub act: Act,
    pub rows: &'a [Row],
    pub lives: &'a [Choice],
    pub once: &'a str,
    pub now: OffsetDateTime,
    pub problem: Option<&'a Problem>,
}

pub(crate) fn sure(page: &SurePage<'_>) -> Markup {
    let SurePage {
        agent,
        act,
        rows,
        lives,
        once,
        now,
        problem,
    } = *page;
    let (fit, unfit): (Vec<_>, Vec<_>) = rows.iter().partition(|row| act.hindrance(&row.request, now).is_none());
    let body = html! {
        p.crumbs { a href="/requests" { "Requests" } }
        h1 { (act.title()) }
        (refusal(problem))
        form.card method="post" action="/requests/bulk" {
            input type="hidden" name="act" value=(act.as_str());
            input type="hidden" name="once" value=(once);
            p { (act.text()) }
            @if fit.is_empty() { p.notice.warn { "This is possible for none of them." } } @else {
                h2 { (fit.len()) " request" @if fit.len() != 1 { "s" } }
                ul.list { @for row in &fit { li.row {
                    input type="hidden" name="id" value=(row.request.id);
                    (named(row)) (chip(&row.request, now))
                } } }
            }
            @if !unfit.is_empty() {
                h2 { "Left as they are" }
                ul.list { @for row in &unfit { li.row { (named(row)) span.quiet { (act.hindrance(&row.request, now).unwrap_or_default()) } } } }
            }
            @if act == Act::Extend && !fit.is_empty() { (Field::new("expires_in", "Give more time, from now").select(lives, "", problem)) }
            div.actions {
                @if !fit.is_empty() { button.primary[act != Act::Withdraw].danger[act == Act::Withdraw] name="sure" value="yes" autofocus { (act.sure()) } }
                a.button.plain href="/requests" { "Cancel" }
            }
        }
    };
    frame::page(agent, Place::Requests, act.title(), body)
}

fn named(row: &Row) -> Markup {
    html! {
        div { a href={ "/requests/" (row.request.id) } { (row.label) } " · " (row.request.provider) " · " span.mono { (applicant(row)) } }
    }
}

/// What became of one of them.
pub(crate) enum BulkResult {
    Done(&'static str),
    /// A new link, shown like any other.
    Link {
        url: String,
        passcode: Option<String>,
    },
    Refused(String),
}

pub(crate) fn results(agent: &Agent, results: &[(Row, BulkResult)]) -> Markup {
    let refused = results
        .iter()
        .filter(|(_, result)| matches!(result, BulkResult::Refused(_)))
        .count();
    let links = results.iter().any(|(_, result)| matches!(result, BulkResult::Link { .. }));
    let body = html! {
        p.crumbs { a href="/requests" { "Requests" } }
        h1 { "What became of each" }
        p.notice.(if refused == 0 { "good" } else { "warn" }) role="status" {
            (results.len() - refused) " of " (results.len()) " done."
            @if links { " " strong { "The new links are shown for ten minutes." } " Nobody can read them here later." }
        }
        ul.list.card { @for (n, (row, result)) in results.iter().enumerate() { li {
            div.row {
                (named(row))
                @match result {
                    BulkResult::Done(words) => span.chip.good { (words) },
                    BulkResult::Link { .. } => span.chip.good { "New link" },
                    BulkResult::Refused(why) => span { span.chip.bad { "Not done" } " " span.quiet { (why) } },
                }
            }
            @if let BulkResult::Link { url, passcode } = result {
                (copyable(&format!("url-{n}"), "One-time link", url, true))
                @if let Some(code) = passcode { p { "Passcode " strong.mono { (code) } " – told by telephone, never in the same message." } }
            }
        } } }
        div.actions { a.button.primary href="/requests" { "To the list" } }
    };
    frame::page(agent, Place::Requests, "What became of each", body)
}
