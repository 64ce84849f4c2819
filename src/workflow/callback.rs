//! A provider calls. Its signature is checked over the raw body first; what it says is a hint: it makes the portal ask, and never decides anything by itself.

use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};

use crate::connectors::{Callback, CallbackRefused, Hint};
use crate::domain::document::ProviderName;
use crate::domain::id::RequestId;
use crate::domain::transition::Transition;
use crate::failpoint::{self, Failpoint};
use crate::storage::Filter;
use crate::workflow::terms;

use super::{Portal, WorkflowError};

/// Open requests of one applicant that a single callback can touch.
const NUDGES: usize = 50;

pub(crate) enum Answer {
    /// Taken, whether or not it concerns a document here: no oracle, no storm of repeats.
    Taken,
    Refused(CallbackRefused),
}

pub(crate) async fn take(portal: &Portal, provider: &ProviderName, callback: &Callback<'_>) -> Result<Answer, WorkflowError> {
    let Some(connector) = portal.providers.get(provider) else {
        return Ok(Answer::Refused(CallbackRefused::NotUsed));
    };
    let hints = match connector.callback(callback) {
        Ok(hints) => hints,
        Err(refused) => {
            portal.counters.callbacks_refused.fetch_add(1, Ordering::Relaxed);
            return Ok(Answer::Refused(refused));
        }
    };
    failpoint::pass(Failpoint::CallbackVerified);
    // The same signed body twice is one callback. A hint would be harmless anyway; this keeps a replay from costing calls to the provider.
    let mut sight = Sha256::new();
    sight.update(provider.as_str().as_bytes());
    sight.update([0]);
    sight.update(callback.query.as_bytes());
    sight.update([0]);
    sight.update((callback.body.len() as u64).to_be_bytes());
    sight.update(callback.body);
    // Sorted: headers come in no order of their own, and the same callback must look the same each time.
    let mut marks: Vec<&(String, String)> = callback
        .headers
        .iter()
        .filter(|(n, _)| n.contains("signature") || n == "webhook-id")
        .collect();
    marks.sort();
    for (name, value) in marks {
        for field in [name, value] {
            sight.update((field.len() as u64).to_be_bytes());
            sight.update(field.as_bytes());
        }
    }
    if !portal.requests.claim_callback_id(sight.finalize().into()).await? {
        return Ok(Answer::Taken);
    }
    for hint in hints {
        for request in concerned(portal, provider, hint).await? {
            portal.requests.transition(request, Transition::Nudge).await?;
        }
    }
    portal.wake.request_at(provider);
    Ok(Answer::Taken)
}

async fn concerned(portal: &Portal, provider: &ProviderName, hint: Hint) -> Result<Vec<RequestId>, WorkflowError> {
    match hint {
        Hint::Reference(reference) => Ok(portal.requests.by_reference(provider, &reference).await?.into_iter().collect()),
        Hint::Applicant(applicant) => {
            let index = terms::applicant_index(portal, &applicant);
            let filter = Filter {
                applicant_index: Some(index),
                ..Filter::default()
            };
            let page = portal.requests.list(&filter, None, NUDGES).await?;
            Ok(page
                .requests
                .into_iter()
                .filter(|r| r.provider == *provider && r.held().is_some())
                .map(|r| r.id)
                .collect())
        }
    }
}
