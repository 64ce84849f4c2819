//! `nightdrop mcp` as assistants use it: through the Model Context Protocol's own library for Python, against a running portal.

use std::path::Path;
use std::process::{Command, Stdio};

use nightdrop::testing::domain::agent::{Actor, Scope};
use nightdrop::testing::workflow::sign_in;
use serde_json::{Value, json};

use crate::cli::nightdrop;
use crate::support::{TestApp, png};

/// Runs the assistant; what it said last, and what the server wrote to standard error.
fn assistant(given: &Value) -> (Value, String) {
    let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
    let said = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/assistant.py"))
        .arg(given.to_string())
        .env("NIGHTDROP_TEST_PARTS", parts)
        .output()
        .expect("python3 cannot be run: run tests/run");
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{out}{err}");
    (serde_json::from_str(out.trim()).unwrap(), err.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and mcp: run tests/run"]
async fn an_assistant_asks_for_a_document_and_follows_it() {
    let app = TestApp::new().await;
    let (_, reader) = sign_in::add_api_key(&app.portal, "reader", vec![Scope::Read], None, Actor::Operator)
        .await
        .unwrap();
    // The handshake of before 2026, and what the library finds out by itself.
    for mode in ["legacy", "auto"] {
        let applicant = format!("applicant-{mode}");
        let given = json!({
            "command": env!("CARGO_BIN_EXE_nightdrop"),
            "mode": mode,
            "env": {"NIGHTDROP_URL": app.staff(""), "NIGHTDROP_TOKEN": app.api_key},
            "reader": reader.to_string(),
            "nobody": "http://127.0.0.1:1",
            "applicant": applicant,
        });
        let (said, noise) = tokio::task::spawn_blocking(move || assistant(&given)).await.unwrap();
        assert!(
            !noise.contains(&applicant) && !noise.contains("/d/") && !noise.contains("ndk_"),
            "{noise}"
        );
        assert!(said["missing"]["missing"].is_array(), "{said}");

        // The link that the assistant got is a real one.
        let url = said["issued"]["url"].as_str().unwrap();
        let (_, path) = url.split_once("127.0.0.1").unwrap();
        let (form, kind) = crate::support::form(&[("front", &png(7, 20_000))]);
        let dropped = app
            .http
            .post(app.public(path))
            .header("content-type", kind)
            .body(form)
            .send()
            .await
            .unwrap();
        assert_eq!(dropped.status(), 200);
        app.work().await;
        assert_eq!(app.has(&applicant).await.len(), 1);
    }
    // Whatever the assistant did stands in the audit log, under its key.
    let entries = app.portal.audit.entries(0, 1000).await.unwrap();
    let key = |entry: &&nightdrop::testing::domain::audit::AuditEntry| entry.event.actor.to_string().starts_with("key_");
    assert!(entries.iter().filter(key).count() >= 6, "{}", entries.len());
}

#[test]
fn an_assistants_server_says_what_is_not_set_up() {
    let says = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty(), "standard output belongs to the protocol");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(says(&mut nightdrop(&["mcp"])).contains("NIGHTDROP_URL"));
    assert!(says(nightdrop(&["mcp"]).env("NIGHTDROP_URL", "http://127.0.0.1:1")).contains("NIGHTDROP_TOKEN"));
    let mut taken = nightdrop(&["mcp", "--url", "http://127.0.0.1:1", "--token-file", "-"]);
    assert!(says(taken.stdin(Stdio::null())).contains("belongs to the protocol"));
}
