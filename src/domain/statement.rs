//! The statement that one person's data was erased: a short text, one `name: value` per line, that the crypto room signs.
//!
//! ```text
//! nightdrop erasure statement v1
//! at: 2026-01-02T03:04:05.678Z
//! by: key_…
//! subject: <SHA-256("nightdrop/v1/subject" ‖ 00 ‖ reference), hex>
//! complete: yes
//! erased: req_… provider sandbox passed-on yes receipts 12,13
//! pending: req_… sending
//! kept: deletion receipts by number, without a reference
//! kept: audit entries by request id, without a reference
//! kept: backups taken before, until they are deleted
//! ```
//! It does not name the person: whoever knows the reference can compute the line and compare.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::agent::Actor;
use super::delivery::PassedOn;
use super::document::{ApplicantRef, ProviderName};
use super::id::RequestId;

/// The first line.
pub const TITLE: &str = "nightdrop erasure statement v1";
const SUBJECT: &[u8] = b"nightdrop/v1/subject\0";

/// What stays of a person's requests, in words.
pub const KEPT: [&str; 3] = [
    "deletion receipts by number, without a reference",
    "audit entries by request id, without a reference",
    "backups taken before, until they are deleted",
];

/// Why something is not erased yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingReason {
    /// Its document may be on its way to the provider at this moment: it is destroyed as soon as that has ended, after fifteen minutes at the latest.
    Sending,
    /// An upload is being stopped.
    Upload,
    /// Something else is being done with it at this moment.
    Busy,
}

impl PendingReason {
    pub const ALL: [Self; 3] = [Self::Sending, Self::Upload, Self::Busy];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Upload => "upload",
            Self::Busy => "busy",
        }
    }
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its row and everything that was sealed in it is gone.
    Erased {
        /// Whether a document of it had reached the provider; `None` where none was ever received.
        passed_on: Option<PassedOn>,
        /// Numbers of its deletion receipts.
        receipts: Vec<u64>,
    },
    Pending(PendingReason),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedRequest {
    pub request: RequestId,
    pub provider: ProviderName,
    pub fate: Fate,
}

/// What was erased, when, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureStatement {
    pub at: OffsetDateTime,
    pub by: Actor,
    pub subject: [u8; 32],
    pub requests: Vec<ErasedRequest>,
    /// More of them are left than one run erases.
    pub more: bool,
}

/// What a statement says instead of a person's reference.
pub fn subject_of(reference: &ApplicantRef) -> [u8; 32] {
    Sha256::new()
        .chain_update(SUBJECT)
        .chain_update(reference.expose().as_bytes())
        .finalize()
        .into()
}

impl ErasureStatement {
    /// Whether nothing is left.
    pub fn complete(&self) -> bool {
        !self.more && self.requests.iter().all(|one| matches!(one.fate, Fate::Erased { .. }))
    }

    /// The text, ended by a line break.
    pub fn body(&self) -> String {
        let at = self.at.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default();
        let mut text = format!("{TITLE}\n");
        let mut put = |name: &str, value: &str| {
            let _ = writeln!(text, "{name}: {value}");
        };
        put("at", &at);
        put("by", &self.by.to_string());
        put("subject", &HEXLOWER.encode(&self.subject));
        put("complete", if self.complete() { "yes" } else { "no" });
        for one in &self.requests {
            match &one.fate {
                Fate::Erased { passed_on, receipts } => {
                    let passed_on = passed_on.as_ref().map_or("never-received", |passed_on| passed_on.as_str());
                    let numbers: Vec<_> = receipts.iter().map(u64::to_string).collect();
                    let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
                    put(
                        "erased",
                        &format!("{} provider {} passed-on {passed_on} receipts {numbers}", one.request, one.provider),
                    );
                }
                Fate::Pending(why) => put("pending", &format!("{} {}", one.request, why.as_str())),
            }
        }
        if self.more {
            put("pending", "more requests of this person");
        }
        KEPT.iter().for_each(|kept| put("kept", kept));
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_statement_tells_what_is_gone_what_waits_and_what_stays_and_names_nobody() {
        let reference = ApplicantRef::parse("acct_erika").unwrap();
        let of = |n: u8, fate: Fate| ErasedRequest {
            request: RequestId([n; 16]),
            provider: ProviderName::parse("sandbox").unwrap(),
            fate,
        };
        let mut statement = ErasureStatement {
            at: datetime!(2026-01-02 03:04:05 UTC),
            by: Actor::Operator,
            subject: subject_of(&reference),
            requests: vec![
                of(
                    1,
                    Fate::Erased {
                        passed_on: Some(PassedOn::Yes),
                        receipts: vec![12, 13],
                    },
                ),
                of(
                    2,
                    Fate::Erased {
                        passed_on: None,
                        receipts: Vec::new(),
                    },
                ),
            ],
            more: false,
        };
        assert!(statement.complete());
        let body = statement.body();
        assert!(body.contains("passed-on yes receipts 12,13\n") && body.contains("passed-on never-received receipts none\n"));
        assert!(body.contains("complete: yes\n") && !body.contains("erika"), "{body}");
        statement.requests.push(of(3, Fate::Pending(PendingReason::Sending)));
        assert!(!statement.complete() && statement.body().contains("complete: no\n"));
        statement.requests.pop();
        statement.more = true;
        assert!(!statement.complete());
    }
}
