//! Certificates that the portal fetches itself, by ACME (RFC 8555): an account at a certificate authority, orders, and the proof that a name leads here.
//!
//! * The proof is `tls-alpn-01` (RFC 8737): the authority connects to port 443 of the name and is shown a certificate that only the account's owner can make. No second port, no
//!   file below a web root, and nothing of HTTP is read for it ([`super::tls`]).
//! * What is fetched lies in the data folder, for its owner alone, and is there whole or not at all ([`kept`]).
//! * Nothing here decides when: that is `src/app/fetching.rs`. A failure is a sentence for the log, and the authority's wish for a pause if it had one.

pub(crate) mod directory;
pub(crate) mod issue;
pub(crate) mod kept;
pub mod settings;
