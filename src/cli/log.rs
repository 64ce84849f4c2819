//! Logging: JSON lines (or text) on standard output, with the standing rule that nothing personal is ever in them.
//!
//! * Only this crate's events below the level *warn* are shown: other crates may print addresses and headers.
//! * What happens before the listeners are open is held back, so that the bound addresses are the very first line; [`Log::release`] lets it go.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use clap::ValueEnum;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

use super::output::{Failure, Outcome};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl LogFormat {
    /// Text on a terminal, JSON for everything that collects logs.
    pub(super) fn fitting() -> Self {
        if io::stdout().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Output,
    Error,
}

/// The log of this process.
pub(super) struct Log {
    held: Held,
    level: Handle<Targets, Registry>,
}

impl Log {
    /// Prints what `first` logs, then everything that waited; from here on lines are printed as they come.
    pub(super) fn release(&self, first: impl FnOnce()) {
        self.held.release(first);
    }

    /// How much it says from here on.
    pub(super) fn set_level(&self, level: Level) {
        // It fails only when there is no subscriber any more.
        let _ = self.level.reload(targets(level));
    }
}

fn targets(level: Level) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("nightdrop", level)
}

/// Starts logging for the process. The level counts for this crate only.
pub(super) fn start(format: LogFormat, to: To, level: Level) -> Outcome<Log> {
    let held = Held {
        to,
        gate: Arc::new(Mutex::new(Gate::Waiting(Vec::new()))),
    };
    let (filter, level) = reload::Layer::new(targets(level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(held.clone());
    let begun = match format {
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true).with_current_span(true).with_span_list(false))
            .try_init(),
        LogFormat::Text => registry
            .with(lines.with_ansi(io::stdout().is_terminal()).with_target(false))
            .try_init(),
    };
    begun.map_err(|error| Failure::new(format!("logging cannot start: {error}")))?;
    Ok(Log { held, level })
}

/// What `NIGHTDROP_LOG` says to a command that reads no configuration.
pub(super) fn level_or(default: Level) -> Outcome<Level> {
    match std::env::var("NIGHTDROP_LOG") {
        Err(_) => Ok(default),
        Ok(word) => word
            .parse()
            .map_err(|_| Failure::new("NIGHTDROP_LOG must be error, warn, info, debug or trace")),
    }
}

/// Log lines that wait for the first one.
#[derive(Clone)]
struct Held {
    to: To,
    gate: Arc<Mutex<Gate>>,
}

enum Gate {
    Waiting(Vec<u8>),
    /// This thread writes the first line; the others go on waiting.
    First(ThreadId, Vec<u8>),
    Open,
}

impl Held {
    fn release(&self, first: impl FnOnce()) {
        let mut gate = self.lock();
        if let Gate::Waiting(waiting) = &mut *gate {
            *gate = Gate::First(thread::current().id(), std::mem::take(waiting));
        }
        drop(gate);
        first();
        let mut gate = self.lock();
        if let Gate::First(_, waiting) = std::mem::replace(&mut *gate, Gate::Open) {
            // A closed standard output is nobody's to be told about.
            let _ = self.print(&waiting);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, bytes: &[u8]) -> io::Result<()> {
        match self.to {
            To::Output => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            To::Error => io::stderr().lock().write_all(bytes),
        }
    }
}

impl<'a> MakeWriter<'a> for Held {
    type Writer = Held;

    fn make_writer(&'a self) -> Held {
        self.clone()
    }
}

/// The subscriber hands over one whole line at a time.
impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.lock() {
            Gate::First(thread, _) if *thread == thread::current().id() => self.print(bytes)?,
            Gate::Waiting(waiting) | Gate::First(_, waiting) => waiting.extend_from_slice(bytes),
            Gate::Open => self.print(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
