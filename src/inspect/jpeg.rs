//! Is this JPEG whole, and which of its segments stay? Walks the markers (ITU-T T.81 annex B) and never decodes a sample.
//!
//! Kept byte for byte: everything a decoder uses (tables, frame, scans, JFIF and Adobe headers, colour profile). Dropped always: what
//! stands behind the end of the image, where phones append seconds of video and attackers whole archives.
//!
//! | segment | `Gps` | `All` | `None` |
//! | --- | --- | --- | --- |
//! | EXIF (APP1) | GPS directory removed; if unreadable, replaced by the orientation alone | replaced by the orientation alone, if it turns | kept |
//! | XMP (APP1) | dropped if it speaks of a place | dropped | kept |
//! | extended XMP (APP1) | dropped: its words may be cut at segment borders | dropped | kept |
//! | MPF (APP2), the index of pictures behind the end | dropped, for they are gone | dropped | kept |
//! | IPTC (APP13) | dropped if it tells a place or is unreadable | dropped | kept |
//! | comments, other APPn | dropped if they speak of a place | dropped | kept |
//! | JFIF (APP0), ICC profile (APP2), Adobe (APP14) | kept | kept | kept |
//!
//! What decoders only warn about is put right as they do, by going on to the next marker (libjpeg's `next_marker`): bytes between segments,
//! marker bytes that stand for nothing, metadata segments without a length. These bytes are dropped. In a scan nothing is put right: where
//! its data end, only a decoder could tell, so that a scan without an end mark is cut off.
//!
//! One baseline, extended or progressive Huffman frame of 8 bits is accepted: the kinds every browser and provider opens.

use super::strip::{Scrub, mentions_a_place, names_a_place, orientation, orientation_only, resources_tell_a_place, scrub_gps};
use super::{Findings, Limits, Policy, Refusal, Strip, count_work};
use zeroize::Zeroizing;

/// Progressive encoders write about ten; a thousand would keep a decoder busy for minutes.
const MAX_SCANS: u32 = 100;

const EXIF: &[u8] = b"Exif\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const XMP_EXTENSION: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";

pub(super) struct Jpeg {
    limits: Limits,
    strip: Strip,
    state: State,
    /// The segment at hand: marker, length and payload. It has room for no more than that; 64 KiB at most, and next to none while a scan goes by.
    segment: Zeroizing<Vec<u8>>,
    /// How long `segment` must get before it can be looked at.
    wanted: usize,
    frame: Option<(u32, u32)>,
    scans: u32,
    scan_has_data: bool,
    orientation_kept: bool,
    stripped: bool,
    repaired: bool,
    trailing: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first two bytes, and between them.
    Start,
    StartMark,
    /// Between segments: up to the next FF.
    Between,
    /// Behind the FF of a marker between segments, or inside a scan.
    Marker {
        in_scan: bool,
    },
    Segment,
    Scan,
    Ended,
}

impl Jpeg {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            limits: policy.limits,
            strip: policy.strip,
            state: State::Start,
            segment: Zeroizing::default(),
            wanted: 4,
            frame: None,
            scans: 0,
            scan_has_data: false,
            orientation_kept: false,
            stripped: false,
            repaired: false,
            trailing: 0,
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while let Some(&byte) = input.first() {
            let used = match self.state {
                State::Scan => self.scan(input, out),
                State::Segment => self.collect(input, out)?,
                State::Ended => {
                    self.trailing += input.len() as u64;
                    input.len()
                }
                State::Start | State::StartMark => self.fixed(byte, out)?,
                State::Between => self.between(input),
                State::Marker { in_scan } => self.marker(byte, in_scan, out)?,
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
            pixels: self.frame,
            dropped_trailing: self.trailing,
            stripped: self.stripped,
            repaired: self.repaired,
            ..Findings::default()
        })
    }

    /// The bytes that can only be one thing: FF D8 at the start.
    fn fixed(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<usize, Refusal> {
        self.state = match (self.state, byte) {
            (State::Start, 0xFF) => State::StartMark,
            (State::StartMark, 0xD8) => {
                out.extend_from_slice(&[0xFF, 0xD8]);
                State::Between
            }
            _ => return Err(Refusal::Damaged("jpeg marker")),
        };
        Ok(1)
    }

    /// Drops what stands before the next marker.
    fn between(&mut self, input: &[u8]) -> usize {
        let mark = memchr::memchr(0xFF, input);
        self.repaired |= mark != Some(0);
        match mark {
            Some(mark) => {
                self.state = State::Marker { in_scan: false };
                mark + 1
            }
            None => input.len(),
        }
    }

    /// Entropy-coded data goes straight through, with the FFs that are stuffed; up to an FF that may be a marker.
    fn scan(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut end = 0;
        let used = loop {
            let Some(mark) = memchr::memchr(0xFF, &input[end..]).map(|at| end + at) else {
                end = input.len();
                break end;
            };
            if input.get(mark + 1) == Some(&0) {
                end = mark + 2;
                continue;
            }
            end = mark;
            self.state = State::Marker { in_scan: true };
            break mark + 1;
        };
        self.scan_has_data |= end > 0;
        out.extend_from_slice(&input[..end]);
        used
    }

    /// The byte behind an FF.
    fn marker(&mut self, byte: u8, in_scan: bool, out: &mut Vec<u8>) -> Result<usize, Refusal> {
        match byte {
            // Any number of FF may fill up before a marker; each but the last goes out as it came.
            0xFF => out.push(0xFF),
            // A stuffed FF, or a restart.
            0x00 | 0xD0..=0xD7 if in_scan => {
                self.scan_has_data |= byte == 0;
                out.extend_from_slice(&[0xFF, byte]);
                self.state = State::Scan;
            }
            // Stands for nothing between segments: no marker, a restart without a scan, or TEM.
            0x00 | 0x01 | 0xD0..=0xD7 if !in_scan => {
                self.repaired = true;
                self.state = State::Between;
            }
            0xD9 => {
                if self.scans == 0 || !self.scan_has_data {
                    return Err(Refusal::Damaged("jpeg without picture data"));
                }
                out.extend_from_slice(&[0xFF, byte]);
                self.state = State::Ended;
            }
            // Frames 0 to 2, DHT, SOS, DQT, DNL, DRI, APPn, COM.
            0xC0..=0xC2 | 0xC4 | 0xDA..=0xDD | 0xE0..=0xEF | 0xFE => {
                self.segment.clear();
                self.segment.extend_from_slice(&[0xFF, byte]);
                self.wanted = 4;
                self.state = State::Segment;
            }
            // The scan was left for something else: what makers append, or the rest of a broken copy.
            _ if in_scan => return Err(Refusal::Truncated),
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCF | 0xDE | 0xDF => {
                return Err(Refusal::Damaged("jpeg frame kind"));
            }
            _ => return Err(Refusal::Damaged("jpeg marker")),
        }
        Ok(1)
    }

    /// Gathers a whole segment: first its length, then the rest.
    fn collect(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Refusal> {
        let take = input.len().min(self.wanted - self.segment.len());
        self.segment.extend_from_slice(&input[..take]);
        if self.segment.len() == self.wanted && self.wanted == 4 {
            let length = usize::from(u16::from_be_bytes([self.segment[2], self.segment[3]]));
            if length < 2 {
                return self.skip_empty_segment().map(|()| take);
            }
            self.wanted = 2 + length;
            self.segment.reserve_exact(length - 2);
        }
        if self.segment.len() == self.wanted {
            self.state = State::Between;
            self.end_segment(out)?;
        }
        Ok(take)
    }

    /// Decoders take a length that does not even count itself for an empty segment, where they need nothing of it.
    fn skip_empty_segment(&mut self) -> Result<(), Refusal> {
        if !matches!(self.segment[1], 0xE0..=0xEF | 0xFE) {
            return Err(Refusal::Damaged("jpeg segment length"));
        }
        self.repaired = true;
        self.state = State::Between;
        Ok(())
    }

    fn end_segment(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self.segment[1] {
            0xC0..=0xC2 => self.read_frame()?,
            0xDA => self.begin_scan()?,
            0xE0..=0xEF | 0xFE => return self.keep_metadata(out),
            _ => {}
        }
        out.extend_from_slice(&self.segment);
        if self.state == State::Scan {
            self.segment = Zeroizing::default();
        }
        Ok(())
    }

    /// SOF: precision, height, width, components (three bytes each).
    fn read_frame(&mut self) -> Result<(), Refusal> {
        let &[8, h1, h0, w1, w0, components @ (1 | 3 | 4), ref rest @ ..] = &self.segment[4..] else {
            return Err(Refusal::Damaged("jpeg frame"));
        };
        let (width, height) = (u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
        if rest.len() != 3 * usize::from(components) || width == 0 || height == 0 {
            return Err(Refusal::Damaged("jpeg frame"));
        }
        if self.frame.replace((width, height)).is_some() {
            return Err(Refusal::Damaged("jpeg with two frames"));
        }
        self.limits.check_pixels(width, height)
    }

    /// SOS: component count, two bytes each, three more.
    fn begin_scan(&mut self) -> Result<(), Refusal> {
        let payload = &self.segment[4..];
        let whole = payload
            .first()
            .is_some_and(|count| (1..=4).contains(count) && payload.len() == 4 + 2 * usize::from(*count));
        if self.frame.is_none() || !whole {
            return Err(Refusal::Damaged("jpeg scan"));
        }
        if self.scans > 0 && !self.scan_has_data {
            return Err(Refusal::Damaged("jpeg without picture data"));
        }
        self.scans += 1;
        self.scan_has_data = false;
        if self.scans > MAX_SCANS {
            return Err(Refusal::Damaged("jpeg with too many scans"));
        }
        self.state = State::Scan;
        Ok(())
    }

    /// APPn and COM, as the table at the head says.
    fn keep_metadata(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let marker = self.segment[1];
        let (stays, changed) = match self.strip {
            Strip::None => (true, false),
            Strip::Gps => {
                let turned = self.turned();
                let (stays, changed) = self.without_place(marker);
                if !stays {
                    self.keep_orientation(turned, out);
                }
                (stays, changed)
            }
            Strip::All => {
                self.keep_orientation(self.turned(), out);
                (is_for_decoders(marker, &self.segment[4..]), false)
            }
        };
        self.stripped |= !stays || changed;
        if stays {
            out.extend_from_slice(&self.segment);
        }
        Ok(())
    }

    /// Whether the segment stays under `Gps`, and whether it was changed for that.
    fn without_place(&mut self, marker: u8) -> (bool, bool) {
        let payload = &mut self.segment[4..];
        match marker {
            0xE1 if payload.starts_with(EXIF) => match payload.get_mut(6..).map(scrub_gps) {
                Some(Scrub::Untouched) => (true, false),
                Some(Scrub::Changed) => (true, true),
                Some(Scrub::Drop) | None => (false, true),
            },
            0xE1 if payload.starts_with(XMP) => (!names_a_place(&payload[XMP.len()..]), false),
            0xE1 if payload.starts_with(XMP_EXTENSION) => (false, true),
            0xE2 if payload.starts_with(b"MPF\0") => (false, true),
            0xED => (!resources_tell_a_place(payload), false),
            _ if is_for_decoders(marker, payload) => (true, false),
            _ => (!mentions_a_place(payload), false),
        }
    }

    /// How the EXIF segment at hand turns the picture, if it is one and does.
    fn turned(&self) -> Option<u8> {
        let is_exif = self.segment[1] == 0xE1 && self.segment[4..].starts_with(EXIF);
        let tiff = self.segment.get(10..).filter(|_| is_exif)?;
        orientation(tiff).filter(|orientation| *orientation > 1)
    }

    /// Writes an EXIF segment with the orientation alone, once, and only if it turns the picture.
    fn keep_orientation(&mut self, turned: Option<u8>, out: &mut Vec<u8>) {
        if let Some(orientation) = turned
            && !self.orientation_kept
        {
            self.orientation_kept = true;
            let tiff = orientation_only(orientation);
            out.extend_from_slice(&[0xFF, 0xE1, 0, (2 + 6 + tiff.len()) as u8]);
            out.extend_from_slice(b"Exif\0\0");
            out.extend_from_slice(&tiff);
        }
    }
}

fn is_for_decoders(marker: u8, payload: &[u8]) -> bool {
    match marker {
        0xE0 => payload.starts_with(b"JFIF\0"),
        0xE2 => payload.starts_with(b"ICC_PROFILE\0"),
        0xEE => payload.starts_with(b"Adobe"),
        _ => false,
    }
}
