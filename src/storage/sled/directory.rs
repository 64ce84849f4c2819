//! Accounts, sessions, API keys and the audit log in the embedded store.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::account::Change;
use crate::domain::agent::{Agent, ApiKey, Role, Session};
use crate::domain::audit::{AuditEntry, AuditEvent};
use crate::domain::id::{AgentId, ApiKeyId, RequestId};
use crate::storage::record::Record;
use crate::storage::{AuditLog, Claim, Directory, Made, StorageError, key};

use super::records::{Batch, Rows};
use super::rows::{made_by, write_claim};
use super::{Failed, SledStore, append, read_row, sorted};

#[async_trait]
impl Directory for SledStore {
    async fn add_agent(&self, agent: Agent, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError> {
        self.decide(|rows, now| {
            if let Some(made) = claim.as_ref().map(|c| made_by(rows, c)).transpose()?.flatten() {
                return Ok((Batch::new(), made));
            }
            if rows.get(&key::email(&agent.email))?.is_some() {
                return Err(Failed::Storage(StorageError::Exists("an agent with this e-mail address")));
            }
            let mut batch = Batch::new();
            batch.put(key::agent(agent.id), agent.encode());
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
            let mut agent: Agent = read_row(rows, &key::agent(id))?.ok_or(Failed::Storage(StorageError::NotFound))?;
            let mut batch = Batch::new();
            let ends = change.ends_sessions();
            let was_admin = agent.role == Role::Admin && agent.disabled_at.is_none();
            if !agent.apply(change, now) {
                return Ok((batch, None));
            }
            // A portal without an admin could only be mended from a shell.
            if was_admin && (agent.role != Role::Admin || agent.disabled_at.is_some()) {
                let others = all::<Agent>(rows, key::AGENT)?;
                if !others
                    .iter()
                    .any(|a| a.id != id && a.role == Role::Admin && a.disabled_at.is_none())
                {
                    return Ok((batch, None));
                }
            }
            if ends {
                for (k, _, _) in of_agent(rows, id)? {
                    batch.remove(k);
                }
            }
            batch.put(key::agent(id), agent.encode());
            append(rows, &mut batch, vec![event])?;
            Ok((batch, Some(agent)))
        })
        .await
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StorageError> {
        read_row(&self.store.records(), &key::agent(id)).map_err(Failed::into_storage)
    }

    async fn agent_by_email(&self, email: &str) -> Result<Option<Agent>, StorageError> {
        if email.len() > 320 {
            return Ok(None);
        }
        let found = {
            let rows = self.store.records();
            let id = rows
                .get(&key::email(email))
                .map_err(sorted)?
                .and_then(|b| b.try_into().ok())
                .map(AgentId);
            id.map(|id| read_row(&rows, &key::agent(id)))
                .transpose()
                .map_err(Failed::into_storage)?
                .flatten()
        };
        Ok(found)
    }

    async fn agents(&self) -> Result<Vec<Agent>, StorageError> {
        all(&self.store.records(), key::AGENT).map_err(Failed::into_storage)
    }

    async fn open_session(&self, cookie: [u8; 32], session: Session, event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            batch.put(key::session(&cookie), session.encode());
            append(rows, &mut batch, vec![event])?;
            Ok((batch, ()))
        })
        .await
    }

    async fn replace_session(&self, old: &[u8; 32], new: [u8; 32], session: Session, event: AuditEvent) -> Result<bool, StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            if rows.get(&key::session(old))?.is_none() {
                return Ok((batch, false));
            }
            batch.remove(key::session(old));
            batch.put(key::session(&new), session.encode());
            append(rows, &mut batch, vec![event])?;
            Ok((batch, true))
        })
        .await
    }

    async fn sessions_of(&self, agent: AgentId) -> Result<Vec<([u8; 32], Session)>, StorageError> {
        let found = of_agent(&self.store.records(), agent).map_err(Failed::into_storage)?;
        Ok(found.into_iter().map(|(_, hash, session)| (hash, session)).collect())
    }

    async fn session(&self, cookie: &[u8; 32]) -> Result<Option<Session>, StorageError> {
        read_row(&self.store.records(), &key::session(cookie)).map_err(Failed::into_storage)
    }

    async fn touch_session(&self, cookie: &[u8; 32], seen_at: OffsetDateTime) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            if let Some(mut session) = read_row::<Session>(rows, &key::session(cookie))? {
                session.seen_at = seen_at;
                batch.put(key::session(cookie), session.encode());
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
                let dead = Session::decode(&row).map_or(true, |s| {
                    now >= s.seen_at + Session::IDLE || now >= s.created_at + Session::ABSOLUTE
                });
                if dead {
                    batch.remove(k);
                    ended += 1;
                }
            }
            Ok((batch, ended))
        })
        .await
    }

    async fn add_api_key(&self, hash: [u8; 32], api_key: ApiKey, claim: Option<Claim>, event: AuditEvent) -> Result<Made, StorageError> {
        self.decide(|rows, now| {
            if let Some(made) = claim.as_ref().map(|c| made_by(rows, c)).transpose()?.flatten() {
                return Ok((Batch::new(), made));
            }
            let mut batch = Batch::new();
            batch.put(key::api_key(&hash), api_key.encode());
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
        read_row(&self.store.records(), &key::api_key(hash)).map_err(Failed::into_storage)
    }

    async fn api_key_by_id(&self, id: ApiKeyId) -> Result<Option<ApiKey>, StorageError> {
        let rows = self.store.records();
        let Some(hash) = rows.get(&key::api_key_by_id(id)).map_err(sorted)? else {
            return Ok(None);
        };
        read_row(&rows, &key::key(key::API_KEY, &[&hash])).map_err(Failed::into_storage)
    }

    async fn touch_api_key(&self, hash: &[u8; 32], used_at: OffsetDateTime) -> Result<(), StorageError> {
        self.decide(|rows, _| {
            let mut batch = Batch::new();
            if let Some(mut found) = read_row::<ApiKey>(rows, &key::api_key(hash))? {
                found.used_at = Some(used_at);
                batch.put(key::api_key(hash), found.encode());
            }
            Ok((batch, ()))
        })
        .await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StorageError> {
        all(&self.store.records(), key::API_KEY).map_err(Failed::into_storage)
    }

    async fn revoke_api_key(&self, id: ApiKeyId, event: AuditEvent) -> Result<(), StorageError> {
        self.decide(|rows, now| {
            let hash = rows.get(&key::api_key_by_id(id))?.ok_or(Failed::Storage(StorageError::NotFound))?;
            let k = key::key(key::API_KEY, &[&hash]);
            let mut found: ApiKey = read_row(rows, &k)?.ok_or(Failed::Storage(StorageError::NotFound))?;
            let mut batch = Batch::new();
            if found.revoked_at.is_none() {
                found.revoked_at = Some(now);
                batch.put(k, found.encode());
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
            rows.scan_prefix(&[key::AUDIT], Some(&behind), limit).map_err(sorted)?
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
                .map_err(sorted)?
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

/// Key, hash of the cookie, session.
type SessionRow = (Vec<u8>, [u8; 32], Session);

/// Everything that an agent has open. Sessions live for hours: there are never many.
fn of_agent(rows: &Rows<'_>, agent: AgentId) -> Result<Vec<SessionRow>, Failed> {
    let mut found = Vec::new();
    for (k, row) in rows.scan_prefix(&[key::SESSION], None, usize::MAX)? {
        if let (Ok(session), Ok(hash)) = (Session::decode(&row), k[1..].try_into())
            && session.agent == agent
        {
            found.push((k, hash, session));
        }
    }
    Ok(found)
}

fn all<R: Record>(rows: &Rows<'_>, letter: u8) -> Result<Vec<R>, Failed> {
    let found = rows.scan_prefix(&[letter], None, usize::MAX)?;
    Ok(found.iter().map(|(_, row)| R::decode(row)).collect::<Result<_, _>>()?)
}
