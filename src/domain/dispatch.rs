//! What leaves the portal about a request: webhooks to the company's systems, and mail. A dispatch waits in the store until it was taken, is tried again, and stays in
//! the log for a while.
//!
//! * What a webhook says holds no personal data. Mail to an applicant holds an address and the one-time link, so it is sealed under an erasure secret that is
//!   destroyed as soon as it was sent or is not needed any more; mail to an agent names no applicant.
//! * Dispatches of one channel with the same ordering key (one receiver, one request) are sent in the order in which the things happened. At least once: receivers know a repeat by its id.

use time::{Duration, OffsetDateTime};

use super::document::{SealedText, SlotRef};
use super::id::{AgentId, DispatchId, RequestId};

/// How long the log keeps what was sent or given up.
pub(crate) const KEPT: Duration = Duration::days(30);

macro_rules! event_types {
    ($($variant:ident = $text:literal, $sentence:literal;)+) => {
        text_enum! {
            /// The type of an event that receivers are sent. Its text is stable: receivers depend on it.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            EventType { $($variant = $text,)+ }
        }

        impl EventType {
            /// What people read of it in a chat or a mail.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)+
                }
            }
        }
    };
}

event_types! {
    RequestCreated = "request.created", "Link issued";
    RequestExtended = "request.extended", "Link extended";
    RequestReissued = "request.reissued", "New link issued";
    RequestRevoked = "request.revoked", "Link withdrawn";
    RequestExpired = "request.expired", "Link expired unused";
    RequestNeedsAttention = "request.needs_attention", "Needs attention";
    DocumentReceived = "document.received", "Document arrived";
    DocumentDelivered = "document.delivered", "The provider has the document";
    DocumentConfirmed = "document.confirmed", "Document confirmed";
    DocumentRejected = "document.rejected", "Document rejected by the provider";
    DocumentPurged = "document.purged", "Document destroyed";
    MailFailed = "mail.failed", "A mail could not be sent";
    AuditCheckpoint = "audit.checkpoint", "Audit checkpoint";
}

/// By which way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// A receiver of webhooks, by its name in the configuration.
    Hook(String),
    Mail,
}

impl std::fmt::Display for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hook(name) => write!(f, "hook:{name}"),
            Self::Mail => f.write_str("mail"),
        }
    }
}

impl Channel {
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("hook:") {
            Some(name) if !name.is_empty() => Some(Self::Hook(name.to_owned())),
            None if text == "mail" => Some(Self::Mail),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An event as JSON.
    Event(String),
    /// A mail to an agent, whose address is looked up when it is sent.
    ToAgent { agent: AgentId, subject: String, text: String },
    /// A mail with a one-time link, to an applicant or an agent who is invited.
    Sealed { slot: SlotRef, sealed: SealedText },
    /// Sent or dropped: nothing of it is left.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next try is at this instant, once everything before it with its ordering key is done.
    Waiting(OffsetDateTime),
    Sent(OffsetDateTime),
    /// Out of tries, or refused for good.
    Failed(OffsetDateTime),
    /// Not needed any more.
    Dropped(OffsetDateTime),
}

impl Progress {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting(_) => "waiting",
            Self::Sent(_) => "sent",
            Self::Failed(_) => "failed",
            Self::Dropped(_) => "dropped",
        }
    }

    pub fn ended_at(self) -> Option<OffsetDateTime> {
        match self {
            Self::Waiting(_) => None,
            Self::Sent(at) | Self::Failed(at) | Self::Dropped(at) => Some(at),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    pub id: DispatchId,
    pub channel: Channel,
    /// What must stay in order with one another.
    pub ordering_key: [u8; 16],
    /// Place among those with the same ordering key.
    pub order: u64,
    /// The event's type (`document.received`), or what kind of mail it is (`mail.link`).
    pub kind: String,
    pub request: Option<RequestId>,
    /// The link that a mail carries.
    pub generation: u32,
    pub created_at: OffsetDateTime,
    /// After this it is not worth sending.
    pub give_up_at: OffsetDateTime,
    /// Failed tries.
    pub attempts: u32,
    /// Grows with every try; who comes back with an older one has lost it.
    pub fence: u64,
    /// How the last try ended, in words without content, address or secret.
    pub last: Option<String>,
    pub body: Body,
    pub progress: Progress,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent,
    Failed,
    Dropped,
    Again(OffsetDateTime),
}

impl Dispatch {
    /// A try is over. What only the sending needed is gone with its end; an event stays, so that it can be sent again.
    pub fn end(&mut self, outcome: &Outcome, note: String, now: OffsetDateTime) {
        self.last = Some(note);
        self.progress = match outcome {
            Outcome::Sent => Progress::Sent(now),
            Outcome::Failed => Progress::Failed(now),
            Outcome::Dropped => Progress::Dropped(now),
            Outcome::Again(at) => Progress::Waiting(*at),
        };
        match outcome {
            Outcome::Again(_) => self.attempts += 1,
            Outcome::Sent | Outcome::Failed | Outcome::Dropped => {
                if !matches!(self.body, Body::Event(_)) {
                    self.body = Body::Gone;
                }
            }
        }
    }

    /// Whether a person can have it sent again.
    pub fn repeatable(&self) -> bool {
        matches!(self.body, Body::Event(_)) && self.progress.ended_at().is_some()
    }
}
