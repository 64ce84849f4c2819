//! Deletion receipts outlive the rows of their requests, and are dropped from the oldest on.

use super::*;

async fn purged(store: &Store, n: u32) -> SignedReceipt {
    let request = held(store, n).await;
    let until = store.records.now() + Duration::seconds(60);
    let fence = store
        .records
        .transition(request.id, Transition::Lease { until })
        .await
        .unwrap()
        .fence;
    let start = worker(fence, WorkerStep::StartPurge { cause: PurgeCause::Agent });
    let purging = store.records.transition(request.id, start).await.unwrap();
    let erasure = erasure(&purging, store);
    let finished = store.records.finish_purge(request.id, fence, erasure, &DeletionReceipt::body).await;
    finished.unwrap()
}

async fn forget(store: &Store, receipt: &SignedReceipt) {
    let id = receipt.receipt.erasure.request;
    let until = store.records.now() + Duration::seconds(60);
    let leased = store.records.transition(id, Transition::Lease { until }).await.unwrap();
    store.records.forget(id, leased.fence).await.unwrap();
}

async fn kept(store: &Store) -> Vec<u64> {
    let receipts = store.records.deletion_receipts(0, 100).await.unwrap();
    receipts.iter().map(|signed| signed.receipt.number).collect()
}

pub(super) async fn receipts_outlive_their_rows_and_go_from_the_oldest_on<G: Ground>() {
    let ground = G::new();
    let store = ground.open();
    let mut made = Vec::new();
    for n in 0..4 {
        made.push(purged(&store, n).await);
        ground.forward(Duration::days(1));
    }
    assert_eq!(kept(&store).await, [1, 2, 3, 4]);
    let behind = store.records.deletion_receipts(1, 2).await.unwrap();
    assert_eq!(behind, made[1..3]);
    let first = made[0].receipt.erasure.purged_at;
    let later = store.records.now();
    assert_eq!(store.records.drop_receipts(later, 100).await.unwrap(), 0, "all rows are there");
    for receipt in [&made[0], &made[1], &made[3]] {
        forget(&store, receipt).await;
    }
    assert_eq!(kept(&store).await, [1, 2, 3, 4], "a receipt does not go with its row");
    assert_eq!(store.records.drop_receipts(first, 100).await.unwrap(), 0, "not before its time");
    let soon = first + Duration::hours(1);
    assert_eq!(store.records.drop_receipts(soon, 100).await.unwrap(), 1);
    assert_eq!(
        store.records.drop_receipts(later, 100).await.unwrap(),
        1,
        "the third one's row is there"
    );
    assert_eq!(kept(&store).await, [3, 4]);
    forget(&store, &made[2]).await;
    assert_eq!(store.records.drop_receipts(later, 100).await.unwrap(), 1);
    assert_eq!(store.records.drop_receipts(later, 100).await.unwrap(), 0, "never the newest");
    drop(store);
    let store = ground.open();
    assert_eq!(kept(&store).await, [4]);
    let next = purged(&store, 9).await.receipt;
    assert_eq!((next.number, next.previous), (5, made[3].receipt.hash), "the chain goes on");
    let dropped: Vec<_> = log(&store)
        .await
        .into_iter()
        .filter(|entry| entry.event.action == AuditAction::ReceiptsDropped)
        .map(|entry| {
            entry
                .event
                .detail
                .iter()
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(dropped, ["1 1 1", "1 2 2", "1 3 3"]);
}
