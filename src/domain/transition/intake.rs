//! What is on its way in. The part is the unit: whether it came by a form or over several connections, each sealed part is one durable [`IntakeStep::StorePart`],
//! and the last one receives the document.
//!
//! Whatever does not win is never simply forgotten: it stays in the row as *discarding* until its erasure secret and its chunks are destroyed, by one task at a
//! time, under a lease of its own. A row that owns a document in any other way refuses to discard it: a commit whose answer was lost may have been written.

use time::OffsetDateTime;

use super::{Log, Refusal};
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::delivery::Delivery;
use crate::domain::document::{Document, Durable, PartName, SlotRef, StoredPart};
use crate::domain::id::DocumentId;
use crate::domain::link::{COMMIT_GRACE, LinkState, PART_ENTRIES, PASSCODE_TRIES};
use crate::domain::request::{DocumentRequest, FinishedPart, Intake, IntakeKind, Stage, StagedPart};

#[derive(Clone, Debug)]
pub enum IntakeStep {
    /// Somebody does something on the page of the link of that generation. The second time changes nothing.
    NoteOpened {
        generation: u32,
    },
    SpendPasscodeTry,
    /// An upload that may go on over several connections, under the link of that generation.
    BeginUpload {
        document: DocumentId,
        slot: SlotRef,
        started_at: OffsetDateTime,
        staged: StagedPart,
        generation: u32,
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
    /// Another part of a submission that has finished parts is on its way.
    TouchSubmission {
        document: DocumentId,
    },
    /// One part is sealed. Its upload ends, and with the last part the document is received.
    StorePart(Box<SealedPart>),
    /// A finished part is about to be replaced: its submission stays, also without any part.
    DropPart {
        document: DocumentId,
        part: PartName,
    },
    /// Its visitor takes a finished part back. With the last one its submission ends and is destroyed; parts that another device stored meanwhile stay.
    TakeBackPart {
        document: DocumentId,
        part: PartName,
    },
    /// From here on nothing may be added to it, and it is destroyed.
    End {
        document: DocumentId,
        end: EndOf,
    },
    /// By whoever put a fresh secret into a slot and will not use it: from here on the request owns it, to be destroyed.
    Discard {
        document: DocumentId,
        slot: SlotRef,
        started_at: OffsetDateTime,
    },
    /// To destroy what is discarded: a lease beside that of the delivery, since a provider that hangs holds the other one for minutes.
    LeaseCleanup {
        until: OffsetDateTime,
    },
    /// These are destroyed, secret and chunks, and are forgotten. `again_at`: some could not be; the lease is kept as a pause until then.
    CleanedUp {
        fence: u64,
        documents: Vec<DocumentId>,
        again_at: Option<OffsetDateTime>,
    },
}

/// Why an upload ends before it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOf {
    /// Nothing came for too long. Refused while its time is not over.
    Idle,
    /// Its visitor took it back or replaced it, or it was refused.
    Withdrawn,
}

/// One sealed part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPart {
    pub document: DocumentId,
    pub submission: Submission,
    /// Of the link that was looked up.
    pub generation: u32,
    pub part: StoredPart,
    pub durable: Durable,
    /// Bytes that its sender sent.
    pub length: u64,
    /// The upload it came by; none if it came with a form.
    pub upload: Option<DocumentId>,
    /// Of the browser, if this is the last part.
    pub receiver: Option<[u8; 32]>,
}

/// Whose erasure secret a part was sealed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// Its own: the part is the first of its document.
    Begins { slot: SlotRef, started_at: OffsetDateTime },
    /// That of the parts that are here. They must still be here, or that secret is gone.
    Joins,
}

impl IntakeStep {
    pub(super) fn needs_space(&self) -> bool {
        match self {
            Self::NoteOpened { .. }
            | Self::SpendPasscodeTry
            | Self::BeginUpload { .. }
            | Self::StageProgress { .. }
            | Self::TouchSubmission { .. }
            | Self::StorePart(_) => true,
            Self::DropPart { .. }
            | Self::TakeBackPart { .. }
            | Self::End { .. }
            | Self::Discard { .. }
            | Self::LeaseCleanup { .. }
            | Self::CleanedUp { .. } => false,
        }
    }
}

pub(super) fn apply(request: &mut DocumentRequest, step: IntakeStep, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    match step {
        IntakeStep::NoteOpened { generation } => {
            open_link(request, now)?;
            if generation != request.link.generation {
                return Err(Refusal::Superseded);
            }
            if request.link.opened_at.is_none() {
                request.link.opened_at = Some(now);
                log.add(Actor::Applicant, AuditAction::LinkOpened);
            }
        }
        IntakeStep::SpendPasscodeTry => {
            open_link(request, now)?;
            let wrong = Refusal::WrongState(request.state(now));
            if request.link_state(now) == LinkState::Expired {
                return Err(Refusal::LinkExpired);
            }
            let lock = request.link.passcode.as_mut().ok_or(wrong)?;
            lock.tries_left = lock.tries_left.min(PASSCODE_TRIES) - 1;
            let tries_left = lock.tries_left;
            used(request, now);
            let event = AuditEvent::new(now, Actor::Applicant, AuditAction::LinkPasscodeTried).on(request.id);
            log.add_event(event.with("tries_left", tries_left));
        }
        IntakeStep::BeginUpload {
            document,
            slot,
            started_at,
            staged,
            generation,
        } => {
            may_go_on(request, now)?;
            // It counts when the upload was asked for. Tries spent by a stranger do not shut out who has a passcode session from before the lock.
            match open_link(request, started_at.min(now)) {
                Ok(()) | Err(Refusal::LinkLocked) => {}
                Err(refusal) => return Err(refusal),
            }
            let known = request.parts.iter().any(|p| p.name == staged.part);
            // One upload for each part: whoever wants another one ends the first.
            let taken = request.staging(&staged.part).is_some() || request.finished(&staged.part).is_some();
            if generation != request.link.generation || !known || taken || request.intakes.iter().any(|r| r.document == document) {
                return Err(Refusal::Superseded);
            }
            let kind = IntakeKind::Resumable { staged, touched_at: now };
            request.intakes.push(Intake {
                document,
                slot,
                started_at,
                kind,
            });
            used(request, now);
            touch(request, now);
        }
        IntakeStep::StageProgress {
            document,
            from,
            offset,
            state,
            durable,
        } => {
            may_go_on(request, now)?;
            if durable.is_empty() || durable.iter().any(|proof| proof.document() != document) {
                return Err(Refusal::Incomplete);
            }
            let staged = request.intakes.iter_mut().find(|r| r.document == document);
            let staged = staged.and_then(Intake::staged_mut).ok_or(Refusal::Superseded)?;
            if staged.offset != from || offset > staged.length {
                return Err(Refusal::Superseded);
            }
            staged.offset = offset;
            staged.state = state;
            touch(request, now);
        }
        IntakeStep::TouchSubmission { document } => {
            may_go_on(request, now)?;
            if request.partial().is_none_or(|partial| partial.document != document) {
                return Err(Refusal::Superseded);
            }
            touch(request, now);
        }
        IntakeStep::StorePart(sealed) => store_part(request, *sealed, now, log)?,
        IntakeStep::DropPart { document, part } => {
            may_go_on(request, now)?;
            let partial = request.intakes.iter_mut().find(|r| r.document == document);
            let finished = partial.and_then(Intake::finished_mut).ok_or(Refusal::Superseded)?;
            finished.retain(|f| f.part.name != part);
        }
        IntakeStep::TakeBackPart { document, part } => {
            may_go_on(request, now)?;
            let partial = request.intakes.iter_mut().find(|r| r.document == document);
            let partial = partial.ok_or(Refusal::Superseded)?;
            let finished = partial.finished_mut().ok_or(Refusal::Superseded)?;
            let place = finished.iter().position(|f| f.part.name == part).ok_or(Refusal::Superseded)?;
            finished.remove(place);
            if finished.is_empty() {
                partial.kind = IntakeKind::Discarding;
            }
        }
        IntakeStep::End { document, end } => {
            let place = request.intakes.iter().position(|r| r.document == document);
            let place = place.ok_or(Refusal::Superseded)?;
            if end == EndOf::Idle && now < request.ends_at(&request.intakes[place]) {
                return Err(Refusal::Superseded);
            }
            let kind = &mut request.intakes[place].kind;
            // What its visitor takes back or replaces leaves no line: a stranger with the link must not be able to fill the log.
            if std::mem::replace(kind, IntakeKind::Discarding) != IntakeKind::Discarding && end == EndOf::Idle {
                log.add(Actor::Portal, AuditAction::UploadExpired);
            }
        }
        IntakeStep::Discard {
            document,
            slot,
            started_at,
        } => {
            let received = request.document().is_some_and(|d| d.id == document);
            if received || request.tombstones.iter().any(|t| t.document == document) {
                return Err(Refusal::AlreadyReceived);
            }
            match request.intakes.iter().find(|r| r.document == document) {
                Some(known) if known.kind == IntakeKind::Discarding => {}
                Some(_) => return Err(Refusal::Superseded),
                None => request.intakes.push(Intake {
                    document,
                    slot,
                    started_at,
                    kind: IntakeKind::Discarding,
                }),
            }
        }
        IntakeStep::LeaseCleanup { until } => {
            if request.cleanup.until.is_some_and(|held| now < held) {
                return Err(Refusal::StaleLease);
            }
            request.cleanup.fence += 1;
            request.cleanup.until = Some(until);
        }
        IntakeStep::CleanedUp {
            fence,
            documents,
            again_at,
        } => {
            if request.cleanup.until.is_none() || request.cleanup.fence != fence {
                return Err(Refusal::StaleLease);
            }
            let destroyed = |r: &Intake| r.kind == IntakeKind::Discarding && documents.contains(&r.document);
            request.intakes.retain(|r| !destroyed(r));
            request.cleanup.until = again_at;
        }
    }
    Ok(())
}

fn store_part(request: &mut DocumentRequest, sealed: SealedPart, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    may_go_on(request, now)?;
    let name = sealed.part.name.clone();
    let asked = request.parts.iter().enumerate().find(|(_, p)| p.name == name);
    let (place, asked) = asked.ok_or(Refusal::Superseded)?;
    if !sealed.durable.covers(sealed.document, place, &sealed.part) {
        return Err(Refusal::Incomplete);
    }
    if sealed.generation != request.link.generation || !asked.accepted.contains(&sealed.part.file_type) || request.finished(&name).is_some()
    {
        return Err(Refusal::Superseded);
    }
    let staging = request.staging(&name).map(|(intake, _)| intake.document);
    if sealed.upload.is_some() && sealed.upload != staging {
        return Err(Refusal::Superseded);
    }
    let part = FinishedPart {
        part: sealed.part,
        length: sealed.length,
    };
    // An id that stands here belongs to something that is being destroyed: its cleanup would take what is stored under it now as well.
    let known = request.intakes.iter().any(|intake| intake.document == sealed.document);
    match (
        request.intakes.iter_mut().find_map(|r| Some((r.document, r.finished_mut()?))),
        sealed.submission,
    ) {
        (None, Submission::Begins { slot, started_at }) if !known => request.intakes.push(Intake {
            document: sealed.document,
            slot,
            started_at,
            kind: IntakeKind::Partial {
                finished: vec![part],
                touched_at: now,
            },
        }),
        (Some((document, finished)), Submission::Joins) if document == sealed.document => finished.push(part),
        // The submission that it was sealed into has ended, and its secret with it; or another part came first at the same time: then this one must be
        // sealed again, under the submission that there is now.
        (None | Some(_), Submission::Begins { .. } | Submission::Joins) => return Err(Refusal::Superseded),
    }
    // Also when a form brought the part that an upload was still sending.
    if let Some(staging) = request.intakes.iter_mut().find(|r| Some(r.document) == staging) {
        staging.kind = IntakeKind::Discarding;
    }
    used(request, now);
    touch(request, now);
    log_part(request, &name, log);
    receive(request, sealed.receiver, now, log);
    Ok(())
}

/// A document of one part has only the line of its receipt.
fn log_part(request: &mut DocumentRequest, part: &PartName, log: &mut Log) {
    request.link.parts_received = request.link.parts_received.saturating_add(1);
    if request.parts.len() == 1 {
        return;
    }
    let received = request.link.parts_received;
    let event = AuditEvent::new(log.now, Actor::Applicant, AuditAction::PartReceived).on(request.id);
    let event = event.with("part", part);
    if received <= PART_ENTRIES {
        log.add_event(event);
    } else if received.is_power_of_two() {
        log.add_event(event.with("received_so_far", received));
    }
}

/// The document is received when every part is here: the link is consumed, and whatever else is on its way is discarded.
fn receive(request: &mut DocumentRequest, receiver: Option<[u8; 32]>, now: OffsetDateTime, log: &mut Log) {
    let finished = |spec: &crate::domain::document::PartSpec| request.finished(&spec.name).map(|f| f.part.clone());
    let parts: Option<Vec<StoredPart>> = request.parts.iter().map(finished).collect();
    let (Some(parts), Some(partial)) = (parts, request.partial()) else {
        return;
    };
    let lengths = |spec: &crate::domain::document::PartSpec| request.finished(&spec.name).map(|f| f.length);
    let document = Document {
        id: partial.document,
        slot: partial.slot,
        received_at: now,
        purge_at: now + request.keep,
        parts,
        receiver,
        lengths: request.parts.iter().filter_map(lengths).collect(),
    };
    let bytes: u64 = document.parts.iter().map(|p| p.size).sum();
    let event = AuditEvent::new(now, Actor::Applicant, AuditAction::DocumentReceived).on(request.id);
    let event = event
        .with("document", document.id)
        .with("parts", document.parts.len())
        .with("bytes", bytes);
    log.add_event(match request.link.parts_received {
        all if all > PART_ENTRIES => event.with("parts_received_in_all", all),
        _ => event,
    });
    request.intakes.retain(|r| r.document != document.id);
    discard_all(request);
    request.stage = Stage::Held {
        document,
        delivery: Delivery::new(now),
        purge_requested: false,
    };
}

/// Nothing on its way in can win any more, whether it waits between two connections or runs.
pub(super) fn discard_all(request: &mut DocumentRequest) {
    for intake in &mut request.intakes {
        intake.kind = IntakeKind::Discarding;
    }
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

/// What began in time may go on for the grace.
fn may_go_on(request: &DocumentRequest, now: OffsetDateTime) -> Result<(), Refusal> {
    if !matches!(request.stage, Stage::Open { .. }) {
        Err(Refusal::AlreadyReceived)
    } else if request.link.revoked_at.is_some() {
        Err(Refusal::LinkRevoked)
    } else if now >= request.link.expires_at + COMMIT_GRACE {
        Err(Refusal::LinkExpired)
    } else {
        Ok(())
    }
}

/// Whoever uses a link has opened it, also where no script says so. The use has a line of its own in the log.
fn used(request: &mut DocumentRequest, now: OffsetDateTime) {
    request.link.opened_at.get_or_insert(now);
}

/// One clock for the whole submission: a finished front must not end while its back is on the way.
fn touch(request: &mut DocumentRequest, now: OffsetDateTime) {
    request.intakes.iter_mut().for_each(|r| r.touch(now));
}

#[cfg(test)]
mod tests;
