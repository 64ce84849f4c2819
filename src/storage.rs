//! Two seams, records and blobs, and their backends.

pub mod sled;
