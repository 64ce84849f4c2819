//! Is this PDF whole, and does it do more than show pages? Reads its syntax as a stream; decrypts nothing and renders nothing.
//!
//! * Whole: `%PDF-1.`/`%PDF-2.` (the sniffer cut off what stood before), a `startxref`, and `%%EOF` near the end ([`tail`]).
//! * Strings, comments and the bodies of streams are not syntax: a title or link that mentions JavaScript is text ([`tokens`]).
//! * Scripts, program starts, attachments and what to do with them: [`meaning`], by the policy. Names count as a reader sees them, so that
//!   `/J#61vaScript` is `/JavaScript`, in the open as in object streams ([`objects`]).
//! * Encrypted documents pass where the empty password opens them ([`encryption`]).
//! * Pages are counted as `/Type /Page`, in the open and in object streams.
//!
//! A stream ends by its `/Length`, else at `endstream`. Readers find objects by their offset wherever they stand, so `1 0 obj` begins an object
//! inside a stream, string or comment, too: nothing can be hidden by a wrong length or an open parenthesis.
//!
//! **It is hygiene, not proof.** Not looked into: object streams of encrypted documents, of other filters than `/FlateDecode` or beyond the
//! bound on inflated bytes (a policy that refuses scripts or attachments refuses these documents), and scripts in other streams, such as in
//! an attached document or a form's XML. Metadata of PDFs is not stripped.

mod encryption;
mod meaning;
mod objects;
mod tail;
mod tokens;

use super::{Findings, Policy, Refusal, count_work};
use meaning::{Marks, Walker};
use objects::{Budget, ObjectStream};
use tail::Tail;
use tokens::{Lexer, is_white};

pub(super) struct Pdf {
    lexer: Lexer,
    walker: Walker,
    marks: Marks,
    mode: Mode,
    /// The last sixteen bytes.
    window: u128,
    /// The object stream at hand, and how many of its bytes are still to come if that is known.
    objects: Option<Box<ObjectStream>>,
    objects_left: Option<u64>,
    /// Where the stream ends inside which an object was found.
    embedded_until: Option<u64>,
    budget: Budget,
    tail: Tail,
    /// Bytes read.
    position: u64,
    /// Where the first `startxref` ended.
    xref: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Syntax,
    /// Behind the keyword `stream`, up to the end of its line.
    StreamLine {
        behind_return: bool,
    },
    /// `None`: up to `endstream`.
    Stream {
        left: Option<u64>,
    },
}

impl Pdf {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            lexer: Lexer::new(),
            walker: Walker::new(),
            marks: Marks::new(policy),
            mode: Mode::Syntax,
            window: 0,
            objects: None,
            objects_left: None,
            embedded_until: None,
            budget: Budget::default(),
            tail: Tail::new(),
            position: 0,
            xref: None,
        }
    }

    pub(super) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        count_work(input.len());
        for byte in input {
            self.byte(*byte)?;
        }
        self.tail.push(input, out);
        Ok(())
    }

    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Result<Findings, Refusal> {
        self.end_objects()?;
        self.lexer.end(&mut |token| self.walker.token(token, &mut self.marks))?;
        let end = self.tail.finish(self.position, out)?;
        if self.xref.is_none_or(|xref| xref > end.mark_at) {
            return Err(Refusal::Damaged("pdf without cross-reference"));
        }
        self.marks.finish()?;
        Ok(Findings {
            pages: (self.marks.pages > 0 && !self.marks.opaque).then_some(self.marks.pages),
            dropped_trailing: end.dropped,
            noted: self.marks.noted,
            ..Findings::default()
        })
    }

    fn byte(&mut self, byte: u8) -> Result<(), Refusal> {
        self.position += 1;
        self.window = self.window << 8 | u128::from(byte);
        if byte == b'f' && ends_with(self.window, b"startxref") {
            self.xref = self.xref.or(Some(self.position));
        }
        if self.objects.is_some() {
            self.objects_byte(byte)?;
        }
        if self.embedded_until.is_some_and(|end| self.position > end) {
            self.embedded_until = None;
            self.marks.embedded = false;
            self.mode = Mode::Stream { left: None };
        }
        if byte == b'j' && begins_object(self.window) {
            self.begin_object();
            return Ok(());
        }
        match self.mode {
            Mode::Syntax => {
                self.lexer.byte(byte, &mut |token| self.walker.token(token, &mut self.marks))?;
                if self.walker.begins_stream {
                    self.walker.begins_stream = false;
                    self.mode = Mode::StreamLine { behind_return: false };
                    return self.stream_line(byte, false);
                }
                Ok(())
            }
            Mode::StreamLine { behind_return } => self.stream_line(byte, behind_return),
            Mode::Stream { left } => self.stream_byte(byte, left),
        }
    }

    fn begin_object(&mut self) {
        if let Mode::Stream { left: Some(left) } = self.mode {
            self.embedded_until = Some(self.position + left - 1);
            self.marks.embedded = true;
        }
        self.mode = Mode::Syntax;
        self.lexer.reset();
        self.walker.begin_object();
    }

    /// The body begins behind the line feed, or behind a lone carriage return.
    fn stream_line(&mut self, byte: u8, behind_return: bool) -> Result<(), Refusal> {
        match byte {
            b'\n' => self.begin_stream(),
            b'\r' if !behind_return => self.mode = Mode::StreamLine { behind_return: true },
            b' ' | b'\t' if !behind_return => {}
            _ => {
                self.begin_stream();
                if self.objects.is_some() {
                    self.objects_byte(byte)?;
                }
                let Mode::Stream { left } = self.mode else { return Ok(()) };
                return self.stream_byte(byte, left);
            }
        }
        Ok(())
    }

    fn begin_stream(&mut self) {
        let facts = &self.walker.facts;
        let left = facts.length.filter(|length| *length > 0);
        if facts.is_object_stream && self.objects.is_none() {
            self.objects = Some(Box::new(ObjectStream::new(facts)));
            self.objects_left = left;
        }
        self.mode = Mode::Stream { left };
    }

    fn stream_byte(&mut self, byte: u8, left: Option<u64>) -> Result<(), Refusal> {
        if let Some(left) = left {
            self.mode = Mode::Stream {
                left: Some(left - 1).filter(|left| *left > 0),
            };
        } else if byte == b'm' && ends_with(self.window, b"endstream") {
            self.mode = Mode::Syntax;
            self.lexer.reset();
            self.walker.begin_object();
            self.end_objects()?;
        }
        Ok(())
    }

    fn objects_byte(&mut self, byte: u8) -> Result<(), Refusal> {
        let Some(objects) = &mut self.objects else { return Ok(()) };
        objects.byte(byte, self.position, &mut self.marks, &mut self.budget)?;
        match &mut self.objects_left {
            Some(left) => {
                *left -= 1;
                if *left == 0 { self.end_objects() } else { Ok(()) }
            }
            None if byte == b'm' && ends_with(self.window, b"endstream") => self.end_objects(),
            None => Ok(()),
        }
    }

    fn end_objects(&mut self) -> Result<(), Refusal> {
        match self.objects.take() {
            Some(objects) => objects.finish(self.position, &mut self.marks, &mut self.budget),
            None => Ok(()),
        }
    }
}

fn ends_with(window: u128, word: &[u8]) -> bool {
    window.to_be_bytes().ends_with(word)
}

/// Number, generation, `obj`.
fn begins_object(window: u128) -> bool {
    let bytes = window.to_be_bytes();
    let Some(mut rest) = bytes.strip_suffix(b"obj") else {
        return false;
    };
    let mut skip = |is: fn(u8) -> bool| {
        let end = rest.iter().rposition(|byte| !is(*byte)).map_or(0, |at| at + 1);
        let skipped = rest.len() - end;
        rest = &rest[..end];
        skipped > 0
    };
    let digit = |byte: u8| byte.is_ascii_digit();
    skip(is_white) && skip(digit) && skip(is_white) && skip(digit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::samples::{self, Pdf as Sample};
    use super::super::{FileType, PdfPolicy, Policy, Refusal, Report, Verdict};

    fn inspect(body: &str) -> Result<Report, Refusal> {
        samples::inspect(
            &Sample {
                body: body.into(),
                ..Sample::default()
            }
            .build(),
            Policy::default(),
        )
        .map(|(report, _)| report)
    }

    /// Everything that can be refused is.
    fn strict() -> Policy {
        Policy {
            pdf: PdfPolicy {
                scripts: Verdict::Refuse,
                attachments: Verdict::Refuse,
                programs: Verdict::Refuse,
                encrypted: Verdict::Refuse,
            },
            ..Policy::default()
        }
    }

    fn inspect_strictly(body: &[u8]) -> Result<Report, Refusal> {
        let sample = Sample::default().build();
        let at = sample.windows(4).position(|window| window == b"xref").unwrap();
        let file = [&sample[..at], body, b"\n", &sample[at..]].concat();
        samples::inspect(&file, strict()).map(|(report, _)| report)
    }

    fn deflated(text: &[u8]) -> Vec<u8> {
        miniz_oxide::deflate::compress_to_vec_zlib(text, 6)
    }

    fn object_stream(dict: &str, data: &[u8]) -> Vec<u8> {
        [
            format!("9 0 obj\n<</Type/ObjStm{dict}>>stream\r\n").as_bytes(),
            data,
            b"\r\nendstream endobj",
        ]
        .concat()
    }

    #[test]
    fn active_names_are_refused_however_they_are_written() {
        let script = |name| Refusal::ActiveContent(name);
        for (body, refusal) in [
            ("<</S/JavaScript/JS(x)>>", script("/JavaScript")),
            ("<</JS (x)>>", script("/JS")),
            ("<</S /J#61vaScr#69pt>>", script("/JavaScript")),
            ("<</S /#4a#61#76#61#53#63#72#69#70#74>>", script("/JavaScript")),
            ("<</Names<</JavaScript 5 0 R>>>>", script("/JavaScript")),
            ("<</S 8 0 R>> 8 0 obj /JavaScript endobj", script("/JavaScript")),
            ("<</A/B/C 1 0 R/S/JavaScript>>", script("/JavaScript")),
            ("<</S/Launch>>", script("/Launch")),
            ("<</Type/EmbeddedFile>>", Refusal::Attachment("/EmbeddedFile")),
            ("<</Names<</EmbeddedFiles 5 0 R>>>>", Refusal::Attachment("/EmbeddedFile")),
            ("<</Subtype/FileAttachment>>", Refusal::Attachment("/FileAttachment")),
            ("<<>>stream\nxendstream<</JS 1 0 R>>", script("/JS")),
            ("<</Length 99>>stream\nx\nendstream 8 0 obj<</JS 1 0 R>>endobj", script("/JS")),
            ("(never closed 8 0 obj<</JS 1 0 R>>endobj", script("/JS")),
            ("% 8 0 obj<</JS 1 0 R>>endobj", script("/JS")),
        ] {
            assert_eq!(inspect_strictly(body.as_bytes()).map(|_| ()), Err(refusal), "{body}");
        }
    }

    #[test]
    fn mentions_are_not_actions() {
        for body in [
            "<</JavaScripts 1>>",
            "<</J#6avaScript 1>>",
            "(JavaScript)",
            "<</Title(a/JavaScript \\(b/JS\\) /Launch)>>",
            "<</Title<2F4A53>/A/JavaScript>>",
            "% /JS /JavaScript",
            "<<>>stream\n/JS /AA /JavaScript <</S/Launch>>\nendstream",
            "<</Length 26>>stream\nendstream <</S/JavaScript>>\nendstream",
            "<</Font<</Launch 5 0 R>>/Encrypt 5 0 R>>",
        ] {
            assert_eq!(inspect_strictly(body.as_bytes()).map(|report| report.noted), Ok(vec![]), "{body}");
        }
    }

    #[test]
    fn object_streams_are_looked_into() {
        let text = b"1 0 2 20 <</Type /Page>> <</S/JavaScript/JS(x)>>";
        let script = Err(Refusal::ActiveContent("/JavaScript"));
        let found = |dict: &str, data: &[u8]| inspect_strictly(&object_stream(dict, data)).map(|_| ());
        let zip = deflated(text);
        assert_eq!(found("", text), script);
        assert_eq!(found("/Filter/FlateDecode", &zip), script);
        assert_eq!(found(&format!("/Filter[/FlateDecode]/Length {}", zip.len()), &zip), script);
        assert_eq!(found("/Length 9 0 R/Filter/FlateDecode", &zip), script);
        // What cannot be looked into is refused only where something in it could be.
        let opaque = Err(Refusal::ActiveContent("object stream"));
        assert_eq!(found("/Filter/LZWDecode", &zip), opaque);
        assert_eq!(found("/Filter[/ASCIIHexDecode/FlateDecode]", &zip), opaque);
        assert_eq!(found("/Filter/FlateDecode", &zip[..zip.len() / 2]), opaque);
        assert_eq!(found("/Filter/FlateDecode", &deflated(&vec![b' '; 2 << 20])), opaque, "a bomb");
        let pages = object_stream("/Filter/FlateDecode", &deflated(b"<</Type/Page>><</Type/Page>>"));
        assert_eq!(inspect_strictly(&pages).unwrap().pages, Some(3));
        let many = object_stream("/Filter/FlateDecode", &deflated(&b"<</Type/Page>>".repeat(200)));
        assert_eq!(inspect_strictly(&many), Err(Refusal::TooManyPages { max: 200 }));
    }

    #[test]
    fn encrypted_files_ask_for_a_password() {
        assert_eq!(inspect("trailer<</Encrypt 5 0 R>>"), Err(Refusal::PasswordProtected));
        assert_eq!(inspect("9 0 obj<</Type/XRef/Encrypt 5 0 R>>"), Err(Refusal::PasswordProtected));
        assert!(inspect("<</EncryptMetadata true>>").is_ok());
        assert!(inspect("trailer<</Encrypt null>>").is_ok());
    }

    #[test]
    fn what_is_not_refused_is_noted_once() {
        let report = inspect("<</OpenAction 1 0 R/AA<<>>/OpenAction 2 0 R/XFA 3 0 R>>").unwrap();
        assert_eq!(report.noted, ["/OpenAction", "/AA", "/XFA"]);
        assert_eq!(inspect("<</S/JavaScript/JS(x)>>").unwrap().noted, ["/JavaScript", "/JS"]);
        assert_eq!(inspect("<</S/Launch>>"), Err(Refusal::ActiveContent("/Launch")));
    }

    #[test]
    fn pages_are_counted_where_they_stand_in_the_open() {
        let page = "<</Type /Page>>";
        assert_eq!(inspect("").unwrap().pages, Some(1), "the sample has one page");
        assert_eq!(inspect(&page.repeat(199)).unwrap().pages, Some(200));
        assert_eq!(inspect(&page.repeat(200)), Err(Refusal::TooManyPages { max: 200 }));
        assert_eq!(inspect("<</Type/Pages>><</Type/Font/Name/Page>>").unwrap().pages, Some(1));
        assert_eq!(
            inspect("<</Type/ObjStm/Filter/LZWDecode>>stream\nx\nendstream").unwrap().pages,
            None
        );
    }

    #[test]
    fn the_end_is_where_the_last_mark_is() {
        let whole = Sample::default().build();
        let keep = |tail: &[u8]| samples::inspect(&[&whole[..], tail].concat(), Policy::default());
        let (report, kept) = keep(b"\r\n \t").unwrap();
        assert_eq!(
            (report.dropped_trailing, kept.len()),
            (0, whole.len() + 4),
            "white space may be signed"
        );
        for padding in [0, b' ', 0x1A, 0xFF] {
            let (report, kept) = keep(&[padding; 70_000]).unwrap();
            assert_eq!((report.dropped_trailing, &kept), (70_000, &whole));
        }
        let (report, kept) = keep(b"<script>").unwrap();
        assert_eq!((report.dropped_trailing, &kept), (8, &whole));
        assert_eq!(keep(&[b'x'; 1018]).unwrap().0.dropped_trailing, 1018);
        assert_eq!(keep(&[b'x'; 1019]), Err(Refusal::Truncated));
        assert_eq!(keep(b"x%%EOF\rpadding").unwrap().1.len(), whole.len() + 7);
    }

    #[test]
    fn a_head_and_a_tail_are_no_document() {
        let file = b"%PDF-1.4\n% this is a long enough line\n%%EOF\n";
        assert_eq!(
            samples::inspect(file, Policy::default()),
            Err(Refusal::Damaged("pdf without cross-reference"))
        );
        let late = [&file[..], b"startxref\n"].concat();
        assert_eq!(
            samples::inspect(&late, Policy::default()),
            Err(Refusal::Damaged("pdf without cross-reference")),
            "what is dropped does not count"
        );
        let (report, _) = samples::inspect(&Sample::default().build(), Policy::default()).unwrap();
        assert_eq!(report.file_type, FileType::Pdf);
    }
}
