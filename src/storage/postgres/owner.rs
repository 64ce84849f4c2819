//! One portal at a time: an advisory lock of the database, held by a connection of its own for as long as the portal runs. The same connection tells the time.
//!
//! When that connection is lost, nothing is done any more until it is back and holds the lock again: meanwhile every operation is busy.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::checks::Server;
use super::connect::{Database, Unreachable};
use super::error::told;
use super::{Core, OpenError, migrations};
use crate::chain::{Cause, chain};
use crate::storage::clock::{Sampled, uptime};

/// How often the time is asked for, and the connection proved.
const EVERY: Duration = Duration::from_secs(1);
/// How often a lost connection is made anew.
const AGAIN: Duration = Duration::from_millis(250);
/// Longer than that and the connection is taken for dead.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a portal before this one may take to be gone.
const GONE: Duration = Duration::from_secs(5);
/// A reading that took longer says too little.
const PRECISE_MS: i64 = 1_000;

const LOCK: &str = "SELECT pg_try_advisory_lock(5643288617273551201)";
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// The connection that holds the lock.
pub(super) struct Taken(Client);

/// Keeps the lock, or gets it back, until it is dropped.
pub(super) struct Owner(JoinHandle<()>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects, looks at the server, takes the lock and raises the tables.
pub(super) async fn take(database: &Database, patience: Duration) -> Result<Taken, OpenError> {
    let begun = Instant::now();
    let client = loop {
        match database.connect().await {
            Ok(client) => break client,
            Err(why @ Unreachable::Refused(_)) => return Err(why.into()),
            Err(why) if begun.elapsed() >= patience => return Err(why.into()),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    let refusals = Server::ask(&client).await.map_err(OpenError::Away)?.refusals();
    if !refusals.is_empty() {
        return Err(OpenError::Refused(refusals));
    }
    let begun = Instant::now();
    while !lock(&client).await.map_err(OpenError::Away)? {
        if begun.elapsed() >= GONE {
            return Err(OpenError::Held);
        }
        tokio::time::sleep(AGAIN).await;
    }
    match migrations::run(&client).await.map_err(OpenError::Away)? {
        Some(refusal) => Err(OpenError::Refused(vec![refusal])),
        None => Ok(Taken(client)),
    }
}

async fn lock(client: &Client) -> Result<bool, Cause> {
    let row = client.query_one(LOCK, &[]).await.map_err(|error| told(&error))?;
    Ok(row.get(0))
}

impl Owner {
    pub(super) fn watch(core: &Arc<Core>, database: &Database, taken: Option<Taken>, sampled: Arc<Sampled>) -> Self {
        let (core, database) = (Arc::downgrade(core), database.clone());
        Self(tokio::spawn(async move {
            match taken {
                Some(Taken(client)) => watch(core, database, client, sampled).await,
                // A second handle of a test holds nothing.
                None => std::future::pending().await,
            }
        }))
    }
}

async fn watch(core: Weak<Core>, database: Database, client: Client, sampled: Arc<Sampled>) {
    let mut holding = Some(client);
    let mut said = false;
    loop {
        tokio::time::sleep(if holding.is_some() { EVERY } else { AGAIN }).await;
        let Some(core) = core.upgrade() else { return };
        match &holding {
            Some(client) => match sample(client, &sampled).await {
                Ok(()) => {
                    if let Err(error) = core.note_clock().await {
                        tracing::warn!(error = %chain(&error), "the time could not be written down");
                    }
                }
                Err(why) => {
                    core.engine.held.store(false, Ordering::Release);
                    tracing::error!(why = %chain(&why), "the database is away; until it is back nothing is taken in, sent or purged");
                    holding = None;
                }
            },
            None => match regain(&database).await {
                Ok(client) => {
                    core.engine.held.store(true, Ordering::Release);
                    tracing::info!("the database is back");
                    holding = Some(client);
                    said = false;
                }
                Err(Absent::Away) => {}
                // Once for each outage, and not with every try.
                Err(Absent::For(_)) if said => {}
                Err(Absent::For(why)) => {
                    tracing::error!(
                        why,
                        "the database is back, and this portal may not use it; it does nothing until that is changed"
                    );
                    said = true;
                }
            },
        }
    }
}

/// Why the lock is not held again.
enum Absent {
    Away,
    For(String),
}

impl From<Unreachable> for Absent {
    fn from(why: Unreachable) -> Self {
        match why {
            Unreachable::Refused(mend) => Self::For(mend),
            Unreachable::Away(_) => Self::Away,
        }
    }
}

impl From<Cause> for Absent {
    fn from(_: Cause) -> Self {
        Self::Away
    }
}

/// A connection that holds the lock again.
async fn regain(database: &Database) -> Result<Client, Absent> {
    let client = database.connect().await?;
    let regained = async {
        let refusals = Server::ask(&client).await?.refusals();
        if !refusals.is_empty() {
            return Err(Absent::For(refusals.join("; ")));
        }
        match lock(&client).await? {
            true => Ok(()),
            false => Err(Absent::For(OpenError::Held.to_string())),
        }
    };
    tokio::time::timeout(ANSWER, regained).await.unwrap_or(Err(Absent::Away))?;
    Ok(client)
}

async fn sample(client: &Client, sampled: &Sampled) -> Result<(), Cause> {
    let before = uptime();
    let asked = tokio::time::timeout(ANSWER, client.query_one(NOW, &[])).await.map_err(Cause::new)?;
    let wall: i64 = asked.map_err(|error| told(&error))?.get(0);
    let after = uptime();
    if after - before <= PRECISE_MS {
        sampled.set(wall, after.midpoint(before));
    }
    Ok(())
}
