//! Texts with holes: `/applicants/{applicant}/documents/{part}`. A hole that does not exist is a fault at start, never a brace in a request.

use super::HttpSettings;
use crate::connectors::OutboundDocument;
use crate::connectors::shape::percent;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hole {
    Applicant,
    /// The document's id here; unique per submission.
    Document,
    /// The provider's word for the part, as `part_names` has it.
    Part,
    /// The provider's word for the document kind, as `kinds` has it.
    Kind,
    /// The part's MIME type.
    Type,
    FileName,
    /// A reference that the provider gave.
    Reference,
}

const NAMES: [(&str, Hole); 7] = [
    ("applicant", Hole::Applicant),
    ("document", Hole::Document),
    ("part", Hole::Part),
    ("kind", Hole::Kind),
    ("type", Hole::Type),
    ("file_name", Hole::FileName),
    ("reference", Hole::Reference),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole(Hole),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// What fills the holes. Without a document, `reference` stands for the applicant too.
pub struct Values<'a> {
    pub outbound: Option<&'a OutboundDocument>,
    pub part: Option<usize>,
    pub settings: &'a HttpSettings,
    pub reference: &'a str,
}

impl Template {
    /// `Err` says which holes there are.
    pub fn parse(text: &str, allowed: &[Hole]) -> Result<Self, String> {
        let names: Vec<_> = NAMES.iter().filter(|(_, hole)| allowed.contains(hole)).collect();
        let wanted = || {
            format!(
                "a text with no other braces than {}",
                names.iter().map(|(n, _)| format!("{{{n}}}")).collect::<Vec<_>>().join(" ")
            )
        };
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(wanted)?;
            let (_, hole) = names.iter().find(|(known, _)| *known == name).ok_or_else(wanted)?;
            if before.contains('}') {
                return Err(wanted());
            }
            pieces.extend([Piece::Text(before.to_owned()), Piece::Hole(*hole)]);
            rest = after;
        }
        if rest.contains('}') {
            return Err(wanted());
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    pub fn has(&self, hole: Hole) -> bool {
        self.0.contains(&Piece::Hole(hole))
    }

    /// Every filled-in value percent-encoded.
    pub fn in_path(&self, values: &Values<'_>) -> String {
        self.fill(values, percent)
    }

    pub fn as_text(&self, values: &Values<'_>) -> String {
        self.fill(values, str::to_owned)
    }

    fn fill(&self, values: &Values<'_>, write: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Hole(hole) => write(&values.value(*hole)),
        };
        self.0.iter().map(piece).collect()
    }
}

impl Values<'_> {
    fn value(&self, hole: Hole) -> String {
        let theirs = |known: &[(String, String)], ours: &str| {
            known
                .iter()
                .find(|(name, _)| name == ours)
                .map_or_else(|| ours.to_owned(), |(_, theirs)| theirs.clone())
        };
        let part = || {
            self.outbound
                .zip(self.part)
                .and_then(|(outbound, n)| Some((outbound, n, outbound.parts.get(n)?)))
        };
        match hole {
            Hole::Applicant => self.outbound.map_or(self.reference, |p| p.applicant.expose()).to_owned(),
            Hole::Document => self.outbound.map(|p| p.document.to_string()).unwrap_or_default(),
            Hole::Kind => self
                .outbound
                .map(|p| theirs(&self.settings.kinds, p.kind.as_str()))
                .unwrap_or_default(),
            Hole::Part => part()
                .map(|(_, _, p)| theirs(&self.settings.part_names, p.name.as_str()))
                .unwrap_or_default(),
            Hole::Type => part().map(|(_, _, p)| p.file_type.mime().to_owned()).unwrap_or_default(),
            Hole::FileName => part().map(|(outbound, n, _)| outbound.file_name(n)).unwrap_or_default(),
            Hole::Reference => self.reference.to_owned(),
        }
    }
}
