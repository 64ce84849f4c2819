//! Bytes of an unfinished upload, kept between two connections so that nobody but the visitor can have them read.
//!
//! A part that comes over several connections waits as it came, until its last byte is here; then it goes once through the inspector and is
//! sealed like any other. Until then the vault's key is not used at all: the staging key is made of two halves that are never stored together,
//! the **link token**, which only the visitor has (the store knows a keyed hash of it), and an **erasure secret of this one upload**, which dies
//! as soon as the part is sealed, given up or too old. So metadata that the inspector cuts away does not outlive the upload.
//!
//! ```text
//! staging key = HKDF(salt = S, ikm = token20, info = "nightdrop/v1/staging" ‖ 00 ‖ upload id 16)
//! chunk i     = nonce 24 ‖ XChaCha20-Poly1305(staging key, nonce, AAD = "nightdrop/v1/staged-chunk" ‖ 00 ‖ 00 ‖ u64 i, 65,512 bytes)
//! tail        = nonce 24 ‖ XChaCha20-Poly1305(staging key, nonce, AAD = "nightdrop/v1/staged-chunk" ‖ 00 ‖ 01 ‖ u64 chunks before, 1 to 65,511 bytes)
//! box         = 01 ‖ nonce 24 ‖ XChaCha20-Poly1305(staging key, nonce, AAD = "nightdrop/v1/staging-box" ‖ 00, state)
//! state       = u64 length ‖ u32 chunks ‖ chain 32 ‖ tail (u8 is there ‖ u8 place ‖ u32 length ‖ tag 16)
//!               ‖ u16 ‖ file name in 255 bytes ‖ u8 ‖ declared type in 100 bytes
//!               ‖ u8 ‖ lengths of the photos, if they are to be pages, in 20 u64                               always 585 bytes
//! chain 0     = 32 zero bytes;  chain i+1 = SHA-256("nightdrop/v1/staging-chain" ‖ 00 ‖ chain i ‖ nonce ‖ tag of chunk i)
//! ```
//! Every nonce is random (192 bits), so a chunk that is sealed again after a crash shares nothing with the one before. The box is the truth: a
//! chunk that it does not count was never acknowledged, and through the chain a chunk that it counts cannot be exchanged for another one of the
//! same upload. The tail alternates between two places, so that a crash while it is written leaves the one that the box names.

use std::fmt;

use chacha20::{R20, hchacha};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::bulk;
use super::memory;
use super::random::{self, RandomUnavailable};
use super::secret::{ErasureSecret, SecretBytes};
use super::stream::{CHUNK_LEN, TAG_LEN};
use crate::domain::token::PlainToken;

const NONCE_LEN: usize = 24;
/// Plain bytes of a staged chunk: with nonce and tag it is as long as a sealed chunk of a document.
pub(crate) const STAGED_LEN: usize = CHUNK_LEN - NONCE_LEN;
/// Longest file name, in bytes.
pub(crate) const NAME_MAX: usize = 255;
/// Longest declared type, in bytes.
pub(crate) const TYPE_MAX: usize = 100;
/// Most photos that one upload brings as the pages of a document.
pub(crate) const PHOTOS_MAX: usize = 20;

const VERSION: u8 = 1;
const CHUNK_AAD: &[u8] = b"nightdrop/v1/staged-chunk\0";
const BOX_AAD: &[u8] = b"nightdrop/v1/staging-box\0";
const STATE_LEN: usize = 8 + 4 + 32 + TAIL_LEN + 2 + NAME_MAX + 1 + TYPE_MAX + 1 + 8 * PHOTOS_MAX;
const TAIL_LEN: usize = 1 + 1 + 4 + TAG_LEN;

/// What was staged does not open: other secrets, changed bytes, or the erasure secret of an earlier upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the staged bytes do not open with these secrets")]
pub(crate) struct NotStaged;

/// The key of one unfinished upload.
#[derive(Debug)]
pub(crate) struct StagingKey(SecretBytes<32>);

impl StagingKey {
    /// Both the link token and the upload's own erasure secret are needed.
    pub(crate) fn derive(token: &PlainToken, secret: &ErasureSecret, upload: &[u8; 16]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(secret.expose()), token.as_bytes());
        let info: [&[u8]; 2] = [b"nightdrop/v1/staging\0", upload];
        Self(SecretBytes::filled_by(|place| hkdf.expand_multi_info(&info, place)).expect("32 bytes are far below HKDF's limit"))
    }

    fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, RandomUnavailable> {
        let nonce: [u8; NONCE_LEN] = random::array()?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_LEN);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (key, short) = self.extended(nonce);
        let tag = bulk::seal(&key, short, aad, &mut sealed[NONCE_LEN..]);
        memory::wipe_stack();
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// The bytes are wiped when they are freed, as every block is ([`super::heap`]): [`zeroize`](zeroize::Zeroizing) goes byte by byte, twice, which costs more than opening.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotStaged> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(NotStaged)?;
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| NotStaged)?;
        let mut plain = body.to_vec();
        let (key, short) = self.extended(nonce);
        let opened = bulk::open(&key, short, aad, &mut plain);
        memory::wipe_stack();
        opened.map(|()| plain).map_err(|_| NotStaged)
    }

    /// XChaCha20's key and nonce for ChaCha20, as draft-irtf-cfrg-xchacha says.
    #[inline(never)]
    fn extended(&self, nonce: [u8; NONCE_LEN]) -> (SecretBytes<32>, [u8; 12]) {
        let (first, rest) = nonce.split_at(16);
        let mut short = [0; 12];
        short[4..].copy_from_slice(rest);
        let first: [u8; 16] = first.try_into().expect("16 of 24 bytes");
        let mut key: [u8; 32] = hchacha::<R20>(self.0.expose().into(), &first.into()).into();
        (SecretBytes::take(&mut key), short)
    }
}

/// How far an unfinished upload has come, and what its sender said of the file.
#[derive(PartialEq, Eq)]
pub(crate) struct Staging {
    length: u64,
    chunks: u32,
    chain: [u8; 32],
    tail: Option<Tail>,
    file_name: String,
    declared: String,
    photos: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Tail {
    place: u8,
    length: u32,
    tag: [u8; TAG_LEN],
}

impl Staging {
    /// An upload of `length` bytes of which nothing is here yet. Name and type are cut to what fits; `photos` are the lengths of the photos that it consists of,
    /// none for any other file.
    pub(crate) fn new(length: u64, file_name: &str, declared: &str, photos: &[u64]) -> Self {
        Self {
            length,
            chunks: 0,
            chain: [0; 32],
            tail: None,
            file_name: cut(file_name, NAME_MAX),
            declared: cut(declared, TYPE_MAX),
            photos: photos.iter().copied().take(PHOTOS_MAX).collect(),
        }
    }

    /// Bytes that the upload will have.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whole chunks; also the number of the next one.
    pub(crate) fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Bytes that are staged, the tail included.
    pub(crate) fn offset(&self) -> u64 {
        self.whole() + u64::from(self.tail.map_or(0, |tail| tail.length))
    }

    /// Bytes in whole chunks.
    pub(crate) fn whole(&self) -> u64 {
        u64::from(self.chunks) * STAGED_LEN as u64
    }

    /// Where the tail lies, if there is one: 0 or 1.
    pub(crate) fn tail_place(&self) -> Option<u8> {
        self.tail.map(|tail| tail.place)
    }

    pub(crate) fn file_name(&self) -> &str {
        &self.file_name
    }

    pub(crate) fn declared(&self) -> &str {
        &self.declared
    }

    /// Bytes of each photo, where the upload is several of them.
    pub(crate) fn photos(&self) -> &[u64] {
        &self.photos
    }

    /// Seals the next whole chunk; a tail before it is part of it from now on.
    pub(crate) fn seal_chunk(&mut self, key: &StagingKey, plain: &[u8; STAGED_LEN]) -> Result<Vec<u8>, RandomUnavailable> {
        let sealed = key.seal(&chunk_aad(0, self.chunks), plain)?;
        self.chain = link(&self.chain, &sealed);
        self.chunks += 1;
        self.tail = None;
        Ok(sealed)
    }

    /// Seals what is behind the whole chunks, and says into which of the two places it belongs. `before` is the place that must stay as it is.
    pub(crate) fn seal_tail(&mut self, key: &StagingKey, plain: &[u8], before: Option<u8>) -> Result<(u8, Vec<u8>), RandomUnavailable> {
        let place = before.map_or(0, |before| 1 - before.min(1));
        let sealed = key.seal(&chunk_aad(1, self.chunks), plain)?;
        let length = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        self.tail = Some(Tail {
            place,
            length,
            tag: tag_of(&sealed),
        });
        Ok((place, sealed))
    }

    /// Opens the tail that the box names, and no other.
    pub(crate) fn open_tail(&self, key: &StagingKey, sealed: &[u8]) -> Result<Vec<u8>, NotStaged> {
        let tail = self.tail.ok_or(NotStaged)?;
        let plain = key.open(&chunk_aad(1, self.chunks), sealed)?;
        if tag_of(sealed) == tail.tag && plain.len() == tail.length as usize {
            Ok(plain)
        } else {
            Err(NotStaged)
        }
    }

    /// Opens the whole chunks again, in their order.
    pub(crate) fn reader(&self) -> Reader {
        Reader {
            next: 0,
            chain: [0; 32],
            end: (self.chunks, self.chain),
        }
    }

    /// The state for the row.
    pub(crate) fn to_box(&self, key: &StagingKey) -> Result<Vec<u8>, RandomUnavailable> {
        let mut state = Zeroizing::new(Vec::with_capacity(STATE_LEN));
        state.extend_from_slice(&self.length.to_be_bytes());
        state.extend_from_slice(&self.chunks.to_be_bytes());
        state.extend_from_slice(&self.chain);
        let tail = self.tail.unwrap_or(Tail {
            place: 0,
            length: 0,
            tag: [0; TAG_LEN],
        });
        state.extend_from_slice(&[u8::from(self.tail.is_some()), tail.place]);
        state.extend_from_slice(&tail.length.to_be_bytes());
        state.extend_from_slice(&tail.tag);
        let (name, declared) = (self.file_name.as_bytes(), self.declared.as_bytes());
        state.extend_from_slice(&u16::try_from(name.len()).unwrap_or(0).to_be_bytes());
        state.extend_from_slice(name);
        let photos_len = 1 + 8 * PHOTOS_MAX;
        state.resize(STATE_LEN - photos_len - 1 - TYPE_MAX, 0);
        state.push(u8::try_from(declared.len()).unwrap_or(0));
        state.extend_from_slice(declared);
        state.resize(STATE_LEN - photos_len, 0);
        state.push(u8::try_from(self.photos.len()).unwrap_or(0));
        state.extend(self.photos.iter().flat_map(|length| length.to_be_bytes()));
        state.resize(STATE_LEN, 0);
        let mut sealed = vec![VERSION];
        sealed.extend(key.seal(BOX_AAD, &state)?);
        Ok(sealed)
    }

    /// Reads the state from its row.
    pub(crate) fn from_box(key: &StagingKey, sealed: &[u8]) -> Result<Self, NotStaged> {
        match sealed.split_first() {
            Some((&VERSION, rest)) => Self::parse(&key.open(BOX_AAD, rest)?).ok_or(NotStaged),
            _ => Err(NotStaged),
        }
    }

    fn parse(state: &[u8]) -> Option<Self> {
        if state.len() != STATE_LEN {
            return None;
        }
        let (length, rest) = state.split_first_chunk::<8>()?;
        let (chunks, rest) = rest.split_first_chunk::<4>()?;
        let (chain, rest) = rest.split_first_chunk::<32>()?;
        let ([is_there, place], rest) = rest.split_first_chunk::<2>()?;
        let (tail_length, rest) = rest.split_first_chunk::<4>()?;
        let (tag, rest) = rest.split_first_chunk::<TAG_LEN>()?;
        let (name_length, rest) = rest.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_first_chunk::<NAME_MAX>()?;
        let (declared_length, rest) = rest.split_first()?;
        let (declared, rest) = rest.split_first_chunk::<TYPE_MAX>()?;
        let (photos, lengths) = rest.split_first()?;
        let (lengths, _) = lengths.as_chunks::<8>();
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        Some(Self {
            length: u64::from_be_bytes(*length),
            chunks: u32::from_be_bytes(*chunks),
            chain: *chain,
            tail: (*is_there == 1).then_some(Tail {
                place: *place,
                length: u32::from_be_bytes(*tail_length),
                tag: *tag,
            }),
            file_name: text(name.get(..usize::from(u16::from_be_bytes(*name_length)))?)?,
            declared: text(declared.get(..usize::from(*declared_length))?)?,
            photos: lengths
                .get(..usize::from(*photos))?
                .iter()
                .map(|length| u64::from_be_bytes(*length))
                .collect(),
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.file_name.zeroize();
        self.declared.zeroize();
    }
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staging({} of {} bytes, [redacted])", self.offset(), self.length)
    }
}

/// Reads whole chunks again. Only when [`Reader::finish`] agrees were they those that had been acknowledged.
pub(crate) struct Reader {
    next: u32,
    chain: [u8; 32],
    end: (u32, [u8; 32]),
}

impl Reader {
    /// Opens the next chunk.
    pub(crate) fn open(&mut self, key: &StagingKey, sealed: &[u8]) -> Result<Vec<u8>, NotStaged> {
        let plain = key.open(&chunk_aad(0, self.next), sealed)?;
        self.chain = link(&self.chain, sealed);
        self.next += 1;
        Ok(plain)
    }

    pub(crate) fn finish(self) -> Result<(), NotStaged> {
        if (self.next, self.chain) == self.end {
            Ok(())
        } else {
            Err(NotStaged)
        }
    }
}

fn chunk_aad(kind: u8, number: u32) -> Vec<u8> {
    [CHUNK_AAD, &[kind], &u64::from(number).to_be_bytes()].concat()
}

fn link(chain: &[u8; 32], sealed: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"nightdrop/v1/staging-chain\0");
    hash.update(chain);
    hash.update(&sealed[..NONCE_LEN.min(sealed.len())]);
    hash.update(tag_of(sealed));
    hash.finalize().into()
}

fn tag_of(sealed: &[u8]) -> [u8; TAG_LEN] {
    sealed.last_chunk().copied().unwrap_or([0; TAG_LEN])
}

/// The longest beginning of at most `most` bytes that ends at a character.
fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    fn key(token: u8, secret: u8, upload: u8) -> StagingKey {
        let secret = ErasureSecret::from_slice(&[secret; 32]).unwrap();
        StagingKey::derive(&PlainToken::from_bytes([token; 20]), &secret, &[upload; 16])
    }

    fn plain(byte: u8) -> [u8; STAGED_LEN] {
        [byte; STAGED_LEN]
    }

    #[test]
    fn a_staged_chunk_fits_where_a_sealed_one_does() {
        let mut staging = Staging::new(10, "", "", &[]);
        assert_eq!(staging.seal_chunk(&key(1, 1, 1), &plain(1)).unwrap().len(), CHUNK_LEN + TAG_LEN);
        assert_eq!(staging.to_box(&key(1, 1, 1)).unwrap().len(), 1 + NONCE_LEN + 585 + TAG_LEN);
    }

    #[test]
    fn what_was_staged_comes_back_over_several_connections() {
        let key = key(1, 2, 3);
        let mut staging = Staging::new(200_000, "Pass ü.png", "image/png", &[150_000, 50_000]);
        let mut chunks = vec![staging.seal_chunk(&key, &plain(1)).unwrap()];
        let (place, tail) = staging.seal_tail(&key, b"behind", None).unwrap();
        assert_eq!((place, staging.offset()), (0, STAGED_LEN as u64 + 6));
        let mut again = Staging::from_box(&key, &staging.to_box(&key).unwrap()).unwrap();
        assert!(again == staging);
        assert_eq!(
            (again.file_name(), again.declared(), again.length()),
            ("Pass ü.png", "image/png", 200_000)
        );
        assert_eq!(again.photos(), [150_000, 50_000]);
        assert_eq!(again.open_tail(&key, &tail).unwrap().as_slice(), b"behind");
        let (place, longer) = again.seal_tail(&key, b"behind it", again.tail_place()).unwrap();
        assert_eq!(place, 1, "the tail of before stays whole");
        assert_eq!(
            again.open_tail(&key, &tail),
            Err(NotStaged),
            "an older tail is not the one that counts"
        );
        assert_eq!(again.open_tail(&key, &longer).unwrap().as_slice(), b"behind it");
        chunks.push(again.seal_chunk(&key, &plain(2)).unwrap());
        assert_eq!(again.tail_place(), None);
        let mut reader = again.reader();
        for (number, chunk) in chunks.iter().enumerate() {
            assert_eq!(reader.open(&key, chunk).unwrap()[..], plain(number as u8 + 1)[..]);
        }
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_staged_chunk_is_xchacha20_poly1305() {
        use chacha20poly1305::aead::{Aead, Payload};
        use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
        let (key, aad) = (key(1, 2, 3), chunk_aad(0, 7));
        let sealed = key.seal(&aad, &plain(5)).unwrap();
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().unwrap();
        let opened = XChaCha20Poly1305::new(key.0.expose().into()).decrypt(&XNonce::from(*nonce), Payload { msg: body, aad: &aad });
        assert_eq!(opened.unwrap(), plain(5));
    }

    #[test]
    fn nothing_opens_without_token_secret_and_upload() {
        let right = key(1, 2, 3);
        let mut staging = Staging::new(1, "name", "image/png", &[]);
        let (chunk, kept) = (staging.seal_chunk(&right, &plain(1)).unwrap(), staging.to_box(&right).unwrap());
        for wrong in [key(9, 2, 3), key(1, 9, 3), key(1, 2, 9)] {
            assert!(Staging::from_box(&wrong, &kept).is_err());
            assert!(staging.reader().open(&wrong, &chunk).is_err());
        }
        for place in 0..kept.len() {
            let mut changed = kept.clone();
            changed[place] ^= 1;
            assert!(Staging::from_box(&right, &changed).is_err());
            assert!(Staging::from_box(&right, &kept[..place]).is_err());
        }
        assert!(!format!("{staging:?} {right:?}").contains("name"));
    }

    #[test]
    fn chunks_keep_their_places_and_cannot_be_exchanged() {
        let key = key(1, 2, 3);
        let mut staging = Staging::new(1, "", "", &[]);
        let lost = Staging::new(1, "", "", &[]).seal_chunk(&key, &plain(9)).unwrap();
        let chunks = [
            staging.seal_chunk(&key, &plain(1)).unwrap(),
            staging.seal_chunk(&key, &plain(2)).unwrap(),
        ];
        assert!(staging.reader().open(&key, &chunks[1]).is_err(), "the second is not the first");
        let mut reader = staging.reader();
        reader.open(&key, &lost).unwrap();
        reader.open(&key, &chunks[1]).unwrap();
        assert_eq!(
            reader.finish(),
            Err(NotStaged),
            "a chunk that was never acknowledged, in the place of one that was"
        );
        let mut short = staging.reader();
        short.open(&key, &chunks[0]).unwrap();
        assert_eq!(short.finish(), Err(NotStaged), "cut off");
        let (_, tail) = staging.seal_tail(&key, b"x", None).unwrap();
        assert!(staging.reader().open(&key, &tail).is_err(), "a tail is no chunk");
    }

    #[test]
    fn no_two_sealings_are_alike() {
        let key = key(1, 2, 3);
        let sealed: HashSet<_> = (0..20)
            .map(|_| Staging::new(1, "", "", &[]).seal_chunk(&key, &plain(0)).unwrap())
            .collect();
        assert_eq!(sealed.len(), 20);
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        let staging = Staging::new(1, &"ü".repeat(200), &"t".repeat(300), &[]);
        assert_eq!((staging.file_name().len(), staging.declared().len()), (254, 100));
        let key = key(1, 2, 3);
        assert!(Staging::from_box(&key, &staging.to_box(&key).unwrap()).unwrap() == staging);
    }
}
