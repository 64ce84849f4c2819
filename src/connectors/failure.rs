//! Why a provider was not reached, did not take a document, or could not be asked: sorted where it happened by whether the document may be there, and by
//! whose failure it is.

use time::Duration;

use super::SourceError;
use crate::domain::delivery::DeliveryProblem;

/// A failure, sorted where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Surely not stored: connection refused, TLS failed, 4xx or 429/503 whose documentation says so. `after`: the provider's Retry-After, capped at one hour.
    Definite {
        problem: DeliveryProblem,
        after: Option<Duration>,
        new_key: bool,
    },
    /// Perhaps stored: time-out, reset after the first byte, 5xx, unreadable answer.
    Ambiguous { problem: DeliveryProblem },
    /// Refused for good: repeating the same document cannot succeed.
    Final { problem: DeliveryProblem },
    /// The provider refuses this portal (credentials, permission), not this document.
    Credentials { problem: DeliveryProblem },
    /// Our own stored bytes are damaged and cannot be opened.
    Poison { problem: DeliveryProblem },
    /// Our own storage could not be read to the end: the provider got no whole request, and nothing is known to be wrong with the document.
    Unread { problem: DeliveryProblem },
    /// The lease is gone; another worker has the request.
    Lost,
}

/// Codes of failures that would not meet another applicant's document at the same provider, although they end like an outage.
const ABOUT_ONE_DOCUMENT: [&str; 5] = [
    // It still works on an earlier request of this delivery, or checks this applicant.
    "provider.busy",
    // It remembers something under this delivery's key.
    "provider.key_reused",
    "provider.stored_failure",
    // The address for this document has run out.
    "provider.upload_address_refused",
    // It answers, and does not show this document (yet).
    "provider.not_shown",
];

impl Failure {
    /// Whether it would meet every document at this provider now, rather than this document, this applicant or our own storage. Only such a failure says
    /// anything about when the next one may be sent.
    pub fn about_provider(&self) -> bool {
        match self {
            Self::Definite { problem, .. } | Self::Ambiguous { problem } => !ABOUT_ONE_DOCUMENT.contains(&problem.code.as_str()),
            Self::Credentials { .. } => true,
            Self::Final { .. } | Self::Poison { .. } | Self::Unread { .. } | Self::Lost => false,
        }
    }

    /// The failure of a question that was asked after the document had gone: whatever kept the answer away, the document may be there.
    pub fn after_sending(self) -> Self {
        match self {
            Self::Definite { problem, .. } | Self::Final { problem } | Self::Credentials { problem } => Self::Ambiguous { problem },
            Self::Ambiguous { .. } | Self::Poison { .. } | Self::Unread { .. } | Self::Lost => self,
        }
    }

    pub fn problem(&self) -> DeliveryProblem {
        match self {
            Self::Definite { problem, .. }
            | Self::Ambiguous { problem }
            | Self::Final { problem }
            | Self::Credentials { problem }
            | Self::Poison { problem }
            | Self::Unread { problem } => problem.clone(),
            Self::Lost => DeliveryProblem::new("delivery.superseded", "Another worker continued with this request."),
        }
    }

    /// The same where a person or a program asked and no request stands behind it: nothing is tried again by itself, and there is nothing to purge.
    pub fn when_asked(&self) -> DeliveryProblem {
        let mut problem = self.problem();
        for of_deliveries in [
            "; it is tried again by itself",
            "; it is asked again by itself",
            " Purge this request and ask again with the right one.",
        ] {
            problem.text = problem.text.replace(of_deliveries, "");
        }
        problem
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Transient(why) => Self::Unread { problem: unread(why) },
            SourceError::Final(why) => Self::Poison {
                problem: DeliveryProblem::new("document.cannot_be_opened", format!("The sealed document cannot be opened: {why}.")),
            },
        }
    }
}

/// What an agent is told while the portal's own storage cannot be read.
pub(crate) fn unread(why: &str) -> DeliveryProblem {
    DeliveryProblem::new(
        "storage.unavailable",
        format!("The portal's own storage cannot be read at the moment ({why}). The document is kept, and it is tried again by itself."),
    )
}

/// The provider took the request and answers, and what it shows does not hold the document: it is asked again before anything is believed.
pub(crate) fn not_shown() -> Failure {
    Failure::Ambiguous {
        problem: DeliveryProblem::new(
            "provider.not_shown",
            "The provider answered and does not show the document yet; whether it has it is being found out.",
        ),
    }
}

/// What [`Connector::missing`](super::Connector::missing) answers where the provider has no such call.
pub(crate) fn cannot_list() -> Failure {
    Failure::Final {
        problem: DeliveryProblem::new(
            "provider.cannot_list",
            "This provider cannot say what is missing. Pick the document from the catalogue.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_whether_it_is_about_the_provider() {
        let problem = |code: &str| DeliveryProblem::new(code, "words");
        let definite = |code: &str| Failure::Definite {
            problem: problem(code),
            after: None,
            new_key: false,
        };
        for code in [
            "provider.unavailable",
            "provider.unreachable",
            "provider.rate_limited",
            "provider.unreadable_answer",
        ] {
            assert!(
                definite(code).about_provider() && Failure::Ambiguous { problem: problem(code) }.about_provider(),
                "{code}"
            );
        }
        for code in ABOUT_ONE_DOCUMENT {
            assert!(
                !definite(code).about_provider() && !Failure::Ambiguous { problem: problem(code) }.about_provider(),
                "{code}"
            );
        }
        assert!(
            Failure::Credentials {
                problem: problem("provider.credentials")
            }
            .about_provider()
        );
        for own in [
            Failure::Final {
                problem: problem("provider.refused"),
            },
            Failure::Poison {
                problem: problem("document.cannot_be_opened"),
            },
            Failure::Unread { problem: unread("x") },
            Failure::Lost,
        ] {
            assert!(!own.about_provider(), "{own:?}");
        }
    }
}
