//! One test binary for everything that is tested from outside.

#![allow(clippy::unwrap_used)]

mod api;
mod browser;
mod cli;
mod demo;
mod journey;
mod layers;
mod power_cut;
mod support;
