//! What the documents name exists: every path of the sources, every item in it that is named with it, every relative link and every heading that a link leads to; and the
//! index of the documents lists all of them. What they tell a reader to type or to set is in the modules below.

mod commands;
mod first_hour;
mod pictures;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::walk;

/// What stands before a path that is checked.
const FOLDERS: [&str; 9] = [
    "src/",
    "tests/",
    "assets/",
    "benches/",
    "fuzz/",
    "examples/",
    "docs/",
    ".ci/",
    "assets/packaging/",
];

/// Folders that tests and builds make.
const MADE: [&str; 1] = ["tests/output"];
/// Stands for a name that the reader chooses.
const PLACEHOLDER: &str = "NAME";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let pages = ["docs", "assets/docs"].into_iter().flat_map(|folder| walk(&root().join(folder)));
    let mut found: Vec<_> = pages.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    found.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root().join(name)));
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A block of code: what it says it is in (nothing where it is only set in), and its lines.
struct Block {
    kind: String,
    lines: Vec<String>,
}

/// The blocks of a document: fenced ones, also below a point of a list, and those that are set in by four blanks behind an empty line.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    let mut is_free = true;
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if let Some(kind) = trimmed.strip_prefix("```") {
            let margin = line.len() - trimmed.len();
            let inside = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
            let inside = inside.map(|line| line.get(margin..).unwrap_or_default().to_owned()).collect();
            found.push(Block {
                kind: kind.to_owned(),
                lines: inside,
            });
            is_free = true;
        } else if is_free && line.starts_with("    ") {
            let mut inside = vec![trimmed.to_owned()];
            while let Some(next) = lines.next_if(|line| line.starts_with("    ")) {
                inside.push(next[4..].to_owned());
            }
            found.push(Block {
                kind: String::new(),
                lines: inside,
            });
        } else {
            is_free = trimmed.is_empty();
        }
    }
    found
}

/// What stands between backticks outside of blocks of code. A quotation may go over a line's end, but not over a paragraph's.
fn quoted(text: &str) -> Vec<&str> {
    let paragraphs = text
        .split("\n\n")
        .filter(|block| !block.starts_with("    ") && !block.starts_with("```"));
    paragraphs.flat_map(|block| block.split('`').skip(1).step_by(2)).collect()
}

/// Where the links of a document lead to, but for those to other hosts.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// The name by which a link finds a heading: small letters, digits, hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// `src/a/{b,c}.rs` names two files.
fn spread(path: &str) -> Vec<String> {
    match path
        .split_once('{')
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        Some((before, (names, after))) => names.split(',').map(|name| format!("{before}{}{after}", name.trim())).collect(),
        None => vec![path.to_owned()],
    }
}

/// Whether a file defines something of this name: an item, a field, a variant, or a test.
fn defines(file: &Path, item: &str) -> bool {
    let text = read(file);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let words: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split(|c| !is_name(c)))
        .collect();
    item.split("::").all(|name| words.contains(name.trim_end_matches("()")))
}

/// What is wrong with a reference such as `src/crypto/seal.rs::DocumentSealer`; nothing if it is not one.
fn faults(reference: &str) -> Vec<String> {
    let is_path = FOLDERS.iter().any(|folder| reference.starts_with(folder)) && !reference.contains([' ', '*', '…', '<']);
    let is_made = MADE.iter().any(|folder| reference.starts_with(folder));
    if !is_path || is_made || reference.contains(PLACEHOLDER) {
        return Vec::new();
    }
    let (paths, item) = match reference.split_once("::") {
        Some((paths, item)) => (paths, Some(item)),
        None => (reference, None),
    };
    let fault = |path: String| {
        let file = root().join(&path);
        if !file.exists() {
            return Some(format!("{path} does not exist"));
        }
        let missing = item.is_some_and(|item| file.is_file() && !defines(&file, item));
        missing.then(|| format!("{reference}: the file has no such item"))
    };
    spread(paths).into_iter().filter_map(fault).collect()
}

#[test]
fn what_the_documents_name_exists() {
    let mut wrong = Vec::new();
    for document in documents() {
        let name = document.strip_prefix(root()).unwrap_or(&document).display().to_string();
        let text = read(&document);
        for reference in quoted(&text) {
            wrong.extend(faults(reference).into_iter().map(|why| format!("{name}: {why}")));
        }
        for link in links(&text) {
            let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap_or(root()).join(path),
            };
            if !target.exists() {
                wrong.push(format!("{name}: {link} leads nowhere"));
            } else if let Some(heading) = heading {
                let there = read(&target)
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line) == heading);
                if !there {
                    wrong.push(format!("{name}: {link} names no heading"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_index_lists_every_document() {
    let index = read(&root().join("docs/README.md"));
    let listed: BTreeSet<PathBuf> = links(&index).into_iter().map(|link| root().join("docs").join(link)).collect();
    let listed: BTreeSet<PathBuf> = listed.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let missing: Vec<_> = documents()
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "README.md") && !path.starts_with(root().join("assets/docs/providers")))
        .filter(|path| !listed.contains(&path.canonicalize().unwrap_or_default()))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn a_wrong_reference_is_found() {
    for right in [
        "src/crypto/seal.rs::DocumentSealer::begin",
        "src/crypto/{seal,open}.rs",
        "not a path",
    ] {
        assert_eq!(faults(right), Vec::<String>::new());
    }
    assert_eq!(faults("src/crypto/seal.rs::NoSuchThing").len(), 1);
    assert_eq!(faults("src/crypto/{seal,nothing,neither}.rs").len(), 2);
    assert_eq!(quoted("a `b\nc` d `e`\n\n    `f`\n\n`g`"), ["b\nc", "e", "g"]);
    assert!(!links("[a](b.md) and [c](https://example.com/d)").contains(&"https://example.com/d"));
    assert_eq!(anchor("## What is *in* scope?"), "what-is-in-scope");
}
