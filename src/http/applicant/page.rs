//! The applicant's pages: the form, the passcode, the receipt, and what is wrong. One column, no framework, complete without JavaScript.
//!
//! Every sentence comes from [`crate::words`] in the reader's language. What the company or an agent wrote stands in its own direction and is never read as markup.

mod example;
pub mod form;
pub(crate) mod problem_words;
mod receipt;

pub use form::form;
pub(crate) use problem_words::{localized, refusal_words};
pub(crate) use receipt::receipt;

use maud::{Markup, PreEscaped, Render, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::request::DocumentRequest;
use crate::http::Company;
use crate::http::error::Problem;
use crate::http::request_id::HttpRequestId;
use crate::words::{self, Piece, Words};
use crate::workflow::Portal;
use crate::workflow::intake::OpenedLink;

use super::layout::themed;
use crate::http::assets::UPLOAD_JS_URL;

/// Behind a part's name: the field of the photos of its pages.
pub(crate) const PAGES: &str = "-pages";

/// Who reads: the company that asks, the language, and where the page stands.
#[derive(Clone)]
pub struct PageContext<'a> {
    pub company: &'a Company,
    pub words: &'static Words,
    /// `/d/{token}`; `None` where there is no link to come back to. A dead end does not use it.
    pub here: Option<String>,
    /// The language was picked on the page, and stays picked.
    pub picked: bool,
    /// Of the request that is answered: what somebody can quote when it failed.
    pub request_id: Option<HttpRequestId>,
}

/// What the pages of a living link show besides.
pub struct View<'a> {
    pub context: PageContext<'a>,
    pub portal: &'a Portal,
    /// The host that the link itself names: what a wary applicant compares.
    pub host: &'a str,
    pub resumable: Resumable,
}

/// What the server offers to the script. Without it everything goes through the plain form.
#[derive(Clone, Debug, Default)]
pub struct Resumable {
    /// tus 1.0 at `/d/{token}/parts/{part}`.
    pub offered: bool,
    /// Parts that are stored already, from this device or another.
    pub stored: Vec<String>,
}

impl PageContext<'_> {
    /// An address of this link, with the picked language.
    pub fn address(&self, below: &str) -> String {
        let here = self.here.as_deref().unwrap_or_default();
        match self.picked {
            true => format!("{here}{below}?language={}", self.words.tag),
            false => format!("{here}{below}"),
        }
    }

    fn company_name(&self) -> Markup {
        own_words(&self.company.name)
    }
}

/// What a page is about, as far as its frame depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// Something can be sent: with the script, and with what happens to it in the footer.
    Living,
    /// Of what was sent the page says itself what became of it.
    Receipt,
    /// No link was opened. The page must be the same for every token that is nobody's, whatever it looks like: nothing in it may name the token.
    DeadEnd,
}

/// The frame around every page of this listener, with the menu of languages.
fn frame(context: &PageContext<'_>, title: &str, kind: Frame, body: Markup) -> Markup {
    let (company, words) = (context.company, context.words);
    let here = context.here.as_deref().filter(|_| kind != Frame::DeadEnd).unwrap_or_default();
    let question = company.support.as_ref().filter(|_| kind != Frame::DeadEnd);
    let whole = html! {
        header.top {
            img src=(company.theme.logo_url) height="32" alt="";
            (context.company_name())
            (languages(words, here))
        }
        main { (body) }
        footer {
            @if let Some(support) = question { p { (words.say("questions")) " " (contact(support)) } }
            @if kind == Frame::Living { p.quiet { (words.say("promise")) } }
            @if let Some(legal) = company.legal_in(words) { p.quiet dir="auto" { (linked(legal)) } }
        }
    };
    let script = (kind != Frame::DeadEnd).then(|| UPLOAD_JS_URL.as_str());
    let title = if title.contains(&company.name) {
        title.to_owned()
    } else {
        format!("{title} – {}", company.name)
    };
    themed(&company.theme, words, &title, script, whole)
}

/// All languages by their own names, without a script: plain links to this page.
fn languages(words: &Words, here: &str) -> Markup {
    html! {
        details.languages {
            summary aria-label={ (words.say("language")) ": " (words.name) } { (words.name) }
            ul {
                @for other in words::LANGUAGES.iter() {
                    li { a href={ (here) "?language=" (other.tag) } hreflang=(other.tag) lang=(other.tag) aria-current=[(other.tag == words.tag).then_some("true")] { (other.name) } }
                }
            }
        }
    }
}

/// A support contact as what it is: mail, telephone or web address.
fn contact(support: &str) -> Markup {
    let address = if support.contains('@') {
        Some(format!("mailto:{support}"))
    } else if support.starts_with("https://") {
        Some(support.to_owned())
    } else if support.starts_with('+') {
        Some(format!("tel:{}", support.replace(' ', "")))
    } else {
        None
    };
    html! { @match address { Some(address) => a href=(address) { bdi { (support) } }, None => bdi { (support) } } }
}

/// A text of the company's with its web addresses as links.
fn linked(text: &str) -> Markup {
    html! {
        @for (i, word) in text.split(' ').enumerate() {
            @if i > 0 { " " }
            @let bare = word.trim_end_matches(['.', ',', ';', ')']);
            @if bare.starts_with("https://") { a href=(bare) rel="noreferrer" { (bare) } (word[bare.len()..]) } @else { (word) }
        }
    }
}

/// Text that is not ours, kept from turning the line around it.
fn own_words(text: &str) -> Markup {
    html! { bdi { strong { (text) } } }
}

/// A sentence with markup in its slots; everything else is escaped.
fn sentence(text: &str, slots: &[(&str, Markup)]) -> Markup {
    html! {
        @for piece in words::pieces(text) {
            @match piece {
                Piece::Literal(text) => (text),
                Piece::Slot(name) => @if let Some((_, markup)) = slots.iter().find(|(n, _)| *n == name) { (markup) },
            }
        }
    }
}

pub(crate) fn passcode(view: &View<'_>, link: &OpenedLink, problem: Option<&Problem>) -> Markup {
    let words = view.context.words;
    let left = link.request.link.passcode.as_ref().map_or(0, |p| u64::from(p.tries_left));
    let body = html! {
        h1 { (words.say("passcode-title")) }
        p { (sentence(words.say("passcode-why"), &[("company", view.context.company_name())])) }
        (where_you_are(view))
        @if let Some(problem) = problem { p.problem id="code-error" role="alert" tabindex="-1" { (problem.detail) } }
        form method="post" action=(view.context.address("/passcode")) {
            label for="passcode" { (words.say("passcode-label")) }
            input #passcode type="text" name="passcode" inputmode="numeric" autocomplete="one-time-code" pattern="[0-9 ]{6,8}" maxlength="8" dir="ltr" required
                aria-invalid=[problem.map(|_| "true")] aria-describedby=(if problem.is_some() { "code-error" } else { "code-hint" });
            @if problem.is_none() { p.quiet id="code-hint" { (words.count("passcode-tries", left)) } }
            button type="submit" { (words.say("passcode-go")) }
        }
    };
    frame(&view.context, words.say("passcode-title"), Frame::Living, body)
}

/// The host, for comparison with the address line.
fn where_you_are(view: &View<'_>) -> Markup {
    html! { dl { dt { (view.context.words.say("you-are-on")) } dd { (host(view.host)) } } }
}

/// A host name that breaks at its dots only, because it is read and compared.
fn host(name: &str) -> Markup {
    html! { bdi { @for (i, label) in name.split('.').enumerate() { @if i > 0 { "." wbr; } (label) } } }
}

/// A page that says what is wrong, what helps and whom to ask, and nothing else.
pub(crate) fn failure(context: &PageContext<'_>, problem: &Problem) -> Markup {
    let words = context.words;
    // Where the title says it all, the text says what helps.
    let (title, help) = match &*problem.code {
        "link.expired" => ("title-expired", Some("help-new-link")),
        "link.revoked" => ("title-revoked", Some("help-new-link")),
        "link.unknown" | "link.dead" => ("title-unknown", Some("help-unknown")),
        "link.locked" => ("title-locked", None),
        "link.already_received" => ("title-received", Some("help-received")),
        "file.too_big" => ("title-too-big", None),
        "storage.full" | "unavailable" | "vault.absent" => ("title-busy", None),
        "request.too_many" => ("title-wait", None),
        "not_found" => ("title-not-found", Some("help-not-found")),
        _ => ("title-other", None),
    };
    let title = words.say(title);
    let body = html! {
        h1 { (title) }
        p { (help.map_or(problem.detail.as_str(), |key| words.say(key))) }
        (whom_to_ask(context))
        @if let Some(id) = &context.request_id {
            p.quiet { (sentence(words.say("quote-id"), &[("id", html! { bdi { (id) } })])) }
        }
    };
    frame(context, title, Frame::DeadEnd, body)
}

/// Who runs this and what it is for, where no link was opened.
pub(crate) fn root(context: &PageContext<'_>) -> Markup {
    let words = context.words;
    let say = |key| sentence(words.say(key), &[("company", context.company_name())]);
    let body = html! {
        h1 { (say("root-title")) }
        p { (say("root-what")) }
        @if let Some(purpose) = context.company.purpose_in(words) { p dir="auto" { (purpose) } }
        p { (say("root-link")) }
        (whom_to_ask(context))
    };
    let title = words.fill("root-title", &[("company", &context.company.name)]);
    frame(context, &title, Frame::DeadEnd, body)
}

fn whom_to_ask(context: &PageContext<'_>) -> Markup {
    html! { @if let Some(support) = &context.company.support { p { (context.words.say("questions")) " " (contact(support)) } } }
}

pub(crate) fn rfc3339(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}

/// What is asked for, with its side where it is not the whole.
fn document_label(portal: &Portal, request: &DocumentRequest, words: &Words) -> String {
    portal.catalogue.asked(&request.document, &request.parts, words.tag, words)
}

/// A part's name in the language; parts that the configuration invented are shown by their own word.
fn part_label(portal: &Portal, request: &DocumentRequest, name: &str, words: &Words) -> String {
    portal.catalogue.part(&request.document, &request.parts, name, words)
}

/// An instant, in words for everybody and in the reader's own zone where the script runs.
fn moment(at: OffsetDateTime, words: &Words) -> Markup {
    html! { time datetime=(rfc3339(at).unwrap_or_default()) { (words.moment(at)) } }
}

fn day(at: OffsetDateTime, words: &Words) -> Markup {
    html! { time datetime=(rfc3339(at).unwrap_or_default()) data-day="" { (words.date(at)) } }
}

/// Plain text as markup, escaped.
fn plain(text: &str) -> Markup {
    PreEscaped(text.render().into_string())
}
