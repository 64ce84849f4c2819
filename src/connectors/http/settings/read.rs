//! Reads the table: each key by its name, with a stand-in where it has a fault, so that all faults are told at once.

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};
use time::Duration;

use super::super::ALGORITHMS;
use super::super::template::{Hole, Template};
use super::{
    Address, AnswerRules, Auth, CallbackRules, CallbackScheme, Fields, HttpSettings, ListRules, Lookup, MissingRules, Pairs, Second, Shape,
    SignedText, Signing, Target, Upload, VerdictRules,
};
use crate::connectors::endpoint::Endpoint;
use crate::connectors::guard::{self, checked_url};
use crate::connectors::oauth::{ClientCredentials, Place, TokenDefaults};
use crate::connectors::settings::{Common, Defaults};
use crate::connectors::sign::Encoding;
use crate::connectors::words::Reason;
use crate::domain::document::{DocumentKind, FileType, PartName, PictureLimits};
use crate::settings::{ConfigError, Reader};

const APPLICANT: [Hole; 3] = [Hole::Applicant, Hole::ApplicantFirst, Hole::ApplicantSecond];
/// What is known of a document and a part before anything was answered.
const SENT: [Hole; 11] = [
    Hole::Applicant,
    Hole::ApplicantFirst,
    Hole::ApplicantSecond,
    Hole::Document,
    Hole::Part,
    Hole::Number,
    Hole::Kind,
    Hole::Type,
    Hole::FileName,
    Hole::Size,
    Hole::Key,
];
const PLACES: [Hole; 2] = [Hole::Part, Hole::Number];
const PATH: &str = "a path that begins with /";
const POINTER: &str = "a JSON pointer such as \"/data/id\"";
const ENCODINGS: [(&str, Encoding); 2] = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];
const METHODS: [(&str, Method); 3] = [("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH)];

fn and(holes: &[Hole], more: &[Hole]) -> Vec<Hole> {
    holes.iter().chain(more).copied().collect()
}

impl HttpSettings {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
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
        let endpoint = &common.endpoint;
        let auth = read_auth(reader, endpoint);
        let headers = read_headers(reader);
        let key_header = header_name(reader, "idempotency_header");
        let key_window = reader.span("key_window", Duration::hours(24), "how long the provider knows a repeated key");
        let kinds = read_kinds(reader);
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
        let upload = reader.optional_section("upload", |r| read_upload(r, key_header.as_deref()));
        let upload = upload.unwrap_or_else(no_upload);
        let lookup = reader.optional_section("lookup", |r| {
            let holes = and(&SENT, &[Hole::Reference]);
            Lookup {
                at: target(r, endpoint, &holes),
                names: pairs(r, "names", &holes),
            }
        });
        let list = reader.optional_section("list", |r| read_list(r, endpoint, &SENT));
        let mut second = |word: &'static str, attaches: bool| {
            reader.optional_section(word, |r| read_second(r, word, attaches, endpoint, key_header.as_deref()))
        };
        let (attach, submit) = (second("attach", true), second("submit", false));
        if attach.is_some() && submit.is_some() {
            reader.error("submit", "must not stand beside [attach]: there is one second request");
        }
        let verdict = reader.optional_section("verdict", |r| read_verdict(r, endpoint, &reasons));
        let missing = reader.optional_section("missing", |r| read_missing(r, endpoint));
        let signing = reader.optional_section("signing", read_signing);
        let callback = reader.optional_section("callback", read_callback);
        let settings = Self {
            common,
            auth,
            headers,
            key_window,
            kinds,
            part_names,
            reasons,
            check_path,
            upload,
            lookup,
            list,
            second: attach.or(submit),
            verdict,
            missing,
            signing,
            callback,
        };
        settings.agree(reader);
        settings
    }
}

fn read_kinds(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let kinds = reader.pairs("kinds", "a table from document kinds to the provider's words");
    if kinds.iter().any(|(kind, _)| DocumentKind::parse(kind).is_none()) {
        reader.must_be("kinds", "a table with document kinds of a-z, 0-9 and -");
    }
    kinds
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
            // Some providers have a key and no user.
            user: if reader.is_empty_text("user", "the user name") {
                String::new()
            } else {
                reader.required("user", "the user name")
            },
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

fn target(reader: &mut Reader<'_>, endpoint: &Endpoint, holes: &[Hole]) -> Target {
    Target {
        base: read_base(reader, endpoint),
        path: path(reader, "path", holes),
    }
}

fn read_base(reader: &mut Reader<'_>, endpoint: &Endpoint) -> Option<Url> {
    let text = reader.text("base_url", "the address of this request, where it is another one")?;
    match checked_url(endpoint, &text) {
        Ok(url) => Some(url),
        Err(takes) => {
            reader.must_be("base_url", takes);
            None
        }
    }
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
        Template::empty()
    })
}

/// Names and texts, each a template.
fn templates(reader: &mut Reader<'_>, key: &str, takes: &str, holes: &[Hole]) -> Vec<(Template, Template)> {
    let pairs = reader.pairs(key, takes);
    pairs
        .into_iter()
        .map(|(name, text)| (template(reader, key, &name, &PLACES), template(reader, key, &text, holes)))
        .collect()
}

fn pairs(reader: &mut Reader<'_>, key: &str, holes: &[Hole]) -> Pairs {
    const TAKES: &str = "a table from JSON pointers to what must stand there, such as { \"/fileName\" = \"{file_name}\" }";
    let pairs = templates(reader, key, TAKES, holes);
    // What has a fault in its braces became empty, and has its error.
    let sound = |(pointer, expected): &(Template, Template)| {
        let pointer = pointer.shown();
        (pointer.is_empty() || pointer.starts_with('/')) && !expected.shown().is_empty()
    };
    if !pairs.iter().all(sound) {
        reader.note::<()>(Err(vec![ConfigError::new(key, format!("must be {TAKES}"))]));
    }
    Pairs(pairs)
}

fn pointer(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let text = reader.text(key, POINTER)?;
    if !text.starts_with('/') {
        reader.must_be(key, POINTER);
    }
    Some(text)
}

/// The same where `""` means the whole.
fn pointer_or_whole(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    if reader.is_empty_text(key, POINTER) {
        return Some(String::new());
    }
    pointer(reader, key)
}

fn required_pointer(reader: &mut Reader<'_>, key: &str) -> String {
    if !reader.has(key) {
        return reader.required(key, POINTER);
    }
    pointer(reader, key).unwrap_or_default()
}

fn no_upload() -> Upload {
    Upload {
        method: Method::POST,
        to: Target {
            base: None,
            path: Template::empty(),
        },
        idempotency_header: None,
        shape: Shape::Multipart,
        per_part: false,
        file_field: Template::empty(),
        fields: Fields::default(),
        answer: AnswerRules {
            names: Pairs::default(),
            reference: None,
            reference_prefix: None,
            duplicate_statuses: Vec::new(),
            definite_statuses: Vec::new(),
        },
        fixed_id: false,
        address: None,
    }
}

/// The key's header of one step: its own, none where it says `""`, else that of all steps.
fn step_header(reader: &mut Reader<'_>, common: Option<&str>) -> Option<String> {
    if reader.is_empty_text("idempotency_header", "a header's name") {
        return None;
    }
    header_name(reader, "idempotency_header").or_else(|| common.map(str::to_owned))
}

fn read_answer(reader: &mut Reader<'_>, holes: &[Hole]) -> AnswerRules {
    AnswerRules {
        names: pairs(reader, "answer_names", holes),
        reference: pointer(reader, "reference"),
        reference_prefix: reader.text("reference_prefix", "how every reference of this provider begins"),
        duplicate_statuses: reader.numbers("duplicate_statuses", &[], "a list of statuses"),
        definite_statuses: reader.numbers("definite_statuses", &[429, 503], "a list of statuses"),
    }
}

fn read_upload(reader: &mut Reader<'_>, key_header: Option<&str>) -> Upload {
    let shapes = [
        ("multipart", Shape::Multipart),
        ("base64", Shape::Base64),
        ("data-uri", Shape::DataUri),
        ("raw", Shape::Raw),
        ("presigned", Shape::Presigned),
    ];
    let shape = reader.choice("shape", &shapes, "multipart", "how the bytes travel");
    let fields = Fields(templates(reader, "fields", "a table of field names and texts", &SENT));
    let file_field = reader.text_with("file_field", "{part}", "a field's name");
    Upload {
        method: reader.choice("method", &METHODS, "POST", "the request's method"),
        to: Target {
            base: None,
            path: path(reader, "path", &SENT),
        },
        idempotency_header: step_header(reader, key_header),
        shape,
        per_part: reader.flag("per_part", false, "one request for each part") || matches!(shape, Shape::Raw | Shape::Presigned),
        file_field: template(reader, "file_field", &file_field, &SENT),
        fields,
        answer: read_answer(reader, &SENT),
        fixed_id: reader.flag("fixed_id", false, "PUT to a place of its own: repeating overwrites itself"),
        address: (shape == Shape::Presigned).then(|| Address {
            pointer: required_pointer(reader, "address"),
            hosts: if reader.has("address_hosts") {
                guard::read_hosts(reader, "address_hosts")
            } else {
                // Asked for all the same, so that it is a known key.
                reader.texts("address_hosts", "").unwrap_or_default()
            },
            method: reader.choice("address_method", &METHODS[..2], "PUT", "how the bytes go to their address"),
            credentials: reader.flag("address_credentials", false, "sends credentials and headers to that address too"),
            names: pairs(reader, "address_names", &and(&SENT, &[Hole::Reference])),
        }),
    }
}

fn read_list(reader: &mut Reader<'_>, endpoint: &Endpoint, holes: &[Hole]) -> ListRules {
    let mut names = pairs(reader, "names", holes);
    if let Some(pointer) = pointer(reader, "file_name") {
        let parsed = |text: &str, holes: &[Hole]| Template::parse(text, holes).unwrap_or_else(|_| Template::empty());
        names.0.push((parsed(&pointer, &PLACES), parsed("{file_name}", &[Hole::FileName])));
    }
    ListRules {
        at: target(reader, endpoint, holes),
        items: pointer_or_whole(reader, "items").unwrap_or_default(),
        names,
        answer_names: pairs(reader, "answer_names", &APPLICANT),
        reference: pointer(reader, "reference"),
    }
}

fn read_second(reader: &mut Reader<'_>, word: &'static str, attaches: bool, endpoint: &Endpoint, key_header: Option<&str>) -> Second {
    let (one, all) = (and(&SENT, &[Hole::Reference]), and(&SENT, &[Hole::Reference, Hole::References]));
    Second {
        word,
        attaches,
        method: reader.choice("method", &METHODS, "POST", "the request's method"),
        to: target(reader, endpoint, &one),
        idempotency_header: step_header(reader, key_header),
        per_part: reader.flag("per_part", false, "one request for each part"),
        fields: Fields(templates(
            reader,
            "fields",
            "a table of field names or JSON pointers and texts",
            &all,
        )),
        answer: read_answer(reader, &one),
        fixed_id: reader.flag("fixed_id", false, "PUT to a place of its own: repeating overwrites itself"),
        list: reader.optional_section("list", |r| read_list(r, endpoint, &one)),
    }
}

fn read_verdict(reader: &mut Reader<'_>, endpoint: &Endpoint, reasons: &[(String, Reason)]) -> VerdictRules {
    const WORDS: &str = "a list of the provider's words";
    const HOLES: [Hole; 6] = [
        Hole::Applicant,
        Hole::ApplicantFirst,
        Hole::ApplicantSecond,
        Hole::Document,
        Hole::Kind,
        Hole::Reference,
    ];
    let asks = reader.has("path");
    let rules = VerdictRules {
        at: asks.then(|| target(reader, endpoint, &HOLES)),
        names: pairs(reader, "names", &HOLES),
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

fn read_missing(reader: &mut Reader<'_>, endpoint: &Endpoint) -> MissingRules {
    let rules = MissingRules {
        at: target(reader, endpoint, &APPLICANT),
        items: pointer_or_whole(reader, "items").unwrap_or_default(),
        name: if reader.is_empty_text("name", POINTER) {
            String::new()
        } else {
            required_pointer(reader, "name")
        },
        status: pointer_or_whole(reader, "status"),
        wanted: reader.texts("wanted", "a list of the provider's words").unwrap_or_default(),
        reason: pointer(reader, "reason"),
        kinds: read_kinds(reader),
        second: pointer(reader, "second"),
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
