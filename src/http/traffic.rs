//! How many requests came, by the pattern of their route and the class of their answer, and how long the answers took. A path is never kept: it may be a link.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpRequest;

/// Upper bounds in seconds: a page, a slow page, an upload, a slow upload.
pub(crate) const BOUNDS: [(&str, Duration); 6] = [
    ("0.01", Duration::from_millis(10)),
    ("0.05", Duration::from_millis(50)),
    ("0.25", Duration::from_millis(250)),
    ("1", Duration::from_secs(1)),
    ("5", Duration::from_secs(5)),
    ("30", Duration::from_secs(30)),
];
/// What no route takes.
const NO_ROUTE: &str = "none";

/// The pattern of a route, such as `/d/{token}`, and nothing of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RoutePattern(String);

impl RoutePattern {
    pub(crate) fn of(request: &HttpRequest) -> Self {
        Self(request.match_pattern().unwrap_or_else(|| NO_ROUTE.to_owned()))
    }

    /// What browsers fetch beside a page, and what machines ask again and again.
    pub(crate) fn is_asset_or_probe(&self) -> bool {
        self.0.starts_with("/assets/") || ["/healthz", "/readyz", "/metrics"].contains(&self.0.as_str())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The requests of one listener since start.
pub(crate) struct Traffic {
    pub listener: &'static str,
    routes: Mutex<BTreeMap<RoutePattern, Route>>,
}

/// The requests of one route.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Route {
    /// By the first digit of the status.
    pub classes: [u64; 5],
    /// Each counts what took at most as long as its bound, and longer than the one before.
    pub within: [u64; BOUNDS.len()],
    pub took: Duration,
}

impl Route {
    pub(crate) fn count(&self) -> u64 {
        self.classes.iter().sum()
    }
}

impl Traffic {
    pub(crate) fn new(listener: &'static str) -> Self {
        Self {
            listener,
            routes: Mutex::default(),
        }
    }

    pub(crate) fn routes(&self) -> BTreeMap<RoutePattern, Route> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note(&self, pattern: RoutePattern, status: u16, took: Duration) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let route = routes.entry(pattern).or_default();
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        route.classes[class] += 1;
        if let Some(place) = BOUNDS.iter().position(|(_, bound)| took <= *bound) {
            route.within[place] += 1;
        }
        route.took += took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_its_class_and_in_one_bound() {
        let traffic = Traffic::new("public");
        for (status, ms) in [(200, 1), (204, 10), (404, 11), (503, 31_000), (101, 300)] {
            traffic.note(RoutePattern("/d/{token}".to_owned()), status, Duration::from_millis(ms));
        }
        let route = traffic.routes()[&RoutePattern("/d/{token}".to_owned())];
        assert_eq!(route.classes, [1, 2, 0, 1, 1]);
        assert_eq!(
            route.within,
            [2, 1, 0, 1, 0, 0],
            "what took longer than all bounds is in the count alone"
        );
        assert_eq!((route.count(), route.took.as_millis()), (5, 31_322));
    }
}
