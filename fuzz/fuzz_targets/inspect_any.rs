//! Any bytes, seeded with real files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| nightdrop_fuzz::inspect(data, <[u8]>::to_vec));
