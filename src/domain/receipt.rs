//! The deletion receipt: what was destroyed, how, when and why. Chained to the receipt before it, without personal data, verifiable offline.
//!
//! Its body is a short text, one `name: value` per line in a fixed order:
//!
//! ```text
//! nightdrop deletion receipt v1
//! number: 12
//! request: req_…
//! document: doc_…
//! slot: 5
//! generation: a0a1a2a3a4a5a6a7
//! cause: confirmed
//! parts: 2
//! received: 2026-01-02T03:04:05.678Z
//! erased: 2026-01-02T04:00:00.1Z      (the secret was gone: unreadable from here on)
//! purged: 2026-01-02T04:00:00.2Z      (the ciphertext was deleted too)
//! class: B
//! method: slot overwritten in place, synced, read back from the device
//! previous: <32 bytes, hex>           (hash of the receipt before; zeros for the first)
//! ```
//! Its hash is [`chain_hash`] over that body; the crypto room signs it.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::audit::{GENESIS, chain_hash};
use super::document::SlotRef;
use super::id::{DocumentId, RequestId};

const DOMAIN: &str = "nightdrop/v1/receipt";
const TITLE: &str = "nightdrop deletion receipt v1";

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
    /// How it was done and checked; one line.
    pub method: String,
    pub parts: u8,
    pub received_at: OffsetDateTime,
    pub erased_at: OffsetDateTime,
    pub purged_at: OffsetDateTime,
}

/// Makes the signed text of a receipt that has its number and its place in the chain.
pub(crate) type ReceiptSigner<'a> = &'a (dyn Fn(&DeletionReceipt) -> String + Send + Sync);

/// A receipt as it is stored. The text is what counts: it was signed when the receipt was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    pub receipt: DeletionReceipt,
    /// Body, signer and signature.
    pub text: String,
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
    /// Puts a receipt behind the one whose hash is `previous`.
    pub fn chain(number: u64, previous: [u8; 32], erasure: Erasure) -> Self {
        let mut receipt = Self {
            number,
            previous,
            erasure,
            hash: GENESIS,
        };
        receipt.hash = chain_hash(DOMAIN, &previous, receipt.body().as_bytes());
        receipt
    }

    /// The hash before the first receipt.
    pub fn genesis() -> [u8; 32] {
        GENESIS
    }

    /// The text, ended by a line break.
    pub fn body(&self) -> String {
        let e = &self.erasure;
        let at = |t: OffsetDateTime| t.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default();
        let line = |text: &str| text.replace(|c: char| c.is_control(), " ");
        let mut text = format!("{TITLE}\n");
        let mut put = |name: &str, value: &str| {
            let _ = writeln!(text, "{name}: {value}");
        };
        put("number", &self.number.to_string());
        put("request", &e.request.to_string());
        put("document", &e.document.to_string());
        put("slot", &e.slot.index.to_string());
        put("generation", &format!("{:016x}", e.slot.generation));
        put("cause", &line(&e.cause));
        put("parts", &e.parts.to_string());
        put("received", &at(e.received_at));
        put("erased", &at(e.erased_at));
        put("purged", &at(e.purged_at));
        put("class", &line(&e.class));
        put("method", &line(&e.method));
        put("previous", &HEXLOWER.encode(&self.previous));
        text
    }

    /// Reads a body; only the exact form that [`DeletionReceipt::body`] writes is accepted.
    pub fn parse(body: &str) -> Option<Self> {
        let mut lines = body.lines();
        if lines.next() != Some(TITLE) {
            return None;
        }
        let mut next = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");
        let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let number = next("number")?.parse().ok()?;
        let erasure = Erasure {
            request: RequestId::parse(next("request")?)?,
            document: DocumentId::parse(next("document")?)?,
            slot: SlotRef {
                index: next("slot")?.parse().ok()?,
                generation: u64::from_str_radix(next("generation")?, 16).ok()?,
            },
            cause: next("cause")?.to_owned(),
            parts: next("parts")?.parse().ok()?,
            received_at: at(next("received")?)?,
            erased_at: at(next("erased")?)?,
            purged_at: at(next("purged")?)?,
            class: next("class")?.to_owned(),
            method: next("method")?.to_owned(),
        };
        let previous = HEXLOWER.decode(next("previous")?.as_bytes()).ok()?.try_into().ok()?;
        let receipt = Self::chain(number, previous, erasure);
        (receipt.body() == body).then_some(receipt)
    }
}
