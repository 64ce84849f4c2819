//! What happens to requests, read from the audit log as it grows.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::cli::output::{Failure, Marks, Outcome};
use crate::crypto::receipt;
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::id::RequestId;
use crate::domain::request::RequestState;
use crate::workflow::Portal;

/// Entries read in one go.
const AT_ONCE: usize = 200;

/// One change of a request's state.
pub(super) struct Step {
    pub at: OffsetDateTime,
    pub request: RequestId,
    pub state: RequestState,
    action: AuditAction,
    detail: Vec<(String, String)>,
    /// Of a purge: its receipt.
    pub receipt: Option<Proof>,
}

/// A deletion receipt that was read back, signed and verified with the public key alone.
pub(super) struct Proof {
    pub number: u64,
    pub verified: bool,
    class: String,
    method: String,
}

/// Follows the log from its beginning.
pub(super) struct Tail {
    portal: Arc<Portal>,
    after: u64,
}

impl Tail {
    pub(super) fn new(portal: Arc<Portal>) -> Self {
        Self { portal, after: 0 }
    }

    /// What is new since the last look.
    pub(super) async fn look(&mut self) -> Outcome<Vec<Step>> {
        let mut steps = Vec::new();
        for entry in self.portal.audit.entries(self.after, AT_ONCE).await? {
            self.after = entry.sequence;
            if let Some(step) = self.step(entry).await? {
                steps.push(step);
            }
        }
        Ok(steps)
    }

    async fn step(&self, entry: AuditEntry) -> Outcome<Option<Step>> {
        let event = entry.event;
        let (Some(request), Some(state)) = (event.request, event.action.state()) else {
            return Ok(None);
        };
        let mut step = Step {
            at: event.at,
            request,
            state,
            action: event.action,
            detail: event.detail,
            receipt: None,
        };
        if state == RequestState::Purged {
            step.receipt = self.prove(&step).await?;
        }
        Ok(Some(step))
    }

    async fn prove(&self, step: &Step) -> Outcome<Option<Proof>> {
        let number = step
            .detail("receipt")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| Failure::new("a purge names no receipt"))?;
        let Some(stored) = self.portal.requests.deletion_receipt(number).await? else {
            return Ok(None);
        };
        let verified = receipt::verify(&stored.text, Some(&receipt::public_key(&self.portal.secrets)))
            .is_ok_and(|v| v.receipt.erasure.request == step.request && v.receipt.number == number);
        Ok(Some(Proof {
            number,
            verified,
            class: stored.receipt.erasure.class,
            method: stored.receipt.erasure.method,
        }))
    }
}

impl Step {
    fn detail(&self, name: &str) -> Option<&str> {
        self.detail.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        let mut detail: Map<String, Value> = self.detail.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect();
        let mut line = json!({
            "at": self.at.format(&Rfc3339).unwrap_or_default(),
            "request": self.request.to_string(),
            "state": self.state.as_str(),
            "event": self.action.as_str(),
        });
        if let Some(proof) = &self.receipt {
            detail.remove("receipt");
            line["receipt"] = json!({"number": proof.number, "verified": proof.verified, "class": proof.class, "method": proof.method});
        }
        if !detail.is_empty() {
            line["detail"] = Value::Object(detail);
        }
        line
    }

    pub(super) fn text(&self, marks: Marks) -> String {
        let mark = match self.state {
            RequestState::NeedsAttention | RequestState::Rejected => marks.note(),
            _ if self.receipt.as_ref().is_some_and(|r| !r.verified) => marks.bad(),
            _ => marks.good(),
        };
        let id = self.request.to_string();
        let id = marks.dim(&format!("…{}", &id[id.len() - 6..]));
        format!(
            "  {}  {mark} {:<22}{id}  {}",
            clock(self.at),
            self.state.as_str().replace('_', " "),
            self.story()
        )
    }

    fn story(&self) -> String {
        let detail = |name| self.detail(name).unwrap_or_default();
        match self.state {
            RequestState::Awaiting => format!("a link is out: {} for {}", detail("document"), detail("provider")),
            RequestState::Received => "every part is sealed and on the disk".to_owned(),
            RequestState::Forwarding => format!("opened chunk by chunk and sent, attempt {}", detail("attempt")),
            RequestState::AwaitingConfirmation => "the provider has it".to_owned(),
            RequestState::Confirmed => "the provider accepts it".to_owned(),
            RequestState::Rejected => format!("the provider does not want it: {}", detail("code")),
            RequestState::NeedsAttention => format!("a person must look: {}", detail("code")),
            RequestState::Purged => match &self.receipt {
                Some(proof) if proof.verified => format!(
                    "deletion receipt {} verified; class {}: {}",
                    proof.number, proof.class, proof.method
                ),
                Some(proof) => format!("deletion receipt {} does NOT verify", proof.number),
                None => "no deletion receipt was found".to_owned(),
            },
            _ => String::new(),
        }
    }
}

/// The time of day in UTC, to the millisecond.
pub(super) fn clock(at: OffsetDateTime) -> String {
    at.format(format_description!("[hour]:[minute]:[second].[subsecond digits:3]"))
        .unwrap_or_default()
}
