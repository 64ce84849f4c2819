//! The receipt: what was received, what became of it, and whether it is still here. Never a file name, never the content.
//!
//! Each outcome has its sentence, and nothing is said of a document that is not true of it any more: what is deleted is not called encrypted, what never left is
//! not called sent.

use maud::{Markup, html};

use crate::domain::received::{Deletion, DocumentOutcome, Received};
use crate::domain::request::DocumentRequest;
use crate::workflow::hosted;
use crate::workflow::trusted::TrustedRequest;

use super::{Frame, View, document_label, frame, moment, part_label, sentence};

/// The receipt of what one link brought. `None`: nothing is known of it any more but that it was received.
pub(crate) fn receipt(view: &View<'_>, request: &DocumentRequest, received: Option<&Received>) -> Markup {
    let words = view.context.words;
    let company = || view.context.company_name();
    let say = |key: &str| sentence(words.say(key), &[("company", company())]);
    let (good, title) = heading(received.map(|r| r.outcome));
    let body = html! {
        div.done[good] { h1 { (words.say(title)) } }
        @if let Some(received) = received {
            p { (say(told(received.outcome))) " " (deletion(view, received.deletion)) }
            p { (say(next(received))) }
        } @else {
            p { (say("receipt-contact")) }
        }
        dl {
            dt { (words.say("asked-by")) } dd { (company()) }
            dt { (words.say("receipt-document")) } dd { bdi { (document_label(view.portal, request, words)) } }
            @if let Some(received) = received {
                @if received.parts.len() > 1 {
                    dt { (words.say("receipt-parts")) }
                    dd { @for (i, part) in received.parts.iter().enumerate() { @if i > 0 { (words.say("comma")) } (part_label(view.portal, request, part, words)) "\u{a0}✓" } }
                }
                dt { (words.say("receipt-at")) } dd { (moment(received.received_at, words)) }
                dt { (words.say("receipt-reference")) } dd { code dir="ltr" { (received.document.receipt_reference()) } }
            }
        }
        @if received.is_none_or(|r| !r.replaced) {
            @if let Some(back) = TrustedRequest::of(view.portal, request).ok().and_then(|request| hosted::way_back(view.portal, &request, view.portal.now())) {
                p { a.button href=(back) { (words.say("receipt-go")) } }
            }
        }
    };
    frame(&view.context, words.say(title), Frame::Receipt, body)
}

/// Whether it is good news, and the title.
fn heading(outcome: Option<DocumentOutcome>) -> (bool, &'static str) {
    match outcome {
        None | Some(DocumentOutcome::Waiting | DocumentOutcome::Sent | DocumentOutcome::Confirmed) => (true, "receipt-title"),
        Some(DocumentOutcome::Rejected) => (false, "receipt-title-rejected"),
        Some(DocumentOutcome::Late | DocumentOutcome::Withdrawn | DocumentOutcome::Lost | DocumentOutcome::Infected) => {
            (false, "receipt-title-not-sent")
        }
        Some(DocumentOutcome::Unknown) => (false, "receipt-title-unclear"),
    }
}

/// The sentence for what became of it.
fn told(outcome: DocumentOutcome) -> &'static str {
    match outcome {
        DocumentOutcome::Waiting => "receipt-waiting",
        DocumentOutcome::Sent => "receipt-sent",
        DocumentOutcome::Confirmed => "receipt-confirmed",
        DocumentOutcome::Rejected => "receipt-rejected",
        DocumentOutcome::Late => "receipt-late",
        DocumentOutcome::Withdrawn => "receipt-withdrawn",
        DocumentOutcome::Lost => "receipt-lost",
        DocumentOutcome::Infected => "receipt-infected",
        DocumentOutcome::Unknown => "receipt-unclear",
    }
}

fn deletion(view: &View<'_>, deletion: Deletion) -> Markup {
    let words = view.context.words;
    let said = |key, at| sentence(words.say(key), &[("moment", moment(at, words))]);
    match deletion {
        Deletion::Until(at) => said("receipt-until", at),
        Deletion::Now => html! { (words.say("receipt-deleting")) },
        Deletion::At(at) => said("receipt-deleted", at),
    }
}

/// What the applicant can expect or do.
fn next(received: &Received) -> &'static str {
    match (received.outcome, received.replaced) {
        (DocumentOutcome::Waiting | DocumentOutcome::Sent, false) => "receipt-close",
        (DocumentOutcome::Confirmed, _) | (DocumentOutcome::Sent, true) => "receipt-contact",
        (_, true) => "receipt-new-link",
        (
            DocumentOutcome::Rejected
            | DocumentOutcome::Late
            | DocumentOutcome::Withdrawn
            | DocumentOutcome::Lost
            | DocumentOutcome::Infected
            | DocumentOutcome::Unknown,
            false,
        ) => "receipt-ask",
    }
}
