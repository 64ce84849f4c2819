//! The transitions by which what is given up comes to its end: owned by the request's row until it is destroyed, and destroyed by one task at a time.
//!
//! A row that owns a document in any other way (received, being purged, purged, waiting for more) refuses to give it up here: a commit whose answer was lost
//! may have been written.

use time::OffsetDateTime;

use super::{Refusal, Transition};
use crate::domain::request::{DocumentRequest, How, Receiving};

pub(super) fn clean(request: &mut DocumentRequest, transition: Transition, now: OffsetDateTime) -> Result<(), Refusal> {
    match transition {
        Transition::GiveUpReceive {
            document,
            slot,
            started_at,
        } => {
            let received = request.document().is_some_and(|d| d.id == document);
            if received || request.tombstones.iter().any(|t| t.document == document) {
                return Err(Refusal::AlreadyReceived);
            }
            match request.receivings.iter_mut().find(|r| r.document == document) {
                Some(known) if matches!(known.how, How::Stream | How::Ending) => known.how = How::Ending,
                Some(_) => return Err(Refusal::Superseded),
                None => request.receivings.push(Receiving {
                    document,
                    slot,
                    started_at,
                    how: How::Ending,
                }),
            }
        }
        Transition::LeaseCleanup { until } => {
            if request.cleanup.until.is_some_and(|held| now < held) {
                return Err(Refusal::StaleLease);
            }
            request.cleanup.fence += 1;
            request.cleanup.until = Some(until);
        }
        Transition::CleanedUp {
            fence,
            documents,
            again_at,
        } => {
            if request.cleanup.until.is_none() || request.cleanup.fence != fence {
                return Err(Refusal::StaleLease);
            }
            request
                .receivings
                .retain(|r| r.how != How::Ending || !documents.contains(&r.document));
            request.cleanup.until = again_at;
        }
        _ => return Err(Refusal::WrongState(request.state(now))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{apply, tests};
    use super::*;
    use crate::domain::delivery::PurgeCause;
    use crate::domain::document::SlotRef;
    use crate::domain::id::DocumentId;
    use crate::domain::request::Stage;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);
    const SOON: OffsetDateTime = datetime!(2026-01-01 0:01 UTC);

    fn give_up(n: u8) -> Transition {
        Transition::GiveUpReceive {
            document: DocumentId([n; 16]),
            slot: slot(n),
            started_at: NOW,
        }
    }

    fn slot(n: u8) -> SlotRef {
        tests::document(n, NOW, true).slot
    }

    fn begin(n: u8) -> Transition {
        Transition::BeginReceive {
            receiving: Receiving {
                document: DocumentId([n; 16]),
                slot: slot(n),
                started_at: NOW,
                how: How::Stream,
            },
            generation: 1,
        }
    }

    fn after(request: &DocumentRequest, step: Transition) -> DocumentRequest {
        apply(request.clone(), step, NOW).unwrap().0
    }

    fn cleaned(fence: u64, documents: &[u8], again_at: Option<OffsetDateTime>) -> Transition {
        Transition::CleanedUp {
            fence,
            documents: documents.iter().map(|n| DocumentId([*n; 16])).collect(),
            again_at,
        }
    }

    #[test]
    fn what_is_given_up_is_owned_until_it_is_destroyed() {
        let request = tests::request(false);
        // Known as a stream, or not known at all: the commit of the first note may have failed.
        let given = after(&after(&after(&request, begin(1)), give_up(1)), give_up(2));
        assert!(given.receivings.iter().all(|r| r.how == How::Ending) && given.receivings.len() == 2);
        assert_eq!(after(&given, give_up(2)), given, "repeating it changes nothing");
        assert_eq!(given.cleanup_at(), Some(NOW));
        let leased = after(&given, Transition::LeaseCleanup { until: SOON });
        assert_eq!(leased.cleanup_at(), Some(SOON));
        assert_eq!(leased.lease, None, "a delivery may go on beside it");
        let ended = after(&leased, cleaned(1, &[1, 2, 9], None));
        assert!(ended.receivings.is_empty());
        assert_eq!((ended.cleanup_at(), ended.cleanup.until), (None, None));
    }

    #[test]
    fn a_row_keeps_what_it_owns_otherwise() {
        let held = after(
            &after(&tests::request(false), begin(1)),
            tests::received(tests::document(1, NOW, true)),
        );
        assert_eq!(apply(held.clone(), give_up(1), NOW).unwrap_err(), Refusal::AlreadyReceived);
        let loser = after(&held, give_up(2));
        assert_eq!((loser.receivings.len(), loser.cleanup_at()), (1, Some(NOW)));
        let leased = after(&loser, Transition::Lease { until: SOON });
        let fence = leased.fence;
        let purging = after(
            &leased,
            Transition::StartPurge {
                fence,
                cause: PurgeCause::Deadline,
            },
        );
        assert_eq!(apply(purging.clone(), give_up(1), NOW).unwrap_err(), Refusal::AlreadyReceived);
        let purged = after(&purging, Transition::FinishPurge { fence, receipt: 1 });
        assert!(matches!(purged.stage, Stage::Purged));
        assert_eq!(apply(purged.clone(), give_up(1), NOW).unwrap_err(), Refusal::AlreadyReceived);
        // What is still to be destroyed keeps the row from being forgotten.
        let late = NOW + Duration::days(99);
        assert!(!purged.must_forget(late) && purged.due_at().is_none() && purged.cleanup_at() == Some(NOW));
        let leased = after(&purged, Transition::LeaseCleanup { until: SOON });
        let clean = after(&leased, cleaned(1, &[2], None));
        assert!(clean.must_forget(late) && clean.due_at().is_some());
    }

    #[test]
    fn only_the_newest_lease_says_what_is_destroyed() {
        let given = after(&tests::request(false), give_up(1));
        assert_eq!(apply(given.clone(), cleaned(0, &[1], None), NOW).unwrap_err(), Refusal::StaleLease);
        let first = after(&given, Transition::LeaseCleanup { until: SOON });
        assert_eq!(
            apply(first.clone(), Transition::LeaseCleanup { until: SOON }, NOW).unwrap_err(),
            Refusal::StaleLease
        );
        let (second, _) = apply(
            first,
            Transition::LeaseCleanup {
                until: SOON + Duration::minutes(1),
            },
            SOON,
        )
        .unwrap();
        assert_eq!(
            apply(second.clone(), cleaned(1, &[1], None), SOON).unwrap_err(),
            Refusal::StaleLease
        );
        // One that failed waits, and its lease with it.
        let paused = after(&second, cleaned(2, &[], Some(SOON + Duration::minutes(9))));
        assert_eq!(paused.cleanup_at(), Some(SOON + Duration::minutes(9)));
        assert_eq!(paused.receivings.len(), 1);
        assert!(apply(second, cleaned(2, &[1], None), SOON).unwrap().0.receivings.is_empty());
    }

    #[test]
    fn what_was_not_given_up_is_not_forgotten() {
        let begun = after(&after(&tests::request(false), begin(1)), give_up(2));
        let leased = after(&begun, Transition::LeaseCleanup { until: SOON });
        let after = after(&leased, cleaned(1, &[1, 2], None));
        assert_eq!((after.receivings.len(), after.receivings[0].how.clone()), (1, How::Stream));
    }
}
