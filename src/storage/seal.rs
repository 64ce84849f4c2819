//! Rows that decide who may do what, kept under a keyed MAC: agents, sessions and API keys are stored as `MAC 32 ‖ row`, and the MAC covers the row's key
//! in the store with every byte of the row.
//!
//! Whoever can write the store and holds no key of the portal can therefore neither change a field of such a row, nor plant one, nor put one under another
//! row's key. [`Seal::open`] is the only way from stored bytes to such a type, and [`Seal::close`] the only one back: a field that is added to a type later
//! is covered without anybody thinking of it. A MAC does not date a row: an older row that stood under the same key still fits.
//!
//! The key lives above this layer, which is handed a [`Seal`] when a store is opened.

use std::fmt;

use super::StorageError;
use super::key;
use super::record::Record;
use crate::chain::Cause;
use crate::domain::agent::{Agent, ApiKey, Session};
use crate::domain::id::{AgentId, ApiKeyId};

pub const MAC_LEN: usize = 32;

/// Computes and compares MACs with the portal's key.
pub trait Seal: Send + Sync {
    fn mac(&self, place: &[u8], row: &[u8]) -> [u8; MAC_LEN];
    /// In constant time.
    fn fits(&self, place: &[u8], row: &[u8], found: &[u8]) -> bool;
}

/// A row that is not as the portal wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Altered {
    /// `agent`, `agent_email` (the index that leads to an account by its address), `session`, `api_key` or `receipt`.
    pub kind: &'static str,
    /// Which one; nothing for a session, whose key must not be told.
    pub id: Option<String>,
}

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{} {id}", self.kind),
            None => f.write_str(self.kind),
        }
    }
}

/// A type that is kept sealed.
pub trait Sealed: Record {
    /// The row's name in errors, from the key that it stands under.
    fn altered(place: &[u8]) -> Altered;
    /// Whether a row belongs under this key; checked beside the MAC, which covers the same.
    fn belongs(&self, place: &[u8]) -> bool;
}

impl dyn Seal + '_ {
    pub fn close<R: Sealed>(&self, place: &[u8], row: &R) -> Vec<u8> {
        let row = row.encode();
        let mut sealed = self.mac(place, &row).to_vec();
        sealed.extend_from_slice(&row);
        sealed
    }

    pub fn open<R: Sealed>(&self, place: &[u8], sealed: &[u8]) -> Result<R, StorageError> {
        let altered = || StorageError::Altered(R::altered(place));
        let (mac, row) = sealed.split_at_checked(MAC_LEN).ok_or_else(altered)?;
        if !self.fits(place, row, mac) {
            return Err(altered());
        }
        let row = R::decode(row).map_err(|e| StorageError::Corrupt(Cause::new(e)))?;
        if row.belongs(place) { Ok(row) } else { Err(altered()) }
    }
}

impl Sealed for Agent {
    fn altered(place: &[u8]) -> Altered {
        Altered {
            kind: "agent",
            id: place.get(1..).and_then(|b| b.try_into().ok()).map(|id| AgentId(id).to_string()),
        }
    }

    fn belongs(&self, place: &[u8]) -> bool {
        key::agent(self.id) == place
    }
}

impl Sealed for Session {
    fn altered(_: &[u8]) -> Altered {
        Altered { kind: "session", id: None }
    }

    fn belongs(&self, place: &[u8]) -> bool {
        place.first() == Some(&key::SESSION)
    }
}

impl Sealed for ApiKey {
    /// By the first bytes of the hash that it is stored under: the row's own id is not to be believed.
    fn altered(place: &[u8]) -> Altered {
        let hash = place.get(1..9).map(|b| data_encoding::HEXLOWER.encode(b));
        Altered { kind: "api_key", id: hash }
    }

    fn belongs(&self, place: &[u8]) -> bool {
        place.first() == Some(&key::API_KEY)
    }
}

/// An API key whose row is another one's.
pub(crate) fn altered_key(id: ApiKeyId) -> Altered {
    Altered {
        kind: "api_key",
        id: Some(id.to_string()),
    }
}

/// An account that the index of addresses led to, and that has another one.
pub(crate) fn altered_email(id: AgentId) -> Altered {
    Altered {
        kind: "agent_email",
        id: Some(id.to_string()),
    }
}

/// A seal whose key everybody knows, for tests of the store alone.
#[cfg(test)]
pub struct NotSecret;

#[cfg(test)]
impl Seal for NotSecret {
    fn mac(&self, place: &[u8], row: &[u8]) -> [u8; MAC_LEN] {
        use sha2::{Digest, Sha256};
        let length = (place.len() as u64).to_be_bytes();
        Sha256::new()
            .chain_update(length)
            .chain_update(place)
            .chain_update(row)
            .finalize()
            .into()
    }

    fn fits(&self, place: &[u8], row: &[u8], found: &[u8]) -> bool {
        self.mac(place, row) == *found
    }
}
