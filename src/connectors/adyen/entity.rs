//! Reading a legal entity: its problems, its documents, and what became of one of them.

use serde_json::Value;

use crate::connectors::kinds::{Kinds, missing as entry, plain_id};
use crate::connectors::words::Reason;
use crate::connectors::{Missing, Verdict};
use crate::domain::document::{ApplicantRef, DocumentKind};

/// One error of one problem, with whom or what it is about.
struct Trouble<'a> {
    entity: &'a Value,
    error: &'a Value,
}

impl Trouble<'_> {
    fn kind(&self) -> &str {
        self.error["type"].as_str().unwrap_or_default()
    }

    fn code(&self) -> &str {
        self.error["code"].as_str().unwrap_or_default()
    }

    /// The provider's sentences, for guessing only.
    fn words(&self) -> String {
        let actions = self.error["remediatingActions"].as_array().into_iter().flatten();
        let words = actions.filter_map(|a| a["message"].as_str()).chain(self.error["message"].as_str());
        words.collect::<Vec<_>>().join(" ").to_lowercase()
    }

    fn document(&self, problems: &Kinds) -> Option<DocumentKind> {
        if let Some(kind) = problems.ours(self.code()) {
            return Some(kind.clone());
        }
        let words = self.words();
        let table = [
            (&["proof of address", "proof of residen"][..], "proof-of-address"),
            (&["bank statement", "bank document"], "bank-statement"),
            (&["registration document", "incorporation"], "company-registration"),
            (&["passport"], "passport"),
            (&["driver"], "drivers-license"),
            (&["identity", "id document", "id card", "photo id"], "government-id"),
        ];
        let found = table.iter().find(|(needles, _)| needles.iter().any(|n| words.contains(n)));
        found.and_then(|(_, kind)| DocumentKind::parse(kind))
    }

    /// Whether a document could help at all.
    fn is_about_a_document(&self, problems: &Kinds) -> bool {
        let words = self.words();
        self.entity["type"].as_str() == Some("Document")
            || problems.ours(self.code()).is_some()
            || ["document", "upload", "proof", "statement", "passport", "photo", "id card"]
                .iter()
                .any(|w| words.contains(w))
    }
}

/// Errors and their sub-errors, one level deep as the API has them.
fn troubles(body: &Value) -> Vec<Trouble<'_>> {
    let mut all = Vec::new();
    for problem in body["problems"].as_array().into_iter().flatten() {
        let entity = &problem["entity"];
        for error in problem["verificationErrors"].as_array().into_iter().flatten() {
            let below = error["subErrors"].as_array().into_iter().flatten();
            all.extend(std::iter::once(error).chain(below).map(|error| Trouble { entity, error }));
        }
    }
    all
}

pub(crate) fn missing(body: &Value, asked: &str, types: &Kinds, problems: &Kinds) -> Vec<Missing> {
    let mut found: Vec<Missing> = Vec::new();
    for trouble in troubles(body) {
        let wanted = matches!(trouble.kind(), "dataMissing" | "invalidInput" | "rejected");
        if !wanted || !trouble.is_about_a_document(problems) {
            continue;
        }
        let kind = trouble.document(problems).filter(|kind| types.of(kind).is_some());
        let parts: &[&str] = match kind.as_ref().and_then(|kind| types.of(kind)) {
            Some("identityCard" | "driversLicense") => &["front", "back"],
            _ => &["front"],
        };
        let reason = (trouble.kind() != "dataMissing").then(|| Reason::guess(&trouble.words()).sentence().to_owned());
        let mut one = entry(kind.as_ref(), parts, trouble.code(), reason);
        one.applicant = holder(trouble.entity, asked);
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// The reference to ask with, where it is not the one that was asked about.
fn holder(entity: &Value, asked: &str) -> Option<ApplicantRef> {
    let id = |value: &Value| value["id"].as_str().and_then(plain_id);
    let reference = match entity["type"].as_str()? {
        "LegalEntity" => id(entity)?,
        "BankAccount" => format!("{},{}", id(&entity["owner"]).unwrap_or_else(|| asked.to_owned()), id(entity)?),
        "Document" => id(&entity["owner"])?,
        _ => return None,
    };
    ApplicantRef::parse(&reference).filter(|_| reference != asked)
}

/// The id of the document with this file name or description.
pub(crate) fn find(body: &Value, file_name: &str, description: &str) -> Option<String> {
    let list = body["documentDetails"].as_array().into_iter().flatten();
    let ours = |d: &&Value| {
        let pages = d["pages"].as_array().into_iter().flatten();
        let named = pages.filter_map(|p| p["pageName"].as_str()).chain(d["fileName"].as_str());
        named.into_iter().any(|name| name == file_name) || d["description"].as_str() == Some(description)
    };
    list.into_iter().find(ours).and_then(|d| plain_id(d["id"].as_str()?))
}

/// Whether a list of documents, where there is one, names ours: what is said without it is not said about it.
pub(crate) fn lists(body: &Value, references: &[String]) -> bool {
    let Some(list) = body["documentDetails"].as_array() else {
        return true;
    };
    references.iter().all(|id| list.iter().any(|d| d["id"].as_str() == Some(id)))
}

/// Kinds of which any proves who somebody is.
const IDENTITY: [&str; 3] = ["government-id", "passport", "drivers-license"];

/// Rejected by an error about our document; accepted once every capability is settled and no problem that is left asks for this document; pending otherwise.
pub(crate) fn verdict(body: &Value, references: &[String], ours: &DocumentKind, problems: &Kinds) -> Verdict {
    let named = |entity: &Value| -> Vec<String> {
        let listed = entity["documents"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let own = entity["id"].as_str().filter(|_| entity["type"].as_str() == Some("Document"));
        listed.chain(own).map(str::to_owned).collect()
    };
    let all = troubles(body);
    let about_ours: Vec<&Trouble<'_>> = all
        .iter()
        .filter(|t| named(t.entity).iter().any(|id| references.contains(id)))
        .collect();
    let bad: Vec<&&Trouble<'_>> = about_ours
        .iter()
        .filter(|t| matches!(t.kind(), "invalidInput" | "rejected"))
        .collect();
    if !bad.is_empty() {
        let reasons = bad.iter().map(|t| Reason::guess(&t.words()));
        let reason = reasons.into_iter().find(|r| *r != Reason::Rejected).unwrap_or(Reason::Rejected);
        return Verdict::Rejected(reason.problem());
    }
    // A problem that names other documents is about those; one that names none may ask for this kind.
    let is_ours = |kind: DocumentKind| kind == *ours || [&kind, ours].iter().all(|kind| IDENTITY.contains(&kind.as_str()));
    let asks = |t: &&Trouble<'_>| named(t.entity).is_empty() && t.is_about_a_document(problems) && t.document(problems).is_none_or(is_ours);
    let asked_for = !about_ours.is_empty() || all.iter().any(|t| asks(&t));
    let mut states = body["capabilities"]
        .as_object()
        .into_iter()
        .flat_map(|c| c.values())
        .map(|c| c["verificationStatus"].as_str());
    let settled = states.clone().all(|state| matches!(state, Some("valid" | "invalid" | "rejected")));
    if settled && !asked_for && states.any(|state| state == Some("valid")) {
        return Verdict::Accepted;
    }
    Verdict::Pending
}
