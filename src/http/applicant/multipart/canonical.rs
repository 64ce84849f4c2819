//! A form in the one spelling that actix-multipart reads: a boundary of our own, no blanks behind it, and for each part one name, one file name and one type.
//!
//! actix-multipart stays the parser of uploads; this brings it what programs write in other ways, and never a form that could be read in two. The boundary is drawn for
//! each form, so that no file can hold it.

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt, stream};

use super::Multipart;
use super::head::Head;
use crate::crypto::random::{self, RandomUnavailable};

/// What comes next of the form.
#[derive(Clone, Copy)]
enum Next {
    Head,
    Piece,
    Nothing,
}

/// The form with the header that names its boundary.
pub(crate) fn canonical<S>(form: Multipart<S>) -> Result<actix_multipart::Multipart, RandomUnavailable>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin + 'static,
{
    let boundary = format!("nightdrop-{}", data_encoding::HEXLOWER.encode(&random::array::<16>()?));
    let mut headers = HeaderMap::new();
    if let Ok(kind) = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}")) {
        headers.insert(CONTENT_TYPE, kind);
    }
    // Fused: the parser asks once more behind the end.
    let pieces = stream::unfold((form, Next::Head), move |(mut form, next)| {
        let boundary = boundary.clone();
        async move {
            let (piece, next) = match next {
                Next::Nothing => return None,
                Next::Head => match form.next().await {
                    Ok(Some(head)) => (Ok(written(&boundary, &head)), Next::Piece),
                    Ok(None) => (Ok(Bytes::from(format!("--{boundary}--\r\n"))), Next::Nothing),
                    Err(error) => (Err(error), Next::Nothing),
                },
                Next::Piece => match form.piece().await {
                    Ok(Some(piece)) => (Ok(piece), Next::Piece),
                    Ok(None) => (Ok(Bytes::from_static(b"\r\n")), Next::Head),
                    Err(error) => (Err(error), Next::Nothing),
                },
            };
            let piece = piece.map_err(|error| {
                tracing::debug!(%error, "an unreadable form");
                PayloadError::Incomplete(None)
            });
            Some((piece, (form, next)))
        }
    });
    Ok(actix_multipart::Multipart::new(&headers, pieces.fuse().boxed_local()))
}

fn written(boundary: &str, head: &Head) -> Bytes {
    let mut text = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", escaped(&head.name));
    if !head.file_name.is_empty() {
        text.push_str(&format!("; filename=\"{}\"", escaped(&head.file_name)));
    }
    text.push_str("\r\n");
    for (name, value) in [
        ("Content-Type", &head.media_type),
        ("Content-Transfer-Encoding", &head.transfer_encoding),
    ] {
        if !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("\r\n");
    Bytes::from(text)
}

/// Between quotation marks.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(body: &'static [u8], piece: usize) -> Vec<(String, String, Vec<u8>)> {
        let pieces: Vec<Result<Bytes, PayloadError>> = body.chunks(piece).map(|piece| Ok(Bytes::from_static(piece))).collect();
        let mut form = canonical(Multipart::new("b", stream::iter(pieces))).unwrap();
        let mut read = Vec::new();
        futures_util::FutureExt::now_or_never(async {
            while let Some(field) = form.next().await {
                let mut field = field.unwrap();
                let mut bytes = Vec::new();
                while let Some(piece) = field.next().await {
                    bytes.extend_from_slice(&piece.unwrap());
                }
                let disposition = field.content_disposition().unwrap();
                let name = disposition.get_name().unwrap().to_owned();
                read.push((name, disposition.get_filename().unwrap_or_default().to_owned(), bytes));
            }
        })
        .unwrap();
        read
    }

    #[test]
    fn every_spelling_is_read_as_the_usual_one() {
        let forms: [&[u8]; 4] = [
            b"--b\r\nContent-Disposition: form-data; name=\"front\"; filename=\"a \\\"b\\\\.png\"\r\n\r\none\r\n--b\r\nContent-Disposition: form-data; name=back\r\n\r\n\r\n--b--\r\n",
            b"--b  \r\nContent-Disposition: form-data; name*=utf-8''front; filename*=utf-8''a%20%22b%5C.png\r\n\r\none\r\n--b\t\r\nContent-Disposition: form-data; name=\"back\"\r\n\r\n\r\n--b--",
            b"--b\nContent-Disposition: form-data; name=front; filename=x; filename*=utf-8''a%20%22b%5C.png\n\none\n--b\nContent-Disposition: form-data; name=\"back\"\n\n\n--b--\n",
            b"before\r\n--b\r\nX-Other: y\r\nContent-Disposition: form-data;\r\n name=\"front\";\r\n filename=\"a \\\"b\\\\.png\"\r\n\r\none\r\n--b\r\nContent-Disposition: form-data; name=\"back\"\r\n\r\n\r\n--b--\r\n",
        ];
        for form in forms {
            for piece in [1, 7, 1000] {
                let expected = vec![
                    ("front".to_owned(), "a \"b\\.png".to_owned(), b"one".to_vec()),
                    ("back".to_owned(), String::new(), Vec::new()),
                ];
                assert_eq!(
                    read(form, piece),
                    expected,
                    "{} in pieces of {piece}",
                    String::from_utf8_lossy(form)
                );
            }
        }
    }
}
