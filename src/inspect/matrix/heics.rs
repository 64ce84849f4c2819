//! HEICs, real and forged.

use super::super::Refusal;
use super::super::samples::{ExifSample, Heic, heic_box};
use super::{H, No, Stripped, Whole};
use super::{Row, followed_by, real, without_end};

pub(super) fn rows() -> Vec<Row> {
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
    let with_xmp = |field: &str| {
        let xmp = format!("<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF><rdf:Description {field}/></rdf:RDF></x:xmpmeta>hevc");
        Heic {
            data: xmp.into_bytes(),
            ..Heic::default()
        }
        .build()
    };
    let xmp_without_end = Heic {
        data: b"<rdf:RDF photoshop:City".to_vec(),
        ..Heic::default()
    }
    .build();
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
        ("XMP that names a place", with_xmp("photoshop:City=\"48N-HOME-11E\""), Stripped(H)),
        ("XMP that names none", with_xmp("xmp:Rating=\"5\""), Whole(H)),
        ("XMP without an end", xmp_without_end, Stripped(H)),
        ("long XMP", with_xmp(&"x".repeat(70_000)), Stripped(H)),
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
        ("cut in a box head", followed_by(whole(), b"\0\0\0"), No(Refusal::Truncated)),
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
            No(Refusal::OtherFormat { found: "AVIF" }),
        ),
    ]
}
