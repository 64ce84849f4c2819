//! A provider that exists only as a table, against a socket that records every byte.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use data_encoding::BASE64;
use serde_json::json;
use time::OffsetDateTime;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Noted, Reply, class_of, kind, names, no_secrets, outbound_of, settings_of};
use crate::connectors::sign::Encoding;
use crate::connectors::words::Reason;
use crate::settings::Secret;

/// A connector for `fake`, with these lines in its table. A secret's file name is its content.
fn connector(fake: &Fake, lines: &str) -> Arc<dyn Connector> {
    let table = format!(
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\n{lines}",
        fake.url()
    );
    build("http", &table.parse().unwrap(), no_secrets()).unwrap()
}

fn faults(lines: &str) -> Vec<String> {
    let table: toml::Table = format!("base_url='https://api.example.com'\n{lines}").parse().unwrap();
    settings_of(&table, HttpSettings::read)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|f| f.key)
        .collect()
}

fn two_parts() -> OutboundDocument {
    outbound_of("per,son", &[("front", &b"\x00front"[..]), ("back", b"back!")], 2)
}

fn receipt(references: &[&str]) -> Receipt {
    Receipt {
        references: references.iter().map(|r| (*r).to_owned()).collect(),
        received_at: OffsetDateTime::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn multipart_with_key_is_byte_exact_and_the_same_again() {
    let fake = Fake::replies(vec![
        Reply::Drop,
        Reply::json(201, json!({"data": {"id": 17, "state": "ok", "who": "per,son"}})),
    ])
    .await;
    let connector = connector(
        &fake,
        "api_key_file='sk'\nidempotency_header='Idempotency-Key'\nheaders={x-version='7'}\nkinds={government-id='ID_CARD'}\npart_names={front='FRONT_SIDE',back='BACK_SIDE'}\n\
         [upload]\npath='/a b/{applicant}/documents'\nfields={type='{kind}',side='{part}',ref='{document}'}\nreference='/data/id'\nanswer_names={'/data/who'='{applicant}'}\n\
         [verdict]\nstatus='/data/state'\naccepted=['ok']",
    );
    let outbound = two_parts();
    assert!(matches!(
        connector.deliver(&outbound, &NoProgressLog).await,
        Err(Failure::Ambiguous { .. })
    ));
    let delivered = connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(
        delivered,
        Delivered {
            references: vec!["17".into()],
            verdict: Verdict::Accepted
        }
    );
    let seen = fake.seen();
    assert_eq!(seen[0], seen[1], "a retry of one epoch is the same request, byte by byte");
    assert_eq!(seen[0].line, "POST /a%20b/per%2Cson/documents HTTP/1.1");
    assert_eq!((seen[0].header("authorization"), seen[0].header("x-version")), ("Bearer sk", "7"));
    assert_eq!(seen[0].header("idempotency-key"), outbound.keys.idempotency(0));
    let (boundary, id) = (outbound.keys.boundary(0), outbound.document);
    let text = |name: &str, value: &str| format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let file = |name: &str, part: &str, data: &str| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"document-{id}-{part}.png\"\r\nContent-Type: image/png\r\n\r\n{data}\r\n"
        )
    };
    let expected = [
        text("ref", &id.to_string()),
        text("side", "FRONT_SIDE"),
        text("type", "ID_CARD"),
        file("FRONT_SIDE", "front", "\0front"),
        file("BACK_SIDE", "back", "back!"),
        format!("--{boundary}--\r\n"),
    ];
    assert_eq!(seen[0].text(), expected.concat());
    assert_eq!(class_of(connector.as_ref()), ProviderClass::IdempotencyKey);
}

#[tokio::test]
async fn json_shapes_nest_and_carry_every_part_in_one_request() {
    for (shape, prefix) in [("base64", ""), ("data-uri", "data:image/png;base64,")] {
        let fake = Fake::replies(vec![Reply::json(200, json!({"id": "d1", "who": "per,son"}))]).await;
        let lines = format!(
            "auth='basic'\nuser='u'\napi_key_file='p'\n[upload]\nmethod='PATCH'\npath='/docs'\nshape='{shape}'\nfile_field='/images/{{part}}'\n\
             fields={{'/meta/owner'='{{applicant}}'}}\nreference='/id'\nanswer_names={{'/who'='{{applicant}}'}}"
        );
        let connector = connector(&fake, &lines);
        connector.deliver(&two_parts(), &NoProgressLog).await.unwrap();
        let seen = &fake.seen()[0];
        assert_eq!(
            (seen.line.as_str(), seen.header("authorization")),
            ("PATCH /docs HTTP/1.1", "Basic dTpw")
        );
        let encoded = |data: &[u8]| format!("{prefix}{}", BASE64.encode(data));
        let expected = json!({"meta": {"owner": "per,son"}, "images": {"front": encoded(b"\x00front"), "back": encoded(b"back!")}});
        assert_eq!(seen.json(), expected);
        assert_eq!(class_of(connector.as_ref()), ProviderClass::NoRepeat);
    }
}

#[tokio::test]
async fn raw_puts_continue_behind_the_parts_that_are_done() {
    let fake = Fake::start(|n, seen| match n {
        0 => Reply::json(200, json!({"id": "r-front", "who": "per,son"})),
        1 => Reply::with(500, &[], b""),
        _ => Reply::json(200, json!({"id": format!("again {}", seen.line.len()), "who": "per,son"})),
    })
    .await;
    let connector = connector(
        &fake,
        "auth='header'\nauth_header='X-Api-Key'\napi_key_file='sk'\n[upload]\nmethod='PUT'\npath='/documents/{document}/{part}'\nshape='raw'\nreference='/id'\nanswer_names={'/who'='{applicant}'}\nfixed_id=true",
    );
    assert_eq!(class_of(connector.as_ref()), ProviderClass::FixedId);
    let (mut outbound, noted) = (two_parts(), Noted::default());
    assert!(matches!(connector.deliver(&outbound, &noted).await, Err(Failure::Ambiguous { .. })));
    outbound.progress = noted.steps.lock().unwrap().clone();
    assert_eq!(outbound.progress, [("part:front".to_owned(), "r-front".to_owned())]);
    let delivered = connector.deliver(&outbound, &noted).await.unwrap();
    assert_eq!((delivered.references.len(), delivered.verdict), (2, Verdict::Pending));
    let seen = fake.seen();
    let bodies: Vec<_> = seen
        .iter()
        .map(|s| (s.body.as_slice(), s.header("content-type"), s.header("x-api-key")))
        .collect();
    assert_eq!(
        bodies,
        [
            (&b"\x00front"[..], "image/png", "sk"),
            (b"back!", "image/png", "sk"),
            (b"back!", "image/png", "sk")
        ]
    );
    let lost = Noted {
        lost_at: Some(0),
        ..Noted::default()
    };
    outbound.progress.clear();
    assert_eq!(connector.deliver(&outbound, &lost).await, Err(Failure::Lost));
    assert_eq!(fake.seen().len(), 4, "nothing is sent after the lease is lost");
}

#[tokio::test]
async fn signatures_cover_the_whole_streamed_body() {
    let fake = Fake::replies(vec![Reply::json(200, json!({"who": "per,son"}))]).await;
    let signing = |signs: &str| {
        format!(
            "[upload]\npath='/d'\nanswer_names={{'/who'='{{applicant}}'}}\n[signing]\nheader='X-Sig'\nsecret_file='k'\nalgorithm='sha512'\nencoding='base64'\nsigns='{signs}'\ntimestamp_header='X-Ts'"
        )
    };
    connector(&fake, &signing("body"))
        .deliver(&two_parts(), &NoProgressLog)
        .await
        .unwrap();
    connector(&fake, &signing("timestamp.body"))
        .deliver(&two_parts(), &NoProgressLog)
        .await
        .unwrap();
    let seen = fake.seen();
    let mac = |pieces: &[&[u8]]| BASE64.encode(&sign::mac(Algorithm::Sha512, b"k", pieces));
    assert_eq!(
        (seen[0].header("x-sig"), seen[0].header("x-ts")),
        (mac(&[&seen[0].body]).as_str(), "")
    );
    let time = seen[1].header("x-ts");
    assert!(time.parse::<i64>().unwrap() > 1_700_000_000);
    assert_eq!(seen[1].header("x-sig"), mac(&[time.as_bytes(), b".", &seen[1].body]));
}

#[tokio::test]
async fn statuses_mean_what_the_table_says() {
    let fake = Fake::replies(vec![
        Reply::json(409, json!({"code": 1000, "who": "per,son"})),
        Reply::json(409, json!({"code": 1000})),
        Reply::with(503, &[("Retry-After", "9")], b""),
        Reply::with(418, &[], b""),
        Reply::json(200, json!({"no": "id", "who": "per,son"})),
    ])
    .await;
    let connector = connector(
        &fake,
        "[upload]\npath='/d'\nreference='/id'\nanswer_names={'/who'='{applicant}'}\nduplicate_statuses=[409]\ndefinite_statuses=[418]",
    );
    assert_eq!(class_of(connector.as_ref()), ProviderClass::DuplicateAnswered);
    let deliver = async || connector.deliver(&two_parts(), &NoProgressLog).await;
    assert!(deliver().await.is_ok());
    assert!(
        matches!(deliver().await, Err(Failure::Ambiguous { .. })),
        "a duplicate of which nobody knows whose"
    );
    assert!(
        matches!(deliver().await, Err(Failure::Ambiguous { .. })),
        "503 is not in definite_statuses"
    );
    assert!(matches!(deliver().await, Err(Failure::Definite { .. })));
    assert!(
        matches!(deliver().await, Err(Failure::Ambiguous { .. })),
        "a success that names no reference"
    );
}

#[tokio::test]
async fn reconciling_finds_all_parts_none_or_cannot_say() {
    let outbound = two_parts();
    let item = |n: usize| json!({"name": outbound.file_name(n), "id": n});
    let list = |items: Vec<Value>| Reply::json(200, json!({"data": items}));
    let fake = Fake::replies(vec![
        list(vec![json!({"name": "other.png", "id": 9})]),
        list(vec![item(1), item(0)]),
        list(vec![item(0)]),
        Reply::json(200, json!({})),
        Reply::with(500, &[], b""),
    ])
    .await;
    let connector = connector(
        &fake,
        "[upload]\npath='/d'\nreference='/id'\nper_part=true\n[list]\npath='/a/{applicant}/docs'\nitems='/data'\nfile_name='/name'\nreference='/id'",
    );
    assert_eq!(class_of(connector.as_ref()), ProviderClass::Reconcile);
    assert_eq!(connector.reconcile(&outbound).await.unwrap(), Presence::Absent);
    let Presence::Present(found) = connector.reconcile(&outbound).await.unwrap() else {
        panic!()
    };
    assert_eq!(found.references, ["0", "1"]);
    assert_eq!(
        connector.reconcile(&outbound).await.unwrap(),
        Presence::Absent,
        "the next attempt reads the list and sends only the other part"
    );
    let failure = connector.reconcile(&outbound).await.unwrap_err();
    assert!(matches!(failure, Failure::Definite { .. }), "no list in the answer: {failure:?}");
    assert!(connector.reconcile(&outbound).await.is_err());
    assert_eq!(fake.seen()[0].line, "GET /a/per%2Cson/docs HTTP/1.1");
}

#[tokio::test]
async fn verdicts_are_polled_and_missing_is_listed() {
    let status = |status: &str, reason: &str| Reply::json(200, json!({"status": status, "why": reason}));
    let fake = Fake::replies(vec![
        status("new word", ""),
        status("approved", ""),
        status("approved", ""),
        status("declined", "BLURRED"),
        status("approved", ""),
        status("declined", "PQ"),
        Reply::json(
            200,
            json!({"docs": [{"t": "ID_CARD", "s": "Required"}, {"t": "X\u{7}", "s": "Invalid", "r": "expired"}, {"t": "ID_CARD", "s": "Approved"}, {"s": "Required"}]}),
        ),
    ])
    .await;
    let connector = connector(
        &fake,
        "confirm='verdict'\nkinds={government-id='ID_CARD'}\nreasons={PQ='not_original'}\n[upload]\npath='/d'\nreference='/id'\nanswer_names={'/who'='{applicant}'}\n\
         [verdict]\npath='/d/{reference}'\nstatus='/status'\naccepted=['approved']\nrejected=['declined']\nreason='/why'\n\
         [missing]\npath='/a/{applicant}'\nitems='/docs'\nname='/t'\nstatus='/s'\nwanted=['Required','Invalid']\nreason='/r'",
    );
    let outbound = two_parts();
    let verdict = async |references: &[&str]| connector.verdict(&outbound, &receipt(references)).await.unwrap();
    assert_eq!(verdict(&["a/b"]).await, Verdict::Pending, "an unknown word confirms nothing");
    assert_eq!(verdict(&["1"]).await, Verdict::Accepted);
    assert_eq!(verdict(&["1", "2"]).await, Verdict::Rejected(Reason::Unreadable.problem()));
    assert_eq!(verdict(&["1", "2"]).await, Verdict::Rejected(Reason::NotOriginal.problem()));
    assert_eq!(verdict(&[]).await, Verdict::Pending);
    assert_eq!(fake.seen()[0].line, "GET /d/a%2Fb HTTP/1.1");
    let missing = connector.missing(&outbound.applicant).await.unwrap();
    let short: Vec<_> = missing
        .iter()
        .map(|m| {
            (
                m.document.as_ref().map(|d| d.as_str()),
                m.provider_name.as_str(),
                m.reason.is_some(),
            )
        })
        .collect();
    assert_eq!(short, [(Some("government-id"), "ID_CARD", false), (None, "X", true)]);
    assert!(connector.accepts(&kind("government-id"), &names(&["front"])).is_ok());
    assert!(connector.accepts(&kind("selfie"), &names(&["front"])).is_err());
}

#[test]
fn callbacks_of_every_scheme() {
    let body = br#"{"data":{"id":"d1","who":"person"}}"#;
    let (hex, time) = (Encoding::Hex.encode(&sign::mac(Algorithm::Sha1, b"key", &[body])), "1700000000");
    let stamped = format!(
        "t={time},v1={}",
        Encoding::Hex.encode(&sign::mac(Algorithm::Sha256, b"key", &[time.as_bytes(), b".", body]))
    );
    let standard = sign::sign_standard(&BASE64.decode(b"a2V5").unwrap(), "id", 1_700_000_000, body);
    let cases = [
        (
            "scheme='body'\nheader='X-Sig'\nalgorithm='sha1'",
            "key",
            vec![("x-sig", hex.as_str())],
        ),
        ("scheme='timestamped'\nheader='X-Sig'", "key", vec![("x-sig", stamped.as_str())]),
        (
            "scheme='standard'",
            "whsec_a2V5",
            vec![
                ("webhook-id", "id"),
                ("webhook-timestamp", time),
                ("webhook-signature", standard.as_str()),
            ],
        ),
    ];
    for (scheme, secret, headers) in cases {
        let table = format!(
            "base_url='https://api.example.com'\nwebhook_secret_file='other'\nwebhook_secret_previous_file='good'\n[upload]\npath='/d'\nanswer_names={{'/who'='{{applicant}}'}}\n[callback]\n{scheme}\nreference='/data/id'\napplicant='/data/who'"
        );
        let other = BASE64.encode(b"other");
        let read = |path: &str| Ok(Secret::new(if path == "good" { secret } else { &other }));
        let connector = build("http", &table.parse().unwrap(), &read).unwrap();
        let headers: Vec<_> = headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let call = |headers: &[(String, String)], body: &[u8]| {
            connector.callback(&Callback {
                headers,
                query: "",
                body,
                now: 1_700_000_000,
            })
        };
        let hints = vec![
            Hint::Reference("d1".into()),
            Hint::Applicant(ApplicantRef::parse("person").unwrap()),
        ];
        assert_eq!(call(&headers, body), Ok(hints), "{scheme}");
        assert_eq!(call(&headers, b"{}"), Err(CallbackRefused::Signature), "{scheme}");
        assert_eq!(call(&[], body), Err(CallbackRefused::Signature), "{scheme}");
        let doubled = [headers.clone(), headers].concat();
        assert_eq!(call(&doubled, body), Err(CallbackRefused::Signature), "{scheme}");
    }
    let table = "base_url='https://api.example.com'\n[upload]\npath='/d'\nanswer_names={'/who'='{applicant}'}"
        .parse()
        .unwrap();
    let silent = build("http", &table, no_secrets()).unwrap();
    assert_eq!(
        silent.callback(&Callback {
            headers: &[],
            query: "",
            body,
            now: 0
        }),
        Err(CallbackRefused::NotUsed)
    );
}

#[test]
fn tables_with_faults_are_refused_with_all_of_them() {
    let sound = "[upload]\npath='/d'\nanswer_names={'/who'='{applicant}'}";
    assert!(faults(sound).is_empty());
    let cases = [
        ("", vec!["upload"]),
        (
            "[upload]\nanswer_names={'/who'='{applicant}'}\npath='d{part}'\nshape='xml'\nreference='id'\ntypo=1",
            vec!["upload.path", "upload.reference", "upload.shape", "upload.typo"],
        ),
        ("[upload]\nanswer_names={'/who'='{applicant}'}\npath='/{nope}'", vec!["upload.path"]),
        ("[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d}'", vec!["upload.path"]),
        ("[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d{part'", vec!["upload.path"]),
        (
            "confirm='verdict'\n[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'",
            vec!["verdict"],
        ),
        (
            "[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'\nfixed_id=true",
            vec!["upload.fixed_id"],
        ),
        (
            "[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'\n[verdict]\npath='/{reference}'\nstatus='/s'\naccepted=['a']\nrejected=['a']",
            vec!["upload.reference", "verdict.accepted"],
        ),
        (
            "[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'\n[callback]\nheader='X'",
            vec!["callback.reference", "webhook_secret_file"],
        ),
        (
            "webhook_secret_file='***'\n[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'\n[callback]\nscheme='standard'\nreference='/id'",
            vec!["webhook_secret_file"],
        ),
        (
            "auth='header'\n[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'",
            vec!["api_key_file", "auth_header"],
        ),
        (
            "headers={'Content-Length'='1'}\n[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'",
            vec!["headers"],
        ),
        (
            "reasons={X='nope'}\nkinds={'Bad Kind'='x'}\n[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'",
            vec!["kinds", "reasons"],
        ),
        (
            "[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'\n[signing]\nsigns='timestamp.body'",
            vec!["signing.header", "signing.secret_file", "signing.timestamp_header"],
        ),
        (
            "[upload]\nanswer_names={'/who'='{applicant}'}\npath='/d'\n[missing]\npath='/m'\nname='/n'\nstatus='/s'",
            vec!["missing.wanted"],
        ),
    ];
    assert_faults(&cases);
}

fn assert_faults(cases: &[(&str, Vec<&str>)]) {
    for (lines, expected) in cases {
        let mut found = faults(lines);
        found.sort();
        assert_eq!(found, *expected, "{lines}");
    }
}

/// What operators read is what stands here.
#[test]
fn the_page_for_operators_has_every_key() {
    let page = include_str!("../../../assets/docs/providers/http.md");
    let head = include_str!("settings.rs").split("//! ```").nth(1).unwrap();
    let keys: Vec<&str> = head.lines().skip(1).map(|line| line.trim_start_matches("//!").trim()).collect();
    assert!(keys.len() > 40);
    for line in keys.into_iter().filter(|line| !line.is_empty()) {
        assert!(page.contains(line), "{line}");
    }
}

mod agreement;
mod receipts;
mod two_steps;
