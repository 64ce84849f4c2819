//! Bodies, requirements and signatures of Bridge.
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
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\n# no secret\napi_key_file='key'\ncountry='USA'\n{lines}",
        fake.url()
    );
    build("bridge", &table.parse().unwrap(), no_secrets()).unwrap_or_else(|f| panic!("{f:?}"))
}

#[tokio::test]
async fn identities_go_together_and_other_documents_by_their_purpose() {
    let fake = Fake::replies(vec![Reply::json(200, json!({"id": "c1", "status": "active"}))]).await;
    let connector = connector(&fake, "countries=['CAN']");
    let outbound = outbound_of("c1,CAN", &[("front", b"front"), ("back", b"back")], 2);
    let delivered = connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(
        (delivered.references.len(), delivered.verdict),
        (0, Verdict::Pending),
        "the answer shows the state before a review"
    );
    let seen = &fake.seen()[0];
    assert_eq!(
        (seen.line.as_str(), seen.header("api-key"), seen.header("idempotency-key")),
        ("PUT /customers/c1 HTTP/1.1", "key", outbound.keys.idempotency(0).as_str())
    );
    let expected = r#"{"identifying_information":[{"type":"national_id","issuing_country":"CAN","image_front":"data:image/png;base64,ZnJvbnQ=","image_back":"data:image/png;base64,YmFjaw=="}]}"#;
    assert_eq!(seen.text(), expected);
    let mut proof = outbound_of("c1", &[("front", b"front")], 2);
    proof.kind = kind("proof-of-address");
    connector.deliver(&proof, &NoProgressLog).await.unwrap();
    let expected = json!({"documents": [{"purposes": ["proof_of_address"], "file": "data:image/png;base64,ZnJvbnQ=", "description": proof.file_name(0)}]});
    assert_eq!(fake.seen()[1].json(), expected);
    let small = self::connector(&fake, "country_case='lower'");
    let _ = small.deliver(&outbound_of("c1", &[("front", b"front")], 2), &NoProgressLog).await;
    assert!(fake.seen()[2].text().contains(r#""issuing_country":"usa""#));
}

fn customer(requirements: Value, due: Value, status: &str) -> Value {
    json!({"id": "c1", "status": status, "requirements_due": due, "endorsements": [{"name": "base", "requirements": requirements}],
           "rejection_reasons": [{"developer_reason": "never shown", "reason": "x"}]})
}

#[tokio::test]
async fn missing_reads_requirements_wherever_they_are_nested() {
    let body = customer(
        json!({"complete": [], "pending": [], "missing": {"all_of": ["proof_of_address", {"any_of": ["proof_of_tax_identification", "terms"]}]}, "issues": [{"id_front_photo": "id_expired"}]}),
        json!(["id_verification", "external_account"]),
        "incomplete",
    );
    let fake = Fake::replies(vec![Reply::json(200, body)]).await;
    let found = connector(&fake, "").missing(&reference("c1")).await.unwrap();
    assert_eq!(found[0].reason.as_deref(), Some(Reason::Expired.sentence()));
    assert_eq!(
        shown(found),
        [
            "id_verification: government-id front+back !",
            "proof_of_address: proof-of-address front",
            "proof_of_tax_identification: ? front"
        ]
    );
}

#[test]
fn verdicts_follow_requirements() {
    let judge = |requirements: Value, due: Value, status: &str, kind: &str| customer::verdict(&customer(requirements, due, status), kind);
    let none = || json!([]);
    assert_eq!(
        judge(json!({"complete": ["proof_of_address"]}), none(), "incomplete", "proof_of_address"),
        Verdict::Accepted
    );
    assert_eq!(
        judge(json!({"pending": ["proof_of_address"]}), none(), "active", "proof_of_address"),
        Verdict::Pending
    );
    assert_eq!(
        judge(
            json!({"missing": {"all_of": ["proof_of_address"]}}),
            none(),
            "active",
            "proof_of_address"
        ),
        Verdict::Pending
    );
    assert_eq!(judge(json!({}), json!(["id_verification"]), "active", "passport"), Verdict::Pending);
    assert_eq!(judge(json!({}), none(), "active", "passport"), Verdict::Accepted);
    assert_eq!(judge(json!({}), none(), "under_review", "passport"), Verdict::Pending);
    assert_eq!(
        judge(json!({"issues": [{"id_back_photo": "not readable"}]}), none(), "active", "passport"),
        Verdict::Rejected(Reason::Unreadable.problem())
    );
    assert_eq!(
        judge(
            json!({"issues": [{"id_back_photo": "not readable"}]}),
            none(),
            "active",
            "proof_of_address"
        ),
        Verdict::Accepted
    );
    assert!(matches!(judge(json!({}), none(), "rejected", "passport"), Verdict::Rejected(_)));
    assert_eq!(customer::verdict(&json!({}), "passport"), Verdict::Pending);
}

#[tokio::test]
async fn failures_by_the_providers_own_codes() {
    type Check = fn(&Failure) -> bool;
    let definite: Check = |f| matches!(f, Failure::Definite { .. });
    let refused: Check = |f| matches!(f, Failure::Final { .. });
    let table = [
        (400, json!({"code": "invalid_parameters", "message": "Jane"}), refused),
        (409, json!({"code": "x"}), definite),
    ];
    for (status, body, check) in table {
        let sent = body.clone();
        let fake = Fake::start(move |_, seen| {
            let _ = seen;
            Reply::json(status, sent.clone())
        })
        .await;
        let outbound = outbound_of("c1", &[("front", b"x"), ("back", b"y")], 1);
        let failure = connector(&fake, "").deliver(&outbound, &NoProgressLog).await.unwrap_err();
        assert!(check(&failure), "{status} {body}: {failure:?}");
        let problem = failure.problem();
        assert!(!format!("{failure:?}").contains("Jane"), "{failure:?}");
        assert!(problem.code.contains('.') && problem.text.len() > 20, "{problem:?}");
    }
}

/// Made with another implementation: RSA-2048, PKCS#1 v1.5 with SHA-256 over SHA-256("1700000000000.{\"event_object\":{\"id\":\"c1\"}}").
const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAy+9fOtszh2drh7f/lmcs\nWjtcPrpDmMeqCq4s+Kdl7wQCoMN+ImYoECDSlDzQgAoCJUC4J2V9uwRzPs9xleVR\nO2wkhg371t6o7i+cjhnDZksH9FpTSDWo0JHTF127Dm0wed14XNQYpAk2YqwjM9GV\nsmlist3VTIo4h7zB7Q/dS6KFOc6/if+ZxMO0IWazU/WkyEMlz6qejuQuUviXRfgS\n0/JSMIGR6FWACjcGwxgi08cJQ1P3zTVuHCgqOt77Jf+2X8e9b1mRaw2/YnsU2UJ6\nJM5AgvzYRrhRR296d12r+hl31O8cAmpHBKzcabA4nzAP1yGo8CHMEAa63dkJM7PV\nRQIDAQAB\n-----END PUBLIC KEY-----";
const BODY: &str = r#"{"event_object":{"id":"c1"}}"#;
const SIGNATURE: &str = "jVnsRbiijbolyG9H0K4cvYQMMKvaIMByYNs8kzTnF+IvrpbhC6vsl7r2iYZH+d9r31xlQol06UtkGNkeNm8xI6BW5PoOW1Xs4lMd1UTIdZCUOK3+aKiuHzGV0KGHD17vBM2jouMT7WOWnvnj4AdxgoCu18EIwAj+gswvKHPq1NsOyVIVeLmht+0/HOdhjVy//RdS3l+BdeWhTBkkm6WJz5gq6bej0YcSwDCU0D938vCvnT/2zu+sGFZscVjtLzjLc75bt4ju8ji78BDNgXTa1FdqpHjYOIbipnx72dQgyi7//JImDqWBYroKXHOZyhfr1bMVlfwvHsGzOkLoeWg2Sg==";
/// The same key over the text itself, hashed once.
const SINGLE: &str = "qRiA+G9u5ziDDL3ZCKpxSRdMHjLw4lHTB8LAC9fSbXzoJzfbdViZrtrxhq+5Rn1Fzv8XKwBq/cUNL3DeXU2LbgaWY3E0gKeqmGcMBtrZtMtIMv7nRB5eUSWl2z0/1pNSt1N3zh1krqNryG5vxpCPn2uDq3v5kpMc04IjgqWbqilfxwD7rqVTpRLVH4tGKt8OXZd6zp55jf+oapHY3Cwk/GhdJUpxm0OjkHJ1lxVCQZjrQkRo1alxLBysjXvIU3GGC8tsxq4KJW3B4MHY0orWA9a1+3/SMsaPgApcqbCcNEsVYpvKBYTwC5lY+0dfm7884xUK6KsU4eJw/xPumj/aAg==";

#[test]
fn callbacks_are_hashed_twice_and_grow_stale() {
    let table = "api_key_file='k'\ncountry='USA'\nwebhook_key_file='pem'".parse().unwrap();
    let read = |path: &str| Ok(Secret::new(if path == "pem" { PEM } else { path }));
    let bridge = build("bridge", &table, &read).unwrap();
    let call = |header: &str, body: &str, now: i64| {
        let headers = [("x-webhook-signature".to_owned(), header.to_owned())];
        bridge.callback(&Callback {
            headers: &headers,
            query: "",
            body: body.as_bytes(),
            now,
        })
    };
    let good = format!("t=1700000000000,v0={SIGNATURE}");
    let hints = Ok(vec![Hint::Applicant(reference("c1")), Hint::Applicant(reference("c1,USA"))]);
    assert_eq!(call(&good, BODY, 1_700_000_000), hints);
    assert_eq!(call(&good, BODY, 1_700_000_600), hints);
    for (header, body, now) in [
        (good.clone(), BODY, 1_700_000_601),
        (good.clone(), BODY, 1_699_999_399),
        (good.clone(), "{}", 1_700_000_000),
        (good.replace("17000", "17001"), BODY, 1_700_000_000),
        (format!("t=1700000000000,v0={SINGLE}"), BODY, 1_700_000_000),
        (good.replace(",v0", ",v1"), BODY, 1_700_000_000),
        (format!("{good},v0=AAAA"), BODY, 1_700_000_000),
        (String::new(), BODY, 1_700_000_000),
    ] {
        assert_eq!(call(&header, body, now), Err(CallbackRefused::Signature), "{header}");
    }
    for bad in ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        let read = |path: &str| Ok(Secret::new(if path == "pem" { bad } else { path }));
        assert!(build("bridge", &table, &read).is_err());
    }
}

#[test]
fn limits_and_settings() {
    let read = |lines: &str| build("bridge", &format!("api_key_file='k'\n{lines}").parse().unwrap(), no_secrets());
    let bridge = read("country='USA'").unwrap();
    assert_eq!(
        bridge
            .accepts(&kind("government-id"), &names(&["front", "back"]))
            .unwrap()
            .max_bytes,
        12_000_000
    );
    assert_eq!(bridge.accepts(&kind("passport"), &names(&["front"])).unwrap().max_bytes, 15_000_000);
    assert!(
        bridge.accepts(&kind("proof-of-address"), &names(&["front", "back"])).is_err()
            && bridge.accepts(&kind("selfie"), &names(&["front"])).is_err()
    );
    assert!(read("").is_err() && read("country='USA'\nwebhook_secret_file='x'").is_err());
}

proptest! {
    #[test]
    fn an_open_requirement_is_never_an_acceptance(status in "[a-z_]{0,12}|active", word in "id_verification|id_front_photo|government_id") {
        for place in ["pending", "missing"] {
            let body = customer(json!({place: [word], "complete": ["id_verification"]}), json!([]), &status);
            prop_assert_ne!(customer::verdict(&body, "passport"), Verdict::Accepted);
        }
    }
}
