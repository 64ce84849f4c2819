//! What an `Idempotency-Key` shows again: the truth, to its own caller, and nothing that anybody else could work out.

use nightdrop::testing::domain::agent::Scope;
use nightdrop::testing::domain::id::RequestId;
use serde_json::{Value, json};

use super::{Caller, answer};
use crate::support::TestApp;

async fn posted(caller: &Caller<'_>, path: &str, body: Value, key: Option<&str>) -> (u16, Value) {
    answer(caller.posted(path, body, key).await).await
}

fn wanted() -> Value {
    json!({"provider": "sandbox", "applicant": "james-1", "document": "passport", "passcode": true})
}

#[tokio::test]
async fn a_repetition_shows_no_passcode_that_was_replaced() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let (_, first) = posted(&api, "/requests", wanted(), Some("case-4711")).await;
    let (status, again) = posted(&api, "/requests", wanted(), Some("case-4711")).await;
    assert_eq!(
        (status, &again["url"], &again["passcode"]),
        (201, &first["url"], &first["passcode"])
    );
    assert!(first["passcode"].is_string() && again.get("passcode_state").is_none());

    let id = first["id"].as_str().unwrap();
    let (_, fresh) = posted(&api, &format!("/requests/{id}/passcode"), json!({}), None).await;
    assert!(fresh["passcode"].is_string());
    let (status, again) = posted(&api, "/requests", wanted(), Some("case-4711")).await;
    assert_eq!(
        (status, &again["url"], &again["passcode_state"]),
        (201, &first["url"], &json!("replaced"))
    );
    assert!(again.get("passcode").is_none(), "neither the dead code nor the fresh one");
}

#[tokio::test]
async fn a_repetition_shows_no_link_that_is_dead() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let (_, first) = posted(&api, "/requests", wanted(), Some("case-1")).await;
    let id = first["id"].as_str().unwrap();
    let (status, second) = posted(&api, &format!("/requests/{id}/reissue"), json!({}), Some("case-2")).await;
    assert_eq!(status, 201);
    let dead = async |path: &str, body: Value, key: &str| {
        let (status, problem) = posted(&api, path, body, Some(key)).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (409, Some("idempotency.link_replaced")),
            "{problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(id), "it says where to look");
    };
    dead("/requests", wanted(), "case-1").await;
    let (status, again) = posted(&api, &format!("/requests/{id}/reissue"), json!({}), Some("case-2")).await;
    assert_eq!(
        (status, &again["url"], &again["passcode"]),
        (201, &second["url"], &second["passcode"])
    );
    posted(&api, &format!("/requests/{id}/revoke"), json!({}), None).await;
    dead(&format!("/requests/{id}/reissue"), json!({}), "case-2").await;
    // With another body it is still another request.
    let (status, problem) = posted(
        &api,
        "/requests",
        json!({"provider": "sandbox", "applicant": "x", "document": "passport"}),
        Some("case-1"),
    )
    .await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("idempotency.mismatch")));
}

/// The store, the portal's secrets and a guess at the key are not enough: the caller's own secret is needed, and only its hash is stored.
#[tokio::test]
async fn a_guessed_key_leads_to_no_token() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let (_, issued) = posted(&api, "/requests", wanted(), Some("case-4711")).await;
    let request = app
        .portal
        .requests
        .request(RequestId::parse(issued["id"].as_str().unwrap()).unwrap())
        .await
        .unwrap()
        .unwrap();
    let caller = request.created_by.to_string();
    let salt = request.link.salt.unwrap();
    let key = app.portal.directory.api_keys().await.unwrap()[0].id;
    for caller in [caller.as_str(), &key.to_string()] {
        for name in [
            format!("link\0{caller}\0case-4711"),
            format!("link\0{caller}\0case-4711\0"),
            format!("link\0{caller}\0case-4711\0{caller}"),
        ] {
            let guess = app.portal.secrets.derive_token(&salt, name.as_bytes());
            assert_ne!(app.portal.secrets.hash_token(&guess), request.link.hashed, "{name:?}");
        }
    }
    // The derivation is the one that is used: with the caller's secret it fits.
    let name = format!("link\0{key}\0case-4711\0{}", app.api_key);
    assert_eq!(
        app.portal
            .secrets
            .hash_token(&app.portal.secrets.derive_token(&salt, name.as_bytes())),
        request.link.hashed
    );

    let admin = Caller::scoped(&app, &[Scope::Admin]).await;
    let body = json!({"name": "ci", "scopes": ["read"]});
    let (_, made) = posted(&admin, "/api-keys", body.clone(), Some("case-5")).await;
    assert_eq!(posted(&admin, "/api-keys", body, Some("case-5")).await.1["secret"], made["secret"]);
    assert!(made["secret"].as_str().unwrap().starts_with("ndk_"));
}

#[tokio::test]
async fn a_repeated_invitation_shows_its_link_while_it_is_good() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let ivy = || json!({"email": "ivy@example.com", "name": "Ivy", "role": "agent"});
    let (status, first) = posted(&api, "/agents/invite", ivy(), Some("hr-7")).await;
    assert_eq!((status, first["by"].as_str()), (201, Some("link")));
    let (status, again) = posted(&api, "/agents/invite", ivy(), Some("hr-7")).await;
    assert_eq!((status, &again["link"]), (201, &first["link"]));
    let (status, _) = posted(
        &api,
        "/agents/invite",
        json!({"email": "b@example.com", "name": "B", "role": "agent"}),
        Some("hr-7"),
    )
    .await;
    assert_eq!(status, 422, "another body");
    assert_eq!(posted(&api, "/agents/invite", ivy(), None).await.0, 409, "the address is taken");
    let id = first["agent"]["id"].as_str().unwrap();
    let (_, newer) = posted(&api, &format!("/agents/{id}/invite"), json!({}), None).await;
    assert_ne!(newer["link"], first["link"]);
    let (status, problem) = posted(&api, "/agents/invite", ivy(), Some("hr-7")).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("idempotency.link_replaced")));
}
