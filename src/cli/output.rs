//! What a command says: results on standard output, as text or as JSON, and failures on standard error as one sentence with the fix.
//!
//! A reader that goes away (`| head`) ends the command quietly. Nothing else in the crate writes to these two.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    bytes(text.as_bytes())
}

/// The same for pieces of a text, which may end within a character.
pub(super) fn bytes(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::quiet(),
        _ => Failure::new(format!("standard output cannot be written: {error}")),
    })
}

/// One line on standard error. Nobody can be told that this failed.
pub(super) fn complain(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Columns as wide as their widest cell, two spaces apart. Those that the screen has no room for stand in lines below, set in by two.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Outcome {
    write(&laid_out(head, rows, screen()))
}

/// What every terminal has, and what a reader that is no terminal gets.
const COLUMNS: usize = 80;

fn screen() -> usize {
    let out = io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten();
    size.map_or(COLUMNS, |size| usize::from(size.ws_col)).max(COLUMNS)
}

fn laid_out(head: &[&str], rows: &[Vec<String>], screen: usize) -> String {
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let widest = |n: usize| {
        all()
            .filter_map(|row| row.get(n))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(widest).collect();
    let mut used = 0;
    let mut first_of_a_line = Vec::new();
    for (n, width) in widths.iter().enumerate() {
        if n > 0 && used + width > screen {
            first_of_a_line.push(n);
            used = 2;
        }
        used += width + 2;
    }
    let mut text = String::new();
    for row in all() {
        for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if first_of_a_line.contains(&n) {
                end_line(&mut text);
                text.push_str("  ");
            }
            text.push_str(&format!("{:<width$}  ", plain(cell)));
        }
        end_line(&mut text);
    }
    text
}

fn end_line(text: &mut String) {
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

/// An instant of the API for a table, to the minute in UTC; a dash where there is none.
pub(super) fn minute(instant: &str) -> String {
    match (instant.get(..10), instant.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => instant.to_owned(),
    }
}

/// A number with its noun.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// How far a long command is: one line on a terminal's standard error that is written over and taken away in the end. Nobody else gets a word of it: no file, no
/// other program, and no terminal that cannot take a line back (`TERM=dumb`) or wants plain text (`NO_COLOR`).
pub(super) struct Progress {
    shown: bool,
    next: Instant,
    /// What is being done, and since when.
    step: Option<(&'static str, Instant)>,
    /// Something stands there that is to be taken away.
    stands: bool,
}

/// More often, it could not be read.
const BETWEEN: Duration = Duration::from_millis(200);

impl Progress {
    /// For a command whose lines on standard output would stand in between: only where those go elsewhere.
    pub(super) fn beside_output() -> Self {
        Self::new(!io::stdout().is_terminal())
    }

    /// For a command that is silent meanwhile.
    pub(super) fn alone() -> Self {
        Self::new(true)
    }

    fn new(wanted: bool) -> Self {
        Self {
            shown: wanted && io::stderr().is_terminal() && takes_lines_back(),
            next: Instant::now() + BETWEEN,
            step: None,
            stands: false,
        }
    }

    pub(super) fn at(&mut self, so_far: impl fmt::Display) {
        if self.is_due() {
            self.write(&format!("{so_far} …"));
        }
    }

    /// For whoever is called from elsewhere: a bar for one step.
    pub(super) fn telling(what: &'static str) -> Arc<dyn Fn(u64, u64) + Send + Sync> {
        let progress = Mutex::new(Self::alone());
        Arc::new(move |done, whole| progress.lock().unwrap_or_else(PoisonError::into_inner).of(what, done, whole))
    }

    /// A bar for what is known as a whole, with how long it will take as far as that can be told. It goes when the whole is done.
    pub(super) fn of(&mut self, what: &'static str, done: u64, whole: u64) {
        let began = match self.step {
            Some((of, began)) if of == what => began,
            _ => self.step.insert((what, Instant::now())).1,
        };
        if done >= whole {
            self.take_away();
        } else if self.is_due() {
            self.write(&bar(what, done, whole, began.elapsed()));
        }
    }

    fn take_away(&mut self) {
        if std::mem::take(&mut self.stands) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self.shown && Instant::now() >= self.next;
        if due {
            self.next = Instant::now() + BETWEEN;
        }
        due
    }

    fn write(&mut self, text: &str) {
        self.stands = true;
        // A line that wraps could not be written over. A terminal that does not know its size says 0.
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_col > 0);
        let columns = size.map_or(COLUMNS, |size| usize::from(size.ws_col)).max(2);
        let text: String = text.chars().take(columns - 1).collect();
        let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
    }
}

fn takes_lines_back() -> bool {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    named("NO_COLOR").is_none() && named("TERM").is_none_or(|term| term != "dumb")
}

/// Cells of a bar.
const CELLS: u64 = 24;
/// Before this nobody can tell how long it will take.
const TELLS_AFTER: Duration = Duration::from_secs(2);

fn bar(what: &str, done: u64, whole: u64, taken: Duration) -> String {
    let (done, whole) = (done.min(whole), whole.max(1));
    let share = |of: u64| u64::try_from(u128::from(done) * u128::from(of) / u128::from(whole)).unwrap_or(of);
    let full = usize::try_from(share(CELLS)).unwrap_or_default();
    let cells = format!("{}{}", "#".repeat(full), ".".repeat(CELLS as usize - full));
    let mut text = format!("{what} [{cells}] {:>3} %", share(100));
    if done > 0 && taken >= TELLS_AFTER {
        let left = taken.as_secs_f64() * (whole - done) as f64 / done as f64;
        let left = match left as u64 {
            seconds @ 0..=99 => format!("{} s", seconds.max(1)),
            seconds => count(seconds.div_ceil(60), "minute", "minutes"),
        };
        text.push_str(&format!(", about {left} left"));
    }
    text
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.take_away();
    }
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

    /// Whether the output is a terminal that takes colours.
    pub(super) fn has_colour(self) -> bool {
        self.colour
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_screen_has_no_room_for_stands_below() {
        let cells = |row: &[&str]| row.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let rows = [cells(&["a1", "bb", "ccc", "d"]), cells(&["a", "b", "c", ""])];
        let head = ["A", "B", "C", "D"];
        assert_eq!(laid_out(&head, &rows, 80), "A   B   C    D\na1  bb  ccc  d\na   b   c\n");
        assert_eq!(laid_out(&head, &rows, 11), "A   B   C\n  D\na1  bb  ccc\n  d\na   b   c\n\n");
        assert_eq!(laid_out(&head, &rows, 10), "A   B\n  C    D\na1  bb\n  ccc  d\na   b\n  c\n");
    }

    #[test]
    fn a_bar_tells_the_share_and_later_the_time_that_is_left() {
        let cells = |full: usize| format!("[{}{}]", "#".repeat(full), ".".repeat(24 - full));
        let soon = Duration::from_secs(1);
        assert_eq!(bar("rows", 0, 0, soon), format!("rows {}   0 %", cells(0)));
        assert_eq!(bar("rows", 1, 2, soon), format!("rows {}  50 %", cells(12)));
        assert_eq!(bar("rows", 9, 8, soon), format!("rows {} 100 %", cells(24)));
        let late = Duration::from_secs(30);
        assert_eq!(bar("rows", 3, 4, late), format!("rows {}  75 %, about 10 s left", cells(18)));
        assert_eq!(bar("rows", 1, 100, late), format!("rows {}   1 %, about 50 minutes left", cells(0)));
        assert_eq!(bar("rows", 0, 100, late), format!("rows {}   0 %", cells(0)));
    }

    #[test]
    fn instants_and_numbers_are_for_people() {
        assert_eq!(minute("2026-01-02T03:04:05.678Z"), "2026-01-02 03:04");
        assert_eq!(minute("-"), "-");
        assert_eq!(
            (count(1, "part", "parts"), count(0, "part", "parts")),
            ("1 part".to_owned(), "0 parts".to_owned())
        );
    }
}
