//! The applicant's pages: the form, the passcode, the receipt, and what is wrong. One column, no framework, complete without JavaScript.
//!
//! Every sentence comes from [`crate::words`] in the reader's language. What the company or an agent wrote stands in its own direction and is never read as markup.

pub mod form;
pub(crate) mod problem_words;

pub use form::form;
pub(crate) use problem_words::{localized, refusal_words};

use maud::{Markup, PreEscaped, Render, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::delivery::PassedOn;
use crate::domain::id::DocumentId;
use crate::domain::request::{DocumentRequest, Stage};
use crate::http::Company;
use crate::http::error::Problem;
use crate::words::{self, Piece, Words};
use crate::workflow::intake::OpenedLink;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, hosted};

use super::assets::UPLOAD_JS_URL;
use super::layout::themed;

/// Who reads: the company that asks, the language, and where the page stands.
#[derive(Clone)]
pub struct PageContext<'a> {
    pub company: &'a Company,
    pub words: &'static Words,
    /// `/d/{token}`; `None` where there is no link to come back to.
    pub here: Option<String>,
    /// The language was picked on the page, and stays picked.
    pub picked: bool,
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

/// The frame around every page of this listener. `living`: with the script, the menu of languages, and the question in the footer.
/// A dead end has none of them: its page must be the same for every token that is nobody's, whatever it looks like.
fn frame(context: &PageContext<'_>, title: &str, living: bool, body: Markup) -> Markup {
    let (company, words) = (context.company, context.words);
    let whole = html! {
        header.top {
            img src=(company.theme.logo_url) height="32" alt="";
            (context.company_name())
            @if let (true, Some(here)) = (living, &context.here) { (languages(words, here)) }
        }
        main { (body) }
        footer {
            @if let (true, Some(support)) = (living, &company.support) { p { (words.say("questions")) " " (contact(support)) } }
            p.quiet { (words.say("promise")) }
            @if let Some(legal) = company.legal_in(words) { p.quiet dir="auto" { (linked(legal)) } }
        }
    };
    let script = living.then(|| UPLOAD_JS_URL.as_str());
    themed(&company.theme, words, &format!("{title} – {}", company.name), script, whole)
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
    frame(&view.context, words.say("passcode-title"), true, body)
}

/// The host, for comparison with the address line.
fn where_you_are(view: &View<'_>) -> Markup {
    html! { dl { dt { (view.context.words.say("you-are-on")) } dd { (host(view.host)) } } }
}

/// A host name that breaks at its dots only, because it is read and compared.
fn host(name: &str) -> Markup {
    html! { bdi { @for (i, label) in name.split('.').enumerate() { @if i > 0 { "." wbr; } (label) } } }
}

/// Which document, which parts, when, a reference and what happens next. Never a file name, never the content.
pub(crate) fn receipt(view: &View<'_>, done: &DocumentRequest) -> Markup {
    let words = view.context.words;
    let (document, parts, received_at, purged_at) = receipt_facts(done);
    let body = html! {
        div.done {
            h1 { (words.say("receipt-title")) }
            p { (words.say("receipt-sealed")) }
        }
        dl {
            dt { (words.say("asked-by")) } dd { (view.context.company_name()) }
            dt { (words.say("receipt-document")) } dd { bdi { (document_label(view.portal, done, words)) } }
            @if parts.len() > 1 {
                dt { (words.say("receipt-parts")) }
                dd { @for (i, part) in parts.iter().enumerate() { @if i > 0 { (words.say("comma")) } (part_label(part, parts.len(), words)) " ✓" } }
            }
            @if let Some(at) = received_at { dt { (words.say("receipt-at")) } dd { (moment(at, words)) } }
            @if let Some(document) = document { dt { (words.say("receipt-reference")) } dd { code dir="ltr" { (reference(&document)) } } }
        }
        h2 { (words.say("next-title")) }
        @if let Some(at) = purged_at {
            @let key = match done.tombstones.last().map(|t| t.passed_on) {
                Some(PassedOn::Yes) => "receipt-purged",
                Some(PassedOn::No) => "receipt-deleted",
                _ => "receipt-gone",
            };
            p { (sentence(words.say(key), &[("moment", moment(at, words))])) }
        } @else {
            p { (words.say("receipt-waiting")) }
        }
        p { (sentence(words.say("receipt-contact"), &[("company", view.context.company_name())])) }
        @if let Some(back) = TrustedRequest::of(view.portal, done).ok().and_then(|done| hosted::way_back(view.portal, &done, view.portal.now())) { p { a.button href=(back) { (words.say("receipt-go")) } } }
    };
    frame(&view.context, words.say("receipt-short"), true, body)
}

/// A page that says what is wrong and whom to ask, and nothing else.
pub(crate) fn failure(context: &PageContext<'_>, problem: &Problem) -> Markup {
    let title = context.words.say(match &*problem.code {
        "link.expired" => "title-expired",
        "link.revoked" => "title-revoked",
        "link.unknown" | "link.dead" => "title-unknown",
        "link.locked" => "title-locked",
        "link.already_received" => "title-received",
        "file.too_big" => "title-too-big",
        "storage.full" | "unavailable" => "title-busy",
        "request.too_many" => "title-wait",
        _ => "title-other",
    });
    let body = html! {
        h1 { (title) }
        p { (problem.detail) }
        @if let Some(support) = &context.company.support { p { (context.company_name()) ": " (contact(support)) } }
    };
    frame(context, title, false, body)
}

pub(crate) type Facts = (Option<DocumentId>, Vec<String>, Option<OffsetDateTime>, Option<OffsetDateTime>);

/// What a receipt tells of the drop through the present link: document, parts, received, purged.
pub(crate) fn receipt_facts(done: &DocumentRequest) -> Facts {
    match (&done.stage, done.document()) {
        (_, Some(document)) => (
            Some(document.id),
            document.parts.iter().map(|p| p.name.to_string()).collect(),
            Some(document.received_at),
            None,
        ),
        (Stage::Purged, None) => match done.tombstones.last() {
            Some(stone) => (
                Some(stone.document),
                stone.parts.clone(),
                Some(stone.received_at),
                Some(stone.purged_at),
            ),
            None => (None, Vec::new(), None, None),
        },
        _ => (None, Vec::new(), None, None),
    }
}

/// Eight characters that an applicant can read out on the telephone.
pub(crate) fn reference(document: &DocumentId) -> String {
    let text = document.to_string().to_ascii_uppercase();
    let tail = &text[text.len() - 9..text.len() - 1];
    format!("{}-{}", &tail[..4], &tail[4..])
}

pub(crate) fn rfc3339(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}

fn document_label(portal: &Portal, request: &DocumentRequest, words: &Words) -> String {
    portal
        .catalogue
        .get(&request.document)
        .map_or_else(|| request.document.to_string(), |e| e.label(words.tag).to_owned())
}

/// A part's name in the language; parts that the configuration invented are shown by their own word.
fn part_label(name: &str, parts: usize, words: &Words) -> String {
    match (name, parts) {
        ("front", 1) => words.say("part.only").to_owned(),
        ("front" | "back", _) => words.say(&format!("part.{name}")).to_owned(),
        (other, _) => {
            let mut own = other.replace('-', " ");
            if let Some(first) = own.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            own
        }
    }
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
