//! Several requests at once, the list as a table for a spreadsheet, and the days of the audit log.

use super::*;
use nightdrop::testing::domain::agent::Team;
use nightdrop::testing::workflow::issue;
use nightdrop::testing::workflow::sign_in::account;

async fn asked(app: &TestApp, applicant: &str, by: Actor) -> Link {
    app.known(issue::issue(&app.portal, ask(applicant, "passport"), by, None).await.unwrap())
}

/// Ticks requests, presses a button, and answers the question; with the pages of both.
async fn all_at_once(browser: &Browser<'_>, act: &str, ids: &[&str], more: &[(&str, &str)]) -> (String, String) {
    let ticked: Vec<_> = ids.iter().map(|id| ("id", *id)).chain([("act", act)]).collect();
    let question = browser.post("/requests/bulk", &ticked).await.text().await.unwrap();
    let form = between(&question, "action=\"/requests/bulk\"", "</form>");
    let hidden = form.split("type=\"hidden\" name=\"").skip(1);
    let mut fields: Vec<_> = hidden
        .map(|rest| (rest.split('"').next().unwrap(), between(rest, "value=\"", "\"")))
        .collect();
    fields.push(("sure", "yes"));
    fields.extend_from_slice(more);
    let result = browser.post("/requests/bulk", &fields).await.text().await.unwrap();
    (question, result)
}

#[tokio::test]
async fn several_requests_are_acted_on_after_a_question_and_each_has_its_result() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let mut links = Vec::new();
    for n in 0..3 {
        links.push(asked(&app, &format!("acct_{n}"), Actor::Operator).await);
    }
    let ids: Vec<_> = links.iter().map(|link| link.id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let list = agent.page("/requests").await;
    assert!(ids.iter().all(|id| list.contains(&format!("name=\"id\" value=\"{id}\""))));
    let old = app.request(&links[0]).await.link.expires_at;

    let (_, result) = all_at_once(&agent, "extend", &ids, &[("expires_in", "7d")]).await;
    assert!(result.contains("3 of 3 done") && result.matches(">Extended<").count() == 3);
    assert!(app.request(&links[0]).await.link.expires_at > old);

    let before = audited(&app).await;
    let ticked = [("id", ids[0]), ("act", "withdraw")];
    let question = agent.post("/requests/bulk", &ticked).await.text().await.unwrap();
    assert!(question.contains("Withdraw these links?") && question.contains("acct_0") && !question.contains("acct_1"));
    assert_eq!(audited(&app).await, before, "a question does nothing");
    all_at_once(&agent, "withdraw", &ids[..1], &[]).await;
    assert_eq!(app.state(&links[0]).await, RequestState::Revoked);
    assert_eq!(app.state(&links[1]).await, RequestState::Awaiting);

    // What is not possible for one is said before, and left out.
    let (question, result) = all_at_once(&agent, "extend", &ids, &[("expires_in", "14d")]).await;
    assert!(question.contains("its link was withdrawn"));
    assert!(result.contains("2 of 2 done"), "{result}");
    let (_, result) = all_at_once(&agent, "extend", &ids[1..], &[("expires_in", "1h")]).await;
    assert!(
        result.contains("0 of 2 done") && result.contains("Not done"),
        "a refusal has its reason"
    );

    let (_, result) = all_at_once(&agent, "ask-again", &ids, &[]).await;
    assert_eq!(result.matches("id=\"url-").count(), 3);
    let url = between(&result, "id=\"url-0\" readonly value=\"", "\"");
    let token = url.rsplit('/').next().unwrap();
    assert_eq!(app.http.get(app.public(&format!("/d/{token}"))).send().await.unwrap().status(), 200);
    assert_eq!(
        agent.post("/requests/bulk", &[("act", "withdraw")]).await.status(),
        422,
        "nothing was ticked"
    );
    assert_eq!(agent.post("/requests/bulk", &[("id", ids[0])]).await.status(), 400, "no act");
}

#[tokio::test]
async fn nobody_acts_on_or_exports_another_teams_requests() {
    let app = TestApp::new().await;
    let ada = agent(&app, "ada@example.com", Role::Agent).await;
    account::change_agent(&app.portal, &ada, Role::Agent, vec![Team::parse("cards").unwrap()], Actor::Operator)
        .await
        .unwrap();
    let theirs = asked(&app, "acct_theirs", Actor::Agent(ada.id)).await;
    let ours = asked(&app, "acct_ours", Actor::Operator).await;
    let bob = Browser::signed_in(&app, Role::Agent).await;
    let (theirs_id, ours_id) = (theirs.id.to_string(), ours.id.to_string());
    let (question, result) = all_at_once(&bob, "withdraw", &[&theirs_id, &ours_id], &[]).await;
    for page in [question, result] {
        assert!(page.contains("acct_ours") && !page.contains("acct_theirs") && !page.contains(&theirs_id));
    }
    assert_eq!(app.state(&theirs).await, RequestState::Awaiting);
    let csv = bob.post("/requests/export", &[]).await.text().await.unwrap();
    assert!(csv.contains("acct_ours") && !csv.contains("acct_theirs"));
}

#[tokio::test]
async fn a_list_is_exported_as_it_is_filtered_and_holds_no_formula() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    for n in 0..230 {
        asked(&app, &format!("acct_{n}"), Actor::Operator).await;
    }
    let gone = asked(&app, "=1+1", Actor::Operator).await;
    agent.post(&format!("/requests/{}/revoke", gone.id), &[]).await;
    let before = audited(&app).await;
    let answer = agent.post("/requests/export", &[]).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
    assert!(answer.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    let text = answer.text().await.unwrap();
    assert_eq!(text.lines().count(), 1 + 231);
    assert!(text.starts_with("number,document,provider,applicant,ticket,state,"));
    assert!(text.contains("\"'=1+1\"") && !text.contains("\"=1+1\""));
    let of = async |form: &[(&str, &str)]| agent.post("/requests/export", form).await.text().await.unwrap();
    assert_eq!(of(&[("state", "revoked")]).await.lines().count(), 2);
    assert_eq!(of(&[("applicant", "acct_7")]).await.lines().count(), 2);
    assert_eq!(of(&[("find", "acct_22")]).await.lines().count(), 1 + 11);
    assert_eq!(agent.post("/requests/export", &[("state", "lost")]).await.status(), 422);
    assert_eq!(audited(&app).await, before + 4, "who takes a list away is written down");
}

#[tokio::test]
async fn the_audit_log_is_cut_down_to_days() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let mut days = Vec::new();
    for n in 0..4 {
        days.push(app.portal.now().date());
        asked(&app, &format!("acct_{n}"), Actor::Operator).await;
        clock.forward(time::Duration::hours(24));
    }
    let auditor = Browser::signed_in(&app, Role::Auditor).await;
    let issued = async |query: &str| {
        auditor
            .page(&format!("/audit?action=link.issued&{query}"))
            .await
            .matches("<tr>")
            .count()
            - 1
    };
    assert_eq!(issued("from=&to=").await, 4);
    assert_eq!(issued(&format!("from={}", days[1])).await, 3);
    assert_eq!(issued(&format!("from={}&to={}", days[1], days[2])).await, 2);
    assert_eq!(
        auditor
            .page(&format!("/audit?from={0}&to={0}", days[2]))
            .await
            .matches("<tr>")
            .count(),
        2
    );
    assert!(auditor.page("/audit?to=2001-01-01").await.contains("No entry fits."));
    let page = auditor.page(&format!("/audit?from={}", days[3])).await;
    assert!(page.contains(&format!("value=\"{}\"", days[3])) && !page.contains("Older entries"));
    assert_eq!(auditor.get("/audit?from=yesterday").await.status(), 422);
}
