//! PDFs: head and end are given.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| nightdrop_fuzz::inspect(data, |rest| [b"%PDF-1.7\n", rest, b"\nstartxref\n0\n%%EOF\n"].concat()));
