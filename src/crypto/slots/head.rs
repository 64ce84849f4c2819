//! The head page of a slots file: what it is, how many slots it has, and which file it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{MAX_SLOTS, PAGE, offset, unusable};
use crate::crypto::erase::EraseError;

const MAGIC: &[u8; 8] = b"NDSLOTS1";
const VERSION: u32 = 1;

pub(super) fn head_page(uuid: &[u8; 16], slots: u64) -> [u8; PAGE] {
    let mut page = [0u8; PAGE];
    page[..8].copy_from_slice(MAGIC);
    page[8..12].copy_from_slice(&VERSION.to_be_bytes());
    page[12..16].copy_from_slice(&(PAGE as u32).to_be_bytes());
    page[16..24].copy_from_slice(&slots.to_be_bytes());
    page[24..40].copy_from_slice(uuid);
    let sum = crc32c(&page[..40]);
    page[40..44].copy_from_slice(&sum.to_be_bytes());
    page
}

pub(super) fn read_head(path: &Path, file: &File, length: u64) -> Result<([u8; 16], u64), EraseError> {
    let mut head = [0u8; PAGE];
    if length < PAGE as u64 {
        return Err(unusable(path, "is shorter than its head"));
    }
    file.read_exact_at(&mut head, 0)?;
    let slots = u64::from_be_bytes(head[16..24].try_into().expect("eight bytes"));
    let uuid: [u8; 16] = head[24..40].try_into().expect("sixteen bytes");
    if &head[..8] != MAGIC {
        return Err(unusable(path, "is not a slots file"));
    }
    if slots == 0 || slots > MAX_SLOTS || head != head_page(&uuid, slots) {
        return Err(unusable(path, "has a damaged head or another version"));
    }
    // Zeros behind the last slot are a growth that was cut off before its head was written: they hold nothing.
    if length < offset(slots) || !are_zeros(file, offset(slots), length)? {
        return Err(unusable(path, "has another length than its head says"));
    }
    Ok((uuid, slots))
}

fn are_zeros(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut run = vec![0_u8; 256 * PAGE];
    let mut at = from;
    while at < to {
        let count = usize::try_from((to - at).min(run.len() as u64)).expect("no longer than the buffer");
        file.read_exact_at(&mut run[..count], at)?;
        if run[..count].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

/// CRC-32C (Castagnoli), bit by bit: it runs over 40 bytes once per start.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = !0u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82F6_3B78 } else { sum >> 1 };
        }
    }
    !sum
}
