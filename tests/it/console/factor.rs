//! The second factor from outside: enrolling, codes that are good once, recovery, confirming, and everything an enemy with the password tries.

use nightdrop::testing::crypto::totp::TotpSecret;
use nightdrop::testing::workflow::sign_in::account;

use super::*;
use crate::support::{TestClock, until};

pub const ANA: &str = "ana@example.com";
const NEXT_STEP: time::Duration = time::Duration::seconds(30);

/// Enrols an authenticator app over the pages; the secret and the recovery codes.
pub async fn enrol(browser: &mut Browser<'_>) -> (TotpSecret, Vec<String>) {
    let page = browser.page("/account/app").await;
    let spoken = between(&page, "secret-key\">", "<").replace(' ', "");
    let secret = TotpSecret::from_bytes(&data_encoding::BASE32_NOPAD.decode(spoken.as_bytes()).unwrap()).unwrap();
    let offer = between(&page, "name=\"offer\" value=\"", "\"").to_owned();
    assert!(page.contains("src=\"data:image/svg+xml;base64,") && !page.contains("otpauth:"));
    let wrong = browser.submit("/account/app", &[("offer", &offer), ("code", "000000")]).await;
    assert_eq!(wrong.status(), 422);
    let code = secret.code_at(browser.app.portal.now());
    let answer = browser.submit("/account/app", &[("offer", &offer), ("code", &code)]).await;
    assert_eq!(answer.status(), 200);
    let page = answer.text().await.unwrap();
    let codes = between(between(&page, "id=\"codes\"", "/textarea"), ">", "<")
        .lines()
        .map(str::to_owned)
        .collect();
    (secret, codes)
}

async fn app_with_ana() -> (TestApp, TestClock) {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    agent(&app, ANA, Role::Agent).await;
    (app, clock)
}

/// Signs in as far as the password leads.
async fn half<'a>(app: &'a TestApp) -> Browser<'a> {
    let mut browser = Browser::stranger(app);
    let answer = browser.sign_in(ANA, PASSWORD).await;
    assert_eq!(answer.headers()["location"], "/sign-in/second?next=/");
    browser
}

fn now_code(app: &TestApp, secret: &TotpSecret) -> String {
    secret.code_at(app.portal.now()).to_string()
}

#[tokio::test]
async fn a_code_opens_once_and_a_password_alone_opens_nothing() {
    let (app, clock) = app_with_ana().await;
    let mut first = Browser::stranger(&app);
    first.sign_in(ANA, PASSWORD).await;
    let before = first.cookie.clone();
    let (secret, codes) = enrol(&mut first).await;
    assert_eq!(codes.len(), 10);
    assert_ne!(first.cookie, before, "a proof gets a new cookie");
    let old = Browser { app: &app, cookie: before };
    assert_eq!(old.get("/").await.status(), 303, "and the old one is dead");
    assert_eq!(first.get("/account/app").await.status(), 303, "there is one already");

    // Half a session leads to one page only.
    let mut halved = half(&app).await;
    assert!(halved.cookie.starts_with("nightdrop-h="), "{}", halved.cookie);
    for (path, methods) in console::TABLE {
        if methods.contains(&"GET") && !OPEN.contains(path) {
            let real = path.replace("{id}", "req_00000000000000000000000000");
            let answer = halved.get(&real).await;
            assert!(answer.headers()["location"].to_str().unwrap().starts_with("/sign-in"), "{path}");
        }
    }
    // Nor is its cookie worth more under the other name.
    let forged = Browser {
        app: &app,
        cookie: halved.cookie.replace("nightdrop-h", "nightdrop-s"),
    };
    assert_eq!(forged.get("/").await.status(), 303);

    // The code that enrolled is spent; the next one is good once, here or there.
    let spent = now_code(&app, &secret);
    assert_eq!(halved.submit("/sign-in/second", &[("code", &spent)]).await.status(), 422);
    clock.forward(NEXT_STEP);
    let mut other = half(&app).await;
    let code = now_code(&app, &secret);
    let given = [("code", code.as_str())];
    let (one, two) = tokio::join!(halved.post("/sign-in/second", &given), other.post("/sign-in/second", &given));
    let mut statuses = [one.status().as_u16(), two.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 422], "one of two that come together");
    let (winner, answer) = if one.status() == 303 {
        (&mut halved, one)
    } else {
        (&mut other, two)
    };
    let halfway = winner.cookie.clone();
    winner.keep(&answer);
    assert!(winner.cookie.contains("nightdrop-s=") && !winner.cookie.contains("nightdrop-h"));
    assert_eq!(winner.get("/requests").await.status(), 200);
    let stale = Browser {
        app: &app,
        cookie: halfway,
    };
    assert_eq!(stale.get("/sign-in/second").await.status(), 303, "half a session is used up");

    // Half a session does not wait for ever.
    let late = half(&app).await;
    clock.forward(time::Duration::minutes(5));
    assert_eq!(late.get("/sign-in/second").await.status(), 303);
}

#[tokio::test]
async fn guessing_codes_is_stopped_wherever_it_comes_from() {
    let (app, clock) = app_with_ana().await;
    let mut first = Browser::stranger(&app);
    first.sign_in(ANA, PASSWORD).await;
    let (secret, _) = enrol(&mut first).await;
    clock.forward(NEXT_STEP);
    let right = now_code(&app, &secret);
    let mut statuses = Vec::new();
    let guesser = half(&app).await;
    for guess in 0..10 {
        let wrong = format!("{:06}", (right.parse::<u32>().unwrap() + 1 + guess) % 1_000_000);
        statuses.push(guesser.post("/sign-in/second", &[("code", &wrong)]).await.status().as_u16());
    }
    assert_eq!(statuses, [422; 10]);
    let other = half(&app).await;
    let answer = other.post("/sign-in/second", &[("code", &right)]).await;
    assert_eq!(answer.status(), 429, "a new half session is no fresh start");
    assert!(answer.headers().contains_key("retry-after"));
    let log = app.portal.audit.entries(0, 1_000).await.unwrap();
    assert!(log.iter().filter(|e| e.event.action == AuditAction::SecondFactorRefused).count() >= 10);
    assert!(log.iter().any(|e| e.event.action == AuditAction::SecondFactorThrottled));
    let all = log.iter().map(|e| format!("{:?}", e.event.detail)).collect::<String>();
    assert!(!all.contains(&right) && !all.contains(ANA), "no code and no address in the log");
}

#[tokio::test]
async fn a_hundred_wrong_codes_in_a_row_close_the_app_and_leave_the_recovery_codes() {
    use nightdrop::testing::domain::account::Change;
    use nightdrop::testing::domain::audit::{AuditAction, AuditEvent};
    use nightdrop::testing::domain::factors::WRONG_CODES;
    let (mut app, clock) = app_with_ana().await;
    let mut first = Browser::stranger(&app);
    first.sign_in(ANA, PASSWORD).await;
    let (secret, codes) = enrol(&mut first).await;
    let ana = app.portal.directory.agent_by_email(ANA).await.unwrap().unwrap();
    // Those of months before: ten a quarter of an hour are let in.
    for _ in 1..WRONG_CODES {
        let event = AuditEvent::new(app.portal.now(), Actor::Agent(ana.id), AuditAction::SecondFactorRefused);
        app.portal.directory.alter_agent(ana.id, Change::WrongCode, event).await.unwrap();
    }
    clock.forward(NEXT_STEP);
    let right = now_code(&app, &secret);
    let wrong = format!("{:06}", (right.parse::<u32>().unwrap() + 1) % 1_000_000);
    let guesser = half(&app).await;
    assert_eq!(guesser.post("/sign-in/second", &[("code", &wrong)]).await.status(), 422);
    app.restart().await;
    let mut owner = half(&app).await;
    let closed = owner.post("/sign-in/second", &[("code", &right)]).await;
    assert_eq!(closed.status(), 403);
    assert!(closed.text().await.unwrap().contains("Use a passkey or a recovery code"));
    assert_eq!(owner.submit("/sign-in/second", &[("code", &codes[0])]).await.status(), 303);
    let ana = app.portal.directory.agent_by_email(ANA).await.unwrap().unwrap();
    assert!(ana.misses.close_codes(), "the app stays closed");
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let told = admin.page(&format!("/admin/agents/{}", ana.id)).await;
    assert!(told.contains("codes are not taken any more"), "{told}");
    assert_eq!(
        admin.post(&format!("/admin/agents/{}/second-factor", ana.id), &[]).await.status(),
        303
    );
    let mut fresh = Browser::stranger(&app);
    assert_eq!(fresh.sign_in(ANA, PASSWORD).await.headers()["location"], "/");
}

#[tokio::test]
async fn recovery_codes_open_once_and_confirm_nothing() {
    let (app, clock) = app_with_ana().await;
    let mut first = Browser::stranger(&app);
    first.sign_in(ANA, PASSWORD).await;
    let (_, codes) = enrol(&mut first).await;
    let mut back = half(&app).await;
    let typed = codes[3].to_uppercase().replace('-', " ").replace('0', "O");
    assert_eq!(back.submit("/sign-in/second", &[("code", &typed)]).await.status(), 303);
    assert!(back.page("/account").await.contains("9 left"));
    let again = half(&app).await;
    assert_eq!(again.post("/sign-in/second", &[("code", &codes[3])]).await.status(), 422);
    clock.forward(time::Duration::minutes(11));
    assert_eq!(
        back.get("/account/app").await.headers()["location"],
        "/account/confirm?next=/account/app"
    );
    let confirm = back.post("/account/confirm", &[("code", &codes[4])]).await;
    assert_eq!(confirm.status(), 422, "within a session it proves nothing");
    // New ones kill the old ones.
    let secret_is_lost = app.portal.directory.agent_by_email(ANA).await.unwrap().unwrap();
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let path = format!("/admin/agents/{}/second-factor", secret_is_lost.id);
    assert_eq!(admin.post(&path, &[]).await.status(), 303);
    assert_eq!(back.get("/").await.status(), 303, "every session has ended");
    let mut fresh = Browser::stranger(&app);
    assert_eq!(fresh.sign_in(ANA, PASSWORD).await.headers()["location"], "/");
}

#[tokio::test]
async fn passkeys_are_offered_only_where_a_browser_takes_them() {
    let (app, _clock) = app_with_ana().await;
    let mut browser = Browser::stranger(&app);
    let named = app.staff("").replace("127.0.0.1", "localhost");
    let host = named.strip_prefix("http://").unwrap();
    let hint = format!("Passkeys work at <a href=\"{named}\">{named}</a> only.");
    browser.sign_in(ANA, PASSWORD).await;
    for (path, button) in [
        ("/sign-in", "data-passkey=\"/sign-in/passkey/begin\""),
        ("/account", "href=\"/account/passkeys\""),
        ("/account/passkeys", "data-passkey=\"/account/passkeys/begin\""),
    ] {
        let elsewhere = browser.page(path).await;
        assert!(elsewhere.contains(&hint) && !elsewhere.contains(button), "{path}");
        for header in ["host", "x-forwarded-host"] {
            let answer = browser.call(Method::GET, path).header(header, host).send().await.unwrap();
            let here = answer.text().await.unwrap();
            assert!(here.contains(button) && !here.contains(&hint), "{path} {header}");
        }
    }
}

#[tokio::test]
async fn what_lets_somebody_in_is_changed_only_after_a_fresh_proof() {
    let (app, clock) = app_with_ana().await;
    let mut browser = Browser::stranger(&app);
    browser.sign_in(ANA, PASSWORD).await;
    clock.forward(time::Duration::minutes(11));
    for path in ["/account/app", "/account/passkeys"] {
        assert_eq!(
            browser.get(path).await.headers()["location"].to_str().unwrap(),
            format!("/account/confirm?next={path}")
        );
    }
    let wrong = browser.submit("/account/confirm", &[("password", "not my password at all")]).await;
    assert_eq!(wrong.status(), 422);
    let before = browser.cookie.clone();
    let right = browser
        .submit("/account/confirm", &[("password", PASSWORD), ("next", "/account/app")])
        .await;
    assert_eq!(right.headers()["location"], "/account/app");
    assert_ne!(browser.cookie, before);
    let (secret, _) = enrol(&mut browser).await;
    clock.forward(time::Duration::minutes(11));
    for path in ["/account/app/remove", "/account/codes", "/account/passkeys/begin"] {
        let asked = browser.post(path, &[]).await.headers()["location"].clone();
        assert!(asked.to_str().unwrap().starts_with("/account/confirm"), "{path}: {asked:?}");
    }
    // The password is not enough any more.
    let wrong = browser.submit("/account/confirm", &[("password", PASSWORD)]).await;
    assert_eq!(wrong.status(), 422);
    let code = now_code(&app, &secret);
    assert_eq!(browser.submit("/account/confirm", &[("code", &code)]).await.status(), 303);
    // A confirmation does not make a session live longer than its sign-in allowed.
    let ana = app.portal.directory.agent_by_email(ANA).await.unwrap().unwrap().id;
    for _ in 0..60 {
        clock.forward(time::Duration::minutes(12));
        let answer = browser.get("/account").await;
        if answer.status() != 200 {
            assert_eq!(answer.headers()["location"], "/sign-in?next=/account");
            break;
        }
        let now = app.portal.now();
        until("its use is written down", async || {
            app.portal.directory.sessions_of(ana).await.unwrap()[0].1.seen_at == now
        })
        .await;
    }
    let code = now_code(&app, &secret);
    let asked = browser.post("/account/confirm", &[("code", &code)]).await.headers()["location"].clone();
    assert!(asked.to_str().unwrap().starts_with("/sign-in"), "{asked:?}");
}

#[tokio::test]
async fn a_demanded_factor_is_set_up_before_anything_else() {
    let app = TestApp::with_options(TestOptions {
        more: "[accounts]\nrequire_second_factor = true\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let mut admin = Browser::signed_in(&app, Role::Admin).await;
    for path in ["/", "/requests", "/requests/new", "/admin", "/admin/keys", "/audit"] {
        assert_eq!(admin.get(path).await.headers()["location"], "/account", "{path}");
    }
    let refused = admin.post("/admin/keys", &[("name", "x"), ("scope", "admin")]).await;
    assert_eq!(refused.headers()["location"], "/account");
    assert!(admin.page("/account").await.contains("One thing before you start"));
    enrol(&mut admin).await;
    assert_eq!(admin.get("/").await.status(), 200);
    let last = admin.post("/account/app/remove", &[]).await;
    assert_eq!(last.status(), 409, "the last one stays");
    // With a second factor demanded, eight characters are enough.
    let added = sign_in::add_agent(&app.portal, "b@example.com", "B", Role::Agent, "k7#Qz!m2", Actor::Operator).await;
    assert!(added.is_ok());
}

#[tokio::test]
async fn sessions_are_seen_and_ended_by_their_owner_alone() {
    let app = TestApp::new().await;
    let mut here = Browser::signed_in(&app, Role::Agent).await;
    let there = Browser::signed_in(&app, Role::Agent).await;
    let auditor = Browser::signed_in(&app, Role::Auditor).await;
    let page = here.page("/account").await;
    assert_eq!(page.matches("action=\"/account/sessions/end\"").count(), 1);
    let name = between(&page, "name=\"session\" value=\"", "\"").to_owned();
    for stored in [&here.cookie, &there.cookie] {
        assert!(!page.contains(stored.split('=').nth(1).unwrap()));
    }
    assert_eq!(auditor.post("/account/sessions/end", &[("session", &name)]).await.status(), 404);
    assert_eq!(there.get("/").await.status(), 200, "somebody else's is out of reach");
    assert_eq!(here.post("/account/sessions/end", &[("session", &name)]).await.status(), 303);
    assert_eq!(there.get("/").await.status(), 303);
    let third = Browser::signed_in(&app, Role::Agent).await;
    here.submit(END_ALL, &[]).await;
    assert!(!here.cookie.contains("nightdrop-s="));
    assert_eq!(third.get("/").await.status(), 303);
    assert_eq!(auditor.get("/account").await.status(), 200);
}

#[tokio::test]
async fn a_planted_cookie_never_becomes_a_session() {
    let app = TestApp::new().await;
    agent(&app, ANA, Role::Agent).await;
    let planted = format!("nightdrop-s={0}; nightdrop-h={0}", "ab".repeat(32));
    let mut victim = Browser {
        app: &app,
        cookie: planted.clone(),
    };
    victim.sign_in(ANA, PASSWORD).await;
    assert!(!victim.cookie.contains(&"ab".repeat(32)) || victim.cookie.starts_with("nightdrop-h"));
    let enemy = Browser {
        app: &app,
        cookie: planted,
    };
    assert_eq!(enemy.get("/").await.status(), 303);
    assert_eq!(enemy.get("/sign-in/second").await.status(), 303);
}

#[tokio::test]
async fn passwords_are_judged_by_length_and_by_what_guessers_know() {
    let app = TestApp::with_options(TestOptions {
        more: "[company]\nname = \"Harbour Bank\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let form = |password| {
        [
            ("name", "Zoe Park"),
            ("email", "zoe@example.com"),
            ("role", "agent"),
            ("password", password),
        ]
    };
    for refused in [
        "fourteen chars",
        "passwordpassword",
        "HarbourBank-2026",
        "zoe@example.com",
        "Zoe Park Harbour",
        "nightdropnightdrop",
    ] {
        let answer = admin.post("/admin/agents", &form(refused)).await;
        assert_eq!(answer.status(), 422, "{refused}");
        let page = answer.text().await.unwrap();
        assert!(refused.contains('@') || !page.contains(refused), "never shown back");
    }
    let long = "ü ".repeat(20) + &"tangerine gravel oboe lighthouse ".repeat(3);
    assert_eq!(admin.post("/admin/agents", &form(&long)).await.status(), 303);
    let mut zoe = Browser::stranger(&app);
    assert_eq!(
        zoe.sign_in("zoe@example.com", &long[..72]).await.status(),
        403,
        "nothing is cut off at 72 bytes"
    );
    assert_eq!(zoe.sign_in("zoe@example.com", &long).await.status(), 303);
    account::sign_out_everywhere(
        &app.portal,
        &app.portal.directory.agent_by_email("zoe@example.com").await.unwrap().unwrap(),
        Actor::Operator,
    )
    .await
    .unwrap();
    assert_eq!(zoe.get("/").await.status(), 303);
}
