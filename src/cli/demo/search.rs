//! Looking for pieces of a document in every file below a folder. Exact: any 32 bytes in a row that stand in both are found, wherever they begin.
//!
//! 32 bytes in a row hold at least one whole block of 16 that begins at a multiple of 16. So all 16-byte windows of the needles go into a table, each such
//! block of a file is looked up, and a hit is widened in both directions and counts from 32 equal bytes on.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes in a row that count as a piece.
pub(super) const PIECE: usize = 32;
const BLOCK: usize = 16;
/// Pieces with fewer different bytes (padding, runs of zeros) say nothing.
const VARIETY: usize = 8;

pub(super) struct Needles<'a> {
    texts: Vec<&'a [u8]>,
    places: HashMap<[u8; BLOCK], Vec<(usize, usize)>>,
}

/// What was looked through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    pub files: usize,
    pub bytes: u64,
}

impl<'a> Needles<'a> {
    pub(super) fn new(texts: Vec<&'a [u8]>) -> Self {
        let mut places: HashMap<[u8; BLOCK], Vec<(usize, usize)>> = HashMap::new();
        for (n, text) in texts.iter().enumerate() {
            for (at, window) in text.windows(BLOCK).enumerate() {
                if window.iter().any(|b| *b != window[0]) {
                    places
                        .entry(window.try_into().expect("a window has its length"))
                        .or_default()
                        .push((n, at));
                }
            }
        }
        Self { texts, places }
    }

    /// The first piece of a needle in `bytes`: where it begins.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<usize> {
        for (n, block) in bytes.chunks_exact(BLOCK).enumerate() {
            // Most of a store is zeros or noise: both leave here.
            if block.iter().all(|b| *b == 0) {
                continue;
            }
            let Some(places) = self.places.get(block) else { continue };
            if let Some(begin) = places.iter().find_map(|(text, at)| piece(bytes, n * BLOCK, self.texts[*text], *at)) {
                return Some(begin);
            }
        }
        None
    }

    /// Looks through every file below `folder`; the first file with a piece, if any.
    pub(super) fn below(&self, folder: &Path, looked: &mut Looked) -> io::Result<Option<PathBuf>> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let found = if path.is_dir() {
                self.below(&path, looked)?
            } else {
                // A file may go while we look: then it holds nothing any more.
                let Ok(bytes) = std::fs::read(&path) else { continue };
                looked.files += 1;
                looked.bytes += bytes.len() as u64;
                self.find(&bytes).map(|_| path)
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Widens an equal block in both directions.
fn piece(bytes: &[u8], at: usize, text: &[u8], place: usize) -> Option<usize> {
    let before = bytes[..at]
        .iter()
        .rev()
        .zip(text[..place].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let after = bytes[at..].iter().zip(&text[place..]).take_while(|(a, b)| a == b).count();
    let run = &bytes[at - before..at + after];
    let mut seen = [false; 256];
    run.iter().for_each(|b| seen[usize::from(*b)] = true);
    (run.len() >= PIECE && seen.iter().filter(|s| **s).count() >= VARIETY).then_some(at - before)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// SplitMix64: streams of different seeds have nothing in common.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut step = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).to_be_bytes()[0]
        };
        (0..length).map(|_| step()).collect()
    }

    #[test]
    fn every_piece_of_32_bytes_is_found_at_every_place() {
        let document = noise(500, 1);
        let needles = Needles::new(vec![&document]);
        for offset in 0..48 {
            for begin in [0, 1, 17, 200, 468] {
                let mut file = noise(offset, 2);
                file.extend_from_slice(&document[begin..begin + PIECE]);
                file.extend_from_slice(&noise(40, 3));
                // A neighbour that is equal by chance makes the piece longer.
                let found = needles.find(&file);
                assert!(
                    found.is_some_and(|at| at <= offset && at + 4 > offset),
                    "piece from {begin} at {offset}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn shorter_pieces_and_padding_are_not() {
        let mut document = noise(200, 1);
        document.extend_from_slice(&[0; 64]);
        let needles = Needles::new(vec![&document]);
        let mut file = noise(64, 2);
        file.extend_from_slice(&document[50..50 + PIECE - 1]);
        file.extend_from_slice(&noise(64, 3));
        file.extend_from_slice(&[0; 4096]);
        assert_eq!(needles.find(&file), None);
    }
}
