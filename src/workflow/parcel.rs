//! Opening a held document for one attempt. The target comes out of the sealed meta boxes, so that a writer of the store cannot redirect a document.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::connectors::{Failure, Keys, Parcel, ParcelPart, Source, SourceError, Trail};
use crate::crypto::open::{DocumentOpener, OpenError};
use crate::crypto::secrets::PortalSecrets;
use crate::domain::delivery::Problem;
use crate::domain::document::{ApplicantRef, Document, DocumentKind, PartName, ProviderName, StoredPart};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::request::DocumentRequest;
use crate::domain::transition::Transition;
use crate::storage::{BlobKey, Records};
use crate::workflow::terms;

use super::{Portal, WorkflowError};

/// Who gets it: sealed with the document, one line each.
pub struct Target {
    provider: ProviderName,
    applicant: ApplicantRef,
    kind: DocumentKind,
    part: PartName,
}

impl Target {
    pub fn of(portal: &Portal, request: &DocumentRequest, part: &PartName) -> Result<Self, WorkflowError> {
        Ok(Self {
            provider: request.provider.clone(),
            applicant: terms::applicant(portal, request)?,
            kind: request.document.clone(),
            part: part.clone(),
        })
    }

    pub fn encode(&self) -> String {
        format!("{}\n{}\n{}\n{}", self.provider, self.applicant.expose(), self.kind, self.part)
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let target = Self {
            provider: ProviderName::parse(lines.next()?)?,
            applicant: ApplicantRef::parse(lines.next()?)?,
            kind: DocumentKind::parse(lines.next()?)?,
            part: PartName::parse(lines.next()?)?,
        };
        lines.next().is_none().then_some(target)
    }
}

/// Why a held document cannot be sent now.
#[derive(Debug)]
pub enum Closed {
    /// The vault key is locked: keep it and wait.
    Locked,
    /// The erasure secret is gone: it can never be read again.
    Lost,
    /// Stored bytes contradict each other.
    Poison(&'static str),
}

impl From<OpenError> for Closed {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Locked => Self::Locked,
            OpenError::Erased => Self::Lost,
            OpenError::UnknownKey(_) => Self::Poison("it was sealed to a key that is not here"),
            OpenError::Store => Self::Poison("the erasure store cannot be read"),
            _ => Self::Poison("its sealed form is damaged"),
        }
    }
}

/// A parcel with its document opened: for sending and reconciling.
pub fn open(portal: &Arc<Portal>, request: &DocumentRequest, document: &Document, epoch: u32) -> Result<Parcel, Closed> {
    let mut target = None;
    for part in &document.parts {
        let mut opener = DocumentOpener::open_stored(&part.header, &portal.keyring, portal.erasure.as_ref())?;
        let meta = opener.open_meta(&part.meta)?;
        let sealed = meta
            .target
            .as_deref()
            .and_then(Target::decode)
            .ok_or(Closed::Poison("its sealed target is missing"))?;
        if sealed.provider != request.provider || sealed.kind != request.document || sealed.part != part.name {
            return Err(Closed::Poison("its sealed target is not the request's"));
        }
        target = Some(sealed);
    }
    let target = target.ok_or(Closed::Poison("it has no part"))?;
    let source = OpenSource {
        portal: portal.clone(),
        document: document.id,
        parts: document.parts.clone(),
    };
    Ok(parcel(portal, request, document, epoch, target.applicant, Arc::new(source)))
}

/// A parcel that can be asked about but not read: for verdicts, which need no key.
pub fn closed(portal: &Arc<Portal>, request: &DocumentRequest, document: &Document, epoch: u32) -> Result<Parcel, WorkflowError> {
    let applicant = terms::applicant(portal, request)?;
    Ok(parcel(portal, request, document, epoch, applicant, Arc::new(NoSource)))
}

fn parcel(
    portal: &Portal,
    request: &DocumentRequest,
    document: &Document,
    epoch: u32,
    applicant: ApplicantRef,
    source: Arc<dyn Source>,
) -> Parcel {
    let progress = request.held().map(|(_, delivery)| delivery.progress.clone()).unwrap_or_default();
    Parcel {
        document: document.id,
        epoch,
        applicant,
        kind: request.document.clone(),
        parts: document
            .parts
            .iter()
            .map(|p| ParcelPart {
                name: p.name.clone(),
                file_type: p.file_type,
                size: p.size,
                digest: p.digest,
            })
            .collect(),
        progress,
        keys: Arc::new(DocumentKeys {
            secrets: portal.secrets.clone(),
            document: document.id,
            epoch,
        }),
        source,
    }
}

struct DocumentKeys {
    secrets: Arc<PortalSecrets>,
    document: DocumentId,
    epoch: u32,
}

impl Keys for DocumentKeys {
    fn idempotency(&self, call: u8) -> String {
        self.secrets.idempotency_key(&self.document.0, call, self.epoch)
    }

    fn boundary(&self, _call: u8) -> String {
        // One for the whole epoch: 128 bits that no document contains by chance.
        self.secrets.boundary(&self.document.0, self.epoch)
    }
}

struct NoSource;

impl Source for NoSource {
    fn open(&self, _part: usize) -> BoxStream<'static, Result<Bytes, SourceError>> {
        stream::once(async { Err(SourceError("this parcel is closed")) }).boxed()
    }
}

struct OpenSource {
    portal: Arc<Portal>,
    document: DocumentId,
    parts: Vec<StoredPart>,
}

struct Reading {
    portal: Arc<Portal>,
    document: DocumentId,
    file_index: u8,
    chunks: u32,
    next: u32,
    opener: Option<DocumentOpener>,
}

impl Source for OpenSource {
    fn open(&self, part: usize) -> BoxStream<'static, Result<Bytes, SourceError>> {
        let reading = self.parts.get(part).ok_or(SourceError("no such part")).and_then(|stored| {
            let mut opener = DocumentOpener::open_stored(&stored.header, &self.portal.keyring, self.portal.erasure.as_ref())
                .map_err(|_| SourceError("the document cannot be opened"))?;
            opener
                .open_meta(&stored.meta)
                .map_err(|_| SourceError("the meta box cannot be opened"))?;
            Ok(Reading {
                portal: self.portal.clone(),
                document: self.document,
                file_index: u8::try_from(part).map_err(|_| SourceError("no such part"))?,
                chunks: stored.chunks,
                next: 0,
                opener: Some(opener),
            })
        });
        match reading {
            Err(error) => stream::once(async move { Err(error) }).boxed(),
            Ok(reading) => stream::try_unfold(reading, |mut reading| async move {
                match next_chunk(&mut reading).await {
                    Ok(Some(bytes)) => Ok(Some((bytes, reading))),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .boxed(),
        }
    }
}

async fn next_chunk(reading: &mut Reading) -> Result<Option<Bytes>, SourceError> {
    let Some(opener) = &mut reading.opener else { return Ok(None) };
    if reading.next == reading.chunks {
        let opener = reading.opener.take().ok_or(SourceError("read past the end"))?;
        return opener.finish().map(|()| None).map_err(|_| SourceError("the document is cut short"));
    }
    let key = BlobKey {
        document: reading.document,
        file_index: reading.file_index,
        chunk: reading.next,
    };
    let sealed = reading
        .portal
        .blobs
        .get(key)
        .await
        .map_err(|_| SourceError("a chunk cannot be read"))?;
    let mut chunk = Vec::from(sealed.ok_or(SourceError("a chunk is missing"))?);
    let last = reading.next + 1 == reading.chunks;
    opener
        .open_chunk_in_place(u64::from(reading.next), &mut chunk, last)
        .map_err(|_| SourceError("a chunk is not what was sealed"))?;
    crate::crash::point("C13");
    reading.next += 1;
    if reading.next * 2 >= reading.chunks {
        crate::crash::point("C16");
    }
    Ok(Some(Bytes::from_owner(Wiped(chunk))))
}

/// Plaintext that is wiped when the last reference to it goes.
struct Wiped(Vec<u8>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Notes finished steps of an attempt durably, under the attempt's lease.
pub struct LeasedTrail {
    pub records: Arc<dyn Records>,
    pub request: RequestId,
    pub fence: u64,
}

#[async_trait]
impl Trail for LeasedTrail {
    async fn note(&self, step: &str, value: &str) -> Result<(), Failure> {
        let transition = Transition::NoteProgress {
            fence: self.fence,
            step: step.to_owned(),
            value: value.to_owned(),
        };
        match self.records.transition(self.request, transition).await {
            Ok(_) => {
                crate::crash::point("C18n");
                Ok(())
            }
            Err(crate::storage::StorageError::Refused(_)) => Err(Failure::Lost),
            Err(error) => Err(Failure::Ambiguous {
                problem: Problem::new("storage.unavailable", error.to_string()),
            }),
        }
    }
}
