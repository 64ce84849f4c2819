//! Compares JSON with the schema that the OpenAPI document shows of it. What the document declares is thereby what is enforced, and all faults of a body are
//! found at once, where a deserializer stops at the first.
//!
//! It knows as much of JSON Schema as the document uses: types, `$ref`, `oneOf`, `allOf`, `enum`, `pattern`, lengths, bounds, items, required and unknown members.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex_lite::Regex;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// Says in words what a schema takes, for people who got it wrong; stands beside `pattern` and the like.
pub(crate) const ACCEPTED: &str = "x-accepted";
/// More faults than this are no honest mistake, and every one costs an answer's bytes.
const MOST: usize = 100;
/// A member's name is the sender's text: long ones are cut.
const NAME_MAX: usize = 100;

/// One fault: at which member, and what is accepted there.
pub type FieldFault = (String, String);

/// A schema with what it refers to.
pub struct Shape {
    root: Value,
    named: HashMap<String, Value>,
    /// Members that no schema names are faults, also where the document leaves room for later ones.
    closed: bool,
}

/// What is known of an object's members, with those of `allOf`.
#[derive(Default)]
struct Members<'a> {
    known: HashMap<&'a str, &'a Value>,
    required: Vec<&'a str>,
    closed: bool,
}

impl Shape {
    /// The schema of a type, made once.
    pub(crate) fn of<T: ToSchema + 'static>() -> Arc<Self> {
        static MADE: LazyLock<Mutex<HashMap<TypeId, Arc<Shape>>>> = LazyLock::new(Mutex::default);
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(TypeId::of::<T>())
            .or_insert_with(|| {
                let mut parts = Vec::new();
                T::schemas(&mut parts);
                let value = |schema| serde_json::to_value(schema).unwrap_or_default();
                let named = parts.into_iter().map(|(name, schema)| (name, value(schema))).collect();
                Arc::new(Self {
                    root: value(T::schema()),
                    named,
                    closed: false,
                })
            })
            .clone()
    }

    /// A schema that stands somewhere in a whole document, as an answer must keep to it: what the document does not name must not be there.
    pub fn within(document: &Value, root: &Value) -> Self {
        let all = document["components"]["schemas"].as_object();
        let named = all.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone()));
        Self {
            root: root.clone(),
            named: named.collect(),
            closed: true,
        }
    }

    /// Every fault, each under the member that was sent: the missing ones first, then in the order of the object.
    pub fn faults(&self, value: &Value) -> Vec<FieldFault> {
        let mut found = Vec::new();
        self.value(&self.root, value, "", &mut found);
        found.truncate(MOST);
        found
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
            Some(name) => self.named.get(name).unwrap_or(schema),
            None => schema,
        }
    }

    fn members<'a>(&'a self, schema: &'a Value, members: &mut Members<'a>) {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.members(self.resolved(part), members);
        }
        let known = schema["properties"].as_object().into_iter().flatten();
        members.known.extend(known.map(|(name, schema)| (name.as_str(), schema)));
        members
            .required
            .extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        members.closed |= schema["additionalProperties"] == Value::Bool(false);
    }

    /// `at` is the member that the fault is told under; the first level gives the names.
    fn object(&self, schema: &Value, object: &Map<String, Value>, at: &str, found: &mut Vec<FieldFault>) {
        let mut members = Members::default();
        self.members(schema, &mut members);
        let under = |name: &str| match at {
            "" => name.chars().take(NAME_MAX).collect::<String>(),
            at => at.to_owned(),
        };
        let inner = |name: &str, fix: &str| match at {
            "" => fix.to_owned(),
            _ => format!("{} {fix}", name.chars().take(NAME_MAX).collect::<String>()),
        };
        for name in members.required.iter().filter(|name| !object.contains_key(**name)) {
            found.push((under(name), inner(name, "is needed")));
        }
        let free = members.known.is_empty() || schema["additionalProperties"].is_object();
        for (name, value) in object {
            if found.len() >= MOST {
                return;
            }
            match members.known.get(name.as_str()) {
                Some(schema) => self.value(schema, value, &under(name), found),
                None if members.closed || (self.closed && !free) => found.push((under(name), inner(name, "is not known here"))),
                None => {}
            }
        }
    }

    fn value(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<FieldFault>) {
        let schema = self.resolved(schema);
        if let Some(choices) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
            return self.one_of(schema, choices, value, at, found);
        }
        if !of_type(&schema["type"], value) || !fits(schema, value) {
            found.push((at.to_owned(), format!("must be {}", accepted(schema))));
            return;
        }
        match value {
            Value::Object(object) => self.object(schema, object, at, found),
            Value::Array(items) if !schema["items"].is_null() => {
                let before = found.len();
                for (n, item) in items.iter().enumerate() {
                    self.value(&schema["items"], item, at, found);
                    if let Some((_, fix)) = found.get_mut(before) {
                        *fix = format!("item {} {fix}", n + 1);
                        // One member, one fault.
                        found.truncate(before + 1);
                        return;
                    }
                }
            }
            value => {
                for part in schema["allOf"].as_array().into_iter().flatten() {
                    self.value(part, value, at, found);
                }
            }
        }
    }

    fn one_of(&self, schema: &Value, choices: &[Value], value: &Value, at: &str, found: &mut Vec<FieldFault>) {
        let is_null = |choice: &&Value| choice["type"] == "null";
        if value.is_null() && choices.iter().any(|choice| is_null(&choice)) {
            return;
        }
        let choices: Vec<_> = choices.iter().filter(|choice| !is_null(choice)).collect();
        match choices[..] {
            [only] => self.value(only, value, at, found),
            _ => {
                let fits = choices.iter().any(|choice| {
                    let mut faults = Vec::new();
                    self.value(choice, value, at, &mut faults);
                    faults.is_empty()
                });
                if !fits {
                    found.push((at.to_owned(), format!("must be {}", accepted(schema))));
                }
            }
        }
    }
}

fn of_type(declared: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    match declared {
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}

/// Whether a value of the right type keeps to the rest.
fn fits(schema: &Value, value: &Value) -> bool {
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value);
    }
    let least = |name: &str| schema[name].as_u64().unwrap_or(0);
    let most = |name: &str| schema[name].as_u64().unwrap_or(u64::MAX);
    match value {
        Value::String(text) => {
            let length = text.chars().count() as u64;
            let instant = schema["format"] != "date-time" || OffsetDateTime::parse(text, &Rfc3339).is_ok();
            length >= least("minLength")
                && length <= most("maxLength")
                && instant
                && schema["pattern"].as_str().is_none_or(|pattern| matches(pattern, text))
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            schema["minimum"].as_f64().is_none_or(|least| number >= least) && schema["maximum"].as_f64().is_none_or(|most| number <= most)
        }
        Value::Array(items) => {
            let length = items.len() as u64;
            let distinct = schema["uniqueItems"] != true || items.iter().enumerate().all(|(n, item)| !items[..n].contains(item));
            length >= least("minItems") && length <= most("maxItems") && distinct
        }
        _ => true,
    }
}

/// A pattern of our own document; compiled once.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Option<Regex>>>> = LazyLock::new(Mutex::default);
    let known = {
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        compiled
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).ok())
            .clone()
    };
    known.is_some_and(|regex| regex.is_match(text))
}

/// What a schema takes, in words.
fn accepted(schema: &Value) -> String {
    if let Some(words) = schema[ACCEPTED].as_str() {
        return words.to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
        return format!("one of {}", words.join(", "));
    }
    let between = |least: &str, most: &str| match (schema[least].as_f64(), schema[most].as_f64()) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    };
    let declared = &schema["type"];
    let name = match declared {
        Value::Array(names) => names.iter().find(|name| *name != "null").unwrap_or(declared),
        name => name,
    };
    match name.as_str() {
        Some("string") if schema["format"] == "date-time" => "an RFC 3339 instant such as \"2030-01-31T18:00:00Z\"".to_owned(),
        Some("string") => match between("minLength", "maxLength") {
            Some(range) => format!("a string of {range} characters"),
            None => "a string".to_owned(),
        },
        Some("boolean") => "a boolean, true or false".to_owned(),
        Some("integer") => match between("minimum", "maximum") {
            Some(range) => format!("a whole number from {range}").replace("from at", "of at"),
            None => "a whole number".to_owned(),
        },
        Some("array") => match between("minItems", "maxItems") {
            Some(range) => format!("a sequence of {range} items"),
            None if schema["uniqueItems"] == true => "a sequence of different items".to_owned(),
            None => "a sequence".to_owned(),
        },
        Some("object") => "an object".to_owned(),
        _ => "another value".to_owned(),
    }
}
