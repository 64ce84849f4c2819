//! Lithic: a call that opens a submission and answers with one upload address per side, then a bare PUT to each. Class N for opening: two submissions per
//! account holder, then the holder is rejected for good, so opening one is never repeated by the portal alone. Class P for the bytes.
//!
//! * The applicant reference is `<account holder>,<entity>`; the account holder alone is enough while only one entity has documents to bring.
//! * Before a submission is opened the list is read: one of the same type and entity of which nothing was uploaded yet is used, and costs nothing.
//! * The upload address comes from the provider: https only, no redirect, only hosts of `upload_hosts`, and the API key never goes there.
//! * The bucket's answer says nothing: after the last PUT the submission is read again, and only what it shows as uploaded counts as received.
//! * Addresses are bearer secrets, so only the submission's id is noted (step `document`); a later attempt reads it again and puts what is still pending.
//!
//! Unverified: the verb PUT and its headers (therefore `upload_method` and `upload_headers`), the upload hosts (therefore `upload_hosts` has no default), and the field in which a callback names its event.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use super::body::{Body, Segment};
use super::client::{Call, Client};
use super::guard;
use super::kinds::{Kinds, both_sides, missing, part_names, plain_id, sides, unsupported, wrong_reference};
use super::settings::{Common, Defaults, environment};
use super::sign;
use super::words::Reason;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, WrongReference, not_shown,
};
use crate::domain::delivery::{DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName};
use crate::settings::{ConfigError, Reader, Secret};

const SANDBOX: &str = "https://sandbox.lithic.com";
const LIVE: &str = "https://api.lithic.com";
const TYPES: [(&str, &str); 6] = [
    ("government-id", "DRIVERS_LICENSE"),
    ("drivers-license", "DRIVERS_LICENSE"),
    ("passport", "PASSPORT"),
    ("proof-of-address", "UTILITY_BILL_STATEMENT"),
    ("bank-statement", "BANK_STATEMENT"),
    ("company-registration", "CERTIFICATE_OF_FORMATION"),
];
const BOTH_SIDES: [&str; 1] = ["DRIVERS_LICENSE"];

#[derive(Debug)]
pub(crate) struct LithicSettings {
    pub common: Common,
    pub api_key: Secret,
    pub upload_hosts: Vec<String>,
    pub upload_method: Method,
    pub upload_headers: Vec<(String, String)>,
    pub types: Kinds,
}

impl LithicSettings {
    /// Keys: the common ones, `environment` (`sandbox` or `live`), `api_key_file`, `upload_hosts` (`["uploads.example.com", "*.example.net"]`),
    /// `upload_method` (`PUT` or `POST`), `upload_headers`, `types`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let base_url = environment(reader, ("sandbox", SANDBOX), LIVE);
        // "Less than 15 MiB".
        let defaults = Defaults::of(base_url, (15 << 20) - 1);
        let common = Common::read(reader, &defaults);
        if common.webhook_secrets.iter().any(|s| sign::standard_key(s.expose()).is_none()) {
            reader.must_be("webhook_secret_file", "a file with whsec_ and base64");
        }
        let api_key = reader.required_secret("api_key_file", "the API key");
        let upload_hosts = guard::read_hosts(reader, "upload_hosts");
        let upload_method = reader.choice(
            "upload_method",
            &[("PUT", Method::PUT), ("POST", Method::POST)],
            "PUT",
            "how files go to their address",
        );
        let upload_headers = reader.pairs("upload_headers", "a table from header names to values");
        let types = Kinds::read(reader, "types", &TYPES);
        Self {
            common,
            api_key,
            upload_hosts,
            upload_method,
            upload_headers,
            types,
        }
    }
}

pub(crate) struct Lithic {
    settings: LithicSettings,
    client: Client,
}

/// One image of a submission. Of several for one side the last counts: a failed one gets a fresh entry.
struct Upload {
    side: String,
    status: String,
    url: Option<String>,
    reasons: Vec<Reason>,
}

struct Submission {
    id: String,
    kind: String,
    entity: String,
    uploads: Vec<Upload>,
}

impl Submission {
    fn read(body: &Value) -> Option<Self> {
        let upload = |u: &Value| Upload {
            side: u["image_type"].as_str().unwrap_or_default().to_owned(),
            status: u["status"].as_str().unwrap_or_default().to_owned(),
            url: u["upload_url"].as_str().map(str::to_owned),
            reasons: u["status_reasons"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(reason)
                .collect(),
        };
        Some(Self {
            id: plain_id(body["token"].as_str()?)?,
            kind: body["document_type"].as_str().unwrap_or_default().to_owned(),
            entity: body["entity_token"].as_str().unwrap_or_default().to_owned(),
            uploads: body["required_document_uploads"].as_array()?.iter().map(upload).collect(),
        })
    }

    fn side(&self, part: &PartName) -> Option<&Upload> {
        let side = part.as_str().to_uppercase();
        self.uploads.iter().rev().find(|u| u.side == side)
    }

    fn is_untouched(&self) -> bool {
        !self.uploads.is_empty() && self.uploads.iter().all(|u| u.status == "PENDING_UPLOAD")
    }

    /// Whether all of these sides were uploaded.
    fn holds(&self, parts: &[PartName]) -> bool {
        let there = |upload: &Upload| ["UPLOADED", "ACCEPTED", "REJECTED", "PARTIAL_APPROVAL"].contains(&upload.status.as_str());
        parts.iter().all(|part| self.side(part).is_some_and(there))
    }

    fn verdict(&self, parts: &[PartName]) -> Verdict {
        let ours: Vec<&Upload> = parts.iter().filter_map(|p| self.side(p)).collect();
        if let Some(bad) = ours.iter().find(|u| u.status == "REJECTED") {
            let reason = bad
                .reasons
                .iter()
                .copied()
                .find(|r| *r != Reason::Rejected)
                .unwrap_or(Reason::Rejected);
            return Verdict::Rejected(reason.problem());
        }
        if ours.len() == parts.len() && ours.iter().all(|u| u.status == "ACCEPTED") {
            return Verdict::Accepted;
        }
        Verdict::Pending
    }

    fn delivered(&self, parts: &[PartName]) -> Delivered {
        Delivered {
            references: vec![self.id.clone()],
            verdict: self.verdict(parts),
        }
    }
}

fn reason(code: &str) -> Reason {
    match code {
        "DOCUMENT_MISSING_REQUIRED_DATA" => Reason::Incomplete,
        "DOCUMENT_UPLOAD_TOO_BLURRY" => Reason::Unreadable,
        "FILE_SIZE_TOO_LARGE" => Reason::TooLarge,
        "INVALID_DOCUMENT_TYPE" | "DOCUMENT_TYPE_NOT_SUPPORTED" => Reason::WrongType,
        "INVALID_DOCUMENT_UPLOAD" => Reason::Corrupted,
        "INVALID_ENTITY" => Reason::Mismatch,
        "DOCUMENT_EXPIRED" => Reason::Expired,
        "DOCUMENT_ISSUED_GREATER_THAN_30_DAYS" => Reason::TooOld,
        _ => Reason::Rejected,
    }
}

/// (account holder, entity)
fn target(applicant: &ApplicantRef) -> Result<(&str, Option<&str>), WrongReference> {
    let (holder, entity) = match applicant.expose().split_once(',') {
        None => (applicant.expose(), None),
        Some((holder, entity)) => (holder, Some(entity)),
    };
    let sound = |id: &str| plain_id(id).is_some();
    if sound(holder) && entity.is_none_or(sound) {
        return Ok((holder, entity));
    }
    Err(WrongReference("<account holder token>,<entity token>"))
}

impl Lithic {
    pub(crate) fn new(settings: LithicSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    fn authenticate(&self, call: Call) -> Call {
        call.header("authorization", self.settings.api_key.expose())
    }

    async fn get(&self, path: &str, is_it: impl FnOnce(&Value) -> bool) -> Result<Value, Failure> {
        let call = self.authenticate(Call::asking(Method::GET, self.client.url(path)));
        let answer = self.client.send(call).await?;
        answer.only(answer.success()?, is_it)
    }

    async fn holder(&self, holder: &str) -> Result<Value, Failure> {
        let named = |body: &Value| body["token"].as_str() == Some(holder);
        self.get(&format!("/v1/account_holders/{holder}"), named).await
    }

    async fn submission(&self, holder: &str, id: &str) -> Result<Submission, Failure> {
        let path = format!("/v1/account_holders/{holder}/documents/{id}");
        let named = |body: &Value| body["token"].as_str() == Some(id) && is_of(body, holder);
        Submission::read(&self.get(&path, named).await?).ok_or_else(unreadable)
    }

    async fn submissions(&self, holder: &str) -> Result<Vec<Submission>, Failure> {
        let path = format!("/v1/account_holders/{holder}/documents");
        let of_holder = |body: &Value| {
            body["data"]
                .as_array()
                .is_some_and(|list| list.iter().all(|one| is_of(one, holder)))
        };
        let body = self.get(&path, of_holder).await?;
        Ok(body["data"].as_array().into_iter().flatten().filter_map(Submission::read).collect())
    }

    /// The entity that the reference names, or the only one that has documents to bring.
    async fn entity(&self, holder: &str, named: Option<&str>) -> Result<String, Failure> {
        if let Some(entity) = named {
            return Ok(entity.to_owned());
        }
        let body = self.holder(holder).await?;
        let wanted = body["required_documents"].as_array().into_iter().flatten();
        let mut entities: Vec<String> = wanted.filter_map(|r| r["entity_token"].as_str().and_then(plain_id)).collect();
        entities.sort();
        entities.dedup();
        match entities.len() {
            1 => Ok(entities.remove(0)),
            0 => Err(unsupported(
                "The provider wants no document of this account holder now. Look at what is missing there.",
            )),
            _ => Err(wrong_reference(
                "several entities have documents to bring, so it must be <account holder token>,<entity token>",
            )),
        }
    }

    /// A submission with nothing uploaded yet: one that is there, or a new one, which counts against the provider's two.
    async fn open(&self, holder: &str, entity: &str, kind: &str) -> Result<Submission, Failure> {
        let of_ours = |s: &&Submission| s.kind == kind && s.entity == entity;
        let listed = self.submissions(holder).await?;
        let half = |s: &Submission| !s.is_untouched() && s.uploads.iter().any(|u| u.status == "PENDING_UPLOAD");
        if listed.iter().any(|s| of_ours(&s) && half(s)) {
            return Err(Failure::Final {
                problem: DeliveryProblem::new(
                    "provider.half_submitted",
                    "The provider holds a half-finished submission of this document. Finish or cancel it in the provider's dashboard, then mark the request as uploaded or retry.",
                ),
            });
        }
        // A document that is there and not yet judged: another one would only spend the second submission.
        let waits = |s: &Submission| !s.uploads.is_empty() && s.uploads.iter().all(|u| u.status == "UPLOADED");
        if listed.iter().any(|s| of_ours(&s) && waits(s)) {
            return Err(Failure::Final {
                problem: DeliveryProblem::new(
                    "provider.already_submitted",
                    "The provider already holds such a document and has not judged it yet; another one would use up the last submission. Mark the request as uploaded, or wait for the verdict and retry.",
                ),
            });
        }
        if let Some(found) = listed.into_iter().rev().find(|s| of_ours(&s) && s.is_untouched()) {
            return Ok(found);
        }
        let body = json!({"document_type": kind, "entity_token": entity}).to_string();
        let url = self.client.url(&format!("/v1/account_holders/{holder}/documents"));
        let call = self
            .authenticate(Call::sending(Method::POST, url))
            .body(Body::text("application/json", body));
        let answer = self.client.send(call).await?;
        if answer.status == 503 {
            // Nothing says that an attempt was not counted.
            return Err(answer.uncertain(
                "provider.unavailable",
                "The provider was not available; whether it opened a submission is unknown.",
            ));
        }
        if answer.status == 409 {
            return Err(answer.refused("The provider takes no further submission of this account holder now."));
        }
        let body = answer.only(answer.success()?, |body| is_of(body, holder))?;
        Submission::read(&body).filter(|s| of_ours(&s)).ok_or_else(|| answer.unreadable())
    }

    async fn put(&self, outbound: &OutboundDocument, part: usize, url: &str) -> Result<(), Failure> {
        let url = guard::foreign_url(&self.settings.common.endpoint, &self.settings.upload_hosts, url)?;
        let body = Body::new(outbound.parts[part].file_type.mime(), vec![Segment::Part(part)], outbound);
        // Without any of our credentials: the address itself is the permission.
        let call = Call::sending(self.settings.upload_method.clone(), url).body(body);
        let headers = self.settings.upload_headers.iter();
        let answer = self
            .client
            .send(headers.fold(call, |call, (name, value)| call.header(name, value)))
            .await?;
        match answer.status {
            200..300 => Ok(()),
            401 | 403 | 410 => Err(answer.definite(
                "provider.upload_address_refused",
                "The upload address is no longer valid; a fresh one is fetched by itself.",
            )),
            _ => Err(answer.failure()),
        }
    }
}

/// Whether a submission is this account holder's. The specification requires the field.
fn is_of(submission: &Value, holder: &str) -> bool {
    submission["account_holder_token"].as_str() == Some(holder)
}

fn unreadable() -> Failure {
    Failure::Definite {
        problem: DeliveryProblem::new(
            "provider.unreadable_answer",
            "The provider's answer could not be read; it is tried again by itself.",
        ),
        after: None,
        new_key: false,
    }
}

#[async_trait]
impl Connector for Lithic {
    fn profile(&self) -> Profile {
        self.settings.common.profile("lithic", Duration::ZERO, true)
    }

    /// Opening a submission uses up one of two; putting bytes to the address of one that is open overwrites them.
    fn class(&self, outbound: &OutboundDocument) -> ProviderClass {
        if outbound.step("document").is_some() {
            ProviderClass::FixedId
        } else {
            ProviderClass::NoRepeat
        }
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        let kind = self.settings.types.accepted(document)?;
        if BOTH_SIDES.contains(&kind) {
            both_sides(parts)?
        } else {
            sides(parts)?
        }
        Ok(self.settings.common.limits.clone())
    }

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        target(applicant).map(drop)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let (holder, named) = target(applicant)?;
        let body = self.holder(holder).await?;
        let mut found = Vec::new();
        for required in body["required_documents"].as_array().into_iter().flatten() {
            let entity = required["entity_token"].as_str().and_then(plain_id).unwrap_or_default();
            if named.is_some_and(|n| n != entity) {
                continue;
            }
            // Any one of them will do: the first that the catalogue knows.
            let valid: Vec<&str> = required["valid_documents"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let known = valid.iter().find_map(|word| Some((*word, self.settings.types.ours(word)?)));
            let (word, kind) = known.map_or((valid.first().copied().unwrap_or_default(), None), |(word, kind)| {
                (word, Some(kind))
            });
            let parts: &[&str] = if BOTH_SIDES.contains(&word) {
                &["front", "back"]
            } else {
                &["front"]
            };
            let mut entry = missing(kind, parts, word, None);
            entry.applicant = ApplicantRef::parse(&format!("{holder},{entity}")).filter(|_| named.is_none());
            found.push(entry);
        }
        Ok(found)
    }

    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let kind = self.settings.types.required(outbound)?;
        let parts = part_names(outbound);
        if BOTH_SIDES.contains(&kind) {
            both_sides(&parts)?
        } else {
            sides(&parts)?
        }
        let (holder, named) = target(&outbound.applicant)?;
        let submission = match outbound.step("document") {
            Some(id) => self.submission(holder, id).await?,
            None => {
                let entity = self.entity(holder, named).await?;
                progress_log.note("opening", &entity).await?;
                let submission = self.open(holder, &entity, kind).await?;
                progress_log.note("document", &submission.id).await?;
                submission
            }
        };
        for (n, part) in parts.iter().enumerate() {
            let upload = submission.side(part).ok_or_else(|| {
                unsupported("The provider's submission has no place for a side of this document. Look at it in the provider's dashboard.")
            })?;
            if upload.status == "PENDING_UPLOAD" {
                let url = upload.url.as_deref().ok_or_else(unreadable)?;
                self.put(outbound, n, url).await?;
            }
        }
        // The bucket answers with an empty body that names nothing, and anything in between can do that as well: the provider itself says what it has.
        let shown = self.submission(holder, &submission.id).await.map_err(Failure::after_sending)?;
        if shown.holds(&parts) {
            Ok(shown.delivered(&parts))
        } else {
            Err(not_shown())
        }
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        let (holder, _) = target(&outbound.applicant)?;
        let Some(id) = outbound.step("document") else {
            // Whether a submission was opened decides how many are left: a person looks.
            let opening = outbound.step("opening").is_some();
            return Ok(if opening { Presence::Unknown } else { Presence::Absent });
        };
        let submission = self.submission(holder, id).await?;
        let parts = part_names(outbound);
        Ok(if submission.holds(&parts) {
            Presence::Present(submission.delivered(&parts))
        } else {
            Presence::Absent
        })
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let (holder, _) = target(&outbound.applicant)?;
        let Some(id) = receipt.references.first() else {
            return Ok(Verdict::Pending);
        };
        Ok(self.submission(holder, id).await?.verdict(&part_names(outbound)))
    }

    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let keys: Vec<Vec<u8>> = self
            .settings
            .common
            .webhook_secrets
            .iter()
            .filter_map(|s| sign::standard_key(s.expose()))
            .collect();
        if keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        sign::verify_standard(&keys, callback)?;
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        // Either the bare object, or one inside an envelope.
        let object = if body["payload"].is_object() { &body["payload"] } else { &body };
        let id = |name: &str| object[name].as_str().and_then(plain_id);
        let (holder, entity) = (id("account_holder_token").or_else(|| id("token")), id("entity_token"));
        let with_entity = holder.as_ref().zip(entity).map(|(holder, entity)| format!("{holder},{entity}"));
        let applicants = holder
            .into_iter()
            .chain(with_entity)
            .filter_map(|r| ApplicantRef::parse(&r))
            .map(Hint::Applicant);
        Ok(id("token").map(Hint::Reference).into_iter().chain(applicants).collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        self.get("/v1/event_subscriptions?page_size=1", |body| body["data"].is_array())
            .await?;
        Ok("the provider answers and knows the API key".to_owned())
    }
}

#[cfg(test)]
mod tests;
