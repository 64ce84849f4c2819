//! What the tests of this room share: a scratch directory, byte sequences, and a ready vault.
#![allow(clippy::unwrap_used)]

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

pub fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// An unlocked keyring with one unprotected key.
pub fn open_vault(scratch: &Scratch, suite: Suite) -> (Keyring, KeyId) {
    let directory = scratch.path("keys");
    let id = Keyring::create_key(&directory, suite, &Protector::None).unwrap();
    let keyring = Keyring::open(&directory).unwrap();
    keyring.unlock(&Protector::None).unwrap();
    (keyring, id)
}
