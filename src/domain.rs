//! The nouns and their legal transitions. Pure: no async, no I/O, no clock (`now` is a parameter), no serde.
//!
//! A [`request::DocumentRequest`] is one aggregate: its link, what was dropped, its delivery and its
//! purge. [`transition`] is the only way to change one, and every change names the audit event it leaves.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod account;
pub mod agent;
pub mod audit;
pub mod delivery;
pub mod dispatch;
pub mod document;
pub mod id;
pub mod link;
pub mod message;
pub mod receipt;
pub mod request;
pub mod token;
pub mod transition;
