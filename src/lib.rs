//! nightdrop: a self-hosted secure document drop portal. **This is the map.**
//!
//! A support agent finds that a customer's identity document is missing at the KYC provider and issues a one-time link for exactly that document.
//! The customer drops the photo through a minimal page. It is encrypted while it arrives, forwarded to the provider, and destroyed, provably.
//!
//! `docs/architecture.md` walks through the same with the functions that do it, and says where a transition, a provider, a setting or a page is added.
//!
//! # The way of a document
//! 1. **issue** – [`workflow::issue`]: a request with its one link; the token is shown once and stored as a keyed hash.
//! 2. **receive** – [`http::applicant::upload`] takes a form and [`http::applicant::tus`] a part over several connections; both end in the one durable step of [`workflow::intake`]
//!    that stores a part. The last part that was missing receives the document and consumes the link; only then "received" is said.
//! 3. **encrypt** – [`inspect`] decides by content and drops what must not stay; [`crypto::seal`] encrypts under a key that needs both the vault's private key
//!    and an erasure secret in a slot of [`crypto::slots`]; [`storage`] keeps the chunks.
//! 4. **deliver** – [`worker`] takes the lease of what is due, [`workflow::delivery`] writes the intent and sends through a connector of [`connectors`].
//! 5. **confirm** – [`workflow::delivery::confirm`] asks the provider; a callback ([`http::callback`], [`workflow::callback`]) only makes it ask sooner.
//! 6. **purge** – [`workflow::purge`] overwrites the slot, deletes the chunks, leaves a tombstone and a chained receipt, signed then and there.
//! 7. **notify** – [`workflow::outgoing`] (an outbox) follows the audit log and tells the company's systems by webhook and people by mail;
//!    [`workflow::hosted`] sends the applicant back.
//! 8. **discard** – what did not arrive is a fact of the request's row, and [`workflow::intake::discard`] destroys it: one task at a time, under a lease.
//! 9. **sweep** – [`workflow::sweep`] finds what nobody owns after a crash, at start and ever after.
//!
//! # Layers: a file imports only from lower layers and from its own module
//! ```text
//! 5  main, cli                               commands
//! 4  app, config                             composition; configuration is resolved and refused at start
//! 3  http | worker | sandbox                 requests from outside, background work, a provider to try it with
//! 2  workflow                                use cases
//! 1  crypto | storage | connectors | inspect | words   siblings, blind to one another
//! 0  domain, settings                        pure: no async, no I/O, no clock, no serde
//! ```
//! The allowed table stands in `tests/it/layers.rs`, which fails when an arrow runs upwards, a file has no head, or one outgrows 600 lines.
//!
//! # Invariants
//! * **A** what was acknowledged is recoverable, or visibly lost; nothing is acknowledged before its fsync.
//! * **O** at most one document for each link, ever; GET and HEAD change nothing.
//! * **D** at most one delivery with effect: intent first, ask before sending again, one fenced worker.
//! * **E** no live erasure secret without an owner after the sweep; nothing purged whose secret lives.
//! * **P** no plaintext byte on any disk; no route returns a document byte, but for the one by which a `manual` provider's handler takes each part
//!   once, right after a second factor ([`workflow::manual_download`]).
//! * A purge that is due always wins; time never runs backwards ([`storage::clock`]).
//!
//! # Modules
//! | module | its question |
//! | --- | --- |
//! | [`domain`] | what is a request, and what may happen to it next? ([`domain::transition`] is the whole answer) |
//! | [`crypto`] | who can read it, and how does it become unreadable for ever? |
//! | [`storage`] | what is durable? (records: the embedded sled under [`storage::sled`]; sealed chunks: a synced file for each part, [`storage::files`]) |
//! | [`connectors`] | how does this provider speak? (one file each) |
//! | [`inspect`] | what kind of file is this, and is it whole? |
//! | [`words`] | how is it said, in the applicant's language? |
//! | [`workflow`] | in which order? |
//! | [`http`] | who is asking, and what may they see? (public listener: page and callbacks; staff listener: console, API, metrics) |
//! | [`worker`] | what is due? |
//! | [`settings`] | how is a setting declared, read and refused? (each module reads its own section) |
//! | [`config`], [`app`] | is everything in place to start? |
//! | [`testing`] | what may tests, benchmarks and fuzz targets reach? (every other module is private, so that the compiler finds what nobody uses) |

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation is for those who work on the crate: cargo doc --document-private-items"
)]

mod app;
mod chain;
pub mod cli;
mod config;
mod connectors;
mod crypto;
mod current;
mod domain;
mod failpoint;
mod http;
mod inspect;
mod sandbox;
mod settings;
mod storage;
pub mod testing;
mod version;
mod words;
mod worker;
mod workflow;
