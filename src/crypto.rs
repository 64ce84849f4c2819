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
//! * `secrets` – peppers and record keys; `password` – argon2id; `scratch` – the memory it works in; `receipt` – signed proof of deletion;
//!   `memory` – hardening, and the allocator that wipes what is freed.
//!
//! A document is readable only with **both** the vault's private key and the submission's erasure secret.
//! The erasure secret is in no database and no backup; destroying its slot is what purging means.
//!
//! Everything here blocks (argon2, fsync, 64 KiB of cipher): callers move it to blocking threads.
//! Nothing here reads a clock, logs, or knows of the other rooms.

pub mod assurance;
pub mod checkpoint;
pub mod envelope;
pub mod erase;
mod extents;
pub mod header;
pub mod keyfile;
pub mod keyring;
pub mod memory;
pub mod meta;
pub mod open;
pub mod password;
pub mod private_file;
pub mod random;
pub mod receipt;
mod schedule;
mod scratch;
pub mod seal;
pub mod secret;
pub mod secrets;
pub mod slots;
pub mod staging;
pub mod stream;
pub mod totp;

#[cfg(test)]
mod documents;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;
