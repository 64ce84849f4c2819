//! Dwolla: one multipart request per side under an OAuth token; the address of the new document stands in `Location`. Class L.
//!
//! * The applicant reference is the customer's id, or `owner,<id>` for a beneficial owner.
//! * A document there has no side: front and back are two documents of one type, each noted as `part:<side>` with its id.
//! * A key goes along, which the page of documents does not promise to honour: after a lost answer the list is asked first. A key that is honoured wants
//!   exactly the same body, so boundary and file name are functions of the document.
//! * `DuplicateResource` means that the provider has these bytes: it counts as received.
//! * What was there before the first byte left is noted (step `before`), so that the list can tell what is new. What is
//!   received must stand in it, since an address names no customer.
//!
//! Unverified: whether a stored failure is repeated for a key, and the reasons inside `_embedded.errors`. Codes are compared without case.

use async_trait::async_trait;
use reqwest::{Method, Url};
use serde_json::Value;
use time::Duration;

use super::client::{Answer, Call, Client};
use super::kinds::{Kinds, id_of_address, missing, part_names, plain_id, sides, wrong_reference};
use super::kit;
use super::oauth::{ClientCredentials, Place, TokenDefaults};
use super::settings::{Common, Defaults, environment};
use super::shape::Multipart;
use super::sign::{self, Algorithm, Encoding};
use super::words::Reason;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, WrongReference, not_shown,
};
use crate::domain::delivery::{DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, FileType, PartName};
use crate::settings::{ConfigError, Reader};

const LIVE: &str = "https://api.dwolla.com";
const SANDBOX: &str = "https://api-sandbox.dwolla.com";
const MEDIA: &str = "application/vnd.dwolla.v1.hal+json";
const TYPES: [(&str, &str); 6] = [
    ("government-id", "idCard"),
    ("drivers-license", "license"),
    ("passport", "passport"),
    ("proof-of-address", "other"),
    ("bank-statement", "other"),
    ("company-registration", "other"),
];

#[derive(Debug)]
pub(crate) struct DwollaSettings {
    pub common: Common,
    pub oauth: ClientCredentials,
    pub types: Kinds,
}

impl DwollaSettings {
    /// Keys: the common ones, `environment` (`sandbox` or `live`), `client_id`, `client_secret_file`, `token_url`, `token_auth`, `types`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let base_url = environment(reader, ("sandbox", SANDBOX), LIVE);
        // The API says 10 MiB for the whole request and 10 MB for the file.
        let defaults = Defaults {
            poll_longest: Duration::hours(1),
            ..Defaults::of(base_url, 10_000_000)
        };
        let common = Common::read(reader, &defaults);
        let token = TokenDefaults {
            path: "/token",
            place: Place::Basic,
            grant_type: true,
        };
        let oauth = ClientCredentials::read(reader, &common.endpoint, &token);
        let types = Kinds::read(reader, "types", &TYPES);
        let known = types.describe();
        let settings = Self { common, oauth, types };
        if !settings.all_types_known() {
            reader.must_be("types", format!("a table with the words passport, license, idCard, other. {known}"));
        }
        settings
    }

    fn all_types_known(&self) -> bool {
        self.types
            .words()
            .all(|word| ["passport", "license", "idCard", "other"].contains(&word))
    }
}

pub(crate) struct Dwolla {
    settings: DwollaSettings,
    client: Client,
}

/// The path of the holder of documents.
fn holder(applicant: &ApplicantRef) -> Result<String, WrongReference> {
    let (folder, id) = match applicant.expose().split_once(',') {
        None => ("customers", applicant.expose()),
        Some(("owner", id)) => ("beneficial-owners", id),
        Some(_) => ("", ""),
    };
    match plain_id(id) {
        Some(id) => Ok(format!("/{folder}/{id}")),
        None => Err(WrongReference("a customer's id, or owner,<id> for a beneficial owner")),
    }
}

/// The step under which it is noted that the last request surely stored nothing: what is new in the list afterwards is not ours.
const SETTLED: &str = "settled";

struct Listed {
    id: String,
    kind: String,
    created: String,
    verdict: Verdict,
}

impl Dwolla {
    pub(crate) fn new(settings: DwollaSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    async fn send(&self, call: impl Fn() -> Call) -> Result<Answer, Failure> {
        let authenticate = |token: &str| call().bearer(token).header("accept", MEDIA);
        self.settings.oauth.send(&self.client, authenticate).await
    }

    async fn get(&self, path: &str, is_it: impl FnOnce(&Value) -> bool) -> Result<Value, Failure> {
        let answer = self.send(|| Call::asking(Method::GET, self.client.url(path))).await?;
        answer.only(success(&answer)?, is_it)
    }

    async fn list(&self, holder: &str) -> Result<Vec<Listed>, Failure> {
        let path = format!("{holder}/documents");
        // A list says whose it is.
        let of_holder = |body: &Value| body["_links"]["self"]["href"].as_str().is_none_or(|own| own.ends_with(&path));
        let is_list = |body: &Value| (body["_embedded"]["documents"].is_array() || body["total"].as_u64() == Some(0)) && of_holder(body);
        let body = self.get(&path, is_list).await?;
        let read = |document: &Value| {
            Some(Listed {
                id: plain_id(document["id"].as_str()?)?,
                kind: document["type"].as_str().unwrap_or_default().to_owned(),
                created: document["created"].as_str().unwrap_or_default().to_owned(),
                verdict: judge(document),
            })
        };
        Ok(body["_embedded"]["documents"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(read)
            .collect())
    }

    async fn upload(&self, outbound: &OutboundDocument, part: usize, holder: &str, kind: &str) -> Result<String, Failure> {
        let number = kit::call_number(part);
        let body = Multipart::new(outbound.keys.boundary(number))
            .text("documentType", kind)
            .file("file", outbound, part)
            .finish(outbound);
        let url = self.client.url(&format!("{holder}/documents"));
        let key = outbound.keys.idempotency(number);
        let answer = self
            .send(|| {
                Call::sending(Method::POST, url.clone())
                    .header("idempotency-key", &key)
                    .body(body.clone())
            })
            .await?;
        if let Some(failure) = answer.stored_failure() {
            return Err(failure);
        }
        if code(&answer) == "duplicateresource" {
            let about = answer
                .json()
                .and_then(|b| b["_links"]["about"]["href"].as_str().and_then(|about| self.document_at(about)));
            return Ok(about.unwrap_or_default());
        }
        if !(200..300).contains(&answer.status) {
            return Err(failure(&answer));
        }
        let place = answer.header("location").and_then(|place| self.document_at(place));
        place.ok_or_else(|| answer.unreadable())
    }

    /// The id in the address of a document of this provider; an address of another host, or of something else, names none.
    fn document_at(&self, address: &str) -> Option<String> {
        let url = Url::parse(address).ok()?;
        let base = self.client.url("");
        let vendors = [LIVE, SANDBOX].iter().filter_map(|own| Url::parse(own).ok());
        let known = std::iter::once(base.clone()).chain(vendors).any(|own| own.origin() == url.origin());
        let path = url.path().strip_prefix(base.path().trim_end_matches('/')).unwrap_or(url.path());
        plain_id(path.strip_prefix("/documents/")?).filter(|_| known)
    }
}

#[async_trait]
impl Connector for Dwolla {
    fn profile(&self) -> Profile {
        let common = &self.settings.common;
        common.profile("dwolla", Duration::ZERO, true)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        // The key is promised for transfers and the like; the page of documents does not name it.
        ProviderClass::ListedKey
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        let kind = self.settings.types.accepted(document)?;
        sides(parts)?;
        let mut limits = self.settings.common.limits.clone();
        // PDF only for the documents of a business.
        if kind != "other" {
            limits.accepted.retain(|t| matches!(t, FileType::Jpeg | FileType::Png));
        }
        Ok(limits)
    }

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        holder(applicant).map(drop)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let holder = holder(applicant)?;
        let named = |body: &Value| body["id"].as_str().is_some_and(|id| holder.ends_with(&format!("/{id}")));
        let object = self.get(&holder, named).await?;
        let has = |link: &str| object["_links"][link].is_object();
        let both = has("verify-controller-and-business-with-document");
        let owner_due = object["verificationStatus"].as_str() == Some("document");
        let due = object["status"].as_str() == Some("document") || owner_due;
        let business = both || has("verify-business-with-document");
        let reason = object["_embedded"]["errors"].as_array().into_iter().flatten().find_map(|error| {
            let reason = Reason::guess(error["code"].as_str()?);
            (reason != Reason::Rejected).then(|| reason.sentence().to_owned())
        });
        let mut found = Vec::new();
        if both || has("verify-with-document") || (due && !business) {
            let id = DocumentKind::parse("government-id").filter(|kind| self.settings.types.of(kind).is_some());
            found.push(missing(id.as_ref(), &["front", "back"], "verify-with-document", reason.clone()));
        }
        if business {
            let company = DocumentKind::parse("company-registration").filter(|kind| self.settings.types.of(kind).is_some());
            found.push(missing(company.as_ref(), &["front"], "verify-business-with-document", reason));
        }
        Ok(found)
    }

    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let kind = self.settings.types.required(outbound)?;
        sides(&part_names(outbound))?;
        let holder = holder(&outbound.applicant)?;
        // Sides go one after the other: of a try that ended unclear, what is new in the list and not noted are the first ones that are not noted.
        let settled = outbound.step(SETTLED) == Some("yes");
        let mut arrived = match outbound.step("before") {
            Some(_) if settled => Vec::new(),
            Some(before) => unnoted(&self.list(&holder).await?, outbound, before, kind),
            None => {
                let before: Vec<String> = self.list(&holder).await?.into_iter().map(|d| d.id).collect();
                progress_log.note("before", &before.join(" ")).await?;
                Vec::new()
            }
        };
        if arrived.len() > outbound.parts.len() - noted(outbound).len() {
            return Err(foreign_documents());
        }
        if settled {
            progress_log.note(SETTLED, "no").await?;
        }
        let mut arrived = arrived.drain(..);
        let mut references = Vec::new();
        for (n, part) in outbound.parts.iter().enumerate() {
            let step = format!("part:{}", part.name);
            references.push(match outbound.step(&step) {
                Some(id) => id.to_owned(),
                None => {
                    let id = match arrived.next() {
                        Some(id) => id,
                        None => match self.upload(outbound, n, &holder, kind).await {
                            Err(failure) if !matches!(failure, Failure::Ambiguous { .. }) => {
                                progress_log.note(SETTLED, "yes").await?;
                                return Err(failure);
                            }
                            other => other?,
                        },
                    };
                    progress_log.note(&step, &id).await?;
                    id
                }
            });
        }
        // An address names no customer: only the customer's own list says that the documents are his.
        let listed = self.list(&holder).await.map_err(Failure::after_sending)?;
        if !references.iter().all(|id| shows(&listed, id, kind)) {
            return Err(not_shown());
        }
        references.retain(|id| !id.is_empty());
        Ok(Delivered {
            references,
            verdict: Verdict::Pending,
        })
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        // The list was noted before the first byte: without it nothing was sent.
        let Some(before) = outbound.step("before") else {
            return Ok(Presence::Absent);
        };
        let kind = self.settings.types.required(outbound)?;
        let listed = self.list(&holder(&outbound.applicant)?).await?;
        let noted = noted(outbound);
        if !noted.iter().all(|id| shows(&listed, id, kind)) {
            return Ok(Presence::Absent);
        }
        let open = outbound.parts.len() - noted.len();
        let new = if open == 0 || outbound.step(SETTLED) == Some("yes") {
            Vec::new()
        } else {
            unnoted(&listed, outbound, before, kind)
        };
        if new.len() == open {
            let found = noted.iter().map(|id| (*id).to_owned()).chain(new);
            return Ok(Presence::Present(Delivered {
                references: found.filter(|id| !id.is_empty()).collect(),
                verdict: Verdict::Pending,
            }));
        }
        // What is there is not sent again, so it is the rest that is absent. More than ours is nobody's to tell apart.
        Ok(if new.len() < open { Presence::Absent } else { Presence::Unknown })
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let kind = self.settings.types.required(outbound)?;
        let listed = self.list(&holder(&outbound.applicant)?).await?;
        let mut ours: Vec<Listed> = listed
            .into_iter()
            .filter(|d| receipt.references.contains(&d.id) || (receipt.references.is_empty() && d.kind == kind))
            .collect();
        ours.sort_by(|a, b| b.created.cmp(&a.created));
        if receipt.references.is_empty() {
            // A duplicate without an address: the newest of the type are the ones that were meant.
            ours.truncate(outbound.parts.len());
        } else if ours.len() < receipt.references.len() {
            return Ok(Verdict::Pending);
        }
        let verdicts: Vec<Verdict> = ours.into_iter().map(|d| d.verdict).collect();
        if let Some(rejected) = verdicts.iter().find(|v| matches!(v, Verdict::Rejected(_))) {
            return Ok(rejected.clone());
        }
        let accepted = !verdicts.is_empty() && verdicts.iter().all(|v| *v == Verdict::Accepted);
        Ok(if accepted { Verdict::Accepted } else { Verdict::Pending })
    }

    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let keys = sign::raw_keys(&self.settings.common.webhook_secrets);
        if keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let given = callback.header("x-request-signature-sha-256").ok_or(CallbackRefused::Signature)?;
        if !sign::verify(Algorithm::Sha256, Encoding::Hex, &keys, &[callback.body], given) {
            return Err(CallbackRefused::Signature);
        }
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let link = |name: &str| body["_links"][name]["href"].as_str().and_then(id_of_address);
        let resource = body["resourceId"].as_str().and_then(plain_id);
        let customer = link("customer").and_then(|id| ApplicantRef::parse(&id)).map(Hint::Applicant);
        Ok(resource.map(Hint::Reference).into_iter().chain(customer).collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        self.get("/", |body| body["_links"].is_object()).await?;
        Ok("the provider gives a token and answers".to_owned())
    }
}

fn foreign_documents() -> Failure {
    Failure::Final {
        problem: DeliveryProblem::new(
            "provider.half_submitted",
            "The provider has more new documents of this applicant than were sent. Look at them in the provider's dashboard, then mark the request as uploaded or retry.",
        ),
    }
}

/// The ids of the sides that are noted.
fn noted(outbound: &OutboundDocument) -> Vec<&str> {
    let step = |part: &super::OutboundPart| outbound.step(&format!("part:{}", part.name));
    outbound.parts.iter().filter_map(step).collect()
}

/// Documents of this type that are neither noted nor were there before, the oldest first.
fn unnoted(listed: &[Listed], outbound: &OutboundDocument, before: &str, kind: &str) -> Vec<String> {
    let known: Vec<&str> = before.split(' ').chain(noted(outbound)).collect();
    let mut new: Vec<&Listed> = listed
        .iter()
        .filter(|d| d.kind == kind && !known.contains(&d.id.as_str()))
        .collect();
    new.sort_by(|a, b| a.created.cmp(&b.created));
    new.into_iter().map(|d| d.id.clone()).collect()
}

/// Whether a list holds this document; a duplicate whose address is not known (`""`) is one of its type.
fn shows(listed: &[Listed], id: &str, kind: &str) -> bool {
    listed.iter().any(|d| if id.is_empty() { d.kind == kind } else { d.id == id })
}

fn judge(document: &Value) -> Verdict {
    match document["documentVerificationStatus"].as_str() {
        Some("accepted") => Verdict::Accepted,
        Some("rejected") => {
            let all = document["allFailureReasons"].as_array().into_iter().flatten();
            let codes = all.filter_map(|r| r["reason"].as_str()).chain(document["failureReason"].as_str());
            let reasons: Vec<Reason> = codes.map(reason).collect();
            let reason = reasons.into_iter().find(|r| *r != Reason::Rejected).unwrap_or(Reason::Rejected);
            Verdict::Rejected(reason.problem())
        }
        _ => Verdict::Pending,
    }
}

fn reason(code: &str) -> Reason {
    match code {
        "BusinessDocNotSupported" | "ScanIdTypeNotSupported" | "ForeignPassportNotAllowed" | "ScanIdUnrecognized" => Reason::WrongType,
        "BusinessNameMismatch" | "BusinessTypeMismatch" | "ScanDobMismatch" | "ScanNameMismatch" => Reason::Mismatch,
        "ScanIdExpired" => Reason::Expired,
        "ScanNotReadable" => Reason::Unreadable,
        "ScanNotUploaded" => Reason::Incomplete,
        "ScanFailedOther" => Reason::Rejected,
        other => Reason::guess(other),
    }
}

fn code(answer: &Answer) -> String {
    let code = answer.json().and_then(|body| body["code"].as_str().map(str::to_lowercase));
    code.filter(|_| answer.status >= 400).unwrap_or_default()
}

fn success(answer: &Answer) -> Result<Value, Failure> {
    if (200..300).contains(&answer.status) {
        return answer.success();
    }
    Err(failure(answer))
}

fn failure(answer: &Answer) -> Failure {
    match code(answer).as_str() {
        "maximumnumberofresources" => {
            answer.refused("The provider already has four files of this applicant. Wait for its review, then ask again.")
        }
        "invalidfiletype" => kit::refused_for(Reason::WrongType),
        "filetoolarge" => kit::refused_for(Reason::TooLarge),
        "invalidresourcestate" => answer
            .refused("The provider takes no document of this applicant now: verified already, suspended, or not asked. Look there first."),
        // "Not authorized for this resource": of another platform's customer, with credentials that are in order.
        "forbidden" if answer.status == 403 => {
            wrong_reference("a customer's id, or owner,<id> for a beneficial owner, of this application's own customers")
        }
        "notauthorized" => Failure::Credentials {
            problem: DeliveryProblem::new(
                "provider.credentials",
                "The provider does not allow this portal to upload documents. Ask the provider for the permission.",
            ),
        },
        _ if answer.status == 409 => kit::busy(answer),
        _ => answer.failure(),
    }
}

#[cfg(test)]
mod tests;
