//! Signing in, staying signed in, signing out, changing a password.

use super::*;
use nightdrop::testing::crypto::keyfile::Argon2Cost;
use nightdrop::testing::crypto::password::Passwords;
use nightdrop::testing::domain::account::Change;
use nightdrop::testing::domain::agent::{PasswordHash, PasswordKind};
use nightdrop::testing::domain::audit::{AuditAction, AuditEvent};

#[tokio::test]
async fn signing_in_tells_a_stranger_nothing() {
    let app = TestApp::new().await;
    let ada = agent(&app, "ada@example.com", Role::Agent).await;
    let gone = agent(&app, "gone@example.com", Role::Agent).await;
    sign_in::disable_agent(&app.portal, gone, Actor::Operator).await.unwrap();
    let browser = Browser::stranger(&app);
    let mut answers = BTreeSet::new();
    for (email, password) in [
        ("ada@example.com", "wrong wrong wrong"),
        ("nobody@example.com", PASSWORD),
        ("gone@example.com", PASSWORD),
        ("ada@example.com", ""),
        ("ADA@example.com ", "x"),
    ] {
        let response = browser.post("/sign-in", &[("email", email), ("password", password)]).await;
        assert!(!response.headers().contains_key("set-cookie"));
        let status = response.status().as_u16();
        let page = response.text().await.unwrap();
        answers.insert((status, page.replace(email.trim(), "EMAIL")));
        assert!(!page.contains(PASSWORD) && !page.contains("wrong wrong"));
    }
    assert_eq!(answers.len(), 1);
    assert_eq!(answers.first().unwrap().0, 403);
    let _ = ada;
    // Ten tries on one account from one place; another account from the same place is another matter.
    for _ in 0..10 {
        browser.post("/sign-in", &[("email", "bob@example.com"), ("password", "x")]).await;
    }
    let throttled = browser.post("/sign-in", &[("email", "bob@example.com"), ("password", "x")]).await;
    assert_eq!(throttled.status(), 429);
    assert_eq!(throttled.headers()["retry-after"], "900");
    let mut fine = Browser::stranger(&app);
    assert_eq!(fine.sign_in("ada@example.com", PASSWORD).await.status(), 303);
}

/// One try to sign in from an address of its own, with a mark or without: its status and its page.
async fn tried(app: &TestApp, from: u8, email: &str, password: &str, mark: &str) -> (u16, String) {
    let body = encoded(&[("email", email), ("password", password)]);
    let call = client(std::net::IpAddr::from([127, 0, 1, from]))
        .post(app.staff("/sign-in"))
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("cookie", mark)
        .body(body);
    let mut answer = call.send().await.unwrap();
    if let Some(page) = landing(&answer) {
        let mut browser = Browser::stranger(app);
        browser.keep(&answer);
        answer = browser.get(&page).await;
    }
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Guesses in a row, ten from each address.
async fn guesses(app: &TestApp, from: std::ops::Range<u8>) {
    for address in from {
        for _ in 0..10 {
            assert_eq!(tried(app, address, "ada@example.com", "wrong", "").await.0, 403);
        }
    }
}

#[tokio::test]
async fn a_hundred_guesses_are_all_that_strangers_and_others_have_and_the_owner_is_not_shut_out() {
    let mut app = TestApp::new().await;
    agent(&app, "ada@example.com", Role::Agent).await;
    agent(&app, "bob@example.com", Role::Agent).await;
    let mark_of = async |app: &TestApp, email| {
        let mut home = Browser::stranger(app);
        home.sign_in(email, PASSWORD).await;
        let mark = home.cookie.split("; ").find(|c| c.starts_with("nightdrop-k=")).unwrap().to_owned();
        assert_eq!(
            Browser { app, cookie: mark.clone() }.get("/").await.status(),
            303,
            "it opens nothing"
        );
        mark
    };
    let (mark, another) = (mark_of(&app, "ada@example.com").await, mark_of(&app, "bob@example.com").await);
    guesses(&app, 1..9).await;
    let closed = tried(&app, 20, "ada@example.com", PASSWORD, "").await;
    assert_eq!(closed.0, 403, "the right password is not looked at");
    assert_eq!(closed, tried(&app, 20, "ada@example.com", "wrong", "").await, "and nobody can tell");
    assert_eq!(
        tried(&app, 21, "ada@example.com", PASSWORD, &another).await.0,
        403,
        "somebody else's mark"
    );
    let mut forged = mark.clone();
    forged.replace_range(mark.len() - 1.., if mark.ends_with('0') { "1" } else { "0" });
    assert_eq!(tried(&app, 21, "ada@example.com", PASSWORD, &forged).await.0, 403, "a forged mark");
    app.restart().await;
    assert_eq!(
        tried(&app, 22, "ada@example.com", PASSWORD, "").await.0,
        403,
        "a restart forgets nothing"
    );
    // Where the account has been before, it gets in; and that is the end of the count.
    assert_eq!(tried(&app, 22, "ada@example.com", PASSWORD, &mark).await.0, 303);
    assert_eq!(tried(&app, 23, "ada@example.com", PASSWORD, "").await.0, 303);
    // Whoever has a mark has no more than what is left of a hundred.
    guesses(&app, 1..9).await;
    for address in [24, 25] {
        for _ in 0..10 {
            assert_eq!(tried(&app, address, "ada@example.com", "wrong", &mark).await.0, 403);
        }
    }
    assert_eq!(tried(&app, 26, "ada@example.com", PASSWORD, &mark).await.0, 403);
    let ada = app.portal.directory.agent_by_email("ada@example.com").await.unwrap().unwrap();
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let told = admin.page(&format!("/admin/agents/{}", ada.id)).await;
    assert!(
        told.contains("Wrong passwords in a row") && told.contains("100: closed to browsers"),
        "{told}"
    );
    sign_in::reset_password(&app.portal, ada, "another staple of a horse", Actor::Operator)
        .await
        .unwrap();
    assert_eq!(tried(&app, 27, "ada@example.com", "another staple of a horse", "").await.0, 303);
    let log = app.portal.audit.entries(0, 1_000).await.unwrap();
    let count = |action: AuditAction| log.iter().filter(|e| e.event.action == action).count();
    assert_eq!(
        (count(AuditAction::SignInRefused), count(AuditAction::SignInWrongTriesOver)),
        (180, 1)
    );
    assert!(count(AuditAction::SignInClosed) >= 6);
}

#[tokio::test]
async fn a_session_is_fresh_at_every_sign_in_and_dead_after_signing_out() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    agent(&app, "ada@example.com", Role::Agent).await;
    let mut browser = Browser::stranger(&app);
    let planted = format!("nightdrop-s={}", "0".repeat(64));
    browser.cookie = planted.clone();
    let response = browser.sign_in("ada@example.com", PASSWORD).await;
    let set = response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax") && set.contains("Path=/"),
        "{set}"
    );
    assert_ne!(browser.cookie, planted);
    let first = browser.cookie.clone();
    browser.sign_in("ada@example.com", PASSWORD).await;
    assert_ne!(browser.cookie, first);
    let with = |cookie: &str| Browser {
        app: &app,
        cookie: cookie.to_owned(),
    };
    for dead in [&planted, &first] {
        assert_eq!(
            with(dead).get("/").await.status(),
            303,
            "a planted or replaced cookie opens nothing"
        );
    }
    assert_eq!(browser.get("/").await.status(), 200);
    let out = browser.post("/sign-out", &[]).await;
    assert_eq!(out.headers()["location"], "/sign-in");
    assert_eq!(browser.get("/").await.status(), 303);

    browser.sign_in("ada@example.com", PASSWORD).await;
    clock.forward(time::Duration::minutes(14));
    assert_eq!(browser.get("/").await.status(), 200);
    clock.forward(time::Duration::minutes(14));
    assert_eq!(browser.get("/").await.status(), 200, "use keeps it alive");
    clock.forward(time::Duration::minutes(16));
    assert_eq!(browser.get("/").await.status(), 303, "idle too long");

    let back = browser.get("/requests/new").await;
    assert_eq!(back.headers()["location"], "/sign-in?next=/requests/new");
    let sent = browser
        .post(
            "/sign-in",
            &[("email", "ada@example.com"), ("password", PASSWORD), ("next", "/requests/new")],
        )
        .await;
    assert_eq!(sent.headers()["location"], "/requests/new");
    let sent = browser
        .post(
            "/sign-in",
            &[("email", "ada@example.com"), ("password", PASSWORD), ("next", "//evil.example")],
        )
        .await;
    assert_eq!(sent.headers()["location"], "/");
}

#[tokio::test]
async fn a_password_under_old_parameters_is_stored_anew_at_the_next_sign_in() {
    let app = TestApp::new().await;
    let ada = agent(&app, "ada@example.com", Role::Agent).await.id;
    let directory = &app.portal.directory;
    let cost = Argon2Cost {
        memory_kib: 64,
        passes: 2,
        lanes: 1,
    };
    let outdated = Passwords::new(&app.portal.secrets, cost).unwrap();
    let old = PasswordHash(outdated.hash_password(PASSWORD).unwrap());
    let event = AuditEvent::new(app.portal.now(), Actor::Operator, AuditAction::AgentPasswordChanged);
    let kind = PasswordKind::Own;
    directory
        .alter_agent(ada, Change::Password { hash: old, kind }, event)
        .await
        .unwrap();
    let stored = async || directory.agent(ada).await.unwrap().unwrap().password.unwrap();
    let mut browser = Browser::stranger(&app);
    assert_eq!(
        browser
            .post("/sign-in", &[("email", "ada@example.com"), ("password", "x")])
            .await
            .status(),
        403
    );
    assert!(!outdated.wants_rehash(&stored().await.0), "a wrong password renews nothing");
    assert_eq!(browser.sign_in("ada@example.com", PASSWORD).await.status(), 303);
    let new = stored().await;
    assert!(!app.portal.auth.passwords.wants_rehash(&new.0));
    assert_eq!(browser.get("/").await.status(), 200, "no session ends by it");
    assert_eq!(browser.sign_in("ada@example.com", PASSWORD).await.status(), 303);
    assert!(stored().await == new, "once is enough");
}

#[tokio::test]
async fn changing_a_password_needs_the_old_one_and_ends_all_other_sessions() {
    let app = TestApp::new().await;
    agent(&app, "ada@example.com", Role::Agent).await;
    let (mut here, mut there) = (Browser::stranger(&app), Browser::stranger(&app));
    here.sign_in("ada@example.com", PASSWORD).await;
    there.sign_in("ada@example.com", PASSWORD).await;
    let wrong = here
        .post("/account", &[("current", "x"), ("password", "a new password of mine")])
        .await;
    assert_eq!(wrong.status(), 422);
    let short = here.post("/account", &[("current", PASSWORD), ("password", "short")]).await;
    assert_eq!(short.status(), 422);
    assert_eq!(there.get("/").await.status(), 200, "nothing has changed yet");
    let changed = here
        .post("/account", &[("current", PASSWORD), ("password", "a new password of mine")])
        .await;
    assert_eq!(changed.status(), 303);
    here.cookie = changed.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(here.get("/").await.status(), 200);
    assert_eq!(there.get("/").await.status(), 303);
    assert_eq!(there.sign_in("ada@example.com", PASSWORD).await.status(), 403);
    assert_eq!(there.sign_in("ada@example.com", "a new password of mine").await.status(), 303);
}
