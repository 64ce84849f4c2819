//! One part over several connections. Its bytes are staged as they come, under keys that need the visitor's token; when the last byte is here they go once
//! through the same receiver as a form's: inspected, sealed, stored. The last part consumes the link.
//!
//! What is acknowledged is durable; what is staged has an owner in the request's row, so that it survives a crash, and an erasure secret of its own, so that it
//! dies with the upload: when the part is sealed or refused, when its visitor takes it back, when the link is withdrawn, or when nothing came for an hour.

mod upload;

use std::sync::Arc;

use time::OffsetDateTime;

use super::link::{has_room, place_of};
use super::part::clean_name;
use super::part_lock::Device;
use super::secret::{SlotGuard, discard_in_flight};
use super::submission::run_to_completion;
use super::{IntakeError, OpenedLink};
use crate::crypto::erase::EraseError;
use crate::crypto::random;
use crate::crypto::secret::ErasureSecret;
use crate::crypto::staging::{PHOTOS_MAX, Staging, StagingKey};
use crate::domain::document::{FileType, PartSpec};
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::request::{DocumentRequest, Intake, StagedPart};
use crate::domain::token::PlainToken;
use crate::domain::transition::{EndOf, IntakeStep, Refusal as Illegal, Transition};
use crate::inspect::Refusal;
use crate::inspect::photos::MAX_PHOTOS;
use crate::storage::StorageError;
use crate::workflow::{Portal, WorkflowError, blocking, vault};

pub(crate) use upload::{Progress, Upload};

// Whatever is inspected can be staged.
const _: () = assert!(MAX_PHOTOS as usize <= PHOTOS_MAX);

/// How often an upload is begun anew because somebody else began one at the same time.
const TRIES: usize = 4;

/// Why an upload did not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResumeError {
    /// There is no unfinished upload of this part.
    #[error("there is no unfinished upload of this part")]
    None,
    /// It stands elsewhere.
    #[error("the upload stands at {at}")]
    Offset { at: u64 },
    /// Somebody newer writes this part.
    #[error("somebody newer writes this part")]
    Superseded,
    /// Another device is sending this part at this moment.
    #[error("another device is sending this part")]
    Busy,
    /// More bytes than were announced.
    #[error("more bytes than were announced")]
    TooLong,
    #[error(transparent)]
    Intake(IntakeError),
}

impl From<IntakeError> for ResumeError {
    fn from(error: IntakeError) -> Self {
        if error.is_superseded() {
            Self::Superseded
        } else {
            Self::Intake(error)
        }
    }
}

impl From<WorkflowError> for ResumeError {
    fn from(error: WorkflowError) -> Self {
        IntakeError::from(error).into()
    }
}

impl From<StorageError> for ResumeError {
    fn from(error: StorageError) -> Self {
        IntakeError::from(error).into()
    }
}

/// How far the upload of a part has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The upload's own id; none when the part is sealed.
    pub upload: Option<DocumentId>,
    /// Durable bytes; `length` only when the part is sealed.
    pub offset: u64,
    pub length: u64,
    /// When it is given up if nothing more comes.
    pub expires_at: OffsetDateTime,
}

/// Looks; changes nothing. `None` when nothing of this part was begun.
pub(crate) async fn standing(portal: &Portal, request: &DocumentRequest, part: &PartSpec) -> Result<Option<Standing>, WorkflowError> {
    let of = |intake: &Intake, upload, offset, length| Standing {
        upload,
        offset,
        length,
        expires_at: request.ends_at(intake),
    };
    if let (Some(finished), Some(partial)) = (request.finished(&part.name), request.partial()) {
        return Ok(Some(of(partial, None, finished.length, finished.length)));
    }
    let Some((intake, staged)) = request.staging(&part.name) else {
        return Ok(None);
    };
    // An upload whose secret is gone is none, whatever its row still says.
    Ok(secret(portal, intake)
        .await?
        .map(|_| of(intake, Some(intake.document), staged.offset, staged.length)))
}

async fn secret(portal: &Portal, intake: &Intake) -> Result<Option<ErasureSecret>, WorkflowError> {
    let (erasure, owner, slot) = (portal.erasure.clone(), intake.document.0, intake.slot);
    match blocking(move || erasure.get(&owner, &slot)).await? {
        Ok(secret) => Ok(Some(secret)),
        Err(EraseError::Erased | EraseError::OtherOwner | EraseError::Damaged) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a visitor announces.
pub(crate) struct Announced<'a> {
    pub length: u64,
    pub file_name: &'a str,
    pub declared: &'a str,
    /// Bytes of each photo, where these are the photos of a document's pages.
    pub photos: &'a [u64],
    /// Which device announces it, where that is known.
    pub device: Device,
}

/// Begins an upload of one part, in the place of whatever was here of it, unless another device is sending it now. Durable when this returns its id.
pub(crate) async fn create(
    portal: &Arc<Portal>,
    link: &OpenedLink,
    token: &PlainToken,
    part: &PartSpec,
    announced: &Announced<'_>,
) -> Result<DocumentId, ResumeError> {
    let fits = |refusal| IntakeError::File {
        part: part.name.to_string(),
        refusal,
    };
    // A declared type is the sender's word, good enough to save a sending that would be in vain: the smaller minimum counts where it says nothing.
    let declared = FileType::from_mime(announced.declared).filter(|_| announced.photos.is_empty());
    let least = declared.map_or(part.min_bytes, |file_type| part.least(file_type));
    if !announced.photos.is_empty() {
        check_photos(portal, &link.request, part, announced).map_err(fits)?;
    }
    match announced.length {
        0 => return Err(fits(Refusal::Empty).into()),
        length if length > part.max_bytes => return Err(fits(Refusal::TooBig { max: part.max_bytes }).into()),
        // What is kept of a file is never more than what came.
        length if announced.photos.is_empty() && length < least => return Err(fits(Refusal::TooSmall { min: least }).into()),
        _ => {}
    }
    let place = place_of(&link.request, &part.name);
    if portal.intake.part_locks.is_busy(link.request.id, place, announced.device, link.now) {
        return Err(ResumeError::Busy);
    }
    vault::can_take(portal)?;
    if !has_room(portal, &link.request) {
        return Err(IntakeError::Full.into());
    }
    for _ in 0..TRIES {
        remove(portal, &link.request, part).await?;
        let document = DocumentId::new(random::array().map_err(WorkflowError::from)?, link.now);
        let secret = ErasureSecret::generate().map_err(WorkflowError::from)?;
        let key = StagingKey::derive(token, &secret, &document.0);
        let staging = Staging::new(
            announced.length,
            &clean_name(announced.file_name),
            &graphic(announced.declared),
            announced.photos,
        );
        let staged = StagedPart {
            part: part.name.clone(),
            length: announced.length,
            offset: 0,
            state: staging.to_box(&key).map_err(WorkflowError::from)?,
        };
        let begun = begin(portal.clone(), link_of(link), document, secret, staged);
        match run_to_completion(&portal.tasks, begun).await {
            Err(error) if error.is_superseded() => {}
            other => return Ok(other.map(|()| document)?),
        }
    }
    Err(ResumeError::Superseded)
}

/// Whether these photos can be the pages of this part: more is known when they come.
fn check_photos(portal: &Portal, request: &DocumentRequest, part: &PartSpec, announced: &Announced<'_>) -> Result<(), Refusal> {
    let photos = announced.photos;
    if !portal.catalogue.takes_photos_as_pages(&request.document, part) || photos.contains(&0) {
        return Err(Refusal::NotAPage);
    }
    match photos.iter().try_fold(0u64, |sum, length| sum.checked_add(*length)) {
        _ if photos.len() > MAX_PHOTOS as usize => Err(Refusal::TooManyPages { max: MAX_PHOTOS }),
        Some(sum) if sum == announced.length => Ok(()),
        _ => Err(Refusal::Truncated),
    }
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
) -> Result<(), IntakeError> {
    let (request, generation, started_at) = seen;
    let guard = SlotGuard::put(portal.clone(), request, document, started_at, secret).await?;
    let begin = IntakeStep::BeginUpload {
        document,
        slot: guard.slot().ok_or(IntakeError::CutOff)?,
        started_at,
        staged,
        generation,
    };
    match portal.requests.transition(request, Transition::Intake(begin)).await {
        Ok(_) => {
            drop(guard.disarm());
            Ok(())
        }
        Err(error) => {
            guard.refused(&error).await;
            Err(error.into())
        }
    }
}

/// Takes back what is here of one part: nothing goes on from it any more, and the worker destroys it. `false` when there was nothing.
pub(crate) async fn remove(portal: &Arc<Portal>, request: &DocumentRequest, part: &PartSpec) -> Result<bool, ResumeError> {
    let (portal, id, part) = (portal.clone(), request.id, part.clone());
    let tasks = portal.tasks.clone();
    Ok(run_to_completion(&tasks, async move { remove_now(&portal, id, &part).await }).await?)
}

async fn remove_now(portal: &Portal, id: RequestId, part: &PartSpec) -> Result<bool, IntakeError> {
    let Some(request) = portal.requests.request(id).await? else {
        return Ok(false);
    };
    if request.staging(&part.name).is_none() && request.finished(&part.name).is_none() {
        return Ok(false);
    }
    // Whoever writes it now stops first.
    let claim = portal.intake.part_locks.claim(id, place_of(&request, &part.name));
    let Some(_guard) = claim.write().await else {
        return Err(IntakeError::refused(Illegal::Superseded));
    };
    let Some(request) = portal.requests.request(id).await? else {
        return Ok(false);
    };
    if let Some((intake, _)) = request.staging(&part.name) {
        let end = IntakeStep::End {
            document: intake.document,
            end: EndOf::Withdrawn,
        };
        portal.requests.transition(id, Transition::Intake(end)).await?;
        portal.intake.cleanup.due.notify_one();
        return Ok(true);
    }
    match request.partial().filter(|_| request.finished(&part.name).is_some()) {
        Some(partial) => take_back(portal, &request, partial.document, part).await.map(|()| true),
        None => Ok(false),
    }
}

/// A finished part. Its secret is that of the other parts as well, and dies with the last of them; without its header, which the row loses, its chunks open for nobody.
/// Whoever holds the part's lock owns its chunks while the document is not complete.
async fn take_back(portal: &Portal, request: &DocumentRequest, document: DocumentId, part: &PartSpec) -> Result<(), IntakeError> {
    let writer = portal.intake.in_flight.enter(document);
    let take_back = IntakeStep::TakeBackPart {
        document,
        part: part.name.clone(),
    };
    // The row decides whether it was the only one: another device may be storing the next.
    let row = portal.requests.transition(request.id, Transition::Intake(take_back)).await?;
    if row.partial().is_none() {
        portal.intake.cleanup.due.notify_one();
        return Ok(());
    }
    // When the whole submission is being destroyed meanwhile, so is this part.
    if let Some(_writing) = writer.writing().await {
        portal.blobs.delete_file(document, place_of(request, &part.name)).await?;
    }
    Ok(())
}

/// After a link was withdrawn or replaced: whoever is sending is stopped, and nothing of what was on its way stays.
pub(crate) async fn stop_writers(portal: &Portal, request: &DocumentRequest) {
    portal.intake.cleanup.due.notify_one();
    discard_in_flight(portal, request.id).await;
    portal.intake.part_locks.end(request.id).await;
}
