//! The app of examples/zendesk-app in a real Chromium, with a fake of Zendesk around it and a real portal behind its proxy.

use std::path::Path;

use nightdrop::testing::domain::agent::{Actor, Scope};
use nightdrop::testing::workflow::sign_in;
use serde_json::{Value, json};

use crate::browser::script;
use crate::support::{TestApp, png};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn an_agent_asks_from_the_sidebar_of_a_ticket() {
    let app = TestApp::new().await;
    // The scope that the app's README names is enough.
    let (_, key) = sign_in::add_api_key(&app.portal, "zendesk", vec![Scope::Requests], None, Actor::Operator)
        .await
        .unwrap();
    let photo = app.folder.path().join("front.png");
    std::fs::write(&photo, png(5, 20_000)).unwrap();
    let given = json!({
        "app": Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/zendesk-app"),
        "portal": app.staff(""),
        "public": app.public("/"),
        "key": key.to_string(),
        "applicant": "james-1",
        "photo": photo,
    });
    let said = tokio::task::spawn_blocking(move || script("helpdesk.mjs", &given)).await.unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["path"].as_str().unwrap().starts_with("/d/"), "{said}");
    app.work().await;
    assert_eq!(app.has("james-1").await.len(), 1);
}
