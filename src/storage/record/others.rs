//! Stored forms of everything but requests: audit entries, deletion receipts, accounts, keys, claims.

use super::*;

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct AuditRow {
    #[n(0)]
    sequence: u64,
    #[n(1)]
    at: i64,
    #[n(2)]
    actor: String,
    #[n(3)]
    action: String,
    #[n(4)]
    request: Option<Bytes>,
    #[n(5)]
    detail: Vec<(String, String)>,
    #[n(6)]
    hash: Bytes,
}

impl From<&AuditEntry> for AuditRow {
    fn from(e: &AuditEntry) -> Self {
        Self {
            sequence: e.sequence,
            at: to_ms(e.event.at),
            actor: e.event.actor.to_string(),
            action: e.event.action.clone(),
            request: e.event.request.map(|r| bytes(&r.0)),
            detail: e.event.detail.clone(),
            hash: bytes(&e.hash),
        }
    }
}

impl AuditRow {
    pub(super) fn into_domain(self) -> Read<AuditEntry> {
        let event = AuditEvent {
            at: from_ms(self.at),
            actor: word(Actor::parse(&self.actor))?,
            action: self.action,
            request: self.request.map(|r| array(&r).map(RequestId)).transpose()?,
            detail: self.detail,
        };
        Ok(AuditEntry {
            sequence: self.sequence,
            event,
            hash: array(&self.hash)?,
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct ReceiptRow {
    #[n(0)]
    number: u64,
    #[n(1)]
    previous: Bytes,
    #[n(2)]
    hash: Bytes,
    #[n(3)]
    request: Bytes,
    #[n(4)]
    document: Bytes,
    #[n(5)]
    slot: u64,
    #[n(6)]
    generation: u64,
    #[n(7)]
    cause: String,
    #[n(8)]
    class: String,
    #[n(9)]
    method: String,
    #[n(10)]
    parts: u8,
    #[n(11)]
    received_at: i64,
    #[n(12)]
    erased_at: i64,
    #[n(13)]
    purged_at: i64,
}

impl From<&DeletionReceipt> for ReceiptRow {
    fn from(r: &DeletionReceipt) -> Self {
        let e = &r.erasure;
        Self {
            number: r.number,
            previous: bytes(&r.previous),
            hash: bytes(&r.hash),
            request: bytes(&e.request.0),
            document: bytes(&e.document.0),
            slot: e.slot.index,
            generation: e.slot.generation,
            cause: e.cause.clone(),
            class: e.class.clone(),
            method: e.method.clone(),
            parts: e.parts,
            received_at: to_ms(e.received_at),
            erased_at: to_ms(e.erased_at),
            purged_at: to_ms(e.purged_at),
        }
    }
}

impl ReceiptRow {
    pub(super) fn into_domain(self) -> Read<DeletionReceipt> {
        let erasure = Erasure {
            request: RequestId(array(&self.request)?),
            document: DocumentId(array(&self.document)?),
            slot: SlotRef {
                index: self.slot,
                generation: self.generation,
            },
            cause: self.cause,
            class: self.class,
            method: self.method,
            parts: self.parts,
            received_at: from_ms(self.received_at),
            erased_at: from_ms(self.erased_at),
            purged_at: from_ms(self.purged_at),
        };
        Ok(DeletionReceipt {
            number: self.number,
            previous: array(&self.previous)?,
            erasure,
            hash: array(&self.hash)?,
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct AgentRow {
    #[n(0)]
    id: Bytes,
    #[n(1)]
    email: String,
    #[n(2)]
    name: String,
    #[n(3)]
    role: String,
    #[n(4)]
    password: Option<String>,
    #[n(5)]
    created_at: i64,
    #[n(6)]
    disabled_at: Option<i64>,
    #[n(7)]
    sessions_valid_from: i64,
}

impl From<&Agent> for AgentRow {
    fn from(a: &Agent) -> Self {
        Self {
            id: bytes(&a.id.0),
            email: a.email.clone(),
            name: a.name.clone(),
            role: a.role.as_str().to_owned(),
            password: a.password.as_ref().map(|p| p.0.clone()),
            created_at: to_ms(a.created_at),
            disabled_at: a.disabled_at.map(to_ms),
            sessions_valid_from: to_ms(a.sessions_valid_from),
        }
    }
}

impl AgentRow {
    pub(super) fn into_domain(self) -> Read<Agent> {
        Ok(Agent {
            id: AgentId(array(&self.id)?),
            email: self.email,
            name: self.name,
            role: word(Role::parse(&self.role))?,
            password: self.password.map(PasswordHash),
            created_at: from_ms(self.created_at),
            disabled_at: self.disabled_at.map(from_ms),
            sessions_valid_from: from_ms(self.sessions_valid_from),
        })
    }
}

#[derive(Encode, Decode)]
pub(super) struct SessionRow {
    #[n(0)]
    agent: Bytes,
    #[n(1)]
    created_at: i64,
    #[n(2)]
    seen_at: i64,
}

impl From<&Session> for SessionRow {
    fn from(s: &Session) -> Self {
        Self {
            agent: bytes(&s.agent.0),
            created_at: to_ms(s.created_at),
            seen_at: to_ms(s.seen_at),
        }
    }
}

impl SessionRow {
    pub(super) fn into_domain(self) -> Read<Session> {
        Ok(Session {
            agent: AgentId(array(&self.agent)?),
            created_at: from_ms(self.created_at),
            seen_at: from_ms(self.seen_at),
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct ApiKeyRow {
    #[n(0)]
    id: Bytes,
    #[n(1)]
    name: String,
    #[n(2)]
    scopes: Vec<String>,
    #[n(3)]
    created_at: i64,
    #[n(4)]
    expires_at: Option<i64>,
    #[n(5)]
    revoked_at: Option<i64>,
}

impl From<&ApiKey> for ApiKeyRow {
    fn from(k: &ApiKey) -> Self {
        Self {
            id: bytes(&k.id.0),
            name: k.name.clone(),
            scopes: k.scopes.iter().map(|s| s.as_str().to_owned()).collect(),
            created_at: to_ms(k.created_at),
            expires_at: k.expires_at.map(to_ms),
            revoked_at: k.revoked_at.map(to_ms),
        }
    }
}

impl ApiKeyRow {
    pub(super) fn into_domain(self) -> Read<ApiKey> {
        Ok(ApiKey {
            id: ApiKeyId(array(&self.id)?),
            name: self.name,
            scopes: self.scopes.iter().map(|s| word(Scope::parse(s))).collect::<Read<_>>()?,
            created_at: from_ms(self.created_at),
            expires_at: self.expires_at.map(from_ms),
            revoked_at: self.revoked_at.map(from_ms),
        })
    }
}

/// What an idempotency claim was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    pub body: [u8; 32],
    pub request: RequestId,
    pub at: OffsetDateTime,
}

#[derive(Encode, Decode)]
struct ClaimFields {
    #[n(0)]
    body: Bytes,
    #[n(1)]
    request: Bytes,
    #[n(2)]
    at: i64,
}

impl Record for ClaimRow {
    fn encode(&self) -> Vec<u8> {
        write(&ClaimFields {
            body: bytes(&self.body),
            request: bytes(&self.request.0),
            at: to_ms(self.at),
        })
    }

    fn decode(row: &[u8]) -> Read<Self> {
        let fields: ClaimFields = read(row)?;
        Ok(Self {
            body: array(&fields.body)?,
            request: RequestId(array(&fields.request)?),
            at: from_ms(fields.at),
        })
    }
}
