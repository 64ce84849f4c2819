//! Links as strangers try them, and what pages, headers, logs and the store tell.

use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex};

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::audit::{AuditAction, AuditEvent};
use nightdrop::testing::domain::link::UploadLink;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::domain::token::{HashedToken, PlainToken};
use nightdrop::testing::domain::transition::{AgentAction, Transition};
use nightdrop::testing::workflow::issue;
use sha2::{Digest, Sha256};
use time::Duration;

use crate::raw::{Answer, Raw, assert_nothing_held, end, file, head, part, upload};
use crate::support::{Link, TestApp, TestOptions, ask, client, form, png, without_request_id};

async fn get(app: &TestApp, path: &str) -> Answer {
    let mut raw = Raw::to(app).await;
    raw.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
    ))
    .await;
    raw.answer().await
}

#[tokio::test]
async fn one_link_has_its_aliases_and_nothing_else_opens_it() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let token = &link.token;
    let aliases = [
        token.to_uppercase(),
        token.replace('0', "o"),
        token.replace('0', "O"),
        token.replace('1', "l"),
        token.replace('1', "I"),
        token.chars().map(|c| format!("%{:02x}", c as u32)).collect::<String>(),
    ];
    for alias in aliases {
        let answer = get(&app, &format!("/d/{alias}")).await;
        assert_eq!(answer.status, 200, "{alias}: {}", answer.body);
    }
    let wrong = [
        token[..31].to_owned(),
        format!("{token}0"),
        format!("%20{token}"),
        format!("{token}%00"),
        format!("{}%2F", &token[..31]),
        format!("..%2F{token}"),
        "..".to_owned(),
        ".".to_owned(),
        "%2e%2e".to_owned(),
        token.chars().map(|c| format!("%25{:02x}", c as u32)).collect::<String>(),
        token.replacen(&token[..1], "u", 1),
        format!("{}-{}", &token[..15], &token[16..]),
        format!("{}%D0%B0", &token[..31]),
        format!("{}%ff", &token[..31]),
        "%ff%fe".to_owned(),
        "x".repeat(8_000),
        "0".repeat(32),
        "'%20OR%201=1--".to_owned(),
        "%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(),
    ];
    // From one address each, so that the limit on guesses stays out of it.
    let mut pages = std::collections::BTreeSet::new();
    for (number, wrong) in (1..).zip(wrong) {
        let mut raw = Raw::from(&app, IpAddr::from([127, 0, 2, number])).await;
        raw.send(format!(
            "GET /d/{wrong} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 404, "{wrong}: {}", answer.body);
        pages.insert(without_request_id(&answer.body));
    }
    assert_eq!(pages.len(), 1, "one page for whatever is nobody's: {pages:?}");
    assert!(pages.first().unwrap().contains("This link does not work"));
}

#[tokio::test]
async fn guesses_are_limited_whatever_they_are_sent_with() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let nobody = |seed: u8| format!("/d/{}", PlainToken::from_bytes([seed; 20]).encode());
    let (body, kind) = form(&[("front", &png(1, 1_000))]);
    for (address, how) in [(11, "GET"), (12, "POST"), (13, "passcode"), (14, "nonsense"), (15, "HEAD")] {
        let http = client(IpAddr::from([127, 0, 3, address]));
        let mut answers = Vec::new();
        for seed in 0..14 {
            let request = match how {
                "POST" => http
                    .post(app.public(&nobody(seed)))
                    .header("content-type", &kind)
                    .body(body.clone()),
                "passcode" => http
                    .post(app.public(&format!("{}/passcode", nobody(seed))))
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body("passcode=000000"),
                "nonsense" => http.get(app.public("/d/nonsense")),
                "HEAD" => http.head(app.public(&nobody(seed))),
                _ => http.get(app.public(&nobody(seed))),
            };
            let answer = request.send().await.unwrap();
            answers.push((answer.status().as_u16(), answer.headers().contains_key("retry-after")));
        }
        assert_eq!(answers[..10], [(404, false); 10], "{how}");
        assert_eq!(answers[10..], [(429, true); 4], "{how}");
        // A link that exists still opens: nobody is shut out by a neighbour's guesses.
        assert_eq!(http.get(app.public(&link.path)).send().await.unwrap().status(), 200, "{how}");
    }
}

const PUBLIC_HEADERS: [(&str, &str); 9] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    ("strict-transport-security", "max-age=63072000; includeSubDomains"),
    ("x-robots-tag", "noindex, noarchive"),
    ("referrer-policy", "no-referrer"),
];

fn assert_headers(answer: &Answer, what: &str) {
    for (name, value) in PUBLIC_HEADERS {
        let found = answer.headers.get(name).map(String::as_str);
        // Assets carry their hash in their address and may be kept.
        if name == "cache-control" && what.contains("/assets/") {
            assert!(found.is_some(), "{what}");
        } else {
            assert_eq!(found, Some(value), "{what}: {name}");
        }
    }
    let policy = answer
        .headers
        .get("content-security-policy")
        .unwrap_or_else(|| panic!("{what}: no policy"));
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    ] {
        assert!(policy.contains(directive), "{what}: {directive} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{what}");
    assert!(answer.headers["permissions-policy"].contains("camera=()"), "{what}");
    assert!(!answer.headers.contains_key("server"), "{what}");
    assert!(!answer.headers.contains_key("x-powered-by"), "{what}");
}

#[tokio::test]
async fn every_answer_carries_its_headers() {
    let app = TestApp::new().await;
    let (open, dead, done) = (app.link().await, app.link().await, app.link_for("passport", None).await);
    issue::revoke(&app.portal, dead.id, Actor::Operator).await.unwrap();
    assert_eq!(app.drop_files(&done, &[("front", &png(1, 2_000))]).await.status(), 200);
    let front = |bytes: &[u8]| [file("front", bytes), end()].concat();
    let unreadable = vec![b'x'; 100];
    let requests: Vec<(u16, String)> = vec![
        (200, format!("GET {} HTTP/1.1\r\n", open.path)),
        (200, format!("GET {} HTTP/1.1\r\n", done.path)),
        (204, format!("OPTIONS {} HTTP/1.1\r\n", open.path)),
        (410, format!("GET {} HTTP/1.1\r\n", dead.path)),
        (404, "GET /d/nobody HTTP/1.1\r\n".into()),
        (404, "GET /nothing HTTP/1.1\r\n".into()),
        (404, "GET /nothing HTTP/1.1\r\nAccept: text/html\r\n".into()),
        (405, format!("PUT {} HTTP/1.1\r\n", open.path)),
        (405, "GET /hooks/sandbox HTTP/1.1\r\n".into()),
        (405, "POST /healthz HTTP/1.1\r\n".into()),
        (404, "POST /hooks/nobody HTTP/1.1\r\n".into()),
        (401, "POST /hooks/sandbox HTTP/1.1\r\n".into()),
        (415, format!("POST {} HTTP/1.1\r\n", open.path)),
        (
            415,
            format!(
                "POST {} HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Encoding: br\r\n",
                open.path
            ),
        ),
        (400, format!("POST {} HTTP/1.1\r\nContent-Type: multipart/form-data\r\n", open.path)),
        (403, format!("POST {} HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n", open.path)),
        (403, format!("POST {} HTTP/1.1\r\nOrigin: https://evil.example\r\n", open.path)),
        (
            403,
            format!(
                "POST {} HTTP/1.1\r\nOrigin: https://evil.example\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n",
                open.path
            ),
        ),
        (415, format!("POST {} HTTP/1.1\r\nOrigin: https://localhost\r\n", open.path)),
        (431, format!("GET {} HTTP/1.1\r\nX-Long: {}\r\n", open.path, "a".repeat(16 << 10))),
        (431, format!("GET {}?{} HTTP/1.1\r\n", open.path, "a".repeat(16 << 10))),
        (400, format!("GET {} HTTP/1.1\r\n{}", open.path, "X-A: b\r\n".repeat(64))),
        (303, format!("POST {}/passcode HTTP/1.1\r\n", open.path)),
        (200, "GET /assets/portal.css HTTP/1.1\r\n".into()),
        (200, "GET /assets/upload.js HTTP/1.1\r\n".into()),
        (200, "GET /assets/logo.svg HTTP/1.1\r\n".into()),
        (405, "POST /assets/logo.svg HTTP/1.1\r\n".into()),
        (200, "GET /healthz HTTP/1.1\r\n".into()),
        (200, "GET /readyz HTTP/1.1\r\n".into()),
    ];
    for (status, start) in requests {
        for accept in ["", "Accept: application/json\r\n"] {
            let mut raw = Raw::to(&app).await;
            raw.send(format!(
                "{start}Host: localhost\r\n{accept}Connection: close\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
            let answer = raw.answer().await;
            assert_eq!(answer.status, status, "{start}{accept}: {}", answer.body);
            assert_headers(&answer, &start);
        }
    }
    for (status, body) in [
        (422, front(b"")),
        (415, front(b"GIF89a")),
        (400, unreadable),
        (422, front(&png(1, 2_000))),
        (400, [part("Content-Disposition: form-data; name=\"x\"", b"y"), end()].concat()),
    ] {
        let mut raw = Raw::to(&app).await;
        raw.send(upload(&open.path, &body)).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_headers(&answer, "a refused upload");
    }
    let mut raw = Raw::to(&app).await;
    raw.send(head(&open.path, 90_000_000, "Connection: close\r\n")).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 413);
    assert_headers(&answer, "too large");
}

/// Mail scanners and chat previews fetch links over and over. The limit is for each address; it is no answer about the link.
#[tokio::test]
async fn pages_are_limited_for_each_address() {
    let app = TestApp::with_options(TestOptions {
        more: "[limits]\npages_per_address = 5\n".into(),
        ..TestOptions::default()
    })
    .await;
    let link = app.link_for("passport", None).await;
    for round in 0..8 {
        let answer = app.http.get(app.public(&link.path)).send().await.unwrap();
        assert_eq!(answer.status(), if round < 5 { 200 } else { 429 });
        assert_eq!(answer.headers().contains_key("retry-after"), round >= 5);
    }
    let elsewhere = client([127, 0, 0, 9].into());
    assert_eq!(elsewhere.get(app.public(&link.path)).send().await.unwrap().status(), 200);
    assert_eq!(
        app.drop_files(&link, &[("front", &png(1, 2_000))]).await.status(),
        200,
        "the drop is not a page"
    );
}

/// What the HTTP library answers before anything of ours is asked: no page, no header of ours, no version either, and the connection ends.
#[tokio::test]
async fn what_is_no_request_gets_a_bare_refusal() {
    let app = TestApp::new().await;
    let (name, value) = ("a".repeat(100), "b".repeat(200_000));
    for (status, bytes) in [
        (400, "BREW\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_owned()),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\n{name}: {value}")),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(200))),
    ] {
        let mut raw = Raw::to(&app).await;
        raw.send(bytes.as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, status, "{}", &bytes[..20.min(bytes.len())]);
        assert!(answer.body.is_empty(), "{}", answer.body);
        assert!(!answer.headers.contains_key("server"));
        assert_eq!(answer.headers.get("connection").map(String::as_str), Some("close"));
    }
}

/// Everything that is logged while these tests run, by all of them.
static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let log: Arc<Mutex<Vec<u8>>> = Arc::default();
    let to = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter("trace,actix_http=info,actix_server=info,h2=info,hyper_util=info,mio=info")
        .with_writer(move || Sink(to.clone()))
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    log
});

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const APPLICANT: &str = "maria-musterfrau-4711";
const FILE_NAME: &str = "ausweis-musterfrau.png";

#[tokio::test]
async fn nothing_of_a_person_is_shown_or_logged() {
    LazyLock::force(&LOG);
    let mut app = TestApp::with_options(TestOptions {
        more: "[company]\nname = \"Example Bank\"\nsupport = \"help@example.com\"\n".into(),
        ..TestOptions::default()
    })
    .await;
    let mut asked = ask(APPLICANT, "passport");
    asked.passcode = true;
    asked.metadata = Some("{\"case\":\"secret-case-0815\"}".into());
    let link = app.issue(asked).await;
    let code = link.passcode.clone().unwrap();
    let mut pages = vec![get(&app, &link.path).await.body];
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for tried in [wrong, code.as_str()] {
        let post = app.http.post(app.public(&format!("{}/passcode", link.path)));
        let answer = post
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("passcode={tried}"))
            .send()
            .await
            .unwrap();
        if let Some(cookie) = answer.headers().get("set-cookie") {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
            let bad = [file("front", b"GIF89a").as_slice(), &end()].concat();
            let good = [
                part(
                    &format!("Content-Disposition: form-data; name=\"front\"; filename=\"{FILE_NAME}\"\r\nContent-Type: image/png"),
                    &png(1, 90_000),
                ),
                end(),
            ]
            .concat();
            for body in [bad, good] {
                let mut raw = Raw::to(&app).await;
                raw.send([head(&link.path, body.len(), &format!("Cookie: {cookie}\r\n")).as_bytes(), &body].concat())
                    .await;
                pages.push(raw.answer().await.body);
            }
        }
        pages.push(answer.text().await.unwrap());
    }
    assert_eq!(app.state(&link).await, RequestState::Received);
    app.misbehave(&["500", "pending:1"]).await;
    app.work().await;
    app.restart().await;
    app.work().await;
    pages.push(get(&app, &link.path).await.body);
    pages.push(app.http.get(app.staff("/metrics")).send().await.unwrap().text().await.unwrap());
    // An internal failure, with a warning in the log, of a request that was changed from outside.
    let tampered = tampered(&app).await;
    pages.push(get(&app, &tampered.path).await.body);
    let personal = [APPLICANT, "musterfrau", FILE_NAME, "ausweis", "secret-case-0815"];
    for page in &pages {
        for trace in personal {
            assert!(!page.to_lowercase().contains(trace), "{trace} in {page}");
        }
        assert!(!page.contains("og:"), "nothing for previews");
    }
    let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
    assert!(log.contains("changed outside the portal"), "nothing was logged at all");
    for change in ["from=\"new\" to=\"awaiting\"", "to=\"received\"", "to=\"forwarding\""] {
        let found = log
            .lines()
            .filter(|line| line.contains(change) && line.contains(&format!("request={} provider=sandbox", link.id)));
        assert_eq!(found.count(), 1, "one line for {change}");
    }
    for secret in personal
        .into_iter()
        .chain([link.token.as_str(), tampered.token.as_str(), &link.token.to_uppercase()])
    {
        assert!(!log.to_lowercase().contains(&secret.to_lowercase()), "{secret} was logged");
    }
    for line in log.lines().filter(|line| line.contains("nightdrop")) {
        assert!(
            !line.contains(&format!("={code}")) && !line.contains(&format!("\"{code}\"")),
            "the code was logged: {line}"
        );
    }
}

/// A request whose link somebody replaced in the store, without the portal's secrets.
async fn tampered(app: &TestApp) -> Link {
    let link = app.link().await;
    let request = app.request(&link).await;
    let token = PlainToken::from_bytes([0x42; 20]);
    let planted = UploadLink {
        hashed: app.portal.secrets.hash_token(&token),
        generation: request.link.generation + 1,
        expires_at: request.link.expires_at + Duration::days(365),
        ..request.link
    };
    let change = Transition::Agent {
        by: Actor::Operator,
        action: AgentAction::Reissue {
            link: planted,
            terms_mac: [7; 32],
        },
    };
    app.portal.requests.transition(link.id, change).await.unwrap();
    Link {
        token: token.encode(),
        path: format!("/d/{}", token.encode()),
        ..link
    }
}

#[tokio::test]
async fn a_row_changed_without_the_pepper_opens_nothing() {
    let app = TestApp::new().await;
    let link = tampered(&app).await;
    let answer = get(&app, &link.path).await;
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(!answer.body.contains("<form"), "{}", answer.body);
    let post = app.drop_files(&link, &[("front", &png(1, 1_000)), ("back", &png(2, 1_000))]).await;
    assert_eq!(post.status(), 500);
    assert_nothing_held(&app, "tampered").await;
    // The same with the terms only: longer, and to another provider.
    let honest = app.link().await;
    let request = app.request(&honest).await;
    let change = Transition::Agent {
        by: Actor::Operator,
        action: AgentAction::Extend {
            until: request.link.expires_at + Duration::days(1),
            terms_mac: request.terms_mac,
        },
    };
    app.portal.requests.transition(honest.id, change).await.unwrap();
    assert_eq!(get(&app, &honest.path).await.status, 500);
    // A whole row made up: the hash of its link is only as good as the pepper behind it.
    let mut made_up = request.clone();
    let token = PlainToken::from_bytes([0x43; 20]);
    made_up.id.0[15] ^= 1;
    made_up.link.hashed = HashedToken(Sha256::digest(token.as_bytes()).into());
    let event = AuditEvent::new(app.portal.now(), Actor::Operator, AuditAction::LinkIssued);
    app.portal.requests.issue(made_up.clone(), None, event.clone()).await.unwrap();
    assert_eq!(get(&app, &format!("/d/{}", token.encode())).await.status, 404);
    made_up.id.0[14] ^= 1;
    made_up.link.hashed = app.portal.secrets.hash_token(&token);
    app.portal.requests.issue(made_up, None, event).await.unwrap();
    assert_eq!(get(&app, &format!("/d/{}", token.encode())).await.status, 500);
}
