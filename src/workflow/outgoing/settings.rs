//! The settings of what is told to others: `[mail]`, `[webhooks.NAME]`, `[notices]`, `[audit]` and `[hosted]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::macros::format_description;
use time::{Duration, Time};

use crate::connectors::hook::Hook;
use crate::connectors::mail::Mailer;
use crate::settings::Reader;

#[derive(Clone)]
pub struct OutgoingSettings {
    pub mailer: Option<Arc<Mailer>>,
    /// Receivers by name.
    pub hooks: BTreeMap<String, Arc<Hook>>,
    /// When the daily digest is written, in UTC.
    pub digest_at: Time,
    pub checkpoint_file: PathBuf,
    pub checkpoint_every: Duration,
    /// Host names, each with its port unless that is the usual one.
    pub return_hosts: Vec<String>,
}

impl std::fmt::Debug for OutgoingSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutgoingSettings")
            .field("mail", &self.mailer.is_some())
            .field("webhooks", &self.hooks.keys())
            .finish_non_exhaustive()
    }
}

impl OutgoingSettings {
    /// Reads from the top of the file, where these sections stand.
    pub fn read(reader: &mut Reader<'_>, data_dir: &Path) -> Self {
        let mailer = reader.optional_section("mail", Mailer::read).flatten().map(Arc::new);
        let hooks = reader.section("webhooks", read_hooks);
        let digest_at = reader.section("notices", read_digest);
        let (checkpoint_file, checkpoint_every) = reader.section("audit", |reader| {
            let file = reader.path(
                "checkpoint_file",
                "where signed heads of the audit log go; checkpoints.jsonl in data_dir unless given",
            );
            let longest = Duration::days(36_500);
            let every = reader.span_within("checkpoint_every", Duration::HOUR, Duration::MINUTE..=longest, "how often");
            // Beside the store and not in it; what makes it worth something is a copy on another machine.
            (file.unwrap_or_else(|| data_dir.join("checkpoints.jsonl")), every)
        });
        Self {
            mailer,
            hooks,
            digest_at,
            checkpoint_file,
            checkpoint_every,
            return_hosts: reader.section("hosted", read_return_hosts),
        }
    }
}

fn read_hooks(reader: &mut Reader<'_>) -> BTreeMap<String, Arc<Hook>> {
    let mut hooks = BTreeMap::new();
    for name in reader.names() {
        let fits = (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            reader.error(&name, "must have a name of 1–40 characters of a-z, 0-9 and -");
        }
        if let Some(hook) = reader.section(&name, Hook::read) {
            hooks.insert(name, Arc::new(hook));
        }
    }
    hooks
}

fn read_digest(reader: &mut Reader<'_>) -> Time {
    const TIME: &str = "a time of the day in UTC, such as \"07:00\"";
    let text = reader.text_with("digest_at", "07:00", TIME);
    Time::parse(&text, format_description!("[hour]:[minute]")).unwrap_or_else(|_| {
        reader.must_be("digest_at", TIME);
        Time::MIDNIGHT
    })
}

fn read_return_hosts(reader: &mut Reader<'_>) -> Vec<String> {
    const HOSTS: &str = "a list of host names such as [\"app.example.com\", \"localhost:3000\"]";
    let hosts = reader.texts_with("return_hosts", &[], HOSTS);
    if !hosts.iter().all(|host| is_host(host)) {
        reader.must_be("return_hosts", HOSTS);
    }
    hosts
}

fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "1"));
    let named = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    named && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_with_or_without_a_port() {
        for good in ["app.example.com", "localhost:3000", "127.0.0.1:8080"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "https://app.example.com",
            "App.example.com",
            "a b",
            "*.example.com",
            "a:0",
            "a:x",
            "a/b",
            "u@a",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
