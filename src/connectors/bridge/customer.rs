//! Reading a customer: what it requires and what became of a document.

use serde_json::Value;

use super::PURPOSES;
use crate::connectors::kinds::{Kinds, missing as entry};
use crate::connectors::words::Reason;
use crate::connectors::{Missing, Verdict};
use crate::domain::document::DocumentKind;

/// Requirements that an identity document fulfils. The first is documented; the others are the fields that issues name.
const IDENTITY: [&str; 5] = [
    "id_verification",
    "government_id",
    "id_front_photo",
    "id_back_photo",
    "identity_document",
];

/// The requirement's word for a type: purposes name themselves.
fn is_meant(word: &str, kind: &str) -> bool {
    if PURPOSES.contains(&kind) {
        word == kind
    } else {
        IDENTITY.contains(&word)
    }
}

fn endorsements(customer: &Value) -> impl Iterator<Item = &Value> {
    customer["endorsements"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| &e["requirements"])
}

/// Texts in a list, or anywhere below an object such as `{"all_of": ["a", {"any_of": ["b"]}]}`.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(words).collect(),
        Value::Object(fields) => fields.values().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

/// (what it is about, the reason)
fn issues(customer: &Value) -> Vec<(&str, Reason)> {
    let list = endorsements(customer).flat_map(|r| r["issues"].as_array().into_iter().flatten());
    let pairs = list.filter_map(Value::as_object).flatten();
    pairs
        .map(|(about, why)| (about.as_str(), Reason::guess(why.as_str().unwrap_or_default())))
        .collect()
}

fn due(customer: &Value) -> Vec<&str> {
    let missing = endorsements(customer).flat_map(|r| words(&r["missing"]));
    words(&customer["requirements_due"]).into_iter().chain(missing).collect()
}

pub(crate) fn missing(customer: &Value, types: &Kinds) -> Vec<Missing> {
    let issues = issues(customer);
    let about = issues.iter().map(|(word, _)| *word);
    let mut found: Vec<Missing> = Vec::new();
    for word in due(customer).into_iter().chain(about) {
        let identity = IDENTITY.contains(&word);
        if !identity && !PURPOSES.contains(&word) {
            continue;
        }
        let kind = if identity {
            DocumentKind::parse("government-id").filter(|k| types.of(k).is_some())
        } else {
            types.ours(word).cloned()
        };
        if kind.is_some() && found.iter().any(|m| m.document == kind) {
            continue;
        }
        let same = |w: &str| w == word || (identity && IDENTITY.contains(&w));
        let reason = issues.iter().find(|(w, _)| same(w)).map(|(_, reason)| reason.sentence().to_owned());
        let parts: &[&str] = if identity { &["front", "back"] } else { &["front"] };
        found.push(entry(kind.as_ref(), parts, word, reason));
    }
    found
}

/// Rejected by an issue about it or with the whole customer; accepted once the customer is active, or the requirement is complete and open nowhere.
pub(crate) fn verdict(customer: &Value, kind: &str) -> Verdict {
    if let Some((_, reason)) = issues(customer).into_iter().find(|(word, _)| is_meant(word, kind)) {
        return Verdict::Rejected(reason.problem());
    }
    match customer["status"].as_str() {
        Some("rejected" | "offboarded") => return Verdict::Rejected(Reason::Rejected.problem()),
        Some(_) => {}
        None => return Verdict::Pending,
    }
    let named = |words: Vec<&str>| words.iter().any(|word| is_meant(word, kind));
    let pending = endorsements(customer).flat_map(|r| words(&r["pending"])).collect();
    if named(due(customer)) || named(pending) {
        return Verdict::Pending;
    }
    let complete = named(endorsements(customer).flat_map(|r| words(&r["complete"])).collect());
    if complete || customer["status"].as_str() == Some("active") {
        return Verdict::Accepted;
    }
    Verdict::Pending
}
