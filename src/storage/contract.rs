//! What every backend promises, as one suite over the two seams. Another backend takes a [`Ground`] and one line at the end.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use bytes::Bytes;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use time::Duration;

use super::*;
use crate::domain::agent::Actor;
use crate::domain::audit::GENESIS;
use crate::domain::delivery::{Phase, Problem, PurgeCause};
use crate::domain::link::COMMIT_GRACE;
use crate::domain::request::{Receiving, Stage};
use crate::domain::transition::tests as walks;
use crate::domain::transition::{self, Refusal};

/// Where a backend keeps its data. It is opened again and again over the same data; whoever opens has let go of the handles before.
trait Ground: Send + Sync {
    fn new() -> Self;
    fn open(&self) -> Store;
    fn forward(&self, by: Duration);
}

#[derive(Clone)]
struct Store {
    records: Arc<dyn Records>,
    blobs: Arc<dyn BlobStore>,
}

/// A request with ids of its own, made now.
fn request(store: &Store, n: u32) -> DocumentRequest {
    let now = store.records.now();
    let mut request = walks::request(false);
    request.id = RequestId(id(1, n));
    request.created_at = now;
    request.applicant_index = [u8::try_from(n % 5).unwrap(); 32];
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
    AuditEvent::new(request.created_at, Actor::Operator, "link.issued").on(request.id)
}

async fn add(store: &Store, n: u32) -> DocumentRequest {
    let request = request(store, n);
    store.records.issue(request.clone(), None, issued(&request)).await.unwrap();
    request
}

fn begin(document: DocumentId, store: &Store) -> Transition {
    Transition::BeginReceive {
        receiving: Receiving {
            document,
            slot: stored(document, store).slot,
            started_at: store.records.now(),
        },
        generation: 1,
    }
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
    store.records.transition(request.id, begin(document, store)).await.unwrap();
    let commit = Transition::CommitReceived(stored(document, store));
    store.records.transition(request.id, commit).await.unwrap()
}

async fn lease(store: &Store) -> Option<DocumentRequest> {
    store.records.claim_due(store.records.now() + Duration::seconds(60)).await.unwrap()
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

async fn one_of_many_claims_wins<G: Ground + 'static>() {
    let ground = G::new();
    let store = ground.open();
    let mut requests = Vec::new();
    for n in 0..100 {
        requests.push(add(&store, n).await.id);
    }
    let (begun, won) = (Arc::new(AtomicU32::new(0)), Arc::new(std::sync::Mutex::new(BTreeMap::new())));
    let tasks = (0..64_u32).map(|claim| {
        let (store, requests, begun, won) = (store.clone(), requests.clone(), begun.clone(), won.clone());
        tokio::spawn(async move {
            for place in 0..requests.len() {
                // Each from another place, so that all meet everywhere.
                let n = (place + claim as usize * 7) % requests.len();
                let document = DocumentId(id(3, n as u32 * 64 + claim));
                match store.records.transition(requests[n], begin(document, &store)).await {
                    Ok(_) => begun.fetch_add(1, Ordering::Relaxed),
                    Err(StorageError::Refused(Refusal::TooManyStreams | Refusal::AlreadyReceived)) => continue,
                    Err(error) => panic!("{error}"),
                };
                match store
                    .records
                    .transition(requests[n], Transition::CommitReceived(stored(document, &store)))
                    .await
                {
                    Ok(_) => assert!(won.lock().unwrap().insert(n, document).is_none(), "two winners"),
                    Err(StorageError::Refused(Refusal::AlreadyReceived)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let won = won.lock().unwrap().clone();
    assert_eq!(won.len(), 100);
    assert!(begun.load(Ordering::Relaxed) > 100, "nobody raced");
    let live: BTreeMap<_, _> = store.records.live_documents().await.unwrap().into_iter().collect();
    let expected: BTreeMap<_, _> = won.iter().map(|(n, document)| (*document, requests[*n])).collect();
    assert_eq!(live, expected);
    assert_eq!(
        log(&store).await.iter().filter(|e| e.event.action == "document.received").count(),
        100
    );
}

async fn a_claim_a_revocation_and_an_expiry_never_both_win<G: Ground + 'static>() {
    let ground = Arc::new(G::new());
    let store = ground.open();
    let mut seen = BTreeSet::new();
    for n in 0..60 {
        let request = add(&store, n).await;
        let documents = [DocumentId(id(2, n)), DocumentId(id(4, n))];
        for document in documents {
            store.records.transition(request.id, begin(document, &store)).await.unwrap();
        }
        let commits = documents.map(|document| {
            let (store, id) = (store.clone(), request.id);
            tokio::spawn(async move {
                store
                    .records
                    .transition(id, Transition::CommitReceived(stored(document, &store)))
                    .await
                    .is_ok()
            })
        });
        let (third, id, moved) = (store.clone(), request.id, ground.clone());
        let end = tokio::spawn(async move {
            if n % 2 == 0 {
                return third
                    .records
                    .transition(id, Transition::Revoke { by: Actor::Operator })
                    .await
                    .is_ok();
            }
            moved.forward(Duration::hours(1) + COMMIT_GRACE);
            third.records.now() >= third.records.request(id).await.unwrap().unwrap().link.expires_at
        });
        let [first, second] = commits;
        let (first, second, ended) = (first.await.unwrap(), second.await.unwrap(), end.await.unwrap());
        let request = store.records.request(request.id).await.unwrap().unwrap();
        assert!(!(first && second), "two documents by one link");
        match request.stage {
            Stage::Held { .. } => assert!((first || second) && (n % 2 == 1 || !ended)),
            Stage::Open { .. } => assert!(!first && !second && ended),
            other => panic!("{other:?}"),
        }
        seen.insert((n % 2, first || second));
    }
    assert!(seen.len() >= 2, "{seen:?}");
}

async fn leases_are_fenced<G: Ground>() {
    let ground = G::new();
    let store = ground.open();
    let request = held(&store, 1).await;
    let mut fences = Vec::new();
    let paused = lease(&store).await.unwrap();
    assert_eq!(paused.id, request.id);
    assert!(lease(&store).await.is_none(), "one lease at a time");
    fences.push(paused.fence);
    for _ in 0..3 {
        ground.forward(Duration::seconds(60));
        let next = lease(&store).await.unwrap();
        fences.push(next.fence);
        let renewed = Transition::Renew {
            fence: next.fence,
            until: store.records.now() + Duration::seconds(90),
        };
        store.records.transition(request.id, renewed).await.unwrap();
        ground.forward(Duration::seconds(89));
        assert!(lease(&store).await.is_none(), "it was renewed");
        // The one that slept through it all wakes up.
        let late = Transition::StartPurge {
            fence: paused.fence,
            cause: PurgeCause::Agent,
        };
        assert_eq!(refused(store.records.transition(request.id, late).await), Refusal::StaleLease);
        assert_eq!(refused(store.records.forget(request.id, paused.fence).await), Refusal::StaleLease);
    }
    assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "{fences:?}");
    // The process ends and starts again: its leases are given back at once, and its fences are old.
    drop(store);
    let store = ground.open();
    let after = lease(&store).await.unwrap();
    assert!(after.fence > *fences.last().unwrap());
    let late = Transition::Release {
        fence: *fences.last().unwrap(),
    };
    assert_eq!(refused(store.records.transition(request.id, late).await), Refusal::StaleLease);
}

async fn many_hands_never_hold_the_same<G: Ground + 'static>() {
    let ground = G::new();
    let store = ground.open();
    for n in 0..60 {
        held(&store, n).await;
    }
    let hands = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(leased) = lease(&store).await {
                mine.push(leased.id);
            }
            mine
        })
    });
    let mut all = Vec::new();
    for hand in hands.collect::<Vec<_>>() {
        all.extend(hand.await.unwrap());
    }
    assert_eq!(all.len(), 60);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 60);
}

async fn a_purge_is_finished_once<G: Ground>() {
    let ground = G::new();
    let store = ground.open();
    let request = held(&store, 1).await;
    let fence = lease(&store).await.unwrap().fence;
    let early = store.records.finish_purge(request.id, fence, erasure(&request, &store)).await;
    assert!(
        matches!(refused(early), Refusal::WrongState(_) | Refusal::Superseded),
        "not before it has begun"
    );
    let fence = match store.records.request(request.id).await.unwrap().unwrap().lease {
        Some(lease) => lease.fence,
        None => lease(&store).await.unwrap().fence,
    };
    let start = Transition::StartPurge {
        fence,
        cause: PurgeCause::Agent,
    };
    let purging = store.records.transition(request.id, start).await.unwrap();
    let first = store
        .records
        .finish_purge(request.id, fence, erasure(&purging, &store))
        .await
        .unwrap();
    assert_eq!(first.number, 1);
    let again = store.records.finish_purge(request.id, fence, erasure(&purging, &store)).await;
    assert_eq!(refused(again), Refusal::StaleLease);
    assert_eq!(store.records.deletion_receipt(1).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.records.deletion_receipt(2).await.unwrap(), None);
    assert_eq!(store.records.by_document(purging.document().unwrap().id).await.unwrap(), None);
}

async fn chains_have_no_gaps_under_many_hands<G: Ground + 'static>() {
    let ground = G::new();
    let store = ground.open();
    for n in 0..40 {
        held(&store, n).await;
    }
    let hands = (0..6).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            while let Some(leased) = lease(&store).await {
                let fence = leased.fence;
                let start = Transition::StartPurge {
                    fence,
                    cause: PurgeCause::Agent,
                };
                let purging = store.records.transition(leased.id, start).await.unwrap();
                store
                    .records
                    .append(AuditEvent::new(store.records.now(), Actor::Operator, "note"))
                    .await
                    .unwrap();
                store
                    .records
                    .finish_purge(leased.id, fence, erasure(&purging, &store))
                    .await
                    .unwrap();
            }
        })
    });
    for hand in hands.collect::<Vec<_>>() {
        hand.await.unwrap();
    }
    drop(store);
    let store = ground.open();
    let entries = log(&store).await;
    assert_eq!(entries.iter().filter(|e| e.event.action == "note").count(), 40);
    let mut previous = DeletionReceipt::genesis();
    for number in 1..=40 {
        let receipt = store.records.deletion_receipt(number).await.unwrap().unwrap();
        assert_eq!(receipt, DeletionReceipt::chain(number, previous, receipt.erasure.clone()));
        previous = receipt.hash;
    }
    assert_eq!(store.records.deletion_receipt(41).await.unwrap(), None);
    for n in 0..40 {
        let own = store.records.timeline(RequestId(id(1, n))).await.unwrap();
        let expected: Vec<_> = entries
            .iter()
            .filter(|e| e.event.request == Some(RequestId(id(1, n))))
            .cloned()
            .collect();
        assert_eq!(own, expected);
    }
}

async fn pages_have_no_gaps_and_no_doubles<G: Ground + 'static>() {
    let ground = G::new();
    let store = ground.open();
    for n in 0..90 {
        add(&store, n).await;
        if n % 3 == 0 {
            ground.forward(Duration::milliseconds(1));
        }
    }
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1000..1100 {
                add(&store, n).await;
            }
        })
    };
    for limit in [1, 7, 100] {
        for index in [None, Some([2; 32])] {
            let filter = Filter {
                applicant_index: index,
                ..Filter::default()
            };
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = store.records.list(&filter, after, limit).await.unwrap();
                assert!(page.requests.len() <= limit);
                seen.extend(page.requests.into_iter().map(|r| (r.created_at, r.id)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), seen.len(), "doubles");
            assert!(seen.windows(2).all(|pair| pair[0].0 >= pair[1].0), "newest first");
            let old: BTreeSet<_> = seen
                .iter()
                .map(|(_, id)| *id)
                .filter(|r| r.0[..4] < 1000_u32.to_be_bytes()[..])
                .collect();
            let expected: BTreeSet<_> = (0..90)
                .filter(|n| index.is_none() || n % 5 == 2)
                .map(|n| RequestId(id(1, n)))
                .collect();
            assert_eq!(old, expected, "gaps");
        }
    }
    writer.await.unwrap();
}

async fn a_claim_is_honoured_once<G: Ground + 'static>() {
    let ground = G::new();
    let store = ground.open();
    let claim = |key: u8, body: u8| Claim {
        key: [key; 32],
        body: [body; 32],
    };
    let same = (0..16_u32).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let request = request(&store, n);
            store
                .records
                .issue(request.clone(), Some(claim(1, 1)), issued(&request))
                .await
                .unwrap()
        })
    });
    let (mut fresh, mut ids) = (0, BTreeSet::new());
    for task in same.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Claimed::Fresh(request) => {
                fresh += 1;
                ids.insert(request.id);
            }
            Claimed::Replayed(request) => drop(ids.insert(request.id)),
            Claimed::Mismatch => panic!("the same body is no mismatch"),
        }
    }
    assert_eq!((fresh, ids.len()), (1, 1), "sixteen at once are one");
    let other = request(&store, 50);
    assert!(matches!(
        store.records.issue(other.clone(), Some(claim(1, 2)), issued(&other)).await.unwrap(),
        Claimed::Mismatch
    ));
    assert!(matches!(
        store.records.issue(other.clone(), Some(claim(2, 2)), issued(&other)).await.unwrap(),
        Claimed::Fresh(_)
    ));
    let twice = store.records.issue(other.clone(), None, issued(&other)).await;
    assert!(matches!(twice, Err(StorageError::Exists(_))), "an id is given once");
    // A transition under a claim happens once, whatever is in between.
    let revoke = || {
        store
            .records
            .transition_once(other.id, Transition::Revoke { by: Actor::Operator }, claim(3, 1))
    };
    assert!(matches!(revoke().await.unwrap(), Claimed::Fresh(_)));
    drop(store);
    let store = ground.open();
    let revoke = |body| {
        store
            .records
            .transition_once(other.id, Transition::Revoke { by: Actor::Operator }, claim(3, body))
    };
    assert!(matches!(revoke(1).await.unwrap(), Claimed::Replayed(_)));
    assert!(matches!(revoke(2).await.unwrap(), Claimed::Mismatch));
    assert!(store.records.claimed(&claim(9, 9)).await.unwrap().is_none());
    assert_eq!(log(&store).await.iter().filter(|e| e.event.action == "link.revoked").count(), 1);
    assert!(store.records.first_sight([7; 32]).await.unwrap());
    assert!(!store.records.first_sight([7; 32]).await.unwrap());
}

async fn what_is_forgotten_stays_dead<G: Ground>() {
    let ground = G::new();
    let store = ground.open();
    let request = add(&store, 1).await;
    let mut link = request.link.clone();
    link.hashed = HashedToken(hash(1, 2));
    link.generation = 2;
    let reissue = Transition::Reissue {
        link,
        terms_mac: [0; 32],
        by: Actor::Operator,
    };
    store.records.transition(request.id, reissue).await.unwrap();
    let (_, current) = store.records.by_link(&request.link.hashed).await.unwrap().unwrap();
    assert!(!current, "the old link is known and dead");
    ground.forward(Duration::days(9));
    let fence = lease(&store).await.unwrap().fence;
    store
        .records
        .transition(request.id, Transition::NoteExpired { fence })
        .await
        .unwrap();
    let leased = lease(&store).await.unwrap();
    assert!(leased.must_forget(store.records.now()));
    store.records.forget(request.id, leased.fence).await.unwrap();
    assert_eq!(store.records.forget(request.id, leased.fence).await, Err(StorageError::NotFound));
    drop(store);
    let store = ground.open();
    for generation in [1, 2] {
        let hashed = HashedToken(hash(1, generation));
        assert!(store.records.by_link(&hashed).await.unwrap().is_none());
        let mut other = super::contract::request(&store, 7);
        other.link.hashed = hashed;
        let again = store.records.issue(other.clone(), None, issued(&other)).await;
        assert!(
            matches!(again, Err(StorageError::Exists(_))),
            "a token that was given once is never given again"
        );
    }
    assert!(store.records.list(&Filter::default(), None, 10).await.unwrap().requests.is_empty());
    assert_eq!(store.records.next_due().await.unwrap(), None);
    assert!(store.records.counts().await.unwrap().iter().all(|(_, count)| *count == 0));
    assert!(store.records.timeline(request.id).await.unwrap().is_empty());
    assert!(log(&store).await.iter().any(|e| e.event.action == "request.forgotten"));
}

async fn a_crash_after_each_step_of_an_upload_leaves_what_the_sweep_finds<G: Ground>() {
    for steps in 0..=4 {
        let ground = G::new();
        let store = ground.open();
        let request = add(&store, 1).await;
        let document = DocumentId(id(2, 1));
        let key = |chunk| BlobKey {
            document,
            file_index: 0,
            chunk,
        };
        let chunk = |n: u8| Bytes::from(vec![n; 65_552]);
        for step in 0..steps {
            match step {
                0 => drop(store.records.transition(request.id, begin(document, &store)).await.unwrap()),
                1 => store.blobs.put(key(0), chunk(0)).await.unwrap(),
                2 => store.blobs.put(key(1), chunk(1)).await.unwrap(),
                _ => {
                    let commit = Transition::CommitReceived(stored(document, &store));
                    store.records.transition(request.id, commit).await.unwrap();
                }
            }
        }
        // Something later that is durable makes everything before it so.
        add(&store, 2).await;
        drop(store);
        let store = ground.open();
        let request = store.records.request(request.id).await.unwrap().unwrap();
        let live = store.records.live_documents().await.unwrap();
        assert_eq!(live.len(), usize::from(steps > 0), "{steps}");
        assert_eq!(store.blobs.documents().await.unwrap().len(), usize::from(steps > 1), "{steps}");
        for n in 0..2_u8 {
            let found = store.blobs.get(key(n.into())).await.unwrap();
            assert_eq!(found, (steps > usize::from(n) + 1).then(|| chunk(n)), "{steps}");
        }
        if steps == 4 {
            assert!(request.held().is_some());
            continue;
        }
        assert!(matches!(request.stage, Stage::Open { .. }), "half a document is none");
        if steps > 0 {
            assert_eq!(request.receivings.len(), 1);
            store
                .records
                .transition(request.id, Transition::AbandonReceive(document))
                .await
                .unwrap();
        }
        store.blobs.delete(document).await.unwrap();
        store.blobs.delete(document).await.unwrap();
        assert!(store.records.live_documents().await.unwrap().is_empty());
        assert!(store.blobs.documents().await.unwrap().is_empty());
        assert_eq!(store.blobs.get(key(0)).await.unwrap(), None);
        // The link is as good as new.
        let again = DocumentId(id(5, 1));
        store.records.transition(request.id, begin(again, &store)).await.unwrap();
        store
            .records
            .transition(request.id, Transition::CommitReceived(stored(again, &store)))
            .await
            .unwrap();
    }
}

/// Random walks over several requests at once: every view of the store is what the rows say.
async fn every_index_says_what_the_rows_say<G: Ground>() {
    let mut runner = TestRunner::deterministic();
    let walk = proptest::collection::vec(0..6_u32, 400);
    for _ in 0..3 {
        let ground = G::new();
        let mut store = ground.open();
        let mut model: BTreeMap<RequestId, DocumentRequest> = BTreeMap::new();
        for n in 0..6 {
            let request = add(&store, n).await;
            model.insert(request.id, request);
        }
        let order = walk.new_tree(&mut runner).unwrap().current();
        let mut steps = Vec::new();
        while steps.len() < order.len() {
            steps.extend(walks::tries().new_tree(&mut runner).unwrap().current());
        }
        for (turn, (n, step)) in order.iter().zip(steps).enumerate() {
            ground.forward(Duration::seconds(i64::from(step.wait % 1000)));
            let now = store.records.now();
            let key = RequestId(id(1, *n));
            let transition = own(walks::transition(&step, &model[&key], now), *n);
            let expected = transition::apply(model[&key].clone(), transition.clone(), now);
            // Purges come with their receipt, and only through their own door.
            if matches!(transition, Transition::FinishPurge { .. }) {
                continue;
            }
            match (store.records.transition(key, transition).await, expected) {
                (Ok(stored), Ok((after, _))) => {
                    assert_eq!(stored, after);
                    model.insert(key, after);
                }
                (Err(StorageError::Refused(a)), Err(b)) => assert_eq!(a, b),
                (stored, expected) => panic!("{stored:?} instead of {expected:?}"),
            }
            if turn % 20 == 0 {
                agree(&store, &model).await;
            }
            if turn % 150 == 149 {
                drop(store);
                store = ground.open();
                model.values_mut().for_each(|r| r.lease = None);
                agree(&store, &model).await;
            }
        }
        log(&store).await;
    }
}

/// Documents and links of different requests never share an id.
fn own(mut transition: Transition, n: u32) -> Transition {
    let mark = |document: &mut DocumentId| document.0[..4].copy_from_slice(&n.to_be_bytes());
    match &mut transition {
        Transition::BeginReceive { receiving, .. } => mark(&mut receiving.document),
        Transition::AbandonReceive(document) => mark(document),
        Transition::CommitReceived(document) => mark(&mut document.id),
        Transition::Reissue { link, .. } => link.hashed = HashedToken(hash(n, link.generation)),
        Transition::Delivered { receipt, .. } => receipt.references = vec![format!("ref-{n}")],
        Transition::GiveUp { problem, .. } => *problem = Problem::new("x", "y"),
        _ => {}
    }
    transition
}

async fn agree(store: &Store, model: &BTreeMap<RequestId, DocumentRequest>) {
    let now = store.records.now();
    let all = |filter: Filter| async move {
        let page = store.records.list(&filter, None, 100).await.unwrap();
        page.requests.into_iter().map(|r| r.id).collect::<BTreeSet<_>>()
    };
    let of = |so: &dyn Fn(&DocumentRequest) -> bool| model.values().filter(|r| so(r)).map(|r| r.id).collect::<BTreeSet<_>>();
    assert_eq!(all(Filter::default()).await, of(&|_| true));
    for index in 0..5 {
        let filter = Filter {
            applicant_index: Some([index; 32]),
            ..Filter::default()
        };
        assert_eq!(all(filter).await, of(&|r| r.applicant_index == [index; 32]));
    }
    for (state, count) in store.records.counts().await.unwrap() {
        assert_eq!(count as usize, of(&|r| r.resting_state() == state).len(), "{state:?}");
        let filter = Filter {
            state: Some(state),
            ..Filter::default()
        };
        // A list by state shows what is in it by now; what only time has changed is found once it was noted.
        let expected = of(&|r| r.resting_state() == state && r.state(now) == state);
        assert_eq!(all(filter).await, expected, "{state:?}");
    }
    assert_eq!(
        store.records.next_due().await.unwrap(),
        model.values().filter_map(DocumentRequest::due_at).min()
    );
    let live: BTreeSet<_> = store.records.live_documents().await.unwrap().into_iter().collect();
    let mut expected = BTreeSet::new();
    for request in model.values() {
        expected.extend(request.receivings.iter().map(|r| (r.document, request.id)));
        expected.extend(request.document().map(|d| (d.id, request.id)));
        let (found, current) = store.records.by_link(&request.link.hashed).await.unwrap().unwrap();
        assert!(current && found == *request);
        assert_eq!(store.records.request(request.id).await.unwrap().as_ref(), Some(request));
        let awaited = request
            .held()
            .is_some_and(|(_, d)| matches!(d.phase, Phase::AwaitingConfirmation { .. }));
        let n = u32::from_be_bytes(request.id.0[..4].try_into().unwrap());
        let found = store.records.by_reference(&request.provider, &format!("ref-{n}")).await.unwrap();
        assert_eq!(found, awaited.then_some(request.id));
    }
    assert_eq!(live, expected);
}

/// The whole suite for one backend.
macro_rules! contract {
    ($backend:ident, $ground:ty, $($check:ident),+ $(,)?) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $check() {
                    super::$check::<$ground>().await;
                }
            )+
        }
    };
    ($backend:ident, $ground:ty) => {
        contract!(
            $backend,
            $ground,
            one_of_many_claims_wins,
            a_claim_a_revocation_and_an_expiry_never_both_win,
            leases_are_fenced,
            many_hands_never_hold_the_same,
            a_purge_is_finished_once,
            chains_have_no_gaps_under_many_hands,
            pages_have_no_gaps_and_no_doubles,
            a_claim_is_honoured_once,
            what_is_forgotten_stays_dead,
            a_crash_after_each_step_of_an_upload_leaves_what_the_sweep_finds,
            every_index_says_what_the_rows_say,
        );
    };
}

struct Embedded {
    folder: std::path::PathBuf,
    hands: Arc<AtomicI64>,
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
        Self {
            folder: std::env::temp_dir().join(name),
            hands: Arc::new(AtomicI64::new(clock::to_ms(start))),
        }
    }

    fn open(&self) -> Store {
        let source = clock::Source::Manual(self.hands.clone());
        let store = Arc::new(super::sled::SledStore::open(&self.folder, super::sled::durable::Options::default(), source).unwrap());
        Store {
            records: store.clone(),
            blobs: store,
        }
    }

    fn forward(&self, by: Duration) {
        self.hands
            .fetch_add(i64::try_from(by.whole_milliseconds()).unwrap(), Ordering::SeqCst);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

contract!(embedded, super::Embedded);
