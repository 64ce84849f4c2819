//! One test binary for everything that is tested from outside.

#![allow(clippy::unwrap_used)]

mod api;
mod browser;
mod cli;
mod console;
mod demo;
mod forwarding;
mod journey;
mod layers;
mod pages;
mod power_cut;
mod raw;
mod support;
mod upload;
