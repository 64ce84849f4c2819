//! Sending what is due: one dispatch at a time, leased, tried again with growing pauses, and ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use time::{Duration, OffsetDateTime};

use crate::connectors::hook::WebhookOutcome;
use crate::connectors::mail::Letter;
use crate::crypto::random;
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::dispatch::{Body, Channel, Dispatch, Outcome};
use crate::workflow::{Portal, WorkflowError, seal};

use super::mail;

/// Nobody else touches a dispatch for this long; far longer than any try takes.
const LEASE: Duration = Duration::minutes(2);
/// Pauses between two tries of a webhook, from the Standard Webhooks specification. After the last one it has failed.
const HOOK_PAUSES: [Duration; 9] = [
    Duration::seconds(5),
    Duration::minutes(5),
    Duration::minutes(30),
    Duration::hours(2),
    Duration::hours(5),
    Duration::hours(10),
    Duration::hours(14),
    Duration::hours(20),
    Duration::hours(24),
];
/// Pauses between two tries of a mail; the last one repeats until the mail is not worth sending any more.
const MAIL_PAUSES: [Duration; 5] = [
    Duration::minutes(1),
    Duration::minutes(5),
    Duration::minutes(15),
    Duration::minutes(30),
    Duration::hours(1),
];

/// An answer that fails only after this long holds a dispatcher up.
const HUNG: std::time::Duration = std::time::Duration::from_secs(5);
const HUNG_IN_A_ROW: u32 = 3;
const LEFT_ALONE: Duration = Duration::minutes(1);

/// Receivers that hang: after three times in a row one is asked once a minute only, so that the dispatchers are there for the others.
#[derive(Default)]
pub struct Slow(Mutex<HashMap<String, (u32, OffsetDateTime)>>);

impl Slow {
    /// Whoever is told "no" asks for all of them.
    fn is_left_alone(&self, name: &str, now: OffsetDateTime) -> bool {
        let mut slow = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match slow.get_mut(name) {
            Some((hung, until)) if *hung >= HUNG_IN_A_ROW => {
                let alone = now < *until;
                if !alone {
                    *until = now + LEFT_ALONE;
                }
                alone
            }
            _ => false,
        }
    }

    fn note(&self, name: &str, hung: bool, now: OffsetDateTime) {
        let mut slow = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hung {
            let entry = slow.entry(name.to_owned()).or_insert((0, now));
            *entry = (entry.0 + 1, now + LEFT_ALONE);
        } else {
            slow.remove(name);
        }
    }
}

/// Sends the dispatch that has been due longest. `false`: none is.
pub(crate) async fn step(portal: &Portal) -> Result<bool, WorkflowError> {
    let until = portal.now() + LEASE;
    let Some(dispatch) = portal.outbox.claim_dispatch(until).await? else {
        return Ok(false);
    };
    let now = portal.now();
    // A mail with a link lives as long as that link, and an applicant's may have been given more time.
    let stale = now >= dispatch.give_up_at && !matches!(dispatch.body, Body::Sealed { .. });
    let (outcome, note) = if stale {
        (Outcome::Failed, "It could not be sent in time.".to_owned())
    } else {
        attempt(portal, &dispatch, now).await?
    };
    count(portal, &dispatch, &outcome);
    let event = audit_event(&dispatch, &outcome, portal.now());
    let ended = !matches!(outcome, Outcome::Again(_));
    let settled = portal
        .outbox
        .settle_dispatch(dispatch.id, dispatch.fence, outcome, note, event)
        .await?;
    // Somebody who dropped it meanwhile has destroyed its secret already.
    if settled && ended {
        mail::erase(portal, &dispatch).await;
    }
    Ok(true)
}

/// For the metrics: a receiver's name stands in the configuration.
fn count(portal: &Portal, dispatch: &Dispatch, outcome: &Outcome) {
    let (channel, receiver) = match &dispatch.channel {
        Channel::Hook(name) => ("webhook", name.as_str()),
        Channel::Mail => ("mail", "mail"),
    };
    let outcome = match outcome {
        Outcome::Sent => "sent",
        Outcome::Failed => "failed",
        Outcome::Dropped => "dropped",
        Outcome::Again(_) => "again",
    };
    portal.counters.dispatches.add([channel, receiver, outcome]);
}

async fn attempt(portal: &Portal, dispatch: &Dispatch, now: OffsetDateTime) -> Result<(Outcome, String), WorkflowError> {
    let gone = || (Outcome::Dropped, "Nobody is configured to take it any more.".to_owned());
    Ok(match (&dispatch.channel, &dispatch.body) {
        (Channel::Hook(name), Body::Event(json)) => {
            let Some(hook) = portal.outgoing.hooks.get(name) else {
                return Ok(gone());
            };
            let outcome = if portal.outgoing.slow.is_left_alone(name, now) {
                WebhookOutcome::Later {
                    why: "It did not answer lately, and is left alone for a minute.".to_owned(),
                    after: None,
                }
            } else {
                let start = Instant::now();
                let outcome = hook.send(&dispatch.id.to_string(), now.unix_timestamp(), json).await;
                let hung = matches!(outcome, WebhookOutcome::Later { .. }) && start.elapsed() >= HUNG;
                portal.outgoing.slow.note(name, hung, now);
                outcome
            };
            let pause = usize::try_from(dispatch.attempts).ok().and_then(|n| HOOK_PAUSES.get(n)).copied();
            map_outcome(outcome, pause, now)
        }
        (Channel::Mail, Body::ToAgent { agent, subject, text }) => {
            let Some(mailer) = &portal.outgoing.mailer else { return Ok(gone()) };
            let agent = seal::trusted(portal, portal.directory.agent(*agent).await)
                .await?
                .filter(|a| a.disabled_at.is_none());
            let Some(agent) = agent else {
                return Ok((Outcome::Dropped, "The agent does not work here any more.".to_owned()));
            };
            let letter = Letter {
                to: &agent.email,
                subject,
                text,
                language: mail::language(""),
                id: &dispatch.id.to_string(),
            };
            map_outcome(mailer.send(&letter).await, Some(mail_pause(dispatch.attempts)), now)
        }
        (Channel::Mail, Body::Sealed { .. }) => {
            let Some(mailer) = &portal.outgoing.mailer else { return Ok(gone()) };
            match mail::open(portal, dispatch).await? {
                mail::Opened::Stale => (Outcome::Dropped, "Not needed any more.".to_owned()),
                mail::Opened::Lost => (Outcome::Failed, "Its key is gone, so nobody can read it any more.".to_owned()),
                mail::Opened::NotYet(at) => (Outcome::Again(at), "The link lives longer now.".to_owned()),
                mail::Opened::Ready(content) => {
                    let letter = Letter {
                        to: &content.to,
                        subject: &content.subject,
                        text: &content.text,
                        language: mail::language(&content.language),
                        id: &dispatch.id.to_string(),
                    };
                    map_outcome(mailer.send(&letter).await, Some(mail_pause(dispatch.attempts)), now)
                }
            }
        }
        _ => (Outcome::Failed, "Its content does not fit its way.".to_owned()),
    })
}

fn mail_pause(attempts: u32) -> Duration {
    let place = usize::try_from(attempts).unwrap_or(usize::MAX).min(MAIL_PAUSES.len() - 1);
    MAIL_PAUSES[place]
}

fn map_outcome(outcome: WebhookOutcome, pause: Option<Duration>, now: OffsetDateTime) -> (Outcome, String) {
    match (outcome, pause) {
        (WebhookOutcome::Taken(status), _) => (Outcome::Sent, format!("Taken (status {status}).")),
        (WebhookOutcome::Never(why), _) | (WebhookOutcome::Later { why, .. }, None) => (Outcome::Failed, why),
        (WebhookOutcome::Later { why, after }, Some(pause)) => {
            let pause = (pause + jitter(pause)).max(after.unwrap_or_default());
            (Outcome::Again(now + pause), why)
        }
    }
}

/// Up to a tenth more, so that what failed together is not tried again together.
fn jitter(pause: Duration) -> Duration {
    let share = random::array::<1>().map_or(0.0, |[byte]| f64::from(byte) / 2_560.0);
    pause * share
}

/// What the log says of mail. Of webhooks it says nothing: they tell of the log.
fn audit_event(dispatch: &Dispatch, outcome: &Outcome, now: OffsetDateTime) -> Option<AuditEvent> {
    let action = match (&dispatch.channel, outcome) {
        (Channel::Mail, Outcome::Sent) => AuditAction::MailSent,
        (Channel::Mail, Outcome::Failed) => AuditAction::MailFailed,
        _ => return None,
    };
    let event = AuditEvent::new(now, Actor::Portal, action).with("kind", &dispatch.kind);
    Some(match dispatch.request {
        // What agents are told is no part of a request's story.
        Some(request) if matches!(dispatch.body, Body::Sealed { .. }) => event.on(request),
        _ => event,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_receiver_that_hangs_is_asked_once_a_minute() {
        let (slow, now) = (Slow::default(), datetime!(2026-01-02 03:04 UTC));
        for _ in 0..HUNG_IN_A_ROW {
            assert!(!slow.is_left_alone("a", now));
            slow.note("a", true, now);
        }
        assert!(slow.is_left_alone("a", now) && !slow.is_left_alone("b", now));
        let later = now + LEFT_ALONE;
        assert!(!slow.is_left_alone("a", later), "one try");
        assert!(slow.is_left_alone("a", later), "and no more until it has answered");
        slow.note("a", false, later);
        assert!(!slow.is_left_alone("a", later));
    }

    #[test]
    fn pauses_grow_and_end() {
        let now = datetime!(2026-01-02 03:04 UTC);
        let later = || WebhookOutcome::Later {
            why: "w".into(),
            after: None,
        };
        let mut before = Duration::ZERO;
        for pause in HOOK_PAUSES {
            let (Outcome::Again(at), _) = map_outcome(later(), Some(pause), now) else {
                panic!()
            };
            let waited = at - now;
            assert!(waited >= pause && waited <= pause * 1.1 && waited > before);
            before = waited;
        }
        assert_eq!(map_outcome(later(), None, now).0, Outcome::Failed);
        let asked = WebhookOutcome::Later {
            why: "w".into(),
            after: Some(Duration::minutes(50)),
        };
        assert_eq!(
            map_outcome(asked, Some(Duration::seconds(5)), now).0,
            Outcome::Again(now + Duration::minutes(50))
        );
        assert_eq!(
            map_outcome(WebhookOutcome::Never("n".into()), Some(Duration::HOUR), now).0,
            Outcome::Failed
        );
        assert_eq!(mail_pause(0), Duration::minutes(1));
        assert_eq!(mail_pause(4_000), Duration::HOUR);
    }
}
