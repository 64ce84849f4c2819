//! Receiving: from the socket to sealed chunks. No plaintext byte touches a disk, no document stands in memory whole, and nothing is called received before it is durable.
//!
//! A [`Submission`] is an armed guard: until [`Submission::commit`] is called, dropping it destroys the erasure secret first and the chunks after.
//! Its caller may be dropped at any await, because the client is gone: what must happen whole runs in a task of its own.

mod part;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::runtime::Handle;

use crate::crypto::erase::EraseError;
use crate::crypto::random;
use crate::crypto::seal::SealError;
use crate::crypto::secret::ErasureSecret;
use crate::crypto::stream::{CHUNK_LEN, TAG_LEN};
use crate::domain::document::{Document, PartName, PartSpec, SlotRef, StoredPart};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::link::LinkState;
use crate::domain::request::{DocumentRequest, How, Receiving, Stage};
use crate::domain::token::PlainToken;
use crate::domain::transition::{Refusal as Illegal, Transition};
use crate::inspect::{Declared, FileTypes, Inspector, Limits, Policy as InspectPolicy, Refusal, Strip as InspectStrip};
use crate::storage::StorageError;

use super::catalogue::Strip;
use super::trusted::TrustedRequest;
use super::{Portal, WorkflowError, blocking};

pub use part::PartReceiver;

/// What a link opens, as the page shows it.
pub struct OpenedLink {
    pub request: TrustedRequest,
    pub now: OffsetDateTime,
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLink {
    /// Never issued, replaced by a newer one, or forgotten.
    Unknown,
    Expired,
    /// Withdrawn, or replaced by a newer one.
    Revoked,
}

/// Looks a token up. Changes nothing, ever.
pub async fn look_up(portal: &Portal, token: &PlainToken) -> Result<Result<OpenedLink, DeadLink>, WorkflowError> {
    let now = portal.records.now();
    let Some((request, current)) = portal.records.by_link(&portal.secrets.hash_token(token)).await? else {
        return Ok(Err(DeadLink::Unknown));
    };
    let request = TrustedRequest::prove(portal, request)?;
    // Somebody who holds the link that came before the present one is no guesser.
    if !current {
        return Ok(Err(DeadLink::Revoked));
    }
    let dead = match (&request.stage, request.link_state(now)) {
        (Stage::Open { .. }, LinkState::Expired) => Some(DeadLink::Expired),
        (Stage::Open { .. }, LinkState::Revoked) => Some(DeadLink::Revoked),
        _ => None,
    };
    if dead == Some(DeadLink::Expired) && request.stage == (Stage::Open { expiry_noted: false }) {
        // Whoever was told so is not told otherwise by a later start with an earlier time.
        portal.records.note_time(request.link.expires_at).await?;
    }
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
    let permit = portal.checking.turn().await?;
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
    request: TrustedRequest,
    document: DocumentId,
    /// When the link was looked at: what is in time then may go on for the grace.
    asked_at: OffsetDateTime,
    held: Option<Held>,
    parts: Vec<StoredPart>,
    receiver: Option<[u8; 32]>,
    lasting: Option<Lasting>,
}

/// A submission that outlives its connections: each part is kept as soon as it is sealed, and the last one is the commit.
struct Lasting {
    /// Where its secret lives, if a part was kept before.
    slot: Option<SlotRef>,
    /// Parts that were kept before.
    here: Vec<PartName>,
    /// The upload that the part comes from. Whoever seals it holds the lane; a form takes the lane by itself.
    upload: Option<DocumentId>,
    done: Option<DocumentRequest>,
}

impl Submission {
    /// `receipt_cookie`: what the browser will show when it asks again.
    /// Where parts are here already, a form brings the missing ones.
    pub fn new(portal: Arc<Portal>, link: OpenedLink, receipt_cookie: Option<&str>) -> Result<Self, WorkflowError> {
        let stands = link.request.standing().is_some();
        let mut submission = Self::lasting(portal, link.request, link.now, None)?;
        submission.receiver = receipt_cookie.map(receipt_mark);
        submission.lasting = submission.lasting.filter(|_| stands);
        Ok(submission)
    }

    /// One that goes on where the parts that are here end; `upload` is where its part comes from.
    pub(super) fn lasting(
        portal: Arc<Portal>,
        request: TrustedRequest,
        asked_at: OffsetDateTime,
        upload: Option<DocumentId>,
    ) -> Result<Self, WorkflowError> {
        let standing = request.standing();
        let document = match standing {
            Some(standing) => standing.document,
            None => DocumentId::new(random::array()?, asked_at),
        };
        let lasting = Lasting {
            slot: standing.map(|s| s.slot),
            here: standing.map_or_else(Vec::new, |s| s.finished().iter().map(|f| f.part.name.clone()).collect()),
            upload,
            done: None,
        };
        Ok(Self {
            portal,
            request,
            document,
            asked_at,
            held: None,
            parts: Vec::new(),
            receiver: None,
            lasting: Some(lasting),
        })
    }

    pub(super) fn received_by(mut self, receiver: Option<[u8; 32]>) -> Self {
        self.receiver = receiver;
        self
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
            .filter(|p| self.expects(p.name.as_str()).is_some() && !self.is_here(&p.name))
            .map(|p| p.name.to_string())
            .collect()
    }

    fn is_here(&self, part: &PartName) -> bool {
        self.lasting.as_ref().is_some_and(|l| l.here.contains(part))
    }

    /// Starts one part. `file_name` and `declared` are what the sender says; only the meta box keeps them.
    pub fn part(&mut self, spec: PartSpec, file_name: &str, declared: &str) -> Result<PartReceiver<'_>, ReceiveError> {
        let place = place_of(&self.request, &spec.name);
        let by_form = self.lasting.as_ref().is_some_and(|l| l.upload.is_none());
        Ok(PartReceiver {
            inspector: Some(inspector(&self.portal, &self.request, &spec, declared)),
            turn: by_form.then(|| self.portal.lanes.take(self.request.id, place)),
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
        if let Some(lasting) = &mut self.lasting {
            return lasting
                .done
                .take()
                .ok_or_else(|| WorkflowError::Refused(Illegal::Incomplete).into());
        }
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
        // What was kept before belongs to the request's row.
        if let Some(held) = self.held.take().filter(|held| !held.given_up) {
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
        let portal = self.portal.clone();
        let held = match self.lasting.as_ref().map(|l| l.slot) {
            None => {
                let begun = Held::begin(portal, &self.request, self.document, self.asked_at);
                whole(&self.portal.tasks, begun).await?
            }
            // Noted by its first part; until then the sweep knows it as being in flight.
            Some(None) => whole(&self.portal.tasks, Held::put(portal, self.request.id, self.document)).await?,
            Some(Some(slot)) => {
                let held = Held::join(portal, self.request.id, self.document, slot).await?;
                // What stands must not be given up as idle while this part comes.
                let touch = Transition::TouchReceive { document: self.document };
                self.portal.records.transition(self.request.id, touch).await?;
                held
            }
        };
        let begun = (held.slot, held.secret.clone());
        self.held = Some(held);
        Ok(begun)
    }
}

/// Judges one part as it comes.
pub(super) fn inspector(portal: &Portal, request: &DocumentRequest, spec: &PartSpec, declared: &str) -> Inspector {
    let strip = portal.catalogue.get(&request.document).map_or(Strip::Gps, |e| e.strip);
    let bounds = Limits::default();
    Inspector::new(InspectPolicy {
        limits: Limits {
            accepted: FileTypes::of(&spec.accepted),
            min_bytes: spec.min_bytes,
            min_picture_bytes: spec.pictures.min_bytes,
            max_bytes: spec.max_bytes,
            min_side: spec.pictures.min_side.max(bounds.min_side),
            max_side: match spec.pictures.max_side {
                0 => bounds.max_side,
                theirs => theirs.min(bounds.max_side),
            },
            ..bounds
        },
        strip: match strip {
            Strip::Gps => InspectStrip::Gps,
            Strip::All => InspectStrip::All,
            Strip::None => InspectStrip::None,
        },
        declared: Declared::from_mime(declared),
        ..InspectPolicy::default()
    })
}

/// Why nothing more may come, if so.
pub(super) fn closed(request: &DocumentRequest, now: OffsetDateTime) -> Option<Illegal> {
    match (&request.stage, request.link_state(now)) {
        (Stage::Open { .. }, LinkState::Revoked) => Some(Illegal::LinkRevoked),
        (Stage::Open { .. }, LinkState::Expired) => Some(Illegal::LinkExpired),
        (Stage::Open { .. }, _) => None,
        _ => Some(Illegal::AlreadyReceived),
    }
}

/// Which of the parts that were asked for this is.
pub(super) fn place_of(request: &DocumentRequest, part: &PartName) -> u8 {
    let place = request.parts.iter().position(|p| p.name == *part);
    place.and_then(|p| u8::try_from(p).ok()).unwrap_or(0)
}

/// Runs to its end even if nobody waits for it any more.
pub(super) async fn whole<T: Send + 'static>(
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
        let held = Self::put(portal, request, document).await?;
        let receiving = Receiving {
            document,
            slot: held.slot,
            started_at: asked_at,
            how: How::Stream,
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

    /// A fresh secret in a slot of its own.
    async fn put(portal: Arc<Portal>, request: RequestId, document: DocumentId) -> Result<Self, ReceiveError> {
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
        Ok(Self {
            portal,
            request,
            document,
            slot,
            secret,
            given_up: false,
        })
    }

    /// The secret of a submission whose first part was kept. The row owns it: nothing of it is destroyed here.
    async fn join(portal: Arc<Portal>, request: RequestId, document: DocumentId, slot: SlotRef) -> Result<Self, ReceiveError> {
        let erasure = portal.erasure.clone();
        let secret = match blocking(move || erasure.get(&document.0, &slot)).await? {
            Ok(secret) => Arc::new(secret),
            Err(EraseError::Erased | EraseError::OtherOwner) => return Err(WorkflowError::Refused(Illegal::Superseded).into()),
            Err(error) => return Err(WorkflowError::Internal(error.to_string()).into()),
        };
        Ok(Self {
            portal,
            request,
            document,
            slot,
            secret,
            given_up: true,
        })
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
                count(&self.portal, bytes);
                destroy_ended(&self.portal, &request).await;
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

fn count(portal: &Portal, bytes: u64) {
    portal.counters.received.fetch_add(1, Ordering::Relaxed);
    portal.counters.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    portal.wake.notify_one();
}

async fn destroy(portal: Arc<Portal>, request: RequestId, document: DocumentId, slot: SlotRef) {
    destroy_now(&portal, request, document, slot).await;
}

/// Destroys what a transition has given up. Whatever a crash leaves of it the worker or the sweep finds.
pub(super) async fn destroy_ended(portal: &Portal, request: &DocumentRequest) {
    for ended in request.receivings.iter().filter(|r| r.how == How::Ending) {
        destroy_now(portal, request.id, ended.document, ended.slot).await;
    }
}

/// The secret first: from then on the chunks are noise, whatever fails afterwards.
pub(super) async fn destroy_now(portal: &Portal, request: RequestId, document: DocumentId, slot: SlotRef) {
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
