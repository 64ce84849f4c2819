//! A form with files (`multipart/form-data`, RFC 7578 and RFC 2046, section 5.1), piece by piece as it arrives.
//!
//! Programs write forms in more ways than browsers do, and than actix-multipart reads: blanks behind a boundary, `filename` and `filename*` together, names in a code
//! page, a boundary without the quotes that it needs. All of these are read here, each form in one way only, and handed on in the usual spelling ([`canonical`]):
//!
//! * The line end behind the first boundary is the form's: `\r\n`, or `\n` for all of it. A boundary ends a field where such a line end, two hyphens and the
//!   boundary stand, and behind them nothing but blanks up to the next line end, or two more hyphens.
//! * A part's `Content-Length` says nothing: the boundary alone ends a part.
//! * A form that ends without its last boundary is an error, and so is everything that is asked for after an error. Nothing panics.
//!
//! Memory: one piece of the body, which is handed on without a copy, and one part's head.

pub(crate) mod canonical;
pub mod head;

use actix_web::error::PayloadError;
use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use memchr::memmem;

use head::Head;

/// RFC 2046, section 5.1.1.
const BOUNDARY_MAX: usize = 70;
/// Blanks behind a boundary.
const PADDING_MAX: usize = 256;
/// The head of one part.
const HEAD_MAX: usize = 16 << 10;

/// Why a form cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The body itself failed; whoever made it knows why.
    #[error("the body failed")]
    Body,
    #[error("the form ends before its last boundary")]
    Incomplete,
    #[error("the head of a part {0}")]
    Head(&'static str),
}

/// The boundary that a `Content-Type` names, if that is the type of a form with files.
///
/// ```
/// use nightdrop::testing::http::applicant::multipart::boundary;
///
/// assert_eq!(boundary("multipart/form-data; boundary=x").unwrap().as_deref(), Some("x"));
/// assert_eq!(boundary("Multipart/Form-Data; charset=utf-8; Boundary = \"a b;c\"").unwrap().as_deref(), Some("a b;c"));
/// assert_eq!(boundary("multipart/form-data").unwrap(), None, "it names none");
/// assert!(boundary("text/plain; boundary=x").is_none(), "no form with files");
/// ```
pub fn boundary(kind: &str) -> Option<Option<String>> {
    let (name, rest) = kind.split_once(';').unwrap_or((kind, ""));
    if !name.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = head::parameters(rest.as_bytes()).ok().and_then(|all| {
        let mut named = all.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("boundary"));
        // Two boundaries are two readings of one form.
        named.next().filter(|_| named.next().is_none())
    });
    let text = found.and_then(|(_, value)| String::from_utf8(value).ok());
    Some(text.filter(|text| (1..=BOUNDARY_MAX).contains(&text.len()) && !text.contains(char::is_control) && !text.ends_with(' ')))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// A boundary was read: a part's head is next.
    Head,
    /// Inside of a part. `fresh`: none of its bytes was given yet.
    Part {
        fresh: bool,
    },
    Over,
    Failed(FormError),
}

/// The form of one body.
pub struct Multipart<S> {
    body: S,
    buffer: Bytes,
    /// `\r\n--boundary`, or `\n--boundary` as soon as the form has shown that it is one of those.
    delimiter: Vec<u8>,
    line_end: &'static [u8],
    state: State,
}

/// What stands where a boundary may be.
enum Mark {
    /// A boundary with another part behind it; so many bytes.
    Next(usize),
    /// The last one.
    Last,
    /// Something that only begins like one.
    None,
    /// Too little has come to tell.
    Unknown,
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Multipart<S> {
    /// `boundary`: as [`boundary`] found it.
    pub fn new(boundary: &str, body: S) -> Self {
        Self {
            body,
            buffer: Bytes::new(),
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            line_end: b"\r\n",
            state: State::Preamble,
        }
    }

    /// The head of the next part; whatever was not read of the one before is read over. `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<Head>, FormError> {
        while matches!(self.state, State::Part { .. }) {
            self.piece().await?;
        }
        if self.state == State::Preamble {
            self.find_first().await?;
        }
        match self.state {
            State::Failed(error) => Err(error),
            State::Over => Ok(None),
            _ => self.read_head().await.map(Some),
        }
    }

    /// The next bytes of the part at hand, never none; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, FormError> {
        loop {
            let State::Part { fresh } = self.state else {
                return match self.state {
                    State::Failed(error) => Err(error),
                    _ => Ok(None),
                };
            };
            // A part without bytes may have its boundary right behind its head.
            let skipped = self.line_end.len();
            if fresh {
                match self.mark(0, skipped) {
                    Mark::Unknown => {
                        self.more().await?;
                        continue;
                    }
                    Mark::None => self.state = State::Part { fresh: false },
                    mark => {
                        self.end_part(mark);
                        continue;
                    }
                }
            }
            match memmem::find(&self.buffer, &self.delimiter) {
                Some(0) => match self.mark(0, 0) {
                    Mark::Unknown => self.more().await?,
                    // These bytes are the part's own.
                    Mark::None => return Ok(Some(self.buffer.split_to(self.delimiter.len()))),
                    mark => self.end_part(mark),
                },
                Some(at) => return Ok(Some(self.buffer.split_to(at))),
                None => {
                    let sure = self.buffer.len() - self.begun();
                    if sure > 0 {
                        return Ok(Some(self.buffer.split_to(sure)));
                    }
                    self.more().await?;
                }
            }
        }
    }

    /// How many of the last bytes may be the beginning of a boundary. Mostly none: then the next piece needs no joining to these.
    fn begun(&self) -> usize {
        let tail = &self.buffer[self.buffer.len().saturating_sub(self.delimiter.len() - 1)..];
        let mut starts = memchr::memchr_iter(self.delimiter[0], tail);
        starts
            .find(|at| self.delimiter.starts_with(&tail[*at..]))
            .map_or(0, |at| tail.len() - at)
    }

    fn end_part(&mut self, mark: Mark) {
        self.state = match mark {
            Mark::Next(length) => {
                let _ = self.buffer.split_to(length);
                State::Head
            }
            _ => State::Over,
        };
    }

    /// What stands at `at`, where the delimiter without its first `skipped` bytes may begin.
    fn mark(&self, at: usize, skipped: usize) -> Mark {
        let (here, wanted) = (&self.buffer[at..], &self.delimiter[skipped..]);
        if here.len() < wanted.len() {
            return if wanted.starts_with(here) { Mark::Unknown } else { Mark::None };
        }
        let Some(rest) = here.strip_prefix(wanted) else { return Mark::None };
        if rest.starts_with(b"--") {
            return Mark::Last;
        }
        let padding = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let end = &rest[padding..];
        if padding > PADDING_MAX {
            Mark::None
        } else if end.starts_with(self.line_end) {
            Mark::Next(wanted.len() + padding + self.line_end.len())
        } else if self.line_end.starts_with(end) || rest == b"-" {
            Mark::Unknown
        } else {
            Mark::None
        }
    }

    /// Reads over what stands before the first boundary, which decides how the lines of this form end.
    async fn find_first(&mut self) -> Result<(), FormError> {
        let dashed = self.delimiter[2..].to_vec();
        // Whether what is in the buffer stands at the beginning of a line.
        let mut begins = true;
        loop {
            let Some(at) = memmem::find(&self.buffer, &dashed) else {
                let sure = self.buffer.len().saturating_sub(dashed.len() - 1);
                if sure > 0 {
                    begins = self.buffer[sure - 1] == b'\n';
                    let _ = self.buffer.split_to(sure);
                }
                self.more().await?;
                continue;
            };
            let starts = if at == 0 { begins } else { self.buffer[at - 1] == b'\n' };
            let rest = &self.buffer[at + dashed.len()..];
            if starts && !rest.contains(&b'\n') && rest.len() <= PADDING_MAX + 1 && !rest.starts_with(b"--") {
                self.more().await?;
                continue;
            }
            if starts {
                if rest.starts_with(b"--") {
                    self.state = State::Over;
                    return Ok(());
                }
                let padding = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
                let line_end = match &rest[padding..] {
                    _ if padding > PADDING_MAX => None,
                    [b'\r', b'\n', ..] => Some(&b"\r\n"[..]),
                    [b'\n', ..] => Some(&b"\n"[..]),
                    _ => None,
                };
                if let Some(line_end) = line_end {
                    let used = at + dashed.len() + padding + line_end.len();
                    let _ = self.buffer.split_to(used);
                    self.delimiter = [line_end, &dashed].concat();
                    self.line_end = line_end;
                    self.state = State::Head;
                    return Ok(());
                }
            }
            let _ = self.buffer.split_to(at + dashed.len());
            begins = false;
        }
    }

    async fn read_head(&mut self) -> Result<Head, FormError> {
        let empty_line = [self.line_end, self.line_end].concat();
        loop {
            // A head without a line is its empty line alone.
            let ends = if self.buffer.starts_with(self.line_end) {
                Some((0, self.line_end.len()))
            } else {
                memmem::find(&self.buffer, &empty_line).map(|at| (at, at + empty_line.len()))
            };
            match ends {
                Some((length, used)) if length <= HEAD_MAX => {
                    let read = Head::parse(&self.buffer[..length]);
                    let _ = self.buffer.split_to(used);
                    self.state = State::Part { fresh: true };
                    return read.map_err(|why| self.fail(FormError::Head(why)));
                }
                None if self.buffer.len() <= HEAD_MAX + empty_line.len() => self.more().await?,
                _ => return Err(self.fail(FormError::Head("is larger than 16 KiB"))),
            }
        }
    }

    /// Waits for more of the body.
    async fn more(&mut self) -> Result<(), FormError> {
        match self.body.next().await {
            Some(Ok(piece)) if self.buffer.is_empty() => {
                self.buffer = piece;
                Ok(())
            }
            Some(Ok(piece)) => {
                let mut joined = BytesMut::from(std::mem::take(&mut self.buffer));
                joined.extend_from_slice(&piece);
                self.buffer = joined.freeze();
                Ok(())
            }
            Some(Err(_)) => Err(self.fail(FormError::Body)),
            None => Err(self.fail(FormError::Incomplete)),
        }
    }

    fn fail(&mut self, error: FormError) -> FormError {
        self.state = State::Failed(error);
        self.buffer.clear();
        error
    }
}

#[cfg(test)]
mod tests;
