//! Requests that another site has started, refused; and the client's address as the configured proxies give it.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;

use super::address::{self, host};
use super::context::AppState;
use super::error::Problem;
use crate::domain::agent::Actor;
use crate::domain::audit::AuditAction;

/// See [`address::client_address`].
pub(crate) fn client_address(request: &HttpRequest, state: &AppState) -> IpAddr {
    address::client_address(request, &state.proxies)
}

/// Whether a page of this very site started a state-changing request, by what its browser says.
///
/// * `Sec-Fetch-Site` alone decides where it is there: all browsers since 2023 send it, and no page can set it.
/// * Otherwise `Origin` must be one of `own`: the request's own host, or the address that the configuration gives (a proxy may have put another host in its place).
/// * Where that is missing or `null`, the same holds for `Referer`. A request with neither is refused where `strict`; the upload form, whose address is itself the
///   capability, takes it: its pages ask browsers to send no referrer, which makes the origin of old ones `null`, and programs send nothing at all.
fn same_site(headers: &HeaderMap, own: &[String], strict: bool) -> bool {
    let values = |name: &str| {
        let all: Vec<_> = headers.get_all(name).map(|v| v.to_str().unwrap_or("unreadable")).collect();
        (!all.is_empty()).then_some(all)
    };
    if let Some(sites) = values("sec-fetch-site") {
        return sites.iter().all(|site| matches!(*site, "same-origin" | "none"));
    }
    let is_own = |origin: &str| authority(origin).is_some_and(|found| own.contains(&found));
    match values("origin") {
        Some(origins) if origins != ["null"] => origins.iter().all(|origin| is_own(origin)),
        _ => match values("referer") {
            Some(pages) => pages.iter().all(|page| is_own(page)),
            None => !strict,
        },
    }
}

/// Host and port of an address, in small letters and without the port that its scheme has anyway.
fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let usual = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let host = rest
        .split(['/', '?', '#'])
        .next()
        .filter(|host| !host.is_empty())?
        .to_ascii_lowercase();
    Some(host.strip_suffix(usual).map_or(host.clone(), str::to_owned))
}

/// What counts as this site: what the request calls its host, under either scheme (a proxy may end TLS), and the address that the configuration gives.
fn own_authorities(host: Option<&str>, configured: Option<&str>) -> Vec<String> {
    let asked = host
        .into_iter()
        .flat_map(|host| [format!("https://{host}"), format!("http://{host}")]);
    asked
        .chain(configured.map(str::to_owned))
        .filter_map(|url| authority(&url))
        .collect()
}

/// Refuses what another site started ([`same_site`]); the audit log hears of it.
pub(crate) async fn require_same_origin(request: &HttpRequest, state: &AppState, strict: bool) -> Result<(), Problem> {
    let (listener, configured) = match strict {
        true => ("staff", state.settings.console()),
        false => ("public", Some(state.settings.public_url.clone())),
    };
    if same_site(request.headers(), &own_authorities(host(request), configured.as_deref()), strict) {
        return Ok(());
    }
    state
        .refused(Actor::Portal, AuditAction::RequestCrossSite, &[("listener", listener)])
        .await;
    Err(Problem::cross_site("This request came from another site and was not carried out."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn says(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn what_a_browser_says_of_its_page_decides_as_the_table_says() {
        const FREE: (bool, bool) = (true, true);
        const TAKEN_BY_THE_FORM: (bool, bool) = (true, false);
        const REFUSED: (bool, bool) = (false, false);
        let own = own_authorities(Some("portal:8080"), Some("https://Drop.example.com"));
        type Row<'a> = (&'a [(&'static str, &'a str)], (bool, bool));
        let table: &[Row<'_>] = &[
            (&[], TAKEN_BY_THE_FORM),
            (&[("sec-fetch-site", "same-origin")], FREE),
            (&[("sec-fetch-site", "none")], FREE),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], FREE),
            (&[("sec-fetch-site", "same-site")], REFUSED),
            (&[("sec-fetch-site", "cross-site")], REFUSED),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://drop.example.com")], REFUSED),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], REFUSED),
            (&[("sec-fetch-site", "")], REFUSED),
            (&[("origin", "https://drop.example.com")], FREE),
            (&[("origin", "https://drop.example.com:443")], FREE),
            (&[("origin", "http://portal:8080")], FREE),
            (&[("origin", "https://drop.example.com:8443")], REFUSED),
            (&[("origin", "https://drop.example.com.evil.example")], REFUSED),
            (&[("origin", "https://evil.example")], REFUSED),
            (
                &[("origin", "https://evil.example"), ("referer", "https://drop.example.com/")],
                REFUSED,
            ),
            (
                &[("origin", "https://drop.example.com"), ("origin", "https://evil.example")],
                REFUSED,
            ),
            (&[("origin", "drop.example.com")], REFUSED),
            (&[("origin", "android-app://drop.example.com")], REFUSED),
            (&[("origin", "")], REFUSED),
            (&[("origin", "https://dr\u{f6}p.example.com")], REFUSED),
            (&[("origin", "null")], TAKEN_BY_THE_FORM),
            (&[("origin", "null"), ("referer", "https://evil.example/x")], REFUSED),
            (&[("origin", "null"), ("referer", "https://drop.example.com/d/x")], FREE),
            (&[("referer", "https://drop.example.com/d/x")], FREE),
            (&[("referer", "https://drop.example.com")], FREE),
            (&[("referer", "http://PORTAL:8080/sign-in?x=y")], FREE),
            (&[("referer", "https://evil.example/drop.example.com")], REFUSED),
            (&[("referer", "https://drop.example.com@evil.example/")], REFUSED),
            (&[("referer", "about:blank")], REFUSED),
        ];
        for (headers, (form, console)) in table {
            assert_eq!(same_site(&says(headers), &own, false), *form, "the form: {headers:?}");
            assert_eq!(same_site(&says(headers), &own, true), *console, "the console: {headers:?}");
        }
        // A proxy that passes the host with its port on.
        let own = own_authorities(Some("drop.example.com:443"), None);
        assert!(same_site(&says(&[("origin", "https://drop.example.com")]), &own, true));
        assert!(!same_site(&says(&[("origin", "https://drop.example.com:80")]), &own, true));
    }
}
