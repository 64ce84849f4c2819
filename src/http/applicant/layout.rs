//! The frame of every page.

use actix_web::HttpRequest;
use maud::{DOCTYPE, Markup, html};

use crate::words::Words;

use crate::http::assets::Theme;

/// A whole document in the company's theme, with its one stylesheet and, where there is one, the one script.
pub(crate) fn themed(theme: &Theme, words: &Words, title: &str, script: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(words.region) dir=(words.direction) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                meta name="format-detection" content="telephone=no";
                title { (title) }
                link rel="icon" href=(theme.logo_url);
                link rel="stylesheet" href=(theme.style_url);
                @if let Some(script) = script { script src=(script) defer {} }
            }
            body { (body) }
        }
    }
}

/// What the browser of a request prefers to read.
pub(crate) fn accept_language(request: &HttpRequest) -> Option<&str> {
    request.headers().get("accept-language").and_then(|v| v.to_str().ok())
}
