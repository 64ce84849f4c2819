//! The steps of the worker, each under the fence of its lease.

use time::OffsetDateTime;

use super::{Log, Refusal, Transition};
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::delivery::{Delivery, PassedOn, Phase, PurgeCause};
use crate::domain::document::Document;
use crate::domain::request::{DocumentRequest, Stage, Tombstone};

/// Applies one step under a lease.
pub(super) fn work(request: &mut DocumentRequest, transition: Transition, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    let fence = transition.fence().ok_or(Refusal::StaleLease)?;
    match &mut request.lease {
        Some(lease) if lease.fence == fence => {
            if let Transition::Renew { until, .. } = transition {
                lease.until = until;
                return Ok(());
            }
        }
        _ => return Err(Refusal::StaleLease),
    }
    // A step that another one follows at once keeps the lease; all others give it back.
    let goes_on = matches!(
        transition,
        Transition::StartSending { .. }
            | Transition::NoteProgress { .. }
            | Transition::Delivered { .. }
            | Transition::Confirm { .. }
            | Transition::Reject { .. }
            | Transition::StartPurge { .. }
    );
    if !goes_on {
        request.lease = None;
    }
    let state = request.state(now);
    match (&mut request.stage, transition) {
        (_, Transition::Release { .. }) => {}
        (Stage::Open { expiry_noted }, Transition::NoteExpired { .. }) => {
            if !*expiry_noted && now >= request.link.expires_at {
                *expiry_noted = true;
                if request.link.revoked_at.is_none() {
                    log.add(Actor::Portal, AuditAction::LinkExpired);
                }
            }
        }
        // A purge that an agent has asked for always wins.
        (Stage::Held { purge_requested: true, .. }, Transition::StartSending { .. }) => return Err(Refusal::Superseded),
        (Stage::Held { document, delivery, .. }, step) => {
            if let Some(next) = deliver(document, delivery, step, now, log)? {
                request.stage = next;
            }
        }
        (
            Stage::Purging {
                document,
                cause,
                passed_on,
                ..
            },
            Transition::FinishPurge { receipt, .. },
        ) => {
            let stone = Tombstone {
                document: document.id,
                cause: cause.clone(),
                passed_on: *passed_on,
                parts: document.parts.iter().map(|p| p.name.to_string()).collect(),
                received_at: document.received_at,
                purged_at: now,
                receipt,
                generation: request.link.generation,
                receiver: document.receiver,
            };
            log.add_event(
                AuditEvent::new(now, Actor::Portal, AuditAction::DocumentPurged)
                    .on(request.id)
                    .with("cause", cause.code())
                    .with("receipt", receipt),
            );
            request.tombstones.push(stone);
            request.stage = Stage::Purged;
        }
        _ => return Err(Refusal::WrongState(state)),
    }
    Ok(())
}

/// One worker step on a held document. `Some(stage)` when the request leaves the held stage.
fn deliver(
    document: &Document,
    delivery: &mut Delivery,
    step: Transition,
    now: OffsetDateTime,
    log: &mut Log,
) -> Result<Option<Stage>, Refusal> {
    // Bytes may have left; and: the provider has them.
    let open = matches!(delivery.phase, Phase::Sending { .. } | Phase::Uncertain { .. });
    let received = matches!(delivery.phase, Phase::AwaitingConfirmation { .. });
    match step {
        Transition::StartSending { intent, .. } => {
            // An attempt whose outcome is unknown is never covered by a new one.
            if !matches!(delivery.phase, Phase::Pending { .. }) {
                return Err(Refusal::Superseded);
            }
            let epoch = intent.epoch;
            delivery.phase = Phase::Sending { intent };
            let attempt = delivery.attempts + 1;
            log.add_event(
                AuditEvent::new(now, Actor::Portal, AuditAction::DeliveryStarted)
                    .on(log.request)
                    .with("attempt", attempt)
                    .with("epoch", epoch),
            );
        }
        Transition::NoteProgress { step, value, .. } => {
            if !open {
                return Err(Refusal::Superseded);
            }
            delivery.progress.retain(|(known, _)| *known != step);
            delivery.progress.push((step, value));
        }
        Transition::Delivered { receipt, poll_at, .. } => {
            if !open {
                return Err(Refusal::Superseded);
            }
            delivery.phase = Phase::AwaitingConfirmation {
                receipt,
                poll_at,
                polls: 0,
            };
            delivery.last_problem = None;
            log.add(Actor::Portal, AuditAction::DeliveryReceived);
        }
        Transition::BecomeUncertain {
            problem,
            check_at,
            counted,
            ..
        } => {
            let (Phase::Sending { intent } | Phase::Uncertain { intent, .. }) = &delivery.phase else {
                return Err(Refusal::Superseded);
            };
            let (intent, checks, absent_since) = match &delivery.phase {
                Phase::Uncertain { checks, absent_since, .. } => (intent.clone(), checks + u32::from(counted), *absent_since),
                _ => (intent.clone(), 0, None),
            };
            if counted {
                log.problem(AuditAction::DeliveryUncertain, &problem);
            }
            delivery.phase = Phase::Uncertain {
                intent,
                check_at,
                absent_since,
                checks,
            };
            delivery.last_problem = Some(problem);
        }
        Transition::FoundAbsent { proven, check_at, .. } => {
            let (Phase::Sending { intent } | Phase::Uncertain { intent, .. }) = &delivery.phase else {
                return Err(Refusal::Superseded);
            };
            if proven {
                delivery.epoch = intent.epoch + 1;
                delivery.forget_progress();
                delivery.phase = Phase::Pending { not_before: check_at };
                delivery.attempts += 1;
                log.add(Actor::Portal, AuditAction::DeliveryAbsent);
            } else {
                let checks = if let Phase::Uncertain { checks, .. } = &delivery.phase {
                    checks + 1
                } else {
                    1
                };
                delivery.phase = Phase::Uncertain {
                    intent: intent.clone(),
                    check_at,
                    absent_since: Some(now),
                    checks,
                };
            }
        }
        Transition::RetryLater {
            at,
            problem,
            counted,
            poison,
            new_epoch,
            ..
        } => {
            // Only before the outcome can be unknown: from there the provider is asked first. An attempt that was started counts,
            // unless our own storage broke it off: the caller says so. Whatever ends a started one leaves a line.
            let started = matches!(delivery.phase, Phase::Sending { .. });
            if !started && !matches!(delivery.phase, Phase::Pending { .. }) {
                return Err(Refusal::Superseded);
            }
            if counted || started {
                log.problem(AuditAction::DeliveryFailed, &problem);
            }
            if counted {
                delivery.attempts += 1;
            }
            // Waiting for a key or a pause says nothing about the document.
            if counted {
                delivery.poison = if poison { delivery.poison + 1 } else { 0 };
            }
            if new_epoch {
                delivery.epoch += 1;
                delivery.forget_progress();
            }
            delivery.last_problem = Some(problem);
            delivery.phase = Phase::Pending { not_before: at };
        }
        Transition::GiveUp { problem, .. } => {
            if !open && !matches!(delivery.phase, Phase::Pending { .. }) {
                return Err(Refusal::Superseded);
            }
            log.problem(AuditAction::DeliveryNeedsAttention, &problem);
            delivery.last_problem = Some(problem.clone());
            delivery.phase = Phase::NeedsAttention { problem, since: now };
        }
        Transition::Distrust { problem, .. } => {
            log.problem(AuditAction::DeliveryNeedsAttention, &problem);
            delivery.last_problem = Some(problem.clone());
            delivery.phase = Phase::NeedsAttention { problem, since: now };
        }
        Transition::PollLater { at, seen, .. } => {
            let Phase::AwaitingConfirmation { poll_at, polls, .. } = &mut delivery.phase else {
                return Err(Refusal::Superseded);
            };
            if *poll_at == seen {
                *poll_at = at;
                *polls += 1;
            }
        }
        Transition::Confirm { .. } => {
            if !received {
                return Err(Refusal::Superseded);
            }
            log.add(Actor::Portal, AuditAction::DeliveryConfirmed);
            return Ok(Some(purging(document, delivery, PurgeCause::Confirmed, now)));
        }
        Transition::Reject { problem, .. } => {
            if !received {
                return Err(Refusal::Superseded);
            }
            log.problem(AuditAction::DeliveryRejected, &problem);
            return Ok(Some(purging(document, delivery, PurgeCause::Rejected(problem), now)));
        }
        Transition::StartPurge { cause, .. } => {
            log.add_event(
                AuditEvent::new(now, Actor::Portal, AuditAction::PurgeStarted)
                    .on(log.request)
                    .with("cause", cause.code()),
            );
            return Ok(Some(purging(document, delivery, cause, now)));
        }
        _ => return Err(Refusal::Superseded),
    }
    Ok(None)
}

fn purging(document: &Document, delivery: &Delivery, cause: PurgeCause, now: OffsetDateTime) -> Stage {
    Stage::Purging {
        document: document.clone(),
        passed_on: PassedOn::at_end(delivery, &cause),
        cause,
        since: now,
    }
}

impl Transition {
    /// The fence of a worker's step; `None` for everybody else's.
    pub(super) fn fence(&self) -> Option<u64> {
        match self {
            Self::Renew { fence, .. }
            | Self::Release { fence }
            | Self::NoteExpired { fence }
            | Self::StartSending { fence, .. }
            | Self::NoteProgress { fence, .. }
            | Self::Delivered { fence, .. }
            | Self::BecomeUncertain { fence, .. }
            | Self::FoundAbsent { fence, .. }
            | Self::RetryLater { fence, .. }
            | Self::GiveUp { fence, .. }
            | Self::Distrust { fence, .. }
            | Self::PollLater { fence, .. }
            | Self::Confirm { fence }
            | Self::Reject { fence, .. }
            | Self::StartPurge { fence, .. }
            | Self::FinishPurge { fence, .. } => Some(*fence),
            _ => None,
        }
    }
}
