//! The backend for more than one machine's worth of work: records and sealed chunks in PostgreSQL 15 or later.
//!
//! A transition locks its row, is applied here by the same code as in the embedded store, and is written with its columns and audit entries in one transaction
//! (READ COMMITTED), which is durable when it is answered: a server that would promise less is refused at start ([`checks`]). How an operation ends surely, or is
//! surely told to be unknown: [`tx`]. One portal at a time: it holds an advisory lock of the database for as long as it runs ([`owner`]).
//!
//! It never keeps anything in memory that would be answered while the server is away.

/// Runs a transaction. What it names is copied for each of its tries.
macro_rules! transaction {
    ($store:ident, |$core:pat_param, $tx:ident $(, $value:ident)*| $work:expr) => {{
        let shared = $store.core.clone();
        $(
            #[allow(clippy::clone_on_copy)]
            let $value = $value.clone();
        )*
        let work = super::tx::work(move |$tx| {
            let core = shared.clone();
            $(
                #[allow(clippy::clone_on_copy)]
                let $value = $value.clone();
            )*
            Box::pin(async move {
                let $core = core;
                $work
            })
        });
        $store.core.engine.write(work).await
    }};
}

/// Runs statements that change nothing, likewise.
macro_rules! query {
    ($store:ident, |$tx:ident $(, $value:ident)*| $work:expr) => {{
        $(
            #[allow(clippy::clone_on_copy)]
            let $value = $value.clone();
        )*
        let work = super::tx::work(move |$tx| {
            $(
                #[allow(clippy::clone_on_copy)]
                let $value = $value.clone();
            )*
            Box::pin(async move { $work })
        });
        $store.core.engine.read(work).await
    }};
}

mod audit;
mod backend;
mod blobs;
mod checks;
mod columns;
mod connect;
mod directory;
mod due;
mod error;
mod lists;
mod meta;
mod migrations;
mod outbox;
mod owner;
mod receipts;
mod requests;
#[cfg(test)]
pub(in crate::storage) mod tests;
mod tx;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::chain::Cause;

use super::StorageError;
use super::backend::DatabaseMetrics;
use super::clock::{GuardedClock, Sampled, Source};
use super::probe::Probe;
use super::seal::Seal;
pub use connect::{Database, Unusable};
use owner::Owner;
use tx::Engine;

/// An open store. It lets go of the database when the last handle is dropped.
pub struct PostgresStore {
    core: Arc<Core>,
    probe: Probe,
    _owner: Owner,
}

struct Core {
    engine: Arc<Engine>,
    seal: Arc<dyn Seal>,
    clock: GuardedClock,
    /// The latest instant that is written down.
    floor: AtomicI64,
    /// What the clock is judged by after a restart, as it is written down.
    base: std::sync::Mutex<Vec<u8>>,
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Each with its mend; starting again changes nothing.
    #[error("the database cannot be used: {}", .0.join("; "))]
    Refused(Vec<String>),
    #[error(
        "another nightdrop holds this database: one portal at a time uses it (several nodes are not built yet); stop the other one first"
    )]
    Held,
    #[error("the database cannot be reached")]
    Away(#[source] Cause),
    #[error("the database cannot be opened")]
    Storage(#[from] StorageError),
}

impl PostgresStore {
    /// Opens the store, makes or raises its tables, and gives back the leases of the portal before: it is gone, since the database is ours. Waits so long for a
    /// server that does not answer, and for a portal before it to be gone.
    ///
    /// # Errors
    /// What is wrong with the server, each with its mend; that another portal holds the database; that the server is away.
    pub async fn open(database: &Database, source: Source, seal: Arc<dyn Seal>, patience: Duration) -> Result<Self, OpenError> {
        let store = Self::hold(database, source, seal, patience).await?;
        store.end_leases().await?;
        Ok(store)
    }

    /// The same, but for the leases: nothing of a portal is changed before its database is known to be the right one.
    ///
    /// # Errors
    /// As there.
    pub async fn hold(database: &Database, source: Source, seal: Arc<dyn Seal>, patience: Duration) -> Result<Self, OpenError> {
        let owner = owner::take(database, patience).await?;
        Self::on(database, source, seal, Some(owner)).await
    }

    /// Another handle on what somebody else in this process has opened, as a second node would have it.
    #[cfg(test)]
    pub(super) async fn beside(database: &Database, source: Source, seal: Arc<dyn Seal>) -> Result<Self, OpenError> {
        Self::on(database, source, seal, None).await
    }

    async fn on(database: &Database, source: Source, seal: Arc<dyn Seal>, owned: Option<owner::Taken>) -> Result<Self, OpenError> {
        let engine = Arc::new(Engine::new(database.pool().map_err(OpenError::Away)?));
        engine.note_timeline().await.map_err(error::Failed::into_storage)?;
        let (wall, uptime) = meta::wall(&engine).await?;
        let sampled = Arc::new(Sampled::new(wall, uptime));
        // The machine's own clock counts for nothing here: the database's does.
        let source = match source {
            Source::System | Source::Sampled(_) => Source::Sampled(sampled.clone()),
            manual @ Source::Manual(_) => manual,
        };
        let floor = meta::read(&engine, meta::CLOCK).await?;
        let floor = floor.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
        let base = meta::read(&engine, meta::CLOCK_BASE).await?;
        let clock = GuardedClock::new(source, floor.map(super::clock::from_ms), base.as_deref());
        let core = Arc::new(Core {
            engine,
            seal,
            clock,
            floor: AtomicI64::new(floor.unwrap_or(i64::MIN)),
            base: std::sync::Mutex::new(base.unwrap_or_default()),
        });
        core.note_clock().await?;
        let owner = Owner::watch(&core, database, owned, sampled);
        Ok(Self {
            core,
            probe: Probe::default(),
            _owner: owner,
        })
    }

    /// Whether the database is held and answers.
    ///
    /// # Errors
    /// `Busy`, with the reason.
    pub async fn answers(&self) -> Result<(), StorageError> {
        meta::wall(&self.core.engine).await.map(drop)
    }

    #[must_use]
    pub fn metrics(&self) -> DatabaseMetrics {
        let engine = &self.core.engine;
        let status = engine.pool();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DatabaseMetrics {
            held: engine.held.load(Ordering::Acquire),
            commits: count(&engine.commits),
            retries: count(&engine.retries),
            unknown: count(&engine.unknown),
            connections: status.size,
            waiting: status.waiting,
        }
    }
}
