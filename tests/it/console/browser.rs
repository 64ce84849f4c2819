//! The screens of accounts in a real Chromium, with an authenticator of its own making; and a support agent's day.

use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::document::ProviderName;
use serde_json::json;

use super::*;
use crate::browser::script;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn an_admin_gets_to_a_second_agent_with_a_passkey_and_a_first_request_by_the_screens() {
    let app = TestApp::with_options(TestOptions {
        more: "[company]\nname = \"Harbour Bank\"\n".to_owned(),
        provider: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    agent(&app, "admin@harbour.example", Role::Admin).await;
    agent(&app, "hand@harbour.example", Role::ManualHandler).await;
    let mut wanted = ask("acct_7", "government-id");
    wanted.provider = ProviderName::parse("desk").unwrap();
    let held = app.issue(wanted).await;
    let photo = png(1, 50_000);
    let answer = app.drop_files(&held, &[("front", &photo), ("back", &photo)]).await;
    assert_eq!(answer.status(), 200);
    app.work().await;
    let given = json!({
        "console": app.staff("").replace("127.0.0.1", "localhost"),
        "admin": "admin@harbour.example",
        "handler": "hand@harbour.example",
        "password": PASSWORD,
        "held": held.id.to_string(),
    });
    tokio::task::spawn_blocking(move || script("console-accounts.mjs", &given))
        .await
        .unwrap();
    let log: Vec<_> = app.portal.audit.entries(0, 10_000).await.unwrap();
    let count = |action: AuditAction| log.iter().filter(|e| e.event.action == action).count();
    assert_eq!(count(AuditAction::SecondFactorEnrolled), 2);
    assert_eq!(count(AuditAction::DocumentHandedOut), 1);
    assert_eq!(count(AuditAction::LinkIssued), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn a_support_agents_day_works_by_the_screens() {
    let app = TestApp::with_options(TestOptions {
        more: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    agent(&app, "ana@harbour.example", Role::ManualHandler).await;
    agent(&app, "ida@harbour.example", Role::Auditor).await;
    let mut wanted = ask("acct_7", "passport");
    wanted.provider = ProviderName::parse("desk").unwrap();
    let held = app.issue(wanted).await;
    assert_eq!(app.drop_files(&held, &[("front", &png(1, 50_000))]).await.status(), 200);
    app.work().await;
    let waiting = issued(&app).await;
    let given = json!({
        "console": app.staff("").replace("127.0.0.1", "localhost"),
        "held": held.id.to_string(),
        "waiting": waiting.id.to_string(),
        "agent": "ana@harbour.example",
        "auditor": "ida@harbour.example",
        "password": PASSWORD,
    });
    tokio::task::spawn_blocking(move || script("console-desk.mjs", &given))
        .await
        .unwrap();
}
