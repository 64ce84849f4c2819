//! How applicants are answered: a page in their language, or JSON for programs that ask for it (content negotiation).

use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use maud::Markup;

use crate::words::negotiate::choose;

use super::layout::accept_language;
use super::link_address;
use super::page::{self as pages, PageContext};
use crate::http::error::Problem;
use crate::http::{AppState, encoding, request_id};

/// Who reads: the language picked on the page, else the request's, else the browser's.
pub(super) fn context<'a>(state: &'a AppState, request: &HttpRequest, locale: Option<&str>) -> PageContext<'a> {
    let picked = link_address::language(request.query_string());
    let token = request.match_info().get("token").and_then(link_address::token);
    PageContext {
        company: &state.company,
        words: choose(picked, locale, accept_language(request)),
        here: token.map(|token| format!("/d/{}", token.encode())),
        picked: picked.is_some(),
        request_id: request_id::present(),
    }
}

pub(super) fn host_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, host)| host)
}

/// Programs that ask for JSON get it; everybody else gets a page.
pub(super) fn wants_json(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    accept.contains("json") && !accept.contains("text/html")
}

pub(super) fn html(request: &HttpRequest, mut response: actix_web::HttpResponseBuilder, page: Markup) -> HttpResponse {
    response.insert_header((CONTENT_TYPE, "text/html; charset=utf-8"));
    encoding::answer(request, response, page.into_string())
}

/// `page`: the form again with the failure beside its input; otherwise a page that says only what is wrong.
pub(super) fn answer_problem(context: &PageContext<'_>, request: &HttpRequest, problem: Problem, page: Option<Markup>) -> HttpResponse {
    // Programs get the English sentence, which is the more exact one, unless they want another language.
    if wants_json(request) && context.words.tag == "en" {
        return problem.error_response();
    }
    let problem = pages::localized(problem, context.words);
    if wants_json(request) {
        return problem.error_response();
    }
    let page = page.unwrap_or_else(|| pages::failure(context, &problem));
    html(request, problem.page(), page)
}
