//! Back and Reload: every form is answered by a page that is shown by a GET, to the browser that sent it and to no other; and a form that comes after the session's end
//! is not lost.

use super::*;

fn location(response: &Response) -> String {
    response.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_form_is_answered_by_a_page_that_a_reload_only_shows_again() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let page = agent.page("/requests/new").await;
    let once = between(&page, "name=\"once\" value=\"", "\"").to_owned();
    let mut form = request_form("acct_1", "passport");
    form.push(("once", &once));
    let sent = agent.send_form("/requests/new", &form).await;
    assert_eq!(sent.status(), 303);
    let shown = location(&sent);
    assert!(shown.starts_with("/requests/new?shown="), "{shown}");
    let issued = agent.page(&shown).await;
    let url = between(&issued, "id=\"url\" readonly value=\"", "\"").to_owned();
    let before = audited(&app).await;
    assert!(agent.page(&shown).await.contains(&url), "a reload");
    assert_eq!(audited(&app).await, before, "and nothing was done again");
    // With faults it is the same: the page with the marked fields is a GET.
    let wrong = agent.send_form("/requests/new", &[("provider", "sandbox"), ("once", &once)]).await;
    let faults = agent.get(&location(&wrong)).await;
    assert_eq!(faults.status(), 422);
    assert!(faults.text().await.unwrap().contains("aria-invalid=\"true\""));
    let refused = agent
        .send_form("/requests/req_00000000000000000000000000/extend", &[("expires_in", "7d")])
        .await;
    assert!(location(&refused).starts_with("/requests/req_00000000000000000000000000?shown="));

    // Nobody else has the link shown, whatever address they know; nor has its own agent after some minutes, or after the session.
    let id = shown.split_once('=').unwrap().1;
    let other = Browser::signed_in(&app, Role::Admin).await;
    for (browser, path) in [
        (&other, shown.clone()),
        (&agent, format!("/missing?shown={id}")),
        (&agent, "/requests/new?shown=00".to_owned()),
    ] {
        let answer = browser.get(&path).await;
        assert_eq!(answer.status(), 303, "{path}");
        assert!(!location(&answer).contains('?'), "to the plain page");
    }
    assert_eq!(location(&Browser::stranger(&app).get(&shown).await), "/requests/new");
    clock.forward(time::Duration::minutes(11));
    assert_eq!(location(&agent.get(&shown).await), "/requests/new");
    assert!(!agent.page("/requests/new").await.contains(&url));
}

#[tokio::test]
async fn what_is_shown_for_minutes_ends_with_the_session() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let made = admin.send_form("/admin/keys", &[("name", "ci"), ("scope", "read")]).await;
    let shown = location(&made);
    assert!(admin.page(&shown).await.contains("id=\"secret\""));
    assert_eq!(
        app.portal.directory.api_keys().await.unwrap().len(),
        2,
        "one key beside the test's own"
    );
    admin.send_form("/sign-out", &[]).await;
    let after = admin.get(&shown).await;
    assert_eq!(after.status(), 303);
    assert_eq!(location(&after), "/admin/keys");
}

#[tokio::test]
async fn a_refused_sign_in_is_shown_by_a_get_to_its_browser_alone() {
    let app = TestApp::new().await;
    let mut browser = Browser::stranger(&app);
    let sent = browser
        .send_form("/sign-in", &[("email", "ada@example.com"), ("password", "wrong")])
        .await;
    assert_eq!(sent.status(), 303);
    let shown = location(&sent);
    assert!(!shown.contains("ada"));
    assert_eq!(location(&browser.get(&shown).await), "/sign-in", "without its cookie");
    browser.keep(&sent);
    let page = browser.get(&shown).await;
    assert_eq!(page.status(), 403);
    let page = page.text().await.unwrap();
    assert!(page.contains("do not go together") && page.contains("value=\"ada@example.com\""));
}

#[tokio::test]
async fn a_form_that_comes_after_the_session_is_found_again_after_signing_in() {
    let app = TestApp::new().await;
    let mut agent = Browser::signed_in(&app, Role::Agent).await;
    let page = agent.page("/requests/new").await;
    let once = between(&page, "name=\"once\" value=\"", "\"").to_owned();
    let mut form = request_form("acct_typed", "passport");
    form.extend([
        ("message", "Both sides, please."),
        ("once", &once),
        ("password", "a secret word"),
        ("new-secret", "a secret word"),
    ]);
    let out = agent.send_form("/sign-out", &[]).await;
    agent.keep(&out);
    let late = agent.send_form("/requests/new", &form).await;
    let to = location(&late);
    let next = to.strip_prefix("/sign-in?next=").unwrap_or_else(|| panic!("{to}")).to_owned();
    assert!(next.starts_with("/typed?form="), "{next}");
    assert!(agent.page(&to).await.contains(&format!("value=\"{next}\"")));

    // Another agent at the same browser sees nothing of it.
    let mut other = Browser {
        app: &app,
        cookie: agent.cookie.clone(),
    };
    agent_of(&app, "eve@example.com").await;
    other.sign_in("eve@example.com", PASSWORD).await;
    assert_eq!(location(&other.get(&next).await), "/requests/new");

    let form = [("email", "agent@example.com"), ("password", PASSWORD), ("next", next.as_str())];
    let back = agent.submit("/sign-in", &form).await;
    assert_eq!(location(&back), next);
    let page = agent.page(&next).await;
    assert!(page.contains("acct_typed") && page.contains("Both sides, please.") && !page.contains("a secret word"));
    assert!(
        app.portal
            .requests
            .list(&nightdrop::testing::storage::Filter::default(), None, 5)
            .await
            .unwrap()
            .requests
            .is_empty()
    );
    // One more button, and the form stands there as it was.
    let hidden: Vec<_> = page
        .split("type=\"hidden\" name=\"")
        .skip(1)
        .map(|rest| (rest.split('"').next().unwrap(), between(rest, "value=\"", "\"")))
        .chain([("prefill", "yes")])
        .collect();
    let filled = agent.post("/requests/new", &hidden).await.text().await.unwrap();
    assert!(filled.contains("value=\"acct_typed\"") && filled.contains("Both sides, please."));
}

#[tokio::test]
async fn a_form_that_needs_a_fresh_proof_is_found_again_after_it() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let mut admin = Browser::signed_in(&app, Role::Admin).await;
    clock.forward(time::Duration::minutes(11));
    let sent = admin.send_form("/admin/keys", &[("name", "reports"), ("scope", "read")]).await;
    let next = location(&sent).strip_prefix("/account/confirm?next=").unwrap().to_owned();
    let proven = admin.submit("/account/confirm", &[("password", PASSWORD), ("next", &next)]).await;
    assert_eq!(location(&proven), next);
    let page = admin.page(&next).await;
    assert!(page.contains("action=\"/admin/keys\"") && page.contains("value=\"reports\""));
    let made = admin.post("/admin/keys", &[("name", "reports"), ("scope", "read")]).await;
    assert!(made.text().await.unwrap().contains("id=\"secret\""));
}

async fn agent_of(app: &TestApp, email: &str) {
    agent(app, email, Role::Agent).await;
}
