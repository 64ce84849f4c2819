//! The settings of `[company]`: who asks, as applicants read it.

use std::collections::BTreeMap;

use super::brand::{self, Brand};
use crate::settings::Reader;
use crate::words;

/// Labels by language, for tests and pages.
pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub struct Company {
    pub name: String,
    /// Whom an applicant may ask: an e-mail address, telephone number or web address.
    pub support: Option<String>,
    /// Why documents are asked for, in the company's words, by language.
    pub purpose: Labels,
    /// Imprint, privacy notice and the like, by language; web addresses become links.
    pub legal: Labels,
    pub brand: Brand,
}

impl Company {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            name: reader.text_with("name", "Document drop", "the company's name"),
            support: reader.text("support", "an e-mail address, a telephone number or a web address"),
            purpose: read_texts(reader, "purpose", "why documents are asked for, once or by language"),
            legal: read_texts(reader, "legal", "imprint, privacy notice and the like, once or by language"),
            brand: read_brand(reader),
        }
    }
}

/// A text, or texts by languages that the pages speak.
fn read_texts(reader: &mut Reader<'_>, key: &str, doc: &str) -> Labels {
    let texts = reader.by_language(key, doc);
    if let Some(tag) = texts.keys().find(|tag| words::of(tag).is_none_or(|w| w.tag != tag.as_str())) {
        let known: Vec<&str> = words::LANGUAGES.iter().map(|w| w.tag).collect();
        reader.error(key, format!("has the language \"{tag}\"; the pages speak {}", known.join(", ")));
    }
    texts
}

fn read_brand(reader: &mut Reader<'_>) -> Brand {
    let colour = reader.text("colour", "a colour such as \"#0b5cad\"");
    let rules = colour.map_or_else(String::new, |colour| {
        brand::rules(&colour).unwrap_or_else(|why| {
            reader.error("colour", why);
            String::new()
        })
    });
    let logo = reader.path("logo", "the path of an SVG without scripts, or of a PNG");
    let logo = logo.and_then(|path| brand::logo(&path).map_err(|why| reader.error("logo", why)).ok());
    Brand { rules, logo }
}
