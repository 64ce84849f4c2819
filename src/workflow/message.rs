//! The ready message: what an agent sends to an applicant together with a link, in the applicant's language. No personal data: company, document, link, expiry, and how
//! to tell that it is genuine.
//!
//! The words are those of [`crate::words`], unless the company has worded a template itself. A passcode never stands in a message, it is told by telephone.

use std::fmt::Write as _;

use time::OffsetDateTime;

use crate::domain::message::Template;
use crate::words::Words;

/// Everything that the text depends on.
pub(crate) struct Facts<'a> {
    pub company: &'a str,
    /// Whom to ask: an e-mail address, telephone number or web address.
    pub support: Option<&'a str>,
    /// The document's label in the message's language.
    pub document: &'a str,
    pub url: &'a str,
    /// The portal's address, as the applicant's browser shows it.
    pub portal: &'a str,
    pub expires_at: OffsetDateTime,
    pub passcode: bool,
    /// The agent's own note to the applicant.
    pub note: Option<&'a str>,
    /// The stable code of the rejection that this link answers.
    pub rejected: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub subject: String,
    /// Plain text; lines end with `\n`.
    pub body: String,
}

/// The message in a language, by the company's template where it has one.
pub(crate) fn ready(facts: &Facts<'_>, words: &Words, template: Option<&Template>) -> Message {
    let (subject, body) = match template {
        Some(own) => (own.subject.clone(), own.body.clone()),
        None => default_texts(words),
    };
    filled(facts, words, &subject, &body)
}

/// The same link once more, because nothing has come and it expires soon.
pub(crate) fn reminder(facts: &Facts<'_>, words: &Words, template: Option<&Template>) -> Message {
    let body = template.map_or_else(|| default_texts(words).1, |own| own.body.replace("\r\n", "\n"));
    let (hello, rest) = body.split_once("\n\n").unwrap_or(("", &body));
    let body = format!("{hello}\n\n{}\n\n{rest}", words.say("message.reminder"));
    filled(facts, words, words.say("message.reminder-subject"), &body)
}

/// What stands in the form of a template that is not worded yet.
pub(crate) fn default_texts(words: &Words) -> (String, String) {
    let say = |key| words.say(key);
    let paragraphs = [
        say("message.hello").to_owned(),
        "{reason}".to_owned(),
        say("message.ask").to_owned(),
        "{note}".to_owned(),
        format!("{}\n{{url}}", say("message.how")),
        say("message.expires").to_owned(),
        "{passcode}".to_owned(),
        say("message.genuine").to_owned(),
        say("message.support").to_owned(),
    ];
    (say("message.subject").to_owned(), paragraphs.join("\n\n"))
}

/// A paragraph whose placeholder has nothing to say is left out as a whole.
fn filled(facts: &Facts<'_>, words: &Words, subject: &str, body: &str) -> Message {
    let expires = words.moment(facts.expires_at);
    let reason = facts
        .rejected
        .map(|code| format!("{} {}", words.say("message.again"), words.rejection(code)));
    let passcode = facts.passcode.then(|| words.say("message.passcode"));
    let values = [
        ("{company}", Some(facts.company)),
        ("{document}", Some(facts.document)),
        ("{url}", Some(facts.url)),
        ("{portal}", Some(facts.portal)),
        ("{expires}", Some(expires.as_str())),
        ("{support}", facts.support),
        ("{note}", facts.note),
        ("{reason}", reason.as_deref()),
        ("{passcode}", passcode),
    ];
    let empty = |paragraph: &&str| values.iter().any(|(name, value)| value.is_none() && paragraph.contains(name));
    let paragraphs: Vec<String> = body
        .split("\n\n")
        .map(str::trim)
        .filter(|p| !p.is_empty() && !empty(p))
        .map(|p| fill(p, &values))
        .collect();
    Message {
        subject: fill(subject, &values),
        body: paragraphs.join("\n\n") + "\n",
    }
}

/// One pass, so that a value that looks like a placeholder stays what it is.
fn fill(text: &str, values: &[(&str, Option<&str>)]) -> String {
    let mut filled = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value.unwrap_or_default());
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

impl Message {
    /// Opens the reader's own mail program.
    pub(crate) fn mailto(&self) -> String {
        format!(
            "mailto:?subject={}&body={}",
            percent(&self.subject),
            percent(&self.body.replace('\n', "\r\n"))
        )
    }

    pub(crate) fn gmail(&self) -> String {
        format!(
            "https://mail.google.com/mail/?view=cm&fs=1&tf=1&su={}&body={}",
            percent(&self.subject),
            percent(&self.body)
        )
    }

    pub(crate) fn outlook(&self) -> String {
        format!(
            "https://outlook.office.com/mail/deeplink/compose?subject={}&body={}",
            percent(&self.subject),
            percent(&self.body)
        )
    }
}

/// RFC 3986: everything but unreserved characters, so that no text can add a field to the address it stands in.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::agent::Actor;
    use crate::domain::message::faults;
    use crate::words::{self, LANGUAGES};
    use time::macros::datetime;

    fn facts<'a>() -> Facts<'a> {
        Facts {
            company: "Example & Sons {url}",
            support: Some("support@example.com"),
            document: "Government ID",
            url: "https://drop.example.com/d/041061050r3gg28a1c60t3gf208h44rm",
            portal: "https://drop.example.com",
            expires_at: datetime!(2026-01-05 03:04:05 +2),
            passcode: true,
            note: None,
            rejected: None,
        }
    }

    #[test]
    fn every_language_says_what_it_must_and_no_more() {
        for words in LANGUAGES.iter() {
            let message = ready(&facts(), words, None);
            assert!(message.subject.contains("Example & Sons {url}"), "{}", words.tag);
            for part in [
                facts().url,
                "Government ID",
                "2026",
                ":04",
                words.say("message.passcode"),
                "https://drop.example.com/",
                "support@example.com",
            ] {
                assert!(message.body.contains(part), "{}: {part} in {}", words.tag, message.body);
            }
            assert_eq!(message.body.matches(facts().url).count(), 1);
            let bare = Facts {
                passcode: false,
                support: None,
                ..facts()
            };
            let plain = ready(&bare, words, None);
            assert!(!plain.body.contains(words.say("message.passcode")) && !plain.body.contains(words.say("message.again")));
            assert!(
                !plain.body.replace("Sons {url}", "").contains('{') && !plain.body.contains("\n\n\n"),
                "{}",
                plain.body
            );
            let (subject, body) = default_texts(words);
            assert!(faults(&subject, &body).is_empty(), "{}: {:?}", words.tag, faults(&subject, &body));
        }
    }

    #[test]
    fn a_rejection_is_told_in_the_applicants_words_and_a_suspicion_is_not() {
        let german = words::of("de").unwrap();
        let told = |code| {
            let facts = Facts {
                rejected: Some(code),
                ..facts()
            };
            ready(&facts, german, None).body
        };
        assert!(told("document.glare").contains("ohne Blitz"));
        for code in ["document.fraud_suspected", "document.rejected", "provider.refused", "x"] {
            assert!(told(code).contains(german.say("rejection.anything-else")), "{code}");
        }
    }

    fn template(subject: &str, body: &str) -> Template {
        Template {
            document: None,
            language: "en".into(),
            subject: subject.into(),
            body: body.into(),
            changed_at: datetime!(2026-01-01 0:00 UTC),
            changed_by: Actor::Operator,
        }
    }

    #[test]
    fn a_template_replaces_the_words_and_leaves_out_what_has_nothing_to_say() {
        let own = template("About your {document}", "Hi!\n\n{note}\n\n{url}\n\nCode: {passcode}\n\n{company}");
        let message = ready(&facts(), words::english(), Some(&own));
        assert_eq!(message.subject, "About your Government ID");
        let url = facts().url;
        let code = words::english().say("message.passcode");
        assert_eq!(message.body, format!("Hi!\n\n{url}\n\nCode: {code}\n\nExample & Sons {{url}}\n"));
    }

    #[test]
    fn a_reminder_says_why_it_comes() {
        let message = reminder(&facts(), words::english(), None);
        assert!(message.subject.ends_with("a document is still missing"));
        assert!(message.body.starts_with("Hello,\n\nWe have not received your document yet") && message.body.contains(facts().url));
    }

    #[test]
    fn a_reminder_keeps_the_companys_own_words() {
        let own = template("Ours", "Dear customer,\n\nplease use {url} soon.\n\nYour bank");
        let message = reminder(&facts(), words::english(), Some(&own));
        assert!(
            message.body.starts_with("Dear customer,\n\nWe have not received your document yet"),
            "{}",
            message.body
        );
        assert!(message.body.contains(facts().url) && message.body.trim_end().ends_with("Your bank"));
    }

    #[test]
    fn nothing_in_a_text_adds_a_field_to_an_address() {
        let message = Message {
            subject: "a&bcc=eve@example.net\r\nBcc: x".into(),
            body: "#? +%\nü".into(),
        };
        assert_eq!(
            message.mailto(),
            "mailto:?subject=a%26bcc%3Deve%40example.net%0D%0ABcc%3A%20x&body=%23%3F%20%2B%25%0D%0A%C3%BC"
        );
        assert!(
            message
                .gmail()
                .starts_with("https://mail.google.com/mail/?view=cm&fs=1&tf=1&su=a%26bcc")
        );
        assert!(message.outlook().ends_with("&body=%23%3F%20%2B%25%0A%C3%BC"));
    }
}
