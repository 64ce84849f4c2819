//! Onfido (Entrust): one multipart request per side, no idempotency key. Class R: the applicant's list is read first, and what is there is not sent again.
//!
//! * The applicant reference is the applicant's id, or `<id>,<country>` with one of the configured countries.
//! * Our file names are unique and stand in the provider's list, so that list and document can be compared side by side, before every upload too:
//!   whatever happened to an earlier attempt, no side is sent twice.
//! * Uploading alone leads to no verdict. With `reports` a check of these documents is started; a check that already has them is not started again.
//! * The provider has no list of what is missing; the agent picks the document from the catalogue.
//!
//! Unverified: how soon the list shows a new document (absence is believed only after five minutes), and the schedule of repeated callbacks.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use super::body::Body;
use super::client::{Answer, Call, Client};
use super::kinds::{Countries, Kinds, is_word, part_names, plain_id, sides};
use super::kit;
use super::oauth::{ClientCredentials, Place, TokenDefaults};
use super::settings::{Common, Defaults};
use super::shape::{Multipart, percent};
use super::sign::{self, Algorithm, Encoding};
use super::words::Reason;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, WrongReference, cannot_list, not_shown,
};
use crate::domain::delivery::{ConfirmAt, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName};
use crate::settings::{ConfigError, Reader, Secret};

const EU: &str = "https://api.eu.onfido.com/v3.6";
const US: &str = "https://api.us.onfido.com/v3.6";
const CA: &str = "https://api.ca.onfido.com/v3.6";
const TYPES: [(&str, &str); 5] = [
    ("government-id", "national_identity_card"),
    ("passport", "passport"),
    ("drivers-license", "driving_licence"),
    ("proof-of-address", "utility_bill"),
    ("bank-statement", "bank_building_society_statement"),
];

#[derive(Debug)]
pub(crate) enum Auth {
    Token(Secret),
    OAuth(ClientCredentials),
}

#[derive(Debug)]
pub(crate) struct OnfidoSettings {
    pub common: Common,
    pub auth: Auth,
    pub countries: Countries,
    pub types: Kinds,
    /// Reports of the check that is started; none: no check.
    pub reports: Vec<String>,
    pub validate_image_quality: bool,
}

impl OnfidoSettings {
    /// Keys: the common ones, `region` (`eu`, `us`, `ca`), `api_token_file` or `client_id` with `client_secret_file`, `country`, `countries`, `types`,
    /// `reports` (such as `["document"]`), `validate_image_quality`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let base_url = reader.choice("region", &[("eu", EU), ("us", US), ("ca", CA)], "eu", "where the account is");
        let defaults = Defaults {
            // "2 KB to 3 MB": the stricter reading of each unit.
            min_bytes: 2_048,
            ..Defaults::of(base_url, 3_000_000)
        };
        let common = Common::read(reader, &defaults);
        let auth = if reader.has("client_id") {
            let token = TokenDefaults {
                path: "/oauth/token",
                place: Place::Form,
                grant_type: false,
            };
            Auth::OAuth(ClientCredentials::read(reader, &common.endpoint, &token))
        } else {
            Auth::Token(reader.required_secret("api_token_file", "the API token"))
        };
        let countries = Countries::read(reader, false);
        let types = Kinds::read(reader, "types", &TYPES);
        let reports = reader.texts("reports", "a list of report names").unwrap_or_default();
        if !reports.iter().all(|report| is_word(report)) {
            reader.must_be("reports", "a list of report names such as \"document\"");
        }
        if common.confirm == ConfirmAt::Verdict && reports.is_empty() {
            reader.error(
                "reports",
                "is needed with confirm = \"verdict\": without a check there is no verdict",
            );
        }
        let validate_image_quality = reader.flag("validate_image_quality", false, "refuses blurred pictures at once");
        Self {
            common,
            auth,
            countries,
            types,
            reports,
            validate_image_quality,
        }
    }
}

pub(crate) struct Onfido {
    settings: OnfidoSettings,
    client: Client,
}

impl Onfido {
    pub(crate) fn new(settings: OnfidoSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    async fn send(&self, call: impl Fn() -> Call) -> Result<Answer, Failure> {
        match &self.settings.auth {
            Auth::Token(token) => {
                let header = format!("Token token={}", token.expose());
                self.client.send(call().header("authorization", &header)).await
            }
            Auth::OAuth(oauth) => oauth.send(&self.client, |token| call().bearer(token)).await,
        }
    }

    async fn get(&self, path: &str, is_it: impl FnOnce(&Value) -> bool) -> Result<Value, Failure> {
        let answer = self.send(|| Call::asking(Method::GET, self.client.url(path))).await?;
        answer.only(success(&answer)?, is_it)
    }

    /// An applicant's `documents` or `checks`.
    async fn list(&self, of: &str, id: &str) -> Result<Vec<Value>, Failure> {
        let url = self.client.url(&format!("/{of}?applicant_id={}", percent(id)));
        let answer = self.send(|| Call::asking(Method::GET, url.clone())).await?;
        let of_applicant = |list: &Vec<Value>| !list.iter().any(|entry| is_of_another(entry, id));
        let body = answer.only(success(&answer)?, |body| body[of].as_array().is_some_and(of_applicant))?;
        Ok(body[of].as_array().cloned().unwrap_or_default())
    }

    /// The ids of the parts that are there already, by our file names.
    async fn present(&self, outbound: &OutboundDocument, id: &str) -> Result<Vec<Option<String>>, Failure> {
        let list = self.list("documents", id).await?;
        let find = |part: usize| {
            let name = outbound.file_name(part);
            let found = list.iter().find(|d| d["file_name"].as_str() == Some(&name));
            found.and_then(|d| plain_id(d["id"].as_str()?))
        };
        Ok((0..outbound.parts.len()).map(find).collect())
    }

    async fn upload(&self, outbound: &OutboundDocument, part: usize, kind: &str) -> Result<String, Failure> {
        let (id, country) = self.settings.countries.split(&outbound.applicant)?;
        let number = kit::call_number(part);
        let mut form = Multipart::new(outbound.keys.boundary(number))
            .text("applicant_id", id)
            .text("type", kind);
        if outbound.parts.len() > 1 {
            form = form.text("side", outbound.parts[part].name.as_str());
        }
        if let Some(country) = country {
            form = form.text("issuing_country", country);
        }
        if self.settings.validate_image_quality {
            form = form.text("validate_image_quality", "true");
        }
        let body = form.file("file", outbound, part).finish(outbound);
        let answer = self
            .send(|| Call::sending(Method::POST, self.client.url("/documents")).body(body.clone()))
            .await?;
        let name = outbound.file_name(part);
        let foreign = |body: &Value| is_of_another(body, id) || body["file_name"].as_str().is_some_and(|other| other != name);
        let body = answer.only(success(&answer)?, |body| !foreign(body))?;
        let document = body["id"].as_str().and_then(plain_id).ok_or_else(|| answer.unreadable())?;
        if body["applicant_id"].is_string() && body["file_name"].is_string() {
            return Ok(document);
        }
        // An id alone may be anybody's: the applicant's list knows our file name.
        let listed = self.present(outbound, id).await.map_err(Failure::after_sending)?;
        listed.into_iter().nth(part).flatten().ok_or_else(not_shown)
    }

    /// A check of exactly these documents: the one that is there, or a new one.
    async fn check_of(&self, id: &str, documents: &[String]) -> Result<String, Failure> {
        let checks = self.list("checks", id).await?;
        let tag = check_tag(documents);
        let tagged = |check: &Value| check["tags"].as_array().into_iter().flatten().any(|t| t.as_str() == Some(&tag));
        let known = checks.iter().find(|check| tagged(check));
        if let Some(check) = known.and_then(|check| plain_id(check["id"].as_str()?)) {
            return Ok(check);
        }
        let wanted = json!({"applicant_id": id, "report_names": self.settings.reports, "document_ids": documents, "tags": [&tag]});
        let text = wanted.to_string();
        // It stores no document: an unknown outcome is found by its tag in the next try.
        let answer = self
            .send(|| Call::asking(Method::POST, self.client.url("/checks")).body(Body::text("application/json", text.clone())))
            .await?;
        let body = answer.only(success(&answer)?, |body| {
            body["applicant_id"].as_str() == Some(id) && (tagged(body) || !body["tags"].is_array())
        })?;
        body["id"].as_str().and_then(plain_id).ok_or_else(|| answer.unreadable())
    }
}

/// Whether a document or check says that it belongs to somebody else.
fn is_of_another(entry: &Value, applicant: &str) -> bool {
    entry["applicant_id"].as_str().is_some_and(|id| id != applicant)
}

/// Tells our check from others, and is the same for the same documents.
fn check_tag(documents: &[String]) -> String {
    format!("nightdrop-{}", documents.first().map_or("", String::as_str))
}

#[async_trait]
impl Connector for Onfido {
    fn profile(&self) -> Profile {
        self.settings.common.profile("onfido", Duration::ZERO, false)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        ProviderClass::Reconcile
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        self.settings.types.accepted(document)?;
        sides(parts)?;
        Ok(self.settings.common.limits.clone())
    }

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        self.settings.countries.split(applicant).map(drop)
    }

    async fn missing(&self, _: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        Err(cannot_list())
    }

    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let kind = self.settings.types.required(outbound)?;
        sides(&part_names(outbound))?;
        let (id, _) = self.settings.countries.split(&outbound.applicant)?;
        let noted: Vec<Option<String>> = outbound
            .parts
            .iter()
            .map(|p| outbound.step(&format!("part:{}", p.name)).map(str::to_owned))
            .collect();
        let there = if noted.iter().all(Option::is_some) {
            noted
        } else {
            self.present(outbound, id).await?
        };
        let mut references = Vec::new();
        for (n, known) in there.into_iter().enumerate() {
            let step = format!("part:{}", outbound.parts[n].name);
            let document = match known.or_else(|| outbound.step(&step).map(str::to_owned)) {
                Some(document) => document,
                None => self.upload(outbound, n, kind).await?,
            };
            if outbound.step(&step).is_none() {
                progress_log.note(&step, &document).await?;
            }
            references.push(document);
        }
        if !self.settings.reports.is_empty() {
            let check = match outbound.step("check") {
                Some(check) => check.to_owned(),
                None => {
                    let check = self.check_of(id, &references).await?;
                    progress_log.note("check", &check).await?;
                    check
                }
            };
            references.insert(0, check);
        }
        Ok(Delivered {
            references,
            verdict: Verdict::Pending,
        })
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        let (id, _) = self.settings.countries.split(&outbound.applicant)?;
        let found: Option<Vec<String>> = self.present(outbound, id).await?.into_iter().collect();
        // A side that is missing is absence: the next attempt reads the list again and sends only that one.
        let Some(mut references) = found else { return Ok(Presence::Absent) };
        if !self.settings.reports.is_empty() {
            let Some(check) = outbound.step("check") else {
                // The documents are there and their check is not: the next attempt starts it and sends nothing.
                return Ok(Presence::Absent);
            };
            references.insert(0, check.to_owned());
        }
        Ok(Presence::Present(Delivered {
            references,
            verdict: Verdict::Pending,
        }))
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let (id, _) = self.settings.countries.split(&outbound.applicant)?;
        let Some(check) = receipt.references.first().filter(|_| !self.settings.reports.is_empty()) else {
            return Ok(Verdict::Pending);
        };
        let ours = |body: &Value| body["id"].as_str() == Some(check) && !is_of_another(body, id);
        let body = self.get(&format!("/checks/{}", percent(check)), ours).await?;
        match (body["status"].as_str(), body["result"].as_str()) {
            (Some("complete"), Some("clear")) => Ok(Verdict::Accepted),
            (Some("complete"), Some("consider")) => {
                let path = format!("/reports?check_id={}", percent(check));
                let reports = self.get(&path, |body| body["reports"].is_array()).await;
                Ok(Verdict::Rejected(reports.map_or(Reason::Rejected, |r| reason(&r)).problem()))
            }
            (Some("withdrawn"), _) => Ok(Verdict::Rejected(Reason::Rejected.problem())),
            _ => Ok(Verdict::Pending),
        }
    }

    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let keys = sign::raw_keys(&self.settings.common.webhook_secrets);
        if keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let given = callback.header("x-sha2-signature").ok_or(CallbackRefused::Signature)?;
        if !sign::verify(Algorithm::Sha256, Encoding::Hex, &keys, &[callback.body], given) {
            return Err(CallbackRefused::Signature);
        }
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let payload = body["payload"].as_object().ok_or(CallbackRefused::Malformed)?;
        let text = |value: &Value| value.as_str().and_then(plain_id);
        let object = payload.get("object").and_then(|o| text(&o["id"]));
        let check = payload.get("resource").and_then(|r| text(&r["check_id"]));
        let applicant = payload.get("resource").and_then(|r| text(&r["applicant_id"]));
        let references = object.into_iter().chain(check).map(Hint::Reference);
        let applicants = applicant
            .iter()
            .flat_map(|id| self.settings.countries.references(id))
            .map(Hint::Applicant);
        Ok(references.chain(applicants).collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        // `/ping` asks for no token; the list of callbacks does, and holds no person.
        let answer = self.send(|| Call::asking(Method::GET, self.client.url("/webhooks"))).await?;
        answer.only(success(&answer)?, |body| body["webhooks"].is_array())?;
        Ok("the provider answers and knows the token".to_owned())
    }
}

/// The first breakdown of a document report that is not clear.
fn reason(reports: &Value) -> Reason {
    let list = reports["reports"].as_array().into_iter().flatten();
    let found = list.filter(|r| r["result"].as_str() != Some("clear")).find_map(|report| {
        let breakdown = report["breakdown"].as_object()?;
        let bad = |name: &str| {
            breakdown
                .get(name)
                .is_some_and(|b| !matches!(b["result"].as_str(), Some("clear") | None))
        };
        let table = [
            ("visual_authenticity", Reason::FraudSuspected),
            ("compromised_document", Reason::FraudSuspected),
            ("police_record", Reason::FraudSuspected),
            ("data_validation", Reason::Expired),
            ("image_integrity", Reason::Unreadable),
            ("data_comparison", Reason::Mismatch),
            ("data_consistency", Reason::Mismatch),
            ("age_validation", Reason::Mismatch),
        ];
        table.into_iter().find(|(name, _)| bad(name)).map(|(name, reason)| {
            let part = |of: &str| {
                breakdown
                    .get(name)
                    .and_then(|b| b["breakdown"][of]["result"].as_str())
                    .is_some_and(|r| r != "clear")
            };
            match name {
                "image_integrity" if part("supported_document") => Reason::WrongType,
                "image_integrity" if part("colour_picture") => Reason::NotOriginal,
                "data_validation" if !part("document_expiration") && !part("expiry_date") => Reason::Rejected,
                _ => reason,
            }
        })
    });
    found.unwrap_or(Reason::Rejected)
}

/// The body of a success, or the failure. The fields of a validation error name what is wrong with the picture.
fn success(answer: &Answer) -> Result<Value, Failure> {
    if answer.status == 422 {
        let error = answer.json().map(|body| body["error"].clone()).unwrap_or_default();
        let fields: Vec<String> = error["fields"].as_object().into_iter().flat_map(|f| f.keys().cloned()).collect();
        let has = |word: &str| fields.iter().any(|f| f.contains(word));
        if has("document_detection") || has("detect_") || has("quality") {
            return Err(Failure::Final {
                problem: Reason::Unreadable.problem(),
            });
        }
        let words: Vec<&str> = fields.iter().map(String::as_str).filter(|f| is_word(f)).take(4).collect();
        let about = if words.is_empty() {
            String::new()
        } else {
            format!(" ({})", words.join(", "))
        };
        return Err(answer.refused(&format!(
            "The provider refused the request{about}. Check the applicant's reference, the country and `types`."
        )));
    }
    answer.success()
}

#[cfg(test)]
mod tests;
