//! What was told to others, and sending it again; and what an agent wants to be told.

use actix_web::{HttpRequest, web};

use crate::domain::id::DispatchId;
use crate::http::context::State;
use crate::http::error::Problem;
use crate::http::extract::form::{Typed, keeps};
use crate::http::extract::query::Query;
use crate::http::staff::auth::{Get, Post};
use crate::http::staff::console::outgoing::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, html, see};
use crate::http::staff::permission::{Admin, Read};
use crate::storage::outbox::NotificationPreferences;
use crate::workflow::outgoing;
use crate::workflow::query::outgoing::{receivers, sent};

keeps! {
    /// Of what somebody wants to be told by mail.
    NoticeFields: "arrived" "attention" "digest";
}

const PAGE: usize = 50;

pub(crate) async fn list(Get { who, .. }: Get<Admin>, state: State, request: HttpRequest, done: Option<Notice>) -> Page {
    let cursor = Query::read(&request, &["cursor", "done"], |query| Ok(query.text("cursor")))?;
    let sent = sent(&state.portal, None, cursor.as_deref(), PAGE).await?;
    let now = state.portal.now();
    Ok(html(pages::list(&who.agent, &receivers(&state.portal), &sent, now, done)))
}

pub(crate) async fn resend(Post { who, .. }: Post<Admin>, state: State, id: web::Path<String>) -> Page {
    let id = DispatchId::parse(&id).ok_or_else(|| Problem::not_found("There is nothing to send again."))?;
    outgoing::resend(&state.portal, id, who.actor()).await?;
    Ok(see("/admin/outgoing?done=resent"))
}

pub(crate) async fn notices(Get { who, .. }: Get<Read>, state: State, done: Option<Notice>) -> Page {
    let preferences = outgoing::preferences(&state.portal, who.agent.id).await?;
    Ok(html(pages::notices(&who.agent, &receivers(&state.portal), preferences, done)))
}

pub(crate) async fn set_notices(Post { who, with: form }: Post<Read, Typed<NoticeFields>>, state: State) -> Page {
    let wanted = NotificationPreferences {
        arrived: form.ticked("arrived"),
        attention: form.ticked("attention"),
        digest: form.ticked("digest"),
    };
    outgoing::set_preferences(&state.portal, who.agent.id, wanted).await?;
    Ok(see("/notices?done=notices"))
}
