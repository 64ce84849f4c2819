//! What was asked before: a request that is still open for the same person and document, and what somebody asked for last.

use super::requests::Row;
use crate::domain::agent::{Actor, Team};
use crate::domain::document::{ApplicantRef, DocumentKind, ProviderName};
use crate::domain::link::LinkState;
use crate::domain::request::{DocumentRequest, RequestState, Stage};
use crate::storage::Filter;
use crate::workflow::{Portal, WorkflowError, terms};

/// Requests of one person that are looked through.
const LOOK: usize = 50;

/// Newest first: requests for this document of this person at this provider that the applicant can still answer, or that are on their way to the provider.
pub(crate) async fn still_open(
    portal: &Portal,
    provider: &ProviderName,
    applicant: &ApplicantRef,
    document: Option<&DocumentKind>,
    teams: Option<Vec<Team>>,
) -> Result<Vec<Row>, WorkflowError> {
    let filter = Filter {
        applicant_index: Some(terms::applicant_index(portal, applicant)),
        provider: Some(provider.clone()),
        teams,
        ..Filter::default()
    };
    let now = portal.now();
    let found = portal.requests.list(&filter, None, LOOK).await?.requests;
    let fits = |request: &DocumentRequest| document.is_none_or(|kind| request.document == *kind) && is_open(request, now);
    Ok(Row::all(portal, found.into_iter().filter(fits).collect()).await?)
}

fn is_open(request: &DocumentRequest, now: time::OffsetDateTime) -> bool {
    match &request.stage {
        Stage::Open { .. } => {
            let alive = matches!(request.link_state(now), LinkState::Active | LinkState::Locked);
            alive || request.state(now) == RequestState::Receiving
        }
        Stage::Held { .. } => true,
        Stage::Purging { .. } | Stage::Purged => false,
    }
}

/// The newest request that somebody issued, as far back as a list looks.
pub(crate) async fn last_of(portal: &Portal, by: Actor, teams: Option<Vec<Team>>) -> Result<Option<DocumentRequest>, WorkflowError> {
    let filter = Filter {
        created_by: Some(by.to_string()),
        teams,
        ..Filter::default()
    };
    Ok(portal.requests.list(&filter, None, 1).await?.requests.pop())
}
