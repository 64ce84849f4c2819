//! Settings in the environment: `NIGHTDROP_` and the key in capital letters. A variable belongs to the key that asks for it; one that no key asked for is an error
//! that names the nearest one. What a container manager injects to tell of a service with a name like ours is no setting and is passed over.

use std::collections::BTreeMap;

use super::{ConfigError, Setting};

const PREFIX: &str = "NIGHTDROP_";
/// Variables of the program that are no settings of the portal.
const RESERVED: [&str; 4] = ["URL", "TOKEN", "CONFIG", "IMAGE"];
/// How Kubernetes (and Docker's links before it) tell a container of a service: `NAME_SERVICE_HOST` and `NAME_SERVICE_PORT` are always there.
const SERVICE_HOST: &str = "_SERVICE_HOST";
const SERVICE_PORT: &str = "_SERVICE_PORT";
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// The variable that sets a key: `listen.public` is `NIGHTDROP_LISTEN_PUBLIC`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace(['.', '-'], "_"))
}

#[derive(Debug)]
struct Variable {
    value: String,
    /// The key that asked for it.
    owner: Option<String>,
}

/// The variables that begin with `NIGHTDROP_` and may be settings.
#[derive(Debug, Default)]
pub struct Environment(BTreeMap<String, Variable>);

impl Environment {
    pub fn new(variables: impl Iterator<Item = (String, String)>) -> Self {
        let variables: Vec<_> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        let services = services(&variables);
        let injected = |(name, value): &(String, String)| services.iter().any(|service| is_injected(service, name, value));
        let setting = |(name, value): (String, String)| {
            let rest = name.strip_prefix(PREFIX)?;
            // A release has no failpoints, and is told of a variable that does nothing.
            let failpoint = cfg!(debug_assertions) && rest == "FAILPOINT";
            let reserved = RESERVED.contains(&rest) || rest.starts_with("TEST_") || failpoint;
            (!reserved).then_some((name, Variable { value, owner: None }))
        };
        Self(
            variables
                .iter()
                .filter(|&variable| !injected(variable))
                .cloned()
                .filter_map(setting)
                .collect(),
        )
    }

    /// The value that is meant for a key. A variable that fits two keys is an error, since nobody can say which one was meant.
    pub fn take(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        let name = variable(key);
        let Some(found) = self.0.get_mut(&name) else { return Ok(None) };
        match &found.owner {
            Some(owner) if owner != key => Err(ConfigError::new(
                name,
                format!("could mean {owner} or {key}: set both of them in the file instead"),
            )),
            _ => {
                found.owner = Some(key.to_owned());
                Ok(Some(found.value.clone()))
            }
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(&variable(key))
    }

    /// Whether there is a variable for a key in the table of this name.
    pub fn has_inside(&self, table: &str) -> bool {
        let beginning = format!("{}_", variable(table));
        self.0.keys().any(|name| name.starts_with(&beginning))
    }

    /// Takes all variables of a table, whose keys nobody will ask for.
    pub fn skip_inside(&mut self, table: &str) {
        let beginning = format!("{}_", variable(table));
        for (_, found) in self.0.iter_mut().filter(|(name, _)| name.starts_with(&beginning)) {
            found.owner.get_or_insert_with(|| table.to_owned());
        }
    }

    /// One error for each variable that nothing asked for.
    pub fn unknown(&self, asked: &[Setting]) -> Vec<ConfigError> {
        let unknown = self.0.iter().filter(|(_, found)| found.owner.is_none());
        let error = |(name, _): (&String, &Variable)| {
            let near = nearest(name, asked.iter().map(|setting| setting.variable()));
            let fix = near.map_or_else(String::new, |near| format!("; the nearest one that is, is {near}"));
            ConfigError::new(
                name,
                format!("sets no configuration key{fix} (a provider, webhook or document needs its table in the file)"),
            )
        };
        unknown.map(error).collect()
    }
}

/// The services that a container manager tells of and whose names begin like ours, as they stand in variables: `nightdrop-staff` is `NIGHTDROP_STAFF`.
fn services(variables: &[(String, String)]) -> Vec<String> {
    let has = |name: String| variables.iter().any(|(known, _)| *known == name);
    variables
        .iter()
        .filter_map(|(name, _)| name.strip_suffix(SERVICE_HOST))
        .filter(|service| has(format!("{service}{SERVICE_PORT}")))
        .map(str::to_owned)
        .collect()
}

/// Whether a variable is one of those that tell of a service, which no operator has written.
fn is_injected(service: &str, name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix(service) else { return false };
    if rest == SERVICE_HOST || rest == SERVICE_PORT || rest.strip_prefix(SERVICE_PORT).is_some_and(|name| name.starts_with('_')) {
        return true;
    }
    let Some(port) = rest.strip_prefix("_PORT") else { return false };
    if port.is_empty() {
        return value.contains("://");
    }
    // _8080_TCP, and _8080_TCP_PROTO, …_PORT, …_ADDR.
    let mut words = port.split('_').skip(1);
    let number = words
        .next()
        .is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()));
    let protocol = words.next().is_some_and(|word| PROTOCOLS.contains(&word));
    let last = words.next();
    number && protocol && last.is_none_or(|word| ["PROTO", "PORT", "ADDR"].contains(&word)) && words.next().is_none()
}

/// The candidate with the fewest edits from `word`.
pub(super) fn nearest(word: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates.min_by_key(|candidate| distance(word, candidate))
}

/// The Levenshtein distance in bytes.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, of_b) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(of_a != of_b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
