//! Failures at the listeners: sorted here into a status and a stable code, and shown as a problem document (RFC 9457) or as a page. The only home of `StatusCode`.
//!
//! What stands in the log is never what is shown: no path, no row, no reference, no stack.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

use super::problems;
use super::request_id::{self, HttpRequestId};

use crate::chain::chain;
use crate::connectors::Failure;
use crate::domain::request::NOTES_MAX;
use crate::domain::transition::Refusal;
use crate::storage::StorageError;
use crate::workflow::WorkflowError;
use crate::workflow::query::missing::NotAnswered;
use crate::workflow::warning::Warning;

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// One failure, ready to be shown.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    /// Stable. A provider's failure keeps its connector's code.
    pub code: Cow<'static, str>,
    /// One sentence with what to do.
    pub detail: String,
    /// Seconds.
    pub retry_after: Option<u32>,
    /// Field and what is accepted there.
    pub fields: Vec<(String, String)>,
    allow: Option<&'static str>,
}

/// Left on an answer for its log line: the code of a failure that has a page of its own, so that it is one of ours.
pub(crate) struct ProblemCode(pub &'static str);

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError<'a>>,
}

#[derive(Serialize)]
struct FieldError<'a> {
    field: &'a str,
    detail: &'a str,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $status:ident, $code:literal;)*) => {
        impl Problem {
            $($(#[$doc])* pub fn $name(detail: impl Into<String>) -> Self { Self::new(StatusCode::$status, $code, detail) })*
        }
    };
}

kinds! {
    malformed => BAD_REQUEST, "request.malformed";
    unauthorized => UNAUTHORIZED, "auth.required";
    forbidden => FORBIDDEN, "auth.forbidden";
    cross_site => FORBIDDEN, "request.cross_site";
    not_found => NOT_FOUND, "not_found";
    conflict => CONFLICT, "state.conflict";
    gone => GONE, "link.dead";
    link_locked => LOCKED, "link.locked";
    busy => LOCKED, "upload.busy";
    already_received => CONFLICT, "link.already_received";
    too_large => PAYLOAD_TOO_LARGE, "file.too_big";
    unsupported => UNSUPPORTED_MEDIA_TYPE, "request.encoding";
    invalid => UNPROCESSABLE_ENTITY, "request.invalid";
    precondition => UNPROCESSABLE_ENTITY, "idempotency.mismatch";
    head_too_large => REQUEST_HEADER_FIELDS_TOO_LARGE, "request.head_too_large";
    misdirected => MISDIRECTED_REQUEST, "request.unknown_host";
    slow => REQUEST_TIMEOUT, "request.too_slow";
    tus_version => PRECONDITION_FAILED, "tus.version";
    too_many => TOO_MANY_REQUESTS, "request.too_many";
    internal => INTERNAL_SERVER_ERROR, "internal";
    provider => BAD_GATEWAY, "provider.failed";
    unavailable => SERVICE_UNAVAILABLE, "unavailable";
    full => SERVICE_UNAVAILABLE, "storage.full";
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            retry_after: None,
            fields: Vec::new(),
            allow: None,
        }
    }

    pub fn method(allow: &'static str) -> Self {
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "request.method",
            format!("This address takes {allow}."),
        );
        problem.allow = Some(allow);
        problem
    }

    /// A file that is not acceptable, under the file's own stable code.
    pub fn file(code: &'static str, detail: impl Into<String>) -> Self {
        let status = match code {
            "file.too_big" => StatusCode::PAYLOAD_TOO_LARGE,
            "file.unknown_type" | "file.not_accepted" | "file.other_format" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, code, detail)
    }

    /// The status that the tus protocol gives a checksum that does not fit.
    pub fn checksum(detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new(status, "upload.checksum", detail)
    }

    /// No erasure slot or no space is free.
    pub fn no_room() -> Self {
        Warning::NoRoom.write();
        Self::full(
            "There is no space for more documents at the moment. Files that were not received completely were not kept: try again later.",
        )
        .after(300)
    }

    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self
    }

    pub fn field(mut self, field: impl Into<String>, fix: impl Into<String>) -> Self {
        self.fields.push((field.into(), fix.into()));
        self
    }

    /// Fields that do not fit, all at once, each with what does.
    pub fn fields<N: Into<String> + fmt::Display>(faults: Vec<(N, String)>) -> Self {
        let detail: Vec<String> = faults.iter().map(|(field, fix)| format!("{field} {fix}.")).collect();
        faults
            .into_iter()
            .fold(Self::invalid(detail.join(" ")), |problem, (field, fix)| problem.field(field, fix))
    }

    pub fn no_receipt_yet() -> Self {
        Self::not_found("Nothing of this request was purged yet, so there is no receipt.").code("receipt.not_yet")
    }

    /// A field that does not fit; `accepted` says what does.
    pub fn field_must(name: &'static str, accepted: &str) -> Self {
        Self::invalid(format!("{name} must be {accepted}.")).field(name, format!("must be {accepted}"))
    }

    /// The status as a number.
    pub fn status_number(&self) -> u16 {
        self.status.as_u16()
    }

    /// An answer with this failure's status and headers, for a page in the place of the problem document.
    pub fn page(&self) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(self.status);
        if let Some(known) = problems::find(&self.code) {
            response.extensions_mut().insert(ProblemCode(known.code));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        response
    }
}

/// An answer with a status that was given before.
pub(crate) fn again(status: u16) -> HttpResponseBuilder {
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let request_id = request_id::present();
        let document = Document {
            r#type: problems::address(&self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: &self.code,
            detail: &self.detail,
            request_id: request_id.as_ref().map(HttpRequestId::as_str),
            errors: self.fields.iter().map(|(field, detail)| FieldError { field, detail }).collect(),
        };
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = self.page();
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON)).body(body)
    }
}

impl From<WorkflowError> for Problem {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Invalid { field, fix } => Self::invalid(format!("{field} {fix}.")).field(field, fix),
            WorkflowError::LastAdmin => Self::conflict("This is the last admin. Add another one first.").code("agent.last_admin"),
            WorkflowError::Refused(refusal) => refusal.into(),
            WorkflowError::NotFound => Self::not_found("There is no such thing here."),
            WorkflowError::KeyReused => {
                Self::precondition("This Idempotency-Key was used for another request. Use a new key for a new request.")
            }
            WorkflowError::LinkReplaced(id) => Self::conflict(format!(
                "This Idempotency-Key issued {id}, whose link was replaced or withdrawn since, or has expired. Look at the request, and reissue its link with a new key."
            ))
            .code("idempotency.link_replaced"),
            WorkflowError::InvitationGone(id) => Self::conflict(format!(
                "This Idempotency-Key made a sign-in link for {id}, which was used or replaced since, or has ended. Make a new one for that agent."
            ))
            .code("idempotency.link_replaced"),
            WorkflowError::BackedUpByDatabase => Self::conflict(
                "The records of this portal are in PostgreSQL. Back the database up with its own tools, and keep a copy of the keys folder; never of the erasure folder.",
            )
            .code("backup.by_database"),
            WorkflowError::Storage(error) => error.into(),
            WorkflowError::Random => {
                tracing::error!("the operating system gives no random bytes");
                Self::unavailable("The portal cannot work safely at the moment. Try again in a minute.").after(60)
            }
            WorkflowError::VaultLocked => Self::unavailable("The vault is locked. An admin can unlock it.").code("vault.locked"),
            WorkflowError::VaultAbsent => Self::unavailable("No documents are taken at the moment: the private half of the vault key is not here.")
                .code("vault.absent")
                .after(300),
            WorkflowError::Busy => Self::unavailable("Too much at once. Try again in a few seconds.").after(5),
            WorkflowError::Tampered => {
                tracing::error!("a stored request was changed outside the portal");
                Self::internal("This request cannot be trusted any more. Issue a new one.").code("request.tampered")
            }
            WorkflowError::ReceiptAltered(number) => {
                tracing::error!(number, "a deletion receipt is missing or was changed outside the portal");
                Self::internal("This deletion receipt was removed or changed in the store after it was signed, and is not valid.")
                    .code("receipt.altered")
            }
            WorkflowError::Unavailable(why) => {
                tracing::error!(why = %chain(&why), "something below failed and may work again");
                Self::unavailable("The portal cannot do this at the moment. Nothing unfinished was kept: try again in a moment.").after(10)
            }
            WorkflowError::Internal(why) => {
                tracing::error!(why = %chain(&why), "an internal failure");
                Self::internal("Something went wrong on our side. Nothing unfinished was kept: try again.")
            }
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotFound => Self::not_found("There is no such thing here."),
            StorageError::Refused(refusal) => refusal.into(),
            StorageError::Exists(what) => Self::conflict(format!("There is already {what}.")).code("exists"),
            StorageError::Busy(why) => {
                tracing::error!(why = %chain(&why), "the store is busy");
                Self::unavailable("The store is busy. Try again in a few seconds.").after(5)
            }
            StorageError::Full => Self::no_room(),
            StorageError::Altered(row) => {
                tracing::error!(%row, "a stored row was changed outside the portal and is refused");
                Self::internal("What this needs was changed in the store outside the portal, and is not trusted any more. Tell an admin.")
                    .code("row.altered")
            }
            StorageError::Indeterminate(why) | StorageError::Corrupt(why) => {
                tracing::error!(why = %chain(&why), "the store failed");
                Self::unavailable("The store could not say whether it wrote. Ask again in a moment.").after(10)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::LinkExpired => Self::gone("This link has expired. Ask for a new one.").code("link.expired"),
            Refusal::LinkRevoked => Self::gone("This link is no longer valid. Ask for a new one.").code("link.revoked"),
            Refusal::LinkLocked => Self::link_locked("Too many wrong codes were entered. Ask for a new code."),
            Refusal::AlreadyReceived => Self::already_received("The document was already received through this link."),
            Refusal::Superseded => Self::conflict("This upload was stopped. Start it again.").code("upload.superseded"),
            Refusal::Incomplete => Self::invalid("A part of the document is missing.").code("upload.incomplete"),
            Refusal::WrongState(state) => Self::conflict(format!("This is not possible while the request is {}.", state.as_str())),
            Refusal::StaleLease => Self::conflict("The request is being worked on. Try again in a moment.").after(5),
            Refusal::HandedOut => {
                Self::conflict("This part was downloaded already. Each part can be downloaded once.").code("part.handed_out")
            }
            Refusal::TooManyNotes => Self::conflict(format!("A request holds at most {NOTES_MAX} notes.")).code("request.notes_full"),
            Refusal::InvalidExpiry => Self::invalid("The new expiry must be later than now and than the present one.")
                .field("expires_at", "must be later than the present expiry"),
        }
    }
}

impl From<NotAnswered> for Problem {
    fn from(why: NotAnswered) -> Self {
        match why {
            NotAnswered::NoSuchProvider => Self::not_found("There is no such provider here."),
            NotAnswered::NoReference => Self::field_must("applicant", "an applicant's reference at this provider"),
            NotAnswered::CannotList => Self::conflict("This provider cannot say what is missing. Pick the document from the catalogue.")
                .code("provider.cannot_list"),
            NotAnswered::Failed(failure) => failure.into(),
        }
    }
}

/// A provider's failure to answer a question, for the API and the console: under the connector's own code, whose advice stands on the page of all providers.
impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let asked = failure.when_asked();
        let after = match failure {
            Failure::Definite { after, .. } => after.and_then(|after| u32::try_from(after.whole_seconds()).ok()),
            _ => None,
        };
        let problem = match asked.code.as_str() {
            "provider.applicant_reference" => {
                // Behind the colon stands the form that this provider's references have.
                let form = asked
                    .text
                    .split_once(": ")
                    .map_or("its page says the form", |(_, form)| form.trim_end_matches('.'));
                let fix = format!("must be a reference of this provider: {form}");
                Self::invalid(asked.text.as_str()).field("applicant", fix)
            }
            "provider.cannot_list" => Self::conflict(asked.text),
            "provider.rate_limited" | "provider.unavailable" | "provider.busy" => Self {
                retry_after: after,
                ..Self::unavailable(asked.text)
            },
            _ => Self::provider(asked.text),
        };
        problem.code(asked.code)
    }
}
