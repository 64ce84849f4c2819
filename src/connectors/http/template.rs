//! Texts with holes: `/applicants/{applicant}/documents/{part}`. A hole that does not exist is a fault at start, never a brace in a request.

use super::HttpSettings;
use crate::connectors::OutboundDocument;
use crate::connectors::shape::percent;
use crate::domain::document::ApplicantRef;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hole {
    Applicant,
    /// What stands before and behind the comma, where an applicant's reference has two pieces.
    ApplicantFirst,
    ApplicantSecond,
    /// The document's id here; unique per submission.
    Document,
    /// The provider's word for the part, as `part_names` has it.
    Part,
    /// The part's place in its request, from 0.
    Number,
    /// The provider's word for the document kind, as `kinds` has it.
    Kind,
    /// The part's MIME type.
    Type,
    FileName,
    /// The part's bytes, counted.
    Size,
    /// The idempotency key of the request.
    Key,
    /// A reference that the provider gave.
    Reference,
    /// All of them.
    References,
}

const NAMES: [(&str, Hole); 13] = [
    ("applicant", Hole::Applicant),
    ("applicant_1", Hole::ApplicantFirst),
    ("applicant_2", Hole::ApplicantSecond),
    ("document", Hole::Document),
    ("part", Hole::Part),
    ("n", Hole::Number),
    ("kind", Hole::Kind),
    ("type", Hole::Type),
    ("file_name", Hole::FileName),
    ("size", Hole::Size),
    ("key", Hole::Key),
    ("reference", Hole::Reference),
    ("references", Hole::References),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole(Hole),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

/// What fills the holes.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub settings: &'a HttpSettings,
    pub applicant: &'a ApplicantRef,
    /// `None` where a question is about the applicant alone.
    pub outbound: Option<&'a OutboundDocument>,
    pub part: Option<usize>,
    /// The part's place among those of one request.
    pub number: usize,
    /// Which of the attempt's requests this is about.
    pub call: u8,
    pub reference: &'a str,
    pub references: &'a [String],
}

impl<'a> Values<'a> {
    pub(crate) fn of(settings: &'a HttpSettings, outbound: &'a OutboundDocument) -> Self {
        Self {
            outbound: Some(outbound),
            ..Self::about(settings, &outbound.applicant)
        }
    }

    pub(crate) fn about(settings: &'a HttpSettings, applicant: &'a ApplicantRef) -> Self {
        Self {
            settings,
            applicant,
            outbound: None,
            part: None,
            number: 0,
            call: 0,
            reference: "",
            references: &[],
        }
    }

    pub(crate) fn part(self, part: usize) -> Self {
        Self { part: Some(part), ..self }
    }

    pub(crate) fn call(self, call: u8) -> Self {
        Self { call, ..self }
    }

    pub(crate) fn reference(self, reference: &'a str) -> Self {
        Self { reference, ..self }
    }
}

impl Template {
    /// `Err` says which holes there are.
    pub(crate) fn parse(text: &str, allowed: &[Hole]) -> Result<Self, String> {
        let names: Vec<_> = NAMES.iter().filter(|(_, hole)| allowed.contains(hole)).collect();
        let wanted = || {
            format!(
                "a text with no other braces than {} (a brace itself is written twice)",
                names.iter().map(|(n, _)| format!("{{{n}}}")).collect::<Vec<_>>().join(" ")
            )
        };
        let (mut pieces, mut before, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            before.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            rest = match after.strip_prefix(brace) {
                // A doubled brace is a brace, for texts that are JSON themselves.
                Some(after) => {
                    before.push_str(brace);
                    after
                }
                None if brace == "{" => {
                    let (name, after) = after.split_once('}').ok_or_else(wanted)?;
                    let (_, hole) = names.iter().find(|(known, _)| *known == name).ok_or_else(wanted)?;
                    pieces.extend([Piece::Text(std::mem::take(&mut before)), Piece::Hole(*hole)]);
                    after
                }
                None => return Err(wanted()),
            };
        }
        pieces.push(Piece::Text(before + rest));
        Ok(Self(
            pieces.into_iter().filter(|piece| *piece != Piece::Text(String::new())).collect(),
        ))
    }

    /// What stands in for a text that has a fault.
    pub(crate) fn empty() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn has(&self, hole: Hole) -> bool {
        self.0.contains(&Piece::Hole(hole))
    }

    pub(crate) fn has_any(&self, holes: &[Hole]) -> bool {
        holes.iter().any(|hole| self.has(*hole))
    }

    /// Whether there is nothing but this hole.
    pub(crate) fn is_only(&self, hole: Hole) -> bool {
        self.0 == [Piece::Hole(hole)]
    }

    /// Whether the text is another one for each part of a request.
    pub(crate) fn repeats(&self) -> bool {
        self.has_any(&[Hole::Part, Hole::Number])
    }

    /// Every filled-in value percent-encoded.
    pub(crate) fn in_path(&self, values: &Values<'_>) -> String {
        self.fill(values, percent)
    }

    pub(crate) fn as_text(&self, values: &Values<'_>) -> String {
        self.fill(values, str::to_owned)
    }

    /// As it was written, for people.
    pub(crate) fn shown(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.replace('{', "{{").replace('}', "}}"),
            Piece::Hole(hole) => format!("{{{}}}", NAMES.iter().find(|(_, known)| known == hole).map_or("", |(name, _)| name)),
        };
        self.0.iter().map(piece).collect()
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
        let whole = self.applicant.expose();
        match hole {
            Hole::Applicant => whole.to_owned(),
            Hole::ApplicantFirst => whole.split(',').next().unwrap_or_default().to_owned(),
            Hole::ApplicantSecond => whole.split_once(',').map(|(_, second)| second.to_owned()).unwrap_or_default(),
            Hole::Document => self.outbound.map(|p| p.document.to_string()).unwrap_or_default(),
            Hole::Kind => self
                .outbound
                .map(|p| theirs(&self.settings.kinds, p.kind.as_str()))
                .unwrap_or_default(),
            Hole::Part => part()
                .map(|(_, _, p)| theirs(&self.settings.part_names, p.name.as_str()))
                .unwrap_or_default(),
            Hole::Number => self.number.to_string(),
            Hole::Type => part().map(|(_, _, p)| p.file_type.mime().to_owned()).unwrap_or_default(),
            Hole::FileName => part().map(|(outbound, n, _)| outbound.file_name(n)).unwrap_or_default(),
            Hole::Size => part().map(|(_, _, p)| p.size.to_string()).unwrap_or_default(),
            Hole::Key => self.outbound.map(|p| p.keys.idempotency(self.call)).unwrap_or_default(),
            Hole::Reference => self.reference.to_owned(),
            Hole::References => self.references.join(","),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn holes_and_braces_are_told_apart() {
        let parse = |text: &str| Template::parse(text, &[Hole::Part, Hole::Kind]);
        for (text, pieces) in [
            ("", 0),
            ("a", 1),
            ("{part}", 1),
            ("a{part}b{kind}", 4),
            ("{{\"side\":\"{part}\"}}", 3),
            ("{{part}}", 1),
        ] {
            let template = parse(text).unwrap();
            assert_eq!((template.0.len(), template.shown().as_str()), (pieces, text));
        }
        assert_eq!(parse("{{part}}").unwrap().0, [Piece::Text("{part}".to_owned())]);
        for bad in ["{", "}", "{part", "part}", "{size}", "{part}}", "{{part}", "{ part}", "{}"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("{part}").unwrap().is_only(Hole::Part) && !parse("{part}s").unwrap().is_only(Hole::Part));
    }
}
