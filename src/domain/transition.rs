//! The legal transitions of a request. Every change of a stored request is one of these, applied by [`apply`] inside one transaction
//! of the store, and leaves the audit events it returns.
//!
//! Whoever acts decides the kind: an agent ([`AgentAction`]), the applicant's side ([`IntakeStep`]), or a worker under the fence of its lease ([`WorkerStep`]). Each
//! kind has one exhaustive match, in the file of its name: a new step does not compile before [`apply`] and [`Transition::needs_space`] know it.

mod agent;
mod delivery;
mod intake;

use std::fmt;

use time::{Duration, OffsetDateTime};

use super::agent::Actor;
use super::audit::{AuditAction, AuditEvent};
use super::delivery::{DeliveryProblem, Phase};
use super::request::{DocumentRequest, Lease, NOTES_MAX, RequestState, Stage};

pub use agent::AgentAction;
pub use delivery::WorkerStep;
pub(crate) use delivery::{Attempt, SendAgain};
pub use intake::{EndOf, IntakeStep};
pub(crate) use intake::{SealedPart, Submission};

#[derive(Clone, Debug)]
pub enum Transition {
    /// By an agent, an API key or the operator.
    Agent { by: Actor, action: AgentAction },
    /// By the applicant's browser, and by the task that destroys what did not arrive.
    Intake(IntakeStep),
    /// By the worker that holds the lease of this fence.
    Worker { fence: u64, step: WorkerStep },
    /// A worker takes the request, unless another one has it.
    Lease { until: OffsetDateTime },
    /// A callback says that something happened: ask the provider now.
    Nudge,
}

impl Transition {
    /// Whether it may make the row larger, so that a full disk refuses it. Everything that leads to a purge is written into the reserve.
    pub fn needs_space(&self) -> bool {
        match self {
            Self::Agent { action, .. } => action.needs_space(),
            Self::Intake(step) => step.needs_space(),
            Self::Worker { step, .. } => step.needs_space(),
            Self::Lease { .. } => false,
            Self::Nudge => true,
        }
    }
}

/// Why a transition is not legal now. Decided: repeating it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    LinkExpired,
    LinkRevoked,
    /// Out of passcode tries.
    LinkLocked,
    /// The link's one drop has happened.
    AlreadyReceived,
    /// The upload's own record is gone: it was abandoned, or something newer took its place.
    Superseded,
    /// Parts are missing or not those that were asked for.
    Incomplete,
    /// Not possible in this state.
    WrongState(RequestState),
    StaleLease,
    /// The part's one download has happened.
    HandedOut,
    /// An expiry in the past, or not later than the present one.
    InvalidExpiry,
    /// The request holds as many notes as it may.
    TooManyNotes,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkExpired => f.write_str("the link has expired"),
            Self::LinkRevoked => f.write_str("the link was revoked"),
            Self::LinkLocked => f.write_str("the link is locked after too many wrong passcodes"),
            Self::AlreadyReceived => f.write_str("the document was already received"),
            Self::Superseded => f.write_str("this upload was given up"),
            Self::Incomplete => f.write_str("a part is missing"),
            Self::WrongState(state) => write!(f, "not possible while the request is {}", state.as_str()),
            Self::StaleLease => f.write_str("another worker holds this request"),
            Self::HandedOut => f.write_str("this part was downloaded already"),
            Self::InvalidExpiry => f.write_str("the new expiry must be later than now and than the present one"),
            Self::TooManyNotes => write!(f, "a request holds at most {NOTES_MAX} notes"),
        }
    }
}

/// Applies one transition. Returns the changed request and what the audit log must say of it.
pub fn apply(
    mut request: DocumentRequest,
    transition: Transition,
    now: OffsetDateTime,
) -> Result<(DocumentRequest, Vec<AuditEvent>), Refusal> {
    let mut log = Log {
        now,
        request: request.id,
        events: Vec::new(),
    };
    match transition {
        Transition::Agent { by, action } => agent::apply(&mut request, by, action, now, &mut log)?,
        Transition::Intake(step) => intake::apply(&mut request, step, now, &mut log)?,
        Transition::Worker { fence, step } => delivery::apply(&mut request, fence, step, now, &mut log)?,
        Transition::Lease { until } => {
            if request.lease.is_some_and(|held| now < held.until) {
                return Err(Refusal::StaleLease);
            }
            request.fence += 1;
            request.lease = Some(Lease {
                fence: request.fence,
                until,
            });
        }
        Transition::Nudge => nudge(&mut request, now),
    }
    Ok((request, log.events))
}

/// Moves the next question to the provider forward. Where none is due, nothing happens: callbacks come late, twice and for what is gone.
fn nudge(request: &mut DocumentRequest, now: OffsetDateTime) {
    let Stage::Held { delivery, .. } = &mut request.stage else {
        return;
    };
    match &mut delivery.phase {
        // Moved also when it is due already: whoever is asking at this moment sees that it changed.
        Phase::AwaitingConfirmation { poll_at, .. } => *poll_at = now.min(*poll_at) - Duration::milliseconds(1),
        Phase::Uncertain { check_at, .. } => *check_at = now.min(*check_at),
        Phase::Pending { .. } | Phase::Sending { .. } | Phase::NeedsAttention { .. } => {}
    }
}

struct Log {
    now: OffsetDateTime,
    request: super::id::RequestId,
    events: Vec<AuditEvent>,
}

impl Log {
    fn add(&mut self, actor: Actor, action: AuditAction) -> &mut AuditEvent {
        self.add_event(AuditEvent::new(self.now, actor, action).on(self.request))
    }

    fn add_event(&mut self, event: AuditEvent) -> &mut AuditEvent {
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    fn problem(&mut self, action: AuditAction, problem: &DeliveryProblem) {
        let event = AuditEvent::new(self.now, Actor::Portal, action)
            .on(self.request)
            .with("code", &problem.code);
        self.add_event(event);
    }
}

#[cfg(test)]
pub(crate) mod tests;
