//! Is this PNG whole, and which of its chunks stay? Walks the chunks (W3C PNG, third edition), verifies every checksum, inflates nothing.
//!
//! Kept byte for byte: all chunks a decoder uses. Dropped always: what stands behind `IEND`; as decoders do, ancillary chunks of up to 64 KiB
//! whose checksum is wrong; and what makes an animation of a single picture. Refused: animations (`acTL` with more than one frame, `fdAT`, and
//! `fcTL` without or behind the picture), unknown critical chunks, chunks out of order.
//!
//! | chunk | `Gps` | `All` | `None` |
//! | --- | --- | --- | --- |
//! | `eXIf` | GPS directory removed; if unreadable, replaced by the orientation alone; dropped if over 64 KiB | replaced by the orientation alone, if it turns | kept |
//! | `tEXt`, plain `iTXt` | dropped if they speak of a place, hold a raw profile, or are over 64 KiB | dropped | kept |
//! | `zTXt`, compressed `iTXt` | dropped: a filter without decoder cannot look inside | dropped | kept |
//! | other ancillary chunks | kept | dropped unless they define colour, transparency or size | kept |

use super::crc::Crc32;
use super::strip::{Scrub, is_place_field, names_a_place, orientation, orientation_only, scrub_gps};
use super::{Findings, Limits, Policy, Refusal, Strip, count_work};
use zeroize::Zeroizing;

/// The longest ancillary chunk. Colour profiles are the largest honest ones, at a few MiB.
const MAX_ANCILLARY: u32 = 8 << 20;
/// The longest chunk that is held to be looked into.
const MAX_HELD: usize = 64 << 10;
const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

pub(super) struct Png {
    limits: Limits,
    strip: Strip,
    state: State,
    /// Length and kind, or the checksum: up to eight bytes that come before or after a chunk's data.
    fixed: [u8; 8],
    have: usize,
    kind: [u8; 4],
    /// Bytes of data still to come.
    left: u32,
    crc: Crc32,
    fate: Fate,
    held: Zeroizing<Vec<u8>>,
    place: Place,
    header: Option<Header>,
    data_bytes: u64,
    orientation_kept: bool,
    /// An `acTL` said that there is one frame only.
    one_frame: bool,
    stripped: bool,
    repaired: bool,
    trailing: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Signature,
    Head,
    Data,
    Check,
    Ended,
}

/// What happens to the data of the chunk at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Drop,
    Hold,
}

/// How far the order of chunks has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Place {
    Nothing,
    Header,
    Palette,
    Pixels,
    BehindPixels,
}

#[derive(Clone, Copy)]
struct Header {
    width: u32,
    height: u32,
    colour: u8,
}

impl Png {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            limits: policy.limits,
            strip: policy.strip,
            state: State::Signature,
            fixed: [0; 8],
            have: 0,
            kind: [0; 4],
            left: 0,
            crc: Crc32::default(),
            fate: Fate::Pass,
            held: Zeroizing::default(),
            place: Place::Nothing,
            header: None,
            data_bytes: 0,
            orientation_kept: false,
            one_frame: false,
            stripped: false,
            repaired: false,
            trailing: 0,
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while !input.is_empty() {
            let used = match self.state {
                State::Data => self.data(input, out)?,
                State::Ended => {
                    self.trailing += input.len() as u64;
                    input.len()
                }
                State::Signature | State::Head | State::Check => self.gather(input, out)?,
            };
            count_work(used);
            input = &input[used..];
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Findings, Refusal> {
        if self.state != State::Ended {
            return Err(Refusal::Truncated);
        }
        Ok(Findings {
            pixels: self.header.map(|header| (header.width, header.height)),
            dropped_trailing: self.trailing,
            stripped: self.stripped,
            repaired: self.repaired,
            ..Findings::default()
        })
    }

    /// Gathers the eight or four bytes that stand around a chunk's data.
    fn gather(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Refusal> {
        let wanted = if self.state == State::Check { 4 } else { 8 };
        let take = input.len().min(wanted - self.have);
        self.fixed[self.have..self.have + take].copy_from_slice(&input[..take]);
        self.have += take;
        if self.have == wanted {
            self.have = 0;
            match self.state {
                State::Check => self.end_chunk(out)?,
                State::Signature if self.fixed == *SIGNATURE => {
                    out.extend_from_slice(SIGNATURE);
                    self.state = State::Head;
                }
                State::Signature => return Err(Refusal::Damaged("png signature")),
                State::Head | State::Data | State::Ended => self.begin_chunk(out)?,
            }
        }
        Ok(take)
    }

    fn begin_chunk(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let [l3, l2, l1, l0, kind @ ..] = self.fixed;
        self.left = u32::from_be_bytes([l3, l2, l1, l0]);
        self.kind = kind;
        if !kind.iter().all(u8::is_ascii_alphabetic) || self.left > i32::MAX as u32 {
            return Err(Refusal::Damaged("png chunk"));
        }
        self.check_order()?;
        let ancillary = kind[0].is_ascii_lowercase();
        if ancillary && self.left > MAX_ANCILLARY {
            return Err(Refusal::Damaged("png chunk length"));
        }
        self.fate = self.fate_of(ancillary);
        self.held = Zeroizing::new(match self.fate {
            Fate::Hold => Vec::with_capacity(self.left as usize),
            Fate::Pass | Fate::Drop => Vec::new(),
        });
        if self.fate == Fate::Pass {
            out.extend_from_slice(&self.fixed);
        }
        self.crc = Crc32::default();
        self.crc.add(&kind);
        self.state = if self.left == 0 { State::Check } else { State::Data };
        Ok(())
    }

    /// IHDR first, PLTE before the pixels, IDATs in one row, IEND last and empty.
    fn check_order(&mut self) -> Result<(), Refusal> {
        if self.place == Place::Nothing && self.kind != *b"IHDR" {
            return Err(Refusal::Damaged("png without header"));
        }
        let colour = self.header.map_or(0, |header| header.colour);
        let (fits, next) = match &self.kind {
            b"IHDR" => (self.place == Place::Nothing && self.left == 13, Place::Header),
            b"PLTE" => {
                let length = (3..=768).contains(&self.left) && self.left.is_multiple_of(3);
                (self.place == Place::Header && length && !matches!(colour, 0 | 4), Place::Palette)
            }
            b"IDAT" => (
                self.place <= Place::Pixels && (colour != 3 || self.place >= Place::Palette),
                Place::Pixels,
            ),
            b"IEND" => (self.left == 0 && self.data_bytes > 6, Place::BehindPixels),
            // The one frame may be the picture itself, which `fcTL` before the pixels says. A frame of its own would be a second picture.
            b"acTL" if self.left == 8 && self.place < Place::Pixels => (true, self.place),
            b"fcTL" if self.one_frame && self.place < Place::Pixels => (true, self.place),
            b"acTL" | b"fcTL" | b"fdAT" => return Err(Refusal::Animated),
            [first, ..] if first.is_ascii_uppercase() => {
                return Err(Refusal::Damaged("png chunk kind"));
            }
            _ if self.place == Place::Pixels => (true, Place::BehindPixels),
            _ => (true, self.place),
        };
        self.place = next;
        if fits { Ok(()) } else { Err(Refusal::Damaged("png chunk order")) }
    }

    fn fate_of(&self, ancillary: bool) -> Fate {
        let held = if self.left as usize <= MAX_HELD { Fate::Hold } else { Fate::Drop };
        // Short ancillary chunks are held until their checksum is known; longer ones have to be right.
        let passed = if ancillary && held == Fate::Hold { Fate::Hold } else { Fate::Pass };
        match (self.strip, &self.kind) {
            (_, b"IHDR" | b"acTL" | b"fcTL") => Fate::Hold,
            (Strip::None, _) => passed,
            (_, b"eXIf") => held,
            (Strip::Gps, b"tEXt" | b"iTXt") => held,
            (Strip::Gps, b"zTXt") => Fate::Drop,
            (Strip::All, kind) if ancillary && !is_for_decoders(kind) => Fate::Drop,
            _ => passed,
        }
    }

    fn data(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Refusal> {
        let take = input.len().min(self.left as usize);
        let data = &input[..take];
        self.crc.add(data);
        match self.fate {
            Fate::Pass => out.extend_from_slice(data),
            Fate::Hold => self.held.extend_from_slice(data),
            Fate::Drop => {}
        }
        if self.kind == *b"IDAT" {
            self.look_at_pixels(data)?;
        }
        self.left -= take as u32;
        if self.left == 0 {
            self.state = State::Check;
        }
        Ok(take)
    }

    /// The pixel data is one zlib stream: method 8 in its first byte (RFC 1950).
    fn look_at_pixels(&mut self, data: &[u8]) -> Result<(), Refusal> {
        if self.data_bytes == 0 && data.first().is_some_and(|byte| byte & 0x8F != 8) {
            return Err(Refusal::Damaged("png pixel data"));
        }
        self.data_bytes += data.len() as u64;
        Ok(())
    }

    fn end_chunk(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let [c3, c2, c1, c0, ..] = self.fixed;
        let sum = u32::from_be_bytes([c3, c2, c1, c0]);
        if sum != self.crc.value() {
            if self.kind[0].is_ascii_uppercase() || self.fate == Fate::Pass {
                return Err(Refusal::Damaged("png checksum"));
            }
            self.repaired = true;
            self.state = State::Head;
            return Ok(());
        }
        self.state = if self.kind == *b"IEND" { State::Ended } else { State::Head };
        match self.fate {
            Fate::Pass => out.extend_from_slice(&sum.to_be_bytes()),
            Fate::Drop => self.stripped = true,
            Fate::Hold => self.end_held(out)?,
        }
        Ok(())
    }

    fn end_held(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let kept = match (&self.kind, self.strip) {
            (b"IHDR", _) => {
                self.read_header()?;
                Scrub::Untouched
            }
            (b"acTL" | b"fcTL", _) => {
                self.one_frame = true;
                if self.kind == *b"acTL" && self.held[..4] != [0, 0, 0, 1] {
                    return Err(Refusal::Animated);
                }
                self.repaired = true;
                return Ok(());
            }
            (b"eXIf" | b"tEXt" | b"iTXt" | b"zTXt", Strip::None) => Scrub::Untouched,
            (b"eXIf", Strip::All) => {
                let turned = orientation(exif_tiff(&mut self.held));
                self.keep_orientation(turned, out);
                Scrub::Drop
            }
            (b"eXIf", _) => {
                let turned = orientation(exif_tiff(&mut self.held));
                let kept = scrub_gps(exif_tiff(&mut self.held));
                if kept == Scrub::Drop {
                    self.keep_orientation(turned, out);
                }
                kept
            }
            (b"tEXt" | b"iTXt", _) if tells_a_place(&self.kind, &self.held) => Scrub::Drop,
            _ => Scrub::Untouched,
        };
        self.stripped |= kept != Scrub::Untouched;
        if kept != Scrub::Drop {
            write_chunk(out, self.kind, &self.held);
        }
        Ok(())
    }

    /// IHDR: width, height, depth, colour, and three methods of which only the interlacing has a choice.
    fn read_header(&mut self) -> Result<(), Refusal> {
        let &[w3, w2, w1, w0, h3, h2, h1, h0, depth, colour, 0, 0, 0 | 1] = &self.held[..] else {
            return Err(Refusal::Damaged("png header"));
        };
        let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
        let known = matches!((colour, depth), (0, 1 | 2 | 4 | 8 | 16) | (3, 1 | 2 | 4 | 8) | (2 | 4 | 6, 8 | 16));
        if !known || width == 0 || height == 0 {
            return Err(Refusal::Damaged("png header"));
        }
        self.header = Some(Header { width, height, colour });
        self.limits.check_pixels(width, height)
    }

    /// Writes an `eXIf` with the orientation alone, once, and only if it turns the picture.
    fn keep_orientation(&mut self, turned: Option<u8>, out: &mut Vec<u8>) {
        if let Some(orientation) = turned.filter(|orientation| *orientation > 1)
            && !self.orientation_kept
        {
            self.orientation_kept = true;
            write_chunk(out, *b"eXIf", &orientation_only(orientation));
        }
    }
}

/// Some writers put JPEG's `Exif\0\0` before the TIFF block, which the specification forbids and readers accept.
fn exif_tiff(held: &mut [u8]) -> &mut [u8] {
    let skip = if held.starts_with(b"Exif\0\0") { 6 } else { 0 };
    &mut held[skip..]
}

/// A text chunk is a keyword, a zero and a text; `iTXt` has two flags (the first: compressed), a language and a translation between.
fn tells_a_place(kind: &[u8; 4], held: &[u8]) -> bool {
    let end = held.iter().position(|byte| *byte == 0).unwrap_or(held.len());
    let (keyword, text) = held.split_at(end);
    if keyword.starts_with(b"Raw profile type") || names_a_place(keyword) || is_place_field(keyword) {
        return true;
    }
    if kind == b"tEXt" {
        return names_a_place(text.get(1..).unwrap_or_default());
    }
    // Language and translated keyword end in a zero each, so that the text is the third part.
    match text {
        [0, 0, _, rest @ ..] => rest.splitn(3, |byte| *byte == 0).any(names_a_place),
        _ => true,
    }
}

fn is_for_decoders(kind: &[u8; 4]) -> bool {
    matches!(
        kind,
        b"tRNS" | b"gAMA" | b"cHRM" | b"sRGB" | b"iCCP" | b"cICP" | b"mDCV" | b"cLLI" | b"sBIT" | b"bKGD" | b"pHYs"
    )
}

fn write_chunk(out: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let mut crc = Crc32::default();
    crc.add(&kind);
    crc.add(data);
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(&kind);
    out.extend_from_slice(data);
    out.extend_from_slice(&crc.value().to_be_bytes());
}
