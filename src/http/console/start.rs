//! The first page: what needs a person, then how everything stands.

use actix_web::{HttpRequest, web};
use time::Duration;

use crate::domain::agent::Role;
use crate::domain::request::{DocumentRequest, RequestState};
use crate::http::State;
use crate::http::pages::console::{Notice, start};
use crate::http::staff::{Anyone, Read, SignedIn};
use crate::storage::outbox::Watch;
use crate::storage::{Filter, StorageError};

use super::{Page, html, see};

/// What is shown of each list. The store keeps them in order, so that this page costs the same with a million requests.
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
    let records = &state.portal.records;
    let soon = records.now() + SOON;
    let stuck = Filter {
        state: Some(RequestState::NeedsAttention),
        ..Filter::default()
    };
    Ok(Attention {
        stuck: records.list(&stuck, None, SHOW).await?.requests,
        rejected: records.watched(Watch::Rejected, SHOW).await?,
        purged_soon: records.watched(Watch::PurgedBefore(soon), SHOW).await?,
        expiring: records.watched(Watch::ExpiringBefore(soon), SHOW).await?,
        counts: records.counts().await?,
    })
}
