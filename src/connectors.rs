//! Code that speaks to one provider each. A connector knows its provider's words, shapes and answers, and nothing of storage, keys or listeners.
//!
//! * What all share (the client with its limits, request bodies as [`body::Segment`]s, signatures, sorting of failures) stands once, in `client`, `body`, `sign` and `kit`; one contract (`contract`) holds for every kind.
//! * A connector sends bytes only in [`Connector::deliver`], and the bytes are a pure function of the [`OutboundDocument`]: same document, same epoch, same bytes.
//! * Nothing here logs, stores or returns a document byte or an applicant reference. A callback is a hint, never an authority.
//! * Adding a provider takes one file and one line in [`read`] (and its name in [`KINDS`]).

pub(crate) mod adyen;
pub(crate) mod body;
pub(crate) mod bridge;
pub(crate) mod causes;
pub(crate) mod client;
pub(crate) mod dwolla;
pub(crate) mod endpoint;
pub(crate) mod failure;
pub(crate) mod guard;
pub(crate) mod hook;
pub(crate) mod http;
pub(crate) mod kinds;
pub(crate) mod kit;
pub(crate) mod lithic;
pub(crate) mod mail;
pub(crate) mod manual;
pub(crate) mod oauth;
pub(crate) mod onfido;
pub(crate) mod sandbox;
pub(crate) mod settings;
pub(crate) mod shape;
pub(crate) mod sign;
pub(crate) mod stripe;
pub(crate) mod sumsub;
pub(crate) mod synapse;
pub(crate) mod unit;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod contract;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use sha2::{Digest, Sha256};
use time::Duration;

use crate::domain::delivery::{ConfirmAt, DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, FileType, PartName, PictureLimits};
use crate::domain::id::DocumentId;

#[cfg(test)]
use crate::settings::ReadSecret;
use crate::settings::{ConfigError, Reader};
pub use failure::Failure;
pub(crate) use failure::{cannot_list, not_shown, unread};

/// The provider kinds that a configuration may name.
pub const KINDS: [&str; 12] = [
    "adyen", "bridge", "dwolla", "http", "lithic", "manual", "onfido", "sandbox", "stripe", "sumsub", "synapse", "unit",
];

/// Reads the settings of a kind and makes its connector, once the caller has read `kind`; with it the requests that a table describes, one line each. `None` with
/// errors noted where they make none.
pub fn read(kind: &str, reader: &mut Reader<'_>) -> Option<(Arc<dyn Connector>, Vec<String>)> {
    let connector = match kind {
        "sandbox" => make(reader, sandbox::SandboxConnectorSettings::read, sandbox::Sandbox::new),
        "adyen" => make(reader, adyen::AdyenSettings::read, adyen::Adyen::new),
        "bridge" => make(reader, bridge::BridgeSettings::read, bridge::Bridge::new),
        "dwolla" => make(reader, dwolla::DwollaSettings::read, dwolla::Dwolla::new),
        "lithic" => make(reader, lithic::LithicSettings::read, lithic::Lithic::new),
        "onfido" => make(reader, onfido::OnfidoSettings::read, onfido::Onfido::new),
        "sumsub" => make(reader, sumsub::SumsubSettings::read, sumsub::Sumsub::new),
        "unit" => make(reader, unit::UnitSettings::read, unit::Unit::new),
        "stripe" => make(reader, stripe::StripeSettings::read, stripe::Stripe::new),
        "synapse" => make(reader, synapse::SynapseSettings::read, synapse::Synapse::new),
        "http" => return http::read(reader),
        "manual" => make(reader, manual::ManualSettings::read, |settings| Ok(manual::Manual::new(settings))),
        _ => {
            reader.must_be("kind", format!("one of {}", KINDS.join(", ")));
            reader.skip_rest();
            None
        }
    };
    Some((connector?, Vec::new()))
}

fn make<S, C: Connector + 'static>(
    reader: &mut Reader<'_>,
    settings: impl FnOnce(&mut Reader<'_>) -> S,
    connector: impl FnOnce(S) -> Result<C, Vec<ConfigError>>,
) -> Option<Arc<dyn Connector>> {
    let sound = reader.errors();
    let settings = settings(reader);
    // Also with stand-ins in the settings: what only the connector finds wrong is told together with the rest.
    let made = reader.note(connector(settings))?;
    (reader.errors() == sound).then(|| Arc::new(made) as Arc<dyn Connector>)
}

/// A connector from a table alone, for tests.
#[cfg(test)]
pub(crate) fn build(kind: &str, table: &toml::Table, read_secret: ReadSecret<'_>) -> Result<Arc<dyn Connector>, Vec<ConfigError>> {
    let mut reader = Reader::new(table, read_secret);
    let connector = read(kind, &mut reader);
    reader.finish(connector).map(Option::unwrap).map(|(connector, _)| connector)
}

/// One provider, as the worker and the listeners see it. Every method is required: nothing silently does nothing.
///
/// What a connector for a provider with nothing but an upload would say (the twelve in this module show how the parts that they share are used):
///
/// ```
/// use async_trait::async_trait;
/// use nightdrop::testing::connectors::*;
/// use nightdrop::testing::domain::delivery::{ConfirmAt, DeliveryProblem, ProviderClass, Receipt};
/// use nightdrop::testing::domain::document::{ApplicantRef, DocumentKind, FileType, PartName, PictureLimits};
/// use time::Duration;
///
/// struct Example;
///
/// #[async_trait]
/// impl Connector for Example {
///     fn profile(&self) -> Profile {
///         Profile {
///             kind: "example",
///             confirm: ConfirmAt::Received,
///             key_window: Duration::ZERO,
///             lists_missing: false,
///             by_hand: false,
///             poll_first: Duration::minutes(1),
///             poll_longest: Duration::hours(1),
///         }
///     }
///
///     fn class(&self, _: &OutboundDocument) -> ProviderClass {
///         // Two uploads make two documents, and nothing tells whether one arrived: a person decides after an unclear answer.
///         ProviderClass::NoRepeat
///     }
///
///     fn accepts(&self, _: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported> {
///         if parts.len() > 1 {
///             return Err(Unsupported("This provider takes one picture.".to_owned()));
///         }
///         Ok(Limits { accepted: vec![FileType::Jpeg], min_bytes: 1, max_bytes: 8 << 20, pictures: PictureLimits::default() })
///     }
///
///     async fn missing(&self, _: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
///         Err(Failure::Final { problem: DeliveryProblem::new("provider.cannot_list", "This provider does not list what is missing.") })
///     }
///
///     async fn deliver(&self, document: &OutboundDocument, _: &dyn ProgressLog) -> Result<Delivered, Failure> {
///         // Here `client` would send what `body` makes of `document.source`, under `document.keys`, and sort what comes back.
///         Ok(Delivered { references: vec![document.file_name(0)], verdict: Verdict::Pending })
///     }
///
///     async fn reconcile(&self, _: &OutboundDocument) -> Result<Presence, Failure> {
///         Ok(Presence::Unknown)
///     }
///
///     async fn verdict(&self, _: &OutboundDocument, _: &Receipt) -> Result<Verdict, Failure> {
///         Ok(Verdict::Pending)
///     }
///
///     fn callback(&self, _: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
///         Err(CallbackRefused::NotUsed)
///     }
///
///     async fn check(&self) -> Result<String, Failure> {
///         Ok("there is nothing to ask".to_owned())
///     }
/// }
///
/// assert!(Example.accepts(&DocumentKind::parse("passport").unwrap(), &[PartName::parse("front").unwrap()]).is_ok());
/// ```
#[async_trait]
pub trait Connector: Send + Sync {
    fn profile(&self) -> Profile;

    /// What repeating the step that is open does here, by what is noted of the ones before. An idempotency key counts only where the vendor promises it for
    /// this very call.
    fn class(&self, outbound: &OutboundDocument) -> ProviderClass;

    /// What this provider takes for a document kind with these parts, before anybody is asked for it.
    fn accepts(&self, document: &DocumentKind, parts: &[PartName]) -> Result<Limits, Unsupported>;

    /// Whether the provider can have an applicant under this reference, judged by its form alone, before a link is issued.
    fn check_reference(&self, _: &ApplicantRef) -> Result<(), WrongReference> {
        Ok(())
    }

    /// Documents that the provider still wants of this applicant. `Err(Failure::Final)` with code `provider.cannot_list` where it has no such call.
    async fn missing(&self, applicant: &ApplicantRef) -> Result<Vec<Missing>, Failure>;

    /// Sends the whole document. Finished steps are noted in `progress_log` (durable before the call returns) so that a later attempt of the same epoch continues behind them.
    async fn deliver(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure>;

    /// Whether the provider has this document after an attempt with unknown outcome. Asks, never sends.
    async fn reconcile(&self, outbound: &OutboundDocument) -> Result<Presence, Failure>;

    /// What the provider thinks of it by now.
    async fn verdict(&self, outbound: &OutboundDocument, receipt: &Receipt) -> Result<Verdict, Failure>;

    /// Verifies a callback over its raw body in constant time, with a pinned algorithm and replay protection. Only then is the body parsed.
    fn callback(&self, callback: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused>;

    /// Whether the provider is a sandbox that runs inside the portal itself, and is to be started with it.
    fn runs_inside(&self) -> bool {
        false
    }

    /// Tells such a connector where its provider was started, and what they know each other by. Once, before anything is sent.
    fn begin_inside(&self, _: Inside<'_>) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    /// A harmless authenticated call for `doctor`: what the provider answered, in words without secrets.
    async fn check(&self) -> Result<String, Failure>;
}

/// A provider that was started inside the portal.
#[derive(Clone, Copy)]
pub struct Inside<'a> {
    /// `http://<address of this machine>`.
    pub url: &'a str,
    pub api_key: &'a str,
    pub webhook_secret: &'a str,
}

/// What does not change while the portal runs.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The configuration's `kind`.
    pub kind: &'static str,
    pub confirm: ConfirmAt,
    /// For steps of class K: how long a repeated key is surely recognised. Zero for the others.
    pub key_window: Duration,
    /// Whether [`Connector::missing`] can answer.
    pub lists_missing: bool,
    /// Whether an agent hands the document over by hand (`manual`): nothing is sent.
    pub by_hand: bool,
    /// First and longest pause between questions for a verdict.
    pub poll_first: Duration,
    pub poll_longest: Duration,
}

/// A provider's own limits for one kind, told to the applicant before and checked at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub accepted: Vec<FileType>,
    pub min_bytes: u64,
    pub max_bytes: u64,
    /// What a picture must be beyond that.
    pub pictures: PictureLimits,
}

/// This provider cannot take that document in those parts; the sentence tells an agent what it can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

/// A reference that no applicant of this provider has; the words say what one looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongReference(pub &'static str);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The portal's kind, or `None` when the provider wants something the catalogue does not know.
    pub document: Option<DocumentKind>,
    pub parts: Vec<PartName>,
    /// The provider's own word for it, e.g. `individual.verification.document`. Never a person's data.
    pub provider_name: String,
    /// The provider's reason in plain words (expired, unreadable …), if it gave one.
    pub reason: Option<String>,
    /// The reference to ask with, where it is not the one that was asked about (a company's representative, a beneficial owner).
    pub applicant: Option<ApplicantRef>,
}

/// One submission on its way: everything the request's bytes may depend on.
pub struct OutboundDocument {
    pub document: DocumentId,
    pub epoch: u32,
    pub applicant: ApplicantRef,
    pub kind: DocumentKind,
    /// In the order of the request's parts.
    pub parts: Vec<OutboundPart>,
    /// Handles of finished steps of this epoch.
    pub progress: Vec<(String, String)>,
    /// Deterministic keys and boundaries of this document and epoch.
    pub keys: Arc<dyn Keys>,
    pub source: Arc<dyn Source>,
}

#[derive(Clone, Debug)]
pub struct OutboundPart {
    pub name: PartName,
    pub file_type: FileType,
    /// Plaintext bytes, exactly.
    pub size: u64,
    /// Keyed digest of the part: equal for equal bytes of this document, and meaningless to anybody else.
    pub digest: [u8; 32],
}

impl OutboundDocument {
    /// The only file name a provider ever sees: `document-<id>-<part>.<ext>`.
    pub fn file_name(&self, part: usize) -> String {
        let part = &self.parts[part];
        format!("document-{}-{}.{}", self.document, part.name, part.file_type.extension())
    }

    /// SHA-256 over everything that the request's bytes are a function of: what the durable intent records. Equal documents have equal digests, and another epoch another one.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut take = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        take(b"nightdrop outbound 1");
        take(&self.document.0);
        take(&self.epoch.to_be_bytes());
        take(self.applicant.expose().as_bytes());
        take(self.kind.as_str().as_bytes());
        take(self.keys.idempotency(0).as_bytes());
        take(self.keys.boundary(0).as_bytes());
        for part in &self.parts {
            take(part.name.as_str().as_bytes());
            take(part.file_type.mime().as_bytes());
            take(&part.size.to_be_bytes());
            take(&part.digest);
        }
        hash.finalize().into()
    }

    pub fn step(&self, name: &str) -> Option<&str> {
        self.progress.iter().find(|(step, _)| step == name).map(|(_, value)| value.as_str())
    }
}

/// Keys that are a pure function of (portal secret, document, call, epoch).
pub trait Keys: Send + Sync {
    /// Idempotency key of the `call`-th request of an attempt: 32 characters of Crockford base32.
    fn idempotency(&self, call: u8) -> String;
    /// Multipart boundary: `nightdrop-` and 32 hexadecimal digits.
    fn boundary(&self, call: u8) -> String;
}

/// Opens a part, chunk by chunk; never the whole document in memory.
pub trait Source: Send + Sync {
    fn open(&self, part: usize) -> BoxStream<'static, Result<Bytes, SourceError>>;
}

/// Why a sealed part did not come out to its end, sorted by whether trying again can help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The place where it is kept cannot be read now: an outage, which says nothing about the document.
    #[error("{0}")]
    Transient(&'static str),
    /// Read without an error, and not what was sealed: repeating it changes nothing.
    #[error("{0}")]
    Final(&'static str),
}

#[async_trait]
pub trait ProgressLog: Send + Sync {
    /// Durably notes a finished step before the next one starts. An error means that the lease is lost: stop at once.
    async fn note(&self, step: &str, value: &str) -> Result<(), Failure>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The provider's ids of what it received; handed back to [`Connector::verdict`].
    pub references: Vec<String>,
    /// The verdict, where the upload's own answer already has it.
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pending,
    Accepted,
    /// In plain words; the code is `document.unreadable`, `document.expired`, `document.wrong_type`, `document.rejected` … .
    Rejected(DeliveryProblem),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    Present(Delivered),
    /// Authoritatively not there now. Lists lag: only what is absent for five minutes is sent again.
    Absent,
    /// The provider cannot say.
    Unknown,
}

/// A provider calling us, raw.
pub struct Callback<'a> {
    /// Lower-case names.
    pub headers: &'a [(String, String)],
    /// Without the `?`.
    pub query: &'a str,
    pub body: &'a [u8],
    /// Seconds since 1970, for the signature's tolerance.
    pub now: i64,
}

/// "Something happened to this": look it up, then ask the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// All open requests of this applicant at this provider.
    Applicant(ApplicantRef),
    /// The request whose receipt holds this provider reference.
    Reference(String),
}

impl<'a> Callback<'a> {
    /// The value of a header that stands there exactly once; a doubled one is nobody's.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackRefused {
    /// No, wrong or stale signature: 401.
    Signature,
    /// Signed, but not readable: 400.
    Malformed,
    /// This provider does not call: 404.
    NotUsed,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::fake::{NoProgressLog, Reply, no_secrets, outbound_of};
    use super::*;

    #[test]
    fn every_kind_is_built_and_no_other() {
        for kind in KINDS {
            let faults = build(kind, &"no_such_key=1".parse().unwrap(), no_secrets()).err().unwrap();
            assert!(
                faults.iter().any(|f| f.key == "no_such_key") && faults.iter().all(|f| f.key != "kind"),
                "{kind}"
            );
        }
        let faults = build("carrier-pigeon", &toml::Table::new(), no_secrets()).err().unwrap();
        assert_eq!(faults[0].key, "kind");
        assert!(KINDS.iter().all(|kind| faults[0].fix.contains(kind)));
    }

    #[test]
    fn an_addresss_faults_come_with_all_others() {
        let faults = build("sandbox", &"base_url='http://example.com'".parse().unwrap(), no_secrets())
            .err()
            .unwrap();
        let keys: Vec<_> = faults.iter().map(|f| f.key.as_str()).collect();
        assert_eq!(keys, ["base_url", "api_key_file"]);
    }

    #[test]
    fn an_outbound_documents_digest_changes_with_everything_that_the_bytes_depend_on() {
        let outbound = || outbound_of("a", &[("front", b"abc")], 1);
        let changed = |change: &dyn Fn(&mut OutboundDocument)| {
            let mut other = outbound();
            change(&mut other);
            other.digest()
        };
        assert_eq!(changed(&|_| {}), outbound().digest());
        assert_eq!(
            changed(&|p| p.progress.push(("file:front".into(), "x".into()))),
            outbound().digest()
        );
        let changes: [&dyn Fn(&mut OutboundDocument); 7] = [
            &|p| p.epoch = 1,
            &|p| p.document = DocumentId([8; 16]),
            &|p| p.applicant = ApplicantRef::parse("b").unwrap(),
            &|p| p.kind = DocumentKind::parse("passport").unwrap(),
            &|p| p.parts[0].file_type = FileType::Pdf,
            &|p| p.parts[0].size = 4,
            &|p| p.parts[0].digest[0] ^= 1,
        ];
        let mut digests: Vec<_> = changes.iter().map(|change| changed(change)).collect();
        digests.push(outbound().digest());
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), 8);
    }

    #[tokio::test]
    async fn the_sandboxs_request_is_the_same_over_all_retries() {
        let fake = fake::Fake::replies(vec![Reply::Drop]).await;
        let table = format!("base_url='{}'\napi_key_file='key'", fake.url()).parse().unwrap();
        let connector = build("sandbox", &table, no_secrets()).unwrap();
        for chunk in [1, 2, 7] {
            let outbound = outbound_of("a", &[("front", &b"front"[..]), ("back", b"back")], chunk);
            assert!(matches!(
                connector.deliver(&outbound, &NoProgressLog).await,
                Err(Failure::Ambiguous { .. })
            ));
        }
        let seen = fake.seen();
        assert!(seen.len() == 3 && seen.iter().all(|request| *request == seen[0]));
    }
}
