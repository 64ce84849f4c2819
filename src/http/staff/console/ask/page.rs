//! Asking: what is missing, the form of a new request, and the page that shows a link once.

use data_encoding::BASE64;
use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::Agent;
use crate::domain::request::DocumentRequest;
use crate::http::error::Problem;
use crate::http::extract::form::Form;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::spans::Choice;
use crate::http::staff::console::widgets::{Field, Input, ago, applicant, copyable, copyable_first, refusal, state_words, when};
use crate::workflow::issue::{Code, MESSAGE_MAX};
use crate::workflow::link_message::{HandedOver, Mailed, Sent};
use crate::workflow::outgoing::mail::Queued;
use crate::workflow::query::requests::Row;

/// Languages that the applicant's page speaks.
const LANGUAGES: [(&str, &str); 12] = [
    ("en", "English"),
    ("es", "Español"),
    ("fr", "Français"),
    ("de", "Deutsch"),
    ("pt", "Português"),
    ("it", "Italiano"),
    ("nl", "Nederlands"),
    ("pl", "Polski"),
    ("tr", "Türkçe"),
    ("ar", "العربية"),
    ("zh", "中文"),
    ("hi", "हिन्दी"),
];

/// What can be chosen when somebody is asked for a document.
pub(crate) struct Choices {
    /// Name and kind.
    pub providers: Vec<(String, &'static str)>,
    /// Each kind of the catalogue, and each single part of a kind that has several.
    pub documents: Vec<Choice>,
    pub lives: Vec<Choice>,
    /// A passcode is asked for in any case.
    pub passcode_required: bool,
    /// The portal can send mails.
    pub mail: bool,
}

impl Choices {
    fn provider_names(&self) -> Vec<Choice> {
        let label = |name: &str, kind: &str| match kind {
            "sandbox" => format!("{name} (a sandbox: nothing leaves this machine)"),
            _ => name.to_owned(),
        };
        self.providers
            .iter()
            .map(|(name, kind)| (name.clone(), label(name, kind)))
            .collect()
    }
}

/// What the form of a new request shows.
pub(crate) struct AskPage<'a> {
    pub agent: &'a Agent,
    pub choices: &'a Choices,
    pub typed: &'a Form,
    pub once: &'a str,
    pub problem: Option<&'a Problem>,
    /// Requests for the same document of the same person that are still open.
    pub open: &'a [Row],
    pub now: OffsetDateTime,
}

pub(crate) fn form(page: &AskPage<'_>) -> Markup {
    let AskPage {
        agent,
        choices,
        typed,
        once,
        problem,
        open,
        now,
    } = *page;
    let providers = choices.provider_names();
    let mut languages = vec![(String::new(), "As their browser says".to_owned())];
    languages.extend(LANGUAGES.map(|(tag, name)| (tag.to_owned(), name.to_owned())));
    let required = choices.passcode_required;
    let body = html! {
        h1 { "New request" }
        p.lead { "One document of one applicant, for one provider. You get a link that works once." }
        (refusal(problem))
        (already_open(open, now))
        p.notice role="status" data-filled hidden { "Filled in by the link that you came from. Look at each field, the address too, before you issue the link." }
        @if providers.is_empty() { p.notice.bad { "No provider is configured yet. Add one to nightdrop.toml." } }
        form.card.narrow method="post" action="/requests/new" data-fill="provider applicant document locale ticket email" {
            input type="hidden" name="once" value=(once);
            @if !typed.text("missing-of").is_empty() { input type="hidden" name="missing-of" value=(typed.text("missing-of")); }
            @for part in typed.all("part") { input type="hidden" name="part" value=(part); }
            (Field::new("provider", "Provider").choose(&providers, typed.text("provider"), problem))
            (guides(choices))
            (Field::new("applicant", "Applicant").hint("The provider’s own reference for this person, not a name.")
                .input("text", typed.text("applicant"), problem, Input { focus: problem.is_none() && open.is_empty(), longest: Some(128), ..Input::default() }))
            (Field::new("document", "Document").also(&["parts"]).choose(&choices.documents, typed.text("document"), problem))
            (Field::new("expires_in", "The link lives").also(&["expires_at"]).select(&choices.lives, typed.text("expires_in"), problem))
            div.field {
                label.tick { input type="checkbox" name="passcode" value="yes" checked[required || typed.ticked("passcode")] disabled[required]; "Ask for a passcode" }
                p.hint { @if required { "Always on here. " } "Six digits, which you tell the applicant by telephone." }
            }
            (Field::new("locale", "Language").select(&languages, typed.text("locale"), problem))
            (Field::new("ticket", "Ticket").hint("Optional. The help desk’s case, such as ZD-4711.")
                .input("text", typed.text("ticket"), problem, Input { required: false, longest: Some(64), ..Input::default() }))
            (Field::new("message", "Note to the applicant").hint("Optional. Shown on their page and in the message. Nothing personal, please.").with(problem, |described, wrong| html! {
                textarea id="message" name="message" rows="3" maxlength=(MESSAGE_MAX) aria-describedby=(described) aria-invalid=[wrong] { "\n" (typed.text("message")) }
            }))
            @if choices.mail { (mail_fields(typed, problem, false)) }
            div.actions {
                @if open.is_empty() { button.primary { "Issue the link" } } @else { button.primary name="anyway" value="yes" { "Issue another link" } }
            }
        }
    };
    frame::page(agent, Place::New, "New request", body)
}

/// A word before a second request for the same thing. The second one stays possible: a link may be lost, or another side wanted.
fn already_open(open: &[Row], now: OffsetDateTime) -> Markup {
    html! {
        @if let Some(first) = open.first() {
            div.notice.warn role="alert" tabindex="-1" id="problem" {
                p { strong { "This document was asked for already. " } "Nothing was done yet. Look at the open request first: a new link on it replaces the old one." }
                ul {
                    @for row in open {
                        li { a href={ "/requests/" (row.request.id) } { (row.label) " · " (state_words(row.request.state(now)).0) } " – issued " (ago(row.request.created_at, now)) }
                    }
                }
                p { "Or issue another link for " span.mono { (applicant(first)) } " below." }
            }
        }
    }
}

/// Where it stands how a provider's references look and what it takes.
fn guides(choices: &Choices) -> Markup {
    html! {
        p.hint {
            "What a reference looks like there: "
            @for (n, (name, kind)) in choices.providers.iter().enumerate() {
                @if n > 0 { ", " }
                a href={ "/docs/providers/" (kind) } { (name) }
            }
            @if choices.providers.is_empty() { a href="/docs" { "providers" } }
        }
    }
}

/// Where the portal mails the link.
fn mail_fields(typed: &Form, problem: Option<&Problem>, required: bool) -> Markup {
    let input = Input {
        required,
        longest: Some(254),
        ..Input::default()
    };
    let hint = if required {
        "The portal sends it. The address is kept sealed until then, and in no log."
    } else {
        "Optional. The portal sends the link there. The address is kept sealed until then, and in no log."
    };
    html! {
        (Field::new("email", "Send by e-mail to").hint(hint).input("email", typed.text("email"), problem, input))
        div.field {
            label.tick { input type="checkbox" name="remind" value="yes" checked[typed.ticked("remind")]; "Remind them a day before the link expires, if it lives longer than 36 hours" }
        }
    }
}

/// The form that mails a link, with its token: on the page that shows it once, and again if the address was wrong.
fn send_form(request: &DocumentRequest, token: &str, typed: &Form, problem: Option<&Problem>) -> Markup {
    html! {
        form method="post" action={ "/requests/" (request.id) "/send" } {
            input type="hidden" name="token" value=(token);
            (mail_fields(typed, problem, true))
            div.actions { button.plain { "Send by e-mail" } }
            @if request.link.passcode.is_some() { p.hint { "Note the passcode first: this page does not come back." } }
        }
    }
}

/// The address did not do.
pub(crate) fn send(agent: &Agent, request: &DocumentRequest, token: &str, typed: &Form, problem: &Problem) -> Markup {
    let body = html! {
        p.crumbs { a href={ "/requests/" (request.id) } { "Back to the request" } }
        h1 { "Send the link by e-mail" }
        (refusal(Some(problem)))
        div.card.narrow { (send_form(request, token, typed, Some(problem))) }
    };
    frame::page(agent, Place::Requests, "Send the link by e-mail", body)
}

const NO_REMINDER: &str = "No reminder will be sent: the link ends within 36 hours.";

/// A link that was just issued: what its page shows this once.
pub(crate) struct IssuedPage<'a> {
    pub agent: &'a Agent,
    pub row: &'a Row,
    pub handed: &'a HandedOver,
    /// The portal can send mails.
    pub mail: bool,
    /// It was asked for on the list of what is missing.
    pub missing: Option<MissingOf>,
}

/// Of whom, and where, it was asked what is missing.
pub(crate) struct MissingOf {
    pub provider: String,
    pub applicant: String,
}

pub(crate) fn issued(page: &IssuedPage<'_>) -> Markup {
    let (request, mailed) = (&page.row.request, page.handed.mailed);
    let link_message = &page.handed.message;
    let message = &link_message.message;
    let token = link_message.url.rsplit('/').next().unwrap_or_default();
    let language = crate::words::of(request.locale.as_deref().unwrap_or("en")).unwrap_or_else(crate::words::english);
    let body = html! {
        p.crumbs { a href="/requests" { "Requests" } }
        div.title { h1 { "The link is ready" } }
        p.notice.good role="status" { strong { "Shown for ten minutes. " } "Give it to the applicant now; nobody can read it here later." }
        @match mailed {
            Some(Mailed::Queued(_)) => p.notice.good role="status" { "It is on its way by e-mail. The request’s page shows what became of it." },
            Some(Mailed::Failed) => p.notice.bad role="alert" { "It could not be sent by e-mail. Try again below, or send it yourself." },
            None => {}
        }
        @if let Some(Mailed::Queued(Sent { reminder: Some(Queued::TooClose), .. })) = mailed { p.notice.bad role="status" { (NO_REMINDER) } }
        div.columns {
            section.card {
                h2 { (page.row.label) " · " (request.provider) }
                p { "For " strong.mono { (applicant(page.row)) } @if let Some(ticket) = &page.row.ticket { " · " (ticket) } }
                (copyable_first("url", "One-time link", &link_message.url))
                p.quiet { "Works once, until " (when(request.link.expires_at)) }
                @match &link_message.passcode {
                    Some(Code::Shown(code)) => (passcode_box(code)),
                    Some(Code::Replaced) => p.notice { "Its passcode was replaced since: the fresh one counts." },
                    None => {}
                }
                img.qr alt="The link as a QR code" width="200" height="200" src={ "data:image/svg+xml;base64," (BASE64.encode(link_message.qr_svg.as_bytes())) };
            }
            section.card {
                h2 { "Ready message" span.quiet { " · " (language.name) } }
                (copyable("subject", "Subject", &message.subject, false))
                div.field {
                    label for="body" { "Text" }
                    textarea.message id="body" readonly rows="18" lang=(language.tag) dir=(language.direction) { "\n" (message.body) }
                    div.actions {
                        button.plain type="button" data-copy="body" hidden { "Copy the text" }
                        a.button.plain href=(message.mailto()) { "E-mail program" }
                        a.button.plain href=(message.gmail()) target="_blank" rel="noreferrer noopener" { "Open in Gmail" }
                        a.button.plain href=(message.outlook()) target="_blank" rel="noreferrer noopener" { "Open in Outlook" }
                    }
                }
                @if page.mail && !matches!(mailed, Some(Mailed::Queued(_))) { (send_form(request, token, &Form::default(), None)) }
            }
        }
        div.actions { a.button.primary href={ "/requests/" (request.id) } { "To the request" } a.button.plain href="/requests/new" { "Another request" }
            @if let Some(back) = &page.missing {
                form method="post" action="/missing" {
                    input type="hidden" name="provider" value=(back.provider);
                    input type="hidden" name="applicant" value=(back.applicant);
                    button.plain { "Back to what is missing" }
                }
            }
        }
    };
    frame::page(page.agent, Place::New, "The link is ready", body)
}

fn passcode_box(code: &str) -> Markup {
    html! {
        div.code {
            p { "Passcode" }
            output.digits { (code) }
            p.quiet { "Tell it by telephone, never in the same message as the link." }
        }
    }
}

pub(crate) fn fresh_code(agent: &Agent, request: &DocumentRequest, code: &str) -> Markup {
    let body = html! {
        div.outside {
            h1 { "A fresh passcode" }
            p.notice.good role="status" { strong { "Shown for ten minutes. " } "The link stays the same and has five new tries." }
            div.card { (passcode_box(code)) }
            p { a.button.primary href={ "/requests/" (request.id) } { "To the request" } }
        }
    };
    frame::page(agent, Place::Requests, "A fresh passcode", body)
}

/// Something that a provider still wants.
pub(crate) struct MissingRow {
    /// The catalogue's kind and its label, where the catalogue knows it.
    pub known: Option<(String, String)>,
    /// What it is called where the catalogue does not.
    pub name: String,
    pub parts: Vec<String>,
    pub reason: Option<String>,
    /// The reference to ask with, where it is not the one that was asked about.
    pub applicant: Option<String>,
    pub once: String,
    /// The newest request for it that is still open.
    pub open: Option<Row>,
}

/// What the page about what is missing shows.
pub(crate) struct MissingPage<'a> {
    pub agent: &'a Agent,
    pub choices: &'a Choices,
    pub typed: &'a Form,
    pub found: Option<&'a [MissingRow]>,
    pub problem: Option<&'a Problem>,
    pub now: OffsetDateTime,
}

pub(crate) fn missing(page: &MissingPage<'_>) -> Markup {
    let MissingPage {
        agent,
        choices,
        typed,
        found,
        problem,
        now,
    } = *page;
    let providers = choices.provider_names();
    let cannot = problem.is_some_and(|p| p.code == "provider.cannot_list");
    let body = html! {
        h1 { "What is missing?" }
        p.lead { "Ask the provider which documents it still wants of an applicant." }
        @if !cannot { (refusal(problem)) }
        form.card.narrow method="post" action="/missing" {
            (Field::new("provider", "Provider").choose(&providers, typed.text("provider"), problem))
            (guides(choices))
            (Field::new("applicant", "Applicant").hint("The provider’s own reference for this person.")
                .input("text", typed.text("applicant"), problem, Input { focus: found.is_none(), longest: Some(128), ..Input::default() }))
            div.actions { button.primary { "Ask the provider" } }
        }
        @if cannot {
            div.notice.warn role="alert" {
                p { "This provider cannot say what is missing. Pick the document from the catalogue instead." }
                form method="post" action="/requests/new" { (carried(typed)) button.plain name="prefill" value="yes" { "Pick a document" } }
            }
        }
        @if let Some(found) = found {
            section aria-labelledby="found" {
                h2 id="found" { "Missing for " span.mono { (typed.text("applicant")) } }
                @if found.is_empty() { p.empty { "Nothing. The provider has all it wants." } }
                ul.list.card { @for missing in found { li { (missing_row(typed, missing, now)) } } }
            }
        }
    };
    frame::page(agent, Place::Missing, "What is missing?", body)
}

fn missing_row(typed: &Form, missing: &MissingRow, now: OffsetDateTime) -> Markup {
    html! {
        div.row {
            div {
                strong { (missing.known.as_ref().map_or(&missing.name, |(_, label)| label)) }
                @if !missing.parts.is_empty() { span.quiet { " " (missing.parts.join(" and ")) } }
                @if let Some(reason) = &missing.reason { div.quiet { (reason) } }
                @if let Some(other) = &missing.applicant { div.quiet { "Asked for as " span.mono { (other) } } }
                @if let Some(open) = &missing.open {
                    div { span.chip.good { "Link issued" } " " a href={ "/requests/" (open.request.id) } { (state_words(open.request.state(now)).0) } ", " (ago(open.request.created_at, now)) }
                }
            }
            @if let Some((kind, _)) = &missing.known {
                form.actions method="post" action="/requests/new" {
                    (carried_to(typed, missing.applicant.as_deref().unwrap_or(typed.text("applicant"))))
                    input type="hidden" name="once" value=(missing.once);
                    input type="hidden" name="document" value=(kind);
                    @for part in &missing.parts { input type="hidden" name="part" value=(part); }
                    input type="hidden" name="missing-of" value=(typed.text("applicant"));
                    @if missing.open.is_some() { button.plain { "Request again…" } } @else { button.primary { "Request" } }
                    button.plain name="prefill" value="yes" { "With options…" }
                }
            } @else { span.quiet { "Not in the document catalogue; add it to nightdrop.toml." } }
        }
    }
}

fn carried(typed: &Form) -> Markup {
    carried_to(typed, typed.text("applicant"))
}

/// The provider, and the reference that it wants to be asked with.
fn carried_to(typed: &Form, applicant: &str) -> Markup {
    html! {
        input type="hidden" name="provider" value=(typed.text("provider"));
        input type="hidden" name="applicant" value=(applicant);
    }
}
