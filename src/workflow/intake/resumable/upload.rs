//! One connection's share of an upload: takes over, stages, acknowledges, and with the last byte seals the part.

use std::sync::Arc;

use tracing::Instrument;
use zeroize::Zeroizing;

use super::{ResumeError, secret};
use crate::chain::{Cause, chain};
use crate::crypto::staging::{STAGED_LEN, Staging, StagingKey};
use crate::domain::document::PartSpec;
use crate::domain::id::DocumentId;
use crate::domain::request::DocumentRequest;
use crate::domain::token::PlainToken;
use crate::domain::transition::{EndOf, IntakeStep, Refusal, Transition};
use crate::storage::{BlobKey, PartWriter, StorageError};
use crate::workflow::intake::in_flight::Writer;
use crate::workflow::intake::link::{closed, place_of};
use crate::workflow::intake::part::{Filter, policy};
use crate::workflow::intake::part_lock::Claim;
use crate::workflow::intake::submission::run_to_completion;
use crate::workflow::intake::{IntakeError, OpenedLink, Source, Submission};
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError};

/// Staged chunks stand in file 0 of the upload's own id, the two places of the tail in files 1 and 2: the one that the row names is not written to.
const CHUNKS: u8 = 0;
const TAILS: u8 = 1;
/// Bytes that are taken in at a time: so much more than one staged chunk waits at most.
const PIECE_LEN: usize = 8 << 10;

/// Bytes of one part, coming now. Dropped, it keeps what came, unless it was told to wait for a proof of it.
pub(crate) struct Upload(Option<Box<Inner>>);

/// What is not broken off in the middle.
enum Step {
    Stage,
    Save,
}

struct Inner {
    portal: Arc<Portal>,
    request: DocumentRequest,
    seen: OpenedLink,
    spec: PartSpec,
    document: DocumentId,
    writer: Writer,
    key: StagingKey,
    staging: Staging,
    /// Writes the whole chunks, from the first one on that this connection brings.
    chunks: Option<Box<dyn PartWriter>>,
    /// Where the tail lies that the row names: that place is not written to.
    kept_tail: Option<u8>,
    /// What the row says.
    durable: u64,
    /// Bytes behind the whole chunks.
    waiting: Zeroizing<Vec<u8>>,
    /// Looks along while the first bytes come, so that a wrong file is refused at once.
    inspector: Option<Filter>,
    claim: Claim,
    receiver: Option<[u8; 32]>,
    /// Nothing that came by this connection may be kept before it was proved.
    unproved: bool,
}

/// How an upload stands after a connection has sent its share.
pub(crate) enum Progress {
    /// More is to come; so much is durable.
    At(u64),
    /// The part is sealed. With the last one the whole drop is received.
    Sealed { length: u64 },
}

impl Upload {
    /// Takes over the upload of a part (the `wanted` one, if the caller knows) that stands at `offset`. Whoever was sending stops before the next write.
    ///
    /// # Errors
    /// [`ResumeError::None`], [`ResumeError::Offset`] with the right one, or what the store says.
    pub(crate) async fn take_over(
        portal: &Arc<Portal>,
        link: OpenedLink,
        token: &PlainToken,
        spec: &PartSpec,
        offset: u64,
        wanted: Option<DocumentId>,
        receiver: Option<[u8; 32]>,
    ) -> Result<Self, ResumeError> {
        stands(&link.request, spec, offset, wanted)?;
        let claim = portal.intake.part_locks.claim(link.request.id, place_of(&link.request, &spec.name));
        let guard = claim.write().await.ok_or(ResumeError::Superseded)?;
        // The writer of before may have come further, or to the end.
        let request = portal.requests.request(link.request.id).await?.ok_or(ResumeError::None)?;
        stands(&request, spec, offset, wanted)?;
        let document = request.staging(&spec.name).ok_or(ResumeError::None)?.0.document;
        // Entered before the row is read for good: whoever destroys it finds this writer, or this one finds that it is given up.
        let writer = portal.intake.in_flight.enter(document);
        let request = portal.requests.request(link.request.id).await?.ok_or(ResumeError::None)?;
        stands(&request, spec, offset, Some(document))?;
        let (intake, staged) = request.staging(&spec.name).ok_or(ResumeError::None)?;
        let secret = secret(portal, intake).await?.ok_or(ResumeError::None)?;
        let key = StagingKey::derive(token, &secret, &document.0);
        let staging = Staging::from_box(&key, &staged.state).map_err(unreadable)?;
        let mut waiting = Zeroizing::new(Vec::with_capacity(STAGED_LEN + PIECE_LEN));
        if let Some(place) = staging.tail_place() {
            let tail = portal
                .blobs
                .get(tail_key(document, place))
                .await
                .map_err(StorageError::from)?
                .ok_or_else(missing)?;
            waiting.extend_from_slice(&staging.open_tail(&key, &tail).map_err(unreadable)?);
        }
        drop(guard);
        portal
            .intake
            .part_locks
            .note(request.id, place_of(&request, &spec.name), receiver, portal.now());
        let inspector = (offset == 0).then(|| Filter::new(policy(portal, &request, spec), staging.photos()));
        Ok(Self(Some(Box::new(Inner {
            portal: portal.clone(),
            spec: spec.clone(),
            document,
            writer,
            key,
            kept_tail: staging.tail_place(),
            durable: staging.offset(),
            staging,
            chunks: None,
            waiting,
            inspector,
            claim,
            receiver,
            unproved: false,
            seen: link,
            request,
        }))))
    }

    /// What comes from here on is kept only after [`Upload::proved`].
    pub(crate) fn wait_for_proof(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.unproved = true;
            // What may be damaged on its way is no ground for a refusal.
            inner.inspector = None;
        }
    }

    pub(crate) fn proved(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.unproved = false;
        }
    }

    /// Bytes still to come.
    pub(crate) fn left(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.staging.length() - inner.received())
    }

    /// Bytes that came and are not durable yet.
    pub(crate) fn unsaved(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.received() - inner.durable)
    }

    /// Returns when somebody newer took over.
    pub(crate) async fn over(&self) {
        match &self.0 {
            Some(inner) => inner.claim.over().await,
            None => std::future::pending().await,
        }
    }

    /// Stages what came.
    ///
    /// # Errors
    /// [`IntakeError::File`] when the beginning of the file is not acceptable: then the upload is given up already.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), ResumeError> {
        if bytes.len() as u64 > self.left() {
            return Err(ResumeError::TooLong);
        }
        for piece in bytes.chunks(PIECE_LEN) {
            let inner = self.0.as_mut().ok_or(ResumeError::None)?;
            if let Err(error) = inner.take_in(piece) {
                self.give_up().await;
                return Err(error);
            }
            // The end of the file needs no staging: it is sealed at once.
            while self.0.as_ref().is_some_and(|inner| inner.has_chunk()) {
                self.run(Step::Stage).await?;
            }
        }
        Ok(())
    }

    /// One step that runs to its end even if the connection breaks off meanwhile: a write that went on behind a writer's back could come after the next writer's.
    async fn run(&mut self, step: Step) -> Result<(), ResumeError> {
        let Some(mut inner) = self.0.take() else {
            return Err(ResumeError::None);
        };
        let (give, take) = tokio::sync::oneshot::channel();
        let tasks = inner.portal.tasks.clone();
        tasks.spawn(async move {
            let outcome = match step {
                Step::Stage => inner.stage_chunk().await,
                Step::Save => inner.save().await,
            };
            if let Err((inner, Ok(()))) = give.send((inner, outcome)) {
                inner.keep().await;
            }
        });
        match take.await {
            Ok((inner, Ok(()))) => {
                self.0 = Some(inner);
                Ok(())
            }
            // What it says of itself is ahead of what is there: nothing more is kept from it.
            Ok((_, error)) => error,
            Err(_) => Err(WorkflowError::Internal("staging an upload panicked".into()).into()),
        }
    }

    /// Makes everything that came durable. Not the very last byte: that is what [`Upload::end`] does.
    pub(crate) async fn save(&mut self) -> Result<(), ResumeError> {
        match &self.0 {
            Some(inner) if !inner.unproved => self.run(Step::Save).await,
            _ => Ok(()),
        }
    }

    /// The connection has sent its share: saves it or, if this was the last byte, seals the part. Runs to its end even if nobody waits any more.
    pub(crate) async fn end(mut self) -> Result<Progress, ResumeError> {
        let Some(mut inner) = self.0.take() else {
            return Err(ResumeError::None);
        };
        let tasks = inner.portal.tasks.clone();
        inner.unproved = false;
        tasks
            .spawn(inner.end().in_current_span())
            .await
            .unwrap_or_else(|_| Err(WorkflowError::Internal("sealing an upload panicked".into()).into()))
    }

    /// Forgets what this connection sent and is not durable yet.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }

    async fn give_up(&mut self) {
        if let Some(inner) = self.0.take() {
            let tasks = inner.portal.tasks.clone();
            let given_up = run_to_completion(&tasks, async move { inner.give_up().await });
            if let Err(error) = given_up.await {
                tracing::warn!(error = %chain(&error), "a refused upload stays until its time is over");
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The connection broke off, perhaps together with the task that served it: what came is kept all the same.
        if let Some(inner) = self.0.take() {
            let tasks = inner.portal.tasks.clone();
            tasks.spawn(inner.keep());
        }
    }
}

impl Inner {
    fn received(&self) -> u64 {
        self.staging.whole() + self.waiting.len() as u64
    }

    /// Looks at what came and puts it behind the rest.
    fn take_in(&mut self, piece: &[u8]) -> Result<(), ResumeError> {
        if let Some(inspector) = &mut self.inspector {
            let mut kept = Zeroizing::new(Vec::with_capacity(piece.len()));
            if let Err(refusal) = inspector.push(piece, &mut kept) {
                self.portal.counters.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let part = self.spec.name.to_string();
                return Err(IntakeError::File { part, refusal }.into());
            }
        }
        self.waiting.extend_from_slice(piece);
        Ok(())
    }

    fn has_chunk(&self) -> bool {
        self.waiting.len() >= STAGED_LEN && self.received() < self.staging.length()
    }

    /// Nobody waits any more: keeps what came, if it may be kept.
    async fn keep(self: Box<Self>) {
        if self.unproved || self.received() == self.durable {
            return;
        }
        if let Err(error) = self.end().await {
            tracing::debug!(?error, "the end of a broken upload is not kept");
        }
    }

    async fn stage_chunk(&mut self) -> Result<(), ResumeError> {
        let _guard = self.claim.write().await.ok_or(ResumeError::Superseded)?;
        let Some(plain) = self.waiting.first_chunk::<STAGED_LEN>() else {
            return Ok(());
        };
        let writing = self.writer.writing().await.ok_or(ResumeError::Superseded)?;
        let mut chunks = match self.chunks.take() {
            Some(chunks) => chunks,
            // Whatever lies behind them was never acknowledged.
            None => self.portal.blobs.writer(self.document, CHUNKS, self.staging.chunks()).await?,
        };
        let chunk = self.staging.seal_chunk(&self.key, plain).map_err(WorkflowError::from)?;
        chunks.put(&chunk).await?;
        drop(writing);
        self.chunks = Some(chunks);
        let rest = Zeroizing::new(self.waiting[STAGED_LEN..].to_vec());
        self.waiting.clear();
        self.waiting.extend_from_slice(&rest);
        Ok(())
    }

    async fn end(mut self: Box<Self>) -> Result<Progress, ResumeError> {
        if self.received() < self.staging.length() {
            self.save().await?;
            return Ok(Progress::At(self.durable));
        }
        self.seal().await
    }

    /// Chunks and tail are durable before the row is: whatever the row names is there.
    async fn save(&mut self) -> Result<(), ResumeError> {
        let received = self.received();
        if received == self.durable || received == self.staging.length() {
            return Ok(());
        }
        let guard = self.claim.write().await.ok_or(ResumeError::Superseded)?;
        let writing = self.writer.writing().await.ok_or(ResumeError::Superseded)?;
        let mut durable = Vec::new();
        if let Some(chunks) = &mut self.chunks {
            durable.push(chunks.sync().await?);
        }
        if !self.waiting.is_empty() {
            let (place, tail) = self
                .staging
                .seal_tail(&self.key, &self.waiting, self.kept_tail)
                .map_err(WorkflowError::from)?;
            let mut file = self.portal.blobs.writer(self.document, TAILS + place, 0).await?;
            file.put(&tail).await?;
            durable.push(file.sync().await?);
        }
        drop(writing);
        let progress = IntakeStep::StageProgress {
            document: self.document,
            from: self.durable,
            offset: received,
            state: self.staging.to_box(&self.key).map_err(WorkflowError::from)?,
            durable,
        };
        self.portal
            .requests
            .transition(self.request.id, Transition::Intake(progress))
            .await?;
        self.kept_tail = self.staging.tail_place();
        self.durable = received;
        drop(guard);
        let (part, now) = (place_of(&self.request, &self.spec.name), self.portal.now());
        self.portal.intake.part_locks.note(self.request.id, part, self.receiver, now);
        Ok(())
    }

    /// The same way as a form's: inspected, sealed, stored. Refused here, the upload is given up.
    async fn seal(mut self: Box<Self>) -> Result<Progress, ResumeError> {
        // Nobody may begin the part again before this is decided.
        let guard = self.claim.write().await.ok_or(ResumeError::Superseded)?;
        // What this connection has staged is read back now; durable it need not be.
        if let Some(chunks) = &mut self.chunks {
            chunks.show().await?;
        }
        let mut outcome = self.seal_once().await;
        // The other part was the first one at the same time: once more, into its submission.
        if matches!(&outcome, Err(error) if error.is_superseded()) {
            outcome = self.seal_once().await;
        }
        drop(guard);
        self.portal
            .intake
            .part_locks
            .forget(self.request.id, place_of(&self.request, &self.spec.name));
        let length = self.staging.length();
        match outcome {
            Ok(_) => Ok(Progress::Sealed { length }),
            Err(refused @ IntakeError::File { .. }) => {
                self.give_up().await?;
                Err(refused.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn seal_once(&self) -> Result<DocumentRequest, IntakeError> {
        let request = TrustedRequest::load(&self.portal, self.request.id).await?;
        if let Some(refusal) = self.ended(&request) {
            return Err(IntakeError::refused(refusal));
        }
        let id = request.id;
        let link = OpenedLink {
            generation: request.link.generation,
            request,
            now: self.seen.now,
        };
        let source = Source::Upload(self.document);
        let mut submission = Submission::new(self.portal.clone(), link, source, self.receiver)?;
        if let Err(error) = self.fill(&mut submission).await {
            submission.discard().await;
            // What is discarded meanwhile is destroyed under this reader.
            let request = self.portal.requests.request(id).await?.ok_or(WorkflowError::NotFound)?;
            return Err(match (self.ended(&request), error) {
                (Some(refusal), IntakeError::Workflow(_)) => IntakeError::refused(refusal),
                (_, error) => error,
            });
        }
        Ok(submission.request().clone().into_inner())
    }

    /// Taken back, withdrawn, or received by another way.
    fn ended(&self, request: &DocumentRequest) -> Option<Refusal> {
        let staging = request.staging(&self.spec.name);
        let stands = staging.is_some_and(|(intake, _)| intake.document == self.document);
        (!stands).then(|| closed(request, self.portal.now()).unwrap_or(Refusal::Superseded))
    }

    async fn fill(&self, submission: &mut Submission) -> Result<(), IntakeError> {
        let spec = self.spec.clone();
        let mut part = match self.staging.photos() {
            [] => submission.part(spec, self.staging.file_name(), self.staging.declared()),
            lengths => submission.joined_photos(spec, lengths),
        };
        let mut reader = self.staging.reader();
        for number in 0..self.staging.chunks() {
            let chunk = self
                .portal
                .blobs
                .get(chunk_key(self.document, number))
                .await
                .map_err(StorageError::from)?
                .ok_or_else(missing)?;
            part.push(&reader.open(&self.key, &chunk).map_err(unreadable)?).await?;
        }
        reader.finish().map_err(unreadable)?;
        part.push(&self.waiting).await?;
        part.finish().await
    }

    async fn give_up(&self) -> Result<(), IntakeError> {
        let end = IntakeStep::End {
            document: self.document,
            end: EndOf::Withdrawn,
        };
        match self.portal.requests.transition(self.request.id, Transition::Intake(end)).await {
            Ok(_) => self.portal.intake.cleanup.due.notify_one(),
            // It ended otherwise meanwhile.
            Err(StorageError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn stands(request: &DocumentRequest, spec: &PartSpec, offset: u64, wanted: Option<DocumentId>) -> Result<(), ResumeError> {
    let at = match (request.staging(&spec.name), request.finished(&spec.name)) {
        (Some((intake, _)), _) if wanted.is_some_and(|wanted| wanted != intake.document) => return Err(ResumeError::None),
        (Some((_, staged)), _) => staged.offset,
        (None, Some(finished)) => return Err(ResumeError::Offset { at: finished.length }),
        (None, None) => return Err(ResumeError::None),
    };
    if at == offset { Ok(()) } else { Err(ResumeError::Offset { at }) }
}

fn chunk_key(document: DocumentId, chunk: u32) -> BlobKey {
    BlobKey {
        document,
        file_index: CHUNKS,
        chunk,
    }
}

fn tail_key(document: DocumentId, place: u8) -> BlobKey {
    BlobKey {
        document,
        file_index: TAILS + place,
        chunk: 0,
    }
}

fn unreadable(error: crate::crypto::staging::NotStaged) -> WorkflowError {
    WorkflowError::Internal(Cause::new(error))
}

fn missing() -> WorkflowError {
    WorkflowError::Internal("a staged chunk is not there".into())
}
