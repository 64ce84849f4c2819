//! That somebody opened a link: noted when they act on its page or use it, never when it is fetched, once for each link, and not after its end.

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::workflow::issue;
use reqwest::{Method, StatusCode};
use time::{Duration, OffsetDateTime};

use crate::support::{Link, TestApp, TestOptions, client, png};

async fn says_opened(app: &TestApp, link: &Link, from: &str) -> StatusCode {
    let note = app.http.post(app.public(&format!("{}/opened", link.path)));
    note.header("sec-fetch-site", from).send().await.unwrap().status()
}

async fn opened(app: &TestApp, link: &Link) -> Option<OffsetDateTime> {
    app.request(link).await.link.opened_at
}

async fn lines(app: &TestApp, link: &Link) -> usize {
    app.log(link).await.iter().filter(|line| line.contains("link.opened")).count()
}

#[tokio::test]
async fn fetching_a_link_in_whatever_way_notes_nothing() {
    let app = TestApp::new().await;
    let link = app.link().await;
    for path in ["", "/opened", "/qr.svg", "/passcode"] {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            for agent in [
                "WhatsApp/2.24 A",
                "Slackbot-LinkExpanding 1.0",
                "Mozilla/5.0 (Windows NT 10.0) Safelinks",
            ] {
                let ask = app.http.request(method.clone(), app.public(&format!("{}{path}", link.path)));
                ask.header("user-agent", agent).header("accept", "text/html").send().await.unwrap();
            }
        }
    }
    assert_eq!(opened(&app, &link).await, None);
    assert_eq!(lines(&app, &link).await, 0);
    assert_eq!(app.state(&link).await, RequestState::Awaiting);
}

#[tokio::test]
async fn the_first_note_is_kept_once_and_starts_anew_with_a_new_link() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let link = app.link().await;
    let row = app.request(&link).await;
    assert_eq!(says_opened(&app, &link, "same-origin").await, 204);
    let first = opened(&app, &link).await.expect("it is noted");
    clock.forward(Duration::minutes(5));
    assert_eq!(says_opened(&app, &link, "same-origin").await, 204);
    assert_eq!(opened(&app, &link).await, Some(first), "the first time stays");
    assert_eq!(lines(&app, &link).await, 1, "one line in the timeline");
    let mut noted = app.request(&link).await;
    noted.link.opened_at = None;
    assert_eq!(noted, row, "nothing else of the request changed");

    let newer = app.known(
        issue::reissue(&app.portal, link.id, issue::Expiry::Default, None, Actor::Operator, None)
            .await
            .unwrap(),
    );
    assert_eq!(opened(&app, &newer).await, None, "nobody has opened the new link");
    assert_eq!(
        says_opened(&app, &link, "same-origin").await,
        204,
        "a link of before says nothing of its own"
    );
    assert_eq!(opened(&app, &newer).await, None, "nor for the new one");
    assert_eq!(says_opened(&app, &newer, "same-origin").await, 204);
    assert!(opened(&app, &newer).await > Some(first));
    assert_eq!(lines(&app, &link).await, 2);
}

#[tokio::test]
async fn nothing_is_noted_after_the_end_of_a_link() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let revoked = app.link().await;
    issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
    let expired = app.link().await;
    let used = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&used, &[("front", &png(1, 2_000))]).await.status(), 200);
    let since = opened(&app, &used).await;
    clock.forward(app.request(&expired).await.link.expires_at - app.portal.now() + Duration::minutes(1));
    for link in [&revoked, &expired, &used] {
        assert_eq!(says_opened(&app, link, "same-origin").await, 204, "nobody waits for another answer");
        assert_eq!(lines(&app, link).await, 0);
    }
    assert_eq!(opened(&app, &revoked).await, None);
    assert_eq!(opened(&app, &expired).await, None);
    assert_eq!(opened(&app, &used).await, since);
}

#[tokio::test]
async fn another_site_cannot_say_that_a_link_was_opened() {
    let app = TestApp::new().await;
    let link = app.link().await;
    assert_eq!(says_opened(&app, &link, "cross-site").await, 403);
    assert_eq!(says_opened(&app, &link, "same-site").await, 403);
    assert_eq!(opened(&app, &link).await, None);
}

#[tokio::test]
async fn whoever_uses_a_link_without_scripts_has_opened_it() {
    let app = TestApp::new().await;
    let dropped = app.link().await;
    assert_eq!(opened(&app, &dropped).await, None);
    app.drop_files(&dropped, &[("front", &png(1, 2_000)), ("back", &png(2, 2_000))])
        .await;
    assert!(opened(&app, &dropped).await.is_some(), "a drop");
    assert_eq!(lines(&app, &dropped).await, 0, "the line of what arrived says more");
}

/// Notes are counted like pages, and guesses like guesses elsewhere: the address is no oracle.
#[tokio::test]
async fn notes_are_limited_like_pages_and_tell_no_stranger_anything() {
    let app = TestApp::with_options(TestOptions {
        more: "[limits]\npages_per_address = 20\n".into(),
        ..TestOptions::default()
    })
    .await;
    let link = app.link().await;
    let mut answers = Vec::new();
    for _ in 0..12 {
        let guess = app.http.post(app.public("/d/00000000000000000000000000000000/opened"));
        answers.push(guess.send().await.unwrap().status().as_u16());
    }
    assert_eq!(answers[..10], [404; 10]);
    assert_eq!(answers[10..], [429; 2]);
    let elsewhere = client([127, 0, 0, 9].into());
    for round in 0..22 {
        let note = elsewhere.post(app.public(&format!("{}/opened", link.path)));
        assert_eq!(note.send().await.unwrap().status(), if round < 20 { 204 } else { 429 });
    }
    assert_eq!(lines(&app, &link).await, 1);
}

#[tokio::test]
async fn the_console_the_api_and_the_timeline_tell_when_a_link_was_opened() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let shown = async || -> serde_json::Value {
        let ask = app.http.get(app.staff(&format!("/api/v1/requests/{}", link.id)));
        ask.bearer_auth(&app.api_key).send().await.unwrap().json().await.unwrap()
    };
    assert!(shown().await["link"].get("opened_at").is_none());
    says_opened(&app, &link, "same-origin").await;
    let told = shown().await;
    let moment = told["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!(moment["action"], "link.opened");
    assert_eq!(moment["actor"], "applicant");
    assert_eq!(moment["detail"], serde_json::json!({}), "no address and no browser");
    assert_eq!(told["link"]["opened_at"], moment["at"]);
}
