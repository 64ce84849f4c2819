//! What connectors have in common about words: a document kind in the provider's vocabulary, an applicant with a country, and refusals before a byte is sent.

use super::{Failure, Missing, OutboundDocument, Unsupported, WrongReference};
use crate::domain::delivery::DeliveryProblem;
use crate::domain::document::{ApplicantRef, DocumentKind, PartName};
use crate::settings::Reader;

/// Document kinds in the provider's words: as configured, else as built in. One kind has one word; a word may stand for several kinds.
#[derive(Clone, Debug)]
pub(crate) struct Kinds(Vec<(DocumentKind, String)>);

impl Kinds {
    /// Reads the table under `key`, such as `types = { licence = "DRIVERS" }`.
    pub(crate) fn read(reader: &mut Reader<'_>, key: &str, known: &[(&str, &str)]) -> Self {
        const WANTED: &str = "a table from document kinds to the provider's words";
        let configured = reader.pairs(key, WANTED);
        let own: Vec<String> = configured.iter().map(|(kind, _)| kind.clone()).collect();
        let rest = known.iter().filter(|(kind, _)| !own.iter().any(|o| o == kind));
        let rest = rest.map(|(kind, word)| ((*kind).to_owned(), (*word).to_owned()));
        let mut kinds = Vec::new();
        for (kind, word) in configured.into_iter().chain(rest) {
            match DocumentKind::parse(&kind).filter(|_| is_word(&word)) {
                Some(kind) => kinds.push((kind, word)),
                None => reader.must_be(key, WANTED),
            }
        }
        Self(kinds)
    }

    pub(crate) fn of(&self, kind: &DocumentKind) -> Option<&str> {
        self.0.iter().find(|(ours, _)| ours == kind).map(|(_, word)| word.as_str())
    }

    /// The first kind with this word.
    pub(crate) fn ours(&self, word: &str) -> Option<&DocumentKind> {
        self.0.iter().find(|(_, theirs)| theirs == word).map(|(kind, _)| kind)
    }

    /// Every word that is in use.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, word)| word.as_str())
    }

    pub(crate) fn describe(&self) -> String {
        let kinds: Vec<&str> = self.0.iter().map(|(kind, _)| kind.as_str()).collect();
        format!("This provider takes these documents: {}.", kinds.join(", "))
    }

    /// The word for a kind that is about to be asked for.
    pub(crate) fn accepted(&self, kind: &DocumentKind) -> Result<&str, Unsupported> {
        self.of(kind).ok_or_else(|| Unsupported(self.describe()))
    }

    /// The word for a document's kind; without one nothing is sent.
    pub(crate) fn required(&self, outbound: &OutboundDocument) -> Result<&str, Failure> {
        self.of(&outbound.kind).ok_or_else(|| unsupported(&self.describe()))
    }
}

/// A provider's word for machines: nothing in it needs to be escaped anywhere.
pub(crate) fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// A provider's id for a thing, safe in a path and in a note.
pub(crate) fn plain_id(text: &str) -> Option<String> {
    ((1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))).then(|| text.to_owned())
}

/// The id at the end of an address such as `https://api.example.com/documents/17`.
pub(crate) fn id_of_address(address: &str) -> Option<String> {
    plain_id(address.split(['?', '#']).next()?.trim_end_matches('/').rsplit('/').next()?)
}

/// Only front, or front and back; each once.
pub(crate) fn sides(parts: &[PartName]) -> Result<(), Unsupported> {
    let names: Vec<&str> = parts.iter().map(PartName::as_str).collect();
    match names[..] {
        ["front"] | ["front", "back"] => Ok(()),
        _ => Err(Unsupported(
            "This provider takes the part front, or the parts front and back, of this document.".to_owned(),
        )),
    }
}

pub(crate) fn both_sides(parts: &[PartName]) -> Result<(), Unsupported> {
    let names: Vec<&str> = parts.iter().map(PartName::as_str).collect();
    if names == ["front", "back"] {
        return Ok(());
    }
    Err(Unsupported(
        "This provider takes this document only with both sides: the parts front and back.".to_owned(),
    ))
}

pub(crate) fn part_names(outbound: &OutboundDocument) -> Vec<PartName> {
    outbound.parts.iter().map(|part| part.name.clone()).collect()
}

/// Names of parts as they stand in the catalogue.
pub(crate) fn named(parts: &[&str]) -> Vec<PartName> {
    parts.iter().filter_map(|part| PartName::parse(part)).collect()
}

/// An entry of a missing list about the applicant who was asked about.
pub(crate) fn missing(document: Option<&DocumentKind>, parts: &[&str], provider_name: &str, reason: Option<String>) -> Missing {
    Missing {
        document: document.cloned(),
        parts: named(parts),
        provider_name: provider_name.chars().filter(|c| !c.is_control()).take(64).collect(),
        reason,
        applicant: None,
    }
}

pub(crate) fn unsupported(text: &str) -> Failure {
    Failure::Final {
        problem: DeliveryProblem::new("provider.unsupported", text),
    }
}

pub(crate) fn wrong_reference(wanted: &str) -> Failure {
    Failure::Final {
        problem: DeliveryProblem::new(
            "provider.applicant_reference",
            format!(
                "The applicant's reference is not one of this provider: {wanted}. Purge this request and ask again with the right one."
            ),
        ),
    }
}

impl From<WrongReference> for Failure {
    fn from(wrong: WrongReference) -> Self {
        wrong_reference(wrong.0)
    }
}

impl From<Unsupported> for Failure {
    fn from(unsupported: Unsupported) -> Self {
        self::unsupported(&unsupported.0)
    }
}

/// Issuing countries, ISO 3166-1 alpha-3: one for everybody, and those that a reference may name instead, as `<id>,CAN`.
#[derive(Clone, Debug)]
pub(crate) struct Countries {
    pub default: Option<String>,
    others: Vec<String>,
}

impl Countries {
    /// Keys: `country`, `countries`.
    pub(crate) fn read(reader: &mut Reader<'_>, required: bool) -> Self {
        const ONE: &str = "a country in three capital letters (ISO 3166-1 alpha-3), such as \"USA\"";
        let default = if required {
            Some(reader.required("country", ONE))
        } else {
            reader.text("country", ONE)
        };
        let others = reader
            .texts("countries", "a list of countries in three capital letters")
            .unwrap_or_default();
        if default.as_ref().is_some_and(|c| !c.is_empty() && !is_country(c)) {
            reader.must_be("country", ONE);
        }
        if others.iter().any(|c| !is_country(c)) {
            reader.must_be("countries", "a list of countries in three capital letters");
        }
        Self { default, others }
    }

    /// The provider's id for the applicant, and the country. A country that nobody configured makes the reference wrong.
    pub(crate) fn split<'a>(&'a self, applicant: &'a ApplicantRef) -> Result<(&'a str, Option<&'a str>), WrongReference> {
        let Some((id, country)) = applicant.expose().split_once(',') else {
            return Ok((applicant.expose(), self.default.as_deref()));
        };
        let known = self.others.iter().chain(&self.default).any(|c| c == country);
        if id.is_empty() || !known {
            return Err(WrongReference(
                "the applicant's id, or the id, a comma and one of the configured countries",
            ));
        }
        Ok((id, Some(country)))
    }

    /// Every reference under which this applicant can have been asked for.
    pub(crate) fn references(&self, id: &str) -> Vec<ApplicantRef> {
        let with_country = self.others.iter().chain(&self.default).map(|c| format!("{id},{c}"));
        let mut all: Vec<String> = std::iter::once(id.to_owned()).chain(with_country).collect();
        all.dedup();
        all.iter().filter_map(|reference| ApplicantRef::parse(reference)).collect()
    }
}

fn is_country(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::connectors::fake::{kind, names, no_secrets};
    use proptest::prelude::*;

    fn read<T>(lines: &str, read: impl FnOnce(&mut Reader<'_>) -> T) -> Result<T, usize> {
        let table: toml::Table = lines.parse().unwrap();
        let mut reader = Reader::new(&table, no_secrets());
        let value = read(&mut reader);
        reader.finish(value).map_err(|faults| faults.len())
    }

    #[test]
    fn configured_words_come_before_built_in_ones() {
        let known = [("passport", "PASSPORT"), ("selfie", "SELFIE")];
        let kinds = read("types={selfie='FACE',licence='DRIVERS'}", |r| Kinds::read(r, "types", &known)).unwrap();
        let words: Vec<_> = ["passport", "selfie", "licence", "other"].map(|k| kinds.of(&kind(k))).to_vec();
        assert_eq!(words, [Some("PASSPORT"), Some("FACE"), Some("DRIVERS"), None]);
        assert_eq!(kinds.ours("FACE"), Some(&kind("selfie")));
        assert!(kinds.accepted(&kind("other")).unwrap_err().0.contains("passport"));
        for bad in ["types={'Bad Kind'='x'}", "types={passport='a b'}", "types={passport='a\"b'}"] {
            assert!(read(bad, |r| Kinds::read(r, "types", &known)).is_err(), "{bad}");
        }
    }

    #[test]
    fn sides_are_front_or_front_and_back() {
        assert!(sides(&names(&["front"])).is_ok() && sides(&names(&["front", "back"])).is_ok());
        assert!(both_sides(&names(&["front", "back"])).is_ok());
        for bad in [&[][..], &["back"], &["back", "front"], &["front", "page-2"], &["front", "front"]] {
            assert!(sides(&names(bad)).is_err() && both_sides(&names(bad)).is_err(), "{bad:?}");
        }
        assert!(both_sides(&names(&["front"])).is_err());
    }

    #[test]
    fn a_reference_may_name_a_configured_country_only() {
        let countries = read("country='USA'\ncountries=['CAN']", |r| Countries::read(r, true)).unwrap();
        let split = |text: &str| {
            let reference = ApplicantRef::parse(text).unwrap();
            countries
                .split(&reference)
                .map(|(id, country)| format!("{id} {}", country.unwrap_or("-")))
                .ok()
        };
        assert_eq!(split("a1").as_deref(), Some("a1 USA"));
        assert_eq!(split("a1,CAN").as_deref(), Some("a1 CAN"));
        assert_eq!(split("a1,USA").as_deref(), Some("a1 USA"));
        assert!(split("a1,DEU").is_none() && split(",CAN").is_none() && split("a1,CAN,CAN").is_none());
        let all: Vec<_> = countries.references("a1").iter().map(|r| r.expose().to_owned()).collect();
        assert_eq!(all, ["a1", "a1,CAN", "a1,USA"]);
        assert!(read("country='us'", |r| Countries::read(r, true)).is_err() && read("", |r| Countries::read(r, true)).is_err());
        assert!(read("countries=['usa']", |r| Countries::read(r, false)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_for_an_id_cannot_leave_its_place(text in ".{0,40}") {
            if let Some(id) = id_of_address(&text).or_else(|| plain_id(&text)) {
                prop_assert_eq!(crate::connectors::shape::percent(&id), id);
            }
        }
    }
}
