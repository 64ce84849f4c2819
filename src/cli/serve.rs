//! `nightdrop serve`: the portal, until it is told to stop.
//!
//! The first log line names the bound addresses; the next ones say what this process is and how far its promises reach on this machine.
//! The exit code tells a service manager whether to start it again: 78 is a start that needs a person, 74 a disk that cannot be used at the moment
//! (at start, or because a write failed while it ran), 0 the end that was asked for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tracing::Level;

use crate::app::{App, Running, StartError};
use crate::config::Config;
use crate::crypto::memory::{self, MemoryReport};
use crate::http::address_of;
use crate::settings::ConfigError;
use crate::storage::clock::Source;

use super::log::{self, Held, LogFormat, To};
use super::output::{Exit, Failure, Outcome};
use super::process::{self, Stop};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop serve
  nightdrop serve --config /etc/nightdrop/nightdrop.toml --log json

Stops on SIGINT or SIGTERM: uploads in progress get up to 25 seconds to end, a second signal ends it at once.
Exits with 78 when the start needs a person, and with 74 when the disk cannot be used at the moment: start it again then.
NIGHTDROP_LOG is error, warn, info, debug or trace; NIGHTDROP_… sets any configuration key.")]
pub(super) struct Serve {
    /// The configuration [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What this process does; on the embedded store it is always everything.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "ROLES",
        default_value = "public,staff,worker"
    )]
    role: Vec<Role>,
    /// How log lines look [default: text on a terminal, else json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// The applicants' page and the providers' callbacks.
    Public,
    /// Console, API and metrics.
    Staff,
    /// Deliveries, confirmations, purges.
    Worker,
}

pub(super) fn run(serve: Serve) -> Outcome {
    if [Role::Public, Role::Staff, Role::Worker]
        .iter()
        .any(|role| !serve.role.contains(role))
    {
        return Err(
            Failure::new("the embedded store is used by one process, which takes all roles: leave --role away").exits(Exit::Refused),
        );
    }
    let memory = memory::harden();
    let descriptors = process::raise_descriptors();
    let config = process::load(serve.config.as_deref())?;
    refuse_swap(&config, &memory)?;
    let held = log::start(serve.log.unwrap_or_else(LogFormat::fitting), To::Output, Level::INFO)?;
    process::block_on(async {
        let mut stop = Stop::listen()?;
        let tls = [&config.public, &config.staff].map(|listener| listener.tls.is_some());
        let console = config.staff_url.clone();
        let running = match open(config).await {
            Ok(running) => running,
            Err(failure) => {
                held.release(|| {});
                return Err(failure);
            }
        };
        introduce(&running, tls, console.as_deref(), &held);
        report(&running, &memory, descriptors);
        let signal = stop.signal().await;
        tracing::info!(event = "stopping", signal, "uploads and deliveries in progress may end");
        tokio::select! {
            () = running.stop() => {}
            _ = stop.signal() => return Err(Failure::new("stopped at the second signal; uploads in progress were cut off")),
        }
        tracing::info!(event = "stopped", "everything is on the disk");
        Ok(())
    })
}

/// A page that is swapped out in the clear is a copy of documents and keys that nothing erases.
fn refuse_swap(config: &Config, memory: &MemoryReport) -> Outcome {
    if !memory.may_reach_a_disk() || config.accept_readable_swap {
        return Ok(());
    }
    Err(StartError::Configuration(vec![ConfigError::new(
        "accept_readable_swap",
        "must be true to run with swap that is not known to be encrypted: documents and keys would be written to it. Better: run under the given service unit, \
         which locks memory (LimitMEMLOCK=infinity), set MemorySwapMax=0, encrypt the swap (dm-crypt), or switch it off (swapoff -a)",
    )])
    .into())
}

async fn open(config: Config) -> Outcome<Running> {
    let app = App::open(config, Source::System).await.map_err(|error| match error {
        StartError::InUse(why) => Failure::new(format!(
            "{why}; a data folder is used by one process at a time: stop the other one, or set another data_dir"
        ))
        .exits(Exit::Storage),
        other => other.into(),
    })?;
    Ok(app.start().await?)
}

/// The staff address is the one to open in a browser: on this machine alone it has the machine's own name. `console` stands where the configuration gives another.
fn introduce(running: &Running, [public, staff]: [bool; 2], console: Option<&str>, held: &Held) {
    let scheme = if public { "https" } else { "http" };
    held.release(|| {
        tracing::info!(
            event = "listening",
            public = format!("{scheme}://{}", running.public),
            staff = address_of(running.staff, staff),
            console
        )
    });
}

fn report(running: &Running, memory: &MemoryReport, descriptors: u64) {
    let portal = &running.portal;
    tracing::info!(
        event = "roles",
        "all roles share this process on the embedded store: sealed documents are safe from a stolen disk, not from code that runs in this process"
    );
    let assurance = portal.assurance.current();
    tracing::info!(
        event = "erasure",
        class = %assurance.class,
        file_system = %assurance.file_system,
        reasons = assurance.reasons.join(" "),
        "what a purge is worth on this disk"
    );
    if portal.assurance.is_weakened() {
        tracing::error!(
            event = "erasure_weakened",
            "the slots file is not where it was: secrets of before may be read from its earlier blocks; see docs/erasure.md"
        );
    }
    if portal.keyring.is_locked() {
        tracing::warn!(
            event = "locked",
            "the vault key is locked: documents are accepted and none is forwarded until `nightdrop key unlock`"
        );
    } else {
        tracing::info!(event = "unlocked", "the vault key is open: documents are forwarded");
    }
    if portal.providers.is_empty() {
        tracing::warn!(
            event = "no_provider",
            "no provider is configured: no document can be asked for; add a [providers.NAME] table"
        );
    }
    for advice in &memory.advice {
        tracing::warn!(event = "memory", "{advice}");
    }
    if descriptors < process::DESCRIPTORS {
        tracing::warn!(
            event = "descriptors",
            limit = descriptors,
            "few open files are allowed: set LimitNOFILE={} or more",
            process::DESCRIPTORS
        );
    }
}
