//! Ids as they stand in an address. One answer for an id that cannot be and one that is not there.

use actix_web::HttpRequest;
use actix_web::dev::Payload;

use super::Take;
use crate::domain::id::{AgentId, ApiKeyId, RequestId};
use crate::http::error::Problem;

/// What an address can name, and what is said where there is none of it.
pub(crate) trait Named: Sized {
    const MISSING: &'static str;

    fn parse(text: &str) -> Option<Self>;

    fn missing() -> Problem {
        Problem::not_found(Self::MISSING)
    }
}

macro_rules! named {
    ($($id:ident: $missing:literal;)*) => {
        $(impl Named for $id {
            const MISSING: &'static str = $missing;

            fn parse(text: &str) -> Option<Self> {
                $id::parse(text)
            }
        })*
    };
}

named! {
    RequestId: "There is no such thing here.";
    AgentId: "There is no such agent.";
    ApiKeyId: "There is no such API key.";
}

/// `{id}` of the route.
pub(crate) struct Id<T>(pub T);

impl<T: Named> Take for Id<T> {
    async fn take(request: &HttpRequest, _: &mut Payload) -> Result<Self, Problem> {
        request.match_info().get("id").and_then(T::parse).map(Self).ok_or_else(T::missing)
    }
}
