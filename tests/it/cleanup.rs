//! Who destroys what was given up: one task under a lease, beside whatever hangs; and the sweep, which costs a share at a time.

use std::time::{Duration as Wait, Instant};

use nightdrop::testing::crypto::secret::ErasureSecret;
use nightdrop::testing::domain::document::SlotRef;
use nightdrop::testing::domain::id::{DocumentId, RequestId};
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::domain::transition::{IntakeStep, Transition};
use nightdrop::testing::storage::StorageError;
use nightdrop::testing::workflow::intake::{SlotGuard, discard};
use nightdrop::testing::workflow::sweep;
use time::Duration;

use crate::raw::{Half, assert_nothing_held, end, file, until_nothing_held};
use crate::resume::Part;
use crate::support::{TestApp, TestOptions, png, until};

/// More than the worker delivers at once.
const HANGING: u64 = 10;

fn live(app: &TestApp, document: DocumentId) -> bool {
    app.portal.erasure.live().unwrap().iter().any(|l| l.doc_id == document.0)
}

/// The document that is being written and that no row names.
async fn running(app: &TestApp) -> DocumentId {
    let known: Vec<_> = app
        .portal
        .requests
        .live_documents()
        .await
        .unwrap()
        .into_iter()
        .map(|(d, _)| d)
        .collect();
    let stored = app.portal.blobs.documents().await.unwrap();
    stored.into_iter().find(|d| !known.contains(d)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_dies_at_once_while_every_delivery_hangs() {
    let app = TestApp::with_options(TestOptions {
        worker: true,
        more: "[limits]\nuploads = 200\nuploads_per_address = 200\n".into(),
        ..TestOptions::default()
    })
    .await;
    app.misbehave(&["slow:60000"; HANGING as usize + 4]).await;
    for n in 0..HANGING {
        let link = app.link_for("passport", None).await;
        app.drop_front(&link, n).await;
    }
    until("the deliveries hang", async || app.planned().await <= HANGING + 4 - 8).await;
    let gone_soon = async |document: DocumentId, what: &str| {
        let began = Instant::now();
        until(what, async || !live(&app, document)).await;
        assert!(began.elapsed() < Wait::from_secs(10), "{what}: {:?}", began.elapsed());
    };
    // Taken back.
    let link = app.link_for("passport", None).await;
    let part = Part::of(&app, &link, "front");
    assert_eq!(part.begin(300_000).await.status(), 201);
    part.patch(0, &png(50, 300_000)[..200_000]).await;
    let document = app.request(&link).await.intakes[0].document;
    assert_eq!(part.delete().await.status(), 204);
    gone_soon(document, "what was taken back is destroyed").await;
    until("it is forgotten", async || app.request(&link).await.intakes.is_empty()).await;
    // The loser of a race, whose own request is being delivered, or waits for it.
    let body = [file("front", &png(51, 300_000)), end()].concat();
    let loser = Half::of(&app, &link, &body).await;
    let document = running(&app).await;
    app.drop_front(&link, 52).await;
    gone_soon(document, "the loser is destroyed").await;
    assert_eq!(loser.finish().await.status, 409);
    // Withdrawn.
    let link = app.link_for("passport", None).await;
    let half = Half::of(&app, &link, &body).await;
    let document = running(&app).await;
    nightdrop::testing::workflow::issue::revoke(&app.portal, link.id, nightdrop::testing::domain::agent::Actor::Operator)
        .await
        .unwrap();
    gone_soon(document, "what came by a withdrawn link is destroyed").await;
    assert_eq!(half.finish().await.status, 410);
    assert_eq!(app.state(&link).await, RequestState::Revoked);
}

#[tokio::test]
async fn one_task_destroys_and_a_late_one_changes_nothing() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let link = app.link_for("passport", None).await;
    let part = Part::of(&app, &link, "front");
    assert_eq!(part.begin(300_000).await.status(), 201);
    part.patch(0, &png(1, 300_000)[..200_000]).await;
    let document = app.request(&link).await.intakes[0].document;
    assert_eq!(part.delete().await.status(), 204);
    // A task takes it and stands still.
    let until = app.portal.now() + Duration::seconds(30);
    let paused = app.portal.requests.claim_cleanup(until).await.unwrap().unwrap();
    assert!(!discard::step(&app.portal).await.unwrap(), "one lease at a time");
    assert!(live(&app, document));
    // The link is as good as new meanwhile, and its drop goes through.
    app.drop_front(&link, 2).await;
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::Purged);
    assert!(live(&app, document));
    clock.forward(Duration::seconds(30));
    assert!(discard::step(&app.portal).await.unwrap());
    assert_nothing_held(&app, "another task did it").await;
    let late = Transition::Intake(IntakeStep::CleanedUp {
        fence: paused.cleanup.fence,
        documents: vec![document],
        again_at: None,
    });
    let refused = app.portal.requests.transition(link.id, late).await;
    assert!(matches!(refused, Err(StorageError::Refused(_))), "{refused:?}");
}

/// A secret and a chunk that no row names.
fn orphan(app: &TestApp, n: u8) -> (DocumentId, SlotRef) {
    let document = DocumentId([n; 16]);
    let slot = app.portal.erasure.put(&document.0, &ErasureSecret::generate().unwrap()).unwrap();
    (document, slot)
}

#[tokio::test]
async fn the_sweep_looks_at_everything_within_an_hour_and_at_a_share_each_minute() {
    let app = TestApp::with_options(TestOptions {
        slots: 400,
        ..TestOptions::default()
    })
    .await;
    for n in 0..150 {
        orphan(&app, n);
    }
    let mut pass = sweep::Pass::default();
    let mut minutes = 0;
    while !app.portal.erasure.live().unwrap().is_empty() {
        let swept = sweep::minute(&app.portal, &mut pass).await.unwrap();
        assert!(swept.slots <= 16, "{swept:?} in one minute");
        minutes += 1;
        assert!(minutes <= 60);
    }
    assert!(minutes > 5, "{minutes}");
}

#[tokio::test]
async fn a_fresh_secret_of_a_forgotten_request_is_destroyed_within_a_minute() {
    let app = TestApp::new().await;
    let (document, nobody) = (DocumentId([7; 16]), RequestId([9; 16]));
    let secret = ErasureSecret::generate().unwrap();
    let portal = &app.portal;
    let now = portal.now();
    let fresh = SlotGuard::put((*app.portal).clone(), nobody, document, now, secret).await.unwrap();
    // Known as being in flight: no sweep touches it.
    sweep::sweep(portal).await.unwrap();
    assert!(live(&app, document));
    fresh.discard().await;
    assert!(live(&app, document), "the uploader destroys nothing");
    let swept = sweep::minute(portal, &mut sweep::Pass::default()).await.unwrap();
    assert_eq!(swept.slots, 1);
    assert_nothing_held(&app, "nobody's").await;
}

#[tokio::test]
async fn a_dropped_fresh_secret_is_given_up_and_one_that_a_row_owns_is_not_touched() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let portal = &app.portal;
    let now = portal.now();
    let put = async |n: u8| {
        let secret = ErasureSecret::generate().unwrap();
        SlotGuard::put((*app.portal).clone(), link.id, DocumentId([n; 16]), now, secret)
            .await
            .unwrap()
    };
    drop(put(1).await);
    until("the row knows", async || app.request(&link).await.intakes.len() == 1).await;
    assert!(live(&app, DocumentId([1; 16])));
    until_nothing_held(&app).await;
    // Its commit was written, and nobody was told: the row decides.
    app.drop_front(&link, 1).await;
    let document = app.request(&link).await.document().unwrap().clone();
    let again = Transition::Intake(IntakeStep::Discard {
        document: document.id,
        slot: document.slot,
        started_at: now,
    });
    assert!(portal.requests.transition(link.id, again).await.is_err());
    let unknown = StorageError::Indeterminate("the answer was lost".into());
    put(2).await.refused(&unknown).await;
    assert!(live(&app, DocumentId([2; 16])), "nothing is destroyed before the row was asked");
    sweep::minute(portal, &mut sweep::Pass::default()).await.unwrap();
    app.clean().await;
    assert!(!live(&app, DocumentId([2; 16])));
    app.work().await;
    assert_eq!(app.received().await.len(), 1);
    assert_nothing_held(&app, "after the purge").await;
}
