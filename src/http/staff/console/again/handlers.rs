//! Post, redirect, get: the page that answers a form is kept for its sender and shown at an address of its own, so that Back and Reload send nothing twice. And a form
//! that came after the session's end is shown again after signing in.

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::cookie::Cookie;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{LOCATION, RETRY_AFTER};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse, web};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::http::context::{AppState, State};
use crate::http::error;
use crate::http::extract::query::Query;
use crate::http::kept::{Holder, KeptPage, PAGE_MAX};
use crate::http::staff::auth::Get;
use crate::http::staff::console::again::page::{self as pages, TypedForm};
use crate::http::staff::console::frame::Landing;
use crate::http::staff::console::{Page, TABLE, html, see};
use crate::http::staff::cookies;
use crate::http::staff::permission::Own;
use crate::workflow::sign_in::{self, known};

/// The name in an address under which a kept page is found.
const SHOWN: &str = "shown";

/// Around every route of the console.
pub(crate) async fn land(request: ServiceRequest, next: Next<impl MessageBody + 'static>) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(state) = request.app_data::<State>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    if request.method() == Method::GET
        && let Some(id) = shown_id(request.query_string())
    {
        let answer = match kept(&state, request.request(), &id).await? {
            Some(page) => page,
            // Too old, or somebody else's: the page that stands at this address without it.
            None => see(request.path()),
        };
        return Ok(request.into_response(answer));
    }
    let posted = request.method() == Method::POST;
    let answer = next.call(request).await?.map_into_boxed_body();
    if !posted || answer.response().extensions().get::<Landing>().is_none() {
        return Ok(answer);
    }
    let (request, answer) = answer.into_parts();
    let answer = redirected(&state, &request, answer).await?;
    Ok(ServiceResponse::new(request, answer))
}

fn shown_id(query: &str) -> Option<String> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query).ok()?.into_inner();
    pairs.into_iter().find(|(name, _)| name == SHOWN).map(|(_, id)| id)
}

/// Pages before a session belong to whoever holds a cookie of their own.
fn signing_in(path: &str) -> bool {
    path == "/sign-in" || path.starts_with("/sign-in/")
}

async fn kept(state: &AppState, request: &HttpRequest, id: &str) -> Result<Option<HttpResponse>, Error> {
    let cookie = if signing_in(request.path()) {
        cookies::landing_cookie(request, &state.settings)
    } else {
        let cookie = cookies::session_cookie(request, &state.settings);
        match &cookie {
            Some(cookie) if sign_in::session(&state.portal, cookie).await.ok().flatten().is_some() => {}
            _ => return Ok(None),
        }
        cookie
    };
    let Some(cookie) = cookie else { return Ok(None) };
    let holder = holder(request.path(), &cookie);
    let (secrets, now) = (&state.portal.secrets, state.portal.now());
    Ok(state.kept.page(secrets, holder, id, request.path(), now).map(|page| {
        let mut answer = error::again(page.status);
        if let Some(seconds) = page.retry_after {
            answer.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        answer.content_type("text/html; charset=utf-8").body(page.html.to_vec())
    }))
}

fn holder<'a>(path: &str, cookie: &'a str) -> Holder<'a> {
    match signing_in(path) {
        true => Holder::Stranger(cookie),
        false => Holder::Session(cookie),
    }
}

/// Keeps the page and leads to it, with the cookies that came with it. What cannot be kept is answered in place.
async fn redirected(state: &AppState, request: &HttpRequest, answer: HttpResponse) -> Result<HttpResponse, Error> {
    let path = way_back(matched(request.path()).as_deref(), request.path());
    let own = state.settings.cookie("s");
    let fresh = answer
        .cookies()
        .find(|cookie| cookie.name() == own)
        .map(|cookie| cookie.value().to_owned());
    let held = if signing_in(&path) {
        let drawn = random::array::<16>().map_err(|_| crate::http::error::Problem::internal("No random bytes."))?;
        Some(Zeroizing::new(HEXLOWER.encode(&drawn)))
    } else {
        fresh
            .map(Zeroizing::new)
            .or_else(|| cookies::session_cookie(request, &state.settings))
    };
    let (answer, body) = answer.into_parts();
    let html = Zeroizing::new(to_bytes(body).await.map_err(Error::from)?.to_vec());
    let in_place = |answer: HttpResponse<()>, html: &[u8]| answer.set_body(BoxBody::new(html.to_vec()));
    let Some(held) = held.filter(|held| !held.is_empty() && html.len() <= PAGE_MAX) else {
        return Ok(in_place(answer, &html));
    };
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
    let page = KeptPage {
        path,
        status: answer.status().as_u16(),
        retry_after,
        html,
    };
    let Ok(id) = state
        .kept
        .keep_page(&state.portal.secrets, holder(&page.path, &held), &page, state.portal.now())
    else {
        return Ok(in_place(answer, &page.html));
    };
    let mut landing = HttpResponse::SeeOther()
        .insert_header((LOCATION, format!("{}?{SHOWN}={id}", page.path)))
        .finish();
    let set: Vec<Cookie<'static>> = answer.cookies().map(Cookie::into_owned).collect();
    for cookie in &set {
        landing.add_cookie(cookie).map_err(Error::from)?;
    }
    if signing_in(&page.path) {
        landing
            .add_cookie(&cookies::new_landing_cookie(&state.settings, &held))
            .map_err(Error::from)?;
    }
    Ok(landing)
}

/// The page that a form stands on: the route itself where it has a GET, else the nearest one above it.
fn way_back(pattern: Option<&str>, path: &str) -> String {
    let (mut pattern, mut path) = (pattern.unwrap_or_default(), path);
    loop {
        let shows = TABLE.iter().any(|(route, methods)| *route == pattern && methods.contains(&"GET"));
        if shows && pattern != "/" {
            return path.to_owned();
        }
        match (pattern.rsplit_once('/'), path.rsplit_once('/')) {
            (Some((up, _)), Some((above, _))) if !up.is_empty() => (pattern, path) = (up, above),
            _ => return "/".to_owned(),
        }
    }
}

/// What was typed before the session had ended, for whoever signed in at this browser last; anybody else is led to the page where the form stands.
pub(crate) async fn typed(Get { who, .. }: Get<Own>, state: State, request: HttpRequest) -> Page {
    let form = Query::read(&request, &["form"], |query| Ok(query.text("form")))?;
    let now = state.portal.now();
    let Some(form) = form.and_then(|id| state.kept.form(&state.portal.secrets, &id, now)) else {
        return Ok(see("/"));
    };
    let back = way_back(matched(&form.path).as_deref(), &form.path);
    if form.pairs.iter().all(|(name, value)| name == "once" || value.is_empty()) || !known::fits(&state.portal, &who.agent, &form.mark) {
        return Ok(see(&back));
    }
    Ok(html(pages::typed(
        &who.agent,
        &TypedForm {
            path: &form.path,
            back: &back,
            pairs: &form.pairs,
        },
    )))
}

/// The route of a path.
fn matched(path: &str) -> Option<String> {
    let fits = |route: &str| {
        let (mut there, mut here) = (route.split('/'), path.split('/'));
        loop {
            match (there.next(), here.next()) {
                (None, None) => return true,
                (Some(part), Some(piece)) if part == piece || part.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    TABLE
        .iter()
        .filter(|(route, _)| fits(route))
        .min_by_key(|(route, _)| route.matches('{').count())
        .map(|(route, _)| (*route).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_lands_on_the_nearest_page() {
        for (path, back) in [
            ("/requests/new", "/requests/new"),
            ("/requests/req_1/extend", "/requests/req_1"),
            ("/requests/req_1/parts/front", "/requests/req_1"),
            ("/requests/req_1/revoke", "/requests/req_1/revoke"),
            ("/admin/agents/agt_1/password", "/admin/agents/agt_1"),
            ("/admin/unlock", "/admin"),
            ("/account/app/remove", "/account/app"),
            ("/account/sessions/end", "/account"),
            ("/sign-in", "/sign-in"),
            ("/sign-in/passkey", "/sign-in"),
            ("/sign-out", "/"),
            ("/nowhere", "/"),
        ] {
            assert_eq!(way_back(matched(path).as_deref(), path), back, "{path}");
        }
    }
}
