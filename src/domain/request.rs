//! The request: this document, for this applicant, at this provider. One aggregate, changed only by [`super::transition`].

use time::{Duration, OffsetDateTime};

use super::agent::{Actor, Team};
use super::delivery::{ConfirmAt, Delivery, PassedOn, Phase, Problem, PurgeCause};
use super::document::{Document, DocumentKind, PartName, PartSpec, PictureLimits, ProviderName, SealedText, SlotRef, StoredPart};
use super::id::{DocumentId, RequestId};
use super::link::{COMMIT_GRACE, LinkState, RESUME_WITHIN, UploadLink};

/// While bytes may be on their way to the provider, a purge waits this long for a clear outcome.
pub const SENDING_GRACE: Duration = Duration::minutes(15);

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
    pub document: DocumentKind,
    /// One or two parts, in the order in which they are asked for and sent.
    pub parts: Vec<PartSpec>,
    /// BCP 47 tag of the applicant's language, when the agent knows it.
    pub locale: Option<String>,
    pub message: Option<SealedText>,
    pub metadata: Option<SealedText>,
    pub return_url: Option<String>,
    /// Undelivered documents are purged this long after receipt.
    pub keep: Duration,
    /// The row itself is forgotten this long after it came to rest.
    pub forget_after: Duration,
    pub confirm: ConfirmAt,
    pub link: UploadLink,
    /// MAC over [`DocumentRequest::terms`]: a writer of the store alone cannot widen, extend or redirect a request.
    pub terms_mac: [u8; 32],
    /// What is on its way in: streams that run now (at most [`super::link::MAX_STREAMS`]), and what waits between two connections.
    pub receivings: Vec<Receiving>,
    pub stage: Stage,
    pub lease: Option<Lease>,
    /// Grows with every lease; a worker whose fence is not the current one has lost its work.
    pub fence: u64,
    /// The lease under which what is given up is destroyed: its own, since a provider that hangs holds the other one for minutes.
    pub cleanup: Cleanup,
    /// What was purged before, oldest first. A request may be asked again after a rejection.
    pub tombstones: Vec<Tombstone>,
}

/// Something on its way in, with an erasure secret and chunks of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiving {
    pub document: DocumentId,
    pub slot: SlotRef,
    pub started_at: OffsetDateTime,
    pub how: How,
}

/// How long it lives, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// A form: it lives and dies with its connection.
    Stream,
    /// The finished parts of a submission that came in several uploads; sealed like any received document, and not complete yet.
    Parts {
        finished: Vec<FinishedPart>,
        touched_at: OffsetDateTime,
    },
    /// One part that goes on over several connections, as it came.
    Staged { staged: StagedPart, touched_at: OffsetDateTime },
    /// Given up: to be destroyed, secret first, and then forgotten.
    Ending,
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

impl Receiving {
    pub fn staged(&self) -> Option<&StagedPart> {
        match &self.how {
            How::Staged { staged, .. } => Some(staged),
            _ => None,
        }
    }

    pub fn finished(&self) -> &[FinishedPart] {
        match &self.how {
            How::Parts { finished, .. } => finished,
            _ => &[],
        }
    }

    /// Notes that something of the submission came.
    pub(super) fn touch(&mut self, now: OffsetDateTime) {
        if let How::Parts { touched_at, .. } | How::Staged { touched_at, .. } = &mut self.how {
            *touched_at = now;
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
    /// The state at an instant. *Expired* is computed here and never waited for.
    pub fn state(&self, now: OffsetDateTime) -> RequestState {
        match &self.stage {
            Stage::Open { .. } => match self.link.state(now) {
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
                _ => RequestState::Purging,
            },
            Stage::Purged => RequestState::Purged,
        }
    }

    /// The state as far as it does not depend on the time: what lists are kept by. A link past its time rests as *awaiting* until the worker has noted it.
    pub fn resting_state(&self) -> RequestState {
        match &self.stage {
            Stage::Open { .. } if self.link.revoked_at.is_some() => RequestState::Revoked,
            Stage::Open { .. } if self.is_receiving() => RequestState::Receiving,
            Stage::Open { expiry_noted: true } => RequestState::Expired,
            Stage::Open { .. } => RequestState::Awaiting,
            _ => self.state(self.created_at),
        }
    }

    /// When something on its way in must be looked at by whoever destroys; `None` when nothing ends by time.
    pub fn cleanup_at(&self) -> Option<OffsetDateTime> {
        let end = self.receivings.iter().filter_map(|r| self.ends_at(r)).min()?;
        Some(self.cleanup.until.unwrap_or(end))
    }

    /// When the worker must look at this request next; `None` when time changes nothing about it any more, or only after what is on its way in has ended.
    pub fn due_at(&self) -> Option<OffsetDateTime> {
        if let Some(lease) = &self.lease {
            return Some(lease.until);
        }
        match &self.stage {
            Stage::Open { expiry_noted } => {
                if !*expiry_noted {
                    return Some(self.link.expires_at);
                }
                let forget = self.link.expires_at + self.forget_after;
                self.receivings.is_empty().then_some(forget)
            }
            Stage::Held {
                document,
                purge_requested: true,
                ..
            } => Some(document.received_at),
            Stage::Held { document, delivery, .. } => {
                let end = deadline(document, delivery);
                Some(delivery.phase.step_at().map_or(end, |step| step.min(end)))
            }
            Stage::Purging { since, .. } => Some(*since),
            Stage::Purged if !self.receivings.is_empty() => None,
            Stage::Purged => self.tombstones.last().map(|t| t.purged_at + self.forget_after),
        }
    }

    fn is_receiving(&self) -> bool {
        self.receivings.iter().any(|r| r.how != How::Ending)
    }

    /// When something on its way in must be destroyed if nothing more comes. `None`: with its connection.
    pub fn ends_at(&self, receiving: &Receiving) -> Option<OffsetDateTime> {
        match &receiving.how {
            How::Stream => None,
            How::Ending => Some(receiving.started_at),
            How::Parts { touched_at, .. } | How::Staged { touched_at, .. } => {
                Some((*touched_at + RESUME_WITHIN).min(self.link.expires_at + COMMIT_GRACE))
            }
        }
    }

    /// Forms that run now.
    pub fn streams(&self) -> usize {
        self.receivings.iter().filter(|r| r.how == How::Stream).count()
    }

    /// The submission that holds finished parts, if there is one.
    pub fn standing(&self) -> Option<&Receiving> {
        self.receivings.iter().find(|r| matches!(r.how, How::Parts { .. }))
    }

    /// The finished part of this name, while the drop is not complete.
    pub fn finished(&self, part: &PartName) -> Option<&FinishedPart> {
        self.standing()?.finished().iter().find(|f| f.part.name == *part)
    }

    /// The unfinished upload of this part.
    pub fn staging(&self, part: &PartName) -> Option<(&Receiving, &StagedPart)> {
        self.receivings
            .iter()
            .filter_map(|r| Some((r, r.staged()?)))
            .find(|(_, staged)| staged.part == *part)
    }

    /// Whether the row itself is past its time, whoever holds its lease. Not while it owns something that is still to be destroyed.
    pub fn must_forget(&self, now: OffsetDateTime) -> bool {
        if !self.receivings.is_empty() {
            return false;
        }
        match &self.stage {
            Stage::Open { expiry_noted: true } => now >= self.link.expires_at + self.forget_after,
            Stage::Purged => self.tombstones.last().is_none_or(|t| now >= t.purged_at + self.forget_after),
            _ => false,
        }
    }

    /// Whether the retention deadline calls for a purge. While the outcome of an attempt is unknown, the provider may be asked until [`SENDING_GRACE`] is over.
    pub fn past_deadline(&self, now: OffsetDateTime) -> bool {
        matches!(&self.stage, Stage::Held { document, .. } if now >= document.purge_at)
    }

    pub fn held(&self) -> Option<(&Document, &Delivery)> {
        match &self.stage {
            Stage::Held { document, delivery, .. } => Some((document, delivery)),
            _ => None,
        }
    }

    /// Why the provider did not accept what came before, while the present link asks for it again.
    pub fn rejected_before(&self) -> Option<&Problem> {
        match (&self.stage, self.tombstones.last().map(|t| &t.cause)) {
            (Stage::Open { .. }, Some(PurgeCause::Rejected(problem))) => Some(problem),
            _ => None,
        }
    }

    /// The submission whose bytes still exist, held or being purged.
    pub fn document(&self) -> Option<&Document> {
        match &self.stage {
            Stage::Held { document, .. } | Stage::Purging { document, .. } => Some(document),
            _ => None,
        }
    }

    /// Canonical bytes of everything that a writer of the store must not be able to change unnoticed: target, limits, expiry, owner.
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
        for part in &self.parts {
            field(part.name.as_str().as_bytes());
            field(&part.min_bytes.to_be_bytes());
            field(&part.max_bytes.to_be_bytes());
            // Sixteen bytes, which no media type has; requests without them keep the terms that they always had.
            if part.pictures != PictureLimits::default() {
                let PictureLimits {
                    min_bytes,
                    min_side,
                    max_side,
                } = part.pictures;
                field(&[&min_bytes.to_be_bytes()[..], &min_side.to_be_bytes(), &max_side.to_be_bytes()].concat());
            }
            for accepted in &part.accepted {
                field(accepted.mime().as_bytes());
            }
        }
        if let Some(team) = &self.team {
            field(team.as_str().as_bytes());
        }
        bytes
    }
}

/// The instant at which a held document is looked at for its retention, whatever its delivery waits for.
fn deadline(document: &Document, delivery: &Delivery) -> OffsetDateTime {
    match delivery.phase {
        Phase::Sending { .. } | Phase::Uncertain { .. } => document.purge_at + SENDING_GRACE,
        _ => document.purge_at,
    }
}
