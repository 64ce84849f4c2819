//! What is due: the same queues as in the embedded store. Whoever claims steps over what another one is claiming.

use time::{Duration, OffsetDateTime};

use crate::chain::chain;
use crate::domain::id::RequestId;
use crate::domain::request::DocumentRequest;
use crate::domain::transition::Transition;
use crate::storage::clock::{from_ms, to_ms};
use crate::storage::record::Record;
use crate::storage::{StorageError, WorkQueues};

use super::columns::{change_locked, id_of, write_request};
use super::error::Failed;
use super::tx::Tx;
use super::{Core, PostgresStore};

/// How long a damaged row is left alone before it is looked at (and reported) again.
const DAMAGED_PAUSE: Duration = Duration::hours(1);
/// Damaged rows that one claim steps over.
const CLAIM_LOOK: usize = 32;

/// The providers that something is due at, one look of the index for each.
const PROVIDERS: &str = "WITH RECURSIVE queue (name) AS (\
    (SELECT provider FROM request WHERE due_provider IS NOT NULL ORDER BY provider LIMIT 1) UNION ALL \
    SELECT (SELECT provider FROM request WHERE due_provider IS NOT NULL AND provider > queue.name ORDER BY provider LIMIT 1) \
    FROM queue WHERE queue.name IS NOT NULL) \
    SELECT name FROM queue WHERE name IS NOT NULL";

/// Which rows are looked at, with names of their own.
#[derive(Clone)]
pub(super) enum DueQueue {
    All,
    Of(String),
    Except(Vec<String>),
    Cleanup,
}

impl DueQueue {
    pub(super) fn of(queues: WorkQueues<'_>) -> Self {
        match queues {
            WorkQueues::All => Self::All,
            WorkQueues::Of(provider) => Self::Of(provider.as_str().to_owned()),
            WorkQueues::Except(providers) => Self::Except(providers.iter().map(|name| name.as_str().to_owned()).collect()),
        }
    }
}

/// The first entry of a queue: the column that it is due by, when, whose, and which.
struct Entry {
    column: &'static str,
    provider: Option<String>,
    at: i64,
}

/// The queues' heads, the longest due first; at the same instant a provider is asked before the portal decides without it.
async fn heads(tx: &Tx, queue: &DueQueue) -> Result<Vec<Entry>, Failed> {
    let mut heads = Vec::new();
    let (own, providers) = match queue {
        DueQueue::Cleanup => {
            heads.extend(head(tx, "cleanup", None).await?);
            return Ok(heads);
        }
        DueQueue::Of(provider) => (false, vec![provider.clone()]),
        DueQueue::All | DueQueue::Except(_) => {
            let names = tx.rows(PROVIDERS, &[]).await?.iter().map(|row| row.get(0)).collect();
            (true, names)
        }
    };
    let except: &[String] = match queue {
        DueQueue::Except(except) => except,
        _ => &[],
    };
    for provider in providers.into_iter().filter(|name| !except.contains(name)) {
        heads.extend(head(tx, "due_provider", Some(provider)).await?);
    }
    if own {
        heads.extend(head(tx, "due_portal", None).await?);
    }
    // Stable: providers before the portal.
    heads.sort_by_key(|entry| entry.at);
    Ok(heads)
}

async fn head(tx: &Tx, column: &'static str, provider: Option<String>) -> Result<Option<Entry>, Failed> {
    let of = if provider.is_some() {
        "AND provider = $1"
    } else {
        "AND $1::text IS NULL"
    };
    let sql = format!("SELECT {column} FROM request WHERE {column} IS NOT NULL {of} ORDER BY {column} LIMIT 1");
    let row = tx.row(&sql, &[&provider]).await?;
    Ok(row.map(|row| Entry {
        column,
        provider,
        at: row.get(0),
    }))
}

impl PostgresStore {
    /// When the first entry of a queue is due.
    pub(super) async fn first(&self, queue: DueQueue) -> Result<Option<OffsetDateTime>, StorageError> {
        query!(self, |tx, queue| Ok(heads(tx, &queue)
            .await?
            .first()
            .map(|entry| from_ms(entry.at))))
    }

    /// Takes the lease of the request that has been due longest.
    pub(super) async fn claim(&self, queue: DueQueue, lease: Transition) -> Result<Option<DocumentRequest>, StorageError> {
        // A look without a transaction first: most of the time nothing is due.
        let horizon = self.core.clock.now();
        if self.first(queue.clone()).await?.is_none_or(|at| at > horizon) {
            return Ok(None);
        }
        transaction!(self, |core, tx, queue, lease| claim(&core, tx, &queue, &lease).await)
    }
}

async fn claim(core: &Core, tx: &Tx, queue: &DueQueue, lease: &Transition) -> Result<Option<DocumentRequest>, Failed> {
    for _ in 0..CLAIM_LOOK {
        let Some((column, id, row)) = take(core, tx, queue).await? else {
            return Ok(None);
        };
        let Ok(before) = DocumentRequest::decode(&row) else {
            tracing::error!(request = %id, "a request that is due cannot be read; it is passed over");
            put_off(tx, column, id, Some(to_ms(core.clock.now() + DAMAGED_PAUSE))).await?;
            continue;
        };
        match change_locked(core, tx, &before, lease.clone()).await {
            Ok((leased, _)) => return Ok(Some(leased)),
            // The columns were changed from outside: the row says that nothing is to be done.
            Err(Failed::Storage(StorageError::Refused(refusal))) => {
                tracing::error!(request = %id, error = %chain(&StorageError::Refused(refusal)), "a request that is due is not; its columns are written anew");
                write_request(tx, Some(&before), &before).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Locks the request that has been due longest, but for those that others have locked.
async fn take(core: &Core, tx: &Tx, queue: &DueQueue) -> Result<Option<(&'static str, RequestId, Vec<u8>)>, Failed> {
    let now = to_ms(core.clock.now());
    for entry in heads(tx, queue).await? {
        if entry.at > now {
            break;
        }
        let column = entry.column;
        let of = if entry.provider.is_some() {
            "AND provider = $2"
        } else {
            "AND $2::text IS NULL"
        };
        let sql = format!("SELECT id, row FROM request WHERE {column} <= $1 {of} ORDER BY {column}, id LIMIT 1 FOR UPDATE SKIP LOCKED");
        if let Some(row) = tx.row(&sql, &[&now, &entry.provider]).await? {
            return Ok(Some((column, RequestId(id_of(&row, 0)?), row.get(1))));
        }
    }
    Ok(None)
}

async fn put_off(tx: &Tx, column: &str, id: RequestId, until: Option<i64>) -> Result<(), Failed> {
    let sql = format!("UPDATE request SET {column} = $2 WHERE id = $1");
    tx.run(&sql, &[&id.0.as_slice(), &until]).await.map(drop)
}
