//! The few files that pages need, in the binary: their address carries a hash of their content, so they may be kept for ever.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};

use crate::http::error::Problem;

pub struct Asset {
    pub path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

pub static PORTAL_CSS: Asset = Asset {
    path: "/assets/portal.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../../../assets/portal.css"),
};
pub static UPLOAD_JS: Asset = Asset {
    path: "/assets/upload.js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../../../assets/upload.js"),
};
pub static CONSOLE_CSS: Asset = Asset {
    path: "/assets/console.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../../../assets/console.css"),
};
pub static CONSOLE_JS: Asset = Asset {
    path: "/assets/console.js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../../../assets/console.js"),
};
pub static LOGO: Asset = Asset {
    path: "/assets/logo.svg",
    media_type: "image/svg+xml",
    content: include_str!("../../../assets/logo.svg"),
};

impl Asset {
    /// The address with the content's hash.
    pub fn url(&self) -> String {
        format!("{}?{}", self.path, self.version())
    }

    fn version(&self) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(self.content.as_bytes())[..6])
    }

    /// For ever under its present hash, not at all under another.
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let kept = if request.query_string() == self.version() {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        HttpResponse::Ok()
            .insert_header(("Content-Type", self.media_type))
            .insert_header(("Cache-Control", kept))
            .body(self.content)
    }
}

pub static PORTAL_CSS_URL: LazyLock<String> = LazyLock::new(|| PORTAL_CSS.url());
pub static UPLOAD_JS_URL: LazyLock<String> = LazyLock::new(|| UPLOAD_JS.url());
pub static CONSOLE_CSS_URL: LazyLock<String> = LazyLock::new(|| CONSOLE_CSS.url());
pub static CONSOLE_JS_URL: LazyLock<String> = LazyLock::new(|| CONSOLE_JS.url());
pub static LOGO_URL: LazyLock<String> = LazyLock::new(|| LOGO.url());

pub fn public_routes(routes: &mut web::ServiceConfig) {
    for asset in [&PORTAL_CSS, &UPLOAD_JS, &LOGO] {
        routes.service(serve(asset));
    }
}

pub fn staff_routes(routes: &mut web::ServiceConfig) {
    for asset in [&CONSOLE_CSS, &CONSOLE_JS, &LOGO] {
        routes.service(serve(asset));
    }
}

pub fn serve(asset: &'static Asset) -> actix_web::Resource {
    let answer = move |request: HttpRequest| async move { asset.answer(&request) };
    web::resource(asset.path)
        .route(web::get().to(answer))
        .route(web::head().to(answer))
        .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) }))
}
