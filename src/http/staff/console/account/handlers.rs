//! One's own account: password, second factors, recovery codes, sessions. What lets somebody in is changed only right after a proof ([`RecentlyVerified`]).

use actix_web::HttpRequest;
use maud::Markup;

use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::Form;
use crate::http::staff::auth::{FreshGet, FreshPost, Get, Post, SignedIn};
use crate::http::staff::console::account::{factors as factor_pages, page as pages};
use crate::http::staff::console::sign_in::handlers::{self as session, goodbye, next_of, safe_redirect_path};
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, html, html_of, see};
use crate::http::staff::cookies;
use crate::http::staff::permission::{FirstPassword, Own};
use crate::http::{address, guard};
use crate::workflow::WorkflowError;
use crate::workflow::link_message::qr;
use crate::workflow::sign_in::account::shortest_password;
use crate::workflow::sign_in::factor::{self, Codes, Second};
use crate::workflow::sign_in::{self, Browser, Proof, Visitor, account, passkey};

const THROTTLED: &str = "Too many tries. Wait a quarter of an hour, or ask an admin for a new password.";

pub(crate) async fn page(Get { who, .. }: Get<Own>, state: State, request: HttpRequest, done: Option<Notice>) -> Page {
    Ok(html(own(&who, &state, &request, done, None).await?))
}

async fn own(
    who: &SignedIn<Own>,
    state: &AppState,
    request: &HttpRequest,
    done: Option<Notice>,
    problem: Option<&Problem>,
) -> Result<Markup, WorkflowError> {
    Ok(pages::own(&pages::OwnPage {
        agent: &who.agent,
        offer: session::offer(state, request),
        sessions: sign_in::open_sessions(&state.portal, &who.live()).await?,
        shortest: shortest_password(&state.portal),
        demanded: state.portal.policy.require_second_factor,
        now: state.portal.now(),
        done,
        problem,
    }))
}

/// Ends every session of the account and opens one fresh one here.
pub(crate) async fn change_password(Post { who, with: form }: Post<Own, Form>, state: State, request: HttpRequest) -> Page {
    let address = address::rate_limit_key(guard::client_address(&request, &state));
    let again = async |problem: Problem| Ok(html_of(&problem, own(&who, &state, &request, None, Some(&problem)).await?));
    let visitor = Visitor {
        address,
        browser: Browser::SignedIn,
    };
    match sign_in::prove_password(&state.portal, &who.agent.email, form.raw("current"), visitor).await? {
        Proof::Right(_) => {}
        Proof::Wrong => return again(Problem::invalid("Nothing was changed.").field("current", "is not your present password")).await,
        Proof::TooManyTries => return again(Problem::too_many(THROTTLED).after(900)).await,
    }
    match sign_in::reset_password(&state.portal, who.agent.clone(), form.raw("password"), who.actor()).await {
        Err(error @ WorkflowError::Invalid { .. }) => return again(error.into()).await,
        other => other?,
    }
    // The session goes on with the proof that it had: a password alone is no second factor.
    let cookie = sign_in::reopen(&state.portal, &who.live()).await?;
    let mut answer = see("/account?done=password");
    session::greet(&state, &mut answer, &cookie).await?;
    Ok(answer)
}

/// Where a password that an admin set leads, and nowhere else: to one that nobody else knows.
pub(crate) async fn first_password_form(Get { who, .. }: Get<FirstPassword>, state: State) -> Page {
    if !who.agent.must_set_password(&who.session) {
        return Ok(see("/account"));
    }
    Ok(html(factor_pages::first_password(
        &who.agent,
        shortest_password(&state.portal),
        None,
    )))
}

/// The password that opened this session a moment ago is not asked for again; it must not be set once more.
pub(crate) async fn set_first_password(Post { who, with: form }: Post<FirstPassword, Form>, state: State, request: HttpRequest) -> Page {
    if !who.agent.must_set_password(&who.session) {
        return Ok(see("/account"));
    }
    match sign_in::account::replace_temporary(&state.portal, &who.agent, form.raw("password")).await {
        Err(error @ WorkflowError::Invalid { .. }) => {
            let problem = Problem::from(error);
            let page = factor_pages::first_password(&who.agent, shortest_password(&state.portal), Some(&problem));
            return Ok(html_of(&problem, page));
        }
        other => other?,
    }
    let cookie = sign_in::reopen(&state.portal, &who.live()).await?;
    session::end_old(&state, &request, sign_in::End::NewSignIn).await?;
    let mut answer = see("/");
    session::greet(&state, &mut answer, &cookie).await?;
    Ok(answer)
}

pub(crate) async fn confirm_form(Get { who, .. }: Get<Own>, state: State, request: HttpRequest) -> Page {
    let offer = session::offer(&state, &request);
    Ok(html(factor_pages::confirm(
        &who.agent,
        state.sso.is_some(),
        &offer,
        &next_of(&request),
        None,
    )))
}

/// A proof within a session: a code or a passkey, or the password where there is nothing else.
pub(crate) async fn confirm(Post { who, with: form }: Post<Own, Form>, state: State, request: HttpRequest) -> Page {
    let next = safe_redirect_path(Some(form.text("next")));
    let outcome = if who.agent.factors.any() {
        session::proven(&state, &request, &who.live(), &form).await?
    } else {
        let address = address::rate_limit_key(guard::client_address(&request, &state));
        match factor::by_password(&state.portal, &who.live(), form.raw("password"), address).await? {
            Second::Welcome { cookie } => Ok(cookie),
            Second::Wrong => Err(Problem::invalid("That is not your password.")),
            Second::TooManyTries | Second::Closed => Err(Problem::too_many(THROTTLED).after(900)),
        }
    };
    match outcome {
        Ok(cookie) => carry_on(&state, &cookie, next),
        Err(problem) => {
            let offer = session::offer(&state, &request);
            Ok(html_of(
                &problem,
                factor_pages::confirm(&who.agent, state.sso.is_some(), &offer, next, Some(&problem.detail)),
            ))
        }
    }
}

fn carry_on(state: &AppState, cookie: &str, next: &str) -> Page {
    let mut answer = see(next);
    session::add(&mut answer, &cookies::new_session_cookie(&state.settings, cookie))?;
    Ok(answer)
}

pub(crate) async fn begin_confirm(Post { who, .. }: Post<Own>, state: State) -> Page {
    session::options(passkey::begin_proof(&state.portal, session::passkeys(&state)?, &who.agent)?)
}

pub(crate) async fn app_form(FreshGet { who, .. }: FreshGet<Own>, state: State) -> Page {
    if who.agent.factors.totp.is_some() {
        return Ok(see("/account"));
    }
    let offer = factor::offer(&state.portal, &who.agent)?;
    Ok(html(app_page(&who, &state, &offer, None)?))
}

pub(crate) async fn enrol_app(FreshPost { who, with: form }: FreshPost<Own, Form>, state: State) -> Page {
    let offer = factor::offered(&state.portal, &who.agent, form.text("offer"))
        .ok_or_else(|| Problem::malformed("This form is too old. Open it again."))?;
    match factor::enrol(&state.portal, &who.live(), &offer, form.text("code")).await? {
        Some((cookie, codes)) => enrolled(&who, &state, &cookie, &codes, "/account?done=app"),
        None => {
            let problem = Problem::invalid("Nothing was changed.").field("code", "is not the code that this secret gives now");
            Ok(html_of(&problem, app_page(&who, &state, &offer, Some(&problem))?))
        }
    }
}

fn app_page(who: &SignedIn<Own>, state: &AppState, offer: &factor::Offer, problem: Option<&Problem>) -> Result<Markup, WorkflowError> {
    let address = offer.secret.address(&format!("nightdrop {}", state.company.name), &who.agent.email);
    let shown = factor_pages::AppOffer {
        picture: qr(&address)?,
        spoken: offer.secret.spoken(),
        sealed: &offer.sealed,
    };
    Ok(factor_pages::app(&who.agent, &shown, problem))
}

/// To the recovery codes where there are some to be shown, else back.
fn enrolled(who: &SignedIn<Own>, state: &AppState, cookie: &str, codes: &Codes, path: &str) -> Page {
    if codes.is_empty() {
        return carry_on(state, cookie, path);
    }
    let mut answer = html(factor_pages::codes(&who.agent, codes));
    session::add(&mut answer, &cookies::new_session_cookie(&state.settings, cookie))?;
    Ok(answer)
}

pub(crate) async fn remove_app(FreshPost { who, .. }: FreshPost<Own>, state: State) -> Page {
    not_the_last(&who, &state, 1)?;
    factor::remove_totp(&state.portal, &who.agent).await?;
    Ok(see("/account?done=factor-removed"))
}

/// Where a second factor is demanded, the last one stays.
fn not_the_last(who: &SignedIn<Own>, state: &AppState, fewer: usize) -> Result<(), Problem> {
    let factors = &who.agent.factors;
    let have = usize::from(factors.totp.is_some()) + factors.passkeys.len();
    if state.portal.policy.require_second_factor && have <= fewer {
        return Err(Problem::conflict(
            "A second factor is demanded here. Add another one before you remove this.",
        ));
    }
    Ok(())
}

pub(crate) async fn new_codes(FreshPost { who, .. }: FreshPost<Own>, state: State) -> Page {
    if !who.agent.factors.any() {
        return Ok(see("/account"));
    }
    let codes = factor::new_codes(&state.portal, &who.agent).await?;
    Ok(html(factor_pages::codes(&who.agent, &codes)))
}

pub(crate) async fn passkey_form(FreshGet { who, .. }: FreshGet<Own>, state: State, request: HttpRequest) -> Page {
    session::passkeys(&state)?;
    Ok(html(factor_pages::passkey(&who.agent, &session::offer(&state, &request), None)))
}

pub(crate) async fn begin_passkey(FreshPost { who, .. }: FreshPost<Own>, state: State) -> Page {
    let begun = passkey::begin_add(&state.portal, session::passkeys(&state)?, &who.agent)?;
    session::options(Some(begun))
}

pub(crate) async fn add_passkey(FreshPost { who, with: form }: FreshPost<Own, Form>, state: State, request: HttpRequest) -> Page {
    let passkeys = session::passkeys(&state)?;
    let (ceremony, answer) = (form.text("ceremony"), form.raw("credential"));
    let added = passkey::add(&state.portal, passkeys, &who.live(), ceremony, answer, form.text("name")).await;
    let problem = match added {
        Ok(Some((cookie, codes))) => return enrolled(&who, &state, &cookie, &codes, "/account?done=passkey"),
        Ok(None) => Problem::invalid("The passkey was not accepted. Try again."),
        Err(error @ WorkflowError::Invalid { .. }) => error.into(),
        Err(error) => return Err(error.into()),
    };
    Ok(html_of(
        &problem,
        factor_pages::passkey(&who.agent, &session::offer(&state, &request), Some(&problem)),
    ))
}

pub(crate) async fn remove_passkey(FreshPost { who, with: form }: FreshPost<Own, Form>, state: State) -> Page {
    not_the_last(&who, &state, 1)?;
    let agent = &who.agent;
    if agent.password.is_none() && agent.subject.is_none() && agent.factors.passkeys.len() == 1 {
        return Err(Problem::conflict("This passkey is the only way into your account. Add another one before you remove it.").into());
    }
    passkey::remove(&state.portal, &who.agent, form.text("passkey")).await?;
    Ok(see("/account?done=factor-removed"))
}

pub(crate) async fn end_session(Post { who, with: form }: Post<Own, Form>, state: State) -> Page {
    if sign_in::end_one(&state.portal, who.agent.id, form.text("session"), who.actor()).await? {
        Ok(see("/account?done=session-ended"))
    } else {
        Err(Problem::not_found("This session has ended already.").into())
    }
}

pub(crate) async fn end_all(Post { who, .. }: Post<Own>, state: State) -> Page {
    account::sign_out_everywhere(&state.portal, &who.agent, who.actor()).await?;
    goodbye(&state)
}
