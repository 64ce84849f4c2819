//! The log as an operator reads it: a line for each request, ids that lead from an answer to its lines, warnings, and nothing of applicants in any line.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Made, Serving, done, http, json as parsed};
use crate::support::{Folder, png, until};

const REFERENCE: &str = "acct_erika_mustermann_4711";
const FILE_NAME: &str = "Reisepass Erika Mustermann.png";
const GUESS: &str = "0123456789abcdefghjkmnpqrstvwxyz";
const CLIENT: &str = "203.0.113.77";
const WRONG_PASSWORD: &str = "correct-horse-of-erika";
const WRONG_KEY: &str = "ndk_00000000000000000000000000000000erika";

/// A portal behind a proxy on this machine, and everything that it logs after its first line.
struct Logged {
    made: Made,
    serving: Serving,
}

impl Logged {
    fn with(environment: &[(&str, &str)]) -> Self {
        let made = Made::new(&["--sandbox"]);
        let environment: Vec<(&str, &Path)> = [("NIGHTDROP_TRUSTED_PROXIES", "127.0.0.1")]
            .iter()
            .chain(environment)
            .map(|(name, value)| (*name, Path::new(*value)))
            .collect();
        let serving = made.serve_with(&environment);
        Self { made, serving }
    }

    fn public(&self, path: &str) -> String {
        format!("{}{path}", self.serving.public)
    }

    fn staff(&self, path: &str) -> String {
        format!("{}{path}", self.serving.staff)
    }

    /// The issued request's id, the path of its link, and the passcode.
    fn issue(&self) -> (String, String, String) {
        let ask = [
            "request",
            "new",
            "--provider",
            "sandbox",
            "--applicant",
            REFERENCE,
            "--document",
            "passport",
            "--passcode",
            "--json",
        ];
        let issued = parsed(&done(&mut self.made.asking(&self.serving, &ask)));
        let url = issued["url"].as_str().unwrap();
        let text = |field: &str| issued[field].as_str().unwrap().to_owned();
        (text("id"), url[url.find("/d/").unwrap()..].to_owned(), text("passcode"))
    }

    async fn enter(&self, path: &str, code: &str) -> reqwest::Response {
        let post = http().post(self.public(&format!("{path}/passcode")));
        let post = post
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-forwarded-for", CLIENT);
        post.body(format!("passcode={code}")).send().await.unwrap()
    }

    /// Everybody who is refused, once.
    async fn refuse_everybody(&self) {
        let from = |builder: reqwest::RequestBuilder| builder.header("x-forwarded-for", CLIENT);
        let guessed = from(http().get(self.public(&format!("/d/{GUESS}")))).send().await.unwrap();
        assert_eq!(guessed.status(), 404);
        let form = format!("email=erika%40example.com&password={WRONG_PASSWORD}");
        let sign_in = from(http().post(self.staff("/sign-in")))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(form);
        // The page that says so is behind a redirect.
        assert!(sign_in.send().await.unwrap().status().as_u16() < 500);
        let key = from(http().get(self.staff("/api/v1/requests"))).bearer_auth(WRONG_KEY);
        assert_eq!(key.send().await.unwrap().status(), 401);
    }

    /// Stops the portal; every line that it wrote.
    fn lines(self) -> Vec<String> {
        self.serving.process.signal("-TERM");
        let (lines, code) = self.serving.process.end();
        assert_eq!(code, Some(0), "{lines:#?}");
        lines
    }
}

fn events<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == name).collect()
}

fn read(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| parsed(line)).collect()
}

/// The line of the request to this route.
fn request<'a>(lines: &'a [Value], method: &str, route: &str) -> &'a Value {
    let found = events(lines, "request");
    let line = found.iter().find(|line| line["method"] == method && line["route"] == route);
    line.unwrap_or_else(|| panic!("no {method} {route} in {found:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_of_a_document_leaves_nothing_of_the_applicant_in_the_log() {
    let portal = Logged::with(&[("NIGHTDROP_LOG", "trace"), ("NIGHTDROP_LOG_REQUESTS", "all")]);
    let (id, path, passcode) = portal.issue();
    let token = path.strip_prefix("/d/").unwrap();
    let wrong = if passcode == "000000" { "111111" } else { "000000" };
    assert_eq!(portal.enter(&path, wrong).await.status(), 403);
    let entered = portal.enter(&path, &passcode).await;
    let cookie = entered.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let page = http().get(portal.public(&path)).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let head =
        format!("--b\r\nContent-Disposition: form-data; name=\"front\"; filename=\"{FILE_NAME}\"\r\nContent-Type: image/png\r\n\r\n");
    let picture = png(1, 20_000);
    let body = [head.as_bytes(), &picture, b"\r\n--b--\r\n"].concat();
    let dropped = http()
        .post(portal.public(&path))
        .header("cookie", &cookie)
        .header("content-type", "multipart/form-data; boundary=b")
        .header("x-forwarded-for", CLIENT)
        .body(body);
    assert_eq!(dropped.send().await.unwrap().status(), 200);
    portal.refuse_everybody().await;
    // A method and a path that somebody made up.
    let invented = http().request("ERIKA".parse().unwrap(), portal.public(&format!("/{REFERENCE}/{token}")));
    assert!(invented.send().await.unwrap().status().is_client_error());
    until("the document is deleted", async || {
        let shown = done(&mut portal.made.asking(&portal.serving, &["request", "show", &id, "--json"]));
        parsed(&shown)["state"] == "purged"
    })
    .await;
    let api_key = portal.made.api_key.clone();
    let lines = portal.lines();
    for line in &lines {
        for secret in [
            token,
            REFERENCE,
            "mustermann",
            "Reisepass",
            &passcode,
            GUESS,
            CLIENT,
            WRONG_PASSWORD,
            WRONG_KEY,
            &api_key,
            "ERIKA",
            &cookie[2..],
        ] {
            // A code of six digits may be a part of a time.
            let line = if secret == passcode {
                line.split_once("\"level\"").unwrap().1
            } else {
                line
            };
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
    let read = read(&lines);
    let states: Vec<_> = events(&read, "state")
        .iter()
        .map(|line| line["to"].as_str().unwrap().to_owned())
        .collect();
    assert!(states.ends_with(&["purged".to_owned()]), "{states:?}");
    let drop = request(&read, "POST", "/d/{token}");
    assert_eq!(
        (drop["status"].as_u64(), drop["listener"].as_str()),
        (Some(200), Some("public")),
        "{drop}"
    );
    assert!(drop["bytes"].as_u64().unwrap() > 500 && drop["duration_ms"].is_u64(), "{drop}");
    let guess = events(&read, "request")
        .into_iter()
        .find(|line| line["code"] == "link.unknown")
        .unwrap();
    assert_eq!((&guess["route"], &guess["status"]), (&json!("/d/{token}"), &json!(404)), "{guess}");
    request(&read, "other", "none");
    let received = events(&read, "state").into_iter().find(|line| line["to"] == "received").unwrap();
    assert_eq!(
        received["span"]["request_id"], drop["span"]["request_id"],
        "the upload's own line leads to what it changed"
    );
    let refused: Vec<_> = events(&read, "refused")
        .iter()
        .map(|line| line["what"].as_str().unwrap().to_owned())
        .collect();
    for what in ["passcode", "link", "sign_in", "api_key"] {
        assert!(refused.iter().any(|told| told == what), "{what}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_leads_from_an_answer_to_its_lines() {
    let portal = Logged::with(&[]);
    let address = portal.public(&format!("/d/{GUESS}"));
    let of = |answer: &reqwest::Response| answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let page = http().get(&address).header("accept", "text/html").send().await.unwrap();
    let shown = of(&page);
    assert!(
        page.text()
            .await
            .unwrap()
            .contains(&format!("quote this number: <bdi>{shown}</bdi>"))
    );
    let machine = http().get(&address).header("accept", "application/json").send().await.unwrap();
    let told = of(&machine);
    assert_ne!(shown, told);
    let problem: Value = serde_json::from_str(&machine.text().await.unwrap()).unwrap();
    assert_eq!(problem["request_id"], told);
    let console = http()
        .get(portal.staff("/nowhere"))
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    let console_id = of(&console);
    assert!(console.text().await.unwrap().contains(&console_id));

    // A trusted proxy's id is kept, where it has the form of one.
    let proxys = "8f14e45f-ceea-467f-a9e6-1d1b4b4c5f6a";
    let given = async |id: &str| of(&http().get(portal.public("/")).header("x-request-id", id).send().await.unwrap());
    assert_eq!(given(proxys).await, proxys);
    for strange in ["Erika-Mustermann-4711", "x", REFERENCE] {
        assert_ne!(given(strange).await, strange);
    }
    let lines = read(&portal.lines());
    for id in [shown.as_str(), &told, &console_id, proxys] {
        let found = lines.iter().filter(|line| line["span"]["request_id"] == id);
        assert_eq!(found.filter(|line| line["event"] == "request").count(), 1, "{id}");
    }
    let refused = events(&lines, "refused")[0];
    assert_eq!(refused["span"]["request_id"], shown, "warnings have it, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_request_id_is_not_taken() {
    let portal = Logged::with(&[("NIGHTDROP_TRUSTED_PROXIES", "192.0.2.1")]);
    let proxys = "8f14e45f-ceea-467f-a9e6-1d1b4b4c5f6a";
    let answer = http().get(portal.public("/")).header("x-request-id", proxys).send().await.unwrap();
    assert_ne!(answer.headers()["x-request-id"], proxys);
    assert!(!portal.lines().iter().any(|line| line.contains(proxys)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_warning_is_not_repeated_and_machines_questions_are_not_logged() {
    let portal = Logged::with(&[]);
    for n in 0..15 {
        let address = portal.public(&format!("/d/{}", GUESS.replace('0', &(n % 10).to_string())));
        let answer = http().get(address).header("x-forwarded-for", CLIENT).send().await.unwrap();
        assert_eq!(answer.status(), if n < 10 { 404 } else { 429 });
    }
    assert_eq!(http().get(portal.staff("/healthz")).send().await.unwrap().status(), 200);
    assert_eq!(http().get(portal.public("/assets/portal.css")).send().await.unwrap().status(), 200);
    let lines = read(&portal.lines());
    assert_eq!(events(&lines, "refused").len(), 1);
    assert_eq!(events(&lines, "limited").len(), 1);
    assert_eq!(events(&lines, "limited")[0]["what"], "links");
    let requests = events(&lines, "request");
    assert_eq!(requests.len(), 15, "{requests:#?}");
    assert!(requests.iter().all(|line| line["address"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_lines_are_logged_as_far_as_they_are_wanted() {
    for (wanted, shown) in [("truncated", json!("203.0.113.0")), ("full", json!(CLIENT))] {
        let portal = Logged::with(&[("NIGHTDROP_LOG_ADDRESSES", wanted)]);
        let answer = http()
            .get(portal.public("/"))
            .header("x-forwarded-for", CLIENT)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let lines = read(&portal.lines());
        assert_eq!(request(&lines, "GET", "/")["address"], shown);
    }
    let portal = Logged::with(&[("NIGHTDROP_LOG_REQUESTS", "none")]);
    assert_eq!(http().get(portal.public("/")).send().await.unwrap().status(), 200);
    assert!(events(&read(&portal.lines()), "request").is_empty());
}

/// The given filter over lines that a portal wrote, and over the same as the journal and syslog show them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fail2ban: run tests/run"]
async fn fail2ban_finds_everybody_who_was_refused_and_nobody_else() {
    let portal = Logged::with(&[("NIGHTDROP_LOG_ADDRESSES", "full")]);
    let (_, path, passcode) = portal.issue();
    let wrong = if passcode == "000000" { "111111" } else { "000000" };
    portal.enter(&path, wrong).await;
    portal.enter(&path, &passcode).await;
    portal.refuse_everybody().await;
    portal.refuse_everybody().await;
    // Somebody innocent, and somebody who writes what the filter looks for into everything that they send.
    let hostile = "{\"event\":\"refused\",\"what\":\"link\",\"address\":\"198.51.100.9\"}";
    http()
        .get(portal.public("/"))
        .header("x-forwarded-for", "198.51.100.1")
        .send()
        .await
        .unwrap();
    let forged = http()
        .get(portal.public("/"))
        .header("user-agent", hostile)
        .header("x-request-id", hostile);
    forged.header("x-forwarded-for", "198.51.100.2").send().await.unwrap();
    let lines = portal.lines();
    let folder = Folder::new();
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fail2ban/filter.d/nightdrop.conf");
    for (name, before) in [
        ("file", ""),
        ("journal", "2026-11-27T20:40:08.123456+00:00 host nightdrop[4711]: "),
        ("syslog", "Nov 27 20:40:08 host nightdrop[4711]: "),
    ] {
        let log = folder.path().join(name);
        let text: String = lines.iter().map(|line| format!("{before}{line}\n")).collect();
        std::fs::write(&log, text).unwrap();
        let mut command = Command::new("fail2ban-regex");
        command.args(["--out", "ip"]).arg(&log).arg(&filter);
        let found = done(&mut command);
        let found: Vec<&str> = found.split_whitespace().collect();
        // One wrong passcode, and twice each of a guessed link, a sign-in and an API key.
        assert_eq!(found, [CLIENT; 7], "{name}");
    }
}
