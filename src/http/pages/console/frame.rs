//! The frame of the console's pages.

use actix_web::HttpResponse;

use crate::http::error::Problem;

pub fn failure(problem: &Problem) -> HttpResponse {
    crate::http::pages::layout::plain_error(problem, "Not possible")
}
