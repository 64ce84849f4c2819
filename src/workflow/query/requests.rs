//! One request with what lies beside its row.

use crate::domain::audit::AuditEntry;
use crate::domain::request::DocumentRequest;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, terms};

/// See the module.
pub(crate) struct Detail {
    /// As the agent gave it; `None` as well when the row was altered: what is sealed to it is not shown.
    pub metadata: Option<String>,
    /// Oldest first.
    pub timeline: Vec<AuditEntry>,
}

/// An altered request can still be withdrawn and purged, and is shown without what is sealed to it.
pub(crate) async fn detail(portal: &Portal, found: &DocumentRequest) -> Result<Detail, WorkflowError> {
    let metadata = match TrustedRequest::of(portal, found) {
        Ok(trusted) => terms::opened_metadata(portal, &trusted)?,
        Err(_) => None,
    };
    Ok(Detail {
        metadata,
        timeline: portal.audit.timeline(found.id).await?,
    })
}
