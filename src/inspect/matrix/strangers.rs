//! Files that are none of the four, whatever they pretend.

use super::super::Refusal;
use super::super::samples::{Jpeg, heic_box};
use super::{No, Row, followed_by, real, zip};

pub(super) fn rows() -> Vec<Row> {
    vec![
        ("empty", vec![], No(Refusal::Empty)),
        ("one byte", vec![0xFF], No(Refusal::UnknownType)),
        ("only a JPEG's first three bytes", vec![0xFF, 0xD8, 0xFF], No(Refusal::Truncated)),
        ("only a PNG's signature", b"\x89PNG\r\n\x1a\n".to_vec(), No(Refusal::Truncated)),
        ("zeros", vec![0; 100], No(Refusal::UnknownType)),
        ("real GIF", real!("foreign.gif"), No(Refusal::UnknownType)),
        ("GIFAR", followed_by(real!("foreign.gif"), &zip()), No(Refusal::UnknownType)),
        ("real TIFF", real!("foreign.tiff"), No(Refusal::UnknownType)),
        ("real WebP", real!("foreign.webp"), No(Refusal::OtherFormat { found: "WebP" })),
        ("real AVIF", real!("foreign.avif"), No(Refusal::OtherFormat { found: "AVIF" })),
        ("real BMP", real!("foreign.bmp"), No(Refusal::UnknownType)),
        (
            "SVG",
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(),
            No(Refusal::UnknownType),
        ),
        (
            "HTML",
            b"<!doctype html><script>alert(1)</script>".to_vec(),
            No(Refusal::UnknownType),
        ),
        ("ZIP or DOCX", zip(), No(Refusal::UnknownType)),
        ("MP4", heic_box(b"ftyp", b"isom\0\0\0\0isommp42isommp42"), No(Refusal::UnknownType)),
        (
            "program",
            b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xFF\xFF\0\0".repeat(4),
            No(Refusal::UnknownType),
        ),
        (
            "JPEG one byte late",
            [b"\n", &Jpeg::default().build()[..]].concat(),
            No(Refusal::UnknownType),
        ),
        (
            "PDF head on a JPEG",
            [b"%PDF-1.4\n", &Jpeg::default().build()[..]].concat(),
            No(Refusal::Truncated),
        ),
    ]
}
