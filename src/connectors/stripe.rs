//! Stripe Connect: files first, then one form that attaches them. Class K: every POST carries an idempotency key.
//!
//! * The applicant reference is `acct_…` (an individual, or documents of the account itself), `acct_…,person_…` (a representative, owner or director)
//!   or `acct_…,company` (the company's own verification document).
//! * Each uploaded file is noted as `file:<part>` before the next request, so that a later attempt of the same epoch attaches what is there.
//!   A file that is uploaded and never attached has no effect.
//! * A callback only says whom to ask about; the verdict is always read from the object itself.
//!
//! | kind | slot (built in; `slots` overrides) | purpose of the file |
//! | --- | --- | --- |
//! | government-id, passport, drivers-license | `verification.document` | `identity_document` |
//! | proof-of-address | `verification.additional_document`; of a company `documents.proof_of_address` | `identity_document`; `account_requirement` |
//! | bank-statement | `documents.bank_account_ownership_verification` | `account_requirement` |
//! | company-registration | of `…,company` `company.verification.document`; of `acct_…` `documents.company_registration_verification` | `additional_verification`; `account_requirement` |
//!
//! Unverified: whether requirements name `documents.<name>.files` in just this form, Stripe's own limit of a key's length, and `Retry-After` on 429.

pub(crate) mod account;
mod accounts_v2;
pub(crate) mod target;

use async_trait::async_trait;
use reqwest::{Method, Url};
use serde_json::Value;
use time::Duration;

use super::client::{Answer, Call, Client, join};
use super::guard::checked_url;
use super::kit;
use super::settings::{Common, Defaults};
use super::shape::{Multipart, form};
use super::sign;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, WrongReference,
};
use crate::domain::delivery::{DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName, PictureLimits};
use crate::settings::{ConfigError, Reader, Secret};
use target::{Holder, Slot, Slots, Target};

const API: &str = "https://api.stripe.com";
const FILES: &str = "https://files.stripe.com";
/// The version that Stripe's own Python library 16.1.0 pins.
const VERSION: &str = "2026-10-28.endive";

#[derive(Debug)]
pub(crate) struct StripeSettings {
    pub common: Common,
    pub files_url: Url,
    pub api_key: Secret,
    pub version: String,
    pub slots: Slots,
    /// Whether files are uploaded in the name of the connected account (as Stripe's library does) or of the platform.
    pub upload_as_account: bool,
    /// Whether what will be due some day counts as missing.
    pub eventually: bool,
    /// Whether what is missing is read from Accounts v2.
    pub accounts_v2: bool,
}

impl StripeSettings {
    /// Keys: the common ones, `api_key_file`, `api_version`, `files_url`, `slots`, `upload_as` (`account` or `platform`), `missing` (`due` or `eventually`), `accounts` (`v1` or `v2`).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        // "Less than 10 MB".
        let defaults = Defaults {
            pictures: PictureLimits {
                max_side: 8_000,
                ..PictureLimits::default()
            },
            poll_first: Duration::seconds(10),
            poll_longest: Duration::minutes(15),
            ..Defaults::of(API, 9_999_999)
        };
        let common = Common::read(reader, &defaults);
        // Whoever points the API elsewhere surely means the files too.
        let beside = if common.endpoint.base_url.trim_end_matches('/') == API {
            FILES
        } else {
            &common.endpoint.base_url
        };
        let files = reader
            .text("files_url", "the address for files, such as \"https://files.stripe.com\"")
            .unwrap_or_else(|| beside.to_owned());
        let files_url = checked_url(&common.endpoint, &files);
        let files_url = files_url.unwrap_or_else(|takes| {
            if files != common.endpoint.base_url {
                reader.must_be("files_url", takes);
            }
            Url::parse(FILES).expect("the constant is an address")
        });
        let api_key = reader.required_secret("api_key_file", "the API key");
        let version = reader.text_with("api_version", VERSION, "a version such as \"2026-10-28.endive\"");
        let slots = Slots::read(reader);
        let upload_as_account = reader.choice(
            "upload_as",
            &[("account", true), ("platform", false)],
            "account",
            "in whose name files are uploaded",
        );
        let eventually = reader.choice(
            "missing",
            &[("due", false), ("eventually", true)],
            "due",
            "whether what will be due some day counts as missing",
        );
        let accounts_v2 = reader.choice(
            "accounts",
            &[("v1", false), ("v2", true)],
            "v1",
            "which of Stripe's two Accounts APIs says what is missing",
        );
        Self {
            common,
            files_url,
            api_key,
            version,
            slots,
            upload_as_account,
            eventually,
            accounts_v2,
        }
    }
}

pub(crate) struct Stripe {
    settings: StripeSettings,
    client: Client,
}

impl Stripe {
    pub(crate) fn new(settings: StripeSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    fn authenticate(&self, call: Call) -> Call {
        call.bearer(self.settings.api_key.expose())
            .header("stripe-version", &self.settings.version)
    }

    async fn get(&self, path: &str, is_it: impl FnOnce(&Value) -> bool) -> Result<Value, Failure> {
        let answer = self
            .client
            .send(self.authenticate(Call::asking(Method::GET, self.client.url(path))))
            .await?;
        answer.only(success(&answer)?, is_it)
    }

    /// The account or person, and no other.
    async fn object(&self, target: &Target) -> Result<Value, Failure> {
        self.get(&target.path(), |body| target.is_named_by(body)).await
    }

    fn slot(&self, outbound: &OutboundDocument) -> Result<(Target, &Slot), Failure> {
        let target = target_of(&outbound.applicant)?;
        let refused = |text: &str| Failure::Final {
            problem: DeliveryProblem::new("provider.unsupported", text),
        };
        let slot = self.settings.slots.of(&outbound.kind, &target.holder);
        let slot = slot.ok_or_else(|| {
            refused("This provider has no place for this document of this applicant. Check the reference: account, person or company.")
        })?;
        if outbound.parts.is_empty() || !outbound.parts.iter().all(|part| slot.takes(&part.name)) {
            return Err(refused("This provider takes the parts front and back of this document."));
        }
        Ok((target, slot))
    }

    async fn upload(&self, outbound: &OutboundDocument, part: usize, account: &str, slot: &Slot) -> Result<String, Failure> {
        let number = kit::call_number(part);
        let body = Multipart::new(outbound.keys.boundary(number))
            .text("purpose", slot.purpose())
            .file("file", outbound, part)
            .finish(outbound);
        let mut call = self.authenticate(Call::sending(Method::POST, join(&self.settings.files_url, "/v1/files")));
        if self.settings.upload_as_account {
            call = call.header("stripe-account", account);
        }
        let call = call.header("idempotency-key", &outbound.keys.idempotency(number)).body(body);
        let answer = self.client.send(call).await?;
        // The name that it gives the file is Stripe's own; a file is ours by the form that attaches it.
        let ours = |body: &Value| body["object"].as_str() == Some("file") && body["purpose"].as_str() == Some(slot.purpose());
        let body = answer.only(success(&answer)?, ours)?;
        let file = body["id"].as_str().and_then(|file| target::id(file, "file_"));
        file.ok_or_else(|| answer.unreadable())
    }

    /// The answer is the object itself. It must be the one that was asked for and hold these files; of `documents[…]` an account shows nothing, so that
    /// there its id must do.
    async fn attach(&self, outbound: &OutboundDocument, target: &Target, slot: &Slot, files: &[String]) -> Result<(), Failure> {
        let fields: Vec<(String, String)> = outbound
            .parts
            .iter()
            .zip(files)
            .enumerate()
            .map(|(n, (part, file))| (slot.field(&target.holder, &part.name, n), file.clone()))
            .collect();
        let call = self
            .authenticate(Call::sending(Method::POST, self.client.url(&target.path())))
            .header(
                "idempotency-key",
                &outbound.keys.idempotency(kit::call_number(outbound.parts.len())),
            )
            .body(form(&fields));
        let answer = self.client.send(call).await?;
        let attached = |body: &Value| target.is_named_by(body) && holds(body, slot, target, outbound, files).unwrap_or(true);
        answer.only(success(&answer)?, attached).map(drop)
    }
}

#[async_trait]
impl Connector for Stripe {
    fn profile(&self) -> Profile {
        self.settings.common.profile("stripe", Duration::hours(24), true)
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        ProviderClass::IdempotencyKey
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        self.settings.slots.accepts(document, parts)?;
        Ok(self.settings.common.limits.clone())
    }

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        target_of(applicant).map(drop)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let target = target_of(applicant)?;
        let object = if self.settings.accounts_v2 {
            let path = format!("/v2/core/accounts/{}?include[0]=requirements", target.account);
            let named = |body: &Value| body["id"].as_str() == Some(&target.account) && body["requirements"].is_object();
            accounts_v2::as_v1(&self.get(&path, named).await?, &target.holder)
        } else {
            self.object(&target).await?
        };
        Ok(account::missing(&object, &target, &self.settings.slots, self.settings.eventually))
    }

    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let (target, slot) = self.slot(outbound)?;
        let mut files = Vec::new();
        for (n, part) in outbound.parts.iter().enumerate() {
            let step = format!("file:{}", part.name);
            files.push(match outbound.step(&step) {
                Some(file) => file.to_owned(),
                None => {
                    let file = self.upload(outbound, n, &target.account, slot).await?;
                    progress_log.note(&step, &file).await?;
                    file
                }
            });
        }
        self.attach(outbound, &target, slot, &files).await?;
        Ok(received(files))
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        let (target, slot) = self.slot(outbound)?;
        let files: Option<Vec<String>> = outbound
            .parts
            .iter()
            .map(|part| outbound.step(&format!("file:{}", part.name)).map(str::to_owned))
            .collect();
        // Every file is noted before the request that attaches them: without all of them nothing was attached.
        let Some(files) = files else { return Ok(Presence::Absent) };
        if slot.pointers(&target.holder).1.is_none() {
            return Ok(Presence::Unknown);
        }
        let object = self.object(&target).await?;
        Ok(match holds(&object, slot, &target, outbound, &files) {
            Some(true) => Presence::Present(received(files)),
            Some(false) => Presence::Absent,
            None => Presence::Unknown,
        })
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let (target, slot) = self.slot(outbound)?;
        let object = self.object(&target).await?;
        // What the object says of other files is no verdict on ours.
        if holds_others(&object, slot, &target, outbound, &receipt.references) {
            return Ok(Verdict::Pending);
        }
        Ok(account::judge(&object, slot, &target.holder))
    }

    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let keys = sign::raw_keys(&self.settings.common.webhook_secrets);
        if keys.is_empty() {
            return Err(CallbackRefused::NotUsed);
        }
        let given = callback.header("stripe-signature").ok_or(CallbackRefused::Signature)?;
        sign::verify_timestamped(given, &keys, callback, sign::TOLERANCE)?;
        let event: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let object = &event["data"]["object"];
        let text = |value: &Value, prefix: &str| value.as_str().and_then(|text| target::id(text, prefix));
        let account = text(&object["account"], "acct_")
            .or_else(|| text(&object["id"], "acct_"))
            .or_else(|| text(&event["account"], "acct_"));
        let person = text(&object["id"], "person_");
        let holders = match (event["type"].as_str().ok_or(CallbackRefused::Malformed)?, person) {
            ("account.updated", _) => vec![Holder::Account, Holder::Company],
            ("person.updated", Some(person)) => vec![Holder::Person(person)],
            // Another event of an endpoint that listens to more than it must.
            _ => return Ok(Vec::new()),
        };
        let account = account.ok_or(CallbackRefused::Malformed)?;
        Ok(holders
            .iter()
            .filter_map(|holder| Target::reference(&account, holder))
            .map(Hint::Applicant)
            .collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        self.get("/v1/account", |body| body["id"].is_string())
            .await
            .map(|_| "the provider answers and knows the API key".to_owned())
    }
}

/// What is attached is judged later: the errors in the object of this moment are those of the document before.
fn received(files: Vec<String>) -> Delivered {
    Delivered {
        references: files,
        verdict: Verdict::Pending,
    }
}

/// Whether the object shows these files in their place. `None`: it does not show that place at all.
fn holds(object: &Value, slot: &Slot, target: &Target, outbound: &OutboundDocument, files: &[String]) -> Option<bool> {
    let (_, pointer) = slot.pointers(&target.holder);
    let entry = object.pointer(&pointer?);
    let attached = |(part, file): (&super::OutboundPart, &String)| entry.is_some_and(|e| e[part.name.as_str()].as_str() == Some(file));
    Some(outbound.parts.iter().zip(files).all(attached))
}

/// Whether other files than these stand in their place.
fn holds_others(object: &Value, slot: &Slot, target: &Target, outbound: &OutboundDocument, files: &[String]) -> bool {
    let entry = slot.pointers(&target.holder).1.and_then(|pointer| object.pointer(&pointer));
    let other =
        |(part, file): (&super::OutboundPart, &String)| entry.and_then(|e| e[part.name.as_str()].as_str()).is_some_and(|f| f != file);
    outbound.parts.iter().zip(files).any(other)
}

fn target_of(applicant: &ApplicantRef) -> Result<Target, WrongReference> {
    Target::parse(applicant).ok_or(WrongReference("acct_…, acct_…,person_… or acct_…,company"))
}

/// Behind the colon stands the form, as in every text under this code.
const NO_ACCESS: &str = "The portal's API key has no access to the account that the applicant's reference names, or there is none: acct_… of an account \
    connected to the platform that the key belongs to. Purge this request and ask again with the right one.";

/// The body of a success, or what the error means: by status, by the error's type and code, and by what Stripe itself says about retrying.
fn success(answer: &Answer) -> Result<Value, Failure> {
    if (200..300).contains(&answer.status) {
        return answer.success();
    }
    let error = answer.json().map(|body| body["error"].clone()).unwrap_or_default();
    let code = error["code"].as_str().filter(|code| is_code(code)).unwrap_or_default();
    let kind = error["type"].as_str().filter(|kind| is_code(kind)).unwrap_or_default();
    let retry = answer.header("stripe-should-retry");
    let busy = || {
        answer.definite(
            "provider.busy",
            "The provider still works on an earlier request; it is tried again by itself.",
        )
    };
    Err(match answer.status {
        // About one account, whatever the status: the key itself is in order.
        _ if code == "account_invalid" => Failure::Final {
            problem: DeliveryProblem::new("provider.applicant_reference", NO_ACCESS),
        },
        500.. if retry == Some("false") || answer.stored_failure().is_some() => answer.uncertain(
            "provider.stored_failure",
            "The provider will not complete this try; whether it has the document is being found out.",
        ),
        409 if code == "idempotency_key_in_use" || retry != Some("false") => busy(),
        400 | 409 if kind == "idempotency_error" => {
            answer.uncertain("provider.key_reused", "The provider remembers this delivery with other content.")
        }
        400 | 402 | 404 | 422 if retry == Some("true") => busy(),
        400 | 402 | 404 | 409 | 422 if !kind.is_empty() => {
            let detail = if code.is_empty() {
                kind.to_owned()
            } else {
                format!("{kind}, {code}")
            };
            answer.refused(&format!("The provider refused the request: {detail}."))
        }
        _ => answer.failure(),
    })
}

/// A word for machines, which cannot hold anything about a person.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests;
