//! The hosted flow: the company's own application sends its user here, and gets them back with a state that it can verify.
//!
//! The way back is the request's `return_url` with four more names in its query: `nightdrop_request`, `nightdrop_state`, `nightdrop_at` (seconds since 1970) and
//! `nightdrop_signature`, the HMAC-SHA256 in hex over `"nightdrop/v1/return" ‖ LF ‖ request ‖ LF ‖ state ‖ LF ‖ at` under the API key's own return key. Only hosts that
//! the configuration names are ever sent to: looked at when a request is issued, and again when the link is shown.

use data_encoding::HEXLOWER;
use reqwest::Url;
use time::OffsetDateTime;

use crate::connectors::sign::{Algorithm, mac};
use crate::domain::agent::Actor;
use crate::domain::id::ApiKeyId;

use super::trusted::TrustedRequest;
use super::{Portal, WorkflowError, terms};

const DOMAIN: &str = "nightdrop/v1/return";
const LONGEST: usize = 2_000;

/// The return key of an API key, in hex: derived, so that it needs no place of its own.
pub(crate) fn return_key(portal: &Portal, key: ApiKeyId) -> String {
    HEXLOWER.encode(&portal.secrets.index("return", &key.0))
}

/// Refuses an address that nobody may be sent back to.
pub(crate) fn check(portal: &Portal, text: String) -> Result<String, WorkflowError> {
    let hosts = &portal.outgoing.return_hosts;
    if allowed(hosts, &text).is_some() {
        return Ok(text);
    }
    let fix = if hosts.is_empty() {
        "cannot be used: hosted.return_hosts in nightdrop.toml names no host yet".to_owned()
    } else {
        format!("must be an https address without user name and #, at one of: {}", hosts.join(", "))
    };
    Err(WorkflowError::Invalid { field: "return_url", fix })
}

/// Where the applicant goes on, signed for the application that issued the request.
pub(crate) fn way_back(portal: &Portal, request: &TrustedRequest, now: OffsetDateTime) -> Option<String> {
    let text = terms::opened_return_url(portal, request).ok().flatten()?;
    let mut url = allowed(&portal.outgoing.return_hosts, &text)?;
    let Actor::ApiKey(key) = request.created_by else {
        return Some(url.into());
    };
    let (id, state, at) = (
        request.id.to_string(),
        request.state(now).as_str(),
        now.unix_timestamp().to_string(),
    );
    let signed = [DOMAIN, &id, state, &at].join("\n");
    let signature = mac(Algorithm::Sha256, return_key(portal, key).as_bytes(), &[signed.as_bytes()]);
    url.query_pairs_mut()
        .append_pair("nightdrop_request", &id)
        .append_pair("nightdrop_state", state)
        .append_pair("nightdrop_at", &at)
        .append_pair("nightdrop_signature", &HEXLOWER.encode(&signature));
    Some(url.into())
}

fn allowed(hosts: &[String], text: &str) -> Option<Url> {
    if text.len() > LONGEST || text.contains(|c: char| c.is_control() || c.is_whitespace() || "\"<>\\".contains(c)) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let name = url.host_str()?;
    let local = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
    let secure = url.scheme() == "https" || (url.scheme() == "http" && local);
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
    (secure && bare && hosts.contains(&host)).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applicants_are_sent_to_named_hosts_only() {
        let hosts = ["app.example.com".to_owned(), "localhost:3000".to_owned()];
        for good in [
            "https://app.example.com",
            "https://app.example.com/back?step=2",
            "https://app.example.com:443/x",
            "http://localhost:3000/back",
        ] {
            assert!(allowed(&hosts, good).is_some(), "{good}");
        }
        for bad in [
            "",
            "http://app.example.com/",
            "https://app.example.com:8443/",
            "https://app.example.com.evil.example/",
            "https://evil.example/?https://app.example.com",
            "https://app.example.com@evil.example/",
            "https://u:p@app.example.com/",
            "https://app.example.com/#x",
            "https://app.example.com\\@evil.example/",
            "//app.example.com/",
            "javascript:alert(1)",
            "http://localhost/",
            "https://app.example.com/\r\nX: y",
        ] {
            assert!(allowed(&hosts, bad).is_none(), "{bad}");
        }
        assert!(allowed(&[], "https://app.example.com/").is_none());
    }
}
