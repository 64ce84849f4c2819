//! The keys of the embedded record tree: one letter for the kind, then big-endian fields, so that a scan by prefix is a list in order.

use time::OffsetDateTime;

use crate::domain::agent::Team;
use crate::domain::delivery::{Phase, PurgeCause};
use crate::domain::document::{DocumentKind, ProviderName, SearchWord};
use crate::domain::id::{AgentId, ApiKeyId, DispatchId, DocumentId, RequestId};
use crate::domain::outcome::Outcome;
use crate::domain::request::{DocumentRequest, RequestState, Stage, WorkQueue};
use crate::domain::token::HashedToken;

use super::clock::to_ms;

pub(crate) const REQUEST: u8 = b'r';
pub(crate) const LINK: u8 = b'l';
pub(crate) const DUE: u8 = b'd';
pub(crate) const ALL: u8 = b't';
pub(crate) const STATE: u8 = b's';
pub(crate) const OUTCOME: u8 = b'o';
pub(crate) const APPLICANT: u8 = b'a';
/// A keyed word that a request is found by.
pub(crate) const WORD: u8 = b'z';
/// The reference on an applicant's receipt.
pub(crate) const RECEIPT_REFERENCE: u8 = b'u';
pub(crate) const PROVIDER: u8 = b'p';
pub(crate) const CREATOR: u8 = b'g';
pub(crate) const TEAM: u8 = b'h';
/// Requests by the agent they are assigned to; those of nobody stand in no list of their own.
pub(crate) const ASSIGNED: u8 = b'n';
pub(crate) const DOCUMENT: u8 = b'v';
/// Requests with something to destroy or to end, by when.
pub(crate) const CLEANUP: u8 = b'c';
/// Held leases, so that a restarted process finds its own.
pub(crate) const LEASED: u8 = b'w';
/// A provider's own reference of something it received.
pub(crate) const REFERENCE: u8 = b'q';
pub(crate) const CLAIM: u8 = b'i';
pub(crate) const CLAIM_BY_TIME: u8 = b'j';
pub(crate) const AUDIT: u8 = b'e';
pub(crate) const TIMELINE: u8 = b'f';
pub(crate) const RECEIPT: u8 = b'x';
pub(crate) const SIGHT: u8 = b'y';
pub(crate) const AGENT: u8 = b'A';
pub(crate) const EMAIL: u8 = b'M';
pub(crate) const SESSION: u8 = b'S';
pub(crate) const API_KEY: u8 = b'K';
pub(crate) const API_KEY_BY_ID: u8 = b'k';
pub(crate) const META: u8 = b'm';
pub(crate) const DISPATCH: u8 = b'1';
pub(crate) const DISPATCH_DUE: u8 = b'2';
pub(crate) const DISPATCH_QUEUE: u8 = b'3';
pub(crate) const DISPATCH_LOG: u8 = b'4';
/// Dispatches of a request.
pub(crate) const DISPATCH_OF: u8 = b'5';
/// Until when the log keeps an ended one.
pub(crate) const DISPATCH_KEPT: u8 = b'6';
pub(crate) const TEMPLATE: u8 = b'7';
pub(crate) const WISHES: u8 = b'8';
/// The lists that an agent gave a name.
pub(crate) const VIEWS: u8 = b'V';
/// Requests whose link can still be used, by its end.
pub(crate) const EXPIRY: u8 = b'b';
/// Lists of what a person should look at; a second letter says which.
pub(crate) const WATCH: u8 = b'9';
pub(crate) const WATCH_REJECTED: u8 = b'r';
pub(crate) const WATCH_PURGE: u8 = b'p';
pub(crate) const WATCH_EXPIRY: u8 = b'e';

/// `letter ‖ fields`.
pub(crate) fn key(letter: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + fields.iter().map(|f| f.len()).sum::<usize>());
    key.push(letter);
    for field in fields {
        key.extend_from_slice(field);
    }
    key
}

pub fn request(id: RequestId) -> Vec<u8> {
    key(REQUEST, &[&id.0])
}

pub(crate) fn link(hashed: &HashedToken) -> Vec<u8> {
    key(LINK, &[&hashed.0])
}

/// Before what is due in a queue. The portal's own has no name and comes first.
pub(crate) fn due_queue(queue: WorkQueue<'_>) -> Vec<u8> {
    match queue {
        WorkQueue::Portal => named(DUE, ""),
        WorkQueue::Provider(provider) => named(DUE, provider.as_str()),
    }
}

pub(crate) fn due(queue: WorkQueue<'_>, at: OffsetDateTime, id: RequestId) -> Vec<u8> {
    let mut key = due_queue(queue);
    key.extend_from_slice(&ms(at));
    key.extend_from_slice(&id.0);
    key
}

pub(crate) fn cleanup(at: OffsetDateTime, id: RequestId) -> Vec<u8> {
    key(CLEANUP, &[&ms(at), &id.0])
}

/// As long behind its letter as a place in the other lists.
pub(crate) fn expiry(at: OffsetDateTime, id: RequestId) -> Vec<u8> {
    key(EXPIRY, &[&ms(at), &id.0])
}

pub(crate) fn document(id: DocumentId) -> Vec<u8> {
    key(DOCUMENT, &[&id.0])
}

pub(crate) fn audit(sequence: u64) -> Vec<u8> {
    key(AUDIT, &[&sequence.to_be_bytes()])
}

pub(crate) fn timeline(id: RequestId, sequence: u64) -> Vec<u8> {
    key(TIMELINE, &[&id.0, &sequence.to_be_bytes()])
}

pub fn receipt(number: u64) -> Vec<u8> {
    key(RECEIPT, &[&number.to_be_bytes()])
}

pub fn agent(id: AgentId) -> Vec<u8> {
    key(AGENT, &[&id.0])
}

pub fn email(email: &str) -> Vec<u8> {
    key(EMAIL, &[email.as_bytes()])
}

pub fn session(cookie: &[u8; 32]) -> Vec<u8> {
    key(SESSION, &[cookie])
}

pub fn api_key(hash: &[u8; 32]) -> Vec<u8> {
    key(API_KEY, &[hash])
}

pub(crate) fn api_key_by_id(id: ApiKeyId) -> Vec<u8> {
    key(API_KEY_BY_ID, &[&id.0])
}

pub fn meta(name: &str) -> Vec<u8> {
    key(META, &[name.as_bytes()])
}

pub(crate) fn dispatch(id: DispatchId) -> Vec<u8> {
    key(DISPATCH, &[&id.0])
}

/// Before the places in the queue of an ordering key.
pub(crate) fn ordering(channel: &str, ordering_key: &[u8; 16]) -> Vec<u8> {
    let mut key = named(DISPATCH_QUEUE, channel);
    key.extend_from_slice(ordering_key);
    key
}

pub(crate) fn template(document: Option<&DocumentKind>, language: &str) -> Vec<u8> {
    let mut key = named(TEMPLATE, document.map_or("", DocumentKind::as_str));
    key.extend_from_slice(language.as_bytes());
    key
}

pub(crate) fn notification_preferences(agent: AgentId) -> Vec<u8> {
    key(WISHES, &[&agent.0])
}

pub(crate) fn saved_views(agent: AgentId) -> Vec<u8> {
    key(VIEWS, &[&agent.0])
}

/// Inverted milliseconds: the newest comes first.
pub(crate) fn newest_first(at: OffsetDateTime) -> [u8; 8] {
    (u64::MAX - u64::from_be_bytes(ms(at))).to_be_bytes()
}

/// Big-endian milliseconds, order-preserving from 1970 on.
pub(crate) fn ms(at: OffsetDateTime) -> [u8; 8] {
    u64::try_from(to_ms(at)).unwrap_or(0).to_be_bytes()
}

/// Place of a request in every list, newest first: inverted creation time, then the id.
pub(crate) fn place(request: &DocumentRequest) -> [u8; 24] {
    let mut place = [0; 24];
    place[..8].copy_from_slice(&newest_first(request.created_at));
    place[8..].copy_from_slice(&request.id.0);
    place
}

/// The place behind everything that was made after `at`.
pub(crate) fn place_of(at: OffsetDateTime) -> [u8; 24] {
    let mut place = [0; 24];
    place[..8].copy_from_slice(&newest_first(at));
    place
}

/// One byte per state; part of stored keys, so numbers never change their meaning.
pub(crate) fn bucket(state: RequestState) -> u8 {
    match state {
        RequestState::Awaiting => 1,
        RequestState::Receiving => 2,
        RequestState::Received => 3,
        RequestState::Forwarding => 4,
        RequestState::AwaitingConfirmation => 5,
        RequestState::NeedsAttention => 6,
        RequestState::Confirmed => 7,
        RequestState::Rejected => 8,
        RequestState::Purging => 9,
        RequestState::Purged => 10,
        RequestState::Expired => 11,
        RequestState::Revoked => 12,
    }
}

pub(crate) fn state_prefix(state: RequestState) -> Vec<u8> {
    key(STATE, &[&[bucket(state)]])
}

/// One byte for each outcome, as in [`bucket`].
pub(crate) fn outcome_bucket(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::InProgress => 1,
        Outcome::NeedsAttention => 2,
        Outcome::Confirmed => 3,
        Outcome::Rejected => 4,
        Outcome::Unconfirmed => 5,
        Outcome::Undelivered => 6,
        Outcome::Infected => 7,
        Outcome::PurgedByAgent => 8,
        Outcome::Withdrawn => 9,
        Outcome::LinkExpired => 10,
        Outcome::Lost => 11,
        Outcome::ByHand => 12,
    }
}

pub(crate) fn outcome_prefix(outcome: Outcome) -> Vec<u8> {
    key(OUTCOME, &[&[outcome_bucket(outcome)]])
}

pub(crate) fn applicant_prefix(index: &[u8; 32]) -> Vec<u8> {
    key(APPLICANT, &[index])
}

pub(crate) fn word_prefix(word: &SearchWord) -> Vec<u8> {
    key(WORD, &[word])
}

pub(crate) fn receipt_reference_prefix(reference: &str) -> Vec<u8> {
    named(RECEIPT_REFERENCE, reference)
}

pub(crate) fn provider_prefix(provider: &ProviderName) -> Vec<u8> {
    named(PROVIDER, provider.as_str())
}

pub(crate) fn creator_prefix(creator: &str) -> Vec<u8> {
    named(CREATOR, creator)
}

pub(crate) fn team_prefix(team: &Team) -> Vec<u8> {
    named(TEAM, team.as_str())
}

pub(crate) fn assigned_prefix(agent: AgentId) -> Vec<u8> {
    key(ASSIGNED, &[&agent.0])
}

pub(crate) fn reference(provider: &ProviderName, reference: &str) -> Vec<u8> {
    let mut key = named(REFERENCE, provider.as_str());
    key.extend_from_slice(reference.as_bytes());
    key
}

/// A length byte keeps one name from being the prefix of another.
fn named(letter: u8, name: &str) -> Vec<u8> {
    key(letter, &[&[u8::try_from(name.len()).unwrap_or(u8::MAX)], name.as_bytes()])
}

/// Every index row of a request, derived from nothing but the request: a change writes the difference of two such lists.
pub(crate) fn indexes(request: &DocumentRequest) -> Vec<(Vec<u8>, Vec<u8>)> {
    let place = place(request);
    let behind = |mut prefix: Vec<u8>| {
        prefix.extend_from_slice(&place);
        (prefix, Vec::new())
    };
    let mut rows = vec![
        behind(vec![ALL]),
        behind(state_prefix(request.resting_state())),
        behind(outcome_prefix(request.resting_outcome())),
        behind(applicant_prefix(&request.applicant_index)),
        behind(provider_prefix(&request.provider)),
        behind(creator_prefix(&request.created_by.to_string())),
        (
            link(&request.link.hashed),
            [&request.id.0[..], &request.link.generation.to_be_bytes()].concat(),
        ),
    ];
    rows.extend(request.search_words.iter().map(|word| behind(word_prefix(word))));
    rows.extend(
        request
            .receipt_references()
            .map(|reference| behind(receipt_reference_prefix(&reference))),
    );
    if let Some(team) = &request.team {
        rows.push(behind(team_prefix(team)));
    }
    if let Some(agent) = request.assigned {
        rows.push(behind(assigned_prefix(agent)));
    }
    rows.extend(
        request
            .due()
            .into_iter()
            .map(|(queue, at)| (due(queue, at, request.id), Vec::new())),
    );
    rows.extend(watches(request).map(|k| (k, Vec::new())));
    rows.extend(ends(request).map(|k| (k, Vec::new())));
    if let Some(at) = request.cleanup_at() {
        rows.push((cleanup(at, request.id), Vec::new()));
    }
    if is_leased(request) {
        rows.push((key(LEASED, &[&request.id.0]), Vec::new()));
    }
    rows.extend(
        references(request)
            .iter()
            .map(|r| (reference(&request.provider, r), request.id.0.to_vec())),
    );
    rows.extend(documents(request).map(|id| (document(id), request.id.0.to_vec())));
    rows
}

/// The place among links that can still be used, by their ends.
pub(crate) fn ends(request: &DocumentRequest) -> Option<Vec<u8>> {
    let usable = matches!(request.stage, Stage::Open { expiry_noted: false }) && request.link.revoked_at.is_none();
    usable.then(|| expiry(request.link.expires_at, request.id))
}

/// Whether a worker holds it, to deliver or to clean up.
pub(crate) fn is_leased(request: &DocumentRequest) -> bool {
    request.lease.is_some() || request.cleanup.until.is_some()
}

/// What its provider knows it under, while a verdict is awaited.
pub(crate) fn references(request: &DocumentRequest) -> &[String] {
    match request.held() {
        Some((_, delivery)) => match &delivery.phase {
            Phase::AwaitingConfirmation { receipt, .. } => &receipt.references,
            _ => &[],
        },
        None => &[],
    }
}

/// The documents that have bytes here.
pub(crate) fn documents(request: &DocumentRequest) -> impl Iterator<Item = DocumentId> + '_ {
    let held = request.document().map(|held| held.id);
    request.intakes.iter().map(|intake| intake.document).chain(held)
}

/// A link that lives at most this long is not worth a warning before it expires.
const SHORT_LINK: time::Duration = time::Duration::hours(24);

/// The list of things to look at that a request stands in, if it does.
pub(crate) fn watches(request: &DocumentRequest) -> Option<Vec<u8>> {
    match &request.stage {
        Stage::Purged => {
            let rejected = request
                .tombstones
                .last()
                .is_some_and(|t| matches!(t.cause, PurgeCause::Rejected(_)));
            rejected.then(|| key(WATCH, &[&[WATCH_REJECTED], &place(request)]))
        }
        Stage::Held { document, delivery, .. } => {
            // Those are shown among others, or have reached the provider.
            let ours = !matches!(delivery.phase, Phase::NeedsAttention { .. } | Phase::AwaitingConfirmation { .. });
            ours.then(|| key(WATCH, &[&[WATCH_PURGE], &ms(document.purge_at), &request.id.0]))
        }
        Stage::Open { expiry_noted: false } => {
            let link = &request.link;
            let worth = link.revoked_at.is_none() && link.expires_at - link.issued_at > SHORT_LINK;
            worth.then(|| key(WATCH, &[&[WATCH_EXPIRY], &ms(link.expires_at), &request.id.0]))
        }
        _ => None,
    }
}
