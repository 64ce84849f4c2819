//! Requests by what has become of them, and by whatever somebody has at hand.

use serde_json::{Value, json};

use super::{Caller, drop_path};
use crate::support::{TestApp, form, png};

/// The ids that a search finds, newest first.
async fn found(api: &Caller<'_>, search: Value) -> Vec<String> {
    let (status, page) = api.post("/requests/search", search.clone()).await;
    assert_eq!(status, 200, "{search}: {page}");
    let ids = page["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].as_str().unwrap().to_owned());
    ids.collect()
}

async fn ask(api: &Caller<'_>, applicant: &str, ticket: Option<&str>) -> Value {
    let body = json!({"provider": "sandbox", "applicant": applicant, "document": "passport", "ticket": ticket});
    let (status, issued) = api.post("/requests", body).await;
    assert_eq!(status, 201, "{issued}");
    issued
}

fn id(issued: &Value) -> String {
    issued["id"].as_str().unwrap().to_owned()
}

/// The receipt that the applicant's page answers a drop with, for programs.
async fn drop_photo(app: &TestApp, issued: &Value, seed: u8) -> Value {
    let (body, kind) = form(&[("front", &png(seed.into(), 20_000))]);
    let request = app.http.post(app.public(&drop_path(issued))).header("content-type", kind);
    let answer = request.header("accept", "application/json").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn an_outcome_outlives_the_purge_that_follows_it() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    app.plan(json!(["reject:expired"])).await;
    let rejected = ask(&api, "person-1", None).await;
    drop_photo(&app, &rejected, 1).await;
    app.work().await;
    let confirmed = ask(&api, "person-2", None).await;
    drop_photo(&app, &confirmed, 2).await;
    app.work().await;
    let withdrawn = ask(&api, "person-3", None).await;
    api.post(&format!("/requests/{}/revoke", id(&withdrawn)), json!({})).await;
    let open = ask(&api, "person-4", None).await;
    for (outcome, request) in [
        ("rejected", &rejected),
        ("confirmed", &confirmed),
        ("withdrawn", &withdrawn),
        ("in_progress", &open),
    ] {
        assert_eq!(found(&api, json!({"outcome": outcome})).await, [id(request)], "{outcome}");
        let (_, page) = api.get(&format!("/requests?outcome={outcome}")).await;
        assert_eq!(page["requests"][0]["outcome"], outcome);
        assert_eq!(page["requests"].as_array().unwrap().len(), 1);
    }
    assert_eq!(found(&api, json!({"outcome": "lost"})).await, [""; 0]);
    let (status, problem) = api.post("/requests/search", json!({"outcome": "gone"})).await;
    assert_eq!(
        (status, problem["errors"][0]["field"].as_str()),
        (422, Some("outcome")),
        "{problem}"
    );
    // Asked again, it is in progress again.
    api.post(&format!("/requests/{}/reissue", id(&rejected)), json!({})).await;
    assert_eq!(found(&api, json!({"outcome": "rejected"})).await, [""; 0]);
    assert_eq!(found(&api, json!({"outcome": "in_progress"})).await.len(), 2);
}

#[tokio::test]
async fn a_request_is_found_by_whatever_somebody_has_at_hand() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let one = ask(&api, "acct_1234567890ABC", Some("ZD-4711")).await;
    let other = ask(&api, "acct_1299", Some("zd-4712")).await;
    let third = ask(&api, "unlike", None).await;
    let receipt = drop_photo(&app, &one, 3).await;
    let reference = receipt["reference"].as_str().unwrap().to_owned();
    app.work().await;

    let all = [id(&other), id(&one)];
    for (text, expected) in [
        ("acct_1234567890ABC", &all[1..]),
        ("acct_1234567890", &all[1..]),
        ("acct_12", &all[..]),
        ("acct", &all[..]),
        ("acct_1299", &all[..1]),
        ("acct_13", &[]),
        ("ACCT_12", &[]),
        ("unlike", &[id(&third)][..]),
        ("ZD-4711", &all[1..]),
        ("ZD-4712", &all[..1]),
        ("ZD-47", &[]),
        (&id(&one), &all[1..]),
        (&reference, &all[1..]),
        (&reference.to_lowercase().replace('-', " "), &all[1..]),
        ("0000-0000", &[]),
        ("  acct_1299 ", &all[..1]),
        ("\u{fc}", &[]),
    ] {
        assert_eq!(found(&api, json!({"find": text})).await, expected, "{text}");
    }
    let (_, shown) = api.get(&format!("/requests/{}", id(&one))).await;
    assert_eq!(shown["ticket"], "ZD-4711");
    assert_eq!(shown["receipt_reference"], reference);
    let (status, _) = api.post("/requests/search", json!({"find": "acct", "state": "purged"})).await;
    assert_eq!(status, 422, "alone only");
    let (status, _) = api.post("/requests/search", json!({"find": "x".repeat(129)})).await;
    assert_eq!(status, 422);
    let bad = json!({"provider": "sandbox", "applicant": "a", "document": "passport", "ticket": "=cmd"});
    let (status, problem) = api.post("/requests", bad).await;
    assert_eq!((status, problem["errors"][0]["field"].as_str()), (422, Some("ticket")), "{problem}");
}
