//! What an answer says: whether it is about the document that was sent, and what it decides.

use serde_json::Value;

use super::settings::{self, Pairs, VerdictRules};
use super::template::Values;
use crate::connectors::client::Answer;
use crate::connectors::words::Reason;
use crate::connectors::{Failure, Verdict};
use crate::domain::delivery::DeliveryProblem;

/// The body as JSON. What calls itself something else is not an answer of an API: a maintenance page may well hold a text that can be read as JSON.
pub(super) fn json(answer: &Answer) -> Option<Value> {
    let is_json = answer.header("content-type").is_none_or(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
        kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
    });
    answer.json().filter(|_| is_json)
}

/// A text or a number at a JSON pointer; the empty pointer is the value itself.
pub(super) fn text_at(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The entries of a list in an answer; a `*` in the pointer goes through all entries of a list on the way. Where there is no list, the answer is not about
/// what was asked: it proves no absence.
pub(super) fn items<'a>(body: &'a Value, pointer: &str) -> Result<Vec<&'a Value>, Failure> {
    let lists = walk(body, pointer).filter(|found| !found.is_empty() || pointer.contains("/*"));
    let entries = lists.and_then(|lists| lists.into_iter().map(Value::as_array).collect::<Option<Vec<_>>>());
    entries
        .map(|lists| lists.into_iter().flatten().collect())
        .ok_or_else(|| Failure::Definite {
            problem: DeliveryProblem::new(
                "provider.unreadable_answer",
                "The provider's answer has no list where `items` says. If this goes on, look at the provider's settings.",
            ),
            after: None,
            new_key: false,
        })
}

/// `None` where something on the way is no list although it must be one.
fn walk<'a>(value: &'a Value, pointer: &str) -> Option<Vec<&'a Value>> {
    let Some((before, after)) = pointer.split_once("/*") else {
        return Some(value.pointer(pointer).into_iter().collect());
    };
    let list = value.pointer(before)?.as_array()?;
    let found: Option<Vec<Vec<&Value>>> = list.iter().map(|entry| walk(entry, after)).collect();
    Some(found?.into_iter().flatten().collect())
}

impl Pairs {
    /// Whether everything stands in `body` that must stand there. What should be there and is an empty text names nothing.
    pub(crate) fn fit(&self, body: &Value, values: &[Values<'_>]) -> bool {
        self.0.iter().all(|(pointer, expected)| {
            let each = if pointer.repeats() {
                values
            } else {
                &values[..1.min(values.len())]
            };
            each.iter().all(|values| {
                let (pointer, expected) = (pointer.as_text(values), expected.as_text(values));
                !expected.is_empty() && text_at(body, &pointer).is_some_and(|text| text == expected)
            })
        })
    }
}

/// Not about this document, or not to be told: something in between may have answered, so that it is found out what became of the document.
pub(super) fn not_about_this() -> Failure {
    Failure::Ambiguous {
        problem: DeliveryProblem::new(
            "provider.unreadable_answer",
            "The provider's answer does not name this document (something in between may have answered); whether it has the document is being found out.",
        ),
    }
}

/// The rejection wins, then what is still open.
pub(super) fn worse(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Rejected(problem), _) | (_, Verdict::Rejected(problem)) => Verdict::Rejected(problem),
        (Verdict::Pending, _) | (_, Verdict::Pending) => Verdict::Pending,
        (Verdict::Accepted, Verdict::Accepted) => Verdict::Accepted,
    }
}

/// A status that no list names is still pending: nothing is confirmed by a word that nobody configured.
pub(super) fn judge(rules: &VerdictRules, body: &Value) -> Verdict {
    let Some(status) = text_at(body, &rules.status) else {
        return Verdict::Pending;
    };
    if rules.accepted.contains(&status) {
        return Verdict::Accepted;
    }
    if !rules.rejected.contains(&status) {
        return Verdict::Pending;
    }
    let reason = rules.reason.as_ref().and_then(|pointer| text_at(body, pointer));
    Verdict::Rejected(
        reason
            .map_or(Reason::Rejected, |r| settings::reason_of(&rules.reasons, &r))
            .problem(),
    )
}

/// What the provider gave no reference for has none: an empty one would match everybody's.
pub(super) fn named(references: impl IntoIterator<Item = String>) -> Vec<String> {
    references.into_iter().filter(|reference| !reference.is_empty()).collect()
}

/// A provider's word, short and without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
