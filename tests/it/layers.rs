//! The layers of the app, checked on the source: arrows run down, every file says what it is for, none outgrows its reader.

mod circles;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::walk;

/// Each module with the modules it may import. A module may always import itself. `lib.rs` points here.
const ALLOWED: &[(&str, &[&str])] = &[
    // Points that a test can end the process at: nothing in a release, and nobody's layer.
    (FAILPOINT, &[]),
    // How an error is printed with its sources: for every floor.
    (CHAIN, &[]),
    // A value that is replaced while it is used: for every floor.
    (CURRENT, &[]),
    // Which build this is: for every floor.
    (VERSION, &[]),
    ("domain", &[]),
    // The reader of settings is as low as the domain and blind to it: connectors read their tables with it, and so does everything above them.
    ("settings", &[]),
    ("crypto", &["domain"]),
    ("storage", &["domain"]),
    ("connectors", &["domain", "settings"]),
    ("inspect", &["domain", "settings"]),
    ("words", &[]),
    (
        "workflow",
        &["domain", "settings", "crypto", "storage", "connectors", "inspect", "words"],
    ),
    (
        "http",
        &[
            "domain",
            "settings",
            "crypto",
            "storage",
            "connectors",
            "inspect",
            "words",
            "workflow",
        ],
    ),
    ("worker", &["domain", "storage", "workflow"]),
    ("sandbox", &["domain", "settings", "connectors"]),
    // Each module reads its own section; the configuration composes them.
    (
        "config",
        &[
            "domain",
            "settings",
            "words",
            "crypto",
            "storage",
            "workflow",
            "connectors",
            "inspect",
            "http",
        ],
    ),
    (
        "app",
        &[
            "domain",
            "settings",
            "crypto",
            "storage",
            "connectors",
            "inspect",
            "workflow",
            "http",
            "worker",
            "config",
            "sandbox",
        ],
    ),
    (
        "cli",
        &[
            "domain",
            "settings",
            "crypto",
            "storage",
            "connectors",
            "inspect",
            "workflow",
            "http",
            "worker",
            "config",
            "app",
            "sandbox",
            "cli",
        ],
    ),
    // For tests: it names things of every module, and no module names it.
    (
        "testing",
        &[
            "domain",
            "settings",
            "crypto",
            "storage",
            "connectors",
            "inspect",
            "words",
            "workflow",
            "http",
            "worker",
            "config",
            "app",
            "sandbox",
        ],
    ),
];

const FAILPOINT: &str = "failpoint";
const CHAIN: &str = "chain";
const CURRENT: &str = "current";
const VERSION: &str = "version";
const LONGEST: usize = 600;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = walk(&root)
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|p| (p.strip_prefix(&root).unwrap().to_path_buf(), std::fs::read_to_string(&p).unwrap()))
        .collect()
}

fn module_of(file: &Path) -> String {
    let first = file.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// What is compiled into the product: without comments and without the tests at the end of a file.
fn code(text: &str) -> String {
    let product = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines: Vec<_> = product.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    // Who may see an item is no import.
    lines.join("\n").replace("pub(in crate::", "pub(in ")
}

/// Modules named behind `crate::` outside of comments.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let name = |rest: &str| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    code.split("crate::")
        .skip(1)
        .map(name)
        .filter(|n| ALLOWED.iter().any(|(module, _)| module == n))
        .collect()
}

#[test]
fn arrows_run_down() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let here = module_of(&file);
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == here) else {
            assert!(
                ["main", "lib"].contains(&here.as_str()),
                "{} is in no module of the table",
                file.display()
            );
            continue;
        };
        for there in imports(&text) {
            if there != here && ![FAILPOINT, CHAIN, CURRENT, VERSION].contains(&there.as_str()) && !allowed.contains(&there.as_str()) {
                wrong.push(format!("{} imports {there}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Names that two types of one layer share. The list may only get shorter.
const TWICE: &[(&str, &str)] = &[
    ("connectors", "Auth"),
    ("connectors", "Target"),
    ("http", "Form"),
    ("inspect", "Verdict"),
];

#[test]
fn a_name_means_one_type_in_a_layer() {
    let mut types: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (file, text) in sources() {
        let at = file.to_string_lossy().into_owned();
        // What makes inputs for tests is named after what it makes.
        if ["tests", "testing.rs", "samples.rs"].iter().any(|helper| at.ends_with(helper)) {
            continue;
        }
        for line in code(&text).lines().filter(|line| line.starts_with("pub")) {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
            if words.by_ref().any(|word| ["struct", "enum", "trait", "type"].contains(&word)) {
                let name = words.next().unwrap_or_default().to_owned();
                types.entry((module_of(&file), name)).or_default().push(at.clone());
            }
        }
    }
    types.retain(|_, files| files.len() > 1);
    let found: Vec<_> = types.keys().map(|(layer, name)| (layer.as_str(), name.as_str())).collect();
    assert_eq!(found, TWICE, "{types:#?}");
}

#[test]
fn every_file_says_what_it_is_for_and_stays_readable() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{} has no head", file.display()));
        }
        let lines = text.lines().count();
        if lines > LONGEST {
            wrong.push(format!("{} has {lines} lines", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_must_stay_in_one_place_stays_there() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let at = file.to_string_lossy().into_owned();
        let code: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        let mut only_in = |word: &str, homes: &[&str]| {
            if code.iter().any(|l| l.contains(word)) && !homes.iter().any(|home| at.starts_with(home)) {
                wrong.push(format!("{at} names {word}"));
            }
        };
        only_in("sled::Tree", &["storage/sled"]);
        only_in("sled::Db", &["storage/sled"]);
        only_in("use ::sled", &["storage/sled"]);
        // Everything else knows the traits of the storage. (Health checks ask the store itself, and commands open it without a portal.)
        // A handler calls one use case; a page is a function of what it is given.
        if at.starts_with("http/staff") {
            for store in ["portal.requests.", "portal.directory.", "portal.audit.", "portal.outbox."] {
                only_in(store, &[]);
            }
        }
        let handles = ["handlers.rs", "sso.rs"].iter().any(|name| at.ends_with(name));
        if at.starts_with("http/staff/view/") || (at.starts_with("http/staff/console/") && !handles) {
            for given in ["AppState", "&Portal", "portal.now()", "terms::"] {
                only_in(given, &[]);
            }
        }
        if at.starts_with("http/staff/api") {
            only_in("staff::console", &[]);
        }
        if at.starts_with("http/staff/console") {
            only_in("staff::api", &[]);
        }
        only_in(
            "storage::sled::",
            &["storage", "app", "http/context.rs", "http/front.rs", "cli", "testing.rs"],
        );
        only_in("StatusCode", &["http/error.rs", "connectors", "sandbox", "cli"]);
        only_in("actix_web", &["http", "sandbox", "app.rs"]);
        only_in("SystemTime::now", &[]);
        // Two request signatures carry the time that the provider compares with its own clock.
        only_in(
            "now_utc()",
            &["storage/clock.rs", "connectors/http", "connectors/sumsub.rs", "sandbox", "cli"],
        );
        only_in("unsafe ", &["storage/sled/fsync.rs", "crypto/extents.rs", "crypto/heap.rs"]);
        // Who proves that something is durable has just synced it.
        only_in("Durable::synced(", &["storage/files", "storage/postgres", "domain/transition"]);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
