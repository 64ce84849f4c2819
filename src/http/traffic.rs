//! How many requests came, by the pattern of their route and the class of their answer, and how long the answers took. A path is never kept: it may be a link.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};

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

/// The requests of one listener since start.
pub(crate) struct Traffic {
    pub listener: &'static str,
    routes: Mutex<BTreeMap<String, Route>>,
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

    pub(crate) fn routes(&self) -> BTreeMap<String, Route> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, pattern: String, status: u16, took: Duration) {
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

/// Counts a request when its answer begins; what it brought has been read by then.
pub(crate) async fn measured(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let traffic = request.app_data::<web::Data<Traffic>>().cloned();
    let pattern = request.request().match_pattern().unwrap_or_else(|| NO_ROUTE.to_owned());
    let began = Instant::now();
    let answer = next.call(request).await;
    if let Some(traffic) = traffic {
        let status = match &answer {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.as_response_error().status_code().as_u16(),
        };
        traffic.note(pattern, status, began.elapsed());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_its_class_and_in_one_bound() {
        let traffic = Traffic::new("public");
        for (status, ms) in [(200, 1), (204, 10), (404, 11), (503, 31_000), (101, 300)] {
            traffic.note("/d/{token}".to_owned(), status, Duration::from_millis(ms));
        }
        let route = traffic.routes()["/d/{token}"];
        assert_eq!(route.classes, [1, 2, 0, 1, 1]);
        assert_eq!(
            route.within,
            [2, 1, 0, 1, 0, 0],
            "what took longer than all bounds is in the count alone"
        );
        assert_eq!((route.count(), route.took.as_millis()), (5, 31_322));
    }
}
