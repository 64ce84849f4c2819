//! The embedded backend: one sled database owned by [`durable::DurableSled`], which makes it trustworthy.

pub mod ballast;
pub mod durable;
pub mod error;
pub mod fsync;
mod group;
pub mod records;
pub mod slab;
#[cfg(test)]
mod tests;
