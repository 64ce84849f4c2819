//! The legal transitions of a request. Every change of a stored request is one of these, applied by [`apply`] inside one transaction
//! of the store, and leaves the audit events it returns.

mod cleanup;
mod receive;
mod work;

use std::fmt;

use time::{Duration, OffsetDateTime};

use super::agent::Actor;
use super::audit::{AuditAction, AuditEvent};
use super::delivery::{BY_HAND, HANDED_OUT, Intent, PassedOn, Phase, Problem, PurgeCause, Receipt};
use super::document::{Document, Durable, PartName, SlotRef};
use super::id::DocumentId;
use super::link::{LinkState, PASSCODE_TRIES, PasscodeLock, UploadLink};
use super::request::{DocumentRequest, Lease, Receiving, RequestState, Stage};

pub use receive::SealedPart;

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
    /// One part to the handler of a `manual` provider, once.
    HandOut {
        part: PartName,
        by: Actor,
    },
    /// By a recovery of the portal: its erasure secret, its bytes or its key are gone, or nobody can say any more what became of it.
    Lose {
        by: Actor,
        /// `None`: as the delivery says.
        passed_on: Option<PassedOn>,
    },
    // By the applicant's browser.
    SpendPasscodeTry,
    /// Under the link of that generation: a stream that began under an older link is refused.
    BeginReceive {
        receiving: Receiving,
        generation: u32,
    },
    /// By whoever put a fresh secret into a slot and will not use it: from here on the request owns it, to be destroyed. Refused when the request owns it in another
    /// way, because its last commit was written after all.
    GiveUpReceive {
        document: DocumentId,
        slot: SlotRef,
        started_at: OffsetDateTime,
    },
    /// All parts are sealed, with the proof for each that it is durable.
    CommitReceived(Document, Vec<Durable>),
    /// Another part of a submission that stands is on its way.
    TouchReceive {
        document: DocumentId,
    },
    /// More of an unfinished upload is durable. Refused unless it stood where the caller thinks.
    StageProgress {
        document: DocumentId,
        from: u64,
        offset: u64,
        state: Vec<u8>,
        /// Of every file that was written to.
        durable: Vec<Durable>,
    },
    /// One part is sealed. Its upload ends, and with the last part the whole drop is received.
    StorePart(Box<SealedPart>),
    /// A finished part is to be replaced or was taken back.
    DropPart {
        document: DocumentId,
        part: PartName,
    },
    /// Given up: from here on nothing may be added, and the worker destroys it.
    EndReceive {
        document: DocumentId,
        /// Only if its time is over.
        idle: bool,
    },
    /// To destroy what is given up: a lease of its own beside the worker's other one.
    LeaseCleanup {
        until: OffsetDateTime,
    },
    /// These are destroyed, secret and chunks, and are forgotten. `again_at`: some could not be; the lease is kept as a pause until then.
    CleanedUp {
        fence: u64,
        documents: Vec<DocumentId>,
        again_at: Option<OffsetDateTime>,
    },
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
    /// The row's terms are not those that were issued: from here on nobody is sent, asked or believed. Also while a verdict is awaited.
    Distrust {
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
    /// The part's one download has happened.
    HandedOut,
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
            Self::HandedOut => f.write_str("this part was downloaded already"),
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
        Transition::Retry { .. }
        | Transition::RequestPurge { .. }
        | Transition::MarkUploaded { .. }
        | Transition::HandOut { .. }
        | Transition::Lose { .. }
        | Transition::Nudge => {
            decide(&mut request, transition, now, &mut log)?;
        }
        Transition::SpendPasscodeTry => spend_try(&mut request, now, &mut log)?,
        Transition::BeginReceive { receiving, generation } => receive::begin(&mut request, receiving, generation, now)?,
        Transition::GiveUpReceive { .. } | Transition::LeaseCleanup { .. } | Transition::CleanedUp { .. } => {
            cleanup::clean(&mut request, transition, now)?;
        }
        Transition::StageProgress { .. }
        | Transition::TouchReceive { .. }
        | Transition::StorePart(_)
        | Transition::DropPart { .. }
        | Transition::EndReceive { .. } => {
            receive::resume(&mut request, transition, now, &mut log)?;
        }
        Transition::CommitReceived(document, durable) => {
            if !document
                .parts
                .iter()
                .enumerate()
                .all(|(place, part)| receive::proved(&durable, document.id, place, part))
            {
                return Err(Refusal::Incomplete);
            }
            receive::commit(&mut request, document, now, &mut log)?;
        }
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
    fn add(&mut self, actor: Actor, action: AuditAction) -> &mut AuditEvent {
        self.add_event(AuditEvent::new(self.now, actor, action).on(self.request))
    }

    fn add_event(&mut self, event: AuditEvent) -> &mut AuditEvent {
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    fn problem(&mut self, action: AuditAction, problem: &Problem) {
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
            log.add(by, AuditAction::LinkExtended);
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
            receive::let_go(request);
            request.lease = None;
            let generation = request.link.generation;
            log.add_event(
                AuditEvent::new(now, by, AuditAction::LinkReissued)
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
                receive::let_go(request);
                log.add(by, AuditAction::LinkRevoked);
            }
        }
        Transition::FreshPasscode { lock, by } => {
            if !matches!(request.stage, Stage::Open { .. }) || request.link.passcode.is_none() {
                return Err(Refusal::WrongState(state));
            }
            request.link.passcode = Some(lock);
            log.add(by, AuditAction::LinkPasscodeRenewed);
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
                delivery.forget_progress();
            }
            log.add(by, AuditAction::DeliveryRetried);
        }
        Transition::RequestPurge { by } => {
            *purge_requested = true;
            log.add(by, AuditAction::PurgeRequested);
        }
        Transition::MarkUploaded { by } => {
            if leased || matches!(delivery.phase, Phase::Sending { .. }) {
                return Err(Refusal::WrongState(state));
            }
            request.stage = Stage::Purging {
                document: document.clone(),
                cause: PurgeCause::Confirmed,
                passed_on: PassedOn::Yes,
                since: now,
            };
            log.add(by, AuditAction::DeliveryMarkedUploaded);
        }
        Transition::HandOut { part, by } => {
            // Not before the worker has come so far that only a person can do the rest: everything that is looked at before a document leaves was looked at.
            let by_hand = matches!(&delivery.phase, Phase::NeedsAttention { problem, .. } if problem.code == BY_HAND);
            if leased || *purge_requested || now >= document.purge_at || !by_hand {
                return Err(Refusal::WrongState(state));
            }
            if delivery.handed_out(&part) {
                return Err(Refusal::HandedOut);
            }
            delivery
                .progress
                .push((format!("{HANDED_OUT}{part}"), now.unix_timestamp().to_string()));
            log.add_event(
                AuditEvent::new(now, by, AuditAction::DocumentHandedOut)
                    .on(request.id)
                    .with("part", &part),
            );
        }
        Transition::Lose { by, passed_on } => {
            let cause = PurgeCause::Lost;
            let event = AuditEvent::new(now, by, AuditAction::PurgeStarted)
                .on(request.id)
                .with("cause", cause.code());
            request.lease = None;
            request.stage = Stage::Purging {
                document: document.clone(),
                passed_on: passed_on.unwrap_or_else(|| PassedOn::at_end(delivery, &cause)),
                cause,
                since: now,
            };
            log.add_event(event);
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
    if request.link_state(now) == LinkState::Expired {
        return Err(Refusal::LinkExpired);
    }
    let state = request.state(now);
    let Some(lock) = &mut request.link.passcode else {
        return Err(Refusal::WrongState(state));
    };
    lock.tries_left = lock.tries_left.min(PASSCODE_TRIES) - 1;
    let left = lock.tries_left;
    log.add_event(
        AuditEvent::new(now, Actor::Applicant, AuditAction::LinkPasscodeTried)
            .on(request.id)
            .with("tries_left", left),
    );
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
