//! The process around a command: private files, no words about a panic's payload, enough file descriptors, and a way to stop.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;

use super::output::{Failure, Outcome, complain};

/// Descriptors that a busy portal needs: 1,024 connections for each of some threads, the store, and room.
pub(super) const DESCRIPTORS: u64 = 4_096;

/// Files made by any command are for this user only, whatever the shell's umask says. A panic says where it happened and nothing else: its payload may
/// hold what must never be in a log.
pub(super) fn guard() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(|| "an unknown place".to_owned(), |l| format!("{}:{}", l.file(), l.line()));
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "a fault in the program itself; the request it was working on failed");
        } else {
            complain(format_args!(
                "nightdrop: a fault in the program itself at {place}; please report it"
            ));
        }
    }));
}

/// Raises the soft limit of open files to the hard one and returns it.
pub(super) fn raise_descriptors() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // Without a hard limit a million is plenty and keeps tables in the kernel small.
    let wanted = limit.maximum.unwrap_or(1 << 20);
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if rustix::process::setrlimit(Resource::Nofile, raised).is_ok() {
        wanted
    } else {
        limit.current.unwrap_or(wanted)
    }
}

/// Runs async work to its end on threads of its own.
pub(super) fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the system gives no threads: {error}")))?;
    let outcome = runtime.block_on(work);
    // What still runs in the background has nothing left to say.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

/// SIGINT and SIGTERM.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn listen() -> Outcome<Self> {
        let of = |kind| signal(kind).map_err(|error| Failure::new(format!("signals cannot be listened to: {error}")));
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    /// Returns when told to stop, with the signal's name.
    pub(super) async fn signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// SIGHUP: the configuration is to be read again.
pub(super) struct Reload(Signal);

impl Reload {
    pub(super) fn listen() -> Outcome<Self> {
        signal(SignalKind::hangup())
            .map(Self)
            .map_err(|error| Failure::new(format!("signals cannot be listened to: {error}")))
    }

    /// Several signals that come at once are one.
    pub(super) async fn signal(&mut self) {
        self.0.recv().await;
    }
}

/// Where the configuration is: `--config`, else `NIGHTDROP_CONFIG`, else `nightdrop.toml` here.
pub(super) fn config_path(given: Option<&Path>) -> PathBuf {
    let named = || std::env::var_os("NIGHTDROP_CONFIG").filter(|p| !p.is_empty()).map(PathBuf::from);
    given
        .map(Path::to_path_buf)
        .or_else(named)
        .unwrap_or_else(|| PathBuf::from("nightdrop.toml"))
}

/// The variables that may be configuration, as text.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Reads the configuration; all faults in one failure.
pub(super) fn load(given: Option<&Path>) -> Outcome<Config> {
    Config::load(&config_path(given), environment()).map_err(|faults| crate::app::StartError::Configuration(faults).into())
}
