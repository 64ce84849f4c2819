//! The company's own words for messages: which there are, and one form with a preview. Nothing personal stands in a template, so it is kept in the open.

use actix_web::{HttpRequest, web};

use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::document::DocumentKind;
use crate::domain::message::{Template, faults};
use crate::http::AppState;
use crate::http::staff::link_message::label;
use crate::http::extract::query::{Query, wrong};
use crate::http::error::Problem;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::messages::page as pages;
use crate::http::staff::auth::{Csrf, SignedIn};
use crate::http::staff::permission::{Admin};
use crate::words::{self, Words};
use crate::workflow::message::{self, Message};

use crate::http::extract::form::Form;
use crate::http::staff::console::{Page, html, html_of, see};

pub(crate) async fn list(who: SignedIn<Admin>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let own = state.portal.outbox.templates().await?;
    Ok(html(pages::list(&who.agent, &state, &own, Notice::of(&request))))
}

/// Which template: a kind of the catalogue or all of them, in a language of the pages.
pub(crate) struct Which {
    pub document: Option<DocumentKind>,
    pub words: &'static Words,
}

impl Which {
    fn of(state: &AppState, document: &str, language: &str) -> Result<Self, Problem> {
        let kind = match document {
            "" => None,
            name => Some(
                DocumentKind::parse(name)
                    .filter(|kind| state.portal.catalogue.get(kind).is_some())
                    .ok_or_else(|| wrong("document", "a key of the document catalogue, or empty"))?,
            ),
        };
        let words = words::LANGUAGES
            .iter()
            .find(|w| w.tag == language)
            .ok_or_else(|| wrong("language", "a language that the pages speak"))?;
        Ok(Self { document: kind, words })
    }

    pub(crate) fn label<'a>(&'a self, state: &'a AppState) -> &'a str {
        self.document
            .as_ref()
            .map_or("Every document", |kind| label(&state.portal, kind, "en"))
    }
}

pub(crate) async fn form(who: SignedIn<Admin>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let query = Query::of(&request, &["document", "language"])?;
    let which = Which::of(
        &state,
        query.text("document").unwrap_or_default(),
        query.text("language").unwrap_or("en"),
    )?;
    let own = state.portal.outbox.template(which.document.as_ref(), which.words.tag).await?;
    let (subject, body) = match &own {
        Some(own) => (own.subject.clone(), own.body.clone()),
        None => message::default_texts(which.words),
    };
    let preview = preview(&state, &which, &subject, &body, who.actor());
    Ok(html(pages::form(
        &who.agent,
        &state,
        &which,
        own.as_ref(),
        (&subject, &body),
        Some(&preview),
        None,
    )))
}

/// Preview, save or drop, by the button that was pressed.
pub(crate) async fn keep(_: Csrf, who: SignedIn<Admin>, state: web::Data<AppState>, request: HttpRequest, payload: web::Payload) -> Page {
    let form = Form::read(&request, payload).await?;
    let which = Which::of(&state, form.text("document"), form.text("language"))?;
    let portal = &state.portal;
    let event = |action| {
        AuditEvent::new(portal.now(), who.actor(), action)
            .with("document", which.document.as_ref().map_or("every", DocumentKind::as_str))
            .with("language", which.words.tag)
    };
    if form.text("do") == "drop" {
        let event = event(AuditAction::TemplateDropped);
        portal.outbox.drop_template(which.document.as_ref(), which.words.tag, event).await?;
        return Ok(see("/admin/messages?done=template-dropped"));
    }
    let (subject, body) = (form.text("subject").to_owned(), form.text("body").replace("\r\n", "\n"));
    let wrong = faults(&subject, &body);
    let own = portal.outbox.template(which.document.as_ref(), which.words.tag).await?;
    if !wrong.is_empty() {
        let problem = wrong
            .into_iter()
            .fold(Problem::invalid("The message cannot be used like this."), |p, (field, fix)| {
                p.field(field, fix)
            });
        let page = pages::form(&who.agent, &state, &which, own.as_ref(), (&subject, &body), None, Some(&problem));
        return Ok(html_of(&problem, page));
    }
    if form.text("do") == "save" {
        let template = template(&which, &subject, &body, portal.now(), who.actor());
        portal.outbox.keep_template(template, event(AuditAction::TemplateChanged)).await?;
        return Ok(see("/admin/messages?done=template"));
    }
    let preview = preview(&state, &which, &subject, &body, who.actor());
    Ok(html(pages::form(
        &who.agent,
        &state,
        &which,
        own.as_ref(),
        (&subject, &body),
        Some(&preview),
        None,
    )))
}

fn template(which: &Which, subject: &str, body: &str, now: time::OffsetDateTime, by: Actor) -> Template {
    Template {
        document: which.document.clone(),
        language: which.words.tag.to_owned(),
        subject: subject.to_owned(),
        body: body.to_owned(),
        changed_at: now,
        changed_by: by,
    }
}

/// As an applicant would get it, with everything in it that may be.
fn preview(state: &AppState, which: &Which, subject: &str, body: &str, by: Actor) -> Message {
    let now = state.portal.now();
    let portal = &state.portal.policy.public_url;
    let url = format!("{portal}/d/…");
    let first = state.portal.catalogue.iter().next().map(|entry| &entry.kind);
    let kind = which.document.as_ref().or(first);
    let facts = message::Facts {
        company: &state.company.name,
        support: state.company.support.as_deref(),
        document: kind.map_or("", |kind| label(&state.portal, kind, which.words.tag)),
        url: &url,
        portal,
        expires_at: now + state.portal.policy.link,
        passcode: true,
        note: Some("…"),
        rejected: Some("document.glare"),
    };
    message::ready(&facts, which.words, Some(&template(which, subject, body, now, by)))
}
