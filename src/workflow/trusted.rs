//! A request whose terms were proved: the keyed MAC over provider, applicant, limits, expiry and way back was checked when the row was read. Whatever leaves the portal
//! (sending, asking for a verdict, reconciling, the way back, messages) takes this type, which nothing else makes: a writer of the store can stop a request, and
//! can neither redirect it nor have another provider believed.
//!
//! It never covers the stage: what was received, tried and answered is not part of the terms.

use std::ops::Deref;

use crate::domain::id::RequestId;
use crate::domain::request::DocumentRequest;

use super::{Portal, WorkflowError};

/// See the module. Read-only; a changed request is proved again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedRequest(DocumentRequest);

impl TrustedRequest {
    /// Refuses a request whose provider, applicant or conditions somebody wrote over in the store.
    pub fn prove(portal: &Portal, request: DocumentRequest) -> Result<Self, WorkflowError> {
        if portal.secrets.row_mac_fits(&request.id.0, &request.terms(), &request.terms_mac) {
            Ok(Self(request))
        } else {
            Err(WorkflowError::Tampered)
        }
    }

    /// The same of a copy.
    pub fn of(portal: &Portal, request: &DocumentRequest) -> Result<Self, WorkflowError> {
        Self::prove(portal, request.clone())
    }

    /// Reads a request from the store and proves it.
    pub async fn load(portal: &Portal, id: RequestId) -> Result<Self, WorkflowError> {
        let request = portal.requests.request(id).await?.ok_or(WorkflowError::NotFound)?;
        Self::prove(portal, request)
    }

    /// To be changed; trusted no longer.
    pub fn into_inner(self) -> DocumentRequest {
        self.0
    }
}

impl Deref for TrustedRequest {
    type Target = DocumentRequest;

    fn deref(&self) -> &DocumentRequest {
        &self.0
    }
}
