//! Requests as people look for them and see them: a list, and one of them with what lies beside its row.

use time::{Duration, OffsetDateTime};

use super::cursor;
use super::names::Names;
use super::search;
use crate::domain::agent::{Actor, Team};
use crate::domain::audit::AuditEntry;
use crate::domain::dispatch::Dispatch;
use crate::domain::document::{ApplicantRef, ProviderName};
use crate::domain::id::{AgentId, RequestId};
use crate::domain::list_order::ListOrder;
use crate::domain::outcome::Outcome;
use crate::domain::receipt::SignedReceipt;
use crate::domain::request::{DocumentRequest, RequestState};
use crate::storage::{Cursor, Filter, StorageError};
use crate::workflow::assignment::{self, Assignee, People, Person, WantedAssignee};
use crate::workflow::notes::{self, OpenedNote};
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, manual_download, purge, terms};

/// Webhooks and mails that are shown with a request.
const DISPATCHES_SHOWN: usize = 30;

/// A request with what its row does not say in the clear.
pub(crate) struct Row {
    pub request: DocumentRequest,
    /// `None` where the row was changed outside the portal: what is sealed to it is not shown.
    pub applicant: Option<String>,
    /// The help desk's case that it belongs to.
    pub ticket: Option<String>,
    /// The document's label in English, or its name once it is no longer in the catalogue.
    pub label: String,
    /// An agent serves its provider by hand.
    pub by_hand: bool,
    pub assignee: Assignee,
}

impl Row {
    pub(crate) async fn of(portal: &Portal, request: DocumentRequest) -> Result<Self, StorageError> {
        let people = People::of(portal, std::slice::from_ref(&request)).await?;
        Ok(Self::with(portal, &people, request))
    }

    /// Rows of a list: who works here is read once for all of them.
    pub(crate) async fn all(portal: &Portal, requests: Vec<DocumentRequest>) -> Result<Vec<Self>, StorageError> {
        let people = People::of(portal, &requests).await?;
        Ok(requests.into_iter().map(|request| Self::with(portal, &people, request)).collect())
    }

    fn with(portal: &Portal, people: &People, request: DocumentRequest) -> Self {
        let trusted = TrustedRequest::of(portal, &request).ok();
        let applicant = trusted.as_ref().and_then(|trusted| terms::applicant(portal, trusted).ok());
        let ticket = trusted.as_ref().and_then(|trusted| terms::opened_ticket(portal, trusted).ok());
        Self {
            applicant: applicant.map(|applicant| applicant.expose().to_owned()),
            ticket: ticket.flatten(),
            label: portal.catalogue.label(&request.document, "en").to_owned(),
            by_hand: manual_download::by_hand(portal, &request),
            assignee: people.assignee(&request),
            request,
        }
    }

    /// One request, after its terms were proved unchanged.
    pub(crate) async fn load(portal: &Portal, id: RequestId) -> Result<Self, WorkflowError> {
        Ok(Self::of(portal, terms::load(portal, id).await?.into_inner()).await?)
    }
}

/// Whose a request is; `None` where there is no such request.
pub(crate) async fn team_of(portal: &Portal, id: RequestId) -> Result<Option<Option<Team>>, WorkflowError> {
    Ok(portal.requests.request(id).await?.map(|found| found.team))
}

/// What a list is cut down to.
#[derive(Default)]
pub(crate) struct Wanted {
    pub state: Option<RequestState>,
    pub outcome: Option<Outcome>,
    /// Anything that a person has at hand of one: see [`super::search`]. Alone, without the other conditions.
    pub find: Option<String>,
    pub provider: Option<ProviderName>,
    /// Becomes a keyed index here and is not seen again.
    pub applicant: Option<ApplicantRef>,
    pub created_by: Option<Actor>,
    pub assigned: Option<WantedAssignee>,
    pub older_than: Option<Duration>,
    pub order: ListOrder,
    /// What the page before gave.
    pub cursor: Option<String>,
    /// Whoever asks knows their own; `None` for all of them.
    pub teams: Option<Vec<Team>>,
    /// The agent who asks, or who made the API key that does.
    pub me: Option<AgentId>,
}

/// A page of a list.
#[derive(Default)]
pub(crate) struct Listed {
    pub rows: Vec<Row>,
    pub next: Option<String>,
    /// A search found more than it shows.
    pub cut: bool,
}

pub(crate) async fn list(portal: &Portal, wanted: Wanted, limit: usize) -> Result<Listed, WorkflowError> {
    if let Some(text) = wanted.find {
        let found = search::find(portal, &text, wanted.teams).await?;
        return Ok(Listed {
            rows: Row::all(portal, found.requests).await?,
            next: None,
            cut: found.more,
        });
    }
    let order = wanted.order;
    let cursor = wanted.cursor.map(|text| cursor::read(portal, order, &text)).transpose()?;
    let made_before = wanted.older_than.map(|age| portal.now() - age);
    // The newest of those that are old enough stands where the list begins: nothing younger is looked at.
    let start = made_before.filter(|_| order == ListOrder::Newest).map(Cursor::before);
    let filter = Filter {
        state: wanted.state,
        outcome: wanted.outcome,
        provider: wanted.provider,
        applicant_index: wanted.applicant.map(|applicant| terms::applicant_index(portal, &applicant)),
        created_by: wanted.created_by.map(|by| by.to_string()),
        assigned: match wanted.assigned {
            Some(assigned) => Some(assignment::found_by(portal, assigned, wanted.me).await?),
            None => None,
        },
        teams: wanted.teams,
        made_before,
        order,
        ..Filter::default()
    };
    let page = portal.requests.list(&filter, cursor.or(start), limit).await?;
    Ok(Listed {
        rows: Row::all(portal, page.requests).await?,
        next: page.next.map(|next| cursor::write(portal, order, next)).transpose()?,
        cut: false,
    })
}

/// One request with its history.
pub(crate) struct Detail {
    pub row: Row,
    pub now: OffsetDateTime,
    /// As the agent gave it; `None` as well when the row was altered: what is sealed to it is not shown.
    pub metadata: Option<String>,
    /// Oldest first; none of an altered row.
    pub notes: Vec<OpenedNote>,
    /// Oldest first.
    pub timeline: Vec<AuditEntry>,
}

/// An altered request can still be withdrawn and purged, and is shown without what is sealed to it.
pub(crate) async fn detail(portal: &Portal, request: DocumentRequest) -> Result<Detail, WorkflowError> {
    let (metadata, notes) = match TrustedRequest::of(portal, &request) {
        Ok(trusted) => (terms::opened_metadata(portal, &trusted)?, notes::opened(portal, &trusted)),
        Err(_) => (None, Vec::new()),
    };
    Ok(Detail {
        metadata,
        notes,
        timeline: portal.audit.timeline(request.id).await?,
        now: portal.now(),
        row: Row::of(portal, request).await?,
    })
}

/// What a request's own page shows.
pub(crate) struct Whole {
    pub detail: Detail,
    /// The agent's note to the applicant.
    pub message: Option<String>,
    pub names: Names,
    /// Webhooks and mails about it.
    pub dispatches: Vec<Dispatch>,
    /// To whom it may be assigned, by name.
    pub colleagues: Vec<Person>,
}

pub(crate) async fn whole(portal: &Portal, id: RequestId) -> Result<Whole, WorkflowError> {
    let found = terms::load(portal, id).await?;
    Ok(Whole {
        message: terms::opened_message(portal, &found)?,
        names: Names::load(portal).await?,
        colleagues: assignment::colleagues(portal, found.team.as_ref()).await?,
        dispatches: portal.outbox.dispatches(Some(id), None, DISPATCHES_SHOWN).await?.dispatches,
        detail: detail(portal, found.into_inner()).await?,
    })
}

/// The newest deletion receipt of a request, as it was signed when it was made; `None` before the first purge. One that does not verify is an error.
pub(crate) async fn receipt(portal: &Portal, id: RequestId) -> Result<(Row, Option<SignedReceipt>), WorkflowError> {
    let row = Row::load(portal, id).await?;
    let receipt = purge::receipt(portal, &row.request).await?;
    Ok((row, receipt))
}
