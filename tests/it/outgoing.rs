//! What leaves the portal: webhooks, mail, the hosted flow and checkpoints, as receivers see them.

mod mail;

use std::sync::{Arc, Mutex};

use nightdrop::testing::connectors::Callback;
use nightdrop::testing::connectors::sign::{standard_key, verify_standard};
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::audit::{AuditAction, AuditEvent};
use nightdrop::testing::domain::dispatch::{Dispatch, Progress};
use nightdrop::testing::workflow::outgoing;
use nightdrop::testing::workflow::terms;
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Link, TestApp, TestOptions, ask, png};

/// What the app's secret file `webhook` holds.
const SECRET: &str = "whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0";

/// One call of a receiver.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        &self
            .headers
            .iter()
            .find(|(n, _)| n == name)
            .unwrap_or_else(|| panic!("no {name}"))
            .1
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        crate::api::described::check_event(&self.json());
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

/// The company's system: notes every call, and answers with the next planned status, 204 when none is left.
#[derive(Clone)]
struct Receiver {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    plan: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    async fn new(plan: &[u16]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            port: listener.local_addr().unwrap().port(),
            calls: Arc::default(),
            plan: Arc::new(Mutex::new(plan.iter().rev().copied().collect())),
        };
        let (calls, plan) = (this.calls.clone(), this.plan.clone());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let call = loop {
                    let mut piece = [0; 4096];
                    let n = socket.read(&mut piece).await.unwrap();
                    bytes.extend_from_slice(&piece[..n]);
                    if let Some(call) = whole(&bytes) {
                        break call;
                    }
                    assert!(n > 0, "cut off");
                };
                calls.lock().unwrap().push(call);
                let status = plan.lock().unwrap().pop().unwrap_or(204);
                let more = if status == 503 { "Retry-After: 3000\r\n" } else { "" };
                let answer =
                    format!("HTTP/1.1 {status} x\r\n{more}Location: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        this
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.calls().iter().map(Call::kind).collect()
    }

    /// A table of a hook that leads here.
    fn table(&self, more: &str) -> String {
        format!(
            "[webhooks.app]\nurl = \"http://127.0.0.1:{}/events\"\nallow_insecure = true\nallow_private = true\nsecret_file = \"webhook\"\n{more}\n",
            self.port
        )
    }
}

fn whole(bytes: &[u8]) -> Option<Call> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<_> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
        .collect();
    let length: usize = headers.iter().find(|(n, _)| n == "content-length")?.1.parse().unwrap();
    let body = bytes[end + 4..].to_vec();
    (body.len() >= length).then_some(Call { path, headers, body })
}

/// Tells until nothing is due.
async fn tell(app: &TestApp) {
    while outgoing::step(&app.portal).await.unwrap() {}
}

async fn dispatches(app: &TestApp) -> Vec<Dispatch> {
    app.portal.outbox.dispatches(None, None, 1000).await.unwrap().dispatches
}

async fn dropped(app: &TestApp, link: &Link) {
    assert_eq!(app.drop_files(link, &[("front", &png(1, 20_000))]).await.status(), 200);
}

async fn passport(app: &TestApp) -> Link {
    app.link_for("passport", None).await
}

#[tokio::test]
async fn a_receiver_is_told_in_order_signed_and_without_anything_personal() {
    let receiver = Receiver::new(&[]).await;
    let app = TestApp::with_options(TestOptions {
        more: receiver.table(""),
        ..TestOptions::default()
    })
    .await;
    let mut asked = ask("person-4711", "passport");
    asked.message = Some("a personal note".to_owned());
    asked.metadata = Some("{\"ticket\":\"secret-ticket\"}".to_owned());
    let link = app.issue(asked).await;
    dropped(&app, &link).await;
    app.work().await;
    tell(&app).await;
    let kinds = receiver.kinds();
    let at = |kind: &str| {
        kinds
            .iter()
            .position(|k| k == kind)
            .unwrap_or_else(|| panic!("no {kind} in {kinds:?}"))
    };
    assert_eq!((at("request.created"), at("document.received")), (0, 1));
    assert!(at("document.delivered") < at("document.confirmed") && at("document.confirmed") < at("document.purged"));
    let keys = standard_key(SECRET).unwrap();
    let mut sequences = Vec::new();
    for call in receiver.calls() {
        assert_eq!((call.path.as_str(), call.header("content-type")), ("/events", "application/json"));
        let callback = Callback {
            headers: &call.headers,
            query: "",
            body: &call.body,
            now: app.portal.now().unix_timestamp(),
        };
        assert!(verify_standard(&[&keys], &callback).unwrap().starts_with("msg_"));
        let event = call.json();
        assert_eq!(event["data"]["request"], link.id.to_string());
        assert_eq!(
            (event["data"]["provider"].as_str(), event["data"]["document"].as_str()),
            (Some("sandbox"), Some("passport"))
        );
        sequences.push(event["data"]["sequence"].as_u64().unwrap());
        let text = String::from_utf8(call.body).unwrap();
        for never in ["person-4711", "personal note", "secret-ticket", &link.token, "IMG 0001"] {
            assert!(!text.contains(never), "{never} in {text}");
        }
    }
    assert!(sequences.is_sorted(), "{sequences:?}");
    let waiting = dispatches(&app).await.iter().filter(|d| d.progress.ended_at().is_none()).count();
    assert_eq!(waiting, 0);
}

#[tokio::test]
async fn one_that_fails_holds_up_its_own_request_only_and_is_repeated_with_its_id() {
    let receiver = Receiver::new(&[500]).await;
    let (options, clock) = TestOptions {
        more: receiver.table("events = [\"request.created\", \"document.received\"]"),
        ..TestOptions::default()
    }
    .with_clock();
    let mut app = TestApp::with_options(options).await;
    let first = passport(&app).await;
    tell(&app).await;
    dropped(&app, &first).await;
    let other = passport(&app).await;
    tell(&app).await;
    let calls = receiver.calls();
    assert_eq!(calls.len(), 2, "{:?}", receiver.kinds());
    assert_eq!(
        calls[1].json()["data"]["request"],
        other.id.to_string(),
        "another request overtakes"
    );
    // The pause survives a restart, and so does the order.
    app.restart().await;
    tell(&app).await;
    assert_eq!(receiver.calls().len(), 2, "its pause is not over");
    clock.forward(Duration::seconds(6));
    tell(&app).await;
    let calls = receiver.calls();
    assert_eq!(calls.len(), 4, "{:?}", receiver.kinds());
    assert_eq!(calls[2].header("webhook-id"), calls[0].header("webhook-id"));
    assert_eq!(calls[2].body, calls[0].body);
    assert_ne!(
        calls[2].header("webhook-timestamp"),
        calls[0].header("webhook-timestamp"),
        "signed anew"
    );
    assert_eq!(calls[3].kind(), "document.received");
    assert_ne!(calls[3].header("webhook-id"), calls[0].header("webhook-id"));
}

#[tokio::test]
async fn what_is_not_wanted_ends_and_what_is_asked_to_wait_waits() {
    let receiver = Receiver::new(&[410, 503]).await;
    let (options, clock) = TestOptions {
        more: receiver.table("events = [\"request.created\"]"),
        ..TestOptions::default()
    }
    .with_clock();
    let app = TestApp::with_options(options).await;
    passport(&app).await;
    tell(&app).await;
    assert!(matches!(dispatches(&app).await[0].progress, Progress::Failed(_)), "410 ends it");
    passport(&app).await;
    tell(&app).await;
    clock.forward(Duration::minutes(40));
    tell(&app).await;
    assert_eq!(receiver.calls().len(), 2, "Retry-After says fifty minutes");
    clock.forward(Duration::minutes(20));
    tell(&app).await;
    assert_eq!(receiver.calls().len(), 3);
    // Out of tries in the end, and sent again by hand.
    receiver.plan.lock().unwrap().extend([500; 20]);
    passport(&app).await;
    for _ in 0..40 {
        tell(&app).await;
        clock.forward(Duration::hours(12));
    }
    let failed = dispatches(&app)
        .await
        .into_iter()
        .find(|d| matches!(d.progress, Progress::Failed(_)) && d.attempts > 0)
        .unwrap();
    assert_eq!(
        (failed.attempts, failed.last.as_deref()),
        (9, Some("The receiver answered with status 500."))
    );
    receiver.plan.lock().unwrap().clear();
    let before = receiver.calls().len();
    let api = |method, path: String| {
        let call = app
            .http
            .request(method, app.staff(&format!("/api/v1{path}")))
            .bearer_auth(&app.api_key);
        call.header("content-type", "application/json").body("{}")
    };
    let again = api(Method::POST, format!("/dispatches/{}/resend", failed.id)).send().await.unwrap();
    assert_eq!(again.status(), 200);
    tell(&app).await;
    let calls = receiver.calls();
    assert_eq!(
        (calls.len(), calls[before].header("webhook-id")),
        (before + 1, failed.id.to_string().as_str())
    );
    let log: Value = serde_json::from_str(
        &api(Method::GET, format!("/dispatches?limit=200&request={}", failed.request.unwrap()))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
    )
    .unwrap();
    assert_eq!(log["dispatches"][0]["state"], "sent", "{log}");
    assert_eq!(
        api(Method::POST, "/dispatches/msg_00000000000000000000000000/resend".into())
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    // The log forgets.
    clock.forward(Duration::days(40));
    passport(&app).await;
    tell(&app).await;
    passport(&app).await;
    tell(&app).await;
    assert_eq!(dispatches(&app).await.len(), 2);
}

#[tokio::test]
async fn no_event_leads_into_the_own_network_or_after_a_redirect() {
    let receiver = Receiver::new(&[302]).await;
    let app = TestApp::with_options(TestOptions {
        more: format!(
            "{}[webhooks.inner]\nurl = \"https://localhost:{}/x\"\nsecret_file = \"webhook\"\n",
            receiver.table("events = [\"request.created\"]"),
            receiver.port
        ),
        ..TestOptions::default()
    })
    .await;
    passport(&app).await;
    tell(&app).await;
    assert_eq!(
        receiver.calls().len(),
        1,
        "the redirect was not followed, and the guarded name not connected to"
    );
    let all = dispatches(&app).await;
    let of = |name: &str| all.iter().find(|d| d.channel.to_string() == name).unwrap().last.clone().unwrap();
    assert_eq!(of("hook:app"), "The receiver answered with status 302.");
    assert!(of("hook:inner").contains("not allowed"), "{}", of("hook:inner"));
}

#[tokio::test]
async fn a_chat_gets_sentences_and_only_what_happens_from_now_on() {
    let receiver = Receiver::new(&[]).await;
    let mut app = TestApp::new().await;
    passport(&app).await;
    let slack = format!(
        "staff_url = \"https://console.example.com\"\n[webhooks.chat]\nkind = \"slack\"\nurl = \"http://127.0.0.1:{}/T/B/x\"\nallow_insecure = true\nallow_private = true\n",
        receiver.port
    );
    let parsed = nightdrop::testing::config::Config::parse(
        &format!("public_url = \"http://127.0.0.1\"\n{slack}"),
        app.folder.path(),
        std::iter::empty(),
    )
    .unwrap();
    app.restart_as(|config| {
        config.outgoing = parsed.outgoing.clone();
        config.staff_url = parsed.staff_url.clone();
    })
    .await;
    tell(&app).await;
    assert_eq!(receiver.calls().len(), 0, "what happened before anybody listened is not told");
    let link = passport(&app).await;
    tell(&app).await;
    let calls = receiver.calls();
    assert_eq!(calls.len(), 1);
    let expected = format!(
        "Link issued: Passport, photo page · sandbox · <https://console.example.com/requests/{0}|{0}>",
        link.id
    );
    assert_eq!(calls[0].json(), json!({ "text": expected }));
    assert!(calls[0].headers.iter().all(|(n, _)| !n.starts_with("webhook-")));
}

#[tokio::test]
async fn the_way_back_is_signed_and_leads_to_named_hosts_only() {
    let app = TestApp::with_options(TestOptions {
        more: "hosted = { return_hosts = [\"app.example.com\"] }".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let api = |method, path: &str, body: Value| {
        let call = app
            .http
            .request(method, app.staff(&format!("/api/v1{path}")))
            .bearer_auth(&app.api_key);
        call.header("content-type", "application/json").body(body.to_string())
    };
    let body = |back: &str| json!({"provider": "sandbox", "applicant": "j", "document": "passport", "return_url": back});
    let refused = api(Method::POST, "/requests", body("https://evil.example/back"))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 422);
    let text = api(Method::POST, "/requests", body("https://app.example.com/back?step=2"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let issued: Value = serde_json::from_str(&text).unwrap();
    let path = issued["url"].as_str().unwrap().split_once("127.0.0.1").unwrap().1.to_owned();
    let (form, kind) = crate::support::form(&[("front", &png(2, 20_000))]);
    let answer = app
        .http
        .post(app.public(&path))
        .header("content-type", kind)
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let page = app.http.get(app.public(&path)).send().await.unwrap().text().await.unwrap();
    let start = page.find("href=\"https://app.example.com/back").unwrap() + 6;
    let url = page[start..].split('"').next().unwrap().replace("&amp;", "&");
    let url = reqwest::Url::parse(&url).unwrap();
    let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!((query["step"].as_str(), query["nightdrop_state"].as_str()), ("2", "received"));
    assert_eq!(query["nightdrop_request"], issued["id"].as_str().unwrap());
    let key: Value = serde_json::from_str(
        &api(Method::GET, "/return-key", json!({}))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
    )
    .unwrap();
    let signed = [
        "nightdrop/v1/return",
        &query["nightdrop_request"],
        &query["nightdrop_state"],
        &query["nightdrop_at"],
    ]
    .join("\n");
    use nightdrop::testing::connectors::sign::{Algorithm, Encoding, verify};
    let check = |signed: &str| {
        verify(
            Algorithm::Sha256,
            Encoding::Hex,
            &[key["key"].as_str().unwrap().as_bytes()],
            &[signed.as_bytes()],
            &query["nightdrop_signature"],
        )
    };
    assert!(check(&signed) && !check(&signed.replace("received", "purged")));
}

#[tokio::test]
async fn checkpoints_show_a_log_that_was_written_anew() {
    let receiver = Receiver::new(&[]).await;
    let (options, clock) = TestOptions {
        more: format!(
            "audit = {{ checkpoint_file = \"checkpoints.jsonl\" }}\n{}",
            receiver.table("events = [\"audit.checkpoint\"]")
        ),
        ..TestOptions::default()
    }
    .with_clock();
    let app = TestApp::with_options(options).await;
    let file = app.folder.path().join("checkpoints.jsonl");
    passport(&app).await;
    tell(&app).await;
    tell(&app).await;
    clock.forward(Duration::hours(2));
    tell(&app).await;
    let count = || std::fs::read_to_string(&file).unwrap().lines().count();
    assert_eq!(count(), 1, "a log that stands still gets no second one");
    passport(&app).await;
    tell(&app).await;
    clock.forward(Duration::hours(2));
    tell(&app).await;
    assert_eq!(count(), 2);
    assert_eq!(receiver.kinds(), ["audit.checkpoint", "audit.checkpoint"]);
    let told = app.folder.path().join("told.jsonl");
    std::fs::write(
        &told,
        receiver.calls().iter().map(|c| format!("{}\n", c.json())).collect::<String>(),
    )
    .unwrap();

    let export = |name: &str, entries: &[String]| {
        let path = app.folder.path().join(name);
        std::fs::write(&path, entries.join("\n")).unwrap();
        path
    };
    let page = app
        .http
        .get(app.staff("/api/v1/audit?limit=1000"))
        .bearer_auth(&app.api_key)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let page: Value = serde_json::from_str(&page).unwrap();
    let entries: Vec<String> = page["entries"].as_array().unwrap().iter().map(Value::to_string).collect();
    let key = app
        .http
        .get(app.staff("/api/v1/receipt-key"))
        .bearer_auth(&app.api_key)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let key: Value = serde_json::from_str(&key).unwrap();
    let verify = |log: &std::path::Path, points: &std::path::Path, key: &str| {
        let said = std::process::Command::new(env!("CARGO_BIN_EXE_nightdrop"))
            .args(["audit", "verify"])
            .arg(log)
            .arg("--checkpoint")
            .arg(points)
            .args(["--public-key", key])
            .output()
            .unwrap();
        (
            said.status.success(),
            String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout),
        )
    };
    let key = key["public_key"].as_str().unwrap();
    let whole = export("whole", &entries);
    for points in [&file, &told] {
        let (good, said) = verify(&whole, points, key);
        assert!(good && said.contains("2 checkpoints agree"), "{said}");
    }
    let (good, said) = verify(&whole, &file, &"0".repeat(64));
    assert!(!good && said.contains("another portal"), "{said}");
    // Cut off behind the first checkpoint.
    let (good, said) = verify(&export("cut", &entries[..entries.len() - 3]), &file, key);
    assert!(!good && said.contains("missing"), "{said}");
    // Another log, chained anew from its first entry: sound in itself.
    let other = TestApp::new().await;
    for _ in 0..entries.len() + 2 {
        other
            .portal
            .audit
            .append(AuditEvent::new(other.portal.now(), Actor::Operator, AuditAction::ClockAccepted))
            .await
            .unwrap();
    }
    let forged: Vec<String> = other
        .portal
        .audit
        .entries(0, 1000)
        .await
        .unwrap()
        .iter()
        .map(|e| serde_json::to_string(&nightdrop::testing::http::api::view::entry(e)).unwrap())
        .collect();
    let (good, said) = verify(&export("forged", &forged), &file, key);
    assert!(!good && said.contains("written anew"), "{said}");
    let damaged = app.folder.path().join("damaged");
    std::fs::write(
        &damaged,
        std::fs::read_to_string(&file)
            .unwrap()
            .replacen("\"sequence\":", "\"sequence\":1", 1),
    )
    .unwrap();
    let (good, said) = verify(&whole, &damaged, key);
    assert!(!good && said.contains("changed after it was signed"), "{said}");
}

#[tokio::test]
async fn a_rejection_is_told_in_the_applicants_language_with_the_next_link() {
    let app = TestApp::with_options(TestOptions {
        confirm: "verdict",
        ..TestOptions::default()
    })
    .await;
    app.misbehave(&["reject:unreadable"]).await;
    let mut asked = ask("person-1", "passport");
    asked.locale = Some("de-AT".to_owned());
    let link = app.issue(asked).await;
    dropped(&app, &link).await;
    crate::support::until("it is rejected and purged", async || {
        app.work().await;
        app.state(&link).await == nightdrop::testing::domain::request::RequestState::Purged
    })
    .await;
    let path = format!("/api/v1/requests/{}/reissue", link.id);
    let call = app
        .http
        .post(app.staff(&path))
        .bearer_auth(&app.api_key)
        .header("content-type", "application/json");
    let again: Value = serde_json::from_str(&call.body("{}").send().await.unwrap().text().await.unwrap()).unwrap();
    let body = again["message"]["body"].as_str().unwrap();
    assert!(
        body.contains("Leider konnte es nicht angenommen werden. Es war nicht lesbar."),
        "{body}"
    );
    let path = again["url"].as_str().unwrap().split_once("127.0.0.1").unwrap().1.to_owned();
    let page = app.http.get(app.public(&path)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Es war nicht lesbar."));
    let plain = terms::load(&app.portal, link.id).await.unwrap();
    assert_eq!(plain.rejected_before().unwrap().code, "document.unreadable");
}
