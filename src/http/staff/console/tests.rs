//! Every page of the console, drawn from samples in which each text that somebody else chose is hostile: none becomes markup, and the markup is well-formed.

mod people_samples;
mod samples;

use std::collections::BTreeSet;

use time::Duration;

use crate::domain::transition::tests::start;
use samples::Samples;

const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\" onmouseover=\"alert(1)\" x='",
    "</textarea></select></pre><img src=x onerror=alert(1)>",
    "\u{202e}txt.exe\u{0}\u{7f}",
    "--><!-- &lt;b&gt; ]]> javascript:alert(1)",
    "",
];

/// Elements that have no end.
const VOID: [&str; 7] = ["meta", "link", "img", "input", "br", "wbr", "hr"];

/// The elements and attributes of a page, each `element attribute`; or where its markup breaks off.
fn vocabulary(page: &str) -> Result<BTreeSet<String>, String> {
    let (mut found, mut open) = (BTreeSet::new(), Vec::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    while let Some(at) = rest.find('<') {
        if rest[..at].contains('>') {
            return Err(format!("a bare > in {:?}", &rest[..at]));
        }
        rest = &rest[at + 1..];
        let place: String = rest.chars().take(60).collect();
        if let Some(end) = rest.strip_prefix('/') {
            let (name, after) = end.split_once('>').ok_or("an end without its end")?;
            if open.pop() != Some(name) {
                return Err(format!("</{name}> ends something else"));
            }
            rest = after;
            continue;
        }
        let length = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .ok_or("an element without its end")?;
        let name = &rest[..length];
        rest = &rest[length..];
        found.insert(name.to_owned());
        while let Some(attribute) = rest.strip_prefix(' ') {
            let length = attribute
                .find(|c: char| !(c.is_ascii_lowercase() || c == '-'))
                .filter(|n| *n > 0)
                .ok_or_else(|| format!("no attribute: {place}"))?;
            found.insert(format!("{name} {}", &attribute[..length]));
            rest = &attribute[length..];
            if let Some(value) = rest.strip_prefix("=\"") {
                let (value, after) = value.split_once('"').ok_or("a value without its end")?;
                if value.contains(['<', '>']) {
                    return Err(format!("a bracket in a value: {place}"));
                }
                rest = after;
            }
        }
        rest = rest.strip_prefix('>').ok_or_else(|| format!("no end: {place}"))?;
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() {
        Ok(found)
    } else {
        Err(format!("{open:?} have no end"))
    }
}

#[test]
fn no_text_becomes_markup_on_any_page() {
    let at = |text: &str| Samples {
        text: text.to_owned(),
        now: start() + Duration::MINUTE,
    };
    let vocabulary_of = |samples: &Samples| -> Vec<BTreeSet<String>> {
        let pages = samples.pages().into_iter();
        let read = |(name, page): (&str, maud::Markup)| {
            vocabulary(&page.into_string()).unwrap_or_else(|why| panic!("{name} with {:.80}: {why}", samples.text))
        };
        pages.map(read).collect()
    };
    let plain: BTreeSet<String> = vocabulary_of(&at("word")).into_iter().flatten().collect();
    assert!(plain.contains("textarea name") && !plain.iter().any(|word| word.contains(" on") || word.ends_with(" style")));
    let long = "x".repeat(10_000) + "<b>";
    for text in HOSTILE.into_iter().chain([long.as_str()]) {
        for (found, (name, page)) in vocabulary_of(&at(text)).into_iter().zip(at(text).pages()) {
            let new: Vec<_> = found.difference(&plain).collect();
            assert!(new.is_empty(), "{name} with {text:.80}: {new:?}");
            let page = page.into_string();
            assert!(
                !page.contains("<script>") && !page.contains("href=\"javascript:"),
                "{name} with {text:.80}"
            );
        }
    }
}

#[test]
fn a_page_that_lets_markup_through_is_found() {
    let page = |body: &str| format!("<!DOCTYPE html><p class=\"a\">{body}</p>");
    assert!(vocabulary(&page("a &lt;b&gt; <br>")).is_ok());
    for broken in [
        "<b>",
        "</p>",
        "<img src=x>",
        "<p title=\"<\">",
        "a > b",
        "<p class=\"a\"onclick=\"b\"></p>",
    ] {
        assert!(vocabulary(&page(broken)).is_err(), "{broken}");
    }
}
