//! What waits for a person: the first page of the console.

use time::{Duration, OffsetDateTime};

use super::requests::Row;
use crate::domain::agent::{Team, sees};
use crate::domain::outcome::Outcome;
use crate::domain::request::{DocumentRequest, RequestState};
use crate::storage::clock::Standing;
use crate::storage::outbox::AttentionKind;
use crate::storage::{Filter, StorageError};
use crate::workflow::Portal;

/// What is shown of each list. The store keeps them in order, so that this page costs the same with a million requests.
const SHOW: usize = 8;
/// What is looked through for an agent who sees some teams only.
const LOOK: usize = 200;
/// A document that will be purged undelivered, and a link that will expire unused, are shown this long before.
const SOON: Duration = Duration::hours(24);

/// Requests that wait for a person, and what is wrong with the portal itself.
pub(crate) struct Attention {
    pub stuck: Vec<Row>,
    /// Of providers that are served by hand: work to do, and no failure.
    pub by_hand: Vec<Row>,
    pub rejected: Vec<Row>,
    pub purged_soon: Vec<Row>,
    pub expiring: Vec<Row>,
    pub counts: Vec<(RequestState, u64)>,
    pub outcomes: Vec<(Outcome, u64)>,
    /// The vault key is locked: nothing is forwarded.
    pub locked: bool,
    /// Its private half is not here: no document is taken.
    pub absent: bool,
    pub clock: Standing,
    /// Stored rows that were changed outside the portal.
    pub altered: Vec<String>,
    /// Agents can be told by mail.
    pub mail: bool,
    /// When the last complete backup was taken.
    pub last_backup: Option<OffsetDateTime>,
    pub now: OffsetDateTime,
}

/// `teams`: those whose requests the reader sees; `None` for all of them.
pub(crate) async fn load(portal: &Portal, teams: Option<Vec<Team>>) -> Result<Attention, StorageError> {
    let soon = portal.now() + SOON;
    let stopped = |outcome| stopped(portal, teams.as_deref(), outcome);
    let watched = |watch| watched(portal, teams.as_deref(), watch);
    let rows = |requests: Vec<DocumentRequest>| Row::all(portal, requests);
    Ok(Attention {
        stuck: rows(stopped(Outcome::NeedsAttention).await?).await?,
        by_hand: rows(stopped(Outcome::ByHand).await?).await?,
        rejected: rows(watched(AttentionKind::Rejected).await?).await?,
        purged_soon: rows(watched(AttentionKind::PurgedBefore(soon)).await?).await?,
        expiring: rows(watched(AttentionKind::ExpiringBefore(soon)).await?).await?,
        // What all teams have together tells nobody about one request; within a team it would be wrong.
        counts: match &teams {
            Some(teams) if !teams.is_empty() => Vec::new(),
            _ => portal.requests.counts().await?,
        },
        outcomes: match &teams {
            Some(teams) if !teams.is_empty() => Vec::new(),
            _ => portal.requests.outcomes().await?,
        },
        locked: portal.keyring.is_locked(),
        absent: portal.keyring.is_absent(),
        clock: portal.requests.clock(),
        altered: portal.altered.all().iter().map(ToString::to_string).collect(),
        mail: portal.outgoing.mailer.is_some(),
        last_backup: portal.backups.last(),
        now: portal.now(),
    })
}

/// What has stopped with this outcome.
async fn stopped(portal: &Portal, teams: Option<&[Team]>, outcome: Outcome) -> Result<Vec<DocumentRequest>, StorageError> {
    let filter = Filter {
        outcome: Some(outcome),
        teams: teams.map(<[Team]>::to_vec),
        ..Filter::default()
    };
    Ok(portal.requests.list(&filter, None, SHOW).await?.requests)
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
