//! The document catalogue: which kinds can be asked for, their parts, labels and accepted types. Sensible ones are built in; the configuration adds and changes.

mod settings;

use std::collections::BTreeMap;

use crate::domain::document::{DocumentKind, FileType, PartName};
use crate::words;

/// How much of a photo's metadata is removed in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// Where it was taken.
    Gps,
    /// Everything but the orientation.
    All,
    /// Nothing: some providers read EXIF as a fraud signal.
    None,
}

#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    pub kind: DocumentKind,
    /// Language tag → what the applicant reads. English is always there.
    pub labels: BTreeMap<String, String>,
    pub parts: Vec<PartName>,
    pub accepted: Vec<FileType>,
    pub strip: Strip,
}

impl CatalogueEntry {
    /// The label in a language, falling back to its base language and then to English.
    pub fn label(&self, language: &str) -> &str {
        let base = language.split('-').next().unwrap_or(language);
        [language, base, "en"]
            .into_iter()
            .find_map(|l| self.labels.get(l))
            .map_or(self.kind.as_str(), String::as_str)
    }
}

#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: BTreeMap<DocumentKind, CatalogueEntry>,
}

/// What is built in: key and parts. The labels are in `assets/locales`, in every language.
const BUILT_IN: [(&str, &[&str]); 7] = [
    ("government-id", &["front", "back"]),
    ("passport", &["front"]),
    ("drivers-license", &["front", "back"]),
    ("proof-of-address", &["front"]),
    ("bank-statement", &["front"]),
    ("selfie", &["front"]),
    ("company-registration", &["front"]),
];

/// JPEG only needs to be listed: phones then give JPEG instead of HEIC.
const ACCEPTED: [FileType; 3] = [FileType::Jpeg, FileType::Png, FileType::Pdf];

impl Default for Catalogue {
    fn default() -> Self {
        let mut catalogue = Self { entries: BTreeMap::new() };
        for (kind, parts) in BUILT_IN {
            let accepted = if kind == "selfie" {
                ACCEPTED[..2].to_vec()
            } else {
                ACCEPTED.to_vec()
            };
            catalogue.insert(CatalogueEntry {
                kind: DocumentKind::parse(kind).expect("the built-in kinds are words"),
                labels: words::everywhere(&format!("document.{kind}")),
                parts: parts
                    .iter()
                    .map(|p| PartName::parse(p).expect("the built-in parts are words"))
                    .collect(),
                accepted,
                strip: Strip::Gps,
            });
        }
        catalogue
    }
}

impl Catalogue {
    pub fn insert(&mut self, entry: CatalogueEntry) {
        self.entries.insert(entry.kind.clone(), entry);
    }

    pub fn get(&self, kind: &DocumentKind) -> Option<&CatalogueEntry> {
        self.entries.get(kind)
    }

    pub fn iter(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.values()
    }

    /// The known keys, for error messages.
    pub fn names(&self) -> String {
        self.entries.keys().map(DocumentKind::as_str).collect::<Vec<_>>().join(", ")
    }
}
