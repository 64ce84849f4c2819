//! The headers of a resumable upload, from any bytes: nothing panics, what is read keeps its promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightdrop::testing::http::applicant::tus::headers::{Metadata, Proof, number};
use nightdrop::testing::workflow::intake::part::clean_name;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(said) = Metadata::parse(text) {
        let name = clean_name(&said.file_name);
        assert!(name.len() <= 255 && !name.contains(['/', '\\', '\0', '\n']));
    }
    if let Some(number) = number(text) {
        assert_eq!(text.trim_start_matches('0'), number.to_string().trim_start_matches('0'));
    }
    if let Ok(mut proof) = Proof::parse(text) {
        proof.update(b"");
        let _ = proof.fits();
    }
});
