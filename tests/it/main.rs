//! One test binary for everything that is tested from outside.

#![allow(clippy::unwrap_used)]

mod api;
mod assistants;
mod at_rest;
mod audit;
mod block_log;
mod browser;
mod bulkhead;
mod cleanup;
mod cli;
mod clock;
mod console;
mod crash;
mod damage;
mod demo;
mod documents;
mod edge;
mod erasing;
mod examples;
mod forwarding;
mod generated;
mod helpdesk;
mod hosts;
mod journey;
mod layers;
mod limits;
mod links;
mod liveness;
mod load;
mod memory;
mod outgoing;
mod pages;
mod passcode;
mod power_cut;
mod providers;
mod proxies;
mod qr;
mod raw;
mod receipts;
mod resume;
mod retention;
mod scan;
mod support;
mod tampering;
mod upload;
