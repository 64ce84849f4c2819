//! Who may use the staff listener. Permission stands in a handler's signature: [`auth::ApiCaller`] for machines, [`auth::SignedIn`] for people, [`auth::Csrf`] for every form.
//! A handler without one of them is open to everybody, and the tests list those by name.
//!
//! Where the address names a request, these same types look whose team it is of: somebody else's request is not there, on no route that will ever be written.
//!
//! The API knows no cookie and the console no bearer secret, so neither can be used to ride on the other.

pub(crate) mod api;
pub(crate) mod auth;
pub(crate) mod console;
pub(crate) mod cookies;
pub(crate) mod input;
pub(crate) mod permission;
pub(crate) mod shapes;
pub(crate) mod user_agent;
pub(crate) mod view;
