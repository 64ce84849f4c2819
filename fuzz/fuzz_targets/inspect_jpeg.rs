//! JPEGs: the first marker is given.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| nightdrop_fuzz::inspect(data, |rest| [b"\xFF\xD8\xFF", rest].concat()));
