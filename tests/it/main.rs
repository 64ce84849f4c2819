//! One test binary for everything that is tested from outside.

#![allow(clippy::unwrap_used)]

mod audit;
mod crash;
mod forwarding;
mod journey;
mod power_cut;
mod retention;
mod support;
