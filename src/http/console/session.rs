//! Signing in and out, and changing one's own password. Every sign-in gets a fresh cookie; one that came along is ended.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, web};

use crate::http::error::Problem;
use crate::http::pages::console::account;
use crate::http::staff::{self, Anyone, Csrf, SignedIn};
use crate::http::{State, guard};
use crate::workflow::WorkflowError;
use crate::workflow::sign_in::{self, SignIn};

use super::form::Form;
use super::{Page, html, html_of, see};

/// The one answer for an unknown name, a wrong password and a disabled account.
const REFUSED: &str = "That e-mail address and password do not go together.";
const THROTTLED: &str = "Too many tries. Wait a quarter of an hour, or ask an admin for a new password.";

pub async fn form(state: web::Data<State>, request: HttpRequest) -> Page {
    let next = web::Query::<Vec<(String, String)>>::from_query(request.query_string()).ok();
    let next = next
        .and_then(|q| q.into_inner().into_iter().find(|(n, _)| n == "next"))
        .map(|(_, v)| v);
    Ok(html(account::sign_in(&state.company.name, "", here(next.as_deref()), None)))
}

pub async fn sign_in(_: Csrf, state: web::Data<State>, request: HttpRequest, payload: web::Payload) -> Page {
    let form = Form::read(&request, payload).await?;
    let (email, next) = (form.text("email"), here(Some(form.text("next"))));
    let address = guard::neighbourhood(guard::client_address(&request, &state));
    let again = |problem: Problem| {
        Ok(html_of(
            &problem,
            account::sign_in(&state.company.name, email, next, Some(&problem.detail)),
        ))
    };
    match sign_in::sign_in(&state.portal, email, form.raw("password"), address).await? {
        SignIn::Welcome { cookie, .. } => {
            if let Some(old) = staff::session_cookie(&request, &state.settings) {
                sign_in::sign_out(&state.portal, &old).await?;
            }
            let mut answer = see(next);
            answer
                .add_cookie(&staff::welcome(&state.settings, &cookie))
                .map_err(|_| unwritable())?;
            Ok(answer)
        }
        SignIn::Refused => again(Problem::forbidden(REFUSED)),
        SignIn::TooManyTries => again(Problem::too_many(THROTTLED).after(900)),
    }
}

pub async fn sign_out(_: Csrf, state: web::Data<State>, request: HttpRequest) -> Page {
    if let Some(cookie) = staff::session_cookie(&request, &state.settings) {
        sign_in::sign_out(&state.portal, &cookie).await?;
    }
    goodbye(&state)
}

pub async fn account(who: SignedIn<Anyone>) -> Page {
    Ok(html(account::own(&who.agent, None)))
}

/// Ends every session of the account and opens one fresh one here.
pub async fn change_password(_: Csrf, who: SignedIn<Anyone>, state: web::Data<State>, request: HttpRequest, payload: web::Payload) -> Page {
    let form = Form::read(&request, payload).await?;
    let address = guard::neighbourhood(guard::client_address(&request, &state));
    let again = |problem: Problem| Ok(html_of(&problem, account::own(&who.agent, Some(&problem))));
    match sign_in::sign_in(&state.portal, &who.agent.email, form.raw("current"), address).await? {
        SignIn::Welcome { .. } => {}
        SignIn::Refused => return again(Problem::invalid("Nothing was changed.").field("current", "is not your present password")),
        SignIn::TooManyTries => return again(Problem::too_many(THROTTLED).after(900)),
    }
    match sign_in::reset_password(&state.portal, who.agent.clone(), form.raw("password"), who.actor()).await {
        Err(error @ WorkflowError::Invalid { .. }) => return again(error.into()),
        other => other?,
    }
    let cookie = sign_in::open_session(&state.portal, &who.agent, state.portal.records.now()).await?;
    let mut answer = see("/?done=password");
    answer
        .add_cookie(&staff::welcome(&state.settings, &cookie))
        .map_err(|_| unwritable())?;
    Ok(answer)
}

fn goodbye(state: &State) -> Page {
    let mut answer = see("/sign-in");
    answer.add_cookie(&staff::farewell(&state.settings)).map_err(|_| unwritable())?;
    answer.headers_mut().insert(
        HeaderName::from_static("clear-site-data"),
        HeaderValue::from_static("\"cache\", \"storage\""),
    );
    Ok(answer)
}

fn unwritable() -> Problem {
    Problem::internal("The cookie cannot be written.")
}

/// Only a path of this very console is gone back to.
fn here(next: Option<&str>) -> &str {
    let fits = |path: &str| path.starts_with('/') && !path.starts_with("//") && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    next.filter(|path| fits(path)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    #[test]
    fn nobody_is_sent_to_another_site() {
        for good in ["/", "/requests/req_1", "/audit?after=5"] {
            assert_eq!(super::here(Some(good)), good);
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
            assert_eq!(super::here(Some(bad)), "/", "{bad}");
        }
    }
}
