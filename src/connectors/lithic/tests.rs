//! Submissions, addresses and refusals of Lithic.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Noted, Reply, kind, names, no_secrets, outbound_of, reference, shown};

fn connector(fake: &Fake, lines: &str) -> Arc<dyn Connector> {
    let table = format!(
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\nwebhook_secret_file='whsec_a2V5'\napi_key_file='key'\nupload_hosts=['127.0.0.1']\n{lines}",
        fake.url()
    );
    build("lithic", &table.parse().unwrap(), no_secrets()).unwrap_or_else(|f| panic!("{f:?}"))
}

fn submission(base: &str, uploads: &[(&str, &str)]) -> Value {
    let all: Vec<Value> = uploads.iter().map(|(side, status)| json!({"image_type": side, "status": status, "status_reasons": ["DOCUMENT_EXPIRED"], "upload_url": format!("{base}/bucket/{side}?sig=1")})).collect();
    json!({"token": "doc1", "account_holder_token": "ah1", "document_type": "DRIVERS_LICENSE", "entity_token": "en1", "required_document_uploads": all})
}

fn both() -> OutboundDocument {
    outbound_of("ah1,en1", &[("front", b"x"), ("back", b"y")], 1)
}

const OPEN: [(&str, &str); 2] = [("FRONT", "PENDING_UPLOAD"), ("BACK", "PENDING_UPLOAD")];

/// The list, the opened submission, and a bucket. Once the bucket has something, the submission is shown as uploaded.
async fn lithic(listed: Option<&'static [(&'static str, &'static str)]>, open: Reply, bucket: Reply) -> Fake {
    const WHOLE: [(&str, &str); 2] = [("FRONT", "UPLOADED"), ("BACK", "UPLOADED")];
    let filled = std::sync::atomic::AtomicBool::new(false);
    Fake::start(move |_, seen| {
        let base = format!("http://{}", seen.header("host"));
        let has_some = filled.fetch_or(seen.line.contains("/bucket/"), std::sync::atomic::Ordering::SeqCst);
        match seen.line.split(' ').next().unwrap() {
            "GET" if seen.line.contains("/doc1 ") && has_some => Reply::json(200, submission(&base, &WHOLE)),
            "GET" if seen.line.contains("/doc1 ") => Reply::json(200, submission(&base, listed.unwrap_or(&OPEN))),
            "GET" => Reply::json(
                200,
                json!({"data": listed.map(|l| submission(&base, l)).into_iter().collect::<Vec<_>>()}),
            ),
            "PUT" => bucket.clone(),
            _ if matches!(&open, Reply::Silence) => Reply::json(201, submission(&base, &OPEN)),
            _ => open.clone(),
        }
    })
    .await
}

fn count(fake: &Fake, verb: &str) -> usize {
    fake.seen().iter().filter(|s| s.line.starts_with(verb)).count()
}

#[tokio::test]
async fn an_untouched_submission_is_used_and_a_half_one_is_for_a_person() {
    let ok = || Reply::with(200, &[], b"");
    let fake = lithic(Some(&OPEN), Reply::Drop, ok()).await;
    connector(&fake, "").deliver(&both(), &NoProgressLog).await.unwrap();
    assert_eq!((count(&fake, "POST"), count(&fake, "PUT")), (0, 2), "no attempt is spent");
    let put = fake.seen().into_iter().find(|s| s.line.starts_with("PUT")).unwrap();
    assert_eq!(
        (put.header("authorization"), put.header("content-type"), put.line.as_str()),
        ("", "image/png", "PUT /bucket/FRONT?sig=1 HTTP/1.1")
    );
    let fake = lithic(Some(&[("FRONT", "UPLOADED"), ("BACK", "PENDING_UPLOAD")]), Reply::Drop, ok()).await;
    let failure = connector(&fake, "").deliver(&both(), &NoProgressLog).await.unwrap_err();
    assert_eq!(failure.problem().code, "provider.half_submitted");
    assert_eq!(count(&fake, "P"), 0);
    let mut own = both();
    own.progress = vec![("document".into(), "doc1".into())];
    connector(&fake, "").deliver(&own, &NoProgressLog).await.unwrap();
    assert_eq!((count(&fake, "POST"), count(&fake, "PUT")), (0, 1), "our own is finished");
}

/// After a person's "retry": what is there and not judged would only be there twice.
#[tokio::test]
async fn a_document_that_waits_for_its_verdict_is_not_sent_again() {
    const WHOLE: [(&str, &str); 2] = [("FRONT", "UPLOADED"), ("BACK", "UPLOADED")];
    const JUDGED: [(&str, &str); 2] = [("FRONT", "REJECTED"), ("BACK", "ACCEPTED")];
    let fake = lithic(Some(&WHOLE), Reply::Drop, Reply::Drop).await;
    let failure = connector(&fake, "").deliver(&both(), &NoProgressLog).await.unwrap_err();
    assert_eq!(failure.problem().code, "provider.already_submitted");
    assert_eq!(count(&fake, "P"), 0);
    // A rejected one may have a second.
    let fake = lithic(Some(&JUDGED), Reply::Silence, Reply::with(200, &[], b"")).await;
    connector(&fake, "").deliver(&both(), &NoProgressLog).await.unwrap();
    assert_eq!((count(&fake, "POST"), count(&fake, "PUT")), (1, 2));
}

#[tokio::test]
async fn how_bytes_go_to_the_address_can_be_set() {
    let fake = lithic(Some(&OPEN), Reply::Drop, Reply::with(200, &[], b"")).await;
    let lines = "upload_method='POST'\nupload_headers={x-amz-acl='private'}";
    let _ = connector(&fake, lines).deliver(&both(), &NoProgressLog).await;
    let sent = fake.seen().into_iter().find(|s| s.line.contains("/bucket/")).unwrap();
    assert!(sent.line.starts_with("POST "), "{}", sent.line);
    assert_eq!((sent.header("x-amz-acl"), sent.header("authorization")), ("private", ""));
}

#[tokio::test]
async fn an_uncertain_opening_is_never_repeated_and_bytes_go_to_listed_hosts_only() {
    let fake = lithic(None, Reply::with(503, &[], b""), Reply::Drop).await;
    let noted = Noted::default();
    assert!(
        matches!(connector(&fake, "").deliver(&both(), &noted).await, Err(Failure::Ambiguous { .. })),
        "503 says nothing about the attempt"
    );
    let mut outbound = both();
    outbound.progress = noted.steps.lock().unwrap().clone();
    assert_eq!(connector(&fake, "").reconcile(&outbound).await.unwrap(), Presence::Unknown);
    let evil = json!({"token": "doc1", "account_holder_token": "ah1", "document_type": "DRIVERS_LICENSE", "entity_token": "en1", "required_document_uploads": [
        {"image_type": "FRONT", "status": "PENDING_UPLOAD", "upload_url": "http://169.254.169.254/a"}, {"image_type": "BACK", "status": "PENDING_UPLOAD", "upload_url": "http://127.0.0.2/b"}]});
    let fake = lithic(None, Reply::json(201, evil), Reply::Drop).await;
    assert_eq!(
        connector(&fake, "")
            .deliver(&both(), &NoProgressLog)
            .await
            .unwrap_err()
            .problem()
            .code,
        "provider.upload_address"
    );
    for (status, definite) in [(403, true), (500, false)] {
        let fake = lithic(None, Reply::Silence, Reply::with(status, &[], b"")).await;
        let failure = connector(&fake, "").deliver(&both(), &NoProgressLog).await.unwrap_err();
        assert_eq!(matches!(failure, Failure::Definite { .. }), definite, "{status}");
    }
}

#[tokio::test]
async fn presence_and_verdict_are_read_side_by_side() {
    let table = [
        ([("FRONT", "UPLOADED"), ("BACK", "UPLOADED")], true, Verdict::Pending),
        ([("FRONT", "ACCEPTED"), ("BACK", "ACCEPTED")], true, Verdict::Accepted),
        ([("FRONT", "ACCEPTED"), ("BACK", "PARTIAL_APPROVAL")], true, Verdict::Pending),
        (
            [("FRONT", "ACCEPTED"), ("BACK", "REJECTED")],
            true,
            Verdict::Rejected(Reason::Expired.problem()),
        ),
        ([("FRONT", "UPLOADED"), ("BACK", "PENDING_UPLOAD")], false, Verdict::Pending),
    ];
    for (uploads, there, expected) in table {
        let body = submission("http://x", &uploads);
        let fake = Fake::replies(vec![Reply::json(200, body)]).await;
        let mut outbound = both();
        outbound.progress = vec![("document".into(), "doc1".into())];
        let connector = connector(&fake, "");
        assert_eq!(
            matches!(connector.reconcile(&outbound).await.unwrap(), Presence::Present(_)),
            there,
            "{uploads:?}"
        );
        let receipt = Receipt {
            references: vec!["doc1".into()],
            received_at: time::OffsetDateTime::UNIX_EPOCH,
        };
        assert_eq!(connector.verdict(&outbound, &receipt).await.unwrap(), expected, "{uploads:?}");
    }
    let twice = Submission::read(&submission("http://x", &[("FRONT", "REJECTED"), ("FRONT", "PENDING_UPLOAD")])).unwrap();
    assert_eq!(
        twice.side(&names(&["front"])[0]).unwrap().status,
        "PENDING_UPLOAD",
        "a failed image gets a fresh entry"
    );
}

#[tokio::test]
async fn missing_names_the_entity_and_a_known_document() {
    let body = json!({"token": "ah1", "required_documents": [
        {"entity_token": "en1", "valid_documents": ["SSN_CARD", "PASSPORT", "DRIVERS_LICENSE"]}, {"entity_token": "en2", "valid_documents": ["EIN_LETTER"]}]});
    let fake = Fake::replies(vec![Reply::json(200, body)]).await;
    let connector = connector(&fake, "");
    assert_eq!(
        shown(connector.missing(&reference("ah1")).await.unwrap()),
        ["PASSPORT: passport front @ah1,en1", "EIN_LETTER: ? front @ah1,en2"]
    );
    assert_eq!(
        shown(connector.missing(&reference("ah1,en2")).await.unwrap()),
        ["EIN_LETTER: ? front"]
    );
    let failure = connector
        .deliver(&outbound_of("ah1", &[("front", b"x"), ("back", b"y")], 1), &NoProgressLog)
        .await
        .unwrap_err();
    assert_eq!(failure.problem().code, "provider.applicant_reference", "two entities");
}

#[tokio::test]
async fn failures_by_the_providers_own_codes() {
    type Check = fn(&Failure) -> bool;
    let refused: Check = |f| matches!(f, Failure::Final { .. });
    let ambiguous: Check = |f| matches!(f, Failure::Ambiguous { .. });
    let table = [(409, json!({"message": "Jane"}), refused), (503, json!({}), ambiguous)];
    for (status, body, check) in table {
        let sent = body.clone();
        let fake = Fake::start(move |_, seen| {
            if seen.line.starts_with("GET") {
                Reply::json(200, json!({"data": []}))
            } else {
                Reply::json(status, sent.clone())
            }
        })
        .await;
        let outbound = both();
        let failure = connector(&fake, "").deliver(&outbound, &NoProgressLog).await.unwrap_err();
        assert!(check(&failure), "{status} {body}: {failure:?}");
        let problem = failure.problem();
        assert!(!format!("{failure:?}").contains("Jane"), "{failure:?}");
        assert!(problem.code.contains('.') && problem.text.len() > 20, "{problem:?}");
    }
}

#[test]
fn settings_limits_and_reasons() {
    let read = |lines: &str| build("lithic", &lines.parse().unwrap(), no_secrets());
    let lithic = read("api_key_file='k'\nupload_hosts=['*.example.com']").unwrap();
    assert_eq!(lithic.accepts(&kind("passport"), &names(&["front"])).unwrap().max_bytes, 15_728_639);
    assert!(lithic.accepts(&kind("government-id"), &names(&["front"])).is_err(), "both sides");
    let mut outbound = both();
    assert_eq!(lithic.class(&outbound), ProviderClass::NoRepeat, "opening is limited");
    outbound.progress = vec![("document".into(), "doc1".into())];
    assert_eq!(lithic.class(&outbound), ProviderClass::FixedId, "putting bytes is not");
    for bad in [
        "api_key_file='k'",
        "api_key_file='k'\nupload_hosts=[]",
        "api_key_file='k'\nupload_hosts=['https://x']",
        "api_key_file='k'\nupload_hosts=['*.com']",
    ] {
        assert!(read(bad).err().is_some_and(|f| f.iter().any(|f| f.key == "upload_hosts")), "{bad}");
    }
    assert_eq!(
        lithic.callback(&Callback {
            headers: &[],
            query: "",
            body: b"{}",
            now: 0
        }),
        Err(CallbackRefused::NotUsed)
    );
    let table = [
        ("DOCUMENT_MISSING_REQUIRED_DATA", Reason::Incomplete),
        ("DOCUMENT_UPLOAD_TOO_BLURRY", Reason::Unreadable),
        ("FILE_SIZE_TOO_LARGE", Reason::TooLarge),
        ("INVALID_DOCUMENT_TYPE", Reason::WrongType),
        ("INVALID_DOCUMENT_UPLOAD", Reason::Corrupted),
        ("INVALID_ENTITY", Reason::Mismatch),
        ("DOCUMENT_EXPIRED", Reason::Expired),
        ("DOCUMENT_ISSUED_GREATER_THAN_30_DAYS", Reason::TooOld),
        ("DOCUMENT_TYPE_NOT_SUPPORTED", Reason::WrongType),
        ("UNKNOWN_FAILURE_REASON", Reason::Rejected),
    ];
    for (code, expected) in table {
        assert_eq!(reason(code), expected, "{code}");
    }
}

proptest! {
    #[test]
    fn nothing_is_accepted_while_a_side_is_open(front in "[A-Z_]{0,12}|ACCEPTED", back in "[A-Z_]{0,12}|ACCEPTED") {
        let read = Submission::read(&submission("http://x", &[("FRONT", front.as_str()), ("BACK", back.as_str())])).unwrap();
        let accepted = read.verdict(&names(&["front", "back"])) == Verdict::Accepted;
        prop_assert_eq!(accepted, front == "ACCEPTED" && back == "ACCEPTED");
    }
}
