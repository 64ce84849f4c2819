//! Stored forms of notes, audit entries, deletion receipts and claims.

use super::*;
use crate::domain::saved_view::SavedView;

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct NoteRow {
    #[n(0)]
    by: String,
    #[n(1)]
    at: i64,
    #[n(2)]
    text: Bytes,
}

impl From<&Note> for NoteRow {
    fn from(n: &Note) -> Self {
        Self {
            by: n.by.to_string(),
            at: to_ms(n.at),
            text: bytes(&n.text.0),
        }
    }
}

impl NoteRow {
    pub(super) fn into_domain(self) -> Read<Note> {
        Ok(Note {
            by: word(Actor::parse(&self.by))?,
            at: instant(self.at)?,
            text: SealedText(self.text.into()),
        })
    }
}

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
            action: e.event.action.as_str().to_owned(),
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
            action: word(AuditAction::parse(&self.action))?,
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
    #[n(14)]
    signed: String,
}

impl From<&SignedReceipt> for ReceiptRow {
    fn from(signed: &SignedReceipt) -> Self {
        let r = &signed.receipt;
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
            signed: signed.text.clone(),
        }
    }
}

impl ReceiptRow {
    pub(super) fn into_domain(self) -> Read<SignedReceipt> {
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
        Ok(SignedReceipt {
            receipt: DeletionReceipt {
                number: self.number,
                previous: array(&self.previous)?,
                erasure,
                hash: array(&self.hash)?,
            },
            text: self.signed,
        })
    }
}

/// What an idempotency claim was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimRow {
    pub body: [u8; 32],
    /// The 16 bytes of its id: a request's, an agent's or an API key's, which the body's digest tells apart by the path within it.
    pub made: [u8; 16],
    pub at: OffsetDateTime,
}

#[derive(Encode, Decode)]
struct ClaimFields {
    #[n(0)]
    body: Bytes,
    #[n(1)]
    made: Bytes,
    #[n(2)]
    at: i64,
}

impl Record for ClaimRow {
    fn encode(&self) -> Vec<u8> {
        write(&ClaimFields {
            body: bytes(&self.body),
            made: bytes(&self.made),
            at: to_ms(self.at),
        })
    }

    fn decode(row: &[u8]) -> Read<Self> {
        let fields: ClaimFields = read(row)?;
        Ok(Self {
            body: array(&fields.body)?,
            made: array(&fields.made)?,
            at: from_ms(fields.at),
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct ViewsRow {
    /// Name and filter.
    #[n(0)]
    views: Vec<(String, String)>,
}

impl From<&Vec<SavedView>> for ViewsRow {
    fn from(views: &Vec<SavedView>) -> Self {
        Self {
            views: views.iter().map(|view| (view.name.clone(), view.filter.clone())).collect(),
        }
    }
}

impl ViewsRow {
    pub(super) fn into_domain(self) -> Read<Vec<SavedView>> {
        Ok(self.views.into_iter().map(|(name, filter)| SavedView { name, filter }).collect())
    }
}
