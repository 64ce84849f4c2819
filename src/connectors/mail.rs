//! Mail, handed to the company's own relay by SMTP.
//!
//! * TLS is required: `starttls` (the default) or `tls` from the first byte, with the system's certificate authorities or `ca_file`. `none` works towards this very
//!   machine only, for a relay that runs on it.
//! * Each mail is MIME with two forms of one text: plain, and as HTML without styles, pictures or anything else that is fetched, for programs that show no plain text
//!   well. Its language and direction are said, so that Arabic runs from the right.
//! * One connection for each mail; nothing of a mail is logged, and of the relay's answer the status alone is kept.
//!
//! | key of `[mail]` | default | what |
//! | --- | --- | --- |
//! | `from` | – | `"Example Bank <drop@example.com>"` |
//! | `host`, `port` | –, 587 / 465 / 25 by `tls` | the relay |
//! | `tls` | `starttls` | `tls`, or `none` for a relay on this machine |
//! | `username`, `password_file` | none | both or neither; never without TLS beyond this machine |
//! | `reply_to` | none | where answers go |
//! | `timeout`, `ca_file` | `30s`, none | |

use std::str::FromStr as _;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use maud::{DOCTYPE, Markup, html};
use time::Duration;

use super::causes::CertificateFault;
use super::hook::WebhookOutcome;
use crate::chain::chain;
use crate::settings::Reader;

/// Characters of an address, as RFC 5321 allows.
const ADDRESS_MAX: usize = 254;

pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
}

/// One mail to one person.
pub struct Letter<'a> {
    pub to: &'a str,
    pub subject: &'a str,
    /// Plain text; paragraphs are separated by empty lines.
    pub text: &'a str,
    /// The language's tag, and `ltr` or `rtl`.
    pub language: (&'a str, &'a str),
    /// Without brackets and domain; the same for every try, so that a repeat is recognised.
    pub id: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    StartTls,
    Tls,
    None,
}

impl Mailer {
    /// Reads `[mail]`; `None` with an error noted where it makes no mailer.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        const FROM: &str = "a sender such as \"Example Bank <drop@example.com>\"";
        const ANSWERS: &str = "an address such as \"support@example.com\"";
        let sound = reader.errors();
        let from = reader.required("from", FROM);
        let sender = mailbox(&from);
        if sender.is_none() && !from.is_empty() {
            reader.must_be("from", FROM);
        }
        let reply = reader.text("reply_to", ANSWERS);
        let reply_to = reply.as_deref().and_then(mailbox);
        if reply.is_some() && reply_to.is_none() {
            reader.must_be("reply_to", ANSWERS);
        }
        let host = reader.required("host", "the relay's name, such as \"smtp.example.com\"");
        let modes = [("starttls", Mode::StartTls), ("tls", Mode::Tls), ("none", Mode::None)];
        let mode = reader.choice("tls", &modes, "starttls", "how the connection is encrypted");
        let usual = match mode {
            Mode::StartTls => 587,
            Mode::Tls => 465,
            Mode::None => 25,
        };
        let port = reader.number("port", usual, 1..=u16::MAX, "the relay's port");
        if mode == Mode::None && !on_this_machine(&host) {
            reader.must_be(
                "tls",
                "\"starttls\" or \"tls\"; \"none\" is for a relay at localhost, 127.0.0.1 or ::1",
            );
        }
        let (username, password) = (
            reader.text("username", "the name to sign in with"),
            reader.secret("password_file", "the password of username"),
        );
        if username.is_some() != reader.has("password_file") {
            reader.error("password_file", "goes together with username: set both or neither");
        }
        let timeout = reader.span("timeout", Duration::seconds(30), "for each mail");
        let authorities = reader.path("ca_file", "the path of a PEM file with certificate authorities");
        let tls = match mode {
            Mode::None => Some(Tls::None),
            _ => tls(&host, authorities.as_deref()).map(|tls| if mode == Mode::Tls { Tls::Wrapper(tls) } else { Tls::Required(tls) }),
        };
        if tls.is_none() {
            reader.must_be(
                "ca_file",
                "a readable PEM file with one certificate (without it, the system needs a certificate store)",
            );
        }
        let (from, tls) = (sender?, tls.filter(|_| reader.errors() == sound)?);
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .timeout(Some(timeout.unsigned_abs()));
        if let (Some(username), Some(password)) = (username, password) {
            builder = builder.credentials(Credentials::new(username, password.expose().to_owned()));
        }
        Some(Self {
            transport: builder.build(),
            from,
            reply_to,
        })
    }

    /// Hands one mail to the relay.
    pub async fn send(&self, letter: &Letter<'_>) -> WebhookOutcome {
        let Some(message) = self.message(letter) else {
            return WebhookOutcome::Never("The address or the text does not make a mail.".to_owned());
        };
        match self.transport.send(message).await {
            Ok(_) => WebhookOutcome::Taken(250),
            Err(error) => map_smtp_error(&error),
        }
    }

    /// Whether the relay answers, speaks the TLS that is wanted, and knows the login. The error says what is wrong.
    pub async fn check(&self) -> Result<(), String> {
        let tried = self.transport.test_connection().await;
        if let Some(fault) = tried.as_ref().err().and_then(|error| CertificateFault::of(error)) {
            return Err(format!("The mail server is not believed: {fault}."));
        }
        match tried {
            Ok(true) => Ok(()),
            Ok(false) => Err("The mail server closes the connection at once.".to_owned()),
            Err(error) if matches!(error.status().map(u16::from), Some(530 | 534 | 535)) => {
                Err("The mail server refuses username and password, or wants them.".to_owned())
            }
            // What the library itself misses at the server, such as STARTTLS.
            Err(error) if error.is_client() => Err(format!("The mail server does not offer what is needed: {}.", chain(&error))),
            Err(error) => match map_smtp_error(&error) {
                WebhookOutcome::Later { why, .. } | WebhookOutcome::Never(why) => Err(why),
                WebhookOutcome::Taken(_) => Ok(()),
            },
        }
    }

    fn message(&self, letter: &Letter<'_>) -> Option<Message> {
        let to = Mailbox::new(None, address(letter.to)?);
        let domain = self.from.email.domain();
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(letter.subject)
            .message_id(Some(format!("<{}@{domain}>", letter.id)))
            // RFC 3834: no out-of-office answers, please. Exchange has a header of its own for it.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("X-Auto-Response-Suppress"),
                "All".to_owned(),
            ))
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Content-Language"),
                letter.language.0.to_owned(),
            ));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let plain = letter.text.replace("\r\n", "\n").replace('\n', "\r\n");
        let both = MultiPart::alternative_plain_html(plain, as_html(letter).into_string());
        builder.multipart(both).ok()
    }
}

/// The same text for programs that show HTML: paragraphs, line ends and addresses that can be followed, nothing else.
fn as_html(letter: &Letter<'_>) -> Markup {
    let (language, direction) = letter.language;
    let text = letter.text.replace("\r\n", "\n");
    html! {
        (DOCTYPE)
        html lang=(language) dir=(direction) {
            head { meta charset="utf-8"; title { (letter.subject) } }
            body {
                @for paragraph in text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
                    // Each on a line of its own: what reads the source of a mail finds it.
                    "\n"
                    p { @for (i, line) in paragraph.lines().enumerate() { @if i > 0 { br; "\n" } (linked(line)) } }
                }
                "\n"
            }
        }
    }
}

/// A line with its web addresses as links.
fn linked(line: &str) -> Markup {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some(start) = address_at(rest) {
        let (before, behind) = rest.split_at(start);
        let (address, after) = behind.split_at(length_of_address(behind));
        pieces.push((before, address));
        rest = after;
    }
    html! {
        @for (before, address) in pieces { (before) a href=(address) dir="ltr" { (address) } }
        (rest)
    }
}

fn address_at(text: &str) -> Option<usize> {
    ["https://", "http://"].iter().filter_map(|scheme| text.find(scheme)).min()
}

/// Up to what cannot be a part of it, without the full stop or bracket of the sentence around it.
fn length_of_address(text: &str) -> usize {
    let end = text
        .find(|c: char| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>'))
        .unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '\'']).len()
}

/// One plain address, without a name, a comment or a second one behind it.
pub(crate) fn address(text: &str) -> Option<Address> {
    let plain = text.len() <= ADDRESS_MAX && text.is_ascii() && !text.contains(|c: char| c.is_ascii_control() || " ,;<>\"()".contains(c));
    plain.then(|| Address::from_str(text).ok()).flatten()
}

fn mailbox(text: &str) -> Option<Mailbox> {
    (!text.is_empty() && !text.contains(char::is_control))
        .then(|| Mailbox::from_str(text).ok())
        .flatten()
}

fn on_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn tls(host: &str, authorities: Option<&std::path::Path>) -> Option<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = authorities {
        builder = builder.add_root_certificate(Certificate::from_pem(&std::fs::read(path).ok()?).ok()?);
    }
    builder.build().ok()
}

/// What the relay says of the mail itself is final; what it says of us, or does not say, may change.
fn map_smtp_error(error: &lettre::transport::smtp::Error) -> WebhookOutcome {
    let status = error.status().map(u16::from);
    match status {
        Some(status @ (501 | 550..=556)) => WebhookOutcome::Never(format!("The mail server refuses this mail (status {status}).")),
        Some(status) => WebhookOutcome::Later {
            why: format!("The mail server answered with status {status}."),
            after: None,
        },
        None => WebhookOutcome::Later {
            why: if error.is_timeout() {
                "The mail server did not answer in time.".to_owned()
            } else if error.is_tls() {
                "No secure connection to the mail server could be made.".to_owned()
            } else {
                "The mail server could not be reached, or broke off.".to_owned()
            },
            after: None,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::{ConfigError, Secret};

    fn mailer(table: &str) -> Result<Mailer, Vec<ConfigError>> {
        let table = table.parse().unwrap();
        let mut reader = Reader::new(&table, &|_| Ok(Secret::new("secret")));
        let mailer = Mailer::read(&mut reader);
        reader.finish(mailer).map(Option::unwrap)
    }

    #[test]
    fn a_table_is_refused_with_the_key_that_is_wrong() {
        crate::connectors::client::install_tls();
        assert!(mailer("from = \"Bank <a@example.com>\"\nhost = \"localhost\"\ntls = \"none\"").is_ok());
        assert!(mailer("from = \"a@example.com\"\nhost = \"smtp.example.com\"\nusername = \"u\"\npassword_file = \"p\"").is_ok());
        for (table, key) in [
            ("host = \"localhost\"\ntls = \"none\"", "from"),
            ("from = \"Bank\"\nhost = \"localhost\"\ntls = \"none\"", "from"),
            ("from = \"a@example.com\"\ntls = \"none\"", "host"),
            ("from = \"a@example.com\"\nhost = \"smtp.example.com\"\ntls = \"none\"", "tls"),
            ("from = \"a@example.com\"\nhost = \"10.0.0.1\"\ntls = \"none\"", "tls"),
            (
                "from = \"a@example.com\"\nhost = \"localhost\"\ntls = \"none\"\nusername = \"u\"",
                "password_file",
            ),
            ("from = \"a@example.com\"\nhost = \"localhost\"\nca_file = \"/nowhere\"", "ca_file"),
            ("from = \"a@example.com\"\nhost = \"localhost\"\ntls = \"none\"\nx = 1", "x"),
        ] {
            let faults = mailer(table).err().unwrap_or_else(|| panic!("accepted: {table}"));
            assert!(faults.iter().any(|f| f.key == key), "{table}: {faults:?}");
        }
    }

    #[test]
    fn one_address_and_nothing_else() {
        for good in ["a@example.com", "first.last+tag@sub.example.co"] {
            assert!(address(good).is_some(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(300));
        for bad in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@b@c.example",
            "a@example.com,b@example.com",
            "A <a@example.com>",
            "a@example.com\r\nBcc: b@example.com",
            "a b@example.com",
            "ü@example.com",
            &long,
        ] {
            assert!(address(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_mail_has_the_headers_it_needs_and_none_that_a_text_adds() {
        let mailer =
            mailer("from = \"Bank <a@example.com>\"\nreply_to = \"help@example.com\"\nhost = \"localhost\"\ntls = \"none\"").unwrap();
        let letter = Letter {
            to: "james@example.net",
            subject: "Grüße\r\nBcc: eve@example.net",
            text: "Hello\n.\nüber\n\nOpen <this>: https://drop.example.com/d/x?a=b&c. Bye\n",
            language: ("de", "ltr"),
            id: "msg_x",
        };
        let page = as_html(&letter).into_string();
        assert!(
            page.contains("<html lang=\"de\" dir=\"ltr\">") && page.contains("<p>Hello<br>\n.<br>\nüber</p>"),
            "{page}"
        );
        let link =
            "&lt;this&gt;: <a href=\"https://drop.example.com/d/x?a=b&amp;c\" dir=\"ltr\">https://drop.example.com/d/x?a=b&amp;c</a>. Bye";
        assert!(page.contains(link), "{page}");

        let text = String::from_utf8(mailer.message(&letter).unwrap().formatted()).unwrap();
        let head = text.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|l| l.to_lowercase().starts_with("bcc")), "{head}");
        for line in [
            "From: Bank <a@example.com>",
            "Reply-To: help@example.com",
            "To: james@example.net",
            "Message-ID: <msg_x@example.com>",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(head.lines().any(|l| l == line), "{line}: {head}");
        }
        for start in [
            "Date: ",
            "MIME-Version: 1.0",
            "Content-Type: multipart/alternative;",
            "Subject: ",
            "Content-Language: de",
        ] {
            assert!(head.lines().any(|l| l.starts_with(start)), "{start}: {head}");
        }
        assert!(text.contains("Content-Type: text/plain; charset=utf-8") && text.contains("Content-Type: text/html; charset=utf-8"));
    }
}
