//! The settings that connectors have in common, and what every [`Reader`](crate::settings::Reader) of a provider's table finds there:
//!
//! | key | default | what |
//! | --- | --- | --- |
//! | `base_url` | the provider's own, where it has one; none for a sandbox inside the portal | `https://…` |
//! | `confirm` | `received` | or `verdict`: when a document may be purged |
//! | `accepted`, `min_bytes`, `max_bytes` | the provider's documented limits | MIME types; bytes of one part |
//! | `poll_first`, `poll_longest` | by provider | pauses between questions for a verdict |
//! | `webhook_secret_file`, `webhook_secret_previous_file` | none | the secret of callbacks, and the former one while it is replaced |
//! | `timeout` | `120s` | for a whole request; connecting has 5 s of its own |
//! | `ca_file` | none | further certificate authorities, PEM |
//! | `proxy` | none | never taken from the environment |
//! | `allow_insecure` | `false` | `http://` |
//! | `allow_private` | `false` | addresses of private networks |

use std::collections::BTreeSet;

use time::Duration;

use super::endpoint::Endpoint;
use super::guard::checked_url;
use super::{Limits, Profile};
use crate::domain::delivery::ConfirmAt;
use crate::domain::document::{FileType, PictureLimits};
use crate::settings::{Reader, Secret};

/// This machine: where a provider is that runs inside the portal. Its port is known when it was started.
pub(crate) const INSIDE: &str = "http://127.0.0.1";
/// The largest part that a provider's table may allow.
const PART_MAX: u64 = 1 << 30;

/// What every connector that sends has.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub endpoint: Endpoint,
    pub confirm: ConfirmAt,
    pub poll_first: Duration,
    pub poll_longest: Duration,
    pub limits: Limits,
    /// The current one, and the previous one while it is being replaced.
    pub webhook_secrets: Vec<Secret>,
}

/// What a provider's own documentation says, where the table is silent.
pub(crate) struct Defaults {
    /// `""`: the table must say it.
    pub base_url: &'static str,
    pub allow_loopback: bool,
    pub accepted: &'static [FileType],
    pub min_bytes: u64,
    pub max_bytes: u64,
    pub pictures: PictureLimits,
    pub poll_first: Duration,
    pub poll_longest: Duration,
}

impl Defaults {
    /// What most providers say of documents; `max_bytes` is each one's own.
    pub(crate) fn of(base_url: &'static str, max_bytes: u64) -> Self {
        Self {
            base_url,
            allow_loopback: false,
            accepted: &[FileType::Jpeg, FileType::Png, FileType::Pdf],
            min_bytes: 1,
            max_bytes,
            pictures: PictureLimits::default(),
            poll_first: Duration::seconds(30),
            poll_longest: Duration::minutes(30),
        }
    }
}

/// Which of a provider's two systems is meant: the one to try it with, unless the table says `live`.
pub(crate) fn environment(reader: &mut Reader<'_>, trial: (&'static str, &'static str), live: &'static str) -> &'static str {
    let systems = [trial, ("live", live)];
    reader.choice("environment", &systems, trial.0, "which of the provider's systems")
}

impl Common {
    pub(crate) fn read(reader: &mut Reader<'_>, defaults: &Defaults) -> Self {
        const URL: &str = "the provider's address, such as \"https://api.example.com\"";
        let base_url = match defaults.base_url {
            "" => reader.required("base_url", URL),
            INSIDE => reader.text("base_url", URL).unwrap_or_else(|| INSIDE.to_owned()),
            own => reader.text_with("base_url", own, URL),
        };
        let endpoint = Endpoint::read(reader, base_url, defaults.allow_loopback, Duration::seconds(120));
        if !endpoint.base_url.is_empty()
            && let Err(takes) = checked_url(&endpoint, &endpoint.base_url)
        {
            reader.must_be("base_url", takes);
        }
        let confirm = reader.choice(
            "confirm",
            &[("received", ConfirmAt::Received), ("verdict", ConfirmAt::Verdict)],
            "received",
            "when a document may be purged",
        );
        let poll_first = reader.span("poll_first", defaults.poll_first, "the first pause between questions for a verdict");
        let poll_longest = reader.span("poll_longest", defaults.poll_longest, "the longest of these pauses");
        if poll_longest < poll_first {
            reader.must_be("poll_longest", "a span not shorter than poll_first");
        }
        let limits = read_limits(reader, defaults);
        let webhook_secrets = [
            reader.secret("webhook_secret_file", "the secret of callbacks"),
            reader.secret(
                "webhook_secret_previous_file",
                "the former secret of callbacks, while it is replaced",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        Self {
            endpoint,
            confirm,
            poll_first,
            poll_longest,
            limits,
            webhook_secrets,
        }
    }
}

impl Common {
    /// The profile of a connector that sends, of which only these things are its own.
    pub(crate) fn profile(&self, kind: &'static str, key_window: Duration, lists_missing: bool) -> Profile {
        Profile {
            kind,
            confirm: self.confirm,
            key_window,
            lists_missing,
            by_hand: false,
            poll_first: self.poll_first,
            poll_longest: self.poll_longest,
        }
    }
}

/// `accepted = ["image/jpeg", …]`, `min_bytes`, `max_bytes`; of pictures alone `min_image_bytes`, `min_image_side`, `max_image_side` (pixels; 0: no bound).
pub(crate) fn read_limits(reader: &mut Reader<'_>, defaults: &Defaults) -> Limits {
    const TYPES: &str = "a list of \"image/jpeg\", \"image/png\", \"application/pdf\", \"image/heic\"";
    let usual: Vec<&str> = defaults.accepted.iter().map(|file_type| file_type.mime()).collect();
    let types = reader.texts_with("accepted", &usual, TYPES);
    let parsed: Option<BTreeSet<FileType>> = types.iter().map(|t| FileType::from_mime(t)).collect();
    let accepted = match parsed {
        Some(types) if !types.is_empty() => types.into_iter().collect(),
        _ => {
            reader.must_be("accepted", TYPES);
            defaults.accepted.to_vec()
        }
    };
    let pictures = &defaults.pictures;
    let min_bytes = reader.size("min_bytes", defaults.min_bytes, 1..=PART_MAX, "the smallest part");
    let max_bytes = reader.size("max_bytes", defaults.max_bytes, 1..=PART_MAX, "the largest part");
    let min_side = reader.number(
        "min_image_side",
        pictures.min_side,
        0..=1 << 16,
        "pixels of a picture's shorter side at least",
    );
    let max_side = reader.number(
        "max_image_side",
        pictures.max_side,
        0..=1 << 16,
        "pixels of its longer side at most; 0: no bound",
    );
    let picture_bytes = reader.size("min_image_bytes", pictures.min_bytes, 0..=PART_MAX, "the smallest picture");
    if max_bytes < min_bytes.max(picture_bytes) {
        reader.must_be("max_bytes", "not less than min_bytes and min_image_bytes");
    }
    if max_side != 0 && max_side < min_side {
        reader.must_be("max_image_side", "not less than min_image_side");
    }
    Limits {
        accepted,
        min_bytes,
        max_bytes,
        pictures: PictureLimits {
            min_bytes: picture_bytes,
            min_side,
            max_side,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let table: toml::Table = "base_url=5\nallow_insecure='yes'\nmax_bytes=0\ntypo=1\ntimeout='2 weeks'\nconfirm='maybe'"
            .parse()
            .unwrap();
        let no_files: crate::settings::ReadSecret<'_> = &|_| Err("missing".into());
        let mut reader = Reader::new(&table, no_files);
        let defaults = Defaults {
            base_url: "",
            allow_loopback: false,
            accepted: &FileType::ALL,
            min_bytes: 1,
            max_bytes: 10,
            pictures: PictureLimits::default(),
            poll_first: Duration::seconds(1),
            poll_longest: Duration::seconds(9),
        };
        let common = Common::read(&mut reader, &defaults);
        reader.required_secret("api_key_file", "the key");
        let mut keys: Vec<_> = reader.finish(common).unwrap_err().into_iter().map(|f| f.key).collect();
        keys.sort();
        assert_eq!(
            keys,
            [
                "allow_insecure",
                "api_key_file",
                "base_url",
                "confirm",
                "max_bytes",
                "timeout",
                "typo"
            ]
        );
    }
}
