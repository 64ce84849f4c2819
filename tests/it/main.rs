//! One test binary for everything that is tested from outside.

#![allow(clippy::unwrap_used)]

mod browser;
mod journey;
mod layers;
mod power_cut;
mod providers;
mod support;
