//! Pages that look by themselves whether something has changed: without the content where nothing has, and without keeping a session awake. And what waits for
//! somebody's hand stands among the work, and is no failure.

use super::*;
use nightdrop::testing::domain::document::ProviderName;

async fn looked(browser: &Browser<'_>, path: &str, tag: &str) -> Response {
    let call = browser.call(Method::GET, path).header("nightdrop-look", "1");
    call.header("if-none-match", tag).send().await.unwrap()
}

fn tag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_page_is_sent_again_only_when_something_has_changed() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let link = issued(&app).await;
    let paths = ["/".to_owned(), "/requests".to_owned(), format!("/requests/{}", link.id)];
    let mut tags = Vec::new();
    for path in &paths {
        let page = agent.get(path).await;
        assert_eq!(page.status(), 200);
        tags.push(tag(&page));
        assert!(page.text().await.unwrap().contains("<main id=\"main\" data-live>"), "{path}");
        let same = looked(&agent, path, &tags[tags.len() - 1]).await;
        assert_eq!(same.status(), 304, "{path}");
        assert_eq!(same.text().await.unwrap(), "");
        assert_eq!(looked(&agent, path, "\"other\"").await.status(), 200);
    }
    agent.post(&format!("/requests/{}/revoke", link.id), &[]).await;
    for (path, old) in paths.iter().zip(&tags) {
        let news = looked(&agent, path, old).await;
        assert_eq!(news.status(), 200, "{path}");
        assert_ne!(tag(&news), *old);
    }
    let stranger = Browser::stranger(&app);
    assert_eq!(looked(&stranger, &paths[2], &tags[2]).await.status(), 303, "a tag opens nothing");

    // An open tab is nobody who works: the session ends in time, however often the page looks.
    for _ in 0..20 {
        clock.forward(time::Duration::minutes(10));
        let _ = looked(&agent, "/requests", "").await;
    }
    let after = agent.get("/requests").await;
    assert_eq!(after.status(), 303);
    assert_eq!(after.headers()["location"], "/sign-in?next=/requests");
}

#[tokio::test]
async fn what_waits_for_a_hand_is_a_list_of_its_own_and_no_failure() {
    let app = TestApp::with_options(TestOptions {
        provider: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let held = async |provider: &str, who: &str| {
        let mut wanted = ask(who, "passport");
        wanted.provider = ProviderName::parse(provider).unwrap();
        let link = app.issue(wanted).await;
        assert_eq!(app.drop_files(&link, &[("front", &png(1, 9_000))]).await.status(), 200);
        link
    };
    let link = held("desk", "acct_hand").await;
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::NeedsAttention, "as the API says it");
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let overview = agent.page("/").await;
    assert!(overview.contains("To be handed over by hand") && !overview.contains("Could not be delivered"));
    let path = format!("/requests/{}", link.id);
    let page = agent.page(&path).await;
    assert!(page.contains("To be handed over by hand") && page.contains("manual-handler"));
    for wrong in ["chip bad", "notice bad", "Could not be delivered", "Send again"] {
        assert!(!page.contains(wrong), "{wrong}");
    }
    assert!(
        agent
            .page("/requests")
            .await
            .contains("<span class=\"chip calm\">To be handed over by hand</span>")
    );
    let handler = Browser::signed_in(&app, Role::ManualHandler).await;
    assert!(handler.page(&path).await.contains(&format!("href=\"{path}/hand-over\"")));

    // A failure stands beside it, and neither hides the other.
    app.misbehave(&["400"]).await;
    held("sandbox", "acct_failed").await;
    app.work().await;
    for n in 0..9 {
        held("desk", &format!("acct_more{n}")).await;
    }
    app.work().await;
    let overview = agent.page("/").await;
    for shown in ["To be handed over by hand", "Could not be delivered", "acct_failed", "acct_more8"] {
        assert!(overview.contains(shown), "{shown}");
    }
    assert!(
        overview.contains("/requests?outcome=needs_attention\"><span class=\"number\">1<"),
        "{overview}"
    );
    assert!(
        overview.contains("/requests?outcome=by_hand\"><span class=\"number\">10<"),
        "{overview}"
    );
    let (failed, waiting) = (
        agent.page("/requests?outcome=needs_attention").await,
        agent.page("/requests?outcome=by_hand").await,
    );
    assert!(failed.contains("acct_failed") && !failed.contains("acct_hand"));
    assert!(waiting.contains("acct_hand") && !waiting.contains("acct_failed"));
}
