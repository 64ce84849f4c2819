//! The steps of the worker, each under the fence of its lease: the delivery of a held document, and its purge.

use time::OffsetDateTime;

use super::{Log, Refusal};
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::delivery::{Delivery, DeliveryProblem, Intent, PassedOn, Phase, PurgeCause, Receipt};
use crate::domain::document::Document;
use crate::domain::request::{DocumentRequest, Stage, Tombstone};

#[derive(Clone, Debug)]
pub enum WorkerStep {
    Renew {
        until: OffsetDateTime,
    },
    Release,
    NoteExpired,
    StartSending {
        intent: Intent,
    },
    NoteProgress {
        step: String,
        value: String,
    },
    Delivered {
        receipt: Receipt,
        poll_at: OffsetDateTime,
    },
    BecomeUncertain {
        problem: DeliveryProblem,
        check_at: OffsetDateTime,
        attempt: Attempt,
    },
    /// The provider authoritatively does not have it. `again`: for long enough to send it once more; without, it is asked again.
    FoundAbsent {
        again: Option<SendAgain>,
        check_at: OffsetDateTime,
    },
    RetryLater {
        at: OffsetDateTime,
        problem: DeliveryProblem,
        attempt: Attempt,
        /// Under a fresh idempotency key.
        new_epoch: bool,
    },
    GiveUp {
        problem: DeliveryProblem,
    },
    /// The row's terms are not those that were issued: from here on nobody is sent, asked or believed. Also while a verdict is awaited.
    Distrust {
        problem: DeliveryProblem,
    },
    /// `seen`: the instant that the question was due at. A callback that came while the provider was being asked has moved it, and is not forgotten.
    PollLater {
        at: OffsetDateTime,
        seen: OffsetDateTime,
    },
    Confirm,
    Reject {
        problem: DeliveryProblem,
    },
    StartPurge {
        cause: PurgeCause,
    },
    FinishPurge {
        receipt: u64,
    },
}

/// How a document that is proven absent is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendAgain {
    /// Under a fresh idempotency key.
    pub new_epoch: bool,
    /// Behind the steps that are noted: the provider's handles stay valid.
    pub keep_progress: bool,
}

/// What an attempt, or a question to the provider, says about the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Nothing: it waited for a key, a pause or our own storage, and uses up no try.
    Uncounted,
    /// The provider was asked, and it uses up a try.
    Counted,
    /// It uses up a try, and what was read without an error is not what was sealed.
    Damaged,
}

impl WorkerStep {
    /// All of these lead to a purge, which gives space back.
    pub(super) fn needs_space(&self) -> bool {
        match self {
            Self::Renew { .. }
            | Self::Release
            | Self::NoteExpired
            | Self::StartSending { .. }
            | Self::NoteProgress { .. }
            | Self::Delivered { .. }
            | Self::BecomeUncertain { .. }
            | Self::FoundAbsent { .. }
            | Self::RetryLater { .. }
            | Self::GiveUp { .. }
            | Self::Distrust { .. }
            | Self::PollLater { .. }
            | Self::Confirm
            | Self::Reject { .. }
            | Self::StartPurge { .. }
            | Self::FinishPurge { .. } => false,
        }
    }

    /// Whether another step follows at once, so that the lease is kept; all others give it back.
    fn keeps_lease(&self) -> bool {
        match self {
            Self::Renew { .. }
            | Self::StartSending { .. }
            | Self::NoteProgress { .. }
            | Self::Delivered { .. }
            | Self::Confirm
            | Self::Reject { .. }
            | Self::StartPurge { .. } => true,
            Self::Release
            | Self::NoteExpired
            | Self::BecomeUncertain { .. }
            | Self::FoundAbsent { .. }
            | Self::RetryLater { .. }
            | Self::GiveUp { .. }
            | Self::Distrust { .. }
            | Self::PollLater { .. }
            | Self::FinishPurge { .. } => false,
        }
    }
}

/// Applies one step under a lease.
pub(super) fn apply(
    request: &mut DocumentRequest,
    fence: u64,
    step: WorkerStep,
    now: OffsetDateTime,
    log: &mut Log,
) -> Result<(), Refusal> {
    let lease = request.lease.as_mut().filter(|lease| lease.fence == fence);
    let lease = lease.ok_or(Refusal::StaleLease)?;
    if let WorkerStep::Renew { until } = step {
        lease.until = until;
    }
    if !step.keeps_lease() {
        request.lease = None;
    }
    let wrong = Refusal::WrongState(request.state(now));
    match step {
        WorkerStep::Renew { .. } | WorkerStep::Release => {}
        WorkerStep::NoteExpired => {
            let Stage::Open { expiry_noted } = &mut request.stage else {
                return Err(wrong);
            };
            let over = now >= request.link.expires_at;
            if over && !std::mem::replace(expiry_noted, true) && request.link.revoked_at.is_none() {
                log.add(Actor::Portal, AuditAction::LinkExpired);
            }
        }
        WorkerStep::StartSending { intent } => {
            // A purge that an agent has asked for always wins.
            if matches!(request.stage, Stage::Held { purge_requested: true, .. }) {
                return Err(Refusal::Superseded);
            }
            let (_, delivery) = held(&mut request.stage, wrong)?;
            // An attempt whose outcome is unknown is never covered by a new one.
            if !matches!(delivery.phase, Phase::Pending { .. }) {
                return Err(Refusal::Superseded);
            }
            let event = AuditEvent::new(now, Actor::Portal, AuditAction::DeliveryStarted).on(log.request);
            log.add_event(event.with("attempt", delivery.attempts + 1).with("epoch", intent.epoch));
            delivery.phase = Phase::Sending { intent };
        }
        WorkerStep::NoteProgress { step, value } => {
            let (_, delivery) = held(&mut request.stage, wrong)?;
            open_attempt(delivery)?;
            delivery.progress.retain(|(known, _)| *known != step);
            delivery.progress.push((step, value));
        }
        WorkerStep::Delivered { receipt, poll_at } => {
            let (_, delivery) = held(&mut request.stage, wrong)?;
            open_attempt(delivery)?;
            delivery.phase = Phase::AwaitingConfirmation {
                receipt,
                poll_at,
                polls: 0,
            };
            delivery.last_problem = None;
            log.add(Actor::Portal, AuditAction::DeliveryReceived);
        }
        WorkerStep::BecomeUncertain {
            problem,
            check_at,
            attempt,
        } => {
            let (_, delivery) = held(&mut request.stage, wrong)?;
            let open = open_attempt(delivery)?;
            let counted = attempt != Attempt::Uncounted;
            if counted {
                log.problem(AuditAction::DeliveryUncertain, &problem);
            }
            delivery.phase = Phase::Uncertain {
                intent: open.intent,
                check_at,
                absent_since: open.absent_since,
                checks: open.checks.map_or(0, |checks| checks + u32::from(counted)),
            };
            delivery.last_problem = Some(problem);
        }
        WorkerStep::FoundAbsent { again, check_at } => {
            let (_, delivery) = held(&mut request.stage, wrong)?;
            let open = open_attempt(delivery)?;
            if let Some(again) = again {
                delivery.epoch = open.intent.epoch + u32::from(again.new_epoch);
                if !again.keep_progress {
                    delivery.forget_progress();
                }
                delivery.phase = Phase::Pending { not_before: check_at };
                delivery.attempts += 1;
                log.add(Actor::Portal, AuditAction::DeliveryAbsent);
            } else {
                delivery.phase = Phase::Uncertain {
                    intent: open.intent,
                    check_at,
                    absent_since: open.absent_since.or(Some(now)),
                    checks: open.checks.unwrap_or(0) + 1,
                };
            }
        }
        WorkerStep::RetryLater {
            at,
            problem,
            attempt,
            new_epoch,
        } => {
            let (_, delivery) = held(&mut request.stage, wrong)?;
            // Only before the outcome can be unknown: from there the provider is asked first. An attempt that was started counts,
            // unless our own storage broke it off: the caller says so. Whatever ends a started one leaves a line.
            let started = matches!(delivery.phase, Phase::Sending { .. });
            if !started && !matches!(delivery.phase, Phase::Pending { .. }) {
                return Err(Refusal::Superseded);
            }
            if started || attempt != Attempt::Uncounted {
                log.problem(AuditAction::DeliveryFailed, &problem);
            }
            match attempt {
                Attempt::Uncounted => {}
                Attempt::Counted => delivery.poison = 0,
                Attempt::Damaged => delivery.poison += 1,
            }
            delivery.attempts += u32::from(attempt != Attempt::Uncounted);
            if new_epoch {
                delivery.epoch += 1;
                delivery.forget_progress();
            }
            delivery.last_problem = Some(problem);
            delivery.phase = Phase::Pending { not_before: at };
        }
        WorkerStep::GiveUp { problem } => {
            let (_, delivery) = held(&mut request.stage, wrong)?;
            if !matches!(delivery.phase, Phase::Pending { .. }) {
                open_attempt(delivery)?;
            }
            needs_attention(delivery, problem, now, log);
        }
        WorkerStep::Distrust { problem } => {
            let (_, delivery) = held(&mut request.stage, wrong)?;
            needs_attention(delivery, problem, now, log);
        }
        WorkerStep::PollLater { at, seen } => {
            let (_, delivery) = held(&mut request.stage, wrong)?;
            let Phase::AwaitingConfirmation { poll_at, polls, .. } = &mut delivery.phase else {
                return Err(Refusal::Superseded);
            };
            if *poll_at == seen {
                *poll_at = at;
                *polls += 1;
            }
        }
        WorkerStep::Confirm => {
            let (document, delivery) = held(&mut request.stage, wrong)?;
            awaits_verdict(delivery)?;
            log.add(Actor::Portal, AuditAction::DeliveryConfirmed);
            request.stage = purging(document, delivery, PurgeCause::Confirmed, now);
        }
        WorkerStep::Reject { problem } => {
            let (document, delivery) = held(&mut request.stage, wrong)?;
            awaits_verdict(delivery)?;
            log.problem(AuditAction::DeliveryRejected, &problem);
            request.stage = purging(document, delivery, PurgeCause::Rejected(problem), now);
        }
        WorkerStep::StartPurge { cause } => {
            let (document, delivery) = held(&mut request.stage, wrong)?;
            let event = AuditEvent::new(now, Actor::Portal, AuditAction::PurgeStarted).on(log.request);
            log.add_event(event.with("cause", cause.code()));
            request.stage = purging(document, delivery, cause, now);
        }
        WorkerStep::FinishPurge { receipt } => {
            let Stage::Purging {
                document,
                cause,
                passed_on,
                ..
            } = &request.stage
            else {
                return Err(wrong);
            };
            let event = AuditEvent::new(now, Actor::Portal, AuditAction::DocumentPurged).on(log.request);
            log.add_event(event.with("cause", cause.code()).with("receipt", receipt));
            request.tombstones.push(Tombstone {
                document: document.id,
                cause: cause.clone(),
                passed_on: *passed_on,
                parts: document.parts.iter().map(|p| p.name.to_string()).collect(),
                received_at: document.received_at,
                purged_at: now,
                receipt,
                generation: request.link.generation,
                receiver: document.receiver,
                lengths: document.lengths.clone(),
            });
            request.stage = Stage::Purged;
        }
    }
    Ok(())
}

fn held(stage: &mut Stage, wrong: Refusal) -> Result<(&Document, &mut Delivery), Refusal> {
    match stage {
        Stage::Held { document, delivery, .. } => Ok((document, delivery)),
        Stage::Open { .. } | Stage::Purging { .. } | Stage::Purged => Err(wrong),
    }
}

/// An attempt in which bytes may have left.
struct OpenAttempt {
    intent: Intent,
    /// How often the provider was asked; `None` while it is being sent.
    checks: Option<u32>,
    absent_since: Option<OffsetDateTime>,
}

fn open_attempt(delivery: &Delivery) -> Result<OpenAttempt, Refusal> {
    match &delivery.phase {
        Phase::Sending { intent } => Ok(OpenAttempt {
            intent: intent.clone(),
            checks: None,
            absent_since: None,
        }),
        Phase::Uncertain {
            intent,
            checks,
            absent_since,
            ..
        } => Ok(OpenAttempt {
            intent: intent.clone(),
            checks: Some(*checks),
            absent_since: *absent_since,
        }),
        Phase::Pending { .. } | Phase::AwaitingConfirmation { .. } | Phase::NeedsAttention { .. } => Err(Refusal::Superseded),
    }
}

fn awaits_verdict(delivery: &Delivery) -> Result<(), Refusal> {
    if matches!(delivery.phase, Phase::AwaitingConfirmation { .. }) {
        Ok(())
    } else {
        Err(Refusal::Superseded)
    }
}

fn needs_attention(delivery: &mut Delivery, problem: DeliveryProblem, now: OffsetDateTime, log: &mut Log) {
    log.problem(AuditAction::DeliveryNeedsAttention, &problem);
    delivery.last_problem = Some(problem.clone());
    delivery.phase = Phase::NeedsAttention { problem, since: now };
}

fn purging(document: &Document, delivery: &Delivery, cause: PurgeCause, now: OffsetDateTime) -> Stage {
    Stage::Purging {
        document: document.clone(),
        passed_on: PassedOn::at_end(delivery, &cause),
        cause,
        since: now,
    }
}
