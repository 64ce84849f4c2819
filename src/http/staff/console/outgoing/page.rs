//! The log of what was told, and an agent's own notices.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::Agent;
use crate::domain::dispatch::{Channel, Dispatch, Progress};
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::widgets::{Notice, ago, notice, tabs, when};
use crate::storage::outbox::NotificationPreferences;
use crate::workflow::query::outgoing::{DispatchLog, Receivers};

pub(crate) fn list(agent: &Agent, to: &Receivers, sent: &DispatchLog, now: OffsetDateTime, done: Option<Notice>) -> Markup {
    let DispatchLog { dispatches, next } = sent;
    let body = html! {
        h1 { "Admin" }
        (tabs("/admin/outgoing"))
        (notice(done))
        section.card {
            h2 { "Receivers" }
            dl.facts {
                dt { "E-mail" } dd { @if to.mail { span.chip.good { "On" } } @else { span.chip { "Off" } " – [mail] in nightdrop.toml" } }
                @for name in &to.hooks { dt.mono { (name) } dd { span.chip.good { "On" } } }
                @if to.hooks.is_empty() { dt { "Webhooks" } dd { span.chip { "None" } " – [webhooks.NAME] in nightdrop.toml" } }
            }
        }
        h2 { "What was sent" }
        @if dispatches.is_empty() { p.empty { "Nothing yet." } } @else {
            table.rows {
                thead { tr { th scope="col" { "What" } th scope="col" { "To" } th scope="col" { "State" } th scope="col" { "When" } th scope="col" { "Last answer" } th scope="col" { span.hidden { "Action" } } } }
                tbody { @for dispatch in dispatches { tr {
                    td.head { @match dispatch.request { Some(id) => a href={ "/requests/" (id) } { (kind_words(&dispatch.kind)) }, None => (kind_words(&dispatch.kind)) } }
                    td data-label="To" { (to_words(&dispatch.channel)) }
                    td data-label="State" { (chip(dispatch)) }
                    td data-label="When" { (ago(at(dispatch), now)) }
                    td.quiet data-label="Last answer" { (dispatch.last.as_deref().unwrap_or_default()) @if dispatch.attempts > 0 { " · " (dispatch.attempts) " failed" } }
                    td { @if dispatch.repeatable() { form method="post" action={ "/admin/outgoing/" (dispatch.id) "/resend" } { button.plain { "Send again" } } } }
                } } }
            }
        }
        @if let Some(next) = next { div.pager { a.button.plain href={ "/admin/outgoing?cursor=" (next) } { "Older" } } }
    };
    frame::page(agent, Place::Admin, "Outgoing", body)
}

/// On a request's own page.
pub(crate) fn render_dispatches(dispatches: &[Dispatch]) -> Markup {
    html! {
        ul.list { @for dispatch in dispatches { li.row {
            span { strong { (kind_words(&dispatch.kind)) } span.quiet { " · " (to_words(&dispatch.channel)) " · " (when(at(dispatch))) } }
            (chip(dispatch))
        } } }
    }
}

fn at(dispatch: &Dispatch) -> OffsetDateTime {
    match dispatch.progress {
        Progress::Waiting(at) | Progress::Sent(at) | Progress::Failed(at) | Progress::Dropped(at) => at,
    }
}

fn chip(dispatch: &Dispatch) -> Markup {
    let (words, tone) = match dispatch.progress {
        Progress::Waiting(_) if dispatch.attempts > 0 => ("Tried again", "bad"),
        Progress::Waiting(_) => ("Waiting", "calm"),
        Progress::Sent(_) => ("Sent", "good"),
        Progress::Failed(_) => ("Failed", "bad"),
        Progress::Dropped(_) => ("Not needed", "dim"),
    };
    html! { span.chip.(tone) { (words) } }
}

fn to_words(channel: &Channel) -> String {
    match channel {
        Channel::Hook(name) => format!("Webhook {name}"),
        Channel::Mail => "E-mail".to_owned(),
    }
}

fn kind_words(kind: &str) -> &str {
    match kind {
        "mail.link" => "Link to the applicant",
        "mail.reminder" => "Reminder to the applicant",
        "mail.arrived" => "Notice: arrived",
        "mail.attention" => "Notice: needs attention",
        "mail.digest" => "Daily digest",
        other => other,
    }
}

pub(crate) fn notices(agent: &Agent, to: &Receivers, preferences: NotificationPreferences, done: Option<Notice>) -> Markup {
    let at = format!("{:02}:{:02} UTC", to.digest_at.hour(), to.digest_at.minute());
    let body = html! {
        h1 { "Notices" }
        (notice(done))
        @if !to.mail { p.notice.warn { "No mail server is configured, so nothing is sent yet. An admin adds [mail] to nightdrop.toml." } }
        form.card.narrow method="post" action="/notices" {
            p { "Sent to " strong { (agent.email) } ". They name no applicant." }
            (wish("arrived", "A document has arrived", "For requests that you issued, and for those that a machine issued.", preferences.arrived))
            (wish("attention", "Something needs attention", "Delivery has stopped, the provider has rejected it, or a mail could not be sent.", preferences.attention))
            (wish("digest", "A daily digest", &format!("At {at}, if anything waits."), preferences.digest))
            div.actions { button.primary { "Save" } }
        }
    };
    frame::page(agent, Place::Account, "Notices", body)
}

fn wish(name: &str, label: &str, hint: &str, on: bool) -> Markup {
    html! {
        div.field {
            label.tick { input type="checkbox" name=(name) value="yes" checked[on] aria-describedby={ (name) "-hint" }; (label) }
            p.hint id={ (name) "-hint" } { (hint) }
        }
    }
}
