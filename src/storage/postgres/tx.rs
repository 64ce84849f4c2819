//! One operation at PostgreSQL: a connection of the pool, a transaction that is surely ended, an outcome that is surely known or surely told.
//!
//! * Every operation runs in a task of its own: a caller that is dropped half-way takes nothing along, so the next user of a connection never finds itself in
//!   somebody else's open transaction.
//! * What failed before COMMIT was sent is rolled back; what failed because of others or of the connection is tried [`TRIES`] times, then it is busy.
//! * Silence after COMMIT is no answer: the transaction's own number is asked for its outcome over another connection, as long as that is the same history of
//!   the same server. Only what cannot be told by then is [`StorageError::Indeterminate`].
//! * Nothing waits for ever: for a connection, a lock, a statement or the answer to a commit there is a time, and a connection that broke it is closed.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, Pool};
use futures_util::future::BoxFuture;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::{Failed, told};
use crate::chain::{Cause, chain};
use crate::storage::StorageError;

/// How often an operation is tried that others, or a broken connection, have rolled back.
const TRIES: u32 = 3;
/// Longer than the server's own `statement_timeout`: past it the connection is taken for dead.
const STATEMENT: Duration = Duration::from_secs(12);
/// A commit may wait for a standby without end.
const COMMIT: Duration = Duration::from_secs(5);
/// How long the outcome of a commit is asked for.
const READ_BACK: Duration = Duration::from_secs(5);
const READ_BACK_EVERY: Duration = Duration::from_millis(100);
/// Which history of the server this is: a promoted standby gives the same numbers to other transactions.
const TIMELINE: &str =
    "SELECT system_identifier::text || '/' || (SELECT timeline_id FROM pg_control_checkpoint())::text FROM pg_control_system()";

/// Values of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Whoever runs operations: the pool, and what they may know before they begin.
pub(super) struct Engine {
    pool: Pool,
    tasks: tokio::runtime::Handle,
    timeline: OnceLock<String>,
    /// Whether this portal is the one that may use the database.
    pub(super) held: AtomicBool,
    pub(super) commits: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) unknown: AtomicU64,
}

/// Whether a transaction may write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Single statements, each of which sees what was committed before it.
    Read,
    Write,
}

/// How a commit ended.
enum Committed {
    Yes,
    /// Rolled back.
    No(Failed),
    /// Nobody answered.
    Unknown(Cause),
}

/// Names the type of a closure that works in a transaction.
pub(super) fn work<T, F>(work: F) -> F
where
    F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T, Failed>>,
{
    work
}

impl Engine {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            tasks: tokio::runtime::Handle::current(),
            timeline: OnceLock::new(),
            held: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        }
    }

    pub(super) fn pool(&self) -> deadpool_postgres::Status {
        self.pool.status()
    }

    /// Which server, and which history of it, outcomes are asked at.
    pub(super) async fn note_timeline(&self) -> Result<(), Failed> {
        let tx = Tx::begin(self, Mode::Read).await?;
        let timeline: String = tx.one(TIMELINE, &[]).await?.get(0);
        let _ = self.timeline.set(timeline);
        Ok(())
    }

    /// One transaction. What `work` returns is returned once it is durable; `work` may run several times.
    pub(super) async fn write<T, F>(self: &Arc<Self>, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T, Failed>> + Send + Sync + 'static,
    {
        self.in_a_task(Mode::Write, work).await
    }

    /// Statements that change nothing.
    pub(super) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T, Failed>> + Send + Sync + 'static,
    {
        self.in_a_task(Mode::Read, work).await
    }

    async fn in_a_task<T, F>(self: &Arc<Self>, mode: Mode, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T, Failed>> + Send + Sync + 'static,
    {
        let this = self.clone();
        let task = self.tasks.spawn(async move { this.tries(mode, &work).await });
        // A task that panicked, or whose runtime ended, may have committed.
        task.await
            .unwrap_or_else(|error| Err(StorageError::Indeterminate(Cause::new(error))))
    }

    async fn tries<T, F>(&self, mode: Mode, work: &F) -> Result<T, StorageError>
    where
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T, Failed>>,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.once(mode, work).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Storage(error)) => return Err(error),
                Err(again) if tried == TRIES => return Err(again.into_storage()),
                Err(Failed::Again(_)) => {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn once<T, F>(&self, mode: Mode, work: &F) -> Result<T, Failed>
    where
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T, Failed>>,
    {
        let tx = Tx::begin(self, mode).await?;
        let answer = match work(&tx).await {
            Ok(answer) => answer,
            Err(error) => {
                tx.roll_back().await;
                return Err(error);
            }
        };
        let number = tx.number().await;
        let relaxed = tx.relaxed.load(Ordering::Acquire);
        match (mode, number) {
            (Mode::Read, _) => Ok(answer),
            (Mode::Write, Err(error)) => {
                tx.roll_back().await;
                Err(error)
            }
            (Mode::Write, Ok(number)) => match tx.commit().await {
                Committed::Yes => {
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    Ok(answer)
                }
                Committed::No(error) => Err(error),
                // What may be done twice is done again.
                Committed::Unknown(why) if relaxed => Err(Failed::Again(why)),
                Committed::Unknown(why) => self.read_back(number, why).await.map(|()| answer),
            },
        }
    }

    /// What became of a transaction whose commit was not answered.
    async fn read_back(&self, number: Option<String>, why: Cause) -> Result<(), Failed> {
        let Some(number) = number else {
            // It has written nothing.
            return Ok(());
        };
        let end = Instant::now() + READ_BACK;
        while Instant::now() < end {
            match self.outcome(&number).await {
                Ok(Some(true)) => return Ok(()),
                Ok(Some(false)) => return Err(Failed::Again(why)),
                Ok(None) => break,
                Err(_) => tokio::time::sleep(READ_BACK_EVERY).await,
            }
        }
        self.unknown.fetch_add(1, Ordering::Relaxed);
        tracing::error!(why = %chain(&why), "the database did not say whether it committed");
        Err(Failed::Storage(StorageError::Indeterminate(why)))
    }

    /// `None`: nobody can tell any more. An error: nobody can tell now.
    async fn outcome(&self, number: &str) -> Result<Option<bool>, Failed> {
        let tx = Tx::begin(self, Mode::Read).await?;
        let timeline: String = tx.one(TIMELINE, &[]).await?.get(0);
        if self.timeline.get() != Some(&timeline) {
            return Ok(None);
        }
        let status: Option<String> = tx.one("SELECT pg_xact_status($1::text::xid8)", &[&number]).await?.get(0);
        match status.as_deref() {
            Some("committed") => Ok(Some(true)),
            Some("aborted") => Ok(Some(false)),
            Some(_) => Err(Failed::Again("the transaction is still in progress".into())),
            None => Ok(None),
        }
    }
}

/// A connection for as long as one operation has it.
pub(super) struct Tx {
    client: Option<Object>,
    mode: Mode,
    begun: AtomicBool,
    /// It need not be durable, and doing it twice does nothing more.
    relaxed: AtomicBool,
    /// Its end was answered.
    ended: AtomicBool,
    broken: AtomicBool,
    number: OnceLock<String>,
}

impl Tx {
    async fn begin(engine: &Engine, mode: Mode) -> Result<Self, Failed> {
        if !engine.held.load(Ordering::Acquire) {
            let why = "the connection that holds the database for this portal is lost";
            return Err(Failed::Storage(StorageError::Busy(why.into())));
        }
        let client = engine.pool.get().await.map_err(|error| match error {
            deadpool_postgres::PoolError::Backend(error) => Failed::Storage(StorageError::Busy(told(&error))),
            _ => Failed::Storage(StorageError::Busy("no connection to PostgreSQL was free in time".into())),
        })?;
        Ok(Self {
            client: Some(client),
            mode,
            begun: AtomicBool::new(false),
            relaxed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            number: OnceLock::new(),
        })
    }

    fn client(&self) -> &Object {
        self.client.as_ref().expect("it is taken out only when this is dropped")
    }

    pub(super) async fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Failed> {
        self.timed(async {
            let statement = self.client().prepare_cached(sql).await?;
            self.within(self.client().query(&statement, values)).await
        })
        .await
    }

    /// Sends a statement, behind the beginning of the transaction if that is still to come: what is sent first is done first, in one round trip.
    async fn within<T>(&self, statement: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, tokio_postgres::Error> {
        if self.mode == Mode::Read || self.begun.swap(true, Ordering::AcqRel) {
            return statement.await;
        }
        let begin = match self.relaxed.load(Ordering::Acquire) {
            true => "BEGIN; SET LOCAL synchronous_commit = off",
            false => "BEGIN",
        };
        let (begun, done) = tokio::join!(biased; self.client().batch_execute(begin), statement);
        if begun.is_err() {
            // The statement may have run by itself, which no rollback ends.
            self.broken.store(true, Ordering::Release);
        }
        begun?;
        done
    }

    /// The first row, if there is one.
    pub(super) async fn row(&self, sql: &str, values: Values<'_>) -> Result<Option<Row>, Failed> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// The row of a statement that always has one.
    pub(super) async fn one(&self, sql: &str, values: Values<'_>) -> Result<Row, Failed> {
        let row = self.row(sql, values).await?;
        row.ok_or(Failed::Storage(StorageError::Corrupt("a statement without its row".into())))
    }

    /// How many rows it changed.
    pub(super) async fn run(&self, sql: &str, values: Values<'_>) -> Result<u64, Failed> {
        self.timed(async {
            let statement = self.client().prepare_cached(sql).await?;
            self.within(self.client().execute(&statement, values)).await
        })
        .await
    }

    /// This transaction need not be durable when it is answered, and may be done twice. Said before its first statement.
    pub(super) fn relax(&self) {
        self.relaxed.store(true, Ordering::Release);
    }

    /// The transaction's number, told by a statement that had to be asked anyway.
    pub(super) fn note_number(&self, number: String) {
        let _ = self.number.set(number);
    }

    async fn timed<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failed> {
        match tokio::time::timeout(STATEMENT, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                if error.as_db_error().is_none() {
                    self.broken.store(true, Ordering::Release);
                }
                Err(error.into())
            }
            Err(_) => {
                self.broken.store(true, Ordering::Release);
                Err(Failed::Storage(StorageError::Busy("PostgreSQL did not answer in time".into())))
            }
        }
    }

    /// `None`: nothing was written.
    async fn number(&self) -> Result<Option<String>, Failed> {
        if self.mode == Mode::Read || !self.begun.load(Ordering::Acquire) || self.relaxed.load(Ordering::Acquire) {
            return Ok(None);
        }
        if let Some(number) = self.number.get() {
            return Ok(Some(number.clone()));
        }
        let number = self.one("SELECT pg_current_xact_id_if_assigned()::text", &[]).await?;
        Ok(number.get(0))
    }

    async fn commit(self) -> Committed {
        if !self.begun.load(Ordering::Acquire) {
            return Committed::Yes;
        }
        match tokio::time::timeout(COMMIT, self.client().batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                self.ended.store(true, Ordering::Release);
                Committed::Yes
            }
            // The server says that it did not commit.
            Ok(Err(error)) if error.as_db_error().is_some_and(is_surely_undone) => Committed::No(error.into()),
            Ok(Err(error)) => Committed::Unknown(told(&error)),
            Err(_) => Committed::Unknown("PostgreSQL did not answer a commit in time".into()),
        }
    }

    async fn roll_back(self) {
        if self.broken.load(Ordering::Acquire) || !self.begun.load(Ordering::Acquire) {
            return;
        }
        let undone = tokio::time::timeout(COMMIT, self.client().batch_execute("ROLLBACK")).await;
        self.ended.store(matches!(undone, Ok(Ok(()))), Ordering::Release);
    }
}

/// A connection whose transaction was not surely ended goes out of the pool for good, also when the work panicked; the server rolls back what is open in it.
impl Drop for Tx {
    fn drop(&mut self) {
        let open = *self.begun.get_mut() && !*self.ended.get_mut();
        if (open || *self.broken.get_mut())
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// Errors by which a commit is refused, and not only its answer lost.
fn is_surely_undone(error: &tokio_postgres::error::DbError) -> bool {
    let code = error.code().code();
    code.starts_with("40") || code.starts_with("23") || code.starts_with("53")
}
