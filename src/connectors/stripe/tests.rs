//! Against a socket that plays Stripe's two hosts: the bytes on the wire, and what its objects come to.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use time::OffsetDateTime;

mod accounts_v2;

use super::*;
use crate::connectors::build;
use crate::connectors::fake::{Fake, NoProgressLog, Noted, Reply, kind, names, no_secrets, outbound_of, settings_of};
use crate::connectors::words::Reason;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n--d95c\r\nIEND";

fn connector(fake: &Fake, lines: &str) -> Arc<dyn Connector> {
    let table = format!(
        "base_url='{}'\nallow_insecure=true\nallow_private=true\ntimeout='5s'\napi_key_file='sk_test_X'\n{lines}",
        fake.url()
    );
    build("stripe", &table.parse().unwrap(), no_secrets()).unwrap()
}

fn of_kind(applicant: &str, name: &str, parts: &[(&str, &[u8])]) -> OutboundDocument {
    let mut outbound = outbound_of(applicant, parts, 5);
    outbound.kind = kind(name);
    outbound
}

fn both_sides() -> OutboundDocument {
    of_kind("acct_1,person_1", "government-id", &[("front", PNG), ("back", b"back")])
}

/// A person whose document has these files; nothing is required.
fn person(front: &str, back: &str, status: &str) -> Value {
    json!({"id": "person_1", "object": "person", "requirements": {"currently_due": [], "past_due": [], "pending_verification": [], "errors": []},
           "verification": {"status": status, "document": {"front": front, "back": back, "details_code": null}}})
}

fn file(n: u8) -> Reply {
    Reply::json(
        200,
        json!({"id": format!("file_{n}"), "object": "file", "purpose": "identity_document"}),
    )
}

#[tokio::test]
async fn two_files_and_one_form_as_the_vendors_own_library_sends_them() {
    let fake = Fake::replies(vec![file(1), file(2), Reply::json(200, person("file_1", "file_2", "pending"))]).await;
    let (connector, outbound, noted) = (connector(&fake, ""), both_sides(), Noted::default());
    let delivered = connector.deliver(&outbound, &noted).await.unwrap();
    assert_eq!(
        delivered,
        Delivered {
            references: vec!["file_1".into(), "file_2".into()],
            verdict: Verdict::Pending
        }
    );
    assert_eq!(
        *noted.steps.lock().unwrap(),
        [("file:front".into(), "file_1".into()), ("file:back".into(), "file_2".into())] as [(String, String); 2]
    );
    let seen = fake.seen();
    let boundary = outbound.keys.boundary(0);
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nidentity_document\r\n--{boundary}\r\nContent-Disposition: form-data; \
         name=\"file\"; filename=\"document-{}-front.png\"\r\nContent-Type: image/png\r\n\r\n",
        outbound.document
    );
    let expected = [head.as_bytes(), PNG, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    assert_eq!(seen[0].line, "POST /v1/files HTTP/1.1");
    assert_eq!(seen[0].body, expected);
    assert_eq!(seen[0].header("content-type"), format!("multipart/form-data; boundary={boundary}"));
    let common = |n: usize| ["authorization", "stripe-account", "stripe-version"].map(|name| seen[n].header(name));
    assert_eq!(common(0), ["Bearer sk_test_X", "acct_1", VERSION]);
    assert_eq!(common(2), ["Bearer sk_test_X", "", VERSION]);
    assert_eq!(seen[2].line, "POST /v1/accounts/acct_1/persons/person_1 HTTP/1.1");
    assert_eq!(seen[2].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(
        seen[2].text(),
        "verification[document][front]=file_1&verification[document][back]=file_2"
    );
    let keys: Vec<_> = seen.iter().map(|s| s.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys, [0, 1, 2].map(|call| outbound.keys.idempotency(call)));
}

#[tokio::test]
async fn a_later_attempt_continues_behind_the_noted_files_and_repeats_the_same_bytes() {
    let fake = Fake::replies(vec![
        file(1),
        Reply::Drop,
        file(2),
        Reply::Drop,
        Reply::json(200, person("file_1", "file_2", "verified")),
    ])
    .await;
    let (connector, mut outbound, noted) = (connector(&fake, ""), both_sides(), Noted::default());
    for _ in 0..2 {
        assert!(matches!(connector.deliver(&outbound, &noted).await, Err(Failure::Ambiguous { .. })));
        outbound.progress = noted.steps.lock().unwrap().clone();
    }
    assert_eq!(
        connector.deliver(&outbound, &noted).await.unwrap().verdict,
        Verdict::Pending,
        "the object of this moment still speaks of the document before"
    );
    let seen = fake.seen();
    assert_eq!(
        (&seen[1], &seen[3]),
        (&seen[2], &seen[4]),
        "a repeated request is the same, byte by byte"
    );
    assert_eq!(seen.len(), 5, "the first file went once");
    let lost = Noted {
        lost_at: Some(0),
        ..Noted::default()
    };
    let fake = Fake::replies(vec![file(1)]).await;
    assert_eq!(
        super::tests::connector(&fake, "").deliver(&both_sides(), &lost).await,
        Err(Failure::Lost)
    );
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn every_kind_has_its_purpose_field_and_object() {
    let table = [
        (
            "acct_1",
            "passport",
            "identity_document",
            "/v1/accounts/acct_1",
            "individual[verification][document][front]=file_1",
        ),
        (
            "acct_1,person_2",
            "proof-of-address",
            "identity_document",
            "/v1/accounts/acct_1/persons/person_2",
            "verification[additional_document][front]=file_1",
        ),
        (
            "acct_1,company",
            "proof-of-address",
            "account_requirement",
            "/v1/accounts/acct_1",
            "documents[proof_of_address][files][0]=file_1",
        ),
        (
            "acct_1",
            "bank-statement",
            "account_requirement",
            "/v1/accounts/acct_1",
            "documents[bank_account_ownership_verification][files][0]=file_1",
        ),
        (
            "acct_1,company",
            "company-registration",
            "additional_verification",
            "/v1/accounts/acct_1",
            "company[verification][document][front]=file_1",
        ),
        (
            "acct_1",
            "company-registration",
            "account_requirement",
            "/v1/accounts/acct_1",
            "documents[company_registration_verification][files][0]=file_1",
        ),
        (
            "acct_1",
            "licence",
            "account_requirement",
            "/v1/accounts/acct_1",
            "documents[company_license][files][0]=file_1",
        ),
    ];
    for (applicant, kind, purpose, path, form) in table {
        let file = json!({"id": "file_1", "object": "file", "purpose": purpose});
        let entry = json!({"front": "file_1"});
        let verification = json!({"document": entry, "additional_document": entry});
        let id = if path.contains("person") { "person_2" } else { "acct_1" };
        let object = json!({"id": id, "verification": verification, "individual": {"verification": verification}, "company": {"verification": verification}});
        let fake = Fake::replies(vec![Reply::json(200, file), Reply::json(200, object)]).await;
        let connector = connector(&fake, "upload_as='platform'\nslots={licence='documents.company_license'}");
        let delivered = connector
            .deliver(&of_kind(applicant, kind, &[("front", PNG)]), &NoProgressLog)
            .await
            .unwrap();
        assert_eq!(delivered.verdict, Verdict::Pending, "what is attached is judged later");
        let seen = fake.seen();
        assert!(seen[0].text().contains(&format!("\r\n\r\n{purpose}\r\n")), "{kind}");
        assert_eq!(
            (seen[0].header("stripe-account"), seen[1].line.as_str()),
            ("", format!("POST {path} HTTP/1.1").as_str())
        );
        assert_eq!(seen[1].text(), form);
    }
}

#[tokio::test]
async fn what_has_no_place_is_refused_before_a_byte_is_sent() {
    let fake = Fake::replies(vec![file(1)]).await;
    let connector = connector(&fake, "");
    for (applicant, kind, part) in [
        ("cus_1", "passport", "front"),
        ("acct_1,company", "passport", "front"),
        ("acct_1,person_1", "bank-statement", "front"),
        ("acct_1,other", "passport", "front"),
        ("acct_", "passport", "front"),
        ("acct_1,person_1,person_2", "passport", "front"),
        ("acct_1", "passport", "page-1"),
        ("acct_1", "selfie", "front"),
    ] {
        let failure = connector
            .deliver(&of_kind(applicant, kind, &[(part, PNG)]), &NoProgressLog)
            .await
            .unwrap_err();
        assert!(matches!(failure, Failure::Final { .. }), "{applicant} {kind}");
    }
    assert!(fake.seen().is_empty());
    assert!(connector.accepts(&kind("selfie"), &names(&["front"])).is_err());
    assert!(connector.accepts(&kind("passport"), &names(&["page-1"])).is_err());
    assert!(connector.accepts(&kind("passport"), &[]).is_err());
    assert_eq!(
        connector.accepts(&kind("passport"), &names(&["front"])).unwrap().max_bytes,
        9_999_999
    );
}

#[tokio::test]
async fn reconciling_compares_the_attached_files() {
    let fake = Fake::replies(vec![
        Reply::json(200, person("file_1", "file_2", "pending")),
        Reply::json(200, person("file_1", "file_9", "pending")),
        Reply::json(200, json!({"message": "maintenance"})),
    ])
    .await;
    let (connector, mut outbound) = (connector(&fake, ""), both_sides());
    assert_eq!(connector.reconcile(&outbound).await.unwrap(), Presence::Absent);
    outbound.progress = vec![("file:front".into(), "file_1".into())];
    assert_eq!(connector.reconcile(&outbound).await.unwrap(), Presence::Absent);
    assert!(
        fake.seen().is_empty(),
        "without all files nothing was attached, and nobody need be asked"
    );
    outbound.progress.push(("file:back".into(), "file_2".into()));
    assert!(matches!(connector.reconcile(&outbound).await.unwrap(), Presence::Present(d) if d.references == ["file_1", "file_2"]));
    assert_eq!(connector.reconcile(&outbound).await.unwrap(), Presence::Absent);
    let failure = connector.reconcile(&outbound).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Definite { .. }),
        "an answer about something else proves no absence: {failure:?}"
    );
    let mut statement = of_kind("acct_1", "bank-statement", &[("front", PNG)]);
    statement.progress = vec![("file:front".into(), "file_1".into())];
    assert_eq!(
        connector.reconcile(&statement).await.unwrap(),
        Presence::Unknown,
        "the account does not show these files"
    );
}

#[tokio::test]
async fn errors_are_sorted_by_status_type_code_and_advice() {
    type Check = fn(&Failure) -> bool;
    let (definite, refused): (Check, Check) = (|f| matches!(f, Failure::Definite { .. }), |f| matches!(f, Failure::Final { .. }));
    let (ambiguous, credentials): (Check, Check) = (
        |f| matches!(f, Failure::Ambiguous { .. }),
        |f| matches!(f, Failure::Credentials { .. }),
    );
    let table = [
        (400, "invalid_request_error", "parameter_invalid", "", refused),
        (400, "invalid_request_error", "", "true", definite),
        (400, "idempotency_error", "", "", ambiguous),
        (402, "card_error", "", "", refused),
        (404, "invalid_request_error", "resource_missing", "", refused),
        (409, "idempotency_error", "idempotency_key_in_use", "false", definite),
        (409, "invalid_request_error", "lock_timeout", "", definite),
        (409, "invalid_request_error", "lock_timeout", "false", refused),
        (409, "idempotency_error", "", "false", ambiguous),
        (429, "invalid_request_error", "rate_limit", "", definite),
        (500, "api_error", "", "true", ambiguous),
        (500, "api_error", "", "false", ambiguous),
        (503, "api_error", "", "", definite),
        (401, "invalid_request_error", "", "", credentials),
        (403, "invalid_request_error", "account_invalid", "", refused),
        (404, "invalid_request_error", "account_invalid", "true", refused),
        (403, "invalid_request_error", "", "", credentials),
    ];
    for (status, kind, code, advice, check) in table {
        let body = json!({"error": {"type": kind, "code": code, "message": "No such person: 'person_1'", "param": "person_1"}}).to_string();
        let fake = Fake::replies(vec![Reply::with(status, &[("Stripe-Should-Retry", advice)], body.as_bytes())]).await;
        let failure = connector(&fake, "").deliver(&both_sides(), &NoProgressLog).await.unwrap_err();
        assert!(check(&failure), "{status} {kind} {code} {advice}: {failure:?}");
        assert!(!format!("{failure:?}").contains("person_1"), "the provider's message stays outside");
        assert_eq!(failure.problem().code == "provider.applicant_reference", code == "account_invalid");
        assert_eq!(
            failure.problem().code == "provider.stored_failure",
            status == 500 && advice == "false"
        );
    }
}

#[test]
fn verdicts_follow_requirements_errors_and_details() {
    let holder = Holder::Person("person_1".into());
    let judge = |change: &dyn Fn(&mut Value), status: &str| {
        let mut object = person("file_1", "file_2", status);
        change(&mut object);
        account::judge(&object, &Slot::Document, &holder)
    };
    let none = |_: &mut Value| {};
    assert_eq!(judge(&none, "verified"), Verdict::Accepted);
    assert_eq!(judge(&none, "pending"), Verdict::Pending);
    assert_eq!(judge(&none, "unverified"), Verdict::Pending);
    for list in ["past_due", "currently_due", "pending_verification"] {
        for key in ["verification.document", "person_1.verification.document"] {
            assert_eq!(
                judge(&|o| o["requirements"][list] = json!([key]), "verified"),
                Verdict::Pending,
                "{list}"
            );
        }
        assert_eq!(
            judge(
                &|o| o["requirements"][list] = json!(["verification.additional_document", "person_11.verification.document"]),
                "verified"
            ),
            Verdict::Accepted
        );
    }
    let error = |key: &str, code: &str| {
        let errors = json!([{"requirement": key, "code": code, "reason": "words about person_1"}]);
        judge(&|o| o["requirements"]["errors"] = errors.clone(), "unverified")
    };
    assert_eq!(
        error("verification.document", "verification_document_expired"),
        Verdict::Rejected(Reason::Expired.problem())
    );
    assert_eq!(
        error("verification.document", "verification_failed_document_match"),
        Verdict::Rejected(Reason::Mismatch.problem())
    );
    assert_eq!(
        error("verification.additional_document", "verification_document_expired"),
        Verdict::Pending
    );
    let details = |code: &str| judge(&|o| o["verification"]["document"]["details_code"] = json!(code), "unverified");
    assert_eq!(details("document_fraudulent"), Verdict::Rejected(Reason::FraudSuspected.problem()));
    assert_eq!(judge(&|o| o["requirements"] = json!(null), "verified"), Verdict::Pending);
    let account = json!({"requirements": {}, "company": {"verification": {"document": {"details_code": "document_not_readable"}}}});
    assert_eq!(
        account::judge(&account, &Slot::CompanyDocument, &Holder::Company),
        Verdict::Rejected(Reason::Unreadable.problem())
    );
    let files = Slot::Files("proof_of_address".into());
    let account = |due: &str| json!({"requirements": {"currently_due": [due]}});
    assert_eq!(
        account::judge(&account("documents.proof_of_address.files"), &files, &Holder::Company),
        Verdict::Pending
    );
    assert_eq!(
        account::judge(&account("documents.other.files"), &files, &Holder::Company),
        Verdict::Accepted
    );
}

/// A person has documents of its own beside those of its identity; whatever has no kind in the catalogue is named as Stripe names it.
#[tokio::test]
async fn a_persons_own_documents_and_new_ones_of_the_account() {
    let person = json!({"id": "person_1", "object": "person", "requirements": {"currently_due": ["documents.visa.files", "person_1.documents.passport.files"]}});
    let account = json!({"id": "acct_1", "requirements": {"currently_due": ["person_1.documents.visa.files", "documents.proof_of_business_presence.files"]}});
    let fake = Fake::start(move |_, seen| match seen.line.as_str() {
        line if line.starts_with("GET") && line.contains("persons") => Reply::json(200, person.clone()),
        line if line.starts_with("GET") => Reply::json(200, account.clone()),
        line if line.contains("/v1/files") => Reply::json(200, json!({"id": "file_1", "object": "file", "purpose": "account_requirement"})),
        _ => Reply::json(200, json!({"id": "person_1", "object": "person"})),
    })
    .await;
    let connector = connector(&fake, "slots={visa='documents.visa'}");
    let of = async |who: &str| crate::connectors::fake::shown(connector.missing(&ApplicantRef::parse(who).unwrap()).await.unwrap());
    assert_eq!(
        of("acct_1,person_1").await,
        ["documents.visa.files: visa front", "person.documents.passport.files: ? front"]
    );
    assert_eq!(
        of("acct_1").await,
        [
            "person.documents.visa.files: visa front @acct_1,person_1",
            "documents.proof_of_business_presence.files: ? front"
        ]
    );
    let outbound = of_kind("acct_1,person_1", "visa", &[("front", PNG)]);
    connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    let sent = fake.seen().last().unwrap().clone();
    assert_eq!(
        (sent.line.as_str(), sent.text().as_str()),
        (
            "POST /v1/accounts/acct_1/persons/person_1 HTTP/1.1",
            "documents[visa][files][0]=file_1"
        )
    );
    let failure = connector
        .deliver(&of_kind("acct_1", "visa", &[("front", PNG)]), &NoProgressLog)
        .await
        .unwrap_err();
    assert_eq!(failure.problem().code, "provider.unsupported", "an account has no visa");
    let slot = Slot::Files("visa".into());
    let due = |named: &str| {
        account::judge(
            &json!({"requirements": {"currently_due": [named]}}),
            &slot,
            &Holder::Person("person_1".into()),
        )
    };
    assert_eq!(due("person_1.documents.visa.files"), Verdict::Pending);
    assert_eq!(due("person_2.documents.visa.files"), Verdict::Accepted);
}

#[tokio::test]
async fn missing_names_kinds_holders_and_reasons() {
    let account = json!({
        "id": "acct_1",
        "requirements": {
            "past_due": ["person_7.verification.document"],
            "currently_due": ["person_7.verification.document", "individual.verification.document", "individual.dob.day", "external_account", "individual.verification.additional_document",
                "company.verification.document", "documents.proof_of_address.files", "documents.bank_account_ownership_verification.files", "documents.company_license.files"],
            "eventually_due": ["person_8.verification.document"],
            "errors": [{"requirement": "individual.verification.document", "code": "verification_document_expired"}]},
        "future_requirements": {"currently_due": ["person_9.verification.document"]}});
    let fake = Fake::start(move |_, seen| {
        assert_eq!(seen.line, "GET /v1/accounts/acct_1 HTTP/1.1");
        Reply::json(200, account.clone())
    })
    .await;
    let missing = async |lines: &str, applicant: &str| {
        let missing = connector(&fake, lines)
            .missing(&ApplicantRef::parse(applicant).unwrap())
            .await
            .unwrap();
        let short = |m: Missing| {
            let parts: Vec<_> = m.parts.iter().map(ToString::to_string).collect();
            let words = [
                m.document.map(|d| d.to_string()),
                Some(parts.join("+")),
                m.applicant.map(|a| a.expose().to_owned()),
                m.reason.map(|_| "!".into()),
            ];
            format!(
                "{} = {}",
                m.provider_name,
                words.map(Option::unwrap_or_default).join(" ").trim_end()
            )
        };
        missing.into_iter().map(short).collect::<Vec<_>>()
    };
    let expected = [
        "person.verification.document = government-id front+back acct_1,person_7",
        "individual.verification.document = government-id front+back  !",
        "individual.verification.additional_document = proof-of-address front",
        "company.verification.document = company-registration front acct_1,company",
        "documents.proof_of_address.files = proof-of-address front acct_1,company",
        "documents.bank_account_ownership_verification.files = bank-statement front",
        "documents.company_license.files =  front",
    ];
    assert_eq!(missing("", "acct_1").await, expected);
    assert_eq!(missing("missing='eventually'", "acct_1").await.len(), expected.len() + 2);
    let company = missing("", "acct_1,company").await;
    assert_eq!(company[0], "company.verification.document = company-registration front");
    assert!(
        company.iter().all(|line| !line.contains("person") && !line.contains("individual")),
        "{company:?}"
    );
}

#[test]
fn callbacks_are_signed_hints() {
    let table = "api_key_file='sk'\nwebhook_secret_file='whsec_new'\nwebhook_secret_previous_file='whsec_test'"
        .parse()
        .unwrap();
    let stripe = build("stripe", &table, no_secrets()).unwrap();
    let call = |event: Value, secret: &[u8], now: i64| {
        let body = event.to_string();
        let mac = sign::mac(sign::Algorithm::Sha256, secret, &[b"1700000000.", body.as_bytes()]);
        let headers = [(
            "stripe-signature".to_owned(),
            format!("t=1700000000,v1={}", sign::Encoding::Hex.encode(&mac)),
        )];
        stripe.callback(&Callback {
            headers: &headers,
            query: "",
            body: body.as_bytes(),
            now,
        })
    };
    let hints = |references: &[&str]| {
        Ok(references
            .iter()
            .map(|r| Hint::Applicant(ApplicantRef::parse(r).unwrap()))
            .collect::<Vec<_>>())
    };
    let account = json!({"type": "account.updated", "account": "acct_1", "data": {"object": {"id": "acct_1", "object": "account"}}});
    let person = json!({"type": "person.updated", "account": "acct_1", "data": {"object": {"id": "person_1", "account": "acct_1"}}});
    assert_eq!(
        call(account.clone(), b"whsec_test", 1_700_000_000),
        hints(&["acct_1", "acct_1,company"])
    );
    assert_eq!(call(person, b"whsec_new", 1_700_000_000), hints(&["acct_1,person_1"]));
    assert_eq!(
        call(json!({"type": "payout.paid", "data": {}}), b"whsec_test", 1_700_000_000),
        Ok(vec![])
    );
    assert_eq!(
        call(json!({"type": "account.updated"}), b"whsec_test", 1_700_000_000),
        Err(CallbackRefused::Malformed)
    );
    assert_eq!(
        call(account.clone(), b"whsec_wrong", 1_700_000_000),
        Err(CallbackRefused::Signature)
    );
    assert_eq!(call(account, b"whsec_test", 1_700_000_301), Err(CallbackRefused::Signature));
}

#[test]
fn files_go_where_the_api_goes_unless_told() {
    let read = |lines: &str| settings_of(&format!("api_key_file='sk'\n{lines}").parse().unwrap(), StripeSettings::read);
    assert_eq!(read("").unwrap().files_url.as_str(), "https://files.stripe.com/");
    assert_eq!(
        read("base_url='https://api.stripe.com/'").unwrap().files_url.as_str(),
        "https://files.stripe.com/"
    );
    assert_eq!(
        read("base_url='https://mock.example.com'").unwrap().files_url.as_str(),
        "https://mock.example.com/"
    );
    assert_eq!(read("files_url='http://files.example.com'").unwrap_err()[0].key, "files_url");
    assert_eq!(read("slots={x='nowhere'}\nunknown=1").unwrap_err().len(), 2);
}

#[tokio::test]
async fn the_verdict_is_read_from_the_object() {
    let fake = Fake::replies(vec![
        Reply::json(200, person("file_1", "file_2", "verified")),
        Reply::json(200, json!({"id": "acct_1"})),
    ])
    .await;
    let connector = connector(&fake, "");
    let receipt = Receipt {
        references: vec!["file_1".into()],
        received_at: OffsetDateTime::UNIX_EPOCH,
    };
    assert_eq!(connector.verdict(&both_sides(), &receipt).await, Ok(Verdict::Accepted));
    assert_eq!(fake.seen()[0].line, "GET /v1/accounts/acct_1/persons/person_1 HTTP/1.1");
    assert!(connector.check().await.is_ok());
    assert_eq!(fake.seen()[1].line, "GET /v1/account HTTP/1.1");
}

proptest! {
    #[test]
    fn no_reference_leaves_its_place_in_the_path(text in "(acct_)?[!-~]{0,20}(,(person_|company)?[!-~]{0,20})?") {
        if let Some(target) = ApplicantRef::parse(&text).and_then(|reference| Target::parse(&reference)) {
            let path = target.path();
            prop_assert!(path.starts_with("/v1/accounts/acct_") && [4, 6].contains(&path.split('/').count()), "{path}");
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_".contains(&b)), "{path}");
            prop_assert_eq!(Target::reference(&target.account, &target.holder).map(|r| r.expose().to_owned()), Some(text));
        }
    }

    #[test]
    fn whatever_an_object_holds_a_document_is_accepted_only_without_open_points(status in "verified|pending|", due in proptest::option::of("(person_1\\.)?verification\\.(additional_)?document")) {
        let due: Vec<String> = due.into_iter().collect();
        let object = json!({"requirements": {"currently_due": due}, "verification": {"status": status}});
        let verdict = account::judge(&object, &Slot::Document, &Holder::Person("person_1".into()));
        let open = due.iter().any(|d| d.ends_with("verification.document"));
        prop_assert_eq!(verdict == Verdict::Accepted, status == "verified" && !open);
    }
}
