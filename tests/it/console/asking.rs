//! The form of a new request: what is chosen before anybody chooses, a word about what is open already, and the list of what is missing.

use super::*;
use nightdrop::testing::storage::Filter;

async fn count(app: &TestApp) -> usize {
    app.portal.requests.list(&Filter::default(), None, 50).await.unwrap().requests.len()
}

fn with_desk() -> TestOptions {
    TestOptions {
        more: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    }
}

/// The option that a browser would send.
fn chosen<'p>(page: &'p str, list: &str) -> &'p str {
    let list = between(page, &format!("<select id=\"{list}\""), "</select>");
    let option = list.split("<option").find(|option| option.contains(" selected")).unwrap_or(list);
    between(option, "value=\"", "\"")
}

#[tokio::test]
async fn nothing_is_chosen_by_the_alphabet_but_what_this_agent_chose_last() {
    let app = TestApp::with_options(with_desk()).await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    for path in ["/requests/new", "/missing"] {
        let page = agent.page(path).await;
        assert_eq!(chosen(&page, "provider"), "", "{path}");
        assert!(page.contains("Choose…"), "{path}");
    }
    assert_eq!(chosen(&agent.page("/requests/new").await, "document"), "");
    let (status, _) = agent
        .send("/requests/new", "/requests/new", &request_form("acct_1", "government-id:back"))
        .await;
    assert_eq!(status, 200);
    let page = agent.page("/requests/new").await;
    assert_eq!(
        (chosen(&page, "provider"), chosen(&page, "document")),
        ("sandbox", "government-id:back")
    );
    assert_eq!(chosen(&agent.page("/missing").await, "provider"), "sandbox");
    let other = Browser::signed_in(&app, Role::Admin).await;
    assert_eq!(chosen(&other.page("/requests/new").await, "provider"), "", "somebody else's choice");
    // What was left open is refused by its name.
    let (status, page) = other
        .send(
            "/requests/new",
            "/requests/new",
            &[("provider", ""), ("applicant", "acct_1"), ("document", "")],
        )
        .await;
    assert_eq!(status, 422);
    assert!(page.contains("id=\"provider-fault\"") && page.contains("id=\"document-fault\""));
}

#[tokio::test]
async fn a_second_link_for_the_same_document_is_issued_after_a_word_about_the_first() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let form = request_form("acct_1", "passport");
    let (_, first) = agent.send("/requests/new", "/requests/new", &form).await;
    assert!(first.contains("acct_1"), "the applicant is named beside the link");
    let id = between(&first, "href=\"/requests/req_", "\"").to_owned();
    let (status, told) = agent.send("/requests/new", "/requests/new", &form).await;
    assert_eq!((status, count(&app).await), (200, 1));
    assert!(told.contains("asked for already") && told.contains(&format!("href=\"/requests/req_{id}\"")));
    assert!(told.contains("value=\"acct_1\""), "what was typed stands there");
    // For somebody else, for another document, or after a word about it, nothing stands in the way.
    for (other, n) in [(request_form("acct_2", "passport"), 2), (request_form("acct_1", "selfie"), 3)] {
        let (_, page) = agent.send("/requests/new", "/requests/new", &other).await;
        assert!(page.contains("The link is ready"), "{other:?}");
        assert_eq!(count(&app).await, n);
    }
    let mut again = form.clone();
    again.push(("anyway", "yes"));
    let (_, page) = agent.send("/requests/new", "/requests/new", &again).await;
    assert!(page.contains("The link is ready"));
    assert_eq!(count(&app).await, 4);
    // A request that has ended is no reason to ask.
    for open in app.portal.requests.list(&Filter::default(), None, 50).await.unwrap().requests {
        agent.post(&format!("/requests/{}/revoke", open.id), &[]).await;
    }
    let (_, page) = agent.send("/requests/new", "/requests/new", &form).await;
    assert!(page.contains("The link is ready"));
}

#[tokio::test]
async fn a_ticket_is_typed_into_the_form_and_found_by() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let mut form = request_form("acct_1", "passport");
    form.push(("ticket", "ZD-4711"));
    let (_, page) = agent.send("/requests/new", "/requests/new", &form).await;
    assert!(page.contains("ZD-4711"));
    let found = agent.post("/requests", &[("find", "zd-4711")]).await.text().await.unwrap();
    assert!(found.contains("acct_1"));
    form[3].1 = "not a ticket";
    let (status, page) = agent.send("/requests/new", "/requests/new", &form).await;
    assert_eq!(status, 422);
    assert!(page.contains("id=\"ticket-fault\""));
}

#[tokio::test]
async fn the_list_of_what_is_missing_says_what_was_issued_already() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let asked = [("provider", "sandbox"), ("applicant", "acct_1")];
    let list = agent.post("/missing", &asked).await.text().await.unwrap();
    assert!(!list.contains("Link issued"));
    let row = between(&list, "action=\"/requests/new\"", "</form>").to_owned();
    let hidden: Vec<_> = row
        .split("type=\"hidden\" name=\"")
        .skip(1)
        .map(|rest| (rest.split('"').next().unwrap(), between(rest, "value=\"", "\"")))
        .collect();
    let issued = agent.post("/requests/new", &hidden).await.text().await.unwrap();
    let back = between(&issued, "action=\"/missing\"", "</form>");
    assert!(back.contains("value=\"acct_1\"") && back.contains("value=\"sandbox\""), "{back}");
    let list = agent.post("/missing", &asked).await.text().await.unwrap();
    assert_eq!(list.matches("Link issued").count(), 1);
    let other = agent
        .post("/missing", &[("provider", "sandbox"), ("applicant", "acct_2")])
        .await
        .text()
        .await
        .unwrap();
    assert!(!other.contains("Link issued"));
}
