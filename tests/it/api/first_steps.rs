//! The first steps of a new portal, for machines: read, ticked off and put away, with an audit entry for each change.

use nightdrop::testing::domain::agent::Scope;
use serde_json::{Value, json};

use super::Caller;
use crate::support::TestApp;

fn state<'a>(list: &'a Value, step: &str) -> &'a str {
    let steps = list["steps"].as_array().unwrap();
    steps.iter().find(|s| s["step"] == step).unwrap()["state"].as_str().unwrap()
}

#[tokio::test]
async fn first_steps_are_read_ticked_off_and_put_away() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let (status, list) = api.get("/first-steps").await;
    assert_eq!((status, list["hidden"].as_bool()), (200, Some(false)), "{list}");
    assert_eq!(list["steps"].as_array().unwrap().len(), 6);
    assert_eq!((state(&list, "provider"), state(&list, "backup")), ("only_sandbox", "open"));
    for _ in 0..2 {
        let (status, list) = api.post("/first-steps", json!({"tick_off": "backup"})).await;
        assert_eq!((status, state(&list, "backup")), (200, "ticked_off"), "{list}");
        let (_, list) = api.post("/first-steps", json!({"hidden": true})).await;
        assert_eq!(list["hidden"], true, "{list}");
    }
    let (_, list) = api.post("/first-steps", json!({"hidden": false, "tick_off": "mail"})).await;
    assert_eq!(
        (list["hidden"].as_bool(), state(&list, "mail")),
        (Some(false), "ticked_off"),
        "{list}"
    );
    for bad in [
        json!({}),
        json!({"tick_off": "company"}),
        json!({"tick_off": "x"}),
        json!({"done": "mail"}),
    ] {
        assert_eq!(api.post("/first-steps", bad.clone()).await.0, 422, "{bad}");
    }
    let (_, log) = api.get("/audit?limit=200").await;
    let said: Vec<_> = log["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["action"].as_str().unwrap().starts_with("first_step"))
        .collect();
    let actions: Vec<_> = said.iter().map(|e| e["action"].as_str().unwrap()).collect();
    let each = [
        "first_step.ticked_off",
        "first_steps.hidden",
        "first_step.ticked_off",
        "first_steps.shown",
    ];
    assert_eq!(actions, each, "each change once");
    assert_eq!(said[0]["detail"], json!({"step": "backup"}));
    let reader = Caller::scoped(&app, &[Scope::Requests]).await;
    assert_eq!(reader.get("/first-steps").await.0, 403);
    assert_eq!(reader.post("/first-steps", json!({"hidden": true})).await.0, 403);
}
