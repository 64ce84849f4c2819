//! What several connectors would otherwise each write down: how they read refusals of the usual shape, and how they number their requests.

use serde_json::Value;

use super::Failure;
use super::client::Answer;
use super::kinds::plain_id;
use super::words::Reason;

/// An earlier request of this delivery is still being worked on: nothing was stored by this one.
pub(crate) fn busy(answer: &Answer) -> Failure {
    answer.definite(
        "provider.busy",
        "The provider still works on an earlier try; it is tried again by itself.",
    )
}

/// Refused for a reason that lies in the document.
pub(crate) fn refused_for(reason: Reason) -> Failure {
    Failure::Final { problem: reason.problem() }
}

/// The body of a success, or the failure of a provider that names its errors by a code under `field`: 409 is busy, 413 too large, and a code goes with the
/// refusal. Everything else is what the status says.
pub(crate) fn success(answer: &Answer, field: &str) -> Result<Value, Failure> {
    let code = || answer.json().and_then(|body| body[field].as_str().and_then(plain_id));
    match answer.status {
        409 => Err(busy(answer)),
        413 => Err(refused_for(Reason::TooLarge)),
        400 | 422 => match code() {
            Some(code) => Err(answer.refused(&format!("The provider refused the request: {code}."))),
            None => answer.success(),
        },
        _ => answer.success(),
    }
}

/// The number of a part's request, for its keys and boundaries. More than 255 parts are never asked for.
pub(crate) fn call_number(part: usize) -> u8 {
    u8::try_from(part).unwrap_or(u8::MAX)
}
