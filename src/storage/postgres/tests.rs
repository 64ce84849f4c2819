//! What the contract does not say: outages, unknown commits, dropped callers, two portals, and servers that are refused.
#![allow(clippy::unwrap_used)]

mod cluster;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::*;
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::id::DocumentId;
use crate::storage::seal::NotSecret;
use crate::storage::{AuditLog, BlobKey, BlobStore, Outbox, RequestStore};

use cluster::Cluster;

/// The server of this test run.
pub(in crate::storage) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&[]))
}

async fn open(url: &str) -> Result<PostgresStore, OpenError> {
    let database = Database::parse(url, None, 4).unwrap();
    PostgresStore::open(&database, Source::System, Arc::new(NotSecret), Duration::from_secs(10)).await
}

fn event(store: &PostgresStore) -> AuditEvent {
    AuditEvent::new(store.now(), Actor::Operator, AuditAction::ClockAccepted)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_second_portal_is_refused_while_the_first_one_runs() {
    let url = cluster().database();
    let first = open(&url).await.unwrap();
    assert!(matches!(open(&url).await, Err(OpenError::Held)));
    first.answers().await.unwrap();
    drop(first);
    open(&url).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_server_that_would_lose_what_was_acknowledged_is_refused_in_words() {
    let refusal = async |url: &str| match open(url).await {
        Err(OpenError::Refused(refusals)) => refusals.join("; "),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was opened"),
    };
    for value in ["off", "local"] {
        let url = cluster().database();
        let name = url.rsplit('/').next().unwrap();
        cluster().sql("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = {value}"));
        let why = refusal(&url).await;
        assert!(
            why.contains(&format!("synchronous_commit is {value}")) && why.contains("ALTER DATABASE"),
            "{why}"
        );
    }
    let url = cluster().database();
    drop(open(&url).await.unwrap());
    let name = url.rsplit('/').next().unwrap();
    cluster().sql(name, "UPDATE schema_version SET version = 99");
    let why = refusal(&url).await;
    assert!(why.contains("later nightdrop") && why.contains("99"), "{why}");
    let careless = Cluster::start(&["fsync = off", "full_page_writes = off"]);
    let why = refusal(&careless.database()).await;
    assert!(why.contains("fsync is off") && why.contains("full_page_writes is off"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_server_that_is_away_is_busy_and_comes_back_with_everything() {
    let own = Cluster::start(&[]);
    let store = Arc::new(open(&own.database()).await.unwrap());
    for mode in ["immediate", "fast"] {
        let before = store.last_entry().await.unwrap().map_or(0, |entry| entry.sequence);
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut acknowledged = 0;
                    loop {
                        match store.append(event(&store)).await {
                            Ok(()) => acknowledged += 1,
                            // Not applied; or at most this one was, and the server was away for too long to be asked.
                            Err(StorageError::Busy(_) | StorageError::Indeterminate(_)) => return acknowledged,
                            Err(error) => panic!("an outage is {error:?}"),
                        }
                    }
                })
            })
            .collect();
        until(async || {
            store
                .last_entry()
                .await
                .is_ok_and(|last| last.map_or(0, |entry| entry.sequence) > before + 20)
        })
        .await;
        tokio::task::block_in_place(|| own.halt(mode));
        let mut acknowledged = 0;
        for writer in writers {
            acknowledged += writer.await.unwrap();
        }
        let begun = std::time::Instant::now();
        assert!(matches!(store.last_entry().await, Err(StorageError::Busy(_))));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        tokio::task::block_in_place(|| own.go());
        until(async || store.answers().await.is_ok()).await;
        let found = store.last_entry().await.unwrap().map_or(0, |entry| entry.sequence) - before;
        assert!(
            found >= acknowledged && found <= acknowledged + 8,
            "{acknowledged} acknowledged, {found} found"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_caller_that_is_dropped_half_way_leaves_nothing_to_the_next() {
    let url = cluster().database();
    let store = Arc::new(open(&url).await.unwrap());
    for turn in 0..40_u64 {
        let dropped = {
            let store = store.clone();
            async move { store.append(event(&store)).await }
        };
        let _ = tokio::time::timeout(Duration::from_micros(turn * 50), dropped).await;
        store.append(event(&store)).await.unwrap();
    }
    let name = url.rsplit('/').next().unwrap();
    let idle = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND state LIKE 'idle in transaction%'");
    until(async || cluster().sql("postgres", &idle) == "0").await;
    let last = store.last_entry().await.unwrap().unwrap().sequence;
    assert!((40..=80).contains(&last), "{last}");
    let entries = store.entries(0, 100).await.unwrap();
    assert_eq!(entries.len() as u64, last, "acknowledged is committed");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn only_a_server_that_the_named_authority_vouches_for_is_spoken_to_and_encrypted() {
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (right, other) = (made(), made());
    let files = [("server.crt", right.cert.pem()), ("server.key", right.signing_key.serialize_pem())];
    let own = Cluster::with_files(&["ssl = on"], &files);
    let url = own.database();
    let name = url.rsplit('/').next().unwrap();
    let authority = |name: &str, certificate: &rcgen::Certificate| {
        let file = std::env::temp_dir().join(format!("nightdrop-authority-{}-{name}.pem", std::process::id()));
        std::fs::write(&file, certificate.pem()).unwrap();
        file
    };
    let (trusted, foreign) = (authority("right", &right.cert), authority("other", &other.cert));
    let look = async |host: &str, file: &std::path::Path| {
        let url = url.replace("127.0.0.1", host);
        Database::parse(&url, Some(file), 4).unwrap().look().await
    };
    assert!(look("localhost", &trusted).await.unwrap().server.starts_with("PostgreSQL 1"));
    assert!(
        matches!(look("localhost", &foreign).await, Err(OpenError::Away(_))),
        "another authority"
    );
    assert!(matches!(look("127.0.0.1", &trusted).await, Err(OpenError::Away(_))), "another name");
    let database = Database::parse(&url.replace("127.0.0.1", "localhost"), Some(&trusted), 4).unwrap();
    let store = PostgresStore::open(&database, Source::System, Arc::new(NotSecret), Duration::from_secs(10));
    let store = store.await.unwrap();
    store.answers().await.unwrap();
    let sql = format!(
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = '{name}' AND usename = 'nightdrop'"
    );
    assert_eq!(own.sql("postgres", &sql), "t", "every connection is encrypted");
    for file in [trusted, foreign] {
        std::fs::remove_file(file).unwrap();
    }
}

/// The answer to COMMIT is lost, or the commit never happened: the transaction's own number tells.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn an_unanswered_commit_is_asked_for_and_done_once() {
    let url = cluster().database();
    let store = open(&url).await.unwrap();
    let between = proxy::Proxy::before(cluster_port(&url)).await;
    let through = url.replace(&format!(":{}/", cluster_port(&url)), &format!(":{}/", between.port));
    let name = url.rsplit('/').next().unwrap();
    drop(store);
    let store = open(&through).await.unwrap();
    for swallow in [proxy::Cut::BeforeCommit, proxy::Cut::AfterCommit] {
        let before = store.last_entry().await.unwrap().map_or(0, |entry| entry.sequence);
        between.cut(swallow);
        store.append(event(&store)).await.unwrap();
        assert!(between.has_cut(), "{swallow:?}");
        let after = cluster().sql(name, "SELECT number FROM chain WHERE name = 'audit'");
        assert_eq!(after, (before + 1).to_string(), "{swallow:?}: once");
    }
    assert_eq!(store.metrics().unknown, 0);
}

fn cluster_port(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn what_was_deleted_while_it_was_written_is_not_called_durable() {
    let url = cluster().database();
    let store = open(&url).await.unwrap();
    let document = DocumentId([7; 16]);
    let mut writer = store.writer(document, 0, 0).await.unwrap();
    let mut written = 0;
    let refused = loop {
        // Far more than are written at once.
        if written == 20 {
            store.delete(document).await.unwrap();
        }
        if let Err(error) = writer.put(&[1; 9]).await {
            break error;
        }
        written += 1;
    };
    assert!(
        matches!(refused, StorageError::Busy(_)) && written < 40,
        "{refused:?} after {written}"
    );
    let left = cluster().sql(url.rsplit('/').next().unwrap(), "SELECT count(*) FROM chunk");
    assert_eq!(left, "0", "nothing is left that nobody would find");
    let mut writer = store.writer(document, 0, 0).await.unwrap();
    writer.put(&[1; 65_552]).await.unwrap();
    writer.show().await.unwrap();
    let first = BlobKey {
        document,
        file_index: 0,
        chunk: 0,
    };
    assert!(store.get(first).await.unwrap().is_some(), "shown, and not durable yet");
    store.delete(document).await.unwrap();
    writer.put(&[2; 65_552]).await.unwrap();
    assert!(matches!(writer.sync().await, Err(StorageError::Busy(_))));
    assert!(writer.sync().await.is_err(), "nothing but its error");
    let mut writer = store.writer(document, 0, 0).await.unwrap();
    writer.put(&[3; 65_552]).await.unwrap();
    writer.sync().await.unwrap();
    writer.put(&[4; 65_552]).await.unwrap();
    // Somebody goes on behind what was proved.
    let mut writer = store.writer(document, 0, 1).await.unwrap();
    writer.put(&[5; 9]).await.unwrap();
    writer.sync().await.unwrap();
    let chunk = async |chunk| {
        let key = BlobKey {
            document,
            file_index: 0,
            chunk,
        };
        store.get(key).await
    };
    assert_eq!(chunk(0).await.unwrap().unwrap()[..], [3; 65_552]);
    assert_eq!(chunk(1).await.unwrap().unwrap()[..], [5; 9]);
    assert!(matches!(chunk(2).await, Err(crate::storage::ReadError::Final(_))));
}

/// The database's clock is the one that counts, whatever the machine's says; what it said is never taken back by a restart.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn time_is_the_databases_and_never_goes_back() {
    let url = cluster().database();
    let store = open(&url).await.unwrap();
    let shown = store.now();
    store.note_time(shown).await.unwrap();
    let name = url.rsplit('/').next().unwrap();
    let asked: i64 = cluster()
        .sql(name, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        .parse()
        .unwrap();
    let now = crate::storage::clock::to_ms(store.now());
    assert!((now - asked).abs() < 5_000, "{now} {asked}");
    drop(store);
    let store = open(&url).await.unwrap();
    assert!(store.now() >= shown);
}

async fn until(so: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come to that");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A proxy that cuts a connection around a COMMIT.
mod proxy {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    #[derive(Clone, Copy, Debug)]
    pub(super) enum Cut {
        /// The server never sees it.
        BeforeCommit = 1,
        /// The server has done it, and nobody hears of that.
        AfterCommit = 2,
    }

    pub(super) struct Proxy {
        pub(super) port: u16,
        cut: Arc<AtomicU8>,
    }

    impl Proxy {
        pub(super) async fn before(port: u16) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let own = listener.local_addr().unwrap().port();
            let cut = Arc::new(AtomicU8::new(0));
            let shared = cut.clone();
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::spawn(pass(client, server, shared.clone()));
                }
            });
            Self { port: own, cut }
        }

        pub(super) fn cut(&self, cut: Cut) {
            self.cut.store(cut as u8, Ordering::SeqCst);
        }

        pub(super) fn has_cut(&self) -> bool {
            self.cut.load(Ordering::SeqCst) == 0
        }
    }

    async fn pass(client: TcpStream, server: TcpStream, cut: Arc<AtomicU8>) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut deaf = false;
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                read = from_client.read(&mut up) => {
                    let Ok(length @ 1..) = read else { return };
                    let commits = up[..length].windows(7).any(|bytes| bytes == b"COMMIT\0");
                    if commits && cut.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        return;
                    }
                    deaf |= commits && cut.compare_exchange(2, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
                    if to_server.write_all(&up[..length]).await.is_err() { return }
                }
                read = from_server.read(&mut down) => {
                    let Ok(length @ 1..) = read else { return };
                    if deaf || to_client.write_all(&down[..length]).await.is_err() { return }
                }
            }
        }
    }
}
