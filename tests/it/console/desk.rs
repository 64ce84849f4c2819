//! What colleagues tell one another about a request, and who of them sees to it, by the screens.

use nightdrop::testing::workflow::sign_in::account;

use super::*;

#[tokio::test]
async fn a_note_is_added_once_and_shows_its_author() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let page = format!("/requests/{}", issued(&app).await.id);
    let notes = format!("{page}/notes");
    let first = agent.page(&page).await;
    let once = between(&first, "name=\"once\" value=\"", "\"");
    for payload in PAYLOADS {
        for _ in 0..2 {
            let answer = agent.send_form(&notes, &[("text", payload), ("once", once)]).await;
            assert_eq!(answer.headers()["location"], format!("{page}?done=noted").as_str());
        }
    }
    let shown = agent.page(&format!("{page}?done=noted")).await;
    assert!(shown.contains("The note was added."));
    assert_eq!(shown.matches("<blockquote>").count(), PAYLOADS.len(), "each once");
    assert!(PAYLOADS.iter().all(|p| !p.contains('<') || !shown.contains(p)));
    let list = between(&shown, "<ol class=\"notes\">", "</ol>");
    assert_eq!(list.matches("<strong>agent</strong>").count(), PAYLOADS.len());
    let (status, text) = agent.send(&page, &notes, &[("text", "  ")]).await;
    assert!(status == 422 && text.contains("1 to 1000 characters"), "{status}");
}

#[tokio::test]
async fn the_applicants_page_says_nothing_of_a_note() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let link = issued(&app).await;
    let page = format!("/requests/{}", link.id);
    let (status, _) = agent
        .send(&page, &format!("{page}/notes"), &[("text", "suspicious-customer")])
        .await;
    assert_eq!(status, 303);
    assert!(agent.page(&page).await.contains("suspicious-customer"));
    let theirs = app.http.get(app.public(&link.path)).send().await.unwrap();
    assert_eq!(theirs.status(), 200);
    assert!(!theirs.text().await.unwrap().contains("suspicious-customer"));
}

/// Whom a request's page offers to assign it to.
fn offered(page: &str) -> Vec<&str> {
    let list = between(page, "<select id=\"assigned\"", "</select>");
    list.split("<option value=\"").skip(1).map(|rest| between(rest, ">", "<")).collect()
}

#[tokio::test]
async fn a_request_is_assigned_by_the_list_or_taken() {
    let app = TestApp::new().await;
    let me = Browser::signed_in(&app, Role::Agent).await;
    let ada = sign_in::add_agent(&app.portal, "ada@example.com", "Ada", Role::Agent, PASSWORD, Actor::Operator);
    let ada = ada.await.unwrap();
    agent(&app, "loans@example.com", Role::Agent).await;
    let loans = app.portal.directory.agent_by_email("loans@example.com").await.unwrap().unwrap();
    account::change_agent(
        &app.portal,
        &loans,
        Role::Agent,
        account::parse_teams("loans").unwrap(),
        Actor::Operator,
    )
    .await
    .unwrap();
    Browser::signed_in(&app, Role::Auditor).await;
    let (one, two) = (issued(&app).await.id.to_string(), issued(&app).await.id.to_string());
    let (page, assign) = (format!("/requests/{one}"), format!("/requests/{one}/assign"));
    assert!(
        !me.page("/requests").await.contains("Assigned to</th>"),
        "no column where nobody has anything"
    );
    assert_eq!(
        offered(&me.page(&page).await),
        ["Nobody", "Ada", "Me, agent"],
        "who may see it, and nobody else"
    );

    let before = audited(&app).await;
    for _ in 0..2 {
        let taken = me.send_form(&assign, &[("agent", "none"), ("take", "me")]).await;
        assert_eq!(taken.headers()["location"], format!("{page}?done=assigned").as_str());
        let shown = me.page(&format!("{page}?done=assigned")).await;
        assert!(shown.contains("The request is assigned.") && !shown.contains("Assign to me"));
        assert!(
            shown.contains("Assigned</strong> <span class=\"quiet\">agent · to agent</span>"),
            "{shown}"
        );
    }
    assert_eq!(audited(&app).await, before + 1, "said twice, written once");
    let shows = async |list: &str, wanted: [bool; 2]| {
        let list = me.page(list).await;
        assert_eq!([&one, &two].map(|id| list.contains(&format!("/requests/{id}\""))), wanted);
        list
    };
    let list = shows("/requests", [true, true]).await;
    assert!(list.contains("<td data-label=\"Assigned to\">agent</td>"), "{list}");
    shows("/requests?assigned=me", [true, false]).await;
    shows("/requests?assigned=none&state=awaiting", [false, true]).await;
    let found = me.send_form("/requests", &[("assigned", "me"), ("sort", "oldest")]).await;
    assert_eq!(found.headers()["location"], "/requests?assigned=me&sort=oldest");
    assert_eq!(me.get("/requests?assigned=ada").await.status(), 422);

    let to = ada.id.to_string();
    let given = me.send_form(&assign, &[("agent", &to)]).await;
    assert_eq!(given.headers()["location"], format!("{page}?done=assigned").as_str());
    shows("/requests?assigned=me", [false, false]).await;
    shows(&format!("/requests?assigned={to}"), [true, false]).await;
    account::disable_agent(&app.portal, ada, Actor::Operator).await.unwrap();
    let shown = me.page(&page).await;
    assert!(shown.contains("Nobody <span class=\"quiet\">(formerly Ada)</span>"), "{shown}");
    assert_eq!(offered(&shown), ["Nobody", "Me, agent"]);
    shows("/requests?assigned=none", [true, true]).await;
    let csv = me.post("/requests/export", &[("assigned", "none")]).await.text().await.unwrap();
    assert!(csv.contains(",assigned to,") && csv.contains("\"nobody (formerly Ada)\""), "{csv}");
    let refused = me.post(&assign, &[("agent", &loans.id.to_string())]).await;
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains("may see this request"));
}
