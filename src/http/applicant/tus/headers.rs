//! The headers of the protocol: what clients send is read strictly and never trusted further than its words.

use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use data_encoding::BASE64;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// In the order of `Tus-Checksum-Algorithm`.
pub(crate) const ALGORITHMS: &str = "sha256,sha1";
/// Keys in one `Upload-Metadata`.
const KEYS_MAX: usize = 32;

/// The method, or what stands in for it where a network lets only GET and POST pass.
pub(crate) fn method(request: &HttpRequest) -> Method {
    let instead = request.headers().get("x-http-method-override").and_then(|v| v.to_str().ok());
    match (request.method(), instead) {
        (&Method::POST, Some(instead)) => Method::from_bytes(instead.to_ascii_uppercase().as_bytes()).unwrap_or(Method::TRACE),
        (method, _) => method.clone(),
    }
}

/// Decimal digits and nothing else.
pub fn number(text: &str) -> Option<u64> {
    let digits = (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// As RFC 9110, section 5.6.7 wants it.
pub(crate) fn date(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC)
        .format(format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        ))
        .unwrap_or_default()
}

/// Sets a header of fixed name on an answer that is made already.
pub(crate) fn set(response: &mut HttpResponse, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// What a client says of the file: `filename` or `name`, `filetype` or `type`. Everything else is read over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub file_name: String,
    pub file_type: String,
    /// Bytes of each photo, where the upload is those of a document's pages one after the other: `photos`, numbers with commas between.
    pub photos: Vec<u64>,
}

impl Metadata {
    /// `key base64, key, …`: keys are not empty and come once. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pairs: Vec<(&str, Vec<u8>)> = Vec::new();
        for pair in text.split(',') {
            let (key, value) = match pair.trim().split_once(' ') {
                Some((key, value)) => (key, BASE64.decode(value.trim().as_bytes()).ok()?),
                None => (pair.trim(), Vec::new()),
            };
            let fits = !key.is_empty() && key.is_ascii() && pairs.len() < KEYS_MAX && pairs.iter().all(|(known, _)| *known != key);
            if !fits {
                return None;
            }
            pairs.push((key, value));
        }
        let of = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| pairs.iter().find(|(key, _)| key == name));
            found
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                .unwrap_or_default()
        };
        let photos = of(["photos"; 2]);
        let photos = (!photos.is_empty()).then(|| photos.split(',').map(number).collect());
        Some(Self {
            file_name: of(["filename", "name"]),
            file_type: of(["filetype", "type"]),
            photos: photos.unwrap_or(Some(Vec::new()))?,
        })
    }
}

/// A checksum that the bytes of one request must have.
pub struct Proof {
    expected: Vec<u8>,
    running: Running,
}

enum Running {
    Sha256(Sha256),
    Sha1(Sha1),
}

impl Proof {
    /// `sha1 base64` or `sha256 base64`.
    #[allow(clippy::result_unit_err)] // There is one way to fail, and the caller has the words.
    pub fn parse(text: &str) -> Result<Self, ()> {
        let (algorithm, expected) = text.trim().split_once(' ').ok_or(())?;
        let expected = BASE64.decode(expected.trim().as_bytes()).map_err(drop)?;
        let (running, length) = match algorithm {
            "sha256" => (Running::Sha256(Sha256::new()), 32),
            "sha1" => (Running::Sha1(Sha1::new()), 20),
            _ => return Err(()),
        };
        if expected.len() == length {
            Ok(Self { expected, running })
        } else {
            Err(())
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.running {
            Running::Sha256(hash) => hash.update(bytes),
            Running::Sha1(hash) => hash.update(bytes),
        }
    }

    pub fn fits(self) -> bool {
        match self.running {
            Running::Sha256(hash) => hash.finalize().as_slice() == self.expected,
            Running::Sha1(hash) => hash.finalize().as_slice() == self.expected,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn metadata_is_read_as_clients_write_it() {
        let read = |text| Metadata::parse(text).map(|m| (m.file_name, m.file_type));
        let both = Some(("a.png".to_owned(), "image/png".to_owned()));
        assert_eq!(read("filename YS5wbmc=,filetype aW1hZ2UvcG5n"), both);
        assert_eq!(
            read("relativePath bnVsbA==, name YS5wbmc=, type aW1hZ2UvcG5n, is_confidential"),
            both
        );
        assert_eq!(read("filename"), Some((String::new(), String::new())));
        assert_eq!(read("filename "), Some((String::new(), String::new())));
        assert_eq!(
            read("filename /////w=="),
            Some(("\u{fffd}".repeat(4), String::new())),
            "bytes that are no text harm nobody"
        );
        for broken in [
            "",
            ",",
            "filename YS5wbmc=,",
            "filename YS5wbmc=,filename YS5wbmc=",
            "filename not-base64",
            "filename YS5wbmc",
            "ü YQ==",
        ] {
            assert_eq!(read(broken), None, "{broken}");
        }
        let many = (0..33).map(|n| format!("k{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(read(&many), None);
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("20971520"), Some(20_971_520));
        for broken in ["", "-1", "+1", " 1", "1 ", "0x1", "1e3", "1.0", "٣", "99999999999999999999"] {
            assert_eq!(number(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_proof_fits_its_bytes_only() {
        let proof = |text: &str, bytes: &[u8]| {
            let mut proof = Proof::parse(text).unwrap();
            proof.update(bytes);
            proof.fits()
        };
        assert!(proof("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", b"hello world"));
        assert!(proof("sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=", b"hello world"));
        assert!(!proof("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", b"hello worlD"));
        for broken in [
            "",
            "sha1",
            "md5 XrY7u+Ae7tCTyyK7j1rNww==",
            "sha1 AAAA",
            "sha256 !",
            "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        ] {
            assert!(Proof::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(date(datetime!(1994-11-06 08:49:37 UTC)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
