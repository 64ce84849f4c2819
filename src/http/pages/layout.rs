//! The frame of every page.

use actix_web::{HttpRequest, HttpResponse};
use maud::{DOCTYPE, Markup, html};

use crate::http::error::Problem;
use crate::words::Words;

use super::assets::{LOGO_URL, PORTAL_CSS_URL, Theme};

/// A whole document in the product's own theme: `head` gets the title, the one stylesheet and, where there is one, the one script.
pub(crate) fn page(language: &str, direction: &str, title: &str, script: Option<&str>, body: Markup) -> Markup {
    document(language, direction, title, (&PORTAL_CSS_URL, &LOGO_URL), script, body)
}

/// A whole document in the company's theme.
pub(crate) fn themed(theme: &Theme, words: &Words, title: &str, script: Option<&str>, body: Markup) -> Markup {
    document(words.tag, words.direction, title, (&theme.style_url, &theme.logo_url), script, body)
}

fn document(language: &str, direction: &str, title: &str, (style, icon): (&str, &str), script: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(language) dir=(direction) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                meta name="format-detection" content="telephone=no";
                title { (title) }
                link rel="icon" href=(icon);
                link rel="stylesheet" href=(style);
                @if let Some(script) = script { script src=(script) defer {} }
            }
            body { (body) }
        }
    }
}

/// A failure where no more is known of the visitor.
pub(crate) fn plain_error(problem: &Problem, title: &str) -> HttpResponse {
    let body = html! { main { h1 { (title) } p { (problem.detail) } } };
    problem
        .page()
        .content_type("text/html; charset=utf-8")
        .body(page("en", "ltr", title, None, body).into_string())
}

/// What the browser of a request prefers to read.
pub(crate) fn accept_language(request: &HttpRequest) -> Option<&str> {
    request.headers().get("accept-language").and_then(|v| v.to_str().ok())
}
