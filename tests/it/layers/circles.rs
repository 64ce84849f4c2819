//! No two modules import one another, directly or over others: whoever reads one of them need not have read the other first.
//!
//! A module and what is below it count as one: a submodule may use what its parent defines, and a parent names its submodules.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, sources};

#[test]
fn no_modules_import_one_another() {
    let files: BTreeMap<String, String> = sources()
        .into_iter()
        .map(|(file, text)| (file.to_string_lossy().trim_end_matches(".rs").replace('/', "::"), text))
        .filter(|(module, _)| !["main", "lib", "testing"].contains(&module.as_str()))
        .collect();
    let names: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    let graph: BTreeMap<&str, BTreeSet<&str>> = files
        .iter()
        .map(|(module, text)| (module.as_str(), imports(module, text, &names)))
        .collect();
    let found = circles(&graph);
    assert!(found.is_empty(), "modules that import one another: {found:#?}");
}

/// The modules with a file of their own that this one names, but for those above and below it.
fn imports<'a>(module: &str, text: &str, names: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let text = code(text);
    let within = |below: &str, above: &str| below.strip_prefix(above).is_some_and(|rest| rest.starts_with("::"));
    let mut found = BTreeSet::new();
    for path in paths(&text) {
        let Some(whole) = resolved(module, &path, names) else { continue };
        if let Some(there) = deepest(&whole, names).filter(|there| *there != module && !within(module, there) && !within(there, module)) {
            found.insert(there);
        }
    }
    found
}

/// Every path in the text, with the groups of `use` taken apart.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let starts_a_word = rest[..at].chars().next_back().is_none_or(|c| c.is_whitespace());
        let (before, after) = (&rest[..at], &rest[at + 4..]);
        found.extend(plain(before));
        let Some((tree, behind)) = after.split_once(';').filter(|_| starts_a_word) else {
            rest = after;
            continue;
        };
        found.extend(spread(tree));
        rest = behind;
    }
    found.extend(plain(rest));
    found
}

/// Paths as they stand in code: words with `::` between them.
fn plain(text: &str) -> Vec<String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.contains("::"))
        .map(str::to_owned)
        .collect()
}

/// `a::{b, c::{d, e}}` is three paths.
fn spread(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, group)) = tree.split_once('{') else {
        return vec![tree.split_whitespace().next().unwrap_or_default().to_owned()];
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let one = &group[start..at];
                start = at + 1;
                if !one.trim().is_empty() {
                    found.extend(spread(one).into_iter().map(|path| format!("{}{path}", before.trim())));
                }
            }
            _ => {}
        }
    }
    found
}

/// The path from the crate's root; `None` for one that leads out of the crate.
fn resolved(module: &str, path: &str, names: &BTreeSet<&str>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").collect();
    let mut base: Vec<&str> = module.split("::").collect();
    match parts[0] {
        "crate" => base.clear(),
        "super" => {
            while parts.first() == Some(&"super") {
                parts.remove(0);
                base.pop();
            }
            parts.insert(0, "super");
        }
        "self" => {}
        child if names.contains(format!("{module}::{child}").as_str()) => parts.insert(0, "self"),
        _ => return None,
    }
    Some([base, parts[1..].to_vec()].concat().join("::"))
}

fn deepest<'a>(path: &str, names: &BTreeSet<&'a str>) -> Option<&'a str> {
    let mut path = path;
    loop {
        if let Some(name) = names.get(path) {
            return Some(name);
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// Groups of more than one module, each of which leads to each other one.
fn circles<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let reach = |from: &'a str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            open.extend(graph.get(at).into_iter().flatten().filter(|next| seen.insert(**next)));
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = graph.keys().map(|module| (*module, reach(module))).collect();
    let circle = |module: &&'a str| -> Vec<&'a str> {
        reached[*module]
            .iter()
            .filter(|other| reached[**other].contains(*module))
            .copied()
            .collect()
    };
    let found: BTreeSet<Vec<&str>> = graph.keys().map(circle).filter(|members| members.len() > 1).collect();
    found.into_iter().collect()
}

#[test]
fn a_circle_over_three_modules_is_found() {
    let names = BTreeSet::from(["a", "a::x", "b", "b::y", "c"]);
    let texts = [
        ("a", "mod x; use x::One;"),
        ("a::x", "use super::Two;\nuse crate::{b::{y::Three, Four}, domain::Five};"),
        ("b::y", "fn f() { crate::c::six(); }"),
        ("b", "mod y;"),
        ("c", "// use crate::b;\nuse crate::a::x::One as Seven;"),
    ];
    let graph: BTreeMap<&str, BTreeSet<&str>> = texts
        .iter()
        .map(|(module, text)| (*module, imports(module, text, &names)))
        .collect();
    assert_eq!(graph["a"], BTreeSet::new(), "what is below is no import");
    assert_eq!(graph["a::x"], BTreeSet::from(["b", "b::y"]));
    assert_eq!(circles(&graph), [vec!["a::x", "b::y", "c"]]);
}
