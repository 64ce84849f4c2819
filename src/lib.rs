//! nightdrop: a self-hosted secure document drop portal.

pub mod app;
pub mod config;
pub mod connectors;
pub mod crash;
pub mod crypto;
pub mod domain;
pub mod http;
pub mod inspect;
pub mod sandbox;
pub mod storage;
pub mod worker;
pub mod workflow;
