//! What is to be told: dispatches in the order of their lanes, templates, preferences and saved lists.
//!
//! Whoever queues or ends dispatches holds one lock: of the waiting ones of a lane only the first is ever due. Claiming one needs no lock but its row's.

use std::collections::BTreeSet;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::columns::{append, decode, id_of};
use super::error::Failed;
use super::tx::Tx;
use super::{Core, PostgresStore, lists, meta};
use crate::domain::audit::{AuditEntry, AuditEvent};
use crate::domain::dispatch::{Body, Dispatch, KEPT, Outcome, Progress};
use crate::domain::document::DocumentKind;
use crate::domain::id::{AgentId, DispatchId, RequestId};
use crate::domain::message::Template;
use crate::domain::request::DocumentRequest;
use crate::domain::saved_view::{self, SavedView, ViewChange, ViewRefusal};
use crate::storage::clock::{from_ms, to_ms};
use crate::storage::outbox::{AttentionKind, DispatchPage, NotificationPreferences, Outbox, OutboxCursor};
use crate::storage::record::Record;
use crate::storage::{Cursor, StorageError, key};

/// Ended dispatches that are dropped with every one that ends.
const DROPPED_AT_ONCE: i64 = 4;
/// Mails of one request that are looked at.
const MAILS: i64 = 200;
/// Damaged rows that one claim steps over.
const CLAIM_LOOK: usize = 32;
/// Whether somebody listened at the last start.
const LISTENING: &str = "listening";
/// Taken by whoever queues or ends dispatches, or moves a mark.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8262304917735580164)::text";

fn mark_name(mark: OutboxCursor) -> &'static str {
    match mark {
        OutboxCursor::Announced => "announced",
        OutboxCursor::Digest => "digest",
        OutboxCursor::Checkpoint => "checkpoint",
    }
}

async fn marked(tx: &Tx, mark: OutboxCursor) -> Result<u64, Failed> {
    let value = meta::get(tx, mark_name(mark)).await?;
    Ok(value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
}

async fn listen(tx: &Tx, anybody: bool) -> Result<(), Failed> {
    tx.rows(LOCK, &[]).await?;
    let before = meta::get(tx, LISTENING).await?.is_some();
    if anybody && !before {
        let last: i64 = tx.one("SELECT number FROM chain WHERE name = 'audit'", &[]).await?.get(0);
        meta::set(tx, mark_name(OutboxCursor::Announced), &last.to_be_bytes()).await?;
        meta::set(tx, LISTENING, &[]).await?;
    }
    if !anybody && before {
        tx.run("DELETE FROM meta WHERE name = $1", &[&LISTENING]).await?;
    }
    Ok(())
}

async fn advance(core: &Core, tx: &Tx, mark: OutboxCursor, from: u64, to: u64, dispatches: &[Dispatch]) -> Result<bool, Failed> {
    tx.rows(LOCK, &[]).await?;
    if marked(tx, mark).await? != from {
        return Ok(false);
    }
    meta::set(tx, mark_name(mark), &to.to_be_bytes()).await?;
    let mut queued = BTreeSet::new();
    for dispatch in dispatches {
        queue(core, tx, dispatch, &mut queued).await?;
    }
    Ok(true)
}

async fn post(core: &Core, tx: &Tx, dispatch: &Dispatch, event: AuditEvent) -> Result<bool, Failed> {
    tx.rows(LOCK, &[]).await?;
    if load(tx, dispatch.id, "").await?.is_some() {
        return Ok(false);
    }
    queue(core, tx, dispatch, &mut BTreeSet::new()).await?;
    append(tx, vec![event]).await?;
    Ok(true)
}

async fn load(tx: &Tx, id: DispatchId, lock: &str) -> Result<Option<Dispatch>, Failed> {
    let row = tx
        .row(&format!("SELECT row FROM dispatch WHERE id = $1 {lock}"), &[&id.0.as_slice()])
        .await?;
    row.map(|row| decode(&row, 0)).transpose()
}

fn lane(dispatch: &Dispatch) -> Vec<u8> {
    key::ordering(&dispatch.channel.to_string(), &dispatch.ordering_key)
}

/// Puts a waiting dispatch at the end of its lane. `queued`: the lanes that got one in this transaction.
async fn queue(core: &Core, tx: &Tx, dispatch: &Dispatch, queued: &mut BTreeSet<Vec<u8>>) -> Result<(), Failed> {
    let lane = lane(dispatch);
    let now = core.clock.now();
    let mut due = None;
    if queued.insert(lane.clone()) {
        let sql = "SELECT EXISTS (SELECT 1 FROM dispatch WHERE lane = $1 AND waiting AND id <> $2)";
        let others: bool = tx.one(sql, &[&lane, &dispatch.id.0.as_slice()]).await?.get(0);
        if !others {
            due = Some(match dispatch.progress {
                Progress::Waiting(at) => to_ms(at.max(now)),
                _ => to_ms(now),
            });
        }
    }
    write(tx, dispatch, true, due, None).await
}

/// Writes a dispatch with its columns.
async fn write(tx: &Tx, dispatch: &Dispatch, waiting: bool, due: Option<i64>, kept_until: Option<i64>) -> Result<(), Failed> {
    let ord = [&dispatch.order.to_be_bytes()[..], &dispatch.id.0].concat();
    let place = [&key::newest_first(dispatch.created_at)[..], &dispatch.id.0].concat();
    let sql = "INSERT INTO dispatch (id, lane, ord, place, request, waiting, due, kept_until, row) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
        ON CONFLICT (id) DO UPDATE SET lane = excluded.lane, ord = excluded.ord, place = excluded.place, request = excluded.request, \
        waiting = excluded.waiting, due = excluded.due, kept_until = excluded.kept_until, row = excluded.row";
    tx.run(
        sql,
        &[
            &dispatch.id.0.as_slice(),
            &lane(dispatch),
            &ord,
            &place,
            &dispatch.request.map(|id| id.0.to_vec()),
            &waiting,
            &due,
            &kept_until,
            &dispatch.encode(),
        ],
    )
    .await
    .map(drop)
}

async fn claim(core: &Core, tx: &Tx, until: OffsetDateTime) -> Result<Option<Dispatch>, Failed> {
    let now = to_ms(core.clock.now());
    for _ in 0..CLAIM_LOOK {
        let sql = "SELECT id, row FROM dispatch WHERE due <= $1 ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED";
        let Some(row) = tx.row(sql, &[&now]).await? else { return Ok(None) };
        let id = DispatchId(id_of(&row, 0)?);
        let Ok(mut dispatch) = decode::<Dispatch>(&row, 1) else {
            // It must not stand before all others for ever.
            tracing::error!(dispatch = %id, "a message that is due cannot be read; it is passed over");
            tx.run("UPDATE dispatch SET due = NULL WHERE id = $1", &[&id.0.as_slice()]).await?;
            continue;
        };
        dispatch.fence += 1;
        dispatch.progress = Progress::Waiting(until);
        let sql = "UPDATE dispatch SET due = $2, row = $3 WHERE id = $1";
        tx.run(sql, &[&id.0.as_slice(), &to_ms(until), &dispatch.encode()]).await?;
        return Ok(Some(dispatch));
    }
    Ok(None)
}

async fn settle(
    core: &Core,
    tx: &Tx,
    id: DispatchId,
    fence: u64,
    outcome: &Outcome,
    note: String,
    event: Option<AuditEvent>,
) -> Result<bool, Failed> {
    tx.rows(LOCK, &[]).await?;
    let Some(dispatch) = load(tx, id, "FOR UPDATE").await? else {
        return Ok(false);
    };
    if dispatch.fence != fence || dispatch.progress.ended_at().is_some() {
        return Ok(false);
    }
    end(core, tx, dispatch, outcome, note).await?;
    append(tx, event.into_iter().collect()).await?;
    Ok(true)
}

/// Writes how a try ended; with the dispatch's end the next one of its lane becomes due.
async fn end(core: &Core, tx: &Tx, mut dispatch: Dispatch, outcome: &Outcome, note: String) -> Result<(), Failed> {
    let now = core.clock.now();
    dispatch.end(outcome, note, now);
    if let Progress::Waiting(at) = dispatch.progress {
        write(tx, &dispatch, true, Some(to_ms(at)), None).await?;
    } else {
        write(tx, &dispatch, false, None, Some(to_ms(now + KEPT))).await?;
        let sql = "SELECT id, row, due IS NULL FROM dispatch WHERE lane = $1 AND waiting ORDER BY ord LIMIT 1";
        if let Some(next) = tx.row(sql, &[&lane(&dispatch)]).await?
            && next.get(2)
        {
            let due = match decode::<Dispatch>(&next, 1).map(|next| next.progress) {
                Ok(Progress::Waiting(at)) => at.max(now),
                _ => now,
            };
            let sql = "UPDATE dispatch SET due = $2 WHERE id = $1";
            tx.run(sql, &[&next.get::<_, &[u8]>(0), &to_ms(due)]).await?;
        }
    }
    // A few of those that the log has kept long enough.
    let sql = "DELETE FROM dispatch WHERE id IN (SELECT id FROM dispatch WHERE kept_until <= $1 ORDER BY kept_until LIMIT $2)";
    tx.run(sql, &[&to_ms(now), &DROPPED_AT_ONCE]).await.map(drop)
}

async fn resend(core: &Core, tx: &Tx, id: DispatchId, event: AuditEvent) -> Result<Dispatch, Failed> {
    tx.rows(LOCK, &[]).await?;
    let mut dispatch = load(tx, id, "FOR UPDATE").await?.ok_or(StorageError::NotFound)?;
    if !dispatch.repeatable() {
        return Err(StorageError::NotFound.into());
    }
    let now = core.clock.now();
    dispatch.progress = Progress::Waiting(now);
    dispatch.attempts = 0;
    dispatch.give_up_at = now + KEPT;
    // By hand means now: under an ordering key of its own it neither waits for others nor holds them up.
    dispatch.ordering_key = id.0;
    queue(core, tx, &dispatch, &mut BTreeSet::new()).await?;
    append(tx, vec![event]).await?;
    Ok(dispatch)
}

async fn drop_mail(core: &Core, tx: &Tx, request: RequestId, generation: u32) -> Result<Vec<Dispatch>, Failed> {
    tx.rows(LOCK, &[]).await?;
    let sql = "SELECT row FROM dispatch WHERE request = $1 ORDER BY place LIMIT $2 FOR UPDATE";
    let rows = tx.rows(sql, &[&request.0.as_slice(), &MAILS]).await?;
    let mut dropped = Vec::new();
    for row in &rows {
        let found: Dispatch = decode(row, 0)?;
        let wanted = matches!(found.body, Body::Sealed { .. }) && found.progress.ended_at().is_none();
        if !wanted || found.generation > generation {
            continue;
        }
        let mut gone = found.clone();
        gone.fence += 1;
        end(core, tx, gone, &Outcome::Dropped, "Not needed any more.".to_owned()).await?;
        dropped.push(found);
    }
    Ok(dropped)
}

async fn dispatches(tx: &Tx, of: Option<RequestId>, after: Option<Cursor>, limit: usize) -> Result<DispatchPage, Failed> {
    let behind = after.map_or_else(Vec::new, |cursor| cursor.0.to_vec());
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = match of {
        Some(request) => {
            let sql = "SELECT place, row FROM dispatch WHERE request = $3 AND place > $1 ORDER BY place LIMIT $2";
            tx.rows(sql, &[&behind, &most, &request.0.as_slice()]).await?
        }
        None => {
            let sql = "SELECT place, row FROM dispatch WHERE place > $1 ORDER BY place LIMIT $2";
            tx.rows(sql, &[&behind, &most]).await?
        }
    };
    let last = rows.last().filter(|_| rows.len() == limit);
    Ok(DispatchPage {
        next: last.and_then(|row| row.get::<_, &[u8]>(0).try_into().ok()).map(Cursor),
        dispatches: rows.iter().map(|row| decode(row, 1)).collect::<Result<_, _>>()?,
    })
}

async fn change_views(tx: &Tx, agent: AgentId, change: ViewChange) -> Result<Result<(), ViewRefusal>, Failed> {
    let id = agent.0.as_slice();
    // There is a row to lock, whoever comes first.
    let insert = "INSERT INTO saved_view (agent, row) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.run(insert, &[&id, &Vec::<SavedView>::new().encode()]).await?;
    let row = tx.one("SELECT row FROM saved_view WHERE agent = $1 FOR UPDATE", &[&id]).await?;
    let mut views: Vec<SavedView> = decode(&row, 0)?;
    let changed = saved_view::apply(&mut views, change);
    if changed.is_ok() {
        tx.run("UPDATE saved_view SET row = $2 WHERE agent = $1", &[&id, &views.encode()])
            .await?;
    }
    Ok(changed)
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn listen(&self, anybody: bool) -> Result<(), StorageError> {
        transaction!(self, |_core, tx, anybody| listen(tx, anybody).await)
    }

    async fn mark(&self, mark: OutboxCursor) -> Result<u64, StorageError> {
        query!(self, |tx, mark| marked(tx, mark).await)
    }

    async fn advance(&self, mark: OutboxCursor, from: u64, to: u64, dispatches: Vec<Dispatch>) -> Result<bool, StorageError> {
        transaction!(self, |core, tx, mark, from, to, dispatches| advance(
            &core,
            tx,
            mark,
            from,
            to,
            &dispatches
        )
        .await)
    }

    async fn post(&self, dispatch: Dispatch, event: AuditEvent) -> Result<bool, StorageError> {
        transaction!(self, |core, tx, dispatch, event| post(&core, tx, &dispatch, event).await)
    }

    async fn claim_dispatch(&self, until: OffsetDateTime) -> Result<Option<Dispatch>, StorageError> {
        // A look without a transaction first: most of the time nothing is due.
        let horizon = self.core.clock.now();
        if self.next_dispatch().await?.is_none_or(|at| at > horizon) {
            return Ok(None);
        }
        transaction!(self, |core, tx, until| claim(&core, tx, until).await)
    }

    async fn next_dispatch(&self) -> Result<Option<OffsetDateTime>, StorageError> {
        query!(self, |tx| {
            let row = tx
                .row("SELECT due FROM dispatch WHERE due IS NOT NULL ORDER BY due LIMIT 1", &[])
                .await?;
            Ok(row.map(|row| from_ms(row.get(0))))
        })
    }

    async fn settle_dispatch(
        &self,
        id: DispatchId,
        fence: u64,
        outcome: Outcome,
        note: String,
        event: Option<AuditEvent>,
    ) -> Result<bool, StorageError> {
        transaction!(self, |core, tx, id, fence, outcome, note, event| settle(
            &core, tx, id, fence, &outcome, note, event
        )
        .await)
    }

    async fn resend(&self, id: DispatchId, event: AuditEvent) -> Result<Dispatch, StorageError> {
        transaction!(self, |core, tx, id, event| resend(&core, tx, id, event).await)
    }

    async fn drop_mail(&self, request: RequestId, generation: u32) -> Result<Vec<Dispatch>, StorageError> {
        transaction!(self, |core, tx, request, generation| drop_mail(&core, tx, request, generation)
            .await)
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<Dispatch>, StorageError> {
        // Behind whoever is just queueing: the sweep must see a mail that is being written down.
        transaction!(self, |_core, tx, id| {
            tx.rows(LOCK, &[]).await?;
            load(tx, id, "").await
        })
    }

    async fn dispatches(&self, of: Option<RequestId>, after: Option<Cursor>, limit: usize) -> Result<DispatchPage, StorageError> {
        query!(self, |tx, of, after, limit| dispatches(tx, of, after, limit).await)
    }

    async fn templates(&self) -> Result<Vec<Template>, StorageError> {
        query!(self, |tx| {
            let rows = tx.rows("SELECT row FROM template ORDER BY key", &[]).await?;
            rows.iter().map(|row| decode(row, 0)).collect()
        })
    }

    async fn template(&self, document: Option<&DocumentKind>, language: &str) -> Result<Option<Template>, StorageError> {
        let place = key::template(document, language);
        query!(self, |tx, place| {
            let row = tx.row("SELECT row FROM template WHERE key = $1", &[&place]).await?;
            row.map(|row| decode(&row, 0)).transpose()
        })
    }

    async fn keep_template(&self, template: Template, event: AuditEvent) -> Result<(), StorageError> {
        transaction!(self, |_core, tx, template, event| {
            let place = key::template(template.document.as_ref(), &template.language);
            let sql = "INSERT INTO template (key, row) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET row = excluded.row";
            tx.run(sql, &[&place, &template.encode()]).await?;
            append(tx, vec![event]).await
        })
    }

    async fn drop_template(&self, document: Option<&DocumentKind>, language: &str, event: AuditEvent) -> Result<(), StorageError> {
        let place = key::template(document, language);
        transaction!(self, |_core, tx, place, event| {
            match tx.run("DELETE FROM template WHERE key = $1", &[&place]).await? {
                0 => Ok(()),
                _ => append(tx, vec![event]).await,
            }
        })
    }

    async fn notification_preferences(&self, agent: AgentId) -> Result<NotificationPreferences, StorageError> {
        query!(self, |tx, agent| {
            let row = tx
                .row("SELECT bits FROM preference WHERE agent = $1", &[&agent.0.as_slice()])
                .await?;
            let bits = row.map_or(0, |row| row.get::<_, i16>(0));
            Ok(NotificationPreferences {
                arrived: bits & 1 != 0,
                attention: bits & 2 != 0,
                digest: bits & 4 != 0,
            })
        })
    }

    async fn set_notification_preferences(&self, agent: AgentId, wanted: NotificationPreferences) -> Result<(), StorageError> {
        let bits = i16::from(wanted.arrived) | i16::from(wanted.attention) << 1 | i16::from(wanted.digest) << 2;
        transaction!(self, |_core, tx, agent, bits| {
            let sql = "INSERT INTO preference (agent, bits) VALUES ($1, $2) ON CONFLICT (agent) DO UPDATE SET bits = excluded.bits";
            tx.run(sql, &[&agent.0.as_slice(), &bits]).await.map(drop)
        })
    }

    async fn saved_views(&self, agent: AgentId) -> Result<Vec<SavedView>, StorageError> {
        query!(self, |tx, agent| {
            let row = tx
                .row("SELECT row FROM saved_view WHERE agent = $1", &[&agent.0.as_slice()])
                .await?;
            Ok(row.map(|row| decode(&row, 0)).transpose()?.unwrap_or_default())
        })
    }

    async fn change_views(&self, agent: AgentId, change: ViewChange) -> Result<Result<(), ViewRefusal>, StorageError> {
        transaction!(self, |_core, tx, agent, change| change_views(tx, agent, change).await)
    }

    async fn watched(&self, watch: AttentionKind, limit: usize) -> Result<Vec<DocumentRequest>, StorageError> {
        let core = self.core.clone();
        query!(self, |tx, core, watch, limit| lists::watched(&core, tx, watch, limit).await)
    }

    async fn last_entry(&self) -> Result<Option<AuditEntry>, StorageError> {
        query!(self, |tx| {
            let row = tx.row("SELECT row FROM audit ORDER BY sequence DESC LIMIT 1", &[]).await?;
            row.map(|row| decode(&row, 0)).transpose()
        })
    }
}
