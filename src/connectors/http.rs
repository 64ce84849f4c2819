//! A provider described by its configuration alone: where its paths are, how it wants a document, and what its answers say.
//!
//! * The class follows from what is configured: an idempotency header makes it K, `duplicate_statuses` D, `fixed_id` P, a `[list]` R, nothing N.
//! * Several requests (one per part) note each finished part, so that a later attempt of the same epoch continues behind them.
//! * A callback is believed only with a signature, and even then it is only a hint.
//!
//! The keys are described in [`settings`].

pub mod settings;
pub mod template;

use async_trait::async_trait;
use reqwest::{Method, Url};
use serde_json::Value;
use time::OffsetDateTime;

use super::body::{Body, Segment};
use super::client::{Answer, Call, Client};
use super::guard::foreign_url;
use super::shape::{Json, Multipart};
use super::sign::{self, Algorithm, Signer};
use super::words::Reason;
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict,
};
use crate::domain::delivery::{DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName};
use crate::settings::ConfigError;
pub use settings::HttpSettings;
use settings::{Address, Auth, CallbackScheme, Shape, SignedText, VerdictRules};
use template::Values;

pub struct Http {
    settings: HttpSettings,
    client: Client,
}

impl Http {
    pub fn new(settings: HttpSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    fn configured_class(&self) -> ProviderClass {
        let settings = &self.settings;
        if settings.idempotency_header.is_some() {
            ProviderClass::IdempotencyKey
        } else if !settings.upload.duplicate_statuses.is_empty() {
            ProviderClass::DuplicateAnswered
        } else if settings.upload.fixed_id {
            ProviderClass::FixedId
        } else if settings.list.is_some() {
            ProviderClass::Reconcile
        } else {
            ProviderClass::NoRepeat
        }
    }

    fn authenticate(&self, mut call: Call) -> Call {
        call = match &self.settings.auth {
            Auth::None | Auth::OAuth(_) => call,
            Auth::Bearer(secret) => call.bearer(secret.expose()),
            Auth::Basic { user, secret } => {
                let pair = data_encoding::BASE64.encode(format!("{user}:{}", secret.expose()).as_bytes());
                call.header("authorization", &format!("Basic {pair}"))
            }
            Auth::Header { name, secret } => call.header(name, secret.expose()),
        };
        self.settings
            .headers
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value))
    }

    /// Signs and sends what `call` makes. With OAuth once more after a refused token.
    async fn send(&self, method: &Method, url: &Url, body: Option<Body>, call: impl Fn() -> Call) -> Result<Answer, Failure> {
        let signature = self.signature(method, url, body.as_ref()).await?;
        let whole = || {
            let call = signature
                .iter()
                .fold(self.authenticate(call()), |call, (name, value)| call.header(name, value));
            match &body {
                Some(body) => call.body(body.clone()),
                None => call,
            }
        };
        match &self.settings.auth {
            Auth::OAuth(oauth) => oauth.send(&self.client, |token| whole().bearer(token)).await,
            _ => self.client.send(whole()).await,
        }
    }

    async fn ask(&self, path: &str) -> Result<Value, Failure> {
        let url = self.client.url(path);
        let call = || Call::asking(Method::GET, url.clone());
        self.send(&Method::GET, &url, None, call).await?.success()
    }

    /// The headers of a signature over the request, whose body is read once for it.
    async fn signature(&self, method: &Method, url: &Url, body: Option<&Body>) -> Result<Vec<(String, String)>, Failure> {
        let Some(signing) = &self.settings.signing else {
            return Ok(Vec::new());
        };
        let mut signer = Signer::new(signing.algorithm, signing.secret.expose().as_bytes());
        let mut headers = Vec::new();
        if signing.signs != SignedText::Body {
            let now = signing_time();
            signer.update(now.as_bytes());
            headers.push((signing.timestamp_header.clone(), now));
        }
        match signing.signs {
            SignedText::Body => {}
            SignedText::TimestampAndBody => signer.update(b"."),
            SignedText::Request => {
                let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
                signer.update(format!("{method}{}{query}", url.path()).as_bytes());
            }
        }
        if let Some(body) = body {
            body.read(|bytes| signer.update(bytes)).await?;
        }
        headers.push((signing.header.clone(), signing.encoding.encode(&signer.finish())));
        Ok(headers)
    }

    /// One request for the given parts: all of them, or one.
    async fn upload(&self, outbound: &OutboundDocument, parts: &[usize], call_number: u8) -> Result<Answer, Failure> {
        let upload = &self.settings.upload;
        let values = Values {
            outbound: Some(outbound),
            part: parts.first().copied(),
            settings: &self.settings,
            reference: "",
        };
        let body = self.body(outbound, parts, call_number);
        let url = self.client.url(&upload.path.in_path(&values));
        let call = || {
            let call = Call::sending(upload.method.clone(), url.clone());
            match &self.settings.idempotency_header {
                Some(name) => call.header(name, &outbound.keys.idempotency(call_number)),
                None => call,
            }
        };
        let answer = self.send(&upload.method, &url, Some(body), call).await?;
        match &upload.address {
            Some(address) if (200..300).contains(&answer.status) => self.put(outbound, parts[0], address, &answer).await?,
            _ => {}
        }
        Ok(answer)
    }

    /// The bytes to where the answer says, without any credentials: the address itself is the permission. It is never stored.
    async fn put(&self, outbound: &OutboundDocument, part: usize, address: &Address, answer: &Answer) -> Result<(), Failure> {
        let text = answer.json().and_then(|body| text_at(&body, &address.pointer));
        let text = text.ok_or_else(|| answer.unreadable())?;
        let url = foreign_url(&self.settings.common.endpoint, &address.hosts, &text)?;
        let body = Body::new(outbound.parts[part].file_type.mime(), vec![Segment::Part(part)], outbound);
        let put = self.client.send(Call::sending(address.method.clone(), url).body(body)).await?;
        if (200..300).contains(&put.status) {
            return Ok(());
        }
        Err(match put.failure() {
            Failure::Credentials { .. } => put.definite(
                "provider.upload_address_refused",
                "The upload address is no longer valid; a fresh one is fetched by itself.",
            ),
            other => other,
        })
    }

    /// The references of parts that an earlier attempt brought there, where the provider has a list.
    async fn present(&self, outbound: &OutboundDocument) -> Result<Option<Vec<Option<String>>>, Failure> {
        let Some(rules) = &self.settings.list else { return Ok(None) };
        let values = Values {
            outbound: Some(outbound),
            part: None,
            settings: &self.settings,
            reference: "",
        };
        let body = self.ask(&rules.path.in_path(&values)).await?;
        let items = items(&body, &rules.items)?;
        let find = |part: usize| {
            let named = |item: &&Value| text_at(item, &rules.file_name).is_some_and(|name| name == outbound.file_name(part));
            let pointer = rules.reference.as_ref();
            let item = items.iter().find(named)?;
            Some(pointer.and_then(|pointer| text_at(item, pointer)).unwrap_or_default())
        };
        Ok(Some((0..outbound.parts.len()).map(find).collect()))
    }

    fn body(&self, outbound: &OutboundDocument, parts: &[usize], call_number: u8) -> Body {
        let upload = &self.settings.upload;
        let values = |part: Option<usize>| Values {
            outbound: Some(outbound),
            part,
            settings: &self.settings,
            reference: "",
        };
        let first = parts.first().copied();
        match upload.shape {
            Shape::Raw => Body::new(outbound.parts[parts[0]].file_type.mime(), vec![Segment::Part(parts[0])], outbound),
            Shape::Multipart => {
                let mut form = Multipart::new(outbound.keys.boundary(call_number));
                for (name, value) in &upload.fields {
                    form = form.text(name, &value.as_text(&values(first)));
                }
                for part in parts {
                    form = form.file(&upload.file_field.as_text(&values(Some(*part))), outbound, *part);
                }
                form.finish(outbound)
            }
            Shape::Base64 | Shape::DataUri | Shape::Presigned => {
                let mut tree = Json::Object(Vec::new());
                for (name, value) in &upload.fields {
                    plant(&mut tree, name, Json::text(value.as_text(&values(first))));
                }
                for part in parts.iter().filter(|_| upload.shape != Shape::Presigned) {
                    let name = upload.file_field.as_text(&values(Some(*part)));
                    plant(
                        &mut tree,
                        &name,
                        if upload.shape == Shape::Base64 {
                            Json::Base64(*part)
                        } else {
                            Json::DataUri(*part)
                        },
                    );
                }
                tree.body(outbound)
            }
        }
    }

    fn read_delivery(&self, answer: &Answer) -> Result<(String, Verdict), Failure> {
        let upload = &self.settings.upload;
        let duplicate = upload.duplicate_statuses.contains(&answer.status);
        if !duplicate && upload.definite_statuses.contains(&answer.status) {
            return Err(answer.definite(
                "provider.unavailable",
                "The provider asks for a later try; it is tried again by itself.",
            ));
        }
        if !duplicate && !(200..300).contains(&answer.status) {
            return Err(match answer.failure() {
                // Not among the statuses that surely mean "not stored".
                Failure::Definite { problem, .. } => Failure::Ambiguous { problem },
                other => other,
            });
        }
        let body = answer.json();
        let reference = match &upload.reference {
            None => String::new(),
            Some(pointer) => match body.as_ref().and_then(|b| text_at(b, pointer)) {
                Some(reference) => reference,
                None if duplicate => String::new(),
                None => return Err(answer.unreadable()),
            },
        };
        let verdict = self
            .settings
            .verdict
            .as_ref()
            .zip(body.as_ref())
            .map_or(Verdict::Pending, |(rules, body)| judge(rules, body));
        Ok((reference, verdict))
    }
}

#[async_trait]
impl Connector for Http {
    fn profile(&self) -> Profile {
        let common = &self.settings.common;
        Profile {
            kind: "http",
            confirm: common.confirm,
            key_window: if self.settings.idempotency_header.is_some() {
                self.settings.key_window
            } else {
                time::Duration::ZERO
            },
            lists_missing: self.settings.missing.is_some(),
            by_hand: false,
            poll_first: common.poll_first,
            poll_longest: common.poll_longest,
        }
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        self.configured_class()
    }

    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
        let settings = &self.settings;
        let unknown = |known: &[(String, String)], word: &str| !known.is_empty() && !known.iter().any(|(name, _)| name == word);
        let list = |known: &[(String, String)]| known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        if unknown(&settings.kinds, document.as_str()) {
            return Err(Unsupported(format!(
                "This provider takes these documents: {}.",
                list(&settings.kinds)
            )));
        }
        if parts.iter().any(|part| unknown(&settings.part_names, part.as_str())) {
            return Err(Unsupported(format!(
                "This provider takes these parts: {}.",
                list(&settings.part_names)
            )));
        }
        Ok(settings.common.limits.clone())
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let Some(rules) = &self.settings.missing else {
            return Err(super::cannot_list());
        };
        let path = rules.path.in_path(&Values {
            outbound: None,
            part: None,
            settings: &self.settings,
            reference: applicant.expose(),
        });
        let body = self.ask(&path).await?;
        let items = items(&body, &rules.items)?;
        let wanted = items.iter().filter(|item| match &rules.status {
            None => true,
            Some(pointer) => text_at(item, pointer).is_some_and(|status| rules.wanted.contains(&status)),
        });
        Ok(wanted.filter_map(|item| self.read_missing(rules, item)).collect())
    }

    async fn deliver(&self, outbound: &OutboundDocument, trail: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let all: Vec<usize> = (0..outbound.parts.len()).collect();
        if !self.settings.upload.per_part {
            let (reference, verdict) = self.read_delivery(&self.upload(outbound, &all, 0).await?)?;
            return Ok(Delivered {
                references: vec![reference],
                verdict,
            });
        }
        let (mut references, mut verdict) = (Vec::new(), Verdict::Accepted);
        // A proven absence of the whole may still be the presence of a part: where there is a list, it is read first.
        let there = if self.configured_class() == ProviderClass::Reconcile {
            self.present(outbound).await?
        } else {
            None
        };
        for part in all {
            let step = format!("part:{}", outbound.parts[part].name);
            let listed = there.as_ref().and_then(|there| there[part].as_deref());
            if let Some(reference) = outbound.step(&step).or(listed) {
                references.push(reference.to_owned());
                verdict = worse(verdict, Verdict::Pending);
                continue;
            }
            // More than 255 parts are never asked for.
            let number = u8::try_from(part).unwrap_or(u8::MAX);
            let (reference, one) = self.read_delivery(&self.upload(outbound, &[part], number).await?)?;
            trail.note(&step, &reference).await?;
            references.push(reference);
            verdict = worse(verdict, one);
        }
        Ok(Delivered {
            references: named(references),
            verdict,
        })
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        let Some(found) = self.present(outbound).await? else {
            return Ok(Presence::Unknown);
        };
        let needed = if self.settings.upload.per_part { outbound.parts.len() } else { 1 };
        let found: Vec<String> = found.into_iter().flatten().collect();
        if found.len() < needed {
            // What is there of a document that goes in several requests is left out by the next attempt.
            let partly = !found.is_empty() && self.configured_class() != ProviderClass::Reconcile;
            return Ok(if partly { Presence::Unknown } else { Presence::Absent });
        }
        let mut references = named(found);
        references.dedup();
        Ok(Presence::Present(Delivered {
            references,
            verdict: Verdict::Pending,
        }))
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let Some((rules, path)) = self.settings.verdict.as_ref().and_then(|rules| Some((rules, rules.path.as_ref()?))) else {
            return Ok(Verdict::Pending);
        };
        // A path that asks about the applicant or our own id is asked once.
        let once = [String::new()];
        let references: &[String] = if path.has(template::Hole::Reference) {
            &receipt.references
        } else {
            &once
        };
        let mut verdict = Verdict::Accepted;
        for reference in references {
            let values = Values {
                outbound: Some(outbound),
                part: None,
                settings: &self.settings,
                reference,
            };
            verdict = worse(verdict, judge(rules, &self.ask(&path.in_path(&values)).await?));
        }
        Ok(if references.is_empty() { Verdict::Pending } else { verdict })
    }

    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        let Some(rules) = &self.settings.callback else {
            return Err(CallbackRefused::NotUsed);
        };
        let secrets = &self.settings.common.webhook_secrets;
        let keys = sign::raw_keys(secrets);
        match &rules.scheme {
            CallbackScheme::Body {
                header,
                algorithm,
                encoding,
            } => {
                let given = callback.header(header).ok_or(CallbackRefused::Signature)?;
                if !sign::verify(*algorithm, *encoding, &keys, &[callback.body], given) {
                    return Err(CallbackRefused::Signature);
                }
            }
            CallbackScheme::Timestamped { header } => {
                let given = callback.header(header).ok_or(CallbackRefused::Signature)?;
                sign::verify_timestamped(given, &keys, callback, sign::TOLERANCE)?;
            }
            CallbackScheme::Standard => {
                let decoded: Vec<Vec<u8>> = secrets.iter().filter_map(|s| sign::standard_key(s.expose())).collect();
                let keys: Vec<&[u8]> = decoded.iter().map(Vec::as_slice).collect();
                sign::verify_standard(&keys, callback)?;
            }
        }
        let body: Value = serde_json::from_slice(callback.body).map_err(|_| CallbackRefused::Malformed)?;
        let at = |pointer: &Option<String>| pointer.as_ref().and_then(|p| text_at(&body, p)).filter(|text| !text.is_empty());
        let reference = at(&rules.reference).map(Hint::Reference);
        let applicant = at(&rules.applicant).and_then(|a| ApplicantRef::parse(&a)).map(Hint::Applicant);
        Ok(reference.into_iter().chain(applicant).collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        match &self.settings.check_path {
            None => Ok("configured; not asked, because no check_path is set".to_owned()),
            Some(path) => self
                .ask(path)
                .await
                .map(|_| "the provider answers and takes the credentials".to_owned()),
        }
    }
}

impl Http {
    fn read_missing(&self, rules: &settings::MissingRules, item: &Value) -> Option<Missing> {
        let name = text_at(item, &rules.name)?;
        let kind = self
            .settings
            .kinds
            .iter()
            .find(|(_, theirs)| *theirs == name)
            .and_then(|(ours, _)| DocumentKind::parse(ours));
        let reason = rules
            .reason
            .as_ref()
            .and_then(|pointer| text_at(item, pointer))
            .filter(|r| !r.is_empty());
        let reason = reason.map(|r| settings::reason_of(&self.settings.reasons, &r).sentence().to_owned());
        Some(Missing {
            document: kind,
            parts: Vec::new(),
            provider_name: plain(&name),
            reason,
            applicant: None,
        })
    }
}

/// Seconds since 1970 for a signature. A door to the outside: the provider compares it with its own clock, so that it cannot be a parameter
/// that stood still while a request waited for its turn.
pub fn signing_time() -> String {
    OffsetDateTime::now_utc().unix_timestamp().to_string()
}

/// What the provider gave no reference for has none: an empty one would match everybody's.
fn named(references: impl IntoIterator<Item = String>) -> Vec<String> {
    references.into_iter().filter(|reference| !reference.is_empty()).collect()
}

/// The rejection wins, then what is still open.
fn worse(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Rejected(problem), _) | (_, Verdict::Rejected(problem)) => Verdict::Rejected(problem),
        (Verdict::Pending, _) | (_, Verdict::Pending) => Verdict::Pending,
        (Verdict::Accepted, Verdict::Accepted) => Verdict::Accepted,
    }
}

/// A status that no list names is still pending: nothing is confirmed by a word that nobody configured.
fn judge(rules: &VerdictRules, body: &Value) -> Verdict {
    let Some(status) = text_at(body, &rules.status) else {
        return Verdict::Pending;
    };
    if rules.accepted.contains(&status) {
        return Verdict::Accepted;
    }
    if !rules.rejected.contains(&status) {
        return Verdict::Pending;
    }
    let reason = rules.reason.as_ref().and_then(|pointer| text_at(body, pointer));
    Verdict::Rejected(
        reason
            .map_or(Reason::Rejected, |r| settings::reason_of(&rules.reasons, &r))
            .problem(),
    )
}

/// A text or a number at a JSON pointer.
/// A list in an answer. Where there is none, the answer is not about what was asked: it proves no absence.
fn items<'a>(body: &'a Value, pointer: &str) -> Result<&'a [Value], Failure> {
    let list = body.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).ok_or_else(|| Failure::Definite {
        problem: DeliveryProblem::new(
            "provider.unreadable_answer",
            "The provider's answer has no list where `items` says. If this goes on, look at the provider's settings.",
        ),
        after: None,
        new_key: false,
    })
}

fn text_at(value: &Value, pointer: &str) -> Option<String> {
    // The empty pointer is the value itself.
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A provider's word, short and without control characters.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Puts a value at `name`, or deep inside when the name is a JSON pointer.
fn plant(tree: &mut Json, name: &str, value: Json) {
    let Json::Object(fields) = tree else { return };
    let path = name.strip_prefix('/').unwrap_or(name);
    let Some((head, rest)) = path.split_once('/').filter(|_| name.starts_with('/')) else {
        fields.push((path.to_owned(), value));
        return;
    };
    let at = fields.iter().position(|(known, _)| known == head).unwrap_or_else(|| {
        fields.push((head.to_owned(), Json::Object(Vec::new())));
        fields.len() - 1
    });
    plant(&mut fields[at].1, &format!("/{rest}"), value);
}

/// Which algorithm a word of the configuration means.
const ALGORITHMS: [(&str, Algorithm); 3] = [
    ("sha1", Algorithm::Sha1),
    ("sha256", Algorithm::Sha256),
    ("sha512", Algorithm::Sha512),
];

#[cfg(test)]
mod tests;
