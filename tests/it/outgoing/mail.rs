//! Mail: to a real server over loopback, and what the disk holds while it waits.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nightdrop::testing::domain::agent::Role;
use nightdrop::testing::storage::outbox::NotificationPreferences;
use nightdrop::testing::workflow::issue;
use nightdrop::testing::workflow::sign_in::{self, account};

use super::*;

const TO: &str = "james@applicant.example";

/// A running mail server of the tests' parts.
struct Smtp {
    port: u16,
    out: PathBuf,
    child: Child,
}

impl Smtp {
    fn new(folder: &Path, args: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
        let out = folder.join("mails.jsonl");
        let mut child = Command::new("python3")
            .arg(root.join("tests/clients/smtp.py"))
            .arg(&out)
            .args(args)
            .env("PYTHONPATH", Path::new(&parts).join("python"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 cannot be run: run tests/run");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the mail server did not start: run tests/run");
        Self { port, out, child }
    }

    fn table(&self, more: &str) -> String {
        table(self.port, more)
    }

    fn mails(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn table(port: u16, more: &str) -> String {
    format!(
        "staff_url = \"https://console.example.com\"\n[mail]\nfrom = \"Example Bank <drop@bank.example>\"\nhost = \"localhost\"\nport = {port}\n{more}\n"
    )
}

async fn app(more: String) -> (TestApp, crate::support::TestClock) {
    let (options, clock) = TestOptions {
        more,
        ..TestOptions::default()
    }
    .with_clock();
    (TestApp::with_options(options).await, clock)
}

/// Issues a link that is mailed, and gives back its address.
async fn mailed(app: &TestApp, more: Value) -> (Link, String) {
    let mut body = json!({"provider": "sandbox", "applicant": "person-4711", "document": "passport", "email": TO});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let call = app.http.post(app.staff("/api/v1/requests")).bearer_auth(&app.api_key);
    let answer = call
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let issued: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(issued["mail"], "queued");
    let reminder = match (&body["remind"], &body["expires_in"]) {
        (Value::Null, _) => Value::Null,
        // A link that ends within 36 hours is too short for a reminder, and that is said.
        (_, Value::String(short)) if short == "1d" => json!("too_close"),
        _ => json!("queued"),
    };
    assert_eq!(issued["reminder"], reminder);
    let url = issued["url"].as_str().unwrap().to_owned();
    let token = url.rsplit('/').next().unwrap().to_owned();
    let link = Link {
        id: nightdrop::testing::domain::id::RequestId::parse(issued["id"].as_str().unwrap()).unwrap(),
        path: format!("/d/{token}"),
        token,
        passcode: None,
    };
    (link, url)
}

fn live_secrets(app: &TestApp) -> usize {
    app.portal.erasure.live().unwrap().len()
}

/// The text of a mail, as a parser of others reads it.
fn text(mail: &Value) -> String {
    mail["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn while_a_mail_waits_the_disk_knows_neither_link_nor_address() {
    // Nobody listens on this port.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut app, clock) = app(table(closed, "tls = \"none\"")).await;
    let (link, _) = mailed(&app, json!({"remind": true})).await;
    tell(&app).await;
    let waiting = dispatches(&app).await;
    assert_eq!(waiting.len(), 2);
    assert!(
        waiting
            .iter()
            .any(|d| d.attempts == 1 && d.last.as_deref() == Some("The mail server could not be reached, or broke off.")),
        "{waiting:?}"
    );
    assert_eq!(live_secrets(&app), 2);
    nightdrop::testing::workflow::sweep::sweep(&app.portal).await.unwrap();
    assert_eq!(live_secrets(&app), 2, "the sweep knows whose they are");
    app.stop().await;
    for file in app.files() {
        let bytes = std::fs::read(&file).unwrap();
        for secret in [TO.as_bytes(), link.token.as_bytes(), b"person-4711"] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret), "{}", file.display());
        }
    }
    app.restart().await;
    assert_eq!(live_secrets(&app), 2, "a restart forgets nothing");
    // The document comes by the link that the agent told: nothing is mailed any more, and no secret is left.
    dropped(&app, &link).await;
    clock.forward(Duration::seconds(1));
    tell(&app).await;
    let ended = dispatches(&app).await;
    assert!(
        ended
            .iter()
            .all(|d| matches!(d.progress, Progress::Dropped(_)) && d.body == nightdrop::testing::domain::dispatch::Body::Gone),
        "{ended:?}"
    );
    assert_eq!(live_secrets(&app), 1, "the document's own");
}

#[tokio::test]
#[ignore = "needs aiosmtpd: run tests/run"]
async fn a_short_link_has_no_reminder_and_that_is_said() {
    let folder = crate::support::Folder::new();
    let smtp = Smtp::new(folder.path(), &[]);
    let (app, clock) = app(smtp.table("tls = \"none\"")).await;
    mailed(&app, json!({"expires_in": "1d", "remind": true})).await;
    mailed(&app, json!({"expires_in": "3d", "remind": true})).await;
    clock.forward(Duration::hours(49));
    tell(&app).await;
    assert_eq!(
        smtp.mails().len(),
        2,
        "one link, which lives, and its reminder: the other link is dead"
    );
}

#[tokio::test]
async fn a_mail_is_not_sent_after_its_link_is_dead() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (app, clock) = app(table(closed, "tls = \"none\"")).await;
    let (revoked, _) = mailed(&app, json!({})).await;
    issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
    let (again, _) = mailed(&app, json!({})).await;
    issue::reissue(&app.portal, again.id, issue::Expiry::Default, None, Actor::Operator, None)
        .await
        .unwrap();
    mailed(&app, json!({"expires_in": "1h"})).await;
    clock.forward(Duration::hours(2));
    tell(&app).await;
    for dispatch in dispatches(&app).await {
        assert!(matches!(dispatch.progress, Progress::Dropped(_)), "{dispatch:?}");
    }
    assert_eq!(live_secrets(&app), 0);
    for bad in [
        "",
        "x",
        "a@b@c",
        "a@example.com, b@example.com",
        "a@example.com\r\nBcc: b@example.com",
    ] {
        let body = json!({"provider": "sandbox", "applicant": "j", "document": "passport", "email": bad});
        let call = app.http.post(app.staff("/api/v1/requests")).bearer_auth(&app.api_key);
        let answer = call
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 422, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and aiosmtpd: run tests/run"]
async fn a_link_is_mailed_in_the_applicants_language_once_the_server_takes_it() {
    let folder = crate::support::Folder::new();
    let smtp = Smtp::new(folder.path(), &["--refuse", "1", "451"]);
    let (mut app, clock) = app(smtp.table("tls = \"none\"")).await;
    let (link, url) = mailed(&app, json!({"locale": "de", "message": "Bitte noch heute."})).await;
    tell(&app).await;
    assert_eq!(smtp.mails().len(), 0);
    assert_eq!(
        dispatches(&app).await[0].last.as_deref(),
        Some("The mail server answered with status 451.")
    );
    app.restart().await;
    clock.forward(Duration::minutes(2));
    tell(&app).await;
    let mails = smtp.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(
        (mails[0]["to"][0].as_str(), mails[0]["from"].as_str()),
        (Some(TO), Some("drop@bank.example"))
    );
    let body = text(&mails[0]);
    for part in [&url, "Bitte noch heute.", "Guten Tag,", "Reisepass"] {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert!(!body.contains("person-4711"));
    assert!(mails[0]["content"].as_str().unwrap().contains("Message-ID: <msg_"));
    assert_eq!(live_secrets(&app), 0, "nothing of it is left");
    assert_eq!(dispatches(&app).await[0].body, nightdrop::testing::domain::dispatch::Body::Gone);
    let log = app.log(&link).await;
    assert!(
        log.iter().any(|l| l.contains("mail.queued")) && log.iter().any(|l| l.contains("mail.sent")),
        "{log:?}"
    );
    let audit = app.portal.audit.entries(0, 1000).await.unwrap();
    assert!(audit.iter().all(|e| !format!("{e:?}").contains(TO)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and aiosmtpd: run tests/run"]
async fn a_mail_is_read_by_a_strict_parser_in_every_language() {
    let folder = crate::support::Folder::new();
    let smtp = Smtp::new(folder.path(), &[]);
    let company = "[company]\nname = \"Bank für \\\"Alle\\\" – 銀行, & <Söhne>\"\nsupport = \"https://bank.example/hilfe\"\n";
    let (app, _) = app(smtp.table("tls = \"none\"") + company).await;
    let languages = nightdrop::testing::words::LANGUAGES.iter();
    let mut sent = Vec::new();
    for words in languages {
        let note = format!("{} <b>&amp;</b> https://bank.example/a?b=c&d.", "ü".repeat(200));
        let (_, url) = mailed(&app, json!({"locale": words.tag, "message": note})).await;
        sent.push((words, url));
        tell(&app).await;
    }
    let mails = smtp.mails();
    assert_eq!(mails.len(), sent.len());
    for (mail, (words, url)) in mails.iter().zip(sent) {
        let (tag, direction) = (words.tag, words.direction);
        assert_eq!(mail["defects"], json!([]), "{tag}");
        assert_eq!(mail["kinds"], json!(["multipart/alternative", "text/plain", "text/html"]), "{tag}");
        assert!(
            mail["longest"].as_u64().unwrap() <= 998 && mail["bare"] == 0 && mail["ascii"] == true,
            "{tag}: {mail}"
        );
        let headers = &mail["headers"];
        for (name, value) in [
            ("MIME-Version", "1.0"),
            ("Auto-Submitted", "auto-generated"),
            ("X-Auto-Response-Suppress", "All"),
            ("Content-Language", tag),
            ("From", "Example Bank <drop@bank.example>"),
            ("To", TO),
        ] {
            assert_eq!(headers[name], value, "{tag}");
        }
        let id = headers["Message-ID"].as_str().unwrap();
        assert!(id.starts_with("<msg_") && id.ends_with("@bank.example>"), "{tag}: {id}");
        assert!(
            headers["Date"].is_string() && headers["Subject"].as_str().unwrap().contains("銀行"),
            "{tag}: {headers}"
        );
        // Both forms say the same: the link once, the expiry with its zone, and nothing that is fetched.
        let (plain, html) = (text(mail), mail["html"].as_str().unwrap());
        assert_eq!(plain.matches(&url).count(), 1, "{tag}");
        let zone = words.say("moment-utc").replace("{moment}", "");
        assert!(plain.contains(zone.trim()), "{tag}: {zone} in {plain}");
        assert!(
            html.starts_with(&format!("<!DOCTYPE html><html lang=\"{tag}\" dir=\"{direction}\">")),
            "{tag}: {html}"
        );
        assert!(html.contains(&format!("<a href=\"{url}\" dir=\"ltr\">{url}</a>")), "{tag}: {html}");
        assert!(
            html.contains("&lt;b&gt;&amp;amp;&lt;/b&gt; <a href=\"https://bank.example/a?b=c&amp;d\" dir=\"ltr\">"),
            "{tag}: {html}"
        );
        for fetched in ["src=", "<img", "<link", "<style", "style=", "url(", "<script"] {
            assert!(!html.contains(fetched), "{tag}: {fetched}");
        }
        let pieces = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(pieces(&without_tags(html)), pieces(&plain), "{tag}");
    }
}

/// What a reader sees of the HTML form.
fn without_tags(html: &str) -> String {
    let body = html.split_once("<body>").unwrap().1;
    let text: String = body
        .split('<')
        .map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text))
        .collect();
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and aiosmtpd: run tests/run"]
async fn tls_is_kept_to_and_a_login_is_made_inside_it_only() {
    let folder = crate::support::Folder::new();
    let (cert, key, authority) = certificate(folder.path());
    crate::support::private(&folder.path().join("password"), "open sesame");
    let login = format!(
        "username = \"drop\"\npassword_file = \"{}\"\nca_file = \"{}\"",
        folder.path().join("password").display(),
        authority.display()
    );
    for mode in ["starttls", "tls"] {
        let folder = crate::support::Folder::new();
        let flag = format!("--{mode}");
        let smtp = Smtp::new(
            folder.path(),
            &[
                &flag,
                cert.to_str().unwrap(),
                key.to_str().unwrap(),
                "--login",
                "drop",
                "open sesame",
            ],
        );
        let (app, _) = app(smtp.table(&format!("tls = \"{mode}\"\n{login}"))).await;
        mailed(&app, json!({})).await;
        tell(&app).await;
        let mails = smtp.mails();
        assert_eq!(mails.len(), 1, "{mode}: {:?}", dispatches(&app).await[0].last);
        assert_eq!((&mails[0]["tls"], &mails[0]["login"]), (&json!(true), &json!(true)), "{mode}");
    }
    // A server without STARTTLS, and one whose certificate nobody knows, get nothing.
    let plain = Smtp::new(folder.path(), &[]);
    let (first, _) = app(plain.table(&format!("ca_file = \"{}\"", authority.display()))).await;
    mailed(&first, json!({})).await;
    tell(&first).await;
    let strange = crate::support::Folder::new();
    let (cert, key, _) = certificate(strange.path());
    let unknown = Smtp::new(strange.path(), &["--tls", cert.to_str().unwrap(), key.to_str().unwrap()]);
    let (second, _) = app(unknown.table(&format!("tls = \"tls\"\nca_file = \"{}\"", authority.display()))).await;
    mailed(&second, json!({})).await;
    tell(&second).await;
    assert_eq!((plain.mails().len(), unknown.mails().len()), (0, 0));
    for app in [&first, &second] {
        assert!(dispatches(app).await[0].attempts == 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and aiosmtpd: run tests/run"]
async fn reminders_notices_and_the_digest_come_when_they_should() {
    let folder = crate::support::Folder::new();
    let smtp = Smtp::new(folder.path(), &[]);
    let (app, clock) = app(smtp.table("tls = \"none\"\n[notices]\ndigest_at = \"00:00\"")).await;
    let agent = sign_in::add_agent(
        &app.portal,
        "ada@bank.example",
        "Ada",
        Role::Agent,
        "correct horse battery staple",
        Actor::Operator,
    )
    .await
    .unwrap();
    let quiet = sign_in::add_agent(
        &app.portal,
        "bob@bank.example",
        "Bob",
        Role::Agent,
        "correct horse battery staple",
        Actor::Operator,
    )
    .await
    .unwrap();
    let all = NotificationPreferences {
        arrived: true,
        attention: true,
        digest: true,
    };
    app.portal.outbox.set_notification_preferences(agent.id, all).await.unwrap();
    app.portal
        .outbox
        .set_notification_preferences(quiet.id, NotificationPreferences::default())
        .await
        .unwrap();
    // Wants to know everything, and is of a team that these requests are not of.
    let elsewhere = sign_in::add_agent(
        &app.portal,
        "eve@bank.example",
        "Eve",
        Role::Agent,
        "correct horse battery staple",
        Actor::Operator,
    )
    .await
    .unwrap();
    let cards = account::parse_teams("cards").unwrap();
    account::change_agent(&app.portal, &elsewhere, Role::Agent, cards, Actor::Operator)
        .await
        .unwrap();
    app.portal.outbox.set_notification_preferences(elsewhere.id, all).await.unwrap();
    tell(&app).await;
    let (reminded, url) = mailed(&app, json!({"remind": true})).await;
    let (used, _) = mailed(&app, json!({"remind": true})).await;
    tell(&app).await;
    assert_eq!(smtp.mails().len(), 2);
    dropped(&app, &used).await;
    tell(&app).await;
    let notice = smtp.mails().pop().unwrap();
    assert_eq!(notice["to"], json!(["ada@bank.example"]));
    let said = text(&notice);
    assert!(
        said.contains("Document arrived.") && said.contains(&format!("https://console.example.com/requests/{}", used.id)),
        "{said}"
    );
    assert!(!said.contains("person-4711") && !said.contains(&used.token));
    // More time for the link: the reminder waits, and says the new expiry.
    clock.forward(Duration::hours(40));
    issue::extend(&app.portal, reminded.id, issue::Expiry::In(Duration::days(5)), Actor::Operator)
        .await
        .unwrap();
    clock.forward(Duration::hours(10));
    tell(&app).await;
    let to = |mails: &[Value], whom: &str| mails.iter().filter(|m| m["to"][0] == whom).count();
    assert_eq!(to(&smtp.mails(), TO), 2, "not yet");
    clock.forward(Duration::hours(90));
    tell(&app).await;
    let mails = smtp.mails();
    assert_eq!(to(&mails, TO), 3);
    let reminder = mails.iter().rev().find(|m| m["to"][0] == TO).unwrap();
    let request = app.request(&reminded).await;
    let expires = nightdrop::testing::words::english().moment(request.link.expires_at);
    assert!(
        text(reminder).contains(&url) && text(reminder).contains(&expires),
        "{}",
        text(reminder)
    );
    let digests: Vec<_> = mails
        .iter()
        .filter(|m| m["content"].as_str().unwrap().contains("what waits today"))
        .collect();
    assert!(!digests.is_empty() && digests.iter().all(|d| d["to"][0] == "ada@bank.example"));
    assert!(
        text(digests.last().unwrap()).contains("Links that expire within a day, unused: 1"),
        "{}",
        text(digests.last().unwrap())
    );
    let before = digests.len();
    tell(&app).await;
    assert_eq!(
        smtp.mails()
            .iter()
            .filter(|m| m["content"].as_str().unwrap().contains("what waits today"))
            .count(),
        before,
        "once a day"
    );
    assert_eq!(to(&smtp.mails(), "eve@bank.example"), 0);
}

/// A server certificate for localhost with its key, and the authority that made it, as PEM files.
fn certificate(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&own, &issuer)
        .unwrap();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    };
    (
        write("cert.pem", leaf.pem()),
        write("key.pem", own.serialize_pem()),
        write("authority.pem", authority),
    )
}

async fn invite(app: &TestApp, path: &str, body: Value) -> Value {
    let call = app
        .http
        .post(app.staff(&format!("/api/v1/agents/{path}")))
        .bearer_auth(&app.api_key);
    let call = call.header("content-type", "application/json").body(body.to_string());
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn an_invitation_that_was_replaced_is_not_mailed_and_its_secret_goes() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (app, clock) = app(table(closed, "tls = \"none\"")).await;
    let ivy = json!({"email": "ivy@bank.example", "name": "Ivy", "role": "agent"});
    let invited = invite(&app, "invite", ivy).await;
    assert_eq!(invited["by"], "mail");
    assert!(invited["link"].is_null(), "who mails it never sees it");
    let id = invited["agent"]["id"].as_str().unwrap().to_owned();
    invite(&app, &format!("{id}/invite"), json!({})).await;
    clock.forward(Duration::minutes(2));
    tell(&app).await;
    let (mut dropped, mut waiting) = (0, 0);
    for dispatch in dispatches(&app).await {
        assert_eq!((dispatch.kind.as_str(), dispatch.request), ("mail.invitation", None));
        match dispatch.progress {
            Progress::Dropped(_) => dropped += 1,
            _ => waiting += 1,
        }
    }
    assert_eq!((dropped, waiting, live_secrets(&app)), (1, 1, 1));
    clock.forward(Duration::days(3));
    tell(&app).await;
    assert_eq!(live_secrets(&app), 0, "a link that has ended is not sent");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and aiosmtpd: run tests/run"]
async fn an_invitation_is_mailed_to_the_agent_alone() {
    let folder = crate::support::Folder::new();
    let smtp = Smtp::new(folder.path(), &[]);
    let (app, _) = app(smtp.table("tls = \"none\"")).await;
    invite(&app, "invite", json!({"email": "ivy@bank.example", "name": "Ivy", "role": "agent"})).await;
    tell(&app).await;
    let mails = smtp.mails();
    assert_eq!(mails.len(), 1);
    let text = text(&mails[0]);
    let path = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("https://console.example.com"))
        .unwrap();
    assert!(path.starts_with("/invitation/agt_") && text.starts_with("Ivy,"), "{text}");
    assert_eq!(
        app.http
            .get(app.staff(path))
            .header("host", "console.example.com")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(live_secrets(&app), 0, "sent, and forgotten");
    let log = app.portal.audit.entries(0, 1_000).await.unwrap();
    let token = path.rsplit('/').next().unwrap();
    assert!(
        log.iter()
            .all(|e| e.event.detail.iter().all(|(_, v)| !v.contains(token) && !v.contains("ivy@")))
    );
}
