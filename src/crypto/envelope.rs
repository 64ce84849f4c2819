//! HPKE in `mode_psk`: a 32-byte document key, sealed to the vault's public key **and** to an erasure secret.
//!
//! Suite 1 is DHKEM(X25519, HKDF-SHA256), suite 2 (the default) is MLKEM768-X25519 ("X-Wing", 0x647a); both with
//! HKDF-SHA256 and ChaCha20-Poly1305 (RFC 9180, draft-ietf-hpke-pq). Suite 2 stays closed to someone who records
//! ciphertext and slots today and owns a quantum computer later.
//!
//! The random bytes of the encapsulation are drawn **before** the HPKE crate is called: its own path panics when
//! the operating system has none.

use std::convert::Infallible;
use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::random::{Entropy, RandomUnavailable};
use super::secret::{ErasureSecret, SecretBytes};

/// Length of a sealed document key: 32 bytes and a 16-byte tag.
pub(crate) const SEALED_KEY_LEN: usize = 48;

/// The most random bytes an encapsulation draws (X-Wing: 32 for ML-KEM, 32 for X25519).
const ENCAPSULATION_RANDOMNESS: usize = 64;

/// Which key encapsulation a key pair and a document use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suite {
    /// DHKEM(X25519, HKDF-SHA256), 0x0020.
    X25519,
    /// MLKEM768-X25519, 0x647a: the default.
    #[default]
    XWing,
}

impl Suite {
    /// The byte that names the suite in every file format.
    pub fn code(self) -> u8 {
        match self {
            Suite::X25519 => 1,
            Suite::XWing => 2,
        }
    }

    /// The suite of a code byte, if we know it.
    pub fn from_code(code: u8) -> Option<Suite> {
        match code {
            1 => Some(Suite::X25519),
            2 => Some(Suite::XWing),
            _ => None,
        }
    }

    /// Length of the encapsulated key (`Nenc`).
    pub fn enc_len(self) -> usize {
        match self {
            Suite::X25519 => 32,
            Suite::XWing => 1120,
        }
    }

    /// Length of a public key.
    pub fn public_len(self) -> usize {
        match self {
            Suite::X25519 => 32,
            Suite::XWing => 1216,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Suite::X25519 => "x25519",
            Suite::XWing => "mlkem768-x25519",
        }
    }
}

/// Names a vault key pair: SHA-256("nightdrop/v1/key-id" ‖ 00 ‖ suite ‖ public key), first 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    /// The id of a public key.
    pub fn of(suite: Suite, public: &[u8]) -> KeyId {
        let mut hash = Sha256::new();
        hash.update(b"nightdrop/v1/key-id\0");
        hash.update([suite.code()]);
        hash.update(public);
        let mut id = [0u8; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        KeyId(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// These bytes are no key of their suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not a key of this suite")]
pub struct BadKey;

/// The vault's public key, parsed once and kept ready.
#[derive(Clone)]
pub struct PublicKey {
    id: KeyId,
    suite: Suite,
    bytes: Vec<u8>,
    parsed: ParsedPublic,
}

#[derive(Clone)]
enum ParsedPublic {
    X25519(<X25519HkdfSha256 as Kem>::PublicKey),
    XWing(Box<<XWing as Kem>::PublicKey>),
}

impl PublicKey {
    /// Reads a public key of 32 (suite 1) or 1,216 bytes (suite 2).
    pub fn from_bytes(suite: Suite, bytes: &[u8]) -> Result<PublicKey, BadKey> {
        let parsed = match suite {
            Suite::X25519 => ParsedPublic::X25519(Deserializable::from_bytes(bytes).map_err(|_| BadKey)?),
            Suite::XWing => ParsedPublic::XWing(Box::new(Deserializable::from_bytes(bytes).map_err(|_| BadKey)?)),
        };
        Ok(PublicKey {
            id: KeyId::of(suite, bytes),
            suite,
            bytes: bytes.to_vec(),
            parsed,
        })
    }

    /// The id that document headers carry.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The suite of this key.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The serialized key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.suite.name(), self.id)
    }
}

/// The vault's private key: 32 bytes in both suites (X-Wing keeps its seed).
#[derive(Debug)]
pub struct SecretKey {
    suite: Suite,
    bytes: SecretBytes<32>,
}

impl SecretKey {
    /// Makes a fresh key pair.
    pub fn generate(suite: Suite, source: &dyn Entropy) -> Result<(SecretKey, PublicKey), RandomUnavailable> {
        let seed = SecretBytes::<32>::random_from(source)?;
        let bytes = match suite {
            Suite::X25519 => serialized(&X25519HkdfSha256::derive_keypair(seed.expose()).0),
            Suite::XWing => serialized(&XWing::derive_keypair(seed.expose()).0),
        };
        let secret = SecretKey { suite, bytes };
        let public = secret.public();
        Ok((secret, public))
    }

    /// Takes over the 32 bytes from a key file. Which public key they belong to is for the caller to compare.
    pub fn from_bytes(suite: Suite, bytes: SecretBytes<32>) -> SecretKey {
        SecretKey { suite, bytes }
    }

    /// The suite of this key.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The 32 bytes, for the key file only.
    pub(super) fn expose(&self) -> &[u8; 32] {
        self.bytes.expose()
    }

    /// Computes the public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        let bytes = match self.suite {
            Suite::X25519 => X25519HkdfSha256::sk_to_pk(&self.parse::<X25519HkdfSha256>()).to_bytes().to_vec(),
            Suite::XWing => XWing::sk_to_pk(&self.parse::<XWing>()).to_bytes().to_vec(),
        };
        PublicKey::from_bytes(self.suite, &bytes).expect("a public key just serialized parses again")
    }

    fn parse<K: Kem>(&self) -> K::PrivateKey {
        K::PrivateKey::from_bytes(self.bytes.expose()).expect("both suites take any 32 bytes as private key")
    }
}

fn serialized<S: Serializable>(key: &S) -> SecretBytes<32> {
    SecretBytes::filled_by(|place| {
        key.write_exact(place);
        Ok::<(), Infallible>(())
    })
    .expect("infallible")
}

/// What binds an envelope to its document.
pub(crate) struct Binding<'a> {
    /// HPKE `info`: the domain string and the header's context.
    pub info: &'a [u8],
    /// HPKE `psk_id`: the slot and the document.
    pub psk_id: &'a [u8],
    /// HPKE `aad`: the key commitment.
    pub aad: &'a [u8],
}

/// Why an envelope was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrapError {
    /// No random bytes.
    Random(RandomUnavailable),
    /// The HPKE crate refused the public key (an all-zero X25519 result, for instance).
    Refused,
}

/// Seals a 32-byte key: returns `enc` (32 or 1,120 bytes) and the 48-byte ciphertext.
pub(crate) fn wrap(
    public: &PublicKey,
    secret: &ErasureSecret,
    binding: &Binding<'_>,
    key: &[u8; 32],
    source: &dyn Entropy,
) -> Result<(Vec<u8>, Vec<u8>), WrapError> {
    let mut drawn = Drawn::new(source).map_err(WrapError::Random)?;
    match &public.parsed {
        ParsedPublic::X25519(pk) => wrap_with::<X25519HkdfSha256>(pk, secret, binding, key, &mut drawn),
        ParsedPublic::XWing(pk) => wrap_with::<XWing>(pk, secret, binding, key, &mut drawn),
    }
}

/// Opens an envelope. `None` says only that it does not open: a wrong key, a wrong or foreign erasure secret, or
/// a changed byte look the same.
pub(crate) fn unwrap(
    secret_key: &SecretKey,
    secret: &ErasureSecret,
    binding: &Binding<'_>,
    enc: &[u8],
    sealed: &[u8],
) -> Option<SecretBytes<32>> {
    #[cfg(test)]
    calls::count();
    match secret_key.suite {
        Suite::X25519 => unwrap_with::<X25519HkdfSha256>(secret_key, secret, binding, enc, sealed),
        Suite::XWing => unwrap_with::<XWing>(secret_key, secret, binding, enc, sealed),
    }
}

fn wrap_with<K: Kem>(
    public: &K::PublicKey,
    secret: &ErasureSecret,
    binding: &Binding<'_>,
    key: &[u8; 32],
    drawn: &mut Drawn,
) -> Result<(Vec<u8>, Vec<u8>), WrapError> {
    let psk = PskBundle::new(secret.expose(), binding.psk_id).map_err(|_| WrapError::Refused)?;
    let (enc, sealed) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, K>(
        &OpModeS::Psk(psk),
        public,
        binding.info,
        key,
        binding.aad,
        drawn,
    )
    .map_err(|_| WrapError::Refused)?;
    if drawn.exhausted {
        // The crate asked for more than was drawn and got zeros: the result must not be used.
        return Err(WrapError::Random(RandomUnavailable));
    }
    Ok((enc.to_bytes().to_vec(), sealed))
}

fn unwrap_with<K: Kem>(
    secret_key: &SecretKey,
    secret: &ErasureSecret,
    binding: &Binding<'_>,
    enc: &[u8],
    sealed: &[u8],
) -> Option<SecretBytes<32>> {
    let key = open_bytes::<K>(secret_key, secret, binding, enc, sealed)?;
    SecretBytes::filled_by(|place: &mut [u8; 32]| {
        if key.len() != place.len() {
            return Err(());
        }
        place.copy_from_slice(&key);
        Ok(())
    })
    .ok()
}

/// Opens a ciphertext of any length; only the published vectors have other lengths than 48.
pub(super) fn open_bytes<K: Kem>(
    secret_key: &SecretKey,
    secret: &ErasureSecret,
    binding: &Binding<'_>,
    enc: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let enc = K::EncappedKey::from_bytes(enc).ok()?;
    let psk = PskBundle::new(secret.expose(), binding.psk_id).ok()?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, K>(
        &OpModeR::Psk(psk),
        &secret_key.parse::<K>(),
        &enc,
        binding.info,
        sealed,
        binding.aad,
    )
    .ok()
    .map(Zeroizing::new)
}

/// Random bytes drawn beforehand, handed to a crate that cannot be told of a failure.
struct Drawn {
    bytes: SecretBytes<ENCAPSULATION_RANDOMNESS>,
    used: usize,
    exhausted: bool,
}

impl Drawn {
    fn new(source: &dyn Entropy) -> Result<Drawn, RandomUnavailable> {
        Ok(Drawn {
            bytes: SecretBytes::random_from(source)?,
            used: 0,
            exhausted: false,
        })
    }
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0u8; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0u8; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        match self.bytes.expose().get(self.used..self.used + out.len()) {
            Some(fresh) => {
                out.copy_from_slice(fresh);
                self.used += out.len();
            }
            None => {
                out.fill(0);
                self.exhausted = true;
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

/// Counts HPKE openings per thread, so that a test can show that none happened.
#[cfg(test)]
pub(super) mod calls {
    use std::cell::Cell;
    thread_local!(static OPENINGS: Cell<usize> = const { Cell::new(0) });

    pub fn count() {
        OPENINGS.set(OPENINGS.get() + 1);
    }

    pub fn seen() -> usize {
        OPENINGS.get()
    }
}
