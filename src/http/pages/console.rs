//! Pages of the console.

pub mod frame;
