//! The query of a GET, as strictly as a body: unknown and doubled names are refused.

use std::collections::BTreeMap;
use std::str::FromStr;

use actix_web::{HttpRequest, web};

use crate::http::error::Problem;

pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads the query, in which only these names may stand.
    pub(crate) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|_| Problem::malformed("The query cannot be read."))?
            .into_inner();
        let mut read = BTreeMap::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(100).collect();
                let fix = match known {
                    [] => "is not known here; this address takes no query".to_owned(),
                    known => format!("is not known here; there is: {}", known.join(", ")),
                };
                return Err(Problem::invalid(format!("{name} {fix}.")).field(name, fix));
            }
            if read.insert(name.clone(), value).is_some() {
                return Err(Problem::invalid(format!("{name} stands there twice.")).field(name, "once only"));
            }
        }
        Ok(Self(read))
    }

    /// An empty value counts as none: forms send them.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// A value that is parsed; `accepted` says what fits.
    pub(crate) fn parsed<T>(&self, name: &'static str, parse: impl Fn(&str) -> Option<T>, accepted: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| Problem::field_must(name, accepted))
    }

    /// A number from `least` to `most`.
    pub(crate) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        name: &'static str,
        least: T,
        most: T,
    ) -> Result<Option<T>, Problem> {
        let accepted = format!("a whole number from {least} to {most}");
        self.parsed(name, |text| text.parse().ok().filter(|n| *n >= least && *n <= most), &accepted)
    }
}
