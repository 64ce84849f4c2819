//! The sandbox provider's connector: the one to learn from and to test with. Class K. Without a `base_url` the provider runs inside the portal: whoever starts it says where it is.
//!
//! | call | request |
//! | --- | --- |
//! | missing | `GET /v1/applicants/{a}/missing` |
//! | deliver | `POST /v1/applicants/{a}/documents`, multipart: `document`, then one file per part under the part's name; `Idempotency-Key` |
//! | reconcile | `GET /v1/applicants/{a}/documents`, found by our file name |
//! | verdict | `GET /v1/documents/{id}` |
//! | callback | Standard Webhooks, `{"type": "document.accepted", "document": "<id>"}` |

use std::sync::OnceLock;

use async_trait::async_trait;
use reqwest::Method;
use serde_json::Value;
use time::Duration;

use super::client::{Answer, Call, Client};
use super::endpoint::Endpoint;
use super::settings::{Common, Defaults, INSIDE};
use super::shape::{Multipart, percent};
use super::words::Reason;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Inside, Limits, Missing, OutboundDocument, Presence, Profile,
    ProgressLog, Unsupported, Verdict, sign,
};
use crate::domain::delivery::{DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, FileType, PartName, PictureLimits};
use crate::settings::{ConfigError, Reader, Secret};

pub(crate) struct SandboxConnectorSettings {
    pub common: Common,
    /// `None`: the provider runs inside the portal.
    pub api_key: Option<Secret>,
}

impl SandboxConnectorSettings {
    /// Keys: the common ones and `api_key_file`. `base_url` may be `http://` on this machine; without one the provider runs inside the portal, and the
    /// secrets are made at each start.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let outside = reader.has("base_url");
        let defaults = Defaults {
            base_url: if outside { "" } else { INSIDE },
            allow_loopback: true,
            accepted: &FileType::ALL,
            min_bytes: 1,
            max_bytes: 20 << 20,
            pictures: PictureLimits::default(),
            poll_first: Duration::seconds(1),
            poll_longest: Duration::seconds(30),
        };
        let common = Common::read(reader, &defaults);
        if common.webhook_secrets.iter().any(|s| sign::standard_key(s.expose()).is_none()) {
            reader.must_be("webhook_secret_file", "a file with whsec_ and base64");
        }
        let given = reader.has("api_key_file");
        let api_key = reader.secret("api_key_file", "the API key");
        if outside && !given {
            reader.is_needed("api_key_file", "a file with the API key, where base_url is set");
        }
        if !outside && given {
            reader.error(
                "api_key_file",
                "goes together with base_url; without one the sandbox runs inside the portal and needs no key",
            );
        }
        Self { common, api_key }
    }
}

pub(crate) struct Sandbox {
    common: Common,
    inside: bool,
    live: OnceLock<Live>,
}

/// How the provider is reached.
struct Live {
    client: Client,
    api_key: Secret,
    webhook_keys: Vec<Vec<u8>>,
}

impl Sandbox {
    pub(crate) fn new(settings: SandboxConnectorSettings) -> Result<Self, Vec<ConfigError>> {
        let SandboxConnectorSettings { common, api_key } = settings;
        let client = Client::new(&common.endpoint)?;
        let live = OnceLock::new();
        let inside = api_key.is_none();
        if let Some(api_key) = api_key {
            let secrets = common.webhook_secrets.iter();
            let webhook_keys = secrets.filter_map(|s| sign::standard_key(s.expose())).collect();
            let _ = live.set(Live {
                client,
                api_key,
                webhook_keys,
            });
        }
        Ok(Self { common, inside, live })
    }

    fn live(&self) -> Result<&Live, Failure> {
        self.live.get().ok_or_else(|| Failure::Definite {
            problem: DeliveryProblem::new(
                "provider.unreachable",
                "The sandbox inside the portal does not run; it is tried again by itself.",
            ),
            after: None,
            new_key: false,
        })
    }

    async fn ask(&self, path: &str, is_it: impl FnOnce(&Value) -> bool) -> Result<Value, Failure> {
        let live = self.live()?;
        let call = Call::asking(Method::GET, live.client.url(path)).bearer(live.api_key.expose());
        let answer = live.client.send(call).await?;
        answer.only(answer.success()?, is_it)
    }

    fn upload(live: &Live, outbound: &OutboundDocument) -> Call {
        let mut form = Multipart::new(outbound.keys.boundary(0)).text("document", outbound.kind.as_str());
        for (n, part) in outbound.parts.iter().enumerate() {
            form = form.file(part.name.as_str(), outbound, n);
        }
        let path = format!("/v1/applicants/{}/documents", percent(outbound.applicant.expose()));
        Call::sending(Method::POST, live.client.url(&path))
            .bearer(live.api_key.expose())
            .header("idempotency-key", &outbound.keys.idempotency(0))
            .body(form.finish(outbound))
    }
}

#[async_trait]
impl Connector for Sandbox {
    fn profile(&self) -> Profile {
        self.common.profile("sandbox", Duration::hours(24), true)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        ProviderClass::IdempotencyKey
    }

    fn accepts(&self, _: &DocumentKind, _: &[PartName]) -> Result<Limits, Unsupported> {
        Ok(self.common.limits.clone())
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let path = format!("/v1/applicants/{}/missing", percent(applicant.expose()));
        let answer = self.ask(&path, |body| body["missing"].is_array()).await?;
        Ok(answer["missing"].as_array().into_iter().flatten().map(read_missing).collect())
    }

    async fn deliver(&self, outbound: &OutboundDocument, _: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let live = self.live()?;
        let answer = live.client.send(Self::upload(live, outbound)).await?;
        if answer.status == 409 {
            return read_conflict(&answer, outbound);
        }
        if let Some(failure) = answer.stored_failure() {
            return Err(failure);
        }
        delivered(&answer.success()?, outbound).ok_or_else(|| answer.unreadable())
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        let path = format!("/v1/applicants/{}/documents", percent(outbound.applicant.expose()));
        let answer = self.ask(&path, |body| body["documents"].is_array()).await?;
        let mut documents = answer["documents"].as_array().into_iter().flatten();
        let ours = documents.find(|document| holds_all(document, outbound));
        Ok(match ours {
            Some(document) => delivered(document, outbound).map_or(Presence::Unknown, Presence::Present),
            None => Presence::Absent,
        })
    }

    async fn verdict(&self, _: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let Some(id) = receipt.references.first() else {
            return Ok(Verdict::Pending);
        };
        let named = |body: &Value| body["id"].as_str() == Some(id);
        Ok(read_verdict(&self.ask(&format!("/v1/documents/{}", percent(id)), named).await?))
    }

    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let keys = self.live.get().map(|live| live.webhook_keys.as_slice()).unwrap_or_default();
        if keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        sign::verify_standard(&keys, callback)?;
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let id = body["document"].as_str().ok_or(CallbackRefused::Malformed)?;
        Ok(vec![Hint::Reference(id.to_owned())])
    }

    fn runs_inside(&self) -> bool {
        self.inside
    }

    fn begin_inside(&self, inside: Inside<'_>) -> Result<(), Vec<ConfigError>> {
        let endpoint = Endpoint {
            base_url: inside.url.to_owned(),
            ..self.common.endpoint.clone()
        };
        let _ = self.live.set(Live {
            client: Client::new(&endpoint)?,
            api_key: Secret::new(inside.api_key),
            webhook_keys: sign::standard_key(inside.webhook_secret).into_iter().collect(),
        });
        Ok(())
    }

    async fn check(&self) -> Result<String, Failure> {
        if self.inside {
            return Ok("a sandbox inside the portal: nothing leaves this machine, and no document is checked by anybody".to_owned());
        }
        self.ask("/v1/account", Value::is_object)
            .await
            .map(|_| "the sandbox answers and knows the API key; no document is checked by anybody".to_owned())
    }
}

fn read_missing(entry: &Value) -> Missing {
    let name = entry["document"].as_str().unwrap_or_default();
    Missing {
        document: DocumentKind::parse(name),
        parts: entry["parts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|p| PartName::parse(p.as_str()?))
            .collect(),
        provider_name: name.to_owned(),
        reason: entry["reason"].as_str().map(|r| Reason::guess(r).sentence().to_owned()),
        applicant: None,
    }
}

/// By our file names, each of which is this document's alone.
fn holds_all(document: &Value, outbound: &OutboundDocument) -> bool {
    let files = document["files"].as_array();
    files.is_some_and(|files| (0..outbound.parts.len()).all(|n| files.iter().any(|file| file.as_str() == Some(&outbound.file_name(n)))))
}

fn delivered(document: &Value, outbound: &OutboundDocument) -> Option<Delivered> {
    holds_all(document, outbound).then_some(())?;
    Some(Delivered {
        references: vec![document["id"].as_str()?.to_owned()],
        verdict: read_verdict(document),
    })
}

fn read_verdict(document: &Value) -> Verdict {
    match document["status"].as_str() {
        Some("accepted") => Verdict::Accepted,
        Some("rejected") => {
            let word = document["reason"].as_str().unwrap_or_default();
            Verdict::Rejected(Reason::parse(word).unwrap_or_else(|| Reason::guess(word)).problem())
        }
        _ => Verdict::Pending,
    }
}

/// A duplicate counts as received. A key that is still being worked on is asked again; one that stood for other bytes must be looked into.
fn read_conflict(answer: &Answer, outbound: &OutboundDocument) -> Result<Delivered, Failure> {
    let body = answer.json().unwrap_or_default();
    match body["code"].as_str() {
        Some("duplicate") => delivered(&body, outbound).ok_or_else(|| answer.unreadable()),
        Some("in_progress") => Err(super::kit::busy(answer)),
        _ => Err(answer.uncertain("provider.key_reused", "The provider remembers this delivery with other content.")),
    }
}
