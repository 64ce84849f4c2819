//! The first page: what needs a person, then how everything stands.

use actix_web::{HttpRequest, web};
use time::Duration;

use crate::domain::agent::Role;
use crate::domain::delivery::PurgeCause;
use crate::domain::request::{DocumentRequest, RequestState, Stage};
use crate::http::State;
use crate::http::pages::console::{Notice, start};
use crate::http::staff::{Anyone, Read, SignedIn};
use crate::storage::{Filter, StorageError};

use super::{Page, html, see};

/// What is looked through for each list, and what is shown of it.
const LOOK: usize = 200;
const SHOW: usize = 8;
/// A document that will be purged undelivered, and a link that will expire unused, are shown this long before.
const SOON: Duration = Duration::hours(24);

/// Requests that wait for a person.
pub struct Attention {
    pub stuck: Vec<DocumentRequest>,
    pub rejected: Vec<DocumentRequest>,
    pub purged_soon: Vec<DocumentRequest>,
    pub expiring: Vec<DocumentRequest>,
    pub counts: Vec<(RequestState, u64)>,
}

pub async fn start(who: SignedIn<Anyone>, state: web::Data<State>, request: HttpRequest) -> Page {
    if !who.may::<Read>() {
        return Ok(see(if who.agent.role == Role::Auditor { "/audit" } else { "/account" }));
    }
    let attention = attention(&state).await?;
    Ok(html(start::page(&who.agent, &state, &attention, Notice::of(&request))))
}

async fn attention(state: &State) -> Result<Attention, StorageError> {
    let now = state.portal.records.now();
    let soon = |at: time::OffsetDateTime| now < at && at < now + SOON;
    let held = [RequestState::Received, RequestState::Forwarding, RequestState::AwaitingConfirmation];
    let mut purged_soon = Vec::new();
    for held in held {
        purged_soon.extend(some(state, held, |r| r.held().is_some_and(|(d, _)| soon(d.purge_at))).await?);
    }
    Ok(Attention {
        stuck: some(state, RequestState::NeedsAttention, |_| true).await?,
        rejected: some(state, RequestState::Purged, was_rejected).await?,
        purged_soon,
        expiring: some(state, RequestState::Awaiting, |r| {
            soon(r.link.expires_at) && r.link.expires_at - r.link.issued_at > SOON
        })
        .await?,
        counts: state.portal.records.counts().await?,
    })
}

/// The provider did not want it, and nobody has asked again.
fn was_rejected(request: &DocumentRequest) -> bool {
    matches!(request.stage, Stage::Purged)
        && request
            .tombstones
            .last()
            .is_some_and(|t| matches!(t.cause, PurgeCause::Rejected(_)))
}

async fn some(state: &State, of: RequestState, wanted: impl Fn(&DocumentRequest) -> bool) -> Result<Vec<DocumentRequest>, StorageError> {
    let filter = Filter {
        state: Some(of),
        ..Filter::default()
    };
    let page = state.portal.records.list(&filter, None, LOOK).await?;
    Ok(page.requests.into_iter().filter(wanted).take(SHOW).collect())
}
