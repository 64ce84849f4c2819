//! The one route on which a document leaves for a person, and everybody whom it refuses.

use nightdrop::testing::domain::document::ProviderName;
use nightdrop::testing::workflow::issue;

use super::factor::enrol;
use super::*;
use crate::support::TestClock;

async fn app() -> (TestApp, TestClock) {
    let (options, clock) = TestOptions {
        provider: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    }
    .with_clock();
    (TestApp::with_options(options).await, clock)
}

/// A held document of two parts at the provider that is served by hand.
async fn held(app: &TestApp) -> (Link, Vec<u8>, Vec<u8>) {
    let mut ask = ask("acct_7", "government-id");
    ask.provider = ProviderName::parse("desk").unwrap();
    let link = app.issue(ask).await;
    let (front, back) = (png(1, 200_000), png(2, 90_000));
    let answer = app.drop_files(&link, &[("front", &front), ("back", &back)]).await;
    assert_eq!(answer.status(), 200);
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::NeedsAttention);
    (link, front, back)
}

fn part(link: &Link, name: &str) -> String {
    format!("/requests/{}/parts/{name}", link.id)
}

#[tokio::test]
async fn each_part_is_downloaded_once_by_its_handler_after_a_fresh_factor() {
    let (app, clock) = app().await;
    let (link, front, back) = held(&app).await;
    let page = format!("/requests/{}/hand-over", link.id);
    let mut handler = Browser::signed_in(&app, Role::ManualHandler).await;
    assert_eq!(
        handler.get(&page).await.headers()["location"],
        "/account",
        "a password is not enough"
    );
    assert_eq!(handler.post(&part(&link, "front"), &[]).await.headers()["location"], "/account");
    let (secret, _) = enrol(&mut handler).await;
    let shown = handler.page(&format!("/requests/{}", link.id)).await;
    assert!(shown.contains(&page), "the request leads there");
    assert!(handler.page(&page).await.contains(&part(&link, "back")));
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(handler.call(method, &part(&link, "front")).send().await.unwrap().status(), 405);
    }
    let answer = handler.post(&part(&link, "front"), &[]).await;
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "application/octet-stream");
    assert_eq!(
        headers["content-disposition"].to_str().unwrap(),
        format!("attachment; filename=\"{}-front.png\"", link.id)
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["content-length"], front.len().to_string().as_str());
    assert!(answer.bytes().await.unwrap() == front, "byte for byte");
    assert_eq!(handler.post(&part(&link, "front"), &[]).await.status(), 409, "once");
    // Not again by trying the delivery again; and nothing before the worker has looked at it.
    issue::retry(&app.portal, link.id, Actor::Operator).await.unwrap();
    assert_eq!(handler.post(&part(&link, "back"), &[]).await.status(), 409);
    assert!(handler.page(&page).await.contains("still being looked at"));
    app.work().await;
    assert_eq!(handler.post(&part(&link, "front"), &[]).await.status(), 409);
    // Two at once get one.
    let (one, two) = (part(&link, "back"), part(&link, "back"));
    let (one, two) = tokio::join!(handler.post(&one, &[]), handler.post(&two, &[]));
    let mut statuses = [one.status().as_u16(), two.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let got = if one.status() == 200 { one } else { two };
    assert!(got.bytes().await.unwrap() == back);
    let log = app.log(&link).await;
    assert_eq!(
        log.iter().filter(|l| l.starts_with("document.handed_out")).collect::<Vec<_>>(),
        ["document.handed_out part=front", "document.handed_out part=back"]
    );
    // Ten minutes later the proof is stale.
    clock.forward(time::Duration::minutes(10));
    let (second, ..) = held(&app).await;
    let asked = handler.post(&part(&second, "front"), &[]).await.headers()["location"].clone();
    assert!(asked.to_str().unwrap().starts_with("/account/confirm?next="), "{asked:?}");
    let code = secret.code_at(app.portal.now());
    handler.submit("/account/confirm", &[("code", &code)]).await;
    assert_eq!(handler.post(&part(&second, "front"), &[]).await.status(), 200);
    // Done: everything is destroyed.
    handler.post(&format!("/requests/{}/mark-uploaded", link.id), &[]).await;
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::Purged);
    assert_eq!(handler.post(&part(&link, "front"), &[]).await.status(), 404);
}

#[tokio::test]
async fn nobody_else_and_nothing_else_gets_a_byte() {
    let (app, _) = app().await;
    let (link, ..) = held(&app).await;
    for role in [Role::Agent, Role::Admin, Role::Auditor] {
        let mut browser = Browser::signed_in(&app, role).await;
        enrol(&mut browser).await;
        for name in ["front", "back"] {
            assert_eq!(browser.post(&part(&link, name), &[]).await.status(), 403, "{role:?}");
        }
    }
    let stranger = Browser::stranger(&app);
    assert_eq!(stranger.post(&part(&link, "front"), &[]).await.status(), 303);
    let key = app
        .http
        .post(app.staff(&part(&link, "front")))
        .bearer_auth(&app.api_key)
        .header("sec-fetch-site", "same-origin")
        .send()
        .await
        .unwrap();
    assert_eq!(key.status(), 303, "no key of a machine opens it");
    let mut handler = Browser::signed_in(&app, Role::ManualHandler).await;
    enrol(&mut handler).await;
    let cross = handler
        .call(Method::POST, &part(&link, "front"))
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(cross.status(), 403);
    // A provider that is served by machine is none of theirs.
    let other = app.link().await;
    let answer = app.drop_files(&other, &[("front", &png(1, 4_000)), ("back", &png(2, 4_000))]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(handler.post(&part(&other, "front"), &[]).await.status(), 404);
    assert_eq!(handler.post(&part(&link, "side"), &[]).await.status(), 404);
    let log = app.log(&link).await;
    assert!(!log.iter().any(|l| l.starts_with("document.handed_out")), "{log:?}");
}
