//! Accounts v2 say what they require in another form. It is translated to the names of v1, so that one reader understands both; files are attached by v1 in either
//! case, whose calls take the ids of v2 accounts.
//!
//! The fields are those of Stripe's own library 16.1.0 (`requirements.entries`). Unverified: the whole text of a `description`; only the name behind its
//! `documents` is read, which is a field of the account's identity in that library.

use serde_json::{Value, json};

use super::target::{self, Holder};

/// Due to the account or to one of its persons, as `missing` of v1 reads it.
pub(crate) fn as_v1(account: &Value, asked: &Holder) -> Value {
    let [mut past, mut current, mut eventual, mut errors] = [const { Vec::<Value>::new() }; 4];
    for entry in account["requirements"]["entries"].as_array().into_iter().flatten() {
        if entry["awaiting_action_from"] != "user" {
            continue;
        }
        let list = match entry["minimum_deadline"]["status"].as_str() {
            Some("past_due") => &mut past,
            Some("currently_due") => &mut current,
            Some("eventually_due") => &mut eventual,
            _ => continue,
        };
        let Some(name) = name(entry, asked) else { continue };
        let codes = entry["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|error| error["code"].as_str());
        errors.extend(codes.map(|code| json!({"requirement": name, "code": code})));
        list.push(Value::from(name));
    }
    json!({"requirements": {"past_due": past, "currently_due": current, "eventually_due": eventual, "errors": errors}})
}

/// The name of v1, if it is a document and the holder's that was asked about.
fn name(entry: &Value, asked: &Holder) -> Option<String> {
    let description = entry["description"].as_str()?;
    let mut segments = description.split('.');
    segments.by_ref().find(|segment| *segment == "documents")?;
    let of_company = description.split('.').any(|segment| segment == "business_details");
    let document = match (segments.next()?, of_company) {
        ("primary_verification", true) => "company.verification.document".to_owned(),
        ("primary_verification", false) => "verification.document".to_owned(),
        ("secondary_verification", false) => "verification.additional_document".to_owned(),
        (name, _) => format!("documents.{name}.files"),
    };
    let reference = &entry["reference"];
    let person = (reference["type"] == "person").then_some(&reference["resource"]);
    match (person, asked) {
        (Some(person), _) => {
            let person = target::id(person.as_str()?, "person_")?;
            match asked {
                Holder::Person(asked) => (*asked == person).then_some(document),
                Holder::Account | Holder::Company => Some(format!("{person}.{document}")),
            }
        }
        (None, Holder::Person(_)) => None,
        (None, Holder::Account | Holder::Company) if document.starts_with("verification.") => Some(format!("individual.{document}")),
        (None, Holder::Account | Holder::Company) => Some(document),
    }
}
