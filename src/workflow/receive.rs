//! Receiving: from the socket to sealed chunks. No plaintext byte touches a disk, no document stands in memory whole, and nothing is called received before it is durable.
//!
//! A [`Submission`] is an armed guard: until [`Submission::commit`] is called, dropping it destroys the erasure secret first and the chunks after.
//! Its caller may be dropped at any await, because the client is gone: what must happen whole runs in a task of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::runtime::Handle;

use crate::crypto::erase::EraseError;
use crate::crypto::header::{Context, ErasureKind};
use crate::crypto::meta::Meta;
use crate::crypto::random;
use crate::crypto::seal::{DocumentSealer, SealError};
use crate::crypto::secret::ErasureSecret;
use crate::crypto::stream::{CHUNK_LEN, TAG_LEN};
use crate::domain::document::{Document, PartSpec, SlotRef, StoredPart};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::link::LinkState;
use crate::domain::request::{DocumentRequest, Receiving, Stage};
use crate::domain::token::PlainToken;
use crate::domain::transition::{Refusal as Illegal, Transition};
use crate::inspect::{Declared, FileTypes, Inspector, Limits, Policy as InspectPolicy, Refusal, Strip as InspectStrip};
use crate::storage::{BlobKey, StorageError};

use super::catalogue::Strip;
use super::parcel::Target;
use super::{Portal, WorkflowError, blocking, issue};

/// Bytes that are inspected at a time.
const PIECE_LEN: usize = 16 << 10;

/// What a link opens, as the page shows it.
pub struct OpenedLink {
    pub request: DocumentRequest,
    pub now: OffsetDateTime,
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLink {
    /// Never issued, replaced by a newer one, or forgotten.
    Unknown,
    Expired,
    Revoked,
}

/// Looks a token up. Changes nothing, ever.
pub async fn look_up(portal: &Portal, token: &PlainToken) -> Result<Result<OpenedLink, DeadLink>, WorkflowError> {
    let now = portal.records.now();
    let Some((request, current)) = portal.records.by_link(&portal.secrets.hash_token(token)).await? else {
        return Ok(Err(DeadLink::Unknown));
    };
    issue::check_terms(portal, &request)?;
    if !current {
        return Ok(Err(DeadLink::Unknown));
    }
    let dead = match (&request.stage, request.link.state(now)) {
        (Stage::Open { .. }, LinkState::Expired) => Some(DeadLink::Expired),
        (Stage::Open { .. }, LinkState::Revoked) => Some(DeadLink::Revoked),
        _ => None,
    };
    Ok(match dead {
        Some(dead) => Err(dead),
        None => Ok(OpenedLink { request, now }),
    })
}

/// Whether there is a free erasure slot and space on the disk for everything that is asked for. Told before a body is read, and looked at again when it is sealed.
pub fn has_room(portal: &Portal, request: &DocumentRequest) -> bool {
    let bytes: u64 = request.parts.iter().map(|p| p.max_bytes).sum();
    portal.erasure.free().is_ok_and(|free| free > 0) && portal.blobs.room_for(bytes)
}

/// What became of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    Right,
    Wrong { left: u8 },
}

/// Spends one try durably, then looks at the code.
pub async fn try_passcode(portal: &Portal, request: &DocumentRequest, code: &str) -> Result<Tried, WorkflowError> {
    let permit = portal.hashing.clone().try_acquire_owned().map_err(|_| WorkflowError::Busy)?;
    let request = portal.records.transition(request.id, Transition::SpendPasscodeTry).await?;
    let lock = request.link.passcode.ok_or(WorkflowError::NotFound)?;
    let (passwords, code) = (portal.passwords.clone(), code.to_owned());
    let right = blocking(move || {
        // The permit goes where the work is: a client that hangs up frees no place for the next one.
        let _permit = permit;
        passwords.verify_passcode(&code, &lock.hash)
    })
    .await?;
    Ok(if right {
        Tried::Right
    } else {
        Tried::Wrong { left: lock.tries_left }
    })
}

#[derive(Debug)]
pub enum ReceiveError {
    /// The file is not acceptable: say why next to its input.
    File {
        part: String,
        refusal: Refusal,
    },
    Workflow(WorkflowError),
    /// No erasure slot or no disk space is free.
    Full,
    /// The client went away or was too slow.
    CutOff,
}

impl From<WorkflowError> for ReceiveError {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Storage(StorageError::Full) => Self::Full,
            other => Self::Workflow(other),
        }
    }
}

impl From<StorageError> for ReceiveError {
    fn from(error: StorageError) -> Self {
        WorkflowError::from(error).into()
    }
}

impl From<SealError> for ReceiveError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Random(_) => Self::Workflow(WorkflowError::Random),
            other => Self::Workflow(WorkflowError::Internal(other.to_string())),
        }
    }
}

/// One drop in progress: all parts of one link.
pub struct Submission {
    portal: Arc<Portal>,
    request: DocumentRequest,
    document: DocumentId,
    /// When the link was looked at: what is in time then may go on for the grace.
    asked_at: OffsetDateTime,
    held: Option<Held>,
    parts: Vec<StoredPart>,
    receiver: Option<[u8; 32]>,
}

impl Submission {
    /// `receipt_cookie`: what the browser will show when it asks again.
    pub fn new(portal: Arc<Portal>, link: OpenedLink, receipt_cookie: Option<&str>) -> Result<Self, WorkflowError> {
        let document = DocumentId::new(random::array()?, link.now);
        Ok(Self {
            portal,
            request: link.request,
            document,
            asked_at: link.now,
            held: None,
            parts: Vec::new(),
            receiver: receipt_cookie.map(receipt_mark),
        })
    }

    pub fn request(&self) -> &DocumentRequest {
        &self.request
    }

    /// The part of this name, if it is asked for and not here yet.
    pub fn expects(&self, name: &str) -> Option<PartSpec> {
        let known = self.request.parts.iter().find(|p| p.name.as_str() == name)?;
        (!self.parts.iter().any(|p| p.name == known.name)).then(|| known.clone())
    }

    /// Names of parts still wanted.
    pub fn missing(&self) -> Vec<String> {
        self.request
            .parts
            .iter()
            .filter(|p| self.expects(p.name.as_str()).is_some())
            .map(|p| p.name.to_string())
            .collect()
    }

    /// Starts one part. `file_name` and `declared` are what the sender says; only the meta box keeps them.
    pub fn part(&mut self, spec: PartSpec, file_name: &str, declared: &str) -> Result<PartReceiver<'_>, ReceiveError> {
        let strip = self.portal.catalogue.get(&self.request.document).map_or(Strip::Gps, |e| e.strip);
        let policy = InspectPolicy {
            limits: Limits {
                accepted: FileTypes::of(&spec.accepted),
                min_bytes: spec.min_bytes,
                max_bytes: spec.max_bytes,
                ..Limits::default()
            },
            strip: match strip {
                Strip::Gps => InspectStrip::Gps,
                Strip::All => InspectStrip::All,
                Strip::None => InspectStrip::None,
            },
            declared: Declared::from_mime(declared),
            ..InspectPolicy::default()
        };
        Ok(PartReceiver {
            inspector: Some(Inspector::new(policy)),
            kept: Vec::new(),
            chunk: Vec::with_capacity(CHUNK_LEN + TAG_LEN),
            sealing: None,
            file_name: clean_name(file_name),
            declared: declared.chars().filter(|c| c.is_ascii_graphic()).take(100).collect(),
            submission: self,
            spec,
        })
    }

    /// Consumes the link: {link consumed, document stored, delivery pending, audit event} in one transaction, durable when this returns.
    pub async fn commit(mut self) -> Result<DocumentRequest, ReceiveError> {
        let Some(held) = self.held.take() else {
            return Err(WorkflowError::Refused(Illegal::Incomplete).into());
        };
        let now = self.portal.records.now();
        let order = |part: &StoredPart| self.request.parts.iter().position(|spec| spec.name == part.name);
        let mut parts = std::mem::take(&mut self.parts);
        parts.sort_by_key(order);
        let document = Document {
            id: self.document,
            slot: held.slot,
            received_at: now,
            purge_at: now + self.request.keep,
            parts,
            receiver: self.receiver,
        };
        whole(&self.portal.tasks, held.commit(document)).await
    }

    /// Destroys what was written, key first. Also what dropping does, only that here one can wait for it.
    pub async fn abandon(mut self) {
        if let Some(held) = self.held.take() {
            held.destroy().await;
        }
    }

    /// Puts the erasure secret into its slot, then claims a stream of the link. Before the first chunk.
    async fn begin(&mut self) -> Result<(SlotRef, Arc<ErasureSecret>), ReceiveError> {
        if let Some(held) = &self.held {
            return Ok((held.slot, held.secret.clone()));
        }
        if !has_room(&self.portal, &self.request) {
            return Err(ReceiveError::Full);
        }
        let held = whole(
            &self.portal.tasks,
            Held::begin(self.portal.clone(), &self.request, self.document, self.asked_at),
        )
        .await?;
        let begun = (held.slot, held.secret.clone());
        self.held = Some(held);
        Ok(begun)
    }
}

/// Runs to its end even if nobody waits for it any more.
async fn whole<T: Send + 'static>(
    tasks: &Handle,
    work: impl Future<Output = Result<T, ReceiveError>> + Send + 'static,
) -> Result<T, ReceiveError> {
    let ended = tasks.spawn(work).await;
    ended.unwrap_or_else(|_| Err(WorkflowError::Internal("a step of an upload panicked".to_owned()).into()))
}

/// What exists once the first byte is worth sealing: a secret in its slot and a stream of the link. Destroyed when it is dropped.
struct Held {
    portal: Arc<Portal>,
    request: RequestId,
    document: DocumentId,
    slot: SlotRef,
    secret: Arc<ErasureSecret>,
    /// Whether the store decides by now what becomes of it.
    given_up: bool,
}

impl Held {
    fn begin(
        portal: Arc<Portal>,
        request: &DocumentRequest,
        document: DocumentId,
        asked_at: OffsetDateTime,
    ) -> impl Future<Output = Result<Self, ReceiveError>> + Send + 'static {
        // The link that was looked up, and no later one.
        let (request, generation) = (request.id, request.link.generation);
        async move { Self::begin_on(portal, request, generation, document, asked_at).await }
    }

    async fn begin_on(
        portal: Arc<Portal>,
        request: RequestId,
        generation: u32,
        document: DocumentId,
        asked_at: OffsetDateTime,
    ) -> Result<Self, ReceiveError> {
        let secret = Arc::new(ErasureSecret::generate().map_err(WorkflowError::from)?);
        portal.in_flight.enter(document);
        let (erasure, owner, kept) = (portal.erasure.clone(), document.0, secret.clone());
        let slot = match blocking(move || erasure.put(&owner, &kept)).await {
            Ok(Ok(slot)) => slot,
            failed => {
                portal.in_flight.leave(document);
                return Err(match failed {
                    Ok(Err(EraseError::SlotsFull)) => ReceiveError::Full,
                    Ok(Err(error)) => WorkflowError::Internal(error.to_string()).into(),
                    Err(error) => error.into(),
                    Ok(Ok(_)) => ReceiveError::Full,
                });
            }
        };
        crate::crash::point("C5");
        let receiving = Receiving {
            document,
            slot,
            started_at: asked_at,
        };
        let held = Self {
            portal,
            request,
            document,
            slot,
            secret,
            given_up: false,
        };
        match held
            .portal
            .records
            .transition(request, Transition::BeginReceive { receiving, generation })
            .await
        {
            Ok(_) => Ok(held),
            Err(error) => {
                held.destroy().await;
                Err(error.into())
            }
        }
    }

    async fn commit(mut self, document: Document) -> Result<DocumentRequest, ReceiveError> {
        let bytes: u64 = document.parts.iter().map(|p| p.size).sum();
        // From here to the store's answer nobody else may destroy it: it might be received.
        self.given_up = true;
        crate::crash::point("C7");
        match self
            .portal
            .records
            .transition(self.request, Transition::CommitReceived(document))
            .await
        {
            Ok(request) => {
                crate::crash::point("C10");
                self.portal.counters.received.fetch_add(1, Ordering::Relaxed);
                self.portal.counters.received_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.portal.wake.notify_one();
                Ok(request)
            }
            // Whether it was written is unknown: destroying the secret might destroy a received document. The sweep decides from what the store says.
            Err(error @ StorageError::Indeterminate(_)) => Err(error.into()),
            Err(error) => {
                self.destroy().await;
                Err(error.into())
            }
        }
    }

    async fn destroy(mut self) {
        self.given_up = true;
        let destroyed = destroy(self.portal.clone(), self.request, self.document, self.slot);
        // It says by itself what it could not do.
        let _ = self.portal.tasks.spawn(destroyed).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.given_up {
            return self.portal.in_flight.leave(self.document);
        }
        self.portal.counters.abandoned.fetch_add(1, Ordering::Relaxed);
        // While the process ends it may not run any more; the sweep at the next start does the same.
        let destroyed = destroy(self.portal.clone(), self.request, self.document, self.slot);
        drop(self.portal.tasks.spawn(destroyed));
    }
}

/// The secret first: from then on the chunks are noise, whatever fails afterwards.
async fn destroy(portal: Arc<Portal>, request: RequestId, document: DocumentId, slot: SlotRef) {
    let erasure = portal.erasure.clone();
    let erased = blocking(move || erasure.destroy(&document.0, &slot)).await;
    if !matches!(erased, Ok(Ok(_))) {
        tracing::error!(%document, "an abandoned upload's erasure secret could not be destroyed; the sweep tries again");
    }
    if let Err(error) = portal.blobs.delete(document).await {
        tracing::warn!(%document, %error, "chunks of an abandoned upload stay until the sweep");
    }
    if let Err(error) = portal.records.transition(request, Transition::AbandonReceive(document)).await {
        tracing::warn!(%document, %error, "an abandoned upload is still noted until the sweep");
    }
    portal.in_flight.leave(document);
}

/// One part on its way in: inspected, sealed and stored as it arrives.
pub struct PartReceiver<'a> {
    submission: &'a mut Submission,
    spec: PartSpec,
    inspector: Option<Inspector>,
    /// What the inspector let through of the piece at hand.
    kept: Vec<u8>,
    /// Inspected plaintext on its way to a full chunk. One buffer for the whole part, with room for its tag.
    chunk: Vec<u8>,
    sealing: Option<(Vec<u8>, DocumentSealer)>,
    file_name: String,
    declared: String,
}

impl PartReceiver<'_> {
    /// Takes the next bytes off the socket.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        // In small pieces, so that a large read needs no large buffer.
        for piece in bytes.chunks(PIECE_LEN) {
            let inspector = self.inspector.as_mut().ok_or(ReceiveError::CutOff)?;
            if let Err(refusal) = inspector.push(piece, &mut self.kept) {
                return Err(self.refuse(refusal));
            }
            self.take_kept().await?;
        }
        Ok(())
    }

    /// The part is complete.
    pub async fn finish(mut self) -> Result<(), ReceiveError> {
        let inspector = self.inspector.take().ok_or(ReceiveError::CutOff)?;
        let report = match inspector.finish(&mut self.kept) {
            Ok(report) => report,
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        self.take_kept().await?;
        self.store(true).await?;
        let (header, sealer) = self.sealing.take().ok_or(ReceiveError::CutOff)?;
        let target = Target::of(&self.submission.portal, &self.submission.request, &self.spec.name)?;
        let meta = Meta {
            file_name: std::mem::take(&mut self.file_name),
            declared_type: std::mem::take(&mut self.declared),
            sniffed_type: report.file_type.mime().to_owned(),
            size: sealer.size(),
            width: report.pixels.map(|(width, _)| width),
            height: report.pixels.map(|(_, height)| height),
            target: Some(target.encode()),
        };
        let sealed = sealer.finish(&meta)?;
        self.submission.parts.push(StoredPart {
            name: self.spec.name.clone(),
            file_type: report.file_type,
            header,
            meta: sealed.meta_box,
            digest: sealed.digest,
            size: sealed.size,
            chunks: u32::try_from(sealed.chunks).map_err(|_| ReceiveError::CutOff)?,
        });
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> ReceiveError {
        self.submission.portal.counters.refused.fetch_add(1, Ordering::Relaxed);
        ReceiveError::File {
            part: self.spec.name.to_string(),
            refusal,
        }
    }

    /// Moves what was let through into chunks. A full chunk goes out only when a byte for the next one is here: the last must not be empty, and only
    /// the end tells which is last.
    async fn take_kept(&mut self) -> Result<(), ReceiveError> {
        let mut taken = 0;
        while taken < self.kept.len() {
            if self.chunk.len() == CHUNK_LEN {
                self.store(false).await?;
                // Everybody else of this thread comes in between two chunks: a page must not wait for a whole read of every upload.
                tokio::task::yield_now().await;
            }
            let room = (CHUNK_LEN - self.chunk.len()).min(self.kept.len() - taken);
            self.chunk.extend_from_slice(&self.kept[taken..taken + room]);
            taken += room;
        }
        self.kept.clear();
        Ok(())
    }

    async fn store(&mut self, last: bool) -> Result<(), ReceiveError> {
        if self.sealing.is_none() {
            self.sealing = Some(self.start().await?);
        }
        let Some((_, sealer)) = &mut self.sealing else {
            return Err(ReceiveError::CutOff);
        };
        let number = u32::try_from(sealer.chunks()).map_err(|_| ReceiveError::CutOff)?;
        sealer.seal_chunk_in_place(&mut self.chunk, last)?;
        let key = BlobKey {
            document: self.submission.document,
            file_index: self.index(),
            chunk: number,
        };
        let sealed = Bytes::from(std::mem::take(&mut self.chunk));
        self.submission.portal.blobs.put(key, sealed.clone()).await?;
        crate::crash::point("C6");
        self.chunk = emptied(sealed);
        Ok(())
    }

    async fn start(&mut self) -> Result<(Vec<u8>, DocumentSealer), ReceiveError> {
        let (slot, secret) = self.submission.begin().await?;
        let context = Context {
            doc_id: self.submission.document.0,
            slot,
            file_index: self.index(),
            file_count: u8::try_from(self.submission.request.parts.len()).map_err(|_| ReceiveError::CutOff)?,
            erasure: ErasureKind::LocalSlot,
        };
        let public = self.submission.portal.keyring.current();
        Ok(DocumentSealer::begin(&public, &context, &secret)?)
    }

    fn index(&self) -> u8 {
        let place = self.submission.request.parts.iter().position(|p| p.name == self.spec.name);
        place.and_then(|p| u8::try_from(p).ok()).unwrap_or(0)
    }
}

/// The buffer of a stored chunk for the next one, or a new one if the store holds on to it.
fn emptied(sealed: Bytes) -> Vec<u8> {
    match sealed.try_into_mut() {
        Ok(buffer) => {
            let mut buffer = Vec::from(buffer);
            buffer.clear();
            buffer
        }
        Err(_) => Vec::with_capacity(CHUNK_LEN + TAG_LEN),
    }
}

/// What is stored of a browser's receipt cookie.
pub fn receipt_mark(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

/// A file name that can harm nobody: the last path component, no control or direction characters, at most 255 bytes.
pub fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean = String::new();
    for c in last.chars() {
        let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        let c = if c.is_control() || direction { '\u{fffd}' } else { c };
        if clean.len() + c.len_utf8() > 255 {
            break;
        }
        clean.push(c);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_lose_what_could_harm() {
        assert_eq!(clean_name("../../etc/passwd"), "passwd");
        assert_eq!(clean_name("C:\\Users\\x\\id.jpg"), "id.jpg");
        assert_eq!(clean_name("a\u{202e}gpj.exe"), "a\u{fffd}gpj.exe");
        assert_eq!(clean_name("a\r\nb\0c"), "a\u{fffd}\u{fffd}b\u{fffd}c");
        assert!(clean_name(&"ü".repeat(10_000)).len() <= 255);
        assert_eq!(clean_name(""), "");
    }
}
