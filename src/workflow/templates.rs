//! The company's own words for messages: which there are, and keeping or dropping one. Nothing personal stands in a template, so it is kept in the open.

use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::document::DocumentKind;
use crate::domain::message::Template;

use super::{Portal, WorkflowError};

pub(crate) async fn all(portal: &Portal) -> Result<Vec<Template>, WorkflowError> {
    Ok(portal.outbox.templates().await?)
}

/// For one kind, or with `None` the one for every kind; only where the company has worded it.
pub(crate) async fn own(portal: &Portal, document: Option<&DocumentKind>, language: &str) -> Result<Option<Template>, WorkflowError> {
    Ok(portal.outbox.template(document, language).await?)
}

/// The company's own words for this kind, else for every kind.
pub(crate) async fn fitting(portal: &Portal, document: &DocumentKind, language: &str) -> Result<Option<Template>, WorkflowError> {
    match own(portal, Some(document), language).await? {
        Some(own) => Ok(Some(own)),
        None => own(portal, None, language).await,
    }
}

pub(crate) async fn keep(portal: &Portal, template: Template) -> Result<(), WorkflowError> {
    let event = event(
        portal,
        template.changed_by,
        AuditAction::TemplateChanged,
        template.document.as_ref(),
        &template.language,
    );
    Ok(portal.outbox.keep_template(template, event).await?)
}

/// Back to the built-in words.
pub(crate) async fn drop(portal: &Portal, document: Option<&DocumentKind>, language: &str, by: Actor) -> Result<(), WorkflowError> {
    let event = event(portal, by, AuditAction::TemplateDropped, document, language);
    portal.outbox.drop_template(document, language, event).await?;
    Ok(())
}

fn event(portal: &Portal, by: Actor, action: AuditAction, document: Option<&DocumentKind>, language: &str) -> AuditEvent {
    AuditEvent::new(portal.now(), by, action)
        .with("document", document.map_or("every", DocumentKind::as_str))
        .with("language", language)
}
