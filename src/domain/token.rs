//! The capability inside a link, and the only form of it that may be stored.
//!
//! A `PlainToken` is 160 random bits. It exists in two places only: where a link is made, and where a
//! request carries it in. Everything else knows the `HashedToken`, a keyed hash which the crypto room makes.
//! Neither type ever prints its content; the plain one is wiped when it is dropped.
//!
//! ```
//! use nightdrop::testing::domain::token::PlainToken;
//!
//! let token = PlainToken::from_bytes([1; 20]);
//! assert_eq!(token.encode(), "040g2081040g2081040g2081040g2081");
//! // As somebody types it from paper: upper case, and the letter O for zero.
//! let typed = PlainToken::parse("O4OG2O81040G2081040G2081040G2081").expect("the same token");
//! assert_eq!(typed.as_bytes(), token.as_bytes());
//! assert!(PlainToken::parse("040g2081-040g2081-040g2081-040g2081").is_none(), "nothing else is read");
//! assert_eq!(format!("{token:?}"), "PlainToken([redacted])");
//! ```

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes in a token: 160 bits, which is 32 base32 characters without a single spare bit.
pub(crate) const TOKEN_BYTES: usize = 20;

/// Characters in the written form of a token.
pub(crate) const TOKEN_CHARS: usize = 32;

/// Crockford's base32, in lower case: no i, l, o, u, so that a token survives being read aloud or typed.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The secret of one link. The bytes live on the heap, so that moving the value leaves no copy behind.
pub struct PlainToken {
    bytes: Box<[u8; TOKEN_BYTES]>,
}

impl PlainToken {
    /// Wraps 20 bytes that came from the operating system's random source or from a keyed derivation.
    pub fn from_bytes(mut bytes: [u8; TOKEN_BYTES]) -> PlainToken {
        let token = PlainToken { bytes: Box::new(bytes) };
        bytes.zeroize();
        token
    }

    /// The 20 bytes, for hashing.
    pub fn as_bytes(&self) -> &[u8; TOKEN_BYTES] {
        &self.bytes
    }

    /// The written form: 32 characters of lower-case Crockford base32, one spelling only.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(TOKEN_CHARS);
        for group in self.bytes.chunks_exact(5) {
            let bits = group.iter().fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte));
            for place in (0..8).rev() {
                let value = (bits >> (place * 5)) & 0x1f;
                text.push(char::from(ALPHABET[value as usize]));
            }
        }
        text
    }

    /// Reads the written form. Accepts upper case and the aliases o→0, i→1, l→1 (people type tokens from
    /// paper), and nothing else: no other length, no separators, no percent signs, no other scripts.
    pub fn parse(text: &str) -> Option<PlainToken> {
        let text = text.as_bytes();
        if text.len() != TOKEN_CHARS {
            return None;
        }
        let mut bytes = Box::new([0u8; TOKEN_BYTES]);
        for (five, eight) in bytes.chunks_exact_mut(5).zip(text.chunks_exact(8)) {
            let mut bits = 0u64;
            for character in eight {
                bits = (bits << 5) | u64::from(value_of(*character)?);
            }
            five.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        Some(PlainToken { bytes })
    }
}

impl Drop for PlainToken {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl ZeroizeOnDrop for PlainToken {}

impl fmt::Debug for PlainToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainToken([redacted])")
    }
}

/// What is stored of a token: a MAC under a pepper that the database does not know. A reader of the database
/// cannot test guesses against it, a writer cannot plant a link. It is compared only as a whole lookup key
/// that the client cannot steer, so ordinary equality gives nothing away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashedToken(pub [u8; 32]);

impl HashedToken {
    /// The 32 bytes that are the lookup key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for HashedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashedToken([redacted])")
    }
}

fn value_of(character: u8) -> Option<u8> {
    let lower = match character.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    let place = ALPHABET.iter().position(|known| *known == lower)?;
    u8::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const CANONICAL: &str = "041061050r3gg28a1c60t3gf208h44rm";

    fn counting() -> PlainToken {
        let mut bytes = [0u8; TOKEN_BYTES];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = place as u8 + 1;
        }
        PlainToken::from_bytes(bytes)
    }

    #[test]
    fn known_vector_encodes_and_decodes() {
        assert_eq!(counting().encode(), CANONICAL);
        assert_eq!(PlainToken::parse(CANONICAL).unwrap().as_bytes(), counting().as_bytes());
    }

    #[test]
    fn only_the_documented_aliases_decode() {
        let same = |text: &str| PlainToken::parse(text).is_some_and(|token| token.as_bytes() == counting().as_bytes());
        assert!(same(&CANONICAL.to_uppercase()));
        assert!(same("o4io6lo5or3ggz8a1c60t3gf208h44rm".replace('z', "2").as_str()));
        assert!(same("O4IO6LO5OR3GG28A1C6OT3GF2O8H44RM"));
        for refused in [
            "041061050r3gg28a1c60t3gf208h44r",   // 31 characters
            "041061050r3gg28a1c60t3gf208h44rm0", // 33 characters
            "",
            "u41061050r3gg28a1c60t3gf208h44rm", // u is not in the alphabet
            "041061050r3gg28a1c60t3gf208h44r ", // space
            "041061050r3gg28a1c60t3gf208h44r\n",
            "041061050r3gg28a1c60t3gf208h44r\0",
            "041061050r3gg28a-1c60t3gf208h44r", // hyphens are Crockford's, not ours
            "../..%2f041061050r3gg28a1c60t3gf",
            "%30%34%31%30%36%31%30%35%30r3gg2",  // percent encoding
            "%2530410610500r3gg28a1c60t3gf208",  // double encoding
            "041061050r3gg28a1c60t3gf208h44rｍ", // full-width m
            "0410610５0r3gg28a1c60t3gf208h4",    // 32 bytes of UTF-8 with a full-width 5
            "041061050r3gg28a1c60t3gf208h44r=",
        ] {
            assert!(PlainToken::parse(refused).is_none(), "{refused:?}");
        }
    }

    #[test]
    fn nothing_is_printed() {
        let token = counting();
        assert_eq!(format!("{token:?}"), "PlainToken([redacted])");
        assert_eq!(format!("{:?}", HashedToken([7; 32])), "HashedToken([redacted])");
    }

    proptest! {
        #[test]
        fn round_trip_in_any_case(bytes: [u8; 20], shout: bool) {
            let text = PlainToken::from_bytes(bytes).encode();
            let text = if shout { text.to_uppercase() } else { text };
            let parsed = PlainToken::parse(&text).unwrap();
            prop_assert_eq!(parsed.as_bytes(), &bytes);
        }

        #[test]
        fn whatever_decodes_has_one_canonical_spelling(text in "[0-9A-Za-z]{32}") {
            if let Some(token) = PlainToken::parse(&text) {
                let spelled = text.to_lowercase().replace('o', "0").replace(['i', 'l'], "1");
                prop_assert_eq!(token.encode(), spelled);
            }
        }

        #[test]
        fn no_input_panics(text in "\\PC{0,40}") {
            let _ = PlainToken::parse(&text);
        }
    }
}
