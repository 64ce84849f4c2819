//! One part over several connections. Its bytes are staged as they come, under keys that need the visitor's token; when the last byte is here they go once
//! through the same receiver as a form's: inspected, sealed, stored. The last part consumes the link.
//!
//! What is acknowledged is durable; what is staged has an owner in the request's row, so that it survives a crash, and an erasure secret of its own, so that it
//! dies with the upload: when the part is sealed or refused, when its visitor takes it back, when the link is withdrawn, or when nothing came for an hour.

mod upload;

use std::sync::Arc;

use time::OffsetDateTime;

use crate::crypto::erase::EraseError;
use crate::crypto::random;
use crate::crypto::secret::ErasureSecret;
use crate::crypto::staging::{Staging, StagingKey};
use crate::domain::document::{FileType, PartSpec};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::request::{DocumentRequest, How, Receiving, StagedPart};
use crate::domain::token::PlainToken;
use crate::domain::transition::{Refusal as Illegal, Transition};
use crate::inspect::Refusal;
use crate::storage::StorageError;

use super::lanes::Device;
use super::receive::{self, OpenedLink, ReceiveError, clean_name, has_room, place_of, whole};
use super::slot::FreshSlot;
use super::{Portal, WorkflowError, blocking};

pub use upload::{Progress, Upload};

/// How often an upload is begun anew because somebody else began one at the same time.
const TRIES: usize = 4;

/// Why an upload did not begin, or not go on.
#[derive(Debug)]
pub enum ResumeError {
    /// There is no unfinished upload of this part.
    None,
    /// It stands elsewhere.
    Offset {
        at: u64,
    },
    /// Somebody newer writes this part.
    Superseded,
    /// Another device is sending this part at this moment.
    Busy,
    /// More bytes than were announced.
    TooLong,
    Receive(ReceiveError),
}

impl From<ReceiveError> for ResumeError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Workflow(WorkflowError::Refused(Illegal::Superseded)) => Self::Superseded,
            other => Self::Receive(other),
        }
    }
}

impl From<WorkflowError> for ResumeError {
    fn from(error: WorkflowError) -> Self {
        ReceiveError::from(error).into()
    }
}

impl From<StorageError> for ResumeError {
    fn from(error: StorageError) -> Self {
        ReceiveError::from(error).into()
    }
}

/// How far the upload of a part has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The upload's own id; none when the part is sealed.
    pub upload: Option<DocumentId>,
    /// Durable bytes; `length` only when the part is sealed.
    pub offset: u64,
    pub length: u64,
    /// When it is given up if nothing more comes.
    pub expires_at: OffsetDateTime,
}

/// Looks; changes nothing. `None` when nothing of this part was begun.
pub async fn standing(portal: &Portal, request: &DocumentRequest, part: &PartSpec) -> Result<Option<Standing>, WorkflowError> {
    let of = |receiving: &Receiving, upload, offset, length| Standing {
        upload,
        offset,
        length,
        expires_at: request.ends_at(receiving).unwrap_or(request.link.expires_at),
    };
    if let (Some(finished), Some(receiving)) = (request.finished(&part.name), request.standing()) {
        return Ok(Some(of(receiving, None, finished.length, finished.length)));
    }
    let Some((receiving, staged)) = request.staging(&part.name) else {
        return Ok(None);
    };
    // An upload whose secret is gone is none, whatever its row still says.
    Ok(secret(portal, receiving)
        .await?
        .map(|_| of(receiving, Some(receiving.document), staged.offset, staged.length)))
}

async fn secret(portal: &Portal, receiving: &Receiving) -> Result<Option<ErasureSecret>, WorkflowError> {
    let (erasure, owner, slot) = (portal.erasure.clone(), receiving.document.0, receiving.slot);
    match blocking(move || erasure.get(&owner, &slot)).await? {
        Ok(secret) => Ok(Some(secret)),
        Err(EraseError::Erased | EraseError::OtherOwner | EraseError::Damaged) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a visitor announces.
pub struct Announced<'a> {
    pub length: u64,
    pub file_name: &'a str,
    pub declared: &'a str,
    /// Which device announces it, where that is known.
    pub device: Device,
}

/// Begins an upload of one part, in the place of whatever was here of it, unless another device is sending it now. Durable when this returns its id.
pub async fn create(
    portal: &Arc<Portal>,
    link: &OpenedLink,
    token: &PlainToken,
    part: &PartSpec,
    announced: &Announced<'_>,
) -> Result<DocumentId, ResumeError> {
    let fits = |refusal| ReceiveError::File {
        part: part.name.to_string(),
        refusal,
    };
    // A declared type is the sender's word, good enough to save a sending that would be in vain: the smaller minimum counts where it says nothing.
    let declared = FileType::from_mime(announced.declared);
    let least = declared.map_or(part.min_bytes, |file_type| part.least(file_type));
    match announced.length {
        0 => return Err(fits(Refusal::Empty).into()),
        length if length > part.max_bytes => return Err(fits(Refusal::TooBig { max: part.max_bytes }).into()),
        // What is kept of a file is never more than what came.
        length if length < least => return Err(fits(Refusal::TooSmall { min: least }).into()),
        _ => {}
    }
    let place = place_of(&link.request, &part.name);
    if portal.lanes.is_busy(link.request.id, place, announced.device, link.now) {
        return Err(ResumeError::Busy);
    }
    if !has_room(portal, &link.request) {
        return Err(ReceiveError::Full.into());
    }
    for _ in 0..TRIES {
        remove(portal, &link.request, part).await?;
        let document = DocumentId::new(random::array().map_err(WorkflowError::from)?, link.now);
        let secret = ErasureSecret::generate().map_err(WorkflowError::from)?;
        let key = StagingKey::derive(token, &secret, &document.0);
        let staging = Staging::new(announced.length, &clean_name(announced.file_name), &graphic(announced.declared));
        let staged = StagedPart {
            part: part.name.clone(),
            length: announced.length,
            offset: 0,
            state: staging.to_box(&key).map_err(WorkflowError::from)?,
        };
        match whole(&portal.tasks, begin(portal.clone(), link_of(link), document, secret, staged)).await {
            Err(ReceiveError::Workflow(WorkflowError::Refused(Illegal::Superseded))) => {}
            other => return Ok(other.map(|()| document)?),
        }
    }
    Err(ResumeError::Superseded)
}

fn graphic(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).collect()
}

/// Request, generation, and when the link was looked at.
type Seen = (RequestId, u32, OffsetDateTime);

fn link_of(link: &OpenedLink) -> Seen {
    (link.request.id, link.request.link.generation, link.now)
}

async fn begin(
    portal: Arc<Portal>,
    seen: Seen,
    document: DocumentId,
    secret: ErasureSecret,
    staged: StagedPart,
) -> Result<(), ReceiveError> {
    let (request, generation, started_at) = seen;
    let fresh = FreshSlot::put(portal.clone(), request, document, started_at, secret).await?;
    let receiving = Receiving {
        document,
        slot: fresh.open().ok_or(ReceiveError::CutOff)?.slot(),
        started_at,
        how: How::Staged {
            staged,
            touched_at: portal.records.now(),
        },
    };
    match portal
        .records
        .transition(request, Transition::BeginReceive { receiving, generation })
        .await
    {
        Ok(_) => {
            drop(fresh.owned());
            Ok(())
        }
        Err(error) => Err(receive::refused(fresh, error).await),
    }
}

/// Takes back what is here of one part: nothing goes on from it any more, and the worker destroys it. `false` when there was nothing.
pub async fn remove(portal: &Arc<Portal>, request: &DocumentRequest, part: &PartSpec) -> Result<bool, ResumeError> {
    let (portal, id, part) = (portal.clone(), request.id, part.clone());
    Ok(whole(&portal.clone().tasks, async move { remove_now(&portal, id, &part).await }).await?)
}

async fn remove_now(portal: &Portal, id: RequestId, part: &PartSpec) -> Result<bool, ReceiveError> {
    let Some(request) = portal.records.request(id).await? else {
        return Ok(false);
    };
    if request.staging(&part.name).is_none() && request.finished(&part.name).is_none() {
        return Ok(false);
    }
    // Whoever writes it now stops first.
    let turn = portal.lanes.take(id, place_of(&request, &part.name));
    let Some(_hold) = turn.hold().await else {
        return Err(WorkflowError::Refused(Illegal::Superseded).into());
    };
    let Some(request) = portal.records.request(id).await? else {
        return Ok(false);
    };
    let staging = request.staging(&part.name).map(|(receiving, _)| receiving.document);
    let standing = request.standing().filter(|_| request.finished(&part.name).is_some());
    let document = match (staging, standing) {
        (Some(document), _) => document,
        (None, None) => return Ok(false),
        (None, Some(standing)) if standing.finished().len() == 1 => standing.document,
        (None, Some(standing)) => {
            drop_part(portal, &request, standing.document, part).await?;
            return Ok(true);
        }
    };
    let end = Transition::EndReceive { document, idle: false };
    portal.records.transition(id, end).await?;
    portal.cleanup.bell.notify_one();
    Ok(true)
}

/// One of two finished parts. Its secret is that of the other side as well, and dies with it; without its header, which the row loses, its chunks open for nobody.
/// Whoever holds the part's lane owns its chunks while the submission stands.
async fn drop_part(portal: &Portal, request: &DocumentRequest, document: DocumentId, part: &PartSpec) -> Result<(), ReceiveError> {
    let writer = portal.in_flight.enter(document);
    let drop_part = Transition::DropPart {
        document,
        part: part.name.clone(),
    };
    portal.records.transition(request.id, drop_part).await?;
    // When the whole submission is being destroyed meanwhile, so is this part.
    if let Some(_writing) = writer.hold().await {
        portal.blobs.delete_file(document, place_of(request, &part.name)).await?;
    }
    Ok(())
}

/// After a link was withdrawn or replaced: whoever is sending is stopped, and nothing of what was on its way stays.
pub async fn let_go(portal: &Portal, request: &DocumentRequest) {
    portal.cleanup.bell.notify_one();
    portal.lanes.end(request.id).await;
}
