//! The ready message: what an agent sends to an applicant together with a link. No personal data: company, document, link, expiry, and how to tell that it is genuine.
//!
//! A language is one [`Words`]; a passcode never stands in a message, it is told by telephone.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::macros::format_description;

/// Everything that the text depends on.
pub struct Facts<'a> {
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
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub subject: String,
    /// Plain text; lines end with `\n`.
    pub body: String,
}

/// One language. `{company}`, `{document}`, `{url}`, `{portal}`, `{expires}` and `{support}` are filled in.
struct Words {
    language: &'static str,
    subject: &'static str,
    hello: &'static str,
    ask: &'static str,
    how: &'static str,
    expires: &'static str,
    passcode: &'static str,
    genuine: &'static str,
    support: &'static str,
}

/// Every language; the first is the one to fall back to.
const LANGUAGES: [Words; 1] = [Words {
    language: "en",
    subject: "{company}: please send us a document",
    hello: "Hello,",
    ask: "{company} needs one document from you: {document}.",
    how: "Please open this link on your phone or computer and follow the steps there. You need no account and no app, and the document goes to us encrypted:",
    expires: "The link works once, until {expires}.",
    passcode: "It asks for a six-digit code. We tell you the code separately; please do not ask anybody else for it.",
    genuine: "How to tell that this is genuine: the address begins with {portal}/ and the page never asks for a password, a card number or a payment. \
        Please do not send the document by e-mail.",
    support: "Questions? {support}",
}];

/// The message in a language, in English where it is not there yet.
pub fn ready(facts: &Facts<'_>, language: &str) -> Message {
    let words = words(language);
    let fill = |text: &str| fill(text, facts);
    let mut body = String::new();
    let mut paragraph = |text: String| {
        let _ = write!(body, "{text}\n\n");
    };
    paragraph(fill(words.hello));
    paragraph(fill(words.ask));
    if let Some(note) = facts.note {
        paragraph(note.to_owned());
    }
    paragraph(format!("{}\n{}", fill(words.how), facts.url));
    paragraph(fill(words.expires));
    if facts.passcode {
        paragraph(fill(words.passcode));
    }
    paragraph(fill(words.genuine));
    if facts.support.is_some() {
        paragraph(fill(words.support));
    }
    body.truncate(body.trim_end().len());
    body.push('\n');
    Message {
        subject: fill(words.subject),
        body,
    }
}

fn words(language: &str) -> &'static Words {
    let base = language.split('-').next().unwrap_or(language);
    LANGUAGES
        .iter()
        .find(|w| w.language.eq_ignore_ascii_case(base))
        .unwrap_or(&LANGUAGES[0])
}

fn fill(text: &str, facts: &Facts<'_>) -> String {
    let utc = facts.expires_at.to_offset(time::UtcOffset::UTC);
    let expires = utc
        .format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
        .unwrap_or_default();
    let values = [
        ("{company}", facts.company),
        ("{document}", facts.document),
        ("{portal}", facts.portal),
        ("{expires}", &expires),
        ("{support}", facts.support.unwrap_or_default()),
    ];
    // One pass, so that a value that looks like a placeholder stays what it is.
    let mut filled = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value);
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
    pub fn mailto(&self) -> String {
        format!(
            "mailto:?subject={}&body={}",
            percent(&self.subject),
            percent(&self.body.replace('\n', "\r\n"))
        )
    }

    pub fn gmail(&self) -> String {
        format!(
            "https://mail.google.com/mail/?view=cm&fs=1&tf=1&su={}&body={}",
            percent(&self.subject),
            percent(&self.body)
        )
    }

    pub fn outlook(&self) -> String {
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
        }
    }

    #[test]
    fn the_message_says_what_it_must_and_no_more() {
        let message = ready(&facts(), "en-GB");
        assert_eq!(message.subject, "Example & Sons {url}: please send us a document");
        for part in [
            facts().url,
            "Government ID",
            "2026-01-05 01:04 UTC",
            "six-digit",
            "https://drop.example.com/ and",
            "support@example.com",
        ] {
            assert!(message.body.contains(part), "{part}");
        }
        let plain = ready(
            &Facts {
                passcode: false,
                support: None,
                ..facts()
            },
            "xx",
        );
        assert!(!plain.body.contains("six-digit") && !plain.body.contains("Questions"));
        assert!(plain.body.ends_with("by e-mail.\n"));
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
