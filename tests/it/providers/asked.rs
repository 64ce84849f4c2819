//! A provider that refuses to say what is missing: the API, the shell and the console tell the connector's own code, for which the page of all providers has advice.

use std::sync::{Arc, Mutex};

use nightdrop::testing::domain::agent::{Actor, Role};
use nightdrop::testing::workflow::sign_in;
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Server, Vendor};
use crate::cli::nightdrop;
use crate::support::{Folder, TestApp, TestOptions, private};

type Headers = Vec<(&'static str, &'static str)>;

/// Answers everything with the same status, headers and error code.
#[derive(Clone, Default)]
struct Wall(Arc<Mutex<(u16, Headers, &'static str)>>);

impl Vendor for Wall {
    fn answer(&mut self, _: &Request, _: &str) -> Result<Reply, String> {
        let wall = self.0.lock().unwrap();
        let reply = Reply::json(
            wall.0,
            json!({"error": {"type": "invalid_request_error", "code": wall.2, "message": "acct_1"}}),
        );
        Ok(wall.1.iter().fold(reply, |reply, (name, value)| reply.with(name, value)))
    }

    fn carries(&self, _: &Request) -> bool {
        false
    }

    fn effects(&self) -> Vec<Effect> {
        Vec::new()
    }

    fn decide(&mut self, _: Review) {}

    fn callback(&self, _: i64) -> (Vec<(String, String)>, Vec<u8>) {
        (Vec::new(), Vec::new())
    }

    fn clear(&mut self) {}

    fn has_keys(&self) -> bool {
        false
    }

    fn hide(&mut self, _: bool) {}
}

#[tokio::test]
async fn a_refusal_keeps_its_code_everywhere() {
    let (wall, secrets) = (Wall::default(), Folder::new());
    let server = Server::start(Box::new(wall.clone())).await;
    private(&secrets.path().join("key"), "sk_test_1");
    let table = format!(
        "[providers.bank]\nkind = \"stripe\"\nbase_url = \"http://{}\"\nallow_insecure = true\nallow_private = true\napi_key_file = \"{}/key\"\n",
        server.address,
        secrets.path().display()
    );
    let app = TestApp::with_options(TestOptions {
        more: table,
        ..TestOptions::default()
    })
    .await;
    let page = include_str!("../../../assets/docs/providers/README.md");
    // The provider's status and headers, whom is asked about, and what is told: status, Retry-After, code.
    type Case = (u16, Headers, &'static str, u16, Option<&'static str>, &'static str);
    let cases: Vec<Case> = vec![
        (200, vec![], "cus_1", 422, None, "provider.applicant_reference"),
        (401, vec![], "acct_1", 502, None, "provider.credentials"),
        (403, vec![], "acct_1", 422, None, "provider.applicant_reference"),
        (404, vec![], "acct_1", 502, None, "provider.refused"),
        (429, vec![("retry-after", "17")], "acct_1", 503, Some("17"), "provider.rate_limited"),
        (429, vec![], "acct_1", 503, None, "provider.rate_limited"),
        (
            503,
            vec![("retry-after", "99999")],
            "acct_1",
            503,
            Some("3600"),
            "provider.unavailable",
        ),
        (500, vec![], "acct_1", 502, None, "provider.failed"),
        (200, vec![], "acct_1", 502, None, "provider.unreadable_answer"),
    ];
    for (answers, headers, applicant, status, after, code) in cases {
        // The code of an error that is about one account.
        let error = if answers == 403 { "account_invalid" } else { "" };
        *wall.0.lock().unwrap() = (answers, headers, error);
        let asked = app
            .http
            .post(app.staff("/api/v1/providers/bank/missing"))
            .bearer_auth(&app.api_key)
            .header("content-type", "application/json")
            .body(json!({"applicant": applicant}).to_string());
        let answer = asked.send().await.unwrap();
        let told = answer.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
        assert_eq!((answer.status().as_u16(), told.as_deref()), (status, after), "{code}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["code"], code, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(page.contains(&format!("`{code}`")), "{code} has advice");
        assert!(
            !detail.contains("by itself") && !detail.contains("Purge"),
            "nothing stands behind a question: {detail}"
        );
        let (url, key) = (app.staff(""), app.api_key.clone());
        let run = move || {
            nightdrop(&["missing", "--provider", "bank", "--applicant", applicant])
                .env("NIGHTDROP_URL", url)
                .env("NIGHTDROP_TOKEN", key)
                .output()
                .unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(code) && said.contains(detail), "{said}");
    }
    let (email, password) = ("reader@example.com", "correct horse battery staple");
    sign_in::add_agent(&app.portal, email, "Reader", Role::Agent, password, Actor::Operator)
        .await
        .unwrap();
    let form = async |path: &str, cookie: &str, body: String| {
        let call = app.http.post(app.staff(path)).header("sec-fetch-site", "same-origin");
        let call = call
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", cookie);
        call.body(body).send().await.unwrap()
    };
    let body = format!("email={}&password={}", email.replace('@', "%40"), password.replace(' ', "+"));
    let signed_in = form("/sign-in", "", body).await;
    let cookie = signed_in.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let sent = form("/missing", &cookie, "provider=bank&applicant=cus_1".to_owned()).await;
    assert_eq!(sent.status(), 303);
    let page = app.staff(sent.headers()["location"].to_str().unwrap());
    let shown = app.http.get(page).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(shown.status(), 422);
    let shown = shown.text().await.unwrap();
    assert!(shown.contains("must be a reference of this provider: acct_…"), "{shown}");
}
