//! From the audit log to what is told of it: events for webhooks, mail for agents who wish it, the end of mails that are not needed any more, and the daily digest.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::chain::chain;
use crate::connectors::hook::Style;
use crate::crypto::random;
use crate::domain::agent::{Actor, Agent, Role};
use crate::domain::audit::AuditEntry;
use crate::domain::dispatch::{Body, Channel, Dispatch, EventType, KEPT, Progress};
use crate::domain::id::{DispatchId, RequestId};
use crate::domain::outcome::Outcome;
use crate::domain::request::DocumentRequest;
use crate::storage::outbox::{AttentionKind, NotificationPreferences, OutboxCursor};
use crate::storage::{Filter, StorageError};
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, terms};

/// Entries that are looked at for one step.
const STEP: usize = 100;
/// What a digest looks ahead to.
const SOON: Duration = Duration::hours(24);
/// What a digest counts of each list, at most.
const COUNTED: usize = 100;
/// A notice to an agent is stale after this.
const NOTICE_LIFE: Duration = Duration::days(2);

/// Announces the next entries of the log.
pub(crate) async fn step(portal: &Portal) -> Result<bool, WorkflowError> {
    if !portal.outgoing.listens() {
        return Ok(false);
    }
    let from = portal.outbox.mark(OutboxCursor::Announced).await?;
    let entries = portal.audit.entries(from, STEP).await?;
    let Some(last) = entries.last() else { return Ok(false) };
    let mut dispatches = Vec::new();
    for entry in &entries {
        let Some(event) = entry.event.action.event() else { continue };
        let request = match entry.event.request {
            Some(id) => known(portal, id).await?,
            None => None,
        };
        if let Some(request) = &request {
            super::mail::drop_stale(portal, request).await?;
        }
        // What somebody wrote over in the store leaves for no receiver; the agents are still told that there is something to look at.
        let proven = request.as_ref().and_then(|request| TrustedRequest::of(portal, request).ok());
        for (name, hook) in portal.outgoing.hooks.iter().filter(|(_, hook)| hook.wants(event)) {
            let body = match hook.style {
                Style::Standard => standard(portal, event, entry, proven.as_ref())?,
                Style::Slack => slack(portal, event, entry, proven.as_ref()),
            };
            dispatches.push(to_hook(portal, name, event, entry, body)?);
        }
        if let (Some(request), Some(_)) = (&request, &portal.outgoing.mailer) {
            dispatches.extend(to_agents(portal, event, entry, request).await?);
        }
    }
    portal
        .outbox
        .advance(OutboxCursor::Announced, from, last.sequence, dispatches)
        .await?;
    Ok(true)
}

/// One row that cannot be read must not keep everything behind it untold.
async fn known(portal: &Portal, id: RequestId) -> Result<Option<DocumentRequest>, WorkflowError> {
    match portal.requests.request(id).await {
        Err(StorageError::Corrupt(why)) => {
            tracing::error!(request = %id, why = %chain(&why), "a stored request cannot be read; what happened to it is told without its details");
            Ok(None)
        }
        other => Ok(other?),
    }
}

/// A new id; drawn, because an entry may be told to many.
fn new_id(now: OffsetDateTime) -> Result<DispatchId, WorkflowError> {
    Ok(DispatchId::new(random::array()?, now))
}

fn to_hook(portal: &Portal, name: &str, event: EventType, entry: &AuditEntry, body: Value) -> Result<Dispatch, WorkflowError> {
    let now = portal.now();
    Ok(Dispatch {
        id: new_id(now)?,
        channel: Channel::Hook(name.to_owned()),
        ordering_key: entry.event.request.map_or([0; 16], |r| r.0),
        order: entry.sequence,
        kind: event.as_str().to_owned(),
        request: entry.event.request,
        generation: 0,
        created_at: now,
        give_up_at: now + KEPT,
        attempts: 0,
        fence: 0,
        last: None,
        body: Body::Event(body.to_string()),
        progress: Progress::Waiting(now),
    })
}

/// What receivers are told. The applicant does not stand in it: a receiver knows the request by its id, and by the ticket that the caller named.
fn standard(portal: &Portal, event: EventType, entry: &AuditEntry, request: Option<&TrustedRequest>) -> Result<Value, WorkflowError> {
    let mut data = json!({ "sequence": entry.sequence });
    let mut set = |name: &str, value: Value| {
        data[name] = value;
    };
    if let Some(id) = entry.event.request {
        set("request", json!(id.to_string()));
    }
    if let Some(request) = request {
        set("provider", json!(request.provider.as_str()));
        set("document", json!(request.document.as_str()));
        if let Some(ticket) = terms::opened_ticket(portal, request)? {
            set("ticket", json!(ticket));
        }
    }
    for (name, value) in &entry.event.detail {
        match name.as_str() {
            "code" => set("reason", json!({ "code": value })),
            "cause" | "receipt" | "generation" | "kind" | "head" | "hash" | "at" | "signed_by" | "signature" => set(name, json!(value)),
            _ => {}
        }
    }
    Ok(json!({ "type": event.as_str(), "timestamp": entry.event.at.format(&Rfc3339).unwrap_or_default(), "data": data }))
}

fn slack(portal: &Portal, event: EventType, entry: &AuditEntry, request: Option<&TrustedRequest>) -> Value {
    let mut text = event.sentence().to_owned();
    if let Some(request) = request {
        text.push_str(&format!(": {} · {}", label(portal, request), request.provider));
    }
    if let Some(id) = entry.event.request {
        match portal.outgoing.request_url(id) {
            Some(url) => text.push_str(&format!(" · <{url}|{id}>")),
            None => text.push_str(&format!(" · {id}")),
        }
    }
    json!({ "text": text })
}

fn label(portal: &Portal, request: &DocumentRequest) -> String {
    let entry = portal.catalogue.get(&request.document);
    entry.map_or_else(|| request.document.to_string(), |e| e.label("en").to_owned())
}

/// Whoever issued it is told, if they wish; of what a machine issued, everybody who wishes.
async fn to_agents(
    portal: &Portal,
    event: EventType,
    entry: &AuditEntry,
    request: &DocumentRequest,
) -> Result<Vec<Dispatch>, WorkflowError> {
    let wanted: fn(&NotificationPreferences) -> bool = match event {
        EventType::DocumentReceived => |w| w.arrived,
        EventType::RequestNeedsAttention | EventType::DocumentRejected | EventType::MailFailed => |w| w.attention,
        _ => return Ok(Vec::new()),
    };
    let subject = format!("{}: {}", event.sentence(), label(portal, request));
    let mut text = format!(
        "{}.\n\nDocument: {}\nProvider: {}\n",
        event.sentence(),
        label(portal, request),
        request.provider
    );
    if let Some(url) = portal.outgoing.request_url(request.id) {
        text.push_str(&format!("\n{url}\n"));
    } else {
        text.push_str(&format!("Request: {}\n", request.id));
    }
    text.push_str("\nYou asked for this in the console, under Notices.\n");
    let mut notices = Vec::new();
    for agent in portal.directory.agents().await? {
        let concerned = match request.created_by {
            Actor::Agent(id) => id == agent.id,
            _ => may_look(&agent),
        };
        if concerned
            && agent.sees(request.team.as_ref())
            && agent.disabled_at.is_none()
            && wanted(&portal.outbox.notification_preferences(agent.id).await?)
        {
            let kind = if event == EventType::DocumentReceived {
                "mail.arrived"
            } else {
                "mail.attention"
            };
            let mut notice = notice(portal, &agent, kind, &subject, &text)?;
            notice.request = entry.event.request;
            notices.push(notice);
        }
    }
    Ok(notices)
}

fn may_look(agent: &Agent) -> bool {
    agent.role != Role::Auditor
}

fn notice(portal: &Portal, agent: &Agent, kind: &str, subject: &str, text: &str) -> Result<Dispatch, WorkflowError> {
    let now = portal.now();
    let id = new_id(now)?;
    Ok(Dispatch {
        id,
        channel: Channel::Mail,
        // Mails are not kept in order: one that cannot be sent holds up no other.
        ordering_key: id.0,
        order: 0,
        kind: kind.to_owned(),
        request: None,
        generation: 0,
        created_at: now,
        give_up_at: now + NOTICE_LIFE,
        attempts: 0,
        fence: 0,
        last: None,
        body: Body::ToAgent {
            agent: agent.id,
            subject: subject.to_owned(),
            text: text.to_owned(),
        },
        progress: Progress::Waiting(now),
    })
}

/// Queues the day's digest for everybody who wishes it, once a day, and only if something waits for somebody.
pub(crate) async fn digest(portal: &Portal) -> Result<bool, WorkflowError> {
    if portal.outgoing.mailer.is_none() {
        return Ok(false);
    }
    let now = portal.now();
    let into_day = portal.outgoing.digest_at - time::Time::MIDNIGHT;
    let today = u64::try_from((now - into_day).unix_timestamp().div_euclid(86_400)).unwrap_or(0);
    let last = portal.outbox.mark(OutboxCursor::Digest).await?;
    if last >= today {
        return Ok(false);
    }
    let mut dispatches = Vec::new();
    // The first day there is begins tomorrow: a fresh portal has nothing to tell.
    if last > 0 {
        for agent in portal.directory.agents().await? {
            if agent.disabled_at.is_none()
                && may_look(&agent)
                && portal.outbox.notification_preferences(agent.id).await?.digest
                && let Some(text) = digest_text(portal, &agent, now).await?
            {
                let subject = format!("{}: what waits today", portal.outgoing.company);
                dispatches.push(notice(portal, &agent, "mail.digest", &subject, &text)?);
            }
        }
    }
    portal.outbox.advance(OutboxCursor::Digest, last, today, dispatches).await?;
    Ok(true)
}

/// What waits for this agent: requests of teams that they see.
async fn digest_text(portal: &Portal, agent: &Agent, now: OffsetDateTime) -> Result<Option<String>, WorkflowError> {
    let stopped = async |outcome| {
        let filter = Filter {
            outcome: Some(outcome),
            teams: (agent.role != Role::Admin).then(|| agent.teams.clone()),
            ..Filter::default()
        };
        Ok::<_, WorkflowError>(portal.requests.list(&filter, None, COUNTED).await?.requests.len())
    };
    let (stuck, by_hand) = (stopped(Outcome::NeedsAttention).await?, stopped(Outcome::ByHand).await?);
    let many = async |watch| {
        let found = portal.outbox.watched(watch, COUNTED).await?;
        Ok::<_, WorkflowError>(found.iter().filter(|r| agent.sees(r.team.as_ref())).count())
    };
    let (rejected, purged, expiring) = (
        many(AttentionKind::Rejected).await?,
        many(AttentionKind::PurgedBefore(now + SOON)).await?,
        many(AttentionKind::ExpiringBefore(now + SOON)).await?,
    );
    if stuck + by_hand == 0 && rejected + purged + expiring == 0 {
        return Ok(None);
    }
    let shown = |n: usize| {
        if n == COUNTED {
            format!("{COUNTED} or more")
        } else {
            n.to_string()
        }
    };
    let mut text = format!(
        "Could not be delivered, needs a decision: {}\nTo be handed over by hand: {}\nRejected by the provider, ask again: {}\nPurged within a day, undelivered: {}\nLinks that expire within a day, unused: {}\n",
        shown(stuck),
        shown(by_hand),
        shown(rejected),
        shown(purged),
        shown(expiring)
    );
    if let Some(url) = &portal.outgoing.staff_url {
        text.push_str(&format!("\n{url}/\n"));
    }
    text.push_str("\nYou asked for this in the console, under Notices.\n");
    Ok(Some(text))
}
