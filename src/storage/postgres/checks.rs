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
    /// Looks at the server and changes nothing. What it is, in words.
    ///
    /// # Errors
    /// As opening it.
    pub async fn look(&self) -> Result<String, OpenError> {
        let client = self.connect().await.map_err(OpenError::Away)?;
        let server = Server::ask(&client).await.map_err(OpenError::Away)?;
        let mut refusals = server.refusals();
        refusals.extend(super::migrations::refusal(&client).await.map_err(OpenError::Away)?);
        if !refusals.is_empty() {
            return Err(OpenError::Refused(refusals));
        }
        let (major, minor) = (server.version / 10_000, server.version % 10_000);
        let Server { synchronous_commit, .. } = server;
        Ok(format!("PostgreSQL {major}.{minor}, synchronous_commit = {synchronous_commit}"))
    }
}
