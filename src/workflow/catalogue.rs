//! The document catalogue: which kinds can be asked for, their parts, labels and accepted types. Sensible ones are built in; the configuration adds and changes.

mod settings;

use std::collections::BTreeMap;

use crate::domain::document::{DocumentKind, FileType, PartName, PartSpec};
use crate::words::{self, Words};

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

/// Which camera of a phone takes a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Camera {
    /// What lies in front of somebody.
    Back,
    /// Their own face.
    Front,
}

impl Camera {
    /// The value of an input's `capture`.
    pub const fn capture(self) -> &'static str {
        match self {
            Self::Back => "environment",
            Self::Front => "user",
        }
    }
}

/// What a good and a bad photo of a document are drawn as, for applicants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    Card,
    /// An open passport, with the lines of code at the bottom.
    Passport,
    /// A page of paper.
    Page,
    Face,
    /// Nothing is drawn.
    None,
}

/// How many pages a document may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    One,
    /// Photos of them become one PDF.
    Several,
}

#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    pub kind: DocumentKind,
    /// Language tag → what the applicant reads. English is always there.
    pub labels: BTreeMap<String, String>,
    /// What is good to know before the photo is taken, likewise by language. Empty: nothing.
    pub instructions: BTreeMap<String, String>,
    pub parts: Vec<PartName>,
    pub accepted: Vec<FileType>,
    pub strip: Strip,
    pub camera: Camera,
    pub example: Example,
    pub pages: Pages,
}

impl CatalogueEntry {
    /// The label in a language, falling back to its base language and then to English.
    pub fn label(&self, language: &str) -> &str {
        in_language(&self.labels, language).unwrap_or(self.kind.as_str())
    }

    /// The instructions, likewise.
    pub fn instruction(&self, language: &str) -> Option<&str> {
        in_language(&self.instructions, language)
    }
}

fn in_language<'a>(texts: &'a BTreeMap<String, String>, language: &str) -> Option<&'a str> {
    let base = language.split('-').next().unwrap_or(language);
    [language, base, "en"].into_iter().find_map(|l| texts.get(l)).map(String::as_str)
}

#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: BTreeMap<DocumentKind, CatalogueEntry>,
}

/// Built-in kinds of which people photograph page after page.
const OF_SEVERAL_PAGES: [&str; 3] = ["proof-of-address", "bank-statement", "company-registration"];

/// What is built in: key, parts and example. The labels and instructions are in `assets/locales`, in every language.
const BUILT_IN: [(&str, &[&str], Example); 7] = [
    ("government-id", &["front", "back"], Example::Card),
    ("passport", &["front"], Example::Passport),
    ("drivers-license", &["front", "back"], Example::Card),
    ("proof-of-address", &["front"], Example::Page),
    ("bank-statement", &["front"], Example::Page),
    ("selfie", &["front"], Example::Face),
    ("company-registration", &["front"], Example::Page),
];

/// JPEG only needs to be listed: phones then give JPEG instead of HEIC.
const ACCEPTED: [FileType; 3] = [FileType::Jpeg, FileType::Png, FileType::Pdf];

impl Default for Catalogue {
    fn default() -> Self {
        let mut catalogue = Self { entries: BTreeMap::new() };
        for (kind, parts, example) in BUILT_IN {
            let (accepted, camera) = if kind == "selfie" {
                (ACCEPTED[..2].to_vec(), Camera::Front)
            } else {
                (ACCEPTED.to_vec(), Camera::Back)
            };
            catalogue.insert(CatalogueEntry {
                kind: DocumentKind::parse(kind).expect("the built-in kinds are words"),
                labels: words::everywhere(&format!("document.{kind}")),
                instructions: words::everywhere(&format!("instructions.{kind}")),
                parts: parts
                    .iter()
                    .map(|p| PartName::parse(p).expect("the built-in parts are words"))
                    .collect(),
                accepted,
                strip: Strip::Gps,
                camera,
                example,
                pages: if OF_SEVERAL_PAGES.contains(&kind) {
                    Pages::Several
                } else {
                    Pages::One
                },
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

    /// A kind's label in a language, or its name once it is no longer in the catalogue.
    pub fn label<'a>(&'a self, kind: &'a DocumentKind, language: &str) -> &'a str {
        self.get(kind).map_or(kind.as_str(), |entry| entry.label(language))
    }

    pub fn iter(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.values()
    }

    /// What an applicant is asked for, in words: the label of the kind in a language, and the part where only one of several is wanted.
    pub fn asked(&self, kind: &DocumentKind, parts: &[PartSpec], language: &str, words: &Words) -> String {
        let label = self.get(kind).map_or(kind.as_str(), |entry| entry.label(language));
        let one_of_several = match parts {
            [only] if self.has_several(kind, parts) => Some(only.name.as_str()),
            _ => None,
        };
        match one_of_several {
            None => label.to_owned(),
            Some("front") => words.fill("document-front", &[("document", label)]),
            Some("back") => words.fill("document-back", &[("document", label)]),
            Some(own) => words.fill("document-part", &[("document", label), ("part", &own_part(own))]),
        }
    }

    /// A part's name: the side where the kind has several parts, whichever of them are asked for. Parts of the configuration keep their own word.
    pub fn part(&self, kind: &DocumentKind, parts: &[PartSpec], name: &str, words: &Words) -> String {
        match name {
            "front" if !self.has_several(kind, parts) => words.say("part.only").to_owned(),
            "front" | "back" => words.say(&format!("part.{name}")).to_owned(),
            own => own_part(own),
        }
    }

    fn has_several(&self, kind: &DocumentKind, parts: &[PartSpec]) -> bool {
        parts.len() > 1 || self.get(kind).is_some_and(|entry| entry.parts.len() > 1)
    }

    /// Whether photos of several pages may come instead of one file: they become a PDF, which the part must take.
    pub fn takes_photos_as_pages(&self, kind: &DocumentKind, part: &PartSpec) -> bool {
        let several = self.get(kind).is_some_and(|entry| entry.pages == Pages::Several);
        several && part.accepted.contains(&FileType::Pdf)
    }

    /// The known keys, for error messages.
    pub fn names(&self) -> String {
        self.entries.keys().map(DocumentKind::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// `page-1` as people read it: `Page 1`.
fn own_part(name: &str) -> String {
    let mut own = name.replace('-', " ");
    if let Some(first) = own.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    own
}
