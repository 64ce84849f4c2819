//! The nouns and their legal transitions: pure, no I/O, no clock.

pub mod token;
