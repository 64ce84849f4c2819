//! What became of the document that came by one link: what its receipt says, whatever became of the request since.
//!
//! A request may be asked again, and each of its links brings at most one document. The generation of the link says which one is meant.

use time::OffsetDateTime;

use super::delivery::{PassedOn, Phase, PurgeCause};
use super::id::DocumentId;
use super::request::{DocumentRequest, Stage};

/// A document that was received, as long as anything is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub document: DocumentId,
    pub parts: Vec<String>,
    pub received_at: OffsetDateTime,
    /// As in [`super::document::Document::receiver`].
    pub receiver: Option<[u8; 32]>,
    /// Bytes that were sent of each part.
    pub lengths: Vec<u64>,
    pub outcome: DocumentOutcome,
    pub deletion: Deletion,
    /// The request has a newer link by now.
    pub replaced: bool,
}

/// How far the document has come, or had come when it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentOutcome {
    /// Not known to have reached the provider yet.
    Waiting,
    /// The provider has it, and has not judged it.
    Sent,
    /// The provider confirmed it.
    Confirmed,
    /// The provider did not accept it.
    Rejected,
    /// Never sent: its time was over.
    Late,
    /// Never sent: somebody at the company had it deleted.
    Withdrawn,
    /// Never sent: it cannot be read any more.
    Lost,
    /// Never sent: malware was found in it.
    Infected,
    /// Deleted, and nobody knows whether the provider has it.
    Unknown,
}

impl DocumentOutcome {
    /// The stable word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Late => "late",
            Self::Withdrawn => "withdrawn",
            Self::Lost => "lost",
            Self::Infected => "infected",
            Self::Unknown => "unknown",
        }
    }

    fn at_end(cause: &PurgeCause, passed_on: PassedOn) -> Self {
        match (cause, passed_on) {
            (PurgeCause::Confirmed, _) => Self::Confirmed,
            (PurgeCause::Rejected(_), _) => Self::Rejected,
            (PurgeCause::Deadline | PurgeCause::Agent | PurgeCause::Lost | PurgeCause::Infected, PassedOn::Yes) => Self::Sent,
            (PurgeCause::Deadline | PurgeCause::Agent | PurgeCause::Lost | PurgeCause::Infected, PassedOn::Unknown) => Self::Unknown,
            (PurgeCause::Deadline, PassedOn::No) => Self::Late,
            (PurgeCause::Agent, PassedOn::No) => Self::Withdrawn,
            (PurgeCause::Lost, PassedOn::No) => Self::Lost,
            (PurgeCause::Infected, PassedOn::No) => Self::Infected,
        }
    }
}

/// Whether the document is still here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is kept, and until when at the latest.
    Until(OffsetDateTime),
    /// It has begun, or begins with the next step.
    Now,
    At(OffsetDateTime),
}

impl Received {
    /// Bytes that were sent of a part.
    pub fn length_of(&self, part: &str) -> Option<u64> {
        let place = self.parts.iter().position(|name| name == part)?;
        self.lengths.get(place).copied()
    }
}

impl DocumentRequest {
    /// The document that came by the link of a generation; `None` when nothing came by it.
    pub fn received_by(&self, generation: u32) -> Option<Received> {
        let replaced = generation < self.link.generation;
        if let Some(document) = self.document().filter(|_| generation == self.link.generation) {
            let (outcome, deletion) = match &self.stage {
                Stage::Held {
                    delivery,
                    purge_requested: true,
                    ..
                } => {
                    let cause = PurgeCause::Agent;
                    (DocumentOutcome::at_end(&cause, PassedOn::at_end(delivery, &cause)), Deletion::Now)
                }
                Stage::Held { delivery, .. } => {
                    let outcome = match delivery.phase {
                        Phase::Pending { .. } | Phase::Sending { .. } | Phase::Uncertain { .. } | Phase::NeedsAttention { .. } => {
                            DocumentOutcome::Waiting
                        }
                        Phase::AwaitingConfirmation { .. } => DocumentOutcome::Sent,
                    };
                    (outcome, Deletion::Until(document.purge_at))
                }
                Stage::Purging { cause, passed_on, .. } => (DocumentOutcome::at_end(cause, *passed_on), Deletion::Now),
                Stage::Open { .. } | Stage::Purged => return None,
            };
            return Some(Received {
                document: document.id,
                parts: document.parts.iter().map(|p| p.name.to_string()).collect(),
                received_at: document.received_at,
                receiver: document.receiver,
                lengths: document.lengths.clone(),
                outcome,
                deletion,
                replaced,
            });
        }
        let stone = self.tombstones.iter().rev().find(|stone| stone.generation == generation)?;
        Some(Received {
            document: stone.document,
            parts: stone.parts.clone(),
            received_at: stone.received_at,
            receiver: stone.receiver,
            lengths: stone.lengths.clone(),
            outcome: DocumentOutcome::at_end(&stone.cause, stone.passed_on),
            deletion: Deletion::At(stone.purged_at),
            replaced,
        })
    }
}
