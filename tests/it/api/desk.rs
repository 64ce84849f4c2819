//! What colleagues tell one another about a request, and who of them sees to it.

use std::collections::BTreeSet;

use nightdrop::testing::domain::agent::{Actor, Scope};
use nightdrop::testing::workflow::sign_in;
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

/// A key that an agent made: whom it means by "me".
async fn key_of(app: &TestApp, id: &str) -> String {
    let agent = Actor::parse(id).unwrap();
    let made = sign_in::add_api_key(&app.portal, "own", vec![Scope::Requests], None, agent)
        .await
        .unwrap();
    made.1.to_string()
}

async fn person(api: &Caller<'_>, name: &str, role: &str, teams: &[&str]) -> String {
    let email = format!("{name}@example.com");
    let body = json!({"email": email, "name": name, "role": role, "teams": teams, "password": "three words or four"});
    let (status, made) = api.post("/agents", body).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// The numbers of the requests that a list shows.
async fn listed(api: &Caller<'_>, query: &str) -> BTreeSet<String> {
    let (status, page) = api.get(&format!("/requests?{query}")).await;
    assert_eq!(status, 200, "{page}");
    let ids = page["requests"].as_array().unwrap().iter();
    ids.map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

fn ids(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_request_is_assigned_to_one_agent_and_found_by_it() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let (ada, bob) = (
        person(&api, "ada", "agent", &[]).await,
        person(&api, "bob", "manual-handler", &[]).await,
    );
    let ada_key = key_of(&app, &ada).await;
    let adas = Caller { app: &app, key: ada_key };
    let (one, two, three) = (open(&api).await, open(&api).await, open(&api).await);
    let assign =
        async |caller: &Caller<'_>, path: &str, agent: Value| caller.post(&format!("{path}/assign"), json!({"agent": agent})).await;

    let (status, shown) = assign(&api, &one, json!(ada)).await;
    assert_eq!((status, &shown["assigned"]), (200, &json!({"id": ada, "name": "ada"})), "{shown}");
    assert_eq!(shown["timeline"][1]["action"], "request.assigned");
    assert_eq!(shown["timeline"][1]["detail"], json!({"to": ada}));
    let (_, again) = assign(&adas, &one, json!("me")).await;
    assert_eq!(again["timeline"].as_array().unwrap().len(), 2, "said twice, written once: {again}");
    assert_eq!(assign(&api, &two, json!(bob)).await.0, 200);

    assert_eq!(listed(&api, &format!("assigned={ada}")).await, ids(&[&one]));
    assert_eq!(listed(&adas, "assigned=me&state=awaiting").await, ids(&[&one]));
    assert_eq!(listed(&api, "assigned=none").await, ids(&[&three]));
    assert_eq!(listed(&api, "assigned=none&sort=oldest").await, ids(&[&three]));
    assert_eq!(listed(&api, &format!("assigned={bob}&sort=expiry")).await, ids(&[&two]));
    let (_, found) = adas
        .post("/requests/search", json!({"assigned": "me", "provider": "sandbox"}))
        .await;
    assert_eq!(found["requests"][0]["assigned"]["name"], "ada");

    for nobody in [json!(null), json!("none")] {
        let (status, shown) = assign(&api, &one, nobody).await;
        assert_eq!((status, shown.get("assigned")), (200, None), "{shown}");
        assert_eq!(shown["timeline"].as_array().unwrap().len(), 3, "{shown}");
    }
    assert_eq!(listed(&api, "assigned=none").await, ids(&[&one, &three]));
    assert_eq!(listed(&adas, "assigned=me").await, ids(&[]));
    assert!(listed(&api, "").await.len() == 3);
}

#[tokio::test]
async fn what_somebody_leaves_behind_is_nobodys() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let ada = person(&api, "ada", "agent", &[]).await;
    let path = open(&api).await;
    assert_eq!(api.post(&format!("{path}/assign"), json!({"agent": ada})).await.0, 200);
    let at = |verb: &str| format!("/agents/{ada}/{verb}");
    let shown = async || {
        let (_, shown) = api.get(&path).await;
        let name = |field: &str| shown[field]["name"].as_str().map(str::to_owned);
        (name("assigned"), name("formerly_assigned"))
    };
    let (is, was) = ((Some("ada".to_owned()), None), (None, Some("ada".to_owned())));
    let disabled = json!({});
    let moved = json!({"role": "agent", "teams": ["cards"]});
    let audits = json!({"role": "auditor", "teams": []});
    let back = json!({"role": "agent", "teams": []});
    for (out, body, home) in [
        ("disable", &disabled, "enable"),
        ("role", &moved, "role"),
        ("role", &audits, "role"),
    ] {
        assert_eq!(shown().await, is);
        assert_eq!(listed(&api, "assigned=none").await, ids(&[]));
        assert_eq!(api.post(&at(out), body.clone()).await.0, 200);
        assert_eq!(shown().await, was, "{out} {body}");
        assert_eq!(listed(&api, "assigned=none").await, ids(&[&path]), "{out} {body}");
        assert_eq!(
            listed(&api, &format!("assigned={ada}")).await,
            ids(&[&path]),
            "what was hers is found by her"
        );
        let (status, problem) = api.post(&format!("{path}/assign"), json!({"agent": ada})).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("agent")), "{problem}");
        let body = if home == "role" { &back } else { &disabled };
        assert_eq!(api.post(&at(home), body.clone()).await.0, 200);
    }
    assert_eq!(api.post(&at("delete"), json!({})).await.0, 200);
    assert_eq!(shown().await, was);
    assert_eq!(listed(&api, "assigned=none").await, ids(&[&path]));
    let (_, over) = api.post(&format!("{path}/assign"), json!({"agent": null})).await;
    assert!(over.get("formerly_assigned").is_none(), "{over}");
}

#[tokio::test]
async fn nobody_is_assigned_what_they_may_not_see() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let cards = person(&api, "cards", "agent", &["cards"]).await;
    let auditor = person(&api, "auditor", "auditor", &[]).await;
    let admin = person(&api, "admin", "admin", &["cards"]).await;
    let path = open(&api).await;
    let assign = format!("{path}/assign");
    let unknown = "agt_00000000000000000000000000";
    let mut answers = BTreeSet::new();
    for agent in [cards.as_str(), &auditor, unknown] {
        let (status, problem) = api.post(&assign, json!({"agent": agent})).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("agent")), "{problem}");
        answers.insert(problem["detail"].to_string());
    }
    assert_eq!(answers.len(), 1, "nobody learns who is in another team: {answers:?}");
    for bad in [
        json!({}),
        json!({"agent": "ada"}),
        json!({"agent": 7}),
        json!({"agent": "me"}),
        json!({"agent": null, "to": 1}),
    ] {
        assert_eq!(api.post(&assign, bad.clone()).await.0, 422, "{bad}");
    }
    for bad in ["assigned=me", "assigned=ada", "assigned=key_00000000000000000000000001"] {
        let (status, problem) = api.get(&format!("/requests?{bad}")).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (422, &json!("assigned")),
            "{bad}: {problem}"
        );
    }
    let reader = Caller::scoped(&app, &[Scope::Read]).await;
    assert_eq!(reader.post(&assign, json!({"agent": null})).await.0, 403);
    assert_eq!(
        api.get(&path).await.1["timeline"].as_array().unwrap().len(),
        1,
        "nothing was written"
    );
    assert_eq!(api.post(&assign, json!({"agent": admin})).await.0, 200, "admins see every request");
}
