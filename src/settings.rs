//! Reading settings: one reader, one error type and one grammar for all modules that take something from `nightdrop.toml` or from the environment.
//!
//! * A module declares a setting by asking the [`Reader`] for it, in one call: name, type, default and what it is for. The environment variable follows from the name
//!   (`limits.max_file` is `NIGHTDROP_LIMITS_MAX_FILE`), so there is no second list of names that could lag behind.
//! * Nothing stops at the first error: the reader puts a stand-in for what is wrong and goes on, and gives out every [`ConfigError`] together at the end.
//! * A key that nobody asked for is an error, in the file as in the environment.
//!
//! This module is pure: files with secrets are read by the function that the caller passes in. It never shows a secret.

mod environment;
pub(crate) mod grammar;
mod reader;
mod secret;

use std::fmt;

pub(crate) use environment::Environment;
#[cfg(test)]
pub(crate) use reader::ReadSecret;
pub use reader::Reader;
pub(crate) use reader::Setting;
pub use secret::Secret;

/// One key that is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub key: String,
    /// What is wrong and what the key takes, as the rest of a sentence about the key: `must be true or false`.
    pub fix: String,
}

impl ConfigError {
    pub fn new(key: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self {
            key: key.to_string(),
            fix: fix.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.fix)
    }
}

#[cfg(test)]
mod tests;
