//! A page for each code of a problem document: the target of every problem document's `type`, on both listeners and without signing in, because applicants' programs
//! are told codes as well.
//!
//! The pages are for developers, say nothing of this installation, and are the same for everybody.

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use maud::{DOCTYPE, Markup, html};

use super::assets::{CONSOLE_CSS_URL, Theme};
use super::error::Problem;
use super::problems::{KnownProblem, PLACE, all, find};

/// The pages of the public listener, in the company's colours.
pub(crate) fn public_routes(routes: &mut web::ServiceConfig) {
    let style = |request: &HttpRequest| {
        let theme = request.app_data::<web::Data<Theme>>();
        theme.map_or_else(String::new, |theme| theme.style_url.to_string())
    };
    pages(routes, style);
}

/// The pages of the staff listener.
pub(crate) fn staff_routes(routes: &mut web::ServiceConfig) {
    pages(routes, |_| CONSOLE_CSS_URL.to_string());
}

fn pages(routes: &mut web::ServiceConfig, style: fn(&HttpRequest) -> String) {
    let index = move |request: HttpRequest| async move { shown(list(&style(&request))) };
    let page = move |request: HttpRequest| async move {
        match request.match_info().get("code").and_then(find) {
            Some(known) => shown(single(&style(&request), known)),
            None => Problem::not_found("There is no problem with this code.").error_response(),
        }
    };
    let others = || web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) });
    routes
        .service(
            web::resource(PLACE)
                .route(web::get().to(index))
                .route(web::head().to(index))
                .default_service(others()),
        )
        .service(
            web::resource(format!("{PLACE}/{{code}}"))
                .route(web::get().to(page))
                .route(web::head().to(page))
                .default_service(others()),
        );
}

fn shown(page: Markup) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page.into_string())
}

fn list(style: &str) -> Markup {
    let body = html! {
        h1 { "Problem documents" }
        p { "Every failure that a program is told of has one of these codes. They do not change their meaning." }
        ul { @for known in all() { li { a href={ (PLACE) "/" (known.code) } { code { (known.code) } } ": " (line(known.meaning)) } } }
    };
    document(style, "Problem documents", body)
}

fn single(style: &str, known: &KnownProblem) -> Markup {
    let body = html! {
        p { a href=(PLACE) { "All problems" } }
        h1 { code { (known.code) } }
        p { "Status " (known.status) }
        h2 { "What it means" }
        p { (line(known.meaning)) }
        h2 { "What to do" }
        p { (line(known.advice)) }
    };
    document(style, known.code, body)
}

/// A line of the table: what stands between backticks is code.
fn line(text: &str) -> Markup {
    html! {
        @for (n, piece) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

fn document(style: &str, title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href=(style);
            }
            body { main { (body) } }
        }
    }
}
