//! The few files that pages need, in the binary: their address carries a hash of their content, so they may be kept for ever.

pub(crate) mod spoken;

use std::sync::{Arc, LazyLock, OnceLock};

use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};

use crate::http::encoding;
use crate::http::error::Problem;
use spoken::{DESKTOP_JS, PHOTO_JS, SEND_JS};

pub(crate) struct Asset {
    pub path: &'static str,
    media_type: &'static str,
    content: &'static str,
    /// Made when it is first asked for.
    kept: OnceLock<Kept>,
}

/// A file in both of its forms.
#[derive(Clone, Debug)]
struct Kept {
    media_type: &'static str,
    version: String,
    plain: web::Bytes,
    /// `None` where it would be no shorter.
    packed: Option<web::Bytes>,
}

pub(crate) static PORTAL_CSS: Asset = Asset {
    path: "/assets/portal.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../../assets/portal.css"),
    kept: OnceLock::new(),
};
pub(crate) static UPLOAD_JS: Asset = Asset {
    path: "/assets/upload.js",
    media_type: SCRIPT,
    content: include_str!("../../assets/upload.js"),
    kept: OnceLock::new(),
};
pub(crate) static CONSOLE_CSS: Asset = Asset {
    path: "/assets/console.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../../assets/console.css"),
    kept: OnceLock::new(),
};
pub(crate) static CONSOLE_JS: Asset = Asset {
    path: "/assets/console.js",
    media_type: SCRIPT,
    content: include_str!("../../assets/console.js"),
    kept: OnceLock::new(),
};
pub(crate) static PASSKEY_JS: Asset = Asset {
    path: "/assets/passkey.js",
    media_type: SCRIPT,
    content: include_str!("../../assets/passkey.js"),
    kept: OnceLock::new(),
};
pub(crate) static LOGO: Asset = Asset {
    path: "/assets/logo.svg",
    media_type: "image/svg+xml",
    content: include_str!("../../assets/logo.svg"),
    kept: OnceLock::new(),
};

/// How the pages of one company look: the stylesheet with its colour, and its logo. The addresses carry the hash of what they lead to.
#[derive(Clone, Debug)]
pub struct Theme {
    style: Arc<Kept>,
    logo: Option<Arc<Kept>>,
    pub style_url: String,
    pub logo_url: String,
}

/// A company's logo, checked when the configuration was read.
#[derive(Clone, Debug)]
pub struct Logo {
    pub media_type: &'static str,
    pub content: Vec<u8>,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
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
        let style = Kept::new(PORTAL_CSS.media_type, format!("{}{rules}", PORTAL_CSS.content).into_bytes());
        let logo = logo.map(|logo| Kept::new(logo.media_type, logo.content));
        Self {
            style_url: format!("{}?{}", PORTAL_CSS.path, style.version),
            logo_url: match &logo {
                Some(logo) => format!("{LOGO_PATH}?{}", logo.version),
                None => LOGO_DATA.clone(),
            },
            style: Arc::new(style),
            logo: logo.map(Arc::new),
        }
    }
}

fn version(content: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(content)[..6])
}

/// A script without what only its readers here need: comments that have a line of their own, and indentation. Lines stay lines, so that no statement runs into
/// another; no text of our scripts goes over a line's end.
fn bare(script: &str) -> String {
    let lines = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl Kept {
    fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        let packed = encoding::gzip(&content);
        Self {
            media_type,
            version: version(&content),
            packed: (packed.len() < content.len()).then(|| packed.into()),
            plain: content.into(),
        }
    }

    /// For ever under its present hash, under another one only with a question each time.
    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let fresh = request.query_string() == self.version;
        // Weak: it is of the content, in whatever form.
        let tag = format!("W/\"{}\"", self.version);
        let known = request.headers().get_all("if-none-match").filter_map(|v| v.to_str().ok());
        let same = known.flat_map(|line| line.split(',')).any(|known| known.trim() == tag);
        let mut response = if same { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response
            .insert_header(("Cache-Control", if fresh { FOR_EVER } else { "no-cache" }))
            .insert_header(("ETag", tag))
            .insert_header(("Vary", "Accept-Encoding"));
        if same {
            return response.finish();
        }
        response.insert_header(("Content-Type", self.media_type));
        match &self.packed {
            Some(packed) if encoding::takes_gzip(request.headers()) => {
                response.insert_header(("Content-Encoding", "gzip")).body(packed.clone())
            }
            _ => response.body(self.plain.clone()),
        }
    }
}

impl Asset {
    fn kept(&self) -> &Kept {
        self.kept.get_or_init(|| {
            let content = match self.media_type {
                SCRIPT => bare(self.content),
                _ => self.content.to_owned(),
            };
            Kept::new(self.media_type, content.into_bytes())
        })
    }

    /// The address with the content's hash.
    pub(crate) fn url(&self) -> String {
        format!("{}?{}", self.path, self.kept().version)
    }

    pub(crate) fn answer(&self, request: &HttpRequest) -> HttpResponse {
        self.kept().answer(request)
    }
}

pub(crate) static UPLOAD_JS_URL: LazyLock<String> = LazyLock::new(|| UPLOAD_JS.url());
pub(crate) static CONSOLE_CSS_URL: LazyLock<String> = LazyLock::new(|| CONSOLE_CSS.url());
pub(crate) static CONSOLE_JS_URL: LazyLock<String> = LazyLock::new(|| CONSOLE_JS.url());
pub(crate) static PASSKEY_JS_URL: LazyLock<String> = LazyLock::new(|| PASSKEY_JS.url());
/// The product's own mark, in the page itself: asking for so little would take longer than it takes to come.
static LOGO_DATA: LazyLock<String> = LazyLock::new(|| {
    let mut address = "data:image/svg+xml,".to_owned();
    for c in LOGO.content.trim().chars() {
        match c {
            '"' => address.push('\''),
            '<' | '>' | '#' | '%' => address.push_str(&format!("%{:02X}", u32::from(c))),
            _ => address.push(c),
        }
    }
    address
});
pub(crate) static LOGO_URL: LazyLock<String> = LazyLock::new(|| LOGO.url());

pub(crate) fn public_routes(routes: &mut web::ServiceConfig) {
    routes
        .service(read_only(PORTAL_CSS.path, dressed_style))
        .service(read_only(LOGO_PATH, company_logo))
        .service(serve(&UPLOAD_JS))
        .service(spoken::serve(&PHOTO_JS))
        .service(spoken::serve(&SEND_JS))
        .service(spoken::serve(&DESKTOP_JS))
        .service(serve(&LOGO));
}

async fn dressed_style(theme: web::Data<Theme>, request: HttpRequest) -> HttpResponse {
    theme.style.answer(&request)
}

async fn company_logo(theme: web::Data<Theme>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    match &theme.logo {
        Some(logo) => Ok(logo.answer(&request)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_script_is_the_same_script() {
        assert_eq!(
            bare("// why\n  a();\n\n    // what\n  b(\"// c\"); // d\n"),
            "a();\nb(\"// c\"); // d\n"
        );
        let own = [&UPLOAD_JS, &CONSOLE_JS, &PASSKEY_JS].map(|script| (script.path, script.content));
        let spoken = [&PHOTO_JS, &SEND_JS, &DESKTOP_JS].map(|script| script.source());
        for (path, content) in own.into_iter().chain(spoken) {
            // Taking a line's beginning away must not change a text that goes on there.
            for line in content.lines() {
                assert_eq!(line.matches('`').count() % 2, 0, "a text over a line's end in {path}: {line}");
                assert!(!line.ends_with('\\'), "{path}: {line}");
            }
            assert!(bare(content).len() < content.len());
        }
    }
}
