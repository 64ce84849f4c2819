//! The applicant's journey in other engines than Chromium's: Firefox, and WebKit, which is Safari's.

use serde_json::json;

use super::{HARBOUR, script};
use crate::support::{TestApp, TestOptions, picture, sha256};
use crate::upload::photos::pdf;

async fn journey(engine: &str) {
    let app = TestApp::with_options(TestOptions {
        more: HARBOUR.replace("2MiB", "20MiB"),
        ..TestOptions::default()
    })
    .await;
    let (photo, other) = (picture(1, 300, 900_000), picture(2, 310, 60_000));
    let [at, other_at] = [("photo.png", &photo), ("other.png", &other)].map(|(name, bytes)| {
        let path = app.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    });
    let mini_browser = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|folder| ["webkit2gtk-4.1", "webkit2gtk-4.0"].map(|name| folder.path().join(name).join("MiniBrowser")))
        .find(|path| path.exists());
    let given = json!({
        "engine": engine,
        "folder": app.folder.path(),
        "photo": at,
        "other": other_at,
        "webp": concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/inspect/foreign.webp"),
        "miniBrowser": mini_browser,
        "sides": app.public(&app.link().await.path),
        "wrong": app.public(&app.link_for("passport", None).await.path),
        "pages": app.public(&app.link_for("bank-statement", None).await.path),
        "plain": app.public(&app.link_for("passport", None).await.path),
    });
    tokio::task::spawn_blocking(move || script("engines.mjs", &given)).await.unwrap();
    app.work().await;
    let mut arrived: Vec<String> = Vec::new();
    for document in app.received().await {
        for part in document["parts"].as_array().unwrap() {
            arrived.push(part["sha256"].as_str().unwrap().to_owned());
        }
    }
    let mut sent = vec![sha256(&photo); 4];
    sent.push(sha256(&pdf(&[&other, &photo])));
    arrived.sort();
    sent.sort();
    assert_eq!(arrived, sent, "byte for byte, by {engine}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Firefox: run tests/run"]
async fn firefox_sends_both_sides_and_pages_byte_for_byte() {
    journey("firefox").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs WebKit's driver and Xvfb: run tests/run"]
async fn webkit_sends_both_sides_and_pages_byte_for_byte() {
    journey("webkit").await;
}
