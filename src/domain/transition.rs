//! The legal transitions of a request. Every change of a stored request is one of these, applied by [`apply`] inside one transaction
//! of the store, and leaves the audit events it returns.

mod work;

use std::fmt;

use time::{Duration, OffsetDateTime};

use super::agent::Actor;
use super::audit::AuditEvent;
use super::delivery::{Delivery, Intent, Phase, Problem, PurgeCause, Receipt};
use super::document::Document;
use super::id::DocumentId;
use super::link::{COMMIT_GRACE, LinkState, MAX_STREAMS, PASSCODE_TRIES, PasscodeLock, UploadLink};
use super::request::{DocumentRequest, Lease, Receiving, RequestState, Stage};

#[derive(Clone, Debug)]
pub enum Transition {
    // By agents and API keys.
    Extend {
        until: OffsetDateTime,
        terms_mac: [u8; 32],
        by: Actor,
    },
    Reissue {
        link: UploadLink,
        terms_mac: [u8; 32],
        by: Actor,
    },
    Revoke {
        by: Actor,
    },
    FreshPasscode {
        lock: PasscodeLock,
        by: Actor,
    },
    Retry {
        by: Actor,
    },
    RequestPurge {
        by: Actor,
    },
    /// By the `manual` provider's handler, or by an agent who knows that the provider has it.
    MarkUploaded {
        by: Actor,
    },
    // By the applicant's browser.
    SpendPasscodeTry,
    /// Under the link of that generation: a stream that began under an older link is refused.
    BeginReceive {
        receiving: Receiving,
        generation: u32,
    },
    AbandonReceive(DocumentId),
    CommitReceived(Document),
    // By the worker, each under the fence of its lease.
    Lease {
        until: OffsetDateTime,
    },
    Renew {
        fence: u64,
        until: OffsetDateTime,
    },
    Release {
        fence: u64,
    },
    NoteExpired {
        fence: u64,
    },
    StartSending {
        fence: u64,
        intent: Intent,
    },
    NoteProgress {
        fence: u64,
        step: String,
        value: String,
    },
    Delivered {
        fence: u64,
        receipt: Receipt,
        poll_at: OffsetDateTime,
    },
    BecomeUncertain {
        fence: u64,
        problem: Problem,
        check_at: OffsetDateTime,
        /// Whether the provider was asked. Waiting for the vault key or a pause does not use up the questions, and is not told in the log.
        counted: bool,
    },
    /// The provider authoritatively does not have it (the first of two such answers unless `proven`).
    FoundAbsent {
        fence: u64,
        proven: bool,
        check_at: OffsetDateTime,
    },
    RetryLater {
        fence: u64,
        at: OffsetDateTime,
        problem: Problem,
        counted: bool,
        poison: bool,
        new_epoch: bool,
    },
    GiveUp {
        fence: u64,
        problem: Problem,
    },
    /// `seen`: the instant that the question was due at. A callback that came while the provider was being asked has moved it, and is not forgotten.
    PollLater {
        fence: u64,
        at: OffsetDateTime,
        seen: OffsetDateTime,
    },
    Confirm {
        fence: u64,
    },
    Reject {
        fence: u64,
        problem: Problem,
    },
    StartPurge {
        fence: u64,
        cause: PurgeCause,
    },
    FinishPurge {
        fence: u64,
        receipt: u64,
    },
    /// A callback says that something happened: ask the provider now.
    Nudge,
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
    TooManyStreams,
    /// The upload's own record is gone: it was abandoned, or something newer took its place.
    Superseded,
    /// Parts are missing or not those that were asked for.
    Incomplete,
    /// Not possible in this state.
    WrongState(RequestState),
    StaleLease,
    /// An expiry in the past, or not later than the present one.
    InvalidExpiry,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkExpired => f.write_str("the link has expired"),
            Self::LinkRevoked => f.write_str("the link was revoked"),
            Self::LinkLocked => f.write_str("the link is locked after too many wrong passcodes"),
            Self::AlreadyReceived => f.write_str("the document was already received"),
            Self::TooManyStreams => f.write_str("two uploads already run on this link"),
            Self::Superseded => f.write_str("this upload was given up"),
            Self::Incomplete => f.write_str("a part is missing"),
            Self::WrongState(state) => write!(f, "not possible while the request is {}", state.as_str()),
            Self::StaleLease => f.write_str("another worker holds this request"),
            Self::InvalidExpiry => f.write_str("the new expiry must be later than now and than the present one"),
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
        Transition::Extend { .. } | Transition::Reissue { .. } | Transition::Revoke { .. } | Transition::FreshPasscode { .. } => {
            link(&mut request, transition, now, &mut log)?;
        }
        Transition::Retry { .. } | Transition::RequestPurge { .. } | Transition::MarkUploaded { .. } | Transition::Nudge => {
            decide(&mut request, transition, now, &mut log)?;
        }
        Transition::SpendPasscodeTry => spend_try(&mut request, now, &mut log)?,
        Transition::BeginReceive { receiving, generation } => begin_receive(&mut request, receiving, generation, now)?,
        Transition::AbandonReceive(document) => request.receivings.retain(|r| r.document != document),
        Transition::CommitReceived(document) => commit_received(&mut request, document, now, &mut log)?,
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
        worker => work::work(&mut request, worker, now, &mut log)?,
    }
    Ok((request, log.events))
}

struct Log {
    now: OffsetDateTime,
    request: super::id::RequestId,
    events: Vec<AuditEvent>,
}

impl Log {
    fn add(&mut self, actor: Actor, action: &str) -> &mut AuditEvent {
        self.add_event(AuditEvent::new(self.now, actor, action).on(self.request))
    }

    fn add_event(&mut self, event: AuditEvent) -> &mut AuditEvent {
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    fn problem(&mut self, action: &str, problem: &Problem) {
        let event = AuditEvent::new(self.now, Actor::Portal, action)
            .on(self.request)
            .with("code", &problem.code);
        self.add_event(event);
    }
}

fn link(request: &mut DocumentRequest, transition: Transition, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    let state = request.state(now);
    match transition {
        Transition::Extend { until, terms_mac, by } => {
            let Stage::Open { expiry_noted } = &mut request.stage else {
                return Err(Refusal::WrongState(state));
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
            log.add(by, "link.extended");
        }
        Transition::Reissue { link, terms_mac, by } => {
            let again = match &request.stage {
                Stage::Open { .. } => true,
                Stage::Purged => request.tombstones.last().is_none_or(|t| t.cause != PurgeCause::Confirmed),
                _ => false,
            };
            if !again || link.generation != request.link.generation + 1 {
                return Err(Refusal::WrongState(state));
            }
            if link.expires_at <= now {
                return Err(Refusal::InvalidExpiry);
            }
            request.link = link;
            request.terms_mac = terms_mac;
            request.stage = Stage::Open { expiry_noted: false };
            request.receivings.clear();
            request.lease = None;
            let generation = request.link.generation;
            log.add_event(
                AuditEvent::new(now, by, "link.reissued")
                    .on(request.id)
                    .with("generation", generation),
            );
        }
        Transition::Revoke { by } => {
            if !matches!(request.stage, Stage::Open { .. }) {
                return Err(Refusal::WrongState(state));
            }
            if request.link.revoked_at.is_none() {
                request.link.revoked_at = Some(now);
                request.receivings.clear();
                log.add(by, "link.revoked");
            }
        }
        Transition::FreshPasscode { lock, by } => {
            if !matches!(request.stage, Stage::Open { .. }) || request.link.passcode.is_none() {
                return Err(Refusal::WrongState(state));
            }
            request.link.passcode = Some(lock);
            log.add(by, "link.passcode_renewed");
        }
        _ => return Err(Refusal::WrongState(state)),
    }
    Ok(())
}

fn decide(request: &mut DocumentRequest, transition: Transition, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    let state = request.state(now);
    let leased = request.lease.is_some_and(|l| now < l.until);
    let Stage::Held {
        document,
        delivery,
        purge_requested,
    } = &mut request.stage
    else {
        return if matches!(transition, Transition::Nudge) {
            Ok(())
        } else {
            Err(Refusal::WrongState(state))
        };
    };
    match transition {
        Transition::Retry { by } => {
            if !matches!(delivery.phase, Phase::NeedsAttention { .. } | Phase::Pending { .. }) || leased {
                return Err(Refusal::WrongState(state));
            }
            // A person has looked at it: a fresh key, since an old one may replay the old answer.
            let restart = matches!(delivery.phase, Phase::NeedsAttention { .. });
            delivery.phase = Phase::Pending { not_before: now };
            delivery.attempts = 0;
            delivery.poison = 0;
            if restart {
                delivery.epoch += 1;
                delivery.progress.clear();
            }
            log.add(by, "delivery.retried");
        }
        Transition::RequestPurge { by } => {
            *purge_requested = true;
            log.add(by, "purge.requested");
        }
        Transition::MarkUploaded { by } => {
            if leased || matches!(delivery.phase, Phase::Sending { .. }) {
                return Err(Refusal::WrongState(state));
            }
            request.stage = Stage::Purging {
                document: document.clone(),
                cause: PurgeCause::Confirmed,
                since: now,
            };
            log.add(by, "delivery.marked_uploaded");
        }
        Transition::Nudge => match &mut delivery.phase {
            // Moved also when it is due already: whoever is asking at this moment sees that it changed.
            Phase::AwaitingConfirmation { poll_at, .. } => *poll_at = now.min(*poll_at) - Duration::milliseconds(1),
            Phase::Uncertain { check_at, .. } => *check_at = now.min(*check_at),
            _ => {}
        },
        _ => return Err(Refusal::WrongState(state)),
    }
    Ok(())
}

fn open_link(request: &DocumentRequest, now: OffsetDateTime) -> Result<(), Refusal> {
    match &request.stage {
        Stage::Open { .. } => match request.link.state(now) {
            LinkState::Active => Ok(()),
            LinkState::Locked => Err(Refusal::LinkLocked),
            LinkState::Expired => Err(Refusal::LinkExpired),
            LinkState::Revoked => Err(Refusal::LinkRevoked),
        },
        Stage::Held { .. } | Stage::Purging { .. } | Stage::Purged => Err(Refusal::AlreadyReceived),
    }
}

fn spend_try(request: &mut DocumentRequest, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    open_link(request, now)?;
    let state = request.state(now);
    let Some(lock) = &mut request.link.passcode else {
        return Err(Refusal::WrongState(state));
    };
    lock.tries_left = lock.tries_left.min(PASSCODE_TRIES) - 1;
    let left = lock.tries_left;
    log.add_event(
        AuditEvent::new(now, Actor::Applicant, "link.passcode_tried")
            .on(request.id)
            .with("tries_left", left),
    );
    Ok(())
}

fn begin_receive(request: &mut DocumentRequest, receiving: Receiving, generation: u32, now: OffsetDateTime) -> Result<(), Refusal> {
    // It counts when the upload was asked for, not when its first chunk was full; the commit has the last word.
    if now >= request.link.expires_at + COMMIT_GRACE {
        return open_link(request, now);
    }
    match open_link(request, receiving.started_at.min(now)) {
        // The stream has a passcode session from before the lock: tries spent by a stranger do not shut it out.
        Ok(()) | Err(Refusal::LinkLocked) => {}
        Err(refusal) => return Err(refusal),
    }
    if generation != request.link.generation {
        return Err(Refusal::Superseded);
    }
    if request.receivings.iter().any(|r| r.document == receiving.document) {
        return Ok(());
    }
    if request.receivings.len() >= MAX_STREAMS {
        return Err(Refusal::TooManyStreams);
    }
    request.receivings.push(receiving);
    Ok(())
}

fn commit_received(request: &mut DocumentRequest, document: Document, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    if !matches!(request.stage, Stage::Open { .. }) {
        return Err(Refusal::AlreadyReceived);
    }
    if request.link.revoked_at.is_some() {
        return Err(Refusal::LinkRevoked);
    }
    if now >= request.link.expires_at + COMMIT_GRACE {
        return Err(Refusal::LinkExpired);
    }
    if !request
        .receivings
        .iter()
        .any(|r| r.document == document.id && r.slot == document.slot)
    {
        return Err(Refusal::Superseded);
    }
    let complete = document.parts.len() == request.parts.len()
        && document
            .parts
            .iter()
            .zip(&request.parts)
            .all(|(stored, asked)| stored.name == asked.name && asked.accepted.contains(&stored.file_type));
    if !complete {
        return Err(Refusal::Incomplete);
    }
    let bytes: u64 = document.parts.iter().map(|p| p.size).sum();
    let event = AuditEvent::new(now, Actor::Applicant, "document.received")
        .on(request.id)
        .with("document", document.id)
        .with("parts", document.parts.len())
        .with("bytes", bytes);
    log.add_event(event);
    request.receivings.clear();
    request.stage = Stage::Held {
        document,
        delivery: Delivery::new(now),
        purge_requested: false,
    };
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
