//! The tables, as numbered SQL files in the binary. They are raised in one transaction under a lock; tables of a later version are refused.

use tokio_postgres::Client;

use super::error::{mend, told};
use crate::chain::Cause;

/// In order; a number that was released is never changed.
const FILES: [&str; 1] = [include_str!("0001.sql")];
/// All of the tables, but for the one with their version.
pub(super) const TABLES: [&str; 20] = [
    "agent",
    "api_key",
    "audit",
    "chain",
    "chunk",
    "claim",
    "dispatch",
    "file",
    "holding",
    "link",
    "meta",
    "preference",
    "receipt",
    "reference",
    "request",
    "saved_view",
    "session",
    "sight",
    "template",
    "term",
];
/// The ends of the two chains before their first entries.
pub(super) const CHAINS: &str = "INSERT INTO chain (name, number, hash) VALUES ('audit', 0, ''), ('receipt', 0, '') ON CONFLICT DO NOTHING";
/// Which version the tables have.
const VERSION: &str = "CREATE TABLE IF NOT EXISTS schema_version (one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL); \
    INSERT INTO schema_version (version) VALUES (0) ON CONFLICT DO NOTHING";
/// The advisory lock of whoever raises them.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7710162562058289253)";

/// Raises the tables to this version; `Some`: why not.
pub(super) async fn run(client: &Client) -> Result<Option<String>, Cause> {
    let done = migrate(client).await;
    match done {
        Ok(None) => client.batch_execute("COMMIT").await.map_err(|error| told(&error))?,
        _ => client.batch_execute("ROLLBACK").await.map_err(|error| told(&error))?,
    }
    done.or_else(|error| mend(&error).map_or_else(|| Err(told(&error)), |mend| Ok(Some(mend))))
}

async fn migrate(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    client.batch_execute(&format!("BEGIN; {LOCK}; {VERSION}")).await?;
    let found = version(client).await?;
    if found > FILES.len() {
        return Ok(Some(newer(found)));
    }
    for file in &FILES[found..] {
        client.batch_execute(file).await?;
    }
    if found < FILES.len() {
        let number = i32::try_from(FILES.len()).unwrap_or(i32::MAX);
        client.execute("UPDATE schema_version SET version = $1", &[&number]).await?;
        tracing::info!(from = found, to = FILES.len(), "the database's tables were made or raised");
    }
    client.batch_execute(CHAINS).await?;
    Ok(None)
}

/// Why the tables cannot be used, if so; looks and changes nothing.
pub(super) async fn refusal(client: &Client) -> Result<Option<String>, Cause> {
    let look = async {
        let there: bool = client
            .query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[])
            .await?
            .get(0);
        if there { version(client).await } else { Ok(0) }
    };
    let found = look.await.map_err(|error: tokio_postgres::Error| told(&error))?;
    Ok((found > FILES.len()).then(|| newer(found)))
}

async fn version(client: &Client) -> Result<usize, tokio_postgres::Error> {
    let row = client.query_one("SELECT version FROM schema_version", &[]).await?;
    Ok(usize::try_from(row.get::<_, i32>(0)).unwrap_or(0))
}

fn newer(found: usize) -> String {
    format!(
        "its tables are of a later nightdrop (version {found}; this one knows {}): run that version",
        FILES.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_known_by_name() {
        let made = FILES.iter().flat_map(|file| file.split("CREATE TABLE ").skip(1));
        let mut made: Vec<_> = made.filter_map(|rest| rest.split_whitespace().next()).collect();
        made.sort_unstable();
        assert_eq!(made, TABLES);
    }
}
