//! What colleagues tell one another about a request.

use nightdrop::testing::domain::agent::Scope;
use serde_json::{Value, json};

use super::{Caller, answer};
use crate::support::{TestApp, TestOptions};

const SECRET: &str = "Mrs Lindqvist-Okonkwo called";

async fn open(api: &Caller<'_>) -> String {
    format!("/requests/{}", api.issued().await["id"].as_str().unwrap())
}

fn texts(request: &Value) -> Vec<&str> {
    request["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["text"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_note_is_read_by_whoever_may_read_the_request() {
    let app = TestApp::new().await;
    let (api, reader) = (Caller::of(&app), Caller::scoped(&app, &[Scope::Read]).await);
    let path = open(&api).await;
    let notes = format!("{path}/notes");
    assert_eq!(api.get(&path).await.1["notes"], json!([]));
    let (status, noted) = api.post(&notes, json!({"text": "  one\ntwo  "})).await;
    assert_eq!((status, texts(&noted)), (200, vec!["one\ntwo"]), "{noted}");
    let longest = "\u{1f4de}".repeat(1_000);
    assert_eq!(api.post(&notes, json!({"text": longest})).await.0, 200);
    let (_, shown) = reader.get(&path).await;
    assert_eq!(texts(&shown), ["one\ntwo", &longest]);
    assert_eq!(shown["notes"][0]["author"], shown["created_by"]);
    assert!(shown["notes"][0]["at"].is_string());
    assert_eq!(shown["timeline"][1]["action"], "request.noted");
    let (_, list) = reader.get("/requests").await;
    assert!(list["requests"][0].get("notes").is_none(), "with one request only");
    assert_eq!(reader.post(&notes, json!({"text": "x"})).await.0, 403);
    for text in ["", " \n ", &"x".repeat(1_001), "a\u{7}b"] {
        let (status, problem) = api.post(&notes, json!({"text": text})).await;
        assert_eq!((status, problem["errors"][0]["field"].as_str()), (422, Some("text")), "{problem}");
    }
    assert_eq!(texts(&api.get(&path).await.1).len(), 2);
    let nobody = api
        .post("/requests/req_00000000000000000000000001/notes", json!({"text": "x"}))
        .await;
    assert_eq!(nobody.0, 404);
}

#[tokio::test]
async fn a_note_is_added_once_under_its_key_and_fifty_are_the_most() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let path = open(&api).await;
    let notes = format!("{path}/notes");
    for _ in 0..2 {
        assert_eq!(
            answer(api.posted(&notes, json!({"text": "once"}), Some("note-1")).await).await.0,
            200
        );
    }
    assert_eq!(texts(&api.get(&path).await.1), ["once"]);
    let (status, problem) = answer(api.posted(&notes, json!({"text": "other"}), Some("note-1")).await).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("idempotency.mismatch")));
    for n in 1..50 {
        assert_eq!(api.post(&notes, json!({"text": n.to_string()})).await.0, 200);
    }
    let (status, problem) = api.post(&notes, json!({"text": "one too many"})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("request.notes_full")), "{problem}");
    assert_eq!(texts(&api.get(&path).await.1).len(), 50);
}

#[tokio::test]
async fn a_note_stands_in_no_file_no_event_and_no_audit_entry() {
    let more =
        "[webhooks.app]\nurl = \"http://127.0.0.1:1/events\"\nallow_insecure = true\nallow_private = true\nsecret_file = \"webhook\"\n";
    let mut app = TestApp::with_options(TestOptions {
        more: more.to_owned(),
        ..TestOptions::default()
    })
    .await;
    let api = Caller::of(&app);
    let path = open(&api).await;
    assert_eq!(api.post(&format!("{path}/notes"), json!({"text": SECRET})).await.0, 200);
    let _ = nightdrop::testing::workflow::outgoing::step(&app.portal).await.unwrap();
    let (_, audit) = api.get("/audit").await;
    assert!(audit.to_string().contains("request.noted") && !audit.to_string().contains(SECRET));
    let (_, sent) = api.get("/dispatches").await;
    assert_eq!(
        sent["dispatches"].as_array().unwrap().len(),
        1,
        "that it was issued, and no more: {sent}"
    );
    app.restart().await;
    let files = crate::support::walk(app.data());
    assert!(!files.is_empty());
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()), "{}", file.display());
    }
    assert_eq!(texts(&Caller::of(&app).get(&path).await.1), [SECRET]);
}
