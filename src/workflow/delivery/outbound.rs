//! Opening a held document for one attempt. The target comes out of the sealed meta boxes, and every part's must be the same and be the request's, so that a
//! writer of the store can neither redirect a document nor put a part of one into another.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::chain::{Cause, chain};
use crate::connectors::{Failure, Keys, OutboundDocument, OutboundPart, ProgressLog, Source, SourceError};
use crate::crypto::header::Header;
use crate::crypto::open::{DocumentOpener, OpenError};
use crate::crypto::secrets::PortalSecrets;
use crate::domain::delivery::DeliveryProblem;
use crate::domain::document::{ApplicantRef, Document, DocumentKind, PartName, ProviderName, StoredPart};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::transition::{Transition, WorkerStep};
use crate::failpoint::{self, Failpoint};
use crate::storage::{BlobKey, ReadError, RequestStore};
use crate::workflow::terms;

use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError};

/// Who gets it, and for which request it was taken in: sealed with each part, one line each.
pub(crate) struct Target {
    request: RequestId,
    provider: ProviderName,
    applicant: ApplicantRef,
    kind: DocumentKind,
    part: PartName,
}

impl Target {
    pub(crate) fn of(portal: &Portal, request: &TrustedRequest, part: &PartName) -> Result<Self, WorkflowError> {
        Ok(Self {
            request: request.id,
            provider: request.provider.clone(),
            applicant: terms::applicant(portal, request)?,
            kind: request.document.clone(),
            part: part.clone(),
        })
    }

    pub(crate) fn encode(&self) -> String {
        format!(
            "{}\n{}\n{}\n{}\n{}",
            self.request,
            self.provider,
            self.applicant.expose(),
            self.kind,
            self.part
        )
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let target = Self {
            request: RequestId::parse(lines.next()?)?,
            provider: ProviderName::parse(lines.next()?)?,
            applicant: ApplicantRef::parse(lines.next()?)?,
            kind: DocumentKind::parse(lines.next()?)?,
            part: PartName::parse(lines.next()?)?,
        };
        lines.next().is_none().then_some(target)
    }

    fn fits(&self, request: &TrustedRequest, wanted: &ApplicantRef, name: &PartName) -> bool {
        let Self {
            request: id,
            provider,
            applicant,
            kind,
            part,
        } = self;
        *id == request.id && *provider == request.provider && applicant == wanted && *kind == request.document && part == name
    }
}

/// Why a held document cannot be sent now.
#[derive(Debug)]
pub enum CannotDecrypt {
    /// The vault key is locked: keep it and wait.
    Locked,
    /// The erasure secret is gone: it can never be read again.
    Lost,
    /// Stored bytes contradict each other.
    Poison(&'static str),
    /// What is needed to open it cannot be read now: an outage, which says nothing about the document.
    Unread(Cause),
}

impl From<OpenError> for CannotDecrypt {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Locked => Self::Locked,
            OpenError::Erased => Self::Lost,
            OpenError::UnknownKey(_) => Self::Poison("it was sealed to a key that is not here"),
            OpenError::Store(_) => Self::Unread(Cause::new(error)),
            _ => Self::Poison("its sealed form is damaged"),
        }
    }
}

/// A document with its document opened: for sending and reconciling.
pub fn open(portal: &Arc<Portal>, request: &TrustedRequest, document: &Document, epoch: u32) -> Result<OutboundDocument, CannotDecrypt> {
    // Sealed with the document, and bound to the request by a MAC: two independent ways to the same answer.
    let applicant = terms::applicant(portal, request).map_err(|_| CannotDecrypt::Poison("its applicant was changed"))?;
    let mut opened = false;
    for (index, part) in document.parts.iter().enumerate() {
        // Before its slot is looked at: another document's may be empty by now, which would look like a loss.
        let context = Header::parse(&part.header).map_err(CannotDecrypt::Poison)?.context;
        let place = (usize::from(context.file_index), usize::from(context.file_count));
        if context.doc_id != document.id.0 || place != (index, document.parts.len()) {
            return Err(CannotDecrypt::Poison("a part of it belongs to another document"));
        }
        let mut opener = DocumentOpener::open_stored(&part.header, &portal.keyring, portal.erasure.as_ref())?;
        let meta = opener.open_meta(&part.meta)?;
        let sealed = meta
            .target
            .as_deref()
            .and_then(Target::decode)
            .ok_or(CannotDecrypt::Poison("its sealed target is missing"))?;
        if !sealed.fits(request, &applicant, &part.name) {
            return Err(CannotDecrypt::Poison("its sealed target is not the request's"));
        }
        if meta.size != part.size || meta.sniffed_type != part.file_type.mime() {
            return Err(CannotDecrypt::Poison("its sealed type or size is not the stored one"));
        }
        opened = true;
    }
    if !opened {
        return Err(CannotDecrypt::Poison("it has no part"));
    }
    let source = OpenSource {
        portal: portal.clone(),
        document: document.id,
        parts: document.parts.clone(),
    };
    Ok(outbound(portal, request, document, epoch, applicant, Arc::new(source)))
}

/// A document that can be asked about but not read: for verdicts, which need no key.
pub(crate) fn closed(
    portal: &Arc<Portal>,
    request: &TrustedRequest,
    document: &Document,
    epoch: u32,
) -> Result<OutboundDocument, WorkflowError> {
    let applicant = terms::applicant(portal, request)?;
    Ok(outbound(portal, request, document, epoch, applicant, Arc::new(NoSource)))
}

fn outbound(
    portal: &Portal,
    request: &TrustedRequest,
    document: &Document,
    epoch: u32,
    applicant: ApplicantRef,
    source: Arc<dyn Source>,
) -> OutboundDocument {
    let progress = request.held().map(|(_, delivery)| delivery.progress.clone()).unwrap_or_default();
    OutboundDocument {
        document: document.id,
        epoch,
        applicant,
        kind: request.document.clone(),
        parts: document
            .parts
            .iter()
            .map(|p| OutboundPart {
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
        stream::once(async { Err(SourceError::Final("this outbound is closed")) }).boxed()
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
        let reading = self.parts.get(part).ok_or(SourceError::Final("no such part")).and_then(|stored| {
            let mut opener = DocumentOpener::open_stored(&stored.header, &self.portal.keyring, self.portal.erasure.as_ref())
                .map_err(|error| source_error(error, "the document cannot be opened"))?;
            opener
                .open_meta(&stored.meta)
                .map_err(|error| source_error(error, "the meta box cannot be opened"))?;
            Ok(Reading {
                portal: self.portal.clone(),
                document: self.document,
                file_index: u8::try_from(part).map_err(|_| SourceError::Final("no such part"))?,
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

/// A locked vault and an unreadable erasure store pass; everything else is a property of the stored bytes.
fn source_error(error: OpenError, what: &'static str) -> SourceError {
    match error {
        OpenError::Locked => SourceError::Transient("the vault key is locked"),
        OpenError::Store(_) => {
            tracing::warn!(error = %chain(&error), "a document cannot be opened at the moment");
            SourceError::Transient("the erasure slots cannot be read")
        }
        _ => SourceError::Final(what),
    }
}

async fn next_chunk(reading: &mut Reading) -> Result<Option<Bytes>, SourceError> {
    let Some(opener) = &mut reading.opener else { return Ok(None) };
    if reading.next == reading.chunks {
        let opener = reading.opener.take().ok_or(SourceError::Final("read past the end"))?;
        return opener
            .finish()
            .map(|()| None)
            .map_err(|_| SourceError::Final("the document is cut short"));
    }
    let key = BlobKey {
        document: reading.document,
        file_index: reading.file_index,
        chunk: reading.next,
    };
    let sealed = reading.portal.blobs.get(key).await.map_err(|error| match error {
        ReadError::Transient(why) => {
            tracing::warn!(document = %reading.document, chunk = reading.next, why = %chain(&why), "a chunk cannot be read at the moment");
            SourceError::Transient("a chunk cannot be read")
        }
        ReadError::Final(why) => {
            tracing::error!(document = %reading.document, chunk = reading.next, why = %chain(&why), "a chunk is damaged");
            SourceError::Final("a chunk is damaged")
        }
    })?;
    let mut chunk = Vec::from(sealed.ok_or(SourceError::Final("a chunk is missing"))?);
    let last = reading.next + 1 == reading.chunks;
    opener
        .open_chunk_in_place(u64::from(reading.next), &mut chunk, last)
        .map_err(|_| SourceError::Final("a chunk is not what was sealed"))?;
    failpoint::pass(Failpoint::Decrypted);
    reading.next += 1;
    if reading.next * 2 >= reading.chunks {
        failpoint::pass(Failpoint::PieceSent);
    }
    // Wiped when the last reference to it goes, as every freed block is ([`crate::crypto::heap`]).
    Ok(Some(Bytes::from(chunk)))
}

/// Notes finished steps of an attempt durably, under the attempt's lease.
pub(crate) struct LeasedProgressLog {
    pub requests: Arc<dyn RequestStore>,
    pub request: RequestId,
    pub fence: u64,
}

#[async_trait]
impl ProgressLog for LeasedProgressLog {
    async fn note(&self, step: &str, value: &str) -> Result<(), Failure> {
        let transition = Transition::Worker {
            fence: self.fence,
            step: WorkerStep::NoteProgress {
                step: step.to_owned(),
                value: value.to_owned(),
            },
        };
        match self.requests.transition(self.request, transition).await {
            Ok(_) => {
                failpoint::pass(Failpoint::ProgressNoted);
                Ok(())
            }
            Err(crate::storage::StorageError::Refused(_)) => Err(Failure::Lost),
            Err(error) => {
                tracing::warn!(request = %self.request, error = %chain(&error), "a step of a delivery could not be noted");
                Err(Failure::Ambiguous {
                    problem: DeliveryProblem::new("storage.unavailable", error.to_string()),
                })
            }
        }
    }
}
