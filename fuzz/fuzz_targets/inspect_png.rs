//! PNGs: signature and checksums are given.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| nightdrop_fuzz::inspect(data, nightdrop_fuzz::png));
