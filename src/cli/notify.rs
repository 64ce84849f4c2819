//! What the service manager is told (sd_notify): that the portal is ready, reads its configuration again, stops, and is alive. Without a manager that listens nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::app::Running;

/// Where messages go; `None` without a manager that listens.
pub(super) struct ServiceManager(Option<(UnixDatagram, SocketAddr)>);

impl ServiceManager {
    /// The one that the environment names: a path, or a name in Linux's own space behind an `@`.
    pub(super) fn find() -> Self {
        let open = |name: std::ffi::OsString| {
            let address = match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name).ok()?,
                None => SocketAddr::from_pathname(&name).ok()?,
            };
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not hold up the portal.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        };
        Self(std::env::var_os("NOTIFY_SOCKET").and_then(open))
    }

    pub(super) fn ready(&self) {
        self.say("READY=1\nSTATUS=takes and forwards documents");
    }

    /// The configuration is being read again; [`Self::ready`] follows, whatever comes of it. The manager compares the time with that of its own signal.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}{:06}", now.tv_sec, now.tv_nsec / 1_000));
    }

    pub(super) fn reload_refused(&self) {
        self.say("READY=1\nSTATUS=the configuration was not taken: the log says why; the one before goes on");
    }

    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=uploads and deliveries in progress may end");
    }

    fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, message: &str) {
        if let Some((socket, address)) = &self.0 {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

/// How often the manager wants a sign of life of this very process.
pub(super) fn watchdog() -> Option<Duration> {
    let own = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (own && micros > 0).then(|| Duration::from_micros(micros))
}

/// Looks whether the portal still does its work: tells it only when the store has answered a write and the worker has made a turn since the sign before.
pub(super) struct Life {
    turns: Option<u64>,
}

impl Life {
    pub(super) fn new() -> Self {
        Self { turns: None }
    }

    /// Waits for the store at most as long as it waits for its own writes.
    pub(super) async fn tell(&mut self, running: &Running, manager: &ServiceManager) {
        let turns = running.turns();
        let stands = turns.is_some() && turns == self.turns;
        self.turns = turns;
        if stands {
            tracing::error!(
                event = "worker_stands",
                "no task of the worker has made a turn since the last look: the watchdog is not told that all is well"
            );
        } else if running.writes_are_answered().await {
            manager.alive();
        } else {
            tracing::error!(
                event = "store_stands",
                "a write of the store has no answer: the watchdog is not told that all is well"
            );
        }
    }
}
