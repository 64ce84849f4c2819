//! One test binary for everything that is tested from outside.

#![allow(clippy::unwrap_used)]

mod at_rest;
mod journey;
mod links;
mod passcode;
mod power_cut;
mod raw;
mod support;
mod upload;
