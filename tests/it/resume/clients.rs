//! Clients of others: what speaks tus 1.0 elsewhere speaks to this portal.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{TestApp, png, sha256};

/// Runs one client and shows what it said when it fails.
fn client(program: &str, script: &str, given: &Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
    let said = Command::new(program)
        .arg(root.join("tests/clients").join(script))
        .arg(given.to_string())
        .env("NIGHTDROP_TEST_PARTS", parts)
        .env("no_proxy", "*")
        .output()
        .unwrap_or_else(|_| panic!("{program} cannot be run: run tests/run"));
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && out.contains("complete"), "{script}\n{out}{err}");
}

async fn passes(program: &'static str, script: &'static str, chunks: &[Option<u64>]) {
    let app = TestApp::new().await;
    let file = png(50, 5_000_000);
    for (round, chunk) in chunks.iter().enumerate() {
        let link = app.link_for("passport", None).await;
        let path = app.folder.path().join(format!("specimen-{round}.png"));
        std::fs::write(&path, &file).unwrap();
        let given = json!({ "url": app.public(&format!("{}/parts/front", link.path)), "file": path, "chunk": chunk });
        tokio::task::spawn_blocking(move || client(program, script, &given)).await.unwrap();
        app.work().await;
    }
    let has = app.has("applicant-1").await;
    assert_eq!(has.len(), chunks.len());
    assert!(has.iter().all(|entry| *entry == (sha256(&file), 1)), "{has:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node and tus-js-client: run tests/run"]
async fn tus_js_client_is_interrupted_and_resumes() {
    passes("node", "tus.mjs", &[None, Some(500_000), Some(130_003)]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and tuspy: run tests/run"]
async fn tuspy_is_stopped_and_resumes() {
    passes("python3", "tus.py", &[Some(1_000_000), Some(130_003)]).await;
}
