//! Rows of requests and of the audit log: what a change of a request writes beside its row. Every column and every row of another table is derived from the request by the
//! functions that the embedded store's indexes are derived by, so that neither can contradict the row.

use tokio_postgres::Row;

use crate::domain::audit::{AuditEntry, AuditEvent, GENESIS};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::request::{DocumentRequest, WorkQueue};
use crate::domain::transition::{self, Transition};
use crate::storage::change_log::StateChange;
use crate::storage::clock::to_ms;
use crate::storage::key;
use crate::storage::record::Record;
use crate::storage::{StorageError, requests::CLAIM_LIFE};

use super::Core;
use super::error::Failed;
use super::tx::Tx;

const INSERT: &str = "INSERT INTO request (id, place, state, outcome, provider, creator, team, applicant, ends, due_portal, due_provider, cleanup, \
    watch, leased, row, assigned) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
const UPDATE: &str = "UPDATE request SET place = $2, state = $3, outcome = $4, provider = $5, creator = $6, team = $7, applicant = $8, ends = $9, \
    due_portal = $10, due_provider = $11, cleanup = $12, watch = $13, leased = $14, row = $15, assigned = $16 WHERE id = $1";

/// The longest reference of a provider that a request is found by.
pub(super) const REFERENCE: usize = 512;

/// What stands in tables of its own: many of a kind for one request.
struct Beside {
    terms: Vec<Vec<u8>>,
    documents: Vec<Vec<u8>>,
    references: Vec<Vec<u8>>,
    link: (Vec<u8>, i64),
}

impl Beside {
    fn of(request: &DocumentRequest) -> Self {
        let words = request.search_words.iter().map(key::word_prefix);
        let receipts = request
            .receipt_references()
            .map(|reference| key::receipt_reference_prefix(&reference));
        let mut terms: Vec<_> = words.chain(receipts).collect();
        terms.sort_unstable();
        terms.dedup();
        // A provider chose them: any text of any length. Longer ones are never looked for.
        let short = key::references(request).iter().filter(|reference| reference.len() <= REFERENCE);
        let mut references: Vec<_> = short.map(|reference| reference.as_bytes().to_vec()).collect();
        references.sort_unstable();
        references.dedup();
        Self {
            terms,
            documents: key::documents(request).map(|id| id.0.to_vec()).collect(),
            references,
            link: (request.link.hashed.0.to_vec(), i64::from(request.link.generation)),
        }
    }
}

/// When a request is due in the portal's own queue, and in its provider's.
fn due(request: &DocumentRequest) -> (Option<i64>, Option<i64>) {
    let (mut portal, mut provider) = (None, None);
    for (queue, at) in request.due() {
        match queue {
            WorkQueue::Portal => portal = Some(to_ms(at)),
            WorkQueue::Provider(_) => provider = Some(to_ms(at)),
        }
    }
    (portal, provider)
}

/// Writes a request that is new, or the difference to what it was.
pub(super) async fn write_request(tx: &Tx, before: Option<&DocumentRequest>, after: &DocumentRequest) -> Result<(), Failed> {
    let behind_letter = |key: Option<Vec<u8>>| key.map(|key| key[1..].to_vec());
    let (due_portal, due_provider) = due(after);
    let place = key::place(after);
    let statement = if before.is_some() { UPDATE } else { INSERT };
    tx.run(
        statement,
        &[
            &after.id.0.as_slice(),
            &place.as_slice(),
            &i16::from(key::bucket(after.resting_state())),
            &i16::from(key::outcome_bucket(after.resting_outcome())),
            &after.provider.as_str(),
            &after.created_by.to_string(),
            &after.team.as_ref().map(|team| team.as_str()),
            &after.applicant_index.as_slice(),
            &behind_letter(key::ends(after)),
            &due_portal,
            &due_provider,
            &after.cleanup_at().map(to_ms),
            &behind_letter(key::watches(after)),
            &key::is_leased(after),
            &after.encode(),
            &after.assigned.map(|agent| agent.0.to_vec()),
        ],
    )
    .await?;
    let old = before.map(Beside::of);
    let new = Beside::of(after);
    write_beside(tx, after, before, old.as_ref(), &new).await
}

async fn write_beside(
    tx: &Tx,
    after: &DocumentRequest,
    before: Option<&DocumentRequest>,
    old: Option<&Beside>,
    new: &Beside,
) -> Result<(), Failed> {
    let (id, place) = (after.id.0.as_slice(), key::place(after));
    let place = place.as_slice();
    let no_bytes: &Vec<Vec<u8>> = &Vec::new();
    let (gone, added) = difference(old.map_or(no_bytes, |old| &old.terms), &new.terms);
    if !gone.is_empty() {
        tx.run("DELETE FROM term WHERE term = ANY($1) AND place = $2", &[&gone, &place])
            .await?;
    }
    if !added.is_empty() {
        let sql = "INSERT INTO term (term, place, request) SELECT term, $2, $3 FROM unnest($1::bytea[]) AS term";
        tx.run(sql, &[&added, &place, &id]).await?;
    }
    let (gone, added) = difference(old.map_or(no_bytes, |old| &old.documents), &new.documents);
    if !gone.is_empty() {
        tx.run("DELETE FROM holding WHERE document = ANY($1)", &[&gone]).await?;
    }
    if !added.is_empty() {
        let sql = "INSERT INTO holding (document, request) SELECT document, $2 FROM unnest($1::bytea[]) AS document \
            ON CONFLICT (document) DO UPDATE SET request = excluded.request";
        tx.run(sql, &[&added, &id]).await?;
    }
    let (gone, added) = difference(old.map_or(no_bytes, |old| &old.references), &new.references);
    if let (false, Some(before)) = (gone.is_empty(), before) {
        let sql = "DELETE FROM reference WHERE provider = $1 AND reference = ANY($2) AND request = $3";
        tx.run(sql, &[&before.provider.as_str(), &gone, &id]).await?;
    }
    if !added.is_empty() {
        let sql = "INSERT INTO reference (provider, reference, request) SELECT $1, reference, $3 FROM unnest($2::bytea[]) AS reference \
            ON CONFLICT DO NOTHING";
        tx.run(sql, &[&after.provider.as_str(), &added, &id]).await?;
    }
    if old.is_none_or(|old| old.link != new.link) {
        let sql = "INSERT INTO link (hashed, request, generation) VALUES ($1, $2, $3) \
            ON CONFLICT (hashed) DO UPDATE SET request = excluded.request, generation = excluded.generation";
        tx.run(sql, &[&new.link.0, &id, &new.link.1]).await?;
    }
    Ok(())
}

/// What is gone, and what is new.
fn difference<T: PartialEq + Clone>(old: &[T], new: &[T]) -> (Vec<T>, Vec<T>) {
    let only = |of: &[T], not: &[T]| of.iter().filter(|one| !not.contains(one)).cloned().collect();
    (only(old, new), only(new, old))
}

/// Deletes a request with all that is found by it; its links stay, dead for ever.
pub(super) async fn delete_request(tx: &Tx, request: &DocumentRequest) -> Result<(), Failed> {
    let id = request.id.0.as_slice();
    let old = Beside::of(request);
    tx.run("DELETE FROM request WHERE id = $1", &[&id]).await?;
    let place = key::place(request);
    tx.run(
        "DELETE FROM term WHERE term = ANY($1) AND place = $2",
        &[&old.terms, &place.as_slice()],
    )
    .await?;
    tx.run("DELETE FROM holding WHERE document = ANY($1)", &[&old.documents]).await?;
    let sql = "DELETE FROM reference WHERE provider = $1 AND reference = ANY($2) AND request = $3";
    tx.run(sql, &[&request.provider.as_str(), &old.references, &id]).await?;
    Ok(())
}

/// Applies a transition inside a transaction. What it says of the request's state is logged by whoever knows that it was committed.
pub(super) async fn change(core: &Core, tx: &Tx, id: RequestId, transition: Transition) -> Result<(DocumentRequest, StateChange), Failed> {
    let before = locked(tx, id).await?.ok_or(StorageError::NotFound)?;
    change_locked(core, tx, &before, transition).await
}

pub(super) async fn change_locked(
    core: &Core,
    tx: &Tx,
    before: &DocumentRequest,
    transition: Transition,
) -> Result<(DocumentRequest, StateChange), Failed> {
    let now = core.clock.now();
    let (after, events) = transition::apply(before.clone(), transition, now).map_err(StorageError::Refused)?;
    write_request(tx, Some(before), &after).await?;
    append(tx, events).await?;
    let change = StateChange::new(Some(before.state(now)), after.state(now), &after);
    Ok((after, change))
}

/// A request, and nobody else changes it until the transaction ends.
pub(super) async fn locked(tx: &Tx, id: RequestId) -> Result<Option<DocumentRequest>, Failed> {
    let row = tx
        .row("SELECT row FROM request WHERE id = $1 FOR UPDATE", &[&id.0.as_slice()])
        .await?;
    row.map(|row| decode(&row, 0)).transpose()
}

/// A stored form in a column.
pub(super) fn decode<R: Record>(row: &Row, column: usize) -> Result<R, Failed> {
    Ok(R::decode(row.get(column))?)
}

/// An id in a column.
pub(super) fn id_of(row: &Row, column: usize) -> Result<[u8; 16], Failed> {
    let bytes: &[u8] = row.get(column);
    let wrong = || Failed::Storage(StorageError::Corrupt("an id of the wrong length".into()));
    bytes.try_into().map_err(|_| wrong())
}

/// The documents that have an owner.
pub(super) fn holding(row: &Row) -> Result<(DocumentId, RequestId), Failed> {
    Ok((DocumentId(id_of(row, 0)?), RequestId(id_of(row, 1)?)))
}

/// Chains events behind the last entry of the log, whose end is locked until the transaction ends: call it last.
pub(super) async fn append(tx: &Tx, events: Vec<AuditEvent>) -> Result<(), Failed> {
    if events.is_empty() {
        return Ok(());
    }
    let sql = "SELECT number, hash, pg_current_xact_id()::text FROM chain WHERE name = 'audit' FOR UPDATE";
    let end = tx.one(sql, &[]).await?;
    tx.note_number(end.get(2));
    let mut sequence = u64::try_from(end.get::<_, i64>(0)).unwrap_or(0);
    let wrong = || Failed::Storage(StorageError::Corrupt("the end of the audit log".into()));
    let mut previous = match sequence {
        0 => GENESIS,
        _ => end.get::<_, &[u8]>(1).try_into().map_err(|_| wrong())?,
    };
    let (mut sequences, mut timelines, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        sequence += 1;
        let entry = AuditEntry::chain(sequence, &previous, event);
        previous = entry.hash;
        sequences.push(i64::try_from(sequence).unwrap_or(i64::MAX));
        timelines.push(entry.event.request.map(|id| id.0.to_vec()));
        rows.push(entry.encode());
    }
    let sql = "WITH moved AS (UPDATE chain SET number = $4, hash = $5 WHERE name = 'audit') \
        INSERT INTO audit (sequence, timeline, row) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])";
    let last = i64::try_from(sequence).unwrap_or(i64::MAX);
    tx.run(sql, &[&sequences, &timelines, &rows, &last, &previous.as_slice()]).await?;
    Ok(())
}

/// Makes a claim, unless it was made before: then what it made, or nothing when it was made with another body.
pub(super) async fn claim(tx: &Tx, claim: &crate::storage::Claim, made: [u8; 16], now: i64) -> Result<Option<Seen>, Failed> {
    let until = now + i64::try_from(CLAIM_LIFE.whole_milliseconds()).unwrap_or(i64::MAX);
    let sql = "INSERT INTO claim (key, body, made, until) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    // Waits for whoever is about to make the same one.
    let made = tx
        .run(sql, &[&claim.key.as_slice(), &claim.body.as_slice(), &made.as_slice(), &until])
        .await?;
    if made == 1 {
        drop_old(tx, "claim", now).await?;
        return Ok(None);
    }
    match seen(tx, claim).await? {
        Some(seen) => Ok(Some(seen)),
        // It was past its time and has just been dropped.
        None => Err(Failed::Again("a claim was dropped meanwhile".into())),
    }
}

/// What a claim that was seen before has made.
pub(super) enum Seen {
    Made([u8; 16]),
    Mismatch,
}

pub(super) async fn seen(tx: &Tx, claim: &crate::storage::Claim) -> Result<Option<Seen>, Failed> {
    let row = tx
        .row("SELECT made, body FROM claim WHERE key = $1", &[&claim.key.as_slice()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(match row.get::<_, &[u8]>(1) == claim.body {
        true => Seen::Made(id_of(&row, 0)?),
        false => Seen::Mismatch,
    }))
}

/// Drops a few claims or callback ids that are past their time whenever a new one is written: no sweep needed.
pub(super) async fn drop_old(tx: &Tx, table: &str, now: i64) -> Result<(), Failed> {
    let sql = format!(
        "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE until <= $1 ORDER BY until LIMIT 4 FOR UPDATE SKIP LOCKED)"
    );
    tx.run(&sql, &[&now]).await.map(drop)
}
