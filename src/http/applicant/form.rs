//! The form of an upload, field by field: from the parser to the submission, and every failure with its words and its place.

use actix_multipart::{Field, MultipartError};
use actix_web::web;
use futures_util::StreamExt;

use crate::domain::document::PartSpec;
use crate::domain::request::DocumentRequest;
use crate::inspect::Refusal;
use crate::words::Words;
use crate::workflow::WorkflowError;
use crate::workflow::intake::{IntakeError, Submission};

use super::multipart::canonical::canonical;
use super::multipart::{Multipart, boundary};
use super::page as pages;
use crate::http::body::{BodyError, Fault, ThrottledBody};
use crate::http::error::Problem;

/// Fields of one form: two inputs for each of two parts, and some room.
const FIELDS_MAX: usize = 8;

/// The fields of a form. The parser panics when it is asked again after its end or an error: this one remembers.
pub(super) struct Form {
    fields: actix_multipart::Multipart,
    pub over: bool,
}

impl Form {
    pub(super) fn new(boundary: &str, body: ThrottledBody) -> Result<Self, WorkflowError> {
        let fields = canonical(Multipart::new(boundary, body)).map_err(|_| WorkflowError::Random)?;
        Ok(Self { fields, over: false })
    }

    async fn next(&mut self) -> Option<Result<Field, MultipartError>> {
        if self.over {
            return None;
        }
        let field = self.fields.next().await;
        self.over = !matches!(field, Some(Ok(_)));
        field
    }
}

/// Reads and forgets a little of what is still coming, through the same parser.
pub(super) async fn drain(mut form: Form) {
    let pieces = async {
        let mut left: usize = 2 << 20;
        while let Some(Ok(mut field)) = form.next().await {
            while let Some(piece) = field.next().await {
                let Ok(piece) = piece else { return };
                match left.checked_sub(piece.len()) {
                    Some(still) => left = still,
                    None => return,
                }
            }
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), pieces).await;
}

/// The boundary of a body of this type, if it is a form with files at all.
pub(super) fn check_type(kind: &str) -> Result<String, Problem> {
    match boundary(kind) {
        None => Err(Problem::unsupported(
            "Send the document as a form with a file (multipart/form-data).",
        )),
        Some(None) => Err(Problem::malformed("The form names no boundary of 1 to 70 characters.")),
        Some(Some(boundary)) => Ok(boundary),
    }
}

/// What failures are context by: the body's own fault, the reader's language, and what each part takes.
pub(super) struct ErrorContext<'a> {
    pub body_error: &'a BodyError,
    pub words: &'static Words,
    pub parts: &'a [PartSpec],
}

/// Why, and at which part.
pub(super) type Failed = (Problem, Option<String>);

/// Field by field, from the socket to encrypted chunks. On a failure every part that was complete before it is kept, and whatever was not is given up before
/// this returns.
pub(super) async fn receive(mut submission: Submission, form: &mut Form, context: &ErrorContext<'_>) -> Result<DocumentRequest, Failed> {
    match receive_fields(&mut submission, form, context).await {
        Ok(()) => submission.received().map_err(|e| map_error(e, context)),
        Err(failed) => {
            submission.discard().await;
            Err(failed)
        }
    }
}

async fn receive_fields(submission: &mut Submission, form: &mut Form, context: &ErrorContext<'_>) -> Result<(), Failed> {
    let mut sent = Vec::new();
    let mut fields = 0;
    while let Some(field) = form.next().await {
        let mut field = field.map_err(|e| broken(&e, context))?;
        fields += 1;
        if fields > FIELDS_MAX {
            return Err((Problem::malformed("The form has too many fields."), None));
        }
        sent.extend(receive_field(submission, &mut field, &sent, context).await?);
    }
    match submission.missing().first() {
        None => Ok(()),
        Some(part) => Err((
            Problem::invalid("Choose a file here.")
                .code("file.missing")
                .field(part.to_string(), "needs a file"),
            Some(part.to_string()),
        )),
    }
}

/// Returns the part that was stored; `None` for an input that was left empty.
async fn receive_field(
    submission: &mut Submission,
    field: &mut Field,
    sent: &[String],
    context: &ErrorContext<'_>,
) -> Result<Option<String>, Failed> {
    let text = |name: &str| {
        field
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let (coding, declared) = (text("content-transfer-encoding"), text("content-type"));
    let said = field.content_disposition();
    let name = said.and_then(|d| d.get_name()).unwrap_or_default().to_owned();
    let file_name = said.and_then(|d| d.get_filename()).unwrap_or_default().to_owned();
    if !["", "binary", "7bit", "8bit"].contains(&coding.as_str()) {
        return Err((
            Problem::malformed("Send files as they are, without Content-Transfer-Encoding."),
            None,
        ));
    }
    let mut first = next_piece(field, context).await?;
    // A file input that was left empty arrives as a field without name and bytes.
    if file_name.is_empty() {
        while first.as_ref().is_some_and(|piece| piece.is_empty()) {
            first = next_piece(field, context).await?;
        }
        if first.is_none() {
            return Ok(None);
        }
    }
    let Some(spec) = submission.spec(&name) else {
        return Err((Problem::malformed("The form has a field that was not asked for."), None));
    };
    if sent.contains(&name) {
        let problem = Problem::malformed("Two files were chosen for the same side. Send one.").code("file.twice");
        return Err((problem.field(name.clone(), "was sent twice"), Some(name)));
    }
    // With what was here before, the document is complete already: what comes behind it is read and not kept.
    if submission.request().document().is_some() {
        while next_piece(field, context).await?.is_some() {}
        return Ok(Some(name));
    }
    let max = spec.max_bytes;
    let mut part = submission.part(spec, &file_name, &declared);
    while let Some(piece) = first {
        part.push(&piece).await.map_err(|e| map_error(e, context))?;
        first = match next_piece(field, context).await {
            // The parser reads ahead: the whole form can be too large before this file is. It is the one that makes it so.
            Err(_) if context.body_error.fault() == Some(Fault::TooLarge) => {
                let refusal = Refusal::TooBig { max };
                return Err(map_error(IntakeError::File { part: name, refusal }, context));
            }
            next => next?,
        };
    }
    part.finish().await.map_err(|e| map_error(e, context))?;
    Ok(Some(name))
}

async fn next_piece(field: &mut Field, context: &ErrorContext<'_>) -> Result<Option<web::Bytes>, Failed> {
    field.next().await.transpose().map_err(|e| broken(&e, context))
}

/// The form itself could not be read.
fn broken(error: &MultipartError, context: &ErrorContext<'_>) -> Failed {
    let most = context.parts.iter().map(|part| part.max_bytes).sum();
    let problem = match context.body_error.fault() {
        Some(Fault::TooLarge) => Problem::too_large(pages::problem_words::form_too_big(context.words, most)),
        Some(Fault::TooSlow) => Problem::slow(
            "The connection became too slow and the upload was stopped. Files that were not received completely were not kept: try again, nearer to the router or by Wi-Fi.",
        ),
        Some(Fault::CutOff) => {
            Problem::malformed("The connection broke off. Files that were not received completely were not kept: try again.")
                .code("upload.cut_off")
        }
        None => {
            tracing::debug!(%error, "an unreadable form");
            Problem::malformed("The form could not be read. Files that were not received completely were not kept: try again.")
        }
    };
    (problem, None)
}

/// A failure of the workflow in the words of whoever sends.
pub(super) fn map_error(error: IntakeError, context: &ErrorContext<'_>) -> Failed {
    match error {
        IntakeError::File { part, refusal } => {
            let accepted = context.parts.iter().find(|p| p.name.as_str() == part);
            let words = pages::refusal_words(context.words, &refusal, accepted.map_or(&[], |p| &p.accepted));
            (Problem::file(refusal.code(), words.clone()).field(part.clone(), words), Some(part))
        }
        IntakeError::Workflow(error) => (error.into(), None),
        IntakeError::Full => (Problem::no_room(), None),
        IntakeError::CutOff => match context.body_error.fault() {
            Some(Fault::TooSlow) => (
                Problem::slow(
                    "The connection became too slow and the upload was stopped. Files that were not received completely were not kept: try again.",
                ),
                None,
            ),
            _ => (
                Problem::malformed("The connection broke off. Files that were not received completely were not kept: try again.")
                    .code("upload.cut_off"),
                None,
            ),
        },
    }
}
