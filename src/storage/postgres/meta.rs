//! Single values: what binds the database to its portal, how far the clock has come; and the leases of a portal before.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::columns::{decode, id_of, write_request};
use super::error::Failed;
use super::migrations::{CHAINS, TABLES};
use super::tx::{self, Engine, Tx};
use super::{Core, PostgresStore};
use crate::domain::id::RequestId;
use crate::domain::request::DocumentRequest;
use crate::storage::StorageError;
use crate::storage::clock::{to_ms, uptime};

pub(super) const CLOCK: &str = "clock";
pub(super) const CLOCK_BASE: &str = "clock-base";
/// How often the latest instant is written down.
const CLOCK_EVERY_MS: i64 = 60_000;
/// Leases that are given back at once.
const LEASES: usize = 100;

pub(super) async fn read(engine: &Arc<Engine>, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let name = name.to_owned();
    let work = tx::work(move |tx| {
        let name = name.clone();
        Box::pin(async move { get(tx, &name).await })
    });
    engine.read(work).await
}

pub(super) async fn put(engine: &Arc<Engine>, name: &str, value: Vec<u8>) -> Result<(), StorageError> {
    let name = name.to_owned();
    let work = tx::work(move |tx| {
        let (name, value) = (name.clone(), value.clone());
        Box::pin(async move { set(tx, &name, &value).await })
    });
    engine.write(work).await
}

pub(super) async fn get(tx: &Tx, name: &str) -> Result<Option<Vec<u8>>, Failed> {
    let row = tx.row("SELECT value FROM meta WHERE name = $1", &[&name]).await?;
    Ok(row.map(|row| row.get(0)))
}

pub(super) async fn set(tx: &Tx, name: &str, value: &[u8]) -> Result<(), Failed> {
    let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    tx.run(sql, &[&name, &value]).await.map(drop)
}

/// The server's clock and this machine's uptime at that moment.
pub(super) async fn wall(engine: &Arc<Engine>) -> Result<(i64, i64), StorageError> {
    let before = uptime();
    let work = tx::work(move |tx| {
        Box::pin(async move {
            let row = tx.one("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint", &[]).await?;
            Ok(row.get::<_, i64>(0))
        })
    });
    let wall = engine.read(work).await?;
    Ok((wall, uptime().midpoint(before)))
}

impl Core {
    /// The floor under the clock survives a restart, to the minute; what was trusted and whether it still is, to the second.
    pub(super) async fn note_clock(&self) -> Result<(), StorageError> {
        let (now, base) = (to_ms(self.clock.now()), self.clock.base());
        let same = *self.base.lock().unwrap_or_else(PoisonError::into_inner) == base;
        if same && now - self.floor.load(Ordering::Acquire).max(0) < CLOCK_EVERY_MS {
            return Ok(());
        }
        self.write_clock(now, base).await
    }

    /// See [`crate::storage::RequestStore::note_time`].
    pub(super) async fn note_instant(&self, at: i64) -> Result<(), StorageError> {
        if self.floor.load(Ordering::Acquire) >= at {
            return Ok(());
        }
        self.write_clock(to_ms(self.clock.now()).max(at), self.clock.base()).await
    }

    async fn write_clock(&self, now: i64, base: Vec<u8>) -> Result<(), StorageError> {
        let told = base.clone();
        let work = tx::work(move |tx| {
            let base = base.clone();
            Box::pin(async move {
                // Instants may be written in another order than they came in; big-endian bytes compare like numbers from 1970 on.
                let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = greatest(meta.value, excluded.value)";
                tx.run(sql, &[&CLOCK, &now.to_be_bytes().as_slice()]).await?;
                set(tx, CLOCK_BASE, &base).await
            })
        });
        self.engine.write(work).await?;
        self.floor.fetch_max(now, Ordering::AcqRel);
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = told;
        Ok(())
    }
}

impl PostgresStore {
    /// Takes everything out of the tables.
    ///
    /// # Errors
    /// As everything that writes.
    pub async fn clear(&self) -> Result<(), StorageError> {
        transaction!(self, |_core, tx| {
            tx.run(&format!("TRUNCATE {}", TABLES.join(", ")), &[]).await?;
            tx.run(CHAINS, &[]).await.map(drop)
        })
    }

    /// Gives back the leases of the portal before: it is gone, since the database is ours.
    ///
    /// # Errors
    /// As everything that writes.
    pub async fn end_leases(&self) -> Result<(), StorageError> {
        loop {
            let ended = transaction!(self, |_core, tx| end_some(tx).await)?;
            if ended < LEASES {
                return Ok(());
            }
        }
    }
}

async fn end_some(tx: &Tx) -> Result<usize, Failed> {
    let sql = format!("SELECT id, row FROM request WHERE leased ORDER BY id LIMIT {LEASES} FOR UPDATE");
    let rows = tx.rows(&sql, &[]).await?;
    for row in &rows {
        let id = RequestId(id_of(row, 0)?);
        let Ok(before) = decode::<DocumentRequest>(row, 1) else {
            tracing::error!(request = %id, "a request that was leased cannot be read");
            tx.run("UPDATE request SET leased = false WHERE id = $1", &[&id.0.as_slice()])
                .await?;
            continue;
        };
        let mut after = before.clone();
        after.lease = None;
        after.cleanup.until = None;
        write_request(tx, Some(&before), &after).await?;
    }
    Ok(rows.len())
}
