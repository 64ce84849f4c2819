//! Check T096: a table of real and forged files, each with exactly one outcome. The real ones were written by ordinary encoders and
//! lie in `tests/fixtures/inspect`; the forged ones are put together here. Check T098 (Motion Photo) stands below the table.

#![allow(clippy::unwrap_used)]

use super::samples::{
    ExifSample, Heic, Jpeg, PLACE, Pdf, Png, heic_box, inspect, jpeg_segment, png_chunk, policy,
};
use super::{Declared, FileType, FileTypes, Limits, Policy, Refusal, Strip};

macro_rules! real {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/inspect/", $name)).to_vec()
    };
}

/// The ways a file may pass, and the one in which it does not.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Kept byte for byte.
    Whole(FileType),
    /// Kept but for trailing bytes: how many.
    Cut(FileType, u64),
    /// Kept without some metadata.
    Stripped(FileType),
    No(Refusal),
}
use FileType::{Heic as H, Jpeg as J, Pdf as D, Png as P};
use Outcome::{Cut, No, Stripped, Whole};

fn outcome(file: &[u8], policy: Policy) -> Outcome {
    match inspect(file, policy) {
        Err(refusal) => No(refusal),
        Ok((report, kept)) => {
            assert_eq!(
                (report.received, report.kept),
                (file.len() as u64, kept.len() as u64)
            );
            match (report.stripped, report.dropped_trailing) {
                (true, _) => Stripped(report.file_type),
                (false, 0) => {
                    assert_eq!(kept, file);
                    Whole(report.file_type)
                }
                (false, cut) => {
                    assert_eq!(kept, file[..file.len() - cut as usize]);
                    Cut(report.file_type, cut)
                }
            }
        }
    }
}

fn zip() -> Vec<u8> {
    let entry = [&b"PK\x01\x02"[..], &[0; 42]].concat();
    [b"PK\x03\x04", &[0; 26][..], &entry, b"PK\x05\x06", &[0; 18]].concat()
}

fn exif() -> Vec<u8> {
    ExifSample {
        big: false,
        gps: false,
        orientation: 1,
    }
    .segment()
}

fn gps() -> Vec<u8> {
    ExifSample {
        big: true,
        gps: true,
        orientation: 6,
    }
    .segment()
}

fn jpeg_with(metadata: Vec<u8>) -> Vec<u8> {
    Jpeg {
        metadata,
        ..Jpeg::default()
    }
    .build()
}

fn png_with(metadata: Vec<u8>) -> Vec<u8> {
    Png {
        metadata,
        ..Png::default()
    }
    .build()
}

fn pdf_with(body: &str) -> Vec<u8> {
    Pdf {
        body: body.into(),
        ..Pdf::default()
    }
    .build()
}

fn without_end(mut file: Vec<u8>, bytes: usize) -> Vec<u8> {
    file.truncate(file.len() - bytes);
    file
}

fn flip(mut file: Vec<u8>, at: usize) -> Vec<u8> {
    file[at] ^= 1;
    file
}

fn followed_by(mut file: Vec<u8>, more: &[u8]) -> Vec<u8> {
    file.extend(more);
    file
}

fn jpegs() -> Vec<(&'static str, Vec<u8>, Outcome)> {
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
        (
            "real progressive with GPS",
            real!("progressive.jpg"),
            Stripped(J),
        ),
        (
            "real with GPS and thumbnail",
            real!("gps-thumbnail.jpg"),
            Stripped(J),
        ),
        ("real with place in XMP", real!("xmp-gps.jpg"), Stripped(J)),
        (
            "real with restarts and comment",
            real!("restarts-gray.jpg"),
            Whole(J),
        ),
        ("real CMYK with Adobe header", real!("cmyk.jpg"), Whole(J)),
        (
            "real with second picture behind the end",
            real!("two-pictures.mpo.jpg"),
            Stripped(J),
        ),
        ("EXIF without GPS", jpeg_with(exif()), Whole(J)),
        (
            "HTML in EXIF",
            jpeg_with(jpeg_segment(0xE1, html)),
            Stripped(J),
        ),
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
        (
            "zeros behind the end",
            followed_by(Jpeg::default().build(), &[0; 9]),
            Cut(J, 9),
        ),
        (
            "cut in the scan",
            without_end(Jpeg::default().build(), 4),
            No(Refusal::Truncated),
        ),
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
        (
            "two frames",
            two_frames.build(),
            No(Refusal::Damaged("jpeg with two frames")),
        ),
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
        (
            "start inside",
            jpeg_with(vec![0xFF, 0xD8]),
            No(Refusal::Damaged("jpeg marker")),
        ),
        (
            "text between segments",
            jpeg_with(b"text".to_vec()),
            No(Refusal::Damaged("jpeg marker")),
        ),
        (
            "segment of length 1",
            jpeg_with(vec![0xFF, 0xFE, 0, 1]),
            No(Refusal::Damaged("jpeg segment length")),
        ),
        (
            "no height",
            sized(640, 0).build(),
            No(Refusal::Damaged("jpeg frame")),
        ),
        (
            "too wide",
            sized(12_001, 10).build(),
            No(Refusal::TooManyPixels {
                width: 12_001,
                height: 10,
            }),
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

fn pngs() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let whole = || Png::default().build();
    let order = No(Refusal::Damaged("png chunk order"));
    let headless = [
        b"\x89PNG\r\n\x1a\n",
        &png_chunk(b"IDAT", b"\x78\x01\x63")[..],
        &png_chunk(b"IEND", b""),
    ]
    .concat();
    let zxif = png_chunk(
        b"eXIf",
        &ExifSample {
            big: true,
            gps: true,
            orientation: 1,
        }
        .tiff(),
    );
    vec![
        ("smallest whole", whole(), Whole(P)),
        (
            "real with GPS, zipped text and XMP",
            real!("gps.png"),
            Stripped(P),
        ),
        ("real with palette", real!("palette.png"), Whole(P)),
        (
            "real animated",
            real!("animated.png"),
            No(Refusal::Animated),
        ),
        ("GPS in eXIf", png_with(zxif), Stripped(P)),
        (
            "harmless text",
            png_with(png_chunk(b"tEXt", b"Software\0drawing program")),
            Whole(P),
        ),
        (
            "place in text",
            png_with(png_chunk(b"tEXt", b"Comment\0GPS 48 11")),
            Stripped(P),
        ),
        (
            "raw profile",
            png_with(png_chunk(b"tEXt", b"Raw profile type exif\0\n")),
            Stripped(P),
        ),
        (
            "PNG/ZIP: archive behind the end",
            followed_by(whole(), &zip()),
            Cut(P, zip().len() as u64),
        ),
        (
            "PDF head in text",
            png_with(png_chunk(b"tEXt", b"a\0%PDF-1.4")),
            No(Refusal::Disguised("pdf")),
        ),
        (
            "ZIP in private chunk",
            png_with(png_chunk(b"prVt", &zip())),
            No(Refusal::Disguised("zip")),
        ),
        (
            "flipped bit in pixels",
            flip(whole(), 33 + 8 + 2),
            No(Refusal::Damaged("png checksum")),
        ),
        (
            "flipped bit in header",
            flip(whole(), 19),
            No(Refusal::Damaged("png checksum")),
        ),
        (
            "cut before the end chunk",
            without_end(whole(), 12),
            No(Refusal::Truncated),
        ),
        (
            "cut in the last checksum",
            without_end(whole(), 1),
            No(Refusal::Truncated),
        ),
        (
            "no header",
            headless,
            No(Refusal::Damaged("png without header")),
        ),
        ("two headers", png_with(Png::default().header()), order),
        (
            "no palette",
            Png {
                colour: 3,
                ..Png::default()
            }
            .build(),
            No(Refusal::Damaged("png chunk order")),
        ),
        (
            "pixels in two rows",
            png_with([png_chunk(b"IDAT", b"\x78"), png_chunk(b"tIME", &[0; 7])].concat()),
            No(Refusal::Damaged("png chunk order")),
        ),
        (
            "no pixels",
            Png {
                pixels: vec![],
                ..Png::default()
            }
            .build(),
            No(Refusal::Damaged("png chunk order")),
        ),
        (
            "pixels not compressed",
            Png {
                pixels: vec![0; 12],
                ..Png::default()
            }
            .build(),
            No(Refusal::Damaged("png pixel data")),
        ),
        (
            "unknown critical chunk",
            png_with(png_chunk(b"CgBI", b"1234")),
            No(Refusal::Damaged("png chunk kind")),
        ),
        (
            "chunk of 2 GiB",
            png_with(b"\x7F\xFF\xFF\xFFtEXt".to_vec()),
            No(Refusal::Damaged("png chunk length")),
        ),
        (
            "bomb",
            Png {
                width: 12_000,
                height: 5_001,
                ..Png::default()
            }
            .build(),
            No(Refusal::TooManyPixels {
                width: 12_000,
                height: 5_001,
            }),
        ),
        (
            "no width",
            Png {
                width: 0,
                ..Png::default()
            }
            .build(),
            No(Refusal::Damaged("png header")),
        ),
        (
            "depth 3",
            Png {
                depth: 3,
                ..Png::default()
            }
            .build(),
            No(Refusal::Damaged("png header")),
        ),
    ]
}

fn pdfs() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let headed = |head: &str| {
        Pdf {
            head: head.into(),
            ..Pdf::default()
        }
        .build()
    };
    let ended = |end: &str| {
        Pdf {
            end: end.into(),
            ..Pdf::default()
        }
        .build()
    };
    let archive = [&pdf_with("")[..], &zip()].concat();
    let mut inner_archive = Pdf {
        end: String::new(),
        ..Pdf::default()
    }
    .build();
    inner_archive.extend([&zip()[..], b"\n%%EOF"].concat());
    vec![
        ("smallest whole", pdf_with(""), Whole(D)),
        ("real photo in a PDF", real!("photo.pdf"), Whole(D)),
        ("real with two pages", real!("two-pages.pdf"), Whole(D)),
        (
            "real with password",
            real!("password.pdf"),
            No(Refusal::PasswordProtected),
        ),
        (
            "real with attachment",
            real!("attachment.pdf"),
            No(Refusal::ActiveContent("/EmbeddedFile")),
        ),
        (
            "script",
            pdf_with("<</S/JavaScript>>"),
            No(Refusal::ActiveContent("/JavaScript")),
        ),
        (
            "script in disguise",
            pdf_with("<</S/Java#53cript>>"),
            No(Refusal::ActiveContent("/JavaScript")),
        ),
        (
            "program start",
            pdf_with("<</S/Launch>>"),
            No(Refusal::ActiveContent("/Launch")),
        ),
        ("PDF 2.0", headed("%PDF-2.0\n"), Whole(D)),
        ("PDF 3", headed("%PDF-3.0\n"), No(Refusal::UnknownType)),
        (
            "HTML before the head",
            headed("<html>\n%PDF-1.4\n"),
            No(Refusal::UnknownType),
        ),
        (
            "byte order mark before the head",
            headed("\u{FEFF}%PDF-1.4\n"),
            No(Refusal::UnknownType),
        ),
        ("cut", without_end(pdf_with(""), 6), No(Refusal::Truncated)),
        (
            "end mark too far up",
            ended(&format!("%%EOF\n{}", "x".repeat(1024))),
            No(Refusal::Truncated),
        ),
        ("HTML behind the end", ended("%%EOF\n<html>"), Cut(D, 6)),
        (
            "PDF/ZIP: archive behind the end",
            archive,
            Cut(D, zip().len() as u64),
        ),
        (
            "PDF/ZIP: archive before the end",
            inner_archive,
            No(Refusal::Disguised("zip")),
        ),
        (
            "51 pages",
            pdf_with(&"<</Type/Page>>".repeat(50)),
            No(Refusal::TooManyPages { max: 50 }),
        ),
    ]
}

fn heics() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let whole = || Heic::default().build();
    let exif = [
        b"\0\0\0\x06Exif\0\0",
        &ExifSample {
            big: true,
            gps: true,
            orientation: 1,
        }
        .tiff()[..],
    ]
    .concat();
    let mut open_end = whole();
    let mdat = open_end.len() - 17;
    open_end[mdat..mdat + 4].fill(0);
    vec![
        ("smallest whole", whole(), Whole(H)),
        ("real with GPS", real!("gps.heic"), Stripped(H)),
        (
            "brand mif1",
            Heic {
                brand: *b"mif1",
                ..Heic::default()
            }
            .build(),
            Whole(H),
        ),
        (
            "GPS among picture data",
            Heic {
                data: [b"hevc", &exif[..], b"hevc"].concat(),
                ..Heic::default()
            }
            .build(),
            Stripped(H),
        ),
        ("box to the end of the file", open_end, Whole(H)),
        (
            "Motion Photo",
            Heic {
                more: heic_box(b"mpvd", b"video"),
                ..Heic::default()
            }
            .build(),
            Stripped(H),
        ),
        (
            "image sequence",
            Heic {
                more: heic_box(b"moov", b""),
                ..Heic::default()
            }
            .build(),
            No(Refusal::Animated),
        ),
        ("cut", without_end(whole(), 1), No(Refusal::Truncated)),
        (
            "cut in a box head",
            followed_by(whole(), b"\0\0\0"),
            No(Refusal::Truncated),
        ),
        (
            "junk behind the end",
            followed_by(whole(), b"\0\0\0\x04junk"),
            No(Refusal::Damaged("heic box size")),
        ),
        (
            "no picture",
            heic_box(b"ftyp", b"heic\0\0\0\0mif1heicmif1heic"),
            No(Refusal::Damaged("heic without picture")),
        ),
        (
            "bomb",
            Heic {
                width: 12_000,
                height: 12_000,
                ..Heic::default()
            }
            .build(),
            No(Refusal::TooManyPixels {
                width: 12_000,
                height: 12_000,
            }),
        ),
        (
            "AVIF",
            Heic {
                brand: *b"avif",
                ..Heic::default()
            }
            .build(),
            No(Refusal::UnknownType),
        ),
    ]
}

fn strangers() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    vec![
        ("empty", vec![], No(Refusal::Empty)),
        ("one byte", vec![0xFF], No(Refusal::UnknownType)),
        (
            "only a JPEG's first three bytes",
            vec![0xFF, 0xD8, 0xFF],
            No(Refusal::Truncated),
        ),
        (
            "only a PNG's signature",
            b"\x89PNG\r\n\x1a\n".to_vec(),
            No(Refusal::Truncated),
        ),
        ("zeros", vec![0; 100], No(Refusal::UnknownType)),
        ("real GIF", real!("foreign.gif"), No(Refusal::UnknownType)),
        (
            "GIFAR",
            followed_by(real!("foreign.gif"), &zip()),
            No(Refusal::UnknownType),
        ),
        ("real TIFF", real!("foreign.tiff"), No(Refusal::UnknownType)),
        ("real WebP", real!("foreign.webp"), No(Refusal::UnknownType)),
        ("real AVIF", real!("foreign.avif"), No(Refusal::UnknownType)),
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
        (
            "MP4",
            heic_box(b"ftyp", b"isom\0\0\0\0isommp42isommp42"),
            No(Refusal::UnknownType),
        ),
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

#[test]
fn every_file_has_exactly_its_outcome() {
    let table = [jpegs(), pngs(), pdfs(), heics(), strangers()].concat_all();
    assert!(table.len() >= 60);
    for (name, file, expected) in table {
        assert_eq!(outcome(&file, policy(Strip::Gps)), expected, "{name}");
    }
}

trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T, const N: usize> ConcatAll<T> for [Vec<T>; N] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn the_policy_decides_what_is_taken() {
    let jpeg = Jpeg::default().build();
    let only = |types| Policy {
        limits: Limits {
            accepted: FileTypes::of(types),
            ..Limits::default()
        },
        ..Policy::default()
    };
    assert_eq!(
        outcome(&jpeg, only(&[P, D])),
        No(Refusal::NotAccepted { found: J })
    );
    assert_eq!(
        outcome(&Heic::default().build(), Policy::default()),
        No(Refusal::NotAccepted { found: H }),
        "off by default"
    );
    assert_eq!(
        outcome(&Heic::default().build(), policy(Strip::All)),
        No(Refusal::NotAccepted { found: H })
    );
    let declared = |mime| Policy {
        declared: Declared::from_mime(mime),
        ..Policy::default()
    };
    assert_eq!(outcome(&jpeg, declared("image/jpg")), Whole(J));
    assert_eq!(outcome(&jpeg, declared("")), Whole(J));
    assert_eq!(
        outcome(&jpeg, declared("application/pdf")),
        No(Refusal::DeclaredMismatch {
            declared: Some(D),
            found: J
        })
    );
    assert_eq!(
        outcome(&jpeg, declared("text/html")),
        No(Refusal::DeclaredMismatch {
            declared: None,
            found: J
        })
    );
    let sized = |min_bytes, max_bytes| Policy {
        limits: Limits {
            min_bytes,
            max_bytes,
            ..Limits::default()
        },
        ..Policy::default()
    };
    let size = jpeg.len() as u64;
    assert_eq!(outcome(&jpeg, sized(size, size)), Whole(J));
    assert_eq!(
        outcome(&jpeg, sized(size + 1, size + 1)),
        No(Refusal::TooSmall { min: size + 1 })
    );
    assert_eq!(
        outcome(&jpeg, sized(0, size - 1)),
        No(Refusal::TooBig { max: size - 1 })
    );
    let padded = followed_by(jpeg, &[0; 100]);
    assert_eq!(
        outcome(&padded, sized(size + 1, size + 100)),
        No(Refusal::TooSmall { min: size + 1 }),
        "padding does not count"
    );
}

/// T098: the pixels' bytes are all there, the video is not.
#[test]
fn motion_photo_ends_at_the_end_of_the_picture() {
    let photo = real!("restarts-gray.jpg");
    let video = [
        heic_box(b"ftyp", b"mp42\0\0\0\0isommp42"),
        heic_box(b"mdat", &[0xFF, 0xD9, 0xFF, 0xD8].repeat(5_000)),
    ]
    .concat();
    let (report, kept) = inspect(&[&photo[..], &video].concat(), Policy::default()).unwrap();
    assert_eq!(
        kept, photo,
        "what is decoded is byte for byte the clean file"
    );
    assert_eq!(
        (report.dropped_trailing, report.pixels),
        (video.len() as u64, Some((48, 32)))
    );
}

#[test]
fn gps_is_gone_and_the_picture_is_untouched() {
    let clean = Jpeg::default().build();
    let (report, kept) = inspect(&jpeg_with([gps(), exif()].concat()), policy(Strip::Gps)).unwrap();
    assert!(report.stripped && !kept.windows(PLACE.len()).any(|window| window == PLACE));
    assert!(kept.windows(5).any(|window| window == b"Canon"));
    let picture = 2 + 18;
    assert!(kept.starts_with(&clean[..picture]) && kept.ends_with(&clean[picture..]));
    for name in [
        real!("gps-thumbnail.jpg"),
        real!("progressive.jpg"),
        real!("gps.png"),
        real!("gps.heic"),
    ] {
        let secret = b"HOME-SWEET-HOME";
        assert!(
            name.windows(secret.len()).any(|window| window == secret),
            "the sample tells it"
        );
        let kept = inspect(&name, policy(Strip::Gps)).unwrap().1;
        assert!(!kept.windows(secret.len()).any(|window| window == secret));
    }
}

#[test]
fn all_keeps_the_orientation_and_nothing_else() {
    let metadata = [
        gps(),
        jpeg_segment(0xED, b"Photoshop 3.0\0"),
        jpeg_segment(0xFE, b"hello"),
        jpeg_segment(0xE2, b"ICC_PROFILE\0x"),
    ];
    let (report, kept) = inspect(&jpeg_with(metadata.concat()), policy(Strip::All)).unwrap();
    let turned = [b"Exif\0\0", &super::strip::orientation_only(6)[..]].concat();
    let expected = jpeg_with(
        [
            jpeg_segment(0xE1, &turned),
            jpeg_segment(0xE2, b"ICC_PROFILE\0x"),
        ]
        .concat(),
    );
    assert!(report.stripped);
    assert_eq!(kept, expected);
    let upright = inspect(&jpeg_with(exif()), policy(Strip::All)).unwrap().1;
    assert_eq!(upright, Jpeg::default().build());
    let tiff = ExifSample {
        big: false,
        gps: true,
        orientation: 8,
    }
    .tiff();
    let chunks = [
        png_chunk(b"eXIf", &tiff),
        png_chunk(b"tEXt", b"a\0b"),
        png_chunk(b"gAMA", &[0, 0, 0xB1, 0x8F]),
    ]
    .concat();
    let kept = inspect(&png_with(chunks), policy(Strip::All)).unwrap().1;
    let turned = png_chunk(b"eXIf", &super::strip::orientation_only(8));
    assert_eq!(
        kept,
        png_with([turned, png_chunk(b"gAMA", &[0, 0, 0xB1, 0x8F])].concat())
    );
}

#[test]
fn none_keeps_every_byte_up_to_the_end() {
    for file in [
        real!("gps-thumbnail.jpg"),
        real!("xmp-gps.jpg"),
        real!("gps.png"),
        real!("gps.heic"),
        real!("photo.pdf"),
    ] {
        assert_eq!(inspect(&file, policy(Strip::None)).unwrap().1, file);
    }
    let double = real!("two-pictures.mpo.jpg");
    let (report, kept) = inspect(&double, policy(Strip::None)).unwrap();
    assert!(!report.stripped && report.dropped_trailing > 0 && double.starts_with(&kept));
}
