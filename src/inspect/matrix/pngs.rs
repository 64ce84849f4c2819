//! PNGs, real and forged.

use super::super::Refusal;
use super::super::samples::{ExifSample, Png, png_chunk};
use super::{Cut, No, P, Repaired, Stripped, Whole};
use super::{Row, flip, followed_by, png_with, real, without_end, zip};

pub(super) fn rows() -> Vec<Row> {
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
        ("real with GPS, zipped text and XMP", real!("gps.png"), Stripped(P)),
        ("real with palette", real!("palette.png"), Whole(P)),
        ("real animated", real!("animated.png"), No(Refusal::Animated)),
        ("GPS in eXIf", png_with(zxif), Stripped(P)),
        (
            "harmless text",
            png_with(png_chunk(b"tEXt", b"Software\0drawing program")),
            Whole(P),
        ),
        ("place in text", png_with(png_chunk(b"tEXt", b"Comment\0GPS 48 11")), Stripped(P)),
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
            "flipped bit in text",
            png_with(flip(png_chunk(b"tEXt", b"a\0b"), 9)),
            Repaired(P, 15),
        ),
        (
            "flipped bit in a long profile",
            png_with(flip(png_chunk(b"iCCP", &[7; 70_000]), 9)),
            No(Refusal::Damaged("png checksum")),
        ),
        (
            "animation of one frame",
            png_with([png_chunk(b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0]), png_chunk(b"fcTL", &[0; 26])].concat()),
            Repaired(P, 20 + 38),
        ),
        (
            "one frame that is another picture",
            png_with([png_chunk(b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0]), png_chunk(b"fdAT", &[0; 26])].concat()),
            No(Refusal::Animated),
        ),
        (
            "animation of two frames",
            png_with(png_chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0])),
            No(Refusal::Animated),
        ),
        (
            "frame without animation",
            png_with(png_chunk(b"fcTL", &[0; 26])),
            No(Refusal::Animated),
        ),
        ("flipped bit in header", flip(whole(), 19), No(Refusal::Damaged("png checksum"))),
        ("cut before the end chunk", without_end(whole(), 12), No(Refusal::Truncated)),
        ("cut in the last checksum", without_end(whole(), 1), No(Refusal::Truncated)),
        ("no header", headless, No(Refusal::Damaged("png without header"))),
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
