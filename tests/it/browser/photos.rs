//! Several photos that become one PDF, as people choose them.

use serde_json::{Value, json};

use super::{HARBOUR, script};
use crate::support::{TestApp, TestOptions, picture, sha256};
use crate::upload::photos::pdf;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn photos_of_several_pages_are_put_in_order_and_sent_as_one() {
    let app = TestApp::with_options(TestOptions {
        more: HARBOUR.replace("2MiB", "20MiB"),
        ..TestOptions::default()
    })
    .await;
    let widths: [u32; 4] = [300, 310, 320, 330];
    let photos: Vec<Vec<u8>> = widths.iter().map(|width| picture(u64::from(*width), *width, 60_000)).collect();
    let paths: Vec<_> = (0..photos.len())
        .map(|n| app.folder.path().join(format!("photo-{n}.png")))
        .collect();
    for (path, photo) in paths.iter().zip(&photos) {
        std::fs::write(path, photo).unwrap();
    }
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/inspect");
    let mut given = json!({
        "photos": paths,
        "widths": widths,
        "pdf": format!("{fixtures}/photo.pdf"),
        "transparent": format!("{fixtures}/transparent.png"),
    });
    for name in ["oneByOne", "together", "plain", "scriptless", "refused", "arabic"] {
        given[name] = app.public(&app.link_for("bank-statement", None).await.path).into();
    }
    let said = tokio::task::spawn_blocking(move || script("pages.mjs", &given)).await.unwrap();
    let sent: Vec<Vec<usize>> = serde_json::from_str(&said).unwrap();
    app.work().await;
    let arrived: Vec<Value> = app
        .received()
        .await
        .iter()
        .map(|document| document["parts"][0]["sha256"].clone())
        .collect();
    for numbers in &sent {
        let chosen: Vec<&[u8]> = numbers.iter().map(|n| &photos[*n][..]).collect();
        assert!(arrived.contains(&sha256(&pdf(&chosen)).into()), "{numbers:?}");
    }
    assert_eq!(arrived.len(), sent.len() + 1, "and the one with the transparent picture");
}
