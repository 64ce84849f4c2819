//! Accounts, sessions, API keys and the audit log in the embedded store.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::account::Change;
use crate::domain::agent::{Agent, ApiKey, AuthMethod, Session};
use crate::domain::audit::{AuditEntry, AuditEvent};
use crate::domain::id::{AgentId, ApiKeyId, RequestId};
use crate::storage::directory::{is_admin, is_over};
use crate::storage::record::Record;
use crate::storage::seal::{Altered, Seal, Sealed, altered_email, altered_key};
use crate::storage::{AuditLog, Claim, Directory, Made, StorageError, key};

use super::records::{Batch, Rows};
use super::rows::{made_by, write_claim};
use super::{Failed, SledStore, append, map_store_error, read_row, read_sealed};

/// The single value that holds the words of the first steps.
const FIRST_STEPS: &str = "first-steps";

#[async_trait]
impl Directory for SledStore {
    async fn add_agent(&self, agent: Agent, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError> {
        self.decide(|rows, now| {
            if let Some(made) = claim.as_ref().map(|c| made_by(rows, c)).transpose()?.flatten() {
                return Ok((Batch::new(), made));
            }
            let mut batch = Batch::new();
            match by_email(&*self.seal, rows, &agent.email) {
                Ok(None) => {}
                Ok(Some(_)) => return Err(Failed::Storage(StorageError::Exists("an agent with this e-mail address"))),
                // Nobody can sign in with such a row, so it must not keep its owner out for ever.
                Err(Failed::Storage(StorageError::Altered(_))) => remove_altered(&*self.seal, rows, &mut batch, &agent.email)?,
                Err(error) => return Err(error),
            }
            put(&*self.seal, &mut batch, key::agent(agent.id), &agent);
            batch.put(key::email(&agent.email), agent.id.0.to_vec());
            append(rows, &mut batch, vec![event])?;
            if let Some(claim) = &claim {
                write_claim(rows, &mut batch, claim, agent.id.0, now)?;
            }
            Ok((batch, Made::Fresh))
        })
        .await
    }

    async fn alter_agent(&self, id: AgentId, change: Change, event: AuditEvent) -> Result<Option<Agent>, StorageError> {
        self.decide(|rows, now| {
            let mut agent: Agent = read_sealed(&*self.seal, rows, &key::agent(id))?.ok_or(Failed::Storage(StorageError::NotFound))?;
            let mut batch = Batch::new();
            let ends = change.ends_sessions();
            let (was_admin, email) = (is_admin(&agent), agent.email.clone());
            if !agent.apply(change, now) {
                return Ok((batch, None));
            }
            // A portal without an admin who can sign in could only be fixed from a shell.
            if was_admin && !is_admin(&agent) {
                let others = all::<Agent>(&*self.seal, rows, key::AGENT)?;
                if !others.iter().any(|a| a.id != id && is_admin(a)) {
                    return Ok((batch, None));
                }
            }
            if agent.deleted_at.is_some() {
                batch.remove(key::email(&email));
                batch.remove(key::notification_preferences(id));
                batch.remove(key::saved_views(id));
                for (k, mut api_key) in keys_of(&*self.seal, rows, id)? {
                    api_key.revoked_at.get_or_insert(now);
                    put(&*self.seal, &mut batch, k, &api_key);
                }
            }
            if ends {
                for (k, _, _) in of_agent(&*self.seal, rows, id)? {
                    batch.remove(k);
                }
            }
            put(&*self.seal, &mut batch, key::agent(id), &agent);
            append(rows, &mut batch, vec![event])?;
            Ok((batch, Some(agent)))
        })
        .await
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StorageError> {
        read_sealed(&*self.seal, &self.store.records(), &key::agent(id)).map_err(Failed::into_storage)
    }

    async fn agent_by_email(&self, email: &str) -> Result<Option<Agent>, StorageError> {
        if email.len() > 320 {
            return Ok(None);
        }
        by_email(&*self.seal, &self.store.records(), email).map_err(Failed::into_storage)
    }

    async fn agents(&self) -> Result<Vec<Agent>, StorageError> {
        all(&*self.seal, &self.store.records(), key::AGENT).map_err(Failed::into_storage)
    }

    async fn altered(&self) -> Result<Vec<Altered>, StorageError> {
        let rows = self.store.records();
        let mut found = altered::<Agent>(&*self.seal, &rows, key::AGENT).map_err(Failed::into_storage)?;
        found.extend(altered::<ApiKey>(&*self.seal, &rows, key::API_KEY).map_err(Failed::into_storage)?);
        Ok(found)
    }

    async fn open_session(&self, cookie: [u8; 32], session: Session, event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            put(&*self.seal, &mut batch, key::session(&cookie), &session);
            note_sign_in(&*self.seal, rows, &mut batch, &session)?;
            append(rows, &mut batch, vec![event])?;
            Ok((batch, ()))
        })
        .await
    }

    async fn replace_session(&self, old: &[u8; 32], new: [u8; 32], session: Session, event: AuditEvent) -> Result<bool, StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            let Some(before) = read_sealed::<Session>(&*self.seal, rows, &key::session(old))? else {
                return Ok((batch, false));
            };
            if before.how == AuthMethod::PasswordVerified {
                note_sign_in(&*self.seal, rows, &mut batch, &session)?;
            }
            batch.remove(key::session(old));
            put(&*self.seal, &mut batch, key::session(&new), &session);
            append(rows, &mut batch, vec![event])?;
            Ok((batch, true))
        })
        .await
    }

    async fn sessions_of(&self, agent: AgentId) -> Result<Vec<([u8; 32], Session)>, StorageError> {
        let found = of_agent(&*self.seal, &self.store.records(), agent).map_err(Failed::into_storage)?;
        Ok(found.into_iter().map(|(_, hash, session)| (hash, session)).collect())
    }

    async fn session(&self, cookie: &[u8; 32]) -> Result<Option<Session>, StorageError> {
        read_sealed(&*self.seal, &self.store.records(), &key::session(cookie)).map_err(Failed::into_storage)
    }

    async fn touch_session(&self, cookie: &[u8; 32], seen_at: OffsetDateTime) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            if let Some(mut session) = read_sealed::<Session>(&*self.seal, rows, &key::session(cookie))? {
                session.seen_at = seen_at;
                put(&*self.seal, &mut batch, key::session(cookie), &session);
            }
            Ok((batch, ()))
        })
        .await
    }

    async fn end_session(&self, cookie: &[u8; 32], event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            if rows.get(&key::session(cookie))?.is_some() {
                batch.remove(key::session(cookie));
                append(rows, &mut batch, vec![event])?;
            }
            Ok((batch, ()))
        })
        .await
    }

    async fn sweep_sessions(&self) -> Result<usize, StorageError> {
        self.decide(|rows, now| {
            let mut batch = Batch::new();
            let mut ended = 0;
            for (k, row) in rows.scan_prefix(&[key::SESSION], None, 10_000)? {
                let dead = self.seal.open::<Session>(&k, &row).map_or(true, |session| is_over(&session, now));
                if dead {
                    batch.remove(k);
                    ended += 1;
                }
            }
            Ok((batch, ended))
        })
        .await
    }

    async fn first_steps(&self) -> Result<String, StorageError> {
        let found = self.store.records().get(&key::meta(FIRST_STEPS)).map_err(map_store_error)?;
        Ok(found.and_then(|words| String::from_utf8(words.to_vec()).ok()).unwrap_or_default())
    }

    async fn keep_first_steps(&self, words: &str, event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            batch.put(key::meta(FIRST_STEPS), words.as_bytes().to_vec());
            append(rows, &mut batch, vec![event])?;
            Ok((batch, ()))
        })
        .await
    }

    async fn add_api_key(&self, hash: [u8; 32], api_key: ApiKey, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError> {
        self.decide(|rows, now| {
            if let Some(made) = claim.as_ref().map(|c| made_by(rows, c)).transpose()?.flatten() {
                return Ok((Batch::new(), made));
            }
            let mut batch = Batch::new();
            put(&*self.seal, &mut batch, key::api_key(&hash), &api_key);
            batch.put(key::api_key_by_id(api_key.id), hash.to_vec());
            append(rows, &mut batch, vec![event])?;
            if let Some(claim) = &claim {
                write_claim(rows, &mut batch, claim, api_key.id.0, now)?;
            }
            Ok((batch, Made::Fresh))
        })
        .await
    }

    async fn made(&self, claim: &Claim) -> Result<Option<Made>, StorageError> {
        let made = made_by(&self.store.records(), claim).map_err(Failed::into_storage)?;
        self.shown().await?;
        Ok(made)
    }

    async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StorageError> {
        read_sealed(&*self.seal, &self.store.records(), &key::api_key(hash)).map_err(Failed::into_storage)
    }

    async fn api_key_by_id(&self, id: ApiKeyId) -> Result<Option<ApiKey>, StorageError> {
        let rows = self.store.records();
        let Some(hash) = rows.get(&key::api_key_by_id(id)).map_err(map_store_error)? else {
            return Ok(None);
        };
        let found = read_sealed::<ApiKey>(&*self.seal, &rows, &key::key(key::API_KEY, &[&hash])).map_err(Failed::into_storage)?;
        match found {
            Some(other) if other.id != id => Err(StorageError::Altered(altered_key(id))),
            found => Ok(found),
        }
    }

    async fn touch_api_key(&self, hash: &[u8; 32], used_at: OffsetDateTime) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            if let Some(mut found) = read_sealed::<ApiKey>(&*self.seal, rows, &key::api_key(hash))? {
                found.used_at = Some(used_at);
                put(&*self.seal, &mut batch, key::api_key(hash), &found);
            }
            Ok((batch, ()))
        })
        .await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StorageError> {
        all(&*self.seal, &self.store.records(), key::API_KEY).map_err(Failed::into_storage)
    }

    async fn revoke_api_key(&self, id: ApiKeyId, event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, now| {
            let hash = rows.get(&key::api_key_by_id(id))?.ok_or(Failed::Storage(StorageError::NotFound))?;
            let k = key::key(key::API_KEY, &[&hash]);
            let mut batch = Batch::new();
            let mut found = match read_sealed::<ApiKey>(&*self.seal, rows, &k) {
                Ok(Some(found)) if found.id == id => found,
                // Opens nothing already; now it is gone as well.
                Err(Failed::Storage(StorageError::Altered(_))) => {
                    batch.remove(k);
                    batch.remove(key::api_key_by_id(id));
                    append(rows, &mut batch, vec![event])?;
                    return Ok((batch, ()));
                }
                Ok(_) => return Err(Failed::Storage(StorageError::NotFound)),
                Err(error) => return Err(error),
            };
            if found.revoked_at.is_none() {
                found.revoked_at = Some(now);
                put(&*self.seal, &mut batch, k, &found);
                append(rows, &mut batch, vec![event])?;
            }
            Ok((batch, ()))
        })
        .await
    }
}

#[async_trait]
impl AuditLog for SledStore {
    async fn append(&self, event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            append(rows, &mut batch, vec![event])?;
            Ok((batch, ()))
        })
        .await
    }

    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StorageError> {
        let found = {
            let rows = self.store.records();
            let behind = key::audit(after);
            rows.scan_prefix(&[key::AUDIT], Some(&behind), limit).map_err(map_store_error)?
        };
        self.shown().await?;
        found
            .iter()
            .map(|(_, row)| AuditEntry::decode(row))
            .collect::<Result<_, _>>()
            .map_err(|e| Failed::from(e).into_storage())
    }

    async fn timeline(&self, request: RequestId) -> Result<Vec<AuditEntry>, StorageError> {
        let found = {
            let rows = self.store.records();
            let mut found = Vec::new();
            for (k, _) in rows
                .scan_prefix(&key::key(key::TIMELINE, &[&request.0]), None, 1_000)
                .map_err(map_store_error)?
            {
                let Some(sequence) = k.get(17..25).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes) else {
                    continue;
                };
                found.extend(read_row::<AuditEntry>(&rows, &key::audit(sequence)).map_err(Failed::into_storage)?);
            }
            found
        };
        self.shown().await?;
        Ok(found)
    }
}

/// When somebody last came in; half a session is none.
fn note_sign_in(seal: &dyn Seal, rows: &Rows<'_>, batch: &mut Batch, session: &Session) -> Result<(), Failed> {
    if session.how == AuthMethod::PasswordVerified {
        return Ok(());
    }
    if let Some(mut agent) = read_sealed::<Agent>(seal, rows, &key::agent(session.agent))? {
        agent.signed_in_at = Some(session.created_at);
        put(seal, batch, key::agent(agent.id), &agent);
    }
    Ok(())
}

/// The API keys that an agent made.
fn keys_of(seal: &dyn Seal, rows: &Rows<'_>, agent: AgentId) -> Result<Vec<(Vec<u8>, ApiKey)>, Failed> {
    let found = rows.scan_prefix(&[key::API_KEY], None, usize::MAX)?.into_iter();
    let keys = found.filter_map(|(k, row)| seal.open::<ApiKey>(&k, &row).ok().map(|key| (k, key)));
    Ok(keys.filter(|(_, key)| key.made_by == Some(agent)).collect())
}

/// Key, hash of the cookie, session.
type SessionRow = (Vec<u8>, [u8; 32], Session);

/// Everything that an agent has open. Sessions live for hours: there are never many.
fn of_agent(seal: &dyn Seal, rows: &Rows<'_>, agent: AgentId) -> Result<Vec<SessionRow>, Failed> {
    let mut found = Vec::new();
    for (k, row) in rows.scan_prefix(&[key::SESSION], None, usize::MAX)? {
        if let (Ok(session), Ok(hash)) = (seal.open::<Session>(&k, &row), k[1..].try_into())
            && session.agent == agent
        {
            found.push((k, hash, session));
        }
    }
    Ok(found)
}

/// Those that verify.
fn all<R: Sealed>(seal: &dyn Seal, rows: &Rows<'_>, letter: u8) -> Result<Vec<R>, Failed> {
    let mut found = Vec::new();
    for (k, row) in rows.scan_prefix(&[letter], None, usize::MAX)? {
        match seal.open(&k, &row) {
            Ok(row) => found.push(row),
            Err(StorageError::Altered(_)) => {}
            Err(error) => return Err(Failed::Storage(error)),
        }
    }
    Ok(found)
}

/// Those that do not.
fn altered<R: Sealed>(seal: &dyn Seal, rows: &Rows<'_>, letter: u8) -> Result<Vec<Altered>, Failed> {
    let rows = rows.scan_prefix(&[letter], None, usize::MAX)?;
    Ok(rows
        .iter()
        .filter_map(|(k, row)| match seal.open::<R>(k, row) {
            Err(StorageError::Altered(row)) => Some(row),
            _ => None,
        })
        .collect())
}

fn put<R: Sealed>(seal: &dyn Seal, batch: &mut Batch, k: Vec<u8>, row: &R) {
    let sealed = seal.close(&k, row);
    batch.put(k, sealed);
}

/// The index only finds the row: which address an account has, its sealed row says.
fn by_email(seal: &dyn Seal, rows: &Rows<'_>, email: &str) -> Result<Option<Agent>, Failed> {
    let Some(id) = rows.get(&key::email(email))?.and_then(|b| b.try_into().ok()).map(AgentId) else {
        return Ok(None);
    };
    match read_sealed::<Agent>(seal, rows, &key::agent(id))? {
        Some(other) if other.email != email => Err(Failed::Storage(StorageError::Altered(altered_email(id)))),
        found => Ok(found),
    }
}

/// Deletes what stands under an address and does not verify; a whole account that the index only was led to stays.
fn remove_altered(seal: &dyn Seal, rows: &Rows<'_>, batch: &mut Batch, email: &str) -> Result<(), Failed> {
    let Some(id) = rows.get(&key::email(email))?.and_then(|b| b.try_into().ok()).map(AgentId) else {
        return Ok(());
    };
    if read_sealed::<Agent>(seal, rows, &key::agent(id)).is_err() {
        batch.remove(key::agent(id));
    }
    Ok(())
}
