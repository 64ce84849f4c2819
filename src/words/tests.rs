//! All languages are complete: the same keys, the same slots, exactly the plural forms that each language has, and no key that nothing uses.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use icu_plurals::PluralRules;
use time::macros::datetime;

use super::*;

fn keys(words: &Words) -> BTreeSet<&str> {
    words.texts.keys().map(String::as_str).collect()
}

fn slots(text: &str) -> BTreeSet<&str> {
    pieces(text)
        .into_iter()
        .filter_map(|p| match p {
            Piece::Slot(name) => Some(name),
            Piece::Literal(_) => None,
        })
        .collect()
}

#[test]
fn every_language_has_every_key_and_no_other() {
    let all = keys(english());
    assert!(all.len() > 100);
    for words in LANGUAGES.iter() {
        // A file that is not TOML has no key at all.
        let own = keys(words);
        let missing: Vec<_> = all.difference(&own).collect();
        let superfluous: Vec<_> = own.difference(&all).collect();
        assert!(
            missing.is_empty() && superfluous.is_empty(),
            "{}: missing {missing:?}, superfluous {superfluous:?}",
            words.tag
        );
    }
}

#[test]
fn every_sentence_has_the_slots_and_plural_forms_it_needs() {
    for words in LANGUAGES.iter() {
        let rules = PluralRules::try_new((&words.locale()).into(), Default::default()).unwrap();
        let wanted: BTreeSet<&str> = rules.categories().map(category_name).collect();
        for (key, text) in words.texts.iter() {
            let at = format!("{}: {key}", words.tag);
            match (text, &english().texts[key]) {
                (Text::Plain(own), Text::Plain(model)) => {
                    assert!(
                        !own.trim().is_empty() && own.matches('{').count() == own.matches('}').count(),
                        "{at}"
                    );
                    assert_eq!(slots(own), slots(model), "{at}");
                }
                (Text::Counted(own), Text::Counted(_)) => {
                    let forms: BTreeSet<&str> = own.keys().map(String::as_str).collect();
                    assert_eq!(forms, wanted, "{at}");
                    // "one" and its like may say the number in words.
                    assert!(slots(&own["other"]).contains("count"), "{at}");
                    assert!(own.values().all(|form| slots(form).iter().all(|s| *s == "count")), "{at}");
                }
                _ => panic!("{at} is counted in one language and plain in the other"),
            }
        }
    }
}

/// Keys whose last step is looked up by a code of the portal.
const FAMILIES: [&str; 6] = ["problem.", "refusal.", "document.", "instructions.", "part.", "rejection."];

#[test]
fn every_key_is_used_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut code = String::new();
    gather(&root, &mut code);
    let unused: Vec<_> = keys(english())
        .into_iter()
        .filter(|key| {
            let family = FAMILIES.iter().find_map(|f| key.strip_prefix(f));
            !code.contains(&format!("\"{key}\"")) && family.is_none_or(|rest| !code.contains(&format!("\"{rest}\"")))
        })
        .collect();
    assert!(unused.is_empty(), "nothing says {unused:?}");
}

fn gather(folder: &Path, code: &mut String) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, code);
        } else if path.extension().is_some_and(|e| e == "rs") {
            code.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn translations_are_translated() {
    // Sentences may agree by chance in one word, never as a whole.
    for words in LANGUAGES.iter().skip(1) {
        for key in [
            "next-sealed",
            "next-destroyed",
            "passcode-why",
            "problem.link.expired",
            "refusal.file.damaged",
            "message.how",
            "message.genuine",
            "rejection.unreadable",
        ] {
            assert_ne!(words.say(key), english().say(key), "{}: {key}", words.tag);
        }
    }
}

#[test]
fn numbers_choose_their_forms() {
    let polish = of("pl").unwrap();
    let tries: Vec<String> = [1, 3, 5, 22].map(|n| polish.count("passcode-tries", n)).into();
    assert_eq!(
        tries,
        [
            "Pozostała 1 próba.",
            "Pozostały 3 próby.",
            "Pozostało 5 prób.",
            "Pozostały 22 próby."
        ]
    );
    let arabic = of("ar").unwrap();
    assert_eq!(arabic.count("passcode-tries", 2), "بقيت محاولتان.");
    assert_eq!(arabic.count("passcode-tries", 4), "بقيت 4 محاولات.");
    assert_eq!(english().period(Duration::days(7)), "7 days");
    assert_eq!(english().period(Duration::hours(1)), "1 hour");
    assert_eq!(english().period(Duration::seconds(5)), "1 minute");
    assert_eq!(of("fr").unwrap().size(20 << 20), "20 Mo");
    assert_eq!(of("de").unwrap().size(9_999_999), "9,9 MB");
}

/// What a provider takes, and what is promised of it: its own number, and never a byte more (or, of a minimum, less).
#[test]
fn sizes_are_the_providers_own_numbers() {
    let table = [
        (10_000_000, "10 MB"),
        (9_999_999, "9.9 MB"),
        (3_000_000, "3 MB"),
        (4_000_000, "4 MB"),
        (64_000_000, "64 MB"),
        (12_500_000, "12 MB"),
        (15 << 20, "15 MB"),
        ((15 << 20) - 1, "15 MB"),
        (20 << 20, "20 MB"),
        (1_000_000, "1 MB"),
        (999_999, "999 KB"),
        (512 << 10, "512 KB"),
        (700, "700 bytes"),
    ];
    for (bytes, words) in table {
        assert_eq!(english().size(bytes), words, "{bytes}");
    }
    for (bytes, words) in [
        (2_048, "2 KB"),
        (1_024, "1 KB"),
        (100_000, "100 KB"),
        (100_001, "101 KB"),
        (1_500_001, "1.6 MB"),
        (1, "1 bytes"),
    ] {
        assert_eq!(english().least_size(bytes), words, "{bytes}");
    }
    for bytes in (1..3_000_u64).chain((900_000..40_000_000).step_by(70_001)) {
        let said = english().size(bytes);
        let (number, unit) = said.split_once(' ').unwrap();
        let unit = if unit == "MB" {
            100_000
        } else if unit == "KB" {
            100
        } else {
            1
        };
        let tenths: u64 = number.replace('.', "").parse::<u64>().unwrap() * if number.contains('.') || unit == 1 { 1 } else { 10 };
        assert!(tenths * unit <= bytes, "{bytes}: {said}");
    }
}

#[test]
fn dates_are_written_as_each_language_writes_them() {
    let at = datetime!(2026-11-26 14:05:00 +2);
    let moments: Vec<(&str, String)> = LANGUAGES.iter().map(|w| (w.tag, w.moment(at))).collect();
    let find = |tag: &str| moments.iter().find(|(t, _)| *t == tag).unwrap().1.clone();
    assert_eq!(find("en"), "26 November 2026 at 12:05 (UTC)");
    assert_eq!(find("de"), "26. November 2026 um 12:05 (UTC)");
    assert_eq!(find("pt"), "26 de novembro de 2026 às 12:05 (UTC)");
    assert_eq!(find("zh"), "2026年11月26日 12:05（协调世界时）");
    assert!(find("ar").contains("نوفمبر 2026"), "{}", find("ar"));
    assert_eq!(of("tr").unwrap().date(at), "26 Kasım 2026");
    for (tag, words) in &moments {
        assert!(words.contains("26") && words.contains("05"), "{tag} writes other digits: {words}");
    }
}

#[test]
fn what_is_filled_in_is_never_read_as_a_sentence() {
    assert_eq!(fill("a {x} b {y}", &[("x", "{y}"), ("y", "1")]), "a {y} b 1");
    assert_eq!(pieces("{a}b"), [Piece::Slot("a"), Piece::Literal("b")]);
    assert_eq!(pieces("open { only"), [Piece::Literal("open { only")]);
}
