//! The few files that pages need, in the binary: their address carries a hash of their content, so they may be kept for ever.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};

use crate::http::AppState;
use crate::http::error::Problem;

pub(crate) struct Asset {
    pub path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

pub(crate) static PORTAL_CSS: Asset = Asset {
    path: "/assets/portal.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../../../assets/portal.css"),
};
pub(crate) static UPLOAD_JS: Asset = Asset {
    path: "/assets/upload.js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../../../assets/upload.js"),
};
pub(crate) static CONSOLE_CSS: Asset = Asset {
    path: "/assets/console.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../../../assets/console.css"),
};
pub(crate) static CONSOLE_JS: Asset = Asset {
    path: "/assets/console.js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../../../assets/console.js"),
};
pub(crate) static PASSKEY_JS: Asset = Asset {
    path: "/assets/passkey.js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../../../assets/passkey.js"),
};
pub(crate) static LOGO: Asset = Asset {
    path: "/assets/logo.svg",
    media_type: "image/svg+xml",
    content: include_str!("../../../assets/logo.svg"),
};

/// How the pages of one company look: the stylesheet with its colour, and its logo. The addresses carry the hash of what they lead to.
#[derive(Clone, Debug)]
pub struct Theme {
    style: String,
    logo: Option<Logo>,
    pub style_url: String,
    pub logo_url: String,
}

/// A company's logo, checked when the configuration was read.
#[derive(Clone, Debug)]
pub struct Logo {
    pub media_type: &'static str,
    pub content: Vec<u8>,
}

const LOGO_PATH: &str = "/assets/company-logo";
const FOR_EVER: &str = "public, max-age=31536000, immutable";

impl Default for Theme {
    fn default() -> Self {
        Self::new("", None)
    }
}

impl Theme {
    /// `rules`: what stands after the product's own stylesheet.
    pub fn new(rules: &str, logo: Option<Logo>) -> Self {
        let style = format!("{}{rules}", PORTAL_CSS.content);
        Self {
            style_url: format!("{}?{}", PORTAL_CSS.path, version(style.as_bytes())),
            logo_url: match &logo {
                Some(logo) => format!("{LOGO_PATH}?{}", version(&logo.content)),
                None => LOGO_URL.clone(),
            },
            style,
            logo,
        }
    }
}

fn version(content: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(content)[..6])
}

impl Asset {
    /// The address with the content's hash.
    pub(crate) fn url(&self) -> String {
        format!("{}?{}", self.path, version(self.content.as_bytes()))
    }

    pub(crate) fn answer(&self, request: &HttpRequest) -> HttpResponse {
        kept(request, self.media_type, self.content.as_bytes().to_vec())
    }
}

/// For ever under its present hash, not at all under another.
fn kept(request: &HttpRequest, media_type: &str, content: Vec<u8>) -> HttpResponse {
    let kept = if request.query_string() == version(&content) {
        FOR_EVER
    } else {
        "no-cache"
    };
    HttpResponse::Ok()
        .insert_header(("Content-Type", media_type))
        .insert_header(("Cache-Control", kept))
        .body(content)
}

pub(crate) static UPLOAD_JS_URL: LazyLock<String> = LazyLock::new(|| UPLOAD_JS.url());
pub(crate) static CONSOLE_CSS_URL: LazyLock<String> = LazyLock::new(|| CONSOLE_CSS.url());
pub(crate) static CONSOLE_JS_URL: LazyLock<String> = LazyLock::new(|| CONSOLE_JS.url());
pub(crate) static PASSKEY_JS_URL: LazyLock<String> = LazyLock::new(|| PASSKEY_JS.url());
pub(crate) static LOGO_URL: LazyLock<String> = LazyLock::new(|| LOGO.url());

pub(crate) fn public_routes(routes: &mut web::ServiceConfig) {
    routes
        .service(read_only(PORTAL_CSS.path, dressed_style))
        .service(read_only(LOGO_PATH, company_logo))
        .service(serve(&UPLOAD_JS))
        .service(serve(&LOGO));
}

async fn dressed_style(state: web::Data<AppState>, request: HttpRequest) -> HttpResponse {
    kept(&request, PORTAL_CSS.media_type, state.company.theme.style.clone().into_bytes())
}

async fn company_logo(state: web::Data<AppState>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    match &state.company.theme.logo {
        Some(logo) => Ok(kept(&request, logo.media_type, logo.content.clone())),
        None => Err(Problem::not_found("There is nothing at this address.")),
    }
}

pub(crate) fn staff_routes(routes: &mut web::ServiceConfig) {
    for asset in [&CONSOLE_CSS, &CONSOLE_JS, &PASSKEY_JS, &LOGO] {
        routes.service(serve(asset));
    }
}

pub(crate) fn serve(asset: &'static Asset) -> actix_web::Resource {
    let answer = move |request: HttpRequest| async move { asset.answer(&request) };
    read_only(asset.path, answer)
}

fn read_only<F, Args>(path: &str, answer: F) -> actix_web::Resource
where
    F: actix_web::Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(answer.clone()))
        .route(web::head().to(answer))
        .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) }))
}
