//! What agents, API keys and the operator decide about a request.

use time::OffsetDateTime;

use super::{Log, Refusal, intake};
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::delivery::{BY_HAND, HANDED_OUT, PassedOn, Phase, PurgeCause};
use crate::domain::document::PartName;
use crate::domain::id::AgentId;
use crate::domain::link::{PasscodeLock, UploadLink};
use crate::domain::request::{DocumentRequest, NOTES_MAX, Note, Stage};

#[derive(Clone, Debug)]
pub enum AgentAction {
    Extend {
        until: OffsetDateTime,
        terms_mac: [u8; 32],
    },
    Reissue {
        link: UploadLink,
        terms_mac: [u8; 32],
    },
    Revoke,
    RenewPasscode {
        lock: PasscodeLock,
    },
    Retry,
    RequestPurge,
    /// By the `manual` provider's handler, or by an agent who knows that the provider has it.
    MarkUploaded,
    /// One part to the handler of a `manual` provider, once.
    Download {
        part: PartName,
    },
    /// By a recovery of the portal: its erasure secret, its bytes or its key are gone, or nobody can say any more what became of it.
    Lose {
        /// `None`: as the delivery says.
        passed_on: Option<PassedOn>,
    },
    /// Says something to the others who see the request.
    AddNote {
        note: Note,
    },
    /// Asks somebody to see to it; `None`: nobody.
    Assign {
        to: Option<AgentId>,
    },
}

impl AgentAction {
    pub(super) fn needs_space(&self) -> bool {
        match self {
            Self::Extend { .. } | Self::Reissue { .. } | Self::RenewPasscode { .. } | Self::AddNote { .. } | Self::Assign { .. } => true,
            Self::Revoke | Self::Retry | Self::RequestPurge | Self::MarkUploaded | Self::Download { .. } | Self::Lose { .. } => false,
        }
    }
}

pub(super) fn apply(
    request: &mut DocumentRequest,
    by: Actor,
    action: AgentAction,
    now: OffsetDateTime,
    log: &mut Log,
) -> Result<(), Refusal> {
    let wrong = Refusal::WrongState(request.state(now));
    let leased = request.lease.is_some_and(|l| now < l.until);
    match action {
        AgentAction::Extend { until, terms_mac } => {
            let Stage::Open { expiry_noted } = &mut request.stage else {
                return Err(wrong);
            };
            if request.link.revoked_at.is_some() {
                return Err(Refusal::LinkRevoked);
            }
            if until <= now || until <= request.link.expires_at {
                return Err(Refusal::InvalidExpiry);
            }
            *expiry_noted = false;
            request.link.expires_at = until;
            request.terms_mac = terms_mac;
            log.add(by, AuditAction::LinkExtended);
        }
        AgentAction::Reissue { link, terms_mac } => {
            let again = match &request.stage {
                Stage::Open { .. } => true,
                Stage::Purged => request.tombstones.last().is_none_or(|t| t.cause != PurgeCause::Confirmed),
                Stage::Held { .. } | Stage::Purging { .. } => false,
            };
            if !again || link.generation != request.link.generation + 1 {
                return Err(wrong);
            }
            if link.expires_at <= now {
                return Err(Refusal::InvalidExpiry);
            }
            let event = AuditEvent::new(now, by, AuditAction::LinkReissued).on(request.id);
            log.add_event(event.with("generation", link.generation));
            request.link = link;
            request.terms_mac = terms_mac;
            request.stage = Stage::Open { expiry_noted: false };
            intake::discard_all(request);
            request.lease = None;
        }
        AgentAction::Revoke => {
            if !matches!(request.stage, Stage::Open { .. }) {
                return Err(wrong);
            }
            if request.link.revoked_at.is_none() {
                request.link.revoked_at = Some(now);
                intake::discard_all(request);
                log.add(by, AuditAction::LinkRevoked);
            }
        }
        AgentAction::RenewPasscode { lock } => {
            if !matches!(request.stage, Stage::Open { .. }) || request.link.passcode.is_none() {
                return Err(wrong);
            }
            request.link.passcode = Some(lock);
            log.add(by, AuditAction::LinkPasscodeRenewed);
        }
        AgentAction::Retry => {
            let Stage::Held { delivery, .. } = &mut request.stage else {
                return Err(wrong);
            };
            // A person has looked at it: a fresh key, since an old one may replay the old answer.
            let restart = matches!(delivery.phase, Phase::NeedsAttention { .. });
            if leased || !(restart || matches!(delivery.phase, Phase::Pending { .. })) {
                return Err(wrong);
            }
            delivery.phase = Phase::Pending { not_before: now };
            delivery.attempts = 0;
            delivery.poison = 0;
            if restart {
                delivery.epoch += 1;
                delivery.forget_progress();
            }
            log.add(by, AuditAction::DeliveryRetried);
        }
        AgentAction::RequestPurge => {
            let Stage::Held { purge_requested, .. } = &mut request.stage else {
                return Err(wrong);
            };
            *purge_requested = true;
            log.add(by, AuditAction::PurgeRequested);
        }
        AgentAction::MarkUploaded => {
            let Stage::Held { document, delivery, .. } = &request.stage else {
                return Err(wrong);
            };
            if leased || matches!(delivery.phase, Phase::Sending { .. }) {
                return Err(wrong);
            }
            request.stage = Stage::Purging {
                document: document.clone(),
                cause: PurgeCause::Confirmed,
                passed_on: PassedOn::Yes,
                since: now,
            };
            log.add(by, AuditAction::DeliveryMarkedUploaded);
        }
        AgentAction::Download { part } => {
            let Stage::Held {
                document,
                delivery,
                purge_requested,
            } = &mut request.stage
            else {
                return Err(wrong);
            };
            // Not before the worker has come so far that only a person can do the rest: everything that is looked at before a document leaves was looked at.
            let by_hand = matches!(&delivery.phase, Phase::NeedsAttention { problem, .. } if problem.code == BY_HAND);
            if leased || *purge_requested || now >= document.purge_at || !by_hand {
                return Err(wrong);
            }
            if delivery.handed_out(&part) {
                return Err(Refusal::HandedOut);
            }
            let note = (format!("{HANDED_OUT}{part}"), now.unix_timestamp().to_string());
            delivery.progress.push(note);
            let event = AuditEvent::new(now, by, AuditAction::DocumentHandedOut).on(request.id);
            log.add_event(event.with("part", &part));
        }
        AgentAction::Lose { passed_on } => {
            let Stage::Held { document, delivery, .. } = &request.stage else {
                return Err(wrong);
            };
            let cause = PurgeCause::Lost;
            let event = AuditEvent::new(now, by, AuditAction::PurgeStarted).on(request.id);
            log.add_event(event.with("cause", cause.code()));
            request.stage = Stage::Purging {
                document: document.clone(),
                passed_on: passed_on.unwrap_or_else(|| PassedOn::at_end(delivery, &cause)),
                cause,
                since: now,
            };
            request.lease = None;
        }
        AgentAction::AddNote { note } => {
            if request.notes.len() >= NOTES_MAX {
                return Err(Refusal::TooManyNotes);
            }
            request.notes.push(note);
            log.add(by, AuditAction::RequestNoted);
        }
        AgentAction::Assign { to } => {
            // Said twice, it is so already.
            if request.assigned != to {
                request.assigned = to;
                let event = AuditEvent::new(now, by, AuditAction::RequestAssigned).on(request.id);
                log.add_event(event.with("to", to.map_or_else(|| "nobody".to_owned(), |agent| agent.to_string())));
            }
        }
    }
    Ok(())
}
