//! What must never come out: markup that somebody typed, and anything of a document.

use super::*;

#[tokio::test]
async fn nothing_that_anybody_types_comes_back_as_markup() {
    let app = TestApp::with_options(TestOptions {
        more: "company = { name = \"<script>alert(1)</script>\", support = \"\\\"><img src=x onerror=alert(1)>\" }\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let clean = |what: &str, page: &str| {
        for payload in PAYLOADS {
            assert!(!page.contains(payload), "{what}: {payload}");
        }
        assert!(
            !page.contains("<script>") && !page.contains("<img src=x") && !page.contains("<svg/"),
            "{what}"
        );
        // Nothing inline that a policy would have to stop.
        assert!(
            !page.contains(" style=\"") && !page.contains(" onclick=") && !page.contains("<style"),
            "{what}"
        );
    };
    let mut ids = Vec::new();
    for (n, payload) in PAYLOADS.iter().enumerate() {
        let mut asked = ask("acct_1", "passport");
        asked.message = Some((*payload).to_owned());
        asked.metadata = Some(serde_json::json!({ *payload: payload }).to_string());
        ids.push(app.issue(asked).await.id);
        let email = format!("x{n}@example.com");
        let form = [
            ("name", *payload),
            ("email", email.as_str()),
            ("role", "agent"),
            ("password", PASSWORD),
        ];
        assert_eq!(admin.post("/admin/agents", &form).await.status(), 303);
        let made = admin.post("/admin/keys", &[("name", payload), ("scope", "read")]).await;
        assert_eq!(made.status(), 200);
        clean("key made", &made.text().await.unwrap());
        let mut form = request_form("acct_2", "passport");
        form.push(("message", payload));
        let (status, page) = admin.send("/requests/new", "/requests/new", &form).await;
        assert_eq!(status, 200);
        clean("issued", &page);
        for (path, form) in [
            (
                "/requests/new",
                vec![
                    ("applicant", *payload),
                    ("message", payload),
                    ("document", payload),
                    ("provider", payload),
                    ("locale", payload),
                    ("expires_in", payload),
                    ("part", payload),
                    ("once", "0123456789abcdef0123456789abcdef"),
                ],
            ),
            (
                "/requests/new",
                vec![
                    ("applicant", *payload),
                    ("message", payload),
                    ("part", payload),
                    ("prefill", payload),
                ],
            ),
            ("/requests", vec![("applicant", *payload), ("agent", payload)]),
            ("/missing", vec![("applicant", *payload), ("provider", "sandbox")]),
            ("/missing", vec![("applicant", *payload), ("provider", payload)]),
            ("/sign-in", vec![("email", *payload), ("password", payload), ("next", payload)]),
            ("/account", vec![("current", *payload), ("password", payload)]),
            (
                "/admin/agents",
                vec![("name", *payload), ("email", payload), ("role", payload), ("password", payload)],
            ),
            ("/admin/keys", vec![("name", *payload), ("scope", payload), ("expires_in", payload)]),
            ("/admin/unlock", vec![("passphrase", *payload)]),
        ] {
            let page = admin.post(path, &form).await.text().await.unwrap();
            clean(path, &page);
            assert!(!page.contains(PASSWORD));
        }
        let query = encoded(&[("next", payload)]);
        clean("sign-in", &admin.page(&format!("/sign-in?{query}")).await);
        for path in [
            "/requests?state=",
            "/requests?cursor=",
            "/?done=",
            "/requests/",
            "/admin/agents/",
            "/audit?before=",
        ] {
            let path = format!("{path}{}", encoded(&[(payload, "")]).trim_end_matches('='));
            clean(&path, &admin.get(&path).await.text().await.unwrap());
        }
    }
    for agent in app.portal.directory.agents().await.unwrap() {
        clean("agent", &admin.page(&format!("/admin/agents/{}", agent.id)).await);
    }
    for key in app.portal.directory.api_keys().await.unwrap() {
        clean("key", &admin.page(&format!("/admin/keys/{}/revoke", key.id)).await);
    }
    for id in ids {
        for verb in ["", "/revoke", "/purge", "/mark-uploaded"] {
            clean(verb, &admin.page(&format!("/requests/{id}{verb}")).await);
        }
    }
    for path in [
        "/",
        "/requests",
        "/requests/new",
        "/missing",
        "/audit",
        "/admin",
        "/admin/agents",
        "/admin/keys",
        "/account",
        "/sign-in",
    ] {
        clean(path, &admin.page(path).await);
    }
}

/// Every GET of API and console, and every answer to an action, searched for windows of what was dropped.
#[tokio::test]
async fn no_route_gives_a_document_byte_or_file_name_back() {
    let app = TestApp::with_options(TestOptions {
        confirm: "verdict",
        ..TestOptions::default()
    })
    .await;
    app.misbehave(&["pending:100000", "400"]).await;
    let picture = png(9, 40_000);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let link = issued(&app).await;
        assert_eq!(app.drop_files(&link, &[("front", &picture)]).await.status(), 200);
        app.work().await;
        ids.push(link.id.to_string());
    }
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let mut bodies = Vec::new();
    for id in &ids {
        for (path, _) in console::TABLE.iter().filter(|(_, m)| m.contains(&"GET")) {
            bodies.push(admin.get(&path.replace("{id}", id)).await.bytes().await.unwrap());
        }
        for (path, methods) in api::TABLE {
            let path = path
                .replace("{id}", id)
                .replace("{provider}", "sandbox")
                .replace("{applicant}", "acct_1");
            for method in *methods {
                let call = app.http.request(method.parse().unwrap(), app.staff(&format!("/api/v1{path}")));
                let call = call.bearer_auth(&app.api_key).header("content-type", "application/json").body("{}");
                bodies.push(call.send().await.unwrap().bytes().await.unwrap());
            }
        }
        for verb in ["retry", "purge", "reissue"] {
            bodies.push(admin.post(&format!("/requests/{id}/{verb}"), &[]).await.bytes().await.unwrap());
        }
    }
    assert!(bodies.len() > 90);
    let windows: Vec<Vec<u8>> = (100..picture.len() - 64)
        .step_by(997)
        .flat_map(|at| {
            let raw = picture[at..at + 48].to_vec();
            let texts = [data_encoding::BASE64.encode(&raw), data_encoding::HEXLOWER.encode(&raw)];
            [raw, texts[0].clone().into_bytes(), texts[1].clone().into_bytes()]
        })
        .chain([b"IMG 0001".to_vec(), b"IMG%200001".to_vec()])
        .collect();
    for body in bodies {
        for window in &windows {
            assert!(!body.windows(window.len()).any(|w| w == &window[..]));
        }
    }
}
