//! Reading a provider's table: every key is fetched once by its name, and what nobody fetched is a fault.
//!
//! Nothing stops at the first fault: [`Reader::finish`] hands them out together, each with its key and what is accepted. Secrets come only
//! from files (`*_file`), and are zeroised when dropped.
//!
//! The keys that every connector that sends has ([`Common`]), with their defaults:
//!
//! | key | default | what |
//! | --- | --- | --- |
//! | `base_url` | the provider's own, where it has one | `https://…` |
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
use std::fmt;
use std::path::PathBuf;

use time::Duration;
use zeroize::Zeroizing;

use super::guard::checked_url;
use super::{Limits, Profile};
use crate::domain::delivery::{ConfirmAt, ProviderClass};
use crate::domain::document::{FileType, PictureLimits};

/// A secret's text. Never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Without the line break that editors put at the end of a file.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Opens a secret by the value of its `*_file` key. The error says what is wrong with the file, and nothing of its content.
pub type ReadSecret<'a> = &'a dyn Fn(&str) -> Result<Secret, String>;

/// One thing wrong in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub key: String,
    /// What is accepted there.
    pub accepted: String,
}

impl Fault {
    pub fn new(key: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            accepted: accepted.into(),
        }
    }
}

pub struct Reader<'a> {
    table: &'a toml::Table,
    read_secret: ReadSecret<'a>,
    known: BTreeSet<String>,
    faults: Vec<Fault>,
    /// Where this table stands inside the provider's: `""` or `"confirm."`.
    prefix: String,
}

impl<'a> Reader<'a> {
    /// `kind` is everybody's key and already read.
    pub fn new(table: &'a toml::Table, read_secret: ReadSecret<'a>) -> Self {
        Self {
            table,
            read_secret,
            known: BTreeSet::from(["kind".to_owned()]),
            faults: Vec::new(),
            prefix: String::new(),
        }
    }

    pub fn fault(&mut self, key: &str, accepted: impl Into<String>) {
        let key = format!("{}{key}", self.prefix);
        self.faults.push(Fault::new(key, accepted));
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn get(&mut self, key: &str) -> Option<&'a toml::Value> {
        self.known.insert(key.to_owned());
        self.table.get(key)
    }

    pub fn text(&mut self, key: &str, accepted: &str) -> Option<String> {
        match self.get(key)? {
            toml::Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.fault(key, accepted);
                None
            }
        }
    }

    /// Whether the key is there with an empty text, where that has a meaning of its own.
    pub fn is_empty_text(&mut self, key: &str) -> bool {
        self.get(key).and_then(toml::Value::as_str) == Some("")
    }

    /// The empty text stands in for a missing one; the fault is noted.
    pub fn required(&mut self, key: &str, accepted: &str) -> String {
        if !self.has(key) {
            self.known.insert(key.to_owned());
            self.fault(key, accepted);
            return String::new();
        }
        self.text(key, accepted).unwrap_or_default()
    }

    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.get(key) {
            None => default,
            Some(toml::Value::Boolean(value)) => *value,
            Some(_) => {
                self.fault(key, "true or false");
                default
            }
        }
    }

    pub fn number(&mut self, key: &str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        match self.get(key) {
            None => default,
            Some(toml::Value::Integer(n)) if u64::try_from(*n).is_ok_and(|n| range.contains(&n)) => n.unsigned_abs(),
            Some(_) => {
                self.fault(key, format!("a whole number from {} to {}", range.start(), range.end()));
                default
            }
        }
    }

    /// `"30s"`, `"5m"`, `"2h"`, `"1d"`.
    pub fn span(&mut self, key: &str, default: Duration) -> Duration {
        match self.get(key) {
            None => default,
            Some(value) => value.as_str().and_then(parse_span).unwrap_or_else(|| {
                self.fault(key, "a time span such as \"30s\", \"5m\", \"2h\" or \"1d\"");
                default
            }),
        }
    }

    pub fn choice<T: Clone>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(value) = self.get(key) else { return default };
        match choices.iter().find(|(word, _)| value.as_str() == Some(word)) {
            Some((_, choice)) => choice.clone(),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                self.fault(key, format!("one of {}", words.join(", ")));
                default
            }
        }
    }

    pub fn texts(&mut self, key: &str, accepted: &str) -> Option<Vec<String>> {
        let texts = self
            .get(key)?
            .as_array()
            .and_then(|a| a.iter().map(|v| v.as_str().map(str::to_owned)).collect());
        if texts.is_none() {
            self.fault(key, accepted);
        }
        texts
    }

    /// A table of texts, in the order of its keys.
    pub fn pairs(&mut self, key: &str, accepted: &str) -> Vec<(String, String)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let pairs = value
            .as_table()
            .and_then(|t| t.iter().map(|(k, v)| v.as_str().map(|v| (k.clone(), v.to_owned()))).collect());
        pairs.unwrap_or_else(|| {
            self.fault(key, accepted);
            Vec::new()
        })
    }

    /// A table of whole numbers that are HTTP statuses and the like.
    pub fn numbers(&mut self, key: &str, default: &[u16], accepted: &str) -> Vec<u16> {
        let Some(value) = self.get(key) else { return default.to_vec() };
        let numbers = value
            .as_array()
            .and_then(|a| a.iter().map(|v| v.as_integer().and_then(|n| u16::try_from(n).ok())).collect());
        numbers.unwrap_or_else(|| {
            self.fault(key, accepted);
            default.to_vec()
        })
    }

    /// Reads a table inside this one. `None` when it is not there.
    pub fn inside<T>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'a>) -> T) -> Option<T> {
        let Some(table) = self.get(key)?.as_table() else {
            self.fault(key, "a table");
            return None;
        };
        let mut reader = Reader::new(table, self.read_secret);
        reader.known.clear();
        reader.prefix = format!("{}{key}.", self.prefix);
        let value = read(&mut reader);
        self.faults.append(&mut reader.gather());
        Some(value)
    }

    /// A secret in a file: one line of printable ASCII, so that it fits a header.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        let path = self.text(key, "the path of a file that holds the secret")?;
        match (self.read_secret)(&path) {
            Ok(secret) if !secret.expose().is_empty() && secret.expose().bytes().all(|b| (b' '..=b'~').contains(&b)) => Some(secret),
            Ok(_) => {
                self.fault(key, "a file with one line of printable ASCII");
                None
            }
            Err(reason) => {
                self.fault(key, format!("a readable secret file ({reason})"));
                None
            }
        }
    }

    pub fn required_secret(&mut self, key: &str) -> Secret {
        if !self.has(key) {
            self.known.insert(key.to_owned());
            self.fault(key, "the path of a file that holds the secret");
        }
        self.secret(key).unwrap_or_else(|| Secret::new(""))
    }

    /// An RSA public key in a PEM file (`-----BEGIN PUBLIC KEY-----`), as PKCS#1. It is no secret, but stands among them.
    pub fn rsa_public_key(&mut self, key: &str) -> Option<Vec<u8>> {
        const WANTED: &str = "the path of a PEM file with an RSA public key of at least 2048 bits";
        let path = self.text(key, WANTED)?;
        let read = (self.read_secret)(&path).ok();
        let found = read.and_then(|pem| pkcs1_of_pem(pem.expose()));
        if found.is_none() {
            self.fault(key, WANTED);
        }
        found
    }

    fn gather(&mut self) -> Vec<Fault> {
        let unknown: Vec<String> = self.table.keys().filter(|key| !self.known.contains(*key)).cloned().collect();
        for key in unknown {
            let known: Vec<_> = self.known.iter().map(String::as_str).collect();
            self.fault(&key, format!("unknown here; the keys are {}", known.join(", ")));
        }
        std::mem::take(&mut self.faults)
    }

    /// The value, or every fault of the table.
    pub fn finish<T>(mut self, value: T) -> Result<T, Vec<Fault>> {
        let faults = self.gather();
        if faults.is_empty() { Ok(value) } else { Err(faults) }
    }
}

/// `SubjectPublicKeyInfo` is a sequence of the algorithm and a bit string, which holds the key.
fn pkcs1_of_pem(pem: &str) -> Option<Vec<u8>> {
    /// `rsaEncryption` with its NULL.
    const RSA: [u8; 15] = [
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let text = pem
        .trim()
        .strip_prefix("-----BEGIN PUBLIC KEY-----")?
        .strip_suffix("-----END PUBLIC KEY-----")?;
    let text: String = text.split_whitespace().collect();
    let der = data_encoding::BASE64.decode(text.as_bytes()).ok()?;
    let inner = value_of(&der, 0x30)?.strip_prefix(&RSA)?;
    let key = value_of(inner, 0x03)?.strip_prefix(&[0])?;
    // 2048 bits and what is around them.
    (value_of(key, 0x30)?.len() >= 260).then(|| key.to_vec())
}

/// The content of the one DER value with this tag that fills `der`.
fn value_of(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    (*found == tag && rest.len() == length).then_some(rest)
}

pub fn parse_span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    Some(Duration::seconds(i64::from(number) * seconds))
}

/// How a provider is reached.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub base_url: String,
    /// `http://` beyond this machine. For tests and for providers behind an own TLS proxy.
    pub allow_insecure: bool,
    /// Addresses of private networks. Link-local (cloud metadata), multicast and unspecified ones stay refused.
    pub allow_private: bool,
    /// Loopback, also over `http://`: the sandbox provider.
    pub allow_loopback: bool,
    /// Further certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<String>,
    pub timeout: Duration,
}

/// What every connector that sends has.
#[derive(Clone, Debug)]
pub struct Common {
    pub endpoint: Endpoint,
    pub confirm: ConfirmAt,
    pub poll_first: Duration,
    pub poll_longest: Duration,
    pub limits: Limits,
    /// The current one, and the previous one while it is being replaced.
    pub webhook_secrets: Vec<Secret>,
}

/// What a provider's own documentation says, where the table is silent.
pub struct Defaults {
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

impl Common {
    pub fn read(reader: &mut Reader<'_>, defaults: &Defaults) -> Self {
        const URL: &str = "the provider's address, such as \"https://api.example.com\"";
        let base_url = match reader.text("base_url", URL) {
            Some(url) => url,
            None if defaults.base_url.is_empty() && !reader.has("base_url") => reader.required("base_url", URL),
            None => defaults.base_url.to_owned(),
        };
        let endpoint = Endpoint {
            base_url,
            allow_insecure: reader.flag("allow_insecure", false),
            allow_private: reader.flag("allow_private", false),
            allow_loopback: defaults.allow_loopback,
            ca_file: reader
                .text("ca_file", "the path of a PEM file with certificate authorities")
                .map(PathBuf::from),
            proxy: reader.text("proxy", "a proxy's address, such as \"http://proxy.internal:3128\""),
            timeout: reader.span("timeout", Duration::seconds(120)),
        };
        if !endpoint.base_url.is_empty()
            && let Err(fault) = checked_url(&endpoint, "base_url", &endpoint.base_url)
        {
            reader.fault("base_url", fault.accepted);
        }
        let confirm = reader.choice(
            "confirm",
            &[("received", ConfirmAt::Received), ("verdict", ConfirmAt::Verdict)],
            ConfirmAt::Received,
        );
        let poll_first = reader.span("poll_first", defaults.poll_first);
        let poll_longest = reader.span("poll_longest", defaults.poll_longest);
        if poll_first <= Duration::ZERO || poll_longest < poll_first {
            reader.fault("poll_longest", "a time span not shorter than poll_first, which is more than 0s");
        }
        if endpoint.timeout <= Duration::ZERO {
            reader.fault("timeout", "a time span of more than 0s");
        }
        let limits = read_limits(reader, defaults);
        let webhook_secrets = [reader.secret("webhook_secret_file"), reader.secret("webhook_secret_previous_file")]
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
    pub fn profile(&self, kind: &'static str, class: ProviderClass, key_window: Duration, lists_missing: bool) -> Profile {
        Profile {
            kind,
            class,
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
pub fn read_limits(reader: &mut Reader<'_>, defaults: &Defaults) -> Limits {
    const TYPES: &str = "a list of \"image/jpeg\", \"image/png\", \"application/pdf\", \"image/heic\"";
    let accepted = match reader.texts("accepted", TYPES) {
        None => defaults.accepted.to_vec(),
        Some(types) => {
            let parsed: Option<BTreeSet<FileType>> = types.iter().map(|t| FileType::from_mime(t)).collect();
            match parsed {
                Some(types) if !types.is_empty() => types.into_iter().collect(),
                _ => {
                    reader.fault("accepted", TYPES);
                    defaults.accepted.to_vec()
                }
            }
        }
    };
    let min_bytes = reader.number("min_bytes", defaults.min_bytes, 1..=1 << 30);
    let max_bytes = reader.number("max_bytes", defaults.max_bytes, 1..=1 << 30);
    let mut side = |key: &str, default: u32| u32::try_from(reader.number(key, default.into(), 0..=1 << 16)).unwrap_or(default);
    let (min_side, max_side) = (
        side("min_image_side", defaults.pictures.min_side),
        side("max_image_side", defaults.pictures.max_side),
    );
    let pictures = PictureLimits {
        min_bytes: reader.number("min_image_bytes", defaults.pictures.min_bytes, 0..=1 << 30),
        min_side,
        max_side,
    };
    if max_bytes < min_bytes.max(pictures.min_bytes) {
        reader.fault("max_bytes", "not less than min_bytes and min_image_bytes");
    }
    if max_side != 0 && max_side < min_side {
        reader.fault("max_image_side", "not less than min_image_side");
    }
    Limits {
        accepted,
        min_bytes,
        max_bytes,
        pictures,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let table: toml::Table = "kind='x'\nbase_url=5\nallow_insecure='yes'\nmax_bytes=0\ntypo=1\ntimeout='2 weeks'\nconfirm='maybe'"
            .parse()
            .unwrap();
        let no_files: ReadSecret<'_> = &|_| Err("missing".into());
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
        reader.required_secret("api_key_file");
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

    #[test]
    fn secrets_are_never_shown_and_must_fit_a_header() {
        let table: toml::Table = "a_file='good'\nb_file='bad'".parse().unwrap();
        let files: ReadSecret<'_> = &|path| Ok(Secret::new(if path == "good" { "sk_1\n" } else { "two\nlines" }));
        let mut reader = Reader::new(&table, files);
        let secret = reader.required_secret("a_file");
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("sk_1", "[redacted]"));
        assert!(reader.secret("b_file").is_none());
        assert_eq!(reader.finish(()).unwrap_err().len(), 1);
    }

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(parse_span("90s"), Some(Duration::seconds(90)));
        assert_eq!(parse_span("2d"), Some(Duration::days(2)));
        for bad in ["", "s", "5", "-1s", "1.5h", "5ß"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }
}
