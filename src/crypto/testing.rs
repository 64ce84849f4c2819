//! What the tests of this module share: a scratch directory, byte sequences, files of test vectors, and a ready vault.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::envelope::{KeyId, Suite};
use super::keyfile::Protector;
use super::keyring::Keyring;
use super::random;

/// A directory of its own for one test, removed afterwards.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        let name = data_encoding::HEXLOWER.encode(&random::array::<8>().unwrap());
        let path = std::env::temp_dir().join(format!("nightdrop-crypto-{name}"));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes a, a+1, … modulo 256, as the published vectors are written.
pub fn seq<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|place| first.wrapping_add(place as u8))
}

/// The vectors of this project's own formats.
pub const FORMATS: &str = include_str!("../../tests/fixtures/vectors/formats.txt");

/// One block of a file of vectors: `name = value` a line, `#` before a comment, an empty line behind the block.
pub struct Vector(BTreeMap<&'static str, &'static str>);

/// Every block of a file.
pub fn vectors(file: &'static str) -> Vec<Vector> {
    let fields = |block: &'static str| {
        let lines = block.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.map(|line| line.split_once('=').unwrap());
        Vector(pairs.map(|(name, value)| (name.trim(), value.trim())).collect())
    };
    let blocks = file.split("\n\n").map(fields);
    blocks.filter(|vector| !vector.0.is_empty()).collect()
}

/// The block of this name.
pub fn vector(file: &'static str, name: &str) -> Vector {
    let found = vectors(file).into_iter().find(|vector| vector.text("name") == name);
    found.unwrap_or_else(|| panic!("no vector {name}"))
}

impl Vector {
    pub fn text(&self, field: &str) -> &'static str {
        self.0.get(field).unwrap_or_else(|| panic!("no field {field}"))
    }

    /// Pieces with spaces between: hexadecimal digits, `zeros:COUNT`, or `seq:FIRST:COUNT` for bytes that count up from FIRST (hexadecimal) modulo 256.
    pub fn bytes(&self, field: &str) -> Vec<u8> {
        let piece = |piece: &str| match piece.split(':').collect::<Vec<_>>()[..] {
            ["zeros", count] => vec![0; count.parse().unwrap()],
            ["seq", first, count] => {
                let first = usize::from_str_radix(first, 16).unwrap();
                (0..count.parse().unwrap()).map(|place: usize| (first + place) as u8).collect()
            }
            _ => data_encoding::HEXLOWER.decode(piece.as_bytes()).unwrap(),
        };
        self.text(field).split_ascii_whitespace().flat_map(piece).collect()
    }

    pub fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        self.bytes(field).try_into().unwrap()
    }
}

/// An unlocked keyring with one unprotected key.
pub fn open_vault(scratch: &Scratch, suite: Suite) -> (Keyring, KeyId) {
    let directory = scratch.path("keys");
    let id = Keyring::create_key(&directory, suite, &Protector::None).unwrap();
    let keyring = Keyring::open(&directory).unwrap();
    keyring.unlock(&Protector::None).unwrap();
    (keyring, id)
}
