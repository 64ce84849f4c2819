//! Is this HEIC whole? Walks the top-level boxes (ISO 14496-12) to the end and decodes nothing. Off unless a policy accepts HEIC.
//!
//! * `ftyp` first (the sniffer saw its brands), a `meta` box, sizes that add up to exactly the file. A file cannot be cut or grown.
//! * `moov` (an image sequence) is refused as animated. `mpvd`, the video of a Motion Photo, keeps its place and size, because other boxes
//!   are found by their offset, but becomes a `free` box of zeros.
//! * Pixels: the largest `ispe` property in `meta`. It is the whole picture, not a tile, in files as phones write them.
//! * Under `Gps`, EXIF is found by its TIFF header behind two zero bytes, which compressed pictures do not contain side by side with it, and
//!   its GPS directory is removed in place. EXIF that cannot be read is refused, since nothing can be cut out of this format.
//! * XMP is found by its first tag and overwritten with an empty one of the same length if it names a place, or is longer than 64 KiB.
//! * `All` cannot be kept here: such a policy does not accept HEIC ([`can_be_stripped`]).

use super::strip::{Scrub, names_a_place, scrub_gps};
use super::{FileType, Findings, Limits, Policy, Refusal, Strip, count_work};
use zeroize::Zeroizing;

/// Phones write five.
const MAX_BOXES: u32 = 1_000;
/// EXIF came from a JPEG segment once, and is never longer.
const MAX_EXIF: usize = 64 << 10;
const LITTLE: u64 = u64::from_be_bytes(*b"\0\0\0\0II\x2A\0");
const BIG: u64 = u64::from_be_bytes(*b"\0\0\0\0MM\0\x2A");
/// The longest XMP that is held to be looked into.
const MAX_XMP: usize = 64 << 10;

/// Text that begins and ends with the same tag, of which eight bytes are enough to know it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packet {
    begin: u64,
    end: u64,
    /// What stands behind the eight first bytes and before the eight last of an empty one.
    empty: (&'static [u8], &'static [u8]),
}

const PACKETS: [Packet; 2] = [
    Packet {
        begin: u64::from_be_bytes(*b"<x:xmpme"),
        end: u64::from_be_bytes(*b"/x:xmpme"),
        empty: (b"ta xmlns:x=\"adobe:ns:meta/\"", b"><"),
    },
    Packet {
        begin: u64::from_be_bytes(*b"<rdf:RDF"),
        end: u64::from_be_bytes(*b"/rdf:RDF"),
        empty: (b" xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"", b"><"),
    },
];

/// Two zeros and four bytes of header.
const SIX_BYTES: u64 = 0xFFFF_FFFF_FFFF;

pub(super) struct Heic {
    limits: Limits,
    strip: Strip,
    state: State,
    head: [u8; 16],
    have: usize,
    boxes: u32,
    has_meta: bool,
    /// The last eight bytes looked at for EXIF, and for `ispe`.
    window: u64,
    meta_window: u64,
    /// Bytes since `ispe` was seen; at 12 the window holds width and height.
    since_ispe: Option<u8>,
    pixels: Option<(u32, u32)>,
    /// An EXIF block being gathered. Its first four bytes have gone out already.
    exif: Option<Zeroizing<Vec<u8>>>,
    /// XMP being gathered, without its first eight bytes.
    xmp: Option<Xmp>,
    stripped: bool,
}

struct Xmp {
    packet: Packet,
    bytes: Zeroizing<Vec<u8>>,
    /// It was too long to be held, and goes whatever it says.
    too_long: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// Inside a box; `None`: to the end of the file.
    Body {
        left: Option<u64>,
        kind: Kind,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Meta,
    Video,
    Other,
}

/// Nothing but places can be taken from a HEIC by a filter, so that a policy of `All` must not accept it.
pub(super) fn can_be_stripped(file_type: FileType, strip: Strip) -> bool {
    file_type != FileType::Heic || strip != Strip::All
}

impl Heic {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            limits: policy.limits,
            strip: policy.strip,
            state: State::Head,
            head: [0; 16],
            have: 0,
            boxes: 0,
            has_meta: false,
            window: 0,
            meta_window: 0,
            since_ispe: None,
            pixels: None,
            exif: None,
            xmp: None,
            stripped: false,
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while !input.is_empty() {
            let used = match self.state {
                State::Head => {
                    self.head_byte(input[0], out)?;
                    1
                }
                State::Body { left, kind } => {
                    let take = left.map_or(input.len(), |left| input.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                    self.body(&input[..take], kind, out)?;
                    let left = left.map(|left| left - take as u64);
                    self.state = State::Body { left, kind };
                    if left == Some(0) {
                        self.end_box(out)?;
                    }
                    take
                }
            };
            count_work(used);
            input = &input[used..];
        }
        Ok(())
    }

    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Result<Findings, Refusal> {
        match self.state {
            State::Body { left: Some(_), .. } => return Err(Refusal::Truncated),
            State::Body { left: None, .. } => self.end_box(out)?,
            State::Head if self.have > 0 => return Err(Refusal::Truncated),
            State::Head => {}
        }
        if !self.has_meta {
            return Err(Refusal::Damaged("heic without picture"));
        }
        if let Some((width, height)) = self.pixels {
            self.limits.check_pixels(width, height)?;
        }
        Ok(Findings {
            pixels: self.pixels,
            stripped: self.stripped,
            ..Findings::default()
        })
    }

    /// Size (four bytes), kind, and if the size is 1 the real size in eight.
    fn head_byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.head[self.have] = byte;
        self.have += 1;
        let [s3, s2, s1, s0, kind @ .., _, _, _, _, _, _, _, _] = self.head;
        let size = u32::from_be_bytes([s3, s2, s1, s0]);
        if self.have < 8 || (self.have < 16 && size == 1) {
            return Ok(());
        }
        let size = match (size, self.head) {
            (0, _) => None,
            (1, [.., a, b, c, d, e, f, g, h]) => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            (size, _) => Some(u64::from(size)),
        };
        let left = match size {
            Some(size) => Some(size.checked_sub(self.have as u64).ok_or(Refusal::Damaged("heic box size"))?),
            None => None,
        };
        self.begin_box(kind, left, out)
    }

    fn begin_box(&mut self, kind: [u8; 4], left: Option<u64>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.boxes += 1;
        if self.boxes > MAX_BOXES || !kind.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return Err(Refusal::Damaged("heic box"));
        }
        let kind = match &kind {
            b"moov" => return Err(Refusal::Animated),
            b"meta" => {
                self.has_meta = true;
                Kind::Meta
            }
            b"mpvd" => {
                self.head[4..8].copy_from_slice(b"free");
                self.stripped = true;
                Kind::Video
            }
            _ => Kind::Other,
        };
        out.extend_from_slice(&self.head[..self.have]);
        self.have = 0;
        self.window = u64::MAX;
        self.meta_window = u64::MAX;
        self.since_ispe = None;
        self.state = State::Body { left, kind };
        if left == Some(0) { self.end_box(out) } else { Ok(()) }
    }

    fn end_box(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.state = State::Head;
        self.end_xmp(false, out);
        self.end_exif(out)
    }

    fn body(&mut self, mut input: &[u8], kind: Kind, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if kind == Kind::Video {
            out.resize(out.len() + input.len(), 0);
            return Ok(());
        }
        // Pixels and EXIF are looked for in the same pieces, so that the first fault wins whatever the split.
        while !input.is_empty() {
            let piece = match &self.exif {
                Some(exif) => &input[..input.len().min(MAX_EXIF - exif.len())],
                None if self.strip == Strip::None => input,
                None => &input[..self.up_to_metadata(input)],
            };
            if kind == Kind::Meta {
                self.look_for_pixels(piece)?;
            }
            self.keep(piece, out)?;
            input = &input[piece.len()..];
        }
        Ok(())
    }

    /// Writes a piece, or gathers it as EXIF.
    fn keep(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match &mut self.exif {
            Some(exif) => {
                exif.extend_from_slice(piece);
                if exif.len() == MAX_EXIF { self.end_exif(out) } else { Ok(()) }
            }
            None if self.xmp.is_some() => {
                self.gather_xmp(piece, out);
                Ok(())
            }
            None => {
                out.extend_from_slice(piece);
                self.begin_xmp();
                if self.strip != Strip::None && matches!(self.window & SIX_BYTES, LITTLE | BIG) {
                    let mut exif = Zeroizing::new(Vec::with_capacity(MAX_EXIF));
                    exif.extend_from_slice(&(self.window as u32).to_be_bytes());
                    self.exif = Some(exif);
                }
                Ok(())
            }
        }
    }

    /// `ispe` is a full box: kind, version and flags (four bytes), width, height.
    fn look_for_pixels(&mut self, input: &[u8]) -> Result<(), Refusal> {
        for byte in input {
            self.meta_window = self.meta_window << 8 | u64::from(*byte);
            if let Some(since) = &mut self.since_ispe {
                *since += 1;
                if *since == 12 {
                    self.since_ispe = None;
                    self.add_pixels((self.meta_window >> 32) as u32, self.meta_window as u32)?;
                }
            } else if self.meta_window as u32 == u32::from_be_bytes(*b"ispe") {
                self.since_ispe = Some(0);
            }
        }
        Ok(())
    }

    fn add_pixels(&mut self, width: u32, height: u32) -> Result<(), Refusal> {
        if width == 0 || height == 0 {
            return Err(Refusal::Damaged("heic pixels"));
        }
        let area = |(width, height)| u64::from(width) * u64::from(height);
        if self.pixels.is_none_or(|pixels| area(pixels) < area((width, height))) {
            self.pixels = Some((width, height));
        }
        // A tile may be small; the whole picture is measured at the end.
        Limits {
            min_side: 0,
            ..self.limits
        }
        .check_pixels(width, height)
    }

    /// How many bytes there are up to the end of a TIFF header or the first tag of XMP; inside XMP, up to its last.
    fn up_to_metadata(&mut self, input: &[u8]) -> usize {
        let inside = self.xmp.as_ref().map(|xmp| xmp.packet.end);
        for (at, byte) in input.iter().enumerate() {
            self.window = self.window << 8 | u64::from(*byte);
            let is_mark = match inside {
                Some(end) => self.window == end,
                None => matches!(self.window & SIX_BYTES, LITTLE | BIG) || PACKETS.iter().any(|packet| packet.begin == self.window),
            };
            if is_mark {
                return at + 1;
            }
        }
        input.len()
    }

    fn begin_xmp(&mut self) {
        let found = PACKETS.iter().find(|packet| packet.begin == self.window);
        if let Some(packet) = found.filter(|_| self.strip != Strip::None) {
            self.xmp = Some(Xmp {
                packet: *packet,
                bytes: Zeroizing::new(Vec::new()),
                too_long: false,
            });
        }
    }

    fn gather_xmp(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(xmp) = &mut self.xmp else { return };
        if xmp.bytes.len() + piece.len() > MAX_XMP {
            xmp.too_long = true;
        }
        if xmp.too_long {
            self.stripped = true;
            out.resize(out.len() + xmp.bytes.len() + piece.len(), b' ');
            xmp.bytes.clear();
        } else {
            xmp.bytes.extend_from_slice(piece);
        }
        if self.window == xmp.packet.end {
            self.end_xmp(true, out);
        }
    }

    /// Writes XMP as it was, or an empty one of the same length.
    fn end_xmp(&mut self, is_whole: bool, out: &mut Vec<u8>) {
        let Some(xmp) = self.xmp.take() else { return };
        self.window = u64::MAX;
        let length = xmp.bytes.len();
        if is_whole && !xmp.too_long && !names_a_place(&xmp.bytes) {
            out.extend_from_slice(&xmp.bytes);
            return;
        }
        self.stripped |= length > 0;
        let (begin, end) = xmp.packet.empty;
        let last = xmp.packet.end.to_be_bytes();
        match length.checked_sub(begin.len() + end.len() + last.len()) {
            Some(blanks) if is_whole && !xmp.too_long => {
                out.extend_from_slice(begin);
                out.resize(out.len() + blanks, b' ');
                out.extend_from_slice(end);
                out.extend_from_slice(&last);
            }
            _ => out.resize(out.len() + length, b' '),
        }
    }

    fn end_exif(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if let Some(mut exif) = self.exif.take() {
            match scrub_gps(&mut exif) {
                Scrub::Untouched => {}
                Scrub::Changed => self.stripped = true,
                Scrub::Drop => return Err(Refusal::Damaged("heic metadata")),
            }
            out.extend_from_slice(&exif[4..]);
            self.window = u64::MAX;
        }
        Ok(())
    }
}
