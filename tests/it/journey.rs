//! The whole way of a document through the front door: ask, drop, seal, forward, confirm, purge.

use nightdrop::testing::domain::delivery::PurgeCause;
use nightdrop::testing::domain::request::RequestState;

use crate::support::{TestApp, TestOptions, png, sha256};

#[tokio::test]
async fn a_document_goes_all_the_way_and_nothing_of_it_stays() {
    let app = TestApp::new().await;
    let link = app.link().await;
    assert_eq!(app.state(&link).await, RequestState::Awaiting);
    let (front, back) = (png(1, 300_000), png(2, 70_000));
    let answer = app.drop_files(&link, &[("front", &front), ("back", &back)]).await;
    assert_eq!(answer.status(), 200);
    let page = answer.text().await.unwrap();
    assert!(page.contains("Received. Thank you."), "{page}");
    assert!(!page.contains("IMG 0001"), "never the file name");
    assert_eq!(app.state(&link).await, RequestState::Received);

    app.work().await;
    let request = app.request(&link).await;
    assert_eq!(request.state(app.portal.now()), RequestState::Purged);
    let received = app.received().await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["deliveries"], 1);
    assert_eq!(received[0]["parts"][0]["sha256"], sha256(&front));
    assert_eq!(received[0]["parts"][1]["sha256"], sha256(&back));

    let receipt = app
        .portal
        .requests
        .deletion_receipt(request.tombstones[0].receipt)
        .await
        .unwrap()
        .unwrap()
        .receipt;
    assert_eq!(receipt.erasure.cause, "confirmed");
    assert_eq!(receipt.erasure.parts, 2);
    let page = app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("It was deleted from this site on"), "{page}");
}

#[tokio::test]
async fn a_sandbox_inside_the_portal_takes_a_document_all_the_way() {
    let app = TestApp::with_options(TestOptions {
        provider: "[providers.trial]\nkind = \"sandbox\"\n[providers.second]\nkind = \"sandbox\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    for provider in ["trial", "second"] {
        let link = app.link_at(provider, "james").await;
        app.drop_front(&link, 1).await;
        app.work().await;
        let request = app.request(&link).await;
        assert_eq!(request.state(app.portal.now()), RequestState::Purged, "{provider}");
        assert!(matches!(request.tombstones[0].cause, PurgeCause::Confirmed), "{provider}");
    }
    assert!(app.received().await.is_empty(), "the other sandbox has none of it");
}

#[tokio::test]
async fn a_verdict_is_waited_for_when_the_configuration_says_so() {
    let app = TestApp::with_options(TestOptions {
        confirm: "verdict",
        ..TestOptions::default()
    })
    .await;
    let link = app.link_for("passport", None).await;
    app.misbehave(&["pending:1000"]).await;
    assert_eq!(app.drop_files(&link, &[("front", &png(3, 5_000))]).await.status(), 200);
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::AwaitingConfirmation);
}
