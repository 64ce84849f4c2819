//! The table of a provider of kind `http`. Operators read the same in `assets/docs/providers/http.md`.
//!
//! ```toml
//! kind = "http"
//! base_url = "https://api.example.com/v2"
//! auth = "bearer"                      # bearer | basic | header | oauth | none
//! api_key_file = "secrets/example"     # for basic: the password, with `user` (may be ""); for header: with `auth_header`
//!                                      # oauth: client_id, client_secret_file, token_url, token_auth = "basic" | "form", token_grant_type, scope
//! headers = { x-version = "7" }
//! idempotency_header = "Idempotency-Key"           # of every request that sends; a step may have its own, or "" for none
//! key_window = "24h"
//! kinds = { government-id = "ID_CARD" }            # {kind}; when set, no other kind is taken
//! part_names = { front = "FRONT_SIDE" }            # {part}; likewise
//! reasons = { POOR_QUALITY = "unreadable" }        # the provider's reasons in the portal's words; the rest is guessed
//! check_path = "/ping"
//!
//! [upload]                             # paths: {applicant} {document} {kind} {part} {type} {file_name} {size} {key}
//! method = "POST"                      # POST | PUT | PATCH
//! path = "/applicants/{applicant}/documents"
//! shape = "multipart"                  # multipart | base64 | data-uri | raw | presigned
//! per_part = false                     # true: one request for each part (raw and presigned: always)
//! file_field = "{part}"                # a name, or for JSON a pointer such as "/image/{part}" or "/{n}/content"
//! fields = { type = "{kind}" }         # a name with {part} or {n} stands there once for each part
//! answer_names = { "/applicant" = "{applicant}" }  # what must stand in the answer of this very document
//! reference = "/id"                    # JSON pointer into the answer
//! reference_prefix = "doc_"            # every reference of this provider begins with it
//! duplicate_statuses = []              # these mean: the provider has it already
//! definite_statuses = [429, 503]       # these mean: surely not stored
//! fixed_id = false                     # PUT to a place of its own: repeating overwrites itself
//! # with shape = "presigned" the request above carries only `fields`, as JSON; its answer says where the bytes go:
//! address = "/upload_url"              # JSON pointer into the answer; the address is absolute, or begins with / behind base_url
//! address_hosts = ["uploads.example.com", "*.example.net"]     # besides the host of base_url
//! address_method = "PUT"               # PUT | POST
//! address_credentials = false          # true: credentials and `headers` go there too
//! address_names = { "/document" = "{reference}" }  # what must stand in the answer to the bytes
//!
//! [lookup]                             # asked after each upload, where its answer does not name the document
//! path = "/documents/{reference}"
//! names = { "/fileName" = "{file_name}" }
//!
//! [list]                               # what the provider has; for an unknown outcome, and where nothing else names the document
//! path = "/applicants/{applicant}/documents"       # with {part}, {file_name}, {size} or {key}: asked for each part
//! items = "/data"                      # "": the answer is the list; "/*/documents": the lists of all its entries
//! file_name = "/fileName"              # short for names = { "/fileName" = "{file_name}" }
//! names = { "/tag" = "{document}-{part}" }         # what must stand in an entry
//! answer_names = { "/applicant" = "{applicant}" }  # what must stand in the whole answer
//! reference = "/id"
//!
//! [attach]                             # a second request; uploaded files count only when it is done ([submit]: they count before)
//! method = "POST"                      # POST | PUT | PATCH
//! path = "/applicants/{applicant}/evidence"
//! per_part = false                     # true: one request for each part
//! fields = { "/files" = "{references}", "/front" = "{reference}" }      # JSON; {references}: all of them, as a list
//! answer_names = { "/applicant" = "{applicant}" }
//! reference = "/id"                    # instead of the upload's references from here on
//! duplicate_statuses = []
//! definite_statuses = [429, 503]
//! fixed_id = false                     # PUT: repeating overwrites itself
//! [attach.list]                        # as [list]; also {reference}
//! path = "/applicants/{applicant}/evidence"
//! items = "/data"
//! names = { "/file" = "{reference}" }
//!
//! [verdict]
//! path = "/documents/{reference}"      # not set: the upload's own answer holds it
//! names = { "/id" = "{reference}" }    # what must stand in the answer
//! status = "/status"
//! accepted = ["approved"]
//! rejected = ["declined"]
//! reason = "/reason"
//!
//! [missing]
//! path = "/applicants/{applicant}/required"
//! items = "/data"
//! name = "/type"                       # "" when the items are texts
//! status = "/status"                   # "": the item itself
//! wanted = ["Required", "Invalid"]
//! reason = "/reasonCode"
//! kinds = { government-id = "identity" }           # where these names are not those of `kinds`
//! second = "/id"                       # what a request needs behind a comma in the applicant's reference: {applicant_2}
//!
//! [signing]
//! header = "X-Signature"
//! secret_file = "secrets/example-signing"
//! algorithm = "sha256"                 # sha1 | sha256 | sha512
//! encoding = "hex"                     # hex | base64
//! signs = "body"                       # body | timestamp.body | timestamp+method+path+body
//! timestamp_header = "X-Timestamp"
//!
//! [callback]                           # with webhook_secret_file beside it in the provider's table
//! scheme = "body"                      # body | timestamped (t=…,v1=…) | standard (Standard Webhooks)
//! header = "X-Signature"
//! algorithm = "sha256"
//! encoding = "hex"
//! reference = "/data/id"
//! applicant = "/data/applicantId"
//! ```
//!
//! `[list]`, `[lookup]`, `[attach]`, `[verdict]` and `[missing]` may have a `base_url` of their own, where the provider has another host for them. The
//! credentials go to it: whoever wrote the table wrote the address.

mod agree;
mod read;

use reqwest::{Method, Url};
use time::Duration;

use super::template::{Hole, Template, Values};
use crate::connectors::client::{Client, join};
use crate::connectors::oauth::ClientCredentials;
use crate::connectors::settings::Common;
use crate::connectors::sign::{Algorithm, Encoding};
use crate::connectors::words::Reason;
use crate::settings::Secret;

#[derive(Debug)]
pub(crate) struct HttpSettings {
    pub common: Common,
    pub auth: Auth,
    pub headers: Vec<(String, String)>,
    pub key_window: Duration,
    pub kinds: Vec<(String, String)>,
    pub part_names: Vec<(String, String)>,
    pub reasons: Vec<(String, Reason)>,
    pub check_path: Option<String>,
    pub upload: Upload,
    pub lookup: Option<Lookup>,
    pub list: Option<ListRules>,
    pub second: Option<Second>,
    pub verdict: Option<VerdictRules>,
    pub missing: Option<MissingRules>,
    pub signing: Option<Signing>,
    pub callback: Option<CallbackRules>,
}

#[derive(Debug)]
#[allow(clippy::enum_variant_names, reason = "OAuth is a name of its own")]
pub(crate) enum Auth {
    None,
    Bearer(Secret),
    Basic { user: String, secret: Secret },
    Header { name: String, secret: Secret },
    OAuth(ClientCredentials),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Multipart,
    Base64,
    DataUri,
    Raw,
    /// A JSON request, then the bytes to the address that it answers with.
    Presigned,
}

/// Names and texts with holes, in the order of the names: fields of a body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub Vec<(Template, Template)>);

/// JSON pointers and what must stand there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs(pub Vec<(Template, Template)>);

impl Pairs {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the expected values has one of these holes.
    pub(crate) fn have_any(&self, holes: &[Hole]) -> bool {
        self.0.iter().any(|(_, expected)| expected.has_any(holes))
    }
}

/// Where a request goes: a path behind `base_url`, or behind an address of its own.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub base: Option<Url>,
    pub path: Template,
}

impl Target {
    pub(crate) fn url(&self, client: &Client, values: &Values<'_>) -> Url {
        let path = self.path.in_path(values);
        match &self.base {
            Some(base) => join(base, &path),
            None => client.url(&path),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Upload {
    pub method: Method,
    pub to: Target,
    pub idempotency_header: Option<String>,
    pub shape: Shape,
    pub per_part: bool,
    pub file_field: Template,
    pub fields: Fields,
    pub answer: AnswerRules,
    pub fixed_id: bool,
    pub address: Option<Address>,
}

/// How the answer of a request that sends is read.
#[derive(Debug)]
pub(crate) struct AnswerRules {
    /// What names the document in it.
    pub names: Pairs,
    pub reference: Option<String>,
    pub reference_prefix: Option<String>,
    pub duplicate_statuses: Vec<u16>,
    pub definite_statuses: Vec<u16>,
}

/// Where the bytes of a part go, as the provider's answer says.
#[derive(Debug)]
pub(crate) struct Address {
    pub pointer: String,
    pub hosts: Vec<String>,
    pub method: Method,
    pub credentials: bool,
    pub names: Pairs,
}

/// A question about one upload.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub at: Target,
    pub names: Pairs,
}

#[derive(Debug)]
pub(crate) struct ListRules {
    pub at: Target,
    pub items: String,
    pub names: Pairs,
    pub answer_names: Pairs,
    pub reference: Option<String>,
}

/// The request behind the uploads.
#[derive(Debug)]
pub(crate) struct Second {
    /// `attach` or `submit`.
    pub word: &'static str,
    /// Whether the uploads mean nothing before it.
    pub attaches: bool,
    pub method: Method,
    pub to: Target,
    pub idempotency_header: Option<String>,
    pub per_part: bool,
    pub fields: Fields,
    pub answer: AnswerRules,
    pub fixed_id: bool,
    pub list: Option<ListRules>,
}

#[derive(Debug)]
pub(crate) struct VerdictRules {
    pub at: Option<Target>,
    pub names: Pairs,
    pub status: String,
    pub accepted: Vec<String>,
    pub rejected: Vec<String>,
    pub reason: Option<String>,
    pub reasons: Vec<(String, Reason)>,
}

#[derive(Debug)]
pub(crate) struct MissingRules {
    pub at: Target,
    pub items: String,
    pub name: String,
    pub status: Option<String>,
    pub wanted: Vec<String>,
    pub reason: Option<String>,
    pub kinds: Vec<(String, String)>,
    pub second: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignedText {
    Body,
    TimestampAndBody,
    /// Without separators; the path with its query, as it is on the wire.
    Request,
}

#[derive(Debug)]
pub(crate) struct Signing {
    pub header: String,
    pub secret: Secret,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    pub signs: SignedText,
    pub timestamp_header: String,
}

#[derive(Debug)]
pub(crate) enum CallbackScheme {
    Body {
        header: String,
        algorithm: Algorithm,
        encoding: Encoding,
    },
    Timestamped {
        header: String,
    },
    Standard,
}

#[derive(Debug)]
pub(crate) struct CallbackRules {
    pub scheme: CallbackScheme,
    pub reference: Option<String>,
    pub applicant: Option<String>,
}

/// The portal's word for a provider's reason: as configured, else guessed.
pub(crate) fn reason_of(known: &[(String, Reason)], theirs: &str) -> Reason {
    known
        .iter()
        .find(|(word, _)| word == theirs)
        .map_or_else(|| Reason::guess(theirs), |(_, reason)| *reason)
}
