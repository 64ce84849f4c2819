//! The pass of a check: whoever holds the portal's secrets may have the running portal look at itself and at one test upload. `nightdrop doctor` makes one for each question.
//!
//! ```text
//! 0   8   end, in seconds since 1970
//! 8   16  random
//! 24  32  HMAC(index key, "nightdrop/v1/check" ‖ 00 ‖ purpose ‖ 00 ‖ bytes 0..24)
//! ```
//! In hex. It is good for one purpose, for minutes, and once: who takes it keeps the random bytes until its end.

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use super::random::{self, RandomUnavailable};
use super::secrets::PortalSecrets;

/// What may be asked with a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckPurpose {
    /// A test upload on the applicants' listener.
    Upload,
    /// How the portal stands, on the staff listener.
    Standing,
}

impl CheckPurpose {
    fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Upload => b"upload",
            Self::Standing => b"standing",
        }
    }
}

/// Seconds that a pass is good for after it was made.
pub(crate) const CHECK_LIFE: i64 = 5 * 60;
const SIGNED: usize = 24;
const WHOLE: usize = SIGNED + 32;

/// A pass whose MAC fits; whether its time is right is for the caller to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckPass {
    /// Seconds since 1970.
    pub end: i64,
    pub nonce: [u8; 16],
}

impl CheckPass {
    /// `now`: seconds since 1970.
    pub(crate) fn new(now: i64) -> Result<Self, RandomUnavailable> {
        Ok(Self {
            end: now.saturating_add(CHECK_LIFE),
            nonce: random::array()?,
        })
    }

    /// As it is sent.
    pub(crate) fn seal(&self, secrets: &PortalSecrets, purpose: CheckPurpose) -> String {
        let signed = self.signed();
        let mac = secrets.check_mac(purpose.as_bytes(), &signed);
        HEXLOWER.encode(&[&signed[..], &mac[..]].concat())
    }

    /// Reads what was sent. `None`: not made with these secrets for this purpose.
    pub(crate) fn open(sealed: &str, secrets: &PortalSecrets, purpose: CheckPurpose) -> Option<Self> {
        let bytes = HEXLOWER.decode(sealed.as_bytes()).ok().filter(|bytes| bytes.len() == WHOLE)?;
        let (signed, mac) = bytes.split_at(SIGNED);
        let fits: bool = secrets.check_mac(purpose.as_bytes(), signed).ct_eq(mac).into();
        let (end, nonce) = signed.split_at(8);
        fits.then_some(Self {
            end: i64::from_be_bytes(end.try_into().ok()?),
            nonce: nonce.try_into().ok()?,
        })
    }

    /// The random bytes as an answer repeats them.
    pub(crate) fn name(&self) -> String {
        HEXLOWER.encode(&self.nonce)
    }

    fn signed(&self) -> [u8; SIGNED] {
        let mut signed = [0; SIGNED];
        signed[..8].copy_from_slice(&self.end.to_be_bytes());
        signed[8..].copy_from_slice(&self.nonce);
        signed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pass_fits_its_secrets_and_its_purpose_alone() {
        let secrets = PortalSecrets::counting(1);
        let pass = CheckPass::new(1_000).unwrap();
        let sealed = pass.seal(&secrets, CheckPurpose::Upload);
        assert_eq!(CheckPass::open(&sealed, &secrets, CheckPurpose::Upload), Some(pass));
        assert_eq!(pass.end, 1_000 + CHECK_LIFE);
        assert_eq!(CheckPass::open(&sealed, &secrets, CheckPurpose::Standing), None);
        assert_eq!(CheckPass::open(&sealed, &PortalSecrets::counting(2), CheckPurpose::Upload), None);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(CheckPass::open(&changed, &secrets, CheckPurpose::Upload), None, "{place}");
        }
        assert_eq!(CheckPass::open("", &secrets, CheckPurpose::Upload), None);
    }
}
