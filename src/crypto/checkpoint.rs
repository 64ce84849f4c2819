//! Signed heads of the audit log. The chain shows that nothing *inside* a log was changed; whoever can rewrite all of it can also chain it anew. A checkpoint that was
//! taken away in time names number and hash of an entry, and the rewritten log has another one there, or none.
//!
//! Ed25519 with the key of the deletion receipts, over `"nightdrop/v1/checkpoint" ‖ 00 ‖ sequence in decimal ‖ LF ‖ hash in hex ‖ LF ‖ instant ‖ LF`.

use data_encoding::HEXLOWER;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::receipt::{key_pair, public_key};
use super::secrets::PortalSecrets;

const DOMAIN: &[u8] = b"nightdrop/v1/checkpoint\0";

/// That the entry with this number had this hash at this instant (RFC 3339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub sequence: u64,
    pub hash: [u8; 32],
    pub at: String,
}

/// Who signed, and the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    pub by: [u8; 32],
    pub signature: [u8; 64],
}

impl Checkpoint {
    fn bytes(&self) -> Vec<u8> {
        let text = format!("{}\n{}\n{}\n", self.sequence, HEXLOWER.encode(&self.hash), self.at);
        [DOMAIN, text.as_bytes()].concat()
    }

    pub(crate) fn sign(&self, secrets: &PortalSecrets) -> Signed {
        let signature = key_pair(secrets).sign(&self.bytes());
        Signed {
            by: public_key(secrets),
            signature: signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes"),
        }
    }

    /// Whether the signature is that of the key it names. Whose key that is, the reader must know from elsewhere.
    pub(crate) fn fits(&self, signed: &Signed) -> bool {
        UnparsedPublicKey::new(&ED25519, signed.by)
            .verify(&self.bytes(), &signed.signature)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_holds_for_its_entry_and_signer_alone() {
        let secrets = PortalSecrets::counting(1);
        let point = Checkpoint {
            sequence: 7,
            hash: [9; 32],
            at: "2026-01-02T03:04:05Z".to_owned(),
        };
        let signed = point.sign(&secrets);
        assert_eq!(signed.by, public_key(&secrets));
        assert!(point.fits(&signed));
        for changed in [
            Checkpoint {
                sequence: 8,
                ..point.clone()
            },
            Checkpoint {
                hash: [8; 32],
                ..point.clone()
            },
            Checkpoint {
                at: "2026-01-02T03:04:06Z".to_owned(),
                ..point.clone()
            },
        ] {
            assert!(!changed.fits(&signed));
        }
        let other = Signed {
            by: public_key(&PortalSecrets::counting(2)),
            ..signed
        };
        assert!(!point.fits(&other));
    }
}
