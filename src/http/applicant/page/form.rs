//! The form: who asks and why, one step for each part, what happens next.
//!
//! Without a script each step is two file inputs and the form has one button. The script of `assets/upload.js` turns on what is `hidden` here:
//! the preview with its question, and, where the server offers tus, sending each part as soon as it is accepted.

use maud::{Markup, html};
use serde_json::json;

use crate::domain::document::{FileType, PartSpec};
use crate::domain::request::DocumentRequest;
use crate::http::error::Problem;
use crate::words::Words;
use crate::workflow::Portal;
use crate::workflow::catalogue::{Camera, Example};
use crate::workflow::intake::OpenedLink;
use crate::workflow::terms;

use crate::http::assets::spoken::{DESKTOP_JS, PHOTO_JS, SEND_JS};

use super::example::examples;
use super::{Frame, PAGES, View, day, document_label, frame, host, moment, own_words, part_label, plain, sentence};

/// The form. `problem`: what was wrong with the last try, and at which part.
pub fn form(view: &View<'_>, link: &OpenedLink, problem: Option<(&Problem, Option<&str>)>) -> Markup {
    let (request, words) = (&link.request, view.context.words);
    let label = document_label(view.portal, request, words);
    let note = terms::opened_message(view.portal, request).ok().flatten();
    let at_part = problem.and_then(|(_, part)| part);
    let open = request.parts.len() - view.resumable.stored.len().min(request.parts.len());
    let send = words.say(if open > 1 { "send-all" } else { "send" });
    let body = html! {
        h1 { (sentence(words.say("send-title"), &[("document", plain(&label))])) }
        @if let Some((problem, None)) = problem { div.problem role="alert" tabindex="-1" id="problem" { (problem.detail) } }
        @if is_a_test(view, request) { p.test { (words.say("only-a-test")) } }
        (who_asks(view, request))
        @if let Some(before) = request.rejected_before() {
            p.rejected { (words.say("message.again")) " " strong { (words.rejection(&before.code)) } }
        }
        @if let Some(note) = note {
            figure {
                figcaption.quiet { (sentence(words.say("note"), &[("company", view.context.company_name())])) }
                blockquote dir="auto" { (note) }
            }
        }
        (on_a_phone(view, request))
        form method="post" action=(view.context.address("")) enctype="multipart/form-data" data-words=(script_words(words, send)) data-photos=(PHOTO_JS.url(words)) data-sender=(SEND_JS.url(words)) data-desktop=(DESKTOP_JS.url(words)) data-tus=[view.resumable.offered.then_some("")] {
            (examples(example(view, request), words))
            // A side that is here comes first: with the one that is missing the document is complete, and what comes behind is not read.
            @for (i, part) in stored_first(view, request) {
                (step(view, request, i, problem.filter(|_| at_part == Some(part.name.as_str())).map(|(p, _)| p), part))
            }
            p.status id="status" role="status" {}
            button.send type="submit" { (send) }
        }
        (what_happens_next(view, request))
    };
    frame(&view.context, &label, Frame::Living, body)
}

/// A sandbox takes documents as a provider does, and nobody looks at them: whoever got such a link must not send a real one.
fn is_a_test(view: &View<'_>, request: &DocumentRequest) -> bool {
    let connector = view.portal.providers.get(&request.provider);
    connector.is_some_and(|connector| connector.profile().kind == "sandbox")
}

/// The facts that a wary context compares, as a list: labels agree with every company's name in every language.
fn who_asks(view: &View<'_>, request: &DocumentRequest) -> Markup {
    let words = view.context.words;
    html! {
        dl.facts {
            dt { (words.say("asked-by")) } dd { (view.context.company_name()) }
            dt { (words.say("asked-on")) } dd { (day(request.link.issued_at, words)) }
            @if let Some(purpose) = view.context.company.purpose_in(words) { dt { (words.say("why")) } dd.why dir="auto" { (purpose) } }
            dt { (words.say("you-are-on")) } dd { (host(view.host)) }
            dt { (words.say("valid-until")) } dd { (moment(request.link.expires_at, words)) }
        }
    }
}

/// The parts with their numbers, those that have arrived before the others.
fn stored_first<'a>(view: &View<'_>, request: &'a DocumentRequest) -> Vec<(usize, &'a PartSpec)> {
    let mut parts: Vec<_> = request.parts.iter().enumerate().collect();
    parts.sort_by_key(|(_, part)| !view.resumable.stored.iter().any(|s| s == part.name.as_str()));
    parts
}

fn step(view: &View<'_>, request: &DocumentRequest, index: usize, problem: Option<&Problem>, part: &PartSpec) -> Markup {
    let (words, parts) = (view.context.words, request.parts.len());
    let name = part.name.as_str();
    let stored = view.resumable.stored.iter().any(|s| s == name);
    let title = format!("{name}-title");
    // Scaled photos are JPEGs.
    let scales = part.accepted.contains(&FileType::Jpeg);
    let side = |pixels: u32| (scales && pixels > 0).then_some(pixels);
    let (least, least_photo) = (part.least(FileType::Pdf), part.least(FileType::Jpeg));
    let said = |least: u64| (least > 1).then(|| words.least_size(least));
    html! {
        fieldset data-part=(name) aria-describedby=[(!stored && instructions(view, request).is_some()).then(|| format!("{name}-about"))]
            data-most=(part.max_bytes) data-size=(words.size(part.max_bytes)) data-least=(least) data-size-least=[said(least)]
            data-least-photo=(least_photo) data-size-least-photo=[said(least_photo)] data-stored=[stored.then_some("")]
            data-types=(labels(part, " ")) data-scales=[scales.then_some("")] data-min-side=[side(part.pictures.min_side)] data-max-side=[side(part.pictures.max_side)] {
            legend id=(title) {
                @if parts > 1 { small { (words.fill("step", &[("count", &(index + 1).to_string()), ("total", &parts.to_string())])) } " " }
                (part_label(view.portal, request, name, words))
            }
            @if let Some(problem) = problem { p.problem id={ (name) "-error" } role="alert" tabindex="-1" { (problem.detail) } }
            @if stored {
                p.stored { "✓ " (words.say("stored")) }
                details open[problem.is_some()] { summary { (words.say("change")) } (inputs(view, request, part, problem.is_some())) }
            } @else {
                @if let Some(text) = instructions(view, request) { p.about id={ (name) "-about" } dir="auto" { (text) } }
                (inputs(view, request, part, problem.is_some()))
            }
            (preview(words, name))
            p.status role="status" {}
        }
    }
}

/// What is good to know before the photo is taken: of the kind of document, in the company's words where it has its own.
fn instructions<'a>(view: &View<'a>, request: &DocumentRequest) -> Option<&'a str> {
    view.portal.catalogue.get(&request.document)?.instruction(view.context.words.tag)
}

/// Two inputs, because `capture` hides the gallery and `accept` by extension fails in the browsers inside other apps. A third one for the photos of several pages.
fn inputs(view: &View<'_>, request: &DocumentRequest, part: &PartSpec, problem: bool) -> Markup {
    let (words, name, camera) = (view.context.words, part.name.as_str(), camera(view, request));
    let pages = view.portal.catalogue.takes_photos_as_pages(&request.document, part);
    let all: Vec<&str> = part.accepted.iter().map(|t| t.mime()).collect();
    let photos: Vec<&str> = all.iter().copied().filter(|m| m.starts_with("image/")).collect();
    let described = if problem {
        format!("{name}-error {name}-hint")
    } else {
        format!("{name}-hint")
    };
    let input = |key: &str, accept: String, capture: Option<&str>| {
        let id = format!("{name}-{key}");
        html! {
            label {
                span id=(id) { (words.say(key)) }
                input type="file" name=(name) accept=(accept) capture=[capture] aria-labelledby={ (name) "-title " (id) } aria-describedby=(described) aria-invalid=[problem.then_some("true")];
            }
        }
    };
    html! {
        p.quiet id={ (name) "-hint" } { (limits(words, part)) }
        div.choose {
            @if !photos.is_empty() { (input("take-photo", photos.join(","), Some(camera.capture()))) }
            (input("choose-file", all.join(","), None))
            @if pages {
                label {
                    span id={ (name) "-pages" } data-more=(words.say("add-page")) { (words.say("photo-pages")) }
                    input type="file" multiple name={ (name) (PAGES) } accept="image/jpeg,image/png" aria-labelledby={ (name) "-title " (name) "-pages" } aria-describedby=(described);
                }
            }
        }
    }
}

/// The camera that takes such a document; documents that the catalogue does not know any more lie on a table.
fn camera(view: &View<'_>, request: &DocumentRequest) -> Camera {
    let entry = view.portal.catalogue.get(&request.document);
    entry.map_or(Camera::Back, |entry| entry.camera)
}

/// What the photo is drawn as; nothing where no photo is taken.
fn example(view: &View<'_>, request: &DocumentRequest) -> Example {
    let photos = request.parts.iter().any(|part| part.accepted.iter().any(|t| *t != FileType::Pdf));
    let entry = view.portal.catalogue.get(&request.document).filter(|_| photos);
    entry.map_or(Example::None, |entry| entry.example)
}

/// The way to a camera for whoever reads this on a desktop: the stylesheet shows it there alone, and only there the picture is loaded.
fn on_a_phone(view: &View<'_>, request: &DocumentRequest) -> Markup {
    let (words, here) = (view.context.words, view.context.here.as_deref().unwrap_or_default());
    html! {
        div.phone {
            img src={ (here) "/qr.svg" } width="160" height="160" loading="lazy" alt=(words.say("phone-qr"));
            div {
                h2 { (words.say("phone-title")) }
                p { (words.say("phone-how")) @if request.link.passcode.is_some() { " " (words.say("phone-code")) } }
            }
        }
    }
}

/// What the script shows once something is chosen.
fn preview(words: &Words, name: &str) -> Markup {
    let label = format!("{name}-title");
    html! {
        div.preview hidden {
            button.zoom type="button" aria-label=(words.say("enlarge")) hidden { img alt=(words.say("preview-alt")); }
            p.warning role="status" {}
            p.file hidden {}
            p.ask tabindex="-1" { span.smaller {} strong { (words.say("can-you-read")) } }
            button.use type="button" aria-describedby=(label) data-file=(words.say("use-file")) { (words.say("use-photo")) }
            button.again type="button" aria-describedby=(label) data-file=(words.say("choose-again")) { (words.say("take-again")) }
        }
        div.way hidden {
            p.state tabindex="-1" {}
            progress max="100" value="0" aria-labelledby=(label) {}
            button.change type="button" aria-describedby=(label) { (words.say("change")) }
        }
    }
}

/// What the part takes, by the names that applicants read.
fn labels(part: &PartSpec, between: &str) -> String {
    part.accepted.iter().map(|t| t.label()).collect::<Vec<_>>().join(between)
}

fn limits(words: &Words, part: &PartSpec) -> String {
    let types = labels(part, words.say("comma"));
    let of_every = part.accepted.iter().map(|t| part.least(*t)).min().unwrap_or(part.min_bytes);
    let of_photos = part.least(FileType::Jpeg);
    let (least, most) = (words.least_size(of_every), words.size(part.max_bytes));
    let every = if of_every > 1 {
        words.fill("limits-from", &[("types", &types), ("least", &least), ("most", &most)])
    } else {
        words.fill("limits", &[("types", &types), ("most", &most)])
    };
    if of_photos > of_every && part.accepted.iter().any(|t| *t != FileType::Pdf) {
        words.fill("limits-photos", &[("limits", &every), ("least", &words.least_size(of_photos))])
    } else {
        every
    }
}

fn what_happens_next(view: &View<'_>, request: &DocumentRequest) -> Markup {
    let words = view.context.words;
    let company = || own_words(&view.context.company.name);
    let sealed = if by_hand(view.portal, request) {
        "next-by-hand"
    } else {
        "next-sealed"
    };
    html! {
        h2 { (words.say("next-title")) }
        ol {
            li { (sentence(words.say(sealed), &[("company", company())])) }
            li { (words.fill("next-destroyed", &[("period", &words.period(request.keep))])) }
            li { (words.say("next-receipt")) }
        }
    }
}

/// A `manual` provider's documents are opened once by a person: then the page must not promise otherwise.
fn by_hand(portal: &Portal, request: &DocumentRequest) -> bool {
    portal.providers.get(&request.provider).is_some_and(|p| p.profile().by_hand)
}

/// What the script says, in the page's language: the script itself knows none.
fn script_words(words: &Words, send: &str) -> String {
    json!({
        "ready": words.say("ready"),
        "stored": words.say("stored"),
        "retrying": words.say("retrying"),
        "failed": words.fill("step-failed", &[("button", send)]),
        "unreadable": words.say("unreadable"),
    })
    .to_string()
}
