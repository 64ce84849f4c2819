//! What holds for every file: outcome and output do not depend on how it was cut into pushes, nothing panics, work grows with the size
//! and not faster (bytes looked at are counted instead of time, so that a busy machine changes nothing).

#![allow(clippy::unwrap_used)]

use super::samples::{ExifSample, Heic, Jpeg, Pdf, Png, inspect, inspect_split, jpeg_segment, png_chunk, policy};
use super::{FileType, Inspector, Limits, PdfPolicy, Policy, Refusal, Strip, Verdict, WORK};
use proptest::prelude::*;

fn seeds() -> Vec<Vec<u8>> {
    let gps = ExifSample {
        big: false,
        gps: true,
        orientation: 6,
    };
    let pdf = "<</Type/Page/AA<<>>>>stream\n\0/JS \u{FF}/Mm endstream /J#61v";
    vec![
        Jpeg {
            metadata: [gps.segment(), jpeg_segment(0xFE, b"hello")].concat(),
            scans: 3,
            trailing: vec![7; 9],
            ..Jpeg::default()
        }
        .build(),
        Png {
            metadata: [png_chunk(b"eXIf", &gps.tiff()), png_chunk(b"iTXt", b"a\0\0\0en\0\0text")].concat(),
            ..Png::default()
        }
        .build(),
        Pdf {
            body: pdf.repeat(3),
            ..Pdf::default()
        }
        .build(),
        Heic {
            data: [b"\0\0\0\x06Exif\0\0", &gps.tiff()[..], b"hevc"].concat(),
            ..Heic::default()
        }
        .build(),
        include_bytes!("../../tests/fixtures/inspect/gps-thumbnail.jpg").to_vec(),
        include_bytes!("../../tests/fixtures/inspect/gps.png").to_vec(),
        include_bytes!("../../tests/fixtures/inspect/photo.pdf").to_vec(),
        include_bytes!("../../tests/fixtures/inspect/gps.heic").to_vec(),
        include_bytes!("../../tests/fixtures/cases/mime-head.pdf").to_vec(),
        include_bytes!("../../tests/fixtures/cases/auto-print-packed.pdf").to_vec(),
        include_bytes!("../../tests/fixtures/cases/empty-r6-packed.pdf").to_vec(),
        include_bytes!("../../tests/fixtures/cases/owner-r3.pdf").to_vec(),
        include_bytes!("../../tests/fixtures/cases/apng-one-frame.png")[..2_000].to_vec(),
        include_bytes!("../../tests/fixtures/cases/apple-export-city.jpg")[..2_000].to_vec(),
    ]
}

fn any_strip() -> impl Strategy<Value = Strip> {
    prop_oneof![Just(Strip::Gps), Just(Strip::All), Just(Strip::None)]
}

/// A whole file with some bytes changed, some pieces repeated and perhaps its end missing.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let splice = prop::option::of((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..40)));
    (0..seeds().len(), flips, splice, prop::option::of(any::<prop::sample::Index>())).prop_map(|(seed, flips, splice, cut)| {
        let mut file = seeds().swap_remove(seed);
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some((at, bytes)) = splice {
            let at = at.index(file.len());
            file.splice(at..at, bytes);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len() + 1));
        }
        file
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_split_changes_nothing(file in any_file(), strip in any_strip(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let whole = inspect(&file, policy(strip));
        prop_assert_eq!(&inspect_split(&file, policy(strip), &cuts), &whole);
        let single: Vec<usize> = (0..file.len()).collect();
        prop_assert_eq!(&inspect_split(&file, policy(strip), &single), &whole);
    }

    #[test]
    fn the_limit_cuts_at_the_same_byte_whatever_the_split(
        file in any_file(), max in 0_u64..3_000, cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut policy = policy(Strip::Gps);
        policy.limits.max_bytes = max;
        prop_assert_eq!(inspect_split(&file, policy, &cuts), inspect(&file, policy));
    }

    #[test]
    fn what_passed_passes_again_unchanged(file in any_file(), strip in any_strip()) {
        if let Ok((report, kept)) = inspect(&file, policy(strip)) {
            let (again, same) = inspect(&kept, policy(strip)).unwrap();
            prop_assert_eq!(same, kept);
            prop_assert_eq!(again.pixels, report.pixels);
            prop_assert_eq!(again.dropped_trailing, 0);
        }
    }

    #[test]
    fn a_strict_policy_is_independent_of_the_split_too(file in any_file(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let refuse = Verdict::Refuse;
        let pdf = PdfPolicy { scripts: refuse, attachments: refuse, programs: refuse, encrypted: refuse };
        let strict = Policy { pdf, ..policy(Strip::Gps) };
        prop_assert_eq!(inspect_split(&file, strict, &cuts), inspect(&file, strict));
    }

    #[test]
    fn junk_is_refused_without_harm(file in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(inspect(&file, policy(Strip::Gps)).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn changed_files_are_survived(file in any_file(), strip in any_strip()) {
        if let Ok((report, kept)) = inspect(&file, policy(strip)) {
            prop_assert_eq!((report.received, report.kept), (file.len() as u64, kept.len() as u64));
            prop_assert!(report.file_type != FileType::Pdf || kept.starts_with(b"%PDF-"));
        }
    }
}

#[test]
fn a_refusal_sticks() {
    let mut inspector = Inspector::new(Policy::default());
    let mut out = Vec::new();
    assert_eq!(inspector.push(&[0xAA; 64], &mut out), Err(Refusal::UnknownType));
    assert_eq!(inspector.push(&Jpeg::default().build(), &mut out), Err(Refusal::UnknownType));
    assert_eq!(inspector.finish(&mut out), Err(Refusal::UnknownType));
}

/// Bytes looked at while the file comes in pieces of `piece` bytes.
fn work(file: &[u8], piece: usize) -> u64 {
    WORK.with(|work| work.set(0));
    let mut limits = policy(Strip::Gps).limits;
    limits = Limits {
        max_pages: u32::MAX,
        ..limits
    };
    let mut inspector = Inspector::new(Policy {
        limits,
        ..policy(Strip::Gps)
    });
    let mut out = Vec::new();
    for piece in file.chunks(piece) {
        inspector.push(piece, &mut out).unwrap();
    }
    inspector.finish(&mut out).unwrap();
    WORK.with(std::cell::Cell::get)
}

/// Each `make(n)` is a hostile file of a size proportional to `n`.
#[test]
fn twice_the_file_is_at_most_three_times_the_work() {
    // What one EXIF block can cost is bounded by `strip` and shown there; here it comes often.
    let large_exif = {
        let mut tiff = ExifSample {
            big: true,
            gps: true,
            orientation: 1,
        }
        .tiff();
        tiff.resize(65_000, 0x11);
        jpeg_segment(0xE1, &[b"Exif\0\0", &tiff[..]].concat())
    };
    type Make<'a> = (&'a str, Box<dyn Fn(usize) -> Vec<u8> + 'a>);
    let makes: Vec<Make<'_>> = vec![
        (
            "scan of markers",
            Box::new(|n| {
                Jpeg {
                    scan: [1, 0xFF, 0xD0].repeat(n * 500),
                    ..Jpeg::default()
                }
                .build()
            }),
        ),
        (
            "scan of fill bytes",
            Box::new(|n| {
                Jpeg {
                    scan: [&[1][..], &vec![0xFF; n * 1_000], &[0xD0, 2]].concat(),
                    ..Jpeg::default()
                }
                .build()
            }),
        ),
        (
            "EXIF blocks",
            Box::new(|n| {
                Jpeg {
                    metadata: large_exif.repeat(n),
                    ..Jpeg::default()
                }
                .build()
            }),
        ),
        (
            "comments",
            Box::new(|n| {
                Jpeg {
                    metadata: jpeg_segment(0xFE, b"").repeat(n * 250),
                    ..Jpeg::default()
                }
                .build()
            }),
        ),
        (
            "PNG text",
            Box::new(|n| {
                Png {
                    metadata: png_chunk(b"tEXt", b"a\0gpgpgpgpgp").repeat(n * 50),
                    ..Png::default()
                }
                .build()
            }),
        ),
        (
            "PDF names",
            Box::new(|n| {
                Pdf {
                    body: "/J#61vaScrip ".repeat(n * 100),
                    ..Pdf::default()
                }
                .build()
            }),
        ),
        (
            "PDF streams",
            Box::new(|n| {
                Pdf {
                    body: "<<>>stream\n/endstrea endstream ".repeat(n * 50),
                    ..Pdf::default()
                }
                .build()
            }),
        ),
        (
            "PDF object streams that are bombs",
            Box::new(|n| {
                let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&[b' '; 20_000], 9);
                let stream = [
                    b"9 0 obj<</Type/ObjStm/Filter/FlateDecode>>stream\n",
                    &bomb[..],
                    b"\nendstream endobj\n",
                ]
                .concat();
                [
                    b"%PDF-1.7\n%\xE2\xE3\xCF\xD3 a line of more than 32 bytes\n",
                    &stream.repeat(n)[..],
                    b"startxref\n0\n%%EOF\n",
                ]
                .concat()
            }),
        ),
        (
            "JPEG junk",
            Box::new(|n| {
                Jpeg {
                    metadata: b"\xFF\0 junk".repeat(n * 100),
                    ..Jpeg::default()
                }
                .build()
            }),
        ),
        (
            "HEIC EXIF heads",
            Box::new(|n| {
                let tiff = ExifSample {
                    big: true,
                    gps: false,
                    orientation: 1,
                }
                .tiff();
                Heic {
                    data: [b"\0\0", &tiff[..]].concat().repeat(n * 10),
                    ..Heic::default()
                }
                .build()
            }),
        ),
    ];
    for (name, make) in makes {
        for piece in [1, 4_096, usize::MAX] {
            let (one, two, four) = (work(&make(20), piece), work(&make(40), piece), work(&make(80), piece));
            assert!(two <= 3 * one && four <= 3 * two, "{name} by {piece}: {one} {two} {four}");
            assert!(
                four <= 80 * make(80).len() as u64,
                "{name} by {piece}: {four} for {}",
                make(80).len()
            );
        }
    }
}
