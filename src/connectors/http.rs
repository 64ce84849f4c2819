//! A provider described by its configuration alone: where its paths are, how it wants a document, and what its answers say.
//!
//! * An answer is a receipt only where it names what was sent; else the provider is asked. A table that can do neither is refused at start.
//! * The class follows from what is configured: an idempotency header makes it K, `duplicate_statuses` D, `fixed_id` P, a `[list]` R, nothing N. With a
//!   second request that attaches the uploads it is that request's; with one that submits them, that of the weaker of both.
//! * Several requests note each finished one, so that a later attempt of the same epoch continues behind them.
//! * A callback is believed only with a signature, and even then it is only a hint.
//!
//! The keys are described in [`settings`].

mod answer;
mod body;
mod outline;
mod send;
pub(crate) mod settings;
mod steps;
pub(crate) mod template;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::client::Client;
use super::sign::{self, Algorithm};
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict, WrongReference,
};
use crate::domain::delivery::{ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, PartName};
use crate::settings::{ConfigError, Reader};
use answer::{judge, plain, text_at, worse};
pub(crate) use send::signing_time;
pub(crate) use settings::HttpSettings;
use settings::{CallbackScheme, Second};
use template::Values;

/// The connector of a table, and the requests that it describes.
pub(crate) fn read(reader: &mut Reader<'_>) -> Option<(Arc<dyn Connector>, Vec<String>)> {
    let mut requests = Vec::new();
    let connector = super::make(reader, HttpSettings::read, |settings| {
        requests = settings.outline();
        Http::new(settings)
    })?;
    Some((connector, requests))
}

pub(crate) struct Http {
    settings: HttpSettings,
    client: Client,
}

impl Http {
    pub(crate) fn new(settings: HttpSettings) -> Result<Self, Vec<ConfigError>> {
        let client = Client::new(&settings.common.endpoint)?;
        Ok(Self { settings, client })
    }

    fn upload_class(&self) -> ProviderClass {
        class_of_upload(&self.settings)
    }

    fn configured_class(&self) -> ProviderClass {
        let upload = self.upload_class();
        match &self.settings.second {
            None => upload,
            Some(second) if second.attaches => class_of_second(&self.settings, second),
            Some(second) => weaker(upload, class_of_second(&self.settings, second)),
        }
    }

    /// Where the table takes the applicant's reference to pieces, it must have them.
    fn reference_fits(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        let mut pieces = applicant.expose().split(',');
        let two = [pieces.next(), pieces.next()]
            .iter()
            .all(|piece| piece.is_some_and(|p| !p.is_empty()))
            && pieces.next().is_none();
        if two || !self.settings.takes_pieces() {
            return Ok(());
        }
        Err(WrongReference("it is two ids with a comma between them"))
    }

    fn read_missing(&self, rules: &settings::MissingRules, applicant: &ApplicantRef, item: &Value) -> Option<Missing> {
        let name = text_at(item, &rules.name)?;
        let kinds = if rules.kinds.is_empty() {
            &self.settings.kinds
        } else {
            &rules.kinds
        };
        let kind = kinds
            .iter()
            .find(|(_, theirs)| *theirs == name)
            .and_then(|(ours, _)| DocumentKind::parse(ours));
        let reason = rules
            .reason
            .as_ref()
            .and_then(|pointer| text_at(item, pointer))
            .filter(|r| !r.is_empty());
        let reason = reason.map(|r| settings::reason_of(&self.settings.reasons, &r).sentence().to_owned());
        let second = rules.second.as_ref().and_then(|pointer| text_at(item, pointer));
        Some(Missing {
            document: kind,
            parts: Vec::new(),
            provider_name: plain(&name),
            reason,
            applicant: second.and_then(|second| ApplicantRef::parse(&format!("{},{second}", applicant.expose()))),
        })
    }
}

fn class_of_upload(settings: &HttpSettings) -> ProviderClass {
    let upload = &settings.upload;
    if upload.idempotency_header.is_some() {
        ProviderClass::IdempotencyKey
    } else if !upload.answer.duplicate_statuses.is_empty() {
        ProviderClass::DuplicateAnswered
    } else if upload.fixed_id {
        ProviderClass::FixedId
    } else if settings.list.is_some() {
        ProviderClass::Reconcile
    } else {
        ProviderClass::NoRepeat
    }
}

fn class_of_second(settings: &HttpSettings, second: &Second) -> ProviderClass {
    let by_reference =
        |list: &settings::ListRules| list.at.path.has(template::Hole::Reference) || list.names.have_any(&[template::Hole::Reference]);
    if second.idempotency_header.is_some() {
        ProviderClass::IdempotencyKey
    } else if !second.answer.duplicate_statuses.is_empty() {
        ProviderClass::DuplicateAnswered
    } else if second.fixed_id {
        ProviderClass::FixedId
    } else {
        match &second.list {
            // An attempt in a new epoch has no references of the one before, unless the list of the uploads still has them.
            Some(list) if !by_reference(list) || settings.list.is_some() => ProviderClass::Reconcile,
            _ => ProviderClass::NoRepeat,
        }
    }
}

/// Of two requests that both leave something behind.
fn weaker(upload: ProviderClass, second: ProviderClass) -> ProviderClass {
    use ProviderClass::{DuplicateAnswered, FixedId, IdempotencyKey, ListedKey, NoRepeat, Reconcile};
    match (upload, second) {
        (NoRepeat, _) | (_, NoRepeat) => NoRepeat,
        (Reconcile | ListedKey, _) => Reconcile,
        // The uploads could not be left out by an attempt in a new epoch.
        (_, Reconcile | ListedKey) => NoRepeat,
        (IdempotencyKey, _) | (_, IdempotencyKey) => IdempotencyKey,
        (DuplicateAnswered, _) | (_, DuplicateAnswered) => DuplicateAnswered,
        (FixedId, FixedId) => FixedId,
    }
}

#[async_trait]
impl Connector for Http {
    fn profile(&self) -> Profile {
        let (common, class) = (&self.settings.common, self.configured_class());
        Profile {
            kind: "http",
            confirm: common.confirm,
            key_window: if class == ProviderClass::IdempotencyKey {
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

    fn check_reference(&self, applicant: &ApplicantRef) -> Result<(), WrongReference> {
        self.reference_fits(applicant)
    }

    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        let Some(rules) = &self.settings.missing else {
            return Err(super::cannot_list());
        };
        let values = Values::about(&self.settings, applicant);
        let body = self.ask(rules.at.url(&self.client, &values)).await?;
        let items = answer::items(&body, &rules.items)?;
        let wanted = items.iter().filter(|item| match &rules.status {
            None => true,
            Some(pointer) => text_at(item, pointer).is_some_and(|status| rules.wanted.contains(&status)),
        });
        let mut missing: Vec<Missing> = Vec::new();
        for one in wanted.filter_map(|item| self.read_missing(rules, applicant, item)) {
            // Lists inside of lists name the same thing more than once.
            if !missing.contains(&one) {
                missing.push(one);
            }
        }
        Ok(missing)
    }

    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        self.reference_fits(&outbound.applicant)?;
        self.deliver_all(outbound, progress_log).await
    }

    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure> {
        self.reference_fits(&outbound.applicant)?;
        let Some(found) = self.found(outbound).await? else {
            return Ok(Presence::Unknown);
        };
        let found: Vec<String> = found.into_iter().flatten().collect();
        if found.len() < self.needed(outbound) {
            // What is there of a document that goes in several requests is left out by the next attempt.
            let partly = !found.is_empty() && self.configured_class() != ProviderClass::Reconcile;
            return Ok(if partly { Presence::Unknown } else { Presence::Absent });
        }
        let mut references = answer::named(found);
        references.dedup();
        Ok(Presence::Present(Delivered {
            references,
            verdict: Verdict::Pending,
        }))
    }

    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure> {
        let Some((rules, at)) = self.settings.verdict.as_ref().and_then(|rules| Some((rules, rules.at.as_ref()?))) else {
            return Ok(Verdict::Pending);
        };
        self.reference_fits(&outbound.applicant)?;
        // A path that asks about the applicant or our own id is asked once.
        let once = [String::new()];
        let by_reference = at.path.has(template::Hole::Reference) || rules.names.have_any(&[template::Hole::Reference]);
        let references: &[String] = if by_reference { &receipt.references } else { &once };
        let mut verdict = Verdict::Accepted;
        for reference in references {
            let values = Values::of(&self.settings, outbound).reference(reference);
            let body = self.ask(at.url(&self.client, &values)).await?;
            // An answer about something else decides nothing.
            let one = if rules.names.fit(&body, &[values]) {
                judge(rules, &body)
            } else {
                Verdict::Pending
            };
            verdict = worse(verdict, one);
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
        let at = |pointer: &Option<String>| {
            pointer
                .as_ref()
                .and_then(|p| answer::text_at(&body, p))
                .filter(|text| !text.is_empty())
        };
        let reference = at(&rules.reference).map(Hint::Reference);
        let applicant = at(&rules.applicant).and_then(|a| ApplicantRef::parse(&a)).map(Hint::Applicant);
        Ok(reference.into_iter().chain(applicant).collect())
    }

    async fn check(&self) -> Result<String, Failure> {
        match &self.settings.check_path {
            None => Ok("configured; not asked, because no check_path is set".to_owned()),
            Some(path) => self
                .ask(self.client.url(path))
                .await
                .map(|_| "the provider answers and takes the credentials".to_owned()),
        }
    }
}

/// Which algorithm a word of the configuration means.
const ALGORITHMS: [(&str, Algorithm); 3] = [
    ("sha1", Algorithm::Sha1),
    ("sha256", Algorithm::Sha256),
    ("sha512", Algorithm::Sha512),
];

#[cfg(test)]
mod tests;
