//! The questions of `nightdrop init`: each answer is judged at once. A person at a terminal hears the reason and is asked again; a script hears of all faults together.

use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::ask;
use crate::cli::output::{Failure, Outcome};
use crate::config::Config;
use crate::workflow::sign_in::{PASSWORD_MIN, account};

/// Asks, or takes what was given.
pub(super) struct Interview {
    pub asking: bool,
    faults: Vec<String>,
}

/// What is wrong with an answer, as a whole sentence's end: `must be …`.
pub(super) type Judged = Result<(), String>;

/// One question.
pub(super) struct Question<'a> {
    /// What the command line gave.
    pub given: Option<String>,
    pub text: &'a str,
    pub default: Option<&'a str>,
    /// The option that answers it.
    pub option: &'a str,
}

impl Interview {
    pub fn new(asking: bool) -> Self {
        Self {
            asking,
            faults: Vec::new(),
        }
    }

    pub fn fault(&mut self, option: &str, why: impl std::fmt::Display) {
        self.faults.push(format!("{option}: {why}"));
    }

    /// An answer that fits; a stand-in where nobody can be asked and a fault was noted.
    pub fn answer(&mut self, question: Question<'_>, judge: impl Fn(&str) -> Judged) -> Outcome<String> {
        let mut given = question.given;
        loop {
            let answer = match (given.take(), question.default) {
                (Some(given), _) => given,
                (None, default) if self.asking => ask::text(question.text, default)?,
                (None, Some(default)) => default.to_owned(),
                (None, None) => {
                    self.fault(question.option, "must be given when nobody can be asked");
                    return Ok(String::new());
                }
            };
            match judge(&answer) {
                Ok(()) => return Ok(answer),
                Err(why) if self.asking => ask::say(&format!("  {why}\n"))?,
                Err(why) => {
                    self.fault(question.option, why);
                    return Ok(answer);
                }
            }
        }
    }

    /// The first admin's password, from a file or entered twice.
    pub fn password(&mut self, file: Option<&Path>, judge: impl Fn(&str) -> Judged) -> Outcome<Zeroizing<String>> {
        const OPTION: &str = "--admin-password-file";
        const QUESTION: &str = "The first admin's password (15 characters or more; a few words are fine)";
        if let Some(file) = file {
            return Ok(match ask::from_file(file) {
                Ok(password) => {
                    judge(&password).unwrap_or_else(|why| self.fault(OPTION, why));
                    password
                }
                Err(failure) => {
                    self.fault(OPTION, failure);
                    Zeroizing::default()
                }
            });
        }
        if !self.asking {
            self.fault(OPTION, "must be given when nobody can be asked");
            return Ok(Zeroizing::default());
        }
        loop {
            let password = ask::new_secret(QUESTION)?;
            match judge(&password) {
                Ok(()) => return Ok(password),
                Err(why) => ask::say(&format!("  {why}\n"))?,
            }
        }
    }

    /// All faults at once, if there are any.
    pub fn finish(self) -> Outcome {
        match self.faults.as_slice() {
            [] => Ok(()),
            [one] => Err(Failure::new(one)),
            all => Err(Failure::new(format!("{} answers do not fit:\n  {}", all.len(), all.join("\n  ")))),
        }
    }
}

/// Whether the configuration takes these lines; only what it says of `key` counts.
pub(super) fn fits(key: &str, lines: &str) -> Judged {
    let text = match key {
        "public_url" => lines.to_owned(),
        _ => format!("public_url = \"https://drop.example.com\"\n{lines}"),
    };
    let faults = Config::parse(&text, Path::new(""), std::iter::empty()).err().unwrap_or_default();
    match faults.iter().find(|fault| fault.key == key) {
        Some(fault) => Err(fault.to_string()),
        None => Ok(()),
    }
}

/// `key = "value"`.
pub(super) fn line(key: &str, value: &str) -> String {
    format!("{key} = {}\n", toml::Value::String(value.to_owned()))
}

pub(super) fn email(text: &str) -> Judged {
    account::checked_names(text, "Admin")
        .map(|_| ())
        .map_err(|_| "must be an e-mail address, such as ana@example.com".to_owned())
}

pub(super) fn name(text: &str) -> Judged {
    account::checked_names("a@example.com", text)
        .map(|_| ())
        .map_err(|_| "must have 1 to 100 characters".to_owned())
}

/// What sign-in will ask of it as well.
pub(super) fn password(text: &str, context: &[&str]) -> Judged {
    account::password_fault(text, PASSWORD_MIN, context).map_or(Ok(()), |fix| Err(format!("the admin's password {fix}")))
}
