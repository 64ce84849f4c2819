//! People: invited, disabled and enabled again, deleted, and made to set a password of their own.

use nightdrop::testing::domain::agent::Scope;
use serde_json::{Value, json};

use super::*;

const OWN: &str = "an umbrella that sings at noon";

/// The link on a page that shows it, as a path.
fn link_of(page: &str) -> String {
    let link = between(page, "id=\"link\" readonly value=\"", "\"");
    link[link.find("/invitation/").unwrap()..].to_owned()
}

async fn invited(admin: &Browser<'_>, email: &str) -> String {
    let form = [("name", "Ivy"), ("email", email), ("role", "agent"), ("teams", "cards")];
    let response = admin.post("/admin/agents/invite", &form).await;
    assert_eq!(response.status(), 200);
    link_of(&response.text().await.unwrap())
}

async fn id_of(app: &TestApp, email: &str) -> String {
    app.portal.directory.agent_by_email(email).await.unwrap().unwrap().id.to_string()
}

#[tokio::test]
async fn somebody_invited_sets_a_password_by_the_link_once() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let path = invited(&admin, "Ivy@Example.com").await;
    assert!(admin.page("/admin/agents").await.contains("Invited"));
    let mut ivy = Browser::stranger(&app);
    let before = audited(&app).await;
    for _ in 0..2 {
        assert!(ivy.page(&path).await.contains("Welcome, Ivy"), "looking uses nothing up");
    }
    assert_eq!(audited(&app).await, before);
    let short = ivy.post(&path, &[("password", "short")]).await;
    assert!(short.status() == 422 || short.status() == 400, "{}", short.status());
    assert_eq!(ivy.submit(&path, &[("password", OWN)]).await.headers()["location"], "/");
    assert!(ivy.page("/account").await.contains("ivy@example.com"));
    for again in [ivy.get(&path).await, ivy.post(&path, &[("password", PASSWORD)]).await] {
        assert_eq!(again.status(), 404);
        assert!(again.text().await.unwrap().contains("does not work any more"));
    }
    let mut later = Browser::stranger(&app);
    later.sign_in("ivy@example.com", OWN).await;
    assert_eq!(later.get("/account").await.status(), 200);
    let page = admin.page(&format!("/admin/agents/{}", id_of(&app, "ivy@example.com").await)).await;
    assert!(!page.contains("<dt>Last sign-in</dt><dd>never"), "{page}");
}

#[tokio::test]
async fn a_new_link_is_asked_for_and_makes_the_one_before_worthless() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let old = invited(&admin, "ivy@example.com").await;
    let id = id_of(&app, "ivy@example.com").await;
    let question = admin.page(&format!("/admin/agents/{id}/link")).await;
    assert!(question.contains("stops working"), "{question}");
    let stranger = Browser::stranger(&app);
    assert_eq!(stranger.get(&old).await.status(), 200, "asking changes nothing");
    let answer = admin.post(&format!("/admin/agents/{id}/link"), &[]).await;
    let new = link_of(&answer.text().await.unwrap());
    assert_eq!(stranger.get(&old).await.status(), 404);
    assert_eq!(stranger.get(&new).await.status(), 200);
    let foreign = new.replace(&id, &id_of(&app, "admin@example.com").await);
    assert_eq!(stranger.get(&foreign).await.status(), 404, "another account's link");
    admin.post(&format!("/admin/agents/{id}/disable"), &[]).await;
    assert_eq!(stranger.get(&new).await.status(), 404, "a disabled account takes none");
    let own = id_of(&app, "admin@example.com").await;
    assert_eq!(admin.post(&format!("/admin/agents/{own}/link"), &[]).await.status(), 409);
}

#[tokio::test]
async fn a_link_ends_after_three_days() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let path = invited(&Browser::signed_in(&app, Role::Admin).await, "ivy@example.com").await;
    let stranger = Browser::stranger(&app);
    clock.forward(time::Duration::hours(71));
    assert_eq!(stranger.get(&path).await.status(), 200);
    clock.forward(time::Duration::hours(2));
    assert_eq!(stranger.post(&path, &[("password", OWN)]).await.status(), 404);
}

#[tokio::test]
async fn a_link_replaces_a_password_and_no_second_factor() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let ben = agent(&app, "ben@example.com", Role::Agent).await;
    let mut own = Browser::stranger(&app);
    own.sign_in("ben@example.com", PASSWORD).await;
    super::factor::enrol(&mut own).await;
    let answer = admin.post(&format!("/admin/agents/{}/link", ben.id), &[]).await;
    let path = link_of(&answer.text().await.unwrap());
    let mut browser = Browser::stranger(&app);
    let page = browser.page(&path).await;
    assert!(page.contains("second factor stays") && !page.contains("/passkey\""), "{page}");
    let answer = browser.submit(&path, &[("password", OWN)]).await;
    assert!(answer.headers()["location"].to_str().unwrap().starts_with("/sign-in/second"));
    assert_eq!(browser.get("/account").await.status(), 303, "a link alone is not enough");
}

#[tokio::test]
async fn a_password_of_an_admins_choice_leads_to_ones_own_and_nowhere_else() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let form = [
        ("name", "Ivy"),
        ("email", "ivy@example.com"),
        ("role", "agent"),
        ("password", PASSWORD),
    ];
    assert_eq!(admin.post("/admin/agents", &form).await.status(), 303);
    let mut ivy = Browser::stranger(&app);
    ivy.sign_in("ivy@example.com", PASSWORD).await;
    for path in ["/", "/requests", "/account", "/account/passkeys", "/account/app", "/docs"] {
        assert_eq!(ivy.get(path).await.headers()["location"], "/account/first-password", "{path}");
    }
    assert_eq!(ivy.post("/requests/new", &request_form("acct_1", "passport")).await.status(), 303);
    let same = ivy.post("/account/first-password", &[("password", PASSWORD)]).await;
    assert!(same.text().await.unwrap().contains("another one than you were given"));
    assert_eq!(
        ivy.submit("/account/first-password", &[("password", OWN)]).await.headers()["location"],
        "/"
    );
    assert_eq!(ivy.get("/requests").await.status(), 200);
    // The page is for that alone: it changes no password of one's own.
    assert_eq!(
        ivy.post("/account/first-password", &[("password", PASSWORD)]).await.headers()["location"],
        "/account"
    );
    let mut later = Browser::stranger(&app);
    assert_eq!(later.sign_in("ivy@example.com", PASSWORD).await.status(), 403);
    later.sign_in("ivy@example.com", OWN).await;
    assert_eq!(later.get("/requests").await.status(), 200);
}

#[tokio::test]
async fn a_click_too_many_is_asked_for_and_undone() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let mut ben = Browser::signed_in(&app, Role::Agent).await;
    let id = id_of(&app, "agent@example.com").await;
    let page = admin.page(&format!("/admin/agents/{id}")).await;
    assert!(
        !page.contains(&format!("action=\"/admin/agents/{id}/disable\"")),
        "no button disables at once"
    );
    let question = admin.page(&format!("/admin/agents/{id}/disable")).await;
    assert!(question.contains("enable them again") && ben.get("/requests").await.status() == 200);
    admin.post(&format!("/admin/agents/{id}/disable"), &[]).await;
    assert_eq!(ben.get("/requests").await.status(), 303);
    assert_eq!(ben.sign_in("agent@example.com", PASSWORD).await.status(), 403);
    let answer = admin.post(&format!("/admin/agents/{id}/enable"), &[]).await;
    assert_eq!(answer.headers()["location"], format!("/admin/agents/{id}?done=enabled"));
    assert_eq!(ben.sign_in("agent@example.com", PASSWORD).await.status(), 303);
    assert_eq!(ben.get("/requests").await.status(), 200);
}

#[tokio::test]
async fn of_a_deleted_agent_the_log_keeps_the_name_and_nothing_opens() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let zoe = sign_in::add_agent(
        &app.portal,
        "zoe@example.com",
        "Zoe Deleted",
        Role::Admin,
        PASSWORD,
        Actor::Operator,
    )
    .await
    .unwrap();
    let mut browser = Browser::stranger(&app);
    browser.sign_in("zoe@example.com", PASSWORD).await;
    let form = [("name", "Zoes key"), ("scope", "read")];
    let page = browser.post("/admin/keys", &form).await.text().await.unwrap();
    let secret = between(&page, "id=\"secret\" readonly value=\"", "\"").to_owned();
    let (_, other) = sign_in::add_api_key(&app.portal, "other", vec![Scope::Read], None, Actor::Operator)
        .await
        .unwrap();
    let asks = async |secret: &str| {
        let url = app.staff("/api/v1/requests");
        app.http.get(url).bearer_auth(secret).send().await.unwrap().status().as_u16()
    };
    assert_eq!(asks(&secret).await, 200);
    let question = admin.page(&format!("/admin/agents/{}/delete", zoe.id)).await;
    assert!(question.contains("Zoes key") && !question.contains(">other<"), "{question}");
    let answer = admin.post(&format!("/admin/agents/{}/delete", zoe.id), &[]).await;
    assert_eq!(answer.headers()["location"], "/admin/agents?done=deleted");
    assert_eq!((asks(&secret).await, asks(&other).await), (401, 200));
    assert_eq!(browser.get("/account").await.status(), 303);
    assert_eq!(browser.sign_in("zoe@example.com", PASSWORD).await.status(), 403);
    assert!(!admin.page("/admin/agents").await.contains("Zoe Deleted"));
    assert_eq!(admin.get(&format!("/admin/agents/{}", zoe.id)).await.status(), 404);
    assert!(admin.page("/audit").await.contains("Zoe Deleted"), "the log still names who did it");
    // The address is free again, and whoever gets it has nothing of the account before.
    let path = invited(&admin, "zoe@example.com").await;
    assert_eq!(Browser::stranger(&app).get(&path).await.status(), 200);
}

#[tokio::test]
async fn the_last_admin_who_can_sign_in_stays() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let own = id_of(&app, "admin@example.com").await;
    for verb in ["disable", "delete"] {
        assert_eq!(
            admin.post(&format!("/admin/agents/{own}/{verb}"), &[]).await.status(),
            409,
            "{verb}"
        );
    }
    // Somebody who was invited and never came is nobody who could help.
    let form = [("name", "Never"), ("email", "never@example.com"), ("role", "admin")];
    assert_eq!(admin.post("/admin/agents/invite", &form).await.status(), 200);
    for (verb, body) in [("disable", json!({})), ("delete", json!({})), ("role", json!({"role": "agent"}))] {
        let answer = app
            .http
            .post(app.staff(&format!("/api/v1/agents/{own}/{verb}")))
            .bearer_auth(&app.api_key)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 409, "{verb}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "agent.last_admin", "{verb}");
    }
    assert_eq!(admin.get("/admin").await.status(), 200);
}

#[tokio::test]
async fn open_sessions_are_named_by_browser_and_ended_one_by_one() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    agent(&app, "ben@example.com", Role::Agent).await;
    let enter = async |agent: &str| {
        let mut browser = Browser::stranger(&app);
        let answer = browser
            .call(Method::POST, "/sign-in")
            .header("sec-fetch-site", "same-origin")
            .header("user-agent", agent)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encoded(&[("email", "ben@example.com"), ("password", PASSWORD)]))
            .send()
            .await
            .unwrap();
        browser.keep(&answer);
        browser
    };
    let windows = enter("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0").await;
    let phone = enter("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Version/26.0 Mobile/15E148 Safari/604.1").await;
    let own = phone.page("/account").await;
    assert!(own.contains("Firefox on Windows") && own.contains("Safari on iPhone"), "{own}");
    let path = format!("/admin/agents/{}", id_of(&app, "ben@example.com").await);
    let page = admin.page(&path).await;
    let card = &page[page.find("Firefox on Windows").unwrap()..];
    let session = between(card, "name=\"session\" value=\"", "\"");
    let answer = admin.post(&format!("{path}/sessions/end"), &[("session", session)]).await;
    assert_eq!(answer.status(), 303);
    assert_eq!(windows.get("/account").await.status(), 303, "ended");
    assert_eq!(phone.get("/account").await.status(), 200, "and no other");
    assert!(!admin.page(&path).await.contains("Firefox on Windows"));
}
