//! A table of real and forged files, each with exactly one outcome. The real ones were written by ordinary encoders and
//! lie in `tests/fixtures/inspect`; the forged ones are put together here. Motion Photos stand below the table.

#![allow(clippy::unwrap_used)]

mod cases;
mod heics;
mod jpegs;
mod pdfs;
mod pngs;
mod strangers;

use super::samples::{ExifSample, Heic, Jpeg, PLACE, Pdf, Png, heic_box, inspect, jpeg_segment, png_chunk, policy};
use super::{FileType, FileTypes, Limits, Policy, Refusal, Strip};

macro_rules! real {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/inspect/", $name)).to_vec()
    };
}

use real;

/// Name, file, outcome.
type Row = (&'static str, Vec<u8>, Outcome);

/// The ways a file may pass, and the one in which it does not.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Kept byte for byte.
    Whole(FileType),
    /// Kept but for trailing bytes: how many.
    Cut(FileType, u64),
    /// Kept without some metadata.
    Stripped(FileType),
    /// Kept without bytes that decoders skip: how many.
    Repaired(FileType, u64),
    No(Refusal),
}
use FileType::{Heic as H, Jpeg as J, Pdf as D, Png as P};
use Outcome::{Cut, No, Repaired, Stripped, Whole};

fn outcome(file: &[u8], policy: Policy) -> Outcome {
    match inspect(file, policy) {
        Err(refusal) => No(refusal),
        Ok((report, kept)) => {
            assert_eq!((report.received, report.kept), (file.len() as u64, kept.len() as u64));
            match (report.stripped, report.dropped_trailing) {
                _ if report.repaired => Repaired(report.file_type, report.received - report.kept),
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

#[test]
fn every_file_has_exactly_its_outcome() {
    let table = [jpegs::rows(), pngs::rows(), pdfs::rows(), heics::rows(), strangers::rows()];
    assert!(table.iter().map(Vec::len).sum::<usize>() >= 60);
    for (name, file, expected) in table.into_iter().flatten() {
        assert_eq!(outcome(&file, policy(Strip::Gps)), expected, "{name}");
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
    assert_eq!(outcome(&jpeg, only(&[P, D])), No(Refusal::NotAccepted { found: J }));
    assert_eq!(
        outcome(&Heic::default().build(), Policy::default()),
        No(Refusal::NotAccepted { found: H }),
        "off by default"
    );
    assert_eq!(
        outcome(&Heic::default().build(), policy(Strip::All)),
        No(Refusal::NotAccepted { found: H })
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
    assert_eq!(outcome(&jpeg, sized(size + 1, size + 1)), No(Refusal::TooSmall { min: size + 1 }));
    assert_eq!(outcome(&jpeg, sized(0, size - 1)), No(Refusal::TooBig { max: size - 1 }));
    let padded = followed_by(jpeg, &[0; 100]);
    assert_eq!(
        outcome(&padded, sized(size + 1, size + 100)),
        No(Refusal::TooSmall { min: size + 1 }),
        "padding does not count"
    );
}

/// The pixels' bytes are all there, the video is not.
#[test]
fn motion_photo_ends_at_the_end_of_the_picture() {
    let photo = real!("restarts-gray.jpg");
    let video = [
        heic_box(b"ftyp", b"mp42\0\0\0\0isommp42"),
        heic_box(b"mdat", &[0xFF, 0xD9, 0xFF, 0xD8].repeat(5_000)),
    ]
    .concat();
    let (report, kept) = inspect(&[&photo[..], &video].concat(), Policy::default()).unwrap();
    assert_eq!(kept, photo, "what is decoded is byte for byte the clean file");
    assert_eq!((report.dropped_trailing, report.pixels), (video.len() as u64, Some((48, 32))));
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
        assert!(name.windows(secret.len()).any(|window| window == secret), "the sample tells it");
        let kept = inspect(&name, policy(Strip::Gps)).unwrap().1;
        assert!(!kept.windows(secret.len()).any(|window| window == secret));
    }
}

#[test]
fn no_place_leaves_in_any_field() {
    let place = std::str::from_utf8(PLACE).unwrap();
    let xmp = |field: &str| {
        format!("<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description {field}=\"{place}\"/></rdf:RDF>")
    };
    let iptc = |number: u8| {
        let set = [&[0x1C, 2, number, 0, PLACE.len() as u8][..], PLACE].concat();
        let resource = [
            b"8BIM\x04\x04\0\0",
            &(set.len() as u32).to_be_bytes()[..],
            &set,
            &[0][..set.len() % 2],
        ]
        .concat();
        jpeg_segment(0xED, &[b"Photoshop 3.0\0", &resource[..]].concat())
    };
    let mut files: Vec<Vec<u8>> = [26, 27, 90, 92, 95, 100, 101].map(|number| jpeg_with(iptc(number))).into();
    for field in [
        "exif:GPSLatitude",
        "exif:GPSDestLongitude",
        "photoshop:City",
        "photoshop:State",
        "photoshop:Country",
        "Iptc4xmpCore:Location",
        "Iptc4xmpCore:CountryCode",
        "Iptc4xmpExt:Sublocation",
        "q:ProvinceState",
    ] {
        let xmp = xmp(field);
        files.push(jpeg_with(jpeg_segment(
            0xE1,
            &[b"http://ns.adobe.com/xap/1.0/\0", xmp.as_bytes()].concat(),
        )));
        files.push(png_with(png_chunk(
            b"iTXt",
            &[b"XML:com.adobe.xmp\0\0\0\0\0", xmp.as_bytes()].concat(),
        )));
        files.push(
            Heic {
                data: [b"hevc", xmp.as_bytes(), b"hevc"].concat(),
                ..Heic::default()
            }
            .build(),
        );
    }
    files.push(png_with(png_chunk(b"tEXt", &[b"Location\0", PLACE].concat())));
    files.push(jpeg_with(jpeg_segment(0xFE, &[b"GPS ", PLACE].concat())));
    for file in files {
        let tells = |bytes: &[u8]| bytes.windows(PLACE.len()).any(|window| window == PLACE);
        assert!(tells(&file));
        let (report, kept) = inspect(&file, policy(Strip::Gps)).unwrap();
        assert!(report.stripped && !tells(&kept), "{}", String::from_utf8_lossy(&file));
    }
}

/// Whatever is wrong with the GPS directory: the picture is not turned by its loss.
#[test]
fn the_orientation_outlives_an_unreadable_block() {
    let mut segment = gps();
    let entry = segment.windows(4).position(|window| window == [0x88, 0x25, 0, 4]).unwrap();
    // The pointer leads to the directory it stands in.
    segment[entry + 8..entry + 12].copy_from_slice(&[0, 0, 0, 8]);
    let (report, kept) = inspect(&jpeg_with(segment.clone()), policy(Strip::Gps)).unwrap();
    let turned = [b"Exif\0\0", &super::strip::orientation_only(6)[..]].concat();
    assert!(report.stripped);
    assert_eq!(kept, jpeg_with(jpeg_segment(0xE1, &turned)));
    let kept = inspect(&png_with(png_chunk(b"eXIf", &segment[10..])), policy(Strip::Gps))
        .unwrap()
        .1;
    assert_eq!(kept, png_with(png_chunk(b"eXIf", &super::strip::orientation_only(6))));
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
    let expected = jpeg_with([jpeg_segment(0xE1, &turned), jpeg_segment(0xE2, b"ICC_PROFILE\0x")].concat());
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
    assert_eq!(kept, png_with([turned, png_chunk(b"gAMA", &[0, 0, 0xB1, 0x8F])].concat()));
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
