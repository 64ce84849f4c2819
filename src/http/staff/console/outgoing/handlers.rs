//! What was told to others, and sending it again; and what an agent wants to be told.

use actix_web::{HttpRequest, web};

use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::id::DispatchId;
use crate::http::AppState;
use crate::http::extract::query::{Query, write_cursor};
use crate::http::error::Problem;
use crate::http::staff::console::outgoing::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::auth::{Csrf, SignedIn};
use crate::http::staff::permission::{Admin, Read};
use crate::storage::outbox::NotificationPreferences;

use crate::http::extract::form::Form;
use crate::http::staff::console::{Page, html, see};

const PAGE: usize = 50;

pub(crate) async fn list(who: SignedIn<Admin>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let query = Query::of(&request, &["cursor", "done"])?;
    let page = state.portal.outbox.dispatches(None, query.cursor(&state.portal)?, PAGE).await?;
    let next = page.next.map(|c| write_cursor(&state.portal, c)).transpose()?;
    Ok(html(pages::list(&who.agent, &state, &page.dispatches, next, Notice::of(&request))))
}

pub(crate) async fn resend(_: Csrf, who: SignedIn<Admin>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let missing = || Problem::not_found("There is nothing to send again.");
    let id = DispatchId::parse(&id).ok_or_else(missing)?;
    let event = AuditEvent::new(state.portal.now(), who.actor(), AuditAction::WebhookResent).with("webhook", id);
    state.portal.outbox.resend(id, event).await?;
    state.portal.outgoing.outbox_signal.notify_one();
    Ok(see("/admin/outgoing?done=resent"))
}

pub(crate) async fn notices(who: SignedIn<Read>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    let preferences = state.portal.outbox.notification_preferences(who.agent.id).await?;
    Ok(html(pages::notices(&who.agent, &state, preferences, Notice::of(&request))))
}

pub(crate) async fn set_notices(
    _: Csrf,
    who: SignedIn<Read>,
    state: web::Data<AppState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let form = Form::read(&request, payload).await?;
    let preferences = NotificationPreferences {
        arrived: form.ticked("arrived"),
        attention: form.ticked("attention"),
        digest: form.ticked("digest"),
    };
    state.portal.outbox.set_notification_preferences(who.agent.id, preferences).await?;
    Ok(see("/notices?done=notices"))
}
