//! SynapseFi, whose API is gone since April 2024; a provider of that shape can be spoken to, and this is the article that the portal began with. Class R.
//!
//! 1. `GET /users/{id}?full_dehydrate=yes` gives the refresh token, the base document and what is there already.
//! 2. `POST /oauth/{id}` turns the refresh token into an OAuth key.
//! 3. `PATCH /users/{id}` carries every part as a data URI in one request: two PATCHes of one user in a row race at the provider.
//! 4. The verdict is polled from step 1's call.
//!
//! * One user at a time: deliveries of one process to one user wait for one another.
//! * PATCH knows no idempotency key, so an unknown outcome is resolved by comparing the sub-documents with those noted before the PATCH (step `before`).
//! * A callback signs only an id, not its body: it is a hint and nothing else.
//!
//! The applicant reference is the user's id. Unverified against a living provider: the shape of `required_edd_docs`, whether a sub-document of the same
//! type is replaced or added, `expires_in` of the OAuth answer (without it a key is used once), and that answer when a device needs a second factor.

pub(crate) mod user;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::Duration;

use super::body::Body;
use super::client::{Answer, Call, Client};
use super::oauth::{Token, Tokens, lifetime};
use super::settings::{Common, Defaults};
use super::shape::{Json, percent};
use super::sign::{self, Algorithm, Encoding};
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, not_shown,
};
use crate::domain::delivery::{DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, FileType, PartName};
use crate::settings::{ConfigError, Reader, Secret};
use user::{Types, User};

/// The documented limit of a request's body, and room for everything in it that is no document.
const BODY_CAP: u64 = (30 << 20) - (64 << 10);
/// Locks remembered before the unused ones are dropped.
const REMEMBERED: usize = 1_024;

#[derive(Debug)]
pub(crate) struct SynapseSettings {
    pub common: Common,
    pub client_id: String,
    pub client_secret: Secret,
    pub fingerprint: Secret,
    pub user_ip: String,
    pub language: String,
    pub types: Types,
    pub required: Vec<DocumentKind>,
    pub callback_algorithm: Algorithm,
}

impl SynapseSettings {
    /// Keys: the common ones, `client_id`, `client_secret_file`, `fingerprint_file`, `user_ip`, `language`, `types` (`{ "government-id/front" = "GOVT_ID" }`),
    /// `required` (document kinds that are missing as long as the provider has none), `callback_algorithm` (`sha256` or `sha1`). Callbacks are signed with the client secret.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let defaults = Defaults {
            poll_first: Duration::seconds(15),
            ..Defaults::of("", BODY_CAP / 4 * 3)
        };
        let common = Common::read(reader, &defaults);
        let client_id = reader.required("client_id", "the client's id");
        let client_secret = reader.required_secret("client_secret_file", "the client's secret");
        let fingerprint = reader.required_secret("fingerprint_file", "the registered device's fingerprint");
        let user_ip = reader.required("user_ip", "an IP address, as X-SP-USER-IP");
        if !user_ip.is_empty() && user_ip.parse::<std::net::IpAddr>().is_err() {
            reader.must_be("user_ip", "an IP address, as X-SP-USER-IP");
        }
        let language = reader.text_with("language", "en", "a language code such as \"en\"");
        let types = Types::read(reader);
        let required = reader.texts_with("required", &["government-id"], "a list of document kinds");
        let known: Option<Vec<_>> = required
            .iter()
            .map(|kind| DocumentKind::parse(kind).filter(|k| types.takes(k)))
            .collect();
        if known.is_none() {
            reader.must_be("required", "document kinds that `types` knows");
        }
        let callback_algorithm = reader.choice(
            "callback_algorithm",
            &[("sha256", Algorithm::Sha256), ("sha1", Algorithm::Sha1)],
            "sha256",
            "how callbacks are signed",
        );
        let required = known.unwrap_or_default();
        Self {
            common,
            client_id,
            client_secret,
            fingerprint,
            user_ip,
            language,
            types,
            required,
            callback_algorithm,
        }
    }
}

type UserLock = tokio::sync::Mutex<()>;

pub(crate) struct Synapse {
    settings: SynapseSettings,
    client: Client,
    /// A lock for each user whom something is being sent to, by a digest of the reference.
    users: Mutex<HashMap<[u8; 32], Weak<UserLock>>>,
    /// OAuth keys by user, for as long as the provider says.
    tokens: Tokens,
}

/// How a request counts when it fails.
enum Step {
    Asks,
    Sends,
}

impl Synapse {
    pub(crate) fn new(settings: SynapseSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self {
            settings,
            client,
            users: Mutex::default(),
            tokens: Tokens::default(),
        })
    }

    fn lock_of(&self, applicant: &ApplicantRef) -> Arc<UserLock> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= REMEMBERED {
            users.retain(|_, lock| lock.strong_count() > 0);
        }
        let known = users.entry(Sha256::digest(applicant.expose()).into()).or_default();
        known.upgrade().unwrap_or_else(|| {
            let lock = Arc::default();
            *known = Arc::downgrade(&lock);
            lock
        })
    }

    /// The three-header authentication. Before OAuth the key is empty.
    fn call(&self, step: &Step, method: Method, path: &str, oauth_key: &str) -> Call {
        let settings = &self.settings;
        let url = self.client.url(path);
        let call = match step {
            Step::Asks => Call::asking(method, url),
            Step::Sends => Call::sending(method, url),
        };
        call.header("x-sp-lang", &settings.language)
            .header(
                "x-sp-gateway",
                &format!("{}|{}", settings.client_id, settings.client_secret.expose()),
            )
            .header("x-sp-user", &format!("{oauth_key}|{}", settings.fingerprint.expose()))
            .header("x-sp-user-ip", &settings.user_ip)
    }

    async fn user(&self, applicant: &ApplicantRef) -> Result<User, Failure> {
        let path = format!("/users/{}?full_dehydrate=yes", percent(applicant.expose()));
        let call = self
            .call(&Step::Asks, Method::GET, &path, "")
            .header("content-type", "application/json");
        let answer = self.client.send(call).await?;
        let body = answer.only(success(&answer)?, |body| is_user(body, applicant))?;
        User::read(&body).ok_or_else(|| answer.unreadable())
    }

    async fn oauth(&self, applicant: &ApplicantRef, user: &User) -> Result<Secret, Failure> {
        self.tokens.get(applicant.expose(), self.fetch_key(applicant, user)).await
    }

    async fn fetch_key(&self, applicant: &ApplicantRef, user: &User) -> Result<Token, Failure> {
        let body = serde_json::json!({"refresh_token": user.refresh_token.expose()}).to_string();
        let path = format!("/oauth/{}", percent(applicant.expose()));
        let call = self
            .call(&Step::Asks, Method::POST, &path, "")
            .body(Body::text("application/json", body));
        let answer = self.client.send(call).await?;
        if answer.status == 202 || error_code(&answer).as_deref() == Some("10") {
            let text =
                "The provider wants a second factor for this portal's device. Register the fingerprint with the provider, then retry.";
            // A device is registered for each user: others may be reached.
            return Err(Failure::Final {
                problem: DeliveryProblem::new("provider.second_factor", text),
            });
        }
        let body = success(&answer)?;
        let key = body["oauth_key"].as_str().map(Secret::new).filter(|k| !k.expose().is_empty());
        Ok(Token {
            secret: key.ok_or_else(|| answer.unreadable())?,
            lives: lifetime(&body["expires_in"]),
        })
    }

    fn patch_body(&self, outbound: &OutboundDocument, base: &str) -> Result<Body, Failure> {
        let mut documents = Vec::new();
        for (n, part) in outbound.parts.iter().enumerate() {
            let theirs = self
                .settings
                .types
                .of(&outbound.kind, &part.name)
                .ok_or_else(|| unsupported(&outbound.kind))?;
            documents.push(Json::object([
                ("document_type", Json::text(theirs)),
                ("document_value", Json::DataUri(n)),
            ]));
        }
        let document = Json::object([("id", Json::text(base)), ("physical_docs", Json::Array(documents))]);
        Ok(Json::object([("documents", Json::Array(vec![document]))]).body(outbound))
    }

    async fn patch(&self, outbound: &OutboundDocument, base: &str, oauth_key: &Secret) -> Result<Answer, Failure> {
        let path = format!("/users/{}", percent(outbound.applicant.expose()));
        let call = self.call(&Step::Sends, Method::PATCH, &path, oauth_key.expose());
        self.client.send(call.body(self.patch_body(outbound, base)?)).await
    }

    fn types_of(&self, outbound: &OutboundDocument) -> Vec<String> {
        outbound
            .parts
            .iter()
            .filter_map(|part| self.settings.types.of(&outbound.kind, &part.name))
            .map(str::to_owned)
            .collect()
    }

    async fn send(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let types = self.types_of(outbound);
        let user = self.user(&outbound.applicant).await?;
        // What an earlier attempt of this epoch noted stays: the bytes must be the same, and its comparison the older one.
        let before = outbound.step("before").map_or_else(|| user.snapshot(&types), str::to_owned);
        let base = match outbound.step("base") {
            Some(base) => base.to_owned(),
            None => {
                let base = user.base.clone().ok_or_else(no_base)?;
                progress_log.note("before", &before).await?;
                progress_log.note("base", &base).await?;
                base
            }
        };
        let mut key = self.oauth(&outbound.applicant, &user).await?;
        let mut answer = self.patch(outbound, &base, &key).await?;
        if matches!(error_code(&answer).as_deref(), Some("110" | "300")) {
            // The key ran out between two calls; once, since a second refusal is about something else.
            self.tokens.forget(outbound.applicant.expose(), &key).await;
            let fresh = self.user(&outbound.applicant).await?;
            key = self.oauth(&outbound.applicant, &fresh).await?;
            answer = self.patch(outbound, &base, &key).await?;
        }
        let body = answer.only(success(&answer)?, |body| is_user(body, &outbound.applicant))?;
        let user = User::read_documents(&body).ok_or_else(|| answer.unreadable())?;
        if user.shows_new(&types, &before) {
            Ok(user.delivered(&types))
        } else {
            Err(not_shown())
        }
    }
}

#[async_trait]
impl Connector for Synapse {
    fn profile(&self) -> Profile {
        self.settings.common.profile("synapse", Duration::ZERO, true)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        ProviderClass::Reconcile
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        let types = &self.settings.types;
        let theirs: Option<Vec<&str>> = parts.iter().map(|part| types.of(document, part)).collect();
        let Some(theirs) = theirs.filter(|t| !t.is_empty()) else {
            return Err(Unsupported(types.describe()));
        };
        let mut limits = self.settings.common.limits.clone();
        if theirs.iter().any(|t| t.starts_with("GOVT_ID") || *t == "SELFIE") {
            limits.accepted.retain(|t| matches!(t, FileType::Jpeg | FileType::Png));
        }
        limits.max_bytes = limits.max_bytes.min(BODY_CAP / 4 * 3 / parts.len() as u64);
        Ok(limits)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        Ok(self.user(applicant).await?.missing(&self.settings.types, &self.settings.required))
    }

    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let user = self.lock_of(&outbound.applicant);
        let _one_at_a_time = user.lock().await;
        self.send(outbound, progress_log).await
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        let user = self.lock_of(&outbound.applicant);
        let _one_at_a_time = user.lock().await;
        // The note stands before the PATCH: without it nothing was sent.
        let Some(before) = outbound.step("before") else {
            return Ok(Presence::Absent);
        };
        let user = self.user(&outbound.applicant).await?;
        Ok(user.presence(&self.types_of(outbound), before))
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        Ok(self.user(&outbound.applicant).await?.verdict(&receipt.references))
    }

    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let name = if self.settings.callback_algorithm == Algorithm::Sha1 {
            "x-synapse-signature"
        } else {
            "x-synapse-signature-sha256"
        };
        let given = callback.header(name).ok_or(CallbackRefused::Signature)?;
        // The signature covers an id inside the body, so the body must be read to be checked; nothing else of it is used.
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Signature)?;
        let id = body["_id"]["$oid"].as_str().ok_or(CallbackRefused::Signature)?;
        let secret = self.settings.client_secret.expose().as_bytes();
        let pieces: [&[u8]; 3] = [id.as_bytes(), b"+", self.settings.client_id.as_bytes()];
        if !sign::verify(self.settings.callback_algorithm, Encoding::Hex, &[secret], &pieces, given) {
            return Err(CallbackRefused::Signature);
        }
        let applicant = ApplicantRef::parse(id).ok_or(CallbackRefused::Malformed)?;
        Ok(vec![Hint::Applicant(applicant)])
    }

    async fn check(&self) -> Result<String, Failure> {
        let call = self
            .call(&Step::Asks, Method::GET, "/users/document-types", "")
            .header("content-type", "application/json");
        let answer = self.client.send(call).await?;
        let body = answer.only(success(&answer)?, |body| body["physical_docs"].is_array())?;
        let count = body["physical_docs"].as_array().map_or(0, Vec::len);
        Ok(format!("the provider answers and lists {count} document types"))
    }
}

/// Whether an answer is about this user.
fn is_user(body: &Value, applicant: &ApplicantRef) -> bool {
    body["_id"].as_str() == Some(applicant.expose())
}

fn unsupported(kind: &DocumentKind) -> Failure {
    Failure::Final {
        problem: DeliveryProblem::new(
            "provider.unsupported",
            format!("This provider has no document type for {kind}. Check `types` in its configuration."),
        ),
    }
}

fn no_base() -> Failure {
    let text = "The provider has no base document for this applicant yet; complete the applicant's data there, then retry.";
    Failure::Final {
        problem: DeliveryProblem::new("provider.no_base_document", text),
    }
}

fn error_code(answer: &Answer) -> Option<String> {
    if (200..300).contains(&answer.status) && answer.status != 202 {
        return None;
    }
    match &answer.json()?["error_code"] {
        Value::String(code) => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    }
}

/// The body of a success, or what the provider's error code means. The code outweighs the status.
fn success(answer: &Answer) -> Result<Value, Failure> {
    let Some(code) = error_code(answer) else { return answer.success() };
    let credentials = |text: &str| Failure::Credentials {
        problem: DeliveryProblem::new("provider.credentials", format!("{text} (code {code})")),
    };
    let refused = |text: &str| Failure::Final {
        problem: DeliveryProblem::new("provider.refused", format!("{text} (code {code})")),
    };
    Err(match code.as_str() {
        "100" => credentials("The provider refuses this portal's client id and secret."),
        // The key and the fingerprint are the user's, not the portal's.
        "110" | "120" | "300" => refused("The provider refuses this portal's access to this applicant. Check the fingerprint, then retry."),
        "10" => refused(
            "The provider wants a second factor for this portal's device with this applicant. Register the fingerprint, then retry.",
        ),
        "200" | "410" => refused("The provider refused the content of the request."),
        "404" => refused("The provider does not know this applicant."),
        "400" => refused("The provider has a conflicting document."),
        "460" => refused("The provider could not complete the request."),
        "450" => answer.uncertain("provider.busy", "The provider still works on an earlier request."),
        "429" => answer.definite(
            "provider.rate_limited",
            "The provider asks for a pause; it is tried again by itself.",
        ),
        "503" => answer.definite(
            "provider.unavailable",
            "The provider is not available right now; it is tried again by itself.",
        ),
        _ => answer.failure(),
    })
}

#[cfg(test)]
mod tests;
