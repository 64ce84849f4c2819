//! What real applicants' files are like: each row of `tests/fixtures/cases` with what becomes of it.

#![allow(clippy::unwrap_used)]

use super::super::samples::{inspect, inspect_split, policy};
use super::super::{FileType, PdfPolicy, Policy, Refusal, Strip, Verdict};

macro_rules! case {
    ($name:literal) => {
        &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cases/", $name))[..]
    };
}

#[test]
fn pdfs_that_open_in_every_reader_are_taken() {
    // Name, file, bytes cut from the front, bytes cut from the end, what is noted.
    type Case = (&'static str, &'static [u8], u64, u64, &'static [&'static str]);
    let cases: [Case; 9] = [
        ("bom", case!("bom.pdf"), 3, 0, &[]),
        ("mime-head", case!("mime-head.pdf"), 55, 0, &[]),
        ("trailing-2k-zero", case!("trailing-2k-zero.pdf"), 0, 2048, &[]),
        ("owner-r3", case!("owner-r3.pdf"), 0, 0, &["/Encrypt"]),
        ("link-javascript", case!("link-javascript.pdf"), 0, 0, &[]),
        ("text-javascript", case!("text-javascript.pdf"), 0, 0, &[]),
        ("factur-x", case!("factur-x.pdf"), 0, 0, &["/EmbeddedFile"]),
        (
            "auto-print-js",
            case!("auto-print-js.pdf"),
            0,
            0,
            &["/OpenAction", "/JavaScript", "/JS"],
        ),
        ("pages-60", case!("pages-60.pdf"), 0, 0, &[]),
    ];
    for (name, file, front, end, noted) in cases {
        let (report, kept) = inspect(file, Policy::default()).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(report.file_type, FileType::Pdf, "{name}");
        assert_eq!((report.dropped_leading, report.dropped_trailing), (front, end), "{name}");
        assert_eq!(kept, &file[front as usize..file.len() - end as usize], "{name}");
        assert!(kept.starts_with(b"%PDF-"), "{name}");
        let (mut found, mut wanted) = (report.noted.clone(), noted.to_vec());
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{name}");
        let pages = if name == "pages-60" { 60 } else { 1 };
        assert_eq!(report.pages, Some(pages), "{name}");
    }
}

#[test]
fn what_the_configuration_does_not_take_is_refused_by_its_true_cause() {
    let refusal = |file, pdf, max_pages| {
        let mut strict = Policy { pdf, ..Policy::default() };
        strict.limits.max_pages = max_pages;
        inspect(file, strict).unwrap_err()
    };
    let open = PdfPolicy::default();
    let no = Verdict::Refuse;
    assert_eq!(
        refusal(case!("factur-x.pdf"), PdfPolicy { attachments: no, ..open }, 200).code(),
        "file.attachment"
    );
    assert_eq!(
        refusal(case!("auto-print-js.pdf"), PdfPolicy { scripts: no, ..open }, 200).code(),
        "file.active_content"
    );
    assert_eq!(
        refusal(case!("owner-r3.pdf"), PdfPolicy { encrypted: no, ..open }, 200),
        Refusal::Encrypted
    );
    assert_eq!(refusal(case!("pages-60.pdf"), open, 50), Refusal::TooManyPages { max: 50 });
}

/// Written by qpdf in each revision of the standard handler, with an empty user password.
#[test]
fn an_empty_user_password_opens_every_revision() {
    for (name, file) in [
        ("R2", case!("empty-r2.pdf")),
        ("R4 with AES", case!("empty-r4.pdf")),
        ("R5", case!("empty-r5.pdf")),
        ("R6", case!("empty-r6.pdf")),
        ("R6, packed", case!("empty-r6-packed.pdf")),
    ] {
        let (report, kept) = inspect(file, Policy::default()).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(kept, file, "{name}");
        assert!(report.noted.contains(&"/Encrypt"), "{name}");
    }
    for (name, file) in [("R4", case!("password-r4.pdf")), ("R6", case!("password-r6.pdf"))] {
        assert_eq!(inspect(file, Policy::default()), Err(Refusal::PasswordProtected), "{name}");
    }
    // Where scripts are refused, what cannot be looked into is, too.
    let pdf = PdfPolicy {
        scripts: Verdict::Refuse,
        ..PdfPolicy::default()
    };
    assert_eq!(
        inspect(case!("empty-r6-packed.pdf"), Policy { pdf, ..Policy::default() }),
        Err(Refusal::Encrypted)
    );
}

/// A script in the open and the same one in an object stream.
#[test]
fn a_hidden_script_gets_the_same_answer_as_an_open_one() {
    let pdf = PdfPolicy {
        scripts: Verdict::Refuse,
        ..PdfPolicy::default()
    };
    for file in [case!("auto-print-js.pdf"), case!("auto-print-packed.pdf")] {
        let refused = inspect(file, Policy { pdf, ..Policy::default() }).unwrap_err();
        assert_eq!(refused.code(), "file.active_content");
        assert!(inspect(file, Policy::default()).unwrap().0.noted.contains(&"/JavaScript"));
    }
}

#[test]
fn pictures_that_every_viewer_shows_are_taken() {
    let clean = case!("jpeg-named.heic");
    // What leaves is the clean picture to the byte: no decoder can tell a difference.
    for (name, file) in [
        ("marker-00e1", case!("marker-00e1.jpg")),
        ("marker-ff00", case!("marker-ff00.jpg")),
        ("junk-between-segments", case!("junk-between-segments.jpg")),
        ("jpeg-named", clean),
        ("samsung-motion", case!("samsung-motion.jpg")),
    ] {
        let (report, kept) = inspect(file, Policy::default()).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(report.file_type, FileType::Jpeg, "{name}");
        assert_eq!(kept, clean, "{name}");
        assert_eq!(report.repaired, name.contains("marker") || name.contains("junk"), "{name}");
    }
    let (_, kept) = inspect(case!("fill-bytes.jpg"), Policy::default()).unwrap();
    assert_eq!(kept, case!("fill-bytes.jpg"));
    // Where the data of a scan end, only a decoder could tell.
    for file in [case!("no-eoi.jpg"), case!("samsung-panorama-no-eoi.jpg")] {
        assert_eq!(inspect(file, Policy::default()), Err(Refusal::Truncated));
    }
    let (report, kept) = inspect(case!("apple-export-city.jpg"), Policy::default()).unwrap();
    assert!(report.stripped);
    for place in ["Berlin", "Germany", "Musterstrasse"] {
        assert!(!kept.windows(place.len()).any(|window| window == place.as_bytes()), "{place}");
    }
    assert_eq!(kept, clean, "nothing but the place's segments was in the way");
    let (report, kept) = inspect(case!("png-named.jpg"), Policy::default()).unwrap();
    assert_eq!((report.file_type, &kept[..]), (FileType::Png, case!("png-named.jpg")));
    let (report, kept) = inspect(case!("apng-one-frame.png"), Policy::default()).unwrap();
    assert!(report.repaired && kept.len() == case!("apng-one-frame.png").len() - 20 - 38);
    assert!(!kept.windows(4).any(|kind| kind == b"acTL" || kind == b"fcTL"));
    assert_eq!(
        inspect(case!("webp-named.jpg"), Policy::default()),
        Err(Refusal::OtherFormat { found: "WebP" })
    );
    let heic = case!("base.heic");
    assert_eq!(
        inspect(heic, Policy::default()),
        Err(Refusal::NotAccepted { found: FileType::Heic })
    );
    assert_eq!(inspect(heic, policy(Strip::Gps)).unwrap().0.file_type, FileType::Heic);
}

/// Every case, cut into pieces of every small size and in two at every byte.
#[test]
fn the_split_changes_nothing_for_any_case() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cases");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = std::fs::read(entry.unwrap().path()).unwrap();
        let whole = inspect(&file, policy(Strip::Gps));
        for piece in [1, 2, 3, 7, 1_000, 4_099] {
            let cuts: Vec<usize> = (0..file.len()).step_by(piece).collect();
            assert_eq!(inspect_split(&file, policy(Strip::Gps), &cuts), whole);
        }
        count += 1;
    }
    assert!(count >= 25);
}
