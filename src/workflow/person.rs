//! What the portal holds of one person: a copy of it for them (article 15 of the GDPR), and its erasure (article 17) with a signed statement.
//!
//! A person is whoever a provider knows under a reference. Erasing goes the ways that there are: links are withdrawn, uploads and documents are destroyed under their
//! leases with their receipts, and then the row is forgotten. What may be on its way to a provider at this moment is not torn away; the statement names it, and
//! erasing once more ends it. What a provider has received is the provider's to erase.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use crate::crypto::statement;
use crate::domain::agent::{Actor, Team, sees};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::dispatch::Dispatch;
use crate::domain::document::{ApplicantRef, ProviderName};
use crate::domain::id::RequestId;
use crate::domain::receipt::SignedReceipt;
use crate::domain::request::{DocumentRequest, Stage};
use crate::domain::statement::{ErasedRequest, ErasureStatement, Fate, PendingReason, subject_of};
use crate::domain::transition::Transition;
use crate::storage::{Filter, StorageError};

use super::delivery::{LEASE, step_alone};
use super::intake::discard;
use super::outgoing::mail;
use super::query::requests::{Detail, detail};
use super::trusted::TrustedRequest;
use super::{Portal, WorkflowError, issue, purge, terms};

/// Requests that one run takes: far more than a person has, and a bound for the answer.
const AT_ONCE: usize = 500;
const PAGE: usize = 100;
/// Webhooks and mails that are shown of one request.
const DISPATCHES: usize = 500;
/// How long whoever works on a request at this moment is waited for, over all requests of the person: a purge takes milliseconds, a provider minutes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

/// Who is meant.
pub(crate) enum Who {
    Applicant(ApplicantRef),
    /// Whoever this request is for.
    Of(RequestId),
}

/// One person's requests, newest first, as far as whoever asks may see them.
struct Found {
    applicant: ApplicantRef,
    requests: Vec<DocumentRequest>,
    more: bool,
}

/// Whose data, at which provider (`None`: all), and which teams' requests (`None`: all).
pub(crate) struct PersonWanted {
    pub who: Who,
    pub provider: Option<ProviderName>,
    pub teams: Option<Vec<Team>>,
}

async fn find(portal: &Portal, wanted: PersonWanted) -> Result<Found, WorkflowError> {
    let applicant = match wanted.who {
        Who::Applicant(applicant) => applicant,
        Who::Of(id) => {
            let request = TrustedRequest::load(portal, id).await?;
            if wanted.teams.as_ref().is_some_and(|teams| !sees(teams, request.team.as_ref())) {
                return Err(WorkflowError::NotFound);
            }
            terms::applicant(portal, &request)?
        }
    };
    let filter = Filter {
        applicant_index: Some(terms::applicant_index(portal, &applicant)),
        provider: wanted.provider,
        teams: wanted.teams,
        ..Filter::default()
    };
    let (mut requests, mut after) = (Vec::new(), None);
    loop {
        let page = portal.requests.list(&filter, after, PAGE).await?;
        requests.extend(page.requests);
        after = page.next;
        if after.is_none() || requests.len() >= AT_ONCE {
            return Ok(Found {
                applicant,
                requests,
                more: after.is_some(),
            });
        }
    }
}

/// Everything that the portal holds of one person, but for documents and secrets.
pub(crate) struct Export {
    pub applicant: ApplicantRef,
    pub at: OffsetDateTime,
    pub requests: Vec<ExportedRequest>,
    /// There are more requests than one export holds.
    pub more: bool,
}

pub(crate) struct ExportedRequest {
    pub detail: Detail,
    pub message: Option<String>,
    pub return_url: Option<String>,
    /// Oldest first.
    pub receipts: Vec<SignedReceipt>,
    /// Numbers of receipts that do not verify any more.
    pub altered_receipts: Vec<u64>,
    pub dispatches: Vec<Dispatch>,
}

/// The audit log says that it was asked for before anything of it leaves.
pub(crate) async fn export(portal: &Portal, wanted: PersonWanted, by: Actor) -> Result<Export, WorkflowError> {
    let found = find(portal, wanted).await?;
    let event = AuditEvent::new(portal.now(), by, AuditAction::PersonExported);
    portal.audit.append(event.with("requests", found.requests.len())).await?;
    let mut requests = Vec::with_capacity(found.requests.len());
    for request in found.requests {
        requests.push(exported(portal, request).await?);
    }
    Ok(Export {
        applicant: found.applicant,
        at: portal.now(),
        requests,
        more: found.more,
    })
}

async fn exported(portal: &Portal, request: DocumentRequest) -> Result<ExportedRequest, WorkflowError> {
    let (message, return_url) = match TrustedRequest::of(portal, &request) {
        Ok(trusted) => (
            terms::opened_message(portal, &trusted)?,
            terms::opened_return_url(portal, &trusted)?,
        ),
        Err(_) => (None, None),
    };
    let (mut receipts, mut altered_receipts) = (Vec::new(), Vec::new());
    for stone in &request.tombstones {
        match purge::verified(portal, stone.receipt).await {
            Ok(receipt) => receipts.push(receipt),
            Err(WorkflowError::ReceiptAltered(number)) => altered_receipts.push(number),
            Err(error) => return Err(error),
        }
    }
    Ok(ExportedRequest {
        message,
        return_url,
        receipts,
        altered_receipts,
        dispatches: portal.outbox.dispatches(Some(request.id), None, DISPATCHES).await?.dispatches,
        detail: detail(portal, request).await?,
    })
}

/// What was erased, and the statement about it. It is kept nowhere: whoever asked keeps it.
pub(crate) struct Erased {
    pub statement: ErasureStatement,
    pub signed: String,
}

/// Erases what the portal holds of one person, as far as that is possible at this moment.
pub(crate) async fn erase(portal: &Arc<Portal>, wanted: PersonWanted, by: Actor) -> Result<Erased, WorkflowError> {
    let found = find(portal, wanted).await?;
    let patient_until = Instant::now() + PATIENCE;
    let mut requests = Vec::with_capacity(found.requests.len());
    for request in found.requests {
        requests.push(ErasedRequest {
            request: request.id,
            provider: request.provider.clone(),
            fate: erase_one(portal, request.id, by, patient_until).await?,
        });
    }
    let statement = ErasureStatement {
        at: portal.now(),
        by,
        subject: subject_of(&found.applicant),
        requests,
        more: found.more,
    };
    let signed = statement::sign(&portal.secrets, &statement.body());
    let pending = statement.requests.iter().filter(|one| matches!(one.fate, Fate::Pending(_))).count();
    let event = AuditEvent::new(statement.at, by, AuditAction::PersonErased)
        .with("erased", statement.requests.len() - pending)
        .with("pending", pending)
        .with("statement", HEXLOWER.encode(&Sha256::digest(signed.as_bytes())));
    portal.audit.append(event).await?;
    Ok(Erased { statement, signed })
}

/// One stage further at each turn, until nothing is left of it or it has to wait for longer than this run does.
async fn erase_one(portal: &Arc<Portal>, id: RequestId, by: Actor, patient_until: Instant) -> Result<Fate, WorkflowError> {
    let mut gone = Fate::Erased {
        passed_on: None,
        receipts: Vec::new(),
    };
    loop {
        let Some(request) = portal.requests.request(id).await? else {
            return Ok(gone);
        };
        gone = Fate::Erased {
            passed_on: request.tombstones.last().map(|stone| stone.passed_on),
            receipts: request.tombstones.iter().map(|stone| stone.receipt).collect(),
        };
        let waits_for = match &request.stage {
            Stage::Held {
                purge_requested: false, ..
            } => {
                unless_it_changed(issue::request_purge(portal, id, by).await)?;
                continue;
            }
            Stage::Open { .. } if request.link.revoked_at.is_none() => {
                unless_it_changed(issue::revoke(portal, id, by).await)?;
                continue;
            }
            Stage::Held { .. } | Stage::Purging { .. } => {
                if let Some(leased) = lease(portal, id).await? {
                    step_alone(portal, leased).await?;
                }
                PendingReason::Sending
            }
            Stage::Open { .. } | Stage::Purged if !request.intakes.is_empty() => {
                if discard::step(portal).await? {
                    continue;
                }
                PendingReason::Upload
            }
            Stage::Open { .. } | Stage::Purged => {
                mail::drop_stale(portal, &request).await?;
                if let Some(leased) = lease(portal, id).await? {
                    match portal.requests.forget(id, leased.fence).await {
                        Ok(()) | Err(StorageError::NotFound) => return Ok(gone),
                        // Somebody has issued a new link since it was read.
                        Err(StorageError::Refused(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                PendingReason::Busy
            }
        };
        let after = portal.requests.request(id).await?;
        if after.is_some_and(|after| after.stage == request.stage) {
            if Instant::now() >= patient_until {
                return Ok(Fate::Pending(waits_for));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// What was decided otherwise meanwhile is looked at again.
fn unless_it_changed<T>(done: Result<T, WorkflowError>) -> Result<(), WorkflowError> {
    match done {
        Ok(_) | Err(WorkflowError::Refused(_) | WorkflowError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `None` while somebody else works on it.
async fn lease(portal: &Portal, id: RequestId) -> Result<Option<DocumentRequest>, WorkflowError> {
    let until = portal.now() + LEASE;
    match portal.requests.transition(id, Transition::Lease { until }).await {
        Ok(request) => Ok(Some(request)),
        Err(StorageError::Refused(_) | StorageError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
