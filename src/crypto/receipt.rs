//! Signing deletion receipts, so that somebody who has nothing of the portal but its public key can verify them.
//!
//! Two lines are added to the receipt's body: `signed-by: <32 bytes, hex>` and `signature: <64 bytes, hex>`, Ed25519 over
//! `"nightdrop/v1/receipt" ‖ 00 ‖ everything before the signature line`. The key is derived from a seed in the portal's secrets; [`public_key`] exports it.
//! Without a key from elsewhere, verifying proves only that the receipt was not changed after whoever named in `signed-by` signed it.

use data_encoding::HEXLOWER;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::secrets::PortalSecrets;
use crate::domain::receipt::DeletionReceipt;

const SIGNING_DOMAIN: &[u8] = b"nightdrop/v1/receipt\0";

/// Longest text that is looked at.
const MAX_LEN: usize = 4096;

/// Why a receipt is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not a receipt, or not in the one form that portals write.
    #[error("this is not a deletion receipt as a portal writes it")]
    Malformed,
    /// Signed by another key than the expected one.
    #[error("the receipt is signed by another portal")]
    OtherSigner,
    /// The signature does not fit the text.
    #[error("the receipt was changed after it was signed")]
    BadSignature,
}

/// A receipt whose signature fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    pub receipt: DeletionReceipt,
    /// Whose key it is, the reader must know from elsewhere.
    pub signed_by: [u8; 32],
}

/// The public key of a portal's receipts.
pub fn public_key(secrets: &PortalSecrets) -> [u8; 32] {
    key_pair(secrets)
        .public_key()
        .as_ref()
        .try_into()
        .expect("an Ed25519 public key has 32 bytes")
}

/// The receipt's text with signer and signature.
pub fn sign(secrets: &PortalSecrets, receipt: &DeletionReceipt) -> String {
    let keys = key_pair(secrets);
    let mut text = receipt.body();
    text.push_str(&format!("signed-by: {}\n", HEXLOWER.encode(keys.public_key().as_ref())));
    let signature = keys.sign(&signed_bytes(&text));
    text.push_str(&format!("signature: {}\n", HEXLOWER.encode(signature.as_ref())));
    text
}

/// Checks a signed receipt. With `expected`, it must be signed by that portal.
pub fn verify(text: &str, expected: Option<&[u8; 32]>) -> Result<VerifiedReceipt, ReceiptError> {
    if text.len() > MAX_LEN {
        return Err(ReceiptError::Malformed);
    }
    let (signed, signature) = last_line(text, "signature: ")?;
    let (body, signer) = last_line(signed, "signed-by: ")?;
    let (signature, signed_by) = (unhex::<64>(signature)?, unhex::<32>(signer)?);
    let receipt = DeletionReceipt::parse(body).ok_or(ReceiptError::Malformed)?;
    if expected.is_some_and(|expected| *expected != signed_by) {
        return Err(ReceiptError::OtherSigner);
    }
    UnparsedPublicKey::new(&ED25519, signed_by)
        .verify(&signed_bytes(signed), &signature)
        .map_err(|_| ReceiptError::BadSignature)?;
    Ok(VerifiedReceipt { receipt, signed_by })
}

/// Splits the last line off, which must start with `name` and end with one line break.
pub(super) fn last_line<'a>(text: &'a str, name: &str) -> Result<(&'a str, &'a str), ReceiptError> {
    let whole = text.strip_suffix('\n').ok_or(ReceiptError::Malformed)?;
    let start = whole.rfind('\n').ok_or(ReceiptError::Malformed)? + 1;
    let value = whole[start..].strip_prefix(name).ok_or(ReceiptError::Malformed)?;
    Ok((&text[..start], value))
}

pub(super) fn unhex<const N: usize>(text: &str) -> Result<[u8; N], ReceiptError> {
    let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| ReceiptError::Malformed)?;
    bytes.try_into().map_err(|_| ReceiptError::Malformed)
}

fn signed_bytes(text: &str) -> Vec<u8> {
    [SIGNING_DOMAIN, text.as_bytes()].concat()
}

pub(super) fn key_pair(secrets: &PortalSecrets) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(secrets.signing_seed().expose()).expect("every 32 bytes are an Ed25519 seed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::document::SlotRef;
    use crate::domain::id::{DocumentId, RequestId};
    use crate::domain::receipt::Erasure;
    use time::macros::datetime;

    fn sample(number: u64, previous: [u8; 32]) -> DeletionReceipt {
        let erasure = Erasure {
            request: RequestId([7; 16]),
            document: DocumentId([9; 16]),
            slot: SlotRef {
                index: 5,
                generation: 0xa0a1_a2a3_a4a5_a6a7,
            },
            cause: "confirmed".to_owned(),
            class: "B".to_owned(),
            method: "slot overwritten in place, synced, read back from the device".to_owned(),
            parts: 2,
            received_at: datetime!(2026-01-02 03:04:05.678 UTC),
            erased_at: datetime!(2026-01-02 04:00 UTC),
            purged_at: datetime!(2026-01-02 04:00:01 UTC),
        };
        DeletionReceipt::chain(number, previous, erasure)
    }

    #[test]
    fn receipts_verify_offline_chain_and_name_no_person() {
        let secrets = PortalSecrets::counting(1);
        let key = public_key(&secrets);
        let first = sample(1, DeletionReceipt::genesis());
        let second = sample(2, first.hash);
        let read = verify(&sign(&secrets, &first), Some(&key)).unwrap();
        assert_eq!(read.receipt, first);
        assert_eq!(verify(&sign(&secrets, &second), None).unwrap().receipt.previous, read.receipt.hash);
        let text = sign(&secrets, &first);
        let names: Vec<&str> = text.lines().skip(1).map(|line| line.split(':').next().unwrap()).collect();
        let expected =
            "number request document slot generation cause parts received erased purged class method previous signed-by signature";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn tampering_with_any_byte_breaks_it() {
        let secrets = PortalSecrets::counting(1);
        let text = sign(&secrets, &sample(1, DeletionReceipt::genesis()));
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(verify(&changed, None).is_err(), "byte {place}");
            }
        }
        for cut in 0..text.len() {
            assert!(verify(&text[..cut], None).is_err());
        }
        assert!(verify(&format!("{text}more"), None).is_err());
        assert!(verify(&text.replace('\n', "\r\n"), None).is_err());
        assert_eq!(verify(&text.replace("class: B", "class: A"), None), Err(ReceiptError::BadSignature));
        let other = public_key(&PortalSecrets::counting(2));
        assert_eq!(verify(&text, Some(&other)), Err(ReceiptError::OtherSigner));
    }
}
