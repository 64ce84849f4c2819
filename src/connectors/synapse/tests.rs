//! Against a socket that plays the provider: what goes over the wire, and what its states come to.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::BASE64;
use serde_json::json;
use time::OffsetDateTime;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Noted, Reply, Seen, kind, names, no_secrets, outbound_of, settings_of};
use crate::connectors::words::Reason;

fn table(url: &str) -> toml::Table {
    format!(
        "base_url='{url}/v3.1'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\nclient_id='client_id_X'\nclient_secret_file='client_secret_Y'\n\
         fingerprint_file='fp_Z'\nuser_ip='1.2.3.4'"
    )
    .parse()
    .unwrap()
}

fn connector(fake: &Fake) -> Arc<dyn Connector> {
    build("synapse", &table(&fake.url()), no_secrets()).unwrap()
}

fn two_parts() -> OutboundDocument {
    outbound_of("u1", &[("front", &b"\x89PNG front"[..]), ("back", b"\x89PNG back!")], 4)
}

fn sub(kind: &str, id: &str, updated: i64, status: &str) -> Value {
    json!({"id": id, "document_type": kind, "last_updated": updated, "status": status, "invalid_reasons": []})
}

fn user(subs: &[Value]) -> Value {
    json!({"_id": "u1", "refresh_token": "refresh_x", "documents": [{"id": "base1", "physical_docs": subs}]})
}

fn error(status: u16, code: &str) -> Reply {
    Reply::json(
        status,
        json!({"error": {"en": "secret words about u1"}, "error_code": code, "http_code": status.to_string(), "success": false}),
    )
}

/// The three calls, with the PATCH's answers in order.
async fn provider(patches: Vec<Reply>) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::start(move |_, seen| match seen.line.split(' ').next().unwrap() {
        "GET" => Reply::json(200, user(&[])),
        "POST" => Reply::json(200, json!({"oauth_key": "oauth_capture"})),
        _ => patches[count.fetch_add(1, Ordering::SeqCst).min(patches.len() - 1)].clone(),
    })
    .await
}

fn received() -> Reply {
    Reply::json(
        200,
        user(&[
            sub("GOVT_ID", "s1", 5, "SUBMITTED|REVIEWING"),
            sub("GOVT_ID_BACK", "s2", 5, "SUBMITTED|REVIEWING"),
        ]),
    )
}

fn headers(seen: &Seen) -> [&str; 5] {
    ["content-type", "x-sp-lang", "x-sp-gateway", "x-sp-user", "x-sp-user-ip"].map(|name| seen.header(name))
}

#[tokio::test]
async fn the_three_calls_are_what_the_vendors_own_library_sends() {
    let fake = provider(vec![received()]).await;
    let (connector, outbound, noted) = (connector(&fake), two_parts(), Noted::default());
    let delivered = connector.deliver(&outbound, &noted).await.unwrap();
    assert_eq!(
        delivered,
        Delivered {
            references: vec!["GOVT_ID/s1".into(), "GOVT_ID_BACK/s2".into()],
            verdict: Verdict::Pending
        }
    );
    assert_eq!(
        *noted.steps.lock().unwrap(),
        [
            ("before".to_owned(), "GOVT_ID=;GOVT_ID_BACK=".to_owned()),
            ("base".to_owned(), "base1".to_owned())
        ]
    );
    let seen = fake.seen();
    let lines: Vec<_> = seen.iter().map(|s| s.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /v3.1/users/u1?full_dehydrate=yes HTTP/1.1",
            "POST /v3.1/oauth/u1 HTTP/1.1",
            "PATCH /v3.1/users/u1 HTTP/1.1"
        ]
    );
    let expected = |user| ["application/json", "en", "client_id_X|client_secret_Y", user, "1.2.3.4"];
    assert_eq!(headers(&seen[0]), expected("|fp_Z"));
    assert_eq!(headers(&seen[1]), expected("|fp_Z"));
    assert_eq!(headers(&seen[2]), expected("oauth_capture|fp_Z"));
    assert_eq!(seen[1].json(), json!({"refresh_token": "refresh_x"}));
    let uri = |data: &[u8]| format!("data:image/png;base64,{}", BASE64.encode(data));
    let text = format!(
        "{{\"documents\":[{{\"id\":\"base1\",\"physical_docs\":[{{\"document_type\":\"GOVT_ID\",\"document_value\":\"{}\"}},\
         {{\"document_type\":\"GOVT_ID_BACK\",\"document_value\":\"{}\"}}]}}]}}",
        uri(b"\x89PNG front"),
        uri(b"\x89PNG back!")
    );
    assert_eq!(seen[2].text(), text);
    connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(fake.seen()[2], fake.seen()[5], "the same request again, byte by byte");
}

#[tokio::test]
async fn a_stale_oauth_key_is_redone_once() {
    for code in ["110", "300"] {
        let fake = provider(vec![error(401, code), received()]).await;
        assert!(connector(&fake).deliver(&two_parts(), &NoProgressLog).await.is_ok());
        assert_eq!(fake.seen().len(), 6);
        let fake = provider(vec![error(401, code)]).await;
        let failure = connector(&fake).deliver(&two_parts(), &NoProgressLog).await.unwrap_err();
        assert!(
            matches!(failure, Failure::Final { .. }) && !failure.about_provider(),
            "the key is this user's"
        );
        assert_eq!(fake.seen().len(), 6, "once, and no more");
    }
}

#[tokio::test]
async fn error_codes_are_sorted_and_their_texts_stay_outside() {
    type Check = fn(&Failure) -> bool;
    let (credentials, refused): (Check, Check) = (|f| matches!(f, Failure::Credentials { .. }), |f| matches!(f, Failure::Final { .. }));
    let (ambiguous, definite): (Check, Check) = (
        |f| matches!(f, Failure::Ambiguous { .. }),
        |f| matches!(f, Failure::Definite { .. }),
    );
    let table = [
        (401, "100", credentials),
        (403, "120", refused),
        (202, "10", refused),
        (400, "200", refused),
        (409, "400", refused),
        (404, "404", refused),
        (400, "460", refused),
        (429, "429", definite),
        (503, "503", definite),
        (409, "450", ambiguous),
        (500, "500", ambiguous),
        (504, "999", ambiguous),
    ];
    for (status, code, check) in table {
        let fake = provider(vec![error(status, code)]).await;
        let failure = connector(&fake).deliver(&two_parts(), &NoProgressLog).await.unwrap_err();
        assert!(check(&failure), "{code}: {failure:?}");
        assert!(!format!("{failure:?}").contains("secret words"));
    }
    let fake = provider(vec![Reply::Drop]).await;
    assert!(ambiguous(
        &connector(&fake).deliver(&two_parts(), &NoProgressLog).await.unwrap_err()
    ));
}

#[tokio::test]
async fn before_the_patch_every_failure_is_definite_or_needs_a_person() {
    let no_base = json!({"_id": "u1", "refresh_token": "r", "documents": []});
    let second_factor = json!({"error_code": "10", "http_code": "202", "success": true});
    let cases = [
        (Reply::with(500, &[], b""), None, "provider.failed"),
        (Reply::Drop, None, "provider.interrupted"),
        (
            Reply::json(200, json!({"_id": "u1", "documents": []})),
            None,
            "provider.unreadable_answer",
        ),
        (Reply::json(200, no_base), None, "provider.no_base_document"),
        (
            Reply::json(200, user(&[])),
            Some(Reply::json(202, second_factor)),
            "provider.second_factor",
        ),
        (Reply::json(200, user(&[])), Some(Reply::Drop), "provider.interrupted"),
        (
            Reply::json(200, user(&[])),
            Some(Reply::json(200, json!({}))),
            "provider.unreadable_answer",
        ),
    ];
    for (get, post, code) in cases {
        let fake = Fake::start(move |_, seen| {
            if seen.line.starts_with("GET") {
                get.clone()
            } else {
                post.clone().unwrap()
            }
        })
        .await;
        let failure = connector(&fake).deliver(&two_parts(), &NoProgressLog).await.unwrap_err();
        assert_eq!(failure.problem().code, code);
        assert!(!matches!(failure, Failure::Ambiguous { .. }), "{code}");
        assert!(fake.seen().iter().all(|s| !s.line.starts_with("PATCH")), "{code}");
    }
}

#[test]
fn presence_is_told_by_comparison() {
    let types = ["GOVT_ID".to_owned(), "GOVT_ID_BACK".to_owned()];
    let read = |subs: &[Value]| User::read(&user(subs)).unwrap();
    let state = |id: &str, updated, status: &str| [sub("GOVT_ID", id, updated, status), sub("GOVT_ID_BACK", id, updated, status)];
    let (valid, reviewing) = ("SUBMITTED|VALID", "SUBMITTED|REVIEWING");
    let present = |before: &[Value], after: &[Value]| match read(after).presence(&types, &read(before).snapshot(&types)) {
        Presence::Present(_) => 'p',
        Presence::Absent => 'a',
        Presence::Unknown => '?',
    };
    assert_eq!(present(&[], &[]), 'a');
    assert_eq!(present(&[], &state("1", 5, reviewing)), 'p');
    assert_eq!(present(&[], &state("1", 5, reviewing)[..1]), '?', "half a PATCH is not ours");
    assert_eq!(present(&state("1", 5, valid), &state("1", 5, valid)), 'a');
    assert_eq!(present(&state("1", 5, valid), &state("2", 6, reviewing)), 'p', "added");
    assert_eq!(
        present(&state("1", 5, "SUBMITTED|INVALID"), &state("1", 6, reviewing)),
        'p',
        "replaced"
    );
    assert_eq!(
        present(&state("1", 5, reviewing), &state("1", 6, valid)),
        '?',
        "perhaps only the verdict on the older one"
    );
    assert_eq!(present(&state("1", 5, reviewing), &state("1", 6, reviewing)), 'p');
    assert_eq!(read(&[]).presence(&types, "SELFIE="), Presence::Unknown);
}

#[tokio::test]
async fn reconciling_without_a_note_means_that_nothing_was_sent() {
    let fake = provider(vec![received()]).await;
    let mut outbound = two_parts();
    assert_eq!(connector(&fake).reconcile(&outbound).await.unwrap(), Presence::Absent);
    assert!(fake.seen().is_empty());
    outbound.progress = vec![("before".into(), "GOVT_ID=;GOVT_ID_BACK=".into())];
    assert_eq!(connector(&fake).reconcile(&outbound).await.unwrap(), Presence::Absent);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn verdicts_need_every_side() {
    let states = [
        ("SUBMITTED", "SUBMITTED|VALID", Verdict::Pending),
        ("SUBMITTED|MFA_PENDING", "SUBMITTED|VALID", Verdict::Pending),
        ("SUBMITTED|VALID", "SUBMITTED|VALID", Verdict::Accepted),
        (
            "SUBMITTED|VALID",
            "SUBMITTED|INVALID",
            Verdict::Rejected(Reason::Unreadable.problem()),
        ),
        (
            "SUBMITTED|VALID",
            "SUBMITTED|INVALID|BLACKLIST",
            Verdict::Rejected(Reason::FraudSuspected.problem()),
        ),
        ("SUBMITTED|VALID", "A NEW STATE", Verdict::Pending),
    ];
    for (front, back, expected) in states {
        let mut rejected = sub("GOVT_ID_BACK", "s2", 5, back);
        rejected["invalid_reasons"] = json!(["something", "Image is blurry"]);
        let answer = user(&[sub("GOVT_ID", "s1", 5, front), rejected]);
        let fake = Fake::replies(vec![Reply::json(200, answer)]).await;
        let receipt = Receipt {
            references: vec!["GOVT_ID/s1".into(), "GOVT_ID_BACK/".into()],
            received_at: OffsetDateTime::UNIX_EPOCH,
        };
        assert_eq!(
            connector(&fake).verdict(&two_parts(), &receipt).await.unwrap(),
            expected,
            "{front} {back}"
        );
    }
}

#[tokio::test]
async fn missing_comes_from_states_requirements_and_watch_lists() {
    let mut blurred = sub("PROOF_OF_ADDRESS", "s3", 5, "SUBMITTED|INVALID");
    blurred["invalid_reasons"] = json!(["too old, expired"]);
    let mut everything = user(&[blurred, sub("SELFIE", "s4", 5, "SUBMITTED|VALID")]);
    everything["documents"][0]["required_edd_docs"] = json!(["W9_DOC", "GOVT_ID_BACK", 5, "not a type"]);
    everything["watchlists"] = json!("SOFT_MATCH|PENDING_UPLOAD");
    let fake = Fake::replies(vec![
        Reply::json(200, everything),
        Reply::json(200, user(&[sub("GOVT_ID", "s1", 5, "SUBMITTED|REVIEWING")])),
        Reply::json(200, user(&[])),
    ])
    .await;
    let (connector, applicant) = (connector(&fake), two_parts().applicant);
    let missing = async || {
        let missing = connector.missing(&applicant).await.unwrap();
        let short = |m: Missing| {
            let parts: Vec<_> = m.parts.iter().map(ToString::to_string).collect();
            (m.document.map(|d| d.to_string()), parts.join("+"), m.reason.is_some())
        };
        missing.into_iter().map(short).collect::<Vec<_>>()
    };
    let of = |kind: &str, parts: &str, reason| (Some(kind.to_owned()), parts.to_owned(), reason);
    let first = missing().await;
    assert_eq!(
        first,
        [
            of("proof-of-address", "front", true),
            (None, String::new(), false),
            of("government-id", "back+front", false)
        ]
    );
    assert!(missing().await.is_empty());
    assert_eq!(missing().await, [of("government-id", "", false)]);
}

#[test]
fn callbacks_are_hints_signed_over_the_id_only() {
    let table = |more: &str| {
        let text = format!(
            "base_url='https://api.example.com'\nclient_id='e3f19e4bd4022c86e7f2'\nclient_secret_file='client_secret_test'\nfingerprint_file='fp'\nuser_ip='::1'\n{more}"
        );
        text.parse::<toml::Table>().unwrap()
    };
    let body = br#"{"_id":{"$oid":"563db3fb86c27307d925871f"},"documents":"..."}"#;
    let sha1 = ("x-synapse-signature", "48fd51446de19b061bd18a29fdc2848def9b1aa1");
    let sha256 = (
        "x-synapse-signature-sha256",
        "4e5490a423edaf6988b2e414f4c83c6d441ebcd67e58522995a9f3a6c1acb94e",
    );
    let call = |more: &str, (name, value): (&str, &str), body: &[u8]| {
        let headers = [(name.to_owned(), value.to_owned())];
        build("synapse", &table(more), no_secrets()).unwrap().callback(&Callback {
            headers: &headers,
            query: "",
            body,
            now: 0,
        })
    };
    let hint = Ok(vec![Hint::Applicant(ApplicantRef::parse("563db3fb86c27307d925871f").unwrap())]);
    assert_eq!(call("", sha256, body), hint);
    assert_eq!(call("callback_algorithm='sha1'", sha1, body), hint);
    assert_eq!(
        call("", sha1, body),
        Err(CallbackRefused::Signature),
        "the weaker algorithm is not talked into"
    );
    assert_eq!(call("", (sha256.0, sha1.1), body), Err(CallbackRefused::Signature));
    for bad in [&b"{}"[..], b"", b"[]", br#"{"_id":{"$oid":"another"}}"#] {
        assert_eq!(call("", sha256, bad), Err(CallbackRefused::Signature));
    }
}

#[test]
fn limits_follow_the_type_and_the_body() {
    let settings = settings_of(&table("http://127.0.0.1:1"), SynapseSettings::read).unwrap();
    let synapse = Synapse::new(settings).unwrap();
    let both = synapse.accepts(&kind("government-id"), &names(&["front", "back"])).unwrap();
    assert_eq!(both.accepted, [FileType::Jpeg, FileType::Png]);
    assert!(2 * both.max_bytes.div_ceil(3) * 4 <= 30 << 20);
    assert!(
        synapse
            .accepts(&kind("proof-of-address"), &names(&["front"]))
            .unwrap()
            .accepted
            .contains(&FileType::Pdf)
    );
    for (document, parts) in [("tax-return", &["front"][..]), ("passport", &["page-7"]), ("passport", &[])] {
        assert!(synapse.accepts(&kind(document), &names(parts)).is_err(), "{document}");
    }
    let mut own = table("http://127.0.0.1:1");
    own.insert("types".into(), toml::Value::Table("'tax-return/front'='W2_DOC'".parse().unwrap()));
    let settings = settings_of(&own, SynapseSettings::read).unwrap();
    assert_eq!(settings.types.of(&kind("tax-return"), &names(&["front"])[0]), Some("W2_DOC"));
    own.insert("types".into(), toml::Value::Table("'taxes'='W2_DOC'".parse().unwrap()));
    own.insert("required".into(), toml::Value::Array(vec!["unheard-of".into()]));
    own.insert("user_ip".into(), "here".into());
    let mut keys: Vec<_> = settings_of(&own, SynapseSettings::read)
        .unwrap_err()
        .into_iter()
        .map(|f| f.key)
        .collect();
    keys.sort();
    assert_eq!(keys, ["required", "types", "user_ip"]);
}

#[tokio::test]
async fn deliveries_to_one_user_wait_for_one_another() {
    let fake = provider(vec![received()]).await;
    let connector = connector(&fake);
    let deliveries = (0..5).map(|_| {
        let connector = connector.clone();
        tokio::spawn(async move { connector.deliver(&two_parts(), &NoProgressLog).await.unwrap() })
    });
    for delivery in deliveries.collect::<Vec<_>>() {
        delivery.await.unwrap();
    }
    let methods: Vec<String> = fake.seen().iter().map(|s| s.line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(methods.concat(), "GETPOSTPATCH".repeat(5));
}
