//! The settings of `[documents.NAME]`: kinds that the company adds, and what it changes of the built-in ones.

use std::collections::BTreeMap;

use super::{ACCEPTED, Camera, Catalogue, CatalogueEntry, Example, Pages, Strip};
use crate::domain::document::{DocumentKind, FileType, PartName};
use crate::settings::Reader;
use crate::words;

const PARTS: &str = "names of 1–32 characters of a-z, 0-9 and -, such as [\"front\", \"back\"]";
const INSTRUCTIONS: &str = "what applicants should mind when they take the photo, once or by language; \"\" for nothing";
const LONGEST_INSTRUCTIONS: usize = 300;
const TYPES: &str = "image/jpeg, image/png, application/pdf, image/heic";

impl Catalogue {
    /// The built-in catalogue with the changes of `[documents]`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let mut catalogue = Self::default();
        for name in reader.names() {
            let kind = DocumentKind::parse(&name);
            if kind.is_none() {
                reader.error(&name, "must have a name of 1–64 characters of a-z, 0-9 and -");
            }
            let known = kind.as_ref().and_then(|kind| catalogue.get(kind)).cloned();
            let entry = reader.section(&name, |reader| match kind {
                Some(kind) => Some(read_entry(reader, kind, known)),
                None => {
                    reader.skip_rest();
                    None
                }
            });
            if let Some(entry) = entry {
                catalogue.insert(entry);
            }
        }
        catalogue
    }
}

fn read_entry(reader: &mut Reader<'_>, kind: DocumentKind, known: Option<CatalogueEntry>) -> CatalogueEntry {
    let labels = reader.by_language("label", "what applicants read, by language");
    let instructions = read_instructions(reader, known.as_ref());
    let parts = match reader.texts("parts", PARTS) {
        Some(names) => parsed(reader, "parts", &names, PartName::parse, PARTS),
        None => known.as_ref().map(|k| k.parts.clone()).unwrap_or_default(),
    };
    if !(1..=2).contains(&parts.len()) || parts.first() == parts.get(1) {
        reader.error("parts", format!("needs one or two {PARTS}, each once"));
    }
    let accepted = match reader.texts("accepted", TYPES) {
        Some(types) => parsed(reader, "accepted", &types, FileType::from_mime, TYPES),
        None => known.as_ref().map_or_else(|| ACCEPTED.to_vec(), |k| k.accepted.clone()),
    };
    if accepted.is_empty() {
        reader.error("accepted", format!("needs at least one of {TYPES}"));
    }
    let strips = [("gps", Strip::Gps), ("all", Strip::All), ("none", Strip::None)];
    let own = known.as_ref().map_or(Strip::Gps, |k| k.strip);
    let default = strips.iter().find(|(_, strip)| *strip == own).map_or("gps", |(word, _)| *word);
    let strip = reader.choice("strip", &strips, default, "what is removed from photos");
    let cameras = [("back", Camera::Back), ("front", Camera::Front)];
    let usual = match known.as_ref().map(|k| k.camera) {
        Some(Camera::Front) => "front",
        Some(Camera::Back) | None => "back",
    };
    let camera = reader.choice("camera", &cameras, usual, "which camera of a phone takes it: \"front\" for faces");
    let example = read_example(reader, known.as_ref(), camera, parts.len());
    let pages = [("one", Pages::One), ("several", Pages::Several)];
    let usual = match known.as_ref().map(|k| k.pages) {
        Some(Pages::Several) => "several",
        Some(Pages::One) | None => "one",
    };
    let pages = reader.choice(
        "pages",
        &pages,
        usual,
        "how many pages it has: photos of \"several\" become one PDF",
    );
    // A label of the company's own may mean another document: the built-in ones of other languages must not stand beside it.
    let all_labels = match labels.is_empty() {
        true => known.map(|k| k.labels).unwrap_or_default(),
        false => labels,
    };
    if !all_labels.contains_key("en") {
        reader.error("label", "needs at least an English label, such as { en = \"Government ID\" }");
    }
    CatalogueEntry {
        kind,
        labels: all_labels,
        instructions,
        parts,
        accepted,
        strip,
        camera,
        example,
        pages,
    }
}

/// Of a kind that the company adds it is guessed: a face where the front camera takes it, a card where it has two sides, else a page.
fn read_example(reader: &mut Reader<'_>, known: Option<&CatalogueEntry>, camera: Camera, parts: usize) -> Example {
    let examples = [
        ("card", Example::Card),
        ("passport", Example::Passport),
        ("page", Example::Page),
        ("face", Example::Face),
        ("none", Example::None),
    ];
    let usual = match known {
        Some(known) => known.example,
        None if camera == Camera::Front => Example::Face,
        None if parts > 1 => Example::Card,
        None => Example::Page,
    };
    let default = examples
        .iter()
        .find(|(_, example)| *example == usual)
        .map_or("page", |(word, _)| *word);
    reader.choice(
        "example",
        &examples,
        default,
        "what the drawings of a good and a bad photo show on the applicant's page",
    )
}

/// The company's own instructions stand instead of the built-in ones of every language; one empty text leaves none.
fn read_instructions(reader: &mut Reader<'_>, known: Option<&CatalogueEntry>) -> BTreeMap<String, String> {
    let own = reader.by_language("instructions", INSTRUCTIONS);
    if own.is_empty() {
        return known.map(|k| k.instructions.clone()).unwrap_or_default();
    }
    if own.values().all(|text| text.trim().is_empty()) {
        return BTreeMap::new();
    }
    if !own.contains_key("en") {
        reader.error(
            "instructions",
            "needs at least English ones, such as { en = \"Whole page, not older than three months.\" }",
        );
    }
    for (tag, text) in &own {
        if words::of(tag).is_none() {
            let known: Vec<&str> = words::LANGUAGES.iter().map(|w| w.tag).collect();
            reader.error(
                "instructions",
                format!("has the language \"{tag}\"; the pages speak {}", known.join(", ")),
            );
        }
        if text.trim().is_empty() || text.chars().count() > LONGEST_INSTRUCTIONS || text.contains(char::is_control) {
            reader.error(
                "instructions",
                format!("of the language \"{tag}\" must be one line of 1–{LONGEST_INSTRUCTIONS} characters"),
            );
        }
    }
    own
}

/// All entries of a list; one that means nothing is an error, and never just left out.
fn parsed<T>(reader: &mut Reader<'_>, key: &str, entries: &[String], parse: impl Fn(&str) -> Option<T>, takes: &str) -> Vec<T> {
    let mut found = Vec::new();
    for entry in entries {
        match parse(entry) {
            Some(value) => found.push(value),
            None => reader.error(key, format!("has \"{entry}\"; it takes {takes}")),
        }
    }
    found
}
