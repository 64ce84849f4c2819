//! The picture of a link, for whoever goes on with it on a phone: there as long as the form is, refused as the page is, and never a change.

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::workflow::issue;
use reqwest::Response;

use crate::support::{Link, TestApp, TestOptions, ask, png};

async fn picture(app: &TestApp, link: &Link) -> Response {
    app.http.get(app.public(&format!("{}/qr.svg", link.path))).send().await.unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn an_open_link_has_a_picture_that_nobody_keeps_and_that_changes_nothing() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let page = app.http.get(app.public(&link.path)).send().await.unwrap();
    let before = (format!("{:?}", app.request(&link).await), app.log(&link).await);
    let answer = picture(&app, &link).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "content-type"), "image/svg+xml");
    for name in [
        "cache-control",
        "content-security-policy",
        "referrer-policy",
        "x-content-type-options",
        "x-robots-tag",
        "cross-origin-resource-policy",
    ] {
        assert_eq!(header(&answer, name), header(&page, name), "{name}");
    }
    assert_eq!(header(&answer, "cache-control"), "no-store");
    assert!(!answer.headers().contains_key("set-cookie"), "no browser is marked by it");
    let svg = answer.text().await.unwrap();
    assert!(
        svg.starts_with("<svg ") && svg.ends_with("</svg>") && !svg.contains("<script"),
        "{svg}"
    );
    for method in [reqwest::Method::HEAD, reqwest::Method::POST, reqwest::Method::DELETE] {
        let asked = app.http.request(method.clone(), app.public(&format!("{}/qr.svg", link.path)));
        let status = asked.send().await.unwrap().status();
        assert_eq!(status, if method == reqwest::Method::HEAD { 200 } else { 405 }, "{method}");
    }
    assert_eq!((format!("{:?}", app.request(&link).await), app.log(&link).await), before);
}

#[tokio::test]
async fn a_link_that_is_dead_used_or_guarded_has_none() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let nobody = app
        .http
        .get(app.public(&format!("/d/{}/qr.svg", "0".repeat(32))))
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), 404);
    let revoked = app.link().await;
    issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
    assert_eq!(picture(&app, &revoked).await.status(), 410);
    let used = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&used, &[("front", &png(1, 60_000))]).await.status(), 200);
    assert_eq!(picture(&app, &used).await.status(), 410);
    let mut coded = ask("applicant-2", "passport");
    coded.passcode = true;
    let coded = app.issue(coded).await;
    assert_eq!(picture(&app, &coded).await.status(), 403);
    let entered = app.http.post(app.public(&format!("{}/passcode", coded.path)));
    let entered = entered.header("content-type", "application/x-www-form-urlencoded");
    let entered = entered
        .body(format!("passcode={}", coded.passcode.as_ref().unwrap()))
        .send()
        .await
        .unwrap();
    let cookie = header(&entered, "set-cookie").split(';').next().unwrap().to_owned();
    let asked = app.http.get(app.public(&format!("{}/qr.svg", coded.path))).header("cookie", cookie);
    assert_eq!(asked.send().await.unwrap().status(), 200);
    let expired = app.link().await;
    clock.forward(time::Duration::days(30));
    assert_eq!(picture(&app, &expired).await.status(), 410);
}

#[tokio::test]
async fn pictures_count_as_pages_for_their_address() {
    let app = TestApp::with_options(TestOptions {
        more: "[limits]\npages_per_address = 5\n".into(),
        ..TestOptions::default()
    })
    .await;
    let link = app.link().await;
    for round in 0..7 {
        let answer = picture(&app, &link).await;
        assert_eq!(answer.status(), if round < 5 { 200 } else { 429 });
        assert_eq!(answer.headers().contains_key("retry-after"), round >= 5);
    }
    assert_eq!(app.http.get(app.public(&link.path)).send().await.unwrap().status(), 429);
}
