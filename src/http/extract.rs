//! What handlers read off a request: JSON bodies, forms, queries and ids, each with every fault by its field.
//!
//! [`Take`] is read after somebody was let in ([`crate::http::staff::auth::After`]): who is refused has no body read and learns of no fault.

pub(crate) mod body;
pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod schema;

use actix_web::HttpRequest;
use actix_web::dev::Payload;

use super::error::Problem;

/// Something that a request holds.
pub(crate) trait Take: Sized {
    async fn take(request: &HttpRequest, payload: &mut Payload) -> Result<Self, Problem>;

    /// Whether a field of this name is kept for its sender when the form comes after the session's end. None is unless a form declares it.
    fn keeps(_field: &str) -> bool {
        false
    }
}

impl Take for () {
    async fn take(_: &HttpRequest, _: &mut Payload) -> Result<Self, Problem> {
        Ok(())
    }
}

/// One after the other: what stands first is refused first.
impl<A: Take, B: Take> Take for (A, B) {
    async fn take(request: &HttpRequest, payload: &mut Payload) -> Result<Self, Problem> {
        Ok((A::take(request, payload).await?, B::take(request, payload).await?))
    }

    fn keeps(field: &str) -> bool {
        A::keeps(field) || B::keeps(field)
    }
}
