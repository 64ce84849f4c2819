//! Answers that no provider should give, and the sorting of what comes of them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::connectors::OutboundDocument;
use crate::connectors::body::Segment;
use crate::connectors::fake::{Fake, Reply, failing_source, outbound_of};

pub fn endpoint(base_url: &str) -> Endpoint {
    Endpoint {
        base_url: base_url.to_owned(),
        allow_insecure: false,
        allow_private: false,
        allow_loopback: true,
        ca_file: None,
        proxy: None,
        timeout: Duration::seconds(20),
    }
}

fn upload(client: &Client, outbound: &OutboundDocument) -> Call {
    Call::sending(Method::POST, client.url("/documents?applicant=secret-person")).body(Body::new(
        "image/png",
        vec![Segment::Part(0)],
        outbound,
    ))
}

async fn outcome(reply: Reply) -> Failure {
    let fake = Fake::replies(vec![reply]).await;
    let client = Client::new(&endpoint(&fake.url())).unwrap();
    let failure = match client
        .send(upload(&client, &outbound_of("secret-person", &[("front", b"abc")], 2)))
        .await
    {
        Ok(answer) => answer.success().unwrap_err(),
        Err(failure) => failure,
    };
    // The cap, and what the system buffers on both sides of a socket.
    assert!(fake.written() < 24 << 20, "{} bytes were taken", fake.written());
    let text = format!("{failure:?}");
    assert!(
        !text.contains("secret-person") && !text.contains("127.0.0.1") && !text.contains("http://"),
        "{text}"
    );
    failure
}

#[tokio::test]
async fn statuses_are_sorted() {
    let ambiguous = |f: &Failure| matches!(f, Failure::Ambiguous { .. });
    let refused = |f: &Failure| matches!(f, Failure::Final { .. });
    for status in [408, 425, 500, 502, 504, 599] {
        assert!(ambiguous(&outcome(Reply::with(status, &[], b"{}")).await), "{status}");
    }
    for status in [301, 302, 307, 400, 404, 409, 410, 413, 415, 422] {
        assert!(
            refused(&outcome(Reply::with(status, &[("Location", "http://127.0.0.1:1/")], b"{}")).await),
            "{status}"
        );
    }
    for status in [401, 403] {
        assert!(
            matches!(outcome(Reply::with(status, &[], b"")).await, Failure::Credentials { .. }),
            "{status}"
        );
    }
    for status in [429, 503] {
        let failure = outcome(Reply::with(status, &[("Retry-After", "7")], b"")).await;
        assert!(
            matches!(failure, Failure::Definite { after: Some(after), new_key: false, .. } if after == Duration::seconds(7)),
            "{status}"
        );
    }
}

/// Answers that cannot be read leave the outcome open, and cost bounded memory and time.
#[tokio::test]
async fn unreadable_answers_are_ambiguous() {
    let head = |extra: &str| format!("HTTP/1.1 200 OK\r\n{extra}\r\n").into_bytes();
    let mut gzip = head("Content-Encoding: gzip\r\nContent-Length: 24\r\nContent-Type: application/json\r\n");
    // An empty object, compressed: it must not be unpacked.
    gzip.extend_from_slice(&[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0, 0, 0,
    ]);
    let many_headers: String = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long_header = format!("x-long: {}\r\n", "y".repeat(2 << 20));
    let chunked = head("Transfer-Encoding: chunked\r\n");
    let chunk = [b"4000\r\n".to_vec(), vec![b' '; 0x4000], b"\r\n".to_vec()].concat();
    let cases = [
        (
            "cut off",
            Reply::Raw([head("Content-Length: 100\r\n"), b"{\"id\":".to_vec()].concat()),
        ),
        ("not JSON", Reply::with(200, &[], b"<html>")),
        ("empty", Reply::with(200, &[], b"")),
        ("gzip", Reply::Raw(gzip)),
        (
            "10 GiB declared",
            Reply::Endless(head("Content-Length: 10737418240\r\n"), vec![b' '; 65_536]),
        ),
        ("endless chunks", Reply::Endless(chunked, chunk)),
        ("until closed", Reply::Endless(head(""), vec![b' '; 65_536])),
        ("100,000 headers", Reply::Raw(head(&many_headers))),
        (
            "endless headers",
            Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(1_000)),
        ),
        ("one long header", Reply::Raw(head(&long_header))),
        ("not HTTP", Reply::Raw(b"SSH-2.0-x\r\n\r\n".to_vec())),
        ("nothing", Reply::Drop),
    ];
    for (name, reply) in cases {
        let failure = outcome(reply).await;
        assert!(matches!(failure, Failure::Ambiguous { .. }), "{name}: {failure:?}");
    }
}

#[tokio::test]
async fn an_answer_up_to_the_cap_is_read_and_not_a_byte_more() {
    for (length, readable) in [(ANSWER_CAP, true), (ANSWER_CAP + 1, false)] {
        let mut body = vec![b' '; length];
        body[..2].copy_from_slice(b"{}");
        let fake = Fake::replies(vec![Reply::with(200, &[], &body)]).await;
        let client = Client::new(&endpoint(&fake.url())).unwrap();
        let answer = client.send(Call::asking(Method::GET, client.url("/"))).await.unwrap();
        assert_eq!(answer.json().is_some(), readable);
    }
}

#[tokio::test]
async fn silence_ends_with_the_time_out_and_is_ambiguous_unless_only_asked() {
    let fake = Fake::replies(vec![Reply::Silence]).await;
    let client = Client::new(&Endpoint {
        timeout: Duration::milliseconds(200),
        ..endpoint(&fake.url())
    })
    .unwrap();
    let failure = client
        .send(upload(&client, &outbound_of("a", &[("front", b"abc")], 2)))
        .await
        .unwrap_err();
    assert_eq!(
        (matches!(failure, Failure::Ambiguous { .. }), failure.problem().code.as_str()),
        (true, "provider.timeout")
    );
    let failure = client.send(Call::asking(Method::GET, client.url("/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::Definite { .. }));
}

#[tokio::test]
async fn what_never_left_is_definite() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outbound = outbound_of("a", &[("front", b"abc")], 2);
    let insecure = |url: &str| Endpoint {
        allow_insecure: true,
        ..endpoint(url)
    };
    for url in [
        format!("http://{free}"),
        format!("https://{free}"),
        "http://name.invalid".to_owned(),
    ] {
        let client = Client::new(&insecure(&url)).unwrap();
        let failure = client.send(upload(&client, &outbound)).await.unwrap_err();
        assert_eq!(
            (matches!(failure, Failure::Definite { .. }), failure.problem().code.as_str()),
            (true, "provider.unreachable"),
            "{url}"
        );
    }
    // A name that resolves to a refused address: not one connection is made.
    let fake = Fake::replies(vec![Reply::json(200, json!({}))]).await;
    let inward = Endpoint {
        allow_loopback: false,
        ..insecure(&format!("http://localhost:{}", fake.address.port()))
    };
    let client = Client::new(&inward).unwrap();
    assert!(matches!(
        client.send(upload(&client, &outbound)).await,
        Err(Failure::Definite { .. })
    ));
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_document_that_cannot_be_opened_is_poison_and_never_a_whole_request() {
    let fake = Fake::replies(vec![Reply::json(200, json!({}))]).await;
    let client = Client::new(&endpoint(&fake.url())).unwrap();
    let mut outbound = outbound_of("a", &[("front", b"abc")], 2);
    failing_source(&mut outbound);
    let failure = client.send(upload(&client, &outbound)).await.unwrap_err();
    assert!(matches!(failure, Failure::Poison { .. }), "{failure:?}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_body_has_its_length_and_no_transfer_encoding() {
    let fake = Fake::replies(vec![Reply::json(200, json!({}))]).await;
    let client = Client::new(&endpoint(&fake.url())).unwrap();
    client
        .send(upload(&client, &outbound_of("a", &[("front", b"abc")], 1)))
        .await
        .unwrap();
    let seen = &fake.seen()[0];
    assert_eq!(
        (seen.line.as_str(), seen.header("content-length")),
        ("POST /documents?applicant=secret-person HTTP/1.1", "3")
    );
    assert_eq!(
        (
            seen.header("transfer-encoding"),
            seen.header("accept-encoding"),
            seen.body.as_slice()
        ),
        ("", "", &b"abc"[..])
    );
}

#[tokio::test]
async fn a_setting_that_fits_no_header_sends_nothing() {
    let fake = Fake::replies(vec![Reply::json(200, json!({}))]).await;
    let client = Client::new(&endpoint(&fake.url())).unwrap();
    let call = Call::asking(Method::GET, client.url("/")).header("x-ok", "1").header("x bad", "1");
    assert!(matches!(client.send(call).await, Err(Failure::Credentials { .. })));
    assert!(fake.seen().is_empty());
}

#[test]
fn retry_after_is_seconds_or_a_date_or_nothing() {
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    let table = [
        ("0", Some(0)),
        (" 120 ", Some(120)),
        ("3600", Some(3_600)),
        ("3601", Some(3_600)),
        ("1000000000", Some(3_600)),
        ("99999999999999999999", Some(3_600)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("Sun, 06 Nov 2094 08:49:37 GMT", Some(3_600)),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("1994-11-06", None),
    ];
    for (value, seconds) in table {
        assert_eq!(retry_after(value, date), seconds.map(Duration::seconds), "{value}");
    }
    assert_eq!(
        retry_after("Sun, 06 Nov 1994 08:50:37 GMT", None),
        None,
        "a date without the provider's own clock says nothing"
    );
}

proptest! {
    #[test]
    fn retry_after_never_passes_its_cap(value in ".{0,40}", date in proptest::option::of(".{0,40}")) {
        if let Some(wait) = retry_after(&value, date.as_deref()) {
            prop_assert!((Duration::ZERO..=RETRY_AFTER_CAP).contains(&wait));
        }
    }
}

#[tokio::test]
async fn what_is_declared_as_something_else_is_no_json() {
    let table = [
        (None, true),
        (Some("application/json"), true),
        (Some("application/JSON; charset=utf-8"), true),
        (Some("application/vnd.dwolla.v1.hal+json"), true),
        (Some("text/html"), false),
        (Some("text/html; x=json"), false),
        (Some("text/plain"), false),
        (Some("application/jsonp"), false),
        (Some(""), false),
    ];
    for (declared, read) in table {
        let headers: Vec<(&str, &str)> = declared.map(|value| ("content-type", value)).into_iter().collect();
        let fake = Fake::replies(vec![Reply::with(200, &headers, b"{}")]).await;
        let client = Client::new(&endpoint(&fake.url())).unwrap();
        let answer = client.send(Call::asking(Method::GET, client.url("/x"))).await.unwrap();
        assert_eq!(answer.json().is_some(), read, "{declared:?}");
    }
}
