//! HEICs: the brand is given.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| nightdrop_fuzz::inspect(data, |rest| [b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", rest].concat()));
