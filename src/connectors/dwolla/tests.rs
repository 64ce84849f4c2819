//! Lists, codes and refusals of Dwolla.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Noted, Reply, kind, names, no_secrets, outbound_of, reference, shown};

fn connector(fake: &Fake, lines: &str) -> Arc<dyn Connector> {
    let table = format!(
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\nwebhook_secret_file='hook'\nclient_id='key'\nclient_secret_file='secret'\n{lines}",
        fake.url()
    );
    build("dwolla", &table.parse().unwrap(), no_secrets()).unwrap_or_else(|f| panic!("{f:?}"))
}

fn token() -> Reply {
    Reply::json(200, json!({"access_token": "tok", "expires_in": 3600}))
}

#[tokio::test]
async fn missing_follows_status_and_links() {
    let link = json!({"href": "https://api.dwolla.com/x"});
    let table = [
        (
            json!({"status": "document"}),
            vec!["verify-with-document: government-id front+back"],
        ),
        (
            json!({"status": "document", "_links": {"verify-business-with-document": link}}),
            vec!["verify-business-with-document: company-registration front"],
        ),
        (
            json!({"status": "document", "_links": {"verify-controller-and-business-with-document": link}, "_embedded": {"errors": [{"code": "Required", "message": "Jane"}, {"code": "ScanIdExpired"}]}}),
            vec![
                "verify-with-document: government-id front+back !",
                "verify-business-with-document: company-registration front !",
            ],
        ),
        (json!({"status": "verified"}), vec![]),
        (json!({"status": "retry"}), vec![]),
        (
            json!({"verificationStatus": "document"}),
            vec!["verify-with-document: government-id front+back"],
        ),
    ];
    for (mut customer, expected) in table {
        customer["id"] = json!("bo1");
        let fake = Fake::start(move |_, seen| {
            if seen.line.starts_with("POST /token") {
                token()
            } else {
                Reply::json(200, customer.clone())
            }
        })
        .await;
        let connector = connector(&fake, "");
        assert_eq!(shown(connector.missing(&reference("owner,bo1")).await.unwrap()), expected);
        assert_eq!(fake.seen()[1].line, "GET /beneficial-owners/bo1 HTTP/1.1");
    }
    let fake = Fake::replies(vec![token()]).await;
    for bad in ["a,b", "owner,", "a:b"] {
        assert_eq!(
            connector(&fake, "").missing(&reference(bad)).await.unwrap_err().problem().code,
            "provider.applicant_reference",
            "{bad}"
        );
    }
}

#[tokio::test]
async fn after_the_keys_day_the_list_tells() {
    let listed = |ids: &[&str]| {
        let all: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": id, "type": "idCard", "created": id, "documentVerificationStatus": "pending"}))
            .collect();
        json!({"_embedded": {"documents": all}})
    };
    let table = [
        (vec![("before", "old")], vec!["old"], "absent"),
        (vec![("before", "old")], vec!["old", "n1", "n2"], "present n1 n2"),
        (vec![("before", "old")], vec!["old", "n1"], "absent"),
        (vec![("before", "old")], vec!["old", "n1", "n2", "n3"], "unknown"),
        (vec![("before", "old"), ("part:front", "n1")], vec!["old", "n1"], "absent"),
        (
            vec![("before", "old"), ("part:front", "n1")],
            vec!["old", "n1", "n2"],
            "present n1 n2",
        ),
        (
            vec![("before", ""), ("part:front", "n1"), ("part:back", "n2")],
            vec!["n1", "n2"],
            "present n1 n2",
        ),
        (vec![("before", ""), ("part:front", "n1"), ("part:back", "n2")], vec![], "absent"),
        (vec![], vec!["old"], "absent"),
    ];
    for (notes, ids, expected) in table {
        let body = listed(&ids);
        let fake = Fake::start(move |_, seen| {
            if seen.line.starts_with("POST /token") {
                token()
            } else {
                Reply::json(200, body.clone())
            }
        })
        .await;
        let mut outbound = outbound_of("c1", &[("front", b"x"), ("back", b"y")], 1);
        outbound.progress = notes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let found = match connector(&fake, "").reconcile(&outbound).await.unwrap() {
            Presence::Present(d) => format!("present {}", d.references.join(" ")),
            Presence::Absent => "absent".to_owned(),
            Presence::Unknown => "unknown".to_owned(),
        };
        assert_eq!(found, expected, "{notes:?} {ids:?}");
    }
}

/// After an unclear answer a new document is the side that was open; after a refusal it is somebody else's.
#[tokio::test]
async fn what_has_arrived_is_not_sent_again_and_what_is_not_ours_is_not_taken_for_it() {
    for (refused, posts) in [(false, 1), (true, 2)] {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let fake = Fake::start(move |_, seen| {
            let base = format!("http://{}", seen.header("host"));
            let document = |id: &str| json!({"id": id, "type": "idCard", "created": id});
            match seen.line.split(' ').next().unwrap() {
                _ if seen.line.starts_with("POST /token") => token(),
                "GET" => {
                    let posted = count.load(std::sync::atomic::Ordering::SeqCst);
                    let all: Vec<Value> = ["n1", "n2", "n3"].iter().take(posted).map(|id| document(id)).collect();
                    Reply::json(200, json!({"_embedded": {"documents": all}}))
                }
                _ => match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0 if refused => Reply::with(429, &[], b""),
                    0 => Reply::Drop,
                    n => Reply::with(201, &[("location", &format!("{base}/documents/n{}", n + 1))], b""),
                },
            }
        })
        .await;
        let (connector, noted) = (connector(&fake, ""), Noted::default());
        let mut outbound = outbound_of("c1", &[("front", b"x"), ("back", b"y")], 1);
        assert!(connector.deliver(&outbound, &noted).await.is_err());
        outbound.progress = noted.steps.lock().unwrap().clone();
        outbound.progress.dedup_by(|later, former| later.0 == former.0);
        let delivered = connector.deliver(&outbound, &noted).await.unwrap();
        let expected = if refused { ["n2", "n3"] } else { ["n1", "n2"] };
        assert_eq!(delivered.references, expected);
        let sent = fake.seen().iter().filter(|s| s.line.starts_with("POST /customers")).count();
        assert_eq!(sent, 1 + posts, "refused: {refused}");
    }
}

#[tokio::test]
async fn a_duplicate_without_an_address_is_judged_by_the_newest_of_its_type() {
    let all = json!({"_embedded": {"documents": [
        {"id": "1", "type": "idCard", "created": "2025", "documentVerificationStatus": "rejected", "failureReason": "ScanIdExpired"},
        {"id": "2", "type": "idCard", "created": "2026", "documentVerificationStatus": "accepted"},
        {"id": "3", "type": "other", "created": "2027", "documentVerificationStatus": "rejected"}]}});
    let fake = Fake::start(move |_, seen| match seen.line.split(' ').nth(1).unwrap() {
        "/token" => token(),
        _ if seen.line.starts_with("GET") => Reply::json(200, all.clone()),
        _ => Reply::json(400, json!({"code": "duplicateResource"})),
    })
    .await;
    let (connector, outbound, noted) = (connector(&fake, ""), outbound_of("c1", &[("front", b"x")], 1), Noted::default());
    let delivered = connector.deliver(&outbound, &noted).await.unwrap();
    assert!(delivered.references.is_empty());
    let receipt = |references: Vec<String>| Receipt {
        references,
        received_at: time::OffsetDateTime::UNIX_EPOCH,
    };
    assert_eq!(connector.verdict(&outbound, &receipt(vec![])).await.unwrap(), Verdict::Accepted);
    assert_eq!(
        connector.verdict(&outbound, &receipt(vec!["1".into()])).await.unwrap(),
        Verdict::Rejected(Reason::Expired.problem())
    );
    assert_eq!(
        connector.verdict(&outbound, &receipt(vec!["9".into()])).await.unwrap(),
        Verdict::Pending
    );
}

#[tokio::test]
async fn failures_by_the_providers_own_codes() {
    type Check = fn(&Failure) -> bool;
    let definite: Check = |f| matches!(f, Failure::Definite { .. });
    let refused: Check = |f| matches!(f, Failure::Final { .. });
    let credentials: Check = |f| matches!(f, Failure::Credentials { .. });
    let table = [
        (400, json!({"code": "MaximumNumberOfResources", "message": "Jane"}), refused),
        (400, json!({"code": "invalidFileType"}), refused),
        (413, json!({"code": "FileTooLarge"}), refused),
        (403, json!({"code": "invalidResourceState", "message": "Jane"}), refused),
        (403, json!({"code": "NotAuthorized"}), credentials),
        (403, json!({"code": "Forbidden", "message": "Jane"}), refused),
        (409, json!({}), definite),
    ];
    for (status, body, check) in table {
        let sent = body.clone();
        let fake = Fake::start(move |_, seen| match seen.line.split(' ').nth(1).unwrap() {
            "/token" => token(),
            _ if seen.line.starts_with("GET") => Reply::json(200, json!({"_embedded": {"documents": []}})),
            _ => Reply::json(status, sent.clone()),
        })
        .await;
        let outbound = outbound_of("c1", &[("front", b"x")], 1);
        let failure = connector(&fake, "").deliver(&outbound, &NoProgressLog).await.unwrap_err();
        assert!(check(&failure), "{status} {body}: {failure:?}");
        let problem = failure.problem();
        assert!(!format!("{failure:?}").contains("Jane"), "{failure:?}");
        assert!(problem.code.contains('.') && problem.text.len() > 20, "{problem:?}");
    }
}

#[test]
fn every_documented_reason_is_in_the_portals_words() {
    let table = [
        ("BusinessDocNotSupported", Reason::WrongType),
        ("BusinessNameMismatch", Reason::Mismatch),
        ("BusinessTypeMismatch", Reason::Mismatch),
        ("ForeignPassportNotAllowed", Reason::WrongType),
        ("ScanDobMismatch", Reason::Mismatch),
        ("ScanFailedOther", Reason::Rejected),
        ("ScanIdExpired", Reason::Expired),
        ("ScanIdTypeNotSupported", Reason::WrongType),
        ("ScanIdUnrecognized", Reason::WrongType),
        ("ScanNameMismatch", Reason::Mismatch),
        ("ScanNotReadable", Reason::Unreadable),
        ("ScanNotUploaded", Reason::Incomplete),
    ];
    for (code, expected) in table {
        assert_eq!(reason(code), expected, "{code}");
    }
}

#[test]
fn limits_and_settings() {
    let read = |lines: &str| {
        build(
            "dwolla",
            &format!("client_id='k'\nclient_secret_file='s'\n{lines}").parse().unwrap(),
            no_secrets(),
        )
    };
    let dwolla = read("environment='live'").unwrap();
    assert_eq!(
        dwolla.accepts(&kind("passport"), &names(&["front"])).unwrap().accepted,
        [FileType::Jpeg, FileType::Png]
    );
    assert!(
        dwolla
            .accepts(&kind("company-registration"), &names(&["front"]))
            .unwrap()
            .accepted
            .contains(&FileType::Pdf)
    );
    assert!(dwolla.accepts(&kind("selfie"), &names(&["front"])).is_err());
    assert_eq!(read("types={selfie='Selfie'}").err().unwrap()[0].key, "types");
    assert!(read("environment='moon'").is_err() && read("token_url='http://example.com'").is_err());
}

proptest! {
    #[test]
    fn only_a_known_state_is_a_verdict(status in "[a-z]{0,10}|accepted|rejected", why in ".{0,30}") {
        let verdict = judge(&json!({"documentVerificationStatus": status, "failureReason": why}));
        prop_assert_eq!(verdict == Verdict::Accepted, status == "accepted");
        prop_assert_eq!(matches!(verdict, Verdict::Rejected(_)), status == "rejected");
    }
}
