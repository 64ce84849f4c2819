//! Random bytes from the operating system, and from nowhere else.
//!
//! A failing source is an error value that travels up (the portal answers 503). There is no user-space generator to
//! fall back to, no time or address mixed in, and no panic.

use rand::TryRng;
use rand::rngs::SysRng;

/// The operating system gave no random bytes. Nothing was made; the request can be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomUnavailable;

/// Where random bytes come from. It is a trait only so that a failing source can be tested.
pub trait Entropy: Send + Sync {
    /// Fills the whole buffer, or fails and leaves its content unspecified.
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable>;
}

/// The source every caller outside tests uses: `getrandom(2)`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        SysRng.try_fill_bytes(out).map_err(|_| RandomUnavailable)
    }
}

/// `N` fresh bytes from the operating system.
pub fn array<const N: usize>() -> Result<[u8; N], RandomUnavailable> {
    array_from(&OsEntropy)
}

/// `N` fresh bytes from the given source.
pub(crate) fn array_from<const N: usize>(source: &dyn Entropy) -> Result<[u8; N], RandomUnavailable> {
    let mut bytes = [0u8; N];
    source.fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn bytes_do_not_repeat() {
        let drawn: HashSet<[u8; 16]> = (0..10_000).map(|_| array::<16>().unwrap()).collect();
        assert_eq!(drawn.len(), 10_000);
    }
}
