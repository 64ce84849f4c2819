//! The deletion receipt: what was destroyed, how, when and why. Chained to the receipt before it, without personal data, verifiable offline.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::audit::{GENESIS, chain_hash};
use super::document::SlotRef;
use super::id::{DocumentId, RequestId};

const DOMAIN: &str = "nightdrop/v1/receipt";

/// What the purge knows before the store gives the receipt its number and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    pub request: RequestId,
    pub document: DocumentId,
    pub slot: SlotRef,
    /// [`super::delivery::PurgeCause::code`].
    pub cause: String,
    /// Assurance class of the erasure store: `A`, `B` or `C`.
    pub class: String,
    /// How: `slot overwritten in place, synced, read back` or what else was true.
    pub method: String,
    pub parts: u8,
    pub received_at: OffsetDateTime,
    /// When the erasure secret was gone; the bytes were unreadable from here on.
    pub erased_at: OffsetDateTime,
    /// When the ciphertext was deleted too.
    pub purged_at: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionReceipt {
    /// 1, 2, 3 … without gaps.
    pub number: u64,
    pub previous: [u8; 32],
    pub erasure: Erasure,
    pub hash: [u8; 32],
}

impl DeletionReceipt {
    pub fn chain(number: u64, previous: [u8; 32], erasure: Erasure) -> Self {
        let hash = chain_hash(DOMAIN, &previous, canonical(number, &erasure).as_bytes());
        Self { number, previous, erasure, hash }
    }

    /// The hash before the first receipt.
    pub fn genesis() -> [u8; 32] {
        GENESIS
    }

    /// Whether the hash is that of the contents.
    pub fn consistent(&self) -> bool {
        Self::chain(self.number, self.previous, self.erasure.clone()).hash == self.hash
    }
}

/// Tab-separated fields in a fixed order: the bytes that are chained and signed.
fn canonical(number: u64, e: &Erasure) -> String {
    let at = |t: OffsetDateTime| t.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default();
    let clean = |text: &str| text.replace(|c: char| c.is_control(), " ");
    format!(
        "{number}\t{}\t{}\t{}\t{:016x}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        e.request,
        e.document,
        e.slot.index,
        e.slot.generation,
        clean(&e.cause),
        clean(&e.class),
        clean(&e.method),
        e.parts,
        at(e.received_at),
        at(e.erased_at),
        at(e.purged_at)
    )
}
