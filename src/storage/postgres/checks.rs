//! What a server must be before it keeps anything: each refusal with its mend. The doctor asks the same.

use tokio_postgres::Client;

use super::OpenError;
use super::connect::Database;
use super::error::told;
use crate::chain::Cause;

/// The oldest server that is used.
const OLDEST: i32 = 15;

const SETTINGS: &str = "SELECT current_setting('server_version_num'), current_setting('fsync'), current_setting('full_page_writes'), \
    current_setting('synchronous_commit'), pg_is_in_recovery()::text, current_setting('server_encoding')";

/// Whether somebody has the lock of [`super::owner`].
const IS_HELD: &str = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND (classid::bigint << 32 | objid::bigint) = 5643288617273551201)";

/// What the server said of itself.
pub(super) struct Server {
    version: i32,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    standby: bool,
    encoding: String,
}

impl Server {
    pub(super) async fn ask(client: &Client) -> Result<Self, Cause> {
        let row = client.query_one(SETTINGS, &[]).await.map_err(|error| told(&error))?;
        Ok(Self {
            version: row.get::<_, String>(0).parse().unwrap_or(0),
            fsync: row.get(1),
            full_page_writes: row.get(2),
            synchronous_commit: row.get(3),
            standby: row.get::<_, &str>(4) == "true",
            encoding: row.get(5),
        })
    }

    /// Why it is refused; nothing when it is not.
    pub(super) fn refusals(&self) -> Vec<String> {
        let major = self.version / 10_000;
        let mut refusals = Vec::new();
        if major < OLDEST {
            refusals.push(format!("the server is PostgreSQL {major}: use {OLDEST} or later"));
        }
        for (name, value) in [("fsync", &self.fsync), ("full_page_writes", &self.full_page_writes)] {
            if value != "on" {
                refusals.push(format!(
                    "{name} is {value}, so a power cut loses what was acknowledged: set {name} = on in postgresql.conf"
                ));
            }
        }
        if ["off", "local"].contains(&self.synchronous_commit.as_str()) {
            refusals.push(format!(
                "synchronous_commit is {}, so what was acknowledged may be lost: set it to on for this database or user (ALTER DATABASE … SET synchronous_commit = on)",
                self.synchronous_commit
            ));
        }
        if self.standby {
            refusals.push("the server is a standby and cannot be written to: name the primary, or promote it".to_owned());
        }
        if self.encoding != "UTF8" {
            refusals.push(format!(
                "the database's encoding is {}: make it with ENCODING 'UTF8'",
                self.encoding
            ));
        }
        refusals
    }
}

impl Database {
    /// Looks at the server and changes nothing.
    ///
    /// # Errors
    /// As opening it.
    pub async fn look(&self) -> Result<Looked, OpenError> {
        let client = self.connect().await?;
        let server = Server::ask(&client).await.map_err(OpenError::Away)?;
        let mut refusals = server.refusals();
        refusals.extend(super::migrations::refusal(&client).await.map_err(OpenError::Away)?);
        if !refusals.is_empty() {
            return Err(OpenError::Refused(refusals));
        }
        let (major, minor) = (server.version / 10_000, server.version % 10_000);
        let Server { synchronous_commit, .. } = server;
        let held = client.query_one(IS_HELD, &[]).await.map_err(|e| OpenError::Away(told(&e)))?.get(0);
        Ok(Looked {
            server: format!("PostgreSQL {major}.{minor}, synchronous_commit = {synchronous_commit}"),
            portal: portal(&client).await.map_err(|e| OpenError::Away(told(&e)))?,
            held,
        })
    }
}

/// What a look at a database finds.
pub struct Looked {
    /// In words.
    pub server: String,
    /// The portal whose records it holds.
    pub portal: Option<Vec<u8>>,
    /// A portal runs on it now.
    pub held: bool,
}

async fn portal(client: &Client) -> Result<Option<Vec<u8>>, tokio_postgres::Error> {
    let there: bool = client.query_one("SELECT to_regclass('meta') IS NOT NULL", &[]).await?.get(0);
    if !there {
        return Ok(None);
    }
    let row = client.query_opt("SELECT value FROM meta WHERE name = 'portal'", &[]).await?;
    Ok(row.map(|row| row.get(0)))
}
