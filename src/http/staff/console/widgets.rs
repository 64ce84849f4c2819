//! What stands on several pages of the console: notices, fields, chips, instants.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use maud::{Markup, html};
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::delivery::{BY_HAND, PassedOn, PurgeCause};
use crate::domain::outcome::Outcome;
use crate::domain::request::{DocumentRequest, RequestState, Stage};
use crate::http::error::Problem;
use crate::http::staff::view::request::instant;
use crate::workflow::query::requests::Row;
use crate::workflow::sign_in::PASSWORD_MAX;

/// What was just done, from the address that a POST redirected to. Words of this list only, so that nothing in an address is ever shown.
#[derive(Clone, Copy)]
pub(crate) struct Notice(&'static str);

const NOTICES: &[(&str, &str)] = &[
    ("extended", "The link lives longer now."),
    ("noted", "The note was added."),
    ("retried", "It is being sent again."),
    ("revoked", "The link was withdrawn. Nothing can be dropped through it any more."),
    ("purging", "The document is being destroyed; the deletion receipt follows."),
    (
        "uploaded",
        "Marked as uploaded. The document is being destroyed; the deletion receipt follows.",
    ),
    ("password", "Your password was changed. Every other session has ended."),
    ("app", "The authenticator app is set up."),
    ("passkey", "The passkey is set up. You can sign in with it alone."),
    ("factor-removed", "It was removed and is of no use any more."),
    ("session-ended", "That session has ended."),
    ("changed", "The change is made, and every session of that agent has ended."),
    (
        "factors-reset",
        "That agent signs in with the password alone until a new second factor is set up.",
    ),
    ("assigned", "The request is assigned."),
    ("unassigned", "The request is nobody’s now."),
    ("unlocked", "The vault is open; forwarding goes on."),
    ("clock", "The clock is trusted again; purging by deadline goes on."),
    ("agent", "The agent can sign in now, and then sets another password."),
    ("invited", "The link is on its way by e-mail. It is good once, for three days."),
    ("enabled", "The agent can sign in again, as before."),
    ("deleted", "The account is gone. The log keeps its name."),
    ("reset", "The password was changed, and every session of that agent has ended."),
    ("disabled", "The agent was disabled, and every session of theirs has ended."),
    ("key-revoked", "The API key is dead."),
    ("mailed", "The link is on its way by e-mail. What became of it stands below."),
    (
        "mailed-once",
        "The link is on its way by e-mail. No reminder will be sent: the link ends within 36 hours.",
    ),
    (
        "mailed-before",
        "This link was sent to that address before; it is not sent twice. What became of it stands below.",
    ),
    ("template", "The message was saved. The next link is sent with it."),
    ("template-dropped", "The message is the built-in one again."),
    ("resent", "It is being sent again."),
    ("views", "Your saved views were changed."),
    ("notices", "Your notices were saved."),
    ("steps-hidden", "The first steps are hidden. They can be shown again under Admin."),
];

impl FromRequest for Notice {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    /// Handlers ask for `Option<Notice>`: any other word is none.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string()).ok();
        let word = query.and_then(|query| query.into_inner().into_iter().find(|(name, _)| name == "done"));
        let known = word.and_then(|(_, word)| NOTICES.iter().find(|(known, _)| *known == word));
        ready(
            known
                .map(|(_, text)| Self(text))
                .ok_or_else(|| Problem::not_found("There is no such notice.")),
        )
    }
}

pub(crate) fn notice(notice: Option<Notice>) -> Markup {
    html! { @if let Some(Notice(text)) = notice { p.notice.good role="status" { (text) } } }
}

/// The admin's pages.
pub(crate) fn tabs(here: &str) -> Markup {
    html! {
        nav.tabs aria-label="Admin" {
            @for (path, label) in [("/admin", "Portal"), ("/admin/agents", "Agents"), ("/admin/keys", "API keys"), ("/admin/messages", "Messages"), ("/admin/outgoing", "Outgoing")] {
                a href=(path) aria-current=[(path == here).then_some("page")] { (label) }
            }
        }
    }
}

/// What went wrong with a form as a whole, above it; what concerns a field stands beside the field.
pub(crate) fn refusal(problem: Option<&Problem>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            div.notice.bad role="alert" tabindex="-1" id="problem" {
                @if problem.fields.is_empty() { (problem.detail) } @else { "Please look at the marked fields again. Nothing was done yet." }
            }
        }
    }
}

/// A labelled field with its hint and its fault.
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    pub(crate) label: &'a str,
    pub(crate) hint: &'a str,
    /// Names under which a fault may come.
    pub(crate) also: &'a [&'a str],
    /// Where two forms of one page have a field of this name: what tells them apart.
    pub(crate) id: &'a str,
}

impl<'a> Field<'a> {
    pub(crate) const fn new(name: &'a str, label: &'a str) -> Self {
        Self {
            name,
            label,
            hint: "",
            also: &[],
            id: name,
        }
    }

    pub(crate) const fn hint(mut self, hint: &'a str) -> Self {
        self.hint = hint;
        self
    }

    pub(crate) const fn id(mut self, id: &'a str) -> Self {
        self.id = id;
        self
    }

    pub(crate) const fn also(mut self, names: &'a [&'a str]) -> Self {
        self.also = names;
        self
    }

    fn fault<'p>(&self, problem: Option<&'p Problem>) -> Option<&'p str> {
        let fits = |name: &str| name == self.name || self.also.contains(&name);
        problem?.fields.iter().find(|(name, _)| fits(name)).map(|(_, fix)| fix.as_str())
    }

    /// `control` gets the ids that describe it, and whether it is wrong.
    pub(crate) fn with(&self, problem: Option<&Problem>, control: impl FnOnce(&str, Option<&str>) -> Markup) -> Markup {
        let fault = self.fault(problem);
        let mut described = Vec::new();
        if !self.hint.is_empty() {
            described.push(format!("{}-hint", self.id));
        }
        if fault.is_some() {
            described.push(format!("{}-fault", self.id));
        }
        html! {
            div.field.wrong[fault.is_some()] {
                label for=(self.id) { (self.label) }
                @if !self.hint.is_empty() { p.hint id={ (self.id) "-hint" } { (self.hint) } }
                (control(&described.join(" "), fault.map(|_| "true")))
                @if let Some(fault) = fault { p.fault id={ (self.id) "-fault" } { "This " (fault) "." } }
            }
        }
    }

    pub(crate) fn input(&self, kind: &str, value: &str, problem: Option<&Problem>, more: Input<'_>) -> Markup {
        self.with(problem, |described, wrong| {
            html! {
                input id=(self.id) name=(self.name) type=(kind) value=(value) required[more.required] autofocus[more.focus || wrong.is_some()]
                    autocomplete=(more.autocomplete) maxlength=[more.longest] minlength=[more.shortest] spellcheck="false"
                    aria-describedby=[Some(described).filter(|d| !d.is_empty())] aria-invalid=[wrong];
            }
        })
    }

    /// A list in which nothing is chosen before somebody chooses; with one line there is nothing to choose.
    pub(crate) fn choose(&self, options: &[(String, String)], chosen: &str, problem: Option<&Problem>) -> Markup {
        let empty = options.len() != 1 && !options.iter().any(|(value, _)| value == chosen);
        self.with(problem, |described, wrong| {
            html! {
                select id=(self.name) name=(self.name) required aria-describedby=[Some(described).filter(|d| !d.is_empty())] aria-invalid=[wrong] {
                    @if options.len() != 1 { option value="" selected[empty] { "Choose…" } }
                    @for (value, label) in options { option value=(value) selected[value == chosen] { (label) } }
                }
            }
        })
    }

    pub(crate) fn select(&self, options: &[(String, String)], chosen: &str, problem: Option<&Problem>) -> Markup {
        self.with(problem, |described, wrong| {
            html! {
                select id=(self.id) name=(self.name) aria-describedby=[Some(described).filter(|d| !d.is_empty())] aria-invalid=[wrong] {
                    @for (value, label) in options { option value=(value) selected[value == chosen] { (label) } }
                }
            }
        })
    }
}

pub(crate) struct Input<'a> {
    pub(crate) required: bool,
    pub(crate) focus: bool,
    pub(crate) autocomplete: &'a str,
    pub(crate) longest: Option<usize>,
    pub(crate) shortest: Option<usize>,
}

impl Default for Input<'_> {
    fn default() -> Self {
        Self {
            required: true,
            focus: false,
            autocomplete: "off",
            longest: None,
            shortest: None,
        }
    }
}

/// `shortest`: the fewest characters that it may have.
pub(crate) fn new_password(shortest: usize, problem: Option<&Problem>) -> Markup {
    let input = Input {
        autocomplete: "new-password",
        shortest: Some(shortest),
        longest: Some(PASSWORD_MAX),
        ..Input::default()
    };
    let hint = format!("At least {shortest} characters. A few words that do not belong together are fine.");
    Field::new("password", "New password")
        .hint(&hint)
        .input("password", "", problem, input)
}

/// A value to take away: selectable, and copied by a button where scripts run. A secret is set so that its letters can be told apart.
pub(crate) fn copyable(id: &str, label: &str, value: &str, secret: bool) -> Markup {
    copying(id, label, value, secret, false)
}

/// The secret that a page is about: copying it is what comes next.
pub(crate) fn copyable_first(id: &str, label: &str, value: &str) -> Markup {
    copying(id, label, value, true, true)
}

fn copying(id: &str, label: &str, value: &str, secret: bool, first: bool) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            div.copy {
                input.mono[secret] id=(id) readonly value=(value) autofocus[first] autocomplete="off" spellcheck="false";
                button.plain.primary[first] type="button" data-copy=(id) data-first[first] hidden { "Copy" }
            }
        }
    }
}

pub(crate) fn state_words(state: RequestState) -> (&'static str, &'static str) {
    match state {
        RequestState::Awaiting => ("Waiting for the applicant", "calm"),
        RequestState::Receiving => ("Being uploaded", "busy"),
        RequestState::Received => ("Received", "busy"),
        RequestState::Forwarding => ("Being forwarded", "busy"),
        RequestState::AwaitingConfirmation => ("With the provider", "busy"),
        RequestState::NeedsAttention => ("Needs attention", "bad"),
        RequestState::Confirmed => ("Confirmed", "good"),
        RequestState::Rejected => ("Rejected", "bad"),
        RequestState::Purging => ("Being destroyed", "busy"),
        RequestState::Purged => ("Purged", "dim"),
        RequestState::Expired => ("Expired", "dim"),
        RequestState::Revoked => ("Withdrawn", "dim"),
    }
}

pub(crate) fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::InProgress => "In progress",
        Outcome::NeedsAttention => "Needs attention",
        Outcome::ByHand => BY_HAND_WORDS,
        Outcome::Confirmed => "Confirmed",
        Outcome::Rejected => "Rejected",
        Outcome::Unconfirmed => "Purged without a verdict",
        Outcome::Undelivered => "Purged undelivered",
        Outcome::Infected => "Malware found",
        Outcome::PurgedByAgent => "Purged by an agent",
        Outcome::Withdrawn => "Withdrawn",
        Outcome::LinkExpired => "Link expired unused",
        Outcome::Lost => "Lost",
    }
}

pub(crate) const BY_HAND_WORDS: &str = "To be handed over by hand";

/// What happened. That a provider is served by hand is no failure.
pub(crate) fn event_words(event: &AuditEvent) -> &'static str {
    let by_hand = || event.detail.iter().any(|(_, value)| value == BY_HAND);
    match event.action {
        AuditAction::DeliveryNeedsAttention if by_hand() => BY_HAND_WORDS,
        action => action.label(),
    }
}

/// The state of a request, and for a purged one how it ended.
pub(crate) fn chip(request: &DocumentRequest, now: OffsetDateTime) -> Markup {
    let ended = matches!(request.stage, Stage::Purged).then(|| request.tombstones.last()).flatten();
    let (words, tone) = match ended.map(|t| (&t.cause, t.passed_on)) {
        Some((PurgeCause::Confirmed, _)) => ("Confirmed, purged", "good"),
        Some((PurgeCause::Rejected(_), _)) => ("Rejected, purged", "bad"),
        Some((PurgeCause::Infected, _)) => ("Malware, purged", "bad"),
        Some((PurgeCause::Agent, _)) => ("Purged by an agent", "dim"),
        Some((PurgeCause::Deadline | PurgeCause::Lost, PassedOn::Yes)) => ("Passed on, purged without a verdict", "dim"),
        Some((PurgeCause::Deadline | PurgeCause::Lost, PassedOn::No)) => ("Purged undelivered", "bad"),
        Some((PurgeCause::Deadline | PurgeCause::Lost, PassedOn::Unknown)) => ("Purged, outcome unknown", "bad"),
        None if request.waits_for_hand() => (BY_HAND_WORDS, "calm"),
        None => state_words(request.state(now)),
    };
    html! { span.chip.(tone) { (words) } }
}

/// The applicant's reference.
pub(crate) fn applicant(row: &Row) -> Markup {
    match &row.applicant {
        Some(applicant) => html! { (applicant) },
        None => html! { span.chip.bad { "Changed outside" } },
    }
}

/// An instant in full; the reader's own zone where scripts run.
pub(crate) fn when(at: OffsetDateTime) -> Markup {
    let utc = at.to_offset(time::UtcOffset::UTC);
    let text = utc
        .format(format_description!(
            "[day padding:none] [month repr:short] [year], [hour]:[minute]:[second] UTC"
        ))
        .unwrap_or_default();
    html! { time datetime=(instant(at)) { (text) } }
}

/// An instant as distance from now.
pub(crate) fn ago(at: OffsetDateTime, now: OffsetDateTime) -> Markup {
    let distance = at - now;
    let text = if distance > Duration::ZERO {
        format!("in {}", span_words(distance))
    } else {
        format!("{} ago", span_words(-distance))
    };
    html! { time datetime=(instant(at)) data-relative="" title=(instant(at)) { (text) } }
}

fn span_words(span: Duration) -> String {
    let (count, unit) = match span.whole_seconds() {
        s if s < 60 => return "less than a minute".to_owned(),
        s if s < 5_400 => (s / 60, "minute"),
        s if s < 172_800 => ((s + 1_800) / 3_600, "hour"),
        s => ((s + 43_200) / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Bytes as people say them, and as the applicant's page says them in English.
pub(crate) fn size_words(bytes: u64) -> String {
    crate::words::english().size(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_like_speech() {
        for (seconds, words) in [
            (5, "less than a minute"),
            (60, "1 minute"),
            (5_399, "89 minutes"),
            (5_400, "2 hours"),
            (86_400, "24 hours"),
            (259_200, "3 days"),
        ] {
            assert_eq!(span_words(Duration::seconds(seconds)), words);
        }
        assert_eq!(
            (size_words(20 << 20), size_words(10_000_000)),
            ("20 MB".to_owned(), "10 MB".to_owned())
        );
    }
}
