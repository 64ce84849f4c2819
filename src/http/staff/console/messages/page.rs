//! Message templates: the list of languages and kinds, and the form with its preview.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::Agent;
use crate::domain::message::{BODY_MAX, PLACEHOLDERS, SUBJECT_MAX, Template};
use crate::http::error::Problem;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::spans::Choice;
use crate::http::staff::console::widgets::{Field, Input, Notice, ago, notice, refusal, tabs};
use crate::words::{self, Words};
use crate::workflow::message::Message;

/// A template in a list: of which kind and in which language.
pub(crate) struct TemplateRow {
    /// Empty: for every kind.
    pub kind: String,
    pub label: String,
    pub template: Template,
}

/// `kinds`: those of the catalogue.
pub(crate) fn list(agent: &Agent, own: &[TemplateRow], kinds: &[Choice], now: OffsetDateTime, done: Option<Notice>) -> Markup {
    let languages: Vec<_> = words::LANGUAGES.iter().map(|w| (w.tag.to_owned(), w.name.to_owned())).collect();
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
                    tbody { @for TemplateRow { kind, label, template } in own {
                        tr {
                            td.head { a href={ "/admin/messages/edit?document=" (kind) "&language=" (template.language) } {
                                (label)
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
            (Field::new("document", "Document").hint("A message for every document is used where a kind has none of its own.").select(kinds, "", None))
            (Field::new("language", "Language").select(&languages, "en", None))
            div.actions { button.primary { "Open" } }
        }
    };
    frame::page(agent, Place::Admin, "Messages", body)
}

/// One message being worded.
pub(crate) struct TemplatePage<'a> {
    pub agent: &'a Agent,
    /// Empty: for every kind.
    pub kind: &'a str,
    pub label: &'a str,
    pub words: &'static Words,
    /// The company has worded it already.
    pub own: bool,
    pub subject: &'a str,
    pub body: &'a str,
    pub preview: Option<Message>,
    pub problem: Option<&'a Problem>,
}

pub(crate) fn form(page: &TemplatePage<'_>) -> Markup {
    let (words, problem) = (page.words, page.problem);
    let body = html! {
        p.crumbs { a href="/admin/messages" { "Messages" } }
        h1 { (page.label) " · " span lang=(words.tag) { (words.name) } }
        (refusal(problem))
        div.columns {
            form.card method="post" action="/admin/messages/edit" {
                input type="hidden" name="document" value=(page.kind);
                input type="hidden" name="language" value=(words.tag);
                (Field::new("subject", "Subject").input("text", page.subject, problem, Input { longest: Some(SUBJECT_MAX), ..Input::default() }))
                (Field::new("body", "Text").hint("No personal data, please: this text is kept unsealed and is the same for every applicant.").with(problem, |described, wrong| html! {
                    textarea.message id="body" name="body" rows="20" maxlength=(BODY_MAX) required lang=(words.tag) dir=(words.direction)
                        aria-describedby=(described) aria-invalid=[wrong] { "\n" (page.body) }
                }))
                div.actions {
                    button.plain name="do" value="preview" { "Preview" }
                    button.primary name="do" value="save" { "Save" }
                    @if page.own { button.danger name="do" value="drop" formnovalidate { "Back to the built-in message" } }
                }
            }
            div {
                @if let Some(preview) = &page.preview {
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
    frame::page(page.agent, Place::Admin, "Word a message", body)
}
