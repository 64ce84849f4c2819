//! The frame of every page.

use actix_web::HttpResponse;
use maud::{DOCTYPE, Markup, html};

use crate::http::error::Problem;

/// A whole document: `head` gets the title, the one stylesheet and, where there is one, the one script.
pub fn page(language: &str, direction: &str, title: &str, script: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(language) dir=(direction) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href=(*super::assets::LOGO_URL) type="image/svg+xml";
                link rel="stylesheet" href=(*super::assets::PORTAL_CSS_URL);
                @if let Some(script) = script { script src=(script) defer {} }
            }
            body { (body) }
        }
    }
}

/// A failure where no more is known of the visitor.
pub fn plain_error(problem: &Problem, title: &str) -> HttpResponse {
    let body = html! { main { h1 { (title) } p { (problem.detail) } } };
    problem
        .page()
        .content_type("text/html; charset=utf-8")
        .body(page("en", "ltr", title, None, body).into_string())
}
