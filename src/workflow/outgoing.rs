//! Telling others: the company's systems by webhooks, applicants and agents by mail.
//!
//! [`announce`] reads the audit log behind its mark and queues what each entry calls for; [`dispatcher`] sends what is due. Both are steps that the worker repeats, and
//! both can die at any point: a change is announced at least once, in its order, and no mail's secret outlives its purpose.

pub(crate) mod announce;
pub(crate) mod checkpoint;
pub(crate) mod dispatcher;
pub(crate) mod mail;
pub(crate) mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use time::{Duration, Time};
use tokio::sync::Notify;

use super::{Portal, WorkflowError};
use crate::connectors::hook::Hook;
use crate::connectors::mail::Mailer;
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::dispatch::Dispatch;
use crate::domain::id::{AgentId, DispatchId};
use crate::storage::outbox::NotificationPreferences;

/// Whom the portal tells, and how.
#[derive(Clone)]
pub struct Outgoing {
    pub hooks: BTreeMap<String, Arc<Hook>>,
    pub mailer: Option<Arc<Mailer>>,
    /// The company's name, in mails to agents.
    pub company: String,
    /// Where agents open the console, for links in what they are told.
    pub staff_url: Option<String>,
    /// When the daily digest is written, in UTC.
    pub digest_at: Time,
    pub checkpoints: Checkpoints,
    /// Hosts that an applicant may be sent back to.
    pub return_hosts: Vec<String>,
    /// Notified when something may have become due.
    pub outbox_signal: Arc<Notify>,
    pub slow: Arc<dispatcher::Slow>,
}

/// Where signed heads of the audit log go besides the webhooks that want them.
#[derive(Clone)]
pub struct Checkpoints {
    pub file: PathBuf,
    pub every: Duration,
    pub due: Arc<checkpoint::Due>,
}

impl Outgoing {
    pub fn listens(&self) -> bool {
        !self.hooks.is_empty() || self.mailer.is_some()
    }

    /// The console's address of a request.
    pub fn request_url(&self, request: crate::domain::id::RequestId) -> Option<String> {
        self.staff_url.as_ref().map(|url| format!("{url}/requests/{request}"))
    }
}

/// Before anything is announced, and when the configuration has changed.
pub(crate) async fn begin(portal: &Portal) -> Result<(), WorkflowError> {
    Ok(portal.outbox.listen(portal.outgoing.listens()).await?)
}

/// One thing of whatever is due. `false`: nothing is.
pub async fn step(portal: &Portal) -> Result<bool, WorkflowError> {
    Ok(tell(portal).await? || dispatcher::step(portal).await?)
}

/// Queues what has become due. `false`: nothing has.
pub(crate) async fn tell(portal: &Portal) -> Result<bool, WorkflowError> {
    Ok(announce::step(portal).await? || announce::digest(portal).await? || checkpoint::step(portal).await?)
}

/// Sends a webhook again that was sent or has failed. It keeps its id.
pub(crate) async fn resend(portal: &Portal, id: DispatchId, by: Actor) -> Result<Dispatch, WorkflowError> {
    let event = AuditEvent::new(portal.now(), by, AuditAction::WebhookResent).with("webhook", id);
    let again = portal.outbox.resend(id, event).await?;
    portal.outgoing.outbox_signal.notify_one();
    Ok(again)
}

/// What an agent wants to be told.
pub(crate) async fn preferences(portal: &Portal, agent: AgentId) -> Result<NotificationPreferences, WorkflowError> {
    Ok(portal.outbox.notification_preferences(agent).await?)
}

pub(crate) async fn set_preferences(portal: &Portal, agent: AgentId, wanted: NotificationPreferences) -> Result<(), WorkflowError> {
    Ok(portal.outbox.set_notification_preferences(agent, wanted).await?)
}
