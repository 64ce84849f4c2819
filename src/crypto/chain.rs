//! Hash chains: each entry carries the hash of the one before it, so that one cannot be changed, dropped or moved
//! without the rest saying so.
//!
//! `next = SHA-256("nightdrop/v1/chain" ‖ 00 ‖ u8 length ‖ purpose ‖ previous ‖ canonical bytes)`
//!
//! An unkeyed chain proves order and completeness up to a head that somebody has noted elsewhere; whoever can rewrite
//! the whole store can make another chain. The sealed head closes that: it is a MAC under the portal's secrets, which
//! are not in the store. For people outside there are signed receipts instead (`receipt`).

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::secrets::PortalSecrets;

/// The value before the first entry.
pub const GENESIS: [u8; 32] = [0; 32];

/// What a chain is for; chains of different purposes never mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Audit events.
    Audit,
    /// Deletion receipts.
    Receipts,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::Audit => b"audit",
            Purpose::Receipts => b"receipts",
        }
    }
}

/// The chain value after an entry.
pub fn link(purpose: Purpose, previous: &[u8; 32], canonical: &[u8]) -> [u8; 32] {
    let label = purpose.label();
    let mut hash = Sha256::new();
    hash.update(b"nightdrop/v1/chain\0");
    hash.update([u8::try_from(label.len()).expect("labels are short")]);
    hash.update(label);
    hash.update(previous);
    hash.update(canonical);
    hash.finalize().into()
}

/// Where a chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenAt(pub usize);

/// Follows a chain from a known value; `entries` are (canonical bytes, stored chain value). Returns the last value, or
/// the number of the first entry that does not fit.
pub fn verify<'a>(
    purpose: Purpose,
    from: &[u8; 32],
    entries: impl IntoIterator<Item = (&'a [u8], &'a [u8; 32])>,
) -> Result<[u8; 32], BrokenAt> {
    let mut previous = *from;
    for (number, (canonical, stored)) in entries.into_iter().enumerate() {
        previous = link(purpose, &previous, canonical);
        if previous != *stored {
            return Err(BrokenAt(number));
        }
    }
    Ok(previous)
}

/// A MAC over a chain's head and length: HMAC(records key, "nightdrop/v1/chain-head" ‖ 00 ‖ purpose ‖ 00 ‖ u64 count ‖
/// head).
pub fn seal_head(
    secrets: &PortalSecrets,
    purpose: Purpose,
    count: u64,
    head: &[u8; 32],
) -> [u8; 32] {
    secrets.records_mac(&[
        b"nightdrop/v1/chain-head\0",
        purpose.label(),
        b"\0",
        &count.to_be_bytes(),
        head,
    ])
}

/// Checks a sealed head in constant time.
pub fn head_fits(
    secrets: &PortalSecrets,
    purpose: Purpose,
    count: u64,
    head: &[u8; 32],
    sealed: &[u8; 32],
) -> bool {
    seal_head(secrets, purpose, count, head)
        .ct_eq(sealed)
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_change_a_gap_and_a_swap_are_found_where_they_are() {
        let entries: Vec<Vec<u8>> = (0..5u8).map(|number| vec![number; 9]).collect();
        let mut value = GENESIS;
        let values: Vec<[u8; 32]> = entries
            .iter()
            .map(|entry| {
                value = link(Purpose::Audit, &value, entry);
                value
            })
            .collect();
        let check = |order: &[usize]| {
            verify(
                Purpose::Audit,
                &GENESIS,
                order.iter().map(|n| (entries[*n].as_slice(), &values[*n])),
            )
        };
        assert_eq!(check(&[0, 1, 2, 3, 4]), Ok(values[4]));
        assert_eq!(check(&[0, 1, 3, 4]), Err(BrokenAt(2)));
        assert_eq!(check(&[0, 2, 1, 3, 4]), Err(BrokenAt(1)));
        assert_eq!(check(&[1]), Err(BrokenAt(0)));
        let changed = verify(
            Purpose::Audit,
            &GENESIS,
            [(b"other".as_slice(), &values[0])],
        );
        assert_eq!(changed, Err(BrokenAt(0)));
        assert_ne!(
            link(Purpose::Audit, &GENESIS, b"x"),
            link(Purpose::Receipts, &GENESIS, b"x")
        );
    }

    #[test]
    fn a_rewritten_chain_has_no_sealed_head() {
        let secrets = PortalSecrets::counting(1);
        let head = link(Purpose::Audit, &GENESIS, b"event");
        let sealed = seal_head(&secrets, Purpose::Audit, 1, &head);
        assert!(head_fits(&secrets, Purpose::Audit, 1, &head, &sealed));
        assert!(!head_fits(&secrets, Purpose::Audit, 2, &head, &sealed));
        assert!(!head_fits(&secrets, Purpose::Audit, 1, &GENESIS, &sealed));
        assert!(!head_fits(
            &PortalSecrets::counting(2),
            Purpose::Audit,
            1,
            &head,
            &sealed
        ));
    }
}
