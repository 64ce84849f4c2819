//! Slowloris limits on connections: how many one address may have open, how many of them may not have sent a whole request yet, and how long a
//! connection may stay open without one.
//!
//! * A connection without a whole request (an unfinished TLS handshake, half a head, nothing at all) ends after a fixed time, whatever it dribbles; so does one
//!   that stays silent, or sends half a head, after an answer. While a request is being served nothing here ends it: bodies have a pace of their own
//!   ([`super::body`]).
//! * Addresses are remembered while they have a connection open, and never longer: memory is bounded by the number of connections.
//! * Trusted proxies speak for many people: they are exempt from the limits by address, not from the times.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::address::rate_limit_key;

/// A request's head is answered with 408 by then (see [`super::listen`]); a handshake comes before it.
const HANDSHAKE_AND_ANSWER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Open at once from one IPv4 address or one IPv6 /64.
    pub per_address: usize,
    /// Those of them that have not sent one whole request yet.
    pub silent_per_address: usize,
    /// The head of a request must be here by then.
    pub head: Duration,
    /// A connection may stay open for its next request.
    pub keep_alive: Duration,
}

/// All connections of one listener.
pub(crate) struct Connections {
    limits: RwLock<ConnectionLimits>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_peer: HashMap<SocketAddr, Connection>,
    by_address: HashMap<IpAddr, Count>,
    next: u64,
}

struct Connection {
    /// A port may be used again before the portal has forgotten the connection before.
    id: u64,
    /// `None` for what is not limited by address.
    address: Option<IpAddr>,
    /// Not one whole request came yet.
    silent: bool,
    /// Requests being served.
    running: usize,
    /// Since when nothing is being served.
    waiting: Instant,
}

#[derive(Default)]
struct Count {
    open: usize,
    silent: usize,
}

impl Open {
    fn change(&mut self, address: Option<IpAddr>, change: impl FnOnce(&mut Count)) {
        let Some(address) = address else { return };
        let count = self.by_address.entry(address).or_default();
        change(count);
        if count.open == 0 {
            self.by_address.remove(&address);
        }
    }

    fn forget(&mut self, gone: &Connection) {
        self.change(gone.address, |count| {
            count.open = count.open.saturating_sub(1);
            count.silent = count.silent.saturating_sub(usize::from(gone.silent));
        });
    }
}

/// One open connection; forgotten when dropped.
pub(crate) struct Held {
    connections: Arc<Connections>,
    peer: SocketAddr,
    id: u64,
}

/// A request being served, up to the last byte of its answer.
pub(crate) struct Serving {
    connections: Arc<Connections>,
    peer: SocketAddr,
    id: u64,
}

/// What is to be done about a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Look again at this instant.
    At(Instant),
    /// It was silent for too long.
    Over,
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: RwLock::new(limits),
            open: Mutex::default(),
        })
    }

    pub(crate) fn limits(&self) -> ConnectionLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For connections that come from here on; none that is open is closed.
    pub(crate) fn change(&self, limits: ConnectionLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// `None`: that address has enough of them.
    pub(crate) fn enter(self: &Arc<Self>, peer: SocketAddr, exempt: bool) -> Option<Held> {
        let address = (!exempt).then(|| rate_limit_key(peer.ip().to_canonical()));
        let limits = self.limits();
        let mut open = self.lock();
        if let Some(before) = open.by_peer.remove(&peer) {
            open.forget(&before);
        }
        if let Some(count) = address.and_then(|address| open.by_address.get(&address))
            && (count.open >= limits.per_address || count.silent >= limits.silent_per_address)
        {
            return None;
        }
        open.change(address, |count| {
            count.open += 1;
            count.silent += 1;
        });
        let id = open.next;
        open.next += 1;
        let connection = Connection {
            id,
            address,
            silent: true,
            running: 0,
            waiting: Instant::now(),
        };
        open.by_peer.insert(peer, connection);
        Some(Held {
            connections: self.clone(),
            peer,
            id,
        })
    }

    /// A whole head came on this connection.
    pub(crate) fn serve(self: &Arc<Self>, peer: SocketAddr) -> Option<Serving> {
        let mut open = self.lock();
        let connection = open.by_peer.get_mut(&peer)?;
        connection.running += 1;
        let (id, address) = (connection.id, connection.address);
        if std::mem::take(&mut connection.silent) {
            open.change(address, |count| count.silent = count.silent.saturating_sub(1));
        }
        Some(Serving {
            connections: self.clone(),
            peer,
            id,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(crate) fn due(&self, now: Instant) -> Due {
        let limits = self.connections.limits();
        let open = self.connections.lock();
        let Some(connection) = open.by_peer.get(&self.peer).filter(|c| c.id == self.id) else {
            // The same port connected again: this one is closed already.
            return Due::Over;
        };
        if connection.running > 0 {
            return Due::At(now + limits.head);
        }
        let patience = match connection.silent {
            true => limits.head + HANDSHAKE_AND_ANSWER,
            false => limits.keep_alive + limits.head,
        };
        match connection.waiting + patience {
            end if end <= now => Due::Over,
            end => Due::At(end),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if open.by_peer.get(&self.peer).is_some_and(|c| c.id == self.id)
            && let Some(gone) = open.by_peer.remove(&self.peer)
        {
            open.forget(&gone);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Some(connection) = open.by_peer.get_mut(&self.peer).filter(|c| c.id == self.id) {
            connection.running = connection.running.saturating_sub(1);
            connection.waiting = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn connections(per_address: usize, silent_per_address: usize) -> Arc<Connections> {
        Connections::new(ConnectionLimits {
            per_address,
            silent_per_address,
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(30),
        })
    }

    fn peer(address: u32, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::from(address.to_be_bytes()), port)
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let connections = connections(3, 2);
        let first = connections.enter(peer(1, 1), false).unwrap();
        let _second = connections.enter(peer(1, 2), false).unwrap();
        assert!(connections.enter(peer(1, 3), false).is_none(), "two that said nothing");
        assert!(connections.enter(peer(2, 3), false).is_some(), "another address");
        assert!(connections.enter(peer(1, 3), true).is_some(), "a trusted proxy");
        drop(connections.serve(peer(1, 1)).unwrap());
        let _third = connections.enter(peer(1, 3), false).unwrap();
        drop(connections.serve(peer(1, 3)).unwrap());
        assert!(connections.enter(peer(1, 4), false).is_none(), "three open");
        drop(first);
        assert!(connections.enter(peer(1, 4), false).is_some());
    }

    #[test]
    fn a_port_used_again_is_counted_once() {
        let connections = connections(1, 1);
        let old = connections.enter(peer(1, 1), false).unwrap();
        let new = connections.enter(peer(1, 1), false).unwrap();
        assert_eq!(old.due(Instant::now()), Due::Over);
        drop(old);
        assert!(connections.enter(peer(1, 2), false).is_none(), "the new one is still open");
        drop(new);
        assert!(connections.lock().by_peer.is_empty() && connections.lock().by_address.is_empty());
    }

    #[test]
    fn silence_ends_a_connection_and_a_request_being_served_does_not() {
        let connections = connections(9, 9);
        let held = connections.enter(peer(1, 1), false).unwrap();
        let start = connections.lock().by_peer[&peer(1, 1)].waiting;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(held.due(at(1)), Due::At(at(15)));
        assert_eq!(held.due(at(15)), Due::Over);
        let serving = connections.serve(peer(1, 1)).unwrap();
        assert_eq!(held.due(at(1_000)), Due::At(at(1_010)));
        drop(serving);
        let now = Instant::now();
        assert!(matches!(held.due(now), Due::At(end) if end > now + Duration::from_secs(35)));
        assert_eq!(held.due(now + Duration::from_secs(41)), Due::Over);
    }

    #[test]
    fn a_hundred_thousand_addresses_leave_nothing_behind() {
        let connections = connections(3, 2);
        for n in 0..100_000 {
            let held = connections.enter(peer(n, 1), false).unwrap();
            drop(connections.serve(peer(n, 1)));
            drop(held);
        }
        let open = connections.lock();
        assert!(open.by_peer.is_empty() && open.by_address.is_empty());
    }
}
