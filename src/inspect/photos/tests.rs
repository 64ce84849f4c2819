//! Pages by hand-made photos: what is embedded, how it is turned, and what refuses.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::inspect::samples::{ExifSample, Jpeg, Png, inspect, jpeg_segment, policy};
use crate::inspect::{Limits, Strip};
use proptest::prelude::*;

/// All photos, each pushed in pieces of the given length.
fn join(photos: &[&[u8]], policy: Policy, piece: usize) -> Result<(Report, Vec<u8>), Refusal> {
    let (mut joined, mut out) = (Photos::new(policy), Vec::new());
    for photo in photos {
        joined.begin()?;
        for piece in photo.chunks(piece) {
            joined.push(piece, &mut out)?;
        }
        joined.end(&mut out)?;
    }
    joined.finish(&mut out).map(|report| (report, out))
}

fn turned(orientation: u16) -> Vec<u8> {
    let exif = ExifSample {
        big: true,
        gps: true,
        orientation,
    };
    Jpeg {
        metadata: exif.segment(),
        ..Jpeg::default()
    }
    .build()
}

fn text(pdf: &[u8]) -> String {
    String::from_utf8_lossy(pdf).into_owned()
}

#[test]
fn photos_become_the_pages_of_a_pdf_that_passes_by_itself() {
    let (one, other, drawing) = (
        turned(6),
        Jpeg::default().build(),
        Png {
            colour: 2,
            ..Png::default()
        }
        .build(),
    );
    let photo = include_bytes!("../../../tests/fixtures/inspect/gps-thumbnail.jpg");
    let palette = include_bytes!("../../../tests/fixtures/inspect/palette.png");
    let cmyk = include_bytes!("../../../tests/fixtures/inspect/cmyk.jpg");
    let photos: [&[u8]; 6] = [&one, &other, &drawing, photo, palette, cmyk];
    let (report, pdf) = join(&photos, policy(Strip::Gps), 1 << 14).unwrap();
    assert_eq!(
        (report.file_type, report.pages, report.kept),
        (FileType::Pdf, Some(6), pdf.len() as u64)
    );
    assert_eq!(report.received, photos.iter().map(|photo| photo.len() as u64).sum::<u64>());
    let (judged, kept) = inspect(&pdf, policy(Strip::Gps)).unwrap();
    assert_eq!((judged.pages, judged.dropped_leading, judged.dropped_trailing), (Some(6), 0, 0));
    assert_eq!(kept, pdf);
    for (offset, line) in offsets(&pdf) {
        let head = format!("{line} 0 obj\n");
        assert!(pdf[offset..].starts_with(head.as_bytes()), "object {line}");
    }
}

/// Offsets of the table and the numbers of their objects.
fn offsets(pdf: &[u8]) -> Vec<(usize, usize)> {
    let text = text(pdf);
    let (_, table) = text.rsplit_once("\nxref\n0 ").unwrap();
    let lines = table.lines().skip(2).take_while(|line| line.ends_with(" n "));
    lines.enumerate().map(|(n, line)| (line[..10].parse().unwrap(), n + 1)).collect()
}

#[test]
fn what_inspection_keeps_of_a_photo_stands_in_the_pdf_and_nothing_else_of_it() {
    let photo = include_bytes!("../../../tests/fixtures/inspect/gps-thumbnail.jpg");
    let (_, kept) = inspect(photo, policy(Strip::Gps)).unwrap();
    let (_, pdf) = join(&[photo], policy(Strip::Gps), 1000).unwrap();
    let data = memchr::memmem::find(&pdf, b"stream\n").unwrap() + 7;
    assert_eq!(pdf[data..data + kept.len()], kept);
    let of_turned = join(&[&turned(6)], policy(Strip::Gps), 1000).unwrap().1;
    assert!(memchr::memmem::find(&of_turned, crate::inspect::samples::PLACE).is_none());
}

#[test]
fn a_turned_photo_is_painted_upright() {
    let (width, height) = {
        let photo = Jpeg::default();
        (f64::from(photo.width), f64::from(photo.height))
    };
    for orientation in 1..=8 {
        let pdf = text(&join(&[&turned(orientation)], policy(Strip::Gps), 7).unwrap().1);
        let page: Vec<f64> = pdf
            .split("/MediaBox [0 0 ")
            .nth(1)
            .unwrap()
            .split(']')
            .next()
            .unwrap()
            .split(' ')
            .map(|n| n.parse().unwrap())
            .collect();
        let ratio = if orientation < 5 { width / height } else { height / width };
        assert!((page[0] / page[1] - ratio).abs() < 0.01, "{orientation}: {page:?}");
        let matrix: Vec<f64> = pdf
            .split("q ")
            .nth(1)
            .unwrap()
            .split(" cm")
            .next()
            .unwrap()
            .split(' ')
            .map(|n| n.parse().unwrap())
            .collect();
        let &[a, b, c, d, e, f] = &matrix[..] else { unreachable!() };
        // Where the first row's beginning and end, and the last row's beginning, come to lie.
        let at = |u: f64, v: f64| ((a * u + c * v + e) / page[0], (b * u + d * v + f) / page[1]);
        let corners = [at(0.0, 1.0), at(1.0, 1.0), at(0.0, 0.0)].map(|(x, y)| (x.round() as i8, y.round() as i8));
        // EXIF 2.3, table 7: the visual side of the first row and of the first column.
        let expected = match orientation {
            1 => [(0, 1), (1, 1), (0, 0)],
            2 => [(1, 1), (0, 1), (1, 0)],
            3 => [(1, 0), (0, 0), (1, 1)],
            4 => [(0, 0), (1, 0), (0, 1)],
            5 => [(0, 1), (0, 0), (1, 1)],
            6 => [(1, 1), (1, 0), (0, 1)],
            7 => [(1, 0), (1, 1), (0, 0)],
            _ => [(0, 0), (0, 1), (1, 0)],
        };
        assert_eq!(corners, expected, "{orientation}");
    }
}

#[test]
fn every_photo_is_judged_by_itself() {
    let whole = Jpeg::default().build();
    let cut = &whole[..whole.len() - 2];
    assert_eq!(join(&[&whole, cut], policy(Strip::Gps), 100), Err(Refusal::Truncated));
    let pdf = include_bytes!("../../../tests/fixtures/inspect/photo.pdf");
    assert_eq!(join(&[pdf], policy(Strip::Gps), 100), Err(Refusal::NotAPage));
    for colour in [4, 6] {
        let transparent = Png {
            colour,
            depth: 8,
            ..Png::default()
        }
        .build();
        assert_eq!(
            join(&[&whole, &transparent], policy(Strip::Gps), 100),
            Err(Refusal::NotAPage),
            "{colour}"
        );
    }
    assert_eq!(join(&[&whole, b""], policy(Strip::Gps), 100), Err(Refusal::Empty));
    assert_eq!(join(&[], policy(Strip::Gps), 100), Err(Refusal::Empty));
}

#[test]
fn the_limits_of_the_part_are_those_of_the_pdf() {
    let photo = Jpeg::default().build();
    let limited = |max_bytes, max_pages| Policy {
        limits: Limits {
            max_bytes,
            max_pages,
            ..Limits::default()
        },
        ..Policy::default()
    };
    let (_, pdf) = join(&[&photo, &photo], limited(1 << 20, 200), 100).unwrap();
    let size = pdf.len() as u64;
    assert!(join(&[&photo, &photo], limited(size, 200), 100).is_ok());
    assert_eq!(
        join(&[&photo, &photo], limited(size - 1, 200), 100),
        Err(Refusal::TooBig { max: size - 1 })
    );
    assert_eq!(
        join(&[&photo, &photo], limited(size, 1), 100),
        Err(Refusal::TooManyPages { max: 1 })
    );
    let many: Vec<&[u8]> = vec![&photo; MAX_PHOTOS as usize + 1];
    assert_eq!(
        join(&many, limited(1 << 30, 200), 100),
        Err(Refusal::TooManyPages { max: MAX_PHOTOS })
    );
}

#[test]
fn a_photo_whose_size_never_comes_is_not_held_for_ever() {
    let mut photo = vec![0xFF, 0xD8];
    for _ in 0..40 {
        photo.extend_from_slice(&jpeg_segment(0xE2, &[b"ICC_PROFILE\0".as_slice(), &[7; 65_000]].concat()));
    }
    assert!(matches!(join(&[&photo], policy(Strip::Gps), 1 << 14), Err(Refusal::Damaged(_))));
}

proptest! {
    #[test]
    fn the_split_changes_nothing(piece in 1usize..4_000, orientation in 1u16..9) {
        let palette: &[u8] = include_bytes!("../../../tests/fixtures/inspect/palette.png");
        let photos = [turned(orientation), palette.to_vec()];
        let photos: Vec<&[u8]> = photos.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(join(&photos, policy(Strip::All), piece), join(&photos, policy(Strip::All), 1 << 20));
    }
}

#[test]
fn photos_in_one_run_of_bytes_give_the_same_wherever_it_is_cut() {
    let (one, other) = (turned(6), Jpeg::default().build());
    let (_, expected) = join(&[&one, &other, &one], policy(Strip::Gps), 1 << 14).unwrap();
    let lengths: Vec<u64> = [&one, &other, &one].iter().map(|photo| photo.len() as u64).collect();
    let run = [&one[..], &other, &one].concat();
    let joined = |lengths: &[u64], piece: usize| {
        let (mut joined, mut out) = (JoinedPhotos::new(policy(Strip::Gps), lengths), Vec::new());
        for piece in run.chunks(piece) {
            joined.push(piece, &mut out)?;
        }
        joined.finish(&mut out).map(|_| out)
    };
    for piece in [1, 7, one.len(), one.len() + 1, run.len()] {
        assert_eq!(joined(&lengths, piece).unwrap(), expected, "in pieces of {piece}");
    }
    assert!(joined(&lengths[..2], 100).is_err(), "more than was announced");
    assert!(joined(&[&lengths[..], &[5]].concat(), 100).is_err(), "fewer than were announced");
    assert!(
        joined(&[lengths[0] - 1, lengths[1] + 1, lengths[2]], 100).is_err(),
        "cut at the wrong places"
    );
}
