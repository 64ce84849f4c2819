//! What Accounts v2 say is missing, against a socket.

use super::*;

#[tokio::test]
async fn accounts_v2_say_what_is_missing_in_entries() {
    let entry = |description: &str, status: &str, person: Option<&str>, code: Option<&str>| {
        json!({
            "awaiting_action_from": "user", "description": description, "minimum_deadline": {"status": status},
            "reference": person.map(|person| json!({"type": "person", "resource": person, "inquiry": null})),
            "errors": code.map(|code| json!({"code": code, "description": "x"})).into_iter().collect::<Vec<_>>(),
        })
    };
    let mut entries = vec![
        entry(
            "identity.individual.documents.primary_verification.front_back",
            "currently_due",
            None,
            Some("verification_document_expired"),
        ),
        entry("identity.individual.documents.secondary_verification", "past_due", None, None),
        entry(
            "relationship.documents.primary_verification",
            "currently_due",
            Some("person_7"),
            None,
        ),
        entry(
            "identity.business_details.documents.primary_verification",
            "currently_due",
            None,
            None,
        ),
        entry(
            "identity.business_details.documents.bank_account_ownership_verification",
            "eventually_due",
            None,
            None,
        ),
        entry("identity.individual.date_of_birth.day", "currently_due", None, None),
        entry("configuration.merchant.mcc", "past_due", None, None),
        json!({"awaiting_action_from": "user"}),
        json!(7),
    ];
    let mut stripes = entry("identity.individual.documents.passport", "past_due", None, None);
    stripes["awaiting_action_from"] = json!("stripe");
    entries.push(stripes);
    let account = json!({"id": "acct_1", "object": "v2.core.account", "requirements": {"entries": entries}});
    let fake = Fake::start(move |_, seen| {
        assert_eq!(seen.line, "GET /v2/core/accounts/acct_1?include[0]=requirements HTTP/1.1");
        Reply::json(200, account.clone())
    })
    .await;
    let missing = async |lines: &str, applicant: &str| {
        let connector = connector(&fake, &format!("accounts='v2'\n{lines}"));
        let missing = connector.missing(&ApplicantRef::parse(applicant).unwrap()).await.unwrap();
        let short = |m: Missing| {
            let document = m.document.map(|d| d.to_string()).unwrap_or_default();
            let other = m.applicant.map(|a| a.expose().to_owned()).unwrap_or_default();
            format!("{document} {other}{}", if m.reason.is_some() { "!" } else { "" })
        };
        missing.into_iter().map(short).collect::<Vec<_>>()
    };
    let due = [
        "proof-of-address ",
        "government-id !",
        "government-id acct_1,person_7",
        "company-registration acct_1,company",
    ];
    assert_eq!(missing("", "acct_1").await, due);
    assert_eq!(missing("missing='eventually'", "acct_1").await.len(), 5);
    assert_eq!(missing("", "acct_1,person_7").await, ["government-id "]);
    assert!(missing("", "acct_1,person_8").await.is_empty());
    assert_eq!(missing("", "acct_1,company").await, ["company-registration "]);
}
