//! Several photos as the pages of one PDF, while they arrive: for statements and letters of more than one page, photographed one after the other.
//!
//! Each photo goes through an [`Inspector`] of its own first, with everything it refuses and cuts; what comes out is embedded as it is. No picture is decoded: a JPEG
//! is a `DCTDecode` stream, and the pixel data of a PNG without transparency and interlacing are a `FlateDecode` stream with PNG's own predictor (ISO 32000-1,
//! 7.4.4.4). The orientation that EXIF notes becomes the page's transformation. A page is as wide as A4 or as high, whichever the photo reaches first.
//!
//! ```text
//! %PDF-1.5, for each photo: image · length of its data · content · page, then the tree of pages, the catalogue and the table of offsets
//! ```
//! The size of a picture stands before its data, so that what comes before it (metadata) is held until it is known, [`MAX_HEAD`] bytes at most.

use zeroize::Zeroizing;

use super::strip::orientation;
use super::{FileType, FileTypes, Inspector, Limits, Policy, Refusal, Report};

/// Photos of one document.
pub(crate) const MAX_PHOTOS: u32 = 20;
/// What stands before the size of a picture: colour profile and EXIF at most.
const MAX_HEAD: usize = 2 << 20;
/// A4 in points.
const PAGE: (f64, f64) = (595.0, 842.0);

/// Behind the data of each chunk of a PNG.
const CHECKSUM: usize = 4;

const CATALOGUE: usize = 1;
const TREE: usize = 2;
/// Objects of each photo: image, length, content, page.
const OBJECTS: usize = 4;

/// The filter for all photos of one document. Like an [`Inspector`]: only after [`finish`](Self::finish) is anything it wrote worth keeping.
pub(crate) struct Photos {
    policy: Policy,
    photo: Option<Photo>,
    /// Where object `n + 1` begins; 0 while it was not written.
    offsets: Vec<usize>,
    photos: usize,
    written: usize,
    received: u64,
}

struct Photo {
    inspector: Inspector,
    /// What the inspector let through and is not written yet.
    kept: Zeroizing<Vec<u8>>,
    picture: Option<Picture>,
    /// Bytes of the image's data so far.
    data: usize,
    chunks: Chunks,
}

/// What a reader must know of a picture before its data.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Picture {
    format: Format,
    width: u32,
    height: u32,
    bits: u8,
    /// 1 to 8, as EXIF counts.
    orientation: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Format {
    Jpeg {
        components: u8,
        /// Adobe's programs store CMYK inverted and say so.
        inverted: bool,
    },
    Png {
        components: u8,
        palette: Option<Vec<u8>>,
    },
}

/// Where the pixel data of a PNG go on, between its chunks.
#[derive(Default)]
struct Chunks {
    /// Bytes of pixel data left in the chunk at hand.
    data: usize,
    /// Bytes behind them that are none.
    skip: usize,
}

impl Photos {
    /// The limits are those of the part: what all photos together become is measured as a PDF, and each photo by itself must be legible. Pictures are taken whether
    /// or not the part takes them by themselves.
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            photo: None,
            offsets: vec![0; TREE],
            photos: 0,
            written: 0,
            received: 0,
        }
    }

    /// The next photo begins.
    pub(crate) fn begin(&mut self) -> Result<(), Refusal> {
        let most = MAX_PHOTOS.min(self.policy.limits.max_pages);
        if self.photos >= most as usize {
            return Err(Refusal::TooManyPages { max: most });
        }
        let limits = Limits {
            accepted: FileTypes::of(&[FileType::Jpeg, FileType::Png]),
            min_bytes: 1,
            min_picture_bytes: 0,
            ..self.policy.limits
        };
        let policy = Policy { limits, ..self.policy };
        self.photo = Some(Photo {
            inspector: Inspector::new(policy),
            kept: Zeroizing::default(),
            picture: None,
            data: 0,
            chunks: Chunks::default(),
        });
        Ok(())
    }

    /// Takes the next bytes of the photo and appends what is finished of the PDF to `out`.
    pub(crate) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let Some(mut photo) = self.photo.take() else {
            return Err(Refusal::Empty);
        };
        photo.inspector.push(input, &mut photo.kept).map_err(of_a_page)?;
        self.received += input.len() as u64;
        self.write(&mut photo, out)?;
        self.photo = Some(photo);
        self.within_limit()
    }

    /// The photo is complete.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let Some(mut photo) = self.photo.take() else {
            return Err(Refusal::Empty);
        };
        let inspector = std::mem::replace(&mut photo.inspector, Inspector::new(self.policy));
        inspector.finish(&mut photo.kept).map_err(of_a_page)?;
        self.write(&mut photo, out)?;
        let Some(picture) = photo.picture else {
            return Err(Refusal::Damaged("picture without a size"));
        };
        let first = TREE + 1 + OBJECTS * self.photos;
        self.text(out, "\nendstream\nendobj\n");
        self.object(out, first + 1, &photo.data.to_string());
        let content = picture.content();
        self.object(
            out,
            first + 2,
            &format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        );
        let (width, height) = picture.page();
        self.object(
            out,
            first + 3,
            &format!(
                "<< /Type /Page /Parent {TREE} 0 R /MediaBox [0 0 {width:.2} {height:.2}] /Contents {} 0 R /Resources << /XObject << /P {first} 0 R >> >> >>",
                first + 2
            ),
        );
        self.photos += 1;
        self.within_limit()
    }

    /// All photos have arrived.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<Report, Refusal> {
        if self.photo.is_some() || self.photos == 0 {
            return Err(Refusal::Empty);
        }
        let pages: Vec<String> = (0..self.photos).map(|n| format!("{} 0 R", TREE + OBJECTS * (n + 1))).collect();
        self.object(
            out,
            TREE,
            &format!("<< /Type /Pages /Count {} /Kids [{}] >>", self.photos, pages.join(" ")),
        );
        self.object(out, CATALOGUE, &format!("<< /Type /Catalog /Pages {TREE} 0 R >>"));
        let table = self.written;
        let entries: String = self.offsets.iter().map(|offset| format!("{offset:010} 00000 n \n")).collect();
        let count = self.offsets.len() + 1;
        self.text(
            out,
            &format!(
                "xref\n0 {count}\n0000000000 65535 f \n{entries}trailer\n<< /Size {count} /Root {CATALOGUE} 0 R >>\nstartxref\n{table}\n%%EOF\n"
            ),
        );
        self.within_limit()?;
        let min = self.policy.limits.min_bytes;
        if (self.written as u64) < min {
            return Err(Refusal::TooSmall { min });
        }
        Ok(Report {
            file_type: FileType::Pdf,
            received: self.received,
            kept: self.written as u64,
            pixels: None,
            pages: u32::try_from(self.photos).ok(),
            dropped_leading: 0,
            dropped_trailing: 0,
            stripped: false,
            repaired: false,
            noted: Vec::new(),
        })
    }

    fn within_limit(&self) -> Result<(), Refusal> {
        let max = self.policy.limits.max_bytes;
        if self.written as u64 > max {
            Err(Refusal::TooBig { max })
        } else {
            Ok(())
        }
    }

    /// Writes what can be written of the picture.
    fn write(&mut self, photo: &mut Photo, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if photo.picture.is_none() {
            let Some((picture, data_at)) = Picture::read(&photo.kept)? else {
                return if photo.kept.len() > MAX_HEAD {
                    Err(Refusal::Damaged("picture with too much before it"))
                } else {
                    Ok(())
                };
            };
            if self.photos == 0 {
                self.text(out, "%PDF-1.5\n");
                self.bytes(out, b"%\xE2\xE3\xCF\xD3\n");
            }
            let first = TREE + 1 + OBJECTS * self.photos;
            self.offsets.resize(first + OBJECTS - 1, 0);
            self.offsets[first - 1] = self.written;
            self.text(out, &format!("{first} 0 obj\n{}\nstream\n", picture.dictionary(first + 1)));
            // Of a PNG the pixels alone are the stream; a JPEG is one as a whole.
            photo.kept.drain(..data_at);
            photo.picture = Some(picture);
        }
        let before = out.len();
        match photo.picture.as_ref().map(|picture| &picture.format) {
            Some(Format::Png { .. }) => photo.chunks.take(&mut photo.kept, out),
            _ => out.append(&mut photo.kept),
        }
        photo.data += out.len() - before;
        self.written += out.len() - before;
        Ok(())
    }

    fn object(&mut self, out: &mut Vec<u8>, number: usize, body: &str) {
        self.offsets[number - 1] = self.written;
        self.text(out, &format!("{number} 0 obj\n{body}\nendobj\n"));
    }

    fn text(&mut self, out: &mut Vec<u8>, text: &str) {
        self.bytes(out, text.as_bytes());
    }

    fn bytes(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        out.extend_from_slice(bytes);
        self.written += bytes.len();
    }
}

impl Picture {
    /// Reads the head of a picture that an inspector let through, and says where what goes into the PDF begins. `None`: it goes on.
    fn read(head: &[u8]) -> Result<Option<(Self, usize)>, Refusal> {
        match head {
            [0xFF, ..] => Ok(Self::read_jpeg(head).map(|picture| (picture, 0))),
            [0x89, ..] => Self::read_png(head),
            _ => Ok(None),
        }
    }

    fn read_jpeg(head: &[u8]) -> Option<Self> {
        let (mut at, mut turned, mut inverted) = (2, 1, false);
        loop {
            let marker = *head.get(at + 1)?;
            if marker == 0xFF {
                // A byte that fills up.
                at += 1;
                continue;
            }
            let length = usize::from(u16::from_be_bytes([*head.get(at + 2)?, *head.get(at + 3)?]));
            let payload = head.get(at + 4..at + 2 + length.max(2))?;
            match marker {
                0xC0..=0xC2 => {
                    let &[bits, h1, h0, w1, w0, components, ..] = payload else {
                        return None;
                    };
                    return Some(Self {
                        format: Format::Jpeg {
                            components,
                            inverted: inverted && components == 4,
                        },
                        width: u16::from_be_bytes([w1, w0]).into(),
                        height: u16::from_be_bytes([h1, h0]).into(),
                        bits,
                        orientation: turned,
                    });
                }
                0xE1 if payload.starts_with(b"Exif\0") && turned == 1 => {
                    turned = payload.get(6..).and_then(orientation).unwrap_or(1);
                }
                0xEE => inverted |= payload.starts_with(b"Adobe"),
                _ => {}
            }
            at += 2 + length;
        }
    }

    fn read_png(head: &[u8]) -> Result<Option<(Self, usize)>, Refusal> {
        let Some(&[w3, w2, w1, w0, h3, h2, h1, h0, bits, colour, _, _, interlace]) = head.get(16..29) else {
            return Ok(None);
        };
        let components = match colour {
            0 | 3 => 1,
            2 => 3,
            // With an alpha channel the pixels would have to be decoded.
            _ => return Err(Refusal::NotAPage),
        };
        if interlace != 0 {
            return Err(Refusal::NotAPage);
        }
        let (mut at, mut palette, mut turned) = (33, None, 1);
        loop {
            let (Some(length), Some(kind)) = (head.get(at..at + 4), head.get(at + 4..at + 8)) else {
                return Ok(None);
            };
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            if kind == b"IDAT" {
                let picture = Self {
                    format: Format::Png { components, palette },
                    width: u32::from_be_bytes([w3, w2, w1, w0]),
                    height: u32::from_be_bytes([h3, h2, h1, h0]),
                    bits,
                    orientation: turned,
                };
                return Ok(Some((picture, at)));
            }
            let Some(payload) = head.get(at + 8..at + 8 + length) else {
                return Ok(None);
            };
            match kind {
                b"PLTE" => palette = Some(payload.to_vec()),
                b"eXIf" if turned == 1 => turned = orientation(payload).unwrap_or(1),
                _ => {}
            }
            at += 12 + length;
        }
    }

    fn dictionary(&self, length: usize) -> String {
        let Self { width, height, bits, .. } = self;
        let (colours, filter) = match &self.format {
            Format::Jpeg { components, inverted } => {
                let colours = match components {
                    1 => "/DeviceGray",
                    4 if *inverted => "/DeviceCMYK /Decode [1 0 1 0 1 0 1 0]",
                    4 => "/DeviceCMYK",
                    _ => "/DeviceRGB",
                };
                (colours.to_owned(), "/Filter /DCTDecode".to_owned())
            }
            Format::Png { components, palette } => {
                let colours = match palette {
                    Some(palette) if *components == 1 => {
                        let table: String = palette.iter().map(|byte| format!("{byte:02X}")).collect();
                        format!("[/Indexed /DeviceRGB {} <{table}>]", (palette.len() / 3).max(1) - 1)
                    }
                    _ if *components == 1 => "/DeviceGray".to_owned(),
                    _ => "/DeviceRGB".to_owned(),
                };
                let parameters = format!(
                    "/Filter /FlateDecode /DecodeParms << /Predictor 15 /Colors {components} /BitsPerComponent {bits} /Columns {width} >>"
                );
                (colours, parameters)
            }
        };
        format!(
            "<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /BitsPerComponent {bits} /ColorSpace {colours} {filter} /Length {length} 0 R >>"
        )
    }

    fn turns_sides(&self) -> bool {
        self.orientation >= 5
    }

    /// Width and height of its page, in points.
    fn page(&self) -> (f64, f64) {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        let (width, height) = if self.turns_sides() { (height, width) } else { (width, height) };
        let scale = (PAGE.0 / width).min(PAGE.1 / height);
        // A strip of a few pixels would be no page.
        ((width * scale).max(3.0), (height * scale).max(3.0))
    }

    /// Paints the picture upright: the matrix takes the unit square, whose upper side is the first row as stored, to the page.
    fn content(&self) -> String {
        let (w, h) = self.page();
        let matrix = match self.orientation {
            2 => [-w, 0.0, 0.0, h, w, 0.0],
            3 => [-w, 0.0, 0.0, -h, w, h],
            4 => [w, 0.0, 0.0, -h, 0.0, h],
            5 => [0.0, -h, -w, 0.0, w, h],
            6 => [0.0, -h, w, 0.0, 0.0, h],
            7 => [0.0, h, w, 0.0, 0.0, 0.0],
            8 => [0.0, h, -w, 0.0, w, 0.0],
            _ => [w, 0.0, 0.0, h, 0.0, 0.0],
        };
        let matrix: Vec<String> = matrix.iter().map(|value| format!("{value:.2}")).collect();
        format!("q {} cm /P Do Q", matrix.join(" "))
    }
}

impl Chunks {
    /// Moves pixel data on, without the chunks' heads and checksums, and drops every other chunk. The head of a chunk that is not complete stays.
    fn take(&mut self, kept: &mut Vec<u8>, out: &mut Vec<u8>) {
        let mut at = 0;
        loop {
            let data = self.data.min(kept.len() - at);
            out.extend_from_slice(&kept[at..at + data]);
            self.data -= data;
            at += data;
            if self.data > 0 {
                break;
            }
            let skipped = self.skip.min(kept.len() - at);
            self.skip -= skipped;
            at += skipped;
            let Some(&[l3, l2, l1, l0, ref kind @ ..]) = kept.get(at..at + 8).filter(|_| self.skip == 0) else {
                break;
            };
            let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
            at += 8;
            (self.data, self.skip) = if kind == b"IDAT" {
                (length, CHECKSUM)
            } else {
                (0, length + CHECKSUM)
            };
        }
        kept.drain(..at);
    }
}

/// A document or another picture in the place of a photo.
fn of_a_page(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::NotAccepted { .. } | Refusal::OtherFormat { .. } => Refusal::NotAPage,
        other => other,
    }
}

/// Photos that come as one run of bytes, each as long as was announced.
pub struct JoinedPhotos {
    photos: Photos,
    /// Bytes of the photos that have not begun, the last one first.
    lengths: Vec<u64>,
    /// Bytes left of the one that has.
    left: u64,
}

impl JoinedPhotos {
    pub fn new(policy: Policy, lengths: &[u64]) -> Self {
        Self {
            photos: Photos::new(policy),
            lengths: lengths.iter().rev().copied().collect(),
            left: 0,
        }
    }

    /// As [`Photos::push`].
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while !input.is_empty() {
            if self.left == 0 {
                self.left = self.lengths.pop().ok_or(Refusal::Damaged("bytes behind the last photo"))?;
                self.photos.begin()?;
            }
            let length = input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (piece, rest) = input.split_at(length);
            self.photos.push(piece, out)?;
            self.left -= length as u64;
            input = rest;
            if self.left == 0 {
                self.photos.end(out)?;
            }
        }
        Ok(())
    }

    /// As [`Photos::finish`].
    pub fn finish(self, out: &mut Vec<u8>) -> Result<Report, Refusal> {
        if self.left > 0 || !self.lengths.is_empty() {
            return Err(Refusal::Truncated);
        }
        self.photos.finish(out)
    }
}

#[cfg(test)]
mod tests;
