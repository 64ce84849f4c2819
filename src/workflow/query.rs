//! What lists, overviews and timelines show: questions over several rows, for the console, the API and the command line alike. Nothing here changes anything.
//!
//! What comes out is opened and complete, so that whoever shows it needs neither the portal nor its secrets.

pub(crate) mod ages;
pub(crate) mod asked;
pub(crate) mod attention;
pub(crate) mod audit;
pub(crate) mod cursor;
pub(crate) mod first_steps;
pub(crate) mod missing;
pub(crate) mod names;
pub(crate) mod outgoing;
pub(crate) mod portal;
pub(crate) mod requests;
pub(crate) mod search;
