//! What an account may prove itself with beyond its password, and how many wrong tries it bears. Secrets are here only sealed or hashed.

use time::OffsetDateTime;

use super::document::SealedText;

/// Recovery codes that are made at once.
pub(crate) const RECOVERY_CODES: usize = 10;
/// Passkeys of one account.
pub(crate) const PASSKEYS: usize = 10;

/// Wrong tries in a row that close an account's password to browsers it never signed in from. The rest of
/// [`WRONG_PASSWORDS`] is kept for browsers that it did sign in from, so that strangers shut nobody out.
pub(crate) const WRONG_FROM_STRANGERS: u32 = 80;
/// Wrong passwords in a row that close the password to everybody, until an admin sets a new one (NIST SP 800-63B-4, 3.2.2: at most 100).
pub(crate) const WRONG_PASSWORDS: u32 = 100;
/// Wrong codes in a row that close the authenticator app: ten that are judged at the same time may come on top.
pub const WRONG_CODES: u32 = 90;

/// Wrong tries since the last right one. They outlive restarts, and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailedAttempts {
    pub password: u32,
    pub code: u32,
}

impl FailedAttempts {
    /// Whether a password is not even looked at, from a browser that this account `known`ly signed in from or from another.
    pub fn close_password(self, known: bool) -> bool {
        self.password >= if known { WRONG_PASSWORDS } else { WRONG_FROM_STRANGERS }
    }

    pub fn close_codes(self) -> bool {
        self.code >= WRONG_CODES
    }
}

/// Second factors, and the codes for the day when they are lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Factors {
    pub totp: Option<Totp>,
    /// Keyed hashes of the codes that are left.
    pub recovery: Vec<[u8; 32]>,
    pub passkeys: Vec<Passkey>,
}

impl Factors {
    /// Whether a password alone does not let this agent in.
    pub fn any(&self) -> bool {
        self.totp.is_some() || !self.passkeys.is_empty()
    }
}

/// An authenticator app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totp {
    pub secret: SealedText,
    /// The newest time step whose code was used; this one and older ones are spent.
    pub last_step: u64,
    pub since: OffsetDateTime,
}

/// A WebAuthn credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    pub id: Vec<u8>,
    /// The agent's own name for it.
    pub name: String,
    /// The public key with its counter, sealed so that a writer of the store cannot plant one.
    pub credential: SealedText,
    pub made_at: OffsetDateTime,
    pub used_at: Option<OffsetDateTime>,
}
