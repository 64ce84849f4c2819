//! The listeners: the *public* listener (the applicant's page, callbacks) and the *staff* listener (console, API, metrics). actix types stop here.
//!
//! * No route returns a document byte, but for [`staff::console::manual_download`]. GET and HEAD change nothing; only the company's own sign-in comes back by a GET
//!   ([`staff::console::sign_in::sso`]), once, to the browser that left.
//! * `StatusCode` appears in [`error`] only; every answer carries the headers of [`headers`].

pub(crate) mod access_log;
pub(crate) mod acme;
pub(crate) mod address;
pub(crate) mod applicant;
pub(crate) mod assets;
pub(crate) mod body;
pub(crate) mod callback;
pub(crate) mod check;
pub(crate) mod connections;
pub(crate) mod context;
mod csv;
mod encoding;
pub(crate) mod error;
pub(crate) mod extract;
pub(crate) mod forwarded;
pub(crate) mod front;
pub(crate) mod gate;
pub(crate) mod guard;
pub(crate) mod headers;
pub(crate) mod health;
pub(crate) mod hosts;
pub(crate) mod kept;
pub(crate) mod listen;
pub(crate) mod metrics;
pub(crate) mod permits;
mod problem_pages;
pub(crate) mod problems;
pub(crate) mod request_id;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod staff;
pub(crate) mod standing;
mod table;
pub(crate) mod tls;
pub(crate) mod traffic;

pub use context::Company;
pub(crate) use context::{AppState, Limits, Observed, ObservedCertificate, ServerSettings, address_of};
pub(crate) use front::{Configured, Front};
pub(crate) use server::{Servers, open};
