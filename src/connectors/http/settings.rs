//! The table of a provider of kind `http`. Operators read the same in `assets/docs/providers/http.md`.
//!
//! ```toml
//! kind = "http"
//! base_url = "https://api.example.com/v2"
//! auth = "bearer"                      # bearer | basic | header | oauth | none
//! api_key_file = "secrets/example"     # for basic: the password, with `user`; for header: with `auth_header`
//!                                      # oauth: client_id, client_secret_file, token_url, token_auth = "basic" | "form", token_grant_type, scope
//! headers = { x-version = "7" }
//! idempotency_header = "Idempotency-Key"
//! key_window = "24h"
//! kinds = { government-id = "ID_CARD" }            # {kind}; when set, no other kind is taken
//! part_names = { front = "FRONT_SIDE" }            # {part}; likewise
//! reasons = { POOR_QUALITY = "unreadable" }        # the provider's reasons in the portal's words; the rest is guessed
//! check_path = "/ping"
//!
//! [upload]                             # paths: {applicant} {document} {kind} {part} {type} {file_name}
//! method = "POST"                      # POST | PUT | PATCH
//! path = "/applicants/{applicant}/documents"
//! shape = "multipart"                  # multipart | base64 | data-uri | raw | presigned
//! per_part = false                     # true: one request for each part (raw and presigned: always)
//! file_field = "{part}"                # a name, or for JSON a pointer such as "/image/{part}"
//! fields = { type = "{kind}" }
//! reference = "/id"                    # JSON pointer into the answer
//! duplicate_statuses = []              # these mean: the provider has it already
//! definite_statuses = [429, 503]       # these mean: surely not stored
//! fixed_id = false                     # PUT to a place of its own: repeating overwrites itself
//! # with shape = "presigned" the request above carries only `fields`, as JSON; its answer says where the bytes go:
//! address = "/upload_url"              # JSON pointer into the answer
//! address_hosts = ["uploads.example.com", "*.example.net"]
//! address_method = "PUT"               # PUT | POST; no credentials are sent there
//!
//! [list]                               # what the provider has; for an unknown outcome
//! path = "/applicants/{applicant}/documents"
//! items = "/data"
//! file_name = "/fileName"
//! reference = "/id"
//!
//! [verdict]
//! path = "/documents/{reference}"      # not set: the upload's own answer holds it
//! status = "/status"
//! accepted = ["approved"]
//! rejected = ["declined"]
//! reason = "/reason"
//!
//! [missing]
//! path = "/applicants/{applicant}/required"
//! items = "/data"
//! name = "/type"                       # "" when the items are texts
//! status = "/status"
//! wanted = ["Required", "Invalid"]
//! reason = "/reasonCode"
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

use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use time::Duration;

use super::ALGORITHMS;
use super::template::{Hole, Template};
use crate::connectors::endpoint::Endpoint;
use crate::connectors::guard;
use crate::connectors::oauth::{ClientCredentials, Place, TokenDefaults};
use crate::connectors::settings::{Common, Defaults};
use crate::connectors::sign::{self, Algorithm, Encoding};
use crate::connectors::words::Reason;
use crate::domain::delivery::ConfirmAt;
use crate::domain::document::{DocumentKind, FileType, PartName, PictureLimits};
use crate::settings::{Reader, Secret};

#[derive(Debug)]
pub struct HttpSettings {
    pub common: Common,
    pub auth: Auth,
    pub headers: Vec<(String, String)>,
    pub idempotency_header: Option<String>,
    pub key_window: Duration,
    pub kinds: Vec<(String, String)>,
    pub part_names: Vec<(String, String)>,
    pub reasons: Vec<(String, Reason)>,
    pub check_path: Option<String>,
    pub upload: Upload,
    pub list: Option<ListRules>,
    pub verdict: Option<VerdictRules>,
    pub missing: Option<MissingRules>,
    pub signing: Option<Signing>,
    pub callback: Option<CallbackRules>,
}

#[derive(Debug)]
#[allow(clippy::enum_variant_names, reason = "OAuth is a name of its own")]
pub enum Auth {
    None,
    Bearer(Secret),
    Basic { user: String, secret: Secret },
    Header { name: String, secret: Secret },
    OAuth(ClientCredentials),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Multipart,
    Base64,
    DataUri,
    Raw,
    /// A JSON request, then the bytes to the address that it answers with.
    Presigned,
}

#[derive(Debug)]
pub struct Upload {
    pub method: Method,
    pub path: Template,
    pub shape: Shape,
    pub per_part: bool,
    pub file_field: Template,
    pub fields: Vec<(String, Template)>,
    pub reference: Option<String>,
    pub duplicate_statuses: Vec<u16>,
    pub definite_statuses: Vec<u16>,
    pub fixed_id: bool,
    pub address: Option<Address>,
}

/// Where the bytes of a part go, as the provider's answer says.
#[derive(Debug)]
pub struct Address {
    pub pointer: String,
    pub hosts: Vec<String>,
    pub method: Method,
}

#[derive(Debug)]
pub struct ListRules {
    pub path: Template,
    pub items: String,
    pub file_name: String,
    pub reference: Option<String>,
}

#[derive(Debug)]
pub struct VerdictRules {
    pub path: Option<Template>,
    pub status: String,
    pub accepted: Vec<String>,
    pub rejected: Vec<String>,
    pub reason: Option<String>,
    pub reasons: Vec<(String, Reason)>,
}

#[derive(Debug)]
pub struct MissingRules {
    pub path: Template,
    pub items: String,
    pub name: String,
    pub status: Option<String>,
    pub wanted: Vec<String>,
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedText {
    Body,
    TimestampAndBody,
    /// Without separators; the path with its query, as it is on the wire.
    Request,
}

#[derive(Debug)]
pub struct Signing {
    pub header: String,
    pub secret: Secret,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    pub signs: SignedText,
    pub timestamp_header: String,
}

#[derive(Debug)]
pub enum CallbackScheme {
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
pub struct CallbackRules {
    pub scheme: CallbackScheme,
    pub reference: Option<String>,
    pub applicant: Option<String>,
}

const UPLOAD_HOLES: [Hole; 6] = [Hole::Applicant, Hole::Document, Hole::Part, Hole::Kind, Hole::Type, Hole::FileName];
const PATH: &str = "a path that begins with /";
const POINTER: &str = "a JSON pointer such as \"/data/id\"";
const ENCODINGS: [(&str, Encoding); 2] = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];

impl HttpSettings {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let defaults = Defaults {
            base_url: "",
            allow_loopback: false,
            accepted: &[FileType::Jpeg, FileType::Png, FileType::Pdf],
            min_bytes: 1,
            max_bytes: 10 << 20,
            pictures: PictureLimits::default(),
            poll_first: Duration::seconds(10),
            poll_longest: Duration::minutes(15),
        };
        let common = Common::read(reader, &defaults);
        let auth = read_auth(reader, &common.endpoint);
        let headers = read_headers(reader);
        let idempotency_header = header_name(reader, "idempotency_header");
        let key_window = reader.span("key_window", Duration::hours(24), "how long the provider knows a repeated key");
        let kinds = reader.pairs("kinds", "a table from document kinds to the provider's words");
        if kinds.iter().any(|(kind, _)| DocumentKind::parse(kind).is_none()) {
            reader.must_be("kinds", "a table with document kinds of a-z, 0-9 and -");
        }
        let part_names = reader.pairs("part_names", "a table from part names to the provider's words");
        if part_names.iter().any(|(part, _)| PartName::parse(part).is_none()) {
            reader.must_be("part_names", "a table with part names of a-z, 0-9 and -");
        }
        let reasons = read_reasons(reader);
        let check_path = reader.text("check_path", PATH);
        if check_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            reader.must_be("check_path", PATH);
        }
        if !reader.has("upload") {
            reader.is_needed("upload", "a table with path, shape and reference");
        }
        let upload = reader.optional_section("upload", read_upload).unwrap_or_else(empty_upload);
        let list = reader.optional_section("list", |r| ListRules {
            path: path(r, "path", &[Hole::Applicant, Hole::Document, Hole::Kind]),
            items: pointer(r, "items").unwrap_or_default(),
            file_name: required_pointer(r, "file_name"),
            reference: pointer(r, "reference"),
        });
        let verdict = reader.optional_section("verdict", |r| read_verdict(r, &reasons));
        let missing = reader.optional_section("missing", read_missing);
        let signing = reader.optional_section("signing", read_signing);
        let callback = reader.optional_section("callback", read_callback);
        let settings = Self {
            common,
            auth,
            headers,
            idempotency_header,
            key_window,
            kinds,
            part_names,
            reasons,
            check_path,
            upload,
            list,
            verdict,
            missing,
            signing,
            callback,
        };
        settings.agree(reader);
        settings
    }

    /// What single keys cannot show.
    fn agree(&self, reader: &mut Reader<'_>) {
        if self.callback.is_some() && self.common.webhook_secrets.is_empty() && !reader.has("webhook_secret_file") {
            reader.error(
                "webhook_secret_file",
                "is needed with [callback]: an unsigned callback is never believed",
            );
        }
        let standard = matches!(
            self.callback,
            Some(CallbackRules {
                scheme: CallbackScheme::Standard,
                ..
            })
        );
        if standard && self.common.webhook_secrets.iter().any(|s| sign::standard_key(s.expose()).is_none()) {
            reader.must_be(
                "webhook_secret_file",
                "a file with whsec_ and base64, because of scheme = \"standard\"",
            );
        }
        if self.common.confirm == ConfirmAt::Verdict && self.verdict.is_none() {
            reader.error("verdict", "is needed with confirm = \"verdict\"");
        }
        let by_reference = self
            .verdict
            .as_ref()
            .and_then(|v| v.path.as_ref())
            .is_some_and(|p| p.has(Hole::Reference));
        if by_reference && self.upload.reference.is_none() {
            reader.error("upload.reference", "is needed, because verdict.path asks by {reference}");
        }
        if self.upload.fixed_id && self.upload.method != Method::PUT {
            reader.must_be("upload.fixed_id", "true only with method = \"PUT\"");
        }
        if self.common.confirm == ConfirmAt::Verdict && self.upload.per_part && self.verdict.as_ref().is_some_and(|v| v.path.is_none()) {
            reader.error(
                "verdict.path",
                "is needed with one request per part: a continued upload must be able to ask",
            );
        }
    }
}

/// The portal's word for a provider's reason: as configured, else guessed.
pub fn reason_of(known: &[(String, Reason)], theirs: &str) -> Reason {
    known
        .iter()
        .find(|(word, _)| word == theirs)
        .map_or_else(|| Reason::guess(theirs), |(_, reason)| *reason)
}

fn read_auth(reader: &mut Reader<'_>, endpoint: &Endpoint) -> Auth {
    let default = if reader.has("api_key_file") { "bearer" } else { "none" };
    let word = reader.choice(
        "auth",
        &["bearer", "basic", "header", "oauth", "none"].map(|word| (word, word)),
        default,
        "how the portal signs in there",
    );
    match word {
        "bearer" => Auth::Bearer(reader.required_secret("api_key_file", "the API key or password")),
        "basic" => Auth::Basic {
            user: reader.required("user", "the user name"),
            secret: reader.required_secret("api_key_file", "the API key or password"),
        },
        "header" => {
            let name = header_name(reader, "auth_header");
            if name.is_none() && !reader.has("auth_header") {
                reader.is_needed("auth_header", "the name of the header that carries the secret");
            }
            Auth::Header {
                name: name.unwrap_or_default(),
                secret: reader.required_secret("api_key_file", "the API key or password"),
            }
        }
        "oauth" => {
            let token = TokenDefaults {
                path: "",
                place: Place::Basic,
                grant_type: true,
            };
            Auth::OAuth(ClientCredentials::read(reader, endpoint, &token))
        }
        _ => Auth::None,
    }
}

fn header_name(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let name = reader.text(key, "a header's name")?;
    if HeaderName::try_from(&name).is_err() {
        reader.must_be(key, "a header's name");
    }
    Some(name.to_lowercase())
}

fn read_headers(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    const OURS: [&str; 4] = ["content-length", "content-type", "host", "transfer-encoding"];
    let headers = reader.pairs("headers", "a table of header names and values");
    let bad = |(name, value): &(String, String)| {
        HeaderName::try_from(name).is_err() || HeaderValue::from_str(value).is_err() || OURS.contains(&name.to_lowercase().as_str())
    };
    if headers.iter().any(bad) {
        reader.must_be(
            "headers",
            "a table of valid header names and values, without content-length, content-type, host and transfer-encoding",
        );
    }
    headers
}

fn read_reasons(reader: &mut Reader<'_>) -> Vec<(String, Reason)> {
    let pairs = reader.pairs("reasons", "a table from the provider's reasons to the portal's words");
    let words: Vec<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    let parsed: Option<Vec<_>> = pairs
        .into_iter()
        .map(|(theirs, ours)| Some((theirs, Reason::parse(&ours)?)))
        .collect();
    parsed.unwrap_or_else(|| {
        reader.must_be("reasons", format!("a table with words among {}", words.join(", ")));
        Vec::new()
    })
}

fn path(reader: &mut Reader<'_>, key: &str, holes: &[Hole]) -> Template {
    let text = reader.required(key, PATH);
    if !text.is_empty() && !text.starts_with('/') {
        reader.must_be(key, PATH);
    }
    template(reader, key, &text, holes)
}

fn template(reader: &mut Reader<'_>, key: &str, text: &str, holes: &[Hole]) -> Template {
    Template::parse(text, holes).unwrap_or_else(|accepted| {
        reader.must_be(key, accepted);
        Template::parse("", &[]).expect("an empty text has no braces")
    })
}

fn pointer(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let text = reader.text(key, POINTER)?;
    if !text.starts_with('/') {
        reader.must_be(key, POINTER);
    }
    Some(text)
}

fn required_pointer(reader: &mut Reader<'_>, key: &str) -> String {
    if !reader.has(key) {
        return reader.required(key, POINTER);
    }
    pointer(reader, key).unwrap_or_default()
}

fn empty_upload() -> Upload {
    let nothing = || Template::parse("", &[]).expect("an empty text has no braces");
    Upload {
        method: Method::POST,
        path: nothing(),
        shape: Shape::Multipart,
        per_part: false,
        file_field: nothing(),
        fields: Vec::new(),
        reference: None,
        duplicate_statuses: Vec::new(),
        definite_statuses: Vec::new(),
        fixed_id: false,
        address: None,
    }
}

fn read_upload(reader: &mut Reader<'_>) -> Upload {
    let shapes = [
        ("multipart", Shape::Multipart),
        ("base64", Shape::Base64),
        ("data-uri", Shape::DataUri),
        ("raw", Shape::Raw),
        ("presigned", Shape::Presigned),
    ];
    let shape = reader.choice("shape", &shapes, "multipart", "how the bytes travel");
    let fields = reader.pairs("fields", "a table of field names and texts");
    let fields = fields
        .into_iter()
        .map(|(name, text)| (name, template(reader, "fields", &text, &UPLOAD_HOLES)))
        .collect();
    let file_field = reader.text_with("file_field", "{part}", "a field's name");
    Upload {
        method: reader.choice(
            "method",
            &[("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH)],
            "POST",
            "the request's method",
        ),
        path: path(reader, "path", &UPLOAD_HOLES),
        shape,
        per_part: reader.flag("per_part", false, "one request for each part") || matches!(shape, Shape::Raw | Shape::Presigned),
        file_field: template(reader, "file_field", &file_field, &UPLOAD_HOLES),
        fields,
        reference: pointer(reader, "reference"),
        duplicate_statuses: reader.numbers("duplicate_statuses", &[], "a list of statuses"),
        definite_statuses: reader.numbers("definite_statuses", &[429, 503], "a list of statuses"),
        fixed_id: reader.flag("fixed_id", false, "PUT to a place of its own: repeating overwrites itself"),
        address: (shape == Shape::Presigned).then(|| Address {
            pointer: required_pointer(reader, "address"),
            hosts: guard::read_hosts(reader, "address_hosts"),
            method: reader.choice(
                "address_method",
                &[("PUT", Method::PUT), ("POST", Method::POST)],
                "PUT",
                "how the bytes go to their address",
            ),
        }),
    }
}

fn read_verdict(reader: &mut Reader<'_>, reasons: &[(String, Reason)]) -> VerdictRules {
    const WORDS: &str = "a list of the provider's words";
    let asks = reader.has("path");
    let rules = VerdictRules {
        path: asks.then(|| path(reader, "path", &[Hole::Applicant, Hole::Document, Hole::Kind, Hole::Reference])),
        status: required_pointer(reader, "status"),
        accepted: reader.texts("accepted", WORDS).unwrap_or_default(),
        rejected: reader.texts("rejected", WORDS).unwrap_or_default(),
        reason: pointer(reader, "reason"),
        reasons: reasons.to_vec(),
    };
    if rules.accepted.is_empty() || rules.accepted.iter().any(|word| rules.rejected.contains(word)) {
        reader.must_be("accepted", "at least one word, none of which is also in rejected");
    }
    rules
}

fn read_missing(reader: &mut Reader<'_>) -> MissingRules {
    let rules = MissingRules {
        path: path(reader, "path", &[Hole::Applicant]),
        items: pointer(reader, "items").unwrap_or_default(),
        name: if reader.is_empty_text("name", POINTER) {
            String::new()
        } else {
            required_pointer(reader, "name")
        },
        status: pointer(reader, "status"),
        wanted: reader.texts("wanted", "a list of the provider's words").unwrap_or_default(),
        reason: pointer(reader, "reason"),
    };
    if rules.status.is_some() == rules.wanted.is_empty() {
        reader.must_be("wanted", "the words of `status` that mean missing; both or neither");
    }
    rules
}

fn read_signing(reader: &mut Reader<'_>) -> Signing {
    let header = header_name(reader, "header");
    if header.is_none() && !reader.has("header") {
        reader.is_needed("header", "the name of the header that carries the signature");
    }
    let signs = reader.choice(
        "signs",
        &[
            ("body", SignedText::Body),
            ("timestamp.body", SignedText::TimestampAndBody),
            ("timestamp+method+path+body", SignedText::Request),
        ],
        "body",
        "what the signature covers",
    );
    let timestamp_header = header_name(reader, "timestamp_header");
    if signs != SignedText::Body && timestamp_header.is_none() {
        reader.error("timestamp_header", "is needed, because the signature covers a timestamp");
    }
    Signing {
        header: header.unwrap_or_default(),
        secret: reader.required_secret("secret_file", "the signing secret"),
        algorithm: reader.choice("algorithm", &ALGORITHMS, "sha256", "the hash of the signature"),
        encoding: reader.choice("encoding", &ENCODINGS, "hex", "how the signature is written"),
        signs,
        timestamp_header: timestamp_header.unwrap_or_default(),
    }
}

fn read_callback(reader: &mut Reader<'_>) -> CallbackRules {
    let scheme = reader.choice(
        "scheme",
        &[("body", 0), ("timestamped", 1), ("standard", 2)],
        "body",
        "how callbacks are signed",
    );
    let header = header_name(reader, "header");
    if header.is_none() && scheme != 2 {
        reader.is_needed("header", "the name of the header that carries the signature");
    }
    let algorithm = reader.choice("algorithm", &ALGORITHMS, "sha256", "the hash of the signature");
    let encoding = reader.choice("encoding", &ENCODINGS, "hex", "how the signature is written");
    let header = header.unwrap_or_default();
    let rules = CallbackRules {
        scheme: match scheme {
            0 => CallbackScheme::Body {
                header,
                algorithm,
                encoding,
            },
            1 => CallbackScheme::Timestamped { header },
            _ => CallbackScheme::Standard,
        },
        reference: pointer(reader, "reference"),
        applicant: pointer(reader, "applicant"),
    };
    if rules.reference.is_none() && rules.applicant.is_none() {
        reader.is_needed(
            "reference",
            "a JSON pointer to the document's reference, or `applicant` to the person's",
        );
    }
    rules
}
