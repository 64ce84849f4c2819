//! Random walks through the transitions, watched by what must hold in every state and at every step.
#![allow(clippy::unwrap_used)]

mod samples;

use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::domain::delivery::{Intent, PurgeCause, Receipt};
use crate::domain::document::{Durable, PartName, SealedText};
use crate::domain::id::{AgentId, DocumentId};
use crate::domain::link::{COMMIT_GRACE, PASSCODE_TRIES, PasscodeLock};
use crate::domain::request::{IntakeKind, Note, SENDING_GRACE};
pub(crate) use samples::*;

fn problem() -> DeliveryProblem {
    DeliveryProblem::new("x", "y")
}

/// A step of the walk: what is tried, with a number that chooses its details.
#[derive(Clone, Debug)]
pub(crate) struct Try {
    pub what: u8,
    pub pick: u8,
    /// Seconds that go by before.
    pub wait: u32,
}

pub(crate) fn tries() -> impl Strategy<Value = Vec<Try>> {
    let wait = prop_oneof![3 => Just(0_u32), 3 => 1..90_u32, 2 => 90..3_600_u32, 1 => 3_600..400_000_u32];
    // Weighted towards the way of a document, so that walks come far.
    let what = prop_oneof![1 => 0..41_u8, 1 => 33..36_u8, 2 => prop_oneof![Just(8_u8), Just(10), Just(11), Just(15), Just(17)], 1 => prop_oneof![Just(18_u8), Just(24), Just(25), Just(27), Just(28)]];
    proptest::collection::vec(
        (what, any::<u8>(), wait).prop_map(|(what, pick, wait)| Try { what, pick, wait }),
        1..120,
    )
}

pub(crate) fn transition(step: &Try, request: &DocumentRequest, now: OffsetDateTime) -> Transition {
    let pick = step.pick;
    let soon = now + Duration::seconds(i64::from(pick));
    // Mostly the current fence, sometimes an older or a future one.
    let fence = match pick % 8 {
        0 => request.fence.saturating_sub(1),
        1 => request.fence + 1,
        _ => request.fence,
    };
    let doc = pick % 3 + u8::try_from(request.link.generation % 60).unwrap() * 3;
    let epoch = request.held().map_or(0, |(_, d)| d.epoch);
    let worker = |step| Transition::Worker { fence, step };
    match step.what {
        0 => agent(AgentAction::Extend {
            until: soon,
            terms_mac: [1; 32],
        }),
        1 | 2 => agent(AgentAction::Reissue {
            link: link(
                request.link.generation + u32::from(!pick.is_multiple_of(4)),
                soon,
                pick.is_multiple_of(2),
            ),
            terms_mac: [2; 32],
        }),
        3 => agent(AgentAction::Revoke),
        4 => agent(AgentAction::RenewPasscode {
            lock: PasscodeLock {
                hash: "z".into(),
                tries_left: PASSCODE_TRIES,
            },
        }),
        5 => agent(AgentAction::Retry),
        6 => agent(AgentAction::RequestPurge),
        7 => agent(AgentAction::MarkUploaded),
        8 => begin_upload(doc, now, request.link.generation - u32::from(pick.is_multiple_of(16))),
        9 => Transition::Intake(match pick % 4 {
            0 => IntakeStep::Discard {
                document: DocumentId([doc; 16]),
                slot: slot(doc),
                started_at: now,
            },
            1 => IntakeStep::LeaseCleanup {
                until: now + Duration::seconds(60),
            },
            _ => IntakeStep::CleanedUp {
                fence: request.cleanup.fence.saturating_sub(u64::from(pick.is_multiple_of(8))),
                documents: request.intakes.iter().map(|r| r.document).collect(),
                again_at: pick.is_multiple_of(3).then_some(soon),
            },
        }),
        10 => received(document(doc, now, pick % 16 != 1)),
        11..=14 => Transition::Lease {
            until: now + Duration::seconds(60),
        },
        15 | 16 => worker(WorkerStep::StartSending {
            intent: Intent {
                epoch,
                started_at: now,
                digest: [pick; 32],
            },
        }),
        17 => worker(WorkerStep::Delivered {
            receipt: Receipt {
                references: vec!["r".into()],
                received_at: now,
            },
            poll_at: soon,
        }),
        18 => worker(WorkerStep::BecomeUncertain {
            problem: problem(),
            check_at: soon,
            attempt: attempt(pick),
        }),
        19 => worker(WorkerStep::FoundAbsent {
            again: pick.is_multiple_of(2).then(|| SendAgain {
                new_epoch: pick.is_multiple_of(4),
                keep_progress: pick.is_multiple_of(3),
            }),
            check_at: soon,
        }),
        20 => worker(WorkerStep::RetryLater {
            at: soon,
            problem: problem(),
            attempt: attempt(pick),
            new_epoch: pick.is_multiple_of(7),
        }),
        21 => worker(WorkerStep::GiveUp { problem: problem() }),
        22 => worker(WorkerStep::PollLater {
            at: soon,
            seen: request.held().and_then(|(_, d)| d.phase.step_at()).unwrap_or(now),
        }),
        23 => worker(WorkerStep::NoteExpired),
        24 => worker(WorkerStep::Confirm),
        25 => worker(WorkerStep::Reject { problem: problem() }),
        26 => worker(WorkerStep::StartPurge {
            cause: PurgeCause::Deadline,
        }),
        27 | 28 => worker(WorkerStep::FinishPurge {
            receipt: request.tombstones.len() as u64 + 1,
        }),
        29 => worker(WorkerStep::Renew { until: soon }),
        30 => worker(WorkerStep::Release),
        31 => Transition::Intake(IntakeStep::SpendPasscodeTry),
        32 => Transition::Intake(IntakeStep::NoteOpened {
            generation: request.link.generation - u32::from(pick.is_multiple_of(8)),
        }),
        33 => begin_upload(doc.wrapping_add(200), now, request.link.generation),
        34 => {
            let staged = request.intakes.iter().find_map(|r| Some((r.document, r.staged()?.offset)));
            let (document, from) = staged.unwrap_or((DocumentId([doc; 16]), 0));
            Transition::Intake(IntakeStep::StageProgress {
                document,
                from: from + u64::from(pick.is_multiple_of(16)),
                offset: from + 1,
                state: vec![pick],
                durable: vec![Durable::synced(document, 0, 1)],
            })
        }
        35 => {
            let mut sealed = sealed(document(doc, now, !pick.is_multiple_of(16)), now);
            sealed.generation = request.link.generation - u32::from(pick.is_multiple_of(32));
            sealed.upload = request.intakes.iter().find(|r| r.staged().is_some()).map(|r| r.document);
            Transition::Intake(IntakeStep::StorePart(Box::new(sealed)))
        }
        36 => {
            let (document, part) = (DocumentId([doc; 16]), PartName::parse("front").unwrap());
            Transition::Intake(if pick.is_multiple_of(2) {
                IntakeStep::DropPart { document, part }
            } else {
                IntakeStep::TakeBackPart { document, part }
            })
        }
        37 => Transition::Intake(IntakeStep::End {
            document: request.intakes.last().map_or(DocumentId([doc; 16]), |r| r.document),
            end: if pick.is_multiple_of(2) { EndOf::Idle } else { EndOf::Withdrawn },
        }),
        38 => agent(AgentAction::AddNote {
            note: Note {
                by: by(),
                at: now,
                text: SealedText(vec![pick]),
            },
        }),
        39 => agent(AgentAction::Assign {
            to: (!pick.is_multiple_of(3)).then_some(AgentId([pick % 3; 16])),
        }),
        _ => Transition::Nudge,
    }
}

fn attempt(pick: u8) -> Attempt {
    match pick {
        pick if pick.is_multiple_of(3) => Attempt::Uncounted,
        pick if pick.is_multiple_of(5) => Attempt::Damaged,
        _ => Attempt::Counted,
    }
}

fn agent(action: AgentAction) -> Transition {
    Transition::Agent { by: by(), action }
}

/// What must hold whatever happened before.
fn check_state(r: &DocumentRequest, now: OffsetDateTime) {
    let due = r.due_at();
    match &r.stage {
        Stage::Open { .. } => {
            assert!(
                due.is_some() || !r.intakes.is_empty(),
                "an expiry or the end of its history is coming"
            );
            let staged: Vec<_> = r.intakes.iter().filter_map(|r| r.staged()).map(|s| &s.part).collect();
            assert!(staged.len() <= r.parts.len(), "one unfinished upload for each part: {staged:?}");
            if let Some(end) = r.intakes.iter().map(|x| r.ends_at(x)).min()
                && r.cleanup.until.is_none()
            {
                assert_eq!(r.cleanup_at(), Some(end), "what must end is not slept through");
            }
        }
        Stage::Held {
            document,
            delivery,
            purge_requested,
        } => {
            let due = due.expect("a deadline is coming");
            if r.lease.is_none() {
                assert!(due <= document.purge_at + SENDING_GRACE, "the deadline is never slept through");
                assert!(!purge_requested || due <= now, "what an agent wants purged is due");
                if let Some(step) = delivery.phase.step_at() {
                    assert!(due <= step.max(due), "the next step is not slept through");
                    assert!(due <= step || due <= document.purge_at + SENDING_GRACE);
                }
            }
            assert!(r.intakes.iter().all(|r| r.kind == IntakeKind::Discarding), "at most one document");
            assert!(
                r.intakes.iter().all(|r| r.document != document.id),
                "what was received is not given up"
            );
            assert!(!r.must_forget(now), "what is held is never forgotten");
        }
        Stage::Purging { .. } => {
            assert!(due.is_some() && !r.must_forget(now));
            assert!(r.lease.is_some() || due.unwrap() <= now, "a purge goes on at once");
        }
        Stage::Purged => {
            assert!(due.is_some() || !r.intakes.is_empty());
            assert!(!r.tombstones.is_empty());
        }
    }
    if let Some(lease) = r.lease {
        assert_eq!(lease.fence, r.fence, "the only lease is the newest");
        assert_eq!(due, Some(lease.until));
    }
    // Never panics, and never contradicts itself.
    let (shown, resting) = (r.state(now), r.resting_state());
    assert!(shown == resting || matches!(r.stage, Stage::Open { .. }), "{shown:?} {resting:?}");
    assert!(!r.terms().is_empty());
}

/// What a step may do.
fn check_step(before: &DocumentRequest, step: &Transition, after: &DocumentRequest, events: &[AuditEvent], now: OffsetDateTime) {
    let log = || format!("{step:?}\nbefore: {before:?}\nafter: {after:?}");
    assert!(
        after.fence >= before.fence && after.link.generation >= before.link.generation,
        "{}",
        log()
    );
    if matches!(step, Transition::Lease { .. }) {
        assert_eq!(after.fence, before.fence + 1);
        assert!(before.lease.is_none_or(|l| l.until <= now), "a lease was taken away: {}", log());
    }
    if let Transition::Worker { fence, .. } = step {
        assert_eq!(
            before.lease.map(|l| l.fence),
            Some(*fence),
            "a step without the current fence: {}",
            log()
        );
    }
    match (&before.stage, &after.stage) {
        (Stage::Held { document: old, .. }, Stage::Held { document: new, .. } | Stage::Purging { document: new, .. })
        | (Stage::Purging { document: old, .. }, Stage::Purging { document: new, .. }) => assert_eq!(old, new, "{}", log()),
        (Stage::Purging { document, .. }, Stage::Purged) => {
            assert_eq!(after.tombstones.len(), before.tombstones.len() + 1);
            assert_eq!(after.tombstones.last().unwrap().document, document.id);
        }
        (Stage::Open { .. }, Stage::Held { document, .. }) => {
            let Transition::Intake(IntakeStep::StorePart(sealed)) = step else {
                panic!("{}", log())
            };
            assert_eq!(sealed.document, document.id);
            // By an upload that was known, or by a form.
            let upload = sealed.upload.is_none_or(|u| before.intakes.iter().any(|r| r.document == u));
            assert!(upload, "{}", log());
            assert!(
                now < before.link.expires_at + COMMIT_GRACE && before.link.revoked_at.is_none(),
                "{}",
                log()
            );
        }
        (Stage::Purged, Stage::Open { .. }) => {
            assert!(matches!(
                step,
                Transition::Agent {
                    action: AgentAction::Reissue { .. },
                    ..
                }
            ));
            assert_eq!(after.link.generation, before.link.generation + 1);
            assert_ne!(before.tombstones.last().unwrap().cause, PurgeCause::Confirmed, "{}", log());
        }
        (Stage::Open { .. }, Stage::Open { .. }) | (Stage::Purged, Stage::Purged) => {}
        _ => panic!("an impossible way: {}", log()),
    }
    if let (Some((_, old)), Some((_, new))) = (before.held(), after.held()) {
        assert!(new.epoch >= old.epoch && new.epoch <= old.epoch + 1, "{}", log());
        let open = |p: &Phase| matches!(p, Phase::Sending { .. } | Phase::Uncertain { .. });
        // An open attempt ends by an answer, a proven absence, a failure that says "not stored", or a person being asked.
        if open(&old.phase) && matches!(new.phase, Phase::Pending { .. }) {
            let proven = matches!(
                step,
                Transition::Worker {
                    step: WorkerStep::FoundAbsent { again: Some(_), .. },
                    ..
                }
            );
            let definite = matches!(
                step,
                Transition::Worker {
                    step: WorkerStep::RetryLater { .. },
                    ..
                }
            ) && matches!(old.phase, Phase::Sending { .. });
            assert!(proven || definite, "{}", log());
        }
        if !open(&old.phase) && open(&new.phase) {
            assert!(
                matches!(
                    step,
                    Transition::Worker {
                        step: WorkerStep::StartSending { .. },
                        ..
                    }
                ),
                "{}",
                log()
            );
        }
        // What has arrived is never sent again.
        if matches!(old.phase, Phase::AwaitingConfirmation { .. }) {
            assert!(matches!(new.phase, Phase::AwaitingConfirmation { .. }), "{}", log());
        }
        if let (Phase::Uncertain { intent: a, .. }, Phase::Uncertain { intent: b, .. }) = (&old.phase, &new.phase) {
            assert_eq!(a, b);
        }
    }
    let shown = (before.resting_state(), after.resting_state());
    // Uploads come and go without a line; so does noting the end of a link that was revoked before, and an idle upload that another one outlives.
    let quiet = match step {
        Transition::Intake(step) => !matches!(step, IntakeStep::StorePart(_)),
        Transition::Worker { step, .. } => matches!(step, WorkerStep::NoteExpired) && before.link.revoked_at.is_some(),
        Transition::Agent { .. } | Transition::Lease { .. } | Transition::Nudge => false,
    };
    assert!(
        shown.0 == shown.1 || quiet || !events.is_empty(),
        "{shown:?} without a line: {}",
        log()
    );
    for event in events {
        assert_eq!((event.request, event.at), (Some(before.id), now));
    }
}

/// Where random walks end, for those who store requests.
pub(crate) fn walked() -> impl Strategy<Value = DocumentRequest> {
    (tries(), any::<bool>()).prop_map(|(walk, passcode)| {
        let (mut at, mut now) = (request(passcode), start());
        for step in &walk {
            now += Duration::seconds(i64::from(step.wait));
            if let Ok((after, _)) = apply(at.clone(), transition(step, &at, now), now) {
                at = after;
            }
        }
        at
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_leaves_the_law(walk in tries(), passcode: bool) {
        let (mut at, mut now) = (request(passcode), start());
        let mut held: Vec<u32> = Vec::new();
        for step in &walk {
            now += Duration::seconds(i64::from(step.wait));
            let step = transition(step, &at, now);
            let Ok((after, events)) = apply(at.clone(), step.clone(), now) else { continue };
            check_step(&at, &step, &after, &events, now);
            check_state(&after, now);
            if matches!(at.stage, Stage::Open { .. }) && after.document().is_some() {
                held.push(after.link.generation);
            }
            at = after;
        }
        let count = held.len();
        held.dedup();
        prop_assert_eq!(held.len(), count, "two documents by one link");
    }
}

/// The walks above must come far, or they prove nothing.
#[test]
fn walks_reach_every_state() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    let mut phases = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let (mut at, mut now) = (request(false), start());
        for step in tries().new_tree(&mut runner).unwrap().current() {
            now += Duration::seconds(i64::from(step.wait));
            if let Ok((after, _)) = apply(at.clone(), transition(&step, &at, now), now) {
                at = after;
            }
            seen.insert(at.state(now));
            if let Some((_, delivery)) = at.held() {
                phases.insert(format!("{:?}", delivery.phase).split_whitespace().next().unwrap().to_owned());
            }
        }
    }
    let missing: Vec<_> = RequestState::ALL.into_iter().filter(|s| !seen.contains(s)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
    assert_eq!(phases.len(), 5, "{phases:?}");
}

/// An upload that began under an old link cannot fill the new one.
#[test]
fn an_old_links_upload_is_refused_by_the_new_one() {
    let now = start();
    let reissue = agent(AgentAction::Reissue {
        link: link(2, now + Duration::hours(1), false),
        terms_mac: [0; 32],
    });
    let (at, _) = apply(request(false), reissue, now).unwrap();
    assert_eq!(apply(at.clone(), begin_upload(9, now, 1), now).unwrap_err(), Refusal::Superseded);
    assert!(apply(at.clone(), begin_upload(9, now, 2), now).is_ok());
    let late = received(document(9, now, true));
    assert_eq!(apply(at, late, now).unwrap_err(), Refusal::Superseded);
}

/// A callback while the provider is being asked is not overwritten by the answer to the older question.
#[test]
fn a_callback_during_a_question_makes_the_next_one_come_at_once() {
    let now = start();
    let mut at = request(false);
    let worker = |step| Transition::Worker { fence: 1, step };
    for step in [
        received(document(1, now, true)),
        Transition::Lease {
            until: now + Duration::seconds(60),
        },
        worker(WorkerStep::StartSending {
            intent: Intent {
                epoch: 0,
                started_at: now,
                digest: [0; 32],
            },
        }),
        worker(WorkerStep::Delivered {
            receipt: Receipt {
                references: vec![],
                received_at: now,
            },
            poll_at: now,
        }),
    ] {
        at = apply(at, step, now).unwrap().0;
    }
    let seen = at.held().unwrap().1.phase.step_at().unwrap();
    let later = worker(WorkerStep::PollLater {
        at: now + Duration::hours(1),
        seen,
    });
    let quiet = apply(at.clone(), later.clone(), now).unwrap().0;
    assert_eq!(quiet.due_at(), Some(now + Duration::hours(1)));
    let nudged = apply(at, Transition::Nudge, now).unwrap().0;
    assert!(apply(nudged, later, now).unwrap().0.due_at().unwrap() <= now);
}

/// What was given up is destroyed under its id: bytes that are stored under the same one would go with it.
#[test]
fn nothing_is_stored_under_an_id_that_is_being_destroyed() {
    let now = start();
    let given_up = document(7, now, true);
    let discard = Transition::Intake(IntakeStep::Discard {
        document: given_up.id,
        slot: given_up.slot,
        started_at: now,
    });
    let at = apply(request(false), discard, now).unwrap().0;
    assert_eq!(apply(at.clone(), received(given_up), now).unwrap_err(), Refusal::Superseded);
    assert!(apply(at, received(document(8, now, true)), now).is_ok());
}
