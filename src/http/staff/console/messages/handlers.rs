//! The company's own words for messages: which there are, and one form with a preview. Nothing personal stands in a template, so it is kept in the open.

use actix_web::HttpRequest;

use crate::domain::agent::Actor;
use crate::domain::document::DocumentKind;
use crate::domain::message::{Template, faults};
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::{Typed, keeps};
use crate::http::extract::query::Query;
use crate::http::staff::auth::{Get, Post, SignedIn};
use crate::http::staff::console::messages::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, html, html_of, see};
use crate::http::staff::permission::Admin;
use crate::words::{self, Words};
use crate::workflow::message::{self, Message};
use crate::workflow::templates;

keeps! {
    /// Of a message in the company's own words.
    TemplateFields: "document" "language" "subject" "body" "do";
}

const EVERY: &str = "Every document";

pub(crate) async fn list(Get { who, .. }: Get<Admin>, state: State, done: Option<Notice>) -> Page {
    let catalogue = &state.portal.catalogue;
    let own = templates::all(&state.portal).await?.into_iter().map(|template| pages::TemplateRow {
        kind: template.document.as_ref().map(ToString::to_string).unwrap_or_default(),
        label: template
            .document
            .as_ref()
            .map_or(EVERY, |kind| catalogue.label(kind, "en"))
            .to_owned(),
        template,
    });
    let kinds = catalogue.iter().map(|entry| (entry.kind.to_string(), entry.label("en").to_owned()));
    let kinds: Vec<_> = [(String::new(), EVERY.to_owned())].into_iter().chain(kinds).collect();
    Ok(html(pages::list(
        &who.agent,
        &own.collect::<Vec<_>>(),
        &kinds,
        state.portal.now(),
        done,
    )))
}

/// Which template: a kind of the catalogue or all of them, in a language of the pages.
struct Which {
    document: Option<DocumentKind>,
    words: &'static Words,
}

impl Which {
    fn of(state: &AppState, document: &str, language: &str) -> Result<Self, Problem> {
        let known = |name: &str| DocumentKind::parse(name).filter(|kind| state.portal.catalogue.get(kind).is_some());
        let document = match document {
            "" => None,
            name => Some(known(name).ok_or_else(|| Problem::field_must("document", "a key of the document catalogue, or empty"))?),
        };
        let words = words::LANGUAGES
            .iter()
            .find(|w| w.tag == language)
            .ok_or_else(|| Problem::field_must("language", "a language that the pages speak"))?;
        Ok(Self { document, words })
    }

    fn template(&self, (subject, body): (&str, &str), state: &AppState, by: Actor) -> Template {
        Template {
            document: self.document.clone(),
            language: self.words.tag.to_owned(),
            subject: subject.to_owned(),
            body: body.to_owned(),
            changed_at: state.portal.now(),
            changed_by: by,
        }
    }
}

pub(crate) async fn form(Get { who, .. }: Get<Admin>, state: State, request: HttpRequest) -> Page {
    let (document, language) = Query::read(&request, &["document", "language"], |query| {
        Ok((query.text("document"), query.text("language")))
    })?;
    let which = Which::of(&state, &document.unwrap_or_default(), language.as_deref().unwrap_or("en"))?;
    let own = templates::own(&state.portal, which.document.as_ref(), which.words.tag).await?;
    let (subject, body) = match &own {
        Some(own) => (own.subject.clone(), own.body.clone()),
        None => message::default_texts(which.words),
    };
    Ok(html(form_page(&who, &state, &which, own.is_some(), (&subject, &body), None)))
}

/// With a preview, unless something is wrong.
fn form_page(
    who: &SignedIn<Admin>,
    state: &AppState,
    which: &Which,
    own: bool,
    typed: (&str, &str),
    problem: Option<&Problem>,
) -> maud::Markup {
    let kind = which.document.as_ref();
    pages::form(&pages::TemplatePage {
        agent: &who.agent,
        kind: kind.map_or("", DocumentKind::as_str),
        label: kind.map_or(EVERY, |kind| state.portal.catalogue.label(kind, "en")),
        words: which.words,
        own,
        subject: typed.0,
        body: typed.1,
        preview: problem
            .is_none()
            .then(|| preview(state, which, &which.template(typed, state, who.actor()))),
        problem,
    })
}

/// Preview, save or drop, by the button that was pressed.
pub(crate) async fn keep(Post { who, with: form }: Post<Admin, Typed<TemplateFields>>, state: State) -> Page {
    let which = Which::of(&state, form.text("document"), form.text("language"))?;
    let kind = which.document.as_ref();
    if form.text("do") == "drop" {
        templates::drop(&state.portal, kind, which.words.tag, who.actor()).await?;
        return Ok(see("/admin/messages?done=template-dropped"));
    }
    let (subject, body) = (form.text("subject"), form.text("body").replace("\r\n", "\n"));
    let wrong = faults(subject, &body);
    if wrong.is_empty() && form.text("do") == "save" {
        templates::keep(&state.portal, which.template((subject, &body), &state, who.actor())).await?;
        return Ok(see("/admin/messages?done=template"));
    }
    let own = templates::own(&state.portal, kind, which.words.tag).await?.is_some();
    if wrong.is_empty() {
        return Ok(html(form_page(&who, &state, &which, own, (subject, &body), None)));
    }
    let problem = Problem::invalid("The message cannot be used like this.");
    let problem = wrong.into_iter().fold(problem, |problem, (field, fix)| problem.field(field, fix));
    Ok(html_of(
        &problem,
        form_page(&who, &state, &which, own, (subject, &body), Some(&problem)),
    ))
}

/// As an applicant would get it, with everything in it that may be.
fn preview(state: &AppState, which: &Which, template: &Template) -> Message {
    let portal = &state.portal;
    let first = portal.catalogue.iter().next().map(|entry| &entry.kind);
    let kind = which.document.as_ref().or(first);
    let facts = message::Facts {
        company: &state.company.name,
        support: state.company.support.as_deref(),
        document: kind.map_or("", |kind| portal.catalogue.label(kind, which.words.tag)),
        url: &format!("{}/d/…", portal.policy.public_url),
        portal: &portal.policy.public_url,
        expires_at: portal.now() + portal.policy.link,
        passcode: true,
        note: Some("…"),
        rejected: Some("document.glare"),
    };
    message::ready(&facts, which.words, Some(template))
}
