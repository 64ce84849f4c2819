//! Sumsub: signed multipart, one request per side, and an explicit call that starts the review. Class D: a duplicate is answered as such.
//!
//! * Every request is signed: hex HMAC-SHA256 over time, method, path with query, and the whole body. For an upload the sealed document is therefore
//!   read twice, once for the signature and once for the wire; it is never whole in memory.
//! * The applicant reference is the applicant's id, or `<id>,<country>` with one of the configured countries. A document's country is required there.
//! * Each side is noted as `part:<side>` (the image's id, and the portal's word for what the provider found wrong with it at once).
//! * `submit` decides who starts the review: `complete` (default) asks for it once no step is empty, `always` after every document, `never` leaves it to others.
//!
//! Unverified: the words `DRIVERS`, `UTILITY_BILL`, `BANK_STATEMENT` and `COMPANY_DOC` (`types` overrides them), and the answer of the submit call
//! when documents are still missing. Sandbox and live mode share one address; the app token decides.

pub(crate) mod status;

use async_trait::async_trait;
use reqwest::{Method, Url};
use serde_json::Value;
use time::Duration;

use super::body::Body;
use super::client::{Answer, Call, Client};
use super::http::signing_time;
use super::kinds::{Countries, Kinds, part_names, plain_id, sides};
use super::kit;
use super::settings::{Common, Defaults};
use super::shape::{Multipart, percent};
use super::sign::{self, Algorithm, Encoding, Signer};
use super::words::Reason;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    SourceError, Unsupported, Verdict, WrongReference, not_shown,
};
use crate::domain::delivery::{DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName};
use crate::settings::{ConfigError, Reader, Secret};
use status::Steps;

const TYPES: [(&str, &str); 7] = [
    ("government-id", "ID_CARD"),
    ("passport", "PASSPORT"),
    ("drivers-license", "DRIVERS"),
    ("proof-of-address", "UTILITY_BILL"),
    ("bank-statement", "BANK_STATEMENT"),
    ("selfie", "SELFIE"),
    ("company-registration", "COMPANY_DOC"),
];
/// Types of which a single picture still is a side.
const TWO_SIDED: [&str; 4] = ["ID_CARD", "DRIVERS", "RESIDENCE_PERMIT", "DRIVERS_TRANSLATION"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submit {
    Complete,
    Always,
    Never,
}

#[derive(Debug)]
pub(crate) struct SumsubSettings {
    pub common: Common,
    pub app_token: Secret,
    pub secret_key: Secret,
    pub countries: Countries,
    pub types: Kinds,
    pub submit: Submit,
    pub callback_algorithm: Algorithm,
}

impl SumsubSettings {
    /// Keys: the common ones, `app_token_file`, `secret_key_file`, `country`, `countries`, `types`, `submit` (`complete`, `always`, `never`),
    /// `callback_algorithm` (`sha256`, `sha512` or the legacy `sha1`).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let defaults = Defaults {
            poll_first: Duration::seconds(20),
            ..Defaults::of("https://api.sumsub.com", 64_000_000)
        };
        let common = Common::read(reader, &defaults);
        let app_token = reader.required_secret("app_token_file", "the app token");
        let secret_key = reader.required_secret("secret_key_file", "the secret key");
        let countries = Countries::read(reader, true);
        let types = Kinds::read(reader, "types", &TYPES);
        let submits = [("complete", Submit::Complete), ("always", Submit::Always), ("never", Submit::Never)];
        let submit = reader.choice("submit", &submits, "complete", "when the applicant is handed in for review");
        let algorithms = [
            ("sha256", Algorithm::Sha256),
            ("sha512", Algorithm::Sha512),
            ("sha1", Algorithm::Sha1),
        ];
        let callback_algorithm = reader.choice("callback_algorithm", &algorithms, "sha256", "how callbacks are signed");
        Self {
            common,
            app_token,
            secret_key,
            countries,
            types,
            submit,
            callback_algorithm,
        }
    }
}

pub(crate) struct Sumsub {
    settings: SumsubSettings,
    client: Client,
}

/// Lower-case hexadecimal HMAC-SHA256 over `time + METHOD + path?query + body`. The path is the one on the wire, percent-encoding included.
pub(crate) async fn signature(secret: &Secret, time: &str, method: &Method, url: &Url, body: Option<&Body>) -> Result<String, SourceError> {
    let mut signer = Signer::new(Algorithm::Sha256, secret.expose().as_bytes());
    signer.update(time.as_bytes());
    signer.update(method.as_str().as_bytes());
    signer.update(url.path().as_bytes());
    if let Some(query) = url.query() {
        signer.update(b"?");
        signer.update(query.as_bytes());
    }
    if let Some(body) = body {
        body.read(|bytes| signer.update(bytes)).await?;
    }
    Ok(Encoding::Hex.encode(&signer.finish()))
}

impl Sumsub {
    pub(crate) fn new(settings: SumsubSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    async fn send(&self, method: Method, path: &str, body: Option<Body>, asks: bool) -> Result<Answer, Failure> {
        let url = self.client.url(path);
        // The provider refuses more than a minute's difference to its own clock.
        let now = signing_time();
        let signed = signature(&self.settings.secret_key, &now, &method, &url, body.as_ref()).await?;
        let call = if asks {
            Call::asking(method, url)
        } else {
            Call::sending(method, url)
        };
        let call = call
            .header("x-app-token", self.settings.app_token.expose())
            .header("x-app-access-ts", &now)
            .header("x-app-access-sig", &signed)
            .header("x-return-doc-warnings", "true");
        self.client
            .send(match body {
                Some(body) => call.body(body),
                None => call,
            })
            .await
    }

    async fn steps(&self, id: &str) -> Result<Steps, Failure> {
        let path = format!("/resources/applicants/{}/requiredIdDocsStatus", percent(id));
        let answer = self.send(Method::GET, &path, None, true).await?;
        let body = success(&answer)?;
        Steps::read(&body).ok_or_else(|| answer.unreadable())
    }

    /// The image's id and what the provider found wrong with it at once.
    async fn upload(&self, outbound: &OutboundDocument, part: usize, kind: &str) -> Result<(String, Option<Reason>), Failure> {
        let (id, country) = self.settings.countries.split(&outbound.applicant)?;
        let country = country.unwrap_or_default();
        let mut metadata = format!(r#"{{"idDocType":"{kind}","country":"{country}""#);
        if outbound.parts.len() > 1 || TWO_SIDED.contains(&kind) {
            let side = if outbound.parts[part].name.as_str() == "back" {
                "BACK_SIDE"
            } else {
                "FRONT_SIDE"
            };
            metadata.push_str(&format!(r#","idDocSubType":"{side}""#));
        }
        metadata.push('}');
        let number = kit::call_number(part);
        let body = Multipart::new(outbound.keys.boundary(number))
            .text("metadata", &metadata)
            .file("content", outbound, part)
            .finish(outbound);
        let path = format!("/resources/applicants/{}/info/idDoc", percent(id));
        let answer = self.send(Method::POST, &path, Some(body), false).await?;
        if answer.status == 409 && error_code(&answer) == Some(1000) {
            return Ok((String::new(), None));
        }
        let ours = |body: &Value| body["idDocType"].as_str() == Some(kind) && body["country"].as_str() == Some(country);
        let body = answer.only(success(&answer)?, ours)?;
        let image = answer.header("x-image-id").and_then(plain_id);
        Ok((image.ok_or_else(|| answer.unreadable())?, status::first_reason(&body["errors"])))
    }

    async fn submit(&self, id: &str, steps: &Steps) -> Result<(), Failure> {
        match self.settings.submit {
            Submit::Never => return Ok(()),
            Submit::Complete if steps.has_empty() => return Ok(()),
            _ => {}
        }
        let path = format!("/resources/applicants/{}/status/pending?reason=docs%20uploaded", percent(id));
        // It stores no document, and asking twice is answered by "being checked already".
        let answer = self.send(Method::POST, &path, None, true).await?;
        let body = answer.json().unwrap_or_default();
        match answer.status {
            200..300 if body["ok"].as_i64() == Some(1) => Ok(()),
            200..300 if (answer.json().is_some() || answer.is_empty()) && self.is_under_review(id).await? => Ok(()),
            200..300 => Err(answer.unreadable().after_sending()),
            409 if matches!(error_code(&answer), Some(1008 | 1009)) => success(&answer).map(drop),
            409 if body["code"].is_number() => Ok(()),
            400 | 404 | 422 => Err(Failure::Final {
                problem: DeliveryProblem::new(
                    "provider.not_submitted",
                    "The provider has the document but did not start its review. Start it in the provider's dashboard, then mark the request as uploaded.",
                ),
            }),
            _ => Err(answer.failure().after_sending()),
        }
    }

    /// Whether the review has begun, where the answer to its start did not say so.
    async fn is_under_review(&self, id: &str) -> Result<bool, Failure> {
        const BEGUN: [&str; 6] = ["pending", "queued", "prechecked", "onHold", "completed", "awaitingService"];
        let path = format!("/resources/applicants/{}/status", percent(id));
        let answer = self.send(Method::GET, &path, None, true).await.map_err(Failure::after_sending)?;
        let body = success(&answer).map_err(Failure::after_sending)?;
        Ok(body["reviewStatus"].as_str().is_some_and(|status| BEGUN.contains(&status)))
    }
}

#[async_trait]
impl Connector for Sumsub {
    fn profile(&self) -> Profile {
        let common = &self.settings.common;
        common.profile("sumsub", Duration::ZERO, true)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        ProviderClass::DuplicateAnswered
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        self.settings.types.accepted(document)?;
        sides(parts)?;
        Ok(self.settings.common.limits.clone())
    }

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        self.settings.countries.split(applicant).map(drop)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let (id, _) = self.settings.countries.split(applicant)?;
        Ok(self.steps(id).await?.missing(&self.settings.types))
    }

    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let kind = self.settings.types.required(outbound)?;
        sides(&part_names(outbound))?;
        let (id, _) = self.settings.countries.split(&outbound.applicant)?;
        let (mut references, mut found) = (Vec::new(), None);
        for (n, part) in outbound.parts.iter().enumerate() {
            let step = format!("part:{}", part.name);
            let (image, reason) = match outbound.step(&step) {
                Some(noted) => read_note(noted),
                None => {
                    let (image, reason) = self.upload(outbound, n, kind).await?;
                    progress_log
                        .note(&step, &format!("{image} {}", reason.map_or("", Reason::as_str)))
                        .await?;
                    (image, reason)
                }
            };
            references.extend(Some(image).filter(|image| !image.is_empty()));
            found = found.or(reason);
            if found.is_some() {
                break;
            }
        }
        let verdict = match found {
            Some(reason) => Verdict::Rejected(reason.problem()),
            None => {
                if outbound.step("submitted").is_none() {
                    let steps = self.steps(id).await.map_err(Failure::after_sending)?;
                    if steps.contradicts(&references, kind) {
                        return Err(not_shown());
                    }
                    if references.len() < outbound.parts.len() {
                        // A duplicate was answered without its id: the images of this type are the ones that were meant.
                        references = steps.images(kind);
                    }
                    self.submit(id, &steps).await?;
                    progress_log.note("submitted", "1").await?;
                }
                Verdict::Pending
            }
        };
        Ok(Delivered { references, verdict })
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        // The provider's list has no file names; but the same bytes again are answered as a duplicate, so sending tells.
        let notes: Option<Vec<_>> = outbound
            .parts
            .iter()
            .map(|p| outbound.step(&format!("part:{}", p.name)).map(read_note))
            .collect();
        let Some(notes) = notes.filter(|_| outbound.step("submitted").is_some()) else {
            return Ok(Presence::Unknown);
        };
        let references = notes
            .into_iter()
            .map(|(image, _)| image)
            .filter(|image| !image.is_empty())
            .collect();
        Ok(Presence::Present(Delivered {
            references,
            verdict: Verdict::Pending,
        }))
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let kind = self.settings.types.required(outbound)?;
        let (id, _) = self.settings.countries.split(&outbound.applicant)?;
        Ok(self.steps(id).await?.verdict(&receipt.references, kind))
    }

    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let keys = sign::raw_keys(&self.settings.common.webhook_secrets);
        if keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let algorithm = self.settings.callback_algorithm;
        let pinned = match algorithm {
            Algorithm::Sha1 => "HMAC_SHA1_HEX",
            Algorithm::Sha256 => "HMAC_SHA256_HEX",
            Algorithm::Sha512 => "HMAC_SHA512_HEX",
        };
        let header = |name| callback.header(name).ok_or(CallbackRefused::Signature);
        if header("x-payload-digest-alg")? != pinned
            || !sign::verify(algorithm, Encoding::Hex, &keys, &[callback.body], header("x-payload-digest")?)
        {
            return Err(CallbackRefused::Signature);
        }
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let id = body["applicantId"].as_str().and_then(plain_id).ok_or(CallbackRefused::Malformed)?;
        Ok(self.settings.countries.references(&id).into_iter().map(Hint::Applicant).collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        // An applicant that cannot exist: signed requests are told "not found", others "unauthorized".
        let path = "/resources/applicants/000000000000000000000000/requiredIdDocsStatus";
        let answer = self.send(Method::GET, path, None, true).await?;
        match (answer.status, error_code(&answer)) {
            // Codes about the app token itself, whatever their status.
            (_, Some(4000..5000)) => Err(refused_token(&answer)),
            // In the provider's own form of an error; another server's "not found" says nothing of the signature.
            (400 | 404, _) if answer.json().is_some_and(|body| body["code"].is_number()) => {
                Ok("the provider answers and takes the signature".to_owned())
            }
            (200..300 | 404, _) => Err(answer.unreadable()),
            _ => Err(answer.failure()),
        }
    }
}

fn refused_token(answer: &Answer) -> Failure {
    Failure::Credentials {
        problem: DeliveryProblem::new(
            "provider.credentials",
            format!(
                "The provider refuses the app token or its signature (status {}). Check both secrets and this machine's clock.",
                answer.status
            ),
        ),
    }
}

fn read_note(noted: &str) -> (String, Option<Reason>) {
    let (image, word) = noted.split_once(' ').unwrap_or((noted, ""));
    (image.to_owned(), Reason::parse(word))
}

fn error_code(answer: &Answer) -> Option<i64> {
    let body = answer.json()?;
    body["errorCode"].as_i64()
}

/// The body of a success, or what the provider's error code means.
fn success(answer: &Answer) -> Result<Value, Failure> {
    if (200..300).contains(&answer.status) {
        return answer.success();
    }
    Err(match error_code(answer) {
        Some(4000..5000) => refused_token(answer),
        Some(1001) => answer.refused("The provider has too many documents of this applicant. Remove some there, then retry."),
        Some(1002) => kit::refused_for(Reason::TooLarge),
        Some(1003 | 1004) => kit::refused_for(Reason::Corrupted),
        Some(1005) => kit::refused_for(Reason::WrongType),
        Some(1006) => answer.definite(
            "provider.busy",
            "The provider is checking this applicant and takes no document meanwhile; it is tried again by itself.",
        ),
        Some(1007) => told(
            "document.wrong_size",
            "The file is smaller or larger than the provider's own settings allow. Look at them there, or ask for another photo or file.",
        ),
        Some(1008) => told(
            "provider.applicant_reference",
            "The provider has marked this applicant as deleted and takes nothing more: the id of an active applicant. Purge this request and ask again with the right one.",
        ),
        Some(1009) => answer.refused("The provider has rejected this applicant for good and takes no further document."),
        Some(1010) => told(
            "provider.unsupported",
            "The level of this applicant does not ask for this type of document. Look at the level there and at `types`, and ask for what is missing.",
        ),
        Some(1011) => told(
            "document.corrupted",
            "The file is protected by a password. Ask for one that opens without.",
        ),
        _ => answer.failure(),
    })
}

fn told(code: &str, text: &str) -> Failure {
    Failure::Final {
        problem: DeliveryProblem::new(code, text),
    }
}

#[cfg(test)]
mod tests;
