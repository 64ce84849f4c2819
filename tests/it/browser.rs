//! Pages in a real Chromium, driven by the scripts in tests/browser. Screenshots go to tests/output and are looked at.

mod devices;
mod engines;
mod opened;
mod phone;
mod photos;
mod states;

use std::path::Path;
use std::process::Command;

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::token::PlainToken;
use nightdrop::testing::http::Company;
use nightdrop::testing::http::applicant::page::{self as pages, PageContext, Resumable, View};
use nightdrop::testing::words;
use nightdrop::testing::workflow::intake::link;
use nightdrop::testing::workflow::issue;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::assert_nothing_held;
use crate::support::{Link, TestApp, TestOptions, ask, png};

const HARBOUR: &str = "[company]\nname = \"Harbour Bank\"\nsupport = \"support@harbour.example\"\n\
    legal = \"Harbour Bank plc, 1 Quay Street, London. Privacy: https://harbour.example/privacy\"\n\
    [company.purpose]\nen = \"We are required by law to check who our customers are.\"\n\
    de = \"Wir müssen gesetzlich prüfen, wer unsere Kunden sind.\"\nar = \"يُلزمنا القانون بالتحقق من هوية عملائنا.\"\n\
    [limits]\nuploads_per_address = 64\nmax_file = \"2MiB\"\n";

/// Runs one script and returns what it said, which is shown when it fails.
pub fn script(name: &str, given: &Value) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
    let said = Command::new("node")
        .arg(root.join("tests/browser").join(name))
        .arg(given.to_string())
        .env("NIGHTDROP_TEST_PARTS", parts)
        .env("NIGHTDROP_TEST_OUTPUT", root.join("tests/output"))
        .output()
        .expect("node cannot be run: run tests/run");
    assert!(
        said.status.success(),
        "{name}\n{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn the_applicants_page_works_in_a_browser() {
    let app = TestApp::with_options(TestOptions {
        more: HARBOUR.to_owned(),
        ..TestOptions::default()
    })
    .await;
    let photo = app.folder.path().join("specimen.png");
    let wrong = app.folder.path().join("wrong.jpg");
    std::fs::write(&wrong, "<html>this is no photo at all, whatever its name says</html>").unwrap();
    let huge = app.folder.path().join("huge.png");
    std::fs::write(&huge, png(9, 60 << 20)).unwrap();
    let mut noted = ask("applicant-3", "government-id");
    noted.message = Some("Your last photo was too dark. Please take it by daylight.".to_owned());
    let mut arabic = ask("applicant-4", "government-id");
    arabic.locale = Some("ar-EG".to_owned());
    let revoked = app.link().await;
    issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
    let given = json!({
        "host": "127.0.0.1",
        "plain": app.public(&app.link().await.path),
        "arabic": app.public(&app.issue(arabic).await.path),
        "scripted": app.public(&app.issue(noted).await.path),
        "looked": app.public(&app.link().await.path),
        "keyboard": app.public(&app.link().await.path),
        "languages": app.public(&app.link().await.path),
        "refused": app.public(&app.link_for("passport", None).await.path),
        "big": app.public(&app.link_for("passport", None).await.path),
        "locked": with_code(&app).await,
        "lockout": with_code(&app).await,
        "revoked": app.public(&revoked.path),
        "unknown": app.public("/d/00000000000000000000000000000000"),
        "photo": photo,
        "wrong": wrong,
        "huge": huge,
    });
    tokio::task::spawn_blocking(move || script("applicant.mjs", &given)).await.unwrap();
    app.work().await;
    assert_eq!(app.received().await.len(), 5, "each drop of the browser was passed on once");
}

/// Heads included: what a phone waits for.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn a_first_visit_weighs_less_than_fourteen_kilobytes_on_the_line() {
    let app = TestApp::new().await;
    let given = json!({
        "url": app.public(&app.link().await.path),
        "languages": words::LANGUAGES.iter().map(|words| words.tag).collect::<Vec<_>>(),
        "most": 14 * 1024,
    });
    let said = tokio::task::spawn_blocking(move || script("weight.mjs", &given)).await.unwrap();
    let output = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/output");
    std::fs::write(output.join("weight.json"), said).unwrap();
}

async fn with_code(app: &TestApp) -> Value {
    let mut ask = ask("applicant-2", "passport");
    ask.passcode = true;
    let link = app.issue(ask).await;
    let code = link.passcode.clone().unwrap();
    let wrong = if code == "000000" { "111111" } else { "000000" };
    json!({ "url": app.public(&link.path), "code": code, "wrong": wrong })
}

/// A photo of 5 MB where 3 MB are taken: it arrives smaller, as it was looked at.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn a_photo_over_the_limit_is_made_smaller_on_the_page() {
    let app = TestApp::with_options(TestOptions {
        more: HARBOUR.replace("2MiB", "20MiB"),
        provider: "max_bytes = \"3MB\"\nmin_image_side = 1200\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let given = json!({
        "folder": app.folder.path(),
        "resumable": app.public(&app.link_for("passport", None).await.path),
        "plain": app.public(&app.link_for("passport", None).await.path),
        "refused": app.public(&app.link_for("passport", None).await.path),
    });
    let said = tokio::task::spawn_blocking(move || script("smaller.mjs", &given)).await.unwrap();
    let sent: Value = serde_json::from_str(&said).unwrap();
    app.work().await;
    // Nothing had to be dropped from what the page made: the provider has what the applicant saw, byte by byte.
    let mut arrived: Vec<_> = app.received().await.iter().map(|r| r["parts"][0]["sha256"].clone()).collect();
    let mut seen = vec![sent["resumable"].clone(), sent["plain"].clone()];
    arrived.sort_by_key(Value::to_string);
    seen.sort_by_key(Value::to_string);
    assert_eq!(arrived, seen);
}

/// The page, its script and the portal together, while connections, tabs, devices and the portal come and go.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn a_document_arrives_whatever_happens_on_the_way() {
    let (options, clock) = TestOptions {
        more: HARBOUR.to_owned(),
        ..TestOptions::default()
    }
    .with_clock();
    let mut app = TestApp::with_options(options).await;
    let photo = app.folder.path().join("specimen.png");
    let noise = app.folder.path().join("noise.png");
    std::fs::write(&noise, png(5, 1_900_000)).unwrap();
    let controls = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let revoked = app.link_for("passport", None).await;
    let given = json!({
        "controls": format!("http://{}", controls.local_addr().unwrap()),
        "cut": app.public(&app.link_for("passport", None).await.path),
        "restarted": app.public(&app.link_for("passport", None).await.path),
        "killed": app.public(&app.link().await.path),
        "devices": app.public(&app.link().await.path),
        "both": app.public(&app.link_for("passport", None).await.path),
        "revoked": app.public(&revoked.path),
        "expired": app.public(&app.link_for("passport", None).await.path),
        "photo": photo,
        "noise": noise,
    });
    let mut story = tokio::task::spawn_blocking(move || script("dropping.mjs", &given));
    let told = loop {
        tokio::select! {
            told = &mut story => break told,
            asked = controls.accept() => {
                let (mut asked, _) = asked.unwrap();
                match first_line(&mut asked).await.as_str() {
                    "POST /restart HTTP/1.1" => app.restart_in_place().await,
                    "POST /revoke HTTP/1.1" => { issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap(); }
                    "POST /expire HTTP/1.1" => {
                        // What has arrived is passed on before the time of everything is over.
                        app.work().await;
                        clock.forward(time::Duration::days(30));
                    }
                    other => panic!("{other}"),
                }
                asked.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
            }
        }
    };
    told.unwrap();
    app.work().await;
    let mut sent: Vec<_> = app.received().await.iter().map(|r| r["parts"].as_array().unwrap().len()).collect();
    sent.sort_unstable();
    assert_eq!(sent, [1, 1, 1, 2, 2], "each drop was passed on once, whole");
    assert_nothing_held(&app, "after all of it").await;
}

async fn first_line(stream: &mut tokio::net::TcpStream) -> String {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let byte = stream.read_u8().await.unwrap();
        head.push(byte);
    }
    String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned()
}

/// The script's side of tus against a server that misbehaves on demand: the pages are real, the endpoint is the script's own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn parts_are_sent_one_by_one_and_survive_everything() {
    let app = TestApp::with_options(TestOptions {
        more: HARBOUR.to_owned(),
        ..TestOptions::default()
    })
    .await;
    let photo = app.folder.path().join("specimen.png");
    let noise = app.folder.path().join("noise.png");
    std::fs::write(&noise, png(5, 1_900_000)).unwrap();
    let link = app.link().await;
    let mut rendered = serde_json::Map::new();
    let mut spoken = serde_json::Map::new();
    for language in ["en", "ar"] {
        for name in ["photo", "send", "desktop"] {
            let path = format!("/assets/{name}.{language}.js");
            let script = app.http.get(app.public(&path)).send().await.unwrap().text().await.unwrap();
            spoken.insert(path, json!(script));
        }
    }
    for language in ["en", "ar"] {
        for (name, stored) in [("none", vec![]), ("front", vec!["front"])] {
            rendered.insert(
                format!("{language}-{name}"),
                json!(offering_tus(&app, &link, language, &stored).await),
            );
        }
    }
    let files = png(3, 90_000);
    let answer = app.drop_files(&link, &[("front", &files), ("back", &files)]).await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    rendered.insert("receipt".to_owned(), json!(answer.text().await.unwrap()));
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let given = json!({ "pages": rendered, "path": link.path, "policy": policy, "assets": assets, "spoken": spoken, "photo": photo, "noise": noise });
    tokio::task::spawn_blocking(move || script("resumable.mjs", &given)).await.unwrap();
}

/// The page as it is once the server takes parts one by one.
async fn offering_tus(app: &TestApp, link: &Link, language: &str, stored: &[&str]) -> String {
    let token = PlainToken::parse(&link.token).unwrap();
    let opened = link::look_up(&app.portal, &token).await.unwrap().ok().unwrap();
    let company = Company {
        name: "Harbour Bank".to_owned(),
        support: Some("+44 20 7946 0000".to_owned()),
        ..Company::default()
    };
    let view = View {
        context: PageContext {
            company: &company,
            words: words::of(language).unwrap(),
            here: Some(link.path.clone()),
            picked: false,
            request_id: None,
        },
        portal: &app.portal,
        host: "drop.harbour.example",
        resumable: Resumable {
            offered: true,
            stored: stored.iter().map(|s| (*s).to_owned()).collect(),
        },
    };
    pages::form(&view, &opened, None).into_string()
}

/// The console's screens around messages.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn the_messages_of_the_console_work_in_a_browser() {
    use nightdrop::testing::domain::agent::Role;
    let app = TestApp::with_options(TestOptions {
        confirm: "verdict",
        more: "[mail]\nfrom = \"drop@bank.example\"\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\n[company]\nname = \"Harbour Bank\"\nsupport = \"support@harbour.example\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let password = "correct horse battery staple";
    let agents = &app.portal;
    nightdrop::testing::workflow::sign_in::add_agent(agents, "ada@bank.example", "Ada", Role::Admin, password, Actor::Operator)
        .await
        .unwrap();
    app.misbehave(&["reject:unreadable", "reject:glare"]).await;
    let rejected = async || {
        let mut asked = ask("applicant-7", "passport");
        asked.locale = Some("de".to_owned());
        let link = app.issue(asked).await;
        assert_eq!(app.drop_files(&link, &[("front", &png(4, 20_000))]).await.status(), 200);
        crate::support::until("it is rejected", async || {
            app.work().await;
            app.state(&link).await == nightdrop::testing::domain::request::RequestState::Purged
        })
        .await;
        link
    };
    let first = rejected().await;
    let again = issue::reissue(&app.portal, first.id, issue::Expiry::Default, None, Actor::Operator, None)
        .await
        .unwrap();
    let second = rejected().await;
    while nightdrop::testing::workflow::outgoing::step(&app.portal).await.unwrap() {}
    let given = json!({
        "staff": app.staff(""), "admin": "ada@bank.example", "password": password, "rejected": second.id.to_string(),
        "again": app.public(&format!("/d/{}", again.token.encode())),
    });
    tokio::task::spawn_blocking(move || script("messages.mjs", &given)).await.unwrap();
}
