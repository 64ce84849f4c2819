//! Reading JSON bodies, strictly: one object, no more than 64 KiB, no encoding, no unknown field. All faults are told in one answer, each with its field and what is
//! accepted there: the body is compared with the schema of its type (see [`super::schema`]), which is the one that the OpenAPI document shows.

use std::cell::RefCell;
use std::fmt;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};
use zeroize::Zeroizing;

use crate::http::error::Problem;
use crate::workflow::issue::Expiry;

use super::Take;
use super::body::body_bytes;
use super::schema::{ACCEPTED, Shape};

/// Longest `Idempotency-Key`.
const KEY_MAX: usize = 255;
/// What a span is, in words.
const SPAN: &str = "a span such as \"72h\" (s, m, h or d) or a number of seconds, at most ten years";
/// Longer spans are typing errors.
const SPAN_MAX: i64 = 10 * 366 * 86_400;

/// A body that is read strictly. An empty one counts as `{}`.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned + ToSchema + 'static> Take for Json<T> {
    async fn take(request: &HttpRequest, payload: &mut Payload) -> Result<Self, Problem> {
        Ok(Self(typed(object(request, payload).await?)?))
    }
}

/// A body of an operation that has its effect once under an `Idempotency-Key`.
pub(crate) struct Once<T> {
    pub body: T,
    pub key: Option<IdempotencyKey>,
}

/// The caller's key, and the digest that it is bound to: of the path and the object, whatever its spacing and order.
pub(crate) struct IdempotencyKey {
    pub key: String,
    pub digest: [u8; 32],
}

impl<T: DeserializeOwned + ToSchema + 'static> Take for Once<T> {
    async fn take(request: &HttpRequest, payload: &mut Payload) -> Result<Self, Problem> {
        let object = object(request, payload).await?;
        let digest = digest(request.path(), &object);
        Ok(Self {
            body: typed(object)?,
            key: idempotency_key(request)?.map(|key| IdempotencyKey { key, digest }),
        })
    }
}

/// No fields.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({})))]
pub(crate) struct Nothing {}

async fn object(request: &HttpRequest, payload: &mut Payload) -> Result<Map<String, Value>, Problem> {
    let bytes = body_bytes(request, payload, "application/json").await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    let value = serde_json::from_slice(&bytes)
        .map_err(|e| Problem::malformed(format!("The body is not JSON (line {}, column {}).", e.line(), e.column())))?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Problem::invalid("The body must be a JSON object.")),
    }
}

fn digest(path: &str, object: &Map<String, Value>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update([0]);
    hash.update(serde_json::to_vec(object).unwrap_or_default());
    hash.finalize().into()
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut lines = request.headers().get_all("idempotency-key");
    let Some(line) = lines.next() else { return Ok(None) };
    let key = line
        .to_str()
        .ok()
        .filter(|k| (1..=KEY_MAX).contains(&k.len()) && k.bytes().all(|b| b.is_ascii_graphic()));
    match (key, lines.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(Problem::malformed("An Idempotency-Key is 1 to 255 visible ASCII characters, once.").code("idempotency.malformed")),
    }
}

/// Turns an object into its type, or names every field that does not fit.
fn typed<T: DeserializeOwned + ToSchema + 'static>(object: Map<String, Value>) -> Result<T, Problem> {
    let object = Value::Object(object);
    let faults = Shape::of::<T>().faults(&object);
    if !faults.is_empty() {
        return Err(Problem::fields(faults));
    }
    let Value::Object(object) = object else {
        return Err(Problem::invalid("The body must be a JSON object."));
    };
    let at = RefCell::new(None);
    let fields = Fields {
        rest: object.into_iter(),
        value: None,
        at: &at,
    };
    T::deserialize(MapAccessDeserializer::new(fields)).map_err(|error| refusal(&error.to_string(), at.take()))
}

/// What a type refuses although its schema takes it.
fn refusal(error: &str, at: Option<String>) -> Problem {
    let expected = error.split("expected ").nth(1).unwrap_or("another value");
    let field: String = at.unwrap_or_default().chars().take(100).collect();
    let fix = format!("must be {expected}");
    Problem::invalid(format!("{field} {fix}.")).field(field, fix)
}

/// A map that remembers the key whose value is being read.
struct Fields<'a> {
    rest: serde_json::map::IntoIter,
    value: Option<Value>,
    at: &'a RefCell<Option<String>>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        *self.at.borrow_mut() = Some(key.clone());
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        seed.deserialize(self.value.take().unwrap_or(Value::Null))
    }
}

/// A span of time: whole seconds as a number, or text such as `"90s"`, `"30m"`, `"72h"`, `"14d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub Duration);

impl Span {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let digits = (1..=10).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        Self::seconds(number.parse::<i64>().ok().filter(|_| digits)?.checked_mul(unit)?)
    }

    fn seconds(seconds: i64) -> Option<Self> {
        (1..=SPAN_MAX).contains(&seconds).then(|| Self(Duration::seconds(seconds)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SPAN)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                let span = i64::try_from(seconds).ok().and_then(Span::seconds);
                span.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(seconds), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Other("text"), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9]{1,10}[smhd]$"))
            .examples(["72h"]);
        let seconds = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(SPAN_MAX as f64));
        let both = OneOfBuilder::new()
            .item(text)
            .item(seconds)
            .description(Some(
                "A span of time of at most ten years: text with s, m, h or d, or whole seconds.",
            ))
            .extensions(Some(accepted(SPAN)));
        RefOr::T(Schema::OneOf(both.build()))
    }
}

impl ToSchema for Span {}

/// What a schema takes, in words, for [`super::schema`].
pub(crate) fn accepted(words: &str) -> Extensions {
    Extensions::from_iter([(ACCEPTED, words)])
}

/// An instant in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant(pub OffsetDateTime);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = || de::Error::custom("expected an RFC 3339 instant such as \"2030-01-31T18:00:00Z\"");
        let text = String::deserialize(deserializer).map_err(|_| refused())?;
        OffsetDateTime::parse(&text, &Rfc3339).map(Self).map_err(|_| refused())
    }
}

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("An instant of RFC 3339."))
            .examples(["2030-01-31T18:00:00Z"]);
        RefOr::T(Schema::Object(text.build()))
    }
}

impl ToSchema for Instant {}

/// A password or passphrase on its way in: wiped when dropped, never printed.
pub(crate) struct Secret(pub Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// `expires_in` or `expires_at`, not both.
pub(crate) fn expiry(span: Option<Span>, at: Option<Instant>) -> Result<Expiry, Problem> {
    match (span, at) {
        (None, None) => Ok(Expiry::Default),
        (Some(span), None) => Ok(Expiry::In(span.0)),
        (None, Some(at)) => Ok(Expiry::At(at.0)),
        (Some(_), Some(_)) => {
            Err(Problem::invalid("Give expires_in or expires_at, not both.").field("expires_in", "not together with expires_at"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[schema(max_length = 5)]
        name: String,
        span: Option<Span>,
        at: Option<Instant>,
        parts: Option<Vec<String>>,
    }

    fn of(text: &str) -> Result<Body, Problem> {
        let Value::Object(object) = serde_json::from_str(text).unwrap() else {
            unreachable!()
        };
        typed(object)
    }

    #[test]
    fn every_refusal_names_its_field_and_what_is_accepted() {
        let body = of(r#"{"name":"n","span":60,"at":"2030-01-31T18:00:00+01:00","parts":["front"]}"#).unwrap();
        assert_eq!((body.name.as_str(), body.span), ("n", Some(Span(Duration::MINUTE))));
        assert_eq!(body.at.unwrap().0.unix_timestamp(), 1_896_109_200);
        assert_eq!(body.parts.unwrap(), ["front"]);
        for (text, field, fix) in [
            (r#"{}"#, "name", "needed"),
            (r#"{"name":1}"#, "name", "a string"),
            (r#"{"name":null}"#, "name", "a string"),
            (r#"{"name":"n","x<y":1}"#, "x<y", "not known"),
            (r#"{"name":"n","span":"3 weeks"}"#, "span", "72h"),
            (r#"{"name":"n","span":-1}"#, "span", "72h"),
            (r#"{"name":"n","span":0}"#, "span", "72h"),
            (r#"{"name":"n","at":"tomorrow"}"#, "at", "RFC 3339"),
            (r#"{"name":"n","at":5}"#, "at", "RFC 3339"),
            (r#"{"name":"n","parts":[1]}"#, "parts", "a string"),
            (r#"{"name":"n","parts":"front"}"#, "parts", "a sequence"),
        ] {
            let problem = of(text).unwrap_err();
            assert_eq!(problem.status_number(), 422);
            assert_eq!(problem.fields[0].0, field, "{text}");
            assert!(problem.fields[0].1.contains(fix), "{text}: {}", problem.fields[0].1);
        }
    }

    #[test]
    fn all_faults_are_told_at_once_each_under_its_own_field() {
        let problem =
            of(r#"{"name":"too long","span":true,"at":"2030-13-01T00:00:00Z","parts":["front",2],"extra":1,"x<y":{}}"#).unwrap_err();
        let fields: Vec<_> = problem.fields.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["at", "extra", "name", "parts", "span", "x<y"]);
        assert!(problem.fields.iter().any(|(_, fix)| fix == "item 2 must be a string"));
        let missing = of(r#"{"more":1,"span":0}"#).unwrap_err();
        let fields: Vec<_> = missing.fields.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["name", "more", "span"], "what is missing first");
        let flood: String = (0..500).map(|n| format!("\"f{n}\":1,")).collect();
        assert_eq!(of(&format!("{{{flood}\"name\":\"n\"}}")).unwrap_err().fields.len(), 100);
    }

    #[test]
    fn spans_are_numbers_with_one_unit() {
        assert_eq!(Span::parse("72h"), Some(Span(Duration::hours(72))));
        assert_eq!(Span::parse("14d"), Some(Span(Duration::days(14))));
        for bad in [
            "",
            "h",
            "72",
            "-1h",
            "+1h",
            "1.5h",
            "72 h",
            "0s",
            "99999999999s",
            "9999999999d",
            "1ｈ",
            "1w",
        ] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_digest_depends_on_content_and_place_alone() {
        let of = |path: &str, text: &str| {
            let Value::Object(object) = serde_json::from_str(text).unwrap() else {
                unreachable!()
            };
            digest(path, &object)
        };
        assert_eq!(of("/a", r#"{"a":1,"b":2}"#), of("/a", r#"{ "b" : 2, "a" : 1 }"#));
        assert_ne!(of("/a", r#"{"a":1}"#), of("/b", r#"{"a":1}"#));
        assert_ne!(of("/a", r#"{"a":1}"#), of("/a", r#"{"a":2}"#));
    }
}
