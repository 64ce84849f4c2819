//! Requests, documents and steps that tests of several modules start from.

use time::{Duration, OffsetDateTime};

use crate::domain::agent::Actor;
use crate::domain::document::{
    Document, DocumentKind, Durable, FileType, PartName, PartSpec, PictureLimits, ProviderName, SealedText, SlotRef, StoredPart,
};
use crate::domain::id::{AgentId, DocumentId, RequestId};
use crate::domain::link::{PASSCODE_TRIES, PasscodeLock, UploadLink};
use crate::domain::request::{DocumentRequest, Stage, StagedPart};
use crate::domain::token::HashedToken;
use crate::domain::transition::{IntakeStep, SealedPart, Submission, Transition};

pub(crate) fn start() -> OffsetDateTime {
    time::macros::datetime!(2026-01-01 0:00 UTC)
}

pub(crate) fn link(generation: u32, expires_at: OffsetDateTime, passcode: bool) -> UploadLink {
    UploadLink {
        hashed: HashedToken([u8::try_from(generation % 250).unwrap(); 32]),
        generation,
        issued_at: start(),
        expires_at,
        revoked_at: None,
        passcode: passcode.then(|| PasscodeLock {
            hash: "x".into(),
            tries_left: PASSCODE_TRIES,
        }),
        salt: None,
        parts_received: 0,
        opened_at: None,
    }
}

pub(crate) fn request(passcode: bool) -> DocumentRequest {
    DocumentRequest {
        id: RequestId([1; 16]),
        created_at: start(),
        created_by: by(),
        provider: ProviderName::parse("sandbox").unwrap(),
        applicant: SealedText(vec![1]),
        applicant_index: [2; 32],
        search_words: Vec::new(),
        ticket: None,
        document: DocumentKind::parse("passport").unwrap(),
        parts: vec![PartSpec {
            name: PartName::parse("front").unwrap(),
            accepted: vec![FileType::Jpeg],
            min_bytes: 1,
            max_bytes: 100,
            pictures: PictureLimits::default(),
        }],
        locale: None,
        message: None,
        metadata: None,
        return_url: None,
        keep: Duration::hours(2),
        forget_after: Duration::days(2),
        confirm: crate::domain::delivery::ConfirmAt::Received,
        link: link(1, start() + Duration::hours(1), passcode),
        terms_mac: [0; 32],
        intakes: Vec::new(),
        stage: Stage::Open { expiry_noted: false },
        cleanup: crate::domain::request::Cleanup::default(),
        lease: None,
        fence: 0,
        tombstones: Vec::new(),
        notes: Vec::new(),
        assigned: None,
        team: None,
    }
}

pub(crate) fn by() -> Actor {
    Actor::Agent(AgentId([3; 16]))
}

pub(crate) fn slot(n: u8) -> SlotRef {
    SlotRef {
        index: u64::from(n),
        generation: u64::from(n) + 100,
    }
}

pub(crate) fn document(n: u8, now: OffsetDateTime, whole: bool) -> Document {
    Document {
        id: DocumentId([n; 16]),
        slot: slot(n),
        received_at: now,
        purge_at: now + Duration::hours(2),
        parts: vec![StoredPart {
            name: PartName::parse(if whole { "front" } else { "back" }).unwrap(),
            file_type: FileType::Jpeg,
            header: vec![n],
            meta: vec![],
            digest: [n; 32],
            size: 1,
            chunks: 1,
        }],
        receiver: None,
        lengths: vec![2],
    }
}

/// As a store proves it that has synced all of the document.
pub(crate) fn durable(document: &Document) -> Vec<Durable> {
    (0..)
        .zip(&document.parts)
        .map(|(place, part)| durable_part(document.id, place, part))
        .collect()
}

pub(crate) fn durable_part(document: DocumentId, place: u8, part: &StoredPart) -> Durable {
    Durable::synced(document, place, part.chunks)
}

/// The first part of a document, as the intake has sealed it.
pub(crate) fn sealed(mut document: Document, now: OffsetDateTime) -> SealedPart {
    SealedPart {
        document: document.id,
        submission: Submission::Begins {
            slot: document.slot,
            started_at: now,
        },
        generation: 1,
        durable: durable(&document).remove(0),
        part: document.parts.remove(0),
        length: 10,
        upload: None,
        receiver: document.receiver,
    }
}

/// A document of one part arrives.
pub(crate) fn received(document: Document) -> Transition {
    let now = document.received_at;
    Transition::Intake(IntakeStep::StorePart(Box::new(sealed(document, now))))
}

pub(crate) fn begin_upload(n: u8, now: OffsetDateTime, generation: u32) -> Transition {
    Transition::Intake(IntakeStep::BeginUpload {
        document: DocumentId([n; 16]),
        slot: slot(n),
        started_at: now,
        staged: StagedPart {
            part: PartName::parse("front").unwrap(),
            length: 10,
            offset: 0,
            state: vec![n],
        },
        generation,
    })
}
