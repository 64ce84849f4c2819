//! `nightdrop serve`: the portal, until it is told to stop.
//!
//! The first log line names the bound addresses; the next ones say what this process is and how far its promises reach on this machine.
//! The exit code tells a service manager whether to start it again: 78 is a start that needs a person, 74 a disk that cannot be used at the moment
//! (at start, or because a write failed while it ran), 0 the end that was asked for.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tokio::time::{Interval, MissedTickBehavior};

use crate::app::data_folder::memory_fault;
use crate::app::{App, Running, StartError, Store};
use crate::config::{Config, Resolved};
use crate::crypto::memory::{self, MemoryReport};
use crate::http::address_of;
use crate::settings::ConfigError;
use crate::storage::clock::Source;

use super::log::{self, Log, LogFormat, To};
use super::notify::{Life, ServiceManager, watchdog};
use super::output::{Exit, Failure, Outcome};
use super::process::{self, Reload, Stop};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop serve
  nightdrop serve --config /etc/nightdrop/nightdrop.toml --log json

Reads its configuration again on SIGHUP: all of it or nothing; the log says what was wrong, and what waits for the next start. Renewed certificates are taken by themselves.
Stops on SIGINT or SIGTERM: uploads in progress get up to 25 seconds to end, a second signal ends it at once.
Exits with 78 when the start needs a person, and with 74 when the disk cannot be used at the moment: start it again then.
NIGHTDROP_… sets any configuration key; NIGHTDROP_LOG, how much is logged: error, warn, info, debug or trace.")]
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
    refuse_empty_volume(serve.config.as_deref())?;
    let config = load(serve.config.as_deref(), &memory)?;
    let log = log::start(serve.log.unwrap_or_else(LogFormat::fitting), To::Output, config.log)?;
    let manager = ServiceManager::find();
    process::block_on(async {
        let mut stop = Stop::listen()?;
        let mut again = Reload::listen()?;
        let tls = [&config.public, &config.staff].map(|listener| listener.tls.is_on());
        let console = config.staff_url.clone();
        let mut running = match open(config).await {
            Ok(running) => running,
            Err(failure) => {
                log.release(|| {});
                return Err(failure);
            }
        };
        introduce(&running, tls, console.as_deref(), &log);
        report(&running, &memory, descriptors);
        manager.ready();
        let mut life = Life::new();
        let mut looks = watchdog().map(|within| tokio::time::interval(within / 3));
        if let Some(looks) = &mut looks {
            // Two looks in a row would find a worker that stands still.
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let signal = loop {
            tokio::select! {
                signal = stop.signal() => break signal,
                () = again.signal() => reload(&mut running, serve.config.as_deref(), &manager, &log).await,
                () = next(&mut looks) => life.tell(&running, &manager).await,
            }
        };
        manager.stopping();
        tracing::info!(event = "stopping", signal, "uploads and deliveries in progress may end");
        tokio::select! {
            () = running.stop() => {}
            _ = stop.signal() => return Err(Failure::new("stopped at the second signal; uploads in progress were cut off")),
        }
        tracing::info!(event = "stopped", "everything is on the disk");
        Ok(())
    })
}

/// The image's first start: what to type, since nobody has a shell in there.
fn refuse_empty_volume(given: Option<&Path>) -> Outcome {
    let config = process::config_path(given);
    let Some(image) = std::env::var("NIGHTDROP_IMAGE").ok().filter(|_| !config.exists()) else {
        return Ok(());
    };
    let folder = config.parent().unwrap_or(Path::new("/")).display();
    Err(Failure::new(format!(
        "{} is missing: this volume holds no portal yet. Make one, with your own address, volume and image:\n  \
         docker run --rm -it -v nightdrop:{folder} {image} init --data-dir {folder} --public-url https://drop.example.com",
        config.display()
    ))
    .exits(Exit::Refused))
}

/// The next look of the watchdog; never where nobody watches.
async fn next(looks: &mut Option<Interval>) {
    match looks {
        Some(looks) => {
            looks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Reads the configuration again: all of it or nothing.
async fn reload(running: &mut Running, given: Option<&Path>, manager: &ServiceManager, log: &Log) {
    manager.reloading();
    let read = Config::load(&process::config_path(given), process::environment()).map_err(StartError::Configuration);
    let taken = match read {
        Ok(config) => {
            let level = config.log;
            running.reload(config).await.map(|reloaded| (reloaded, level))
        }
        Err(error) => Err(error),
    };
    match taken {
        Ok((reloaded, level)) => {
            log.set_level(level);
            tracing::info!(event = "reloaded", "the configuration was read again and is in use");
            if !reloaded.at_next_start.is_empty() {
                tracing::warn!(
                    event = "at_next_start",
                    keys = reloaded.at_next_start.join(", "),
                    "these keys have changed and cannot change while the portal runs: restart it to have them"
                );
            }
            manager.ready();
        }
        Err(error) => {
            let faults = match &error {
                StartError::Configuration(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                other => other.to_string(),
            };
            tracing::error!(
                event = "reload_refused",
                faults,
                "the configuration was read again and is not taken: the one before goes on"
            );
            manager.reload_refused();
        }
    }
}

/// Reads the configuration. Every fault of it is in the one failure, also what only this machine makes one.
fn load(given: Option<&Path>, memory: &MemoryReport) -> Outcome<Config> {
    let refused = |faults| Failure::from(StartError::Configuration(faults));
    let mut resolved = Resolved::load(&process::config_path(given), process::environment()).map_err(refused)?;
    let machine = [swap_fault(&resolved.config, memory), memory_fault(&resolved.config)];
    for fault in machine.into_iter().flatten() {
        // Where the key itself is wrong, its stand-in says nothing about this machine.
        if resolved.errors.iter().all(|known| known.key != fault.key) {
            resolved.errors.push(fault);
        }
    }
    resolved.sound().map_err(refused)
}

/// A page that is swapped out in the clear is a copy of documents and keys that nothing erases.
fn swap_fault(config: &Config, memory: &MemoryReport) -> Option<ConfigError> {
    if !memory.may_reach_a_disk() || config.accept_readable_swap {
        return None;
    }
    Some(ConfigError::new(
        "accept_readable_swap",
        "must be true to run with swap that is not known to be encrypted: documents and keys would be written to it. Better: run under the given service unit, \
         which locks memory (LimitMEMLOCK=infinity), set MemorySwapMax=0, encrypt the swap (dm-crypt), or switch it off (swapoff -a)",
    ))
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
fn introduce(running: &Running, [public, staff]: [bool; 2], console: Option<&str>, log: &Log) {
    let scheme = if public { "https" } else { "http" };
    log.release(|| {
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
    let roles = match &running.store {
        Store::Embedded(_) => {
            "all roles share this process on the embedded store: sealed documents are safe from a stolen disk, not from code that runs in this process"
        }
        Store::Postgres(_) => {
            "all roles share this process: sealed documents are safe from whoever reads the database, not from code that runs in this process"
        }
    };
    tracing::info!(event = "roles", "{roles}");
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
