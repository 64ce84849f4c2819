//! Stripe's codes in the portal's words.

use serde_json::json;

use super::*;

#[test]
fn what_is_missing_is_told_as_what_it_is() {
    let table = [
        ("verification_document_missing_back", "The back of the document is missing."),
        ("document_missing_front", "The front of the document is missing."),
        ("verification_document_name_missing", "that shows the name is missing."),
        (
            "verification_document_issue_or_expiry_date_missing",
            "when it was issued or expires is missing.",
        ),
        ("verification_document_new_word_missing", "A page of the document is missing."),
    ];
    for (code, words) in table {
        let errors = json!([{"requirement": "verification.document", "code": code}]);
        let object = json!({"requirements": {"errors": errors}});
        let verdict = judge(&object, &Slot::Document, &Holder::Person("person_1".into()));
        assert!(
            matches!(&verdict, Verdict::Rejected(problem) if problem.code == "document.incomplete" && problem.text.contains(words)),
            "{code}: {verdict:?}"
        );
    }
}

#[test]
fn every_documented_code_has_its_reason() {
    let table = [
        ("document_corrupt", Reason::Corrupted),
        ("document_country_not_supported", Reason::CountryUnsupported),
        ("document_expired", Reason::Expired),
        ("document_failed_copy", Reason::NotOriginal),
        ("document_failed_other", Reason::Rejected),
        ("document_failed_test_mode", Reason::Rejected),
        ("document_fraudulent", Reason::FraudSuspected),
        ("document_failed_greyscale", Reason::NotOriginal),
        ("document_incomplete", Reason::Incomplete),
        ("document_invalid", Reason::WrongType),
        ("document_manipulated", Reason::FraudSuspected),
        ("document_missing_back", Reason::Incomplete),
        ("document_missing_front", Reason::Incomplete),
        ("document_not_readable", Reason::Unreadable),
        ("document_not_uploaded", Reason::Incomplete),
        ("document_photo_mismatch", Reason::Mismatch),
        ("document_too_large", Reason::TooLarge),
        ("document_type_not_supported", Reason::WrongType),
        ("verification_failed_name_match", Reason::Mismatch),
        ("verification_failed_other", Reason::Mismatch),
    ];
    for (code, reason) in table {
        assert_eq!(super::reason(code), reason, "{code}");
    }
}
