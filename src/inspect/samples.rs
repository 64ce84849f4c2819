//! Files for tests, built byte by byte: the smallest whole JPEG, PNG, PDF and HEIC, and the metadata phones put into them.

use super::crc::Crc32;
use super::{FileType, FileTypes, Inspector, Limits, Policy, Refusal, Report, Strip};

/// What the GPS samples give away; searched for in what is kept.
pub(super) const PLACE: &[u8] = b"48N-HOME-11E";

/// Everything accepted, HEIC too.
pub(super) fn policy(strip: Strip) -> Policy {
    Policy {
        limits: Limits {
            accepted: FileTypes::of(&FileType::ALL),
            ..Limits::default()
        },
        strip,
        ..Policy::default()
    }
}

/// One push, one finish.
pub(super) fn inspect(file: &[u8], policy: Policy) -> Result<(Report, Vec<u8>), Refusal> {
    inspect_split(file, policy, &[])
}

/// Pushes cut at the given offsets.
pub(super) fn inspect_split(file: &[u8], policy: Policy, cuts: &[usize]) -> Result<(Report, Vec<u8>), Refusal> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (file.len() + 1)).chain([0, file.len()]).collect();
    cuts.sort_unstable();
    let mut inspector = Inspector::new(policy);
    let mut out = Vec::new();
    for pair in cuts.windows(2) {
        inspector.push(&file[pair[0]..pair[1]], &mut out)?;
    }
    inspector.finish(&mut out).map(|report| (report, out))
}

/// An EXIF block: IFD0 with maker, orientation, Exif directory, and GPS directory if asked for.
#[derive(Clone, Copy)]
pub(super) struct ExifSample {
    pub(super) big: bool,
    pub(super) gps: bool,
    pub(super) orientation: u16,
}

impl ExifSample {
    pub(super) fn tiff(self) -> Vec<u8> {
        let n16 = |v: u16| {
            if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
        };
        let n32 = |v: u32| {
            if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
        };
        let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| [&n16(tag)[..], &n16(kind), &n32(count), &value].concat();
        let short = |v: u16| [n16(v)[0], n16(v)[1], 0, 0];
        // Layout: IFD0 at 8, the maker at 100, the Exif directory at 110, the GPS directory at 140, its values at 200.
        let mut ifd0 = vec![
            entry(0x010F, 2, 6, n32(100)),
            entry(0x0112, 3, 1, short(self.orientation)),
            entry(0x8769, 4, 1, n32(110)),
        ];
        if self.gps {
            ifd0.push(entry(0x8825, 4, 1, n32(140)));
        }
        let directory = |entries: &[Vec<u8>]| [&n16(entries.len() as u16)[..], &entries.concat(), &n32(0)].concat();
        let mut tiff = vec![0; if self.gps { 200 + PLACE.len() + 24 } else { 140 }];
        let mut put = |at: usize, bytes: &[u8]| tiff[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, if self.big { b"MM\0\x2A\0\0\0\x08" } else { b"II\x2A\0\x08\0\0\0" });
        put(8, &directory(&ifd0));
        put(100, b"Canon\0");
        put(110, &directory(&[entry(0x9000, 7, 4, *b"0232")]));
        if self.gps {
            let gps = [
                entry(0x0001, 2, 2, *b"N\0\0\0"),
                entry(0x0002, 5, 3, n32(200)),
                entry(0x001B, 7, PLACE.len() as u32, n32(224)),
            ];
            put(140, &directory(&gps));
            put(200, &[0x17; 24]);
            put(224, PLACE);
        }
        tiff
    }

    pub(super) fn segment(self) -> Vec<u8> {
        jpeg_segment(0xE1, &[b"Exif\0\0", &self.tiff()[..]].concat())
    }
}

/// Marker, length, payload.
pub(super) fn jpeg_segment(marker: u8, payload: &[u8]) -> Vec<u8> {
    [&[0xFF, marker][..], &(payload.len() as u16 + 2).to_be_bytes(), payload].concat()
}

/// A JPEG put together from parts that tests replace.
pub(super) struct Jpeg {
    /// Segments between the JFIF header and the tables.
    pub(super) metadata: Vec<u8>,
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) frame: u8,
    pub(super) scan: Vec<u8>,
    pub(super) scans: usize,
    pub(super) trailing: Vec<u8>,
}

impl Default for Jpeg {
    fn default() -> Self {
        let scan = b"\x12\xFF\0\x34\xFF\xD0\x56\xFF\xFF\xD1\x78".to_vec();
        Self {
            metadata: vec![],
            width: 640,
            height: 480,
            frame: 0xC0,
            scan,
            scans: 1,
            trailing: vec![],
        }
    }
}

impl Jpeg {
    pub(super) fn build(&self) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        file.extend(jpeg_segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"));
        file.extend(&self.metadata);
        file.extend(jpeg_segment(0xDB, &[0; 65]));
        file.extend(self.frame_segment());
        for _ in 0..self.scans {
            file.extend(jpeg_segment(0xC4, &[0; 17]));
            file.extend(jpeg_segment(0xDA, &[1, 1, 0, 0, 63, 0]));
            file.extend(&self.scan);
        }
        file.extend([0xFF, 0xD9]);
        file.extend(&self.trailing);
        file
    }

    pub(super) fn frame_segment(&self) -> Vec<u8> {
        let (h, w) = (self.height.to_be_bytes(), self.width.to_be_bytes());
        jpeg_segment(self.frame, &[8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0])
    }
}

/// Length, kind, data, checksum.
pub(super) fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &body, &Crc32::of(&body).to_be_bytes()].concat()
}

/// A PNG put together from parts that tests replace.
pub(super) struct Png {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) depth: u8,
    pub(super) colour: u8,
    /// Chunks between the header and the pixels.
    pub(super) metadata: Vec<u8>,
    pub(super) pixels: Vec<u8>,
    pub(super) trailing: Vec<u8>,
}

impl Default for Png {
    fn default() -> Self {
        let pixels = b"\x78\x01\x63\x60\x60\x60\0\0\0\x04\0\x01".to_vec();
        Self {
            width: 1,
            height: 1,
            depth: 8,
            colour: 2,
            metadata: vec![],
            pixels,
            trailing: vec![],
        }
    }
}

impl Png {
    pub(super) fn header(&self) -> Vec<u8> {
        let sides = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        png_chunk(b"IHDR", &[&sides[..], &[self.depth, self.colour, 0, 0, 0]].concat())
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let (first, second) = self.pixels.split_at(self.pixels.len() / 2);
        let pixels = [png_chunk(b"IDAT", first), png_chunk(b"IDAT", second)].concat();
        [
            b"\x89PNG\r\n\x1a\n",
            &self.header()[..],
            &self.metadata,
            &pixels,
            &png_chunk(b"IEND", b""),
            &self.trailing,
        ]
        .concat()
    }
}

/// A PDF of one empty page, with room for more.
pub(super) struct Pdf {
    pub(super) head: String,
    pub(super) body: String,
    pub(super) end: String,
}

impl Default for Pdf {
    fn default() -> Self {
        Self {
            head: "%PDF-1.7\n".into(),
            body: String::new(),
            end: "%%EOF\n".into(),
        }
    }
}

impl Pdf {
    pub(super) fn build(&self) -> Vec<u8> {
        let Self { head, body, end } = self;
        let file = format!(
            "{head}1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n\
             3 0 obj\n<</Type /Page/Parent 2 0 R/MediaBox[0 0 9 9]>>\nendobj\n{body}\n\
             xref\n0 1\n0000000000 65535 f \ntrailer\n<</Root 1 0 R/Size 4>>\nstartxref\n9\n{end}"
        );
        file.into_bytes()
    }
}

/// Size, kind, body.
pub(super) fn heic_box(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
}

/// A HEIC put together from parts that tests replace.
pub(super) struct Heic {
    pub(super) brand: [u8; 4],
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) data: Vec<u8>,
    /// Boxes behind the picture.
    pub(super) more: Vec<u8>,
}

impl Default for Heic {
    fn default() -> Self {
        Self {
            brand: *b"heic",
            width: 4032,
            height: 3024,
            data: b"hevc hevc".to_vec(),
            more: vec![],
        }
    }
}

impl Heic {
    pub(super) fn build(&self) -> Vec<u8> {
        let ispe = |w: u32, h: u32| heic_box(b"ispe", &[&[0; 4][..], &w.to_be_bytes(), &h.to_be_bytes()].concat());
        let properties = heic_box(
            b"iprp",
            &heic_box(b"ipco", &[ispe(512, 512), ispe(self.width, self.height)].concat()),
        );
        let ftyp = heic_box(b"ftyp", &[&self.brand[..], b"\0\0\0\0mif1heic"].concat());
        let meta = heic_box(b"meta", &[&[0; 4][..], &properties].concat());
        [ftyp, meta, heic_box(b"mdat", &self.data), self.more.clone()].concat()
    }
}
