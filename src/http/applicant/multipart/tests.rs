//! Forms as programs write them, cut anywhere, against a reading of the whole form at once.
#![allow(clippy::unwrap_used)]

use super::*;
use futures_util::stream;
use proptest::prelude::*;

type Parts = Vec<(String, Vec<u8>)>;

/// Reads a form that arrives in pieces of this size.
fn read(form: &[u8], size: usize) -> Result<Parts, FormError> {
    let pieces: Vec<Result<Bytes, PayloadError>> = form.chunks(size.max(1)).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
    let mut form = Multipart::new("x-y", stream::iter(pieces));
    let reading = async {
        let mut parts = Vec::new();
        while let Some(head) = form.next().await? {
            let mut bytes = Vec::new();
            while let Some(piece) = form.piece().await? {
                assert!(!piece.is_empty());
                bytes.extend_from_slice(&piece);
            }
            parts.push((head.name, bytes));
        }
        Ok(parts)
    };
    let read = futures_util::FutureExt::now_or_never(reading).unwrap();
    let again = futures_util::FutureExt::now_or_never(form.next()).unwrap();
    match &read {
        Ok(_) => assert_eq!(again, Ok(None)),
        Err(error) => assert_eq!(again, Err(*error), "an error stays one"),
    }
    read
}

/// The same however it is cut.
fn read_any(form: &[u8]) -> Result<Parts, FormError> {
    let whole = read(form, usize::MAX);
    for size in [1, 2, 3, 5, 7, 16] {
        assert_eq!(read(form, size), whole, "in pieces of {size}: {}", String::from_utf8_lossy(form));
    }
    whole
}

const HEAD: &str = "Content-Disposition: form-data; name=\"a\"";

#[test]
fn boundaries_are_found_as_clients_write_them() {
    let one = |bytes: &str| Ok(vec![("a".to_owned(), bytes.as_bytes().to_vec())]);
    for (form, wanted) in [
        (format!("--x-y\r\n{HEAD}\r\n\r\nbytes\r\n--x-y--\r\n"), one("bytes")),
        (format!("--x-y\r\n{HEAD}\r\n\r\nbytes\r\n--x-y--"), one("bytes")),
        (format!("\r\n--x-y\r\n{HEAD}\r\n\r\nbytes\r\n--x-y--  \r\nepilogue"), one("bytes")),
        (format!("preamble\r\n--x-y \t\r\n{HEAD}\r\n\r\nbytes\r\n--x-y--\r\n"), one("bytes")),
        (format!("--x-yz\r\n--x-y\r\n{HEAD}\r\n\r\nbytes\r\n--x-y--\r\n"), one("bytes")),
        (format!("--x-y\r\n{HEAD}\r\n\r\n\r\n--x-y--\r\n"), one("")),
        (format!("--x-y\r\n{HEAD}\r\n\r\n--x-y--\r\n"), one("")),
        (format!("--x-y\r\n{HEAD}\r\n\r\n\r\n\r\n--x-y--\r\n"), one("\r\n")),
        // Lines that only begin like a boundary, or end in another way than this form's.
        (
            format!("--x-y\r\n{HEAD}\r\n\r\nb\r\n--x-yz\r\n--x-\r\n\n--x-y\n--x-y--x\r\n--x-y--\r\n"),
            one("b\r\n--x-yz\r\n--x-\r\n\n--x-y\n--x-y--x"),
        ),
        (
            format!("--x-y\r\n{HEAD}\r\nContent-Length: 1\r\n\r\nbytes\r\n--x-y--\r\n"),
            one("bytes"),
        ),
        // One with bare line feeds throughout; the carriage return belongs to the file.
        (format!("--x-y\n{HEAD}\n\nbytes\r\n--x-y--\n"), one("bytes\r")),
        (format!("--x-y\r\n{HEAD}\r\n\r\nbytes"), Err(FormError::Incomplete)),
        (format!("--x-y\r\n{HEAD}\r\n\r\nbytes\r\n--x-y"), Err(FormError::Incomplete)),
        (format!("--x-y\r\n{HEAD}\r\n"), Err(FormError::Incomplete)),
        (String::new(), Err(FormError::Incomplete)),
        ("--x-y--".to_owned(), Ok(vec![])),
    ] {
        assert_eq!(read_any(form.as_bytes()), wanted, "{form}");
    }
    let two = format!("--x-y  \r\n{HEAD}\r\n\r\n1\r\n--x-y\t\r\n{HEAD}\r\n\r\n2\r\n--x-y--");
    assert_eq!(read_any(two.as_bytes()).unwrap().len(), 2);
    let long = format!("--x-y\r\n{HEAD}\r\nX: {}\r\n\r\n", "y".repeat(HEAD_MAX));
    assert!(matches!(read_any(long.as_bytes()), Err(FormError::Head(_))));
}

#[test]
fn a_part_that_is_left_is_read_over() {
    let form = format!("--x-y\r\n{HEAD}\r\n\r\nmany bytes\r\n--x-y\r\n{HEAD}\r\n\r\n2\r\n--x-y--");
    let mut form = Multipart::new("x-y", stream::iter([Ok(Bytes::from(form))]));
    let read = async {
        form.next().await.unwrap().unwrap();
        form.next().await.unwrap().unwrap();
        form.piece().await.unwrap()
    };
    assert_eq!(futures_util::FutureExt::now_or_never(read).unwrap().unwrap(), "2");
}

#[test]
fn a_boundary_is_read_out_of_its_type() {
    let of = |rest: &str| boundary(&format!("multipart/form-data;{rest}")).unwrap();
    for (rest, wanted) in [
        ("boundary=abc", "abc"),
        ("boundary=\"a b\"", "a b"),
        (" charset=utf-8; boundary=abc", "abc"),
        ("BOUNDARY = \"abc\" ;", "abc"),
        ("boundary=----=_Part_1_123.456", "----=_Part_1_123.456"),
        ("boundary=a/b:c?d", "a/b:c?d"),
        ("boundary=\"a\\\"b\"", "a\"b"),
    ] {
        assert_eq!(of(rest).as_deref(), Some(wanted), "{rest}");
    }
    for rest in [
        "",
        "boundary=",
        "boundary=\"\"",
        "boundary=\"a",
        "boundary=a; boundary=b",
        "boundary=\"a \"",
    ] {
        assert_eq!(of(rest), None, "{rest}");
    }
    assert_eq!(of(&format!("boundary={}", "b".repeat(71))), None);
    assert!(boundary("multipart/mixed; boundary=a").is_none() && boundary("").is_none());
}

proptest! {
    /// Whatever the files hold, they come out as they went in, however the form is cut.
    #[test]
    fn files_come_out_as_they_went_in(
        files in proptest::collection::vec(proptest::collection::vec(
            proptest::sample::select(vec![&b"\r"[..], b"\n", b"-", b"--x-y", b"\r\n--x-", b"\r\n--x-yz", b"a", b" ", b"\0\xff"]), 0..12), 0..3),
        feeds: bool,
        size in 1..40_usize,
    ) {
        let line_end = if feeds { "\n" } else { "\r\n" };
        let files: Vec<Vec<u8>> = files.into_iter().map(|pieces| pieces.concat()).collect();
        // A file that holds its own boundary is none that a client sends.
        let delimiter = [line_end.as_bytes(), b"--x-y"].concat();
        let holds = |file: &Vec<u8>| {
            let with = [line_end.as_bytes(), file, line_end.as_bytes()].concat();
            memmem::find_iter(&with, &delimiter).any(|at| !with[at + delimiter.len()..].starts_with(b"z"))
        };
        prop_assume!(!files.iter().any(holds));
        let mut form = Vec::new();
        for file in &files {
            form.extend_from_slice(format!("--x-y{line_end}{HEAD}{line_end}{line_end}").as_bytes());
            form.extend_from_slice(file);
            form.extend_from_slice(line_end.as_bytes());
        }
        form.extend_from_slice(b"--x-y--");
        let read: Vec<Vec<u8>> = read(&form, size).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
        prop_assert_eq!(read, files);
    }

    #[test]
    fn nothing_panics_and_no_cut_changes_a_reading(pieces in proptest::collection::vec(
        proptest::sample::select(vec![&b"--x-y"[..], b"--", b"\r\n", b"\n", b" ", b"Content-Disposition: form-data; name=a", b":", b"bytes", b"\r", b"\""]), 0..24),
        size in 1..12_usize,
    ) {
        let form = pieces.concat();
        prop_assert_eq!(read(&form, size), read(&form, usize::MAX));
    }
}
