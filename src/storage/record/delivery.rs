//! Stored forms of what happens after a drop: delivery, purge and tombstone.

use super::*;
use crate::domain::delivery::PassedOn;

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct DeliveryRow {
    #[n(0)]
    epoch: u32,
    #[n(1)]
    attempts: u32,
    #[n(2)]
    poison: u32,
    #[n(3)]
    progress: Vec<(String, String)>,
    #[n(4)]
    last_problem: Option<ProblemRow>,
    #[n(5)]
    phase: PhaseRow,
}

#[derive(Encode, Decode)]
pub(super) struct ProblemRow {
    #[n(0)]
    code: String,
    #[n(1)]
    text: String,
}

#[derive(Encode, Decode)]
pub(super) struct IntentRow {
    #[n(0)]
    epoch: u32,
    #[n(1)]
    started_at: i64,
    #[n(2)]
    digest: Bytes,
}

#[derive(Encode, Decode)]
pub(super) enum PhaseRow {
    #[n(0)]
    Pending(#[n(0)] i64),
    #[n(1)]
    Sending(#[n(0)] IntentRow),
    #[n(2)]
    Uncertain(#[n(0)] IntentRow, #[n(1)] i64, #[n(2)] Option<i64>, #[n(3)] u32),
    #[n(3)]
    Awaiting(#[n(0)] Vec<String>, #[n(1)] i64, #[n(2)] i64, #[n(3)] u32),
    #[n(4)]
    NeedsAttention(#[n(0)] ProblemRow, #[n(1)] i64),
}

#[derive(Encode, Decode)]
pub(super) enum CauseRow {
    #[n(0)]
    Confirmed,
    #[n(1)]
    Rejected(#[n(0)] ProblemRow),
    #[n(2)]
    Deadline,
    #[n(3)]
    Agent,
    #[n(4)]
    Lost,
    #[n(5)]
    Infected,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct TombstoneRow {
    #[n(0)]
    document: Bytes,
    #[n(1)]
    cause: CauseRow,
    #[n(2)]
    parts: Vec<String>,
    #[n(3)]
    received_at: i64,
    #[n(4)]
    purged_at: i64,
    #[n(5)]
    receipt: u64,
    #[n(6)]
    generation: u32,
    #[n(7)]
    receiver: Option<Bytes>,
    #[n(8)]
    passed_on: Option<bool>,
    #[n(9)]
    lengths: Option<Vec<u64>>,
}

/// Whether it had reached the provider; absent where nobody knows, and in rows from before it was noted.
pub(super) fn known(passed_on: PassedOn) -> Option<bool> {
    match passed_on {
        PassedOn::Yes => Some(true),
        PassedOn::No => Some(false),
        PassedOn::Unknown => None,
    }
}

pub(super) fn passage(known: Option<bool>) -> PassedOn {
    match known {
        Some(true) => PassedOn::Yes,
        Some(false) => PassedOn::No,
        None => PassedOn::Unknown,
    }
}

impl From<&DeliveryProblem> for ProblemRow {
    fn from(p: &DeliveryProblem) -> Self {
        Self {
            code: p.code.clone(),
            text: p.text.clone(),
        }
    }
}

impl From<ProblemRow> for DeliveryProblem {
    fn from(p: ProblemRow) -> Self {
        Self {
            code: p.code,
            text: p.text,
        }
    }
}

impl From<&Intent> for IntentRow {
    fn from(i: &Intent) -> Self {
        Self {
            epoch: i.epoch,
            started_at: to_ms(i.started_at),
            digest: bytes(&i.digest),
        }
    }
}

impl IntentRow {
    pub(super) fn into_domain(self) -> Read<Intent> {
        Ok(Intent {
            epoch: self.epoch,
            started_at: instant(self.started_at)?,
            digest: array(&self.digest)?,
        })
    }
}

impl From<&Delivery> for DeliveryRow {
    fn from(d: &Delivery) -> Self {
        let phase = match &d.phase {
            Phase::Pending { not_before } => PhaseRow::Pending(to_ms(*not_before)),
            Phase::Sending { intent } => PhaseRow::Sending(intent.into()),
            Phase::Uncertain {
                intent,
                check_at,
                absent_since,
                checks,
            } => PhaseRow::Uncertain(intent.into(), to_ms(*check_at), absent_since.map(to_ms), *checks),
            Phase::AwaitingConfirmation { receipt, poll_at, polls } => {
                PhaseRow::Awaiting(receipt.references.clone(), to_ms(receipt.received_at), to_ms(*poll_at), *polls)
            }
            Phase::NeedsAttention { problem, since } => PhaseRow::NeedsAttention(problem.into(), to_ms(*since)),
        };
        Self {
            epoch: d.epoch,
            attempts: d.attempts,
            poison: d.poison,
            progress: d.progress.clone(),
            last_problem: d.last_problem.as_ref().map(ProblemRow::from),
            phase,
        }
    }
}

impl DeliveryRow {
    pub(super) fn into_domain(self) -> Read<Delivery> {
        let phase = match self.phase {
            PhaseRow::Pending(not_before) => Phase::Pending {
                not_before: instant(not_before)?,
            },
            PhaseRow::Sending(intent) => Phase::Sending {
                intent: intent.into_domain()?,
            },
            PhaseRow::Uncertain(intent, check_at, absent_since, checks) => Phase::Uncertain {
                intent: intent.into_domain()?,
                check_at: instant(check_at)?,
                absent_since: absent_since.map(instant).transpose()?,
                checks,
            },
            PhaseRow::Awaiting(references, received_at, poll_at, polls) => Phase::AwaitingConfirmation {
                receipt: Receipt {
                    references,
                    received_at: instant(received_at)?,
                },
                poll_at: instant(poll_at)?,
                polls,
            },
            PhaseRow::NeedsAttention(problem, since) => Phase::NeedsAttention {
                problem: problem.into(),
                since: instant(since)?,
            },
        };
        Ok(Delivery {
            epoch: self.epoch,
            attempts: self.attempts,
            poison: self.poison,
            progress: self.progress,
            last_problem: self.last_problem.map(DeliveryProblem::from),
            phase,
        })
    }
}

impl From<&PurgeCause> for CauseRow {
    fn from(cause: &PurgeCause) -> Self {
        match cause {
            PurgeCause::Confirmed => Self::Confirmed,
            PurgeCause::Rejected(problem) => Self::Rejected(problem.into()),
            PurgeCause::Deadline => Self::Deadline,
            PurgeCause::Agent => Self::Agent,
            PurgeCause::Lost => Self::Lost,
            PurgeCause::Infected => Self::Infected,
        }
    }
}

impl CauseRow {
    pub(super) fn into_domain(self) -> PurgeCause {
        match self {
            Self::Confirmed => PurgeCause::Confirmed,
            Self::Rejected(problem) => PurgeCause::Rejected(problem.into()),
            Self::Deadline => PurgeCause::Deadline,
            Self::Agent => PurgeCause::Agent,
            Self::Lost => PurgeCause::Lost,
            Self::Infected => PurgeCause::Infected,
        }
    }
}

impl From<&Tombstone> for TombstoneRow {
    fn from(t: &Tombstone) -> Self {
        Self {
            document: bytes(&t.document.0),
            cause: (&t.cause).into(),
            parts: t.parts.clone(),
            received_at: to_ms(t.received_at),
            purged_at: to_ms(t.purged_at),
            receipt: t.receipt,
            generation: t.generation,
            receiver: t.receiver.map(|r| bytes(&r)),
            passed_on: known(t.passed_on),
            lengths: Some(t.lengths.clone()),
        }
    }
}

impl TombstoneRow {
    pub(super) fn into_domain(self) -> Read<Tombstone> {
        Ok(Tombstone {
            document: DocumentId(array(&self.document)?),
            cause: self.cause.into_domain(),
            passed_on: passage(self.passed_on),
            parts: self.parts,
            received_at: instant(self.received_at)?,
            purged_at: instant(self.purged_at)?,
            receipt: self.receipt,
            generation: self.generation,
            receiver: self.receiver.map(|r| array(&r)).transpose()?,
            lengths: self.lengths.unwrap_or_default(),
        })
    }
}
