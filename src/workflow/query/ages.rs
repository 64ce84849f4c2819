//! How long the oldest of what waits has waited: what an alert is made from. Costs the same however many requests there are.

use time::Duration;

use crate::domain::delivery::Phase;
use crate::domain::outcome::Outcome;
use crate::domain::request::{DocumentRequest, Stage};
use crate::storage::outbox::AttentionKind;
use crate::storage::{Filter, StorageError};
use crate::workflow::Portal;

/// Requests that need attention are looked through up to here: with more of them than that, nobody waits for an alert any more.
const LOOK: usize = 200;
/// No document is kept for longer.
const FAR: Duration = Duration::days(36_500);

/// Zero where nothing waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ages {
    /// Since the oldest document arrived that no provider has.
    pub undelivered: Duration,
    /// Since the oldest of the requests that need attention stopped.
    pub attention: Duration,
}

pub(crate) async fn load(portal: &Portal) -> Result<Ages, StorageError> {
    let now = portal.now();
    let filter = Filter {
        outcome: Some(Outcome::NeedsAttention),
        ..Filter::default()
    };
    let mut waiting = portal.requests.list(&filter, None, LOOK).await?.requests;
    let stopped = waiting.iter().filter_map(|request| match &request.stage {
        Stage::Held { delivery, .. } => match delivery.phase {
            Phase::NeedsAttention { since, .. } => Some(since),
            _ => None,
        },
        _ => None,
    });
    let attention = stopped.min();
    // Of the others the one that is purged next came first.
    waiting.extend(portal.outbox.watched(AttentionKind::PurgedBefore(now + FAR), 1).await?);
    let undelivered = waiting.iter().filter_map(received_at).min();
    let age = |since: Option<time::OffsetDateTime>| since.map_or(Duration::ZERO, |since| (now - since).max(Duration::ZERO));
    Ok(Ages {
        undelivered: age(undelivered),
        attention: age(attention),
    })
}

fn received_at(request: &DocumentRequest) -> Option<time::OffsetDateTime> {
    match &request.stage {
        Stage::Held { document, .. } => Some(document.received_at),
        _ => None,
    }
}
