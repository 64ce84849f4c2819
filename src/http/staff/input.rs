//! What agents and machines give in, read into what the workflow takes: every field that does not fit is named, with what does.

use serde::Deserialize;
use time::Duration;
use utoipa::ToSchema;

use crate::domain::agent::{Actor, Role, Scope};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName, ProviderName, TicketRef};
use crate::domain::list_order::ListOrder;
use crate::domain::outcome::Outcome;
use crate::domain::request::RequestState;
use crate::http::error::Problem;
use crate::http::extract::form::{Form, keeps};
use crate::http::extract::json::{self, Instant, Span};
use crate::http::staff::shapes::{
    ActorText, ApplicantText, AssignedText, DocumentKindText, EmailText, FIND_MAX, FindText, ListOrderWord, LocaleText, MessageText,
    OutcomeWord, PartNameText, ProviderNameText, RequestStateWord, SpanText, TicketText, UrlText,
};
use crate::workflow::Portal;
use crate::workflow::assignment::WantedAssignee;
use crate::workflow::issue::{Ask, Expiry};
use crate::workflow::link_message::MailWish;
use crate::workflow::outgoing::mail;
use crate::workflow::query::requests::Wanted;

/// A request for a document.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"provider": "sandbox", "applicant": "cus_4711", "document": "passport", "expires_in": "72h", "locale": "de", "ticket": "ZD-4711"})))]
pub(crate) struct NewRequest {
    /// A configured provider's name; see `GET /providers`.
    #[schema(value_type = ProviderNameText)]
    pub provider: String,
    /// The provider's own id of the person: 1 to 128 visible ASCII characters without quotes, slashes, `?`, `#`, `%`, `<`, `>`.
    #[schema(value_type = ApplicantText)]
    pub applicant: String,
    /// A key of the catalogue, such as `government-id`.
    #[schema(value_type = DocumentKindText)]
    pub document: String,
    /// Some of the kind's parts; all of them unless given.
    #[schema(value_type = Option<Vec<PartNameText>>, min_items = 1)]
    pub parts: Option<Vec<String>>,
    pub expires_in: Option<Span>,
    pub expires_at: Option<Instant>,
    /// Ask for a six-digit code, which is told by telephone.
    #[serde(default)]
    pub passcode: Option<bool>,
    /// The applicant's language, a tag such as `de` or `pt-BR`.
    #[schema(value_type = Option<LocaleText>)]
    pub locale: Option<String>,
    /// A note to the applicant, plain text.
    #[schema(value_type = Option<MessageText>)]
    pub message: Option<String>,
    /// An address of a host in `hosted.return_hosts`. After the drop the applicant is sent back there, with `nightdrop_request`, `nightdrop_state`, `nightdrop_at` and
    /// `nightdrop_signature` added to its query; see `GET /return-key`.
    #[schema(value_type = Option<UrlText>)]
    pub return_url: Option<String>,
    /// Send the link there by e-mail. Kept sealed until it was sent, and in no log.
    #[schema(value_type = Option<EmailText>)]
    pub email: Option<String>,
    /// Remind by e-mail a day before the link expires, if nothing has come.
    #[serde(default)]
    pub remind: Option<bool>,
    /// The help desk's case that it belongs to, such as `ZD-4711`: 1 to 64 letters, digits and `-_.:#`. Sealed at rest; outgoing events carry it.
    #[schema(value_type = Option<TicketText>)]
    pub ticket: Option<String>,
    /// Anything of the caller's own, up to 4096 bytes; sealed at rest.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

impl NewRequest {
    /// All fields that cannot be read, at once.
    pub(crate) fn into_ask(self) -> Result<Ask, Problem> {
        let mut faults: Vec<(&'static str, String)> = Vec::new();
        let mut fault = |field, fix: &str| faults.push((field, fix.to_owned()));
        let provider = ProviderName::parse(&self.provider);
        let applicant = ApplicantRef::parse(&self.applicant);
        let document = DocumentKind::parse(&self.document);
        let parts = self
            .parts
            .map(|names| names.iter().map(|n| PartName::parse(n)).collect::<Option<Vec<_>>>());
        if provider.is_none() {
            fault("provider", "must be the name of a configured provider");
        }
        if applicant.is_none() {
            fault(
                "applicant",
                "must be 1 to 128 visible ASCII characters without spaces, quotes, slashes, ?, #, %, < and >",
            );
        }
        if document.is_none() {
            fault("document", "must be a key of the document catalogue");
        }
        if matches!(parts, Some(None)) {
            fault("parts", "must be names of a-z, 0-9 and -");
        }
        let ticket = self.ticket.as_deref().map(TicketRef::parse);
        if matches!(ticket, Some(None)) {
            fault("ticket", "must be 1 to 64 letters, digits and -_.:# such as ZD-4711");
        }
        let expires = json::expiry(self.expires_in, self.expires_at).unwrap_or_else(|_| {
            fault("expires_in", "not together with expires_at");
            Expiry::Default
        });
        let (Some(provider), Some(applicant), Some(document), true) = (provider, applicant, document, faults.is_empty()) else {
            return Err(Problem::fields(faults));
        };
        Ok(Ask {
            provider,
            applicant,
            document,
            parts: parts.flatten(),
            expires,
            passcode: self.passcode.unwrap_or(false),
            locale: self.locale,
            message: self.message,
            return_url: self.return_url,
            ticket: ticket.flatten(),
            metadata: self.metadata.map(|m| serde_json::Value::Object(m).to_string()),
        })
    }
}

/// An address and a wish to remind: both are checked before anything is issued.
pub(crate) fn mail_wish(portal: &Portal, to: Option<String>, remind: Option<bool>) -> Result<MailWish, Problem> {
    let remind = remind.unwrap_or(false);
    match &to {
        Some(address) => mail::check_address(portal, address)?,
        None if remind => return Err(Problem::invalid("remind needs an e-mail address.").field("email", "is needed to remind")),
        None => {}
    }
    Ok(MailWish { to, remind })
}

/// The filter of a search; every field is optional.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"state": "needs_attention", "older_than": "7d"}), json!({"find": "ZD-4711"})))]
pub(crate) struct Search {
    #[schema(value_type = Option<RequestStateWord>)]
    pub state: Option<String>,
    /// What has become of it: in_progress, needs_attention, confirmed, rejected, unconfirmed, undelivered, infected, purged_by_agent, withdrawn, link_expired or lost.
    #[schema(value_type = Option<OutcomeWord>)]
    pub outcome: Option<String>,
    /// Anything that a person has at hand: the request's id, the reference on the applicant's receipt, the ticket, the applicant's reference or its first four characters
    /// at least. Alone, without the other fields.
    #[schema(value_type = Option<FindText>)]
    pub find: Option<String>,
    #[schema(value_type = Option<ProviderNameText>)]
    pub provider: Option<String>,
    #[schema(value_type = Option<ApplicantText>)]
    pub applicant: Option<String>,
    /// Who issued it: an agent's or API key's id.
    #[schema(value_type = Option<ActorText>)]
    pub agent: Option<String>,
    /// To whom it is assigned: an agent's id, `me` (the agent who made the API key), or `none`. What was assigned to somebody who works on it no more is found by both their id
    /// and `none`.
    #[schema(value_type = Option<AssignedText>)]
    pub assigned: Option<String>,
    /// Issued longer ago than this, such as `36h` or `7d`.
    #[schema(value_type = Option<SpanText>)]
    pub older_than: Option<String>,
    /// `newest` first unless given; `oldest` first; or by `expiry`: requests whose link can still be used, the one that ends soonest first. Not together with `find`.
    #[schema(value_type = Option<ListOrderWord>)]
    pub sort: Option<String>,
    pub cursor: Option<String>,
    #[schema(minimum = 1, maximum = 200)]
    pub limit: Option<u16>,
}

keeps! {
    /// Of a search, as the console's forms send it.
    SearchFields: "state" "outcome" "find" "provider" "applicant" "agent" "assigned" "older_than" "sort" "cursor";
}

impl Search {
    /// As the console's forms send it.
    pub(crate) fn of(form: &Form) -> Self {
        Self {
            state: form.filled("state"),
            outcome: form.filled("outcome"),
            find: form.filled("find"),
            provider: form.filled("provider"),
            applicant: form.filled("applicant"),
            agent: form.filled("agent"),
            assigned: form.filled("assigned"),
            older_than: form.filled("older_than"),
            sort: form.filled("sort"),
            cursor: form.filled("cursor"),
            limit: None,
        }
    }

    /// All conditions that cannot be read, at once.
    pub(crate) fn wanted(&self) -> Result<Wanted, Problem> {
        let mut faults: Vec<(&'static str, String)> = Vec::new();
        fn parsed<T>(
            faults: &mut Vec<(&'static str, String)>,
            text: &Option<String>,
            name: &'static str,
            accepted: &str,
            parse: impl Fn(&str) -> Option<T>,
        ) -> Option<T> {
            let parsed = parse(text.as_deref().filter(|t| !t.is_empty())?);
            if parsed.is_none() {
                faults.push((name, format!("must be {accepted}")));
            }
            parsed
        }
        let outcomes = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect::<Vec<_>>().join(", ");
        let states = RequestState::ALL.map(RequestState::as_str).join(", ");
        let orders = ListOrder::ALL.iter().map(|order| order.as_str()).collect::<Vec<_>>().join(", ");
        let all = &mut faults;
        let age = parsed(all, &self.older_than, "older_than", "a span such as 36h or 7d", Span::parse);
        let wanted = Wanted {
            applicant: parsed(all, &self.applicant, "applicant", "an applicant's reference", ApplicantRef::parse),
            find: self.find.clone().filter(|text| !text.trim().is_empty()),
            outcome: parsed(all, &self.outcome, "outcome", &format!("one of {outcomes}"), Outcome::parse),
            state: parsed(all, &self.state, "state", &format!("one of {states}"), RequestState::parse),
            provider: parsed(all, &self.provider, "provider", "a provider's name", ProviderName::parse),
            created_by: parsed(all, &self.agent, "agent", "the id of an agent or API key", Actor::parse),
            assigned: parsed(all, &self.assigned, "assigned", WantedAssignee::ACCEPTED, WantedAssignee::parse),
            older_than: age.map(|Span(age): Span| -> Duration { age }),
            order: parsed(all, &self.sort, "sort", &format!("one of {orders}"), ListOrder::parse).unwrap_or_default(),
            cursor: self.cursor.clone().filter(|cursor| !cursor.is_empty()),
            teams: None,
            me: None,
        };
        let others = [
            &self.state,
            &self.outcome,
            &self.provider,
            &self.applicant,
            &self.agent,
            &self.assigned,
            &self.older_than,
            &self.sort,
        ];
        if wanted.find.is_some() && others.iter().any(|other| other.as_deref().is_some_and(|text| !text.is_empty())) {
            all.push(("find", "must be alone, without other conditions".to_owned()));
        }
        if wanted.find.as_ref().is_some_and(|text| text.len() > FIND_MAX) {
            all.push(("find", "must be at most 128 characters".to_owned()));
        }
        match faults.is_empty() {
            true => Ok(wanted),
            false => Err(Problem::fields(faults)),
        }
    }
}

pub(crate) fn role(text: &str) -> Result<Role, Problem> {
    Role::parse(text).ok_or_else(|| Problem::field_must("role", &format!("one of {}", Role::ALL.map(Role::as_str).join(", "))))
}

pub(crate) fn scopes(texts: &[String]) -> Result<Vec<Scope>, Problem> {
    let scopes = texts.iter().map(|s| Scope::parse(s)).collect::<Option<Vec<_>>>();
    let mut scopes = scopes.ok_or_else(|| Problem::field_must("scopes", "some of read, requests, audit, admin"))?;
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}
