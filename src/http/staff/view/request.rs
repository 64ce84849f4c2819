//! What the API shows of a request. Never a token, a byte or a file name; the applicant's reference is opened for callers who may see it, and stands in answers only.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::delivery::{Delivery, DeliveryProblem, Phase, PurgeCause};
use crate::domain::link::LinkState;
use crate::domain::request::{DocumentRequest, Stage, Tombstone};
use crate::http::staff::shapes::{
    ActorText, AgentIdText, ApplicantText, AuditActionWord, DeliveryPhaseWord, DocumentKindText, HashText, LabelText, LinkStateWord,
    LocaleText, MediaTypeWord, NoteText, OutcomeWord, PartNameText, PassedOnWord, ProviderNameText, ReceiptReferenceText, RequestIdText,
    RequestStateWord, TicketText,
};
use crate::workflow::assignment::{Assignee, Person};
use crate::workflow::notes::OpenedNote;
use crate::workflow::query::requests::{Detail, Row};

/// RFC 3339 in UTC.
pub(crate) fn instant(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}

/// One request.
#[derive(Serialize, ToSchema)]
pub(crate) struct Request {
    #[schema(value_type = RequestIdText)]
    pub id: String,
    /// awaiting, receiving, received, forwarding, awaiting_confirmation, needs_attention, confirmed, rejected, purging, purged, expired or revoked.
    #[schema(value_type = RequestStateWord)]
    pub state: &'static str,
    #[schema(value_type = ProviderNameText)]
    pub provider: String,
    /// The provider's own id of the person. Absent when the stored row cannot be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ApplicantText>)]
    pub applicant: Option<String>,
    #[schema(value_type = DocumentKindText)]
    pub document: String,
    pub parts: Vec<Part>,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Id of an agent or API key, or `operator`.
    #[schema(value_type = ActorText)]
    pub created_by: String,
    /// Who sees to it; absent where nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned: Option<AssigneeView>,
    /// Nobody sees to it any more: this one did, and was disabled, deleted or moved to another team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly_assigned: Option<AssigneeView>,
    #[schema(format = DateTime)]
    pub expires_at: String,
    pub link: Link,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LocaleText>)]
    pub locale: Option<String>,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryView>,
    /// What has become of it: in_progress, needs_attention, confirmed, rejected, unconfirmed (purged at its deadline, and the provider has it), undelivered (purged at
    /// its deadline), infected, purged_by_agent, withdrawn, link_expired or lost.
    #[schema(value_type = OutcomeWord)]
    pub outcome: &'static str,
    /// The help desk's case that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TicketText>)]
    pub ticket: Option<String>,
    /// The reference on the applicant's newest receipt.
    #[schema(value_type = Option<ReceiptReferenceText>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_reference: Option<String>,
    /// Whether the purged document had reached the provider: `yes`, `no` or `unknown`.
    #[schema(value_type = Option<PassedOnWord>)]
    pub passed_on: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<ProblemView>,
    /// The retention deadline of what is held.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<String>,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged_at: Option<String>,
    /// Number of the newest deletion receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_number: Option<u64>,
    /// What was attached when it was issued. In the answer about one request only.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// What agents wrote to one another, oldest first. In the answer about one request only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<Vec<NoteView>>,
    /// In the answer about one request only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Vec<Moment>>,
}

/// An agent to whom a request is assigned.
#[derive(Serialize, ToSchema)]
#[schema(as = Assignee)]
pub(crate) struct AssigneeView {
    #[schema(value_type = AgentIdText)]
    pub id: String,
    #[schema(value_type = LabelText)]
    pub name: String,
}

impl AssigneeView {
    fn of(person: &Person) -> Self {
        Self {
            id: person.id.to_string(),
            name: person.name.clone(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Part {
    #[schema(value_type = PartNameText)]
    pub name: String,
    /// Media types.
    #[schema(value_type = Vec<MediaTypeWord>)]
    pub accepted: Vec<&'static str>,
    pub min_bytes: u64,
    /// Of a picture, where that is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_picture_bytes: Option<u64>,
    pub max_bytes: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Link {
    /// 1 for the first link, counted up by every reissue.
    pub generation: u32,
    #[schema(format = DateTime)]
    pub issued_at: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// active, locked (out of passcode tries), expired, revoked or consumed.
    #[schema(value_type = LinkStateWord)]
    pub state: &'static str,
    /// Whether it asks for a passcode.
    pub passcode: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u8>,
    /// When somebody first acted on its page or used it. Best effort: absent also where a browser did not say so. Fetching the page, as mail scanners and chat previews
    /// do, does not count.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    /// pending, sending, uncertain, awaiting_confirmation or needs_attention.
    #[schema(value_type = DeliveryPhaseWord)]
    pub phase: &'static str,
    /// Failed attempts since the last success or human decision.
    pub attempts: u32,
    pub epoch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_problem: Option<ProblemView>,
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Reason)]
pub(crate) struct ProblemView {
    /// Stable, for machines.
    pub code: String,
    /// One sentence with what to do.
    pub text: String,
}

/// A note for colleagues; neither the applicant nor the provider sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = RequestNote)]
pub(crate) struct NoteView {
    #[schema(format = DateTime)]
    pub at: String,
    #[schema(value_type = ActorText)]
    pub author: String,
    /// Absent when the stored note was changed outside the portal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NoteText>)]
    pub text: Option<String>,
}

/// One audited thing that happened to a request.
#[derive(Serialize, ToSchema)]
pub struct Moment {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    /// A stable word such as `link.issued`.
    #[serde(serialize_with = "action_text")]
    #[schema(value_type = AuditActionWord)]
    pub action: AuditAction,
    #[schema(value_type = ActorText)]
    pub actor: String,
    pub detail: BTreeMap<String, String>,
}

/// An entry of the audit log.
#[derive(Serialize, ToSchema)]
#[schema(as = Entry)]
pub struct EntryView {
    #[serde(flatten)]
    pub moment: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RequestIdText>)]
    pub request: Option<String>,
    /// The canonical line that is chained.
    pub line: String,
    /// SHA-256("nightdrop/v1/audit" ‖ 00 ‖ hash of the entry before ‖ line), hex.
    #[schema(value_type = HashText)]
    pub hash: String,
}

/// A request without what costs more reads.
pub(crate) fn request(row: &Row, now: OffsetDateTime) -> Request {
    let request = &row.request;
    let last = request.tombstones.last();
    let ended = matches!(request.stage, Stage::Purged).then_some(last).flatten();
    let cause = match &request.stage {
        Stage::Purging { cause, .. } => Some(cause),
        _ => ended.map(|t| &t.cause),
    };
    Request {
        id: request.id.to_string(),
        state: request.state(now).as_str(),
        provider: request.provider.to_string(),
        applicant: row.applicant.clone(),
        document: request.document.to_string(),
        parts: request.parts.iter().map(part).collect(),
        created_at: instant(request.created_at),
        created_by: request.created_by.to_string(),
        assigned: row.assignee.agent().map(AssigneeView::of),
        formerly_assigned: match &row.assignee {
            Assignee::Formerly(person) => Some(AssigneeView::of(person)),
            Assignee::Nobody | Assignee::Agent(_) => None,
        },
        expires_at: instant(request.link.expires_at),
        link: link(request, now),
        locale: request.locale.clone(),
        received_at: request
            .document()
            .map(|d| d.received_at)
            .or(ended.map(|t| t.received_at))
            .map(instant),
        delivery: request.held().map(|(_, d)| delivery(d)),
        outcome: request.outcome(now).as_str(),
        ticket: row.ticket.clone(),
        receipt_reference: request.receipt_references().next_back(),
        passed_on: last.map(|t: &Tombstone| t.passed_on.as_str()),
        rejection: cause.and_then(rejection),
        purge_at: request.held().map(|(d, _)| instant(d.purge_at)),
        purged_at: ended.map(|t| instant(t.purged_at)),
        receipt_number: last.map(|t: &Tombstone| t.receipt),
        metadata: None,
        notes: None,
        timeline: None,
    }
}

/// A request with everything.
pub(crate) fn detail(detail: &Detail) -> Request {
    let mut shown = request(&detail.row, detail.now);
    shown.metadata = detail.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok());
    shown.notes = Some(detail.notes.iter().map(note).collect());
    shown.timeline = Some(detail.timeline.iter().map(moment).collect());
    shown
}

fn note(note: &OpenedNote) -> NoteView {
    NoteView {
        at: instant(note.at),
        author: note.by.to_string(),
        text: note.text.clone(),
    }
}

/// The domain type has no JSON form of its own.
fn action_text<S: serde::Serializer>(action: &AuditAction, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(action.as_str())
}

pub(crate) fn moment(entry: &AuditEntry) -> Moment {
    Moment {
        sequence: entry.sequence,
        at: instant(entry.event.at),
        action: entry.event.action,
        actor: entry.event.actor.to_string(),
        detail: entry.event.detail.iter().cloned().collect(),
    }
}

pub fn entry(entry: &AuditEntry) -> EntryView {
    EntryView {
        moment: moment(entry),
        request: entry.event.request.map(|r| r.to_string()),
        line: crate::domain::audit::canonical(entry.sequence, &entry.event),
        hash: HEXLOWER.encode(&entry.hash),
    }
}

fn part(part: &crate::domain::document::PartSpec) -> Part {
    Part {
        name: part.name.to_string(),
        accepted: part.accepted.iter().map(|t| t.mime()).collect(),
        min_bytes: part.min_bytes,
        min_picture_bytes: Some(part.pictures.min_bytes).filter(|least| *least > part.min_bytes),
        max_bytes: part.max_bytes,
    }
}

fn link(request: &DocumentRequest, now: OffsetDateTime) -> Link {
    let state = match (&request.stage, request.link_state(now)) {
        (Stage::Open { .. }, LinkState::Active) => "active",
        (Stage::Open { .. }, LinkState::Locked) => "locked",
        (Stage::Open { .. }, LinkState::Expired) => "expired",
        (Stage::Open { .. }, LinkState::Revoked) => "revoked",
        _ => "consumed",
    };
    Link {
        generation: request.link.generation,
        issued_at: instant(request.link.issued_at),
        expires_at: instant(request.link.expires_at),
        state,
        passcode: request.link.passcode.is_some(),
        tries_left: request.link.passcode.as_ref().map(|p| p.tries_left),
        opened_at: request.link.opened_at.map(instant),
    }
}

pub(crate) fn delivery(delivery: &Delivery) -> DeliveryView {
    let (phase, next) = match &delivery.phase {
        Phase::Pending { not_before } => ("pending", Some(*not_before)),
        Phase::Sending { .. } => ("sending", None),
        Phase::Uncertain { check_at, .. } => ("uncertain", Some(*check_at)),
        Phase::AwaitingConfirmation { poll_at, .. } => ("awaiting_confirmation", Some(*poll_at)),
        Phase::NeedsAttention { .. } => ("needs_attention", None),
    };
    DeliveryView {
        phase,
        attempts: delivery.attempts,
        epoch: delivery.epoch,
        last_problem: delivery.last_problem.as_ref().map(problem),
        next_attempt_at: next.map(instant),
    }
}

fn rejection(cause: &PurgeCause) -> Option<ProblemView> {
    if let PurgeCause::Rejected(reason) = cause {
        Some(problem(reason))
    } else {
        None
    }
}

fn problem(problem: &DeliveryProblem) -> ProblemView {
    ProblemView {
        code: problem.code.clone(),
        text: problem.text.clone(),
    }
}
