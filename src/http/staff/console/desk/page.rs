//! The part of a request's page in which colleagues speak to one another.

use maud::{Markup, html};

use crate::domain::id::RequestId;
use crate::domain::request::NOTES_MAX;
use crate::http::staff::console::widgets::{Field, when};
use crate::workflow::notes::{NOTE_MAX, OpenedNote};
use crate::workflow::query::names::Names;

/// `once`: the number of the form, for whoever may write.
pub(crate) fn notes(id: RequestId, notes: &[OpenedNote], names: &Names, once: Option<&str>) -> Markup {
    html! {
        @if notes.is_empty() && once.is_none() { p.quiet { "Nobody has written anything yet." } }
        @if !notes.is_empty() {
            ol.notes {
                @for note in notes {
                    li {
                        p.quiet { strong { (names.of_actor(&note.by.to_string())) } " " (when(note.at)) }
                        @match &note.text {
                            Some(text) => { blockquote { (text) } }
                            None => { p { span.chip.bad { "Changed outside" } } }
                        }
                    }
                }
            }
        }
        @if notes.len() >= NOTES_MAX { p.quiet { "A request holds at most " (NOTES_MAX) " notes." } }
        @else if let Some(once) = once {
            form method="post" action={ "/requests/" (id) "/notes" } {
                input type="hidden" name="once" value=(once);
                (Field::new("text", "Add a note").id("note").hint("For colleagues only, never for the applicant. It is deleted with the request.").with(None, |described, _| html! {
                    textarea id="note" name="text" rows="3" required maxlength=(NOTE_MAX) aria-describedby=(described) {}
                }))
                div.actions { button.plain { "Add the note" } }
            }
        }
    }
}
