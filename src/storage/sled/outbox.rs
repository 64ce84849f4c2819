//! What is to be told, in the embedded store: dispatches in the order of their keys, templates, notification preferences, and the lists of what to look at.
//!
//! Rows of a dispatch: itself; its place in the log; its place among those of its request; while it waits, its place in the queue of its ordering key; and a due entry for the first of each
//! queue only, so that what comes behind it cannot overtake it. An ended one has an entry by the day it is dropped.

use crate::storage::Cause;
use std::collections::BTreeSet;
use std::ops::Bound;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::chain::chain;
use crate::domain::audit::{AuditEntry, AuditEvent};
use crate::domain::dispatch::{Body, Dispatch, KEPT, Outcome, Progress};
use crate::domain::document::DocumentKind;
use crate::domain::id::{AgentId, DispatchId, RequestId};
use crate::domain::message::Template;
use crate::domain::request::DocumentRequest;
use crate::domain::saved_view::{self, SavedView, ViewChange, ViewRefusal};
use crate::storage::outbox::{AttentionKind, DispatchPage, NotificationPreferences, Outbox, OutboxCursor};
use crate::storage::record::Record;
use crate::storage::{Cursor, StorageError, key};

use super::records::{Batch, Rows};
use super::{Failed, SledStore, append, load, map_store_error, number, read_row};

/// Ended dispatches that are dropped with every one that ends.
const DROPPED_AT_ONCE: usize = 4;
/// Mails of one request that are looked at.
const MAILS: usize = 200;

fn cursor_key(mark: OutboxCursor) -> Vec<u8> {
    key::meta(match mark {
        OutboxCursor::Announced => "announced",
        OutboxCursor::Digest => "digest",
        OutboxCursor::Checkpoint => "checkpoint",
    })
}

/// Whether somebody listened at the last start.
const LISTENING: &str = "listening";

#[async_trait]
impl Outbox for SledStore {
    async fn listen(&self, anybody: bool) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            // Part of every start, on a full disk too.
            batch.frees_space();
            let before = rows.get(&key::meta(LISTENING))?.is_some();
            if anybody && !before {
                let last = number(rows, &key::meta("last-audit"))?.unwrap_or(0);
                batch.put(cursor_key(OutboxCursor::Announced), last.to_be_bytes());
                batch.put(key::meta(LISTENING), Vec::new());
            }
            if !anybody && before {
                batch.remove(key::meta(LISTENING));
            }
            Ok((batch, ()))
        })
        .await
    }

    async fn mark(&self, mark: OutboxCursor) -> Result<u64, StorageError> {
        Ok(number(&self.store.records(), &cursor_key(mark))
            .map_err(Failed::into_storage)?
            .unwrap_or(0))
    }

    async fn advance(&self, mark: OutboxCursor, from: u64, to: u64, dispatches: Vec<Dispatch>) -> Result<bool, StorageError> {
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            if number(rows, &cursor_key(mark))?.unwrap_or(0) != from {
                return Ok((batch, false));
            }
            batch.put(cursor_key(mark), to.to_be_bytes());
            let mut queued = BTreeSet::new();
            for dispatch in &dispatches {
                queue(rows, &mut batch, dispatch, &mut queued, now)?;
            }
            Ok((batch, true))
        })
        .await
    }

    async fn post(&self, dispatch: Dispatch, event: AuditEvent) -> Result<bool, StorageError> {
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            if rows.get(&key::dispatch(dispatch.id))?.is_some() {
                return Ok((batch, false));
            }
            queue(rows, &mut batch, &dispatch, &mut BTreeSet::new(), now)?;
            append(rows, &mut batch, vec![event])?;
            Ok((batch, true))
        })
        .await
    }

    async fn claim_dispatch(&self, until: OffsetDateTime) -> Result<Option<Dispatch>, StorageError> {
        let horizon = self.now_ms();
        if first_due(&self.store.records())
            .map_err(Failed::into_storage)?
            .is_none_or(|(at, _)| at > horizon)
        {
            return Ok(None);
        }
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            batch.frees_space();
            let Some((at, id)) = first_due(rows)?.filter(|(at, _)| *at <= key::ms(now)) else {
                return Ok((Batch::new(), None));
            };
            batch.remove(key::key(key::DISPATCH_DUE, &[&at, &id.0]));
            let mut dispatch = match read_row::<Dispatch>(rows, &key::dispatch(id)) {
                Ok(Some(dispatch)) => dispatch,
                // A row that cannot be read, or is not there, must not stand before all others for ever.
                Ok(None) => return Ok((batch, None)),
                Err(Failed::Storage(StorageError::Corrupt(why))) => {
                    tracing::error!(dispatch = %id, why = %chain(&why), "a message that is due cannot be read; it is passed over");
                    return Ok((batch, None));
                }
                Err(error) => return Err(error),
            };
            dispatch.fence += 1;
            dispatch.progress = Progress::Waiting(until);
            batch.put(key::key(key::DISPATCH_DUE, &[&key::ms(until), &id.0]), Vec::new());
            batch.put(key::dispatch(id), dispatch.encode());
            Ok((batch, Some(dispatch)))
        })
        .await
    }

    async fn next_dispatch(&self) -> Result<Option<OffsetDateTime>, StorageError> {
        let first = first_due(&self.store.records()).map_err(Failed::into_storage)?;
        Ok(first.map(|(at, _)| crate::storage::clock::from_ms(i64::from_be_bytes(at))))
    }

    async fn settle_dispatch(
        &self,
        id: DispatchId,
        fence: u64,
        outcome: Outcome,
        note: String,
        event: Option<AuditEvent>,
    ) -> Result<bool, StorageError> {
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            batch.frees_space();
            let Some(dispatch) = read_row::<Dispatch>(rows, &key::dispatch(id))? else {
                return Ok((Batch::new(), false));
            };
            if dispatch.fence != fence || dispatch.progress.ended_at().is_some() {
                return Ok((Batch::new(), false));
            }
            end(rows, &mut batch, dispatch, &outcome, note, now)?;
            append(rows, &mut batch, event.into_iter().collect())?;
            Ok((batch, true))
        })
        .await
    }

    async fn resend(&self, id: DispatchId, event: AuditEvent) -> Result<Dispatch, StorageError> {
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            let missing = || Failed::Storage(StorageError::NotFound);
            let mut dispatch = read_row::<Dispatch>(rows, &key::dispatch(id))?.ok_or_else(missing)?;
            let (true, Some(ended)) = (dispatch.repeatable(), dispatch.progress.ended_at()) else {
                return Err(missing());
            };
            batch.remove(key::key(key::DISPATCH_KEPT, &[&key::ms(ended + KEPT), &id.0]));
            dispatch.progress = Progress::Waiting(now);
            dispatch.attempts = 0;
            dispatch.give_up_at = now + KEPT;
            // By hand means now: under an ordering key of its own it neither waits for others nor holds them up.
            dispatch.ordering_key = id.0;
            queue(rows, &mut batch, &dispatch, &mut BTreeSet::new(), now)?;
            append(rows, &mut batch, vec![event])?;
            Ok((batch, dispatch))
        })
        .await
    }

    async fn drop_mail(&self, request: RequestId, generation: u32) -> Result<Vec<Dispatch>, StorageError> {
        if self
            .store
            .records()
            .scan_prefix(&key::key(key::DISPATCH_OF, &[&request.0]), None, 1)
            .map_err(map_store_error)?
            .is_empty()
        {
            return Ok(Vec::new());
        }
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            batch.frees_space();
            let mut dropped = Vec::new();
            for (k, _) in rows.scan_prefix(&key::key(key::DISPATCH_OF, &[&request.0]), None, MAILS)? {
                let Some(id) = dispatch_id(&k) else { continue };
                let Some(found) = read_row::<Dispatch>(rows, &key::dispatch(id))? else {
                    continue;
                };
                let wanted = matches!(found.body, Body::Sealed { .. }) && found.progress.ended_at().is_none();
                if !wanted || found.generation > generation {
                    continue;
                }
                let mut gone = found.clone();
                gone.fence += 1;
                end(rows, &mut batch, gone, &Outcome::Dropped, "Not needed any more.".to_owned(), now)?;
                dropped.push(found);
            }
            Ok((batch, dropped))
        })
        .await
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<Dispatch>, StorageError> {
        // Decided, not only settled: the sweep must see a mail that is just being queued.
        self.decide(|rows, _| Ok((Batch::new(), read_row(rows, &key::dispatch(id))?))).await
    }

    async fn dispatches(&self, of: Option<RequestId>, after: Option<Cursor>, limit: usize) -> Result<DispatchPage, StorageError> {
        let found = {
            let rows = self.store.records();
            let prefix = match of {
                Some(request) => key::key(key::DISPATCH_OF, &[&request.0]),
                None => vec![key::DISPATCH_LOG],
            };
            let behind = after.map(|c| [&prefix[..], &c.0].concat());
            let step = rows.scan_prefix(&prefix, behind.as_deref(), limit).map_err(map_store_error)?;
            let next = (step.len() == limit)
                .then(|| step.last().and_then(|(k, _)| k[prefix.len()..].try_into().ok()).map(Cursor))
                .flatten();
            let mut dispatches = Vec::with_capacity(step.len());
            for (k, _) in &step {
                if let Some(id) = dispatch_id(k) {
                    dispatches.extend(read_row::<Dispatch>(&rows, &key::dispatch(id)).map_err(Failed::into_storage)?);
                }
            }
            DispatchPage { dispatches, next }
        };
        self.shown().await?;
        Ok(found)
    }

    async fn templates(&self) -> Result<Vec<Template>, StorageError> {
        let found = self
            .store
            .records()
            .scan_prefix(&[key::TEMPLATE], None, usize::MAX)
            .map_err(map_store_error)?;
        found
            .iter()
            .map(|(_, row)| Template::decode(row))
            .collect::<Result<_, _>>()
            .map_err(|e| Failed::from(e).into_storage())
    }

    async fn template(&self, document: Option<&DocumentKind>, language: &str) -> Result<Option<Template>, StorageError> {
        read_row(&self.store.records(), &key::template(document, language)).map_err(Failed::into_storage)
    }

    async fn keep_template(&self, template: Template, event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            batch.put(key::template(template.document.as_ref(), &template.language), template.encode());
            append(rows, &mut batch, vec![event])?;
            Ok((batch, ()))
        })
        .await
    }

    async fn drop_template(&self, document: Option<&DocumentKind>, language: &str, event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let k = key::template(document, language);
            let mut batch = Batch::new();
            if rows.get(&k)?.is_some() {
                batch.remove(k);
                append(rows, &mut batch, vec![event])?;
            }
            Ok((batch, ()))
        })
        .await
    }

    async fn notification_preferences(&self, agent: AgentId) -> Result<NotificationPreferences, StorageError> {
        let row = self
            .store
            .records()
            .get(&key::notification_preferences(agent))
            .map_err(map_store_error)?;
        let bits = row.and_then(|r| r.first().copied()).unwrap_or(0);
        Ok(NotificationPreferences {
            arrived: bits & 1 != 0,
            attention: bits & 2 != 0,
            digest: bits & 4 != 0,
        })
    }

    async fn set_notification_preferences(
        &self,
        agent: AgentId,
        notification_preferences: NotificationPreferences,
    ) -> Result<(), StorageError> {
        let bits = u8::from(notification_preferences.arrived)
            | u8::from(notification_preferences.attention) << 1
            | u8::from(notification_preferences.digest) << 2;
        self.decide(|_, _| {
            let mut batch = Batch::new();
            batch.put(key::notification_preferences(agent), vec![bits]);
            Ok((batch, ()))
        })
        .await
    }

    async fn saved_views(&self, agent: AgentId) -> Result<Vec<SavedView>, StorageError> {
        let views = views_of(&self.store.records(), agent).map_err(Failed::into_storage)?;
        self.shown().await?;
        Ok(views)
    }

    async fn change_views(&self, agent: AgentId, change: ViewChange) -> Result<Result<(), ViewRefusal>, StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            let mut views = views_of(rows, agent)?;
            let changed = saved_view::apply(&mut views, change.clone());
            if changed.is_ok() {
                batch.put(key::saved_views(agent), views.encode());
            }
            Ok((batch, changed))
        })
        .await
    }

    async fn watched(&self, watch: AttentionKind, limit: usize) -> Result<Vec<DocumentRequest>, StorageError> {
        let found = self.watched_rows(watch, limit).map_err(Failed::into_storage)?;
        self.shown().await?;
        Ok(found)
    }

    async fn last_entry(&self) -> Result<Option<AuditEntry>, StorageError> {
        let found = {
            let rows = self.store.records();
            match number(&rows, &key::meta("last-audit")).map_err(Failed::into_storage)? {
                Some(last) => read_row(&rows, &key::audit(last)).map_err(Failed::into_storage)?,
                None => None,
            }
        };
        self.shown().await?;
        Ok(found)
    }
}

impl SledStore {
    fn now_ms(&self) -> [u8; 8] {
        key::ms(self.clock.now())
    }

    fn watched_rows(&self, watch: AttentionKind, limit: usize) -> Result<Vec<DocumentRequest>, Failed> {
        let rows = self.store.records();
        let now = self.now_ms();
        let (kind, end) = match watch {
            AttentionKind::Rejected => (key::WATCH_REJECTED, None),
            AttentionKind::PurgedBefore(at) => (key::WATCH_PURGE, Some(key::ms(at))),
            AttentionKind::ExpiringBefore(at) => (key::WATCH_EXPIRY, Some(key::ms(at))),
        };
        let prefix = [key::WATCH, kind];
        let found = match end {
            None => rows.scan_prefix(&prefix, None, limit)?,
            Some(end) => {
                let (from, to) = ([&prefix[..], &now].concat(), [&prefix[..], &end].concat());
                rows.range(Bound::Excluded(&from), Bound::Excluded(&to), limit)?
            }
        };
        let mut requests = Vec::with_capacity(found.len());
        for (k, _) in found {
            let id = k.get(10..26).and_then(|b| b.try_into().ok()).map(RequestId);
            let id = id.ok_or(Failed::Storage(StorageError::Corrupt(Cause::new("an entry of a watch list"))))?;
            requests.extend(load(&rows, id)?);
        }
        Ok(requests)
    }
}

/// Puts a waiting dispatch at the end of the queue of its ordering key. `queued`: the keys that got one in this very batch, which `rows` does not show yet.
fn queue(
    rows: &Rows<'_>,
    batch: &mut Batch,
    dispatch: &Dispatch,
    queued: &mut BTreeSet<Vec<u8>>,
    now: OffsetDateTime,
) -> Result<(), Failed> {
    let key = key::ordering(&dispatch.channel.to_string(), &dispatch.ordering_key);
    if queued.insert(key.clone()) && rows.scan_prefix(&key, None, 1)?.is_empty() {
        let due = match dispatch.progress {
            Progress::Waiting(at) => at.max(now),
            _ => now,
        };
        batch.put(key::key(key::DISPATCH_DUE, &[&key::ms(due), &dispatch.id.0]), Vec::new());
    }
    batch.put(place_in_queue(dispatch), Vec::new());
    batch.put(key::dispatch(dispatch.id), dispatch.encode());
    batch.put(
        key::key(key::DISPATCH_LOG, &[&key::newest_first(dispatch.created_at), &dispatch.id.0]),
        Vec::new(),
    );
    if let Some(request) = dispatch.request {
        let place = key::newest_first(dispatch.created_at);
        batch.put(key::key(key::DISPATCH_OF, &[&request.0, &place, &dispatch.id.0]), Vec::new());
    }
    Ok(())
}

fn place_in_queue(dispatch: &Dispatch) -> Vec<u8> {
    let mut place = key::ordering(&dispatch.channel.to_string(), &dispatch.ordering_key);
    place.extend_from_slice(&dispatch.order.to_be_bytes());
    place.extend_from_slice(&dispatch.id.0);
    place
}

/// Writes how a try ended; with the dispatch's end the next one of its ordering key becomes due.
fn end(
    rows: &Rows<'_>,
    batch: &mut Batch,
    mut dispatch: Dispatch,
    outcome: &Outcome,
    note: String,
    now: OffsetDateTime,
) -> Result<(), Failed> {
    let id = dispatch.id;
    let own = place_in_queue(&dispatch);
    let key = key::ordering(&dispatch.channel.to_string(), &dispatch.ordering_key);
    let waiting = rows.scan_prefix(&key, None, 2)?;
    let first = waiting.first().is_some_and(|(k, _)| *k == own);
    if let Progress::Waiting(due) = dispatch.progress {
        batch.remove(key::key(key::DISPATCH_DUE, &[&key::ms(due), &id.0]));
    }
    dispatch.end(outcome, note, now);
    match dispatch.progress {
        Progress::Waiting(at) => {
            batch.put(key::key(key::DISPATCH_DUE, &[&key::ms(at), &id.0]), Vec::new());
        }
        _ => {
            batch.remove(own);
            batch.put(key::key(key::DISPATCH_KEPT, &[&key::ms(now + KEPT), &id.0]), Vec::new());
            if let Some(next) = waiting.get(1).filter(|_| first).and_then(|(k, _)| dispatch_id(k)) {
                let due = match read_row::<Dispatch>(rows, &key::dispatch(next))?.map(|d| d.progress) {
                    Some(Progress::Waiting(at)) => at.max(now),
                    _ => now,
                };
                batch.put(key::key(key::DISPATCH_DUE, &[&key::ms(due), &next.0]), Vec::new());
            }
        }
    }
    batch.put(key::dispatch(id), dispatch.encode());
    drop_ended(rows, batch, now)
}

/// A few of those that the log has kept long enough.
fn drop_ended(rows: &Rows<'_>, batch: &mut Batch, now: OffsetDateTime) -> Result<(), Failed> {
    for (kept, _) in rows.scan_prefix(&[key::DISPATCH_KEPT], None, DROPPED_AT_ONCE)? {
        if kept[1..9] > key::ms(now)[..] {
            break;
        }
        batch.remove(kept.clone());
        let Some(id) = dispatch_id(&kept) else { continue };
        let Some(old) = read_row::<Dispatch>(rows, &key::dispatch(id))? else {
            continue;
        };
        let place = key::newest_first(old.created_at);
        batch.remove(key::dispatch(id));
        batch.remove(key::key(key::DISPATCH_LOG, &[&place, &id.0]));
        if let Some(request) = old.request {
            batch.remove(key::key(key::DISPATCH_OF, &[&request.0, &place, &id.0]));
        }
    }
    Ok(())
}

/// Every index entry of a dispatch ends with its id.
fn dispatch_id(k: &[u8]) -> Option<DispatchId> {
    k.len().checked_sub(16).and_then(|at| k[at..].try_into().ok()).map(DispatchId)
}

fn first_due(rows: &Rows<'_>) -> Result<Option<([u8; 8], DispatchId)>, Failed> {
    let first = rows.scan_prefix(&[key::DISPATCH_DUE], None, 1)?;
    Ok(first
        .first()
        .and_then(|(k, _)| Some((k.get(1..9)?.try_into().ok()?, dispatch_id(k)?))))
}

fn views_of(rows: &Rows<'_>, agent: AgentId) -> Result<Vec<SavedView>, Failed> {
    Ok(read_row(rows, &key::saved_views(agent))?.unwrap_or_default())
}
