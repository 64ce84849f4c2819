//! Requests and their transitions: the row is locked, the transition applied here, and row, columns and audit entries are written in one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::document::ProviderName;
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::outcome::Outcome;
use crate::domain::receipt::{DeletionReceipt, Erasure, ReceiptSigner, SignedReceipt};
use crate::domain::request::{DocumentRequest, RequestState};
use crate::domain::token::HashedToken;
use crate::domain::transition::{self, IntakeStep, Refusal, Transition, WorkerStep};
use crate::failpoint::{self, Failpoint};
use crate::storage::change_log::StateChange;
use crate::storage::clock::{Standing, to_ms};
use crate::storage::record::Record;
use crate::storage::requests::SIGHT_LIFE;
use crate::storage::{Claim, Claimed, Cursor, Filter, Page, RequestStore, StorageError, WorkQueues, key};

use super::columns::{self, Seen, append, change, change_locked, decode, delete_request, holding, id_of, locked, write_request};
use super::due::DueQueue;
use super::error::Failed;
use super::tx::Tx;
use super::{Core, PostgresStore, receipts};

async fn load(tx: &Tx, id: RequestId) -> Result<Option<DocumentRequest>, Failed> {
    let row = tx.row("SELECT row FROM request WHERE id = $1", &[&id.0.as_slice()]).await?;
    row.map(|row| decode(&row, 0)).transpose()
}

async fn replayed(tx: &Tx, seen: Seen) -> Result<Claimed, Failed> {
    Ok(match seen {
        Seen::Mismatch => Claimed::Mismatch,
        Seen::Made(id) => match load(tx, RequestId(id)).await? {
            Some(request) => Claimed::Replayed(Box::new(request)),
            None => Claimed::Mismatch,
        },
    })
}

async fn issue(
    core: &Core,
    tx: &Tx,
    request: DocumentRequest,
    claim: Option<&Claim>,
    event: AuditEvent,
) -> Result<Changed<Claimed>, Failed> {
    if let Some(claim) = claim
        && let Some(seen) = columns::claim(tx, claim, request.id.0, to_ms(core.clock.now())).await?
    {
        return Ok((replayed(tx, seen).await?, None));
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM request WHERE id = $1) OR EXISTS (SELECT 1 FROM link WHERE hashed = $2)";
    let exists: bool = tx
        .one(sql, &[&request.id.0.as_slice(), &request.link.hashed.0.as_slice()])
        .await?
        .get(0);
    if exists {
        return Err(StorageError::Exists("a request with this id or link").into());
    }
    write_request(tx, None, &request).await?;
    append(tx, vec![event]).await?;
    let change = StateChange::new(None, request.state(core.clock.now()), &request);
    Ok((Claimed::Fresh(Box::new(request)), Some(change)))
}

async fn transition_once(core: &Core, tx: &Tx, id: RequestId, transition: Transition, claim: &Claim) -> Result<Changed<Claimed>, Failed> {
    if let Some(seen) = columns::claim(tx, claim, id.0, to_ms(core.clock.now())).await? {
        return Ok((replayed(tx, seen).await?, None));
    }
    let (after, change) = change(core, tx, id, transition).await?;
    Ok((Claimed::Fresh(Box::new(after)), Some(change)))
}

/// What a transaction answers, and what is logged of it once it is committed.
type Changed<T> = (T, Option<StateChange>);

/// For what is committed.
fn logged<T>((answer, change): Changed<T>) -> T {
    change.iter().for_each(StateChange::log);
    answer
}

/// The owner of a document, also one that is just being written down: an insert of the same waits for it.
async fn owner(tx: &Tx, document: DocumentId) -> Result<Option<RequestId>, Failed> {
    let id = document.0.as_slice();
    let nobody: &[u8] = &[];
    let insert = "INSERT INTO holding (document, request) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if tx.run(insert, &[&id, &nobody]).await? == 1 {
        tx.run("DELETE FROM holding WHERE document = $1", &[&id]).await?;
        return Ok(None);
    }
    let row = tx.row("SELECT request FROM holding WHERE document = $1", &[&id]).await?;
    row.map(|row| id_of(&row, 0).map(RequestId)).transpose()
}

/// A receipt to be signed, and where the text goes.
type ToSign = (DeletionReceipt, oneshot::Sender<String>);

async fn finish_purge(
    core: &Core,
    tx: &Tx,
    id: RequestId,
    fence: u64,
    erasure: Erasure,
    sign: &mpsc::Sender<ToSign>,
) -> Result<Changed<SignedReceipt>, Failed> {
    let before = locked(tx, id).await?.ok_or(StorageError::NotFound)?;
    // A count that somebody set back must not make a receipt that exists be written over.
    tx.one("SELECT number FROM chain WHERE name = 'receipt' FOR UPDATE", &[]).await?;
    let sql = "SELECT number, (SELECT row FROM receipt WHERE number = last.number) FROM \
        (SELECT greatest((SELECT number FROM chain WHERE name = 'receipt'), coalesce(max(number), 0)) AS number FROM receipt) last";
    let last = tx.one(sql, &[]).await?;
    let previous = match last.get::<_, Option<&[u8]>>(1).map(SignedReceipt::decode) {
        Some(Ok(before)) => before.receipt.hash,
        // A purge that is due goes on, whatever somebody did to the receipt before: its own signature tells of that.
        Some(Err(_)) | None => DeletionReceipt::genesis(),
    };
    let stored_number = last.get::<_, i64>(0) + 1;
    let number = u64::try_from(stored_number).unwrap_or(u64::MAX);
    let receipt = DeletionReceipt::chain(number, previous, erasure);
    let step = WorkerStep::FinishPurge { receipt: number };
    // Refused before anything is signed.
    let step = Transition::Worker { fence, step };
    transition::apply(before.clone(), step.clone(), core.clock.now()).map_err(StorageError::Refused)?;
    let (answer, signed) = oneshot::channel();
    let gone = || Failed::Storage(StorageError::Busy("whoever signs the receipt is gone".into()));
    sign.send((receipt.clone(), answer)).await.map_err(|_| gone())?;
    let text = signed.await.map_err(|_| gone())?;
    let receipt = SignedReceipt { receipt, text };
    let sql = "WITH moved AS (UPDATE chain SET number = $1 WHERE name = 'receipt') INSERT INTO receipt (number, row) VALUES ($1, $2)";
    tx.run(sql, &[&stored_number, &receipt.encode()]).await?;
    let (_, change) = change_locked(core, tx, &before, step).await?;
    Ok((receipt, Some(change)))
}

async fn forget(core: &Core, tx: &Tx, id: RequestId, fence: u64) -> Result<(), Failed> {
    let before = locked(tx, id).await?.ok_or(StorageError::NotFound)?;
    if before.lease.is_none_or(|lease| lease.fence != fence) {
        return Err(StorageError::Refused(Refusal::StaleLease).into());
    }
    // Given up since: a row that owns something is not forgotten before that is destroyed.
    if !before.intakes.is_empty() {
        return Err(StorageError::Refused(Refusal::Superseded).into());
    }
    delete_request(tx, &before).await?;
    let event = AuditEvent::new(core.clock.now(), Actor::Portal, AuditAction::RequestForgotten).on(id);
    append(tx, vec![event]).await?;
    // The timeline goes with the row; the log itself stays whole.
    tx.run("UPDATE audit SET timeline = NULL WHERE timeline = $1", &[&id.0.as_slice()])
        .await?;
    Ok(())
}

async fn first_sight(core: &Core, tx: &Tx, callback: [u8; 32]) -> Result<bool, Failed> {
    let now = core.clock.now();
    let sql = "INSERT INTO sight (key, until) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let first = tx.run(sql, &[&callback.as_slice(), &to_ms(now + SIGHT_LIFE)]).await? == 1;
    if first {
        columns::drop_old(tx, "sight", to_ms(now)).await?;
    }
    Ok(first)
}

/// How many rows have each value of a column.
async fn counted(tx: &Tx, column: &str) -> Result<Vec<(i16, u64)>, Failed> {
    let rows = tx
        .rows(&format!("SELECT {column}, count(*) FROM request GROUP BY {column}"), &[])
        .await?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0)))
        .collect())
}

fn count_of(counted: &[(i16, u64)], bucket: u8) -> u64 {
    counted
        .iter()
        .find(|(of, _)| *of == i16::from(bucket))
        .map_or(0, |(_, count)| *count)
}

#[async_trait]
impl RequestStore for PostgresStore {
    fn now(&self) -> OffsetDateTime {
        self.core.clock.now()
    }

    fn clock(&self) -> Standing {
        self.core.clock.standing()
    }

    fn accept_clock(&self) {
        self.core.clock.accept();
    }

    async fn note_time(&self, at: OffsetDateTime) -> Result<(), StorageError> {
        self.core.note_instant(to_ms(at)).await
    }

    async fn issue(&self, request: DocumentRequest, claim: Option<Claim>, event: AuditEvent) -> Result<Claimed, StorageError> {
        transaction!(self, |core, tx, request, claim, event| issue(
            &core,
            tx,
            request,
            claim.as_ref(),
            event
        )
        .await)
        .map(logged)
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
        transaction!(self, |core, tx, id, transition, point| {
            let (after, change) = change(&core, tx, id, transition).await?;
            if let Some(point) = point {
                failpoint::pass(point);
            }
            Ok((after, Some(change)))
        })
        .map(logged)
    }

    async fn transition_once(&self, id: RequestId, transition: Transition, claim: Claim) -> Result<Claimed, StorageError> {
        transaction!(self, |core, tx, id, transition, claim| transition_once(
            &core, tx, id, transition, &claim
        )
        .await)
        .map(logged)
    }

    async fn claimed(&self, claim: &Claim) -> Result<Option<Claimed>, StorageError> {
        query!(self, |tx, claim| {
            match columns::seen(tx, &claim).await? {
                Some(seen) => Ok(Some(replayed(tx, seen).await?)),
                None => Ok(None),
            }
        })
    }

    async fn request(&self, id: RequestId) -> Result<Option<DocumentRequest>, StorageError> {
        query!(self, |tx, id| load(tx, id).await)
    }

    async fn by_link(&self, link: &HashedToken) -> Result<Option<(DocumentRequest, u32)>, StorageError> {
        query!(self, |tx, link| {
            let sql = "SELECT request.row, link.generation FROM link JOIN request ON request.id = link.request WHERE hashed = $1";
            let row = tx.row(sql, &[&link.0.as_slice()]).await?;
            row.map(|row| Ok((decode(&row, 0)?, u32::try_from(row.get::<_, i64>(1)).unwrap_or(0))))
                .transpose()
        })
    }

    async fn by_document(&self, document: DocumentId) -> Result<Option<RequestId>, StorageError> {
        transaction!(self, |_core, tx, document| owner(tx, document).await)
    }

    async fn by_reference(&self, provider: &ProviderName, reference: &str) -> Result<Option<RequestId>, StorageError> {
        if reference.len() > columns::REFERENCE {
            return Ok(None);
        }
        let reference = reference.as_bytes().to_vec();
        query!(self, |tx, provider, reference| {
            let sql = "SELECT request FROM reference WHERE provider = $1 AND reference = $2 LIMIT 1";
            let row = tx.row(sql, &[&provider.as_str(), &reference]).await?;
            row.map(|row| id_of(&row, 0).map(RequestId)).transpose()
        })
    }

    async fn live_documents(&self) -> Result<Vec<(DocumentId, RequestId)>, StorageError> {
        query!(self, |tx| {
            let rows = tx.rows("SELECT document, request FROM holding ORDER BY document", &[]).await?;
            rows.iter().map(holding).collect()
        })
    }

    async fn list(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Page, StorageError> {
        let core = self.core.clone();
        query!(self, |tx, core, filter, after, limit| super::lists::page(
            &core, tx, &filter, after, limit
        )
        .await)
    }

    async fn claim_due(&self, queues: WorkQueues<'_>, until: OffsetDateTime) -> Result<Option<DocumentRequest>, StorageError> {
        self.claim(DueQueue::of(queues), Transition::Lease { until }).await
    }

    async fn next_due(&self, queues: WorkQueues<'_>) -> Result<Option<OffsetDateTime>, StorageError> {
        self.first(DueQueue::of(queues)).await
    }

    async fn claim_cleanup(&self, until: OffsetDateTime) -> Result<Option<DocumentRequest>, StorageError> {
        self.claim(DueQueue::Cleanup, Transition::Intake(IntakeStep::LeaseCleanup { until }))
            .await
    }

    async fn next_cleanup(&self) -> Result<Option<OffsetDateTime>, StorageError> {
        self.first(DueQueue::Cleanup).await
    }

    async fn finish_purge(
        &self,
        id: RequestId,
        fence: u64,
        erasure: Erasure,
        sign: ReceiptSigner<'_>,
    ) -> Result<SignedReceipt, StorageError> {
        let (to_sign, mut asked) = mpsc::channel::<ToSign>(1);
        let core: &Arc<Core> = &self.core;
        let work = core.engine.write({
            let core = core.clone();
            move |tx: &Tx| {
                let (core, erasure, to_sign) = (core.clone(), erasure.clone(), to_sign.clone());
                Box::pin(async move { finish_purge(&core, tx, id, fence, erasure, &to_sign).await })
            }
        });
        // The transaction is a task of its own, and the signer is this caller's.
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done.map(logged),
                Some((receipt, answer)) = asked.recv() => drop(answer.send(sign(&receipt))),
            }
        }
    }

    async fn deletion_receipt(&self, number: u64) -> Result<Option<SignedReceipt>, StorageError> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        query!(self, |tx, number| {
            let row = tx.row("SELECT row FROM receipt WHERE number = $1", &[&number]).await?;
            row.map(|row| decode(&row, 0)).transpose()
        })
    }

    async fn deletion_receipts(&self, after: u64, limit: usize) -> Result<Vec<SignedReceipt>, StorageError> {
        let (Ok(after), Ok(limit)) = (i64::try_from(after), i64::try_from(limit)) else {
            return Ok(Vec::new());
        };
        query!(self, |tx, after, limit| receipts::after(tx, after, limit).await)
    }

    async fn drop_receipts(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StorageError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        transaction!(self, |core, tx, before, limit| receipts::drop_old(&core, tx, before, limit).await)
    }

    async fn forget(&self, id: RequestId, fence: u64) -> Result<(), StorageError> {
        transaction!(self, |core, tx, id, fence| forget(&core, tx, id, fence).await)
    }

    async fn counts(&self) -> Result<Vec<(RequestState, u64)>, StorageError> {
        let counted = query!(self, |tx| counted(tx, "state").await)?;
        let of = |state| (state, count_of(&counted, key::bucket(state)));
        Ok(RequestState::ALL.into_iter().map(of).collect())
    }

    async fn outcomes(&self) -> Result<Vec<(Outcome, u64)>, StorageError> {
        let counted = query!(self, |tx| counted(tx, "outcome").await)?;
        let of = |outcome: &Outcome| (*outcome, count_of(&counted, key::outcome_bucket(*outcome)));
        Ok(Outcome::ALL.iter().map(of).collect())
    }

    async fn claim_callback_id(&self, callback: [u8; 32]) -> Result<bool, StorageError> {
        transaction!(self, |core, tx, callback| first_sight(&core, tx, callback).await)
    }
}
