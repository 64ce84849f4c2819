//! The stored form of every row: one version byte, then CBOR with numbered fields. A new field gets a new number and is optional; old rows stay readable.
//!
//! This file owns the format: domain types know nothing of it, and the rows here are nothing but their mirror.

use minicbor::{Decode, Encode};
use time::{Duration, OffsetDateTime};

use crate::domain::agent::{Actor, Agent, ApiKey, AuthMethod, PasswordHash, Role, Scope, Session, Team};
use crate::domain::audit::{AuditAction, AuditEntry, AuditEvent};
use crate::domain::delivery::{ConfirmAt, Delivery, DeliveryProblem, Intent, Phase, PurgeCause, Receipt};
use crate::domain::document::{
    Document, DocumentKind, FileType, PartName, PartSpec, PictureLimits, ProviderName, SealedText, SearchWord, SlotRef,
};
use crate::domain::id::{AgentId, ApiKeyId, DocumentId, RequestId};
use crate::domain::link::{PasscodeLock, UploadLink};
use crate::domain::receipt::{DeletionReceipt, Erasure, SignedReceipt};
use crate::domain::request::{Cleanup, DocumentRequest, Lease, Note, Stage, Tombstone};
use crate::domain::token::HashedToken;

use super::clock::{from_ms, to_ms};

const VERSION: u8 = 1;

/// A row that cannot be read: damaged, or of a later version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub &'static str);

type Read<T> = Result<T, Unreadable>;

/// A type with a stored form.
pub trait Record: Sized {
    fn encode(&self) -> Vec<u8>;
    fn decode(bytes: &[u8]) -> Read<Self>;
}

fn write<R: Encode<()>>(row: &R) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    minicbor::encode(row, &mut bytes).expect("a Vec takes every byte, and no row holds a type that cannot be encoded");
    bytes
}

fn read<'b, R: Decode<'b, ()>>(bytes: &'b [u8]) -> Read<R> {
    match bytes.split_first() {
        Some((&VERSION, row)) => minicbor::decode(row).map_err(|_| Unreadable("damaged row")),
        Some(_) => Err(Unreadable("row of a later version")),
        None => Err(Unreadable("empty row")),
    }
}

macro_rules! record {
    ($type:ty, $row:ident) => {
        impl Record for $type {
            fn encode(&self) -> Vec<u8> {
                write(&$row::from(self))
            }

            fn decode(bytes: &[u8]) -> Read<Self> {
                read::<$row>(bytes)?.into_domain()
            }
        }
    };
}

record!(DocumentRequest, RequestRow);
record!(AuditEntry, AuditRow);
record!(SignedReceipt, ReceiptRow);
record!(Agent, AgentRow);
record!(Session, SessionRow);
record!(ApiKey, ApiKeyRow);
record!(crate::domain::dispatch::Dispatch, DispatchRow);
record!(crate::domain::message::Template, TemplateRow);
record!(Vec<crate::domain::saved_view::SavedView>, ViewsRow);

type Bytes = minicbor::bytes::ByteVec;

fn bytes(data: &[u8]) -> Bytes {
    data.to_vec().into()
}

fn array<const N: usize>(data: &Bytes) -> Read<[u8; N]> {
    data.as_slice().try_into().map_err(|_| Unreadable("a field of the wrong length"))
}

fn word<T>(parsed: Option<T>) -> Read<T> {
    parsed.ok_or(Unreadable("an unknown word"))
}

/// The year 8000: sums of stored instants and spans stay inside what the calendar can hold.
const LAST_MS: i64 = 190_288_396_800_000;
/// A thousand years.
const LONGEST_S: i64 = 31_557_600_000;

fn instant(ms: i64) -> Read<OffsetDateTime> {
    (0..LAST_MS)
        .contains(&ms)
        .then(|| from_ms(ms))
        .ok_or(Unreadable("an impossible instant"))
}

fn span(seconds: i64) -> Read<Duration> {
    (0..=LONGEST_S)
        .contains(&seconds)
        .then(|| Duration::seconds(seconds))
        .ok_or(Unreadable("an impossible span"))
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RequestRow {
    #[n(0)]
    id: Bytes,
    #[n(1)]
    created_at: i64,
    #[n(2)]
    created_by: String,
    #[n(3)]
    provider: String,
    #[n(4)]
    applicant: Bytes,
    #[n(5)]
    applicant_index: Bytes,
    #[n(6)]
    document: String,
    #[n(7)]
    parts: Vec<PartRow>,
    #[n(8)]
    locale: Option<String>,
    #[n(9)]
    message: Option<Bytes>,
    #[n(10)]
    metadata: Option<Bytes>,
    #[n(11)]
    return_url: Option<Bytes>,
    #[n(12)]
    keep_s: i64,
    #[n(13)]
    forget_s: i64,
    #[n(14)]
    confirm_verdict: bool,
    #[n(15)]
    link: LinkRow,
    #[n(16)]
    terms_mac: Bytes,
    #[n(17)]
    intakes: Vec<IntakeRow>,
    #[n(18)]
    stage: StageRow,
    #[n(19)]
    lease_until: Option<i64>,
    #[n(20)]
    fence: u64,
    #[n(21)]
    tombstones: Vec<TombstoneRow>,
    #[n(22)]
    team: Option<String>,
    #[n(23)]
    cleanup_fence: u64,
    #[n(24)]
    cleanup_until: Option<i64>,
    #[n(25)]
    search_words: Option<Bytes>,
    #[n(26)]
    ticket: Option<Bytes>,
    #[n(27)]
    notes: Option<Vec<NoteRow>>,
    #[n(28)]
    assigned: Option<Bytes>,
}

#[derive(Encode, Decode)]
struct PartRow {
    #[n(0)]
    name: String,
    #[n(1)]
    accepted: Vec<u8>,
    #[n(2)]
    min_bytes: u64,
    #[n(3)]
    max_bytes: u64,
    /// Of pictures: fewest bytes, fewest and most pixels of a side.
    #[n(4)]
    pictures: Option<(u64, u32, u32)>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct LinkRow {
    #[n(0)]
    hashed: Bytes,
    #[n(1)]
    generation: u32,
    #[n(2)]
    issued_at: i64,
    #[n(3)]
    expires_at: i64,
    #[n(4)]
    revoked_at: Option<i64>,
    #[n(5)]
    passcode: Option<String>,
    #[n(6)]
    tries_left: u8,
    #[n(7)]
    salt: Option<Bytes>,
    #[n(8)]
    parts_received: u32,
    #[n(9)]
    opened_at: Option<i64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct DocumentRow {
    #[n(0)]
    id: Bytes,
    #[n(1)]
    slot: u64,
    #[n(2)]
    generation: u64,
    #[n(3)]
    received_at: i64,
    #[n(4)]
    purge_at: i64,
    #[n(5)]
    parts: Vec<StoredPartRow>,
    #[n(6)]
    receiver: Option<Bytes>,
    #[n(7)]
    lengths: Option<Vec<u64>>,
}

#[derive(Encode, Decode)]
enum StageRow {
    #[n(0)]
    Open(#[n(0)] bool),
    #[n(1)]
    Held(#[n(0)] DocumentRow, #[n(1)] DeliveryRow, #[n(2)] bool),
    #[n(2)]
    Purging(#[n(0)] DocumentRow, #[n(1)] CauseRow, #[n(2)] i64, #[n(3)] Option<bool>),
    #[n(3)]
    Purged,
}

impl From<&DocumentRequest> for RequestRow {
    fn from(r: &DocumentRequest) -> Self {
        Self {
            id: bytes(&r.id.0),
            created_at: to_ms(r.created_at),
            created_by: r.created_by.to_string(),
            provider: r.provider.to_string(),
            applicant: bytes(&r.applicant.0),
            applicant_index: bytes(&r.applicant_index),
            document: r.document.to_string(),
            parts: r.parts.iter().map(PartRow::from).collect(),
            locale: r.locale.clone(),
            message: r.message.as_ref().map(|m| bytes(&m.0)),
            metadata: r.metadata.as_ref().map(|m| bytes(&m.0)),
            return_url: r.return_url.as_ref().map(|t| bytes(&t.0)),
            keep_s: r.keep.whole_seconds().min(LONGEST_S),
            forget_s: r.forget_after.whole_seconds().min(LONGEST_S),
            confirm_verdict: r.confirm == ConfirmAt::Verdict,
            link: LinkRow::from(&r.link),
            terms_mac: bytes(&r.terms_mac),
            intakes: r.intakes.iter().map(IntakeRow::from).collect(),
            stage: StageRow::from(&r.stage),
            lease_until: r.lease.map(|l| to_ms(l.until)),
            fence: r.fence,
            tombstones: r.tombstones.iter().map(TombstoneRow::from).collect(),
            team: r.team.as_ref().map(|t| t.as_str().to_owned()),
            cleanup_fence: r.cleanup.fence,
            cleanup_until: r.cleanup.until.map(to_ms),
            search_words: (!r.search_words.is_empty()).then(|| bytes(&r.search_words.concat())),
            ticket: r.ticket.as_ref().map(|t| bytes(&t.0)),
            notes: (!r.notes.is_empty()).then(|| r.notes.iter().map(NoteRow::from).collect()),
            assigned: r.assigned.map(|agent| bytes(&agent.0)),
        }
    }
}

impl RequestRow {
    fn into_domain(self) -> Read<DocumentRequest> {
        Ok(DocumentRequest {
            id: RequestId(array(&self.id)?),
            created_at: instant(self.created_at)?,
            created_by: word(Actor::parse(&self.created_by))?,
            provider: word(ProviderName::parse(&self.provider))?,
            applicant: SealedText(self.applicant.into()),
            applicant_index: array(&self.applicant_index)?,
            search_words: search_words(self.search_words)?,
            ticket: self.ticket.map(|t| SealedText(t.into())),
            document: word(DocumentKind::parse(&self.document))?,
            parts: self.parts.into_iter().map(PartRow::into_domain).collect::<Read<_>>()?,
            locale: self.locale,
            message: self.message.map(|m| SealedText(m.into())),
            metadata: self.metadata.map(|m| SealedText(m.into())),
            return_url: self.return_url.map(|t| SealedText(t.into())),
            keep: span(self.keep_s)?,
            forget_after: span(self.forget_s)?,
            confirm: if self.confirm_verdict {
                ConfirmAt::Verdict
            } else {
                ConfirmAt::Received
            },
            link: self.link.into_domain()?,
            terms_mac: array(&self.terms_mac)?,
            intakes: self.intakes.into_iter().map(IntakeRow::into_domain).collect::<Read<_>>()?,
            stage: self.stage.into_domain()?,
            lease: self
                .lease_until
                .map(|until| {
                    Ok(Lease {
                        fence: self.fence,
                        until: instant(until)?,
                    })
                })
                .transpose()?,
            fence: self.fence,
            tombstones: self.tombstones.into_iter().map(TombstoneRow::into_domain).collect::<Read<_>>()?,
            notes: self.notes.into_iter().flatten().map(NoteRow::into_domain).collect::<Read<_>>()?,
            assigned: self.assigned.map(|agent| array(&agent).map(AgentId)).transpose()?,
            team: self.team.map(|t| word(Team::parse(&t))).transpose()?,
            cleanup: Cleanup {
                fence: self.cleanup_fence,
                until: self.cleanup_until.map(instant).transpose()?,
            },
        })
    }
}

fn search_words(stored: Option<Bytes>) -> Read<Vec<SearchWord>> {
    let stored: Vec<u8> = stored.map(Into::into).unwrap_or_default();
    let (words, rest) = stored.as_chunks();
    if rest.is_empty() {
        Ok(words.to_vec())
    } else {
        Err(Unreadable("a field of the wrong length"))
    }
}

impl From<&PartSpec> for PartRow {
    fn from(p: &PartSpec) -> Self {
        Self {
            name: p.name.to_string(),
            accepted: p.accepted.iter().map(|&t| type_number(t)).collect(),
            min_bytes: p.min_bytes,
            max_bytes: p.max_bytes,
            pictures: (p.pictures != PictureLimits::default()).then_some((p.pictures.min_bytes, p.pictures.min_side, p.pictures.max_side)),
        }
    }
}

impl PartRow {
    fn into_domain(self) -> Read<PartSpec> {
        Ok(PartSpec {
            name: word(PartName::parse(&self.name))?,
            accepted: self.accepted.into_iter().map(file_type).collect::<Read<_>>()?,
            min_bytes: self.min_bytes,
            max_bytes: self.max_bytes,
            pictures: self
                .pictures
                .map_or_else(PictureLimits::default, |(min_bytes, min_side, max_side)| PictureLimits {
                    min_bytes,
                    min_side,
                    max_side,
                }),
        })
    }
}

fn type_number(file_type: FileType) -> u8 {
    match file_type {
        FileType::Jpeg => 1,
        FileType::Png => 2,
        FileType::Pdf => 3,
        FileType::Heic => 4,
    }
}

fn file_type(number: u8) -> Read<FileType> {
    word(FileType::ALL.into_iter().find(|&t| type_number(t) == number))
}

impl From<&UploadLink> for LinkRow {
    fn from(l: &UploadLink) -> Self {
        Self {
            hashed: bytes(&l.hashed.0),
            generation: l.generation,
            issued_at: to_ms(l.issued_at),
            expires_at: to_ms(l.expires_at),
            revoked_at: l.revoked_at.map(to_ms),
            passcode: l.passcode.as_ref().map(|p| p.hash.clone()),
            tries_left: l.passcode.as_ref().map_or(0, |p| p.tries_left),
            salt: l.salt.map(|s| bytes(&s)),
            parts_received: l.parts_received,
            opened_at: l.opened_at.map(to_ms),
        }
    }
}

impl LinkRow {
    fn into_domain(self) -> Read<UploadLink> {
        let tries_left = self.tries_left;
        Ok(UploadLink {
            hashed: HashedToken(array(&self.hashed)?),
            generation: self.generation,
            issued_at: instant(self.issued_at)?,
            expires_at: instant(self.expires_at)?,
            revoked_at: self.revoked_at.map(instant).transpose()?,
            passcode: self.passcode.map(|hash| PasscodeLock { hash, tries_left }),
            salt: self.salt.map(|s| array(&s)).transpose()?,
            parts_received: self.parts_received,
            opened_at: self.opened_at.map(instant).transpose()?,
        })
    }
}

impl From<&Document> for DocumentRow {
    fn from(d: &Document) -> Self {
        Self {
            id: bytes(&d.id.0),
            slot: d.slot.index,
            generation: d.slot.generation,
            received_at: to_ms(d.received_at),
            purge_at: to_ms(d.purge_at),
            parts: d.parts.iter().map(StoredPartRow::from).collect(),
            receiver: d.receiver.map(|r| bytes(&r)),
            lengths: Some(d.lengths.clone()),
        }
    }
}

impl DocumentRow {
    fn into_domain(self) -> Read<Document> {
        Ok(Document {
            id: DocumentId(array(&self.id)?),
            slot: SlotRef {
                index: self.slot,
                generation: self.generation,
            },
            received_at: instant(self.received_at)?,
            purge_at: instant(self.purge_at)?,
            parts: self.parts.into_iter().map(StoredPartRow::into_domain).collect::<Read<_>>()?,
            receiver: self.receiver.map(|r| array(&r)).transpose()?,
            lengths: self.lengths.unwrap_or_default(),
        })
    }
}

impl From<&Stage> for StageRow {
    fn from(stage: &Stage) -> Self {
        match stage {
            Stage::Open { expiry_noted } => Self::Open(*expiry_noted),
            Stage::Held {
                document,
                delivery,
                purge_requested,
            } => Self::Held(document.into(), delivery.into(), *purge_requested),
            Stage::Purging {
                document,
                cause,
                passed_on,
                since,
            } => Self::Purging(document.into(), cause.into(), to_ms(*since), known(*passed_on)),
            Stage::Purged => Self::Purged,
        }
    }
}

impl StageRow {
    fn into_domain(self) -> Read<Stage> {
        Ok(match self {
            Self::Open(expiry_noted) => Stage::Open { expiry_noted },
            Self::Held(document, delivery, purge_requested) => Stage::Held {
                document: document.into_domain()?,
                delivery: delivery.into_domain()?,
                purge_requested,
            },
            Self::Purging(document, cause, since, passed_on) => Stage::Purging {
                document: document.into_domain()?,
                cause: cause.into_domain(),
                passed_on: passage(passed_on),
                since: instant(since)?,
            },
            Self::Purged => Stage::Purged,
        })
    }
}

use account::{AgentRow, ApiKeyRow, SessionRow};
use delivery::{CauseRow, DeliveryRow, TombstoneRow, known, passage};
use intake::{IntakeRow, StoredPartRow};
pub(crate) use others::ClaimRow;
use others::{AuditRow, NoteRow, ReceiptRow, ViewsRow};
use outbox::{DispatchRow, TemplateRow};

mod account;
mod delivery;
mod intake;
mod others;
mod outbox;

#[cfg(test)]
mod tests;
