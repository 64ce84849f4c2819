//! What was told to others: the log of webhooks and mails, and who would be told.

use time::Time;

use super::cursor;
use crate::domain::dispatch::Dispatch;
use crate::domain::id::RequestId;
use crate::domain::list_order::ListOrder;
use crate::workflow::{Portal, WorkflowError};

/// A page of the log, newest first.
pub(crate) struct DispatchLog {
    pub dispatches: Vec<Dispatch>,
    pub next: Option<String>,
}

/// `of`: those about one request.
pub(crate) async fn sent(portal: &Portal, of: Option<RequestId>, after: Option<&str>, limit: usize) -> Result<DispatchLog, WorkflowError> {
    let after = after.map(|text| cursor::read(portal, ListOrder::Newest, text)).transpose()?;
    let page = portal.outbox.dispatches(of, after, limit).await?;
    Ok(DispatchLog {
        dispatches: page.dispatches,
        next: page.next.map(|next| cursor::write(portal, ListOrder::Newest, next)).transpose()?,
    })
}

/// Whom the configuration names.
pub(crate) struct Receivers {
    pub mail: bool,
    pub hooks: Vec<String>,
    pub digest_at: Time,
}

pub(crate) fn receivers(portal: &Portal) -> Receivers {
    Receivers {
        mail: portal.outgoing.mailer.is_some(),
        hooks: portal.outgoing.hooks.keys().cloned().collect(),
        digest_at: portal.outgoing.digest_at,
    }
}
