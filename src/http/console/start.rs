//! The first page: what needs a person, then how everything stands.

use actix_web::{HttpRequest, web};
use time::Duration;

use crate::domain::agent::{Role, Team, sees};
use crate::domain::request::{DocumentRequest, RequestState};
use crate::http::AppState;
use crate::http::pages::console::{Notice, start};
use crate::http::staff::{Anyone, Read, SignedIn};
use crate::storage::outbox::AttentionKind;
use crate::storage::{Filter, StorageError};

use super::session::only_password;
use super::{Page, html, see};

/// What is shown of each list. The store keeps them in order, so that this page costs the same with a million requests.
const SHOW: usize = 8;
/// What is looked through for an agent who sees some teams only.
const LOOK: usize = 200;
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

pub async fn start(who: SignedIn<Anyone>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    if !who.may::<Read>() {
        return Ok(see(if who.agent.role == Role::Auditor { "/audit" } else { "/account" }));
    }
    let attention = attention(&state, who.teams()).await?;
    let alone = only_password(&who.agent, &who.session);
    Ok(html(start::page(&who.agent, &state, &attention, alone, Notice::of(&request))))
}

async fn attention(state: &AppState, teams: Option<Vec<Team>>) -> Result<Attention, StorageError> {
    let records = &state.portal.records;
    let soon = records.now() + SOON;
    let stuck = Filter {
        state: Some(RequestState::NeedsAttention),
        teams: teams.clone(),
        ..Filter::default()
    };
    let watched = |watch| watched(state, teams.as_deref(), watch);
    Ok(Attention {
        stuck: records.list(&stuck, None, SHOW).await?.requests,
        rejected: watched(AttentionKind::Rejected).await?,
        purged_soon: watched(AttentionKind::PurgedBefore(soon)).await?,
        expiring: watched(AttentionKind::ExpiringBefore(soon)).await?,
        // What all teams have together tells nobody about one request; within a team it would be wrong.
        counts: match &teams {
            Some(teams) if !teams.is_empty() => Vec::new(),
            _ => records.counts().await?,
        },
    })
}

async fn watched(state: &AppState, teams: Option<&[Team]>, watch: AttentionKind) -> Result<Vec<DocumentRequest>, StorageError> {
    let records = &state.portal.records;
    let Some(teams) = teams else {
        return records.watched(watch, SHOW).await;
    };
    let mut found = records.watched(watch, LOOK).await?;
    found.retain(|request| sees(teams, request.team.as_ref()));
    found.truncate(SHOW);
    Ok(found)
}
