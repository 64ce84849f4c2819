//! A user as Synapse describes one, read with forgiveness: what is not understood is not used.

use serde_json::Value;

use crate::connectors::words::Reason;
use crate::connectors::{Delivered, Missing, Presence, Verdict};
use crate::domain::document::{DocumentKind, PartName};
use crate::settings::{Reader, Secret};

/// (document kind, part) → the provider's `document_type`.
#[derive(Clone, Debug)]
pub(crate) struct Types(Vec<(DocumentKind, PartName, String)>);

/// From the documented list of types. Others belong into `types`.
const KNOWN: [(&str, &str); 10] = [
    ("government-id/front", "GOVT_ID"),
    ("government-id/back", "GOVT_ID_BACK"),
    ("drivers-license/front", "GOVT_ID"),
    ("drivers-license/back", "GOVT_ID_BACK"),
    ("passport/front", "GOVT_ID_INT"),
    ("proof-of-address/front", "PROOF_OF_ADDRESS"),
    ("selfie/front", "SELFIE"),
    ("bank-statement/front", "PROOF_OF_ACCOUNT"),
    ("company-registration/front", "AOI"),
    ("company-registration/back", "COI"),
];

impl Types {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        const WANTED: &str = "a table such as { \"government-id/front\" = \"GOVT_ID\" }";
        let configured = reader.pairs("types", WANTED);
        let mut types = Self(Vec::new());
        let known = KNOWN.iter().map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned()));
        for (ours, theirs) in configured.into_iter().chain(known) {
            let pair = ours
                .split_once('/')
                .and_then(|(kind, part)| Some((DocumentKind::parse(kind)?, PartName::parse(part)?)));
            match pair {
                Some((kind, part)) if types.of(&kind, &part).is_none() => types.0.push((kind, part, theirs)),
                Some(_) => {}
                None => reader.must_be("types", WANTED),
            }
        }
        types
    }

    pub(crate) fn of(&self, kind: &DocumentKind, part: &PartName) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, p, _)| k == kind && p == part)
            .map(|(_, _, theirs)| theirs.as_str())
    }

    pub(crate) fn takes(&self, kind: &DocumentKind) -> bool {
        self.0.iter().any(|(k, ..)| k == kind)
    }

    fn ours(&self, theirs: &str) -> Option<(&DocumentKind, &PartName)> {
        self.0.iter().find(|(_, _, t)| t == theirs).map(|(kind, part, _)| (kind, part))
    }

    fn front(&self, kind: &DocumentKind) -> Option<&str> {
        self.0.iter().find(|(k, ..)| k == kind).map(|(_, _, theirs)| theirs.as_str())
    }

    pub(crate) fn describe(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(kind, part, _)| format!("{kind} {part}")).collect();
        format!("This provider takes these documents and parts: {}.", words.join(", "))
    }
}

pub(crate) struct User {
    pub refresh_token: Secret,
    /// The document that a sub-document is added to.
    pub base: Option<String>,
    documents: Vec<SubDocument>,
    wanted: Vec<String>,
    watched: bool,
    old_status: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SubDocument {
    id: String,
    kind: String,
    status: String,
    updated: i64,
    reasons: Vec<String>,
}

impl SubDocument {
    fn is_invalid(&self) -> bool {
        self.status.contains("INVALID")
    }

    fn is_valid(&self) -> bool {
        self.status == "SUBMITTED|VALID"
    }

    fn reason(&self) -> Reason {
        if self.status.contains("BLACKLIST") {
            return Reason::FraudSuspected;
        }
        let guesses = self.reasons.iter().map(|r| Reason::guess(r));
        guesses.into_iter().find(|r| *r != Reason::Rejected).unwrap_or(Reason::Rejected)
    }
}

impl User {
    /// A user with its refresh token.
    pub(crate) fn read(body: &Value) -> Option<Self> {
        let user = Self::read_documents(body)?;
        (!user.refresh_token.expose().is_empty()).then_some(user)
    }

    /// A user from an answer that need not hold the token.
    pub(crate) fn read_documents(body: &Value) -> Option<Self> {
        let documents = body["documents"].as_array()?;
        let sub = |d: &Value| -> Vec<SubDocument> { d["physical_docs"].as_array().into_iter().flatten().filter_map(read_sub).collect() };
        let watched = |v: &Value| matches!(v["watchlists"].as_str(), Some("SOFT_MATCH|PENDING_UPLOAD"));
        Some(Self {
            refresh_token: Secret::new(body["refresh_token"].as_str().unwrap_or_default()),
            base: documents.iter().find_map(|d| d["id"].as_str()).map(str::to_owned),
            documents: documents.iter().flat_map(sub).collect(),
            wanted: documents
                .iter()
                .flat_map(|d| d["required_edd_docs"].as_array().into_iter().flatten())
                .filter_map(word)
                .collect(),
            watched: watched(body) || documents.iter().any(watched),
            old_status: body["doc_status"]["physical_doc"].as_str().map(str::to_owned),
        })
    }

    fn latest(&self, kind: &str) -> Option<&SubDocument> {
        self.documents.iter().filter(|d| d.kind == kind).max_by_key(|d| d.updated)
    }

    /// What is there of these types, to be compared with later: `TYPE=id@updated@status` joined by `;`.
    pub(crate) fn snapshot(&self, types: &[String]) -> String {
        let one = |kind: &String| match self.latest(kind) {
            Some(d) => format!("{kind}={}@{}@{}", d.id, d.updated, d.status),
            None => format!("{kind}="),
        };
        types.iter().map(one).collect::<Vec<_>>().join(";")
    }

    /// Whether every type has a sub-document that was not there when `before` was taken.
    pub(crate) fn presence(&self, types: &[String], before: &str) -> Presence {
        let known: Vec<(&str, &str)> = before.split(';').filter_map(|entry| entry.split_once('=')).collect();
        let mut found = Vec::new();
        for kind in types {
            let Some((_, old)) = known.iter().find(|(k, _)| k == kind) else {
                return Presence::Unknown;
            };
            found.push(self.is_new(kind, old));
        }
        if found.is_empty() || found.contains(&None) {
            return Presence::Unknown;
        }
        match (found.iter().all(|f| *f == Some(true)), found.contains(&Some(true))) {
            (true, _) => Presence::Present(self.delivered(types)),
            // One PATCH is stored whole or not at all; half of it is somebody else's doing.
            (false, true) => Presence::Unknown,
            (false, false) => Presence::Absent,
        }
    }

    /// Whether the answer to our own PATCH shows something of every type that was not there when `before` was taken. What changed at that moment changed
    /// by this request.
    pub(crate) fn shows_new(&self, types: &[String], before: &str) -> bool {
        let known: Vec<(&str, &str)> = before.split(';').filter_map(|entry| entry.split_once('=')).collect();
        let old = |kind: &String| known.iter().find(|(k, _)| k == kind).map(|(_, old)| *old);
        !types.is_empty()
            && types
                .iter()
                .all(|kind| old(kind).is_some_and(|old| self.is_new(kind, old) != Some(false)))
    }

    /// `None`: it changed, but that may be the provider's verdict on the older one.
    fn is_new(&self, kind: &str, old: &str) -> Option<bool> {
        let Some(now) = self.latest(kind) else { return Some(false) };
        let mut fields = old.splitn(3, '@');
        let (Some(id), Some(updated), Some(status)) = (fields.next(), fields.next(), fields.next()) else {
            return Some(true);
        };
        if now.id != id {
            return Some(true);
        }
        if updated.parse::<i64>().is_ok_and(|updated| now.updated <= updated) {
            return Some(false);
        }
        let was_decided = status == "SUBMITTED|VALID" || status.contains("INVALID");
        (was_decided || (!now.is_valid() && !now.is_invalid())).then_some(true)
    }

    /// The references are `TYPE/id`, or `TYPE/` where the answer does not show the sub-document yet.
    pub(crate) fn delivered(&self, types: &[String]) -> Delivered {
        let reference = |kind: &String| format!("{kind}/{}", self.latest(kind).map_or("", |d| d.id.as_str()));
        // The PATCH's own answer shows the state before the review: a verdict is only ever polled.
        Delivered {
            references: types.iter().map(reference).collect(),
            verdict: Verdict::Pending,
        }
    }

    pub(crate) fn verdict(&self, references: &[String]) -> Verdict {
        let find = |reference: &String| {
            let (kind, id) = reference.split_once('/')?;
            self.documents
                .iter()
                .find(|d| d.kind == kind && d.id == id)
                .or_else(|| self.latest(kind))
        };
        let found: Vec<Option<&SubDocument>> = references.iter().map(find).collect();
        if let Some(rejected) = found.iter().flatten().find(|d| d.is_invalid()) {
            return Verdict::Rejected(rejected.reason().problem());
        }
        let accepted = !found.is_empty() && found.iter().all(|d| d.is_some_and(SubDocument::is_valid));
        if accepted { Verdict::Accepted } else { Verdict::Pending }
    }

    pub(crate) fn missing(&self, types: &Types, required: &[DocumentKind]) -> Vec<Missing> {
        let mut missing: Vec<Missing> = Vec::new();
        let mut add = |kind: Option<&DocumentKind>, part: Option<&PartName>, theirs: &str, reason: Option<Reason>| {
            let known = missing.iter_mut().find(|m| kind.is_some() && m.document.as_ref() == kind);
            let entry = match known {
                Some(entry) => entry,
                None => {
                    let reason = reason.map(|r| r.sentence().to_owned());
                    missing.push(Missing {
                        document: kind.cloned(),
                        parts: Vec::new(),
                        provider_name: theirs.to_owned(),
                        reason,
                        applicant: None,
                    });
                    missing.last_mut().expect("one was just added")
                }
            };
            if let Some(part) = part.filter(|p| !entry.parts.contains(p)) {
                entry.parts.push(part.clone());
            }
        };
        let invalid = self.documents.iter().filter(|d| self.latest(&d.kind) == Some(d) && d.is_invalid());
        for document in invalid {
            let ours = types.ours(&document.kind);
            add(ours.map(|o| o.0), ours.map(|o| o.1), &document.kind, Some(document.reason()));
        }
        for theirs in &self.wanted {
            let ours = types.ours(theirs);
            add(ours.map(|o| o.0), ours.map(|o| o.1), theirs, None);
        }
        let absent = |kind: &&DocumentKind| types.front(kind).is_some_and(|theirs| self.latest(theirs).is_none());
        for kind in required.iter().filter(absent) {
            add(Some(kind), None, types.front(kind).unwrap_or_default(), None);
        }
        let identity = self.watched || matches!(self.old_status.as_deref(), Some("MISSING" | "INVALID"));
        if let Some((kind, part)) = types.ours("GOVT_ID").filter(|_| identity) {
            add(Some(kind), Some(part), "GOVT_ID", None);
        }
        missing
    }
}

fn read_sub(value: &Value) -> Option<SubDocument> {
    Some(SubDocument {
        id: value["id"].as_str().unwrap_or_default().to_owned(),
        kind: value["document_type"].as_str()?.to_owned(),
        status: value["status"].as_str().unwrap_or_default().to_owned(),
        updated: value["last_updated"].as_i64().unwrap_or_default(),
        reasons: value["invalid_reasons"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    })
}

/// One entry of `required_edd_docs`: a type's name, where it looks like one.
fn word(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (text.len() <= 64 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')).then(|| text.to_owned())
}
