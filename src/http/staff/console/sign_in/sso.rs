//! Single sign-on: to the company's provider and back. The way back is a GET, because the provider sends the browser there; it opens a session for nobody but the
//! browser that left (its cookie), and once.

use actix_web::{HttpRequest, web};

use crate::http::access_log;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::staff::cookies;
use crate::http::staff::user_agent::browser_name;
use crate::workflow::sign_in::End;
use crate::workflow::sign_in::sso::{self, Arrival, Return, SingleSignOn};
use crate::workflow::warning::Refused;

use super::handlers::{self as session, add, end_old, may_try, next_of, safe_redirect_path, second_path, signed_in_page};
use crate::http::staff::console::{Page, html_of, see};

const REFUSED: &str = "This sign-in was not accepted. Ask an admin whether your account is set up here.";
const UNREACHABLE: &str = "The company’s sign-in cannot be reached. Try again, or use your password.";

fn provider(state: &AppState) -> Result<&SingleSignOn, Problem> {
    state
        .sso
        .as_ref()
        .ok_or_else(|| Problem::not_found("There is nothing at this address."))
}

pub(crate) async fn depart(state: State, request: HttpRequest) -> Page {
    may_try(&state, &request)?;
    let next = next_of(&request);
    match sso::depart(&state.portal, provider(&state)?, &next).await? {
        Some(away) => {
            let mut answer = see(&away.address);
            add(&mut answer, &cookies::sso_state_cookie(&state.settings, &away.cookie))?;
            Ok(answer)
        }
        None => {
            let problem = Problem::provider(UNREACHABLE);
            Ok(html_of(
                &problem,
                session::sign_in_page(&state, &request, "", &next, Some(&problem)),
            ))
        }
    }
}

pub(crate) async fn arrive(state: State, request: HttpRequest) -> Page {
    may_try(&state, &request)?;
    let provider = provider(&state)?;
    let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|_| Problem::malformed("The address cannot be read."))?
        .into_inner();
    let one = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let cookie = cookies::sso_state_cookie_value(&request, &state.settings);
    let back = Return {
        cookie: cookie.as_deref().map_or("", String::as_str),
        code: one("code").unwrap_or_default(),
        state: one("state").unwrap_or_default(),
        issuer: one("iss"),
    };
    let mut answer = match sso::arrive(&state.portal, provider, back, &browser_name(&request)).await? {
        Arrival::Welcome { cookie, next } => signed_in_page(&state, &request, &cookie, safe_redirect_path(Some(&next))).await?,
        Arrival::SecondFactorWanted { cookie, next } => {
            end_old(&state, &request, End::NewSignIn).await?;
            let mut answer = see(&second_path(safe_redirect_path(Some(&next))));
            add(&mut answer, &cookies::farewell(&state.settings))?;
            add(&mut answer, &cookies::pending_cookie(&state.settings, &cookie))?;
            answer
        }
        Arrival::Refused => {
            access_log::refused(Refused::SignIn, &request, &state);
            let problem = Problem::forbidden(REFUSED);
            html_of(&problem, session::sign_in_page(&state, &request, "", "/", Some(&problem)))
        }
    };
    add(&mut answer, &cookies::sso_state_farewell(&state.settings))?;
    Ok(answer)
}
