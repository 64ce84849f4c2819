//! What an operator must hear of soon: a full disk, a lost document, a provider that is paused, refused sign-ins, limits that were reached.
//!
//! The same warning is written at most once a minute; the next one says how many were left out in between (`left_out`). What is the same is decided by words of this
//! file and names of the configuration, so that neither the log nor the memory grows with a flood. A text from outside cannot be given to it: it takes no text.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::document::ProviderName;
use crate::domain::id::RequestId;

/// The same is written at most this often.
const EVERY: Duration = Duration::from_secs(60);

/// Something that asks for a person. The log is one for the whole process, and so is what was written to it last.
#[derive(Clone, Debug)]
pub(crate) enum Warning {
    /// A document was not taken because there is no room on the disk, or no free erasure slot.
    NoRoom,
    /// A document was received and can never be opened again.
    DocumentLost { request: RequestId, provider: ProviderName },
    /// Nothing is sent to a provider for a while.
    ProviderPaused(ProviderName),
    /// Somebody was not who they should be.
    Refused(Refused),
    /// Somebody asked too often, or too much at once.
    Limited(Limited),
}

/// What somebody tried to get in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A password, a passkey, single sign-on.
    SignIn,
    /// A code or passkey behind a password.
    SecondFactor,
    ApiKey,
    /// The address of an upload page that was never made, or is nobody's any more.
    Link,
    Passcode,
    /// A one-time link to an account.
    Invitation,
}

impl Refused {
    /// Stable: filters of fail2ban name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::SecondFactor => "second_factor",
            Self::ApiKey => "api_key",
            Self::Link => "link",
            Self::Passcode => "passcode",
            Self::Invitation => "invitation",
        }
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// Applicants' pages from one address.
    Pages,
    /// Addresses of upload pages that do not exist, from one address.
    Links,
    /// Uploads at once, from one address or through one link.
    Uploads,
    /// Uploads at once over all.
    AllUploads,
    SignIn,
    ApiKey,
    /// Connections from one address.
    Connections,
}

impl Limited {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Links => "links",
            Self::Uploads => "uploads",
            Self::AllUploads => "all_uploads",
            Self::SignIn => "sign_in",
            Self::ApiKey => "api_key",
            Self::Connections => "connections",
        }
    }
}

/// An event, what it is about, and at which provider.
type Kind = (&'static str, &'static str, Option<ProviderName>);

/// When each kind was written last. There are a few for each provider.
#[derive(Default)]
struct Written(BTreeMap<Kind, Last>);

struct Last {
    at: Instant,
    left_out: u64,
}

static WRITTEN: LazyLock<Mutex<Written>> = LazyLock::new(Mutex::default);

impl Written {
    /// How many were left out since the last one; `None` where this one is.
    fn due(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        let Some(last) = self.0.get_mut(&kind) else {
            self.0.insert(kind, Last { at: now, left_out: 0 });
            return Some(0);
        };
        if now.duration_since(last.at) < EVERY {
            last.left_out = last.left_out.saturating_add(1);
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.left_out))
    }
}

impl Warning {
    fn kind(&self) -> Kind {
        match self {
            Self::NoRoom => ("no_room", "", None),
            Self::DocumentLost { provider, .. } => ("document_lost", "", Some(provider.clone())),
            Self::ProviderPaused(provider) => ("provider_paused", "", Some(provider.clone())),
            Self::Refused(what) => ("refused", what.as_str(), None),
            Self::Limited(what) => ("limited", what.as_str(), None),
        }
    }

    /// Writes it to the log, unless the same was written within the minute.
    pub(crate) fn write(self) {
        let due = WRITTEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .due(self.kind(), Instant::now());
        let Some(left_out) = due else { return };
        match self {
            Self::NoRoom => tracing::warn!(
                event = "no_room",
                left_out,
                "documents are refused: the disk is nearly full, or no erasure slot is free; see nightdrop doctor"
            ),
            Self::DocumentLost { request, provider } => tracing::error!(
                event = "document_lost",
                %request,
                %provider,
                left_out,
                "a received document cannot be opened any more and was not passed on: ask for it again"
            ),
            Self::ProviderPaused(provider) => tracing::warn!(
                event = "provider_paused",
                %provider,
                left_out,
                "the provider failed for several applicants in a row: sending pauses for a minute at a time, until an attempt succeeds"
            ),
            Self::Refused(what) => tracing::warn!(
                event = "refused",
                what = what.as_str(),
                left_out,
                "somebody was not let in; addresses are logged with log_addresses"
            ),
            Self::Limited(what) => tracing::warn!(
                event = "limited",
                what = what.as_str(),
                left_out,
                "somebody asked too often or too much at once"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_same_is_written_once_a_minute_with_the_count_of_what_was_left_out() {
        let mut written = Written::default();
        let start = Instant::now();
        let refused = |what| ("refused", what, None);
        let paused = |name: &str| ("provider_paused", "", ProviderName::parse(name));
        assert_eq!(written.due(refused("link"), start), Some(0));
        assert_eq!((0..500).filter_map(|_| written.due(refused("link"), start)).count(), 0);
        assert_eq!(written.due(refused("passcode"), start), Some(0), "another kind");
        assert_eq!(written.due(paused("a"), start), Some(0));
        assert_eq!(written.due(paused("b"), start), Some(0), "another provider");
        assert_eq!(written.due(paused("a"), start), None);
        assert_eq!(written.due(refused("link"), start + EVERY), Some(500));
        assert_eq!(written.due(refused("link"), start + EVERY * 2), Some(0));
        assert_eq!(written.0.len(), 4);
    }
}
