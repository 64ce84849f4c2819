//! JPEGs, real and forged.

use super::super::Refusal;
use super::super::samples::{Jpeg, jpeg_segment};
use super::{Cut, J, No, Repaired, Stripped, Whole};
use super::{Row, exif, followed_by, jpeg_with, real, without_end, zip};

pub(super) fn rows() -> Vec<Row> {
    let sized = |width, height| Jpeg {
        width,
        height,
        ..Jpeg::default()
    };
    let mut two_frames = Jpeg::default();
    two_frames.metadata = two_frames.frame_segment();
    let html = b"Exif\0\0<html><script>alert(1)</script></html>";
    vec![
        ("smallest whole", Jpeg::default().build(), Whole(J)),
        ("real progressive with GPS", real!("progressive.jpg"), Stripped(J)),
        ("real with GPS and thumbnail", real!("gps-thumbnail.jpg"), Stripped(J)),
        ("real with place in XMP", real!("xmp-gps.jpg"), Stripped(J)),
        ("real with restarts and comment", real!("restarts-gray.jpg"), Whole(J)),
        ("real CMYK with Adobe header", real!("cmyk.jpg"), Whole(J)),
        (
            "real with second picture behind the end",
            real!("two-pictures.mpo.jpg"),
            Stripped(J),
        ),
        ("EXIF without GPS", jpeg_with(exif()), Whole(J)),
        ("HTML in EXIF", jpeg_with(jpeg_segment(0xE1, html)), Stripped(J)),
        (
            "HTML in comment: inert, nothing is served back",
            jpeg_with(jpeg_segment(0xFE, b"<script>")),
            Whole(J),
        ),
        (
            "PDF head in comment",
            jpeg_with(jpeg_segment(0xFE, b"%PDF-1.4\n")),
            No(Refusal::Disguised("pdf")),
        ),
        (
            "ZIP in comment",
            jpeg_with(jpeg_segment(0xFE, &zip())),
            No(Refusal::Disguised("zip")),
        ),
        (
            "JPEG/ZIP: archive behind the end",
            followed_by(Jpeg::default().build(), &zip()),
            Cut(J, zip().len() as u64),
        ),
        (
            "JPEG/PDF: document behind the end",
            followed_by(
                Jpeg {
                    metadata: jpeg_segment(0xFE, &[b'.'; 2000]),
                    ..Jpeg::default()
                }
                .build(),
                b"%PDF-1.4",
            ),
            Cut(J, 8),
        ),
        ("zeros behind the end", followed_by(Jpeg::default().build(), &[0; 9]), Cut(J, 9)),
        ("cut in the scan", without_end(Jpeg::default().build(), 4), No(Refusal::Truncated)),
        (
            "cut before the end mark",
            without_end(Jpeg::default().build(), 2),
            No(Refusal::Truncated),
        ),
        (
            "real, half of it",
            without_end(real!("progressive.jpg"), 600),
            No(Refusal::Truncated),
        ),
        (
            "no scan",
            Jpeg {
                scans: 0,
                ..Jpeg::default()
            }
            .build(),
            No(Refusal::Damaged("jpeg without picture data")),
        ),
        (
            "empty scan",
            Jpeg {
                scan: vec![],
                ..Jpeg::default()
            }
            .build(),
            No(Refusal::Damaged("jpeg without picture data")),
        ),
        ("two frames", two_frames.build(), No(Refusal::Damaged("jpeg with two frames"))),
        (
            "lossless frame",
            Jpeg {
                frame: 0xC3,
                ..Jpeg::default()
            }
            .build(),
            No(Refusal::Damaged("jpeg frame kind")),
        ),
        (
            "101 scans",
            Jpeg {
                scans: 101,
                ..Jpeg::default()
            }
            .build(),
            No(Refusal::Damaged("jpeg with too many scans")),
        ),
        ("start inside", jpeg_with(vec![0xFF, 0xD8]), No(Refusal::Damaged("jpeg marker"))),
        ("text between segments", jpeg_with(b"text".to_vec()), Repaired(J, 4)),
        ("marker of nothing", jpeg_with(vec![0xFF, 0, 0xFF, 0]), Repaired(J, 4)),
        ("restart before the scan", jpeg_with(vec![0xFF, 0xD3, 0xFF, 1]), Repaired(J, 4)),
        ("comment of length 1", jpeg_with(vec![0xFF, 0xFE, 0, 1]), Repaired(J, 4)),
        (
            "table of length 1",
            jpeg_with(vec![0xFF, 0xDB, 0, 1]),
            No(Refusal::Damaged("jpeg segment length")),
        ),
        (
            "comment whose length is too short by two",
            jpeg_with(b"\xFF\xFE\0\x04hi, ".to_vec()),
            Repaired(J, 2),
        ),
        ("unknown marker", jpeg_with(vec![0xFF, 0x42]), No(Refusal::Damaged("jpeg marker"))),
        ("PDF head in what decoders skip", jpeg_with(b"%PDF-1.4".to_vec()), Repaired(J, 8)),
        (
            "unknown marker in the scan",
            Jpeg {
                scan: b"\x12\xFF\x85\x34".to_vec(),
                ..Jpeg::default()
            }
            .build(),
            No(Refusal::Truncated),
        ),
        ("no height", sized(640, 0).build(), No(Refusal::Damaged("jpeg frame"))),
        (
            "too wide",
            sized(12_001, 10).build(),
            No(Refusal::TooManyPixels { width: 12_001, height: 10 }),
        ),
        (
            "bomb",
            sized(12_000, 12_000).build(),
            No(Refusal::TooManyPixels {
                width: 12_000,
                height: 12_000,
            }),
        ),
    ]
}
