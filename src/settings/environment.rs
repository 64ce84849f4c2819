//! Settings in the environment: `NIGHTDROP_` and the key in capital letters. A variable belongs to the key that asks for it; one that no key asked for is an error
//! that names the nearest one.

use std::collections::BTreeMap;

use super::{ConfigError, Setting};

const PREFIX: &str = "NIGHTDROP_";
/// Variables of the program that are no settings of the portal.
const RESERVED: [&str; 4] = ["URL", "TOKEN", "CONFIG", "LOG"];

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
        let setting = |(name, value): (String, String)| {
            let rest = name.strip_prefix(PREFIX)?;
            let reserved = RESERVED.contains(&rest) || rest.starts_with("TEST_");
            (!reserved).then_some((name, Variable { value, owner: None }))
        };
        Self(variables.filter_map(setting).collect())
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
