//! The cookies of the staff listener: a session, half of one, the way back from single sign-on, the mark of a browser that was used before,
//! and the page that answered a form of somebody who is signing in.

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration as CookieAge;
use actix_web::cookie::{Cookie, SameSite};
use zeroize::Zeroizing;

use crate::domain::agent::Session;
use crate::http::context::ServerSettings;

pub(crate) fn session_cookie(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("s"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

/// The cookie of a session just opened. Lax, so that a link in a ticket opens the console signed in; no GET changes anything.
pub(crate) fn new_session_cookie(settings: &ServerSettings, value: &str) -> Cookie<'static> {
    let age = CookieAge::seconds(Session::ABSOLUTE.whole_seconds());
    base(settings, value).max_age(age).finish()
}

pub(crate) fn half_cookie(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("h"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

/// The cookie of half a session: of use for one page, and for minutes.
pub(crate) fn pending_cookie(settings: &ServerSettings, value: &str) -> Cookie<'static> {
    named(settings, "h", value)
        .max_age(CookieAge::seconds(Session::HALF.whole_seconds()))
        .finish()
}

pub(crate) fn half_farewell(settings: &ServerSettings) -> Cookie<'static> {
    named(settings, "h", "").max_age(CookieAge::ZERO).finish()
}

/// Binds the way back from the company's sign-in to the browser that left.
pub(crate) fn sso_state_cookie(settings: &ServerSettings, value: &str) -> Cookie<'static> {
    named(settings, "o", value).max_age(CookieAge::minutes(10)).finish()
}

pub(crate) fn sso_state_cookie_value(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("o"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

pub(crate) fn sso_state_farewell(settings: &ServerSettings) -> Cookie<'static> {
    named(settings, "o", "").max_age(CookieAge::ZERO).finish()
}

/// Says that this browser has signed in before. Opens nothing.
pub(crate) fn trusted_browser_cookie(settings: &ServerSettings, mark: &str) -> Cookie<'static> {
    named(settings, "k", mark).max_age(CookieAge::days(180)).finish()
}

pub(crate) fn known_cookie(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("k"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

/// Finds again the page that answered a form before there was a session.
pub(crate) fn landing_cookie(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("r"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

pub(crate) fn new_landing_cookie(settings: &ServerSettings, value: &str) -> Cookie<'static> {
    named(settings, "r", value).max_age(CookieAge::minutes(10)).finish()
}

/// Takes the cookie away.
pub(crate) fn farewell(settings: &ServerSettings) -> Cookie<'static> {
    base(settings, "").max_age(CookieAge::ZERO).finish()
}

fn base(settings: &ServerSettings, value: &str) -> actix_web::cookie::CookieBuilder<'static> {
    named(settings, "s", value)
}

fn named(settings: &ServerSettings, name: &str, value: &str) -> actix_web::cookie::CookieBuilder<'static> {
    Cookie::build(settings.cookie(name), value.to_owned())
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(settings.secure)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cookies_are_for_this_host_and_no_script() {
        let secure = ServerSettings::of("https://drop.example.com", "127.0.0.1:1".parse().unwrap());
        assert_eq!(
            new_session_cookie(&secure, "x").to_string(),
            "__Host-s=x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=43200"
        );
        let local = ServerSettings::of("http://localhost:8080", "127.0.0.1:1".parse().unwrap());
        assert_eq!(
            farewell(&local).to_string(),
            "nightdrop-s=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }
}
