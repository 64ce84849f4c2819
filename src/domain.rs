//! The nouns and their legal transitions. Pure: no async, no I/O, no clock (`now` is a parameter), no serde.
//!
//! A [`request::DocumentRequest`] is one aggregate: its link, what was dropped, its delivery and its
//! purge. [`transition`] is the only way to change one, and every change names the audit event it leaves.
//!
//! ```
//! # use nightdrop::testing::domain::delivery::ConfirmAt;
//! # use nightdrop::testing::domain::document::{DocumentKind, FileType, PartName, PartSpec, PictureLimits, ProviderName, SealedText};
//! # use nightdrop::testing::domain::id::RequestId;
//! # use nightdrop::testing::domain::link::UploadLink;
//! # use nightdrop::testing::domain::request::{Cleanup, DocumentRequest, Stage};
//! # use nightdrop::testing::domain::token::HashedToken;
//! use nightdrop::testing::domain::agent::Actor;
//! use nightdrop::testing::domain::audit::canonical;
//! use nightdrop::testing::domain::request::RequestState;
//! use nightdrop::testing::domain::transition::{AgentAction, IntakeStep, Refusal, Transition, apply};
//! use time::Duration;
//! # let now = time::macros::datetime!(2026-01-02 03:04 UTC);
//! # let request = DocumentRequest {
//! #     id: RequestId([1; 16]),
//! #     created_at: now,
//! #     created_by: Actor::Operator,
//! #     team: None,
//! #     provider: ProviderName::parse("sandbox").unwrap(),
//! #     applicant: SealedText(Vec::new()),
//! #     applicant_index: [0; 32],
//! #     search_words: Vec::new(),
//! #     ticket: None,
//! #     document: DocumentKind::parse("passport").unwrap(),
//! #     parts: vec![PartSpec {
//! #         name: PartName::parse("front").unwrap(),
//! #         accepted: vec![FileType::Jpeg],
//! #         min_bytes: 1,
//! #         max_bytes: 100,
//! #         pictures: PictureLimits::default(),
//! #     }],
//! #     locale: None,
//! #     message: None,
//! #     metadata: None,
//! #     return_url: None,
//! #     keep: Duration::days(7),
//! #     forget_after: Duration::days(90),
//! #     confirm: ConfirmAt::Received,
//! #     link: UploadLink {
//! #         hashed: HashedToken([0; 32]),
//! #         generation: 1,
//! #         issued_at: now,
//! #         expires_at: now + Duration::hours(72),
//! #         revoked_at: None,
//! #         passcode: None,
//! #         salt: None,
//! #         parts_received: 0,
//! #         opened_at: None,
//! #     },
//! #     terms_mac: [0; 32],
//! #     intakes: Vec::new(),
//! #     stage: Stage::Open { expiry_noted: false },
//! #     lease: None,
//! #     fence: 0,
//! #     cleanup: Cleanup::default(),
//! #     tombstones: Vec::new(),
//! #     notes: Vec::new(),
//! #     assigned: None,
//! # };
//!
//! // A request that was just issued, with a link for 72 hours.
//! assert_eq!(request.state(now), RequestState::Awaiting);
//! assert_eq!(request.state(now + Duration::hours(72)), RequestState::Expired);
//!
//! // An agent withdraws the link: the changed request comes back with what the audit log must say of it.
//! let (request, events) = apply(request, Transition::Agent { by: Actor::Operator, action: AgentAction::Revoke }, now).unwrap();
//! assert_eq!(request.state(now), RequestState::Revoked);
//! assert!(canonical(1, &events[0]).contains("link.revoked"));
//!
//! // A refusal is decided: the same call again changes nothing.
//! let refused = apply(request, Transition::Intake(IntakeStep::SpendPasscodeTry), now).unwrap_err();
//! assert_eq!(refused, Refusal::LinkRevoked);
//! ```

#![deny(clippy::wildcard_enum_match_arm)]

/// An enum whose variants have a stable text, under which they are stored and sent.
macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        pub enum $name {
            $($(#[$of])* $variant,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// `None` for a text that is none of this version.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) mod account;
pub(crate) mod agent;
pub(crate) mod assignment;
pub(crate) mod audit;
pub(crate) mod delivery;
pub(crate) mod dispatch;
pub(crate) mod document;
pub(crate) mod factors;
pub(crate) mod first_step;
pub(crate) mod id;
pub(crate) mod link;
pub(crate) mod list_order;
pub(crate) mod message;
pub(crate) mod outcome;
pub(crate) mod receipt;
pub(crate) mod received;
pub(crate) mod request;
pub(crate) mod saved_view;
pub(crate) mod statement;
pub(crate) mod token;
pub(crate) mod transition;
