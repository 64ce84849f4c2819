//! Message templates: what a company may word itself, and which names may stand in it. A template holds no personal data; the store keeps it in the open.

use time::OffsetDateTime;

use super::agent::Actor;
use super::document::DocumentKind;

/// Characters of a subject, and bytes of a text.
pub(crate) const SUBJECT_MAX: usize = 150;
pub(crate) const BODY_MAX: usize = 4_000;

/// What may stand in braces, and what is put there.
pub(crate) const PLACEHOLDERS: [(&str, &str); 9] = [
    ("company", "the company’s name"),
    ("document", "the document’s name in the language"),
    ("url", "the one-time link; needed, once"),
    ("portal", "the portal’s address"),
    ("expires", "until when the link works"),
    ("support", "whom to ask"),
    ("note", "the agent’s note, if there is one"),
    ("reason", "why the last document was not accepted, if one was not"),
    ("passcode", "the sentence about the code, if one is asked for"),
];

/// A company's own words for one document kind (or all of them) in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// `None`: for every kind that has none of its own.
    pub document: Option<DocumentKind>,
    /// A language tag of [`crate::words`]-like form, such as `de`.
    pub language: String,
    pub subject: String,
    pub body: String,
    pub changed_at: OffsetDateTime,
    pub changed_by: Actor,
}

/// Everything that is wrong with a template, each with its field and what is accepted there.
pub(crate) fn faults(subject: &str, body: &str) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    if subject.is_empty() || subject.chars().count() > SUBJECT_MAX || subject.chars().any(char::is_control) {
        faults.push(("subject", format!("must be one line of 1 to {SUBJECT_MAX} characters")));
    }
    if subject.contains("{url}") {
        faults.push((
            "subject",
            "must not hold {url}: subjects are shown and kept in too many places".to_owned(),
        ));
    }
    if body.is_empty() || body.len() > BODY_MAX || body.chars().any(|c| c.is_control() && c != '\n') {
        faults.push(("body", format!("must be plain text of 1 to {BODY_MAX} bytes")));
    }
    for (field, text) in [("subject", subject), ("body", body)] {
        if let Some(name) = unknown(text) {
            let known: Vec<_> = PLACEHOLDERS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            faults.push((
                field,
                format!("has “{name}”, which is not known here; there is: {}", known.join(" ")),
            ));
        }
    }
    if body.matches("{url}").count() != 1 {
        faults.push(("body", "must hold {url} exactly once, or nobody can send anything".to_owned()));
    }
    faults
}

/// The first brace that begins no known name.
fn unknown(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(start) = rest.find(['{', '}']) {
        rest = &rest[start..];
        let known = PLACEHOLDERS
            .iter()
            .find_map(|(name, _)| rest.strip_prefix('{')?.strip_prefix(name)?.strip_prefix('}'));
        match known {
            Some(behind) => rest = behind,
            None => return Some(rest.chars().take(20).collect()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_needs_its_link_and_knows_its_names() {
        assert!(faults("{company}: {document}", "Hello\n\n{note}\n\n{url}\n\n{passcode}").is_empty());
        for (subject, body, field) in [
            ("", "{url}", "subject"),
            ("a\nBcc: b", "{url}", "subject"),
            ("{url}", "{url}", "subject"),
            ("s", "no link", "body"),
            ("s", "{url} {url}", "body"),
            ("s", "{url} {name}", "body"),
            ("s", "{url} {company", "body"),
            ("s", "{url} }", "body"),
            ("{applicant}", "{url}", "subject"),
            ("s", "{url}\u{7}", "body"),
        ] {
            let found = faults(subject, body);
            assert!(found.iter().any(|(f, _)| *f == field), "{subject:?} {body:?}: {found:?}");
        }
        assert!(faults(&"ä".repeat(SUBJECT_MAX), "{url}").is_empty());
        assert!(!faults(&"ä".repeat(SUBJECT_MAX + 1), "{url}").is_empty());
    }
}
