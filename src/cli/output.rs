//! What a command says: results on standard output, as text or as JSON, and failures on standard error as one sentence with the fix.
//!
//! A reader that goes away (`| head`) ends the command quietly. Nothing else in the crate writes to these two.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde_json::Value;

use crate::chain::chain;

/// For machines or for people.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Format {
    /// Print JSON for machines instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What an exit code tells a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// A command did not succeed.
    Failed,
    /// The start needs a person (`EX_CONFIG`): starting again changes nothing.
    Refused,
    /// The storage cannot be used at the moment (`EX_IOERR`): starting again, after a pause, is the fix.
    Storage,
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Refused => 78,
            Self::Storage => crate::storage::sled::durable::EXIT_CODE,
        }
    }
}

/// Why a command did not succeed: one clear sentence with the fix. Empty when everything was said already.
#[derive(Debug)]
pub(super) struct Failure {
    text: String,
    exit: Exit,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            exit: Exit::Failed,
        }
    }

    /// Exit with 1 without another word.
    pub(super) fn quiet() -> Self {
        Self::new("")
    }

    /// The same failure with another exit code.
    #[must_use]
    pub(super) fn exits(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<crate::app::StartError> for Failure {
    fn from(error: crate::app::StartError) -> Self {
        use crate::app::StartError;
        let exit = match &error {
            StartError::Configuration(_) | StartError::Refused(_) => Exit::Refused,
            StartError::InUse(_) | StartError::Unavailable(_) => Exit::Storage,
        };
        Self::new(chain(&error).to_string()).exits(exit)
    }
}

impl From<crate::workflow::WorkflowError> for Failure {
    fn from(error: crate::workflow::WorkflowError) -> Self {
        Self::new(chain(&error).to_string())
    }
}

impl From<crate::storage::StorageError> for Failure {
    fn from(error: crate::storage::StorageError) -> Self {
        Self::new(chain(&error).to_string())
    }
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// One line on standard output.
pub(super) fn line(text: impl fmt::Display) -> Outcome {
    write(&format!("{text}\n"))
}

/// One line of JSON on standard output.
pub(super) fn json(value: &Value) -> Outcome {
    write(&format!("{value}\n"))
}

/// Text as it is on standard output, complete before this returns.
pub(super) fn write(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::quiet(),
            _ => Failure::new(format!("standard output cannot be written: {error}")),
        })
}

/// One line on standard error. Nobody can be told that this failed.
pub(super) fn complain(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Columns as wide as their widest cell, two spaces apart.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Outcome {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: Vec<&str>| {
        let mut text = String::new();
        for (n, cell) in cells.iter().enumerate() {
            text.push_str(&plain(cell));
            if n + 1 < cells.len() {
                text.push_str(&" ".repeat(widths[n] + 2 - cell.chars().count().min(widths[n])));
            }
        }
        line(text.trim_end())
    };
    print(head.to_vec())?;
    rows.iter().try_for_each(|row| print(row.iter().map(String::as_str).collect()))
}

/// Text from elsewhere without control characters: a terminal obeys those.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Marks for people; colours only on a terminal that wants them.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    colour: bool,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self {
            colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    pub(super) fn good(self) -> String {
        self.paint("✓", "32")
    }

    pub(super) fn note(self) -> String {
        self.paint("!", "33")
    }

    pub(super) fn bad(self) -> String {
        self.paint("✗", "31")
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint(text, "2")
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint(text, "1")
    }

    fn paint(self, text: &str, code: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self::new()
    }
}
