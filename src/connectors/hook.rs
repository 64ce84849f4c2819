//! Telling the company's own systems what happened: webhooks as the Standard Webhooks specification has them, or a sentence for a chat (Slack, Mattermost, Rocket.Chat).
//!
//! * Signed with `v1` HMAC-SHA256 under `whsec_…` secrets, two of them while one is replaced; the address is guarded like a provider's, no redirect is followed.
//! * What is sent is decided elsewhere and holds no personal data; what comes back is a status, of which nothing but the number is kept.
//!
//! | key of `[webhooks.<name>]` | default | what |
//! | --- | --- | --- |
//! | `url` or `url_file` | – | `https://…`; in a file where the address itself is the secret, as Slack's is |
//! | `kind` | `standard` | or `slack` |
//! | `secret_file`, `secret_previous_file` | needed for `standard` | `whsec_` and 24 to 64 bytes in base64 |
//! | `events` | all but `audit.checkpoint` | a list of event types |
//! | `timeout`, `ca_file`, `proxy`, `allow_private`, `allow_insecure` | `20s`, – | as with providers |

use reqwest::{Method, Url};
use time::Duration;

use super::Failure;
use super::body::Body;
use super::causes::Unreached;
use super::client::{Call, Client};
use super::endpoint::Endpoint;
use super::guard::checked_url;
use super::sign::{sign_standard, standard_key};
use crate::domain::dispatch::EventType;
use crate::settings::{ConfigError, Reader, Secret};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Standard,
    Slack,
}

pub struct Hook {
    pub style: Style,
    events: Vec<EventType>,
    client: Client,
    url: Url,
    keys: Vec<zeroize::Zeroizing<Vec<u8>>>,
}

/// How a receiver took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// A 2xx status.
    Taken(u16),
    /// Worth another try, at the earliest after this.
    Later { why: String, after: Option<Duration> },
    /// Not wanted any more (410).
    Never(String),
}

const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

impl Hook {
    /// Reads a table of `[webhooks]`; `None` with an error noted where it makes no receiver.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        const URL: &str = "an address such as \"https://app.example.com/nightdrop\" (or url_file)";
        const LIST: &str = "a list of event types";
        let sound = reader.errors();
        let styles = [("standard", Style::Standard), ("slack", Style::Slack)];
        let style = reader.choice(
            "kind",
            &styles,
            "standard",
            "what is sent: a signed event, or a sentence for a chat",
        );
        let (plain, hidden) = (
            reader.text("url", URL),
            reader.secret("url_file", "the address, where it is a secret itself"),
        );
        match (reader.has("url"), reader.has("url_file")) {
            (false, false) => reader.is_needed("url", URL),
            (true, true) => reader.error("url", "goes without url_file: set one of the two"),
            _ => {}
        }
        let url = hidden.map_or_else(|| plain.unwrap_or_default(), |secret| secret.expose().to_owned());
        let endpoint = Endpoint::read(reader, url, false, Duration::seconds(20));
        let mut events = Vec::new();
        for text in reader.texts("events", LIST).unwrap_or_default() {
            match EventType::parse(&text) {
                Some(event) => events.push(event),
                None => {
                    let known: Vec<_> = EventType::ALL.iter().map(|event| event.as_str()).collect();
                    reader.must_be("events", format!("{LIST} without \"{text}\"; there is: {}", known.join(", ")));
                    break;
                }
            }
        }
        let mut keys = Vec::new();
        for name in ["secret_file", "secret_previous_file"] {
            if let Some(secret) = reader.secret(name, "the signing secret (whsec_…)") {
                match key(&secret) {
                    Some(key) => keys.push(key),
                    None => reader.must_be(name, "a file with \"whsec_\" and 24 to 64 random bytes in base64"),
                }
            }
        }
        if style == Style::Standard && !reader.has("secret_file") && keys.is_empty() {
            reader.is_needed("secret_file", "the path of a file with the signing secret (whsec_…)");
        }
        let url = match endpoint.base_url.as_str() {
            "" => None,
            url => checked_url(&endpoint, url).map_err(|takes| reader.must_be("url", takes)).ok(),
        };
        // The client knows the address by the key that it has with providers.
        let of_url = |error: ConfigError| match error.key.as_str() {
            "base_url" => ConfigError::new("url", error.fix),
            _ => error,
        };
        let client = url.as_ref().and_then(|_| {
            let made = Client::new(&endpoint);
            reader.note(made.map_err(|errors| errors.into_iter().map(of_url).collect()))
        });
        Some(Self {
            style,
            events,
            client: client?,
            url: url.filter(|_| reader.errors() == sound)?,
            keys,
        })
    }

    /// Whether this receiver is sent events of a type.
    pub fn wants(&self, event: EventType) -> bool {
        if self.events.is_empty() {
            // A checkpoint is for whoever keeps it, and asked for by name.
            event != EventType::AuditCheckpoint
        } else {
            self.events.contains(&event)
        }
    }

    /// Whether the receiver can be reached, by the way that events take. No event is sent.
    pub(crate) async fn reach(&self) -> Result<(), Unreached> {
        self.client.reach().await
    }

    /// Sends a JSON body once. `id` stays the same for every try; `timestamp` is this try's, in seconds since 1970.
    pub async fn send(&self, id: &str, timestamp: i64, body: &str) -> WebhookOutcome {
        let mut call = Call::sending(Method::POST, self.url.clone()).body(Body::text("application/json", body.to_owned()));
        if !self.keys.is_empty() {
            let signatures: Vec<String> = self
                .keys
                .iter()
                .map(|key| sign_standard(key, id, timestamp, body.as_bytes()))
                .collect();
            call = call
                .header("webhook-id", id)
                .header("webhook-timestamp", &timestamp.to_string())
                .header("webhook-signature", &signatures.join(" "));
        }
        match self.client.send(call).await {
            Ok(answer) => match answer.status {
                status @ 200..300 => WebhookOutcome::Taken(status),
                410 => WebhookOutcome::Never("The receiver does not want it any more (status 410).".to_owned()),
                status => WebhookOutcome::Later {
                    why: format!("The receiver answered with status {status}."),
                    after: answer.retry_after(),
                },
            },
            Err(failure) => WebhookOutcome::Later {
                why: reason(&failure).to_owned(),
                after: None,
            },
        }
    }
}

fn key(secret: &Secret) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    standard_key(secret.expose())
        .filter(|key| KEY_LENGTHS.contains(&key.len()))
        .map(zeroize::Zeroizing::new)
}

fn reason(failure: &Failure) -> &'static str {
    match failure.problem().code.as_str() {
        "provider.timeout" => "The receiver did not answer in time.",
        "provider.interrupted" => "The connection broke before the receiver answered.",
        "provider.unreachable" => "No secure connection could be made, or the name leads to an address that is not allowed.",
        _ => "It could not be sent.",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hook(table: &str) -> Result<Hook, Vec<ConfigError>> {
        let read = |path: &str| match path {
            "good" => Ok(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")),
            "short" => Ok(Secret::new("whsec_MfKQ9r8GKYo=")),
            "slack" => Ok(Secret::new("https://hooks.example.com/services/T0/B0/x")),
            _ => Err("is not there".to_owned()),
        };
        let table = table.parse().unwrap();
        let mut reader = Reader::new(&table, &read);
        let hook = Hook::read(&mut reader);
        reader.finish(hook).map(Option::unwrap)
    }

    #[test]
    fn a_table_is_refused_with_the_key_that_is_wrong() {
        assert!(hook("url = \"https://app.example.com/x\"\nsecret_file = \"good\"").is_ok());
        assert!(hook("kind = \"slack\"\nurl_file = \"slack\"").is_ok());
        for (table, key) in [
            ("secret_file = \"good\"", "url"),
            ("url = \"https://a.example\"", "secret_file"),
            ("url = \"https://a.example\"\nsecret_file = \"short\"", "secret_file"),
            ("url = \"https://a.example\"\nsecret_file = \"none\"", "secret_file"),
            ("url = \"http://a.example\"\nsecret_file = \"good\"", "url"),
            ("url = \"https://169.254.169.254/x\"\nsecret_file = \"good\"", "url"),
            ("url = \"https://127.0.0.1/x\"\nsecret_file = \"good\"", "url"),
            ("url = \"https://a.example\"\nsecret_file = \"good\"\nevents = [\"x\"]", "events"),
            ("url = \"https://a.example\"\nsecret_file = \"good\"\nfoo = 1", "foo"),
            ("kind = \"teams\"\nurl = \"https://a.example\"\nsecret_file = \"good\"", "kind"),
        ] {
            let faults = hook(table).err().unwrap_or_else(|| panic!("accepted: {table}"));
            assert!(faults.iter().any(|f| f.key == key), "{table}: {faults:?}");
        }
    }

    #[test]
    fn receivers_are_told_what_they_asked_for() {
        let all = hook("url = \"https://a.example\"\nsecret_file = \"good\"").unwrap();
        assert!(all.wants(EventType::DocumentReceived) && !all.wants(EventType::AuditCheckpoint));
        let some =
            hook("url = \"https://a.example\"\nsecret_file = \"good\"\nevents = [\"document.purged\", \"audit.checkpoint\"]").unwrap();
        assert!(
            some.wants(EventType::DocumentPurged) && some.wants(EventType::AuditCheckpoint) && !some.wants(EventType::DocumentReceived)
        );
    }
}
