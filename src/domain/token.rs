//! Placeholder shape until the crypto room brings the real one.
#[derive(Clone)]
pub struct PlainToken([u8; 20]);
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashedToken(pub [u8; 32]);
