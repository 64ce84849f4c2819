//! The request: this document, for this applicant, at this provider. One aggregate, changed only by [`super::transition`].

use time::{Duration, OffsetDateTime};

use super::agent::{Actor, Team};
use super::delivery::{BY_HAND, ConfirmAt, Delivery, DeliveryProblem, PassedOn, Phase, PurgeCause};
use super::document::{
    Document, DocumentKind, PartName, PartSpec, PictureLimits, ProviderName, SealedText, SearchWord, SlotRef, StoredPart,
};
use super::id::{AgentId, DocumentId, RequestId};
use super::link::{COMMIT_GRACE, LinkState, RESUME_WITHIN, UploadLink};

/// While bytes may be on their way to the provider, a purge waits this long for a clear outcome.
pub const SENDING_GRACE: Duration = Duration::minutes(15);

/// Notes that a request holds at most, since they are part of its row.
pub const NOTES_MAX: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRequest {
    pub id: RequestId,
    pub created_at: OffsetDateTime,
    pub created_by: Actor,
    /// Whose request it is: of the team of whoever issued it.
    pub team: Option<Team>,
    pub provider: ProviderName,
    pub applicant: SealedText,
    /// Keyed index of the applicant reference, for look-ups without opening anything.
    pub applicant_index: [u8; 32],
    /// Further words that it is found by: beginnings of the applicant reference, and the ticket.
    pub search_words: Vec<SearchWord>,
    /// The help desk's case, sealed.
    pub ticket: Option<SealedText>,
    pub document: DocumentKind,
    /// One or two parts, in the order in which they are asked for and sent.
    pub parts: Vec<PartSpec>,
    /// BCP 47 tag of the applicant's language, when the agent knows it.
    pub locale: Option<String>,
    pub message: Option<SealedText>,
    pub metadata: Option<SealedText>,
    /// Where the applicant goes on after the drop.
    pub return_url: Option<SealedText>,
    /// Undelivered documents are purged this long after receipt.
    pub keep: Duration,
    /// The row itself is forgotten this long after it came to rest.
    pub forget_after: Duration,
    pub confirm: ConfirmAt,
    pub link: UploadLink,
    /// MAC over [`DocumentRequest::terms`]: a writer of the store alone cannot widen, extend or redirect a request.
    pub terms_mac: [u8; 32],
    /// What is on its way in and durable, or to be destroyed.
    pub intakes: Vec<Intake>,
    pub stage: Stage,
    pub lease: Option<Lease>,
    /// Grows with every lease; a worker whose fence is not the current one has lost its work.
    pub fence: u64,
    /// The lease under which what is given up is destroyed: its own, since a provider that hangs holds the other one for minutes.
    pub cleanup: Cleanup,
    /// What was purged before, oldest first. A request may be asked again after a rejection.
    pub tombstones: Vec<Tombstone>,
    /// What agents wrote to one another about it, oldest first.
    pub notes: Vec<Note>,
    /// Who was asked to see to it. Whether that account still works on it is decided at reading: accounts end, and requests stay.
    pub assigned: Option<AgentId>,
}

/// Of the team, for the team: the applicant and the provider never see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub by: Actor,
    pub at: OffsetDateTime,
    /// Sealed to the request, the author and the time.
    pub text: SealedText,
}

/// Something on its way in, with an erasure secret and chunks of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intake {
    pub document: DocumentId,
    pub slot: SlotRef,
    pub started_at: OffsetDateTime,
    pub kind: IntakeKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntakeKind {
    /// The finished parts of a document that is not complete yet, sealed like any received one.
    Partial {
        finished: Vec<FinishedPart>,
        touched_at: OffsetDateTime,
    },
    /// One part that goes on over several connections, as it came.
    Resumable { staged: StagedPart, touched_at: OffsetDateTime },
    /// To be destroyed, secret first, and then forgotten.
    Discarding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedPart {
    pub part: StoredPart,
    /// Bytes that its sender sent.
    pub length: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedPart {
    pub part: PartName,
    /// Bytes that it will have.
    pub length: u64,
    /// Bytes that are durable.
    pub offset: u64,
    /// The box of crypto::staging; only its visitor and the portal together can open it.
    pub state: Vec<u8>,
}

impl Intake {
    pub fn staged(&self) -> Option<&StagedPart> {
        match &self.kind {
            IntakeKind::Resumable { staged, .. } => Some(staged),
            IntakeKind::Partial { .. } | IntakeKind::Discarding => None,
        }
    }

    pub(super) fn staged_mut(&mut self) -> Option<&mut StagedPart> {
        match &mut self.kind {
            IntakeKind::Resumable { staged, .. } => Some(staged),
            IntakeKind::Partial { .. } | IntakeKind::Discarding => None,
        }
    }

    pub fn finished(&self) -> &[FinishedPart] {
        match &self.kind {
            IntakeKind::Partial { finished, .. } => finished,
            IntakeKind::Resumable { .. } | IntakeKind::Discarding => &[],
        }
    }

    /// `None` when it holds no finished parts and never will.
    pub(super) fn finished_mut(&mut self) -> Option<&mut Vec<FinishedPart>> {
        match &mut self.kind {
            IntakeKind::Partial { finished, .. } => Some(finished),
            IntakeKind::Resumable { .. } | IntakeKind::Discarding => None,
        }
    }

    /// Notes that something of the submission came.
    pub(super) fn touch(&mut self, now: OffsetDateTime) {
        match &mut self.kind {
            IntakeKind::Partial { touched_at, .. } | IntakeKind::Resumable { touched_at, .. } => *touched_at = now,
            IntakeKind::Discarding => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub fence: u64,
    pub until: OffsetDateTime,
}

/// Who destroys what is given up: at most one task at a time, and only the newest one may say that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// Grows with every lease.
    pub fence: u64,
    /// While it is leased; also the pause after a failure.
    pub until: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is held: the link waits, has expired or was revoked.
    Open { expiry_noted: bool },
    /// A complete submission is held.
    Held {
        document: Document,
        delivery: Delivery,
        purge_requested: bool,
    },
    /// Being destroyed. Nothing may be sent any more.
    Purging {
        document: Document,
        cause: PurgeCause,
        passed_on: PassedOn,
        since: OffsetDateTime,
    },
    /// Gone; the last tombstone says how.
    Purged,
}

/// What stays of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub document: DocumentId,
    pub cause: PurgeCause,
    pub passed_on: PassedOn,
    pub parts: Vec<String>,
    pub received_at: OffsetDateTime,
    pub purged_at: OffsetDateTime,
    /// Number of the deletion receipt.
    pub receipt: u64,
    /// Generation of the link that brought it.
    pub generation: u32,
    /// As in [`Document::receiver`]: an answer may be lost, and asked for again after the purge.
    pub receiver: Option<[u8; 32]>,
    /// As in [`Document::lengths`].
    pub lengths: Vec<u64>,
}

/// Whom the next step of a request may wait for. What is due stands in one queue for each, so that nothing waits behind what waits for somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkQueue<'a> {
    /// The portal's own: expiries, purges, forgetting.
    Portal,
    /// The provider is sent the document, or asked about it.
    Provider(&'a ProviderName),
}

/// The state's name, as pages, API and metrics say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestState {
    Awaiting,
    Receiving,
    Received,
    Forwarding,
    AwaitingConfirmation,
    NeedsAttention,
    Confirmed,
    Rejected,
    Purging,
    Purged,
    Expired,
    Revoked,
}

impl RequestState {
    pub const ALL: [RequestState; 12] = [
        Self::Awaiting,
        Self::Receiving,
        Self::Received,
        Self::Forwarding,
        Self::AwaitingConfirmation,
        Self::NeedsAttention,
        Self::Confirmed,
        Self::Rejected,
        Self::Purging,
        Self::Purged,
        Self::Expired,
        Self::Revoked,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::Receiving => "receiving",
            Self::Received => "received",
            Self::Forwarding => "forwarding",
            Self::AwaitingConfirmation => "awaiting_confirmation",
            Self::NeedsAttention => "needs_attention",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Purging => "purging",
            Self::Purged => "purged",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl DocumentRequest {
    /// It waits for a person to hand it over, because its provider is served by hand: work to do, and no failure.
    pub fn waits_for_hand(&self) -> bool {
        let phase = self.held().map(|(_, delivery)| &delivery.phase);
        matches!(phase, Some(Phase::NeedsAttention { problem, .. }) if problem.code == BY_HAND)
    }

    /// The state at an instant. *Expired* is computed here and never waited for.
    pub fn state(&self, now: OffsetDateTime) -> RequestState {
        match &self.stage {
            Stage::Open { .. } => match self.link_state(now) {
                LinkState::Revoked => RequestState::Revoked,
                _ if self.is_receiving() => RequestState::Receiving,
                LinkState::Expired => RequestState::Expired,
                LinkState::Active | LinkState::Locked => RequestState::Awaiting,
            },
            Stage::Held { delivery, .. } => match &delivery.phase {
                Phase::Pending { .. } if delivery.attempts == 0 => RequestState::Received,
                Phase::Pending { .. } | Phase::Sending { .. } | Phase::Uncertain { .. } => RequestState::Forwarding,
                Phase::AwaitingConfirmation { .. } => RequestState::AwaitingConfirmation,
                Phase::NeedsAttention { .. } => RequestState::NeedsAttention,
            },
            Stage::Purging { cause, .. } => match cause {
                PurgeCause::Confirmed => RequestState::Confirmed,
                PurgeCause::Rejected(_) => RequestState::Rejected,
                PurgeCause::Deadline | PurgeCause::Agent | PurgeCause::Lost | PurgeCause::Infected => RequestState::Purging,
            },
            Stage::Purged => RequestState::Purged,
        }
    }

    /// The present link at an instant. An expiry that was noted is final, whatever the instant: only an agent extends or reissues.
    pub fn link_state(&self, now: OffsetDateTime) -> LinkState {
        match (&self.stage, self.link.state(now)) {
            (Stage::Open { expiry_noted: true }, LinkState::Active | LinkState::Locked) => LinkState::Expired,
            (_, state) => state,
        }
    }

    /// The state as far as it does not depend on the time: what lists are kept by. A link past its time rests as *awaiting* until the worker has noted it.
    pub fn resting_state(&self) -> RequestState {
        match &self.stage {
            Stage::Open { .. } if self.link.revoked_at.is_some() => RequestState::Revoked,
            Stage::Open { .. } if self.is_receiving() => RequestState::Receiving,
            Stage::Open { expiry_noted: true } => RequestState::Expired,
            Stage::Open { .. } => RequestState::Awaiting,
            Stage::Held { .. } | Stage::Purging { .. } | Stage::Purged => self.state(self.created_at),
        }
    }

    /// When something on its way in must be looked at by whoever destroys; `None` when nothing ends by time.
    pub fn cleanup_at(&self) -> Option<OffsetDateTime> {
        let end = self.intakes.iter().map(|r| self.ends_at(r)).min()?;
        Some(self.cleanup.until.unwrap_or(end))
    }

    /// When the worker must look at this request next; `None` when time changes nothing about it any more, or only after what is on its way in has ended.
    pub fn due_at(&self) -> Option<OffsetDateTime> {
        self.due().into_iter().map(|(_, at)| at).min()
    }

    /// The same for each queue. A held document stands in two: its retention ends when it ends, however long its provider keeps the others before it waiting.
    pub fn due(&self) -> Vec<(WorkQueue<'_>, OffsetDateTime)> {
        let leased = self.lease.map(|lease| lease.until);
        let Stage::Held {
            document,
            delivery,
            purge_requested: false,
        } = &self.stage
        else {
            let own = leased.or_else(|| self.own_step_at());
            return own.map(|at| (WorkQueue::Portal, at)).into_iter().collect();
        };
        let end = deadline(document, delivery);
        let Some(step) = delivery.phase.step_at() else {
            return vec![(WorkQueue::Portal, leased.unwrap_or(end))];
        };
        let step = leased.unwrap_or(step.min(end));
        if self.confirm == ConfirmAt::Received && matches!(delivery.phase, Phase::AwaitingConfirmation { .. }) {
            // The provider's receipt is enough, and only the purge is left.
            return vec![(WorkQueue::Portal, step)];
        }
        vec![
            (WorkQueue::Provider(&self.provider), step),
            (WorkQueue::Portal, leased.map_or(end, |until| until.max(end))),
        ]
    }

    /// Whether the next step may have to wait for the provider.
    pub fn may_wait_for_provider(&self) -> bool {
        self.due().iter().any(|(queue, _)| matches!(queue, WorkQueue::Provider(_)))
    }

    /// When the next step is due that nobody but the portal is needed for, where no delivery goes on.
    fn own_step_at(&self) -> Option<OffsetDateTime> {
        match &self.stage {
            Stage::Open { expiry_noted } => {
                if !*expiry_noted {
                    return Some(self.link.expires_at);
                }
                let forget = self.link.expires_at + self.forget_after;
                self.intakes.is_empty().then_some(forget)
            }
            Stage::Held { document, .. } => Some(document.received_at),
            Stage::Purging { since, .. } => Some(*since),
            Stage::Purged if !self.intakes.is_empty() => None,
            Stage::Purged => self.tombstones.last().map(|t| t.purged_at + self.forget_after),
        }
    }

    pub(super) fn is_receiving(&self) -> bool {
        self.intakes.iter().any(|r| r.kind != IntakeKind::Discarding)
    }

    /// When something on its way in must be destroyed if nothing more comes.
    pub fn ends_at(&self, intake: &Intake) -> OffsetDateTime {
        match &intake.kind {
            IntakeKind::Discarding => intake.started_at,
            IntakeKind::Partial { touched_at, .. } | IntakeKind::Resumable { touched_at, .. } => {
                (*touched_at + RESUME_WITHIN).min(self.link.expires_at + COMMIT_GRACE)
            }
        }
    }

    /// The document that holds finished parts and is not complete, if there is one.
    pub fn partial(&self) -> Option<&Intake> {
        self.intakes.iter().find(|r| matches!(r.kind, IntakeKind::Partial { .. }))
    }

    /// The finished part of this name, while the drop is not complete.
    pub fn finished(&self, part: &PartName) -> Option<&FinishedPart> {
        self.partial()?.finished().iter().find(|f| f.part.name == *part)
    }

    /// References of every receipt that was given for what came by this request, oldest first: whoever holds one may read it out long after the document is gone.
    pub fn receipt_references(&self) -> impl DoubleEndedIterator<Item = String> + '_ {
        let purged = self.tombstones.iter().map(|stone| stone.document);
        let received = purged.chain(self.document().map(|document| document.id));
        received.map(|document| document.receipt_reference())
    }

    /// The unfinished upload of this part.
    pub fn staging(&self, part: &PartName) -> Option<(&Intake, &StagedPart)> {
        self.intakes
            .iter()
            .filter_map(|r| Some((r, r.staged()?)))
            .find(|(_, staged)| staged.part == *part)
    }

    /// Whether the row itself is past its time, whoever holds its lease. Not while it owns something that is still to be destroyed.
    pub fn must_forget(&self, now: OffsetDateTime) -> bool {
        if !self.intakes.is_empty() {
            return false;
        }
        match &self.stage {
            Stage::Open { expiry_noted: true } => now >= self.link.expires_at + self.forget_after,
            Stage::Purged => self.tombstones.last().is_none_or(|t| now >= t.purged_at + self.forget_after),
            Stage::Open { .. } | Stage::Held { .. } | Stage::Purging { .. } => false,
        }
    }

    /// Whether the retention deadline calls for a purge. While the outcome of an attempt is unknown, the provider may be asked until [`SENDING_GRACE`] is over.
    pub fn past_deadline(&self, now: OffsetDateTime) -> bool {
        matches!(&self.stage, Stage::Held { document, .. } if now >= document.purge_at)
    }

    pub fn held(&self) -> Option<(&Document, &Delivery)> {
        match &self.stage {
            Stage::Held { document, delivery, .. } => Some((document, delivery)),
            Stage::Open { .. } | Stage::Purging { .. } | Stage::Purged => None,
        }
    }

    /// Why the provider did not accept what came before, while the present link asks for it again.
    pub fn rejected_before(&self) -> Option<&DeliveryProblem> {
        match (&self.stage, self.tombstones.last().map(|t| &t.cause)) {
            (Stage::Open { .. }, Some(PurgeCause::Rejected(problem))) => Some(problem),
            _ => None,
        }
    }

    /// The submission whose bytes still exist, held or being purged.
    pub fn document(&self) -> Option<&Document> {
        match &self.stage {
            Stage::Held { document, .. } | Stage::Purging { document, .. } => Some(document),
            Stage::Open { .. } | Stage::Purged => None,
        }
    }

    /// Canonical bytes of everything that a writer of the store must not be able to change unnoticed: target, limits, expiry, owner, way back.
    /// Every field has its length before it and lists their count, so no two requests have the same bytes.
    pub fn terms(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        let mut field = |data: &[u8]| {
            bytes.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(data);
        };
        field(&self.id.0);
        field(self.provider.as_str().as_bytes());
        field(&self.applicant.0);
        field(&self.applicant_index);
        field(&self.search_words.concat());
        field(self.document.as_str().as_bytes());
        field(self.created_by.to_string().as_bytes());
        field(&self.keep.whole_seconds().to_be_bytes());
        field(&[match self.confirm {
            ConfirmAt::Received => 0,
            ConfirmAt::Verdict => 1,
        }]);
        field(&self.link.hashed.0);
        field(&self.link.generation.to_be_bytes());
        // Milliseconds, the precision that every clock and every stored instant here has.
        field(&(self.link.expires_at.unix_timestamp_nanos() / 1_000_000).to_be_bytes());
        field(&self.forget_after.whole_seconds().to_be_bytes());
        let optional = |present: Option<&[u8]>| present.map_or_else(|| vec![0], |data| [&[1], data].concat());
        field(&optional(self.team.as_ref().map(|team| team.as_str().as_bytes())));
        field(&optional(self.return_url.as_ref().map(|url| &url.0[..])));
        field(&optional(self.ticket.as_ref().map(|ticket| &ticket.0[..])));
        field(&self.parts.len().to_be_bytes());
        for part in &self.parts {
            field(part.name.as_str().as_bytes());
            field(&part.min_bytes.to_be_bytes());
            field(&part.max_bytes.to_be_bytes());
            let PictureLimits {
                min_bytes,
                min_side,
                max_side,
            } = part.pictures;
            field(&min_bytes.to_be_bytes());
            field(&min_side.to_be_bytes());
            field(&max_side.to_be_bytes());
            field(&part.accepted.len().to_be_bytes());
            for accepted in &part.accepted {
                field(accepted.mime().as_bytes());
            }
        }
        bytes
    }
}

/// The instant at which a held document is looked at for its retention, whatever its delivery waits for.
fn deadline(document: &Document, delivery: &Delivery) -> OffsetDateTime {
    match delivery.phase {
        Phase::Sending { .. } | Phase::Uncertain { .. } => document.purge_at + SENDING_GRACE,
        Phase::Pending { .. } | Phase::AwaitingConfirmation { .. } | Phase::NeedsAttention { .. } => document.purge_at,
    }
}
