//! What the pages do: issue once, search, ask, confirm, administer.

use super::*;

#[tokio::test]
async fn a_form_issues_once_keeps_what_was_typed_and_shows_the_link_this_once() {
    let app = TestApp::new().await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    let mut form = request_form("James Smith", "government-id:front");
    form.extend([("message", "As we\r\ntalked about."), ("expires_in", "24h"), ("locale", "de")]);
    let (status, page) = browser.send("/requests/new", "/requests/new", &form).await;
    assert_eq!(status, 422);
    for kept in [
        "value=\"James Smith\"",
        "<option value=\"government-id:front\" selected>",
        "talked about.</textarea>",
        "<option value=\"24h\" selected>",
        "aria-invalid=\"true\"",
        "id=\"applicant-fault\"",
    ] {
        assert!(page.contains(kept), "{kept} in {page}");
    }
    let page = browser.page("/requests/new").await;
    let once = between(&page, "name=\"once\" value=\"", "\"").to_owned();
    let mut form = request_form("acct_james", "government-id:front");
    form.extend([("passcode", "yes"), ("once", &once)]);
    let mut urls = BTreeSet::new();
    for _ in 0..3 {
        let response = browser.post("/requests/new", &form).await;
        assert_eq!(response.status(), 200);
        let page = response.text().await.unwrap();
        urls.insert((
            between(&page, "id=\"url\" readonly value=\"", "\"").to_owned(),
            between(&page, "<output class=\"digits\">", "<").to_owned(),
        ));
        assert!(page.contains("data:image/svg+xml;base64,") && page.contains("https://mail.google.com/") && page.contains("mailto:?"));
    }
    assert_eq!(urls.len(), 1, "an impatient finger issues one link");
    let all = app
        .portal
        .requests
        .list(&nightdrop::testing::storage::Filter::default(), None, 50)
        .await
        .unwrap();
    assert_eq!(all.requests.len(), 1);
    assert_eq!(all.requests[0].parts.len(), 1);
    form[1].1 = "acct_other";
    assert_eq!(
        browser.post("/requests/new", &form).await.status(),
        422,
        "the same form with other words"
    );
    form[4].1 = "x";
    assert_eq!(browser.post("/requests/new", &form).await.status(), 400);

    let path = format!("/requests/{}", all.requests[0].id);
    let (url, code) = urls.pop_first().unwrap();
    let token = url.rsplit('/').next().unwrap();
    for page in [browser.page(&path).await, browser.page("/requests").await, browser.page("/").await] {
        assert!(!page.contains(token) && !page.contains(&code));
    }
    let fresh = browser.post(&format!("{path}/passcode"), &[]).await.text().await.unwrap();
    assert_ne!(between(&fresh, "<output class=\"digits\">", "<"), code);
    let (status, page) = browser.send(&path, &format!("{path}/reissue"), &[]).await;
    assert_eq!(status, 200);
    assert_ne!(between(&page, "id=\"url\" readonly value=\"", "\""), url);
}

#[tokio::test]
async fn an_applicant_never_stands_in_an_address() {
    let app = TestApp::new().await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    for n in 0..60 {
        let asked = ask(if n % 6 == 0 { "acct_other" } else { "acct_many" }, "passport");
        nightdrop::testing::workflow::issue::issue(&app.portal, asked, Actor::Operator, None)
            .await
            .unwrap();
    }
    let plain = browser
        .post("/requests", &[("state", "awaiting"), ("provider", "sandbox"), ("applicant", "")])
        .await;
    assert_eq!(plain.status(), 303);
    assert_eq!(plain.headers()["location"], "/requests?state=awaiting&provider=sandbox");
    let found = browser.post("/requests", &[("applicant", "acct_other")]).await;
    assert_eq!(found.status(), 200);
    let page = found.text().await.unwrap();
    assert!(page.contains("acct_other") && !page.contains("acct_many"));
    let first = browser.page("/requests").await;
    assert_eq!(first.matches("<tr>").count(), 1 + 50);
    let cursor = between(&first, "name=\"cursor\" value=\"", "\"");
    let second = browser.page(&format!("/requests?cursor={cursor}")).await;
    assert_eq!(second.matches("<tr>").count(), 1 + 10);
    // No link and no GET form of any page names one.
    for page in [page, first, second] {
        for target in page.split("href=\"").skip(1).map(|r| r.split('"').next().unwrap()) {
            assert!(!target.contains("acct_"), "{target}");
        }
        for form in page.split("<form").skip(1).filter(|f| f.contains("method=\"get\"")) {
            assert!(!form.split("</form>").next().unwrap().contains("acct_"));
        }
    }
    assert_eq!(browser.get("/requests?applicant=acct_other").await.status(), 422);
    assert_eq!(browser.post("/requests", &[("state", "lost\r\nx")]).await.status(), 422);
}

#[tokio::test]
async fn the_list_is_cut_down_by_age_and_by_who_issued() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let ada = agent(&app, "ada@example.com", Role::Agent).await;
    let issue = async |who: &str, by| {
        nightdrop::testing::workflow::issue::issue(&app.portal, ask(who, "passport"), by, None)
            .await
            .unwrap();
    };
    issue("acct_old", Actor::Agent(ada.id)).await;
    clock.forward(time::Duration::hours(25));
    issue("acct_new", Actor::Operator).await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let all = admin.page("/requests").await;
    assert!(all.contains("acct_old") && all.contains("acct_new"));
    assert!(all.contains(&format!("value=\"{}\"", ada.id)), "admins pick from everybody");
    let sent = admin.post("/requests", &[("older_than", "1d")]).await;
    assert_eq!(sent.headers()["location"], "/requests?older_than=1d");
    for (path, old, new) in [
        ("/requests?older_than=1d".to_owned(), true, false),
        ("/requests?older_than=7d".to_owned(), false, false),
        (format!("/requests?agent={}", ada.id), true, false),
        ("/requests?agent=operator&older_than=1d".to_owned(), false, false),
    ] {
        let page = admin.page(&path).await;
        assert_eq!((page.contains("acct_old"), page.contains("acct_new")), (old, new), "{path}");
    }
    assert_eq!(admin.get("/requests?older_than=yesterday").await.status(), 422);
    // Nobody learns from the form who else there is.
    let somebody = Browser::signed_in(&app, Role::ManualHandler).await;
    let page = somebody.page("/requests?agent=operator").await;
    assert!(!page.contains(&ada.id.to_string()));
}

#[tokio::test]
async fn asking_what_is_missing_leads_to_one_button() {
    let app = TestApp::with_options(TestOptions {
        more: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    let page = browser
        .post("/missing", &[("provider", "sandbox"), ("applicant", "acct_1")])
        .await
        .text()
        .await
        .unwrap();
    assert!(page.contains("Government ID"));
    let once = between(&page, "name=\"once\" value=\"", "\"").to_owned();
    let mut form = request_form("acct_1", "government-id");
    form.extend([("part", "front"), ("part", "back"), ("once", &once)]);
    let issued = browser.post("/requests/new", &form).await;
    assert_eq!(issued.status(), 200);
    assert!(issued.text().await.unwrap().contains("/d/"));
    form.push(("prefill", "yes"));
    let prefilled = browser.post("/requests/new", &form).await.text().await.unwrap();
    assert!(prefilled.contains("value=\"acct_1\"") && prefilled.contains("Issue the link"));
    let by_hand = browser.post("/missing", &[("provider", "desk"), ("applicant", "acct_1")]).await;
    assert_eq!(by_hand.status(), 409);
    assert!(by_hand.text().await.unwrap().contains("Pick a document"));
    assert_eq!(
        browser
            .post("/missing", &[("provider", "x"), ("applicant", "acct_1")])
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn what_cannot_be_undone_is_asked_twice_and_looking_changes_nothing() {
    let app = TestApp::with_options(TestOptions {
        more: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    let link = issued(&app).await;
    let path = format!("/requests/{}", link.id);
    let before = audited(&app).await;
    let asked = browser.page(&format!("{path}/revoke")).await;
    assert!(asked.contains(&format!("action=\"{path}/revoke\"")));
    browser.page(&path).await;
    browser.page("/").await;
    browser.page("/requests").await;
    assert_eq!(audited(&app).await, before, "nothing happened yet");
    let extended = browser.post(&format!("{path}/extend"), &[("expires_in", "7d")]).await;
    assert_eq!(extended.headers()["location"], format!("{path}?done=extended").as_str());
    assert!(browser.page(&format!("{path}?done=extended")).await.contains("lives longer"));
    assert!(!browser.page(&format!("{path}?done=%3Cb%3E")).await.contains("<b>"));
    assert_eq!(browser.post(&format!("{path}/revoke"), &[]).await.status(), 303);
    assert_eq!(app.state(&link).await, RequestState::Revoked);
    assert_eq!(browser.post(&format!("{path}/retry"), &[]).await.status(), 409);

    // A provider served by hand: only its handler may say that it has the document.
    let mut asked = ask("acct_2", "passport");
    asked.provider = nightdrop::testing::domain::document::ProviderName::parse("desk").unwrap();
    let link = app.issue(asked).await;
    assert_eq!(app.drop_files(&link, &[("front", &png(1, 9_000))]).await.status(), 200);
    app.work().await;
    let path = format!("/requests/{}", link.id);
    assert_eq!(browser.post(&format!("{path}/mark-uploaded"), &[]).await.status(), 403);
    assert!(!browser.page(&path).await.contains("Mark as uploaded"));
    assert_eq!(browser.get(&format!("{path}/receipt")).await.status(), 404);
    let handler = Browser::signed_in(&app, Role::ManualHandler).await;
    assert!(handler.page(&path).await.contains("Mark as uploaded"));
    assert_eq!(handler.post(&format!("{path}/mark-uploaded"), &[]).await.status(), 303);
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::Purged);
    let receipt = browser.page(&format!("{path}/receipt")).await;
    assert!(receipt.contains("Deletion receipt no. 1"));
    let text = browser.page(&format!("{path}/receipt.txt")).await;
    assert!(nightdrop::testing::crypto::receipt::verify(&text, None).is_ok());
}

#[tokio::test]
async fn admins_run_the_portal_from_the_console() {
    let app = TestApp::with_options(TestOptions {
        passphrase: Some("open the vault please"),
        ..TestOptions::default()
    })
    .await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    assert!(admin.page("/").await.contains("The vault is locked."));
    let wrong = admin.post("/admin/unlock", &[("passphrase", "sesame")]).await;
    assert_eq!(wrong.status(), 422);
    assert!(wrong.text().await.unwrap().contains("opens no vault key"));
    assert_eq!(
        admin
            .post("/admin/unlock", &[("passphrase", "open the vault please")])
            .await
            .status(),
        303
    );
    assert!(!app.portal.keyring.is_locked());

    let form = [
        ("name", "Bob"),
        ("email", "bob@example.com"),
        ("role", "agent"),
        ("password", PASSWORD),
    ];
    assert_eq!(admin.post("/admin/agents", &form).await.status(), 303);
    assert_eq!(admin.post("/admin/agents", &form).await.status(), 409, "the address is taken");
    let bob = app.portal.directory.agent_by_email("bob@example.com").await.unwrap().unwrap();
    let mut his = Browser::stranger(&app);
    his.sign_in("bob@example.com", PASSWORD).await;
    his.submit("/account/first-password", &[("password", "an umbrella that sings at noon")])
        .await;
    assert_eq!(his.get("/").await.status(), 200);
    let path = |verb: &str| format!("/admin/agents/{}/{verb}", bob.id);
    assert_eq!(admin.post(&path("password"), &[("password", "short")]).await.status(), 422);
    assert_eq!(
        admin
            .post(&path("password"), &[("password", "some other four words")])
            .await
            .status(),
        303
    );
    assert_eq!(his.get("/").await.status(), 303, "his session has ended");
    his.sign_in("bob@example.com", "some other four words").await;
    assert_eq!(admin.post(&path("disable"), &[]).await.status(), 303);
    assert_eq!(his.get("/").await.status(), 303);
    let me = app.portal.directory.agent_by_email("admin@example.com").await.unwrap().unwrap();
    assert_eq!(admin.post(&format!("/admin/agents/{}/disable", me.id), &[]).await.status(), 409);

    let made = admin
        .post("/admin/keys", &[("name", "ci"), ("scope", "read"), ("expires_in", "90d")])
        .await
        .text()
        .await
        .unwrap();
    let secret = between(&made, "id=\"secret\" readonly value=\"", "\"").to_owned();
    let works = async || {
        app.http
            .get(app.staff("/api/v1/providers"))
            .bearer_auth(&secret)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(works().await, 200);
    assert!(!admin.page("/admin/keys").await.contains(&secret));
    let keys = app.portal.directory.api_keys().await.unwrap();
    let key = keys.iter().find(|k| k.name == "ci").unwrap();
    assert!(
        admin
            .page(&format!("/admin/keys/{}/revoke", key.id))
            .await
            .contains("Revoke this key?")
    );
    assert_eq!(admin.post(&format!("/admin/keys/{}/revoke", key.id), &[]).await.status(), 303);
    assert_eq!(works().await, 401);
    assert_eq!(
        admin.post("/admin/keys", &[("name", "ci")]).await.status(),
        422,
        "a key without a scope"
    );
}

/// The pages about providers: reachable from where one is chosen and administered, for everybody who is signed in, and nobody else; rendered, not dumped.
#[tokio::test]
async fn pages_about_providers_are_a_click_away() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    for from in ["/admin", "/requests/new", "/missing"] {
        assert!(admin.page(from).await.contains("href=\"/docs/providers/sandbox\""), "{from}");
    }
    assert!(admin.page("/admin").await.contains("href=\"/docs\""));
    let auditor = Browser::signed_in(&app, Role::Auditor).await;
    let index = auditor.page("/docs").await;
    for kind in nightdrop::testing::connectors::KINDS {
        let path = format!("/docs/providers/{kind}");
        assert!(index.contains(&format!("href=\"{path}\"")), "{kind}");
        let response = auditor.get(&path).await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let page = response.text().await.unwrap();
        let main = between(&page, "<main", "</main>");
        for shown in ["<h1>", "<strong>", "<code>", "<li>"] {
            assert!(main.contains(shown), "{kind}: {shown}");
        }
        // Nothing of the Markdown is left, except inside code.
        for left in ["**", "](", "```", "| ---", "<p>#"] {
            assert!(!main.contains(left), "{kind}: {left}");
        }
        assert!(!main.contains(" style=") && !main.contains("<script"), "{kind}");
    }
    assert_eq!(admin.get("/docs/providers/README").await.status(), 404);
    assert_eq!(admin.get("/docs/providers/nobody").await.status(), 404);
    let stranger = Browser::stranger(&app);
    assert_eq!(stranger.get("/docs/providers/stripe").await.status(), 303);
}
