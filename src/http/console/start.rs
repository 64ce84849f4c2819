//! The first page: what needs a person, then how everything stands.

use actix_web::{HttpRequest, web};
use time::{Duration, OffsetDateTime};

use crate::domain::agent::{Role, Team};
use crate::domain::delivery::PurgeCause;
use crate::domain::request::{DocumentRequest, RequestState, Stage};
use crate::http::State;
use crate::http::pages::console::{Notice, start};
use crate::http::staff::{Anyone, Read, SignedIn};
use crate::storage::{Filter, StorageError};

use super::session::only_password;
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
    let attention = attention(&state, who.teams()).await?;
    let alone = only_password(&who.agent, &who.session);
    Ok(html(start::page(&who.agent, &state, &attention, alone, Notice::of(&request))))
}

async fn attention(state: &State, teams: Option<Vec<Team>>) -> Result<Attention, StorageError> {
    let some = |of, wanted: fn(&DocumentRequest, OffsetDateTime) -> bool| some(state, teams.clone(), of, wanted);
    let held = [RequestState::Received, RequestState::Forwarding, RequestState::AwaitingConfirmation];
    let mut purged_soon = Vec::new();
    for held in held {
        purged_soon.extend(some(held, |r, now| r.held().is_some_and(|(d, _)| soon(d.purge_at, now))).await?);
    }
    Ok(Attention {
        stuck: some(RequestState::NeedsAttention, |_, _| true).await?,
        rejected: some(RequestState::Purged, |r, _| was_rejected(r)).await?,
        purged_soon,
        expiring: some(RequestState::Awaiting, |r, now| {
            soon(r.link.expires_at, now) && r.link.expires_at - r.link.issued_at > SOON
        })
        .await?,
        // What all teams have together tells nobody about one request; within a team it would be wrong.
        counts: match &teams {
            Some(teams) if !teams.is_empty() => Vec::new(),
            _ => state.portal.records.counts().await?,
        },
    })
}

fn soon(at: OffsetDateTime, now: OffsetDateTime) -> bool {
    now < at && at < now + SOON
}

/// The provider did not want it, and nobody has asked again.
fn was_rejected(request: &DocumentRequest) -> bool {
    matches!(request.stage, Stage::Purged)
        && request
            .tombstones
            .last()
            .is_some_and(|t| matches!(t.cause, PurgeCause::Rejected(_)))
}

async fn some(
    state: &State,
    teams: Option<Vec<Team>>,
    of: RequestState,
    wanted: fn(&DocumentRequest, OffsetDateTime) -> bool,
) -> Result<Vec<DocumentRequest>, StorageError> {
    let now = state.portal.records.now();
    let filter = Filter {
        state: Some(of),
        teams,
        ..Filter::default()
    };
    let page = state.portal.records.list(&filter, None, LOOK).await?;
    Ok(page.requests.into_iter().filter(|r| wanted(r, now)).take(SHOW).collect())
}
