//! Answers in fewer bytes: gzip, for files of ours that hold no secret and for the applicant's pages, where the browser takes it.
//!
//! Never a body that comes in, and no page of the console: `docs/decisions/compression.md` says why.

use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, VARY};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

/// Smaller answers gain nothing.
const LEAST: usize = 512;
const LEVEL: u8 = 10;

/// As RFC 1952 writes it, without a name and a time: the same bytes give the same bytes.
pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 0xff];
    packed.extend(miniz_oxide::deflate::compress_to_vec(content, LEVEL));
    packed.extend(crc32fast::hash(content).to_le_bytes());
    packed.extend((content.len() as u32).to_le_bytes());
    packed
}

/// Whether whoever asks takes gzip (RFC 9110, section 12.5.3).
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let said = headers.get_all(ACCEPT_ENCODING).filter_map(|line| line.to_str().ok());
    let mut any = false;
    for item in said.flat_map(|line| line.split(',')) {
        let mut pieces = item.split(';').map(str::trim);
        let coding = pieces.next().unwrap_or_default();
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        let wanted = weight.is_ok_and(|weight| weight > 0.0);
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        any |= coding == "*" && wanted;
    }
    any
}

/// A page in the shorter form.
pub(crate) fn answer(request: &HttpRequest, mut response: HttpResponseBuilder, page: String) -> HttpResponse {
    response.insert_header((VARY, "Accept-Encoding"));
    if page.len() < LEAST || !takes_gzip(request.headers()) {
        return response.body(page);
    }
    response.insert_header((CONTENT_ENCODING, "gzip")).body(gzip(page.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::http::header::HeaderValue;

    #[test]
    fn gzip_is_taken_where_it_is_wanted() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        for yes in [
            "gzip",
            "GZIP",
            "gzip, deflate, br, zstd",
            "br;q=1.0, gzip;q=0.1",
            "*",
            "x-gzip",
            "identity, *;q=0.5",
        ] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "identity", "br", "gzip;q=0", "gzip;q=0.0, *", "gzip;q=x", "*;q=0", "gzipped"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn what_is_packed_has_the_frame_of_gzip() {
        let packed = gzip(&b"abc".repeat(1_000));
        assert!(packed.starts_with(&[0x1f, 0x8b, 8, 0]) && packed.len() < 60);
        let (frame, sums) = packed.split_at(packed.len() - 8);
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(&frame[10..]).unwrap(), b"abc".repeat(1_000));
        assert_eq!(sums[..4], crc32fast::hash(&b"abc".repeat(1_000)).to_le_bytes());
        assert_eq!(sums[4..], 3_000_u32.to_le_bytes());
    }
}
