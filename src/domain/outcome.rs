//! What has become of a request, as people ask for it: one word for the whole request, where the state is one word for the present step.
//!
//! A rejected document is purged like any other, so its request rests as *purged*; its outcome stays *rejected* until it is asked for again.

use time::OffsetDateTime;

use super::delivery::{PassedOn, Phase, PurgeCause};
use super::link::LinkState;
use super::request::{DocumentRequest, Stage};

text_enum! {
    /// See the module.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    Outcome {
        // The link waits for the applicant, or the document is on its way to the provider or waits for the verdict.
        InProgress = "in_progress",
        // A document is held, and only a person can help.
        NeedsAttention = "needs_attention",
        // A document is held for a provider that is served by hand: work to do, and no failure.
        ByHand = "by_hand",
        Confirmed = "confirmed",
        Rejected = "rejected",
        // The provider had it, and gave no verdict before the retention deadline.
        Unconfirmed = "unconfirmed",
        // The retention deadline came before the provider had it, as far as is known.
        Undelivered = "undelivered",
        // The scanner found malware in it.
        Infected = "infected",
        // An agent had it purged.
        PurgedByAgent = "purged_by_agent",
        // An agent withdrew the link before anything was received.
        Withdrawn = "withdrawn",
        // The link expired before anything was received.
        LinkExpired = "link_expired",
        // Its erasure secret was gone after an accident.
        Lost = "lost",
    }
}

impl Outcome {
    fn of_purge(cause: &PurgeCause, passed_on: PassedOn) -> Self {
        match (cause, passed_on) {
            (PurgeCause::Confirmed, _) => Self::Confirmed,
            (PurgeCause::Rejected(_), _) => Self::Rejected,
            (PurgeCause::Deadline, PassedOn::Yes) => Self::Unconfirmed,
            (PurgeCause::Deadline, PassedOn::No | PassedOn::Unknown) => Self::Undelivered,
            (PurgeCause::Agent, _) => Self::PurgedByAgent,
            (PurgeCause::Lost, _) => Self::Lost,
            (PurgeCause::Infected, _) => Self::Infected,
        }
    }
}

impl DocumentRequest {
    /// At an instant: an expired link is one before anybody has noted it.
    pub fn outcome(&self, now: OffsetDateTime) -> Outcome {
        match &self.stage {
            Stage::Open { .. } => match self.link_state(now) {
                LinkState::Revoked => Outcome::Withdrawn,
                // What began in time may go on for the grace.
                LinkState::Expired if !self.is_receiving() => Outcome::LinkExpired,
                LinkState::Expired | LinkState::Active | LinkState::Locked => Outcome::InProgress,
            },
            Stage::Held { .. } | Stage::Purging { .. } | Stage::Purged => self.resting_outcome(),
        }
    }

    /// As far as it does not depend on the time: what lists are kept by.
    pub fn resting_outcome(&self) -> Outcome {
        match &self.stage {
            Stage::Open { .. } if self.link.revoked_at.is_some() => Outcome::Withdrawn,
            Stage::Open { expiry_noted: true } if !self.is_receiving() => Outcome::LinkExpired,
            Stage::Open { .. } => Outcome::InProgress,
            Stage::Held { delivery, .. } => match &delivery.phase {
                Phase::NeedsAttention { .. } if self.waits_for_hand() => Outcome::ByHand,
                Phase::NeedsAttention { .. } => Outcome::NeedsAttention,
                Phase::Pending { .. } | Phase::Sending { .. } | Phase::Uncertain { .. } | Phase::AwaitingConfirmation { .. } => {
                    Outcome::InProgress
                }
            },
            Stage::Purging { cause, passed_on, .. } => Outcome::of_purge(cause, *passed_on),
            // A purged request has a tombstone.
            Stage::Purged => self
                .tombstones
                .last()
                .map_or(Outcome::Lost, |stone| Outcome::of_purge(&stone.cause, stone.passed_on)),
        }
    }
}
