//! The three shapes of a request body (multipart, JSON, form), written in a fixed order so that equal documents give equal bytes.

use bytes::Bytes;

use super::body::{Body, Segment};
use super::{OutboundDocument, OutboundPart};

/// `multipart/form-data` as RFC 7578 has it: CRLF, quoted names, fields in the order in which they were added.
pub(crate) struct Multipart {
    boundary: String,
    text: Vec<u8>,
    segments: Vec<Segment>,
}

impl Multipart {
    pub(crate) fn new(boundary: String) -> Self {
        Self {
            boundary,
            text: Vec::new(),
            segments: Vec::new(),
        }
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{value}\r\n",
            self.boundary,
            quoted(name)
        );
        self.text.extend_from_slice(head.as_bytes());
        self
    }

    /// The document's n-th part under its only file name.
    pub(crate) fn file(mut self, name: &str, outbound: &OutboundDocument, part: usize) -> Self {
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            self.boundary,
            quoted(name),
            quoted(&outbound.file_name(part)),
            outbound.parts[part].file_type.mime(),
        );
        self.text.extend_from_slice(head.as_bytes());
        self.segments.push(Segment::Bytes(std::mem::take(&mut self.text).into()));
        self.segments.push(Segment::Part(part));
        self.text.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn finish(mut self, outbound: &OutboundDocument) -> Body {
        self.text.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        self.segments.push(Segment::Bytes(self.text.into()));
        Body::new(format!("multipart/form-data; boundary={}", self.boundary), self.segments, outbound)
    }
}

/// As browsers quote a field name.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// JSON in which a text may hold a part of the document. Keys keep the order in which they were given.
#[derive(Clone, Debug)]
pub(crate) enum Json {
    Value(serde_json::Value),
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    /// The part as plain base64.
    Base64(usize),
    /// `data:<type>;base64,…`
    DataUri(usize),
}

impl Json {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Value(serde_json::Value::String(text.into()))
    }

    pub(crate) fn object<const N: usize>(fields: [(&str, Json); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(crate) fn body(&self, outbound: &OutboundDocument) -> Body {
        let mut writer = Writer {
            text: String::new(),
            segments: Vec::new(),
        };
        writer.write(self, &outbound.parts);
        writer.flush();
        Body::new("application/json", writer.segments, outbound)
    }
}

struct Writer {
    text: String,
    segments: Vec<Segment>,
}

impl Writer {
    fn write(&mut self, json: &Json, parts: &[OutboundPart]) {
        match json {
            Json::Value(value) => self.text.push_str(&value.to_string()),
            Json::Object(fields) => {
                self.text.push('{');
                for (n, (name, value)) in fields.iter().enumerate() {
                    if n > 0 {
                        self.text.push(',');
                    }
                    self.text.push_str(&serde_json::Value::String(name.clone()).to_string());
                    self.text.push(':');
                    self.write(value, parts);
                }
                self.text.push('}');
            }
            Json::Array(items) => {
                self.text.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        self.text.push(',');
                    }
                    self.write(item, parts);
                }
                self.text.push(']');
            }
            Json::Base64(part) => self.part(*part, ""),
            Json::DataUri(part) => self.part(*part, &format!("data:{};base64,", parts[*part].file_type.mime())),
        }
    }

    fn part(&mut self, part: usize, before: &str) {
        self.text.push('"');
        self.text.push_str(before);
        self.flush();
        self.segments.push(Segment::PartBase64(part));
        self.text.push('"');
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.segments.push(Segment::Bytes(Bytes::from(std::mem::take(&mut self.text))));
        }
    }
}

/// `application/x-www-form-urlencoded` with brackets left readable, as the vendors' own libraries write them.
pub(crate) fn form(fields: &[(String, String)]) -> Body {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name, b"[]"), encode(value, b"")))
        .collect();
    Body::text("application/x-www-form-urlencoded", pairs.join("&"))
}

/// Percent-encodes for a path segment or a query value: everything but the unreserved characters.
pub(crate) fn percent(text: &str) -> String {
    encode(text, b"")
}

fn encode(text: &str, keep: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::connectors::fake::outbound_of;
    use data_encoding::BASE64;

    async fn whole(body: &Body) -> Vec<u8> {
        let mut bytes = Vec::new();
        body.read(|b| bytes.extend_from_slice(b)).await.unwrap();
        assert_eq!(bytes.len() as u64, body.content_length());
        bytes
    }

    #[tokio::test]
    async fn multipart_is_byte_exact() {
        let outbound = outbound_of("a", &[("front", b"\x89PNG\r\n--x")], 3);
        let body = Multipart::new("B".into())
            .text("pur\"pose\r\n", "identity_document")
            .file("file", &outbound, 0)
            .finish(&outbound);
        let expected = format!(
            "--B\r\nContent-Disposition: form-data; name=\"pur%22pose%0D%0A\"\r\n\r\nidentity_document\r\n--B\r\nContent-Disposition: form-data; \
             name=\"file\"; filename=\"document-{}-front.png\"\r\nContent-Type: image/png\r\n\r\n",
            outbound.document
        );
        let mut expected = expected.into_bytes();
        expected.extend_from_slice(b"\x89PNG\r\n--x\r\n--B--\r\n");
        assert_eq!(body.content_type(), "multipart/form-data; boundary=B");
        assert_eq!(whole(&body).await, expected);
    }

    #[tokio::test]
    async fn data_uris_are_what_one_would_write_at_once() {
        let data: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let outbound = outbound_of("a", &[("front", &data), ("back", b"x")], 997);
        let json = Json::object([
            ("tricky\"\n", Json::text("a\"b")),
            (
                "docs",
                Json::Array(vec![Json::DataUri(0), Json::Base64(1), Json::Value(serde_json::json!(5))]),
            ),
        ]);
        let parsed: serde_json::Value = serde_json::from_slice(&whole(&json.body(&outbound)).await).unwrap();
        let expected =
            serde_json::json!({"tricky\"\n": "a\"b", "docs": [format!("data:image/png;base64,{}", BASE64.encode(&data)), "eA==", 5]});
        assert_eq!(parsed, expected);
    }

    #[tokio::test]
    async fn forms_keep_brackets_and_escape_the_rest() {
        let body = form(&[
            ("verification[document][front]".into(), "file_1".into()),
            ("a&b".into(), "c d=é".into()),
        ]);
        assert_eq!(whole(&body).await, b"verification[document][front]=file_1&a%26b=c%20d%3D%C3%A9");
        assert_eq!(percent("acct_1,person_2/../?#%"), "acct_1%2Cperson_2%2F..%2F%3F%23%25");
    }
}
