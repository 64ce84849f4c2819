//! The reader of a table: each key is asked for once, by its name; what nobody asked for is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use time::Duration;

use super::environment::{Environment, distance, nearest, variable};
use super::grammar::{parse_size, parse_span, show_size, show_span};
use super::{ConfigError, Secret};

/// Opens a secret by the value of its `…_file` key. The error says what is wrong with the file, and nothing of its content.
pub(crate) type ReadSecret<'a> = &'a dyn Fn(&str) -> Result<Secret, String>;

/// A setting as its module declared it by asking for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    /// The type, such as `span` or `size`.
    pub kind: &'static str,
    /// As it would be written in the file; empty where there is none.
    pub default: String,
    /// What it is for, or what it takes.
    pub doc: String,
}

impl Setting {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        variable(&self.key)
    }
}

/// What the readers of nested tables share.
#[derive(Default)]
struct State {
    errors: Vec<ConfigError>,
    asked: Vec<Setting>,
    environment: Environment,
}

/// A value, where it was found.
enum Given<'a> {
    Variable(String),
    Value(&'a toml::Value),
}

impl Given<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Variable(text) => Some(text),
            Self::Value(value) => value.as_str(),
        }
    }
}

/// Reads one table of the file and the variables that belong to it. Errors are collected and never returned one by one.
pub struct Reader<'a> {
    table: &'a toml::Table,
    read_secret: ReadSecret<'a>,
    /// The folder that paths are relative to.
    base: &'a Path,
    /// Where the table stands, such as `""` or `"providers.stripe."`.
    prefix: String,
    /// Keys of this very table that were asked for.
    known: BTreeSet<String>,
    state: State,
}

static EMPTY: LazyLock<toml::Table> = LazyLock::new(toml::Table::new);

impl<'a> Reader<'a> {
    pub fn new(table: &'a toml::Table, read_secret: ReadSecret<'a>) -> Self {
        Self {
            table,
            read_secret,
            base: Path::new(""),
            prefix: String::new(),
            known: BTreeSet::new(),
            state: State::default(),
        }
    }

    /// Paths are relative to this folder, which is that of the file.
    pub fn relative_to(self, base: &'a Path) -> Self {
        Self { base, ..self }
    }

    /// Variables come before the file.
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.state.environment = environment;
        self
    }

    /// Notes an error: `sentence` is the rest of a sentence about the key, such as `must not be longer than …`.
    pub fn error(&mut self, key: &str, sentence: impl Into<String>) {
        let key = self.full(key);
        let error = ConfigError::new(key, sentence);
        if !self.state.errors.contains(&error) {
            self.state.errors.push(error);
        }
    }

    /// Notes that a key has another value than it takes.
    pub fn must_be(&mut self, key: &str, takes: impl Display) {
        self.error(key, format!("must be {takes}"));
    }

    /// Notes that a key is missing.
    pub fn is_needed(&mut self, key: &str, takes: impl Display) {
        self.error(key, format!("is needed: {takes}"));
    }

    /// The value, or nothing and the errors noted. A key that has an error already keeps that one alone.
    pub fn note<T>(&mut self, result: Result<T, Vec<ConfigError>>) -> Option<T> {
        let errors = match result {
            Ok(value) => return Some(value),
            Err(errors) => errors,
        };
        for error in errors {
            let key = self.full(&error.key);
            if self.state.errors.iter().all(|known| known.key != key) {
                self.state.errors.push(ConfigError { key, ..error });
            }
        }
        None
    }

    /// How many errors there are by now: a section in which none was added is sound.
    pub fn errors(&self) -> usize {
        self.state.errors.len()
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key) || self.state.environment.has(&self.full(key))
    }

    fn get(&mut self, key: &str, kind: &'static str, default: impl Into<String>, doc: &str) -> Option<Given<'a>> {
        self.known.insert(key.to_owned());
        let full = self.full(key);
        let variable = self.state.environment.take(&full);
        if self.state.asked.iter().all(|setting| setting.key != full) {
            self.state.asked.push(Setting {
                key: full,
                kind,
                default: default.into(),
                doc: doc.to_owned(),
            });
        }
        match variable {
            Ok(Some(value)) => return Some(Given::Variable(value)),
            Ok(None) => {}
            Err(error) => self.state.errors.push(error),
        }
        self.table.get(key).map(Given::Value)
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &str, takes: &str) -> Option<String> {
        self.text_or(key, "", takes)
    }

    /// The same where another text stands in for a missing one.
    pub fn text_with(&mut self, key: &str, default: &str, takes: &str) -> String {
        let shown = toml::Value::String(default.to_owned()).to_string();
        self.text_or(key, &shown, takes).unwrap_or_else(|| default.to_owned())
    }

    fn text_or(&mut self, key: &str, default: &str, takes: &str) -> Option<String> {
        let given = self.get(key, "text", default, takes)?;
        let text = given.text().filter(|text| !text.trim().is_empty()).map(str::to_owned);
        if text.is_none() {
            self.must_be(key, takes);
        }
        text
    }

    /// Whether the key is there with an empty text, where that has a meaning of its own.
    pub fn is_empty_text(&mut self, key: &str, takes: &str) -> bool {
        self.get(key, "text", "", takes).is_some_and(|given| given.text() == Some(""))
    }

    /// The empty text stands in for a missing one; the error is noted.
    pub fn required(&mut self, key: &str, takes: &str) -> String {
        let is_there = self.has(key);
        let text = self.text(key, takes);
        if !is_there {
            self.is_needed(key, takes);
        }
        text.unwrap_or_default()
    }

    /// A relative path is relative to the file's folder.
    pub fn path(&mut self, key: &str, takes: &str) -> Option<PathBuf> {
        let given = self.get(key, "path", "", takes)?;
        let path = given.text().filter(|text| !text.trim().is_empty()).map(|text| self.base.join(text));
        if path.is_none() {
            self.must_be(key, takes);
        }
        path
    }

    pub fn flag(&mut self, key: &str, default: bool, doc: &str) -> bool {
        let value = match self.get(key, "true or false", default.to_string(), doc) {
            None => return default,
            Some(Given::Variable(text)) => text.trim().parse().ok(),
            Some(Given::Value(value)) => value.as_bool(),
        };
        value.unwrap_or_else(|| {
            self.must_be(key, "true or false");
            default
        })
    }

    pub fn number<N>(&mut self, key: &str, default: N, range: RangeInclusive<N>, doc: &str) -> N
    where
        N: Copy + PartialOrd + Display + TryFrom<u64>,
    {
        let number = match self.get(key, "number", default.to_string(), doc) {
            None => return default,
            Some(Given::Variable(text)) => text.trim().parse().ok(),
            Some(Given::Value(value)) => value.as_integer().and_then(|n| u64::try_from(n).ok()),
        };
        let number = number.and_then(|n| N::try_from(n).ok()).filter(|n| range.contains(n));
        number.unwrap_or_else(|| {
            self.must_be(key, format!("a whole number from {} to {}", range.start(), range.end()));
            default
        })
    }

    /// A span of time of any length: see [`parse_span`].
    pub fn span(&mut self, key: &str, default: Duration, doc: &str) -> Duration {
        let Some(given) = self.get(key, "span", format!("\"{}\"", show_span(default)), doc) else {
            return default;
        };
        given.text().and_then(parse_span).unwrap_or_else(|| {
            self.must_be(key, "a whole number with s, m, h or d, such as \"30s\", \"72h\" or \"14d\"");
            default
        })
    }

    /// A span of time, or nothing where a certain word stands instead.
    pub fn span_or(&mut self, key: &str, word: &str, default: Duration, doc: &str) -> Option<Duration> {
        let given = self.get(key, "span", format!("\"{}\"", show_span(default)), doc);
        if given.is_some_and(|given| given.text() == Some(word)) {
            return None;
        }
        Some(self.span(key, default, doc))
    }

    /// A span of time between two others.
    pub fn span_within(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>, doc: &str) -> Duration {
        let span = self.span(key, default, doc);
        if range.contains(&span) {
            return span;
        }
        let (least, most) = (show_span(*range.start()), show_span(*range.end()));
        self.must_be(key, format!("a span from \"{least}\" to \"{most}\""));
        default
    }

    /// A number of bytes between two others, alone or with a unit: see [`parse_size`].
    pub fn size(&mut self, key: &str, default: u64, range: RangeInclusive<u64>, doc: &str) -> u64 {
        let size = match self.get(key, "size", format!("\"{}\"", show_size(default)), doc) {
            None => return default,
            Some(Given::Value(toml::Value::Integer(bytes))) => u64::try_from(*bytes).ok(),
            Some(given) => given.text().and_then(parse_size),
        };
        size.filter(|bytes| range.contains(bytes)).unwrap_or_else(|| {
            let (least, most) = (show_size(*range.start()), show_size(*range.end()));
            self.must_be(key, format!("a size from {least} to {most}, in bytes or with KiB, MiB, kB or MB"));
            default
        })
    }

    /// One of a few words; `default` is one of them.
    pub fn choice<T: Clone>(&mut self, key: &str, choices: &[(&str, T)], default: &str, doc: &str) -> T {
        let find = |word: &str| choices.iter().find(|(known, _)| *known == word).map(|(_, choice)| choice.clone());
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let doc = format!("{doc}: {}", words.join(", "));
        let given = self.get(key, "word", format!("\"{default}\""), &doc);
        let chosen = match given {
            None => find(default),
            Some(given) => given.text().and_then(find).or_else(|| {
                self.must_be(key, format!("one of {}", words.join(", ")));
                find(default)
            }),
        };
        chosen.expect("the default is one of the words")
    }

    /// A list of texts; in the environment they are separated by commas.
    pub fn texts(&mut self, key: &str, takes: &str) -> Option<Vec<String>> {
        self.texts_or(key, "", takes)
    }

    pub fn texts_with(&mut self, key: &str, default: &[&str], takes: &str) -> Vec<String> {
        let own = || default.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        self.texts_or(key, &format!("{default:?}"), takes).unwrap_or_else(own)
    }

    fn texts_or(&mut self, key: &str, default: &str, takes: &str) -> Option<Vec<String>> {
        let texts = match self.get(key, "list", default, takes)? {
            Given::Value(toml::Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            other => other.text().map(|text| listed(text).map(str::to_owned).collect()),
        };
        if texts.is_none() {
            self.must_be(key, takes);
        }
        texts
    }

    /// A list of whole numbers, such as HTTP statuses.
    pub fn numbers(&mut self, key: &str, default: &[u16], takes: &str) -> Vec<u16> {
        let numbers = match self.get(key, "list", format!("{default:?}"), takes) {
            None => return default.to_vec(),
            Some(Given::Value(value)) => value
                .as_array()
                .and_then(|a| a.iter().map(|v| v.as_integer().and_then(|n| u16::try_from(n).ok())).collect()),
            Some(Given::Variable(text)) => listed(&text).map(|number| number.parse().ok()).collect(),
        };
        numbers.unwrap_or_else(|| {
            self.must_be(key, takes);
            default.to_vec()
        })
    }

    /// A table of texts, in the order of its keys; in the environment `key=text`, separated by commas.
    pub fn pairs(&mut self, key: &str, takes: &str) -> Vec<(String, String)> {
        let Some(given) = self.get(key, "table", "", takes) else {
            return Vec::new();
        };
        pairs_of(&given).unwrap_or_else(|| {
            self.must_be(key, takes);
            Vec::new()
        })
    }

    /// One text for everybody (as `en`), or texts by language.
    pub fn by_language(&mut self, key: &str, doc: &str) -> BTreeMap<String, String> {
        let Some(given) = self.get(key, "text or table", "", doc) else {
            return BTreeMap::new();
        };
        if let Some(text) = given.text() {
            return BTreeMap::from([("en".to_owned(), text.to_owned())]);
        }
        let pairs = pairs_of(&given).unwrap_or_else(|| {
            self.must_be(
                key,
                "a text, or texts by language such as { en = \"Passport\", de = \"Reisepass\" }",
            );
            Vec::new()
        });
        pairs.into_iter().collect()
    }

    /// A secret in a file: one line of printable ASCII, so that it fits a header.
    pub fn secret(&mut self, key: &str, doc: &str) -> Option<Secret> {
        let given = self.get(key, "file", "", doc)?;
        let Some(path) = given.text().filter(|path| !path.is_empty()) else {
            self.must_be(key, format!("the path of a file with {doc}"));
            return None;
        };
        match (self.read_secret)(path) {
            Ok(secret) if !secret.expose().is_empty() && secret.expose().bytes().all(|b| (b' '..=b'~').contains(&b)) => Some(secret),
            Ok(_) => {
                self.must_be(key, format!("a file with {doc} in one line of printable ASCII"));
                None
            }
            Err(reason) => {
                self.must_be(key, format!("a readable file with {doc} ({reason})"));
                None
            }
        }
    }

    /// An empty secret stands in for a missing one; the error is noted.
    pub fn required_secret(&mut self, key: &str, doc: &str) -> Secret {
        let is_there = self.has(key);
        let secret = self.secret(key, doc);
        if !is_there {
            self.is_needed(key, format!("the path of a file with {doc}"));
        }
        secret.unwrap_or_else(|| Secret::new(""))
    }

    /// The text of a file that the module reads in its own way, such as a public key. Such a file is kept as strictly as a secret.
    pub fn file_text(&mut self, key: &str, takes: &str) -> Option<Secret> {
        let given = self.get(key, "file", "", takes)?;
        let text = given.text().and_then(|path| (self.read_secret)(path).ok());
        if text.is_none() {
            self.must_be(key, takes);
        }
        text
    }

    /// Keys of this table that were asked for and are set.
    pub fn given(&self) -> Vec<String> {
        self.known.iter().filter(|key| self.has(key)).cloned().collect()
    }

    /// Names of the tables inside this one, where the operator gives the names.
    pub fn names(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// Reads a table inside this one, with nothing but defaults when it is not there.
    pub fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'a>) -> T) -> T {
        self.known.insert(key.to_owned());
        let table = match self.table.get(key) {
            None => &EMPTY,
            Some(toml::Value::Table(table)) => table,
            Some(_) => {
                let name = self.full(key);
                self.must_be(key, format!("a table, [{name}]"));
                &EMPTY
            }
        };
        let mut reader = Reader {
            table,
            read_secret: self.read_secret,
            base: self.base,
            prefix: format!("{}.", self.full(key)),
            known: BTreeSet::new(),
            state: std::mem::take(&mut self.state),
        };
        let value = read(&mut reader);
        reader.refuse_unknown();
        self.state = reader.state;
        value
    }

    /// The same for a table that may be missing: `None` when neither the file nor the environment has anything of it.
    pub fn optional_section<T>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'a>) -> T) -> Option<T> {
        self.known.insert(key.to_owned());
        let is_there = self.table.contains_key(key) || self.state.environment.has_inside(&self.full(key));
        is_there.then(|| self.section(key, read))
    }

    /// Asks for everything in this table at once, because what it should be cannot be said.
    pub fn skip_rest(&mut self) {
        self.known.extend(self.table.keys().cloned());
        let table = self.prefix.trim_end_matches('.');
        self.state.environment.skip_inside(table);
    }

    fn refuse_unknown(&mut self) {
        let unknown: Vec<String> = self.table.keys().filter(|key| !self.known.contains(*key)).cloned().collect();
        for key in unknown {
            let near = nearest(&key, self.known.iter().cloned()).filter(|near| distance(&key, near) <= key.len() / 3 + 1);
            let all = || self.known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let fix = near.map_or_else(
                || format!("the keys here are {}", all()),
                |near| format!("the nearest one is {near}"),
            );
            self.error(&key, format!("is not a configuration key; {fix}"));
        }
    }

    fn end(&mut self) {
        self.refuse_unknown();
        let unknown = self.state.environment.unknown(&self.state.asked);
        self.state.errors.extend(unknown);
    }

    /// The value, or every error.
    pub fn finish<T>(mut self, value: T) -> Result<T, Vec<ConfigError>> {
        self.end();
        if self.state.errors.is_empty() {
            Ok(value)
        } else {
            Err(self.state.errors)
        }
    }

    /// Every error, and every setting that was asked for.
    pub fn finish_with_settings(mut self) -> (Vec<ConfigError>, Vec<Setting>) {
        self.end();
        (self.state.errors, self.state.asked)
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn pairs_of(given: &Given<'_>) -> Option<Vec<(String, String)>> {
    let pair = |entry: &str| {
        let (key, text) = entry.split_once('=')?;
        Some((key.trim().to_owned(), text.trim().to_owned()))
    };
    match given {
        Given::Variable(text) => listed(text).map(pair).collect(),
        Given::Value(value) => value
            .as_table()
            .and_then(|t| t.iter().map(|(k, v)| v.as_str().map(|v| (k.clone(), v.to_owned()))).collect()),
    }
}
