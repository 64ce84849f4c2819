//! The API from outside: shapes, permissions, idempotency, bad inputs.

pub mod described;
mod desk;
mod first_steps;
mod keys;
mod replay;
mod search;

use std::collections::BTreeSet;

use nightdrop::testing::domain::agent::{Actor, Scope};
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::http::api::TABLE;
use nightdrop::testing::workflow::sign_in;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{TestApp, TestOptions, png};

/// One caller of a app's API.
struct Caller<'a> {
    app: &'a TestApp,
    key: String,
}

impl<'a> Caller<'a> {
    fn of(app: &'a TestApp) -> Self {
        Self {
            app,
            key: app.api_key.clone(),
        }
    }

    async fn scoped(app: &'a TestApp, scopes: &[Scope]) -> Self {
        let (_, secret) = sign_in::add_api_key(&app.portal, "scoped", scopes.to_vec(), None, Actor::Operator)
            .await
            .unwrap();
        Self {
            app,
            key: secret.to_string(),
        }
    }

    fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = self.app.staff(&format!("/api/v1{path}"));
        self.app.http.request(method, url).bearer_auth(&self.key)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.call(Method::GET, path).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.posted(path, body, None).await).await
    }

    async fn posted(&self, path: &str, body: Value, key: Option<&str>) -> Response {
        let mut call = self
            .call(Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_string());
        if let Some(key) = key {
            call = call.header("idempotency-key", key);
        }
        call.send().await.unwrap()
    }

    async fn issued(&self) -> Value {
        let (status, body) = self.post("/requests", ask()).await;
        assert_eq!(status, 201, "{body}");
        body
    }
}

fn ask() -> Value {
    json!({"provider": "sandbox", "applicant": "james-1", "document": "government-id"})
}

/// Status and JSON body; every failure is a whole problem document with the headers of the app.
async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let path = response.url().path().to_owned();
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "same-origin");
    assert!(!headers.contains_key("server"));
    let text = response.text().await.unwrap();
    let mut body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
    if status >= 400 {
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status);
        for field in ["type", "title", "code", "detail"] {
            assert!(body[field].is_string(), "{field} of {body}");
        }
        for never in ["src/", ".rs", "panicked", "/tmp", "sled"] {
            assert!(!text.contains(never), "{text}");
        }
    }
    described::check(&path, status, headers["content-type"].to_str().unwrap(), &body);
    if status >= 400 {
        // It differs from one answer to the next, and is the only thing that does.
        let id = body.as_object_mut().unwrap().remove("request_id");
        assert_eq!(id.unwrap(), headers["x-request-id"].to_str().unwrap());
    }
    (status, body)
}

fn drop_path(issued: &Value) -> String {
    let url = issued["url"].as_str().unwrap();
    url[url.find("/d/").unwrap()..].to_owned()
}

#[tokio::test]
async fn issuing_tells_everything_once_and_looking_never_again() {
    let app = TestApp::with_options(TestOptions {
        more: "hosted = { return_hosts = [\"example.com\"] }".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let api = Caller::of(&app);
    let body = json!({"provider": "sandbox", "applicant": "james-1", "document": "government-id", "parts": ["front"], "expires_in": "24h",
        "passcode": true, "locale": "en-GB", "message": "As we talked about.", "return_url": "https://example.com/back", "metadata": {"ticket": 7}});
    let response = api.posted("/requests", body, None).await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let (status, issued) = answer(response).await;
    assert_eq!(status, 201);
    let (id, url, passcode) = (
        issued["id"].as_str().unwrap(),
        issued["url"].as_str().unwrap(),
        issued["passcode"].as_str().unwrap(),
    );
    assert_eq!(location, format!("/api/v1/requests/{id}"));
    assert_eq!(issued["state"], "awaiting");
    assert!(passcode.len() == 6 && passcode.bytes().all(|b| b.is_ascii_digit()));
    assert!(issued["qr_svg"].as_str().unwrap().starts_with("<svg"));
    let message = &issued["message"];
    let text = message["body"].as_str().unwrap();
    assert!(text.contains(url) && text.contains("Government ID") && text.contains("As we talked about."));
    assert!(!message.to_string().contains("james-1") && !text.contains(passcode));
    for (name, start) in [
        ("mailto", "mailto:?subject="),
        ("gmail", "https://mail.google.com/"),
        ("outlook", "https://outlook.office.com/"),
    ] {
        assert!(message[name].as_str().unwrap().starts_with(start));
    }
    assert_eq!(app.http.get(app.public(&drop_path(&issued))).send().await.unwrap().status(), 200);

    let (status, shown) = api.get(&format!("/requests/{id}")).await;
    assert_eq!(status, 200);
    let token = url.rsplit('/').next().unwrap();
    assert!(!shown.to_string().contains(token) && !shown.to_string().contains(passcode));
    assert_eq!(shown["applicant"], "james-1");
    assert_eq!(shown["metadata"], json!({"ticket": 7}));
    assert_eq!(shown["link"]["state"], "active");
    assert_eq!(shown["link"]["passcode"], true);
    assert_eq!(shown["link"]["tries_left"], 5);
    assert_eq!(shown["parts"][0]["name"], "front");
    assert_eq!(shown["parts"].as_array().unwrap().len(), 1);
    assert_eq!(shown["timeline"][0]["action"], "link.issued");
    assert!(shown["created_by"].as_str().unwrap().starts_with("key_"));
}

#[tokio::test]
async fn the_same_key_issues_once_however_often_and_from_how_many_threads() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let all = futures_util::future::join_all((0..12).map(|_| api.posted("/requests", ask(), Some("order-1")))).await;
    let mut urls = BTreeSet::new();
    let mut fresh = 0;
    for response in all {
        fresh += usize::from(!response.headers().contains_key("idempotency-replayed"));
        let (status, body) = answer(response).await;
        assert_eq!(status, 201, "{body}");
        urls.insert(body["url"].as_str().unwrap().to_owned());
    }
    assert_eq!((urls.len(), fresh), (1, 1));
    let (_, page) = api.get("/requests").await;
    assert_eq!(page["requests"].as_array().unwrap().len(), 1);

    let again = api
        .posted(
            "/requests",
            json!({"document": "government-id", "applicant": "james-1", "provider": "sandbox"}),
            Some("order-1"),
        )
        .await;
    assert_eq!(again.headers()["idempotency-replayed"], "true", "the order of fields is nothing");
    let other = json!({"provider": "sandbox", "applicant": "james-2", "document": "government-id"});
    let (status, problem) = answer(api.posted("/requests", other, Some("order-1")).await).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), (422, "idempotency.mismatch"));
    // Another caller's keys are its own.
    let stranger = Caller::scoped(&app, &[Scope::Requests]).await;
    let response = stranger.posted("/requests", ask(), Some("order-1")).await;
    assert!(!response.headers().contains_key("idempotency-replayed"));
    let (_, theirs) = answer(response).await;
    assert!(!urls.contains(theirs["url"].as_str().unwrap()));
    for bad in ["", "a b", &"x".repeat(256), "a\tb"] {
        let (status, problem) = answer(api.posted("/requests", ask(), Some(bad)).await).await;
        assert_eq!(
            (status, problem["code"].as_str().unwrap()),
            (400, "idempotency.malformed"),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn reissuing_under_a_key_gives_one_new_link_and_kills_the_old() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let first = api.issued().await;
    let path = format!("/requests/{}/reissue", first["id"].as_str().unwrap());
    let (status, second) = answer(
        api.posted(&path, json!({"expires_in": 3600, "passcode": true}), Some("again"))
            .await,
    )
    .await;
    assert_eq!(status, 201, "{second}");
    assert_ne!(first["url"], second["url"]);
    let replay = api
        .posted(&path, json!({"expires_in": 3600, "passcode": true}), Some("again"))
        .await;
    assert_eq!(replay.headers()["idempotency-replayed"], "true");
    let (_, replay) = answer(replay).await;
    assert_eq!(
        (&replay["url"], &replay["passcode"], &replay["expires_at"]),
        (&second["url"], &second["passcode"], &second["expires_at"])
    );
    assert_eq!(replay["request"]["link"]["generation"], 2);
    let (status, _) = answer(
        api.posted("/requests", json!({"expires_in": 3600, "passcode": true}), Some("again"))
            .await,
    )
    .await;
    assert_eq!(status, 422, "the same key on another route is another thing");
    assert_ne!(app.http.get(app.public(&drop_path(&first))).send().await.unwrap().status(), 200);
    assert_eq!(app.http.get(app.public(&drop_path(&second))).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn every_bad_body_is_refused_with_its_field() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let with = |field: &str, value: Value| {
        let mut body = ask();
        body[field] = value;
        body
    };
    for (body, field) in [
        (json!({}), "provider"),
        (with("provider", json!(7)), "provider"),
        (with("provider", json!("nobody")), "provider"),
        (with("provider", json!("No Body")), "provider"),
        (with("applicant", json!("")), "applicant"),
        (with("applicant", json!("a/b")), "applicant"),
        (with("applicant", json!("a b")), "applicant"),
        (with("document", json!("tax-return")), "document"),
        (with("parts", json!([])), "parts"),
        (with("parts", json!(["front", "front"])), "parts"),
        (with("parts", json!(["left"])), "parts"),
        (with("parts", json!("front")), "parts"),
        (with("expires_in", json!("soon")), "expires_in"),
        (with("expires_in", json!("15d")), "expires_at"),
        (with("expires_in", json!(-5)), "expires_in"),
        (with("expires_at", json!("2001-01-01T00:00:00Z")), "expires_at"),
        (with("expires_at", json!("tomorrow")), "expires_at"),
        (with("passcode", json!("yes")), "passcode"),
        (with("locale", json!("x")), "locale"),
        (with("message", json!("a\u{7}b")), "message"),
        (with("message", json!("x".repeat(1001))), "message"),
        (with("return_url", json!("javascript:alert(1)")), "return_url"),
        (with("return_url", json!("http://example.com")), "return_url"),
        (with("metadata", json!("text")), "metadata"),
        (with("metadata", json!({"x": "y".repeat(5_000)})), "metadata"),
        (with("created_by", json!("operator")), "created_by"),
        (with("link", json!({"hashed": "x"})), "link"),
    ] {
        let (status, problem) = api.post("/requests", body.clone()).await;
        assert_eq!(status, 422, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    let both =
        json!({"provider": "sandbox", "applicant": "j", "document": "passport", "expires_in": 60, "expires_at": "2030-01-01T00:00:00Z"});
    assert_eq!(api.post("/requests", both).await.1["errors"][0]["field"], "expires_in");
    let (_, two) = api
        .post("/requests", json!({"provider": "?", "applicant": "?", "document": "passport"}))
        .await;
    assert_eq!(two["errors"].as_array().unwrap().len(), 2, "all at once");
    assert_eq!(api.get("/requests").await.1["requests"], json!([]), "nothing was issued");

    let raw = async |kind: Option<&str>, encoding: Option<&str>, body: Vec<u8>| {
        let mut call = api.call(Method::POST, "/requests").body(body);
        if let Some(kind) = kind {
            call = call.header("content-type", kind);
        }
        if let Some(encoding) = encoding {
            call = call.header("content-encoding", encoding);
        }
        answer(call.send().await.unwrap()).await
    };
    let json_body = ask().to_string().into_bytes();
    assert_eq!(raw(Some("text/plain"), None, json_body.clone()).await.0, 415);
    assert_eq!(raw(None, None, json_body.clone()).await.0, 415);
    assert_eq!(raw(Some("application/json"), Some("gzip"), json_body.clone()).await.0, 415);
    assert_eq!(raw(Some("application/json"), None, b"{".to_vec()).await.0, 400);
    assert_eq!(raw(Some("application/json"), None, b"[]".to_vec()).await.0, 422);
    assert_eq!(raw(Some("application/json"), None, b"\xff\xfe".to_vec()).await.0, 400);
    assert_eq!(raw(Some("application/json"), None, vec![b' '; 64 * 1024 + 1]).await.0, 413);
    assert_eq!(
        raw(Some("application/json"), None, [vec![b'['; 30_000], vec![b']'; 30_000]].concat())
            .await
            .0,
        400
    );
    assert_eq!(
        raw(Some("application/json; charset=utf-8"), Some("identity"), json_body).await.0,
        201
    );
}

#[tokio::test]
async fn lists_are_filtered_paged_and_strict() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    for n in 0..7 {
        let body = json!({"provider": "sandbox", "applicant": format!("person-{}", n % 2), "document": "passport"});
        assert_eq!(api.post("/requests", body).await.0, 201);
    }
    let mut seen = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = api.get(&format!("/requests?limit=3&cursor={cursor}")).await;
        assert_eq!(status, 200, "{page}");
        for request in page["requests"].as_array().unwrap() {
            assert!(seen.insert(request["id"].as_str().unwrap().to_owned()), "no row twice");
            assert!(request.get("timeline").is_none() && request.get("metadata").is_none());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 7);
    let by_person = api.get("/requests?applicant=person-1&state=awaiting&provider=sandbox").await.1;
    assert_eq!(by_person["requests"].as_array().unwrap().len(), 3);
    let searched = api
        .post(
            "/requests/search",
            json!({"applicant": "person-1", "state": "awaiting", "limit": 200}),
        )
        .await
        .1;
    assert_eq!(searched, by_person);
    assert_eq!(
        api.post("/requests/search", json!({"applicant": "nobody"})).await.1["requests"],
        json!([])
    );
    let me = by_person["requests"][0]["created_by"].as_str().unwrap();
    assert_eq!(
        api.get(&format!("/requests?agent={me}&limit=200")).await.1["requests"]
            .as_array()
            .unwrap()
            .len(),
        7
    );
    for bad in [
        "state=lost",
        "limit=0",
        "limit=201",
        "limit=x",
        "cursor=zz",
        "provider=No%20Such",
        "agent=me",
        "applicant=a%2Fb",
        "stat=awaiting",
        "limit=1&limit=2",
    ] {
        assert_eq!(api.get(&format!("/requests?{bad}")).await.0, 422, "{bad}");
    }
    assert_eq!(api.post("/requests/search", json!({"limit": 201})).await.0, 422);
    let (_, problem) = api
        .get("/requests?state=lost&limit=0&sort=random&colour=red&agent=me&cursor=a&cursor=b")
        .await;
    let fields: BTreeSet<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        BTreeSet::from(["state", "limit", "sort", "colour", "agent", "cursor"]),
        "all at once: {problem}"
    );
}

#[tokio::test]
async fn acting_on_a_request_does_what_it_says() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let issued = api.issued().await;
    let at = |verb: &str| format!("/requests/{}/{verb}", issued["id"].as_str().unwrap());
    let (status, longer) = api.post(&at("extend"), json!({"expires_in": "200h"})).await;
    assert_eq!(status, 200);
    assert!(longer["expires_at"].as_str() > issued["expires_at"].as_str());
    assert_eq!(
        api.post(&at("extend"), json!({"expires_in": "1h"})).await.0,
        422,
        "an extension is later"
    );
    assert_eq!(api.post(&at("passcode"), json!({})).await.0, 409, "there is no code to renew");
    assert_eq!(api.post(&at("retry"), json!({})).await.0, 409);
    assert_eq!(api.post(&at("purge"), json!({})).await.0, 409);
    assert_eq!(api.post(&at("mark-uploaded"), json!({})).await.0, 409);
    let (_, coded) = api.post(&at("reissue"), json!({"passcode": true})).await;
    let (status, fresh) = api.post(&at("passcode"), json!({})).await;
    assert_eq!(status, 200);
    assert_ne!(fresh["passcode"], coded["passcode"]);
    let (status, revoked) = api.post(&at("revoke"), json!({})).await;
    assert_eq!((status, revoked["state"].as_str().unwrap()), (200, "revoked"));
    assert_eq!(revoked["link"]["state"], "revoked");
    assert_eq!(api.post(&at("extend"), json!({})).await.0, 410);
    let none = api.call(Method::POST, &at("revoke")).send().await.unwrap();
    assert_eq!(none.status(), 200, "an action needs no body");
    assert_eq!(api.post(&at("revoke"), json!({"force": true})).await.0, 422);
}

#[tokio::test]
async fn a_document_is_followed_to_its_receipt_which_verifies_offline() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let issued = api.issued().await;
    let id = issued["id"].as_str().unwrap();
    let receipt_path = format!("/requests/{id}/deletion-receipt");
    let (status, problem) = api.get(&receipt_path).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), (404, "receipt.not_yet"));
    let (front, back) = (png(1, 20_000), png(2, 20_000));
    let (body, kind) = crate::support::form(&[("front", &front), ("back", &back)]);
    let dropped = app
        .http
        .post(app.public(&drop_path(&issued)))
        .header("content-type", kind)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(dropped.status(), 200);
    let (_, held) = api.get(&format!("/requests/{id}")).await;
    assert_eq!(held["state"], RequestState::Received.as_str());
    assert_eq!(held["link"]["state"], "consumed");
    assert_eq!(held["delivery"]["phase"], "pending");
    assert!(held["purge_at"].is_string() && held["received_at"].is_string());
    let keys = api.get("/key").await.1;
    assert_eq!(keys["keys"][0]["live_documents"], 1);
    assert_eq!((&keys["locked"], &keys["keys"][0]["state"]), (&json!(false), &json!("current")));
    app.work().await;
    let (_, done) = api.get(&format!("/requests/{id}")).await;
    assert_eq!(
        (done["state"].as_str(), done["outcome"].as_str()),
        (Some("purged"), Some("confirmed"))
    );
    assert_eq!(done["receipt_number"], 1);
    assert!(!done.to_string().contains("IMG 0001"), "never a file name");

    let (status, receipt) = api.get(&receipt_path).await;
    assert_eq!(status, 200);
    assert_eq!(receipt["cause"], "confirmed");
    let public_key = api.get("/receipt-key").await.1["public_key"].as_str().unwrap().to_owned();
    let public_key: [u8; 32] = data_encoding::HEXLOWER.decode(public_key.as_bytes()).unwrap().try_into().unwrap();
    let signed = receipt["signed"].as_str().unwrap();
    let verified = nightdrop::testing::crypto::receipt::verify(signed, Some(&public_key)).unwrap();
    assert_eq!(verified.receipt.erasure.request.to_string(), id);
    assert_eq!(
        data_encoding::HEXLOWER.encode(&verified.receipt.hash),
        receipt["hash"].as_str().unwrap()
    );
    let text = api
        .call(Method::GET, &receipt_path)
        .header("accept", "text/plain")
        .send()
        .await
        .unwrap();
    assert_eq!(text.text().await.unwrap(), signed);
}

#[tokio::test]
async fn the_audit_log_pages_and_its_chain_verifies_from_the_lines_alone() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    for _ in 0..5 {
        api.issued().await;
    }
    let (mut after, mut entries) = (0, Vec::new());
    loop {
        let (status, page) = api.get(&format!("/audit?after={after}&limit=2")).await;
        assert_eq!(status, 200);
        entries.extend(page["entries"].as_array().unwrap().clone());
        match page["next_after"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    let mut previous = nightdrop::testing::domain::audit::GENESIS;
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(entry["sequence"], n + 1);
        let line = entry["line"].as_str().unwrap();
        previous = nightdrop::testing::domain::audit::chain_hash("nightdrop/v1/audit", &previous, line.as_bytes());
        assert_eq!(entry["hash"], data_encoding::HEXLOWER.encode(&previous));
        assert!(!entry.to_string().contains("james-1"));
    }
    assert!(entries.len() >= 6);
    assert_eq!(api.get(&format!("/audit?after={}", u64::MAX)).await.1["entries"], json!([]));
    assert_eq!(api.get("/audit?limit=1001").await.0, 422);
}

#[tokio::test]
async fn providers_say_what_they_are_and_what_is_missing() {
    let app = TestApp::with_options(TestOptions {
        more: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let api = Caller::of(&app);
    let (_, list) = api.get("/providers").await;
    assert_eq!(
        list["providers"][0],
        json!({"name": "desk", "kind": "manual", "confirm": "received", "lists_missing": false, "by_hand": true, "paused": false})
    );
    let expected = json!({"missing": [{"document": "government-id", "parts": ["front", "back"], "provider_name": "government-id"}]});
    let (status, missing) = api.get("/providers/sandbox/applicants/james-1/missing").await;
    assert_eq!(status, 200);
    assert_eq!(missing["missing"][0]["document"], expected["missing"][0]["document"]);
    assert_eq!(
        api.post("/providers/sandbox/missing", json!({"applicant": "james-1"})).await,
        (200, missing)
    );
    let (status, problem) = api.post("/providers/desk/missing", json!({"applicant": "james-1"})).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), (409, "provider.cannot_list"));
    assert_eq!(api.post("/providers/nobody/missing", json!({"applicant": "james-1"})).await.0, 404);
    assert_eq!(api.post("/providers/sandbox/missing", json!({"applicant": "a/b"})).await.0, 422);
    assert_eq!(api.post("/providers/sandbox/missing", json!({})).await.0, 422);
}
