//! What a link opens. Looking changes nothing, ever: mail scanners and chat previews fetch links.

use time::OffsetDateTime;

use crate::domain::document::PartName;
use crate::domain::link::LinkState;
use crate::domain::request::{DocumentRequest, Stage};
use crate::domain::token::PlainToken;
use crate::domain::transition::{IntakeStep, Refusal, Transition};
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError};

/// What a link opens, as the page shows it.
pub struct OpenedLink {
    pub request: TrustedRequest,
    /// Of the link that was opened. Of a link before the present one only the receipt of what came by it can be seen.
    pub generation: u32,
    /// When it was looked at: what is in time then may go on for the grace.
    pub now: OffsetDateTime,
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLink {
    /// Never issued, or forgotten.
    Unknown,
    Expired,
    /// Withdrawn, or replaced by a newer one before anything came by it.
    Revoked,
}

/// Looks a token up.
pub async fn look_up(portal: &Portal, token: &PlainToken) -> Result<Result<OpenedLink, DeadLink>, WorkflowError> {
    let now = portal.now();
    let hashed = portal.secrets.hash_token(token);
    let Some((request, generation)) = portal.requests.by_link(&hashed).await? else {
        return Ok(Err(DeadLink::Unknown));
    };
    let request = TrustedRequest::prove(portal, request)?;
    let present = request.link.hashed == hashed;
    let generation = if present { request.link.generation } else { generation };
    let opened = |request| OpenedLink { request, generation, now };
    // The hash decides, which the proof covers; the generation of the link's own row does not.
    if !present {
        // Somebody who holds the link that came before the present one is no guesser.
        let past = generation < request.link.generation && request.received_by(generation).is_some();
        return Ok(if past { Ok(opened(request)) } else { Err(DeadLink::Revoked) });
    }
    let Stage::Open { expiry_noted } = request.stage else {
        return Ok(Ok(opened(request)));
    };
    match request.link_state(now) {
        LinkState::Revoked => Ok(Err(DeadLink::Revoked)),
        LinkState::Expired => {
            if !expiry_noted {
                // Whoever was told so is not told otherwise by a later start with an earlier time.
                portal.requests.note_time(request.link.expires_at).await?;
            }
            Ok(Err(DeadLink::Expired))
        }
        LinkState::Active | LinkState::Locked => Ok(Ok(opened(request))),
    }
}

/// Notes that somebody did something on the page of a link that still takes a document. Written once for each link; for a dead one, or one that was used, never.
pub(crate) async fn note_opened(portal: &Portal, token: &PlainToken) -> Result<Result<(), DeadLink>, WorkflowError> {
    let link = match look_up(portal, token).await? {
        Err(dead) => return Ok(Err(dead)),
        Ok(link) => link,
    };
    let present = link.generation == link.request.link.generation;
    if present && matches!(link.request.stage, Stage::Open { .. }) && link.request.link.opened_at.is_none() {
        let generation = link.generation;
        let note = Transition::Intake(IntakeStep::NoteOpened { generation });
        portal.requests.transition(link.request.id, note).await?;
    }
    Ok(Ok(()))
}

/// Whether there is a free erasure slot and space on the disk for everything that is asked for. Told before a body is read, and looked at again when it is sealed.
pub(crate) fn has_room(portal: &Portal, request: &DocumentRequest) -> bool {
    let bytes: u64 = request.parts.iter().map(|p| p.max_bytes).sum();
    portal.erasure.free().is_ok_and(|free| free > 0) && portal.blobs.room_for(bytes)
}

/// Why nothing more may come, if so.
pub(super) fn closed(request: &DocumentRequest, now: OffsetDateTime) -> Option<Refusal> {
    match (&request.stage, request.link_state(now)) {
        (Stage::Open { .. }, LinkState::Revoked) => Some(Refusal::LinkRevoked),
        (Stage::Open { .. }, LinkState::Expired) => Some(Refusal::LinkExpired),
        (Stage::Open { .. }, LinkState::Active | LinkState::Locked) => None,
        (Stage::Held { .. } | Stage::Purging { .. } | Stage::Purged, _) => Some(Refusal::AlreadyReceived),
    }
}

/// Which of the parts that were asked for this is.
pub(super) fn place_of(request: &DocumentRequest, part: &PartName) -> u8 {
    let place = request.parts.iter().position(|p| p.name == *part).unwrap_or(0);
    u8::try_from(place).unwrap_or(u8::MAX)
}
