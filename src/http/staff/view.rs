//! What API and console show, as plain values: whoever draws or writes them needs no portal, no store and no clock.

pub(crate) mod account;
pub(crate) mod portal;
pub(crate) mod problem;
pub(crate) mod request;
