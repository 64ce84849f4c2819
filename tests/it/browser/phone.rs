//! One link on a desktop and on a phone at the same time: the desktop shows the way there, what arrives from there, and in the end the receipt.

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::workflow::issue;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{HARBOUR, first_line, script, with_code};
use crate::support::{TestApp, TestOptions, png};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core, axe-core and jsqr: run tests/run"]
async fn a_desktop_hands_over_to_a_phone_and_ends_in_the_receipt() {
    let app = TestApp::with_options(TestOptions {
        more: HARBOUR.replace("2MiB", "20MiB") + "pages_per_address = 1000\n",
        ..TestOptions::default()
    })
    .await;
    let noise = app.folder.path().join("noise.png");
    std::fs::write(&noise, png(5, 2_000_000)).unwrap();
    let controls = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let both = app.link().await;
    let revoked = app.link().await;
    let given = json!({
        "controls": format!("http://{}", controls.local_addr().unwrap()),
        "noise": noise,
        "both": app.public(&both.path),
        "address": format!("http://127.0.0.1{}", both.path),
        "idle": app.public(&app.link().await.path),
        "selfie": app.public(&app.link_for("selfie", None).await.path),
        "here": app.public(&app.link().await.path),
        "coded": with_code(&app).await,
        "revoked": app.public(&revoked.path),
    });
    let mut story = tokio::task::spawn_blocking(move || script("phone.mjs", &given));
    let told = loop {
        tokio::select! {
            told = &mut story => break told,
            asked = controls.accept() => {
                let (mut asked, _) = asked.unwrap();
                assert_eq!(first_line(&mut asked).await, "POST /revoke HTTP/1.1");
                issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
                asked.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
            }
        }
    };
    told.unwrap();
    app.work().await;
    let mut parts: Vec<_> = app.received().await.iter().map(|r| r["parts"].as_array().unwrap().len()).collect();
    parts.sort_unstable();
    assert_eq!(parts, [1, 2, 2], "each document was passed on once, whole");
}
