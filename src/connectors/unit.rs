//! Unit: the provider lists each document that it wants, with an id; the bytes are put to that id. Class P.
//!
//! * The applicant reference is the application's id, or `<application>,<document>` where an application wants several documents of one type
//!   (a business and its owners). The missing list always names the second form.
//! * `PUT …/documents/{id}` with the file as the body, and `…/back` for the other side. A PUT overwrites itself, so a repeat is harmless;
//!   the id is noted before the first byte (step `slot`) and never looked for again in the same attempt.
//! * The answer to the last PUT already has the new state, which may be final.
//! * The list holds social security numbers and birthdays: it is read for ids, types and states, and dropped.
//!
//! Unverified: the live address (`base_url` has the sandbox's as default), rate limits, and whether a document that was already approved refuses a further PUT
//! (a refusal after an earlier try of ours is therefore looked up before it counts).

use async_trait::async_trait;
use reqwest::Method;
use serde_json::Value;
use time::Duration;

use super::body::{Body, Segment};
use super::client::{Answer, Call, Client};
use super::kinds::{Kinds, missing, part_names, plain_id, sides, unsupported, wrong_reference};
use super::settings::{Common, Defaults};
use super::shape::percent;
use super::sign::{self, Algorithm, Encoding};
use super::words::Reason;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, WrongReference, not_shown,
};
use crate::domain::delivery::{ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName};
use crate::settings::{ConfigError, Reader, Secret};

/// From the SDK's list of document types.
const TYPES: [(&str, &str); 7] = [
    ("government-id", "IdDocument"),
    ("drivers-license", "IdDocument"),
    ("passport", "Passport"),
    ("proof-of-address", "AddressVerification"),
    ("company-registration", "CertificateOfIncorporation"),
    ("selfie", "SelfieVerification"),
    ("bank-statement", "ClientRequested"),
];
/// The provider's own; a business's certificate has no other side.
const TWO_SIDED: [&str; 2] = ["IdDocument", "Passport"];

#[derive(Debug)]
pub(crate) struct UnitSettings {
    pub common: Common,
    pub api_key: Secret,
    pub types: Kinds,
}

impl UnitSettings {
    /// Keys: the common ones, `api_key_file`, `types` (`{licence = "ClientRequested" }`).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let defaults = Defaults::of("https://api.s.unit.sh", 20_000_000);
        let common = Common::read(reader, &defaults);
        let api_key = reader.required_secret("api_key_file", "the API key");
        let types = Kinds::read(reader, "types", &TYPES);
        Self { common, api_key, types }
    }
}

pub(crate) struct Unit {
    settings: UnitSettings,
    client: Client,
}

/// One entry of the provider's list, without anything about a person.
#[derive(Debug)]
struct Slot {
    id: String,
    kind: String,
    status: String,
    reason: String,
    description: String,
    archived: bool,
}

impl Slot {
    fn read(entry: &Value) -> Option<Self> {
        let text = |name: &str| entry["attributes"][name].as_str().unwrap_or_default().to_owned();
        Some(Self {
            id: plain_id(entry["id"].as_str()?)?,
            kind: text("documentType"),
            status: text("status"),
            reason: text("reasonCode"),
            description: text("description"),
            archived: entry["attributes"]["archived"].as_bool().unwrap_or_default(),
        })
    }

    /// The sides that are still wanted.
    fn wants(&self) -> Option<&'static [&'static str]> {
        match self.status.as_str() {
            _ if self.archived => None,
            "Required" | "Invalid" if TWO_SIDED[0] == self.kind => Some(&["front", "back"]),
            "Required" | "Invalid" => Some(&["front"]),
            "ReceivedFront" => Some(&["back"]),
            "ReceivedBack" => Some(&["front"]),
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        match self.status.as_str() {
            "Approved" => Verdict::Accepted,
            "Invalid" => Verdict::Rejected(reason(&self.reason).problem()),
            _ => Verdict::Pending,
        }
    }

    /// Whether so many sides have arrived, as far as the state tells. States that are not documented count as progress.
    fn holds(&self, sides: usize) -> bool {
        match self.status.as_str() {
            "" | "Required" => false,
            "ReceivedFront" | "ReceivedBack" => sides == 1,
            _ => true,
        }
    }

    fn is_with_provider(&self) -> bool {
        matches!(self.status.as_str(), "PendingReview" | "Approved")
    }
}

fn reason(code: &str) -> Reason {
    match code {
        "PoorQuality" => Reason::Unreadable,
        "NameMismatch" | "SSNMismatch" | "AddressMismatch" | "DOBMismatch" | "EINMismatch" | "StateMismatch" => Reason::Mismatch,
        "ExpiredId" => Reason::Expired,
        other => Reason::guess(other),
    }
}

impl Unit {
    pub(crate) fn new(settings: UnitSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    fn authenticate(&self, call: Call) -> Call {
        call.bearer(self.settings.api_key.expose())
            .header("accept", "application/vnd.api+json")
    }

    async fn slots(&self, application: &str) -> Result<Vec<Slot>, Failure> {
        let path = format!("/applications/{}/documents", percent(application));
        let answer = self
            .client
            .send(self.authenticate(Call::asking(Method::GET, self.client.url(&path))))
            .await?;
        let body = answer.success()?;
        let list = body["data"].as_array().ok_or_else(|| answer.unreadable())?;
        Ok(list.iter().filter_map(Slot::read).collect())
    }

    /// The place for this document: named by the reference, or the only one of its type that is wanted.
    fn choose<'a>(&self, outbound: &OutboundDocument, slots: &'a [Slot], named: Option<&str>) -> Result<&'a Slot, Failure> {
        let kind = self.settings.types.required(outbound)?;
        if let Some(named) = named {
            // What the client's own rules ask for has no type of its own.
            let fits = |slot: &&Slot| slot.id == named && !slot.archived && (slot.kind == kind || slot.kind == "ClientRequested");
            let slot = slots.iter().find(fits);
            return slot.ok_or_else(|| wrong_reference("its document is not in the application's list, or is one of another kind"));
        }
        let of_kind: Vec<&Slot> = slots.iter().filter(|slot| slot.kind == kind && !slot.archived).collect();
        let wanted: Vec<&Slot> = of_kind.iter().copied().filter(|slot| slot.wants().is_some()).collect();
        match wanted[..] {
            [slot] => Ok(slot),
            [] => Err(unsupported(
                "The provider does not want this document of this application now. Look at what is missing there, and ask for that.",
            )),
            _ => Err(wrong_reference(
                "the application wants several documents of this kind, so it must be <application>,<document> as the missing list shows",
            )),
        }
    }

    async fn put(&self, outbound: &OutboundDocument, part: usize, application: &str, slot: &str) -> Result<Answer, Failure> {
        let back = if outbound.parts[part].name.as_str() == "back" {
            "/back"
        } else {
            ""
        };
        let path = format!("/applications/{}/documents/{}{back}", percent(application), percent(slot));
        let body = Body::new(outbound.parts[part].file_type.mime(), vec![Segment::Part(part)], outbound);
        let call = self.authenticate(Call::sending(Method::PUT, self.client.url(&path))).body(body);
        self.client.send(call).await
    }
}

/// (application, document)
fn target(applicant: &ApplicantRef) -> Result<(&str, Option<&str>), WrongReference> {
    const WANTED: &str = "<application> or <application>,<document>";
    let (application, document) = match applicant.expose().split_once(',') {
        None => (applicant.expose(), None),
        Some((application, document)) => (application, Some(document)),
    };
    let sound = |id: &str| plain_id(id).is_some();
    if sound(application) && document.is_none_or(sound) {
        return Ok((application, document));
    }
    Err(WrongReference(WANTED))
}

#[async_trait]
impl Connector for Unit {
    fn profile(&self) -> Profile {
        self.settings.common.profile("unit", Duration::ZERO, true)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        ProviderClass::FixedId
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        let kind = self.settings.types.accepted(document)?;
        sides(parts)?;
        if parts.len() > 1 && !TWO_SIDED.contains(&kind) {
            return Err(Unsupported("This provider takes only the part front of this document.".to_owned()));
        }
        Ok(self.settings.common.limits.clone())
    }

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        target(applicant).map(drop)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let (application, named) = target(applicant)?;
        let slots = self.slots(application).await?;
        let wanted = slots.iter().filter(|slot| named.is_none_or(|id| id == slot.id));
        let entry = |slot: &Slot| {
            let why = (slot.status == "Invalid").then(|| reason(&slot.reason).sentence().to_owned());
            // What the client's own rules ask for is what their description says; a built-in kind that is sent under the same type is not meant.
            let own_rules = slot.kind == "ClientRequested";
            let kind = self.settings.types.ours(&slot.kind);
            let kind = kind.filter(|kind| !own_rules || TYPES.iter().all(|(known, _)| *known != kind.as_str()));
            let name = if own_rules && !slot.description.is_empty() {
                format!("{}: {}", slot.kind, slot.description)
            } else {
                slot.kind.clone()
            };
            let mut entry = missing(kind, slot.wants()?, &name, why);
            entry.applicant = ApplicantRef::parse(&format!("{application},{}", slot.id)).filter(|_| named.is_none());
            Some(entry)
        };
        Ok(wanted.filter_map(entry).collect())
    }

    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        sides(&part_names(outbound))?;
        let (application, named) = target(&outbound.applicant)?;
        let again = outbound.step("slot").is_some();
        let slot = match outbound.step("slot") {
            Some(slot) => slot.to_owned(),
            None => {
                let slots = self.slots(application).await?;
                let slot = self.choose(outbound, &slots, named)?.id.clone();
                progress_log.note("slot", &slot).await?;
                slot
            }
        };
        let mut last = None;
        for part in 0..outbound.parts.len() {
            let answer = self.put(outbound, part, application, &slot).await?;
            if !(200..300).contains(&answer.status) {
                let failure = answer.failure();
                // An earlier try of ours may have been taken, after which the provider takes no more.
                if again
                    && matches!(failure, Failure::Final { .. })
                    && let Presence::Present(delivered) = self.reconcile(outbound).await?
                {
                    return Ok(delivered);
                }
                return Err(failure);
            }
            let shown = Slot::read(&answer.success()?["data"]).filter(|shown| shown.id == slot);
            last = Some(shown.ok_or_else(|| answer.unreadable())?);
        }
        match last {
            Some(shown) if shown.holds(outbound.parts.len()) => Ok(Delivered {
                references: vec![slot],
                verdict: shown.verdict(),
            }),
            _ => Err(not_shown()),
        }
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        // The place is noted before the first byte: without it nothing was sent.
        let Some(noted) = outbound.step("slot") else {
            return Ok(Presence::Absent);
        };
        let (application, _) = target(&outbound.applicant)?;
        let slots = self.slots(application).await?;
        let Some(slot) = slots.iter().find(|slot| slot.id == noted) else {
            return Ok(Presence::Unknown);
        };
        Ok(match slot.status.as_str() {
            _ if slot.is_with_provider() => Presence::Present(Delivered {
                references: vec![slot.id.clone()],
                verdict: slot.verdict(),
            }),
            "Required" => Presence::Absent,
            // Half of it, or an older one's verdict. Putting it again is harmless.
            _ => Presence::Unknown,
        })
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let (application, _) = target(&outbound.applicant)?;
        let slots = self.slots(application).await?;
        let slot = slots.iter().find(|slot| receipt.references.contains(&slot.id));
        Ok(slot.map_or(Verdict::Pending, Slot::verdict))
    }

    /// Base64 of HMAC-SHA1 over the raw body; one body may hold several events.
    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let keys = sign::raw_keys(&self.settings.common.webhook_secrets);
        if keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let given = callback.header("x-unit-signature").ok_or(CallbackRefused::Signature)?;
        if !sign::verify(Algorithm::Sha1, Encoding::Base64, &keys, &[callback.body], given) {
            return Err(CallbackRefused::Signature);
        }
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let events = body["data"].as_array().ok_or(CallbackRefused::Malformed)?;
        let mut hints = Vec::new();
        for event in events {
            let id = |of: &str| event["relationships"][of]["data"]["id"].as_str().and_then(plain_id);
            let (application, document) = (id("application"), id("document"));
            hints.extend(document.clone().map(Hint::Reference));
            hints.extend(application.and_then(|a| ApplicantRef::parse(&a)).map(Hint::Applicant));
        }
        hints.dedup();
        Ok(hints)
    }

    async fn check(&self) -> Result<String, Failure> {
        let call = Call::asking(Method::GET, self.client.url("/applications?page[limit]=1"));
        let answer = self.client.send(self.authenticate(call)).await?;
        answer.only(answer.success()?, |body| body["data"].is_array())?;
        Ok("the provider answers and knows the token".to_owned())
    }
}

#[cfg(test)]
mod tests;
