//! The query of a GET, as strictly as a body: unknown and doubled names are refused, and all faults are told in one answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::str::FromStr;

use actix_web::{HttpRequest, web};

use crate::http::error::Problem;

/// Faults that one answer names: an answer does not grow with what was sent.
const FAULTS_MAX: usize = 20;

pub(crate) struct Query {
    pairs: BTreeMap<String, String>,
    faults: RefCell<Vec<(String, String)>>,
}

impl Query {
    /// Reads the query, in which only these names may stand. What does not fit is none for `read`, and refuses the query together with everything else that does not.
    pub(crate) fn read<T>(request: &HttpRequest, known: &[&str], read: impl FnOnce(&Self) -> Result<T, Problem>) -> Result<T, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|_| Problem::malformed("The query cannot be read."))?
            .into_inner();
        let mut query = Self {
            pairs: BTreeMap::new(),
            faults: RefCell::default(),
        };
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let fix = match known {
                    [] => "is not known here; this address takes no query".to_owned(),
                    known => format!("is not known here; there is: {}", known.join(", ")),
                };
                query.fault(name.chars().take(100).collect(), fix);
            } else if query.pairs.insert(name.clone(), value).is_some() {
                query.fault(name, "must stand there once only".to_owned());
            }
        }
        let read = read(&query);
        match read {
            Ok(read) if query.faults.borrow().is_empty() => Ok(read),
            Err(problem) if query.faults.borrow().is_empty() => Err(problem),
            other => {
                for (name, fix) in other.err().into_iter().flat_map(|problem| problem.fields) {
                    query.fault(name, fix);
                }
                Err(Problem::fields(query.faults.into_inner()))
            }
        }
    }

    /// The first fault of each name.
    fn fault(&self, name: String, fix: String) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS_MAX && !faults.iter().any(|(known, _)| *known == name) {
            faults.push((name, fix));
        }
    }

    /// An empty value counts as none: forms send them.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.pairs.get(name).filter(|v| !v.is_empty()).cloned()
    }

    /// A value that is parsed; `accepted` says what fits.
    pub(crate) fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>, accepted: &str) -> Option<T> {
        let parsed = parse(&self.text(name)?);
        if parsed.is_none() {
            self.fault(name.to_owned(), format!("must be {accepted}"));
        }
        parsed
    }

    /// A number from `least` to `most`.
    pub(crate) fn number<T: FromStr + PartialOrd + std::fmt::Display>(&self, name: &str, least: T, most: T) -> Option<T> {
        let accepted = format!("a whole number from {least} to {most}");
        self.parsed(name, |text| text.parse().ok().filter(|n| *n >= least && *n <= most), &accepted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::test::TestRequest;

    fn faults(address: &str) -> Vec<(String, String)> {
        let request = TestRequest::with_uri(address).to_http_request();
        let read = Query::read(&request, &["limit", "after", "sort"], |query| {
            let numbers = (query.number("limit", 1, 200_u16), query.number("after", 0, u64::MAX));
            match query.text("sort").as_deref() {
                None | Some("newest") => Ok(numbers),
                Some(_) => Err(Problem::field_must("sort", "newest")),
            }
        });
        read.err().map(|problem| problem.fields).unwrap_or_default()
    }

    #[test]
    fn every_fault_is_told_at_once_and_each_name_once() {
        let found = faults("/?limit=0&after=x&sort=oldest&colour=red&colour=blue&limit=3");
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["colour", "limit", "after", "sort"], "{found:?}");
        assert_eq!(found[1].1, "must stand there once only");
        assert_eq!(faults("/?sort=oldest"), [("sort".to_owned(), "must be newest".to_owned())]);
        assert!(faults("/?limit=200&after=&sort=newest").is_empty());
    }

    #[test]
    fn an_answer_does_not_grow_with_what_was_sent() {
        let many: Vec<_> = (0..500).map(|n| format!("n{n}=1")).collect();
        assert_eq!(faults(&format!("/?{}", many.join("&"))).len(), FAULTS_MAX);
    }
}
