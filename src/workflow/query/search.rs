//! One search box: a request by whatever a person has at hand. A request's id, the reference on a receipt, the help desk's ticket, the applicant's reference or its
//! beginning.
//!
//! The store knows none of these words but ids. Applicant references and tickets are found by keyed hashes; the beginnings of a reference by the hashes of a few of
//! its lengths, and what those find is opened and compared. Whoever reads the store without the key learns which requests share a beginning, and nothing of it.

use std::collections::BTreeMap;

use crate::domain::agent::{Team, sees};
use crate::domain::document::{ApplicantRef, SearchWord, TicketRef};
use crate::domain::id::{RequestId, read_receipt_reference};
use crate::domain::request::DocumentRequest;
use crate::storage::Filter;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, terms};

/// Lengths of an applicant reference's beginnings that are indexed. A shorter word is looked for as a whole only.
const PREFIX_LENGTHS: [usize; 4] = [4, 6, 9, 14];
/// Requests found at most, and looked at at most for a beginning.
const FOUND_MAX: usize = 50;
const LOOK_MAX: usize = 1_000;

/// The words under which a new request is found.
pub(crate) fn words(portal: &Portal, applicant: &ApplicantRef, ticket: Option<&TicketRef>) -> Vec<SearchWord> {
    let reference = applicant.expose();
    let beginnings = PREFIX_LENGTHS.iter().filter_map(|length| reference.get(..*length));
    let mut words: Vec<_> = beginnings.map(|beginning| word(portal, "applicant-prefix", beginning)).collect();
    words.extend(ticket.map(|ticket| ticket_word(portal, ticket)));
    words
}

fn ticket_word(portal: &Portal, ticket: &TicketRef) -> SearchWord {
    word(portal, "ticket", &ticket.as_str().to_ascii_lowercase())
}

fn word(portal: &Portal, label: &str, text: &str) -> SearchWord {
    let whole = portal.secrets.index(label, text.as_bytes());
    let mut word = SearchWord::default();
    word.copy_from_slice(&whole[..16]);
    word
}

/// What was found, newest first. `more`: the list is cut.
pub(crate) struct SearchResult {
    pub requests: Vec<DocumentRequest>,
    pub more: bool,
}

/// Looks for a text among the requests of these teams (`None`: all).
pub(crate) async fn find(portal: &Portal, text: &str, teams: Option<Vec<Team>>) -> Result<SearchResult, WorkflowError> {
    let text = text.trim();
    let mut found = BTreeMap::new();
    let mut more = false;
    if let Some(id) = RequestId::parse(&text.to_ascii_lowercase()) {
        let request = portal.requests.request(id).await?;
        let seen = request.filter(|r| teams.as_ref().is_none_or(|teams| sees(teams, r.team.as_ref())));
        found.extend(seen.map(|r| (r.id, r)));
    }
    let filter = Filter {
        teams,
        ..Filter::default()
    };
    if let Some(reference) = read_receipt_reference(text) {
        let filter = Filter {
            receipt_reference: Some(reference),
            ..filter.clone()
        };
        more |= add(portal, &filter, &mut found, |_| true).await?;
    }
    if let Some(ticket) = TicketRef::parse(text) {
        let filter = Filter {
            word: Some(ticket_word(portal, &ticket)),
            ..filter.clone()
        };
        more |= add(portal, &filter, &mut found, |_| true).await?;
    }
    if let Some(applicant) = ApplicantRef::parse(text) {
        let exact = Filter {
            applicant_index: Some(terms::applicant_index(portal, &applicant)),
            ..filter.clone()
        };
        more |= add(portal, &exact, &mut found, |_| true).await?;
        let longest = PREFIX_LENGTHS.iter().rev().find_map(|length| text.get(..*length));
        if let Some(beginning) = longest {
            let filter = Filter {
                word: Some(word(portal, "applicant-prefix", beginning)),
                ..filter
            };
            more |= add(portal, &filter, &mut found, |request| begins_with(portal, request, text)).await?;
        }
    }
    let mut requests: Vec<_> = found.into_values().collect();
    requests.sort_by_key(|r| std::cmp::Reverse((r.created_at, r.id)));
    more |= requests.len() > FOUND_MAX;
    requests.truncate(FOUND_MAX);
    Ok(SearchResult { requests, more })
}

/// Whether there are more than were looked at.
async fn add(
    portal: &Portal,
    filter: &Filter,
    found: &mut BTreeMap<RequestId, DocumentRequest>,
    fits: impl Fn(&DocumentRequest) -> bool,
) -> Result<bool, WorkflowError> {
    let (mut after, mut fitting) = (None, 0);
    let mut looked = 0;
    loop {
        let page = portal.requests.list(filter, after, FOUND_MAX).await?;
        looked += page.requests.len();
        for request in page.requests.into_iter().filter(&fits) {
            fitting += 1;
            found.insert(request.id, request);
        }
        after = page.next;
        if after.is_none() || fitting > FOUND_MAX || looked >= LOOK_MAX {
            return Ok(after.is_some());
        }
    }
}

/// One whose row was altered is found by nothing that is sealed to it.
fn begins_with(portal: &Portal, request: &DocumentRequest, beginning: &str) -> bool {
    let opened = TrustedRequest::of(portal, request).and_then(|trusted| terms::applicant(portal, &trusted));
    opened.is_ok_and(|applicant| applicant.expose().starts_with(beginning))
}
