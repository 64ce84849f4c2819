//! Receiving: from the socket to sealed chunks. No plaintext byte touches a disk, no document stands in memory whole, and nothing is called received before it is durable.
//!
//! Until [`Submission::commit`] is called, dropping a [`Submission`] gives up what was written: the request's row says so, and the worker destroys it, secret first.
//! Its caller may be dropped at any await, because the client is gone: what must happen whole runs in a task of its own.

mod part;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::runtime::Handle;

use crate::crypto::random;
use crate::crypto::seal::SealError;
use crate::crypto::secret::ErasureSecret;
use crate::crypto::stream::{CHUNK_LEN, TAG_LEN};
use crate::domain::document::{Document, Durable, PartName, PartSpec, SlotRef, StoredPart};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::link::{LinkState, MAX_STREAMS};
use crate::domain::request::{DocumentRequest, How, Receiving, Stage};
use crate::domain::token::PlainToken;
use crate::domain::transition::{Refusal as Illegal, Transition};
use crate::inspect::{Declared, FileTypes, Inspector, Limits, Policy as InspectPolicy, Refusal, Strip as InspectStrip};
use crate::storage::StorageError;
use crate::workflow::terms;

use super::catalogue::Strip;
use super::in_flight::Writing;
use super::slot::{FreshSlot, OpenSlot};
use super::{Portal, WorkflowError, blocking};

pub use part::PartReceiver;

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
    /// Withdrawn, or replaced by a newer one.
    Revoked,
}

/// Looks a token up. Changes nothing, ever.
pub async fn look_up(portal: &Portal, token: &PlainToken) -> Result<Result<OpenedLink, DeadLink>, WorkflowError> {
    let now = portal.records.now();
    let Some((request, current)) = portal.records.by_link(&portal.secrets.hash_token(token)).await? else {
        return Ok(Err(DeadLink::Unknown));
    };
    terms::check(portal, &request)?;
    // Somebody who holds the link that came before the present one is no guesser.
    if !current {
        return Ok(Err(DeadLink::Revoked));
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
    request: DocumentRequest,
    document: DocumentId,
    /// When the link was looked at: what is in time then may go on for the grace.
    asked_at: OffsetDateTime,
    held: Option<Held>,
    parts: Vec<StoredPart>,
    durable: Vec<Durable>,
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
        request: DocumentRequest,
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
            durable: Vec::new(),
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
        let Some(Held::Fresh(fresh)) = self.held.take() else {
            return Err(WorkflowError::Refused(Illegal::Incomplete).into());
        };
        let now = self.portal.records.now();
        let order = |part: &StoredPart| self.request.parts.iter().position(|spec| spec.name == part.name);
        let mut parts = std::mem::take(&mut self.parts);
        parts.sort_by_key(order);
        let document = Document {
            id: self.document,
            slot: fresh.open().ok_or(ReceiveError::CutOff)?.slot(),
            received_at: now,
            purge_at: now + self.request.keep,
            parts,
            receiver: self.receiver,
        };
        let durable = std::mem::take(&mut self.durable);
        let committed = commit(self.portal.clone(), self.request.id, fresh, document, durable);
        whole(&self.portal.tasks, committed).await
    }

    /// Gives up what was written; the worker destroys it. Also what dropping does, only that here one can wait until the row says so.
    pub async fn abandon(mut self) {
        // What was kept before belongs to the request's row.
        if let Some(Held::Fresh(fresh)) = self.held.take() {
            fresh.give_up().await;
        }
    }

    /// Puts the erasure secret into its slot, then claims a stream of the link. Before the first chunk.
    async fn begin(&mut self) -> Result<(SlotRef, Arc<ErasureSecret>), ReceiveError> {
        if self.held.is_none() {
            self.held = Some(self.hold().await?);
        }
        let open = self.open()?;
        Ok((open.slot(), open.secret().clone()))
    }

    fn open(&self) -> Result<&OpenSlot, ReceiveError> {
        self.held.as_ref().ok_or(ReceiveError::CutOff)?.open()
    }

    /// Before each write of a chunk. Stopped when another drop was first or the link was withdrawn: then what was written is being destroyed.
    async fn writing(&self) -> Result<Writing, ReceiveError> {
        match self.open()?.hold().await {
            Some(writing) => Ok(writing),
            None => Err(stopped(&self.portal, self.request.id).await),
        }
    }

    async fn hold(&self) -> Result<Held, ReceiveError> {
        if !has_room(&self.portal, &self.request) {
            return Err(ReceiveError::Full);
        }
        let (portal, id) = (self.portal.clone(), self.request.id);
        Ok(match self.lasting.as_ref().map(|l| l.slot) {
            None => {
                let seen = (id, self.request.link.generation);
                let begun = begin_stream(portal, seen, self.document, self.asked_at);
                Held::Fresh(whole(&self.portal.tasks, begun).await?)
            }
            // Noted by its first part; until then the sweep knows it as being in flight.
            Some(None) => {
                let put = put_fresh(portal, id, self.document, self.asked_at);
                Held::Fresh(whole(&self.portal.tasks, put).await?)
            }
            Some(Some(slot)) => {
                let open = OpenSlot::join(&portal, self.document, slot).await?;
                // What stands must not be given up as idle while this part comes; and it must still stand.
                let touch = Transition::TouchReceive { document: self.document };
                portal.records.transition(id, touch).await?;
                Held::Owned(open)
            }
        })
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
    match (&request.stage, request.link.state(now)) {
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

/// Where a submission's secret lies, and whose it is.
enum Held {
    /// Of this submission alone: given up when it ends without having been received or kept.
    Fresh(FreshSlot),
    /// Of the request's row, because a part was kept.
    Owned(OpenSlot),
}

impl Held {
    fn open(&self) -> Result<&OpenSlot, ReceiveError> {
        let open = match self {
            Self::Fresh(fresh) => fresh.open(),
            Self::Owned(open) => Some(open),
        };
        open.ok_or(ReceiveError::CutOff)
    }
}

/// A fresh secret, and a stream of the link that was looked up, no later one.
async fn begin_stream(
    portal: Arc<Portal>,
    seen: (RequestId, u32),
    document: DocumentId,
    asked_at: OffsetDateTime,
) -> Result<FreshSlot, ReceiveError> {
    let (request, generation) = seen;
    // Decided by the transition; asked before, so that a flood of streams that come to nothing takes no slots.
    let streams = portal.records.request(request).await?.map_or(0, |known| known.streams());
    if streams >= MAX_STREAMS {
        return Err(WorkflowError::Refused(Illegal::TooManyStreams).into());
    }
    let fresh = put_fresh(portal.clone(), request, document, asked_at).await?;
    let receiving = Receiving {
        document,
        slot: fresh.open().ok_or(ReceiveError::CutOff)?.slot(),
        started_at: asked_at,
        how: How::Stream,
    };
    match portal
        .records
        .transition(request, Transition::BeginReceive { receiving, generation })
        .await
    {
        Ok(_) => Ok(fresh),
        Err(error) => Err(refused(fresh, error).await),
    }
}

async fn put_fresh(
    portal: Arc<Portal>,
    request: RequestId,
    document: DocumentId,
    asked_at: OffsetDateTime,
) -> Result<FreshSlot, ReceiveError> {
    let secret = ErasureSecret::generate().map_err(WorkflowError::from)?;
    FreshSlot::put(portal, request, document, asked_at, secret).await
}

/// What becomes of a fresh secret whose row was not written, or perhaps was.
pub(super) async fn refused(fresh: FreshSlot, error: StorageError) -> ReceiveError {
    match error {
        StorageError::Indeterminate(_) => fresh.leave_to_row(),
        _ => fresh.give_up().await,
    }
    error.into()
}

async fn commit(
    portal: Arc<Portal>,
    request: RequestId,
    fresh: FreshSlot,
    document: Document,
    durable: Vec<Durable>,
) -> Result<DocumentRequest, ReceiveError> {
    let bytes: u64 = document.parts.iter().map(|p| p.size).sum();
    crate::crash::point("C7");
    let commit = Transition::CommitReceived(document, durable);
    match portal.records.transition(request, commit).await {
        Ok(request) => {
            crate::crash::point("C10");
            drop(fresh.owned());
            count(&portal, bytes);
            portal.cleanup.bell.notify_one();
            Ok(request)
        }
        Err(error) => Err(refused(fresh, error).await),
    }
}

/// Why a writer was stopped, in the words of the request as it is now.
async fn stopped(portal: &Portal, request: RequestId) -> ReceiveError {
    match portal.records.request(request).await {
        Ok(Some(request)) => {
            let why = closed(&request, portal.records.now()).unwrap_or(Illegal::Superseded);
            WorkflowError::Refused(why).into()
        }
        Ok(None) => WorkflowError::NotFound.into(),
        Err(error) => error.into(),
    }
}

fn count(portal: &Portal, bytes: u64) {
    portal.counters.received.fetch_add(1, Ordering::Relaxed);
    portal.counters.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    portal.wake.notify_one();
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
