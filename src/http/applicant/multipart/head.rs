//! The head of one part of a form: which field it is, and what its sender calls the file.
//!
//! A file's name decides nothing here (the content does), so every spelling of it that programs use is read: `filename`, `filename*` (RFC 8187), both at once, bytes
//! that are no UTF-8. A *field's* name decides where the file belongs: it is there once, or in two spellings that say the same.

/// Lines in the head of one part.
const LINES_MAX: usize = 32;

/// What the head of a part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The field's name.
    pub name: String,
    /// Empty where there is none.
    pub file_name: String,
    /// The part's `Content-Type`, as it was sent.
    pub media_type: String,
    /// The part's `Content-Transfer-Encoding` in small letters; empty where there is none.
    pub transfer_encoding: String,
}

impl Head {
    /// `text`: the lines without the empty one behind them. The error goes on after "the head of a part".
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // A line that begins with a blank goes on with the one before (RFC 5322, section 2.2.3).
            if (line.starts_with(b" ") || line.starts_with(b"\t"))
                && let Some(before) = lines.last_mut()
            {
                before.push(b' ');
                before.extend_from_slice(line.trim_ascii());
            } else if lines.len() == LINES_MAX {
                return Err("has more than 32 lines");
            } else {
                lines.push(line.to_vec());
            }
        }
        let mut disposition = None;
        let mut head = Self::default();
        for line in &lines {
            let colon = line.iter().position(|b| *b == b':').ok_or("has a line without a colon")?;
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            let text = || String::from_utf8_lossy(value).into_owned();
            if name.eq_ignore_ascii_case(b"content-disposition") {
                if disposition.replace(value).is_some() {
                    return Err("has two Content-Dispositions");
                }
            } else if name.eq_ignore_ascii_case(b"content-type") {
                head.media_type = text();
            } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
                head.transfer_encoding = text().to_ascii_lowercase();
            }
        }
        head.read_disposition(disposition.ok_or("has no Content-Disposition")?)?;
        if head.media_type.to_ascii_lowercase().starts_with("multipart/") {
            return Err("brings a form in the form");
        }
        Ok(head)
    }

    fn read_disposition(&mut self, value: &[u8]) -> Result<(), &'static str> {
        let kind = value.split(|b| *b == b';').next().unwrap_or_default();
        if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") {
            return Err("is not that of form-data");
        }
        let all = parameters(value.get(kind.len() + 1..).unwrap_or_default())?;
        let of = |wanted: &str| {
            let values: Vec<&[u8]> = all
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.as_slice())
                .collect();
            match values[..] {
                [] => Ok(None),
                [one] => Ok(Some(one)),
                _ => Err("names a field or a file twice"),
            }
        };
        let plain = of("name")?.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let extended = of("name*")?.and_then(decoded);
        self.name = match (plain, extended) {
            (Some(plain), Some(extended)) if plain != extended => return Err("names a field twice"),
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => return Err("has no field name"),
        };
        let plain = of("filename")?.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        // Where both are there, the plain one is for readers that do not know the other (RFC 6266, section 4.3).
        self.file_name = of("filename*")?.and_then(decoded).or(plain).unwrap_or_default();
        Ok(())
    }
}

/// `; name=value` and so on, each value a token or between quotes.
pub(super) fn parameters(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
    let mut all = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        if let [b';', after @ ..] = rest {
            rest = after.trim_ascii_start();
            continue;
        }
        let end = rest.iter().position(|b| matches!(b, b'=' | b';')).unwrap_or(rest.len());
        let name = String::from_utf8_lossy(rest[..end].trim_ascii()).into_owned();
        let Some(after) = rest[end..].strip_prefix(b"=") else {
            return Err("has a parameter without a value");
        };
        let after = after.trim_ascii_start();
        let (value, left) = match after.strip_prefix(b"\"") {
            Some(inside) => quoted(inside).ok_or("has a quotation mark that nothing closes")?,
            None => {
                let end = after.iter().position(|b| *b == b';').unwrap_or(after.len());
                (after[..end].trim_ascii().to_vec(), &after[end..])
            }
        };
        rest = left.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b";") {
            return Err("has something behind a closing quotation mark");
        }
        all.push((name, value));
    }
    Ok(all)
}

/// What stands up to the closing quotation mark, and what follows it. A backslash escapes a quotation mark and itself, unless the name then never ends: browsers
/// write backslashes as they are, and in some code pages one is half of a letter.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'"', _) => return Some((value, &text[at + 1..])),
            (b'\\', Some(escaped @ (b'"' | b'\\'))) => {
                value.push(*escaped);
                at += 1;
            }
            _ => value.push(*byte),
        }
        at += 1;
    }
    let end = text.iter().position(|b| *b == b'"')?;
    Some((text[..end].to_vec(), &text[end + 1..]))
}

/// `charset'language'percent-encoded` (RFC 8187). Other charsets than these two, and broken ones, say nothing.
fn decoded(value: &[u8]) -> Option<String> {
    let mut pieces = value.splitn(3, |b| *b == b'\'');
    let (charset, _, text) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.split_at_checked(2)?;
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(digits.0[0])? << 4 | digit(digits.0[1])?);
        rest = digits.1;
    }
    if charset.eq_ignore_ascii_case(b"utf-8") {
        Some(String::from_utf8_lossy(&bytes).into_owned())
    } else if charset.eq_ignore_ascii_case(b"iso-8859-1") {
        Some(bytes.into_iter().map(char::from).collect())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(disposition: &[u8]) -> Result<(String, String), &'static str> {
        let head = Head::parse(&[b"Content-Disposition: ", disposition].concat())?;
        Ok((head.name, head.file_name))
    }

    #[test]
    fn names_are_read_as_programs_write_them() {
        let cases: [(&[u8], &str, &str); 18] = [
            (b"form-data; name=\"front\"; filename=\"a.png\"", "front", "a.png"),
            (b"form-data; name=front; filename=a.png; filename*=utf-8''a.png", "front", "a.png"),
            (
                b"form-data; name=front; filename=\"=?utf-8?B?w7wucG5n?=\"; filename*=utf-8''%C3%BC.png",
                "front",
                "\u{fc}.png",
            ),
            (b"form-data; name*=utf-8''front; filename*=utf-8''%c3%bc.png", "front", "\u{fc}.png"),
            (b"form-data; name=\"front\"; name*=UTF-8'en'fron%74", "front", ""),
            (b"form-data; name=\"front\"; filename*=iso-8859-1''%fc.png", "front", "\u{fc}.png"),
            (
                b"form-data; name=\"front\"; filename=\"a.png\"; filename*=utf-7''x",
                "front",
                "a.png",
            ),
            (
                b"form-data; name=\"front\"; filename=\"a.png\"; filename*=utf-8''%f",
                "front",
                "a.png",
            ),
            (b"form-data; name=\"front\"; filename=\"\xfcber.png\"", "front", "\u{fffd}ber.png"),
            (b"form-data; name=\"front\"; filename=\"\x83\x5c\"", "front", "\u{fffd}\\"),
            (b"form-data; name=\"front\"; filename=\"C:\\dir\\a.png\"", "front", "C:\\dir\\a.png"),
            (b"form-data; name=\"front\"; filename=\"a\\\"b;c.png\"", "front", "a\"b;c.png"),
            (b"form-data; name=\"front\"; filename=\"a%22b.png\"", "front", "a%22b.png"),
            (b"form-data;name=\"front\";filename=\"a.png\";", "front", "a.png"),
            (b"Form-Data ; NAME = front ; FileName = \"a b.png\" ; size=12", "front", "a b.png"),
            (b"form-data; name=\"front\"; filename=a b.png", "front", "a b.png"),
            (b"form-data; filename=\"a.png\"; name=\"\"", "", "a.png"),
            (b"form-data; name=\"front\"; filename=\"\"", "front", ""),
        ];
        for (disposition, name, file) in cases {
            let shown = String::from_utf8_lossy(disposition);
            assert_eq!(names(disposition), Ok((name.to_owned(), file.to_owned())), "{shown}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for disposition in [
            "attachment; name=front",
            "form-data",
            "form-data; filename=\"a.png\"",
            "form-data; name=\"front\"; name=\"back\"",
            "form-data; name=\"front\"; name=\"front\"",
            "form-data; name=\"front\"; name*=utf-8''back",
            "form-data; name=\"front\"; filename=\"a\"; filename=\"b\"",
            "form-data; name=\"front\"; filename*=utf-8''a; filename*=utf-8''b",
            "form-data; name=\"front",
            "form-data; name=\"front\"back",
            "form-data; name",
        ] {
            assert!(names(disposition.as_bytes()).is_err(), "{disposition}");
        }
        let twice = b"Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b";
        assert!(Head::parse(twice).is_err());
        assert!(Head::parse(b"").is_err() && Head::parse(b"no colon").is_err());
        assert!(Head::parse(b"Content-Disposition: form-data; name=a\r\nContent-Type: Multipart/mixed; boundary=b").is_err());
        let many = [b"Content-Disposition: form-data; name=a".to_vec(), b"\r\nX: y".repeat(32)].concat();
        assert!(Head::parse(&many).is_err());
    }

    #[test]
    fn a_head_has_its_lines_in_any_order_and_folded() {
        let text = b"content-type:image/png\r\nX-Other: \xff\r\nCONTENT-TRANSFER-ENCODING: Binary\r\nContent-Disposition: form-data;\r\n name=\"front\";\r\n\tfilename=\"a.png\"";
        let head = Head::parse(text).unwrap();
        assert_eq!((head.name.as_str(), head.file_name.as_str()), ("front", "a.png"));
        assert_eq!((head.media_type.as_str(), head.transfer_encoding.as_str()), ("image/png", "binary"));
    }
}
