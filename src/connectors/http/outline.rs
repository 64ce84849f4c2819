//! The requests of a delivery as the table makes them, for people who look whether it says what they meant: with the names of the holes instead of what
//! fills them, and without any secret.

use reqwest::Url;

use super::HttpSettings;
use super::settings::{Auth, Fields, Pairs, Shape, SignedText, Target};
use super::template::{Hole, Template};

impl HttpSettings {
    /// One line for each request, in their order.
    pub(crate) fn outline(&self) -> Vec<String> {
        let upload = &self.upload;
        let each = |per_part: bool| if per_part { ", for each part" } else { "" };
        let mut lines = Vec::new();
        let mut parts = vec![self.signed_in(upload.idempotency_header.as_deref())];
        let file = upload.file_field.shown();
        parts.push(match upload.shape {
            Shape::Raw => "the bytes as they are".to_owned(),
            Shape::Multipart => format!(
                "multipart with {}",
                fields(&upload.fields, Some(&format!("{file} = <file {{file_name}}>")))
            ),
            Shape::Base64 => format!("JSON with {}", fields(&upload.fields, Some(&format!("{file} = <base64>")))),
            Shape::DataUri => format!("JSON with {}", fields(&upload.fields, Some(&format!("{file} = <data URI>")))),
            Shape::Presigned => format!("JSON with {}", fields(&upload.fields, None)),
        });
        parts.push(believed(&upload.answer.names));
        lines.push(format!(
            "{} {}{}: {}",
            upload.method,
            self.shown(&upload.to),
            each(upload.per_part),
            joined(parts)
        ));
        if let Some(address) = &upload.address {
            let credentials = if address.credentials {
                self.signed_in(None)
            } else {
                "no credentials".to_owned()
            };
            let parts = vec![credentials, "the bytes as they are".to_owned(), believed(&address.names)];
            lines.push(format!(
                "{} <the answer's {}>, for each part: {}",
                address.method,
                address.pointer,
                joined(parts)
            ));
        }
        if let Some(lookup) = &self.lookup {
            lines.push(format!(
                "GET {} after each upload: {}",
                self.shown(&lookup.at),
                joined(vec![self.signed_in(None), believed(&lookup.names)])
            ));
        }
        if let Some(list) = &self.list {
            lines.push(self.question(&list.at, &list.names));
        }
        if let Some(second) = &self.second {
            let parts = vec![
                self.signed_in(second.idempotency_header.as_deref()),
                format!("JSON with {}", fields(&second.fields, None)),
                believed(&second.answer.names),
            ];
            lines.push(format!(
                "{} {}{}: {}",
                second.method,
                self.shown(&second.to),
                each(second.per_part),
                joined(parts)
            ));
            if let Some(list) = &second.list {
                lines.push(self.question(&list.at, &list.names));
            }
        }
        if let Some(at) = self.verdict.as_ref().and_then(|verdict| verdict.at.as_ref()) {
            lines.push(format!("GET {} for the verdict: {}", self.shown(at), self.signed_in(None)));
        }
        lines
    }

    /// Whether a path or a body takes the applicant's reference to pieces.
    pub(crate) fn takes_pieces(&self) -> bool {
        const PIECES: [Hole; 2] = [Hole::ApplicantFirst, Hole::ApplicantSecond];
        let upload = &self.upload;
        let of_pairs = |pairs: &[(Template, Template)]| pairs.iter().any(|(_, text)| text.has_any(&PIECES));
        let of = |target: &Target| target.path.has_any(&PIECES);
        let second = self.second.as_ref();
        of(&upload.to)
            || of_pairs(&upload.fields.0)
            || of_pairs(&upload.answer.names.0)
            || self
                .lookup
                .as_ref()
                .is_some_and(|lookup| of(&lookup.at) || of_pairs(&lookup.names.0))
            || self.list.as_ref().is_some_and(|list| of(&list.at))
            || second.is_some_and(|second| of(&second.to) || of_pairs(&second.fields.0) || of_pairs(&second.answer.names.0))
    }

    fn question(&self, at: &Target, names: &Pairs) -> String {
        let parts = vec![self.signed_in(None), believed(names)];
        format!("GET {} when an outcome is unknown: {}", self.shown(at), joined(parts))
    }

    fn shown(&self, target: &Target) -> String {
        let base = target.base.as_ref().map_or(self.common.endpoint.base_url.as_str(), Url::as_str);
        format!("{}{}", base.trim_end_matches('/'), target.path.shown())
    }

    /// The headers, with placeholders for what is secret or may be.
    fn signed_in(&self, key_header: Option<&str>) -> String {
        let mut headers: Vec<String> = match &self.auth {
            Auth::None => Vec::new(),
            Auth::Bearer(_) => vec!["authorization: Bearer <api_key_file>".to_owned()],
            Auth::Basic { user, .. } => vec![format!("authorization: Basic <{user}:api_key_file>")],
            Auth::Header { name, .. } => vec![format!("{name}: <api_key_file>")],
            Auth::OAuth(_) => vec!["authorization: Bearer <access token>".to_owned()],
        };
        headers.extend(self.headers.iter().map(|(name, _)| format!("{name}: <headers>")));
        headers.extend(key_header.map(|name| format!("{name}: {{key}}")));
        if let Some(signing) = &self.signing {
            if signing.signs != SignedText::Body {
                headers.push(format!("{}: <time>", signing.timestamp_header));
            }
            headers.push(format!("{}: <signature>", signing.header));
        }
        if headers.is_empty() {
            "no credentials".to_owned()
        } else {
            headers.join(", ")
        }
    }
}

fn fields(fields: &Fields, more: Option<&str>) -> String {
    let all = fields.0.iter().map(|(name, text)| format!("{} = {}", name.shown(), text.shown()));
    let all: Vec<String> = all.chain(more.map(str::to_owned)).collect();
    if all.is_empty() { "no fields".to_owned() } else { all.join(", ") }
}

fn believed(names: &Pairs) -> String {
    let all = names
        .0
        .iter()
        .map(|(pointer, expected)| format!("{} = {}", pointer.shown(), expected.shown()));
    let all: Vec<String> = all.collect();
    if all.is_empty() {
        return String::new();
    }
    format!("believed with {}", all.join(", "))
}

fn joined(parts: Vec<String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}
