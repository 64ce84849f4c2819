//! The one current one-time capability of a request. Its token is known to nobody but its holder: here is only its keyed hash.

use time::{Duration, OffsetDateTime};

use super::token::HashedToken;

/// Wrong passcodes allowed before the link locks; an agent can then give a fresh code.
pub(crate) const PASSCODE_TRIES: u8 = 5;
/// An upload that began before the link's expiry may still be committed for this long.
pub(crate) const COMMIT_GRACE: Duration = Duration::minutes(15);
/// Parts received through one link that have an entry each in the audit log; of more, only every doubling has. Whoever holds a link can send a part and take
/// it back as often as there is time: the log keeps its meaning, and does not grow with it.
pub(crate) const PART_ENTRIES: u32 = 8;
/// An upload that goes on over several connections is given up when nothing of the submission came for this long.
pub(crate) const RESUME_WITHIN: Duration = Duration::hours(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadLink {
    pub hashed: HashedToken,
    /// 1 for the first link of a request, then counted up by every reissue.
    pub generation: u32,
    pub issued_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub revoked_at: Option<OffsetDateTime>,
    pub passcode: Option<PasscodeLock>,
    /// Salt of a token that was derived from a client's Idempotency-Key, so that the same key gives the same link again.
    pub salt: Option<[u8; 16]>,
    /// Parts that were received through it, those that were taken back included.
    pub parts_received: u32,
    /// When somebody first did something on its page, or with it. That its page was fetched says nothing: mail scanners and chat previews fetch links.
    pub opened_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasscodeLock {
    /// PHC string (argon2id over the peppered code).
    pub hash: String,
    /// Decremented durably before a code is looked at; never raised but by a fresh code.
    pub tries_left: u8,
}

/// What a link is at an instant. Computed, never waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    Active,
    /// Out of passcode tries.
    Locked,
    Expired,
    Revoked,
}

impl UploadLink {
    pub fn state(&self, now: OffsetDateTime) -> LinkState {
        if self.revoked_at.is_some() {
            LinkState::Revoked
        } else if now >= self.expires_at {
            LinkState::Expired
        } else if self.passcode.as_ref().is_some_and(|p| p.tries_left == 0) {
            LinkState::Locked
        } else {
            LinkState::Active
        }
    }
}
