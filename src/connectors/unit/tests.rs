//! Lists, places and refusals of Unit.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Noted, Reply, kind, names, no_secrets, outbound_of, reference, shown};

fn connector(fake: &Fake, lines: &str) -> Arc<dyn Connector> {
    let table = format!(
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\nwebhook_secret_file='hook'\napi_key_file='tok'\n{lines}",
        fake.url()
    );
    build("unit", &table.parse().unwrap(), no_secrets()).unwrap_or_else(|f| panic!("{f:?}"))
}

fn document(id: &str, kind: &str, status: &str) -> Value {
    json!({"type": "document", "id": id, "attributes": {"documentType": kind, "status": status, "reasonCode": "ExpiredId", "name": "Jane", "archived": id == "90"}})
}

fn list(documents: Vec<Value>) -> Reply {
    Reply::json(200, json!({ "data": documents }))
}

#[tokio::test]
async fn missing_is_what_is_required_invalid_or_half_there() {
    let all = vec![
        document("1", "IdDocument", "Required"),
        document("2", "IdDocument", "ReceivedFront"),
        document("3", "Passport", "ReceivedBack"),
        document("4", "AddressVerification", "Invalid"),
        document("5", "SocialSecurityCard", "Required"),
        document("6", "Passport", "Approved"),
        document("7", "Passport", "PendingReview"),
        document("8", "Passport", "Brand New Word"),
        document("90", "Passport", "Required"),
        json!({"id": "../../x", "attributes": {"status": "Required"}}),
    ];
    let fake = Fake::replies(vec![list(all)]).await;
    let connector = connector(&fake, "");
    let found = connector.missing(&reference("46")).await.unwrap();
    let expected = [
        "IdDocument: government-id front+back @46,1",
        "IdDocument: government-id back @46,2",
        "Passport: passport front @46,3",
        "AddressVerification: proof-of-address front @46,4 !",
        "SocialSecurityCard: ? front @46,5",
    ];
    assert_eq!(shown(found), expected);
    assert_eq!(
        shown(connector.missing(&reference("46,4")).await.unwrap()),
        ["AddressVerification: proof-of-address front !"]
    );
    assert_eq!(fake.seen()[0].line, "GET /applications/46/documents HTTP/1.1");
    assert_eq!(fake.seen()[0].header("authorization"), "Bearer tok");
    assert!(connector.missing(&reference("46,1,2")).await.is_err() && connector.missing(&reference("a:b")).await.is_err());
}

#[tokio::test]
async fn what_the_clients_own_rules_want_keeps_its_description() {
    let mut wanted = document("7", "ClientRequested", "Required");
    wanted["attributes"]["description"] = json!("Lease of the office\n");
    let fake = Fake::replies(vec![list(vec![wanted, document("8", "ClientRequested", "Required")])]).await;
    let found = connector(&fake, "").missing(&reference("46")).await.unwrap();
    assert_eq!(
        shown(found),
        [
            "ClientRequested: Lease of the office: ? front @46,7",
            "ClientRequested: ? front @46,8"
        ],
        "and is not called a bank statement"
    );
    let own = connector(&fake, "types={lease='ClientRequested'}")
        .missing(&reference("46,7"))
        .await
        .unwrap();
    assert_eq!(shown(own), ["ClientRequested: Lease of the office: lease front"]);
}

#[tokio::test]
async fn the_place_is_the_named_one_or_the_only_one() {
    let two = vec![document("1", "IdDocument", "Required"), document("2", "IdDocument", "Required")];
    let fake = Fake::start(move |_, seen| {
        if seen.line.starts_with("GET") {
            list(two.clone())
        } else {
            Reply::json(200, json!({"data": document("2", "IdDocument", "Approved")}))
        }
    })
    .await;
    let connector = connector(&fake, "");
    for (who, code) in [("46", "provider.applicant_reference"), ("46,9", "provider.applicant_reference")] {
        let failure = connector
            .deliver(&outbound_of(who, &[("front", b"x")], 1), &NoProgressLog)
            .await
            .unwrap_err();
        assert_eq!(failure.problem().code, code, "{who}");
    }
    let mut other = outbound_of("46,2", &[("front", b"x")], 1);
    other.kind = kind("passport");
    let failure = connector.deliver(&other, &NoProgressLog).await.unwrap_err();
    assert_eq!(
        failure.problem().code,
        "provider.applicant_reference",
        "a passport does not go into an identity card's place"
    );
    let mut passport = outbound_of("46", &[("front", b"x")], 1);
    passport.kind = kind("passport");
    assert_eq!(
        connector.deliver(&passport, &NoProgressLog).await.unwrap_err().problem().code,
        "provider.unsupported"
    );
    let noted = Noted::default();
    let delivered = connector
        .deliver(&outbound_of("46,2", &[("front", b"x")], 1), &noted)
        .await
        .unwrap();
    assert_eq!(
        (delivered.references, delivered.verdict),
        (vec!["2".to_owned()], Verdict::Accepted),
        "the answer itself may be the verdict"
    );
    assert_eq!(*noted.steps.lock().unwrap(), [("slot".to_owned(), "2".to_owned())]);
    assert_eq!(fake.seen().iter().filter(|s| s.line.starts_with("PUT")).count(), 1);
}

#[tokio::test]
async fn a_refused_repeat_is_looked_up_before_it_counts() {
    for (status, arrived) in [("Approved", true), ("PendingReview", true), ("Required", false)] {
        let fake = Fake::start(move |_, seen| {
            if seen.line.starts_with("GET") {
                list(vec![document("1", "IdDocument", status)])
            } else {
                Reply::with(409, &[], b"{}")
            }
        })
        .await;
        let mut outbound = outbound_of("46,1", &[("front", b"x")], 1);
        outbound.progress = vec![("slot".into(), "1".into())];
        assert_eq!(
            connector(&fake, "").deliver(&outbound, &NoProgressLog).await.is_ok(),
            arrived,
            "{status}"
        );
    }
}

#[test]
fn callbacks_hold_several_events_under_a_pinned_algorithm() {
    let table = "api_key_file='tok'\nwebhook_secret_file='a=='\nwebhook_secret_previous_file='b=='"
        .parse()
        .unwrap();
    let unit = build("unit", &table, no_secrets()).unwrap();
    let event = |d: &str| json!({"type": "document.approved", "relationships": {"document": {"data": {"id": d}}, "application": {"data": {"id": "46"}}}});
    let body = json!({"data": [event("1"), {"type": "customer.created"}, event("2")]}).to_string();
    let call = |algorithm, key: &[u8], body: &str| {
        let headers = [(
            "x-unit-signature".to_owned(),
            Encoding::Base64.encode(&sign::mac(algorithm, key, &[body.as_bytes()])),
        )];
        unit.callback(&Callback {
            headers: &headers,
            query: "",
            body: body.as_bytes(),
            now: 0,
        })
    };
    let applicant = || Hint::Applicant(reference("46"));
    let hints = vec![Hint::Reference("1".into()), applicant(), Hint::Reference("2".into()), applicant()];
    assert_eq!(call(Algorithm::Sha1, b"a==", &body), Ok(hints.clone()));
    assert_eq!(call(Algorithm::Sha1, b"b==", &body), Ok(hints));
    assert_eq!(call(Algorithm::Sha1, b"c==", &body), Err(CallbackRefused::Signature));
    assert_eq!(call(Algorithm::Sha256, b"a==", &body), Err(CallbackRefused::Signature));
    assert_eq!(call(Algorithm::Sha1, b"a==", "{}"), Err(CallbackRefused::Malformed));
}

#[test]
fn limits_and_kinds() {
    let table = "api_key_file='tok'".parse().unwrap();
    let unit = build("unit", &table, no_secrets()).unwrap();
    assert_eq!(
        unit.accepts(&kind("government-id"), &names(&["front", "back"])).unwrap().max_bytes,
        20_000_000
    );
    for (document, parts) in [
        ("proof-of-address", &["front", "back"][..]),
        ("government-id", &["back"]),
        ("other", &["front"]),
    ] {
        assert!(unit.accepts(&kind(document), &names(parts)).is_err(), "{document}");
    }
}

proptest! {
    #[test]
    fn only_a_known_state_is_a_verdict(status in "[A-Za-z ]{0,20}|Approved|Invalid", code in ".{0,40}") {
        let slot = Slot::read(&json!({"id": "1", "attributes": {"status": status, "reasonCode": code}})).unwrap();
        match slot.verdict() {
            Verdict::Accepted => prop_assert_eq!(status, "Approved"),
            Verdict::Rejected(problem) => prop_assert!(status == "Invalid" && Reason::ALL.iter().any(|r| r.problem() == problem)),
            Verdict::Pending => prop_assert!(status != "Approved" && status != "Invalid"),
        }
    }
}
