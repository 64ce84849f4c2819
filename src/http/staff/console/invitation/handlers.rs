//! What a one-time link to an account opens: a page that changes nothing, a password, or a passkey. One answer for a link that was never made, was used, replaced or has ended.

use actix_web::{HttpRequest, web};

use crate::domain::id::AgentId;
use crate::http::access_log;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::Form;
use crate::http::staff::auth::{AuthRedirect, OpenPost};
use crate::http::staff::console::account::factors as factor_pages;
use crate::http::staff::console::invitation::page as pages;
use crate::http::staff::console::sign_in::handlers::{add, end_old, greet, may_try, offer, options, passkeys, second_path, signed_in_page};
use crate::http::staff::console::{Page, html, html_of, see};
use crate::http::staff::cookies;
use crate::http::staff::user_agent::browser_name;
use crate::workflow::WorkflowError;
use crate::workflow::sign_in::account::shortest_password;
use crate::workflow::sign_in::invitation::{self, Good};
use crate::workflow::sign_in::{End, SignIn};
use crate::workflow::warning::Refused;

const DEAD: &str = "This link does not work any more: it was used, a newer one was made, or it has ended. Ask an admin for a new one.";
const PASSKEY_REFUSED: &str = "The passkey was not accepted. Try again, or set a password.";

/// Account and token of the address.
type Named = web::Path<(String, String)>;

pub(crate) async fn form(state: State, request: HttpRequest, named: Named) -> Page {
    let good = good(&state, &request, &named).await?;
    Ok(html(page(&state, &request, &good, &named, None)))
}

fn page(state: &AppState, request: &HttpRequest, good: &Good, named: &Named, problem: Option<&Problem>) -> maud::Markup {
    let (_, token) = &**named;
    pages::form(&pages::InvitationPage {
        company: &state.company.name,
        agent: &good.agent,
        token,
        offer: offer(state, request),
        shortest: shortest_password(&state.portal),
        problem,
    })
}

async fn good(state: &AppState, request: &HttpRequest, named: &Named) -> Result<Good, AuthRedirect> {
    may_try(state, request)?;
    let (agent, token) = &**named;
    let found = match AgentId::parse(agent) {
        Some(agent) => invitation::look(&state.portal, agent, token).await?,
        None => None,
    };
    found.ok_or_else(|| {
        access_log::refused(Refused::Invitation, request, state);
        Problem::not_found(DEAD).into()
    })
}

pub(crate) async fn set_password(OpenPost { with: form, .. }: OpenPost<Form>, state: State, request: HttpRequest, named: Named) -> Page {
    let good = good(&state, &request, &named).await?;
    match invitation::accept_password(&state.portal, &good, form.raw("password"), &browser_name(&request)).await {
        Ok(Some(SignIn::Welcome { cookie })) => signed_in_page(&state, &request, &cookie, "/").await,
        Ok(Some(SignIn::SecondFactorWanted { cookie })) => {
            end_old(&state, &request, End::NewSignIn).await?;
            let mut answer = see(&second_path("/"));
            add(&mut answer, &cookies::farewell(&state.settings))?;
            add(&mut answer, &cookies::pending_cookie(&state.settings, &cookie))?;
            Ok(answer)
        }
        Ok(_) => Err(Problem::not_found(DEAD).into()),
        Err(error @ WorkflowError::Invalid { .. }) => {
            let problem = Problem::from(error);
            Ok(html_of(&problem, page(&state, &request, &good, &named, Some(&problem))))
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn begin_passkey(_: OpenPost, state: State, request: HttpRequest, named: Named) -> Page {
    let good = good(&state, &request, &named).await?;
    options(invitation::begin_passkey(&state.portal, passkeys(&state)?, &good)?)
}

pub(crate) async fn set_passkey(OpenPost { with: form, .. }: OpenPost<Form>, state: State, request: HttpRequest, named: Named) -> Page {
    let good = good(&state, &request, &named).await?;
    let (ceremony, answer) = (form.text("ceremony"), form.raw("credential"));
    let program = browser_name(&request);
    let done = invitation::accept_passkey(&state.portal, passkeys(&state)?, &good, ceremony, answer, &program).await?;
    let Some((cookie, agent, codes)) = done else {
        let problem = Problem::invalid(PASSKEY_REFUSED);
        return Ok(html_of(&problem, page(&state, &request, &good, &named, Some(&problem))));
    };
    end_old(&state, &request, End::NewSignIn).await?;
    let mut answer = html(factor_pages::codes(&agent, &codes));
    greet(&state, &mut answer, &cookie).await?;
    Ok(answer)
}
