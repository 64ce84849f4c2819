//! Accounts, sessions and API keys. Their rows are sealed under the same keys as in the embedded store; a column only finds one.
//!
//! Whoever changes an account holds a lock that all changes of accounts take, and locks its row first, as whoever opens a session of it does: the last admin cannot be
//! lost twice at once, and a session that is opened while its account changes is either ended with the others or opened afterwards.

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::columns::{self, Seen, append, id_of};
use super::error::Failed;
use super::tx::Tx;
use super::{Core, PostgresStore, meta};
use crate::domain::account::Change;
use crate::domain::agent::{Agent, ApiKey, AuthMethod, Session};
use crate::domain::audit::AuditEvent;
use crate::domain::id::{AgentId, ApiKeyId};
use crate::storage::clock::to_ms;
use crate::storage::directory::{is_admin, is_over};
use crate::storage::seal::{Altered, Sealed, altered_email, altered_key};
use crate::storage::{Claim, Directory, Made, StorageError, key};

/// The single value that holds the words of the first steps.
const FIRST_STEPS: &str = "first-steps";
/// The longest address that is looked for.
const EMAIL: usize = 320;
/// Taken by whoever changes an account.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1402835761022497330)::text";
/// Sessions that one sweep looks at.
const SWEPT: i64 = 10_000;

impl Core {
    fn open<R: Sealed>(&self, place: &[u8], sealed: &[u8]) -> Result<R, Failed> {
        Ok(self.seal.open(place, sealed)?)
    }

    fn close<R: Sealed>(&self, place: &[u8], row: &R) -> Vec<u8> {
        self.seal.close(place, row)
    }
}

/// The key that a row of this id or hash is sealed under.
fn place(letter: u8, row: &Row) -> Vec<u8> {
    key::key(letter, &[row.get::<_, &[u8]>(0)])
}

/// Every row of a table, with the key that it is sealed under.
async fn rows_of(tx: &Tx, letter: u8) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Failed> {
    let sql = match letter {
        key::AGENT => "SELECT id, row FROM agent ORDER BY id",
        key::SESSION => "SELECT cookie, row FROM session ORDER BY cookie",
        _ => "SELECT hash, row FROM api_key ORDER BY hash",
    };
    Ok(tx
        .rows(sql, &[])
        .await?
        .iter()
        .map(|row| (place(letter, row), row.get(1)))
        .collect())
}

/// Those that verify.
async fn all<R: Sealed>(core: &Core, tx: &Tx, letter: u8) -> Result<Vec<(Vec<u8>, R)>, Failed> {
    let mut found = Vec::new();
    for (place, sealed) in rows_of(tx, letter).await? {
        match core.open(&place, &sealed) {
            Ok(row) => found.push((place, row)),
            Err(Failed::Storage(StorageError::Altered(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Those that do not.
async fn altered<R: Sealed>(core: &Core, tx: &Tx, letter: u8) -> Result<Vec<Altered>, Failed> {
    let rows = rows_of(tx, letter).await?;
    Ok(rows
        .iter()
        .filter_map(|(place, sealed)| match core.seal.open::<R>(place, sealed) {
            Err(StorageError::Altered(row)) => Some(row),
            _ => None,
        })
        .collect())
}

async fn agent(core: &Core, tx: &Tx, id: AgentId, lock: &str) -> Result<Option<Agent>, Failed> {
    let row = tx
        .row(&format!("SELECT row FROM agent WHERE id = $1 {lock}"), &[&id.0.as_slice()])
        .await?;
    row.map(|row| core.open(&key::agent(id), row.get(0))).transpose()
}

/// The column only finds the row: which address an account has, its sealed row says.
async fn by_email(core: &Core, tx: &Tx, email: &str) -> Result<Option<Agent>, Failed> {
    let Some(row) = tx.row("SELECT id, row FROM agent WHERE email = $1", &[&email]).await? else {
        return Ok(None);
    };
    let id = AgentId(id_of(&row, 0)?);
    match core.open::<Agent>(&key::agent(id), row.get(1))? {
        other if other.email != email => Err(StorageError::Altered(altered_email(id)).into()),
        found => Ok(Some(found)),
    }
}

async fn put_agent(core: &Core, tx: &Tx, agent: &Agent) -> Result<(), Failed> {
    let email = agent.deleted_at.is_none().then_some(agent.email.as_str());
    let sealed = core.close(&key::agent(agent.id), agent);
    let sql =
        "INSERT INTO agent (id, email, row) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET email = excluded.email, row = excluded.row";
    tx.run(sql, &[&agent.id.0.as_slice(), &email, &sealed]).await.map(drop)
}

async fn put_session(core: &Core, tx: &Tx, cookie: &[u8; 32], session: &Session) -> Result<(), Failed> {
    let sealed = core.close(&key::session(cookie), session);
    let sql = "INSERT INTO session (cookie, row) VALUES ($1, $2) ON CONFLICT (cookie) DO UPDATE SET row = excluded.row";
    tx.run(sql, &[&cookie.as_slice(), &sealed]).await.map(drop)
}

async fn put_api_key(core: &Core, tx: &Tx, place: &[u8], api_key: &ApiKey) -> Result<(), Failed> {
    let sealed = core.close(place, api_key);
    let sql =
        "INSERT INTO api_key (hash, id, row) VALUES ($1, $2, $3) ON CONFLICT (hash) DO UPDATE SET id = excluded.id, row = excluded.row";
    tx.run(sql, &[&&place[1..], &api_key.id.0.as_slice(), &sealed]).await.map(drop)
}

fn made(seen: Seen) -> Made {
    match seen {
        Seen::Made(id) => Made::Before(id),
        Seen::Mismatch => Made::Mismatch,
    }
}

async fn add_agent(core: &Core, tx: &Tx, agent: Agent, claim: Option<&Claim>, event: AuditEvent) -> Result<Made, Failed> {
    if let Some(claim) = claim
        && let Some(seen) = columns::claim(tx, claim, agent.id.0, to_ms(core.clock.now())).await?
    {
        return Ok(made(seen));
    }
    tx.rows(LOCK, &[]).await?;
    match by_email(core, tx, &agent.email).await {
        Ok(None) => {}
        Ok(Some(_)) => return Err(StorageError::Exists("an agent with this e-mail address").into()),
        // Nobody can sign in with such a row, so it must not keep its owner out for ever.
        Err(Failed::Storage(StorageError::Altered(altered))) => {
            let sql = match altered.kind == "agent_email" {
                // A whole account that only the column was changed of stays.
                true => "UPDATE agent SET email = NULL WHERE email = $1",
                false => "DELETE FROM agent WHERE email = $1",
            };
            tx.run(sql, &[&agent.email]).await?;
        }
        Err(error) => return Err(error),
    }
    put_agent(core, tx, &agent).await?;
    append(tx, vec![event]).await?;
    Ok(Made::Fresh)
}

async fn alter_agent(core: &Core, tx: &Tx, id: AgentId, change: Change, event: AuditEvent) -> Result<Option<Agent>, Failed> {
    tx.rows(LOCK, &[]).await?;
    let mut agent = agent(core, tx, id, "FOR UPDATE").await?.ok_or(StorageError::NotFound)?;
    let now = core.clock.now();
    let ends = change.ends_sessions();
    let was_admin = is_admin(&agent);
    if !agent.apply(change, now) {
        return Ok(None);
    }
    // A portal without an admin who can sign in could only be fixed from a shell.
    if was_admin && !is_admin(&agent) {
        let others = all::<Agent>(core, tx, key::AGENT).await?;
        if !others.iter().any(|(_, other)| other.id != id && is_admin(other)) {
            return Ok(None);
        }
    }
    if agent.deleted_at.is_some() {
        tx.run("DELETE FROM preference WHERE agent = $1", &[&id.0.as_slice()]).await?;
        tx.run("DELETE FROM saved_view WHERE agent = $1", &[&id.0.as_slice()]).await?;
        for (place, mut api_key) in all::<ApiKey>(core, tx, key::API_KEY).await? {
            if api_key.made_by == Some(id) {
                api_key.revoked_at.get_or_insert(now);
                put_api_key(core, tx, &place, &api_key).await?;
            }
        }
    }
    if ends {
        for (place, session) in all::<Session>(core, tx, key::SESSION).await? {
            if session.agent == id {
                tx.run("DELETE FROM session WHERE cookie = $1", &[&&place[1..]]).await?;
            }
        }
    }
    put_agent(core, tx, &agent).await?;
    append(tx, vec![event]).await?;
    Ok(Some(agent))
}

/// Locks the account that a session is of, and notes there when somebody last came in; half a session is none.
async fn note_sign_in(core: &Core, tx: &Tx, session: &Session, came_in: bool) -> Result<(), Failed> {
    if !came_in {
        tx.rows("SELECT 1 FROM agent WHERE id = $1 FOR UPDATE", &[&session.agent.0.as_slice()])
            .await?;
        return Ok(());
    }
    if let Some(mut agent) = agent(core, tx, session.agent, "FOR UPDATE").await? {
        agent.signed_in_at = Some(session.created_at);
        put_agent(core, tx, &agent).await?;
    }
    Ok(())
}

async fn replace_session(
    core: &Core,
    tx: &Tx,
    old: &[u8; 32],
    new: &[u8; 32],
    session: &Session,
    event: AuditEvent,
) -> Result<bool, Failed> {
    tx.rows("SELECT 1 FROM agent WHERE id = $1 FOR UPDATE", &[&session.agent.0.as_slice()])
        .await?;
    let row = tx
        .row("SELECT row FROM session WHERE cookie = $1 FOR UPDATE", &[&old.as_slice()])
        .await?;
    let Some(row) = row else { return Ok(false) };
    let before: Session = core.open(&key::session(old), row.get(0))?;
    let came_in = before.how == AuthMethod::PasswordVerified && session.how != AuthMethod::PasswordVerified;
    note_sign_in(core, tx, session, came_in).await?;
    tx.run("DELETE FROM session WHERE cookie = $1", &[&old.as_slice()]).await?;
    put_session(core, tx, new, session).await?;
    append(tx, vec![event]).await?;
    Ok(true)
}

async fn sweep_sessions(core: &Core, tx: &Tx) -> Result<usize, Failed> {
    let now = core.clock.now();
    let rows = tx
        .rows("SELECT cookie, row FROM session ORDER BY cookie LIMIT $1", &[&SWEPT])
        .await?;
    let mut ended = 0;
    for row in &rows {
        let session: Result<Session, _> = core.open(&place(key::SESSION, row), row.get(1));
        if session.map_or(true, |session| is_over(&session, now)) {
            // Not if it was used meanwhile.
            let sql = "DELETE FROM session WHERE cookie = $1 AND row = $2";
            tx.run(sql, &[&row.get::<_, &[u8]>(0), &row.get::<_, &[u8]>(1)]).await?;
            ended += 1;
        }
    }
    Ok(ended)
}

async fn add_api_key(
    core: &Core,
    tx: &Tx,
    hash: &[u8; 32],
    api_key: ApiKey,
    claim: Option<&Claim>,
    event: AuditEvent,
) -> Result<Made, Failed> {
    if let Some(claim) = claim
        && let Some(seen) = columns::claim(tx, claim, api_key.id.0, to_ms(core.clock.now())).await?
    {
        return Ok(made(seen));
    }
    put_api_key(core, tx, &key::api_key(hash), &api_key).await?;
    append(tx, vec![event]).await?;
    Ok(Made::Fresh)
}

async fn revoke_api_key(core: &Core, tx: &Tx, id: ApiKeyId, event: AuditEvent) -> Result<(), Failed> {
    let row = tx
        .row("SELECT hash, row FROM api_key WHERE id = $1 FOR UPDATE", &[&id.0.as_slice()])
        .await?;
    let row = row.ok_or(StorageError::NotFound)?;
    let place = place(key::API_KEY, &row);
    let mut found: ApiKey = match core.open(&place, row.get(1)) {
        // Opens nothing already; now it is gone as well.
        Err(Failed::Storage(StorageError::Altered(_))) => {
            tx.run("DELETE FROM api_key WHERE id = $1", &[&id.0.as_slice()]).await?;
            return append(tx, vec![event]).await;
        }
        other => other?,
    };
    if found.id != id {
        return Err(StorageError::NotFound.into());
    }
    if found.revoked_at.is_none() {
        found.revoked_at = Some(core.clock.now());
        put_api_key(core, tx, &place, &found).await?;
        append(tx, vec![event]).await?;
    }
    Ok(())
}

#[async_trait]
impl Directory for PostgresStore {
    async fn add_agent(&self, agent: Agent, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError> {
        transaction!(self, |core, tx, agent, claim, event| add_agent(
            &core,
            tx,
            agent,
            claim.as_ref(),
            event
        )
        .await)
    }

    async fn alter_agent(&self, id: AgentId, change: Change, event: AuditEvent) -> Result<Option<Agent>, StorageError> {
        transaction!(self, |core, tx, id, change, event| alter_agent(&core, tx, id, change, event).await)
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StorageError> {
        let core = self.core.clone();
        query!(self, |tx, core, id| agent(&core, tx, id, "").await)
    }

    async fn agent_by_email(&self, email: &str) -> Result<Option<Agent>, StorageError> {
        if email.len() > EMAIL || email.contains('\0') {
            return Ok(None);
        }
        let (core, email) = (self.core.clone(), email.to_owned());
        query!(self, |tx, core, email| by_email(&core, tx, &email).await)
    }

    async fn agents(&self) -> Result<Vec<Agent>, StorageError> {
        let core = self.core.clone();
        let found = query!(self, |tx, core| all::<Agent>(&core, tx, key::AGENT).await)?;
        Ok(found.into_iter().map(|(_, agent)| agent).collect())
    }

    async fn altered(&self) -> Result<Vec<Altered>, StorageError> {
        let core = self.core.clone();
        query!(self, |tx, core| {
            let mut found = altered::<Agent>(&core, tx, key::AGENT).await?;
            found.extend(altered::<ApiKey>(&core, tx, key::API_KEY).await?);
            Ok(found)
        })
    }

    async fn open_session(&self, cookie: [u8; 32], session: Session, event: AuditEvent) -> Result<(), StorageError> {
        transaction!(self, |core, tx, cookie, session, event| {
            note_sign_in(&core, tx, &session, session.how != AuthMethod::PasswordVerified).await?;
            put_session(&core, tx, &cookie, &session).await?;
            append(tx, vec![event]).await
        })
    }

    async fn replace_session(&self, old: &[u8; 32], new: [u8; 32], session: Session, event: AuditEvent) -> Result<bool, StorageError> {
        transaction!(self, |core, tx, old, new, session, event| replace_session(
            &core, tx, &old, &new, &session, event
        )
        .await)
    }

    async fn sessions_of(&self, agent: AgentId) -> Result<Vec<([u8; 32], Session)>, StorageError> {
        let core = self.core.clone();
        let found = query!(self, |tx, core| all::<Session>(&core, tx, key::SESSION).await)?;
        let own = found.into_iter().filter(|(_, session)| session.agent == agent);
        Ok(own
            .filter_map(|(place, session)| Some((place[1..].try_into().ok()?, session)))
            .collect())
    }

    async fn session(&self, cookie: &[u8; 32]) -> Result<Option<Session>, StorageError> {
        let core = self.core.clone();
        query!(self, |tx, core, cookie| {
            let row = tx.row("SELECT row FROM session WHERE cookie = $1", &[&cookie.as_slice()]).await?;
            row.map(|row| core.open(&key::session(&cookie), row.get(0))).transpose()
        })
    }

    async fn touch_session(&self, cookie: &[u8; 32], seen_at: OffsetDateTime) -> Result<(), StorageError> {
        transaction!(self, |core, tx, cookie, seen_at| {
            tx.relax();
            let row = tx
                .row("SELECT row FROM session WHERE cookie = $1 FOR UPDATE", &[&cookie.as_slice()])
                .await?;
            if let Some(row) = row {
                let mut session: Session = core.open(&key::session(&cookie), row.get(0))?;
                session.seen_at = seen_at;
                put_session(&core, tx, &cookie, &session).await?;
            }
            Ok(())
        })
    }

    async fn end_session(&self, cookie: &[u8; 32], event: AuditEvent) -> Result<(), StorageError> {
        transaction!(self, |_core, tx, cookie, event| {
            match tx.run("DELETE FROM session WHERE cookie = $1", &[&cookie.as_slice()]).await? {
                0 => Ok(()),
                _ => append(tx, vec![event]).await,
            }
        })
    }

    async fn sweep_sessions(&self) -> Result<usize, StorageError> {
        transaction!(self, |core, tx| sweep_sessions(&core, tx).await)
    }

    async fn first_steps(&self) -> Result<String, StorageError> {
        let found = super::meta::read(&self.core.engine, FIRST_STEPS).await?;
        Ok(found.and_then(|words| String::from_utf8(words).ok()).unwrap_or_default())
    }

    async fn keep_first_steps(&self, words: &str, event: AuditEvent) -> Result<(), StorageError> {
        let words = words.to_owned();
        transaction!(self, |_core, tx, words, event| {
            meta::set(tx, FIRST_STEPS, words.as_bytes()).await?;
            append(tx, vec![event]).await
        })
    }

    async fn add_api_key(&self, hash: [u8; 32], api_key: ApiKey, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError> {
        transaction!(self, |core, tx, hash, api_key, claim, event| add_api_key(
            &core,
            tx,
            &hash,
            api_key,
            claim.as_ref(),
            event
        )
        .await)
    }

    async fn made(&self, claim: &Claim) -> Result<Option<Made>, StorageError> {
        query!(self, |tx, claim| Ok(columns::seen(tx, &claim).await?.map(made)))
    }

    async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StorageError> {
        let core = self.core.clone();
        query!(self, |tx, core, hash| {
            let row = tx.row("SELECT row FROM api_key WHERE hash = $1", &[&hash.as_slice()]).await?;
            row.map(|row| core.open(&key::api_key(&hash), row.get(0))).transpose()
        })
    }

    async fn api_key_by_id(&self, id: ApiKeyId) -> Result<Option<ApiKey>, StorageError> {
        let core = self.core.clone();
        query!(self, |tx, core, id| {
            let row = tx.row("SELECT hash, row FROM api_key WHERE id = $1", &[&id.0.as_slice()]).await?;
            let Some(row) = row else { return Ok(None) };
            match core.open::<ApiKey>(&place(key::API_KEY, &row), row.get(1))? {
                other if other.id != id => Err(StorageError::Altered(altered_key(id)).into()),
                found => Ok(Some(found)),
            }
        })
    }

    async fn touch_api_key(&self, hash: &[u8; 32], used_at: OffsetDateTime) -> Result<(), StorageError> {
        transaction!(self, |core, tx, hash, used_at| {
            tx.relax();
            let place = key::api_key(&hash);
            let row = tx
                .row("SELECT row FROM api_key WHERE hash = $1 FOR UPDATE", &[&hash.as_slice()])
                .await?;
            if let Some(row) = row {
                let mut found: ApiKey = core.open(&place, row.get(0))?;
                found.used_at = Some(used_at);
                put_api_key(&core, tx, &place, &found).await?;
            }
            Ok(())
        })
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StorageError> {
        let core = self.core.clone();
        let found = query!(self, |tx, core| all::<ApiKey>(&core, tx, key::API_KEY).await)?;
        Ok(found.into_iter().map(|(_, api_key)| api_key).collect())
    }

    async fn revoke_api_key(&self, id: ApiKeyId, event: AuditEvent) -> Result<(), StorageError> {
        transaction!(self, |core, tx, id, event| revoke_api_key(&core, tx, id, event).await)
    }
}
