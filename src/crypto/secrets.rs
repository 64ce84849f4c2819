//! The portal's symmetric secrets: one file, made once, never in the database and never in a copy of it; `nightdrop backup` takes them along, encrypted.
//!
//! ```text
//! 0    8    "NDSECR1\n"
//! 8    16   id of the portal they belong to
//! 24   256  eight secrets of 32 bytes: link pepper, password pepper, records key, index key, idempotency key,
//!           token derivation key, receipt signing seed, store row key
//! 280  32   SHA-256("nightdrop/v1/secrets-check" ‖ 00 ‖ bytes 0..280)
//! ```
//! Losing it makes open links unusable, console passwords invalid and sealed record fields unreadable; documents that
//! wait to be forwarded survive. Every use below has a domain string of its own, so no two uses share a MAC.

use std::fmt;
use std::path::Path;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::private_file::{self, FileError, Privacy};
use super::random::{self, Entropy, OsEntropy, RandomUnavailable};
use super::secret::{ErasureSecret, SecretBytes};
use crate::domain::token::{HashedToken, PlainToken, TOKEN_BYTES};

const MAGIC: &[u8; 8] = b"NDSECR1\n";
const COUNT: usize = 8;
const HEAD_LEN: usize = 8 + 16;
const FILE_LEN: usize = HEAD_LEN + COUNT * 32 + 32;
const FIELD_VERSION: u8 = 1;
const ERASABLE_VERSION: u8 = 2;
const BROWSER_VERSION: u8 = 3;
const FIELD_NONCE: usize = 24;

/// Why a sealed field did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the field does not open in this place with this portal's secrets")]
pub struct FieldUnreadable;

/// Why the secrets file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
}

/// The secrets, in memory for the life of the process.
pub struct PortalSecrets {
    portal: [u8; 16],
    link_pepper: SecretBytes<32>,
    password_pepper: SecretBytes<32>,
    records: SecretBytes<32>,
    index: SecretBytes<32>,
    idempotency: SecretBytes<32>,
    token_derivation: SecretBytes<32>,
    signing_seed: SecretBytes<32>,
    store_rows: SecretBytes<32>,
}

impl PortalSecrets {
    /// Makes the file (`O_EXCL`, 0400, fsynced) with fresh secrets for this portal.
    pub fn create(path: &Path, portal: &[u8; 16]) -> Result<(), SecretsError> {
        Self::create_with(&OsEntropy, path, portal)
    }

    /// `create` with a given source of random bytes.
    pub fn create_with(source: &dyn Entropy, path: &Path, portal: &[u8; 16]) -> Result<(), SecretsError> {
        let mut content = Zeroizing::new(vec![0u8; FILE_LEN]);
        content[..8].copy_from_slice(MAGIC);
        content[8..HEAD_LEN].copy_from_slice(portal);
        source.fill(&mut content[HEAD_LEN..FILE_LEN - 32])?;
        let check = file_check(&content[..FILE_LEN - 32]);
        content[FILE_LEN - 32..].copy_from_slice(&check);
        Ok(private_file::create(path, &content, 0o400)?)
    }

    /// Reads the file; refuses one that others may read, or that is damaged.
    pub fn load(path: &Path) -> Result<PortalSecrets, FileError> {
        let content = private_file::read(path, FILE_LEN, Privacy::Credential)?;
        Self::parse(&content).map_err(|what| FileError::Malformed(path.to_owned(), what))
    }

    /// The secrets in a file's content, wherever that was.
    pub(crate) fn parse(content: &[u8]) -> Result<PortalSecrets, &'static str> {
        if content.len() != FILE_LEN || &content[..8] != MAGIC {
            return Err("is not a secrets file of a known version");
        }
        if file_check(&content[..FILE_LEN - 32]) != content[FILE_LEN - 32..] {
            return Err("is damaged");
        }
        let part = |number: usize| {
            SecretBytes::<32>::filled_by(|place| {
                place.copy_from_slice(&content[HEAD_LEN + number * 32..][..32]);
                Ok::<(), std::convert::Infallible>(())
            })
            .expect("infallible")
        };
        Ok(PortalSecrets {
            portal: content[8..HEAD_LEN].try_into().expect("sixteen bytes"),
            link_pepper: part(0),
            password_pepper: part(1),
            records: part(2),
            index: part(3),
            idempotency: part(4),
            token_derivation: part(5),
            signing_seed: part(6),
            store_rows: part(7),
        })
    }

    /// The portal that these secrets were made for.
    pub fn portal(&self) -> [u8; 16] {
        self.portal
    }

    /// HMAC(link pepper, "nightdrop/v1/link" ‖ 00 ‖ token): the only stored form of a token, and its lookup key.
    pub fn hash_token(&self, token: &PlainToken) -> HashedToken {
        HashedToken(mac(&self.link_pepper, &[b"nightdrop/v1/link\0", token.as_bytes()]))
    }

    /// HMAC(link pepper, "nightdrop/v1/link-row" ‖ 00 ‖ link_id ‖ canonical row): whoever writes the database without
    /// the pepper can neither plant a link nor change its target, limits or expiry.
    pub fn row_mac(&self, link_id: &[u8; 16], canonical: &[u8]) -> [u8; 32] {
        mac(&self.link_pepper, &[b"nightdrop/v1/link-row\0", link_id, canonical])
    }

    /// Checks a row MAC in constant time.
    pub fn row_mac_fits(&self, link_id: &[u8; 16], canonical: &[u8], found: &[u8]) -> bool {
        self.row_mac(link_id, canonical).ct_eq(found).into()
    }

    /// HMAC(store row key, "nightdrop/v1/store-row" ‖ 00 ‖ length of place ‖ place ‖ row): binds every byte of a row that grants rights to the
    /// key it is stored under.
    pub fn store_row_mac(&self, place: &[u8], row: &[u8]) -> [u8; 32] {
        mac(&self.store_rows, &[b"nightdrop/v1/store-row\0", &length_of(place), place, row])
    }

    /// Checks such a MAC in constant time.
    pub fn store_row_mac_fits(&self, place: &[u8], row: &[u8], found: &[u8]) -> bool {
        self.store_row_mac(place, row).ct_eq(found).into()
    }

    /// A keyed index: equal inputs find each other, and only the portal can compute it. `label` separates indexes.
    pub fn index(&self, label: &str, data: &[u8]) -> [u8; 32] {
        mac(
            &self.index,
            &[b"nightdrop/v1/index\0", &length_of(label.as_bytes()), label.as_bytes(), data],
        )
    }

    /// Seals a field of a record: `01 ‖ nonce 24 ‖ XChaCha20-Poly1305`. `context` names the place (table, row, field);
    /// the field opens nowhere else. It lives as long as the portal's secrets: for what must die with a document, use
    /// `seal_erasable_field`.
    pub fn seal_field(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RandomUnavailable> {
        seal_under(&self.records, FIELD_VERSION, context, plain)
    }

    /// Opens a sealed field in its place.
    pub fn open_field(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, FieldUnreadable> {
        open_under(&self.records, FIELD_VERSION, context, sealed)
    }

    /// Seals a field so that it dies with an erasure secret: key = HKDF(salt = E, ikm = records key,
    /// info = "nightdrop/v1/note" ‖ 00 ‖ context), otherwise as `seal_field`.
    pub fn seal_erasable_field(&self, secret: &ErasureSecret, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RandomUnavailable> {
        seal_under(&self.erasable_key(secret, context), ERASABLE_VERSION, context, plain)
    }

    /// Opens an erasable field while its erasure secret lives.
    pub fn open_erasable_field(
        &self,
        secret: &ErasureSecret,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, FieldUnreadable> {
        open_under(&self.erasable_key(secret, context), ERASABLE_VERSION, context, sealed)
    }

    /// Seals what only one browser may have shown again: key = HKDF(salt = what its cookie holds, ikm = records key,
    /// info = "nightdrop/v1/browser" ‖ 00 ‖ context), otherwise as `seal_field`. For memory only: nothing of it is stored.
    pub fn seal_for_browser(&self, held: &[u8], context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RandomUnavailable> {
        seal_under(&self.browser_key(held, context), BROWSER_VERSION, context, plain)
    }

    /// Opens it with what the browser's cookie holds.
    pub fn open_for_browser(&self, held: &[u8], context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, FieldUnreadable> {
        open_under(&self.browser_key(held, context), BROWSER_VERSION, context, sealed)
    }

    /// The idempotency key of one attempt epoch: 32 characters, the first 160 bits of
    /// HMAC(idempotency key, "nightdrop/v1/idem" ‖ 00 ‖ doc_id ‖ file_index ‖ epoch) in Crockford base32.
    pub fn idempotency_key(&self, doc_id: &[u8; 16], file_index: u8, epoch: u32) -> String {
        let full = mac(
            &self.idempotency,
            &[b"nightdrop/v1/idem\0", doc_id, &[file_index], &epoch.to_be_bytes()],
        );
        PlainToken::from_bytes(first(&full)).encode()
    }

    /// The multipart boundary of one attempt epoch: `nightdrop-` and 32 hex digits of HMAC(idempotency key,
    /// doc_id ‖ epoch), so that a repeated request is the same bytes.
    pub fn boundary(&self, doc_id: &[u8; 16], epoch: u32) -> String {
        let full = mac(&self.idempotency, &[doc_id, &epoch.to_be_bytes()]);
        format!("nightdrop-{}", data_encoding::HEXLOWER.encode(&full[..16]))
    }

    /// The token that an API create with this idempotency key makes, so that a repeated call gets the same link again
    /// although no token is stored. `salt` is random per request row; `client_key` is what the client sent.
    pub fn derive_token(&self, salt: &[u8], client_key: &[u8]) -> PlainToken {
        let full = mac(
            &self.token_derivation,
            &[b"nightdrop/v1/derived-token\0", &length_of(salt), salt, client_key],
        );
        PlainToken::from_bytes(first(&full))
    }

    /// HMAC(index key, "nightdrop/v1/check" ‖ 00 ‖ purpose ‖ 00 ‖ signed part): the pass of a check ([`super::check`]).
    pub(super) fn check_mac(&self, purpose: &[u8], signed: &[u8]) -> [u8; 32] {
        mac(&self.index, &[b"nightdrop/v1/check\0", purpose, b"\0", signed])
    }

    /// The pepper of passwords and passcodes.
    pub(super) fn password_pepper(&self) -> &SecretBytes<32> {
        &self.password_pepper
    }

    /// The Ed25519 seed of deletion receipts.
    pub(super) fn signing_seed(&self) -> &SecretBytes<32> {
        &self.signing_seed
    }

    fn erasable_key(&self, secret: &ErasureSecret, context: &[u8]) -> SecretBytes<32> {
        let hkdf = Hkdf::<Sha256>::new(Some(secret.expose()), self.records.expose());
        SecretBytes::filled_by(|place| hkdf.expand_multi_info(&[b"nightdrop/v1/note\0", context], place))
            .expect("32 bytes are far below HKDF's limit")
    }

    fn browser_key(&self, held: &[u8], context: &[u8]) -> SecretBytes<32> {
        let hkdf = Hkdf::<Sha256>::new(Some(held), self.records.expose());
        SecretBytes::filled_by(|place| hkdf.expand_multi_info(&[b"nightdrop/v1/browser\0", context], place))
            .expect("32 bytes are far below HKDF's limit")
    }

    /// Secrets that count up from the given bytes, for vectors.
    #[cfg(test)]
    pub(super) fn counting(first: u8) -> PortalSecrets {
        let part = || SecretBytes::take(&mut super::testing::seq::<32>(first));
        PortalSecrets {
            portal: [0; 16],
            link_pepper: part(),
            password_pepper: part(),
            records: part(),
            index: part(),
            idempotency: part(),
            token_derivation: part(),
            signing_seed: part(),
            store_rows: part(),
        }
    }
}

impl fmt::Debug for PortalSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PortalSecrets([redacted])")
    }
}

pub(super) fn mac(key: &SecretBytes<32>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn seal_under(key: &SecretBytes<32>, version: u8, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RandomUnavailable> {
    let nonce: [u8; FIELD_NONCE] = random::array()?;
    let mut sealed = Vec::with_capacity(1 + FIELD_NONCE + plain.len() + 16);
    sealed.push(version);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let tag = XChaCha20Poly1305::new(key.expose().into())
        .encrypt_inout_detached(
            &XNonce::from(nonce),
            &field_aad(version, context),
            (&mut sealed[1 + FIELD_NONCE..]).into(),
        )
        .expect("a field is far below the cipher's limit");
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

fn open_under(key: &SecretBytes<32>, version: u8, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, FieldUnreadable> {
    let (found, rest) = sealed.split_first().ok_or(FieldUnreadable)?;
    let (nonce, body) = rest.split_at_checked(FIELD_NONCE).ok_or(FieldUnreadable)?;
    if *found != version {
        return Err(FieldUnreadable);
    }
    let nonce: [u8; FIELD_NONCE] = nonce.try_into().expect("split at this length");
    let mut plain = Zeroizing::new(body.to_vec());
    XChaCha20Poly1305::new(key.expose().into())
        .decrypt_in_place(&XNonce::from(nonce), &field_aad(version, context), &mut *plain)
        .map_err(|_| FieldUnreadable)?;
    Ok(plain)
}

fn field_aad(version: u8, context: &[u8]) -> Vec<u8> {
    let mut aad = b"nightdrop/v1/field\0".to_vec();
    aad.push(version);
    aad.extend_from_slice(context);
    aad
}

fn length_of(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_be_bytes()
}

fn first(full: &[u8; 32]) -> [u8; TOKEN_BYTES] {
    full[..TOKEN_BYTES].try_into().expect("32 bytes have 20 first ones")
}

fn file_check(content: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"nightdrop/v1/secrets-check\0");
    hash.update(content);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::testing::Scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_made_once_and_refused_when_damaged_or_exposed() {
        let scratch = Scratch::new();
        let path = scratch.path("portal.secrets");
        PortalSecrets::create(&path, &[9; 16]).unwrap();
        assert!(matches!(
            PortalSecrets::create(&path, &[9; 16]),
            Err(SecretsError::File(FileError::Exists(_)))
        ));
        let first = PortalSecrets::load(&path).unwrap();
        let again = PortalSecrets::load(&path).unwrap();
        assert_eq!(first.portal(), [9; 16]);
        assert_eq!(first.index("case", b"x"), again.index("case", b"x"));
        assert_eq!(format!("{first:?}"), "PortalSecrets([redacted])");

        let content = std::fs::read(&path).unwrap();
        for (name, place) in [("a", 0usize), ("b", 8), ("c", 247), ("d", 279)] {
            let mut changed = content.clone();
            changed[place] ^= 1;
            private_file::create(&scratch.path(name), &changed, 0o400).unwrap();
            assert!(matches!(PortalSecrets::load(&scratch.path(name)), Err(FileError::Malformed(..))));
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
        assert!(matches!(PortalSecrets::load(&path), Err(FileError::Exposed(..))));
    }

    #[test]
    fn fields_open_only_in_their_place() {
        let secrets = PortalSecrets::counting(1);
        let sealed = secrets.seal_field(b"request/7/reference", b"Case 4711").unwrap();
        assert_ne!(sealed, secrets.seal_field(b"request/7/reference", b"Case 4711").unwrap());
        assert_eq!(
            secrets.open_field(b"request/7/reference", &sealed).unwrap().as_slice(),
            b"Case 4711"
        );
        assert!(secrets.open_field(b"request/8/reference", &sealed).is_err());
        assert!(PortalSecrets::counting(2).open_field(b"request/7/reference", &sealed).is_err());
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(secrets.open_field(b"request/7/reference", &changed).is_err());
            assert!(secrets.open_field(b"request/7/reference", &sealed[..place]).is_err());
        }
    }

    #[test]
    fn erasable_fields_need_their_erasure_secret() {
        let secrets = PortalSecrets::counting(1);
        let erasure = ErasureSecret::from_slice(&[5; 32]).unwrap();
        let sealed = secrets.seal_erasable_field(&erasure, b"link/1", b"A. Person").unwrap();
        assert_eq!(
            secrets.open_erasable_field(&erasure, b"link/1", &sealed).unwrap().as_slice(),
            b"A. Person"
        );
        let other = ErasureSecret::from_slice(&[6; 32]).unwrap();
        assert!(secrets.open_erasable_field(&other, b"link/1", &sealed).is_err());
        assert!(secrets.open_field(b"link/1", &sealed).is_err());
    }

    #[test]
    fn derived_values_have_their_shapes_and_depend_on_every_input() {
        let secrets = PortalSecrets::counting(1);
        let key = secrets.idempotency_key(&[1; 16], 0, 1);
        assert_eq!(key.len(), 32);
        assert!(key.len() <= 36, "the shortest limit of a provider");
        assert_eq!(key, secrets.idempotency_key(&[1; 16], 0, 1));
        for other in [
            secrets.idempotency_key(&[2; 16], 0, 1),
            secrets.idempotency_key(&[1; 16], 1, 1),
            secrets.idempotency_key(&[1; 16], 0, 2),
        ] {
            assert_ne!(key, other);
        }
        let boundary = secrets.boundary(&[1; 16], 1);
        assert_eq!(boundary.len(), 42);
        assert_ne!(boundary, secrets.boundary(&[1; 16], 2));

        let token = |salt: &[u8], key: &[u8]| secrets.derive_token(salt, key).encode();
        assert_eq!(token(b"salt", b"key"), token(b"salt", b"key"));
        assert_ne!(token(b"salt", b"key"), token(b"saltk", b"ey"));
        assert_ne!(secrets.index("a", b"bc"), secrets.index("ab", b"c"));

        let row = secrets.row_mac(&[1; 16], b"row");
        assert!(secrets.row_mac_fits(&[1; 16], b"row", &row));
        assert!(!secrets.row_mac_fits(&[1; 16], b"row2", &row));
        assert!(!secrets.row_mac_fits(&[1; 16], b"row", &row[..31]));
    }
}
