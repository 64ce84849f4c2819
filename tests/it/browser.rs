//! Pages in a real Chromium, driven by the scripts in tests/browser. Screenshots go to tests/output and are looked at.

use std::path::Path;
use std::process::Command;

use nightdrop::domain::agent::Actor;
use nightdrop::workflow::issue;
use serde_json::{Value, json};

use crate::support::{House, Wish, ask, png};

/// Runs one script and shows what it said when it fails.
pub fn script(name: &str, given: &Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
    let said = Command::new("node")
        .arg(root.join("tests/browser").join(name))
        .arg(given.to_string())
        .env("NIGHTDROP_TEST_PARTS", parts)
        .env("NIGHTDROP_TEST_OUTPUT", root.join("tests/output"))
        .output()
        .expect("node cannot be run: run tests/run");
    assert!(
        said.status.success(),
        "{name}\n{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and playwright-core: run tests/run"]
async fn the_applicants_page_works_in_a_browser() {
    let more = "[company]\nname = \"Harbour Bank\"\nsupport = \"support@harbour.example\"\npurpose = \"We are required by law to check who our customers are.\"\n[limits]\nuploads_per_address = 64\n";
    let house = House::wished(Wish {
        more: more.to_owned(),
        ..Wish::default()
    })
    .await;
    let photo = house.folder.path().join("specimen.png");
    std::fs::write(&photo, png(7, 400_000)).unwrap();
    let wrong = house.folder.path().join("wrong.jpg");
    std::fs::write(&wrong, "<html>this is no photo at all, whatever its name says</html>").unwrap();
    let mut with_code = ask("applicant-2", "passport");
    with_code.passcode = true;
    let locked = house.issue(with_code).await;
    let code = locked.passcode.clone().unwrap();
    let mut noted = ask("applicant-3", "government-id");
    noted.message = Some("Your last photo was too dark. Please take it by daylight.".to_owned());
    let scripted = house.issue(noted).await;
    let revoked = house.link().await;
    issue::revoke(&house.portal, revoked.id, Actor::Operator).await.unwrap();
    let given = json!({
        "plain": house.public(&house.link().await.path),
        "scripted": house.public(&scripted.path),
        "refused": house.public(&house.link_for("passport", None).await.path),
        "locked": { "url": house.public(&locked.path), "code": code, "wrong": if code == "000000" { "111111" } else { "000000" } },
        "revoked": house.public(&revoked.path),
        "unknown": house.public("/d/00000000000000000000000000000000"),
        "photo": photo,
        "wrong": wrong,
    });
    tokio::task::spawn_blocking(move || script("applicant.mjs", &given)).await.unwrap();
    house.work().await;
    assert_eq!(house.received().await.len(), 3, "each drop of the browser was passed on once");
}
