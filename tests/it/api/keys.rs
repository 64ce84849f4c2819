//! Who may do what: keys, scopes, agents, the vault.

use super::*;
use nightdrop::testing::domain::audit::AuditAction;

#[tokio::test]
async fn admins_manage_agents_keys_vault_and_clock() {
    let app = TestApp::with_options(TestOptions {
        passphrase: Some("open the vault please"),
        ..TestOptions::default()
    })
    .await;
    let api = Caller::of(&app);
    let agent = json!({"email": "Ada@Example.com", "name": "Ada", "role": "admin", "password": "three words or four"});
    let (status, ada) = api.post("/agents", agent.clone()).await;
    assert_eq!((status, ada["email"].as_str().unwrap()), (201, "ada@example.com"));
    assert_eq!(api.post("/agents", agent).await.0, 409);
    assert!(!api.get("/agents").await.1.to_string().contains("argon2"));
    for (field, value) in [("email", "nobody"), ("name", ""), ("role", "owner"), ("password", "short")] {
        let mut body = json!({"email": "b@example.com", "name": "B", "role": "agent", "password": "three words or four"});
        body[field] = json!(value);
        let (status, problem) = api.post("/agents", body).await;
        assert_eq!((status, problem["errors"][0]["field"].as_str().unwrap()), (422, field));
        assert!(!problem.to_string().contains("three words"));
    }
    let path = |verb: &str| format!("/agents/{}/{verb}", ada["id"].as_str().unwrap());
    let (status, problem) = api.post(&path("disable"), json!({})).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), (409, "agent.last_admin"));
    assert_eq!(api.post(&path("password"), json!({"password": "another three words"})).await.0, 200);
    api.post(
        "/agents",
        json!({"email": "c@example.com", "name": "C", "role": "admin", "password": "three words or four"}),
    )
    .await;
    assert!(api.post(&path("disable"), json!({})).await.1["disabled_at"].is_string());
    assert_eq!(api.post("/agents/agt_0/disable", json!({})).await.0, 404);
    let body =
        json!({"email": "d@example.com", "name": "D", "role": "agent", "password": "three words or four", "teams": ["cards", "loans"]});
    let (_, made) = api.post("/agents", body).await;
    assert_eq!(
        (&made["teams"], &made["second_factor"]),
        (&json!(["cards", "loans"]), &json!(false))
    );
    let path = |verb: &str| format!("/agents/{}/{verb}", made["id"].as_str().unwrap());
    let (status, changed) = api.post(&path("role"), json!({"role": "manual-handler"})).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&changed["role"], &changed["teams"]),
        (&json!("manual-handler"), &json!(["cards", "loans"]))
    );
    let (_, changed) = api.post(&path("role"), json!({"role": "agent", "teams": []})).await;
    assert_eq!(changed["teams"], json!([]));
    assert_eq!(api.post(&path("role"), json!({"role": "agent", "teams": ["No Such"]})).await.0, 422);
    assert_eq!(api.post(&path("reset-second-factor"), json!({})).await.0, 200);

    let (status, made) = api
        .post("/api-keys", json!({"name": "ci", "scopes": ["read", "read"], "expires_in": "30d"}))
        .await;
    assert_eq!(status, 201);
    assert_eq!(made["key"]["scopes"], json!(["read"]));
    let key = Caller {
        app: &app,
        key: made["secret"].as_str().unwrap().to_owned(),
    };
    assert_eq!(key.get("/requests").await.0, 200);
    assert!(!api.get("/api-keys").await.1.to_string().contains(&key.key));
    let revoke = format!("/api-keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert!(api.post(&revoke, json!({})).await.1["revoked_at"].is_string());
    assert_eq!(key.get("/requests").await.0, 401, "dead at once");
    assert_eq!(api.post("/api-keys", json!({"name": "ci", "scopes": []})).await.0, 422);
    assert_eq!(api.post("/api-keys", json!({"name": "ci", "scopes": ["root"]})).await.0, 422);

    assert_eq!(api.get("/key").await.1["locked"], true);
    let (status, problem) = api.post("/key/unlock", json!({"passphrase": "open sesame"})).await;
    assert_eq!((status, problem["errors"][0]["field"].as_str().unwrap()), (422, "passphrase"));
    let (status, vault) = api.post("/key/unlock", json!({"passphrase": "open the vault please"})).await;
    assert_eq!((status, &vault["locked"]), (200, &json!(false)));
    let (_, status) = api.get("/status").await;
    assert!(["A", "B", "C"].contains(&status["assurance"]["class"].as_str().unwrap()));
    assert_eq!(
        (&status["locked"], &status["clock_suspect"], &status["slots_free"]),
        (&json!(false), &json!(false), &json!(64))
    );
    assert_eq!(api.post("/clock/accept", json!({})).await.0, 200);
    let actions: Vec<String> = api.get("/audit?limit=1000").await.1["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["action"].as_str().unwrap().to_owned())
        .collect();
    for action in [
        "agent.added",
        "agent.password_changed",
        "agent.disabled",
        "agent.role_changed",
        "agent.teams_changed",
        "agent.second_factor_reset",
        "api_key.added",
        "api_key.revoked",
        "key.unlock_refused",
        "key.unlocked",
        "clock.accepted",
    ] {
        assert!(actions.iter().any(|a| a == action), "{action}");
    }
}

#[tokio::test]
async fn agents_and_keys_are_made_once_under_an_idempotency_key() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let posted = async |caller: &Caller<'_>, path: &str, body: &Value, key: &str| {
        let response = caller.posted(path, body.clone(), Some(key)).await;
        let again = response.headers().contains_key("idempotency-replayed");
        let (status, body) = answer(response).await;
        (status, again, body)
    };
    let ada = json!({"email": "ada@example.com", "name": "Ada", "role": "agent", "password": "three words or four", "teams": ["cards"]});
    let at_once = futures_util::future::join_all((0..6).map(|_| posted(&api, "/agents", &ada, "case-1"))).await;
    assert_eq!(at_once.iter().filter(|(_, again, _)| !again).count(), 1, "six at once are one");
    for (status, _, body) in &at_once {
        assert_eq!((*status, body), (201, &at_once[0].2));
    }
    assert_eq!(at_once[0].2["teams"], json!(["cards"]));
    let mut other = ada.clone();
    other["password"] = json!("another three words");
    let (status, _, problem) = posted(&api, "/agents", &other, "case-1").await;
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency.mismatch")));
    assert_eq!(
        posted(&api, "/agents", &ada, "case-2").await.0,
        409,
        "another key adds another agent"
    );

    let wanted = json!({"name": "ci", "scopes": ["read"], "expires_in": "30d"});
    let (status, again, made) = posted(&api, "/api-keys", &wanted, "case-3").await;
    assert_eq!((status, again), (201, false));
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 56);
    assert_eq!(posted(&api, "/api-keys", &wanted, "case-3").await, (201, true, made.clone()));
    let key = Caller {
        app: &app,
        key: secret.to_owned(),
    };
    assert_eq!(key.get("/requests").await.0, 200);
    let (status, _, problem) = posted(&api, "/api-keys", &json!({"name": "ci", "scopes": ["admin"]}), "case-3").await;
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency.mismatch")));
    assert_eq!(posted(&api, "/api-keys", &wanted, "case-1").await.0, 422, "one key, two addresses");
    let (_, again, another) = posted(&api, "/api-keys", &wanted, "case-4").await;
    assert!(!again && another["secret"] != made["secret"]);
    let (_, again, foreign) = posted(&Caller::scoped(&app, &[Scope::Admin]).await, "/api-keys", &wanted, "case-3").await;
    assert!(!again && foreign["secret"] != made["secret"], "keys are each caller's own");
    assert_eq!(posted(&api, "/api-keys", &wanted, "").await.0, 400);
    let (entries, _) = crate::audit::verified(&app.portal).await;
    let count = |action: AuditAction| {
        entries
            .iter()
            .filter(|e| e.event.action == action && e.event.actor != Actor::Operator)
            .count()
    };
    assert_eq!((count(AuditAction::AgentAdded), count(AuditAction::ApiKeyAdded)), (1, 3));
}

#[tokio::test]
async fn a_repetition_survives_a_restart_and_shows_no_more_than_the_first_time() {
    let mut app = TestApp::new().await;
    let wanted = json!({"name": "ci", "scopes": ["read"]});
    let make = async |app: &TestApp| answer(Caller::of(app).posted("/api-keys", wanted.clone(), Some("case-1")).await).await;
    let first = make(&app).await;
    app.restart().await;
    assert_eq!(make(&app).await, first);
    let revoke = format!("/api-keys/{}/revoke", first.1["key"]["id"].as_str().unwrap());
    assert_eq!(Caller::of(&app).post(&revoke, json!({})).await.0, 200);
    let (status, again) = make(&app).await;
    assert_eq!(status, 201);
    assert!(again["key"]["revoked_at"].is_string(), "what is dead is said to be");
}

/// Every route × every method × every scope, held against what the document says.
#[tokio::test]
async fn every_route_asks_for_exactly_the_scope_that_the_document_names() {
    let app = TestApp::new().await;
    let document: Value = app
        .http
        .get(app.staff("/api/v1/openapi.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mut keys = Vec::new();
    for scope in Scope::ALL {
        keys.push((scope, Caller::scoped(&app, &[scope]).await));
    }
    let nobody = Caller {
        app: &app,
        key: "ndk_0000".to_owned(),
    };
    for (path, methods) in TABLE {
        let real = path
            .replace("{id}", "req_00000000000000000000000000")
            .replace("{provider}", "sandbox")
            .replace("{applicant}", "x");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE"] {
            let called = |caller: &Caller<'_>| caller.call(method.parse().unwrap(), &real).send();
            if !methods.contains(&method) {
                let response = called(&nobody).await.unwrap();
                assert_eq!(response.status(), 405, "{method} {path}");
                assert_eq!(response.headers()["allow"], methods.join(", "));
                continue;
            }
            let needed = document["paths"][*path][method.to_lowercase()]["security"][0]["api_key"][0].as_str();
            let Some(needed) = needed else {
                assert_eq!(*path, "/openapi.json");
                continue;
            };
            let response = called(&nobody).await.unwrap();
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            assert_eq!(response.status(), 401, "{method} {path}");
            let cookie = app
                .http
                .request(method.parse().unwrap(), app.staff(&format!("/api/v1{real}")))
                .header("cookie", format!("nightdrop-s={}", app.api_key));
            assert_eq!(cookie.send().await.unwrap().status(), 401, "no cookie is looked at");
            for (scope, caller) in &keys {
                let fits = scope.as_str() == needed || *scope == Scope::Admin || (needed == "read" && *scope == Scope::Requests);
                let status = called(caller).await.unwrap().status().as_u16();
                assert_eq!(status != 403, fits, "{method} {path} with {}: {status}", scope.as_str());
                assert!(status != 401 && status < 500, "{method} {path}: {status}");
            }
        }
    }
    assert_eq!(nobody.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_look_the_same() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let known = api.get("/requests/req_00000000000000000000000000").await;
    for id in ["req_zzz", "agt_00000000000000000000000000", "%00", "..%2f..%2fetc", "x"] {
        assert_eq!(api.get(&format!("/requests/{id}")).await, known, "{id}");
    }
    assert_eq!(known.0, 404);
    // One answer for no key, a wrong one, an expired and a revoked one but for the first's hint how to send one.
    let wrong = |key: &str| Caller {
        app: &app,
        key: key.to_owned(),
    };
    let unknown = wrong(&format!("ndk_{}", "0".repeat(52))).get("/requests").await;
    assert_eq!(wrong("ndk_x").get("/requests").await, unknown);
    assert_eq!(wrong("x").get("/requests").await, unknown);
}
