//! Teams: what belongs to one is not there for another, on no page and no address, for people and for keys.

use nightdrop::testing::domain::agent::{Scope, Team};
use nightdrop::testing::workflow::issue;
use nightdrop::testing::workflow::sign_in::account;
use serde_json::Value;

use super::*;

async fn member<'a>(app: &'a TestApp, email: &str, role: Role, teams: &str) -> (Agent, Browser<'a>) {
    let agent = agent(app, email, role).await;
    let teams = account::parse_teams(teams).unwrap();
    account::change_agent(&app.portal, &agent, role, teams, Actor::Operator)
        .await
        .unwrap();
    let mut browser = Browser::stranger(app);
    assert_eq!(browser.sign_in(email, PASSWORD).await.status(), 303);
    (agent, browser)
}

#[tokio::test]
async fn an_agent_sees_the_requests_of_own_teams_and_no_others() {
    let app = TestApp::new().await;
    let (ana, ana_page) = member(&app, "ana@example.com", Role::Agent, "cards").await;
    let (ben, ben_page) = member(&app, "ben@example.com", Role::ManualHandler, "loans, cards-eu").await;
    let (_, none_page) = member(&app, "cy@example.com", Role::Agent, "").await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let by = async |actor| {
        let issued = issue::issue(&app.portal, ask("acct_shared", "passport"), actor, None)
            .await
            .unwrap();
        issued.request.id.to_string()
    };
    let cards = by(Actor::Agent(ana.id)).await;
    let loans = by(Actor::Agent(ben.id)).await;
    let nobodys = by(Actor::Operator).await;
    let sees = [
        (&ana_page, [true, false, false]),
        (&ben_page, [false, true, false]),
        (&none_page, [false, false, true]),
        (&admin, [true, true, true]),
    ];
    let before = audited(&app).await;
    for (browser, seen) in sees {
        let found = browser
            .post("/requests", &[("applicant", "acct_shared")])
            .await
            .text()
            .await
            .unwrap();
        let states = browser.page("/requests?state=awaiting").await;
        let list = browser.page("/requests").await;
        for (id, there) in [&cards, &loans, &nobodys].into_iter().zip(seen) {
            for page in [&found, &states, &list] {
                assert_eq!(page.contains(id.as_str()), there, "{id}");
            }
            let answer = browser.get(&format!("/requests/{id}")).await;
            assert_eq!(answer.status() == 200, there);
            if there {
                continue;
            }
            // Not there, in the very words of what never was, whatever is tried.
            let text = without_request_id(&answer.text().await.unwrap());
            let never = browser.get("/requests/req_00000000000000000000000001").await;
            assert_eq!(never.status(), 404);
            assert_eq!(text, without_request_id(&never.text().await.unwrap()));
            for (path, methods) in console::TABLE.iter().filter(|(p, _)| p.starts_with("/requests/{id}")) {
                // Decoded twice, the second one would be the same id.
                let disguised = id.replacen('r', "%%37%32", 1);
                let named = [id.clone(), id.replacen('r', "%72", 1), disguised];
                let tries = named.iter().flat_map(|id| methods.iter().map(move |m| (id, *m)));
                for (id, method) in tries {
                    let real = path.replace("{id}", id).replace("{part}", "front");
                    let mut answer = browser
                        .call(method.parse().unwrap(), &real)
                        .header("sec-fetch-site", "same-origin")
                        .send()
                        .await
                        .unwrap();
                    if let Some(page) = landing(&answer) {
                        answer = browser.get(&page).await;
                    }
                    let status = answer.status();
                    // A role that may not go there at all hears that first.
                    assert!(status == 404 || status == 403, "{method} {real}: {status}");
                }
            }
        }
    }
    assert_eq!(audited(&app).await, before, "nothing happened to anything");
}

#[tokio::test]
async fn a_teams_key_is_held_to_its_team() {
    let app = TestApp::new().await;
    let team = Team::parse("cards");
    let (key, secret) = account::add_team_key(
        &app.portal,
        "cards backend",
        vec![Scope::Requests],
        None,
        team.clone(),
        Actor::Operator,
    )
    .await
    .unwrap();
    for scope in [Scope::Admin, Scope::Audit] {
        assert!(
            account::add_team_key(&app.portal, "x", vec![scope], None, team.clone(), Actor::Operator)
                .await
                .is_err()
        );
    }
    let get = async |secret: &str, path: &str| {
        let answer = app
            .http
            .get(app.staff(&format!("/api/v1{path}")))
            .bearer_auth(secret)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), without_request_id(&answer.text().await.unwrap()))
    };
    let other = issued(&app).await.id.to_string();
    let own = issue::issue(&app.portal, ask("acct_2", "passport"), Actor::ApiKey(key.id), None)
        .await
        .unwrap()
        .request
        .id
        .to_string();
    assert_eq!(get(&secret, &format!("/requests/{own}")).await.0, 200);
    let (status, text) = get(&secret, &format!("/requests/{other}")).await;
    assert_eq!(status, 404);
    assert_eq!(text, get(&secret, "/requests/req_00000000000000000000000001").await.1);
    for action in ["extend", "reissue", "revoke", "retry", "purge", "mark-uploaded", "passcode"] {
        let answer = app
            .http
            .post(app.staff(&format!("/api/v1/requests/{other}/{action}")))
            .bearer_auth(&*secret)
            .header("content-type", "application/json")
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404, "{action}");
    }
    let (_, list) = get(&secret, "/requests").await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let ids: Vec<_> = list["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [own.as_str()]);
    let used = app.portal.directory.api_key_by_id(key.id).await.unwrap().unwrap();
    assert!(used.used_at.is_some(), "its use is noted");
}

#[tokio::test]
async fn a_key_that_asks_too_often_waits() {
    let app = TestApp::with_options(TestOptions {
        more: "[limits]\napi_per_minute = 5\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let ask = async |secret: &str| {
        app.http
            .get(app.staff("/api/v1/requests"))
            .bearer_auth(secret)
            .send()
            .await
            .unwrap()
    };
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(ask(&app.api_key).await.status().as_u16());
    }
    assert_eq!(statuses[..5], [200; 5]);
    assert_eq!(statuses[5..], [429; 2]);
    let answer = ask(&app.api_key).await;
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=13).contains(&wait));
    let (_, other) = sign_in::add_api_key(&app.portal, "other", vec![Scope::Read], None, Actor::Operator)
        .await
        .unwrap();
    assert_eq!(ask(&other).await.status(), 200, "each key for itself");
}
