//! Signing statements about erased data, with the key of the deletion receipts and in their form: two lines are added to the body, `signed-by: <32 bytes, hex>` and
//! `signature: <64 bytes, hex>`, Ed25519 over `"nightdrop/v1/statement" ‖ 00 ‖ everything before the signature line`.

use data_encoding::HEXLOWER;
use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};

use super::receipt::{ReceiptError, key_pair, last_line, unhex};
use super::secrets::PortalSecrets;
use crate::domain::statement::TITLE;

const DOMAIN: &[u8] = b"nightdrop/v1/statement\0";
/// Longest text that is looked at.
pub(crate) const MAX_LEN: usize = 256 << 10;

/// A statement whose signature fits: its lines, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifiedStatement {
    pub lines: Vec<(String, String)>,
    /// Whose key it is, the reader must know from elsewhere.
    pub signed_by: [u8; 32],
}

/// Whether a text claims to be a statement.
pub(crate) fn is_statement(text: &str) -> bool {
    text.lines().next() == Some(TITLE)
}

/// The body with signer and signature.
pub(crate) fn sign(secrets: &PortalSecrets, body: &str) -> String {
    let keys = key_pair(secrets);
    let mut text = format!("{body}signed-by: {}\n", HEXLOWER.encode(keys.public_key().as_ref()));
    let signature = keys.sign(&signed_bytes(&text));
    text.push_str(&format!("signature: {}\n", HEXLOWER.encode(signature.as_ref())));
    text
}

/// Checks a signed statement. With `expected`, it must be signed by that portal.
pub(crate) fn verify(text: &str, expected: Option<&[u8; 32]>) -> Result<VerifiedStatement, ReceiptError> {
    if text.len() > MAX_LEN {
        return Err(ReceiptError::Malformed);
    }
    let (signed, signature) = last_line(text, "signature: ")?;
    let (body, signer) = last_line(signed, "signed-by: ")?;
    let (signature, signed_by) = (unhex::<64>(signature)?, unhex::<32>(signer)?);
    let lines = lines_of(body).ok_or(ReceiptError::Malformed)?;
    if expected.is_some_and(|expected| *expected != signed_by) {
        return Err(ReceiptError::OtherSigner);
    }
    UnparsedPublicKey::new(&ED25519, signed_by)
        .verify(&signed_bytes(signed), &signature)
        .map_err(|_| ReceiptError::BadSignature)?;
    Ok(VerifiedStatement { lines, signed_by })
}

fn lines_of(body: &str) -> Option<Vec<(String, String)>> {
    let rest = body.strip_prefix(TITLE)?.strip_prefix('\n')?;
    let line = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        let plain = !line.chars().any(char::is_control);
        plain.then(|| (name.to_owned(), value.to_owned()))
    };
    rest.strip_suffix('\n')?.split('\n').map(line).collect()
}

fn signed_bytes(text: &str) -> Vec<u8> {
    [DOMAIN, text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::receipt::public_key;

    #[test]
    fn a_statement_holds_as_it_was_signed_and_by_its_signer_alone() {
        let secrets = PortalSecrets::counting(1);
        let body = format!("{TITLE}\nat: now\ncomplete: yes\n");
        let text = sign(&secrets, &body);
        assert!(is_statement(&text));
        let verified = verify(&text, Some(&public_key(&secrets))).unwrap();
        assert_eq!(verified.lines[1], ("complete".to_owned(), "yes".to_owned()));
        assert_eq!(
            verify(&text, Some(&public_key(&PortalSecrets::counting(2)))),
            Err(ReceiptError::OtherSigner)
        );
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(verify(&changed, None).is_err(), "byte {place}");
            }
        }
        assert_eq!(verify(&text.replace("yes", "no"), None), Err(ReceiptError::BadSignature));
        assert!(verify(&text.replace('\n', "\r\n"), None).is_err());
    }
}
