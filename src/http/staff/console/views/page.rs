//! The lists of requests that an agent gave a name: as links above the list, and a page on which names are changed.

use maud::{Markup, html};

use crate::domain::agent::Agent;
use crate::domain::saved_view::{SavedView, VIEW_NAME};
use crate::http::error::Problem;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::requests::page::fields_of;
use crate::http::staff::console::widgets::{Field, Input, Notice, notice, refusal};
use crate::http::staff::input::Search;

/// What the page shows.
pub(crate) struct ViewsPage<'a> {
    pub agent: &'a Agent,
    pub views: &'a [SavedView],
    /// A view that could not be saved: its name, and what the list is cut down to.
    pub unsaved: Option<(&'a str, &'a Search)>,
    /// A view that could not be renamed, and the name that was typed.
    pub wrong: Option<(&'a str, &'a str)>,
    pub done: Option<Notice>,
    pub problem: Option<&'a Problem>,
}

pub(crate) fn list(page: &ViewsPage<'_>) -> Markup {
    let body = html! {
        p.crumbs { a href="/requests" { "Requests" } }
        h1 { "Saved views" }
        (notice(page.done))
        (refusal(page.problem))
        @if let Some((name, search)) = page.unsaved {
            form.card.narrow method="post" action="/requests/views" {
                @for (field, value) in fields_of(search) { input type="hidden" name=(field) value=(value); }
                (Field::new("name", "Save the list as").input("text", name, page.problem, named()))
                div.actions { button.primary { "Save" } }
            }
        }
        @if page.views.is_empty() { p.empty { "No list has a name yet. Choose a filter above the requests, and give the list a name below it." } }
        @for (n, view) in page.views.iter().enumerate() {
            @let wrong = page.wrong.filter(|(from, _)| *from == view.name);
            form.card.narrow method="post" action="/requests/views/change" {
                input type="hidden" name="from" value=(view.name);
                (Field::new("name", "Name").id(&format!("view-{n}")).input("text", wrong.map_or(view.name.as_str(), |(_, typed)| typed), page.problem.filter(|_| wrong.is_some()), named()))
                div.actions {
                    button.plain name="act" value="rename" { "Rename" span.hidden { " " (view.name) } }
                    button.plain name="act" value="delete" { "Delete" span.hidden { " " (view.name) } }
                    a href={ "/requests?" (view.filter) } { "Show" span.hidden { " " (view.name) } }
                }
            }
        }
    };
    frame::page(page.agent, Place::Requests, "Saved views", body)
}

fn named() -> Input<'static> {
    Input {
        longest: Some(VIEW_NAME),
        ..Input::default()
    }
}
