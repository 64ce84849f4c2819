//! Entities, bodies and refusals of Adyen.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Reply, kind, names, no_secrets, outbound_of, reference, shown};
use crate::connectors::words::Reason;

fn connector(fake: &Fake, lines: &str) -> Arc<dyn Connector> {
    let table = format!(
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\nwebhook_secret_file='abcd'\napi_key_file='key'\nmin_image_bytes=2\nproblems={{passport='1_500'}}\n{lines}",
        fake.url()
    );
    build("adyen", &table.parse().unwrap(), no_secrets()).unwrap_or_else(|f| panic!("{f:?}"))
}

fn both() -> OutboundDocument {
    outbound_of("LE1", &[("front", b"front"), ("back", b"back")], 2)
}

#[tokio::test]
async fn both_sides_are_one_request_and_one_side_of_two_is_none() {
    let outbound = both();
    let fake = Fake::replies(vec![Reply::json(200, json!({"id": "SE1", "description": description(&outbound)}))]).await;
    let connector = connector(&fake, "");
    assert_eq!(connector.deliver(&outbound, &NoProgressLog).await.unwrap().references, ["SE1"]);
    let seen = &fake.seen()[0];
    let expected = format!(
        r#"{{"type":"identityCard","description":"Document {0}","owner":{{"id":"LE1","type":"legalEntity"}},"fileName":"document-{0}-front.png","attachments":[{{"content":"ZnJvbnQ=","pageType":"front","pageName":"document-{0}-front.png"}},{{"content":"YmFjaw==","pageType":"back","pageName":"document-{0}-back.png"}}]}}"#,
        outbound.document
    );
    assert_eq!(seen.text(), expected);
    assert_eq!(
        (seen.line.as_str(), seen.header("x-api-key"), seen.header("idempotency-key")),
        ("POST /documents HTTP/1.1", "key", outbound.keys.idempotency(0).as_str())
    );
    for parts in [
        &[("front", &b"front"[..])][..],
        &[("back", b"back"), ("front", b"front")],
        &[("front", b"x"), ("back", b"back")],
    ] {
        let failure = connector.deliver(&outbound_of("LE1", parts, 1), &NoProgressLog).await.unwrap_err();
        assert_eq!(
            failure.problem().code,
            "provider.unsupported",
            "one side, the wrong order, or a picture that is too small"
        );
    }
    let mut statement = outbound_of("LE1,SE9", &[("front", b"xyz")], 1);
    statement.kind = kind("bank-statement");
    connector.deliver(&statement, &NoProgressLog).await.unwrap();
    assert_eq!(fake.seen()[1].json()["owner"], json!({"id": "SE9", "type": "bankAccount"}));
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn missing_reads_problems_and_their_sub_errors() {
    let action = |text: &str| json!([{"code": "x", "message": text}]);
    let body = json!({"id": "LE1", "problems": [
        {"entity": {"id": "LE1", "type": "LegalEntity"}, "verificationErrors": [
            {"type": "dataMissing", "code": "2_1", "message": "An ID document is required"},
            {"type": "dataMissing", "code": "2_2", "message": "A phone number is required"},
            {"type": "dataMissing", "code": "1_500", "message": "Something"},
            {"type": "pendingStatus", "code": "3_1", "message": "document pending"},
            {"type": "invalidInput", "code": "2_3", "message": "x", "remediatingActions": action("Upload a proof of residency"), "subErrors": [{"type": "invalidInput", "code": "2_4", "message": "Document expired"}]}]},
        {"entity": {"id": "LE2", "type": "LegalEntity"}, "verificationErrors": [{"type": "dataMissing", "code": "2_5", "message": "Upload a passport"}]},
        {"entity": {"id": "SE5", "type": "BankAccount", "owner": {"id": "LE1"}}, "verificationErrors": [{"type": "rejected", "code": "2_6", "message": "bank statement blurry"}]}]});
    let fake = Fake::replies(vec![Reply::json(200, body)]).await;
    let found = connector(&fake, "").missing(&reference("LE1")).await.unwrap();
    let expected = [
        "2_1: government-id front+back",
        "1_500: passport front",
        "2_3: proof-of-address front !",
        "2_4: ? front !",
        "2_5: passport front @LE2",
        "2_6: bank-statement front @LE1,SE5 !",
    ];
    assert_eq!(shown(found), expected);
}

fn no_problems() -> Kinds {
    crate::connectors::fake::settings_of(&toml::Table::new(), |reader| Kinds::read(reader, "problems", &[("selfie", "1_99")])).unwrap()
}

#[test]
fn verdicts_are_about_our_document() {
    let entity = |problem: Value, states: &[&str]| {
        let capabilities: serde_json::Map<_, _> = states
            .iter()
            .enumerate()
            .map(|(n, s)| (n.to_string(), json!({"verificationStatus": s})))
            .collect();
        let body = json!({"problems": problem, "capabilities": capabilities});
        entity::verdict(&body, &["D1".to_owned()], &kind("passport"), &no_problems())
    };
    let about = |id: &str, kind: &str| json!([{"entity": {"type": "LegalEntity", "id": "LE1", "documents": [id]}, "verificationErrors": [{"type": kind, "message": "the document has expired"}]}]);
    let asks = |kind: &str, code: &str, text: &str| json!([{"entity": {"type": "LegalEntity", "id": "LE1"}, "verificationErrors": [{"type": kind, "code": code, "message": text}]}]);
    assert_eq!(entity(json!([]), &["valid"]), Verdict::Accepted);
    assert_eq!(entity(json!([]), &["valid", "rejected"]), Verdict::Accepted);
    for open in [&["valid", "pending"][..], &["valid", "a new word"], &[], &["invalid"]] {
        assert_eq!(entity(json!([]), open), Verdict::Pending, "{open:?}");
    }
    assert_eq!(
        entity(about("D1", "rejected"), &["invalid"]),
        Verdict::Rejected(Reason::Expired.problem())
    );
    assert_eq!(entity(about("D1", "dataReview"), &["valid"]), Verdict::Pending);
    assert_eq!(entity(about("D2", "rejected"), &["valid"]), Verdict::Accepted);
    // A problem that is left, by the document that it asks for.
    for text in ["A passport is required", "An ID document is required", "Upload a document"] {
        assert_eq!(entity(asks("dataMissing", "2_1", text), &["valid"]), Verdict::Pending, "{text}");
    }
    for (code, text) in [
        ("2_2", "Upload a proof of address"),
        ("1_99", "Upload a picture"),
        ("2_3", "A phone number is required"),
    ] {
        assert_eq!(entity(asks("dataMissing", code, text), &["valid"]), Verdict::Accepted, "{text}");
    }
}

#[tokio::test]
async fn reconciling_finds_our_file_name() {
    let outbound = both();
    let (name, description) = (outbound.file_name(0), description(&outbound));
    let details = [
        json!([{"id": "D1", "fileName": name}]),
        json!([{"id": "D1", "description": description}]),
        json!([{"id": "D1", "pages": [{"pageName": name}]}]),
        json!([{"id": "D1", "fileName": "x"}]),
    ];
    for (n, details) in details.into_iter().enumerate() {
        let fake = Fake::replies(vec![Reply::json(200, json!({"id": "LE1", "documentDetails": details}))]).await;
        let found = connector(&fake, "").reconcile(&outbound).await.unwrap();
        assert_eq!(found == Presence::Absent, n == 3);
    }
    let fake = Fake::replies(vec![Reply::json(200, json!({"message": "maintenance"}))]).await;
    let failure = connector(&fake, "").reconcile(&outbound).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Definite { .. }),
        "an answer about something else proves no absence: {failure:?}"
    );
}

#[tokio::test]
async fn failures_by_the_providers_own_codes() {
    type Check = fn(&Failure) -> bool;
    let definite: Check = |f| matches!(f, Failure::Definite { .. });
    let refused: Check = |f| matches!(f, Failure::Final { .. });
    let table = [
        (422, json!({"errorCode": "30_112", "message": "Jane"}), refused),
        (409, json!({"errorCode": "704"}), definite),
    ];
    for (status, body, check) in table {
        let sent = body.clone();
        let fake = Fake::start(move |_, seen| {
            let _ = seen;
            Reply::json(status, sent.clone())
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
fn settings_limits_and_callbacks() {
    let read = |lines: &str| build("adyen", &format!("api_key_file='k'\n{lines}").parse().unwrap(), no_secrets());
    let adyen = read("webhook_secret_file='ABCD'\nwebhook_basic_file='u:p'").unwrap();
    assert_eq!(
        adyen.accepts(&kind("government-id"), &names(&["front", "back"])).unwrap().max_bytes,
        4_000_000
    );
    let selfie = adyen.accepts(&kind("selfie"), &names(&["front"])).unwrap();
    assert_eq!((selfie.min_bytes, selfie.pictures.min_bytes), (1_024, 100_000));
    assert!(adyen.accepts(&kind("drivers-license"), &names(&["front"])).is_err());
    assert!(adyen.accepts(&kind("passport"), &names(&["page-1", "page-2"])).is_ok());
    assert!(read("webhook_secret_file='nohex'").is_err() && read("min_image_bytes=-1").is_err());
    let body = json!({"type": "balancePlatform.accountHolder.updated", "data": {"accountHolder": {"legalEntityId": "LE1"}}}).to_string();
    let digest = Encoding::Base64.encode(&sign::mac(Algorithm::Sha256, &[0xab, 0xcd], &[body.as_bytes()]));
    let literal = Encoding::Base64.encode(&sign::mac(Algorithm::Sha256, b"ABCD", &[body.as_bytes()]));
    let call = |digest: &str, basic: &str| {
        let headers = [
            ("hmacsignature".to_owned(), digest.to_owned()),
            ("authorization".to_owned(), basic.to_owned()),
        ];
        adyen.callback(&Callback {
            headers: &headers,
            query: "",
            body: body.as_bytes(),
            now: 0,
        })
    };
    assert_eq!(call(&digest, "Basic dTpw"), Ok(vec![Hint::Applicant(reference("LE1"))]));
    assert_eq!(call(&digest, "Basic dTpx"), Err(CallbackRefused::Signature));
    assert_eq!(call(&digest, ""), Err(CallbackRefused::Signature));
    assert_eq!(
        call(&literal, "Basic dTpw"),
        Err(CallbackRefused::Signature),
        "the key is hexadecimal"
    );
}

proptest! {
    #[test]
    fn an_error_about_our_document_is_never_an_acceptance(kind in "[a-zA-Z]{0,12}|rejected|invalidInput", text in ".{0,40}") {
        let body = json!({"problems": [{"entity": {"type": "Document", "id": "D1"}, "verificationErrors": [{"type": kind, "message": text}]}], "capabilities": {"a": {"verificationStatus": "valid"}}});
        prop_assert_ne!(entity::verdict(&body, &["D1".to_owned()], &crate::connectors::fake::kind("passport"), &no_problems()), Verdict::Accepted);
    }
}
