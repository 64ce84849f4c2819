//! What waits for a person: the first page of the console.

use time::Duration;

use crate::domain::agent::{Team, sees};
use crate::domain::request::{DocumentRequest, RequestState};
use crate::storage::outbox::AttentionKind;
use crate::storage::{Filter, StorageError};
use crate::workflow::Portal;

/// What is shown of each list. The store keeps them in order, so that this page costs the same with a million requests.
const SHOW: usize = 8;
/// What is looked through for an agent who sees some teams only.
const LOOK: usize = 200;
/// A document that will be purged undelivered, and a link that will expire unused, are shown this long before.
const SOON: Duration = Duration::hours(24);

/// Requests that wait for a person.
pub(crate) struct Attention {
    pub stuck: Vec<DocumentRequest>,
    pub rejected: Vec<DocumentRequest>,
    pub purged_soon: Vec<DocumentRequest>,
    pub expiring: Vec<DocumentRequest>,
    pub counts: Vec<(RequestState, u64)>,
}

/// `teams`: those whose requests the reader sees; `None` for all of them.
pub(crate) async fn load(portal: &Portal, teams: Option<Vec<Team>>) -> Result<Attention, StorageError> {
    let soon = portal.now() + SOON;
    let stuck = Filter {
        state: Some(RequestState::NeedsAttention),
        teams: teams.clone(),
        ..Filter::default()
    };
    let watched = |watch| watched(portal, teams.as_deref(), watch);
    Ok(Attention {
        stuck: portal.requests.list(&stuck, None, SHOW).await?.requests,
        rejected: watched(AttentionKind::Rejected).await?,
        purged_soon: watched(AttentionKind::PurgedBefore(soon)).await?,
        expiring: watched(AttentionKind::ExpiringBefore(soon)).await?,
        // What all teams have together tells nobody about one request; within a team it would be wrong.
        counts: match &teams {
            Some(teams) if !teams.is_empty() => Vec::new(),
            _ => portal.requests.counts().await?,
        },
    })
}

async fn watched(portal: &Portal, teams: Option<&[Team]>, watch: AttentionKind) -> Result<Vec<DocumentRequest>, StorageError> {
    let Some(teams) = teams else {
        return portal.outbox.watched(watch, SHOW).await;
    };
    let mut found = portal.outbox.watched(watch, LOOK).await?;
    found.retain(|request| sees(teams, request.team.as_ref()));
    found.truncate(SHOW);
    Ok(found)
}
