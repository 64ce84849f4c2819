//! Byte arrays that must not outlive their use.
//!
//! The bytes are on the heap, so that moving a value copies only a pointer; they are wiped on drop, compared in
//! constant time, and printed as `[redacted]`. No secret type implements `Display`, `Clone` or `Serialize`.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::random::{Entropy, OsEntropy, RandomUnavailable};

/// `N` secret bytes.
pub struct SecretBytes<const N: usize> {
    bytes: Box<[u8; N]>,
}

impl<const N: usize> SecretBytes<N> {
    /// Lets `fill` write the bytes in their final place, so that no other copy exists.
    pub fn filled_by<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = SecretBytes { bytes: Box::new([0u8; N]) };
        fill(&mut secret.bytes)?;
        Ok(secret)
    }

    /// Takes the bytes over and wipes the argument.
    pub fn take(from: &mut [u8; N]) -> Self {
        let secret = SecretBytes { bytes: Box::new(*from) };
        from.zeroize();
        secret
    }

    /// Fresh bytes from the given source.
    pub fn random_from(source: &dyn Entropy) -> Result<Self, RandomUnavailable> {
        Self::filled_by(|bytes| source.fill(bytes))
    }

    /// The bytes themselves; the caller makes no lasting copy.
    pub fn expose(&self) -> &[u8; N] {
        &self.bytes
    }

    /// Equality in constant time.
    pub fn same_as(&self, other: &[u8; N]) -> bool {
        self.bytes.as_slice().ct_eq(other.as_slice()).into()
    }
}

impl<const N: usize> Drop for SecretBytes<N> {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl<const N: usize> ZeroizeOnDrop for SecretBytes<N> {}

impl<const N: usize> fmt::Debug for SecretBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// These bytes cannot serve as an erasure secret: not exactly 32 of them, or all zero (an erased slot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an erasure secret is exactly 32 bytes, not all zero")]
pub struct WeakSecret;

/// The erasure secret of one submission: 32 bytes, never all zero. HPKE takes it as the pre-shared key, and the
/// HPKE crate itself would accept a shorter one, so the length is a matter of this type.
#[derive(Debug)]
pub struct ErasureSecret(SecretBytes<32>);

impl ErasureSecret {
    /// A fresh secret from the operating system.
    pub fn generate() -> Result<ErasureSecret, RandomUnavailable> {
        Self::generate_from(&OsEntropy)
    }

    /// A fresh secret from the given source. A source that answers only zeros counts as failed.
    pub fn generate_from(source: &dyn Entropy) -> Result<ErasureSecret, RandomUnavailable> {
        let secret = SecretBytes::random_from(source)?;
        if secret.same_as(&[0u8; 32]) {
            return Err(RandomUnavailable);
        }
        Ok(ErasureSecret(secret))
    }

    /// Reads a stored secret; refuses every length but 32 and the all-zero value.
    pub fn from_slice(bytes: &[u8]) -> Result<ErasureSecret, WeakSecret> {
        let secret = SecretBytes::<32>::filled_by(|place| {
            if bytes.len() != place.len() {
                return Err(WeakSecret);
            }
            place.copy_from_slice(bytes);
            Ok(())
        })?;
        if secret.same_as(&[0u8; 32]) {
            return Err(WeakSecret);
        }
        Ok(ErasureSecret(secret))
    }

    /// The 32 bytes; only the envelope, the resume key and the erasure stores look at them.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn only_32_non_zero_bytes_are_an_erasure_secret() {
        for length in [0usize, 16, 31, 33, 64] {
            assert_eq!(ErasureSecret::from_slice(&vec![7; length]).err(), Some(WeakSecret));
        }
        assert_eq!(ErasureSecret::from_slice(&[0; 32]).err(), Some(WeakSecret));
        assert!(ErasureSecret::from_slice(&[7; 32]).is_ok());
    }

    #[test]
    fn a_source_of_zeros_or_errors_gives_no_secret() {
        struct Zeros;
        impl Entropy for Zeros {
            fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
                out.fill(0);
                Ok(())
            }
        }
        struct Fails;
        impl Entropy for Fails {
            fn fill(&self, _: &mut [u8]) -> Result<(), RandomUnavailable> {
                Err(RandomUnavailable)
            }
        }
        assert!(ErasureSecret::generate_from(&Zeros).is_err());
        assert!(ErasureSecret::generate_from(&Fails).is_err());
        assert!(SecretBytes::<8>::random_from(&Fails).is_err());
    }

    #[test]
    fn debug_is_redacted_and_the_freed_page_holds_no_residue() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<SecretBytes<32>>();

        let secret = SecretBytes::<4096>::filled_by(|place| {
            place.fill(0xB7);
            Ok::<(), ()>(())
        })
        .unwrap();
        assert_eq!(format!("{secret:?}"), "[redacted]");
        let address = secret.expose().as_ptr() as usize as u64;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut seen = vec![0u8; 4096];
        memory.read_exact_at(&mut seen, address).unwrap();
        assert!(seen.iter().all(|byte| *byte == 0xB7), "the probe reads the secret's own page");
        drop(secret);
        // The allocator may have reused the place; what must not be there is a run of the secret.
        memory.read_exact_at(&mut seen, address).unwrap();
        assert!(!seen.windows(16).any(|run| run.iter().all(|byte| *byte == 0xB7)));
    }
}
