//! The transitions of what is on its way in: streams, uploads that go on over several connections, and the one commit that consumes the link.
//!
//! Whatever does not win is never simply forgotten: it stays noted as *ending* until its secret and its chunks are destroyed.

use time::OffsetDateTime;

use super::{Log, Refusal, Transition, open_link};
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::delivery::Delivery;
use crate::domain::document::{Document, Durable, SlotRef, StoredPart};
use crate::domain::id::DocumentId;
use crate::domain::link::{COMMIT_GRACE, MAX_STREAMS, PART_ENTRIES};
use crate::domain::request::{DocumentRequest, FinishedPart, How, Receiving, Stage};

/// One sealed part of a submission that comes in several uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPart {
    /// The submission, and where its secret lives.
    pub document: DocumentId,
    pub slot: SlotRef,
    /// Of the link that was looked up.
    pub generation: u32,
    pub started_at: OffsetDateTime,
    pub part: StoredPart,
    pub durable: Durable,
    /// Bytes that its sender sent.
    pub length: u64,
    /// The upload it came by; none if it came with a form.
    pub upload: Option<DocumentId>,
    /// Sealed under the secret of a submission that stood already: it must still stand, or that secret is gone.
    pub joins: bool,
    /// Of the browser, if this is the last part.
    pub receiver: Option<[u8; 32]>,
}

pub(super) fn begin(request: &mut DocumentRequest, receiving: Receiving, generation: u32, now: OffsetDateTime) -> Result<(), Refusal> {
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
    match &receiving.how {
        How::Stream if request.streams() >= MAX_STREAMS => {
            return Err(Refusal::TooManyStreams);
        }
        How::Stream => {}
        // One upload for each part: whoever wants another one ends the first.
        How::Staged { staged, .. } => {
            let known = request.parts.iter().any(|p| p.name == staged.part);
            if !known || request.staging(&staged.part).is_some() || request.finished(&staged.part).is_some() {
                return Err(Refusal::Superseded);
            }
        }
        How::Parts { .. } | How::Ending => return Err(Refusal::Superseded),
    }
    request.receivings.push(receiving);
    touch(request, now);
    Ok(())
}

pub(super) fn resume(request: &mut DocumentRequest, transition: Transition, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    match transition {
        Transition::StageProgress {
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
            let staged = request.receivings.iter_mut().find(|r| r.document == document);
            let Some(How::Staged { staged, .. }) = staged.map(|r| &mut r.how) else {
                return Err(Refusal::Superseded);
            };
            if staged.offset != from || offset > staged.length {
                return Err(Refusal::Superseded);
            }
            staged.offset = offset;
            staged.state = state;
            touch(request, now);
        }
        Transition::TouchReceive { document } => {
            may_go_on(request, now)?;
            if request.standing().is_none_or(|standing| standing.document != document) {
                return Err(Refusal::Superseded);
            }
            touch(request, now);
        }
        Transition::StorePart(sealed) => store_part(request, *sealed, now, log)?,
        Transition::DropPart { document, part } => {
            may_go_on(request, now)?;
            let standing = request.receivings.iter_mut().find(|r| r.document == document);
            let Some(How::Parts { finished, .. }) = standing.map(|r| &mut r.how) else {
                return Err(Refusal::Superseded);
            };
            finished.retain(|f| f.part.name != part);
        }
        Transition::EndReceive { document, idle } => {
            let over = |r: &Receiving| request.ends_at(r).is_some_and(|end| now >= end);
            let Some(place) = request.receivings.iter().position(|r| r.document == document) else {
                return Err(Refusal::Superseded);
            };
            if idle && !over(&request.receivings[place]) {
                return Err(Refusal::Superseded);
            }
            let ended = &mut request.receivings[place];
            // What its visitor takes back or replaces leaves no line: a stranger with the link must not be able to fill the log.
            if std::mem::replace(&mut ended.how, How::Ending) != How::Ending && idle {
                log.add(Actor::Portal, AuditAction::UploadExpired);
            }
        }
        _ => return Err(Refusal::WrongState(request.state(now))),
    }
    Ok(())
}

fn store_part(request: &mut DocumentRequest, sealed: SealedPart, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    may_go_on(request, now)?;
    let asked = request.parts.iter().enumerate().find(|(_, p)| p.name == sealed.part.name);
    let fits = asked.is_some_and(|(_, asked)| asked.accepted.contains(&sealed.part.file_type));
    if asked.is_some_and(|(place, _)| !sealed.durable.covers(sealed.document, place, &sealed.part)) {
        return Err(Refusal::Incomplete);
    }
    if sealed.generation != request.link.generation || !fits || request.finished(&sealed.part.name).is_some() {
        return Err(Refusal::Superseded);
    }
    let staging = request
        .receivings
        .iter_mut()
        .find(|r| r.staged().is_some_and(|s| s.part == sealed.part.name));
    if sealed.upload.is_some() && sealed.upload != staging.as_ref().map(|r| r.document) {
        return Err(Refusal::Superseded);
    }
    // Also when a form brought the part that an upload was still sending.
    if let Some(staging) = staging {
        staging.how = How::Ending;
    }
    let name = sealed.part.name.clone();
    let part = FinishedPart {
        part: sealed.part,
        length: sealed.length,
    };
    match request.receivings.iter_mut().find(|r| matches!(r.how, How::Parts { .. })) {
        // The submission that it was sealed into has ended, and its secret with it.
        None if sealed.joins => return Err(Refusal::Superseded),
        None => request.receivings.push(Receiving {
            document: sealed.document,
            slot: sealed.slot,
            started_at: sealed.started_at,
            how: How::Parts {
                finished: vec![part],
                touched_at: now,
            },
        }),
        Some(standing) if standing.document == sealed.document && standing.slot == sealed.slot => {
            if let How::Parts { finished, .. } = &mut standing.how {
                finished.push(part);
            }
        }
        // Two parts came first at the same time: the second one must be sealed again, under the submission that there is now.
        Some(_) => return Err(Refusal::Superseded),
    }
    let received = request.link.parts_received.saturating_add(1);
    request.link.parts_received = received;
    let event = AuditEvent::new(now, Actor::Applicant, AuditAction::PartReceived)
        .on(request.id)
        .with("part", &name);
    if received <= PART_ENTRIES {
        log.add_event(event);
    } else if received.is_power_of_two() {
        log.add_event(event.with("received_so_far", received));
    }
    touch(request, now);
    let finished: Option<Vec<_>> = request
        .parts
        .iter()
        .map(|p| request.finished(&p.name).map(|f| f.part.clone()))
        .collect();
    match finished {
        None => Ok(()),
        Some(parts) => {
            let document = Document {
                id: sealed.document,
                slot: sealed.slot,
                received_at: now,
                purge_at: now + request.keep,
                parts,
                receiver: sealed.receiver,
            };
            commit(request, document, now, log)
        }
    }
}

pub(super) fn commit(request: &mut DocumentRequest, document: Document, now: OffsetDateTime, log: &mut Log) -> Result<(), Refusal> {
    may_go_on(request, now)?;
    if !request
        .receivings
        .iter()
        .any(|r| r.document == document.id && r.slot == document.slot && matches!(r.how, How::Stream | How::Parts { .. }))
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
    let event = AuditEvent::new(now, Actor::Applicant, AuditAction::DocumentReceived)
        .on(request.id)
        .with("document", document.id)
        .with("parts", document.parts.len())
        .with("bytes", bytes);
    log.add_event(match request.link.parts_received {
        all if all > PART_ENTRIES => event.with("parts_received_in_all", all),
        _ => event,
    });
    request.receivings.retain(|r| r.document != document.id);
    let_go(request);
    request.stage = Stage::Held {
        document,
        delivery: Delivery::new(now),
        purge_requested: false,
    };
    Ok(())
}

/// Whether a part's chunks are known to be durable.
pub(super) fn proved(durable: &[Durable], document: DocumentId, place: usize, part: &StoredPart) -> bool {
    durable.iter().any(|proof| proof.covers(document, place, part))
}

/// Nothing on its way in can win any more, whether it waits between two connections or runs.
pub(super) fn let_go(request: &mut DocumentRequest) {
    for receiving in &mut request.receivings {
        receiving.how = How::Ending;
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

/// One clock for the whole submission: a finished front must not end while its back is on the way.
fn touch(request: &mut DocumentRequest, now: OffsetDateTime) {
    request.receivings.iter_mut().for_each(|r| r.touch(now));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{apply, tests};
    use super::*;
    use crate::domain::document::PartName;
    use crate::domain::request::StagedPart;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);

    /// A request for two sides.
    fn request() -> DocumentRequest {
        let mut request = tests::request(false);
        let mut back = request.parts[0].clone();
        back.name = PartName::parse("back").unwrap();
        request.parts.push(back);
        request.link.expires_at = NOW + Duration::days(3);
        request
    }

    fn staged(n: u8, part: &str) -> Transition {
        Transition::BeginReceive {
            receiving: Receiving {
                document: DocumentId([n; 16]),
                slot: SlotRef {
                    index: u64::from(n),
                    generation: 1,
                },
                started_at: NOW,
                how: How::Staged {
                    staged: StagedPart {
                        part: PartName::parse(part).unwrap(),
                        length: 100,
                        offset: 0,
                        state: vec![n],
                    },
                    touched_at: NOW,
                },
            },
            generation: 1,
        }
    }

    fn sealed(document: u8, part: &str, upload: Option<u8>) -> Transition {
        let made = tests::document(document, NOW, part == "front");
        Transition::StorePart(Box::new(SealedPart {
            document: made.id,
            slot: made.slot,
            generation: 1,
            started_at: NOW,
            durable: Durable::synced(made.id, u8::from(part != "front"), 1),
            part: made.parts[0].clone(),
            length: 100,
            upload: upload.map(|u| DocumentId([u; 16])),
            joins: false,
            receiver: Some([7; 32]),
        }))
    }

    fn after(request: &DocumentRequest, step: Transition) -> DocumentRequest {
        apply(request.clone(), step, NOW).unwrap().0
    }

    #[test]
    fn the_last_part_is_the_commit() {
        let begun = after(&after(&request(), staged(1, "front")), staged(2, "back"));
        let half = after(&begun, sealed(9, "front", Some(1)));
        assert_eq!(half.finished(&PartName::parse("front").unwrap()).unwrap().length, 100);
        assert_eq!(
            half.receivings.iter().filter(|r| r.how == How::Ending).count(),
            1,
            "its upload ends"
        );
        let whole = after(&half, sealed(9, "back", Some(2)));
        let (document, _) = whole.held().unwrap();
        assert_eq!((document.id, document.receiver), (DocumentId([9; 16]), Some([7; 32])));
        let names: Vec<_> = document.parts.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["front", "back"], "in the order asked for");
        assert!(whole.receivings.iter().all(|r| r.how == How::Ending && r.document != document.id));
        assert_eq!(apply(whole, sealed(9, "back", None), NOW).unwrap_err(), Refusal::AlreadyReceived);
    }

    #[test]
    fn one_upload_for_each_part_and_one_submission_for_each_link() {
        let begun = after(&request(), staged(1, "front"));
        assert_eq!(apply(begun.clone(), staged(2, "front"), NOW).unwrap_err(), Refusal::Superseded);
        assert_eq!(apply(begun.clone(), staged(2, "side"), NOW).unwrap_err(), Refusal::Superseded);
        assert_eq!(
            apply(begun.clone(), sealed(9, "front", Some(2)), NOW).unwrap_err(),
            Refusal::Superseded,
            "not the upload that there is"
        );
        let half = after(&after(&begun, sealed(9, "front", Some(1))), staged(3, "back"));
        assert_eq!(
            apply(half.clone(), sealed(8, "back", Some(3)), NOW).unwrap_err(),
            Refusal::Superseded,
            "sealed into another submission"
        );
        assert_eq!(apply(half.clone(), sealed(9, "front", None), NOW).unwrap_err(), Refusal::Superseded);
        assert_eq!(apply(half, staged(4, "front"), NOW).unwrap_err(), Refusal::Superseded, "it is here");
    }

    #[test]
    fn a_part_sent_and_taken_back_for_ever_does_not_fill_the_log() {
        let mut request = request();
        let mut entries = Vec::new();
        for _ in 0..5_000 {
            let (half, log) = apply(request, sealed(9, "front", None), NOW).unwrap();
            entries.extend(log);
            let drop = Transition::DropPart {
                document: DocumentId([9; 16]),
                part: PartName::parse("front").unwrap(),
            };
            let (without, log) = apply(half, drop, NOW).unwrap();
            assert_eq!(log, [], "what is taken back leaves no line");
            request = without;
        }
        // Eight, then 16, 32 … 4096.
        assert_eq!(entries.len(), 8 + 9);
        assert!(entries.iter().all(|e| e.action == AuditAction::PartReceived));
        let last = entries.last().unwrap().detail.iter().find(|(name, _)| name == "received_so_far");
        assert_eq!(last.map(|(_, value)| value.as_str()), Some("4096"));
        let half = after(&request, sealed(9, "front", None));
        let (_, log) = apply(half, sealed(9, "back", None), NOW).unwrap();
        let told = log.last().unwrap();
        assert_eq!(
            (told.action, told.detail.last().unwrap().1.as_str()),
            (AuditAction::DocumentReceived, "5002")
        );
    }

    #[test]
    fn a_part_of_a_submission_that_has_ended_revives_nothing() {
        let half = after(&request(), sealed(9, "front", None));
        let document = DocumentId([9; 16]);
        let touched = after(&half, Transition::TouchReceive { document });
        assert_eq!(touched.standing().map(|s| s.document), Some(document));
        let end = Transition::EndReceive { document, idle: false };
        let ended = after(&half, end);
        let Transition::StorePart(mut late) = sealed(9, "back", None) else {
            panic!()
        };
        late.joins = true;
        assert!(apply(half, Transition::StorePart(late.clone()), NOW).is_ok());
        assert_eq!(
            apply(ended.clone(), Transition::StorePart(late), NOW).unwrap_err(),
            Refusal::Superseded
        );
        assert_eq!(
            apply(ended, Transition::TouchReceive { document }, NOW).unwrap_err(),
            Refusal::Superseded
        );
    }

    #[test]
    fn progress_is_from_where_it_stands() {
        let begun = after(&request(), staged(1, "front"));
        let progress = |from, offset| Transition::StageProgress {
            document: DocumentId([1; 16]),
            from,
            offset,
            state: vec![9],
            durable: vec![Durable::synced(DocumentId([1; 16]), 0, 1)],
        };
        let moved = after(&begun, progress(0, 60));
        assert_eq!(moved.receivings[0].staged().map(|s: &StagedPart| s.offset), Some(60));
        for late in [progress(0, 50), progress(59, 70), progress(60, 101)] {
            assert_eq!(apply(moved.clone(), late, NOW).unwrap_err(), Refusal::Superseded);
        }
    }

    #[test]
    fn what_comes_last_keeps_the_whole_submission() {
        let begun = after(&after(&request(), staged(1, "front")), staged(2, "back"));
        let later = NOW + Duration::minutes(50);
        let progress = Transition::StageProgress {
            document: DocumentId([1; 16]),
            from: 0,
            offset: 10,
            state: vec![],
            durable: vec![Durable::synced(DocumentId([1; 16]), 1, 1)],
        };
        let (moved, _) = apply(begun, progress, later).unwrap();
        assert_eq!(moved.cleanup_at(), Some(later + crate::domain::link::RESUME_WITHIN));
        let end = |idle| Transition::EndReceive {
            document: DocumentId([2; 16]),
            idle,
        };
        assert_eq!(
            apply(moved.clone(), end(true), later + Duration::minutes(59)).unwrap_err(),
            Refusal::Superseded
        );
        let (ended, log) = apply(moved.clone(), end(true), later + Duration::hours(1)).unwrap();
        assert_eq!((ended.receivings[1].how.clone(), log.len()), (How::Ending, 1));
        let (ended, log) = apply(moved, end(false), later).unwrap();
        assert_eq!((ended.receivings[1].how.clone(), log.len()), (How::Ending, 0));
    }
}
