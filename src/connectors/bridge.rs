//! Bridge: every side as a data URI in one PUT of the customer. Class K.
//!
//! * The applicant reference is the customer's id, or `<id>,<country>` with one of the configured countries; an identity document needs its country.
//! * Identity documents go into `identifying_information` with front and back together, everything else into `documents`.
//! * A PUT sets the customer's fields, and it carries an idempotency key besides.
//! * Callbacks are signed with RSA over a hash of a hash; the endpoint's public key (PEM) is in `webhook_key_file`.
//!
//! Unverified: whether a key is honoured on PUT (`key_window` says how long the portal relies on it), how `documents` of two PUTs add up, the letter case of
//! countries, and the words in which requirements name an identity document. The provider has no list of documents, so that an unknown outcome after the
//! key's window is for a person to decide.

pub(crate) mod customer;

use async_trait::async_trait;
use reqwest::Method;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::Duration;

use super::client::{Answer, Call, Client};
use super::kinds::{Countries, Kinds, part_names, plain_id, sides};
use super::kit;
use super::settings::{Common, Defaults, environment};
use super::shape::Json;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, WrongReference,
};
use crate::domain::delivery::{ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, FileType, PartName, PictureLimits};
use crate::settings::{ConfigError, Reader, Secret};

const LIVE: &str = "https://api.bridge.xyz/v0";
const SANDBOX: &str = "https://api.sandbox.bridge.xyz/v0";
/// A type of identity document, or a purpose of another document.
const TYPES: [(&str, &str); 5] = [
    ("government-id", "national_id"),
    ("passport", "passport"),
    ("drivers-license", "drivers_license"),
    ("proof-of-address", "proof_of_address"),
    ("bank-statement", "proof_of_source_of_funds"),
];
/// From the list of purposes; every other word is an identity document.
const PURPOSES: [&str; 8] = [
    "proof_of_account_purpose",
    "proof_of_address",
    "proof_of_individual_name_change",
    "proof_of_relationship",
    "proof_of_source_of_funds",
    "proof_of_source_of_wealth",
    "proof_of_tax_identification",
    "other",
];
/// "Front and back together up to 24 MB".
const TOGETHER: u64 = 24_000_000;
/// Milliseconds by which a callback may be old.
const TOLERANCE: i64 = 10 * 60 * 1_000;

#[derive(Debug)]
pub(crate) struct BridgeSettings {
    pub common: Common,
    pub api_key: Secret,
    pub countries: Countries,
    /// Whether countries are sent in small letters.
    pub small_countries: bool,
    pub types: Kinds,
    pub key_window: Duration,
    /// Public keys of callbacks, PKCS#1.
    pub webhook_keys: Vec<Vec<u8>>,
}

impl BridgeSettings {
    /// Keys: the common ones, `environment` (`sandbox` or `live`), `api_key_file`, `country`, `countries`, `country_case`, `types`, `key_window`,
    /// `webhook_key_file` and `webhook_key_previous_file` (PEM).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let base_url = environment(reader, ("sandbox", SANDBOX), LIVE);
        let defaults = Defaults {
            accepted: &[FileType::Jpeg, FileType::Png, FileType::Pdf, FileType::Heic],
            pictures: PictureLimits {
                min_side: 200,
                ..PictureLimits::default()
            },
            ..Defaults::of(base_url, 15_000_000)
        };
        let common = Common::read(reader, &defaults);
        if !common.webhook_secrets.is_empty() {
            reader.error(
                "webhook_secret_file",
                "must not be set: this provider signs with a key pair, see webhook_key_file",
            );
        }
        let api_key = reader.required_secret("api_key_file", "the API key");
        let countries = Countries::read(reader, true);
        let small_countries = reader.choice(
            "country_case",
            &[("upper", false), ("lower", true)],
            "upper",
            "how the provider wants countries",
        );
        let types = Kinds::read(reader, "types", &TYPES);
        let key_window = reader.span("key_window", Duration::hours(24), "how long the provider knows a repeated key");
        let webhook_keys = ["webhook_key_file", "webhook_key_previous_file"]
            .into_iter()
            .filter_map(|key| rsa_public_key(reader, key))
            .collect();
        Self {
            common,
            api_key,
            countries,
            small_countries,
            types,
            key_window,
            webhook_keys,
        }
    }
}

/// An RSA public key in a PEM file (`-----BEGIN PUBLIC KEY-----`), as PKCS#1.
fn rsa_public_key(reader: &mut Reader<'_>, key: &str) -> Option<Vec<u8>> {
    const WANTED: &str = "the path of a PEM file with an RSA public key of at least 2048 bits";
    let pem = reader.file_text(key, WANTED)?;
    let found = pkcs1_of_pem(pem.expose());
    if found.is_none() {
        reader.must_be(key, WANTED);
    }
    found
}

/// `SubjectPublicKeyInfo` is a sequence of the algorithm and a bit string, which holds the key.
fn pkcs1_of_pem(pem: &str) -> Option<Vec<u8>> {
    /// `rsaEncryption` with its NULL.
    const RSA: [u8; 15] = [
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let text = pem
        .trim()
        .strip_prefix("-----BEGIN PUBLIC KEY-----")?
        .strip_suffix("-----END PUBLIC KEY-----")?;
    let text: String = text.split_whitespace().collect();
    let der = data_encoding::BASE64.decode(text.as_bytes()).ok()?;
    let inner = value_of(&der, 0x30)?.strip_prefix(&RSA)?;
    let key = value_of(inner, 0x03)?.strip_prefix(&[0])?;
    // 2048 bits and what is around them.
    (value_of(key, 0x30)?.len() >= 260).then(|| key.to_vec())
}

/// The content of the one DER value with this tag that fills `der`.
fn value_of(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    (*found == tag && rest.len() == length).then_some(rest)
}

pub(crate) struct Bridge {
    settings: BridgeSettings,
    client: Client,
}

impl Bridge {
    pub(crate) fn new(settings: BridgeSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    fn authenticate(&self, call: Call) -> Call {
        call.header("api-key", self.settings.api_key.expose())
    }

    async fn customer(&self, applicant: &ApplicantRef) -> Result<Value, Failure> {
        let (id, _) = self.customer_and_country(applicant)?;
        let call = Call::asking(Method::GET, self.client.url(&format!("/customers/{id}")));
        let answer = self.client.send(self.authenticate(call)).await?;
        answer.only(success(&answer)?, |body| body["id"].as_str() == Some(&id))
    }

    /// The customer's id and the document's country.
    fn customer_and_country(&self, applicant: &ApplicantRef) -> Result<(String, String), WrongReference> {
        let (id, country) = self.settings.countries.split(applicant)?;
        let id = plain_id(id).ok_or(WrongReference("a customer's id"))?;
        let country = country.unwrap_or_default();
        let country = if self.settings.small_countries {
            country.to_lowercase()
        } else {
            country.to_owned()
        };
        Ok((id, country))
    }

    fn body(outbound: &OutboundDocument, kind: &str, country: &str) -> Json {
        if PURPOSES.contains(&kind) {
            let one = |n: usize| {
                Json::object([
                    ("purposes", Json::Array(vec![Json::text(kind)])),
                    ("file", Json::DataUri(n)),
                    ("description", Json::text(outbound.file_name(n))),
                ])
            };
            return Json::object([("documents", Json::Array((0..outbound.parts.len()).map(one).collect()))]);
        }
        let mut fields = vec![
            ("type".to_owned(), Json::text(kind)),
            ("issuing_country".to_owned(), Json::text(country)),
        ];
        for (n, part) in outbound.parts.iter().enumerate() {
            let name = if part.name.as_str() == "back" {
                "image_back"
            } else {
                "image_front"
            };
            fields.push((name.to_owned(), Json::DataUri(n)));
        }
        Json::object([("identifying_information", Json::Array(vec![Json::Object(fields)]))])
    }
}

fn fits(kind: &str, parts: &[PartName]) -> Result<(), Unsupported> {
    sides(parts)?;
    if PURPOSES.contains(&kind) && parts.len() > 1 {
        return Err(Unsupported("This provider takes only the part front of this document.".to_owned()));
    }
    Ok(())
}

#[async_trait]
impl Connector for Bridge {
    fn profile(&self) -> Profile {
        let common = &self.settings.common;
        common.profile("bridge", self.settings.key_window, true)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        ProviderClass::IdempotencyKey
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        let kind = self.settings.types.accepted(document)?;
        fits(kind, parts)?;
        let mut limits = self.settings.common.limits.clone();
        limits.max_bytes = limits.max_bytes.min(TOGETHER / parts.len() as u64);
        Ok(limits)
    }

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        self.customer_and_country(applicant).map(drop)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        Ok(customer::missing(&self.customer(applicant).await?, &self.settings.types))
    }

    async fn deliver(&self, outbound: &OutboundDocument, _: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let kind = self.settings.types.required(outbound)?;
        fits(kind, &part_names(outbound))?;
        let (id, country) = self.customer_and_country(&outbound.applicant)?;
        let call = self
            .authenticate(Call::sending(Method::PUT, self.client.url(&format!("/customers/{id}"))))
            .header("idempotency-key", &outbound.keys.idempotency(0))
            .body(Self::body(outbound, kind, &country).body(outbound));
        let answer = self.client.send(call).await?;
        if let Some(failure) = answer.stored_failure() {
            return Err(failure);
        }
        answer.only(success(&answer)?, |body| body["id"].as_str() == Some(&id))?;
        // The customer is the only thing with an id, and it is the applicant. The answer shows the state before any review.
        Ok(Delivered {
            references: Vec::new(),
            verdict: Verdict::Pending,
        })
    }

    async fn reconcile(&self, _: &OutboundDocument) -> Result<Presence, Failure> {
        Ok(Presence::Unknown)
    }

    async fn verdict(&self, outbound: &OutboundDocument, _: &Receipt) -> Result<Verdict, Failure> {
        let kind = self.settings.types.required(outbound)?;
        Ok(customer::verdict(&self.customer(&outbound.applicant).await?, kind))
    }

    /// `t=<milliseconds>,v0=<base64>`: RSA PKCS#1 v1.5 with SHA-256 over the 32 bytes of SHA-256(`{t}.{body}`), so the text is hashed twice.
    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        if self.settings.webhook_keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let header = callback.header("x-webhook-signature").ok_or(CallbackRefused::Signature)?;
        verify(header, &self.settings.webhook_keys, callback)?;
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let object = &body["event_object"];
        let id = object["id"]
            .as_str()
            .or_else(|| body["event_object_id"].as_str())
            .and_then(plain_id);
        Ok(id
            .iter()
            .flat_map(|id| self.settings.countries.references(id))
            .map(Hint::Applicant)
            .collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        let call = Call::asking(Method::GET, self.client.url("/customers?limit=1"));
        let answer = self.client.send(self.authenticate(call)).await?;
        answer.only(success(&answer)?, |body| body["data"].is_array())?;
        Ok("the provider answers and knows the API key".to_owned())
    }
}

fn verify(header: &str, keys: &[Vec<u8>], callback: &Callback<'_>) -> Result<(), CallbackRefused> {
    let mut fields = header.split(',').filter_map(|field| field.trim().split_once('='));
    let (Some(("t", time)), Some(("v0", given)), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(CallbackRefused::Signature);
    };
    let sent: i64 = time.parse().map_err(|_| CallbackRefused::Signature)?;
    let fresh = callback.now.saturating_mul(1_000).abs_diff(sent) <= TOLERANCE.unsigned_abs();
    let given = data_encoding::BASE64
        .decode(given.as_bytes())
        .map_err(|_| CallbackRefused::Signature)?;
    let mut first = Sha256::new();
    first.update(time.as_bytes());
    first.update(b".");
    first.update(callback.body);
    let digest = first.finalize();
    let good = keys.iter().any(|key| {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            .verify(&digest, &given)
            .is_ok()
    });
    if good && fresh { Ok(()) } else { Err(CallbackRefused::Signature) }
}

fn success(answer: &Answer) -> Result<Value, Failure> {
    kit::success(answer, "code")
}

#[cfg(test)]
mod tests;
