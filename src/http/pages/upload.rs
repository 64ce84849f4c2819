//! The applicant's pages: the form, the passcode, the receipt, and what is wrong. One column, no framework, complete without JavaScript.

use maud::{Markup, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::domain::delivery::PurgeCause;
use crate::domain::document::PartSpec;
use crate::domain::id::DocumentId;
use crate::domain::request::{DocumentRequest, Stage};
use crate::http::Company;
use crate::http::error::Problem;
use crate::inspect::Refusal;
use crate::workflow::receive::OpenedLink;
use crate::workflow::{Portal, issue};

use super::assets::{LOGO_URL, UPLOAD_JS_URL};
use super::layout::page;

/// What every page of this door shows.
pub struct View<'a> {
    pub company: &'a Company,
    pub portal: &'a Portal,
    /// The host that the link itself names: what a wary applicant compares.
    pub host: &'a str,
}

fn frame(company: &Company, title: &str, script: bool, body: Markup) -> Markup {
    let script = script.then(|| UPLOAD_JS_URL.as_str());
    let whole = html! {
        header.top {
            img src=(*LOGO_URL) width="28" height="28" alt="";
            span { (company.name) }
        }
        main { (body) }
        footer {
            @if let Some(support) = &company.support { p { "Questions? " (contact(support)) } }
            p.quiet { "Sealed while it arrives, passed on once, then destroyed here." }
        }
    };
    page("en", "ltr", &format!("{title} – {}", company.name), script, whole)
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
    html! { @match address { Some(address) => a href=(address) { (support) }, None => (support) } }
}

/// The form. `problem`: what was wrong with the last try, and at which part.
pub fn form(view: &View<'_>, token: &str, link: &OpenedLink, problem: Option<(&Problem, Option<&str>)>) -> Markup {
    let request = &link.request;
    let label = document_label(view.portal, request);
    let note = issue::opened_message(view.portal, request).ok().flatten();
    let at_part = problem.and_then(|(_, part)| part);
    let body = html! {
        h1 { "Send your document: " (label) }
        @if let Some((problem, None)) = problem { div.problem role="alert" tabindex="-1" id="problem" { p { strong { "That did not work. " } (problem.detail) } } }
        p { strong { (view.company.name) } " asked you for this on " (when(request.link.issued_at)) ". You are on " strong { (view.host) } "." }
        @if let Some(purpose) = &view.company.purpose { p { (purpose) } }
        @if let Some(note) = note { blockquote { (note) } }
        form method="post" action={ "/d/" (token) } enctype="multipart/form-data" data-upload="" data-tus={ "/d/" (token) "/parts/" } {
            @for part in &request.parts {
                (part_field(part, request.parts.len(), request.finished(&part.name).is_some(), problem.filter(|_| at_part == Some(part.name.as_str())).map(|(p, _)| p)))
            }
            p.status id="status" role="status" aria-live="polite" {}
            button type="submit" { "Send" @if request.parts.len() > 1 { " both sides" } }
        }
        h2 { "What happens next" }
        ol {
            @if by_hand(view.portal, request) {
                li { "Your document is encrypted while it arrives. One person at " (view.company.name) " passes it on by hand; each step is recorded." }
            } @else {
                li { "Your document is encrypted while it arrives. Nobody at " (view.company.name) " can open it here." }
            }
            li { "It is passed on to the identity check and then destroyed here, at the latest " (days(request.keep)) " after you send it." }
            li { "This page becomes your receipt. Open the same link again at any time." }
        }
        p.quiet { "The link works once, until " (moment(request.link.expires_at)) "." }
    };
    frame(view.company, &label, true, body)
}

/// `here`: the part has arrived by an upload of its own, and waits for the others.
fn part_field(part: &PartSpec, parts: usize, here: bool, problem: Option<&Problem>) -> Markup {
    let name = part.name.as_str();
    let accept = part.accepted.iter().map(|t| t.mime()).collect::<Vec<_>>().join(",");
    let photos = part
        .accepted
        .iter()
        .map(|t| t.mime())
        .filter(|m| m.starts_with("image/"))
        .collect::<Vec<_>>()
        .join(",");
    let title = part_label(name, parts);
    let limits = limits_words(part);
    let described = if problem.is_some() {
        format!("{name}-error {name}-hint")
    } else {
        format!("{name}-hint")
    };
    html! {
        fieldset data-part=(name) data-here=[here.then_some("")] {
            legend { (title) @if here { " ✓" } }
            @if here { p.quiet { "This side is here already. Choose a file only to replace it." } }
            @if let Some(problem) = problem { p.problem id={ (name) "-error" } role="alert" tabindex="-1" { (problem.detail) } }
            @if !photos.is_empty() {
                label {
                    span { "Take a photo" }
                    input type="file" name=(name) accept=(photos) capture="environment" aria-describedby=(described) aria-invalid=[problem.map(|_| "true")];
                }
            }
            label {
                span { "Choose a file" }
                input type="file" name=(name) accept=(accept) aria-describedby=(described) aria-invalid=[problem.map(|_| "true")];
            }
            p.quiet id={ (name) "-hint" } { (limits) }
            div.preview hidden {}
        }
    }
}

pub fn passcode(view: &View<'_>, token: &str, link: &OpenedLink, problem: Option<&Problem>) -> Markup {
    let left = link.request.link.passcode.as_ref().map_or(0, |p| p.tries_left);
    let body = html! {
        h1 { "Enter your code" }
        p { strong { (view.company.name) } " told you a six-digit code, for instance by telephone. It keeps others out who may have seen this link." }
        @if let Some(problem) = problem { p.problem id="code-error" role="alert" tabindex="-1" { (problem.detail) } }
        form method="post" action={ "/d/" (token) "/passcode" } {
            label for="passcode" { "Code" }
            input #passcode type="text" name="passcode" inputmode="numeric" autocomplete="one-time-code" pattern="[0-9 ]{6,8}" maxlength="8" required
                aria-describedby=(if problem.is_some() { "code-error" } else { "code-hint" });
            @if problem.is_none() { p.quiet id="code-hint" { (left) " tries." } }
            button type="submit" { "Continue" }
        }
    };
    frame(view.company, "Enter your code", false, body)
}

/// Which document, which parts, when, a reference and what happens next. Never a file name, never the content.
pub fn receipt(view: &View<'_>, done: &DocumentRequest) -> Markup {
    let (document, parts, received_at, purged_at) = receipt_facts(done);
    let label = document_label(view.portal, done);
    let body = html! {
        div.done {
            h1 { "Received. Thank you." }
            p { "Your document has arrived and is sealed. You can close this page." }
        }
        dl {
            dt { "Document" } dd { (label) }
            @if parts.len() > 1 { dt { "Sides" } dd { @for (i, part) in parts.iter().enumerate() { @if i > 0 { ", " } (part_label(part, parts.len())) " ✓" } } }
            @if let Some(at) = received_at { dt { "Received" } dd { (moment(at)) } }
            @if let Some(document) = document { dt { "Reference" } dd { code { (reference(&document)) } } }
        }
        h2 { "What happens next" }
        @if let Some(at) = purged_at {
            @if passed_on(done) {
                p { "Passed on, and deleted here on " (moment(at)) "." }
            } @else {
                p { "Deleted here on " (moment(at)) ", without being passed on." }
            }
        } @else {
            p { "It is passed on to the identity check and then deleted here. Open this link again to see when that has happened." }
        }
        p { (view.company.name) " will contact you if anything else is needed." }
        @if let Some(back) = &done.return_url { p { a.button href=(back) { "Continue" } } }
    };
    frame(view.company, "Received", false, body)
}

/// A page that says what is wrong and whom to ask, and nothing else.
pub fn failure(company: &Company, problem: &Problem) -> Markup {
    let title = match problem.code {
        "link.expired" => "This link has expired",
        "link.revoked" => "This link was withdrawn",
        "link.unknown" | "link.dead" => "This link does not work",
        "link.locked" => "This link is locked",
        "link.already_received" => "Already received",
        "file.too_big" => "The file is too large",
        "storage.full" | "unavailable" => "Not now, sorry",
        "request.too_many" => "One moment, please",
        _ => "That did not work",
    };
    let body = html! {
        h1 { (title) }
        p { (problem.detail) }
        @if let Some(support) = &company.support { p { "Ask " (company.name) ": " (contact(support)) } }
    };
    frame(company, title, false, body)
}

/// Whether the last document reached the provider before it was purged.
fn passed_on(done: &DocumentRequest) -> bool {
    done.tombstones
        .last()
        .is_some_and(|t| matches!(t.cause, PurgeCause::Confirmed | PurgeCause::Rejected(_)))
}

pub type Facts = (Option<DocumentId>, Vec<String>, Option<OffsetDateTime>, Option<OffsetDateTime>);

/// What a receipt tells of the drop through the present link: document, parts, received, purged.
pub fn receipt_facts(done: &DocumentRequest) -> Facts {
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
pub fn reference(document: &DocumentId) -> String {
    let text = document.to_string().to_ascii_uppercase();
    let tail = &text[text.len() - 9..text.len() - 1];
    format!("{}-{}", &tail[..4], &tail[4..])
}

pub fn rfc3339(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}

/// A `manual` provider's documents are opened once by a person: then the page must not promise otherwise.
fn by_hand(portal: &Portal, request: &DocumentRequest) -> bool {
    portal.providers.get(&request.provider).is_some_and(|p| p.profile().by_hand)
}

fn document_label(portal: &Portal, request: &DocumentRequest) -> String {
    let language = request.locale.as_deref().unwrap_or("en");
    portal
        .catalogue
        .get(&request.document)
        .map_or_else(|| request.document.to_string(), |e| e.label(language).to_owned())
}

fn part_label(name: &str, parts: usize) -> String {
    match (name, parts) {
        ("front", 1) => "Your document".to_owned(),
        ("front", _) => "Front side".to_owned(),
        ("back", _) => "Back side".to_owned(),
        (other, _) => {
            let mut words = other.replace('-', " ");
            if let Some(first) = words.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            words
        }
    }
}

fn limits_words(part: &PartSpec) -> String {
    let types = part.accepted.iter().map(|t| t.label()).collect::<Vec<_>>().join(", ");
    let most = size_words(part.max_bytes);
    if part.min_bytes > 1 {
        format!(
            "{types}, {} to {most}. All four corners visible, nothing blurred.",
            size_words(part.min_bytes)
        )
    } else {
        format!("{types}, at most {most}. All four corners visible, nothing blurred.")
    }
}

/// `20 MB`, as phones say it.
pub fn size_words(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 => format!("{} MB", b >> 20),
        b if b >= 1 << 10 => format!("{} KB", b.div_ceil(1 << 10)),
        b => format!("{b} bytes"),
    }
}

/// One sentence per cause, with what to do.
pub fn refusal_words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Empty => "This file is empty. Choose it again, or take a new photo.".to_owned(),
        Refusal::TooSmall { min } => format!(
            "This file is smaller than {}. Take a larger photo, or send the original.",
            size_words(*min)
        ),
        Refusal::TooBig { max } => format!(
            "This file is too large. At most {} are accepted: send a photo instead of a scan, or a smaller one.",
            size_words(*max)
        ),
        Refusal::UnknownType => "This is not a photo or document that can be accepted. Send a JPEG, a PNG or a PDF.".to_owned(),
        Refusal::NotAccepted { found } => format!("A {} is not accepted here. Take a photo instead.", found.label()),
        Refusal::DeclaredMismatch { found, .. } => format!(
            "The name says one thing, but the file is a {}. Choose it again, or take a new photo.",
            found.label()
        ),
        Refusal::Truncated => "The file is cut off. Open it to see whether it is whole, then send it again.".to_owned(),
        Refusal::Damaged(_) => "The file is damaged and cannot be opened. Take a new photo, or save it again.".to_owned(),
        Refusal::PasswordProtected => "This PDF is protected with a password. Save it without one, or send a photo.".to_owned(),
        Refusal::ActiveContent(_) => "This PDF contains a program or an attachment. Print it to a new PDF, or send a photo.".to_owned(),
        Refusal::Disguised(_) => "This file is also another kind of file. Take a photo of the document instead.".to_owned(),
        Refusal::TooManyPixels { .. } => "The picture is too large. Take it with the normal camera setting.".to_owned(),
        Refusal::TooFewPixels { .. } => "The picture is too small to read. Take a larger photo.".to_owned(),
        Refusal::TooManyPages { max } => format!("The PDF has more than {max} pages. Send only the pages that are needed."),
        Refusal::Animated => "This picture moves. Take a normal photo.".to_owned(),
    }
}

fn moment(at: OffsetDateTime) -> Markup {
    let words = at
        .format(format_description!(
            "[day padding:none] [month repr:long] [year], [hour]:[minute] UTC"
        ))
        .unwrap_or_default();
    html! { time datetime=(rfc3339(at).unwrap_or_default()) { (words) } }
}

fn when(at: OffsetDateTime) -> Markup {
    let words = at
        .format(format_description!("[day padding:none] [month repr:long] [year]"))
        .unwrap_or_default();
    html! { time datetime=(rfc3339(at).unwrap_or_default()) data-day="" { (words) } }
}

fn days(keep: time::Duration) -> String {
    match (keep.whole_days(), keep.whole_hours()) {
        (1, _) => "one day".to_owned(),
        (0, 1) => "one hour".to_owned(),
        (0, 0) => format!("{} minutes", keep.whole_minutes().max(1)),
        (0, hours) => format!("{hours} hours"),
        (days, _) => format!("{days} days"),
    }
}
