//! The answer to "what is missing", read with forgiveness: an object from steps to nothing, or to what was submitted and judged.

use serde_json::Value;

use crate::connectors::kinds::{Kinds, missing};
use crate::connectors::words::Reason;
use crate::connectors::{Missing, Verdict};
use crate::domain::document::DocumentKind;

pub(crate) struct Steps(Vec<(String, Option<Step>)>);

struct Step {
    kind: String,
    images: Vec<Image>,
    answer: Option<bool>,
    reason: Reason,
}

struct Image {
    id: String,
    answer: Option<bool>,
    reason: Reason,
}

/// Which document a step is about, while nothing was submitted for it. Levels are the customer's own, so these are the documented names only.
const STEPS: [(&str, &str); 4] = [
    ("IDENTITY", "government-id"),
    ("IDENTITY2", "government-id"),
    ("SELFIE", "selfie"),
    ("PROOF_OF_RESIDENCE", "proof-of-address"),
];

impl Steps {
    pub(crate) fn read(body: &Value) -> Option<Self> {
        // Steps have names in capitals, and there is at least one: another object is not this answer.
        let is_step = |name: &String| name.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        let steps = body
            .as_object()
            .filter(|steps| !steps.is_empty() && steps.keys().all(is_step))
            .filter(|steps| steps.values().all(|step| step.is_null() || step.is_object()))?;
        Some(Self(steps.iter().map(|(name, step)| (name.clone(), read_step(step))).collect()))
    }

    /// Whether a step has nothing yet, so that a review would come too soon.
    pub(crate) fn has_empty(&self) -> bool {
        self.0.iter().any(|(_, step)| step.is_none())
    }

    /// Whether documents of this type are listed and these images are not among them. A level need not ask for the type at all, and then lists none.
    pub(crate) fn contradicts(&self, images: &[String], kind: &str) -> bool {
        let mut of_kind = self
            .0
            .iter()
            .filter_map(|(_, step)| step.as_ref())
            .filter(|step| step.kind == kind)
            .peekable();
        let shown = |image: &String| {
            self.0
                .iter()
                .filter_map(|(_, step)| step.as_ref())
                .any(|s| s.images.iter().any(|i| i.id == *image))
        };
        of_kind.peek().is_some() && !images.iter().all(shown)
    }

    /// The images of this type.
    pub(crate) fn images(&self, kind: &str) -> Vec<String> {
        let of_kind = self.0.iter().filter_map(|(_, step)| step.as_ref()).filter(|step| step.kind == kind);
        of_kind.flat_map(|step| step.images.iter().map(|image| image.id.clone())).collect()
    }

    pub(crate) fn missing(&self, types: &Kinds) -> Vec<Missing> {
        let mut found = Vec::new();
        for (name, step) in &self.0 {
            let reason = match step {
                None => None,
                Some(step) if step.answer == Some(false) => Some(step.worst().sentence().to_owned()),
                Some(_) => continue,
            };
            let by_step = STEPS
                .iter()
                .find(|(known, _)| known == name)
                .and_then(|(_, kind)| DocumentKind::parse(kind));
            let by_type = step.as_ref().and_then(|step| types.ours(&step.kind)).cloned();
            let kind = by_type.or(by_step);
            let parts: &[&str] = if name.starts_with("IDENTITY") {
                &["front", "back"]
            } else {
                &["front"]
            };
            found.push(missing(kind.as_ref(), parts, name, reason));
        }
        found
    }

    /// By the images that we were given; by the document's type where a duplicate had none.
    pub(crate) fn verdict(&self, images: &[String], kind: &str) -> Verdict {
        let steps = self.0.iter().filter_map(|(_, step)| step.as_ref());
        let Some(step) = steps.into_iter().find(|step| {
            if images.is_empty() {
                step.kind == kind
            } else {
                step.images.iter().any(|i| images.contains(&i.id))
            }
        }) else {
            return Verdict::Pending;
        };
        let mut ours = step.images.iter().filter(|i| images.contains(&i.id));
        if let Some(bad) = ours.clone().find(|i| i.answer == Some(false)) {
            let reason = if bad.reason == Reason::Rejected { step.reason } else { bad.reason };
            return Verdict::Rejected(reason.problem());
        }
        match step.answer {
            Some(true) => Verdict::Accepted,
            Some(false) => Verdict::Rejected(step.worst().problem()),
            None if ours.clone().count() == images.len() && !images.is_empty() && ours.all(|i| i.answer == Some(true)) => Verdict::Accepted,
            None => Verdict::Pending,
        }
    }
}

impl Step {
    fn worst(&self) -> Reason {
        let images = self.images.iter().filter(|i| i.answer == Some(false)).map(|i| i.reason);
        images
            .chain([self.reason])
            .find(|r| *r != Reason::Rejected)
            .unwrap_or(Reason::Rejected)
    }
}

fn read_step(step: &Value) -> Option<Step> {
    if !step.is_object() {
        return None;
    }
    let results = &step["imageReviewResults"];
    let image = |id: &Value| {
        let id = id
            .as_u64()
            .map_or_else(|| id.as_str().unwrap_or_default().to_owned(), |n| n.to_string());
        let result = &results[&id];
        Image {
            answer: answer(result),
            reason: reason(result),
            id,
        }
    };
    Some(Step {
        kind: step["idDocType"].as_str().unwrap_or_default().to_owned(),
        images: step["imageIds"].as_array().into_iter().flatten().map(image).collect(),
        answer: answer(&step["reviewResult"]),
        reason: reason(&step["reviewResult"]),
    })
}

fn answer(result: &Value) -> Option<bool> {
    match result["reviewAnswer"].as_str() {
        Some("GREEN") => Some(true),
        Some("RED") => Some(false),
        _ => None,
    }
}

fn reason(result: &Value) -> Reason {
    first_reason(&result["rejectLabels"]).unwrap_or(Reason::Rejected)
}

/// The first word of a list (labels, tags of errors) that says something; `None` for an empty list.
pub(crate) fn first_reason(words: &Value) -> Option<Reason> {
    let words: Vec<Reason> = words.as_array()?.iter().filter_map(word).map(of_word).collect();
    words.iter().copied().find(|r| *r != Reason::Rejected).or(words.first().copied())
}

/// A tag, or an object that names its code.
fn word(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["code"].as_str())
}

fn of_word(word: &str) -> Reason {
    match word {
        "dataNotReadable" | "LOW_QUALITY" | "UNSATISFACTORY_PHOTOS" | "BAD_PROOF_OF_IDENTITY" => Reason::Unreadable,
        "expiredDoc" | "EXPIRATION_DATE" => Reason::Expired,
        "forbiddenDocument" | "differentDocTypeOrCountry" | "WRONG_DOCUMENT" | "DOCUMENT_TEMPLATE" => Reason::WrongType,
        "missingImportantInfo"
        | "documentWayTooMuchOutside"
        | "DOCUMENT_PAGE_MISSING"
        | "INCOMPLETE_DOCUMENT"
        | "FRONT_SIDE_MISSING"
        | "BACK_SIDE_MISSING" => Reason::Incomplete,
        "FORGERY" | "GRAPHIC_EDITOR" | "GRAPHIC_EDITOR_USAGE" => Reason::FraudSuspected,
        "SCREENSHOTS" | "BLACK_AND_WHITE" => Reason::NotOriginal,
        // Not one of the documents that prove an address.
        "BAD_PROOF_OF_ADDRESS" => Reason::WrongType,
        "PROBLEMATIC_APPLICANT_DATA" | "WRONG_ADDRESS" => Reason::Mismatch,
        "sameSides" => Reason::WrongSide,
        "shouldBeDoubleSided" => Reason::Incomplete,
        other => Reason::guess(other),
    }
}
