//! Does an encrypted PDF open for everybody? Banks and authorities encrypt with an empty user password: every reader opens such a file without
//! asking, and only printing or changing is restricted. Checks that password against the encryption dictionary and decrypts nothing.
//!
//! The standard security handler, revisions 2 to 4 (MD5 and RC4; ISO 32000-1, 7.6.3) and 5 and 6 (SHA-2; ISO 32000-2, 7.6.4). MD5, RC4
//! and AES are what the format prescribes; nothing of ours is protected by them.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Fills up a password to 32 bytes; it stands for the empty one.
const PADDING: [u8; 32] =
    *b"\x28\xBF\x4E\x5E\x4E\x75\x8A\x41\x64\x00\x4E\x56\xFF\xFA\x01\x08\x2E\x2E\x00\xB6\xD0\x68\x3E\x80\x2F\x0C\xA9\xFE\x64\x53\x69\x7A";

/// What an encryption dictionary says.
#[derive(Default)]
pub(super) struct Security {
    /// `/Filter /Standard`: passwords, and no certificates.
    pub(super) standard: bool,
    pub(super) revision: i64,
    /// Permissions, which go into the key.
    pub(super) permissions: i64,
    /// Bits of the key; absent: 40.
    pub(super) length: Option<i64>,
    pub(super) owner: Vec<u8>,
    pub(super) user: Vec<u8>,
}

impl Security {
    /// Whether the empty user password is right. `id`: the first string of the trailer's `/ID`.
    pub(super) fn opens_for_everybody(&self, id: &[u8]) -> bool {
        match (self.standard, self.revision) {
            (true, 2..=4) => self.opens_by_md5(id),
            (true, 5 | 6) => self.opens_by_sha2(),
            _ => false,
        }
    }

    fn opens_by_md5(&self, id: &[u8]) -> bool {
        let (Some(owner), Some(user)) = (self.owner.get(..32), self.user.get(..16)) else {
            return false;
        };
        // Writers disagree about the length in revision 4, and about the flag for metadata: each reading is a different key, and only the
        // right one fits.
        let stated = self.length.and_then(|bits| usize::try_from(bits / 8).ok()).unwrap_or(5);
        let lengths: &[usize] = if self.revision == 2 { &[5] } else { &[stated, 16, 5] };
        lengths.iter().filter(|length| (5..=16).contains(*length)).any(|length| {
            [false, true].into_iter().any(|clear_metadata| {
                let key = self.file_key(owner, id, *length, clear_metadata);
                self.fits(&key[..*length], user, id)
            })
        })
    }

    /// Algorithm 2, for the empty password.
    fn file_key(&self, owner: &[u8], id: &[u8], length: usize, clear_metadata: bool) -> [u8; 16] {
        // The permissions are a signed number of 32 bits, which some write without its sign.
        let permissions = (self.permissions as u32).to_le_bytes();
        let flag: &[u8] = if clear_metadata && self.revision >= 4 { &[0xFF; 4] } else { &[] };
        let mut key = md5::compute([&PADDING[..], owner, &permissions, id, flag].concat()).0;
        if self.revision >= 3 {
            for _ in 0..50 {
                key = md5::compute(&key[..length]).0;
            }
        }
        key
    }

    /// Algorithms 4 and 5: what the key makes of the padding is the user's entry, whose second half is arbitrary from revision 3 on.
    fn fits(&self, key: &[u8], user: &[u8], id: &[u8]) -> bool {
        if self.revision == 2 {
            let mut block = PADDING;
            rc4(key, &mut block);
            return self.user.get(..32) == Some(&block[..]);
        }
        let mut block = md5::compute([&PADDING[..], id].concat()).0;
        for round in 0..20 {
            let key: Vec<u8> = key.iter().map(|byte| byte ^ round).collect();
            rc4(&key, &mut block);
        }
        user == block
    }

    /// Algorithm 11: 32 bytes of hash, 8 of salt to check by, 8 for the key.
    fn opens_by_sha2(&self) -> bool {
        let (Some(hash), Some(salt)) = (self.user.get(..32), self.user.get(32..40)) else {
            return false;
        };
        let first: [u8; 32] = Sha256::digest(salt).into();
        let computed = if self.revision == 5 { first } else { hardened(first) };
        hash == computed
    }
}

/// Algorithm 2.B with an empty password and no owner's entry.
fn hardened(first: [u8; 32]) -> [u8; 32] {
    let mut hash = first.to_vec();
    for round in 0_u32.. {
        let mut block = hash.repeat(64);
        encrypt_cbc(&hash[..16], &hash[16..32], &mut block);
        // The first 16 bytes as a number, modulo 3: 256 leaves 1.
        let remainder = block[..16].iter().map(|byte| u32::from(*byte)).sum::<u32>() % 3;
        hash = match remainder {
            0 => Sha256::digest(&block).to_vec(),
            1 => Sha384::digest(&block).to_vec(),
            _ => Sha512::digest(&block).to_vec(),
        };
        let last = block.last().copied().map_or(0, u32::from);
        // The round counts from 0, so this is the 64th and every later one that a byte in the result allows. 287 is the most it can take.
        if round >= 63 && last <= round - 31 {
            break;
        }
    }
    let mut result = [0; 32];
    result.copy_from_slice(&hash[..32]);
    result
}

/// AES-128 in CBC mode over whole blocks. Key and start are 16 bytes each.
fn encrypt_cbc(key: &[u8], start: &[u8], data: &mut [u8]) {
    let Ok(cipher) = Aes128::new_from_slice(key) else { return };
    let mut previous = [0; 16];
    previous.copy_from_slice(start);
    for chunk in data.chunks_exact_mut(16) {
        let mut block = Array::from(previous);
        block.iter_mut().zip(chunk.iter()).for_each(|(b, plain)| *b ^= plain);
        cipher.encrypt_block(&mut block);
        previous.copy_from_slice(&block);
        chunk.copy_from_slice(&previous);
    }
}

fn rc4(key: &[u8], data: &mut [u8]) {
    let mut state: [u8; 256] = std::array::from_fn(|index| index as u8);
    let mut j = 0_u8;
    for i in 0..256 {
        j = j.wrapping_add(state[i]).wrapping_add(key[i % key.len()]);
        state.swap(i, usize::from(j));
    }
    let (mut i, mut j) = (0_u8, 0_u8);
    for byte in data {
        i = i.wrapping_add(1);
        j = j.wrapping_add(state[usize::from(i)]);
        state.swap(usize::from(i), usize::from(j));
        *byte ^= state[usize::from(state[usize::from(i)].wrapping_add(state[usize::from(j)]))];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rc4_has_its_known_answer() {
        let mut data = *b"Plaintext";
        rc4(b"Key", &mut data);
        assert_eq!(data, *b"\xBB\xF3\x16\xE8\xD9\x40\xAF\x0A\xD3");
    }

    #[test]
    fn nothing_known_opens_nothing() {
        for revision in 0..8 {
            let security = Security {
                standard: true,
                revision,
                owner: vec![1; 48],
                user: vec![2; 48],
                ..Security::default()
            };
            assert!(!security.opens_for_everybody(b"id"));
        }
    }
}
