//! Key file v1: one private key, wrapped under a passphrase, a key-encryption key, or nothing.
//!
//! ```text
//! off len  (120 bytes)
//! 0   8    "NDKEYV1\n"
//! 8   1    suite
//! 9   1    protection   1 argon2id passphrase | 2 raw 32-byte KEK | 3 none
//! 10  2    zero
//! 12  4    m, KiB       zero unless protection 1
//! 16  4    t            zero unless protection 1
//! 20  4    p            zero unless protection 1
//! 24  16   salt
//! 40  16   key_id
//! 56  12   nonce
//! 68  4    48
//! 72  48   ChaCha20-Poly1305(KEK, nonce, private key, AAD = bytes 0..72)
//! ```
//! KEK = HKDF-Expand(ikm, "nightdrop/v1/kek" ‖ 00, 32) with ikm = argon2id(passphrase, salt, m, t, p, 32) for 1, the
//! 32 bytes of the KEK file for 2, and SHA-256("nightdrop/v1/kek-none" ‖ 00 ‖ salt) for 3. Protection 3 hides nothing:
//! it is for keys that a service manager decrypts into memory for us; the wrapping only detects damage.
//!
//! The public half is in a file of its own, so that a portal whose key is locked can seal:
//! `"NDPUBV1\n" ‖ suite ‖ 000000 ‖ key_id 16 ‖ u32 length ‖ public key`; the key_id proves the rest.

use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::envelope::{KeyId, PublicKey, SecretKey, Suite};
use super::random::{self, Entropy, RandomUnavailable};
use super::scratch::Scratch;
use super::secret::SecretBytes;

/// Length of a key file.
pub(crate) const KEY_FILE_LEN: usize = 120;

/// Longest public key file.
pub(crate) const PUBLIC_FILE_MAX: usize = 32 + 1216;

const MAGIC: &[u8; 8] = b"NDKEYV1\n";
const PUBLIC_MAGIC: &[u8; 8] = b"NDPUBV1\n";
const HEAD_LEN: usize = 72;

/// How hard a passphrase is to guess, as argon2id counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Argon2Cost {
    /// The default for the vault key: 2 GiB, 1 pass, 4 lanes on a machine with 8 GiB or more (RFC 9106, first
    /// recommendation), else 64 MiB, 3, 4 (the second).
    pub fn for_this_machine() -> Argon2Cost {
        let info = rustix::system::sysinfo();
        let total = u64::from(info.mem_unit) * info.totalram;
        Argon2Cost::for_memory(total)
    }

    /// The default for a machine with this many bytes of memory.
    pub fn for_memory(bytes: u64) -> Argon2Cost {
        if bytes >= 8 << 30 {
            Argon2Cost {
                memory_kib: 2 << 20,
                passes: 1,
                lanes: 4,
            }
        } else {
            Argon2Cost {
                memory_kib: 64 << 10,
                passes: 3,
                lanes: 4,
            }
        }
    }

    /// The least argon2 can do: for tests and throw-away demonstrations only.
    pub fn smallest() -> Argon2Cost {
        Argon2Cost {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        }
    }

    /// What a reader accepts: 4 GiB, 16 passes, 16 lanes. Checked before anything is allocated.
    fn checked(self) -> Result<Argon2Cost, &'static str> {
        if self.memory_kib > 4 << 20 || self.passes > 16 || self.lanes > 16 {
            return Err("argon2 parameters beyond 4 GiB, 16 passes or 16 lanes");
        }
        if self.passes == 0 || self.lanes == 0 || self.memory_kib < 8 * self.lanes {
            return Err("argon2 parameters below the minimum");
        }
        Ok(self)
    }
}

/// What protects a private key at rest.
pub enum Protector<'a> {
    /// A passphrase, stretched with argon2id. On reading, the file's own cost counts.
    Passphrase(&'a [u8], Argon2Cost),
    /// 32 raw bytes from a file or device of their own.
    Kek(&'a SecretBytes<32>),
    /// Nothing: whoever hands the file over protects it.
    None,
}

impl Protector<'_> {
    fn code(&self) -> u8 {
        match self {
            Protector::Passphrase(..) => 1,
            Protector::Kek(_) => 2,
            Protector::None => 3,
        }
    }
}

/// Which protection a key file needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// A passphrase.
    Passphrase,
    /// A key-encryption key.
    Kek,
    /// None.
    None,
}

/// Why a key file was not made or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not a key file, or of an unknown version, or with parameters beyond the caps.
    #[error("not a usable key file: {0}")]
    Malformed(&'static str),
    /// The passphrase or KEK does not open it, or a byte of it was changed.
    #[error("the key does not open with this passphrase or key file")]
    DoesNotOpen,
    /// The file wants another kind of protection than was offered.
    #[error("the key wants another kind of protection")]
    OtherProtection(Protection),
    /// Not enough memory for argon2 with the file's parameters.
    #[error("not enough memory to stretch the passphrase")]
    OutOfMemory,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
}

/// A parsed, still closed key file.
#[derive(Clone)]
pub struct KeyFile {
    suite: Suite,
    protection: Protection,
    cost: Option<Argon2Cost>,
    id: KeyId,
    bytes: [u8; KEY_FILE_LEN],
}

impl KeyFile {
    /// Wraps a private key.
    pub fn wrap(
        secret: &SecretKey,
        id: KeyId,
        protector: &Protector<'_>,
        source: &dyn Entropy,
    ) -> Result<[u8; KEY_FILE_LEN], KeyFileError> {
        let mut bytes = [0u8; KEY_FILE_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = secret.suite().code();
        bytes[9] = protector.code();
        if let Protector::Passphrase(_, cost) = protector {
            let cost = cost.checked().map_err(KeyFileError::Malformed)?;
            bytes[12..16].copy_from_slice(&cost.memory_kib.to_be_bytes());
            bytes[16..20].copy_from_slice(&cost.passes.to_be_bytes());
            bytes[20..24].copy_from_slice(&cost.lanes.to_be_bytes());
        }
        source.fill(&mut bytes[24..40])?;
        bytes[40..56].copy_from_slice(&id.0);
        source.fill(&mut bytes[56..68])?;
        bytes[68..72].copy_from_slice(&48u32.to_be_bytes());
        let kek = kek(protector, &bytes[24..40])?;
        let (head, body) = bytes.split_at_mut(HEAD_LEN);
        body[..32].copy_from_slice(secret.expose());
        let tag = ChaCha20Poly1305::new(kek.expose().into())
            .encrypt_inout_detached(&nonce(head), head, (&mut body[..32]).into())
            .expect("32 bytes are below the cipher's limit");
        body[32..].copy_from_slice(&tag);
        Ok(bytes)
    }

    /// Reads the public part. The caps are checked here, before anyone can allocate by them.
    pub fn parse(bytes: &[u8]) -> Result<KeyFile, KeyFileError> {
        let malformed = |what| Err(KeyFileError::Malformed(what));
        let Ok(bytes) = <[u8; KEY_FILE_LEN]>::try_from(bytes) else {
            return malformed("it has not 120 bytes");
        };
        if &bytes[..8] != MAGIC {
            return malformed("unknown kind or version");
        }
        let Some(suite) = Suite::from_code(bytes[8]) else {
            return malformed("unknown suite");
        };
        if bytes[10..12] != [0; 2] || bytes[68..72] != 48u32.to_be_bytes() {
            return malformed("reserved bytes or length changed");
        }
        let word = |place: usize| u32::from_be_bytes(bytes[place..place + 4].try_into().expect("four bytes"));
        let written = Argon2Cost {
            memory_kib: word(12),
            passes: word(16),
            lanes: word(20),
        };
        let (protection, cost) = match bytes[9] {
            1 => (Protection::Passphrase, Some(written.checked().map_err(KeyFileError::Malformed)?)),
            2 | 3 if bytes[12..24] != [0; 12] => {
                return malformed("argon2 parameters without a passphrase");
            }
            2 => (Protection::Kek, None),
            3 => (Protection::None, None),
            _ => return malformed("unknown protection"),
        };
        Ok(KeyFile {
            suite,
            protection,
            cost,
            id: KeyId(bytes[40..56].try_into().expect("sixteen bytes")),
            bytes,
        })
    }

    /// The id of the key pair.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The suite of the key pair.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// What it takes to open it.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Opens the key and checks that it is the one its id names. Takes as long as its argon2 cost.
    pub fn open(&self, protector: &Protector<'_>) -> Result<SecretKey, KeyFileError> {
        let kek = match (self.protection, self.cost, protector) {
            (Protection::Passphrase, Some(cost), Protector::Passphrase(passphrase, _)) => {
                kek(&Protector::Passphrase(passphrase, cost), self.salt())?
            }
            (Protection::Kek, _, Protector::Kek(_)) | (Protection::None, _, Protector::None) => kek(protector, self.salt())?,
            _ => return Err(KeyFileError::OtherProtection(self.protection)),
        };
        let (head, body) = self.bytes.split_at(HEAD_LEN);
        let mut opened = Zeroizing::new(body.to_vec());
        ChaCha20Poly1305::new(kek.expose().into())
            .decrypt_in_place(&nonce(head), head, &mut *opened)
            .map_err(|_| KeyFileError::DoesNotOpen)?;
        let bytes = SecretBytes::filled_by(|place: &mut [u8; 32]| {
            place.copy_from_slice(&opened);
            Ok::<(), std::convert::Infallible>(())
        })
        .expect("infallible");
        let secret = SecretKey::from_bytes(self.suite, bytes);
        if secret.public().id() != self.id {
            return Err(KeyFileError::Malformed("the key is not the one its id names"));
        }
        Ok(secret)
    }

    fn salt(&self) -> &[u8] {
        &self.bytes[24..40]
    }
}

/// The public key file.
pub(crate) fn public_file(public: &PublicKey) -> Vec<u8> {
    let mut bytes = PUBLIC_MAGIC.to_vec();
    bytes.extend_from_slice(&[public.suite().code(), 0, 0, 0]);
    bytes.extend_from_slice(&public.id().0);
    let length = u32::try_from(public.as_bytes().len()).expect("at most 1,216 bytes");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(public.as_bytes());
    bytes
}

/// Reads a public key file and checks the key against its id.
pub fn parse_public_file(bytes: &[u8]) -> Result<PublicKey, KeyFileError> {
    let malformed = |what| Err(KeyFileError::Malformed(what));
    if bytes.len() < 32 || &bytes[..8] != PUBLIC_MAGIC {
        return malformed("not a public key file of a known version");
    }
    let Some(suite) = Suite::from_code(bytes[8]) else {
        return malformed("unknown suite");
    };
    let length = u32::from_be_bytes(bytes[28..32].try_into().expect("four bytes")) as usize;
    if bytes[9..12] != [0; 3] || length != suite.public_len() || bytes.len() != 32 + length {
        return malformed("length does not fit the suite");
    }
    let Ok(public) = PublicKey::from_bytes(suite, &bytes[32..]) else {
        return malformed("not a public key of its suite");
    };
    if public.id().0 != bytes[12..28] {
        return malformed("the public key is not the one its id names");
    }
    Ok(public)
}

fn nonce(head: &[u8]) -> Nonce {
    let bytes: [u8; 12] = head[56..68].try_into().expect("twelve bytes");
    bytes.into()
}

fn kek(protector: &Protector<'_>, salt: &[u8]) -> Result<SecretBytes<32>, KeyFileError> {
    let stretched;
    let ikm: &SecretBytes<32> = match protector {
        Protector::Passphrase(passphrase, cost) => {
            stretched = SecretBytes::filled_by(|place| stretch(passphrase, salt, *cost, place))?;
            &stretched
        }
        Protector::Kek(kek) => kek,
        Protector::None => {
            let mut hash = Sha256::new();
            hash.update(b"nightdrop/v1/kek-none\0");
            hash.update(salt);
            stretched = SecretBytes::take(&mut hash.finalize().into());
            &stretched
        }
    };
    let hkdf = Hkdf::<Sha256>::from_prk(ikm.expose()).expect("32 bytes are a full SHA-256 key");
    Ok(SecretBytes::filled_by(|place| hkdf.expand(b"nightdrop/v1/kek\0", place)).expect("32 bytes are far below HKDF's limit"))
}

/// One at a time in this process: a key file may ask for 4 GiB, and two that come together must not ask the machine for eight. The second waits.
static STRETCHING: Mutex<()> = Mutex::new(());

fn stretch(passphrase: &[u8], salt: &[u8], cost: Argon2Cost, out: &mut [u8; 32]) -> Result<(), KeyFileError> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(out.len()))
        .map_err(|_| KeyFileError::Malformed("argon2 refuses these parameters"))?;
    let _turn = STRETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new();
    let blocks = params.block_count();
    scratch
        .with(blocks, |memory| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(passphrase, salt, out, memory)
        })
        .map_err(|_| KeyFileError::OutOfMemory)?
        .map_err(|error| match error {
            argon2::Error::OutOfMemory => KeyFileError::OutOfMemory,
            _ => KeyFileError::Malformed("argon2 refuses this passphrase or salt"),
        })
}

/// A fresh 32-byte key-encryption key, for a file or device of its own.
pub(crate) fn generate_kek() -> Result<SecretBytes<32>, RandomUnavailable> {
    SecretBytes::random_from(&random::OsEntropy)
}
