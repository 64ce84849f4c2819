//! What a link opens. Looking changes nothing, ever: mail scanners and chat previews fetch links.

use time::OffsetDateTime;

use crate::domain::document::PartName;
use crate::domain::link::LinkState;
use crate::domain::request::{DocumentRequest, Stage};
use crate::domain::token::PlainToken;
use crate::domain::transition::Refusal;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError};

/// What a link opens, as the page shows it.
pub struct OpenedLink {
    pub request: TrustedRequest,
    /// When it was looked at: what is in time then may go on for the grace.
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

/// Looks a token up.
pub async fn look_up(portal: &Portal, token: &PlainToken) -> Result<Result<OpenedLink, DeadLink>, WorkflowError> {
    let now = portal.now();
    let Some((request, current)) = portal.requests.by_link(&portal.secrets.hash_token(token)).await? else {
        return Ok(Err(DeadLink::Unknown));
    };
    let request = TrustedRequest::prove(portal, request)?;
    // Somebody who holds the link that came before the present one is no guesser.
    if !current {
        return Ok(Err(DeadLink::Revoked));
    }
    let Stage::Open { expiry_noted } = request.stage else {
        return Ok(Ok(OpenedLink { request, now }));
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
        LinkState::Active | LinkState::Locked => Ok(Ok(OpenedLink { request, now })),
    }
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
