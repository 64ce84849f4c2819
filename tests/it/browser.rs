//! Pages in a real Chromium, driven by the scripts in tests/browser. Screenshots go to tests/output and are looked at.

use std::path::Path;
use std::process::Command;

use nightdrop::domain::agent::Actor;
use nightdrop::domain::token::PlainToken;
use nightdrop::http::Company;
use nightdrop::http::pages::upload::{self as pages, Reader, Resumable, View};
use nightdrop::words;
use nightdrop::workflow::{issue, receive};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::assert_nothing_held;
use crate::support::{House, Link, Wish, ask, png};

const HARBOUR: &str = "[company]\nname = \"Harbour Bank\"\nsupport = \"support@harbour.example\"\n\
    legal = \"Harbour Bank plc, 1 Quay Street, London. Privacy: https://harbour.example/privacy\"\n\
    [company.purpose]\nen = \"We are required by law to check who our customers are.\"\n\
    de = \"Wir müssen gesetzlich prüfen, wer unsere Kunden sind.\"\nar = \"يُلزمنا القانون بالتحقق من هوية عملائنا.\"\n\
    [limits]\nuploads_per_address = 64\nmax_file = \"2MiB\"\n";

/// Runs one script and shows what it said when it fails.
pub fn script(name: &str, given: &Value) {
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
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn the_applicants_page_works_in_a_browser() {
    let house = House::wished(Wish {
        more: HARBOUR.to_owned(),
        ..Wish::default()
    })
    .await;
    let photo = house.folder.path().join("specimen.png");
    let wrong = house.folder.path().join("wrong.jpg");
    std::fs::write(&wrong, "<html>this is no photo at all, whatever its name says</html>").unwrap();
    let huge = house.folder.path().join("huge.png");
    std::fs::write(&huge, png(9, 60 << 20)).unwrap();
    let mut noted = ask("applicant-3", "government-id");
    noted.message = Some("Your last photo was too dark. Please take it by daylight.".to_owned());
    let mut arabic = ask("applicant-4", "government-id");
    arabic.locale = Some("ar-EG".to_owned());
    let revoked = house.link().await;
    issue::revoke(&house.portal, revoked.id, Actor::Operator).await.unwrap();
    let given = json!({
        "host": "127.0.0.1",
        "plain": house.public(&house.link().await.path),
        "arabic": house.public(&house.issue(arabic).await.path),
        "scripted": house.public(&house.issue(noted).await.path),
        "looked": house.public(&house.link().await.path),
        "keyboard": house.public(&house.link().await.path),
        "languages": house.public(&house.link().await.path),
        "refused": house.public(&house.link_for("passport", None).await.path),
        "big": house.public(&house.link_for("passport", None).await.path),
        "locked": with_code(&house).await,
        "lockout": with_code(&house).await,
        "revoked": house.public(&revoked.path),
        "unknown": house.public("/d/00000000000000000000000000000000"),
        "photo": photo,
        "wrong": wrong,
        "huge": huge,
    });
    tokio::task::spawn_blocking(move || script("applicant.mjs", &given)).await.unwrap();
    house.work().await;
    assert_eq!(house.received().await.len(), 5, "each drop of the browser was passed on once");
}

async fn with_code(house: &House) -> Value {
    let mut ask = ask("applicant-2", "passport");
    ask.passcode = true;
    let link = house.issue(ask).await;
    let code = link.passcode.clone().unwrap();
    let wrong = if code == "000000" { "111111" } else { "000000" };
    json!({ "url": house.public(&link.path), "code": code, "wrong": wrong })
}

/// The page, its script and the portal together, while connections, tabs, devices and the portal come and go.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn a_document_arrives_whatever_happens_on_the_way() {
    let (wish, clock) = Wish {
        more: HARBOUR.to_owned(),
        ..Wish::default()
    }
    .with_hands();
    let mut house = House::wished(wish).await;
    let photo = house.folder.path().join("specimen.png");
    let noise = house.folder.path().join("noise.png");
    std::fs::write(&noise, png(5, 1_900_000)).unwrap();
    let hands = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let revoked = house.link_for("passport", None).await;
    let given = json!({
        "hands": format!("http://{}", hands.local_addr().unwrap()),
        "cut": house.public(&house.link_for("passport", None).await.path),
        "restarted": house.public(&house.link_for("passport", None).await.path),
        "killed": house.public(&house.link().await.path),
        "devices": house.public(&house.link().await.path),
        "both": house.public(&house.link_for("passport", None).await.path),
        "revoked": house.public(&revoked.path),
        "expired": house.public(&house.link_for("passport", None).await.path),
        "photo": photo,
        "noise": noise,
    });
    let mut story = tokio::task::spawn_blocking(move || script("dropping.mjs", &given));
    let told = loop {
        tokio::select! {
            told = &mut story => break told,
            asked = hands.accept() => {
                let (mut asked, _) = asked.unwrap();
                match first_line(&mut asked).await.as_str() {
                    "POST /restart HTTP/1.1" => house.restart_in_place().await,
                    "POST /revoke HTTP/1.1" => { issue::revoke(&house.portal, revoked.id, Actor::Operator).await.unwrap(); }
                    "POST /expire HTTP/1.1" => {
                        // What has arrived is passed on before the time of everything is over.
                        house.work().await;
                        clock.forward(time::Duration::days(30));
                    }
                    other => panic!("{other}"),
                }
                asked.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
            }
        }
    };
    told.unwrap();
    house.work().await;
    let mut sent: Vec<_> = house
        .received()
        .await
        .iter()
        .map(|r| r["parts"].as_array().unwrap().len())
        .collect();
    sent.sort_unstable();
    assert_eq!(sent, [1, 1, 1, 2, 2], "each drop was passed on once, whole");
    assert_nothing_held(&house, "after all of it").await;
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
    let house = House::wished(Wish {
        more: HARBOUR.to_owned(),
        ..Wish::default()
    })
    .await;
    let photo = house.folder.path().join("specimen.png");
    let noise = house.folder.path().join("noise.png");
    std::fs::write(&noise, png(5, 1_900_000)).unwrap();
    let link = house.link().await;
    let mut rendered = serde_json::Map::new();
    for language in ["en", "ar"] {
        for (name, stored) in [("none", vec![]), ("front", vec!["front"])] {
            rendered.insert(
                format!("{language}-{name}"),
                json!(offering_tus(&house, &link, language, &stored).await),
            );
        }
    }
    let files = png(3, 90_000);
    let answer = house.drop_files(&link, &[("front", &files), ("back", &files)]).await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    rendered.insert("receipt".to_owned(), json!(answer.text().await.unwrap()));
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let given = json!({ "pages": rendered, "path": link.path, "policy": policy, "assets": assets, "photo": photo, "noise": noise });
    tokio::task::spawn_blocking(move || script("resumable.mjs", &given)).await.unwrap();
}

/// The page as it is once the server takes parts one by one.
async fn offering_tus(house: &House, link: &Link, language: &str, stored: &[&str]) -> String {
    let token = PlainToken::parse(&link.token).unwrap();
    let opened = receive::look_up(&house.portal, &token).await.unwrap().ok().unwrap();
    let company = Company {
        name: "Harbour Bank".to_owned(),
        support: Some("+44 20 7946 0000".to_owned()),
        ..Company::default()
    };
    let view = View {
        reader: Reader {
            company: &company,
            words: words::of(language).unwrap(),
            here: Some(link.path.clone()),
            picked: false,
        },
        portal: &house.portal,
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
    use nightdrop::domain::agent::Role;
    let house = House::wished(Wish {
        confirm: "verdict",
        more: "[mail]\nfrom = \"drop@bank.example\"\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\n[company]\nname = \"Harbour Bank\"\nsupport = \"support@harbour.example\"\n".to_owned(),
        ..Wish::default()
    })
    .await;
    let password = "correct horse battery staple";
    let agents = &house.portal;
    nightdrop::workflow::sign_in::add_agent(agents, "ada@bank.example", "Ada", Role::Admin, password, Actor::Operator)
        .await
        .unwrap();
    house.misbehave(&["reject:unreadable", "reject:glare"]).await;
    let rejected = async || {
        let mut asked = ask("applicant-7", "passport");
        asked.locale = Some("de".to_owned());
        let link = house.issue(asked).await;
        assert_eq!(house.drop_files(&link, &[("front", &png(4, 20_000))]).await.status(), 200);
        crate::support::until("it is rejected", async || {
            house.work().await;
            house.state(&link).await == nightdrop::domain::request::RequestState::Purged
        })
        .await;
        link
    };
    let first = rejected().await;
    let again = issue::reissue(&house.portal, first.id, issue::Expiry::Default, None, Actor::Operator, None)
        .await
        .unwrap();
    let second = rejected().await;
    while nightdrop::workflow::outgoing::step(&house.portal).await.unwrap() {}
    let given = json!({
        "staff": house.staff(""), "admin": "ada@bank.example", "password": password, "rejected": second.id.to_string(),
        "again": house.public(&format!("/d/{}", again.token.encode())),
    });
    tokio::task::spawn_blocking(move || script("messages.mjs", &given)).await.unwrap();
}
