//! What is refused at the listeners stands in the audit log: each kind once a minute, with a count, and nothing of what a stranger sent.

use nightdrop::testing::domain::agent::{Scope, Team};
use nightdrop::testing::domain::audit::{AuditAction, AuditEvent};
use nightdrop::testing::workflow::sign_in::account;
use time::Duration;

use super::*;
use crate::audit::verified;

/// Everything since entry `after`: action, actor and details; the whole chain verified.
async fn since(app: &TestApp, after: usize) -> Vec<String> {
    let (entries, _) = verified(&app.portal).await;
    let line = |event: &AuditEvent| {
        let detail: Vec<String> = event.detail.iter().map(|(n, v)| format!(" {n}={v}")).collect();
        format!("{} {}{}", event.action, event.actor, detail.concat())
    };
    entries[after..].iter().map(|entry| line(&entry.event)).collect()
}

async fn told(app: &TestApp) -> usize {
    verified(&app.portal).await.0.len()
}

#[tokio::test]
async fn every_refusal_is_told() {
    let (options, clock) = TestOptions {
        more: "[limits]\napi_per_minute = 3\n".to_owned(),
        ..TestOptions::default()
    }
    .with_clock();
    let app = TestApp::with_options(options).await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let id = app.portal.directory.agent_by_email("agent@example.com").await.unwrap().unwrap().id;
    let foreign = sign_in::add_agent(&app.portal, "f@example.com", "F", Role::Agent, PASSWORD, Actor::Operator)
        .await
        .unwrap();
    account::change_agent(
        &app.portal,
        &foreign,
        Role::Agent,
        vec![Team::parse("loans").unwrap()],
        Actor::Operator,
    )
    .await
    .unwrap();
    let theirs = nightdrop::testing::workflow::issue::issue(&app.portal, ask("acct_1", "passport"), Actor::Agent(foreign.id), None)
        .await
        .unwrap();
    let theirs = format!("/requests/{}", theirs.request.id);
    let key = async |scope, team: Option<&str>, life: Option<Duration>| {
        let end = life.map(|life| app.portal.now() + life);
        let team = team.and_then(Team::parse);
        account::add_team_key(&app.portal, "k", vec![scope], end, team, Actor::Operator)
            .await
            .unwrap()
    };
    let (reader, reads) = key(Scope::Read, Some("cards"), None).await;
    let (busy, asks) = key(Scope::Read, None, None).await;
    let (old, expired) = key(Scope::Read, None, Some(Duration::minutes(1))).await;
    let (dead, revoked) = key(Scope::Read, None, None).await;
    let event = AuditEvent::new(app.portal.now(), Actor::Operator, AuditAction::ApiKeyRevoked);
    app.portal.directory.revoke_api_key(dead.id, event).await.unwrap();
    clock.forward(Duration::minutes(2));
    let api = async |secret: &str, path: &str| {
        let call = app.http.get(app.staff(&format!("/api/v1{path}"))).bearer_auth(secret);
        call.send().await.unwrap().status().as_u16()
    };
    let hook = async || {
        let call = app.http.post(app.public("/hooks/sandbox")).body("{\"secret\":\"from a stranger\"}");
        call.send().await.unwrap().status().as_u16()
    };
    let foreign_form = async |path: String| {
        let call = app.http.post(path).header("sec-fetch-site", "cross-site").body("name=x");
        call.send().await.unwrap().status().as_u16()
    };
    let link = app.link_for("passport", None).await;
    let mut after = told(&app).await;
    let mut check = async |status: u16, wanted: u16, line: String| {
        assert_eq!(status, wanted, "{line}");
        assert_eq!(since(&app, after).await, [line]);
        after += 1;
    };
    let status = agent.get("/admin/agents").await.status().as_u16();
    check(status, 403, format!("access.refused {id} what=role has=agent")).await;
    let status = agent.get(&theirs).await.status().as_u16();
    check(status, 404, format!("access.refused {id} what=team")).await;
    let reader = reader.id;
    check(
        api(&reads, "/agents").await,
        403,
        format!("access.refused {reader} what=scope needed=admin"),
    )
    .await;
    check(api(&reads, &theirs).await, 404, format!("access.refused {reader} what=team")).await;
    let unknown = format!("ndk_{}", "0".repeat(52));
    check(
        api(&unknown, "/requests").await,
        401,
        "api_key.refused portal why=unknown".to_owned(),
    )
    .await;
    let line = format!("api_key.refused portal why=expired key={}", old.id);
    check(api(&expired, "/requests").await, 401, line).await;
    let line = format!("api_key.refused portal why=revoked key={}", dead.id);
    check(api(&revoked, "/requests").await, 401, line).await;
    for _ in 0..3 {
        assert_eq!(api(&asks, "/requests").await, 200);
    }
    check(api(&asks, "/requests").await, 429, format!("api_key.throttled {}", busy.id)).await;
    check(
        hook().await,
        401,
        "callback.refused portal provider=sandbox why=signature".to_owned(),
    )
    .await;
    let staff = app.staff("/sign-in");
    check(
        foreign_form(staff).await,
        403,
        "request.cross_site portal listener=staff".to_owned(),
    )
    .await;
    let public = app.public(&link.path);
    check(
        foreign_form(public).await,
        403,
        "request.cross_site portal listener=public".to_owned(),
    )
    .await;
    let status = agent.post("/sign-out", &[]).await.status().as_u16();
    check(status, 303, format!("session.ended {id} why=sign_out")).await;
    let status = agent.post("/sign-out", &[]).await.status().as_u16();
    assert_eq!(status, 303);
    assert_eq!(told(&app).await, after, "nobody signs out twice");
}

#[tokio::test]
async fn a_flood_of_refusals_is_a_line_a_minute() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let after = told(&app).await;
    let flood = async || {
        for n in 0..40 {
            let key = format!("ndk_{n:052}");
            let call = app.http.get(app.staff("/api/v1/requests")).bearer_auth(key);
            assert_eq!(call.send().await.unwrap().status(), 401);
            let call = app
                .http
                .post(app.staff("/sign-in"))
                .header("origin", format!("https://{n}.evil.example"));
            assert_eq!(call.send().await.unwrap().status(), 403);
            let call = app.http.post(app.public("/hooks/sandbox")).body(format!("{n}"));
            assert_eq!(call.send().await.unwrap().status(), 401);
        }
    };
    let lines = |suppressed: &str| {
        [
            format!("api_key.refused portal why=unknown{suppressed}"),
            format!("request.cross_site portal listener=staff{suppressed}"),
            format!("callback.refused portal provider=sandbox why=signature{suppressed}"),
        ]
    };
    flood().await;
    assert_eq!(since(&app, after).await, lines(""));
    clock.forward(Duration::minutes(1));
    flood().await;
    assert_eq!(since(&app, after + 3).await, lines(" suppressed=39"));
}

#[tokio::test]
async fn every_end_of_a_session_is_told() {
    let app = TestApp::new().await;
    let mut browser = Browser::signed_in(&app, Role::Admin).await;
    let id = app.portal.directory.agent_by_email("admin@example.com").await.unwrap().unwrap().id;
    let after = told(&app).await;
    assert_eq!(browser.sign_in("admin@example.com", PASSWORD).await.status(), 303);
    let lines = since(&app, after).await;
    assert!(lines.contains(&format!("session.ended {id} why=new_sign_in")), "{lines:?}");
    let other = Browser::signed_in(&app, Role::Admin).await;
    let page = other.page("/account").await;
    let name = between(&page, "name=\"session\" value=\"", "\"").to_owned();
    let after = told(&app).await;
    assert_eq!(other.post("/account/sessions/end", &[("session", &name)]).await.status(), 303);
    assert_eq!(since(&app, after).await, [format!("session.ended {id} why=elsewhere")]);
}
