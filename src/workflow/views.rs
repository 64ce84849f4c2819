//! The lists of requests that an agent gave a name.

use super::{Portal, WorkflowError};
use crate::domain::id::AgentId;
use crate::domain::saved_view::{SavedView, VIEW_NAME, VIEWS, ViewChange, ViewRefusal};

pub(crate) async fn of(portal: &Portal, agent: AgentId) -> Result<Vec<SavedView>, WorkflowError> {
    Ok(portal.outbox.saved_views(agent).await?)
}

/// What cannot be done is told by the field `name`.
pub(crate) async fn change(portal: &Portal, agent: AgentId, change: ViewChange) -> Result<(), WorkflowError> {
    let invalid = |fix: String| WorkflowError::Invalid { field: "name", fix };
    if let ViewChange::Save(SavedView { name, .. }) | ViewChange::Rename { to: name, .. } = &change
        && (name.trim().is_empty() || name.chars().count() > VIEW_NAME || name.chars().any(char::is_control))
    {
        return Err(invalid(format!("must be a line of 1 to {VIEW_NAME} characters")));
    }
    portal.outbox.change_views(agent, change).await?.map_err(|refusal| match refusal {
        ViewRefusal::TooMany => invalid(format!("cannot be one more: there are {VIEWS} views; delete one first")),
        ViewRefusal::Taken => invalid("must be another one: a view has this name already".to_owned()),
        ViewRefusal::Gone => WorkflowError::NotFound,
    })
}
