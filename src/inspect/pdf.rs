//! Is this PDF whole, and does it do more than show pages? Scans words and names in the stream; opens no object and inflates nothing.
//!
//! * Whole: `%PDF-1.`/`%PDF-2.` at offset 0 (the sniffer saw to it), a `startxref`, and `%%EOF` beginning within the last 1,024 bytes.
//! * Behind the last `%%EOF`, white space stays (a signature may cover it); anything else is dropped from the end of that line on.
//! * `/Encrypt` is refused: nobody behind us has the password. `/Launch`, `/EmbeddedFile(s)`, `/JavaScript` and `/JS` are refused by
//!   default; `/OpenAction`, `/AA`, `/RichMedia` and `/XFA` are noted. Names count as a reader sees them: `/J#61vaScript` is `/JavaScript`.
//! * Pages are counted as `/Type /Page` in the open. Where object streams hide pages, the count is a lower bound and not reported.
//!
//! Stream bodies are skipped by their `endstream`, except for the long names, which do not occur by chance: two-letter names would turn up
//! in compressed data. **Object streams hide names from this scan: it is hygiene, not proof.** Metadata of PDFs is not stripped.

use super::{Findings, Policy, Refusal, count_work};
use zeroize::Zeroizing;

/// Readers look for the end mark in the last 1,024 bytes (ISO 32000-1, annex H, note 18).
const TAIL: usize = 1024;
/// The tail is moved down only when this much was gathered, so that single-byte pushes stay cheap.
const HOLD: usize = 16 << 10;
const END_MARK: &[u8] = b"%%EOF";
/// Longer than any name we know, each letter written as `#xx`.
const MAX_TOKEN: usize = 48;

pub(super) struct Pdf {
    max_pages: u32,
    refuse_active: bool,
    hold: Zeroizing<Vec<u8>>,
    token: Token,
    in_stream: bool,
    /// The last eight bytes of a stream body.
    window: u64,
    /// The last two bytes that were no white space and belonged to no token.
    last_delimiters: [u8; 2],
    last_was_type: bool,
    pages: u32,
    hides_objects: bool,
    /// Bytes read.
    position: u64,
    /// Where the first `startxref` ended.
    xref: Option<u64>,
    noted: Vec<&'static str>,
}

/// A name (behind `/`) or a word, as far as it is known.
struct Token {
    kind: Kind,
    bytes: Zeroizing<[u8; MAX_TOKEN]>,
    /// May exceed `MAX_TOKEN`; then it is none of ours.
    len: usize,
    behind_dictionary: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Name,
    Word,
}

impl Pdf {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            max_pages: policy.limits.max_pages,
            refuse_active: policy.refuse_active,
            hold: Zeroizing::new(Vec::with_capacity(HOLD)),
            token: Token {
                kind: Kind::Nothing,
                bytes: Zeroizing::new([0; MAX_TOKEN]),
                len: 0,
                behind_dictionary: false,
            },
            in_stream: false,
            window: 0,
            last_delimiters: [0; 2],
            last_was_type: false,
            pages: 0,
            hides_objects: false,
            position: 0,
            xref: None,
            noted: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        count_work(input.len());
        for byte in input {
            self.position += 1;
            if self.in_stream {
                self.stream_byte(*byte)?
            } else {
                self.open_byte(*byte)?
            }
        }
        while !input.is_empty() {
            let take = input.len().min(HOLD - self.hold.len());
            self.hold.extend_from_slice(&input[..take]);
            input = &input[take..];
            if self.hold.len() == HOLD {
                count_work(HOLD);
                out.extend_from_slice(&self.hold[..HOLD - TAIL]);
                self.hold.copy_within(HOLD - TAIL.., 0);
                self.hold.truncate(TAIL);
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Result<Findings, Refusal> {
        self.end_token(b'\n')?;
        let from = self.hold.len().saturating_sub(TAIL);
        let mark = self.hold[from..]
            .windows(END_MARK.len())
            .rposition(|window| window == END_MARK)
            .ok_or(Refusal::Truncated)?;
        let mark_at = self.position - (self.hold.len() - from - mark) as u64;
        if self.xref.is_none_or(|xref| xref > mark_at) {
            return Err(Refusal::Damaged("pdf without cross-reference"));
        }
        let end = self.end_of_file(from + mark + END_MARK.len());
        out.extend_from_slice(&self.hold[..end]);
        Ok(Findings {
            pages: (self.pages > 0 && !self.hides_objects).then_some(self.pages),
            dropped_trailing: (self.hold.len() - end) as u64,
            noted: self.noted,
            ..Findings::default()
        })
    }

    /// Where the file ends, given the end of the last mark.
    fn end_of_file(&self, mark_end: usize) -> usize {
        let rest = &self.hold[mark_end..];
        if rest.iter().all(|byte| is_white(*byte)) {
            return self.hold.len();
        }
        let line_end = if rest.starts_with(b"\r\n") {
            2
        } else {
            usize::from(matches!(rest[0], b'\r' | b'\n'))
        };
        mark_end + line_end
    }

    fn open_byte(&mut self, byte: u8) -> Result<(), Refusal> {
        if is_white(byte) {
            self.end_token(byte)
        } else if is_delimiter(byte) {
            self.end_token(byte)?;
            if byte == b'/' {
                self.begin_token(Kind::Name);
            }
            self.last_delimiters = [self.last_delimiters[1], byte];
            Ok(())
        } else {
            if self.token.kind == Kind::Nothing {
                self.begin_token(Kind::Word);
                self.last_delimiters = [0; 2];
            }
            self.token.add(byte);
            Ok(())
        }
    }

    /// Inside a stream only names and the end of the stream matter.
    fn stream_byte(&mut self, byte: u8) -> Result<(), Refusal> {
        self.window = self.window << 8 | u64::from(byte);
        if byte == b'/' {
            self.end_token(byte)?;
            self.begin_token(Kind::Name);
        } else if self.token.kind == Kind::Name {
            if is_white(byte) || is_delimiter(byte) {
                self.end_token(byte)?
            } else {
                self.token.add(byte)
            }
        }
        if byte == b'm' && self.window == u64::from_be_bytes(*b"ndstream") {
            self.in_stream = false;
            self.token.kind = Kind::Nothing;
            self.last_delimiters = [0; 2];
        }
        Ok(())
    }

    fn begin_token(&mut self, kind: Kind) {
        self.token.kind = kind;
        self.token.len = 0;
        self.token.behind_dictionary = self.last_delimiters == *b">>";
    }

    /// `byte` is the one that ended the token, if there is a token.
    fn end_token(&mut self, byte: u8) -> Result<(), Refusal> {
        match std::mem::replace(&mut self.token.kind, Kind::Nothing) {
            Kind::Nothing => Ok(()),
            Kind::Word => {
                self.last_was_type = false;
                match self.token.written() {
                    b"startxref" => self.xref = self.xref.or(Some(self.position)),
                    b"stream" if self.token.behind_dictionary && matches!(byte, b'\r' | b'\n') => {
                        self.in_stream = true;
                        self.window = 0;
                    }
                    _ => {}
                }
                Ok(())
            }
            Kind::Name => self.name(),
        }
    }

    fn name(&mut self) -> Result<(), Refusal> {
        let (bytes, len) = self.token.unescaped();
        let name = &bytes[..len];
        let behind_type = std::mem::replace(&mut self.last_was_type, name == b"Type");
        match name {
            b"Launch" => return self.active("/Launch"),
            b"EmbeddedFile" | b"EmbeddedFiles" => return self.active("/EmbeddedFile"),
            b"JavaScript" => return self.active("/JavaScript"),
            b"RichMedia" => self.note("/RichMedia"),
            _ if self.in_stream => {}
            b"Encrypt" => return Err(Refusal::PasswordProtected),
            b"JS" => return self.active("/JS"),
            b"OpenAction" => self.note("/OpenAction"),
            b"AA" => self.note("/AA"),
            b"XFA" => self.note("/XFA"),
            b"ObjStm" => self.hides_objects = true,
            b"Page" if behind_type => {
                self.pages += 1;
                if self.pages > self.max_pages {
                    return Err(Refusal::TooManyPages { max: self.max_pages });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn active(&mut self, name: &'static str) -> Result<(), Refusal> {
        if self.refuse_active {
            return Err(Refusal::ActiveContent(name));
        }
        self.note(name);
        Ok(())
    }

    fn note(&mut self, name: &'static str) {
        if !self.noted.contains(&name) {
            self.noted.push(name);
        }
    }
}

impl Token {
    fn add(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    /// The bytes as written; empty if they are too many to be ours.
    fn written(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The bytes with `#xx` read as the byte it stands for.
    fn unescaped(&self) -> ([u8; MAX_TOKEN], usize) {
        let (mut name, mut len) = ([0; MAX_TOKEN], 0);
        let mut rest = self.written();
        while let [byte, behind @ ..] = rest {
            let escaped = match behind {
                [high, low, ..] if *byte == b'#' => hex(*high).zip(hex(*low)),
                _ => None,
            };
            (name[len], rest) = match escaped {
                Some((high, low)) => (high << 4 | low, &behind[2..]),
                None => (*byte, behind),
            };
            len += 1;
        }
        (name, len)
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

fn is_white(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0C | b'\r' | b' ')
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::samples::{self, Pdf as Sample};
    use super::super::{FileType, Policy, Refusal, Report};

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

    #[test]
    fn active_names_are_refused_however_they_are_written() {
        for (body, name) in [
            ("<</S/JavaScript/JS(x)>>", "/JavaScript"),
            ("<</JS (x)>>", "/JS"),
            ("<</S /J#61vaScr#69pt>>", "/JavaScript"),
            ("<</S /#4a#61#76#61#53#63#72#69#70#74>>", "/JavaScript"),
            ("<</S/Launch>>", "/Launch"),
            ("<</Type/EmbeddedFile>>", "/EmbeddedFile"),
            ("<<>>stream\n/JavaScript \nendstream", "/JavaScript"),
            ("<<>>stream\nxendstream<</JS 1 0 R>>", "/JS"),
        ] {
            assert_eq!(inspect(body), Err(Refusal::ActiveContent(name)), "{body}");
        }
        for body in [
            "<</JavaScripts 1>>",
            "<</J#6avaScript 1>>",
            "(JavaScript)",
            "<<>>stream\n/JS /AA\nendstream",
        ] {
            assert_eq!(inspect(body).map(|report| report.noted), Ok(vec![]), "{body}");
        }
    }

    #[test]
    fn encrypted_files_ask_for_a_password() {
        assert_eq!(inspect("trailer<</Encrypt 5 0 R>>"), Err(Refusal::PasswordProtected));
        assert!(inspect("<</EncryptMetadata true>>").is_ok());
    }

    #[test]
    fn what_is_not_refused_is_noted_once() {
        let report = inspect("<</OpenAction 1 0 R/AA<<>>/OpenAction 2 0 R/XFA 3 0 R>>").unwrap();
        assert_eq!(report.noted, ["/OpenAction", "/AA", "/XFA"]);
        let policy = Policy {
            refuse_active: false,
            ..Policy::default()
        };
        let file = Sample {
            body: "<</S/JavaScript/JS(x)>>".into(),
            ..Sample::default()
        }
        .build();
        assert_eq!(samples::inspect(&file, policy).unwrap().0.noted, ["/JavaScript", "/JS"]);
    }

    #[test]
    fn pages_are_counted_where_they_stand_in_the_open() {
        let page = "<</Type /Page>>";
        assert_eq!(inspect("").unwrap().pages, Some(1), "the sample has one page");
        assert_eq!(inspect(&page.repeat(49)).unwrap().pages, Some(50));
        assert_eq!(inspect(&page.repeat(50)), Err(Refusal::TooManyPages { max: 50 }));
        assert_eq!(inspect("<</Type/Pages>><</Type/Font/Name/Page>>").unwrap().pages, Some(1));
        assert_eq!(inspect("<</Type/ObjStm>>stream\nx\nendstream").unwrap().pages, None);
    }

    #[test]
    fn the_end_is_where_the_last_mark_is() {
        let whole = Sample::default().build();
        let keep = |tail: &[u8]| samples::inspect(&[&whole[..], tail].concat(), Policy::default());
        let (report, kept) = keep(b"\r\n \0").unwrap();
        assert_eq!(
            (report.dropped_trailing, kept.len()),
            (0, whole.len() + 4),
            "white space may be signed"
        );
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
