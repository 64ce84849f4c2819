//! Requests by what has become of them, and by whatever somebody has at hand.

use serde_json::{Value, json};
use time::Duration;

use super::{Caller, drop_path};
use crate::support::{TestApp, TestOptions, form, png};

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

#[tokio::test]
async fn a_list_comes_in_the_order_that_is_asked_for_page_by_page() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let api = Caller::of(&app);
    let mut made = Vec::new();
    // The link that was made first ends last but one, and so on.
    for lives in ["30h", "50h", "10h", "20h", "40h"] {
        let body = json!({"provider": "sandbox", "applicant": "person-1", "document": "passport", "expires_in": lives});
        made.push(id(&api.post("/requests", body).await.1));
        clock.forward(Duration::minutes(1));
    }
    api.post(&format!("/requests/{}/revoke", made[3]), json!({})).await;
    let in_order = |places: &[usize]| places.iter().map(|n| made[*n].clone()).collect::<Vec<_>>();
    for (sort, places) in [
        ("newest", &[4, 3, 2, 1, 0][..]),
        ("oldest", &[0, 1, 2, 3, 4]),
        ("expiry", &[2, 0, 4, 1]),
    ] {
        assert_eq!(found(&api, json!({"sort": sort})).await, in_order(places), "{sort}");
        assert_eq!(
            found(&api, json!({"sort": sort, "applicant": "person-1"})).await,
            in_order(places),
            "{sort}"
        );
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let behind = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
            let page = api.get(&format!("/requests?limit=2&sort={sort}{behind}")).await.1;
            seen.extend(
                page["requests"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|r| r["id"].as_str().unwrap().to_owned()),
            );
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, in_order(places), "{sort}, two by two");
    }
    let first = api.get("/requests?limit=1&sort=oldest").await.1;
    let cursor = first["next_cursor"].as_str().unwrap();
    let (status, wrong) = api.get(&format!("/requests?sort=expiry&cursor={cursor}")).await;
    assert_eq!((status, &wrong["errors"][0]["field"]), (422, &json!("cursor")), "{wrong}");
    assert_eq!(api.get("/requests?sort=size").await.0, 422);
    assert_eq!(
        api.post("/requests/search", json!({"find": "person-1", "sort": "oldest"})).await.0,
        422
    );

    clock.forward(Duration::hours(1));
    let younger = id(&ask(&api, "person-2", None).await);
    let aged = json!({"sort": "oldest", "older_than": "1h"});
    assert_eq!(found(&api, aged).await, in_order(&[0, 1, 2, 3, 4]), "without {younger}");
    clock.forward(Duration::hours(10));
    assert_eq!(
        found(&api, json!({"sort": "expiry"})).await[0],
        made[0],
        "what has ended is not among what ends next"
    );
}
