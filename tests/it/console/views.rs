//! Lists that an agent gave a name, and the order of the list.

use super::*;

async fn sent(browser: &Browser<'_>, path: &str, form: &[(&str, &str)]) -> (u16, String) {
    let answer = browser.post(path, form).await;
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_list_gets_a_name_and_is_found_by_it_until_it_is_deleted() {
    let app = TestApp::new().await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    let filtered = "/requests?state=awaiting&sort=oldest";
    let page = browser.page(filtered).await;
    assert!(page.contains("Save this list as") && !page.contains("Saved views"), "{page}");
    assert!(
        !browser.page("/requests").await.contains("Save this list as"),
        "the whole list needs no name"
    );
    let mut form = vec![("state", "awaiting"), ("sort", "oldest"), ("name", "Mine <first>")];
    let saved = browser.post("/requests/views", &form).await;
    assert_eq!(saved.headers()["location"], filtered);
    let page = browser.page(filtered).await;
    let link = "<a href=\"/requests?state=awaiting&amp;sort=oldest\" aria-current=\"page\">Mine &lt;first&gt;</a>";
    assert!(page.contains(link), "{page}");
    assert!(!page.contains("Save this list as"), "it has a name");
    let other = Browser::signed_in(&app, Role::Admin).await;
    assert!(!other.page("/requests").await.contains("Mine &lt;"), "views are the agent's own");

    form[2].1 = "Second";
    browser.post("/requests/views", &form).await;
    let taken = [("from", "Second"), ("act", "rename"), ("name", "Mine <first>")];
    let (status, page) = sent(&browser, "/requests/views/change", &taken).await;
    assert_eq!(status, 422);
    assert!(page.contains("a view has this name already"), "{page}");
    let renamed = [("from", "Mine <first>"), ("act", "rename"), ("name", "First")];
    assert_eq!(
        browser.post("/requests/views/change", &renamed).await.headers()["location"],
        "/requests/views?done=views"
    );
    let deleted = [("from", "Second"), ("act", "delete"), ("name", "Second")];
    assert_eq!(browser.post("/requests/views/change", &deleted).await.status(), 303);
    let page = browser.page("/requests").await;
    assert!(page.contains(">First</a>") && !page.contains("Second"), "{page}");
}

#[tokio::test]
async fn a_view_never_holds_what_somebody_looked_for_and_there_are_twenty_at_most() {
    let app = TestApp::new().await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    assert!(!browser.page("/requests").await.contains("Save this list as"));
    let searched = [
        ("state", "awaiting"),
        ("find", "acct_secret"),
        ("applicant", "acct_secret"),
        ("name", "One"),
    ];
    let saved = browser.post("/requests/views", &searched).await;
    assert_eq!(saved.headers()["location"], "/requests?state=awaiting");
    assert!(!browser.page("/requests/views").await.contains("acct_secret"));
    for wrong in ["", "two\nlines", &"x".repeat(61)] {
        let (status, _) = sent(&browser, "/requests/views", &[("state", "awaiting"), ("name", wrong)]).await;
        assert_eq!(status, 422, "{wrong:?}");
    }
    assert_eq!(
        browser
            .post("/requests/views", &[("state", "lost"), ("name", "Wrong")])
            .await
            .status(),
        422
    );
    for n in 1..20 {
        let name = format!("View {n}");
        browser.post("/requests/views", &[("state", "awaiting"), ("name", &name)]).await;
    }
    let (status, page) = sent(&browser, "/requests/views", &[("state", "awaiting"), ("name", "Too many")]).await;
    assert_eq!(status, 422);
    assert!(page.contains("delete one first") && page.contains("value=\"Too many\""), "{page}");
}
