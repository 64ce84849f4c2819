//! Where does the document end? Holds back the last bytes until the end of the file tells which of them stay.
//!
//! Readers look for the last `%%EOF` near the end. Behind it, white space stays (a signature may cover it); zeros and anything else are
//! dropped from the end of that line on. Padding at the very end, as disks and transfers in blocks leave it, is only counted and may be of
//! any length.

use super::tokens::is_white;
use crate::inspect::{Refusal, count_work};
use zeroize::Zeroizing;

/// Readers look for the end mark in the last 1,024 bytes (ISO 32000-1, annex H, note 18).
const REACH: usize = 1024;
/// What is held is moved down only when this much was gathered, so that single-byte pushes stay cheap.
const HOLD: usize = 16 << 10;
const END_MARK: &[u8] = b"%%EOF";

pub(super) struct Tail {
    hold: Zeroizing<Vec<u8>>,
    /// How many equal bytes the file ends with so far; they stand behind `hold`.
    padding: u64,
    padding_byte: u8,
}

/// What stays, and where its end mark stands.
pub(super) struct End {
    pub(super) mark_at: u64,
    pub(super) dropped: u64,
}

impl Tail {
    pub(super) fn new() -> Self {
        Self {
            hold: Zeroizing::new(Vec::with_capacity(HOLD)),
            padding: 0,
            padding_byte: 0,
        }
    }

    pub(super) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let Some(&last) = input.last() else { return };
        let is_padding = matches!(last, 0 | b' ' | 0x1A | 0xFF);
        let run = if is_padding {
            input.iter().rev().take_while(|byte| **byte == last).count()
        } else {
            0
        };
        if run < input.len() || last != self.padding_byte {
            self.keep_padding(out);
            self.keep(&input[..input.len() - run], out);
        }
        self.padding += run as u64;
        self.padding_byte = last;
    }

    /// `position`: how many bytes were pushed.
    pub(super) fn finish(mut self, position: u64, out: &mut Vec<u8>) -> Result<End, Refusal> {
        let mut dropped = self.padding;
        if self.padding_byte == b' ' && self.padding <= REACH as u64 / 2 {
            self.keep_padding(out);
            dropped = 0;
        }
        let from = self.hold.len().saturating_sub(REACH);
        let mark = self.hold[from..]
            .windows(END_MARK.len())
            .rposition(|window| window == END_MARK)
            .ok_or(Refusal::Truncated)?;
        let mark_at = position - dropped - (self.hold.len() - from - mark) as u64;
        let end = self.end_of_file(from + mark + END_MARK.len());
        out.extend_from_slice(&self.hold[..end]);
        dropped += (self.hold.len() - end) as u64;
        Ok(End { mark_at, dropped })
    }

    /// Where the file ends, given the end of the last mark.
    fn end_of_file(&self, mark_end: usize) -> usize {
        let rest = &self.hold[mark_end..];
        if rest.iter().all(|byte| is_white(*byte) && *byte != 0) {
            return self.hold.len();
        }
        let line_end = if rest.starts_with(b"\r\n") {
            2
        } else {
            usize::from(matches!(rest[0], b'\r' | b'\n'))
        };
        mark_end + line_end
    }

    /// What was counted as padding is followed by something: it belongs to the document.
    fn keep_padding(&mut self, out: &mut Vec<u8>) {
        let piece = [self.padding_byte; 256];
        while self.padding > 0 {
            let take = self.padding.min(piece.len() as u64);
            self.padding -= take;
            self.keep(&piece[..take as usize], out);
        }
    }

    fn keep(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            let take = input.len().min(HOLD - self.hold.len());
            self.hold.extend_from_slice(&input[..take]);
            input = &input[take..];
            if self.hold.len() == HOLD {
                count_work(HOLD);
                out.extend_from_slice(&self.hold[..HOLD - REACH]);
                self.hold.copy_within(HOLD - REACH.., 0);
                self.hold.truncate(REACH);
            }
        }
    }
}
