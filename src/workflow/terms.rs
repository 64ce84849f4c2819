//! What a request says: read only after its terms were proved unchanged; and what of it is kept sealed, because the store must not know it.

use crate::domain::document::{ApplicantRef, SealedText};
use crate::domain::id::RequestId;

use super::trusted::TrustedRequest;
use super::{Portal, WorkflowError};

/// Reads a request and refuses one whose terms were changed behind the portal's back.
pub async fn load(portal: &Portal, id: RequestId) -> Result<TrustedRequest, WorkflowError> {
    TrustedRequest::load(portal, id).await
}

/// The applicant reference of a request, opened.
pub(crate) fn applicant(portal: &Portal, request: &TrustedRequest) -> Result<ApplicantRef, WorkflowError> {
    let text = open(portal, request.id, "applicant", &request.applicant)?;
    ApplicantRef::parse(&text).ok_or(WorkflowError::Tampered)
}

pub(crate) fn opened_message(portal: &Portal, request: &TrustedRequest) -> Result<Option<String>, WorkflowError> {
    request.message.as_ref().map(|m| open(portal, request.id, "message", m)).transpose()
}

pub(crate) fn opened_metadata(portal: &Portal, request: &TrustedRequest) -> Result<Option<String>, WorkflowError> {
    request
        .metadata
        .as_ref()
        .map(|m| open(portal, request.id, "metadata", m))
        .transpose()
}

/// The address that the applicant is sent back to.
pub(crate) fn opened_return_url(portal: &Portal, request: &TrustedRequest) -> Result<Option<String>, WorkflowError> {
    request
        .return_url
        .as_ref()
        .map(|url| open(portal, request.id, "return-url", url))
        .transpose()
}

/// The keyed index under which requests of this applicant are found.
pub(crate) fn applicant_index(portal: &Portal, applicant: &ApplicantRef) -> [u8; 32] {
    portal.secrets.index("applicant", applicant.expose().as_bytes())
}

/// As the agent gave it.
pub(crate) fn opened_ticket(portal: &Portal, request: &TrustedRequest) -> Result<Option<String>, WorkflowError> {
    request.ticket.as_ref().map(|t| open(portal, request.id, "ticket", t)).transpose()
}

fn field_context(id: RequestId, field: &str) -> Vec<u8> {
    [field.as_bytes(), &[0], &id.0].concat()
}

pub(super) fn seal(portal: &Portal, id: RequestId, field: &str, text: &str) -> Result<SealedText, WorkflowError> {
    Ok(SealedText(portal.secrets.seal_field(&field_context(id, field), text.as_bytes())?))
}

pub(super) fn open(portal: &Portal, id: RequestId, field: &str, sealed: &SealedText) -> Result<String, WorkflowError> {
    let plain = portal
        .secrets
        .open_field(&field_context(id, field), &sealed.0)
        .map_err(|_| WorkflowError::Tampered)?;
    String::from_utf8(plain.to_vec()).map_err(|_| WorkflowError::Tampered)
}
