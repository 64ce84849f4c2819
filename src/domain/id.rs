//! Identifiers: 16 bytes, shown as a short prefix and 26 characters of lower-case Crockford base32.
//!
//! The layout is `[2 B virtual shard][2 B day since 2020][12 B random]`, so that tables can partition by day and a later
//! split over several primaries needs no cross-shard transaction. Ids are names, never capabilities: knowing one opens nothing.
//!
//! ```
//! use nightdrop::testing::domain::id::{DocumentId, RequestId};
//!
//! let id = RequestId::new([0xab; 14], time::macros::datetime!(2026-01-02 03:04 UTC));
//! assert_eq!(RequestId::parse(&id.to_string()), Some(id));
//! // The prefix says what is named, so one kind of id is never taken for another.
//! assert_eq!(DocumentId::parse(&id.to_string()), None);
//! ```

use std::fmt;

use data_encoding::{Encoding, Specification};
use std::sync::LazyLock;
use time::OffsetDateTime;

/// Lower-case Crockford base32 without padding, the one text form of every id and link token.
pub(crate) static CROCKFORD: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    specification.translate.from.push_str("ABCDEFGHJKMNPQRSTVWXYZoOiIlL");
    specification.translate.to.push_str("abcdefghjkmnpqrstvwxyz001111");
    specification.encoding().expect("the alphabet has 32 distinct ASCII symbols")
});

/// 2020-01-01, day zero of the day field.
const EPOCH_DAY: i64 = 18_262;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// An id of today's partition, from 14 random bytes.
            pub fn new(random: [u8; 14], now: OffsetDateTime) -> Self {
                Self(compose(random, now))
            }

            /// The inverse of `Display`; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                let body = text.strip_prefix(Self::PREFIX)?;
                CROCKFORD.decode(body.as_bytes()).ok()?.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Self::PREFIX)?;
                f.write_str(&CROCKFORD.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// Something that is told to somebody: a webhook or a mail. Receivers of webhooks know a repeat by it.
    DispatchId,
    "msg_"
);
id!(
    /// One request for one document of one applicant.
    RequestId, "req_");
id!(
    /// One submission: what was dropped through one link. Also the owner of its erasure slot.
    DocumentId, "doc_");
id!(
    /// A person who signs in to the console.
    AgentId, "agt_");
id!(
    /// An API key, by its name and never by its secret.
    ApiKeyId, "key_");

fn compose(random: [u8; 14], now: OffsetDateTime) -> [u8; 16] {
    let day = (now.unix_timestamp().div_euclid(86_400) - EPOCH_DAY).clamp(0, i64::from(u16::MAX));
    let day = u16::try_from(day).unwrap_or(u16::MAX);
    let mut id = [0; 16];
    id[..2].copy_from_slice(&random[..2]);
    id[2..4].copy_from_slice(&day.to_be_bytes());
    id[4..].copy_from_slice(&random[2..]);
    id
}

impl DocumentId {
    /// Eight characters that an applicant can read out on the telephone: `7XK2-9QPM`. A name like the whole id, never a capability.
    pub fn receipt_reference(&self) -> String {
        let text = CROCKFORD.encode(&self.0).to_ascii_uppercase();
        // Without the last character, which holds three bits only.
        let tail = &text[text.len() - 9..text.len() - 1];
        format!("{}-{}", &tail[..4], &tail[4..])
    }
}

/// What somebody typed as the reference of a receipt, in its canonical form: any case, O for 0, I or L for 1, with the hyphen, a blank or nothing in the middle.
pub fn read_receipt_reference(text: &str) -> Option<String> {
    let typed: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    if typed.len() != 8 || !typed.is_ascii() {
        return None;
    }
    let bits = CROCKFORD.decode(typed.as_bytes()).ok()?;
    let canonical = CROCKFORD.encode(&bits).to_ascii_uppercase();
    Some(format!("{}-{}", &canonical[..4], &canonical[4..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself_and_nothing_else_does() {
        let id = RequestId::new([0xab; 14], OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000));
        let text = id.to_string();
        assert_eq!(text.len(), 4 + 26);
        assert_eq!(RequestId::parse(&text), Some(id));
        assert_eq!(RequestId::parse(&text.replace("req_", "doc_")), None);
        assert_eq!(RequestId::parse(&text[..29]), None);
        assert_eq!(RequestId::parse(&format!("{text}0")), None);
        assert_eq!(RequestId::parse("req_../../../../etc/passwd....."), None);
    }
}
