//! CRC-32 (ISO 3309, as PNG and ZIP use it) over bytes in the stream.

use crc32fast::Hasher;

/// A running checksum.
#[derive(Clone, Default)]
pub(super) struct Crc32(Hasher);

impl Crc32 {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn value(&self) -> u32 {
        self.0.clone().finalize()
    }

    pub(super) fn of(bytes: &[u8]) -> u32 {
        crc32fast::hash(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_and_splits() {
        assert_eq!(Crc32::of(b"123456789"), 0xCBF4_3926, "the check value of CRC-32/ISO-HDLC");
        assert_eq!(Crc32::of(b""), 0);
        let data: Vec<u8> = (0..1000_u32).map(|n| (n * 7) as u8).collect();
        for cut in [1, 7, 8, 9, 500, 999] {
            let mut crc = Crc32::default();
            crc.add(&data[..cut]);
            crc.add(&data[cut..]);
            assert_eq!(crc.value(), Crc32::of(&data));
        }
    }
}
