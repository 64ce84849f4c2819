//! The texts of the API as schemas: words out of a fixed list, made from the domain's own lists, and texts of a fixed form with the lengths that are enforced.
//!
//! A field of the API names one of them with `#[schema(value_type = …)]`. What stands here is compared with every body that comes in
//! ([`crate::http::extract::schema`]), so it is at once the description and the rule; the domain's parsers look once more.

use std::borrow::Cow;

use serde_json::Value;
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::agent::{Role, Scope};
use crate::domain::audit::AuditAction;
use crate::domain::dispatch::EventType;
use crate::domain::document::FileType;
use crate::domain::first_step::FirstStep;
use crate::domain::list_order::ListOrder;
use crate::domain::outcome::Outcome;
use crate::domain::request::RequestState;
use crate::domain::statement::PendingReason;
use crate::http::extract::json::accepted;
use crate::http::problems;
use crate::workflow::assignment::WantedAssignee;
use crate::workflow::issue::MESSAGE_MAX;
use crate::workflow::notes::NOTE_MAX;
use crate::workflow::query::first_steps::StepState;
use crate::workflow::sign_in::account::{NAME_MAX, PASSWORD_MAX, PASSWORD_MIN_SECOND, TEAMS};

/// A type for each schema; it is called in the document what it is called here, without its last word.
macro_rules! shapes {
    ($suffix:literal; $($name:ident = $schema:expr;)+) => {$(
        /// A schema: no value of it is ever made.
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                RefOr::T(Schema::from($schema))
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name).trim_end_matches($suffix))
            }
        }
    )+};
}

fn words<'a>(about: &str, words: impl IntoIterator<Item = &'a str>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .enum_values(Some(words))
        .build()
}

shapes! { "Word";
    RequestStateWord = words("Where a request stands.", RequestState::ALL.map(RequestState::as_str));
    OutcomeWord = words("What has become of a request. `unconfirmed`: purged at its deadline, and the provider has it. `undelivered`: purged at its deadline.",
        Outcome::ALL.iter().map(|outcome| outcome.as_str()));
    ListOrderWord = words("The order of a list. `expiry`: requests whose link can still be used, the one that ends soonest first; no others.",
        ListOrder::ALL.iter().map(|order| order.as_str()));
    FirstStepWord = words("What is to be done once with a new portal.", FirstStep::ALL.iter().map(|step| step.as_str()));
    TickableStepWord = words("A step that the portal cannot see.", FirstStep::ALL.iter().filter(|step| step.can_be_ticked()).map(|step| step.as_str()));
    FirstStepStateWord = words("`done`: the portal sees it; `ticked_off`: an admin said so; `only_sandbox`: of providers, none but for trying.",
        StepState::ALL.map(StepState::as_str));
    RoleWord = words("What an agent may do.", Role::ALL.map(Role::as_str));
    ScopeWord = words("What an API key may do: `requests` includes `read`, `admin` includes all.", Scope::ALL.map(Scope::as_str));
    DispatchKindWord = words("The type of a webhook's event, or which mail.",
        EventType::ALL.iter().map(|event| event.as_str()).chain(["mail.link", "mail.reminder", "mail.arrived", "mail.attention", "mail.digest"]));
    AuditActionWord = words("What was done, in a stable word.", AuditAction::ALL.iter().map(|action| action.as_str()));
    AuditFormatWord = words("Lines of JSON, or a table for spreadsheets.", ["jsonl", "csv"]);
    MediaTypeWord = words("A file's media type.", FileType::ALL.map(FileType::mime));
    ProblemCodeWord = words("Stable, for machines. What each means and what to do stands at the problem document's `type`.",
        problems::of_the_api().map(|known| known.code));
    LinkStateWord = words("`locked`: out of passcode tries.", ["active", "locked", "expired", "revoked", "consumed"]);
    DeliveryPhaseWord = words("Where a delivery stands.", ["pending", "sending", "uncertain", "awaiting_confirmation", "needs_attention"]);
    PurgeCauseWord = words("Why a document was destroyed.", ["confirmed", "rejected", "deadline", "agent", "lost", "infected"]);
    PassedOnWord = words("Whether the purged document had reached the provider.", ["yes", "no", "unknown"]);
    ErasureWord = words("Whether a request is erased.", ["erased", "pending"]);
    PendingWord = words("`sending`: its document may be on its way to the provider at this moment. `upload`: an upload is being stopped. `busy`: something else is being done with it.",
        PendingReason::ALL.map(PendingReason::as_str));
    DispatchStateWord = words("`dropped`: not needed any more.", ["waiting", "sent", "failed", "dropped"]);
    VaultKeyStateWord = words("`current`: new documents are sealed to it; `retired`: it only opens; `destroyed`: its private half is not here.",
        ["current", "retired", "destroyed"]);
    ProtectionWord = words("What protects the private half of a vault key.", ["passphrase", "key-file", "none"]);
    ClockStateWord = words("`ahead`: purging by deadline is suspended; `behind`: everything goes on.", ["right", "ahead", "behind"]);
    AssuranceClassWord = words("What erasing is worth on this disk.", ["A", "B", "C"]);
    ConfirmAtWord = words("When a document counts as confirmed and is purged.", ["received", "verdict"]);
    MailStateWord = words("`failed`: it could not be queued.", ["queued", "failed"]);
    ReminderStateWord = words("`too_close`: the link ends within 36 hours, and none is sent.", ["queued", "too_close"]);
    PasscodeStateWord = words("The code of the first answer opens the link no more: a fresh one was given, or its tries are used up.", ["replaced"]);
    ReturnAlgorithmWord = words("How the way back is signed.", ["HMAC-SHA256"]);
}

/// A text of 1 to `most` characters of a form, and that form in words.
fn text(about: &str, most: usize, pattern: &str, in_words: &str, example: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .min_length(Some(1))
        .max_length(Some(most))
        .pattern((!pattern.is_empty()).then_some(pattern))
        .examples([Value::from(example)])
        .extensions(Some(accepted(in_words)))
        .build()
}

fn id(about: &str, prefix: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .pattern(Some(format!("^{prefix}[0-9a-hjkmnp-tv-z]{{26}}$")))
        .examples([Value::from(format!("{prefix}02m0b3gk5t1q9h8v7n6c5x4z3a"))])
        .build()
}

fn hex(about: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .pattern(Some("^[0-9a-f]{64}$"))
        .examples([Value::from("5c".repeat(32))])
        .build()
}

fn formatted(about: &str, most: usize, format: SchemaFormat, example: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .max_length(Some(most))
        .format(Some(format))
        .examples([Value::from(example)])
        .build()
}

/// The longest text that is looked for: that of an applicant's reference.
pub(crate) const FIND_MAX: usize = 128;

/// Any text within its lengths.
fn free(about: &str, least: usize, most: usize) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .min_length((least > 0).then_some(least))
        .max_length(Some(most))
        .build()
}

fn teams() -> Array {
    ArrayBuilder::new()
        .items(TeamText::schema())
        .max_items(Some(TEAMS))
        .description(Some("Names of teams."))
        .build()
}

/// A word of the configuration: what `domain::document` takes as one.
const NAME: &str = "^[a-z0-9][a-z0-9-]*$";

shapes! { "Text";
    BackupFileText = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("An age file."))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
        .build();
    ProviderNameText = text("A configured provider's name; see `GET /providers`.", 64, NAME, "the name of a configured provider", "sandbox");
    DocumentKindText = text("A key of the document catalogue.", 64, NAME, "a key of the document catalogue", "passport");
    PartNameText = text("A part of a document.", 32, NAME, "a name of a-z, 0-9 and -", "front");
    TeamText = text("A team's name.", 64, NAME, "one name of a-z, 0-9 and -", "onboarding");
    ApplicantText = text("The provider's own id of the person.", 128, r"^[!$&(-.0-;=@-\[\]-_a-~]+$",
        "1 to 128 visible ASCII characters without spaces, quotes, slashes, ?, #, %, < and >", "cus_4711");
    TicketText = text("The help desk's case that it belongs to.", 64, "^[A-Za-z0-9#][A-Za-z0-9_.:#-]*$",
        "1 to 64 letters, digits and -_.:# such as ZD-4711", "ZD-4711");
    LocaleText = text("A language tag.", 35, "^[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*$", "a language tag such as \"en\" or \"pt-BR\"", "de");
    SpanText = text("A span of time with s, m, h or d.", 11, "^[0-9]{1,10}[smhd]$", "a span such as 36h or 7d", "36h");
    ActorText = text("Who did it: the id of an agent or API key, or `operator`, `portal` or `applicant`.", 30,
        "^(operator|portal|applicant|(agt|key)_[0-9a-zA-Z]{26})$", "the id of an agent or API key", "key_02m0b3gk5t1q9h8v7n6c5x4z3a");
    AssignedText = text("An agent's id; `me`: the agent who made the API key; `none`: nobody.", 30,
        "^(me|none|agt_[0-9a-zA-Z]{26})$", WantedAssignee::ACCEPTED, "me");
    EmailText = formatted("An e-mail address.", 254, SchemaFormat::KnownFormat(KnownFormat::Email), "james@example.com");
    UrlText = formatted("An address.", 2_000, SchemaFormat::Custom("uri".to_owned()), "https://app.example.com/back");
    MessageText = free("Plain text.", 0, MESSAGE_MAX);
    NoteText = free("Plain text, for colleagues.", 1, NOTE_MAX);
    FindText = free("Anything that a person has at hand.", 0, FIND_MAX);
    LabelText = free("What people call it.", 1, NAME_MAX);
    PasswordText = free("A password: a few words are fine, what guessers try first is not.", PASSWORD_MIN_SECOND, PASSWORD_MAX);
    TeamsText = teams();
    RequestIdText = id("A request.", "req_");
    DocumentIdText = id("A submission.", "doc_");
    AgentIdText = id("An agent.", "agt_");
    ApiKeyIdText = id("An API key, by its name and never by its secret.", "key_");
    DispatchIdText = id("A webhook or mail: the same for every try.", "msg_");
    HashText = hex("32 bytes in hex.");
    ReceiptReferenceText = text("The reference on an applicant's receipt.", 9, "^[0-9A-Z]{4}-[0-9A-Z]{4}$", "a reference such as 7XK2-9QPM", "7XK2-9QPM");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::domain::agent::{Actor, Team};
    use crate::domain::document::{ApplicantRef, DocumentKind, PartName, ProviderName, TicketRef};
    use crate::domain::id::{AgentId, ApiKeyId, DispatchId, RequestId};
    use crate::http::extract::json::Span;
    use crate::http::extract::schema::Shape;

    fn takes<T: ToSchema + 'static>(text: &str) -> bool {
        Shape::of::<T>().faults(&Value::from(text)).is_empty()
    }

    proptest! {
        #[test]
        fn a_text_fits_its_schema_exactly_if_the_domain_takes_it(
            text in prop_oneof!["[ -~]{0,6}", "[a-z0-9-]{0,70}", "[!-~]{120,132}", "[A-Za-z0-9_.:#-]{0,66}", "[0-9]{0,11}[smhdw]?", "[ä\n\t€]{1,2}"]
        ) {
            prop_assert_eq!(takes::<ProviderNameText>(&text), ProviderName::parse(&text).is_some());
            prop_assert_eq!(takes::<DocumentKindText>(&text), DocumentKind::parse(&text).is_some());
            prop_assert_eq!(takes::<PartNameText>(&text), PartName::parse(&text).is_some());
            prop_assert_eq!(takes::<TeamText>(&text), Team::parse(&text).is_some());
            prop_assert_eq!(takes::<TicketText>(&text), TicketRef::parse(&text).is_some());
            // A path that leads elsewhere is none of a provider's references, and no pattern's matter.
            if text != "." && text != ".." {
                prop_assert_eq!(takes::<ApplicantText>(&text), ApplicantRef::parse(&text).is_some());
            }
            // A span has a bound that no pattern knows.
            prop_assert!(takes::<SpanText>(&text) || Span::parse(&text).is_none());
        }

        #[test]
        fn every_id_fits_its_schema(bytes: [u8; 16]) {
            prop_assert!(takes::<RequestIdText>(&RequestId(bytes).to_string()));
            prop_assert!(takes::<AgentIdText>(&AgentId(bytes).to_string()));
            prop_assert!(takes::<ApiKeyIdText>(&ApiKeyId(bytes).to_string()));
            prop_assert!(takes::<DispatchIdText>(&DispatchId(bytes).to_string()));
            prop_assert!(takes::<ActorText>(&Actor::Agent(AgentId(bytes)).to_string()));
            prop_assert!(takes::<ActorText>(&Actor::ApiKey(ApiKeyId(bytes)).to_string()));
        }
    }
}
