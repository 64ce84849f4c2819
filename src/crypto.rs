//! Keys, sealing, erasing, passwords.
//!
//! How the files belong together, from the bottom up:
//!
//! * `random` – the operating system's random source, nothing else; `secret` – byte arrays that wipe themselves.
//! * `envelope` – HPKE with a pre-shared key, the only public-key operation; `keyfile`, `keyring` – where its keys live.
//! * `header`, `schedule`, `stream`, `meta` – the parts of the document format; `seal` and `open` – its two users.
//! * `staging` – raw bytes of an unfinished upload, between two connections.
//! * `erase` – what an erasure store is; `slots` – the local one, a file of 4 KiB pages; `assurance` – what it is worth here;
//!   `extents` – where its blocks lie.
//! * `archive` – the container of a backup.
//! * `secrets` – peppers and record keys; `password` – argon2id; `scratch` – the memory it works in; `receipt` – signed proof of deletion;
//!   `memory` – hardening, and the allocator that wipes what is freed.
//!
//! A document is readable only with **both** the vault's private key and the submission's erasure secret.
//! The erasure secret is in no database and no backup; destroying its slot is what purging means.
//!
//! A document on its way through, as `workflow` does it chunk by chunk:
//!
//! ```
//! use nightdrop::testing::crypto::envelope::Suite;
//! use nightdrop::testing::crypto::erase::ErasureStore;
//! use nightdrop::testing::crypto::header::{Context, ErasureKind};
//! use nightdrop::testing::crypto::keyfile::Protector;
//! use nightdrop::testing::crypto::keyring::Keyring;
//! use nightdrop::testing::crypto::meta::Meta;
//! use nightdrop::testing::crypto::open::{DocumentOpener, OpenError};
//! use nightdrop::testing::crypto::seal::DocumentSealer;
//! use nightdrop::testing::crypto::secret::ErasureSecret;
//! use nightdrop::testing::crypto::slots::SlotsFile;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("nightdrop-example-{}", std::process::id()));
//! # std::fs::create_dir(&folder)?;
//! // `nightdrop init` makes both once: the vault's key pair, and a file with room for 16 erasure secrets.
//! Keyring::create_key(&folder.join("keys"), Suite::XWing, &Protector::None)?;
//! SlotsFile::create(&folder.join("erase.slots"), 16)?;
//! let (keyring, slots) = (Keyring::open(&folder.join("keys"))?, SlotsFile::open(&folder.join("erase.slots"), None)?);
//!
//! // Sealing takes the public half alone, so it works while the vault is locked. The secret is in its slot, synced, before the first chunk is made.
//! let (doc_id, secret) = ([7; 16], ErasureSecret::generate()?);
//! let slot = slots.put(&doc_id, &secret)?;
//! let context = Context { doc_id, slot, file_index: 0, file_count: 1, erasure: ErasureKind::LocalSlot };
//! let (header, mut sealer) = DocumentSealer::begin(&keyring.current(), &context, &secret)?;
//! let mut chunk = b"a photograph".to_vec();
//! sealer.seal_chunk_in_place(&mut chunk, true)?;
//! let mut meta = Meta::default();
//! meta.size = 12;
//! let sealed = sealer.finish(&meta)?;
//!
//! // Opening needs both: the private key, and the secret that the header names.
//! assert_eq!(DocumentOpener::open_stored(&header, &keyring, &slots).err(), Some(OpenError::Locked));
//! keyring.unlock(&Protector::None)?;
//! let mut opener = DocumentOpener::open_stored(&header, &keyring, &slots)?;
//! opener.open_meta(&sealed.meta_box)?;
//! opener.open_chunk_in_place(0, &mut chunk, true)?;
//! assert_eq!(chunk, b"a photograph");
//! opener.finish()?;
//!
//! // A purge destroys the secret. Header, chunks, key and passphrase are worthless from here on.
//! slots.destroy(&doc_id, &slot)?;
//! assert_eq!(DocumentOpener::open_stored(&header, &keyring, &slots).err(), Some(OpenError::Erased));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything here blocks (argon2, fsync, 64 KiB of cipher): callers move it to blocking threads.
//! Nothing here reads a clock, logs, or knows of the other rooms.

pub(crate) mod archive;
pub(crate) mod assurance;
mod bulk;
pub(crate) mod check;
pub(crate) mod checkpoint;
pub(crate) mod envelope;
pub(crate) mod erase;
mod extents;
pub(crate) mod header;
pub(crate) mod heap;
pub(crate) mod keyfile;
pub(crate) mod keyring;
pub(crate) mod memory;
pub(crate) mod meta;
pub(crate) mod open;
pub(crate) mod password;
pub(crate) mod private_file;
pub(crate) mod random;
pub(crate) mod receipt;
mod schedule;
mod scratch;
pub(crate) mod seal;
pub(crate) mod secret;
pub(crate) mod secrets;
pub(crate) mod slots;
pub(crate) mod staging;
pub(crate) mod statement;
pub(crate) mod stream;
pub(crate) mod totp;

#[cfg(test)]
mod documents;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;
