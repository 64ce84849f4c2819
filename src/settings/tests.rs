//! What the reader promises: all errors at once, names that follow from keys, one grammar.

#![allow(clippy::unwrap_used)]

use super::grammar::{parse_size, parse_span, show_size, show_span};
use super::*;
use time::Duration;

const NO_FILES: ReadSecret<'_> = &|_| Err("missing".into());

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::new(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn said(errors: &[ConfigError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn spans_have_a_unit() {
    for (text, seconds) in [("90s", 90), ("30m", 1_800), (" 72h ", 259_200), ("2d", 172_800)] {
        assert_eq!(parse_span(text), Some(Duration::seconds(seconds)), "{text}");
    }
    for bad in ["", "s", "5", "-1s", "+-1s", "0s", "1.5h", "5ß", "2 weeks", "100000001s"] {
        assert_eq!(parse_span(bad), None, "{bad}");
    }
    for text in ["90s", "30m", "72h", "14d"] {
        assert_eq!(show_span(parse_span(text).unwrap()), text);
    }
}

#[test]
fn sizes_may_have_a_unit() {
    for (text, bytes) in [
        ("0", 0),
        ("1000", 1_000),
        ("2KiB", 2_048),
        ("20 MiB", 20 << 20),
        ("4MB", 4_000_000),
        ("1GiB", 1 << 30),
        ("7B", 7),
    ] {
        assert_eq!(parse_size(text), Some(bytes), "{text}");
    }
    for bad in ["", "MiB", "-1", "1.5MiB", "1mib", "99999999999999999999", "99999999999GiB"] {
        assert_eq!(parse_size(bad), None, "{bad}");
    }
    for text in ["0", "7", "20MiB", "4MB", "1GiB"] {
        assert_eq!(show_size(parse_size(text).unwrap()), text);
    }
}

#[test]
fn secrets_are_never_shown_and_must_fit_a_header() {
    let table: toml::Table = "a_file='good'\nb_file='bad'".parse().unwrap();
    let files: ReadSecret<'_> = &|path| Ok(Secret::new(if path == "good" { "sk_1\n" } else { "two\nlines" }));
    let mut reader = Reader::new(&table, files);
    let secret = reader.required_secret("a_file", "the key");
    assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("sk_1", "[redacted]"));
    assert!(reader.secret("b_file", "the key").is_none());
    assert_eq!(
        said(&reader.finish(()).unwrap_err()),
        ["b_file: must be a file with the key in one line of printable ASCII"]
    );
}

#[test]
fn a_variable_is_read_as_the_type_that_its_key_has() {
    let table = toml::Table::new();
    let variables = environment(&[
        ("NIGHTDROP_A_FLAG", "true"),
        ("NIGHTDROP_A_NUMBER", "7"),
        ("NIGHTDROP_A_TEXT", "7"),
        ("NIGHTDROP_A_SIZE", "2KiB"),
        ("NIGHTDROP_A_SPAN", "2d"),
        ("NIGHTDROP_A_LIST", "x, y,z"),
        ("NIGHTDROP_A_NUMBERS", "429,503"),
        ("NIGHTDROP_A_TABLE", "front=FRONT, back=BACK"),
        ("NIGHTDROP_A_WORD", "two"),
        ("NIGHTDROP_URL", "of the command line"),
        ("NIGHTDROP_TEST_X", "of the tests"),
        ("OTHER", "of others"),
    ]);
    let mut reader = Reader::new(&table, NO_FILES).with_environment(variables);
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    reader.section("a", |r| {
        assert!(r.flag("flag", false, ""));
        assert_eq!(r.number("number", 1_u32, 0..=9, ""), 7);
        assert_eq!(r.text("text", "").as_deref(), Some("7"));
        assert_eq!(r.size("size", 1, 0..=9_999, ""), 2_048);
        assert_eq!(r.span("span", Duration::HOUR, ""), Duration::days(2));
        assert_eq!(r.texts("list", "").unwrap(), ["x", "y", "z"]);
        assert_eq!(r.numbers("numbers", &[], ""), [429, 503]);
        assert_eq!(r.pairs("table", ""), [pair("front", "FRONT"), pair("back", "BACK")]);
        assert_eq!(r.choice("word", &[("one", 1), ("two", 2)], "one", ""), 2);
    });
    assert_eq!(reader.finish(()), Ok(()));
}

#[test]
fn variables_come_before_the_file_and_are_refused_like_it() {
    let table: toml::Table = "[a]\nx = 1\ny = 1".parse().unwrap();
    let variables = environment(&[("NIGHTDROP_A_X", "2"), ("NIGHTDROP_A_Y", "many")]);
    let mut reader = Reader::new(&table, NO_FILES).with_environment(variables);
    let (x, y) = reader.section("a", |r| (r.number("x", 0, 0..=9_u8, ""), r.number("y", 5, 0..=9_u8, "")));
    assert_eq!((x, y), (2, 5));
    assert_eq!(said(&reader.finish(()).unwrap_err()), ["a.y: must be a whole number from 0 to 9"]);
}

#[test]
fn what_nobody_asked_for_is_told_with_the_nearest_key() {
    let table: toml::Table = "publc = 1\n[lists]\nx = 1".parse().unwrap();
    let variables = environment(&[("NIGHTDROP_LISTEN_PUBLC", "x")]);
    let mut reader = Reader::new(&table, NO_FILES).with_environment(variables);
    reader.text("public", "");
    reader.section("listen", |r| r.text("public", ""));
    let errors = said(&reader.finish(()).unwrap_err());
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert_eq!(errors[0], "lists: is not a configuration key; the nearest one is listen");
    assert_eq!(errors[1], "publc: is not a configuration key; the nearest one is public");
    assert!(errors[2].starts_with("NIGHTDROP_LISTEN_PUBLC: ") && errors[2].contains("NIGHTDROP_LISTEN_PUBLIC"));
}

#[test]
fn a_variable_that_fits_two_keys_is_refused() {
    let table = toml::Table::new();
    let variables = environment(&[("NIGHTDROP_P_A_B_C", "x")]);
    let mut reader = Reader::new(&table, NO_FILES).with_environment(variables);
    reader.section("p", |r| {
        r.section("a", |r| r.text("b_c", ""));
        r.section("a-b", |r| r.text("c", ""));
    });
    let errors = said(&reader.finish(()).unwrap_err());
    assert!(
        errors[0].contains("p.a.b_c or p.a-b.c"),
        "nobody can say which one was meant: {errors:?}"
    );
}

#[test]
fn a_section_may_stand_in_the_environment_alone() {
    let table = toml::Table::new();
    let mut reader = Reader::new(&table, NO_FILES).with_environment(environment(&[("NIGHTDROP_MAIL_HOST", "h")]));
    assert!(reader.optional_section("sso", |_| ()).is_none());
    assert_eq!(
        reader.optional_section("mail", |r| r.required("host", "a name")).as_deref(),
        Some("h")
    );
    assert_eq!(reader.finish(()), Ok(()));
}

#[test]
fn variables_by_which_kubernetes_tells_of_services_are_no_settings_and_others_stay_refused() {
    let table = toml::Table::new();
    let variables = environment(&[
        ("NIGHTDROP_SERVICE_HOST", "10.0.0.7"),
        ("NIGHTDROP_SERVICE_PORT", "8080"),
        ("NIGHTDROP_SERVICE_PORT_PUBLIC", "8080"),
        ("NIGHTDROP_PORT", "tcp://10.0.0.7:8080"),
        ("NIGHTDROP_PORT_8080_TCP", "tcp://10.0.0.7:8080"),
        ("NIGHTDROP_PORT_8080_TCP_PROTO", "tcp"),
        ("NIGHTDROP_PORT_8080_TCP_PORT", "8080"),
        ("NIGHTDROP_PORT_8080_TCP_ADDR", "10.0.0.7"),
        // A service called nightdrop-mail must not set the port of [mail].
        ("NIGHTDROP_MAIL_SERVICE_HOST", "10.0.0.8"),
        ("NIGHTDROP_MAIL_SERVICE_PORT", "25"),
        ("NIGHTDROP_MAIL_PORT", "tcp://10.0.0.8:25"),
        ("NIGHTDROP_MAIL_PORT_25_TCP_ADDR", "10.0.0.8"),
        // Nobody has injected these.
        ("NIGHTDROP_PORT_8080_HTTP", "x"),
        ("NIGHTDROP_STAFF_SERVICE_HOST", "10.0.0.9"),
        ("NIGHTDROP_LISTN_PUBLIC", "x"),
    ]);
    let mut reader = Reader::new(&table, NO_FILES).with_environment(variables);
    assert!(!reader.has("mail"));
    assert_eq!(reader.number("port", 7_u16, 1..=9, "a port"), 7);
    let errors = reader.finish(()).unwrap_err();
    let names: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(
        names,
        ["NIGHTDROP_LISTN_PUBLIC", "NIGHTDROP_PORT_8080_HTTP", "NIGHTDROP_STAFF_SERVICE_HOST"]
    );
}
