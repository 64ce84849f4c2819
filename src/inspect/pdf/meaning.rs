//! What do tokens mean? Follows dictionaries and arrays to know which name is a key and which a value, and judges those that let a document act.
//!
//! [`Walker`] reads one sequence of objects, in the open or in an object stream; [`Marks`] is what the whole document has shown so far.

use super::encryption::Security;
use super::tokens::Token;
use crate::inspect::{Limits, PdfPolicy, Policy, Refusal, Verdict};

/// Deeper containers are counted, not followed; honest files have about ten.
const MAX_DEPTH: usize = 64;

/// What has been seen of the document.
pub(super) struct Marks {
    policy: PdfPolicy,
    max_pages: u32,
    pub(super) pages: u32,
    pub(super) noted: Vec<&'static str>,
    /// A trailer names an encryption dictionary.
    pub(super) encrypted: bool,
    pub(super) security: Option<Security>,
    /// The first string of the trailer's `/ID`.
    pub(super) id: Vec<u8>,
    /// An object stream could not be looked into to its end.
    pub(super) opaque: bool,
    /// What is read stands inside a stream, such as a PDF attached without compression: its pages and trailer are not this document's.
    pub(super) embedded: bool,
}

impl Marks {
    pub(super) fn new(policy: &Policy) -> Self {
        let Limits { max_pages, .. } = policy.limits;
        Self {
            policy: policy.pdf,
            max_pages,
            pages: 0,
            noted: Vec::new(),
            encrypted: false,
            security: None,
            id: Vec::new(),
            opaque: false,
            embedded: false,
        }
    }

    /// What only the end can tell.
    pub(super) fn finish(&mut self) -> Result<(), Refusal> {
        let acts = |verdict| verdict == Verdict::Refuse;
        let must_be_seen = acts(self.policy.scripts) || acts(self.policy.attachments);
        if self.encrypted {
            let opens = self
                .security
                .as_ref()
                .is_some_and(|security| security.opens_for_everybody(&self.id));
            if !opens {
                return Err(Refusal::PasswordProtected);
            }
            // What hides in the encrypted object streams of such a file nobody can see without decrypting it.
            if acts(self.policy.encrypted) || (self.opaque && must_be_seen) {
                return Err(Refusal::Encrypted);
            }
            self.note("/Encrypt");
        } else if self.opaque && must_be_seen {
            return Err(Refusal::ActiveContent("object stream"));
        }
        Ok(())
    }

    fn script(&mut self, name: &'static str) -> Result<(), Refusal> {
        self.judge(self.policy.scripts, Refusal::ActiveContent(name), name)
    }

    fn attachment(&mut self, name: &'static str) -> Result<(), Refusal> {
        self.judge(self.policy.attachments, Refusal::Attachment(name), name)
    }

    fn judge(&mut self, verdict: Verdict, refusal: Refusal, name: &'static str) -> Result<(), Refusal> {
        if verdict == Verdict::Refuse {
            return Err(refusal);
        }
        self.note(name);
        Ok(())
    }

    fn note(&mut self, name: &'static str) {
        if !self.noted.contains(&name) {
            self.noted.push(name);
        }
    }

    fn page(&mut self) -> Result<(), Refusal> {
        if self.embedded {
            return Ok(());
        }
        self.pages = self.pages.saturating_add(1);
        if self.pages > self.max_pages {
            return Err(Refusal::TooManyPages { max: self.max_pages });
        }
        Ok(())
    }
}

/// The keys whose values are of interest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Other,
    Type,
    Subtype,
    /// Of an action: what it does.
    S,
    Length,
    Filter,
    Predictor,
    Encrypt,
    Id,
    R,
    O,
    U,
    P,
}

struct Frame {
    is_dict: bool,
    expects_key: bool,
    key: Key,
}

/// The dictionary of an object or trailer, as far as it is of interest.
#[derive(Default)]
pub(super) struct Facts {
    is_trailer: bool,
    is_xref: bool,
    pub(super) is_object_stream: bool,
    /// Bytes of the stream behind it, if they are told here and not in an object of their own.
    pub(super) length: Option<u64>,
    pub(super) filters: u32,
    /// The last filter is `/FlateDecode`.
    pub(super) deflated: bool,
    /// The inflated bytes are differences, as in pictures.
    pub(super) predicted: bool,
    encrypt: bool,
    id: Vec<u8>,
}

pub(super) struct Walker {
    stack: Vec<Frame>,
    too_deep: u32,
    behind_trailer: bool,
    /// The last token closed a dictionary.
    behind_dict: bool,
    pub(super) facts: Facts,
    security: Security,
    /// The depth at which `security` is gathered.
    security_depth: usize,
    /// The keyword `stream` was read: what follows is no syntax.
    pub(super) begins_stream: bool,
}

impl Walker {
    pub(super) fn new() -> Self {
        Self {
            stack: Vec::new(),
            too_deep: 0,
            behind_trailer: false,
            behind_dict: false,
            facts: Facts::default(),
            security: Security::default(),
            security_depth: 1,
            begins_stream: false,
        }
    }

    /// An object begins: whatever was open before it is not closed any more.
    pub(super) fn begin_object(&mut self) {
        self.stack.clear();
        self.too_deep = 0;
        self.behind_trailer = false;
        self.behind_dict = false;
    }

    pub(super) fn token(&mut self, token: Token<'_>, marks: &mut Marks) -> Result<(), Refusal> {
        let behind_dict = std::mem::replace(&mut self.behind_dict, false);
        match token {
            Token::OpenDict => self.open(true),
            Token::OpenArray => self.open(false),
            Token::CloseDict => {
                self.close_dict(marks);
                self.behind_dict = true;
            }
            Token::CloseArray => self.close_array(),
            Token::Name(name) => return self.name(name, marks),
            Token::Text(text) => self.text(text),
            Token::Word(word) => self.word(word, behind_dict),
        }
        Ok(())
    }

    fn open(&mut self, is_dict: bool) {
        let key = self.value_key().unwrap_or(Key::Other);
        if self.stack.len() == MAX_DEPTH {
            self.too_deep = self.too_deep.saturating_add(1);
            return;
        }
        self.stack.push(Frame {
            is_dict,
            expects_key: is_dict,
            key: if is_dict { Key::Other } else { key },
        });
        if is_dict && self.stack.len() == 1 {
            self.facts = Facts {
                is_trailer: self.behind_trailer,
                ..Facts::default()
            };
            self.security = Security::default();
            self.security_depth = 1;
        } else if is_dict && self.stack.len() == 2 && key == Key::Encrypt {
            self.security = Security::default();
            self.security_depth = 2;
        }
    }

    fn close_array(&mut self) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
        } else if self.stack.last().is_some_and(|frame| !frame.is_dict) {
            self.stack.pop();
        }
    }

    fn close_dict(&mut self, marks: &mut Marks) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        // Arrays that were not closed end with their dictionary.
        while self.stack.pop().is_some_and(|frame| !frame.is_dict) {}
        if self.stack.len() + 1 == self.security_depth && self.security.standard && !marks.embedded {
            marks.security = Some(std::mem::take(&mut self.security));
        }
        if self.stack.is_empty() {
            let facts = &mut self.facts;
            if (facts.is_trailer || facts.is_xref) && !marks.embedded {
                marks.encrypted |= facts.encrypt;
                if !facts.id.is_empty() {
                    marks.id = std::mem::take(&mut facts.id);
                }
            }
            self.behind_trailer = false;
        }
    }

    /// A value begins. The key it belongs to; `None`: it stands alone, or in the place of a key.
    fn value_key(&mut self) -> Option<Key> {
        if self.too_deep > 0 {
            return None;
        }
        let frame = self.stack.last_mut()?;
        if frame.is_dict && frame.expects_key {
            return None;
        }
        frame.expects_key = frame.is_dict;
        Some(frame.key)
    }

    fn name(&mut self, name: &[u8], marks: &mut Marks) -> Result<(), Refusal> {
        let is_key = self.too_deep == 0 && self.stack.last().is_some_and(|frame| frame.expects_key);
        if is_key {
            return self.key(name, marks);
        }
        let stands_alone = self.stack.is_empty() || self.too_deep > 0;
        let key = self.value_key().unwrap_or(Key::Other);
        let depth = self.stack.len();
        match name {
            // An action; or the name of its kind as an object of its own, which is how one would hide it.
            b"JavaScript" if key == Key::S || stands_alone => return marks.script("/JavaScript"),
            b"Launch" if key == Key::S || stands_alone => {
                return marks.judge(marks.policy.programs, Refusal::ActiveContent("/Launch"), "/Launch");
            }
            b"EmbeddedFile" if key == Key::Type || stands_alone => return marks.attachment("/EmbeddedFile"),
            b"FileAttachment" if key == Key::Subtype => return marks.attachment("/FileAttachment"),
            b"RichMedia" if key == Key::Subtype => marks.note("/RichMedia"),
            b"Page" if key == Key::Type => return marks.page(),
            b"ObjStm" if key == Key::Type && depth == 1 => self.facts.is_object_stream = true,
            b"XRef" if key == Key::Type && depth == 1 => self.facts.is_xref = true,
            b"Standard" if key == Key::Filter && depth == self.security_depth => self.security.standard = true,
            _ => {}
        }
        if key == Key::Filter && depth <= 2 {
            self.facts.filters += 1;
            self.facts.deflated = name == b"FlateDecode" || name == b"Fl";
        }
        Ok(())
    }

    fn key(&mut self, name: &[u8], marks: &mut Marks) -> Result<(), Refusal> {
        let depth = self.stack.len();
        let key = match name {
            b"Type" => Key::Type,
            b"Subtype" => Key::Subtype,
            b"S" => Key::S,
            b"Length" => Key::Length,
            b"Filter" => Key::Filter,
            b"Predictor" => Key::Predictor,
            b"Encrypt" => Key::Encrypt,
            b"ID" => Key::Id,
            b"R" => Key::R,
            b"O" => Key::O,
            b"U" => Key::U,
            b"P" => Key::P,
            _ => Key::Other,
        };
        if let Some(frame) = self.stack.last_mut() {
            frame.key = key;
            frame.expects_key = false;
        }
        match name {
            b"Encrypt" if depth == 1 => self.facts.encrypt = true,
            b"JS" => return marks.script("/JS"),
            // The table of scripts that run when the document opens.
            b"JavaScript" => return marks.script("/JavaScript"),
            b"EmbeddedFiles" => return marks.attachment("/EmbeddedFile"),
            b"OpenAction" => marks.note("/OpenAction"),
            b"AA" => marks.note("/AA"),
            b"XFA" => marks.note("/XFA"),
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        let Some(key) = self.value_key() else { return };
        let depth = self.stack.len();
        match key {
            Key::O if depth == self.security_depth => self.security.owner = text.to_vec(),
            Key::U if depth == self.security_depth => self.security.user = text.to_vec(),
            // The first of two, in an array.
            Key::Id if depth == 2 && self.facts.id.is_empty() => self.facts.id = text.to_vec(),
            _ => {}
        }
    }

    fn word(&mut self, word: &[u8], behind_dict: bool) {
        let depth = self.stack.len();
        if depth == 0 {
            match word {
                b"trailer" => self.behind_trailer = true,
                b"stream" if behind_dict => self.begins_stream = true,
                _ => {}
            }
            return;
        }
        let number = std::str::from_utf8(word).ok().and_then(|word| word.parse::<i64>().ok());
        let Some(key) = self.value_key() else {
            // `/Length 8 0 R`: told in another object.
            let frame = self.stack.last();
            if word == b"R" && depth == 1 && frame.is_some_and(|frame| frame.key == Key::Length) {
                self.facts.length = None;
            }
            return;
        };
        match (key, number) {
            (Key::Length, Some(number)) => {
                if depth == 1 {
                    self.facts.length = u64::try_from(number).ok();
                }
                if depth == self.security_depth {
                    self.security.length = Some(number);
                }
            }
            (Key::Predictor, number) => self.facts.predicted |= number != Some(1),
            (Key::R, Some(number)) if depth == self.security_depth => self.security.revision = number,
            (Key::P, Some(number)) if depth == self.security_depth => self.security.permissions = number,
            // `/Encrypt null` encrypts nothing.
            (Key::Encrypt, None) if word == b"null" && depth == 1 => self.facts.encrypt = false,
            _ => {}
        }
    }
}
