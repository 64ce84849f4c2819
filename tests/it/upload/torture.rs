//! Requests that no browser writes. After each: an answer or a closed connection, nothing half-written, and a portal that goes on.

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::workflow::issue;

use super::passport;
use crate::raw::{Answer, BOUNDARY, Half, Raw, assert_nothing_held, end, file, head, part, upload};
use crate::support::{Link, TestApp, png};

fn own(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn sent(app: &TestApp, bytes: &[u8]) -> Answer {
    let mut raw = Raw::to(app).await;
    raw.send(bytes).await;
    raw.answer().await
}

async fn untouched(app: &TestApp, link: &Link, why: &str) {
    assert_nothing_held(app, why).await;
    let answer = app.http.get(app.public(&link.path)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{why}");
    assert!(answer.text().await.unwrap().contains("<form"), "{why}");
}

#[tokio::test]
async fn broken_forms_end_in_a_refusal() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let picture = png(1, 100_000);
    let good = [file("front", &picture), end()].concat();
    let quoted = format!("multipart/form-data; boundary={BOUNDARY}");
    let disposition = "Content-Disposition: form-data; name=\"front\"; filename=\"a.png\"";
    let long = "b".repeat(71);
    let nested = part(
        "Content-Disposition: form-data; name=\"front\"\r\nContent-Type: multipart/mixed; boundary=inner",
        b"--inner\r\nContent-Disposition: file; filename=\"a.png\"\r\n\r\nx\r\n--inner--\r\n",
    );
    let cases: Vec<(&str, String, Vec<u8>, &[u16])> = vec![
        ("no type", String::new(), good.clone(), &[415]),
        (
            "another type",
            "application/x-www-form-urlencoded".into(),
            b"front=x".to_vec(),
            &[415],
        ),
        (
            "almost the type",
            "multipart/form-datax; boundary=x".into(),
            good.clone(),
            &[400, 415],
        ),
        (
            "another multipart",
            format!("multipart/mixed; boundary={BOUNDARY}"),
            good.clone(),
            &[415],
        ),
        ("no boundary", "multipart/form-data".into(), good.clone(), &[400]),
        ("empty boundary", "multipart/form-data; boundary=".into(), good.clone(), &[400]),
        (
            "empty quoted boundary",
            "multipart/form-data; boundary=\"\"".into(),
            good.clone(),
            &[400],
        ),
        (
            "wrong boundary",
            "multipart/form-data; boundary=other".into(),
            good.clone(),
            &[400, 422],
        ),
        (
            "a boundary of 71",
            format!("multipart/form-data; boundary={long}"),
            String::from_utf8_lossy(&[file("front", b"x"), end()].concat())
                .replace(BOUNDARY, &long)
                .into_bytes(),
            &[400],
        ),
        (
            "a boundary of 60,000",
            format!("multipart/form-data; boundary={}", "b".repeat(60_000)),
            good.clone(),
            &[431],
        ),
        ("no end", quoted.clone(), file("front", &picture)[..90_000].to_vec(), &[400]),
        (
            "no end behind the file",
            quoted.clone(),
            [&file("front", &picture)[..]].concat()[..good.len() - 40].to_vec(),
            &[400],
        ),
        ("no body", quoted.clone(), vec![], &[400, 422]),
        ("only the end", quoted.clone(), end(), &[422]),
        ("dashes", quoted.clone(), b"--".repeat(50_000), &[400, 422]),
        ("line ends", quoted.clone(), b"\r\n".repeat(50_000), &[400, 422]),
        ("zeros", quoted.clone(), vec![0; 100_000], &[400, 422]),
        (
            "a header of 200 KB",
            quoted.clone(),
            [part(&format!("{disposition}\r\nX-Long: {}", "x".repeat(200_000)), &picture), end()].concat(),
            &[400],
        ),
        (
            "forty header lines",
            quoted.clone(),
            [part(&format!("{disposition}{}", "\r\nX-Y: z".repeat(40)), &picture), end()].concat(),
            &[400],
        ),
        ("a form in the form", quoted.clone(), [nested, end()].concat(), &[400]),
        (
            "no disposition",
            quoted.clone(),
            [part("Content-Type: image/png", &picture), end()].concat(),
            &[400],
        ),
        (
            "an attachment",
            quoted.clone(),
            [part("Content-Disposition: attachment; name=\"front\"", &picture), end()].concat(),
            &[400],
        ),
        (
            "two names",
            quoted.clone(),
            [
                part(
                    "Content-Disposition: form-data; name=\"side\"; name=\"front\"; filename=\"a\"",
                    &picture,
                ),
                end(),
            ]
            .concat(),
            &[400],
        ),
        (
            "a name of 10 KiB",
            quoted.clone(),
            [file(&"n".repeat(10_240), &picture), end()].concat(),
            &[400],
        ),
    ];
    for (name, kind, body, statuses) in cases {
        let answer = sent(&app, &own(&link.path, &kind, &body)).await;
        assert!(statuses.contains(&answer.status), "{name}: {} {}", answer.status, answer.body);
        assert!(answer.rest.is_empty(), "{name}: a second answer");
        untouched(&app, &link, name).await;
    }
    assert_eq!(sent(&app, &upload(&link.path, &good)).await.status, 200);
}

#[tokio::test]
async fn a_hundred_thousand_parts_are_eight_too_many() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let field = part("Content-Disposition: form-data; name=\"x\"", b"");
    let body = [field.repeat(100_000), end()].concat();
    let answer = sent(&app, &upload(&link.path, &body)).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    untouched(&app, &link, "many parts").await;
}

#[tokio::test]
async fn names_of_files_harm_nobody() {
    let app = TestApp::new().await;
    let long = "ä".repeat(5_000);
    let names: [&[u8]; 14] = [
        b"filename=\"../../../../etc/passwd\"",
        b"filename=\"C:\\\\Windows\\\\x.png\"",
        b"filename=\"a\0b.png\"",
        b"filename=\"\xe2\x80\xaegnp.exe\"",
        b"filename=\"a%0d%0aSet-Cookie: x=y.png\"",
        b"filename=\"<script>alert(1)</script>.png\"",
        b"filename=\"\xff\xfe.png\"",
        b"filename*=UTF-8''%e2%82%ac.png",
        b"filename=\"a.png\"; filename*=UTF-8''b.exe",
        b"filename*=utf-7''+ADw-script",
        b"filename*=UTF-8''%ff%00",
        b"filename=\"unclosed",
        b"filename=CON",
        b"filename=\"\"",
    ];
    let mut all: Vec<Vec<u8>> = names.iter().map(|n| n.to_vec()).collect();
    all.push(format!("filename=\"{long}\"").into_bytes());
    for name in all {
        let link = passport(&app).await;
        let header = [b"Content-Disposition: form-data; name=\"front\"; ", &name[..]].concat();
        let body = [
            format!("--{BOUNDARY}\r\n").as_bytes(),
            &header,
            b"\r\n\r\n",
            &png(1, 3_000),
            b"\r\n",
            &end(),
        ]
        .concat();
        let answer = sent(&app, &upload(&link.path, &body)).await;
        let shown = String::from_utf8_lossy(&name).into_owned();
        assert!(matches!(answer.status, 200 | 400), "{shown}: {} {}", answer.status, answer.body);
        for trace in ["passwd", "alert(1)", ".exe", "Set-Cookie: x", "ääää"] {
            assert!(!answer.body.contains(trace), "{shown}: {}", answer.body);
        }
        assert!(!answer.headers.get("set-cookie").is_some_and(|c| c.contains("x=y")));
        let page = app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap();
        assert!(!page.contains("passwd") && !page.contains("alert(1)"));
    }
    app.work().await;
    for received in app.received().await {
        let text = received.to_string();
        for trace in ["passwd", "script", ".exe", "Windows"] {
            assert!(!text.contains(trace), "the provider was told a name of the sender's: {text}");
        }
    }
}

#[tokio::test]
async fn a_request_is_read_in_one_way_only() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let path = &link.path;
    let kind = format!("Host: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n");
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let cases = [
        (
            "length and chunks",
            format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "chunks and length",
            format!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: 44\r\n\r\n{smuggled}")),
        (
            "twice the same length",
            format!("Content-Length: 44\r\nContent-Length: 44\r\n\r\n{smuggled}"),
        ),
        ("a list of lengths", format!("Content-Length: 44, 44\r\n\r\n{smuggled}")),
        ("a signed length", format!("Content-Length: +44\r\n\r\n{smuggled}")),
        ("a negative length", format!("Content-Length: -1\r\n\r\n{smuggled}")),
        (
            "an endless length",
            format!("Content-Length: 99999999999999999999999\r\n\r\n{smuggled}"),
        ),
        (
            "chunks twice",
            format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "chunks and another",
            format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("strange chunks", format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}")),
        (
            "space before the colon",
            format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("a folded line", format!("X-A: b\r\n c: d\r\nContent-Length: 0\r\n\r\n{smuggled}")),
        ("a bad chunk size", format!("Transfer-Encoding: chunked\r\n\r\nzz\r\n{smuggled}")),
        (
            "an endless chunk size",
            format!("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{smuggled}"),
        ),
        ("two hosts", format!("Host: other\r\nContent-Length: 0\r\n\r\n{smuggled}")),
    ];
    for (name, rest) in cases {
        let answer = sent(&app, format!("POST {path} HTTP/1.1\r\n{kind}{rest}").as_bytes()).await;
        // A body that breaks off has nobody left to answer; everything else gets its 400.
        let broken = name.ends_with("chunk size");
        assert!(
            answer.status == 400 || broken && answer.status == 0,
            "{name}: {} {}",
            answer.status,
            answer.body
        );
        assert!(answer.rest.is_empty(), "{name}: {}", String::from_utf8_lossy(&answer.rest));
        untouched(&app, &link, name).await;
    }
    let old = sent(&app, format!("GET {path}\r\n\r\n").as_bytes()).await;
    assert!(matches!(old.status, 0 | 400), "{}", old.status);
    // What stands behind a body that was refused early belongs to that body.
    let body = [&vec![b'x'; 100_000][..], smuggled.as_bytes()].concat();
    for path in [format!("/d/{}", "0".repeat(32)), path.clone(), "/nothing".into(), "/healthz".into()] {
        let answer = sent(&app, &own(&path, "text/plain", &body)).await;
        assert!(answer.status >= 400, "{path}");
        assert!(answer.rest.is_empty(), "{path}: {}", String::from_utf8_lossy(&answer.rest));
    }
}

#[tokio::test]
async fn encoded_bodies_are_not_unpacked() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let before = memory();
    for encoding in ["br", "gzip", "deflate", "zstd", "gzip, br", "x-unknown"] {
        for _ in 0..20 {
            let body = vec![0x5b; 4_096];
            let mut raw = Raw::to(&app).await;
            raw.send(
                [
                    head(&link.path, body.len(), &format!("Content-Encoding: {encoding}\r\n")).as_bytes(),
                    &body,
                ]
                .concat(),
            )
            .await;
            assert_eq!(raw.answer().await.status, 415, "{encoding}");
        }
    }
    assert!(
        memory().saturating_sub(before) < 64 << 20,
        "it grew by {}",
        memory().saturating_sub(before)
    );
    untouched(&app, &link, "encoded").await;
}

/// Bytes of this process in memory.
fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test]
async fn a_dead_link_answers_who_waits_to_be_asked() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    issue::revoke(&app.portal, link.id, Actor::Operator).await.unwrap();
    let mut raw = Raw::to(&app).await;
    raw.send(head(&link.path, 10_000_000, "Expect: 100-continue\r\n")).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 410);
    assert_nothing_held(&app, "withdrawn").await;
}

#[tokio::test]
async fn a_body_may_come_byte_by_byte() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let body = [file("front", &png(1, 3_000)), end()].concat();
    let mut raw = Raw::to(&app).await;
    for byte in upload(&link.path, &body) {
        assert!(raw.send([byte]).await);
    }
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn stuck_streams_of_one_link_are_no_matter_to_another() {
    let app = TestApp::new().await;
    let (one, two) = (passport(&app).await, passport(&app).await);
    let body = [file("front", &png(1, 300_000)), end()].concat();
    let _stuck = (Half::of(&app, &one, &body).await, Half::of(&app, &one, &body).await);
    assert_eq!(app.drop_files(&two, &[("front", &png(2, 300_000))]).await.status(), 200);
}
