//! Message templates: the list of languages and kinds, and the form with its preview.

use maud::{Markup, html};

use crate::http::staff::console::admin::page::tabs;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::widgets::{Field, Input, Notice, ago, notice, refusal};
use crate::domain::agent::Agent;
use crate::domain::message::{BODY_MAX, PLACEHOLDERS, SUBJECT_MAX, Template};
use crate::http::AppState;
use crate::http::staff::link_message::label;
use crate::http::staff::console::messages::handlers::Which;
use crate::http::error::Problem;
use crate::words;
use crate::workflow::message::Message;

pub(crate) fn list(agent: &Agent, state: &AppState, own: &[Template], done: Option<Notice>) -> Markup {
    let mut kinds = vec![(String::new(), "Every document".to_owned())];
    kinds.extend(
        state
            .portal
            .catalogue
            .iter()
            .map(|entry| (entry.kind.to_string(), entry.label("en").to_owned())),
    );
    let languages: Vec<_> = words::LANGUAGES.iter().map(|w| (w.tag.to_owned(), w.name.to_owned())).collect();
    let now = state.portal.now();
    let body = html! {
        h1 { "Admin" }
        (tabs("/admin/messages"))
        (notice(done))
        p.lead { "The messages that go out with a link are built in, in twelve languages. Here you can word them yourself." }
        section.card {
            h2 { "Your own messages" }
            @if own.is_empty() { p.empty { "None. Applicants get the built-in messages." } } @else {
                table.rows {
                    thead { tr { th scope="col" { "Document" } th scope="col" { "Language" } th scope="col" { "Subject" } th scope="col" { "Changed" } } }
                    tbody { @for template in own {
                        @let kind = template.document.as_ref().map_or("", |k| k.as_str());
                        tr {
                            td.head { a href={ "/admin/messages/edit?document=" (kind) "&language=" (template.language) } {
                                @match &template.document { Some(kind) => (label(&state.portal, kind, "en")), None => "Every document" }
                            } }
                            td data-label="Language" { (words::of(&template.language).map_or("", |w| w.name)) }
                            td data-label="Subject" { (template.subject) }
                            td data-label="Changed" { (ago(template.changed_at, now)) }
                        }
                    } }
                }
            }
        }
        form.card.narrow method="get" action="/admin/messages/edit" {
            h2 { "Word a message" }
            (Field::new("document", "Document").hint("A message for every document is used where a kind has none of its own.").select(&kinds, "", None))
            (Field::new("language", "Language").select(&languages, "en", None))
            div.actions { button.primary { "Open" } }
        }
    };
    frame::page(agent, Place::Admin, "Messages", body)
}

pub(crate) fn form(
    agent: &Agent,
    state: &AppState,
    which: &Which,
    own: Option<&Template>,
    typed: (&str, &str),
    preview: Option<&Message>,
    problem: Option<&Problem>,
) -> Markup {
    let words = which.words;
    let body = html! {
        p.crumbs { a href="/admin/messages" { "Messages" } }
        h1 { (which.label(state)) " · " span lang=(words.tag) { (words.name) } }
        (refusal(problem))
        div.columns {
            form.card method="post" action="/admin/messages/edit" {
                input type="hidden" name="document" value=(which.document.as_ref().map_or("", |k| k.as_str()));
                input type="hidden" name="language" value=(words.tag);
                (Field::new("subject", "Subject").input("text", typed.0, problem, Input { longest: Some(SUBJECT_MAX), ..Input::default() }))
                (Field::new("body", "Text").hint("No personal data, please: this text is kept unsealed and is the same for every applicant.").with(problem, |described, wrong| html! {
                    textarea.message id="body" name="body" rows="20" maxlength=(BODY_MAX) required lang=(words.tag) dir=(words.direction)
                        aria-describedby=(described) aria-invalid=[wrong] { "\n" (typed.1) }
                }))
                div.actions {
                    button.plain name="do" value="preview" { "Preview" }
                    button.primary name="do" value="save" { "Save" }
                    @if own.is_some() { button.danger name="do" value="drop" formnovalidate { "Back to the built-in message" } }
                }
            }
            div {
                @if let Some(preview) = preview {
                    section.card aria-labelledby="preview" {
                        h2 id="preview" { "Preview" }
                        p { strong lang=(words.tag) dir=(words.direction) { (preview.subject) } }
                        pre.preview lang=(words.tag) dir=(words.direction) { (preview.body) }
                    }
                }
                section.card {
                    h2 { "What is filled in" }
                    dl.facts { @for (name, meaning) in PLACEHOLDERS { dt.mono { "{" (name) "}" } dd { (meaning) } } }
                    p.quiet { "A paragraph whose placeholder has nothing to say is left out." }
                }
            }
        }
    };
    frame::page(agent, Place::Admin, "Word a message", body)
}
