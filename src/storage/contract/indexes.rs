//! Whatever happens to the rows, every view of them says the same.

use super::*;

/// Random walks over several requests at once: every view of the store is what the rows say.
pub(super) async fn every_index_says_what_the_rows_say<G: Ground>() {
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
            // A purge comes with its receipt, by a method of its own.
            if matches!(
                &transition,
                Transition::Worker {
                    step: WorkerStep::FinishPurge { .. },
                    ..
                }
            ) {
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
                model.values_mut().for_each(|r| (r.lease, r.cleanup.until) = (None, None));
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
        Transition::Intake(IntakeStep::BeginUpload { document, .. } | IntakeStep::Discard { document, .. }) => mark(document),
        Transition::Intake(IntakeStep::StorePart(sealed)) => {
            mark(&mut sealed.document);
            sealed.durable = walks::durable_part(sealed.document, 0, &sealed.part);
        }
        Transition::Agent {
            action: AgentAction::Reissue { link, .. },
            ..
        } => link.hashed = HashedToken(hash(n, link.generation)),
        Transition::Worker { step, .. } => match step {
            WorkerStep::Delivered { receipt, .. } => receipt.references = vec![format!("ref-{n}")],
            WorkerStep::GiveUp { problem } => *problem = DeliveryProblem::new("x", "y"),
            _ => {}
        },
        _ => {}
    }
    transition
}

pub(super) async fn agree(store: &Store, model: &BTreeMap<RequestId, DocumentRequest>) {
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
    for (outcome, count) in store.records.outcomes().await.unwrap() {
        assert_eq!(count as usize, of(&|r| r.resting_outcome() == outcome).len(), "{outcome:?}");
        let filter = Filter {
            outcome: Some(outcome),
            ..Filter::default()
        };
        let expected = of(&|r| r.resting_outcome() == outcome && r.outcome(now) == outcome);
        assert_eq!(all(filter).await, expected, "{outcome:?}");
    }
    for n in 1..3 {
        let agent = AgentId([n; 16]);
        let of_n = of(&|r| r.assigned == Some(agent));
        let assigned = |assigned| {
            all(Filter {
                assigned: Some(assigned),
                ..Filter::default()
            })
        };
        assert_eq!(assigned(AssignedTo::Agent(agent)).await, of_n, "assigned to {n}");
        // Whoever may not work on it any more has nothing.
        let elsewhere = Some(vec![Team::parse("elsewhere").unwrap()]);
        for (teams, had) in [(None, of_n), (elsewhere, BTreeSet::new())] {
            let but = vec![Colleague { agent, teams }];
            let expected = of(&|r| !had.contains(&r.id));
            assert_eq!(assigned(AssignedTo::Nobody { but }).await, expected, "to nobody");
        }
    }
    let filter = Filter {
        order: ListOrder::Expiry,
        ..Filter::default()
    };
    let usable = |r: &DocumentRequest| matches!(r.stage, Stage::Open { .. }) && r.link.revoked_at.is_none() && r.link.expires_at > now;
    assert_eq!(all(filter).await, of(&usable), "by the ends of links");
    assert_eq!(
        store.records.next_due(WorkQueues::All).await.unwrap(),
        model.values().filter_map(DocumentRequest::due_at).min()
    );
    assert_eq!(
        store.records.next_cleanup().await.unwrap(),
        model.values().filter_map(DocumentRequest::cleanup_at).min()
    );
    let live: BTreeSet<_> = store.records.live_documents().await.unwrap().into_iter().collect();
    let mut expected = BTreeSet::new();
    for request in model.values() {
        expected.extend(request.intakes.iter().map(|r| (r.document, request.id)));
        expected.extend(request.document().map(|d| (d.id, request.id)));
        let (found, generation) = store.records.by_link(&request.link.hashed).await.unwrap().unwrap();
        assert!(generation == request.link.generation && found == *request);
        assert_eq!(store.records.request(request.id).await.unwrap().as_ref(), Some(request));
        for document in request
            .tombstones
            .iter()
            .map(|t| t.document)
            .chain(request.document().map(|d| d.id))
        {
            let filter = Filter {
                receipt_reference: Some(document.receipt_reference()),
                ..Filter::default()
            };
            assert!(all(filter).await.contains(&request.id), "by its receipt");
        }
        for word in &request.search_words {
            let filter = Filter {
                word: Some(*word),
                ..Filter::default()
            };
            assert_eq!(all(filter).await, of(&|r| r.search_words.contains(word)));
        }
        let awaited = request
            .held()
            .is_some_and(|(_, d)| matches!(d.phase, Phase::AwaitingConfirmation { .. }));
        let n = u32::from_be_bytes(request.id.0[..4].try_into().unwrap());
        let found = store.records.by_reference(&request.provider, &format!("ref-{n}")).await.unwrap();
        assert_eq!(found, awaited.then_some(request.id));
    }
    assert_eq!(live, expected);
}
