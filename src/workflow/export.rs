//! That somebody takes a list of requests away as a file: written down before the first line leaves, since it holds the references of many applicants.

use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};

use super::{Portal, WorkflowError};

pub(crate) async fn begin(portal: &Portal, by: Actor) -> Result<(), WorkflowError> {
    portal
        .audit
        .append(AuditEvent::new(portal.now(), by, AuditAction::RequestsExported))
        .await?;
    Ok(())
}
