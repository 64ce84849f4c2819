//! The embedded backend: one sled database owned by [`durable::DurableSled`], which makes it trustworthy.
//!
//! A transition is decided under the store's one lock for decisions, written as one batch {row, index difference, audit entries}, and answered after its sync.
//! Indexes are derived from the row by [`super::key::indexes`] alone, so they cannot contradict it.

mod backend;
pub(crate) mod ballast;
mod clock_rows;
mod directory;
mod due;
pub(crate) mod durable;
pub(crate) mod error;
pub(crate) mod fsync;
mod group;
mod leftovers;
mod lists;
pub(crate) mod mark;
mod outbox;
mod receipts;
pub(crate) mod records;
mod recovery;
mod rows;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::chain::Cause;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::document::ProviderName;
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::outcome::Outcome;
use crate::domain::receipt::{DeletionReceipt, Erasure, ReceiptSigner, SignedReceipt};
use crate::domain::request::{DocumentRequest, RequestState};
use crate::domain::token::HashedToken;
use crate::domain::transition::{self, IntakeStep, Transition, WorkerStep};
use crate::failpoint::{self, Failpoint};

use super::change_log::StateChange;
use super::clock::{self, GuardedClock, Standing, to_ms};
use super::probe::Probe;
use super::record::{Record, Unreadable};
use super::requests::{CLAIM_LIFE, SIGHT_LIFE};
use super::seal::{Seal, Sealed};
use super::{Claim, Claimed, Cursor, Filter, Page, RequestStore, StorageError, WorkQueues, key};
use due::Queue;
use durable::{DurableSled, Metrics, Options, Seq};
use error::StoreError;
use mark::Mark;
use receipts::drop_old_receipts;
use records::{Batch, Rows};
use rows::{append, count, drop_old, number, outcome_count_key, seen_claim, state_count_key, stored_count, write_change, write_claim};

/// What the data folder looks like. 2: sealed chunks in files of their own beside the records. 3: an intake says of what kind it is; no form is noted before its
/// first part is stored. 4: what is due stands in one queue for each provider.
const LAYOUT: &[u8] = b"6";

pub struct SledStore {
    store: DurableSled,
    seal: Arc<dyn Seal>,
    clock: GuardedClock,
    /// The last decision: what readers wait for.
    decided: AtomicU64,
    clock_written: AtomicI64,
    base_written: Mutex<Vec<u8>>,
    probe: Probe,
}

impl SledStore {
    /// Opens the store and gives back the leases of the process before: it is gone, since the lock is ours. With a mark in `options`, a store that is not at it is
    /// refused before any row is written.
    pub fn open(dir: &Path, options: Options, source: clock::Source, seal: Arc<dyn Seal>) -> Result<Self, StoreError> {
        let store = DurableSled::open(dir, options)?;
        if let Some(file) = store.mark() {
            match error::MarkStanding::of(&store.records(), &file.reread()?)? {
                error::MarkStanding::Current => file.begin(Mark::of(&store.records())?),
                missing => return Err(StoreError::Behind(missing)),
            }
        }
        let seen = clock_rows::stored_floor(&store)?;
        let base = store.records().get(&key::meta(clock_rows::CLOCK_BASE))?;
        let this = Self {
            store,
            seal,
            clock: GuardedClock::new(source, seen, base.as_deref()),
            decided: AtomicU64::new(0),
            clock_written: AtomicI64::new(0),
            base_written: Mutex::new(base.unwrap_or_default()),
            probe: Probe::default(),
        };
        // A new store holds nothing that a clock could destroy, and may be made before the machine's time is right.
        if !this.check_version()? {
            this.note_base()?;
        }
        this.end_leases()?;
        Ok(this)
    }

    pub fn metrics(&self) -> Metrics {
        self.store.metrics()
    }

    pub fn store(&self) -> &DurableSled {
        &self.store
    }

    /// A number or text that belongs to this store, such as the uuid of its slots file.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.records().get(&key::meta(name))
    }

    pub fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(key::meta(name), value);
        let seq = self.store.apply(batch)?;
        self.store.settled_blocking(seq)
    }

    /// Whether the store is new.
    fn check_version(&self) -> Result<bool, StoreError> {
        match self.meta("layout")? {
            None => self.set_meta("layout", LAYOUT).map(|()| true),
            Some(version) if version == LAYOUT => Ok(false),
            Some(version) if [&b"1"[..], b"2", b"3", b"4", b"5"].contains(&version.as_slice()) => Err(StoreError::Older),
            Some(version) => Err(StoreError::Corrupt(
                format!(
                    "it was written by a later nightdrop (layout {}); use that version or restore a backup",
                    String::from_utf8_lossy(&version)
                )
                .into(),
            )),
        }
    }

    fn end_leases(&self) -> Result<(), StoreError> {
        loop {
            let leased = self.store.records().scan_prefix(&[key::LEASED], None, 100)?;
            if leased.is_empty() {
                return Ok(());
            }
            let ids: Vec<RequestId> = leased.iter().filter_map(|(k, _)| k[1..].try_into().ok().map(RequestId)).collect();
            let result: Result<_, Failed> = self.store.decide(|rows| {
                let mut batch = Batch::new();
                // A full disk can only be emptied by a portal that starts on it.
                batch.frees_space();
                for (marker, _) in &leased {
                    batch.remove(marker.clone());
                }
                for id in &ids {
                    let Some(before) = load(rows, *id)? else { continue };
                    let mut after = before.clone();
                    after.lease = None;
                    after.cleanup.until = None;
                    write_change(rows, &mut batch, Some(&before), &after)?;
                }
                Ok((batch, ()))
            });
            let ((), seq) = result.map_err(Failed::into_store)?;
            self.store.settled_blocking(seq)?;
        }
    }

    /// Decides, waits for the sync, answers.
    async fn decide<T>(&self, decide: impl FnOnce(&Rows<'_>, OffsetDateTime) -> Result<(Batch, T), Failed>) -> Result<T, StorageError> {
        self.decide_passing(None, decide).await
    }

    /// `point`: where a test may end the process, between the decision and its sync.
    async fn decide_passing<T>(
        &self,
        point: Option<Failpoint>,
        decide: impl FnOnce(&Rows<'_>, OffsetDateTime) -> Result<(Batch, T), Failed>,
    ) -> Result<T, StorageError> {
        let now = self.clock.now();
        let (answer, seq) = self
            .store
            .decide(|rows| {
                let (mut batch, answer) = decide(rows, now)?;
                self.note_clock(&mut batch, now);
                Ok::<_, Failed>((batch, answer))
            })
            .map_err(Failed::into_storage)?;
        if let Some(point) = point {
            failpoint::pass(point);
        }
        self.decided.fetch_max(seq.0, Ordering::SeqCst);
        self.store.settled(seq).await.map_err(map_store_error)?;
        Ok(answer)
    }

    /// What a reader saw in these rows is durable once this returns. While others upload, a sync takes as long as their bytes: a page must not wait
    /// for it unless its own rows do.
    async fn shown_rows(&self, keys: &[Vec<u8>]) -> Result<(), StorageError> {
        match self.store.unsettled(keys.iter().map(Vec::as_slice)) {
            Ok(false) => Ok(()),
            Ok(true) => self.shown().await,
            Err(error) => Err(map_store_error(error)),
        }
    }

    /// What a reader saw is durable once this returns.
    async fn shown(&self) -> Result<(), StorageError> {
        self.store
            .settled(Seq(self.decided.load(Ordering::SeqCst)))
            .await
            .map_err(map_store_error)
    }

    /// Applies a transition inside a decision. `None`: no such request.
    fn change(
        rows: &Rows<'_>,
        batch: &mut Batch,
        id: RequestId,
        transition: Transition,
        now: OffsetDateTime,
    ) -> Result<(DocumentRequest, StateChange), Failed> {
        let before = load(rows, id)?.ok_or(Failed::Storage(StorageError::NotFound))?;
        // On a full disk nothing new is taken in, and everything that leads to a purge goes on: an answer that a provider gave must find its place.
        if !transition.needs_space() {
            batch.frees_space();
        }
        let (after, events) = transition::apply(before.clone(), transition, now).map_err(|r| Failed::Storage(StorageError::Refused(r)))?;
        write_change(rows, batch, Some(&before), &after)?;
        append(rows, batch, events)?;
        let change = StateChange::new(Some(before.state(now)), after.state(now), &after);
        Ok((after, change))
    }
}

#[async_trait]
impl RequestStore for SledStore {
    fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    fn clock(&self) -> Standing {
        self.clock.standing()
    }

    fn accept_clock(&self) {
        self.clock.accept();
    }

    async fn note_time(&self, at: OffsetDateTime) -> Result<(), StorageError> {
        self.note_instant(to_ms(at)).await
    }

    async fn issue(&self, request: DocumentRequest, claim: Option<Claim>, event: AuditEvent) -> Result<Claimed, StorageError> {
        self.decide(|rows, now| {
            if let Some(seen) = claim.as_ref().map(|c| seen_claim(rows, c)).transpose()?.flatten() {
                return Ok((Batch::new(), (seen, None)));
            }
            if rows.get(&key::request(request.id))?.is_some() || rows.get(&key::link(&request.link.hashed))?.is_some() {
                return Err(Failed::Storage(StorageError::Exists("a request with this id or link")));
            }
            let mut batch = Batch::new();
            write_change(rows, &mut batch, None, &request)?;
            append(rows, &mut batch, vec![event])?;
            if let Some(claim) = &claim {
                write_claim(rows, &mut batch, claim, request.id.0, now)?;
            }
            let change = StateChange::new(None, request.state(now), &request);
            Ok((batch, (Claimed::Fresh(Box::new(request)), Some(change))))
        })
        .await
        .map(|(claimed, change)| {
            change.iter().for_each(StateChange::log);
            claimed
        })
    }

    async fn transition(&self, id: RequestId, transition: Transition) -> Result<DocumentRequest, StorageError> {
        let point = match &transition {
            Transition::Intake(IntakeStep::StorePart(_)) => Some(Failpoint::PartDecided),
            Transition::Worker {
                step: WorkerStep::Delivered { .. },
                ..
            } => Some(Failpoint::ReceiptDecided),
            _ => None,
        };
        self.decide_passing(point, |rows, now| {
            let mut batch = Batch::new();
            let changed = Self::change(rows, &mut batch, id, transition, now)?;
            Ok((batch, changed))
        })
        .await
        .map(|(after, change)| {
            change.log();
            after
        })
    }

    async fn transition_once(&self, id: RequestId, transition: Transition, claim: Claim) -> Result<Claimed, StorageError> {
        self.decide(|rows, now| {
            if let Some(seen) = seen_claim(rows, &claim)? {
                return Ok((Batch::new(), (seen, None)));
            }
            let mut batch = Batch::new();
            let (after, change) = Self::change(rows, &mut batch, id, transition, now)?;
            write_claim(rows, &mut batch, &claim, id.0, now)?;
            Ok((batch, (Claimed::Fresh(Box::new(after)), Some(change))))
        })
        .await
        .map(|(claimed, change)| {
            change.iter().for_each(StateChange::log);
            claimed
        })
    }

    async fn claimed(&self, claim: &Claim) -> Result<Option<Claimed>, StorageError> {
        let seen = seen_claim(&self.store.records(), claim).map_err(Failed::into_storage)?;
        self.shown().await?;
        Ok(seen)
    }

    async fn request(&self, id: RequestId) -> Result<Option<DocumentRequest>, StorageError> {
        let request = load(&self.store.records(), id).map_err(Failed::into_storage)?;
        self.shown_rows(&[key::request(id)]).await?;
        Ok(request)
    }

    async fn by_link(&self, link: &HashedToken) -> Result<Option<(DocumentRequest, u32)>, StorageError> {
        let rows = self.store.records();
        let link_row = key::link(link);
        let Some(row) = rows.get(&link_row).map_err(map_store_error)? else {
            return Ok(None);
        };
        let Some(id) = row.get(..16).and_then(|b| b.try_into().ok()).map(RequestId) else {
            return Ok(None);
        };
        let Some(generation) = row.get(16..20).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes) else {
            return Ok(None);
        };
        let found = load(&rows, id).map_err(Failed::into_storage)?;
        self.shown_rows(&[link_row, key::request(id)]).await?;
        Ok(found.map(|request| (request, generation)))
    }

    async fn by_document(&self, document: DocumentId) -> Result<Option<RequestId>, StorageError> {
        // Decided, not only settled: the sweep must see an upload that is just being noted.
        self.decide(|rows, _| Ok((Batch::new(), rows.get(&key::document(document))?)))
            .await
            .map(owner)
    }

    async fn by_reference(&self, provider: &ProviderName, reference: &str) -> Result<Option<RequestId>, StorageError> {
        if reference.len() > 512 {
            return Ok(None);
        }
        Ok(owner(
            self.store
                .records()
                .get(&key::reference(provider, reference))
                .map_err(map_store_error)?,
        ))
    }

    async fn live_documents(&self) -> Result<Vec<(DocumentId, RequestId)>, StorageError> {
        let rows = self
            .store
            .records()
            .scan_prefix(&[key::DOCUMENT], None, usize::MAX)
            .map_err(map_store_error)?;
        Ok(rows
            .into_iter()
            .filter_map(|(k, v)| Some((DocumentId(k[1..].try_into().ok()?), owner(Some(v))?)))
            .collect())
    }

    async fn list(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Page, StorageError> {
        let page = self.page(filter, after, limit).map_err(Failed::into_storage)?;
        self.shown().await?;
        Ok(page)
    }

    async fn claim_due(&self, queues: WorkQueues<'_>, until: OffsetDateTime) -> Result<Option<DocumentRequest>, StorageError> {
        self.claim(Queue::Work(queues), Transition::Lease { until }).await
    }

    async fn next_due(&self, queues: WorkQueues<'_>) -> Result<Option<OffsetDateTime>, StorageError> {
        self.first(Queue::Work(queues)).map_err(Failed::into_storage)
    }

    async fn claim_cleanup(&self, until: OffsetDateTime) -> Result<Option<DocumentRequest>, StorageError> {
        self.claim(Queue::Cleanup, Transition::Intake(IntakeStep::LeaseCleanup { until }))
            .await
    }

    async fn next_cleanup(&self) -> Result<Option<OffsetDateTime>, StorageError> {
        self.first(Queue::Cleanup).map_err(Failed::into_storage)
    }

    async fn finish_purge(
        &self,
        id: RequestId,
        fence: u64,
        erasure: Erasure,
        sign: ReceiptSigner<'_>,
    ) -> Result<SignedReceipt, StorageError> {
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            batch.frees_space();
            let mut last = number(rows, &key::meta("last-receipt"))?.unwrap_or(0);
            // A count that somebody set back must not make a receipt that exists be written over.
            while rows.get(&key::receipt(last + 1))?.is_some() {
                last += 1;
            }
            let previous = match rows.get(&key::receipt(last))?.map(|row| SignedReceipt::decode(&row)) {
                Some(Ok(before)) => before.receipt.hash,
                // A purge that is due goes on, whatever somebody did to the receipt before: its own signature tells of that.
                Some(Err(_)) | None => DeletionReceipt::genesis(),
            };
            let number = last + 1;
            let receipt = DeletionReceipt::chain(number, previous, erasure);
            let text = sign(&receipt);
            let receipt = SignedReceipt { receipt, text };
            let step = WorkerStep::FinishPurge { receipt: number };
            let (_, change) = Self::change(rows, &mut batch, id, Transition::Worker { fence, step }, now)?;
            batch.put(key::receipt(number), receipt.encode());
            batch.put(key::meta("last-receipt"), number.to_be_bytes());
            Ok((batch, (receipt, change)))
        })
        .await
        .map(|(receipt, change)| {
            change.log();
            receipt
        })
    }

    async fn deletion_receipt(&self, number: u64) -> Result<Option<SignedReceipt>, StorageError> {
        let receipt = read_row(&self.store.records(), &key::receipt(number)).map_err(Failed::into_storage)?;
        self.shown().await?;
        Ok(receipt)
    }

    async fn deletion_receipts(&self, after: u64, limit: usize) -> Result<Vec<SignedReceipt>, StorageError> {
        let found = self.receipts(after, limit).map_err(Failed::into_storage)?;
        self.shown().await?;
        Ok(found)
    }

    async fn drop_receipts(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StorageError> {
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            let dropped = drop_old_receipts(rows, &mut batch, before, limit, now)?;
            Ok((batch, dropped))
        })
        .await
    }

    async fn forget(&self, id: RequestId, fence: u64) -> Result<(), StorageError> {
        self.decide(|rows, now| {
            let before = load(rows, id)?.ok_or(Failed::Storage(StorageError::NotFound))?;
            if before.lease.is_none_or(|l| l.fence != fence) {
                return Err(Failed::Storage(StorageError::Refused(transition::Refusal::StaleLease)));
            }
            // Given up since: a row that owns something is not forgotten before that is destroyed.
            if !before.intakes.is_empty() {
                return Err(Failed::Storage(StorageError::Refused(transition::Refusal::Superseded)));
            }
            let mut batch = Batch::new();
            batch.frees_space();
            batch.remove(key::request(id));
            for (index, _) in key::indexes(&before).into_iter().filter(|(k, _)| k[0] != key::LINK) {
                batch.remove(index);
            }
            count(rows, &mut batch, Some(&before), None)?;
            append(
                rows,
                &mut batch,
                vec![AuditEvent::new(now, crate::domain::agent::Actor::Portal, AuditAction::RequestForgotten).on(id)],
            )?;
            // The timeline goes with the row, this last line's place in it too; the audit log itself stays whole.
            let last = number(rows, &key::meta("last-audit"))?.unwrap_or(0) + 1;
            batch.remove(key::timeline(id, last));
            for (entry, _) in rows.scan_prefix(&key::key(key::TIMELINE, &[&id.0]), None, usize::MAX)? {
                batch.remove(entry);
            }
            Ok((batch, ()))
        })
        .await
    }

    async fn counts(&self) -> Result<Vec<(RequestState, u64)>, StorageError> {
        let rows = self.store.records();
        RequestState::ALL
            .into_iter()
            .map(|state| Ok((state, stored_count(&rows, &state_count_key(state))?)))
            .collect::<Result<_, Failed>>()
            .map_err(Failed::into_storage)
    }

    async fn outcomes(&self) -> Result<Vec<(Outcome, u64)>, StorageError> {
        let rows = self.store.records();
        let counted = Outcome::ALL
            .iter()
            .map(|outcome| Ok((*outcome, stored_count(&rows, &outcome_count_key(*outcome))?)));
        counted.collect::<Result<_, Failed>>().map_err(Failed::into_storage)
    }

    async fn claim_callback_id(&self, callback: [u8; 32]) -> Result<bool, StorageError> {
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            if rows.get(&key::key(key::SIGHT, &[&callback]))?.is_some() {
                return Ok((batch, false));
            }
            batch.put(key::key(key::SIGHT, &[&callback]), key::ms(now).to_vec());
            batch.put(
                key::key(key::CLAIM_BY_TIME, &[&key::ms(now + SIGHT_LIFE), &[key::SIGHT], &callback]),
                Vec::new(),
            );
            drop_old(rows, &mut batch, now)?;
            Ok((batch, true))
        })
        .await
    }
}

fn owner(row: Option<Vec<u8>>) -> Option<RequestId> {
    row?.try_into().ok().map(RequestId)
}

fn load(rows: &Rows<'_>, id: RequestId) -> Result<Option<DocumentRequest>, Failed> {
    read_row(rows, &key::request(id))
}

/// A row that grants rights; there is no other way to read one.
fn read_sealed<R: Sealed>(seal: &dyn Seal, rows: &Rows<'_>, k: &[u8]) -> Result<Option<R>, Failed> {
    rows.get(k)?.map(|bytes| seal.open(k, &bytes).map_err(Failed::Storage)).transpose()
}

fn read_row<R: Record>(rows: &Rows<'_>, k: &[u8]) -> Result<Option<R>, Failed> {
    Ok(rows.get(k)?.map(|bytes| R::decode(&bytes)).transpose()?)
}

/// Why a decision was not made.
#[derive(Debug)]
enum Failed {
    Storage(StorageError),
    Store(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Unreadable> for Failed {
    fn from(error: Unreadable) -> Self {
        Self::Storage(StorageError::Corrupt(Cause::new(error)))
    }
}

impl Failed {
    fn into_storage(self) -> StorageError {
        match self {
            Self::Storage(error) => error,
            Self::Store(error) => map_store_error(error),
        }
    }

    fn into_store(self) -> StoreError {
        match self {
            Self::Storage(error) => StoreError::Corrupt(Cause::new(error)),
            Self::Store(error) => error,
        }
    }
}

/// What a caller can do about an error of the embedded store.
fn map_store_error(error: StoreError) -> StorageError {
    match error {
        StoreError::Full { .. } => StorageError::Full,
        StoreError::Held | StoreError::Io(_) => StorageError::Busy(Cause::new(error)),
        StoreError::Spilled | StoreError::Unknown(_) | StoreError::NotDurable(_) => StorageError::Indeterminate(Cause::new(error)),
        StoreError::Size { .. } | StoreError::Corrupt(_) | StoreError::Older | StoreError::Behind(_) | StoreError::Foreign => {
            StorageError::Corrupt(Cause::new(error))
        }
    }
}
