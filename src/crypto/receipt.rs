//! Deletion receipts: signed, chained, and verifiable by somebody who has nothing of the portal but its public key.
//!
//! A receipt is a short text, one `name: value` per line in a fixed order, ended by the signing key and an Ed25519
//! signature over everything before the signature line. It names no person: only the submission's random number, the
//! slot that was destroyed, times, and what the erasure was worth.
//!
//! ```text
//! nightdrop deletion receipt v1
//! sequence: 12
//! document: 1011…1f            (16 bytes, hex)
//! slot: 5
//! generation: a0a1a2a3a4a5a6a7
//! received: 2026-01-02T03:04:05Z
//! erased: 2026-01-02T04:00:00Z
//! class: B
//! method: slot zeroed, synced, read back past the page cache
//! previous: <32 bytes, hex>    (chain value of the receipt before, zeros for the first)
//! signed-by: <32 bytes, hex>
//! signature: <64 bytes, hex>
//! ```
//! The key is derived from a seed in the portal's secrets; `public_key` exports it for publication. Without a key from
//! elsewhere, verifying proves only that the receipt was not changed after whoever named in `signed-by` signed it.

use std::fmt;
use std::fmt::Write as _;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::assurance::AssuranceClass;
use super::chain::{self, Purpose};
use super::erase::{ReadBack, SlotRef};
use super::secrets::PortalSecrets;

const TITLE: &str = "nightdrop deletion receipt v1";
const SIGNING_DOMAIN: &[u8] = b"nightdrop/v1/receipt\0";

/// Longest text that is looked at.
const MAX_LEN: usize = 4096;

/// What a receipt states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Place in the portal's chain of receipts, from 1.
    pub sequence: u64,
    /// The submission.
    pub doc_id: [u8; 16],
    /// The slot that was destroyed.
    pub slot: SlotRef,
    /// When the submission was received.
    pub received_at: OffsetDateTime,
    /// When its erasure secret was destroyed.
    pub erased_at: OffsetDateTime,
    /// What erasing is worth there.
    pub class: AssuranceClass,
    /// How it was checked.
    pub read_back: ReadBack,
    /// Chain value of the receipt before.
    pub previous: [u8; 32],
}

/// Why a receipt is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptError {
    /// Not a receipt, or not in the one form that portals write.
    Malformed,
    /// Signed by another key than the expected one.
    OtherSigner,
    /// The signature does not fit the text.
    BadSignature,
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReceiptError::Malformed => "this is not a deletion receipt",
            ReceiptError::OtherSigner => "the receipt is signed by another portal",
            ReceiptError::BadSignature => "the receipt was changed after it was signed",
        })
    }
}

impl std::error::Error for ReceiptError {}

/// A receipt whose signature fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    /// What it states.
    pub receipt: Receipt,
    /// Who signed it.
    pub signed_by: [u8; 32],
    /// Its own chain value: what the next receipt names as `previous`.
    pub chain_value: [u8; 32],
}

/// The public key of a portal's receipts, 32 bytes.
pub fn public_key(secrets: &PortalSecrets) -> [u8; 32] {
    key_pair(secrets)
        .public_key()
        .as_ref()
        .try_into()
        .expect("an Ed25519 public key has 32 bytes")
}

/// Writes and signs a receipt. Returns the text and its chain value.
pub fn issue(secrets: &PortalSecrets, receipt: &Receipt) -> (String, [u8; 32]) {
    let keys = key_pair(secrets);
    let mut text = receipt.body();
    line(&mut text, "signed-by", &hex(keys.public_key().as_ref()));
    let signature = keys.sign(&signed_bytes(&text));
    let chain_value = chain::link(Purpose::Receipts, &receipt.previous, text.as_bytes());
    line(&mut text, "signature", &hex(signature.as_ref()));
    (text, chain_value)
}

/// Checks a receipt. With `expected`, it must be signed by that portal; without, the caller tells the reader whose key
/// `signed_by` is.
pub fn verify(text: &str, expected: Option<&[u8; 32]>) -> Result<VerifiedReceipt, ReceiptError> {
    if text.len() > MAX_LEN {
        return Err(ReceiptError::Malformed);
    }
    let start = text.rfind("signature: ").ok_or(ReceiptError::Malformed)?;
    let (signed, last) = text.split_at(start);
    let signature = unhex::<64>(value(last.strip_suffix('\n').unwrap_or(last), "signature")?)?;
    let receipt_and_key = parse(signed)?;
    let (receipt, signed_by) = receipt_and_key;
    if expected.is_some_and(|expected| *expected != signed_by) {
        return Err(ReceiptError::OtherSigner);
    }
    UnparsedPublicKey::new(&ED25519, signed_by)
        .verify(&signed_bytes(signed), &signature)
        .map_err(|_| ReceiptError::BadSignature)?;
    let chain_value = chain::link(Purpose::Receipts, &receipt.previous, signed.as_bytes());
    Ok(VerifiedReceipt {
        receipt,
        signed_by,
        chain_value,
    })
}

impl Receipt {
    fn body(&self) -> String {
        let mut text = format!("{TITLE}\n");
        line(&mut text, "sequence", &self.sequence.to_string());
        line(&mut text, "document", &hex(&self.doc_id));
        line(&mut text, "slot", &self.slot.index.to_string());
        line(
            &mut text,
            "generation",
            &hex(&self.slot.generation.to_be_bytes()),
        );
        line(&mut text, "received", &moment(self.received_at));
        line(&mut text, "erased", &moment(self.erased_at));
        line(&mut text, "class", &self.class.to_string());
        line(&mut text, "method", method(self.read_back));
        line(&mut text, "previous", &hex(&self.previous));
        text
    }
}

/// Reads everything before the signature; only the exact form that `issue` writes is accepted.
fn parse(signed: &str) -> Result<(Receipt, [u8; 32]), ReceiptError> {
    let mut lines = signed.lines();
    let mut next = |name: &str| value(lines.next().ok_or(ReceiptError::Malformed)?, name);
    if signed.lines().next() != Some(TITLE) {
        return Err(ReceiptError::Malformed);
    }
    let _title = next("")?;
    let receipt = Receipt {
        sequence: next("sequence")?
            .parse()
            .map_err(|_| ReceiptError::Malformed)?,
        doc_id: unhex(next("document")?)?,
        slot: SlotRef {
            index: next("slot")?.parse().map_err(|_| ReceiptError::Malformed)?,
            generation: u64::from_be_bytes(unhex(next("generation")?)?),
        },
        received_at: read_moment(next("received")?)?,
        erased_at: read_moment(next("erased")?)?,
        class: match next("class")? {
            "A" => AssuranceClass::A,
            "B" => AssuranceClass::B,
            "C" => AssuranceClass::C,
            _ => return Err(ReceiptError::Malformed),
        },
        read_back: {
            let written = next("method")?;
            [ReadBack::Direct, ReadBack::Buffered, ReadBack::Memory]
                .into_iter()
                .find(|how| method(*how) == written)
                .ok_or(ReceiptError::Malformed)?
        },
        previous: unhex(next("previous")?)?,
    };
    let signed_by = unhex(next("signed-by")?)?;
    let mut again = receipt.body();
    line(&mut again, "signed-by", &hex(&signed_by));
    if again != signed {
        return Err(ReceiptError::Malformed);
    }
    Ok((receipt, signed_by))
}

fn value<'a>(line: &'a str, name: &str) -> Result<&'a str, ReceiptError> {
    if name.is_empty() {
        return Ok(line);
    }
    line.strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(": "))
        .ok_or(ReceiptError::Malformed)
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "{name}: {value}").expect("writing to a String does not fail");
}

fn method(how: ReadBack) -> &'static str {
    match how {
        ReadBack::Direct => "slot zeroed, synced, read back past the page cache",
        ReadBack::Buffered => "slot zeroed, synced, read back through the page cache",
        ReadBack::Memory => "removed from memory that is never written to a disk",
    }
}

/// Whole seconds in UTC: a receipt needs no more, and parsing gives the same text again.
fn moment(time: OffsetDateTime) -> String {
    let seconds = OffsetDateTime::from_unix_timestamp(time.unix_timestamp())
        .expect("within the range it came from");
    seconds
        .format(&Rfc3339)
        .expect("years of four digits format as RFC 3339")
}

fn read_moment(text: &str) -> Result<OffsetDateTime, ReceiptError> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ReceiptError::Malformed)
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], ReceiptError> {
    let bytes = data_encoding::HEXLOWER
        .decode(text.as_bytes())
        .map_err(|_| ReceiptError::Malformed)?;
    bytes.try_into().map_err(|_| ReceiptError::Malformed)
}

fn signed_bytes(text: &str) -> Vec<u8> {
    [SIGNING_DOMAIN, text.as_bytes()].concat()
}

fn key_pair(secrets: &PortalSecrets) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(secrets.signing_seed().expose())
        .expect("every 32 bytes are an Ed25519 seed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::testing::seq;

    fn sample(sequence: u64, previous: [u8; 32]) -> Receipt {
        Receipt {
            sequence,
            doc_id: seq(0x10),
            slot: SlotRef {
                index: 5,
                generation: 0xa0a1_a2a3_a4a5_a6a7,
            },
            received_at: OffsetDateTime::from_unix_timestamp(1_767_322_800).unwrap(),
            erased_at: OffsetDateTime::from_unix_timestamp(1_767_326_400).unwrap(),
            class: AssuranceClass::B,
            read_back: ReadBack::Direct,
            previous,
        }
    }

    #[test]
    fn t035_receipts_verify_offline_chain_and_name_no_person() {
        let secrets = PortalSecrets::counting(1);
        let key = public_key(&secrets);
        let (first, value) = issue(&secrets, &sample(1, chain::GENESIS));
        let (second, _) = issue(&secrets, &sample(2, value));
        let read = verify(&first, Some(&key)).unwrap();
        assert_eq!(read.receipt, sample(1, chain::GENESIS));
        assert_eq!(
            read.chain_value,
            verify(&second, None).unwrap().receipt.previous
        );
        let names: Vec<&str> = first
            .lines()
            .skip(1)
            .map(|line| line.split(':').next().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "sequence",
                "document",
                "slot",
                "generation",
                "received",
                "erased",
                "class",
                "method",
                "previous",
                "signed-by",
                "signature"
            ]
        );
    }

    #[test]
    fn t035_tampering_with_any_byte_breaks_it() {
        let secrets = PortalSecrets::counting(1);
        let (text, _) = issue(&secrets, &sample(1, chain::GENESIS));
        for place in 0..text.len() - 1 {
            let mut changed = text.clone().into_bytes();
            changed[place] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(verify(&changed, None).is_err(), "byte {place}");
            }
        }
        for cut in 0..text.len() - 1 {
            assert!(verify(&text[..cut], None).is_err());
        }
        assert!(verify(&format!("{text}more"), None).is_err());
        assert!(verify(&text.replace('\n', "\r\n"), None).is_err());
        assert_eq!(
            verify(&text.replace("class: B", "class: A"), None),
            Err(ReceiptError::BadSignature)
        );
        let other = public_key(&PortalSecrets::counting(2));
        assert_eq!(verify(&text, Some(&other)), Err(ReceiptError::OtherSigner));
    }
}
