//! Asking a person at a terminal, and reading secrets from files. Secrets never come from the command line: everybody on the machine can read those.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios};
use zeroize::Zeroizing;

use crate::chain::chain;
use crate::crypto::private_file::{self, Privacy};

use super::output::{Failure, Outcome};

/// The longest secret that is read.
const LONGEST: usize = 4_096;

/// Whether there is somebody to ask.
pub(super) fn somebody() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// One line; empty gives the default.
pub(super) fn text(question: &str, default: Option<&str>) -> Outcome<String> {
    loop {
        prompt(&default.map_or_else(|| format!("{question}: "), |d| format!("{question} [{d}]: ")))?;
        let mut answer = String::new();
        let read = io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|e| Failure::new(format!("the terminal cannot be read: {e}")))?;
        if read == 0 {
            return Err(Failure::new("nothing was entered"));
        }
        match (answer.trim(), default) {
            ("", Some(default)) => return Ok(default.to_owned()),
            ("", None) => {}
            (answer, _) => return Ok(answer.to_owned()),
        }
    }
}

pub(super) fn yes(question: &str) -> Outcome<bool> {
    Ok(matches!(text(question, Some("no"))?.to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A secret without echo.
pub(super) fn secret(question: &str) -> Outcome<Zeroizing<String>> {
    let terminal = File::open("/dev/tty").map_err(|_| Failure::new("there is no terminal to ask at; give the secret in a file"))?;
    let failed = |e: io::Error| Failure::new(format!("the terminal cannot be read: {e}"));
    let silent = Silent::begin(&terminal).map_err(failed)?;
    prompt(&format!("{question}: "))?;
    let mut answer = Zeroizing::new(String::with_capacity(LONGEST));
    let read = BufReader::new(&terminal).read_line(&mut answer).map_err(failed)?;
    drop(silent);
    prompt("\n")?;
    if read == 0 {
        return Err(Failure::new("nothing was entered"));
    }
    Ok(Zeroizing::new(answer.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A new secret, entered twice.
pub(super) fn new_secret(question: &str) -> Outcome<Zeroizing<String>> {
    loop {
        let first = secret(question)?;
        if *first == *secret("The same again")? {
            return Ok(first);
        }
        prompt("These two differ.\n")?;
    }
}

/// A secret from a file that nobody else may read; `-` is standard input. Without the one line break that editors put at the end.
pub(super) fn from_file(path: &Path) -> Outcome<Zeroizing<String>> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
        io::Read::read_to_end(&mut io::Read::take(io::stdin().lock(), LONGEST as u64), &mut bytes)
            .map_err(|e| Failure::new(format!("standard input cannot be read: {e}")))?;
        bytes
    } else {
        private_file::read(path, LONGEST, Privacy::Credential).map_err(|e| Failure::new(chain(&e).to_string()))?
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::new(format!("{} does not hold text", path.display())))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(Failure::new(format!("{} is empty", path.display())));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// A word to whoever is asked.
pub(super) fn say(text: &str) -> Outcome {
    prompt(text)
}

fn prompt(text: &str) -> Outcome {
    let mut out = io::stderr().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::new(format!("the terminal cannot be written: {e}")))
}

/// Echo is off while this lives.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.remove(LocalModes::ECHONL);
        rustix::termios::tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // If this fails the terminal is gone, and with it whoever could be told.
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
