//! Passing a document on: attempts, intents, receipts, and what became of them.

use time::OffsetDateTime;

use super::document::PartName;

/// What repeating a request does at a provider; decides how an unknown outcome is resolved. It belongs to the step of a delivery that is open: opening a
/// submission may be limited where putting bytes into it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderClass {
    /// K: an idempotency key makes the repeat harmless within the provider's window.
    IdempotencyKey,
    /// L: a key goes with the request, and the provider does not promise to honour it here. Its list is asked first; only what is proven absent goes again,
    /// under the same key, behind the steps that are noted.
    ListedKey,
    /// D: a duplicate is answered as such and counts as received.
    DuplicateAnswered,
    /// P: a PUT to a fixed id; the repeat overwrites itself.
    FixedId,
    /// R: nothing but list-and-compare tells.
    Reconcile,
    /// N: limited or unsafe tries; never repeated without a human.
    NoRepeat,
}

/// When a document may be purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmAt {
    /// The provider took the bytes: the shortest retention.
    Received,
    /// The provider judged the document.
    Verdict,
}

/// What went wrong, in a stable code for machines and a sentence for agents. Never holds a reference, a name or a byte of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryProblem {
    /// Stable, e.g. `provider.unavailable`.
    pub code: String,
    /// One sentence that an agent understands, with what to do.
    pub text: String,
}

impl DeliveryProblem {
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            text: text.into(),
        }
    }
}

/// Written durably before the first byte leaves, so that no crash can hide that something may have been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub epoch: u32,
    pub started_at: OffsetDateTime,
    /// SHA-256 over everything the request's bytes are a function of.
    pub digest: [u8; 32],
}

/// What a provider answered: its own ids for what it received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub references: Vec<String>,
    pub received_at: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// To be sent at `not_before`.
    Pending { not_before: OffsetDateTime },
    /// The intent is durable; bytes may have left.
    Sending { intent: Intent },
    /// The outcome of `intent` is unknown: ask the provider before anything is sent again.
    Uncertain {
        intent: Intent,
        check_at: OffsetDateTime,
        absent_since: Option<OffsetDateTime>,
        checks: u32,
    },
    /// The provider has it; its verdict is asked for at `poll_at`.
    AwaitingConfirmation {
        receipt: Receipt,
        poll_at: OffsetDateTime,
        polls: u32,
    },
    /// Out of tries, refused for good, or not to be decided by a machine.
    NeedsAttention { problem: DeliveryProblem, since: OffsetDateTime },
}

impl Phase {
    /// When the next step is due; `None`: only a person decides.
    pub fn step_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Pending { not_before } => Some(*not_before),
            Self::Sending { intent } => Some(intent.started_at),
            Self::Uncertain { check_at, .. } => Some(*check_at),
            Self::AwaitingConfirmation { poll_at, .. } => Some(*poll_at),
            Self::NeedsAttention { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Counted up when the provider is proven not to have the document and a fresh key is needed.
    pub epoch: u32,
    /// Failed attempts since the last success or human decision.
    pub attempts: u32,
    /// Deterministic failures in a row (cannot be opened, commitment differs, "corrupted file").
    pub poison: u32,
    /// Handles that the provider gave for finished steps of this epoch (a file id), by step name.
    pub progress: Vec<(String, String)>,
    pub last_problem: Option<DeliveryProblem>,
    pub phase: Phase,
}

/// The code of the problem that the outcome of an attempt is unknown and stays so.
pub(crate) const UNDECIDED: &str = "delivery.undecided";
/// The code of the problem that the stored row was altered: what it says of the past cannot be relied on either.
pub(crate) const TAMPERED: &str = "request.tampered";
/// The code of the problem that nothing is wrong but that a person must do the rest.
pub(crate) const BY_HAND: &str = "provider.by_hand";
/// The step under which it is noted that a part was handed to a person; kept through every retry.
pub(crate) const HANDED_OUT: &str = "handed-out:";

impl Delivery {
    pub fn handed_out(&self, part: &PartName) -> bool {
        self.progress
            .iter()
            .any(|(step, _)| step.strip_prefix(HANDED_OUT) == Some(part.as_str()))
    }

    /// A fresh key makes the provider's handles worthless; what a person has taken stays taken.
    pub fn forget_progress(&mut self) {
        self.progress.retain(|(step, _)| step.starts_with(HANDED_OUT));
    }

    pub fn new(now: OffsetDateTime) -> Self {
        Self {
            epoch: 0,
            attempts: 0,
            poison: 0,
            progress: Vec::new(),
            last_problem: None,
            phase: Phase::Pending { not_before: now },
        }
    }
}

/// Whether a document had reached its provider when it was destroyed. A deadline or an agent may end what was passed on and awaits its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOn {
    Yes,
    No,
    /// The outcome of an attempt was never learned, some of its parts had gone, or somebody had taken it by hand.
    Unknown,
}

impl PassedOn {
    /// The stable word for APIs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }

    pub fn at_end(delivery: &Delivery, cause: &PurgeCause) -> Self {
        match (&delivery.phase, cause) {
            (_, PurgeCause::Confirmed | PurgeCause::Rejected(_)) | (Phase::AwaitingConfirmation { .. }, _) => Self::Yes,
            (Phase::Sending { .. } | Phase::Uncertain { .. }, _) => Self::Unknown,
            (Phase::NeedsAttention { problem, .. }, _) if problem.code == UNDECIDED || problem.code == TAMPERED => Self::Unknown,
            _ if delivery.progress.is_empty() => Self::No,
            _ => Self::Unknown,
        }
    }
}

/// Why documents were destroyed. Stands in the deletion receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeCause {
    /// The provider confirmed it.
    Confirmed,
    /// The provider rejected it; the reason in plain words.
    Rejected(DeliveryProblem),
    /// The retention deadline came first.
    Deadline,
    /// An agent decided so.
    Agent,
    /// The erasure secret was gone (lost slots file, restored backup): never readable again, asked for again.
    Lost,
    /// The scanner found malware.
    Infected,
}

impl PurgeCause {
    /// The stable word for APIs and receipts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Rejected(_) => "rejected",
            Self::Deadline => "deadline",
            Self::Agent => "agent",
            Self::Lost => "lost",
            Self::Infected => "infected",
        }
    }
}
