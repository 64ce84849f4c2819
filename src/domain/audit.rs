//! The audit log: who did what and when, without personal data, each entry chained to the one before it.
//!
//! The chain is `SHA-256("nightdrop/v1/audit" ‖ 00 ‖ previous hash ‖ canonical line)`, starting from 32 zero bytes. The canonical line is
//! what an export prints, so a holder of the export can verify it offline with nothing but this formula.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::agent::Actor;
use super::id::RequestId;

mod action;

pub use action::AuditAction;

/// The hash that the first entry is chained to.
pub const GENESIS: [u8; 32] = [0; 32];

/// One thing that happened. `detail` holds words and numbers, never personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    pub at: OffsetDateTime,
    pub actor: Actor,
    pub action: AuditAction,
    pub request: Option<RequestId>,
    pub detail: Vec<(String, String)>,
}

impl AuditEvent {
    pub fn new(at: OffsetDateTime, actor: Actor, action: AuditAction) -> Self {
        Self {
            at,
            actor,
            action,
            request: None,
            detail: Vec::new(),
        }
    }

    pub fn on(mut self, request: RequestId) -> Self {
        self.request = Some(request);
        self
    }

    pub fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.detail.push((key.to_owned(), value.to_string()));
        self
    }
}

/// An event in its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// 1, 2, 3 … without gaps.
    pub sequence: u64,
    pub event: AuditEvent,
    pub hash: [u8; 32],
}

impl AuditEntry {
    /// Puts an event behind `previous`.
    pub fn chain(sequence: u64, previous: &[u8; 32], event: AuditEvent) -> Self {
        let hash = chain_hash("nightdrop/v1/audit", previous, canonical(sequence, &event).as_bytes());
        Self { sequence, event, hash }
    }
}

/// `SHA-256(domain ‖ 00 ‖ previous ‖ line)`: the one chaining rule of audit entries and deletion receipts.
pub fn chain_hash(domain: &str, previous: &[u8; 32], line: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(domain.as_bytes());
    hash.update([0]);
    hash.update(previous);
    hash.update(line);
    hash.finalize().into()
}

/// One line of tab-separated fields with control characters, tabs and backslashes escaped: the bytes that are chained.
pub fn canonical(sequence: u64, event: &AuditEvent) -> String {
    let mut line = String::new();
    let at = event.at.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default();
    let request = event.request.map(|r| r.to_string()).unwrap_or_default();
    let _ = write!(line, "{sequence}\t{at}\t{}\t", event.actor);
    escape(&mut line, event.action.as_str());
    let _ = write!(line, "\t{request}");
    for (key, value) in &event.detail {
        line.push('\t');
        escape(&mut line, key);
        line.push('=');
        escape(&mut line, value);
    }
    line
}

fn escape(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn event() -> AuditEvent {
        AuditEvent::new(datetime!(2026-01-02 03:04:05 UTC), Actor::Portal, AuditAction::DeliveryStarted).with("attempt", 1)
    }

    #[test]
    fn a_changed_entry_breaks_the_chain() {
        let first = AuditEntry::chain(1, &GENESIS, event());
        let second = AuditEntry::chain(2, &first.hash, event());
        let mut forged = event();
        forged.detail[0].1 = "2".into();
        let other = AuditEntry::chain(1, &GENESIS, forged);
        assert_ne!(first.hash, other.hash);
        assert_ne!(AuditEntry::chain(2, &other.hash, event()).hash, second.hash);
    }

    #[test]
    fn nothing_in_a_field_can_forge_another_field_or_line() {
        let tricky = event().with("x", "1\ty=2\nfake\\");
        let line = canonical(1, &tricky);
        assert_eq!(line.matches('\n').count(), 0);
        assert_eq!(line.matches('\t').count(), 6);
        assert!(line.ends_with("x=1\\u{9}y=2\\u{a}fake\\\\"));
    }
}
