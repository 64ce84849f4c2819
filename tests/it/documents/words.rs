//! Settings, variables, codes and sentences that the documents name are the program's: a setting is in the reference, a code in its table or in the sources, and a sentence in
//! quotation marks is said somewhere.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::{blocks, documents, quoted, read, root};
use crate::support::walk;

/// The sources of everything that says something, as one text: strings that go over several lines are one line.
static SOURCES: LazyLock<String> = LazyLock::new(|| {
    let files = ["src", "assets", "examples", "tests"]
        .into_iter()
        .flat_map(|folder| walk(&root().join(folder)));
    let is_source = |extension: &str| ["rs", "toml", "js", "mjs", "py", "yaml", "service"].contains(&extension);
    let files = files.filter(|file| file.extension().and_then(|e| e.to_str()).is_some_and(is_source));
    let files = files.filter(|file| !file.starts_with(root().join("tests/it/documents")));
    let mut text = String::new();
    for file in files {
        let mut goes_on = false;
        for line in read(&file).lines() {
            let line = if goes_on { line.trim_start() } else { line };
            goes_on = line.ends_with('\\');
            text.push_str(line.strip_suffix('\\').unwrap_or(line));
            text.push_str(if goes_on { "" } else { "\n" });
        }
    }
    text.replace("\\\"", "\"")
});

/// The reference of all settings, which is written from the code.
struct Reference {
    /// Of the whole configuration, with `NAME` where the reader chooses one.
    keys: BTreeSet<String>,
    /// Of any kind of provider.
    of_providers: BTreeSet<String>,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let text = read(&root().join("docs/operations/settings.md"));
    let (sections, providers) = text.split_once("\n## Every provider").unwrap();
    let keys = |text: &str| {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        rows.map(str::to_owned).collect()
    };
    Reference {
        keys: keys(sections),
        of_providers: keys(providers),
    }
});

impl Reference {
    /// Whether this is a setting, a table of settings, or a key inside of a table that is one setting.
    fn has(&self, key: &str) -> bool {
        let related = |known: &str, key: &str| known == key || inside(known, key) || inside(key, known);
        if let Some(of_provider) = key.strip_prefix("providers.") {
            let Some((_, key)) = of_provider.split_once('.') else { return true };
            return key == "kind" || self.of_providers.iter().any(|known| related(known, key));
        }
        let key = match key.split('.').collect::<Vec<_>>()[..] {
            [table @ ("webhooks" | "documents"), _, ref rest @ ..] => [&[table, "NAME"], rest].concat().join("."),
            _ => key.to_owned(),
        };
        self.keys.iter().any(|known| related(known, &key))
    }

    fn has_variable(&self, variable: &str) -> bool {
        let of = |key: &String| key.to_uppercase().replace(['.', '-'], "_");
        let Some(name) = variable.strip_prefix("NIGHTDROP_") else {
            return false;
        };
        let fits = |key: &String| match key.split_once("_NAME_") {
            Some((before, after)) => name.starts_with(before) && name.ends_with(after),
            None => name == key,
        };
        self.keys.iter().map(of).any(|key| fits(&key))
            || name
                .strip_prefix("PROVIDERS_")
                .is_some_and(|rest| self.of_providers.iter().map(of).any(|key| rest.ends_with(&key)))
    }
}

/// `limits` is around `limits.uploads`.
fn inside(table: &str, key: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether the program knows a word with dots in it: as a setting, or in a string of its own.
fn is_known(word: &str) -> bool {
    REFERENCE.has(word)
        || REFERENCE.of_providers.contains(word)
        || SOURCES.contains(&format!("\"{word}\""))
        || codes().contains(&format!("| `{word}` |"))
}

fn codes() -> String {
    read(&root().join("assets/docs/problems.md"))
}

/// Words such as `limits.max_file` or `link.expired`: parts of small letters, digits and the like, with dots between. Names of files and hosts are others.
fn is_word(text: &str) -> bool {
    const OTHERS: [&str; 16] = [
        "md", "rs", "toml", "txt", "json", "jsonl", "yaml", "age", "pem", "pub", "sh", "com", "example", "html", "conf", "id",
    ];
    let parts: Vec<&str> = text.split('.').collect();
    let is_part = |part: &&str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
    };
    parts.len() > 1
        && parts.iter().all(|part| is_part(part) || *part == "NAME")
        && parts[0].bytes().any(|b| b.is_ascii_lowercase())
        && parts
            .last()
            .is_some_and(|last| !OTHERS.contains(last) && !last.bytes().all(|b| b.is_ascii_digit()))
}

/// The first parts of words that this program has: what begins otherwise belongs to somebody else.
fn beginnings() -> BTreeSet<String> {
    let codes = codes();
    let codes = codes.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let words = REFERENCE.keys.iter().map(String::as_str).chain(codes);
    words.filter_map(|word| Some(word.split_once('.')?.0.to_owned())).collect()
}

#[test]
fn every_setting_and_code_in_the_documents_exists() {
    let beginnings = beginnings();
    let mut wrong = Vec::new();
    let mut looked = 0;
    // The changelog also names what is gone.
    for document in documents().into_iter().filter(|document| !document.ends_with("CHANGELOG.md")) {
        let text = read(&document);
        for said in quoted(&text) {
            let word = said.split(['=', ' ']).next().unwrap_or_default();
            let is_ours = is_word(word) && beginnings.contains(word.split('.').next().unwrap_or_default());
            if is_ours {
                looked += 1;
                if !is_known(word) {
                    wrong.push(format!("{}: {word}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked > 150, "only {looked} words were found");
}

/// The keys of a table, with those of the tables in it.
fn keys(table: &toml::Table, before: &str) -> Vec<String> {
    let key = |name: &String| format!("{before}{name}");
    let of = |(name, value): (&String, &toml::Value)| match value {
        toml::Value::Table(inner) => keys(inner, &format!("{}.", key(name))),
        _ => vec![key(name)],
    };
    table.iter().flat_map(of).collect()
}

#[test]
fn every_table_in_the_documents_has_known_settings() {
    let mut wrong = Vec::new();
    let mut looked = 0;
    for document in documents() {
        for block in blocks(&read(&document)) {
            let text = block.lines.join("\n");
            let is_toml = block.kind == "toml";
            let looks_so = block.kind.is_empty() && text.starts_with('[') && text.contains(" = ");
            if !is_toml && !looks_so {
                continue;
            }
            match text.parse::<toml::Table>() {
                Ok(table) => {
                    looked += 1;
                    let unknown = keys(&table, "").into_iter().filter(|key| !REFERENCE.has(key));
                    wrong.extend(unknown.map(|key| format!("{}: {key}", document.display())));
                }
                Err(error) => wrong.push(format!("{}: {error}\n{text}", document.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked > 20, "only {looked} tables were found");
}

#[test]
fn every_variable_in_the_documents_exists() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = read(&document);
        for rest in text.split("NIGHTDROP_").skip(1) {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
                .collect();
            let variable = format!("NIGHTDROP_{name}");
            if !name.is_empty() && !REFERENCE.has_variable(&variable) && !SOURCES.contains(&variable) {
                wrong.push(format!("{}: {variable}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What stands between `*"` and `"*`.
fn sentences(text: &str) -> Vec<String> {
    let ends = text.split("*\"").skip(1).filter_map(|rest| rest.split("\"*").next());
    ends.map(|said| said.replace('\n', " ")).collect()
}

/// Whether all of a sentence is said, `…` for what differs.
fn is_said(sentence: &str) -> bool {
    let pieces: Vec<&str> = sentence.split('…').map(str::trim).filter(|piece| piece.len() > 1).collect();
    !pieces.is_empty() && pieces.iter().all(|piece| SOURCES.contains(piece))
}

#[test]
fn every_sentence_that_the_documents_quote_is_said_by_the_program() {
    let mut wrong = Vec::new();
    let mut looked = 0;
    for document in documents() {
        for sentence in sentences(&read(&document)) {
            looked += 1;
            if !is_said(&sentence) {
                wrong.push(format!("{}: {sentence}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked > 50, "only {looked} sentences were found");
}

/// What the program tells an operator to read or to set, in its own sentences.
#[test]
fn every_document_and_setting_that_the_program_names_exists() {
    let mut wrong = Vec::new();
    let (mut documents, mut settings) = (0, 0);
    let files = ["src", "assets"].into_iter().flat_map(|folder| walk(&root().join(folder)));
    for file in files.filter(|file| file.extension().is_some_and(|e| e == "rs" || e == "toml" || e == "service")) {
        let text = read(&file);
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for rest in line.split("docs/").skip(1) {
                let name: String = rest
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "/-_.".contains(*c))
                    .collect();
                let name = name.trim_end_matches('.');
                if name.ends_with(".md") {
                    documents += 1;
                    if !["docs", "assets/docs"].iter().any(|folder| root().join(folder).join(name).exists()) {
                        wrong.push(format!("{}: docs/{name}", file.display()));
                    }
                }
            }
            for rest in line.split(" set ").skip(1) {
                let key = rest.split([' ', ',', ';', '"']).next().unwrap_or_default();
                let is_key = key.contains(['_', '.']) && key.bytes().all(|b| b.is_ascii_lowercase() || b"_.".contains(&b));
                if is_key && rest[key.len()..].starts_with(" = ") {
                    settings += 1;
                    if !REFERENCE.has(key) {
                        wrong.push(format!("{}: {key}", file.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        documents > 10 && settings > 4,
        "only {documents} documents and {settings} settings were found"
    );
}

#[test]
fn a_word_that_nobody_knows_is_found() {
    assert!(is_known("limits.max_file") && is_known("vault.absent") && is_known("document.received") && is_known("listen.public_tls"));
    assert!(!is_known("limits.max_files") && !is_known("vault.missing"));
    assert!(REFERENCE.has("providers.stripe.api_key_file") && REFERENCE.has("documents.passport.label.de"));
    assert!(!REFERENCE.has("providers.stripe.api_keys") && !REFERENCE.has("documents.passport.colour"));
    assert!(REFERENCE.has_variable("NIGHTDROP_PROVIDERS_STRIPE_API_KEY_FILE") && !REFERENCE.has_variable("NIGHTDROP_COLOUR"));
    assert!(is_word("limits.max_file") && !is_word("nightdrop.toml") && !is_word("127.0.0.1"));
    assert_eq!(sentences("a *\"b c\"* d **\"e\"**"), ["b c", "e"]);
    assert!(is_said("This link has expired") && !is_said("This link has gone away"));
}
