//! What the chunk files promise, each tried against a real folder, with faults where a disk would have them.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use super::*;

/// Calls that fail: which, on what, and how.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<(&'static str, String, i32)>>);

impl Faults {
    pub(super) fn meet(&self, call: &str, name: &str) -> io::Result<()> {
        let faults = self.0.lock().unwrap();
        let fault = faults.iter().find(|(c, n, _)| *c == call && n == name);
        fault.map_or(Ok(()), |(_, _, errno)| Err(io::Error::from_raw_os_error(*errno)))
    }

    pub(super) fn meet_file(&self, call: &str, file: &File) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        self.meet(call, &path.file_name().unwrap_or_default().to_string_lossy())
    }

    fn set(&self, call: &'static str, name: &str, errno: Errno) {
        self.0.lock().unwrap().push((call, name.to_owned(), errno.raw_os_error()));
    }

    fn heal(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// A store in a folder of its own, removed on drop.
pub(super) struct Scratch {
    path: PathBuf,
    pub(super) store: FileStore,
}

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nightdrop-files-{}-{count}", std::process::id()));
        FileStore::create(&path).unwrap();
        let store = FileStore::open(&path).unwrap();
        Self { path, store }
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn faults(&self) -> &Faults {
        &self.store.0.faults
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn id(n: u8) -> DocumentId {
    DocumentId([n; 16])
}

fn key(document: u8, file_index: u8, chunk: u32) -> BlobKey {
    BlobKey {
        document: id(document),
        file_index,
        chunk,
    }
}

fn whole(fill: u8) -> Vec<u8> {
    vec![fill; CHUNK_LEN]
}

/// Puts whole chunks and a short last one, and makes them durable.
async fn store(store: &FileStore, document: u8, file_index: u8, chunks: u32) -> Durable {
    let mut writer = store.writer(id(document), file_index, 0).await.unwrap();
    for chunk in 1..chunks {
        writer.put(&whole(chunk as u8)).await.unwrap();
    }
    writer.put(&[chunks as u8; 9]).await.unwrap();
    writer.sync().await.unwrap()
}

#[tokio::test]
async fn a_file_is_read_back_chunk_by_chunk_and_private() {
    let scratch = Scratch::new();
    let proof = store(&scratch.store, 1, 0, 3).await;
    assert_eq!(proof, Durable::synced(id(1), 0, 3));
    store(&scratch.store, 1, 1, 1).await;
    for store in [&scratch.store, &FileStore::open(&scratch.path).unwrap()] {
        assert_eq!(store.get(key(1, 0, 0)).await.unwrap().unwrap(), whole(1));
        assert_eq!(store.get(key(1, 0, 1)).await.unwrap().unwrap(), whole(2));
        assert_eq!(store.get(key(1, 0, 2)).await.unwrap().unwrap(), vec![3; 9]);
        assert_eq!(store.get(key(1, 1, 0)).await.unwrap().unwrap(), vec![1; 9]);
        assert_eq!(store.get(key(2, 0, 0)).await.unwrap(), None, "no such document");
        assert_eq!(store.get(key(1, 2, 0)).await.unwrap(), None, "no such file");
        assert!(matches!(store.get(key(1, 0, 3)).await, Err(ReadError::Final(_))), "too short");
        assert_eq!(store.documents().await.unwrap(), vec![id(1)]);
    }
    assert_eq!(scratch.names()[0], "01010101010101010101010101010101.0");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.path), 0o700);
    assert_eq!(mode(&scratch.path.join(&scratch.names()[0])), 0o600);
}

#[tokio::test]
async fn what_a_truncated_file_lost_is_told_apart_from_an_outage() {
    let scratch = Scratch::new();
    store(&scratch.store, 1, 0, 3).await;
    let path = scratch.path.join(&scratch.names()[0]);
    File::options().write(true).open(&path).unwrap().set_len(CHUNK_LEN as u64).unwrap();
    assert!(scratch.store.get(key(1, 0, 0)).await.unwrap().is_some());
    assert!(matches!(scratch.store.get(key(1, 0, 1)).await, Err(ReadError::Final(_))));
    scratch.faults().set("read", &scratch.names()[0], Errno::IO);
    assert!(
        matches!(scratch.store.get(key(1, 0, 0)).await, Err(ReadError::Transient(_))),
        "try again"
    );
    scratch.faults().heal();
    assert!(scratch.store.get(key(1, 0, 0)).await.unwrap().is_some());
}

#[tokio::test]
async fn wrong_chunks_are_refused() {
    let scratch = Scratch::new();
    for chunk in [vec![], vec![0; CHUNK_LEN + 1]] {
        let mut writer = scratch.store.writer(id(1), 0, 0).await.unwrap();
        assert!(matches!(writer.put(&chunk).await, Err(StorageError::Corrupt(_))));
    }
    let mut writer = scratch.store.writer(id(1), 0, 0).await.unwrap();
    writer.put(b"the last").await.unwrap();
    assert!(writer.put(b"behind it").await.is_err());
    assert!(writer.sync().await.is_err(), "nothing is proved after a mistake");
    assert!(scratch.store.writer(id(1), FILES, 0).await.is_err());
}

#[tokio::test]
async fn a_new_file_takes_the_place_of_the_old_one_and_never_its_bytes() {
    let scratch = Scratch::new();
    let mut old = scratch.store.writer(id(1), 0, 0).await.unwrap();
    old.put(&whole(1)).await.unwrap();
    old.put(&whole(2)).await.unwrap();
    let mut new = scratch.store.writer(id(1), 0, 0).await.unwrap();
    new.put(b"new").await.unwrap();
    new.sync().await.unwrap();
    // Whoever wrote the old one writes into nothing, and is told so before a row can name it.
    old.put(&whole(3)).await.unwrap();
    assert_eq!(old.sync().await, Err(StorageError::NotFound));
    assert_eq!(scratch.store.get(key(1, 0, 0)).await.unwrap().unwrap(), b"new".as_slice());
    assert!(scratch.store.get(key(1, 0, 1)).await.is_err());
}

#[tokio::test]
async fn whoever_goes_on_starts_behind_what_was_proved() {
    let scratch = Scratch::new();
    let mut first = scratch.store.writer(id(1), 0, 0).await.unwrap();
    first.put(&whole(1)).await.unwrap();
    assert_eq!(first.sync().await.unwrap(), Durable::synced(id(1), 0, 1));
    first.put(&whole(2)).await.unwrap();
    first.put(&whole(3)).await.unwrap();
    drop(first);
    let mut second = scratch.store.writer(id(1), 0, 1).await.unwrap();
    assert!(scratch.store.get(key(1, 0, 1)).await.is_err(), "what was not proved is cut off");
    second.put(&whole(4)).await.unwrap();
    assert_eq!(second.sync().await.unwrap(), Durable::synced(id(1), 0, 2));
    assert_eq!(scratch.store.get(key(1, 0, 0)).await.unwrap().unwrap(), whole(1));
    assert_eq!(scratch.store.get(key(1, 0, 1)).await.unwrap().unwrap(), whole(4));
    assert!(matches!(
        scratch.store.writer(id(1), 0, 3).await.err(),
        Some(StorageError::Corrupt(_))
    ));
    assert_eq!(scratch.store.writer(id(2), 0, 3).await.err(), Some(StorageError::NotFound));
}

#[tokio::test]
async fn a_failed_sync_proves_nothing_and_harms_no_other_document() {
    for (errno, told) in [(Errno::IO, StorageError::Busy("".into())), (Errno::NOSPC, StorageError::Full)] {
        let scratch = Scratch::new();
        let mut bad = scratch.store.writer(id(1), 0, 0).await.unwrap();
        bad.put(&whole(1)).await.unwrap();
        scratch.faults().set("sync", &scratch.names()[0], errno);
        assert_eq!(bad.sync().await, Err(told.clone()));
        // The kernel would call a second sync a success. Nobody asks it.
        scratch.faults().heal();
        assert_eq!(bad.sync().await, Err(told.clone()));
        assert_eq!(bad.put(&whole(2)).await, Err(told));
        store(&scratch.store, 2, 0, 2).await;
        assert_eq!(scratch.store.get(key(2, 0, 0)).await.unwrap().unwrap(), whole(1));
        assert_eq!(
            scratch.store.0.unsynced.load(Ordering::Relaxed),
            0,
            "what failed is waited for by nobody"
        );
    }
}

#[tokio::test]
async fn a_failed_write_or_folder_sync_proves_nothing_either() {
    let scratch = Scratch::new();
    let mut writer = scratch.store.writer(id(1), 0, 0).await.unwrap();
    scratch.faults().set("write", &scratch.names()[0], Errno::NOSPC);
    assert_eq!(writer.put(&whole(1)).await, Err(StorageError::Full));
    scratch.faults().heal();
    assert_eq!(writer.sync().await, Err(StorageError::Full));
    let mut writer = scratch.store.writer(id(2), 0, 0).await.unwrap();
    writer.put(&whole(1)).await.unwrap();
    scratch.faults().set("sync", "folder", Errno::IO);
    assert_eq!(writer.sync().await, Err(StorageError::Busy("".into())));
    assert_eq!(
        scratch.store.delete(id(2)).await,
        Err(StorageError::Busy("".into())),
        "a deletion is not acknowledged"
    );
    scratch.faults().heal();
    scratch.store.delete(id(2)).await.unwrap();
}

#[tokio::test]
async fn a_sync_behind_the_writers_back_that_failed_is_told_at_the_end() {
    let scratch = Scratch::new();
    let mut writer = scratch.store.writer(id(1), 0, 0).await.unwrap();
    let chunks = OWN_SHARE as usize / CHUNK_LEN + 1;
    scratch.faults().set("sync", &scratch.names()[0], Errno::IO);
    for _ in 0..=chunks {
        writer.put(&whole(1)).await.unwrap();
    }
    let under_way = scratch.store.0.unsynced.load(Ordering::Relaxed);
    assert!(under_way <= 2 * (OWN_SHARE + CHUNK_LEN as u64));
    // The first share is known to be lost by now, or will be; the second one would go well.
    tokio::task::yield_now().await;
    assert_eq!(writer.sync().await, Err(StorageError::Busy("".into())));
}

#[tokio::test]
async fn a_slow_disk_holds_its_writer_up() {
    let scratch = Scratch::new();
    let mut writer = scratch.store.writer(id(1), 0, 0).await.unwrap();
    for _ in 0..4 * OWN_SHARE as usize / CHUNK_LEN {
        writer.put(&whole(1)).await.unwrap();
        assert!(scratch.store.0.unsynced.load(Ordering::Relaxed) <= 2 * (OWN_SHARE + CHUNK_LEN as u64));
    }
    writer.sync().await.unwrap();
    assert_eq!(scratch.store.0.unsynced.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_sync_whose_caller_went_away_is_not_forgotten() {
    let scratch = Scratch::new();
    let mut writer = scratch.store.writer(id(1), 0, 0).await.unwrap();
    writer.put(&whole(1)).await.unwrap();
    scratch.faults().set("sync", &scratch.names()[0], Errno::IO);
    {
        let mut sync = writer.sync();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = sync.as_mut().poll(&mut context);
    }
    assert_eq!(writer.sync().await, Err(StorageError::Busy("".into())));
}

#[tokio::test]
async fn deleting_is_whole_repeatable_and_gives_the_disk_back() {
    let scratch = Scratch::new();
    store(&scratch.store, 1, 0, 40).await;
    store(&scratch.store, 1, 1, 2).await;
    store(&scratch.store, 2, 0, 2).await;
    std::fs::write(scratch.path.join("lost+found"), b"not ours").unwrap();
    let blocks = || -> u64 {
        let sizes = scratch
            .names()
            .into_iter()
            .map(|n| std::fs::metadata(scratch.path.join(n)).unwrap().blocks());
        sizes.sum()
    };
    let before = blocks();
    scratch.store.delete_file(id(1), 1).await.unwrap();
    scratch.store.delete_file(id(1), 1).await.unwrap();
    assert_eq!(scratch.store.get(key(1, 1, 0)).await.unwrap(), None);
    assert_eq!(scratch.store.documents().await.unwrap(), vec![id(1), id(2)]);
    let (one, other) = tokio::join!(scratch.store.delete(id(1)), scratch.store.delete(id(1)));
    assert!(one.is_ok() && other.is_ok());
    scratch.store.delete(id(1)).await.unwrap();
    assert_eq!(scratch.store.documents().await.unwrap(), vec![id(2)]);
    assert!(scratch.store.get(key(2, 0, 1)).await.unwrap().is_some());
    assert!(before - blocks() >= 40 * CHUNK_LEN as u64 / 512);
    assert_eq!(scratch.names().len(), 2, "what is not ours stays");
}

#[tokio::test]
async fn a_file_deleted_while_it_is_written_is_never_proved() {
    let scratch = Scratch::new();
    let mut writer = scratch.store.writer(id(1), 0, 0).await.unwrap();
    writer.put(&whole(1)).await.unwrap();
    scratch.store.delete(id(1)).await.unwrap();
    writer.put(&whole(2)).await.unwrap();
    assert_eq!(writer.sync().await, Err(StorageError::NotFound));
    assert_eq!(scratch.names(), Vec::<String>::new());
}

#[test]
fn a_folder_that_is_not_there_is_never_made() {
    let path = std::env::temp_dir().join(format!("nightdrop-files-none-{}", std::process::id()));
    assert!(FileStore::open(&path).is_err());
    assert!(!path.exists());
    FileStore::create(&path).unwrap();
    assert!(FileStore::create(&path).is_err(), "made once");
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn nobody_is_answered_by_a_sync_that_began_before_the_question() {
    use std::sync::atomic::AtomicU64;
    let rounds = Rounds::default();
    // Marks made before the question, and those that a sync covered.
    let (made, covered, ran) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let mark = made.fetch_add(1, Ordering::SeqCst) + 1;
                    let answer = rounds.share(|| {
                        let upto = made.load(Ordering::SeqCst);
                        std::thread::yield_now();
                        covered.fetch_max(upto, Ordering::SeqCst);
                        ran.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    });
                    assert_eq!(answer, Ok(()));
                    assert!(covered.load(Ordering::SeqCst) >= mark);
                }
            });
        }
    });
    assert!(ran.load(Ordering::SeqCst) < 4_000, "nothing was shared");
}
