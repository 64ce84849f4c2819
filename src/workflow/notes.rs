//! Notes on a request: what agents write to one another about it. Sealed like everything else that a request says of a person, and bound to its request, author and
//! time, so that nobody who can write the store puts words into somebody's mouth. In no log, event or mail; gone with the request's row.

use data_encoding::HEXLOWER;
use time::OffsetDateTime;

use crate::domain::agent::Actor;
use crate::domain::id::RequestId;
use crate::domain::request::{DocumentRequest, Note};
use crate::domain::transition::{AgentAction, Transition};
use crate::storage::Claimed;

use super::issue::{ClientKey, claim};
use super::trusted::TrustedRequest;
use super::{Portal, WorkflowError, terms};

/// The longest note, in characters.
pub(crate) const NOTE_MAX: usize = 1_000;

/// A note as its readers see it.
pub(crate) struct OpenedNote {
    pub by: Actor,
    pub at: OffsetDateTime,
    /// `None` where it was changed outside the portal.
    pub text: Option<String>,
}

/// Under a client's key the same text is added once, however often it is sent.
pub(crate) async fn add(
    portal: &Portal,
    id: RequestId,
    text: &str,
    by: Actor,
    client: Option<ClientKey>,
) -> Result<DocumentRequest, WorkflowError> {
    let text = checked(text)?;
    // What was altered in the store is not written on either: its notes are not shown.
    terms::load(portal, id).await?;
    let at = portal.now();
    let note = Note {
        by,
        at,
        text: terms::seal(portal, id, &field(by, at), &text)?,
    };
    let action = AgentAction::AddNote { note };
    let transition = Transition::Agent { by, action };
    let Some(client) = client else {
        return Ok(portal.requests.transition(id, transition).await?);
    };
    match portal.requests.transition_once(id, transition, claim(portal, &client)).await? {
        Claimed::Fresh(request) | Claimed::Replayed(request) => Ok(*request),
        Claimed::Mismatch => Err(WorkflowError::KeyReused),
    }
}

fn checked(text: &str) -> Result<String, WorkflowError> {
    let text = text.replace("\r\n", "\n");
    let text = text.trim();
    let length = text.chars().count();
    if (1..=NOTE_MAX).contains(&length) && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Ok(text.to_owned());
    }
    Err(WorkflowError::Invalid {
        field: "text",
        fix: format!("must be plain text of 1 to {NOTE_MAX} characters"),
    })
}

/// Oldest first.
pub(super) fn opened(portal: &Portal, request: &TrustedRequest) -> Vec<OpenedNote> {
    let open = |note: &Note| OpenedNote {
        by: note.by,
        at: note.at,
        text: terms::open(portal, request.id, &field(note.by, note.at), &note.text).ok(),
    };
    request.notes.iter().map(open).collect()
}

/// What a note is sealed as. Milliseconds, the precision of every clock and every stored instant here.
fn field(by: Actor, at: OffsetDateTime) -> String {
    let ms = (at.unix_timestamp_nanos() / 1_000_000).to_be_bytes();
    format!("note {by} {}", HEXLOWER.encode(&ms))
}
