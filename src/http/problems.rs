//! What each code of a problem document means and what to do: the table of `assets/docs/problems.md`, read. No code is told that does not stand there.

use std::sync::LazyLock;

const TEXT: &str = include_str!("../../assets/docs/problems.md");
/// Before a code, in an address.
pub(crate) const PLACE: &str = "/problems";

/// One code. The texts are lines of the table.
#[derive(Debug)]
pub(crate) struct KnownProblem {
    pub code: &'static str,
    pub status: u16,
    /// `API`, `links`, `callbacks`, `console`, or `all` of them.
    pub place: &'static str,
    pub meaning: &'static str,
    pub advice: &'static str,
}

static KNOWN: LazyLock<Vec<KnownProblem>> = LazyLock::new(|| TEXT.lines().filter_map(row).collect());

fn row(line: &'static str) -> Option<KnownProblem> {
    let mut cells = line.strip_prefix("| `")?.trim_end_matches(" |").split(" | ");
    Some(KnownProblem {
        code: cells.next()?.trim_end_matches('`'),
        status: cells.next()?.parse().ok()?,
        place: cells.next()?,
        meaning: cells.next()?,
        advice: cells.next()?,
    })
}

/// All codes, in the order of the alphabet.
pub(crate) fn all() -> &'static [KnownProblem] {
    &KNOWN
}

/// The codes that the staff API can tell.
pub(crate) fn of_the_api() -> impl Iterator<Item = &'static KnownProblem> {
    all().iter().filter(|known| ["API", "all"].contains(&known.place))
}

pub(crate) fn find(code: &str) -> Option<&'static KnownProblem> {
    all().iter().find(|known| known.code == code)
}

/// The `type` of a problem document: the page about its code, relative to whoever answered.
pub(crate) fn address(code: &str) -> String {
    match find(code) {
        Some(known) => format!("{PLACE}/{}", known.code),
        // RFC 9457: nothing more is known than the status says.
        None => "about:blank".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    /// Every `"name.name"` behind one of the marks, in the product's part of the sources.
    fn named(marks: &[&str]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                    for mark in marks {
                        let codes = product.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
                        found.extend(codes.map(str::to_owned));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_code_that_the_sources_tell_has_its_page_and_no_other_has() {
        let codes: BTreeSet<_> = all().iter().map(|known| known.code.to_owned()).collect();
        assert_eq!(codes.len(), all().len(), "each once");
        let mut told = named(&[".code(\""]);
        // What stands behind a mark that holds the beginning of the code itself.
        told.extend(named(&["=> \"file."]).into_iter().map(|code| format!("file.{code}")));
        told.extend(named(&["\"provider."]).into_iter().map(|code| format!("provider.{code}")));
        let kinds = include_str!("error.rs")
            .split("kinds! {\n")
            .nth(1)
            .unwrap()
            .split("\n}")
            .next()
            .unwrap();
        told.extend(kinds.lines().filter_map(|line| line.split('"').nth(1)).map(str::to_owned));
        told.extend(["request.method", "upload.checksum"].map(str::to_owned));
        assert_eq!(
            told.difference(&codes).collect::<Vec<_>>(),
            [""; 0],
            "without a row in assets/docs/problems.md"
        );
        assert_eq!(codes.difference(&told).collect::<Vec<_>>(), [""; 0], "told nowhere");
    }

    #[test]
    fn a_row_says_what_it_means_and_what_to_do() {
        for known in all() {
            assert!(known.meaning.ends_with('.') && known.advice.ends_with('.'), "{known:?}");
            assert!((400..600).contains(&known.status), "{known:?}");
            assert!(["API", "links", "callbacks", "console", "all"].contains(&known.place), "{known:?}");
        }
        let rows = TEXT.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, all().len());
    }
}
