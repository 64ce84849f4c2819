//! The form of an upload, field by field: from the parser to the submission, and every failure with its words and its place.

use actix_multipart::{Field, MultipartError};
use actix_web::web;
use futures_util::StreamExt;

use crate::domain::document::PartSpec;
use crate::domain::request::DocumentRequest;
use crate::inspect::Refusal;
use crate::inspect::photos::MAX_PHOTOS;
use crate::words::Words;
use crate::workflow::WorkflowError;
use crate::workflow::intake::part::PartReceiver;
use crate::workflow::intake::{IntakeError, Submission};

use super::multipart::canonical::canonical;
use super::multipart::{Multipart, boundary};
use super::page as pages;
use crate::http::body::{BodyError, Fault, ThrottledBody};
use crate::http::error::Problem;

/// Fields of one form: three inputs for each of two parts, the photos of each one's pages, and some room.
const FIELDS_MAX: usize = 8 + 2 * (MAX_PHOTOS as usize + 1);

/// The fields of a form. The parser panics when it is asked again after its end or an error: this one remembers.
pub(super) struct Form {
    fields: actix_multipart::Multipart,
    pub over: bool,
    seen: usize,
}

impl Form {
    pub(super) fn new(boundary: &str, body: ThrottledBody) -> Result<Self, WorkflowError> {
        let fields = canonical(Multipart::new(boundary, body)).map_err(|_| WorkflowError::Random)?;
        Ok(Self {
            fields,
            over: false,
            seen: 0,
        })
    }

    async fn next(&mut self) -> Option<Result<Field, MultipartError>> {
        if self.over {
            return None;
        }
        let field = self.fields.next().await;
        self.over = !matches!(field, Some(Ok(_)));
        field
    }

    async fn next_field(&mut self, context: &ErrorContext<'_>) -> Result<Option<FileField>, Failed> {
        let Some(field) = self.next().await else {
            return Ok(None);
        };
        let field = field.map_err(|e| broken(&e, context))?;
        self.seen += 1;
        if self.seen > FIELDS_MAX {
            return Err((Problem::malformed("The form has too many fields."), None));
        }
        FileField::new(field).map(Some).map_err(|problem| (problem, None))
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
    let mut ahead = form.next_field(context).await?;
    while let Some(mut field) = ahead {
        if let Some(part) = field.wanted(submission, &sent, context).await? {
            sent.push(part.name().to_owned());
            ahead = receive_part(submission, form, field, part, context).await?;
        } else {
            drop(field);
            ahead = form.next_field(context).await?;
        }
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

/// What a field with bytes belongs to.
enum Wanted {
    File(PartSpec),
    /// The photo of one page of it.
    Page(PartSpec),
}

impl Wanted {
    fn name(&self) -> &str {
        match self {
            Self::File(spec) | Self::Page(spec) => spec.name.as_str(),
        }
    }
}

/// One file input's share of the form.
struct FileField {
    field: Field,
    name: String,
    file_name: String,
    declared: String,
    /// The first bytes, once they were looked for.
    first: Option<web::Bytes>,
    /// The parser panics when a field is asked again after its end.
    over: bool,
}

impl FileField {
    fn new(field: Field) -> Result<Self, Problem> {
        let header = |name: &str| field.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !["", "binary", "7bit", "8bit"].contains(&header("content-transfer-encoding")) {
            return Err(Problem::malformed("Send files as they are, without Content-Transfer-Encoding."));
        }
        let said = field.content_disposition();
        Ok(Self {
            name: said.and_then(|d| d.get_name()).unwrap_or_default().to_owned(),
            file_name: said.and_then(|d| d.get_filename()).unwrap_or_default().to_owned(),
            declared: header("content-type").to_owned(),
            first: None,
            over: false,
            field,
        })
    }

    /// `None` for an input that was left empty.
    async fn wanted(&mut self, submission: &Submission, sent: &[String], context: &ErrorContext<'_>) -> Result<Option<Wanted>, Failed> {
        self.first = self.next(context).await?;
        // A file input that was left empty arrives as a field without name and bytes.
        if self.file_name.is_empty() {
            while self.first.as_ref().is_some_and(|piece| piece.is_empty()) {
                self.first = self.next(context).await?;
            }
            if self.first.is_none() {
                return Ok(None);
            }
        }
        let wanted = submission.spec(&self.name).map(Wanted::File).or_else(|| {
            let part = self.name.strip_suffix(pages::PAGES)?;
            submission.spec(part).filter(|spec| submission.takes_photos(spec)).map(Wanted::Page)
        });
        let Some(wanted) = wanted else {
            return Err((Problem::malformed("The form has a field that was not asked for."), None));
        };
        let name = wanted.name().to_owned();
        if sent.contains(&name) {
            let problem = Problem::malformed("Two files were chosen for the same side. Send one.").code("file.twice");
            return Err((problem.field(name.clone(), "was sent twice"), Some(name)));
        }
        Ok(Some(wanted))
    }

    async fn next(&mut self, context: &ErrorContext<'_>) -> Result<Option<web::Bytes>, Failed> {
        if self.over {
            return Ok(None);
        }
        let piece = self.field.next().await;
        self.over = !matches!(piece, Some(Ok(_)));
        piece.transpose().map_err(|e| broken(&e, context))
    }

    /// All its bytes.
    async fn into_part(mut self, part: &mut PartReceiver<'_>, spec: &PartSpec, context: &ErrorContext<'_>) -> Result<(), Failed> {
        let mut piece = match self.first.take() {
            None => self.next(context).await?,
            first => first,
        };
        while let Some(bytes) = piece {
            part.push(&bytes).await.map_err(|e| map_error(e, context))?;
            piece = match self.next(context).await {
                // The parser reads ahead: the whole form can be too large before this file is. It is the one that makes it so.
                Err(_) if context.body_error.fault() == Some(Fault::TooLarge) => {
                    let (part, refusal) = (spec.name.to_string(), Refusal::TooBig { max: spec.max_bytes });
                    return Err(map_error(IntakeError::File { part, refusal }, context));
                }
                next => next?,
            };
        }
        Ok(())
    }

    async fn read_over(mut self, context: &ErrorContext<'_>) -> Result<(), Failed> {
        while self.next(context).await?.is_some() {}
        Ok(())
    }
}

/// Stores a part: this field, or this one and those behind it that are the photos of its next pages. Returns the field behind them.
async fn receive_part(
    submission: &mut Submission,
    form: &mut Form,
    field: FileField,
    wanted: Wanted,
    context: &ErrorContext<'_>,
) -> Result<Option<FileField>, Failed> {
    let failed = |error| map_error(error, context);
    // With what was here before, the document is complete already: what comes behind it is read and not kept.
    let complete = submission.request().document().is_some();
    let spec = match wanted {
        _ if complete => {
            field.read_over(context).await?;
            return form.next_field(context).await;
        }
        Wanted::File(spec) => {
            let mut part = submission.part(spec.clone(), &field.file_name, &field.declared);
            field.into_part(&mut part, &spec, context).await?;
            part.finish().await.map_err(failed)?;
            return form.next_field(context).await;
        }
        Wanted::Page(spec) => spec,
    };
    let mut part = submission.photos(spec.clone());
    let mut page = Some(field);
    while let Some(field) = page {
        let name = field.name.clone();
        part.begin_photo().map_err(failed)?;
        field.into_part(&mut part, &spec, context).await?;
        part.end_photo().await.map_err(failed)?;
        page = form.next_field(context).await?;
        if page.as_ref().is_some_and(|next| next.name != name) {
            break;
        }
    }
    part.finish().await.map_err(failed)?;
    Ok(page)
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
