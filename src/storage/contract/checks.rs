//! The promises, one check each: races, leases, purges, chains, pages, claims, forgetting, crashes.

use super::*;

pub(super) async fn one_of_many_claims_wins<G: Ground + 'static>() {
    let ground = G::new();
    let store = ground.open();
    let mut requests = Vec::new();
    for n in 0..100 {
        requests.push(add(&store, n).await.id);
    }
    let (lost, won) = (Arc::new(AtomicU32::new(0)), Arc::new(std::sync::Mutex::new(BTreeMap::new())));
    let tasks = (0..64_u32).map(|claim| {
        let (store, requests, lost, won) = (store.clone(), requests.clone(), lost.clone(), won.clone());
        tokio::spawn(async move {
            for place in 0..requests.len() {
                // Each from another place, so that all meet everywhere.
                let n = (place + claim as usize * 7) % requests.len();
                let document = DocumentId(id(3, n as u32 * 64 + claim));
                let commit = walks::received(stored(document, &store));
                match store.records.transition(requests[n], commit).await {
                    Ok(_) => assert!(won.lock().unwrap().insert(n, document).is_none(), "two winners"),
                    Err(StorageError::Refused(Refusal::AlreadyReceived)) => {
                        lost.fetch_add(1, Ordering::Relaxed);
                        store.records.transition(requests[n], discard(document, &store)).await.unwrap();
                    }
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
    // Whoever lost is owned by its request until the worker has destroyed it.
    let mut destroyed = 0;
    let minute = Duration::seconds(60);
    while let Some(leased) = store.records.claim_cleanup(store.records.now() + minute).await.unwrap() {
        let documents: Vec<_> = leased.intakes.iter().map(|r| r.document).collect();
        destroyed += documents.len();
        store.records.transition(leased.id, cleaned(&leased, documents)).await.unwrap();
    }
    assert_eq!((destroyed, lost.load(Ordering::Relaxed)), (6_300, 6_300));
    let live: BTreeMap<_, _> = store.records.live_documents().await.unwrap().into_iter().collect();
    let expected: BTreeMap<_, _> = won.iter().map(|(n, document)| (*document, requests[*n])).collect();
    assert_eq!(live, expected);
    assert_eq!(
        log(&store)
            .await
            .iter()
            .filter(|e| e.event.action == AuditAction::DocumentReceived)
            .count(),
        100
    );
}

pub(super) async fn a_claim_a_revocation_and_an_expiry_never_both_win<G: Ground + 'static>() {
    let ground = Arc::new(G::new());
    let store = ground.open();
    let mut seen = BTreeSet::new();
    for n in 0..60 {
        let request = add(&store, n).await;
        let documents = [DocumentId(id(2, n)), DocumentId(id(4, n))];
        let commits = documents.map(|document| {
            let (store, id) = (store.clone(), request.id);
            tokio::spawn(async move {
                store
                    .records
                    .transition(id, walks::received(stored(document, &store)))
                    .await
                    .is_ok()
            })
        });
        let (third, id, moved) = (store.clone(), request.id, ground.clone());
        let end = tokio::spawn(async move {
            if n % 2 == 0 {
                return third
                    .records
                    .transition(
                        id,
                        Transition::Agent {
                            by: Actor::Operator,
                            action: AgentAction::Revoke,
                        },
                    )
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

pub(super) async fn leases_are_fenced<G: Ground>() {
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
        let renewed = worker(
            next.fence,
            WorkerStep::Renew {
                until: store.records.now() + Duration::seconds(90),
            },
        );
        store.records.transition(request.id, renewed).await.unwrap();
        ground.forward(Duration::seconds(89));
        assert!(lease(&store).await.is_none(), "it was renewed");
        // The one that slept through it all wakes up.
        let late = worker(paused.fence, WorkerStep::StartPurge { cause: PurgeCause::Agent });
        assert_eq!(refused(store.records.transition(request.id, late).await), Refusal::StaleLease);
        assert_eq!(refused(store.records.forget(request.id, paused.fence).await), Refusal::StaleLease);
    }
    assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "{fences:?}");
    // The process ends and starts again: its leases are given back at once, and its fences are old.
    drop(store);
    let store = ground.open();
    let after = lease(&store).await.unwrap();
    assert!(after.fence > *fences.last().unwrap());
    let late = worker(*fences.last().unwrap(), WorkerStep::Release);
    assert_eq!(refused(store.records.transition(request.id, late).await), Refusal::StaleLease);
}

pub(super) async fn many_workers_never_hold_the_same<G: Ground + 'static>() {
    let ground = G::new();
    let store = ground.open();
    for n in 0..60 {
        held(&store, n).await;
    }
    let tasks = (0..8).map(|_| {
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
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.unwrap());
    }
    assert_eq!(all.len(), 60);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 60);
}

/// A provider's documents are due in its own queue, oldest first, and their retention in the portal's.
pub(super) async fn no_queue_waits_behind_another<G: Ground>() {
    let ground = G::new();
    let store = ground.open();
    let [slow, other] = ["slow", "other"].map(|name| ProviderName::parse(name).unwrap());
    let mut made = Vec::new();
    for n in 0..40 {
        let mut request = request(&store, n);
        request.provider = if n < 37 { slow.clone() } else { other.clone() };
        store.records.issue(request.clone(), None, issued(&request)).await.unwrap();
        let commit = walks::received(stored(DocumentId(id(2, n)), &store));
        made.push(store.records.transition(request.id, commit).await.unwrap());
        ground.forward(Duration::seconds(1));
    }
    let both = [slow.clone(), other.clone()];
    let until = store.records.now() + Duration::seconds(60);
    let claim = async |queues| store.records.claim_due(queues, until).await.unwrap().map(|request| request.id);
    let due = async |queues| store.records.next_due(queues).await.unwrap();
    let of = |range: std::ops::Range<usize>| made[range].iter().map(|request| Some(request.id)).collect::<Vec<_>>();
    assert_eq!(due(WorkQueues::All).await, made[0].due_at());
    assert_eq!(due(WorkQueues::Of(&other)).await, made[37].due_at());
    assert_eq!(due(WorkQueues::Except(&both[..1])).await, made[37].due_at());
    let mut claimed = Vec::new();
    for queues in [
        WorkQueues::Of(&other),
        WorkQueues::Except(&both[..1]),
        WorkQueues::All,
        WorkQueues::Of(&slow),
        WorkQueues::Except(&both[1..]),
    ] {
        claimed.push(claim(queues).await);
    }
    assert_eq!(
        claimed,
        [of(37..39), of(0..3)].concat(),
        "oldest first, whatever waits in another queue"
    );
    assert_eq!(claim(WorkQueues::Except(&both)).await, None, "nothing of the portal's own is due");
    // A lease that runs out comes back to its queue.
    ground.forward(Duration::seconds(61));
    assert_eq!(claim(WorkQueues::Of(&other)).await, Some(made[39].id));
    assert_eq!(claim(WorkQueues::Of(&other)).await, Some(made[37].id));
    // No provider's worker comes to it; each document's retention ends all the same.
    let end = made[0].document().unwrap().purge_at;
    ground.forward(end - store.records.now() - Duration::seconds(1));
    assert_eq!(claim(WorkQueues::Except(&both)).await, None);
    ground.forward(Duration::hours(1));
    let until = store.records.now() + Duration::hours(1);
    let mut ended = BTreeSet::new();
    while let Some(request) = store.records.claim_due(WorkQueues::Except(&both), until).await.unwrap() {
        assert!(request.past_deadline(store.records.now()));
        ended.insert(request.id);
    }
    assert_eq!(ended.len(), 40);
    assert_eq!(claim(WorkQueues::All).await, None, "one lease, whichever queue it was taken from");
}

pub(super) async fn a_purge_is_finished_once<G: Ground>() {
    let ground = G::new();
    let store = ground.open();
    let request = held(&store, 1).await;
    let fence = lease(&store).await.unwrap().fence;
    let early = store
        .records
        .finish_purge(request.id, fence, erasure(&request, &store), &DeletionReceipt::body)
        .await;
    assert!(
        matches!(refused(early), Refusal::WrongState(_) | Refusal::Superseded),
        "not before it has begun"
    );
    let fence = match store.records.request(request.id).await.unwrap().unwrap().lease {
        Some(lease) => lease.fence,
        None => lease(&store).await.unwrap().fence,
    };
    let start = worker(fence, WorkerStep::StartPurge { cause: PurgeCause::Agent });
    let purging = store.records.transition(request.id, start).await.unwrap();
    let first = store
        .records
        .finish_purge(request.id, fence, erasure(&purging, &store), &DeletionReceipt::body)
        .await
        .unwrap();
    assert_eq!(first.receipt.number, 1);
    assert_eq!(first.text, first.receipt.body(), "signed with its number and its place");
    let again = store
        .records
        .finish_purge(request.id, fence, erasure(&purging, &store), &DeletionReceipt::body)
        .await;
    assert_eq!(refused(again), Refusal::StaleLease);
    assert_eq!(store.records.deletion_receipt(1).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.records.deletion_receipt(2).await.unwrap(), None);
    assert_eq!(store.records.by_document(purging.document().unwrap().id).await.unwrap(), None);
}

pub(super) async fn chains_have_no_gaps_under_many_writers<G: Ground + 'static>() {
    let ground = G::new();
    let store = ground.open();
    for n in 0..40 {
        held(&store, n).await;
    }
    let tasks = (0..6).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            while let Some(leased) = lease(&store).await {
                let fence = leased.fence;
                let start = worker(fence, WorkerStep::StartPurge { cause: PurgeCause::Agent });
                let purging = store.records.transition(leased.id, start).await.unwrap();
                store
                    .records
                    .append(AuditEvent::new(store.records.now(), Actor::Operator, AuditAction::ClockAccepted))
                    .await
                    .unwrap();
                store
                    .records
                    .finish_purge(leased.id, fence, erasure(&purging, &store), &DeletionReceipt::body)
                    .await
                    .unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    drop(store);
    let store = ground.open();
    let entries = log(&store).await;
    assert_eq!(entries.iter().filter(|e| e.event.action == AuditAction::ClockAccepted).count(), 40);
    let mut previous = DeletionReceipt::genesis();
    for number in 1..=40 {
        let receipt = store.records.deletion_receipt(number).await.unwrap().unwrap().receipt;
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

pub(super) async fn pages_have_no_gaps_and_no_doubles<G: Ground + 'static>() {
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
        for (index, order) in [None, Some([2; 32])]
            .into_iter()
            .flat_map(|index| [ListOrder::Newest, ListOrder::Oldest, ListOrder::Expiry].map(|order| (index, order)))
        {
            let filter = Filter {
                applicant_index: index,
                order,
                ..Filter::default()
            };
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = store.records.list(&filter, after, limit).await.unwrap();
                assert!(page.requests.len() <= limit);
                seen.extend(page.requests.into_iter().map(|r| (r.created_at, r.id, r.link.expires_at)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(
                seen.iter().map(|(_, id, _)| id).collect::<BTreeSet<_>>().len(),
                seen.len(),
                "doubles"
            );
            let ordered = |pair: &[(OffsetDateTime, RequestId, OffsetDateTime)]| match order {
                ListOrder::Newest => pair[0].0 >= pair[1].0,
                ListOrder::Oldest => pair[0].0 <= pair[1].0,
                ListOrder::Expiry => pair[0].2 <= pair[1].2,
            };
            assert!(seen.windows(2).all(ordered), "{order:?}");
            let old: BTreeSet<_> = seen
                .iter()
                .map(|(_, id, _)| *id)
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

pub(super) async fn a_claim_is_honoured_once<G: Ground + 'static>() {
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
        store.records.transition_once(
            other.id,
            Transition::Agent {
                by: Actor::Operator,
                action: AgentAction::Revoke,
            },
            claim(3, 1),
        )
    };
    assert!(matches!(revoke().await.unwrap(), Claimed::Fresh(_)));
    drop(store);
    let store = ground.open();
    let revoke = |body| {
        store.records.transition_once(
            other.id,
            Transition::Agent {
                by: Actor::Operator,
                action: AgentAction::Revoke,
            },
            claim(3, body),
        )
    };
    assert!(matches!(revoke(1).await.unwrap(), Claimed::Replayed(_)));
    assert!(matches!(revoke(2).await.unwrap(), Claimed::Mismatch));
    assert!(store.records.claimed(&claim(9, 9)).await.unwrap().is_none());
    assert_eq!(
        log(&store)
            .await
            .iter()
            .filter(|e| e.event.action == AuditAction::LinkRevoked)
            .count(),
        1
    );
    assert!(store.records.claim_callback_id([7; 32]).await.unwrap());
    assert!(!store.records.claim_callback_id([7; 32]).await.unwrap());
}

pub(super) async fn what_is_forgotten_stays_dead<G: Ground>() {
    let ground = G::new();
    let store = ground.open();
    let request = add(&store, 1).await;
    let mut link = request.link.clone();
    link.hashed = HashedToken(hash(1, 2));
    link.generation = 2;
    let reissue = Transition::Agent {
        by: Actor::Operator,
        action: AgentAction::Reissue { link, terms_mac: [0; 32] },
    };
    store.records.transition(request.id, reissue).await.unwrap();
    let (found, generation) = store.records.by_link(&request.link.hashed).await.unwrap().unwrap();
    assert_eq!((generation, found.link.generation), (1, 2), "the old link is known and dead");
    ground.forward(Duration::days(9));
    let fence = lease(&store).await.unwrap().fence;
    store
        .records
        .transition(request.id, worker(fence, WorkerStep::NoteExpired))
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
    assert_eq!(store.records.next_due(WorkQueues::All).await.unwrap(), None);
    assert!(store.records.counts().await.unwrap().iter().all(|(_, count)| *count == 0));
    assert!(store.records.timeline(request.id).await.unwrap().is_empty());
    assert!(log(&store).await.iter().any(|e| e.event.action == AuditAction::RequestForgotten));
}

pub(super) async fn a_crash_after_each_step_of_an_upload_leaves_what_the_sweep_finds<G: Ground>() {
    for steps in 0..=3_u8 {
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
        let mut writer = None;
        for step in 0..steps {
            match step {
                0 => {
                    let mut begun = store.blobs.writer(document, 0, 0).await.unwrap();
                    begun.put(&chunk(0)).await.unwrap();
                    writer = Some(begun);
                }
                1 => writer.as_mut().unwrap().put(&chunk(1)).await.unwrap(),
                _ => {
                    let mut stored = stored(document, &store);
                    stored.parts[0].chunks = 2;
                    let mut sealed = walks::sealed(stored, store.records.now());
                    sealed.durable = walks::durable(&super::stored(document, &store)).remove(0);
                    let part = |sealed| Transition::Intake(IntakeStep::StorePart(Box::new(sealed)));
                    let short = store.records.transition(request.id, part(sealed.clone())).await;
                    assert_eq!(refused(short), Refusal::Incomplete);
                    sealed.durable = writer.as_mut().unwrap().sync().await.unwrap();
                    store.records.transition(request.id, part(sealed)).await.unwrap();
                }
            }
        }
        drop(writer);
        drop(store);
        let store = ground.open();
        let request = store.records.request(request.id).await.unwrap().unwrap();
        let owner = store.records.by_document(document).await.unwrap();
        assert_eq!(owner, (steps == 3).then_some(request.id), "{steps}");
        assert_eq!(store.blobs.documents().await.unwrap().len(), usize::from(steps > 0), "{steps}");
        for n in 0..2_u8 {
            // Behind the end of the file is an error, no file is none.
            let found = store.blobs.get(key(n.into())).await.unwrap_or_default();
            // What was put and neither shown nor synced may be there or not.
            let wanted = (steps > n).then(|| chunk(n));
            assert!(found == wanted || (steps < 3 && found.is_none()), "chunk {n} after {steps} steps");
        }
        if steps == 3 {
            assert!(request.held().is_some());
            continue;
        }
        assert!(matches!(request.stage, Stage::Open { .. }), "half a document is none");
        store.records.transition(request.id, discard(document, &store)).await.unwrap();
        assert_eq!(store.records.live_documents().await.unwrap().len(), 1);
        let until = store.records.now() + Duration::seconds(60);
        let leased = store.records.claim_cleanup(until).await.unwrap().unwrap();
        assert_eq!(store.records.claim_cleanup(until).await.unwrap(), None, "one lease at a time");
        store.blobs.delete(document).await.unwrap();
        store.blobs.delete(document).await.unwrap();
        let done = cleaned(&leased, vec![document]);
        store.records.transition(request.id, done).await.unwrap();
        assert_eq!(store.records.next_cleanup().await.unwrap(), None);
        assert!(store.records.live_documents().await.unwrap().is_empty());
        assert!(store.blobs.documents().await.unwrap().is_empty());
        assert_eq!(store.blobs.get(key(0)).await.unwrap(), None);
        // The link is as good as new.
        let again = walks::received(stored(DocumentId(id(5, 1)), &store));
        store.records.transition(request.id, again).await.unwrap();
    }
}
