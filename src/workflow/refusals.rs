//! What was refused at the listeners, for the audit log: who lacks a role, a scope or a team, keys that open nothing, other sites' forms, forged callbacks.
//!
//! Strangers can cause most of it, so two alike within a minute are one entry: the next entry says how many there were in between (`suppressed`).
//! What is alike (actor, action and every detail) comes from what the portal itself knows, never from what a stranger sends: neither the log nor the memory
//! grows with a flood. No address, no path and no name stands in an entry.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

use crate::chain::chain;
use crate::domain::audit::AuditEvent;

use super::Portal;

/// Two alike are written at most this often.
const EVERY: Duration = Duration::minutes(1);
/// Kinds remembered at once; there are a few for each account, key and provider.
const AT_MOST: usize = 10_000;

/// When each kind was written last, and how often it was not since then.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Kinds>);

#[derive(Default)]
struct Kinds {
    written: HashMap<String, LastEntry>,
    /// When what is over was last thrown away: looking through all of them takes its time.
    swept: Option<OffsetDateTime>,
}

struct LastEntry {
    at: OffsetDateTime,
    suppressed: u64,
}

impl Refusals {
    /// Writes a refusal down, unless one like it was within the minute. What was refused stays refused when the log cannot be written.
    pub(crate) async fn note(&self, portal: &Portal, event: AuditEvent) {
        let Some(event) = self.due(event) else { return };
        if let Err(error) = portal.audit.append(event).await {
            tracing::error!(error = %chain(&error), "a refusal could not be written to the audit log");
        }
    }

    /// The event with the count of those before it that were not written; `None`: it is to be counted alone.
    fn due(&self, event: AuditEvent) -> Option<AuditEvent> {
        let (kind, now) = (kind(&event), event.at);
        // A clock that was set back must not silence the log.
        let over = |last: &LastEntry| (now - last.at).abs() >= EVERY;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Kinds { written: kinds, swept } = &mut *state;
        if kinds.len() >= AT_MOST && !kinds.contains_key(&kind) {
            if swept.is_some_and(|at| (now - at).abs() < EVERY) {
                return None;
            }
            *swept = Some(now);
            kinds.retain(|_, last| !over(last));
            if kinds.len() >= AT_MOST {
                return None;
            }
        }
        let Some(last) = kinds.get_mut(&kind) else {
            kinds.insert(kind, LastEntry { at: now, suppressed: 0 });
            return Some(event);
        };
        if !over(last) {
            last.suppressed = last.suppressed.saturating_add(1);
            return None;
        }
        let before = std::mem::take(&mut last.suppressed);
        last.at = now;
        Some(if before == 0 { event } else { event.with("suppressed", before) })
    }
}

fn kind(event: &AuditEvent) -> String {
    let mut kind = format!("{} {}", event.actor, event.action);
    for (name, value) in &event.detail {
        let _ = write!(kind, " {name}={value}");
    }
    kind
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::agent::Actor;
    use crate::domain::audit::AuditAction;

    fn event(seconds: i64, what: &str) -> AuditEvent {
        let at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds);
        AuditEvent::new(at, Actor::Portal, AuditAction::AccessRefused).with("what", what)
    }

    #[test]
    fn a_flood_is_one_entry_a_minute_that_says_how_much_it_was() {
        let refusals = Refusals::default();
        assert_eq!(refusals.due(event(0, "role")), Some(event(0, "role")));
        assert_eq!((0..1_000).filter_map(|n| refusals.due(event(n % 60, "role"))).count(), 0);
        assert_eq!(refusals.due(event(59, "scope")), Some(event(59, "scope")), "another kind");
        assert_eq!(refusals.due(event(60, "role")), Some(event(60, "role").with("suppressed", 1_000)));
        assert_eq!(refusals.due(event(120, "role")), Some(event(120, "role")));
        assert!(refusals.due(event(-600, "role")).is_some(), "a clock set back silences nothing");
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let refusals = Refusals::default();
        let written = |at: i64| {
            let kinds = (0..AT_MOST + 100).filter(|n| refusals.due(event(at, &format!("{at} {n}"))).is_some());
            kinds.count()
        };
        assert_eq!(written(0), AT_MOST);
        assert_eq!(refusals.0.lock().unwrap().written.len(), AT_MOST);
        assert_eq!(written(61), AT_MOST, "what is over makes room");
    }
}
