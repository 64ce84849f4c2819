//! A form that could not be sent because nobody was signed in any more, after signing in again.

use maud::{Markup, html};

use crate::domain::agent::Agent;
use crate::http::staff::console::frame::{self, Place};

/// A form as it was typed.
pub(crate) struct TypedForm<'a> {
    /// Where it was sent to.
    pub path: &'a str,
    /// The page that it stands on.
    pub back: &'a str,
    pub pairs: &'a [(String, String)],
}

pub(crate) fn typed(agent: &Agent, form: &TypedForm<'_>) -> Markup {
    let shown = || {
        form.pairs
            .iter()
            .filter(|(name, value)| !value.is_empty() && !HIDDEN.contains(&name.as_str()))
    };
    let to_edit = form.path == "/requests/new";
    let body = html! {
        div.outside {
            h1 { "This was not sent yet" }
            p.notice.warn role="status" { "You had to sign in before the form could be sent. Nothing was done; what you typed is here." }
            form.card method="post" action=(form.path) {
                @for (name, value) in form.pairs { input type="hidden" name=(name) value=(value); }
                dl.facts { @for (name, value) in shown() { dt { (label(name)) } dd { (value) } } }
                div.actions {
                    @if to_edit {
                        button.primary name="prefill" value="yes" autofocus { "Back to the form" }
                    } @else {
                        button.primary autofocus { "Send it now" }
                    }
                    a.button.plain href=(form.back) { "Leave it" }
                }
            }
            p.quiet { "Passwords and codes are never kept: type them again where they are asked for." }
        }
    };
    frame::page(agent, Place::Account, "This was not sent yet", body)
}

/// What says nothing to a reader.
const HIDDEN: [&str; 4] = ["once", "cursor", "prefill", "do"];

/// A field's name as words.
fn label(name: &str) -> String {
    let words = name.replace(['_', '-'], " ");
    let mut letters = words.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
