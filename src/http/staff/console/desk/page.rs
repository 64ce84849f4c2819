//! The parts of a request's page that are for colleagues: who sees to it, and what they tell one another.

use maud::{Markup, html};

use crate::domain::agent::{Agent, Role};
use crate::domain::id::{AgentId, RequestId};
use crate::domain::request::NOTES_MAX;
use crate::http::staff::console::widgets::{Field, when};
use crate::http::staff::input::Search;
use crate::workflow::assignment::{Assignee, Person};
use crate::workflow::notes::{NOTE_MAX, OpenedNote};
use crate::workflow::query::names::Names;
use crate::workflow::query::requests::Row;

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

/// Of a cell of the exported table: empty where nobody ever had it.
pub(crate) fn assignee_words(assignee: &Assignee) -> String {
    match assignee {
        Assignee::Nobody => String::new(),
        Assignee::Formerly(person) => format!("nobody (formerly {})", person.name),
        Assignee::Agent(person) => person.name.clone(),
    }
}

pub(crate) fn assignee(assignee: &Assignee) -> Markup {
    match assignee {
        Assignee::Nobody => html! { span.quiet { "Nobody" } },
        Assignee::Formerly(person) => html! { "Nobody " span.quiet { "(formerly " (person.name) ")" } },
        Assignee::Agent(person) => html! { (person.name) },
    }
}

/// Whoever may act on it says who sees to it; the first button is for whom it is said most often, for oneself.
pub(crate) fn assignment(id: RequestId, shown: &Assignee, colleagues: &[Person], me: &Agent) -> Markup {
    let name = |person: &Person| match person.id == me.id {
        true => format!("Me, {}", person.name),
        false => person.name.clone(),
    };
    let nobody = ("none".to_owned(), "Nobody".to_owned());
    let people = colleagues.iter().map(|person| (person.id.to_string(), name(person)));
    let options: Vec<_> = std::iter::once(nobody).chain(people).collect();
    let has = shown.agent().map(|person| person.id);
    let chosen = has.map_or_else(|| "none".to_owned(), |id| id.to_string());
    html! {
        form.act method="post" action={ "/requests/" (id) "/assign" } {
            (Field::new("agent", "Assigned to").id("assigned").select(&options, &chosen, None))
            button.plain { "Assign" }
            @if has != Some(me.id) && colleagues.iter().any(|person| person.id == me.id) { " " button.plain name="take" value="me" { "Assign to me" } }
        }
    }
}

/// To whom the requests of a list can be assigned: anybody who has an account for admins; for others themselves and whom they see in it, so that no team learns who is in
/// another.
pub(crate) fn assignees(agent: &Agent, rows: &[Row], search: &Search, names: &Names) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = [("", "Anybody"), ("me", "Me"), ("none", "Nobody")]
        .map(|(value, label)| (value.to_owned(), label.to_owned()))
        .to_vec();
    let shown: Vec<String> = match agent.role {
        Role::Admin => names
            .ids()
            .filter(|id| id.starts_with(AgentId::PREFIX))
            .map(str::to_owned)
            .collect(),
        _ => rows
            .iter()
            .filter_map(|row| row.assignee.agent())
            .map(|person| person.id.to_string())
            .collect(),
    };
    for id in shown.into_iter().chain(search.assigned.clone()) {
        if !all.iter().any(|(known, _)| *known == id) {
            let name = names.of_actor(&id).to_owned();
            all.push((id, name));
        }
    }
    all
}
