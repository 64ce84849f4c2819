//! Signing in and out. Every proof gets a fresh cookie; one that came along is ended.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use maud::Markup;
use serde_json::json;

use crate::domain::agent::{Agent, Session};
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::staff::auth::{AuthRedirect, OpenPost};
use crate::http::staff::console::sign_in::page::{self as pages, Offer};
use crate::http::staff::cookies;
use crate::http::staff::user_agent::browser_name;
use crate::http::{access_log, address, guard};
use crate::workflow::sign_in::factor::{self, Second};
use crate::workflow::sign_in::passkey::{self, Begun, Passkeys};
use crate::workflow::sign_in::{self, Browser, End, Live, SignIn, Visitor, known};
use crate::workflow::warning::{Limited, Refused, Warning};

use crate::http::extract::form::Form;
use crate::http::staff::console::{Page, html, html_of, see};

/// The one answer for an unknown name, a wrong password, a disabled account, and one at which strangers have guessed too often.
const REFUSED: &str = "That e-mail address and password do not go together. After many wrong tries only a browser that was used before, a passkey or an admin helps.";
const THROTTLED: &str = "Too many tries. Wait a quarter of an hour, or ask an admin for a new password.";
const CODE_REFUSED: &str = "This code is not right, or it was used before. Wait for the next one.";
const CODE_THROTTLED: &str = "Too many tries. Wait a few minutes.";
const CODES_CLOSED: &str = "Too many codes were wrong: codes of the app are not taken any more. Use a passkey or a recovery code, or ask an admin to reset your second factor.";
const PASSKEY_REFUSED: &str = "This passkey could not be used here.";

pub(crate) async fn form(state: State, request: HttpRequest) -> Page {
    Ok(html(sign_in_page(&state, &request, "", &next_of(&request), None)))
}

/// The page, and once more with what was wrong.
pub(crate) fn sign_in_page(state: &AppState, request: &HttpRequest, email: &str, next: &str, problem: Option<&Problem>) -> Markup {
    pages::sign_in(&pages::SignInPage {
        company: &state.company.name,
        sso: state.sso.as_ref().map(|sso| sso.label()),
        offer: offer(state, request),
        email,
        next,
        refused: problem.map(|problem| problem.detail.as_str()),
    })
}

/// Where the address says to go afterwards; only within this console.
pub(crate) fn next_of(request: &HttpRequest) -> String {
    let next = web::Query::<Vec<(String, String)>>::from_query(request.query_string()).ok();
    let next = next
        .and_then(|q| q.into_inner().into_iter().find(|(n, _)| n == "next"))
        .map(|(_, v)| v);
    safe_redirect_path(next.as_deref()).to_owned()
}

pub(crate) async fn sign_in(OpenPost { with: form, .. }: OpenPost<Form>, state: State, request: HttpRequest) -> Page {
    let (email, next) = (form.text("email"), safe_redirect_path(Some(form.text("next"))));
    let address = address::rate_limit_key(guard::client_address(&request, &state));
    let again = |problem: Problem| Ok(html_of(&problem, sign_in_page(&state, &request, email, next, Some(&problem))));
    let mark = cookies::known_cookie(&request, &state.settings);
    let browser = mark.as_ref().map_or(Browser::Stranger, |mark| Browser::Marked(mark));
    let visitor = Visitor { address, browser };
    match sign_in::sign_in(&state.portal, email, form.raw("password"), visitor, &browser_name(&request)).await? {
        SignIn::Welcome { cookie } => signed_in_page(&state, &request, &cookie, next).await,
        SignIn::SecondFactorWanted { cookie } => {
            end_old(&state, &request, End::NewSignIn).await?;
            let mut answer = see(&second_path(next));
            add(&mut answer, &cookies::farewell(&state.settings))?;
            add(&mut answer, &cookies::pending_cookie(&state.settings, &cookie))?;
            Ok(answer)
        }
        SignIn::Refused => {
            access_log::refused(Refused::SignIn, &request, &state);
            again(Problem::forbidden(REFUSED))
        }
        SignIn::TooManyTries => {
            Warning::Limited(Limited::SignIn).write();
            again(Problem::too_many(THROTTLED).after(900))
        }
    }
}

pub(crate) fn second_path(next: &str) -> String {
    let escaped = next.replace('%', "%25").replace('&', "%26").replace('+', "%2B");
    format!("/sign-in/second?next={escaped}")
}

pub(crate) async fn second_form(state: State, request: HttpRequest) -> Page {
    let live = half(&state, &request).await?;
    Ok(html(pages::second(&offer(&state, &request), &live.agent, &next_of(&request), None)))
}

/// The second half of a sign-in: a code, or a passkey's answer.
pub(crate) async fn second(OpenPost { with: form, .. }: OpenPost<Form>, state: State, request: HttpRequest) -> Page {
    let live = half(&state, &request).await?;
    let next = safe_redirect_path(Some(form.text("next")));
    match proven(&state, &request, &live, &form).await? {
        Ok(cookie) => {
            let mut answer = signed_in_page(&state, &request, &cookie, next).await?;
            add(&mut answer, &cookies::half_farewell(&state.settings))?;
            Ok(answer)
        }
        Err(problem) => Ok(html_of(
            &problem,
            pages::second(&offer(&state, &request), &live.agent, next, Some(&problem.detail)),
        )),
    }
}

async fn half(state: &AppState, request: &HttpRequest) -> Result<Live, AuthRedirect> {
    let Some(cookie) = cookies::half_cookie(request, &state.settings) else {
        return Err(AuthRedirect::SignIn(None));
    };
    sign_in::half(&state.portal, &cookie).await?.ok_or(AuthRedirect::SignIn(None))
}

/// What a form proves with: a passkey's answer where there is one, else a code. The new cookie, or what is wrong.
pub(crate) async fn proven(
    state: &AppState,
    request: &HttpRequest,
    live: &Live,
    form: &Form,
) -> Result<Result<zeroize::Zeroizing<String>, Problem>, AuthRedirect> {
    let (second, refused) = if form.ticked("credential") {
        let passkeys = passkeys(state)?;
        let second = passkey::prove(&state.portal, passkeys, live, form.text("ceremony"), form.raw("credential")).await?;
        (second, PASSKEY_REFUSED)
    } else {
        (factor::by_code(&state.portal, live, form.text("code")).await?, CODE_REFUSED)
    };
    Ok(match second {
        Second::Welcome { cookie } => Ok(cookie),
        Second::Wrong => {
            access_log::refused(Refused::SecondFactor, request, state);
            Err(Problem::invalid(refused))
        }
        Second::TooManyTries => {
            Warning::Limited(Limited::SignIn).write();
            Err(Problem::too_many(CODE_THROTTLED).after(90))
        }
        Second::Closed => Err(Problem::forbidden(CODES_CLOSED)),
    })
}

pub(crate) fn passkeys(state: &AppState) -> Result<&Passkeys, Problem> {
    state
        .passkeys
        .as_ref()
        .ok_or_else(|| Problem::not_found("Passkeys need the console's own name: an admin sets staff_url in the configuration."))
}

pub(crate) fn offer(state: &AppState, request: &HttpRequest) -> Offer {
    let Some(own) = state.passkeys.as_ref().and(state.settings.console()) else {
        return Offer::Nowhere;
    };
    // Some proxies ask us by our own address and say beside it what they were asked. Nothing but a hint hangs on it.
    let forwarded = request.headers().get("x-forwarded-host").and_then(|v| v.to_str().ok());
    let asked = [address::host(request), forwarded];
    match asked.into_iter().flatten().any(|host| is_at(&own, host)) {
        true => Offer::Here,
        false => Offer::At(own),
    }
}

/// Whether this host is the origin's; the usual port may stand or not.
fn is_at(origin: &str, host: &str) -> bool {
    let usual = if origin.starts_with("https:") { ":443" } else { ":80" };
    let name = origin.split_once("://").map_or(origin, |(_, name)| name);
    let plain = |name: &str| name.strip_suffix(usual).unwrap_or(name).to_ascii_lowercase();
    plain(name) == plain(host)
}

/// Whether this address may try to sign in at all just now: what follows costs us work, or a line of the audit log.
pub(crate) fn may_try(state: &AppState, request: &HttpRequest) -> Result<(), Problem> {
    let address = address::rate_limit_key(guard::client_address(request, state));
    match state.portal.auth.throttle.allows_address(address) {
        true => Ok(()),
        false => {
            Warning::Limited(Limited::SignIn).write();
            Err(Problem::too_many("Too many tries to sign in from your connection. Wait a minute.").after(60))
        }
    }
}

/// Options for the browser: for the owner of half a session their own passkeys, for a stranger whatever the authenticator knows.
pub(crate) async fn begin_passkey(_: OpenPost, state: State, request: HttpRequest) -> Page {
    may_try(&state, &request)?;
    let passkeys = passkeys(&state)?;
    let live = match cookies::half_cookie(&request, &state.settings) {
        Some(cookie) if request.query_string() == "second" => sign_in::half(&state.portal, &cookie).await?,
        _ => None,
    };
    let begun = match live {
        Some(live) => passkey::begin_proof(&state.portal, passkeys, &live.agent)?,
        None => Some(passkey::begin_sign_in(&state.portal, passkeys)?),
    };
    options(begun)
}

pub(crate) fn options(begun: Option<Begun>) -> Page {
    let begun = begun.ok_or_else(|| Problem::not_found("This account has no passkey."))?;
    Ok(HttpResponse::Ok().json(json!({ "ceremony": begun.ceremony, "options": begun.options })))
}

/// Signing in with nothing but a passkey.
pub(crate) async fn passkey(OpenPost { with: form, .. }: OpenPost<Form>, state: State, request: HttpRequest) -> Page {
    may_try(&state, &request)?;
    let next = safe_redirect_path(Some(form.text("next")));
    let (ceremony, answer) = (form.text("ceremony"), form.raw("credential"));
    let done = passkey::sign_in(&state.portal, passkeys(&state)?, ceremony, answer, &browser_name(&request)).await?;
    match done {
        Some(cookie) => signed_in_page(&state, &request, &cookie, next).await,
        None => {
            access_log::refused(Refused::SignIn, &request, &state);
            let problem = Problem::forbidden(PASSKEY_REFUSED);
            Ok(html_of(&problem, sign_in_page(&state, &request, "", next, Some(&problem))))
        }
    }
}

/// A whole session begins here; the one whose cookie came along ends.
pub(crate) async fn signed_in_page(state: &AppState, request: &HttpRequest, cookie: &str, next: &str) -> Page {
    end_old(state, request, End::NewSignIn).await?;
    let mut answer = see(next);
    greet(state, &mut answer, cookie).await?;
    Ok(answer)
}

/// The cookie of a session, and the mark by which its browser is known next time.
pub(crate) async fn greet(state: &AppState, answer: &mut HttpResponse, cookie: &str) -> Result<(), AuthRedirect> {
    add(answer, &cookies::new_session_cookie(&state.settings, cookie))?;
    if let Some(live) = sign_in::session(&state.portal, cookie).await? {
        add(
            answer,
            &cookies::trusted_browser_cookie(&state.settings, &known::mark(&state.portal, &live.agent)?),
        )?;
    }
    Ok(())
}

pub(crate) async fn end_old(state: &AppState, request: &HttpRequest, why: End) -> Result<(), AuthRedirect> {
    for old in [
        cookies::session_cookie(request, &state.settings),
        cookies::half_cookie(request, &state.settings),
    ]
    .into_iter()
    .flatten()
    {
        sign_in::sign_out(&state.portal, &old, why).await?;
    }
    Ok(())
}

pub(crate) async fn sign_out(_: OpenPost, state: State, request: HttpRequest) -> Page {
    end_old(&state, &request, End::SignOut).await?;
    goodbye(&state)
}

pub(crate) fn goodbye(state: &AppState) -> Page {
    let mut answer = see("/sign-in");
    add(&mut answer, &cookies::farewell(&state.settings))?;
    add(&mut answer, &cookies::half_farewell(&state.settings))?;
    answer.headers_mut().insert(
        HeaderName::from_static("clear-site-data"),
        // Not "cache": nothing of the console is kept there, and to look for it costs a browser seconds.
        HeaderValue::from_static("\"storage\""),
    );
    Ok(answer)
}

pub(crate) fn add(answer: &mut HttpResponse, cookie: &actix_web::cookie::Cookie<'_>) -> Result<(), Problem> {
    answer
        .add_cookie(cookie)
        .map_err(|_| Problem::internal("The cookie cannot be written."))
}

/// Whether somebody should be told that a password is all they have.
pub(crate) fn only_password(agent: &Agent, session: &Session) -> bool {
    !agent.factors.any() && session.how == crate::domain::agent::AuthMethod::Password
}

/// Only a path of this very console is gone back to.
pub(crate) fn safe_redirect_path(next: Option<&str>) -> &str {
    let fits = |path: &str| path.starts_with('/') && !path.starts_with("//") && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    next.filter(|path| fits(path)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_host_is_an_origins_with_or_without_the_usual_port() {
        for (origin, host) in [
            ("http://localhost:8081", "localhost:8081"),
            ("https://console.example.com", "console.example.com"),
            ("https://console.example.com", "Console.Example.com:443"),
            ("https://console.example.com:443", "console.example.com"),
            ("http://localhost", "localhost:80"),
        ] {
            assert!(super::is_at(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:8081", "127.0.0.1:8081"),
            ("http://localhost:8081", "localhost"),
            ("https://console.example.com", "console.example.com:80"),
            ("https://console.example.com", "console.example.com.evil.example"),
            ("https://console.example.com", ""),
        ] {
            assert!(!super::is_at(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn nobody_is_sent_to_another_site() {
        for good in ["/", "/requests/req_1", "/audit?after=5"] {
            assert_eq!(super::safe_redirect_path(Some(good)), good);
        }
        for bad in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "javascript:x",
            "",
            "/a b",
            "/\r\nx",
            "\\/x",
        ] {
            assert_eq!(super::safe_redirect_path(Some(bad)), "/", "{bad}");
        }
    }
}
