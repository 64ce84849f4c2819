//! The one way by which a document's bytes reach a person: a provider of the kind `manual` has no interface, so its handler downloads each part once and
//! uploads it there. Written down durably before the first byte leaves; a download that breaks off is spent all the same.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::connectors::SourceError;
use crate::domain::agent::Actor;
use crate::domain::document::{FileType, PartName};
use crate::domain::id::RequestId;
use crate::domain::request::DocumentRequest;
use crate::domain::transition::{AgentAction, Transition};
use crate::storage::StorageError;
use crate::workflow::terms;

use super::delivery::outbound::{self, CannotDecrypt};
use super::{Portal, WorkflowError};

/// One part on its way out.
pub struct Handed {
    pub file_type: FileType,
    pub size: u64,
    /// Opened chunk by chunk as it is read; wiped as it is let go.
    pub bytes: BoxStream<'static, Result<Bytes, SourceError>>,
}

/// Whether a request's provider is served by hand.
pub(crate) fn by_hand(portal: &Portal, request: &DocumentRequest) -> bool {
    portal.providers.get(&request.provider).is_some_and(|p| p.profile().by_hand)
}

/// Hands over one part of a held document, this once.
pub async fn manual_download(portal: &Arc<Portal>, id: RequestId, part: &PartName, by: Actor) -> Result<Handed, WorkflowError> {
    let request = terms::load(portal, id).await?;
    if !by_hand(portal, &request) {
        return Err(WorkflowError::NotFound);
    }
    let (document, _) = request.held().ok_or(WorkflowError::NotFound)?;
    let index = document.parts.iter().position(|p| p.name == *part).ok_or(WorkflowError::NotFound)?;
    let stored = &document.parts[index];
    // Before it is spent: a locked vault costs nobody their one download.
    let outbound = outbound::open(portal, &request, document, 0).map_err(|closed| match closed {
        CannotDecrypt::Locked => WorkflowError::VaultLocked,
        CannotDecrypt::Lost => WorkflowError::NotFound,
        CannotDecrypt::Poison(why) => WorkflowError::Internal(why.into()),
        CannotDecrypt::Unread(why) => WorkflowError::Storage(StorageError::Busy(why)),
    })?;
    let spend = Transition::Agent {
        by,
        action: AgentAction::Download { part: part.clone() },
    };
    portal.requests.transition(id, spend).await?;
    Ok(Handed {
        file_type: stored.file_type,
        size: stored.size,
        bytes: outbound.source.open(index),
    })
}
