//! One test binary for everything that is tested from outside.

#![allow(clippy::unwrap_used)]

mod api;
mod at_rest;
mod audit;
mod browser;
mod cli;
mod clock;
mod console;
mod crash;
mod demo;
mod forwarding;
mod journey;
mod layers;
mod limits;
mod links;
mod outgoing;
mod pages;
mod passcode;
mod power_cut;
mod providers;
mod raw;
mod resume;
mod retention;
mod scan;
mod support;
mod upload;
