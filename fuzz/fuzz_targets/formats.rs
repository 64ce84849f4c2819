//! Every stored or carried form that foreign bytes may pretend to be. The first byte chooses the parser; none may panic, and what reads must read back as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::header::Header;
use nightdrop::testing::crypto::keyfile::{KeyFile, parse_public_file};
use nightdrop::testing::crypto::receipt;
use nightdrop::testing::domain::audit::AuditEntry;
use nightdrop::testing::domain::receipt::SignedReceipt;
use nightdrop::testing::domain::request::DocumentRequest;
use nightdrop::testing::domain::token::PlainToken;
use nightdrop::testing::storage::record::Record;

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match which % 9 {
        0 => drop(Header::parse(rest)),
        1 => drop(KeyFile::parse(rest)),
        2 => drop(parse_public_file(rest)),
        3 => drop(receipt::verify(&text, None)),
        4 => again::<DocumentRequest>(rest),
        5 => again::<AuditEntry>(rest),
        6 => again::<SignedReceipt>(rest),
        7 => {
            if let Some(token) = PlainToken::parse(&text) {
                assert!(PlainToken::parse(&token.encode()).is_some_and(|t| t.as_bytes() == token.as_bytes()));
            }
        }
        _ => drop(Config::parse(&text, std::path::Path::new("."), std::iter::empty())),
    }
});

/// What a row reads as must encode to something that reads as the same.
fn again<R: Record + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(row) = R::decode(bytes) {
        assert_eq!(R::decode(&row.encode()).ok().as_ref(), Some(&row));
    }
}
