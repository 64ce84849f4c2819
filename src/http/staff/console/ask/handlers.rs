//! Asking for a document: what is missing, a new request, a new link, a fresh code. These pages show a secret once; sent twice, a form has its effect once.

use actix_web::{HttpRequest, web};

use crate::domain::token::PlainToken;
use crate::http::AppState;
use crate::http::extract::json::Span;
use crate::http::staff::link_message::{self, Sent, link_message, messages};
use crate::http::staff::api::providers;
use crate::http::staff::api::requests::{MailWish, NewRequest, parse};
use crate::http::error::Problem;
use crate::http::staff::console::ask::page as pages;
use crate::http::staff::auth::{Csrf, SignedIn};
use crate::http::staff::permission::{Requests};
use crate::workflow::issue::{self, Expiry};
use crate::workflow::outgoing::mail::Queued;
use crate::workflow::terms;

use crate::http::extract::form::{Form, once};
use crate::http::staff::console::{Page, html, html_of, see};

pub(crate) async fn form(who: SignedIn<Requests>, state: web::Data<AppState>) -> Page {
    Ok(html(pages::form(&who.agent, &state, &Form::default(), &once()?, None)))
}

pub(crate) async fn issue(
    _: Csrf,
    who: SignedIn<Requests>,
    state: web::Data<AppState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let form = Form::read(&request, payload).await?;
    if form.ticked("prefill") {
        return Ok(html(pages::form(&who.agent, &state, &form, &once()?, None)));
    }
    let client = form.once(request.path(), &who.agent)?;
    let issued = async {
        let wish = MailWish::of(&state, form.filled("email"), Some(form.ticked("remind")))?;
        let issued = issue::issue(&state.portal, new_request(&form)?.into_ask()?, who.actor(), Some(client)).await?;
        let link_message = link_message(&state, &issued).await?;
        let mailed = wish.send(&state, &issued, &link_message, who.actor()).await;
        Ok::<_, Problem>((issued, link_message, mailed))
    };
    match issued.await {
        Ok((issued, link_message, mailed)) => Ok(html(pages::issued(&who.agent, &state, &issued.request, &link_message, mailed))),
        Err(problem) => Ok(html_of(&problem, pages::form(&who.agent, &state, &form, &once()?, Some(&problem)))),
    }
}

/// The document's field is a kind, or a kind and one of its parts: `government-id:front`.
fn new_request(form: &Form) -> Result<NewRequest, Problem> {
    let (document, part) = form.text("document").split_once(':').unwrap_or((form.text("document"), ""));
    let mut parts = form.all("part");
    if !part.is_empty() {
        parts.push(part.to_owned());
    }
    Ok(NewRequest {
        provider: form.text("provider").to_owned(),
        applicant: form.text("applicant").to_owned(),
        document: document.to_owned(),
        parts: Some(parts).filter(|p| !p.is_empty()),
        expires_in: span(form)?,
        passcode: Some(form.ticked("passcode")),
        locale: form.filled("locale"),
        message: form.filled("message").map(|m| m.replace("\r\n", "\n")),
        ..NewRequest::default()
    })
}

fn span(form: &Form) -> Result<Option<Span>, Problem> {
    let wrong = || Problem::invalid("Choose how long the link is to live.").field("expires_in", "must be one of the list");
    form.filled("expires_in")
        .map(|text| Span::parse(&text).ok_or_else(wrong))
        .transpose()
}

pub(crate) async fn reissue(
    _: Csrf,
    who: SignedIn<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let id = parse(&id)?;
    let form = Form::read(&request, payload).await?;
    let client = form.once(request.path(), &who.agent)?;
    let expires = span(&form)?.map_or(Expiry::Default, |s| Expiry::In(s.0));
    let passcode = Some(form.ticked("passcode"));
    let issued = issue::reissue(&state.portal, id, expires, passcode, who.actor(), Some(client)).await?;
    let link_message = link_message(&state, &issued).await?;
    Ok(html(pages::issued(&who.agent, &state, &issued.request, &link_message, None)))
}

/// Mails the link that the page before has shown: its address comes back in the form, since nothing that is stored could give it.
pub(crate) async fn send(
    _: Csrf,
    who: SignedIn<Requests>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let id = parse(&id)?;
    let form = Form::read(&request, payload).await?;
    let found = terms::load(&state.portal, id).await?;
    let token = PlainToken::parse(form.text("token")).filter(|t| state.portal.secrets.hash_token(t) == found.link.hashed);
    let Some(token) = token else {
        return Err(Problem::conflict("This is not the present link of the request any more. Issue a new one.").into());
    };
    let sent = async {
        let wish = MailWish::of(&state, Some(form.text("email").to_owned()), Some(form.ticked("remind")))?;
        let url = format!("{}/d/{}", state.portal.policy.public_url, token.encode());
        let (message, reminder) = messages(&state, &found, &url).await?;
        let to = wish.to.unwrap_or_default();
        Ok::<_, Problem>(link_message::send(&state, &found, (&message, &reminder), &to, wish.remind, who.actor()).await?)
    };
    match sent.await {
        Ok(Sent { link: Queued::Before, .. }) => Ok(see(&format!("/requests/{id}?done=mailed-before"))),
        Ok(Sent {
            reminder: Some(Queued::TooClose),
            ..
        }) => Ok(see(&format!("/requests/{id}?done=mailed-once"))),
        Ok(_) => Ok(see(&format!("/requests/{id}?done=mailed"))),
        Err(problem) => Ok(html_of(&problem, pages::send(&who.agent, &found, &token.encode(), &form, &problem))),
    }
}

pub(crate) async fn passcode(_: Csrf, who: SignedIn<Requests>, state: web::Data<AppState>, id: web::Path<String>) -> Page {
    let (request, code) = issue::fresh_passcode(&state.portal, parse(&id)?, who.actor()).await?;
    Ok(html(pages::fresh_code(&who.agent, &request, &code)))
}

pub(crate) async fn missing_form(who: SignedIn<Requests>, state: web::Data<AppState>) -> Page {
    Ok(html(pages::missing(&who.agent, &state, &Form::default(), None, None)))
}

/// The applicant's reference comes in the body, so it stands in no address and no log.
pub(crate) async fn missing(
    _: Csrf,
    who: SignedIn<Requests>,
    state: web::Data<AppState>,
    request: HttpRequest,
    payload: web::Payload,
) -> Page {
    let form = Form::read(&request, payload).await?;
    match providers::ask(&state, form.text("provider"), form.text("applicant")).await {
        Ok(missing) => {
            let rows = missing
                .into_iter()
                .map(|m| Ok((m, once()?)))
                .collect::<Result<Vec<_>, crate::workflow::WorkflowError>>()?;
            Ok(html(pages::missing(&who.agent, &state, &form, Some(&rows), None)))
        }
        Err(problem) => Ok(html_of(&problem, pages::missing(&who.agent, &state, &form, None, Some(&problem)))),
    }
}
