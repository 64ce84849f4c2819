//! The audit log as it is after real work: every change of state is told, in order, and the chain verifies.

use nightdrop::testing::domain::audit::{AuditAction, AuditEntry, AuditEvent, GENESIS};
use nightdrop::testing::domain::receipt::DeletionReceipt;
use nightdrop::testing::workflow::Portal;
use serde_json::json;
use time::Duration;

use crate::support::{TestApp, TestOptions};

/// The whole log and all deletion receipts, their chains verified and without gaps.
pub async fn verified(portal: &Portal) -> (Vec<AuditEntry>, Vec<DeletionReceipt>) {
    let mut entries: Vec<AuditEntry> = Vec::new();
    loop {
        let page = portal.audit.entries(entries.len() as u64, 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        entries.extend(page);
    }
    let mut previous = GENESIS;
    for (place, entry) in entries.iter().enumerate() {
        let again = AuditEntry::chain(place as u64 + 1, &previous, entry.event.clone());
        assert_eq!(*entry, again, "entry {} breaks the chain", place + 1);
        previous = entry.hash;
    }
    let mut receipts: Vec<DeletionReceipt> = Vec::new();
    while let Some(stored) = portal.requests.deletion_receipt(receipts.len() as u64 + 1).await.unwrap() {
        let receipt = stored.receipt;
        let before = receipts.last().map_or(DeletionReceipt::genesis(), |r| r.hash);
        let again = DeletionReceipt::chain(receipts.len() as u64 + 1, before, receipt.erasure.clone());
        assert_eq!(receipt, again, "receipt {} breaks the chain", receipts.len() + 1);
        assert_eq!(DeletionReceipt::parse(&receipt.body()), Some(receipt.clone()));
        let signed = nightdrop::testing::crypto::receipt::verify(&stored.text, None).unwrap();
        assert_eq!(signed.receipt, receipt, "signed as it stands in the chain");
        receipts.push(receipt);
    }
    (entries, receipts)
}

#[tokio::test]
async fn the_log_tells_the_whole_way_and_nothing_personal() {
    let (options, clock) = TestOptions {
        confirm: "verdict",
        ..TestOptions::default()
    }
    .with_clock();
    let app = TestApp::with_options(options).await;
    app.sandbox.set_callback(None);
    let link = app.link_at("sandbox", "secret-applicant").await;
    app.drop_front(&link, 1).await;
    app.plan(json!(["503:1", "drop", {"answer": "commit_then_drop", "verdict": "pending:1"}, "ok"]))
        .await;
    app.work_until(&clock, Duration::hours(1), async |h| h.state(&link).await.as_str() == "purged")
        .await;
    let log = app.log(&link).await;
    let actions: Vec<&str> = log.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "link.issued",
            "document.received",
            "delivery.started",
            "delivery.failed",
            "delivery.started",
            "delivery.uncertain",
            "delivery.uncertain",
            "delivery.received",
            "delivery.confirmed",
            "document.purged",
        ],
        "{log:#?}"
    );
    let (entries, receipts) = verified(&app.portal).await;
    assert_eq!(receipts.len(), 1);
    let told = format!("{entries:?}{receipts:?}");
    for secret in ["secret-applicant", &link.token, "IMG 0001", "sbx_"] {
        assert!(!told.contains(secret), "{secret} stands in the log");
    }
}

#[tokio::test]
async fn the_chains_hold_under_many_writers_at_once() {
    let app = TestApp::with_options(TestOptions {
        worker: true,
        ..TestOptions::default()
    })
    .await;
    app.plan(json!(["503:0", "ok", "ok", "400", "ok", "duplicate"])).await;
    let work = (0..12).map(|n| {
        let app = &app;
        async move {
            let link = app.link_at("sandbox", &format!("applicant-{n}")).await;
            app.drop_front(&link, n).await;
            let entry = AuditEvent::new(
                app.portal.now(),
                nightdrop::testing::domain::agent::Actor::Operator,
                AuditAction::ClockAccepted,
            );
            app.portal.audit.append(entry).await.unwrap();
        }
    });
    // An address may run four uploads at once.
    use futures_util::StreamExt;
    futures_util::stream::iter(work).buffer_unordered(3).collect::<Vec<()>>().await;
    crate::support::until("all but the refused one are purged", async || {
        app.portal.erasure.live().unwrap().len() == 1
    })
    .await;
    crate::support::until("the receipts are written", async || verified(&app.portal).await.1.len() == 11).await;
    let (entries, _) = verified(&app.portal).await;
    assert_eq!(entries.iter().filter(|e| e.event.action == AuditAction::ClockAccepted).count(), 12);
    assert_eq!(entries.iter().filter(|e| e.event.action == AuditAction::DocumentPurged).count(), 11);
}
