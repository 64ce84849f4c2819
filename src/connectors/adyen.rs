//! Adyen Legal Entity Management: every side as plain base64 in one JSON request, with an idempotency key that
//! the specification of this call does not know. Class L.
//!
//! * The applicant reference is the legal entity's id (`LE…`), or `LE…,SE…` for a document of a transfer instrument (a bank statement).
//! * An identity card or driver's licence goes with both sides in the same request or not at all; so the provider can never hold half of one.
//! * Base64 is made while the sealed document is read.
//! * After a lost answer the legal entity's own list tells, by our file name; only what is not in it goes again, under the same key. A transfer instrument's
//!   documents need not be in it: there a person decides.
//!
//! Unverified: the live address (`environment = "live"`), the size limit (documentation says 4 MB and 15 MB; the default is the smaller), whether the list
//! shows the file name just as it was sent, the text that a callback must be answered with, and which error code asks for which document (`problems` maps
//! codes; other ones are guessed by their words).

pub(crate) mod entity;

use async_trait::async_trait;
use data_encoding::HEXLOWER_PERMISSIVE;
use reqwest::Method;
use serde_json::Value;
use subtle::ConstantTimeEq;
use time::Duration;

use super::client::{Answer, Call, Client};
use super::kinds::{Kinds, both_sides, part_names, plain_id};
use super::kit;
use super::settings::{Common, Defaults, environment};
use super::shape::Json;
use super::sign::{self, Algorithm, Encoding};
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, WrongReference, not_shown,
};
use crate::domain::delivery::{ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, FileType, PartName, PictureLimits};
use crate::settings::{ConfigError, Reader, Secret};

const TEST: &str = "https://kyc-test.adyen.com/lem/v3";
const LIVE: &str = "https://kyc-live.adyen.com/lem/v3";
const TYPES: [(&str, &str); 7] = [
    ("government-id", "identityCard"),
    ("drivers-license", "driversLicense"),
    ("passport", "passport"),
    ("proof-of-address", "proofOfAddress"),
    ("bank-statement", "bankStatement"),
    ("selfie", "liveSelfie"),
    ("company-registration", "registrationDocument"),
];
/// From the description of `pageType`.
const BOTH_SIDES: [&str; 2] = ["identityCard", "driversLicense"];
/// "Up to 15 pages".
const PAGES: usize = 15;

#[derive(Debug)]
pub(crate) struct AdyenSettings {
    pub common: Common,
    pub api_key: Secret,
    pub types: Kinds,
    pub problems: Kinds,
    /// `user:password` that callbacks carry beside their signature.
    pub callback_basic: Option<Secret>,
}

impl AdyenSettings {
    /// Keys: the common ones, `environment` (`test` or `live`), `api_key_file`, `types`, `problems` (a table from document kinds to error codes),
    /// `webhook_basic_file` (`user:password`). `webhook_secret_file` holds the key in hexadecimal, as the provider shows it.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let base_url = environment(reader, ("test", TEST), LIVE);
        let defaults = Defaults {
            min_bytes: 1_024,
            pictures: PictureLimits {
                // Of images; a PDF may have 1 KB.
                min_bytes: 100_000,
                ..PictureLimits::default()
            },
            poll_longest: Duration::hours(1),
            ..Defaults::of(base_url, 4_000_000)
        };
        let common = Common::read(reader, &defaults);
        if common.webhook_secrets.iter().any(|s| key(s).is_none()) {
            reader.must_be("webhook_secret_file", "a file with the HMAC key in hexadecimal");
        }
        let api_key = reader.required_secret("api_key_file", "the API key");
        let types = Kinds::read(reader, "types", &TYPES);
        let problems = Kinds::read(reader, "problems", &[]);
        let callback_basic = reader.secret("webhook_basic_file", "user:password of callbacks");
        Self {
            common,
            api_key,
            types,
            problems,
            callback_basic,
        }
    }
}

fn key(secret: &Secret) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE
        .decode(secret.expose().as_bytes())
        .ok()
        .filter(|key| !key.is_empty())
}

pub(crate) struct Adyen {
    settings: AdyenSettings,
    client: Client,
}

/// (legal entity, transfer instrument)
fn target(applicant: &ApplicantRef) -> Result<(&str, Option<&str>), WrongReference> {
    let (entity, instrument) = match applicant.expose().split_once(',') {
        None => (applicant.expose(), None),
        Some((entity, instrument)) => (entity, Some(instrument)),
    };
    let sound = |id: &str| plain_id(id).is_some();
    if sound(entity) && instrument.is_none_or(sound) {
        return Ok((entity, instrument));
    }
    Err(WrongReference("LE… for a legal entity, or LE…,SE… for its transfer instrument"))
}

impl Adyen {
    pub(crate) fn new(settings: AdyenSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    fn authenticate(&self, call: Call) -> Call {
        call.header("x-api-key", self.settings.api_key.expose())
    }

    async fn entity(&self, id: &str) -> Result<Value, Failure> {
        let url = self.client.url(&format!("/legalEntities/{id}"));
        let answer = self.client.send(self.authenticate(Call::asking(Method::GET, url))).await?;
        answer.only(success(&answer)?, |body| body["id"].as_str() == Some(id))
    }

    /// Before a byte is sent: the sides that must go together, and pictures that the provider will find too small.
    fn check_parts(&self, outbound: &OutboundDocument, kind: &str) -> Result<(), Failure> {
        self.fits(kind, &part_names(outbound))?;
        let small = |p: &super::OutboundPart| p.file_type != FileType::Pdf && p.size < self.settings.common.limits.pictures.min_bytes;
        if outbound.parts.iter().any(small) {
            return Err(super::kinds::unsupported(
                "The picture is smaller than this provider takes. Ask for a sharper photo, not a preview or a cut-out.",
            ));
        }
        Ok(())
    }

    fn fits(&self, kind: &str, parts: &[PartName]) -> Result<(), Unsupported> {
        if BOTH_SIDES.contains(&kind) {
            return both_sides(parts);
        }
        if parts.is_empty() || parts.len() > PAGES {
            return Err(Unsupported("This provider takes one to fifteen parts of this document.".to_owned()));
        }
        Ok(())
    }

    fn body(&self, outbound: &OutboundDocument, kind: &str, owner: (&str, &str)) -> Json {
        let two_sided = BOTH_SIDES.contains(&kind);
        let attachment = |n: usize| {
            let mut fields = vec![("content".to_owned(), Json::Base64(n))];
            if two_sided {
                fields.push(("pageType".to_owned(), Json::text(outbound.parts[n].name.as_str())));
            }
            fields.push(("pageName".to_owned(), Json::text(outbound.file_name(n))));
            Json::Object(fields)
        };
        Json::object([
            ("type", Json::text(kind)),
            ("description", Json::text(description(outbound))),
            ("owner", Json::object([("id", Json::text(owner.0)), ("type", Json::text(owner.1))])),
            ("fileName", Json::text(outbound.file_name(0))),
            ("attachments", Json::Array((0..outbound.parts.len()).map(attachment).collect())),
        ])
    }
}

fn received(id: String) -> Delivered {
    Delivered {
        references: vec![id],
        verdict: Verdict::Pending,
    }
}

/// Whether a document is the one that was sent: by its description or file name, each of which is unique, and not of another owner.
fn is_ours(document: &Value, outbound: &OutboundDocument, owner: (&str, &str)) -> bool {
    let described = document["description"].as_str() == Some(&description(outbound));
    let named = document["fileName"].as_str() == Some(&outbound.file_name(0));
    (described || named) && document["owner"]["id"].as_str().is_none_or(|id| id == owner.0)
}

/// Says nothing about the person, and is unique.
fn description(outbound: &OutboundDocument) -> String {
    format!("Document {}", outbound.document)
}

#[async_trait]
impl Connector for Adyen {
    fn profile(&self) -> Profile {
        let common = &self.settings.common;
        common.profile("adyen", Duration::ZERO, true)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        // The specification of this call has no idempotency key.
        ProviderClass::ListedKey
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        let kind = self.settings.types.accepted(document)?;
        self.fits(kind, parts)?;
        let mut limits = self.settings.common.limits.clone();
        if kind == "liveSelfie" {
            limits.accepted.retain(|t| *t != FileType::Pdf);
        }
        Ok(limits)
    }

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        target(applicant).map(drop)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let (entity, _) = target(applicant)?;
        let body = self.entity(entity).await?;
        Ok(entity::missing(&body, entity, &self.settings.types, &self.settings.problems))
    }

    async fn deliver(&self, outbound: &OutboundDocument, _: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let kind = self.settings.types.required(outbound)?;
        self.check_parts(outbound, kind)?;
        let (entity, instrument) = target(&outbound.applicant)?;
        let owner = instrument.map_or((entity, "legalEntity"), |id| (id, "bankAccount"));
        let call = self
            .authenticate(Call::sending(Method::POST, self.client.url("/documents")))
            .header("idempotency-key", &outbound.keys.idempotency(0))
            .body(self.body(outbound, kind, owner).body(outbound));
        let answer = self.client.send(call).await?;
        if let Some(failure) = answer.stored_failure() {
            return Err(failure);
        }
        let body = success(&answer)?;
        let id = body["id"].as_str().and_then(plain_id).ok_or_else(|| answer.unreadable())?;
        if is_ours(&body, outbound, owner) {
            return Ok(received(id));
        }
        // An id alone may be anybody's. The list knows our file name; a transfer instrument has none.
        let listed = self.entity(entity).await.map_err(Failure::after_sending)?;
        let found = entity::find(&listed, &outbound.file_name(0), &description(outbound));
        found.map(received).ok_or_else(not_shown)
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        let (entity, instrument) = target(&outbound.applicant)?;
        let body = self.entity(entity).await?;
        let found = entity::find(&body, &outbound.file_name(0), &description(outbound));
        Ok(match found {
            Some(id) => Presence::Present(received(id)),
            // A transfer instrument's documents need not stand in the legal entity's list.
            None if instrument.is_some() => Presence::Unknown,
            None => Presence::Absent,
        })
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let (entity, instrument) = target(&outbound.applicant)?;
        let body = self.entity(entity).await?;
        // A transfer instrument's documents need not stand in the legal entity's list.
        if instrument.is_none() && !entity::lists(&body, &receipt.references) {
            return Ok(Verdict::Pending);
        }
        Ok(entity::verdict(&body, &receipt.references, &outbound.kind, &self.settings.problems))
    }

    /// Base64 of HMAC-SHA256 under the decoded key, and HTTP Basic where it is configured.
    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let keys: Vec<Vec<u8>> = self.settings.common.webhook_secrets.iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let given = callback.header("hmacsignature").ok_or(CallbackRefused::Signature)?;
        let signed = sign::verify(Algorithm::Sha256, Encoding::Base64, &keys, &[callback.body], given);
        let known = self.settings.callback_basic.as_ref().is_none_or(|pair| {
            let wanted = format!("Basic {}", data_encoding::BASE64.encode(pair.expose().as_bytes()));
            let given = callback.header("authorization").unwrap_or_default();
            bool::from(wanted.as_bytes().ct_eq(given.as_bytes()))
        });
        if !(signed && known) {
            return Err(CallbackRefused::Signature);
        }
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let entity = body["data"]["accountHolder"]["legalEntityId"].as_str().and_then(plain_id);
        Ok(entity
            .and_then(|id| ApplicantRef::parse(&id))
            .map(Hint::Applicant)
            .into_iter()
            .collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        // A legal entity that cannot exist: a known key is told so, another one is refused.
        let url = self.client.url("/legalEntities/LE00000000000000000000000");
        let answer = self.client.send(self.authenticate(Call::asking(Method::GET, url))).await?;
        // In the provider's own form of an error; another server's "not found" says nothing of the key.
        let own = answer.json().is_some_and(|body| body["errorCode"].is_string());
        match answer.status {
            400 | 404 | 422 if own => Ok("the provider answers and knows the API key".to_owned()),
            200..300 | 404 => Err(answer.unreadable()),
            _ => Err(answer.failure()),
        }
    }
}

fn success(answer: &Answer) -> Result<Value, Failure> {
    kit::success(answer, "errorCode")
}

#[cfg(test)]
mod tests;
