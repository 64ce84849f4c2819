//! What the configuration refuses, with its words: every bad entry is named, and nothing is left out in silence.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::Config;
use crate::connectors::KINDS;

fn parsed(more: &str) -> Result<Config, Vec<String>> {
    let text = format!("public_url = \"https://drop.example.com\"\n{more}");
    Config::parse(&text, Path::new(""), std::iter::empty()).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn faults(more: &str) -> Vec<String> {
    parsed(more).err().unwrap_or_default()
}

#[test]
fn a_bad_entry_of_the_catalogue_is_named_and_never_left_out() {
    let table = |lines: &str| format!("[documents.government-id]\n{lines}\n");
    let said = faults(&table("parts = [\"front\", \"Back\"]"));
    assert_eq!(
        said,
        ["documents.government-id.parts: has \"Back\"; it takes names of 1–32 characters of a-z, 0-9 and -, such as [\"front\", \"back\"]"]
    );
    let said = faults(&table("accepted = [\"image/jpeg\", \"image/webp\"]"));
    assert_eq!(
        said,
        ["documents.government-id.accepted: has \"image/webp\"; it takes image/jpeg, image/png, application/pdf, image/heic"]
    );
    for lines in ["parts = []", "parts = [\"a\", \"b\", \"c\"]", "parts = [\"front\", \"front\"]"] {
        assert!(faults(&table(lines))[0].contains("one or two names"), "{lines}");
    }
    assert!(faults(&table("accepted = []"))[0].contains("at least one of image/jpeg"));
    let config = parsed(&table("parts = [\"front\", \"back\"]\naccepted = [\"image/jpeg\"]")).unwrap();
    let kind = crate::domain::document::DocumentKind::parse("government-id").unwrap();
    let entry = config.catalogue.get(&kind).unwrap();
    assert_eq!((entry.parts.len(), entry.accepted.len()), (2, 1));
}

#[test]
fn numbers_that_would_stop_everything_are_refused() {
    for (key, value, between) in [
        ("limits.uploads", "0", "1 and 100000"),
        ("limits.uploads", "100001", "1 and 100000"),
        ("limits.uploads_per_address", "0", "1 and 100000"),
        ("limits.uploads_per_link", "0", "1 and 100000"),
        ("limits.connections_per_address", "0", "1 and 100000"),
        ("limits.silent_per_address", "0", "1 and 100000"),
        ("limits.upload_idle", "\"11m\"", "\"1s\" and \"10m\""),
        ("limits.head_timeout", "\"11m\"", "\"1s\" and \"10m\""),
        ("limits.upload_rate", "\"2MiB\"", "0 and \"1MiB\", in bytes a second"),
        ("limits.pages_per_address", "0", "1 and 10000000"),
        ("limits.api_per_minute", "0", "1 and 1000000"),
        ("forwarding.attempts", "0", "1 and 10000"),
        ("erasure.slots", "15", "16 and 1048576"),
        ("workers", "99999999999", "0 and 1024"),
    ] {
        assert_eq!(
            faults(&format!("{key} = {value}\n")),
            [format!("{key}: must be between {between}")],
            "{key} = {value}"
        );
    }
    assert_eq!(
        faults("limits.uploads = -1\n"),
        ["limits.uploads: must be a whole number that is not negative"]
    );
    let config = parsed("limits.uploads = 1\nforwarding.attempts = 1\n").unwrap();
    assert_eq!((config.limits.uploads, config.attempts), (1, 1));
}

#[test]
fn a_bad_staff_url_is_told_once_and_a_good_one_reaches_everybody() {
    assert_eq!(faults("staff_url = \"http://console.example.com\"\n").len(), 1);
    let config = parsed("staff_url = \"https://console.example.com/\"\n").unwrap();
    let wanted = Some("https://console.example.com".to_owned());
    assert_eq!((config.staff_url, config.outgoing.staff_url), (wanted.clone(), wanted));
}

#[test]
fn a_provider_without_a_kind_is_told_all_kinds() {
    let said = faults("[providers.x]\napi_key_file = \"x\"\n");
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("providers.x.kind: is needed") && KINDS.iter().all(|k| said[0].contains(k)),
        "{said:?}"
    );
}
