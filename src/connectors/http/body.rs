//! The body of a request, as the table says.

use super::Http;
use super::settings::{Fields, Shape};
use super::template::{Hole, Values};
use crate::connectors::body::{Body, Segment};
use crate::connectors::shape::{Json, Multipart};
use crate::connectors::{Failure, OutboundDocument};
use crate::domain::delivery::DeliveryProblem;

/// Two names of a body want to stand in the same place.
#[derive(Debug, PartialEq, Eq)]
pub struct Clash;

/// Tried when the table is read; what is left are parts whose names are numbers.
impl From<Clash> for Failure {
    fn from(_: Clash) -> Self {
        Self::Credentials {
            problem: DeliveryProblem::new(
                "provider.settings",
                "The names of the request's fields stand in each other's way for these parts. Mend the provider's configuration.",
            ),
        }
    }
}

/// Puts a value at `name`: a field of the object, or for a JSON pointer a place inside. A number in a pointer is a place in a list: the next one, or one that
/// is there already.
pub(super) fn plant(tree: &mut Option<Json>, name: &str, value: Json) -> Result<(), Clash> {
    let step = |step: &str| match step.parse::<usize>() {
        Ok(place) if place.to_string() == step => Step::Place(place),
        _ => Step::Name(step.replace("~1", "/").replace("~0", "~")),
    };
    match name.strip_prefix('/') {
        Some(path) => plant_at(tree, &path.split('/').map(step).collect::<Vec<_>>(), value),
        None => plant_at(tree, &[Step::Name(name.to_owned())], value),
    }
}

enum Step {
    Name(String),
    Place(usize),
}

fn plant_at(tree: &mut Option<Json>, path: &[Step], value: Json) -> Result<(), Clash> {
    let Some((head, rest)) = path.split_first() else {
        return match tree.replace(value) {
            None => Ok(()),
            Some(_) => Err(Clash),
        };
    };
    let start = || match head {
        Step::Name(_) => Json::Object(Vec::new()),
        Step::Place(_) => Json::Array(Vec::new()),
    };
    match (tree.get_or_insert_with(start), head) {
        (Json::Array(items), Step::Place(place)) => {
            let mut child = items.get(*place).cloned();
            plant_at(&mut child, rest, value)?;
            let child = child.ok_or(Clash)?;
            if *place > items.len() {
                return Err(Clash);
            }
            // In the place of what was there, or behind the last one.
            items.splice(*place..(*place + 1).min(items.len()), [child]);
        }
        (Json::Object(fields), Step::Name(name)) => {
            let at = fields.iter().position(|(known, _)| known == name);
            let mut child = at.map(|at| fields[at].1.clone());
            plant_at(&mut child, rest, value)?;
            let child = child.ok_or(Clash)?;
            match at {
                Some(at) => fields[at].1 = child,
                None => fields.push((name.clone(), child)),
            }
        }
        _ => return Err(Clash),
    }
    Ok(())
}

/// Each field with what stands in it: once, or for each part where its name says so.
pub(super) fn written(fields: &Fields, values: &[Values<'_>]) -> Vec<(String, Json)> {
    let mut all = Vec::new();
    for (name, text) in &fields.0 {
        let each = if name.repeats() { values } else { &values[..1.min(values.len())] };
        for values in each {
            let value = if text.is_only(Hole::References) {
                Json::Array(values.references.iter().map(Json::text).collect())
            } else {
                Json::text(text.as_text(values))
            };
            all.push((name.as_text(values), value));
        }
    }
    all
}

/// An object or list of these fields; `None` without any.
pub(super) fn tree(fields: Vec<(String, Json)>) -> Result<Option<Json>, Clash> {
    let mut tree = None;
    for (name, value) in fields {
        plant(&mut tree, &name, value)?;
    }
    Ok(tree)
}

impl Http {
    pub(super) fn body(&self, outbound: &OutboundDocument, parts: &[usize], call: u8) -> Result<Body, Failure> {
        let upload = &self.settings.upload;
        let values = self.of_parts(outbound, parts, call);
        Ok(match upload.shape {
            Shape::Raw => Body::new(outbound.parts[parts[0]].file_type.mime(), vec![Segment::Part(parts[0])], outbound),
            Shape::Multipart => {
                let mut form = Multipart::new(outbound.keys.boundary(call));
                for (name, text) in &upload.fields.0 {
                    let each = if name.repeats() { &values[..] } else { &values[..1] };
                    for values in each {
                        form = form.text(&name.as_text(values), &text.as_text(values));
                    }
                }
                for (part, values) in parts.iter().zip(&values) {
                    form = form.file(&upload.file_field.as_text(values), outbound, *part);
                }
                form.finish(outbound)
            }
            Shape::Base64 | Shape::DataUri | Shape::Presigned => {
                let mut fields = written(&upload.fields, &values);
                if upload.shape != Shape::Presigned {
                    let bytes = |part: usize| match upload.shape {
                        Shape::DataUri => Json::DataUri(part),
                        _ => Json::Base64(part),
                    };
                    fields.extend(
                        parts
                            .iter()
                            .zip(&values)
                            .map(|(part, v)| (upload.file_field.as_text(v), bytes(*part))),
                    );
                }
                tree(fields)?.unwrap_or_else(|| Json::Object(Vec::new())).body(outbound)
            }
        })
    }

    /// The holes' values for each of these parts, which one request carries.
    pub(super) fn of_parts<'a>(&'a self, outbound: &'a OutboundDocument, parts: &[usize], call: u8) -> Vec<Values<'a>> {
        let of = |(number, part): (usize, &usize)| Values {
            number,
            ..Values::of(&self.settings, outbound).part(*part).call(call)
        };
        parts.iter().enumerate().map(of).collect()
    }
}
