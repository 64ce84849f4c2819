//! Lists, checks and refusals of Onfido.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Noted, Reply, kind, names, no_secrets, outbound_of, reference};

fn connector(fake: &Fake, lines: &str) -> Arc<dyn Connector> {
    let table = format!(
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\nwebhook_secret_file='hook'\napi_token_file='api_sandbox.x'\ncountry='USA'\n{lines}",
        fake.url()
    );
    build("onfido", &table.parse().unwrap(), no_secrets()).unwrap_or_else(|f| panic!("{f:?}"))
}

const ID: &str = "f2302f45-227d-413d-ad61-09ec077a086a";

#[tokio::test]
async fn what_is_listed_is_not_sent_again() {
    let outbound = outbound_of(&format!("{ID},USA"), &[("front", b"x"), ("back", b"y")], 1);
    let (name, back) = (outbound.file_name(0), outbound.file_name(1));
    let fake = Fake::start(move |_, seen| match seen.line.split(' ').next().unwrap() {
        "GET" => Reply::json(
            200,
            json!({"documents": [{"id": "d1", "file_name": name}, {"id": "d9", "file_name": "other.png"}]}),
        ),
        _ => Reply::json(201, json!({"id": "d2", "applicant_id": ID, "file_name": back})),
    })
    .await;
    let connector = connector(&fake, "");
    assert_eq!(connector.reconcile(&outbound).await.unwrap(), Presence::Absent, "half of it");
    let delivered = connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(delivered.references, ["d1", "d2"]);
    let seen = fake.seen();
    let posts: Vec<_> = seen.iter().filter(|s| s.line.starts_with("POST")).collect();
    assert_eq!(posts.len(), 1);
    assert!(
        posts[0].text().contains("name=\"side\"\r\n\r\nback\r\n") && posts[0].text().contains("name=\"issuing_country\"\r\n\r\nUSA\r\n")
    );
    assert_eq!(seen[0].header("authorization"), "Token token=api_sandbox.x");
}

#[tokio::test]
async fn a_check_is_found_by_its_tag_or_started_once() {
    let mut outbound = outbound_of(ID, &[("front", b"x")], 1);
    let name = outbound.file_name(0);
    let fake = Fake::start(move |n, seen| match seen.line.split([' ', '?']).nth(1).unwrap() {
        "/documents" if seen.line.starts_with("GET") => Reply::json(200, json!({"documents": []})),
        "/documents" => Reply::json(201, json!({"id": "d1", "applicant_id": ID, "file_name": name})),
        _ if seen.line.starts_with("GET") && n > 4 => Reply::json(
            200,
            json!({"checks": [{"id": "c0", "tags": ["x"]}, {"id": "c1", "tags": ["nightdrop-d1"]}]}),
        ),
        _ if seen.line.starts_with("GET") => Reply::json(200, json!({"checks": []})),
        _ => Reply::Drop,
    })
    .await;
    let (connector, noted) = (connector(&fake, "reports=['document']"), Noted::default());
    assert!(
        matches!(connector.deliver(&outbound, &noted).await, Err(Failure::Definite { .. })),
        "the document is noted, so that this can be repeated"
    );
    outbound.progress = noted.steps.lock().unwrap().clone();
    let body = fake.seen()[3].json();
    assert_eq!(
        body,
        json!({"applicant_id": ID, "report_names": ["document"], "document_ids": ["d1"], "tags": ["nightdrop-d1"]})
    );
    let _ = connector.deliver(&outbound, &noted).await;
    outbound.progress = noted.steps.lock().unwrap().clone();
    let delivered = connector.deliver(&outbound, &NoProgressLog).await;
    assert_eq!(delivered.unwrap().references, ["c1", "d1"]);
    assert_eq!(fake.seen().iter().filter(|s| s.line.starts_with("POST /documents")).count(), 1);
}

#[tokio::test]
async fn verdicts_are_the_checks() {
    let breakdown = |name: &str, part: &str| json!({"reports": [{"result": "clear"}, {"result": "consider", "breakdown": {name: {"result": "consider", "breakdown": {part: {"result": "consider"}}}}}]});
    let table = [
        (json!({"status": "in_progress"}), json!({}), Verdict::Pending),
        (json!({"status": "paused", "result": "clear"}), json!({}), Verdict::Pending),
        (json!({"status": "complete", "result": "clear"}), json!({}), Verdict::Accepted),
        (json!({"status": "complete"}), json!({}), Verdict::Pending),
        (
            json!({"status": "withdrawn"}),
            json!({}),
            Verdict::Rejected(Reason::Rejected.problem()),
        ),
        (
            json!({"status": "complete", "result": "consider"}),
            json!({}),
            Verdict::Rejected(Reason::Rejected.problem()),
        ),
        (
            json!({"status": "complete", "result": "consider"}),
            breakdown("image_integrity", "image_quality"),
            Verdict::Rejected(Reason::Unreadable.problem()),
        ),
        (
            json!({"status": "complete", "result": "consider"}),
            breakdown("image_integrity", "supported_document"),
            Verdict::Rejected(Reason::WrongType.problem()),
        ),
        (
            json!({"status": "complete", "result": "consider"}),
            breakdown("image_integrity", "colour_picture"),
            Verdict::Rejected(Reason::NotOriginal.problem()),
        ),
        (
            json!({"status": "complete", "result": "consider"}),
            breakdown("data_validation", "document_expiration"),
            Verdict::Rejected(Reason::Expired.problem()),
        ),
        (
            json!({"status": "complete", "result": "consider"}),
            breakdown("data_comparison", "first_name"),
            Verdict::Rejected(Reason::Mismatch.problem()),
        ),
        (
            json!({"status": "complete", "result": "consider"}),
            breakdown("visual_authenticity", "fonts"),
            Verdict::Rejected(Reason::FraudSuspected.problem()),
        ),
    ];
    for (mut check, reports, expected) in table {
        check["id"] = json!("c1");
        let said = check.to_string();
        let fake = Fake::start(move |_, seen| {
            Reply::json(
                200,
                if seen.line.contains("/reports") {
                    reports.clone()
                } else {
                    check.clone()
                },
            )
        })
        .await;
        let receipt = Receipt {
            references: vec!["c1".into(), "d1".into()],
            received_at: time::OffsetDateTime::UNIX_EPOCH,
        };
        let verdict = connector(&fake, "reports=['document']")
            .verdict(&outbound_of(ID, &[("front", b"x")], 1), &receipt)
            .await
            .unwrap();
        assert_eq!(verdict, expected, "{said}");
        assert_eq!(fake.seen()[0].line, "GET /checks/c1 HTTP/1.1");
    }
}

#[tokio::test]
async fn failures_by_the_providers_own_codes() {
    type Check = fn(&Failure) -> bool;
    let refused: Check = |f| matches!(f, Failure::Final { .. });
    let table = [
        (
            422,
            json!({"error": {"type": "validation_error", "message": "Jane", "fields": {"document_type": ["Jane"]}}}),
            refused,
        ),
        (
            422,
            json!({"error": {"fields": {"document_detection": ["no document in image"]}}}),
            refused,
        ),
    ];
    for (status, body, check) in table {
        let sent = body.clone();
        let fake = Fake::start(move |_, seen| {
            if seen.line.starts_with("GET") {
                Reply::json(200, json!({"documents": []}))
            } else {
                Reply::json(status, sent.clone())
            }
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

#[tokio::test]
async fn a_bad_picture_is_told_as_one() {
    let error = json!({"error": {"fields": {"document_detection": ["no document in image"]}}});
    let fake = Fake::start(move |_, seen| {
        if seen.line.starts_with("GET") {
            Reply::json(200, json!({"documents": []}))
        } else {
            Reply::json(422, error.clone())
        }
    })
    .await;
    let failure = connector(&fake, "validate_image_quality=true")
        .deliver(&outbound_of(ID, &[("front", b"x")], 1), &NoProgressLog)
        .await
        .unwrap_err();
    assert_eq!(failure.problem(), Reason::Unreadable.problem());
    assert!(fake.seen()[1].text().contains("validate_image_quality"));
}

#[test]
fn settings_limits_and_callbacks() {
    let read = |lines: &str| build("onfido", &lines.parse().unwrap(), no_secrets());
    let onfido = read("region='us'\napi_token_file='t'\nwebhook_secret_file='hook'").unwrap();
    let limits = onfido.accepts(&kind("passport"), &names(&["front"])).unwrap();
    assert_eq!((limits.min_bytes, limits.max_bytes), (2_048, 3_000_000));
    assert!(onfido.accepts(&kind("selfie"), &names(&["front"])).is_err());
    assert!(!onfido.profile().lists_missing);
    for (bad, key) in [
        ("region='mars'\napi_token_file='t'", "region"),
        ("", "api_token_file"),
        ("confirm='verdict'\napi_token_file='t'", "reports"),
        ("api_token_file='t'\nreports=['a b']", "reports"),
    ] {
        assert!(read(bad).err().unwrap().iter().any(|f| f.key == key), "{bad}");
    }
    let body = json!({"payload": {"resource_type": "check", "object": {"id": "c1"}, "resource": {"applicant_id": ID}}}).to_string();
    let digest = Encoding::Hex.encode(&sign::mac(Algorithm::Sha256, b"hook", &[body.as_bytes()]));
    let call = |body: &str, digest: &str| {
        let headers = [("x-sha2-signature".to_owned(), digest.to_owned())];
        onfido.callback(&Callback {
            headers: &headers,
            query: "",
            body: body.as_bytes(),
            now: 0,
        })
    };
    assert_eq!(
        call(&body, &digest),
        Ok(vec![Hint::Reference("c1".into()), Hint::Applicant(reference(ID))])
    );
    assert_eq!(call(&format!("{body} "), &digest), Err(CallbackRefused::Signature));
    assert_eq!(call(&body, ""), Err(CallbackRefused::Signature));
}

proptest! {
    #[test]
    fn any_report_comes_to_a_reason_of_ours(result in "clear|consider|[a-z]{0,8}", name in "[a-z_]{0,20}|image_integrity|data_validation") {
        let reports = json!({"reports": [{"result": "consider", "breakdown": {name: {"result": result}}}]});
        prop_assert!(Reason::ALL.contains(&reason(&reports)));
    }
}
