//! Random walks through the transitions, watched by what must hold in every state and at every step.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::domain::document::{
    DocumentKind, Durable, FileType, PartName, PartSpec, PictureLimits, ProviderName, SealedText, SlotRef, StoredPart,
};
use crate::domain::id::{AgentId, RequestId};
use crate::domain::link::{COMMIT_GRACE, MAX_STREAMS};
use crate::domain::request::{How, SENDING_GRACE, StagedPart};
use crate::domain::token::HashedToken;

fn start() -> OffsetDateTime {
    time::macros::datetime!(2026-01-01 0:00 UTC)
}

fn link(generation: u32, expires_at: OffsetDateTime, passcode: bool) -> UploadLink {
    UploadLink {
        hashed: HashedToken([u8::try_from(generation % 250).unwrap(); 32]),
        generation,
        issued_at: start(),
        expires_at,
        revoked_at: None,
        passcode: passcode.then(|| PasscodeLock {
            hash: "x".into(),
            tries_left: PASSCODE_TRIES,
        }),
        salt: None,
        parts_received: 0,
    }
}

pub(crate) fn request(passcode: bool) -> DocumentRequest {
    DocumentRequest {
        id: RequestId([1; 16]),
        created_at: start(),
        created_by: by(),
        provider: ProviderName::parse("sandbox").unwrap(),
        applicant: SealedText(vec![1]),
        applicant_index: [2; 32],
        document: DocumentKind::parse("passport").unwrap(),
        parts: vec![PartSpec {
            name: PartName::parse("front").unwrap(),
            accepted: vec![FileType::Jpeg],
            min_bytes: 1,
            max_bytes: 100,
            pictures: PictureLimits::default(),
        }],
        locale: None,
        message: None,
        metadata: None,
        return_url: None,
        keep: Duration::hours(2),
        forget_after: Duration::days(2),
        confirm: crate::domain::delivery::ConfirmAt::Received,
        link: link(1, start() + Duration::hours(1), passcode),
        terms_mac: [0; 32],
        receivings: Vec::new(),
        stage: Stage::Open { expiry_noted: false },
        cleanup: crate::domain::request::Cleanup::default(),
        lease: None,
        fence: 0,
        tombstones: Vec::new(),
        team: None,
    }
}

fn by() -> Actor {
    Actor::Agent(AgentId([3; 16]))
}

fn slot(n: u8) -> SlotRef {
    SlotRef {
        index: u64::from(n),
        generation: u64::from(n) + 100,
    }
}

pub(crate) fn document(n: u8, now: OffsetDateTime, whole: bool) -> Document {
    Document {
        id: DocumentId([n; 16]),
        slot: slot(n),
        received_at: now,
        purge_at: now + Duration::hours(2),
        parts: vec![StoredPart {
            name: PartName::parse(if whole { "front" } else { "back" }).unwrap(),
            file_type: FileType::Jpeg,
            header: vec![n],
            meta: vec![],
            digest: [n; 32],
            size: 1,
            chunks: 1,
        }],
        receiver: None,
    }
}

/// As a store proves it that has synced all of the document.
pub(crate) fn durable(document: &Document) -> Vec<Durable> {
    let proof = |(place, part): (usize, &StoredPart)| Durable::synced(document.id, u8::try_from(place).unwrap(), part.chunks);
    document.parts.iter().enumerate().map(proof).collect()
}

pub(crate) fn received(document: Document) -> Transition {
    let durable = durable(&document);
    Transition::CommitReceived(document, durable)
}

fn problem() -> Problem {
    Problem::new("x", "y")
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
    let what = prop_oneof![1 => 0..38_u8, 1 => 33..36_u8, 2 => prop_oneof![Just(8_u8), Just(10), Just(11), Just(15), Just(17)], 1 => prop_oneof![Just(18_u8), Just(24), Just(25), Just(27), Just(28)]];
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
    match step.what {
        0 => Transition::Extend {
            until: soon,
            terms_mac: [1; 32],
            by: by(),
        },
        1 | 2 => Transition::Reissue {
            link: link(
                request.link.generation + u32::from(!pick.is_multiple_of(4)),
                soon,
                pick.is_multiple_of(2),
            ),
            terms_mac: [2; 32],
            by: by(),
        },
        3 => Transition::Revoke { by: by() },
        4 => Transition::FreshPasscode {
            lock: PasscodeLock {
                hash: "z".into(),
                tries_left: PASSCODE_TRIES,
            },
            by: by(),
        },
        5 => Transition::Retry { by: by() },
        6 => Transition::RequestPurge { by: by() },
        7 => Transition::MarkUploaded { by: by() },
        8 => Transition::BeginReceive {
            receiving: Receiving {
                document: DocumentId([doc; 16]),
                slot: slot(doc),
                started_at: now,
                how: How::Stream,
            },
            generation: request.link.generation - u32::from(pick.is_multiple_of(16)),
        },
        9 => match pick % 4 {
            0 => Transition::GiveUpReceive {
                document: DocumentId([doc; 16]),
                slot: slot(doc),
                started_at: now,
            },
            1 => Transition::LeaseCleanup {
                until: now + Duration::seconds(60),
            },
            _ => Transition::CleanedUp {
                fence: request.cleanup.fence.saturating_sub(u64::from(pick.is_multiple_of(8))),
                documents: request.receivings.iter().map(|r| r.document).collect(),
                again_at: pick.is_multiple_of(3).then_some(soon),
            },
        },
        10 => received(document(doc, now, pick % 16 != 1)),
        11..=14 => Transition::Lease {
            until: now + Duration::seconds(60),
        },
        15 | 16 => Transition::StartSending {
            fence,
            intent: Intent {
                epoch,
                started_at: now,
                digest: [pick; 32],
            },
        },
        17 => Transition::Delivered {
            fence,
            receipt: Receipt {
                references: vec!["r".into()],
                received_at: now,
            },
            poll_at: soon,
        },
        18 => Transition::BecomeUncertain {
            fence,
            problem: problem(),
            check_at: soon,
            counted: !pick.is_multiple_of(3),
        },
        19 => Transition::FoundAbsent {
            fence,
            proven: pick.is_multiple_of(2),
            check_at: soon,
        },
        20 => Transition::RetryLater {
            fence,
            at: soon,
            problem: problem(),
            counted: !pick.is_multiple_of(3),
            poison: pick.is_multiple_of(5),
            new_epoch: pick.is_multiple_of(7),
        },
        21 => Transition::GiveUp { fence, problem: problem() },
        22 => Transition::PollLater {
            fence,
            at: soon,
            seen: request.held().and_then(|(_, d)| d.phase.step_at()).unwrap_or(now),
        },
        23 => Transition::NoteExpired { fence },
        24 => Transition::Confirm { fence },
        25 => Transition::Reject { fence, problem: problem() },
        26 => Transition::StartPurge {
            fence,
            cause: PurgeCause::Deadline,
        },
        27 | 28 => Transition::FinishPurge {
            fence,
            receipt: request.tombstones.len() as u64 + 1,
        },
        29 => Transition::Renew { fence, until: soon },
        30 => Transition::Release { fence },
        31 => Transition::SpendPasscodeTry,
        33 => Transition::BeginReceive {
            receiving: Receiving {
                document: DocumentId([doc.wrapping_add(200); 16]),
                slot: slot(doc.wrapping_add(50)),
                started_at: now,
                how: How::Staged {
                    staged: StagedPart {
                        part: PartName::parse("front").unwrap(),
                        length: 10,
                        offset: 0,
                        state: vec![doc],
                    },
                    touched_at: now,
                },
            },
            generation: request.link.generation,
        },
        34 => {
            let staged = request.receivings.iter().find_map(|r| Some((r.document, r.staged()?.offset)));
            let (document, from) = staged.unwrap_or((DocumentId([doc; 16]), 0));
            Transition::StageProgress {
                document,
                from: from + u64::from(pick.is_multiple_of(16)),
                offset: from + 1,
                state: vec![pick],
                durable: vec![Durable::synced(document, 0, 1)],
            }
        }
        35 => {
            let made = document(doc, now, !pick.is_multiple_of(16));
            Transition::StorePart(Box::new(SealedPart {
                document: made.id,
                slot: made.slot,
                generation: request.link.generation - u32::from(pick.is_multiple_of(32)),
                started_at: now,
                durable: Durable::synced(made.id, 0, 1),
                part: made.parts[0].clone(),
                length: 10,
                upload: request.receivings.iter().find(|r| r.staged().is_some()).map(|r| r.document),
                joins: false,
                receiver: None,
            }))
        }
        36 => Transition::DropPart {
            document: DocumentId([doc; 16]),
            part: PartName::parse("front").unwrap(),
        },
        37 => Transition::EndReceive {
            document: request.receivings.last().map_or(DocumentId([doc; 16]), |r| r.document),
            idle: pick.is_multiple_of(2),
        },
        _ => Transition::Nudge,
    }
}

/// What must hold whatever happened before.
fn check_state(r: &DocumentRequest, now: OffsetDateTime) {
    let due = r.due_at();
    match &r.stage {
        Stage::Open { .. } => {
            assert!(
                due.is_some() || !r.receivings.is_empty(),
                "an expiry or the end of its history is coming"
            );
            assert!(r.receivings.iter().filter(|r| r.how == How::Stream).count() <= MAX_STREAMS);
            let staged: Vec<_> = r.receivings.iter().filter_map(|r| r.staged()).map(|s| &s.part).collect();
            assert!(staged.len() <= r.parts.len(), "one unfinished upload for each part: {staged:?}");
            if let Some(end) = r.receivings.iter().filter_map(|x| r.ends_at(x)).min()
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
            assert!(r.receivings.iter().all(|r| r.how == How::Ending), "at most one document");
            assert!(
                r.receivings.iter().all(|r| r.document != document.id),
                "what was received is not given up"
            );
            assert!(!r.must_forget(now), "what is held is never forgotten");
        }
        Stage::Purging { .. } => {
            assert!(due.is_some() && !r.must_forget(now));
            assert!(r.lease.is_some() || due.unwrap() <= now, "a purge goes on at once");
        }
        Stage::Purged => {
            assert!(due.is_some() || !r.receivings.is_empty());
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
    if let Some(fence) = step.fence() {
        assert_eq!(
            before.lease.map(|l| l.fence),
            Some(fence),
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
            let known = before
                .receivings
                .iter()
                .any(|r| r.document == document.id && r.slot == document.slot);
            match step {
                Transition::CommitReceived(..) => assert!(known, "{}", log()),
                // The only part of a submission that did not stand before, from an upload that was known, or a form.
                Transition::StorePart(sealed) => assert!(
                    sealed.upload.is_none_or(|u| before.receivings.iter().any(|r| r.document == u)),
                    "{}",
                    log()
                ),
                _ => panic!("{}", log()),
            }
            assert!(
                now < before.link.expires_at + COMMIT_GRACE && before.link.revoked_at.is_none(),
                "{}",
                log()
            );
        }
        (Stage::Purged, Stage::Open { .. }) => {
            assert!(matches!(step, Transition::Reissue { .. }));
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
            let proven = matches!(step, Transition::FoundAbsent { proven: true, .. });
            let definite = matches!(step, Transition::RetryLater { .. }) && matches!(old.phase, Phase::Sending { .. });
            assert!(proven || definite, "{}", log());
        }
        if !open(&old.phase) && open(&new.phase) {
            assert!(matches!(step, Transition::StartSending { .. }), "{}", log());
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
    // Streams come and go without a line; so does noting the end of a link that was revoked before.
    let quiet = match step {
        Transition::BeginReceive { .. } | Transition::GiveUpReceive { .. } | Transition::EndReceive { idle: false, .. } => true,
        Transition::NoteExpired { .. } => before.link.revoked_at.is_some(),
        _ => false,
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

/// A stream that began under an old link cannot fill the new one.
#[test]
fn an_old_links_stream_is_refused_by_the_new_one() {
    let now = start();
    let next = link(2, now + Duration::hours(1), false);
    let reissue = Transition::Reissue {
        link: next,
        terms_mac: [0; 32],
        by: by(),
    };
    let (at, _) = apply(request(false), reissue, now).unwrap();
    let begin = |generation| Transition::BeginReceive {
        receiving: Receiving {
            document: DocumentId([9; 16]),
            slot: slot(9),
            started_at: now,
            how: How::Stream,
        },
        generation,
    };
    assert_eq!(apply(at.clone(), begin(1), now).unwrap_err(), Refusal::Superseded);
    assert!(apply(at, begin(2), now).is_ok());
}

/// A callback while the provider is being asked is not overwritten by the answer to the older question.
#[test]
fn a_callback_during_a_question_makes_the_next_one_come_at_once() {
    let now = start();
    let mut at = request(false);
    for step in [
        Transition::BeginReceive {
            receiving: Receiving {
                document: DocumentId([1; 16]),
                slot: slot(1),
                started_at: now,
                how: How::Stream,
            },
            generation: 1,
        },
        received(document(1, now, true)),
        Transition::Lease {
            until: now + Duration::seconds(60),
        },
        Transition::StartSending {
            fence: 1,
            intent: Intent {
                epoch: 0,
                started_at: now,
                digest: [0; 32],
            },
        },
        Transition::Delivered {
            fence: 1,
            receipt: Receipt {
                references: vec![],
                received_at: now,
            },
            poll_at: now,
        },
    ] {
        at = apply(at, step, now).unwrap().0;
    }
    let seen = at.held().unwrap().1.phase.step_at().unwrap();
    let later = Transition::PollLater {
        fence: 1,
        at: now + Duration::hours(1),
        seen,
    };
    let quiet = apply(at.clone(), later.clone(), now).unwrap().0;
    assert_eq!(quiet.due_at(), Some(now + Duration::hours(1)));
    let nudged = apply(at, Transition::Nudge, now).unwrap().0;
    assert!(apply(nudged, later, now).unwrap().0.due_at().unwrap() <= now);
}
