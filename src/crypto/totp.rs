//! Time-based one-time codes (RFC 6238 over RFC 4226): HMAC-SHA-1, six digits, steps of 30 seconds, as every authenticator app reads them.
//!
//! A code is good for its own step and one to either side. This file only says which step a code belongs to; that a step is used once is the store's to decide.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::random::{self, RandomUnavailable};

/// RFC 4226, R6: the length of the hash.
pub(crate) const SECRET_BYTES: usize = 20;
const STEP_SECONDS: i64 = 30;
/// Steps to either side, for clocks that differ and fingers that are slow.
const DRIFT: u64 = 1;

/// What an authenticator app and the portal share.
pub struct TotpSecret(Zeroizing<Vec<u8>>);

impl TotpSecret {
    pub fn generate() -> Result<Self, RandomUnavailable> {
        Ok(Self(Zeroizing::new(random::array::<SECRET_BYTES>()?.to_vec())))
    }

    /// `None` when it is not as long as a secret is.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == SECRET_BYTES).then(|| Self(Zeroizing::new(bytes.to_vec())))
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// For typing it into an app: base32 in groups of four.
    pub fn spoken(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(BASE32_NOPAD.encode(&self.0));
        let groups: Vec<&str> = (0..text.len()).step_by(4).map(|i| &text[i..(i + 4).min(text.len())]).collect();
        Zeroizing::new(groups.join(" "))
    }

    /// The address that an app reads from a QR code.
    pub fn address(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let (issuer, account) = (escaped(issuer), escaped(account));
        let secret = Zeroizing::new(BASE32_NOPAD.encode(&self.0));
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits=6&period=30",
            *secret
        ))
    }

    /// The step that a code belongs to, if it is one of those around `now`. Spaces are ignored. Every candidate is compared, in constant time.
    pub fn step_of(&self, code: &str, now: OffsetDateTime) -> Option<u64> {
        let digits: Zeroizing<Vec<u8>> = Zeroizing::new(code.bytes().filter(|b| !b.is_ascii_whitespace()).collect());
        if digits.len() != 6 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let here = step(now);
        let mut found = None;
        for candidate in here.saturating_sub(DRIFT)..=here + DRIFT {
            let fits = bool::from(self.code(candidate).as_bytes().ct_eq(&digits));
            found = if fits { Some(candidate) } else { found };
        }
        found
    }

    /// The code of an instant, as the app shows it.
    pub fn code_at(&self, now: OffsetDateTime) -> Zeroizing<String> {
        self.code(step(now))
    }

    fn code(&self, step: u64) -> Zeroizing<String> {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.0).expect("HMAC takes keys of every length");
        mac.update(&step.to_be_bytes());
        let hash = mac.finalize().into_bytes();
        let offset = usize::from(hash[19] & 15);
        let word = u32::from_be_bytes([hash[offset] & 127, hash[offset + 1], hash[offset + 2], hash[offset + 3]]);
        Zeroizing::new(format!("{:06}", word % 1_000_000))
    }
}

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret([redacted])")
    }
}

fn step(now: OffsetDateTime) -> u64 {
    u64::try_from(now.unix_timestamp() / STEP_SECONDS).unwrap_or(0)
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-._~@".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    /// RFC 6238, appendix B (SHA-1), the last six of its eight digits.
    #[test]
    fn the_vectors_of_the_standard() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890").unwrap();
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(*secret.code_at(at(seconds)), code);
            assert_eq!(secret.step_of(code, at(seconds)), Some(u64::try_from(seconds / 30).unwrap()));
        }
    }

    #[test]
    fn one_step_to_either_side_and_no_more() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890").unwrap();
        let noon = at(1_234_567_890);
        let code = secret.code_at(noon);
        for (shift, good) in [(-60, false), (-30, true), (0, true), (30, true), (60, false)] {
            let found = secret.step_of(&code, noon + time::Duration::seconds(shift));
            assert_eq!(found.is_some(), good, "{shift}");
        }
        assert!(secret.step_of(&format!("{} {}", &code[..3], &code[3..]), noon).is_some());
        for junk in ["", "12345", "1234567", "abcdef", "００００００", "-00592"] {
            assert_eq!(secret.step_of(junk, noon), None, "{junk}");
        }
    }

    #[test]
    fn the_address_carries_the_secret_and_escapes_names() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890").unwrap();
        assert_eq!(
            *secret.address("Harbour & Co: x", "ana@example.com"),
            "otpauth://totp/Harbour%20%26%20Co%3A%20x:ana@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Harbour%20%26%20Co%3A%20x&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(secret.spoken().split(' ').count(), 8);
        assert!(TotpSecret::from_bytes(b"short").is_none());
    }
}
