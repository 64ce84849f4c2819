//! What a document costs in each backend, on this machine: `cargo test --lib figures -- --ignored --nocapture`.

#![allow(clippy::print_stdout)]

use super::*;

const SENDERS: u32 = 16;
const DOCUMENTS: u32 = 10;
/// Two photos of a phone.
const CHUNKS: u32 = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "measures, and needs PostgreSQL: run tests/run"]
async fn figures() {
    let embedded = Embedded::new();
    measure("embedded", embedded.open()).await;
    let postgres = Postgres::new();
    let store = postgres.open();
    let name = postgres.url.rsplit('/').next().unwrap().to_owned();
    let asked = || -> (u64, u64) {
        let sql = "SELECT pg_current_xact_id()::text || ' ' || (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint::text";
        let answer = super::super::postgres::tests::cluster().sql(&name, sql);
        let (transactions, wal) = answer.split_once(' ').unwrap();
        (transactions.parse().unwrap(), wal.parse().unwrap())
    };
    let before = asked();
    measure("PostgreSQL", store).await;
    let after = asked();
    let documents = u64::from(SENDERS * DOCUMENTS);
    println!(
        "PostgreSQL: {} transactions that write and {} KiB of WAL a document of {} KiB",
        (after.0 - before.0) / documents,
        (after.1 - before.1) / documents / 1024,
        CHUNKS * 64
    );
}

async fn measure(name: &str, store: Store) {
    let begun = std::time::Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..DOCUMENTS {
                take_in(&store, sender * DOCUMENTS + n).await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    let taken_in = begun.elapsed();
    let begun = std::time::Instant::now();
    let workers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { while purge_next(&store).await {} })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let purged = begun.elapsed();
    let each = |all: std::time::Duration| f64::from(SENDERS * DOCUMENTS) / all.as_secs_f64();
    println!(
        "{name}: {:.0} documents taken in a second, {:.0} purged",
        each(taken_in),
        each(purged)
    );
}

/// A link is issued, and a document comes by it.
async fn take_in(store: &Store, n: u32) {
    let request = add(store, n).await;
    let document = DocumentId(id(2, n));
    let mut writer = store.blobs.writer(document, 0, 0).await.unwrap();
    let chunk = vec![n as u8; 65_552];
    for _ in 0..CHUNKS {
        writer.put(&chunk).await.unwrap();
    }
    writer.sync().await.unwrap();
    let commit = walks::received(stored(document, store));
    store.records.transition(request.id, commit).await.unwrap();
}

async fn purge_next(store: &Store) -> bool {
    let Some(leased) = lease(store).await else { return false };
    let start = worker(leased.fence, WorkerStep::StartPurge { cause: PurgeCause::Agent });
    let purging = store.records.transition(leased.id, start).await.unwrap();
    store.blobs.delete(purging.document().unwrap().id).await.unwrap();
    let finished = store
        .records
        .finish_purge(leased.id, leased.fence, erasure(&purging, store), &DeletionReceipt::body);
    finished.await.unwrap();
    true
}
