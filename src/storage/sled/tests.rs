//! The promises of the embedded store, each tried against a real directory.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::durable::{DurableSled, Options};
use super::error::StoreError;
use super::fsync::injected;
use super::records::{Batch, Rows, VALUE_LIMIT};

/// A directory for one test, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("nightdrop-sled-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn open(&self) -> DurableSled {
        DurableSled::open(&self.0, Options::default()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.0.join("sled/db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Options whose abort hook collects the reasons instead.
fn harmless() -> (Options, Arc<Mutex<Vec<String>>>) {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&reasons);
    let abort = Arc::new(move |why: &str| collected.lock().unwrap().push(why.to_owned()));
    (
        Options {
            abort,
            ..Options::default()
        },
        reasons,
    )
}

fn batch(rows: &[(&str, Option<&str>)]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in rows {
        match value {
            Some(value) => batch.put(*key, *value),
            None => batch.remove(*key),
        };
    }
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_commits_share_a_sync() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let tasks: Vec<_> = (0..64_u8)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..10_u8 {
                    let mut batch = Batch::new();
                    batch.put(vec![task, round], vec![round]);
                    let seq = store.apply(batch).unwrap();
                    store.settled(seq).await.unwrap();
                    // Acknowledged is in the log, not only decided.
                    assert_eq!(store.records().get(&[task, round]).unwrap(), Some(vec![round]));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let metrics = store.metrics();
    assert!(metrics.acknowledged >= 640);
    assert!(metrics.acknowledged > 2 * metrics.flushes, "{metrics:?}");
}

#[test]
fn what_was_settled_is_there_after_reopening() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let seq = store.apply(batch(&[("a", Some("1")), ("b", Some("2"))])).unwrap();
    store.settled_blocking(seq).unwrap();
    drop(store);
    let store = scratch.open();
    assert_eq!(store.records().get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn decisions_see_earlier_ones_and_a_refusal_writes_nothing() {
    let scratch = Scratch::new();
    let store = scratch.open();
    for expected in 0..200_u64 {
        // Never waited for: some of these are read from memory and some from the log.
        let (seen, _) = store
            .decide(|rows| {
                let count = rows.get(b"count")?.map_or(0, |count| u64::from_be_bytes(count.try_into().unwrap()));
                let mut batch = Batch::new();
                batch.put(*b"count", (count + 1).to_be_bytes());
                Ok::<_, StoreError>((batch, count))
            })
            .unwrap();
        assert_eq!(seen, expected);
    }
    let refused = store.decide(|_| {
        let mut batch = Batch::new();
        batch.put(*b"good", *b"x").put(*b"bad", vec![0; VALUE_LIMIT + 1]);
        Ok::<_, StoreError>((batch, ()))
    });
    assert!(matches!(refused, Err(StoreError::Size { .. })));
    store.durable_blocking().unwrap();
    assert_eq!(store.records().get(b"good").unwrap(), None);
    assert_eq!(store.records().get(b"count").unwrap(), Some(200_u64.to_be_bytes().to_vec()));
}

#[test]
fn pages_follow_each_other_without_gaps() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let mut many = Batch::new();
    for number in 0..50_u8 {
        many.put(vec![b'p', number], vec![number]);
    }
    many.put(*b"o", *b"before").put(*b"q", *b"behind");
    store.apply(many).unwrap();
    store.durable_blocking().unwrap();
    let (mut seen, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = store.records().scan_prefix(b"p", after.as_deref(), 7).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page.into_iter().map(|(key, _)| key[1]));
    }
    assert_eq!(seen, (0..50).collect::<Vec<u8>>());
}

#[test]
fn a_second_handle_is_refused_and_the_first_goes_on() {
    let scratch = Scratch::new();
    let store = scratch.open();
    assert_eq!(DurableSled::open(&scratch.0, Options::default()).err(), Some(StoreError::Held));
    store.apply(batch(&[("a", Some("1"))])).unwrap();
    store.durable_blocking().unwrap();
    drop(store);
    assert_eq!(scratch.open().records().get(b"a").unwrap(), Some(b"1".to_vec()));
}

/// As a process has it that was forked from this one and is not another program yet.
#[test]
fn a_copy_of_the_lock_holds_nobody_up() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let copy = store.copy_of_lock().unwrap();
    drop(store);
    drop(scratch.open());
    drop(copy);
}

#[test]
fn nothing_is_acknowledged_while_a_record_is_spilled() {
    let scratch = Scratch::new();
    let (options, reasons) = harmless();
    let store = DurableSled::open(&scratch.0, options).unwrap();
    let spilled = scratch.0.join("sled/blobs/1");
    std::fs::write(&spilled, b"x").unwrap();
    let seq = store.apply(batch(&[("a", Some("1"))])).unwrap();
    assert_eq!(store.settled_blocking(seq), Err(StoreError::Spilled));
    assert_eq!(store.apply(batch(&[("b", Some("1"))])), Err(StoreError::Spilled));
    assert!(
        !reasons.lock().unwrap().is_empty(),
        "a store that answers nothing is no store to go on with"
    );
    drop(store);
    assert_eq!(DurableSled::open(&scratch.0, Options::default()).err(), Some(StoreError::Spilled));
    std::fs::remove_file(spilled).unwrap();
    scratch.open();
}

#[test]
fn a_failed_sync_is_never_acknowledged_and_calls_the_hook() {
    let scratch = Scratch::new();
    let (options, reasons) = harmless();
    let store = DurableSled::open(&scratch.0, options).unwrap();
    injected::fail(&scratch.log(), rustix::io::Errno::IO);
    let seq = store.apply(batch(&[("a", Some("1"))])).unwrap();
    assert!(matches!(store.settled_blocking(seq), Err(StoreError::Unknown(_))));
    assert_eq!(reasons.lock().unwrap().len(), 1);
    assert!(matches!(store.apply(batch(&[("b", Some("1"))])), Err(StoreError::Unknown(_))));
    injected::heal(&scratch.log());
    drop(store);
}

#[test]
fn a_row_that_was_seen_before_its_sync_is_known_to_be_unsettled() {
    let scratch = Scratch::new();
    let (options, _) = harmless();
    let store = DurableSled::open(&scratch.0, options).unwrap();
    let unsettled = |key: &[u8]| store.unsettled([key].into_iter());
    let seq = store.apply(batch(&[("a", Some("1"))])).unwrap();
    store.settled_blocking(seq).unwrap();
    assert_eq!(unsettled(b"a"), Ok(false));
    // Rounds one after the other, each seen as soon as it can be: whatever is read and called settled was synced at least once since.
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..200 {
                let seq = store.apply(batch(&[("a", Some(&round.to_string()))])).unwrap();
                store.settled_blocking(seq).unwrap();
            }
        });
        let (mut before, mut last) = (super::fsync::log_syncs(), store.records().get(b"a").unwrap());
        while !writer.is_finished() {
            let syncs = super::fsync::log_syncs();
            let seen = store.records().get(b"a").unwrap();
            if unsettled(b"a").unwrap() {
                continue;
            }
            // Counted when the state before was still to be seen: the sync of this one came later.
            let synced = super::fsync::log_syncs() > before;
            assert!(seen == last || synced, "{seen:?} was called settled without a sync");
            (before, last) = (syncs, seen);
        }
    });
    injected::fail(&scratch.log(), rustix::io::Errno::IO);
    let seq = store.apply(batch(&[("a", Some("lost"))])).unwrap();
    assert!(store.settled_blocking(seq).is_err());
    assert!(
        matches!(unsettled(b"a"), Err(StoreError::Unknown(_))),
        "seen, perhaps, and never synced"
    );
    injected::heal(&scratch.log());
}

#[test]
fn a_full_disk_is_typed_and_the_store_opens_again() {
    let scratch = Scratch::new();
    let (options, reasons) = harmless();
    let store = DurableSled::open(&scratch.0, options).unwrap();
    let kept = store.apply(batch(&[("kept", Some("1"))])).unwrap();
    store.settled_blocking(kept).unwrap();
    injected::fail(&scratch.log(), rustix::io::Errno::NOSPC);
    let seq = store.apply(batch(&[("a", Some("1"))])).unwrap();
    assert_eq!(store.settled_blocking(seq), Err(StoreError::Full { must_reopen: true }));
    assert_eq!(store.apply(batch(&[("b", Some("1"))])), Err(StoreError::Full { must_reopen: true }));
    assert!(
        !reasons.lock().unwrap().is_empty(),
        "a store that answers nothing is no store to go on with"
    );
    injected::heal(&scratch.log());
    drop(store);
    assert_eq!(scratch.open().records().get(b"kept").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn the_reserve_is_refused_before_anything_is_written() {
    let scratch = Scratch::new();
    let options = Options {
        reserve_bytes: u64::MAX >> 2,
        ..Options::default()
    };
    let store = DurableSled::open(&scratch.0, options).unwrap();
    let full = StoreError::Full { must_reopen: false };
    assert_eq!(store.apply(batch(&[("a", Some("1"))])), Err(full));
    // Making room goes on.
    let mut purge = batch(&[("a", None), ("purged", Some("1"))]);
    purge.frees_space();
    let seq = store.apply(purge).unwrap();
    store.settled_blocking(seq).unwrap();
    assert!(!store.restore_ballast(), "the ballast must not take the reserve");
}

#[test]
fn the_ballast_comes_and_goes() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let ballast = super::ballast::Ballast::of(&scratch.0);
    assert!(ballast.is_held());
    store.release_ballast().unwrap();
    assert!(!ballast.is_held());
    assert!(store.restore_ballast() && ballast.is_held());
}

#[test]
fn garbage_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.0.join("sled")).unwrap();
    std::fs::write(scratch.0.join("sled/conf"), b"not a configuration at all").unwrap();
    assert!(DurableSled::open(&scratch.0, Options::default()).is_err());
    assert_eq!(std::fs::read(scratch.0.join("sled/conf")).unwrap(), b"not a configuration at all");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn decided_rows_lie_over_the_stored_ones(
        layers in proptest::collection::vec(
            proptest::collection::btree_map(proptest::collection::vec(0..4_u8, 1..4), any::<Option<u8>>(), 0..20), 3),
        from in proptest::collection::vec(0..4_u8, 0..4),
        to in proptest::collection::vec(0..4_u8, 0..4),
        limit in 0..20_usize,
    ) {
        let scratch = Scratch::new();
        let db = ::sled::Config::new().path(scratch.0.join("rows")).flush_every_ms(None).open().unwrap();
        let layers: Vec<BTreeMap<Vec<u8>, Option<Vec<u8>>>> = layers.into_iter()
            .map(|layer| layer.into_iter().map(|(key, value)| (key, value.map(|byte| vec![byte]))).collect())
            .collect();
        let mut model = BTreeMap::new();
        for layer in &layers {
            for (key, value) in layer {
                match value {
                    Some(value) => drop(model.insert(key.clone(), value.clone())),
                    None => drop(model.remove(key)),
                }
            }
        }
        for (key, value) in &layers[0] {
            if let Some(value) = value {
                db.insert(key, value.as_slice()).unwrap();
            }
        }
        let rows = Rows::decided(&db, &layers[2], Arc::new(layers[1].clone()));
        for start in [Bound::Unbounded, Bound::Included(from.as_slice()), Bound::Excluded(from.as_slice())] {
            for end in [Bound::Unbounded, Bound::Included(to.as_slice()), Bound::Excluded(to.as_slice())] {
                let found = rows.range(start, end, limit).unwrap();
                let inside = |key: &&Vec<u8>| {
                    std::ops::RangeBounds::<[u8]>::contains(&(start, end), key.as_slice())
                };
                let expected: Vec<_> = model.iter().filter(|(key, _)| inside(key)).take(limit)
                    .map(|(key, value)| (key.clone(), value.clone())).collect();
                prop_assert_eq!(found, expected);
            }
        }
        for key in layers.iter().flat_map(BTreeMap::keys) {
            prop_assert_eq!(rows.get(key).unwrap(), model.get(key).cloned());
        }
    }
}
