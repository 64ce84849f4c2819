//! Signatures, steps and refusals of Sumsub.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Noted, Reply, kind, names, no_secrets, outbound_of, reference, shown};

fn connector(fake: &Fake, lines: &str) -> Arc<dyn Connector> {
    let table = format!(
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\nwebhook_secret_file='hook'\napp_token_file='sbx:t'\nsecret_key_file='k'\ncountry='USA'\ncountries=['CAN']\n{lines}",
        fake.url()
    );
    build("sumsub", &table.parse().unwrap(), no_secrets()).unwrap_or_else(|f| panic!("{f:?}"))
}

const ID: &str = "5bb8cca10a975a624903cf65";

#[tokio::test]
async fn a_signature_covers_time_method_path_query_and_the_whole_body() {
    let url = |path: &str| Url::parse(&format!("https://api.sumsub.com{path}")).unwrap();
    let of = async |method: Method, path: &str, body: Option<&Body>| {
        signature(&Secret::new("key"), "1700000000", &method, &url(path), body)
            .await
            .unwrap()
    };
    let mac = |text: &str| Encoding::Hex.encode(&sign::mac(Algorithm::Sha256, b"key", &[text.as_bytes()]));
    assert_eq!(of(Method::GET, "/a/b", None).await, mac("1700000000GET/a/b"));
    assert_eq!(
        of(Method::POST, "/a?reason=docs%20up", None).await,
        mac("1700000000POST/a?reason=docs%20up")
    );
    let outbound = outbound_of("x", &[("front", b"abc")], 1);
    let body = Multipart::new("B".into()).file("content", &outbound, 0).finish(&outbound);
    let mut whole = String::new();
    body.read(|bytes| whole.push_str(std::str::from_utf8(bytes).unwrap()))
        .await
        .unwrap();
    assert_eq!(of(Method::POST, "/a", Some(&body)).await, mac(&format!("1700000000POST/a{whole}")));
}

#[tokio::test]
async fn missing_reads_steps_types_and_reasons() {
    let body = json!({
        "IDENTITY": null, "SELFIE": null, "QUESTIONNAIRE": null,
        "PROOF_OF_RESIDENCE": {"idDocType": "UTILITY_BILL", "imageIds": [7], "reviewResult": {"reviewAnswer": "RED", "rejectLabels": ["OTHER_WORD"]},
            "imageReviewResults": {"7": {"reviewAnswer": "RED", "rejectLabels": ["EXPIRATION_DATE"], "moderationComment": "Jane"}}},
        "IDENTITY2": {"idDocType": "PASSPORT", "imageIds": [8], "reviewResult": {"reviewAnswer": "GREEN"}}});
    let fake = Fake::replies(vec![Reply::json(200, body)]).await;
    let found = connector(&fake, "").missing(&reference(ID)).await.unwrap();
    assert_eq!(
        found.iter().find_map(|m| m.reason.clone()).as_deref(),
        Some(Reason::Expired.sentence())
    );
    let mut lines = shown(found);
    lines.sort();
    assert_eq!(
        lines,
        [
            "IDENTITY: government-id front+back",
            "PROOF_OF_RESIDENCE: proof-of-address front !",
            "QUESTIONNAIRE: ? front",
            "SELFIE: selfie front"
        ]
    );
}

#[test]
fn verdicts_are_about_our_images() {
    let step = |answer: Value, images: Value| {
        let body = json!({"SELFIE": null, "IDENTITY": {"idDocType": "ID_CARD", "imageIds": [1, 2], "reviewResult": answer, "imageReviewResults": images}});
        Steps::read(&body).unwrap().verdict(&["1".to_owned(), "2".to_owned()], "ID_CARD")
    };
    let (green, red) = (
        json!({"reviewAnswer": "GREEN"}),
        json!({"reviewAnswer": "RED", "rejectLabels": ["FORGERY"]}),
    );
    assert_eq!(step(json!({}), json!({})), Verdict::Pending);
    assert_eq!(step(green.clone(), json!({})), Verdict::Accepted);
    assert_eq!(step(json!({}), json!({"1": green, "2": green})), Verdict::Accepted);
    assert_eq!(step(json!({}), json!({"1": green})), Verdict::Pending);
    assert_eq!(step(red.clone(), json!({})), Verdict::Rejected(Reason::FraudSuspected.problem()));
    assert_eq!(step(green, json!({"2": red})), Verdict::Rejected(Reason::FraudSuspected.problem()));
    let other =
        Steps::read(&json!({"IDENTITY": {"idDocType": "ID_CARD", "imageIds": [9], "reviewResult": {"reviewAnswer": "GREEN"}}})).unwrap();
    assert_eq!(
        other.verdict(&["1".to_owned()], "ID_CARD"),
        Verdict::Pending,
        "somebody else's image"
    );
    assert_eq!(
        other.verdict(&[], "ID_CARD"),
        Verdict::Accepted,
        "a duplicate without an image is known by its type"
    );
}

#[tokio::test]
async fn what_is_wrong_at_once_ends_the_delivery_without_a_review() {
    let answer = json!({"idDocType": "ID_CARD", "country": "USA", "errors": ["dataNotReadable"]}).to_string();
    let fake = Fake::replies(vec![Reply::with(200, &[("X-Image-Id", "11")], answer.as_bytes())]).await;
    let noted = Noted::default();
    let delivered = connector(&fake, "")
        .deliver(&outbound_of(ID, &[("front", b"x"), ("back", b"y")], 1), &noted)
        .await
        .unwrap();
    assert_eq!(delivered.verdict, Verdict::Rejected(Reason::Unreadable.problem()));
    assert_eq!(
        (fake.seen().len(), delivered.references),
        (1, vec!["11".to_owned()]),
        "the other side is not shown to anybody"
    );
    assert_eq!(
        *noted.steps.lock().unwrap(),
        [("part:front".to_owned(), "11 unreadable".to_owned())]
    );
    let mut again = outbound_of(ID, &[("front", b"x"), ("back", b"y")], 1);
    again.progress = noted.steps.lock().unwrap().clone();
    let delivered = connector(&fake, "").deliver(&again, &NoProgressLog).await.unwrap();
    assert!(
        matches!(delivered.verdict, Verdict::Rejected(_)) && fake.seen().len() == 1,
        "it is remembered over a crash"
    );
}

#[tokio::test]
async fn the_review_is_started_when_the_settings_say_so() {
    for (lines, empty, calls) in [
        ("", true, 2),
        ("", false, 3),
        ("submit='always'", true, 3),
        ("submit='never'", false, 2),
    ] {
        let fake = Fake::start(move |_, seen| match seen.line.as_str() {
            l if l.contains("requiredIdDocsStatus") => {
                Reply::json(200, if empty { json!({"SELFIE": null}) } else { json!({"SELFIE": {}}) })
            }
            l if l.contains("status/pending") => Reply::json(200, json!({"ok": 1})),
            _ => Reply::with(200, &[("X-Image-Id", "1")], br#"{"idDocType":"ID_CARD","country":"CAN"}"#),
        })
        .await;
        connector(&fake, lines)
            .deliver(&outbound_of(&format!("{ID},CAN"), &[("front", b"x")], 1), &NoProgressLog)
            .await
            .unwrap();
        assert_eq!(fake.seen().len(), calls, "{lines} {empty}");
        assert!(fake.seen()[0].text().contains(r#""country":"CAN""#));
    }
}

#[tokio::test]
async fn failures_by_the_providers_own_codes() {
    type Check = fn(&Failure) -> bool;
    let definite: Check = |f| matches!(f, Failure::Definite { .. });
    let refused: Check = |f| matches!(f, Failure::Final { .. });
    let table = [
        (409, json!({"errorCode": 1006, "description": "Jane"}), definite),
        (400, json!({"errorCode": 1002}), refused),
        (400, json!({"errorCode": 1005}), refused),
        (409, json!({"errorCode": 1007}), refused),
        (409, json!({"errorCode": 1008, "description": "Jane"}), refused),
        (409, json!({"errorCode": 1009}), refused),
        (409, json!({"errorCode": 1010}), refused),
        (400, json!({"errorCode": 1011}), refused),
    ];
    for (status, body, check) in table {
        let sent = body.clone();
        let fake = Fake::start(move |_, seen| {
            let _ = seen;
            Reply::json(status, sent.clone())
        })
        .await;
        let outbound = outbound_of(ID, &[("front", b"x")], 1);
        let failure = connector(&fake, "").deliver(&outbound, &NoProgressLog).await.unwrap_err();
        assert!(check(&failure), "{status} {body}: {failure:?}");
        let problem = failure.problem();
        assert!(!format!("{failure:?}").contains("Jane"), "{failure:?}");
        assert!(problem.code.contains('.') && problem.text.len() > 20, "{problem:?}");
    }
}

#[test]
fn callbacks_cannot_choose_a_weaker_algorithm() {
    let lines = "app_token_file='t'\nsecret_key_file='k'\ncountry='USA'\nwebhook_secret_file='hook'";
    let body = json!({"applicantId": ID, "type": "applicantReviewed"}).to_string();
    let call = |lines: &str, named: &str, algorithm| {
        let sumsub = build("sumsub", &lines.parse().unwrap(), no_secrets()).unwrap();
        let digest = Encoding::Hex.encode(&sign::mac(algorithm, b"hook", &[body.as_bytes()]));
        let headers = [
            ("x-payload-digest".to_owned(), digest),
            ("x-payload-digest-alg".to_owned(), named.to_owned()),
        ];
        sumsub.callback(&Callback {
            headers: &headers,
            query: "",
            body: body.as_bytes(),
            now: 0,
        })
    };
    let hints = Ok(vec![
        Hint::Applicant(reference(ID)),
        Hint::Applicant(reference(&format!("{ID},USA"))),
    ]);
    assert_eq!(call(lines, "HMAC_SHA256_HEX", Algorithm::Sha256), hints);
    for (named, algorithm) in [
        ("HMAC_SHA1_HEX", Algorithm::Sha1),
        ("HMAC_SHA512_HEX", Algorithm::Sha512),
        ("HMAC_SHA256_HEX", Algorithm::Sha1),
        ("", Algorithm::Sha256),
    ] {
        assert_eq!(call(lines, named, algorithm), Err(CallbackRefused::Signature), "{named}");
    }
    let legacy = format!("{lines}\ncallback_algorithm='sha1'");
    assert_eq!(call(&legacy, "HMAC_SHA1_HEX", Algorithm::Sha1), hints);
    assert_eq!(call(&legacy, "HMAC_SHA256_HEX", Algorithm::Sha256), Err(CallbackRefused::Signature));
}

#[test]
fn limits_and_kinds() {
    let table = "app_token_file='t'\nsecret_key_file='k'\ncountry='USA'".parse().unwrap();
    let sumsub = build("sumsub", &table, no_secrets()).unwrap();
    assert_eq!(sumsub.accepts(&kind("passport"), &names(&["front"])).unwrap().max_bytes, 64_000_000);
    assert!(sumsub.accepts(&kind("other"), &names(&["front"])).is_err() && sumsub.accepts(&kind("passport"), &names(&["page-1"])).is_err());
    assert!(
        build("sumsub", &"app_token_file='t'\nsecret_key_file='k'".parse().unwrap(), no_secrets()).is_err(),
        "no country"
    );
}

#[tokio::test]
async fn every_documented_code_has_words_of_its_own() {
    let table = [
        (1002, "document.too_large"),
        (1004, "document.corrupted"),
        (1005, "document.wrong_type"),
        (1007, "document.wrong_size"),
        (1008, "provider.applicant_reference"),
        (1009, "provider.refused"),
        (1010, "provider.unsupported"),
        (1011, "document.corrupted"),
    ];
    for (code, expected) in table {
        let fake = Fake::replies(vec![Reply::json(409, json!({"code": 409, "errorCode": code}))]).await;
        let failure = connector(&fake, "")
            .deliver(&outbound_of(ID, &[("front", b"x")], 1), &NoProgressLog)
            .await
            .unwrap_err();
        assert_eq!(failure.problem().code, expected, "{code}");
        assert!(matches!(failure, Failure::Final { .. }), "{code}: {failure:?}");
    }
    assert_eq!(status::first_reason(&json!(["BAD_PROOF_OF_ADDRESS"])), Some(Reason::WrongType));
}

proptest! {
    #[test]
    fn no_word_of_the_provider_comes_through(words in proptest::collection::vec(".{0,30}", 0..4)) {
        let found = status::first_reason(&json!(words));
        prop_assert_eq!(found.is_none(), words.is_empty());
    }
}
