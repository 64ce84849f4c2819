//! Reading accounts and persons: what they require, and what became of a document.

use serde_json::Value;

use super::target::{Holder, Slot, Slots, Target};
use crate::connectors::words::Reason;
use crate::connectors::{Missing, Verdict};
use crate::domain::delivery::DeliveryProblem;
use crate::domain::document::PartName;

/// Every requirement that is a document, each once, in the order of urgency.
pub(crate) fn missing(object: &Value, target: &Target, slots: &Slots, eventually: bool) -> Vec<Missing> {
    let mut lists = vec![("requirements", "past_due"), ("requirements", "currently_due")];
    if eventually {
        let later = ["past_due", "currently_due", "eventually_due"].map(|list| ("future_requirements", list));
        lists.push(("requirements", "eventually_due"));
        lists.extend(later);
    }
    let mut found: Vec<Missing> = Vec::new();
    for (group, list) in lists {
        for requirement in strings(&object[group][list]) {
            if let Some(missing) = read(requirement, object, target, slots).filter(|m| !found.contains(m)) {
                found.push(missing);
            }
        }
    }
    found
}

fn read(requirement: &str, object: &Value, target: &Target, slots: &Slots) -> Option<Missing> {
    let (document, holder) = match slots.read_requirement(requirement, &target.holder) {
        Ok(Some((kind, holder))) => (Some(kind), holder),
        Ok(None) => return None,
        Err(holder) => (None, holder),
    };
    // Of a company only what is the company's, when the company was asked about.
    if target.holder == Holder::Company && holder != Holder::Company {
        return None;
    }
    let sides: &[&str] = match document.as_ref().and_then(|kind| slots.of(kind, &holder)) {
        Some(Slot::Document) => &["front", "back"],
        _ => &["front"],
    };
    let error = errors(object)
        .find(|(named, _)| *named == requirement)
        .map(|(_, code)| problem(code).text);
    let name = match &holder {
        Holder::Person(person) => requirement.replacen(person.as_str(), "person", 1),
        _ => requirement.to_owned(),
    };
    Some(Missing {
        document,
        parts: sides.iter().filter_map(|side| PartName::parse(side)).collect(),
        provider_name: name,
        reason: error,
        applicant: if holder == target.holder {
            None
        } else {
            Target::reference(&target.account, &holder)
        },
    })
}

/// Rejected by an error or by the document's own details; accepted once nothing is due or pending for it and the person, where there is one, is verified.
pub(crate) fn judge(object: &Value, slot: &Slot, holder: &Holder) -> Verdict {
    let (status, entry) = slot.pointers(holder);
    if let Some((_, code)) = errors(object).find(|(named, _)| slot.is_meant_by(named, holder)) {
        return Verdict::Rejected(problem(code));
    }
    let details = entry
        .and_then(|pointer| object.pointer(&pointer))
        .and_then(|entry| entry["details_code"].as_str());
    if let Some(code) = details.filter(|code| !code.is_empty()) {
        return Verdict::Rejected(problem(code));
    }
    if !object["requirements"].is_object() {
        return Verdict::Pending;
    }
    let open = ["past_due", "currently_due", "pending_verification"];
    if open
        .iter()
        .any(|list| strings(&object["requirements"][*list]).any(|named| slot.is_meant_by(named, holder)))
    {
        return Verdict::Pending;
    }
    match status {
        Some(pointer) if object.pointer(&pointer).and_then(Value::as_str) != Some("verified") => Verdict::Pending,
        _ => Verdict::Accepted,
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// (requirement, code)
fn errors(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    let list = object["requirements"]["errors"].as_array();
    list.into_iter()
        .flatten()
        .filter_map(|e| Some((e["requirement"].as_str()?, e["code"].as_str()?)))
}

/// What a code means for whoever is to ask again: of what is missing it says which side, or the page with what.
fn problem(code: &str) -> DeliveryProblem {
    let code = code.strip_prefix("verification_").unwrap_or(code);
    let missing = code.strip_prefix("document_").and_then(|rest| match rest {
        "missing_front" => Some("The front of the document is missing."),
        "missing_back" => Some("The back of the document is missing."),
        "name_missing" => Some("The page of the document that shows the name is missing."),
        "address_missing" => Some("The page of the document that shows the address is missing."),
        "id_number_missing" => Some("The page of the document that shows its number is missing."),
        "issue_or_expiry_date_missing" => Some("The page of the document that shows when it was issued or expires is missing."),
        other if other.ends_with("_missing") => Some("A page of the document is missing."),
        _ => None,
    });
    match missing {
        Some(what) => DeliveryProblem::new("document.incomplete", format!("{what} Ask for all of it.")),
        None => reason(code).problem(),
    }
}

/// `details_code` of a document and the codes of `requirements.errors`, which say the same with another beginning.
pub(crate) fn reason(code: &str) -> Reason {
    let code = code.strip_prefix("verification_").unwrap_or(code);
    match code.strip_prefix("document_").unwrap_or(code) {
        "not_readable" | "illegible" | "not_legible" => Reason::Unreadable,
        "expired" => Reason::Expired,
        "type_not_supported" | "invalid" => Reason::WrongType,
        "incomplete" | "missing_back" | "missing_front" | "not_uploaded" => Reason::Incomplete,
        "photo_mismatch" | "name_mismatch" | "address_mismatch" | "dob_mismatch" | "id_number_mismatch" | "nationality_mismatch" => {
            Reason::Mismatch
        }
        "failed_copy" | "failed_greyscale" => Reason::NotOriginal,
        "corrupt" => Reason::Corrupted,
        "too_large" => Reason::TooLarge,
        "country_not_supported" | "issue_or_expiry_country_not_supported" => Reason::CountryUnsupported,
        "fraudulent" | "manipulated" => Reason::FraudSuspected,
        // What failed is the person's data, with which the document does not agree.
        other if other.starts_with("failed_") && code == other => Reason::Mismatch,
        "failed_other" | "failed_test_mode" => Reason::Rejected,
        other => Reason::guess(other),
    }
}

#[cfg(test)]
mod tests;
