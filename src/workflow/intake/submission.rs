//! The parts of one document on their way in, by one form or one upload. Each part is stored durably as soon as it is encrypted; the last one that was missing
//! receives the document.
//!
//! A submission that is dropped before its first part is stored gives its erasure secret up; parts that are stored stay, and others may join them. Its caller
//! may be dropped at any await, because the client is gone: what must happen whole runs in a task of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tracing::Instrument;

use super::IntakeError;
use super::in_flight::Writing;
use super::link::{OpenedLink, closed, has_room, place_of};
use super::part_lock::WriteGuard;
use super::secret::{OpenSlot, Secret, SlotGuard, discard_in_flight};
use crate::crypto::random;
use crate::crypto::secret::ErasureSecret;
use crate::domain::document::{Durable, PartName, PartSpec, StoredPart};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::request::DocumentRequest;
use crate::domain::transition::{IntakeStep, Refusal, SealedPart, Submission as Joins, Transition};
use crate::failpoint::{self, Failpoint};
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, vault};

/// Where the bytes of a part come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// One body with all parts.
    Form,
    /// What was staged under this id. Its caller holds the part's lock.
    Upload(DocumentId),
}

/// See the module.
pub struct Submission {
    pub(super) portal: Arc<Portal>,
    pub(super) request: TrustedRequest,
    pub(super) document: DocumentId,
    pub(super) source: Source,
    asked_at: OffsetDateTime,
    /// Of the link that was looked at, whatever the row says later: nothing arrives through a link that was replaced.
    generation: u32,
    receiver: Option<[u8; 32]>,
    secret: Option<Secret>,
}

impl Submission {
    /// Goes on where the parts that are here end. `receiver`: the mark of the browser that may ask for the receipt again.
    pub fn new(portal: Arc<Portal>, link: OpenedLink, source: Source, receiver: Option<[u8; 32]>) -> Result<Self, WorkflowError> {
        let document = match link.request.partial() {
            Some(partial) => partial.document,
            None => DocumentId::new(random::array()?, link.now),
        };
        let generation = link.request.link.generation;
        Ok(Self {
            portal,
            request: link.request,
            document,
            source,
            asked_at: link.now,
            generation,
            receiver,
            secret: None,
        })
    }

    /// The request as it stood after the last part that was stored.
    pub fn request(&self) -> &TrustedRequest {
        &self.request
    }

    /// The part of this name, if it is asked for.
    pub fn spec(&self, name: &str) -> Option<PartSpec> {
        self.request.parts.iter().find(|p| p.name.as_str() == name).cloned()
    }

    /// Whether photos of this part's pages may come instead of one file.
    pub fn takes_photos(&self, spec: &PartSpec) -> bool {
        self.portal.catalogue.takes_photos_as_pages(&self.request.document, spec)
    }

    /// Names of parts still wanted.
    pub fn missing(&self) -> Vec<PartName> {
        let wanted = self.request.parts.iter().map(|p| &p.name);
        let open = self.request.document().is_none();
        wanted
            .filter(|name| open && self.request.finished(name).is_none())
            .cloned()
            .collect()
    }

    /// The document, once every part of it is stored.
    pub fn received(self) -> Result<DocumentRequest, IntakeError> {
        match self.request.document() {
            Some(_) => Ok(self.request.into_inner()),
            None => Err(IntakeError::refused(Refusal::Incomplete)),
        }
    }

    /// Gives up what is not stored. Also what dropping does, only that here one can wait until the request's row says so.
    pub async fn discard(mut self) {
        if let Some(Secret::Fresh(guard)) = self.secret.take() {
            guard.discard().await;
        }
    }

    /// The erasure secret that the parts are sealed under. Before the first chunk.
    pub(super) async fn open(&mut self) -> Result<&OpenSlot, IntakeError> {
        if self.secret.is_none() {
            // Another device may have stored a part since the link was looked at: this one then joins it.
            self.request = TrustedRequest::load(&self.portal, self.request.id).await?;
            self.document = match self.request.partial() {
                Some(partial) => partial.document,
                // What was here when the link was looked at may be given up by now: its id belongs to its destruction.
                None => DocumentId::new(random::array().map_err(WorkflowError::from)?, self.asked_at),
            };
            self.secret = Some(self.secret().await?);
        }
        self.secret.as_ref().and_then(Secret::open).ok_or(IntakeError::CutOff)
    }

    async fn secret(&self) -> Result<Secret, IntakeError> {
        vault::can_take(&self.portal)?;
        if !has_room(&self.portal, &self.request) {
            return Err(IntakeError::Full);
        }
        let (portal, id, document) = (self.portal.clone(), self.request.id, self.document);
        let Some(partial) = self.request.partial() else {
            let secret = ErasureSecret::generate().map_err(WorkflowError::from)?;
            // Until its first part names it in the row, the sweep knows it as being in flight.
            let put = SlotGuard::put(portal, id, document, self.asked_at, secret);
            return Ok(Secret::Fresh(run_to_completion(&self.portal.tasks, put).await?));
        };
        let open = OpenSlot::join(&portal, document, partial.slot).await?;
        // What is here must not be given up as idle while this part comes; and it must still be here.
        let touch = Transition::Intake(IntakeStep::TouchSubmission { document });
        portal.requests.transition(id, touch).await?;
        Ok(Secret::Joined(open))
    }

    /// Whether other writers of the same file are possible: only the parts of a document that a row names are known to others.
    pub(super) fn joined(&self) -> bool {
        matches!(self.secret, Some(Secret::Joined(_)))
    }

    /// Before each write of a chunk. Stopped when another one was first or the link was withdrawn: then what was written is being destroyed.
    pub(super) async fn writing(&self) -> Result<Writing, IntakeError> {
        let open = self.secret.as_ref().and_then(Secret::open).ok_or(IntakeError::CutOff)?;
        match open.writing().await {
            Some(writing) => Ok(writing),
            None => Err(stopped(&self.portal, self.request.id).await),
        }
    }

    /// A part that is here gives way to the one that is coming: its file is about to be replaced. The row is read anew, under the part's lock: whoever had the lock
    /// before may have stored it since.
    pub(super) async fn replace(&mut self, part: &PartName) -> Result<(), IntakeError> {
        if !self.joined() {
            return Ok(());
        }
        self.request = TrustedRequest::load(&self.portal, self.request.id).await?;
        if self.request.partial().is_none_or(|partial| partial.document != self.document) {
            let why = closed(&self.request, self.portal.now());
            return Err(IntakeError::refused(why.unwrap_or(Refusal::Superseded)));
        }
        // An upload that was ended meanwhile will not be stored: it must not take out what came by another way.
        if let Source::Upload(upload) = self.source
            && self.request.staging(part).is_none_or(|(intake, _)| intake.document != upload)
        {
            return Err(IntakeError::refused(Refusal::Superseded));
        }
        if self.request.finished(part).is_none() {
            return Ok(());
        }
        let drop_part = Transition::Intake(IntakeStep::DropPart {
            document: self.document,
            part: part.clone(),
        });
        let row = self.portal.requests.transition(self.request.id, drop_part).await?;
        self.request = TrustedRequest::prove(&self.portal, row)?;
        Ok(())
    }

    /// Stores one sealed part durably. With the last one the document is received. The guard is held until the row is written, also when the caller is dropped meanwhile:
    /// nobody may replace the file whose header the row is about to name.
    pub(super) async fn store(
        &mut self,
        part: StoredPart,
        durable: Durable,
        length: u64,
        guard: Option<WriteGuard>,
    ) -> Result<(), IntakeError> {
        let secret = self.secret.take().ok_or(IntakeError::CutOff)?;
        let submission = match &secret {
            Secret::Fresh(guard) => Joins::Begins {
                slot: guard.slot().ok_or(IntakeError::CutOff)?,
                started_at: self.asked_at,
            },
            Secret::Joined(_) => Joins::Joins,
        };
        let sealed = SealedPart {
            document: self.document,
            submission,
            generation: self.generation,
            part,
            durable,
            length,
            upload: match self.source {
                Source::Form => None,
                Source::Upload(upload) => Some(upload),
            },
            receiver: self.receiver,
        };
        let stored = store(self.portal.clone(), self.request.id, sealed, secret);
        let guarded = async move {
            let _guard = guard;
            stored.await
        };
        let (row, secret) = run_to_completion(&self.portal.tasks, guarded).await?;
        self.secret = Some(secret);
        self.request = TrustedRequest::prove(&self.portal, row)?;
        Ok(())
    }
}

async fn store(portal: Arc<Portal>, id: RequestId, sealed: SealedPart, secret: Secret) -> Result<(DocumentRequest, Secret), IntakeError> {
    failpoint::pass(Failpoint::PartSealed);
    let part = Transition::Intake(IntakeStep::StorePart(Box::new(sealed)));
    match portal.requests.transition(id, part).await {
        Ok(row) => {
            failpoint::pass(Failpoint::PartStored);
            let secret = secret.owned()?;
            if let Some(document) = row.document() {
                portal.counters.received.fetch_add(1, Ordering::Relaxed);
                let bytes: u64 = document.parts.iter().map(|p| p.size).sum();
                portal.counters.received_bytes.fetch_add(bytes, Ordering::Relaxed);
                portal.wake.request_at(&row.provider);
                discard_in_flight(&portal, id).await;
            }
            // Staged bytes, and those of every upload that did not win.
            portal.intake.cleanup.due.notify_one();
            Ok((row, secret))
        }
        Err(error) => {
            secret.refused(&error).await;
            Err(error.into())
        }
    }
}

/// Why a writer was stopped, in the words of the request as it is now.
async fn stopped(portal: &Portal, request: RequestId) -> IntakeError {
    match portal.requests.request(request).await {
        Ok(Some(request)) => IntakeError::refused(closed(&request, portal.now()).unwrap_or(Refusal::Superseded)),
        Ok(None) => WorkflowError::NotFound.into(),
        Err(error) => error.into(),
    }
}

/// Runs to its end even if nobody waits for it any more. What it logs belongs to the request that began it.
pub(super) async fn run_to_completion<T: Send + 'static>(
    tasks: &Handle,
    work: impl Future<Output = Result<T, IntakeError>> + Send + 'static,
) -> Result<T, IntakeError> {
    let ended = tasks.spawn(work.in_current_span()).await;
    ended.unwrap_or_else(|_| Err(WorkflowError::Internal("a step of an upload panicked".into()).into()))
}

/// What is stored of a browser's receipt cookie.
pub(crate) fn receipt_mark(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

/// The place of a part among those that were asked for, and their count, as the header has them.
pub(super) fn file_place(request: &DocumentRequest, part: &PartName) -> Result<(u8, u8), IntakeError> {
    let count = u8::try_from(request.parts.len()).map_err(|_| IntakeError::CutOff)?;
    Ok((place_of(request, part), count))
}
