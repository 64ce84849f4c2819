//! The local erasure store against a model, torn pages, failing syncs and wrong files.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;

use super::head::crc32c;
use super::*;
use crate::crypto::testing::{FORMATS, Scratch, vector};

/// Pages in memory whose sync can be made to fail, and which remember what was synced.
#[derive(Default)]
struct Disk {
    pages: Mutex<Vec<u8>>,
    durable: Mutex<Vec<u8>>,
    fail_sync: AtomicBool,
    /// Writes fail after `torn` bytes.
    fail_write: AtomicBool,
    torn: AtomicUsize,
    syncs: AtomicUsize,
}

impl Disk {
    fn new(slots: u64) -> Arc<Disk> {
        let disk = Disk::default();
        *disk.pages.lock().unwrap() = vec![0; offset(slots) as usize];
        *disk.durable.lock().unwrap() = vec![0; offset(slots) as usize];
        Arc::new(disk)
    }

    fn store(self: &Arc<Disk>, slots: u64) -> SlotsFile {
        self.store_with(slots, Arc::new(|_| panic!("aborted")))
    }

    fn store_with(self: &Arc<Disk>, slots: u64, abort: AbortHook) -> SlotsFile {
        SlotsFile::over(Box::new(self.clone()), [1; 16], slots, abort).unwrap()
    }

    /// What a power cut leaves: only what was synced.
    fn cut_power(&self) {
        *self.pages.lock().unwrap() = self.durable.lock().unwrap().clone();
    }

    fn page(&self, index: u64) -> Vec<u8> {
        self.pages.lock().unwrap()[offset(index) as usize..][..PAGE].to_vec()
    }

    fn set(&self, index: u64, bytes: &[u8]) {
        self.pages.lock().unwrap()[offset(index) as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

impl Pages for Arc<Disk> {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.fail_write.load(Ordering::SeqCst) {
            // A page of a living secret is spared: what half an erasure leaves is another test's.
            let torn = if bytes == ZEROS { 0 } else { self.torn.load(Ordering::SeqCst) };
            self.pages.lock().unwrap()[offset as usize..][..torn].copy_from_slice(&bytes[..torn]);
            return Err(io::Error::other("EIO"));
        }
        self.pages.lock().unwrap()[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.fail_sync.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("EIO"));
        }
        *self.durable.lock().unwrap() = self.pages.lock().unwrap().clone();
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.copy_from_slice(&self.pages.lock().unwrap()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn read_direct(&self, offset: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(Some(Zeroizing::new(
            self.durable.lock().unwrap()[offset as usize..][..PAGE].to_vec(),
        )))
    }
}

fn secret(byte: u8) -> ErasureSecret {
    ErasureSecret::from_slice(&[byte; 32]).unwrap()
}

#[test]
fn the_slot_check_vector() {
    let given = vector(FORMATS, "slot");
    let owner = Owner {
        doc_id: given.array("doc_id"),
        generation: u64::from_be_bytes(given.array("generation")),
    };
    let page = live_page(&owner, &ErasureSecret::from_slice(&given.bytes("secret")).unwrap());
    assert_eq!(page[..OWNED_LEN], given.bytes("page"));
    assert_eq!(page[OWNED_LEN..], ZEROS[OWNED_LEN..]);
    assert_eq!(crc32c(b"123456789"), 0xE306_9283, "the published check value of CRC-32C");
}

#[test]
fn a_secret_survives_reopening_and_its_destruction_is_final() {
    let scratch = Scratch::new();
    let path = scratch.path("erase.slots");
    let uuid = SlotsFile::create(&path, 300).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 301 * PAGE as u64);
    let slot = {
        let store = SlotsFile::open(&path, Some(&uuid)).unwrap();
        store.put(&[7; 16], &secret(9)).unwrap()
    };
    let store = SlotsFile::open(&path, Some(&uuid)).unwrap();
    assert_eq!(
        store.report(),
        SlotsReport {
            slots: 300,
            live: 1,
            damaged: 0,
            repaired: 0
        }
    );
    assert_eq!(store.live().unwrap(), [LiveSlot { doc_id: [7; 16], slot }]);
    assert_eq!(store.get(&[7; 16], &slot).unwrap().expose(), &[9; 32]);
    let how = store.destroy(&[7; 16], &slot).unwrap();
    assert!(matches!(how, ReadBack::Direct | ReadBack::Buffered));
    assert!(matches!(store.get(&[7; 16], &slot), Err(EraseError::Erased)));
    drop(store);
    let raw = std::fs::read(&path).unwrap();
    assert!(!raw.windows(16).any(|run| run == [9; 16] || run == [7; 16]));
    let store = SlotsFile::open(&path, Some(&uuid)).unwrap();
    assert_eq!(store.free().unwrap(), 300);
    assert!(matches!(store.destroy(&[7; 16], &slot), Ok(ReadBack::Direct | ReadBack::Buffered)));
}

#[derive(Debug, Clone)]
enum Op {
    Put(u8),
    Get(usize),
    Destroy(usize),
    Foreign(usize),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1u8..255).prop_map(Op::Put),
        3 => (0usize..64).prop_map(Op::Get),
        3 => (0usize..64).prop_map(Op::Destroy),
        2 => (0usize..64).prop_map(Op::Foreign),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    /// Every operation agrees with a map, after any reopening after a power cut; neighbours are untouched.
    #[test]
    fn the_store_agrees_with_a_model(ops in proptest::collection::vec(op(), 25..30)) {
        const SLOTS: u64 = 6;
        let disk = Disk::new(SLOTS);
        let mut store = disk.store(SLOTS);
        // Every put there ever was, and whether it is still alive.
        let mut model: Vec<([u8; 16], SlotRef, u8, bool)> = Vec::new();
        for (step, op) in ops.into_iter().enumerate() {
            let live = model.iter().filter(|entry| entry.3).count() as u64;
            prop_assert_eq!(store.free().unwrap(), SLOTS - live);
            match op {
                Op::Put(byte) => {
                    let doc_id = [step as u8; 16];
                    match store.put(&doc_id, &secret(byte)) {
                        Ok(slot) => model.push((doc_id, slot, byte, true)),
                        Err(EraseError::SlotsFull) => prop_assert_eq!(live, SLOTS),
                        Err(other) => panic!("{other}"),
                    }
                }
                Op::Get(which) if !model.is_empty() => {
                    let (doc_id, slot, byte, alive) = model[which % model.len()];
                    match store.get(&doc_id, &slot) {
                        Ok(found) => prop_assert!(alive && found.expose() == &[byte; 32]),
                        Err(EraseError::Erased | EraseError::OtherOwner) => prop_assert!(!alive),
                        Err(other) => panic!("{other}"),
                    }
                }
                Op::Destroy(which) if !model.is_empty() => {
                    let which = which % model.len();
                    let (doc_id, slot, _, alive) = model[which];
                    let before: Vec<Vec<u8>> = (0..SLOTS).map(|index| disk.page(index)).collect();
                    match store.destroy(&doc_id, &slot) {
                        Ok(how) => prop_assert_eq!(how, ReadBack::Direct),
                        // The place has a new owner, who keeps it.
                        Err(EraseError::OtherOwner) => prop_assert!(!alive),
                        Err(other) => panic!("{other}"),
                    }
                    model[which].3 = false;
                    for index in (0..SLOTS).filter(|index| *index != slot.index || !alive) {
                        prop_assert_eq!(&disk.page(index), &before[index as usize]);
                    }
                }
                Op::Foreign(which) if !model.is_empty() => {
                    let (doc_id, slot, _, alive) = model[which % model.len()];
                    let wrong = SlotRef { generation: slot.generation ^ 1, ..slot };
                    for outcome in [store.destroy(&doc_id, &wrong), store.destroy(&[0xEE; 16], &slot)] {
                        match outcome {
                            Err(EraseError::OtherOwner) => {}
                            Ok(_) => prop_assert!(!alive),
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
                Op::Reopen => {
                    disk.cut_power();
                    drop(store);
                    store = disk.store(SLOTS);
                    prop_assert_eq!((store.report().damaged, store.report().repaired), (0, 0));
                    prop_assert_eq!(store.report().live, live);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn torn_writes_are_absent_and_wait_for_whoever_knows_that_nobody_has_them() {
    let owner = Owner {
        doc_id: [3; 16],
        generation: 8,
    };
    let page = live_page(&owner, &secret(0xC3));
    let slot = SlotRef { index: 0, generation: 8 };
    // Any prefix of a new page over zeros, and any prefix of zeros over a live page.
    let lengths = (0..=128).chain((0..=PAGE).step_by(64));
    for length in lengths {
        for erasing in [false, true] {
            let disk = Disk::new(2);
            if erasing {
                disk.set(0, &page);
                disk.set(0, &[0; PAGE][..length]);
            } else {
                disk.set(0, &page[..length]);
            }
            let before = disk.page(0);
            let store = disk.store(2);
            let whole = if erasing { length == 0 } else { length >= OWNED_LEN };
            let empty = before.iter().all(|byte| *byte == 0);
            assert_eq!(store.get(&[3; 16], &slot).is_ok(), whole, "{length} {erasing}");
            assert_eq!(disk.page(0), before, "{length} {erasing}: opening destroys nothing");
            let damaged = store.damaged().unwrap();
            assert_eq!(damaged.len(), usize::from(!whole && !empty), "{length} {erasing}");
            assert_eq!(store.free().unwrap(), if empty { 2 } else { 1 });
            for slot in damaged {
                assert_eq!(store.destroy_damaged(&slot).unwrap(), ReadBack::Direct);
                assert!(matches!(store.destroy_damaged(&slot), Err(EraseError::OtherOwner)));
                assert_eq!(store.free().unwrap(), 2);
                disk.cut_power();
                assert!(disk.page(0).iter().all(|byte| *byte == 0));
            }
        }
    }
}

#[test]
fn a_flipped_bit_destroys_nothing_that_is_whole() {
    for bit in (0..OWNED_LEN * 8).step_by(5).chain((OWNED_LEN * 8..PAGE * 8).step_by(509)) {
        let disk = Disk::new(2);
        let slot = disk.store(2).put(&[7; 16], &secret(0x5A)).unwrap();
        let good = disk.page(slot.index);
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        disk.set(slot.index, &bad);
        let store = disk.store(2);
        let report = store.report();
        if bit / 8 >= OWNED_LEN {
            // Where nothing is kept: put right, and durable.
            assert_eq!((report.live, report.damaged, report.repaired), (1, 0, 1), "bit {bit}");
            disk.cut_power();
            assert_eq!(disk.page(slot.index), good, "bit {bit}");
            assert_eq!(store.get(&[7; 16], &slot).unwrap().expose(), &[0x5A; 32]);
        } else {
            assert_eq!((report.live, report.damaged, report.repaired), (0, 1, 0), "bit {bit}");
            assert!(matches!(store.get(&[7; 16], &slot), Err(EraseError::Damaged)), "bit {bit}");
            assert_eq!(disk.page(slot.index), bad, "bit {bit}: it is left as it was found");
            assert_eq!(store.free().unwrap(), 1, "bit {bit}: and handed to nobody");
            // Another owner has no say; its own purge destroys it.
            assert!(matches!(
                store.destroy(&[9; 16], &SlotRef { generation: 1, ..slot }),
                Err(EraseError::OtherOwner)
            ));
            assert_eq!(store.destroy(&[7; 16], &slot).unwrap(), ReadBack::Direct, "bit {bit}");
            assert_eq!(store.free().unwrap(), 2);
        }
    }
}

#[test]
fn stray_bits_in_a_free_page_are_wiped_at_opening() {
    let disk = Disk::new(1);
    disk.set(0, &[&[0; 2_000][..], &[1]].concat());
    let store = disk.store(1);
    assert_eq!((store.report().repaired, store.free().unwrap()), (1, 1));
    disk.cut_power();
    assert!(disk.page(0).iter().all(|byte| *byte == 0));
}

#[test]
fn a_fault_of_the_disk_costs_no_slot_and_is_over_when_it_is_over() {
    let disk = Disk::new(2);
    let store = disk.store(2);
    let kept = store.put(&[1; 16], &secret(1)).unwrap();
    for torn in [0, 40, PAGE] {
        disk.fail_write.store(true, Ordering::SeqCst);
        disk.torn.store(torn, Ordering::SeqCst);
        for _ in 0..20 {
            let failed = store.put(&[2; 16], &secret(2)).unwrap_err();
            assert!(matches!(failed, EraseError::Io(_)) && failed.is_transient(), "{failed}");
            let failed = store.destroy(&[1; 16], &kept).unwrap_err();
            assert!(failed.is_transient(), "{failed}");
            assert!(store.ready().unwrap_err().is_transient());
        }
        // What was there is as it was, as far as the fault let it.
        disk.fail_write.store(false, Ordering::SeqCst);
        store.ready().unwrap();
        assert_eq!(store.free().unwrap(), 1, "no place is lost");
        let slot = store.put(&[3; 16], &secret(3)).unwrap();
        assert_eq!(store.get(&[3; 16], &slot).unwrap().expose(), &[3; 32]);
        assert_eq!(store.destroy(&[3; 16], &slot).unwrap(), ReadBack::Direct);
    }
    assert_eq!(store.destroy(&[1; 16], &kept).unwrap(), ReadBack::Direct);
    assert_eq!(store.free().unwrap(), 2);
    disk.cut_power();
    drop(store);
    assert_eq!(disk.store(2).report().damaged, 0);
}

#[test]
fn a_failed_sync_aborts_and_the_purge_completes_after_a_restart() {
    let disk = Disk::new(4);
    let aborts = Arc::new(AtomicUsize::new(0));
    let counted = aborts.clone();
    let store = disk.store_with(
        4,
        Arc::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
    );
    let slot = store.put(&[1; 16], &secret(5)).unwrap();
    disk.fail_sync.store(true, Ordering::SeqCst);
    assert!(
        matches!(store.destroy(&[1; 16], &slot), Err(EraseError::Poisoned)),
        "no success is reported"
    );
    assert_eq!(aborts.load(Ordering::SeqCst), 1);
    for outcome in [
        store.destroy(&[1; 16], &slot).map(|_| ()),
        store.get(&[1; 16], &slot).map(|_| ()),
        store.put(&[2; 16], &secret(6)).map(|_| ()),
    ] {
        assert!(matches!(outcome, Err(EraseError::Poisoned)));
    }
    // The process dies here; the medium still has the secret.
    disk.cut_power();
    drop(store);
    let store = disk.store(4);
    assert_eq!(store.report().live, 1);
    assert_eq!(store.destroy(&[1; 16], &slot).unwrap(), ReadBack::Direct);
    assert_eq!(store.free().unwrap(), 4);
}

#[test]
fn zeros_of_a_process_that_died_before_its_sync_are_synced_by_the_repetition() {
    let disk = Disk::new(1);
    let store = disk.store(1);
    let slot = store.put(&[1; 16], &secret(5)).unwrap();
    drop(store);
    disk.set(0, &[0; PAGE]); // written, never synced; then only the process died
    let store = disk.store(1);
    assert_eq!(store.destroy(&[1; 16], &slot).unwrap(), ReadBack::Direct);
    disk.cut_power();
    assert!(disk.page(0).iter().all(|byte| *byte == 0));
}

#[test]
fn a_destruction_that_the_medium_does_not_show_is_an_error() {
    struct Lying(Arc<Disk>);
    impl Pages for Lying {
        fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write(offset, bytes)
        }
        fn sync(&self) -> io::Result<()> {
            if self.0.syncs.fetch_add(1, Ordering::SeqCst) == 0 {
                self.0.sync()
            } else {
                Ok(())
            }
        }
        fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, bytes)
        }
        fn read_direct(&self, offset: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
            self.0.read_direct(offset)
        }
    }
    let store = SlotsFile::over(Box::new(Lying(Disk::new(1))), [1; 16], 1, Arc::new(|_| ())).unwrap();
    let slot = store.put(&[1; 16], &secret(5)).unwrap();
    assert!(matches!(store.destroy(&[1; 16], &slot), Err(EraseError::Damaged)));
    assert!(matches!(store.destroy(&[1; 16], &slot), Err(EraseError::Damaged)));
}

#[test]
fn wrong_files_are_refused_with_a_reason_and_never_made_anew() {
    let scratch = Scratch::new();
    let path = scratch.path("erase.slots");
    let reason = |expected: Option<&[u8; 16]>| match SlotsFile::open(&path, expected) {
        Err(EraseError::Unusable(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(reason(None).contains("is missing"));
    assert!(!path.exists());

    let uuid = SlotsFile::create(&path, 3).unwrap();
    assert!(matches!(SlotsFile::create(&path, 3), Err(EraseError::Unusable(_))));
    assert!(reason(Some(&[0; 16])).contains("another portal"));
    let good = std::fs::read(&path).unwrap();
    let put_back = |content: &[u8]| std::fs::write(&path, content).unwrap();
    put_back(&good[..good.len() - 1]);
    assert!(reason(None).contains("another length"));
    put_back(&good[..100]);
    assert!(reason(None).contains("shorter"));
    for place in [8, 12, 16, 23, 24, 40, 44, 4095] {
        let mut changed = good.clone();
        changed[place] ^= 1;
        put_back(&changed);
        assert!(reason(None).contains("damaged head"), "byte {place}");
    }
    put_back(&good);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(reason(None).contains("mode 0640"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::hard_link(&path, scratch.path("copy")).unwrap();
    assert!(reason(None).contains("hard link"));
    std::fs::remove_file(scratch.path("copy")).unwrap();
    std::os::unix::fs::symlink(&path, scratch.path("link")).unwrap();
    assert!(matches!(SlotsFile::open(&scratch.path("link"), None), Err(EraseError::Unusable(_))));

    let first = SlotsFile::open(&path, Some(&uuid)).unwrap();
    assert!(reason(None).contains("in use"));
    drop(first);
    assert!(SlotsFile::open(&path, Some(&uuid)).is_ok());
    for slots in [0, MAX_SLOTS + 1] {
        assert!(SlotsFile::create(&scratch.path("other"), slots).is_err());
    }
}

#[test]
fn a_reused_slot_is_not_harmed_by_its_earlier_owner() {
    let disk = Disk::new(1);
    let store = disk.store(1);
    let old = store.put(&[1; 16], &secret(1)).unwrap();
    store.destroy(&[1; 16], &old).unwrap();
    let new = store.put(&[2; 16], &secret(2)).unwrap();
    assert_eq!(old.index, new.index);
    assert!(matches!(store.destroy(&[1; 16], &old), Err(EraseError::OtherOwner)));
    assert!(matches!(store.get(&[1; 16], &old), Err(EraseError::OtherOwner)));
    assert_eq!(store.get(&[2; 16], &new).unwrap().expose(), &[2; 32]);
    let beyond = SlotRef { index: 1, generation: 0 };
    assert!(matches!(store.get(&[2; 16], &beyond), Err(EraseError::NoSuchSlot)));
}

#[test]
fn a_full_store_says_so_and_a_purge_frees_a_slot() {
    let disk = Disk::new(3);
    let store = disk.store(3);
    let slots: Vec<SlotRef> = (1..=3u8).map(|n| store.put(&[n; 16], &secret(n)).unwrap()).collect();
    assert_eq!(store.free().unwrap(), 0);
    assert!(matches!(store.put(&[4; 16], &secret(4)), Err(EraseError::SlotsFull)));
    store.destroy(&[2; 16], &slots[1]).unwrap();
    let slot = store.put(&[4; 16], &secret(4)).unwrap();
    assert_eq!(slot.index, slots[1].index);
    assert_ne!(slot.generation, slots[1].generation);
}

#[test]
fn puts_that_come_together_share_syncs_and_all_are_durable() {
    let disk = Disk::new(64);
    let store = disk.store(64);
    std::thread::scope(|scope| {
        for number in 1..=64u8 {
            let store = &store;
            scope.spawn(move || {
                let slot = store.put(&[number; 16], &secret(number)).unwrap();
                if number % 2 == 0 {
                    store.destroy(&[number; 16], &slot).unwrap();
                    store.destroy(&[number; 16], &slot).map(|_| ()).or_else(only_reused).unwrap();
                }
            });
        }
    });
    disk.cut_power();
    assert!(disk.syncs.load(Ordering::SeqCst) <= 128);
    let store = disk.store(64);
    assert_eq!(store.report().live, 32);
    for live in store.live().unwrap() {
        assert_eq!(store.get(&live.doc_id, &live.slot).unwrap().expose(), &[live.doc_id[0]; 32]);
    }
}

fn only_reused(error: EraseError) -> Result<(), EraseError> {
    match error {
        EraseError::OtherOwner => Ok(()),
        other => Err(other),
    }
}
