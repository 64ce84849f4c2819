//! Parts, uploads and what is discarded, step by step.
#![allow(clippy::unwrap_used)]

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::super::{Transition, WorkerStep, apply, tests};
use super::{EndOf, IntakeStep, Refusal, SealedPart, Submission};
use crate::domain::audit::AuditAction;
use crate::domain::delivery::PurgeCause;
use crate::domain::document::{Durable, PartName, SlotRef};
use crate::domain::id::DocumentId;
use crate::domain::request::{DocumentRequest, IntakeKind, Stage, StagedPart};

const NOW: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);
const SOON: OffsetDateTime = datetime!(2026-01-01 0:01 UTC);

/// A request for two sides.
fn request() -> DocumentRequest {
    let mut request = tests::request(false);
    let mut back = request.parts[0].clone();
    back.name = PartName::parse("back").unwrap();
    request.parts.push(back);
    request.link.expires_at = NOW + Duration::days(3);
    request
}

fn staged(n: u8, part: &str) -> IntakeStep {
    IntakeStep::BeginUpload {
        document: DocumentId([n; 16]),
        slot: SlotRef {
            index: u64::from(n),
            generation: 1,
        },
        started_at: NOW,
        staged: StagedPart {
            part: PartName::parse(part).unwrap(),
            length: 100,
            offset: 0,
            state: vec![n],
        },
        generation: 1,
    }
}

fn part(document: u8, part: &str, upload: Option<u8>) -> SealedPart {
    let made = tests::document(document, NOW, part == "front");
    SealedPart {
        durable: Durable::synced(made.id, u8::from(part != "front"), 1),
        length: 100,
        upload: upload.map(|u| DocumentId([u; 16])),
        receiver: Some([7; 32]),
        ..tests::sealed(made, NOW)
    }
}

/// The first part of a document.
fn first(document: u8, name: &str, upload: Option<u8>) -> IntakeStep {
    IntakeStep::StorePart(Box::new(part(document, name, upload)))
}

/// Another part of one.
fn joins(document: u8, name: &str, upload: Option<u8>) -> IntakeStep {
    IntakeStep::StorePart(Box::new(SealedPart {
        submission: Submission::Joins,
        ..part(document, name, upload)
    }))
}

fn refused(request: &DocumentRequest, step: IntakeStep) -> Refusal {
    apply(request.clone(), Transition::Intake(step), NOW).unwrap_err()
}

fn after(request: &DocumentRequest, step: IntakeStep) -> DocumentRequest {
    apply(request.clone(), Transition::Intake(step), NOW).unwrap().0
}

#[test]
fn the_last_part_is_the_commit() {
    let begun = after(&after(&request(), staged(1, "front")), staged(2, "back"));
    let half = after(&begun, first(9, "front", Some(1)));
    assert_eq!(half.finished(&PartName::parse("front").unwrap()).unwrap().length, 100);
    assert_eq!(
        half.intakes.iter().filter(|r| r.kind == IntakeKind::Discarding).count(),
        1,
        "its upload ends"
    );
    let whole = after(&half, joins(9, "back", Some(2)));
    let (document, _) = whole.held().unwrap();
    assert_eq!((document.id, document.receiver), (DocumentId([9; 16]), Some([7; 32])));
    let names: Vec<_> = document.parts.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["front", "back"], "in the order asked for");
    assert!(
        whole
            .intakes
            .iter()
            .all(|r| r.kind == IntakeKind::Discarding && r.document != document.id)
    );
    assert_eq!(refused(&whole, joins(9, "back", None)), Refusal::AlreadyReceived);
}

#[test]
fn one_upload_for_each_part_and_one_submission_for_each_link() {
    let begun = after(&request(), staged(1, "front"));
    assert_eq!(refused(&begun, staged(2, "front")), Refusal::Superseded);
    assert_eq!(refused(&begun, staged(2, "side")), Refusal::Superseded);
    assert_eq!(
        refused(&begun, first(9, "front", Some(2))),
        Refusal::Superseded,
        "not the upload that there is"
    );
    let half = after(&after(&begun, first(9, "front", Some(1))), staged(3, "back"));
    assert_eq!(
        refused(&half, first(8, "back", Some(3))),
        Refusal::Superseded,
        "sealed into another submission"
    );
    assert_eq!(refused(&half, joins(9, "front", None)), Refusal::Superseded);
    assert_eq!(refused(&half, staged(4, "front")), Refusal::Superseded, "it is here");
}

#[test]
fn a_part_sent_and_taken_back_for_ever_does_not_fill_the_log() {
    let mut request = request();
    let mut entries = Vec::new();
    for _ in 0..5_000 {
        let step = if request.partial().is_some() {
            joins(9, "front", None)
        } else {
            first(9, "front", None)
        };
        let (half, log) = apply(request, Transition::Intake(step), NOW).unwrap();
        entries.extend(log);
        let drop = IntakeStep::DropPart {
            document: DocumentId([9; 16]),
            part: PartName::parse("front").unwrap(),
        };
        let (without, log) = apply(half, Transition::Intake(drop), NOW).unwrap();
        assert_eq!(log, [], "what is taken back leaves no line");
        request = without;
    }
    // Eight, then 16, 32 … 4096.
    assert_eq!(entries.len(), 8 + 9);
    assert!(entries.iter().all(|e| e.action == AuditAction::PartReceived));
    let last = entries.last().unwrap().detail.iter().find(|(name, _)| name == "received_so_far");
    assert_eq!(last.map(|(_, value)| value.as_str()), Some("4096"));
    let half = after(&request, joins(9, "front", None));
    let (_, log) = apply(half, Transition::Intake(joins(9, "back", None)), NOW).unwrap();
    let told = log.last().unwrap();
    assert_eq!(
        (told.action, told.detail.last().unwrap().1.as_str()),
        (AuditAction::DocumentReceived, "5002")
    );
}

#[test]
fn a_part_that_is_taken_back_leaves_what_another_device_stored_meanwhile() {
    let document = DocumentId([9; 16]);
    let take_back = |part: &str| IntakeStep::TakeBackPart {
        document,
        part: PartName::parse(part).unwrap(),
    };
    let mut three = request();
    let mut side = three.parts[0].clone();
    side.name = PartName::parse("side").unwrap();
    three.parts.push(side);
    let half = after(&three, first(9, "front", None));
    assert_eq!(refused(&half, take_back("back")), Refusal::Superseded, "it is not here");
    let alone = after(&half, take_back("front"));
    assert_eq!(alone.intakes[0].kind, IntakeKind::Discarding);
    assert_eq!(refused(&alone, joins(9, "back", None)), Refusal::Superseded);
    let two = after(&half, joins(9, "back", None));
    let left = after(&two, take_back("front"));
    assert!(left.finished(&PartName::parse("back").unwrap()).is_some());
    assert_eq!(after(&left, take_back("back")).intakes[0].kind, IntakeKind::Discarding);
}

#[test]
fn a_part_of_a_submission_that_has_ended_revives_nothing() {
    let half = after(&request(), first(9, "front", None));
    let document = DocumentId([9; 16]);
    let touched = after(&half, IntakeStep::TouchSubmission { document });
    assert_eq!(touched.partial().map(|s| s.document), Some(document));
    let end = EndOf::Withdrawn;
    let ended = after(&half, IntakeStep::End { document, end });
    assert_eq!(refused(&ended, joins(9, "back", None)), Refusal::Superseded);
    assert_eq!(refused(&ended, IntakeStep::TouchSubmission { document }), Refusal::Superseded);
    assert!(after(&half, joins(9, "back", None)).held().is_some());
}

#[test]
fn progress_is_from_where_it_stands() {
    let begun = after(&request(), staged(1, "front"));
    let progress = |from, offset| IntakeStep::StageProgress {
        document: DocumentId([1; 16]),
        from,
        offset,
        state: vec![9],
        durable: vec![Durable::synced(DocumentId([1; 16]), 0, 1)],
    };
    let moved = after(&begun, progress(0, 60));
    assert_eq!(moved.intakes[0].staged().map(|s: &StagedPart| s.offset), Some(60));
    for late in [progress(0, 50), progress(59, 70), progress(60, 101)] {
        assert_eq!(refused(&moved, late), Refusal::Superseded);
    }
}

#[test]
fn what_comes_last_keeps_the_whole_submission() {
    let begun = after(&after(&request(), staged(1, "front")), staged(2, "back"));
    let later = NOW + Duration::minutes(50);
    let progress = IntakeStep::StageProgress {
        document: DocumentId([1; 16]),
        from: 0,
        offset: 10,
        state: vec![],
        durable: vec![Durable::synced(DocumentId([1; 16]), 1, 1)],
    };
    let (moved, _) = apply(begun, Transition::Intake(progress), later).unwrap();
    assert_eq!(moved.cleanup_at(), Some(later + crate::domain::link::RESUME_WITHIN));
    let end = |end| {
        let document = DocumentId([2; 16]);
        Transition::Intake(IntakeStep::End { document, end })
    };
    assert_eq!(
        apply(moved.clone(), end(EndOf::Idle), later + Duration::minutes(59)).unwrap_err(),
        Refusal::Superseded
    );
    let (ended, log) = apply(moved.clone(), end(EndOf::Idle), later + Duration::hours(1)).unwrap();
    assert_eq!((ended.intakes[1].kind.clone(), log.len()), (IntakeKind::Discarding, 1));
    let (ended, log) = apply(moved, end(EndOf::Withdrawn), later).unwrap();
    assert_eq!((ended.intakes[1].kind.clone(), log.len()), (IntakeKind::Discarding, 0));
}

fn discard(n: u8) -> IntakeStep {
    IntakeStep::Discard {
        document: DocumentId([n; 16]),
        slot: slot(n),
        started_at: NOW,
    }
}

fn slot(n: u8) -> SlotRef {
    tests::document(n, NOW, true).slot
}

fn cleaned(fence: u64, documents: &[u8], again_at: Option<OffsetDateTime>) -> IntakeStep {
    IntakeStep::CleanedUp {
        fence,
        documents: documents.iter().map(|n| DocumentId([*n; 16])).collect(),
        again_at,
    }
}

#[test]
fn what_is_discarded_is_owned_until_it_is_destroyed() {
    let given = after(&after(&tests::request(false), discard(1)), discard(2));
    assert!(given.intakes.iter().all(|r| r.kind == IntakeKind::Discarding) && given.intakes.len() == 2);
    assert_eq!(after(&given, discard(2)), given, "repeating it changes nothing");
    assert_eq!(given.cleanup_at(), Some(NOW));
    let leased = after(&given, IntakeStep::LeaseCleanup { until: SOON });
    assert_eq!(leased.cleanup_at(), Some(SOON));
    assert_eq!(leased.lease, None, "a delivery may go on beside it");
    let ended = after(&leased, cleaned(1, &[1, 2, 9], None));
    assert!(ended.intakes.is_empty());
    assert_eq!((ended.cleanup_at(), ended.cleanup.until), (None, None));
}

#[test]
fn a_row_keeps_what_it_owns_otherwise() {
    let moved = |request: &DocumentRequest, step: Transition| apply(request.clone(), step, NOW).unwrap().0;
    let half = after(&request(), first(1, "front", None));
    assert_eq!(refused(&half, discard(1)), Refusal::Superseded, "a finished part is kept");
    let waits = after(&request(), staged(1, "front"));
    assert_eq!(refused(&waits, discard(1)), Refusal::Superseded, "and so is an upload");
    let held = moved(&tests::request(false), tests::received(tests::document(1, NOW, true)));
    assert_eq!(refused(&held, discard(1)), Refusal::AlreadyReceived);
    let loser = after(&held, discard(2));
    assert_eq!((loser.intakes.len(), loser.cleanup_at()), (1, Some(NOW)));
    let leased = moved(&loser, Transition::Lease { until: SOON });
    let fence = leased.fence;
    let worker = |step| Transition::Worker { fence, step };
    let cause = PurgeCause::Deadline;
    let purging = moved(&leased, worker(WorkerStep::StartPurge { cause }));
    assert_eq!(refused(&purging, discard(1)), Refusal::AlreadyReceived);
    let purged = moved(&purging, worker(WorkerStep::FinishPurge { receipt: 1 }));
    assert!(matches!(purged.stage, Stage::Purged));
    assert_eq!(refused(&purged, discard(1)), Refusal::AlreadyReceived);
    // What is still to be destroyed keeps the row from being forgotten.
    let late = NOW + Duration::days(99);
    assert!(!purged.must_forget(late) && purged.due_at().is_none() && purged.cleanup_at() == Some(NOW));
    let leased = after(&purged, IntakeStep::LeaseCleanup { until: SOON });
    let clean = after(&leased, cleaned(1, &[2], None));
    assert!(clean.must_forget(late) && clean.due_at().is_some());
}

#[test]
fn only_the_newest_lease_says_what_is_destroyed() {
    let later = |request: &DocumentRequest, step| apply(request.clone(), Transition::Intake(step), SOON);
    let given = after(&tests::request(false), discard(1));
    assert_eq!(refused(&given, cleaned(0, &[1], None)), Refusal::StaleLease);
    let first = after(&given, IntakeStep::LeaseCleanup { until: SOON });
    assert_eq!(refused(&first, IntakeStep::LeaseCleanup { until: SOON }), Refusal::StaleLease);
    let until = SOON + Duration::minutes(1);
    let (second, _) = later(&first, IntakeStep::LeaseCleanup { until }).unwrap();
    assert_eq!(later(&second, cleaned(1, &[1], None)).unwrap_err(), Refusal::StaleLease);
    // One that failed waits, and its lease with it.
    let paused = after(&second, cleaned(2, &[], Some(SOON + Duration::minutes(9))));
    assert_eq!(paused.cleanup_at(), Some(SOON + Duration::minutes(9)));
    assert_eq!(paused.intakes.len(), 1);
    assert!(later(&second, cleaned(2, &[1], None)).unwrap().0.intakes.is_empty());
}

#[test]
fn what_is_not_discarded_is_not_forgotten() {
    let waits = after(&after(&request(), staged(1, "front")), discard(2));
    let leased = after(&waits, IntakeStep::LeaseCleanup { until: SOON });
    let clean = after(&leased, cleaned(1, &[1, 2], None));
    assert_eq!((clean.intakes.len(), clean.intakes[0].document), (1, DocumentId([1; 16])));
}
