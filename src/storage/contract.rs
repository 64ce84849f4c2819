//! What every backend promises, as one suite over the two seams. Another backend takes a [`Ground`] and one line at the end.
#![allow(clippy::unwrap_used)]

mod checks;
mod figures;
mod indexes;
mod receipts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::domain::agent::{Actor, Team};
use crate::domain::assignment::{AssignedTo, Colleague};
use crate::domain::audit::{AuditAction, AuditEntry, AuditEvent, GENESIS};
use crate::domain::delivery::{DeliveryProblem, Phase, PurgeCause};
use crate::domain::document::ProviderName;
use crate::domain::id::{AgentId, DocumentId, RequestId};
use crate::domain::link::COMMIT_GRACE;
use crate::domain::list_order::ListOrder;
use crate::domain::receipt::{DeletionReceipt, Erasure, SignedReceipt};
use crate::domain::request::{DocumentRequest, Stage};
use crate::domain::token::HashedToken;
use crate::domain::transition::tests as walks;
use crate::domain::transition::{self, AgentAction, IntakeStep, Refusal, Transition, WorkerStep};

/// Where a backend keeps its data. It is opened again and again over the same data; whoever opens has let go of the handles before.
trait Ground: Send + Sync {
    fn new() -> Self;
    fn open(&self) -> Store;
    fn forward(&self, by: Duration);
}

/// All that a backend of the records must be.
trait Records: RequestStore + Directory + AuditLog + Outbox {}
impl<T: RequestStore + Directory + AuditLog + Outbox> Records for T {}

/// One handle on records and one on chunks.
type Node = (Arc<dyn Records>, Arc<dyn BlobStore>);

struct Store {
    records: Arc<dyn Records>,
    blobs: Arc<dyn BlobStore>,
    /// Handles on the same data, as other nodes would have them.
    nodes: Arc<Vec<Node>>,
    next: Arc<AtomicU32>,
}

impl Store {
    fn of(nodes: Vec<Node>) -> Self {
        let (records, blobs) = nodes[0].clone();
        Self {
            records,
            blobs,
            nodes: Arc::new(nodes),
            next: Arc::default(),
        }
    }
}

/// Whoever takes another store to work beside this one gets the next node's.
impl Clone for Store {
    fn clone(&self) -> Self {
        let place = self.next.fetch_add(1, Ordering::Relaxed) as usize + 1;
        let (records, blobs) = self.nodes[place % self.nodes.len()].clone();
        Self {
            records,
            blobs,
            nodes: self.nodes.clone(),
            next: self.next.clone(),
        }
    }
}

/// A request with ids of its own, made now.
fn request(store: &Store, n: u32) -> DocumentRequest {
    let now = store.records.now();
    let mut request = walks::request(false);
    request.id = RequestId(id(1, n));
    request.created_at = now;
    request.applicant_index = [u8::try_from(n % 5).unwrap(); 32];
    request.search_words = vec![[u8::try_from(n % 5).unwrap(); 16], [u8::try_from(5 + n % 3).unwrap(); 16]];
    request.link.hashed = HashedToken(hash(n, 1));
    request.link.expires_at = now + Duration::hours(1);
    request
}

fn id(kind: u8, n: u32) -> [u8; 16] {
    let mut id = [kind; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    id
}

fn hash(n: u32, generation: u32) -> [u8; 32] {
    let mut hash = [9; 32];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    hash[4..8].copy_from_slice(&generation.to_be_bytes());
    hash
}

fn issued(request: &DocumentRequest) -> AuditEvent {
    AuditEvent::new(request.created_at, Actor::Operator, AuditAction::LinkIssued).on(request.id)
}

async fn add(store: &Store, n: u32) -> DocumentRequest {
    let request = request(store, n);
    store.records.issue(request.clone(), None, issued(&request)).await.unwrap();
    request
}

/// What is given up of a document, as its upload says it.
fn discard(document: DocumentId, store: &Store) -> Transition {
    Transition::Intake(IntakeStep::Discard {
        document,
        slot: stored(document, store).slot,
        started_at: store.records.now(),
    })
}

fn worker(fence: u64, step: WorkerStep) -> Transition {
    Transition::Worker { fence, step }
}

fn cleaned(leased: &DocumentRequest, documents: Vec<DocumentId>) -> Transition {
    Transition::Intake(IntakeStep::CleanedUp {
        fence: leased.cleanup.fence,
        documents,
        again_at: None,
    })
}

fn stored(document: DocumentId, store: &Store) -> crate::domain::document::Document {
    let mut made = walks::document(1, store.records.now(), true);
    made.id = document;
    made
}

/// A request that holds a document.
async fn held(store: &Store, n: u32) -> DocumentRequest {
    let request = add(store, n).await;
    let document = DocumentId(id(2, n));
    let commit = walks::received(stored(document, store));
    store.records.transition(request.id, commit).await.unwrap()
}

async fn lease(store: &Store) -> Option<DocumentRequest> {
    store
        .records
        .claim_due(WorkQueues::All, store.records.now() + Duration::seconds(60))
        .await
        .unwrap()
}

fn refused<T: std::fmt::Debug>(answer: Result<T, StorageError>) -> Refusal {
    match answer {
        Err(StorageError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn erasure(request: &DocumentRequest, store: &Store) -> Erasure {
    let document = request.document().unwrap();
    Erasure {
        request: request.id,
        document: document.id,
        slot: document.slot,
        cause: "agent".into(),
        class: "B".into(),
        method: "x".into(),
        parts: 1,
        received_at: document.received_at,
        erased_at: store.records.now(),
        purged_at: store.records.now(),
    }
}

/// The whole log, its chain verified.
async fn log(store: &Store) -> Vec<AuditEntry> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    loop {
        let page = store.records.entries(entries.len() as u64, 97).await.unwrap();
        let Some(_) = page.first() else { break };
        entries.extend(page);
    }
    let mut previous = GENESIS;
    for (place, entry) in entries.iter().enumerate() {
        assert_eq!(*entry, AuditEntry::chain(place as u64 + 1, &previous, entry.event.clone()));
        previous = entry.hash;
    }
    entries
}

use checks::*;
use indexes::every_index_says_what_the_rows_say;
use receipts::receipts_outlive_their_rows_and_go_from_the_oldest_on;

/// The whole suite for one backend; the attribute of its tests stands first.
macro_rules! contract {
    ($attribute:tt $backend:ident, $ground:ty, $($check:ident),+ $(,)?) => {
        mod $backend {
            $(
                #$attribute
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $check() {
                    super::$check::<$ground>().await;
                }
            )+
        }
    };
    ($attribute:tt $backend:ident, $ground:ty) => {
        contract!(
            $attribute
            $backend,
            $ground,
            one_of_many_claims_wins,
            a_claim_a_revocation_and_an_expiry_never_both_win,
            leases_are_fenced,
            many_workers_never_hold_the_same,
            no_queue_waits_behind_another,
            a_purge_is_finished_once,
            chains_have_no_gaps_under_many_writers,
            pages_have_no_gaps_and_no_doubles,
            a_claim_is_honoured_once,
            what_is_forgotten_stays_dead,
            a_crash_after_each_step_of_an_upload_leaves_what_the_sweep_finds,
            every_index_says_what_the_rows_say,
            receipts_outlive_their_rows_and_go_from_the_oldest_on,
        );
    };
}

struct Embedded {
    folder: std::path::PathBuf,
    manual: Arc<clock::Manual>,
}

impl Ground for Embedded {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "nightdrop-contract-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let start = time::macros::datetime!(2026-01-01 0:00 UTC);
        let this = Self {
            folder: std::env::temp_dir().join(name),
            manual: Arc::new(clock::Manual::new(start)),
        };
        std::fs::create_dir(&this.folder).unwrap();
        super::files::FileStore::create(&this.documents()).unwrap();
        this
    }

    fn open(&self) -> Store {
        let source = clock::Source::Manual(self.manual.clone());
        let store = Arc::new(
            super::sled::SledStore::open(
                &self.folder.join("store"),
                super::sled::durable::Options::default(),
                source,
                Arc::new(super::seal::NotSecret),
            )
            .unwrap(),
        );
        Store::of(vec![(store, Arc::new(super::files::FileStore::open(&self.documents()).unwrap()))])
    }

    fn forward(&self, by: Duration) {
        self.manual.pass(i64::try_from(by.whole_milliseconds()).unwrap());
    }
}

impl Embedded {
    fn documents(&self) -> std::path::PathBuf {
        self.folder.join("documents")
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

contract!([cfg(test)] embedded, super::Embedded);

/// A database of its own on the server of this test run, opened by three nodes at once.
struct Postgres {
    url: String,
    manual: Arc<clock::Manual>,
}

impl Ground for Postgres {
    fn new() -> Self {
        Self {
            url: super::postgres::tests::cluster().database(),
            manual: Arc::new(clock::Manual::new(time::macros::datetime!(2026-01-01 0:00 UTC))),
        }
    }

    fn open(&self) -> Store {
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| handle.block_on(self.nodes()))
    }

    fn forward(&self, by: Duration) {
        self.manual.pass(i64::try_from(by.whole_milliseconds()).unwrap());
    }
}

impl Postgres {
    async fn nodes(&self) -> Store {
        use super::postgres::{Database, PostgresStore};
        let database = Database::parse(&self.url, None, 4).unwrap();
        let source = || clock::Source::Manual(self.manual.clone());
        let seal = || Arc::new(super::seal::NotSecret);
        let patience = std::time::Duration::from_secs(10);
        let mut nodes = vec![PostgresStore::open(&database, source(), seal(), patience).await.unwrap()];
        for _ in 0..2 {
            nodes.push(PostgresStore::beside(&database, source(), seal()).await.unwrap());
        }
        let both = |store: PostgresStore| -> Node {
            let store = Arc::new(store);
            (store.clone(), store)
        };
        Store::of(nodes.into_iter().map(both).collect())
    }
}

contract!(
    [ignore = "needs PostgreSQL: run tests/run"]
    postgres,
    super::Postgres
);
