//! Splits PDF syntax into tokens, byte by byte (ISO 32000-1, 7.2 and 7.3). Strings and comments are recognised, so that what stands in
//! them is never taken for a name. Holds one token of at most [`MAX_TOKEN`] bytes; a longer one comes out empty, since it is none of ours.

use zeroize::Zeroizing;

/// Longer than any name of interest with each letter written as `#xx`, and as the longest string of an encryption dictionary (127 bytes).
pub(super) const MAX_TOKEN: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// What stands behind `/`, with `#xx` read as the byte it stands for.
    Name(&'a [u8]),
    /// A number or keyword.
    Word(&'a [u8]),
    /// The bytes of a string, however it was written.
    Text(&'a [u8]),
    OpenDict,
    CloseDict,
    OpenArray,
    CloseArray,
}

pub(super) struct Lexer {
    state: State,
    bytes: Zeroizing<[u8; MAX_TOKEN]>,
    /// May exceed `MAX_TOKEN`.
    len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Name,
    Word,
    Comment,
    /// Behind one `<` or `>`.
    Less,
    Greater,
    Hex {
        high: Option<u8>,
    },
    Text {
        depth: u32,
        escape: Escape,
    },
}

/// How far an escape in a string has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// Behind the backslash.
    Begun,
    /// Octal digits, at most three.
    Octal {
        value: u8,
        digits: u8,
    },
    /// Behind a carriage return: a line feed belongs to it.
    Return,
}

impl Lexer {
    pub(super) fn new() -> Self {
        Self {
            state: State::Between,
            bytes: Zeroizing::new([0; MAX_TOKEN]),
            len: 0,
        }
    }

    /// Forgets a token that was begun.
    pub(super) fn reset(&mut self) {
        self.begin(State::Between);
    }

    /// Takes one byte; `sink` gets the tokens that it ends, at most two.
    pub(super) fn byte<E>(&mut self, byte: u8, sink: &mut impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        match self.state {
            State::Between => self.between(byte, sink),
            State::Name | State::Word if is_white(byte) || is_delimiter(byte) => {
                self.end(sink)?;
                self.between(byte, sink)
            }
            State::Name | State::Word => {
                self.add(byte);
                Ok(())
            }
            State::Comment => {
                if matches!(byte, b'\r' | b'\n') {
                    self.state = State::Between;
                }
                Ok(())
            }
            State::Less if byte == b'<' => {
                self.state = State::Between;
                sink(Token::OpenDict)
            }
            State::Less => self.hex(byte, None, sink),
            State::Hex { high } => self.hex(byte, high, sink),
            State::Greater => {
                self.state = State::Between;
                if byte == b'>' {
                    sink(Token::CloseDict)
                } else {
                    self.between(byte, sink)
                }
            }
            State::Text { depth, escape } => self.text(byte, depth, escape, sink),
        }
    }

    /// Ends a name or word at the end of the input.
    pub(super) fn end<E>(&mut self, sink: &mut impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        let state = std::mem::replace(&mut self.state, State::Between);
        let written = self.bytes.get(..self.len).unwrap_or_default();
        match state {
            State::Name => {
                let (name, len) = unescaped(written);
                sink(Token::Name(&name[..len]))
            }
            State::Word => sink(Token::Word(written)),
            _ => Ok(()),
        }
    }

    fn between<E>(&mut self, byte: u8, sink: &mut impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        match byte {
            b'/' => self.begin(State::Name),
            b'%' => self.begin(State::Comment),
            b'<' => self.begin(State::Less),
            b'>' => self.begin(State::Greater),
            b'(' => self.begin(State::Text {
                depth: 1,
                escape: Escape::None,
            }),
            b'[' => return sink(Token::OpenArray),
            b']' => return sink(Token::CloseArray),
            byte if is_white(byte) || is_delimiter(byte) => {}
            byte => {
                self.begin(State::Word);
                self.add(byte);
            }
        }
        Ok(())
    }

    fn hex<E>(&mut self, byte: u8, high: Option<u8>, sink: &mut impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        if byte == b'>' {
            if let Some(high) = high {
                self.add(high << 4);
            }
            return self.end_text(sink);
        }
        let high = match (high, digit(byte)) {
            (high, None) => high,
            (None, digit) => digit,
            (Some(high), Some(low)) => {
                self.add(high << 4 | low);
                None
            }
        };
        self.state = State::Hex { high };
        Ok(())
    }

    fn text<E>(&mut self, byte: u8, mut depth: u32, escape: Escape, sink: &mut impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        let escape = match (escape, byte) {
            (Escape::Begun, b'0'..=b'7') => Escape::Octal {
                value: byte - b'0',
                digits: 1,
            },
            (Escape::Begun, b'\r') => Escape::Return,
            (Escape::Begun, b'\n') => Escape::None,
            (Escape::Begun, byte) => {
                self.add(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'f' => 12,
                    other => other,
                });
                Escape::None
            }
            (Escape::Octal { value, digits }, b'0'..=b'7') if digits < 3 => Escape::Octal {
                value: value << 3 | (byte - b'0'),
                digits: digits + 1,
            },
            (Escape::Octal { value, .. }, byte) => {
                self.add(value);
                return self.text(byte, depth, Escape::None, sink);
            }
            (Escape::Return, b'\n') => Escape::None,
            (Escape::Return, byte) => return self.text(byte, depth, Escape::None, sink),
            (Escape::None, b'\\') => Escape::Begun,
            (Escape::None, b'(') => {
                depth = depth.saturating_add(1);
                self.add(byte);
                Escape::None
            }
            (Escape::None, b')') if depth == 1 => return self.end_text(sink),
            (Escape::None, b')') => {
                depth -= 1;
                self.add(byte);
                Escape::None
            }
            // Any end of a line is read as a line feed.
            (Escape::None, b'\r') => {
                self.add(b'\n');
                Escape::Return
            }
            (Escape::None, byte) => {
                self.add(byte);
                Escape::None
            }
        };
        self.state = State::Text { depth, escape };
        Ok(())
    }

    fn end_text<E>(&mut self, sink: &mut impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        self.state = State::Between;
        sink(Token::Text(self.bytes.get(..self.len).unwrap_or_default()))
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.len = 0;
    }

    fn add(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len = self.len.saturating_add(1);
    }
}

/// The bytes of a name with `#xx` read as the byte it stands for.
fn unescaped(mut rest: &[u8]) -> ([u8; MAX_TOKEN], usize) {
    let (mut name, mut len) = ([0; MAX_TOKEN], 0);
    while let [byte, behind @ ..] = rest {
        let escaped = match behind {
            [high, low, ..] if *byte == b'#' => digit(*high).zip(digit(*low)),
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

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

pub(super) fn is_white(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0C | b'\r' | b' ')
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tokens(text: &[u8]) -> Vec<String> {
        let mut lexer = Lexer::new();
        let mut found = Vec::new();
        let mut sink = |token: Token<'_>| -> Result<(), ()> {
            found.push(match token {
                Token::Name(name) => format!("/{}", String::from_utf8_lossy(name)),
                Token::Word(word) => String::from_utf8_lossy(word).into_owned(),
                Token::Text(text) => format!("({})", String::from_utf8_lossy(text)),
                Token::OpenDict => "<<".into(),
                Token::CloseDict => ">>".into(),
                Token::OpenArray => "[".into(),
                Token::CloseArray => "]".into(),
            });
            Ok(())
        };
        for byte in text {
            lexer.byte(*byte, &mut sink).unwrap();
        }
        lexer.end(&mut sink).unwrap();
        found
    }

    #[test]
    fn names_words_and_containers_are_told_apart() {
        assert_eq!(
            tokens(b"1 0 obj<</A/B#61/C[1 -2.5]/D<</E null>>>>endobj"),
            [
                "1", "0", "obj", "<<", "/A", "/Ba", "/C", "[", "1", "-2.5", "]", "/D", "<<", "/E", "null", ">>", ">>", "endobj"
            ]
        );
    }

    #[test]
    fn strings_and_comments_hide_what_stands_in_them() {
        assert_eq!(tokens(b"(a/JS(b)\\)c)/X"), ["(a/JS(b))c)", "/X"]);
        assert_eq!(tokens(b"(\\101\\7z\\\r\nb\rc\r\nd\\n)"), ["(A\x07zb\nc\nd\n)"]);
        assert_eq!(tokens(b"% /JS (\n/X"), ["/X"]);
        assert_eq!(tokens(b"<4a 5>/X<>"), ["(JP)", "/X", "()"]);
        assert_eq!(
            tokens(&[b"(", &[b'x'; 200][..], b")/X"].concat()),
            ["()", "/X"],
            "too long to matter"
        );
    }
}
